"""Hard-margin programs at the limits: tiny margins, many scales, and answers that floating point cannot hold."""

import numpy as np
import pytest

from solvable.numerics.minimum_norm import minimum_norm, minimum_nuclear_norm
from solvable.numerics.minimum_norm.bracket import p_norm
from solvable.numerics.minimum_norm.certificate import proved_gap, transposed_product
from solvable.numerics.results import Result, SolveError
from tests.numerics.minimum_norm_checks import check, check_infeasible, dual_norm, exact_product


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("margin", [1e-3, 1e-5, 1e-7])
def test_a_small_margin_is_not_infeasible(p, margin):
    """Two almost opposite rows: the only way to please both is along the second coordinate."""
    rows = np.array([[1.0, margin, 0.0], [-1.0, margin, 0.0], [0.0, 1.0, 1.0]])
    found = minimum_norm(rows, p)
    check(rows, found, p)
    assert found.weights == pytest.approx([0.0, 1.0 / margin, 0.0], rel=1e-9, abs=1e-3)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("p", [1.0, 1.25, 1.5, np.inf])
def test_a_small_margin_among_other_rows(p, seed):
    """For p < 2 the multipliers of such programs are right long before grad psi* of A^T lambda is."""
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(2, 10))
    other -= one * (one @ other) / (one @ one)
    rows = np.vstack([one + 1e-5 * other, -one + 1e-5 * other, rng.normal(size=(2, 10))])
    check(rows, minimum_norm(rows, p), p)


def equalities(seed):
    """Six rows with target 1 and four equalities, each as two opposite relaxed rows."""
    rng = np.random.default_rng(seed)
    equal = rng.normal(size=(4, 12))
    return np.vstack([rng.normal(size=(6, 12)), equal, -equal]), np.r_[np.ones(6), np.zeros(8)]


@pytest.mark.parametrize(("p", "seed"), [(50.0, 18), (50.0, 22), (50.0, 33), (1.0, 1056), (np.inf, 1056)])
def test_equalities_at_the_limit_of_precision(p, seed):
    """Opposite rows have multipliers up to 1e12 times their difference. Whether certified or not, which the last digit
    decides, the weights are feasible, the gap is what the multipliers prove, and nothing warns."""
    rows, targets = equalities(seed)
    found = minimum_norm(rows, p, targets=targets, throw=False)
    assert found.result in (Result.SUCCESSFUL, Result.MAX_STEPS)
    assert (found.result is Result.SUCCESSFUL) == (found.gap <= (1e-8 if p == 50.0 else 1e-9))
    slack = 2e-12 * np.linalg.norm(rows, axis=1) * np.linalg.norm(found.weights)
    assert np.all(rows @ found.weights >= targets - slack)
    lower = targets @ found.multipliers / dual_norm(rows, p, found.multipliers)
    assert found.gap == pytest.approx(abs(1.0 - lower / np.linalg.norm(found.weights, p)), rel=1e-12, abs=1e-14)


def cancelling(digits):
    """Two opposite rows but for 10^-digits of another, and multipliers that leave that much of A^T lambda."""
    rng = np.random.default_rng(digits)
    rows = rng.normal(size=(3, 9))
    rows[1] = -rows[0] + 10.0**-digits * rows[2]
    return rows, np.array([1.0, 1.0 + 10.0**-digits, 0.0])


@pytest.mark.parametrize("digits", [0, 4, 8, 12])
def test_the_gap_is_right_however_much_cancels(digits):
    """Whatever the multipliers are, and in whatever units."""
    rows, multipliers = cancelling(digits)
    product = exact_product(rows, multipliers)
    assert transposed_product(rows, multipliers) == pytest.approx(product, rel=1e-15, abs=1e-30)
    norm = 1.25 * multipliers.sum() / np.linalg.norm(product)
    lengths = np.linalg.norm(rows, axis=1)
    for power in (0, 500, 990, -500, -1000):
        unit = 2.0**power
        gap = proved_gap(unit * rows, unit * lengths, 1.0 / lengths, multipliers / unit, norm, lambda u: p_norm(u, 2.0))
        assert gap == pytest.approx(0.2, abs=1e-14)


def test_a_product_of_many_blocks():
    rows, multipliers = np.random.default_rng(0).normal(size=(50, 2000)), np.random.default_rng(1).random(50)
    multipliers[::7] = 0.0
    np.testing.assert_allclose(transposed_product(rows, multipliers), rows.T @ multipliers, rtol=1e-12, atol=1e-13)
    wide = np.random.default_rng(2).normal(size=(2, 70000))
    assert np.array_equal(transposed_product(wide, np.ones(2)), wide[0] + wide[1])


def test_no_margin_at_all():
    """The same rows in the limit; 1e-16 of the largest row is rounding."""
    for margin in (1e-16, 0.0):
        rows = np.array([[1.0, margin, 0.0], [-1.0, margin, 0.0], [0.0, 1.0, 1.0]])
        check_infeasible(rows, minimum_norm(rows))


@pytest.mark.parametrize("p", [1.0, 1.1, 1.5, 2.0, 3.0, 5.0, np.inf])
def test_rows_of_many_scales(p):
    """Row norms spread over 1e+-3: the answer of the rows of norm 1, whose targets are divided by those norms."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(8, 15)) * 10.0 ** rng.uniform(-3.0, 3.0, size=(8, 1))
        found = minimum_norm(rows, p)
        check(rows, found, p)
        lengths = np.linalg.norm(rows, axis=1)
        assert found.norm == pytest.approx(
            minimum_norm(rows / lengths[:, None], p, targets=1.0 / lengths).norm, rel=2e-9
        )


def test_nuclear_rows_of_many_scales():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(6, 4, 4)) * 10.0 ** rng.uniform(-3.0, 3.0, size=(6, 1, 1))
        found = minimum_nuclear_norm(rows)
        assert found.result is Result.SUCCESSFUL
        assert np.min(np.einsum("mij,ij->m", rows, found.weights)) == pytest.approx(1.0, rel=1e-12)
        assert np.linalg.norm(np.tensordot(found.multipliers, rows, 1), 2) == pytest.approx(1.0, abs=2e-6)


def test_a_row_without_weight_is_no_contradiction():
    """1e-13 of the largest row, but orthogonal to it."""
    found = minimum_norm(np.diag([1.0, 1e-13]))
    assert found.weights == pytest.approx([1.0, 1e13], rel=1e-12)
    assert found.multipliers == pytest.approx([1.0, 1e26], rel=1e-12)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
@pytest.mark.parametrize("p", [1.0, 1.1, 1.5, np.inf])
def test_rows_whose_squares_leave_the_range(p, scale):
    rows = np.random.default_rng(0).normal(size=(6, 15))
    one, other = minimum_norm(rows, p), minimum_norm(scale * rows, p)
    assert other.norm * scale == pytest.approx(one.norm, rel=2e-9)
    assert other.multipliers.sum() == pytest.approx(other.norm ** (1.0 if p == np.inf else p), rel=1e-9)
    both = minimum_norm(scale * rows, p, targets=np.full(6, scale))
    assert both.norm == pytest.approx(one.norm, rel=2e-9)
    assert minimum_norm(np.vstack([scale * rows, np.zeros(15)]), p).result is Result.INFEASIBLE


@pytest.mark.parametrize(
    ("rows", "p"),
    [(10.0 * np.eye(2), 400), (1e-8 * np.eye(2), 50), (1e200 * np.eye(2), 2.0), (1e-200 * np.eye(2), 3.0)],
)
def test_multipliers_out_of_range_are_not_handed_back_as_a_success(rows, p):
    """h.lambda = ||w||_p^p, which leaves the range of floating point although w does not."""
    with pytest.raises(SolveError, match=r"not finite .*multipliers of the size of \|\|w\|\|\^p: rescale the rows"):
        minimum_norm(rows, p)
    found = minimum_norm(rows, p, throw=False)
    assert found.result is Result.NONFINITE
    assert found.weights == pytest.approx(np.full(2, 1.0 / rows[0, 0]), rel=1e-9)
    assert found.gap < 1e-12


@pytest.mark.parametrize("rows", [np.full((1, 3), 1e308), 1e-320 * np.eye(2)])
def test_weights_out_of_range(rows):
    found = minimum_norm(rows, 1.5, targets=np.full(len(rows), 1e-9 if rows[0, 0] > 1.0 else 1.0), throw=False)
    assert found.result is Result.NONFINITE
