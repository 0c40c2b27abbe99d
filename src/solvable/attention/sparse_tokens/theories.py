"""What theory says of sparse tokens: two functions, and what each claims of every observable."""

from __future__ import annotations

from typing import Any

from solvable.lab.declare import Predicted, Status, Theory

OBSERVABLES = (
    "test_error",
    "train_loss",
    "train_error",
    "cosine",
    "sharpness",
    "query_weight",
    "signal_weight",
    "bias",
    "orthogonal_norm",
    "susceptibility",
)
LIMIT = dict.fromkeys(OBSERVABLES, Status("asymptotic", "derived"))


def limit(task: Any, algorithm: Any, runs: Any, at: Any, *, ratio: Any, quadrature: Any) -> Predicted:
    """The head on features of the limit, under the query as it is in the limit."""
    import jax.numpy as jnp

    from solvable.attention.sparse_tokens.nodes import Quadrature
    from solvable.attention.sparse_tokens.solution import solved

    law, code = algorithm.limit(task, ratio)
    rules = law.rules(quadrature or Quadrature())
    values, result, stats = solved(law, algorithm.loss, *_head(algorithm, ratio), rules)
    return _predicted(values, jnp.where(code == 0, result, code), stats)


def given_query(task: Any, algorithm: Any, runs: Any, at: Any, *, ratio: Any, quadrature: Any) -> Predicted:
    """The head on features of the limit, under the query that each run reached."""
    import jax.numpy as jnp

    from solvable.attention.sparse_tokens.nodes import Quadrature
    from solvable.attention.sparse_tokens.solution import solved_queries

    quadrature = quadrature or Quadrature(points=2**13, scramblings=2)
    if not algorithm.trains_query:
        # Nothing in these runs is random but the data of the head.
        return limit(task, algorithm, runs, at, ratio=ratio, quadrature=quadrature)
    there = runs.result == 0
    cosine, sharpness = (jnp.where(there, x, 0.0) for x in (runs.cosine, runs.sharpness))
    rules = quadrature.bags(task.length)
    found = solved_queries(task, cosine, sharpness, algorithm.loss, *_head(algorithm, ratio), rules)
    return _predicted(*found)


def _head(algorithm: Any, ratio: Any) -> tuple[Any, Any]:
    """(ridge, samples over dim) of the head's fit."""
    from solvable.numerics.precision import as_float64

    return as_float64(algorithm.ridge), as_float64(ratio * algorithm.head_share)


def _predicted(values: Any, result: Any, stats: Any) -> Predicted:
    import numpy as np

    from solvable.numerics.results import is_traced

    traced = is_traced(values, result, stats)
    detail = "" if traced else f" (relative residual {np.max(np.asarray(stats['residual'])):.1e})"
    return Predicted(values, result, stats, detail)


theories: dict[str, Theory] = {
    "limit": Theory("samples and dim to infinity at a fixed ratio", LIMIT, limit),
    "given_query": Theory(
        "the same limit for the head, given the cosine and sharpness that each run's query reached",
        {**LIMIT, "cosine": Status("exact", "derived"), "sharpness": Status("exact", "derived")},
        given_query,
        given=("cosine", "sharpness"),
        needs_given=True,
    ),
}
