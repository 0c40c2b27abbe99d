"""The limit of infinitely many tokens: a linear map, its loss, and the first correction in 1/n."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.task import LinearMap, gaussian
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.validation import instance


@float64
def population_loss(params: Parameters, task: LinearMap) -> Float[Array, ""]:
    """lim L_n = (1/2) |(A Sigma B^T - M) Sigma^1/2|_F^2 + (m/2) noise^2 (arXiv:2603.01514, up to notation).

    For Gaussian tokens the layer tends to x -> A Sigma B^T x, since E[e^(c.x) x] / E[e^(c.x)] = Sigma c. In float64,
    whatever JAX's settings. `jax.grad` in parameters and task works, forward mode does not (so too for its neighbours).

    Raises: ValueError where the m and d of parameters and task differ, and for a task with a `sample` of its own, whose
    limit is not known.
    """
    *parts, noise = _parts(params, task)
    return _EXCESS(*parts) + 0.5 * np.shape(task.matrix)[0] * noise**2


@float64
def excess_risk(params: Parameters, task: LinearMap) -> Float[Array, ""]:
    """The population loss without the noise, (1/2) |(A Sigma B^T - M) Sigma^1/2|_F^2: 0 at best, and to all digits."""
    return _EXCESS(*_parts(params, task)[:4])


@float64
def context_constant(params: Parameters, task: LinearMap) -> Float[Array, ""]:
    """C = lim n E|f_n(x) - A Sigma B^T x|^2, f_n being the layer on a fresh context of n tokens (derived here).

    C = det(I - 2W)^(-1/2) [|At|_F^2 + tr(At Bt^T (I - 2W)^-1 Bt At^T)] with At = A Sigma^1/2, W = Bt Bt^T and
    Bt = Sigma^1/2 B Sigma^1/2. Infinite when |Bt|_2^2 >= 1/2: few tokens then decide, and there is no 1/n law.
    """
    return _CONSTANT(*_parts(params, task)[:4])


@float64
def score_norm(params: Parameters, task: LinearMap) -> Float[Array, ""]:
    """|Bt|_2, the largest singular value of Sigma^1/2 B Sigma^1/2: how peaked the attention is."""
    _, score, _, covariance, _ = _parts(params, task)
    return _NORM(score, covariance)


def excess_of(value: Array, score: Array, matrix: Array, covariance: Array) -> Float[Array, ""]:
    """(1/2) tr(E Sigma E^T), E = A Sigma B^T - M."""
    error = value @ covariance @ score.T - matrix
    return 0.5 * jnp.sum((error @ covariance) * error)


def gradients_of(value: Array, score: Array, matrix: Array, covariance: Array) -> tuple[Array, Array, Array]:
    """The excess loss and its gradients E Sigma B Sigma and Sigma E^T A Sigma."""
    error = value @ covariance @ score.T - matrix
    pulled = error @ covariance
    return 0.5 * jnp.sum(pulled * error), pulled @ score @ covariance, pulled.T @ value @ covariance


def norm_of(score: Array, covariance: Array) -> Float[Array, ""]:
    """|Bt|_2; any root of Sigma gives the same, and the Cholesky factor is the cheapest."""
    lower = jnp.linalg.cholesky(covariance)
    return spectral_norm(lower.T @ score @ lower)


def spectral_norm(matrix: Array) -> Float[Array, ""]:
    """The largest singular value; NaN for a matrix that is not finite, of which LAPACK would print a complaint."""
    finite = jnp.all(jnp.isfinite(matrix))
    sound = jnp.where(finite, matrix, jnp.eye(*matrix.shape, dtype=matrix.dtype))
    return jnp.where(finite, jnp.linalg.norm(sound, 2), jnp.nan)


class ContextTerms(NamedTuple):
    """What stands before 1/n: C, and of the excess loss on a fresh context and of the loss on the own sequence.

    `share` is the limit of the effective tokens over n, det(I + 2W)^(-1/2).
    """

    constant: Any
    fresh: Any
    own: Any
    share: Any


def context_terms(value: Array, score: Array, matrix: Array, covariance: Array) -> ContextTerms:
    """The terms of order 1/n, in the form without roots: K = (Sigma^-1 - 2 B Sigma B^T)^-1, D = det(I - 2W)^(-1/2).

    C = D tr(A Sigma A^T + F K F^T) with F = A Sigma B^T, E = F - M. On a fresh context the mean answer is off by
    -e^(|Bt^T g|^2) At Bt^T g / n, whose product with the error adds -D tr(K E^T F). On the own sequence each token also
    attends to itself, which adds tr(E^T A (Sigma^-1 - B)^-1) / |det(I - B Sigma)|.
    """
    eye = jnp.eye(covariance.shape[0], dtype=covariance.dtype)
    limit = value @ covariance @ score.T
    error = limit - matrix
    inside = score @ covariance @ score.T @ covariance  # similar to W
    finite = norm_of(score, covariance) ** 2 < 0.5
    inside = jnp.where(finite, inside, 0.0 * inside)  # keeps derivatives finite where the answer is infinite
    kernel = covariance @ jnp.linalg.inv(eye - 2.0 * inside)
    scale = jnp.linalg.det(eye - 2.0 * inside) ** -0.5
    constant = scale * (jnp.sum((value @ covariance) * value) + jnp.sum((limit @ kernel) * limit))
    fresh = 0.5 * constant - scale * jnp.sum((error @ kernel) * limit)
    to_itself = eye - score @ covariance
    itself = jnp.sum(error * (value @ covariance @ jnp.linalg.inv(to_itself))) / jnp.abs(jnp.linalg.det(to_itself))
    share = jnp.linalg.det(eye + 2.0 * score @ covariance @ score.T @ covariance) ** -0.5
    infinite = jnp.asarray(jnp.inf, constant.dtype)
    constant, fresh, own = (jnp.where(finite, each, infinite) for each in (constant, fresh, fresh + itself))
    return ContextTerms(constant, fresh, own, share)


def remainders(score: Array, covariance: Array, fresh_length: Any, length: Any) -> tuple[Array, Array]:
    """How large order 1/n^2 is as a share of order 1/n: on a fresh context, and on the own sequence (derived here).

    The square error of one query g, e^(|c|^2)/n with c = Bt^T g, is off by a share r = e^(2|c|^2)/n of it, but never by
    more than all, and r / (1 + r) <= r^a for 0 <= a <= 1. So the share is at most n^-a E e^((1 + 2a)|c|^2) over
    E e^(|c|^2) = D, the least over a being taken; a = 1 is the plain next term, infinite from |Bt|_2^2 = 1/6 on. A
    token weighs e^(g^T Bt g - |c|^2/2)/n in its own answer, with which the like holds on the own sequence. These are
    sizes: factors of order 1 are left out.
    """
    lower = jnp.linalg.cholesky(covariance)
    score = lower.T @ score @ lower
    sound = jnp.all(jnp.isfinite(score))
    score = jnp.where(sound, score, 0.0)
    square, power = score @ score.T, jnp.linspace(0.05, 1.0, 20)
    broad, to_itself = (jnp.linalg.eigvalsh(one) for one in (square, score + score.T - square))

    def least(rates: Array, values: Array, length: Any) -> Array:
        inside = 1.0 - rates[:, None] * values[None, :]
        finite = jnp.all(inside > 0.0, axis=1)
        moments = jnp.prod(jnp.where(finite[:, None], inside, 1.0), axis=1) ** -0.5
        return jnp.min(jnp.where(finite, moments * length**-power, jnp.inf))

    first = jnp.prod(jnp.maximum(1.0 - 2.0 * broad, 0.0)) ** 0.5  # 1/D
    fresh = least(2.0 + 4.0 * power, broad, fresh_length)
    own = least(1.0 + power, to_itself, length)
    return tuple(jnp.where(sound & (first > 0.0), first * each, jnp.inf) for each in (fresh, own))


@jax.jit
def finite_contexts(task: LinearMap, path: Parameters, fresh_length: Any, length: Any) -> Any:
    """Along the paths (R, K): the excess risk, what stands before 1/n, and the shares of the next order."""
    matrix, covariance = jnp.asarray(task.matrix), jnp.asarray(task.covariance)

    def one(value: Array, score: Array) -> Any:
        terms = context_terms(value, score, matrix, covariance)
        return excess_of(value, score, matrix, covariance), terms, remainders(score, covariance, fresh_length, length)

    return jax.vmap(jax.vmap(one))(path.value, path.score)


def symmetric_root(covariance: Array) -> tuple[Array, Array]:
    """Sigma^1/2 and its inverse."""
    values, vectors = jnp.linalg.eigh(covariance)
    root = jnp.sqrt(values)
    return (vectors * root[None, :]) @ vectors.T, (vectors / root[None, :]) @ vectors.T


def _parts(params: Any, task: Any) -> tuple[Array, ...]:
    instance("params", params, (Parameters,))
    gaussian(instance("task", task, (LinearMap,)))
    if np.shape(params.value) != np.shape(task.matrix):
        raise ValueError(
            f"params has value of shape {np.shape(params.value)}; accepted: that of the task's matrix, "
            f"{np.shape(task.matrix)}"
        )
    leaves = (params.value, params.score, task.matrix, task.covariance, task.noise)
    return tuple(as_float64(leaf) for leaf in leaves)


def whitened(params: Parameters, root: Array) -> tuple[Array, Array]:
    """At = A h and Bt = h B h, h being the root of the covariance."""
    return params.value @ root, root @ params.score @ root


def unwhitened(value: Array, score: Array, inverse_root: Array) -> Parameters:
    """A and B of At and Bt."""
    return Parameters(value @ inverse_root, inverse_root @ score @ inverse_root)


def _with_gradient(function: Callable[..., Array]) -> Callable[..., Array]:
    """A compiled scalar function whose gradient is computed along with it, when it is differentiated in reverse.

    What JAX transposes later, outside of the public call, is then a product alone: products of matrices would be
    transposed without double precision there.
    """
    compiled = jax.custom_vjp(jax.jit(function))

    @jax.jit
    def forward(*arrays: Array) -> tuple[Array, tuple[Array, ...]]:
        return jax.value_and_grad(function, argnums=tuple(range(len(arrays))))(*arrays)

    def backward(gradients: tuple[Array, ...], cotangent: Array) -> tuple[Array, ...]:
        return tuple(jax.lax.mul(jax.lax.broadcast(cotangent, each.shape), each) for each in gradients)

    compiled.defvjp(forward, backward)
    return compiled


_EXCESS, _NORM = _with_gradient(excess_of), _with_gradient(norm_of)
_CONSTANT = _with_gradient(lambda *arrays: context_terms(*arrays).constant)
