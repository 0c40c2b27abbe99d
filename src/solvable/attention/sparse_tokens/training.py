"""Training on real tokens: the two gradient steps on the query and the convex fit of the head.

The steps read their bags as a stream of chunks, so that bags which are generated on the fly never exist at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.classifiers import AttentionClassifier, FlatClassifier, pooled_features
from solvable.attention.sparse_tokens.features import sine
from solvable.attention.sparse_tokens.task import Batch
from solvable.numerics.erm import ridge_erm
from solvable.numerics.losses import Loss

CHUNK_BYTES = 2**24

Chunk = Callable[[Any], tuple[Float[Array, "c L d"], Float[Array, "c"], Float[Array, "c"]]]
"""Maps a chunk number to tokens, labels and a weight that is 0 for padding, else 1."""


def two_steps(
    chunk: Chunk,
    chunks: int,
    samples: Any,
    loss: Loss,
    head_rate: Any,
    bias_rate: Any,
    query_rate: Any,
    dim: int,
) -> Float[Array, "d"]:
    """The query after the two gradient steps of the protocol, from a stream that is read twice.

    w1 = -(head_rate/n) sum_i h0_i mean_l X_il, b1 = -(bias_rate/n) sum_i h0_i, h0_i = dloss/du at u = 0;
    q2 = -(query_rate/(n L)) sum_i h_i X_i^T (I - 11^T/L) X_i w1, h_i = dloss/du at u = <w1, mean_l X_il> + b1.
    """
    first_slope = loss.slope(jnp.zeros(()))

    def first(carry: Any, index: Any) -> tuple[Any, None]:
        tokens, labels, weight = chunk(index)
        means = jnp.mean(tokens, axis=1).astype(jnp.float64)
        signed = labels * weight
        return (carry[0] + signed @ means, carry[1] + jnp.sum(signed)), None

    zeros = (jnp.zeros(dim), jnp.zeros(()))
    (total, balance), _ = jax.lax.scan(first, zeros, jnp.arange(chunks))
    head = -(head_rate * first_slope / samples) * total
    bias = -(bias_rate * first_slope / samples) * balance

    def second(carry: Float[Array, "d"], index: Any) -> tuple[Float[Array, "d"], None]:
        tokens, labels, weight = chunk(index)
        scores = jnp.einsum("nld,d->nl", tokens, head.astype(tokens.dtype)).astype(jnp.float64)
        means = jnp.mean(scores, axis=1)
        slopes = weight * labels * loss.slope(labels * (means + bias))
        centred = slopes[:, None] * (scores - means[:, None])
        return carry + jnp.einsum("nl,nld->d", centred.astype(tokens.dtype), tokens).astype(jnp.float64), None

    gradient, _ = jax.lax.scan(second, jnp.zeros(dim), jnp.arange(chunks))
    length = jax.eval_shape(chunk, jnp.array(0))[0].shape[1]
    return -(query_rate / (samples * length)) * gradient


def array_chunks(tokens: Any, labels: Any) -> tuple[Chunk, int]:
    """A stream over arrays in memory, in chunks of about 16 MB; the last one overlaps and masks what was seen."""
    samples = tokens.shape[0]
    size = int(np.clip(CHUNK_BYTES // max(1, tokens[0].size * tokens.dtype.itemsize), 1, samples))
    chunks = -(-samples // size)
    tokens, labels = jnp.asarray(tokens), jnp.asarray(labels)

    def chunk(index: Any) -> tuple[Any, Any, Any]:
        start = jnp.minimum(index * size, samples - size)
        part = jax.lax.dynamic_slice_in_dim(tokens, start, size)
        fresh = start + jnp.arange(size) >= index * size
        return part, jax.lax.dynamic_slice_in_dim(labels, start, size), jnp.where(fresh, 1.0, 0.0)

    return chunk, chunks


def train_two_step(algorithm: Any, batch: Batch, key: jax.Array | None) -> AttentionClassifier:
    """`TwoStepAttention.train`."""
    tokens, labels = jnp.asarray(batch.tokens), jnp.asarray(batch.labels).astype(jnp.float64)
    samples = tokens.shape[0]
    if key is not None:
        order = jax.random.permutation(key, samples)
        tokens, labels = tokens[order], labels[order]
    warn_unless_standardised(tokens)
    count = round(float(algorithm.query_share) * samples)
    parts = {"query": labels[:count], "head": labels[count:]}
    for name, part in parts.items():
        require_both_classes(part, f"the {name} part of the bags ({part.shape[0]} of {samples}, query_share)")
    query = _steps_on_arrays(tokens[:count], labels[:count], algorithm)
    norm = jnp.linalg.norm(query)
    if float(norm) == 0.0:
        raise ValueError(
            "tokens leave the query at zero, so that its direction is undefined; accepted: bags of at least two tokens "
            "that differ, and a loss with a gradient"
        )
    query = query if algorithm.sharpness is None else query * (algorithm.sharpness / norm)
    return _attention_head(query, tokens[count:], labels[count:], algorithm)


def warn_unless_standardised(tokens: Any) -> None:
    """Warn when the tokens' entries are far from mean 0 and deviation 1, for which rates and sharpness are meant."""
    mean, deviation = float(jnp.mean(tokens)), float(jnp.std(tokens))
    if abs(mean) > max(deviation, 0.5) or not 0.1 < deviation < 10.0:
        warnings.warn(
            f"the tokens' entries have mean {mean:.3g} and deviation {deviation:.3g}; the two steps and the sharpness "
            "are meant for tokens of mean 0 and deviation 1: standardise or whiten them",
            UserWarning,
            stacklevel=4,
        )


def train_fixed_query(algorithm: Any, batch: Batch, key: jax.Array) -> AttentionClassifier:
    """`FixedQueryAttention.train`."""
    if batch.signal is None:
        raise ValueError(
            "batch has signal=None; accepted: a batch that knows its signal, for the query is set against it"
        )
    labels = jnp.asarray(batch.labels).astype(jnp.float64)
    require_both_classes(labels, "labels")
    query = fixed_query_direction(key, jnp.asarray(batch.signal), algorithm.cosine) * algorithm.sharpness
    return _attention_head(query, jnp.asarray(batch.tokens), labels, algorithm)


def train_pooled(algorithm: Any, batch: Batch) -> AttentionClassifier:
    """`PooledLinear.train`."""
    labels = jnp.asarray(batch.labels).astype(jnp.float64)
    require_both_classes(labels, "labels")
    return _attention_head(jnp.zeros(batch.tokens.shape[2]), jnp.asarray(batch.tokens), labels, algorithm)


def train_flat(algorithm: Any, batch: Batch) -> FlatClassifier:
    """`FlatLinear.train`."""
    labels = jnp.asarray(batch.labels).astype(jnp.float64)
    require_both_classes(labels, "labels")
    samples, length, dim = batch.tokens.shape
    features = jnp.asarray(batch.tokens).astype(jnp.float64).reshape(samples, length * dim)
    solution = ridge_erm(features, labels, algorithm.loss, algorithm.ridge)
    return FlatClassifier(solution.weights.reshape(length, dim), solution.bias)


def fixed_query_direction(key: jax.Array, signal: Float[Array, "d"], cosine: Any) -> Float[Array, "d"]:
    """A unit vector with the given cosine to the unit signal, uniform around it."""
    draw = jax.random.normal(key, signal.shape, jnp.float64)
    across = draw - jnp.dot(draw, signal) * signal
    return cosine * signal + sine(jnp.asarray(cosine)) * across / jnp.linalg.norm(across)


def require_both_classes(labels: Any, what: str) -> None:
    """Raises: ValueError when the labels do not hold both classes."""
    present = np.unique(np.asarray(labels))
    if present.size < 2:
        held = "no label" if present.size == 0 else f"only the label {int(present[0]):+d}"
        raise ValueError(f"{what} holds {held}; accepted: both classes; bags sorted by label need key=, which shuffles")


def _attention_head(query: Any, tokens: Any, labels: Any, algorithm: Any) -> AttentionClassifier:
    features = _pool(tokens, query).astype(jnp.float64)
    solution = ridge_erm(features, labels, algorithm.loss, algorithm.ridge)
    return AttentionClassifier(query, solution.weights, solution.bias)


# The arrays are arguments of compiled functions: closed over, they would be copied into them as constants.
@eqx.filter_jit
def _steps_on_arrays(tokens: Any, labels: Any, algorithm: Any) -> Float[Array, "d"]:
    chunk, chunks = array_chunks(tokens, labels)
    rate = 1.0 if algorithm.query_rate is None else algorithm.query_rate
    samples, _, dim = tokens.shape
    return two_steps(chunk, chunks, samples, algorithm.loss, algorithm.head_rate, algorithm.bias_rate, rate, dim)


@jax.jit
def _pool(tokens: Any, query: Any) -> Float[Array, "n d"]:
    return pooled_features(tokens, query)[0]
