"""What two-timescale networks refuse, in a sentence, and what they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from solvable.networks import two_timescale as tt

TASK = tt.PiecewiseConstant()
FLOW = tt.GradientFlow(0.01, 4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tt.PiecewiseConstant([1.0, 0.0], [0.2, 0.4]), "jumps holds 0"),
        (lambda: tt.PiecewiseConstant([1.0, 2.0], [0.4, 0.4]), "positions=[0.4, 0.4]"),
        (lambda: tt.PiecewiseConstant([1.0], [1.0]), "in (0, 1)"),
        (lambda: tt.PiecewiseConstant([1.0], [0.2, 0.4]), "positions has shape (2,)"),
        (lambda: tt.PiecewiseConstant([1.0], [0.2], 1e9), "bias=1e+09"),
        (lambda: tt.PiecewiseConstant([1.0], [0.2], noise=-1.0), "noise=-1"),
        (lambda: tt.PiecewiseConstant([np.nan], [0.2]), "jumps holds nan"),
        (lambda: tt.Descent(width=0.0), "width=0"),
        (lambda: tt.Descent(rate_ratio=0.0), "rate_ratio=0"),
        (lambda: tt.Descent(neurons=0), "neurons=0"),
        (lambda: tt.Descent(outer_rate=0.024), "outer_rate=0.024 diverges with 20 neurons"),
        (lambda: tt.Descent(derivative="relu"), "derivative='relu'"),
        (lambda: tt.Descent(positions="even"), "positions='even'"),
        (lambda: tt.Descent(positions=[[0.1]]), "positions has shape (1, 1)"),
        (lambda: tt.GradientFlow(0.1, 3, positions=[0.1, 0.2]), "neurons=3, and positions has 2"),
        (lambda: tt.simulate(TASK, tt.Descent(width=0.2)), "width=0.2 is wider than the smallest piece"),
        (lambda: tt.simulate(TASK, tt.Descent(2e-8, 1e-5)), "raise outer_rate"),
        (lambda: tt.simulate(TASK, tt.Descent(), at=[1e-11]), "before the first step"),
        (lambda: tt.predict(TASK, FLOW), "given=None"),
        (lambda: tt.predict(TASK, FLOW, given={"positions": [[0.1, 0.2]]}), "accepted: (R, 4)"),
        (lambda: tt.predict(TASK, FLOW, given={"positions": [[0.1, 0.2, 0.3, 1.2]]}), "positions holds 1.2"),
        (lambda: tt.width_floor(TASK, 0.2), "width=0.2 is wider"),
        (lambda: tt.limit_flow(TASK, [0.1, -0.1]), "positions holds -0.1"),
        (lambda: tt.limit_flow(TASK, []), "positions has shape (0,)"),
        (lambda: tt.hit_time(0.1, 0.2, 0.0), "jump holds 0"),
        (lambda: tt.hit_time(-0.1, 0.2, 1.0), "left holds -0.1"),
        (lambda: tt.risk(TASK, [0.1], [1.0, 2.0], 0.0, 0.01), "positions and outer have shapes"),
        (lambda: tt.valid_probability(TASK, 0), "neurons=0"),
        (lambda: tt.success(TASK, 5, draws=0), "draws=0"),
    ],
)
def test_refusals(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match="accepted") as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_minutes_of_a_long_run_are_told() -> None:
    with pytest.raises(ValueError, match=r"2e\+10 steps of 1 run\(s\), which takes about 1e\+02 minutes"):
        tt.simulate(TASK, tt.Descent(1e-7, 1e-5), at=[0.02])


def test_lists_tuples_and_ranges() -> None:
    task = tt.PiecewiseConstant((2,), (0.5,), 0)
    flow = tt.GradientFlow(1e-3, positions=(0.2, 0.4, 0.9), width=0.01)
    assert flow.neurons == 3
    found = tt.predict(task, flow, at=range(2))
    assert found.error.shape == (2,)
    assert found.positions.shape == (2, 3)
    assert found.covered.tolist() == [1.0]
    given = tt.predict(task, flow, at=(0, 1), given={"positions": ((0.2, 0.4, 0.9),)})
    np.testing.assert_array_equal(given.error, found.error[None])
    assert tt.limit_flow(task, (0.2, 0.4, 0.9)).error(range(2)).shape == (2,)


def test_an_array_of_positions_is_where_runs_start() -> None:
    start = [0.7, 0.1, 0.4]
    runs = tt.simulate(TASK, tt.Descent(0.01, 1e-3, positions=start), at=[0.0, 1e-3], replicates=2)
    np.testing.assert_array_equal(runs.start, [start, start])
    np.testing.assert_array_equal(runs.positions[:, 0], [start, start])
    assert not np.array_equal(runs.outer[0], runs.outer[1])


def test_steps_longer_than_the_width_are_heuristic() -> None:
    for ratio, claim in ((1.0, "heuristic"), (1e-3, "asymptotic")):
        algorithm = tt.Descent(ratio, 1e-5, 3, positions=[0.1, 0.4, 0.7])
        for theory in ("limit", "flow"):
            said = tt.predict(TASK, algorithm, theory=theory, at=[0.0]).status["error"].claim
            assert said == claim, (ratio, theory)
    exact = tt.predict(TASK, tt.GradientFlow(1.0, positions=[0.1, 0.4, 0.7]), theory="flow", at=[0.0])
    assert exact.status["error"].claim == "exact"


def test_a_law_of_targets() -> None:
    class Shifted(tt.PiecewiseConstant):
        def sample(self, key: Any = None) -> Any:
            return tt.PiecewiseConstant(self.jumps, self.positions + 0.05 * jax.random.uniform(key), self.bias)

    runs = tt.simulate(Shifted(), tt.GradientFlow(0.01, 3), at=[0.0, 0.01], replicates=2)
    assert runs.error[0, 0] != runs.error[1, 0]
    for place in range(2):
        problem = jax.tree.map(lambda leaf, place=place: leaf[place], runs.problem)
        np.testing.assert_allclose(tt.risk(problem, runs.start[place], np.zeros(3), 0.0, 4e-3), runs.error[place, 0])
