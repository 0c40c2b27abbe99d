"""The population gradient flow at a finite ratio and width: exact integrals, an exact Jacobian, a stiff solver.

In slow time da/dt = -(1/ratio) grad_a R, du/dt = -grad_u R with R = int (f - f*)^2, no 1/2; the bias moves as a does.
With the box surrogate u moves by the mean of the residual over each sigmoid's support in the place of its gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.lab.declare import batched_map
from solvable.networks.two_timescale.integrals import population_risk, rule, sigmoid
from solvable.networks.two_timescale.task import PiecewiseConstant
from solvable.numerics.rosenbrock import integrate

RTOL, ATOL = 1e-9, 1e-11
BETWEEN = 200  # times between 0 and the last at which neurons are watched, half of them even in the logarithm


class State(NamedTuple):
    """Weights of a network, or of many along leading axes: bias (), outer (m,), positions (m,)."""

    bias: Any
    outer: Any
    positions: Any


def scaled(task: Any) -> tuple[Any, Any]:
    """The target in units of its largest jump, and that jump s: outputs are s times as large, times 1/s^2 as long.

    The weights then learn in units of 1/s^2 too, that is with the ratio s^2 ratio.
    """
    unit = jnp.max(jnp.abs(task.jumps))
    fields = (lambda one: one.jumps, lambda one: one.bias)
    return eqx.tree_at(lambda one: [field(one) for field in fields], task, [one(task) / unit for one in fields]), unit


@eqx.filter_jit
def flows(tasks: Any, starts: Any, ratio: Any, width: Any, box: bool, at: Any) -> tuple[State, Any, Any]:
    """States (R, K), hit times (R, n) and codes (R,) from positions (R, m) at slow times (K,), a target each."""

    def one(task: Any, start: Any) -> tuple[State, Any, Any]:
        task, unit = scaled(task)
        m, times = start.shape[0], at * unit**2
        grid = times[-1] * jnp.asarray(_grid())
        order = jnp.argsort(jnp.concatenate([times, grid]), stable=True)
        fast = ratio * unit**2
        field, linearise = _equations(task, m, fast, width, box)
        begin = jnp.concatenate([jnp.zeros(m + 1), start])
        found = integrate(
            field, linearise, begin, jnp.concatenate([times, grid])[order], 1e-3 * fast, rtol=RTOL, atol=ATOL
        )
        places = jnp.argsort(order, stable=True)
        states = found.states[places]
        kept, watched = states[: len(times)], states[len(times) :]
        slopes = jax.vmap(lambda y: field(0.0, y)[m + 1 :])(watched)
        hits = _hits(task, grid, watched[:, m + 1 :], slopes, 0.5 * width) / unit**2
        return State(unit * kept[:, 0], unit * kept[:, 1 : m + 1], kept[:, m + 1 :]), hits, found.result

    return batched_map(one, tasks, starts)


def _grid() -> np.ndarray:
    even = np.linspace(0.0, 1.0, BETWEEN // 2 + 1)
    return np.unique(np.concatenate([even, np.geomspace(1e-5, 1.0, BETWEEN // 2)]))


def _equations(task: Any, m: int, ratio: Any, width: Any, box: bool) -> tuple[Any, Any]:
    """The field of y = (bias, outer, positions), and its linearisation as the solver takes it."""
    speed = jnp.concatenate([jnp.full(m + 1, 1.0 / ratio), jnp.ones(m)])

    def parts(y: Any) -> tuple[Any, ...]:
        positions, outer = y[m + 1 :], y[1 : m + 1]
        x, weight, target = rule(task, positions, width, jnp)
        z = (x[:, None] - positions[None, :]) / width
        value, slope, curve = sigmoid(z, jnp)
        residual = y[0] + value @ outer - target
        features = jnp.concatenate([jnp.ones((len(x), 1)), value], axis=1)
        moved = jnp.where(jnp.abs(z) <= 0.5, 1.0, 0.0) if box else slope
        return outer, weight, residual, features, slope / width, moved / width, curve / width**2

    def field(_: Any, y: Any) -> Any:
        outer, weight, residual, features, _, moved, _ = parts(y)
        mass = weight * residual
        return speed * jnp.concatenate([-2.0 * (mass @ features), 2.0 * outer * (mass @ moved)])

    def linearise(_: Any, y: Any, shift: Any) -> Any:
        outer, weight, residual, features, slope, moved, curve = parts(y)
        mass = weight * residual
        weighed, change = weight[:, None] * features, -outer[None, :] * slope  # of f by the positions
        upper = weighed.T @ jnp.concatenate([features, change], axis=1)
        upper = upper.at[jnp.arange(1, m + 1), jnp.arange(m + 1, 2 * m + 1)].add(-(mass @ slope))
        lower = outer[:, None] * ((weight[:, None] * moved).T @ jnp.concatenate([features, change], axis=1))
        lower = lower.at[jnp.arange(m), jnp.arange(1, m + 1)].add(mass @ moved)
        bend = edges(y) if box else -(mass @ curve)
        lower = lower.at[jnp.arange(m), jnp.arange(m + 1, 2 * m + 1)].add(outer * bend)
        jacobian = speed[:, None] * jnp.concatenate([-2.0 * upper, 2.0 * lower], axis=0)
        factor = jax.scipy.linalg.lu_factor(jnp.eye(2 * m + 1) - shift * jacobian)
        return lambda b: jax.scipy.linalg.lu_solve(factor, b), jnp.zeros_like(y)

    def edges(y: Any) -> Any:
        """(r(u + width/2) - r(u - width/2))/width, r being 0 outside of [0, 1]."""
        positions = y[m + 1 :]
        x = jnp.concatenate([positions + 0.5 * width, positions - 0.5 * width])
        value, _, _ = sigmoid((x[:, None] - positions[None, :]) / width, jnp)
        jumps = jnp.where(x[:, None] >= task.positions[None, :], task.jumps[None, :], 0.0).sum(1)
        residual = jnp.where((x > 0.0) & (x < 1.0), y[0] + value @ y[1 : m + 1] - task.bias - jumps, 0.0)
        return (residual[:m] - residual[m:]) / width

    return field, linearise


def _hits(task: Any, times: Any, places: Any, slopes: Any, reach: Any) -> Any:
    """When a neuron first comes within `reach` of each jump (n,), inf where none does.

    Between the times (G,) neurons follow the cubics through places and slopes (G, m).
    """
    shares = jnp.linspace(0.0, 1.0, 33)[:, None, None]
    step = jnp.diff(times)[None, :, None]
    before, after, *slopes = (one[None] for one in (places[:-1], places[1:], slopes[:-1], slopes[1:]))
    cubic = (
        before * (1.0 + 2.0 * shares) * (1.0 - shares) ** 2
        + after * shares**2 * (3.0 - 2.0 * shares)
        + step * (slopes[0] * shares * (1.0 - shares) ** 2 - slopes[1] * shares**2 * (1.0 - shares))
    )
    fine = jnp.moveaxis(cubic[:-1], 0, 1).reshape(-1, places.shape[1])
    fine = jnp.concatenate([fine, places[-1:]])
    when = jnp.concatenate([(times[:-1, None] + step[0] * shares[None, :-1, 0, 0]).ravel(), times[-1:]])

    def one(jump: Any) -> Any:
        distance = jnp.min(jnp.abs(fine - jump), axis=1) - reach
        inside = distance <= 0.0
        first = jnp.argmax(inside)
        back = jnp.maximum(first - 1, 0)
        share = jnp.where(first > 0, distance[back] / jnp.where(first > 0, distance[back] - distance[first], 1.0), 0.0)
        return jnp.where(jnp.any(inside), when[back] + share * (when[first] - when[back]), jnp.inf)

    return jax.vmap(one)(task.positions)


@eqx.filter_jit
def risks(tasks: PiecewiseConstant, states: State, width: Any) -> Any:
    """int (f - f*)^2 (R, K) of states (R, K), a target each."""

    def one(task: Any, state: State) -> Any:
        return jax.lax.map(lambda one: population_risk(task, one.positions, one.outer, one.bias, width), state)

    return batched_map(one, tasks, states)
