"""Simulation of the trained classifiers at finite samples and dim, with the observables of the theory."""

from __future__ import annotations

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.algorithms import (
    Algorithm,
    FixedQueryAttention,
    FlatLinear,
    PooledLinear,
    TwoStepAttention,
    known,
)
from solvable.attention.sparse_tokens.features import Quadrature, attention_scalars, sine
from solvable.attention.sparse_tokens.outcome import SparseTokenOutcome
from solvable.attention.sparse_tokens.results import SparseTokenResult
from solvable.attention.sparse_tokens.samplers import (
    Query,
    attention_design,
    class_code,
    flat_design,
    padded,
    pooled_design,
    two_step_query,
)
from solvable.attention.sparse_tokens.streaming import real_head, real_two_steps
from solvable.attention.sparse_tokens.task import SparseTokens, sample_labels
from solvable.numerics.erm import ERMSolution, ridge_erm
from solvable.numerics.gaussian import normal_cdf
from solvable.numerics.precision import as_float64, batched_map, float64
from solvable.numerics.random import normal
from solvable.numerics.results import Result
from solvable.numerics.validation import integer, number, replicate_numbers

ERROR_POINTS = 2**12
POSITION_SETS = 2000


@float64
def simulate(
    task: SparseTokens,
    algorithm: Algorithm,
    /,
    *,
    ratio: Any,
    dim: int,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    full: bool = False,
    test_samples: int | None = None,
) -> SparseTokenOutcome:
    """Train `replicates` classifiers on ratio * dim bags each and measure the observables of `predict`.

    By default the few numbers on which the outcome depends are drawn from their exact law (see `samplers`); `full=True`
    makes real tokens, in chunks, and runs the real two steps. `replicates` is a count or a range of replicate numbers:
    replicate r depends on `key` and r alone. The test error is an average over the law of
    the bags, by quadrature, not over a test set; with `test_samples` it is the share of errors on that many fresh bags.

    A replicate whose draw holds one class only, or whose fit does not converge, is NaN with its reason in `.result`.
    Raises: ValueError for arguments out of range.
    """
    known(algorithm, "simulate")
    dim = integer("dim", dim, at_least=3)
    query_samples, samples = sample_counts(algorithm, ratio=ratio, dim=dim)
    numbers = replicate_numbers(replicates)
    tests = None if test_samples is None else integer("test_samples", test_samples, at_least=1)
    key = jax.random.key(0) if key is None else key
    bags, _ = Quadrature(ERROR_POINTS, 1).bags(task.length)
    counts = (query_samples, samples)
    return _run(task, algorithm, key, jnp.asarray(numbers), bags[0], *counts, dim, full, tests)


def sample_counts(algorithm: Algorithm, *, ratio: Any, dim: Any) -> tuple[int, int]:
    """How many of the round(ratio * dim) bags train the query, and how many the head.

    Raises: ValueError for a ratio, a dim or a share that leaves too few.
    """
    ratio = float(number("ratio", ratio, above=0.0))
    samples = round(ratio * integer("dim", dim, at_least=3))
    if samples < 2:
        raise ValueError(f"ratio={ratio:g} at dim={dim} makes {samples} bags; accepted: at least 2")
    if not isinstance(algorithm, TwoStepAttention):
        return 0, samples
    share = float(algorithm.query_share)
    query_samples = round(share * samples)
    if not 1 <= query_samples < samples:
        raise ValueError(
            f"query_share={share:g} leaves {query_samples} of {samples} bags for the query; accepted: a share that "
            "leaves at least one bag on each side"
        )
    return query_samples, samples - query_samples


@eqx.filter_jit
def _run(
    task: SparseTokens,
    algorithm: Algorithm,
    key: jax.Array,
    numbers: Any,
    bags: Float[Array, "N L"],
    query_samples: int,
    samples: int,
    dim: int,
    full: bool,
    test_samples: int | None,
) -> SparseTokenOutcome:
    def replicate(number: Any) -> SparseTokenOutcome:
        query_key, head_key, test_key = jax.random.split(jax.random.fold_in(key, number), 3)
        if full:
            direction_key, stream_key = jax.random.split(query_key)
            query, vector, signal = _real_query(stream_key, direction_key, task, algorithm, query_samples, dim)
            solution, overlaps, code = real_head(head_key, task, algorithm, vector, signal, samples)
        else:
            query = _sampled_query(query_key, task, algorithm, query_samples, dim)
            features, labels = _design(head_key, task, algorithm, query, samples, dim)
            code = class_code(labels)
            solution = ridge_erm(features, labels, algorithm.loss, algorithm.ridge, throw=False)
            overlaps = _overlaps(algorithm, solution, task)
        error = _test_error(test_key, task, algorithm, query, overlaps, solution.bias, bags, test_samples)
        return _outcome(query, solution, overlaps, code, error)

    return batched_map(replicate, numbers)


class Overlaps(eqx.Module):
    """What the outcome needs of the weights: along the query, along the rest of the signal, and the norm off the query.

    `tokens` holds the signal's weight in every token's block for the flat classifier.
    """

    query_weight: Float[Array, ""]
    signal_weight: Float[Array, ""]
    orthogonal_norm: Float[Array, ""]
    tokens: Float[Array, "L"] | None = None


def _sampled_query(key: jax.Array, task: SparseTokens, algorithm: Algorithm, samples: int, dim: int) -> Query:
    if isinstance(algorithm, TwoStepAttention):
        return two_step_query(key, task, algorithm, samples, padded(samples), dim)
    fixed = isinstance(algorithm, FixedQueryAttention)
    cosine, sharpness = (algorithm.cosine, algorithm.sharpness) if fixed else (0.0, 0.0)
    return Query(as_float64(cosine), as_float64(sharpness), jnp.array(int(Result.SUCCESSFUL)))


def _design(
    key: jax.Array, task: SparseTokens, algorithm: Algorithm, query: Query, samples: int, dim: int
) -> tuple[Float[Array, "n p"], Float[Array, "n"]]:
    if isinstance(algorithm, PooledLinear):
        return pooled_design(key, task, samples, dim)
    if isinstance(algorithm, FlatLinear):
        return flat_design(key, task, samples, dim)
    return attention_design(key, task, query.cosine, query.sharpness, samples, dim)


def _overlaps(algorithm: Algorithm, solution: ERMSolution, task: SparseTokens) -> Overlaps:
    w = solution.weights
    norm = jnp.linalg.norm(w)
    if isinstance(algorithm, PooledLinear):
        return Overlaps(jnp.zeros(()), w[0], norm)
    if isinstance(algorithm, FlatLinear):
        return Overlaps(jnp.zeros(()), jnp.sum(w[: task.length]) * task.length**-0.5, norm, w[: task.length])
    return Overlaps(w[0], w[1], jnp.linalg.norm(w[1:]))


def _test_error(
    key: jax.Array,
    task: SparseTokens,
    algorithm: Algorithm,
    query: Query,
    overlaps: Overlaps,
    bias: Float[Array, ""],
    bags: Float[Array, "N L"],
    test_samples: int | None,
) -> Float[Array, ""]:
    if test_samples is not None:
        return _counted_error(key, task, algorithm, query, overlaps, bias, test_samples)
    rate, tau = task.positive_rate, overlaps.orthogonal_norm
    if overlaps.tokens is not None:
        sets = jnp.asarray(position_sets(task.length, task.sparsity))
        found = task.strength * (sets @ overlaps.tokens)
        return rate * jnp.mean(normal_cdf(-(found + bias) / tau)) + (1.0 - rate) * normal_cdf(bias / tau)
    if isinstance(algorithm, PooledLinear):
        shift = task.strength * (task.sparsity / task.length) * overlaps.signal_weight
        spread = tau * task.length**-0.5
        return rate * normal_cdf(-(shift + bias) / spread) + (1.0 - rate) * normal_cdf(bias / spread)
    # Flipping the sign of random coordinates keeps the law and makes the rule's errors of the replicates independent.
    noise = bags * jax.random.rademacher(key, (task.length,), jnp.float64)[None, :]
    errors = []
    for label in (1.0, -1.0):
        positive = jnp.full(bags.shape[:1], 0.5 + 0.5 * label)
        along, c, scale = attention_scalars(task, query.cosine, query.sharpness, noise, positive)
        margin = overlaps.query_weight * along + overlaps.signal_weight * sine(query.cosine) * c + bias
        errors.append(jnp.mean(normal_cdf(-label * margin / (scale * tau))))
    return rate * errors[0] + (1.0 - rate) * errors[1]


def _counted_error(
    key: jax.Array,
    task: SparseTokens,
    algorithm: Algorithm,
    query: Query,
    overlaps: Overlaps,
    bias: Float[Array, ""],
    samples: int,
) -> Float[Array, ""]:
    """The share of errors on fresh bags, of which only what the score depends on is drawn."""
    label_key, noise_key, rest_key, place_key = jax.random.split(key, 4)
    labels = sample_labels(label_key, samples, task.positive_rate)
    positive = jnp.where(labels > 0, 1.0, 0.0)
    rest = jax.random.normal(rest_key, (samples,), jnp.float64)
    if overlaps.tokens is not None:
        sets = jnp.asarray(position_sets(task.length, task.sparsity))
        found = (sets @ overlaps.tokens)[jax.random.randint(place_key, (samples,), 0, sets.shape[0])]
        scores = task.strength * positive * found + bias + overlaps.orthogonal_norm * rest
    else:
        noise = normal(noise_key, (samples, task.length), jnp.float64)
        along, c, scale = attention_scalars(task, query.cosine, query.sharpness, noise, positive)
        kappa = 1.0 if isinstance(algorithm, PooledLinear) else sine(query.cosine)
        scores = overlaps.query_weight * along + overlaps.signal_weight * kappa * c + bias
        scores = scores + scale * overlaps.orthogonal_norm * rest
    return jnp.mean(jnp.where(labels * scores <= 0, 1.0, 0.0))


def position_sets(length: int, sparsity: int) -> np.ndarray:
    """Indicators of the sets of signal positions: all of them, or 2000 random ones where there are more."""
    sets = list(itertools.islice(itertools.combinations(range(length), sparsity), POSITION_SETS + 1))
    if len(sets) > POSITION_SETS:
        rng = np.random.default_rng(0)
        sets = [rng.choice(length, sparsity, replace=False) for _ in range(POSITION_SETS)]
    indicators = np.zeros((len(sets), length))
    for row, places in zip(indicators, sets, strict=True):
        row[list(places)] = 1.0
    return indicators


def _real_query(
    key: jax.Array, direction_key: jax.Array, task: SparseTokens, algorithm: Algorithm, samples: int, dim: int
) -> tuple[Query, Float[Array, "d"], Float[Array, "d"]]:
    vector, signal, code = real_two_steps(key, direction_key, task, algorithm, samples, dim)
    norm = jnp.linalg.norm(vector)
    cosine = jnp.dot(vector, signal) / jnp.where(norm > 0, norm, 1.0)
    if isinstance(algorithm, FixedQueryAttention):
        cosine = as_float64(algorithm.cosine)
    if isinstance(algorithm, TwoStepAttention):
        code = jnp.where((code == int(Result.SUCCESSFUL)) & ~(norm > 0), int(SparseTokenResult.ZERO_QUERY), code)
    return Query(cosine, norm, code), vector, signal


def _outcome(
    query: Query, solution: ERMSolution, overlaps: Overlaps, code: Any, error: Float[Array, ""]
) -> SparseTokenOutcome:
    success = int(Result.SUCCESSFUL)
    result = jnp.where(query.result != success, query.result, jnp.where(code != success, code, solution.result))

    def valid(value: Any) -> Float[Array, ""]:
        return jnp.where(result == success, as_float64(value), jnp.nan)

    return SparseTokenOutcome(
        result=result,
        stats={"steps": solution.steps, "certificate": solution.certificate},
        test_error=valid(error),
        train_loss=valid(solution.train_loss),
        train_error=valid(solution.train_error),
        cosine=valid(query.cosine),
        sharpness=valid(query.sharpness),
        query_weight=valid(overlaps.query_weight),
        signal_weight=valid(overlaps.signal_weight),
        bias=valid(solution.bias),
        orthogonal_norm=valid(overlaps.orthogonal_norm),
    )
