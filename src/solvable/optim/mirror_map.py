"""The mirror map of the potential (1/p) sum |w|^p and its inverse, entry by entry (arXiv:2410.14581)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Shaped

from solvable.numerics.results import is_traced
from solvable.numerics.validation import number

_LARGEST_POWER = 16


def mirror_map(weights: Shaped[ArrayLike, "..."], p: Any) -> Shaped[Array, "..."]:
    """sign(w) |w|^(p - 1), the gradient of (1/p) sum |w|^p: any shape to the same shape and dtype.

    p may be traced; if it is known, p = 2 (nothing to do), p = 3, 3/2 and other exponents that are whole or 1/2 are
    done without a power function. The map is odd and increasing, and it is not meant to be differentiated at 0.

    Raises: ValueError unless p is finite and above 1. Source: arXiv:2410.14581.
    """
    return _signed_power(jnp.asarray(weights), _exponent(p))


def inverse_mirror_map(dual: Shaped[ArrayLike, "..."], p: Any) -> Shaped[Array, "..."]:
    """sign(u) |u|^(1/(p - 1)), the inverse of `mirror_map`: any shape to the same shape and dtype.

    For p near 1 the exponent is large (10 at p = 1.1): relative errors of u grow by it, and in float32 abs(u) above 7e3
    overflows to inf.

    Raises: ValueError unless p is finite and above 1. Source: arXiv:2410.14581.
    """
    return _signed_power(jnp.asarray(dual), 1 / _exponent(p))


def _exponent(p: Any) -> Any:
    """p - 1. In double precision 1/(1.1 - 1) is 9.999999999999991: what is that near to 1/n is taken for 1/n."""
    p = number("p", p, above=1)
    if is_traced(p):
        return p - 1
    inverse = 1 / float(p - 1)
    whole = round(inverse)
    return 1 / whole if whole > 1 and abs(inverse - whole) <= 1e-12 * inverse else float(p - 1)


def _signed_power(x: Shaped[Array, "..."], exponent: Any) -> Shaped[Array, "..."]:
    """sign(x) |x|^exponent for an exponent above 0, in the dtype of x; 16-bit entries go through float32."""
    if x.dtype.itemsize < 4:
        return _signed_power(x.astype(jnp.float32), exponent).astype(x.dtype)
    if not is_traced(exponent):
        if exponent == 1:
            return x
        if exponent == 0.5:
            return jnp.sign(x) * jnp.sqrt(jnp.abs(x))
        if exponent == round(exponent) and exponent <= _LARGEST_POWER:
            # an odd power keeps the sign, an even one takes it from one factor
            whole = round(exponent)
            return jax.lax.integer_pow(x, whole) if whole % 2 else x * jnp.abs(jax.lax.integer_pow(x, whole - 1))
    return jnp.sign(x) * jnp.power(jnp.abs(x), jnp.asarray(exponent, x.dtype))
