"""Limits: infinite data at fixed dim ratio, and the best each representation can do as bags grow long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.features import Classifier
from solvable.attention.sparse_tokens.nodes import Law, Nodes, Quadrature, a_quadrature
from solvable.attention.sparse_tokens.separability import accept
from solvable.attention.sparse_tokens.task import Scalar, SparseTokens
from solvable.numerics.estimate import Estimate, mean_and_error
from solvable.numerics.gaussian import mean_and_standard_error, normal_cdf
from solvable.numerics.losses import Square
from solvable.numerics.precision import as_float64, batched_map, float64
from solvable.numerics.validation import instance, number, on_the_host

MAP_QUADRATURE = Quadrature(points=2**13, scramblings=1)


def limit_error(task: SparseTokens, algorithm: Classifier, quadrature: Quadrature | None = None) -> Estimate:
    """The test error as ratio -> infinity for the square loss and ridge -> 0: population least squares.

    Attention: (w1, w2, b) minimise E(y - w1 A - w2 kappa c - b)^2 + w2^2 E r^2 and the rest of w vanishes. Baselines,
    with D = strength R/sqrt(L) and p = positive_rate:
        slope m = 2 p (1-p) D / (1 + p (1-p) D^2),   b = 2p - 1 - m p D,   error p Phi(-(D + b/m)) + (1-p) Phi(b/m).
    Derived here; that each error approaches its limit like 1/ratio is Corollary 2 of arXiv:2509.25153.

    Returns: a float with `.standard_error` and `.stats`.
    Raises: ValueError for a loss other than square, or a TwoStepAttention (pass `fixed_query(...)`).
    """
    accept(task, algorithm)
    on_the_host("limit_error", task, algorithm)
    with jax.enable_x64(True):
        law = algorithm.law(task)
        if not isinstance(algorithm.loss, Square):
            raise ValueError(f"loss={type(algorithm.loss).__name__} has no closed limit here; accepted: 'square'")
        values = _population_errors(law, law.rules(a_quadrature(quadrature)))
        return Estimate(*mean_and_standard_error(values), scramblings=np.asarray(values))


def limit_errors(
    settings: Sequence[tuple[SparseTokens, Classifier]], quadrature: Quadrature = MAP_QUADRATURE
) -> Float[np.ndarray, "N"]:
    """`limit_error` of many settings of the square loss, those of one kind and length in one compiled map."""
    found, groups = np.full(len(settings), np.nan), {}
    with jax.enable_x64(True):
        for place, (task, algorithm) in enumerate(settings):
            law = jax.tree_util.tree_map(np.float64, algorithm.law(task))
            groups.setdefault(jax.tree_util.tree_structure(law), []).append((place, law))
        for group in groups.values():
            places, laws = zip(*group, strict=True)
            stacked = jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *laws)
            found[list(places)] = _mean_errors(stacked, laws[0].rules(quadrature))
    return found


@eqx.filter_jit
def _mean_errors(laws: Law, rules: Any) -> Float[Array, "N"]:
    return batched_map(lambda law: jnp.mean(_population_errors(law, rules)), laws)


@eqx.filter_jit
def _population_errors(law: Law, rules: Any) -> Float[Array, "S"]:
    return batched_map(lambda *rule: _least_squares_error(law.nodes(*rule)), *rules)


def _least_squares_error(f: Nodes) -> Scalar:
    columns = (f.query, f.signal, jnp.broadcast_to(f.label, f.scale.shape))
    # Without a coordinate along the query its equation is w1 = 0.
    diagonal = jnp.stack([jnp.array(0.0 if f.has_query else 1.0), f.mean(f.scale**2), jnp.zeros(())])
    gram = jnp.stack([jnp.stack([f.mean(a * b) for b in columns]) for a in columns]) + jnp.diag(diagonal)
    weights = jnp.linalg.solve(gram, jnp.stack([f.mean(a) for a in columns]))
    margin = sum(w * column for w, column in zip(weights, columns, strict=True))
    return f.mean(normal_cdf(-margin / (f.scale * jnp.maximum(jnp.abs(weights[1]), 1e-300))))


@float64
def pooled_oracle_error(task: SparseTokens) -> Scalar:
    """The least error of any linear classifier of the mean token (known signal and bias).

    With D = strength R/sqrt(L), k = log((1-p)/p): p Phi(-D/2 + k/D) + (1-p) Phi(-D/2 - k/D). arXiv:2509.25153
    (Theorem 1) states that it stays away from 0 unless strength grows like sqrt(L); this closed form is derived here.
    """
    instance("task", task, (SparseTokens,))
    rate = as_float64(task.positive_rate)
    d = jnp.maximum(as_float64(task.strength) * (task.sparsity / np.sqrt(task.length)), 1e-300)
    k = jnp.log((1.0 - rate) / rate)
    return rate * normal_cdf(-0.5 * d + k / d) + (1.0 - rate) * normal_cdf(-0.5 * d - k / d)


@float64
def flat_oracle_error(task: SparseTokens) -> Scalar:
    """The least error of a linear classifier of the flattened bag among those that weigh K tokens equally, 1 <= K <= L.

    For K tokens the positives' score has mean strength j/sqrt(K), j the number of signal tokens among them
    (hypergeometric), against noise N(0, 1). Derived here; that no other linear classifier is better is a conjecture of
    ours (K = L was the best in every case checked).
    """
    from scipy.stats import hypergeom

    instance("task", task, (SparseTokens,))
    tokens, hits = np.arange(1, task.length + 1)[:, None], np.arange(task.sparsity + 1)[None, :]
    shares = hypergeom.pmf(hits, task.length, task.sparsity, tokens)
    return _least_flat_error(task, jnp.asarray(shares), jnp.asarray(hits / np.sqrt(tokens)))


@eqx.filter_jit
def _least_flat_error(task: SparseTokens, shares: Float[Array, "L R"], means: Float[Array, "L R"]) -> Scalar:
    """min over K and thresholds t of p P(miss) + (1-p) P(false alarm), on a grid of 4001 thresholds."""
    rate, strength = as_float64(task.positive_rate), as_float64(task.strength)
    grid = jnp.linspace(-12.0, 12.0 + strength * task.sparsity, 4001)
    alarm = (1.0 - rate) * normal_cdf(-grid)

    def least(shares: Float[Array, "R"], means: Float[Array, "R"]) -> Scalar:
        miss = normal_cdf(grid[:, None] - strength * means[None, :]) @ shares
        return jnp.min(rate * miss + alarm)

    return jnp.min(batched_map(least, shares, means))


def oracle_error(task: SparseTokens, sharpness: Any = None, quadrature: Quadrature | None = None) -> Estimate:
    """The error of attention that knows the signal: q = sharpness xi, w = xi, best threshold.

    score = <a, g> + strength <v, a>, a = softmax(sharpness (g + strength v)); sharpness None means the strength. That
    the error vanishes as L grows when strength exceeds a multiple of log L is Theorem 2 of arXiv:2509.25153; for one
    signal token sqrt(2 log L) is enough at sharpness = strength (derived here).

    Returns: a float with `.standard_error` over the scramblings. Raises: ValueError for sharpness < 0 or > 1e100.
    """
    instance("task", task, (SparseTokens,))
    on_the_host("oracle_error", task, sharpness)
    sharpness = task.strength if sharpness is None else number("sharpness", sharpness, at_least=0.0, at_most=1e100)
    with jax.enable_x64(True):
        score = eqx.Partial(_attended, sharpness=as_float64(sharpness))
        return _ranked_error(float(task.positive_rate), *map(np.asarray, _scores(task, quadrature, score)))


def bayes_error(task: SparseTokens, quadrature: Quadrature | None = None) -> Estimate:
    """The error of the best classifier there is, which knows the signal: the likelihood ratio against (1-p)/p.

    Ratio: the mean over the sets S of R tokens of exp(sum over S of (strength x_l - strength^2/2)), with
    x_l = <token l, xi>.

    Returns: a float with `.standard_error` over the scramblings.
    """
    instance("task", task, (SparseTokens,))
    on_the_host("bayes_error", task)
    with jax.enable_x64(True):
        score = eqx.Partial(_log_likelihood_ratio, strength=as_float64(task.strength), size=task.sparsity)
        positive, negative = _scores(task, quadrature, score)
        rate = as_float64(task.positive_rate)
        odds = jnp.log(rate / (1.0 - rate))
        # The error is E min(p ratio, 1-p) over negatives and E min(p, (1-p)/ratio) over positives: smooth averages,
        # where counting wrong decisions would be noisy. Take half of each.
        by_negatives = (1.0 - rate) * jnp.mean(jnp.exp(jnp.minimum(negative + odds, 0.0)), axis=1)
        by_positives = rate * jnp.mean(jnp.exp(jnp.minimum(-(positive + odds), 0.0)), axis=1)
        values = 0.5 * (by_negatives + by_positives)
        return Estimate(*mean_and_standard_error(values), scramblings=np.asarray(values))


def _scores(task: SparseTokens, quadrature: Quadrature | None, score: Any) -> tuple[Any, Any]:
    """The scores (S, N) of positives and of negatives, which depend on the projections <token l, xi> (N, L)."""
    return _mapped(task, a_quadrature(quadrature).bags(task.length)[0], score)


@eqx.filter_jit
def _mapped(task: SparseTokens, normals: Float[Array, "S N L"], score: Any) -> tuple[Any, Any]:
    planted = as_float64(task.strength) * jnp.where(jnp.arange(task.length) < task.sparsity, 1.0, 0.0)
    return batched_map(lambda g: (score(g + planted[None, :]), score(g)), normals)


def _attended(x: Float[Array, "N L"], sharpness: Scalar) -> Float[Array, "N"]:
    return jnp.sum(jax.nn.softmax(sharpness * x, axis=-1) * x, axis=-1)


def _log_likelihood_ratio(x: Float[Array, "N L"], strength: Scalar, size: int) -> Float[Array, "N"]:
    """log of the mean over sets of `size` columns of exp(sum): elementary symmetric polynomials, in logarithms."""
    logs = strength * x - 0.5 * strength**2
    start = jnp.full((x.shape[0], size + 1), -jnp.inf).at[:, 0].set(0.0)

    def add(table: Float[Array, "N k"], column: Float[Array, "N"]) -> tuple[Float[Array, "N k"], None]:
        grown = jnp.logaddexp(table[:, 1:], table[:, :-1] + column[:, None])
        return jnp.concatenate([table[:, :1], grown], axis=1), None

    table, _ = jax.lax.scan(add, start, logs.T)
    sets = jax.scipy.special.gammaln(jnp.array([logs.shape[1] + 1.0, size + 1.0, logs.shape[1] - size + 1.0]))
    return table[:, -1] - (sets[0] - sets[1] - sets[2])


def _ranked_error(rate: float, positive: np.ndarray, negative: np.ndarray) -> Estimate:
    """The least p P(score_+ < t) + (1-p) P(score_- >= t) over thresholds t."""
    grid = np.linspace(min(positive.min(), negative.min()), max(positive.max(), negative.max()), 20001)

    def below(scores: np.ndarray) -> np.ndarray:
        return np.stack([np.searchsorted(np.sort(row), grid) / row.size for row in scores])

    errors = rate * below(positive) + (1.0 - rate) * (1.0 - below(negative))
    # Each scrambling is scored at the threshold that the others choose, so that none is fitted to its own noise.
    others = errors.sum(axis=0)[None, :] - (errors if len(errors) > 1 else 0.0)
    # Where many thresholds are best (well separated scores) the middle one is taken, not the edge of a sample.
    best = [int(np.median(np.flatnonzero(row == row.min()))) for row in others]
    values = errors[np.arange(len(errors)), best]
    return Estimate(*mean_and_error(values), scramblings=values)
