"""Single-location regression as a system: how heads are trained, and what is measured of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.single_location.algorithms import ProjectedDescent, SingleLocationRun, hidden, start_vectors
from solvable.attention.single_location.population import Heads, descended, measured_rates
from solvable.attention.single_location.risk import Overlaps, law
from solvable.attention.single_location.stream import LEAST_DIM, descend_stream
from solvable.attention.single_location.task import Directions, SingleLocation, is_foreign
from solvable.attention.single_location.theories import OVERLAPS, theories
from solvable.lab.declare import Example, Given, Observable, Outcome, System
from solvable.numerics.precision import as_float64
from solvable.numerics.validation import instance, integer

FRESH = 4000  # sequences on which the risks of a user's own law are measured
STEPS = ("at",)


class SingleLocationRegression(System):
    """One erf-attention head that learns where to look and what to read by projected descent."""

    tasks = (SingleLocation,)
    algorithms = (ProjectedDescent,)
    observables = (
        Observable("query_alignment", "kappa = k.k* after t updates", dims=STEPS),
        Observable("value_alignment", "nu = v.v*", dims=STEPS),
        Observable("value_leak", "theta = v.k*", dims=STEPS),
        Observable("query_leak", "eta = k.v*", dims=STEPS),
        Observable("coupling", "rho = k.v", dims=STEPS),
        Observable("value_norm", "|v|", dims=STEPS),
        Observable("distance", "sqrt(theta^2 + eta^2 + rho^2)", dims=STEPS),
        Observable("excess_risk", "population's excess risk of these overlaps at lam_t", dims=STEPS),
        Observable("final_excess_risk", "excess risk at the end"),
        Observable("aligned", "1 where |kappa| and |nu|/|v| exceed 1/2 at the end with equal signs, else 0"),
        Observable("swapped", "1 where |eta| exceeds 1/2 at the end, so that the query reads the label, else 0"),
        Observable("escape_rate", "growth of the unstable combination of nu and kappa up to its doubling", "1/step"),
        Observable("value_rate", "fall of log(1 - |nu|/|v|) between the last two steps above 1e-10", "1/step"),
        Observable("query_rate", "fall of log(1 - |kappa|) between the last two steps above 1e-10", "1/step"),
    )
    theories = theories
    run_types = (SingleLocationRun,)
    bare = {Overlaps: "start"}

    def times(self, task: SingleLocation, algorithm: ProjectedDescent, at: Any, unit: str) -> np.ndarray:
        """101 steps from 0 to the last."""
        return algorithm.recorded(at)

    def samples_problems(self, algorithm: ProjectedDescent, full: bool = False, samples: int | None = None) -> bool:
        """Vectors are trained on what the law draws."""
        return full or samples is not None

    def train(
        self, task: Any, algorithm: Any, keys: Any, at: Any, unit: str, full: bool = False, samples: int | None = None
    ) -> Heads:
        """Overlaps where they suffice, else vectors."""
        batch, samples = algorithm.batch, None if samples is None else integer("samples", samples, at_least=1)
        least, steps = algorithm.steps * (batch or 1), jnp.asarray(at)
        vectors = full or samples is not None or (algorithm.closed_form and batch is not None)
        if batch is not None and samples is not None and samples < least:
            raise ValueError(
                f"samples={samples} is too small for one pass of steps={algorithm.steps} batches of {batch}; "
                f"accepted: samples >= {least}, or None for fresh batches"
            )
        if batch is not None and not vectors and task.dim < LEAST_DIM:
            raise ValueError(f"dim={task.dim} is too small for the chain of batches; accepted: dim >= 6, or full=True")
        if self.is_foreign(task):
            # one at a time: the law may draw data sets by whatever means
            runs = [_trained(task, algorithm, at, samples, key) for key in keys]
            start, path, risks = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *runs)
        elif vectors:
            start, path, risks = _own_vectors(task, algorithm.rule, keys, steps, samples)
        else:
            start, risks = _starts(keys, task.dim, algorithm.init), None
            if batch is None:
                return descended(task, algorithm, start, at)
            noise, dim = as_float64(task.label_noise), as_float64(task.dim)
            path = descend_stream(law(task), noise, dim, task.length, algorithm.rule, start, keys, steps)
        return dataclasses.replace(Heads.of(task, algorithm, start, path, at, risks), sampled=samples is not None)

    def measure(self, task: Any, algorithm: Any, runs: Heads, at: Any) -> Mapping[str, Any]:
        """Every overlap of every recorded step, and what becomes of a run."""
        assert runs.path is not None
        o = jax.tree_util.tree_map(np.asarray, runs.path)
        # a value of length 0 reads nothing
        kappa, nu = o.query_alignment, o.value_alignment / np.where(o.value_norm > 0.0, o.value_norm, 1.0)
        return {
            **{name: getattr(o, name) for name in (*OVERLAPS, "distance")},
            "excess_risk": runs.excess_risk,
            "final_excess_risk": runs.excess_risk[:, -1],
            "aligned": (np.minimum(abs(kappa), abs(nu)) * np.sign(kappa * nu))[:, -1] > 0.5,
            "swapped": abs(o.query_leak[:, -1]) > 0.5,
            **measured_rates(task, algorithm, at, kappa, nu),
        }

    def runs_given(self, task: SingleLocation, algorithm: ProjectedDescent, given: Given | None) -> Heads | None:
        """The starts (R,), or the one start."""
        if given is None:
            return None
        start = instance("given start", given.need("start"), (Overlaps,))
        start.check()
        leaves, tree = jax.tree_util.tree_flatten(start)
        shape = np.broadcast_shapes(*map(np.shape, leaves))
        if len(shape) > 1:
            raise ValueError(f"given overlaps of shape {shape}; accepted: one start, or an array of starts (R,)")
        given.replicated = shape != ()
        (count,) = shape or (1,)
        start = tree.unflatten([np.broadcast_to(np.float64(leaf), (count,)) for leaf in leaves])
        return Heads(start, given.codes(count), sampled=bool(given.get("sampled")))

    def example(self) -> Example:
        """Three tokens in twelve dimensions, whose vectors themselves are trained."""
        task, algorithm = SingleLocation(3, 12, label_noise=0.1), ProjectedDescent(0.5, 0.005, 20, batch=32)
        problem, failing = task.sample(jax.random.key(0), 640), (task, ProjectedDescent(0.5, 1e200, 20))
        near = {"excess_risk": 0.005, "query_alignment": 0.005, "value_alignment": 0.005}
        return Example(task, algorithm, problem, {}, {"full": True}, [0, 10, 20], failing, agreement=near)


SYSTEM = SingleLocationRegression()
curve = SYSTEM.curve


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
) -> Outcome:
    """Train `replicates` heads from drawn starts and measure them at the steps `at` (None: 101, from 0 to the last).

    By default the overlaps themselves are simulated: the five-number map for the population gradient, and for batches
    a chain that is exact in law and whose cost does not depend on dim. `full=True` trains the vectors in d dimensions,
    and so do `samples`, the size of a data set drawn for each run and trained on (with `batch`: in one pass), and
    batches with a closed-form value, whose least-squares problem has no small form. A law of the user's own needs one
    of the two and draws the data set, or with `batch` every batch inside the compiled loop, and 4000 sequences on which
    its excess risks are measured.
    Replicate r depends on `key` and r alone, up to the rounding of sums. A run that meets a value which is not finite
    is missing.

    Measured are the `observables` of the system, most of them over the steps; a rate is NaN where fewer than two steps
    serve it.

    Raises: TypeError for a task or an algorithm of another kind; ValueError for bad settings, for dim < 6 in the chain
    of batches, and where a law of the user's own is asked for what holds for Gaussian tokens alone.
    """
    return SYSTEM.simulate(task, algorithm, key=key, replicates=replicates, at=at, full=full, samples=samples)


def predict(
    task: SingleLocation,
    algorithm: ProjectedDescent,
    /,
    *,
    theory: str | None = None,
    given: Any = None,
    at: Any = None,
    throw: bool = True,
) -> Outcome:
    """What theory says of training with `algorithm`, in the observables of `simulate` (see `theories`).

    "overlaps" (the default) needs `given`: an outcome of `simulate`, a run, the `Overlaps` of one start or of many, or
    a mapping with `start`. `at` are steps (None: those of an outcome given, else as in `simulate`). Nothing is iterated
    to a tolerance; with `throw=False` a map that blows up is missing. Runs on concrete numbers: differentiate
    `excess_risk`, not this.

    Raises: TypeError for objects of another kind; ValueError for a theory that does not speak of this algorithm, and
    for a start no vectors have; SolveError, unless throw=False, where the map meets a value that is not finite.
    """
    return SYSTEM.predict(task, algorithm, theory=theory, given=given, at=at, throw=throw)


@functools.partial(jax.jit, static_argnames=("dim", "init"))
def _starts(keys: Any, dim: int, init: str) -> Overlaps:
    """The overlaps (R,) of drawn starts; the hidden directions may be the first two axes."""
    axes = Directions(*jnp.eye(2, dim, dtype=jnp.float64))

    def one(key: Any) -> Overlaps:
        o = Overlaps.of(*start_vectors(jax.random.fold_in(key, 0), dim, init, axes), axes)
        if init == "manifold":  # three overlaps are zero, and stay so; as vectors they are rounding errors
            zero, one = jnp.zeros_like(o.coupling), jnp.ones_like(o.coupling)
            o = Overlaps(o.query_alignment, o.value_alignment, zero, zero, zero, one)
        return o

    return jax.lax.map(one, keys)


@eqx.filter_jit
def _own_vectors(task: SingleLocation, algorithm: ProjectedDescent, keys: Any, at: Any, samples: int | None) -> Any:
    """Runs on what our own law draws, (R, ...)."""
    one = functools.partial(_trained, task, algorithm, at, samples)
    # data sets and least-squares problems one after the other: they fill memory, or wait for ever (see `solve_three`)
    solved = algorithm.closed_form and algorithm.batch is not None
    return jax.lax.map(one, keys) if samples is not None or solved else jax.vmap(one)(keys)


def _trained(task: SingleLocation, algorithm: ProjectedDescent, at: Any, samples: int | None, key: Any) -> Any:
    """The overlaps of the start, those at the steps `at` (K,), and of a law of the user's own the excess risks (K,)."""
    keys = [jax.random.fold_in(key, number) for number in range(5)]
    directions = task.directions(keys[0])
    problem = task if samples is None else task.sample(keys[3], samples, directions)
    start, path = algorithm.vectors(problem, directions, keys[1], keys[2], None, at)
    risks = None
    if is_foreign(task):
        fresh = task.sample(keys[4], FRESH, directions)
        heads = (*path, jnp.asarray(algorithm.inverse_temperatures(at)))
        risks = _errors(heads, jnp.asarray(fresh.tokens), jnp.asarray(fresh.labels)) - task.label_noise**2
    return Overlaps.of(*start, directions), Overlaps.of(*path, directions), risks


@jax.jit
def _errors(heads: Any, tokens: Any, labels: Any) -> Any:
    """The mean squared errors (K,) of heads k (K, d), v (K, d), lam (K,)."""
    return jax.lax.map(lambda head: jnp.mean((hidden(tokens, head[0], head[2]) @ head[1] - labels) ** 2), heads)
