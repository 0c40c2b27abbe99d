"""The limit of vanishing initialisation: the facts of the Stieltjes case, brute force, and the lasso path."""

import itertools
import warnings

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import nnls

from solvable.networks import diagonal


def stieltjes(seed, d):
    """M = I - B with a nonnegative B of spectral radius .7, and r of either sign."""
    rng = np.random.default_rng(seed)
    B = np.abs(rng.normal(size=(d, d)))
    B = B + B.T
    np.fill_diagonal(B, 0.0)
    M = np.eye(d) - 0.7 * B / np.linalg.eigvalsh(B)[-1]
    return M, rng.normal(size=d)


def regression(seed, n, d):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    return X, y, diagonal.Quadratic.from_data(X, y)


def constrained(M, r, signs, weight_decay):
    """The minimiser of <x, M x> / 2 - <r, x> + weight_decay |x|_1 over signs * x >= 0, zero where the sign is 0, by
    trying all active sets."""
    places = np.flatnonzero(signs)
    for size in range(len(places) + 1):
        for chosen in itertools.combinations(places, size):
            A = list(chosen)
            x = np.zeros(len(r))
            if A:
                block = M[np.ix_(A, A)]
                if np.linalg.matrix_rank(block, tol=1e-9) < size:
                    continue
                x[A] = np.linalg.solve(block, r[A] - weight_decay * signs[A])
            rate = r - M @ x - weight_decay * signs
            if np.all(signs * x >= -1e-10) and np.all((signs * rate)[places] <= 1e-9):
                return x
    raise AssertionError("no active set is optimal")


def brute_force(M, r, weight_decay, positive):
    """The algorithm of the limit with the minimum above at every jump."""
    s, omega, x = 0.0, np.zeros(len(r)), np.zeros(len(r))
    signs = np.zeros(len(r))
    jumps, plateaux = [], []
    while True:
        rate = r - M @ x
        waits = np.full((2, len(r)), np.inf)
        for row, sign in enumerate([1.0] if positive else [1.0, -1.0]):
            speed = sign * rate - weight_decay
            moving = (speed > 1e-9) & (sign != signs)
            waits[row, moving] = (1.0 + weight_decay * s - sign * omega[moving]) / speed[moving]
        wait = waits.min()
        if wait == np.inf:
            return np.array(jumps), np.array(plateaux)
        s, omega = s + wait, omega + wait * rate
        bound = 1.0 + weight_decay * s
        signs = np.where(np.abs(np.abs(omega) - bound) < 1e-9 * bound, np.sign(omega), 0.0)
        if positive:
            signs = np.maximum(signs, 0.0)
        x = constrained(M, r, signs, weight_decay)
        jumps.append(s)
        plateaux.append(x)


# --- M positive definite without positive off-diagonal entries --------------------------------------------------------


@pytest.fixture(params=[(1, 3), (1, 8), (2, 30)], ids=lambda case: f"d={case[1]}", scope="module")
def case(request):
    M, r = stieltjes(*request.param)
    return M, r, diagonal.Quadratic(M, r), diagonal.limit_path(diagonal.Quadratic(M, r), positive=True)


def test_every_coordinate_activates_once_and_stays(case):
    _, r, _, path = case
    active = path.plateaux > 0.0
    assert 1 < len(path.jumps) <= len(r)
    assert np.all(active[1:] >= active[:-1])
    np.testing.assert_array_equal(active.sum(axis=1), np.arange(1, len(path.jumps) + 1))
    np.testing.assert_array_equal(np.sort(path.first_jumps)[: len(path.jumps)], path.jumps)
    assert np.all(np.isinf(path.first_jumps) == ~active[-1])


def test_the_path_never_falls_and_ends_at_the_nonnegative_minimum(case):
    M, r, _, path = case
    assert np.all(np.diff(path.plateaux, axis=0) >= -1e-13)
    root = np.linalg.cholesky(M)
    np.testing.assert_allclose(path.plateaux[-1], nnls(root.T, np.linalg.solve(root, r))[0], atol=1e-12)


def test_the_first_jump_is_that_of_the_largest_correlation(case):
    _, r, _, path = case
    assert path.jumps[0] == pytest.approx(1.0 / r.max(), rel=1e-14)
    assert path.first_jumps.argmin() == r.argmax()


def test_the_loss_is_a_falling_staircase(case):
    M, r, problem, path = case
    losses = []
    for x in path.plateaux:
        A = np.flatnonzero(x)
        losses.append(-0.5 * r[A] @ np.linalg.solve(M[np.ix_(A, A)], r[A]))
    np.testing.assert_allclose(problem.loss(path.plateaux), losses, rtol=1e-12)
    assert np.all(np.diff(losses) < 0.0)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_the_average_is_the_positive_lasso_path(case, weight_decay):
    _, _, problem, _ = case
    path = diagonal.limit_path(problem, positive=True, weight_decay=weight_decay)
    lasso = diagonal.lasso_path(problem, weight_decay, positive=True)
    assert lasso.monotone
    np.testing.assert_allclose(path.jumps, lasso.kinks, rtol=1e-10)
    np.testing.assert_allclose(path.plateaux, lasso.slopes, rtol=1e-9, atol=1e-12)
    s = np.geomspace(0.5 * path.jumps[0], 10.0 * path.jumps[-1], 50)
    np.testing.assert_allclose(path.average(s), lasso(s), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_the_general_algorithm_agrees_with_the_special_one(case, weight_decay):
    _, _, problem, _ = case
    special = diagonal.limit_path(problem, True, weight_decay=weight_decay)
    general = diagonal.limit_path(problem, True, weight_decay=weight_decay, check_assumptions=False)
    np.testing.assert_allclose(general.jumps, special.jumps, rtol=1e-12)
    np.testing.assert_allclose(general.plateaux, special.plateaux, rtol=1e-11, atol=1e-14)


def test_a_small_initialisation_jumps_near_the_predicted_times():
    """The flow dz/ds = exp(L (s r - M z - 1)), x = dz/ds, at half the height of each plateau: its distance from the
    predicted time falls like 1/L."""
    M, r = stieltjes(4, 4)
    path = diagonal.limit_path(diagonal.Quadratic(M, r), positive=True)
    entering = path.first_jumps.argsort()[: len(path.jumps)]
    errors = []
    for scale in (60.0, 120.0, 240.0):

        def velocity(s, z, scale=scale):
            return np.exp(np.minimum(scale * (s * r - M @ z - 1.0), 700.0))

        s = np.linspace(0.0, 1.5 * path.jumps[-1], 20_001)
        run = solve_ivp(
            velocity,
            (0.0, s[-1]),
            np.zeros(4),
            method="LSODA",
            t_eval=s,
            rtol=1e-8,
            atol=1e-10,
            jac=lambda s, z, f=velocity, k=scale: -k * f(s, z)[:, None] * M,
        )
        x = np.exp(scale * (s[:, None] * r - run.y.T @ M - 1.0))
        half = [s[np.argmax(x[:, i] > 0.5 * path.plateaux[k, i])] for k, i in enumerate(entering)]
        errors.append(scale * np.abs(half / path.jumps - 1.0))
    assert np.all(np.max(errors, axis=1) < 10.0)
    assert np.mean(errors) < 2.5
    np.testing.assert_allclose(errors[2], errors[1], atol=0.25 * np.max(errors[1]))  # a limit: the error is O(1/L)


def test_the_special_algorithm_says_why_it_is_not_used():
    M, r = stieltjes(0, 4)
    positive = M.copy()
    positive[0, 1] = positive[1, 0] = 0.25
    with pytest.warns(UserWarning, match=r"positive off-diagonal entries \(up to 0.25\)"):
        path = diagonal.limit_path(diagonal.Quadratic(positive, r), positive=True)
    np.testing.assert_allclose(path.plateaux, brute_force(positive, r, 0.0, True)[1], atol=1e-10)
    singular = np.array([[1.0, -1.0], [-1.0, 1.0]])
    with pytest.warns(UserWarning, match="singular") as caught:
        path = diagonal.limit_path(diagonal.Quadratic(singular, [1.0, -1.0]), positive=True)
    assert len(caught) == 1
    np.testing.assert_allclose(path.plateaux, [[1.0, 0.0]])


# --- the general algorithm --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_small_problems_against_brute_force(weight_decay, positive):
    left = 0
    for seed in range(40):
        n, d = [(3, 4), (4, 6), (6, 4), (5, 5)][seed % 4]
        _, _, problem = regression(seed, n, d)
        path = diagonal.limit_path(problem, positive, weight_decay=weight_decay, check_assumptions=False)
        jumps, plateaux = brute_force(np.asarray(problem.matrix), np.asarray(problem.linear), weight_decay, positive)
        np.testing.assert_allclose(path.jumps, jumps, rtol=1e-8)
        np.testing.assert_allclose(path.plateaux, plateaux.reshape(-1, d), rtol=1e-6, atol=1e-8)
        left += np.any((path.plateaux[:-1] != 0.0) & (path.plateaux[1:] == 0.0))
    assert left >= 3


def test_a_larger_problem_against_nnls_at_every_jump():
    X, y, problem = regression(0, 30, 80)
    path = diagonal.limit_path(problem)
    assert len(path.jumps) > 30
    for s, x, dual in zip(path.jumps, path.plateaux, path.duals, strict=True):
        at_bound = np.flatnonzero(np.abs(dual) > 1.0 - 1e-9)
        solution = np.zeros(80)
        solution[at_bound], _ = nnls(X[:, at_bound] * np.sign(dual[at_bound]), y)
        solution *= np.sign(dual)
        np.testing.assert_allclose(X @ x, X @ solution, atol=1e-9, err_msg=str(s))
    assert np.all(np.abs(path.duals) < 1.0 + 1e-9)
    assert np.all(np.diff(problem.loss(path.plateaux)) < 1e-12)


def test_an_ill_conditioned_problem_against_nnls_at_every_jump():
    """Singular values from 1 to 1e-4, jumps up to s = 1e5: the loss of each plateau is the least one."""
    rng = np.random.default_rng(1)
    left = np.linalg.qr(rng.normal(size=(30, 30)))[0] * np.logspace(0.0, -4.0, 30)
    X, y = left @ rng.normal(size=(30, 60)), rng.normal(size=30)
    path = diagonal.limit_path(diagonal.Quadratic.from_data(X, y))
    assert path.jumps[-1] > 1e4
    for x, dual in zip(path.plateaux, path.duals, strict=True):
        at_bound = np.flatnonzero(np.abs(dual) > 1.0 - 1e-7)
        residual = nnls(X[:, at_bound] * np.sign(dual[at_bound]), y)[1]
        assert np.linalg.norm(X @ x - y) == pytest.approx(residual, rel=1e-7, abs=1e-9)
        assert np.all(x * dual >= 0.0)


def test_a_monotone_lasso_path_has_the_limit_as_its_derivative():
    monotone, other = 0, 0
    for seed in range(80):
        _, _, problem = regression(seed, 3, 4)
        lasso, limit = diagonal.lasso_path(problem), diagonal.limit_path(problem)
        s = np.geomspace(0.5, 100.0, 40) * lasso.kinks[0]
        gap = diagonal.lasso_objective(problem, limit.average(s), s) - diagonal.lasso_objective(problem, lasso(s), s)
        assert np.all(gap > -1e-12)
        if lasso.monotone:
            np.testing.assert_allclose(limit.jumps, lasso.kinks, rtol=1e-9)
            np.testing.assert_allclose(limit.plateaux, lasso.slopes, rtol=1e-8, atol=1e-10)
            assert gap.max() < 1e-12
            monotone += 1
        else:
            other += gap.max() > 1e-4
    assert monotone > 40
    assert other > 5


def test_values_averages_and_duals():
    M, r = stieltjes(1, 5)
    path = diagonal.limit_path(diagonal.Quadratic(M, r), positive=True)
    np.testing.assert_array_equal(path(path.jumps), path.plateaux)  # continuous from the right
    np.testing.assert_array_equal(path(np.nextafter(path.jumps[1:], 0.0)), path.plateaux[:-1])
    np.testing.assert_array_equal(path([0.0, 0.99 * path.jumps[0]]), np.zeros((2, 5)))
    np.testing.assert_array_equal(path(np.inf), path.plateaux[-1])
    assert path(np.ones((2, 3))).shape == path.average(np.ones((2, 3))).shape == (2, 3, 5)
    s = np.linspace(0.0, 4.0 * path.jumps[-1], 400_001)
    integral = np.sum(path(0.5 * (s[1:] + s[:-1])), axis=0) * (s[1] - s[0])
    np.testing.assert_allclose(path.average(s[-1]), integral / s[-1], rtol=1e-4)
    np.testing.assert_array_equal(path.average(0.5 * path.jumps[0]), np.zeros(5))
    omega = path.jumps[:, None] * (r - path.average(path.jumps) @ M)
    np.testing.assert_allclose(path.duals, omega, rtol=1e-12, atol=1e-13)
    assert np.all(omega <= 1.0 + 1e-12)
    for k, x in enumerate(path.plateaux):
        np.testing.assert_allclose(omega[k, x > 0.0], 1.0, rtol=1e-12)


def test_simultaneous_hits_are_added_together():
    with pytest.warns(UserWarning, match="together, so the limit may depend"):
        path = diagonal.limit_path(diagonal.Quadratic(np.diag([1.0, 2.0, 1.0]), [2.0, -2.0, 0.5]))
    np.testing.assert_allclose(path.jumps, [0.5, 2.0])
    np.testing.assert_allclose(path.plateaux, [[2.0, -1.0, 0.0], [2.0, -1.0, 0.5]])
    with pytest.warns(UserWarning, match="together, so the limit may depend"):
        path = diagonal.limit_path(diagonal.Quadratic(np.eye(2), [1.0, 1.0]), positive=True)
    np.testing.assert_allclose(path.plateaux, [[1.0, 1.0]])


def test_designs_full_of_ties():
    """Against the minimum over the coordinates that the duals show at their bounds."""
    tied = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, d = rng.integers(2, 7), rng.integers(2, 8)
        X, y = rng.integers(-1, 2, size=(n, d)).astype(float), rng.integers(-2, 3, size=n).astype(float)
        problem = diagonal.Quadratic.from_data(X, y)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            path = diagonal.limit_path(problem, weight_decay=0.25)
        tied += len(caught)
        for s, x, dual in zip(path.jumps, path.plateaux, path.duals, strict=True):
            bound = 1.0 + 0.25 * s
            assert np.all(np.abs(dual) < bound * (1.0 + 1e-9))
            signs = np.where(np.abs(dual) > bound * (1.0 - 1e-9), np.sign(dual), 0.0)
            best = constrained(X.T @ X, X.T @ y, signs, 0.25)
            ours, least = (0.5 * np.sum((X @ z - y) ** 2) + 0.25 * np.abs(z).sum() for z in (x, best))
            assert np.all(x * signs >= 0.0)
            assert ours == pytest.approx(least, abs=1e-9)
    assert tied > 20


def test_where_nothing_is_learned_there_is_no_jump():
    still = diagonal.limit_path(diagonal.Quadratic(np.eye(3), [-1.0, 0.0, -2.0]), positive=True)
    decayed = diagonal.limit_path(diagonal.Quadratic(np.eye(3), [-1.0, 0.0, 0.5]), weight_decay=1.0)
    for path in (still, decayed):
        assert path.jumps.shape == (0,)
        assert path.plateaux.shape == path.duals.shape == (0, 3)
        np.testing.assert_array_equal(path.first_jumps, [np.inf] * 3)
        np.testing.assert_array_equal(path([0.0, 5.0]), np.zeros((2, 3)))
        np.testing.assert_array_equal(path.average([1.0, 5.0]), np.zeros((2, 3)))


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10.0), positive=st.booleans())
def test_relabelling_flips_and_units(seed, scale, positive):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(4, 5)), rng.normal(size=4)
    order = rng.permutation(5)
    flips = np.ones(5) if positive else rng.choice([-1.0, 1.0], size=5)

    def paths(X, y):
        problem = diagonal.Quadratic.from_data(X, y)
        limit = diagonal.limit_path(problem, positive, check_assumptions=False)
        lasso = diagonal.lasso_path(problem, positive=positive)
        return limit.jumps, limit.plateaux, lasso.kinks, lasso.slopes

    jumps, plateaux, kinks, slopes = paths(X, y)
    again = paths((X * flips)[:, order], y)
    np.testing.assert_allclose(again[0], jumps, rtol=1e-8)
    np.testing.assert_allclose(again[2], kinks, rtol=1e-8)
    np.testing.assert_allclose(again[1], (plateaux * flips)[:, order], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(again[3], (slopes * flips)[:, order], rtol=1e-6, atol=1e-8)
    # targets times c: r and x times c, times divided by c; X times c and y divided by c: r as it was, x over c^2
    for again, factor, clock in (
        (paths(X, scale * y), scale, 1.0 / scale),
        (paths(scale * X, y / scale), scale**-2, 1.0),
    ):
        np.testing.assert_allclose(again[0], clock * jumps, rtol=1e-8)
        np.testing.assert_allclose(again[2], clock * kinks, rtol=1e-8)
        np.testing.assert_allclose(again[1] / factor, plateaux, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(again[3] / factor, slopes, rtol=1e-6, atol=1e-8)


def test_bad_input_is_answered():
    problem = diagonal.Quadratic(np.eye(2), [1.0, 2.0])
    path = diagonal.limit_path(problem)
    with pytest.raises(ValueError, match=r"s holds -1; accepted: numbers >= 0"):
        path([1.0, -1.0])
    with pytest.raises(ValueError, match=r"s holds 0; accepted: numbers > 0"):
        path.average(0.0)
    with pytest.raises(ValueError, match=r"s holds nan"):
        path(np.nan)
    with pytest.raises(TypeError, match="problem=list is not accepted; accepted: Quadratic"):
        diagonal.limit_path([1.0])
    with pytest.raises(ValueError, match="weight_decay=-1 is out of range"):
        diagonal.limit_path(problem, weight_decay=-1.0)


def test_claims_are_lowered_where_they_do_not_hold():
    """A path that turns back, a start that is not small, coefficients that are large against it, steps that are not."""
    steady, turning = (
        diagonal.RandomRegression(3, 4, monotone).sample(jax.random.key(0)) for monotone in (True, False)
    )
    large = diagonal.Quadratic(np.eye(2), [1e6, 5e5], 1e12)

    def claim(theory, problem, algorithm):
        return diagonal.predict(problem, algorithm, theory=theory, at=[1.0]).status["average"].claim

    for theory, problem, algorithm, expected in (
        ("lasso", steady, diagonal.GradientFlow(), "asymptotic"),
        ("lasso", turning, diagonal.GradientFlow(), "heuristic"),
        ("lasso", large, diagonal.GradientFlow(), "heuristic"),
        ("lasso", large, diagonal.GradientFlow(-100.0), "asymptotic"),
        ("limit", turning, diagonal.GradientFlow(), "asymptotic"),
        ("limit", steady, diagonal.GradientFlow(-1e-3), "heuristic"),
        ("limit", large, diagonal.GradientFlow(), "heuristic"),
        ("flow", steady, diagonal.GradientFlow(-1e-3), "exact"),
        ("flow", steady, diagonal.GradientDescent(), "asymptotic"),
    ):
        assert claim(theory, problem, algorithm) == expected, (theory, algorithm)
    # the gap is at least 0 whatever the path
    assert diagonal.predict(turning, diagonal.GradientFlow(), theory="lasso", at=[1.0]).status["gap"].claim == "bound"
