"""Simulation: train on drawn problems and measure every run against its own max-margin solution."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from solvable.attention.token_selection.algorithms import (
    MirrorDescent,
    SelectionRun,
    recorded_steps,
    start_of,
    train_batch,
)
from solvable.attention.token_selection.geometry import divergence_of, power_norm
from solvable.attention.token_selection.gradients import (
    attention_logits,
    attention_maps,
    excess_loss,
    log_unselected,
    selected_of_queries,
)
from solvable.attention.token_selection.max_margin import MaxMargin, decoder_max_margin, locally_optimal, max_margin
from solvable.attention.token_selection.outcome import SelectionOutcome
from solvable.attention.token_selection.task import SelectionProblem, Task
from solvable.attention.token_selection.theories import OVER_STEPS
from solvable.attention.token_selection.training import Parameters
from solvable.numerics.precision import float64
from solvable.numerics.random import normal
from solvable.numerics.results import Result
from solvable.numerics.validation import number, replicate_numbers

FITTED = 21  # steps between steps/10 and steps on which a slope is fitted


@float64
def simulate(
    task: Task,
    algorithm: MirrorDescent,
    /,
    *,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    at: Any = None,
    init_scale: Any = 0.0,
) -> SelectionOutcome:
    """Draw problems, train on each, and measure the runs (see `SelectionOutcome`).

    All problems are trained together; then each run's max-margin program is solved on the host. `replicates` is a
    count or a range of replicate numbers: replicate r depends on `key` and r alone (up to rounding, which the
    oscillating iterates of factored training can raise to 1e-3 of the direction). `at` are steps (None: about 13 up
    to `algorithm.steps`). Training starts at W = `init_scale` times standard normals (0: from zero; the factored form
    then has Q = 0 and K normal). A run whose selected tokens cannot be separated, or whose weights are not finite, is
    NaN with its reason in `.result`.

    Raises: ValueError for arguments out of range; TypeError for a task or an algorithm of another system.
    """
    return measured(task, algorithm, key, replicates, at, init_scale)[0]


def measured(
    task: Task, algorithm: MirrorDescent, key: jax.Array | None, replicates: int | range, at: Any, init_scale: Any
) -> tuple[SelectionOutcome, SelectionRun]:
    """What `simulate` returns, and the runs themselves, stacked."""
    if algorithm.parameterization == "factored" and algorithm.p != 2.0:
        raise ValueError(
            f"p={algorithm.p:g} has no max-margin solution to measure against with parameterization='factored'; "
            "accepted: p=2 (or `train` alone)"
        )
    at = measured_steps(algorithm, at)
    problems, runs = trained(task, algorithm, key, replicates, _recorded(algorithm, at), init_scale)
    solutions = [
        solve(algorithm, pick(problems, r), runs.selected[r], runs.decoder[r]) for r in range(len(runs.selected))
    ]
    return _outcome(algorithm, problems, runs, solutions, at), runs


def trained(
    task: Task,
    algorithm: MirrorDescent,
    key: jax.Array | None,
    replicates: int | range,
    stops: np.ndarray,
    init_scale: Any = 0.0,
    run: int = 0,
) -> tuple[SelectionProblem, SelectionRun]:
    """The problems and the runs of the replicates, stacked along a leading axis, as NumPy arrays.

    Another number of the `run` gives other starts on the same problems.
    """
    known(task, algorithm, "simulate")
    numbers = replicate_numbers(replicates)
    scale = number("init_scale", init_scale, at_least=0.0)
    key = jax.random.key(0) if key is None else key
    layout = (algorithm.parameterization, algorithm.train_decoder)
    problems, starts = _drawn(task, layout, key, jnp.asarray(numbers), None if scale == 0.0 else scale, run)
    runs = train_batch(algorithm.rule, problems, starts, jnp.asarray(stops))
    return jax.tree_util.tree_map(np.asarray, (problems, runs))


@eqx.filter_jit
def _drawn(task: Task, layout: tuple[str, bool], key: jax.Array, numbers: Any, scale: Any, run: int) -> Any:
    def one(number: Any) -> Any:
        draw_key, start_key = jax.random.split(jax.random.fold_in(key, number))
        problem = task.sample(draw_key)
        start_key = jax.random.fold_in(start_key, run)
        start = start_of(*layout, problem, None, start_key)
        if scale is None:
            return problem, start
        trained = [tensor for tensor in start[:3] if tensor is not None]
        noise = scale * normal(start_key, (len(trained), *trained[0].shape), trained[0].dtype)
        drawn = iter(noise)
        first, second, third = (None if tensor is None else next(drawn) for tensor in start[:3])
        return problem, Parameters(first, second, third, start.decoder)

    return jax.vmap(one)(numbers)


def solve(
    algorithm: MirrorDescent, problem: SelectionProblem, selected: Any, decoder: Any
) -> tuple[MaxMargin, MaxMargin | None]:
    """The max-margin solutions, of W and of a trained decoder, that a run with this selection converges to.

    The decoder's support vectors are the sequences that W must separate by 1; the others by 0.
    """
    p = "nuclear" if algorithm.parameterization == "factored" else algorithm.p
    if not algorithm.train_decoder:
        return max_margin(problem, selected, p, throw=False), None
    of_decoder = decoder_max_margin(problem, selected, algorithm.p, throw=False)
    slack = of_decoder.multipliers <= 1e-8 * np.max(of_decoder.multipliers)
    relaxed = None if of_decoder.result == Result.INFEASIBLE or not slack.any() else slack
    return max_margin(problem, selected, p, relaxed=relaxed, throw=False), of_decoder


def measured_steps(algorithm: MirrorDescent, at: Any) -> np.ndarray:
    """The steps of `at`, or about 13 from steps/1000 to steps, evenly spaced in the logarithm."""
    if at is not None:
        return recorded_steps(algorithm.steps, at)
    return np.unique(np.round(np.geomspace(max(1, algorithm.steps / 1000), algorithm.steps, 13)).astype(np.int64))


def learning_rates_summed(algorithm: MirrorDescent, at: np.ndarray) -> np.ndarray:
    """The sum of the learning rates of the first k steps, for every k of `at`."""
    if not callable(algorithm.learning_rate):
        return at * float(algorithm.learning_rate)
    rates = jax.vmap(algorithm.learning_rate)(jnp.arange(algorithm.steps))
    rates = np.broadcast_to(np.asarray(rates, np.float64), (algorithm.steps,))
    return np.concatenate([[0.0], np.cumsum(rates)])[at]


def pick(stacked: Any, index: int) -> Any:
    """One element of arrays stacked along their leading axis."""
    return jax.tree_util.tree_map(lambda leaf: leaf[index], stacked)


def known(task: Any, algorithm: Any, call: str) -> None:
    """Check that task and algorithm are this system's.

    Raises: TypeError naming what is accepted.
    """
    if not isinstance(task, Task):
        raise TypeError(
            f"task={type(task).__name__} is not accepted by {call}; accepted: SelectionProblem, RandomSelection, "
            "EqualScores"
        )
    if not isinstance(algorithm, MirrorDescent):
        raise TypeError(f"algorithm={type(algorithm).__name__} has no theory in {call}; accepted: MirrorDescent")


def _fitted(algorithm: MirrorDescent) -> np.ndarray:
    return np.unique(np.round(np.geomspace(max(1, algorithm.steps / 10), algorithm.steps, FITTED)).astype(np.int64))


def _recorded(algorithm: MirrorDescent, at: np.ndarray) -> np.ndarray:
    return np.union1d(np.union1d(at, _fitted(algorithm)), [algorithm.steps // 2, algorithm.steps])


def _outcome(
    algorithm: MirrorDescent, problems: SelectionProblem, runs: SelectionRun, solutions: Any, at: np.ndarray
) -> SelectionOutcome:
    steps = np.asarray(runs.path.steps[0])
    summed = learning_rates_summed(algorithm, steps)
    there = np.array([found.result == Result.SUCCESSFUL for found, _ in solutions])
    code = np.where(
        runs.result != int(Result.SUCCESSFUL),
        runs.result,
        np.array([int(found.result) for found, _ in solutions]),
    )
    references = np.stack([np.where(np.isfinite(found.weights), found.weights, 1.0) for found, _ in solutions])
    norms = np.array([found.norm if np.isfinite(found.norm) else 1.0 for found, _ in solutions])
    relaxed, p = np.stack([found.relaxed for found, _ in solutions]), algorithm.p
    measures = _measure(p, algorithm.loss, problems, runs, relaxed, references, norms)
    values = {name: np.asarray(value) for name, value in measures.items()}
    if algorithm.step == "fixed":
        length = values["norm"] / norms[:, None]
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            scale = (p - 1.0) * length ** (p - 2.0) * norms[:, None] ** p
            excess = values["excess"] * np.exp(values["excess_scale"])
            values["scaled_excess"] = excess * summed[None, :] / scale
            values["offset"] = values["projection"] - np.log(summed)[None, :]
    if algorithm.step == "polyak":
        with np.errstate(divide="ignore", invalid="ignore"):
            values["growth"] = values["norm"] * float(algorithm.polyak_constant) / (steps * norms[:, None])
    elif algorithm.step == "normalized" and algorithm.parameterization == "matrix":
        with np.errstate(divide="ignore", invalid="ignore"):
            values["growth"] = values["norm"] ** (p - 1.0) / summed[None, :]
    if algorithm.train_decoder:
        v = np.stack([np.ones_like(f.weights) if f.result != Result.SUCCESSFUL else f.weights for _, f in solutions])
        values["decoder_divergence"] = np.asarray(divergence_of(v[:, None], runs.path.decoder, p, (2,)))
    shown = np.searchsorted(steps, at)
    fields = {name: values[name][:, shown] for name in OVER_STEPS if name in values}
    best = np.array([np.asarray(pick(problems, r).optimal_tokens(runs.decoder[r])) for r in range(len(there))])
    picked = runs.selected if runs.selected.ndim == 2 else runs.selected.reshape(len(best), -1)
    best = best if picked.shape == best.shape else np.repeat(best, picked.shape[1] // best.shape[1], axis=1)
    local = [locally_optimal(pick(problems, r), solutions[r][0], runs.decoder[r]) for r in range(len(there))]
    fitted = np.searchsorted(steps, _fitted(algorithm))
    fields |= {
        "direction": runs.weights / values["norm"][:, -1, None, None],
        "divergence_slope": log_log_slopes(steps[fitted], values["divergence"][:, fitted]),
        "gap_slope": _ends(steps, values["log_unselected"], int(np.searchsorted(steps, algorithm.steps // 2))),
        "locally_optimal": np.array(local, np.float64),
        "globally_optimal": np.all(picked == best, axis=1).astype(np.float64),
    }
    gaps = np.array([max(one.gap for one in pair if one is not None) for pair in solutions])
    fields = {name: _masked(value, code) for name, value in fields.items()}
    return SelectionOutcome(
        result=code,
        stats={"gap": gaps, "margin_norm": norms},
        at=at,
        problem=problems,
        selected=runs.selected,
        decoder=runs.decoder,
        **fields,
    )


@eqx.filter_jit
def _measure(
    p: float, loss: Any, problems: Any, runs: SelectionRun, relaxed: Any, references: Any, norms: Any
) -> dict[str, Any]:
    """Every measure of every recorded step, and of the excess loss its value and the logarithm of its scale."""

    def step(problem: Any, selected: Any, relaxed: Any, reference: Any, norm: Any, weights: Any) -> dict[str, Any]:
        size = power_norm(weights, p)
        unit = weights / jnp.where(size > 0.0, size, 1.0)
        excess = excess_loss(problem, weights, selected, loss)
        return {
            "norm": size,
            "divergence": divergence_of(reference, weights, p, (0, 1)),
            "margin_ratio": _least_margin(problem, unit, selected, relaxed) * norm,
            "saturation": jnp.mean(jnp.max(attention_maps(problem, weights), axis=-1)),
            "log_unselected": jnp.max(log_unselected(problem, weights, selected)),
            "excess": excess.value,
            "excess_scale": excess.log_scale,
            "projection": jnp.sum(weights * reference) / jnp.sum(reference * reference),
        }

    def path(problem: Any, selected: Any, relaxed: Any, reference: Any, norm: Any, weights: Any) -> dict[str, Any]:
        return jax.vmap(lambda one: step(problem, selected, relaxed, reference, norm, one))(weights)

    return jax.vmap(path)(problems, runs.selected, relaxed, references, norms, runs.path.weights)


def _least_margin(
    problem: Any, weights: Float[Array, "d d"], selected: Int[Array, "..."], relaxed: Bool[Array, "n"]
) -> Float[Array, ""]:
    logits = attention_logits(problem, weights)
    place = selected_of_queries(problem, selected)[..., None]
    best = jnp.take_along_axis(logits, place, axis=-1)
    asked = (jnp.arange(logits.shape[-1])[None, None, :] != place) & ~relaxed[:, None, None]
    return jnp.min(jnp.where(asked, best - logits, jnp.inf))


def log_log_slopes(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least-squares slopes of log values (R, K) over log steps (K,), one a run."""
    x = np.log(steps) - np.log(steps).mean()
    return np.log(np.maximum(values, 1e-300)) @ x / (x @ x)


def _ends(steps: np.ndarray, logarithm: np.ndarray, middle: int) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a run that is not finite
        return (logarithm[:, -1] - logarithm[:, middle]) / max(steps[-1] - steps[middle], 1)


def _masked(value: Any, code: np.ndarray) -> np.ndarray:
    """NaN for the runs that are missing."""
    value = np.array(value, np.float64)
    value[code != int(Result.SUCCESSFUL)] = np.nan
    return value
