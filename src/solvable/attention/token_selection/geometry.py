"""Norms and directions: how far trained weights point from a reference."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from solvable.numerics.precision import as_float64, float64
from solvable.numerics.results import is_traced
from solvable.numerics.validation import floating, number
from solvable.optim.mirror_map import mirror_map, power


def power_norm(array: Float[Array, "..."], p: float, axes: tuple[int, ...] | None = None) -> Float[Array, "..."]:
    """(sum |a|^p)^(1/p) over `axes` (all when None), without overflow or underflow on the way."""
    size = jnp.abs(array)
    largest = jnp.max(size, axis=axes, keepdims=True)
    scale = jnp.where(largest > 0.0, largest, 1.0)
    total = jnp.sum(power(size / scale, p), axis=axes, keepdims=True)
    return jnp.squeeze(scale * total ** (1.0 / p), axis=axes)


@float64
def directional_divergence(reference: Any, weights: Any, p: float) -> Float[Array, "..."]:
    """1 - <grad psi(B), A> of the unit-norm A = reference/|.|_p, B = weights/|.|_p; grad psi(B) = sign(B)|B|^(p-1).

    The Bregman divergence of psi = |.|_p^p / p between the two directions (arXiv:2410.14581): in [0, 2], 0 exactly for
    one direction, 1 - cosine at p = 2, and 1 for zero weights. `weights` may have leading axes that `reference` lacks.

    Raises: ValueError for p <= 1 or infinite, shapes that do not fit, or a reference of zeros (NaN where traced).
    """
    p = float(number("p", p, above=1.0))
    a, b = (as_float64(floating(*one)) for one in (("reference", reference), ("weights", weights)))
    if not is_traced(a) and not jnp.any(a != 0.0):
        raise ValueError("reference is all zeros, which has no direction; accepted: an array with an entry but 0")
    if b.shape[b.ndim - a.ndim :] != a.shape or a.ndim == 0:
        raise ValueError(f"weights has shape {b.shape}; accepted: {a.shape}, that of the reference, or (..., *that)")
    return divergence_of(a.reshape((1,) * (b.ndim - a.ndim) + a.shape), b, p, tuple(range(b.ndim - a.ndim, b.ndim)))


@eqx.filter_jit
def divergence_of(a: Any, b: Any, p: float, axes: tuple[int, ...]) -> Float[Array, "..."]:
    """The directional divergence over some axes; 1 for a zero b."""
    a = a / jnp.expand_dims(power_norm(a, p, axes), axes)
    size = jnp.expand_dims(power_norm(b, p, axes), axes)
    b = b / jnp.where(size > 0.0, size, 1.0)
    if p == 2.0:  # the same number, without the cancellation
        found = 0.5 * jnp.sum((a - b) ** 2, axis=axes)
    else:
        found = jnp.maximum(1.0 - jnp.sum(mirror_map(b, p) * a, axis=axes), 0.0)
    return jnp.where(jnp.squeeze(size, axes) > 0.0, found, 1.0)


@float64
def correlation(reference: Any, weights: Any) -> Float[Array, "..."]:
    """<A, B>/(|A|_F |B|_F), the measure of arXiv:2308.16898, 0 for zero weights, which may have leading axes.

    Raises: as `directional_divergence`.
    """
    return 1.0 - directional_divergence(reference, weights, 2.0)
