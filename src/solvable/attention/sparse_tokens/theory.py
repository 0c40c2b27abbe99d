"""Predictions for the trained classifiers when samples and dim go to infinity at a fixed ratio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.sparse_tokens.algorithms import (
    Algorithm,
    FixedQueryAttention,
    FlatLinear,
    PooledLinear,
    TwoStepAttention,
    concrete_zero,
    known,
)
from solvable.attention.sparse_tokens.alignment import fixed_query
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
from solvable.attention.sparse_tokens.theories import theories
from solvable.numerics.gaussian import mean_and_standard_error
from solvable.numerics.losses import Loss, Square
from solvable.numerics.precision import as_float64, batched_map, float64
from solvable.numerics.results import Result, is_traced, raise_unless_successful
from solvable.numerics.validation import choice, number

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

    Arguments: `ratio` all samples over dim (`TwoStepAttention` spends query_share of them on the query); `theory`
    "limit" or "given_query"; the latter reads `cosine` and `sharpness` (R,) from `given` (an outcome of `simulate`, or
    a mapping), keeps the replicate axis, and is what a `given` alone selects. `quadrature` sets the accuracy. `throw`
    False returns an unsuccessful outcome, its `result` saying why, instead of raising.

    Returns: `SparseTokenOutcome`; `.stats` holds the standard errors over scramblings, the residual and the Newton
    turns. Differentiable (and jit- and vmap-able) in strength, positive_rate, ridge, cosine, sharpness and ratio.
    Raises: ValueError for arguments out of range, or a ridge of 0 where the loss has no unique minimiser; SolveError
    when the equations are not solved. Equations: see `equations`; arXiv:2509.25153, Theorems 3 to 5, derived here.
    """
    known(algorithm, "predict")
    ratio = number("ratio", ratio, above=0.0)
    theory = choice("theory", theory or ("limit" if given is None else "given_query"), tuple(theories))
    if theory == "given_query" and given is None:
        raise ValueError(
            "given=None with theory='given_query'; accepted: an outcome of simulate, or its cosine and sharpness"
        )
    if theory == "limit" and given is not None:
        raise ValueError("given is not read by theory='limit'; accepted: given=None, or theory='given_query'")
    require_minimiser(task, algorithm, ratio)
    # A tracer from outside may be float32; inside, everything is float64.
    task, algorithm, ratio = jax.tree_util.tree_map(
        lambda x: as_float64(x) if is_traced(x) else x, (task, algorithm, ratio)
    )
    if theory == "given_query":
        outcome = _given_query(task, algorithm, ratio, given, quadrature or CONDITIONAL)
    else:
        rules = _rules(task, algorithm, quadrature or Quadrature())
        outcome = _solve(task, _in_the_limit(task, algorithm, ratio), as_float64(_head_ratio(algorithm, ratio)), rules)
    if throw:
        detail = ""
        if not is_traced(outcome):
            if np.any(np.asarray(outcome.result) == Result.MAX_STEPS):
                detail = "; the residual stalls near that threshold, so raise the ridge"
            detail += f" (relative residual {np.max(np.asarray(outcome.stats['residual'])):.1e})"
        raise_unless_successful(outcome.result, f"predict({type(algorithm).__name__}, ratio={ratio})", detail)
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
            f"ridge=0 has no unique minimiser at {head_ratio:g} head samples per dimension; accepted: ridge > 0 (1e-9 "
            f"is the minimum-norm or maximum-margin limit), or more than {threshold:g} samples per dimension"
        )


def _in_the_limit(task: SparseTokens, algorithm: Algorithm, ratio: Any) -> Any:
    if not isinstance(algorithm, TwoStepAttention):
        return algorithm
    return fixed_query(task, algorithm, ratio * algorithm.query_share)


def _head_ratio(algorithm: Algorithm, ratio: Any) -> Any:
    return ratio * (1.0 - algorithm.query_share) if isinstance(algorithm, TwoStepAttention) else ratio


def _given_query(
    task: SparseTokens, algorithm: Algorithm, ratio: Any, given: Any, quadrature: Quadrature
) -> SparseTokenOutcome:
    cosine, sharpness, codes = _read(given)
    rules = _rules(task, algorithm, quadrature)
    head_ratio = as_float64(_head_ratio(algorithm, ratio))
    if not isinstance(algorithm, TwoStepAttention):
        # Nothing in these runs is random but the data of the head.
        single = _solve(task, algorithm, head_ratio, rules)
        return jax.tree_util.tree_map(lambda x: jnp.broadcast_to(x, cosine.shape + jnp.shape(x)), single)
    outcome = _solve_queries(task, cosine, sharpness, algorithm.loss, algorithm.ridge, head_ratio, rules)
    # A run that failed has nothing to condition on: its reason stays.
    result = jnp.where(codes == int(Result.SUCCESSFUL), outcome.result, codes)
    return eqx.tree_at(lambda o: o.result, outcome, result)


def _read(given: Any) -> tuple[Float[Array, "R"], Float[Array, "R"], Int[Array, "R"]]:
    """Cosine, sharpness and result codes of the runs that a prediction is conditioned on.

    Raises: ValueError for a missing field, shapes that differ, or values out of range (NaN marks a failed run).
    """
    names = ("cosine", "sharpness")
    read = given if isinstance(given, Mapping) else {n: getattr(given, n) for n in names if hasattr(given, n)}
    missing = [name for name in names if name not in read]
    if missing:
        raise ValueError(
            f"given={type(given).__name__} lacks {missing[0]!r}; accepted: an outcome of simulate, or a mapping with "
            "cosine and sharpness"
        )
    cosine, sharpness = (jnp.atleast_1d(as_float64(read[name])) for name in names)
    if cosine.shape != sharpness.shape or cosine.ndim != 1:
        raise ValueError(
            f"given has cosine of shape {cosine.shape} and sharpness of shape {sharpness.shape}; accepted: one value "
            "of each a replicate"
        )
    if not is_traced(cosine, sharpness):
        if np.any(np.abs(cosine) > 1.0):
            raise ValueError(f"given holds cosine {np.nanmax(np.abs(cosine)):g}; accepted: between -1 and 1")
        if np.any(np.asarray(sharpness) < 0.0):
            raise ValueError(f"given holds sharpness {np.nanmin(sharpness):g}; accepted: >= 0")
    failed = ~(jnp.isfinite(cosine) & jnp.isfinite(sharpness))
    codes = jnp.where(failed, int(Result.FAILED), int(Result.SUCCESSFUL))
    own = getattr(given, "result", None)
    return cosine, sharpness, codes if own is None else jnp.where(failed, jnp.asarray(own), codes)


@eqx.filter_jit
def _solve_queries(task, cosine, sharpness, loss, ridge, head_ratio, rules) -> SparseTokenOutcome:
    def one(cosine, sharpness):
        valid = jnp.isfinite(cosine) & jnp.isfinite(sharpness)
        query = FixedQueryAttention(jnp.where(valid, cosine, 0.0), jnp.where(valid, sharpness, 0.0), loss, ridge)
        outcome = _outcome(task, query, head_ratio, rules)
        # A run that failed has nothing to condition on.
        return jax.tree_util.tree_map(
            lambda x: jnp.where(valid, x, jnp.nan) if jnp.issubdtype(x.dtype, jnp.floating) else x, outcome
        )

    return batched_map(one, cosine, sharpness)


def _rules(task: SparseTokens, algorithm: Any, quadrature: Quadrature) -> tuple[Float[Array, "S ..."], ...]:
    """The quadrature points of an algorithm's features, the scramblings first."""
    attention = isinstance(algorithm, FixedQueryAttention | TwoStepAttention)
    return quadrature.bags(task.length) if attention else quadrature.shifts()


class _Mixture(eqx.Module):
    """What both baselines are: a fit on the unit-noise mixture of separation D = strength R/sqrt(L).

    Pooled at ratio and ridge is the mixture at (ratio, ridge L), flat at (ratio/L, ridge); the weights are `unit` times
    those on the mixture. One form for both, so that they share a compiled program.
    """

    loss: Loss
    ridge: Any
    unit: Any


def _solve(task: SparseTokens, algorithm: Any, head_ratio: Any, rules: Any) -> SparseTokenOutcome:
    ridge, length = algorithm.ridge, task.length
    if isinstance(algorithm, PooledLinear):
        # The mean token has noise 1/sqrt(L) an entry: its weights are sqrt(L) times those of the unit-noise mixture.
        algorithm = _Mixture(algorithm.loss, as_float64(ridge) * length, as_float64(length**0.5))
    elif isinstance(algorithm, FlatLinear):
        algorithm, head_ratio = _Mixture(algorithm.loss, as_float64(ridge), as_float64(1.0)), head_ratio / length
    return _compiled(task, algorithm, as_float64(head_ratio), rules)


@eqx.filter_jit
def _compiled(task: SparseTokens, algorithm: Any, head_ratio: Any, rules: Any) -> SparseTokenOutcome:
    return _outcome(task, algorithm, head_ratio, rules)


def _outcome(task: SparseTokens, algorithm: Any, head_ratio: Any, rules: Any) -> SparseTokenOutcome:
    """Solve on every scrambling and average."""
    law, ridge, ratio = _law(task, algorithm, head_ratio)
    loss = algorithm.loss
    direct, unit = isinstance(loss, Square), algorithm.unit if isinstance(algorithm, _Mixture) else 1.0
    # One coarse solution starts every scrambling.
    first = Equations(law(*(rule[0] for rule in rules)), loss, ridge, ratio)
    start = None if direct else coarse_solution(jax.lax.stop_gradient(first))

    def one(*rule: Any) -> tuple[dict[str, Float[Array, ""]], Solution]:
        equations = Equations(law(*rule), loss, ridge, ratio)
        solution = solve_square(equations) if start is None else solve(equations, start)
        return _observables(equations, solution.x, unit), solution

    values, solutions = batched_map(one, *rules)
    means, errors = {}, {}
    for name, value in values.items():
        means[name], errors[name] = mean_and_standard_error(value)
    code = jnp.max(solutions.result)
    if rules[0].shape[0] > 1:
        # A zero of attention says that no node met the rare bags that are confused. The mixture's error is a closed
        # form, in which zero is below the rounding of the distribution function.
        attention = isinstance(algorithm, FixedQueryAttention)
        floor = 0.0 if attention else 1e-15
        vague = errors["test_error"] >= jnp.maximum(RESOLVED * means["test_error"], floor)
        code = jnp.where((code == int(Result.SUCCESSFUL)) & vague, int(Result.UNDER_RESOLVED), code)
    fixed = isinstance(algorithm, FixedQueryAttention)
    return SparseTokenOutcome(
        result=code,
        stats={
            "standard_error": errors,
            "residual": jnp.max(solutions.residual),
            "turns": jnp.max(solutions.turns),
        },
        cosine=as_float64(algorithm.cosine if fixed else 0.0),
        sharpness=as_float64(algorithm.sharpness if fixed else 0.0),
        **means,
    )


def _law(task: SparseTokens, algorithm: Any, head_ratio: Any) -> tuple[Any, Any, Any]:
    """(features at a quadrature rule, ridge, ratio) of an algorithm with a known query, or of a mixture."""
    ridge, ratio = as_float64(algorithm.ridge), as_float64(head_ratio)
    if isinstance(algorithm, FixedQueryAttention):
        cosine, sharpness = as_float64(algorithm.cosine), as_float64(algorithm.sharpness)

        def attention(normals: Any, shift: Any) -> Features:
            return attention_features(task, cosine, sharpness, normals, shift)

        return attention, ridge, ratio
    separation = as_float64(task.strength) * (task.sparsity / np.sqrt(task.length))
    rate = as_float64(task.positive_rate)

    def mixture(shift: Any) -> Features:
        return mixture_features(rate, separation, shift)

    return mixture, ridge, ratio


def _observables(equations: Equations, x: Any, unit: Any) -> dict[str, Float[Array, ""]]:
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
