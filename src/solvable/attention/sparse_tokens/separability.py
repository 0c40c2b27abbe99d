"""Capacity, up to how many samples per dimension features are linearly separable; and whether finite draws are."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.algorithms import ALGORITHMS
from solvable.attention.sparse_tokens.equations import separation
from solvable.attention.sparse_tokens.features import Classifier
from solvable.attention.sparse_tokens.nodes import Law, Nodes, Quadrature, a_quadrature
from solvable.attention.sparse_tokens.task import SparseTokens
from solvable.attention.sparse_tokens.two_steps import Query
from solvable.lab.declare import batched_map, replicate_keys
from solvable.numerics.estimate import Estimate
from solvable.numerics.gaussian import mean_and_standard_error
from solvable.numerics.losses import Square
from solvable.numerics.newton import backtrack
from solvable.numerics.results import Result, is_traced, raise_unless_successful
from solvable.numerics.separability import is_separable
from solvable.numerics.validation import instance, integer, number, on_the_host

CAPACITY_QUADRATURE = Quadrature(points=2**16)
TURNS = 60
UNRESOLVED = 0.1


def accept(task: Any, algorithm: Any) -> None:
    """Raises: TypeError for what is no task or no algorithm here."""
    instance("task", task, (SparseTokens,))
    instance("algorithm", algorithm, ALGORITHMS)


def capacity(task: SparseTokens, algorithm: Classifier, quadrature: Quadrature = CAPACITY_QUADRATURE) -> Estimate:
    """The largest n/d at which the features are linearly separable (with a bias), in the limit.

    1/capacity = min over (w1, w2, b) of E[(sqrt(1 + w2^2) G - y (w1 A + w2 kappa c + b)/r)_+^2], a convex program whose
    Gaussian average is closed. Conjecture 1 of arXiv:2509.25153 states a threshold; this expression is derived here by
    the Gaussian min-max comparison. Flat: length times the threshold of the mixture.

    Returns: a float with `.standard_error` and `.stats` (over the quadrature's scramblings).
    Raises: ValueError for a TwoStepAttention (pass `fixed_query(...)`); SolveError when the program is not solved.
    """
    accept(task, algorithm)
    on_the_host("capacity", task, algorithm)
    with jax.enable_x64(True):
        return _capacity(algorithm.law(task), a_quadrature(quadrature, CAPACITY_QUADRATURE))


def _capacity(law: Law, quadrature: Quadrature = CAPACITY_QUADRATURE) -> Estimate:
    inverse, norms = _inverse_capacity(law, law.rules(quadrature))
    code = np.where(np.asarray(norms) < 1e-8, int(Result.SUCCESSFUL), int(Result.MAX_STEPS))
    raise_unless_successful(code, "capacity")
    thresholds = 1.0 / (law.ratio * inverse)
    mean, error = mean_and_standard_error(thresholds)
    # A rule whose own points are separable has the minimum zero, up to the line search: it shows no threshold.
    vague = (float(np.min(np.asarray(inverse))) < 1e-10) | (float(error) > UNRESOLVED * float(mean))
    code = int(Result.UNDER_RESOLVED) if vague else int(Result.SUCCESSFUL)
    raise_unless_successful(code, "capacity", f" (threshold {float(mean):.3g} +- {float(error):.1g})")
    return Estimate(mean, error, scramblings=np.asarray(thresholds), residual=float(np.max(np.asarray(norms))))


def require_minimiser(task: Any, algorithm: Any, ratio: Any) -> None:
    """Refuse an unpenalised fit that has no unique minimiser in the limit; silent where a value is traced.

    Raises: ValueError naming the ridge, the ratio and the threshold; TypeError for what is no task or no algorithm.
    """
    accept(task, algorithm)
    if is_traced(task, algorithm, ratio) or float(algorithm.ridge) != 0.0:
        return
    with jax.enable_x64(True):
        law, _ = algorithm.limit(task, ratio)
        threshold = 1.0 / float(law.ratio) if isinstance(algorithm.loss, Square) else float(_capacity(law))
    head_ratio = float(ratio * algorithm.head_share)
    if head_ratio <= threshold * (1.0 + 1e-9):
        raise ValueError(
            f"ridge=0 has no unique minimiser at {head_ratio:g} head samples per dimension; accepted: ridge > 0 (1e-9 "
            "is the minimum-norm limit of square and the maximum-margin limit of hinge, which logistic nears only like "
            f"1/log(1/ridge)), or more than {threshold:g} samples per dimension"
        )


@eqx.filter_jit
def _inverse_capacity(law: Law, rules: Any) -> tuple[Float[Array, "S"], Float[Array, "S"]]:
    """Whatever the loss, which would compile anew."""
    return batched_map(lambda *rule: _minimum(law.nodes(*rule)), *rules)


def _minimum(f: Nodes) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(the minimum, the gradient norm) of the convex program, by damped Newton on (w1, w2, b)."""

    def value(x: Float[Array, "3"]) -> Float[Array, ""]:
        # Without a coordinate along the query nothing depends on its weight, which is held at zero.
        return separation(f, x) + (0.0 if f.has_query else 0.5 * x[0] * x[0])

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


def separable(
    task: SparseTokens,
    algorithm: Classifier,
    *,
    ratio: Any,
    dim: int,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> float:
    """The share of draws of ratio * dim bags whose features a hyperplane (with a bias) separates.

    Each draw is decided by `solvable.numerics.is_separable`, on the host. One-class draws count as separable.
    Raises: ValueError for arguments out of range or a TwoStepAttention (pass `fixed_query(...)`).
    """
    return float(np.mean(separable_draws(task, algorithm, ratio, dim, key, replicates)))


def separable_draws(
    task: SparseTokens, algorithm: Classifier, ratio: Any, dim: int, key: Any = None, replicates: Any = 1
) -> np.ndarray:
    """Whether each replicate's draw is separable, (replicates,) of 0 and 1. Arguments as in `separable`."""
    accept(task, algorithm)
    on_the_host("separable", task, algorithm, ratio)
    if type(task).sample is not SparseTokens.sample:
        raise ValueError(f"task={type(task).__name__} draws by a sample of its own; accepted: SparseTokens")
    ratio = float(number("ratio", ratio, above=0.0))
    dim = integer("dim", dim, at_least=3)
    samples = integer("samples (round(ratio * dim))", round(min(ratio * dim, 2.0**31)), at_least=1, at_most=2**31 - 1)
    with jax.enable_x64(True):
        algorithm.law(task)
        draws = [_draw(task, algorithm, key, samples, dim) for key in replicate_keys(key, replicates)]
    return np.array([float(is_separable(np.asarray(x), np.asarray(y)).separable) for x, y in draws])


@eqx.filter_jit
def _draw(task: SparseTokens, algorithm: Classifier, key: jax.Array, samples: int, dim: int) -> Any:
    query: Query = algorithm.sampled_query(None, task, samples, dim)
    return algorithm.design(key, task, query, samples, dim)
