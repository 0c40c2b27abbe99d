"""Capacity: up to how many samples per dimension the features are linearly separable."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.algorithms import FixedQueryAttention, FlatLinear, HeadAlgorithm, head_only
from solvable.attention.sparse_tokens.features import Features, Quadrature, attention_features, mixture_features
from solvable.attention.sparse_tokens.task import SparseTokens
from solvable.numerics.estimate import Estimate
from solvable.numerics.gaussian import mean_and_standard_error, positive_part_square
from solvable.numerics.newton import backtrack
from solvable.numerics.precision import as_float64, batched_map
from solvable.numerics.results import Result, raise_unless_successful

CAPACITY_QUADRATURE = Quadrature(points=2**16)
TURNS = 60
UNRESOLVED = 0.1


def capacity(task: SparseTokens, algorithm: HeadAlgorithm, quadrature: Quadrature = CAPACITY_QUADRATURE) -> Estimate:
    """The largest n/d at which the features are linearly separable (with a bias), in the limit.

    1/capacity = min over (w1, w2, b) of E[(sqrt(1 + w2^2) G - y (w1 A + w2 kappa c + b)/r)_+^2], a convex program whose
    Gaussian average is closed. Conjecture 1 of arXiv:2509.25153 states a threshold; this expression is derived here by
    the Gaussian min-max comparison. Flat: length times the threshold of the mixture.

    Returns: a float with `.standard_error` and `.stats` (over the quadrature's scramblings).
    Raises: ValueError for a TwoStepAttention (pass `fixed_query(...)`); SolveError when the program is not solved.
    """
    head_only(algorithm, "capacity")
    with jax.enable_x64(True):
        attention = isinstance(algorithm, FixedQueryAttention)
        rules = quadrature.bags(task.length) if attention else quadrature.shifts()
        query = (algorithm.cosine, algorithm.sharpness) if isinstance(algorithm, FixedQueryAttention) else None
        inverse, norms = _inverse_capacity(task, query, rules)
        code = np.where(np.asarray(norms) < 1e-8, int(Result.SUCCESSFUL), int(Result.MAX_STEPS))
        raise_unless_successful(code, "capacity")
        factor = float(task.length) if isinstance(algorithm, FlatLinear) else 1.0
        thresholds = factor / inverse
        mean, error = mean_and_standard_error(thresholds)
        # A rule whose own points are separable has the minimum zero, up to the line search: it shows no threshold.
        vague = (float(np.min(np.asarray(inverse))) < 1e-10) | (float(error) > UNRESOLVED * float(mean))
        code = int(Result.UNDER_RESOLVED) if vague else int(Result.SUCCESSFUL)
        raise_unless_successful(code, "capacity", f" (threshold {float(mean):.3g} +- {float(error):.1g})")
        return Estimate(mean, error, scramblings=np.asarray(thresholds), residual=float(np.max(np.asarray(norms))))


@eqx.filter_jit
def _inverse_capacity(
    task: SparseTokens, query: tuple[Any, Any] | None, rules: Any
) -> tuple[Float[Array, "S"], Float[Array, "S"]]:
    """Under a query of this (cosine, sharpness), or of the baselines; whatever the loss, which would compile anew."""
    if query is not None:
        cosine, sharpness = map(as_float64, query)
        return batched_map(
            lambda normals, shift: _minimum(attention_features(task, cosine, sharpness, normals, shift)),
            *rules,
        )
    separation = as_float64(task.strength) * (task.sparsity / np.sqrt(task.length))
    rate = as_float64(task.positive_rate)
    return batched_map(lambda shift: _minimum(mixture_features(rate, separation, shift)), *rules)


def _minimum(f: Features) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(the minimum, the gradient norm) of the convex program, by damped Newton on (w1, w2, b)."""
    columns = [f.query / f.scale, f.signal / f.scale, f.label / f.scale]

    def value(x: Float[Array, "3"]) -> Float[Array, ""]:
        reach = x[0] * columns[0] + x[1] * columns[1] + x[2] * columns[2]
        spread = jnp.broadcast_to(jnp.sqrt(1.0 + x[1] * x[1]), reach.shape)
        # Without a coordinate along the query nothing depends on its weight, which is held at zero.
        anchor = 0.0 if f.has_query else 0.5 * x[0] * x[0]
        return f.mean(positive_part_square(-reach, spread)) + anchor

    def turn(state: tuple[Any, ...]) -> tuple[Any, ...]:
        x, current, _, turns = state
        by_x, hessian = jax.grad(value)(x), jax.hessian(value)(x)
        step = -jnp.linalg.solve(hessian + 1e-14 * jnp.eye(3), by_x)
        length = backtrack(lambda at: value(x + at * step), current, jnp.dot(by_x, step), 1e-16, 1e-8)
        x = x + length * step
        return x, value(x), jnp.linalg.norm(jax.grad(value)(x)), turns + 1

    def going(state: tuple[Any, ...]) -> Any:
        return (state[2] > 1e-11) & (state[3] < TURNS)

    x0 = jnp.array([0.1, 0.1, 0.0])
    _, minimum, norm, _ = jax.lax.while_loop(going, turn, (x0, value(x0), jnp.array(jnp.inf), jnp.array(0)))
    return minimum, norm
