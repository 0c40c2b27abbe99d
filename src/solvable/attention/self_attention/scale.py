"""How broad the attention should be: the error of a context against the size of the score, the limit being the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.outcome import Observable
from solvable.attention.self_attention.population import context_constant, symmetric_root, unwhitened
from solvable.attention.self_attention.streaming import attended
from solvable.attention.self_attention.task import LinearMap
from solvable.lab.outcome import Outcome
from solvable.numerics.bisection import bisect
from solvable.numerics.precision import batched_map, float64
from solvable.numerics.results import Result
from solvable.numerics.validation import integer, number, replicate_numbers


class ScaleOutcome(Outcome):
    """Of layers with Bt = b I and At = Mt / b, all with the limit M x, over b in `scale`.

    `context_error` n E|f_n(x) - M x|^2 on a fresh context of n tokens, over |M Sigma^1/2|_F^2; `peaked_error` the same
    over the b in `peaked_scale`, 6 b^2 >= 1, where the law in 1/n sets in too late to be compared (E e^(3|Bt^T g|^2),
    in its next term, is infinite); `best_scale` the b at which the mean of the error over the runs is least, by
    a cubic in log b (simulation: as the jackknife's pseudo-values, one a run).
    """

    context_error: Observable = None
    peaked_error: Observable = None
    best_scale: Observable = None
    scale: Any = None
    peaked_scale: Any = None

    observables: ClassVar[tuple[str, ...]] = ("context_error", "peaked_error", "best_scale")
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"context_error": ("scale",), "peaked_error": ("peaked_scale",)}


@float64
def best_scale(dim: int) -> Float[Array, ""]:
    """b that minimises (1 - 2 b^2)^(-d/2) (1/b^2 + 1/(1 - 2 b^2)): C of Bt = b I and At = Mt / b, over |Mt|_F^2.

    Close to 1/sqrt(d + 2), which `PreconditionedDescent(renormalize=True)` uses (derived here). Raises: ValueError for
    dim < 1.
    """
    dim = integer("dim", dim, at_least=1)
    # bisection in u = 2 b^2 on the sign of the logarithm's derivative, which changes once in (0, 1)

    def slope(u: Array) -> Array:
        # d/du [-(d/2) log(1 - u) + log(2/u + 1/(1 - u))]
        return 0.5 * dim / (1.0 - u) + (-2.0 / u**2 + 1.0 / (1.0 - u) ** 2) / (2.0 / u + 1.0 / (1.0 - u))

    return jnp.sqrt(0.5 * bisect(lambda u: slope(u) < 0.0, jnp.zeros(()), jnp.ones(()), 60))


@float64
def layer_of_scale(task: LinearMap, scale: Any) -> Parameters:
    """The layer with Bt = b I and At = Mt / b, whose limit is M x.

    Raises: ValueError for scale <= 0.
    """
    return _layer(task, number("scale", scale, above=0.0))


@float64
def simulate_scale(
    task: LinearMap,
    algorithm: None,
    /,
    *,
    scales: Sequence[float],
    peaked_scales: Sequence[float] = (),
    samples: int = 8000,
    queries: int = 64,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> ScaleOutcome:
    """Answer fresh queries from fresh contexts at every scale.

    Raises: ValueError for fewer than five scales, through which the lowest point is read.
    """
    del algorithm
    if len(scales) < 5:
        raise ValueError(
            f"samples={samples} leaves {len(scales)} scales at which the law in 1/n has set in; accepted: more "
            "samples, or at least 5 scales"
        )
    key = jax.random.key(0) if key is None else key
    layers = [layer_of_scale(task, scale) for scale in (*scales, *peaked_scales)]
    values, scores = (np.stack([getattr(layer, name) for layer in layers]) for name in ("value", "score"))
    errors = np.asarray(
        _errors(task, values, scores, key, jnp.asarray(replicate_numbers(replicates)), samples, queries)
    )
    compared = errors[:, : len(scales)]
    return ScaleOutcome(
        np.zeros(len(errors), int),
        {},
        context_error=compared,
        peaked_error=errors[:, len(scales) :],
        best_scale=_lowest_of_runs(np.asarray(scales), compared),
        scale=np.asarray(scales),
        peaked_scale=np.asarray(peaked_scales),
    )


def predict_scale(task: LinearMap, algorithm: None, /, *, scales: Sequence[float]) -> ScaleOutcome:
    """C over |Mt|_F^2, and where it is least."""
    del algorithm
    size = np.sum((task.matrix @ task.covariance) * task.matrix)
    found = np.array([context_constant(layer_of_scale(task, scale), task) for scale in scales]) / size
    best = np.asarray(best_scale(task.matrix.shape[1]))
    return ScaleOutcome(np.array(int(Result.SUCCESSFUL)), {}, context_error=found, best_scale=best)


@jax.jit
def _layer(task: LinearMap, scale: Any) -> Parameters:
    root, inverse_root = symmetric_root(jnp.asarray(task.covariance))
    score = scale * jnp.eye(root.shape[0])
    return Parameters(*unwhitened(jnp.asarray(task.matrix) @ root / scale, score, inverse_root))


def _errors(task: LinearMap, values: Any, scores: Any, key: Any, numbers: Any, samples: int, queries: int) -> Any:
    def run(task: LinearMap, values: Any, scores: Any, key: Any, numbers: Any) -> Any:
        size = jnp.sum((task.matrix @ task.covariance) * task.matrix)

        def one(number: Any) -> Any:
            tokens, _ = task.draw(jax.random.fold_in(key, number), samples + queries)
            context, asked = tokens[:samples], tokens[samples:]
            goals = asked @ task.matrix.T

            def of(layer: Any) -> Any:
                answers = attended(layer[1], asked, context) @ layer[0].T
                return samples * jnp.mean(jnp.sum((answers - goals) ** 2, axis=1)) / size

            return jax.lax.map(of, (values, scores))

        return batched_map(one, numbers)

    return jax.jit(run)(jax.tree_util.tree_map(jnp.asarray, task), values, scores, key, numbers)


def _lowest(scales: np.ndarray, errors: np.ndarray) -> float:
    """Where a cubic in log b through the logarithms of the least value and its two neighbours on each side is least."""
    place = int(np.clip(np.argmin(errors), 2, len(scales) - 3))
    near = slice(place - 2, place + 3)
    x, y = np.log(scales[near]), np.log(errors[near])
    fine = np.linspace(x[0], x[-1], 2001)
    return float(np.exp(fine[np.argmin(np.polyval(np.polyfit(x - x[2], y, 3), fine - x[2]))]))


def _lowest_of_runs(scales: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Of the mean over runs, as the jackknife's pseudo-values: one number a run, with that mean and its true spread."""
    count = len(errors)
    whole = _lowest(scales, errors.mean(axis=0))
    if count == 1:
        return np.array([whole])
    without = [_lowest(scales, np.delete(errors, r, axis=0).mean(axis=0)) for r in range(count)]
    return count * whole - (count - 1) * np.array(without)
