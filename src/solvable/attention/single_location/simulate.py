"""Training of many heads, and what is measured of it."""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.single_location.algorithms import ProjectedDescent, recorded_steps
from solvable.attention.single_location.outcome import SingleLocationOutcome
from solvable.attention.single_location.overlaps import Overlaps
from solvable.attention.single_location.population import Descent, descend
from solvable.attention.single_location.rates import measured_rates
from solvable.attention.single_location.risk import Law, law, risk
from solvable.attention.single_location.starts import start_overlaps, start_vectors
from solvable.attention.single_location.stream import LEAST_DIM, descend_stream
from solvable.attention.single_location.task import SingleLocation
from solvable.attention.single_location.training import Population, Sequences, train_vectors
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.results import Result
from solvable.numerics.validation import integer, replicate_numbers


def known(task: Any, algorithm: Any, call: str) -> None:
    """Raises: ValueError unless the task and the algorithm are of this system."""
    if not isinstance(task, SingleLocation):
        raise ValueError(f"task is a {type(task).__name__}; accepted by single_location.{call}: a SingleLocation task")
    if not isinstance(algorithm, ProjectedDescent):
        raise ValueError(
            f"algorithm is a {type(algorithm).__name__}; accepted by single_location.{call}: ProjectedDescent"
        )


@float64
def simulate(
    task: SingleLocation,
    algorithm: ProjectedDescent,
    /,
    *,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    at: Any = None,
    full: bool = False,
    samples: int | None = None,
) -> SingleLocationOutcome:
    """Train `replicates` heads from drawn starts and measure them at the steps `at` (None: 101, from 0 to the last).

    By default the overlaps themselves are simulated: the five-number map for the population gradient, and for batches
    a chain that is exact in law and whose cost does not depend on dim. `full=True` trains the vectors in d dimensions,
    and so do `samples`, the size of a data set drawn for each run and trained on (with `batch`: in one pass), and
    batches with a closed-form value, whose least-squares problem has no small form.
    Replicate r depends on `key` and r alone, up to the rounding of sums. A run that meets a value which is not finite
    is missing.

    Raises: ValueError for bad settings, and for dim < 6 in the chain of batches.
    """
    known(task, algorithm, "simulate")
    numbers = replicate_numbers(replicates)
    at = recorded_steps(algorithm, at)
    key = jax.random.key(0) if key is None else key
    samples = None if samples is None else integer("samples", samples, at_least=1)
    vectors = full or samples is not None or (algorithm.closed_form and algorithm.batch is not None)
    if algorithm.batch is not None:
        if samples is not None and samples < algorithm.steps * algorithm.batch:
            raise ValueError(
                f"samples={samples} is too small for one pass of steps={algorithm.steps} batches of {algorithm.batch}; "
                f"accepted: samples >= {algorithm.steps * algorithm.batch}, or None for fresh batches"
            )
        if not vectors and task.dim < LEAST_DIM:
            raise ValueError(f"dim={task.dim} is too small for the chain of batches; accepted: dim >= 6, or full=True")
    if algorithm.init == "manifold" and task.dim < 3:
        raise ValueError(f"dim={task.dim} has no manifold start; accepted: dim >= 3, or init='sphere'")
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(numbers))
    numbers, steps = algorithm.numbers(task.length), jnp.asarray(at)
    if vectors:
        overlaps, start = _vectors(task, algorithm, numbers, keys, steps, samples)
    else:
        start = _starts(keys, task.dim, algorithm.init)
        if algorithm.batch is None:
            overlaps = descended(law(task), numbers, start, steps, algorithm.closed_form)
        else:
            shape, noise = (task.length, algorithm.batch), as_float64(task.label_noise)
            overlaps = _stream(law(task), noise, as_float64(task.dim), numbers, start, keys, steps, shape)
    return measured(task, algorithm, overlaps, at, start)


@functools.partial(jax.jit, static_argnames=("dim", "init"))
def _starts(keys: Any, dim: int, init: str) -> Overlaps:
    """The overlaps (R,) of drawn starts."""

    def one(key: Any) -> Overlaps:
        start = start_overlaps(jax.random.fold_in(key, 0), dim, init)
        if init == "sphere":
            return start
        # on the manifold three overlaps are zero, and stay so; as vectors they are rounding errors
        zero, one = jnp.zeros_like(start.coupling), jnp.ones_like(start.coupling)
        return Overlaps(start.query_alignment, start.value_alignment, zero, zero, zero, one)

    return jax.lax.map(one, keys)


# These take the dimension as a number, so that all dimensions share what is compiled.


@functools.partial(jax.jit, static_argnames="closed_form")
def descended(law: Law, numbers: Descent, start: Overlaps, at: Any, closed_form: bool) -> Overlaps:
    """The overlaps (K, R) of the five-number map from the starts (R,)."""
    return descend(law, numbers, start, at, closed_form)


@functools.partial(jax.jit, static_argnames="shape")
def _stream(
    law: Law, noise: Any, dim: Any, numbers: Descent, start: Overlaps, keys: Any, at: Any, shape: tuple[int, int]
) -> Overlaps:
    """The overlaps (K, R) of the chain of batches; `shape` is L, B."""
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, 1)
    return descend_stream(law, noise, dim, shape, numbers, start, keys, at)


@eqx.filter_jit
def _vectors(
    task: SingleLocation, algorithm: ProjectedDescent, numbers: Descent, keys: Any, at: Any, samples: int | None
) -> tuple[Overlaps, Overlaps]:
    """The overlaps (K, R) of training in d dimensions, and their starts (R,)."""

    def one(key: Any) -> Any:
        directions = task.directions(jax.random.fold_in(key, 0))
        start = start_vectors(jax.random.fold_in(key, 1), task.dim, algorithm.init, directions)
        source: Any = Population(task, directions)
        if samples is not None:
            data = task.sample(jax.random.fold_in(key, 3), samples, directions)
            source = Sequences((data.tokens, data.labels), algorithm.batch)
        elif algorithm.batch is not None:
            source = Sequences((task, directions, jax.random.fold_in(key, 2)), algorithm.batch)
        pair = train_vectors(source, numbers, start, at, algorithm.closed_form, algorithm.batch is None)
        return Overlaps.of(*pair, directions), Overlaps.of(*start, directions)

    # data sets and least-squares problems one after the other: they fill memory, or wait for ever (see `solve_three`)
    solved = algorithm.closed_form and algorithm.batch is not None
    path, start = jax.lax.map(one, keys) if samples is not None or solved else jax.vmap(one)(keys)
    return jax.tree_util.tree_map(lambda leaf: jnp.moveaxis(leaf, 0, -1), path), start


def measured(
    task: SingleLocation, algorithm: ProjectedDescent, overlaps: Overlaps, at: np.ndarray, start: Any
) -> SingleLocationOutcome:
    """The observables of paths (K, R), or of one path (K,)."""
    overlaps = jax.tree_util.tree_map(jnp.asarray, overlaps)
    risks = np.asarray(_risks(law(task), algorithm.numbers(task.length), overlaps, jnp.asarray(at)))
    o = jax.tree_util.tree_map(lambda leaf: np.moveaxis(np.asarray(leaf), 0, -1), overlaps)  # (R, K) or (K,)
    risks = np.moveaxis(risks, 0, -1)
    # a value of length 0 reads nothing
    length = np.where(o.value_norm > 0.0, o.value_norm, 1.0)
    kappa, nu = o.query_alignment, o.value_alignment / length
    finite = np.isfinite(risks[..., -1])
    result = np.where(finite, int(Result.SUCCESSFUL), int(Result.NONFINITE))
    fields = {
        "query_alignment": kappa,
        "value_alignment": o.value_alignment,
        "value_leak": o.value_leak,
        "query_leak": o.query_leak,
        "coupling": o.coupling,
        "value_norm": o.value_norm,
        "distance": np.asarray(o.distance),
        "risk": risks,
        "final_risk": risks[..., -1],
        "aligned": (np.minimum(abs(kappa), abs(nu)) * np.sign(kappa * nu))[..., -1] > 0.5,
        "swapped": abs(o.query_leak[..., -1]) > 0.5,
    }
    fields |= measured_rates(task, algorithm, at, kappa, nu)
    fields = {name: np.where(_over(finite, value), value.astype(np.float64), np.nan) for name, value in fields.items()}
    return SingleLocationOutcome(result=result, stats={}, at=at, start=start, **fields)


def _over(finite: np.ndarray, value: np.ndarray) -> np.ndarray:
    """`finite` with the axes that the value has beyond it."""
    return finite.reshape(finite.shape + (1,) * (value.ndim - finite.ndim))


@jax.jit
def _risks(law: Law, numbers: Descent, overlaps: Overlaps, at: Any) -> Any:
    lam = numbers.lam(at.astype(jnp.float64)).reshape(-1, *[1] * (overlaps.query_alignment.ndim - 1))
    return risk(law, overlaps, jnp.broadcast_to(lam, overlaps.query_alignment.shape))
