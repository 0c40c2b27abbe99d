"""Two-timescale networks as a system: runs are made, measured, and predicted alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from solvable.lab.declare import Example, Given, Outcome, System, instance
from solvable.networks.two_timescale.algorithms import Descent, GradientFlow, Network, Run, slow_times
from solvable.networks.two_timescale.measures import measured
from solvable.networks.two_timescale.task import PiecewiseConstant, fitting_width
from solvable.networks.two_timescale.theories import observables, theories
from solvable.numerics.validation import floating


class Starts(eqx.Module):
    """The positions (R, m) from which predictions start, and a `Result` code each."""

    start: Any
    result: Any


class TwoTimescale(System):
    """Slow positions and fast weights on a piecewise constant target."""

    tasks = (PiecewiseConstant,)
    algorithms = (Descent, GradientFlow)
    observables = observables
    theories = theories
    run_types = (Run,)

    def times(self, task: PiecewiseConstant, algorithm: Any, at: Any, unit: str) -> np.ndarray:
        """Nondecreasing slow times; None: 101 from 0 to 0.14/min jump^2."""
        return slow_times(task, at)

    def train(self, task: Any, algorithm: Network, keys: Any, at: Any, unit: str, **sizes: Any) -> Run:
        """Draw starts and run."""
        problems = [task.sample(key) for key in keys] if self.is_foreign(task) else [task] * len(keys)
        for problem in problems:
            if len(instance("task.sample", problem, (PiecewiseConstant,)).jumps) != len(task.jumps):
                raise ValueError(
                    f"task.sample draws {len(problem.jumps)} jumps; accepted: {len(task.jumps)}, as it has"
                )
        return algorithm.run_many(problems, keys, at)

    def measure(self, task: Any, algorithm: Any, runs: Run, at: Any) -> Mapping[str, Any]:
        """The observables of every run."""
        return measured(runs, algorithm.width)

    def coordinates(self, task: Any, algorithm: Any) -> Mapping[str, Any]:
        """The positions of the jumps."""
        return {"jump": task.positions}

    def runs_given(self, task: PiecewiseConstant, algorithm: Any, given: Given | None) -> Starts:
        """The starts given, else that of the algorithm."""
        fitting_width(task, algorithm.width)
        if given is None:
            if isinstance(algorithm.positions, str):
                raise ValueError(
                    "given=None is not accepted with positions='uniform', as all theories start where a run did; "
                    "accepted: an outcome of simulate, a mapping with positions (R, neurons), or positions= an array"
                )
            return Starts(algorithm.positions[None], np.zeros(1, int))
        start = given.get("start")
        if start is None:
            start = given.need("positions")
        start = floating("given positions", start, np.float64)
        if start.ndim != 2 or start.shape[1] != algorithm.neurons:
            raise ValueError(
                f"given positions of the start have shape {start.shape}; accepted: (R, {algorithm.neurons})"
            )
        return Starts(start, given.codes(len(start)))

    def example(self) -> Example:
        """One jump and three neurons, and label noise whose gradient overflows."""
        task = PiecewiseConstant([1.0], [0.5], 0.0, 0.0)
        algorithm = GradientFlow(0.01, 3, 0.02)
        failing = (PiecewiseConstant([1.0], [0.5], 0.0, 1e200), Descent(0.01, 0.01, 3, 0.02, "exact", [0.1, 0.4, 0.9]))
        return Example(task, algorithm, task, at=[0.0, 0.5, 6.0], failing=failing, agreement={"error": 0.01})


SYSTEM = TwoTimescale()
curve = SYSTEM.curve


def simulate(
    task: PiecewiseConstant,
    algorithm: Descent | GradientFlow,
    /,
    *,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    at: Any = None,
) -> Outcome:
    """Train `replicates` networks from drawn positions and measure them at slow times `at` (K,), nondecreasing.

    Slow time is that of the positions: rate_ratio x outer_rate x step for `Descent`. None: 101 times from 0 to
    0.14/min jump^2. Replicate r depends on `key` and r alone, its samples not on `at`. A run that meets a value which
    is not finite is NaN with its reason.

    Observables: `error` (at,) int (f - f*)^2, without label noise and without 1/2; `positions` and `outer`
    (at, neuron), neurons in the order in which they started, which is sorted unless the algorithm says the start;
    `bias` (at,); `hit_times` (jump,) when a neuron first comes within width/2 of the jump, inf where none does by the
    last of `at` (`Descent` looks every 100 steps); `covered` (jump,) 1 where one is there at the last of `at`;
    `final_error`, the last error. The outcome also holds `start` (replicate, neuron).

    Raises: TypeError for a task or an algorithm of another system; ValueError for bad times, a width above the smallest
    piece, and for more than 1e10 steps.
    """
    return SYSTEM.simulate(task, algorithm, key=key, replicates=replicates, at=at)


def predict(
    task: PiecewiseConstant,
    algorithm: Descent | GradientFlow,
    /,
    *,
    theory: str | None = None,
    given: Any = None,
    at: Any = None,
    throw: bool = True,
) -> Outcome:
    """What theory says of the observables of `simulate`: "limit" (vanishing ratio and width) or "flow" (at these).

    Both start where a run did: `given` is an outcome of `simulate`, a run, or a mapping with positions (R, neurons) of
    the start; where the algorithm has an array of positions, nothing need be given. `error` of "limit" is that of
    `limit_flow` plus `width_floor`.

    Raises: TypeError for a task, an algorithm or something given of another system; ValueError for bad times, a width
    above the smallest piece, starts outside of [0, 1] with "limit", and where nothing says the start; SolveError,
    unless throw=False, where the flow fails.
    """
    return SYSTEM.predict(task, algorithm, theory=theory, given=given, at=at, throw=throw)
