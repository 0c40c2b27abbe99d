"""Run an experiment over a grid: decide what is missing, have an engine compute it, store it, read back the rest."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from solvable.lab.declare import Experiment
from solvable.lab.declare import grid as grids
from solvable.lab.running.compute import check, compute
from solvable.lab.running.engines import Engine, engine_of
from solvable.lab.running.progress import Progress
from solvable.lab.running.schedule import Schedule, schedule, theory_chunks
from solvable.lab.store.arrays import SIMULATION, CellResult, Failure, Values, concatenate
from solvable.lab.store.index import Stored
from solvable.lab.store.store import Store
from solvable.numerics.validation import integer


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What a run did: the results of every cell asked for, how many chunks were computed and how many were there."""

    experiment: type[Experiment]
    results: Sequence[CellResult]
    computed: int
    reused: int
    replicates: int
    folder: Path

    @property
    def failures(self) -> list[tuple[Experiment, Failure]]:
        """Every failure with its cell."""
        return [(result.cell, failure) for result in self.results for failure in result.failures]


def execute(
    experiment: type[Experiment],
    grid: Mapping[str, Any] | None = None,
    *,
    replicates: int | None = None,
    engine: Any = None,
    jobs: int | None = None,
    address: str | None = None,
    out: str | Path = "solvable-results",
    progress: bool = False,
) -> Sweep:
    """Simulate and predict every cell of `grid`, computing only what `out` does not hold yet.

    Replicate numbers are absolute, so more replicates extend what is there. A cell that raises is recorded as failed
    and the others are computed; failed chunks are tried again by the next run. `engine`, `jobs` and `address` say where
    the chunks are computed, see `solvable.lab.running.engines`.

    Raises: ValueError for a grid, a setting, an engine or a number of replicates that is not accepted; WriteError when
    `out` cannot be written.
    """
    count = experiment.replicates if replicates is None else integer("replicates", replicates, at_least=0)
    if experiment.replicates == 0 and count > 0:
        raise ValueError(f"replicates={count} is not accepted: {experiment.name} has no simulation; accepted: 0")
    chosen = engine_of(engine, jobs=jobs, address=address)
    cells = grids.cells(experiment, grid)
    store = Store(out)
    schedules = schedule(store, cells, count)
    check([one.cell for one in schedules if one.missing])
    total = sum(len(one.missing) for one in schedules)
    if total:
        store.prepare(experiment)
        # closing: an interrupt or a full disk ends the engine here and now
        with (
            Progress(experiment, schedules, visible=progress) as shown,
            contextlib.closing(_computed(store, schedules, chosen)) as finished,
        ):
            for one in finished:
                one.left -= 1
                shown.advance(one, lambda one=one: _gather(store, one, count))
    results = [_gather(store, one, count) for one in schedules]
    store.shelf(experiment).save()
    reused = sum(len(one.finished) for one in schedules)
    return Sweep(experiment, results, computed=total, reused=reused, replicates=count, folder=store.folder)


def predict(experiment: type[Experiment], grid: Mapping[str, Any] | None = None) -> list[CellResult]:
    """The unconditional predictions of every cell of `grid`; nothing is stored.

    Raises: ValueError for a grid or a setting that is not accepted.
    """
    cells = grids.cells(experiment, grid)
    check(cells)
    results = []
    for cell in cells:
        done = [compute(chunk) for chunk in theory_chunks(cell)]
        failures = [failure for computed in done for failure in computed.failures]
        results.append(CellResult(cell, _sources(cell, [computed.values for computed in done], 0), failures))
    return results


def _computed(store: Store, schedules: Sequence[Schedule], engine: Engine) -> Generator[Schedule]:
    """Have every missing chunk computed, and store it; yields the cell of each as they finish."""
    owners = {id(chunk): one for one in schedules for chunk in one.missing}
    with contextlib.closing(engine.run([chunk for one in schedules for chunk in one.missing], store)) as stream:
        for chunk, computed in stream:
            one = owners[id(chunk)]
            if computed is not None:
                stored, failures = Stored(store.write(chunk, computed), computed.values), computed.failures
            else:  # a worker has stored it
                stored, failures = store.read(chunk) or Stored({}, {}), store.failures(chunk)
            one.computed.append(stored)
            one.failures.extend(failures)
            yield one


def _gather(store: Store, one: Schedule, count: int) -> CellResult:
    """A cell's results, from the store and from this run."""
    shelf = store.shelf(one.cell)
    parts = [*filter(None, map(shelf.read, one.finished)), *one.computed]
    facts = [part.facts for part in parts if part.facts]
    return CellResult(one.cell, _sources(one.cell, [part.values for part in parts], count), one.failures, facts)


def _sources(cell: Experiment, parts: Sequence[Mapping[str, Values]], count: int) -> dict[str, Values]:
    """The parts of each source joined, replicates below `count`, in the order: simulation, then the overlays."""
    labels = [SIMULATION, *(overlay.label for overlay in cell.overlays)]
    joined = {label: [part[label] for part in parts if label in part] for label in labels}
    return {label: concatenate(values).first(count) for label, values in joined.items() if values}
