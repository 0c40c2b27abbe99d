"""The least p-norm subject to A w >= h, bracketed by feasible weights from above and by multipliers from below."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# What a relaxed row of norm 1, a_j.w >= 0, may miss of ||w||_2: where it is active, a_j.w is rounding of either sign.
RELAXED = 1e-12


class Bracket(NamedTuple):
    """The best feasible weights (D,) and multipliers (m,) so far; the least norm lies between `lower` and `upper`."""

    weights: np.ndarray
    upper: float
    multipliers: np.ndarray
    lower: float

    @property
    def gap(self) -> float:
        """1 - lower/upper."""
        return 1.0 - self.lower / self.upper


def bracketed(
    rows: np.ndarray,
    targets: np.ndarray,
    p: float,
    weights: np.ndarray,
    multipliers: np.ndarray,
    known: Bracket | None = None,
) -> Bracket:
    """What is `known`, with whatever of the weights and the multipliers is better; rows (m, D) of norm 1 or 0.

    w over its scaled margin is feasible, and h.lambda <= ||A^T lambda||_q ||w||_p with q = p/(p-1).
    """
    margin, gain = scaled_margin(rows, targets, weights), float(targets @ multipliers)
    upper = p_norm(weights, p) / margin if margin > 0.0 else np.inf
    force = p_norm(rows.T @ multipliers, p / (p - 1.0))
    lower = 0.0 if gain <= 0.0 else gain / force if force > 0.0 else np.inf
    if known is None:
        return Bracket(weights / (margin if margin > 0.0 else 1.0), upper, multipliers, lower)
    if upper < known.upper:
        known = known._replace(weights=weights / margin, upper=upper)
    if lower > known.lower:
        known = known._replace(multipliers=multipliers, lower=lower)
    return known


def scaled_margin(rows: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """The largest c with a_j.w >= c h_j on every row with h_j > 0; 0 when a row with h_j = 0 has a_j.w < 0.

    `rows` (m, D) of norm 1 or 0, `targets` (m,), `weights` (D,).
    """
    values, asked = rows @ weights, targets > 0.0
    if np.any(values[~asked] < -RELAXED * np.linalg.norm(weights)):
        return 0.0
    return float(np.min(values[asked] / targets[asked]))


def p_norm(values: np.ndarray, p: float) -> float:
    """||values||_p without overflow or underflow, for 1 <= p <= inf."""
    largest = float(np.max(np.abs(values)))
    if largest == 0.0 or np.isinf(p):
        return largest
    return largest * float(np.sum(np.abs(values / largest) ** p)) ** (1.0 / p)
