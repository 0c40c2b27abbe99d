"""Joint training of the key-query matrix and the decoder: both directions, and the two probabilities that rise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.token_selection.algorithms import MirrorDescent
from solvable.attention.token_selection.gradients import attention_maps
from solvable.attention.token_selection.outcome import Observable
from solvable.attention.token_selection.simulate import measured, pick
from solvable.attention.token_selection.task import SelectionProblem, Task
from solvable.attention.token_selection.theory import predict
from solvable.lab.outcome import Outcome
from solvable.numerics.precision import float64

OVER_STEPS = ("divergence", "decoder_divergence", "attention_probability", "label_probability")


class JointOutcome(Outcome):
    """Over the steps: both divergences from the max-margin directions, the mean attention on the tokens selected in the
    end, the mean probability sigmoid(y f) of the label. At the end: both divergences, and the selected `token` of
    each sequence.
    """

    divergence: Observable = None
    decoder_divergence: Observable = None
    attention_probability: Observable = None
    label_probability: Observable = None
    final_divergence: Observable = None
    final_decoder_divergence: Observable = None
    token: Observable = None
    at: Observable = None
    runs: Any = None

    observables: ClassVar[tuple[str, ...]] = (*OVER_STEPS, "final_divergence", "final_decoder_divergence", "token")
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {**dict.fromkeys(OVER_STEPS, ("at",)), "token": ("sequence",)}


@float64
def simulate_joint(
    task: Task, algorithm: MirrorDescent, /, *, key: jax.Array | None = None, replicates: int | range = 1
) -> JointOutcome:
    """Train W and v from zero and follow them."""
    early = np.array([1, 2, 5, 10, 20, 50, 100])
    late = np.round(np.geomspace(200, algorithm.steps, 9)).astype(int) if algorithm.steps > 200 else []
    at = np.union1d(early[early <= algorithm.steps], np.append(late, algorithm.steps)).astype(int)
    outcome, runs = measured(task, algorithm, key, replicates, at, 0.0)
    decoders: Any = runs.path.decoder
    shown = np.searchsorted(runs.path.steps[0], at)
    found = np.array(
        [
            [_probabilities(problem, runs.path.weights[r][k], decoders[r][k], outcome.selected[r]) for k in shown]
            for r, problem in ((r, pick(outcome.problem, r)) for r in range(len(outcome.result)))
        ]
    )
    return JointOutcome(
        outcome.result,
        outcome.stats,
        divergence=outcome.divergence,
        decoder_divergence=outcome.decoder_divergence,
        attention_probability=found[:, :, 0],
        label_probability=found[:, :, 1],
        final_divergence=outcome.divergence[:, -1],
        final_decoder_divergence=outcome.decoder_divergence[:, -1],
        token=outcome.selected.astype(np.float64),
        at=at,
        runs=outcome,
    )


@float64
def predict_joint(task: Task, algorithm: MirrorDescent, /, *, given: Any) -> JointOutcome:
    """Both directions converge to their max-margin solutions, given the tokens each run selected."""
    limit = predict(task, algorithm, given=given.runs, at=[algorithm.steps])
    return JointOutcome(
        limit.result,
        limit.stats,
        final_divergence=limit.divergence[:, 0],
        final_decoder_divergence=limit.decoder_divergence[:, 0],
    )


@eqx.filter_jit
def _probabilities(problem: SelectionProblem, weights: Any, decoder: Any, selected: Any) -> tuple[Any, Any]:
    maps = attention_maps(problem, jnp.asarray(weights))[:, 0]
    outputs = jnp.sum(maps * problem.scores(jnp.asarray(decoder)), axis=-1)
    attention = jnp.mean(jnp.take_along_axis(maps, jnp.asarray(selected)[:, None], axis=-1))
    return attention, jnp.mean(jax.nn.sigmoid(outputs))
