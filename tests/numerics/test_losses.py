"""Losses: proximal maps over their whole range, and Gaussian averages against adaptive quadrature."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad_vec
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from solvable.numerics.gaussian import stratified_shifts
from solvable.numerics.losses import LOSSES, Hinge, Logistic, Loss, ProxMoments, Square, get_decreasing_loss, get_loss
from tests.numerics.smooth_hinge import SmoothHinge

ALL = [Logistic(), Square(), Hinge(), SmoothHinge()]
KINKS = {Logistic: (), Square: (), Hinge: (0.0, -1.0), SmoothHinge: (0.0, -1.0)}


def named(loss):
    return type(loss).__name__


prox = jax.jit(lambda loss, z, variance: loss.prox(z, variance))
moments = jax.jit(lambda loss, *scores: loss.prox_moments(*scores))
generic_moments = jax.jit(lambda loss, *scores: Loss.prox_moments(loss, *scores))
mean_prox_value = jax.jit(lambda loss, *scores: loss.mean_prox_value(*scores))
generic_mean_prox_value = jax.jit(lambda loss, *scores: Loss.mean_prox_value(loss, *scores))
slope_averages = jax.jit(lambda loss, mean, spread: loss.slope_averages(mean, spread))
generic_slope_averages = jax.jit(lambda loss, mean, spread: Loss.slope_averages(loss, mean, spread))


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


# Values, slopes, curvatures


@pytest.mark.parametrize("loss", ALL, ids=named)
def test_slope_and_curvature_are_derivatives(loss):
    t = jnp.linspace(-30.0, 30.0, 241) + 0.01  # keeps off the kinks
    np.testing.assert_allclose(jax.vmap(jax.grad(loss.value))(t), loss.slope(t), rtol=1e-12, atol=1e-300)
    if not isinstance(loss, Hinge | SmoothHinge):
        np.testing.assert_allclose(jax.vmap(jax.grad(loss.slope))(t), loss.curvature(t), rtol=1e-9, atol=1e-300)


def test_logistic_keeps_its_precision_far_from_zero():
    t = jnp.array([-1e4, -800.0, 0.0, 40.0, 700.0])
    loss = Logistic()
    np.testing.assert_allclose(loss.value(t), [1e4, 800.0, np.log(2), np.exp(-40), np.exp(-700)], rtol=1e-14)
    np.testing.assert_allclose(loss.slope(t), [-1.0, -1.0, -0.5, -np.exp(-40), -np.exp(-700)], rtol=1e-14)
    assert loss.curvature(t)[-1] > 0


def test_hinge_has_slope_zero_at_its_kink():
    np.testing.assert_array_equal(Hinge().slope(jnp.array([1.0 - 1e-12, 1.0, 2.0])), [-1.0, 0.0, 0.0])


def test_loss_is_found_by_name_or_passed_through():
    mine = SmoothHinge()
    assert get_loss(mine) is mine
    assert type(get_decreasing_loss("logistic")) is type(get_loss("logistic"))
    assert [type(get_loss(name)) for name in ("logistic", "square", "hinge")] == [Logistic, Square, Hinge]
    for wrong in ("l2", "Logistic", ""):
        with pytest.raises(ValueError, match=f"^loss={wrong!r} is unknown; accepted: 'logistic', 'square', 'hinge'"):
            get_loss(wrong)


# Proximal maps


def logistic_residual(t, z, variance):
    """|t - z - V sigmoid(-t)| / (1 + V s (1 - s)), relative to max(1, |t|).

    Evaluated for the half of the (z, V) plane where t >= 0, the other being its mirror image (t, z) -> (-t, -z - V):
    there sigmoid(-t) has full relative precision, so that the residual is not the rounding of its own evaluation.
    """
    t, z, variance = np.broadcast_arrays(t, z, variance)
    mirrored = z + 0.5 * variance < 0
    t, x = np.where(mirrored, -t, t), np.where(mirrored, -(z + variance), z)
    s = expit(-t)
    return np.abs(t - x - variance * s) / (1.0 + variance * s * (1.0 - s)) / np.maximum(1.0, np.abs(t))


def logistic_cases():
    rng = np.random.default_rng(0)
    variance = np.concatenate([10.0 ** rng.uniform(-8, 9, 24000), np.repeat([1e-8, 500.0, 1e6, 1e9], 2000)])
    near = 10.0 * rng.normal(size=variance.size)
    shares, wide = rng.uniform(0, 1, variance.size), rng.uniform(-1.5, 1.5, variance.size)
    families = [near, near - variance, near - 0.5 * variance, -shares * variance, wide * np.maximum(variance, 1e3)]
    return np.choose(rng.integers(0, len(families), variance.size), families), variance


def test_logistic_prox_solves_its_equation_everywhere():
    z, variance = logistic_cases()
    t = np.asarray(prox(Logistic(), z, variance))
    assert np.isfinite(t).all()
    assert logistic_residual(t, z, variance).max() < 1e-14
    # The root lies between z and z + V, up to rounding of the latter.
    slack = 1e-15 * (np.abs(z) + variance)
    assert np.all(t >= z - slack)
    assert np.all(t <= z + variance + slack)


@pytest.mark.parametrize(("z", "variance"), [(-3.0, 500.0), (-200.0, 500.0), (-10.0, 1e6)])
def test_logistic_prox_where_plain_newton_goes_astray(z, variance):
    naive = z + 0.5 * variance * expit(-z)
    for _ in range(100):
        s = expit(-naive)
        naive -= (naive - z - variance * s) / (1.0 + variance * s * (1.0 - s))
    assert logistic_residual(naive, z, variance) > 0.1, "this is not a trap any more"
    t = float(prox(Logistic(), jnp.array(z), jnp.array(variance)))
    root = brentq(lambda t: t - z - variance * expit(-t), z, z + variance, xtol=1e-14, rtol=1e-14)
    assert t == pytest.approx(root, rel=1e-12)


@pytest.mark.parametrize("z", [-1e15, -1e9, -1e4, -745.0, -700.0, 0.0, 700.0, 1e15])
def test_logistic_prox_and_its_derivatives_are_finite_at_extremes(z):
    variance = jnp.array([0.0, 1e-300, 1e-8, 1.0, 500.0, 1e9, 1e15, 1e30])
    at = jnp.full(8, z)
    t, by_z = jax.jvp(lambda z: Logistic().prox(z, variance), (at,), (jnp.ones(8),))
    by_variance = jax.jvp(lambda v: Logistic().prox(at, v), (variance,), (jnp.ones(8),))[1]
    assert logistic_residual(t, at, variance).max() < 1e-14
    assert np.all((by_z >= 0) & (by_z <= 1) & (by_variance >= 0) & (by_variance <= 1))


@given(st.floats(-300, 300), st.floats(-6, 6))
def test_logistic_prox_is_odd_about_its_mirror(z, log_variance):
    variance = 10.0**log_variance
    t, mirrored = prox(Logistic(), jnp.array([z, -(z + variance)]), jnp.array([variance, variance]))
    assert float(t) == pytest.approx(-float(mirrored), abs=1e-14 * (1.0 + abs(z) + variance))


@pytest.mark.parametrize("loss", ALL, ids=named)
def test_prox_derivatives_against_differences(loss):
    rng = np.random.default_rng(1)
    variance = 10.0 ** rng.uniform(-3, 4, 200)
    z = np.concatenate([rng.normal(size=100) * 5, -rng.uniform(0, 1, 100) * variance[100:]])
    z, variance = jnp.asarray(z), jnp.asarray(variance)
    for argument, length in ((0, 1e-4), (1, 1e-4 * variance)):
        ones = [jnp.zeros(200), jnp.zeros(200)]
        ones[argument] = jnp.ones(200)
        exact = jax.jvp(loss.prox, (z, variance), tuple(ones))[1]
        high = loss.prox(*[x + length * one for x, one in zip((z, variance), ones, strict=True)])
        low = loss.prox(*[x - length * one for x, one in zip((z, variance), ones, strict=True)])
        error = np.abs(np.asarray((high - low) / (2 * length)) - exact)
        # A difference that straddles a kink of the map is off by design.
        assert np.quantile(error, 0.95 if KINKS[type(loss)] else 1.0) < 1e-6


def excess(loss, z, variance, moves):
    """loss + quadratic at prox + move, less its value at prox and move^2 / (2 V): not negative at a minimiser."""
    t = loss.prox(z, variance)

    def objective(t):
        return loss.value(t) + 0.5 * (t - z) ** 2 / variance

    return objective(t + moves) - objective(t) - 0.5 * moves**2 / variance, objective(t)


compiled_excess = jax.jit(excess)


@pytest.mark.parametrize("loss", ALL, ids=named)
@given(z=st.floats(-40, 40), log_variance=st.floats(-2, 3))
def test_prox_minimises(loss, z, log_variance):
    moves = np.concatenate([np.linspace(-20, 20, 81), [-1e-2, -1e-4, 1e-4, 1e-2]])
    gain, value = compiled_excess(loss, jnp.array(z), jnp.array(10.0**log_variance), jnp.asarray(moves))
    rounding = 1e-14 * (1.0 + float(value) + 0.5 * (np.abs(moves) + 50.0) ** 2 / 10.0**log_variance)
    assert np.all(np.asarray(gain) >= -rounding)


# Gaussian averages of a proximal map


def reference_prox(loss, z, variance):
    if isinstance(loss, Logistic):
        return brentq(lambda t: t - z - variance * expit(-t), z - 1e-9, z + variance + 1e-9, xtol=1e-13, rtol=1e-13)
    if isinstance(loss, Square):
        return (z + variance) / (1.0 + variance)
    if isinstance(loss, Hinge):
        return max(z, min(z + variance, 1.0))
    return max(z, min(z + variance, (z * loss.width + variance) / (loss.width + variance)))


def reference_point(loss, t, z, variance):
    """(p, dp/dz, loss) at t = prox(z), the kinks of the loss included."""
    if isinstance(loss, Logistic):
        s = expit(-t)
        return -s, s * (1 - s) / (1 + variance * s * (1 - s)), np.logaddexp(0.0, -t)
    if isinstance(loss, Square):
        return t - 1, 1 / (1 + variance), 0.5 * (1 - t) ** 2
    width = 0.0 if isinstance(loss, Hinge) else loss.width
    p = -min(max((1.0 - z) / (width + variance), 0.0), 1.0)
    inside = 1.0 - width - variance < z < 1.0
    return p, inside / (width + variance), p * p * width / 2 + max(1.0 - width - t, 0.0)


def reference_moments(loss, margin, spread, variance):
    """The nine averages and the mean loss, by adaptive quadrature between the breaks of the integrand."""

    def integrand(g):
        z = margin + spread * g
        t = reference_prox(loss, z, variance)
        p, d, value = reference_point(loss, t, z, variance)
        return norm.pdf(g) * np.array([p, p * g, p * p, d, d * g, d * g * g, d * p, d * p * g, d * p * p, value])

    width = getattr(loss, "width", 0.0)
    kinks = [1.0, 1.0 - width - variance, -variance / 2, -variance, 0.0]
    breaks = [(kink - margin) / spread for kink in kinks]
    ends = np.unique(np.clip([-12.0, -4.0, 0.0, 4.0, 12.0, *breaks], -12.0, 12.0))
    pieces = [quad_vec(integrand, a, b, epsabs=1e-13, epsrel=1e-12)[0] for a, b in itertools.pairwise(ends)]
    return np.sum(pieces, axis=0)


SETTINGS = np.array(
    [
        (0.3, 1.0, 0.7),
        (-1.2, 0.4, 5.0),
        (2.5, 3.0, 0.2),
        (0.9, 0.2, 40.0),
        (-30.0, 4.0, 500.0),
        (1.0, 6.0, 0.05),
    ]
)


@pytest.fixture(scope="module")
def references():
    found = {}

    def get(loss):
        if named(loss) not in found:
            found[named(loss)] = np.array([reference_moments(loss, *setting) for setting in SETTINGS])
        return found[named(loss)]

    return get


def averaged(function, loss, settings, shifts):
    """`function` at every setting, averaged over stratified shifts of its nodes; its outputs along the last axis."""
    rule = stratified_shifts(shifts, 1)[0]
    shape = (len(settings), shifts)
    columns = [jnp.broadcast_to(jnp.asarray(column)[:, None], shape) for column in np.asarray(settings).T]
    result = function(loss, *columns, jnp.broadcast_to(rule[None, :], shape))
    many = result if isinstance(result, tuple) else (result,)
    return np.stack([np.asarray(jnp.mean(jnp.broadcast_to(value, shape), axis=1)) for value in many], axis=-1)


# The closed forms are exact; the trapezoid rule ends at 6 standard deviations, and meets steps of dp/dz in SmoothHinge.
@pytest.mark.parametrize(
    ("loss", "tolerance"), [(Logistic(), 1e-7), (Square(), 1e-12), (Hinge(), 1e-11), (SmoothHinge(), 1e-3)], ids=str
)
def test_averages_against_quadrature(loss, tolerance, references):
    reference = references(loss)
    got = np.concatenate(
        [averaged(moments, loss, SETTINGS, 512), averaged(mean_prox_value, loss, SETTINGS, 512)], axis=1
    )
    scale = 1.0 + SETTINGS[:, 1:2] ** 2 if isinstance(loss, Square) else 1.0
    np.testing.assert_array_less(np.abs(got - reference) / scale, tolerance)


def test_generic_quadrature_agrees_with_closed_forms_of_square():
    pairs = [(generic_moments, moments), (generic_mean_prox_value, mean_prox_value)]
    for generic, closed in pairs:
        expected = averaged(closed, Square(), SETTINGS, 512)
        np.testing.assert_allclose(averaged(generic, Square(), SETTINGS, 512), expected, rtol=1e-6, atol=1e-6)


def test_generic_quadrature_agrees_with_closed_forms_of_hinge():
    """Smoothing over a width is a proximal step of its own, so it only adds to the variance of the hinge's step."""
    loss = SmoothHinge()
    further = SETTINGS + np.array([0.0, 0.0, loss.width])
    generic, closed = averaged(moments, loss, SETTINGS, 512), averaged(moments, Hinge(), further, 512)
    np.testing.assert_allclose(generic[:, :3], closed[:, :3], atol=1e-5)
    np.testing.assert_allclose(generic, closed, atol=1e-3)  # dp/dz jumps
    values = [averaged(f, Hinge(), SETTINGS, 512) for f in (generic_mean_prox_value, mean_prox_value)]
    np.testing.assert_allclose(*values, atol=1e-5)


@pytest.mark.parametrize("variance", [1e-8, 1e-5, 1e-3, 0.019, 0.021, 1e3, 1e6])
def test_hinge_averages_at_extreme_variance(variance):
    """By Gauss-Legendre in u = -p over the kink (and panels where it is wide), free of any cancellation."""
    x, w = np.polynomial.legendre.leggauss(40)
    for margin, spread in [(0.0, 1.0), (0.9, 0.4), (-3.0, 1.5), (3.0, 2.0)]:
        # u = -p runs over [0, 1], the score over 1 - V u; beyond 12 deviations there is nothing to add.
        top = min(1.0, max((1.0 - margin + 12.0 * spread) / variance, 0.0))
        ends = np.linspace(0.0, top, 25)
        u = np.concatenate([0.5 * (a + b) + 0.5 * (b - a) * x for a, b in itertools.pairwise(ends)])
        mass = np.tile(0.5 * top / 24 * w, 24) * norm.pdf((1.0 - margin - variance * u) / spread) / spread
        g = (1.0 - margin - variance * u) / spread
        on_kink = [np.sum(mass * f) for f in (g**0, g, g * g, -u, -u * g, u * u)]
        a0 = (1.0 - variance - margin) / spread
        expected = [
            variance * on_kink[3] - norm.cdf(a0),
            variance * on_kink[4] + norm.pdf(a0),
            variance * on_kink[5] + norm.cdf(a0),
            *on_kink,
        ]
        got = moments(Hinge(), *map(jnp.array, (margin, spread, variance, 0.0)))
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10 / max(variance, 1.0))


@pytest.mark.parametrize("loss", [Logistic(), Square(), Hinge()], ids=named)
def test_slope_times_score_is_spread_times_curve(loss):
    """Stein's identity E[p G] = S E[dp/dz], which couples two different averages."""
    got = ProxMoments(*averaged(moments, loss, SETTINGS, 512).T)
    np.testing.assert_allclose(got.slope_g, SETTINGS[:, 1] * got.curve, rtol=1e-7, atol=2e-8)


@pytest.mark.parametrize("loss", [Logistic(), Square(), Hinge(), SmoothHinge()], ids=named)
def test_later_averages_are_derivatives_of_the_first_three(loss):
    """dp/dV = -p D, dp/dM = D, dp/dS = D G, node by node."""
    settings = [jnp.asarray(column) for column in SETTINGS.T]
    shift = jnp.full(len(SETTINGS), 0.3)
    value = moments(loss, *settings, shift)

    def derivative(argument):
        tangents = [jnp.zeros(len(SETTINGS)) for _ in range(3)]
        tangents[argument] = jnp.ones(len(SETTINGS))
        return jax.jvp(lambda *s: moments(loss, *s, shift), tuple(settings), tuple(tangents))[1]

    by_margin, by_spread, by_variance = map(derivative, range(3))
    pairs = [
        (by_margin.slope, value.curve),
        (by_spread.slope, value.curve_g),
        (by_spread.slope_g, value.curve_gg),
        (by_margin.slope_sq, 2.0 * value.slope_curve),
        (by_spread.slope_sq, 2.0 * value.slope_curve_g),
        (by_variance.slope, -value.slope_curve),
        (by_variance.slope_g, -value.slope_curve_g),
        (by_variance.slope_sq, -2.0 * value.slope_sq_curve),
    ]
    for derived, stated in pairs:
        np.testing.assert_allclose(derived, stated, rtol=1e-9, atol=1e-11)


# Averages of a slope


def reference_slope_averages(loss, mean, spread):
    def integrand(g):
        t = mean + spread * g
        p = {"Logistic": -expit(-t), "Square": t - 1.0, "Hinge": -float(t < 1.0)}[named(loss)]
        return norm.pdf(g) * np.array([p, p * p])

    scale = np.array([-30.0, -3.0, 0.0, 3.0, 30.0])
    ends = np.unique(np.clip([-12.0, *((1.0 - mean) / spread + scale / spread), 0.0, 12.0], -12.0, 12.0))
    pieces = [quad_vec(integrand, a, b, epsabs=1e-14, epsrel=1e-13)[0] for a, b in itertools.pairwise(ends)]
    return np.sum(pieces, axis=0)


@pytest.mark.parametrize("loss", list(LOSSES.values()), ids=named)
@pytest.mark.parametrize(("mean", "spread"), [(0.2, 0.01), (0.7, 1.0), (-4.0, 2.5), (1.5, 30.0), (-20.0, 100.0)])
def test_slope_averages_against_quadrature(loss, mean, spread):
    got = slope_averages(loss, jnp.array(mean), jnp.array(spread))
    np.testing.assert_allclose(got, reference_slope_averages(loss, mean, spread), rtol=1e-12, atol=1e-12)


def test_generic_slope_averages_agree_with_closed_forms():
    mean, spread = jnp.array(0.4), jnp.array(2.0)
    np.testing.assert_allclose(
        generic_slope_averages(Square(), mean, spread), slope_averages(Square(), mean, spread), rtol=1e-13
    )
    # A jump costs at most half a spacing of the 4001 nodes times the density.
    np.testing.assert_allclose(
        generic_slope_averages(Hinge(), mean, spread), slope_averages(Hinge(), mean, spread), atol=9e-4
    )
