"""A plan, and its words: where the target is met, or why no value meets it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from solvable.lab.declare import Experiment, Observable
from solvable.lab.declare import grid as grids
from solvable.lab.planning.inversion import Crossing
from solvable.lab.planning.result import Solution, moved
from solvable.numerics import notebook


@dataclasses.dataclass(frozen=True, repr=False)
class Plan:
    """What was asked, and where each row, a `Solution`, meets the target; printing it says so in words."""

    experiment: type[Experiment]
    solve: str
    observable: Observable
    target: float
    rows: Sequence[Solution]

    def at(self, row: Solution, value: float) -> Experiment:
        """The cell of a row with the parameter solved for at `value`."""
        return moved(row.cell, {self.solve: value})

    @property
    def varying(self) -> list[str]:
        """The parameters that tell the rows apart."""
        return grids.varying([dict(row.cell) for row in self.rows])

    def __repr__(self) -> str:
        """The answer in words, a line for each row."""
        return "\n".join(lines(self))

    def _repr_html_(self) -> str:
        """The answer in words, as a table."""
        told = [(name, "; ".join(texts)) for name, texts in rows(self)]
        return notebook.table(question(self), ("setting", "answer"), told, foot(self))


def lines(plan: Plan) -> list[str]:
    """The question, the answer of each row, and what else there is to know."""
    answers = rows(plan)
    width = max(len(text) for text, _ in answers)
    found = [question(plan)]
    for text, (first, *others) in answers:
        found.append("  " + (f"{text:<{width}}  " if width else "") + first)
        found += [" " * (width + 4 if width else 2) + other for other in others]
    return [*found, *foot(plan)]


def question(plan: Plan) -> str:
    """What was asked."""
    return f"{plan.experiment.name}: {plan.solve} at which {plan.observable.name} = {brief(plan.target)}"


def rows(plan: Plan) -> list[tuple[str, list[str]]]:
    """The label of each row, and its answer with what belongs to it."""
    return [
        (label(plan, row), [answer(plan, row), *unsolved(row), *advice(plan, row), *row.notes]) for row in plan.rows
    ]


def foot(plan: Plan) -> list[str]:
    """The theories with their claims, and the parameters that all rows share."""
    values = plan.rows[0].cell.model_dump()
    common = {name: value for name, value in values.items() if name != plan.solve and name not in plan.varying}
    found = list(dict.fromkeys(filter(None, (theory(plan, row) for row in plan.rows))))
    return [*found, "with " + _settings(common)] if common else found


def label(plan: Plan, row: Solution) -> str:
    """What tells the row from the others."""
    return _settings({name: getattr(row.cell, name) for name in plan.varying})


def answer(plan: Plan, row: Solution) -> str:
    """Where the row meets the target, or what it does instead."""
    inverse, name, target = row.inverse, plan.observable.name, brief(plan.target)
    if not inverse.tried:
        return "not solved: " + inverse.message if inverse.unsolved else inverse.message
    if not inverse.crossings:
        return nowhere(plan, row)
    if len(inverse.crossings) == 1:
        return one(plan, row, inverse.crossings[0])
    words = " and ".join(
        place(plan, row, crossing)
        + {"falls": " (falling)", "rises": " (rising)", "": f" ({name} equals {target})"}[crossing.direction]
        for crossing in inverse.crossings
    )
    if [crossing.direction for crossing in inverse.crossings] == ["falls", "rises"]:
        words += f"; {name} is at most {target} between them"
    elif [crossing.direction for crossing in inverse.crossings] == ["rises", "falls"]:
        words += f"; {name} is at least {target} between them"
    return words


def unsolved(row: Solution) -> list[str]:
    """Where the theory was not solved, and why."""
    lost, tried = row.inverse.unsolved, row.inverse.tried
    if not lost or not tried:
        return []
    count = f"{len(lost)} of {len(lost) + len(tried)} values tried"
    return [f"not solved at {count} ({_span(lost[0], lost[-1])}): {row.inverse.message}"]


def one(plan: Plan, row: Solution, crossing: Crossing) -> str:
    """A row with one crossing."""
    name, target, where = plan.observable.name, brief(plan.target), place(plan, row, crossing)
    side = "at most" if crossing.direction == "falls" else "at least"
    if crossing.kind == "jump":
        return f"{where}, where {name} jumps from {_brief(crossing.before)} to {_brief(crossing.after)}"
    if crossing.kind == "gap":
        passes = f"{name} {crossing.direction} from {_brief(crossing.before)} to {_brief(crossing.after)}"
        return f"{where}: {passes} there, and the theory is not solved in between"
    if crossing.kind == "touch":
        return f"{where}, where {name} touches {target} and turns back"
    if crossing.kind == "level":
        whole = (crossing.value, crossing.until) == (row.inverse.tried[0][0], row.inverse.tried[-1][0])
        return f"every {plan.solve} tried, {where}" if whole else f"{where}, where {name} equals {target}"
    if crossing.kind == "whole" and crossing.before is not None:
        here, less = _apart(crossing.reached, crossing.before)
        return f"{where}: {name} is {here} there and {less} at one less"
    return f"{where}; {name} is {side} {target} from there up"


def nowhere(plan: Plan, row: Solution) -> str:
    """A row without a crossing: how near it comes, and what it does there."""
    inverse, name, solve = row.inverse, plan.observable.name, plan.solve
    (low, _), (high, _) = inverse.tried[0], inverse.tried[-1]
    values = [value for _, value in inverse.tried]
    x, value = inverse.closest(plan.target)
    if max(values) - min(values) <= 1e-12 * abs(value):
        return f"never: {name} does not depend on {solve}, it is {brief(value)} at every value tried"
    extreme = "least" if value > plan.target else "largest"
    scanned = f"no {solve} {_span(low, high)}"
    if x not in (low, high):
        return f"{scanned}: the {extreme} {name} is {brief(value)}, at {solve} {brief(x)}"
    end = inverse.ends[0 if x == low else 1]
    verb = "falls" if value > plan.target else "rises"
    if end == "settled":
        return f"never, as far as {solve} {_span(low, high)} shows: {name} {verb} to {brief(value)} and levels off"
    if end == "edge":
        return f"{scanned}, where its range ends: the {extreme} {name} is {brief(value)}, at {solve} {brief(x)}"
    stop = "the theory is not solved beyond" if end == "unsolved" else "a wider range may reach it"
    return f"{scanned}: {name} {verb} to {brief(value)} at {solve} {brief(x)}; {stop}"


def advice(plan: Plan, row: Solution) -> list[str]:
    """What one more of each amount changes, and what the best hyper-parameters do."""
    given, inverse, name = row.advice, row.inverse, plan.observable.name
    if given is None:
        return []
    x, value = inverse.closest(plan.target)
    if inverse.crossings:
        x, value = inverse.crossings[0].value, inverse.crossings[0].reached
    there = "there" if len(inverse.crossings) == 1 else f"at {plan.solve} {brief(x)}"
    found = [f"{there}, one more {amount} changes {name} by {change:.3g}" for amount, change in given.marginal.items()]
    if not given.tuned:
        return found
    if given.reached is not None and abs(given.reached - value) < 0.01 * abs(value):
        names = ", ".join(given.tuned)
        return [*found, f"tuning {names} changes little {there}: {name} is {brief(given.reached)} at best"]
    text = f"best {there}: {_settings(given.tuned)}"
    if given.reached is not None:
        text += f", with {name} {brief(given.reached)}"
    if given.crossing is not None and given.crossing.kind in ("root", "whole"):
        text += f"; so tuned it meets the target at {place(plan, row, given.crossing)}"
    return [*found, text]


def theory(plan: Plan, row: Solution) -> str:
    """Which theory it is, what it claims and where it comes from."""
    bound = {"above": "; it is an upper bound", "below": "; it is a lower bound", None: ""}[plan.observable.bound]
    if row.overlay is None or row.status is None:
        return ""
    name = "theory" if row.overlay.theory is None else f"theory {row.overlay.label!r}"
    return f"{name} of {plan.observable.name}: {row.status.claim}, {row.status.origin}{bound}"


def place(plan: Plan, row: Solution, crossing: Crossing) -> str:
    """The value of the parameter, and what it amounts to."""
    if crossing.until is not None:
        return f"{plan.solve} {_span(crossing.value, crossing.until)}"
    cell = plan.at(row, crossing.value)
    text, counted = f"{plan.solve} {brief(crossing.value)}", cell.amounts()
    if counted == plan.at(row, row.inverse.tried[0][0]).amounts() == plan.at(row, row.inverse.tried[-1][0]).amounts():
        return text  # the parameter does not change what a run is made of
    amounts = " and ".join(f"{brief(count)} {amount}" for amount, count in counted.items())
    sizes = ", ".join(f"{key} {brief(value)}" for key, value in cell.sizes().items() if isinstance(value, int | float))
    return f"{text} = {amounts}" + (f" at {sizes}" if sizes else "")


def brief(value: float) -> str:
    """A number in four digits, or all of a whole one; a space between thousands."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}".replace(",", " ")
    if 1e3 <= abs(value) < 1e7:
        return f"{float(f'{value:.4g}'):,.0f}".replace(",", " ")
    return f"{value:.4g}"


def _apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers in as many digits as tell them apart."""
    if brief(one) != brief(other) or one == other:
        return brief(one), brief(other)
    digits = next(count for count in range(5, 18) if f"{one:.{count}g}" != f"{other:.{count}g}")
    return f"{one:.{digits}g}", f"{other:.{digits}g}"


def _brief(value: float | None) -> str:
    return "?" if value is None else brief(value)


def _span(low: float, high: float) -> str:
    return f"from {brief(low)} to {brief(high)}" if low != high else f"at {brief(low)}"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )
