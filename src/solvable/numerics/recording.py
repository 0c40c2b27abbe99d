"""Recording a run: the steps or times asked for, one loop that stops at each, and what is read off the records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.numerics.validation import floating, real_array

State = TypeVar("State")


def recorded_steps(at: Any, steps: int, default: Any = None, *, name: str | None = "steps") -> Int[np.ndarray, "K"]:
    """The steps of `at` (K,), else those of `default`: increasing whole numbers from 0 to `steps`.

    `name` is what the user calls `steps`, None where it is no setting.

    Raises: ValueError for others.
    """
    try:
        found = np.atleast_1d(np.asarray(real_array("at", default if at is None else at)))
        whole = (
            found.dtype.kind in "iuf" and found.ndim == 1 and found.size > 0 and bool(np.all(found == found.round()))
        )
    except (TypeError, ValueError):
        whole, found = False, np.empty(0)
    if not whole or found[0] < 0 or found[-1] > steps or np.any(np.diff(found) <= 0):
        last = steps if name is None else f"{name}={steps}"
        raise ValueError(f"at={at!r} is not accepted; accepted: increasing whole numbers from 0 to {last}")
    return found.astype(np.int64)


def recorded_times(at: Any, default: Any = None) -> Float[np.ndarray, "K"]:
    """The times of `at` (K,), else those of `default`: nondecreasing and >= 0.

    Raises: ValueError for others.
    """
    times = np.atleast_1d(np.asarray(floating("at", default if at is None else at, np.float64)))
    if times.ndim != 1 or times.size == 0:
        raise ValueError(f"at has shape {times.shape}; accepted: (K,) with K >= 1")
    if times[0] < 0.0 or np.any(np.diff(times) < 0.0):
        raise ValueError("at is not a nondecreasing list of times >= 0; accepted: such a list")
    return times


def log_spaced(first: float, last: int, count: int) -> Int[np.ndarray, "K"]:
    """About `count` whole numbers from `first` to `last`, evenly spaced in the logarithm; none is below 1."""
    return np.unique(np.round(np.geomspace(max(1.0, first), last, count)).astype(np.int64))


def recorded(step: Callable[[Int[Array, ""], State], State], start: State, stops: Int[Array, "K"]) -> tuple[Any, Any]:
    """The last state, and the states when `stops` steps (increasing) are done, stacked along a leading axis.

    `step(number, state)` makes one step; the first has the number 0. One compiled loop for any number of stops.
    """

    def segment(carry: Any, stop: Int[Array, ""]) -> tuple[Any, Any]:
        count, state = carry
        state = jax.lax.fori_loop(count, stop, step, state)
        return (stop, state), state

    (_, last), path = jax.lax.scan(segment, (jnp.zeros((), stops.dtype), start), stops)
    return last, path


def pick(stacked: Any, index: int) -> Any:
    """One element of arrays stacked along their leading axis."""
    return jax.tree_util.tree_map(lambda leaf: leaf[index], stacked)


def log_log_slope(x: Any, values: Float[np.ndarray, "... K"]) -> Float[np.ndarray, "..."]:
    """The least-squares slope of log values over log x (K,); values below 1e-300 count as 1e-300."""
    logs = np.log(x) - np.mean(np.log(x))
    return np.log(np.maximum(values, 1e-300)) @ logs / (logs @ logs)
