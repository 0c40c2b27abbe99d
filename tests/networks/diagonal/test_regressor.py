"""The regressor: scikit-learn's own checks, the lasso and closed forms, invariances, messy data, what it refuses."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import nnls
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import Lasso, lars_path
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from solvable.networks.diagonal import DiagonalLassoRegressor


def regression(seed=0, samples=40, dim=6, noise=0.3):
    """Correlated columns with means, three coefficients that are not zero, an intercept."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(samples, dim)) + 0.5 * rng.normal(size=(samples, 1)) + 1.0
    truth = np.zeros(dim)
    truth[:3] = (2.0, -1.5, 1.0)
    return X, X @ truth + 4.0 + noise * rng.normal(size=samples)


def lasso(alpha, **settings):
    return Lasso(alpha, tol=1e-14, max_iter=100_000, **settings)


def largest_alpha(X, y):
    """The least penalty at which the lasso is zero."""
    return np.max(np.abs((X - X.mean(0)).T @ (y - y.mean()))) / len(y)


def objective(X, y, coef, alpha):
    residual = (y - y.mean()) - (X - X.mean(0)) @ coef
    return residual @ residual / (2 * len(y)) + alpha * np.abs(coef).sum()


# No expected failures. Array-API input is checked only where the environment asks SciPy for it.
@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{number}-{check.func.__name__}")
        for number, given in enumerate([DiagonalLassoRegressor(), DiagonalLassoRegressor(positive=True)])
        for estimator, check in estimator_checks_generator(given)
        if check.func.__name__ != "check_array_api_input"
    ],
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("alpha", [0.5, 0.05])
def test_it_tends_to_the_lasso_where_the_path_is_monotone(positive, alpha):
    X, y = regression()
    known = lasso(alpha, positive=positive).fit(X, y)
    fits = [DiagonalLassoRegressor(alpha, log_scale=-L, positive=positive).fit(X, y) for L in (500.0, 1000.0, 2000.0)]
    off = np.array([np.max(np.abs(fit.coef_ - known.coef_)) for fit in fits])
    gaps = np.array([fit.gap_ for fit in fits])
    assert all(fit.monotone_ for fit in fits)
    assert off[1] < 0.01
    np.testing.assert_allclose(off[:-1] / off[1:], 2.0, atol=0.1)  # like 1/L
    np.testing.assert_allclose(gaps[:-1] / gaps[1:], 4.0, atol=0.4)  # like 1/L^2
    np.testing.assert_allclose(fits[1].intercept_, known.intercept_, atol=0.02)
    np.testing.assert_allclose(fits[1].predict(X), known.predict(X), atol=0.03)


@pytest.mark.parametrize("log_scale", [-11.5, -100.0, -1000.0])
def test_orthogonal_columns_have_a_closed_form(log_scale):
    # u u of one coordinate: z = log(1 + p m/r (e^(L (s r - 1)) - e^-L)) / (L m), with x = p e^-L at the start
    sizes, linear, L, alpha = np.array([3.0, 1.0, 2.0, 0.5]), np.array([6.0, 4.0, 1.0, -2.0]), -log_scale, 0.5
    X = np.diag(np.sqrt(sizes))
    model = DiagonalLassoRegressor(alpha, log_scale=log_scale, fit_intercept=False, positive=True)
    model.fit(X, linear / np.sqrt(sizes))
    s, p = 1.0 / (4 * alpha), 6.0 / 3.0
    growth = L * (np.maximum(s * linear, 0.0) - 1.0) + np.log(p * sizes / np.abs(linear))
    growth += np.log1p(-np.exp(-L * s * np.abs(linear)))  # for r < 0 the two exponentials change places
    z = np.logaddexp(0.0, growth) / (L * sizes)
    np.testing.assert_allclose(model.coef_, z / s, rtol=1e-6, atol=1e-9)
    assert model.time_ == s
    limit = np.maximum(linear - 1.0 / s, 0.0) / sizes
    np.testing.assert_allclose(model.coef_, limit, atol=4.0 / L)


@pytest.mark.parametrize("positive", [False, True])
def test_it_is_the_average_of_the_layers_trained(positive):
    # the layers themselves, in time t: s = 2 t / L for u v, 4 t / L for u u
    X, y = regression(2)
    L, alpha = 8.0, 0.2
    model = DiagonalLassoRegressor(alpha, log_scale=-L, positive=positive).fit(X, y)
    M, r = (X - X.mean(0)).T @ (X - X.mean(0)), (X - X.mean(0)).T @ (y - y.mean())
    dim = len(r)
    c = np.max(np.abs(r)) / np.max(np.diag(M))
    start = np.concatenate([np.full(dim, (1.0 if positive else 2.0) * np.sqrt(c * np.exp(-L))), np.zeros(2 * dim)])

    def field(_, state):
        u, v, _ = np.split(state, 3)
        x = u * u if positive else u * v
        descent = r - M @ x
        return np.concatenate([2 * u * descent, 0 * v, x] if positive else [v * descent, u * descent, x])

    stop = model.time_ * L / (4.0 if positive else 2.0)
    found = solve_ivp(field, (0.0, stop), start, method="LSODA", rtol=1e-10, atol=1e-13).y[2 * dim :, -1] / stop
    np.testing.assert_allclose(model.coef_, found, rtol=1e-5, atol=1e-8)


def test_soft_thresholding_is_the_limit_of_both_signs():
    sizes, linear, alpha = np.array([3.0, 1.0, 2.0, 0.5]), np.array([6.0, -4.0, 1.0, -2.5]), 0.5
    limit = np.sign(linear) * np.maximum(np.abs(linear) - 4 * alpha, 0.0) / sizes
    errors = []
    for L in (1e3, 1e4):
        model = DiagonalLassoRegressor(alpha, log_scale=-L, fit_intercept=False)
        model.fit(np.diag(np.sqrt(sizes)), linear / np.sqrt(sizes))
        errors.append(np.max(np.abs(model.coef_ - limit)))
        np.testing.assert_array_equal(model.support_, limit != 0.0)
    np.testing.assert_allclose(errors[0] / errors[1], 10.0, rtol=1e-3)
    assert errors[1] < 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_the_gap_is_that_of_the_objectives(seed):
    X, y = regression(seed)
    for alpha, log_scale in ((1.0, -11.5), (0.1, -11.5), (0.01, -100.0)):
        model = DiagonalLassoRegressor(alpha, log_scale=log_scale).fit(X, y)
        least = objective(X, y, lasso(alpha).fit(X, y).coef_, alpha)
        gap = objective(X, y, model.coef_, alpha) / least - 1.0
        np.testing.assert_allclose(model.gap_, gap, rtol=1e-6, atol=1e-12)
        assert model.gap_ > 0.0


def test_monotone_looks_at_the_path_up_to_the_penalty():
    seen = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(8, 6)), rng.normal(size=8)
        X, y = X - X.mean(0), y - y.mean()
        alphas, _, path = lars_path(X, y, method="lasso", alpha_min=0.0)
        z = path.T[:-1] / (8 * alphas[:-1, None])
        rising = np.diff(z, axis=0)
        turns = [k for k in range(len(rising)) if np.any((rising[: k + 1].max(0) > 1e-9) & (rising.min(0) < -1e-9))]
        turns = [k for k in turns if np.any((rising[: k + 1] > 1e-9).any(0) & (rising[: k + 1] < -1e-9).any(0))]
        for k in range(1, len(alphas) - 1):
            model = DiagonalLassoRegressor(alphas[k] * (1.0 + 1e-6), log_scale=-50.0).fit(X, y)
            assert model.monotone_ == (not turns or k - 1 < turns[0])
            seen.add(model.monotone_)
            if not model.monotone_:
                break
    assert seen == {True, False}


def test_the_support_is_the_lassos_if_the_start_is_small():
    exact = {-11.5: 0, -100.0: 0}
    count = 0
    for seed in range(30):
        X, y = regression(seed)
        alpha = 0.02 * largest_alpha(X, y)
        known = lasso(alpha).fit(X, y).coef_
        dual = (X - X.mean(0)).T @ (y - y.mean() - (X - X.mean(0)) @ known) / (len(y) * alpha)
        # well separated: no coordinate is just about to enter, none has hardly entered
        if np.max(np.abs(dual[known == 0.0]), initial=0.0) > 0.9 or np.min(np.abs(known[known != 0.0])) < 0.02:
            continue
        count += 1
        for log_scale in exact:
            model = DiagonalLassoRegressor(alpha, log_scale=log_scale).fit(X, y)
            exact[log_scale] += np.array_equal(model.support_, known != 0.0)
            assert np.all(model.coef_ != 0.0)
            thresholded = np.where(model.support_, model.coef_, 0.0)
            np.testing.assert_array_equal(model.sparse_coef_.toarray()[0], thresholded)
            assert model.sparse_coef_.nnz == np.count_nonzero(model.support_)
    assert count >= 5
    assert exact[-11.5] < exact[-100.0] == count


def test_the_support_leaves_out_whom_the_dual_keeps_away():
    # at -100 for sure where the dual stays .07 below its bound; its distance is 1 - s |r| on orthogonal columns
    s, dual = 0.5, np.array([3.0, 0.999, -0.99, 0.93, -0.92, 0.5])
    model = DiagonalLassoRegressor(1.0 / (6 * s), fit_intercept=False).fit(np.eye(6), dual / s)
    np.testing.assert_array_equal(model.support_, [True, True, True, False, False, False])
    assert np.all(np.abs(model.coef_[3:]) < 6.0 * np.exp(-100.0 * (1.0 - np.abs(dual[3:]))))


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("fraction", [1e-6, 1e-9])
def test_a_tiny_penalty_gives_least_squares(fraction, positive):
    X, y = regression(samples=10, dim=3)
    alpha = fraction * largest_alpha(X, y)
    truth = np.linalg.lstsq(X - X.mean(0), y - y.mean())[0]
    if positive:
        truth, _ = nnls(X - X.mean(0), y - y.mean())
    for log_scale in (-11.5, -100.0):
        model = DiagonalLassoRegressor(alpha, log_scale=log_scale, positive=positive).fit(X, y)
        np.testing.assert_allclose(model.coef_, truth, atol=max(100.0 * fraction, 1e-8))
        np.testing.assert_allclose(model.gap_, 0.0, atol=1e-9)


def test_above_the_largest_penalty_nothing_is_learned():
    X, y = regression()
    model = DiagonalLassoRegressor(1.3 * largest_alpha(X, y)).fit(X, y)
    assert np.max(np.abs(model.coef_)) < np.exp(-100.0 * 0.3 / 1.3) * 10.0
    assert not model.support_.any()
    np.testing.assert_allclose(model.predict(X), y.mean(), rtol=1e-8)


@pytest.mark.parametrize("positive", [False, True])
def test_units_change_nothing_but_the_units(positive):
    X, y = regression()
    model = DiagonalLassoRegressor(0.1, log_scale=-11.5, positive=positive).fit(X, y)
    for of_X, of_y in ((1.0, 1e9), (1e-6, 1.0), (1e3, 1e-12)):
        other = clone(model).set_params(alpha=0.1 * of_X * of_y).fit(of_X * X, of_y * y)
        np.testing.assert_allclose(other.coef_, model.coef_ * of_y / of_X, rtol=1e-6)
        np.testing.assert_allclose(other.gap_, model.gap_, rtol=1e-5)
        np.testing.assert_array_equal(other.support_, model.support_)


def test_the_intercept_is_that_of_centred_data():
    X, y = regression()
    model = DiagonalLassoRegressor(0.1).fit(X, y)
    moved = clone(model).fit(X + 100.0, y - 7.0)
    np.testing.assert_allclose(moved.coef_, model.coef_, rtol=1e-6)
    np.testing.assert_allclose(moved.predict(X + 100.0), model.predict(X) - 7.0, rtol=1e-6)
    bare = DiagonalLassoRegressor(0.1, fit_intercept=False).fit(X - X.mean(0), y - y.mean())
    np.testing.assert_allclose(bare.coef_, model.coef_, rtol=1e-6)
    assert bare.intercept_ == 0.0


@pytest.mark.parametrize("intercept", [True, False])
def test_weights_count_rows(intercept):
    X, y = regression()
    counts = np.random.default_rng(3).integers(0, 4, size=len(y))
    settings = {"alpha": 0.1, "log_scale": -1000.0, "fit_intercept": intercept}
    weighted = DiagonalLassoRegressor(**settings).fit(X, y, sample_weight=counts)
    repeated = DiagonalLassoRegressor(**settings).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, rtol=1e-6)
    np.testing.assert_allclose(weighted.gap_, repeated.gap_, rtol=1e-3)
    known = lasso(0.1, fit_intercept=intercept).fit(X, y, sample_weight=counts)
    np.testing.assert_allclose(weighted.coef_, known.coef_, atol=0.01)


def test_one_training_passes_all_penalties():
    X, y = regression()
    weights = np.linspace(0.5, 2.0, len(y))
    alphas = [0.1, 1.0, 0.02]
    template = DiagonalLassoRegressor()
    coefficients, intercepts = template.coef_path(X, y, alphas, sample_weight=weights)
    with pytest.raises(NotFittedError):
        template.predict(X)
    assert not hasattr(template, "n_features_in_")
    for alpha, coef, intercept in zip(alphas, coefficients, intercepts, strict=True):
        model = DiagonalLassoRegressor(alpha).fit(X, y, sample_weight=weights)
        np.testing.assert_allclose(coef, model.coef_, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(intercept, model.intercept_, rtol=1e-6)


def test_it_works_in_pipelines_and_searches_and_survives_pickling():
    X, y = regression()
    X[:, 1] *= 1e4
    pipeline = make_pipeline(StandardScaler(), DiagonalLassoRegressor())
    search = GridSearchCV(pipeline, {"diagonallassoregressor__alpha": [0.02, 2.0]}, cv=2).fit(X, y)
    assert search.best_params_["diagonallassoregressor__alpha"] == 0.02
    assert search.score(X, y) > 0.9
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))


def test_columns_of_every_kind():
    X, y = regression()
    X[:, 3] = 0.1  # constant, and not a number of float64
    X[:, 4] = X[:, 0]
    X[:, 5] = 1e-9 * X[:, 1]
    model = DiagonalLassoRegressor(0.1).fit(X, y)
    assert abs(model.coef_[3]) < 1e-40
    np.testing.assert_allclose(model.coef_[4], model.coef_[0], rtol=1e-9)  # shared equally
    assert not model.support_[5]
    assert model.score(X, y) > 0.9
    once = lasso(0.1).fit(X[:, :3], y)
    np.testing.assert_allclose(model.coef_[0] + model.coef_[4], once.coef_[0], atol=0.02)
    least = objective(X[:, :3], y, once.coef_, 0.1)
    assert 0.0 < model.gap_ < 1e-3
    np.testing.assert_allclose(objective(X, y, model.coef_, 0.1) / least - 1.0, model.gap_, rtol=1e-5)


def test_constant_columns_alone_leave_the_mean():
    X, y = np.full((3, 2), 0.1), np.array([1.0, 5.0, 3.0])  # three times 0.1 has not the mean 0.1
    model = DiagonalLassoRegressor(1e-20).fit(X, y)
    np.testing.assert_array_equal(model.coef_, 0.0)
    assert (model.intercept_, model.gap_, model.monotone_) == (3.0, 0.0, True)


def test_few_samples():
    X, y = regression(samples=5, dim=6)
    alpha = 0.1 * largest_alpha(X, y)
    model = DiagonalLassoRegressor(alpha, log_scale=-1000.0).fit(X, y)
    known = lasso(alpha).fit(X, y)
    assert 0.0 <= model.gap_ < 0.05
    np.testing.assert_allclose(model.score(X, y), known.score(X, y), atol=0.05)
    one = DiagonalLassoRegressor().fit(X[:1], y[:1])
    np.testing.assert_array_equal(one.coef_, 0.0)
    assert one.intercept_ == y[0]
    assert (one.gap_, one.monotone_, one.support_.any()) == (0.0, True, False)


@pytest.mark.parametrize("positive", [False, True])
def test_constant_targets_give_zeros(positive):
    X, _ = regression()
    model = DiagonalLassoRegressor(positive=positive).fit(X, np.full(len(X), 0.1))
    np.testing.assert_array_equal(model.coef_, 0.0)
    np.testing.assert_allclose(model.predict(X), 0.1)
    assert (model.gap_, model.monotone_, model.support_.any()) == (0.0, True, False)


def test_frames_and_number_types():
    X, y = regression()
    model = DiagonalLassoRegressor(0.1)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    named = clone(model).fit(frame, pd.Series(y))
    assert list(named.feature_names_in_) == list("abcdef")
    np.testing.assert_allclose(named.coef_, model.fit(X, y).coef_, rtol=1e-12, atol=1e-15)  # a frame is transposed
    with pytest.raises(ValueError, match="feature names"):
        named.predict(frame[list("fedcba")])
    single = clone(model).fit(X.astype(np.float32), y.astype(np.float32))
    assert single.coef_.dtype == single.predict(X).dtype == np.float64
    np.testing.assert_allclose(single.coef_, model.coef_, atol=1e-5)
    whole = np.round(10 * X).astype(int)
    integers = clone(model).fit(whole, np.round(y).astype(int))
    np.testing.assert_array_equal(integers.coef_, clone(model).fit(whole.astype(float), np.round(y)).coef_)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        column = clone(model).fit(X, y[:, None])
    np.testing.assert_array_equal(column.coef_, model.coef_)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": 0}, "alpha=0 is out of range, as no finite time goes with it; accepted: a finite number > 0"),
        ({"alpha": 5e-324}, "alpha=4.94066e-324 is out of range; accepted: a finite number >= 1e-300"),
        ({"alpha": 1e307}, "alpha=1e.307 is out of range; accepted: a finite number > 0 and <= 1e.300"),
        ({"alpha": -1.0}, "alpha=-1 is out of range; accepted: a finite number > 0"),
        ({"alpha": np.nan}, "alpha=nan is out of range"),
        ({"alpha": "small"}, "alpha='small' is not a number"),
        ({"log_scale": 0.0}, "log_scale=0 is out of range; accepted: a finite number < 0"),
        ({"log_scale": -np.inf}, "log_scale=-inf is out of range"),
    ],
)
@pytest.mark.parametrize("constant", [False, True])
def test_bad_parameters_are_named(parameters, message, constant):
    X, y = regression()
    with pytest.raises(ValueError, match=message):
        DiagonalLassoRegressor(**parameters).fit(X, 0.0 * y if constant else y)


def test_bad_data_are_named():
    X, y = regression()
    model = DiagonalLassoRegressor()
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(np.where(X[3, 2] == X, np.nan, X), y)
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(X, np.where(y == y[3], np.nan, y))
    with pytest.raises(TypeError, match=r"[Ss]parse data"):
        model.fit(csr_array(X), y)
    with pytest.raises(ValueError, match=r"1d array|y should be a 1d"):
        model.fit(X, np.stack([y, y], axis=1))
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        model.fit(X, y, sample_weight=-np.ones(len(y)))
    with pytest.raises(ValueError, match=r"sample_weight|[Ss]ample weights"):
        model.fit(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ValueError, match="alphas=0 is out of range"):
        model.coef_path(X, y, [1.0, 0.0])
    with pytest.raises(ValueError, match=r"alphas has shape \(0,\); accepted: \(K,\) with K >= 1"):
        model.coef_path(X, y, [])
    with pytest.raises(ValueError, match="expecting 6 features"):
        model.fit(X, y).predict(X[:, :5])
