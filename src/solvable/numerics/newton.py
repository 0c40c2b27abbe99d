"""Damped Newton: for the root of a system, or of many increasing functions; and the line search of a minimum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


@runtime_checkable
class Equations(Protocol):
    """k equations F(x) = 0 in k unknowns."""

    def residual_and_jacobian(self, x: Float[Array, "k"]) -> tuple[Float[Array, "k"], Float[Array, "k k"]]:
        """F (k,) and dF/dx (k, k)."""
        ...

    def scale(self, x: Float[Array, "k"]) -> Float[Array, "k"]:
        """What each row is multiplied by, so that residuals compare."""
        ...

    def reach(self, x: Float[Array, "k"]) -> Float[Array, "k"]:
        """How far one Newton step may move each unknown."""
        ...


class NewtonState(NamedTuple):
    """A damped Newton iteration: accepted point, its residual and step, the length of the step being tried."""

    x: Float[Array, "k"]
    norm: Float[Array, ""]
    step: Float[Array, "k"]
    length: Float[Array, ""]
    turns: Int[Array, ""]
    stalled: Bool[Array, ""]


def newton(equations: Equations, x: Float[Array, "k"], max_turns: int, tolerance: float) -> NewtonState:
    """The root of F from x, by Newton with backtracking on the norm of the scaled residual; traceable.

    Each turn evaluates F and its Jacobian once. It ends where the norm is at most `tolerance`, after `max_turns`, or
    where it stalls (a step below 1e-6 of Newton's does not help either); the state says which.
    """

    def evaluate(x: Float[Array, "k"]) -> tuple[Float[Array, ""], Float[Array, "k"]]:
        residual, jacobian = equations.residual_and_jacobian(x)
        rows = equations.scale(x)
        norm = jnp.linalg.norm(residual * rows)
        step = jnp.linalg.solve(rows[:, None] * jacobian, -(rows * residual))
        # Far from the solution the linear model is only local: each unknown moves by a bounded amount.
        limited = jnp.minimum(1.0, 1.0 / jnp.max(jnp.abs(step) / equations.reach(x)))
        return jnp.where(jnp.isfinite(norm), norm, jnp.inf), step * limited

    def body(state: NewtonState) -> NewtonState:
        trial = state.x + state.length * state.step
        norm, step = evaluate(trial)
        first, finite = state.turns == 0, jnp.all(jnp.isfinite(step))
        accept = first | ((norm < state.norm) & finite)
        length = jnp.where(accept, 1.0, state.length * 0.5)
        return NewtonState(
            jnp.where(accept, trial, state.x),
            jnp.where(accept, norm, state.norm),
            jnp.where(accept, jnp.where(finite, step, 0.0), state.step),
            length,
            state.turns + 1,
            (length < 1e-6) | (first & ~finite),
        )

    def going(state: NewtonState) -> Bool[Array, ""]:
        return (state.norm > tolerance) & (state.turns < max_turns) & ~state.stalled

    # The start is the first trial: evaluated inside the loop like all others, it is compiled once.
    return jax.lax.while_loop(going, body, untried(x))


def untried(x: Float[Array, "k"]) -> NewtonState:
    """The state before the first turn."""
    return NewtonState(x, jnp.array(jnp.inf), jnp.zeros_like(x), jnp.array(1.0), jnp.array(0), jnp.array(False))


def bracketed_newton(
    function: Callable[[Any], Any], low: Float[Array, "..."], high: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The roots in [low, high] of increasing elementwise functions, to rounding; traceable, in double precision.

    Newton, and a halving of the bracket where that would leave it or is not twice as fast. It ends with a Newton step
    below 1e-9, whose error is about the square of that. NaN where the function is.
    """

    def turn(state: tuple[Any, ...]) -> tuple[Any, ...]:
        x, low, high, last, turns = state
        value, by_x = jax.jvp(function, (x,), (jnp.ones_like(x),))
        low, high = jnp.where(value > 0.0, low, x), jnp.where(value > 0.0, x, high)
        step = -value / by_x
        near = jnp.abs(step) <= 1e-9 * (1.0 + jnp.abs(x))
        keeps = near | ((x + step >= low) & (x + step <= high) & (2.0 * jnp.abs(step) <= last))
        new = jnp.where(keeps, x + step, 0.5 * (low + high))
        new = jnp.where(last > 0.0, new, x)  # who has arrived stays
        moved = jnp.abs(new - x)
        far = ~near & (moved > 1e-15 * (1.0 + jnp.abs(x)))
        return jnp.where(jnp.isnan(value), jnp.nan, new), low, high, jnp.where(far, moved, 0.0), turns + 1

    def going(state: tuple[Any, ...]) -> Bool[Array, ""]:
        return jnp.any(state[3] > 0.0) & (state[4] < 100)

    start = (0.5 * (low + high), low, high, 1.0 + high - low, jnp.array(0))
    return jax.lax.while_loop(going, turn, start)[0]


def backtrack(along: Callable[[Any], Any], value: Any, slope: Any, slack: Any, shortest: float) -> Float[Array, ""]:
    """The first of the lengths 1, 1/2, 1/4, ... that lowers a function enough (Armijo), for a minimum; traceable.

    along(length) <= value + 1e-4 length slope + slack, with `value` and `slope` those at 0. Near the minimum the
    decrease drowns in rounding, which must not shorten the step: `slack` is the size of that. Halving ends at
    `shortest`.
    """

    def too_long(length: Any) -> Any:
        return ~(along(length) <= value + 1e-4 * length * slope + slack) & (length > shortest)

    return jax.lax.while_loop(too_long, lambda length: 0.5 * length, jnp.ones((), jnp.result_type(value)))
