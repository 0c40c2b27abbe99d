"""The figure of agreement over sizes: simulation minus theory against 1/size, the fitted line, its intercept."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from solvable.lab.comparing.agreement import Row, power_text
from solvable.lab.declare import Experiment
from solvable.lab.declare.grid import varying
from solvable.lab.figures.default import subject
from solvable.lab.figures.plot import FAINT, INK, MARKERS, AnyMark, Axis, Key, Look, Mark, Plot, Rule, Sheet
from solvable.lab.figures.series import MOST_SERIES, plain_number
from solvable.lab.figures.theme import HUES, WRONG, ordered

_DODGE = 0.012  # of the width, between neighbouring series
_MEANINGS = (
    Key("simulation minus theory ± 1 se", Look(FAINT, marker="circle")),
    Key("line and intercept ± 1 se", Look(FAINT, "solid", "circle", 1.0, 5.0, hollow=True)),
)


def sheet(experiment: type[Experiment], rows: Sequence[Row]) -> Sheet | None:
    """One plot per observable of the rows of `finite_size.extrapolate`; None where no row has a line that is not zero.

    Points are mean differences with one standard error at each size; the open marker at infinite size is the intercept
    with its standard error, the quadrature's included. A plot shows the `MOST_SERIES` series with the largest |z| and
    says so where there are more. A line whose intercept is not trusted is dotted; an intercept that differs is red.
    """
    lines = [row for row in rows if row.extrapolation and any((*row.extrapolation.differences, row.comparison.score))]
    if not lines:
        return None
    names = [item.name for item in experiment.observables if any(row.observable == item.name for row in lines)]
    labels = _labels(experiment, lines)
    plots = []
    for name in names:
        found = [row for row in lines if row.observable == name]
        worst = sorted(found, key=lambda row: -abs(row.comparison.score or 0.0))[:MOST_SERIES]
        shown = [row for row in found if any(row is one for one in worst)]
        made = _plot(experiment, name, shown, labels)
        if len(shown) < len(found):
            words = f"the {len(shown)} of {len(found)} series with the largest |z|"
            made = dataclasses.replace(made, title=words)
        plots.append(made)
    return Sheet(plots, f"Does simulation minus theory vanish at infinite {experiment.size_parameter}?")


def _plot(experiment: type[Experiment], name: str, rows: Sequence[Row], labels: Mapping[int, str]) -> Plot:
    observable = next(item for item in experiment.observables if item.name == name)
    sizes = sorted({size for row in rows if row.extrapolation for size in row.extrapolation.sizes})
    width = 1.0 / sizes[0] ** observable.order
    marks: list[AnyMark] = [Rule(0.0, Look(INK, "solid", width=0.7))]
    keys = []
    for place, row in enumerate(rows):
        line, found = row.extrapolation, row.comparison
        assert line is not None
        shift = (place - (len(rows) - 1) / 2) * min(_DODGE, 0.06 / len(rows)) * width
        color = ordered(place, len(rows)) if len(rows) > len(HUES) else HUES[place]
        marker = MARKERS[place % len(MARKERS)]
        at = np.array(line.sizes) ** -line.order
        ends, trusted = np.array([0.0, at.max()]), found.agrees is not None
        fit = Look(color, "solid" if trusted else "dot", width=1.0)
        marks.append(Mark(ends + shift, found.difference + line.slope * ends, fit, of="guide"))
        points = Look(color, marker=marker)
        errors, label = np.asarray(line.standard_errors), labels[id(row)]
        marks.append(Mark(at + shift, np.asarray(line.differences), points, label, errors, of="simulation"))
        edge = WRONG if found.agrees is False else color
        end = Look(edge, marker=marker, size=5.0, hollow=True)
        error = np.array([math.hypot(found.standard_error, line.quadrature)])
        at_infinity = np.array([shift]), np.array([found.difference])
        marks.append(Mark(*at_infinity, end, f"{label}, intercept", error, of="intercept"))
        keys.append(Key(label, Look(color, "solid", marker, 1.0)))
    unit = f" ({observable.unit})" if observable.unit else ""
    x = _abscissa(experiment, sizes, observable.order, width)
    y = Axis(f"{observable.label}{unit}: simulation minus theory")
    return Plot(x, y, marks, [*(keys if len(keys) > 1 else []), *_MEANINGS])


def _abscissa(experiment: type[Experiment], sizes: Sequence[float], order: float, width: float) -> Axis:
    """The sizes where they lie on the scale of 1/size; labels that would touch their neighbour are left out."""
    names = {0.0: "∞"}
    for size in reversed(sizes):
        place = size**-order
        room = place - max(tick for tick, name in names.items() if name) > 0.09 * width
        names[place] = plain_number(size) if room else ""
    scale = power_text(str(experiment.size_parameter), order)
    limits = (-0.05 * width, 1.06 * width)
    return Axis(f"{experiment.size_parameter} (scale: 1/{scale})", names=names, limits=limits)


def _labels(experiment: type[Experiment], rows: Sequence[Row]) -> dict[int, str]:
    """What tells the series apart: the parameters that vary, the point, the overlay where there are several."""
    names = varying([row.parameters for row in rows])
    several, about = len({row.overlay for row in rows}) > 1, subject(experiment)
    found = {}
    for row in rows:
        place = itertools.chain(((name, row.parameters[name]) for name in names), row.point.items())
        words = [about.name(name, value) for name, value in place]
        found[id(row)] = ", ".join([*words, *([row.overlay.replace("_", " ")] if several else [])]) or row.overlay
    return found
