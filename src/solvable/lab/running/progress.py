"""A progress bar on stderr: cells done, chunks a second, time left, the worst score so far; absent when not watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvable.lab.declare.experiment import Experiment
    from solvable.lab.running.schedule import Schedule
    from solvable.lab.store.arrays import CellResult


class Progress:
    """The bar of one run; a context manager."""

    def __init__(self, experiment: type[Experiment], schedules: Sequence[Schedule], visible: bool) -> None:
        self._experiment, self._schedules = experiment, schedules
        self._worst = 0.0
        self._done = sum(one.left <= 0 for one in schedules)
        self._bar = None
        if visible:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            console = Console(stderr=True)
            if console.is_terminal:
                names = ("cells", "rate", "worst")
                columns = [TextColumn(f"{{task.fields[{name}]}}") for name in names]
                self._bar = Bar(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    *columns,
                    TimeRemainingColumn(),
                    console=console,
                    transient=True,
                )
                total = sum(one.left for one in schedules)
                fields: Any = dict.fromkeys(names, "") | {"cells": self._cells()}
                self._task = self._bar.add_task(experiment.name, total=total, **fields)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, one: Schedule, gather: Callable[[], CellResult]) -> None:
        """One chunk more of a cell is stored; once the cell is complete, `gather` gives its results to be compared."""
        self._done += one.left <= 0
        if self._bar is None:
            return
        if one.left <= 0:
            from solvable.lab.comparing import agreement

            scores = [row.comparison.score for row in agreement.rows(self._experiment, [gather()])]
            self._worst = max([self._worst, *(abs(score) for score in scores if score is not None)])
        speed = self._bar.tasks[self._task].speed
        self._bar.update(
            self._task,
            advance=1,
            cells=self._cells(),
            rate=f"{speed:.1f} chunks/s" if speed else "",
            worst=f"worst |z| {self._worst:.1f}" if self._worst else "",
        )

    def _cells(self) -> str:
        return f"{self._done} of {len(self._schedules)} cells"
