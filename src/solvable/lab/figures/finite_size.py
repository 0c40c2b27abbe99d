"""The figure of agreement over sizes: simulation minus theory against 1/size, the fitted line, its intercept."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from solvable.lab.comparing.agreement import Row, power_text
from solvable.lab.declare import Experiment
from solvable.lab.figures.theme import FAINT, HUES, INK, MARKERS, MOST_SERIES, STYLE, name_of, ordered, plain_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WRONG = "#B00020"
_DODGE = 0.012  # of the width, between neighbouring series


def figure(experiment: type[Experiment], rows: Sequence[Row]) -> Figure | None:
    """One panel per observable of the rows of `sizes.extrapolate`; None where no row has a line that is not zero.

    Points are mean differences with one standard error at each size; the open marker at infinite size is the intercept
    with its standard error, the quadrature's included. A panel shows the `style.MOST_SERIES` series with the largest
    |z| and says so where there are more. A line whose intercept is not trusted is dotted; an intercept that differs is
    ringed in red.
    """
    lines = [row for row in rows if row.extrapolation and any((*row.extrapolation.differences, row.comparison.score))]
    if not lines:
        return None
    names = [item.name for item in experiment.observables if any(row.observable == item.name for row in lines)]
    shown = {name: _most_deviating([row for row in lines if row.observable == name]) for name in names}
    labels = _labels(experiment, lines)
    common = len({tuple(labels[id(row)] for row in shown[name]) for name in names}) == 1
    columns = len(names) if len(names) <= 3 else 2 if len(names) == 4 else 3
    beside = 2 if max(map(len, labels.values())) <= 12 else 1
    with matplotlib.rc_context(STYLE):
        height = 2.05 if common else 2.15 + 0.15 * math.ceil(max(map(len, shown.values())) / beside)
        size = (0.35 + 2.55 * columns if columns > 1 else 3.6, 0.85 + height * math.ceil(len(names) / columns))
        made = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(made)
        made.get_layout_engine().set(w_pad=0.05, h_pad=0.04, wspace=0.03, hspace=0.05)  # type: ignore[union-attr]
        grid = made.subplots(math.ceil(len(names) / columns), columns, squeeze=False).ravel()
        handles: list[Line2D] = []
        for name, axes in zip(names, grid, strict=False):
            handles = _draw(experiment, name, shown[name], labels, axes)
            total = sum(row.observable == name for row in lines)
            if len(shown[name]) < total:
                axes.set_title(f"the {len(shown[name])} of {total} series with the largest |z|", color=FAINT)
            if not common and len(handles) > 1:
                below: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "fontsize": 6}
                axes.legend(handles=handles, ncols=beside, frameon=False, **below)
        for axes in grid[len(names) :]:
            axes.set_axis_off()
        meaning = [
            Line2D([], [], color=FAINT, marker="o", ls="none", label="simulation minus theory ± 1 se", **_POINT),
            Line2D([], [], color=FAINT, marker="o", ls="-", label="line and intercept ± 1 se", **_INTERCEPT),
        ]
        series = handles if common and len(handles) > 1 else []
        widest = max(len(str(handle.get_label())) for handle in [*series, *meaning])
        across = max(1, min(len(series) + 2, int((columns * 62 if columns > 1 else 70) / (widest + 9))))
        made.legend(handles=[*series, *meaning], loc="outside lower center", ncols=across, frameon=False)
        title = f"{experiment.name}: does simulation minus theory vanish at infinite {experiment.size_parameter}?"
        made.suptitle("\n".join(textwrap.wrap(title, int(made.get_figwidth() * 16.5))), fontsize=8.5, color=INK)
    return made


_POINT: Any = {"ms": 4.0, "mec": "white", "mew": 0.5}
_INTERCEPT: Any = {"ms": 5.0, "mfc": "white", "mew": 1.1, "lw": 1.1}


def _draw(
    experiment: type[Experiment], name: str, rows: Sequence[Row], labels: Mapping[int, str], axes: Axes
) -> list[Line2D]:
    observable = next(item for item in experiment.observables if item.name == name)
    sizes = sorted({size for row in rows if row.extrapolation for size in row.extrapolation.sizes})
    width = 1.0 / sizes[0] ** observable.order
    axes.axhline(0.0, color=INK, lw=0.7, zorder=1)
    handles = []
    for place, row in enumerate(rows):
        line, found = row.extrapolation, row.comparison
        assert line is not None
        shift = (place - (len(rows) - 1) / 2) * min(_DODGE, 0.06 / len(rows)) * width
        color, marker = _look(place, len(rows))
        at = np.array(line.sizes) ** -line.order
        ends = np.array([0.0, at.max()])
        style = "-" if found.agrees is not None else ":"
        axes.plot(ends + shift, found.difference + line.slope * ends, style, color=color, lw=1.0, zorder=2)
        bars: Any = {"fmt": marker, "color": color, "elinewidth": 0.9, "zorder": 3}
        axes.errorbar(at + shift, line.differences, yerr=line.errors, **bars, **_POINT)
        edge = _WRONG if found.agrees is False else color
        error = math.hypot(found.standard_error, line.quadrature)
        drawn = axes.errorbar([shift], [found.difference], yerr=[error], **bars, **_INTERCEPT, mec=edge, clip_on=False)
        drawn.lines[0].set_gid(f"intercept:{place}")
        handles.append(Line2D([], [], label=labels[id(row)], color=color, marker=marker, lw=1.0, **_POINT))
    _abscissa(experiment, axes, sizes, observable.order, width)
    unit = f" ({observable.unit})" if observable.unit else ""
    axes.set_ylabel(f"{observable.label}{unit}:\nsimulation minus theory")
    return handles


def _abscissa(experiment: type[Experiment], axes: Axes, sizes: Sequence[float], order: float, width: float) -> None:
    """The sizes where they lie on the scale of 1/size; labels that would touch their neighbour are left out."""
    ticks, names = [0.0], ["∞"]
    for size in reversed(sizes):
        ticks.append(size**-order)
        room = ticks[-1] - max(tick for tick, name in zip(ticks, names, strict=False) if name) > 0.09 * width
        names.append(plain_number(size) if room else "")
    axes.set_xticks(ticks, names, fontsize=6)
    axes.set_xlim(-0.05 * width, 1.06 * width)
    scale = power_text(str(experiment.size_parameter), order)
    axes.set_xlabel(f"{experiment.size_parameter} (scale: 1/{scale})")


def _most_deviating(rows: Sequence[Row]) -> list[Row]:
    worst = sorted(rows, key=lambda row: -abs(row.comparison.score or 0.0))[:MOST_SERIES]
    return [row for row in rows if any(row is one for one in worst)]


def _labels(experiment: type[Experiment], rows: Sequence[Row]) -> dict[int, str]:
    """What tells the series apart: the parameters that vary, the point, the overlay where there are several."""
    varying = [name for name in rows[0].parameters if len({str(row.parameters[name]) for row in rows}) > 1]
    several = len({row.overlay for row in rows}) > 1
    found = {}
    for row in rows:
        place = itertools.chain(((name, row.parameters[name]) for name in varying), row.point.items())
        words = [name_of(experiment, name, value) for name, value in place]
        found[id(row)] = ", ".join([*words, *([row.overlay.replace("_", " ")] if several else [])]) or row.overlay
    return found


def _look(place: int, count: int) -> tuple[tuple[float, float, float], str]:
    if count > len(HUES):
        return ordered(place, count), MARKERS[place % len(MARKERS)]
    return to_rgb(HUES[place]), MARKERS[place]
