"""Random arrays of several dimensions that compile as fast as those of one."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.numerics.validation import replicate_numbers


def normal(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
    """The numbers of `jax.random.normal(key, shape, dtype)`, to the last bit.

    Drawn as a vector and reshaped: the counters of an array of two or three dimensions take XLA two to six times as
    long to compile on a CPU (under vmap 1.9 s in place of .3 s).
    """
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Float[Array, "..."]:
    """The numbers of `jax.random.uniform(key, shape, dtype)`, to the last bit; drawn as in `normal`."""
    return jax.random.uniform(key, (math.prod(shape),), dtype).reshape(shape)


def a_key(key: Any) -> Any:
    """`key`, that of seed 0 for None.

    Raises: TypeError for what is no key, also where nothing would be drawn with it.
    """
    if key is None:
        return jax.random.key(0)
    if isinstance(key, jax.Array | np.ndarray) and (
        jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == np.uint32
    ):
        return key
    raise TypeError(f"key={type(key).__name__} is not accepted; accepted: a key, as jax.random.key(0) makes it")


def replicate_keys(key: jax.Array | None, replicates: int | range) -> jax.Array:
    """One key a replicate (R,), its number folded into `key` (None: seed 0): it depends on the two alone.

    Raises: ValueError for a count below 1 or an empty range; TypeError for what is no key.
    """
    numbers = jnp.asarray(replicate_numbers(replicates))
    try:
        return _folded(a_key(key), numbers)
    except (TypeError, ValueError):  # several keys, or words of another length
        raise TypeError(f"key={key!r} is not accepted; accepted: a key, as jax.random.key(0) makes it") from None


_folded = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))
