"""Ridge ERM: every method against scikit-learn, cvxpy and closed forms, and certificates that are what they say."""

import functools
import re
from typing import NamedTuple

import cvxpy
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import SVC

from solvable.numerics.erm import ridge_erm
from solvable.numerics.losses import get_loss
from solvable.numerics.precision import batched_map
from solvable.numerics.proximal_gradient import largest_square
from solvable.numerics.results import Result, SolveError
from tests.numerics.smooth_hinge import SmoothHinge

PAIRS = [
    ("logistic", "newton"),
    ("logistic", "lbfgs"),
    ("logistic", "proximal_gradient"),
    ("square", "direct"),
    ("square", "newton"),
    ("square", "lbfgs"),
    ("square", "proximal_gradient"),
    ("hinge", "newton"),
    ("hinge", "proximal_gradient"),
]
EXACT = [("logistic", "newton"), ("square", "direct"), ("hinge", "newton")]
every_pair = pytest.mark.parametrize(("loss", "method"), PAIRS)
TOLERANCE, TIGHT = 1e-8, 1e-13


class Problem(NamedTuple):
    features: np.ndarray
    labels: np.ndarray
    offset: np.ndarray


@functools.cache
def problem(shape, offset=0.0, seed=0):
    """Overlapping classes for n > p, separable ones for n < p; unequal class sizes."""
    rng = np.random.default_rng(seed)
    n, p = shape
    features = rng.normal(size=(n, p)) + 0.2
    labels = np.sign(features[:, 0] + features[:, 1] + rng.normal(size=n) + 0.3)
    return Problem(features, labels, offset * rng.normal(size=n))


TALL, WIDE = (60, 8), (24, 40)


@functools.partial(jax.jit, static_argnames=("method", "intercept", "max_steps"))
def compiled(features, labels, offset, ridge, tolerance, loss, method, intercept, max_steps):
    options = {"offset": offset, "intercept": intercept, "tolerance": tolerance, "max_steps": max_steps}
    return ridge_erm(features, labels, loss, ridge, method=method, throw=False, **options)


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    with jax.enable_x64(True):
        yield


def solve(data, loss, method, ridge=1e-2, *, intercept=True, tolerance=TOLERANCE, max_steps=2000, succeeds=True):
    arrays = [np.asarray(x, float) for x in (*data, ridge, tolerance)]
    found = compiled(*arrays, get_loss(loss), method, intercept, max_steps)
    if succeeds:
        assert int(found.result) == Result.SUCCESSFUL
        assert float(found.certificate) <= tolerance
    return found


def numpy_losses(loss, t):
    """(loss, slope) in NumPy."""
    if loss == "logistic":
        return np.logaddexp(0.0, -t), -1.0 / (1.0 + np.exp(t))
    if loss == "square":
        return 0.5 * (1.0 - t) ** 2, t - 1.0
    return np.maximum(1.0 - t, 0.0), np.where(t < 1.0, -1.0, 0.0)


def objective(data, loss, ridge, weights, bias):
    margins = data.labels * (data.features @ weights + bias + data.offset)
    return np.mean(numpy_losses(loss, margins)[0]) + 0.5 * ridge * np.sum(np.square(weights))


def gradient_norm(data, loss, ridge, weights, bias, intercept=True):
    margins = data.labels * (data.features @ weights + bias + data.offset)
    slopes = data.labels * numpy_losses(loss, margins)[1] / len(margins)
    return np.hypot(np.linalg.norm(data.features.T @ slopes + ridge * weights), intercept * np.sum(slopes))


@functools.cache
def clarabel(shape, loss, ridge, offset=0.0, intercept=True):
    """(objective, weights, bias) by an independent interior-point program."""
    data = problem(shape, offset)
    weights, bias = cvxpy.Variable(shape[1]), cvxpy.Variable()
    margins = cvxpy.multiply(data.labels, data.features @ weights + (bias if intercept else 0.0) + data.offset)
    losses = {
        "logistic": lambda: cvxpy.logistic(-margins),
        "square": lambda: 0.5 * cvxpy.square(1.0 - margins),
        "hinge": lambda: cvxpy.pos(1.0 - margins),
        "smooth": lambda: 0.5 * (cvxpy.huber(cvxpy.pos(1.0 - margins), 0.5) / 0.5),
    }[loss]()
    program = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum(losses) / shape[0] + 0.5 * ridge * cvxpy.sum_squares(weights)))
    program.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    return program.value, weights.value, float(bias.value) if intercept else 0.0


# Against other solvers


@every_pair
@pytest.mark.parametrize("shape", [TALL, WIDE], ids=["tall", "wide"])
def test_objective_and_minimiser_against_cvxpy(loss, method, shape):
    ridge, data = 1e-2, problem(shape, 0.7)
    found = solve(data, loss, method, ridge)
    value, weights, bias = clarabel(shape, loss, ridge, 0.7)
    # What the certificate promises by strong convexity: gap <= |gradient|^2 / (2 ridge), |w - w*|^2 <= 2 gap / ridge.
    gap = TOLERANCE if loss == "hinge" else TOLERANCE**2 / (2 * ridge)
    assert -1e-10 <= float(found.objective) - value <= gap + 1e-9
    np.testing.assert_allclose(found.weights, weights, atol=np.sqrt(2 * gap / ridge) + 2e-5)
    assert float(found.bias) == pytest.approx(bias, abs=3e-3)


@pytest.mark.parametrize(("loss", "method"), EXACT)
@pytest.mark.parametrize("shape", [TALL, WIDE], ids=["tall", "wide"])
def test_small_ridge_against_cvxpy(loss, method, shape):
    found = solve(problem(shape), loss, method, 1e-5)
    assert float(found.objective) == pytest.approx(clarabel(shape, loss, 1e-5)[0], abs=2 * TOLERANCE)


@pytest.mark.parametrize(("loss", "method"), [("logistic", "lbfgs"), ("square", "lbfgs")])
@pytest.mark.parametrize("shape", [TALL, WIDE], ids=["tall", "wide"])
def test_lbfgs_agrees_with_newton_at_a_small_ridge(loss, method, shape):
    exact = solve(problem(shape), loss, "newton", 1e-5)
    found = solve(problem(shape), loss, method, 1e-5)
    distance = np.linalg.norm(found.weights - exact.weights)
    assert distance <= 2 * TOLERANCE / 1e-5  # what gradients below the tolerance allow
    assert float(found.objective) == pytest.approx(float(exact.objective), abs=1e-9)


@pytest.mark.parametrize(("loss", "method"), [*EXACT, ("logistic", "lbfgs"), ("hinge", "proximal_gradient")])
def test_without_intercept(loss, method):
    data = problem(TALL, 0.7)
    found = solve(data, loss, method, intercept=False)
    value, weights, _ = clarabel(TALL, loss, 1e-2, 0.7, intercept=False)
    assert float(found.bias) == 0.0
    assert float(found.objective) == pytest.approx(value, abs=2 * TOLERANCE)
    np.testing.assert_allclose(found.weights, weights, atol=2e-3)
    if loss != "hinge":
        certificate = gradient_norm(data, loss, 1e-2, np.asarray(found.weights), 0.0, intercept=False)
        assert float(found.certificate) == pytest.approx(certificate, rel=1e-4, abs=1e-14)


@pytest.mark.parametrize("method", ["newton", "lbfgs", "proximal_gradient"])
@pytest.mark.parametrize("shape", [TALL, WIDE], ids=["tall", "wide"])
def test_logistic_against_scikit_learn(method, shape):
    data, ridge = problem(shape), 1e-2
    found = solve(data, "logistic", method, ridge, tolerance=TIGHT if method == "newton" else TOLERANCE)
    for solver, digits in [("lbfgs", 1e-5), ("newton-cholesky", 1e-11)]:
        peer = LogisticRegression(C=1 / (ridge * shape[0]), solver=solver, tol=1e-12, max_iter=10_000)
        peer.fit(data.features, data.labels)
        allowed = digits + (0.0 if method == "newton" else 1e-5)
        np.testing.assert_allclose(found.weights, peer.coef_[0], rtol=0, atol=allowed)
        assert float(found.bias) == pytest.approx(peer.intercept_[0], abs=allowed)


@pytest.mark.parametrize("method", ["direct", "newton", "lbfgs", "proximal_gradient"])
@pytest.mark.parametrize("shape", [TALL, WIDE], ids=["tall", "wide"])
def test_square_against_scikit_learn(method, shape):
    data, ridge = problem(shape), 1e-2
    found = solve(data, "square", method, ridge)
    peer = Ridge(alpha=ridge * shape[0], solver="cholesky").fit(data.features, data.labels)
    digits = 1e-12 if method in ("direct", "newton") else 3e-6
    np.testing.assert_allclose(found.weights, peer.coef_, rtol=0, atol=digits)
    assert float(found.bias) == pytest.approx(float(peer.intercept_), abs=digits)


@pytest.mark.parametrize("method", ["newton", "proximal_gradient"])
@pytest.mark.parametrize("shape", [TALL, WIDE], ids=["tall", "wide"])
def test_hinge_against_scikit_learn(method, shape):
    data, ridge = problem(shape), 1e-2
    tolerance = TIGHT if method == "newton" else TOLERANCE
    found = solve(data, "hinge", method, ridge, tolerance=tolerance)
    peer = SVC(kernel="linear", C=1 / (ridge * shape[0]), tol=1e-8).fit(data.features, data.labels)
    np.testing.assert_allclose(found.weights, peer.coef_[0], atol=5e-6 if method == "newton" else 1e-3)
    assert float(found.bias) == pytest.approx(peer.intercept_[0], abs=5e-6 if method == "newton" else 1e-3)


def test_square_solves_the_normal_equations():
    """With ridge 0 this is least squares with an intercept, for labels less their offset."""
    data = problem(TALL, 0.7)
    found = solve(data, "square", "direct", 0.0)
    design = np.hstack([data.features, np.ones((60, 1))])
    expected = np.linalg.lstsq(design, data.labels - data.offset, rcond=None)[0]
    np.testing.assert_allclose([*found.weights, found.bias], expected, atol=1e-13)


def test_small_ridge_gives_hinge_the_maximum_margin():
    """The gap must be small against (ridge/2) ||w||^2 for the weights to be good, and not only the objective."""
    data, ridge = problem(WIDE), 1e-9
    found = solve(data, "hinge", "newton", ridge, tolerance=1e-8 * ridge)
    peer = SVC(kernel="linear", C=1e8, tol=1e-10).fit(data.features, data.labels)
    np.testing.assert_allclose(found.weights, peer.coef_[0], rtol=0, atol=1e-4)
    margins = data.labels * (data.features @ np.asarray(found.weights) + float(found.bias))
    assert margins.min() == pytest.approx(1.0, abs=1e-4)


# Certificates and outputs


@every_pair
@pytest.mark.parametrize("shape", [TALL, WIDE], ids=["tall", "wide"])
def test_outputs_are_what_they_say(loss, method, shape):
    data, ridge = problem(shape, 0.7), 1e-2
    found = solve(data, loss, method, ridge)
    weights, bias = np.asarray(found.weights), float(found.bias)
    margins = data.labels * (data.features @ weights + bias + data.offset)
    assert float(found.objective) == pytest.approx(objective(data, loss, ridge, weights, bias), rel=1e-13)
    assert float(found.train_loss) == pytest.approx(np.mean(numpy_losses(loss, margins)[0]), rel=1e-12, abs=1e-14)
    assert float(found.train_error) == np.mean(margins <= 0)
    assert int(found.steps) >= 1
    if loss != "hinge":
        certificate = gradient_norm(data, loss, ridge, weights, bias)
        assert float(found.certificate) == pytest.approx(certificate, rel=1e-4, abs=1e-14)


@pytest.mark.parametrize("method", ["newton", "proximal_gradient"])
@pytest.mark.parametrize("ridge", [1.0, 1e-2, 1e-4])
def test_hinge_gap_bounds_the_distance_to_the_optimum(method, ridge):
    """Stopped early, where the gap is worth something."""
    found = solve(problem(TALL, 0.7), "hinge", method, ridge, tolerance=1e-3)
    above = float(found.objective) - clarabel(TALL, "hinge", ridge, 0.7)[0]
    assert -1e-9 <= above <= float(found.certificate) + 1e-9


@given(
    pair=st.sampled_from([*PAIRS[:2], *PAIRS[3:6], PAIRS[7]]),
    seed=st.integers(0, 10**6),
    log_scale=st.floats(-1, 1),
    log_ridge=st.floats(-4, 1),
    offset=st.sampled_from([0.0, 2.0]),
)
def test_random_problems_are_solved(pair, seed, log_scale, log_ridge, offset):
    loss, method = pair
    data = problem(TALL, offset, seed)
    data = data._replace(features=data.features * 10.0**log_scale)
    ridge = 10.0**log_ridge
    found = solve(data, loss, method, ridge)
    weights, bias = np.asarray(found.weights), float(found.bias)
    value = objective(data, loss, ridge, weights, bias)
    assert float(found.objective) == pytest.approx(value, rel=1e-12)
    if loss != "hinge":
        assert gradient_norm(data, loss, ridge, weights, bias) <= 1.01 * TOLERANCE
        return
    # A duality gap: no neighbour is better by more.
    rng = np.random.default_rng(seed)
    for size in 10.0 ** rng.uniform(-4, 0, 20):
        moved = objective(data, loss, ridge, weights + size * rng.normal(size=8), bias + size * rng.normal())
        assert moved >= value - float(found.certificate) - 1e-14


# Symmetries


@every_pair
def test_flipping_the_labels_flips_the_classifier(loss, method):
    data = problem(TALL, 0.7)
    found = solve(data, loss, method)
    flipped = solve(Problem(data.features, -data.labels, -data.offset), loss, method)
    digits = 2e-3 if (loss, method) == ("hinge", "proximal_gradient") else 1e-6
    np.testing.assert_allclose(flipped.weights, -found.weights, atol=digits)
    assert float(flipped.bias) == pytest.approx(-float(found.bias), abs=digits)


@pytest.mark.parametrize(("loss", "method"), [*EXACT, ("logistic", "lbfgs")])
@pytest.mark.parametrize("scale", [1e-2, 30.0])
def test_scaling_the_features_scales_the_weights(loss, method, scale):
    data = problem(TALL, 0.7)
    found = solve(data, loss, method, 1e-2)
    scaled = solve(data._replace(features=scale * data.features), loss, method, 1e-2 * scale**2)
    digits = 1e-4 if loss == "hinge" else 2e-5  # at scale 0.01 a gradient of 1e-8 is 1e4 times less strict
    np.testing.assert_allclose(scale * scaled.weights, found.weights, atol=digits)
    assert float(scaled.bias) == pytest.approx(float(found.bias), abs=digits)
    assert float(scaled.objective) == pytest.approx(float(found.objective), abs=2 * TOLERANCE)


@pytest.mark.parametrize(("loss", "method"), [*EXACT, ("logistic", "lbfgs")])
def test_rotating_features_and_permuting_rows(loss, method):
    data, rng = problem(TALL, 0.7), np.random.default_rng(3)
    rotation, order = np.linalg.qr(rng.normal(size=(8, 8)))[0], rng.permutation(60)
    found = solve(data, loss, method)
    turned = solve(Problem((data.features @ rotation)[order], data.labels[order], data.offset[order]), loss, method)
    np.testing.assert_allclose(rotation @ turned.weights, found.weights, atol=1e-5)


# Degenerate and awkward problems


@every_pair
def test_standardised_features(loss, method):
    """Columns that sum to zero, as after scikit-learn's StandardScaler; the step length must not be fooled by them."""
    data = problem(TALL)
    centred = data.features - data.features.mean(axis=0)
    found = solve(data._replace(features=centred), loss, method)
    plain = solve(data, loss, method)
    assert float(found.objective) == pytest.approx(float(plain.objective), abs=2 * TOLERANCE)
    np.testing.assert_allclose(found.weights, plain.weights, atol=2e-3 if loss == "hinge" else 1e-5)


@pytest.mark.parametrize("shape", [TALL, WIDE], ids=["tall", "wide"])
@pytest.mark.parametrize("centred", [False, True])
def test_largest_square_is_not_below_the_singular_value(shape, centred):
    for seed in range(5):
        features = problem(shape, 0.0, seed).features
        features = features - centred * features.mean(axis=0)
        exact = np.linalg.norm(np.hstack([features, np.ones((shape[0], 1))]), 2) ** 2
        assert 0.999 * exact <= float(largest_square(jnp.asarray(features))) <= 1.021 * exact


@pytest.mark.parametrize(("loss", "method"), [*EXACT, ("logistic", "lbfgs"), ("hinge", "proximal_gradient")])
def test_duplicate_rows_and_a_constant_column(loss, method):
    """A constant column is a second, penalised bias: it must get no weight. Pairs of equal rows count twice."""
    data = problem(TALL)
    features, labels = data.features.copy(), data.labels.copy()
    features[1::2], labels[1::2] = features[::2], labels[::2]
    features[:, 3] = 1.0
    found = solve(Problem(features, labels, data.offset), loss, method)
    assert abs(float(found.weights[3])) < (1e-3 if loss == "hinge" else 1e-6)
    features[:, 3] = 0.0
    without = solve(Problem(features, labels, data.offset), loss, method)
    assert float(found.objective) == pytest.approx(float(without.objective), abs=2 * TOLERANCE)


@pytest.mark.parametrize(("loss", "method"), EXACT)
def test_two_points(loss, method):
    """By symmetry w lies along x1 - x2 and the boundary midway, so that one number is left to find."""
    features = np.array([[1.0, 2.0], [-1.0, 0.5]])
    data, ridge = Problem(features, np.array([1.0, -1.0]), np.zeros(2)), 1e-2
    found = solve(data, loss, method, ridge, tolerance=TIGHT)
    apart = features[0] - features[1]
    along, middle = apart / np.linalg.norm(apart), features.mean(axis=0)
    half = 0.5 * np.linalg.norm(apart)
    size = float(found.weights @ along)
    np.testing.assert_allclose(found.weights, size * along, atol=1e-6)
    assert float(found.bias) == pytest.approx(-size * float(middle @ along), abs=1e-6)
    if loss == "hinge":
        assert size == pytest.approx(1.0 / half, abs=1e-6)
    else:
        assert numpy_losses(loss, size * half)[1] * half + ridge * size == pytest.approx(0.0, abs=1e-11)


@pytest.mark.parametrize(("loss", "method"), EXACT)
def test_zero_features_leave_the_bias(loss, method):
    data = problem(TALL)
    found = solve(data._replace(features=0.0 * data.features), loss, method)
    share = np.mean(data.labels > 0)
    np.testing.assert_array_equal(found.weights, 0.0)
    expected = {"logistic": np.log(share / (1 - share)), "square": 2 * share - 1, "hinge": np.sign(share - 0.5)}[loss]
    assert float(found.bias) == pytest.approx(expected, abs=1e-6)


# How it ends


@every_pair
def test_not_a_number_is_reported(loss, method):
    data = problem(TALL)
    features = data.features.copy()
    features[5, 2] = np.nan
    found = solve(data._replace(features=features), loss, method, succeeds=False)
    assert int(found.result) == Result.NONFINITE


def test_too_few_steps_raise_in_words():
    features, labels, _ = problem(TALL)
    sentence = re.escape(f"ridge_erm(method='newton'): {Result.MAX_STEPS.message} (certificate ")
    with pytest.raises(SolveError, match="^" + sentence + r"[0-9.e-]+\)$"):
        ridge_erm(jnp.asarray(features), jnp.asarray(labels), "logistic", jnp.array(1e-2), method="newton", max_steps=2)


def test_throw_false_returns_the_code():
    found = solve(problem(TALL), "hinge", "proximal_gradient", tolerance=1e-300, max_steps=1, succeeds=False)
    assert int(found.result) == Result.MAX_STEPS
    assert int(found.steps) == 10  # its steps are cheap, so that ten count as one
    assert np.isfinite(found.weights).all()
    assert float(found.certificate) > 1e-300


@pytest.mark.parametrize(
    ("loss", "method", "text"),
    [
        ("hinge", "lbfgs", "method='lbfgs' needs a smooth loss; accepted for hinge: 'newton', 'proximal_gradient'"),
        ("logistic", "direct", "method='direct' solves the square loss; accepted for Logistic: "),
        ("hinge", "direct", "method='direct' solves the square loss; accepted for Hinge: "),
        (
            "square",
            "bfgs",
            "method='bfgs' is unknown; accepted: 'auto', 'direct', 'lbfgs', 'newton', 'proximal_gradient'",
        ),
        ("l1", "auto", "loss='l1' is unknown; accepted: 'logistic', 'square', 'hinge'"),
    ],
)
def test_wrong_pairings_are_answered_by_a_sentence(loss, method, text):
    features, labels, _ = problem(TALL)
    with pytest.raises(ValueError, match="^" + re.escape(text)):
        ridge_erm(jnp.asarray(features), jnp.asarray(labels), loss, jnp.array(1e-2), method=method)


@pytest.mark.parametrize(("loss", "method"), [("square", "direct"), ("hinge", "newton"), ("logistic", "newton")])
def test_automatic_method(loss, method):
    data = problem(TALL)
    named, automatic = solve(data, loss, method), solve(data, loss, "auto")
    np.testing.assert_array_equal(named.weights, automatic.weights)
    assert int(named.steps) == int(automatic.steps)


# Transformations and losses of one's own


@pytest.mark.parametrize("mapped", [lambda f, *rows: jax.vmap(f)(*rows), batched_map], ids=["vmap", "batched_map"])
def test_batches_equal_a_loop(mapped):
    data = [problem(TALL, 0.7, seed) for seed in range(3)]
    stacked = [jnp.asarray(np.stack(column)) for column in zip(*data, strict=True)]
    ridges = jnp.array([1e-1, 1e-2, 1e-4])
    together = jax.jit(
        lambda *rows: mapped(lambda f, y, o, r: ridge_erm(f, y, "logistic", r, offset=o, method="newton"), *rows)
    )(*stacked, ridges)
    for index, ridge in enumerate(ridges):
        alone = solve(data[index], "logistic", "newton", float(ridge))
        np.testing.assert_allclose(together.weights[index], alone.weights, atol=1e-9)
        assert int(together.result[index]) == Result.SUCCESSFUL


@pytest.mark.parametrize("method", ["newton", "lbfgs"])
def test_a_loss_of_ones_own(method):
    data, ridge = problem(TALL, 0.7), 1e-2
    found = solve(data, SmoothHinge(), method, ridge)
    value, weights, bias = clarabel(TALL, "smooth", ridge, 0.7)
    assert float(found.objective) == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(found.weights, weights, atol=1e-4)
    assert float(found.bias) == pytest.approx(bias, abs=1e-4)
