"""Asynchronous gossip: the activations of edges, one after the other, on all replicates at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solvable.iterations.gossip.network import Network

CHUNK = 1024  # activations that are drawn at once
PAD = 32  # networks of a law differ in size; the loop is compiled for multiples of it


def constants(algorithm: Any, network: Network) -> tuple[float, float]:
    """(eta, gamma) with the gap; without it the powers that multiply 1/t and t: eta t and gamma / t."""
    if not algorithm.accelerated:
        return 0.0, 0.5
    resistance = float(network.resistances[network.rates > 0.0].max())
    if algorithm.gap:
        gap = network.pairwise_gap
        return (gap / (2.0 * resistance)) ** 0.5, (2.0 * gap * resistance) ** -0.5
    return (2.0, 0.25 / resistance) if algorithm.steps == "stated" else (1.0, 0.5 / resistance)


def wake(
    algorithm: Any,
    networks: Sequence[Network],
    start: np.ndarray,
    at: np.ndarray,
    unit: str,
    generators: Sequence[np.random.Generator],
    record: Callable[[np.ndarray], None],
) -> np.ndarray:
    """Wake edges of R networks, and record the values (R, n, k) when `at` (R, K), nondecreasing, is reached.

    `unit` is "activations" or "time". All nodes are brought to the time of the record. Returns the times (R, K).
    Nodes that a network lacks have zeros.
    """
    count, nodes, columns = start.shape
    size = -(-nodes // PAD) * PAD
    x = jnp.asarray(np.pad(start, ((0, 0), (0, size - nodes), (0, 0))).reshape(count * size, columns))
    state = jnp.concatenate([x, x, jnp.zeros((count * size, 1))], axis=1) if algorithm.accelerated else x
    made = [constants(algorithm, network) for network in networks]
    eta, gamma = (jnp.asarray(one) for one in np.array(made).T)
    shares = [None if np.ptp(one.rates) == 0.0 else np.cumsum(one.rates) for one in networks]
    now, reached = np.zeros(count), np.zeros(at.shape)
    kind = (bool(algorithm.accelerated), bool(algorithm.gap))
    for place in range(at.shape[1]):
        done = at[:, place - 1] if place else np.zeros(count)
        todo = at[:, place] - done
        waking = [int(n) if unit == "activations" else int(r.poisson(n)) for n, r in zip(todo, generators, strict=True)]
        late = None if unit == "activations" else at[:, place]
        waits = [
            now[r] + np.cumsum(one.exponential(size=waking[r]))
            if late is None
            else np.sort(one.uniform(done[r], late[r], waking[r]))
            for r, one in enumerate(generators)
        ]
        for first in range(0, max(waking), CHUNK):
            edges, times = np.zeros((CHUNK, 2, count), np.int64), np.zeros((CHUNK, count))
            for r, (network, random) in enumerate(zip(networks, generators, strict=True)):
                many = min(max(waking[r] - first, 0), CHUNK)
                times[:, r] = now[r]
                if many:
                    edges[:many, :, r] = network.edges[_drawn(random, many, shares[r], len(network.edges))]
                    times[:many, r] = waits[r][first : first + many]
                    now[r] = times[many - 1, r]
                    times[many:, r] = now[r]
                # after its last activation a replicate has edges from a node to itself, which do nothing
                edges[:, :, r] += r * size
            steps = min(max(waking) - first, CHUNK)
            state = _advance(state, jnp.asarray(edges), jnp.asarray(times), steps, eta, gamma, kind=kind)
        now = now if late is None else late.copy()
        reached[:, place] = now
        record(np.asarray(_brought(state, jnp.asarray(now), eta, kind=kind)).reshape(count, size, columns)[:, :nodes])
    return reached


def _drawn(random: np.random.Generator, many: int, shares: np.ndarray | None, edges: int) -> np.ndarray:
    if shares is None:
        return random.integers(edges, size=many)
    return np.minimum(np.searchsorted(shares, random.random(many) * shares[-1], side="right"), edges - 1)


def _mixing(eta: Any, last: Any, time: Any, gap: bool) -> tuple[Any, Any]:
    """By what share x goes to z, and z to x, from `last` to `time`."""
    if gap:
        share = -0.5 * jnp.expm1(-2.0 * eta * (time - last))
        return share, share
    share = 1.0 - jnp.where(time > 0.0, last / jnp.where(time > 0.0, time, 1.0), 1.0) ** eta
    return share, jnp.zeros_like(share)


@functools.partial(jax.jit, static_argnames="kind")
def _advance(state: Any, edges: Any, times: Any, steps: Any, eta: Any, gamma: Any, *, kind: tuple[bool, bool]) -> Any:
    """The rows of the state are nodes: x, and with acceleration z, and when the node was last brought up to date.

    One array, as a step costs what its gathers and scatters do.
    """
    accelerated, gap = kind

    def one(step: Any, state: Any) -> Any:
        both, time = edges[step], times[step]
        mine = state[both]  # (2, R, columns)
        if not accelerated:
            return state.at[both].set(jnp.broadcast_to(0.5 * (mine[:1] + mine[1:]), mine.shape))
        x, z, last = _parts(mine)
        there, back = _mixing(eta[None, :, None], last, time[None, :, None], gap)
        x, z = x + there * (z - x), z + back * (x - z)
        pull = (gamma if gap else gamma * time)[None, :, None] * (x[:1] - x[1:])
        mean = jnp.broadcast_to(0.5 * (x[:1] + x[1:]), x.shape)
        now = jnp.broadcast_to(time[None, :, None], last.shape)
        return state.at[both].set(jnp.concatenate([mean, z + jnp.concatenate([-pull, pull]), now], axis=-1))

    return jax.lax.fori_loop(0, steps, one, state)


@functools.partial(jax.jit, static_argnames="kind")
def _brought(state: Any, now: Any, eta: Any, *, kind: tuple[bool, bool]) -> Any:
    """The values of all nodes at one time."""
    if not kind[0]:
        return state
    x, z, last = _parts(state)
    each = len(x) // len(now)
    there, _ = _mixing(jnp.repeat(eta, each)[:, None], last, jnp.repeat(now, each)[:, None], kind[1])
    return x + there * (z - x)


def _parts(state: Any) -> tuple[Any, Any, Any]:
    columns = state.shape[-1] // 2
    return state[..., :columns], state[..., columns : 2 * columns], state[..., 2 * columns :]
