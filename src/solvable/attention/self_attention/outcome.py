"""The observables that simulation and theory of self-attention share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from solvable.attention.self_attention.theories import OBSERVABLES, OVER_STEPS
from solvable.lab.outcome import Outcome

Observable = Any  # Float[AnyArray, "..."], or None on the side that does not speak of it


class RegressionOutcome(Outcome):
    """Measures of training, one value a replicate (and step of `at`); of a theory only what it speaks of.

    Over the steps of `at`: `excess` (1/2) |(A Sigma B^T - M) Sigma^1/2|_F^2, the loss on infinitely long contexts
    without the noise; `train_loss` L_n on the sequence of training (the population loss for samples=None);
    `fresh_excess` (1/2) E|f(x) - M x|^2 of fresh queries on a fresh context; `score_norm` |Bt|_2; `imbalance`
    |At^T At - Bt^T Bt|_F; `effective_share` mean over fresh queries of 1/sum_j P_ij^2 over the tokens in the context.
    Once a run: `start_excess`, the excess loss before the first step; for samples=None also `rate`, the ratio of the
    last two excess losses above 1e-20 of the first, and `iterations`, the first step at which the excess loss is below
    1e-10 of that of the zero map (the number of steps where it never is).

    `start` and `path` are the parameters at the start and at `at`, which a prediction may be given.
    """

    excess: Observable = None
    train_loss: Observable = None
    fresh_excess: Observable = None
    score_norm: Observable = None
    imbalance: Observable = None
    effective_share: Observable = None
    start_excess: Observable = None
    rate: Observable = None
    iterations: Observable = None
    at: Any = None
    start: Any = None
    path: Any = None

    observables: ClassVar[tuple[str, ...]] = OBSERVABLES
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(OVER_STEPS, ("at",))
