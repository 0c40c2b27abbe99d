"""Newton's quadratic program of a hard margin: a weighted least distance on the rows that are or come near active."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs  # pyright: ignore[reportAttributeAccessIssue]

from solvable.numerics.minimum_norm.least_distance import (
    RIDGE,
    multipliers_by_least_squares,
    multipliers_by_pivoting,
)

# Rows within this share of their target of being active join the program at once.
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

    `rows` A (m, D) have norm 1 or 0; `centre` c and `inverse` r > 0 (the inverse curvature) are (D,). With lambda the
    minimiser of lambda^T A diag(r) A^T lambda/2 - (h - A c).lambda over lambda >= 0, x = c + r A^T lambda. A row is
    left out until `weights` are near it, it has one of the `multipliers` (m,), from which pivoting starts, or the
    answer without it breaks it.
    """
    size = float(np.max(targets))
    working = (rows @ weights < (1.0 + NEAR) * targets) | (multipliers > 0.0)
    asked, root = targets - rows @ centre, np.sqrt(inverse)
    positive = multipliers > 0.0
    while True:
        chosen = np.flatnonzero(working)
        scaled = rows[chosen] * root
        part, _ = multipliers_by_pivoting(scaled, asked[chosen], multipliers[chosen], positive[chosen])
        if part is None:
            part = multipliers_by_least_squares(scaled, asked[chosen])
            rest = 0.0 if part is None else 1.0 - float(asked[chosen] @ part)
            if part is None or rest <= 0.0:
                return None
            part = part / rest
        found = np.zeros_like(multipliers)
        found[chosen] = part
        moved = centre + inverse * (rows.T @ found)
        broken = ~working & (rows @ moved < targets - 1e-12 * size)
        if not np.any(broken):
            return _met(rows, targets, moved, found > 0.0), found
        working, positive = working | broken, (found > 0.0) | broken


def _met(rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, support: np.ndarray) -> np.ndarray:
    """The nearest weights that meet the supporting rows, which rounding in A^T lambda has made them miss.

    A large inverse curvature magnifies that rounding; a Euclidean correction knows nothing of the curvature.
    """
    active = rows[support]
    rounding = 1e-14 * np.linalg.norm(weights)
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
