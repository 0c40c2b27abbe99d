"""Softmax attention over row blocks: outputs, the loss and its gradients in one pass, without an n x n matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Logits a block: two arrays of them stay near the processor's own cache, and a block's fixed cost is spread out.
BLOCK = 2**18


class Gradients(NamedTuple):
    """The gradients of the loss; None where none was asked for."""

    value: Any
    score: Any
    tokens: Any = None
    targets: Any = None


def attended(score: Float[Array, "d d"], queries: Float[Array, "q d"], context: Float[Array, "n d"]) -> Array:
    """softmax(Q B X^T) X, (q, d)."""
    return _of_rows(lambda weights, total: weights @ context / total, score, queries, context)


def concentration(score: Float[Array, "d d"], queries: Float[Array, "q d"], context: Float[Array, "n d"]) -> Array:
    """sum_j P_ij^2 of every query, (q,)."""
    return _of_rows(lambda weights, total: jnp.sum(weights**2, axis=1) / total[:, 0] ** 2, score, queries, context)


@jax.custom_vjp
def streamed_loss(value: Array, score: Array, tokens: Array, targets: Array) -> Array:
    """(1/2n) |softmax(X B X^T) X A^T - Y|^2, for arrays of one dtype; memory grows like n, not n^2.

    Its gradient is computed along with it, in one pass over the rows: whatever a row of the loss contributes depends on
    that row of the attention alone, so each block of rows is attended once, and dropped.
    """
    residual = attended(score, tokens, tokens) @ value.T - targets
    return jnp.sum(residual * residual) / (2 * tokens.shape[0])


def _forward(value: Any, score: Any, tokens: Any, targets: Any) -> tuple[Array, Gradients]:
    arrays = value.value, score.value, tokens.value, targets.value
    loss, found = loss_and_gradients(*arrays, of_tokens=tokens.perturbed, of_targets=targets.perturbed)
    pairs = zip(found, arrays, strict=True)
    return loss, Gradients(*(jnp.zeros_like(one) if gradient is None else gradient for gradient, one in pairs))


def _backward(gradients: Gradients, cotangent: Any) -> tuple[Any, ...]:
    if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        return tuple(jnp.zeros_like(gradient) for gradient in gradients)
    return tuple(cotangent * gradient for gradient in gradients)


streamed_loss.defvjp(_forward, _backward, symbolic_zeros=True)


def loss_and_gradients(
    value: Float[Array, "m d"],
    score: Float[Array, "d d"],
    tokens: Float[Array, "n d"],
    targets: Float[Array, "n m"],
    of_tokens: bool = False,
    of_targets: bool = False,
) -> tuple[Array, Gradients]:
    """The loss and its gradients in A and B, in the tokens and the targets too where asked for.

    With P the attention, H = P X, r = H A^T - Y and c = r A / n:  G_A = r^T H / n,
    G_B = X^T [(P o (c X^T)) X - rowsum(c o H) H], o being the entrywise product.
    """
    n, dim = tokens.shape
    # r (X A^T)^T is r A X^T with m products an entry instead of d
    narrow = targets.shape[1] < dim
    carried = tokens @ value.T if narrow else tokens

    def rows(sums: tuple[Array, Gradients], block: tuple[Array, Array, Array]) -> Any:
        queries, goals, share = block
        weights, total = _exponentials(score, queries, tokens)
        mixed = weights @ tokens / total
        residual = mixed @ value.T - goals
        pull = residual * share[:, None]
        through = pull @ value  # c
        along = jnp.sum(through * mixed, axis=1, keepdims=True)
        slopes = weights * (((pull if narrow else through) / total) @ carried.T)
        in_logits = slopes @ tokens - along * mixed
        loss = 0.5 * jnp.sum(pull * residual)
        found = Gradients(pull.T @ mixed, queries.T @ in_logits)
        rest = ()
        if of_tokens:
            in_keys = (slopes - weights * (along / total)).T @ (queries @ score) + weights.T @ (through / total)
            found = found._replace(tokens=in_keys)
            rest = (in_logits @ score.T,)
        if of_targets:
            rest += (-pull,)
        return jax.tree_util.tree_map(jnp.add, sums, (loss, found)), rest

    start = Gradients(jnp.zeros_like(value), jnp.zeros_like(score), jnp.zeros_like(tokens) if of_tokens else None)
    shares = jnp.full((n,), 1.0 / n, tokens.dtype)
    blocks = _blocks(n, tokens, targets, shares)
    # a second derivative goes through this scan: it recomputes the blocks too
    (loss, found), rest = jax.lax.scan(jax.checkpoint(rows), (jnp.zeros((), tokens.dtype), start), blocks)
    whole = [part.reshape(-1, part.shape[-1])[:n] for part in rest]
    if of_tokens:
        found = found._replace(tokens=found.tokens + whole[0])
    if of_targets:
        found = found._replace(targets=whole[-1])
    return loss, found


def _exponentials(score: Array, queries: Array, context: Array) -> tuple[Array, Array]:
    """The attention of some queries times its row sums, and those sums."""
    logits = (queries @ score) @ context.T
    weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=1, keepdims=True)))
    return weights, jnp.sum(weights, axis=1, keepdims=True)


def _of_rows(function: Callable[[Array, Array], Array], score: Array, queries: Array, context: Array) -> Array:
    """What `function` makes of the exponentials of each block of queries, and of their sums."""

    def rows(block: tuple[Array]) -> Array:
        return function(*_exponentials(score, block[0], context))

    found = jax.lax.map(jax.checkpoint(rows), _blocks(context.shape[0], queries))
    return found.reshape(-1, *found.shape[2:])[: queries.shape[0]]


def _blocks(keys: int, *arrays: Array) -> tuple[Array, ...]:
    """The rows of the arrays in blocks of equal size, the last one filled up with zeros."""
    count = arrays[0].shape[0]
    number = -(-count // max(1, min(count, BLOCK // keys)))
    size = -(-count // number)
    filled = [jnp.pad(each, ((0, number * size - count),) + ((0, 0),) * (each.ndim - 1)) for each in arrays]
    return tuple(each.reshape(number, size, *each.shape[1:]) for each in filled)
