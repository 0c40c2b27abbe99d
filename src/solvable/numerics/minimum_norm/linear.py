"""The hard margin in the 1-norm and in the maximum norm, as linear programs by HiGHS."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from solvable.numerics.minimum_norm.bracket import p_norm, scaled_margin

# HiGHS's own tolerances; its vertices are usually exact to rounding, and the certificate says whether they are.
ZERO = 1e-7  # what is below this share of the largest is zero at a vertex
OPTIONS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def solve_linear(
    rows: np.ndarray, targets: np.ndarray, p: float, weights: np.ndarray, multipliers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Weights and multipliers of min ||w||_p subject to A w >= h for p = 1 or inf, and the simplex iterations.

    p = 1: min sum(a + b) over w = a - b with a, b >= 0. p = inf: min t over w = v - t with 0 <= v <= 2 t. The given
    feasible weights set the unit, in which the solution is of order 1, and are handed back when HiGHS finds none.
    """
    m, dim = rows.shape
    unit = float(np.max(np.abs(weights)))
    if p == 1.0:
        cost, system, bound = np.ones(2 * dim), np.hstack([-rows, rows]), -targets / unit
    else:
        cost = np.append(np.zeros(dim), 1.0)
        box = np.hstack([np.eye(dim), np.full((dim, 1), -2.0)])
        system = np.vstack([np.hstack([-rows, rows.sum(axis=1, keepdims=True)]), box])
        bound = np.append(-targets / unit, np.zeros(dim))
    found = linprog(cost, A_ub=system, b_ub=bound, method="highs-ds", options=OPTIONS)
    if found.x is None:
        return weights, multipliers, 0
    # Multipliers are what the optimum gains by each target, -d optimum/d b.
    prices = np.maximum(-found.ineqlin.marginals[:m], 0.0)
    vertex = found.x[:dim] - (found.x[dim:] if p == 1.0 else found.x[dim])
    # HiGHS may miss relaxed rows by more than rounding.
    if scaled_margin(rows, targets, vertex) > 0.0:
        weights = unit * vertex
    exact, exact_prices = _vertex(rows, targets, p, vertex, prices)
    if _upper(rows, targets, p, exact) < _upper(rows, targets, p, weights):
        weights = exact
    if _lower(rows, targets, p, exact_prices) > _lower(rows, targets, p, prices):
        prices = exact_prices
    return weights, prices, int(found.nit)


def _vertex(
    rows: np.ndarray, targets: np.ndarray, p: float, weights: np.ndarray, prices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The vertex that HiGHS found, from its two linear systems M x = h and M^T lambda = e: exact to rounding.

    The active rows S carry multipliers. p = 1: M = A_S on the entries that are not zero, e their signs. p = inf: the
    entries with a reduced cost are at the bound t with its sign s and share one column, M = [A_S,free, A_S,bound s],
    and e is 1 for that column.
    """
    active = prices > ZERO * np.max(prices, initial=0.0)
    if not active.any():
        return weights, prices
    found, found_prices = np.zeros_like(weights), np.zeros_like(prices)
    if p == 1.0:
        at = np.abs(weights) > ZERO * np.max(np.abs(weights))
        signs = np.sign(weights[at])
        system, side = rows[active][:, at], signs
    else:
        cost = rows.T @ prices
        at = np.abs(cost) <= ZERO * np.max(np.abs(cost))  # the free entries
        signs = np.sign(cost[~at])
        system = np.column_stack([rows[active][:, at], rows[active][:, ~at] @ signs])
        side = np.append(np.zeros(np.sum(at)), 1.0)
    x = np.linalg.lstsq(system, targets[active], rcond=None)[0]
    found[at] = x[: np.sum(at)]
    if p != 1.0:
        found[~at] = x[-1] * signs
    found_prices[active] = np.maximum(np.linalg.lstsq(system.T, side, rcond=None)[0], 0.0)
    return found, found_prices


def _upper(rows: np.ndarray, targets: np.ndarray, p: float, weights: np.ndarray) -> float:
    margin = scaled_margin(rows, targets, weights)
    return p_norm(weights, p) / margin if margin > 0.0 else np.inf


def _lower(rows: np.ndarray, targets: np.ndarray, p: float, prices: np.ndarray) -> float:
    force = p_norm(rows.T @ prices, np.inf if p == 1.0 else 1.0)
    return float(targets @ prices) / force if force > 0.0 else 0.0
