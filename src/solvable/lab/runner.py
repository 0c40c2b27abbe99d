"""Run an experiment over a grid: decide what is missing, compute and store it chunk by chunk, read back the rest."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from solvable.lab import grid as grids
from solvable.lab.chunk import Chunk, Computed, blocks, compute
from solvable.lab.experiment import Experiment
from solvable.lab.store import Store
from solvable.lab.values import SIMULATION, CellResult, Failure, Values, concatenate
from solvable.numerics.validation import integer


@dataclasses.dataclass(frozen=True)
class Run:
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


@dataclasses.dataclass
class _Plan:
    """One cell: the chunks that are finished, with their content, and those to compute."""

    cell: Experiment
    finished: dict[Chunk, Mapping[str, Values]]
    facts: list[Mapping[str, Any]]
    missing: list[Chunk]
    failures: list[Failure] = dataclasses.field(default_factory=list)


def execute(
    experiment: type[Experiment],
    grid: Mapping[str, Any] | None = None,
    *,
    replicates: int | None = None,
    out: str | Path = "solvable-results",
    progress: bool = False,
) -> Run:
    """Simulate and predict every cell of `grid`, computing only what `out` does not hold yet.

    Replicate numbers are absolute, so more replicates extend what is there. A cell that raises is recorded as failed
    and the others are computed; failed chunks are tried again by the next run.

    Raises: ValueError for a grid, a setting or a number of replicates that is not accepted.
    """
    count = experiment.replicates if replicates is None else integer("replicates", replicates, at_least=0)
    if experiment.replicates == 0 and count > 0:
        raise ValueError(f"replicates={count} is not accepted: {experiment.name} has no simulation; accepted: 0")
    cells = grids.cells(experiment, grid)
    check(cells)
    store = Store(out)
    plans = _plan(store, cells, count)
    finished = sum(len(plan.finished) for plan in plans)
    total = sum(len(plan.missing) for plan in plans)
    with _Progress(experiment.name, plans, visible=progress and total > 0) as advance:
        for plan in plans:
            for chunk in plan.missing:
                computed = compute(chunk)
                plan.facts.append(store.write(chunk, computed))
                _keep(plan, chunk, computed)
                advance(plan, chunk)
    results = [_gather(plan, count) for plan in plans]
    return Run(experiment, results, computed=total, reused=finished, replicates=count, folder=store.folder)


def predict(experiment: type[Experiment], grid: Mapping[str, Any] | None = None) -> list[CellResult]:
    """The unconditional predictions of every cell of `grid`; nothing is stored.

    Raises: ValueError for a grid or a setting that is not accepted.
    """
    cells = grids.cells(experiment, grid)
    check(cells)
    plans = [_Plan(cell, {}, [], _theory_chunks(cell)) for cell in cells]
    for plan in plans:
        for chunk in plan.missing:
            _keep(plan, chunk, compute(chunk))
    return [_gather(plan, 0) for plan in plans]


def check(cells: Sequence[Experiment]) -> None:
    """Build the task and the algorithm of every cell, so that a bound is met before anything is computed.

    Raises: ValueError naming the argument, its value and what is accepted.
    """
    for cell in cells:
        with contextlib.suppress(NotImplementedError):  # a declaration may simulate and predict in its own way
            for build in (cell.task, cell.algorithm, cell.shared, cell.sizes):
                build()


def _theory_chunks(cell: Experiment) -> list[Chunk]:
    return [Chunk(cell, overlay=overlay) for overlay in cell.applicable() if not overlay.given]


def _plan(store: Store, cells: Sequence[Experiment], count: int) -> list[_Plan]:
    names = store.listing(type(cells[0]))
    plans = []
    for cell in cells:
        plan = _Plan(cell, {}, [], [])
        wanted = _theory_chunks(cell)
        known = store.blocks(cell, names)
        wanted += [
            chunk for block, chunk in sorted(known.items(), key=lambda item: item[0].start) if block.start < count
        ]
        for chunk in wanted:
            stored = None if store.failures(chunk) else store.read(chunk)
            if stored is None or not set(chunk.sources) <= set(stored.values):
                plan.missing.append(chunk)
            else:
                plan.finished[chunk] = stored.values
                plan.facts.append(stored.facts)
        plan.missing += [Chunk(cell, block) for span in _gaps(known, count) for block in blocks(span)]
        plans.append(plan)
    return plans


def _gaps(known: Mapping[range, Chunk], count: int) -> list[range]:
    """The replicates below `count` that no known block covers."""
    gaps, start = [], 0
    for block in sorted(known, key=lambda block: block.start):
        if start < min(block.start, count):
            gaps.append(range(start, min(block.start, count)))
        start = max(start, block.stop)
    return [*gaps, range(start, count)] if start < count else gaps


def _keep(plan: _Plan, chunk: Chunk, computed: Computed) -> None:
    plan.finished[chunk] = computed.values
    plan.failures.extend(computed.failures)


def _gather(plan: _Plan, count: int) -> CellResult:
    parts: dict[str, list[Values]] = {}
    for values in plan.finished.values():
        for label, part in values.items():
            parts.setdefault(label, []).append(part)
    order = [SIMULATION, *(overlay.label for overlay in plan.cell.overlays)]
    sources = {
        label: concatenate(parts[label]).first(count) for label in sorted(parts, key=order.index) if label in order
    }
    return CellResult(plan.cell, sources, plan.failures, plan.facts)


class _Progress:
    """A progress bar on stderr, absent when nobody watches: cells done, chunks a second, time left."""

    def __init__(self, name: str, plans: Sequence[_Plan], visible: bool) -> None:
        self._left = {id(plan): len(plan.missing) for plan in plans}
        self._cells = len(plans)
        self._bar = None
        if visible:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            console = Console(stderr=True)
            if console.is_terminal:
                columns = (
                    TextColumn("{task.description}"),
                    BarColumn(),
                    TextColumn("{task.fields[cells]}"),
                    TextColumn("{task.fields[rate]}"),
                    TimeRemainingColumn(),
                )
                self._bar = Progress(*columns, console=console, transient=True)
                self._task = self._bar.add_task(name, total=sum(self._left.values()), cells=self._words(), rate="")

    def __enter__(self) -> Callable[[_Plan, Chunk], None]:
        if self._bar is not None:
            self._bar.start()
        return self._advance

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _advance(self, plan: _Plan, chunk: Chunk) -> None:
        self._left[id(plan)] -= 1
        if self._bar is not None:
            speed = self._bar.tasks[self._task].speed
            rate = f"{speed:.1f} chunks/s" if speed else ""
            self._bar.update(self._task, advance=1, cells=self._words(), rate=rate)

    def _words(self) -> str:
        return f"{sum(left <= 0 for left in self._left.values())} of {self._cells} cells"
