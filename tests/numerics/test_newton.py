"""Bisection and damped Newton: against roots and minima that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.numerics.bisection import bisect
from solvable.numerics.newton import backtrack, newton


class Arctangents:
    """arctan(x) = shift: from a far start Newton's full steps fly off."""

    def __init__(self, shift, reach):
        self.shift, self.limit = jnp.asarray(shift), reach

    def residual_and_jacobian(self, x):
        return jnp.arctan(x) - self.shift, jnp.diag(1.0 / (1.0 + x * x))

    def scale(self, x):
        return jnp.ones_like(x)

    def reach(self, x):
        return jnp.full_like(x, self.limit)


@pytest.mark.parametrize("reach", [1.0, np.inf])
def test_newton_comes_from_far(reach):
    with jax.enable_x64(True):
        shift = np.array([0.3, -1.0])
        found = jax.jit(lambda x: newton(Arctangents(shift, reach), x, 60, 1e-13))(jnp.array([8.0, 5.0]))
        np.testing.assert_allclose(found.x, np.tan(shift), rtol=1e-12)
        assert found.norm <= 1e-13


def test_newton_says_how_it_ended():
    with jax.enable_x64(True):
        short = newton(Arctangents([0.3], 1.0), jnp.array([50.0]), 5, 1e-13)
        assert (int(short.turns), bool(short.stalled)) == (5, False)
        assert short.norm > 1e-13
        rootless = newton(Arctangents([2.0], 1.0), jnp.array([1.0]), 200, 1e-13)
        assert rootless.norm > 0.4
        lost = newton(Arctangents([np.nan], 1.0), jnp.array([1.0]), 200, 1e-13)
        assert (int(lost.turns), bool(lost.stalled)) == (1, True)


def test_bisection_elementwise_under_jit_and_vmap():
    with jax.enable_x64(True):
        squares = jnp.array([0.25, 2.0, 9.0])
        ends = jnp.zeros(3), jnp.full(3, 4.0)
        together = jax.jit(lambda: bisect(lambda x: x * x < squares, *ends, 60))()
        np.testing.assert_allclose(together, np.sqrt(squares), rtol=1e-15)
        alone = jax.vmap(lambda square: bisect(lambda x: x * x < square, jnp.zeros(()), jnp.full((), 4.0), 60))(squares)
        np.testing.assert_array_equal(alone, together)
        coarse = bisect(lambda x: x < 0.3, jnp.zeros(()), jnp.ones(()), 3)
        assert abs(float(coarse) - 0.3) <= 2.0**-4


def test_backtracking_is_armijos():
    with jax.enable_x64(True):

        def along(length):  # down at first, up from a quarter on
            return (length - 0.2) ** 2

        lengths = 0.5 ** np.arange(10)
        first = lengths[np.argmax(along(lengths) <= 0.04 - 1e-4 * 0.4 * lengths)]
        assert float(backtrack(along, jnp.array(0.04), -0.4, 0.0, 1e-8)) == first < 1.0
        assert float(backtrack(along, jnp.array(0.04), -0.4, 1.0, 1e-8)) == 1.0
        assert float(backtrack(lambda length: length * jnp.nan, jnp.array(0.0), -1.0, 0.0, 1e-3)) <= 1e-3
