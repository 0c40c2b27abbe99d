"""L-BFGS for ridge ERM of a smooth loss: one product with the features and one with their transpose a step.

The scores are linear in the parameters, so the line search runs on the n scores alone and costs no product. The early
steps run in float32, whose products are twice to five times cheaper, and hand their curvature pairs to the float64
steps that finish.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from solvable.numerics.losses import Loss

MEMORY = 12
LINE_STEPS = 3
# Float32 gradients are good to about 1e-7 here; at this norm the float64 steps take over (measured best of 2e-5 to 3e-7
# that leaves a margin).
SINGLE_PRECISION_FLOOR = 1e-6


class _State(NamedTuple):
    x: Float[Array, "p+1"]
    scores: Float[Array, "n"]
    gradient: Float[Array, "p+1"]
    steps: Int[Array, ""]
    moves: Float[Array, "m p+1"]
    changes: Float[Array, "m p+1"]
    stalled: Array


def minimize_lbfgs(
    features: Float[Array, "n p"],
    labels: Float[Array, "n"],
    offset: Float[Array, "n"],
    ridge: Float[Array, ""],
    loss: Loss,
    intercept: bool,
    tolerance: Float[Array, ""],
    max_steps: int,
) -> tuple[Float[Array, "p"], Float[Array, ""], Float[Array, ""], Int[Array, ""]]:
    """(w, b, gradient norm, steps) of the minimiser of J; see `ridge_erm`."""
    p = features.shape[1]
    features32, labels32, offset32, ridge32 = (x.astype(jnp.float32) for x in (features, labels, offset, ridge))
    floor = jnp.float32(SINGLE_PRECISION_FLOOR)
    zero = jnp.zeros(p + 1, jnp.float32)
    pairs = jnp.zeros((MEMORY, p + 1), jnp.float32)
    state = _State(zero, offset32, zero, jnp.array(0), pairs, pairs, jnp.array(False))
    state = _descend(features32, labels32, offset32, ridge32, loss, intercept, floor, max_steps, state)
    state = jax.tree_util.tree_map(
        lambda leaf: leaf.astype(features.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, state
    )
    scores = features @ state.x[:-1] + state.x[-1] + offset
    state = state._replace(scores=scores, stalled=jnp.array(False))
    state = _descend(features, labels, offset, ridge, loss, intercept, tolerance, max_steps, state)
    return state.x[:-1], state.x[-1], jnp.linalg.norm(state.gradient), state.steps


def _descend(features, labels, offset, ridge, loss, intercept, tolerance, max_steps, state: _State) -> _State:
    n = labels.shape[0]
    dtype = features.dtype
    del offset

    def slope(margins):
        return loss.slope(margins).astype(dtype)  # constants of a user's loss may be of double precision

    def gradient(x, scores):
        slopes = labels * slope(labels * scores) / n
        bias = jnp.sum(slopes) if intercept else jnp.zeros((), dtype)
        return jnp.concatenate([slopes @ features + ridge * x[:-1], bias[None]])

    def step(state: _State) -> _State:
        direction = -_inverse_hessian(state.gradient, state.moves, state.changes)
        downhill = jnp.dot(direction, state.gradient) < 0
        direction = jnp.where(downhill, direction, -state.gradient)
        along = features @ direction[:-1] + direction[-1]
        squares = ridge * jnp.dot(direction[:-1], direction[:-1])
        slope0 = ridge * jnp.dot(direction[:-1], state.x[:-1])

        def line(length, _):
            # Newton on the one-dimensional convex objective, kept to at most a tenfold change of the length.
            margins = labels * (state.scores + length * along)
            first = jnp.sum(slope(margins) * labels * along) / n + slope0 + length * squares
            second = jnp.sum(loss.curvature(margins).astype(dtype) * along * along) / n + squares
            new = length - first / jnp.maximum(second, jnp.finfo(dtype).tiny)
            return jnp.clip(new, 0.1 * length, 10.0 * length), None

        length = jax.lax.scan(line, jnp.ones((), dtype), None, length=LINE_STEPS)[0]
        move = length * direction
        x, scores = state.x + move, state.scores + length * along
        new_gradient = gradient(x, scores)
        change = new_gradient - state.gradient
        product = jnp.dot(move, change)
        useful = product > jnp.finfo(dtype).eps * jnp.dot(change, change)

        def push(rows, row):
            return jnp.where(useful, jnp.concatenate([rows[1:], row[None]]), rows)

        return _State(
            x,
            scores,
            new_gradient,
            state.steps + 1,
            push(state.moves, move),
            push(state.changes, change),
            ~jnp.all(jnp.isfinite(new_gradient)) | ~useful,
        )

    def going(state: _State):
        return (jnp.linalg.norm(state.gradient) > tolerance) & (state.steps < max_steps) & ~state.stalled

    return jax.lax.while_loop(going, step, state._replace(gradient=gradient(state.x, state.scores)))


def _inverse_hessian(
    vector: Float[Array, "p+1"], moves: Float[Array, "m p+1"], changes: Float[Array, "m p+1"]
) -> Float[Array, "p+1"]:
    """H g in the compact form of Byrd, Nocedal and Schnabel (1994): matrix products in place of the two-loop recursion.

    With S, Y the moves and changes (oldest first), R the upper triangle of S Y^T, D its diagonal and c = <s, y>/<y, y>
    of the newest pair: u = R^-1 S g, v = R^-T ((D + c Y Y^T) u - c Y g), H g = c g + S^T v - c Y^T u.
    Empty rows are zero.
    """
    products = moves @ changes.T
    squares = changes @ changes.T
    diagonal = jnp.diagonal(products)
    filled = diagonal > 0
    upper = jnp.triu(products) + jnp.diag(jnp.where(filled, 0.0, 1.0).astype(vector.dtype))
    scale = jnp.where(filled[-1], diagonal[-1] / jnp.where(filled[-1], squares[-1, -1], 1.0), 1.0)
    u = jax.scipy.linalg.solve_triangular(upper, moves @ vector)
    middle = diagonal * u + scale * (squares @ u - changes @ vector)
    v = jax.scipy.linalg.solve_triangular(upper, middle, trans=1)
    return scale * vector + v @ moves - scale * (u @ changes)
