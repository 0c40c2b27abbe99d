"""What problems, algorithms and calls accept and refuse, and what a run is."""

from __future__ import annotations

import warnings

import jax
import numpy as np
import pytest

from solvable.iterations import continuized as co
from solvable.numerics.results import Result, SolveError

PLAIN = co.Quadratic([1.0, 0.1], [1.0, 2.0])
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: co.Quadratic([1.0, -0.1], [1.0, 1.0]), "eigenvalues holds -0.1; accepted"),
        (lambda: co.Quadratic([0.0, 0.0], [1.0, 1.0]), "eigenvalues holds 0; accepted"),
        (lambda: co.Quadratic([1.0], [1.0, 1.0]), r"start has shape \(2,\)"),
        (lambda: co.Quadratic([1.0], [1.0], -1.0), "gradient_noise=-1 is out of range"),
        (lambda: co.Quadratic.from_matrix([[1.0, 2.0], [0.0, 1.0]], [0, 0], [0, 0]), "matrix is not symmetric"),
        (lambda: co.Quadratic.from_matrix([[1.0, 0.0], [0.0, -1.0]], [0, 0], [0, 0]), "matrix has the eigenvalue -1"),
        (lambda: co.Quadratic.from_matrix([[1.0, 0.0], [0.0, 0.0]], [0, 1], [0, 0]), "linear lies outside the span"),
        (lambda: co.Quadratic.from_matrix(np.eye(2), [0, 0, 0], [0, 0]), r"linear has shape \(3,\)"),
        (lambda: co.LeastSquares(np.zeros((2, 2)), [0, 0]), "X holds 0 alone"),
        (lambda: co.LeastSquares([[1e200]], [1.0]), r"X has the largest entry 1e\+200; accepted: between"),
        (lambda: co.LeastSquares([[1e-200]], [1.0]), "X has the largest entry 1e-200; accepted: between"),
        (lambda: co.LeastSquares(np.eye(2), [0, 0, 0]), r"y has shape \(3,\)"),
        (lambda: co.GaussianLeastSquares([-1.0], [1.0]), "spectrum holds -1"),
        (lambda: co.Objective(np.sum, np.ones_like, [1.0], 0.0), "smoothness=0 is out of range"),
        (lambda: co.Objective(np.sum, np.ones_like, [1.0], 1.0, -1.0), "strong_convexity=-1 is out of range"),
        (lambda: co.Objective(np.sum, np.ones_like, [1.0], 1.0, 2.0), "strong_convexity=2 is above smoothness=1"),
        (lambda: co.Objective(np.sum, lambda x: x + np.nan, [1.0], 1.0), "gradient is not finite at the start"),
        (lambda: co.Objective(np.sum, np.sum, [1.0], 1.0), r"gradient returns the shape \(\); accepted: \(1,\)"),
        (lambda: co.Objective(np.sum, np.ones_like, [1.0], 1.0, minimum=[1, 2]), r"minimum has shape \(2,\)"),
        (lambda: co.Continuized(-0.1), "strong_convexity=-0.1 is out of range"),
        (lambda: co.Continuized("largest"), "strong_convexity='largest' is unknown; accepted: .*'exact'"),
        (lambda: co.Continuized(smoothness=0.0), "smoothness=0 is out of range"),
        (lambda: co.Continuized(2.0, smoothness=1.0), "strong_convexity=2 is above the smoothness 1"),
        (lambda: co.Continuized(steps="loose"), "steps='loose' is unknown"),
        (lambda: co.HeavyBall(0.0), "strong_convexity=0 is out of range"),
        (lambda: co.StochasticGradient(1), "average=1 is not accepted"),
        (lambda: co.simulate(PLAIN, co.Continuized(2.0)), "strong_convexity=2 is above the smoothness 1"),
        (lambda: co.predict(PLAIN, co.Nesterov(2.0)), "strong_convexity=2 is above the smoothness 1"),
        (lambda: co.simulate(PLAIN, co.Continuized(), at=[0.5]), "at=.* increasing whole numbers"),
        (lambda: co.simulate(PLAIN, co.Continuized(), at=[3, 1]), "at=.* increasing whole numbers"),
        (lambda: co.simulate(PLAIN, co.Continuized(), at=[3.0, 1.0], unit="time"), "at is not a nondecreasing list"),
        (lambda: co.simulate(PLAIN, co.Continuized(), unit="rounds"), "unit='rounds' is unknown"),
        (lambda: co.simulate(PLAIN, co.Continuized(), at=[1e12], unit="time"), "at reaches the time 1e\\+12; accepted"),
        (
            lambda: co.predict(PLAIN, co.Continuized(), at=[10**7]),
            "at is too late for theory='moments', by a factor of .*accepted: about 0.* of it, or simulate",
        ),
        (lambda: co.predict(PLAIN, co.Continuized(), at=[9e6], unit="time"), "at is too late for theory='moments'"),
        (lambda: co.predict(PLAIN, co.Nesterov(), unit="time"), "unit='time' is not accepted with Nesterov"),
        (lambda: co.Continuized().train(PLAIN, init=[1.0]), "init is given"),
        (
            lambda: co.predict(co.LeastSquares(np.ones((200, 300)), np.ones(200)), co.Continuized()),
            "X has 200 rows of 300 columns, too many for theory='moments'; accepted: .*or simulate",
        ),
        (
            lambda: co.Continuized("exact").train(co.Objective(np.sum, np.ones_like, [1.0], 1.0)),
            "strong_convexity='exact', and that of the problem is 0",
        ),
    ],
)
def test_bad_input_is_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="gradient=float is not accepted; accepted: a function"):
        co.Objective(np.sum, 1.0, [1.0], 1.0)


def test_a_gradient_that_changes_its_shape_is_named() -> None:
    task = co.Objective(lambda x: x @ x, lambda x: 2 * x if x[0] == 1 else np.ones(3), [1.0, 1.0], 2.5, minimum=0)
    with pytest.raises(ValueError, match=r"gradient returns the shape \(3,\); accepted: \(2,\)"):
        co.simulate(task, co.Continuized(), at=[5])


def test_many_rows_are_no_square_matrix() -> None:
    """n x n numbers would be 160 GB here."""
    X, w = np.random.default_rng(0).normal(size=(100_000, 2)), np.ones(2)
    assert co.constants(co.LeastSquares(X, X @ w)).statistical_condition == pytest.approx(4.0, rel=0.05)


def test_long_runs_are_made_in_small_batches(monkeypatch) -> None:
    runs = {}
    for most in (5 * 10**6, 60):
        jax.clear_caches()
        monkeypatch.setattr("solvable.iterations.continuized.process.EVENTS_TOGETHER", most)
        runs[most] = co.simulate(PLAIN, co.Continuized(), at=[0, 20], replicates=7).suboptimality
    np.testing.assert_allclose(*runs.values(), rtol=1e-12)


def test_lists_tuples_and_ranges_are_taken() -> None:
    found = co.predict(co.Quadratic(range(1, 4), (1, 1, 1)), co.Continuized(), at=range(4))
    assert found.suboptimality.shape == (4,)
    assert found.suboptimality[0] == pytest.approx(3.0)


def test_a_matrix_is_its_eigenvalues() -> None:
    basis = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    matrix, linear, start = basis @ np.diag([2.0, 0.5, 0.0]) @ basis.T, basis @ [1.0, 1.0, 0.0], RNG.normal(size=3)
    task = co.Quadratic.from_matrix(matrix, linear, start)
    run = co.GradientDescent().train(task, at=[0, 1, 500])
    np.testing.assert_allclose(run.solution[0], start, atol=1e-12)
    np.testing.assert_allclose(run.solution[1], start - 0.5 * (matrix @ start - linear), atol=1e-12)
    np.testing.assert_allclose(matrix @ run.solution[2], linear, atol=1e-9)
    assert co.predict(task, co.GradientDescent(), at=[500]).squared_distance < 1e-12


def test_rows_without_full_rank_stay_in_their_space() -> None:
    X = RNG.normal(size=(4, 2)) @ RNG.normal(size=(2, 5))
    y, start = X @ np.ones(5), np.ones(5) + 0.5 * RNG.normal(size=5)
    for algorithm in (co.Continuized("exact"), co.StochasticGradient()):
        run = algorithm.train(co.LeastSquares(X, y, start), at=[0, 2000])
        np.testing.assert_allclose(run.solution[0], start, atol=1e-12)
        np.testing.assert_allclose(X @ run.solution[1], y, atol=1e-6)
        null = np.eye(5) - np.linalg.pinv(X) @ X
        np.testing.assert_allclose(null @ run.solution[1], null @ start, atol=1e-9)
    assert co.simulate(co.LeastSquares(X, y), co.Continuized("exact"), at=[2000]).squared_distance < 1e-6


def test_recursions_of_the_compared_methods() -> None:
    """As they are written down, step by step."""
    lam, x0 = np.array([1.0, 0.3, 0.05]), np.array([1.0, -2.0, 3.0])
    task, steps = co.Quadratic(lam, x0), 25
    x, y, momentum = [x0], x0, {}
    for k in range(steps):
        x.append(y - lam * y)
        y = x[-1] + k / (k + 3) * (x[-1] - x[-2])
    momentum[co.Nesterov()] = x
    x, y, q = [x0], x0, np.sqrt(0.05)
    for _ in range(steps):
        x.append(y - lam * y)
        y = x[-1] + (1 - q) / (1 + q) * (x[-1] - x[-2])
    momentum[co.Nesterov("exact")] = x
    x = [x0, x0]
    for _ in range(steps):
        x.append(x[-1] - 4 / (1 + q) ** 2 * lam * x[-1] + ((1 - q) / (1 + q)) ** 2 * (x[-1] - x[-2]))
    momentum[co.HeavyBall("exact")] = x[1:]
    x = [x0 * (1 - lam) ** k for k in range(steps + 1)]
    momentum[co.GradientDescent()] = x
    momentum[co.StochasticGradient(average=True)] = [np.mean(x[: k + 1], axis=0) for k in range(steps + 1)]
    for algorithm, path in momentum.items():
        run = algorithm.train(task, at=range(steps + 1))
        np.testing.assert_allclose(run.solution, path, atol=1e-13, err_msg=repr(algorithm))
        exact = co.predict(task, algorithm, at=range(steps + 1))
        np.testing.assert_allclose(exact.squared_distance, np.sum(np.square(path), axis=1), rtol=1e-9, atol=1e-13)
        assert run.mixing is None


def test_a_run_does_not_depend_on_where_it_is_looked_at() -> None:
    task = co.Quadratic([1.0, 0.1], [1.0, 1.0], 0.2)
    key = jax.random.key(8)
    for algorithm in (co.Continuized(), co.Continuized("exact")):
        every, few = (algorithm.train(task, key, at=at) for at in (range(31), [4, 30]))
        np.testing.assert_allclose(every.solution[[4, 30]], few.solution, rtol=1e-12)
        np.testing.assert_allclose(every.mixing[[4, 30]], few.mixing, rtol=1e-12)
        runs = co.simulate(task, algorithm, at=[2, 10], key=key, replicates=1200)
        part = co.simulate(task, algorithm, at=[10], key=key, replicates=range(1100, 1102))
        np.testing.assert_allclose(runs.suboptimality[1100:1102, 1], part.suboptimality[:, 0], rtol=1e-9)
        # at a time just after an event f is that of the event
        seen = co.simulate(
            task, algorithm, at=np.sort(runs.times[7]) + 1e-12, unit="time", key=key, replicates=range(7, 8)
        )
        np.testing.assert_allclose(seen.suboptimality[0], runs.suboptimality[7], rtol=1e-8)
        assert runs.times.shape == (1200, 2)
    # T_k ~ Gamma(k)
    assert abs(runs.times.mean(0) - [2, 10]).max() < 0.4
    np.testing.assert_allclose(runs.times.var(0), [2, 10], rtol=0.2)


def test_runs_that_diverge_are_missing_with_a_reason() -> None:
    wild = co.Continuized(smoothness=1e-30)
    found = co.simulate(PLAIN, wild, at=[0, 50], replicates=2)
    assert found.result.tolist() == [Result.NONFINITE] * 2
    assert np.isnan(found.suboptimality).all()
    with pytest.raises(SolveError, match="train"):
        wild.train(PLAIN, at=[50])
    assert wild.train(PLAIN, at=[50], throw=False).result == Result.NONFINITE
    assert co.predict(PLAIN, wild, at=[50], throw=False).result == Result.NONFINITE


def test_weights_are_those_of_convex_steps_at_events() -> None:
    with_weights = co.simulate(PLAIN, co.Continuized(), at=[3])
    assert with_weights.weighted_suboptimality == pytest.approx(with_weights.times**2 * with_weights.suboptimality)
    for algorithm, unit in ((co.Continuized("exact"), "events"), (co.Continuized(), "time"), (co.Nesterov(), "events")):
        assert "weighted_suboptimality" not in co.simulate(PLAIN, algorithm, at=[3], unit=unit).present()
        assert "weighted_suboptimality" not in co.predict(PLAIN, algorithm, at=[3], unit=unit).present()


def test_nearly_collinear_columns_keep_their_rank():
    columns = np.random.default_rng(0).normal(size=(6, 2))
    close = co.LeastSquares(np.c_[columns[:, 0], columns[:, 0] + 1e-7 * columns[:, 1]], columns[:, 0])
    assert 0 < co.constants(close).strong_convexity < 1e-14
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of an inconsistent system
        co.predict(close, co.Continuized(), at=[10])
    same = co.LeastSquares(np.c_[columns[:, 0], 2.0 * columns[:, 0]], columns[:, 0])
    assert co.constants(same).strong_convexity > 0.1


def test_functions_that_jax_cannot_trace_are_named():
    with pytest.raises(TypeError, match="value cannot be traced by JAX, as traced=True asks"):
        co.Objective(
            lambda x: float(np.sum(np.asarray(x) ** 2)), lambda x: 2 * np.asarray(x), np.ones(3), 2.0, traced=True
        )


def test_overflow_is_a_code_and_no_warning():
    large = co.Quadratic([1.0, 0.1], [1e200, 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact, above = (
            co.predict(large, co.Continuized(0.1), theory=theory, at=[1, 5], throw=False)
            for theory in ("moments", "bound")
        )
        assert np.isnan(exact.suboptimality).all()
        assert exact.result == int(Result.NONFINITE)
        assert np.all(above.suboptimality == np.inf)  # which is a bound
