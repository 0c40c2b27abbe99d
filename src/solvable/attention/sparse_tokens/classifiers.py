"""Trained classifiers: score, class and attention of bags of tokens."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.sparse_tokens.task import as_tokens
from solvable.numerics.precision import float64


class AttentionClassifier(eqx.Module):
    """score = <head, X^T softmax(X query)> + bias; a zero query is mean pooling. `query` and `head` are (d,)."""

    query: Float[Array, "d"]
    head: Float[Array, "d"]
    bias: Float[Array, ""]

    def score(self, tokens: Any) -> Float[Array, "n"]:
        """Scores of tokens (n, L, d). Raises: ValueError for tokens that are not finite, 3-D and of dimension d."""
        return self._apply(tokens)[0]

    def classify(self, tokens: Any) -> Int[np.ndarray, "n"]:
        """Labels in {-1, +1}, the sign of the score."""
        return np.where(np.asarray(self.score(tokens)) > 0, 1, -1)

    def attention(self, tokens: Any) -> Float[Array, "n L"]:
        """The attention weights of each bag, which sum to 1."""
        return self._apply(tokens)[1]

    @float64
    def _apply(self, tokens: Any) -> tuple[Float[Array, "n"], Float[Array, "n L"]]:
        return _score(self, as_tokens(tokens, self.query.shape[0]))


@jax.jit
def _score(classifier: AttentionClassifier, tokens: Any) -> tuple[Float[Array, "n"], Float[Array, "n L"]]:
    pooled, weights = pooled_features(tokens, jnp.asarray(classifier.query))
    return pooled.astype(jnp.float64) @ classifier.head + classifier.bias, weights


class FlatClassifier(eqx.Module):
    """score = <head, X> + bias with `head` (L, d). It has no query, hence no attention."""

    head: Float[Array, "L d"]
    bias: Float[Array, ""]
    query: None = None

    @float64
    def score(self, tokens: Any) -> Float[Array, "n"]:
        """Scores of tokens (n, L, d). Raises: ValueError for tokens that are not finite or of another L or d."""
        tokens = as_tokens(tokens, self.head.shape[1])
        if tokens.shape[1] != self.head.shape[0]:
            raise ValueError(
                f"tokens has {tokens.shape[1]} tokens a bag; accepted: {self.head.shape[0]}, as in training"
            )
        return jnp.einsum("nld,ld->n", jnp.asarray(tokens, jnp.float64), jnp.asarray(self.head)) + self.bias

    def classify(self, tokens: Any) -> Int[np.ndarray, "n"]:
        """Labels in {-1, +1}, the sign of the score."""
        return np.where(np.asarray(self.score(tokens)) > 0, 1, -1)

    def attention(self, tokens: Any) -> Float[Array, "n L"]:
        """A flat classifier weighs entries, not tokens. Raises: TypeError."""
        del tokens
        raise TypeError(
            "attention is not defined for FlatClassifier; accepted: a classifier trained with attention or pooling"
        )


def pooled_features(
    tokens: Float[Array, "n L d"], query: Float[Array, "d"]
) -> tuple[Float[Array, "n d"], Float[Array, "n L"]]:
    """(X^T a, a) with a = softmax(X query), in the dtype of the tokens."""
    query = query.astype(tokens.dtype)
    weights = jax.nn.softmax(jnp.einsum("nld,d->nl", tokens, query), axis=-1)
    return jnp.einsum("nl,nld->nd", weights, tokens), weights
