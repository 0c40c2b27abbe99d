"""Bags whose noise is not Gaussian or not white: is the theory of Gaussian bags right for them too?"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.task import Batch, SparseTokens, draw
from solvable.numerics.fields import real
from solvable.numerics.precision import float64
from solvable.numerics.random import normal


class RademacherTokens(SparseTokens):
    """`SparseTokens` whose noise entries are independent signs."""

    @float64
    def sample(self, key: jax.Array, samples: int, dim: int, signal: Any = None) -> Batch:
        """As `SparseTokens.sample`."""
        return draw(self, key, samples, dim, signal, jax.random.rademacher)


class HeavyTailedTokens(SparseTokens):
    """`SparseTokens` whose noise entries are Student's t with `degrees` > 2, scaled to variance 1.

    Moments of the order `degrees` and above do not exist.
    """

    degrees: Any = real(5.0, above=2.0)

    @float64
    def sample(self, key: jax.Array, samples: int, dim: int, signal: Any = None) -> Batch:
        """As `SparseTokens.sample`."""
        return draw(self, key, samples, dim, signal, self._noise)

    def _noise(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
        return jax.random.t(key, self.degrees, shape, dtype) * jnp.sqrt(1.0 - 2.0 / self.degrees)


class ColouredTokens(SparseTokens):
    """`SparseTokens` whose noise entries have the covariance correlation^|i - j| between the coordinates i and j.

    The signal falls in a uniform direction, whatever the noise there.
    """

    correlation: Any = real(0.5, above=-1.0, below=1.0)

    @float64
    def sample(self, key: jax.Array, samples: int, dim: int, signal: Any = None) -> Batch:
        """As `SparseTokens.sample`."""
        return draw(self, key, samples, dim, signal, self._noise)

    def _noise(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
        white = normal(key, shape, dtype)
        first, rest = white[..., :1], jnp.sqrt(1.0 - self.correlation**2) * white[..., 1:]
        steps = jnp.arange(shape[-1])
        factor = jnp.where(steps[:, None] >= steps, self.correlation ** jnp.abs(steps[:, None] - steps), 0.0)
        return jnp.concatenate([first, rest], axis=-1) @ factor.T
