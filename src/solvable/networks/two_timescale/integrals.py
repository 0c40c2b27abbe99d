"""The population risk of a network with sigmoids of a finite width, by exact integrals piece by piece.

sigma(z) = 4 (z + 1/2)^3 on [-1/2, 0], 1 - 4 (1/2 - z)^3 on [0, 1/2], 0 before and 1 after: between the sorted points
u_j, u_j +- width/2 and the jumps every integrand is a polynomial of degree 6 or less, which four Gauss nodes integrate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from solvable.lab.declare import float64, on_the_host
from solvable.networks.two_timescale.task import LEAST_WIDTH, PiecewiseConstant, fitting_width, targeted
from solvable.numerics.results import is_traced
from solvable.numerics.validation import floating, number

NODES, WEIGHTS = np.polynomial.legendre.leggauss(4)
FLOOR = 1.0 / 28.0  # int (sigma - step)^2


def sigmoid(z: Any, space: Any = np) -> tuple[Any, Any, Any]:
    """sigma(z), sigma'(z) and sigma''(z)."""
    r = space.maximum(0.5 - space.abs(z), 0.0)
    cubic = 4.0 * r * r * r
    return space.where(z < 0.0, cubic, 1.0 - cubic), 12.0 * r * r, -24.0 * r * space.sign(z)


def rule(task: PiecewiseConstant, positions: Any, width: Any, space: Any = np) -> tuple[Any, Any, Any]:
    """Nodes x (N,), weights (N,) and f*(x) (N,) of the exact integral over [0, 1], for neurons at positions (m,)."""
    half = 0.5 * width
    ends = [space.zeros(1), task.positions, positions - half, positions, positions + half, space.ones(1)]
    points = space.sort(space.clip(space.concatenate(ends), 0.0, 1.0))
    low, length = points[:-1, None], (points[1:] - points[:-1])[:, None]
    middle = low[:, 0] + 0.5 * length[:, 0]
    target = task.bias + space.where(middle[:, None] >= task.positions[None, :], task.jumps[None, :], 0.0).sum(1)
    x = low + length * (0.5 + 0.5 * NODES)[None, :]
    return x.ravel(), (length * (0.5 * WEIGHTS)[None, :]).ravel(), space.repeat(target, len(NODES))


@float64
def risk(task: Any, positions: Any, outer: Any, bias: Any, width: Any) -> Any:
    """int_0^1 (f - f*)^2, f(x) = bias + sum_j outer_j sigma((x - positions_j)/width); no 1/2, no label noise.

    positions (m,) and outer (m,), anywhere; exact, and differentiable with JAX.

    Raises: TypeError for another task; ValueError for other shapes, and a width that is not above 0.
    """
    task = targeted(task)
    positions, outer = floating("positions", positions, np.float64), floating("outer", outer, np.float64)
    if np.ndim(positions) != 1 or np.shape(outer) != np.shape(positions):
        raise ValueError(f"positions and outer have shapes {np.shape(positions)}, {np.shape(outer)}; accepted: (m,)")
    bias, width = number("bias", bias), number("width", width, at_least=LEAST_WIDTH)
    traced = is_traced(task, positions, outer, bias, width)
    with np.errstate(over="ignore"):
        found = population_risk(task, positions, outer, bias, width, jnp if traced else np)
    return found if traced else float(found)


def population_risk(task: Any, positions: Any, outer: Any, bias: Any, width: Any, space: Any = jnp) -> Any:
    """`risk`, unchecked."""
    x, weight, target = rule(task, positions, width, space)
    sigma, _, _ = sigmoid((x[:, None] - positions[None, :]) / width, space)
    return space.sum(weight * (bias + sigma @ outer - target) ** 2)


class Readout(NamedTuple):
    """The best outer weights (m,) and bias for given positions, and their risk."""

    outer: np.ndarray
    bias: float
    risk: float


def best_readout(task: Any, positions: Any, width: Any) -> Readout:
    """The least risk over outer weights and bias at positions (m,); the smallest weights where several reach it.

    Raises: TypeError for another task; ValueError for other shapes, and a width that is not above 0.
    """
    task, width = targeted(task), number("width", width, at_least=LEAST_WIDTH)
    on_the_host("best_readout", task, positions, width)
    positions = floating("positions", positions, np.float64)
    if positions.ndim != 1 or positions.size == 0:
        raise ValueError(f"positions has shape {positions.shape}; accepted: (m,), one neuron or more")
    x, weight, target = rule(task, positions, width)
    features = np.concatenate([np.ones((len(x), 1)), sigmoid((x[:, None] - positions) / width)[0]], axis=1)
    root = np.sqrt(weight)
    found = np.linalg.lstsq(root[:, None] * features, root * target, rcond=1e-13)[0]
    return Readout(found[1:], float(found[0]), float(weight @ (features @ found - target) ** 2))


def width_floor(task: Any, width: Any) -> float:
    """width/28 sum jump^2: what the best sigmoids of this width leave, one on every jump (derived).

    Raises: TypeError for another task; ValueError for width <= 0 or wider than the smallest piece.
    """
    task = targeted(task)
    on_the_host("width_floor", task, width)
    return float(FLOOR * fitting_width(task, width) * np.sum(task.jumps**2))
