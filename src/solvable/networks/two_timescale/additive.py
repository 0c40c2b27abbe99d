"""An additive network on an additive target of several coordinates, trained on a full batch.

f(x) = bias + sum_c sum_j outer_cj sigma((x_c - positions_cj)/width). In the square loss with a bias it separates: the
bias takes the means, and every coordinate is a problem of one dimension (derived).
"""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from solvable.networks.two_timescale.flow import State
from solvable.networks.two_timescale.integrals import rule, sigmoid
from solvable.networks.two_timescale.task import PiecewiseConstant

SCALE = 3.0  # outer weights of the authors' start are uniform on [0, 3]


class AdditiveRun(eqx.Module):
    """A trained additive network: start (c, m), positions (c, m), outer (c, m) and bias; `result` is a code."""

    start: Any
    positions: Any
    outer: Any
    bias: Any
    result: Any


@functools.partial(jax.jit, static_argnames=("inputs", "neurons", "samples", "epochs", "norm"))
def train_additive(
    task: PiecewiseConstant,
    keys: Any,
    outer_rate: Any,
    inner_rate: Any,
    width: Any,
    *,
    inputs: int,
    neurons: int,
    samples: int,
    epochs: int,
    norm: bool,
) -> AdditiveRun:
    """Gradient descent on the mean square, from outer weights 0 with a bias; a run a key.

    `norm` is the authors' setting: the loss |f - f*|_2/samples, outer weights uniform on [0, 3] and no bias.
    """

    def one(key: Any) -> AdditiveRun:
        at, first, second = jax.random.split(key, 3)
        x = jax.random.uniform(at, (samples * inputs,), jnp.float64).reshape(samples, inputs)
        target = task.of(x).sum(axis=1)
        start = jnp.sort(jax.random.uniform(first, (inputs * neurons,), jnp.float64).reshape(inputs, neurons), axis=1)
        outer = SCALE * jax.random.uniform(second, (inputs * neurons,), jnp.float64).reshape(inputs, neurons)

        def loss(state: State) -> Any:
            value, _, _ = sigmoid((x[:, :, None] - state.positions[None]) / width, jnp)
            square = jnp.sum((state.bias + jnp.einsum("ncm,cm->n", value, state.outer) - target) ** 2)
            return jnp.sqrt(square + 1e-300) / samples if norm else square / samples

        def step(state: State, _: Any) -> tuple[State, None]:
            slope = jax.grad(loss)(state)
            bias = state.bias - (0.0 if norm else outer_rate) * slope.bias
            moved = state.positions - inner_rate * slope.positions
            return State(bias, state.outer - outer_rate * slope.outer, moved), None

        begin = State(jnp.zeros(()), outer if norm else jnp.zeros_like(outer), start)
        end, _ = jax.lax.scan(step, begin, None, length=epochs)
        return AdditiveRun(start, end.positions, end.outer, end.bias, jnp.where(jnp.isfinite(end.bias), 0, 2))

    return jax.lax.map(one, keys)


def additive_risk(task: PiecewiseConstant, run: AdditiveRun, width: Any) -> float:
    """E (f - f*)^2 for x uniform on the cube: the variances of the coordinates' residuals, and the mean squared."""
    mean, total = float(run.bias), 0.0
    for positions, outer in zip(run.positions, run.outer, strict=True):
        x, weight, target = rule(task, positions, width)
        residual = sigmoid((x[:, None] - positions) / width)[0] @ outer - target
        mean += weight @ residual
        total += weight @ residual**2 - (weight @ residual) ** 2
    return total + mean**2
