"""The Euclidean hard margin, min ||w||_2 subject to A w >= h, or a certificate that no w satisfies it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from solvable.numerics.minimum_norm.bracket import bracketed
from solvable.numerics.minimum_norm.pivoting import nonnegative_quadratic

# A ridge of this share of the mean diagonal keeps the Cholesky factors of the pivoting alive.
RIDGE = 1e-13
# A best margin below the first (of rows of norm 1) is called none; pivoting is trusted to a relative gap of the second,
# else a slower method has its turn.
NO_MARGIN, TRUSTED = 1e-12, 1e-11


class LeastDistance(NamedTuple):
    """`weights` (D,) and `multipliers` (m,) of the program when `feasible`; when not (False), or undecided (None), the
    multipliers of Farkas' alternative."""

    weights: np.ndarray
    multipliers: np.ndarray
    feasible: bool | None
    steps: int


def solve_least_distance(rows: np.ndarray, targets: np.ndarray) -> LeastDistance:
    """min ||w||_2 subject to A w >= h, for rows A (m, D) of norm 1 or 0 and targets h (m,) the largest of which is 1.

    The dual min ||A^T y||^2/2 - h.y over y >= 0 is solved by pivoting, and w = A^T y. Where that is not optimal to
    1e-11 (dependent rows, no feasible w, a tiny margin), nonnegative least squares decides.
    """
    m, dim = rows.shape
    steps = 0
    if m <= dim:
        multipliers, steps = multipliers_by_pivoting(rows, targets, np.zeros(m), np.ones(m, bool))
        if multipliers is not None:
            found = bracketed(rows, targets, 2.0, rows.T @ multipliers, multipliers)
            if found.gap <= TRUSTED and found.lower < 1.0 / NO_MARGIN:
                return LeastDistance(found.weights, multipliers, True, steps)
    multipliers = multipliers_by_least_squares(rows, targets)
    if multipliers is None:
        return LeastDistance(np.full(dim, np.nan), np.ones(m), None, steps)
    found = bracketed(rows, targets, 2.0, rows.T @ multipliers, multipliers)
    if found.lower >= 1.0 / NO_MARGIN:
        return LeastDistance(np.full(dim, np.nan), multipliers, False, steps + 1)
    if found.gap > TRUSTED:
        # The system of the rows with a multiplier, solved anew.
        support = multipliers > 0.0
        weights = np.linalg.lstsq(rows[support], targets[support], rcond=None)[0]
        anew = np.zeros(m)
        anew[support] = np.maximum(np.linalg.lstsq(rows[support].T, weights, rcond=None)[0], 0.0)
        found = bracketed(rows, targets, 2.0, weights, anew, found)
    feasible = True if found.upper < np.inf else None
    return LeastDistance(found.weights, found.multipliers, feasible, steps + 1)


def multipliers_by_pivoting(
    rows: np.ndarray, targets: np.ndarray, near: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray | None, int]:
    """argmin over y >= 0 of ||A^T y||^2/2 - h.y, and the steps taken; None when pivoting gave up.

    The ridge is proximal, around the multipliers `near` (m,), so that it leaves no mark where `near` converges;
    `positive` (m,) bool says which are first guessed to be positive.
    """
    kernel = rows @ rows.T
    ridge = RIDGE * float(np.trace(kernel)) / targets.size
    kernel[np.diag_indices_from(kernel)] += ridge
    return nonnegative_quadratic(kernel, targets + ridge * near, positive)


def multipliers_by_least_squares(rows: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """The same up to a factor, slower, but dependent rows do no harm; None when it ran out of iterations.

    With E = [A^T; h^T], f the last unit vector and y = argmin ||E y - f|| over y >= 0, the residual r = E y - f is zero
    exactly when no w is feasible (then A^T y = 0 and h.y = 1), else w is along A^T y, and y/(1 - h.y) is the argmin
    above (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23).
    """
    system = np.vstack([rows.T, targets])
    goal = np.zeros(system.shape[0])
    goal[-1] = 1.0
    try:
        return nnls(system, goal, maxiter=30 * targets.size)[0]
    except RuntimeError:
        return None
