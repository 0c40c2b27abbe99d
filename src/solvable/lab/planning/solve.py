"""Plans: the theory of an experiment inverted, for every model of the experiment side by side."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping
from typing import Any

from solvable.lab.declare import Experiment, Observable, Overlay, Status
from solvable.lab.declare import grid as grids
from solvable.lab.declare.experiment import said
from solvable.lab.declare.registry import suggestion
from solvable.lab.planning.answer import Plan
from solvable.lab.planning.inversion import Inverse, follow, invert
from solvable.lab.planning.result import Advice, Solution, moved
from solvable.lab.planning.search import Reply
from solvable.lab.running.compute import check, compute
from solvable.lab.store.arrays import CellResult
from solvable.lab.store.chunk import Chunk
from solvable.numerics.results import SolveError
from solvable.numerics.validation import number


def plan(
    experiment: type[Experiment],
    solve: str,
    target: Mapping[str, float],
    set: Mapping[str, Any] | None = None,
    between: tuple[float, float] | None = None,
) -> Plan:
    """See `solvable.lab.plan`."""
    observable, value = _target(experiment, target)
    cells = _rows(experiment, solve, set or {})
    if between is not None:
        low, high = (number("between", end) for end in between)
        if low >= high:
            raise ValueError(f"between=({low:g}, {high:g}) is not accepted; accepted: a lower and then a higher number")
        between = (float(low), float(high))
    rows = [_row(cell, solve, observable, value, between) for cell in cells]
    if not any(row.inverse.tried for row in rows):
        first = next((row for row in rows if row.inverse.unsolved), rows[0])
        raise (SolveError if first.inverse.unsolved else ValueError)(first.inverse.message)
    return Plan(experiment, solve, observable, value, rows)


def _row(cell: Experiment, solve: str, observable: Observable, target: float, between: Any) -> Solution:
    try:
        overlay = _overlay(cell, observable.name)
    except ValueError as error:  # the other rows may have a theory
        return Solution(cell, None, None, Inverse((), (), ("open", "open"), (), str(error)))
    return _Solver(cell, overlay, solve, observable, target).row(between)


def _target(experiment: type[Experiment], target: Any) -> tuple[Observable, float]:
    if not isinstance(target, Mapping) or len(target) != 1:
        raise ValueError(f"target={target!r} is not accepted; accepted: one observable and its value, {{NAME: VALUE}}")
    ((name, value),) = target.items()
    known = {observable.name: observable for observable in experiment.observables}
    if name not in known:
        raise ValueError(f"observable {name!r} is unknown in {experiment.name}; {suggestion(str(name), known)}")
    return known[name], float(number(f"target of {name}", value))


def _rows(experiment: type[Experiment], solve: str, given: Mapping[str, Any]) -> list[Experiment]:
    """The cells of the rows: an axis of words has its values side by side, a number its default unless it is set."""
    numbers = [name for name, field in experiment.model_fields.items() if grids.numeric(field.annotation)]
    if solve not in numbers:
        known = f"{solve!r} is no number" if solve in experiment.model_fields else f"parameter {solve!r} is unknown"
        accepted = "accepted: " + ", ".join(map(repr, numbers)) if numbers else "it has no numbers to solve for"
        raise ValueError(f"solve: {known} in {experiment.name}; {accepted}")
    if solve in given:
        raise ValueError(f"set gives {solve!r} a value, which is solved for; leave it out (between limits the search)")
    values = {name: many[:1] if name in numbers else many for name, many in experiment.default_grid().items()}
    many = experiment.default_grid()[solve]
    return grids.cells(experiment, {**values, **given, solve: [many[len(many) // 2]]})


class _Solver:
    """One row: its cell as a function of the parameter solved for."""

    def __init__(self, cell: Experiment, overlay: Overlay, solve: str, observable: Observable, target: float) -> None:
        self.cell, self.overlay, self.solve, self.observable, self.target = cell, overlay, solve, observable, target
        field = type(cell).model_fields[solve]
        self.whole = grids.kinds(field.annotation) == {int}
        self.start = 1.0 if getattr(cell, solve) is None else float(getattr(cell, solve))
        self.positive = self.start > 0.0 and bool(said(field).get("log"))
        self.warned: dict[float, list[str]] = {}
        self.claimed: dict[float, Status] = {}
        self.declared = type(cell).status(overlay)[observable.name]

    def row(self, between: tuple[float, float] | None) -> Solution:
        found = invert(
            self.reply,
            self.target,
            self.start,
            whole=self.whole,
            positive=self.positive,
            between=between,
            accepts=self.accepts,
        )
        notes = [note for crossing in found.crossings for note in self.warned.get(crossing.value, ())]
        # at the answers the theory may claim something else than is declared
        places = [one.value for one in found.crossings] or ([found.closest(self.target)[0]] if found.tried else [])
        status = next((self.claimed[x] for x in places if self.claimed.get(x, self.declared) != self.declared), None)
        advice = None
        if len({value for _, value in found.tried}) > 1:  # else the parameter has no say, and no place is special
            place = found.crossings[0].value if found.crossings else found.closest(self.target)[0]
            advice, lost = self.advice(place)
            notes += lost
        return Solution(self.cell, self.overlay, status or self.declared, found, advice, list(dict.fromkeys(notes)))

    def reply(self, x: float, cell: Experiment | None = None) -> Reply:
        """The observable at one value of the parameter."""
        try:
            cell = moved(self.cell if cell is None else cell, {self.solve: x})
            check([cell])
        except ValueError as error:
            return Reply(None, str(error), refused=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            done = compute(Chunk(cell, overlay=self.overlay))
        self.warned[x] = [" ".join(str(one.message).split()) for one in caught if one.category is UserWarning]
        if self.overlay.label not in done.values:
            failure = done.failures[0]
            return Reply(None, failure.message, refused=failure.kind == "ValueError")
        values = done.values[self.overlay.label]
        name = self.observable.name
        dims = values.dims.get(name)
        if dims != ():
            what = "is not predicted" if dims is None else f"has a value for each of {', '.join(dims)}"
            scalars = ", ".join(repr(key) for key, own in values.dims.items() if not own) or "none of this experiment"
            raise ValueError(f"target: {name!r} {what} in {cell.name}, so it has no one value; accepted: {scalars}")
        self.claimed[x] = CellResult(cell, done.values).status(self.overlay)[name]
        value = float(values.arrays[name])
        if math.isfinite(value):
            return Reply(value)
        return Reply(None, values.reasons[0] or f"{name} is {value:g}")

    def accepts(self, x: float) -> bool:
        with contextlib.suppress(ValueError):
            check([moved(self.cell, {self.solve: x})])
            return True
        return False

    def advice(self, place: float) -> tuple[Advice | None, list[str]]:
        """What the experiment says at one place, and why it does not where it fails."""
        cell, name = moved(self.cell, {self.solve: place}), self.observable.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                marginal, tuned = dict(cell.marginal(name)), dict(cell.tuned(name))
        except (ValueError, SolveError) as error:
            return None, [f"no advice: {error}"]
        if not marginal and not tuned:
            return None, []
        if not tuned:
            return Advice(marginal, {}, None, None), []
        best = moved(cell, tuned)
        reached = self.reply(tuned.get(self.solve, place), best).value
        crossing = None
        if self.solve not in tuned and place > 0.0:
            crossing = follow(lambda x: self.reply(x, best), self.target, place, whole=self.whole)
        return Advice(marginal, tuned, reached, crossing), []


def _overlay(cell: Experiment, name: str) -> Overlay:
    """The first theory of the cell that speaks of the observable without a run."""
    free = [overlay for overlay in cell.applicable() if not overlay.given]
    for overlay in free:
        if name in type(cell).status(overlay):
            return overlay
    if not free:
        raise ValueError(
            f"no theory of {cell.name} speaks without a run, so there is nothing to invert; `solvable run` compares "
            "its theories with runs"
        )
    own = [observable.name for observable in cell.observables]
    known = list(dict.fromkeys(key for overlay in free for key in type(cell).status(overlay) if key in own))
    raise ValueError(
        f"target: no theory of {cell.name} speaks of {name!r} without a run; accepted: {', '.join(map(repr, known))}"
    )
