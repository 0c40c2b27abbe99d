"""Bounds: above exact moments and above runs, tight where they should be, refused where they would be wrong."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.iterations import continuized as co
from solvable.numerics.estimate import mean_and_error

SPECTRUM = (np.arange(1, 11) / 10.0) ** 2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3))
DEFICIENT = co.LeastSquares(X @ RNG.normal(size=(3, 5)), X @ np.ones(3), np.ones(5))
TASKS = {
    "plain": co.Quadratic(SPECTRUM, np.ones(10)),
    "noisy": co.Quadratic(SPECTRUM, np.ones(10), 0.3),
    "huge noise": co.Quadratic(SPECTRUM, np.ones(10), 1e6),
    "one mode": co.Quadratic([2.0], [3.0], 0.1),
    "a mode of rate 0": co.Quadratic([1.0, 1e-3, 0.0], [1.0, 2.0, 3.0], 0.1),
    "equal modes": co.Quadratic([3.0] * 3, np.ones(3)),
    "ill-conditioned": co.Quadratic([1.0, 1e-8], [1.0, 1.0]),
    "gaussian": co.GaussianLeastSquares(SPECTRUM, np.ones(10)),
    "one gaussian": co.GaussianLeastSquares([4.0], [1.0]),
    "rows": co.LeastSquares(X, X @ np.ones(3)),
    "deficient": DEFICIENT,
}
METHODS = [
    co.Continuized(),
    co.Continuized(steps="tight"),
    co.Continuized("exact"),
    co.Continuized(smoothness=50.0),
    co.Nesterov(),
    co.Nesterov("exact"),
    co.GradientDescent(),
    co.StochasticGradient(),
    co.StochasticGradient(average=True),
]


@pytest.mark.parametrize("name", TASKS)
def test_moments_are_below_their_bounds(name) -> None:
    task, spoken = TASKS[name], 0
    for algorithm in METHODS:
        for unit, at in (("events", [0, 1, 3, 10, 50, 150]), ("time", [0.0, 0.1, 1.0, 10.0, 50.0])):
            if unit == "time" and not algorithm.random_times:
                continue
            with contextlib.suppress(ValueError):  # where no bound is known
                above = co.predict(task, algorithm, theory="bound", at=at, unit=unit)
                spoken += 1
                exact = co.predict(task, algorithm, at=at, unit=unit)
                assert {one.claim for one in above.status.values()} == {"bound"}
                for observable, value in above.present().items():
                    assert np.all(getattr(exact, observable) <= value * (1.0 + 1e-9)), (algorithm, unit, observable)
    assert spoken >= 6


def test_bounds_are_the_stated_ones() -> None:
    plain, noisy = TASKS["plain"], TASKS["noisy"]
    gap, variance, eta = 0.5 * SPECTRUM.sum(), 0.9, 0.1
    at = np.array([1.0, 10.0])

    def found(task, algorithm, name="suboptimality"):
        return getattr(co.predict(task, algorithm, theory="bound", at=at, unit="time"), name)

    np.testing.assert_allclose(found(plain, co.Continuized()), 20.0 / at**2)
    np.testing.assert_allclose(found(noisy, co.Continuized()), 20.0 / at**2 + variance * at / 3.0)
    first = gap + 0.5 * 0.01 * 10.0
    np.testing.assert_allclose(found(noisy, co.Continuized("exact")), first * np.exp(-eta * at) + variance / eta)
    gaussian, known = TASKS["gaussian"], co.constants(TASKS["gaussian"])
    inverse, scale = np.sum(1.0 / SPECTRUM), known.second_moment * known.statistical_condition
    for steps, factor in (("stated", 4.0), ("tight", 1.0)):
        one = found(gaussian, co.Continuized(steps=steps), "squared_distance")
        np.testing.assert_allclose(one, factor * scale * inverse / at**2)
    strong = found(gaussian, co.Continuized("exact"), "squared_distance")
    np.testing.assert_allclose(strong, (10.0 + 0.01 * inverse) * np.exp(-np.sqrt(0.01 / scale) * at))


def test_constants() -> None:
    """The least R^2 and kappa: generalised eigenvalues, not the largest |a|^2; equality along some direction."""
    known = co.constants(co.GaussianLeastSquares([3.0, 1.0, 0.0], np.ones(3)))
    assert (known.second_moment, known.statistical_condition) == (4.0 + 6.0, 4.0)
    assert (known.smoothness, known.strong_convexity) == (3.0, 1.0)
    found = co.constants(co.LeastSquares(X, np.zeros(8)))
    H = X.T @ X / 8
    assert found.smoothness == pytest.approx(np.linalg.eigvalsh(H)[-1])
    assert found.strong_convexity == pytest.approx(np.linalg.eigvalsh(H)[0])
    for value, norm in (
        (found.second_moment, np.eye(3)),
        (found.statistical_condition, np.linalg.inv(H)),
    ):
        fourth = np.einsum("ni,ij,nj,nk,nl->kl", X, norm, X, X, X) / 8
        least = np.linalg.eigvalsh(value * H - fourth)
        assert abs(least[0]) < 1e-9
    assert found.second_moment < np.max(np.sum(X**2, axis=1))
    assert co.constants(DEFICIENT).statistical_condition == pytest.approx(found.statistical_condition)
    quadratic = co.constants(co.Quadratic([2.0, 0.5, 0.0], np.ones(3)))
    assert (quadratic.second_moment, quadratic.statistical_condition, quadratic.strong_convexity) == (2.0, 1.0, 0.5)


def softplus_problem(traced: bool, **more):
    signed = RNG.normal(size=(20, 4))
    np_ = jnp if traced else np

    def value(x):
        return np_.mean(np_.logaddexp(0.0, -signed @ x)) + 0.05 * x @ x

    def gradient(x):
        return -signed.T @ (1.0 / (1.0 + np_.exp(signed @ x))) / 20.0 + 0.1 * x

    largest = 0.25 * np.linalg.eigvalsh(signed.T @ signed / 20.0)[-1] + 0.1
    return co.Objective(value, gradient, 2.0 * np.ones(4), largest, 0.1, traced=traced, **more)


@pytest.mark.parametrize("algorithm", [co.Continuized(), co.Continuized("exact"), co.Nesterov(), co.GradientDescent()])
@pytest.mark.parametrize("unit", co.SYSTEM.units)
def test_runs_of_any_function_are_below_the_bound(algorithm, unit) -> None:
    if unit == "time" and not algorithm.random_times:
        return
    task = softplus_problem(traced=True)
    runs = co.simulate(task, algorithm, at=[1, 5, 30], unit=unit, replicates=100)
    above = co.predict(task, algorithm, theory="bound", at=[1, 5, 30], unit=unit)
    for name, value in above.present().items():
        mean, error = mean_and_error(getattr(runs, name))
        assert np.all(mean - 4.0 * error <= value)
    with pytest.raises(ValueError, match="task=Objective has no theory='moments'; accepted"):
        co.predict(task, algorithm)


def test_functions_of_numpy_and_of_jax_run_alike() -> None:
    global RNG
    for algorithm in (co.Continuized("exact"), co.HeavyBall("exact"), co.StochasticGradient(average=True)):
        found = []
        for traced in (False, True):
            RNG = np.random.default_rng(3)
            task = softplus_problem(traced, minimum=np.full(4, 0.1))  # a search would end elsewhere by rounding
            runs = [co.simulate(task, algorithm, at=[0, 2, 9], replicates=2, key=jax.random.key(2))]
            if algorithm.random_times:
                runs.append(co.simulate(task, algorithm, at=[0.0, 2.5, 9.0], unit="time", replicates=2))
            path = algorithm.train(task, jax.random.key(4), at=[0, 3])
            found.append([*(one.suboptimality for one in runs), *(one.squared_distance for one in runs), path.solution])
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_a_least_value_alone_leaves_the_distance_out() -> None:
    task = softplus_problem(False, minimum=0.0)
    found = co.simulate(task, co.Continuized(), at=[1], replicates=1)
    assert set(found.present()) == {"suboptimality", "weighted_suboptimality"}
    assert co.predict(task, co.Continuized(), theory="bound", at=[1]).weighted_suboptimality > 0.0
    flat = co.Objective(lambda x: x @ x, lambda x: 2 * x, [1.0], 2.0, minimum=0.0)
    with pytest.raises(ValueError, match="minimum is a number and f is convex alone"):
        co.predict(flat, co.Continuized(), theory="bound")
    known = co.Objective(lambda x: x @ x, lambda x: 2 * x, [1.0], 2.0, minimum=[0.0])
    assert co.predict(known, co.Continuized(), theory="bound", at=[3]).weighted_suboptimality == 4.0
    endless = co.Objective(lambda x: -x[0], lambda x: -np.ones(1), [0.0], 2.0)
    with pytest.raises(ValueError, match=r"minimum=None, and L-BFGS stopped at a gradient of .*accepted"):
        co.simulate(endless, co.Continuized())


@pytest.mark.parametrize(
    ("task", "algorithm", "message"),
    [
        (
            "plain",
            co.Continuized(0.5),
            "strong_convexity=0.5 is overestimated: the moments would be right and the bound",
        ),
        ("plain", co.Continuized(smoothness=0.5), "smoothness=0.5 is underestimated"),
        ("plain", co.HeavyBall("exact"), "HeavyBall has no bound"),
        ("plain", co.Nesterov(0.5), "strong_convexity=0.5 is overestimated"),
        ("noisy", co.Nesterov(), "gradient_noise has no bound for Nesterov"),
        ("plain", co.StochasticGradient(average=True), "average=True has a bound on rows alone"),
    ],
)
def test_bounds_that_would_be_wrong_are_refused(task, algorithm, message) -> None:
    with pytest.raises(ValueError, match=f"{message}.*accepted"):
        co.predict(TASKS[task], algorithm, theory="bound")


def test_contradicting_rows_have_no_bound_and_are_warned_of() -> None:
    task = co.LeastSquares(X, RNG.normal(size=8))
    for algorithm in (co.Continuized(), co.StochasticGradient()):
        with pytest.raises(ValueError, match="y is not X w for any w, and no bound is known"):
            co.predict(task, algorithm, theory="bound")
    for call in (co.simulate, co.predict, lambda task, algorithm, at: algorithm.train(task, at=at)):
        with pytest.warns(UserWarning, match="reaches a plateau"):
            call(task, co.Continuized(), at=[3])
        call(task, co.Continuized(steps="tight"), at=[3])
        call(task, co.StochasticGradient(), at=[3])
