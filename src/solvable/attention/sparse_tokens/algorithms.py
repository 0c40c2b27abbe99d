"""The four classifiers: two-step attention, attention with a fixed query, and the two linear baselines."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from solvable.attention.sparse_tokens.features import (
    AttentionFeatures,
    Classifier,
    FlatFeatures,
    MeanFeatures,
    require_both_classes,
)
from solvable.attention.sparse_tokens.nodes import AttentionLaw, sine
from solvable.attention.sparse_tokens.two_steps import Query, limit_query, padded, sampled_query, two_steps
from solvable.numerics.fields import real
from solvable.numerics.losses import Loss
from solvable.numerics.precision import as_float64
from solvable.numerics.results import Result


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
        query, norm, code = two_steps(self, stream, length, dim)
        cosine = jnp.nan if signal is None else jnp.dot(query, signal) / jnp.where(norm > 0, norm, 1.0)
        return query, Query(as_float64(cosine), norm, code)

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
        code = jnp.where(moves, int(Result.SUCCESSFUL), int(Result.ZERO_QUERY))
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
        cosine, sharpness = as_float64(self.cosine), as_float64(self.sharpness)
        query = cosine * signal + sine(cosine) * across / jnp.linalg.norm(across)
        return sharpness * query, Query(cosine, sharpness, jnp.array(int(Result.SUCCESSFUL)))

    def sampled_query(self, key, task, samples, dim):
        cosine, sharpness = as_float64(self.cosine), as_float64(self.sharpness)
        return Query(cosine, sharpness, jnp.array(int(Result.SUCCESSFUL)))

    def law(self, task):
        return AttentionLaw(task, as_float64(self.cosine), as_float64(self.sharpness))


class PooledLinear(MeanFeatures):
    """A linear classifier of the mean token, by ridge ERM: attention with a zero query. Arguments: loss, ridge >= 0."""


class FlatLinear(FlatFeatures):
    """A linear classifier of the whole flattened bag, by ridge ERM. Arguments: loss, ridge >= 0."""


ALGORITHMS = (TwoStepAttention, FixedQueryAttention, PooledLinear, FlatLinear, Classifier)
"""What is accepted as an algorithm; the last are those that a user defines."""
