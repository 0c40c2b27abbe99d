"""The layer: its loss and gradients against the direct formula, finite differences and a naive softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.attention import self_attention as sa
from solvable.attention.self_attention import streaming

N, D, M = 37, 4, 3


def arrays(dtype=np.float64, outputs=M, rows=N):
    draw = np.random.default_rng(3)
    params = sa.Parameters(draw.normal(size=(outputs, D)).astype(dtype), 0.3 * draw.normal(size=(D, D)).astype(dtype))
    return params, draw.normal(size=(rows, D)).astype(dtype), draw.normal(size=(rows, outputs)).astype(dtype)


def direct(params, tokens, targets):
    """The formula as it stands, with an n x n softmax."""
    attention = jax.nn.softmax(tokens @ params.score @ tokens.T, axis=-1)
    residual = attention @ tokens @ params.value.T - targets
    return jnp.sum(residual * residual) / (2 * tokens.shape[0])


@pytest.mark.parametrize("outputs", [M, D + 1])  # the two orders of the product in the backward pass
def test_loss_and_gradients_are_those_of_the_direct_formula(monkeypatch, outputs):
    """In blocks of five rows, the last one filled up."""
    rows = N + 1  # a size of its own, so that nothing compiled with larger blocks is reused
    monkeypatch.setattr(streaming, "BLOCK", 5 * rows)
    params, tokens, targets = arrays(outputs=outputs, rows=rows)
    with jax.enable_x64(True):
        plain = jax.tree_util.tree_map(jnp.asarray, (params, tokens, targets))
        expected = jax.jit(jax.value_and_grad(direct, argnums=(0, 1, 2)))(*plain)
        found = jax.value_and_grad(sa.loss, argnums=(0, 1, 2))(*plain)
        only_weights = jax.grad(sa.loss)(plain[0], tokens, targets)
    assert sa.loss(params, tokens, targets).dtype == np.float64  # without double precision switched on
    np.testing.assert_allclose(sa.loss(params, tokens, targets), expected[0], rtol=1e-13)
    for one, other in zip(*map(jax.tree_util.tree_leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    np.testing.assert_allclose(only_weights.score, expected[1][0].score, atol=1e-12)


def test_gradients_are_finite_differences():
    params, tokens, targets = arrays()
    with jax.enable_x64(True):
        found = jax.grad(sa.loss)(jax.tree_util.tree_map(jnp.asarray, params), tokens, targets)
    step = 1e-6
    for name, place in (("value", (1, 2)), ("score", (3, 0)), ("score", (2, 2))):
        sides = []
        for sign in (1.0, -1.0):
            moved = {part: np.array(getattr(params, part)) for part in ("value", "score")}
            moved[name][place] += sign * step
            sides.append(float(sa.loss(sa.Parameters(**moved), tokens, targets)))
        np.testing.assert_allclose(getattr(found, name)[place], (sides[0] - sides[1]) / (2 * step), rtol=2e-8)


def test_single_precision_stays_single():
    params, tokens, targets = arrays(np.float32)
    loss, gradient = jax.value_and_grad(sa.loss)(params, tokens, targets)
    expected = direct(*jax.tree_util.tree_map(lambda leaf: np.asarray(leaf, np.float64), (params, tokens, targets)))
    assert loss.dtype == gradient.value.dtype == gradient.score.dtype == np.float32
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert sa.loss(params, tokens.astype(np.float64), targets).dtype == np.float32  # the parameters decide
    assert sa.attend(params, tokens[:2], tokens).dtype == np.float32
    half = jax.tree_util.tree_map(lambda leaf: leaf.astype(np.float16), params)
    assert sa.loss(half, tokens, targets).dtype == np.float32


def test_second_derivatives_and_vmap():
    params, tokens, targets = arrays()

    def curvature(loss):
        def size(score):
            return jnp.sum(jax.grad(lambda b: loss(sa.Parameters(params.value, b), tokens, targets))(score) ** 2)

        return jax.jit(jax.grad(size))(jnp.asarray(params.score))

    with jax.enable_x64(True):
        wanted = curvature(lambda p, x, y: direct(p, jnp.asarray(x), jnp.asarray(y)))
        np.testing.assert_allclose(curvature(sa.loss), wanted, atol=1e-12)
        twice = jax.vmap(sa.loss, in_axes=(None, 0, 0))(
            jax.tree_util.tree_map(jnp.asarray, params), jnp.stack([tokens, 2 * tokens]), jnp.stack([targets, targets])
        )
    np.testing.assert_allclose(twice, [sa.loss(params, x, targets) for x in (tokens, 2 * tokens)], rtol=1e-13)


def test_memory_does_not_grow_like_n_squared():
    def temporary(n):
        shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((M, D), (D, D), (n, D), (n, M))]

        def loss(value, score, tokens, targets):
            return sa.loss(sa.Parameters(value, score), tokens, targets)

        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = temporary(4000), temporary(40_000)
    assert large < 2 * small + 40_000 * 4 * (D + M) * 8
    assert large < 40_000**2 * 4 / 100


def test_large_scores_do_not_overflow_and_attention_of_one_token_copies_it():
    params, tokens, targets = arrays()
    peaked = sa.Parameters(params.value, 1e4 * np.eye(D))
    longest = tokens[np.argmax(np.linalg.norm(tokens, axis=1))][None]
    assert np.isfinite(sa.loss(peaked, tokens, targets))
    np.testing.assert_allclose(sa.attend(peaked, longest, tokens), longest @ params.value.T, rtol=1e-12)
    np.testing.assert_allclose(sa.effective_tokens(peaked, longest, tokens), 1.0)
    flat = sa.Parameters(params.value, np.zeros((D, D)))
    np.testing.assert_allclose(sa.effective_tokens(flat, tokens[:5], tokens), N)
    np.testing.assert_allclose(sa.attend(flat, tokens[:1], tokens)[0], params.value @ tokens.mean(axis=0), rtol=1e-12)


def test_the_order_of_the_tokens_does_not_matter():
    params, tokens, targets = arrays()
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_allclose(
        sa.loss(params, tokens[order], targets[order]), sa.loss(params, tokens, targets), rtol=1e-13
    )
    np.testing.assert_allclose(sa.attend(params, tokens[:3], tokens[order]), sa.attend(params, tokens[:3], tokens))


def test_bad_input_is_answered_in_one_sentence():
    params, tokens, targets = arrays()
    with pytest.raises(ValueError, match=r"score has shape \(3, 3\); accepted: \(4, 4\)"):
        sa.Parameters(params.value, np.eye(3))
    with pytest.raises(ValueError, match=r"value has shape \(4,\)"):
        sa.Parameters(np.ones(4), np.eye(4))
    with pytest.raises(ValueError, match=r"tokens has shape \(37, 3\); accepted: \(n, 4\)"):
        sa.loss(params, tokens[:, :3], targets)
    with pytest.raises(ValueError, match=r"targets has shape \(36, 3\); accepted: \(37, 3\)"):
        sa.loss(params, tokens, targets[1:])
    spoilt = tokens.copy()
    spoilt[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"tokens holds nan at \(2, 1\)"):
        sa.loss(params, spoilt, targets)
    with pytest.raises(ValueError, match="queries has shape"):
        sa.attend(params, tokens[0], tokens)
    with pytest.raises(TypeError, match="not one layer"):
        sa.loss((params.value, params.score), tokens, targets)
