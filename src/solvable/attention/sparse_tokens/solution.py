"""What the solved equations say: observables in the limit, averaged over scramblings, with their standard errors."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.sparse_tokens import equations as eq
from solvable.attention.sparse_tokens.features import Classifier
from solvable.attention.sparse_tokens.nodes import AttentionLaw, Law, Quadrature, a_quadrature
from solvable.attention.sparse_tokens.task import Scalar, SparseTokens
from solvable.attention.sparse_tokens.two_steps import Query
from solvable.lab.declare import Predicted
from solvable.numerics.gaussian import mean_and_standard_error
from solvable.numerics.losses import Logistic, Loss, Square
from solvable.numerics.precision import as_float64, batched_map
from solvable.numerics.results import Result, is_traced

# A standard error above this share of the test error is no prediction.
RESOLVED = 0.1
BAGS = 1000
CONDITIONAL = Quadrature(points=2**13, scramblings=2)

Solved = tuple[dict[str, Float[Array, "..."]], Int[Array, "..."], dict[str, Any]]
"""(observables, `Result` code, stats)."""


def in_the_limit(task: SparseTokens, algorithm: Classifier, ratio: Any, quadrature: Quadrature | None) -> Predicted:
    """A head on the features of the limit."""
    task, algorithm, ratio = _double((task, algorithm, ratio))
    law, code = algorithm.limit(task, ratio)
    values, result, stats = _of_law(law, *_head(algorithm, ratio), law.rules(a_quadrature(quadrature)))
    return _predicted(task, algorithm, values, jnp.where(code == int(Result.SUCCESSFUL), result, code), stats)


def under_queries(
    task: SparseTokens, algorithm: Classifier, queries: Query, ratio: Any, quadrature: Quadrature | None
) -> Predicted:
    """A head under each of several queries, zero in place of those that failed."""
    quadrature = a_quadrature(quadrature, CONDITIONAL)
    if not algorithm.trains_query:
        # Nothing in these runs is random but the data of the head.
        return in_the_limit(task, algorithm, ratio, quadrature)
    task, algorithm, ratio = _double((task, algorithm, ratio))
    there = queries.result == int(Result.SUCCESSFUL)
    reached = (jnp.where(there, x, 0.0) for x in (queries.cosine, queries.sharpness))
    found = _of_queries(task, *reached, *_head(algorithm, ratio), quadrature.bags(task.length))
    return _predicted(task, algorithm, *found)


def _double(tree: Any) -> Any:
    """A tracer from outside may be float32; inside, everything is float64."""
    return jax.tree_util.tree_map(lambda x: as_float64(x) if is_traced(x) else x, tree)


def _head(algorithm: Classifier, ratio: Any) -> tuple[Loss, Scalar, Scalar]:
    """The loss, ridge and samples over dim of the head's fit."""
    return algorithm.loss, algorithm.ridge, ratio * algorithm.head_share


def _predicted(task: SparseTokens, algorithm: Classifier, values: Any, result: Any, stats: Any) -> Predicted:
    if is_traced(task, algorithm, values, result, stats):
        return Predicted(values, result, stats)
    extreme = "a ridge or strength far above 1 or a ratio near 0 leaves double precision: move it towards 1"
    hints = {
        Result.MAX_STEPS: f"; the residual stalls near that threshold: raise the ridge; and where {extreme}",
        Result.NONFINITE: f"; {extreme}",
        Result.NOT_UNIQUE: "; all margins stay on the straight part of the loss, where the bias is any of an interval: "
        "lower the ridge, or move positive_rate off 1/2",
    }
    hint = next((hint for code, hint in hints.items() if np.any(np.asarray(result) == int(code))), "")
    detail = f"{hint} (relative residual {np.max(np.asarray(stats['residual'])):.1e})"
    return Predicted(values, result, stats, detail)


@eqx.filter_jit
def _of_law(law: Law, *settings: Any) -> Solved:
    return _solved(law, *settings)


@eqx.filter_jit
def _of_queries(task: SparseTokens, cosine: Float[Array, "R"], sharpness: Float[Array, "R"], *settings: Any) -> Solved:
    return batched_map(lambda *query: _solved(AttentionLaw(task, *query), *settings), cosine, sharpness)


def _solved(law: Law, loss: Loss, ridge: Scalar, ratio: Scalar, rules: tuple[Float[Array, "S ..."], ...]) -> Solved:
    """A fit with `ratio` samples a dimension on features of this law, on every scrambling."""
    ridge, ratio = as_float64(ridge) * law.ridge, as_float64(ratio) * law.ratio
    direct = isinstance(loss, Square)
    # One coarse solution starts every scrambling.
    first = eq.Equations(law.nodes(*(rule[0] for rule in rules)), loss, ridge, ratio)
    still = jax.lax.stop_gradient(first)
    start = None if direct else eq.coarse_solution(still)
    # Only a loss with a straight part can leave the bias open.
    open_bias = False if isinstance(loss, Square | Logistic) else eq.undetermined(still)

    def one(*rule: Any) -> tuple[dict[str, Scalar], eq.Solution, Scalar]:
        equations = eq.Equations(law.nodes(*rule), loss, ridge, ratio)
        solution = eq.solve_square(equations) if start is None else eq.solve(equations, start)
        code = jnp.where(_unbounded(equations, solution.x), int(Result.NO_MINIMISER), solution.result)
        code = jnp.where(open_bias, int(Result.NOT_UNIQUE), code)
        drawn = eq.error_of_draws(*jax.lax.stop_gradient((equations, solution.x)), BAGS)
        return _observables(equations, solution.x, law.unit), solution._replace(result=code), drawn

    values, solutions, drawn = batched_map(one, *rules)
    means, errors = {}, {}
    for name, value in values.items():
        means[name], errors[name] = mean_and_standard_error(value)
    code = jnp.max(solutions.result)
    if rules[0].shape[0] > 1:
        # A zero of attention says that no node met the rare bags that are confused. The mixture's error is a closed
        # form, in which zero is below the rounding of the distribution function.
        floor = 0.0 if law.has_query else 1e-15
        vague = errors["test_error"] >= jnp.maximum(RESOLVED * means["test_error"], floor)
        code = jnp.where((code == int(Result.SUCCESSFUL)) & vague, int(Result.UNDER_RESOLVED), code)
    query = {"cosine": as_float64(law.cosine), "sharpness": as_float64(law.sharpness)}
    residual, turns = jnp.max(solutions.residual), jnp.max(solutions.turns)
    stats = {"standard_error": errors, "residual": residual, "turns": turns, "error_of_1000_bags": jnp.mean(drawn)}
    return means | query, code, stats


def _unbounded(equations: eq.Equations, x: Float[Array, "5"]) -> Any:
    """Whether an unpenalised fit has no unique minimiser, as these weights prove.

    Those of a monotone loss run away along a direction that separates; the square loss interpolates at ratio <= 1.
    """
    if isinstance(equations.loss, Square):
        proven = equations.ratio <= 1.0 + 1e-9
    else:
        orthogonal = jnp.sqrt(jnp.maximum(jnp.exp(2.0 * x[3]) - x[1] * x[1], 1e-300))
        proven = equations.ratio * eq.separation(equations.features, jax.lax.stop_gradient(x[:3] / orthogonal)) < 1.0
    return (equations.ridge == 0.0) & proven


def _observables(equations: eq.Equations, x: Any, unit: Any) -> dict[str, Scalar]:
    test_error, train_error = eq.errors(equations, x)
    return {
        "test_error": test_error,
        "train_loss": eq.training_loss(equations, x),
        "train_error": train_error,
        "query_weight": x[0] * unit,
        "signal_weight": x[1] * unit,
        "bias": x[2],
        "orthogonal_norm": jnp.exp(x[3]) * unit,
        "susceptibility": jnp.exp(x[4]) * unit**2,
    }
