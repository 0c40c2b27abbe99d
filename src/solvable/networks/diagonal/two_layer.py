"""The layers themselves: gradient flow of u and v in training time, by an explicit method."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

from solvable.networks.diagonal.flow import Layers
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.numerics.results import Result

RTOL, ATOL = 1e-12, 1e-10
NOTHING = -1e12  # the logarithm of a parameter that is not there


def train_layers(
    problem: Quadratic, layers: Layers, speed: float, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
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
        return lost, lost.copy(), int(Result.NONFINITE)
    first, second, integral = np.split(found.y, 3)
    solution = (np.exp(2.0 * first) - np.exp(2.0 * second)).T
    whole = stops[:, None] > 0.0
    average = np.where(whole, integral.T / np.where(whole, stops[:, None], 1.0), solution)
    return solution, average, int(Result.SUCCESSFUL)
