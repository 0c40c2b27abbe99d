"""Gaussian averages: special functions, the shifted trapezoid that sharp steps cannot fool, quasi-random points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import norm

from solvable.numerics import gaussian


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def shifted_average(function, shifts):
    """The trapezoid rule for E f(G), at every shift."""
    nodes, weights = jax.vmap(gaussian.shifted_node, (None, 0), 1)(
        jnp.asarray(shifts), jnp.asarray(gaussian.NODE_STEPS)
    )
    return np.sum(np.asarray(weights) * function(np.asarray(nodes)), axis=1)


def test_distribution_and_density_against_scipy():
    x = np.linspace(-40.0, 40.0, 2001)
    np.testing.assert_allclose(gaussian.normal_cdf(jnp.asarray(x)), ndtr(x), rtol=0, atol=2e-16)
    np.testing.assert_allclose(gaussian.normal_pdf(jnp.asarray(x)), norm.pdf(x), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize(("x", "scale"), [(0.0, 1.0), (0.7, 0.3), (-2.0, 1.5), (30.0, 2.0), (-0.01, 1e-3), (-9.0, 1.0)])
def test_positive_part_square_against_quadrature(x, scale):
    start = max(-x / scale, -12.0)
    expected = quad(
        lambda g: (x + scale * g) ** 2 * norm.pdf(g), start, start + 24.0, epsabs=0, epsrel=1e-12, limit=200
    )
    got = gaussian.positive_part_square(jnp.array(x), jnp.array(scale))
    np.testing.assert_allclose(got, expected[0], rtol=1e-12, atol=1e-15 * (x * x + scale * scale))


@pytest.mark.parametrize(
    ("function", "tolerance"),
    [(np.ones_like, 2e-7), (np.cos, 2e-5), (lambda g: np.logaddexp(0.0, -g), 6e-6)],
    ids=["constant", "cosine", "logistic"],
)
def test_shifted_rule_on_smooth_integrands(function, tolerance):
    exact = quad(lambda g: function(np.array(g)) * norm.pdf(g), -12, 12, epsabs=1e-13)[0]
    values = shifted_average(function, np.arange(100) / 100)
    assert np.abs(values - exact).max() < tolerance
    # Four stratified shifts make a rule of spacing 0.275; it ends at six deviations.
    assert abs(values[::25].mean() - exact) < 1e-8


@given(st.floats(-3, 3), st.floats(1e-6, 1e-2))
def test_shifted_rule_meets_a_sharp_step_within_its_spacing(centre, width):
    def step(g):
        return ndtr((g - centre) / width)

    exact = ndtr(-centre / np.hypot(1.0, width))
    counts = [64, 4096]
    errors = [abs(shifted_average(step, gaussian.stratified_shifts(k, 1)[0]).mean() - exact) for k in counts]
    # The points of all shifts together have spacing 1.1/k, and the step falls between two of them.
    assert errors[0] <= 1.1 * 0.4 / 64 + 1e-8
    assert errors[1] <= 1.1 * 0.4 / 4096 + 1e-8


def test_gauss_hermite_is_biased_at_a_sharp_step():
    nodes, weights = np.polynomial.hermite_e.hermegauss(99)
    weights = weights / weights.sum()
    centres = np.linspace(-1.0, 1.0, 201)
    exact = ndtr(-centres / np.hypot(1.0, 1e-3))
    hermite = np.array([weights @ ndtr((nodes - centre) / 1e-3) for centre in centres])
    shifts = gaussian.stratified_shifts(1024, 1)[0]
    shifted = np.array([shifted_average(lambda g, c=centre: ndtr((g - c) / 1e-3), shifts).mean() for centre in centres])
    assert np.abs(hermite - exact).max() > 0.03
    assert np.sqrt(np.mean((hermite - exact) ** 2)) > 0.02
    assert np.abs(shifted - exact).max() < 5e-4


def test_shifted_rule_is_unbiased_over_random_shifts():
    """A jump in a thousand random scramblings: the mean over scramblings is right within its standard error."""
    values = np.array(
        [shifted_average(lambda g: g > 0.4321, shifts).mean() for shifts in gaussian.stratified_shifts(4, 1000)]
    )
    error = values.std(ddof=1) / np.sqrt(values.size)
    assert 1e-4 < error < 5e-3
    assert abs(values.mean() - ndtr(-0.4321)) < 4 * error


def test_stratified_shifts_lie_one_in_each_stratum():
    shifts = np.asarray(gaussian.stratified_shifts(32, 3))
    assert shifts.shape == (3, 32)
    np.testing.assert_array_equal(np.floor(shifts * 32), np.tile(np.arange(32.0), (3, 1)))
    assert len(np.unique(np.round(shifts[:, 0] * 32, 12))) == 3


def test_scrambled_points_have_the_moments_of_their_laws():
    normals, shifts = map(np.asarray, gaussian.scrambled_points(5, 2048, 4))
    assert (normals.shape, shifts.shape) == ((4, 2048, 5), (4, 2048))
    for g, shift in zip(normals, shifts, strict=True):
        # Better than random: plain Monte Carlo means would scatter by 1/sqrt(2048) = 0.022.
        np.testing.assert_allclose(g.mean(axis=0), 0.0, atol=4e-3)
        np.testing.assert_allclose(g.T @ g / 2048, np.eye(5), atol=4e-2)
        np.testing.assert_allclose(np.mean(g**4, axis=0), 3.0, atol=0.2)
        np.testing.assert_allclose([shift.mean(), np.mean(shift**2)], [1 / 2, 1 / 3], atol=1e-3)
        np.testing.assert_allclose(shift @ g / 2048, 0.0, atol=1e-2)
    assert np.all((shifts >= 0) & (shifts < 1))


def test_scrambled_points_are_deterministic_and_distinct():
    first = [np.array(x) for x in gaussian.scrambled_points(3, 64, 2)]
    gaussian.scrambled_points.cache_clear()
    for old, new, single in zip(
        first, gaussian.scrambled_points(3, 64, 2), gaussian.scrambled_points(3, 64, 1), strict=True
    ):
        np.testing.assert_array_equal(old, new)
        np.testing.assert_array_equal(old[:1], single)
        assert np.abs(old[0] - old[1]).max() > 0.1
        assert np.isfinite(old).all()


def test_points_made_while_tracing_are_arrays_in_double_precision():
    """Neither a tracer nor a single-precision copy may enter the cache."""
    gaussian.scrambled_points.cache_clear()
    gaussian.stratified_shifts.cache_clear()

    @jax.jit
    def traced(x):
        points, shifts = gaussian.scrambled_points(2, 8, 1)[0], gaussian.stratified_shifts(8, 1)
        return x * (points.size + shifts.size)

    with jax.enable_x64(False):
        assert float(traced(1.0)) == 24.0
    for kept in (*gaussian.scrambled_points(2, 8, 1), gaussian.stratified_shifts(8, 1)):
        assert not isinstance(kept, jax.core.Tracer)
        assert kept.dtype == jnp.float64


def test_mean_and_standard_error():
    values = jnp.asarray(np.random.default_rng(0).normal(size=(7, 3)))
    mean, error = gaussian.mean_and_standard_error(values)
    np.testing.assert_allclose(mean, np.mean(values, axis=0))
    np.testing.assert_allclose(error, np.std(values, axis=0, ddof=1) / np.sqrt(7))
    single, unknown = gaussian.mean_and_standard_error(values[:1])
    np.testing.assert_array_equal(single, values[0])
    assert np.isnan(unknown).all()


def test_mean_has_a_derivative_where_the_error_vanishes():
    both = jax.grad(lambda x: sum(gaussian.mean_and_standard_error(x * jnp.ones(4))))(jnp.array(2.0))
    assert float(both) == pytest.approx(1.0)
