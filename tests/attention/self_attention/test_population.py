"""The limit: loss, gradients, the constant of a finite context, the best size of the score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from solvable.attention import self_attention as sa
from solvable.attention.self_attention.population import context_terms, gradients_of
from solvable.attention.self_attention.scale import layer_of_scale

TASK = sa.LinearMap.conditioned(dim=3, outputs=2, condition=4.0, strength=0.5)


def layer(seed=1, size=0.2):
    draw = np.random.default_rng(seed)
    root = np.linalg.inv(np.linalg.cholesky(TASK.covariance))
    return sa.Parameters(0.5 * draw.normal(size=(2, 3)) @ root, size * root.T @ draw.normal(size=(3, 3)) @ root)


def parts(params):
    return tuple(jnp.asarray(leaf) for leaf in (params.value, params.score, TASK.matrix, TASK.covariance))


def test_loss_is_that_of_the_linear_map():
    params = layer()
    error = params.value @ TASK.covariance @ params.score.T - TASK.matrix
    eigenvalues, vectors = np.linalg.eigh(TASK.covariance)
    root = vectors * np.sqrt(eigenvalues) @ vectors.T
    np.testing.assert_allclose(sa.excess_risk(params, TASK), 0.5 * np.sum((error @ root) ** 2), rtol=1e-12)
    np.testing.assert_allclose(sa.population_loss(params, TASK) - sa.excess_risk(params, TASK), 0.1**2, rtol=1e-10)


def test_closed_gradients_are_those_of_the_loss():
    params = layer()
    with jax.enable_x64(True):
        value, *found = gradients_of(*parts(params))
        expected = jax.grad(sa.population_loss)(jax.tree_util.tree_map(jnp.asarray, params), TASK)
        in_noise = jax.grad(lambda noise: sa.population_loss(params, sa.LinearMap(TASK.matrix, TASK.covariance, noise)))
        np.testing.assert_allclose(in_noise(jnp.asarray(0.3)), 2 * 0.3)
    np.testing.assert_allclose(value, sa.excess_risk(params, TASK))
    np.testing.assert_allclose(found[0], expected.value, rtol=1e-12)
    np.testing.assert_allclose(found[1], expected.score, rtol=1e-12)


@pytest.mark.parametrize("function", [sa.population_loss, sa.excess_risk, sa.context_constant, sa.score_norm])
def test_gradients_without_double_precision_switched_on(function):
    """They are computed in double precision, and handed back in the dtype of what is differentiated."""
    params = layer()

    def of(score):
        return function(sa.Parameters(params.value, score), TASK)

    found = jax.jit(jax.grad(of))(np.asarray(params.score, np.float32))
    assert found.dtype == np.float32
    step = 1e-6 * np.eye(3)[:, [1]] * np.eye(3)[[2]]
    difference = (of(params.score + step) - of(params.score - step)) / 2e-6
    np.testing.assert_allclose(found[1, 2], difference, rtol=1e-5, atol=1e-6)


def test_context_constant_in_its_whitened_form():
    params = layer()
    root = np.linalg.cholesky(TASK.covariance)
    value, score = params.value @ root, root.T @ params.score @ root
    inner = np.linalg.inv(np.eye(3) - 2 * score @ score.T)
    through = value @ score.T
    expected = np.sqrt(np.linalg.det(inner)) * (np.sum(value**2) + np.trace(through @ inner @ through.T))
    np.testing.assert_allclose(sa.context_constant(params, TASK), expected, rtol=1e-12)
    np.testing.assert_allclose(sa.score_norm(params, TASK), np.linalg.norm(score, 2), rtol=1e-12)


def test_context_constant_is_infinite_from_one_half_on():
    def of(square):
        scale = np.sqrt(square)
        return sa.context_constant(layer_of_scale(TASK, scale), TASK)

    assert np.isfinite(of(0.499))
    assert np.isposinf(of(0.501))
    with jax.enable_x64(True):
        params = jax.tree_util.tree_map(jnp.asarray, layer_of_scale(TASK, 0.9))
        slope = jax.grad(sa.context_constant)(params, TASK)
    assert np.all(np.isfinite(slope.score))


def test_the_terms_in_one_over_n_are_what_sequences_show():
    """Means over 3000 sequences of 100 tokens against F + term / n, within four standard errors and 8 % of the term."""
    params, n, count = layer(), 100, 3000
    value, score = params.value, params.score

    @jax.jit
    def measured(keys):
        def one(key):
            tokens, targets = TASK.draw(key, n + 64)
            context, asked = tokens[:n], tokens[n:]
            answers = jax.nn.softmax(asked @ score @ context.T, axis=-1) @ context @ value.T
            limits, goals = asked @ (value @ TASK.covariance @ score.T).T, asked @ TASK.matrix.T
            own = jax.nn.softmax(context @ score @ context.T, axis=-1) @ context @ value.T
            fresh = 0.5 * jnp.mean(jnp.sum((answers - goals) ** 2 - (limits - goals) ** 2, axis=1))
            plain = 0.5 * jnp.mean(jnp.sum((answers - limits) ** 2, axis=1))
            # the limit's own loss on these tokens is taken off, which leaves what the attention adds
            linear = context @ (value @ TASK.covariance @ score.T).T
            added = 0.5 * jnp.mean(jnp.sum((own - targets[:n]) ** 2 - (linear - targets[:n]) ** 2, axis=1))
            return jnp.stack([2.0 * plain, fresh, added]) * n

        return jax.lax.map(one, keys, batch_size=50)

    with jax.enable_x64(True):
        found = np.asarray(measured(jax.random.split(jax.random.key(0), count)))
        terms = context_terms(*parts(params))
    expected = np.array([terms.constant, terms.fresh, terms.own])
    error = found.std(axis=0) / np.sqrt(count)
    assert np.all(error < 0.05 * expected)
    assert np.all(np.abs(found.mean(axis=0) - expected) < 4 * error + 0.08 * expected)


def error_of_context(scale, dim, length, count, own=False, stretch=1.0):
    """(1/2) E|f - x|^2 less its limit for Bt = b I, At = stretch I / b and Sigma = M = I: its mean and error."""
    draw, found = np.random.default_rng(0), []
    for _ in range(count):
        tokens = draw.normal(size=(length, dim))
        asked = tokens if own else draw.normal(size=(length, dim))
        logits = scale * asked @ tokens.T
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        answers = stretch / scale * weights @ tokens / weights.sum(axis=1, keepdims=True)
        found.append(0.5 * np.mean(np.sum((answers - asked) ** 2 - (stretch - 1.0) ** 2 * asked**2, axis=1)))
    return np.mean(found), np.std(found) / np.sqrt(count)


def context(scale, dim, stretch=1.0, **lengths):
    task = sa.LinearMap(np.eye(dim), np.eye(dim))
    state = sa.Parameters(stretch / scale * np.eye(dim), scale * np.eye(dim))
    return sa.predict(task, sa.PreconditionedDescent(steps=1), theory="context", given=state, throw=False, **lengths)


@pytest.mark.parametrize(("square", "times"), [(0.25, 1.2), (0.35, 2), (0.45, 10), (0.49, 100), (0.5, np.inf)])
def test_where_the_law_in_one_over_n_is_far_off_there_is_a_code(square, times):
    """At n = 100 and d = 2 it is `times` the truth or more."""
    mean, error = error_of_context(square**0.5, 2, 100, 400)
    state = sa.Parameters(square**-0.5 * np.eye(2), square**0.5 * np.eye(2))
    law = sa.context_constant(state, sa.LinearMap(np.eye(2), np.eye(2))) / 200
    assert law >= times * (mean - 2 * error)
    found = context(square**0.5, 2, fresh_context_length=100)
    assert found.result == sa.AttentionResult.PEAKED
    assert all(np.isnan(value).all() for value in found.present().values())


@pytest.mark.parametrize(
    ("square", "dim", "length"), [(0.05, 10, 30), (0.1, 5, 30), (0.15, 2, 40), (0.2, 1, 100), (0.22, 1, 150)]
)
def test_where_the_law_in_one_over_n_speaks_it_is_close(square, dim, length):
    """Just inside of the code: within four standard errors and a fifth; a tenth as many tokens are outside of it."""
    found = context(square**0.5, dim, fresh_context_length=length)
    assert found.result == 0
    mean, error = error_of_context(square**0.5, dim, length, 80_000 // length)
    assert 4 * error < 0.2 * mean
    assert abs(found.fresh_excess_risk[0] - mean) < 4 * error + 0.2 * mean
    assert context(square**0.5, dim, fresh_context_length=max(length // 10, 2)).result != 0


@pytest.mark.parametrize(
    ("square", "dim", "length", "stretch"), [(0.05, 3, 50, 1.0), (0.05, 3, 50, 1.5), (0.1, 1, 50, 1.5)]
)
def test_the_law_of_the_own_sequence_sets_in_later(square, dim, length, stretch):
    """A token attends to itself: the law is 0.69 of the truth at d = 6, |Bt|^2 = 0.1, n = 400; on fresh contexts 1."""
    found = context(square**0.5, dim, stretch, context_length=length)
    limit = 0.5 * (stretch - 1.0) ** 2 * dim
    mean, error = error_of_context(square**0.5, dim, length, 400, True, stretch)
    assert abs(found.train_loss[0] - limit - mean) < 4 * error + 0.2 * mean
    assert context(0.1**0.5, 6, context_length=400).result == sa.AttentionResult.PEAKED
    assert context(0.1**0.5, 6, fresh_context_length=400).result == 0


def test_no_excess_is_negative():
    """Where the value matrix is far too large order 1/n is negative, and at few tokens more than the excess."""
    draw = np.random.default_rng(0)
    task, algorithm, codes = sa.LinearMap(np.eye(2), np.eye(2)), sa.PreconditionedDescent(steps=1), []
    states = sa.Parameters(*(draw.normal(size=(200, 1, 2, 2)) * draw.uniform(0, 3, (200, 1, 1, 1)) for _ in range(2)))
    for length in (6, 20, 200):
        options = {"context_length": length, "given": {"path": states}, "at": [0], "throw": False}
        found = sa.predict(task, algorithm, theory="context", **options)
        codes.append(np.mean(found.result == 0))
        assert np.nanmin(found.fresh_excess_risk) >= 0.0
    assert 0.0 < codes[0] < codes[1] < codes[2] < 1.0


@pytest.mark.parametrize(("dim", "square"), [(2, 0.191), (5, 0.123), (10, 0.076), (20, 0.0434), (50, 0.0189)])
def test_the_best_scale_is_close_to_the_rule(dim, square):
    found = float(sa.best_scale(dim))
    law = lambda b: (1 - 2 * b**2) ** (-dim / 2) * (1 / b**2 + 1 / (1 - 2 * b**2))  # noqa: E731
    least = optimize.minimize_scalar(law, bounds=(0.01, 0.7), method="bounded", options={"xatol": 1e-9}).x
    np.testing.assert_allclose(found, least, rtol=1e-6)
    np.testing.assert_allclose(found**2, square, rtol=0.006)
    np.testing.assert_allclose(found, (dim + 2) ** -0.5, rtol=0.14)


def test_layers_of_all_scales_have_one_limit():
    for scale in (0.1, 0.6):
        params = layer_of_scale(TASK, scale)
        np.testing.assert_allclose(sa.excess_risk(params, TASK), 0.0, atol=1e-28)
        np.testing.assert_allclose(sa.score_norm(params, TASK), scale, rtol=1e-12)


def test_the_default_task():
    values = [
        np.linalg.svd(task.matrix @ np.linalg.cholesky(task.covariance), compute_uv=False)
        for task in (sa.LinearMap.conditioned(condition=c) for c in (1.0, 100.0))
    ]
    np.testing.assert_allclose(values[0], 0.2 * 2 ** -np.linspace(0, 1, 5))
    np.testing.assert_allclose(values[1], values[0])
    spectrum = np.linalg.eigvalsh(sa.LinearMap.conditioned(condition=100.0).covariance)
    np.testing.assert_allclose(spectrum[[0, -1]], [0.01, 1.0])
    np.testing.assert_allclose(sa.best_learning_rate(sa.LinearMap.conditioned()), 1 / 0.3)


def test_bad_tasks_are_answered_in_one_sentence():
    with pytest.raises(ValueError, match="covariance has the eigenvalue -1; accepted: a positive definite matrix"):
        sa.LinearMap(np.eye(2), np.diag([1.0, -1.0]))
    with pytest.raises(ValueError, match="not symmetric"):
        sa.LinearMap(np.eye(2), [[1.0, 0.5], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"covariance has shape \(3, 3\); accepted: \(2, 2\)"):
        sa.LinearMap(np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match=r"matrix holds nan at \(0, 1\)"):
        sa.LinearMap([[1.0, np.nan]], np.eye(2))
    with pytest.raises(ValueError, match="noise=-1"):
        sa.LinearMap(np.eye(2), np.eye(2), -1.0)
    with pytest.raises(ValueError, match=r"value of shape \(3, 3\); accepted: that of the task's matrix, \(2, 3\)"):
        sa.population_loss(sa.Parameters(np.eye(3), np.eye(3)), TASK)
    with pytest.raises(ValueError, match=r"condition=0\.5"):
        sa.LinearMap.conditioned(condition=0.5)


def test_tokens_outside_the_limit_theory_are_warned_about():
    draw = np.random.default_rng(0)
    tokens = draw.normal(size=(400, 3))
    sa.RegressionProblem(tokens, tokens)
    sa.RegressionProblem(tokens[:40] + 5.0, tokens[:40])  # too few to tell
    with pytest.warns(UserWarning, match="not centred"):
        sa.RegressionProblem(tokens + 1.0, tokens)
    with pytest.warns(UserWarning, match="heavy-tailed"):
        sa.RegressionProblem(draw.standard_t(3, size=(2000, 3)), np.ones((2000, 1)))
    with pytest.raises(ValueError, match=r"targets has shape \(399, 3\)"):
        sa.RegressionProblem(tokens, tokens[1:])
