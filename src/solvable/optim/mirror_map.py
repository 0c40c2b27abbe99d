"""The mirror map of the potential (1/p) sum |w|^p and its inverse, entry by entry (arXiv:2410.14581)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Shaped

from solvable.numerics.results import is_traced
from solvable.numerics.validation import number, real_array


def mirror_map(weights: Shaped[ArrayLike, "..."], p: Any) -> Shaped[Array, "..."]:
    """sign(w) |w|^(p - 1), the gradient of (1/p) sum |w|^p: any shape to the same shape and dtype; whole numbers
    become floating point.

    p may be traced. The map is odd and increasing, and it is not meant to be differentiated at 0. For large p it
    underflows: in float32 to 0 for abs(w) below 1.2e-38^(1/(p - 1)), 1e-19 at p = 3 and 6e-5 at p = 10.

    Raises: ValueError unless p is finite and above 1 and the weights are real. Source: arXiv:2410.14581.
    """
    return signed_power(_real("weights", weights), mirror_exponent(p))


def inverse_mirror_map(dual: Shaped[ArrayLike, "..."], p: Any) -> Shaped[Array, "..."]:
    """sign(u) |u|^(1/(p - 1)), the inverse of `mirror_map`: any shape to the same shape and dtype; whole numbers
    become floating point.

    For p near 1 the exponent is large (10 at p = 1.1): relative errors of u grow by it, and in float32 abs(u) above 7e3
    overflows to inf.

    Raises: ValueError unless p is finite and above 1 and the dual variables are real. Source: arXiv:2410.14581.
    """
    return signed_power(_real("dual", dual), 1 / mirror_exponent(p))


def mirror_exponent(p: Any) -> Any:
    """p - 1, exactly 12/n where it is that up to rounding: in double precision 1/(1.1 - 1) is 9.999999999999991.

    Where n is a multiple of 3 or 4 up to 192, `power` takes the inverse 1/(p - 1) = n/12 without the power function.

    Raises: ValueError unless p is finite and above 1. Source: arXiv:2410.14581.
    """
    p = number("p", p, above=1.0)
    if is_traced(p):
        return p - 1
    twelfths = 12 / float(p - 1)
    whole = round(twelfths)
    return 12 / whole if abs(twelfths - whole) <= 1e-12 * twelfths else float(p - 1)


def _real(name: str, values: Any) -> Array:
    """`values` as an array of real floating point, the default one for whole numbers."""
    array = jnp.asarray(real_array(name, values))
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def signed_power(x: Shaped[Array, "..."], exponent: Any) -> Shaped[Array, "..."]:
    """sign(x) |x|^exponent for an exponent above 0, in the dtype of x; 16-bit entries go through float32."""
    if not is_traced(exponent) and exponent == 1:
        return x
    wide = x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
    return jnp.copysign(power(jnp.abs(wide), exponent), wide).astype(x.dtype)


def power(size: Shaped[Array, "..."], exponent: Any) -> Shaped[Array, "..."]:
    """size^exponent for sizes that are not negative and an exponent above 0.

    A known exponent that is a multiple of 1/4 or 1/3 up to 16 takes products and roots, which are 5 to 15 times as fast
    as the power function on a CPU (thirds in double precision 2 times).
    """
    known = not is_traced(exponent) and exponent <= 16
    if known and _whole(4 * exponent):
        whole, quarters = divmod(round(4 * exponent), 4)
        root = jnp.sqrt(size)
        rest = [None, jnp.sqrt(root), root, root * jnp.sqrt(root)][quarters]
    elif known and _whole(3 * exponent):
        whole, thirds = divmod(round(3 * exponent), 3)
        root = cube_root(size)
        rest = root if thirds == 1 else root * root
    else:
        if not is_traced(exponent):
            exponent = min(exponent, float(jnp.finfo(size.dtype).max))  # a larger one means the same, and warns
        return jnp.power(size, jnp.asarray(exponent, size.dtype))
    if rest is None:
        return jax.lax.integer_pow(size, whole)
    return jax.lax.integer_pow(size, whole) * rest if whole else rest


def _whole(number: float) -> bool:
    """Whether a number is whole, up to rounding: 3 (1 + 4/3) is 6.999999999999999."""
    return abs(number - round(number)) <= 1e-14 * abs(number)


def cube_root(size: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """size^(1/3) of float32 or float64 numbers that are not negative, to two units in the last place.

    A third of the bits, shifted, is the root up to 6 percent; each of Halley's steps triples the digits. Numbers below
    the smallest normal one are less accurate. `jnp.cbrt` is as slow as the power function.
    """
    double = size.dtype.itemsize == 8
    integers, shift = (jnp.int64, 0x2A9F789300000000) if double else (jnp.int32, 0x2A5119F2)
    bits = jax.lax.bitcast_convert_type(size, integers)
    root = jax.lax.bitcast_convert_type(bits // jnp.asarray(3, integers) + jnp.asarray(shift, integers), size.dtype)
    for _ in range(3 if double else 2):
        cube = root * root * root
        root = root * ((cube + 2 * size) / (2 * cube + size))
    return jnp.where((size > 0) & (size < jnp.inf), root, size)
