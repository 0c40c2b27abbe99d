"""The four classifiers: two-step attention, attention with a fixed query, and the two linear baselines."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from solvable.attention.sparse_tokens.classifiers import AttentionClassifier, FlatClassifier
from solvable.attention.sparse_tokens.task import Batch
from solvable.attention.sparse_tokens.training import train_fixed_query, train_flat, train_pooled, train_two_step
from solvable.numerics.losses import Loss, get_loss
from solvable.numerics.precision import float64
from solvable.numerics.results import is_traced
from solvable.numerics.validation import number


class TwoStepAttention(eqx.Module):
    """One-query softmax attention trained by two gradient steps on the query, then convex ridge ERM of head and bias.

    From zero, on the first `query_share` of the bags: step one moves (w, b) with rates `head_rate`, `bias_rate`; step
    two moves the query with rate `query_rate` (times the inverse temperature, which is 1). The head is then trained
    afresh on the other bags: mean loss + (ridge/2)||w||^2, bias free. Give exactly one of `sharpness` (the query is
    rescaled to that norm in every run) and `query_rate`; `sharpness` None and `query_rate` None means sharpness 1.
    The protocol of arXiv:2509.25153, Section 4; the step sizes of its figures are not stated, so the defaults are ours.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    loss: Loss
    ridge: Any
    query_share: Any
    sharpness: Any
    query_rate: Any
    head_rate: Any
    bias_rate: Any

    def __init__(
        self,
        loss: str | Loss = "logistic",
        ridge: Any = 1e-2,
        query_share: Any = 0.5,
        sharpness: Any = None,
        query_rate: Any = None,
        head_rate: Any = 1.0,
        bias_rate: Any = 1.0,
    ) -> None:
        if sharpness is not None and query_rate is not None:
            raise ValueError(
                f"sharpness={sharpness!r} and query_rate={query_rate!r} are both given; accepted: exactly one of them"
            )
        sharpness = 1.0 if sharpness is None and query_rate is None else sharpness
        self.loss = get_loss(loss)
        self.ridge = number("ridge", ridge, at_least=0.0)
        self.query_share = number("query_share", query_share, above=0.0, below=1.0)
        self.sharpness = None if sharpness is None else number("sharpness", sharpness, above=0.0)
        self.query_rate = None if query_rate is None else number("query_rate", query_rate, above=0.0)
        self.head_rate = number("head_rate", head_rate, above=0.0)
        self.bias_rate = number("bias_rate", bias_rate, at_least=0.0)

    @float64
    def train(self, batch: Batch, key: jax.Array | None = None) -> AttentionClassifier:
        """Train on a batch; `key` shuffles the bags before they are split (None keeps their order).

        Raises: ValueError when a part of the split is empty or holds one class; SolveError when ERM does not converge.
        """
        return train_two_step(self, batch, key)


class FixedQueryAttention(eqx.Module):
    """Attention whose query has a given `cosine` with the signal and norm `sharpness`; ridge ERM of head and bias.

    The controlled study of what alignment buys. Training it on tokens needs the batch's signal.
    Arguments: cosine in [-1, 1], sharpness >= 0, ridge >= 0.
    Raises: ValueError naming the argument, its value and what is accepted.
    """

    cosine: Any
    sharpness: Any
    loss: Loss
    ridge: Any

    def __init__(
        self, cosine: Any = 0.9, sharpness: Any = 1.0, loss: str | Loss = "logistic", ridge: Any = 1e-2
    ) -> None:
        self.cosine = number("cosine", cosine, at_least=-1.0, at_most=1.0)
        self.sharpness = number("sharpness", sharpness, at_least=0.0)
        self.loss = get_loss(loss)
        self.ridge = number("ridge", ridge, at_least=0.0)

    @float64
    def train(self, batch: Batch, key: jax.Array | None = None) -> AttentionClassifier:
        """Train on a batch that knows its signal; `key` draws the query's direction off the signal (None: seed 0)."""
        return train_fixed_query(self, batch, jax.random.key(0) if key is None else key)


class PooledLinear(eqx.Module):
    """A linear classifier of the mean token, by ridge ERM: attention with a zero query. Arguments: loss, ridge >= 0."""

    loss: Loss
    ridge: Any

    def __init__(self, loss: str | Loss = "logistic", ridge: Any = 1e-2) -> None:
        self.loss = get_loss(loss)
        self.ridge = number("ridge", ridge, at_least=0.0)

    @float64
    def train(self, batch: Batch, key: jax.Array | None = None) -> AttentionClassifier:
        """Train on a batch; nothing is random, `key` is accepted for symmetry."""
        del key
        return train_pooled(self, batch)


class FlatLinear(eqx.Module):
    """A linear classifier of the whole flattened bag, by ridge ERM. Arguments: loss, ridge >= 0."""

    loss: Loss
    ridge: Any

    def __init__(self, loss: str | Loss = "logistic", ridge: Any = 1e-2) -> None:
        self.loss = get_loss(loss)
        self.ridge = number("ridge", ridge, at_least=0.0)

    @float64
    def train(self, batch: Batch, key: jax.Array | None = None) -> FlatClassifier:
        """Train on a batch; nothing is random, `key` is accepted for symmetry."""
        del key
        return train_flat(self, batch)


Algorithm = TwoStepAttention | FixedQueryAttention | PooledLinear | FlatLinear
HeadAlgorithm = FixedQueryAttention | PooledLinear | FlatLinear


def head_only(algorithm: Any, call: str) -> HeadAlgorithm:
    """The algorithm, if its theory needs no query training.

    Raises: ValueError naming what is accepted (and `fixed_query` for a TwoStepAttention); TypeError for another object.
    """
    if isinstance(algorithm, TwoStepAttention):
        raise ValueError(
            f"algorithm=TwoStepAttention is not accepted by {call}; pass fixed_query(task, algorithm, query_ratio), "
            "the FixedQueryAttention that it becomes in the limit"
        )
    return known(algorithm, call)


def known(algorithm: Any, call: str) -> Any:
    """The algorithm, if it is one of this system's.

    Raises: TypeError naming what is accepted.
    """
    if isinstance(algorithm, Algorithm):
        return algorithm
    raise TypeError(
        f"algorithm={type(algorithm).__name__} has no theory in {call}; accepted: TwoStepAttention, "
        "FixedQueryAttention, PooledLinear, FlatLinear"
    )


def concrete_zero(value: Any) -> bool:
    """Whether a value is known now to be zero."""
    return not is_traced(value) and float(np.asarray(value)) == 0.0
