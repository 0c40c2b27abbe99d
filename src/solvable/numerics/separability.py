"""Linear separability with a certificate either way, by non-negative least squares on Gordan's alternative."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import nnls

from solvable.numerics.validation import floating

# A residual above this (of a target of norm 1) certifies a separating hyperplane; see `is_separable`.
RESIDUAL_FLOOR = 1e-9


@dataclasses.dataclass(frozen=True)
class Separability:
    """`separable`, and the certificate: a hyperplane (weights, bias) with positive margin, or convex multipliers."""

    separable: bool
    weights: np.ndarray | None
    bias: float | None
    margin: float
    multipliers: np.ndarray | None


def is_separable(features: np.ndarray, labels: np.ndarray) -> Separability:
    """Whether some (w, b) has y_i (<w, x_i> + b) > 0 for every row; runs on the host, not jit-able.

    Gordan's alternative, for rows z_i = y_i (x_i, 1): either some v has Z v > 0, or some alpha >= 0 with sum alpha = 1
    has Z^T alpha = 0. The least-squares problem min ||Z^T alpha||^2 + (sum alpha - 1)^2 over alpha >= 0 decides. At its
    optimum, with residual vector (Z^T alpha, sum alpha - 1), v = Z^T alpha has
        z_i^T v >= 1 - sum alpha = ||residual||^2   for every row,
    so a residual above rounding is a separating hyperplane, and a zero residual is the multiplier. The hyperplane is
    checked on the rows before it is returned; `margin` is its smallest y_i (<w, x_i> + b) over ||w||, else 0.

    Raises: ValueError for rows or labels that are not accepted; RuntimeError when rounding leaves the question open (a
    margin below 1e-9 of the rows' norm).
    """
    features, labels = floating("features", features, np.float64), floating("labels", labels, np.float64)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features has shape {features.shape}; accepted: (n, p) with n, p >= 1")
    if labels.shape != features.shape[:1] or np.any(np.abs(labels) != 1.0):
        raise ValueError(f"labels of shape {labels.shape} are not {len(features)} signs; accepted: -1 or +1 a row")
    rows = labels[:, None] * np.hstack([features, np.ones((features.shape[0], 1))])
    scale = np.sqrt(np.mean(np.sum(rows**2, axis=1)))
    system = np.vstack([rows.T / scale, np.ones(rows.shape[0])])
    target = np.zeros(system.shape[0])
    target[-1] = 1.0
    multipliers, residual = nnls(system, target, maxiter=30 * system.shape[1])
    direction = system[:-1] @ multipliers
    margins = rows @ direction
    if np.all(margins > 0):
        norm = np.linalg.norm(direction[:-1])
        margin = float(np.min(margins) / norm) if norm > 0 else np.inf
        return Separability(True, direction[:-1], float(direction[-1]), margin, None)
    if residual < RESIDUAL_FLOOR:
        return Separability(False, None, None, 0.0, multipliers / multipliers.sum())
    raise RuntimeError(
        f"is_separable cannot decide: residual {residual:.1e}, smallest margin {np.min(margins):.1e}; rescale the "
        "features"
    )
