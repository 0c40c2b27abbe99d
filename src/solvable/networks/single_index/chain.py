"""One-pass stochastic gradient descent, in d dimensions or, with the same law, in neurons + 1 coordinates.

A batch X (B, d) of Gaussian inputs is seen through the span of u* and the weights alone, and moves the weights by
combinations of its rows. In an orthonormal basis that begins with that span, n-dimensional, X is n columns of
independent normals and then, after a rotation of the other axes that brings it to a triangle, a lower triangle of
normals with chi variables of d - n - i degrees of freedom on its diagonal (Bartlett): the step is that of descent on
inputs of n + B coordinates. Every so many steps the weights are rotated back to neurons + 1 coordinates by a QR
factorisation that leaves u* alone. Exact in law, at a cost that does not know d (derived).
"""

from __future__ import annotations

import functools
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from solvable.lab.declare import batched_map
from solvable.networks.single_index.model import Model, population_risk
from solvable.networks.single_index.overlaps import chis
from solvable.numerics.hermite import FUNCTIONS, hermite_polynomials, values

BLOCK_SECONDS = 1.0  # of a compiled call, between which Python listens to the user
DIFFERENCE = 1e-5  # by which a user's function is differentiated


class State(NamedTuple):
    """a (m,), weights (m, D), the key, and the last step (n,) after which |rho_k| > |phi_k| / 2, -1 for none."""

    outer: Any
    weights: Any
    key: Any
    last: Any


class Plan(NamedTuple):
    """What compiled steps are made for: sizes, and how many steps go between two rotations (0: none, all weights)."""

    batch: int
    dim: int
    every: int
    target: Any
    activation: Any
    watched: tuple[int, ...]


def plan_of(one: Model, target: Any, activation: Any, neurons: int, batch: int, dim: int, full: bool) -> Plan:
    """The plan; functions by name, by function, or by their coefficients as a tuple."""
    every = 0 if full else max(1, min((neurons + 1) // batch, (dim - neurons - 1) // batch))
    kinds = [
        given if isinstance(given, str) or callable(given) else tuple(map(float, given))
        for given in (target, activation)
    ]
    return Plan(batch, dim, every, *kinds, one.watched)


def padded(coordinates: Any, plan: Plan) -> Any:
    """Weights in as many columns as steps between two rotations need."""
    return jnp.pad(coordinates, ((0, 0), (0, plan.every * plan.batch)))


def _evaluated(kind: Any, x: Any) -> Any:
    """A function of plan at x (...)."""
    if isinstance(kind, str):
        return FUNCTIONS[kind](x, jnp)
    if callable(kind):
        like = jax.ShapeDtypeStruct(x.shape, x.dtype)
        called = functools.partial(_on_the_host, kind)
        return jax.pure_callback(called, like, x, vmap_method="expand_dims")
    terms = hermite_polynomials(x, len(kind) - 1)
    return sum((c * h for c, h in zip(kind, terms, strict=True)), jnp.zeros_like(x))


def _on_the_host(function: Any, x: Any) -> np.ndarray:
    flat = np.ravel(np.asarray(x))
    return values(function, flat).reshape(np.shape(x))


def _with_slope(kind: Any, z: Any) -> tuple[Any, Any]:
    if callable(kind):
        low, middle, high = _evaluated(kind, jnp.stack([z - DIFFERENCE, z, z + DIFFERENCE]))
        return middle, (high - low) / (2.0 * DIFFERENCE)
    return jax.jvp(functools.partial(_evaluated, kind), (z,), (jnp.ones_like(z),))


def _inputs(plan: Plan, key: Any, width: Any, columns: int) -> Any:
    """A batch (B, columns): normals in the first `width`, a triangle in the next B, nothing behind."""
    normal, chi = jax.random.split(key)
    drawn = jax.random.normal(normal, (plan.batch * columns,), jnp.float64).reshape(plan.batch, columns)
    if not plan.every:
        return drawn
    row, column = jnp.arange(plan.batch)[:, None], jnp.arange(columns)[None, :] - width
    lengths = chis(chi, plan.dim - width - jnp.arange(plan.batch))[:, None]
    return jnp.where(column < row, drawn, jnp.where(column == row, lengths, 0.0))


@functools.partial(jax.jit, static_argnames="plan")
def advance(plan: Plan, phi: Any, sigma: Any, rates: Any, states: State, first: Any, stop: Any) -> State:
    """The states (R, ...) after the steps from number `first` to before `stop`; rates: outer, inner, noise."""
    outer_rate, inner_rate, noise = rates

    def step(number: Any, state: State) -> State:
        a, u = state.outer, state.weights
        m, columns = u.shape
        key, label = jax.random.split(jax.random.fold_in(state.key, number))
        since = number % plan.every if plan.every else 0
        x = _inputs(plan, key, m + 1 + since * plan.batch, columns)
        z = u @ x.T
        value, slope = _with_slope(plan.activation, z)
        y = _evaluated(plan.target, x[:, 0]) + noise * jax.random.normal(label, (plan.batch,), jnp.float64)
        error = (y - a @ value / m) / plan.batch
        pull = slope * error  # (m, B)
        moved = u + inner_rate * a[:, None] * (pull @ x - jnp.sum(pull * z, axis=1)[:, None] * u)
        u = moved / jnp.linalg.norm(moved, axis=1, keepdims=True)
        a = a + outer_rate * (value @ error)
        if plan.every:
            u = jax.lax.cond(since == plan.every - 1, _rotated, lambda u: u, u)
        return State(a, u, state.key, _seen(plan, phi, sigma, a, u, state.last, number + 1))

    return batched_map(lambda state: jax.lax.fori_loop(first, stop, step, state), states)


def _rotated(u: Any) -> Any:
    """The weights in m + 1 coordinates, the first as it is."""
    m, columns = u.shape
    triangle = jnp.linalg.qr(u[:, 1:].T, mode="r")
    return jnp.concatenate([u[:, :1], triangle.T, jnp.zeros((m, columns - m - 1))], axis=1)


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
    one: Model, plan: Plan, rates: tuple[float, float, float], outer: Any, coordinates: Any, keys: Any, stops: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """a, s (R, K, m), the risk (R, K) after `stops` steps, and the last steps (R, n) above half.

    The loop goes on in compiled blocks of about a second, so that it can be interrupted.
    """
    phi, sigma = jnp.asarray(one.target), jnp.asarray(one.activation)
    nothing = jnp.full((len(keys), len(plan.watched)), -1)
    states = State(jnp.asarray(outer), jax.vmap(lambda u: padded(u, plan))(jnp.asarray(coordinates)), keys, nothing)
    last = jax.vmap(lambda a, u, last: _seen(plan, phi, sigma, a, u, last, 0))(*states[:2], nothing)
    states, done, size, found = states._replace(last=last), 0, 32, []
    measured = jax.jit(lambda states: _measured(one, states))
    for stop in stops.tolist():
        while done < stop:
            many, began = min(size, stop - done), time.monotonic()
            states = jax.block_until_ready(advance(plan, phi, sigma, rates, states, done, done + many))
            done, took = done + many, time.monotonic() - began
            if many == size and took < 0.5 * BLOCK_SECONDS:
                size = math.ceil(size * min(4.0, BLOCK_SECONDS / max(took, 1e-6)))
            elif took > 2.0 * BLOCK_SECONDS:
                size = max(1, size // 2)
        found.append([np.asarray(part) for part in measured(states)])
    a, s, risk = (np.stack(part, axis=1) for part in zip(*found, strict=True))
    return a, s, risk, np.asarray(states.last)


def _measured(one: Model, states: State) -> tuple[Any, Any, Any]:
    def each(a: Any, u: Any) -> Any:
        return a, u[:, 0], population_risk(one, a, u[:, 0], jnp.clip(u @ u.T, -1.0, 1.0), jnp)

    return batched_map(each, states.outer, states.weights)
