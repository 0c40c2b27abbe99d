"""What a report knows of one experiment, and how its cells, values and verdicts are put into words."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from solvable.lab.comparing.agreement import Row, Tally, badness, position, tally
from solvable.lab.declare import Experiment
from solvable.lab.figures.looks import number
from solvable.lab.store.arrays import CellResult


@dataclasses.dataclass(frozen=True)
class Chapter:
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


def verdict(chapter: Chapter) -> tuple[str, str]:
    """One sentence on an experiment, and its kind: agrees, differs or untested."""
    if chapter.trouble:
        return "untested", "It cannot be shown."
    count, differing, failed = chapter.tally, chapter.differing, len(chapter.failed)
    tail = f" {count.not_counted}." if count.identities else ""
    tail += f" {counted(failed, 'cell')} failed." if failed else ""
    if differing:
        first = differing[0]
        words = f"{len(differing)} of {counted(count.tested, 'comparison')} {_differ(len(differing))}, at worst "
        where = place_text(chapter, first) or "its one cell"
        words += f"{observable_text(chapter, first)} at {where}: {first.comparison.verdict}."
        return "differs", words + tail
    if count.tested:
        over = tally(chapter.extrapolated).tested
        some = f" ({over} of them over sizes)" if over else ""
        words = f"All {count.tested} comparisons agree{some}." if count.tested > 1 else "The one comparison agrees."
        untested = sum(row.comparison.agrees is None and not row.failed for row in chapter.every)
        words += f" {counted(untested, 'more')} could not be tested." if untested else ""
        return ("differs" if failed else "agrees"), words + tail
    if count.identities:
        return ("differs" if failed else "agrees"), tail.strip()
    if chapter.experiment is not None and chapter.experiment.replicates == 0:
        return ("differs" if failed else "untested"), "Theory alone: nothing is simulated, nothing is compared." + tail
    return ("differs" if failed else "untested"), "Nothing could be compared." + tail


def counted(count: int, noun: str) -> str:
    """A number and its noun."""
    plural = noun if noun == "more" or count == 1 else noun + "s"
    return f"{count} {plural}"


def varying(chapter: Chapter) -> list[str]:
    """The parameters that differ between the compared cells."""
    cells = [json.dumps(dict(row.parameters), default=str) for row in chapter.rows]
    found = [json.loads(text) for text in dict.fromkeys(cells)]
    return [name for name in (found[0] if found else {}) if len({str(item[name]) for item in found}) > 1]


def differing_parameters(results: Sequence[CellResult]) -> list[str]:
    """The parameters that differ between the cells."""
    fields = type(results[0].cell).model_fields if results else ()
    return [name for name in fields if len({getattr(result.cell, name) for result in results}) > 1]


def cell_text(names: Iterable[str], cell: Experiment) -> str:
    """Where a cell lies, by the parameters of these names."""
    return ", ".join(f"{name} = {value_text(getattr(cell, name))}" for name in names)


def place_text(chapter: Chapter, row: Row) -> str:
    """Where a comparison lies, by the parameters that differ."""
    return ", ".join(f"{name} = {value_text(row.parameters[name])}" for name in varying(chapter))


def observable_text(chapter: Chapter, row: Row) -> str:
    """The label of a row's observable, with the point in its own dims."""
    assert chapter.experiment is not None
    label = next((item.label for item in chapter.experiment.observables if item.name == row.observable), row.observable)
    inside = ", ".join(f"{dim} = {position(value)}" for dim, value in row.point.items())
    return f"{label} [{inside}]" if inside else label


def overlay_words(label: str) -> str:
    """The name of a theory, or of the simulation, in words."""
    return label.replace("_", " ")


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


def _differ(count: int) -> str:
    return "differs" if count == 1 else "differ"
