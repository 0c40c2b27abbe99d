"""The layers themselves: gradient flow of u and v in training time, by an explicit method."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

from solvable.networks.diagonal.flow import Layers
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.numerics.results import Result

RTOL = 1e-10
SMALLEST = -600.0  # below this log scale float64 does not hold the squares of the parameters


def train_layers(
    problem: Quadratic, layers: Layers, speed: float, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """x (K, d), averages (K, d) and a `Result` code at the rescaled times (K,), by integrating the two layers.

    The unknowns are (u + v) / 2 and (u - v) / 2, of which u and v are sums and differences: the same two layers, but
    float64 keeps the difference too, which decides when a coordinate changes sign. `speed` is ds/dt times L: 2 for
    "product", 4 for "square", whose flow is twice as fast.
    """
    factor, linear = np.asarray(problem.factor), np.asarray(problem.linear)
    scale, decay = float(layers.log_inverse), float(layers.weight_decay)
    weights = np.concatenate([np.asarray(layers.plus), np.asarray(layers.minus)])
    dim = linear.size
    start = np.concatenate([np.exp(-0.5 * scale) * np.sqrt(weights), np.zeros(dim)])

    def velocity(_: float, state: np.ndarray) -> np.ndarray:
        first, second = state[:dim], state[dim : 2 * dim]
        x = first * first - second * second
        gradient = (factor @ x) @ factor - linear
        rate = 0.5 * speed
        return np.concatenate([-rate * first * (gradient + decay), -rate * second * (decay - gradient), x])

    stops = times * scale / speed
    atol = np.concatenate([np.full(2 * dim, 1e-300), np.full(dim, 1e-12)])
    with np.errstate(over="ignore", invalid="ignore"):
        found = solve_ivp(velocity, (0.0, max(float(stops[-1]), 1e-300)), start, "DOP853", stops, rtol=RTOL, atol=atol)
    if not found.success or found.y.shape[1] != len(times):
        lost = np.full((len(times), dim), np.nan)
        return lost, lost.copy(), int(Result.NONFINITE)
    first, second, integral = np.split(found.y, 3)
    solution = (first * first - second * second).T
    whole = stops[:, None] > 0.0
    average = np.where(whole, integral.T / np.where(whole, stops[:, None], 1.0), solution)
    return solution, average, int(Result.SUCCESSFUL)
