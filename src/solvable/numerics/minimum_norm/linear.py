"""The hard margin in the 1-norm and in the maximum norm, as linear programs by HiGHS."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from solvable.numerics.minimum_norm.bracket import scaled_margin

# HiGHS's own tolerances; its vertices are usually exact to rounding, and the certificate says whether they are.
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
    return weights, prices, int(found.nit)
