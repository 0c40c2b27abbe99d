"""`solvable run` and `solvable predict`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from solvable.cli import tables
from solvable.cli.call import NOT_CONVERGED, Answer
from solvable.lab.comparing import agreement, finite_size
from solvable.lab.comparing.agreement import Row
from solvable.lab.declare import Experiment
from solvable.lab.declare import grid as grids
from solvable.lab.declare.grid import varying
from solvable.lab.declare.registry import find
from solvable.lab.figures import default, dense, matplotlib
from solvable.lab.figures import finite_size as over_sizes
from solvable.lab.figures.plot import Sheet
from solvable.lab.running import runner
from solvable.lab.store import dataset
from solvable.lab.store.arrays import CellResult
from solvable.lab.store.atomic import WriteError
from solvable.lab.store.chunk import safe
from solvable.lab.store.store import parameters_of


def settings(texts: Sequence[str], file: str | None = None) -> dict[str, Any]:
    """The grid of a TOML file, then that of `--set NAME=VALUE,...` options, whose values are still texts.

    Raises: ValueError naming the file or the option that cannot be read.
    """
    grid: dict[str, Any] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        many = [value.strip() for value in values.split(",")]
        if not equals or not name.strip() or not all(many):
            raise ValueError(f"--set {text} cannot be read; accepted: NAME=VALUE or NAME=VALUE,VALUE,...")
        if name.strip() in grid:
            raise ValueError(f"--set {name.strip()} is given twice; give all its values in one, separated by commas")
        grid[name.strip()] = many
    return grid if file is None else {**grids.read(file), **grid}


def run(name: str, options: Sequence[str], grid: str | None, out: str, **how: Any) -> Answer:
    """Simulate and predict, store, compare, draw; `how` is the number of replicates and the engine."""
    experiment = find(name)
    done = runner.execute(experiment, settings(options, grid), out=out, progress=True, **how)
    _refuse_if_all_refused(done.results)
    rows = agreement.rows(experiment, done.results)
    extrapolated = finite_size.extrapolate(experiment, done.results)
    figures = _figures(experiment, done, extrapolated)
    every = [*rows, *extrapolated]
    disagree = sum(row.comparison.agrees is False for row in every)
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
        "comparisons": [row.document() for row in rows],
        "extrapolations": [row.document() for row in extrapolated],
        "failures": [tables.failure_document(cell, failure) for cell, failure in done.failures],
    }
    parts = [
        *tables.agreement_parts(rows),
        *tables.extrapolation_parts(extrapolated),
        *tables.failure_parts(done.failures, done.results),
    ]
    parts += tables.summary(every)
    parts.append(Text(f"results  {document['results']}  ({done.computed} chunks computed, {done.reused} were there)"))
    parts.extend(Text(f"figure   {path}") for path in figures)
    return Answer(document, parts, 1 if disagree or done.failures else 0)


def _figures(experiment: type[Experiment], done: runner.Sweep, extrapolated: Sequence[Row]) -> list[Path]:
    """Draw what the run asked for; a figure that cannot be drawn or written keeps no one from the numbers."""
    data = dataset.to_dataset(experiment, done.results)
    named = done.folder / safe(experiment.name)
    fine = dense.along(experiment, data, done.folder)
    sheets: dict[str, Callable[[], Sheet | None]] = {
        f"{named}.png": lambda: default.sheet(experiment, data, fine) if data.data_vars else None,
        f"{named}-sizes.png": lambda: over_sizes.sheet(experiment, extrapolated),
    }
    written: list[Path] = []
    for path, made in sheets.items():
        try:
            sheet = made()
            written += matplotlib.save(matplotlib.draw(sheet), path) if sheet is not None else []
        except WriteError as error:
            warnings.warn(f"no figure: {error}", stacklevel=2)
        except Exception as error:
            warnings.warn(f"no figure: {type(error).__name__} while drawing {Path(path).name}: {error}", stacklevel=2)
    return written


def predict(name: str, options: Sequence[str], grid: str | None = None) -> Answer:
    """The unconditional predictions of every cell."""
    experiment = find(name)
    results = runner.predict(experiment, settings(options, grid))
    _refuse_if_all_refused(results)
    cells = [
        {
            "parameters": parameters_of(result.cell),
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
        "failures": [tables.failure_document(cell, failure) for cell, failure in failures],
    }
    shown = [item.name for item in experiment.observables if any(item.name in cell["values"] for cell in cells)]
    names = varying([cell["parameters"] for cell in cells])
    table = tables.new_table([*names, "theory"], shown)
    for cell in cells:
        values = [tables.brief(cell["values"].get(key)) for key in shown]
        table.add_row(
            *(tables.plain(cell["parameters"][key]) for key in names), Text(cell["overlay"]), *map(Text, values)
        )
    nothing = Text("no theory of this experiment speaks without a run; `solvable run` has them")
    parts = [*([table] if cells else [] if failures else [nothing]), *tables.failure_parts(failures, results)]
    unsolved = any(failure.kind == "SolveError" for _, failure in failures)
    return Answer(document, parts, NOT_CONVERGED if unsolved else 1 if failures else 0)


def _refuse_if_all_refused(results: Sequence[CellResult]) -> None:
    """A setting that the system refuses in every cell is bad input, not a failed run."""
    if all(not result.sources and result.failures for result in results):
        first = results[0].failures[0]
        if all(failure.kind == "ValueError" for result in results for failure in result.failures):
            raise ValueError(first.message)
