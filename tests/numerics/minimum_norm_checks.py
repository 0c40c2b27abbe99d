"""What an answer of a hard-margin program claims, checked by its definition."""

from fractions import Fraction

import numpy as np
import pytest

from solvable.numerics.results import Result


def dual_norm(rows, p, multipliers):
    q = np.inf if p == 1.0 else 1.0 if np.isinf(p) else p / (p - 1.0)
    return np.linalg.norm(exact_product(rows, multipliers), q)


def exact_product(rows, multipliers):
    """A^T lambda in rational arithmetic: in floating point it may cancel to noise, which differs by processor."""
    factors = [Fraction(factor) for factor in multipliers.tolist()]
    columns = [[Fraction(entry) for entry in column] for column in rows.T.tolist()]
    return np.array([float(sum(a * b for a, b in zip(column, factors, strict=True) if b)) for column in columns])


def check(rows, found, p, tolerance=1e-9, targets=None):
    """Everything that an answer claims, by definition."""
    targets = np.ones(len(rows)) if targets is None else targets
    assert found.result is Result.SUCCESSFUL
    reach = rows @ found.weights
    slack = 1e-12 * np.linalg.norm(rows, axis=1) * np.linalg.norm(found.weights)
    assert np.all(reach >= targets - slack)
    asked = targets > 0
    rounding = max(1e-12, np.max(1e-3 * slack[asked] / targets[asked]))
    assert np.min(reach[asked] / targets[asked]) == pytest.approx(1.0, rel=rounding)
    norm = np.linalg.norm(found.weights, p)
    assert found.norm == pytest.approx(norm, rel=1e-13)
    assert found.margin == pytest.approx(1.0 / norm, rel=1e-13)
    assert np.all(found.multipliers >= 0.0)
    lower = targets @ found.multipliers / dual_norm(rows, p, found.multipliers)
    assert abs(1.0 - lower / norm) <= tolerance
    assert found.gap == pytest.approx(abs(1.0 - lower / norm), abs=1e-14)
    power = p if 1.0 < p < np.inf else 1.0
    assert targets @ found.multipliers == pytest.approx(norm**power, rel=1e-12)


def check_infeasible(rows, found, targets=None):
    """Farkas: lambda >= 0 with A^T lambda = 0 and h.lambda > 0 contradicts A w >= h."""
    targets = np.ones(len(rows)) if targets is None else targets
    flat = rows.reshape(len(rows), -1)
    assert found.result is Result.INFEASIBLE
    assert np.all(found.multipliers >= 0.0)
    assert found.multipliers.sum() == pytest.approx(1.0, rel=1e-12)
    assert targets @ found.multipliers > 0.0
    largest = np.max(np.linalg.norm(flat, axis=1))
    assert np.linalg.norm(flat.T @ found.multipliers) <= 1e-11 * largest * (targets @ found.multipliers)
    assert found.stats["residual"] == pytest.approx(np.linalg.norm(flat.T @ found.multipliers), abs=1e-15)
    assert np.all(np.isnan(found.weights))
    assert found.weights.shape == rows.shape[1:]
    assert (found.norm, found.margin, found.gap) == (np.inf, 0.0, 0.0)
