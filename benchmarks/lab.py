"""The lab: what each engine adds to a cell, the speed-up of two workers, a resume over many finished chunks.

    python benchmarks/lab.py [--chunks 100000] [--seconds 1]

Peers: joblib.Parallel over the same function, which stores nothing; pandas reading the folder, which verifies nothing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import time
from typing import Any, ClassVar

import equinox as eqx
import numpy as np

from solvable.lab.experiment import Experiment, Observable, Status, axis, parameter
from solvable.lab.outcome import Outcome

NODES = 13  # a fit of 13 points, so that a cell holds more than one number


class BusyOutcome(Outcome):
    """Two numbers and a short path."""

    error: np.ndarray
    norm: np.ndarray
    path: np.ndarray

    observables: ClassVar = ("error", "norm", "path")
    dims: ClassVar = {"path": ("step",)}


class Busy(Experiment):
    """A cell that keeps one core busy for a given time, and returns Gaussian numbers."""

    name, source, system = "benchmark/busy", "this benchmark", __name__
    seconds: float = parameter(0.0, "processor time of a block of replicates")
    setting: int = axis([0, 1], "an axis")
    observables = (Observable("error", "error"), Observable("norm", "norm"), Observable("path", "path"))
    x = "setting"
    replicates = 8

    def simulate(self, key: Any, replicates: range) -> BusyOutcome:
        stop = time.process_time() + self.seconds
        draws = np.stack([np.random.default_rng([self.setting, r]).normal(size=2 + NODES) for r in replicates])
        while time.process_time() < stop:
            np.linalg.svd(draws)
        return _outcome(draws, np.zeros(len(replicates), int))

    def predict(self, overlay: Any, given: Any = None) -> BusyOutcome:
        return _outcome(np.zeros(2 + NODES), np.asarray(0))

    @classmethod
    def status(cls, overlay: Any) -> dict[str, Status]:
        return dict.fromkeys(("error", "norm", "path"), Status("exact", "derived"))


def _outcome(draws: np.ndarray, result: np.ndarray) -> BusyOutcome:
    return BusyOutcome(result=result, stats={}, error=draws[..., 0], norm=draws[..., 1], path=draws[..., 2:])


def simulate_alone(setting: int, seconds: float) -> None:
    """One cell without the lab."""
    Busy(setting=setting, seconds=seconds).simulate(None, range(8))


def engines(cells: int, seconds: float) -> None:
    """Wall time of a run of so many cells on every engine, against joblib with nothing stored."""
    from joblib import Parallel, delayed

    from solvable.lab import runner

    print(f"\n{cells} cells of {seconds * 1e3:g} ms (each one block of 8 replicates and one prediction)")
    print(f"{'':34}{'wall s':>8}{'ms a cell beyond the work':>28}")
    start = time.perf_counter()
    for setting in range(cells):
        simulate_alone(setting, seconds)
    alone = time.perf_counter() - start
    print(f"{'a Python loop, nothing stored':34}{alone:8.2f}{(alone / cells - seconds) * 1e3:28.2f}")
    work = alone
    for jobs in (1, 2):
        with Parallel(n_jobs=jobs) as parallel:
            parallel(delayed(simulate_alone)(0, 0.0) for _ in range(8))  # started before the clock
            start = time.perf_counter()
            parallel(delayed(simulate_alone)(setting, seconds) for setting in range(cells))
            wall = time.perf_counter() - start
        print(f"{f'joblib, {jobs} jobs, nothing stored':34}{wall:8.2f}{(wall - work / jobs) / cells * 1e3:28.2f}")
    walls = {}
    for name, workers, how in (
        ("in process", 1, {}),
        ("loky, 1 worker", 1, {"jobs": 1}),
        ("loky, 2 workers", 2, {"jobs": 2}),
        ("dask, 2 workers", 2, {"engine": "dask", "jobs": 2}),
        ("submitit (local), 2 jobs", 2, {"engine": "submitit", "jobs": 2}),
    ):
        with tempfile.TemporaryDirectory() as folder:
            grid = {"setting": list(range(cells)), "seconds": seconds}
            # What starting workers costs is what a run of one cell takes.
            start = time.perf_counter()
            runner.execute(Busy, {"setting": -1, "seconds": 0.0}, out=folder, **how)
            setup = time.perf_counter() - start
            start = time.perf_counter()
            runner.execute(Busy, grid, out=folder, **how)
            walls[name] = wall = time.perf_counter() - start
        beyond = (wall - setup - work / workers) / cells * 1e3
        print(f"{name:34}{wall:8.2f}{beyond:28.2f}   (start {setup:.2f} s)")
    print(f"2 workers over 1 (loky): {walls['loky, 1 worker'] / walls['loky, 2 workers']:.2f} times")


def resume(chunks: int) -> None:
    """Deciding that nothing is missing, and opening everything, over so many finished chunks."""
    import pandas as pd

    from solvable import lab
    from solvable.lab import chunk, grid, runner
    from solvable.lab.store import Store

    blocks = 7
    cells = grid.cells(Busy, {"setting": list(range(chunks // (blocks + 1)))})
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        store = Store(folder)
        for cell in cells:
            overlay = cell.overlays[0]
            for one in [chunk.Chunk(cell, overlay=overlay), *(chunk.Chunk(cell, b) for b in chunk.blocks(range(56)))]:
                store.write(one, chunk.compute(one))
        store.shelf(Busy).save()
        made = time.perf_counter() - start
        count = (blocks + 1) * len(cells)
        print(f"\n{count} chunks in {len(cells)} cells, computed and stored in {made:.0f} s")
        settings = {"setting": list(range(len(cells)))}
        start = time.perf_counter()
        plans = runner.plan(Store(folder), grid.cells(Busy, settings), 56)
        print(f"resume decided             {time.perf_counter() - start:8.2f} s")
        assert not any(plan.missing for plan in plans)
        start = time.perf_counter()
        opened = lab.open(folder, Busy)
        print(f"opened as a Dataset        {time.perf_counter() - start:8.2f} s   {dict(opened.sizes)}")
        sample = min(count, 2000)
        os.remove(os.path.join(folder, "benchmark_busy", "_index.arrow"))
        start = time.perf_counter()
        shelf = Store(folder).shelf(Busy)
        for stem in list(shelf)[:sample]:
            shelf.read(stem)
        every = (time.perf_counter() - start) / sample * count
        print(f"opened without its index   {every:8.0f} s   (from {sample} files)")
        start = time.perf_counter()
        for path in [os.path.join(folder, "benchmark_busy", f"{stem}.parquet") for stem in list(shelf)[:sample]]:
            pd.read_parquet(path)
        every = (time.perf_counter() - start) / sample * count
        print(f"pandas, file by file       {every:8.0f} s   (from {sample} files)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--skip-engines", action="store_true")
    options = parser.parse_args()
    # By its module's name, so that workers import it.
    bench = importlib.import_module("benchmarks.lab")
    print(f"{os.cpu_count()} cores")
    if not options.skip_engines:
        bench.engines(400, 0.001)
        bench.engines(8, 1.0)
    bench.resume(options.chunks)
