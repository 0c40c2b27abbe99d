"""Accelerated proximal gradient (FISTA with restarts) for ridge ERM: on the primal, or for hinge on the dual."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from solvable.numerics.bisection import bisect
from solvable.numerics.losses import Loss

POWER_STEPS = 60


def largest_square(features: Float[Array, "n p"]) -> Float[Array, ""]:
    """An upper estimate of the squared largest singular value of (features, 1) (power iteration plus two per cent)."""
    # A start without structure: the row sums of standardised features, for one, know nothing of their directions.
    start = jnp.cos(jnp.arange(features.shape[1] + 1, dtype=features.dtype))

    def turn(_, vector):
        vector = vector / jnp.linalg.norm(vector)
        scores = features @ vector[:-1] + vector[-1]
        return jnp.concatenate([scores @ features, jnp.sum(scores)[None]])

    return 1.02 * jnp.linalg.norm(jax.lax.fori_loop(0, POWER_STEPS, turn, start))


def _accelerate(gradient_step, certificate, start, tolerance, max_steps, check_every=10):
    """Nesterov's scheme for x <- gradient_step(y), restarted when the momentum points uphill."""

    def turn(state):
        x, y, momentum, _, steps = state
        new = gradient_step(y)
        uphill = jnp.sum((y - new) * (new - x)) > 0
        grown = 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * momentum**2))
        weight = jnp.where(uphill, 0.0, (momentum - 1.0) / grown)
        return new, new + weight * (new - x), jnp.where(uphill, 1.0, grown), state[3], steps + 1

    def block(state):
        state = jax.lax.fori_loop(0, check_every, lambda _, inner: turn(inner), state)
        return (*state[:3], certificate(state[0]), state[4])

    def going(state):
        return (state[3] > tolerance) & (state[4] < max_steps)

    one = jnp.ones((), start.dtype)
    x, _, _, value, steps = jax.lax.while_loop(going, block, (start, start, one, one * jnp.inf, jnp.array(0)))
    return x, value, steps


def minimize_fista(
    features: Float[Array, "n p"],
    labels: Float[Array, "n"],
    offset: Float[Array, "n"],
    ridge: Float[Array, ""],
    loss: Loss,
    intercept: bool,
    tolerance: Float[Array, ""],
    max_steps: int,
) -> tuple[Float[Array, "p"], Float[Array, ""], Float[Array, ""], Int[Array, ""]]:
    """(w, b, gradient norm, steps) of J: gradient steps on the mean loss, proximal steps on the ridge.

    The curvature of the loss is taken to be largest at the margin 0 (so for logistic 1/4, for square 1).
    """
    n, p = features.shape
    bound = loss.curvature(jnp.zeros((), features.dtype)) * largest_square(features) / n
    free = 1.0 if intercept else 0.0

    def slopes_of(x):
        slopes = labels * loss.slope(labels * (features @ x[:-1] + x[-1] + offset)) / n
        return jnp.concatenate([slopes @ features, free * jnp.sum(slopes)[None]])

    shrink = jnp.concatenate([jnp.full(p, 1.0, features.dtype) / (1.0 + ridge / bound), jnp.ones(1, features.dtype)])
    penalty = jnp.concatenate([jnp.full(p, 1.0, features.dtype) * ridge, jnp.zeros(1, features.dtype)])
    x, norm, steps = _accelerate(
        lambda y: shrink * (y - slopes_of(y) / bound),
        lambda x: jnp.linalg.norm(slopes_of(x) + penalty * x),
        jnp.zeros(p + 1, features.dtype),
        tolerance,
        10 * max_steps,
    )
    return x[:-1], x[-1], norm, steps


def dual_hinge_fista(
    features: Float[Array, "n p"],
    labels: Float[Array, "n"],
    offset: Float[Array, "n"],
    ridge: Float[Array, ""],
    intercept: bool,
    tolerance: Float[Array, ""],
    max_steps: int,
) -> tuple[Float[Array, "p"], Float[Array, ""], Float[Array, ""], Int[Array, ""]]:
    """(w, b, duality gap, steps) for hinge: projected gradient on the dual over {0 <= alpha <= 1, <y, alpha> = 0}."""
    n = labels.shape[0]
    rows, penalty = labels[:, None] * features, ridge * n
    gain = 1.0 - labels * offset
    bound = largest_square(features) / penalty

    def project(alpha):
        if not intercept:
            return jnp.clip(alpha, 0.0, 1.0)
        # The projection is clip(alpha - mu y) with mu the root of a decreasing piecewise linear function: bisect.
        reach = jnp.max(jnp.abs(alpha)) + 1.0

        mu = bisect(lambda mu: labels @ jnp.clip(alpha - mu * labels, 0.0, 1.0) > 0, -reach, reach, 60)
        return jnp.clip(alpha - mu * labels, 0.0, 1.0)

    def best_bias(scores):
        """The bias minimising the mean hinge loss: a kink of it, y_i - score_i, found through the sorted kinks."""
        if not intercept:
            return jnp.zeros((), features.dtype)
        kinks = labels - scores
        order = jnp.argsort(kinks)
        kinks = kinks[order]
        # The slope in b starts at minus the number of positives and grows by one at every kink.
        slope = jnp.arange(1, n + 1) - jnp.sum(labels > 0)
        return kinks[jnp.argmax(slope >= 0)]

    def primal(alpha):
        weights = alpha @ rows / penalty
        scores = features @ weights + offset
        bias = best_bias(scores)
        value = jnp.mean(jnp.maximum(1.0 - labels * (scores + bias), 0.0)) + 0.5 * ridge * weights @ weights
        return weights, bias, value - (alpha @ gain / n - 0.5 * ridge * weights @ weights)

    alpha, gap, steps = _accelerate(
        lambda alpha: project(alpha - (rows @ (alpha @ rows) / penalty - gain) / bound),
        lambda alpha: primal(alpha)[2],
        project(jnp.full(n, 0.5, features.dtype)),
        tolerance,
        10 * max_steps,
    )
    weights, bias, _ = primal(alpha)
    return weights, bias, gap, steps
