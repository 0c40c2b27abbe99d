"""The five inner products that determine everything: of k and v with the two hidden directions, and with each other."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from solvable.attention.single_location.task import Directions
from solvable.numerics.fields import Checked, converted
from solvable.numerics.results import is_traced

FEASIBLE = 1e-9


def _floating(value: Any) -> Any:
    """Whole numbers and lists as float64, so that they can be differentiated; everything else as it is."""
    return np.asarray(value, np.float64)[()] if isinstance(value, bool | int | float | list | tuple) else value


class Overlaps(Checked):
    """kappa = k.k*, nu = v.v*, theta = v.k*, eta = k.v*, rho = k.v, of the unit query k and the value v.

    On the manifold theta = eta = rho = 0 the query reads the location alone and the value the label alone.
    `value_norm` is |v|: 1 in projected descent, free for a closed-form value. Numbers or arrays of one shape.
    """

    query_alignment: Any = converted(_floating)
    value_alignment: Any = converted(_floating)
    value_leak: Any = converted(_floating)
    query_leak: Any = converted(_floating)
    coupling: Any = converted(_floating)
    value_norm: Any = converted(_floating, 1.0)

    @classmethod
    def of(cls, query: Any, value: Any, directions: Directions) -> Overlaps:
        """The overlaps of k (..., d), divided by its length, and v (..., d)."""
        query = jnp.asarray(query)
        value = jnp.asarray(value)
        query = query / jnp.linalg.norm(query, axis=-1, keepdims=True)
        location, label = jnp.asarray(directions.query), jnp.asarray(directions.value)
        coupling = jnp.sum(query * value, axis=-1)
        norm = jnp.linalg.norm(value, axis=-1)
        return cls(query @ location, value @ label, value @ location, query @ label, coupling, norm)

    @property
    def five(self) -> tuple[Any, Any, Any, Any, Any]:
        """kappa, nu, theta, eta, rho."""
        return self.query_alignment, self.value_alignment, self.value_leak, self.query_leak, self.coupling

    @property
    def distance(self) -> Any:
        """sqrt(theta^2 + eta^2 + rho^2), the distance from the manifold."""
        return (self.value_leak**2 + self.query_leak**2 + self.coupling**2) ** 0.5

    def check(self) -> None:
        """Raises: ValueError unless some unit k and some v of length `value_norm` have these overlaps."""
        if is_traced(self):
            return
        kappa, nu, theta, eta, rho = (np.asarray(value, np.float64) for value in self.five)
        norm = np.asarray(self.value_norm, np.float64)
        ok = np.isfinite(kappa + nu + theta + eta + rho + norm)
        # the Gram matrix of (k*, v*, k, v) has no negative eigenvalue: its Schur complement over k*, v* has none
        left, right = 1.0 - kappa**2 - eta**2, norm**2 - theta**2 - nu**2
        cross = rho - kappa * theta - eta * nu
        allowed = FEASIBLE * np.maximum(1.0, norm**2)
        ok &= (left >= -allowed) & (right >= -allowed)
        ok &= cross**2 <= np.maximum(left, 0.0) * np.maximum(right, 0.0) + allowed
        if not np.all(ok):
            raise ValueError(
                f"overlaps={self!r} belong to no pair of vectors; accepted: inner products of a unit query and a value "
                "of length value_norm with two orthonormal directions and with each other"
            )
