// Draws the graphs of the page in the colours of the reader's scheme. Without it, or where it fails, the pictures stand.
"use strict";
(async () => {
  const root = document.documentElement;
  const graphs = JSON.parse(document.getElementById("graphs").textContent);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const config = {
    responsive: true,
    displaylogo: false,
    doubleClick: "reset",
    modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]],
  };

  const channels = (color) => {
    const hex = /^#(..)(..)(..)$/.exec(color);
    if (hex) return hex.slice(1).map((part) => parseInt(part, 16));
    const rgb = /^rgba?\(([^)]*)\)$/.exec(color);
    return rgb ? rgb[1].split(",").slice(0, 3).map(Number) : null;
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  // A colour that was chosen for white paper, made light enough for dark paper; white becomes the paper itself.
  const suited = (color) => {
    const rgb = channels(color);
    if (!scheme.matches || !rgb) return color;
    const paper = token("--paper");
    if (luminance(rgb) > 0.99) return paper;
    const least = 4 * (luminance(channels(paper)) + 0.05) - 0.05;
    let mixed = rgb;
    for (let share = 0; share <= 1 && luminance(mixed) < least; share += 0.05)
      mixed = rgb.map((c) => Math.round(c + (255 - c) * share));
    return `rgb(${mixed.join(",")})`;
  };
  const token = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const recoloured = (value) => {
    if (Array.isArray(value)) return value.map(recoloured);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, inside]) =>
      [name, name === "color" ? (Array.isArray(inside) ? inside.map(suited) : suited(inside)) : recoloured(inside)]));
  };

  const dressed = ({ data, layout }) => {
    const ink = token("--ink"), soft = token("--soft"), grid = token("--grid"), paper = token("--paper");
    const map = data.some((trace) => trace.type === "contour");
    const axis = (own) => ({
      automargin: true, zeroline: false, showline: true, linecolor: soft, ticks: "outside", ticklen: 4, tickcolor: soft,
      gridcolor: grid, showgrid: !map, exponentformat: "power", nticks: own.type === "log" ? undefined : 7,
      ...own, title: { standoff: 8, ...own.title },
    });
    const traces = (map ? data : recoloured(data)).map((trace) =>
      trace.colorbar ? { ...trace, colorbar: { ...trace.colorbar, tickcolor: soft } } : trace);
    return [traces, {
      ...recoloured(layout), xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
      autosize: true, showlegend: false, hovermode: "closest", dragmode: touch ? false : "zoom",
      margin: { l: 48, r: 12, t: 28, b: 44 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      hoverlabel: { bgcolor: paper, bordercolor: soft, font: { color: ink, size: 13 }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: ink },
    }];
  };

  const paint = async () => {
    for (const swatch of document.querySelectorAll("svg[data-color]")) swatch.style.color = suited(swatch.dataset.color);
    for (const [id, graph] of Object.entries(graphs)) {
      const place = document.getElementById(id);
      if (!place) continue;
      await Plotly.react(place, ...dressed(graph), config);
      await new Promise((next) => setTimeout(next)); // lets the reader scroll while many graphs are drawn
    }
  };
  const load = async () => {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (letter) => letter.charCodeAt(0));
    const script = document.createElement("script");
    script.textContent = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    document.head.append(script); // runs at once where the policy of the page knows its hash, and nowhere else
  };
  try {
    await load();
    await paint();
    scheme.addEventListener("change", paint);
    root.dataset.graphs = "drawn";
  } catch (error) {
    root.className = "";
    throw error;
  }
})();
