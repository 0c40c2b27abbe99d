"""The lasso path: against scikit-learn, its optimality conditions, its monotonicity and the bound of Theorem 2.2."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import lars_path

from solvable.networks import diagonal


def regression(seed, n, d):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    return X, y, diagonal.Quadratic.from_data(X, y)


def violation(problem, path, weight_decay=0.0, positive=False):
    """By how much the optimality conditions are missed at the kinks, between them and beyond the last, in units of
    the penalty: omega = mu r - M z is sign(z) (1 + weight_decay mu) where z is not zero, and within that bound.

    What omega is known to, z and r having 16 digits, is allowed on top: 10 times the rounding of its largest term.
    """
    kinks = path.kinks
    mu = np.concatenate([kinks, (kinks[1:] + kinks[:-1]) / 2, kinks[-1:] * 1.5, kinks[-1:] * 20.0])
    z = mu[:, None] * path(mu)
    factor = np.asarray(problem.factor)
    bound = (1.0 + weight_decay * mu)[:, None]
    omega = mu[:, None] * np.asarray(problem.linear) - (z @ factor.T) @ factor
    if positive:
        assert np.all(z >= 0.0)
    nonzero = np.abs(z) > 1e-10 * np.abs(z).max(axis=1, keepdims=True)
    missed = np.where(nonzero, np.abs(omega - np.sign(z) * bound), (omega if positive else np.abs(omega)) - bound)
    lengths = np.linalg.norm(factor, axis=0)
    rounding = 10.0 * np.finfo(float).eps * (np.abs(z) @ lengths)[:, None] * lengths
    return np.max((missed - rounding) / bound)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.7])
def test_the_objective_is_that_of_scikit_learn(weight_decay, positive):
    shapes = [(3, 4), (5, 3), (8, 20), (20, 8), (12, 12)]
    for seed in range(50):
        n, d = shapes[seed % len(shapes)]
        X, y, problem = regression(seed, n, d)
        alphas, _, coefficients = lars_path(X, y, method="lasso", positive=positive)
        inside = n * alphas > weight_decay + 1e-3  # at 0 there is no mu, and little above it the objective cancels
        mu = 1.0 / (n * alphas[inside] - weight_decay)
        theirs = diagonal.lasso_objective(problem, coefficients.T[inside], mu, weight_decay)
        path = diagonal.lasso_path(problem, weight_decay, positive)
        ours = diagonal.lasso_objective(problem, path(mu), mu, weight_decay)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        # the penalties at which the active set changes are the same, too
        np.testing.assert_allclose(path.kinks[: len(mu)], mu[: len(path.kinks)], rtol=1e-7)


def test_the_objective_by_hand():
    problem = diagonal.Quadratic([[2.0, 0.5], [0.5, 1.0]], [1.0, -1.0], constant=3.0)
    x = np.array([[1.0, -2.0], [0.0, 0.0]])
    # <x, M x> / 2 = 2, <r, x> = 3, |x|_1 = 3
    np.testing.assert_allclose(diagonal.lasso_objective(problem, x, 0.5, 0.25), [2.0 - 3.0 + 3.0 + 2.25 * 3.0, 3.0])
    grid = diagonal.lasso_objective(problem, x, np.array([[0.5], [1.0], [2.0]]))
    np.testing.assert_allclose(grid, [[8.0, 3.0], [5.0, 3.0], [3.5, 3.0]])


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_long_paths_stay_optimal(weight_decay, positive):
    _, _, problem = regression(3, 60, 150)
    path = diagonal.lasso_path(problem, weight_decay, positive)
    assert len(path.kinks) > 60
    assert np.all(np.diff(path.kinks) > 0.0)
    assert path.active.sum(axis=1).max() > (59 if weight_decay == 0.0 else 30)
    assert np.any(path.active[:-1] & ~path.active[1:])  # some leave
    assert violation(problem, path, weight_decay, positive) < 1e-9


def test_long_paths_of_ill_conditioned_problems_stay_optimal():
    """Singular values from 1 to 1e-5: M has condition number 1e10."""
    for seed in (1, 4):
        rng = np.random.default_rng(seed)
        left = np.linalg.qr(rng.normal(size=(40, 40)))[0] * np.logspace(0.0, -5.0, 40)
        problem = diagonal.Quadratic.from_data(left @ rng.normal(size=(40, 100)), rng.normal(size=40))
        path = diagonal.lasso_path(problem)
        assert len(path.kinks) > 400
        assert violation(problem, path) < 1e-9


def test_z_is_piecewise_affine():
    _, _, problem = regression(0, 5, 9)
    path = diagonal.lasso_path(problem)
    np.testing.assert_allclose(path.kinks[:, None] * path(path.kinks), path.values, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(path.values[0], 0.0)
    np.testing.assert_allclose(
        path.values[1:], path.values[:-1] + np.diff(path.kinks)[:, None] * path.slopes[:-1], rtol=1e-9, atol=1e-11
    )
    far = 3.0 * path.kinks[-1]
    np.testing.assert_allclose(far * path(far), path.values[-1] + (far - path.kinks[-1]) * path.slopes[-1], rtol=1e-12)
    np.testing.assert_array_equal(path.active, (path.slopes != 0.0) | (path.values != 0.0))
    np.testing.assert_allclose(path(np.inf), path.slopes[-1])  # the minimum-l1 interpolator


def test_the_first_kink_and_shapes():
    _, _, problem = regression(1, 6, 4)
    largest = np.max(np.abs(problem.linear))
    path = diagonal.lasso_path(problem, weight_decay=0.3)
    assert path.kinks[0] == pytest.approx(1.0 / (largest - 0.3), rel=1e-14)
    np.testing.assert_array_equal(path(path.kinks[0]), np.zeros(4))
    assert np.count_nonzero(path(1.01 * path.kinks[0])) == 1
    assert path(np.ones((2, 3))).shape == (2, 3, 4)
    positive = diagonal.lasso_path(problem, positive=True)
    assert positive.kinks[0] == pytest.approx(1.0 / np.max(problem.linear), rel=1e-14)


def test_a_penalty_that_never_lets_go_has_no_kink():
    _, _, problem = regression(1, 6, 4)
    negative = diagonal.Quadratic(np.eye(3), [-1.0, -2.0, 0.0])
    for path, d in (
        (diagonal.lasso_path(problem, weight_decay=np.max(np.abs(problem.linear))), 4),
        (diagonal.lasso_path(negative, positive=True), 3),
        (diagonal.lasso_path(diagonal.Quadratic(np.eye(3), np.zeros(3))), 3),
    ):
        assert path.kinks.shape == (0,)
        assert path.values.shape == path.slopes.shape == path.active.shape == (0, d)
        assert path.monotone
        np.testing.assert_array_equal(path(np.array([0.1, 1e6, np.inf])), np.zeros((3, d)))
    bound = diagonal.monotonicity_bound(negative, 2.0, positive=True)
    assert (bound.z_down, bound.eta) == (0.0, 0.0)


def test_monotone_is_what_a_dense_derivative_says():
    found = []
    for seed in range(60):
        _, _, problem = regression(seed, 3, 4)
        path = diagonal.lasso_path(problem)
        mu = np.sort(np.concatenate([path.kinks, np.geomspace(0.5 * path.kinks[0], 100.0 * path.kinks[-1], 2000)]))
        change = np.diff(mu[:, None] * path(mu), axis=0)
        noise = 1e-9 * np.abs(mu[1:, None] * path(mu[1:])).max(axis=0)
        monotone = bool(np.all(~np.any(change > noise, axis=0) | ~np.any(change < -noise, axis=0)))
        assert path.monotone == monotone, seed
        found.append(monotone)
    assert 20 < sum(found) < 60


def share_of_monotone_paths(count):
    rng = np.random.default_rng(7)
    draws = (diagonal.Quadratic.from_data(rng.normal(size=(3, 4)), rng.normal(size=3)) for _ in range(count))
    return np.mean([diagonal.lasso_path(problem).monotone for problem in draws])


def test_the_share_of_monotone_paths_at_three_by_four():
    assert share_of_monotone_paths(2500) == pytest.approx(0.744, abs=4.0 * (0.744 * 0.256 / 2500) ** 0.5)


@pytest.mark.slow
def test_the_share_of_monotone_paths_over_twenty_thousand_problems():
    assert share_of_monotone_paths(20_000) == pytest.approx(0.744, abs=0.01)


@pytest.mark.parametrize("positive", [False, True])
def test_z_down_is_the_integral_that_defines_it(positive):
    """The sum of (1 + u) times the falls of (z)_+ and of (z)_- over a fine grid that holds the kinks, on which z is
    affine between two points and the midpoint rule exact but for the cells in which z changes sign."""
    moved = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(3, 4)) + (1.0 if positive else 0.0)
        problem = diagonal.Quadratic.from_data(X, rng.normal(size=3) + (2.0 if positive else 0.0))
        path = diagonal.lasso_path(problem, 0.1, positive)
        at = np.array([0.5, 1.5, 7.0]) * path.kinks[-1]
        bound = diagonal.monotonicity_bound(problem, at, 0.1, positive)
        for number, end in enumerate(at):
            u = np.linspace(1e-9, end, 2000)
            u = np.unique(np.append(u, path.kinks[path.kinks < end]))
            z = u[:, None] * path(u)
            falls = np.maximum(-np.diff(np.maximum(z, 0.0), axis=0), 0.0).sum(axis=1)
            falls += np.maximum(-np.diff(np.maximum(-z, 0.0), axis=0), 0.0).sum(axis=1)
            integral = np.sum((1.0 + 0.5 * (u[1:] + u[:-1])) * falls)
            np.testing.assert_allclose(bound.z_down[number], integral, rtol=1e-6, atol=1e-8)
        moved += np.any(bound.z_down > 1e-6)
        eta = (1.0 + 0.1 * at) * (np.sqrt(bound.z_down) / at + bound.z_down / at**2)
        np.testing.assert_allclose(bound.eta, eta, rtol=1e-14)
        if path.monotone:
            np.testing.assert_array_equal(bound.z_down < 1e-9, True)
    assert moved >= 4


def test_the_bound_at_a_number_is_a_number_and_vanishes_for_a_monotone_path():
    problem = diagonal.Quadratic(np.eye(3), [1.0, -2.0, 0.5])
    bound = diagonal.monotonicity_bound(problem, 4.0)
    assert np.shape(bound.z_down) == np.shape(bound.eta) == ()
    assert bound == (0.0, 0.0)
    # soft thresholding: x = sign(r) (|r| - 1/mu)_+
    mu = np.array([0.4, 0.8, 3.0])
    expected = np.sign(problem.linear) * np.maximum(np.abs(problem.linear) - 1.0 / mu[:, None], 0.0)
    np.testing.assert_allclose(diagonal.lasso_path(problem)(mu), expected, atol=1e-15)


def test_ties_warn_and_the_path_stays_optimal():
    warned = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, d = rng.integers(2, 8), rng.integers(2, 12)
        X, y = rng.integers(-1, 2, size=(n, d)).astype(float), rng.integers(-2, 3, size=n).astype(float)
        problem = diagonal.Quadratic.from_data(X, y)
        positive = bool(seed % 2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            path = diagonal.lasso_path(problem, positive=positive)
        assert len(caught) <= 1
        warned += len(caught)
        if len(path.kinks):
            assert violation(problem, path, positive=positive) < 1e-9, seed
    assert warned > 20


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_duplicated_columns_warn(sign):
    X, y, problem = regression(2, 8, 5)
    double = diagonal.Quadratic.from_data(np.concatenate([X, sign * X[:, :2]], axis=1), y)
    with pytest.warns(UserWarning, match="may not be unique") as caught:
        path = diagonal.lasso_path(double)
    assert len(caught) == 1
    assert violation(double, path) < 1e-9
    mu = np.array([0.3, 1.0, 30.0])
    np.testing.assert_allclose(
        diagonal.lasso_objective(double, path(mu), mu),
        diagonal.lasso_objective(problem, diagonal.lasso_path(problem)(mu), mu),
        rtol=1e-12,
    )


@pytest.mark.parametrize("apart", [1e-4, 1e-5, 1e-6, 1e-8, 1e-12])
def test_nearly_equal_columns(apart):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(10, 4)), rng.normal(size=10)
    X = np.concatenate([X, X + apart * rng.normal(size=X.shape)], axis=1)
    problem = diagonal.Quadratic.from_data(X, y)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="several coordinates")
        path = diagonal.lasso_path(problem)
    assert violation(problem, path) < 1e-9
    assert len(path.kinks) == (8 if apart > 1e-7 else 4)  # closer columns count as dependent


def test_a_column_of_zeros_and_a_singular_matrix_are_accepted():
    X, y, problem = regression(4, 6, 5)
    padded = diagonal.Quadratic.from_data(np.insert(X, 2, 0.0, axis=1), y)
    path, plain = diagonal.lasso_path(padded), diagonal.lasso_path(problem)
    np.testing.assert_allclose(path.slopes, np.insert(plain.slopes, 2, 0.0, axis=1), rtol=1e-9, atol=1e-12)
    singular = regression(5, 4, 7)[2]
    by_matrix = diagonal.Quadratic(singular.matrix, singular.linear)
    np.testing.assert_allclose(diagonal.lasso_path(by_matrix).kinks, diagonal.lasso_path(singular).kinks, rtol=1e-8)


def test_bad_input_is_answered():
    _, _, problem = regression(0, 4, 3)
    path = diagonal.lasso_path(problem)
    with pytest.raises(ValueError, match=r"mu holds 0; accepted: numbers > 0"):
        path([1.0, 0.0])
    with pytest.raises(ValueError, match=r"mu holds nan; accepted: numbers > 0"):
        path(np.nan)
    with pytest.raises(TypeError, match="problem=ndarray is not accepted; accepted: Quadratic"):
        diagonal.lasso_path(np.eye(3))
    with pytest.raises(ValueError, match="weight_decay=-1 is out of range"):
        diagonal.lasso_path(problem, weight_decay=-1.0)
    with pytest.raises(ValueError, match=r"x has shape \(2,\); accepted: \(..., 3\)"):
        diagonal.lasso_objective(problem, np.zeros(2), 1.0)
    with pytest.raises(ValueError, match="at holds -2; accepted: numbers > 0"):
        diagonal.lasso_objective(problem, np.zeros(3), -2.0)
    with pytest.raises(ValueError, match="at holds inf; accepted: finite"):
        diagonal.monotonicity_bound(problem, np.inf)
