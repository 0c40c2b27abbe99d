"""Two-timescale networks against what one would write without this library: loops over steps, Euler steps.

    python benchmarks/two_timescale.py [--quick]

Prints Markdown tables. One thread each side, on one CPU. Times are the least of several wall-clock times, the sides
taking turns. Nothing here is part of the tests.

What is compared, on the paper's target with 20 neurons of width 0.004
* steps: `simulate` of SGD, one run and 16 at once, against a loop of NumPy as one writes it (a sigmoid function a
  neuron, as the authors' code has it) and a loop over whole arrays. Goal: 300 times the first.
* limit: `limit_flow` from a start with two neurons in every piece, with positions at 1000 times, against 1000 Euler
  steps of the pair law (goal: 500 times), and from any start of 8 neurons (goal: 10 ms).
"""

from __future__ import annotations

import one_thread

# isort: split
import argparse
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from sparse_tokens import processor, table

from solvable.networks import two_timescale as tt

TASK, WIDTH, RATIO, RATE = tt.PiecewiseConstant(), 4e-3, 2e-5, 1e-3


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


def sigmoid(z: float) -> float:
    """One value, by cases."""
    if z < -0.5:
        return 0.0
    if z < 0.0:
        return 4.0 * (z + 0.5) ** 3
    return 1.0 - 4.0 * (0.5 - z) ** 3 if z < 0.5 else 1.0


def plain_loop(steps: int) -> None:
    """SGD, a neuron at a time."""
    rng = np.random.default_rng(0)
    u, a, b = np.sort(rng.random(20)), np.zeros(20), 0.0
    for _ in range(steps):
        x = rng.random()
        y = float(TASK.of(x)) + rng.uniform(-1.0, 1.0)
        value = np.array([sigmoid((x - one) / WIDTH) for one in u])
        push = 2.0 * (y - b - np.dot(a, value))
        near = np.array([abs(x - one) <= WIDTH / 2 for one in u]) / WIDTH
        u = u - RATE * RATIO * push * a * near
        a = a + RATE * push * value
        b += RATE * push


def array_loop(steps: int) -> None:
    """SGD, all neurons at once, samples drawn beforehand."""
    rng = np.random.default_rng(0)
    u, a, b = np.sort(rng.random(20)), np.zeros(20), 0.0
    xs = rng.random(steps)
    ys = TASK.of(xs) + rng.uniform(-1.0, 1.0, steps)
    for x, y in zip(xs, ys, strict=True):
        z = (x - u) / WIDTH
        r = np.maximum(0.5 - np.abs(z), 0.0)
        cubic = 4.0 * r**3
        value = np.where(z < 0.0, cubic, 1.0 - cubic)
        push = 2.0 * RATE * (y - b - a @ value)
        u -= (RATIO / WIDTH * push) * a * (r > 0.0)
        a += push * value
        b += push


def benchmark_steps(repeats: int) -> None:
    """The first table."""
    loop, arrays = least(repeats, lambda: plain_loop(2000), lambda: array_loop(2000))
    loop, arrays = 1e6 * loop / 2000, 1e6 * arrays / 2000
    rows = [("NumPy, neuron by neuron", f"{loop:.0f} us", ""), ("NumPy, arrays", f"{arrays:.1f} us", "")]
    for derivative in ("exact", "box"):
        algorithm = tt.Descent(RATIO, RATE, derivative=derivative)
        for runs, steps in ((1, 10**6), (16, 10**5)):
            at = [steps * RATIO * RATE]
            (mine,) = least(repeats, lambda a=algorithm, t=at, r=runs: tt.simulate(TASK, a, at=t, replicates=r))
            mine *= 1e6 / steps / runs
            rows.append((f"{derivative}, runs at once: {runs}", f"{mine:.3f} us", f"{loop / mine:.0f} (goal 300)"))
    print("## A step of SGD and run\n")
    table(("side", "a step and run", "times faster than the first"), rows)


def euler(start: np.ndarray, last: float, steps: int = 1000) -> np.ndarray:
    """The pair law by Euler steps, pair after pair, as the authors' code has it."""
    u, size = np.sort(start), last / steps
    for _ in range(steps):
        moved = u.copy()
        for k, v in enumerate(TASK.positions):
            j = np.searchsorted(u, v, "left") - 1
            x, y = v - u[j], u[j + 1] - v
            if x <= 0.0 or y <= 0.0:
                continue
            moved[j] = min(u[j] + size * (TASK.jumps[k] * y / (x + y)) ** 2, v)
            moved[j + 1] = max(u[j + 1] - size * (TASK.jumps[k] * x / (x + y)) ** 2, v)
        u = moved
    return u


def benchmark_limit(repeats: int) -> None:
    """The second table."""
    rng = np.random.default_rng(0)
    valid = next(one for one in rng.random((1000, 20)) if tt.limit_flow(TASK, one).valid)
    times, others = np.linspace(0.0, 0.035, 1000), rng.random((40, 8))
    mine, final, steps = least(
        repeats,
        lambda: tt.limit_flow(TASK, valid).at(times),
        lambda: tt.limit_flow(TASK, valid).final_error,
        lambda: euler(valid, 0.035),
    )
    (general,) = least(repeats, lambda: [tt.limit_flow(TASK, one).final_error for one in others])
    print("## The limit from one start\n")
    rows = [
        ("1000 Euler steps", f"{1e3 * steps:.0f} ms", "", ""),
        ("limit_flow, positions at 1000 times", f"{1e3 * mine:.2f} ms", f"{steps / mine:.0f}", ""),
        ("limit_flow, hits and final error", f"{1e3 * final:.2f} ms", f"{steps / final:.0f}", 500),
        ("limit_flow, any start of 8 neurons", f"{1e3 * general / len(others):.1f} ms", "", "at most 10 ms"),
    ]
    table(("side", "time", "times faster", "goal"), rows)


def main() -> None:
    """All parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    repeats = 2 if parser.parse_args().quick else 5
    print("# Two time-scales\n")
    print(f"{processor()}, {one_thread.CPUS} CPUs, one thread on one of them, load average {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, jax {jax.__version__}\n")
    benchmark_steps(repeats)
    benchmark_limit(repeats)


if __name__ == "__main__":
    main()
