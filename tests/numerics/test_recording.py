"""Recording: the steps and times accepted, the loop that stops at each, slopes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.numerics.recording import log_log_slope, log_spaced, pick, recorded, recorded_steps, recorded_times


def test_steps() -> None:
    np.testing.assert_array_equal(recorded_steps([0, 2.0, 5], 5), [0, 2, 5])
    np.testing.assert_array_equal(recorded_steps(3, 5), [3])
    np.testing.assert_array_equal(recorded_steps(None, 5, [1, 5]), [1, 5])


@pytest.mark.parametrize("at", [[2, 1], [1, 1], [-1, 2], [6], [0.5], [], [[1]], ["a"], [np.nan], [[1], [2, 3]]])
def test_other_steps_are_refused(at) -> None:
    with pytest.raises(ValueError, match="accepted: increasing whole numbers from 0 to steps=5"):
        recorded_steps(at, 5)


def test_times() -> None:
    np.testing.assert_array_equal(recorded_times([0, 0.5, 0.5]), [0.0, 0.5, 0.5])
    for at in ([1.0, 0.5], [-1.0], [np.nan], [[1.0]]):
        with pytest.raises(ValueError, match="at "):
            recorded_times(at)


def test_the_loop_records_after_so_many_steps() -> None:
    def step(number, state):
        return state * 2 + number

    last, path = jax.jit(lambda stops: recorded(step, jnp.asarray(1), stops))(jnp.array([0, 1, 4]))
    by_hand = [1]
    for number in range(4):
        by_hand.append(2 * by_hand[-1] + number)
    np.testing.assert_array_equal(path, [by_hand[0], by_hand[1], by_hand[4]])
    assert last == by_hand[4]
    assert pick({"a": np.arange(3)}, 1) == {"a": 1}


def test_slopes_and_spacing() -> None:
    x = np.array([1.0, 10.0, 100.0])
    np.testing.assert_allclose(log_log_slope(x, np.stack([x**-2, 3 * x**0.5])), [-2.0, 0.5])
    np.testing.assert_array_equal(log_spaced(0.1, 100, 3), [1, 10, 100])
