"""Excess risks side by side as the dimension grows: the best head, linear attention, the linear map, Bayes."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import numpy as np
from scipy.special import erf

from solvable.attention.single_location.baselines import (
    bayes_risk,
    floor,
    host_generator,
    linear_attention_risk,
    linear_risk,
    token_draws,
)
from solvable.attention.single_location.task import SingleLocation
from solvable.lab.outcome import Outcome
from solvable.numerics.results import Result
from solvable.numerics.validation import integer, replicate_numbers

Observable = Any  # Float[AnyArray, "..."], or None on the side that does not speak of it


class ComparisonOutcome(Outcome):
    """Excess risks: `attention` of the unit head at the hidden directions with the best inverse temperature,
    `linear_attention` of the best multiple of sum_l (X_l.k*) X_l.v*, `linear` of the best linear map, and `bayes`.
    """

    attention: Observable = None
    linear_attention: Observable = None
    linear: Observable = None
    bayes: Observable = None

    observables: ClassVar[tuple[str, ...]] = ("attention", "linear_attention", "linear", "bayes")


def simulate_comparison(
    task: SingleLocation,
    algorithm: None = None,
    /,
    *,
    samples: int = 20_000,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> ComparisonOutcome:
    """The mean squared errors of all four on `samples` sequences a replicate, less the label noise.

    A token enters through its components along k* and v* and its length, which are drawn in law.
    """
    del algorithm
    numbers = replicate_numbers(replicates)
    samples = integer("samples", samples, at_least=2)
    key = jax.random.key(0) if key is None else key
    s, g2 = float(task.signal), float(task.label_variance)
    lam, others = float(floor(task).inverse_temperature), task.length - 1
    found = np.empty((len(numbers), 4))
    for r, count in enumerate(numbers):
        now = jax.random.fold_in(key, count)
        a, b, _ = token_draws(task, host_generator(now), samples)
        linear_attention = g2 * s / (g2 * (s * s + g2) + others) * (a * b).sum(axis=1)
        linear = g2 / (g2 + others) * b.sum(axis=1)
        for place, output in enumerate(((erf(lam * a) * b).sum(axis=1), linear_attention, linear)):
            found[r, place] = np.mean((output - b[:, 0]) ** 2)
        found[r, 3] = bayes_risk(task, samples, now)
    code = np.full(len(numbers), int(Result.SUCCESSFUL))
    return ComparisonOutcome(code, {}, *found.T)


def predict_comparison(task: SingleLocation, algorithm: None = None, /) -> ComparisonOutcome:
    """The exact risks of the first three."""
    del algorithm
    risks = (floor(task).risk, linear_attention_risk(task), linear_risk(task))
    return ComparisonOutcome(np.array(int(Result.SUCCESSFUL)), {}, *(np.asarray(risk) for risk in risks))
