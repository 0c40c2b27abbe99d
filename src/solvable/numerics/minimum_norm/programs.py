"""The public hard-margin programs: minimise a norm of w subject to A w >= h, with a certified gap or a certificate that
nothing is feasible."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from solvable.numerics.minimum_norm.bracket import p_norm, scaled_margin
from solvable.numerics.minimum_norm.certificate import proved_gap
from solvable.numerics.minimum_norm.least_distance import LeastDistance, solve_least_distance
from solvable.numerics.minimum_norm.linear import solve_linear
from solvable.numerics.minimum_norm.nuclear import nuclear_norm, solve_nuclear
from solvable.numerics.minimum_norm.p_norm import solve_p_norm
from solvable.numerics.results import Result, raise_unless_successful
from solvable.numerics.validation import number, real_array, truth

# Steps allowed: about ten suffice for 1.1 <= p <= 5, and about fifty for the nuclear norm.
P_NORM_STEPS, NUCLEAR_STEPS = 200, 400


@dataclasses.dataclass(frozen=True)
class MinimumNorm:
    """Solution and certificate.

    weights: (D,), or (d1, d2) for the nuclear norm; feasible, min a_j.w/h_j = 1, where a relaxed row (h_j = 0) may be
        violated by 1e-12 ||a_j||_2 ||w||_2; NaN for an infeasible program.
    norm: ||w||; inf for an infeasible program.
    margin: min over the rows with h_j > 0 of a_j.w/(h_j ||w||) = 1/norm.
    multipliers: (m,) lambda >= 0. For 1 < p < inf in the scale of grad psi(w) = A^T lambda, psi = ||.||_p^p/p, hence
        h.lambda = ||w||_p^p; for p = 1, p = inf and the nuclear norm in the scale of h.lambda = ||w||. Where floating
        point cannot hold that scale, as with a large p, `result` is NONFINITE. For an infeasible program Farkas'
        certificate: sum lambda = 1, A^T lambda = 0, h.lambda > 0.
    gap: no feasible weights have a norm below (1 - gap) norm, by h.lambda <= ||A^T lambda||_dual ||w||: to about 1e-15
        what the norm and these multipliers prove, also where A^T lambda cancels. Too large a gap, with MAX_STEPS, is
        right too. 0 for an infeasible program, inf where it stayed undecided.
    result: how the solve ended. stats: `steps` taken, and for an infeasible program `residual` = ||A^T lambda||_2.
    """

    weights: np.ndarray
    norm: float
    margin: float
    multipliers: np.ndarray
    gap: float
    result: Result
    stats: dict[str, int | float]


def minimum_norm(
    rows: ArrayLike,
    p: float | int = 2.0,
    *,
    targets: ArrayLike | None = None,
    tolerance: float | None = None,
    throw: bool = True,
) -> MinimumNorm:
    """min ||w||_p subject to A w >= h; runs on the host, not jit-able.

    Arguments: `rows` A (m, D); 1 <= `p` <= inf; `targets` h (m,) >= 0, ones by default, zeros for relaxed rows.
    `tolerance` bounds the gap; None is 1e-9 for 1.1 <= p <= 5 and p = 1, inf, else 1e-8. The weights of p = 1 and
    p = inf need not be unique. Margins are measured once every row, with its target, is divided by ||a_j||_2, and then
    the targets by the largest: a program whose Euclidean margin max min_j a_j.w/(h_j ||w||_2) is then below 1e-12
    counts as infeasible, which is an answer with `result` INFEASIBLE and never raises; below about 1e-6 it may miss
    the tolerance for want of precision. The programs for 1 < p < inf are those of arXiv:2410.14581.
    Raises: ValueError for rows, p, targets or a tolerance that are not accepted; SolveError when the gap misses its
    tolerance or floating point cannot hold the answer, unless `throw` is False.
    """
    p = _exponent(p)
    if tolerance is None:
        tolerance = 1e-9 if 1.1 <= p <= 5.0 or p in (1.0, np.inf) else 1e-8
    tolerance = float(number("tolerance", tolerance, above=0.0))
    flat, targets = _checked(rows, targets, 2)
    dual = np.inf if p == 1.0 else 1.0 if np.isinf(p) else p / (p - 1.0)

    def solve(scaled: np.ndarray, goals: np.ndarray, start: LeastDistance) -> tuple[np.ndarray, np.ndarray, int]:
        if p in (1.0, np.inf):
            return solve_linear(scaled, goals, p, start.weights, start.multipliers)
        if p == 2.0:
            return start.weights, start.multipliers, 0
        return solve_p_norm(scaled, goals, p, start.weights, start.multipliers, tolerance, P_NORM_STEPS)

    power = p if 1.0 < p < np.inf else 1.0
    found = _certified(flat, targets, solve, lambda w: p_norm(w, p), lambda u: p_norm(u, dual), power, tolerance)
    if truth("throw", throw):
        _raise_unless_answered(found, f"minimum_norm(p={p:g})", tolerance)
    return found


def minimum_nuclear_norm(
    rows: ArrayLike, *, targets: ArrayLike | None = None, tolerance: float = 1e-6, throw: bool = True
) -> MinimumNorm:
    """min ||W||_* subject to <A_j, W> >= h_j, for `rows` (m, d1, d2); runs on the host, not jit-able.

    `targets` h (m,) >= 0, ones by default, zeros for relaxed rows; `tolerance` bounds the gap, 1e-7 is about the least
    that can be had. The weights need not be unique. Relaxed rows that together force an equality leave the barrier no
    interior and end uncertified. Infeasible programs as in `minimum_norm`. The program of the (K, Q) parameterisation
    in arXiv:2308.16898.
    Raises: ValueError for rows, targets or a tolerance that are not accepted; SolveError when the gap misses its
    tolerance or floating point cannot hold the answer, unless `throw` is False.
    """
    tolerance = float(number("tolerance", tolerance, above=0.0))
    stack, targets = _checked(rows, targets, 3)
    m, high, wide = stack.shape

    def solve(scaled: np.ndarray, goals: np.ndarray, start: LeastDistance) -> tuple[np.ndarray, np.ndarray, int]:
        matrices = scaled.reshape(stack.shape)
        return solve_nuclear(matrices, goals, start.weights, start.multipliers, 0.5 * tolerance, NUCLEAR_STEPS)

    found = _certified(
        stack.reshape(m, -1),
        targets,
        solve,
        lambda w: nuclear_norm(w.reshape(high, wide)),
        lambda u: float(np.linalg.norm(u.reshape(high, wide), 2)),
        1.0,
        tolerance,
    )
    found = dataclasses.replace(found, weights=found.weights.reshape(high, wide))
    if truth("throw", throw):
        _raise_unless_answered(found, "minimum_nuclear_norm", tolerance)
    return found


def _certified(
    rows: np.ndarray,
    targets: np.ndarray,
    solve: Callable[[np.ndarray, np.ndarray, LeastDistance], tuple[np.ndarray, np.ndarray, int]],
    norm: Callable[[np.ndarray], float],
    dual_norm: Callable[[np.ndarray], float],
    power: float,
    tolerance: float,
) -> MinimumNorm:
    """Solve with every row divided by its length and the targets then by the largest; answer in the caller's units.

    Whatever `solve` returns, the gap is right: it is computed from the feasible weights and the multipliers alone.
    """
    scaled, lengths = _unit_rows(rows)
    with np.errstate(all="ignore"):
        goals = targets / lengths
        unit = np.max(goals)
        goals = goals / unit
    if not (np.all(np.isfinite(lengths)) and 0.0 < unit < np.inf):
        nowhere, unknown = np.full(rows.shape[1], np.nan), np.full(targets.size, np.nan)
        return MinimumNorm(nowhere, np.inf, 0.0, unknown, np.inf, Result.NONFINITE, {"steps": 0})
    start = solve_least_distance(scaled, goals)
    if not start.feasible:
        shares = start.multipliers / (lengths / np.min(lengths))
        shares = shares / np.sum(shares)
        result, gap = (Result.INFEASIBLE, 0.0) if start.feasible is False else (Result.MAX_STEPS, np.inf)
        stats = {"steps": start.steps, "residual": float(np.linalg.norm(rows.T @ shares))}
        return MinimumNorm(np.full(rows.shape[1], np.nan), np.inf, 0.0, shares, gap, result, stats)
    weights, multipliers, steps = solve(scaled, goals, start)
    weights = weights / scaled_margin(scaled, goals, weights)
    length, gain = norm(weights), float(goals @ multipliers)
    with np.errstate(all="ignore"):
        weights, size = unit * weights, unit * length
        # With the norm's power p: h.lambda = ||w||^p, a power that a large p takes out of range.
        answer = (multipliers * (length / gain) / lengths) * size ** (power - 1.0)
        sizes = np.array([size, 1.0 / size, np.max(answer)])
    in_range = np.all(np.isfinite(sizes) & (sizes >= np.finfo(np.float64).tiny))
    # Where A^T lambda cancels, the last digit of lambda tells; so the gap is that of the lambda that is handed back.
    proof = (rows, lengths, goals, answer) if in_range else (scaled, np.ones_like(lengths), goals, multipliers)
    gap = proved_gap(*proof, length, dual_norm)
    result = Result.SUCCESSFUL if gap <= tolerance else Result.MAX_STEPS
    if not in_range:
        result = Result.NONFINITE
    counts: dict[str, int | float] = {"steps": start.steps + steps}
    return MinimumNorm(weights, float(size), float(sizes[1]), answer, gap, result, counts)


def _unit_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows (m, D) divided by their Euclidean norms, and those (m,), 1 for a zero row."""
    largest = np.max(np.abs(rows), axis=1)
    largest[largest == 0.0] = 1.0
    # The largest entry first: squares of 1e200 or of 1e-200 leave the range of floating point.
    scaled = rows / largest[:, None]
    shares = np.linalg.norm(scaled, axis=1)
    shares[shares == 0.0] = 1.0
    with np.errstate(over="ignore"):
        lengths = largest * shares
    return scaled / shares[:, None], lengths


def _raise_unless_answered(found: MinimumNorm, what: str, tolerance: float) -> None:
    """Raise SolveError unless the program is solved, or proved infeasible."""
    if found.result is Result.NONFINITE:
        hint = (
            "floating point cannot hold ||w||, or multipliers of the size of ||w||^p: rescale the rows or the targets"
        )
    else:
        hint = "a tiny margin, a p near 1 and a large p cost digits"
    if found.result is not Result.INFEASIBLE:
        detail = f" (gap {found.gap:.1e} for a tolerance of {tolerance:.1e}; {hint})"
        raise_unless_successful(found.result, what, detail)


def _exponent(p: Any) -> float:
    """`p` as a float in [1, inf]."""
    accepted = "accepted: a number >= 1 or inf"
    try:
        number_like = isinstance(p, int) or (np.asarray(p).dtype.kind in "iuf" and not np.ma.is_masked(p))
        value = float(p) if number_like and not isinstance(p, bool) and not np.ndim(p) else np.nan
    except OverflowError:  # a whole number that no float holds
        raise ValueError(f"p is a number beyond the largest float; {accepted}") from None
    except (TypeError, ValueError):
        value = float("nan")
    if not value >= 1.0:
        raise ValueError(f"p={p!r} is not the exponent of a norm; {accepted}")
    return value


def _checked(rows: ArrayLike, targets: ArrayLike | None, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and targets as float64 arrays; raises ValueError for shapes and values that are not accepted."""
    rows = _real("rows", rows)
    if rows.ndim != axes or rows.size == 0:
        raise ValueError(
            f"rows has the shape {rows.shape}; accepted: {axes} axes, the first for rows, none of length 0"
        )
    if not np.all(np.isfinite(rows)):
        raise ValueError(f"rows holds {rows[~np.isfinite(rows)][0]}; accepted: finite numbers")
    if targets is None:
        return rows, np.ones(rows.shape[0])
    targets = _real("targets", targets)
    if targets.shape != rows.shape[:1]:
        raise ValueError(f"targets has the shape {targets.shape}; accepted: one number a row, {rows.shape[:1]}")
    wrong = ~(np.isfinite(targets) & (targets >= 0.0))
    if np.any(wrong):
        raise ValueError(f"targets holds {targets[wrong][0]}; accepted: finite numbers >= 0")
    if not np.any(targets > 0.0):
        raise ValueError("targets holds 0 only, so that w = 0 is the answer; accepted: at least one number above 0")
    return rows, targets


def _real(name: str, values: ArrayLike) -> np.ndarray:
    return np.array(real_array(name, values), np.float64)
