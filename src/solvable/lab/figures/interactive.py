"""A figure made for a file, as Plotly graphs: one per panel, so that the page and the file show one picture.

What is translated is what the artists hold: lines (steps too), error bars, maps with their colour bar, level lines,
scattered points, bands, horizontal and vertical rules, texts, logarithmic axes and named ticks. A panel with anything
else says so in `omitted`, and whoever shows it falls back on the picture itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.category import StrCategoryLocator
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import LogNorm, Normalize, to_hex, to_rgba
from matplotlib.container import ErrorbarContainer
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

from solvable.lab.figures.looks import (
    PIXELS,
    Key,
    broken,
    centres,
    finite_list,
    inert,
    keys,
    label_of,
    line_look,
    number,
    place_name,
    text,
    tick_names,
    wrapped,
)

_MOST_DECADES = 3  # of a logarithmic axis whose ticks are written as plain numbers


@dataclasses.dataclass(frozen=True)
class Series:
    """What one artist of a panel shows, for tables: texts of x, of y, and of the error or the value, point by point."""

    label: str
    points: Sequence[tuple[str, str, str]]
    value: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
    """One panel: Plotly's `data` and `layout` (texts escaped, JSON without NaN), its legend, and its content in words.

    `omitted` names the kinds of artists that are not translated.
    """

    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    legend: list[Key]
    x_label: str
    y_label: str
    series: list[Series]
    description: str
    omitted: tuple[str, ...]


def panels(figure: Figure) -> list[Panel]:
    """Every panel of a figure; colour bars belong to the panel of their map."""
    bars: list[Any] = [getattr(item, "colorbar", None) for axes in figure.axes for item in axes.get_children()]
    taken = {id(bar.ax) for bar in bars if bar is not None}
    return [_Translation(axes).panel() for axes in figure.axes if axes.axison and id(axes) not in taken]


def legend(figure: Figure) -> list[Key]:
    """The keys of the figure's own legend."""
    return [key for found in figure.legends for key in keys(found, {})]


class _Translation:
    """One panel while it is translated."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.data: list[dict[str, Any]] = []
        self.shapes: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []
        self.series: list[Series] = []
        self.omitted: list[str] = []
        self.x_label, self.y_label = text(axes.get_xlabel()), text(axes.get_ylabel())
        self.x_names, self.y_names = tick_names(axes.xaxis), tick_names(axes.yaxis)

    def panel(self) -> Panel:
        """The panel."""
        bars: list[Any] = [item for item in self.axes.containers if isinstance(item, ErrorbarContainer)]
        done = {id(item) for bar in bars for item in (bar.lines[0], *bar.lines[1], *bar.lines[2])}
        scales = {self.axes.get_xscale(), self.axes.get_yscale()} - {"linear", "log"}
        self.omitted += [f"{scale} scale" for scale in sorted(scales)]
        for axis in (self.axes.xaxis, self.axes.yaxis):
            if axis.have_units() and not isinstance(axis.get_major_locator(), StrCategoryLocator):
                self.omitted.append("axis in dates or units")
        # Plotly draws later traces above earlier ones
        for artist in sorted(self.axes.get_children(), key=lambda item: item.get_zorder()):
            if artist.get_visible() and id(artist) not in done:
                self._artist(artist)
        for bar in bars:
            self._error_bars(bar)
        title = " ".join(text(self.axes.get_title()).split())
        own = self.axes.get_legend()
        stood_for = {str(bar.get_label()): bar.lines[0] or bar.lines[2][0] for bar in bars}
        return Panel(
            title,
            self.data,
            self._layout(),
            [] if own is None else keys(own, stood_for),
            self.x_label,
            self.y_label,
            self.series,
            self._description(title),
            tuple(dict.fromkeys(self.omitted)),
        )

    def _artist(self, artist: Artist) -> None:
        known: list[tuple[type, Callable[[Any], None]]] = [
            (Line2D, self._line),
            (QuadMesh, self._mesh),
            (AxesImage, self._image),
            (ContourSet, self._levels),
            (PathCollection, self._scatter),
            (PolyCollection, self._bands),
            (Text, self._note),
        ]
        for kind, translate in known:
            if isinstance(artist, kind):
                translate(artist)
                return
        furniture = (self.axes.patch, self.axes.xaxis, self.axes.yaxis, *self.axes.spines.values())
        if artist not in furniture and not isinstance(artist, Legend):
            self.omitted.append(type(artist).__name__)

    def _line(self, line: Line2D) -> None:
        x, y = np.asarray(line.get_xdata(orig=False), dtype=float), np.asarray(line.get_ydata(orig=False), dtype=float)
        in_x, in_y = line.get_transform().contains_branch_seperately(self.axes.transData)
        if not (in_x and in_y):
            if len(x) == len(y) == 2 and (in_x or in_y):
                self._rule(line, x, y, in_x)
            else:
                self.omitted.append("line in axes coordinates")
            return
        self._scatter_trace(label_of(line), x, y, line_look(line), {})

    def _rule(self, line: Line2D, x: np.ndarray, y: np.ndarray, in_x: bool) -> None:
        look = line_look(line)["line"]
        drawn = {"color": look["color"], "width": look["width"], "dash": look["dash"]}
        shape: dict[str, Any] = {"type": "line", "layer": "below", "line": drawn}
        shape |= {"xref": "x" if in_x else "x domain", "yref": "y domain" if in_x else "y"}
        shape |= {"x0": float(x[0]), "x1": float(x[1]), "y0": float(y[0]), "y1": float(y[1])}
        self.shapes.append(shape)

    def _error_bars(self, container: Any) -> None:
        line, bars = container.lines[0], list(container.lines[2])
        look: dict[str, Any] = {"mode": "markers", "marker": {"size": 0}}
        if line is not None:
            look = line_look(line)
            x, y = (
                np.asarray(line.get_xdata(orig=False), dtype=float),
                np.asarray(line.get_ydata(orig=False), dtype=float),
            )
        else:
            middles = [np.mean(segment, axis=0) for segment in bars[0].get_segments()]
            x, y = np.reshape(middles, (-1, 2)).T
        extra: dict[str, Any] = {}
        errors: np.ndarray | None = None
        for kind, there in (("x", container.has_xerr), ("y", container.has_yerr)):
            if not there:
                continue
            drawn = bars.pop(0)
            place = 0 if kind == "x" else 1
            middle = (x, y)[place]
            # a segment without a length is one that has no ends
            ends = [tuple(ends[:, place]) if len(ends) == 2 else (np.nan, np.nan) for ends in drawn.get_segments()]
            low, high = np.reshape(np.asarray(ends), (-1, 2)).T
            color, width = to_hex(drawn.get_edgecolor()[0]), float(drawn.get_linewidth()[0]) * PIXELS
            extra[f"error_{kind}"] = {
                "type": "data",
                "symmetric": False,
                "width": 0,
                "color": color,
                "thickness": round(width, 2),
                "array": finite_list(high - middle),
                "arrayminus": finite_list(middle - low),
            }
            errors = (high - low) / 2 if kind == "y" else errors
        self._scatter_trace(label_of(container), x, y, look, extra, errors)

    def _scatter_trace(
        self,
        label: str,
        x: np.ndarray,
        y: np.ndarray,
        look: dict[str, Any],
        extra: dict[str, Any],
        errors: np.ndarray | None = None,
    ) -> None:
        custom = [
            [place_name(self.x_names, a), place_name(self.y_names, b), "" if errors is None else f" ± {errors[i]:.2g}"]
            for i, (a, b) in enumerate(zip(x, y, strict=True))
        ]
        self.data.append(
            {
                "type": "scatter",
                "name": escape(label, quote=False),
                "x": finite_list(x),
                "y": finite_list(y),
                **look,
                **extra,
                "customdata": [[escape(item, quote=False) for item in row] for row in custom],
                "hovertemplate": self._hover(label, "%{customdata[0]}", "%{customdata[1]}%{customdata[2]}"),
            }
        )
        shown = [(a, b, c.removeprefix(" ± ")) for (a, b, c), ok in zip(custom, np.isfinite(y), strict=True) if ok]
        self.series.append(Series(label, shown))

    def _mesh(self, mesh: QuadMesh) -> None:
        corners = np.asarray(mesh.get_coordinates())
        x, y = corners[0, :, 0], corners[:, 0, 1]
        if not (np.allclose(corners[..., 0], x) and np.allclose(corners[..., 1], y[:, None])):
            self.omitted.append("map on a bent grid")
            return
        values = np.ma.filled(np.ma.asarray(mesh.get_array(), dtype=float), np.nan)
        if values.ndim > 2 or values.size != (len(x) - 1) * (len(y) - 1):
            self.omitted.append("shaded map")
            return
        self._map(mesh, centres(x), centres(y), values.reshape(len(y) - 1, len(x) - 1))

    def _image(self, image: AxesImage) -> None:
        values = np.ma.filled(np.ma.asarray(image.get_array(), dtype=float), np.nan)
        if values.ndim != 2:
            self.omitted.append("image in colours")
            return
        left, right, bottom, top = image.get_extent()
        rows, columns = values.shape
        x = left + (np.arange(columns) + 0.5) * (right - left) / columns
        y = bottom + (np.arange(rows) + 0.5) * (top - bottom) / rows
        self._map(image, x, y, values if image.origin == "lower" else values[::-1])

    def _map(self, drawn: Any, x: np.ndarray, y: np.ndarray, values: np.ndarray) -> None:
        norm: Any = drawn.norm
        if type(norm) not in (Normalize, LogNorm):
            self.omitted.append(f"colours by {type(norm).__name__}")
            return
        logarithmic = type(norm) is LogNorm
        with np.errstate(divide="ignore", invalid="ignore"):
            shown = np.log10(values) if logarithmic else values
        ends: list[Any] = [norm.vmin, norm.vmax]
        low, high = (math.log10(end) for end in ends) if logarithmic else ends
        bar = drawn.colorbar
        label = "" if bar is None else text(bar.ax.get_ylabel() or bar.ax.get_xlabel())
        trace: dict[str, Any] = {
            "type": "heatmap",
            "x": finite_list(x),
            "y": finite_list(y),
            "z": [finite_list(row) for row in shown],
            "zmin": float(low),
            "zmax": float(high),
            "showscale": bar is not None,
            "colorscale": [[i / 20, to_hex(drawn.cmap(i / 20))] for i in range(21)],
            "customdata": [[number(value) if np.isfinite(value) else "missing" for value in row] for row in values],
            "hovertemplate": self._hover("", last=f"{inert(label or 'value')} %{{customdata}}"),
        }
        if bar is not None:
            trace["colorbar"] = {"title": {"text": wrapped(label, 36), "side": "right"}, "thickness": 14, "len": 1}
            trace["colorbar"] |= {"outlinewidth": 0, "ticklen": 3}
            if logarithmic:
                ticks = range(math.ceil(low), math.floor(high) + 1)
                trace["colorbar"] |= {"tickvals": list(ticks), "ticktext": [f"10<sup>{tick}</sup>" for tick in ticks]}
        self.data.append(trace)
        points = [
            (place_name(self.x_names, float(x[j])), place_name(self.y_names, float(y[i])), number(float(values[i, j])))
            for i, j in np.ndindex(*values.shape)
            if np.isfinite(values[i, j])
        ]
        self.series.append(Series(label or "value", points, value=True))

    def _levels(self, levels: Any) -> None:
        if levels.filled:
            self.omitted.append("filled levels")
            return
        bar = getattr(levels, "colorbar", None)
        label = "" if bar is None else text(bar.ax.get_ylabel())
        for place, (level, path) in enumerate(zip(levels.levels, levels.get_paths(), strict=True)):
            x, y = broken(path.to_polygons(closed_only=False))
            colors, widths = levels.get_edgecolor(), levels.get_linewidth()
            width = float(np.atleast_1d(widths)[place % len(np.atleast_1d(widths))])
            line = {"color": to_hex(colors[place % len(colors)]), "width": round(width * PIXELS, 2)}
            name = f"{label or 'level'} {number(level)}"
            self.data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": finite_list(x),
                    "y": finite_list(y),
                    "line": line,
                    "name": escape(name, quote=False),
                    "hovertemplate": self._hover(name),
                }
            )

    def _scatter(self, points: Any) -> None:
        points.update_scalarmappable()  # as drawing does
        offsets = np.ma.filled(np.ma.asarray(points.get_offsets(), dtype=float), np.nan)
        colors = [to_hex(color) for color in points.get_facecolor()] or [to_hex(c) for c in points.get_edgecolor()]
        sizes = (np.sqrt(points.get_sizes()) * PIXELS).round(2).tolist()
        marker = {"color": colors[0] if len(colors) == 1 else colors, "size": sizes[0] if len(sizes) == 1 else sizes}
        look = {"mode": "markers", "marker": marker}
        self._scatter_trace(label_of(points), offsets[:, 0], offsets[:, 1], look, {})

    def _bands(self, bands: Any) -> None:
        if not len(bands.get_facecolor()):
            self.omitted.append("outline")
            return
        red, green, blue, opacity = to_rgba(bands.get_facecolor()[0])
        x, y = broken([path.vertices for path in bands.get_paths()])
        color = f"rgba({red * 255:.0f},{green * 255:.0f},{blue * 255:.0f},{opacity:.3g})"
        label = label_of(bands)
        self.data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": finite_list(x),
                "y": finite_list(y),
                "line": {"width": 0},
                "fill": "toself",
                "fillcolor": color,
                "name": escape(label, quote=False),
                "hoverinfo": "skip",
            }
        )

    def _note(self, note: Any) -> None:
        titles = [self.axes.title, *(getattr(self.axes, f"_{side}_title", None) for side in ("left", "right"))]
        if not note.get_text() or note in titles:
            return
        x, y = note.get_position()
        inside = note.get_transform() == self.axes.transAxes
        if not inside and note.get_transform() != self.axes.transData:
            self.omitted.append("text")
            return
        words = "<br>".join(inert(line) for line in text(note.get_text()).splitlines())
        if not inside:
            x = math.log10(x) if self.axes.get_xscale() == "log" else x
            y = math.log10(y) if self.axes.get_yscale() == "log" else y
        self.notes.append(
            {
                "x": float(x),
                "y": float(y),
                "text": words,
                "showarrow": False,
                "xref": "x domain" if inside else "x",
                "yref": "y domain" if inside else "y",
                "xanchor": note.get_horizontalalignment(),
                "yanchor": {"center": "middle", "baseline": "bottom", "center_baseline": "middle"}.get(
                    note.get_verticalalignment(), note.get_verticalalignment()
                ),
            }
        )

    def _layout(self) -> dict[str, Any]:
        layout: dict[str, Any] = {
            "xaxis": self._axis(self.axes.xaxis, self.x_label, self.axes.get_xlim(), self.x_names),
            "yaxis": self._axis(self.axes.yaxis, self.y_label, self.axes.get_ylim(), self.y_names),
        }
        return (
            layout
            | ({"shapes": self.shapes} if self.shapes else {})
            | ({"annotations": self.notes} if self.notes else {})
        )

    def _axis(self, axis: Any, label: str, limits: tuple[float, float], names: dict[float, str]) -> dict[str, Any]:
        logarithmic = axis.get_scale() == "log"
        span = [math.log10(end) for end in limits] if logarithmic else [float(end) for end in limits]
        found: dict[str, Any] = {
            "title": {"text": wrapped(label, 46 if axis is self.axes.xaxis else 34)},
            "range": span,
            "autorange": False,
        }
        found["type"] = "log" if logarithmic else "linear"
        if names:
            found |= {"tickvals": list(names), "ticktext": [inert(name) for name in names.values()]}
        elif logarithmic and isinstance(axis.get_major_locator(), FixedLocator):
            ticks = [float(tick) for tick in axis.get_ticklocs()]
            found |= {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
        elif logarithmic and abs(span[1] - span[0]) <= _MOST_DECADES:
            # a few decades more than are shown, for those who zoom out
            decades = range(math.floor(min(span)) - 3, math.ceil(max(span)) + 3)
            ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
            found |= {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
        elif logarithmic:
            found["dtick"] = max(1, round(abs(span[1] - span[0]) / 6))
        return found

    def _hover(self, label: str, x: str = "%{x:.4~g}", y: str = "%{y:.4~g}", last: str = "") -> str:
        lines = [f"<b>{inert(label)}</b>"] if label else []
        lines += [f"{inert(name)} {value}" for name, value in ((self.x_label or "x", x), (self.y_label or "y", y))]
        return "<br>".join([*lines, *([last] if last else [])]) + "<extra></extra>"

    def _description(self, title: str) -> str:
        parts = [f"{title}." if title else ""]
        for letter, label, axis in (("x", self.x_label, self.axes.xaxis), ("y", self.y_label, self.axes.yaxis)):
            low, high = sorted(axis.get_view_interval())
            kind = ", logarithmic" if axis.get_scale() == "log" else ""
            names = (self.x_names if letter == "x" else self.y_names).values()
            span = ", ".join(names) if names else f"from {number(low)} to {number(high)}"
            parts.append(f"{letter}: {label or letter}{kind}, {span}.")
        for one in self.series:
            count = len(one.points)
            if one.value:
                values = [float(point[2].replace("\N{MINUS SIGN}", "-")) for point in one.points]
                spread = f" from {number(min(values))} to {number(max(values))}" if values else ""
                parts.append(f"Map of {one.label} at {count} points{spread}.")
            elif count:
                errors = " with error bars" if any(point[2] for point in one.points) else ""
                ends = f"{one.points[0][1]} at {one.points[0][0]}"
                ends += f" to {one.points[-1][1]} at {one.points[-1][0]}" if count > 1 else ""
                parts.append(f"{one.label or 'Series'}: {count} point{'s' * (count > 1)}{errors}, {ends}.")
        return " ".join(part for part in parts if part)
