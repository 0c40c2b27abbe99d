"""What the figures of token selection draw and measure beside the observables of the system."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from solvable.attention.token_selection.algorithms import MirrorDescent, TrainingPath
from solvable.attention.token_selection.geometry import directional_divergence
from solvable.attention.token_selection.gradients import attention_maps
from solvable.attention.token_selection.max_margin import locally_optimal, max_margin
from solvable.attention.token_selection.path import RegularizationPath, traced_path
from solvable.attention.token_selection.runs import Runs, limits, run_together
from solvable.attention.token_selection.task import RandomSelection, SelectionProblem, Task
from solvable.lab.declare import Observable, Outcome, Result, float64, replicate_keys
from solvable.numerics.recording import log_log_slope


@float64
def trained(task: Task, algorithm: MirrorDescent, key: Any, replicates: Any, stops: Any, **start: Any) -> Runs:
    """The runs of the replicates, see `run_together`."""
    return run_together(task, algorithm, replicate_keys(key, replicates), stops, **start)


def tokens_of_others(
    task: Task, algorithm: MirrorDescent, key: Any, replicates: Any, init_scale: float, steps: Mapping[float, int]
) -> list[Int[np.ndarray, "R n"]]:
    """For every p of `steps`: what runs with that p and so many steps select on the same problems from other starts."""
    found = []
    for index, (p, count) in enumerate(steps.items()):
        other, stops = MirrorDescent(p, algorithm.learning_rate, count, gradient=algorithm.gradient), np.array([count])
        runs = trained(task, other, key, replicates, stops, init_scale=init_scale, run=index + 1)
        found.append(runs.selected)
    return found


def with_ends(values: Mapping[str, Any]) -> dict[str, Any]:
    """Observables over the steps, and the last value of each."""
    return {**values, **{f"final_{name}": value[-1] for name, value in values.items()}}


@float64
@eqx.filter_jit
def probabilities(problem: SelectionProblem, path: TrainingPath, selected: Int[Array, "n"]) -> tuple[Any, Any, Any]:
    """Over the steps: the attention (n, T), its mean on the tokens `selected`, the mean probability sigmoid(y f) of the
    label.
    """

    def one(weights: Any, decoder: Any) -> tuple[Any, Any, Any]:
        maps = attention_maps(problem, weights)[:, 0]
        outputs = jnp.sum(maps * problem.scores(decoder), axis=-1)
        attention = jnp.mean(jnp.take_along_axis(maps, selected[:, None], axis=-1))
        return maps, attention, jnp.mean(jax.nn.sigmoid(outputs))

    return jax.vmap(one)(path.weights, path.decoder)


def at_the_end(outcome: Outcome, observables: Sequence[Observable]) -> Outcome:
    """Of the system's observables the curves, the two slopes, and of the other measures over steps the last values;
    `decay` is -`log_unselected`.
    """
    values, dims = outcome.present(), {one.name: one.dims for one in observables}
    if "log_unselected" in values:
        values["decay"] = -values["log_unselected"]
    for name in values.keys() & {"growth", "scaled_excess", "offset"}:
        values[name] = values[name][..., -1]
    kept = {name: value for name, value in values.items() if name in dims}
    return Outcome.of(kept, outcome.result, dims, at=outcome.at, runs=outcome.runs, stats=outcome.stats)


def shares(run: Any) -> dict[str, bool]:
    """0 or 1 a run: `feasible`, weights exist that separate the optimal tokens; `settled`, its attention saturated;
    `globally_optimal` and `locally_optimal`, it did on the optimal, on locally optimal tokens.
    """
    best = np.asarray(run.problem.optimal_tokens())
    local = run.limit.result == Result.SUCCESSFUL and locally_optimal(run.problem, run.limit)
    return {
        "feasible": max_margin(run.problem, best, throw=False).result != Result.INFEASIBLE,
        "settled": run.saturated,
        "locally_optimal": run.saturated and local,
        "globally_optimal": run.saturated and np.array_equal(best, run.selected),
    }


@float64
def on_optimal_tokens(task: RandomSelection, key: Any, replicates: Any, drop: bool) -> Runs:
    """Drawn problems, their optimal tokens and the Frobenius (`limit`) and nuclear (`references`) solutions for them;
    `drop` gives those without a solution their reason.
    """
    problems = jax.tree_util.tree_map(np.asarray, jax.vmap(task.sample)(replicate_keys(key, replicates)))
    best = np.asarray(jax.vmap(SelectionProblem.optimal_tokens)(problems))
    ends = (np.ones(len(best)), problems.decoder, np.zeros(len(best), int))
    runs = Runs(problems, best, *ends, *limits(MirrorDescent(), problems, best)).separable().beside(["nuclear"])
    return runs if drop else dataclasses.replace(runs, result=np.zeros(len(best), int))


@float64
def paths(task: Task, algorithm: MirrorDescent, key: Any, replicates: Any, radii: Any) -> Runs:
    """Problems drawn, and their regularisation paths from W = 0 outwards, with the radii in the place of steps.

    A path counts as solved where the last five radii are.
    """
    drawn = _paths(task, replicate_keys(key, replicates), jnp.asarray(radii), algorithm.p, algorithm.loss)
    problems, found = jax.tree_util.tree_map(np.asarray, drawn)
    selected, saturation, codes = found.selected[:, -1], found.saturation[:, -1], found.result[:, -5:].max(axis=1)
    solutions = limits(algorithm, problems, selected)
    ends = (selected, saturation, problems.decoder, codes)
    return Runs(problems, *ends, *solutions, found.weights[:, -1], TrainingPath(found.radii, found.weights)).separable()


def approach(run: Any, p: float) -> dict[str, Any]:
    """`divergence` of W(R) from the max-margin solution for the tokens selected at the largest R, over R = `radius`;
    `divergence_slope` of its logarithm in log R over the last decade of radii.
    """
    found, radii = np.asarray(directional_divergence(run.limit.weights, run.path.weights, p)), run.path.steps
    decade = radii >= 0.1 * radii[-1] * (1.0 - 1e-9)
    return {"divergence": found, "divergence_slope": log_log_slope(radii[decade], found[decade])}


@eqx.filter_jit
def _paths(task: Task, keys: Any, radii: Any, p: float, loss: Any) -> tuple[SelectionProblem, RegularizationPath]:
    def one(key: Any) -> Any:
        problem = task.sample(key)
        return problem, traced_path(p, loss, problem, radii, jnp.zeros((problem.tokens.shape[-1],) * 2))

    return jax.vmap(one)(keys)
