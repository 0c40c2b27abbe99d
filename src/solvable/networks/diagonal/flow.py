"""Gradient flow of a diagonal network in the log domain: exact at every scale of the initialisation.

With L = -log_scale, s the rescaled time, z(s) = int_0^s x and w = s r - M z = F^T (s b - F z),

    dz_i/ds = x_i = p_i e^{L (w_i - 1 - lambda s)} - m_i e^{L (-w_i - 1 - lambda s)}

where (p, m) = ((beta + gamma)^2, (beta - gamma)^2) / 4 for x = u v and (alpha^2, 0) for x = u u. The initialisation
enters through L alone, so that 1e-160 is no harder to represent than 1e-5 (derived from arXiv:2509.18766, section 2).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from solvable.lab.declare import Result, batched_map
from solvable.networks.diagonal.layers import Layers
from solvable.numerics.rosenbrock import Trajectory, integrate

LARGEST = 700.0  # exponents are cut here, where trial steps would overflow
FIRST_STEP = 1e-3
RTOL, ATOL = 3e-8, 3e-10  # with them the averages are right to about 1e-9, x to 1e-7
# Where x >= 0 binds, the dual grows like s: after so many first kinks RTOL of it is too much for other coordinates.
LATE, LATE_RTOL = 1e6, 1e-9


@jax.jit
def flows(factors: Any, targets: Any, layers: Layers, times: Any) -> tuple[Any, Any, Any]:
    """x and its averages at the rescaled times and `Result` codes, for `solved`; the average up to s = 0 is x(0)."""

    def one(factor: Any, target: Any, at: Any) -> tuple[Any, Any, Any]:
        solution, integral, found = flow(factor, target, layers, at)
        sound = jnp.all(_descends(factor, target, layers, solution))
        result = jnp.where(sound, found.result, jnp.maximum(found.result, int(Result.NONFINITE)))
        late, since = (at > 0.0)[:, None], jnp.where(at > 0.0, at, 1.0)[:, None]
        return solution, jnp.where(late, integral / since, solution), result

    return batched_map(one, factors, targets, times)


def flow(factor: Any, target: Any, layers: Layers, at: Any) -> tuple[Any, Any, Trajectory]:
    """x (K, d) and z = int_0^s x (K, d) at the rescaled times `at` (K,), nondecreasing; the loss is |F x - b|^2 / 2.

    What is integrated is y = s b - F z (q,), whose limit is finite, with w = F^T y, and z beside it: s r - M z would
    lose its digits to cancellation at late times. In units of time 1/max |r_i| and of z 1/max M_ii. A solve costs one
    Cholesky factor of I + shift F diag(c) F^T, c = dx/dw >= 0, as large as the rank of the loss.
    """
    linear = target @ factor
    units = jnp.max(jnp.abs(linear)), jnp.max(jnp.sum(factor * factor, axis=0))
    time, size = (jnp.where(unit > 0.0, unit, 1.0) for unit in units)
    scaled = Layers(
        layers.log_inverse, layers.plus * size / time, layers.minus * size / time, layers.weight_decay / time
    )
    factor, target = factor / jnp.sqrt(size), target * jnp.sqrt(size) / time
    rank = target.shape[0]

    def field(s: Any, state: Any) -> Any:
        plus, minus = _signed(factor, scaled, s, state[:rank])
        x = plus - minus
        return jnp.concatenate([target - factor @ x, x])

    def linearise(s: Any, state: Any, shift: Any) -> Any:
        plus, minus = _signed(factor, scaled, s, state[:rank])
        rate = scaled.log_inverse * (plus + minus)
        drift = -scaled.log_inverse * scaled.weight_decay * (plus - minus)
        inner = jnp.eye(rank, dtype=factor.dtype) + (shift * factor * rate[None, :]) @ factor.T
        root = jax.scipy.linalg.cho_factor(inner, lower=True)

        def solve(b: Any) -> Any:
            dual = jax.scipy.linalg.cho_solve(root, b[:rank])
            return jnp.concatenate([dual, b[rank:] + shift * rate * (dual @ factor)])

        return solve, jnp.concatenate([-(factor @ drift), drift])

    start = jnp.zeros(rank + linear.shape[0], linear.dtype)
    rtol = jnp.where(at[-1] * time > LATE, LATE_RTOL, RTOL)
    found = integrate(field, linearise, start, at * time, FIRST_STEP, rtol=rtol, atol=ATOL)
    slopes = jax.vmap(lambda s, state: field(s, state)[rank:])(at * time, found.states)
    return slopes * time / size, found.states[:, rank:] / size, found


def _descends(factor: Any, target: Any, layers: Layers, solution: Any) -> Any:
    """Whether l(x) + lambda |x|_1 stays below l + lambda (|u|^2 + |v|^2) / 2 of the start: no flow climbs."""

    def loss(x: Any) -> Any:
        return 0.5 * jnp.sum((factor @ x - target) ** 2)

    small = jnp.exp(-layers.log_inverse)
    whole = small * (layers.plus + layers.minus)
    start = loss(small * (layers.plus - layers.minus)) + layers.weight_decay * jnp.sum(whole)
    values = jax.vmap(lambda x: loss(x) + layers.weight_decay * jnp.sum(jnp.abs(x)))(solution)
    return values <= start + 1e-6 * (start + loss(whole))


def _signed(factor: Any, layers: Layers, s: Any, dual: Any) -> tuple[Any, Any]:
    """The two parts of x, both >= 0: x = first - second."""
    wall = 1.0 + layers.weight_decay * s
    rise, fall = (layers.log_inverse * (sign * (dual @ factor) - wall) for sign in (1.0, -1.0))
    return layers.plus * jnp.exp(jnp.minimum(rise, LARGEST)), layers.minus * jnp.exp(jnp.minimum(fall, LARGEST))
