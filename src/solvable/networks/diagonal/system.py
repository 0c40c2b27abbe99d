"""Diagonal networks as a system: problems are drawn and trained on, the runs measured, and predicted alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from solvable.lab.declare import Example, Given, Outcome, Result, System, recorded_times
from solvable.networks.diagonal.algorithms import MULTIPLES, GradientDescent, GradientFlow, Run, Runs, times_of
from solvable.networks.diagonal.measures import measured
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.networks.diagonal.task import Anticorrelated, RandomRegression
from solvable.networks.diagonal.theories import observables, theories
from solvable.numerics.validation import instance, truth

Unit = Literal["one", "first_kink"]


class DiagonalNetworks(System):
    """Two-layer diagonal networks on quadratic losses; all theories speak of a problem."""

    tasks = (Quadratic, RandomRegression, Anticorrelated)
    algorithms = (GradientFlow, GradientDescent)
    observables = observables
    theories = theories
    units = ("one", "first_kink")
    run_types = (Run,)

    def default_unit(self, task: Any, algorithm: Any, at: Any) -> str:
        """Times, but of the default first kinks."""
        return "first_kink" if at is None else "one"

    def times(self, task: Any, algorithm: Any, at: Any, unit: str) -> np.ndarray:
        """Nondecreasing numbers, which mean times or first kinks."""
        return recorded_times(at, MULTIPLES)

    def train(self, task: Any, algorithm: Any, keys: Any, at: Any, unit: str, full: bool = False, **sizes: Any) -> Runs:
        """Draw problems and train on each."""
        problems = self.drawn(task, keys).problems
        times = times_of(problems, algorithm, at, unit)
        solution, average, result = algorithm.run_many(problems, times, truth("full", full))
        return Runs(problems, result, times, solution, average)

    def drawn(self, task: Any, keys: Any) -> Runs:
        """Problems, one a key, on which nothing is trained."""
        problems = _alike([task.sample(key) for key in keys])
        return Runs(problems, np.full(len(problems), int(Result.SUCCESSFUL)))

    def measure(self, task: Any, algorithm: Any, runs: Runs, at: Any) -> Mapping[str, Any]:
        """The observables of every run."""
        return measured(runs, algorithm)

    def runs_given(self, task: Any, algorithm: Any, given: Given | None) -> Runs:
        """The problems given, else the task if it is one."""
        problems = None if given is None else given.get("problems")
        if problems is None and not isinstance(task, Quadratic):
            raise ValueError(
                f"given={given and given.what} is not accepted with task={type(task).__name__}, of whose problems the "
                "theories speak; accepted: an outcome of simulate, or a mapping with problems"
            )
        problems = _alike([task] if problems is None else problems)
        if given is None:
            return self.drawn(task, [None])
        return Runs(problems, given.codes(len(problems)), times_of(problems, algorithm, given.at, str(given.unit)))

    def example(self) -> Example:
        """Three anti-correlated coordinates, and steps too long for a steep loss."""
        law, failing = Anticorrelated(3), (Quadratic([[30.0]], [30.0]), GradientDescent(-11.5, 1.0))
        more = {"sizes": {"full": True}, "at": [0.5, 3.0], "agreement": {"average": 1e-6}}
        return Example(law, GradientFlow(), law.sample(jax.random.key(0)), failing=failing, **more)


def _alike(problems: Sequence[Any]) -> tuple[Quadratic, ...]:
    for problem in instance("problems", problems, (tuple, list)):
        instance("problems", problem, (Quadratic,))
    sizes = sorted({problem.dim for problem in problems})
    if len(sizes) != 1:
        raise ValueError(f"problems have {sizes} coordinates; accepted: one problem or more, all of one size")
    return tuple(problems)


SYSTEM = DiagonalNetworks()
curve = SYSTEM.curve


def simulate(
    task: Quadratic | RandomRegression | Anticorrelated,
    algorithm: GradientFlow | GradientDescent,
    /,
    *,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    at: Any = None,
    unit: Unit | None = None,
    full: bool = False,
) -> Outcome:
    """Draw `replicates` problems, train on each, and measure the runs over the rescaled times `at`.

    `at` (K,) are times s >= 0, nondecreasing; with unit="first_kink" multiples of the first kink of each problem,
    1 / max |r_i|. None: 61 multiples from 1/2 to 30. By default gradient flow is solved in the log domain, exactly;
    `full=True` integrates the two layers in training time. Replicate r depends on `key` and r alone. A run that meets a
    value which is not finite is NaN with its reason in `.result`.

    Observables: `solution` (at, coordinate) x(s); `average` (at, coordinate) (1/s) int_0^s x; `gap` (at,)
    (Lasso(average, s) - Lasso_*(s)) / Lasso_*(s) with the penalty lambda + 1/s, over x >= 0 for "square", and
    `largest_gap` its largest over `at` (both only where every loss is nonnegative: see `Quadratic`); `loss` (at,)
    l(x(s)); `active` (at, coordinate) 1 where |x_i| is above a thousandth of max |r| / max M_ii, else 0; `jump_times`
    (coordinate,) the first s at which |x_i| is half the height to which it first jumps in the limit, read off `at` by
    interpolation of log |x_i| and no earlier than the first of `at`, inf where it does not get there. The outcome also
    holds `problems`, a tuple, and `times` (replicate, at), the times s.

    Raises: TypeError for a task or an algorithm of another system; ValueError for bad times and an unknown unit.
    """
    return SYSTEM.simulate(task, algorithm, key=key, replicates=replicates, at=at, unit=unit, full=full)


def predict(
    task: Quadratic | RandomRegression | Anticorrelated,
    algorithm: GradientFlow | GradientDescent,
    /,
    *,
    theory: str | None = None,
    given: Any = None,
    at: Any = None,
    unit: Unit | None = None,
    throw: bool = True,
) -> Outcome:
    """What theory says of training with `algorithm`, in the observables of `simulate` (see `theories`).

    All theories speak of a problem. A `Quadratic` is one; of a law of problems predict needs `given`, an outcome of
    `simulate` or a mapping with `problems`. `at` and `unit` are as in `simulate`, or those of the outcome given.

    Raises: TypeError for a task, an algorithm or something given of another system; ValueError for an unknown theory,
    bad times, or a law without `given`; SolveError, unless throw=False, when the flow fails.
    """
    return SYSTEM.predict(task, algorithm, theory=theory, given=given, at=at, unit=unit, throw=throw)
