"""Who wins with unlimited data: attention with a given query, or the linear baselines."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from jaxtyping import Float

from solvable.attention.sparse_tokens.algorithms import FixedQueryAttention, PooledLinear
from solvable.attention.sparse_tokens.limits import limit_error
from solvable.attention.sparse_tokens.task import SparseTokens
from solvable.lab.outcome import AnyArray, Outcome
from solvable.numerics.results import Result


class PhaseOutcome(Outcome):
    """`attention_error`, `linear_error` (pooled and flat share it) and `advantage`, the second minus the first."""

    attention_error: Float[AnyArray, "..."]
    linear_error: Float[AnyArray, "..."]
    advantage: Float[AnyArray, "..."]

    observables: ClassVar[tuple[str, ...]] = ("attention_error", "linear_error", "advantage")


def predict_phases(task: SparseTokens, algorithm: FixedQueryAttention, /) -> PhaseOutcome:
    """The limit errors for the square loss without ridge, ratio to infinity; see `limit_error`."""
    attention = limit_error(task, algorithm)
    linear = limit_error(task, PooledLinear("square", 0.0))
    errors = dict.fromkeys(("attention_error", "advantage"), attention.standard_error)
    return PhaseOutcome(
        np.array(int(Result.SUCCESSFUL)),
        {"standard_error": errors},
        np.asarray(attention),
        np.asarray(linear),
        np.asarray(linear - attention),
    )
