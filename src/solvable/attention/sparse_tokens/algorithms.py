"""The four classifiers: two-step attention, attention with a fixed query, the two linear baselines; and alignment."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.sparse_tokens.features import (
    AttentionFeatures,
    Classifier,
    FlatFeatures,
    MeanFeatures,
    require_both_classes,
)
from solvable.attention.sparse_tokens.nodes import AttentionLaw, sine
from solvable.attention.sparse_tokens.results import SparseTokenResult
from solvable.attention.sparse_tokens.task import Scalar, SparseTokens
from solvable.attention.sparse_tokens.two_steps import (
    Query,
    limit_query,
    padded,
    sampled_query,
    two_step_moments,
    two_steps,
)
from solvable.lab.declare import Checked, real, replicate_keys
from solvable.numerics.losses import Loss
from solvable.numerics.precision import as_float64, batched_map, float64
from solvable.numerics.results import Result, is_traced
from solvable.numerics.validation import instance, integer, number


class TwoStepAttention(AttentionFeatures):
    """One-query softmax attention trained by two gradient steps on the query, then convex ridge ERM of head and bias.

    From zero, on the first `query_share` of the bags: step one moves (w, b) with rates `head_rate`, `bias_rate`; step
    two moves the query with rate `query_rate` (times the inverse temperature, which is 1). The head is then trained
    afresh on the other bags: mean loss + (ridge/2)||w||^2, bias free. Give exactly one of `sharpness` (the query is
    rescaled to that norm in every run) and `query_rate`; `sharpness` None and `query_rate` None means sharpness 1.
    The protocol of arXiv:2509.25153, Section 4; the step sizes of its figures are not stated, so the defaults are ours.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    query_share: Any = real(0.5, above=0.0, below=1.0)
    sharpness: Any = real(None, above=0.0)
    query_rate: Any = real(None, above=0.0)
    head_rate: Any = real(1.0, above=0.0)
    bias_rate: Any = real(1.0, at_least=0.0)

    trains_query: ClassVar[bool] = True

    def __before_check__(self) -> Mapping[str, Any]:
        return {"sharpness": 1.0} if self.sharpness is None and self.query_rate is None else {}

    def __check_init__(self) -> None:
        if self.sharpness is not None and self.query_rate is not None:
            raise ValueError(
                f"sharpness={self.sharpness} and query_rate={self.query_rate} are both given; accepted: exactly one of "
                "them"
            )

    def check_bags(self, tokens, labels, count):
        """Warns when the tokens are far from mean 0 and deviation 1, for which rates and sharpness are meant."""
        mean, deviation = float(jnp.mean(tokens)), float(jnp.std(tokens))
        if abs(mean) > max(deviation, 0.5) or not 0.1 < deviation < 10.0:
            warnings.warn(
                f"the tokens' entries have mean {mean:.3g} and deviation {deviation:.3g}; the two steps and the "
                "sharpness are meant for tokens of mean 0 and deviation 1: standardise or whiten them",
                UserWarning,
                stacklevel=4,
            )
        for name, part in (("query", labels[:count]), ("head", labels[count:])):
            what = f"the {name} part of the bags ({part.shape[0]} of {labels.shape[0]}, query_share)"
            require_both_classes(part, what)

    def split(self, samples):
        count = round(float(self.query_share) * samples)
        return count, samples - count

    def query(self, key, stream, signal, length, dim):
        assert stream is not None
        return two_steps(self, stream, signal, length, dim)

    def sampled_query(self, key, task, samples, dim):
        return sampled_query(key, task, self, samples, padded(samples), dim)

    def law(self, task):
        raise ValueError(
            "algorithm=TwoStepAttention has no features before its query is trained; accepted: "
            "fixed_query(task, algorithm, query_ratio), the FixedQueryAttention that it becomes in the limit"
        )

    def limit(self, task, ratio):
        cosine, sharpness = limit_query(task, self, ratio * self.query_share)
        moves = jnp.isfinite(cosine)
        law = AttentionLaw(task, jnp.where(moves, cosine, 0.0), jnp.where(moves, sharpness, 0.0))
        code = jnp.where(moves, int(Result.SUCCESSFUL), int(SparseTokenResult.ZERO_QUERY))
        return law, code

    @property
    def head_share(self):
        return 1.0 - self.query_share


class FixedQueryAttention(AttentionFeatures):
    """Attention whose query has a given `cosine` with the signal and norm `sharpness`; ridge ERM of head and bias.

    The controlled study of what alignment buys. Training it on tokens needs the batch's signal.
    Arguments: cosine in [-1, 1], sharpness >= 0, ridge >= 0.
    Raises: ValueError naming the argument, its value and what is accepted.
    """

    cosine: Any = real(0.9, at_least=-1.0, at_most=1.0)
    sharpness: Any = real(1.0, at_least=0.0)

    def __init__(
        self, cosine: Any = 0.9, sharpness: Any = 1.0, loss: str | Loss = "logistic", ridge: Any = 1e-2
    ) -> None:  # only for the order of the arguments: what it is made of comes first
        self.cosine, self.sharpness, self.loss, self.ridge = cosine, sharpness, loss, ridge

    def query(self, key, stream, signal, length, dim):
        if signal is None:
            raise ValueError(
                "problem has signal=None; accepted: a batch that knows its signal, for the query is set against it"
            )
        draw = jax.random.normal(jax.random.key(0) if key is None else key, signal.shape, jnp.float64)
        across = draw - jnp.dot(draw, signal) * signal
        query = self._given()
        unit = query.cosine * signal + sine(query.cosine) * across / jnp.linalg.norm(across)
        return query.sharpness * unit, query

    def sampled_query(self, key, task, samples, dim):
        return self._given()

    def _given(self):
        return Query(as_float64(self.cosine), as_float64(self.sharpness), jnp.array(int(Result.SUCCESSFUL)))

    def law(self, task):
        return AttentionLaw(task, as_float64(self.cosine), as_float64(self.sharpness))


class PooledLinear(MeanFeatures):
    """A linear classifier of the mean token, by ridge ERM: attention with a zero query. Arguments: loss, ridge >= 0."""


class FlatLinear(FlatFeatures):
    """A linear classifier of the whole flattened bag, by ridge ERM. Arguments: loss, ridge >= 0."""


ALGORITHMS = (TwoStepAttention, FixedQueryAttention, PooledLinear, FlatLinear, Classifier)
"""What is accepted as an algorithm; the last are those that a user defines."""


class Alignment(Checked):
    """`cosine` of the query with the signal (signed) and `sharpness`, its norm."""

    cosine: Any
    sharpness: Any


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

    Raises: ValueError for query_ratio < 1e-100; or a loss without gradient (the query stays at zero; NaN where traced).
    """
    _accept(task, algorithm)
    cosine, sharpness = limit_query(task, algorithm, number("query_ratio", query_ratio, at_least=1e-100))
    return Alignment(_moved(cosine), sharpness)


@float64
def alignment_constant(task: SparseTokens, algorithm: TwoStepAttention) -> Scalar:
    """C of |cosine| = 1 - C/query_ratio + o(1/query_ratio) as the query sees more bags.

    With the averages of `alignment` at query_ratio = infinity,
        C = {[(L-1) E h]^2 (eta_w c)^2/L + m^2 [(L-1) E h^2 + strength^2 rho E(h^2 1[y=1])]}
            / {2 m^2 [strength^2 rho E(h 1[y=1]) + (L-1) E h]^2},
    taken here as the derivative of log(|q|^2/<q, xi>^2)/2 by 1/query_ratio at 0, which is the same number.
    The form 1 - C/query_ratio is Corollary 1 of arXiv:2509.25153; C is derived here.

    Raises: ValueError for a loss without gradient (the query stays at zero; NaN where traced).
    """
    _accept(task, algorithm)

    def log_inverse_cosine(inverse_ratio: Scalar) -> Scalar:
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
    task: SparseTokens, algorithm: TwoStepAttention, query_ratio: Any, dim: int, key: Any, replicates: Any
) -> Query:
    """The two steps alone, on query_ratio * dim bags, from their exact law, (R,)."""
    keys, dim = replicate_keys(key, replicates), integer("dim", dim, at_least=3)
    samples = integer(
        "samples (round(query_ratio * dim))",
        round(min(float(query_ratio) * dim, 2.0**31)),
        at_least=1,
        at_most=2**31 - 1,
    )
    return _queries(task, algorithm, keys, jnp.asarray(samples), padded(samples), dim)


@eqx.filter_jit
def _queries(task: Any, algorithm: Any, keys: jax.Array, samples: Any, rows: int, dim: int) -> Query:
    return batched_map(lambda key: sampled_query(key, task, algorithm, samples, rows, dim), keys)


def _accept(task: Any, algorithm: Any) -> None:
    instance("task", task, (SparseTokens,))
    instance("algorithm", algorithm, (TwoStepAttention,))


def _moved(value: Scalar) -> Scalar:
    if not is_traced(value) and np.isnan(value):
        why = SparseTokenResult.ZERO_QUERY.message
        raise ValueError(f"algorithm leaves the query at zero: {why}; accepted: a loss with a gradient")
    return value
