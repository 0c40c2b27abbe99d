"""The log-domain flow against the layers themselves, SciPy on the same equations, descent, and its own symmetries."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from solvable.networks import diagonal as dn
from solvable.networks.diagonal.algorithms import first_kink

AT = np.array([0.2, 0.5, 1.0, 3.0])


def problem(seed: int = 0, samples: int = 3, dim: int = 4) -> dn.Quadratic:
    draw = np.random.default_rng(seed)
    return dn.Quadratic.from_data(draw.normal(size=(samples, dim)), draw.normal(size=samples))


def layers_by_scipy(loss: dn.Quadratic, log_scale, decay, first, second, at, square=False):
    """x and its average from u and v themselves, with SciPy's Radau in training time."""
    matrix, linear, dim = np.asarray(loss.matrix), np.asarray(loss.linear), loss.dim
    root = np.exp(0.5 * log_scale)

    def velocity(_, state):
        u, v, _ = np.split(state, 3)
        gradient = matrix @ (u * (u if square else v)) - linear
        if square:
            return np.concatenate([-2 * u * (gradient + decay), 0 * v, u * u])
        return np.concatenate([-v * gradient - decay * u, -u * gradient - decay * v, u * v])

    stops = at * -log_scale / (4 if square else 2)
    start = np.concatenate([root * first * np.ones(dim), root * second * np.ones(dim), np.zeros(dim)])
    found = solve_ivp(velocity, (0, stops[-1]), start, "Radau", stops, rtol=1e-10, atol=1e-14)
    u, v, integral = np.split(found.y, 3)
    return (u * (u if square else v)).T, integral.T / stops[:, None]


@pytest.mark.parametrize(
    ("square", "decay", "first", "second"),
    [
        (False, 0.0, 1.0, 0.0),
        (False, 0.3, [1.0, -2.0, 0.5, 3.0], [0.2, 0.3, -1.0, 0.0]),
        (True, 0.2, [1.0, 2.0, 0.3, -1.0], 0.0),
    ],
)
def test_it_is_the_flow_of_the_layers(square, decay, first, second) -> None:
    loss, first, second = problem(1), np.asarray(first), np.asarray(second)
    algorithm = dn.GradientFlow(-11.5, "square" if square else "product", decay, first, second)
    run = algorithm.train(loss, at=AT)
    solution, average = layers_by_scipy(loss, -11.5, decay, first, second, AT, square)
    np.testing.assert_allclose(run.solution, solution, atol=2e-6)
    np.testing.assert_allclose(run.average, average, atol=2e-7)


@pytest.mark.parametrize("log_scale", [-11.5, -115.0, -368.4])
def test_scipys_radau_on_the_same_equations(log_scale) -> None:
    loss, large = problem(2), -log_scale

    def slope(s, z):
        dual = s * loss.linear - loss.matrix @ z
        rise, fall = (np.exp(np.minimum(large * (sign * dual - 1), 700.0)) for sign in (1, -1))
        return 0.25 * (rise - fall)

    with np.errstate(over="ignore", invalid="ignore"):
        found = solve_ivp(slope, (0, AT[-1]), np.zeros(4), "Radau", AT, rtol=1e-10, atol=1e-12)
    run = dn.GradientFlow(log_scale).train(loss, at=AT)
    np.testing.assert_allclose(run.average, found.y.T / AT[:, None], atol=1e-7)


def test_the_two_ways_to_simulate_agree_at_every_scale() -> None:
    for log_scale in (-11.5, -115.0, -500.0):
        for name in ("product", "square"):
            algorithm = dn.GradientFlow(log_scale, name, 0.1)
            both = [
                dn.simulate(
                    dn.RandomRegression(), algorithm, replicates=2, unit="first_kink", at=[0.9, 2.0, 5.0], full=full
                )
                for full in (False, True)
            ]
            np.testing.assert_allclose(both[0].average, both[1].average, atol=1e-6)


def test_a_scale_of_1e_minus_160_follows_the_limit() -> None:
    """Theorem 2.1 and the limit algorithm, at a scale that float64 could not even square."""
    loss = problem(3)
    kink = first_kink(loss)
    at = kink * np.geomspace(0.5, 30.0, 25)
    run = dn.GradientFlow(-160.0 * np.log(10.0)).train(loss, at=at)
    limit = dn.limit_path(loss)
    np.testing.assert_allclose(run.average, limit.average(at), atol=0.02)
    near = dn.GradientFlow(-3000.0 * np.log(10.0)).train(loss, at=at)
    far = np.abs(run.average - limit.average(at)).max()
    assert np.abs(near.average - limit.average(at)).max() < 0.1 * far


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_late_times_keep_their_digits(decay) -> None:
    """1e9 first kinks after the start, the flow is at its last plateau to rounding, and the average with it."""
    loss = problem(5, 9, 5)
    at = first_kink(loss) * np.array([1e3, 1e6, 1e9])
    run = dn.GradientFlow(-100.0, weight_decay=decay).train(loss, at=at)
    plateau = dn.limit_path(loss, weight_decay=decay).plateaux[-1]
    # with decay, coordinates at the wall move it by log(x) / L once more, and noise grows with the wall
    np.testing.assert_allclose(run.solution, np.tile(plateau, (3, 1)), atol=1e-10 if decay == 0.0 else 1e-6)
    np.testing.assert_allclose(run.average[-1], plateau, atol=1e-6)


@pytest.mark.slow
def test_weight_decay_at_a_tiny_scale_starves_no_coordinate() -> None:
    """Parameters fall to e^(-L (1 + lambda s)), below what float64 holds, and come back; both sides must see it."""
    draw = np.random.default_rng(2481)
    X = draw.normal(size=(4, 4))
    loss, algorithm = dn.Quadratic.from_data(X, draw.normal(size=4) * 1.5), dn.GradientFlow(-590.0, weight_decay=0.3)
    full = dn.simulate(loss, algorithm, at=[41.5], full=True)
    assert full.solution[0, 0, 2] < -0.05
    np.testing.assert_allclose(full.solution[0], algorithm.train(loss, at=[41.5]).solution, atol=1e-5)


def test_one_coordinate_has_a_closed_form() -> None:
    """x = u u on m x^2 / 2 - r x is the logistic curve."""
    curvature, linear, large = 2.0, 3.0, 11.5
    at = np.linspace(0.0, 2.0, 9)
    run = dn.GradientFlow(-large, "square").train(dn.Quadratic([[curvature]], [linear]), at=at)
    grown = np.exp(-large) * np.exp(linear * large * at)
    exact = grown / (1.0 + curvature / linear * (grown - np.exp(-large)))
    np.testing.assert_allclose(run.solution[:, 0], exact, rtol=1e-6)
    np.testing.assert_allclose(run.average[0], run.solution[0])


@pytest.mark.parametrize("name", ["product", "square"])
def test_descent_is_the_algorithm_of_the_layers_and_tends_to_the_flow(name) -> None:
    loss, rate, large, decay = problem(4), 0.01, 11.5, 0.1
    algorithm = dn.GradientDescent(-large, rate, name, decay)
    run = algorithm.train(loss, at=AT)
    matrix, linear = np.asarray(loss.matrix), np.asarray(loss.linear)
    u, v, total = np.full(4, np.exp(-large / 2)), np.zeros(4), np.zeros(4)
    stops = np.rint(AT / algorithm.time_step).astype(int)
    for step in range(stops[-1] + 1):
        x = u * u if name == "square" else u * v
        for place in np.flatnonzero(stops == step):
            np.testing.assert_allclose(run.solution[place], x, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(run.average[place], total / step, rtol=1e-9, atol=1e-12)
        total = total + x
        gradient = matrix @ x - linear
        if name == "square":
            u = u - 2 * rate * u * (gradient + decay)
        else:
            u, v = u - rate * (v * gradient + decay * u), v - rate * (u * gradient + decay * v)
    flow = dn.GradientFlow(-large, name, decay).train(loss, at=AT)
    errors = [
        np.abs(dn.GradientDescent(-large, g, name, decay).train(loss, at=AT).average - flow.average).max()
        for g in (0.004, 0.002)
    ]
    assert 1.7 < errors[0] / errors[1] < 2.3


def test_descent_that_diverges_says_so() -> None:
    loss = problem(4)
    with pytest.raises(RuntimeError, match="not finite"):
        dn.GradientDescent(-11.5, 3.0).train(loss, at=[50.0])
    run = dn.GradientDescent(-11.5, 3.0).train(loss, at=[50.0], throw=False)
    assert run.result != 0
    assert np.isnan(run.average).all()


def test_no_linear_term_means_no_movement() -> None:
    run = dn.GradientFlow(-11.5).train(dn.Quadratic(np.eye(2), np.zeros(2)), at=[0.0, 1.0])
    np.testing.assert_allclose(run.solution, 0.0, atol=1e-12)
    shrunk = dn.GradientFlow(-11.5, "square").train(dn.Quadratic(np.eye(2), np.zeros(2)), at=[0.0, 1.0])
    np.testing.assert_allclose(shrunk.solution, np.exp(-11.5), rtol=1e-3)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100.0))
def test_permutations_signs_and_units(seed, scale) -> None:
    """Coordinates may be renamed and change sign; a common factor of the loss is a unit of time."""
    loss, draw = problem(seed), np.random.default_rng(seed)
    order, signs = draw.permutation(4), draw.choice([-1.0, 1.0], 4)
    algorithm = dn.GradientFlow(-30.0)
    run = algorithm.train(loss, at=AT)
    turned = dn.Quadratic(
        (loss.matrix * signs * signs[:, None])[np.ix_(order, order)], (loss.linear * signs)[order], loss.constant
    )
    np.testing.assert_allclose(algorithm.train(turned, at=AT).average, (run.average * signs)[:, order], atol=1e-5)
    faster = dn.Quadratic(scale * loss.matrix, scale * loss.linear, loss.constant)
    np.testing.assert_allclose(algorithm.train(faster, at=AT / scale).average, run.average, atol=1e-5)


def test_padding_changes_nothing_and_batches_are_single_runs() -> None:
    """5 coordinates are padded to 8, 3 problems of ranks 2, 3, 5 to one shape."""
    draw = np.random.default_rng(7)
    problems = [dn.Quadratic.from_data(draw.normal(size=(n, 5)), draw.normal(size=n)) for n in (2, 3, 9)]
    algorithm = dn.GradientFlow(-20.0)
    together = algorithm.run_many(problems, np.tile(AT, (3, 1)))
    for number, loss in enumerate(problems):
        alone = algorithm.train(loss, at=AT)
        np.testing.assert_allclose(together[0][number], alone.solution, atol=1e-12)
        np.testing.assert_allclose(together[1][number], alone.average, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dn.GradientFlow(0.0), "log_scale=0 is out of range; accepted: a finite number < 0"),
        (lambda: dn.GradientFlow(parameterization="cube"), "parameterization='cube' is unknown"),
        (lambda: dn.GradientFlow(weight_decay=-1.0), "weight_decay=-1 is out of range"),
        (lambda: dn.GradientFlow(second_layer=1.0), "first_layer and second_layer are 1 and 1 at coordinate 0"),
        (lambda: dn.GradientFlow(first_layer=[1.0, 2.0], second_layer=[0.0, -2.0]), "are 2 and -2 at coordinate 1"),
        (lambda: dn.GradientFlow(parameterization="square", first_layer=[1.0, 0.0]), "first_layer holds 0"),
        (lambda: dn.GradientFlow(parameterization="square", second_layer=1.0), "second_layer=1.0 is not accepted"),
        (
            lambda: dn.GradientFlow(first_layer=[1.0, 2.0], second_layer=[0.0, 0.0, 0.0]),
            r"second_layer has shape \(3,\)",
        ),
        (lambda: dn.GradientFlow(first_layer=[1.0, 2.0]).train(problem(), at=AT), r"first_layer has shape \(2,\)"),
        (lambda: dn.GradientDescent(-11.5, 0.0), "learning_rate=0 is out of range"),
        (
            lambda: dn.GradientDescent(-11.5, 50.0).train(problem(), at=[2.0]),
            "learning_rate=50 takes 0 steps to reach at=2",
        ),
        (lambda: dn.GradientDescent(-11.5, 1e-12).train(problem(), at=[2.0]), "takes 1.15e.13 steps to reach at=2"),
        (lambda: dn.GradientFlow().train(problem(), at=[2.0, 1.0]), "at is not a nondecreasing list"),
        (lambda: dn.GradientFlow().train(problem(), at=[-1.0]), "at is not a nondecreasing list"),
        (lambda: dn.GradientFlow().train(problem(), at=[np.nan]), r"at holds nan at \(0,\)"),
        (lambda: dn.GradientFlow().train(problem(), at=[]), r"at has shape \(0,\)"),
    ],
)
def test_bad_input_is_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_scale_is_in_the_units_of_the_coefficients():
    """Targets times c with log eps + log c are one run in other units; with the same eps they are not."""
    problem, factor = dn.RandomRegression(3, 4, monotone=True).sample(jax.random.key(0)), 1e-3
    small = dn.Quadratic(problem.matrix, factor * problem.linear, factor**2 * float(problem.constant))
    times, log_scale = np.array([0.5, 2.0, 8.0]), -11.5
    own = log_scale + np.log(factor)
    run = dn.GradientFlow(log_scale).train(problem, at=times)
    same = dn.GradientFlow(own).train(small, at=times * log_scale / own / factor)
    np.testing.assert_allclose(same.solution / factor, run.solution, atol=1e-8)
    gaps = [dn.predict(one, dn.GradientFlow(log_scale)).largest_gap for one in (problem, small)]
    assert gaps[1] > 5.0 * gaps[0]


@pytest.mark.parametrize(
    "call",
    [
        lambda p: dn.GradientFlow().train(p, at=[5e-324]),
        lambda p: dn.simulate(p, dn.GradientFlow(), at=[1e-310, 1.0]),
        lambda p: dn.predict(p, dn.GradientFlow(), theory="lasso", at=[5e-324]),
        lambda p: dn.predict(p, dn.GradientFlow(), theory="limit", at=[5e-324]),
        lambda p: dn.suboptimality(p, at=[5e-324]),
        lambda p: dn.lasso_objective(p, np.zeros(4), 5e-324),
        lambda p: dn.monotonicity_bound(p, 5e-324),
    ],
)
def test_times_without_a_finite_penalty_are_refused(call):
    with pytest.raises(ValueError, match=r"at holds .*e-3\d\d, with no finite penalty; accepted: numbers >= 2.3e-308"):
        call(dn.RandomRegression(3, 4).sample(jax.random.key(0)))


def test_times_at_the_ends_of_what_numbers_can_be():
    """A number, or a sentence."""
    problem = dn.RandomRegression(3, 4).sample(jax.random.key(0))
    early = dn.predict(problem, dn.GradientFlow(), at=[1e-300])
    assert not any(np.isnan(value).any() for value in early.present().values())
    assert dn.monotonicity_bound(problem, 1e-200).eta == 0.0
    with pytest.raises(ValueError, match=r"at holds 1e\+160; accepted: finite numbers > 0, up to 1e\+150"):
        dn.monotonicity_bound(problem, 1e160)
    weak = dn.Quadratic(np.eye(2), [1e-3, 0.0])
    with pytest.raises(ValueError, match=r"at holds 1e\+307 first_kink, a time that is not finite"):
        dn.predict(weak, dn.GradientFlow(), at=[1e307], unit="first_kink")
