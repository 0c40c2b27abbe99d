"""Samplers that are exact in law at every dimension and draw only what the outcome depends on."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.sparse_tokens.algorithms import TwoStepAttention
from solvable.attention.sparse_tokens.features import attention_scalars, sine
from solvable.attention.sparse_tokens.results import SparseTokenResult
from solvable.attention.sparse_tokens.task import SparseTokens, sample_labels, sample_positions
from solvable.numerics.random import normal
from solvable.numerics.results import Result


class Query(NamedTuple):
    """A realised query: its cosine with the signal, its norm, and a `Result` code of its training."""

    cosine: Float[Array, ""]
    sharpness: Float[Array, ""]
    result: Int[Array, ""]


def class_code(labels: Float[Array, "n"]) -> Int[Array, ""]:
    """SUCCESSFUL when both classes are present, else ONE_CLASS."""
    both = jnp.any(labels > 0) & jnp.any(labels < 0)
    return jnp.where(both, int(Result.SUCCESSFUL), int(SparseTokenResult.ONE_CLASS))


def gaussian_rows(key: jax.Array, rows: int, columns: int) -> Float[Array, "rows m"]:
    """A matrix whose Gram matrix has the law of a Gaussian (rows, columns) one's, with m = rows columns if
    columns > 2 rows, else m = columns.

    A Gaussian matrix wider than tall is T Q with Q orthonormal and independent of the lower triangular T (Bartlett:
    T_ij ~ N(0, 1) below the diagonal, T_ii ~ chi with columns - i degrees), and a ridge fit sees Q only as a rotation.
    Draws are single precision: their grain of 1e-7 is far below anything a run resolves.
    """
    if columns <= 2 * rows:  # the triangle saves less than half of the draws: not worth its gamma sampler
        return normal(key, (rows, columns), jnp.float32).astype(jnp.float64)
    below_key, diagonal_key = jax.random.split(key)
    below = normal(below_key, (rows, rows), jnp.float32).astype(jnp.float64)
    degrees = columns - jnp.arange(rows).astype(jnp.float64)
    diagonal = jnp.sqrt(2.0 * jax.random.gamma(diagonal_key, 0.5 * degrees, dtype=jnp.float64))
    return jnp.tril(below, -1) + jnp.diag(diagonal)


def padded(samples: int) -> int:
    """The number of rows that `samples` bags are drawn in: the next power of 2, so that few shapes are compiled."""
    return 2 ** max(6, (samples - 1).bit_length())


def two_step_query(
    key: jax.Array, task: SparseTokens, algorithm: TwoStepAttention, samples: Any, rows: int, dim: int
) -> Query:
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
    code = class_code(labels)
    code = jnp.where((code == int(Result.SUCCESSFUL)) & ~(norm > 0), int(SparseTokenResult.ZERO_QUERY), code)
    # The update is -(rate/(n L)) times these sums, and the slopes are negative where the label is positive.
    return Query(-cosine, jnp.asarray(sharpness, jnp.float64), code)


def attention_design(
    key: jax.Array, task: SparseTokens, cosine: Any, sharpness: Any, samples: int, dim: int
) -> tuple[Float[Array, "n p"], Float[Array, "n"]]:
    """Attention features of `samples` bags: columns (A, kappa c + r z, r Z), Z as in `gaussian_rows`; and labels."""
    label_key, noise_key, rest_key = jax.random.split(key, 3)
    labels = sample_labels(label_key, samples, task.positive_rate)
    positive = jnp.where(labels > 0, 1.0, 0.0)
    noise = normal(noise_key, (samples, task.length + 1), jnp.float64)
    along, c, scale = attention_scalars(task, cosine, sharpness, noise[:, 1:], positive)
    plane = sine(cosine) * c + scale * noise[:, 0]
    rest = scale[:, None] * gaussian_rows(rest_key, samples, dim - 2)
    return jnp.concatenate([along[:, None], plane[:, None], rest], axis=1), labels


def pooled_design(
    key: jax.Array, task: SparseTokens, samples: int, dim: int
) -> tuple[Float[Array, "n p"], Float[Array, "n"]]:
    """Mean tokens of `samples` bags: columns (along the signal, the others as in `gaussian_rows`); and labels."""
    label_key, signal_key, rest_key = jax.random.split(key, 3)
    labels = sample_labels(label_key, samples, task.positive_rate)
    scale = task.length**-0.5
    shift = jnp.where(labels > 0, task.strength * (task.sparsity / task.length), 0.0)
    first = shift + scale * jax.random.normal(signal_key, (samples,), jnp.float64)
    rest = scale * gaussian_rows(rest_key, samples, dim - 1)
    return jnp.concatenate([first[:, None], rest], axis=1), labels


def flat_design(
    key: jax.Array, task: SparseTokens, samples: int, dim: int
) -> tuple[Float[Array, "n p"], Float[Array, "n"]]:
    """Flattened bags: columns (the L coordinates along the signal, one a token; the others as in `gaussian_rows`)."""
    label_key, place_key, signal_key, rest_key = jax.random.split(key, 4)
    labels = sample_labels(label_key, samples, task.positive_rate)
    carries = sample_positions(place_key, samples, task)
    shift = jnp.where(labels > 0, task.strength, 0.0)
    first = shift[:, None] * carries + normal(signal_key, (samples, task.length), jnp.float64)
    rest = gaussian_rows(rest_key, samples, task.length * (dim - 1))
    return jnp.concatenate([first, rest], axis=1), labels
