"""The limit flow: hit times, pairs, any start, against quadrature, Runge-Kutta, and a flow at a finite ratio."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp

from solvable.networks import two_timescale as tt
from solvable.networks.two_timescale import limit as limits

TASK = tt.PiecewiseConstant()
DISTANCES = [(0.1, 0.2), (0.1, 0.1), (0.3, 0.31), (0.1, 0.100001), (1e-6, 0.5), (0.4, 1e-9)]


def starts(m: int, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, m))


@pytest.mark.parametrize(("x", "y"), DISTANCES)
def test_hit_times_are_the_integral(x: float, y: float) -> None:
    near, c = min(x, y), abs(x**3 - y**3)

    def speed(t: float) -> float:
        return (1.0 + t / np.cbrt(t**3 + c)) ** 2 if t > 0.0 else 1.0

    points = [p for p in np.cbrt(c) * np.array([0.1, 1.0, 10.0]) if p < near]
    edges = [0.0, *points, near]
    expected = sum(quad(speed, *ends, epsabs=0, epsrel=1e-12, limit=200)[0] for ends in itertools.pairwise(edges))
    np.testing.assert_allclose(tt.hit_time(x, y, 2.0), expected / 4.0, rtol=1e-10)
    assert tt.hit_time(x, y, -2.0) == tt.hit_time(y, x, 2.0) == tt.hit_time(x, y, 2.0)


def test_equal_distances_hit_together() -> None:
    np.testing.assert_allclose(tt.hit_time(0.1, 0.1, 4.0), 4.0 * 0.1 / 16.0, rtol=1e-15)
    path = tt.limit_flow(tt.PiecewiseConstant([4.0], [0.5]), [0.1, 0.3, 0.7, 0.9])
    np.testing.assert_allclose(path.hit_times, [4.0 * 0.2 / 16.0], rtol=1e-14)
    np.testing.assert_array_equal(path.final, [0.1, 0.5, 0.5, 0.9])
    np.testing.assert_allclose(path.at([path.hit_times[0] / 2.0])[0], [0.1, 0.4, 0.6, 0.9], atol=1e-14)


def test_hit_times_of_runge_kutta_with_small_steps() -> None:
    x, y, time, step = 0.021, 0.034, 0.0, 1e-6

    def slopes(x: float, y: float) -> tuple[float, float]:
        return -((4.0 * y / (x + y)) ** 2), -((4.0 * x / (x + y)) ** 2)

    while x > 2e-5:
        a = slopes(x, y)
        b = slopes(x + step / 2 * a[0], y + step / 2 * a[1])
        c = slopes(x + step / 2 * b[0], y + step / 2 * b[1])
        d = slopes(x + step * c[0], y + step * c[1])
        x += step / 6 * (a[0] + 2 * b[0] + 2 * c[0] + d[0])
        y += step / 6 * (a[1] + 2 * b[1] + 2 * c[1] + d[1])
        time += step
    np.testing.assert_allclose(tt.hit_time(0.021, 0.034, 4.0), time + tt.hit_time(x, y, 4.0), atol=1e-12)
    np.testing.assert_allclose(y**3 - x**3, 0.034**3 - 0.021**3, atol=1e-10)


def test_hit_times_are_differentiable() -> None:
    slopes = jax.grad(tt.hit_time, (0, 1, 2))(0.1, 0.2, 2.0)
    for place, slope in enumerate(slopes):
        up, down = [0.1, 0.2, 2.0], [0.1, 0.2, 2.0]
        up[place] += 1e-6
        down[place] -= 1e-6
        np.testing.assert_allclose(slope, (tt.hit_time(*up) - tt.hit_time(*down)) / 2e-6, rtol=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 30))
@settings(max_examples=15, deadline=None)
def test_the_error_never_grows_and_ends_where_it_says(seed: int, m: int) -> None:
    path = tt.limit_flow(TASK, starts(m, 1, seed)[0])
    times = np.concatenate([np.linspace(0.0, 0.1, 60), [1e6]])
    error = path.error(times)
    assert np.all(np.diff(error) <= 1e-11)
    np.testing.assert_allclose(error[-1], path.final_error, atol=1e-9)
    assert (path.final_error == 0.0) == bool(path.covered.all())
    assert np.all(np.diff(np.sort(path.at(times), axis=1), axis=1) >= 0.0)
    if path.valid:
        assert path.final_error == 0.0
        assert np.isfinite(path.hit_times).all()


@given(st.integers(0, 10**6), st.integers(2, 9), st.floats(0.1, 10.0))
@settings(max_examples=8, deadline=None)
def test_symmetries(seed: int, m: int, scale: float) -> None:
    start = starts(m, 1, seed)[0]
    path, times = tt.limit_flow(TASK, start), np.linspace(0.0, 0.05, 7)
    mirrored = tt.PiecewiseConstant(-TASK.jumps[::-1], (1.0 - TASK.positions)[::-1], 5.0)
    scaled = tt.PiecewiseConstant(-scale * TASK.jumps, TASK.positions, 0.3)
    order = np.random.default_rng(seed).permutation(m)
    np.testing.assert_allclose(tt.limit_flow(TASK, start[order]).at(times), path.at(times)[:, order], atol=1e-12)
    same = tt.limit_flow(mirrored, 1.0 - start)
    np.testing.assert_allclose(1.0 - same.at(times), path.at(times), atol=1e-6)
    same = tt.limit_flow(scaled, start)
    np.testing.assert_allclose(same.at(times / scale**2), path.at(times), atol=1e-8)
    np.testing.assert_allclose(same.final_error, scale**2 * path.final_error, atol=1e-7 * scale**2)


def test_velocities_are_minus_the_gradient_of_the_error() -> None:
    start, step = np.sort(starts(7, 1, 3)[0]), 1e-6
    path = tt.limit_flow(TASK, start)
    velocity = (path.at([1e-7])[0] - start) / 1e-7
    for j in range(7):
        up, down = start.copy(), start.copy()
        up[j] += step
        down[j] -= step
        slope = (tt.error(TASK, up) - tt.error(TASK, down)) / (2.0 * step)
        np.testing.assert_allclose(velocity[j], -slope, rtol=1e-4, atol=1e-4)


def test_pairs_followed_from_event_to_event_are_those_in_closed_form(monkeypatch) -> None:
    times = np.linspace(0.0, 0.1, 50)
    valid = [one for one in starts(24, 60, 1) if tt.limit_flow(TASK, one).valid][:6]
    assert len(valid) == 6
    exact = [tt.limit_flow(TASK, one) for one in valid]
    monkeypatch.setattr(limits._Path, "isolated", lambda self, i: False)
    for one, known in zip(valid, exact, strict=True):
        found = tt.limit_flow(TASK, one)
        np.testing.assert_allclose(found.error(times), known.error(times), atol=1e-9)
        np.testing.assert_allclose(found.hit_times, known.hit_times, atol=1e-9)


def test_a_border_cell_has_a_closed_form() -> None:
    # one neuron beside a jump at v, the border on the other side: (v + y)^3 falls at the rate 3 jump^2 v^2
    task, path = tt.PiecewiseConstant([2.0], [0.3]), tt.limit_flow(tt.PiecewiseConstant([2.0], [0.3]), [0.5, 0.9])
    hit = (0.5**3 - 0.3**3) / (3.0 * 4.0 * 0.3**2)
    np.testing.assert_allclose(path.hit_times, [hit], rtol=1e-9)
    np.testing.assert_allclose(
        path.at([hit / 2.0])[0], [np.cbrt(0.5**3 - 3.0 * 4.0 * 0.09 * hit / 2.0), 0.9], rtol=1e-9
    )
    np.testing.assert_allclose(tt.error(task, path.final), 0.0, atol=1e-15)


def test_two_jumps_in_one_cell_against_an_integration_that_crosses() -> None:
    # the neuron at 0.29 must cross the small jump at 0.3 on its way to the large one at 0.6
    task = tt.PiecewiseConstant([0.2, 4.0], [0.3, 0.6], 0.0)

    def velocity(_: float, u: np.ndarray) -> list[float]:
        edges = np.array([0.0, u[0], u[1], 1.0])
        beyond = np.maximum(edges[:, None] - task.positions, 0.0) @ task.jumps
        mean = np.diff(beyond) / np.diff(edges)
        return [(q - p) * (p + q - 2.0 * float(task.of(x))) for p, q, x in zip(mean, mean[1:], u, strict=False)]

    path = tt.limit_flow(task, [0.29, 0.95])
    assert path.hit_times[0] < path.hit_times[1]
    assert path.covered.tolist() == [False, True]
    end = 0.9 * path.hit_times[1]
    plain = solve_ivp(velocity, (0.0, end), [0.29, 0.95], rtol=1e-9, atol=1e-12, max_step=end / 1000)
    np.testing.assert_allclose(path.at([end])[0], plain.y[:, -1], atol=1e-4)


def test_a_neuron_at_rest_leaves_again() -> None:
    jumps, at = [-3.75373479, -1.42842476, 1.31473728, -4.78946352], [0.18322136, 0.40533538, 0.58187111, 0.67353995]
    path = tt.limit_flow(tt.PiecewiseConstant(jumps, at), [0.46501991, 0.82045253])
    times = np.linspace(0.0, 0.1, 2001)
    resting = np.abs(path.at(times)[:, 0] - at[1]) < 1e-12
    assert resting.sum() > 20
    assert not resting[-1]
    assert path.covered.tolist() == [True, False, False, True]
    assert np.all(np.diff(path.error(times)) <= 1e-11)


def test_a_neuron_that_returns_to_a_jump_at_once() -> None:
    task = tt.PiecewiseConstant([-3.27416735, -6.20910142, -3.94682293], [0.07551573, 0.55126853, 0.73450887])
    path = tt.limit_flow(task, [0.22212518, 0.80484294])
    np.testing.assert_array_equal(path.final, task.positions[1:])
    assert path.hit_times[0] == np.inf
    np.testing.assert_allclose(path.error([1e5]), path.final_error, rtol=1e-12)


def test_where_neurons_start() -> None:
    on = tt.limit_flow(TASK, TASK.positions)
    np.testing.assert_array_equal(on.hit_times, np.zeros(5))
    assert on.final_error == 0.0
    twins, alone = tt.limit_flow(TASK, [0.1, 0.4, 0.4, 0.7]), tt.limit_flow(TASK, [0.1, 0.4, 0.7])
    np.testing.assert_array_equal(twins.at([0.01])[:, [0, 1, 3]], alone.at([0.01]))
    np.testing.assert_allclose(twins.outer([0.01])[0, 1:3], alone.outer([0.01])[0, 1] / 2.0)
    tt.limit_flow(TASK, [0.0, 1.0])
    tt.limit_flow(TASK, [0.5])


def test_readouts_of_the_limit_are_the_best_ones() -> None:
    start = np.sort(starts(6, 1, 5)[0])
    path = tt.limit_flow(TASK, start)
    best = tt.best_readout(TASK, start, 1e-7)
    np.testing.assert_allclose(path.outer([0.0])[0], best.outer, atol=1e-4)
    np.testing.assert_allclose(path.bias([0.0])[0], best.bias, atol=1e-4)
    np.testing.assert_allclose(path.error([0.0])[0], best.risk, atol=1e-5)


def test_any_start_is_where_the_flow_at_a_small_ratio_goes() -> None:
    # none of these starts has two neurons in every piece; two thirds of them fail
    rows = np.sort(starts(6, 12, 11), axis=1)
    paths = [tt.limit_flow(TASK, one) for one in rows]
    assert not any(path.valid for path in paths)
    found = tt.predict(TASK, tt.GradientFlow(1e-5, 6), theory="flow", given={"positions": rows}, at=[0.0, 1.0])
    expected = np.array([path.error([1.0])[0] for path in paths]) + tt.width_floor(TASK, 4e-3)
    assert np.sum(np.abs(found.final_error - expected) <= 0.02) >= 11


def test_probabilities() -> None:
    rng, edges = np.random.default_rng(0), [0.0, *TASK.positions, 1.0]
    for m in (12, 20, 40):
        share = np.mean([np.all(np.histogram(rng.random(m), edges)[0] >= 2) for _ in range(4000)])
        np.testing.assert_allclose(tt.valid_probability(TASK, m), share, atol=4.0 * np.sqrt(0.25 / 4000))
    assert tt.valid_probability(TASK, 11) == 0.0
    np.testing.assert_allclose(tt.valid_probability(tt.PiecewiseConstant([1.0], [0.5]), 4), 6.0 / 16.0, rtol=1e-13)
    assert tt.valid_probability(TASK, 1000) == pytest.approx(1.0, abs=1e-12)


def test_success_is_a_share_with_its_interval() -> None:
    share = tt.success(TASK, 10, draws=60, key=jax.random.key(0))
    low, high = share.interval
    assert 0.0 < low < float(share) < high < 1.0
    assert abs(share - 0.767) < 4.0 * np.sqrt(0.767 * 0.233 / 60.0)  # that of 1000 draws
    assert tt.success(TASK, 10, draws=60, key=jax.random.key(0)) == share
    assert tt.success(TASK, 1, draws=5) == 0.0
    assert tt.success(TASK, 200, draws=5).interval[1] == 1.0
