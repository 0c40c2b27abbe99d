"""Plots as Plotly's data and layout, for pages: JSON without NaN, every text escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from solvable.lab.figures.plot import AnyMark, Axis, Band, Colored, Columns, Field, Look, Mark, Plot, Rule, Words
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
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    data = [trace for mark in plot.marks for trace in _traces(mark, plot, shapes, notes)]
    layout: dict[str, Any] = {
        letter + "axis": _axis(axis, span, 46 if letter == "x" else 34)
        for letter, axis, span in (("x", plot.x, _span(plot, 0)), ("y", plot.y, _span(plot, 1)))
    }
    if shapes:
        layout["shapes"] = shapes
    if notes:
        layout["annotations"] = notes
    return {"data": data, "layout": layout}


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


def _traces(
    mark: AnyMark, plot: Plot, shapes: list[dict[str, Any]], notes: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    if isinstance(mark, Mark):
        return [_points(mark, plot)]
    if isinstance(mark, Band):
        x = np.concatenate([mark.x, mark.x[::-1]])
        y = np.concatenate([mark.low, mark.high[::-1]])
        fill = {"fill": "toself", "fillcolor": _transparent(mark.look), "line": {"width": 0}, "mode": "lines"}
        return [
            {
                "type": "scatter",
                "x": finite_list(x),
                "y": finite_list(y),
                "hoverinfo": "skip",
                "name": inert(mark.label),
                **fill,
            }
        ]
    if isinstance(mark, Columns):
        return [
            {
                "type": "bar",
                "x": finite_list(mark.x),
                "y": finite_list(mark.height),
                "width": mark.width,
                "name": inert(text(mark.label)),
                "marker": {"color": mark.look.color, "opacity": mark.look.opacity},
                "customdata": [[inert(place_name(plot.x, x))] for x in mark.x],
                "hovertemplate": _hover(plot, mark.label, "%{customdata[0]}"),
            }
        ]
    if isinstance(mark, Field):
        return _field(mark, plot)
    if isinstance(mark, Colored):
        colors = {"color": finite_list(mark.value), "colorscale": _scale(SEQUENTIAL), "showscale": True, "size": 12}
        colors["colorbar"] = _bar(mark.label)
        return [
            {"type": "scatter", "mode": "markers", "x": finite_list(mark.x), "y": finite_list(mark.y), "marker": colors}
            | {"hovertemplate": f"{inert(text(mark.label))} %{{marker.color:.4~g}}<extra></extra>"}
        ]
    if isinstance(mark, Rule):
        across, along = ("x", "y domain") if mark.upright else ("x domain", "y")
        ends: dict[str, Any] = {"x0": mark.value, "x1": mark.value, "y0": 0, "y1": 1}
        if not mark.upright:
            ends = {"x0": 0, "x1": 1, "y0": mark.value, "y1": mark.value}
        shapes.append(
            {"type": "line", "layer": "below", "xref": across, "yref": along, **ends, "line": style(mark.look)["line"]}
        )
        return []
    _note(mark, plot, notes)
    return []


def _points(mark: Mark, plot: Plot) -> dict[str, Any]:
    errors = [""] * len(mark.x) if mark.error is None else [f" ± {one:.2g}" for one in mark.error]
    custom = [
        [inert(place_name(plot.x, x)), inert(place_name(plot.y, y)), error]
        for x, y, error in zip(mark.x, mark.y, errors, strict=True)
    ]
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": inert(text(mark.label)),
        "x": finite_list(mark.x),
        "y": finite_list(mark.y),
        **style(mark.look),
    }
    if mark.of == "edges" or mark.of == "guide":
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
        color = THEMES["light"].color(mark.look.color)
        trace["error_y"] = {
            "type": "data",
            "array": finite_list(mark.error),
            "width": 0,
            "color": color,
            "thickness": 1.2,
        }
    return trace


def _field(mark: Field, plot: Plot) -> list[dict[str, Any]]:
    low, high = mark.limits()
    trace: dict[str, Any] = {
        "type": "contour",
        "x": finite_list(mark.x),
        "y": finite_list(mark.y),
        "z": [finite_list(np.round(row, 6)) for row in mark.z],
        "zmin": low,
        "zmax": high,
        "colorscale": _scale(DIVERGING if mark.diverging else SEQUENTIAL),
        "contours": {"coloring": "fill", "showlines": False, "start": low, "end": high, "size": (high - low) / 24},
        "colorbar": _bar(mark.label),
        "hovertemplate": _hover(plot, "", last=f"{inert(text(mark.label) or 'value')} %{{z:.4~g}}"),
    }
    lines = [
        {
            "type": "contour",
            "x": trace["x"],
            "y": trace["y"],
            "z": trace["z"],
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


def _note(mark: Words, plot: Plot, notes: list[dict[str, Any]]) -> None:
    x = math.log10(mark.x) if plot.x.log and not mark.inside else mark.x
    y = math.log10(mark.y) if plot.y.log and not mark.inside else mark.y
    words = "<br>".join(inert(line) for line in text(mark.text).splitlines())
    where = {"xref": "x domain", "yref": "y domain"} if mark.inside else {"xref": "x", "yref": "y"}
    own = {} if mark.inside else {"bgcolor": "rgba(255,255,255,0.65)", "font": {"color": "#222222"}}
    notes.append({"x": float(x), "y": float(y), "text": words, "showarrow": False, **where, **own})


def _axis(axis: Axis, span: tuple[float, float] | None, width: int) -> dict[str, Any]:
    if axis.hidden:
        return {"visible": False, "title": {"text": ""}, "type": "linear"}
    found: dict[str, Any] = {
        "title": {"text": wrapped(text(axis.label), width)},
        "type": "log" if axis.log else "linear",
    }
    if span is not None:
        found |= {"range": list(span), "autorange": False}
    if axis.names is not None:
        found |= {"tickvals": list(axis.names), "ticktext": [inert(text(name)) for name in axis.names.values()]}
    elif axis.log and span is not None and span[1] - span[0] <= _MOST_DECADES:
        # a few decades more than are shown, for those who zoom out
        decades = range(math.floor(span[0]) - 3, math.ceil(span[1]) + 3)
        ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
        found |= {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    elif axis.log and span is not None:
        found["dtick"] = max(1, round((span[1] - span[0]) / 6))
    return found


def _span(plot: Plot, place: int) -> tuple[float, float] | None:
    """What an axis shows, in decades where it is logarithmic: what is drawn and a margin, unless limits are set."""
    axis = (plot.x, plot.y)[place]
    values = np.concatenate([np.zeros(0), *(part for mark in plot.marks for part in _extent(mark, place))])
    low, high = axis.limits
    if axis.log:
        values = np.log10(values[values > 0])
        low, high = (None if one is None else math.log10(one) for one in (low, high))
    values = values[np.isfinite(values)]
    if not values.size:
        return None if low is None or high is None else (low, high)
    ends = float(values.min()), float(values.max())
    field = any(isinstance(mark, Field) for mark in plot.marks)
    margin = 0.0 if field else 0.06 * (ends[1] - ends[0]) or 0.5
    return (ends[0] - margin if low is None else low, ends[1] + margin if high is None else high)


def _extent(mark: AnyMark, place: int) -> list[np.ndarray]:
    if isinstance(mark, Rule):
        return [np.array([mark.value])] if mark.upright == (place == 0) else []
    if isinstance(mark, Words):
        return []
    if place == 0:
        return [np.asarray(mark.x, float)]
    if isinstance(mark, Band):
        return [mark.low, mark.high]
    if isinstance(mark, Columns):
        return [mark.height, np.zeros(1)]
    if isinstance(mark, Mark) and mark.error is not None:
        return [mark.y - mark.error, mark.y + mark.error]
    return [np.asarray(mark.y, float)]


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
