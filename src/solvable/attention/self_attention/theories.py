"""The theories of self-attention: the population's path, its local rate, the spectral start, a finite context."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from solvable.lab.declare.theory import Predicted, Status, Theory

NEXT = 0.2  # the largest share of order 1/n^2 in order 1/n: measured errors of the law stay below it
ARRIVED = 1e-3  # of the excess risk of the zero map: nearer to the solution steps are linear
FAR = " (the excess risk at the end exceeds 1e-3 of that of the zero map, where steps are not linear yet)"
ALONE = " (fresh_context_length alone leaves out the own sequence, on which the law sets in later)"


def population(task: Any, algorithm: Any, runs: Any, at: Any, **lengths: Any) -> Predicted:
    """The whole path, from the start of each run; without runs from the spectral start."""
    from solvable.attention.self_attention.factors import trajectories
    from solvable.numerics.results import Result

    if runs is None and algorithm.init == "random":
        raise ValueError(
            "given=None is not accepted with theory='population' and init='random', whose path depends on the start; "
            "accepted: an outcome of simulate, or a Parameters to start from"
        )
    starts = _solution(task, algorithm) if runs is None else runs.need("start")
    found = trajectories(algorithm, task, starts)
    # a spectral start is a solution already and has no speed
    once = {} if runs is None else {name: found[name] for name in ("rate", "iterations")}
    path = {name: np.asarray(found[name])[:, at] for name in ("excess_risk", "score_norm", "imbalance")}
    values = {**path, "train_loss": path["excess_risk"] + _noise(task), **once}
    length = lengths["context_length"]
    unsure = dict.fromkeys(values, Status("heuristic", "reconstruction")) if length and _short(task, length) else {}
    finite = np.isfinite(np.asarray(found["excess_risk"])[:, : at[-1] + 1]).all(axis=1)
    return Predicted(values, np.where(finite, int(Result.SUCCESSFUL), int(Result.NONFINITE)), status=unsure)


def local_rate(task: Any, algorithm: Any, runs: Any, at: Any, **lengths: Any) -> Predicted:
    """The rate near the state at the end; without runs near the spectral start."""
    import jax

    from solvable.attention.self_attention.factors import local_rates
    from solvable.attention.self_attention.population import excess_of
    from solvable.numerics.results import Result

    if algorithm.value == "closed_form":
        what = "value='closed_form', which solves the population's problem in one step"
        raise _silent("local_rate", what, "value='descent'")
    if algorithm.balance > 0 and algorithm.preconditioner != "full":
        what = f"balance={float(algorithm.balance):g} with preconditioner={algorithm.preconditioner!r}"
        accepted = "balance=0, or preconditioner='full'"
        raise _silent("local_rate", f"{what}, whose steps mix error and imbalance", accepted)
    ends = _solution(task, algorithm) if runs is None else runs.need("parameters")
    excess = jax.vmap(excess_of, (0, 0, None, None))(ends.value, ends.score, task.matrix, task.covariance)
    far = np.asarray(excess) > ARRIVED * 0.5 * np.sum((task.matrix @ task.covariance) * task.matrix)
    codes = np.where(far, int(Result.MAX_STEPS), int(Result.SUCCESSFUL))
    return Predicted({"rate": local_rates(dataclasses.replace(algorithm, steps=1), task, ends)}, codes, detail=FAR)


def spectral_start(task: Any, algorithm: Any, runs: Any, at: Any, **lengths: Any) -> Predicted:
    """The excess risk of the spectral start on `context_length` tokens."""
    from solvable.attention.self_attention.results import AttentionResult

    if algorithm.init != "spectral" or algorithm.value != "descent":
        what = f"init={algorithm.init!r} with value={algorithm.value!r}"
        raise _silent("spectral_start", what, "init='spectral', value='descent'")
    length = lengths["context_length"]
    if length is None:
        raise ValueError(
            "context_length=None is not accepted with theory='spectral_start'; accepted: the number of tokens"
        )
    values = np.linalg.svd(task.matrix @ np.linalg.cholesky(task.covariance), compute_uv=False)
    outputs, dim = task.matrix.shape
    # At^T At = Bt^T Bt = diag(s)
    found = task.noise**2 * outputs * dim + values.sum() ** 2 + values @ values
    code = AttentionResult.SHORT if _short(task, length) else AttentionResult.SUCCESSFUL
    return Predicted({"start_excess_risk": found / (2.0 * length)}, int(code))


def context(task: Any, algorithm: Any, runs: Any, at: Any, **lengths: Any) -> Predicted:
    """The state recorded at each step on a finite context; without runs, or of one state, the same at every step.

    The loss on the own sequence is that of a state which does not depend on it: of one state, not of runs.
    """
    import jax

    from solvable.attention.self_attention.population import finite_contexts
    from solvable.attention.self_attention.results import AttentionResult

    length, fresh_length = lengths["context_length"], lengths["fresh_context_length"]
    if fresh_length is None:
        raise ValueError(
            "context_length=None is not accepted with theory='context'; accepted: context_length, or "
            "fresh_context_length"
        )
    sizes = (float(fresh_length), float(length or fresh_length))
    found = finite_contexts(task, _path(task, algorithm, runs, at), *sizes)
    excess, terms, later = jax.tree_util.tree_map(np.asarray, found)
    values = {"fresh_excess_risk": excess + terms.fresh / fresh_length, "effective_share": terms.share}
    close = (later[0] <= NEXT) & (values["fresh_excess_risk"] >= 0.0)
    if length is not None and (runs is None or not runs.replicated):
        values["train_loss"] = excess + _noise(task) + terms.own / length
        close &= (later[1] <= NEXT) & (values["train_loss"] >= 0.0)
    result = np.where(close, int(AttentionResult.SUCCESSFUL), int(AttentionResult.PEAKED))
    # training starts at the spectral start of a sequence, which has an excess risk of order 1/n too
    status = dict.fromkeys(values, Status("heuristic", "derived")) if runs is None else {}
    return Predicted(values, result, detail=ALONE if "train_loss" in values else "", status=status)


def _short(task: Any, length: int) -> bool:
    """Whether the next order of what is estimated on n tokens, 4 (d + 1)/n of the first (measured), exceeds a fifth."""
    return 4.0 * (task.matrix.shape[1] + 1) > NEXT * length


def _silent(theory: str, what: str, accepted: str) -> ValueError:
    return ValueError(f"theory={theory!r} does not speak of {what}; accepted: {accepted}")


def _noise(task: Any) -> Any:
    return 0.5 * task.matrix.shape[0] * task.noise**2


def _solution(task: Any, algorithm: Any) -> Any:
    """The population's spectral start, (1, ..)."""
    import jax

    from solvable.attention.self_attention.factors import solution

    found = solution(dataclasses.replace(algorithm, steps=1, init="spectral"), task)
    return jax.tree_util.tree_map(lambda leaf: np.asarray(leaf)[None], found)


def _path(task: Any, algorithm: Any, runs: Any, at: Any) -> Any:
    """The states (R, K, ..) at the steps `at`."""
    import jax

    if runs is None or not runs.replicated:
        one = _solution(task, algorithm) if runs is None else runs.need("parameters")
        return jax.tree_util.tree_map(lambda leaf: np.repeat(leaf[:, None], len(at), axis=1), one)
    path, held = runs.need("path"), runs.get("at")
    recorded = np.ravel(at if held is None else held)
    if len(recorded) != np.shape(path.value)[1] or not np.isin(at, recorded).all():
        raise ValueError(
            f"given={runs.what} holds the states at {np.shape(path.value)[1]} steps, and at={list(map(int, at))} asks "
            "for others; accepted: steps that were recorded"
        )
    places = np.searchsorted(recorded, at)
    return jax.tree_util.tree_map(lambda leaf: leaf[:, places], path)


_LIMIT = Status("asymptotic", "reconstruction")
_DERIVED = Status("asymptotic", "derived")

theories: dict[str, Theory] = {
    "population": Theory(
        "training on infinitely many tokens: the recursion of the whitened factors on |At Bt^T - Mt|^2 / 2, exact for "
        "context_length=None (the limit of the loss is stated by the source; the algorithm's forms are "
        "reconstructions)",
        dict.fromkeys(("excess_risk", "train_loss", "score_norm", "imbalance", "rate", "iterations"), _LIMIT),
        population,
        given=("start",),
    ),
    "local_rate": Theory(
        "the ratio of successive excess risks near the solution, max (1 - eta lambda)^2 over the nonzero eigenvalues "
        "of the linearised step; for 'full' lambda = s_i(At)^2 + s_j(Bt)^2",
        {"rate": _LIMIT},
        local_rate,
        given=("parameters",),
    ),
    "spectral_start": Theory(
        "the excess risk of the spectral start, (1/2n)[noise^2 m d + tr(At^T At) tr(Bt^T Bt) + tr(At^T At Bt^T Bt)]",
        {"start_excess_risk": _LIMIT},
        spectral_start,
    ),
    "context": Theory(
        "the error of a finite context: excess risk on fresh contexts and, of one state given, loss on the own "
        "sequence up to order 1/n, and the share of the tokens that the attention rests on; a code at steps where "
        "order 1/n^2 exceeds a fifth of order 1/n; heuristic without given",
        dict.fromkeys(("fresh_excess_risk", "train_loss", "effective_share"), _DERIVED),
        context,
        given=("path", "at"),
    ),
}
