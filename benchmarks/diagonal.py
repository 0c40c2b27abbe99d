"""Diagonal networks against what one would use without this library: lasso path, limit path, gradient flow.

    python benchmarks/diagonal.py [--quick]

Prints Markdown tables. One thread each side, on one CPU. Times are medians of wall-clock times, the two sides taking
turns; those of the flow are the least CPU seconds of several runs. Nothing here is part of the tests.

What is compared
* lasso: the whole call of `lasso_path`, which holds every kink, against the whole call of scikit-learn's `lars_path`
  with method="lasso", which also holds every kink, on iid normal X (n, d) and y. The difference is of the objective at
  scikit-learn's penalties, relative, the larger of the two signs. Goal: no slower.
* limit: the whole call of `limit_path` against a loop that moves the duals to the next hit and solves each jump's
  problem anew by scipy.optimize.nnls on the columns at the bound. The difference is of the predictions X x at all
  jumps, as a share of |y|. Goal: faster.
* flow: `GradientFlow.run_many` up to 30 first kinks, at 10 times, against scipy.integrate.solve_ivp's Radau on the
  same equations with the Jacobian given, rtol 1e-8 and atol 1e-10, one problem after the other. Errors are those of the
  averages against Radau at rtol 1e-10. Goals: 5 times, for a batch of 64 problems 20 times.
* small: `lasso_path(Quadratic.from_data(X, y)).monotone` on 2000 problems (n, d) = (3, 4), a problem; no peer.
"""

from __future__ import annotations

import one_thread

# isort: split
import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from diagonal_flow import CASES, flow_row
from scipy.optimize import nnls
from sklearn.linear_model import lars_path
from sparse_tokens import processor, table

from solvable.networks import diagonal

SIZES = {(100, 400): 11, (500, 2000): 3}  # (n, d): how often


def regression(n: int, d: int) -> tuple[np.ndarray, np.ndarray, diagonal.Quadratic]:
    """iid normal X and y, and the problem."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    return X, y, diagonal.Quadratic.from_data(X, y)


def in_turns(repeats: int, *calls: Callable[[], Any]) -> tuple[list[float], list[Any]]:
    """The median seconds of each call and what each returned last, after one call of each that does not count."""
    returned = [call() for call in calls]
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for number, call in enumerate(calls):
            start = time.perf_counter()
            returned[number] = call()
            seconds[number].append(time.perf_counter() - start)
    return [statistics.median(one) for one in seconds], returned


def milliseconds(seconds: float) -> str:
    """Seconds as a cell."""
    return f"{1e3 * seconds:.2f} ms"


def at_most_one(ratio: float) -> str:
    """Whether a ratio of times meets its goal."""
    return "met" if ratio <= 1.0 else f"missed by {ratio - 1.0:.0%}"


def lasso_row(n: int, d: int, repeats: int) -> tuple[Any, ...]:
    """One line of the first table."""
    X, y, problem = regression(n, d)
    limit = 100 * (n + d)  # scikit-learn stops after 500 kinks otherwise
    (ours, theirs), (path, (alphas, _, coefficients)) = in_turns(
        repeats,
        lambda: diagonal.lasso_path(problem),
        lambda: lars_path(X, y, method="lasso", max_iter=limit),
    )
    mu = 1.0 / (n * alphas[1:-1])
    reference = diagonal.lasso_objective(problem, coefficients.T[1:-1], mu)
    error = np.max(np.abs(diagonal.lasso_objective(problem, path(mu), mu) / reference - 1.0))
    cells = (milliseconds(ours), milliseconds(theirs), f"{ours / theirs:.2f}", f"{error:.0e}")
    return (f"{n}, {d}", len(path.kinks), *cells, at_most_one(ours / theirs))


def limit_by_nnls(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The jumps and plateaux of the limit, every problem solved anew."""
    linear = X.T @ y
    s, dual, x = 0.0, np.zeros(X.shape[1]), np.zeros(X.shape[1])
    jumps, plateaux = [], []
    while True:
        rate = linear - X.T @ (X @ x)
        moving = (np.abs(rate) > 1e-9) & ~((np.abs(dual) > 1.0 - 1e-9) & (rate * dual > 0.0))
        if not moving.any():
            return np.array(jumps), np.array(plateaux)
        wait = np.min((1.0 - np.sign(rate) * dual)[moving] / np.abs(rate)[moving])
        s, dual = s + wait, dual + wait * rate
        at_bound = np.flatnonzero(np.abs(dual) > 1.0 - 1e-9)
        dual[at_bound] = np.sign(dual[at_bound])
        x = np.zeros(len(x))
        x[at_bound] = nnls(X[:, at_bound] * dual[at_bound], y)[0] * dual[at_bound]
        jumps.append(s)
        plateaux.append(x)


def limit_row(n: int, d: int, repeats: int) -> tuple[Any, ...]:
    """One line of the second table."""
    X, y, problem = regression(n, d)
    (ours, theirs), (path, (jumps, plateaux)) = in_turns(
        repeats, lambda: diagonal.limit_path(problem), lambda: limit_by_nnls(X, y)
    )
    same = len(jumps) == len(path.jumps)
    error = f"{np.max(np.abs((path.plateaux - plateaux) @ X.T)) / np.linalg.norm(y):.0e}" if same else "other jumps"
    cells = (milliseconds(ours), milliseconds(theirs), f"{ours / theirs:.3f}", error)
    return (f"{n}, {d}", len(path.jumps), *cells, at_most_one(ours / theirs))


def benchmark_lasso(quick: bool) -> None:
    """The first table."""
    print("## Lasso path: lasso_path against scikit-learn's lars_path\n")
    head = ("n, d", "kinks", "lasso_path", "lars_path", "ratio", "largest difference", "goal: at most 1")
    table(head, [lasso_row(*size, repeats) for size, repeats in list(SIZES.items())[: 1 if quick else None]])


def benchmark_limit(quick: bool) -> None:
    """The second table."""
    print("## Limit path: limit_path against a loop of scipy.optimize.nnls\n")
    head = ("n, d", "jumps", "limit_path", "nnls loop", "ratio", "largest difference", "goal: at most 1")
    rows = [limit_row(100, 400, 3)] + ([] if quick else [limit_row(300, 100, 3)])
    table(head, rows)


def benchmark_flow(quick: bool) -> None:
    """The third table."""
    print("## Gradient flow: GradientFlow.run_many against scipy's Radau\n")
    head = ("n, d, scale", "first call", "warm", "Radau", "ratio", "goal", "error", "Radau's error")
    table(head, [tuple(flow_row(*case)) for case in CASES[: 3 if quick else None]])


def benchmark_small() -> None:
    """One line."""
    rng = np.random.default_rng(0)
    draws = [(rng.normal(size=(3, 4)), rng.normal(size=3)) for _ in range(2000)]
    (seconds,), (monotone,) = in_turns(
        3, lambda: [diagonal.lasso_path(diagonal.Quadratic.from_data(*draw)).monotone for draw in draws]
    )
    print(
        f"## Small problems\n\nn, d = 3, 4: {1e6 * seconds / len(draws):.0f} us a problem, its data checked and its "
        f"path followed; {np.mean(monotone):.1%} of 2000 paths are monotone.\n"
    )


def main() -> None:
    """All parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="leave the long ones out")
    quick = parser.parse_args().quick
    print("# Diagonal networks\n")
    print(f"{processor()}, {one_thread.CPUS} CPUs, one thread on one of them, load average {os.getloadavg()[0]:.1f}")
    libraries = ("numpy", "scipy", "scikit-learn", "jax")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in libraries) + "\n")
    benchmark_lasso(quick)
    benchmark_limit(quick)
    benchmark_flow(quick)
    benchmark_small()


if __name__ == "__main__":
    main()
