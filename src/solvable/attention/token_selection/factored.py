"""W trained as it is against W = K Q^T: the Frobenius against the nuclear max-margin direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import numpy as np

from solvable.attention.token_selection.algorithms import MirrorDescent
from solvable.attention.token_selection.geometry import correlation
from solvable.attention.token_selection.given import GivenRuns
from solvable.attention.token_selection.max_margin import MaxMargin, max_margin
from solvable.attention.token_selection.outcome import Observable
from solvable.attention.token_selection.simulate import measured_steps, pick, trained
from solvable.attention.token_selection.task import SelectionProblem, Task
from solvable.lab.outcome import Outcome
from solvable.numerics.precision import float64
from solvable.numerics.results import Result

NORMS: tuple[Any, ...] = (2.0, "nuclear")


class FactoredOutcome(Outcome):
    """Correlation <A, W>/(|A|_F |W|_F) with the Frobenius and the nuclear max-margin solution A, over the steps and at
    the end; `effective_rank` (|W|_*/|W|_F)^2 at the end.
    """

    frobenius: Observable = None
    nuclear: Observable = None
    final_frobenius: Observable = None
    final_nuclear: Observable = None
    effective_rank: Observable = None
    at: Observable = None
    problem: Any = None
    selected: Observable = None
    saturation: Observable = None

    observables: ClassVar[tuple[str, ...]] = (
        "frobenius",
        "nuclear",
        "final_frobenius",
        "final_nuclear",
        "effective_rank",
    )
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"frobenius": ("at",), "nuclear": ("at",)}


@float64
def simulate_factored(
    task: Task,
    algorithm: MirrorDescent,
    /,
    *,
    init_scale: float = 0.0,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> FactoredOutcome:
    """Train, and correlate with both solutions for the tokens selected."""
    at = measured_steps(algorithm, None)
    problems, runs = trained(task, algorithm, key, replicates, at, init_scale)
    code = np.array(runs.result, int)
    found = np.full((len(code), len(at), 2), np.nan)
    for r in range(len(code)):
        for index, norm in enumerate(NORMS):
            solution = max_margin(pick(problems, r), runs.selected[r], norm, throw=False)
            code[r] = code[r] or int(solution.result)
            found[r, :, index] = correlation(solution.weights, runs.path.weights[r])
    found[code != int(Result.SUCCESSFUL)] = np.nan
    return FactoredOutcome(
        code,
        {},
        frobenius=found[:, :, 0],
        nuclear=found[:, :, 1],
        final_frobenius=found[:, -1, 0],
        final_nuclear=found[:, -1, 1],
        effective_rank=np.where(code == 0, [effective_rank(one) for one in runs.weights], np.nan),
        at=at,
        problem=problems,
        selected=runs.selected,
        saturation=runs.saturation,
    )


@float64
def predict_factored(task: Task, algorithm: MirrorDescent, /, *, given: Any) -> FactoredOutcome:
    """W ends along the Frobenius solution, K Q^T along the nuclear one, given the tokens each run selected."""
    runs = GivenRuns(task, algorithm, given)

    def limits(problem: SelectionProblem, own: MaxMargin) -> list[float]:
        solutions = [max_margin(problem, own.selected, norm, throw=False).weights for norm in NORMS]
        return [*(float(correlation(one, own.weights)) for one in solutions), effective_rank(own.weights)]

    found = runs.each(limits, (3,))
    return FactoredOutcome(
        runs.result, {}, final_frobenius=found[:, 0], final_nuclear=found[:, 1], effective_rank=found[:, 2]
    )


def effective_rank(weights: Any) -> float:
    """(sum of the singular values)^2 over the sum of their squares: r for r equal ones."""
    values = np.linalg.svd(np.nan_to_num(weights), compute_uv=False)
    return float(values.sum() ** 2 / max(float(values @ values), 1e-300))
