"""Real tokens made on the fly: the whole protocol at a memory of one chunk of bags and the features of the head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.sparse_tokens.algorithms import Algorithm, FixedQueryAttention, FlatLinear, TwoStepAttention
from solvable.attention.sparse_tokens.classifiers import pooled_features
from solvable.attention.sparse_tokens.features import sine
from solvable.attention.sparse_tokens.samplers import class_code
from solvable.attention.sparse_tokens.task import SparseTokens, random_direction, sample_bags
from solvable.attention.sparse_tokens.training import CHUNK_BYTES, Chunk, fixed_query_direction, two_steps
from solvable.numerics.erm import ERMSolution, ridge_erm
from solvable.numerics.results import Result

if TYPE_CHECKING:
    from solvable.attention.sparse_tokens.simulate import Overlaps


def generated_chunks(
    key: jax.Array, task: SparseTokens, samples: int, signal: Float[Array, "d"]
) -> tuple[Chunk, int, int]:
    """A stream of fresh bags, (chunk, number of chunks, bags a chunk); the same number gives the same bags again."""
    per_bag = 8 * task.length * signal.shape[0]
    size = int(np.clip(CHUNK_BYTES // per_bag, 1, samples))
    chunks = -(-samples // size)

    def chunk(index: Any) -> tuple[Any, Any, Any]:
        tokens, labels = sample_bags(task, jax.random.fold_in(key, index), size, signal)
        return tokens, labels, jnp.where(index * size + jnp.arange(size) < samples, 1.0, 0.0)

    return chunk, chunks, size


def real_two_steps(
    key: jax.Array, direction_key: jax.Array, task: SparseTokens, algorithm: Algorithm, samples: int, dim: int
) -> tuple[Float[Array, "d"], Float[Array, "d"], Int[Array, ""]]:
    """(query, signal, `Result` code): the query that the algorithm trains, is given, or lacks (zero)."""
    signal = random_direction(direction_key, dim)
    success = jnp.array(int(Result.SUCCESSFUL))
    if isinstance(algorithm, FixedQueryAttention):
        return algorithm.sharpness * fixed_query_direction(key, signal, algorithm.cosine), signal, success
    if not isinstance(algorithm, TwoStepAttention):
        return jnp.zeros(dim), signal, success
    chunk, chunks, _ = generated_chunks(key, task, samples, signal)
    rate = 1.0 if algorithm.query_rate is None else algorithm.query_rate
    query = two_steps(chunk, chunks, samples, algorithm.loss, algorithm.head_rate, algorithm.bias_rate, rate, dim)

    def count(index: Any) -> Float[Array, "c"]:
        _, labels, weight = chunk(index)
        return labels * weight

    code = class_code(jax.lax.map(count, jnp.arange(chunks)).ravel())
    if algorithm.sharpness is not None:
        norm = jnp.linalg.norm(query)
        query = query * (algorithm.sharpness / jnp.where(norm > 0, norm, 1.0))
    return query, signal, code


def real_head(
    key: jax.Array,
    task: SparseTokens,
    algorithm: Algorithm,
    query: Float[Array, "d"],
    signal: Float[Array, "d"],
    samples: int,
) -> tuple[ERMSolution, Overlaps, Int[Array, ""]]:
    """Fit the head on fresh real bags: (fit, overlaps of its weights, `Result` code).

    The flat classifier's features are the tokens themselves, so that its memory is that of all its bags.
    """
    from solvable.attention.sparse_tokens.simulate import Overlaps

    flat = isinstance(algorithm, FlatLinear)
    chunk, chunks, _ = generated_chunks(key, task, samples, signal)

    def pool(index: Any) -> tuple[Any, Any]:
        tokens, labels, _ = chunk(index)
        return (tokens.reshape(tokens.shape[0], -1) if flat else pooled_features(tokens, query)[0]), labels

    features, labels = jax.lax.map(pool, jnp.arange(chunks))
    features, labels = features.reshape(-1, features.shape[-1])[:samples], labels.ravel()[:samples]
    solution = ridge_erm(features, labels, algorithm.loss, algorithm.ridge, throw=False)
    w = solution.weights
    if flat:
        tokens = w.reshape(task.length, -1) @ signal
        overlaps = Overlaps(jnp.zeros(()), jnp.sum(tokens) * task.length**-0.5, jnp.linalg.norm(w), tokens)
        return solution, overlaps, class_code(labels)
    norm = jnp.linalg.norm(query)
    unit = query / jnp.where(norm > 0, norm, 1.0)
    along, cosine = jnp.dot(w, unit), jnp.dot(unit, signal)
    kappa = sine(cosine)
    across = (jnp.dot(w, signal) - cosine * along) / jnp.where(kappa > 1e-8, kappa, jnp.inf)
    return solution, Overlaps(along, across, jnp.linalg.norm(w - along * unit)), class_code(labels)
