"""Trained classifiers: score, class and attention of bags of tokens."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.sparse_tokens.task import as_tokens
from solvable.numerics.fields import Checked
from solvable.numerics.precision import float64


class TrainedClassifier(Checked):
    """score = <head, features> + bias, the features being those of `algorithm` under `query`.

    `result` is the `Result` code of the training; where that failed the numbers are NaN.
    """

    query: Any
    head: Float[Array | np.ndarray, "..."]
    bias: Float[Array | np.ndarray, ""]
    result: Int[Array | np.ndarray, ""]
    algorithm: Any

    @float64
    def score(self, tokens: Any) -> Float[Array, "n"]:
        """Scores of tokens (n, L, d). Raises: ValueError for tokens that are not finite, 3-D and as in training."""
        return _score(self, self._accept(tokens))

    def classify(self, tokens: Any) -> Int[np.ndarray, "n"]:
        """Labels in {-1, +1}, the sign of the score."""
        return np.where(np.asarray(self.score(tokens)) > 0, 1, -1)

    def attention(self, tokens: Any) -> Float[Array, "n L"]:
        """Only attention and pooling weigh tokens. Raises: TypeError."""
        raise TypeError(
            f"attention is not defined for {type(self).__name__}; accepted: a classifier trained with attention or "
            "pooling"
        )

    def _accept(self, tokens: Any) -> Any:
        return as_tokens(tokens, self.query.shape[0])


class AttentionClassifier(TrainedClassifier):
    """score = <head, X^T softmax(X query)> + bias; a zero query is mean pooling. `query` and `head` are (d,).

    `cosine` and `sharpness` are those that the query reached; the cosine is NaN where the signal is not known.
    """

    cosine: Float[Array | np.ndarray, ""]
    sharpness: Float[Array | np.ndarray, ""]

    @float64
    def attention(self, tokens: Any) -> Float[Array, "n L"]:
        """The attention weights of each bag, which sum to 1."""
        return _pooled(self._accept(tokens), self.query)[1]


class FlatClassifier(TrainedClassifier):
    """score = <head, X> + bias with `head` (L, d). It has no query, hence no attention."""

    def _accept(self, tokens: Any) -> Any:
        return as_tokens(tokens, self.head.shape[1], self.head.shape[0])


def pooled_features(
    tokens: Float[Array, "n L d"], query: Float[Array, "d"]
) -> tuple[Float[Array, "n d"], Float[Array, "n L"]]:
    """(X^T a, a) with a = softmax(X query), in the dtype of the tokens."""
    query = query.astype(tokens.dtype)
    weights = jax.nn.softmax(jnp.einsum("nld,d->nl", tokens, query), axis=-1)
    return jnp.einsum("nl,nld->nd", weights, tokens), weights


@eqx.filter_jit
def _score(run: TrainedClassifier, tokens: Any) -> Float[Array, "n"]:
    features = run.algorithm.features(jnp.asarray(tokens), run.query)
    return features.astype(jnp.float64) @ run.head.ravel() + run.bias


_pooled = jax.jit(pooled_features)
