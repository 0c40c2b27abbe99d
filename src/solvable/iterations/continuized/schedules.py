"""The sequences of steps: one form for all methods, whose five coefficients may depend on the times of the events.

State (x, z). With y = x + mix (z - x) and G a gradient at x + look (z - x):

    x <- y - step G        z <- z + back (y - z) - kick G

In the continuized methods T_k are the events of a Poisson process of rate 1 and mix, back discretise, exactly,
dx = eta (z - x) dt, dz = eta' (x - z) dt between them (derived).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp


class Coefficients(NamedTuple):
    """mix, look, back, step, kick of a step, or of many (K,)."""

    mix: Any
    look: Any
    back: Any
    step: Any
    kick: Any


class Schedule(eqx.Module):
    """Coefficients of event number `number` (0, 1, ...) at the time `now`, the one before having come at `before`."""

    def coefficients(self, number: Any, before: Any, now: Any) -> Coefficients:
        """The five, of the shape of the arguments."""
        raise NotImplementedError

    def in_units(self, unit: Any) -> Schedule:
        """The same steps of gradients divided by `unit`."""
        names = {"step", "kick", "slope"} & {field.name for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: getattr(self, name) * unit for name in names})


class Convex(Schedule):
    """eta = power/t, eta' = 0: mix = 1 - (T_k/T_(k+1))^power; kick = slope T_(k+1). T_0 = 0, so y_0 = z_0."""

    power: int = eqx.field(static=True)
    step: Any
    slope: Any

    def coefficients(self, number: Any, before: Any, now: Any) -> Coefficients:
        zero = jnp.zeros_like(now)
        apart = jnp.where(now > 0.0, (now - before) / jnp.where(now > 0.0, now, 1.0), 1.0)
        mix = -jnp.expm1(self.power * jnp.log1p(-jnp.minimum(apart, 1.0)))
        return Coefficients(mix, mix, zero, self.step + zero, self.slope * now)


class Strong(Schedule):
    """eta = eta' constant: mix = (1 - exp(-2 eta S))/2, back = tanh(eta S) for the waiting time S; kick constant."""

    eta: Any
    step: Any
    kick: Any

    def coefficients(self, number: Any, before: Any, now: Any) -> Coefficients:
        wait = self.eta * (now - before)
        mix, zero = -0.5 * jnp.expm1(-2.0 * wait), jnp.zeros_like(wait)
        return Coefficients(mix, mix, jnp.tanh(wait), self.step + zero, self.kick + zero)


class Momentum(Schedule):
    """z is the x before: y = x + b (x - z), with the gradient at y (Nesterov) or, `heavy`, at x.

    b None: b_k = k/(k+3), in which the step that makes x_(k+1) uses b_(k-1), and the first none.
    """

    heavy: bool = eqx.field(static=True)
    step: Any
    b: Any = None

    def coefficients(self, number: Any, before: Any, now: Any) -> Coefficients:
        before_it = jnp.maximum(number - 1.0, 0.0)
        zero = jnp.zeros_like(now)
        b = before_it / (before_it + 3.0) if self.b is None else self.b + zero
        return Coefficients(-b, zero if self.heavy else -b, 1.0 / (1.0 + b), self.step + zero, zero)


class Descent(Schedule):
    """x <- x - step G; with `average` z is the mean of x_0 to x_k."""

    average: bool = eqx.field(static=True)
    step: Any

    def coefficients(self, number: Any, before: Any, now: Any) -> Coefficients:
        zero = jnp.zeros_like(now)
        back = 1.0 / (number + 2.0) if self.average else zero
        return Coefficients(zero, zero, back, self.step + zero, self.step * back)


def advance(state: tuple[Any, Any], gradient: Any, c: Coefficients) -> tuple[Any, Any]:
    """One step, of arrays of NumPy or of JAX; `gradient` is a function of the point."""
    x, z = state
    y, slope = x + c.mix * (z - x), gradient(x + c.look * (z - x))
    return y - c.step * slope, z + c.back * (y - z) - c.kick * slope
