"""Single-index targets against what one would write without this library: SciPy's Radau, and descent in d dimensions.

    python benchmarks/single_index.py [--quick]

Prints Markdown tables. One thread each side, on one CPU. Times are the least of several wall-clock times, the sides
taking turns. Nothing here is part of the tests.

What is compared
* mean field: `predict` at 200 times from rate_ratio/100 to 10, 100 neurons, rtol 1e-8, against SciPy's Radau with the
  analytic Jacobian written out; and 64 starts at once against as many calls of Radau. Goals: 20 and 40 times.
* descent: steps of the chain in neurons + 1 coordinates against a loop of NumPy over steps in d dimensions. Goal: 20
  times at d = 1e4, and no growth up to d = 1e6.
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
import numpy as np
from scipy.integrate import solve_ivp
from sparse_tokens import processor, table

from solvable.networks import single_index as si
from solvable.networks.single_index import chain, mean_field
from solvable.networks.single_index.overlaps import generator, random_coordinates

TARGET, ACTIVATION, NEURONS = np.array([0.6, 0.8, 0.6, 0.5]), np.array([0.4, 0.5, 0.3, 0.2]), 100
TASK = si.SingleIndex(TARGET)


def least(repeats: int, call: Callable[[], Any]) -> float:
    """The least seconds of a call, after one that does not count."""
    seconds = np.inf
    call()
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds


def radau(eps: float, outer: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The mean-field flow by SciPy, its Jacobian written out; the risk (K,)."""
    m, k = len(outer), np.arange(4)[:, None]

    def parts(state: np.ndarray) -> Any:
        a, s = state[:m], state[m:]
        powers = s**k
        first = k * np.vstack([np.zeros(m), powers[:-1]])
        second = k * np.vstack([np.zeros(m), first[:-1]])
        return a, s, powers, first, second, TARGET - ACTIVATION * (powers @ a) / m

    def field(_: float, state: np.ndarray) -> np.ndarray:
        a, s, powers, first, _, rho = parts(state)
        weights = ACTIVATION * rho
        return np.concatenate([weights @ powers / eps, a * (1.0 - s * s) * (weights @ first)])

    def jacobian(_: float, state: np.ndarray) -> np.ndarray:
        a, s, powers, first, second, rho = parts(state)
        weights, free = ACTIVATION * rho, 1.0 - s * s
        slope = weights @ first
        up = ACTIVATION[:, None] * np.hstack([powers / eps, a * free * first])
        down = -ACTIVATION[:, None] / m * np.hstack([powers, a * first])
        found, every = up.T @ down, np.arange(m)
        found[every, m + every] += slope / eps
        found[m + every, every] += free * slope
        found[m + every, m + every] += a * (free * (weights @ second) - 2.0 * s * slope)
        return found

    atol = 1e-10 * np.concatenate([np.ones(m), np.full(m, np.sqrt(eps))])
    start = np.concatenate([outer, np.zeros(m)])
    path = solve_ivp(
        field, (0.0, at[-1]), start, "Radau", at, rtol=1e-8, atol=atol, jac=jacobian, first_step=1e-3 * eps
    )
    return np.array([0.5 * (parts(state)[-1] ** 2).sum() for state in path.y.T])


def descent(steps: int, batch: int, outer: np.ndarray, weights: np.ndarray, rates: tuple[float, float]) -> None:
    """Steps of SGD in d dimensions, by a loop of NumPy."""
    rng, (m, dim) = np.random.default_rng(0), weights.shape
    a, u = outer.copy(), weights.copy()
    for _ in range(steps):
        x = rng.standard_normal((batch, dim))
        z = x @ u.T
        g = x[:, 0]
        y = 0.6 + 0.8 * g + 0.6 * (g * g - 1.0) / np.sqrt(2.0) + 0.5 * (g**3 - 3.0 * g) / np.sqrt(6.0)
        value, slope = np.maximum(z, 0.0), (z > 0.0).astype(float)
        error = (y - value @ a / m) / batch
        pull = slope * error[:, None]
        u += rates[1] * a[:, None] * (pull.T @ x - (pull * z).sum(0)[:, None] * u)
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        a += rates[0] * (value.T @ error)


def flows(quick: bool) -> list[list[str]]:
    """Rows of the mean-field table."""
    rows, rng = [], np.random.default_rng(0)
    outer = rng.uniform(-1.0, 1.0, (64, NEURONS))
    with jax.enable_x64(True):
        for eps in (1e-4, 1e-8):
            at = np.geomspace(0.01 * eps, 10.0, 200)
            one = si.GradientFlow(eps, ACTIVATION, NEURONS, outer[0]).model(TASK)

            def ours(count: int, eps: float = eps, at: np.ndarray = at, one: Any = one) -> Any:
                some = outer[:count]
                return jax.block_until_ready(mean_field.flows(one, eps, some, 0.0 * some, at, 1e-8))

            theirs = least(1 if quick else 3, lambda eps=eps, at=at: radau(eps, outer[0], at))
            single, many = least(3, lambda: ours(1)), least(1, lambda: ours(64)) / 64
            path = ours(1)
            rho = TARGET - ACTIVATION * np.stack(
                [(path.outer[0] * path.alignment[0] ** k).mean(1) for k in range(4)], 1
            )
            apart = np.abs(0.5 * (rho**2).sum(1) - radau(eps, outer[0], at)).max()
            rows.append(
                [
                    *(f"{eps:g}", f"{int(path.steps[0])}", f"{1e3 * single:.0f}", f"{1e3 * many:.0f}"),
                    *(f"{theirs:.2f}", f"{theirs / single:.0f}", f"{theirs / many:.0f}", f"{apart:.0e}"),
                ]
            )
    return rows


def steps(quick: bool) -> list[list[str]]:
    """Rows of the table of descent."""
    rows = []
    for m, batch in ((40, 64), (20, 1)):
        for dim in (1000, 10_000, 1_000_000):
            outer, draw = np.linspace(-1.0, 1.0, m), generator(jax.random.key(0), 0)
            weights = random_coordinates(draw, m, dim)
            one = si.GradientFlow(0.1, "relu", m, outer).model(TASK)
            plan = chain.plan_of(one, TARGET, "relu", m, batch, dim, False)
            count = 200 if batch > 1 else 3000

            def ours(count: int = count, one: Any = one, plan: Any = plan, outer: Any = outer, u: Any = weights) -> Any:
                return chain.run(one, plan, (0.01, 1e-5, 0.0), outer, u, jax.random.key(1), np.array([count]))

            with jax.enable_x64(True):
                mine = least(2 if quick else 5, ours) / count
            words = ["", ""]
            if dim <= 10_000:
                full = random_coordinates(draw, m, dim, True)
                less = 10 if batch > 1 else 200
                theirs = least(1 if quick else 3, lambda: descent(less, batch, outer, full, (0.01, 1e-5))) / less  # noqa: B023
                words = [f"{1e6 * theirs:.0f}", f"{theirs / mine:.1f}"]
            rows.append([f"{m}", f"{batch}", f"{dim:g}", f"{1e6 * mine:.1f}", *words])
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    quick = parser.parse_args().quick
    packages = ", ".join(f"{name} {version(name)}" for name in ("jax", "numpy", "scipy"))
    print(f"{processor()}, {one_thread.CPUS} CPUs, one thread on one of them, load average {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, {packages}")
    head = ["rate ratio", "steps", "ours, ms", "of 64, ms each", "Radau, s", "times", "times, of 64", "risks apart"]
    table(tuple(head), [tuple(row) for row in flows(quick)])
    head = ["neurons", "batch", "dim", "chain, us a step", "NumPy in d dimensions, us", "times"]
    table(tuple(head), [tuple(row) for row in steps(quick)])


if __name__ == "__main__":
    main()
