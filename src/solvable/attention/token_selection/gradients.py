"""The loss, its excess over the saturated one, and its gradient in the form that survives saturation.

With the attention s_it of the token t and r the token attended to most, the gradient in W (here for one query) is

    (1/n) sum_i loss'(y_i f_i) sum_{t != r} s_it (delta_it - mean_i) (x_it - x_ir) z_i^T,
    delta_it = gamma_it - gamma_ir,    mean_i = sum_t s_it delta_it.

Differentiating the softmax as it is written computes gamma_ir - sum_t s_it gamma_it by cancellation: once 1 - s_ir is
below the machine's precision the winner's coefficient is rounding noise while the losers' are right, so a normalised
step walks in a wrong direction. Here the winner's coefficient is minus the sum of the losers', and all coefficients are
computed as logarithms and share one factored-out scale, so that nothing underflows however large W is.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from solvable.attention.token_selection.task import Selected, SelectionProblem, Vector, Weights, first_largest
from solvable.numerics.losses import DecreasingLoss


class Scaled(NamedTuple):
    """The number or array exp(log_scale) * value, of which value has a normal size."""

    value: Float[Array, "..."]
    log_scale: Float[Array, ""]


class Gradients(NamedTuple):
    """The loss gradients in W (d, d) and v (d,), each scaled by itself."""

    weights: Scaled
    decoder: Scaled


def attention_logits(problem: SelectionProblem, weights: Weights) -> Float[Array, "n m T"]:
    """h_it = x_it^T W z_i, for every query."""
    turned = jnp.einsum("de,nme->nmd", weights, problem.query_sets)
    return jnp.einsum("nmd,ntd->nmt", turned, problem.tokens)


def loss_value(problem: SelectionProblem, weights: Weights, decoder: Vector, loss: DecreasingLoss) -> Float[Array, ""]:
    """(1/n) sum_i loss(y_i f_i), as it is written."""
    attention = attention_maps(problem, weights)
    outputs = jnp.mean(jnp.sum(attention * problem.scores(decoder)[:, None, :], axis=-1), axis=-1)
    return jnp.mean(loss.value(outputs))


def autodiff_gradients(problem: SelectionProblem, weights: Weights, decoder: Vector, loss: DecreasingLoss) -> Gradients:
    """What automatic differentiation of the loss gives: exact until the attention saturates, then noise."""
    found = jax.grad(loss_value, argnums=(1, 2))(problem, weights, decoder, loss)
    return Gradients(*(Scaled(value, jnp.zeros((), value.dtype)) for value in found))


def stable_gradients(problem: SelectionProblem, weights: Weights, decoder: Vector, loss: DecreasingLoss) -> Gradients:
    """The gradients at any margin, in single precision too."""
    n, length = problem.labels.shape[0], problem.tokens.shape[1]
    logits = attention_logits(problem, weights)
    queries = logits.shape[1]
    # tokens along the leading axis, sequences and their queries along one other: a CPU then works on whole vectors
    logits = logits.reshape(n * queries, length).T
    scores = jnp.repeat(problem.scores(decoder), queries, axis=0).T
    behind = logits - jnp.max(logits, axis=0)[None]
    loses = jnp.arange(length)[:, None] != first_largest(logits.T)[None]
    rest = jnp.where(loses, jnp.exp(behind), 0.0)
    total = 1.0 + jnp.sum(rest, axis=0)
    best = jnp.sum(jnp.where(loses, 0.0, scores), axis=0)
    output = best + jnp.sum(rest * (scores - best[None]), axis=0) / total
    log_slope = loss.log_slope(jnp.mean(output.reshape(n, queries), axis=1))
    # gradient in W: the coefficient of a loser is attention * slope * difference of scores, the winner's the rest to 0;
    # a logarithm needs no relative accuracy, so log(total), not log1p
    difference = jnp.where(loses, scores - output[None], 0.0)
    level = jnp.repeat(log_slope, queries) - jnp.log(total)
    exponent = jnp.where(difference != 0.0, behind + level[None], -jnp.inf)
    largest = jnp.max(exponent)
    shift = jnp.where(jnp.isfinite(largest), largest, 0.0)
    losers = jnp.exp(exponent - shift) * difference
    coefficients = jnp.where(loses, losers, -jnp.sum(losers, axis=0)[None]).T.reshape(n, queries, length)
    pulled = jnp.einsum("nmt,ntd->nmd", coefficients, problem.tokens)
    in_weights = -jnp.einsum("nmd,nme->de", pulled, problem.query_sets) / (n * queries)
    # gradient in v: slope times the attended token, whose own scale is that of the largest slope
    slopes = jnp.exp(log_slope - jnp.max(log_slope)) * problem.labels
    share = jnp.mean((jnp.where(loses, rest, 1.0) / total[None]).T.reshape(n, queries, length), axis=1)
    attended = jnp.einsum("nt,ntd->nd", share, problem.tokens)
    in_decoder = -jnp.einsum("n,nd->d", slopes, attended) / n
    return Gradients(Scaled(in_weights, shift), Scaled(in_decoder, jnp.max(log_slope)))


def excess_loss(problem: SelectionProblem, weights: Weights, selected: Selected, loss: DecreasingLoss) -> Scaled:
    """L(W) minus the loss of attention that is saturated on the selected tokens, to relative accuracy.

    (1/n) sum_i [loss(gamma_i - fall_i) - loss(gamma_i)], gamma_i the mean score of the selected tokens,
    fall_i = sum_{t != selected} s_it (gamma_i,selected - gamma_it). Negative where the rest scores higher.
    """
    scores = problem.scores()[:, None, :]
    logits, place, rest = selected_and_rest(problem, weights, selected)
    log_attention = jax.nn.log_softmax(logits, axis=-1)
    best = jnp.take_along_axis(jnp.broadcast_to(scores, logits.shape), place, axis=-1)
    gaps = jnp.where(rest, best - scores, 0.0)
    exponent = jnp.where(gaps != 0.0, log_attention, -jnp.inf)
    largest = jnp.max(exponent)
    shift = jnp.where(jnp.isfinite(largest), largest, 0.0)
    falls = jnp.mean(jnp.sum(jnp.exp(exponent - shift) * gaps, axis=-1), axis=-1)  # (n,), in units of exp(shift)
    gamma = jnp.mean(best[..., 0], axis=-1)
    # below the square of the precision the drop is linear in the fall, whose own scale would underflow
    tiny = shift < 2.0 * jnp.log(jnp.finfo(logits.dtype).eps)
    scale = jnp.exp(jnp.where(tiny, 0.0, shift))
    linear = jnp.exp(loss.log_slope(gamma)) * falls
    return Scaled(jnp.mean(jnp.where(tiny, linear, loss.drop(gamma, scale * falls) / scale)), shift)


def selected_and_rest(
    problem: SelectionProblem, weights: Weights, selected: Selected
) -> tuple[Float[Array, "n m T"], Int[Array, "n m 1"], Bool[Array, "n m T"]]:
    """The logits, the selected token of every query, from one a sequence or one a query, and where the others are."""
    logits = attention_logits(problem, weights)
    place = jnp.broadcast_to(selected.reshape(len(selected), -1), logits.shape[:2])[..., None]
    return logits, place, jnp.arange(logits.shape[-1])[None, None, :] != place


def attention_maps(problem: SelectionProblem, weights: Weights) -> Float[Array, "n m T"]:
    """softmax_t of the logits."""
    return jax.nn.softmax(attention_logits(problem, weights), axis=-1)


def largest_attention(problem: SelectionProblem, weights: Weights) -> tuple[Selected, Float[Array, ""]]:
    """The token with the largest attention, one a sequence or, where it has several queries, one a query; the mean of
    that attention.
    """
    maps = attention_maps(problem, weights)
    selected = first_largest(maps)
    return selected[:, 0] if problem.queries.ndim == 2 else selected, jnp.mean(jnp.max(maps, axis=-1))


def log_unselected(problem: SelectionProblem, weights: Weights, selected: Selected) -> Float[Array, "n m"]:
    """log(1 - s_i,selected), to relative accuracy."""
    logits, _, others = selected_and_rest(problem, weights, selected)
    rest = jnp.where(others, logits, -jnp.inf)
    return jax.nn.logsumexp(rest, axis=-1) - jax.nn.logsumexp(logits, axis=-1)
