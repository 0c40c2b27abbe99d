"""Predictions for the trained classifiers when samples and dim go to infinity at a fixed ratio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.algorithms import (
    Algorithm,
    FixedQueryAttention,
    FlatLinear,
    PooledLinear,
    TwoStepAttention,
    concrete_zero,
    known,
)
from solvable.attention.sparse_tokens.alignment import alignment
from solvable.attention.sparse_tokens.capacity import capacity
from solvable.attention.sparse_tokens.equations import (
    Equations,
    Solution,
    coarse_solution,
    solve,
    test_error,
    training_error,
    training_loss,
)
from solvable.attention.sparse_tokens.features import Features, Quadrature, attention_features, mixture_features
from solvable.attention.sparse_tokens.outcome import SparseTokenOutcome
from solvable.attention.sparse_tokens.square import solve_square
from solvable.attention.sparse_tokens.task import SparseTokens
from solvable.lab.experiment import Status, Theory
from solvable.numerics.gaussian import mean_and_standard_error
from solvable.numerics.losses import Loss, Square
from solvable.numerics.precision import as_float64, batched_map, float64
from solvable.numerics.results import Result, is_traced, raise_unless_successful
from solvable.numerics.validation import choice, number

_LIMIT = {name: Status("asymptotic", "derived") for name in SparseTokenOutcome.observables}

theories: dict[str, Theory] = {
    "limit": Theory("samples and dim to infinity at a fixed ratio", _LIMIT),
    "realised_query": Theory(
        "the same limit for the head, given the cosine and sharpness that each run's query reached",
        {**_LIMIT, "cosine": Status("exact", "derived"), "sharpness": Status("exact", "derived")},
        given=("cosine", "sharpness"),
    ),
}

# A standard error above this share of the test error is no prediction.
RESOLVED = 0.1
CONDITIONAL = Quadrature(points=2**13, scramblings=2)


@float64
def predict(
    task: SparseTokens,
    algorithm: Algorithm,
    /,
    *,
    ratio: Any,
    theory: str | None = None,
    given: Any = None,
    quadrature: Quadrature | None = None,
    throw: bool = True,
) -> SparseTokenOutcome:
    """Predict a trained classifier in the limit samples, dim -> infinity with samples/dim = ratio.

    Arguments: `ratio` all samples over dim (`TwoStepAttention` spends query_share of them on the query); `theory` "limit"
    or "realised_query"; the latter reads `cosine` and `sharpness` (R,) from `given` (an outcome of `simulate`, or a
    mapping), keeps the replicate axis, and is what a `given` alone selects. `quadrature` sets the accuracy. `throw` False
    returns an unsuccessful outcome, its `result` saying why, instead of raising.

    Returns: `SparseTokenOutcome`; `.stats` holds the standard errors over scramblings, the residual and the Newton turns.
    Differentiable (and jit- and vmap-able) in strength, positive_rate, ridge, cosine, sharpness and ratio.
    Raises: ValueError for arguments out of range, or a ridge of 0 where the loss has no unique minimiser; SolveError when
    the equations are not solved. Equations: see `equations`; arXiv:2509.25153, Theorems 3 to 5, derived here.
    """
    known(algorithm, "predict")
    ratio = number("ratio", ratio, above=0.0)
    theory = choice("theory", theory or ("limit" if given is None else "realised_query"), tuple(theories))
    if theory == "realised_query" and given is None:
        raise ValueError("given=None with theory='realised_query'; accepted: an outcome of simulate, or its cosine and sharpness")
    require_minimiser(task, algorithm, ratio)
    if theory == "realised_query":
        outcome = _given_query(task, algorithm, ratio, given, quadrature or CONDITIONAL)
    else:
        outcome = _solve(task, _in_the_limit(task, algorithm, ratio), _head_ratio(algorithm, ratio), quadrature or Quadrature())
    if throw:
        residual = "" if is_traced(outcome) else f" (relative residual {np.max(np.asarray(outcome.stats['residual'])):.1e})"
        raise_unless_successful(outcome.result, f"predict({type(algorithm).__name__}, ratio={ratio})", residual)
    return outcome


def require_minimiser(task: SparseTokens, algorithm: Algorithm, ratio: Any) -> None:
    """Refuse an unpenalised fit that has no unique minimiser in the limit.

    Raises: ValueError naming the ridge, the ratio and the threshold.
    """
    if not concrete_zero(algorithm.ridge) or is_traced(task, algorithm, ratio):
        return
    limit = _in_the_limit(task, algorithm, ratio)
    head_ratio = float(_head_ratio(algorithm, ratio))
    if isinstance(algorithm.loss, Square):
        threshold = float(task.length) if isinstance(algorithm, FlatLinear) else 1.0
    else:
        threshold = float(capacity(task, limit))
    if head_ratio <= threshold * (1.0 + 1e-9):
        raise ValueError(
            f"ridge=0 has no unique minimiser at {head_ratio:g} head samples per dimension; accepted: ridge > 0 (1e-9 is "
            f"the minimum-norm or maximum-margin limit), or more than {threshold:g} samples per dimension"
        )


def _in_the_limit(task: SparseTokens, algorithm: Algorithm, ratio: Any) -> Any:
    if not isinstance(algorithm, TwoStepAttention):
        return algorithm
    limit = alignment(task, algorithm, ratio * algorithm.query_share)
    return _Query(limit.cosine, limit.sharpness, algorithm.loss, algorithm.ridge)


def _Query(cosine: Any, sharpness: Any, loss: Loss, ridge: Any) -> FixedQueryAttention:
    return FixedQueryAttention(cosine, sharpness, loss, ridge)


def _head_ratio(algorithm: Algorithm, ratio: Any) -> Any:
    return ratio * (1.0 - algorithm.query_share) if isinstance(algorithm, TwoStepAttention) else ratio


def _given_query(
    task: SparseTokens, algorithm: Algorithm, ratio: Any, given: Any, quadrature: Quadrature
) -> SparseTokenOutcome:
    read = given if isinstance(given, Mapping) else {name: getattr(given, name) for name in ("cosine", "sharpness")}
    missing = [name for name in ("cosine", "sharpness") if name not in read]
    if missing:
        raise ValueError(f"given lacks {missing[0]!r}; accepted: an outcome of simulate, or a mapping with cosine and sharpness")
    cosine, sharpness = (jnp.atleast_1d(as_float64(read[name])) for name in ("cosine", "sharpness"))
    if not isinstance(algorithm, TwoStepAttention):
        # Nothing in these runs is random but the data of the head.
        single = _solve(task, algorithm, _head_ratio(algorithm, ratio), quadrature)
        return jax.tree_util.tree_map(lambda x: jnp.broadcast_to(x, cosine.shape + jnp.shape(x)), single)
    head_ratio = _head_ratio(algorithm, ratio)
    return _solve_queries(task, cosine, sharpness, algorithm.loss, algorithm.ridge, head_ratio, quadrature)


@eqx.filter_jit
def _solve_queries(task, cosine, sharpness, loss, ridge, head_ratio, quadrature) -> SparseTokenOutcome:
    def one(cosine, sharpness):
        valid = jnp.isfinite(cosine) & jnp.isfinite(sharpness)
        query = FixedQueryAttention(jnp.where(valid, cosine, 0.0), jnp.where(valid, sharpness, 0.0), loss, ridge)
        outcome = _outcome(task, query, as_float64(head_ratio), quadrature)
        # A run that failed has nothing to condition on.
        return jax.tree_util.tree_map(
            lambda x: jnp.where(valid, x, jnp.nan) if jnp.issubdtype(x.dtype, jnp.floating) else x, outcome
        )

    return batched_map(one, cosine, sharpness)


def _solve(task: SparseTokens, algorithm: Any, head_ratio: Any, quadrature: Quadrature) -> SparseTokenOutcome:
    return _solve_jitted(task, algorithm, as_float64(head_ratio), quadrature)


@eqx.filter_jit
def _solve_jitted(task, algorithm, head_ratio, quadrature) -> SparseTokenOutcome:
    return _outcome(task, algorithm, head_ratio, quadrature)


def _outcome(task: SparseTokens, algorithm: Any, head_ratio: Any, quadrature: Quadrature) -> SparseTokenOutcome:
    """Solve on every scrambling and average."""
    law, rules, ridge, ratio = _law(task, algorithm, head_ratio, quadrature)
    loss = algorithm.loss
    direct = isinstance(loss, Square)
    # One coarse solution starts every scrambling.
    first = Equations(law(*(rule[0] for rule in rules)), loss, ridge, ratio)
    start = None if direct else coarse_solution(jax.lax.stop_gradient(first))

    def one(*rule: Any) -> tuple[dict[str, Float[Array, ""]], Solution]:
        equations = Equations(law(*rule), loss, ridge, ratio)
        solution = solve_square(equations) if start is None else solve(equations, start)
        return _observables(equations, solution.x, algorithm, task), solution

    values, solutions = batched_map(one, *rules)
    means, errors = {}, {}
    for name, value in values.items():
        means[name], errors[name] = mean_and_standard_error(value)
    code = jnp.max(solutions.result)
    if quadrature.scramblings > 1:
        vague = errors["test_error"] > RESOLVED * means["test_error"]
        code = jnp.where((code == int(Result.SUCCESSFUL)) & vague, int(Result.UNDER_RESOLVED), code)
    cosine = jnp.asarray(algorithm.cosine if isinstance(algorithm, FixedQueryAttention) else 0.0, jnp.float64)
    sharpness = jnp.asarray(algorithm.sharpness if isinstance(algorithm, FixedQueryAttention) else 0.0, jnp.float64)
    return SparseTokenOutcome(
        result=code,
        stats={
            "standard_error": errors,
            "residual": jnp.max(solutions.residual),
            "turns": jnp.max(solutions.turns),
        },
        cosine=cosine,
        sharpness=sharpness,
        **means,
    )


def _law(task: SparseTokens, algorithm: Any, head_ratio: Any, quadrature: Quadrature) -> tuple[Any, Any, Any, Any]:
    """(features at a quadrature rule, the rules, ridge, ratio) of an algorithm with a known query, or of a baseline.

    The baselines are unit-noise mixtures of separation D = strength R/sqrt(L): pooled at (ratio, ridge L), flat at
    (ratio/L, ridge).
    """
    ridge = as_float64(algorithm.ridge)
    if isinstance(algorithm, FixedQueryAttention):
        cosine, sharpness = as_float64(algorithm.cosine), as_float64(algorithm.sharpness)

        def attention(normals: Any, shift: Any) -> Features:
            return attention_features(task, cosine, sharpness, normals, shift)

        return attention, quadrature.normals(task.length), ridge, head_ratio
    separation = as_float64(task.strength) * (task.sparsity / np.sqrt(task.length))
    rate = as_float64(task.positive_rate)

    def mixture(shift: Any) -> Features:
        return mixture_features(rate, separation, shift)

    if isinstance(algorithm, PooledLinear):
        return mixture, (quadrature.mixture_shifts(),), ridge * task.length, head_ratio
    return mixture, (quadrature.mixture_shifts(),), ridge, head_ratio / task.length


def _observables(equations: Equations, x: Any, algorithm: Any, task: SparseTokens) -> dict[str, Float[Array, ""]]:
    # The mean token has noise 1/sqrt(L) an entry: its weights are sqrt(L) times those of the unit-noise mixture.
    unit = np.sqrt(task.length) if isinstance(algorithm, PooledLinear) else 1.0
    return {
        "test_error": test_error(equations, x),
        "train_loss": training_loss(equations, x),
        "train_error": training_error(equations, x),
        "query_weight": x[0] * unit,
        "signal_weight": x[1] * unit,
        "bias": x[2],
        "orthogonal_norm": jnp.exp(x[3]) * unit,
        "susceptibility": jnp.exp(x[4]) * unit**2,
    }
