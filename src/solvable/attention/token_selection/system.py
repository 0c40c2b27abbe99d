"""Token selection as a system: what is trained, what is measured of a run against its own max-margin solution."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from solvable.attention.token_selection.algorithms import MirrorDescent, SelectionRun
from solvable.attention.token_selection.geometry import divergence_of, power_norm
from solvable.attention.token_selection.gradients import attention_maps, excess_loss, log_unselected, selected_and_rest
from solvable.attention.token_selection.max_margin import locally_optimal
from solvable.attention.token_selection.runs import Runs, run_together, runs_given
from solvable.attention.token_selection.task import EqualScores, RandomSelection, SelectionProblem, Task
from solvable.attention.token_selection.theories import theories
from solvable.lab.declare import Example, Given, Observable, Outcome, Result, System, log_spaced, pick, recorded_steps
from solvable.numerics.recording import log_log_slope

STEPS = ("at",)
ROUNDING = 1e-20


class TokenSelection(System):
    """Softmax attention trained by mirror descent: the token it settles on and the max-margin direction it takes."""

    tasks = (SelectionProblem, RandomSelection, EqualScores)
    algorithms = (MirrorDescent,)
    run_types = (SelectionRun,)
    theories = theories
    observables = (
        Observable("norm", "|W_k|_p", dims=STEPS),
        Observable("divergence", "directional divergence of W_k from the max-margin solution W_mm", dims=STEPS),
        Observable("margin_ratio", "margin of W_k/|W_k| over the largest one", dims=STEPS),
        Observable("saturation", "mean largest attention", dims=STEPS),
        Observable("log_unselected", "log of the largest 1 - attention on a selected token", dims=STEPS),
        Observable("growth", "norm over its law", dims=STEPS),
        Observable("scaled_excess", "excess loss over its law", dims=STEPS),
        Observable("offset", "<W_k, W_mm>/|W_mm|^2 - log(eta k)", dims=STEPS),
        Observable("decoder_divergence", "directional divergence of v_k from its max-margin solution", dims=STEPS),
        Observable("direction", "W/|W|_p at the end", dims=("row", "column")),
        Observable("divergence_slope", "slope of log divergence over log k in the last decade; NaN below 1e-20"),
        Observable("gap_slope", "slope of log_unselected a step, over the second half"),
        Observable("locally_optimal", "1 where the selected tokens are better than their support tokens, else 0"),
        Observable("globally_optimal", "1 where the selected tokens are better than all tokens, else 0"),
    )

    def times(self, task: Task, algorithm: MirrorDescent, at: Any, unit: str) -> Int[np.ndarray, "K"]:
        """The steps of `at`, or about 13 from steps/1000 to steps, evenly spaced in the logarithm."""
        return recorded_steps(at, algorithm.steps, log_spaced(algorithm.steps / 1000, algorithm.steps, 13))

    def train(self, task: Task, algorithm: MirrorDescent, keys: Any, at: Any, unit: str, **sizes: Any) -> Runs:
        """All problems are trained together; then each run's max-margin program is solved on the host."""
        if algorithm.parameterization == "factored" and algorithm.p != 2.0:
            raise ValueError(
                f"p={algorithm.p:g} has no max-margin solution to measure against with parameterization='factored'; "
                "accepted: p=2 (or `train` alone)"
            )
        stops = np.union1d(np.union1d(at, _fitted(algorithm)), [algorithm.steps // 2, algorithm.steps])
        return run_together(task, algorithm, keys, stops, **sizes).separable()

    def runs_given(self, task: Task, algorithm: MirrorDescent, given: Given | None) -> Runs | None:
        """The runs given, with their limits; a gradient that goes wrong has no theory."""
        if algorithm.gradient != "stable":
            raise ValueError(
                f"gradient={algorithm.gradient!r} has no theory, as it goes wrong once the attention saturates; "
                "accepted: gradient='stable'"
            )
        return None if given is None else runs_given(task, algorithm, given)

    def measure(self, task: Task, algorithm: MirrorDescent, runs: Runs, at: Any) -> Mapping[str, Any]:
        """Every measure at the steps of `at`, and those of a whole run (see `simulate`)."""
        p, steps, norms = algorithm.p, runs.path.steps[0], runs.limit.norm[:, None]
        values = jax.tree_util.tree_map(np.asarray, _measured(p, algorithm.loss, runs))
        excess, projection, summed = values.pop("excess"), values.pop("projection"), algorithm.summed_rates(steps)
        with np.errstate(all="ignore"):
            if algorithm.step == "fixed":
                scale = (p - 1.0) * (values["norm"] / norms) ** (p - 2.0) * norms**p
                values["scaled_excess"] = excess.value * np.exp(excess.log_scale) * summed / scale
                values["offset"] = projection - np.log(summed)
            elif algorithm.step == "polyak":
                values["growth"] = values["norm"] * float(algorithm.polyak_constant) / (steps * norms)
            elif algorithm.parameterization == "matrix":
                values["growth"] = values["norm"] ** (p - 1.0) / summed
            fitted, middle = np.searchsorted(steps, _fitted(algorithm)), np.searchsorted(steps, algorithm.steps // 2)
            gap = values["log_unselected"][:, -1] - values["log_unselected"][:, middle]
            slope = log_log_slope(steps[fitted], values["divergence"][:, fitted])
            resolved = values["divergence"][:, -1] > ROUNDING  # one support row alone is met from the start
        each = [pick((runs.problem, runs.limit, runs.decoder), r) for r in range(len(runs.result))]
        best = np.stack([problem.optimal_tokens(decoder) for problem, _, decoder in each])
        return {
            **{name: value[:, np.searchsorted(steps, at)] for name, value in values.items()},
            "direction": runs.weights / values["norm"][:, -1, None, None],
            "divergence_slope": np.where(resolved, slope, np.nan),
            "gap_slope": gap / max(steps[-1] - steps[middle], 1),
            "locally_optimal": np.array([locally_optimal(*one) for one in each]),
            "globally_optimal": np.all(runs.selected.reshape(*best.shape, -1) == best[..., None], axis=(1, 2)),
        }

    def example(self) -> Example:
        """Three sequences of three tokens; and ones that nothing trains, as their decoder is zero."""
        problem, algorithm = EqualScores(3, 3, 12).sample(jax.random.key(0)), MirrorDescent(steps=400)
        failing = dataclasses.replace(problem, decoder=0.0 * problem.decoder), algorithm
        code, near = int(Result.ZERO_GRADIENT), {"divergence": 0.0025, "margin_ratio": 0.0025}
        options = {"sizes": {"init_scale": 0.1}, "at": [40, 400], "failing": failing, "code": code}
        return Example(problem, algorithm, problem, **options, agreement=near)


SYSTEM = TokenSelection()
curve = SYSTEM.curve


def simulate(
    task: Task,
    algorithm: MirrorDescent,
    /,
    *,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    at: Any = None,
    init_scale: float = 0.0,
) -> Outcome:
    """Draw problems, train on each, and measure the runs.

    All problems are trained together; then each run's max-margin program is solved on the host. `replicates` is a
    count or a range of replicate numbers: replicate r depends on `key` and r alone (up to rounding, which the
    oscillating iterates of factored training can raise to 1e-3 of the direction). `at` are steps (None: about 13 up
    to `algorithm.steps`). Training starts at W = `init_scale` times standard normals (0: from zero; the factored form
    then has Q = 0 and K normal). A run whose selected tokens cannot be separated, or whose weights are not finite, is
    NaN with its reason in `.result`.

    W_mm is the max-margin solution for the tokens a run selected: in |.|_p, or in the nuclear norm for factored
    training, whose direction is measured with p = 2.

    Measured are the `observables` of the system, most of them over the steps k of `at`; the last decade is k in
    [steps/10, steps], the second half k in [steps/2, steps]. `growth` is |W_k|_p^(p-1) / (sum of rates) for normalised
    steps, polyak_constant |W_k|/(k |W_mm|) for Polyak steps; fixed steps alone have `scaled_excess` and `offset` (see
    the theory "excess_loss"), a trained decoder `decoder_divergence`. The outcome also holds the runs (see
    `runs.Runs`), of which a prediction is given `problem`, `selected` and the end's `decoder`.

    Raises: ValueError for arguments out of range; TypeError for a task or an algorithm of another system.
    """
    return SYSTEM.simulate(task, algorithm, key=key, replicates=replicates, at=at, init_scale=init_scale)


def predict(
    task: Task,
    algorithm: MirrorDescent,
    /,
    *,
    theory: str | None = None,
    given: Any = None,
    at: Any = None,
    throw: bool = True,
) -> Outcome:
    """What theory says of training with `algorithm`, in the observables of `simulate` (see `theories`).

    "max_margin" (the default) and "excess_loss" need `given`: an outcome of `simulate`, for a single problem the run
    that `train` returned, or a mapping with `selected` (replicates, n) and, unless the task is itself a problem,
    `problem` (stacked); `saturation` and `decoder` where they are known. The others need it only for what depends on
    the max-margin norm. `at` are steps, as in `simulate`; None: those of the outcome given.
    A run given whose attention has not saturated, or whose tokens are not locally optimal, is missing with its reason.

    Raises: ValueError for a theory that does not speak of this algorithm; SolveError, unless throw=False, when a
    max-margin program is not solved.
    """
    return SYSTEM.predict(task, algorithm, theory=theory, given=given, at=at, throw=throw)


def _fitted(algorithm: MirrorDescent) -> Int[np.ndarray, "K"]:
    """The steps of the last decade on which a slope is fitted."""
    return log_spaced(algorithm.steps / 10, algorithm.steps, 21)


@eqx.filter_jit
def _measured(p: float, loss: Any, runs: Runs) -> dict[str, Any]:
    """Every measure of every recorded step, (R, K), in double precision."""
    runs = jax.tree_util.tree_map(
        lambda leaf: leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, runs
    )

    def step(run: Any, weights: Any, decoder: Any) -> dict[str, Any]:
        problem, reference, size = run.problem, run.limit.weights, power_norm(weights, p)
        logits, place, rest = selected_and_rest(problem, weights / jnp.where(size > 0.0, size, 1.0), run.selected)
        margins = jnp.take_along_axis(logits, place, axis=-1) - logits
        asked = rest & ~run.limit.relaxed[:, None, None]
        found = {
            "norm": size,
            "divergence": divergence_of(reference, weights, p, (0, 1)),
            "margin_ratio": jnp.min(jnp.where(asked, margins, jnp.inf)) * run.limit.norm,
            "saturation": jnp.mean(jnp.max(attention_maps(problem, weights), axis=-1)),
            "log_unselected": jnp.max(log_unselected(problem, weights, run.selected)),
            "excess": excess_loss(problem, weights, run.selected, loss),
            "projection": jnp.sum(weights * reference) / jnp.sum(reference * reference),
        }
        if decoder is not None:
            found["decoder_divergence"] = divergence_of(run.decoder_limit.weights, decoder, p, (0,))
        return found

    return jax.vmap(lambda run: jax.vmap(step, (None, 0, 0))(run, run.path.weights, run.path.decoder))(runs)
