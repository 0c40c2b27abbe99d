"""The two gradient steps on the query: on tokens, by their exact law at any dim, and where they lead in the limit."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.sparse_tokens.streams import Stream
from solvable.attention.sparse_tokens.task import SparseTokens, sample_labels
from solvable.numerics.precision import as_float64
from solvable.numerics.results import Result, is_traced


class Query(NamedTuple):
    """A realised query: its cosine with the signal, its norm, and a `Result` code of its training."""

    cosine: Float[Array, ""]
    sharpness: Float[Array, ""]
    result: Int[Array, ""]


def class_code(positives: Any, samples: Any) -> Int[Array, ""]:
    """SUCCESSFUL when the bags hold both classes, else ONE_CLASS."""
    return jnp.where((positives > 0) & (positives < samples), int(Result.SUCCESSFUL), int(Result.ONE_CLASS))


def query_code(positives: Any, samples: Any, norm: Float[Array, ""]) -> Int[Array, ""]:
    """The code of a query that these bags moved by `norm`."""
    code = class_code(positives, samples)
    return jnp.where((code == int(Result.SUCCESSFUL)) & ~(norm > 0), int(Result.ZERO_QUERY), code)


def two_steps(
    algorithm: Any, stream: Stream, length: int, dim: int
) -> tuple[Float[Array, "d"], Float[Array, ""], Int[Array, ""]]:
    """(query, its norm, code) after the two gradient steps of the protocol, from a stream of n bags that is read twice.

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
    norm = jnp.linalg.norm(query)
    if algorithm.sharpness is None:
        return query, norm, query_code(positives, stream.samples, norm)
    scaled = query * (algorithm.sharpness / jnp.where(norm > 0, norm, 1.0))
    return scaled, jnp.linalg.norm(scaled), query_code(positives, stream.samples, norm)


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
def two_step_moments(
    task: SparseTokens, algorithm: Any, inverse_ratio: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
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


def limit_query(task: SparseTokens, algorithm: Any, query_ratio: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(cosine, norm) of the query after two steps on query_ratio * dim bags; NaN where the query stays at zero.

    Warns (UserWarning) when the cosine is known not to be positive.
    """
    overlap, square = two_step_moments(task, algorithm, 1.0 / as_float64(query_ratio))
    moves = jnp.where(square > 0.0, 1.0, jnp.nan)
    norm = jnp.sqrt(square) * moves
    cosine = jnp.clip(overlap / norm, -1.0, 1.0)
    if not is_traced(cosine) and float(cosine) <= 0.0:
        warnings.warn(
            f"the query's cosine with the signal is {float(cosine):.3f}, not positive: rare positives or a bias_rate "
            "that leaves the classes unbalanced turn it away, and attention then does worse than pooling",
            UserWarning,
            stacklevel=4,
        )
    sharpness = as_float64(algorithm.sharpness) * moves if algorithm.query_rate is None else algorithm.query_rate * norm
    return cosine, sharpness
