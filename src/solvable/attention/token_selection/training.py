"""What is trained, and the run that training leaves."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.token_selection.gradients import attention_maps
from solvable.attention.token_selection.task import SelectionProblem
from solvable.numerics.precision import float64
from solvable.numerics.validation import instance

AnyArray = Array | np.ndarray


class Parameters(NamedTuple):
    """What is trained: W or its factors K and Q with W = K Q^T, and the decoder (None: kept as the problem has it)."""

    weights: Any
    key_matrix: Any
    query_matrix: Any
    decoder: Any

    def product(self) -> Float[Array, "d d"]:
        """W."""
        return self.key_matrix @ self.query_matrix.T if self.weights is None else self.weights


class TrainingPath(eqx.Module):
    """The recorded steps: `steps` (K,), `weights` (K, d, d) and, where the decoder is trained, `decoder` (K, d)."""

    steps: Int[AnyArray, "K"]
    weights: Float[AnyArray, "K d d"]
    decoder: Float[AnyArray, "K d"] | None = None


class SelectionRun(eqx.Module):
    """A trained layer: `weights` W (d, d), `decoder` v (d,), `path`, and what the attention ended on.

    `selected` is the token with the largest attention, one a sequence (n,), or one a query (n, m);
    `saturation` is the mean of that largest attention: near 1 the selection is settled. `key_matrix` and `query_matrix`
    are the factors of W = K Q^T where they were trained. `result` is a `Result` code.
    """

    weights: Float[AnyArray, "d d"]
    decoder: Float[AnyArray, "d"]
    selected: Int[AnyArray, "n"] | Int[AnyArray, "n m"]
    saturation: Float[AnyArray, ""]
    path: TrainingPath
    result: Int[AnyArray, ""]
    key_matrix: Float[AnyArray, "d k"] | None = None
    query_matrix: Float[AnyArray, "d k"] | None = None

    @float64
    def attention(self, problem: SelectionProblem) -> Float[Array, "n T"] | Float[Array, "n m T"]:
        """The attention maps of this layer on a problem's sequences."""
        instance("problem", problem, (SelectionProblem,))
        maps = attention_maps(problem, jnp.asarray(self.weights))
        return maps[:, 0] if problem.queries.ndim == 2 else maps
