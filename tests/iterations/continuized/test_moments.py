"""The exact second moments: against simulation, rational arithmetic, quadrature, matrix exponentials, integration."""

from __future__ import annotations

from fractions import Fraction

import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from solvable.iterations import continuized as co
from solvable.numerics.estimate import mean_and_error

SPECTRUM = (np.arange(1, 11) / 10.0) ** 2
PLAIN = co.Quadratic(SPECTRUM, np.ones(10))
NOISY = co.Quadratic(SPECTRUM, np.ones(10), 0.1)
LONG = co.Quadratic((np.arange(1, 51) / 50.0) ** 2, np.ones(50))  # that of the reference numbers
GAUSSIAN = co.GaussianLeastSquares(1.0 / np.arange(1.0, 7.0) ** 2, np.ones(6))
RNG = np.random.default_rng(0)
X, W, RESIDUALS = RNG.normal(size=(6, 3)), RNG.normal(size=3), RNG.normal(size=6)
CONTRADICTING = co.LeastSquares(X, X @ W + 0.3 * RESIDUALS)
DEFICIENT = co.LeastSquares(X @ RNG.normal(size=(3, 5)), X @ W, np.ones(5))
CONTINUIZED = (co.Continuized(), co.Continuized(steps="tight"), co.Continuized("exact"))
ignored = pytest.mark.filterwarnings("ignore:y is not X w")


def scores(task, algorithm, at=(2, 7, 30), replicates=4000, **options):
    runs = co.simulate(task, algorithm, at=at, key=jax.random.key(1), replicates=replicates, **options)
    exact = co.predict(task, algorithm, at=at, **options)
    for name, value in exact.present().items():
        mean, error = mean_and_error(getattr(runs, name))
        rounding = 1e-11 * np.abs(value)
        assert np.all(np.abs(mean - value) <= 4.0 * error + rounding), (name, (mean - value) / (error + rounding))
    return runs, exact


@ignored
@pytest.mark.parametrize("task", [PLAIN, NOISY, GAUSSIAN, CONTRADICTING, DEFICIENT], ids=range(5))
@pytest.mark.parametrize("algorithm", CONTINUIZED, ids=("convex", "tight", "strong"))
def test_moments_are_those_of_4000_runs(task, algorithm) -> None:
    _, exact = scores(task, algorithm)
    assert set(exact.present()) == {"suboptimality", "squared_distance"} | (
        set() if algorithm.strong_convexity == "exact" else {"weighted_suboptimality"}
    )


@ignored
@pytest.mark.parametrize("task", [NOISY, GAUSSIAN, CONTRADICTING], ids=range(3))
@pytest.mark.parametrize(
    "algorithm", [co.StochasticGradient(), co.StochasticGradient(average=True), co.Nesterov(), co.HeavyBall("exact")]
)
def test_moments_of_fixed_schedules_are_those_of_runs(task, algorithm) -> None:
    scores(task, algorithm, replicates=1000)


@ignored
@pytest.mark.parametrize("task", [NOISY, GAUSSIAN, CONTRADICTING], ids=range(3))
def test_moments_in_time_are_those_of_runs_where_tails_are_light(task) -> None:
    for algorithm in CONTINUIZED:
        scores(task, algorithm, at=[0.0, 0.7, 6.0, 6.0], unit="time")


def test_reference_numbers() -> None:
    """Of the specification, to the digits that it gives."""
    strong, at = co.Continuized("exact"), [20, 40, 80]
    exact = co.predict(LONG, strong, at=at, unit="time").suboptimality
    np.testing.assert_allclose(exact, [0.5398, 0.1265, 0.0171], atol=5e-5)
    # of 4000 runs, from which a mean at a fixed time cannot be told
    runs = co.simulate(LONG, strong, at=at, unit="time", replicates=4000).suboptimality.mean(0)
    assert np.all(runs < [0.4, 0.05, 0.004])
    last = {
        name: co.predict(LONG, one, at=[80]).suboptimality[0]
        for name, one in {"nesterov": co.Nesterov("exact"), "strong": strong, "convex": co.Nesterov()}.items()
    }
    np.testing.assert_allclose([last["nesterov"], last["strong"]], [3.7e-4, 9.4e-4], rtol=0.01)
    np.testing.assert_allclose(last["convex"], 1.55e-4, rtol=0.01)
    ball = co.predict(LONG, co.HeavyBall("exact"), at=[20, 80, 200]).suboptimality
    np.testing.assert_allclose(ball, [168.0, 20.7, 0.0087], rtol=0.01)
    rows = co.GaussianLeastSquares(1.0 / np.arange(1.0, 21.0) ** 2, np.ones(20))
    found = [co.predict(rows, one, at=[400]).squared_distance[0] for one in (co.StochasticGradient(), *CONTINUIZED)]
    np.testing.assert_allclose(found, [4.17, 0.94, 0.50, 0.44], atol=0.006)


def rational(rate: Fraction, events: int, power: int) -> Fraction:
    """E x_k^2 of one mode with L = 1 and convex steps, by polynomials in T_k with rational coefficients."""
    a, b, c = [Fraction(1)], [Fraction(1)], [Fraction(1)]

    def combine(*terms):
        total = [Fraction(0)] * max(len(one) for _, one in terms)
        for factor, one in terms:
            for j, value in enumerate(one):
                total[j] += factor * value
        return total

    def moved(one, by):
        return [Fraction(0)] * by + one

    for k in range(events):
        w, v = combine((1, a), (-2, b), (1, c)), combine((1, b), (-1, c))
        # E r^(i+j) = k/(k+i+j) of r = T_k/T_(k+1), in the place of t^j
        w, v, c = (
            [value * (Fraction(k, k + i + j) if k + i + j else 1) for j, value in enumerate(one)]
            for i, one in ((2 * power, w), (power, v), (0, c))
        )
        if k == 0:
            w, v = [Fraction(0)], [Fraction(0)]
        a, b = combine((1, w), (2, v), (1, c)), combine((1, v), (1, c))
        half = Fraction(1, 2) if power == 2 else Fraction(1)
        c = combine((1, c), (-2 * half * rate, moved(b, 1)), (half**2 * rate**2, moved(a, 2)))
        b = combine((1 - rate, b), (-half * rate * (1 - rate), moved(a, 1)))
        a = combine(((1 - rate) ** 2, a))
    total, rising = Fraction(0), Fraction(1)
    for j, value in enumerate(a):
        total += value * rising  # E T_k^j = k (k+1) ... (k+j-1)
        rising *= events + j
    return total


@pytest.mark.parametrize("rate", [Fraction(1), Fraction(1, 2), Fraction(1, 100), Fraction(1, 10**6)])
def test_convex_moments_are_rational_arithmetic(rate) -> None:
    """Laguerre's expansion to 12 digits of exact polynomials."""
    task = co.Quadratic([1.0, float(rate)], [0.0, 1.0])
    for events in (1, 2, 7, 25):
        found = co.predict(task, co.Continuized(), at=[events]).squared_distance[0]
        assert found == pytest.approx(float(rational(rate, events, 2)), rel=1e-12)


def test_strong_moments_at_events_are_quadrature() -> None:
    """Gauss-Laguerre over every waiting time, to 1e-12."""
    nodes, weights = np.polynomial.laguerre.laggauss(60)
    eta, largest, mu, s = np.sqrt(0.01), 1.0, 0.01, 0.01
    total = np.zeros(31)
    for lam in SPECTRUM:
        J = np.array([[1 - lam / largest, 0.0], [-lam / np.sqrt(mu * largest), 1.0]])
        steps = [0.5 * np.ones((2, 2)) + 0.5 * np.exp(-2 * eta * u) * np.array([[1, -1], [-1, 1]]) for u in nodes]
        mixing = sum(weight * np.kron(one, one) for weight, one in zip(weights, steps, strict=True))
        kick = s * np.kron([1 / largest, 1 / np.sqrt(mu * largest)], [1 / largest, 1 / np.sqrt(mu * largest)])
        state = np.ones(4)
        for k in range(31):
            total[k] += 0.5 * lam * state[0]
            state = np.kron(J, J) @ mixing @ state + kick
    found = co.predict(NOISY, co.Continuized("exact"), at=np.arange(31)).suboptimality
    np.testing.assert_allclose(found, total, rtol=1e-12)


def generator(lam, eta, back, step, kick, s):
    """Of (E x^2, E x z, E z^2, 1), as the specification has it."""
    return np.array(
        [
            [-2 * eta + (1 - step * lam) ** 2 - 1, 2 * eta, 0, step**2 * s],
            [back - kick * lam * (1 - step * lam), -eta - back - step * lam, eta, step * kick * s],
            [kick**2 * lam**2, 2 * back - 2 * kick * lam, -2 * back, kick**2 * s],
            [0, 0, 0, 0],
        ]
    )


def test_strong_moments_in_time_are_a_matrix_exponential() -> None:
    at, eta = np.array([0.0, 0.3, 5.0, 60.0, 2000.0]), 0.1
    G = [generator(lam, eta, eta, 1.0, 10.0, 0.01) for lam in SPECTRUM]
    total = [sum(0.5 * lam * (expm(t * g) @ np.ones(4))[0] for lam, g in zip(SPECTRUM, G, strict=True)) for t in at]
    found = co.predict(NOISY, co.Continuized("exact"), at=at, unit="time").suboptimality
    np.testing.assert_allclose(found, total, rtol=1e-9)


def test_convex_moments_in_time_are_an_integration() -> None:
    at = np.array([0.5, 4.0, 30.0])

    def field(u, v):
        t = np.exp(u)
        G = [generator(lam, 2 / t, 0.0, 1.0, t / 2, 0.01) for lam in SPECTRUM]
        return t * np.concatenate([(g @ np.append(one, 1.0))[:3] for g, one in zip(G, v.reshape(-1, 3), strict=True)])

    solved = solve_ivp(field, (np.log(1e-9), np.log(30.0)), np.ones(30), "DOP853", np.log(at), rtol=1e-11, atol=1e-13)
    expected = 0.5 * SPECTRUM @ solved.y[::3]
    found = co.predict(NOISY, co.Continuized(), at=at, unit="time").suboptimality
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_mass_is_conserved() -> None:
    """A mode of rate 0 stays to 1e-12, at events and in time."""
    still = co.Quadratic([1.0, 0.0], [0.0, 1.0])
    for algorithm in (co.Continuized(), co.Continuized(0.1)):
        for unit in co.SYSTEM.units:
            found = co.predict(still, algorithm, at=[0, 3, 100, 900], unit=unit).squared_distance
            np.testing.assert_allclose(found, 1.0, rtol=1e-12)


def test_repeated_and_extreme_eigenvalues() -> None:
    """Modes do not see each other, in whatever units; equal ones add up."""
    at = [0, 1, 20]
    for algorithm in (co.Continuized(), co.Continuized("exact"), co.Nesterov(), co.GradientDescent()):
        one = co.predict(co.Quadratic([1.0, 0.3, 0.0], [0.0, 1.0, 0.0]), algorithm, at=at).suboptimality
        for unit in (1e-150, 1.0, 1e150):
            equal = co.Quadratic(np.array([1.0, 0.3, 0.3]) * unit, [0.0, 1.0, 1.0])
            found = co.predict(equal, algorithm, at=at)
            assert int(found.result) == 0
            np.testing.assert_allclose(found.suboptimality, 2.0 * unit * one, rtol=1e-9)
    late = co.predict(LONG, co.Continuized(), at=[998, 999, 1000, 1001, 1002])  # the scale changes at 1000
    assert int(late.result) == 0
    assert np.all(np.abs(np.diff(late.suboptimality, 3)) < 1e-4 * late.suboptimality[0])


def test_no_mean_of_squares_is_negative() -> None:
    """Where one step ends, rounding has either sign."""
    for rate in np.random.default_rng(0).uniform(0.01, 1.0, size=5):
        for algorithm in (co.Continuized(), co.Continuized("exact"), co.Nesterov(), co.GradientDescent()):
            found = co.predict(co.Quadratic([rate], [1.7]), algorithm, at=[0, 1, 2, 5])
            for value in found.present().values():
                assert np.all(value >= 0.0)
                assert np.all(value[1:] <= 1e-14)
    row = co.predict(co.LeastSquares([[2.0, 1.0]], [3.0]), co.Continuized("exact"), at=[1, 5])
    assert np.all((row.suboptimality >= 0.0) & (row.suboptimality < 1e-13))


def test_lost_digits_have_a_code() -> None:
    found = co.predict(LONG, co.Continuized(smoothness=0.9), at=[5, 100], throw=False)
    assert found.result == 400
    assert "lost its digits" in found.reasons()[0]


@pytest.mark.parametrize("algorithm", [co.Continuized(), co.Continuized(0.02)])
def test_the_discretisation_is_the_flow(algorithm) -> None:
    """Of one run, event by event: matrix exponentials of the mixing, in log t for convex steps; to 3e-15."""
    run = algorithm.train(PLAIN, jax.random.key(5), at=np.arange(41))
    x, z = np.ones(10), np.ones(10)
    for k in range(40):
        before, now = run.times[k : k + 2]
        if algorithm.strong_convexity == 0.0:
            u = np.log(now / before) if before else np.inf
            flow = np.array([[0.0, 1.0], [0.0, 1.0]]) if not before else expm(u * np.array([[-2.0, 2.0], [0.0, 0.0]]))
        else:
            flow = expm(np.sqrt(0.02) * (now - before) * np.array([[-1.0, 1.0], [1.0, -1.0]]))
        x, z = flow @ np.stack([x, z])
        kick = now / 2 if algorithm.strong_convexity == 0.0 else 1 / np.sqrt(0.02)
        x, z = x - SPECTRUM * x, z - kick * SPECTRUM * x
        scale = max(1.0, np.abs(run.mixing[k + 1]).max())
        np.testing.assert_allclose(run.solution[k + 1], x, atol=3e-15 * scale)
        np.testing.assert_allclose(run.mixing[k + 1], z, atol=1e-14 * scale)


def test_the_plateau_of_noise_is_met() -> None:
    """Late strongly convex moments are the fixed point of the recursion, and runs stay there."""
    at = [400, 600]
    runs, exact = scores(NOISY, co.Continuized("exact"), at=at, replicates=1000)
    np.testing.assert_allclose(exact.suboptimality[0], exact.suboptimality[1], rtol=1e-12)
    assert runs.suboptimality.mean() > 0.5 * exact.suboptimality[0]


@pytest.mark.slow
def test_late_convex_moments_are_those_of_runs() -> None:
    scores(LONG, co.Continuized(), at=[100, 400, 1200])
