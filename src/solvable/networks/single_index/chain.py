"""One-pass stochastic gradient descent, in d dimensions or, with the same law, in neurons + 1 coordinates.

A batch X (B, d) of Gaussian inputs is seen through the span of u* and the weights alone, and moves the weights by
combinations of its rows. In an orthonormal basis that begins with that span, n-dimensional, X is n columns of
independent normals and then, after a rotation of the other axes that brings it to a triangle, a lower triangle of
normals with chi variables of d - n - i degrees of freedom on its diagonal (Bartlett): the step is that of descent on
inputs of n + B coordinates. Every so many steps the weights are rotated back to neurons + 1 coordinates by a
factorisation that leaves u* alone. Exact in law, at a cost that does not know d (derived).

NumPy draws, five times as fast as XLA on a CPU, and compiled steps follow, block by block.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.networks.single_index.model import Model, population_risk, residuals
from solvable.networks.single_index.overlaps import generator
from solvable.numerics.hermite import FUNCTIONS, hermite_polynomials, values

BLOCK = 2 * 10**5  # normals drawn at once: milliseconds, between which Python listens to the user
MOST_STEPS = 1024  # of a block
DIFFERENCE = 1e-5  # by which a user's function is differentiated


class State(NamedTuple):
    """a (m,), weights (m, D), and the last step (n,) after which |rho_k| > |phi_k| / 2, -1 for none."""

    outer: Any
    weights: Any
    last: Any


class Plan(NamedTuple):
    """What compiled steps are made for: sizes, and how many steps go between two rotations (0: none, all weights)."""

    batch: int
    neurons: int
    dim: int
    every: int
    target: Any
    activation: Any
    watched: tuple[int, ...]

    @property
    def columns(self) -> int:
        """The coordinates of an input."""
        return self.neurons + 1 + self.every * self.batch if self.every else self.dim

    @property
    def block(self) -> int:
        """Steps in a block, a whole number of turns."""
        steps = max(1, min(MOST_STEPS, BLOCK // (self.batch * (self.columns + 1))))
        return -(-steps // self.every) * self.every if self.every else steps


def plan_of(one: Model, target: Any, activation: Any, neurons: int, batch: int, dim: int, full: bool) -> Plan:
    """The plan; functions by name, by function, or by their coefficients as a tuple."""
    every = 0 if full else max(1, min((neurons + 1) // batch, (dim - neurons - 1) // batch))
    kinds = [
        given if isinstance(given, str) or callable(given) else tuple(map(float, given))
        for given in (target, activation)
    ]
    return Plan(batch, neurons, dim, every, kinds[0], kinds[1], one.watched)


def draws(plan: Plan, draw: np.random.Generator) -> np.ndarray:
    """The inputs (L, B, D) of a block, and the normals of their labels as a last column."""
    length, batch, columns = plan.block, plan.batch, plan.columns
    drawn = draw.standard_normal((length, batch, columns + 1))
    if not plan.every:
        return drawn
    widths = plan.neurons + 1 + batch * np.arange(plan.every)
    row, column = np.arange(batch)[:, None], np.arange(columns)[None, :]
    lengths = np.sqrt(draw.chisquare(np.tile(plan.dim - widths[:, None] - row.T, (length // plan.every, 1))))
    for turn, width in enumerate(widths):
        inputs = drawn[turn :: plan.every, :, :-1]
        inputs[:, column > row + width] = 0.0
        inputs[:, np.arange(batch), width + np.arange(batch)] = lengths[turn :: plan.every]
    return drawn


def _evaluated(kind: Any, x: Any) -> Any:
    """A function of the plan at x (...)."""
    if isinstance(kind, str):
        return FUNCTIONS[kind](x, jnp)
    if callable(kind):
        # as bits: the thread of a callback takes float64 for float32
        bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
        like = jax.ShapeDtypeStruct(bits.shape, bits.dtype)
        found = jax.pure_callback(functools.partial(_on_the_host, kind), like, bits)
        return jax.lax.bitcast_convert_type(found, jnp.float64)
    terms = hermite_polynomials(x, len(kind) - 1)
    return sum((c * h for c, h in zip(kind, terms, strict=True)), jnp.zeros_like(x))


def _on_the_host(function: Any, bits: Any) -> np.ndarray:
    x = np.ascontiguousarray(bits).view(np.float64)[..., 0]
    return np.ascontiguousarray(values(function, x.ravel()).reshape(x.shape)[..., None]).view(np.uint32)


def _with_slope(kind: Any, z: Any) -> tuple[Any, Any]:
    if callable(kind):
        low, middle, high = _evaluated(kind, jnp.stack([z - DIFFERENCE, z, z + DIFFERENCE]))
        return middle, (high - low) / (2.0 * DIFFERENCE)
    return jax.jvp(functools.partial(_evaluated, kind), (z,), (jnp.ones_like(z),))


@functools.partial(jax.jit, static_argnames="plan")
def advance(
    plan: Plan, phi: Any, sigma: Any, rates: Any, state: State, drawn: Any, done: Any, first: Any, stop: Any
) -> State:
    """The state after the steps `first` to before `stop` of a block whose first step has the number `done`.

    rates: outer, inner, and the noise of labels.
    """
    outer_rate, inner_rate, noise = rates

    def step(number: Any, state: State) -> State:
        a, u = state.outer, state.weights
        m = a.shape[0]
        x, label = drawn[number, :, :-1], drawn[number, :, -1]
        z = u @ x.T
        value, slope = _with_slope(plan.activation, z)
        error = (_evaluated(plan.target, x[:, 0]) + noise * label - a @ value / m) / plan.batch
        pull = slope * error[None]  # (m, B)
        moved = u + inner_rate * a[:, None] * (pull @ x - jnp.sum(pull * z, axis=1)[:, None] * u)
        u = moved / jnp.linalg.norm(moved, axis=1, keepdims=True)
        a = a + outer_rate * (value @ error)
        if plan.every == 1:
            u = _rotated(u)
        elif plan.every:
            u = jax.lax.cond(number % plan.every == plan.every - 1, _rotated, lambda u: u, u)
        return State(a, u, _seen(plan, phi, sigma, a, u, state.last, done + number + 1))

    return jax.lax.fori_loop(first, stop, step, state)


def _rotated(u: Any) -> Any:
    """The weights in m + 1 coordinates, the first as it is; by QR where the weights are dependent up to rounding."""
    m, columns = u.shape
    rest = u[:, 1:]
    root = jnp.linalg.cholesky(rest @ rest.T)
    sound = jnp.all(jnp.isfinite(root))
    root = jax.lax.cond(sound, lambda: root, lambda: jnp.linalg.qr(rest.T, mode="r").T)
    return jnp.concatenate([u[:, :1], root, jnp.zeros((m, columns - m - 1))], axis=1)


def _seen(plan: Plan, phi: Any, sigma: Any, a: Any, u: Any, last: Any, number: Any) -> Any:
    means, power = [], jnp.ones_like(a)
    for k in range(max(plan.watched, default=-1) + 1):
        if k in plan.watched:
            means.append(jnp.mean(a * power))
        power = power * u[:, 0]
    if not means:
        return last
    some = jnp.array(plan.watched)
    above = jnp.abs(phi[some] - sigma[some] * jnp.stack(means)) > 0.5 * jnp.abs(phi[some])
    return jnp.where(above, number, last)


def run(
    one: Model, plan: Plan, rates: tuple[float, float, float], outer: Any, coordinates: Any, key: Any, stops: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """a, s (K, m), the risk (K,) after `stops` steps of one run, and the last steps (n,) at which rho_k was above half.

    What a step sees depends on the key and on the number of its block alone, not on the stops.
    """
    phi, sigma = jnp.asarray(one.target), jnp.asarray(one.activation)
    weights = np.pad(np.asarray(coordinates), ((0, 0), (0, plan.columns - coordinates.shape[1])))
    above = np.abs(residuals(one, outer, weights[:, 0])) > 0.5 * np.abs(one.target)
    state = State(jnp.asarray(outer), jnp.asarray(weights), jnp.asarray(above[list(plan.watched)].astype(int) - 1))
    step, block, drawn, found = 0, -1, None, []
    for stop in stops.tolist():
        while step < stop:
            if step // plan.block != block:
                block = step // plan.block
                drawn = jnp.asarray(draws(plan, generator(key, 1, block)))
            begin, end = block * plan.block, min(stop, (block + 1) * plan.block)
            state = advance(plan, phi, sigma, rates, state, drawn, begin, step - begin, end - begin)
            step = end
        found.append([np.asarray(part) for part in _measured(one, state.outer, state.weights)])
    a, s, risk = (np.stack(part) for part in zip(*found, strict=True))
    return a, s, risk, np.asarray(state.last)


@eqx.filter_jit
def _measured(one: Model, a: Any, u: Any) -> tuple[Any, Any, Any]:
    return a, u[:, 0], population_risk(one, a, u[:, 0], jnp.clip(u @ u.T, -1.0, 1.0), jnp)
