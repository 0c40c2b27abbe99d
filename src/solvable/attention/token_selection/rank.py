"""Ranks of the max-margin solutions for the optimal tokens, in the Frobenius and in the nuclear norm."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import jax
import numpy as np

from solvable.attention.token_selection.max_margin import max_margin
from solvable.attention.token_selection.outcome import Observable
from solvable.attention.token_selection.task import RandomSelection
from solvable.lab.outcome import Outcome
from solvable.numerics.precision import float64
from solvable.numerics.results import Result
from solvable.numerics.validation import replicate_numbers

INDEPENDENT = 1e-3  # singular values below this share of the largest do not count; the nuclear gap is 1e-6


class RankOutcome(Outcome):
    """`frobenius_rank` and `nuclear_rank`."""

    frobenius_rank: Observable
    nuclear_rank: Observable

    observables: ClassVar[tuple[str, ...]] = ("frobenius_rank", "nuclear_rank")


@float64
def simulate_rank(
    task: RandomSelection,
    algorithm: Any = None,
    /,
    *,
    infeasible: Literal["drop", "rank one"] = "drop",
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> RankOutcome:
    """Draw problems and solve for their optimal tokens; nothing is trained.

    A problem whose optimal tokens nothing separates is missing with its reason. With infeasible="rank one" it counts as
    rank 1, as in the published figure, whose code takes the rank of a solution that is None; NumPy answers 1.
    """
    del algorithm
    numbers = replicate_numbers(replicates)
    key = jax.random.key(0) if key is None else key
    code, found = np.zeros(len(numbers), int), np.ones((2, len(numbers)))
    for r, count in enumerate(numbers):
        problem = task.sample(jax.random.fold_in(key, count))
        best = np.asarray(problem.optimal_tokens())
        solutions = [max_margin(problem, best, norm, throw=False) for norm in (2.0, "nuclear")]
        if all(one.result == Result.SUCCESSFUL for one in solutions):
            found[:, r] = [rank(one.weights) for one in solutions]
        elif infeasible == "drop":
            code[r] = max(int(one.result) for one in solutions)
            found[:, r] = np.nan
    return RankOutcome(code, {}, *found)


@float64
def predict_rank(task: RandomSelection, algorithm: Any = None, /) -> RankOutcome:
    """Both solutions are sums of c_i z_i^T, so min(samples, dim) bounds their ranks."""
    del algorithm
    bound = np.array(float(min(task.samples, task.dim)))
    return RankOutcome(np.array(int(Result.SUCCESSFUL)), {}, bound, bound)


def rank(weights: Any) -> int:
    """The number of singular values above a thousandth of the largest."""
    values = np.linalg.svd(weights, compute_uv=False)
    return int(np.sum(values > INDEPENDENT * values[0]))
