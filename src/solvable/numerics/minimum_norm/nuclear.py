"""The hard margin in the nuclear norm, min ||W||_* subject to <A_j, W> >= h_j, by a barrier method on its dual."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dposv  # pyright: ignore[reportAttributeAccessIssue]

from solvable.numerics.minimum_norm.bracket import scaled_margin

# How much the barrier falls at once, and the Newton decrement below which it may.
SHRINK, CENTRED = 0.3, 1.0
# So close to ||U||_op = 1 rounding decides.
BOUNDARY = 1e-13


def solve_nuclear(
    rows: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    multipliers: np.ndarray,
    tolerance: float,
    max_steps: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Weights (d1 d2,), multipliers and the Newton steps taken, for rows (m, d1, d2), from feasible weights.

    The dual is max h.lambda over lambda >= 0 with ||U||_op <= 1, U = sum_j lambda_j A_j. Newton's method follows the
    maximiser of h.lambda + mu (log det(I - U U^T) + sum_j log lambda_j) as mu falls. With P = (I - U U^T)^-1, the
    matrix W = 2 mu P U has <A_j, W> = h_j + mu/lambda_j at the maximiser, and ||W||_* - h.lambda is at most
    mu (m + min(d1, d2)). Off it, the linearisation of W along Newton's step is made feasible, and the best pair kept.
    """
    m, high, wide = rows.shape
    flat = rows.reshape(m, -1)
    small = min(high, wide)
    best_weights, upper = weights, nuclear_norm(weights.reshape(high, wide)) / scaled_margin(flat, targets, weights)
    best_multipliers, lower = multipliers, 0.0
    multipliers = multipliers + 0.1 * np.mean(multipliers)
    multipliers *= 0.7 / np.linalg.norm(np.tensordot(multipliers, rows, 1), 2)
    barrier = float(targets @ multipliers) / (m + small)
    step = 0
    while step < max_steps:
        step += 1
        left, values, right = np.linalg.svd(np.tensordot(multipliers, rows, 1))
        value = float(targets @ multipliers) / float(values[0])
        if value > lower:
            best_multipliers, lower = multipliers, value
        if 1.0 - lower / upper <= tolerance or values[0] > 1.0 - BOUNDARY:
            break
        turned = np.matmul(np.matmul(left.T, rows), right.T)
        features = _features(turned, values)
        gains = values / (1.0 - values**2)
        diagonal = turned[:, np.arange(small), np.arange(small)]
        # Newton's equation divided by mu: (H + 1/lambda^2) change = h/mu - 2 <A, P U> + 1/lambda.
        hessian = features @ features.T
        hessian[np.diag_indices_from(hessian)] += 1.0 / multipliers**2
        force = 2.0 * (diagonal @ gains) - 1.0 / multipliers
        _, change, failed = dposv(hessian, targets / barrier - force)
        if failed:
            break
        decrement = float(np.sqrt(max(change @ (targets / barrier - force), 0.0)))
        moved = np.tensordot(change, turned, 1)
        candidate = left @ _linearised(moved, values, barrier) @ right
        margin = scaled_margin(flat, targets, candidate.ravel())
        if margin > 0.0 and nuclear_norm(candidate) / margin < upper:
            best_weights, upper = candidate.ravel(), nuclear_norm(candidate) / margin
        length = _length(multipliers, change, values, moved, float(targets @ change) / barrier, decrement)
        if length == 0.0:
            break
        multipliers = multipliers + length * change
        if decrement < CENTRED:
            barrier *= SHRINK
    return best_weights, best_multipliers, step


def nuclear_norm(matrix: np.ndarray) -> float:
    """||W||_*, the sum of the singular values."""
    return float(np.sum(np.linalg.svd(matrix, compute_uv=False)))


def _features(turned: np.ndarray, values: np.ndarray) -> np.ndarray:
    """F (m, d1 d2) with F F^T the Hessian of -log det(I - U U^T), in the singular basis of U.

    The Hessian at B is 2 sum_ab p_a q_b B_ab^2 + 2 sum_ab g_a g_b B_ab B_ba with p, q = 1/(1 - s^2) (1 beyond the
    singular values) and g = s/(1 - s^2); the sums and differences of B_ab and B_ba make it a sum of squares.
    """
    m, high, wide = turned.shape
    small, inverse = values.size, 1.0 / (1.0 - values**2)
    features = turned * np.sqrt(2.0 * _outer(inverse, high, wide))
    block = turned[:, :small, :small]
    flipped = block.transpose(0, 2, 1)
    products, ratios = np.outer(inverse, inverse), np.outer(values, values)
    # One feature a pair above the diagonal, another below; on the diagonal half of what the sum would give.
    pairs = np.where(np.eye(small, dtype=bool), 0.5, 1.0) * products
    sums = (block + flipped) * np.sqrt(pairs * (1.0 + ratios))
    differences = (block - flipped) * np.sqrt(pairs * (1.0 - ratios))
    features[:, :small, :small] = np.where(np.tri(small, k=-1, dtype=bool), differences, sums)
    return features.reshape(m, -1)


def _linearised(moved: np.ndarray, values: np.ndarray, barrier: float) -> np.ndarray:
    """2 mu (P U + d(P U)[moved]) in the singular basis of U, with d(P U)[B] = P B Q + (P U) B^T (P U)."""
    high, wide = moved.shape
    small, inverse = values.size, 1.0 / (1.0 - values**2)
    gains = values * inverse
    change = moved * _outer(inverse, high, wide)
    change[:small, :small] += np.outer(gains, gains) * moved[:small, :small].T
    change[np.arange(small), np.arange(small)] += gains
    return 2.0 * barrier * change


def _outer(inverse: np.ndarray, high: int, wide: int) -> np.ndarray:
    """p_a q_b, where both are `inverse` and 1 beyond it."""
    ones = np.ones(max(high, wide) - inverse.size)
    longer = np.concatenate([inverse, ones])
    return np.outer(longer[:high], longer[:wide])


def _length(
    multipliers: np.ndarray, change: np.ndarray, values: np.ndarray, moved: np.ndarray, gain: float, decrement: float
) -> float:
    """A step length inside the domain that raises the barrier function (Armijo), 0 when there is none.

    `multipliers` and their `change` (m,); `values` and `moved`: U and its change, in the singular basis of U; `gain`:
    the slope of h.lambda/mu along the change.
    """
    falling = change < 0.0
    length = min(1.0, 0.99 * float(np.min(-multipliers[falling] / change[falling], initial=np.inf)))
    centre = np.zeros_like(moved)
    centre[np.arange(values.size), np.arange(values.size)] = values
    start = float(np.sum(np.log1p(-(values**2))) + np.sum(np.log(multipliers)))
    while length > 1e-10:
        there = np.linalg.svd(centre + length * moved, compute_uv=False)
        if there[0] < 1.0:
            value = float(np.sum(np.log1p(-(there**2))) + np.sum(np.log(multipliers + length * change)))
            if value + length * gain >= start + 0.01 * length * decrement**2 - 1e-12 * abs(start):
                return length
        length *= 0.7
    return 0.0
