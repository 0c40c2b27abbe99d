"""The two layers: what a solver knows of them, gradient descent step by step, gradient flow by an explicit method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.integrate import solve_ivp

from solvable.lab.declare import Result, batched_map, recorded
from solvable.networks.diagonal.quadratic import Quadratic

RTOL, ATOL = 1e-12, 1e-10
Solved = tuple[np.ndarray, np.ndarray, np.ndarray]  # x (R, K, d), averages (R, K, d), `Result` codes (R,)
NOTHING = -1e12  # the logarithm of a parameter that is not there


class Layers(NamedTuple):
    """What a solver knows of a network: L, the weights p and m (d,) of both signs, the weight decay lambda."""

    log_inverse: Float[Array, ""]
    plus: Float[Array, "d"]
    minus: Float[Array, "d"]
    weight_decay: Float[Array, ""]


def solved(
    solve: Callable[..., Any], problems: Sequence[Quadratic], layers: Layers, stops: np.ndarray, *rest: Any
) -> Solved:
    """What `solve` finds for problems of one dimension at their `stops` (R, K); a run that fails is NaN throughout.

    `solve` takes stacked factors F (R, q, d), targets b (R, q) with F^T b = r, the layers, the stops, the rest. Sizes
    are rounded up by an eighth at most, so that problems of similar sizes share what is compiled: with rows and columns
    of zeros, coordinates of weight zero and the last stop again, which change nothing.
    """
    count, dim = stops.shape[1], problems[0].dim
    rows = _rounded(max(problem.factor.shape[0] for problem in problems))
    columns = _rounded(dim)
    factors, targets = np.zeros((len(problems), rows, columns)), np.zeros((len(problems), rows))
    for number, problem in enumerate(problems):
        factors[number, : problem.factor.shape[0], :dim] = problem.factor
        targets[number, : problem.factor.shape[0]] = problem.target
    stops = np.concatenate([stops, np.repeat(stops[:, -1:], _rounded(count) - count, axis=1)], axis=1)
    plus, minus = (jnp.pad(weights, (0, columns - dim)) for weights in (layers.plus, layers.minus))
    found = solve(factors, targets, layers._replace(plus=plus, minus=minus), stops, *rest)
    solution, average, result = (np.array(part) for part in found)
    solution, average = solution[:, :count, :dim], average[:, :count, :dim]
    there = np.isfinite(solution).all(axis=(1, 2)) & np.isfinite(average).all(axis=(1, 2))
    result = np.where((result == int(Result.SUCCESSFUL)) & ~there, int(Result.NONFINITE), result)
    lost = result != int(Result.SUCCESSFUL)
    solution[lost] = average[lost] = np.nan
    return solution, average, result


def _rounded(size: int) -> int:
    """`size` rounded up to a multiple of 4, or of its eighth's power of two where that is larger."""
    step = max(4, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


@jax.jit
def descents(factors: Any, targets: Any, layers: Layers, stops: Any, rate: Any) -> tuple[Any, Any, Any]:
    """x and the averages of the iterates before after so many steps of descent, for `solved`.

    `rate` is the factor of dl/dx + lambda in a step of u + v or u - v, whose logarithms are stored.
    """

    def solution(logs: Any) -> Any:
        return jnp.exp(logs[..., 0, :]) - jnp.exp(logs[..., 1, :])

    def one(factor: Any, target: Any, stops: Any) -> tuple[Any, Any, Any]:
        def step(_: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
            logs, total = state
            x = solution(logs)
            gradient = (factor @ x - target) @ factor
            signed = jnp.stack([gradient, -gradient])
            # the square of a parameter is multiplied by the square of its factor
            return logs + 2.0 * jnp.log(jnp.abs(1.0 - rate * (signed + layers.weight_decay))), total + x

        logs = jnp.log(jnp.stack([layers.plus, layers.minus])) - layers.log_inverse
        _, (logs, totals) = recorded(step, (logs, jnp.zeros_like(layers.plus)), stops)
        x, done = solution(logs), stops[:, None]
        average = jnp.where(done > 0, totals / jnp.maximum(done, 1).astype(x.dtype), x)
        return x, average, jnp.array(int(Result.SUCCESSFUL))

    return batched_map(one, factors, targets, stops)


def train_layers(problem: Quadratic, layers: Layers, speed: float, times: np.ndarray) -> tuple[Any, Any, int]:
    """x (K, d), averages (K, d) and a `Result` code at the rescaled times (K,), by integrating the two layers.

    The unknowns are the logarithms of (u + v) / 2 and (u - v) / 2, of which u and v are sums and differences: the same
    two layers, but float64 keeps the difference too, which decides when a coordinate changes sign. `speed` is ds/dt
    times L: 2 for "product", 4 for "square", whose flow is twice as fast.
    """
    factor, linear = np.asarray(problem.factor), np.asarray(problem.linear)
    scale, decay = float(layers.log_inverse), float(layers.weight_decay)
    weights = np.concatenate([np.asarray(layers.plus), np.asarray(layers.minus)])
    dim = linear.size
    logs = np.where(weights > 0.0, 0.5 * (np.log(np.where(weights > 0.0, weights, 1.0)) - scale), NOTHING)
    start = np.concatenate([logs, np.zeros(dim)])

    def velocity(_: float, state: np.ndarray) -> np.ndarray:
        x = np.exp(2.0 * state[:dim]) - np.exp(2.0 * state[dim : 2 * dim])
        gradient = (factor @ x) @ factor - linear
        rate = 0.5 * speed
        return np.concatenate([-rate * (gradient + decay), -rate * (decay - gradient), x])

    stops = times * scale / speed
    with np.errstate(over="ignore", invalid="ignore"):
        found = solve_ivp(velocity, (0.0, max(float(stops[-1]), 1e-300)), start, "DOP853", stops, rtol=RTOL, atol=ATOL)
    if not found.success or found.y.shape[1] != len(times):
        lost = np.full((len(times), dim), np.nan)
        return lost, lost, int(Result.NONFINITE)
    first, second, integral = np.split(found.y, 3)
    solution = (np.exp(2.0 * first) - np.exp(2.0 * second)).T
    whole = stops[:, None] > 0.0
    average = np.where(whole, integral.T / np.where(whole, stops[:, None], 1.0), solution)
    return solution, average, int(Result.SUCCESSFUL)
