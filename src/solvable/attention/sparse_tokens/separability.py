"""Separability of finite draws, with a certificate either way."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from solvable.attention.sparse_tokens.algorithms import FixedQueryAttention, FlatLinear, HeadAlgorithm, head_only
from solvable.attention.sparse_tokens.capacity import capacity
from solvable.attention.sparse_tokens.features import Quadrature
from solvable.attention.sparse_tokens.samplers import attention_design, flat_design, pooled_design
from solvable.attention.sparse_tokens.task import SparseTokens
from solvable.lab.outcome import AnyArray, Outcome
from solvable.numerics.results import Result
from solvable.numerics.separability import is_separable
from solvable.numerics.validation import integer, number, replicate_numbers


def separable(
    task: SparseTokens,
    algorithm: HeadAlgorithm,
    *,
    ratio: Any,
    dim: int,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> float:
    """The share of draws of ratio * dim bags whose features a hyperplane (with a bias) separates.

    Each draw is decided by `solvable.numerics.is_separable`, on the host. One-class draws count as separable.
    Raises: ValueError for arguments out of range or a TwoStepAttention (pass `fixed_query(...)`).
    """
    return float(np.mean(separable_draws(task, algorithm, ratio=ratio, dim=dim, key=key, replicates=replicates)))


def separable_draws(
    task: SparseTokens,
    algorithm: HeadAlgorithm,
    *,
    ratio: Any,
    dim: int,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> np.ndarray:
    """Whether each replicate's draw is separable, (replicates,) of 0 and 1. Arguments as in `separable`."""
    head_only(algorithm, "separable")
    ratio = float(number("ratio", ratio, above=0.0))
    dim = integer("dim", dim, at_least=3)
    samples = integer("samples (round(ratio * dim))", round(ratio * dim), at_least=1)
    numbers = replicate_numbers(replicates)
    key = jax.random.key(0) if key is None else key
    with jax.enable_x64(True):
        draws = [_draw(task, algorithm, jax.random.fold_in(key, number), samples, dim) for number in numbers]
    return np.array([float(is_separable(np.asarray(x), np.asarray(y)).separable) for x, y in draws])


@eqx.filter_jit
def _draw(task: SparseTokens, algorithm: HeadAlgorithm, key: jax.Array, samples: int, dim: int) -> Any:
    if isinstance(algorithm, FixedQueryAttention):
        cosine, sharpness = jnp.asarray(algorithm.cosine), jnp.asarray(algorithm.sharpness)
        return attention_design(key, task, cosine, sharpness, samples, dim)
    design = flat_design if isinstance(algorithm, FlatLinear) else pooled_design
    return design(key, task, samples, dim)


# A draw of relative_ratio * capacity * dim bags does not feel the fourth digit of the capacity.
LOCATING = Quadrature(points=2**13, scramblings=2)


class SeparabilityOutcome(Outcome):
    """`separable_share`: 1 for a separable draw, 0 for another; the theory's step from 1 to 0 at the capacity."""

    separable_share: Float[AnyArray, "..."]

    observables: ClassVar[tuple[str, ...]] = ("separable_share",)


def predict_separability(
    task: SparseTokens, algorithm: HeadAlgorithm, /, *, relative_ratio: Any
) -> SeparabilityOutcome:
    """1 below the capacity, 0 above, 1/2 at it."""
    step = np.asarray(np.heaviside(1.0 - float(relative_ratio), 0.5))
    return SeparabilityOutcome(np.array(int(Result.SUCCESSFUL)), {}, step)


def simulate_separability(
    task: SparseTokens,
    algorithm: HeadAlgorithm,
    /,
    *,
    relative_ratio: Any,
    dim: int,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> SeparabilityOutcome:
    """Draws of relative_ratio * capacity * dim bags."""
    threshold = float(capacity(task, algorithm, LOCATING))
    ratio = float(number("relative_ratio", relative_ratio, above=0.0)) * threshold
    draws = separable_draws(task, algorithm, ratio=ratio, dim=dim, key=key, replicates=replicates)
    return SeparabilityOutcome(np.full(draws.shape, int(Result.SUCCESSFUL)), {}, draws)
