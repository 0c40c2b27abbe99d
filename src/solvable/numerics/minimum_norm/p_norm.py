"""The hard margin in a p-norm, 1 < p < inf: sequential quadratic programs with continuation in p."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dposv  # pyright: ignore[reportAttributeAccessIssue]
from scipy.optimize import nnls

from solvable.numerics.minimum_norm.least_distance import reached
from solvable.numerics.minimum_norm.pivoting import nonnegative_quadratic

RIDGE = 1e-13
# The curvature of |x|^r is floored where x^(r-1) falls below this share of the largest: such entries carry no weight.
NEGLIGIBLE = 1e-9
# An intermediate exponent of the continuation is left at this gap.
ROUGH = 0.05
EXACT = 1e-13


class Bracket(NamedTuple):
    """The best weights (feasible) and the best multipliers so far, with their norm and dual value: the optimum lies
    between `lower` and `upper`."""

    weights: np.ndarray
    upper: float
    multipliers: np.ndarray
    lower: float

    @property
    def gap(self) -> float:
        """1 - lower/upper."""
        return 1.0 - self.lower / self.upper


def solve_p_norm(
    rows: np.ndarray,
    targets: np.ndarray,
    p: float,
    weights: np.ndarray,
    multipliers: np.ndarray,
    tolerance: float,
    max_steps: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Weights and multipliers of min ||w||_p subject to A w >= h, and the steps taken.

    With psi = ||.||_p^p/p, q = p/(p-1), u = grad psi(w) and r = 1/psi''(w) = (q-1)|u|^(q-2), each step solves
        min sum_i (x_i - w_i + r_i u_i)^2/(2 r_i)  subject to  A x >= h,
    Newton's quadratic program, in its dual over multipliers lambda >= 0. For p >= 2 it is Newton's step of the primal
    and w moves towards x; for p < 2 of the dual max h.lambda - ||A^T lambda||_q^q/q, and lambda moves, u = A^T lambda,
    so that the function being modelled is always the smooth one of the two powers. The exponent max(p, q) starts from
    the solution at 2 and is at most doubled at a time. Rows join the program when they come near to being active.
    """
    steps = 0
    power = max(p, p / (p - 1.0))
    stages = int(np.ceil(np.log2(power - 1.0) - 1e-12)) if power > 2.0 else 1
    for stage in range(max(stages, 1)):
        last = stage >= stages - 1
        here = power if last else 1.0 + 2.0 ** (stage + 1)
        exponent = here if p >= 2.0 else here / (here - 1.0)
        if last:
            exponent = p
        goal, allowed = (tolerance, max_steps - steps) if last else (ROUGH, 6)
        weights, multipliers, taken = _sequence(
            rows, targets, exponent, weights, multipliers, goal, min(goal, EXACT) if last else goal, allowed
        )
        steps += taken
    return weights, multipliers, steps


def _sequence(rows, targets, p, weights, multipliers, tolerance, exact, max_steps):
    q = p / (p - 1.0)
    primal = p >= 2.0
    bracket = _improved(None, rows, targets, p, weights, multipliers)
    weights, multipliers = bracket.weights, bracket.multipliers
    working = np.zeros(targets.size, bool)
    step = stalled = 0
    # Steps go on below the tolerance while they help: two more make a gap of rounding, the reward of Newton's method.
    while step < max_steps and bracket.gap > exact and stalled < (1 if bracket.gap <= tolerance else 10):
        step += 1
        # Homogeneity: the unit of w (of lambda) is free, so that its largest entry (of A^T lambda) is 1 here.
        if primal:
            scale = np.max(np.abs(weights))
            weights, goals = weights / scale, targets / scale
            forces = _power(weights, p - 1.0)
            floor = NEGLIGIBLE ** (1.0 / (p - 1.0))
            inverse = 1.0 / ((p - 1.0) * np.maximum(np.abs(weights), floor) ** (p - 2.0))
            multipliers = multipliers * (np.sum(np.abs(weights) ** p) / (goals @ multipliers))
        else:
            forces = rows.T @ multipliers
            scale = np.max(np.abs(forces))
            forces, multipliers = forces / scale, multipliers / scale
            weights = _power(forces, q - 1.0)
            goals = targets * (np.sum(np.abs(forces) ** q) / (targets @ multipliers))
            floor = NEGLIGIBLE ** (1.0 / (q - 1.0))
            inverse = (q - 1.0) * np.maximum(np.abs(forces), floor) ** (q - 2.0)
        new_weights, new_multipliers, working = _quadratic_step(
            rows, goals, weights, weights - inverse * forces, inverse, multipliers, working
        )
        if new_weights is None:
            break
        before = bracket.gap
        bracket = _improved(bracket, rows, targets, p, new_weights, new_multipliers)
        if primal:
            weights = weights + _length(weights, new_weights - weights, p) * (new_weights - weights)
            weights = weights / reached(rows, targets, weights)
            multipliers = new_multipliers
        else:
            change = new_multipliers - multipliers
            length = _dual_length(forces, rows.T @ change, targets @ multipliers, targets @ change, q)
            multipliers = multipliers + length * change
            bracket = _improved(bracket, rows, targets, p, _power(rows.T @ multipliers, q - 1.0), multipliers)
        stalled = 0 if bracket.gap < 0.9 * before else stalled + 1
    return bracket.weights, bracket.multipliers, step


def _power(values: np.ndarray, exponent: float) -> np.ndarray:
    return np.sign(values) * np.abs(values) ** exponent


def p_norm(values: np.ndarray, p: float) -> float:
    """||values||_p without overflow or underflow, for 1 <= p <= inf."""
    largest = float(np.max(np.abs(values)))
    if largest == 0.0 or np.isinf(p):
        return largest
    return largest * float(np.sum(np.abs(values / largest) ** p)) ** (1.0 / p)


def _improved(bracket, rows, targets, p, weights, multipliers) -> Bracket:
    reach = reached(rows, targets, weights)
    upper = p_norm(weights, p) / reach if reach > 0.0 else np.inf
    length = p_norm(rows.T @ multipliers, p / (p - 1.0))
    lower = float(targets @ multipliers) / length if length > 0.0 else 0.0
    if bracket is None:
        return Bracket(weights / reach, upper, multipliers, lower)
    if upper < bracket.upper:
        bracket = bracket._replace(weights=weights / reach, upper=upper)
    if lower > bracket.lower:
        bracket = bracket._replace(multipliers=multipliers, lower=lower)
    return bracket


def _quadratic_step(rows, goals, weights, centre, inverse, multipliers, working):
    """argmin sum (x - centre)^2/(2 inverse) subject to A x >= goals, on rows that are or become near-active."""
    size = np.max(goals)
    near = rows @ weights < goals + 0.3 * size
    working = near | (multipliers > 0.0)
    asked = goals - rows @ centre
    root = np.sqrt(inverse)
    support = multipliers > 0.0
    while True:
        chosen = np.flatnonzero(working)
        scaled = rows[chosen] * root
        kernel = scaled @ scaled.T
        ridge = RIDGE * float(np.trace(kernel)) / chosen.size
        part = None
        for _ in range(3):
            ridged = kernel + ridge * np.eye(chosen.size)
            part, _ = nonnegative_quadratic(ridged, asked[chosen] + ridge * multipliers[chosen], support[chosen])
            if part is not None:
                break
            ridge *= 100.0
        if part is None:
            part = _least_squares(scaled, asked[chosen])
            if part is None:
                return None, None, working
        new_multipliers = np.zeros_like(multipliers)
        new_multipliers[chosen] = part
        new_weights = centre + inverse * (rows.T @ new_multipliers)
        missing = ~working & (rows @ new_weights < goals - 1e-12 * size)
        if not np.any(missing):
            return _feasible_again(rows, goals, new_weights, new_multipliers), new_multipliers, working
        working = working | missing
        support = (new_multipliers > 0.0) | missing


def _feasible_again(rows, goals, weights, multipliers):
    """The nearest weights that meet the rows with multipliers exactly, where rounding in A^T lambda has moved them.

    A large inverse curvature (p > 2) magnifies that rounding; a Euclidean correction knows nothing of the curvature.
    """
    support = multipliers > 0.0
    active = rows[support]
    missed = goals[support] - active @ weights
    if np.max(np.abs(missed), initial=0.0) <= 1e-13 * np.max(goals):
        return weights
    kernel = active @ active.T
    kernel[np.diag_indices_from(kernel)] += RIDGE * float(np.trace(kernel)) / missed.size
    _, change, failed = dposv(kernel, missed)
    return weights if failed else weights + change @ active


def _least_squares(scaled, asked):
    system = np.vstack([scaled.T, asked])
    goal = np.zeros(system.shape[0])
    goal[-1] = 1.0
    try:
        found, _ = nnls(system, goal, maxiter=30 * asked.size)
    except RuntimeError:
        return None
    rest = 1.0 - asked @ found
    return found / rest if rest > 1e-14 else None


def _length(point, change, p):
    """A step length that lowers ||point + length change||_p (Armijo)."""
    value, slope = np.sum(np.abs(point) ** p) / p, float(change @ _power(point, p - 1.0))
    length = 1.0
    while length > 1e-10:
        if np.sum(np.abs(point + length * change) ** p) / p <= value + 1e-4 * length * slope + 1e-16 * value:
            return length
        length *= 0.5
    return 0.0


def _dual_length(forces, change, value, gain, q):
    """A step length that lowers log ||forces + length change||_q - log(value + length gain) (Armijo)."""
    start = np.log(p_norm(forces, q)) - np.log(value)
    slope = float(change @ _power(forces, q - 1.0)) / np.sum(np.abs(forces) ** q) - gain / value
    length = 1.0
    while length > 1e-10:
        if value + length * gain > 0.0:
            moved = p_norm(forces + length * change, q)
            if moved == 0.0 or np.log(moved) - np.log(value + length * gain) <= start + 1e-4 * length * slope + 1e-16:
                return length
        length *= 0.5
    return 0.0
