"""Exponents, closed forms and floors against the flows that they summarise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from solvable.networks import single_index as si

TARGET, ACTIVATION = (0.6, 0.8, 0.6, 0.5), (0.4, 0.5, 0.3, 0.2)
OUTER = np.random.default_rng(0).uniform(-1.0, 1.0, 24)
TASK = si.SingleIndex(TARGET)


def solved(eps, task=TASK, activation=ACTIVATION, outer=OUTER, end=100.0):
    flow = si.GradientFlow(eps, activation, len(outer), outer)
    return si.predict(task, flow, theory="mean_field", at=[end]), si.learning_times(task, flow).times


@pytest.mark.parametrize(("eps", "within"), [(1e-3, 0.11), (1e-5, 0.01), (1e-8, 1e-3)])
def test_degrees_0_and_1_have_closed_forms(eps, within) -> None:
    found, known = solved(eps)
    assert abs(found.learning_times[0] / known[0] - 1.0) < (1e-4 if eps < 1e-4 else 2e-3)
    assert abs(found.learning_times[1] / known[1] - 1.0) < within
    assert np.isnan(known[3])


@pytest.mark.parametrize(("eps", "within"), [(1e-3, 0.03), (1e-5, 0.006), (1e-8, 1e-3)])
def test_degree_1_is_close_to_its_closed_form_where_degree_2_is_weak(eps, within) -> None:
    found, known = solved(eps, si.SingleIndex((0.6, 0.8, 0.3, 0.2)), (0.8, 0.5, 0.3, 0.2))
    assert abs(found.learning_times[1] / known[1] - 1.0) < within


def test_without_degree_0_of_the_activation_the_mean_square_takes_the_place_of_the_variance() -> None:
    task, outer = si.SingleIndex((0.0, 0.8, 0.6)), OUTER + 0.7
    found, known = solved(1e-11, task, (0.0, 0.5, 0.3), outer)
    assert abs(found.learning_times[1] / known[1] - 1.0) < 1e-3
    centred = math.sqrt(1e-11) * math.log(np.mean(outer**2) / outer.var()) / (2 * 0.5 * 0.8)
    assert centred > 0.05 * known[1]  # the two can be told apart


def test_degree_2_tends_to_its_blow_up() -> None:
    ratios = []
    for eps in (1e-6, 1e-9, 1e-12):
        found, known = solved(eps)
        ratios.append(found.learning_times[2] / known[2])
    assert ratios[0] < ratios[1] < ratios[2] < 1.0
    assert ratios[2] > 0.95


def test_the_blow_up_is_that_of_the_limit_equations() -> None:
    """Integrated in plain time up to large sizes, with the multipliers found by solving the two constraints."""
    g, m = ACTIVATION[2] * TARGET[2], len(OUTER)
    first = (OUTER - OUTER.mean()) * math.sqrt(TARGET[1] / (ACTIVATION[1] * OUTER.var()))

    def field(_, state):
        x, y = state[:m], state[m:]
        # mean x' = 0 and (mean x y)' = 0, linear in the two multipliers
        matrix = [[1.0, y.mean()], [y.mean(), (y * y).mean() + (x * x).mean()]]
        rest = [-g * (y * y).mean(), -g * (y**3).mean() - 2 * g * (x * x * y).mean()]
        zero, one = np.linalg.solve(matrix, rest)
        return np.concatenate([g * y * y + zero + one * y, x * (one + 2 * g * y)])

    def large(_, state):
        return np.abs(state).max() - 1e5

    large.terminal = True
    found = solve_ivp(field, (0.0, 100.0), np.concatenate([first, first]), "DOP853", events=large, rtol=1e-10)
    assert abs(si.blow_up(TASK, si.GradientFlow(1e-3, ACTIVATION, m, OUTER)) - found.t[-1]) < 1e-3


def test_scales_of_degrees_that_follow_or_skip() -> None:
    plain = si.stages(TARGET, ACTIVATION)
    np.testing.assert_allclose(plain.exponents, [1.0, 1 / 2, 1 / 4, 1 / 6])
    np.testing.assert_allclose(plain.plateaus, [0.625, 0.305, 0.125, 0.0])
    assert plain.after.tolist() == [-1, 0, 1, 2]
    skipped = si.stages((0.6, 0.8, 0.0, 0.5, 0.2), (*ACTIVATION, 0.1))
    np.testing.assert_allclose(skipped.exponents, [1.0, 0.5, np.nan, 0.0, 1 / 8])
    two = si.stages((0.6, 0.8, 0.0, 0.0, 0.5), (*ACTIVATION, 0.15))
    assert two.exponents[4] == -0.25
    stuck = si.stages((0.6, 0.0, 0.6), "relu")
    np.testing.assert_array_equal(stuck.exponents, [1.0, np.nan, np.inf])


def test_a_skipped_degree_delays_the_next() -> None:
    one, two = si.SingleIndex((0.6, 0.8, 0.0, 0.5)), si.SingleIndex((0.6, 0.8, 0.0, 0.0, 0.5))
    late = [solved(eps, one)[0].learning_times[3] for eps in (1e-8, 1e-10)]
    assert abs(late[0] / late[1] - 1.0) < 0.005
    later = [solved(eps, two, (*ACTIVATION, 0.15), end=1e4)[0].learning_times[4] for eps in (1e-8, 1e-9)]
    assert 1.75 < later[1] / later[0] < 1.9


def test_what_an_activation_lacks_is_the_floor_of_its_risk() -> None:
    target, activation = si.hermite_coefficients("tanh", 6), si.hermite_coefficients("relu", 6)
    found, known = solved(1e-4, si.SingleIndex(target), activation, end=1e4)
    floor = si.stages("tanh", "relu", 6).floor
    assert abs(floor - 0.0129729) < 1e-7
    assert abs(found.risk[0] - floor) < 1e-8
    np.testing.assert_array_equal(np.isinf(found.learning_times), np.isinf(known) & ~np.isnan(found.learning_times))
    whole = si.stages("tanh", "relu").floor  # of all odd degrees above 1
    slope = si.hermite_coefficients("tanh", 1)[1]
    x, weights = np.polynomial.hermite_e.hermegauss(150)
    square = weights @ np.tanh(x) ** 2 / math.sqrt(2 * math.pi)
    assert abs(whole - 0.5 * (square - slope**2)) < 1e-9


def test_without_degree_1_nothing_is_learnt_from_zero() -> None:
    found, known = solved(1e-3, si.SingleIndex((0.6, 0.0, 0.6)), ACTIVATION[:3])
    assert found.learning_times[2] == known[2] == np.inf
    with pytest.raises(ValueError, match="no stage 2"):
        si.blow_up(si.SingleIndex((0.6, 0.0, 0.6)), si.GradientFlow(1e-3, ACTIVATION))


def test_the_staircase_of_the_risk() -> None:
    flow = si.GradientFlow(1e-8, ACTIVATION, 24, OUTER)
    times = [1e-6, 1e-2, 0.04, 1.0]
    stairs = si.predict(TASK, flow, theory="stages", at=times)
    solved_ = si.predict(TASK, flow, theory="mean_field", at=times)
    np.testing.assert_allclose(stairs.risk, [0.625, 0.305, 0.125, np.nan])
    np.testing.assert_allclose(solved_.risk[:2], stairs.risk[:2], rtol=0.02)
    assert stairs.status["risk"].claim == "heuristic"


def test_times_in_stages_are_multiples_of_the_root_of_the_ratio() -> None:
    flow = si.GradientFlow(1e-4, ACTIVATION, 24, OUTER)
    one, other = si.predict(TASK, flow, at=[0.05]), si.predict(TASK, flow, at=[5.0], unit="stage")
    np.testing.assert_allclose(one.risk, other.risk, rtol=1e-9)
    assert (
        si.learning_times(si.SingleIndex((0.1, 0.8)), si.GradientFlow(1e-4, (0.4, 0.5), 2, [0.2, 0.3])).times[0] == 0.0
    )


def test_of_starts_without_stages_nothing_is_said() -> None:
    outer, eps = np.linspace(-1.0, 1.0, 12) + 0.13, 1e-3
    for factor in (100.0, 1e-4):  # t_1 would be 0; t_1 would be later than t_2
        found, known = solved(eps, outer=factor * outer)
        assert abs(known[0] / found.learning_times[0] - 1.0) < 0.01
        assert np.isnan(known[1:]).all()
    rows = {"outer": np.stack([np.ones(12), outer])}
    options = {"theory": "stages", "at": [1e-3, 0.02, 0.05, 0.2]}
    flow = si.GradientFlow(1e-4, ACTIVATION, 12)
    both = si.predict(TASK, flow, given=rows, **options).risk
    alone = si.predict(TASK, flow, given={"outer": rows["outer"][1:]}, **options).risk
    np.testing.assert_array_equal(both[1], alone[0])
    assert np.isnan(both[0, 1:]).all()
    assert not np.isnan(both[1]).any()
