"""Gossip as a system: problems are drawn and averaged on, and what is left of their errors is predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from solvable.iterations.gossip import algorithms as methods
from solvable.iterations.gossip.algorithms import MOST_ROUNDS, ROUNDS, Pairwise, Run, Simple
from solvable.iterations.gossip.lattice import Lattice
from solvable.iterations.gossip.runs import Runs, alike, in_rounds, on_lattice, woken
from solvable.iterations.gossip.task import (
    Averaging,
    Grid,
    Percolation,
    RandomGeometric,
    RandomRegular,
)
from solvable.iterations.gossip.theories import observables, theories
from solvable.lab.declare import Example, Given, Outcome, Result, System, recorded_steps, recorded_times
from solvable.numerics.validation import instance

Unit = Literal["rounds", "time", "activations", "messages"]
SIZE = 64  # points a side of a lattice
ACTIVATIONS = np.linspace(0.0, 20.0, 31)  # a node, of `at=None`
LATE = {"heat": 0.1, "epd": 0.4}  # the last macroscopic time of `at=None`


class Gossip(System):
    """Averaging on networks, and on lattices with their limits."""

    tasks = (Averaging, Grid, Percolation, RandomGeometric, RandomRegular, Lattice)
    algorithms = (
        Simple,
        methods.Jacobi,
        methods.ShiftRegister,
        methods.Chebyshev,
        methods.Tuned,
        methods.ParameterFree,
        methods.LocalAveraging,
        methods.MessagePassing,
        Pairwise,
    )
    observables = observables
    theories = theories
    units = ("rounds", "time", "activations", "messages")
    run_types = (Run,)

    def default_unit(self, task: Any, algorithm: Any, at: Any) -> str:
        """Macroscopic time on a lattice, activations of edges, else rounds."""
        if isinstance(task, Lattice):
            return "time"
        return "activations" if isinstance(algorithm, Pairwise) else "rounds"

    def default_theory(self, task: Any, algorithm: Any) -> str:
        """The exact one of a network, the limit of a lattice."""
        if isinstance(task, Lattice):
            return "heat" if isinstance(algorithm, Simple) else "epd"
        return "moments" if isinstance(algorithm, Pairwise) else "spectral"

    def times(self, task: Any, algorithm: Any, at: Any, unit: str) -> np.ndarray:
        """Times, or whole numbers."""
        if unit == "time":
            late = LATE["heat" if isinstance(algorithm, Simple) else "epd"]
            default = np.linspace(late / 20.0, late, 20) if isinstance(task, Lattice) else ACTIVATIONS * _nodes(task)
            return recorded_times(at, default)
        if isinstance(task, Lattice) or unit == "rounds":
            return recorded_steps(at, MOST_ROUNDS, ROUNDS, name=None)
        each = 2 if unit == "messages" else 1
        activations = np.round(ACTIVATIONS * _nodes(task)).astype(np.int64) * each
        return recorded_steps(at, 2**53, activations, name=None)

    def train(
        self, task: Any, algorithm: Any, keys: Any, at: Any, unit: str, size: int | None = None, **sizes: Any
    ) -> Runs:
        """Draw problems and average on each; those of one network run together."""
        if isinstance(task, Lattice):
            return on_lattice(task, algorithm, len(keys), at, unit, SIZE if size is None else size)
        if size is not None:
            raise ValueError(f"size={size!r} is not accepted with {type(task).__name__}; accepted: with a Lattice")
        problems = alike([task.sample(key) for key in keys])
        for network in {id(one.network): one.network for one in problems}.values():
            algorithm.require(network)
        errors, drifts = np.empty((2, len(keys), len(at)))
        if isinstance(algorithm, Pairwise):
            times = woken(problems, algorithm, keys, at, unit, errors, drifts)
        else:
            times = in_rounds(problems, algorithm, at, unit, errors, drifts)
        lost = ~(np.isfinite(errors).all(axis=1) & np.isfinite(drifts).all(axis=1))
        result = np.where(lost, int(Result.NONFINITE), int(Result.SUCCESSFUL))
        return Runs(problems, result, times, errors, drifts)

    def measure(self, task: Any, algorithm: Any, runs: Runs, at: Any) -> Mapping[str, Any]:
        """What was read off the runs."""
        return {"squared_error": runs.squared_error, "drift": runs.drift, "profile": runs.profile}

    def runs_given(self, task: Any, algorithm: Any, given: Given | None) -> Runs:
        """The problems given, else the task if it stands for one."""
        problems = None if given is None else given.get("problems")
        if problems is not None:
            kinds = (Lattice,) if isinstance(task, Lattice) else (Averaging,)
            for one in instance("problems", problems, (tuple, list)):
                instance("problems", one, kinds)
            assert given is not None
            return Runs(tuple(problems), given.codes(len(problems)), given.get("times"))
        if isinstance(task, Grid):
            task = Averaging(task.network)
        if not isinstance(task, Averaging | Lattice):
            raise ValueError(
                f"given={given and given.what} is not accepted with task={type(task).__name__}, of whose networks the "
                "theories speak; accepted: an outcome of simulate, or a mapping with problems"
            )
        return Runs((task,), np.full(1, int(Result.SUCCESSFUL)))  # pyright: ignore[reportArgumentType]

    def coordinates(self, task: Any, algorithm: Any) -> Mapping[str, Any]:
        """Where a profile is read: along the first axis, else the numbers of the points."""
        if not isinstance(task, Lattice):
            return {}
        points = np.asarray(task.points)
        line = np.all(points[:, 1:] == points[:1, 1:])
        return {"point": points[:, 0] if line else np.arange(len(points))}

    def example(self) -> Example:
        """A small random network, and values too large to be squared."""
        law = RandomGeometric(30, 2, 0.5)
        problem = law.sample(jax.random.key(0))
        failing = (Averaging(problem.network, 1e300 * np.asarray(problem.values)), Simple())
        more = {"at": [0, 2, 5], "failing": failing, "agreement": {"squared_error": 0.0}}
        return Example(law, methods.Jacobi(), problem, **more)


def _nodes(task: Any) -> int:
    if isinstance(task, Averaging):
        return task.network.nodes
    return task.nodes if isinstance(task, RandomGeometric | RandomRegular) else int(np.prod(task.shape))


SYSTEM = Gossip()
curve = SYSTEM.curve


def simulate(
    task: Averaging | Grid | Percolation | RandomGeometric | RandomRegular | Lattice,
    algorithm: methods.Algorithm,
    /,
    *,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    at: Any = None,
    unit: Unit | None = None,
    size: int | None = None,
) -> Outcome:
    """Draw `replicates` networks and values, average, and measure what is left at `at`.

    `at` (K,) are in `unit`: "rounds" of a synchronous method, "activations" of edges, or "time" of `Pairwise`, one
    activation a unit on average, or "messages", of which an activation takes 2 and a round 2 |E| (rounded down to whole
    ones). None: thirty rounds to 120, or up to 20 activations a node. On a `Lattice` of `size` points a side N, 64 if
    None, "time" is macroscopic: round(t N - (alpha + beta + 1)/2) rounds of Jacobi, round(t N^2) of Simple.
    Replicate r depends on `key` and r alone. A run that meets a value which is not finite is NaN with its reason.

    Observables: `squared_error` (at,) |x - mean|^2 / n, the mean that of the start, summed over columns; `drift` (at,)
    how far the mean of x is from it; `profile` (at, point) the values at the points of a lattice. The outcome also
    holds `problems`, `networks`, and `times` (replicate, at), what `at` stood for.

    Raises: TypeError for a task or an algorithm of another system; ValueError for bad `at`, an unknown unit, a method
    that cannot average on the network, and a `size` without a lattice.
    """
    sizes = {} if size is None else {"size": size}
    return SYSTEM.simulate(task, algorithm, key=key, replicates=replicates, at=at, unit=unit, **sizes)


def predict(
    task: Averaging | Grid | Percolation | RandomGeometric | RandomRegular | Lattice,
    algorithm: methods.Algorithm,
    /,
    *,
    theory: str | None = None,
    given: Any = None,
    at: Any = None,
    unit: Unit | None = None,
    throw: bool = True,
) -> Outcome:
    """What theory says of averaging with `algorithm`, in the observables of `simulate` (see `theories`).

    theory None: "spectral" for rounds, "moments" for `Pairwise`, on a `Lattice` "heat" for Simple and "epd" for Jacobi.
    "best" speaks of rounds whatever the algorithm: it bounds all polynomials, and is no bound for what adapts to the
    values or to activations (`ParameterFree`, `LocalAveraging`, `Pairwise`).
    A law of random networks needs `given`, an outcome of `simulate`, whose networks theories speak of; values are
    averaged over, but those of an `Averaging` that has values, and for `ParameterFree`. On a lattice `at` are times as
    they stand, or with `given` those of the rounds that were run.

    Raises: TypeError for a task, an algorithm or something given of another system; ValueError for an unknown theory,
    one that does not speak of the method, bad `at`, or a law without `given`; SolveError, unless throw=False, where an
    initial condition is not resolved.
    """
    if unit is None and theory == "best":
        unit = "rounds"  # of polynomials, whatever the algorithm
    return SYSTEM.predict(task, algorithm, theory=theory, given=given, at=at, unit=unit, throw=throw)
