"""How the size of the weights is spread over the entries of W, in training and in its max-margin limit."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import numpy as np

from solvable.attention.token_selection.algorithms import MirrorDescent
from solvable.attention.token_selection.given import GivenRuns
from solvable.attention.token_selection.outcome import Observable
from solvable.attention.token_selection.simulate import trained
from solvable.attention.token_selection.task import Task
from solvable.lab.outcome import Outcome
from solvable.numerics.precision import float64
from solvable.numerics.results import Result

SMALL = 0.1


class SparsityOutcome(Outcome):
    """Of the entries w of W: `small_share`, those below a tenth of the largest; `participation`
    (sum |w|)^2/(d^2 sum w^2), 1 for equal sizes and 1/d^2 for a single entry; `peak` the largest over the root mean
    square.
    """

    small_share: Observable
    participation: Observable
    peak: Observable
    problem: Any = None
    selected: Observable = None
    saturation: Observable = None

    observables: ClassVar[tuple[str, ...]] = ("small_share", "participation", "peak")


@float64
def simulate_sparsity(
    task: Task,
    algorithm: MirrorDescent,
    /,
    *,
    init_scale: float = 0.0,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> SparsityOutcome:
    """Train, and look at the weights."""
    problems, runs = trained(task, algorithm, key, replicates, np.array([algorithm.steps]), init_scale)
    there = runs.result == int(Result.SUCCESSFUL)
    found = np.array([spread(one) if fine else (np.nan,) * 3 for one, fine in zip(runs.weights, there, strict=True)])
    small, participation, peak = found.T
    code = np.array(runs.result, int)
    return SparsityOutcome(code, {}, small, participation, peak, problems, runs.selected, runs.saturation)


@float64
def predict_sparsity(task: Task, algorithm: MirrorDescent, /, *, given: Any) -> SparsityOutcome:
    """The same of the max-margin solution, given the tokens each run selected."""
    runs = GivenRuns(task, algorithm, given)
    found = runs.each(lambda _, solution: spread(solution.weights), (3,))
    return SparsityOutcome(runs.result, {}, *found.T)


def spread(weights: Any) -> tuple[float, float, float]:
    """(small share, participation, peak) of an array's entries."""
    size = np.abs(np.asarray(weights, np.float64)).ravel()
    largest, square = float(size.max()), float(np.mean(size**2))
    return float(np.mean(size < SMALL * largest)), float(np.mean(size) ** 2 / square), largest / square**0.5
