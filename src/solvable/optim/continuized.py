"""Accelerated gradient steps at random times as an optax transformation (the continuized method of arXiv:2106.07644)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


def waiting_time(key: Any, event: Any, dtype: Any) -> Any:
    """The waiting time before event number `event` (0, 1, ...) of a Poisson process of rate 1, by the key alone."""
    return jax.random.exponential(jax.random.fold_in(key, event), dtype=dtype)
