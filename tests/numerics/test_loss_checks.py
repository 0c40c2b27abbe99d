"""A user's loss: from its value alone it is what closed forms say; one that says something wrong is refused."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.attention import sparse_tokens as st
from solvable.numerics import Hinge, Logistic, Loss, ridge_erm
from solvable.numerics.bisection import bisect
from solvable.numerics.losses import get_loss
from tests.numerics.smooth_hinge import SmoothHinge


class Softplus(Loss):
    """The logistic loss, of which only the value is said; steeper by a factor."""

    steepness: float = 1.0

    def value(self, t):
        return jax.nn.softplus(-self.steepness * t)


class SquaredHinge(Loss):
    """The value, with constants of NumPy."""

    def value(self, t):
        return np.float64(0.5) * jnp.maximum(np.array(1.0) - t, 0.0) ** 2


class Corner(Loss):
    """The hinge's value."""

    def value(self, t):
        return jnp.maximum(1.0 - t, 0.0)


class TwiceTheWidth(SquaredHinge):
    """A prox that is off by a factor 2."""

    def prox(self, z, variance):
        return jnp.where(z < 1.0, (z + 2.0 * variance) / (1.0 + 2.0 * variance), z)


class Bisected(SquaredHinge):
    """A prox that is right and has the wrong derivative."""

    def prox(self, z, variance):
        return bisect(lambda t: t - z + variance * self.slope(t) < 0, z - 1e3, z + 1e4 + 0.0 * variance, 80)


class TwiceTheSlope(SquaredHinge):
    def slope(self, t):
        return -2.0 * jnp.maximum(1.0 - t, 0.0)


class TwiceTheCurvature(SquaredHinge):
    def curvature(self, t):
        return jnp.where(t < 1.0, 2.0, 0.0)


class Ramp(Loss):
    """A loss that is not convex."""

    def value(self, t):
        return jax.nn.sigmoid(-t)


class Wavy(Loss):
    def value(self, t):
        return 0.005 * (1.0 - t) ** 2 + 0.1 * jnp.cos(t)


class Barrier(Loss):
    def value(self, t):
        return -jnp.log(t)


class Summed(Loss):
    def value(self, t):
        return jnp.sum(t)


class HalfMoments(Hinge):
    def prox_moments(self, margin, spread, variance, shift):
        found = super().prox_moments(margin, spread, variance, shift)
        return found._replace(slope=0.5 * found.slope)


class OwnHinge(Hinge):
    """Closed forms of one's own that are right."""


class Made(Loss):
    """A value by a function."""

    function: Any = eqx.field(static=True)

    def value(self, t):
        return self.function(t)


class MadeWithProx(Made):
    def prox(self, z, variance):
        return jnp.zeros(3)


class Factor(SmoothHinge):
    """Closed forms, times a factor."""

    factor: float = 1.0

    def value(self, t):
        return self.factor * super().value(t)

    def slope(self, t):
        return self.factor * super().slope(t)

    def curvature(self, t):
        return self.factor * super().curvature(t)

    def prox(self, z, variance):
        return super().prox(z, self.factor * variance)


class WrongFactor(Factor):
    def prox(self, z, variance):
        return super().prox(z, 1.5 * variance)


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (TwiceTheWidth(), r"has prox\(z=.*\) = .* leaves prox \+ V slope\(prox\) = z open by"),
        (Bisected(), r"has prox\(.*whose derivative by z is"),
        (TwiceTheSlope(), "has the slope .* where its value rises by"),
        (TwiceTheCurvature(), "has the curvature 2 at .* where its slope rises by 1 "),
        (Ramp(), "is not convex at t="),
        (Wavy(), "is not convex at t="),
        (Barrier(), "has the value nan at t=.*finite numbers"),
        (Summed(), r"has a value of shape \(\)"),
        (Corner(), "has a kink at t=1 and no prox_moments of its own"),
        (HalfMoments(), "has prox_moments .* a sum over nodes is"),
        (Made(lambda t: np.maximum(1.0 - t, 0.0)), r"raises TracerArrayConversionError \(.*\) in value"),
        (Made(lambda t: 1.0 - t if t < 1 else 0.0), r"raises ValueError \(The truth value of an array.*\) in value"),
        (Made(lambda t: jnp.sign(t).astype(int)), r"has a value of shape \(400,\) and dtype int"),
        (Made(lambda t: None), "has a value of NoneType for arguments"),
        (Made(lambda t: 1j * t.astype(complex)), "has a value of .* and dtype complex128"),
        (Made(lambda t: jax.nn.softplus(-t.astype(jnp.float32))), "has a value of .* and dtype float32"),
        (
            Made(lambda t: jax.nn.softplus(-t.astype(jnp.float32)).astype(t.dtype)),
            "is convex up to the rounding of single precision",
        ),
        (MadeWithProx(lambda t: jax.nn.softplus(-t)), r"has a prox of shape \(3,\) and dtype float64 for arguments"),
        (WrongFactor(0.5, 1e-200), r"has prox\("),
        (WrongFactor(0.5, 1e200), r"has prox\("),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Loss) else "",
)
def test_a_loss_that_says_something_wrong_is_refused(loss, match):
    for _ in range(2):  # what was refused is not remembered as passed
        with pytest.raises(ValueError, match=f"loss={type(loss).__name__} {match}") as caught:
            st.PooledLinear(loss)
        assert "accepted" in str(caught.value)


@pytest.mark.parametrize("factor", [1e-300, 1e-7, 1e7, 1e100])
def test_a_factor_of_a_loss_does_not_decide(factor):
    for loss in (Factor(0.5, factor), Made(lambda t: factor * jax.nn.softplus(-t))):
        assert get_loss(loss) is loss
    with pytest.raises(ValueError, match="is not convex at t="):
        get_loss(Made(lambda t: factor * jax.nn.sigmoid(-t)))


def test_losses_that_fit_pass_also_inside_a_transformation():
    for loss in (SmoothHinge(), SmoothHinge(0.05), OwnHinge(), Softplus(), Softplus(3.0), SquaredHinge()):
        assert get_loss(loss) is loss
    with pytest.raises(ValueError, match="prox"):
        jax.jit(lambda ridge: st.PooledLinear(TwiceTheWidth(), ridge).ridge)(0.1)
    with pytest.raises(ValueError, match="prox"):
        ridge_erm(jnp.eye(2), jnp.array([1.0, -1.0]), TwiceTheWidth(), jnp.array(0.1))


def test_the_value_alone_is_enough():
    """Slope, curvature, prox and its derivatives of the logistic loss, over the range of its own closed forms."""
    with jax.enable_x64(True):
        z, width = jnp.meshgrid(jnp.linspace(-50.0, 50.0, 41), 10.0 ** jnp.linspace(-8.0, 9.0, 18))
        t = jnp.linspace(-30.0, 30.0, 41)

        def parts(loss):
            by_both = [jax.jvp(loss.prox, (z, width), tangent)[1] for tangent in ((z, 0 * z), (0 * z, width))]
            return loss.slope(t), loss.curvature(t), loss.prox(z, width), *by_both

        for own, known in zip(jax.jit(parts)(Softplus()), jax.jit(parts)(Logistic()), strict=True):
            np.testing.assert_allclose(own, known, rtol=1e-10, atol=1e-10)
        # by what the loss is made of, against a difference
        prox = jax.jit(lambda steepness: Softplus(steepness).prox(jnp.array(0.3), jnp.array(2.0)))
        slope = (prox(1.5 + 1e-5) - prox(1.5 - 1e-5)) / 2e-5
        assert float(jax.grad(prox)(1.5)) == pytest.approx(float(slope), rel=1e-8)


@pytest.mark.slow
def test_theory_and_runs_of_a_value_alone():
    """The numbers of the logistic loss; NumPy's constants, of double precision, in the single precision of a fit."""
    task, rule = st.SparseTokens(), st.Quadrature(2**8, 1)
    options = {"ratio": 2.0, "dim": 100, "replicates": 2, "key": jax.random.key(0)}
    both = [st.PooledLinear(loss) for loss in (Softplus(), "logistic")]
    own, known = (st.predict(task, algorithm, ratio=2.0, quadrature=rule) for algorithm in both)
    for name, value in own.present().items():
        assert float(value) == pytest.approx(float(getattr(known, name)), rel=1e-9), name
    runs, known = (st.simulate(task, algorithm, **options) for algorithm in both)
    np.testing.assert_allclose(runs.test_error, known.test_error, rtol=1e-6)
    with jax.numpy_dtype_promotion("standard"):  # JAX's own, which tests make strict
        assert st.simulate(task, st.PooledLinear(SquaredHinge()), **options).result.tolist() == [0, 0]
