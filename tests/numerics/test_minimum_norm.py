"""Hard-margin programs: against cvxpy, closed forms and KKT, and certificates checked by their definition."""

import functools
import itertools

import cvxpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from solvable.numerics.minimum_norm import MinimumNorm, minimum_norm, minimum_nuclear_norm
from solvable.numerics.results import Result, SolveError
from tests.numerics.minimum_norm_checks import check, check_infeasible

SMOOTH = (1.1, 1.25, 1.5, 1.75, 2.0, 3.0, 5.0)
EVERY = (1.0, *SMOOTH, 7.0, 10.0, np.inf)
every_p = pytest.mark.parametrize("p", EVERY)
smooth_p = pytest.mark.parametrize("p", [*SMOOTH, 10.0])


def attention_rows(sequences, tokens, dim, seed):
    """vec((x_a - x_t) z^T) for Gaussian tokens x, queries z and a selected token a of every sequence; (m, d, d)."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(sequences, tokens, dim)), rng.normal(size=(sequences, dim))
    chosen = rng.integers(0, tokens, sequences)
    rows = [
        np.outer(x[i, chosen[i]] - x[i, t], z[i]) for i in range(sequences) for t in range(tokens) if t != chosen[i]
    ]
    return np.array(rows)


def gradient(weights, p):
    return np.sign(weights) * np.abs(weights) ** (p - 1.0)


# ---------------------------------------------------------------- against cvxpy


@functools.cache
def reference(p, count, dim):
    """A cvxpy program whose rows are a parameter: compiled once a norm and shape."""
    rows = cvxpy.Parameter((count, dim * dim))
    weights = cvxpy.Variable((dim, dim))
    norm = cvxpy.normNuc(weights) if p == "nuclear" else cvxpy.norm(cvxpy.vec(weights, order="C"), p)
    program = cvxpy.Problem(cvxpy.Minimize(norm), [rows @ cvxpy.vec(weights, order="C") >= 1])
    return program, rows


@pytest.mark.parametrize("p", [1.0, 1.1, 1.5, 1.75, 2.0, 3.0, 5.0, np.inf, "nuclear"])
def test_agreement_with_cvxpy(p):
    """23 draws a norm, 207 in all: the same verdict, and the same norm to the accuracy of the looser solver."""
    infeasible = 0
    for dim, draws in ((2, 5), (3, 12), (4, 6)):
        for seed in range(draws):
            rows = attention_rows(3, 5, dim, 100 * dim + seed)
            program, parameter = reference(p, len(rows), dim)
            parameter.value = rows.reshape(len(rows), -1)
            program.solve(solver=cvxpy.CLARABEL)
            if p == "nuclear":
                found = minimum_nuclear_norm(rows)
            else:
                found = minimum_norm(rows.reshape(len(rows), -1), p)
            if found.result is Result.INFEASIBLE:
                infeasible += 1
                assert program.status in (cvxpy.INFEASIBLE, cvxpy.INFEASIBLE_INACCURATE)
            else:
                assert program.status in (cvxpy.OPTIMAL, cvxpy.OPTIMAL_INACCURATE)
                assert found.norm == pytest.approx(program.value, rel=2e-6 if p == "nuclear" else 1e-6)
    assert 3 <= infeasible <= 15, "the draws must hold both kinds"


def test_relaxed_rows_against_cvxpy():
    rng = np.random.default_rng(3)
    rows, targets = rng.normal(size=(12, 6)), rng.uniform(0.5, 2.0, 12) * (np.arange(12) % 3 > 0)
    rows[:, 0] += 1.0
    for p in (1.5, 2.0, 3.0):
        weights = cvxpy.Variable(6)
        program = cvxpy.Problem(cvxpy.Minimize(cvxpy.norm(weights, p)), [rows @ weights >= targets])
        program.solve(solver=cvxpy.CLARABEL)
        found = minimum_norm(rows, p, targets=targets)
        check(rows, found, p, targets=targets)
        assert np.any(found.multipliers[targets == 0.0] > 0.0), "a relaxed row must be active for this to be a test"
        assert found.norm == pytest.approx(program.value, rel=1e-6)
        assert found.weights == pytest.approx(weights.value, rel=1e-3, abs=1e-4)


@smooth_p
def test_opposite_relaxed_rows_are_an_equality(p):
    """a.w >= 0 and -a.w >= 0: the same as the program on the null space of a."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(6, 9))
    equality = np.eye(9)[2:3]
    targets = np.r_[np.ones(6), 0.0, 0.0]
    found = minimum_norm(np.vstack([rows, equality, -equality]), p, targets=targets)
    without = minimum_norm(np.delete(rows, 2, axis=1), p)
    assert found.norm == pytest.approx(without.norm, rel=2e-9)
    assert abs(found.weights[2]) <= 1e-12 * np.max(np.abs(found.weights))


# ---------------------------------------------------------------- certificates


@every_p
@pytest.mark.parametrize("size", [(6, 8, 10), (6, 8, 4), (4, 12, 3), (12, 6, 12)])
def test_certified_gaps(p, size):
    for seed in range(3):
        rows = attention_rows(*size, seed).reshape(-1, size[2] ** 2)
        found = minimum_norm(rows, p)
        if found.result is Result.INFEASIBLE:
            check_infeasible(rows, found)
        else:
            check(rows, found, p, 1e-9 if p <= 5.0 or np.isinf(p) else 1e-8)


@pytest.mark.parametrize("p", [1.01, 1.05, 20.0, 50.0])
def test_extreme_exponents(p):
    rows = attention_rows(6, 8, 10, 1).reshape(-1, 100)
    check(rows, minimum_norm(rows, p), p, 1e-8)


@smooth_p
def test_karush_kuhn_tucker(p):
    rows = attention_rows(6, 8, 10, 4).reshape(-1, 100)
    found = minimum_norm(rows, p)
    assert found.multipliers.sum() == pytest.approx(found.norm**p, rel=1e-12)
    forces = rows.T @ found.multipliers
    assert forces == pytest.approx(gradient(found.weights, p), abs=1e-6 * np.max(np.abs(forces)))
    # sum lambda_j (a_j.w - 1) is the duality gap; every term is >= 0, so each is as small.
    excess = found.multipliers * (rows @ found.weights - 1.0)
    assert np.all(excess >= -1e-12 * found.norm**p)
    assert np.max(excess) <= 1e-8 * found.norm**p


@pytest.mark.parametrize("shape", [(6, 8, 10), (4, 6, 3), (10, 5, 8)])
def test_nuclear_certificate(shape):
    rows = attention_rows(*shape, 2)
    found = minimum_nuclear_norm(rows)
    if found.result is Result.INFEASIBLE:
        check_infeasible(rows, found)
        return
    assert np.min(np.einsum("mij,ij->m", rows, found.weights)) == pytest.approx(1.0, rel=1e-12)
    assert found.norm == pytest.approx(np.linalg.norm(found.weights, "nuc"), rel=1e-12)
    combined = np.tensordot(found.multipliers, rows, 1)
    assert found.multipliers.sum() == pytest.approx(found.norm, rel=1e-12)
    assert 0.0 <= np.linalg.norm(combined, 2) - 1.0 <= 1.1e-6
    assert found.gap <= 1e-6


def test_nuclear_of_oblong_matrices():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(9, 4, 7))
    found, turned = minimum_nuclear_norm(rows), minimum_nuclear_norm(rows.transpose(0, 2, 1))
    assert found.weights.shape == (4, 7)
    assert found.norm == pytest.approx(turned.norm, rel=2e-6)
    # The norms are ordered: ||.||_F <= ||.||_* <= sqrt(rank) ||.||_F.
    euclidean = minimum_norm(rows.reshape(9, -1)).norm
    assert euclidean <= found.norm <= 2.0 * euclidean


@every_p
def test_infeasible_is_an_answer(p):
    rows = np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 1.0], [-1.0, -1.0, -1.0], [1.0, 1.0, 3.0]])
    found = minimum_norm(rows, p)
    check_infeasible(rows, found)
    assert found.multipliers == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0], abs=1e-12)


def test_infeasible_nuclear():
    rows = np.stack([np.eye(3), -np.eye(3)])
    check_infeasible(rows, minimum_nuclear_norm(rows))


def test_a_zero_row_is_its_own_certificate():
    rows = np.vstack([np.eye(3), np.zeros(3)])
    found = minimum_norm(rows)
    check_infeasible(rows, found)
    assert found.multipliers == pytest.approx([0.0, 0.0, 0.0, 1.0], abs=1e-15)
    check_infeasible(np.zeros((2, 3)), minimum_norm(np.zeros((2, 3)), 3.0))
    relaxed = np.array([1.0, 1.0, 1.0, 0.0])
    for p in (1.5, 2.0, 3.0):  # asked for nothing, it does no harm
        check(rows, minimum_norm(rows, p, targets=relaxed), p, targets=relaxed)


def test_infeasible_by_a_relaxed_row():
    rows, targets = np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([1.0, 0.0])
    check_infeasible(rows, minimum_norm(rows, targets=targets), targets)


# ---------------------------------------------------------------- closed forms


@smooth_p
def test_a_single_row(p):
    """w = grad psi*(a)/||a||_q^q, of norm 1/||a||_q."""
    row = np.array([[3.0, -1.0, 0.5, 0.0]])
    found = minimum_norm(row, p)
    q = p / (p - 1.0)
    check(row, found, p, 1e-8)
    assert found.weights == pytest.approx(gradient(row[0], q) / np.sum(np.abs(row) ** q), abs=1e-7)
    assert found.multipliers == pytest.approx([np.sum(np.abs(row) ** q) ** (1.0 - p)], rel=1e-7)


@pytest.mark.parametrize(("p", "norm"), [(1.0, 1 / 3), (np.inf, 1 / 4.5)])
def test_a_single_row_in_the_polyhedral_norms(p, norm):
    row = np.array([[3.0, -1.0, 0.5]])
    found = minimum_norm(row, p)
    check(row, found, p)
    assert found.norm == pytest.approx(norm, rel=1e-12)


@smooth_p
def test_rows_of_the_identity(p):
    """A = I: w = h, and lambda = h^(p-1)."""
    targets = np.array([1.0, 2.0, 0.0, 0.5])
    found = minimum_norm(np.eye(4), p, targets=targets)
    assert found.weights == pytest.approx(targets, abs=1e-7)
    assert found.multipliers == pytest.approx(targets ** (p - 1.0), abs=1e-6)


def test_orthonormal_rows():
    """p = 2: w is the sum of the rows, every multiplier is 1."""
    rows = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 5)))[0].T
    found = minimum_norm(rows)
    assert found.weights == pytest.approx(rows.sum(0), abs=1e-13)
    assert found.multipliers == pytest.approx(np.ones(5), abs=1e-13)
    assert found.norm == pytest.approx(np.sqrt(5), rel=1e-14)


def test_orthogonal_nuclear_rows():
    """<e_i e_i^T, W> >= 1: the identity, of nuclear norm d."""
    rows = np.array([np.diag(row) for row in np.eye(4)])
    found = minimum_nuclear_norm(rows)
    assert found.norm == pytest.approx(4.0, rel=1e-6)
    assert found.weights == pytest.approx(np.eye(4), abs=1e-2)


@pytest.mark.parametrize("shape", [(8, 20), (30, 6)])
def test_euclidean_equals_nonnegative_least_squares(shape):
    rows = np.random.default_rng(1).normal(size=shape) + 0.8
    system = np.vstack([rows.T, np.ones(len(rows))])
    target = np.eye(len(system))[-1]
    solution, _ = nnls(system, target)
    residual = system @ solution - target
    found = minimum_norm(rows)
    assert found.weights == pytest.approx(-residual[:-1] / residual[-1], rel=1e-9)
    assert found.multipliers == pytest.approx(solution / -residual[-1], abs=1e-9)


def test_one_dimension():
    for p in (1.0, 1.5, 2.0, 3.0, np.inf):
        found = minimum_norm([[0.5], [2.0], [4.0]], p)
        assert found.weights == pytest.approx([2.0], rel=1e-12)
    check_infeasible(np.array([[1.0], [-2.0]]), minimum_norm([[1.0], [-2.0]], 3.0))


# ---------------------------------------------------------------- symmetries


def symmetric_problem(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(8, 7)) + 0.4


@given(st.integers(0, 50), st.sampled_from(SMOOTH), st.floats(1e-6, 1e6))
def test_scale_equivariance(seed, p, scale):
    rows = symmetric_problem(seed)
    one, other = minimum_norm(rows, p), minimum_norm(scale * rows, p)
    assert one.result is other.result
    if one.result is Result.SUCCESSFUL:
        assert scale * other.norm == pytest.approx(one.norm, rel=2e-9)
        assert scale * other.weights == pytest.approx(one.weights, abs=1e-3 * np.max(np.abs(one.weights)))
        assert scale**p * other.multipliers.sum() == pytest.approx(one.multipliers.sum(), rel=1e-7)


@given(st.integers(0, 50), st.sampled_from(SMOOTH), st.randoms(use_true_random=False))
def test_order_and_copies_of_rows_do_not_matter(seed, p, random):
    rows = symmetric_problem(seed)
    order = [*range(len(rows)), 0, 0, 3]
    random.shuffle(order)
    one, other = minimum_norm(rows, p), minimum_norm(rows[order], p)
    assert one.result is other.result
    if one.result is Result.SUCCESSFUL:
        check(rows[order], other, p)
        assert other.norm == pytest.approx(one.norm, rel=2e-9)
        together = np.bincount(order, other.multipliers)
        assert together == pytest.approx(one.multipliers, abs=1e-3 * np.max(one.multipliers))


@given(st.integers(0, 50), st.floats(0.1, 10.0), st.sampled_from((1.0, 1.5, 2.0, 3.0, np.inf)))
def test_targets_scale_the_weights(seed, scale, p):
    rows = symmetric_problem(seed)
    one, other = minimum_norm(rows, p), minimum_norm(rows, p, targets=np.full(8, scale))
    assert one.result is other.result
    if one.result is Result.SUCCESSFUL:
        assert other.norm == pytest.approx(scale * one.norm, rel=2e-9)
        assert other.margin == pytest.approx(one.margin / scale, rel=2e-9)


def test_the_norms_are_ordered_and_continuous_in_p():
    rows = attention_rows(6, 8, 10, 0).reshape(-1, 100)
    # Norms about 1, so that ||w||^400 stays in range.
    targets = np.full(len(rows), 1.0 / minimum_norm(rows, np.inf).norm)
    powers = (1.0, 1.001, 1.1, 1.5, 2.0, 3.0, 10.0, 400.0, np.inf)
    norms = [minimum_norm(rows, p, targets=targets).norm for p in powers]
    assert all(larger > smaller for larger, smaller in itertools.pairwise(norms))
    assert norms[1] == pytest.approx(norms[0], rel=5e-3)
    assert norms[-2] == pytest.approx(norms[-1], rel=2e-2)


def test_same_answer_twice():
    rows = attention_rows(6, 8, 10, 0).reshape(-1, 100)
    for p in (1.5, 2.0, 3.0):
        one, other = minimum_norm(rows, p), minimum_norm(rows, p)
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.multipliers, other.multipliers)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.ones(3),), {}, r"rows has the shape \(3,\); accepted: 2 axes"),
        ((np.ones((0, 3)),), {}, r"rows has the shape \(0, 3\)"),
        (([[1.0, np.nan]],), {}, "rows holds nan; accepted: finite numbers"),
        ((np.eye(2), 0.5), {}, "p=0.5 is not the exponent of a norm; accepted: a number >= 1 or inf"),
        ((np.eye(2), np.nan), {}, "p=nan is not the exponent"),
        ((np.eye(2), "2"), {}, "p='2' is not the exponent"),
        ((np.eye(2), None), {}, "p=None is not the exponent"),
        ((np.eye(2), [2.0]), {}, r"p=\[2.0\] is not the exponent"),
        ((np.eye(2), 10**5000), {}, "p is a number beyond the largest float; accepted: a number >= 1 or inf"),
        ((1j * np.eye(2),), {}, "rows has dtype complex128; accepted: real numbers"),
        ((np.eye(2),), {"targets": [1j, 1.0]}, "targets has dtype complex128; accepted: real numbers"),
        ((np.eye(2),), {"targets": [1.0]}, r"targets has the shape \(1,\); accepted: one number a row, \(2,\)"),
        ((np.eye(2),), {"targets": [1.0, -1.0]}, "targets holds -1.0; accepted: finite numbers >= 0"),
        ((np.eye(2),), {"targets": [0.0, 0.0]}, "targets holds 0 only"),
        ((np.eye(2),), {"tolerance": 0.0}, "tolerance=0 is out of range"),
    ],
)
def test_bad_input(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        minimum_norm(*arguments, **options)


def test_bad_input_of_the_nuclear_program():
    with pytest.raises(ValueError, match=r"rows has the shape \(2, 2\); accepted: 3 axes"):
        minimum_nuclear_norm(np.eye(2))


def test_an_uncertified_answer_raises_or_is_marked():
    rows = attention_rows(6, 8, 10, 0)
    for solve, what in (
        (lambda **options: minimum_norm(rows.reshape(-1, 100), 3.0, **options), r"minimum_norm\(p=3\)"),
        (lambda **options: minimum_nuclear_norm(rows, **options), "minimum_nuclear_norm"),
    ):
        with pytest.raises(SolveError, match=rf"{what}: the iteration stopped .*\(gap "):
            solve(tolerance=1e-18)
        found = solve(tolerance=1e-18, throw=False)
        assert isinstance(found, MinimumNorm)
        assert found.result is Result.MAX_STEPS
        assert 1e-18 < found.gap < 1e-5
