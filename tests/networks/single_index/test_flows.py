"""The flows against independent integrations, and their symmetries."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from solvable.networks import single_index as si

TARGET, ACTIVATION = (0.6, 0.8, 0.6, 0.5), (0.4, 0.5, 0.3, 0.2)
OUTER = np.random.default_rng(0).uniform(-1.0, 1.0, 24)


def mean_field(eps, at, outer=OUTER, target=TARGET, activation=ACTIVATION):
    flow = si.GradientFlow(eps, activation, len(outer), outer)
    return si.predict(si.SingleIndex(target), flow, theory="mean_field", at=at)


def written_out(eps, outer, target=TARGET, activation=ACTIVATION):
    """The mean-field equations, term by term."""
    m = len(outer)

    def field(_, state):
        a, s = state[:m], state[m:]
        rho = [phi - sigma * np.mean(a * s**k) for k, (phi, sigma) in enumerate(zip(target, activation, strict=True))]
        grown = sum(sigma * rho[k] * s**k for k, sigma in enumerate(activation)) / eps
        moved = sum(k * sigma * rho[k] * s ** (k - 1) for k, sigma in enumerate(activation) if k)
        return np.concatenate([grown, a * (1.0 - s * s) * moved])

    return field


@pytest.mark.parametrize(("eps", "method"), [(1e-2, "DOP853"), (1e-4, "Radau"), (1e-8, "Radau")])
def test_the_mean_field_flow_is_that_of_scipy(eps, method) -> None:
    at, m = np.geomspace(1e-2 * eps, 10.0, 61), len(OUTER)
    found = mean_field(eps, at)
    start = np.concatenate([OUTER, np.zeros(m)])
    atol = 1e-12 * np.concatenate([np.ones(m), np.full(m, math.sqrt(eps))])
    path = solve_ivp(written_out(eps, OUTER), (0.0, 10.0), start, method, at, rtol=1e-10, atol=atol).y
    rho = np.stack(
        [
            phi - sigma * np.mean(path[:m] * path[m:] ** k, axis=0)
            for k, (phi, sigma) in enumerate(zip(TARGET, ACTIVATION, strict=True))
        ]
    )
    assert np.abs(found.risk - 0.5 * (rho**2).sum(0)).max() < 2e-6
    assert np.abs(found.components - rho.T).max() < 2e-6
    for k in range(4):  # the last time read off a fine path, to its grid
        late = at[np.abs(rho[k]) > 0.5 * TARGET[k]][-1]
        assert late <= found.learning_times[k] < late * (at[1] / at[0]) * (1.0 + 1e-9)


def test_learning_times_do_not_depend_on_where_one_looks() -> None:
    few, many = mean_field(1e-5, [10.0]), mean_field(1e-5, np.geomspace(1e-7, 10.0, 301))
    np.testing.assert_allclose(few.learning_times, many.learning_times, rtol=1e-6)


def test_it_works_to_the_smallest_ratio_and_no_further() -> None:
    found = mean_field(1e-12, [1e-11, 1e-7, 1e-4, 1.0])
    np.testing.assert_allclose(
        found.learning_times[:2],
        si.learning_times(si.SingleIndex(TARGET), si.GradientFlow(1e-12, ACTIVATION, 24, OUTER)).times[:2],
        rtol=1e-3,
    )
    with pytest.raises(ValueError, match=r"rate_ratio=1e-13 is below"):
        mean_field(1e-13, [1.0])


def test_overlaps_are_the_flow_of_weights_with_exact_gaussian_integrals() -> None:
    """m = 3, d = 4, relu: gradients of the risk in the weights by automatic differentiation of closed forms."""
    eps, at, m, dim = 1e-2, np.geomspace(1e-3, 2.0, 9), 3, 4
    task, outer = si.SingleIndex("relu"), np.array([1.0, -0.5, 0.3])
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(m, dim))
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    given = {"outer": outer[None], "alignment": weights[None, :, 0], "gram": (weights @ weights.T)[None]}
    found = si.predict(task, si.GradientFlow(eps, "relu", m, outer), given=given, at=at)

    def kernel(r):
        inside = jnp.clip(r, -1.0 + 1e-15, 1.0 - 1e-15)
        return (jnp.sqrt(1 - inside**2) + inside * (jnp.pi - jnp.arccos(inside))) / (2 * jnp.pi)

    def risk(a, u):
        pairs = sum(2.0 * a[i] * a[j] * kernel(u[i] @ u[j]) for i in range(m) for j in range(i))
        return 0.25 - jnp.mean(a * kernel(u[:, 0])) + (pairs + 0.5 * a @ a) / (2 * m * m)

    slopes = jax.jit(jax.grad(risk, (0, 1)))

    def field(_, state):
        a, u = state[:m], state[m:].reshape(m, dim)
        down, turn = (np.asarray(one) for one in slopes(jnp.asarray(a), jnp.asarray(u)))
        across = turn - (turn * u).sum(1, keepdims=True) * u
        return np.concatenate([-m * down / eps, (-m * across).ravel()])

    with jax.enable_x64(True):
        path = solve_ivp(
            field, (0.0, 2.0), np.concatenate([outer, weights.ravel()]), "DOP853", at, rtol=1e-11, atol=1e-13
        ).y
        direct = [float(risk(jnp.asarray(y[:m]), jnp.asarray(y[m:].reshape(m, dim)))) for y in path.T]
    assert np.abs(found.risk[0] - direct).max() < 1e-8
    assert np.abs(found.outer[0] - path[:m].T).max() < 1e-8
    assert np.abs(found.alignment[0] - path[m::dim].T).max() < 1e-8


def test_large_weights_of_both_signs_stay_on_the_sphere() -> None:
    """Against descent of the same equations by small steps that end on the sphere; lengths alone would run away."""
    m, dim, at, target, activation = 3, 9, [0.1, 0.5, 1.0, 2.0], np.array(TARGET), np.array(ACTIVATION)
    outer, degrees = np.array([10.0, 20.0, -10.0]), np.arange(4)
    run = si.simulate(si.SingleIndex(TARGET), si.GradientFlow(1.0, ACTIVATION, m, outer), dim=dim, at=[0.0, *at])
    start = run.runs.start
    values, vectors = np.linalg.eigh(np.asarray(start.gram[0]) - np.outer(start.alignment[0], start.alignment[0]))
    u = np.concatenate([start.alignment[0][:, None], vectors * np.sqrt(np.maximum(values, 0.0))], axis=1)
    a, risks, size = outer.copy(), [], 1e-4
    for step in range(round(at[-1] / size) + 1):
        gram, s = u @ u.T, u[:, 0]
        powers, pairs = s[:, None] ** degrees, gram[..., None] ** degrees
        if any(abs(step * size - one) < 1e-9 for one in at):
            square = a @ (pairs @ activation**2) @ a / (2 * m * m)
            risks.append(0.5 * target @ target - a @ powers @ (target * activation) / m + square)
        inner = (a / m) * (pairs[..., :-1] @ (degrees * activation**2)[1:])
        toward = -inner @ u
        toward[:, 0] += powers[:, :-1] @ (degrees * target * activation)[1:]
        moved = u + size * a[:, None] * toward
        a = a + size * (powers @ (target * activation) - (pairs @ activation**2) @ a / m)
        u = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    np.testing.assert_allclose(run.risk[0, 1:], risks, rtol=5e-3)


@pytest.mark.parametrize("activation", ["tanh", ACTIVATION])
def test_overlaps_are_the_weights_in_full(activation) -> None:
    task, flow, at = si.SingleIndex(TARGET), si.GradientFlow(0.03, activation, 4), np.geomspace(0.01, 3.0, 9)
    run = si.simulate(task, flow, dim=6, at=at, replicates=2, full=True)
    found = si.predict(task, flow, given=run)
    assert np.abs(found.risk - run.risk).max() < 1e-8
    np.testing.assert_allclose(found.learning_times, run.learning_times, rtol=1e-6)
    assert found.status["risk"].claim == "exact"


def test_a_run_its_mapping_and_its_outcome_say_the_same() -> None:
    task, flow, at = si.SingleIndex(TARGET), si.GradientFlow(0.1, ACTIVATION, 3), [0.1, 1.0]
    run = flow.train(task, jax.random.key(3), at=at)
    start = {"outer": run.start.outer[None], "alignment": run.start.alignment[None], "gram": run.gram[None]}
    for known in (run, start):
        said = si.predict(task, flow, given=known, at=at)
        np.testing.assert_allclose(said.risk[0], run.risk, rtol=1e-12)
    again = flow.train(task, init=run.start, at=at)
    np.testing.assert_allclose(again.risk, run.risk, rtol=1e-8)
    alone = si.predict(task, flow, given={"outer": start["outer"]}, at=at)
    assert alone.theory == "mean_field"


def test_the_risk_is_a_gaussian_average_and_can_be_differentiated() -> None:
    rng = np.random.default_rng(2)
    weights, outer = rng.normal(size=(3, 4)), np.array([1.0, -2.0, 0.5])
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    x = rng.normal(size=(400_000, 4))
    for name, function in (
        ("relu", lambda z: np.maximum(z, 0.0)),
        ("tanh", np.tanh),
        ((0.1, 0.5, 0.2), lambda z: 0.1 + 0.5 * z + 0.2 * (z * z - 1) / math.sqrt(2)),
    ):
        squares = 0.5 * (np.tanh(x[:, 0]) - function(x @ weights.T) @ outer / 3.0) ** 2
        found = si.risk(si.SingleIndex("tanh"), name, outer, weights[:, 0], weights @ weights.T)
        assert abs(found - squares.mean()) < 4.0 * squares.std() / math.sqrt(len(x))

    def of(a, s, gram):
        return si.risk(si.SingleIndex(TARGET), "relu", a, s, gram)

    start = outer, weights[:, 0], weights @ weights.T
    with jax.enable_x64(True):
        slopes = [np.asarray(one) for one in jax.grad(of, (0, 1, 2))(*map(jnp.asarray, start))]
    assert all(np.isfinite(one).all() for one in slopes)
    step = 1e-6 * np.array([0.0, 1.0, 0.0])
    low, high = (float(of(start[0] + sign * step, *start[1:])) for sign in (-1.0, 1.0))
    assert abs((high - low) / 2e-6 - slopes[0][1]) < 1e-8


AT = np.geomspace(1e-3, 3.0, 25)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.02, 0.5), st.floats(0.5, 3.0))
def test_symmetries_of_the_flow(seed, eps, factor) -> None:
    """Signs, order and scale; |s| <= 1; the risk falls."""
    rng = np.random.default_rng(seed)
    outer, target = rng.uniform(-1.5, 1.5, 6), rng.uniform(0.2, 1.0, 4) * rng.choice([-1, 1], 4)
    one = mean_field(eps, AT, outer, target)
    assert np.abs(one.alignment).max() <= 1.0
    assert np.diff(one.risk).max() <= 1e-9
    turned = mean_field(eps, AT, -outer, -target)
    np.testing.assert_allclose(turned.risk, one.risk, atol=1e-7)
    np.testing.assert_allclose(turned.alignment, one.alignment, atol=1e-6)
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    mirrored = mean_field(eps, AT, outer, signs * target)
    np.testing.assert_allclose(mirrored.risk, one.risk, atol=1e-7)
    np.testing.assert_allclose(mirrored.alignment, -one.alignment, atol=1e-6)
    order = rng.permutation(6)
    np.testing.assert_allclose(mean_field(eps, AT, outer[order], target).alignment, one.alignment[:, order], atol=1e-6)
    scaled = mean_field(eps / factor**2, AT / factor**2, factor * outer, factor * target)
    np.testing.assert_allclose(scaled.alignment, one.alignment, atol=1e-5)
    np.testing.assert_allclose(scaled.components, factor * one.components, atol=1e-5)


@pytest.mark.parametrize("unit", [1e-9, 1e6])
def test_the_mean_field_flow_does_not_depend_on_the_unit_of_the_target(unit) -> None:
    outer, at = np.random.default_rng(0).uniform(-1.0, 1.0, 24), np.array([1e-3, 0.1, 1.0])
    one, other = (
        si.predict(
            si.SingleIndex(c * np.array(TARGET)), si.GradientFlow(1e-3 / c**2, ACTIVATION, 24, c * outer), at=at / c**2
        )
        for c in (1.0, unit)
    )
    np.testing.assert_allclose(other.alignment, one.alignment, atol=1e-8)
    np.testing.assert_allclose(np.asarray(other.components) / unit, one.components, atol=1e-8)
    np.testing.assert_allclose(np.asarray(other.learning_times) * unit**2, one.learning_times, rtol=1e-7)


def test_series_of_functions_with_kinks_claim_less_than_closed_forms() -> None:
    def claim(target, activation):
        task, flow = si.SingleIndex(target), si.GradientFlow(0.1, activation, 2)
        return si.predict(task, flow, given=si.simulate(task, flow, dim=5, at=[0.1])).status["risk"].claim

    assert claim("abs", "abs") == claim("relu", "relu") == claim(TARGET, "relu") == claim("tanh", "tanh") == "exact"
    assert claim("relu", "abs") == claim("relu", lambda x: np.maximum(x, 0.0)) == "asymptotic"
