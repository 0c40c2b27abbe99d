"""The closed-form excess risk against Monte Carlo, quadrature, its own derivatives and its limits."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erf, owens_t

from solvable.attention import single_location as sl
from solvable.attention.single_location.risk import law, risk, risk_gradient
from solvable.numerics.error_function import mean_erf_derivatives, mean_squared_erf, squared_erf_derivatives
from solvable.numerics.precision import as_float64

FIELDS = ("query_alignment", "value_alignment", "value_leak", "query_leak", "coupling")
TASK = sl.SingleLocation(5, 30, 0.6, 0.1)


def some_overlaps(seed: int, count: int = 1) -> sl.Overlaps:
    """Overlaps of random vectors in four dimensions, where all five are of order one."""
    generator = np.random.default_rng(seed)
    k, v = generator.standard_normal((2, count, 4))
    k, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (k, v))
    values = (k[:, 0], v[:, 1], v[:, 0], k[:, 1], (k * v).sum(1))
    return sl.Overlaps(
        *(value[0] if count == 1 else value for value in values), np.ones(count)[0] if count == 1 else 1.0
    )


def test_mean_squared_erf_is_its_integral_and_owens_t():
    generator = np.random.default_rng(0)
    means, deviations = generator.uniform(-6.0, 6.0, 500), 10.0 ** generator.uniform(-4.0, 2.0, 500)
    with jax.enable_x64(True):
        found = np.asarray(mean_squared_erf(jnp.asarray(means), jnp.asarray(deviations)))
    h = math.sqrt(2.0) * means / np.sqrt(1.0 + 2.0 * deviations**2)
    np.testing.assert_allclose(found, 1.0 - 8.0 * owens_t(h, 1.0 / np.sqrt(1.0 + 4.0 * deviations**2)), atol=4e-15)
    for mean, deviation, value in list(zip(means, deviations, found, strict=True))[:5]:
        exact, _ = quad(
            lambda x, m=mean, s=deviation: erf(m + s * x) ** 2 * math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi),
            -12.0,
            12.0,
            points=[-mean / deviation] if abs(mean / deviation) < 12.0 else None,
            epsabs=1e-13,
            limit=500,
        )
        np.testing.assert_allclose(value, exact, atol=1e-11)


def test_small_deviations_keep_their_relative_accuracy():
    with jax.enable_x64(True):
        deviation = jnp.asarray([1e-8, 1e-5, 1e-2])
        found = np.asarray(mean_squared_erf(jnp.zeros(3), deviation))
    square = np.asarray(deviation) ** 2
    np.testing.assert_allclose(found, 2.0 / math.pi * np.arcsin(2.0 * square / (1.0 + 2.0 * square)), rtol=1e-13)


def test_derivatives_in_the_mean_and_the_deviation():
    with jax.enable_x64(True):
        mean, deviation = jnp.asarray(0.7), jnp.asarray(0.9)
        first = jax.grad(mean_squared_erf)
        second = jax.grad(first)
        third = jax.grad(second)
        closed = squared_erf_derivatives(mean, deviation)
        for derivative, value in zip((first, second, third), closed, strict=True):
            np.testing.assert_allclose(derivative(mean, deviation), value, rtol=1e-12)
        step = 1e-5
        across = mean_squared_erf(mean, deviation + step) - mean_squared_erf(mean, deviation - step)
        np.testing.assert_allclose(jax.grad(mean_squared_erf, 1)(mean, deviation), across / (2.0 * step), rtol=1e-8)
        along = mean_squared_erf(mean + step, deviation) - mean_squared_erf(mean - step, deviation)
        np.testing.assert_allclose(closed[0], along / (2.0 * step), rtol=1e-8)
        for place in range(3):  # each average is the derivative of the one before it
            slope = jax.grad(lambda m, place=place: mean_erf_derivatives(m, deviation)[place])(mean)
            np.testing.assert_allclose(slope, mean_erf_derivatives(mean, deviation)[place + 1], rtol=1e-12)


def test_the_risk_is_that_of_sampled_sequences():
    samples = 400_000
    generator = np.random.default_rng(1)
    for seed in range(5):
        k, v = generator.standard_normal((2, 4))
        k, v = k / np.linalg.norm(k), v / np.linalg.norm(v)
        overlaps = sl.Overlaps(k[0], v[1], v[0], k[1], k @ v)
        lam = (0.15, 0.4, 0.8, 1.5, 3.0)[seed]
        # only the four dimensions that hold k, v, k*, v* are drawn
        tokens = generator.standard_normal((samples, TASK.length, 4))
        tokens[:, 0] *= TASK.informative_scale
        tokens[:, 0, 0] += TASK.signal
        errors = ((erf(lam * (tokens @ k)) * (tokens @ v)).sum(1) - tokens[:, 0, 1]) ** 2
        z = (errors.mean() - sl.excess_risk(TASK, overlaps, lam)) / (errors.std() / math.sqrt(samples))
        assert abs(z) < 4.0


def test_the_risk_of_sampled_tasks_and_the_label_noise():
    """`sample` draws the law that the formula integrates: place, directions and noise included."""
    task = sl.SingleLocation(4, 8, 0.9, 0.7)
    data = task.sample(jax.random.key(0), 200_000)
    query, value = np.random.default_rng(2).standard_normal((2, 8))
    query, value = query / np.linalg.norm(query), value / np.linalg.norm(value)
    with jax.enable_x64(True):
        overlaps = jax.tree_util.tree_map(np.asarray, sl.Overlaps.of(query, value, data.directions))
    tokens, labels = np.asarray(data.tokens), np.asarray(data.labels)
    errors = ((erf(0.5 * (tokens @ query)) * (tokens @ value)).sum(1) - labels) ** 2
    expected = sl.excess_risk(task, overlaps, 0.5) + 0.49
    assert abs(errors.mean() - expected) < 4.0 * errors.std() / math.sqrt(len(errors))
    places = np.asarray(data.locations)
    assert np.all(np.bincount(places, minlength=4) > 49_000)
    informative = tokens[np.arange(len(places)), places]
    assert abs((informative @ np.asarray(data.directions.query)).mean() - task.signal) < 4.0 * 0.9 / math.sqrt(2e5)


def test_the_gradient_is_the_derivative_of_the_risk():
    with jax.enable_x64(True):
        numbers, lam = law(TASK), jnp.asarray(0.6)
        overlaps = jax.tree_util.tree_map(as_float64, some_overlaps(3))
        closed, derived = risk_gradient(numbers, overlaps, lam), jax.grad(risk, 1)(numbers, overlaps, lam)
    for field in FIELDS:
        np.testing.assert_allclose(getattr(closed, field), getattr(derived, field), rtol=1e-11, atol=1e-13)


def test_the_risk_is_differentiable_in_everything():
    overlaps = some_overlaps(4)

    def value(task, point, lam):
        return sl.excess_risk(task, point, lam)

    by_task, by_point, by_lam = jax.grad(value, (0, 1, 2), allow_int=True)(TASK, overlaps, 0.6)
    step = 1e-6
    for name in ("informative_scale", "signal"):
        moved = [
            sl.excess_risk(
                sl.SingleLocation(5, 30, **{"informative_scale": 0.6, "signal": TASK.signal} | {name: x}), overlaps, 0.6
            )
            for x in (getattr(TASK, name) + step, getattr(TASK, name) - step)
        ]
        np.testing.assert_allclose(getattr(by_task, name), (moved[0] - moved[1]) / (2.0 * step), rtol=1e-4)
    moved = [sl.excess_risk(TASK, overlaps, 0.6 + sign * step) for sign in (1.0, -1.0)]
    np.testing.assert_allclose(by_lam, (moved[0] - moved[1]) / (2.0 * step), rtol=1e-4)
    assert np.isfinite(by_point.coupling)


def test_turning_both_signs_changes_nothing():
    o = some_overlaps(5, 50)
    turned = sl.Overlaps(-o.query_alignment, -o.value_alignment, -o.value_leak, -o.query_leak, o.coupling)
    np.testing.assert_allclose(sl.excess_risk(TASK, o, 0.7), sl.excess_risk(TASK, turned, 0.7), rtol=1e-12)


def test_on_the_manifold_the_risk_is_the_short_formula():
    kappa, nu, lam = 0.4, -0.3, 0.8
    g2, s, others = TASK.label_variance, TASK.signal, TASK.length - 1
    c = lam * s / math.sqrt(1.0 + 2.0 * lam**2 * g2)
    with jax.enable_x64(True):
        zeta = float(mean_squared_erf(jnp.asarray(lam * s * kappa), jnp.asarray(lam * math.sqrt(g2))))
    noise = 2.0 / math.pi * math.asin(2.0 * lam**2 / (1.0 + 2.0 * lam**2))
    expected = g2 * (1.0 - 2.0 * nu * erf(c * kappa) + zeta) + others * noise
    np.testing.assert_allclose(sl.excess_risk(TASK, sl.Overlaps(kappa, nu, 0, 0, 0), lam), expected, rtol=1e-13)


def test_numbers_of_the_model():
    task = sl.SingleLocation()
    swap, swapped = sl.swap_point(task, 1.0 / 13.0)
    np.testing.assert_allclose(swapped, 0.0689, atol=5e-5)
    np.testing.assert_allclose(sl.excess_risk(task, sl.Overlaps(1, 1, 0, 0, 0), 1.0 / 13.0), 0.07501, atol=5e-6)
    np.testing.assert_allclose(sl.excess_risk(task, sl.Overlaps(1, 1, 0, 0, 0), 0.9), 3.81936, atol=5e-6)
    np.testing.assert_allclose(sl.linear_risk(task), 0.5 - 0.25 / 9.5, rtol=1e-14)
    with jax.enable_x64(True):
        here = jax.tree_util.tree_map(as_float64, swap)
        slope = risk_gradient(law(task), here, jnp.asarray(1.0 / 13.0))
    # stationary on the spheres: only the derivatives along k = v* and along v are left
    np.testing.assert_allclose(
        [slope.query_alignment, slope.value_alignment, slope.value_leak, slope.coupling], 0.0, atol=1e-14
    )


def test_the_best_linear_map_is_that_of_least_squares():
    task = sl.SingleLocation(4, 6, 0.8)
    data = task.sample(jax.random.key(1), 60_000)
    # the place is unknown, and every token counts alike
    X, y = np.asarray(data.tokens).reshape(len(data.labels), -1), np.asarray(data.labels)
    weights = np.linalg.lstsq(X[:40_000], y[:40_000], rcond=None)[0]
    errors = (X[40_000:] @ weights - y[40_000:]) ** 2
    assert abs(errors.mean() - sl.linear_risk(task)) < 4.0 * errors.std() / math.sqrt(20_000) + 1e-3


def test_the_oracle_is_a_minimum_and_its_derivative_that_of_the_envelope():
    task = sl.SingleLocation(10, 50)
    best = sl.oracle(task)
    hidden = sl.Overlaps(1, 1, 0, 0, 0)
    risks = [float(sl.excess_risk(task, hidden, float(best.inverse_temperature) * f)) for f in (0.999, 1.0, 1.001)]
    assert risks[1] <= min(risks[0], risks[2])
    np.testing.assert_allclose(best.risk, risks[1], rtol=1e-12)
    slope = jax.grad(lambda s: sl.oracle(sl.SingleLocation(10, 50, signal=s)).risk)(5.0)
    moved = [float(sl.oracle(sl.SingleLocation(10, 50, signal=5.0 + h)).risk) for h in (1e-4, -1e-4)]
    np.testing.assert_allclose(slope, (moved[0] - moved[1]) / 2e-4, rtol=1e-4)
    free = sl.oracle(task, "closed_form")
    assert free.inverse_temperature == 0.0
    np.testing.assert_allclose(free.risk, sl.free_value(task, 1.0, 0.0, 1e-4)[1], rtol=1e-6)


def test_the_closed_form_value_is_the_minimum_over_values():
    task = sl.SingleLocation()
    # measured by an independent prototype
    for (kappa, eta), expected in {(1.0, 0.0): 0.0991445, (0.0, 1.0): 0.0419734, (0.3, 0.2): 0.27280841}.items():
        point, reduced = sl.free_value(task, kappa, eta, 0.1)
        np.testing.assert_allclose(reduced, expected, atol=5e-8)
        np.testing.assert_allclose(reduced, sl.excess_risk(task, point, 0.1), rtol=1e-12)
    rest = math.sqrt(1.0 - 0.3**2 - 0.2**2)
    centre = np.array([point.value_leak, point.value_alignment, 0.0])
    centre[2] = (point.coupling - 0.3 * centre[0] - 0.2 * centre[1]) / rest
    generator = np.random.default_rng(0)
    for _ in range(5):
        v = centre + 0.01 * generator.standard_normal(3)
        near = sl.Overlaps(0.3, v[1], v[0], 0.2, 0.3 * v[0] + 0.2 * v[1] + rest * v[2], np.linalg.norm(v))
        assert sl.excess_risk(task, near, 0.1) > reduced


def test_bayes_beats_every_head_and_agrees_with_its_predictor():
    task = sl.SingleLocation(3, 6, 0.7)
    data = task.sample(jax.random.key(2), 40_000)
    tokens, directions = np.asarray(data.tokens), data.directions
    centred = tokens - task.signal * np.asarray(directions.query)
    evidence = -6 * math.log(0.7) - (centred**2).sum(2) / (2 * 0.49) + (tokens**2).sum(2) / 2
    place = np.exp(evidence - evidence.max(1, keepdims=True))
    place /= place.sum(1, keepdims=True)
    errors = ((place * (tokens @ np.asarray(directions.value))).sum(1) - np.asarray(data.labels)) ** 2
    estimate = sl.bayes_risk(task, 40_000)
    se = math.hypot(errors.std() / 200.0, estimate.standard_error)
    assert abs(errors.mean() - estimate) < 4.0 * se
    assert estimate.value < sl.oracle(task).risk


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sl.SingleLocation(informative_scale=0.0), "informative_scale=0"),
        (lambda: sl.SingleLocation(length=1), "length=1"),
        (lambda: sl.SingleLocation(dim=1), "dim=1"),
        (lambda: sl.SingleLocation(signal=float("nan")), "signal=nan"),
        (lambda: sl.Directions([1.0, 0.0], [1e-3, 1.0]), "cosine 0.001"),
        (lambda: sl.Directions([0.0, 0.0], [0.0, 1.0]), "query has the length 0"),
        (lambda: sl.LocatedTokens(np.zeros((2, 3)), np.zeros(2)), r"tokens has shape \(2, 3\)"),
        (lambda: sl.LocatedTokens(np.full((1, 2, 3), np.nan), np.zeros(1)), "tokens holds"),
        (lambda: sl.LocatedTokens(np.zeros((1, 2, 3)), np.zeros(2)), r"labels has shape \(2,\)"),
        (lambda: sl.excess_risk(TASK, sl.Overlaps(1, 1, 1, 0, 0), 0.1), "belong to no pair"),
        (lambda: sl.excess_risk(TASK, sl.Overlaps(1, 1, 0, 0, 0), 0.0), "inverse_temperature=0"),
        (lambda: TASK.sample(jax.random.key(0), 0), "samples=0"),
        (lambda: TASK.sample(jax.random.key(0), 2, sl.Directions([1, 0], [0, 1])), r"accepted: \(30,\)"),
        (lambda: sl.oracle(TASK, "oracle"), "value='oracle'"),
        (lambda: sl.bayes_risk(TASK, 1), "draws=1"),
    ],
)
def test_bad_input_is_answered_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "accepted" in str(error.value)
