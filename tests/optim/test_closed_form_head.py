"""The last layer in closed form: gradients by the envelope theorem, limits, other libraries, the caller's precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from solvable.optim import ClosedFormHead, closed_form_head, closed_form_head_from_moments

RNG = np.random.default_rng(0)
INPUTS, TARGETS, PREVIOUS = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 2)), RNG.normal(size=(6, 2))
BACKBONE = RNG.normal(size=(3, 6))


def backbone(theta):
    """Features (40, 6) of one hidden layer; theta is (3, 6)."""
    return jnp.tanh(jnp.asarray(INPUTS) @ theta)


FEATURES = np.tanh(INPUTS @ BACKBONE)


@pytest.fixture(autouse=True)
def double():
    """Float64, but for the tests that leave it."""
    with jax.enable_x64(True):
        yield


def loss_of(theta, weights, ridge, rows=slice(None)):
    """What the docstring says the loss is."""
    residual = backbone(theta)[rows] @ weights - jnp.asarray(TARGETS)[rows]
    return jnp.sum(residual**2) / (2 * residual.shape[0]) + ridge * jnp.sum(weights**2) / 2


def plain(features, targets, ridge, proximity=0.0, previous=0.0):
    """W by a general solver, in NumPy."""
    n, p = features.shape
    matrix = features.T @ features / n + (ridge + proximity) * np.eye(p)
    return np.linalg.solve(matrix, features.T @ targets / n + proximity * previous)


# ---- the gradient


@pytest.mark.parametrize("rows", [40, 4], ids=["primal", "dual"])
def test_the_gradient_is_that_of_the_minimum_over_the_weights(rows):
    """Against finite differences of min_W loss, and against differentiation through the solve."""
    ridge, part = 0.03, slice(rows)

    def ours(theta):
        return closed_form_head(backbone(theta)[part], TARGETS[part], ridge=ridge).loss

    def through_the_solve(theta):
        features, goal = backbone(theta)[part], jnp.asarray(TARGETS)[part]
        matrix = features.T @ features / rows + ridge * jnp.eye(6)
        return loss_of(theta, jnp.linalg.solve(matrix, features.T @ goal / rows), ridge, part)

    ours = jax.jit(jax.value_and_grad(ours))
    value, gradient = ours(BACKBONE)
    exact, expected = jax.jit(jax.value_and_grad(through_the_solve))(BACKBONE)
    np.testing.assert_allclose(value, exact, rtol=1e-12)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-12)
    for direction in np.eye(18)[::5].reshape(-1, 3, 6):
        move = 1e-5 * direction
        slope = (ours(BACKBONE + move)[0] - ours(BACKBONE - move)[0]) / 2e-5
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-6, atol=1e-9)


def test_the_gradient_in_targets_and_ridge_is_full_too():
    def minimum(targets, ridge):
        return closed_form_head(FEATURES, targets, ridge=ridge).loss

    value = jax.jit(minimum)
    over_targets, over_ridge = jax.grad(minimum, argnums=(0, 1))(jnp.asarray(TARGETS), 0.1)
    move = np.zeros_like(TARGETS)
    move[3, 1] = 1e-4
    slope = (value(TARGETS + move, 0.1) - value(TARGETS - move, 0.1)) / 2e-4
    np.testing.assert_allclose(over_targets[3, 1], slope, rtol=1e-7)
    slope = (value(TARGETS, 0.1 + 1e-5) - value(TARGETS, 0.1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(over_ridge, slope, rtol=1e-7)


def test_with_proximity_the_gradient_is_the_partial_one():
    def ours(theta):
        return closed_form_head(backbone(theta), TARGETS, ridge=0.1, proximity=0.5, previous=PREVIOUS).loss

    gradient = jax.grad(ours)(jnp.asarray(BACKBONE))
    weights = plain(FEATURES, TARGETS, 0.1, 0.5, PREVIOUS)
    np.testing.assert_allclose(gradient, jax.grad(loss_of)(jnp.asarray(BACKBONE), weights, 0.1), rtol=1e-10)


def test_the_weights_are_constants_to_differentiation():
    def entry(features):
        return jnp.sum(closed_form_head(features, TARGETS, ridge=0.1).weights)

    def entry_from_moments(gram):
        return jnp.sum(closed_form_head_from_moments(gram, jnp.ones(6), ridge=0.1))

    np.testing.assert_array_equal(jax.grad(entry)(jnp.asarray(FEATURES)), 0)
    np.testing.assert_array_equal(jax.grad(entry_from_moments)(jnp.eye(6)), 0)
    program = jax.make_jaxpr(jax.value_and_grad(lambda f: closed_form_head(f, TARGETS, ridge=0.1).loss))(FEATURES)
    assert str(program).count("= cholesky ") == 1  # one factor, and no derivative of it


# ---- the solution


@pytest.mark.parametrize("rows", [40, 6, 4])
@pytest.mark.parametrize("proximity", [0.0, 0.7])
def test_primal_dual_and_a_general_solver_agree(rows, proximity):
    previous = PREVIOUS if proximity else None
    features, goal = FEATURES[:rows], TARGETS[:rows]
    head = closed_form_head(features, goal, ridge=0.02, proximity=proximity, previous=previous)
    expected = plain(features, goal, 0.02, proximity, PREVIOUS)
    np.testing.assert_allclose(head.weights, expected, rtol=1e-11)
    penalty = 0.01 * np.sum(expected**2)
    np.testing.assert_allclose(head.loss, np.sum((features @ expected - goal) ** 2) / (2 * rows) + penalty, rtol=1e-12)
    moments = features.T @ features / rows, features.T @ goal / rows
    weights = closed_form_head_from_moments(*moments, ridge=0.02, proximity=proximity, previous=previous)
    np.testing.assert_allclose(weights, expected, rtol=1e-11)


@pytest.mark.parametrize("rows", [40, 4])
def test_ridge_regression_of_scikit_learn(rows):
    """|y - Xw|^2 + alpha |w|^2 is ours times 2n at alpha = n ridge."""
    fitted = Ridge(alpha=0.05 * rows, fit_intercept=False, solver="svd").fit(FEATURES[:rows], TARGETS[:rows])
    ours = closed_form_head(FEATURES[:rows], TARGETS[:rows], ridge=0.05).weights
    np.testing.assert_allclose(ours, fitted.coef_.T, rtol=1e-10)


def test_without_penalties_it_is_least_squares():
    expected = np.linalg.lstsq(FEATURES, TARGETS)[0]
    np.testing.assert_allclose(closed_form_head(FEATURES, TARGETS).weights, expected, rtol=1e-10)


@pytest.mark.parametrize("rows", [40, 4])
def test_the_minimum_as_a_quadratic_form_in_the_targets(rows):
    """loss = (ridge / 2n) tr Y' (F F' / n + ridge I)^-1 Y."""
    features, goal, ridge = FEATURES[:rows], TARGETS[:rows], 0.02
    kernel = features @ features.T / rows + ridge * np.eye(rows)
    expected = ridge / (2 * rows) * np.trace(goal.T @ np.linalg.solve(kernel, goal))
    np.testing.assert_allclose(closed_form_head(features, goal, ridge=ridge).loss, expected, rtol=1e-11)


@given(
    st.integers(0, 10**6),
    st.sampled_from([40, 4]),
    st.floats(1e-4, 1e2),
    st.floats(0.0, 1e2),
    st.floats(1e-2, 1e2),
)
def test_no_weights_have_a_lower_loss_and_the_solve_never_raises_it(seed, rows, ridge, proximity, scale):
    """At proximity 0 the minimum over all weights; with it, still never above the loss at the previous weights."""
    rng = np.random.default_rng(seed)
    features, goal = scale * FEATURES[:rows], TARGETS[:rows]
    previous = rng.normal(size=(6, 2)) * rng.lognormal(sigma=2)

    def loss(weights):
        return np.sum((features @ weights - goal) ** 2) / (2 * rows) + ridge / 2 * np.sum(np.asarray(weights) ** 2)

    best = closed_form_head(features, goal, ridge=ridge)
    near = closed_form_head(features, goal, ridge=ridge, proximity=proximity, previous=previous)
    rounding = 1 + 1e-12
    assert best.loss <= near.loss * rounding
    assert near.loss <= loss(previous) * rounding
    nudged = np.asarray(best.weights) + 1e-3 * previous
    assert best.loss <= loss(nudged) * rounding


@pytest.mark.parametrize("rows", [40, 4])
def test_a_large_proximity_keeps_the_previous_weights(rows):
    for proximity, tolerance in ((1e4, 1e-2), (1e8, 1e-6), (1e200, 0.0)):
        head = closed_form_head(FEATURES[:rows], TARGETS[:rows], ridge=0.1, proximity=proximity, previous=PREVIOUS)
        np.testing.assert_allclose(head.weights, PREVIOUS, rtol=tolerance, atol=tolerance)


def test_repeated_proximal_solves_approach_the_ridge_solution_at_the_known_rate():
    """W_(t+1) - W* = proximity (gram + (ridge + proximity) I)^-1 (W_t - W*)."""
    ridge, proximity = 0.1, 0.3
    best = plain(FEATURES, TARGETS, ridge)
    contraction = proximity * np.linalg.inv(FEATURES.T @ FEATURES / 40 + (ridge + proximity) * np.eye(6))
    weights = PREVIOUS
    for step in range(1, 61):
        weights = closed_form_head(FEATURES, TARGETS, ridge=ridge, proximity=proximity, previous=weights).weights
        if step in (1, 5, 60):
            expected = np.linalg.matrix_power(contraction, step) @ (PREVIOUS - best)
            np.testing.assert_allclose(weights - best, expected, rtol=1e-8, atol=1e-12)


def test_small_batches_find_what_all_of_them_agree_on():
    """Ten batches of 4 rows (fewer than the 6 weights) with targets that one W fits exactly."""
    targets = FEATURES @ PREVIOUS

    def step(weights, rows):
        batch = jnp.asarray(FEATURES)[rows], jnp.asarray(targets)[rows]
        return closed_form_head(*batch, proximity=0.01, previous=weights).weights, None

    batches = np.tile(np.arange(40).reshape(10, 4), (300, 1))
    weights, _ = jax.lax.scan(step, jnp.zeros((6, 2)), batches)
    np.testing.assert_allclose(weights, PREVIOUS, atol=1e-8)


def test_one_target_is_a_column():
    one, many = (closed_form_head(FEATURES, targets, ridge=0.1) for targets in (TARGETS[:, 0], TARGETS[:, :1]))
    assert isinstance(one, ClosedFormHead)
    assert one.weights.shape == (6,)
    np.testing.assert_allclose(one.weights, many.weights[:, 0], rtol=1e-13)
    np.testing.assert_allclose(one.loss, many.loss, rtol=1e-13)
    moments = FEATURES.T @ FEATURES / 40, FEATURES.T @ TARGETS[:, 0] / 40
    np.testing.assert_allclose(closed_form_head_from_moments(*moments, ridge=0.1), one.weights, rtol=1e-12)


def test_mapped_over_seeds_and_settings():
    thetas = jnp.asarray(np.stack([BACKBONE, 0.5 * BACKBONE]))
    ridges = jnp.asarray([0.1, 0.2])
    heads = jax.vmap(lambda theta, ridge: closed_form_head(backbone(theta), TARGETS, ridge=ridge))(thetas, ridges)
    for theta, ridge, weights in zip(thetas, (0.1, 0.2), heads.weights, strict=True):
        np.testing.assert_allclose(weights, plain(np.asarray(backbone(theta)), TARGETS, ridge), rtol=1e-10)


# ---- the caller's precision


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_dtypes_follow_the_features(dtype):
    for x64 in (True, False):
        with jax.enable_x64(x64):
            features = jnp.asarray(FEATURES, dtype)
            head = closed_form_head(features, TARGETS, ridge=0.1, proximity=0.1, previous=PREVIOUS)
            moments = jnp.asarray(FEATURES.T @ FEATURES / 40, dtype), FEATURES.T @ TARGETS / 40
            weights = closed_form_head_from_moments(*moments, ridge=0.1, proximity=0.1, previous=PREVIOUS)
            assert head.weights.dtype == head.loss.dtype == weights.dtype == dtype
    expected = plain(np.asarray(features, np.float64), TARGETS, 0.1, 0.1, PREVIOUS)
    tolerance = 20 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(head.weights, np.float64), expected, rtol=tolerance, atol=tolerance)


def test_whole_numbers_are_labels_too():
    labels = np.where(TARGETS[:, 0] > 0, 1, -1)
    ours = closed_form_head(FEATURES, labels, ridge=0.1).weights
    np.testing.assert_allclose(ours, plain(FEATURES, labels, 0.1), rtol=1e-11)


def test_the_configuration_of_jax_stays():
    with jax.enable_x64(False):
        before = dict(jax.config.values)
        head = closed_form_head(np.float32(FEATURES), TARGETS, ridge=0.5)
        assert head.weights.dtype == jnp.float32
        assert dict(jax.config.values) == before


# ---- what has no answer


DEPENDENT = {
    "a copy": np.column_stack([FEATURES, FEATURES[:, 0]]),
    "a sum": np.column_stack([FEATURES, FEATURES @ np.arange(1.0, 7.0)]),
    "a dead feature": np.column_stack([FEATURES, np.zeros(40)]),
    "one row too few": FEATURES[:5],
}


@jax.jit
def traced(features, targets, ridge):
    """The weights and the loss where nothing can be raised."""
    return closed_form_head(features, targets, ridge=ridge)


@pytest.mark.parametrize(("case", "dtype"), [("a copy", np.float64), *((case, np.float32) for case in DEPENDENT)])
def test_weights_that_are_not_unique_are_answered_and_nan_when_traced(case, dtype):
    features = DEPENDENT[case].astype(dtype)
    goal = TARGETS[: len(features)].astype(dtype)
    with pytest.raises(ValueError, match=r"^features (of|has) shape .*W is not unique; accepted: .*ridge.*proximity"):
        closed_form_head(features, goal)
    moments = features.T @ features / dtype(40), features.T @ goal / dtype(40)
    with pytest.raises(ValueError, match=r"^gram of shape .* is singular or indefinite .*W is not unique; accepted: "):
        closed_form_head_from_moments(*moments)
    head = traced(features, goal, 0.0)
    assert np.all(np.isnan(head.weights))
    assert np.isnan(head.loss)
    assert np.all(np.isfinite(traced(features, goal, 1e-2).weights))


@pytest.mark.parametrize("rows", [2000, 200_000])
def test_dependent_features_are_found_among_many_rows_in_single_precision(rows):
    features = np.random.default_rng(1).normal(loc=5.0, size=(rows, 3)).astype(np.float32)
    features[:, 2] = 2.3 * features[:, 0]
    with pytest.raises(ValueError, match="W is not unique"):
        closed_form_head(features, np.ones(rows))


def test_features_of_very_different_scale_are_no_dependent_ones():
    scales = np.float32([1e-6, 1e3, 1.0, 1e-4, 1e5, 10.0])
    weights = closed_form_head((FEATURES * scales).astype(np.float32), TARGETS).weights
    np.testing.assert_allclose(weights * scales[:, None], np.linalg.lstsq(FEATURES, TARGETS)[0], rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"ridge": -0.1}, r"^ridge=-0.1 is out of range; accepted: a finite number >= 0"),
        ({"ridge": np.nan}, r"^ridge=nan is out of range"),
        ({"proximity": -1.0}, r"^proximity=-1 is out of range; accepted: a finite number >= 0"),
        ({"proximity": 0.5}, r"^previous=None was given with a proximity; accepted: "),
        ({"previous": np.zeros(6)}, r"^previous has shape \(6,\); accepted: that of the weights, \(6, 2\)"),
        ({"features": np.zeros(6)}, r"^features has shape \(6,\); accepted: \(n, p\)"),
        ({"features": np.zeros((0, 6))}, r"^features has shape \(0, 6\); accepted: \(n, p\) with n, p >= 1"),
        ({"features": FEATURES * 1j}, r"^features has dtype complex128; accepted: real numbers"),
        ({"targets": TARGETS[:7]}, r"^targets has shape \(7, 2\); accepted: \(40,\) or \(40, m\)"),
        ({"targets": np.float64(1.0)}, r"^targets has shape \(\); accepted: \(40,\) or \(40, m\)"),
        ({"features": FEATURES * np.nan, "ridge": 1.0}, r"^features holds values that are not finite; accepted: "),
        ({"targets": TARGETS * np.inf, "ridge": 1.0}, r"^targets holds values that are not finite; accepted: "),
    ],
)
def test_wrong_arguments_are_answered(change, answer):
    with pytest.raises(ValueError, match=answer):
        closed_form_head(**({"features": FEATURES, "targets": TARGETS} | change))


@pytest.mark.parametrize(
    ("gram", "moment", "answer"),
    [
        (np.zeros((2, 3)), np.zeros(2), r"^gram has shape \(2, 3\); accepted: \(p, p\)"),
        (np.eye(2), np.zeros(3), r"^moment has shape \(3,\); accepted: \(2,\) or \(2, m\)"),
        (np.diag([1.0, -1.0]), np.zeros(2), r"^gram of shape \(2, 2\) and dtype float64 is singular or indefinite"),
        (np.diag([1.0, np.nan]), np.zeros(2), r"^gram holds values that are not finite"),
    ],
)
def test_wrong_moments_are_answered(gram, moment, answer):
    with pytest.raises(ValueError, match=answer):
        closed_form_head_from_moments(gram, moment)
