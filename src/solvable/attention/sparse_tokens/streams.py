"""Bags in chunks: arrays in memory, or drawn on the fly so that they never exist at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.task import Batch, SparseTokens, sample_bags
from solvable.numerics.validation import instance

CHUNK_BYTES = 2**24


class Stream(NamedTuple):
    """`chunk(i)`, i < count, gives tokens (c, L, d), labels (c,) and a weight (c,) that is 0 for padding, else 1.

    The same number gives the same bags again. `traced` chunks are read by a compiled loop, others one by one.
    """

    chunk: Callable[[Any], tuple[Float[Array, "c L d"], Float[Array, "c"], Float[Array, "c"]]]
    count: int
    samples: int
    traced: bool = True

    def fold(self, step: Callable[..., Any], start: Any) -> Any:
        """`step(state, tokens, labels, weight)` over all chunks."""
        if self.traced:
            return jax.lax.scan(lambda state, i: (step(state, *self.chunk(i)), None), start, jnp.arange(self.count))[0]
        for index in range(self.count):
            start = step(start, *self.chunk(index))
        return start

    def map(self, function: Callable[..., Any]) -> Any:
        """`function(tokens, labels)` of every chunk, joined along the bags; padding is at the end, and dropped."""
        if self.traced:
            parts = jax.lax.map(lambda i: function(*self.chunk(i)[:2]), jnp.arange(self.count))
        else:
            found = [function(*self.chunk(index)[:2]) for index in range(self.count)]
            parts = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *found)
        return jax.tree_util.tree_map(lambda x: x.reshape(-1, *x.shape[2:])[: self.samples], parts)


def in_memory(tokens: Any, labels: Any) -> Stream:
    """A stream over arrays, in chunks of about 16 MB, to be folded: the last one overlaps, and masks what was seen."""
    samples = tokens.shape[0]
    size = int(np.clip(CHUNK_BYTES // max(1, tokens[0].size * tokens.dtype.itemsize), 1, samples))

    def chunk(index: Any) -> tuple[Any, Any, Any]:
        start = jnp.minimum(index * size, samples - size)
        part = jax.lax.dynamic_slice_in_dim(tokens, start, size)
        fresh = start + jnp.arange(size) >= index * size
        return part, jax.lax.dynamic_slice_in_dim(labels, start, size), jnp.where(fresh, 1.0, 0.0)

    return Stream(chunk, -(-samples // size), samples)


def drawn(key: jax.Array, task: SparseTokens, samples: int, signal: Float[Array, "d"], foreign: bool) -> Stream:
    """Fresh bags of a task; a `foreign` one is asked by its own `sample`, outside of compiled code."""
    size = int(np.clip(CHUNK_BYTES // (8 * task.length * signal.shape[0]), 1, samples))

    def chunk(index: Any) -> tuple[Any, Any, Any]:
        own = jax.random.fold_in(key, index)
        if foreign:
            batch = instance("task.sample(...)", task.sample(own, size, signal.shape[0], np.asarray(signal)), (Batch,))
            tokens, labels = (jnp.asarray(x).astype(jnp.float64) for x in (batch.tokens, batch.labels))
        else:
            tokens, labels = sample_bags(task, own, size, signal)
        return tokens, labels, jnp.where(index * size + jnp.arange(size) < samples, 1.0, 0.0)

    return Stream(chunk, -(-samples // size), samples, not foreign)
