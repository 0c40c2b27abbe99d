"""The comparisons of one experiment as a table: a list of rows that prints itself and becomes a data frame."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from solvable.lab.comparing.agreement import Row, badness, tally
from solvable.lab.declare.grid import varying
from solvable.numerics import notebook

if TYPE_CHECKING:
    import pandas

_MOST = 60
_COLUMNS = ("observable", "theory", "claim", "simulated", "predicted", "se", "allowance", "z", "verdict")


class Comparisons(list[Row]):
    """The comparisons of one experiment; printed, they are a table, of the worst where there are many."""

    def to_dataframe(self) -> pandas.DataFrame:
        """One row a comparison: parameters, positions along the observable's own dims, then what came of it.

        `point` is these positions in words; what follows are the fields of `Row` and `Agreement`, then `slope`,
        `slope_standard_error` and `misfit` of a line over sizes.
        """
        import pandas

        lines, places = [], dict.fromkeys(dim for row in self for dim in row.point)
        for row in self:
            names = ("slope", "slope_standard_error", "misfit")
            fitted = {name: getattr(row.extrapolation, name, math.nan) for name in names}
            lines.append({**row.parameters, **places, **row.point, "point": row.place, **row.facts, **fitted})
        return pandas.DataFrame(lines)

    def __repr__(self) -> str:
        """The count in one sentence, and a table."""
        headline, columns, lines = self._table()
        widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
        shown = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in (columns, *lines) if lines]
        return "\n".join([headline, *shown])

    def _repr_html_(self) -> str:
        """What is printed, as a table of HTML."""
        return notebook.table(*self._table())

    def _table(self) -> tuple[str, list[str], list[list[str]]]:
        """The headline, the columns and the lines: parameters that vary, then numbers and verdicts."""
        names = varying([row.parameters for row in self])
        headline, chosen = tally(self).headline, self
        if len(self) > _MOST:
            headline += f" (the worst {_MOST} of {len(self)} are shown)"
            chosen = sorted(self, key=badness, reverse=True)[:_MOST]
        lines = [[*(_text(row, name) for name in names), *_cells(row)] for row in chosen]
        return headline, [*names, *_COLUMNS], lines


def _cells(row: Row) -> list[str]:
    found = row.comparison
    numbers = (found.simulated, found.predicted, found.standard_error, found.allowance or math.nan)
    shown = ("" if math.isnan(value) else f"{value:.4g}" for value in numbers)
    score = "" if found.score is None else f"{found.score:+.1f}"
    return [row.subject, row.overlay, row.claim, *shown, score, "identity" if found.identity else found.verdict]


def _text(row: Row, name: str) -> str:
    value: Any = row.parameters[name]
    return f"{value:g}" if isinstance(value, float) else str(value)
