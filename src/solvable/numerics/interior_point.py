"""Interior-point Newton for the hinge loss with a ridge and a free bias (the soft-margin support-vector program)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

FRACTION_TO_BOUNDARY = 0.995


def hinge_interior_point(
    features: Float[Array, "n p"],
    labels: Float[Array, "n"],
    offset: Float[Array, "n"],
    ridge: Float[Array, ""],
    intercept: bool,
    tolerance: Float[Array, ""],
    max_steps: int,
) -> tuple[Float[Array, "p"], Float[Array, ""], Float[Array, ""], Int[Array, ""]]:
    """(w, b, duality gap of J, steps) by Mehrotra's predictor-corrector.

    Scaled by n the program is  min (K/2)||w||^2 + sum xi,  Z w + y b + o + xi - s = 1,  xi, s >= 0,  K = ridge n, rows
    Z_i = y_i x_i, o = y offset; multipliers alpha of the rows obey K w = Z^T alpha, <y, alpha> = 0, alpha s = 0,
    (1 - alpha) xi = 0. Each step solves one n x n or p x p system, whichever is smaller.
    """
    n, p = features.shape
    dtype = features.dtype
    rows, shift, penalty = labels[:, None] * features, labels * offset, ridge * n
    kernel = rows @ rows.T / penalty if n < p else None

    def solve(diagonal, residual_w, target, residual_b):
        """(dw, db, dalpha) of one Newton step.

        dalpha = D (target - Z dw - y db),  K dw - Z^T dalpha = residual_w,  <y, dalpha> = residual_b.
        """
        if kernel is not None:
            # Eliminate dw = (residual_w + Z^T dalpha)/K: (1/D + Z Z^T/K) dalpha = target - Z residual_w/K - y db.
            factor = jax.scipy.linalg.cho_factor(kernel + jnp.diag(1.0 / diagonal))
            sides = jnp.stack([target - rows @ residual_w / penalty, labels], axis=1)
            solved = jax.scipy.linalg.cho_solve(factor, sides)
            step_b = (
                (labels @ solved[:, 0] - residual_b) / (labels @ solved[:, 1]) if intercept else jnp.zeros((), dtype)
            )
            step_alpha = solved[:, 0] - step_b * solved[:, 1]
            return (residual_w + step_alpha @ rows) / penalty, step_b, step_alpha
        scaled = jnp.sqrt(diagonal)[:, None] * rows
        factor = jax.scipy.linalg.cho_factor(scaled.T @ scaled + penalty * jnp.eye(p, dtype=dtype))
        sides = jnp.stack([residual_w + (diagonal * target) @ rows, (diagonal * labels) @ rows], axis=1)
        solved = jax.scipy.linalg.cho_solve(factor, sides)
        # Substitute dw = solved_0 - db solved_1 into <y, dalpha> = residual_b.
        free = target - rows @ solved[:, 0]
        bound = labels - rows @ solved[:, 1]
        weighted = diagonal * labels
        step_b = (weighted @ free - residual_b) / (weighted @ bound) if intercept else jnp.zeros((), dtype)
        return solved[:, 0] - step_b * solved[:, 1], step_b, diagonal * (free - step_b * bound)

    def gap(weights, bias, alpha):
        """J minus the dual value of the multipliers (projected on their constraint by a shift of the bias equation)."""
        margins = rows @ weights + labels * bias + shift
        dual_weights = alpha @ rows / penalty
        primal = jnp.sum(jnp.maximum(1.0 - margins, 0.0)) + 0.5 * penalty * weights @ weights
        dual = jnp.sum(alpha * (1.0 - shift)) - 0.5 * penalty * dual_weights @ dual_weights
        return jnp.abs(primal - dual) / n + (jnp.abs(labels @ alpha) * jnp.abs(bias) / n if intercept else 0.0)

    def step(state):
        weights, bias, alpha, slack, surplus, _, steps, _ = state
        beta = 1.0 - alpha
        primal = rows @ weights + labels * bias + shift + slack - 1.0 - surplus
        residual_w = alpha @ rows - penalty * weights
        residual_b = -(labels @ alpha)
        diagonal = 1.0 / (surplus / alpha + slack / beta)
        mean = (alpha @ surplus + beta @ slack) / (2 * n)

        def direction(centre_s, centre_x):
            target = centre_s / alpha - primal - centre_x / beta
            dw, db, da = solve(diagonal, residual_w, target, residual_b)
            return dw, db, da, (centre_x + slack * da) / beta, (centre_s - surplus * da) / alpha

        def longest(da, dx, ds):
            ratios = [
                jnp.where(change < 0, -value / jnp.where(change < 0, change, -1.0), jnp.inf)
                for value, change in ((alpha, da), (beta, -da), (slack, dx), (surplus, ds))
            ]
            return jnp.minimum(1.0, FRACTION_TO_BOUNDARY * jnp.min(jnp.stack(ratios)))

        _, _, da, dx, ds = direction(-alpha * surplus, -beta * slack)
        t = longest(da, dx, ds)
        ahead = ((alpha + t * da) @ (surplus + t * ds) + (beta - t * da) @ (slack + t * dx)) / (2 * n)
        centre = mean * jnp.clip(ahead / mean, 0.0, 1.0) ** 3
        dw, db, da, dx, ds = direction(centre - alpha * surplus - da * ds, centre - beta * slack + da * dx)
        t = longest(da, dx, ds)
        new = (weights + t * dw, bias + t * db, alpha + t * da, slack + t * dx, surplus + t * ds)
        new_gap = gap(*new[:3])
        # Once the barrier is at rounding a step can only spoil the iterate: stop at the last one that is finite.
        good = jnp.isfinite(new_gap) & (new_gap < 1e3 * state[5])
        kept = [jnp.where(good, a, b) for a, b in zip((*new, new_gap), state[:6], strict=True)]
        return *kept, steps + 1, good & (t > 1e-8)

    def going(state):
        return (state[5] > tolerance) & (state[6] < min(max_steps, 200)) & state[7]

    half, one = jnp.full(n, 0.5, dtype), jnp.ones(n, dtype)
    start = (
        jnp.zeros(p, dtype),
        jnp.zeros((), dtype),
        half,
        one,
        one,
        jnp.array(jnp.inf, dtype),
        jnp.array(0),
        jnp.array(True),
    )
    final = jax.lax.while_loop(going, step, start)
    return final[0], final[1], final[5], final[6]
