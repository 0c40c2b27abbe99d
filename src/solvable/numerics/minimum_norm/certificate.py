"""The gap that an answer proves: what its multipliers, as they are handed back, say about every feasible w."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Dekker's constant: a float64 times it, less what that rounds off, is its upper half.
SPLIT = 2.0**27 + 1.0
# So many entries are worked on at a time, few enough for a processor's cache.
BLOCK = 2**15


def proved_gap(
    rows: np.ndarray,
    lengths: np.ndarray,
    goals: np.ndarray,
    multipliers: np.ndarray,
    norm: float,
    dual_norm: Callable[[np.ndarray], float],
) -> float:
    """|1 - h.lambda/(||A^T lambda||_dual ||w||)|, right to about 1e-15 however much cancels in A^T lambda.

    `rows` A (m, D) and `multipliers` lambda (m,) in any units, not all zero; `goals` are the targets over the `lengths`
    of the rows (both (m,)), and `norm` is ||w||, in one unit. Only by the rounding of w is 1 - ... below 0.
    """
    # Powers of two keep everything in range and round nothing: another rounding of A or lambda is another A^T lambda.
    exponents = np.maximum(np.frexp(lengths)[1], -1000)
    scaled, shares = rows * np.ldexp(1.0, -exponents)[:, None], np.ldexp(lengths, -exponents)
    fractions, powers = np.frexp(multipliers)
    powers = powers + exponents
    moved = np.ldexp(fractions, powers - np.max(powers[fractions > 0.0]))
    return abs(1.0 - float((goals * shares) @ moved) / dual_norm(transposed_product(scaled, moved)) / norm)


def transposed_product(rows: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
    """A^T lambda as in twice the precision: right to the last digits where it cancels, on every processor.

    `rows` A (m, D) and `multipliers` lambda (m,) are at most of order 1, and lambda is not 0. The rounding errors of
    the products and of their sums are themselves floats, and are added at the end: Dot2 of Ogita, Rump and Oishi, SIAM
    J. Sci. Comput. 26 (2005).
    """
    support = np.flatnonzero(multipliers)
    total = lost = np.zeros(rows.shape[1])
    for part in np.array_split(support, min(support.size, 1 + support.size * rows.shape[1] // BLOCK)):
        values, factors = rows[part], multipliers[part, None]
        products = values * factors
        (high, low), (large, small) = _halves(values), _halves(factors)
        missed = ((high * large - products) + high * small + low * large) + low * small
        sums = np.cumsum(np.vstack([total, products]), axis=0)
        lost = lost + np.sum(missed + _lost(sums[:-1], products, sums[1:]), axis=0)
        total = sums[-1]
    return total + lost


def _halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two parts of 26 bits, whose products are exact."""
    shifted = SPLIT * values
    high = shifted - (shifted - values)
    return high, values - high


def _lost(one: np.ndarray, other: np.ndarray, total: np.ndarray) -> np.ndarray:
    """What rounding took from one + other, exactly."""
    kept = total - one
    return (one - (total - kept)) + (other - kept)
