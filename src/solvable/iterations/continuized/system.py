"""Continuized acceleration as a system: what is measured of runs, and predicted alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from solvable.iterations.continuized.algorithms import (
    EVENTS,
    MOST_EVENTS,
    Continuized,
    GradientDescent,
    HeavyBall,
    Method,
    Nesterov,
    Run,
    StochasticGradient,
    warn_of_plateau,
)
from solvable.iterations.continuized.process import Runs, many
from solvable.iterations.continuized.schedules import Convex
from solvable.iterations.continuized.task import GaussianLeastSquares, LeastSquares, Objective, Problem, Quadratic
from solvable.iterations.continuized.theories import observables, theories
from solvable.lab.declare import Example, Outcome, Result, System, recorded_steps, recorded_times

Unit = Literal["events", "time"]


class ContinuizedAcceleration(System):
    """Accelerated gradients at random times, and the methods that they are compared with."""

    tasks = (Quadratic, LeastSquares, GaussianLeastSquares, Objective)
    algorithms = (Continuized, Nesterov, GradientDescent, HeavyBall, StochasticGradient)
    observables = observables
    theories = theories
    units = ("events", "time")
    run_types = (Run,)

    def times(self, task: Problem, algorithm: Method, at: Any, unit: str) -> np.ndarray:
        """Increasing whole numbers of events, or nondecreasing times; None: 0 to 100."""
        if unit == "events":
            return recorded_steps(at, MOST_EVENTS, EVENTS, name=None)
        if not algorithm.random_times:
            raise ValueError(
                f"unit='time' is not accepted with {type(algorithm).__name__}, whose steps have no times; accepted: "
                "unit='events'"
            )
        found = recorded_times(at, EVENTS)
        if found[-1] > MOST_EVENTS:
            raise ValueError(f"at reaches the time {found[-1]:g}; accepted: times up to {MOST_EVENTS:g}")
        return found

    def train(self, task: Any, algorithm: Any, keys: Any, at: Any, unit: str, **sizes: Any) -> Runs:
        """Run from the problem's start, once a key."""
        warn_of_plateau(task, algorithm)
        value, distance, times = map(np.asarray, many(task, algorithm, keys, at, unit == "time"))
        distance_known = not (isinstance(task, Objective) and np.isnan(distance).all())
        finite = np.isfinite(value).all(axis=1) & (np.isfinite(distance).all(axis=1) | (not distance_known))
        result = np.where(finite, int(Result.SUCCESSFUL), int(Result.NONFINITE))
        weighted = None
        if unit == "events" and isinstance(algorithm.schedule(task), Convex):
            weighted = times**2 * value
        return Runs(at, times, value, weighted, distance if distance_known else None, result)

    def measure(self, task: Any, algorithm: Any, runs: Runs, at: Any) -> Mapping[str, Any]:
        """The observables of every run."""
        return {one.name: getattr(runs, one.name) for one in observables}

    def example(self) -> Example:
        """Two modes without noise, and steps far above the largest that is stable."""
        task = Quadratic([1.0, 0.2], [1.0, 1.0])
        failing = (task, Continuized(smoothness=1e-30))
        near = {"suboptimality": 0.0, "weighted_suboptimality": 0.0, "squared_distance": 0.0}
        return Example(task, Continuized(), task, at=[0, 5, 20], failing=failing, agreement=near)


SYSTEM = ContinuizedAcceleration()
curve = SYSTEM.curve


def simulate(
    task: Quadratic | LeastSquares | GaussianLeastSquares | Objective,
    algorithm: Continuized | Nesterov | GradientDescent | HeavyBall | StochasticGradient,
    /,
    *,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    at: Any = None,
    unit: Unit | None = None,
) -> Outcome:
    """Run `replicates` times from the problem's start and measure at `at` (K,): events, or times with unit="time".

    Events are increasing whole numbers, of which one is a step for the methods without random times; times are
    nondecreasing and >= 0; None: 0 to 100. Events are the default because means can be compared there: at a fixed time
    a few runs without recent events decide the mean. Replicate r depends on `key` and r alone, and an event's waiting
    time, noise and row do not depend on `at`. A run that meets a value which is not finite is NaN with its reason.

    Observables: `suboptimality` (at,) f(x) - min f; `weighted_suboptimality` (at,) T_k^2 (f(x_k) - min f), for
    convex steps of `Continuized` at events; `squared_distance` (at,) to the minimiser (of least squares, that nearest
    to the start), where it is known. `times` (replicate, at) are the times T_k of the events, or the times.

    Raises: TypeError for a task or an algorithm of another system; ValueError for bad `at`, and parameters that the
    problem does not allow. Warns of rows that no solution fits, on which steps="stated" reaches a plateau.
    """
    return SYSTEM.simulate(task, algorithm, key=key, replicates=replicates, at=at, unit=unit)


def predict(
    task: Quadratic | LeastSquares | GaussianLeastSquares | Objective,
    algorithm: Continuized | Nesterov | GradientDescent | HeavyBall | StochasticGradient,
    /,
    *,
    theory: str | None = None,
    given: None = None,
    at: Any = None,
    unit: Unit | None = None,
    throw: bool = True,
) -> Outcome:
    """What theory says of the expected values of the observables of `simulate`: "moments" (exact), or "bound".

    `at` and `unit` are as in `simulate`; nothing is given. "moments" speaks of quadratics and least squares, "bound" of
    any smooth f, where it is known; an `Objective` has bounds alone.

    Raises: TypeError for a task or an algorithm of another system; ValueError for a theory that does not speak of this
    problem or algorithm, bad `at`, and constants with which a bound would be wrong; SolveError, unless throw=False,
    where moments are not finite or their digits are lost.
    """
    return SYSTEM.predict(task, algorithm, theory=theory, given=given, at=at, unit=unit, throw=throw)
