"""The population gradient flow at a finite ratio and width: exact integrals, an exact Jacobian, a stiff solver.

In slow time da/dt = -(1/ratio) grad_a R, du/dt = -grad_u R with R = int (f - f*)^2, no 1/2; the bias moves as a does.
With the box surrogate u moves by the mean of the residual over each sigmoid's support in the place of its gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from solvable.lab.declare import batched_map
from solvable.networks.two_timescale.integrals import population_risk, rule, sigmoid
from solvable.networks.two_timescale.task import PiecewiseConstant
from solvable.numerics.rosenbrock import integrate

RTOL, ATOL = 1e-9, 1e-11


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
        fast = ratio * unit**2
        field, linearise = _equations(task, m, fast, width, box)
        begin = jnp.concatenate([jnp.zeros(m + 1), start])

        def within(_: Any, y: Any) -> Any:
            """Above 0 for every jump that has a neuron within half a width."""
            return 0.5 * width - jnp.min(jnp.abs(y[m + 1 :, None] - task.positions[None, :]), axis=0)

        options = {"rtol": RTOL, "atol": ATOL, "watch": within, "which": "first"}
        found = integrate(field, linearise, begin, times, 1e-3 * fast, **options)
        hits = jnp.where(jnp.isnan(found.crossings), jnp.inf, found.crossings / unit**2)
        hits = jnp.where(within(0.0, begin) >= 0.0, 0.0, hits)
        states = found.states
        return State(unit * states[:, 0], unit * states[:, 1 : m + 1], states[:, m + 1 :]), hits, found.result

    return batched_map(one, tasks, starts)


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


@eqx.filter_jit
def risks(tasks: PiecewiseConstant, states: State, width: Any) -> Any:
    """int (f - f*)^2 (R, K) of states (R, K), a target each."""

    def one(task: Any, state: State) -> Any:
        return jax.lax.map(lambda one: population_risk(task, one.positions, one.outer, one.bias, width), state)

    return batched_map(one, tasks, states)
