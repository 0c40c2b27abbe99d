"""The Euclidean hard margin, min ||w||_2 subject to A w >= h, or a certificate that no w satisfies it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from solvable.numerics.minimum_norm.pivoting import nonnegative_quadratic

# A ridge of this share of the mean diagonal keeps the Cholesky factors of the pivoting alive; refinement undoes it.
RIDGE = 1e-13
# Rows have norm at most 1: a best margin below the first is called none; pivoting is trusted to a relative gap of the
# second, else the slower nonnegative least squares takes over.
NO_MARGIN, TRUSTED = 1e-12, 1e-11


class LeastDistance(NamedTuple):
    """`weights` (D,) feasible, and `multipliers` (m,), or weights None and the multipliers of Farkas' alternative."""

    weights: np.ndarray | None
    multipliers: np.ndarray
    steps: int


def least_distance(rows: np.ndarray, targets: np.ndarray) -> LeastDistance:
    """min ||w||_2 subject to A w >= h, for rows A (m, D) and targets h (m,), both of largest size about 1.

    The dual min ||A^T y||^2/2 - h^T y over y >= 0 is solved by pivoting; w = A^T y. Where its answer is not optimal to
    1e-11 (dependent rows, no feasible w, a tiny margin), nonnegative least squares decides: with E = [A^T; s h^T], f
    the last unit vector and y = argmin ||E y - f|| over y >= 0, the residual r = E y - f is zero exactly when no w is
    feasible (then A^T y = 0, h^T y = 1/s > 0), else w = -r[:D]/(s r[D]) (Lawson and Hanson 1974, chapter 23).
    """
    steps = 0
    if rows.shape[0] <= rows.shape[1]:
        multipliers, steps = _by_pivoting(rows, targets)
        if multipliers is not None and gap(rows, targets, rows.T @ multipliers, multipliers) <= TRUSTED:
            return LeastDistance(rows.T @ multipliers, multipliers, steps)
    return _by_least_squares(rows, targets, steps)


def gap(rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, multipliers: np.ndarray) -> float:
    """1 - (dual bound on the Euclidean norm)/(norm of the weights made feasible); inf where either is none."""
    reach = reached(rows, targets, weights)
    length = np.linalg.norm(rows.T @ multipliers)
    if reach <= 0.0 or length == 0.0:
        return np.inf
    return 1.0 - float((targets @ multipliers) / length * reach / np.linalg.norm(weights))


def reached(rows: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """The largest c with a_j.w >= c h_j on every row with h_j > 0."""
    asked = targets > 0.0
    return float(np.min((rows @ weights)[asked] / targets[asked]))


def _by_pivoting(rows: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray | None, int]:
    kernel = rows @ rows.T
    ridge = RIDGE * float(np.trace(kernel)) / targets.size
    ridged = kernel + ridge * np.eye(targets.size)
    multipliers, steps = nonnegative_quadratic(ridged, targets, np.ones(targets.size, bool))
    if multipliers is None:
        return None, steps
    # Proximal refinement: its fixed point solves the program without the ridge.
    refined, more = nonnegative_quadratic(ridged, targets + ridge * multipliers, multipliers > 0.0)
    return (multipliers if refined is None else refined), steps + more


def _by_least_squares(rows: np.ndarray, targets: np.ndarray, steps: int) -> LeastDistance:
    m, dim = rows.shape
    system, goal = np.vstack([rows.T, targets]), np.zeros(dim + 1)
    goal[-1] = 1.0
    bound, multipliers = 1.0, np.zeros(m)
    best = None
    # The second and third turn measure w in units of the bound on the margin that the turn before has found.
    for _ in range(3):
        system[-1] = bound * targets
        multipliers, _ = nnls(system, goal, maxiter=30 * m)
        steps += 1
        residual = system @ multipliers - goal
        # For y >= 0 every unit w has min a_j.w/h_j <= ||A^T y||/h^T y.
        new_bound = float(np.linalg.norm(rows.T @ multipliers) / (targets @ multipliers))
        candidate = _polished(rows, targets, residual[:-1], multipliers)
        if best is None or candidate[2] < best[2]:
            best = candidate
        if best[2] <= TRUSTED or new_bound <= NO_MARGIN:
            break
        bound = new_bound
    if best is not None and np.isfinite(best[2]) and best[2] < 1.0:
        return LeastDistance(best[0], best[1], steps)
    return LeastDistance(None, multipliers / multipliers.sum(), steps)


def _polished(
    rows: np.ndarray, targets: np.ndarray, direction: np.ndarray, multipliers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights, multipliers and gap: as found, or solved anew on the rows that carry a multiplier."""
    weights = -direction
    found = (weights, multipliers, gap(rows, targets, weights, multipliers))
    if not found[2] < 1.0:
        weights = rows.T @ multipliers
        found = (weights, multipliers, gap(rows, targets, weights, multipliers))
    if found[2] <= TRUSTED:
        return found
    support = multipliers > 0.0
    again = np.linalg.lstsq(rows[support], targets[support], rcond=None)[0]
    anew = np.zeros_like(multipliers)
    anew[support] = np.maximum(np.linalg.lstsq(rows[support].T, again, rcond=None)[0], 0.0)
    other = (again, anew, gap(rows, targets, again, anew))
    return other if other[2] < found[2] else found
