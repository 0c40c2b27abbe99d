"""The mean-field flow: neurons that meet through the residual components alone (arXiv:2303.00055, Eq. 23).

    rho_k = phi_k - sigma_k mean_i a_i s_i^k,      eps a_i' = sum_k sigma_k rho_k s_i^k,
    s_i' = a_i (1 - s_i^2) sum_k k sigma_k rho_k s_i^(k-1).

The Jacobian is one 2 x 2 block a neuron and a matrix whose rank is the number of degrees that the activation has, so
that a step of the stiff solver costs O(neurons degrees^2), and the time may span any number of decades.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from solvable.lab.declare import Result, batched_map
from solvable.networks.single_index.model import Model
from solvable.numerics.rosenbrock import integrate

RTOL, ATOL = 1e-9, 1e-11
FIRST_STEP = 1e-3  # in units of rate_ratio
SMALLEST = 1e-12  # rate_ratio times the mean square of the target, below which rho_0 / rate_ratio loses its digits


class Path(NamedTuple):
    """a and s (K, m) at the times, the last time (n,) each watched degree crossed half its size, a `Result` code."""

    outer: Any
    alignment: Any
    crossings: Any
    result: Any
    steps: Any


def flows(one: Model, rate_ratio: Any, outer: Any, alignment: Any, times: Any, rtol: float = RTOL) -> Path:
    """The flows from starts (R, m) and (R, m) at `times` (K,), one path each, stacked.

    In units in which the target has the mean square 1: (c phi, c a, eps/c^2, t/c^2) is the same flow.
    """
    there = np.flatnonzero(one.activation)
    last = int(there[-1])
    target, activation = one.target[: last + 1], one.activation[: last + 1]
    kept = tuple(int(k) for k in there)
    size = np.sqrt(one.square)
    path = _flows(
        jnp.asarray(target / size),
        jnp.asarray(activation),
        kept,
        one.watched,
        float(rate_ratio) * one.square,
        outer / size,
        alignment,
        times * one.square,
        rtol,
    )
    return path._replace(outer=path.outer * size, crossings=path.crossings / one.square)


@functools.partial(jax.jit, static_argnames=("kept", "watched"))
def _flows(
    phi: Any, sigma: Any, kept: Any, watched: Any, eps: Any, outer: Any, alignment: Any, times: Any, rtol: Any
) -> Path:
    degree, m = len(phi) - 1, outer.shape[-1]
    degrees = jnp.arange(degree + 1.0)[:, None]
    some, seen = jnp.array(kept), jnp.array(watched, int)

    def parts(state: Any) -> Any:
        """a, s, and the powers s^k, k s^(k-1), k (k-1) s^(k-2), (K + 1, m) each; rho."""
        a, s = state[:m], state[m:]
        powers = jnp.cumprod(jnp.concatenate([jnp.ones((1, m)), jnp.broadcast_to(s, (degree, m))]), axis=0)
        none = jnp.zeros((1, m))
        first = degrees * jnp.concatenate([none, powers[:-1]])
        second = degrees * jnp.concatenate([none, first[:-1]])
        return a, s, powers, first, second, phi - sigma * (powers @ a) / m

    def field(_: Any, state: Any) -> Any:
        a, s, powers, first, _, rho = parts(state)
        weights = sigma * rho
        return jnp.concatenate([(weights @ powers) / eps, a * (1.0 - s * s) * (weights @ first)])

    def linearise(_: Any, state: Any, shift: Any) -> Any:
        a, s, powers, first, second, rho = parts(state)
        weights, free = sigma * rho, 1.0 - s * s
        slope = weights @ first
        # I - shift D, one block [[1, p], [q, r]] a neuron
        p, q = -shift * slope / eps, -shift * free * slope
        r = 1.0 - shift * a * (free * (weights @ second) - 2.0 * s * slope)
        p, q, r, inverse = (one[None] for one in (p, q, r, 1.0 / (r - p * q)))

        def blocks(b: Any) -> Any:
            x, y = b[:, :m], b[:, m:]
            return jnp.concatenate([(r * x - p * y) * inverse, (y - q * x) * inverse], axis=1)

        scale = sigma[some][:, None]
        up = scale * jnp.concatenate([powers[some] / eps, (a * free)[None] * first[some]], axis=1)
        down = (-shift / m) * scale * jnp.concatenate([powers[some], a[None] * first[some]], axis=1)
        solved = blocks(up)
        factor = jax.scipy.linalg.lu_factor(jnp.eye(len(kept)) - down @ solved.T)

        def solve(b: Any) -> Any:
            x = blocks(b[None])[0]
            return x + jax.scipy.linalg.lu_solve(factor, down @ x) @ solved

        return solve, jnp.zeros_like(state)

    def excess(_: Any, state: Any) -> Any:
        return jnp.abs(parts(state)[-1][seen]) - 0.5 * jnp.abs(phi[seen])

    tolerance = jnp.concatenate([jnp.full(m, ATOL), jnp.full(m, ATOL) * jnp.sqrt(eps)])

    def run(a: Any, s: Any) -> Path:
        start = jnp.concatenate([a, s])
        watch = excess if watched else None
        options = {"rtol": rtol, "atol": tolerance, "watch": watch}
        found = integrate(field, linearise, start, times, FIRST_STEP * eps, **options)
        inside = jnp.all(jnp.abs(found.states[:, m:]) <= 1.0 + 1e-6)
        result = jnp.where(inside, found.result, jnp.maximum(found.result, int(Result.NONFINITE)))
        crossings = found.crossings if watched else jnp.zeros(0)
        return Path(found.states[:, :m], found.states[:, m:], crossings, result, found.steps)

    return batched_map(run, outer, alignment)


def learning_times(one: Model, crossings: Any, residuals: Any) -> np.ndarray:
    """The last time (R, degree) at which |rho_k| > |phi_k| / 2, from crossings (R, n) and rho (R, K + 1) of the end.

    inf where it is still above, or the activation lacks the degree; 0 where it never was; NaN where phi_k = 0.
    """
    half = 0.5 * np.abs(one.target)
    found = np.where(np.abs(residuals) > half, np.inf, 0.0)
    for place, k in enumerate(one.watched):
        last = np.where(np.isnan(crossings[:, place]), 0.0, crossings[:, place])
        found[:, k] = np.where(found[:, k] > 0.0, np.inf, last)
    return np.where(one.target == 0.0, np.nan, found)[:, : one.degrees]
