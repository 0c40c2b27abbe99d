"""The max-margin programs whose solutions training converges to in direction, on the host and certified."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from solvable.attention.token_selection.task import Norm, SelectionProblem
from solvable.lab.declare import Result, instance, on_the_host
from solvable.numerics.minimum_norm import MinimumNorm, minimum_norm, minimum_nuclear_norm
from solvable.numerics.validation import floating, real_array, truth

SUPPORT = 1e-6


class MaxMargin(eqx.Module):
    """The least-norm weights that separate the selected tokens by a margin of 1, with their certificate.

    `weights` (d, d), NaN when nothing separates, (d,) for the decoder; `norm` |weights|_p; `margin` = 1/norm the
    largest margin of weights of unit norm. `multipliers` lambda >= 0 of the constraints, with the shape of the
    attention maps (zero at the selected tokens), or (n,) for the decoder: grad psi(weights) = A^T lambda. `gap`: at
    most this share of the norm can be saved (certified by duality). `result` is SUCCESSFUL or INFEASIBLE; for the
    latter `multipliers` are the certificate: they sum to 1 and A^T lambda = 0. `relaxed` are the sequences asked for a
    margin of 0 only. `stats` counts the solver's work.
    """

    weights: Float[np.ndarray, "d d"] | Float[np.ndarray, "d"]
    norm: float
    margin: float
    multipliers: Float[np.ndarray, "..."]
    gap: float
    result: Result
    selected: Int[np.ndarray, "n"] | Int[np.ndarray, "n m"]
    relaxed: Bool[np.ndarray, "n"]
    p: Norm = eqx.field(static=True)
    stats: dict[str, float] = eqx.field(repr=False)


def max_margin(
    problem: SelectionProblem, selected: Any, p: Norm = 2.0, *, relaxed: Any = None, throw: bool = True
) -> MaxMargin:
    """min |W| subject to (x_i,selected - x_it)^T W z_i >= 1 for every i (and query) and every other t.

    The norm is entrywise |.|_p for 1 <= p <= inf, or "nuclear". p is the direction of mirror descent with that p on W,
    "nuclear" that of gradient descent on K and Q (arXiv:2410.14581; p = 2 and nuclear: arXiv:2308.16898). `selected`
    is a token index a sequence, (n,), or a query, (n, m). Sequences in the mask `relaxed` (n,) are asked for a margin
    >= 0 only: those that are no support vectors of the decoder trained along with W. Runs on the host (active sets,
    Newton, linear programs), so not inside jit or vmap.

    Raises: ValueError for a selection or norm that is not accepted, and unless throw=False for a selected token that
    has a copy in its sequence; SolveError, unless throw=False, when the certified gap misses its tolerance. Weights
    that do not exist are an answer, not an error: see `MaxMargin.result`.
    """
    chosen = selection(problem, selected)
    tokens, queries = np.asarray(problem.tokens, np.float64), np.asarray(problem.query_sets, np.float64)
    (n, length, dim), m = tokens.shape, queries.shape[1]
    place, others = _places(problem, chosen)
    winners = tokens[np.arange(n)[:, None], place]  # (n, m, d)
    differences = winners[:, :, None, :] - tokens[:, None, :, :]  # (n, m, T, d)
    copies = others & ~differences.any(axis=-1)
    if truth("throw", throw) and copies.any():
        i, _, t = np.argwhere(copies)[0]
        raise ValueError(
            f"selected token {place[i, 0]} of sequence {i} equals its token {t}, so nothing separates them; accepted: "
            "a selection of tokens without a copy"
        )
    rows = (differences[..., :, None] * queries[:, :, None, None, :])[others]  # (rows, d, d)
    mask = np.zeros(n, bool) if relaxed is None else np.asarray(real_array("relaxed", relaxed))
    if mask.shape != (n,) or mask.dtype != bool or mask.all():
        raise ValueError(f"relaxed={relaxed!r} is not accepted; accepted: {n} truth values, not all of them true")
    targets = np.broadcast_to(np.where(mask, 0.0, 1.0)[:, None, None], others.shape)[others]
    if isinstance(p, str):
        if p != "nuclear":
            raise ValueError(f"p={p!r} is no norm; accepted: a number from 1 to inf, or 'nuclear'")
        found = minimum_nuclear_norm(rows, targets=targets, throw=throw)
    else:
        found = minimum_norm(rows.reshape(len(rows), -1), p, targets=targets, throw=throw)
    multipliers = np.zeros((n, m, length))
    multipliers[others] = found.multipliers
    shaped = multipliers[:, 0] if problem.queries.ndim == 2 else multipliers
    return _answer(found, found.weights.reshape(dim, dim), shaped, chosen, mask, p)


def decoder_max_margin(problem: SelectionProblem, selected: Any, p: float = 2.0, *, throw: bool = True) -> MaxMargin:
    """min |v|_p subject to y_i x_i,selected^T v >= 1: the direction of a decoder trained along with the attention.

    With several queries a sequence the mean of their selected tokens stands for x_i,selected. The rest is as for
    `max_margin` (arXiv:2410.14581).
    """
    chosen, tokens = selection(problem, selected), np.asarray(problem.tokens, np.float64)
    winners = np.take_along_axis(tokens, chosen.reshape(len(tokens), -1, 1), axis=1)
    rows = winners.mean(1) * np.asarray(problem.labels)[:, None]
    found = minimum_norm(rows, p, throw=throw)
    return _answer(found, found.weights, found.multipliers, chosen, np.zeros(len(rows), bool), p)


def support_tokens(problem: SelectionProblem, solution: MaxMargin) -> Bool[np.ndarray, "..."]:
    """Which unselected tokens lie on the margin they are asked for, up to 1e-6: the shape of the multipliers."""
    instance("problem", problem, (SelectionProblem,))
    instance("solution", solution, (MaxMargin,))
    gaps, others = _gaps(problem, solution.weights, solution.selected)
    asked = np.where(solution.relaxed, 0.0, 1.0)[:, None, None]
    found = others & (gaps <= asked + SUPPORT)
    return found[:, 0] if problem.queries.ndim == 2 else found


def locally_optimal(problem: SelectionProblem, solution: MaxMargin, decoder: Any = None) -> bool:
    """Whether every selected token scores higher than each support token of its sequence (arXiv:2410.14581).

    The scores gamma_it = y_i v^T x_it are those of the problem's decoder, or of `decoder`. It is for locally optimal
    selections that the source states convergence to the max-margin direction; False for an infeasible one.
    """
    instance("problem", problem, (SelectionProblem,))
    instance("solution", solution, (MaxMargin,))
    if solution.result == Result.INFEASIBLE:
        return False
    scores = np.asarray(problem.scores(decoder), np.float64)
    support = support_tokens(problem, solution).reshape(len(scores), -1, scores.shape[1])
    best = np.take_along_axis(scores, solution.selected.reshape(len(scores), -1), axis=1)[..., None]
    return bool(np.all(~support | (best > scores[:, None, :])))


def margin_ratio(problem: SelectionProblem, solution: MaxMargin, weights: Any) -> Float[np.ndarray, "..."]:
    """The margin of W/|W| over the largest one, at most 1 (arXiv:2410.14581); `weights` (..., d, d), entrywise norms.

    min over i and t of (x_i,selected - x_it)^T W z_i, times |solution| / |W|, over the sequences that are not relaxed.
    """
    dim = instance("problem", problem, (SelectionProblem,)).tokens.shape[-1]
    weights, p = floating("weights", weights, np.float64), instance("solution", solution, (MaxMargin,)).p
    if weights.shape[-2:] != (dim, dim):
        raise ValueError(f"weights has shape {weights.shape}; accepted: (..., {dim}, {dim})")
    if isinstance(p, str):
        raise ValueError(f"solution.p={p!r} is not accepted; accepted: a solution in an entrywise norm")

    def ratio(one: np.ndarray) -> float:
        gaps, others = _gaps(problem, one, solution.selected)
        size = np.linalg.norm(one.ravel(), p)
        return gaps[others & ~solution.relaxed[:, None, None]].min() * solution.norm / size if size > 0 else 0.0

    return np.vectorize(ratio, signature="(d,e)->()")(weights)


def selection(problem: SelectionProblem, selected: Any) -> Int[np.ndarray, "n"] | Int[np.ndarray, "n m"]:
    """A checked selection.

    Raises: TypeError for what is no problem; ValueError for a traced one, for another shape than (n,) or (n, m), or an
    index that is not one of a token's.
    """
    instance("problem", problem, (SelectionProblem,))
    on_the_host("a max-margin program", problem, selected)
    (n, m, _), length = problem.query_sets.shape, problem.tokens.shape[1]
    chosen = np.asarray(real_array("selected", selected))
    if chosen.shape not in ((n,), (n, m)) or chosen.dtype.kind not in "iu":
        shapes = f"({n},)" + (f" or ({n}, {m})" if problem.queries.ndim == 3 else "")
        found = f"shape {chosen.shape} and dtype {chosen.dtype}"
        raise ValueError(f"selected has {found}; accepted: whole numbers of shape {shapes}")
    wrong = chosen[(chosen < 0) | (chosen >= length)]
    if wrong.size:
        raise ValueError(f"selected holds {wrong[0]}; accepted: token indices from 0 to {length - 1}")
    return chosen


def _gaps(problem: SelectionProblem, weights: Any, selected: Any) -> tuple[np.ndarray, np.ndarray]:
    """(x_selected - x_t)^T W z for every query and token, and which tokens are not selected: (n, m, T) each."""
    tokens, queries = np.asarray(problem.tokens, np.float64), np.asarray(problem.query_sets, np.float64)
    logits = np.einsum("ntd,nmd->nmt", tokens, queries @ np.asarray(weights).T)
    place, others = _places(problem, selected)
    return np.take_along_axis(logits, place[..., None], axis=-1) - logits, others


def _places(problem: SelectionProblem, selected: Any) -> tuple[np.ndarray, np.ndarray]:
    """The selected token of every query (n, m), and which tokens are others (n, m, T)."""
    place = np.broadcast_to(selected.reshape(len(selected), -1), problem.query_sets.shape[:2])
    return place, np.arange(problem.tokens.shape[1])[None, None, :] != place[..., None]


def _answer(found: MinimumNorm, weights: Any, multipliers: Any, chosen: Any, relaxed: Any, p: Norm) -> MaxMargin:
    certified = (found.norm, found.margin, multipliers, found.gap, found.result)
    return MaxMargin(weights, *certified, chosen, relaxed, p if isinstance(p, str) else float(p), found.stats)
