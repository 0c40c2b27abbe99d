"""A loss that a user might write: the Moreau envelope of the hinge, quadratic over a width below the margin 1."""

import jax.numpy as jnp

from solvable.numerics.losses import Loss


class SmoothHinge(Loss):
    """0 above 1, (1 - t)^2 / (2 width) down to 1 - width, and 1 - t - width/2 below."""

    width: float = 0.5

    def value(self, t):
        inside = jnp.clip(1.0 - t, 0.0, self.width)
        return 0.5 * inside * inside / self.width + jnp.maximum(1.0 - self.width - t, 0.0)

    def slope(self, t):
        return -jnp.clip((1.0 - t) / self.width, 0.0, 1.0)

    def curvature(self, t):
        return jnp.where((t < 1.0) & (t > 1.0 - self.width), 1.0 / self.width, 0.0).astype(t.dtype)

    def prox(self, z, variance):
        middle = (z * self.width + variance) / (self.width + variance)
        return jnp.maximum(z, jnp.minimum(z + variance, middle))
