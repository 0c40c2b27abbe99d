"""Projected gradient descent of one attention head on the product of two spheres, and with a closed-form value."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.single_location.overlaps import Overlaps
from solvable.attention.single_location.task import Directions, LocatedTokens, SingleLocation, is_foreign, unit_vector
from solvable.attention.single_location.training import Population, Sequences, start_vectors, train_vectors
from solvable.numerics.fields import Checked, real, whole, word
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.recording import recorded_steps
from solvable.numerics.results import Result, is_traced, raise_unless_successful
from solvable.numerics.validation import instance

RECORDS = 101
WEAK = 2.0
NARROW = 3.0  # c = lam s/sqrt(1 + 2 lam^2 gamma^2) above which the query's gradient near k* is below exp(-9)


class ProjectedDescent(Checked):
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

    inverse_temperature: Any = real(0.1, above=0.0)
    learning_rate: Any = real(4e-3, above=0.0)
    steps: int = whole(20000, at_least=1)
    init: str = word("sphere", "manifold")
    decay: Any = real(0.0, at_least=0.0)
    leak_penalty: Any = real(0.0, at_least=0.0)
    batch: int | None = whole(None, at_least=1)
    value: str = word("descent", "closed_form")
    ridge: Any = real(0.0, at_least=0.0)
    proximity: Any = real(0.0, at_least=0.0)

    def __check_init__(self) -> None:
        if is_traced(self.ridge, self.proximity):
            return
        if not self.closed_form and (self.ridge > 0.0 or self.proximity > 0.0):
            raise ValueError(
                f"ridge={self.ridge:g} and proximity={self.proximity:g} are of the closed-form value; accepted: "
                "value='closed_form', or 0"
            )
        if self.batch is None and self.proximity > 0.0:
            raise ValueError(f"proximity={self.proximity:g} needs batches; accepted: 0, or batch=B")
        if self.closed_form and self.batch is not None and self.ridge + self.proximity == 0.0:
            raise ValueError(
                f"batch={self.batch} with a closed-form value and neither ridge nor proximity has no unique value; "
                "accepted: ridge > 0 or proximity > 0"
            )

    @property
    def closed_form(self) -> bool:
        """Whether v is solved for."""
        return self.value == "closed_form"

    @property
    def rule(self) -> ProjectedDescent:
        """One step of it, its numbers as arrays: all numbers of steps share what is compiled for it."""
        return jax.tree_util.tree_map(as_float64, dataclasses.replace(self, steps=1))

    def lam(self, step: Any) -> Any:
        """The inverse temperature lam_0/(1 + decay step), for traced code."""
        return self.inverse_temperature / (1.0 + self.decay * step)

    def inverse_temperatures(self, at: Any) -> Any:
        """lam_t at the steps `at`."""
        return self.lam(np.asarray(at, np.float64))

    def penalty(self, length: Any) -> Any:
        """The weight of (v . sum of the tokens)^2 in the loss, for sequences of `length` tokens."""
        return self.leak_penalty / length**2

    def recorded(self, at: Any) -> np.ndarray:
        """The steps `at` after their check; 101 of them from 0 to the last when None."""
        return recorded_steps(at, self.steps, np.unique(np.round(np.linspace(0, self.steps, RECORDS))))

    @float64
    def train(
        self,
        problem: SingleLocation | LocatedTokens,
        key: jax.Array | None = None,
        *,
        init: tuple[Any, Any] | None = None,
        at: Any = None,
        throw: bool = True,
    ) -> SingleLocationRun:
        """Train one head in d dimensions, from the vectors `init` = (k, v) or from a drawn start.

        `key` draws the start, a task's directions and its batches (None: key 0); a law of the user's own draws them
        inside the compiled loop, by JAX operations. `at`: the steps at which the path is recorded, 0 <= at <= steps
        (None: 101 of them).
        Warns where a task's inverse temperature lam ends outside lam sqrt(d) >= 2 and lam sqrt(L) <= 1 (the regime of
        the paper's Corollary 2), and where it is fixed and so large that the query's gradient vanishes near k*.
        Raises: SolveError, unless throw=False, when a value that is not finite appears; TypeError for what is no
        problem; ValueError for an init of zero length or of another dimension, for init="manifold" with unknown
        directions, for a pass over more sequences than the data hold, and for the population gradient of a law of the
        user's own.
        """
        at = self.recorded(at)
        instance("problem", problem, (SingleLocation, LocatedTokens))
        directions_key, start_key, key = jax.random.split(jax.random.key(0) if key is None else key, 3)
        if isinstance(problem, SingleLocation):
            directions = problem.directions(directions_key)
            self._warn(problem)
        else:
            directions = problem.directions
        start, query, value = self.vectors(problem, directions, start_key, key, init, at)
        finite = jnp.all(jnp.isfinite(query[-1])) & jnp.all(jnp.isfinite(value[-1]))
        result = jnp.where(finite, int(Result.SUCCESSFUL), int(Result.NONFINITE))
        if throw:
            raise_unless_successful(result, "ProjectedDescent.train")
        pairs = (start, (query, value))
        first, path = (None if directions is None else Overlaps.of(*pair, directions) for pair in pairs)
        return SingleLocationRun(query[-1], value[-1], self.inverse_temperatures(at)[-1], path, at, result, first)

    def vectors(
        self, problem: Any, directions: Directions | None, start_key: Any, key: Any, init: Any, at: Any
    ) -> tuple[Any, Any, Any]:
        """The start (k, v), and k and v (K, d) each at the steps `at`."""
        if isinstance(problem, LocatedTokens):
            source, (count, _, dim) = Sequences((problem.tokens, problem.labels), self.batch), problem.tokens.shape
            if self.batch is not None and self.steps * self.batch > count:
                raise ValueError(
                    f"steps={self.steps} batches of {self.batch} are {self.steps * self.batch} sequences, more than "
                    f"the {count} of the data; accepted: one pass over them, or batch=None"
                )
        elif self.batch is not None:
            source, dim = Sequences((problem, directions, key), self.batch), problem.dim
        elif not is_foreign(problem):
            source, dim = Population(problem, directions), problem.dim
        else:
            raise ValueError(
                f"{type(problem).__name__} draws by a sample of its own, and the population gradient is that of "
                "SingleLocation alone; accepted: batch=B, or data that it draws"
            )
        start = self._start(start_key, dim, directions, init)
        return start, *train_vectors(self.rule, source, start, jnp.asarray(at))

    def _start(self, key: jax.Array, dim: int, directions: Directions | None, init: Any) -> tuple[Any, Any]:
        if init is None:
            if self.init == "manifold" and dim < 3:
                raise ValueError(f"dim={dim} has no manifold start; accepted: dim >= 3, or init='sphere'")
            if directions is None and self.init == "manifold":
                raise ValueError("init='manifold' needs the directions; accepted: 'sphere', or data with directions")
            return start_vectors(key, dim, self.init, directions)
        if not isinstance(init, tuple | list) or len(init) != 2:
            raise ValueError(f"init={init!r} is not a pair; accepted: (query, value), each ({dim},)")
        query, value = (jnp.asarray(unit_vector(f"init {name}", one)) for name, one in zip(("query", "value"), init, strict=True))
        if query.shape != (dim,) or value.shape != (dim,):
            raise ValueError(f"init has shapes {query.shape} and {value.shape}; accepted: ({dim},) each")
        return query, value

    def _warn(self, task: SingleLocation) -> None:
        """Warn where the head cannot do well, or the query's gradient vanishes before it arrives."""
        if is_traced(self.inverse_temperature, self.decay, task.signal, task.informative_scale):
            return
        lam = float(self.inverse_temperatures([self.steps])[0])
        sharp = lam * float(task.signal) / math.sqrt(1.0 + 2.0 * lam**2 * float(task.label_variance))
        words = []
        if lam * math.sqrt(task.dim) < WEAK:
            words.append("times sqrt(dim) it is below 2, so that the head hardly tells tokens apart")
        elif lam * math.sqrt(task.length) > 1.0:
            words.append("times sqrt(length) it exceeds 1, so that the noise tokens drown the label")
        if float(self.decay) == 0.0 and sharp > NARROW:
            words.append(f"near k* the query's gradient is below exp(-{sharp**2:.0f}); let it decay")
        for sentence in words:
            warnings.warn(f"inverse_temperature={lam:.3g} at the end: {sentence}", stacklevel=4)


class SingleLocationRun(eqx.Module):
    """A trained head: unit `query` k, `value` v, the last inverse temperature, and the path where k*, v* are known.

    `path` holds the inner products with the hidden directions, (K,) each, at the steps `at`; `start` the first ones.
    """

    query: Float[Array, "d"]
    value: Float[Array, "d"]
    inverse_temperature: Any
    path: Overlaps | None
    at: Any
    result: Any
    start: Overlaps | None = None

    @property
    def overlaps(self) -> Overlaps | None:
        """The path."""
        return self.path

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
