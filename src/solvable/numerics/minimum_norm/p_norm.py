"""The hard margin in a p-norm, 1 < p < inf: sequential quadratic programs with continuation in p."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from solvable.numerics.minimum_norm.bracket import Bracket, bracketed, p_norm, scaled_margin
from solvable.numerics.minimum_norm.newton_step import newton_step

# The curvature of |x|^r is floored where |x|^(r-1) falls below this share of the largest: those carry no weight.
NEGLIGIBLE = 1e-9
# An exponent on the way to p is left at this gap, or after so many steps.
ROUGH, ROUGH_STEPS = 0.05, 6
# At p the steps go on below the tolerance while they help, down to EXACT: it takes Newton's method one or two more.
EXACT = 1e-13
# A step that lowers the gap by less than a tenth is idle; so many in a row end the solve.
IDLE = 40


def solve_p_norm(
    rows: np.ndarray,
    targets: np.ndarray,
    p: float,
    weights: np.ndarray,
    multipliers: np.ndarray,
    tolerance: float,
    max_steps: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Weights and multipliers of min ||w||_p subject to A w >= h, and the steps taken, from the solution at p = 2.

    With psi = ||.||_p^p/p, q = p/(p-1), u = grad psi(w) and r = 1/psi''(w) = (q-1)|u|^(q-2), each step solves
        min sum_i (x_i - w_i + r_i u_i)^2/(2 r_i)  subject to  A x >= h
    with its multipliers. For p > 2 this is Newton's quadratic program of the primal, and w moves towards x. For p < 2
    it is that of the dual max h.lambda - ||A^T lambda||_q^q/q, where u = A^T lambda, and lambda moves. So of the two
    powers, whose curvatures are inverse to each other, the smooth one is modelled. max(p, q) - 1 is at most doubled at
    a time on its way from 1. The pair that is handed back is the best seen, not the last.
    """
    steps = 0
    for exponent in _continuation(p):
        last = exponent == p
        goal, allowed = (tolerance, max_steps - steps) if last else (ROUGH, ROUGH_STEPS)
        solve = _primal if p > 2.0 else _dual
        bracket, taken = solve(rows, targets, exponent, weights, multipliers, goal, allowed, EXACT if last else goal)
        weights, multipliers, steps = bracket.weights, bracket.multipliers, steps + taken
    return weights, multipliers, steps


def _continuation(p: float) -> Iterator[float]:
    """Exponents on the way from 2 to p, ending with p: max(p, q) = 3, 5, 9, ..."""
    power, larger = 3.0, max(p, p / (p - 1.0))
    while power < larger - 1e-9:
        yield power if p > 2.0 else power / (power - 1.0)
        power = 2.0 * power - 1.0
    yield p


def _primal(
    rows: np.ndarray,
    targets: np.ndarray,
    p: float,
    weights: np.ndarray,
    multipliers: np.ndarray,
    goal: float,
    max_steps: int,
    exact: float,
) -> tuple[Bracket, int]:
    """Newton's steps on ||w||_p^p/p over the feasible w."""
    bracket = bracketed(rows, targets, p, weights, multipliers)
    weights = bracket.weights
    floor = NEGLIGIBLE ** (1.0 / (p - 1.0))
    step = idle = 0
    while step < max_steps and bracket.gap > exact and idle < (1 if bracket.gap <= goal else IDLE):
        # By homogeneity the unit of w is free: its largest entry is 1 here, and the multipliers follow.
        scale = np.max(np.abs(weights))
        weights, goals = weights / scale, targets / scale
        multipliers = multipliers * (np.sum(np.abs(weights) ** p) / (goals @ multipliers))
        inverse = 1.0 / ((p - 1.0) * np.maximum(np.abs(weights), floor) ** (p - 2.0))
        forces = _signed_power(weights, p - 1.0)
        found = newton_step(rows, goals, weights, weights - inverse * forces, inverse, multipliers)
        step += 1
        if found is None:
            break
        improved = bracketed(rows, targets, p, *found, bracket)
        moved, multipliers = found
        if goals @ multipliers <= 0.0:  # rounding has left nothing of them
            multipliers = improved.multipliers
        value, slope = np.sum(np.abs(weights) ** p), p * float((moved - weights) @ forces)
        length, trial = 1.0, moved
        # Armijo's rule, with room for rounding; what overflows is too long.
        with np.errstate(over="ignore"):
            while length > 1e-9 and np.sum(np.abs(trial) ** p) > value * (1.0 + 1e-15) + 1e-4 * length * slope:
                length *= 0.5
                trial = weights + length * (moved - weights)
        weights = trial / scaled_margin(rows, targets, trial)
        idle = 0 if improved.gap < 0.9 * bracket.gap else idle + 1
        bracket = improved
    return bracket, step


def _dual(
    rows: np.ndarray,
    targets: np.ndarray,
    p: float,
    weights: np.ndarray,
    multipliers: np.ndarray,
    goal: float,
    max_steps: int,
    exact: float,
) -> tuple[Bracket, int]:
    """Newton's steps on ||A^T lambda||_q^q/q - h.lambda over lambda >= 0."""
    q = p / (p - 1.0)
    bracket = bracketed(rows, targets, p, weights, multipliers)
    # x is only handed back in need: near p = 1 its small entries may be far from grad psi(x) = A^T lambda.
    spare = bracket
    floor = NEGLIGIBLE ** (1.0 / (q - 1.0))
    step = idle = 0
    while step < max_steps and bracket.gap > exact and idle < (1 if bracket.gap <= goal else IDLE):
        forces = rows.T @ multipliers
        # By homogeneity the unit of lambda is free: A^T lambda has the largest entry 1 here, and the targets follow.
        scale = np.max(np.abs(forces))
        forces, multipliers = forces / scale, multipliers / scale
        weights = _signed_power(forces, q - 1.0)
        goals = targets * (np.sum(np.abs(forces) ** q) / (targets @ multipliers))
        inverse = (q - 1.0) * np.maximum(np.abs(forces), floor) ** (q - 2.0)
        found = newton_step(rows, goals, weights, weights - inverse * forces, inverse, multipliers)
        step += 1
        if found is None:
            break
        change = found[1] - multipliers
        along, gain, value = rows.T @ change, targets @ change, targets @ multipliers
        # The scale-free objective log ||A^T lambda||_q - log h.lambda has this slope along the change.
        start = np.log(p_norm(forces, q)) - np.log(value)
        slope = float(along @ weights) / np.sum(np.abs(forces) ** q) - gain / value
        length = 1.0
        while length > 1e-9:
            moved = p_norm(forces + length * along, q)
            there = np.log(moved) - np.log(value + length * gain) if min(moved, value + length * gain) > 0.0 else np.inf
            if there <= start + 1e-15 + 1e-4 * length * slope:
                break
            length *= 0.5
        multipliers = multipliers + length * change
        improved = bracketed(rows, targets, p, _signed_power(rows.T @ multipliers, q - 1.0), multipliers, bracket)
        before, spare = spare.gap, bracketed(rows, targets, p, *found, spare)
        idle = 0 if improved.gap < 0.9 * bracket.gap or spare.gap < 0.9 * before else idle + 1
        bracket = improved
    return (bracket if bracket.gap <= goal else spare), step


def _signed_power(values: np.ndarray, exponent: float) -> np.ndarray:
    return np.sign(values) * np.abs(values) ** exponent
