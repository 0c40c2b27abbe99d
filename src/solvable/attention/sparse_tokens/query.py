"""Where the query points after the two gradient steps: its alignment with the signal when samples and dim are large."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.algorithms import FixedQueryAttention, TwoStepAttention
from solvable.attention.sparse_tokens.task import SparseTokens
from solvable.attention.sparse_tokens.two_steps import Query, limit_query, padded, sampled_query, two_step_moments
from solvable.numerics.fields import Checked
from solvable.numerics.precision import batched_map, float64
from solvable.numerics.random import replicate_keys
from solvable.numerics.results import Result, is_traced
from solvable.numerics.validation import instance, integer, number


class Alignment(Checked):
    """`cosine` of the query with the signal (signed) and `sharpness`, its norm."""

    cosine: Float[Array | np.ndarray, ""]
    sharpness: Float[Array | np.ndarray, ""]


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

    Raises: ValueError for query_ratio <= 0; or a loss without gradient (the query stays at zero; NaN where traced).
    """
    _accept(task, algorithm)
    cosine, sharpness = limit_query(task, algorithm, number("query_ratio", query_ratio, above=0.0))
    return Alignment(_moved(cosine), sharpness)


@float64
def alignment_constant(task: SparseTokens, algorithm: TwoStepAttention) -> Float[Array, ""]:
    """C of |cosine| = 1 - C/query_ratio + o(1/query_ratio) as the query sees more bags.

    With the averages of `alignment` at query_ratio = infinity,
        C = {[(L-1) E h]^2 (eta_w c)^2/L + m^2 [(L-1) E h^2 + strength^2 rho E(h^2 1[y=1])]}
            / {2 m^2 [strength^2 rho E(h 1[y=1]) + (L-1) E h]^2},
    taken here as the derivative of log(|q|^2/<q, xi>^2)/2 by 1/query_ratio at 0, which is the same number.
    The form 1 - C/query_ratio is Corollary 1 of arXiv:2509.25153; C is derived here.

    Raises: ValueError for a loss without gradient (the query stays at zero; NaN where traced).
    """
    _accept(task, algorithm)

    def log_inverse_cosine(inverse_ratio: Float[Array, ""]) -> Float[Array, ""]:
        overlap, square = two_step_moments(task, algorithm, inverse_ratio)
        return 0.5 * jnp.log(square / (overlap * overlap))

    return _moved(jax.jvp(log_inverse_cosine, (jnp.zeros(()),), (jnp.ones(()),))[1])


@float64
def fixed_query(task: SparseTokens, algorithm: TwoStepAttention, query_ratio: Any) -> FixedQueryAttention:
    """The `FixedQueryAttention` that two-step training on query_ratio * dim bags becomes in the limit."""
    limit = alignment(task, algorithm, query_ratio)
    return FixedQueryAttention(limit.cosine, limit.sharpness, algorithm.loss, algorithm.ridge)


@float64
def sampled_queries(
    task: SparseTokens,
    algorithm: TwoStepAttention,
    *,
    query_ratio: Any,
    dim: int,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> Query:
    """The two steps alone, on query_ratio * dim bags, from their exact law, (R,)."""
    keys, dim = replicate_keys(key, replicates), integer("dim", dim, at_least=3)
    samples = integer("samples (round(query_ratio * dim))", round(float(query_ratio) * dim), at_least=1)
    return _queries(task, algorithm, keys, jnp.asarray(samples), padded(samples), dim)


@eqx.filter_jit
def _queries(task: Any, algorithm: Any, keys: jax.Array, samples: Any, rows: int, dim: int) -> Query:
    return batched_map(lambda key: sampled_query(key, task, algorithm, samples, rows, dim), keys)


def _accept(task: Any, algorithm: Any) -> None:
    instance("task", task, (SparseTokens,))
    instance("algorithm", algorithm, (TwoStepAttention,))


def _moved(value: Float[Array, ""]) -> Float[Array, ""]:
    if not is_traced(value) and np.isnan(value):
        raise ValueError(
            f"algorithm leaves the query at zero: {Result.ZERO_QUERY.message}; accepted: a loss with a gradient"
        )
    return value
