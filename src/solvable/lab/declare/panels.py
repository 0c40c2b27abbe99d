"""What a figure shows, as data: curves, maps, bars, graphs. Every renderer draws them, and none of them is known here.

Names of variables are those of the dataset of an experiment: an observable is what was simulated, and each theory's
prediction of it has a prefix. What is left out is found: the abscissa and the series are the dims that vary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Guide:
    """A line that guides the eye: a power law through a late point of a series, a level, an upright, the diagonal.

    `value` is the power, or where the level or the upright lies: a number, the name of a variable (one line a series,
    in its colour), or a function of the dataset of a series. `of` is the place, among what is drawn of the runs, of
    what a slope goes through.
    """

    kind: Literal["slope", "level", "upright", "diagonal"]
    value: float | str | Callable[[Any], Any] = 0.0
    label: str = ""
    of: int = 0

    def __post_init__(self) -> None:
        _require("kind", self.kind, ("slope", "level", "upright", "diagonal"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shown:
    """What all panels share.

    `title` stands above, `where` are values of dims at which it looks, `facet` is a dim of which each value has a panel
    of its own, `frames` a dim along which the panel moves: a figure shows its end, an animation all of it.
    """

    title: str = ""
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    facet: str = ""
    frames: str = ""


@dataclasses.dataclass(frozen=True)
class Panel(_Shown):
    """`y` against `x`: one series a value of the other dims, theories as lines, runs as points.

    `y` is an observable, or several of one kind that share the ordinate, or a function of a dataset and of the prefix
    of a theory ("" for the runs) that returns an array or None. `x` is a dim, an observable, or a function of the
    dataset. `hue` and `dash` are dims told apart by colour and by the pattern of the line. `theories` maps the labels
    of overlays to words; None shows all. `runs`: their "mean" with one standard error, "each" as a thin line, the
    "first". `log` holds the letters of the logarithmic axes, None asks the declarations. `least` is the smallest value
    drawn: what is below is rounding. `absolute` drops the signs.
    """

    y: str | Sequence[str] | Callable[[Any, str], Any]
    x: str | Callable[[Any], Any] = ""
    label: str = ""
    x_label: str = ""
    hue: str = ""
    dash: str = ""
    theories: Mapping[str, str] | None = None
    runs: Literal["mean", "each", "first", "none"] = "mean"
    guides: Sequence[Guide] = ()
    log: str | None = None
    least: float = -float("inf")
    absolute: bool = False
    limits: Mapping[str, tuple[float | None, float | None]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.y:
            raise ValueError(f"y={self.y!r} is empty; accepted: an observable, several, or a function")
        _require("runs", self.runs, ("mean", "each", "first", "none"))
        for name, letters in (("log", self.log or ""), ("limits", self.limits)):
            if not isinstance(letters, str | Mapping) or not {*letters} <= {*"xy"}:
                raise ValueError(f"{name}={letters!r} names other axes; accepted: those of 'x' and 'y'")
        guides = self.guides if isinstance(self.guides, list | tuple) else [None]
        if not all(isinstance(one, Guide) for one in guides):
            raise TypeError(f"guides={self.guides!r} is not accepted; accepted: a sequence of Guide")


@dataclasses.dataclass(frozen=True)
class Map(_Shown):
    """A variable over two dims as filled contours: a parameter plane, or the positions of a lattice.

    `levels` are drawn as lines, and `words` name the regions between them, from the lowest up. `diverging` gives both
    signs a colour of their own and puts the turn at zero.
    """

    z: str
    x: str
    y: str
    label: str = ""
    levels: Sequence[float] = ()
    words: Sequence[str] = ()
    diverging: bool = False
    theory: str | None = None  # the label of the overlay that is drawn; None: the first theory, "": the runs' mean

    def __post_init__(self) -> None:
        if self.words and len(self.words) != len(self.levels) + 1:
            raise ValueError(f"words has {len(self.words)} entries; accepted: {len(self.levels) + 1}, one a region")


@dataclasses.dataclass(frozen=True)
class Bars(_Shown):
    """A variable over a short dim as bars: the mean over the runs, or the first run; a theory as a dash over each."""

    y: str
    x: str
    label: str = ""
    runs: Literal["mean", "first"] = "mean"


@dataclasses.dataclass(frozen=True)
class Graph(_Shown):
    """A variable over the nodes of a graph, as their colours: `positions` (nodes, 2), `edges` (edges, 2) of places.

    Both are variables of the dataset, or functions of it.
    """

    value: str
    positions: str | Callable[[Any], Any]
    edges: str | Callable[[Any], Any]
    label: str = ""


def _require(name: str, value: Any, accepted: Sequence[str]) -> None:
    if value not in accepted:
        raise ValueError(f"{name}={value!r} is not accepted; accepted: {', '.join(map(repr, accepted))}")


AnyPanel = Panel | Map | Bars | Graph
