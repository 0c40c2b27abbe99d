"""The comparisons of one experiment as a table: a sequence of rows that prints itself and becomes a data frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from solvable.lab.comparing.agreement import Row, badness, position, tally
from solvable.numerics import notebook

if TYPE_CHECKING:
    import pandas

_MOST = 60
_COLUMNS = ("observable", "theory", "claim", "simulated", "predicted", "se", "allowance", "z", "verdict")


class Comparisons(Sequence[Row]):
    """The comparisons of one experiment; printing them gives a table, the worst of them where there are many."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = tuple(rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Comparisons: ...

    def __getitem__(self, index: int | slice) -> Row | Comparisons:
        """One row; the rows of a slice as a table."""
        return Comparisons(self.rows[index]) if isinstance(index, slice) else self.rows[index]

    def __len__(self) -> int:
        """The number of comparisons."""
        return len(self.rows)

    def __eq__(self, other: object) -> bool:
        """Whether another sequence holds the same rows."""
        return self.rows == tuple(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def to_dataframe(self) -> pandas.DataFrame:
        """One row a comparison: the parameters, the positions along the observable's own dims, then what came of it.

        Columns after `point`, which is these positions in words, are the fields of `Row` and `Agreement`; `slope`,
        `slope_standard_error` and `misfit` are those of a line over sizes.
        """
        import pandas

        lines = []
        for row in self:
            line = row.extrapolation
            over = (line.slope, line.slope_error, line.misfit) if line else (math.nan,) * 3
            fitted = dict(zip(("slope", "slope_standard_error", "misfit"), over, strict=True))
            lines.append({**row.parameters, **row.point, "point": _point(row), **row.facts, **fitted})
        return pandas.DataFrame(lines)

    def __repr__(self) -> str:
        """The count in one sentence, and a table."""
        lines = [[*columns] for columns in (self._columns(), *self._lines())]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([self._headline(), *(line.rstrip() for line in shown if len(self))])

    def _repr_html_(self) -> str:
        """What is printed, as a table."""
        return notebook.table(self._headline(), self._columns(), self._lines())

    def _headline(self) -> str:
        worst = f" (the worst {_MOST} of {len(self)} are shown)" if len(self) > _MOST else ""
        return tally(self).headline + worst

    def _varying(self) -> list[str]:
        names = self[0].parameters if self.rows else ()
        return [name for name in names if len({str(row.parameters[name]) for row in self}) > 1]

    def _columns(self) -> list[str]:
        return [*self._varying(), *_COLUMNS]

    def _lines(self) -> list[list[str]]:
        many = len(self) > _MOST
        chosen = sorted(self, key=badness, reverse=True)[:_MOST] if many else self.rows
        return [[*(_text(row.parameters[name]) for name in self._varying()), *_cells(row)] for row in chosen]


def _cells(row: Row) -> list[str]:
    found, point = row.comparison, _point(row)
    numbers = (found.simulated, found.predicted, found.standard_error, found.allowance or math.nan)
    score = "" if found.score is None else f"{found.score:+.1f}"
    named = f"{row.observable}[{point}]" if point else row.observable
    verdict = "identity" if found.identity else found.verdict
    return [named, row.overlay, row.claim, *map(_text, numbers), score, verdict]


def _point(row: Row) -> str:
    return ", ".join(f"{dim}={position(value)}" for dim, value in row.point.items())


def _text(value: Any) -> str:
    """A value in four digits; nothing for one that is not known."""
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.4g}"
