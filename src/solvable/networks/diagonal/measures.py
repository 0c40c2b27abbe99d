"""What is measured of a path: its distance from the lasso, its loss, its active set, its jumps."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvable.lab.declare import float64, instance
from solvable.networks.diagonal.algorithms import DiagonalNetwork, GradientDescent, GradientFlow, Run, Runs
from solvable.networks.diagonal.lasso import LassoPath, lasso_path, objective
from solvable.networks.diagonal.limit import LimitPath, limit_path
from solvable.networks.diagonal.quadratic import Quadratic

ACTIVE = 1e-3  # of max |r| / max M_ii, the unit of x: coordinates below it do not count as active


@float64
def suboptimality(problem: Quadratic, algorithm: DiagonalNetwork | None = None, at: Any = None) -> np.ndarray:
    """The relative lasso gap (Lasso(a(s), s) - Lasso_*(s)) / Lasso_*(s) of the averaged trajectory a at times s (K,).

    Lasso(x, s) = l(x) + (lambda + 1/s) |x|_1, its least value over all x, over x >= 0 for parameterization="square"
    (arXiv:2509.18766). `algorithm` None is `GradientFlow()`; `at` None: 61 times from 1/2 to 30 first kinks.

    Raises: TypeError for what is no problem or no algorithm; ValueError for times that are not above 0, and for a
    problem whose loss can be negative, where a relative gap means nothing (give it its `constant`); SolveError when the
    training fails.
    """
    algorithm = GradientFlow() if algorithm is None else algorithm
    run = instance("algorithm", algorithm, (GradientFlow, GradientDescent)).train(problem, at=at)
    if run.at[0] <= 0.0:
        raise ValueError(f"at holds {run.at[0]:g}; accepted: times above 0, where the penalty 1/s is finite")
    if not nonnegative(problem):
        raise ValueError(
            f"problem has constant={float(problem.constant):g}, with which its loss falls to {problem.floor:g}; "
            f"accepted: constant >= {float(problem.constant) - problem.floor:g}"
        )
    path = lasso_path(problem, float(algorithm.weight_decay), algorithm.positive)
    return relative_gap(problem, path, np.asarray(run.average), np.asarray(run.at), float(algorithm.weight_decay))


def nonnegative(problem: Quadratic) -> bool:
    """Whether the loss is nowhere negative, up to rounding."""
    return problem.floor >= -1e-9 * abs(float(problem.constant))


def relative_gap(
    problem: Quadratic, path: LassoPath, average: np.ndarray, times: np.ndarray, weight_decay: float
) -> np.ndarray:
    """(Lasso(average, s) - Lasso_*(s)) / Lasso_*(s) (K,) of points (K, d) at times (K,); a time 0 has gap 0."""
    inside = np.where(times > 0.0, times, 1.0)
    quadratic = (np.asarray(problem.factor), np.asarray(problem.linear), float(np.asarray(problem.constant)))
    least, value = (objective(*quadratic, x, weight_decay + 1.0 / inside) for x in (path(inside), average))
    scale = np.where(least > 0.0, least, 1.0)
    return np.where(times > 0.0, (value - least) / scale, 0.0)


def measured(runs: Runs, algorithm: DiagonalNetwork) -> dict[str, np.ndarray]:
    """The observables of trained runs (R, *own dims); one that some run does not have is left out."""
    rows = [_measured(runs.run(place), algorithm) for place in range(len(runs.problems))]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0] if all(name in row for row in rows)}


def _measured(run: Run, algorithm: DiagonalNetwork) -> dict[str, Any]:
    problem, decay = run.problem, float(algorithm.weight_decay)
    found: dict[str, Any] = {
        "solution": run.solution,
        "average": run.average,
        "loss": problem.loss(run.solution),
        "active": np.abs(run.solution) > ACTIVE * problem.unit,
        "jump_times": half_height_times(limit_of(problem, algorithm), run.at, run.solution),
    }
    if nonnegative(problem):
        path = lasso_path(problem, decay, algorithm.positive)
        found["gap"] = relative_gap(problem, path, run.average, run.at, decay)
        found["largest_gap"] = np.max(found["gap"])
    return found


def limit_of(problem: Quadratic, algorithm: DiagonalNetwork) -> LimitPath:
    """The limit of vanishing scale of the algorithm, by whichever of its two constructions applies."""
    return limit_path(problem, algorithm.positive, weight_decay=float(algorithm.weight_decay), check_assumptions=False)


def half_height_times(limit: LimitPath, times: np.ndarray, solution: np.ndarray) -> np.ndarray:
    """The first times (d,) at which |x_i| is half the height of its first jump in the limit; inf for never."""
    jumps, found = limit.first_jumps, np.full(solution.shape[1], np.inf)
    for i in np.flatnonzero(np.isfinite(jumps)):
        size, half = np.abs(solution[:, i]), 0.5 * abs(limit(jumps[i])[i])
        above = np.flatnonzero(size >= half)
        if above.size == 0 or half == 0.0:
            continue
        k = above[0]
        if k == 0 or times[k] == times[k - 1]:
            found[i] = times[k]
            continue
        # an inactive coordinate grows like an exponential
        before, after = (np.log(max(float(size[j]), 1e-300)) for j in (k - 1, k))
        share = (np.log(half) - before) / (after - before)
        found[i] = times[k - 1] + share * (times[k] - times[k - 1])
    return found
