"""Directions over steps: training with one p, measured against the max-margin solutions of several norms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import numpy as np

from solvable.attention.token_selection.algorithms import MirrorDescent
from solvable.attention.token_selection.geometry import directional_divergence
from solvable.attention.token_selection.given import GivenRuns
from solvable.attention.token_selection.max_margin import MaxMargin, max_margin
from solvable.attention.token_selection.outcome import Observable
from solvable.attention.token_selection.simulate import measured_steps, pick, trained
from solvable.attention.token_selection.task import SelectionProblem, Task
from solvable.lab.outcome import Outcome
from solvable.numerics.precision import float64
from solvable.numerics.results import Result

TokensOf = Literal["own run", "other run"]


class DirectionOutcome(Outcome):
    """`divergence` from the max-margin solution in every `reference` norm, over the steps, and at the last step."""

    divergence: Observable = None
    final_divergence: Observable = None
    at: Observable = None
    reference: Observable = None
    problem: Any = None
    selected: Observable = None
    saturation: Observable = None

    observables: ClassVar[tuple[str, ...]] = ("divergence", "final_divergence")
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "divergence": ("at", "reference"),
        "final_divergence": ("reference",),
    }


@float64
def simulate_direction(
    task: Task,
    algorithm: MirrorDescent,
    /,
    *,
    references: tuple[float, ...],
    tokens_of: TokensOf = "own run",
    steps_of: Mapping[float, int] | None = None,
    init_scale: float = 1.0,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> DirectionOutcome:
    """Divergence in the p of training of every run from the max-margin solutions of `references`.

    The solutions are for the tokens that the run itself selected. With tokens_of="other run" they are for those that
    another run selected, trained on the same problem with the reference's p, for `steps_of` it, from another start, as
    in the published figure; they differ in more than half of the problems, which is most of that figure's plateau.
    """
    at = measured_steps(algorithm, None)
    problems, runs = trained(task, algorithm, key, replicates, at, init_scale)
    selections = dict.fromkeys(references, runs.selected)
    if tokens_of == "other run":
        for index, reference in enumerate(references):
            steps = (steps_of or {}).get(reference, algorithm.steps)
            other = MirrorDescent(reference, algorithm.learning_rate, steps, gradient=algorithm.gradient)
            stops = np.array([steps])
            selections[reference] = trained(task, other, key, replicates, stops, init_scale, run=index + 1)[1].selected
    code = np.array(runs.result, int)
    divergence = np.full((len(runs.selected), len(at), len(references)), np.nan)
    for r in range(len(runs.selected)):
        for index, reference in enumerate(references):
            found = max_margin(pick(problems, r), selections[reference][r], reference, throw=False)
            if found.result != Result.SUCCESSFUL:
                code[r] = code[r] or int(found.result)
            else:
                path = runs.path.weights[r]
                divergence[r, :, index] = directional_divergence(found.weights, path, algorithm.p)
    divergence[code != int(Result.SUCCESSFUL)] = np.nan
    return DirectionOutcome(
        code,
        {},
        divergence=divergence,
        final_divergence=divergence[:, -1],
        at=at,
        reference=np.array(references),
        problem=problems,
        selected=runs.selected,
        saturation=runs.saturation,
    )


@float64
def predict_direction(
    task: Task, algorithm: MirrorDescent, /, *, references: tuple[float, ...], given: Any
) -> DirectionOutcome:
    """The limits, given the tokens each run selected: W points along its own p's solution.

    So the divergence from another norm's solution tends to that between the two solutions.
    """
    runs = GivenRuns(task, algorithm, given)

    def limits(problem: SelectionProblem, own: MaxMargin) -> list[float]:
        others = [max_margin(problem, own.selected, reference, throw=False) for reference in references]
        return [float(directional_divergence(other.weights, own.weights, algorithm.p)) for other in others]

    found = runs.each(limits, (len(references),))
    return DirectionOutcome(runs.result, {}, final_divergence=found, reference=np.array(references))
