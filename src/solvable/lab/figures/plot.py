"""What is drawn, whoever draws it: marks between two axes, with a legend. Renderers know this and nothing else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

INK, FAINT = "ink", "faint"  # colours that follow the ground
Line = Literal["", "solid", "dash", "dot", "dashdot"]
Marker = Literal["", "circle", "square", "triangle", "wedge", "plus", "cross", "diamond", "dash"]
LINES: tuple[Line, ...] = ("solid", "dash", "dot", "dashdot")
MARKERS: tuple[Marker, ...] = ("circle", "square", "triangle", "wedge", "plus", "cross")


@dataclasses.dataclass(frozen=True)
class Look:
    """How a mark looks; widths and sizes in points, colours as #rrggbb or as `INK` and `FAINT`."""

    color: str = INK
    line: Line = ""
    marker: Marker = ""
    width: float = 1.3
    size: float = 4.0
    hollow: bool = False
    opacity: float = 1.0


@dataclasses.dataclass(frozen=True)
class Mark:
    """Points (x, y), joined where the look has a line; `error` is one standard error, `every` the step of markers.

    `stepped` holds each value until the next point. `of` says what the numbers are: runs, a theory, a guide.
    """

    x: np.ndarray
    y: np.ndarray
    look: Look
    label: str = ""
    error: np.ndarray | None = None
    every: int = 1
    stepped: bool = False
    of: str = ""


@dataclasses.dataclass(frozen=True)
class Band:
    """The region between two curves."""

    x: np.ndarray
    low: np.ndarray
    high: np.ndarray
    look: Look
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Rule:
    """A line across the plot at one value of x ("upright") or of y ("level")."""

    value: float
    look: Look
    upright: bool = False
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Bar:
    """Bars of one width on zero."""

    x: np.ndarray
    height: np.ndarray
    width: float
    look: Look
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Field:
    """Values z (y, x) as filled contours with a colour bar; level lines on top."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    label: str = ""
    levels: Sequence[float] = ()
    diverging: bool = False

    def limits(self) -> tuple[float, float]:
        """The values of the two ends of the colours."""
        there = self.z[np.isfinite(self.z)]
        low, high = (float(there.min()), float(there.max())) if there.size else (0.0, 1.0)
        if self.diverging:
            low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
        return (low, high) if high > low else (low - 0.5, high + 0.5)


@dataclasses.dataclass(frozen=True)
class Colored:
    """Points coloured by a value, with a colour bar over `limits`, those of the values for None."""

    x: np.ndarray
    y: np.ndarray
    value: np.ndarray
    label: str = ""
    size: float = 9.0
    limits: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Words:
    """A text at a point, or where `inside` at a share of the plot's width and height."""

    x: float
    y: float
    text: str
    inside: bool = False


AnyMark = Mark | Band | Rule | Bar | Field | Colored | Words


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis; `names` are the texts at the places that have one, None means numbers."""

    label: str = ""
    log: bool = False
    names: Mapping[float, str] | None = None
    limits: tuple[float | None, float | None] = (None, None)
    hidden: bool = False


@dataclasses.dataclass(frozen=True)
class Key:
    """One entry of a legend; `common` where it tells what kinds of marks mean, not one series from another."""

    label: str
    look: Look
    common: bool = False


@dataclasses.dataclass(frozen=True)
class Plot:
    """One panel: its marks, drawn in order, its axes, its legend. `own` draws it into axes of Matplotlib instead.

    `refused` says that it has too many series to be told apart.
    """

    x: Axis = Axis()
    y: Axis = Axis()
    marks: Sequence[AnyMark] = ()
    keys: Sequence[Key] = ()
    title: str = ""
    own: Callable[[Any], Any] | None = None
    refused: bool = False


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Plots side by side under one title."""

    plots: Sequence[Plot]
    title: str = ""


def note(words: str, title: str = "", **about: Any) -> Plot:
    """A plot that says why there is nothing to see."""
    hidden = Axis(hidden=True)
    marks = [Words(0.5, 0.5, words, inside=True)]
    return Plot(**{"x": hidden, "y": hidden, "marks": marks, "title": title, **about})


def _told(plot: Plot) -> dict[str, set[str]]:
    """The labels of the series of each colour."""
    found: dict[str, set[str]] = {}
    for key in plot.keys:
        if not key.common and key.look.color not in (INK, FAINT):
            found.setdefault(key.look.color, set()).add(key.label)
    return found


def legends(plots: Iterable[Plot]) -> tuple[list[Key], list[Plot]]:
    """The keys of one legend under all plots, or none and the plots that have one each: where one label has two looks,
    or there are many."""
    plots = list(plots)
    keys = list(dict.fromkeys(key for plot in plots for key in plot.keys))
    first = {key.label: key for key in sorted(keys, key=lambda key: key.look.color != FAINT, reverse=True)}
    alike = all(key.common or key.look.color == first[key.label].look.color for key in keys)
    # one colour that tells two things in two plots would be read wrongly
    told = [_told(plot) for plot in plots]
    alike &= all(one[color] == other[color] for one in told for other in told for color in one.keys() & other.keys())
    alike &= not any(key.common and any(key.look.color in one for one in told) for key in first.values())
    if len(plots) == 1 or (alike and len(first) <= 14):
        return [key for key in keys if first[key.label] is key], []
    return [], [plot for plot in plots if plot.keys]


def span(plot: Plot, place: int) -> tuple[float, float] | None:
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
    bars = any(isinstance(mark, Bar) for mark in plot.marks) and place == 1 and ends[0] == 0.0  # which stand on zero
    return (ends[0] - margin * (not bars) if low is None else low, ends[1] + margin if high is None else high)


def _extent(mark: AnyMark, place: int) -> list[np.ndarray]:
    if isinstance(mark, Rule):
        return [np.array([mark.value])] if mark.upright == (place == 0) else []
    if isinstance(mark, Words):
        return []
    if place == 0:
        return [np.asarray(mark.x, float)]
    if isinstance(mark, Band):
        return [mark.low, mark.high]
    if isinstance(mark, Bar):
        return [mark.height, np.zeros(1)]
    if isinstance(mark, Mark) and mark.error is not None:
        return [mark.y - mark.error, mark.y + mark.error]
    return [np.asarray(mark.y, float)]
