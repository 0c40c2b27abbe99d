"""A panel of curves as marks: theories as lines, runs as points with one standard error, or run by run."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.lab.declare.panels import Guide, Panel
from solvable.lab.figures.plot import (
    FAINT,
    INK,
    LINES,
    AnyMark,
    Axis,
    Key,
    Line,
    Look,
    Mark,
    Plot,
    Rule,
    note,
)
from solvable.lab.figures.series import (
    MOST_SERIES,
    Series,
    Shown,
    Subject,
    abscissa,
    numeric,
    plain_number,
    series,
    tick_text,
)
from solvable.lab.figures.theme import HUES
from solvable.numerics.estimate import over_replicates

if TYPE_CHECKING:
    import xarray

MOST_POINTS = 24
_PREDICTED = 3  # runs of which the prediction is drawn where every run is
_GUIDE = Look(FAINT, "dash", width=0.8)
_RUNS = {"mean": "simulation ± 1 se", "each": "each run", "first": "one run"}


def plot(panel: Panel, subject: Subject, dataset: xarray.Dataset, fine: xarray.Dataset | None = None) -> Plot:
    """A panel without facets; theories in `fine`, on a grid of their own, are drawn in place of the dataset's."""
    return _Curves(panel, subject, dataset, fine).plot()


def told_apart(panel: Panel, subject: Subject, dataset: xarray.Dataset) -> tuple[list[str], int, int]:
    """The dims whose values are series, how many variables share the plot, and how many series it holds at most."""
    made = _Curves(panel, subject, dataset)
    arrays = made.arrays()
    used = {str(dim) for array in arrays for dim in array.dims} - {*made.along(arrays), "replicate", *panel.where}
    return [str(dim) for dim in dataset.dims if dim in used], len(made.names), made.most


class _Curves:
    """One panel while it is made."""

    def __init__(
        self, panel: Panel, subject: Subject, dataset: xarray.Dataset, fine: xarray.Dataset | None = None
    ) -> None:
        self.panel, self.subject, self.dataset, self.fine = panel, subject, dataset, fine
        self.marks: list[AnyMark] = []
        self.keys: list[Key] = []
        self.names = [panel.y] if isinstance(panel.y, str) or callable(panel.y) else list(panel.y)
        self.most = MOST_SERIES * (2 if panel.dash else 1)
        asked = panel.theories
        self.theories = [
            one if asked is None else dataclasses.replace(one, words=asked[one.label])
            for one in subject.theories
            if asked is None or one.label in asked
        ]

    def plot(self) -> Plot:
        """The plot: a note where there is nothing, or too much, to see."""
        panel, names, arrays = self.panel, self.names, self.arrays()
        label = panel.label or (self.subject.meaning(names[0]) if isinstance(names[0], str) else "")
        if not arrays:
            return note("nothing to draw\non this grid of parameters", panel.title)
        along = self.along(arrays)
        for dim in along:  # a line runs upwards along its dim, in whatever order the dataset has it
            if dim in self.dataset.coords and numeric(self.dataset[dim]) and self.dataset[dim].ndim:
                self.dataset = self.dataset.sortby(dim)
        found = [
            (name, dataclasses.replace(one, **self._of_name(place, name, one)) if len(names) > 1 else one)
            for place, name in enumerate(names)
            for one in series(self.subject, self.dataset, arrays, along, panel.hue, panel.dash)
        ]
        if len(found) > self.most:
            words = f"{len(found)} series are too many to tell apart\n(at most {self.most}); set fewer values"
            return note(words, panel.title, refused=True)
        for place, one in enumerate(self.theories):
            self._theory(place, one, found)
        if panel.runs != "none":
            for name, one in found:
                self._runs(name, one)
        self.told = len(self.keys)  # the theories
        for guide in panel.guides:
            self._guide(guide, found)
        if not any(isinstance(mark, Mark) and mark.of != "guide" for mark in self.marks):
            return note("nothing to draw:\nno value is there", panel.title)
        x, y = self._axis_x(), self._axis_y(label, names)
        self._legend(found)
        if hidden := self._hidden(x, y):
            words = ", ".join(filter(None, (panel.title, label)))
            warnings.warn(
                f"{hidden} points of the panel {words!r} are not above zero and have no place on its logarithmic axis; "
                "accepted: a Panel with another `log`, or with `least` or `limits` above zero",
                stacklevel=3,
            )
        return Plot(x, y, self.marks, self.keys, panel.title)

    def _hidden(self, x: Axis, y: Axis) -> int:
        """How many points logarithmic axes leave out where no limit does, nor a path starts at step zero."""
        left, below = (axis.log and axis.limits[0] is None for axis in (x, y))
        left &= callable(self.x) or self._is_variable(self.x)
        drawn = [mark for mark in self.marks if isinstance(mark, Mark) and mark.of != "guide"]
        return sum(int(np.sum((left & (one.x <= 0)) | (below & (one.y <= 0)))) for one in drawn)

    def arrays(self) -> list[xarray.DataArray]:
        """What the dataset holds of the panel."""
        prefixes = ([""] if self.panel.runs != "none" else []) + [one.prefix for one in self.theories]
        found = (_get(self.dataset, name, prefix) for name in self.names for prefix in prefixes)
        return [array for array in found if array is not None]

    def _of_name(self, place: int, name: Any, one: Series) -> dict[str, Any]:
        said = self.subject.meaning(name)
        label = f"{said}, {one.label}" if one.label else said
        return {"color": HUES[place % len(HUES)], "label": label, "line": LINES[place % len(LINES)]}

    def along(self, arrays: Sequence[xarray.DataArray]) -> tuple[str, ...]:
        """The dims along which a line runs."""
        x = self.panel.x or (abscissa(self.subject, self.dataset, arrays) or "")
        self.x = x
        if not callable(x) and not self._is_variable(x):
            return (x,) if x else ()
        places = x(self.dataset) if callable(x) else self.dataset[x]
        told = {self.panel.hue, self.panel.dash, "replicate"} | (
            {*self.subject.parameters} if not callable(x) else set()
        )
        return tuple(str(dim) for dim in places.dims if dim not in told)

    # ---- what is drawn

    def _theory(self, place: int, theory: Shown, found: Sequence[tuple[Any, Series]]) -> None:
        several = len(self.theories) > 1
        drawn: list[tuple[Series, Any, np.ndarray, np.ndarray]] = []
        for name, one in found:
            drawn += [(one, (name, run), x, y) for run, x, y in self._lines(name, one, theory)]
        if not drawn:
            return
        single, every = len(found) == 1, self.panel.runs == "each" and theory.given
        line: Line = "dash" if every or (theory.given and not several) else LINES[place % len(LINES)]
        look = Look(INK if every else HUES[place % len(HUES)] if single else FAINT, line, **self._given(theory))
        # what does not depend on the series, or on the pattern, is drawn once
        common = not single and len(drawn) > 1 and _alike(drawn)
        of_hue: dict[Any, list[Any]] = {}
        for one in drawn:
            rest = (value for dim, value in one[0].where.items() if dim != self.panel.dash)
            of_hue.setdefault((one[1], *rest), []).append(one)
        groups = [drawn[:1]] if common else [g[:1] if len(g) > 1 and _alike(g) else g for g in of_hue.values()]
        patterned = bool(self.panel.dash) and not common and any(len(group) > 1 for group in groups)
        alone = self.panel.runs == "none" and not several
        patterned |= alone and isinstance(drawn[0][1][0], str) and len({one[1] for one in drawn}) > 1
        if not alone:
            key = dataclasses.replace(look, line="solid" if patterned else line)
            self.keys.append(Key(theory.words, key, common=True))
        for one, _, x, y in (each for group in groups for each in group):
            color = look.color if single or common or every else one.color
            its = dataclasses.replace(look, color=color, line=one.line if patterned else line)
            words = theory.words if common or not one.label else f"{one.label}: {theory.words}"
            self._draw(x, y, its, words, theory.label)

    def _given(self, theory: Shown) -> dict[str, Any]:
        if not theory.given:
            return {}
        mean: Any = {"marker": "diamond", "size": 5.4, "hollow": True} if self.panel.runs == "mean" else {}
        return {"width": 0.9, **mean}

    def _runs(self, name: Any, one: Series) -> None:
        panel, words = self.panel, f"{one.label}: simulation" if one.label else "simulation"
        for place, x, y in self._lines(name, one, None):
            if panel.runs == "mean":
                mean, error = y
                there = np.flatnonzero(np.isfinite(mean) & np.isfinite(x) & (mean > panel.least))
                there = there[:: _every(len(there))]
                if len(there):
                    look = one.look(marker=one.marker)
                    self.marks.append(Mark(x[there], mean[there], look, words, error[there], of="simulation"))
            elif panel.runs == "first" and (self.theories or self._is_scatter()):
                self._draw(x, y, one.look(marker=one.marker, size=3.4), words, "simulation", thin=True)
            elif self.x in self.subject.parameters:  # runs at several values are several runs
                self._draw(
                    x, y, one.look(marker="circle", size=2.4, opacity=0.6), words if place == 0 else "", "simulation"
                )
            else:
                look = one.look(line=one.line, width=0.6 if panel.runs == "each" else 1.2)
                look = dataclasses.replace(look, opacity=0.55 if panel.runs == "each" else 1.0)
                self._draw(x, y, look, words if place == 0 else "", "simulation")

    def _lines(self, name: Any, one: Series, theory: Shown | None) -> Iterator[tuple[int, np.ndarray, Any]]:
        """The lines of one series: those of one theory, or of the runs (mean and error in one array)."""
        prefix = theory.prefix if theory else ""
        data = self.fine if theory and not theory.given and self._is_fine(name, prefix) else self.dataset
        assert data is not None
        here = _at(data, one.where)
        array = _get(here, name, prefix)
        if array is None:
            return
        if self.panel.absolute:
            array = abs(array)
        if "replicate" not in array.dims:
            values = np.atleast_1d(array.values)
            points = theory is None and self.panel.runs == "mean"  # of which no error is known
            yield 0, self._places(here, array, prefix), np.stack([values, np.nan * values]) if points else values
            return
        if self.panel.runs in ("mean", "none") or not array.sizes["replicate"]:
            both = over_replicates(array)
            mean, error = (np.atleast_1d(one.values) for one in both)
            yield 0, self._places(here, both[0], prefix), mean if theory else np.stack([mean, error])
            return
        count = 1 if self.panel.runs == "first" else _PREDICTED if theory else None
        for place in range(len(array["replicate"]))[:count]:
            run = array.isel(replicate=place)
            where = here.isel(replicate=place) if "replicate" in here.dims else here
            yield place, self._places(where, run, prefix), np.atleast_1d(run.values)

    def _is_scatter(self) -> bool:
        """Whether an observable is on the abscissa, so that points in their order make no line."""
        return isinstance(self.x, str) and self.x in self.dataset.data_vars and "at" not in self.dataset[self.x].dims

    def _is_variable(self, x: Any) -> bool:
        """Whether it is no dim, nor the one value of a parameter."""
        data = self.dataset
        return x in data.data_vars or (x in data.coords and x not in data.dims and data[x].ndim > 0)

    def _is_fine(self, name: Any, prefix: str) -> bool:
        return self.fine is not None and _get(self.fine, name, prefix) is not None

    def _places(self, here: xarray.Dataset, array: xarray.DataArray, prefix: str) -> np.ndarray:
        """The abscissae of the points of an array."""
        x = self.x
        if callable(x):
            places = x(here)
        elif x in array.dims or x in here.dims:
            places = (array if x in array.dims else here)[x]
            if not numeric(places):
                return np.arange(len(places), dtype=float)
        elif self._is_variable(x):
            places = here.get(prefix + x, here[x])
        else:
            return np.zeros(1)
        if "replicate" in places.dims:
            places = over_replicates(places)[0]
        return np.broadcast_to(places.values, np.shape(array.values) or (1,)).astype(float)

    def _draw(self, x: np.ndarray, y: np.ndarray, look: Look, label: str, of: str, thin: bool = False) -> None:
        if np.shape(y) != np.shape(x):  # a prediction that does not depend on the abscissa
            y = np.broadcast_to(y, np.shape(x))
        there = np.isfinite(y) & np.isfinite(x) & (y > self.panel.least)
        if not there.any():
            return
        names = isinstance(self.x, str) and self.x in self.dataset.dims and not numeric(self.dataset[self.x])
        if (names or there.sum() == 1) and not look.marker:  # between names there is nothing
            look = dataclasses.replace(look, marker="dash", size=14.0 if names else 9.0)
        if names:
            look = dataclasses.replace(look, line="")
        every = _every(int(there.sum())) if look.marker else 1
        x, y = x[there], y[there]
        if thin and not look.line:
            x, y, every = x[::every], y[::every], 1
        self.marks.append(Mark(x, y, look, label, every=every, of=of))

    def _guide(self, guide: Guide, found: Sequence[tuple[Any, Series]]) -> None:
        drawn = [mark for mark in self.marks if isinstance(mark, Mark) and len(mark.x) and mark.of != "guide"]
        before = len(self.marks)
        if guide.kind in ("level", "upright"):
            values = self._values(guide, found)
            alike = len(set(values)) == 1
            for (_, one), value in list(zip(found, values, strict=True))[: 1 if alike else None]:
                if np.isfinite(value) and (guide.kind == "upright" or value > self.panel.least):
                    color = FAINT if alike or len(found) == 1 else one.color
                    self.marks.append(Rule(value, Look(color, "dash", width=0.8), guide.kind == "upright", guide.label))
        elif drawn and guide.kind == "diagonal":
            ends = np.array([min(mark.x.min() for mark in drawn), max(mark.x.max() for mark in drawn)])
            self.marks.append(Mark(ends, ends, _GUIDE, guide.label, of="guide"))
        elif drawn:
            runs = [mark for mark in drawn if mark.of == "simulation"] or drawn
            base, all_y = runs[guide.of % len(runs)], np.concatenate([mark.y for mark in drawn])
            there = np.flatnonzero(base.x > 0)
            if len(there):
                x, place = base.x[there], there[len(there) * 3 // 4]  # a law sets in late
                x = np.geomspace(x.min(), x.max(), 60)
                power = base.y[place] * (x / base.x[place]) ** float(guide.value)  # pyright: ignore[reportArgumentType]
                near = (power > 0.7 * all_y.min()) & (power < 1.4 * all_y.max())
                self.marks.append(Mark(x[near], power[near], _GUIDE, guide.label, of="guide"))
        if guide.label and len(self.marks) > before:
            self.keys.append(Key(guide.label, _GUIDE, common=True))

    def _values(self, guide: Guide, found: Sequence[tuple[Any, Series]]) -> list[float]:
        """Where the level or upright of each series lies, NaN where it is not known."""
        values = []
        for _, one in found:
            here, value = _at(self.dataset, one.where), guide.value
            if isinstance(value, str):
                value = np.nan if value not in here else here[value].mean().item()
            values.append(float(value(here) if isinstance(value, Callable) else value))  # pyright: ignore[reportArgumentType]
        return values

    # ---- axes and legend

    def _axis_x(self) -> Axis:
        x, data = self.x, self.dataset
        limits = self.panel.limits.get("x", (None, None))
        if callable(x) or self._is_variable(x):
            label = self.panel.x_label or (self.subject.meaning(x) if isinstance(x, str) else "")
            log = isinstance(x, str) and x in self.subject.logs if self.panel.log is None else "x" in self.panel.log
            return Axis(label, log, None, limits)
        label = self.panel.x_label or self.subject.meaning(x or self.subject.x)
        if not x or x not in data.dims:
            here = data.coords.get(x or self.subject.x)
            words = "" if here is None or here.ndim else tick_text(here.item())
            return Axis(label, names={0.0: words}, limits=(-0.5, 0.5))
        values = data[x].values.tolist()
        if not numeric(data[x]):
            return Axis(label, names=dict(enumerate(map(tick_text, values))), limits=(-0.5, len(values) - 0.5))
        drawn = [place for mark in self.marks if isinstance(mark, Mark) for place in mark.x.tolist()]
        log = x in self.subject.logs if self.panel.log is None else "x" in self.panel.log
        positive = [value for value in drawn if value > 0]
        if not log or not positive or min(values) < 0:
            return Axis(label, False, None, limits)
        few = len(values) <= 8 and min(values) > 0 and max(values) / min(values) < 1e4
        return Axis(label, True, _apart(values) if few else None, limits)

    def _axis_y(self, label: str, names: Sequence[Any]) -> Axis:
        log = self.panel.log
        wanted = (
            any(name in self.subject.logs for name in names if isinstance(name, str)) if log is None else "y" in log
        )
        limits = self.panel.limits.get("y", (None, None))
        values = [mark.y[mark.y > 0] for mark in self.marks if isinstance(mark, Mark)]
        positive = np.concatenate([np.zeros(0), *values])
        if log is None and wanted:  # an axis too short for two labels stays linear
            wanted = positive.size > 0 and float(positive.max() / positive.min()) > 1.8
        return Axis(label, bool(wanted and positive.size), None, limits)

    def _legend(self, found: Sequence[tuple[Any, Series]]) -> None:
        drawn = [mark for mark in self.marks if isinstance(mark, Mark) and mark.of == "simulation"]
        keys: list[Key] = []
        runs, dash, points = bool(drawn), self.panel.dash, bool(drawn) and bool(drawn[0].look.marker)
        for _, one in found if len(found) > 1 else ():
            if dash not in one.where:
                line: Line = one.line if self.panel.runs == "none" else "solid"
                keys.append(Key(one.label, one.look(line=line, marker=one.marker if points else "")))
                continue
            # the values of two dims, not all pairs of them
            patterned = any(
                isinstance(mark, Mark) and mark.of != "guide" and mark.look.line in LINES[1:] for mark in self.marks
            )
            others = ", ".join(self.subject.name(k, v) for k, v in one.where.items() if k != dash)
            keys += [Key(others, one.look(line="solid"))] if others else []
            pattern = Look(FAINT, one.line if patterned else "", one.marker if points else "")
            keys.append(Key(self.subject.name(dash, one.where[dash]), pattern))
        keys = list(dict.fromkeys(sorted(keys, key=lambda key: key.look.color == FAINT)))
        if runs:
            its = dataclasses.replace(drawn[0].look, opacity=1.0)
            color = its.color if len(found) == 1 else FAINT
            key = Key(_RUNS[self.panel.runs], dataclasses.replace(its, color=color), common=True)
            self.keys.insert(self.told, key)
        self.keys = [*keys, *self.keys]


def _get(dataset: xarray.Dataset, name: Any, prefix: str) -> xarray.DataArray | None:
    """A variable, of the runs or of a theory; None where the dataset has none."""
    if isinstance(name, str):
        return dataset.data_vars.get(prefix + name)
    return name(dataset, prefix)


def _at(dataset: xarray.Dataset, where: dict[str, Any]) -> xarray.Dataset:
    """The dataset at values of those dims that it has."""
    return dataset.sel({name: value for name, value in where.items() if name in dataset.dims})


def _apart(values: Sequence[float]) -> dict[float, str]:
    """Ticks at all values; those whose number would touch the one before on a logarithmic axis have none."""
    names: dict[float, str] = {}
    shown = [min(values)]
    for value in sorted(values):
        letters = (len(plain_number(value)) + len(plain_number(shown[-1]))) / 2 + 1
        room = np.log(value / shown[-1]) >= letters / 34 * np.log(max(values) / min(values)) or value == min(values)
        names[float(value)] = plain_number(value) if room else ""
        shown += [value] if room else []
    return names


def _alike(drawn: Sequence[Any]) -> bool:
    """Whether lines, with their points in the last two places, are one and the same."""
    x, y = drawn[0][-2:]
    return all(np.array_equal(x, one[-2]) and np.array_equal(y, one[-1], equal_nan=True) for one in drawn[1:])


def _every(count: int) -> int:
    """The step between the marked points of a series, so that a long path does not become a band of markers."""
    return max(1, -(-count // MOST_POINTS))
