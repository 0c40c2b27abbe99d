"""Convex empirical risk minimisation with a ridge: one call, several methods, a certificate with every answer.

The objective is J(w, b) = (1/n) sum_i loss(y_i (<w, x_i> + b + offset_i)) + (ridge/2) ||w||^2;
the bias is not penalised.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.numerics.interior_point import hinge_interior_point
from solvable.numerics.lbfgs import minimize_lbfgs
from solvable.numerics.losses import Hinge, Loss, Square, get_loss
from solvable.numerics.newton import backtrack
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.proximal_gradient import dual_hinge_fista, minimize_fista
from solvable.numerics.results import Result, raise_unless_successful
from solvable.numerics.validation import choice, floating, number, truth

METHODS = ("auto", "direct", "lbfgs", "newton", "proximal_gradient")


class ERMSolution(eqx.Module):
    """Minimiser and certificate.

    `certificate` is the L2 norm of the gradient of J for a smooth loss and the duality gap J - dual for hinge;
    `objective` is J, `train_loss` its first term, `train_error` the share of y u <= 0.
    """

    weights: Float[Array, "p"]
    bias: Float[Array, ""]
    objective: Float[Array, ""]
    train_loss: Float[Array, ""]
    train_error: Float[Array, ""]
    certificate: Float[Array, ""]
    steps: Int[Array, ""]
    result: Int[Array, ""]


class Minimum(NamedTuple):
    """What a method hands back: (w, b), its certificate and the steps taken."""

    weights: Float[Array, "p"]
    bias: Float[Array, ""]
    certificate: Float[Array, ""]
    steps: Int[Array, ""]


@float64
def ridge_erm(
    features: Float[Array, "n p"],
    labels: Float[Array, "n"],
    loss: str | Loss,
    ridge: Float[Array, ""],
    *,
    offset: Float[Array, "n"] | None = None,
    intercept: bool = True,
    method: str = "auto",
    tolerance: float | None = None,
    max_steps: int = 2000,
    throw: bool = True,
) -> ERMSolution:
    """Minimise J over (w, b).

    Arguments: features (n, p), labels (n,) in {-1, +1}, a loss or its name, ridge >= 0, a fixed `offset` added to every
    score, `intercept` False to hold b at 0. `method`: "direct" (square loss), "lbfgs", "newton" (damped; for hinge the
    interior-point form of it), "proximal_gradient" (accelerated; for hinge on the dual), or "auto". `tolerance` bounds
    the certificate; None is 1e-8 for a gradient and 1e-7 ridge for a duality gap, as ||w - w*|| <= gradient/ridge and
    ||w - w*||^2 <= 2 gap/ridge. `throw` False returns an unsuccessful solution with its `result` instead of raising.
    Runs in float64 under an x64 context; jit-able and batched by `batched_map`.
    Raises: ValueError for a method that does not fit the loss; SolveError when the certificate misses its tolerance.
    """
    loss = get_loss(loss)
    features = as_float64(floating("features", features, np.float64))
    labels = as_float64(floating("labels", labels, np.float64))
    ridge = as_float64(number("ridge", ridge, at_least=0.0))
    choice("method", method, METHODS)
    intercept = truth("intercept", intercept)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features has shape {features.shape}; accepted: (n, p) with n, p >= 1")
    if labels.shape != features.shape[:1]:
        raise ValueError(f"labels has shape {labels.shape}; accepted: {features.shape[:1]}, one for each row")
    method = _automatic(loss, features.shape) if method == "auto" else method
    if method == "direct" and not isinstance(loss, Square):
        raise ValueError(
            f"method='direct' solves the square loss; accepted for {type(loss).__name__}: 'lbfgs', 'newton'"
        )
    if method == "lbfgs" and isinstance(loss, Hinge):
        raise ValueError("method='lbfgs' needs a smooth loss; accepted for hinge: 'newton', 'proximal_gradient'")
    if tolerance is None:
        bound = 1e-7 * ridge if isinstance(loss, Hinge) else as_float64(1e-8)
    else:
        bound = as_float64(number("tolerance", tolerance, above=0.0))
    shift = as_float64(np.zeros(labels.shape) if offset is None else floating("offset", offset, np.float64))
    if shift.shape != labels.shape:
        raise ValueError(f"offset has shape {shift.shape}; accepted: {labels.shape}, one for each row")
    solution = _solved(loss, (features, labels, shift, ridge), bound, method, intercept, max_steps)
    if truth("throw", throw):
        raise_unless_successful(
            solution.result, f"ridge_erm(method={method!r})", f" (certificate {solution.certificate})"
        )
    return solution


@eqx.filter_jit
def _solved(
    loss: Loss, problem: tuple[Any, Any, Any, Any], bound: Any, method: str, intercept: bool, max_steps: int
) -> ERMSolution:
    """The solution of a checked problem. Compiled: outside jit a loop would be compiled anew in every call."""
    features, labels, offset, ridge = problem
    if isinstance(loss, Hinge):
        solver = hinge_interior_point if method == "newton" else dual_hinge_fista
        found = Minimum(*solver(*problem, intercept, bound, max_steps))
    elif method == "direct":
        found = Minimum(*_square_direct(*problem, intercept))
    elif method == "newton":
        found = Minimum(*_newton(*problem, loss, intercept, bound, max_steps))
    else:
        solver = minimize_lbfgs if method == "lbfgs" else minimize_fista
        found = Minimum(*solver(*problem, loss, intercept, bound, max_steps))
    margins = labels * (features @ found.weights + found.bias + offset)
    train_loss = jnp.mean(loss.value(margins))
    code = jnp.where(found.certificate <= bound, int(Result.SUCCESSFUL), int(Result.MAX_STEPS))
    if not isinstance(loss, Square):
        # Without a ridge, weights that separate the data can grow for ever.
        code = jnp.where((ridge == 0.0) & jnp.all(margins > 0.0), int(Result.NO_MINIMISER), code)
    code = jnp.where(jnp.isfinite(found.certificate), code, int(Result.NONFINITE))
    return ERMSolution(
        weights=found.weights,
        bias=found.bias,
        objective=train_loss + 0.5 * ridge * jnp.sum(found.weights**2),
        train_loss=train_loss,
        train_error=jnp.mean(jnp.where(margins <= 0.0, 1.0, 0.0)),
        certificate=found.certificate,
        steps=found.steps,
        result=code,
    )


def gradient(
    features: Float[Array, "n p"],
    labels: Float[Array, "n"],
    offset: Float[Array, "n"],
    ridge: Float[Array, ""],
    loss: Loss,
    weights: Float[Array, "p"],
    bias: Float[Array, ""],
) -> tuple[Float[Array, "p"], Float[Array, ""]]:
    """The gradient of J by (w, b)."""
    slopes = labels * loss.slope(labels * (features @ weights + bias + offset)) / labels.shape[0]
    return slopes @ features + ridge * weights, jnp.sum(slopes)


def _automatic(loss: Loss, shape: tuple[int, ...]) -> str:
    if isinstance(loss, Square):
        return "direct"
    return "newton" if isinstance(loss, Hinge) or shape[1] <= 32 else "lbfgs"


def _norm(by_weights: Float[Array, "p"], by_bias: Float[Array, ""], intercept: bool) -> Float[Array, ""]:
    return jnp.sqrt(jnp.sum(by_weights**2) + (by_bias**2 if intercept else 0.0))


def _regularised_solve(
    features: Float[Array, "n p"],
    curvature: Float[Array, "n"],
    ridge: Float[Array, ""],
    target: Float[Array, "n"],
    intercept: bool,
) -> tuple[Float[Array, "p"], Float[Array, ""]]:
    """argmin (1/2n) sum curvature_i (target_i - <w, x_i> - b)^2 + (ridge/2) ||w||^2, in the smaller of primal, dual."""
    n, p = features.shape
    root = jnp.sqrt(curvature)
    if p <= n:
        scaled = root[:, None] * features
        gram = scaled.T @ scaled / n + ridge * jnp.eye(p, dtype=features.dtype)
        factor = jax.scipy.linalg.cho_factor(gram)
        sides = jnp.stack([curvature * target, curvature], axis=1)
        solved = jax.scipy.linalg.cho_solve(factor, (features.T @ sides) / n)
        if not intercept:
            return solved[:, 0], jnp.zeros((), features.dtype)
        # Eliminate the bias: sum curvature (target - X w - b) = 0 with w = solved_0 - b solved_1.
        ones = jnp.sum(curvature * (1.0 - features @ solved[:, 1]))
        bias = jnp.sum(curvature * (target - features @ solved[:, 0])) / ones
        return solved[:, 0] - bias * solved[:, 1], bias
    scaled = root[:, None] * features
    kernel = scaled @ scaled.T / n + ridge * jnp.eye(n, dtype=features.dtype)
    factor = jax.scipy.linalg.cho_factor(kernel)
    solved = jax.scipy.linalg.cho_solve(factor, jnp.stack([root * target, root], axis=1))
    bias = jnp.sum(root * solved[:, 0]) / jnp.sum(root * solved[:, 1]) if intercept else jnp.zeros((), features.dtype)
    return (root * (solved[:, 0] - bias * solved[:, 1])) @ features / n, bias


def _square_direct(features, labels, offset, ridge, intercept):
    weights, bias = _regularised_solve(features, jnp.ones_like(labels), ridge, labels - offset, intercept)
    by_weights, by_bias = gradient(features, labels, offset, ridge, Square(), weights, bias)
    return weights, bias, _norm(by_weights, by_bias, intercept), jnp.array(1)


def _newton(features, labels, offset, ridge, loss, intercept, tolerance, max_steps):
    """Newton's method with backtracking (Armijo) on the objective."""
    n, p = features.shape

    def objective(scores, weights):
        return jnp.mean(loss.value(labels * scores)) + 0.5 * ridge * jnp.sum(weights**2)

    def turn(state):
        weights, bias, _, steps, _ = state
        scores = features @ weights + bias + offset
        margins = labels * scores
        curvature = jnp.maximum(loss.curvature(margins), 1e-14)
        slopes = labels * loss.slope(margins)
        by_weights, by_bias = slopes @ features / n + ridge * weights, jnp.mean(slopes)
        # The Newton point is a weighted least-squares fit to the working response.
        target = features @ weights + bias - slopes / curvature
        new_weights, new_bias = _regularised_solve(features, curvature, ridge, target, intercept)
        step, bias_step = new_weights - weights, new_bias - bias
        along = features @ step + bias_step
        descent = by_weights @ step + (by_bias * bias_step if intercept else 0.0)
        value = objective(scores, weights)

        def trial(length):
            return objective(scores + length * along, weights + length * step)

        length = backtrack(trial, value, descent, 1e-15 * (1.0 + jnp.abs(value)), 1e-10)
        weights, bias = weights + length * step, bias + length * bias_step
        norm = _norm(*gradient(features, labels, offset, ridge, loss, weights, bias), intercept)
        return weights, bias, norm, steps + 1, length

    def going(state):
        return (state[2] > tolerance) & (state[3] < max_steps) & (state[4] > 1e-9)

    zero = jnp.zeros((), features.dtype)
    start = (jnp.zeros(p, features.dtype), zero, jnp.array(jnp.inf), jnp.array(0), jnp.array(1.0))
    return jax.lax.while_loop(going, turn, start)[:4]
