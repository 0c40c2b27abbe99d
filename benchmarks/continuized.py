"""Continuized acceleration against what one would write without this library: loops, simulated means, optax steps.

    python benchmarks/continuized.py [--quick]

Prints Markdown tables. One thread each side, on one CPU. Times are the least of several wall-clock times, the sides
taking turns. Nothing here is part of the tests.

What is compared, on f = 1/2 sum_i lam_i x_i^2 with lam_i = (i/50)^2, i = 1 to 50, from a start of ones
* runs: `simulate` of 4000 runs of 140 events, f after the last, against the same by a loop of NumPy over runs and
  events (40 runs, times 100) and by one of NumPy over events, all runs at once. Goals: 40 and 1.5 times.
* curves: `predict` at every event up to 140 (and at 15 times) against the mean of 1e5 simulated runs. Goal: 100 times.
* steps: one compiled step of `solvable.optim.continuized` (update and apply_updates, everything donated) on twenty
  float32 leaves of 500 x 1000 against optax.sgd, plain and with Nesterov's momentum. Goal: at most 1.5 times it.
"""

from __future__ import annotations

import one_thread

# isort: split
import argparse
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from mirror_descent_step import compiled
from sparse_tokens import processor, table

from solvable.iterations import continuized as co
from solvable.optim import continuized

SPECTRUM = (np.arange(1, 51) / 50.0) ** 2
TASK, EVENTS = co.Quadratic(SPECTRUM, np.ones(50)), 140
METHODS = {"convex": co.Continuized(), "strongly convex": co.Continuized("exact")}


def least(repeats: int, *calls: Callable[[], Any]) -> list[float]:
    """The least seconds of each call, which take turns, after one call of each that does not count."""
    for call in calls:
        call()
    seconds = [np.inf] * len(calls)
    for _ in range(repeats):
        for place, call in enumerate(calls):
            start = time.perf_counter()
            call()
            seconds[place] = min(seconds[place], time.perf_counter() - start)
    return seconds


def one_run(rng: np.random.Generator) -> float:
    """Convex steps, by a loop over the events."""
    x, z, now = np.ones(50), np.ones(50), 0.0
    for _ in range(EVENTS):
        before, now = now, now + rng.exponential()
        y = x + (1.0 - (before / now) ** 2) * (z - x)
        gradient = SPECTRUM * y
        x, z = y - gradient, z - 0.5 * now * gradient
    return 0.5 * SPECTRUM @ (x * x)


def all_runs(rng: np.random.Generator, runs: int) -> np.ndarray:
    """The same, all runs at once."""
    x, z, now = np.ones((runs, 50)), np.ones((runs, 50)), np.zeros((runs, 1))
    for _ in range(EVENTS):
        before, now = now, now + rng.exponential(size=(runs, 1))
        y = x + (1.0 - (before / now) ** 2) * (z - x)
        gradient = SPECTRUM * y
        x, z = y - gradient, z - 0.5 * now * gradient
    return 0.5 * (x * x) @ SPECTRUM


def benchmark_runs(repeats: int) -> None:
    """The first table."""
    rng, runs = np.random.default_rng(0), 4000

    def ours() -> Any:
        return co.simulate(TASK, METHODS["convex"], at=[EVENTS], replicates=runs).suboptimality

    start = time.perf_counter()
    ours()
    first = time.perf_counter() - start
    calls = (ours, lambda: all_runs(rng, runs), lambda: [one_run(rng) for _ in range(40)])
    mine, together, loop = least(repeats, *calls)
    print("## Runs: 4000 of 140 events in 50 dimensions\n")
    rows = [
        ("NumPy, over runs and events", f"{100 * loop:.2f} s", f"{100 * loop / mine:.0f}", 40),
        ("NumPy, over events", f"{together:.3f} s", f"{together / mine:.2f}", 1.5),
        ("simulate", f"{mine:.3f} s (first call {first:.1f} s)", "", ""),
    ]
    table(("side", "seconds", "times ours", "goal"), rows)


def benchmark_curves(repeats: int) -> None:
    """The second table."""
    rows = []
    for name, algorithm in METHODS.items():
        for unit, at in (("events", np.arange(EVENTS + 1)), ("time", np.linspace(0.0, EVENTS, 15))):

            def exact(algorithm: Any = algorithm, at: Any = at, unit: Any = unit) -> Any:
                return co.predict(TASK, algorithm, at=at, unit=unit)

            def mean(algorithm: Any = algorithm, at: Any = at, unit: Any = unit) -> Any:
                return co.simulate(TASK, algorithm, at=at, unit=unit, replicates=100_000).suboptimality.mean(axis=0)

            (mine,), (runs,) = least(repeats, exact), least(1, mean)
            rows.append((name, unit, f"{1e3 * mine:.1f} ms", f"{runs:.2f} s", f"{runs / mine:.0f}", 100))
    print("## Curves: predict against the mean of 1e5 runs\n")
    table(("steps", "unit", "predict", "1e5 runs", "ratio", "goal"), rows)


def benchmark_steps(repeats: int) -> None:
    """The third table."""
    optimisers = {
        "optax.sgd": optax.sgd(1e-3),
        "optax.sgd, nesterov": optax.sgd(1e-3, momentum=0.9, nesterov=True),
        "continuized, convex": continuized(1e-3),
        "continuized, strongly convex": continuized(1e-3, 0.1),
    }
    seconds = dict(zip(optimisers, least(repeats, *map(compiled, optimisers.values())), strict=True))
    peer = seconds["optax.sgd, nesterov"]
    print("## Steps: ten million float32 parameters\n")
    rows = [
        (name, f"{1e3 * one:.1f} ms", f"{one / peer:.2f}", 1.5 if "continuized" in name else "")
        for name, one in seconds.items()
    ]
    table(("optimiser", "a step", "times that of Nesterov", "goal: at most"), rows)


def main() -> None:
    """All parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    repeats = 2 if parser.parse_args().quick else 7
    print("# Continuized acceleration\n")
    print(f"{processor()}, {one_thread.CPUS} CPUs, one thread on one of them, load average {os.getloadavg()[0]:.1f}")
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, jax {jax.__version__}, optax {version('optax')}\n"
    )
    assert jnp.ones(()).dtype == jnp.float32
    benchmark_runs(repeats)
    benchmark_curves(repeats)
    benchmark_steps(repeats)


if __name__ == "__main__":
    main()
