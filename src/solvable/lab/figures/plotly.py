"""Plots as Plotly's data and layout, for pages: JSON without NaN, every text escaped."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from solvable.lab.figures.plot import (
    AnyMark,
    Axis,
    Band,
    Bar,
    Colored,
    Field,
    Look,
    Mark,
    Plot,
    Rule,
    Sheet,
    Words,
    legends,
    span,
)
from solvable.lab.figures.theme import DIVERGING, SEQUENTIAL, THEMES
from solvable.lab.figures.words import finite_list, inert, number, place_name, text, wrapped

_PIXELS = 96 / 72  # a point in pixels of a page
_LARGER = 1.3  # a marker for a page that is read from farther away than a printed column
_MOST_DECADES = 3  # of a logarithmic axis whose ticks are written as plain numbers
SYMBOLS = {
    "circle": "circle",
    "square": "square",
    "triangle": "triangle-up",
    "wedge": "triangle-down",
    "plus": "cross",
    "cross": "x",
    "diamond": "diamond",
    "dash": "line-ew",
}


def graph(plot: Plot) -> dict[str, Any]:
    """The `data` and `layout` of one plot, in the colours of a light ground; a page dresses it for its own."""
    data = [trace for mark in plot.marks for trace in _traces(mark, plot)]
    shapes = [_rule(mark) for mark in plot.marks if isinstance(mark, Rule)]
    notes = [_note(mark, plot) for mark in plot.marks if isinstance(mark, Words)]
    layout: dict[str, Any] = {
        letter + "axis": _axis(axis, span(plot, place), 46 if letter == "x" else 34)
        for place, (letter, axis) in enumerate((("x", plot.x), ("y", plot.y)))
    }
    if shapes:
        layout["shapes"] = shapes
    if notes:
        layout["annotations"] = notes
    return {"data": data, "layout": layout}


def side_by_side(sheet: Sheet) -> dict[str, Any]:
    """The `data` and `layout` of all plots of a sheet in one graph, without what a pointer shows."""
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"shapes": [], "annotations": []}
    count = len(sheet.plots)
    for place, plot in enumerate(sheet.plots):
        made, number = graph(plot), str(place + 1) if place else ""
        ends = [(place + 0.14 * (place > 0)) / count, (place + 1 - 0.06 * (place + 1 < count)) / count]
        plain = {"zeroline": False, "showline": True, "ticks": "outside"}
        layout[f"xaxis{number}"] = made["layout"]["xaxis"] | plain | {"domain": ends, "anchor": f"y{number}"}
        layout[f"yaxis{number}"] = made["layout"]["yaxis"] | plain | {"anchor": f"x{number}"}
        where = {"xaxis": f"x{number}", "yaxis": f"y{number}", "hoverinfo": "skip"}
        for trace in made["data"]:
            data.append({key: one for key, one in trace.items() if key not in ("customdata", "hovertemplate")} | where)
        for kind in ("shapes", "annotations"):
            layout[kind] += [_referring(one, number) for one in made["layout"].get(kind, ())]
        if plot.title:
            above = {"x": 0.5, "y": 1.0, "xref": f"x{number} domain", "yref": f"y{number} domain", "yanchor": "bottom"}
            layout["annotations"].append({"text": inert(text(plot.title)), "showarrow": False, **above})
    return {"data": data, "layout": layout}


def _referring(one: dict[str, Any], number: str) -> dict[str, Any]:
    refs = {key: one[key].replace("x", f"x{number}").replace("y", f"y{number}") for key in ("xref", "yref")}
    return one | refs


def page(sheets: Sequence[Sheet], seconds: float) -> str:
    """A page that plays sheets one after the other, with a slider; nothing is fetched."""
    made = [side_by_side(sheet) for sheet in sheets]
    most = max(len(one["data"]) for one in made)
    names = [inert(text(sheet.plots[0].title)) for sheet in sheets]
    play = {"frame": {"duration": 1000 * seconds / len(made), "redraw": True}, "fromcurrent": True}
    still = {"frame": {"duration": 0, "redraw": True}, "mode": "immediate"}
    quick = {"transition": {"duration": 0}}
    # a frame changes traces by their place: none may be missing
    frames = [
        {
            "name": str(place),
            "data": one["data"] + [{"x": [], "y": []}] * (most - len(one["data"])),
            "layout": {key: one["layout"][key] for key in ("shapes", "annotations")},
        }
        for place, one in enumerate(made)
    ]
    buttons = [
        {"label": "play", "method": "animate", "args": [None, play | quick]},
        {"label": "pause", "method": "animate", "args": [[None], still | quick]},
    ]
    steps = [
        {"label": name, "method": "animate", "args": [[str(place)], still | quick]} for place, name in enumerate(names)
    ]
    below: dict[str, Any] = {"y": -0.16, "yanchor": "top", "pad": {"t": 24}}
    hidden = {"font": {"size": 1, "color": "rgba(0,0,0,0)"}, "ticklen": 0, "minorticklen": 0}  # it is said above
    layout = made[0]["layout"] | {
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        "margin": {"t": 84, "r": 16},
        "updatemenus": [{"type": "buttons", "direction": "left", "buttons": buttons, "x": 0, **below}],
        "sliders": [{"steps": steps, "x": 0.2, "len": 0.8, "currentvalue": {"visible": False}, **below, **hidden}],
    }
    keys, _ = legends(sheets[0].plots)
    told = [{"x": [None], "y": [None], "name": inert(text(key.label)), **style(key.look)} for key in keys]
    first = [trace | {"showlegend": False} for trace in frames[0]["data"]]
    everything = {"data": first + told, "layout": layout, "frames": frames, "config": {"displaylogo": False}}
    title = inert(text(sheets[0].title))
    graphs = json.dumps(everything, allow_nan=False).replace("<", "\\u003c")  # a text must not end the script
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:system-ui,sans-serif;margin:1rem}h1{font-size:1rem}#graph{height:80vh}</style></head>"
        f'<body><h1>{title}</h1><div id="graph"></div><script>{script()}</script>'
        f'<script>Plotly.newPlot("graph", {graphs})</script></body></html>\n'
    )


def script() -> str:
    """Plotly's own script, as a browser reads it."""
    found = files("solvable.lab.figures") / "vendor" / "plotly-cartesian.min.js"
    return found.read_text(encoding="utf-8").replace("\r\n", "\n")


def style(look: Look) -> dict[str, Any]:
    """Plotly's mode, line and marker of a look."""
    color = THEMES["light"].color(look.color)
    found: dict[str, Any] = {
        "mode": "+".join([*(["lines"] if look.line else []), *(["markers"] if look.marker else [])]) or "none",
        "line": {"color": color, "width": round(look.width * _PIXELS, 2), "dash": look.line or "solid"},
    }
    if look.opacity < 1:
        found["opacity"] = look.opacity
    if look.marker:
        edge = {
            "color": color if look.hollow or look.marker == "dash" else "#ffffff",
            "width": 1.5 if look.hollow else 0.7,
        }
        face = "#ffffff" if look.hollow else color
        size = round(look.size * _PIXELS * _LARGER, 2)
        found["marker"] = {"symbol": SYMBOLS[look.marker], "size": size, "color": face, "opacity": 1, "line": edge}
    return found


def _traces(mark: AnyMark, plot: Plot) -> list[dict[str, Any]]:
    if isinstance(mark, Mark):
        return [_points(mark, plot)]
    if isinstance(mark, Band):
        x, y = np.concatenate([mark.x, mark.x[::-1]]), np.concatenate([mark.low, mark.high[::-1]])
        fill = {"fill": "toself", "fillcolor": _transparent(mark.look), "line": {"width": 0}, "mode": "lines"}
        return [_trace("scatter", x, y, mark.label, hoverinfo="skip", **fill)]
    if isinstance(mark, Bar):
        made = _trace("bar", mark.x, mark.height, mark.label, width=mark.width)
        made["marker"] = {"color": mark.look.color, "opacity": mark.look.opacity}
        made["customdata"] = [[inert(place_name(plot.x, x))] for x in mark.x]
        return [made | {"hovertemplate": _hover(plot, mark.label, "%{customdata[0]}")}]
    if isinstance(mark, Field):
        return _field(mark, plot)
    if isinstance(mark, Colored):
        colors = {"color": finite_list(mark.value), "colorscale": _scale(SEQUENTIAL), "showscale": True, "size": 12}
        if mark.limits is not None:
            colors |= {"cmin": mark.limits[0], "cmax": mark.limits[1]}
        made = _trace("scatter", mark.x, mark.y, mark.label, mode="markers", marker=colors)
        colors["colorbar"] = _bar(mark.label)
        return [made | {"hovertemplate": f"{made['name']} %{{marker.color:.4~g}}<extra></extra>"}]
    return []


def _trace(kind: str, x: Any, y: Any, label: str, **rest: Any) -> dict[str, Any]:
    return {"type": kind, "name": inert(text(label)), "x": finite_list(x), "y": finite_list(y), **rest}


def _rule(mark: Rule) -> dict[str, Any]:
    (along, across), value = ("x", "y") if mark.upright else ("y", "x"), mark.value
    ends = {f"{along}0": value, f"{along}1": value, f"{across}0": 0, f"{across}1": 1}
    refs = {f"{along}ref": along, f"{across}ref": f"{across} domain"}
    return {"type": "line", "layer": "below", **refs, **ends, "line": style(mark.look)["line"]}


def _points(mark: Mark, plot: Plot) -> dict[str, Any]:
    errors = np.full(len(mark.x), np.nan) if mark.error is None else mark.error
    custom = [
        [inert(place_name(plot.x, x)), inert(place_name(plot.y, y)), f" ± {error:.2g}" if np.isfinite(error) else ""]
        for x, y, error in zip(mark.x, mark.y, errors, strict=True)
    ]
    trace = _trace("scatter", mark.x, mark.y, mark.label, **style(mark.look))
    if mark.of in ("edges", "guide"):
        trace["hoverinfo"] = "skip"
    else:
        trace["customdata"] = custom
        trace["hovertemplate"] = _hover(plot, mark.label, "%{customdata[0]}", "%{customdata[1]}%{customdata[2]}")
    if mark.stepped:
        trace["line"]["shape"] = "hv"
    if mark.every > 1 and "marker" in trace:
        size = trace["marker"]["size"]
        trace["marker"]["size"] = [size if place % mark.every == 0 else 0 for place in range(len(mark.x))]
    if mark.error is not None:
        bars = {"type": "data", "array": finite_list(mark.error), "width": 0, "thickness": 1.2}
        trace["error_y"] = bars | {"color": trace["line"]["color"]}
    return trace


def _field(mark: Field, plot: Plot) -> list[dict[str, Any]]:
    low, high = mark.limits()
    z = [[float(f"{value:.6g}") if np.isfinite(value) else None for value in row] for row in mark.z]
    places = {"type": "contour", "x": finite_list(mark.x), "y": finite_list(mark.y), "z": z}
    trace: dict[str, Any] = {
        **places,
        "zmin": low,
        "zmax": high,
        "colorscale": _scale(DIVERGING if mark.diverging else SEQUENTIAL),
        "contours": {"coloring": "fill", "showlines": False, "start": low, "end": high, "size": (high - low) / 24},
        "colorbar": _bar(mark.label),
        "hovertemplate": _hover(plot, "", last=f"{inert(text(mark.label) or 'value')} %{{z:.4~g}}"),
    }
    lines = [
        {
            **places,
            "autocontour": False,
            "contours": {"coloring": "lines", "start": level, "end": level, "size": 1},
            "colorscale": [[0, "#222222"], [1, "#222222"]],
            "line": {"width": 1.6},
            "showscale": False,
            "hoverinfo": "skip",
            "name": inert(f"{text(mark.label)} {number(level)}"),
        }
        for level in mark.levels
    ]
    return [trace, *lines]


def _note(mark: Words, plot: Plot) -> dict[str, Any]:
    x = math.log10(mark.x) if plot.x.log and not mark.inside else mark.x
    y = math.log10(mark.y) if plot.y.log and not mark.inside else mark.y
    words = "<br>".join(inert(line) for line in text(mark.text).splitlines())
    where = {"xref": "x domain", "yref": "y domain"} if mark.inside else {"xref": "x", "yref": "y"}
    own = {} if mark.inside else {"bgcolor": "rgba(255,255,255,0.65)", "font": {"color": "#222222"}}
    return {"x": float(x), "y": float(y), "text": words, "showarrow": False, **where, **own}


def _axis(axis: Axis, shown: tuple[float, float] | None, width: int) -> dict[str, Any]:
    if axis.hidden:
        return {"visible": False, "title": {"text": ""}, "type": "linear"}
    found: dict[str, Any] = {
        "title": {"text": wrapped(text(axis.label), width)},
        "type": "log" if axis.log else "linear",
    }
    if shown is not None:
        found |= {"range": list(shown), "autorange": False}
    if axis.names is not None:
        found |= {"tickvals": list(axis.names), "ticktext": [inert(text(name)) for name in axis.names.values()]}
    elif axis.log and shown is not None and shown[1] - shown[0] <= _MOST_DECADES:
        # a few decades more than are shown, for those who zoom out
        decades = range(math.floor(shown[0]) - 3, math.ceil(shown[1]) + 3)
        ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
        found |= {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    elif axis.log and shown is not None:
        found["dtick"] = max(1, round((shown[1] - shown[0]) / 6))
    return found


def _hover(plot: Plot, label: str, x: str = "%{x:.4~g}", y: str = "%{y:.4~g}", last: str = "") -> str:
    lines = [f"<b>{inert(text(label))}</b>"] if label else []
    names = text(plot.x.label) or "x", text(plot.y.label) or "y"
    lines += [f"{inert(name)} {value}" for name, value in zip(names, (x, y), strict=True)]
    return "<br>".join([*lines, *([last] if last else [])]) + "<extra></extra>"


def _bar(label: str) -> dict[str, Any]:
    title = {"text": wrapped(text(label), 36), "side": "right"}
    return {"title": title, "thickness": 14, "len": 1, "outlinewidth": 0, "ticklen": 3}


def _scale(name: str) -> Sequence[Any]:
    import matplotlib
    from matplotlib.colors import to_hex

    return [[i / 20, to_hex(matplotlib.colormaps[name](i / 20))] for i in range(21)]


def _transparent(look: Look) -> str:
    color = THEMES["light"].color(look.color)
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{look.opacity:.3g})"
