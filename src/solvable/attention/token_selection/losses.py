"""Strictly decreasing losses of the margin t = y f, in the forms that keep their digits when the margin is large."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from solvable.numerics.validation import choice

Values = Float[Array, "..."]


class DecreasingLoss(eqx.Module):
    """A strictly decreasing loss of the margin t; subclass it to train with your own."""

    @abc.abstractmethod
    def value(self, t: Values) -> Values:
        """loss(t)."""

    @abc.abstractmethod
    def log_slope(self, t: Values) -> Values:
        """log(-loss'(t)), finite wherever t is."""

    @abc.abstractmethod
    def drop(self, t: Values, fall: Values) -> Values:
        """loss(t - fall) - loss(t), to relative accuracy also for tiny `fall`."""


class Logistic(DecreasingLoss):
    """loss(t) = log(1 + exp(-t))."""

    def value(self, t: Values) -> Values:
        """log(1 + exp(-t))."""
        return jax.nn.softplus(-t)

    def log_slope(self, t: Values) -> Values:
        """log sigmoid(-t)."""
        # an absolute error of 1e-16 is all a logarithm needs, so not log1p, which is five times slower
        return -jnp.maximum(t, 0.0) - jnp.log(1.0 + jnp.exp(-jnp.abs(t)))

    def drop(self, t: Values, fall: Values) -> Values:
        """log(1 + sigmoid(-t) (exp(fall) - 1)), for large falls as it is written."""
        small = jnp.log1p(jax.nn.sigmoid(-t) * jnp.expm1(jnp.minimum(fall, 1.0)))
        return jnp.where(fall < 1.0, small, self.value(t - fall) - self.value(t))


class Exponential(DecreasingLoss):
    """loss(t) = exp(-t)."""

    def value(self, t: Values) -> Values:
        """exp(-t)."""
        return jnp.exp(-t)

    def log_slope(self, t: Values) -> Values:
        """-t."""
        return -t

    def drop(self, t: Values, fall: Values) -> Values:
        """exp(-t) (exp(fall) - 1), for large falls as it is written."""
        small = jnp.exp(-t) * jnp.expm1(jnp.minimum(fall, 1.0))
        return jnp.where(fall < 1.0, small, self.value(t - fall) - self.value(t))


class Linear(DecreasingLoss):
    """loss(t) = -t."""

    def value(self, t: Values) -> Values:
        """-t."""
        return -t

    def log_slope(self, t: Values) -> Values:
        """0."""
        return jnp.zeros_like(t)

    def drop(self, t: Values, fall: Values) -> Values:
        """The fall itself."""
        del t
        return fall


LOSSES: dict[str, DecreasingLoss] = {"logistic": Logistic(), "exponential": Exponential(), "linear": Linear()}


def get_loss(loss: str | DecreasingLoss) -> DecreasingLoss:
    """A loss by its name, or the given one.

    Raises: ValueError for an unknown name.
    """
    return loss if isinstance(loss, DecreasingLoss) else LOSSES[choice("loss", loss, tuple(LOSSES))]
