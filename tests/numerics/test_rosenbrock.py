"""The stiff integrator against closed forms, SciPy and its own order."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from solvable.numerics.results import Result
from solvable.numerics.rosenbrock import GAMMA, NODES, TIME, A, C, integrate


def dense(field, **options):
    """`integrate` with the Jacobian and the time derivative by automatic differentiation."""

    def linearise(t, y, shift):
        matrix = jnp.eye(y.shape[0]) - shift * jax.jacfwd(field, 1)(t, y)
        return lambda b: jnp.linalg.solve(matrix, b), jax.jvp(lambda t: field(t, y), (t,), (jnp.ones_like(t),))[1]

    @jax.jit
    def run(start, times):
        return integrate(field, linearise, start, times, 1e-3, **options)

    def call(start, times):
        with jax.enable_x64(True):
            return jax.tree_util.tree_map(
                np.asarray, run(jnp.asarray(start, jnp.float64), jnp.asarray(times, jnp.float64))
            )

    return call


def test_the_coefficients_meet_the_conditions_of_order() -> None:
    """In the untransformed form (alpha, gamma) = (A G, G^-1's) the row sums are the nodes and the time weights."""
    stages = len(A)
    mixed = np.zeros((stages, stages))
    for i, row in enumerate(C):
        mixed[i, : len(row)] = row
    inverse = np.eye(stages) / GAMMA - mixed
    gammas = np.linalg.inv(inverse)
    weights = np.zeros((stages, stages))
    for i, row in enumerate(A):
        weights[i, : len(row)] = row
    alphas = weights @ gammas
    np.testing.assert_allclose(alphas.sum(axis=1), NODES, atol=1e-12)
    np.testing.assert_allclose(gammas.sum(axis=1), TIME, atol=1e-12)
    step = np.append(A[-1], 1.0) @ gammas
    beta, nodes = alphas + gammas, np.asarray(NODES)
    assert step.sum() == pytest.approx(1.0, abs=1e-12)
    ones = np.ones(stages)
    for power in (1, 2, 3, 4):
        # b (alpha 1)^k = 1/(k+1) and, for linear problems, b (alpha + gamma)^k 1 = 1/(k+1)!
        assert step @ nodes**power == pytest.approx(1.0 / (power + 1), abs=1e-11)
        factorial = np.prod(np.arange(1, power + 2))
        assert step @ np.linalg.matrix_power(beta, power) @ ones == pytest.approx(1.0 / factorial, abs=1e-11)


def test_a_stiff_oscillator_agrees_with_scipy() -> None:
    def van_der_pol(t, y):
        del t
        return jnp.stack([y[1], 1e3 * (1.0 - y[0] ** 2) * y[1] - y[0]])

    times = np.array([0.0, 100.0, 500.0, 500.0, 800.0, 1000.0])
    found = dense(van_der_pol)([2.0, 0.0], times)
    reference = solve_ivp(
        lambda t, y: [y[1], 1e3 * (1 - y[0] ** 2) * y[1] - y[0]],
        (0, 1000),
        [2.0, 0.0],
        "Radau",
        rtol=1e-11,
        atol=1e-13,
        t_eval=np.unique(times),
    )
    assert found.result == Result.SUCCESSFUL
    np.testing.assert_allclose(found.states[[0, 1, 2, 4, 5], 0], reference.y[0], rtol=1e-6)
    np.testing.assert_array_equal(found.states[2], found.states[3])
    assert found.steps < 1500


def test_time_in_the_field_and_the_error_follow_the_tolerance() -> None:
    def driven(t, y):
        return -50.0 * (y - jnp.cos(t)) - jnp.sin(t)

    times = np.linspace(0.0, 3.0, 7)
    errors = []
    for rtol in (1e-4, 1e-7, 1e-10):
        found = dense(driven, rtol=rtol, atol=rtol)([1.0], times)
        errors.append(np.abs(found.states[:, 0] - np.cos(times)).max())
    assert errors[0] < 1e-4
    assert errors[1] < 1e-7
    assert errors[2] < 1e-10


def test_an_explosion_and_too_few_steps_are_told() -> None:
    blown = dense(lambda t, y: y**2 + 0.0 * t)([1.0], [0.5, 2.0])
    assert blown.result == Result.NONFINITE
    assert blown.states[0, 0] == pytest.approx(2.0, rel=1e-6)
    assert np.isnan(blown.states[1, 0])
    short = dense(lambda t, y: jnp.cos(100.0 * t) + 0.0 * y, max_steps=20)([0.0], [0.01, 100.0])
    assert short.result == Result.MAX_STEPS
    assert np.isfinite(short.states[0, 0])
    assert np.isnan(short.states[1, 0])


def test_it_can_be_differentiated_forwards() -> None:
    def run(rate):
        def linearise(t, y, shift):
            del t
            return lambda b: b / (1.0 + shift * rate), jnp.zeros_like(y)

        return integrate(lambda t, y: -rate * y, linearise, jnp.ones(1), jnp.ones(1), 1e-3).states[0, 0]

    with jax.enable_x64(True):
        value, slope = jax.jvp(run, (jnp.asarray(2.0),), (jnp.asarray(1.0),))
        np.testing.assert_allclose([value, slope], [np.exp(-2.0), -np.exp(-2.0)], rtol=1e-6)


@pytest.mark.parametrize("which", ["first", "last"])
def test_sign_changes_are_located_inside_steps(which) -> None:
    def linearise(_, __, shift):
        matrix = jnp.eye(2) - shift * jnp.array([[0.0, 1.0], [-1.0, 0.0]])
        return functools.partial(jnp.linalg.solve, matrix), jnp.zeros(2)

    def watch(t, y):
        return jnp.array([y[0] - 0.25, y[1], t - 7.7, y[0] - 2.0])

    with jax.enable_x64(True):
        options = {"rtol": 1e-9, "atol": 1e-11, "watch": watch, "which": which}
        start, times = jnp.array([0.0, 1.0]), jnp.array([3.0, 20.0])
        found = integrate(lambda _, y: jnp.array([y[1], -y[0]]), linearise, start, times, 1e-3, **options)
        plain = integrate(lambda _, y: jnp.array([y[1], -y[0]]), linearise, start, times, 1e-3, rtol=1e-9, atol=1e-11)
    low = float(np.arcsin(0.25))
    exact = [low, np.pi / 2, 7.7] if which == "first" else [6 * np.pi + low, 5.5 * np.pi, 7.7]
    np.testing.assert_allclose(found.crossings[:3], exact, rtol=1e-7)
    assert np.isnan(found.crossings[3])
    np.testing.assert_array_equal(found.states, plain.states)
    assert plain.crossings is None


def test_a_sign_change_decades_before_the_end_is_as_accurate() -> None:
    """y' = -y/eps crosses 1/2 at eps log 2, whatever the times asked for."""
    with jax.enable_x64(True):
        found = integrate(
            lambda _, y: -y / 1e-9,
            lambda _, __, shift: ((lambda b: b / (1.0 + shift / 1e-9)), jnp.zeros(1)),
            jnp.ones(1),
            jnp.array([100.0]),
            1e-12,
            rtol=1e-8,
            watch=lambda _, y: y - 0.5,
        )
    np.testing.assert_allclose(found.crossings, [1e-9 * np.log(2.0)], rtol=1e-7)
