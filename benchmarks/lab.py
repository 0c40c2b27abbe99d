"""The lab: what each engine adds to a cell, the speed-up of two workers, a resume over many finished chunks.

    python benchmarks/lab.py [--chunks 100000] [--skip-engines]

Peers: joblib.Parallel over the same function, which stores nothing; pandas reading the folder, which verifies nothing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from solvable.lab.declare import Experiment, Observable, Outcome, Status, axis, parameter

NODES = 13  # a fit of 13 points, so that a cell holds more than one number


class Busy(Experiment):
    """A cell that keeps one core busy for a given time, and returns Gaussian numbers."""

    name, source, system = "benchmark/busy", "this benchmark", __name__
    seconds: float = parameter(0.0, "processor time of a block of replicates")
    setting: int = axis([0, 1], "an axis")
    observables = (Observable("error", "error"), Observable("norm", "norm"), Observable("path", "path"))
    x = "setting"
    replicates = 8

    def simulate(self, key: Any, replicates: range) -> Outcome:
        stop = time.process_time() + self.seconds
        draws = np.stack([np.random.default_rng([self.setting, r]).normal(size=2 + NODES) for r in replicates])
        while time.process_time() < stop:
            np.linalg.svd(draws)
        return _outcome(draws, np.zeros(len(replicates), int))

    def predict(self, overlay: Any, given: Any = None) -> Outcome:
        return _outcome(np.zeros(2 + NODES), np.asarray(0))

    @classmethod
    def status(cls, overlay: Any) -> dict[str, Status]:
        return dict.fromkeys(("error", "norm", "path"), Status("exact", "derived"))


def _outcome(draws: np.ndarray, result: np.ndarray) -> Outcome:
    values = {"error": draws[..., 0], "norm": draws[..., 1], "path": draws[..., 2:]}
    return Outcome.of(values, result, {"path": ("step",)})


def simulate_alone(setting: int, seconds: float) -> None:
    """One cell without the lab."""
    Busy(setting=setting, seconds=seconds).simulate(None, range(8))


def engines(cells: int, seconds: float) -> None:
    """What a cell costs on every engine beyond its own work, and what starting the engine costs.

    Two runs of different length: their difference is what the cells cost, the rest is the start.
    """
    from joblib import Parallel, delayed

    from solvable.lab.running import runner

    def looped(count: int) -> None:
        for setting in range(count):
            simulate_alone(setting, seconds)

    def parallel(count: int, jobs: int) -> None:
        Parallel(n_jobs=jobs)(delayed(simulate_alone)(setting, seconds) for setting in range(count))

    def stored(count: int, how: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            runner.execute(Busy, {"setting": list(range(count)), "seconds": seconds}, out=folder, **how)

    runs: dict[str, tuple[int, Callable[[int], None]]] = {
        "a Python loop, nothing stored": (1, looped),
        "joblib, 2 jobs, nothing stored": (2, lambda count: parallel(count, 2)),
        "in process": (1, lambda count: stored(count, {})),
        "loky, 1 worker": (1, lambda count: stored(count, {"jobs": 1})),
        "loky, 2 workers": (2, lambda count: stored(count, {"jobs": 2})),
        "dask, 2 workers": (2, lambda count: stored(count, {"engine": "dask", "jobs": 2})),
        "submitit (local), 2 jobs": (2, lambda count: stored(count, {"engine": "submitit", "jobs": 2})),
    }
    print(f"\nCells of {seconds * 1e3:g} ms: one block of 8 replicates and one prediction each, {cells} cells\n")
    print("| engine | start, s | wall time a cell, ms | beyond the work, ms |")
    print("|---|---|---|---|")
    costs = {}
    few = max(cells // 10, 2)
    for name, (workers, run) in runs.items():
        run(2)  # imports, and the pages of files
        walls = []
        for count in (few, cells):
            start = time.perf_counter()
            run(count)
            walls.append(time.perf_counter() - start)
        costs[name] = cost = (walls[1] - walls[0]) / (cells - few)
        beyond = cost - seconds / workers
        start_up = max(walls[0] - few * cost, 0.0)
        print(f"| {name} | {start_up:.2f} | {cost * 1e3:.2f} | {beyond * 1e3:.2f} |", flush=True)
    print(f"\nTwo workers over one (loky): {costs['loky, 1 worker'] / costs['loky, 2 workers']:.2f} times")


def resume(chunks: int) -> None:
    """Deciding that nothing is missing, and opening everything, over so many finished chunks."""
    import pandas as pd

    from solvable import lab
    from solvable.lab.declare import grid
    from solvable.lab.running.compute import compute
    from solvable.lab.running.schedule import schedule
    from solvable.lab.store import chunk
    from solvable.lab.store.store import Store

    blocks = 7
    cells = grid.cells(Busy, {"setting": list(range(chunks // (blocks + 1)))})
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        store = Store(folder)
        for cell in cells:
            overlay = cell.overlays[0]
            for one in [chunk.Chunk(cell, overlay=overlay), *(chunk.Chunk(cell, b) for b in chunk.blocks(range(56)))]:
                store.write(one, compute(one))
        store.shelf(Busy).save()
        made = time.perf_counter() - start
        count = (blocks + 1) * len(cells)
        print(f"\n{count} chunks in {len(cells)} cells, computed and stored in {made:.0f} s")
        settings = {"setting": list(range(len(cells)))}
        start = time.perf_counter()
        schedules = schedule(Store(folder), grid.cells(Busy, settings), 56)
        print(f"resume decided             {time.perf_counter() - start:8.2f} s")
        assert not any(one.missing for one in schedules)
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
    sys.path.insert(0, os.getcwd())  # for the import below, here and in the workers
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--skip-engines", action="store_true")
    options = parser.parse_args()
    # By its module's name, so that workers import it.
    bench = importlib.import_module("benchmarks.lab")
    print(f"{os.cpu_count()} cores")
    if not options.skip_engines:
        bench.engines(400, 0.001)
        bench.engines(20, 1.0)
    bench.resume(options.chunks)
