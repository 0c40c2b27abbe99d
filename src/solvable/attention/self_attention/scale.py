"""How broad the attention should be: the error of a context against the size of the score, the limit being the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.population import symmetric_root, unwhitened
from solvable.attention.self_attention.streaming import attended
from solvable.attention.self_attention.task import LinearMap
from solvable.lab.declare import batched_map, float64, replicate_keys
from solvable.numerics.bisection import bisect
from solvable.numerics.validation import integer, number

QUERIES = 64


@float64
def best_scale(dim: int) -> Float[Array, ""]:
    """b that minimises (1 - 2 b^2)^(-d/2) (1/b^2 + 1/(1 - 2 b^2)): C of Bt = b I and At = Mt / b, over |Mt|_F^2.

    Close to 1/sqrt(d + 2), which `PreconditionedDescent(renormalize=True)` uses (derived here). Raises: ValueError for
    dim < 1.
    """
    return _best_scale(integer("dim", dim, at_least=1))


@float64
def layer_of_scale(task: LinearMap, scale: Any) -> Parameters:
    """The layer with Bt = b I and At = Mt / b, whose limit is M x. Raises: ValueError for scale <= 0."""
    scale = number("scale", scale, above=0.0)
    root, inverse_root = symmetric_root(jnp.asarray(task.covariance))
    return unwhitened(task.matrix @ root / scale, scale * jnp.eye(len(root)), inverse_root)


class ContextErrors(NamedTuple):
    """Of every run: its errors at the scales where the law in 1/n is close and at the others, its share in the best."""

    context_error: Float[np.ndarray, "R S"]
    peaked_error: Float[np.ndarray, "R S2"]
    best_scale: Float[np.ndarray, "R"]
    result: Int[np.ndarray, "R"]


@float64
def context_errors(
    task: LinearMap, near: Sequence[float], far: Sequence[float], samples: int, key: jax.Array, replicates: int | range
) -> ContextErrors:
    """n E|f_n(x) - M x|^2 over |M Sigma^1/2|_F^2 for layers with Bt = b I and At = Mt / b, all with the limit M x.

    64 fresh queries on a fresh context of n = `samples` tokens. `best_scale` is the b at which the mean of the error
    over the runs is least, by a cubic in log b, as the jackknife's pseudo-values: one number a run, with that mean and
    its true spread. At 6 b^2 >= 1 the next term of the law, with E e^(3|Bt^T g|^2), is infinite.
    """
    layers = [layer_of_scale(task, scale) for scale in (*near, *far)]
    stacked = jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *layers)
    errors = np.asarray(_errors(task, stacked, replicate_keys(key, replicates), samples, QUERIES))
    compared, count = errors[:, : len(near)], len(errors)
    best = np.array([_lowest(np.asarray(near), compared.mean(axis=0))])
    if count > 1:
        without = [_lowest(np.asarray(near), np.delete(compared, r, axis=0).mean(axis=0)) for r in range(count)]
        best = count * best - (count - 1) * np.array(without)
    return ContextErrors(compared, errors[:, len(near) :], best, np.zeros(count, int))


@jax.jit
def _best_scale(dim: Any) -> Array:
    def below(u: Array) -> Array:
        # the sign of d/du [-(d/2) log(1 - u) + log(2/u + 1/(1 - u))], u = 2 b^2, which changes once in (0, 1)
        return 0.5 * dim / (1.0 - u) + (-2.0 / u**2 + 1.0 / (1.0 - u) ** 2) / (2.0 / u + 1.0 / (1.0 - u)) < 0.0

    return jnp.sqrt(0.5 * bisect(below, jnp.zeros(()), jnp.ones(()), 60))


@eqx.filter_jit
def _errors(task: LinearMap, layers: Parameters, keys: Any, samples: int, queries: int) -> Any:
    size = jnp.sum((task.matrix @ task.covariance) * task.matrix)

    def one(key: Any) -> Any:
        tokens, _ = task.draw(key, samples + queries)
        context, asked = tokens[:samples], tokens[samples:]
        goals = asked @ task.matrix.T

        def of(layer: Parameters) -> Any:
            answers = attended(layer.score, asked, context) @ layer.value.T
            return samples * jnp.mean(jnp.sum((answers - goals) ** 2, axis=1)) / size

        return jax.lax.map(of, layers)

    return batched_map(one, keys)


def _lowest(scales: np.ndarray, errors: np.ndarray) -> float:
    """Where a cubic in log b through the logarithms of the least value and its two neighbours on each side is least."""
    place = int(np.clip(np.argmin(errors), 2, len(scales) - 3))
    near = slice(place - 2, place + 3)
    x, y = np.log(scales[near]), np.log(errors[near])
    fine = np.linspace(x[0], x[-1], 2001)
    return float(np.exp(fine[np.argmin(np.polyval(np.polyfit(x - x[2], y, 3), fine - x[2]))]))
