"""Gaussian averages of the error function."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)
ROOT_PI = math.sqrt(math.pi)


@jax.custom_jvp
def mean_squared_erf(mean: Float[Array, "..."], deviation: Float[Array, "..."]) -> Float[Array, "..."]:
    """E erf(mean + deviation G)^2 for G ~ N(0, 1), to 1e-15; its derivatives are those of the closed form.

    It is 1 - 8 T(h, a) with Owen's T, h = sqrt(2) mean / sqrt(1 + 2 deviation^2) and a = 1/sqrt(1 + 4 deviation^2).
    As 1 - 8 T(h, 1) = erf(h / sqrt(2))^2, only the part of T's integral from a to 1 is left, by Gauss-Legendre:
    erf(h/sqrt(2))^2 + (4/pi) times the integral over y in [a, 1] of exp(-h^2 (1 + y^2)/2)/(1 + y^2). Both terms are
    positive, so small values keep their relative accuracy.
    """
    square = deviation * deviation
    x = mean / jnp.sqrt(1.0 + 2.0 * square)  # h / sqrt(2)
    root = jnp.sqrt(1.0 + 4.0 * square)
    half = 2.0 * square / (root * (1.0 + root))  # (1 - a)/2 without cancellation
    first = jax.scipy.special.erf(x)
    total = jnp.zeros_like(half * x)
    for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True):
        y = 1.0 - half * (1.0 - node)
        total = total + weight * jnp.exp(-x * x * (1.0 + y * y)) / (1.0 + y * y)
    return first * first + (4.0 / math.pi) * half * total


@mean_squared_erf.defjvp
def _mean_squared_erf_jvp(primals: Any, tangents: Any) -> Any:
    mean, deviation = primals
    first, second, _ = squared_erf_derivatives(mean, deviation)
    # the heat equation: the derivative in the deviation is the deviation times the second derivative in the mean
    return mean_squared_erf(mean, deviation), first * tangents[0] + deviation * second * tangents[1]


def squared_erf_derivatives(mean: Float[Array, "..."], deviation: Float[Array, "..."]) -> tuple[Any, Any, Any]:
    """The first three derivatives of E erf(mean + deviation G)^2 in the mean."""
    square = deviation * deviation
    scale, inner = 1.0 / jnp.sqrt(1.0 + 2.0 * square), 1.0 / jnp.sqrt(1.0 + 4.0 * square)
    x = mean * scale
    u = x * inner
    erf_u, slope_u = jax.scipy.special.erf(u), (2.0 / ROOT_PI) * jnp.exp(-u * u)
    slope_x = (2.0 / ROOT_PI) * jnp.exp(-x * x)
    second_u, second_x, third_x = -2.0 * u * slope_u, -2.0 * x * slope_x, (4.0 * x * x - 2.0) * slope_x
    first = 2.0 * scale * erf_u * slope_x
    second = 2.0 * scale * scale * (inner * slope_u * slope_x + erf_u * second_x)
    third = second_u * slope_x * inner * inner + 2.0 * inner * slope_u * second_x + erf_u * third_x
    return first, second, 2.0 * scale * scale * scale * third


def mean_erf_derivatives(mean: Float[Array, "..."], deviation: Float[Array, "..."]) -> tuple[Any, Any, Any, Any]:
    """E erf(mean + deviation G) and its first three derivatives in the mean."""
    scale = 1.0 / jnp.sqrt(1.0 + 2.0 * deviation * deviation)
    x = mean * scale
    slope = (2.0 / ROOT_PI) * scale * jnp.exp(-x * x)
    second = -2.0 * x * scale * slope
    return jax.scipy.special.erf(x), slope, second, (4.0 * x * x - 2.0) * scale * scale * slope
