"""Nonnegative quadratic programs with a positive definite matrix, by block principal pivoting."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dposv  # pyright: ignore[reportAttributeAccessIssue]

# Block exchanges allowed without progress, and pivoting steps altogether, before the program is given up.
PATIENCE, LIMIT = 10, 120


def nonnegative_quadratic(matrix: np.ndarray, linear: np.ndarray, passive: np.ndarray) -> tuple[np.ndarray | None, int]:
    """argmin over x >= 0 of x^T K x / 2 - b^T x, and the number of factorizations; None when pivoting gave up.

    `matrix` K (k, k) positive definite, `linear` b (k,), `passive` (k,) bool: the indices first guessed to be positive.
    Each pass solves K_PP x_P = b_P by Cholesky and exchanges every index with x_i < 0 or (K x - b)_i < 0; when the
    number of such indices has stopped falling, only the last of them (Murty's rule, finite for a positive definite
    K). Judice and Pires, Computers and Operations Research 21 (1994); Kim and Park, SIAM J. Sci. Comput. 33 (2011).
    """
    passive = passive.copy()
    slack = 1e-14 * max(float(np.max(np.abs(linear), initial=0.0)), 1e-300)
    fewest, patience = linear.size + 1, PATIENCE
    for factorizations in range(1, LIMIT + 1):
        chosen = np.flatnonzero(passive)
        solved = np.zeros(linear.size)
        if chosen.size:
            columns = matrix[:, chosen]
            _, part, failed = dposv(columns[chosen].T, linear[chosen], overwrite_a=True)
            if failed or not np.all(np.isfinite(part)):
                return None, factorizations
            solved[chosen] = part
            excess = columns @ part - linear
            negative = part < -1e-14 * np.max(np.abs(part))
            wrong = ~passive & (excess < -slack)
            wrong[chosen] = negative
        else:
            wrong = linear > slack
        count = int(np.count_nonzero(wrong))
        if count == 0:
            return np.maximum(solved, 0.0), factorizations
        if count < fewest:
            fewest, patience = count, PATIENCE
        elif patience > 0:
            patience -= 1
        else:
            last = np.flatnonzero(wrong)[-1]
            wrong = np.zeros_like(wrong)
            wrong[last] = True
        passive ^= wrong
    return None, LIMIT
