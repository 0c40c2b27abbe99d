"""Hard-margin programs in any norm, on the host, with a certified gap or a certificate that nothing is feasible.

minimise ||w||_p  subject to  A w >= h,    1 <= p <= inf
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from solvable.numerics.minimum_norm.least_distance import least_distance, reached
from solvable.numerics.minimum_norm.p_norm import norm, p_norm
from solvable.numerics.results import Result, raise_unless_successful
from solvable.numerics.validation import number

__all__ = ["MinimumNorm", "minimum_norm"]


@dataclasses.dataclass(frozen=True)
class MinimumNorm:
    """Solution and certificate.

    weights: (D,) feasible, NaN when nothing is. norm: ||w||. margin: min over rows with h_j > 0 of a_j.w/(h_j ||w||).
    multipliers: (m,) lambda >= 0 with grad psi(w) = A^T lambda for psi = ||.||_p^p/p, hence h.lambda = ||w||_p^p (for
    p = 1, inf and the nuclear norm h.lambda = ||w||); for an infeasible program lambda sums to 1, A^T lambda = 0 and
    h.lambda > 0. gap: at most this share of the norm can be saved. result: how the solve ended. stats: its counts.
    """

    weights: np.ndarray
    norm: float
    margin: float
    multipliers: np.ndarray
    gap: float
    result: Result
    stats: dict[str, float]


def minimum_norm(
    rows: Any, p: float = 2.0, *, targets: Any = None, tolerance: float | None = None, throw: bool = True
) -> MinimumNorm:
    """min ||w||_p subject to A w >= h; runs on the host, not jit-able."""
    rows, targets, scale = _checked(rows, targets, 2)
    p = float(number("p", p, above=1.0))
    if tolerance is None:
        tolerance = 1e-9 if 1.1 <= p <= 5.0 else 1e-8
    scaled, unit_targets = rows / scale, targets / np.max(targets)
    start = least_distance(scaled, unit_targets)
    if start.weights is None:
        return _infeasible(rows, targets, start.multipliers, start.steps)
    weights, multipliers, steps = start.weights, start.multipliers, start.steps
    if p != 2.0:
        weights, multipliers, steps = p_norm(
            scaled, unit_targets, p, start.weights, start.multipliers, min(1e-12, tolerance), 60
        )
    weights = weights / reached(rows, targets, weights)
    length = norm(weights, p)
    lower = float(targets @ multipliers) / norm(rows.T @ multipliers, p / (p - 1.0))
    gap = max(1.0 - lower / length, 0.0)
    multipliers = multipliers * (length**p / (targets @ multipliers))
    result = Result.SUCCESSFUL if gap <= tolerance else Result.MAX_STEPS
    if throw:
        raise_unless_successful(result, f"minimum_norm(p={p:g})", f" (gap {gap:.1e})")
    return MinimumNorm(weights, length, 1.0 / length, multipliers, gap, result, {"steps": steps})


def _checked(rows: Any, targets: Any, ndim: int) -> tuple[np.ndarray, np.ndarray, float]:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != ndim or rows.size == 0:
        raise ValueError(f"rows has shape {rows.shape}; accepted: {ndim} axes, none of them empty")
    if not np.all(np.isfinite(rows)):
        raise ValueError("rows holds a value that is not finite; accepted: finite numbers")
    targets = np.ones(rows.shape[0]) if targets is None else np.asarray(targets, np.float64)
    if targets.shape != rows.shape[:1] or not np.all(targets >= 0.0) or not 0.0 < np.max(targets) < np.inf:
        raise ValueError(
            f"targets={targets!r} are not accepted; accepted: {rows.shape[0]} finite numbers >= 0, not all of them 0"
        )
    return rows, targets, float(np.max(np.linalg.norm(rows.reshape(rows.shape[0], -1), axis=1))) or 1.0


def _infeasible(rows: np.ndarray, targets: np.ndarray, multipliers: np.ndarray, steps: int) -> MinimumNorm:
    stats = {"steps": steps, "residual": float(np.linalg.norm(rows.T @ multipliers))}
    return MinimumNorm(np.full(rows.shape[1], np.nan), np.inf, 0.0, multipliers, 0.0, Result.INFEASIBLE, stats)
