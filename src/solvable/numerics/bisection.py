"""Bisection under jit, vmap and loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def bisect(
    above: Callable[[Array], Array], low: Float[Array, "..."], high: Float[Array, "..."], halvings: int
) -> Float[Array, "..."]:
    """The middle of what is left of [low, high] after so many halvings: within (high - low) / 2^(halvings + 1).

    `above(x)` says whether the place sought lies above x; elementwise for arrays. Where it is not known (a comparison
    with NaN) the lower half is kept.
    """

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        up = above(middle)
        return jnp.where(up, middle, low), jnp.where(up, high, middle)

    low, high = jax.lax.fori_loop(0, halvings, halve, (low, high))
    return 0.5 * (low + high)
