"""Predictions: where training points, how fast the norm grows and the direction converges, what loss is left."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from solvable.attention.token_selection.algorithms import LinearGrowth, MirrorDescent
from solvable.attention.token_selection.given import GivenRuns
from solvable.attention.token_selection.max_margin import MaxMargin
from solvable.attention.token_selection.outcome import SelectionOutcome
from solvable.attention.token_selection.simulate import known, learning_rates_summed, measured_steps
from solvable.attention.token_selection.task import SelectionProblem, Task
from solvable.attention.token_selection.theories import theories
from solvable.numerics.precision import float64
from solvable.numerics.results import Result, raise_unless_successful
from solvable.numerics.validation import choice


@float64
def predict(
    task: Task,
    algorithm: MirrorDescent,
    /,
    *,
    theory: str | None = None,
    given: Any = None,
    at: Any = None,
    throw: bool = True,
) -> SelectionOutcome:
    """What theory says of training with `algorithm`, in the observables of `simulate` (see `theories`).

    "max_margin" (the default) and "excess_loss" need `given`: an outcome of `simulate`, for a single problem the run
    that `train` returned, or a mapping with `selected` (replicates, n) and, unless the task is itself a problem,
    `problem` (stacked); `saturation` and `decoder` where they are known. The others need it only for what depends on
    the max-margin norm. `at` are steps, as in `simulate`.
    A run given whose attention has not saturated, or whose tokens are not locally optimal, is missing with its reason.

    Raises: ValueError for a theory that does not speak of this algorithm; SolveError, unless throw=False, when a
    max-margin program is not solved.
    """
    known(task, algorithm, "predict")
    name = choice("theory", theory or next(iter(theories)), tuple(theories))
    if algorithm.gradient != "stable":
        raise ValueError(
            f"gradient={algorithm.gradient!r} has no theory, as it goes wrong once the attention saturates; accepted: "
            "gradient='stable'"
        )
    at = measured_steps(algorithm, at)
    if name in ("max_margin", "excess_loss") and given is None:
        raise ValueError(
            f"given=None is not accepted with theory={name!r}, which holds for the tokens a run selected; accepted: an "
            "outcome of simulate, or a mapping with 'selected'"
        )
    runs = None if given is None else GivenRuns(task, algorithm, given)
    outcome = _THEORIES[name](algorithm, runs, at)
    if throw and runs is not None:
        raise_unless_successful(np.where(runs.result == Result.MAX_STEPS, runs.result, 0), f"predict, {name!r}")
    return outcome


def _max_margin(algorithm: MirrorDescent, runs: Any, at: np.ndarray) -> SelectionOutcome:
    if algorithm.parameterization == "factored" and algorithm.p != 2.0:
        raise ValueError(
            f"p={algorithm.p:g} has no known direction with parameterization='factored'; accepted: p=2, whose "
            "direction is that of the nuclear norm"
        )
    p = algorithm.p
    exact = algorithm.parameterization == "matrix"
    over = np.ones((len(runs.result), len(at)))
    shape = (runs.problems[0].tokens.shape[-1],) * 2

    def steps(limit: float) -> np.ndarray:
        return np.where(runs.result[:, None] == Result.SUCCESSFUL, limit * over, np.nan)

    return _outcome(
        runs,
        at,
        direction=runs.each(lambda _, s: s.weights / np.linalg.norm(s.weights.ravel(), p), shape),
        divergence=steps(0.0),
        # the margin is measured in the entrywise norm, in which the nuclear solution's is not the largest
        margin_ratio=steps(1.0) if exact else None,
        decoder_divergence=steps(0.0) if algorithm.train_decoder else None,
    )


def _growth(algorithm: MirrorDescent, runs: Any, at: np.ndarray) -> SelectionOutcome:
    if algorithm.parameterization == "factored" or algorithm.train_decoder or algorithm.step == "fixed":
        raise ValueError(
            "theory='growth' speaks of W trained alone by normalized or polyak steps; accepted: "
            "parameterization='matrix', no decoder, and theory='excess_loss' for fixed steps"
        )
    p, rates = algorithm.p, learning_rates_summed(algorithm, at)
    ones = np.ones(len(at))
    if algorithm.step == "normalized":
        norm = rates ** (1.0 / (p - 1.0))
        if runs is None:
            return _outcome(None, at, norm=norm, growth=ones)
        norm, ones = (np.broadcast_to(value, (len(runs.result), len(at))) for value in (norm, ones))
        speed = _speed(algorithm)
        slopes = None if speed is None else -speed / runs.norms[:, 0]
        return _outcome(runs, at, norm=norm, growth=ones, gap_slope=slopes)
    if runs is None:
        raise ValueError(
            f"given=None is not accepted with theory='growth' and step={algorithm.step!r}, whose growth depends on the "
            "max-margin norm; accepted: an outcome of simulate"
        )
    growth = np.broadcast_to(ones, (len(runs.result), len(at)))
    return _outcome(runs, at, norm=at * runs.norms / float(algorithm.polyak_constant), growth=growth)


def _rate(algorithm: MirrorDescent, runs: Any, at: np.ndarray) -> SelectionOutcome:
    p = algorithm.p
    if algorithm.parameterization == "factored" or algorithm.train_decoder:
        raise ValueError("theory='rate' speaks of W trained alone; accepted: parameterization='matrix', no decoder")
    if algorithm.step == "polyak" or (isinstance(algorithm.learning_rate, LinearGrowth) and p >= 2.0):
        slope = -2.0
    elif algorithm.step == "normalized" and not callable(algorithm.learning_rate):
        slope = -2.0 * min(1.0, 1.0 / (p - 1.0))
    else:
        raise ValueError(
            f"step={algorithm.step!r} with learning_rate={algorithm.learning_rate!r} has no power law in the steps; "
            "accepted: normalized steps of constant rate or of linear_growth with p >= 2, and polyak steps"
        )
    if runs is None:
        return _outcome(None, at, divergence_slope=np.asarray(slope))
    return _outcome(runs, at, divergence_slope=np.full(len(runs.result), slope))


def _excess_loss(algorithm: MirrorDescent, runs: Any, at: np.ndarray) -> SelectionOutcome:
    if algorithm.step != "fixed" or algorithm.parameterization == "factored" or algorithm.train_decoder:
        raise ValueError(
            f"theory='excess_loss' does not speak of step={algorithm.step!r} with "
            f"parameterization={algorithm.parameterization!r}; accepted: fixed steps on W alone"
        )
    ones = np.ones((len(runs.result), len(at)))
    offsets = None
    if algorithm.p == 2.0:
        offsets = runs.each(lambda q, s: offset(algorithm, q, s))[:, None] * ones
    return _outcome(runs, at, scaled_excess=ones, offset=offsets)


def _polyak(algorithm: MirrorDescent, runs: Any, at: np.ndarray) -> SelectionOutcome:
    if algorithm.step != "polyak":
        raise ValueError(f"theory='polyak' does not speak of step={algorithm.step!r}; accepted: step='polyak'")
    slope = -1.0 / float(algorithm.polyak_constant)
    if runs is None:
        return _outcome(None, at, gap_slope=np.asarray(slope))
    return _outcome(runs, at, gap_slope=np.full(len(runs.result), slope))


_THEORIES = {
    "max_margin": _max_margin,
    "growth": _growth,
    "rate": _rate,
    "excess_loss": _excess_loss,
    "polyak": _polyak,
}


def offset(algorithm: MirrorDescent, problem: SelectionProblem, solution: MaxMargin) -> float:
    """sum_j lambda_j log(beta_j / lambda_j) / |W_mm|^2: the limit of <W_k, W_mm>/|W_mm|^2 - log(eta k) at p = 2.

    Near saturation the excess loss is sum_j beta_j exp(-a_j.W) with beta_it = (1/(n m)) (-loss'(gamma_i)) (gamma_i -
    gamma_it), gamma_i the score of the selected token (over m queries a sequence, its mean in the loss), so gradient
    descent is that of an exponential loss on the constraint rows a_j (derived here).
    """
    scores = np.asarray(problem.scores(), np.float64)
    multipliers = solution.multipliers.reshape(len(scores), -1, scores.shape[1])
    places = solution.selected.reshape(len(scores), -1)
    places = np.broadcast_to(places, multipliers.shape[:2])
    best = np.take_along_axis(scores, places, axis=1)  # (n, m)
    log_slope = np.asarray(algorithm.loss.log_slope(jax.numpy.asarray(best.mean(axis=1))))
    gaps = best[:, :, None] - scores[:, None, :]
    support = multipliers > 0.0
    weights = multipliers[support]
    log_beta = log_slope[:, None, None] + np.log(np.where(support, gaps, 1.0)) - np.log(multipliers[..., 0].size)
    return float(weights @ (log_beta[support] - np.log(weights)) / solution.norm**2)


def _speed(algorithm: MirrorDescent) -> float | None:
    """The growth of |W| a step, where it is constant."""
    if isinstance(algorithm.learning_rate, LinearGrowth):
        return float(algorithm.learning_rate.speed)
    if callable(algorithm.learning_rate) or algorithm.p != 2.0:
        return None
    return float(algorithm.learning_rate)


def _outcome(runs: Any, at: np.ndarray, **fields: Any) -> SelectionOutcome:
    if runs is None:
        return SelectionOutcome(result=np.array(int(Result.SUCCESSFUL)), stats={}, at=at, **fields)
    for name, value in fields.items():
        if value is not None:
            missing = (runs.result != Result.SUCCESSFUL).reshape(-1, *[1] * (np.ndim(value) - 1))
            fields[name] = np.where(missing, np.nan, value)
    gaps = np.array([np.nan if one is None else one.gap for one in runs.solutions])
    return SelectionOutcome(result=runs.result, stats={"gap": gaps}, at=at, **fields)
