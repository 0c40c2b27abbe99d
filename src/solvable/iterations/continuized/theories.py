"""What is observed of continuized methods, and the theories: one function and its claim on every observable each."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvable.lab.declare import Observable, Predicted, Status, Theory

observables = (
    Observable("suboptimality", "f(x) - min f", dims=("at",)),
    Observable("weighted_suboptimality", "T_k^2 (f(x_k) - min f), convex steps at events", dims=("at",)),
    Observable("squared_distance", "|x - minimiser|^2", dims=("at",)),
)
MOST_FLOATS = 10**9  # multiplications an event, on rows of data
MOST_WORK = 3 * 10**10  # of all events, or of all pieces of time: about a minute
LOST = 1e-6  # what may be lost of the digits, relative


def moments(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """The second moments of (x, z), exactly."""
    from solvable.iterations.continuized import moments as exact
    from solvable.iterations.continuized.algorithms import warn_of_plateau
    from solvable.iterations.continuized.results import ContinuizedResult
    from solvable.iterations.continuized.schedules import Convex
    from solvable.iterations.continuized.task import Objective, spectral

    if isinstance(task, Objective):
        raise ValueError("task=Objective has no theory='moments'; accepted: quadratics and least squares, or 'bound'")
    warn_of_plateau(task, algorithm)
    law = exact.Law.of(spectral(task), algorithm.exact_gradients(task))
    schedule = algorithm.schedule(task).in_units(law.unit)
    convex, timed = isinstance(schedule, Convex), unit == "time"
    many = exact.TERMS if convex and not timed else 1
    if law.rows is not None and many * law.rows.shape[0] * law.rows.shape[1] ** 2 > MOST_FLOATS:
        raise ValueError(
            f"X has {law.rows.shape[0]} rows of {law.rows.shape[1]} columns, too many for theory='moments'; accepted: "
            f"rows * columns^2 <= {MOST_FLOATS // many:.1e}, or simulate"
        )
    if algorithm.random_times and (timed or convex):
        steps = at[-1] / exact.longest_piece(law, schedule) if timed else at[-1]
        _require_feasible(law, exact.ORDER if timed else many, float(steps))
    if algorithm.random_times:
        found, apart = exact.continuized(law, schedule, at, timed)
    else:
        path = np.asarray(exact.fixed(law, schedule, int(at[-1]), bool(getattr(algorithm, "average", False))))
        found, apart = np.concatenate([path[at], np.full((len(at), 1), np.nan)], axis=1), np.zeros((len(at), 3))
    values = {"suboptimality": found[:, 0], "squared_distance": found[:, 1]}
    if convex and not timed:
        values["weighted_suboptimality"] = found[:, 2]
    start = np.asarray(law.observed(law.first))
    finite = all(np.isfinite(one).all() for one in values.values())
    kept = found if convex and not timed else found[:, :2]
    # what is left of a start that vanishes is rounding
    small = 1e-15 * np.stack([start[0] + 0.0 * at, start[1] + 0.0 * at, start[0] * (1.0 + at) ** 2], axis=1)
    sound = finite and np.all(((apart <= LOST * np.abs(found) + small) & (found >= -100.0 * small))[:, : kept.shape[1]])
    code = 0 if sound else int(ContinuizedResult.LOST_DIGITS if finite else ContinuizedResult.NONFINITE)
    # a mean of squares that is 0 may come out as minus a rounding
    return Predicted({name: np.maximum(value, 0.0) for name, value in values.items()}, code)


def _require_feasible(law: Any, terms: int, steps: float) -> None:
    """Raises: ValueError where the moments of so many events or pieces of time would take more than about a minute."""
    rows, columns = (30, len(law.eigenvalues)) if law.rows is None else law.rows.shape
    work = 10**4 + terms * rows * columns ** (1 if law.rows is None else 2)
    if steps * work > MOST_WORK:
        raise ValueError(
            f"at is too late for theory='moments', by a factor of {steps * work / MOST_WORK:.2g}; accepted: "
            f"about {MOST_WORK / (steps * work):.2g} of it, or simulate"
        )


def bound(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """The bounds of Lyapunov functions."""
    from solvable.iterations.continuized.bounds import bounds

    return bounds(task, algorithm, np.asarray(at, float), unit)


def _each(claim: Any) -> dict[str, Status]:
    return {one.name: Status(claim, "derived") for one in observables}


theories = {
    "moments": Theory(
        "the expected values: exact second moments of (x, z) at events and in time, on quadratics with or without "
        "noise and on least squares by rows of data or Gaussian rows",
        _each("exact"),
        moments,
    ),
    "bound": Theory(
        "upper bounds on the expected values by Lyapunov functions, for any smooth convex f and on rows",
        _each("bound"),
        bound,
    ),
}
