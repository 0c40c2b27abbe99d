"""The covariance of the noise, from the scatter of tokens within negative bags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from solvable.bags.passes import token_means

ENOUGH = 2.0  # degrees of freedom a dimension; below, the covariance is shrunk
SINGULAR = 1e-8


@dataclass(frozen=True)
class Noise:
    """`covariance` (d, d) estimated with `freedom` degrees of freedom, its Cholesky `factor`, whether it is `shrunk`.

    `inflation` is E[inverse of the estimate] times the covariance, freedom / (freedom - d - 1), for Gaussian tokens
    (the mean of the inverse Wishart law); 1 where the covariance is shrunk, for which no such factor is known.
    """

    covariance: np.ndarray
    factor: np.ndarray
    freedom: int
    shrunk: bool
    inflation: float

    def whiten(self, values: np.ndarray) -> np.ndarray:
        """Rows x as C^-1 x, C the Cholesky factor: noise of unit covariance."""
        return solve_triangular(self.factor, values.T, lower=True, check_finite=False).T

    def direction(self, whitened: np.ndarray) -> np.ndarray:
        """The w with <w, x> = <whitened, C^-1 x>."""
        return solve_triangular(self.factor, whitened, lower=True, trans=1, check_finite=False)


def within_bags(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Tokens minus the mean of their bag."""
    return values - np.repeat(token_means(values, offsets), np.diff(offsets), axis=0)


def noise_of(values: np.ndarray, offsets: np.ndarray, shrink: bool = False) -> Noise:
    """The noise of bags of negative tokens: S = sum of centred outer products / (N - n).

    With `shrink`, fewer than 2 d degrees of freedom, or a singular S, Ledoit and Wolf's shrinkage towards a multiple of
    the identity (scikit-learn's) replaces S.
    """
    centred = within_bags(values, offsets)
    freedom, dim = len(values) - (len(offsets) - 1), values.shape[1]
    covariance = centred.T @ centred / max(freedom, 1)
    shrunk = shrink or freedom < ENOUGH * dim or bool(np.linalg.eigvalsh(covariance)[0] < SINGULAR)
    if shrunk:
        from sklearn.covariance import ledoit_wolf

        # Centring within bags leaves fewer degrees of freedom than rows; one scale makes up for it.
        covariance = ledoit_wolf(centred, assume_centered=True)[0] * (len(values) / max(freedom, 1))
        covariance = covariance + SINGULAR * max(float(np.trace(covariance)) / dim, SINGULAR) * np.eye(dim)
    inflation = 1.0 if shrunk else freedom / (freedom - dim - 1)
    return Noise(covariance, np.linalg.cholesky(covariance), freedom, shrunk, inflation)
