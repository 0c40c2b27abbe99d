"""Checks of arguments at the public boundary: one sentence naming the argument, its value and what is accepted."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solvable.numerics.results import is_traced


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    below: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Any:
    """`value` as a float64 NumPy scalar after checking its bounds; JAX arrays under a transformation pass unchecked.

    Raises: ValueError naming the argument, its value and the accepted range.
    """
    if is_traced(value):
        return value
    accepted = _range_text(above, below, at_least, at_most)
    try:
        dtype = np.asarray(value).dtype
        kind = "f" if jnp.issubdtype(dtype, jnp.floating) else dtype.kind  # NumPy calls bfloat16 a record
        # NumPy takes None and what a mask hides for NaN, and drops an imaginary part with a warning
        scalar = np.float64("" if value is None or kind == "c" or _hides(value) else value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}={value!r} is not a number; accepted: {accepted}") from None
    if kind in "bSUMmV" or scalar.ndim != 0:  # flags, texts, times and records
        raise ValueError(f"{name}={value!r} is not a single number; accepted: {accepted}")
    inside = (
        bool(np.isfinite(scalar))
        and (above is None or scalar > above)
        and (below is None or scalar < below)
        and (at_least is None or scalar >= at_least)
        and (at_most is None or scalar <= at_most)
    )
    if not inside:
        raise ValueError(f"{name}={float(scalar):g} is out of range; accepted: {accepted}")
    return scalar


def integer(name: str, value: Any, *, at_least: int | None = None, at_most: int | None = None) -> int:
    """`value` as an int after checking its bounds.

    Raises: ValueError naming the argument, its value and the accepted range.
    """
    accepted = "a whole number" + _bounds_text(None, None, at_least, at_most)
    whole = isinstance(value, int | np.integer) or (
        isinstance(value, float | np.floating) and float(value).is_integer()
    )
    if isinstance(value, bool | np.timedelta64) or not whole:  # NumPy calls a span of time an integer
        raise ValueError(f"{name}={value!r} is not a whole number; accepted: {accepted}")
    if (at_least is not None and value < at_least) or (at_most is not None and value > at_most):
        raise ValueError(f"{name}={int(value)} is out of range; accepted: {accepted}")
    return int(value)


def unmasked(name: str, value: Any) -> Any:
    """`value` unless it is a masked array that hides something: every conversion takes the number below the mask.

    Raises: ValueError.
    """
    if _hides(value):
        raise ValueError(f"{name} has masked values; accepted: an array in which nothing is masked")
    return value


def real_array(name: str, value: Any) -> Any:
    """`value` as an array of real numbers, of NumPy or of JAX: the one place that knows what is none.

    Raises: ValueError for hidden entries of a masked array, ragged lists, and complex numbers, texts, times, records
    and objects.
    """
    unmasked(name, value)
    if not isinstance(value, jax.Array):
        kind = type(value).__name__
        try:
            value = jnp.asarray(value) if is_traced(value) else np.asarray(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name} is a ragged {kind}; accepted: one rectangular array of numbers") from None
        if value.dtype == object and value.ndim == 0:
            raise ValueError(f"{name} is {kind}; accepted: an array of numbers")
    if value.dtype.kind not in "biuf" and not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"{name} has dtype {value.dtype}; accepted: real numbers")
    return value


def _hides(value: Any) -> bool:
    """Whether a masked array, or one in a list, hides an entry."""
    if isinstance(value, np.ma.MaskedArray):
        return value.dtype.names is None and np.ma.is_masked(value)
    return isinstance(value, list | tuple) and not set(map(type, value)) <= {float, int} and any(map(_hides, value))


def floating(name: str, value: Any, dtype: Any = None) -> Any:
    """`value` as a finite floating array (of `dtype` where that is given); whole numbers become float64.

    Raises: ValueError naming the argument, what is wrong with it and what is accepted.
    """
    if is_traced(value) and dtype == np.float64:
        dtype = None  # double precision is switched on later, where the value is used
    if dtype == np.float64 and isinstance(value, jax.Array) and not is_traced(value):
        value = np.asarray(value)
    value = real_array(name, value)
    if dtype is not None or value.dtype.kind in "biu":
        value = value.astype(np.float64 if dtype is None else dtype)
    elif isinstance(value, np.ndarray):
        value = value.copy()  # what was checked stays as it is
    if not is_traced(value) and not np.all(np.isfinite(np.asarray(value))):
        where = tuple(int(place) for place in np.argwhere(~np.isfinite(np.asarray(value)))[0])
        raise ValueError(f"{name} holds {np.asarray(value)[where]} at {where}; accepted: finite numbers")
    return value


def replicate_numbers(replicates: Any) -> range:
    """The numbers of the replicates: those of a range, or 0 to count - 1.

    Raises: ValueError for a count below 1, an empty range, or numbers that are not in [0, 2^32).
    """
    numbers = replicates if isinstance(replicates, range) else range(integer("replicates", replicates, at_least=1))
    if len(numbers) == 0:
        raise ValueError(f"replicates={replicates!r} is empty; accepted: a count >= 1 or a range that is not empty")
    if min(numbers[0], numbers[-1]) < 0 or max(numbers[0], numbers[-1]) >= 2**32:
        raise ValueError(f"replicates={replicates!r} is out of range; accepted: numbers >= 0 and < 2**32")
    return numbers


def truth(name: str, value: Any) -> bool:
    """`value` if it is True or False.

    Raises: ValueError for anything else, 0 and 1 included.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r} is not accepted; accepted: True or False")
    return bool(value)


def instance(name: str, value: Any, accepted: tuple[type, ...]) -> Any:
    """`value` if it is an instance of one of the classes.

    Raises: TypeError naming them.
    """
    if not isinstance(value, accepted):
        what = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        names = [one.__name__ for one in accepted]
        words = " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
        raise TypeError(f"{name}={what} is not accepted; accepted: {words}")
    return value


def absent(name: str, value: Any, why: str) -> None:
    """Raises: ValueError unless the value is None; `why` says what has no such thing."""
    if value is not None:
        raise ValueError(f"{name} is given, and {why}; accepted: {name}=None")


def on_the_host(call: str, *trees: Any) -> None:
    """Raises: ValueError where a value is traced, in a call that needs to know the values."""
    if is_traced(*trees):
        raise ValueError(f"{call} runs on the host and cannot be traced; accepted: calls outside jit, vmap and grad")


def choice(name: str, value: Any, accepted: tuple[str, ...]) -> str:
    """`value` if it is one of the accepted words.

    Raises: ValueError naming the argument, its value and the accepted words.
    """
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"{name}={value!r} is unknown; accepted: {', '.join(map(repr, accepted))}")
    return value


def _range_text(above: float | None, below: float | None, at_least: float | None, at_most: float | None) -> str:
    return "a finite number" + _bounds_text(above, below, at_least, at_most)


def _bounds_text(
    above: float | None, below: float | None, at_least: float | int | None, at_most: float | int | None
) -> str:
    parts = [
        f"{sign} {bound:g}"
        for sign, bound in ((">", above), (">=", at_least), ("<", below), ("<=", at_most))
        if bound is not None
    ]
    return " " + " and ".join(parts) if parts else ""
