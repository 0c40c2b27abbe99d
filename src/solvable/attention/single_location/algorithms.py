"""Projected gradient descent of one attention head on the product of two spheres, and with a closed-form value."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.single_location.overlaps import Overlaps
from solvable.attention.single_location.population import Descent
from solvable.attention.single_location.starts import start_vectors
from solvable.attention.single_location.task import Directions, LocatedTokens, SingleLocation, unit_vector
from solvable.attention.single_location.training import Population, Sequences, train_vectors
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.results import Result, is_traced, raise_unless_successful
from solvable.numerics.validation import choice, integer, number

RECORDS = 101
WEAK = 2.0
NARROW = 3.0  # c = lam s/sqrt(1 + 2 lam^2 gamma^2) above which the query's gradient near k* is below exp(-9)


class ProjectedDescent(eqx.Module):
    """k and v follow the gradient of E (sum_l erf(lam X_l.k) X_l.v - Y)^2 on their unit spheres (arXiv:2410.01537).

    A step is k - alpha (g_k - (k.g_k) k), divided by its length, and v likewise, both from the old pair; its gradient
    has the inverse temperature lam_t = lam_0/(1 + decay t). `train` takes a task (population gradient, or one-pass SGD
    on fresh batches of `batch` sequences) or a data set (its whole gradient, or one pass over batches of it).

    Arguments: inverse_temperature lam_0 > 0; learning_rate alpha > 0; steps >= 1; init "sphere" (k and v uniform) or
    "manifold" (k orthogonal to v*, v orthogonal to k* and k: theta = eta = rho = 0); decay >= 0; leak_penalty >= 0, the
    weight w of E (v . mean token)^2 in the loss, which keeps v from reading the location; batch None or a number of
    sequences; value "descent", or "closed_form": v is free of the sphere and solves its least-squares problem for the
    current k (arXiv:2510.04606), with `ridge` and, on batches, `proximity` as in `solvable.optim.closed_form_head`.
    Raises: ValueError naming the argument, its value and what is accepted.
    """

    inverse_temperature: Any
    learning_rate: Any
    steps: int = eqx.field(static=True)
    init: str = eqx.field(static=True)
    decay: Any
    leak_penalty: Any
    batch: int | None = eqx.field(static=True)
    value: str = eqx.field(static=True)
    ridge: Any
    proximity: Any

    def __init__(
        self,
        inverse_temperature: Any = 0.1,
        learning_rate: Any = 4e-3,
        steps: int = 20000,
        init: Literal["sphere", "manifold"] = "sphere",
        decay: Any = 0.0,
        leak_penalty: Any = 0.0,
        batch: int | None = None,
        value: Literal["descent", "closed_form"] = "descent",
        ridge: Any = 0.0,
        proximity: Any = 0.0,
    ) -> None:
        self.inverse_temperature = number("inverse_temperature", inverse_temperature, above=0.0)
        self.learning_rate = number("learning_rate", learning_rate, above=0.0)
        self.steps = integer("steps", steps, at_least=1)
        self.init = choice("init", init, ("sphere", "manifold"))
        self.decay = number("decay", decay, at_least=0.0)
        self.leak_penalty = number("leak_penalty", leak_penalty, at_least=0.0)
        self.batch = None if batch is None else integer("batch", batch, at_least=1)
        self.value = choice("value", value, ("descent", "closed_form"))
        self.ridge = number("ridge", ridge, at_least=0.0)
        self.proximity = number("proximity", proximity, at_least=0.0)
        if not is_traced(self.ridge, self.proximity):
            if self.value == "descent" and (self.ridge > 0.0 or self.proximity > 0.0):
                raise ValueError(
                    f"ridge={self.ridge:g} and proximity={self.proximity:g} are of the closed-form value; accepted: "
                    "value='closed_form', or 0"
                )
            if self.batch is None and self.proximity > 0.0:
                raise ValueError(f"proximity={self.proximity:g} needs batches; accepted: 0, or batch=B")
            if self.value == "closed_form" and self.batch is not None and self.ridge + self.proximity == 0.0:
                raise ValueError(
                    f"batch={self.batch} with a closed-form value and neither ridge nor proximity has no unique value; "
                    "accepted: ridge > 0 or proximity > 0"
                )

    @property
    def closed_form(self) -> bool:
        """Whether v is solved for."""
        return self.value == "closed_form"

    def numbers(self, length: int) -> Descent:
        """The hyper-parameters as arrays, for sequences of `length` tokens."""
        penalty = self.leak_penalty / length**2
        fields = (self.learning_rate, self.inverse_temperature, self.decay, penalty, self.ridge, self.proximity)
        return Descent(*map(as_float64, fields))

    def inverse_temperatures(self, at: Any) -> Any:
        """lam_t at the steps `at`."""
        return self.inverse_temperature / (1.0 + self.decay * np.asarray(at, np.float64))

    @float64
    def train(
        self,
        problem: SingleLocation | LocatedTokens,
        init: tuple[Any, Any] | None = None,
        key: jax.Array | None = None,
        *,
        at: Any = None,
        throw: bool = True,
    ) -> SingleLocationRun:
        """Train one head in d dimensions, from the vectors `init` = (k, v) or from a drawn start.

        `key` draws the start, a task's directions and its batches (None: key 0). `at`: the steps at which the path is
        recorded, 0 <= at <= steps (None: 101 of them).
        Warns where a task's inverse temperature lam ends outside lam sqrt(d) >= 2 and lam sqrt(L) <= 1 (the regime of
        the paper's Corollary 2), and where it is fixed and so large that the query's gradient vanishes near k*.
        Raises: SolveError, unless throw=False, when a value that is not finite appears; ValueError for an init of zero
        length or of another dimension, for init="manifold" with unknown directions, and for a pass over more sequences
        than the data hold.
        """
        at = recorded_steps(self, at)
        directions_key, start_key, key = jax.random.split(jax.random.key(0) if key is None else key, 3)
        source, length, dim, directions = self._source(problem, directions_key, key)
        start = self._start(start_key, dim, directions, init)
        if isinstance(problem, SingleLocation):
            self._warn(problem)
        query, value = _train(self, source, self.numbers(length), start, jnp.asarray(at))
        finite = jnp.all(jnp.isfinite(query[-1])) & jnp.all(jnp.isfinite(value[-1]))
        result = jnp.where(finite, int(Result.SUCCESSFUL), int(Result.NONFINITE))
        if throw:
            raise_unless_successful(result, "ProjectedDescent.train")
        overlaps = None if directions is None else Overlaps.of(query, value, directions)
        return SingleLocationRun(query[-1], value[-1], self.inverse_temperatures(at)[-1], overlaps, at, result)

    def _warn(self, task: SingleLocation) -> None:
        """Warn where the head cannot do well, or the query's gradient vanishes before it arrives."""
        if is_traced(self.inverse_temperature, self.decay, task.signal, task.informative_scale):
            return
        lam = float(self.inverse_temperatures([self.steps])[0])
        sharp = lam * float(task.signal) / math.sqrt(1.0 + 2.0 * lam**2 * float(task.label_variance))
        start = f"inverse_temperature={lam:.3g} at the end"
        if lam * math.sqrt(task.dim) < WEAK:
            warnings.warn(
                f"{start}: times sqrt(dim) it is below 2, so that the head hardly tells tokens apart", stacklevel=4
            )
        elif lam * math.sqrt(task.length) > 1.0:
            warnings.warn(
                f"{start}: times sqrt(length) it exceeds 1, so that the noise tokens drown the label", stacklevel=4
            )
        if float(self.decay) == 0.0 and sharp > NARROW:
            warnings.warn(
                f"{start}: near k* the query's gradient is below exp(-{sharp**2:.0f}); let it decay", stacklevel=4
            )

    def _source(self, problem: Any, directions_key: Any, key: Any) -> tuple[Any, int, int, Directions | None]:
        """Where the loss comes from, L, d, and the hidden directions where they are known."""
        if isinstance(problem, SingleLocation):
            directions = problem.directions(directions_key)
            if self.batch is None:
                return Population(problem, directions), problem.length, problem.dim, directions
            return Sequences((problem, directions, key), self.batch), problem.length, problem.dim, directions
        if not isinstance(problem, LocatedTokens):
            raise ValueError(f"problem is a {type(problem).__name__}; accepted: a SingleLocation task or LocatedTokens")
        count, length, dim = np.shape(problem.tokens)
        if self.batch is not None and self.steps * self.batch > count:
            raise ValueError(
                f"steps={self.steps} batches of {self.batch} are {self.steps * self.batch} sequences, more than the "
                f"{count} of the data; accepted: one pass over them, or batch=None"
            )
        return Sequences((problem.tokens, problem.labels), self.batch), length, dim, problem.directions

    def _start(self, key: jax.Array, dim: int, directions: Directions | None, init: Any) -> tuple[Any, Any]:
        if init is None:
            if self.init == "manifold" and dim < 3:
                raise ValueError(f"dim={dim} has no manifold start; accepted: dim >= 3, or init='sphere'")
            if directions is None and self.init == "manifold":
                raise ValueError("init='manifold' needs the directions; accepted: 'sphere', or data with directions")
            return start_vectors(key, dim, self.init, directions)
        if not isinstance(init, tuple | list) or len(init) != 2:
            raise ValueError(f"init={init!r} is not a pair; accepted: (query, value), each ({dim},)")
        vectors = []
        for name, vector in zip(("init query", "init value"), init, strict=True):
            vector = unit_vector(name, vector)
            if np.shape(vector) != (dim,):
                raise ValueError(f"{name} has shape {np.shape(vector)}; accepted: ({dim},)")
            vectors.append(jnp.asarray(vector))
        return vectors[0], vectors[1]


class SingleLocationRun(eqx.Module):
    """A trained head: unit `query` k, `value` v, the last inverse temperature, and the path where k*, v* are known.

    `overlaps` holds the path's inner products with the hidden directions, (K,) each, at the steps `at`.
    """

    query: Float[Array, "d"]
    value: Float[Array, "d"]
    inverse_temperature: Any
    overlaps: Overlaps | None
    at: Any
    result: Any

    @float64
    def attention(self, tokens: Any) -> Float[Array, "n L"]:
        """erf(lam X_l.k), the weight of every token. Raises: ValueError for tokens of another shape."""
        tokens = jnp.asarray(tokens)
        if tokens.ndim != 3 or tokens.shape[2:] != np.shape(self.query):
            raise ValueError(f"tokens has shape {tokens.shape}; accepted: (n, L, {np.shape(self.query)[0]})")
        return jax.scipy.special.erf(as_float64(self.inverse_temperature) * (tokens @ jnp.asarray(self.query)))

    @float64
    def output(self, tokens: Any) -> Float[Array, "n"]:
        """sum_l erf(lam X_l.k) X_l.v, the predicted labels."""
        return self.hidden(tokens) @ jnp.asarray(self.value)

    @float64
    def hidden(self, tokens: Any) -> Float[Array, "n d"]:
        """sum_l erf(lam X_l.k) X_l, what the head writes into the probe token."""
        tokens = jnp.asarray(tokens)
        return jnp.einsum("nl,nld->nd", self.attention(tokens), tokens)


@eqx.filter_jit
def _train(
    algorithm: ProjectedDescent, source: Population | Sequences, numbers: Descent, start: tuple[Any, Any], at: Any
) -> tuple[Any, Any]:
    source = jax.tree_util.tree_map(jnp.asarray, source)
    return train_vectors(source, numbers, start, at, algorithm.closed_form, algorithm.batch is None)


def recorded_steps(algorithm: ProjectedDescent, at: Any) -> np.ndarray:
    """The steps of `at`, sorted and checked; 101 of them from 0 to the last when None."""
    if at is None:
        return np.unique(np.round(np.linspace(0, algorithm.steps, RECORDS)).astype(np.int64))
    values = np.atleast_1d(np.asarray(at))
    if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)) or np.any(values != np.round(values)):
        raise ValueError(f"at={at!r} is not a list of steps; accepted: whole numbers from 0 to steps={algorithm.steps}")
    if values.min() < 0 or values.max() > algorithm.steps:
        raise ValueError(f"at={at!r} leaves the run; accepted: whole numbers from 0 to steps={algorithm.steps}")
    return np.unique(values.astype(np.int64))
