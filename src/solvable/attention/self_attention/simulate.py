"""Simulation: train on drawn sequences, or on the population, and measure every run."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.self_attention.algorithms import (
    PreconditionedDescent,
    check_samples,
    finished,
    recorded_steps,
    start_of,
)
from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.outcome import RegressionOutcome
from solvable.attention.self_attention.population import excess_of, spectral_norm, symmetric_root, whitened
from solvable.attention.self_attention.streaming import attended, concentration
from solvable.attention.self_attention.task import LinearMap, RegressionProblem
from solvable.attention.self_attention.training import Rule
from solvable.numerics.precision import batched_map, float64
from solvable.numerics.results import Result
from solvable.numerics.validation import integer, replicate_numbers

SETTLED = 1e-20  # of the first excess loss: below it rounding spoils a ratio
REACHED = 1e-10  # of the excess loss of the zero map


@float64
def simulate(
    task: LinearMap,
    algorithm: PreconditionedDescent,
    /,
    *,
    samples: int | None = None,
    context: int | None = None,
    queries: int = 256,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    at: Any = None,
    init: Parameters | None = None,
) -> RegressionOutcome:
    """Draw sequences of `samples` tokens, train on each, and measure the runs (see `RegressionOutcome`).

    `samples` None is the limit of infinitely many: training on the population loss, where replicates differ by a random
    start alone. Every run answers `queries` fresh queries from one fresh context of `context` tokens (None: as many as
    `samples`; without both there is no such measure). `fresh_excess` is exact in the queries' own excess loss and
    sampled only in what the context adds. `replicates` is a count or a range of replicate numbers: replicate r depends
    on `key` and r alone. `at` are steps (None: about 30 from 0 to `algorithm.steps`); `init` replaces the start. A run
    whose parameters are not finite is NaN with its reason in `.result`.

    Raises: ValueError for arguments out of range, n <= d among them; TypeError for a task or an algorithm of another
    system.
    """
    known(task, algorithm, "simulate")
    if samples is not None:
        check_samples(samples := integer("samples", samples, at_least=1), task.matrix.shape[1])
    context = samples if context is None else integer("context", context, at_least=1)
    queries = integer("queries", queries, at_least=1)
    stops = recorded_steps(algorithm.steps, at)
    start = None if init is None else start_of(task, init)
    key = jax.random.key(0) if key is None else key
    numbers = jnp.asarray(replicate_numbers(replicates))
    sizes = (samples, context, queries)
    keys, drawn = _drawn(task, sizes, key, numbers)
    found = _simulate(Rule.of(algorithm), algorithm.steps, sizes, task, start, keys, drawn, jnp.asarray(stops))
    values, first, path, code = jax.tree_util.tree_map(np.asarray, found)
    if algorithm.init == "spectral" and init is None:
        for name in ("rate", "iterations"):  # a spectral start is a solution of the population's problem
            values.pop(name, None)
    lost = code != int(Result.SUCCESSFUL)
    for name, value in values.items():
        values[name] = np.where(lost.reshape(-1, *[1] * (value.ndim - 1)), np.nan, value)
    return RegressionOutcome(result=code, stats={}, at=stops, start=first, path=path, **values)


@eqx.filter_jit
def _drawn(task: LinearMap, sizes: Any, key: Any, numbers: Any) -> Any:
    """The starts' keys, and every token and target of the replicates: compiled apart, once for all algorithms."""
    samples, context, queries = sizes
    count = (samples or 0) + (0 if context is None else context + queries)

    def one(number: Any) -> Any:
        draw_key, start_key = jax.random.split(jax.random.fold_in(key, number))
        return start_key, task.draw(draw_key, count) if count else None

    return batched_map(one, numbers)


@eqx.filter_jit
def _simulate(rule: Rule, steps: int, sizes: Any, task: LinearMap, init: Any, keys: Any, drawn: Any, stops: Any) -> Any:
    samples, context, _ = sizes
    task = jax.tree_util.tree_map(jnp.asarray, task)
    root, _ = symmetric_root(task.covariance)

    def one(start_key: Any, drawn: Any) -> Any:
        problem = task if samples is None else RegressionProblem(*(part[:samples] for part in drawn))
        run = finished(rule, steps, problem, init, start_key, jnp.concatenate([jnp.zeros_like(stops[:1]), stops]))
        start = jax.tree_util.tree_map(lambda leaf: leaf[0], run.path.parameters)
        path = jax.tree_util.tree_map(lambda leaf: leaf[1:], run.path.parameters)
        values = jax.vmap(lambda params: _measured(task, root, params))(path)
        noise = 0.5 * task.matrix.shape[0] * task.noise**2
        values["train_loss"] = run.losses[stops] + (noise if samples is None else 0.0)
        values["start_excess"] = excess_of(start.value, start.score, task.matrix, task.covariance)
        if samples is None:
            scale = 0.5 * jnp.sum((task.matrix @ task.covariance) * task.matrix)
            values["rate"], values["iterations"] = speed(run.losses, scale)
        if context is not None:
            fresh, asked = jnp.split(drawn[0][samples or 0 :], [context])
            added, values["effective_share"] = jax.lax.map(lambda p: _on_context(task, p, asked, fresh), path)
            values["fresh_excess"] = values["excess"] + added
        return values, start, path, run.result

    return batched_map(one, keys, drawn)


def _measured(task: LinearMap, root: Any, params: Parameters) -> dict[str, Any]:
    value, score = whitened(params.value, params.score, root)
    return {
        "excess": excess_of(params.value, params.score, task.matrix, task.covariance),
        "score_norm": spectral_norm(score),
        "imbalance": jnp.linalg.norm(value.T @ value - score.T @ score),
    }


def _on_context(task: LinearMap, params: Parameters, queries: Any, context: Any) -> tuple[Any, Any]:
    """What a context adds to the excess loss of these queries, and the share of its tokens in effect."""
    answers = attended(params.score, queries, context) @ params.value.T
    limits = queries @ (params.value @ task.covariance @ params.score.T).T
    goals = queries @ task.matrix.T
    added = 0.5 * jnp.mean(jnp.sum((answers - goals) ** 2 - (limits - goals) ** 2, axis=1))
    return added, jnp.mean(1.0 / concentration(params.score, queries, context)) / context.shape[0]


def speed(losses: Any, scale: Any) -> tuple[Any, Any]:
    """The ratio of the last two losses above 1e-20 of the first, and the first step below 1e-10 of the scale."""
    count = losses.shape[0]
    steps = jnp.arange(count)
    last = jnp.maximum(jnp.max(jnp.where(losses >= SETTLED * losses[0], steps, 0)), 1)
    iterations = jnp.min(jnp.where(losses <= REACHED * scale, steps, count - 1))
    return losses[last] / losses[last - 1], iterations.astype(losses.dtype)


def known(task: Any, algorithm: Any, call: str) -> None:
    """Check that task and algorithm are this system's.

    Raises: TypeError naming what is accepted.
    """
    if not isinstance(task, LinearMap):
        raise TypeError(f"task={type(task).__name__} is not accepted by {call}; accepted: a LinearMap")
    if not isinstance(algorithm, PreconditionedDescent):
        raise TypeError(
            f"algorithm={type(algorithm).__name__} has no theory in {call}; accepted: PreconditionedDescent"
        )
