"""Where training starts: on the two spheres, or on the manifold; as vectors, or as their overlaps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from solvable.attention.single_location.overlaps import Overlaps
from solvable.attention.single_location.task import Directions


def start_vectors(key: jax.Array, dim: int, init: str, directions: Directions | None) -> tuple[Any, Any]:
    """k and v (d,): uniform on the sphere, or uniform with eta = 0 and theta = rho = 0."""
    query, value = jax.random.normal(key, (2, dim), jnp.float64)
    if init == "manifold":
        assert directions is not None
        location, label = jnp.asarray(directions.query), jnp.asarray(directions.value)
        query = query - (query @ label) * label
        query = query / jnp.linalg.norm(query)
        for _ in range(2):  # the second turn removes the rounding of the first
            value = value - (value @ location) * location
            rest = query - (query @ location) * location
            value = value - (value @ rest) * rest / (rest @ rest)
    return query / jnp.linalg.norm(query), value / jnp.linalg.norm(value)


def start_overlaps(key: jax.Array, dim: int, init: str) -> Overlaps:
    """The overlaps of such a pair; the hidden directions may be the first two axes."""
    axes = jnp.eye(2, dim, dtype=jnp.float64)
    directions = Directions(axes[0], axes[1])
    return Overlaps.of(*start_vectors(key, dim, init, directions), directions)
