"""What a report knows of one experiment, and how its cells, values and verdicts are put into words."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from solvable.lab.comparing.agreement import Row, Tally, badness, position, tally
from solvable.lab.declare import Experiment
from solvable.lab.declare.grid import varying
from solvable.lab.figures.words import number, text
from solvable.lab.store.arrays import SIMULATION, CellResult


@dataclasses.dataclass(frozen=True)
class Section:
    """What is known of one experiment: its declaration, cells and comparisons, or the reason why it cannot be shown."""

    name: str
    experiment: type[Experiment] | None = None
    results: Sequence[CellResult] = ()
    rows: Sequence[Row] = ()
    extrapolated: Sequence[Row] = ()
    trouble: str = ""

    @property
    def every(self) -> list[Row]:
        """The comparisons of each cell, then those extrapolated over sizes."""
        return [*self.rows, *self.extrapolated]

    @property
    def tally(self) -> Tally:
        """The comparisons counted."""
        return tally(self.every)

    @property
    def differing(self) -> list[Row]:
        """The comparisons that disagree, the worst first."""
        return [row for row in worst_first(self.every) if row.comparison.agrees is False]

    @property
    def failed(self) -> list[CellResult]:
        """The cells where something raised."""
        return [result for result in self.results if result.failures]


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """Disagreeing ones, then those that could not be tested, then by the size of the score."""
    return sorted(rows, key=badness, reverse=True)


def verdict(section: Section) -> tuple[str, str]:
    """One sentence on an experiment, and its kind: agrees, differs or untested."""
    if section.trouble:
        return "untested", "It cannot be shown."
    count, differing, failed = section.tally, section.differing, len(section.failed)
    alone = section.experiment is not None and section.experiment.replicates == 0
    nothing = "Theory alone: nothing is simulated, nothing is compared" if alone else "Nothing could be compared"
    words = [count.headline if count.tested or count.identities else nothing]
    if differing:
        worst = differing[0]
        where = where_text(varying([row.parameters for row in section.every]), worst.parameters)
        words.append(f"The worst is {observable_text(section, worst)} at {where}: {worst.comparison.verdict}")
    over = tally(section.extrapolated).tested
    untested = sum(row.comparison.agrees is None and not row.failed for row in section.every)
    words += [f"{over} of them {'is' if over == 1 else 'are'} over sizes"] if over else []
    words += [f"{counted(untested, 'comparison')} could not be tested"] if untested else []
    words += [f"{counted(failed, 'cell')} failed"] if failed else []
    kind = "differs" if differing or failed else "agrees" if count.tested or count.identities else "untested"
    return kind, ". ".join(words + missing_replicates([section])) + "."


def missing_replicates(sections: Sequence[Section]) -> list[str]:
    """How many simulated replicates have no value, with the reasons counted; nothing where all have one."""
    runs = [result.sources.get(SIMULATION) for section in sections for result in section.results]
    reasons = [reason for values in runs if values is not None for reason in values.reasons]
    found = Counter(filter(None, reasons))
    if not found:
        return []
    words = ", ".join(f"{reason} ({count})" for reason, count in found.most_common())
    verb = "is" if found.total() == 1 else "are"
    return [f"{found.total()} of {counted(len(reasons), 'replicate')} {verb} missing: {words}"]


def counted(count: int, noun: str) -> str:
    """A number and its noun."""
    plural = noun if noun == "more" or count == 1 else noun + "s"
    return f"{count} {plural}"


def where_text(names: Iterable[str], parameters: Mapping[str, Any]) -> str:
    """Where a cell lies, by its parameters of these names."""
    return ", ".join(f"{name} = {value_text(parameters[name])}" for name in names) or "its one cell"


def observable_text(section: Section, row: Row) -> str:
    """The label of a row's observable, with the point in its own dims."""
    assert section.experiment is not None
    label = next((item.label for item in section.experiment.observables if item.name == row.observable), row.observable)
    label = text(label)
    inside = ", ".join(f"{dim} = {position(value)}" for dim, value in row.point.items())
    return f"{label} [{inside}]" if inside else label


def value_text(value: Any) -> str:
    """The value of a parameter, with all its digits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "∞" if value == math.inf else number(value) if float(f"{value:.4g}") == value else repr(value)
    return "none" if value is None else str(value)


def finite(value: float) -> str:
    """A number with four digits; nothing where there is none."""
    return number(value) if math.isfinite(value) else ""
