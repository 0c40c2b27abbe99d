"""How often training ends on the optimal tokens, and whether those can be separated at all."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import numpy as np

from solvable.attention.token_selection.algorithms import MirrorDescent
from solvable.attention.token_selection.given import SATURATED
from solvable.attention.token_selection.max_margin import locally_optimal, max_margin
from solvable.attention.token_selection.outcome import Observable
from solvable.attention.token_selection.simulate import pick, trained
from solvable.attention.token_selection.task import Task
from solvable.lab.outcome import Outcome
from solvable.numerics.precision import float64
from solvable.numerics.results import Result


class SharesOutcome(Outcome):
    """0 or 1 a run: `feasible`, weights exist that separate the optimal tokens; `settled`, its attention saturated;
    `globally_optimal` and `locally_optimal`, it did on the optimal, on locally optimal tokens.
    """

    feasible: Observable = None
    settled: Observable = None
    locally_optimal: Observable = None
    globally_optimal: Observable = None

    observables: ClassVar[tuple[str, ...]] = ("feasible", "settled", "locally_optimal", "globally_optimal")


@float64
def simulate_shares(
    task: Task,
    algorithm: MirrorDescent,
    /,
    *,
    init_scale: float = 0.0,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> SharesOutcome:
    """Train, and solve for the optimal tokens and for those selected."""
    problems, runs = trained(task, algorithm, key, replicates, np.array([algorithm.steps]), init_scale)
    found = np.zeros((4, len(runs.selected)))
    for r in range(len(runs.selected)):
        problem = pick(problems, r)
        best, selected = np.asarray(problem.optimal_tokens()), runs.selected[r]
        own = max_margin(problem, selected, algorithm.p, throw=False)
        settled = bool(runs.saturation[r] >= SATURATED)
        found[:, r] = (
            max_margin(problem, best, throw=False).result != Result.INFEASIBLE,
            settled,
            settled and own.result == Result.SUCCESSFUL and locally_optimal(problem, own),
            settled and np.array_equal(best, selected),
        )
    return SharesOutcome(np.array(runs.result, int), {}, *found)


@float64
def predict_shares(task: Task, algorithm: MirrorDescent, /, *, given: Any) -> SharesOutcome:
    """A run whose attention saturates does so on a locally optimal selection."""
    del task, algorithm
    return SharesOutcome(np.array(given.result, int), {}, locally_optimal=np.asarray(given.settled))
