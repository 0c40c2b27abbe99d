"""Gradient flow of a diagonal network in the log domain: exact at every scale of the initialisation.

With L = -log_scale, s the rescaled time, z(s) = int_0^s x and w = s r - M z,

    dz_i/ds = x_i = p_i e^{L (w_i - 1 - lambda s)} - m_i e^{L (-w_i - 1 - lambda s)}

where (p, m) = ((beta + gamma)^2, (beta - gamma)^2) / 4 for x = u v and (alpha^2, 0) for x = u u. The initialisation
enters through L alone, so that 1e-160 is no harder to represent than 1e-5 (derived from arXiv:2509.18766, section 2).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.networks.diagonal.quadratic import Quadratic
from solvable.numerics.precision import batched_map
from solvable.numerics.results import Result
from solvable.numerics.rosenbrock import Trajectory, integrate

LARGEST = 700.0  # exponents are cut here, where trial steps would overflow
FIRST_STEP = 1e-3


class Layers(NamedTuple):
    """What the flow knows of a network: L, the weights p and m (d,) of both signs, the weight decay lambda."""

    log_inverse: Float[Array, ""]
    plus: Float[Array, "d"]
    minus: Float[Array, "d"]
    weight_decay: Float[Array, ""]


def flows(problems: list[Quadratic], layers: Layers, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (R, K, d), averages (R, K, d) and `Result` codes (R,) of problems of one dimension at the times (R, K).

    The average up to s = 0 is x(0). A run that fails is NaN throughout.
    """
    factors, linears, layers, stops, (count, dim) = padded(problems, layers, times)
    solution, integral, result = _flows(factors, linears, layers, stops)
    solution, integral = (np.array(part)[:, :count, :dim] for part in (solution, integral))
    average = np.where(times[..., None] > 0.0, integral / np.where(times > 0.0, times, 1.0)[..., None], solution)
    result = np.array(result)
    solution[result != int(Result.SUCCESSFUL)] = np.nan
    average[result != int(Result.SUCCESSFUL)] = np.nan
    return solution, average, result


@jax.jit
def _flows(factors: Any, linears: Any, layers: Layers, times: Any) -> tuple[Any, Any, Any]:
    def one(factor: Any, linear: Any, at: Any) -> tuple[Any, Any, Any]:
        solution, integral, found = flow(factor, linear, layers, at)
        return solution, integral, found.result

    return batched_map(one, factors, linears, times)


def padded(
    problems: list[Quadratic], layers: Layers, stops: np.ndarray
) -> tuple[Any, Any, Layers, Any, tuple[int, int]]:
    """Stacked factors (R, q, d), linear terms (R, d), layers and stops (R, K), and the true (K, d).

    Sizes are rounded up by an eighth at most, so that problems of similar sizes share what is compiled: with rows and
    columns of zeros, coordinates of weight zero and the last stop again, which change nothing.
    """
    count, dim = stops.shape[1], problems[0].dim
    rows = _rounded(max(problem.factor.shape[0] for problem in problems))
    columns = _rounded(dim)
    factors, linears = np.zeros((len(problems), rows, columns)), np.zeros((len(problems), columns))
    for number, problem in enumerate(problems):
        factors[number, : problem.factor.shape[0], :dim] = problem.factor
        linears[number, :dim] = problem.linear
    stops = np.concatenate([stops, np.repeat(stops[:, -1:], _rounded(count) - count, axis=1)], axis=1)
    plus, minus = (jnp.pad(weights, (0, columns - dim)) for weights in (layers.plus, layers.minus))
    return factors, linears, Layers(layers.log_inverse, plus, minus, layers.weight_decay), stops, (count, dim)


def _rounded(size: int) -> int:
    """`size` rounded up to a multiple of 4, or of its eighth's power of two where that is larger."""
    step = max(4, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


def flow(factor: Any, linear: Any, layers: Layers, at: Any) -> tuple[Any, Any, Trajectory]:
    """x (K, d) and z = int_0^s x (K, d) at the rescaled times `at` (K,), nondecreasing; the loss is |F x|^2/2 - <r, x>.

    Integrated in units of time 1/max |r_i| and of z 1/max M_ii. The Jacobian is -diag(c) F^T F with c >= 0, so that a
    solve costs one Cholesky factor of I + shift F diag(c) F^T, as large as the rank of the loss.
    """
    time, size = _units(factor, linear)
    scaled = Layers(
        layers.log_inverse, layers.plus * size / time, layers.minus * size / time, layers.weight_decay / time
    )
    factor, linear = factor / jnp.sqrt(size), linear / time
    found = integrate(
        lambda s, z: _slope(factor, linear, scaled, s, z),
        lambda s, z, shift: _linearise(factor, linear, scaled, s, z, shift),
        jnp.zeros_like(linear),
        at * time,
        FIRST_STEP,
    )
    slopes = jax.vmap(lambda s, z: _slope(factor, linear, scaled, s, z))(at * time, found.states)
    return slopes * time / size, found.states / size, found


def _units(factor: Any, linear: Any) -> tuple[Any, Any]:
    time, size = jnp.max(jnp.abs(linear)), jnp.max(jnp.sum(factor * factor, axis=0))
    return jnp.where(time > 0.0, time, 1.0), jnp.where(size > 0.0, size, 1.0)


def _signed(factor: Any, linear: Any, layers: Layers, s: Any, z: Any) -> tuple[Any, Any]:
    """The two parts of x, both >= 0: x = first - second."""
    dual = s * linear - (factor @ z) @ factor
    wall = 1.0 + layers.weight_decay * s
    rise, fall = (layers.log_inverse * (sign * dual - wall) for sign in (1.0, -1.0))
    return layers.plus * jnp.exp(jnp.minimum(rise, LARGEST)), layers.minus * jnp.exp(jnp.minimum(fall, LARGEST))


def _slope(factor: Any, linear: Any, layers: Layers, s: Any, z: Any) -> Any:
    plus, minus = _signed(factor, linear, layers, s, z)
    return plus - minus


def _linearise(factor: Any, linear: Any, layers: Layers, s: Any, z: Any, shift: Any) -> Any:
    plus, minus = _signed(factor, linear, layers, s, z)
    rate = layers.log_inverse * (plus + minus)
    in_time = rate * linear - layers.log_inverse * layers.weight_decay * (plus - minus)
    inner = jnp.eye(factor.shape[0], dtype=factor.dtype) + (shift * factor * rate[None, :]) @ factor.T
    root = jax.scipy.linalg.cho_factor(inner, lower=True)

    def solve(b: Any) -> Any:
        # (I + a C F^T F)^-1 = I - a C F^T (I + a F C F^T)^-1 F
        return b - shift * rate * (jax.scipy.linalg.cho_solve(root, factor @ b) @ factor)

    return solve, in_time
