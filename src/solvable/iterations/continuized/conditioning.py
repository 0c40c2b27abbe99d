"""The constants on which steps and bounds depend."""

from __future__ import annotations

import dataclasses

import numpy as np

from solvable.iterations.continuized.task import GaussianLeastSquares, Objective, Problem, Spectral, spectral
from solvable.numerics.validation import instance


@dataclasses.dataclass(frozen=True)
class Constants:
    """smoothness L, strong_convexity mu, second_moment R^2, statistical_condition kappa~.

    Of quadratics and least squares L and mu are the largest and the least non-zero eigenvalue of H. R^2 and kappa~ are
    the least with E|a|^2 a a^T <= R^2 H and E|a|^2_(H^-1) a a^T <= kappa~ H for the rows a; where gradients are exact,
    or noisy but not by rows, R^2 = L and kappa~ = 1.
    """

    smoothness: float
    strong_convexity: float
    second_moment: float
    statistical_condition: float


def constants(problem: Problem) -> Constants:
    """The constants of a problem. Gaussian rows: R^2 = tr H + 2 max H, kappa~ = rank + 2.

    Raises: TypeError for what is no problem.
    """
    instance("problem", problem, (Problem,))
    if isinstance(problem, Objective):
        smooth, strong = float(problem.smoothness), float(problem.strong_convexity)
        return Constants(smooth, strong, smooth, 1.0)
    return of_spectrum(spectral(problem), isinstance(problem, GaussianLeastSquares))


def of_spectrum(problem: Spectral, gaussian: bool) -> Constants:
    """The constants of a problem in its eigenbasis."""
    values = np.asarray(problem.eigenvalues)
    inside = values > 0.0
    kept = values[inside]
    largest, least = float(kept.max()), float(kept.min())
    if gaussian:
        return Constants(largest, least, float(kept.sum()) + 2.0 * largest, len(kept) + 2.0)
    if problem.rows is None:
        return Constants(largest, least, largest, 1.0)
    rows = np.asarray(problem.rows)[:, inside]
    white = rows / np.sqrt(kept)
    both = [
        np.linalg.eigvalsh((white * (one**2).sum(1, keepdims=True)).T @ white / len(rows))[-1] for one in (rows, white)
    ]
    return Constants(largest, least, *map(float, both))
