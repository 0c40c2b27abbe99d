"""Gradient descent of a diagonal network, step by step, with the logarithms of its parameters stored."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solvable.networks.diagonal.flow import Layers, padded
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.numerics.precision import batched_map
from solvable.numerics.results import Result


def descents(
    problems: list[Quadratic], layers: Layers, rate: Any, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (R, K, d), the averages of the iterates before (R, K, d) and `Result` codes (R,) after `steps` (R, K).

    `rate` is the factor of dl/dx + lambda in a step of u + v or u - v.
    """
    factors, targets, layers, stops, (count, dim) = padded(problems, layers, steps)
    found = _descents(factors, targets, layers, rate, stops)
    solution, average = (np.array(part)[:, :count, :dim] for part in found)
    lost = ~np.isfinite(solution).all(axis=(1, 2)) | ~np.isfinite(average).all(axis=(1, 2))
    for part in (solution, average):
        part[lost] = np.nan
    return solution, average, np.where(lost, int(Result.NONFINITE), int(Result.SUCCESSFUL))


@jax.jit
def _descents(factors: Any, targets: Any, layers: Layers, rate: Any, stops: Any) -> tuple[Any, Any]:
    return batched_map(
        lambda factor, target, stop: _descend(factor, target, layers, rate, stop), factors, targets, stops
    )


def _descend(factor: Any, target: Any, layers: Layers, rate: Any, stops: Any) -> tuple[Any, Any]:
    def split(logs: Any) -> tuple[Any, Any]:
        return jnp.exp(logs[0]), jnp.exp(logs[1])

    def step(_: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        logs, total = state
        plus, minus = split(logs)
        x = plus - minus
        gradient = (factor @ x - target) @ factor
        signed = jnp.stack([gradient, -gradient])
        # the square of a parameter is multiplied by the square of its factor
        logs = logs + 2.0 * jnp.log(jnp.abs(1.0 - rate * (signed + layers.weight_decay)))
        return logs, total + x

    def segment(carry: Any, stop: Any) -> Any:
        done, state = carry
        state = jax.lax.fori_loop(done, stop, step, state)
        plus, minus = split(state[0])
        x = plus - minus
        return (stop, state), (x, jnp.where(stop > 0, state[1] / jnp.maximum(stop, 1).astype(x.dtype), x))

    logs = jnp.log(jnp.stack([layers.plus, layers.minus])) - layers.log_inverse
    start = (jnp.zeros((), stops.dtype), (logs, jnp.zeros_like(layers.plus)))
    return jax.lax.scan(segment, start, stops)[1]
