"""One-pass stochastic gradient descent in as many numbers as a step needs, exact in law for any dimension.

A batch enters the step through a = X.k and b = X.v of every token, through the label, and through two weighted sums of
tokens: the gradients. Write a token in an orthonormal frame whose first four vectors span k, v, v* and k*. The weights
depend on the first two coordinates alone (on the first three for an informative token), so the other coordinates of
the weighted sums are, given the weights, Gaussian pairs with a covariance known from the weights: one pair for the
third coordinate of all noise tokens, one for the fourth, and for the d - 4 others the Gram matrix of the pairs, by
Bartlett's decomposition. A step costs 2 B (L - 1) + 3 B + 5 normals and two chi-square numbers instead of B L d.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from solvable.attention.single_location.algorithms import ProjectedDescent
from solvable.attention.single_location.risk import Law, Overlaps
from solvable.numerics.error_function import ROOT_PI
from solvable.numerics.recording import recorded

LEAST_DIM = 6  # the frame takes 4 dimensions, and Bartlett's decomposition 2
SMALL = 1e-12


@functools.partial(jax.jit, static_argnames="length")
def descend_stream(
    law: Law, noise: Any, dim: Any, length: int, algorithm: ProjectedDescent, start: Overlaps, keys: Any, at: Any
) -> Overlaps:
    """The overlaps (R, K) at the steps `at` of R runs on fresh batches, from their starts and keys (R,); |v| = 1.

    The dimension is a number here: all dimensions share what is compiled.
    """
    assert algorithm.batch is not None
    shape, keys = (length, algorithm.batch), jax.vmap(jax.random.fold_in, (0, None))(keys, 1)

    def fresh(number: Any) -> Any:
        return jax.vmap(lambda key: draw(jax.random.fold_in(key, number), dim, shape), out_axes=-1)(keys)

    def step(number: Any, state: Any) -> Any:
        o, drawn = state
        lam = algorithm.inverse_temperatures(number)
        return stream_step(law, noise, shape, algorithm, o, lam, drawn), fresh(number + 1)

    # The numbers of a step are drawn in the step before: what a loop carries is computed once, while XLA would draw
    # the same numbers again in every sum that needs them (four times the time).
    _, (path, _) = recorded(step, (start, fresh(jnp.zeros((), at.dtype))), at)
    return jax.tree_util.tree_map(jnp.transpose, path)


def draw(key: jax.Array, dim: Any, shape: tuple[int, int]) -> Any:
    """What one step of one run needs: 2 B (L - 1) + 4 B + 5 normals, and two chi numbers of dim - 4 and dim - 5."""
    length, batch = shape
    normal_key, square_key = jax.random.split(key)
    normal = jax.random.normal(normal_key, (batch * (2 * (length - 1) + 4) + 5,), jnp.float64)
    degrees = jnp.stack([dim - 4.0, dim - 5.0])
    return normal, jnp.sqrt(2.0 * jax.random.gamma(square_key, 0.5 * degrees, dtype=jnp.float64))


def stream_step(
    law: Law, noise: Any, shape: tuple[int, int], algorithm: ProjectedDescent, o: Overlaps, lam: Any, drawn: Any
) -> Overlaps:
    """One step of projected descent on a fresh batch, of R runs at once, with the numbers of `draw`.

    The axis of the runs is the last one everywhere, so that the sums over a batch add vectors of runs.
    """
    scale = jnp.sqrt(law.variance)
    others, batch = shape[0] - 1, shape[1]
    # ---- the frame: k = (1, 0, 0, 0), v = (rho, r, 0, 0), v* = (eta, e2, e3, 0), k* = (kappa, c2, c3, c4)
    kappa, nu, theta, eta, rho = o.five
    r = _root(1.0 - rho * rho)
    inverse = jnp.where(r > SMALL, 1.0 / jnp.maximum(r, SMALL), 0.0)
    e2, c2 = (nu - rho * eta) * inverse, (theta - rho * kappa) * inverse
    e3 = _root(1.0 - eta * eta - e2 * e2)
    left = _root(1.0 - kappa * kappa - c2 * c2)
    c3 = jnp.where(e3 > SMALL, -(eta * kappa + e2 * c2) / jnp.maximum(e3, SMALL), 0.0)
    c3 = jnp.clip(c3, -left, left)
    c4 = _root(left * left - c3 * c3)
    # ---- the batch
    normal, chi = drawn
    far = normal[: 2 * batch * others].reshape(2, batch, others, -1)
    near = normal[2 * batch * others : -5].reshape(4, batch, -1)
    pairs = normal[-5:]
    along, across = rho[None], r[None]
    a_far, b_far = far[0], along[None] * far[0] + across[None] * far[1]
    a_near = law.signal * kappa[None] + scale * near[0]
    b_near = law.signal * theta[None] + scale * (along * near[0] + across * near[1])
    label = scale * (eta[None] * near[0] + e2[None] * near[1] + e3[None] * near[2]) + noise * near[3]
    erf_far, erf_near = jax.scipy.special.erf(lam * a_far), jax.scipy.special.erf(lam * a_near)
    error = jnp.sum(erf_far * b_far, axis=1) + erf_near * b_near - label
    # ---- the weights of the tokens in the gradients of k (w) and v (z)
    slope = 2.0 * lam / ROOT_PI
    w_far = (2.0 / batch) * error[:, None, :] * slope * jnp.exp(-((lam * a_far) ** 2)) * b_far
    w_near = (2.0 / batch) * error * slope * jnp.exp(-((lam * a_near) ** 2)) * b_near
    # the leak penalty is the square of v . (sum of the tokens)/L
    mean = (2.0 * algorithm.penalty(shape[0]) / batch) * (jnp.sum(b_far, axis=1) + b_near)
    z_far = (2.0 / batch) * error[:, None, :] * erf_far + mean[:, None, :]
    z_near = (2.0 / batch) * error * erf_near + mean
    # ---- the weighted sums in the frame, and the Gram matrix of what lies outside it
    signals = law.signal * jnp.stack([total(w_near), total(z_near)])
    weights_far = jnp.stack([w_far, z_far])
    weights_near = scale * jnp.stack([w_near, z_near])
    first = (
        jnp.sum(weights_far * far[0][None], (1, 2)) + jnp.sum(weights_near * near[0][None], 1) + signals * kappa[None]
    )
    second = jnp.sum(weights_far * far[1][None], (1, 2)) + jnp.sum(weights_near * near[1][None], 1) + signals * c2[None]
    of_far = _factor(total(w_far * w_far), total(w_far * z_far), total(z_far * z_far))
    of_all = _factor(
        total(w_far * w_far) + total(weights_near[0] ** 2),
        total(w_far * z_far) + total(weights_near[0] * weights_near[1]),
        total(z_far * z_far) + total(weights_near[1] ** 2),
    )
    third = _pair(of_far, pairs[0], pairs[1]) + jnp.sum(weights_near * near[2][None], 1) + signals * c3[None]
    fourth = _pair(of_all, pairs[2], pairs[3]) + signals * c4[None]
    # the rows of of_all @ [[chi_0, 0], [normal, chi_1]]: coordinates of the two parts in a frame of their own
    out_k = jnp.stack([of_all[0] * chi[0], jnp.zeros_like(chi[0])])
    out_v = jnp.stack([of_all[1] * chi[0] + of_all[2] * pairs[4], of_all[2] * chi[1]])
    g_k = jnp.concatenate([jnp.stack([first[0], second[0], third[0], fourth[0]]), out_k])
    g_v = jnp.concatenate([jnp.stack([first[1], second[1], third[1], fourth[1]]), out_v])
    # ---- the step
    zero, one = jnp.zeros_like(rho), jnp.ones_like(rho)
    k = jnp.stack([one, zero, zero, zero, zero, zero])
    v = jnp.stack([rho, r, zero, zero, zero, zero])
    label_direction = jnp.stack([eta, e2, e3, zero, zero, zero])
    location = jnp.stack([kappa, c2, c3, c4, zero, zero])
    k = k - algorithm.learning_rate * (g_k - inner(k, g_k)[None] * k)
    v = v - algorithm.learning_rate * (g_v - inner(v, g_v)[None] * v)
    k, v = k * jax.lax.rsqrt(inner(k, k))[None], v * jax.lax.rsqrt(inner(v, v))[None]
    alignments = (inner(k, location), inner(v, label_direction), inner(v, location), inner(k, label_direction))
    return Overlaps(*alignments, inner(k, v), o.value_norm)


def total(values: Any) -> Any:
    """The sum over all axes but that of the runs."""
    return jnp.sum(values, tuple(range(values.ndim - 1)))


def inner(first: Any, second: Any) -> Any:
    """The inner products of vectors (6, R)."""
    return jnp.sum(first * second, 0)


def _root(square: Any) -> Any:
    """The root of a square that rounding may have made negative."""
    return jnp.sqrt(jnp.maximum(square, 0.0))


def _factor(ww: Any, wz: Any, zz: Any) -> tuple[Any, Any, Any]:
    """The lower Cholesky factor (l00, l10, l11) of [[ww, wz], [wz, zz]]; zero weights leave nothing to draw."""
    l00 = _root(ww)
    l10 = jnp.where(l00 > 0.0, wz / jnp.where(l00 > 0.0, l00, 1.0), 0.0)
    return l00, l10, _root(zz - l10 * l10)


def _pair(factor: tuple[Any, Any, Any], first: Any, second: Any) -> Any:
    """A Gaussian pair with the covariance of which `factor` is the Cholesky factor."""
    return jnp.stack([factor[0] * first, factor[1] * first + factor[2] * second])
