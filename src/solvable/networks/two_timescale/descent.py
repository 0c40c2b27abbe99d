"""One-pass stochastic gradient descent: compiled blocks of steps, each of which draws its samples by its number.

A step sees x ~ U[0, 1] and y = f*(x) + noise U[-1, 1]. With G = 2 (y - f(x)), h the outer rate and sigma_j' the exact
derivative or the indicator of the support: outer_j += h G sigma_j, bias += h G,
positions_j -= h ratio G outer_j sigma_j'/width, all from the state before the step.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solvable.networks.two_timescale.flow import State
from solvable.networks.two_timescale.task import PiecewiseConstant

BLOCK, WATCH = 5000, 100  # steps whose samples are drawn at once, and between two looks at the neurons
UNROLL = 4
TOGETHER = 16  # replicates in one vectorised loop
SECONDS = (0.3e-6, 0.15e-6)  # a step of one run, and of one of many, about
STEPS_A_CALL = 10**6  # of all replicates together: a call returns within a second, and Ctrl-C is heard
MOST_STEPS = 10**10


def step(rates: Any, box: bool, state: State, x: Any, y: Any, live: Any) -> State:
    """One step with a sample, or none where `live` is 0."""
    outer_rate, inner_rate, width = rates
    z = (x - state.positions) * (1.0 / width)
    r = jnp.maximum(0.5 - jnp.abs(z), 0.0)
    cubic = 4.0 * r * r * r
    value = jnp.where(z < 0.0, cubic, 1.0 - cubic)
    slope = jnp.where(r > 0.0, 1.0, 0.0) if box else 12.0 * r * r
    push = live * (2.0 * outer_rate) * (y - state.bias - jnp.sum(state.outer * value))
    moved = state.positions - (push * inner_rate / width) * (state.outer * slope)
    return State(state.bias + push, state.outer + push * value, moved)


@functools.partial(jax.jit, static_argnames="box")
def advance(task: Any, rates: Any, box: bool, keys: Any, states: State, hits: Any, first: Any, last: Any) -> Any:
    """States and hit steps (R, n) after the steps `first` to `last` - 1; a key and a target each."""

    def one(task: Any, key: Any, state: State, hit: Any) -> tuple[State, Any]:
        def block(number: Any, carry: tuple[State, Any]) -> tuple[State, Any]:
            drawn = jax.random.uniform(jax.random.fold_in(key, number), (2 * BLOCK,), jnp.float64)
            x = drawn[:BLOCK]
            y = task.of(x) + task.noise * (2.0 * drawn[BLOCK:] - 1.0)
            numbers = number * BLOCK + jnp.arange(BLOCK).reshape(BLOCK // WATCH, WATCH)
            live = jnp.where((numbers >= first) & (numbers < last), 1.0, 0.0)

            def few(carry: tuple[State, Any], each: Any) -> tuple[tuple[State, Any], None]:
                state, hit = carry
                samples, end = each
                state, _ = jax.lax.scan(
                    lambda state, one: (step(rates, box, state, *one), None), state, samples, unroll=UNROLL
                )
                near = jnp.min(jnp.abs(state.positions[:, None] - task.positions[None, :]), axis=0) <= 0.5 * rates[2]
                return (state, jnp.where(near & (end > first) & (end <= last), jnp.minimum(hit, end), hit)), None

            shape = (BLOCK // WATCH, WATCH)
            samples = jnp.stack([x.reshape(shape), y.reshape(shape), live], axis=-1)  # of one array: a slice a step
            each = (samples, numbers[:, -1].astype(float) + 1.0)
            return jax.lax.scan(few, carry, each)[0]

        return jax.lax.fori_loop(first // BLOCK, (last + BLOCK - 1) // BLOCK, block, (state, hit))

    return jax.vmap(one)(task, keys, states, hits)


def descents(
    tasks: PiecewiseConstant, rates: tuple[Any, Any, Any], box: bool, keys: Any, starts: np.ndarray, steps: np.ndarray
) -> tuple[State, np.ndarray]:
    """States (R, K) after `steps` (K,), and the steps (R, n) at which a neuron first comes within width/2 of a jump.

    These are multiples of `WATCH`. Runs are made `TOGETHER` at a time; between compiled calls Ctrl-C is heard.
    """
    found = []
    for low in range(0, len(starts), TOGETHER):
        part = slice(low, low + TOGETHER)
        own = jax.tree.map(lambda leaf, part=part: leaf[part], tasks)
        found.append(_together(own, rates, box, keys[part], starts[part], steps))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *found)


def _together(tasks: Any, rates: Any, box: bool, keys: Any, starts: np.ndarray, steps: np.ndarray) -> Any:
    runs, m = starts.shape
    states = State(jnp.zeros(runs), jnp.zeros((runs, m)), jnp.asarray(starts))
    near = np.min(np.abs(starts[:, :, None] - np.asarray(tasks.positions)[:, None, :]), axis=1) <= 0.5 * rates[2]
    hits, done, path = jnp.asarray(np.where(near, 0.0, np.inf)), 0, []
    longest = max(BLOCK, STEPS_A_CALL // runs // BLOCK * BLOCK)
    for stop in steps.tolist():
        while done < stop:
            upto = min(stop, (done // longest + 1) * longest)
            states, hits = advance(tasks, rates, box, keys, states, hits, done, upto)
            jax.block_until_ready(states)
            done = upto
        path.append(jax.tree.map(np.asarray, states))
    return jax.tree.map(lambda *rows: np.stack(rows, axis=1), *path), np.asarray(hits)
