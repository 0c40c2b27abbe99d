"""Where the query points after the two gradient steps: its alignment with the signal when samples and dim are large."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.algorithms import FixedQueryAttention, TwoStepAttention
from solvable.attention.sparse_tokens.results import SparseTokenResult
from solvable.attention.sparse_tokens.samplers import Query, padded, two_step_query
from solvable.attention.sparse_tokens.task import SparseTokens
from solvable.lab.outcome import AnyArray, Outcome
from solvable.numerics.precision import as_float64, batched_map, float64
from solvable.numerics.results import Result, is_traced
from solvable.numerics.validation import integer, number, replicate_numbers


class Alignment(eqx.Module):
    """`cosine` of the query with the signal (signed) and `sharpness`, its norm."""

    cosine: Float[Array, ""]
    sharpness: Float[Array, ""]

    def __repr__(self) -> str:
        """The two numbers."""
        return f"Alignment(cosine={self.cosine}, sharpness={self.sharpness})"


@float64
def alignment(task: SparseTokens, algorithm: TwoStepAttention, query_ratio: Any) -> Alignment:
    """The limit of the query's cosine and norm after two steps on query_ratio * dim bags.

    With L = length, R = sparsity, rho = R (1 - R/L), c = |dloss/du| at 0, eta_w = head_rate, eta_b = bias_rate,
    k = query_rate/L, a = query_ratio:
        m = eta_w c strength (R/L) positive_rate,   W2 = m^2 + (eta_w c)^2/(L a),   b1 = eta_b c (2 positive_rate - 1),
        u | y ~ N(strength (R/L) m 1[y=1] + b1 + eta_w c y/(L a), W2/L),   h = dloss/du,
        <q, xi> = -k m [strength^2 rho E(h 1[y=1]) + (L-1) E h],
        |q|^2 = k^2 {m^2 strength^4 rho^2 E(h 1[y=1])^2 + 2 strength^2 rho m^2 (L-1) E(h 1[y=1]) E h
                     + (L-1)^2 (E h)^2 W2 + [(L-1) E(h^2) W2 + strength^2 rho m^2 E(h^2 1[y=1])]/a}.
    The third term of u is there because both steps use the same bags. Theorem 3 of arXiv:2509.25153 is the statement;
    this form is derived here. With `sharpness` set the norm is that sharpness. Warns (UserWarning) when the cosine is
    not positive: attention then does worse than pooling.

    Raises: ValueError for query_ratio <= 0; or a loss without gradient (the query stays at zero).
    """
    query_ratio = number("query_ratio", query_ratio, above=0.0)
    overlap, square = two_step_moments(task, algorithm, 1.0 / as_float64(query_ratio))
    if not is_traced(overlap, square):
        if float(square) <= 0.0:
            raise ValueError(f"algorithm leaves the query at zero: {SparseTokenResult.ZERO_QUERY.message}")
        if float(overlap) <= 0.0:
            warnings.warn(
                f"the query's cosine with the signal is {float(overlap / np.sqrt(square)):.3f}, not positive: rare "
                "positives or a bias_rate that leaves the classes unbalanced turn it away, and attention then does "
                "worse than pooling",
                UserWarning,
                stacklevel=3,
            )
    return limit_query(algorithm, overlap, square)


def limit_query(algorithm: TwoStepAttention, overlap: Float[Array, ""], square: Float[Array, ""]) -> Alignment:
    """The alignment from <q, xi> and |q|^2 at query_rate 1."""
    norm = jnp.sqrt(square)
    cosine = jnp.clip(overlap / norm, -1.0, 1.0)
    sharpness = as_float64(algorithm.sharpness) if algorithm.query_rate is None else algorithm.query_rate * norm
    return Alignment(cosine, sharpness)


@jax.jit
def two_step_moments(
    task: SparseTokens, algorithm: TwoStepAttention, inverse_ratio: Float[Array, ""]
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


@float64
def alignment_constant(task: SparseTokens, algorithm: TwoStepAttention) -> Float[Array, ""]:
    """C of |cosine| = 1 - C/query_ratio + o(1/query_ratio) as the query sees more bags.

    With the averages of `alignment` at query_ratio = infinity,
        C = {[(L-1) E h]^2 (eta_w c)^2/L + m^2 [(L-1) E h^2 + strength^2 rho E(h^2 1[y=1])]}
            / {2 m^2 [strength^2 rho E(h 1[y=1]) + (L-1) E h]^2},
    taken here as the derivative of log(|q|^2/<q, xi>^2)/2 by 1/query_ratio at 0, which is the same number.
    The form 1 - C/query_ratio is Corollary 1 of arXiv:2509.25153; C is derived here.
    """

    def log_inverse_cosine(inverse_ratio: Float[Array, ""]) -> Float[Array, ""]:
        overlap, square = two_step_moments(task, algorithm, inverse_ratio)
        return 0.5 * jnp.log(square / (overlap * overlap))

    return jax.jvp(log_inverse_cosine, (jnp.zeros(()),), (jnp.ones(()),))[1]


@float64
def fixed_query(task: SparseTokens, algorithm: TwoStepAttention, query_ratio: Any) -> FixedQueryAttention:
    """The `FixedQueryAttention` that two-step training on query_ratio * dim bags becomes in the limit."""
    limit = alignment(task, algorithm, query_ratio)
    return FixedQueryAttention(limit.cosine, limit.sharpness, algorithm.loss, algorithm.ridge)


class AlignmentOutcome(Outcome):
    """`cosine`, `sharpness` and `scaled_misalignment`: query_ratio (1 - |cosine|), with limit `alignment_constant`."""

    cosine: Float[AnyArray, "..."]
    sharpness: Float[AnyArray, "..."]
    scaled_misalignment: Float[AnyArray, "..."]

    observables: ClassVar[tuple[str, ...]] = ("cosine", "sharpness", "scaled_misalignment")


@float64
def predict_alignment(task: SparseTokens, algorithm: TwoStepAttention, /, *, query_ratio: Any) -> AlignmentOutcome:
    """`alignment` as an outcome."""
    limit = alignment(task, algorithm, query_ratio)
    misalignment = query_ratio * (1.0 - jnp.abs(limit.cosine))
    code = jnp.array(int(Result.SUCCESSFUL))
    return AlignmentOutcome(code, {}, limit.cosine, limit.sharpness, misalignment)


@float64
def simulate_alignment(
    task: SparseTokens,
    algorithm: TwoStepAttention,
    /,
    *,
    query_ratio: Any,
    dim: int,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> AlignmentOutcome:
    """The two steps alone, on query_ratio * dim bags, from their exact law."""
    numbers = replicate_numbers(replicates)
    samples = integer("samples (round(query_ratio * dim))", round(float(query_ratio) * dim), at_least=1)
    key = jax.random.key(0) if key is None else key
    dim = integer("dim", dim, at_least=3)
    query = _queries(key, jnp.asarray(numbers), task, algorithm, jnp.asarray(samples), padded(samples), dim)
    valid = query.result == int(Result.SUCCESSFUL)
    cosine, sharpness = (jnp.where(valid, x, jnp.nan) for x in (query.cosine, query.sharpness))
    return AlignmentOutcome(query.result, {}, cosine, sharpness, query_ratio * (1.0 - jnp.abs(cosine)))


@eqx.filter_jit
def _queries(key: jax.Array, numbers: Any, task: Any, algorithm: Any, samples: Any, rows: int, dim: int) -> Query:
    return batched_map(
        lambda n: two_step_query(jax.random.fold_in(key, n), task, algorithm, samples, rows, dim), numbers
    )
