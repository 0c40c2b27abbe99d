"""`solvable run` and `solvable predict`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from solvable.cli.call import NOT_CONVERGED, Answer
from solvable.lab import agreement, dataset, plots, runner
from solvable.lab.agreement import Row
from solvable.lab.chunk import safe
from solvable.lab.experiment import Experiment
from solvable.lab.registry import find
from solvable.lab.store import parameters_text
from solvable.lab.values import CellResult, Failure

_MOST_LINES = 60


def settings(texts: Sequence[str]) -> dict[str, list[str]]:
    """The grid that `--set NAME=VALUE,...` options describe; values are still texts.

    Raises: ValueError naming the option that cannot be read.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        many = [value.strip() for value in values.split(",")]
        if not equals or not name.strip() or not all(many):
            raise ValueError(f"--set {text} cannot be read; accepted: NAME=VALUE or NAME=VALUE,VALUE,...")
        if name.strip() in grid:
            raise ValueError(f"--set {name.strip()} is given twice; give all its values in one, separated by commas")
        grid[name.strip()] = many
    return grid


def run(name: str, options: Sequence[str], replicates: int | None, out: str) -> Answer:
    """Simulate and predict, store, compare, draw."""
    experiment = find(name)
    done = runner.execute(experiment, settings(options), replicates=replicates, out=out, progress=True)
    _refuse_if_all_refused(done.results)
    data = dataset.to_dataset(experiment, done.results)
    figures = []
    if data.data_vars:
        figures = plots.save(plots.figure(experiment, data), done.folder / f"{safe(experiment.name)}.png")
    rows = agreement.rows(experiment, done.results)
    disagree = sum(row.comparison.agrees is False for row in rows)
    document = {
        "experiment": experiment.name,
        "source": experiment.source,
        "replicates": done.replicates,
        "cells": len(done.results),
        "computed": done.computed,
        "reused": done.reused,
        "results": str(done.folder / safe(experiment.name)),
        "figures": [str(path) for path in figures],
        "agrees": disagree == 0,
        "comparisons": [_row_document(row) for row in rows],
        "failures": [_failure_document(cell, failure) for cell, failure in done.failures],
    }
    parts = [*_agreement_parts(rows), *_failure_parts(done.failures, done.results)]
    tested = sum(row.comparison.agrees is not None for row in rows)
    if tested:
        parts.append(
            Text(f"{tested - disagree} of {tested} comparisons agree", style="green" if not disagree else "bold red")
        )
    parts.append(Text(f"results  {document['results']}  ({done.computed} chunks computed, {done.reused} were there)"))
    parts.extend(Text(f"figure   {path}") for path in figures)
    return Answer(document, parts, 1 if disagree or done.failures else 0)


def predict(name: str, options: Sequence[str]) -> Answer:
    """The unconditional predictions of every cell."""
    experiment = find(name)
    results = runner.predict(experiment, settings(options))
    _refuse_if_all_refused(results)
    cells = [
        {
            "parameters": json.loads(parameters_text(result.cell)),
            "overlay": label,
            "values": {key: array.tolist() for key, array in values.arrays.items()},
            "standard_error": {key: array.tolist() for key, array in values.errors.items()},
            "reason": values.reasons[0],
            "stats": values.stats,
        }
        for result in results
        for label, values in result.sources.items()
    ]
    failures = [(result.cell, failure) for result in results for failure in result.failures]
    document = {
        "experiment": experiment.name,
        "source": experiment.source,
        "predictions": cells,
        "failures": [_failure_document(cell, failure) for cell, failure in failures],
    }
    shown = [item.name for item in experiment.observables if any(item.name in cell["values"] for cell in cells)]
    varying = _varying([cell["parameters"] for cell in cells])
    table = _table([*varying, "theory"], shown)
    for cell in cells:
        values = [_brief(cell["values"].get(key)) for key in shown]
        table.add_row(*(_plain(cell["parameters"][key]) for key in varying), Text(cell["overlay"]), *map(Text, values))
    nothing = Text("no theory of this experiment speaks without a run; `solvable run` has them")
    parts = [*([table] if cells else [] if failures else [nothing]), *_failure_parts(failures, results)]
    unsolved = any(failure.kind == "SolveError" for _, failure in failures)
    return Answer(document, parts, NOT_CONVERGED if unsolved else 1 if failures else 0)


def _refuse_if_all_refused(results: Sequence[CellResult]) -> None:
    """A setting that the system refuses in every cell is bad input, not a failed run."""
    if all(not result.sources and result.failures for result in results):
        first = results[0].failures[0]
        if all(failure.kind == "ValueError" for result in results for failure in result.failures):
            raise ValueError(first.message)


def _agreement_parts(rows: Sequence[Row]) -> list[Any]:
    worst: dict[tuple, Row] = {}
    for row in rows:
        key = (json.dumps(row.parameters), row.overlay, row.observable)
        if key not in worst or _badness(row) > _badness(worst[key]):
            worst[key] = row
    lines = [row for row in worst.values() if not row.failed]
    parts: list[Any] = []
    if len(lines) > _MOST_LINES:
        parts.append(Text(f"the worst of {len(lines)} comparisons for each observable (--json prints them all)"))
        keep: dict[tuple, Row] = {}
        for row in lines:
            key = (row.overlay, row.observable)
            if key not in keep or _badness(row) > _badness(keep[key]):
                keep[key] = row
        lines = list(keep.values())
    if not lines:
        return parts
    varying = _varying([row.parameters for row in rows])
    table = _table([*varying, "observable", "theory", "claim"], ["simulated", "se", "predicted", "z"], ["verdict"])
    for row in lines:
        found = row.comparison
        style = {True: "green", False: "bold red", None: "yellow"}[found.agrees]
        numbers = (found.simulated, found.standard_error, found.predicted)
        table.add_row(
            *(_plain(row.parameters[key]) for key in varying),
            Text(row.observable + _at(row)),
            Text(row.overlay),
            Text(row.claim),
            *(Text(f"{value:.4g}" if np.isfinite(value) else "") for value in numbers),
            Text("" if found.score is None else f"{found.score:+.1f}"),
            Text(found.verdict, style=style),
        )
    return [*parts, table]


def _failure_parts(failures: Sequence[tuple[Experiment, Failure]], cells: Sequence[CellResult]) -> list[Text]:
    varying = _varying([cell.cell.model_dump() for cell in cells])
    places: dict[tuple[str, str], list[str]] = {}
    for cell, failure in failures:
        where = ", ".join(f"{key}={_plain(getattr(cell, key))}" for key in varying) or "its one cell"
        places.setdefault((failure.source, failure.message), []).append(where)
    return [
        Text(f"failed   {source} at {_few(list(dict.fromkeys(where)))}: {message}", style="red")
        for (source, message), where in places.items()
    ]


def _few(places: Sequence[str]) -> str:
    more = len(places) - 3
    return "; ".join(places[:3]) + (f"; and {more} more {'cell' if more == 1 else 'cells'}" if more > 0 else "")


def _badness(row: Row) -> tuple[bool, bool, float]:
    found = row.comparison
    return found.agrees is False, found.agrees is None, abs(found.score or 0.0)


def _row_document(row: Row) -> dict[str, Any]:
    found = row.comparison
    return {
        "parameters": row.parameters,
        "observable": row.observable,
        "point": row.point,
        "overlay": row.overlay,
        "claim": row.claim,
        "origin": row.origin,
        "simulated": found.simulated,
        "standard_error": found.standard_error,
        "predicted": found.predicted,
        "difference": found.difference,
        "score": found.score,
        "agrees": found.agrees,
        "verdict": found.verdict,
        "replicates": found.replicates,
        "missing": found.missing,
    }


def _failure_document(cell: Experiment, failure: Failure) -> dict[str, Any]:
    span = failure.replicates
    return {
        "parameters": json.loads(parameters_text(cell)),
        "source": failure.source,
        "replicates": None if span is None else [span.start, span.stop],
        "kind": failure.kind,
        "message": failure.message,
    }


def _varying(parameters: Sequence[Any]) -> list[str]:
    return [name for name in (parameters[0] if parameters else {}) if len({str(item[name]) for item in parameters}) > 1]


def _at(row: Row) -> str:
    inside = ", ".join(f"{dim}={value:g}" for dim, value in row.point.items())
    return f"[{inside}]" if inside else ""


def _brief(value: Any) -> str:
    if value is None:
        return ""
    array = np.asarray(value)
    return f"{array.item():.6g}" if array.ndim == 0 else "array of " + " x ".join(map(str, array.shape))


def _plain(value: Any) -> Text:
    return Text(f"{value:g}" if isinstance(value, float) else str(value))


def _table(left: Sequence[str], right: Sequence[str], last: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in left:
        table.add_column(Text(column))
    for column in right:
        table.add_column(Text(column), justify="right")
    for column in last:
        table.add_column(Text(column))
    return table
