"""The stable gradient: equal to automatic differentiation while that works, right where it no longer does."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from solvable.attention import token_selection as ts
from solvable.attention.token_selection.gradients import (
    autodiff_gradients,
    excess_loss,
    log_unselected,
    loss_value,
    stable_gradients,
)
from solvable.numerics.losses import DECREASING_LOSSES as LOSSES
from solvable.numerics.losses import DecreasingLoss

stable_gradients, autodiff_gradients, excess_loss, log_unselected = (
    eqx.filter_jit(each) for each in (stable_gradients, autodiff_gradients, excess_loss, log_unselected)
)


class Softer(DecreasingLoss):
    """A user's own loss: softplus of -t/2."""

    def value(self, t):
        return jax.nn.softplus(-0.5 * t)

    def log_slope(self, t):
        return jnp.log(0.5) - jax.nn.softplus(0.5 * t)

    def drop(self, t, fall):
        return jnp.log1p(jax.nn.sigmoid(-0.5 * t) * jnp.expm1(0.5 * fall))


def problem(queries=1, seed=0, n=5, length=4, dim=3):
    rng = np.random.default_rng(seed)
    shape = (n, dim) if queries == 1 else (n, queries, dim)
    return ts.SelectionProblem(
        rng.standard_normal((n, length, dim)),
        rng.standard_normal(shape),
        np.where(rng.random(n) < 0.5, 1.0, -1.0),
        rng.standard_normal(dim),
    )


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("loss", [*LOSSES.values(), Softer()], ids=lambda loss: type(loss).__name__)
def test_it_equals_automatic_differentiation(loss, queries):
    one = problem(queries)
    rng = np.random.default_rng(1)
    weights, decoder = rng.standard_normal((3, 3)), rng.standard_normal(3)
    with jax.enable_x64(True):
        weights, decoder = jnp.asarray(weights), jnp.asarray(decoder)
        stable = stable_gradients(one, weights, decoder, loss)
        plain = autodiff_gradients(one, weights, decoder, loss)
        for ours, theirs in zip(stable, plain, strict=True):
            np.testing.assert_allclose(jnp.exp(ours.log_scale) * ours.value, theirs.value, rtol=1e-10, atol=1e-14)


def two_token_coefficients(one, weights):
    """log of each sequence's weight s(1-s)(-loss'(y f))(gamma_1 - gamma_0), T = 2: the gradient in closed form."""
    logits = np.einsum("ntd,de,ne->nt", one.tokens, weights, one.queries)
    margin = logits[:, 1] - logits[:, 0]
    scores = one.labels[:, None] * (one.tokens @ one.decoder)
    gap = scores[:, 1] - scores[:, 0]
    share = special.expit(margin)
    output = scores[:, 0] + share * gap
    log_weight = -np.logaddexp(0, margin) - np.logaddexp(0, -margin) - np.logaddexp(0, output)
    return log_weight, gap


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("margin", [1.0, 30.0, 1000.0])
def test_it_is_right_at_any_margin(margin, dtype):
    one = problem(length=2, n=3, seed=3)
    rng = np.random.default_rng(4)
    weights = rng.standard_normal((3, 3))
    logits = np.einsum("ntd,de,ne->nt", one.tokens, weights, one.queries)
    weights *= margin / np.abs(logits[:, 1] - logits[:, 0]).max()
    log_weight, gap = two_token_coefficients(one, weights)
    coefficient = np.exp(log_weight - log_weight.max()) * gap
    expected = -np.einsum("n,nd,ne->de", coefficient, one.tokens[:, 1] - one.tokens[:, 0], one.queries)
    with jax.enable_x64(dtype is np.float64):
        small = jax.tree_util.tree_map(lambda leaf: np.asarray(leaf, dtype), one)
        found = stable_gradients(
            small, jnp.asarray(weights, dtype), jnp.asarray(one.decoder, dtype), LOSSES["logistic"]
        )
        value = np.asarray(found.weights.value, np.float64)
    assert found.weights.value.dtype == dtype
    cosine = np.vdot(value, expected) / np.linalg.norm(value) / np.linalg.norm(expected)
    # the logits are sums of 9 products of size `margin`: their rounding moves the weights by margin * eps
    assert 1.0 - cosine < max(1e-12, (20 * margin * np.finfo(dtype).eps) ** 2)


@pytest.mark.parametrize(("dtype", "margin"), [(np.float32, 30.0), (np.float64, 60.0)])
def test_plain_automatic_differentiation_fails_where_the_stable_form_does_not(margin, dtype):
    with jax.enable_x64(True):
        one = ts.RandomSelection().sample(jax.random.key(0))
    best = np.asarray(one.optimal_tokens())
    weights = margin * ts.max_margin(one, best).weights
    # near saturation the gradient is -sum_j beta_j exp(-a_j.W) a_j over the constraint rows a_j, beta_it =
    # (1/n) sigmoid(-gamma_best) (gamma_best - gamma_it); what is left out is smaller by exp(-margin)
    places, scores = np.arange(6), np.asarray(one.scores())
    rows = np.einsum("ntd,ne->ntde", one.tokens[places, best][:, None] - one.tokens, one.queries)
    gaps = scores[places, best][:, None] - scores
    log_beta = np.log(np.where(gaps > 0, gaps, 1)) - np.logaddexp(0, scores[places, best])[:, None]
    exponent = np.where(gaps > 0, log_beta - np.einsum("ntde,de->nt", rows, weights), -np.inf)
    expected = np.einsum("nt,ntde->de", np.exp(exponent - exponent.max()), rows)

    def cosine(gradients):
        with jax.enable_x64(dtype is np.float64):
            cast = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf, dtype), one)
            found = gradients(cast, jnp.asarray(weights, dtype), cast.decoder, LOSSES["logistic"])
            value = np.asarray(found.weights.value, np.float64)
        size = np.linalg.norm(value)
        return -np.vdot(value, expected) / size / np.linalg.norm(expected) if size > 0 else 0.0

    assert 1.0 - cosine(stable_gradients) < 1e-9
    assert cosine(autodiff_gradients) < 0.9


def test_a_coefficient_far_below_the_others_does_not_vanish():
    """Two tokens of one score hold all the attention: what moves W is the third, however little it has."""
    tokens = np.array([[[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    one = ts.SelectionProblem(tokens, [[1.0, 0.0, 0.0]], [1.0], [1.0, 0.0, 0.0])
    with jax.enable_x64(True):
        weights = jnp.zeros((3, 3)).at[2, 0].set(-2000.0)
        value, log_scale = map(np.asarray, stable_gradients(one, weights, one.decoder, LOSSES["logistic"]).weights)
    assert -2010 < log_scale < -1990
    assert np.abs(value).max() > 0.1


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_excess_loss_is_the_difference_and_keeps_its_digits(loss):
    one = problem(2)
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        weights, chosen = jnp.asarray(rng.standard_normal((3, 3))), one.optimal_tokens()
        found = excess_loss(one, weights, chosen, loss)
        scores = np.asarray(one.scores())
        saturated = np.mean(loss.value(jnp.asarray(scores.max(axis=1))))
        expected = loss_value(one, weights, jnp.asarray(one.decoder), loss) - saturated
        np.testing.assert_allclose(np.exp(found.log_scale) * found.value, expected, rtol=1e-10)
        solution = ts.max_margin(problem(1), np.asarray(problem(1).optimal_tokens()))
        single, far = problem(1), 3000.0 * solution.weights
        deep = excess_loss(single, jnp.asarray(far), single.optimal_tokens(), loss)
        # far out the excess is that of the least margin: its logarithm is minus 3000, up to a factor of order one
        assert abs(float(deep.log_scale + jnp.log(deep.value)) + 3000.0) < 10.0
        unselected = log_unselected(single, jnp.asarray(far), single.optimal_tokens())
        assert abs(float(unselected.max()) + 3000.0) < 5.0


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize(("t", "fall"), [(0.3, 1e-9), (2.0, 0.99), (2.0, 1.01), (1000.0, 2000.0), (750.0, 749.0)])
def test_the_drop_of_a_loss(loss, t, fall):
    with jax.enable_x64(True):
        found = float(loss.drop(jnp.asarray(t), jnp.asarray(fall)))
    value = {"Logistic": lambda x: np.logaddexp(0, -x), "Exponential": lambda x: np.exp(-x), "Linear": lambda x: -x}
    of = value[type(loss).__name__]
    slope = {"Logistic": special.expit(-t), "Exponential": np.exp(-t), "Linear": 1.0}[type(loss).__name__]
    with np.errstate(over="ignore"):
        expected = slope * fall if fall < 1e-6 else of(t - fall) - of(t)
    assert found == pytest.approx(expected, rel=1e-8)
