"""What `solvable run` and `solvable predict` print of their results: tables, lines about failures, JSON documents."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from solvable.lab.comparing.agreement import Row, badness, tally
from solvable.lab.declare import Experiment
from solvable.lab.declare.grid import varying
from solvable.lab.store.arrays import CellResult, Failure
from solvable.lab.store.store import parameters_of

_MOST_LINES = 60
_NUMBERS = ("simulated", "predicted", "se of difference", "allowance", "z")


def agreement_parts(rows: Sequence[Row]) -> list[Any]:
    """The agreement table: one line per cell, overlay and observable, the worst of its points."""
    parts, lines = _worst(rows)
    if not lines:
        return parts
    names = varying([row.parameters for row in rows])
    table = new_table([*names, "observable", "theory", "claim"], _NUMBERS, ["verdict"])
    for row in lines:
        found = row.comparison
        table.add_row(
            *_place(row, names),
            *(_number(value) for value in (found.simulated, found.predicted, found.standard_error)),
            _number(found.allowance or math.nan),
            *_outcome(row),
        )
    return [*parts, table]


def extrapolation_parts(rows: Sequence[Row]) -> list[Any]:
    """The table of the rows of `finite_size.extrapolate`: intercept, slope and misfit of each line."""
    parts, lines = _worst(rows)
    if not lines:
        return parts
    infinite = (name for name, value in lines[0].parameters.items() if value == math.inf)
    size = next((row.extrapolation.size for row in rows if row.extrapolation), None) or next(infinite)
    sizes = {", ".join(f"{one:g}" for one in row.extrapolation.sizes) for row in rows if row.extrapolation}
    common = f" from {size} = {sizes.pop()}" if len(sizes) == 1 else ""
    names = varying([row.parameters for row in rows])
    left = [*names, "observable", "theory", "claim", *([] if common else ["sizes"])]
    table = new_table(left, ["intercept", "se", "slope", "se", "misfit", "z"], ["verdict"])
    for row in lines:
        found, line = row.comparison, row.extrapolation
        slope = (line.slope, line.slope_standard_error) if line else (math.nan, math.nan)
        used = "" if line is None else ", ".join(f"{one:g}" for one in line.sizes)
        table.add_row(
            *_place(row, names),
            *([] if common else [Text(used)]),
            *(_number(value) for value in (found.difference, found.standard_error, *slope)),
            Text("" if line is None or line.misfit is None else f"{line.misfit:+.1f}"),
            *_outcome(row),
        )
    return [*parts, Text(f"simulated minus predicted, extrapolated to {size} = infinity{common}"), table]


def summary(rows: Sequence[Row]) -> list[Text]:
    """How many comparisons agree and how many lack replicates, in one line; none where there is nothing to say."""
    count = tally(rows)
    counted = count.headline if count.tested or count.identities else ""
    lost = [row.comparison for row in rows if row.comparison.missing]
    most = max((one.missing / (one.missing + one.replicates) for one in lost), default=0.0)
    missing = f"{len(lost)} of {len(rows)} comparisons lack replicates, up to {most:.0%} of them" if lost else ""
    words = "; ".join(filter(None, [counted, missing]))
    return [Text(words, style="bold red" if count.differing else "yellow" if lost else "green")] if words else []


def failure_parts(failures: Sequence[tuple[Experiment, Failure]], cells: Sequence[CellResult]) -> list[Text]:
    """One line per source and message, with the cells where it occurred."""
    names = varying([dict(cell.cell) for cell in cells])
    places: dict[tuple[str, str], list[str]] = {}
    for cell, failure in failures:
        where = ", ".join(f"{key}={plain(getattr(cell, key))}" for key in names) or "its one cell"
        places.setdefault((failure.source, failure.message), []).append(where)
    return [
        Text(f"failed   {source} at {_few(list(dict.fromkeys(where)))}: {message}", style="red")
        for (source, message), where in places.items()
    ]


def failure_document(cell: Experiment, failure: Failure) -> dict[str, Any]:
    """A failure for --json."""
    span = failure.replicates
    return {
        "parameters": parameters_of(cell),
        "source": failure.source,
        "replicates": None if span is None else [span.start, span.stop],
        "kind": failure.kind,
        "message": failure.message,
    }


def brief(value: Any) -> str:
    """A number in six digits, of an array its shape."""
    if value is None:
        return ""
    array = np.asarray(value)
    return f"{array.item():.6g}" if array.ndim == 0 else "array of " + " x ".join(map(str, array.shape))


def plain(value: Any) -> Text:
    """A parameter's value."""
    return Text(f"{value:g}" if isinstance(value, float) else str(value))


def new_table(left: Sequence[str], right: Sequence[str], last: Sequence[str] = ()) -> Table:
    """An empty table; the columns `right` are aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in left:
        table.add_column(Text(column))
    for column in right:
        table.add_column(Text(column), justify="right")
    for column in last:
        table.add_column(Text(column))
    return table


def _worst(rows: Sequence[Row]) -> tuple[list[Any], list[Row]]:
    """The worst point of each cell, overlay and observable; the worst cell of each where there are very many."""
    worst: dict[tuple, Row] = {}
    for row in rows:
        key = (json.dumps(row.parameters), row.overlay, row.observable)
        if key not in worst or badness(row) > badness(worst[key]):
            worst[key] = row
    lines = [row for row in worst.values() if not row.failed]
    if len(lines) <= _MOST_LINES:
        return [], lines
    keep: dict[tuple, Row] = {}
    for row in lines:
        key = (row.overlay, row.observable)
        if key not in keep or badness(row) > badness(keep[key]):
            keep[key] = row
    words = f"the worst of {len(lines)} comparisons for each observable (--json prints them all)"
    return [Text(words)], list(keep.values())


def _place(row: Row, names: Sequence[str]) -> list[Text]:
    return [*(plain(row.parameters[key]) for key in names), *map(Text, (row.subject, row.overlay, row.claim))]


def _outcome(row: Row) -> tuple[Text, Text]:
    found = row.comparison
    style = {True: "green", False: "bold red", None: "yellow"}[found.agrees]
    return Text("" if found.score is None else f"{found.score:+.1f}"), Text(found.verdict, style=style)


def _number(value: float) -> Text:
    return Text(f"{value:.4g}" if np.isfinite(value) else "")


def _few(places: Sequence[str]) -> str:
    more = len(places) - 3
    return "; ".join(places[:3]) + (f"; and {more} more {'cell' if more == 1 else 'cells'}" if more > 0 else "")
