"""The theories of token selection: what each computes and claims (see `theories`), and where it comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.lab.declare import Predicted, Status, Theory

if TYPE_CHECKING:
    from solvable.attention.token_selection.algorithms import MirrorDescent
    from solvable.attention.token_selection.max_margin import MaxMargin
    from solvable.attention.token_selection.runs import Runs
    from solvable.attention.token_selection.task import SelectionProblem

GIVEN = ("problem", "selected", "saturation", "decoder", "result")


def max_margin(task: Any, algorithm: MirrorDescent, runs: Runs, at: np.ndarray) -> Predicted:
    if algorithm.parameterization == "factored" and algorithm.p != 2.0:
        raise ValueError(
            f"p={algorithm.p:g} has no known direction with parameterization='factored'; accepted: p=2, whose "
            "direction is that of the nuclear norm"
        )
    weights, ones = runs.limit.weights, np.ones(len(at))
    size = np.linalg.norm(weights.reshape(len(weights), -1), algorithm.p, axis=1)
    # stated for W trained alone
    alone = algorithm.parameterization == "matrix" and not algorithm.train_decoder
    status: dict[str, Status] = {} if alone else dict.fromkeys(("direction", "divergence"), _RECONSTRUCTED)
    codes = np.where(runs.solved == 0, _overshot(algorithm, runs, np.array([algorithm.steps]))[:, 0], runs.solved)
    said = _said(
        runs,
        status,
        direction=weights / size[:, None, None],
        divergence=0.0 * ones,
        # the margin is measured in the entrywise norm, in which the nuclear solution's is not the largest
        margin_ratio=ones if algorithm.parameterization == "matrix" else None,
        decoder_divergence=0.0 * ones if algorithm.train_decoder else None,
    )
    return dataclasses.replace(said, result=codes)


def growth(task: Any, algorithm: MirrorDescent, runs: Runs | None, at: np.ndarray) -> Predicted:
    if algorithm.parameterization == "factored" or algorithm.train_decoder or algorithm.step == "fixed":
        raise ValueError(
            "theory='growth' speaks of W trained alone by normalized or polyak steps; accepted: "
            "parameterization='matrix', no decoder, and theory='excess_loss' for fixed steps"
        )
    if algorithm.step == "normalized":
        return _normalized_growth(algorithm, runs, at)
    if runs is None:
        raise ValueError(
            f"given=None is not accepted with theory='growth' and step={algorithm.step!r}, whose growth depends on the "
            "max-margin norm; accepted: an outcome of simulate"
        )
    norm = at * runs.limit.norm[:, None] / float(algorithm.polyak_constant)
    close = np.broadcast_to(_stable(algorithm, runs)[:, None], norm.shape)
    return _grown(runs, close, norm=norm, growth=np.ones(len(at)))


def _normalized_growth(algorithm: MirrorDescent, runs: Runs | None, at: np.ndarray) -> Predicted:
    """Without runs the law of small steps, which only steps that gain less and less are sure to reach."""
    p, speed, constant = algorithm.p, algorithm.speed, not callable(algorithm.learning_rate)
    summed = algorithm.summed_rates(at)
    if runs is None:
        if constant and p < 2.0:
            raise ValueError(
                f"given=None is not accepted with theory='growth' and p={p:g} at a constant rate, whose steps come to "
                "oscillate between support tokens; accepted: an outcome of simulate, or linear_growth"
            )
        unsure: Any = {} if constant and p > 2.0 else dict.fromkeys(("norm", "growth"), _UNSURE)
        return Predicted({"norm": summed ** (1.0 / (p - 1.0)), "growth": np.ones(len(at))}, status=unsure)
    laws, lasting = _laws(algorithm, runs, at), constant and p < 2.0
    slopes, norms = np.full(len(runs.result), np.nan), runs.limit.norm
    # before its steps oscillate a constant rate at p < 2 follows a law that does not last
    unsure = lasting
    for r, of in enumerate(_oscillations(algorithm, runs) if speed is not None else ()):
        if of is not None and speed is not None:
            slopes[r] = -speed / norms[r] if speed < of.near * norms[r] else np.nan
            unsure |= speed >= of.stable * norms[r]
    status = dict.fromkeys(("norm", "growth", "gap_slope"), _UNSURE) if unsure and np.any(laws == 1.0) else {}
    values = {"norm": (laws * summed) ** (1.0 / (p - 1.0)), "growth": laws}
    return _grown(runs, ~np.isnan(laws), status, **values, gap_slope=None if speed is None else slopes)


def _laws(algorithm: MirrorDescent, runs: Runs, at: np.ndarray) -> np.ndarray:
    """|W|_p^(p-1) over the sum of rates (R, K) of normalised steps, NaN where no law is close."""
    from solvable.attention.token_selection.growth import growth_laws

    every = algorithm.summed_rates(np.arange(1, at[-1] + 1))
    laws, lasting = np.full((len(runs.result), len(at)), np.nan), not callable(algorithm.learning_rate)
    for r, of in enumerate(_oscillations(algorithm, runs)):
        if of is not None:
            found = growth_laws(every, algorithm.p, float(runs.limit.norm[r]), of, lasting and algorithm.p < 2.0)
            laws[r] = np.append(1.0, found)[at]
    return laws


def _stable(algorithm: MirrorDescent, runs: Runs) -> np.ndarray:
    """Which runs' Polyak steps, of 1/polyak_constant units of margin, do not oscillate."""
    constant = float(algorithm.polyak_constant)
    return np.array([of is not None and of.near * constant > 1.0 for of in _oscillations(algorithm, runs)])


def _overshot(algorithm: MirrorDescent, runs: Runs, at: np.ndarray) -> np.ndarray:
    """Codes (R, K): of fixed steps so large that the first one carries W further than half of what k steps would."""
    from solvable.attention.token_selection.growth import first_gains
    from solvable.attention.token_selection.results import SelectionResult

    if algorithm.step != "fixed":
        return np.zeros((len(runs.result), len(at)), int)
    with np.errstate(divide="ignore"):
        most = np.maximum(1.0, 0.5 * np.log(algorithm.summed_rates(at)))
    gains = first_gains(algorithm, runs)
    return np.where(gains[:, None] > most, int(SelectionResult.OVERSHOT), 0)


def _oscillations(algorithm: MirrorDescent, runs: Runs) -> list[Any]:
    """Of every run with a max-margin solution, when its steps start to oscillate."""
    from solvable.attention.token_selection.growth import oscillation
    from solvable.numerics.recording import pick

    there = (runs.result == 0) & (runs.solved == 0)
    return [
        oscillation(*pick((runs.problem, runs.limit), r), algorithm.p) if ok else None for r, ok in enumerate(there)
    ]


def _grown(runs: Runs, close: np.ndarray, status: Mapping[str, Status] | None = None, **values: Any) -> Predicted:
    """With a code at the steps where no law of the norm is close."""
    from solvable.attention.token_selection.results import SelectionResult

    said, solved = _said(runs, status, **values), runs.solved[:, None]
    codes = np.where(close, int(SelectionResult.SUCCESSFUL), int(SelectionResult.OSCILLATING))
    return dataclasses.replace(said, result=np.where(solved == 0, codes, solved))


def rate(task: Any, algorithm: MirrorDescent, runs: Runs | None, at: np.ndarray) -> Predicted:
    if algorithm.parameterization == "factored" or algorithm.train_decoder:
        raise ValueError("theory='rate' speaks of W trained alone; accepted: parameterization='matrix', no decoder")
    scheduled = callable(algorithm.learning_rate)
    if algorithm.step == "polyak" or (scheduled and algorithm.speed is not None and algorithm.p >= 2.0):
        return _said(runs, divergence_slope=-2.0)
    if algorithm.step == "normalized" and not scheduled:
        slope = -2.0 * min(1.0, 1.0 / (algorithm.p - 1.0))
        if algorithm.p >= 2.0:
            return _said(runs, divergence_slope=slope)
        # while one law of the norm turns into the other the direction converges more slowly
        if runs is None:
            return Predicted({"divergence_slope": slope}, status={"divergence_slope": _UNSURE})
        settled = ~np.isnan(_laws(algorithm, runs, np.array([algorithm.steps])))
        return _grown(runs, settled, divergence_slope=np.where(settled[:, 0], slope, np.nan))
    raise ValueError(
        f"step={algorithm.step!r} with learning_rate={algorithm.learning_rate!r} has no power law in the steps; "
        "accepted: normalized steps of constant rate or of linear_growth with p >= 2, and polyak steps"
    )


def excess_loss(task: Any, algorithm: MirrorDescent, runs: Runs, at: np.ndarray) -> Predicted:
    from solvable.numerics.recording import pick

    if algorithm.step != "fixed" or algorithm.parameterization == "factored" or algorithm.train_decoder:
        raise ValueError(
            f"theory='excess_loss' does not speak of step={algorithm.step!r} with "
            f"parameterization={algorithm.parameterization!r}; accepted: fixed steps on W alone"
        )
    ones, offsets = np.ones(len(at)), None
    if algorithm.p == 2.0:
        offsets = np.full((len(runs.result), len(at)), np.nan)
        for r in map(int, np.flatnonzero(runs.separable().result == 0)):
            offsets[r] = offset(algorithm, *pick((runs.problem, runs.limit), r))
    codes, solved = _overshot(algorithm, runs, at), runs.solved[:, None]
    said = _said(runs, scaled_excess=ones + 0.0 * codes, offset=offsets)
    return dataclasses.replace(said, result=np.where(solved == 0, codes, solved))


def polyak(task: Any, algorithm: MirrorDescent, runs: Runs | None, at: np.ndarray) -> Predicted:
    if algorithm.step != "polyak":
        raise ValueError(f"theory='polyak' does not speak of step={algorithm.step!r}; accepted: step='polyak'")
    slope = -1.0 / float(algorithm.polyak_constant)
    if runs is None:
        return Predicted({"gap_slope": slope}, status={"gap_slope": _UNSURE})
    stable = _stable(algorithm, runs)
    return _grown(runs, stable[:, None], gap_slope=np.where(stable, slope, np.nan))


_STATED, _DERIVED, _RECONSTRUCTED = (Status("asymptotic", one) for one in ("stated", "derived", "reconstruction"))
_UNSURE = Status("heuristic", "derived")

theories: dict[str, Theory] = {
    "max_margin": Theory(
        "the direction of W as steps go to infinity: the max-margin solution for the problem and the tokens selected "
        "(stated for W; for factored training the source has a vanishing regularisation, which is left out here)",
        {
            "direction": _STATED,
            "divergence": _STATED,
            "margin_ratio": _DERIVED,
            "decoder_divergence": _RECONSTRUCTED,
        },
        max_margin,
        GIVEN,
        needs_given=True,
    ),
    "growth": Theory(
        "the norm over steps, (sum of learning rates)^(1/(p-1)) for normalised steps too small to oscillate "
        "(heuristic without given, unless the rate is constant and p > 2); given the tokens selected also the "
        "fall of log(1 - attention) a step, the norm of Polyak steps, and at p < 2 and a constant rate the law of "
        "oscillating steps, whose sum counts by the share |A^T lambda|_q / sum_j lambda_j |a_j|_q",
        {"norm": _DERIVED, "growth": _DERIVED, "gap_slope": _DERIVED},
        growth,
        GIVEN,
    ),
    "rate": Theory(
        "the slope of log divergence over log steps: -2 min(1, 1/(p-1)) for normalised steps of constant rate (p < 2: "
        "heuristic without given, a code while steps come to oscillate), -2 for linear growth and Polyak steps",
        {"divergence_slope": _DERIVED},
        rate,
        GIVEN,
    ),
    "excess_loss": Theory(
        "fixed steps: the excess loss times eta k over (p-1) m^(p-2) |W_mm|_p^p, m = |W|/|W_mm|, goes to 1; at p = 2 "
        "<W, W_mm>/|W_mm|^2 - log(eta k) goes to sum_j lambda_j log(beta_j/lambda_j)/|W_mm|^2; a code where the first "
        "step overshoots",
        {"scaled_excess": _DERIVED, "offset": _DERIVED},
        excess_loss,
        GIVEN,
        needs_given=True,
    ),
    "polyak": Theory(
        "Polyak steps: log(1 - attention) falls by 1/polyak_constant a step, whatever the data, while steps do not "
        "oscillate (heuristic without given)",
        {"gap_slope": _DERIVED},
        polyak,
        GIVEN,
    ),
}


def offset(algorithm: MirrorDescent, problem: SelectionProblem, solution: MaxMargin) -> float:
    """sum_j lambda_j log(beta_j / lambda_j) / |W_mm|^2: the limit of <W_k, W_mm>/|W_mm|^2 - log(eta k) at p = 2.

    Near saturation the excess loss is sum_j beta_j exp(-a_j.W) with beta_it = (1/(n m)) (-loss'(gamma_i)) (gamma_i -
    gamma_it), gamma_i the score of the selected token (over m queries a sequence, its mean in the loss), so gradient
    descent is that of an exponential loss on the constraint rows a_j (derived here).
    """
    import jax.numpy as jnp

    scores = np.asarray(problem.scores(), np.float64)
    multipliers = solution.multipliers.reshape(len(scores), -1, scores.shape[1])
    places = np.broadcast_to(solution.selected.reshape(len(scores), -1), multipliers.shape[:2])
    best = np.take_along_axis(scores, places, axis=1)  # (n, m)
    log_slope = np.asarray(algorithm.loss.log_slope(jnp.asarray(best.mean(axis=1))))
    gaps = best[:, :, None] - scores[:, None, :]
    support = multipliers > 0.0
    weights = multipliers[support]
    log_beta = log_slope[:, None, None] + np.log(np.where(support, gaps, 1.0)) - np.log(multipliers[..., 0].size)
    return float(weights @ (log_beta[support] - np.log(weights)) / solution.norm**2)


def _said(runs: Runs | None, status: Mapping[str, Status] | None = None, **values: Any) -> Predicted:
    if runs is None:
        return Predicted(values)
    return Predicted(values, runs.solved, {"gap": runs.limit.gap}, status=status or {})
