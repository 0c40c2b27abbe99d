"""The two gradient steps on the query: on streams of bags, by their exact law at any dim, and in the limit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.sparse_tokens.results import SparseTokenResult
from solvable.attention.sparse_tokens.task import Batch, Scalar, SparseTokens, sample_bags, sample_labels
from solvable.numerics.precision import as_float64
from solvable.numerics.results import is_traced
from solvable.numerics.validation import instance

CHUNK_BYTES = 2**24
# bags a chunk of a law of one's own: one size for all, so that its sampler is compiled once
FOREIGN_CHUNK = 256


class Stream(NamedTuple):
    """`chunk(i)`, i < chunks, gives tokens (c, L, d), labels (c,) and a weight (c,) that is 0 for padding, else 1.

    The same number gives the same bags again. `traced` chunks are read by a compiled loop, others one by one.
    """

    chunk: Callable[[Any], tuple[Float[Array, "c L d"], Float[Array, "c"], Float[Array, "c"]]]
    chunks: int
    samples: int
    traced: bool = True

    def fold(self, step: Callable[..., Any], start: Any) -> Any:
        """`step(state, tokens, labels, weight)` over all chunks."""
        if self.traced:
            return jax.lax.scan(lambda state, i: (step(state, *self.chunk(i)), None), start, jnp.arange(self.chunks))[0]
        for index in range(self.chunks):
            start = step(start, *self.chunk(index))
        return start

    def map(self, function: Callable[..., Any]) -> Any:
        """`function(tokens, labels)` of every chunk, joined along the bags; padding is at the end, and dropped."""
        if self.traced:
            parts = jax.lax.map(lambda i: function(*self.chunk(i)[:2]), jnp.arange(self.chunks))
        else:
            found = [function(*self.chunk(index)[:2]) for index in range(self.chunks)]
            parts = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *found)
        return jax.tree_util.tree_map(lambda x: x.reshape(-1, *x.shape[2:])[: self.samples], parts)


def in_memory(tokens: Any, labels: Any) -> Stream:
    """A stream over arrays, in chunks of about 16 MB, to be folded: the last one overlaps, and masks what was seen."""
    samples = tokens.shape[0]
    size = int(np.clip(CHUNK_BYTES // max(1, tokens[0].size * tokens.dtype.itemsize), 1, samples))

    def chunk(index: Any) -> tuple[Any, Any, Any]:
        start = jnp.minimum(index * size, samples - size)
        part = jax.lax.dynamic_slice_in_dim(tokens, start, size)
        fresh = start + jnp.arange(size) >= index * size
        return part, jax.lax.dynamic_slice_in_dim(labels, start, size), jnp.where(fresh, 1.0, 0.0)

    return Stream(chunk, -(-samples // size), samples)


def drawn(key: jax.Array, task: SparseTokens, samples: int, signal: Float[Array, "d"], foreign: bool) -> Stream:
    """Fresh bags of a task; a `foreign` one is asked by its own `sample`, outside of compiled code."""
    dim = signal.shape[0]
    size = int(np.clip(CHUNK_BYTES // (8 * task.length * dim), 1, FOREIGN_CHUNK if foreign else samples))

    def chunk(index: Any) -> tuple[Any, Any, Any]:
        own = jax.random.fold_in(key, index)
        if foreign:
            batch = task.sample(own, size, dim, signal=np.asarray(signal))
            if instance("task.sample(...)", batch, (Batch,)).tokens.shape != (size, task.length, dim):
                accepted = f"({size}, {task.length}, {dim}), as asked for"
                raise ValueError(f"task.sample(...) has tokens of shape {batch.tokens.shape}; accepted: {accepted}")
            tokens, labels = (jnp.asarray(x).astype(jnp.float64) for x in (batch.tokens, batch.labels))
        else:
            tokens, labels = sample_bags(task, own, size, signal)
        return tokens, labels, jnp.where(index * size + jnp.arange(size) < samples, 1.0, 0.0)

    return Stream(chunk, -(-samples // size), samples, not foreign)


class Query(NamedTuple):
    """A realised query: its cosine with the signal (NaN where that is not known), its norm, and a `Result` code."""

    cosine: Scalar
    sharpness: Scalar
    result: Int[Array, ""]


def query_code(positives: Any, samples: Any, norm: Any = 1.0) -> Int[Array, ""]:
    """How bags of which some are positive, and which moved the query by `norm`, trained it."""
    moved = jnp.where(norm > 0, int(SparseTokenResult.SUCCESSFUL), int(SparseTokenResult.ZERO_QUERY))
    return jnp.where((positives > 0) & (positives < samples), moved, int(SparseTokenResult.ONE_CLASS))


def two_steps(algorithm: Any, stream: Stream, signal: Any, length: int, dim: int) -> tuple[Float[Array, "d"], Query]:
    """The query after the two gradient steps of the protocol, from a stream of n bags that is read twice.

    w1 = -(head_rate/n) sum_i h0_i mean_l X_il, b1 = -(bias_rate/n) sum_i h0_i, h0_i = dloss/du at u = 0;
    q2 = -(query_rate/(n L)) sum_i h_i X_i^T (I - 11^T/L) X_i w1, h_i = dloss/du at u = <w1, mean_l X_il> + b1.
    """
    loss, first_slope = algorithm.loss, algorithm.loss.slope(jnp.zeros(()))

    def first(carry: Any, tokens: Any, labels: Any, weight: Any) -> Any:
        means = jnp.mean(tokens, axis=1).astype(jnp.float64)
        signed = labels * weight
        positives = jnp.sum(jnp.where(signed > 0, 1.0, 0.0))
        return carry[0] + signed @ means, carry[1] + jnp.sum(signed), carry[2] + positives

    total, balance, positives = stream.fold(first, (jnp.zeros(dim), jnp.zeros(()), jnp.zeros(())))
    head = -(algorithm.head_rate * first_slope / stream.samples) * total
    bias = -(algorithm.bias_rate * first_slope / stream.samples) * balance

    def second(carry: Float[Array, "d"], tokens: Any, labels: Any, weight: Any) -> Float[Array, "d"]:
        scores = jnp.einsum("nld,d->nl", tokens, head.astype(tokens.dtype)).astype(jnp.float64)
        means = jnp.mean(scores, axis=1)
        slopes = weight * labels * loss.slope(labels * (means + bias))
        centred = slopes[:, None] * (scores - means[:, None])
        return carry + jnp.einsum("nl,nld->d", centred.astype(tokens.dtype), tokens).astype(jnp.float64)

    gradient = stream.fold(second, jnp.zeros(dim))
    rate = 1.0 if algorithm.query_rate is None else algorithm.query_rate
    query = -(rate / (stream.samples * length)) * gradient
    moved = jnp.linalg.norm(query)
    if algorithm.sharpness is not None:
        query = query * (algorithm.sharpness / jnp.where(moved > 0, moved, 1.0))
    norm = jnp.linalg.norm(query)
    cosine = as_float64(jnp.nan) if signal is None else jnp.dot(query, signal) / jnp.where(norm > 0, norm, 1.0)
    return query, Query(cosine, norm, query_code(positives, stream.samples, moved))


def padded(samples: int) -> int:
    """The number of rows that `samples` bags are drawn in: the next power of 2, so that few shapes are compiled."""
    return 2 ** max(6, (samples - 1).bit_length())


def sampled_query(key: jax.Array, task: SparseTokens, algorithm: Any, samples: Any, rows: int, dim: int) -> Query:
    """The cosine and norm of the query after two gradient steps on `samples` bags in R^dim: O(samples L) at any dim.

    The first step sees only M = sum_i y_i (mean token noise)_i, which is N(0, samples/L I): w1 lies in the plane of the
    signal and one perpendicular direction. Given M, the scores of the mean tokens are Gaussian with known means; the
    token noise off its mean is independent of all that, and enters the second step along w1 (the centred scores a_i)
    and across it (a Gaussian vector of variance sum_i h_i^2 |a_i|^2). Derived here.

    `rows` >= samples is the compiled size: rows beyond `samples` get the label 0 and drop out of every sum.
    """
    label_key, normal_key = jax.random.split(key)
    length, count = task.length, jnp.asarray(samples).astype(jnp.float64)
    # One draw for all: compiling a sampler takes longer than running it.
    sizes = np.cumsum([rows * length, rows, dim - 1, dim - 2])
    normals = jax.random.normal(normal_key, (sizes[-1] + 2,), jnp.float64)
    gamma, g, across, others, (m_along, cross) = jnp.split(normals, sizes)
    labels = sample_labels(label_key, rows, task.positive_rate) * jnp.where(jnp.arange(rows) < samples, 1.0, 0.0)
    positive = jnp.where(labels > 0, 1.0, 0.0)
    rate = algorithm.head_rate * -algorithm.loss.slope(jnp.zeros(()))
    bias = (algorithm.bias_rate * -algorithm.loss.slope(jnp.zeros(()))) * jnp.sum(labels) / count

    m_along = jnp.sqrt(count / length) * m_along
    m_across = jnp.sqrt(count / length) * jnp.linalg.norm(across)
    w_along = (rate / count) * (task.strength * task.sparsity * jnp.sum(positive) / length + m_along)
    w_across = (rate / count) * m_across
    w_norm = jnp.sqrt(w_along**2 + w_across**2)
    own = (m_along * w_along + m_across * w_across) / count

    fresh = w_norm / jnp.sqrt(float(length)) * (g - labels * jnp.sum(labels * g) / count)
    scores = labels * own + fresh + positive * (task.strength * task.sparsity / length) * w_along + bias
    slopes = labels * algorithm.loss.slope(labels * scores)

    gamma = gamma.reshape(rows, length)
    gamma = gamma - jnp.mean(gamma, axis=1, keepdims=True)
    carries = jnp.where(jnp.arange(length) < task.sparsity, 1.0, 0.0)
    shift = positive[:, None] * (carries - task.sparsity / length)[None, :]
    centred = w_norm * gamma + (task.strength * w_along) * shift
    along_signal = jnp.sum(slopes * positive * task.strength * (centred @ carries))
    along_head = jnp.sum(slopes * jnp.sum(gamma * centred, axis=1))
    spread = jnp.sqrt(jnp.sum(slopes**2 * jnp.sum(centred**2, axis=1)))

    # Axes: w1 itself, the rest of the signal-w1 plane, and dim - 2 more. The signal is (cos, sin) in the first two.
    cos, sin = w_along / w_norm, w_across / w_norm
    first = along_signal * cos + along_head
    # On the plane's second axis the signal has the component w_across/|w1| with the sign that makes it a unit vector.
    second = along_signal * sin + spread * cross
    norm = jnp.sqrt(first**2 + second**2 + spread**2 * jnp.sum(others**2))
    factor = 1.0 / (count * length)
    cosine = (cos * first + sin * second) / jnp.where(norm > 0, norm, 1.0)
    sharpness = algorithm.query_rate * factor * norm if algorithm.query_rate is not None else algorithm.sharpness
    # The update is -(rate/(n L)) times these sums, and the slopes are negative where the label is positive.
    return Query(-cosine, jnp.asarray(sharpness, jnp.float64), query_code(jnp.sum(positive), count, norm))


@jax.jit
def two_step_moments(task: SparseTokens, algorithm: Any, inverse_ratio: Scalar) -> tuple[Scalar, Scalar]:
    """(<q, xi>, |q|^2) at query_rate 1, as functions of 1/query_ratio (0 is the limit of many samples)."""
    length, rate = float(task.length), as_float64(task.positive_rate)
    theta = as_float64(task.strength)
    share = task.sparsity / length
    rho = task.sparsity * (1.0 - share)
    c = -algorithm.loss.slope(jnp.zeros(()))
    step = algorithm.head_rate * c
    m = step * theta * share * rate
    w2 = m * m + step * step * inverse_ratio / length
    bias = algorithm.bias_rate * c * (2.0 * rate - 1.0)
    own = step * inverse_ratio / length
    spread = jnp.sqrt(w2 / length)
    # In margins y u, h = y loss'(y u).
    slope_p, square_p = algorithm.loss.slope_averages(theta * share * m + bias + own, spread)
    slope_n, square_n = algorithm.loss.slope_averages(own - bias, spread)
    eh_p, eh2_p = rate * slope_p, rate * square_p
    eh = eh_p - (1.0 - rate) * slope_n
    eh2 = eh2_p + (1.0 - rate) * square_n
    lift, rest = theta * theta * rho, length - 1.0
    overlap = -m * (lift * eh_p + rest * eh)
    square = (
        (m * lift * eh_p) ** 2
        + 2.0 * lift * m * m * rest * eh_p * eh
        + (rest * eh) ** 2 * w2
        + (rest * eh2 * w2 + lift * m * m * eh2_p) * inverse_ratio
    )
    return overlap / length, square / (length * length)


def limit_query(task: SparseTokens, algorithm: Any, query_ratio: Any) -> tuple[Scalar, Scalar]:
    """(cosine, norm) of the query after two steps on query_ratio * dim bags; NaN where the query stays at zero.

    Warns (UserWarning) when the cosine is known not to be positive.
    """
    cosine, sharpness = _reached(task, algorithm, 1.0 / query_ratio)
    if not is_traced(cosine) and float(cosine) <= 0.0:
        warnings.warn(
            f"the query's cosine with the signal is {float(cosine):.3f}, not positive: rare positives or a bias_rate "
            "that leaves the classes unbalanced turn it away, and attention then does worse than pooling",
            UserWarning,
            stacklevel=4,
        )
    return cosine, sharpness


@jax.jit
def _reached(task: SparseTokens, algorithm: Any, inverse_ratio: Scalar) -> tuple[Scalar, Scalar]:
    overlap, square = two_step_moments(task, algorithm, as_float64(inverse_ratio))
    moves = jnp.where(square > 0.0, 1.0, jnp.nan)
    norm = jnp.sqrt(square) * moves
    cosine = jnp.clip(overlap / norm, -1.0, 1.0)
    rate, given = algorithm.query_rate, algorithm.sharpness
    return cosine, as_float64(given) * moves if rate is None else as_float64(rate) * norm
