"""Newton's quadratic program of a hard margin: a weighted least distance on the rows that are or come near active."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs  # pyright: ignore[reportAttributeAccessIssue]
from scipy.optimize import nnls

from solvable.numerics.minimum_norm.pivoting import nonnegative_quadratic

# A ridge of this share of the mean diagonal keeps the Cholesky factors alive, at most RIDGES times as strong.
RIDGE, RIDGES = 1e-13, (1.0, 1e2, 1e4)
# Rows within this share of the largest target of being active join the program at once.
NEAR = 0.3


def newton_step(
    rows: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    centre: np.ndarray,
    inverse: np.ndarray,
    multipliers: np.ndarray,
) -> tuple[np.ndarray, np.ndarray] | None:
    """x = argmin sum_i (x_i - c_i)^2/(2 r_i) subject to A x >= h, and its multipliers; None when both methods gave up.

    `centre` c and `inverse` r > 0 (the inverse curvature) are (D,); x = c + r A^T lambda, and lambda >= 0 minimises
    lambda^T A diag(r) A^T lambda/2 - (h - A c).lambda. A row is left out until `weights` are near it, it has one of the
    `multipliers` (m,), from which pivoting starts, or the answer without it breaks it.
    """
    size = float(np.max(targets))
    working = (rows @ weights < targets + NEAR * size) | (multipliers > 0.0)
    asked, root = targets - rows @ centre, np.sqrt(inverse)
    positive = multipliers > 0.0
    while True:
        chosen = np.flatnonzero(working)
        scaled = rows[chosen] * root
        part = _pivoted(scaled @ scaled.T, asked[chosen], multipliers[chosen], positive[chosen])
        if part is None:
            part = _by_least_squares(scaled, asked[chosen])
        if part is None:
            return None
        found = np.zeros_like(multipliers)
        found[chosen] = part
        moved = centre + inverse * (rows.T @ found)
        broken = ~working & (rows @ moved < targets - 1e-12 * size)
        if not np.any(broken):
            return _met(rows, targets, moved, found > 0.0), found
        working, positive = working | broken, (found > 0.0) | broken


def _pivoted(kernel: np.ndarray, asked: np.ndarray, multipliers: np.ndarray, positive: np.ndarray) -> np.ndarray | None:
    ridge = RIDGE * float(np.trace(kernel)) / asked.size
    for strength in RIDGES:
        # The ridge is proximal, around the last multipliers, so that it leaves no mark where the steps converge.
        ridged = kernel + strength * ridge * np.eye(asked.size)
        found, _ = nonnegative_quadratic(ridged, asked + strength * ridge * multipliers, positive)
        if found is not None:
            return found
    return None


def _by_least_squares(scaled: np.ndarray, asked: np.ndarray) -> np.ndarray | None:
    """The multipliers of min ||v||_2 subject to B v >= b: slower than pivoting, but dependent rows do no harm."""
    system = np.vstack([scaled.T, asked])
    goal = np.zeros(system.shape[0])
    goal[-1] = 1.0
    try:
        found, _ = nnls(system, goal, maxiter=30 * asked.size)
    except RuntimeError:  # it ran out of iterations
        return None
    rest = 1.0 - float(asked @ found)
    return found / rest if rest > 0.0 else None


def _met(rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, support: np.ndarray) -> np.ndarray:
    """The nearest weights that meet the supporting rows, which rounding in A^T lambda has made them miss.

    A large inverse curvature magnifies that rounding; a Euclidean correction knows nothing of the curvature.
    """
    active = rows[support]
    rounding = 1e-14 * np.linalg.norm(active, axis=1) * np.linalg.norm(weights)
    missed = targets[support] - active @ weights
    if np.all(np.abs(missed) <= rounding):
        return weights
    kernel = active @ active.T
    kernel[np.diag_indices_from(kernel)] += RIDGE * float(np.trace(kernel)) / missed.size
    factor, failed = dpotrf(kernel)
    # The second turn takes away what the ridge has left.
    for _ in range(0 if failed else 2):
        weights = weights + dpotrs(factor, missed)[0] @ active
        missed = targets[support] - active @ weights
    return weights
