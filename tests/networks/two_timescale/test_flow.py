"""The flow and descent at a finite ratio and width: exact integrals, another integrator, a plain loop, the floor."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from solvable.networks import two_timescale as tt
from solvable.networks.two_timescale import flow
from solvable.networks.two_timescale.integrals import sigmoid

TASK = tt.PiecewiseConstant()
GAUSS = np.polynomial.legendre.leggauss(6)


def network(x, positions, outer, bias, width):
    z = np.clip((np.asarray(x)[..., None] - positions) / width, -0.5, 0.5)
    return bias + np.where(z < 0.0, 4.0 * (z + 0.5) ** 3, 1.0 - 4.0 * (0.5 - z) ** 3) @ outer


def test_the_risk_is_its_integral() -> None:
    rng = np.random.default_rng(0)
    positions, outer, width = np.array([-0.2, 0.001, 0.3, 0.305, 0.998, 1.4]), rng.normal(size=6), 0.02
    ends = np.concatenate([[0.0, 1.0], TASK.positions, positions, positions - width / 2, positions + width / 2])
    ends = np.unique(np.clip(ends, 0.0, 1.0))
    expected = sum(
        quad(lambda x: (network(x, positions, outer, 0.3, width) - TASK.of(x)) ** 2, a, b, epsrel=1e-12)[0]
        for a, b in itertools.pairwise(ends)
    )
    np.testing.assert_allclose(tt.risk(TASK, positions, outer, 0.3, width), expected, rtol=1e-11)


def test_integrals_in_closed_form() -> None:
    eta, (u, w) = 0.02, (0.4, 0.6)
    one = tt.PiecewiseConstant([1.0], [0.999], 0.0)
    square = tt.risk(one, [u], [1.0], 0.0, eta) + 2.0 * 0.001 - 0.001  # int sigma^2, as int sigma f* = int f* = 0.001
    np.testing.assert_allclose(square, 1.0 - u - 5.0 * eta / 56.0, atol=1e-14)
    both = tt.risk(one, [u, w], [1.0, 1.0], 0.0, eta) + 4.0 * 0.001 - 0.001
    np.testing.assert_allclose(both - square - (1.0 - w - 5.0 * eta / 56.0), 2.0 * (1.0 - w), atol=1e-14)


def test_floor_and_best_readout() -> None:
    np.testing.assert_allclose(tt.width_floor(TASK, 4e-3), 0.008, rtol=1e-14)
    np.testing.assert_allclose(tt.risk(TASK, TASK.positions, TASK.jumps, 1.0, 4e-3), 0.008, rtol=1e-12)
    best = tt.best_readout(TASK, TASK.positions, 4e-3)
    assert 0.99 * 0.008 < best.risk < 0.008
    np.testing.assert_allclose(tt.risk(TASK, TASK.positions, best.outer, best.bias, 4e-3), best.risk, rtol=1e-12)
    with jax.enable_x64(True):
        slope = jax.grad(lambda a, b: tt.risk(TASK, TASK.positions, a, b, 4e-3), (0, 1))(
            jnp.asarray(best.outer), jnp.asarray(best.bias)
        )
    np.testing.assert_allclose(np.concatenate([slope[0], [slope[1]]]), 0.0, atol=1e-12)


@pytest.mark.parametrize("box", [False, True])
def test_the_jacobian_is_that_of_the_field(box: bool) -> None:
    rng, m = np.random.default_rng(0), 5
    positions = np.array([0.001, 0.201, 0.341, 0.345, 0.9])
    with jax.enable_x64(True):
        y = jnp.asarray(np.concatenate([[0.3], rng.normal(size=m), positions]))
        field, linearise = flow._equations(TASK, m, 0.1, 0.02, box)
        jacobian = jax.jit(jax.jacfwd(lambda y: field(0.0, y)))(y)
        solve, _ = linearise(0.0, y, 0.01)
        inverse = np.stack([solve(one) for one in jnp.eye(2 * m + 1)], axis=1)
        found = (np.eye(2 * m + 1) - np.linalg.inv(inverse)) / 0.01
        np.testing.assert_allclose(found, jacobian, atol=1e-10 * np.abs(jacobian).max())
        if not box:
            slope = jax.grad(lambda y: tt.risk(TASK, y[m + 1 :], y[1 : m + 1], y[0], 0.02))(y)
            speed = np.array([10.0] * (m + 1) + [1.0] * m)
            np.testing.assert_allclose(field(0.0, y), -speed * slope, atol=1e-10)


def independent(ratio: float, width: float, start: np.ndarray, at: np.ndarray, box: bool) -> np.ndarray:
    """States (2 m + 1, K) by SciPy, with integrals of its own."""
    m = len(start)

    def field(_: float, y: np.ndarray) -> np.ndarray:
        outer, u = y[1 : m + 1], y[m + 1 :]
        ends = np.concatenate([[0.0, 1.0], TASK.positions, u, u - width / 2, u + width / 2])
        ends = np.unique(np.clip(ends, 0.0, 1.0))
        half = 0.5 * np.diff(ends)[:, None]
        x, weight = (ends[:-1, None] + half * (1.0 + GAUSS[0])).ravel(), (half * GAUSS[1]).ravel()
        z = (x[:, None] - u) / width
        value = sigmoid(z)[0]
        slope = np.where(np.abs(z) < 0.5, 1.0 if box else 12.0 * (0.5 - np.abs(z)) ** 2, 0.0) / width
        mass = weight * (y[0] + value @ outer - TASK.of(x))
        return np.concatenate(
            [[-2.0 / ratio * mass.sum()], -2.0 / ratio * (mass @ value), 2.0 * outer * (mass @ slope)]
        )

    begin = np.concatenate([np.zeros(m + 1), start])
    return solve_ivp(field, (0.0, at[-1]), begin, "LSODA", t_eval=at, rtol=1e-10, atol=1e-12).y


@pytest.mark.parametrize(("ratio", "last", "box"), [(1.0, 0.5, False), (0.05, 0.03, False), (0.002, 0.03, True)])
def test_the_flow_is_that_of_another_integrator(ratio: float, last: float, box: bool) -> None:
    start, at = np.sort(np.random.default_rng(3).random(8)), np.array([0.0, 0.2, 1.0]) * last
    algorithm = tt.Descent(ratio, 1e-4, 8, derivative="box" if box else "exact", positions=start)
    found = tt.predict(TASK, algorithm, theory="flow", at=at)
    states = independent(ratio, 4e-3, start, at, box)
    expected = [tt.risk(TASK, y[9:], y[1:9], y[0], 4e-3) for y in states.T]
    np.testing.assert_allclose(found.error, expected, atol=1e-6)
    np.testing.assert_allclose(found.positions, states[9:].T, atol=1e-6)


def test_a_small_ratio_ends_at_the_floor_after_the_hits_of_the_limit() -> None:
    start = np.array([0.05, 0.15, 0.22, 0.33, 0.36, 0.48, 0.53, 0.62, 0.67, 0.77, 0.84, 0.95])
    found = tt.predict(TASK, tt.GradientFlow(1e-6, positions=start), theory="flow", at=[0.0, 0.05])
    assert 0.99 * 0.008 < found.final_error < 0.008
    known = tt.limit_flow(TASK, start)
    assert known.valid
    # a neuron arrives when it is width/2 away, at the speed jump^2/4 or faster
    early = known.hit_times - found.hit_times
    assert np.all((early > -2e-4) & (early < 2.0 * 4e-3 / TASK.jumps**2))
    np.testing.assert_array_equal(found.covered, np.ones(5))


def test_descent_is_a_plain_loop_in_law() -> None:
    start, width, ratio, rate, steps = np.array([0.1, 0.45, 0.6]), 0.05, 0.05, 0.01, 1000
    task = tt.PiecewiseConstant([2.0], [0.5], 0.5, 0.5)
    runs = tt.simulate(
        task, tt.Descent(ratio, rate, 3, width, positions=start), at=[steps * rate * ratio], replicates=64
    )
    rng, ends = np.random.default_rng(0), []
    for _ in range(64):
        u, a, b = start.copy(), np.zeros(3), 0.0
        x, noise = rng.random(steps), rng.uniform(-0.5, 0.5, steps)
        for place in range(steps):
            z = (x[place] - u) / width
            value, slope, _ = sigmoid(z)
            push = 2.0 * (0.5 + 2.0 * (x[place] >= 0.5) + noise[place] - b - a @ value)
            u, a, b = u - rate * ratio * push * a * slope / width, a + rate * push * value, b + rate * push
        ends.append([b, *a, *u, tt.risk(task, u, a, b, width)])
    ends = np.array(ends)
    found = np.concatenate([runs.bias[:, -1:], runs.outer[:, -1], runs.positions[:, -1], runs.error[:, -1:]], axis=1)
    error = np.sqrt((ends.var(axis=0) + found.var(axis=0)) / 64)
    assert np.all(np.abs(found.mean(axis=0) - ends.mean(axis=0)) <= 4.0 * error)
    np.testing.assert_allclose(found.std(axis=0), ends.std(axis=0), rtol=0.4)


def test_descent_follows_the_flow_as_its_rate_falls() -> None:
    start = np.sort(np.random.default_rng(0).random(8))
    for derivative in ("exact", "box"):
        algorithm = tt.Descent(0.01, 1e-4, 8, 0.02, derivative, start)
        runs = tt.simulate(TASK, algorithm, at=[0.0, 0.002, 0.01], replicates=8)
        known = tt.predict(TASK, algorithm, theory="flow", at=[0.0, 0.002, 0.01])
        np.testing.assert_allclose(runs.error.mean(axis=0), known.error, rtol=0.02)
        np.testing.assert_allclose(runs.positions[:, -1].mean(axis=0), known.positions[-1], atol=2e-3)


@pytest.mark.slow
def test_few_neurons_at_a_small_ratio_end_where_the_limit_does() -> None:
    algorithm = tt.Descent(1e-4, 2e-4, 8)
    runs = tt.simulate(TASK, algorithm, at=[0.2], replicates=16, key=jax.random.key(8))
    limit = tt.predict(TASK, algorithm, given=runs)
    assert limit.final_error.max() > 0.2  # some starts fail in the limit, and so do their runs
    assert np.sum(np.abs(runs.final_error - limit.final_error) <= 0.02) >= 15


def test_runs_do_not_depend_on_where_one_looks() -> None:
    algorithm = tt.Descent(0.1, 0.01, 4, 0.02)
    few = tt.simulate(TASK, algorithm, at=[6.5], replicates=2)
    many = tt.simulate(TASK, algorithm, at=np.linspace(0.0, 6.5, 14), replicates=range(1, 2))
    np.testing.assert_allclose(many.positions[0, -1], few.positions[1, -1], rtol=1e-9)
    np.testing.assert_array_equal(many.hit_times[0], few.hit_times[1])
    np.testing.assert_allclose(many.positions[0, 0], few.start[1])


def test_hit_times_are_those_of_the_steps_whatever_is_recorded() -> None:
    algorithm, start = tt.GradientFlow(1e-3, neurons=4), {"positions": [[0.1, 0.4, 0.5, 0.9]]}
    coarse, fine = (
        tt.predict(TASK, algorithm, theory="flow", given=start, at=np.linspace(0.0, 0.05, count)) for count in (2, 4001)
    )
    np.testing.assert_allclose(coarse.hit_times, fine.hit_times, rtol=1e-6)
    apart = np.abs(np.asarray(fine.positions)[0][:, :, None] - np.asarray(TASK.positions)).min(axis=1)
    inside = apart <= 0.5 * algorithm.width
    assert inside.any(axis=0).sum() >= 3
    for jump, when in enumerate(fine.hit_times[0]):
        if not inside[:, jump].any():
            assert when == np.inf
            continue
        first = int(inside[:, jump].argmax())
        assert fine.at[max(first - 1, 0)] <= when <= fine.at[first]
