"""Predictions: the population's trajectory, its local rate, the spectral start's error, the error of a context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.self_attention.algorithms import PreconditionedDescent, recorded_steps
from solvable.attention.self_attention.factors import Metric, factorised, local_rates, spectral_factors
from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.outcome import RegressionOutcome
from solvable.attention.self_attention.population import (
    context_terms,
    excess_of,
    symmetric_root,
    unwhitened,
    whitened,
)
from solvable.attention.self_attention.simulate import known
from solvable.attention.self_attention.task import LinearMap
from solvable.attention.self_attention.theories import theories
from solvable.numerics.precision import float64
from solvable.numerics.results import Result, raise_unless_successful
from solvable.numerics.validation import choice, integer


@float64
def predict(
    task: LinearMap,
    algorithm: PreconditionedDescent,
    /,
    *,
    samples: int | None = None,
    context: int | None = None,
    theory: str | None = None,
    given: Any = None,
    at: Any = None,
    throw: bool = True,
) -> RegressionOutcome:
    """What theory says of training with `algorithm`, in the observables of `simulate` (see `theories`).

    `given` is an outcome of `simulate`, a mapping with `start` and `path`, or a `Parameters` that stands for both.
    "population" starts at its `start`; "local_rate" and "context" take the parameters reached. Without `given` all
    three take the spectral start of the population, which is a solution already; "population" of a random start needs
    it. "spectral_start" and "context" need `samples` (or, for `fresh_excess` alone, `context`, its tokens; None: as
    many). `at` are steps, as in `simulate`; with an outcome given they are its own.

    Raises: ValueError for a theory that does not speak of this algorithm or lacks an argument; for "context", unless
    throw=False, SolveError where |Bt|_2^2 >= 1/2.
    """
    known(task, algorithm, "predict")
    name = choice("theory", theory or next(iter(theories)), tuple(theories))
    samples = None if samples is None else integer("samples", samples, at_least=1)
    context = samples if context is None else integer("context", context, at_least=1)
    runs = _Given(task, algorithm, given, at)
    outcome = _THEORIES[name](task, algorithm, runs, samples, context)
    if throw and name == "context":
        detail = " (|Bt|_2^2 >= 1/2, where the error of a context has no 1/n law; make the score smaller)"
        raise_unless_successful(outcome.result, "predict, 'context'", detail)
    return outcome


class _Given:
    """What a prediction is conditioned on: start (R, ..), path (R, K, ..), steps (K,) and result (R,)."""

    def __init__(self, task: LinearMap, algorithm: PreconditionedDescent, given: Any, at: Any) -> None:
        self.replicated = not (given is None or isinstance(given, Parameters))
        if given is None:
            self.start = self.path = None
            self.at, self.result = recorded_steps(algorithm.steps, at), np.zeros(1, int)
            return
        if isinstance(given, Parameters):
            given = {"start": _stacked(given, 1), "path": _stacked(given, 2), "at": [0]}
            given["at"] = [0] if at is None else at
            given["path"] = jax.tree_util.tree_map(lambda x: np.repeat(x, np.size(given["at"]), axis=1), given["path"])
        read = given if isinstance(given, Mapping) else vars(given)
        if read.get("start") is None or read.get("path") is None:
            raise ValueError(
                f"given={type(given).__name__} lacks 'start' or 'path'; accepted: an outcome of simulate, a mapping "
                "with both, or a Parameters"
            )
        self.start, self.path = read["start"], read["path"]
        if np.shape(self.start.value)[1:] != task.matrix.shape:
            raise ValueError(
                f"given has value of shape {np.shape(self.start.value)[1:]}; accepted: that of the task's matrix, "
                f"{task.matrix.shape}"
            )
        self.at = recorded_steps(algorithm.steps, at if read.get("at") is None else read["at"])
        own = read.get("result")
        count = np.shape(self.start.value)[0]
        self.result = np.zeros(count, int) if own is None else np.array(own, int).reshape(count)

    def outcome(self, result: Any = None, **fields: Any) -> RegressionOutcome:
        """With the replicate axis where there is one, and NaN where a replicate is missing."""
        code = self.result if result is None else result
        for name, value in fields.items():
            value = np.array(value, np.float64)
            value[code != int(Result.SUCCESSFUL)] = np.nan
            fields[name] = value if self.replicated else value[0]
        return RegressionOutcome(result=code if self.replicated else code[0], stats={}, at=self.at, **fields)


def _stacked(params: Parameters, axes: int) -> Parameters:
    return jax.tree_util.tree_map(lambda leaf: np.asarray(leaf)[(None,) * axes], params)


def _population(task: LinearMap, algorithm: PreconditionedDescent, runs: _Given, *sizes: Any) -> RegressionOutcome:
    del sizes
    if runs.start is None and algorithm.init == "random":
        raise ValueError(
            "given=None is not accepted with theory='population' and init='random', whose path depends on the start; "
            "accepted: an outcome of simulate, or a Parameters to start from"
        )
    found = _trajectories(Metric.of(algorithm), algorithm.steps, task, runs.start)
    rate, iterations = (np.asarray(each) for each in found.pop("speed"))
    fields = {name: np.asarray(value)[:, runs.at] for name, value in found.items()}
    fields["train_loss"] = fields["excess"] + 0.5 * task.matrix.shape[0] * task.noise**2
    if runs.start is not None:
        fields |= {"rate": rate, "iterations": iterations}
    return runs.outcome(**fields)


@eqx.filter_jit
def _trajectories(metric: Metric, steps: int, task: LinearMap, start: Any) -> dict[str, Any]:
    task = jax.tree_util.tree_map(jnp.asarray, task)
    root, _ = symmetric_root(task.covariance)
    goal = task.matrix @ root
    if start is None:
        factors = jax.tree_util.tree_map(lambda leaf: leaf[None], spectral_factors(goal))
    else:
        factors = jax.vmap(lambda p: whitened(jnp.asarray(p.value), jnp.asarray(p.score), root))(start)
    return jax.lax.map(lambda pair: factorised(metric, steps, goal, task.covariance, *pair), factors)


def _local_rate(task: LinearMap, algorithm: PreconditionedDescent, runs: _Given, *sizes: Any) -> RegressionOutcome:
    del sizes
    if algorithm.value == "closed_form":
        raise ValueError(
            "theory='local_rate' does not speak of value='closed_form', which solves the population's problem in one "
            "step; accepted: value='descent'"
        )
    if algorithm.balance > 0 and algorithm.preconditioner != "full":
        raise ValueError(
            f"theory='local_rate' does not speak of balance={float(algorithm.balance):g} with "
            f"preconditioner={algorithm.preconditioner!r}, whose steps mix error and imbalance; accepted: balance=0, "
            "or preconditioner='full'"
        )
    metric = Metric.of(algorithm)
    return runs.outcome(rate=local_rates(metric, *_ends(metric, task, runs.path), jnp.asarray(task.covariance)))


@eqx.filter_jit
def _ends(metric: Metric, task: LinearMap, path: Any) -> tuple[Any, Any]:
    """The whitened factors where training ends; of the spectral start, a solution, where no path is given."""
    root, _ = symmetric_root(jnp.asarray(task.covariance))
    if path is None:
        goal = jnp.asarray(task.matrix) @ root
        value, score = metric.settled(goal, *spectral_factors(goal))
        return value[None], score[None]
    ends = (jnp.asarray(leaf)[:, -1] for leaf in (path.value, path.score))
    return jax.vmap(lambda value, score: whitened(value, score, root))(*ends)


@eqx.filter_jit
def _solution(metric: Metric, task: LinearMap) -> tuple[Any, Any]:
    """The parameters of the spectral start."""
    _, inverse_root = symmetric_root(jnp.asarray(task.covariance))
    value, score = _ends(metric, task, None)
    return unwhitened(value[0], score[0], inverse_root)


def _spectral_start(
    task: LinearMap, algorithm: PreconditionedDescent, runs: _Given, samples: int | None, context: Any
) -> RegressionOutcome:
    del context
    if algorithm.init != "spectral" or algorithm.value != "descent":
        raise ValueError(
            f"theory='spectral_start' does not speak of init={algorithm.init!r} with value={algorithm.value!r}; "
            "accepted: init='spectral', value='descent'"
        )
    if samples is None:
        raise ValueError("samples=None is not accepted with theory='spectral_start'; accepted: the number of tokens")
    values = np.linalg.svd(task.matrix @ np.linalg.cholesky(task.covariance), compute_uv=False)
    outputs, dim = task.matrix.shape
    # At^T At = Bt^T Bt = diag(s)
    found = (task.noise**2 * outputs * dim + values.sum() ** 2 + values @ values) / (2.0 * samples)
    return runs.outcome(start_excess=np.full(len(runs.result), found))


def _context(
    task: LinearMap, algorithm: PreconditionedDescent, runs: _Given, samples: int | None, context: int | None
) -> RegressionOutcome:
    if context is None:
        raise ValueError("samples=None is not accepted with theory='context'; accepted: samples, or context")
    path = runs.path
    if path is None:
        solution = _solution(Metric.of(algorithm), task)
        path = tuple(np.repeat(np.asarray(leaf)[None, None], len(runs.at), 1) for leaf in solution)
    else:
        path = (np.asarray(path.value, np.float64), np.asarray(path.score, np.float64))
    excess, terms = _context_terms(task, path)
    lost = ~np.isfinite(np.asarray(terms.fresh)).all(axis=1) & (runs.result == int(Result.SUCCESSFUL))
    fields: dict[str, Any] = {"fresh_excess": excess + terms.fresh / context, "effective_share": terms.share}
    if samples is not None:
        noise = 0.5 * task.matrix.shape[0] * task.noise**2
        fields["train_loss"] = excess + noise + terms.own / samples
    return runs.outcome(np.where(lost, int(Result.NONFINITE), runs.result), **fields)


@jax.jit
def _context_terms(task: LinearMap, path: Any) -> Any:
    matrix, covariance = jnp.asarray(task.matrix), jnp.asarray(task.covariance)

    def one(value: Any, score: Any) -> Any:
        return excess_of(value, score, matrix, covariance), context_terms(value, score, matrix, covariance)

    return jax.vmap(jax.vmap(one))(*path)


_THEORIES = {
    "population": _population,
    "local_rate": _local_rate,
    "spectral_start": _spectral_start,
    "context": _context,
}
