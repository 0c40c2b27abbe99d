"""The Euclidean hard margin, min ||w||_2 subject to A w >= h, or a certificate that no w satisfies it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from solvable.numerics.minimum_norm.pivoting import nonnegative_quadratic

# A ridge of this share of the mean diagonal keeps the Cholesky factors of the pivoting alive; refinement undoes it.
RIDGE = 1e-13
# A best margin below the first (of a largest row of norm 1) is called none; an answer is trusted to a relative gap of
# the second, else a slower method has its turn.
NO_MARGIN, TRUSTED = 1e-12, 1e-11
# What a relaxed row, a_j.w >= 0, may miss of ||a_j|| ||w||: where it is active, a_j.w is rounding of either sign.
RELAXED = 1e-12


class LeastDistance(NamedTuple):
    """`weights` (D,) and `multipliers` (m,) of the program when `feasible`; when not (False), or undecided (None), the
    multipliers of Farkas' alternative."""

    weights: np.ndarray
    multipliers: np.ndarray
    feasible: bool | None
    steps: int


class Candidate(NamedTuple):
    """Weights and multipliers with the relative duality gap that they certify, inf when the weights are infeasible."""

    weights: np.ndarray
    multipliers: np.ndarray
    gap: float


def solve_least_distance(rows: np.ndarray, targets: np.ndarray) -> LeastDistance:
    """min ||w||_2 subject to A w >= h, for rows A (m, D) and targets h (m,) whose largest row and target are 1.

    The dual min ||A^T y||^2/2 - h^T y over y >= 0 is solved by pivoting, and w = A^T y. Where that is not optimal to
    1e-11 (dependent rows, no feasible w, a tiny margin), nonnegative least squares decides: with E = [A^T; s h^T], f
    the last unit vector and y = argmin ||E y - f|| over y >= 0, the residual r = E y - f is zero exactly when no w is
    feasible (then A^T y = 0 and h^T y = 1/s > 0), else w is along A^T y (Lawson and Hanson, Solving Least Squares
    Problems, 1974, chapter 23).
    """
    steps = 0
    if rows.shape[0] <= rows.shape[1]:
        multipliers, steps = _by_pivoting(rows, targets)
        if multipliers is not None:
            found = _candidate(rows, targets, rows.T @ multipliers, multipliers)
            if found.gap <= TRUSTED and _bound(rows, targets, multipliers) > NO_MARGIN:
                return LeastDistance(found.weights, multipliers, True, steps)
    return _by_least_squares(rows, targets, steps)


def reached(rows: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """The largest c with a_j.w >= c h_j on every row with h_j > 0; 0 when a row with h_j = 0 has a_j.w < 0."""
    values, asked = rows @ weights, targets > 0.0
    if not np.all(asked):
        lengths = np.linalg.norm(rows[~asked], axis=1) * np.linalg.norm(weights)
        if np.any(values[~asked] < -RELAXED * lengths):
            return 0.0
    return float(np.min(values[asked] / targets[asked]))


def _bound(rows: np.ndarray, targets: np.ndarray, multipliers: np.ndarray) -> float:
    """||A^T y||/h.y, which no w of norm 1 exceeds in min_j a_j.w/h_j."""
    return float(np.linalg.norm(rows.T @ multipliers) / (targets @ multipliers))


def _candidate(rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, multipliers: np.ndarray) -> Candidate:
    reach, gain = reached(rows, targets, weights), float(targets @ multipliers)
    if reach <= 0.0 or gain <= 0.0:
        return Candidate(weights, multipliers, np.inf)
    bound = _bound(rows, targets, multipliers)
    margin = reach / float(np.linalg.norm(weights))
    return Candidate(weights / reach, multipliers, 1.0 - margin / bound if bound > 0.0 else np.inf)


def _by_pivoting(rows: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray | None, int]:
    kernel = rows @ rows.T
    ridge = RIDGE * float(np.trace(kernel)) / targets.size
    kernel[np.diag_indices_from(kernel)] += ridge
    multipliers, steps = nonnegative_quadratic(kernel, targets, np.ones(targets.size, bool))
    if multipliers is None:
        return None, steps
    # A proximal step: its fixed point solves the program without the ridge.
    refined, more = nonnegative_quadratic(kernel, targets + ridge * multipliers, multipliers > 0.0)
    return (multipliers if refined is None else refined), steps + more


def _by_least_squares(rows: np.ndarray, targets: np.ndarray, steps: int) -> LeastDistance:
    m, dim = rows.shape
    system, goal = np.vstack([rows.T, targets]), np.zeros(dim + 1)
    goal[-1] = 1.0
    best = Candidate(np.zeros(dim), np.ones(m), np.inf)
    multipliers, bound = np.ones(m), 1.0
    # From the second turn on w is measured in units of the bound on the margin that the turn before has found.
    for _ in range(3):
        system[-1] = bound * targets
        try:
            multipliers, _ = nnls(system, goal, maxiter=30 * m)
        except RuntimeError:  # it ran out of iterations
            break
        steps += 1
        best = _polished(rows, targets, multipliers, best)
        bound = _bound(rows, targets, multipliers)
        if bound <= NO_MARGIN:
            return LeastDistance(np.full(dim, np.nan), multipliers, False, steps)
        if best.gap <= TRUSTED:
            break
    feasible = True if best.gap < 1.0 else None
    return LeastDistance(best.weights, best.multipliers if feasible else multipliers, feasible, steps)


def _polished(rows: np.ndarray, targets: np.ndarray, multipliers: np.ndarray, best: Candidate) -> Candidate:
    """The best of what was known, the weights as found, and the system of the rows with a multiplier solved anew."""
    found = _candidate(rows, targets, rows.T @ multipliers, multipliers)
    best = found if found.gap < best.gap else best
    if best.gap <= TRUSTED:
        return best
    support = multipliers > 0.0
    weights = np.linalg.lstsq(rows[support], targets[support], rcond=None)[0]
    anew = np.zeros_like(multipliers)
    anew[support] = np.maximum(np.linalg.lstsq(rows[support].T, weights, rcond=None)[0], 0.0)
    found = _candidate(rows, targets, weights, anew)
    return found if found.gap < best.gap else best
