"""Projected gradient descent of one attention head on the product of two spheres, and with a closed-form value.

The descent is that of the vectors, in d dimensions: on the population risk, on fresh batches, or on a data set.
"""

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

from solvable.attention.single_location.risk import Overlaps, closed_form_value, law, risk
from solvable.attention.single_location.task import Directions, LocatedTokens, SingleLocation, is_foreign, unit_vector
from solvable.numerics.fields import Checked, real, whole, word
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.recording import recorded, recorded_steps
from solvable.numerics.results import Result, is_traced, raise_unless_successful
from solvable.numerics.validation import instance
from solvable.optim.closed_form_head import closed_form_head_from_moments

Problem = SingleLocation | LocatedTokens
Pair = tuple[Any, Any]  # k and v, each (d,)

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

    def inverse_temperatures(self, at: Any) -> Any:
        """lam_t = lam_0/(1 + decay t) at the steps `at`."""
        steps = at.astype(jnp.float64) if is_traced(at) else np.asarray(at, np.float64)
        return self.inverse_temperature / (1.0 + self.decay * steps)

    def penalty(self, length: Any) -> Any:
        """The weight of (v . sum of the tokens)^2 in the loss, for sequences of `length` tokens."""
        return self.leak_penalty / length**2

    def recorded(self, at: Any) -> np.ndarray:
        """The steps `at` after their check; 101 of them from 0 to the last when None."""
        return recorded_steps(at, self.steps, np.unique(np.round(np.linspace(0, self.steps, RECORDS))))

    @float64
    def train(
        self, problem: Problem, key: jax.Array | None = None, *, init: Any = None, at: Any = None, throw: bool = True
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
        is_law = isinstance(problem, SingleLocation)
        directions = problem.directions(directions_key) if is_law else problem.directions
        start, path = self.vectors(problem, directions, start_key, key, init, at)
        if is_law:
            self._warn(problem)
        query, value = (vectors[-1] for vectors in path)
        finite = jnp.all(jnp.isfinite(query)) & jnp.all(jnp.isfinite(value))
        result = jnp.where(finite, int(Result.SUCCESSFUL), int(Result.NONFINITE))
        if throw:
            raise_unless_successful(result, "ProjectedDescent.train")
        first, every = (None if directions is None else Overlaps.of(*pair, directions) for pair in (start, path))
        return SingleLocationRun(query, value, self.inverse_temperatures(at)[-1], every, at, result, first)

    def vectors(
        self, problem: Any, directions: Directions | None, start_key: Any, key: Any, init: Any, at: Any
    ) -> tuple[Pair, Pair]:
        """The start k and v (d,), and k and v at the steps `at`, (K, d) each."""
        if isinstance(problem, LocatedTokens):
            source, (count, _, dim) = Sequences((problem.tokens, problem.labels), self.batch), problem.tokens.shape
            if self.batch is not None and self.steps * self.batch > count:
                raise ValueError(
                    f"steps={self.steps} batches of {self.batch} are {self.steps * self.batch} sequences, more than "
                    f"the {count} of the data; accepted: one pass over them, or batch=None"
                )
        elif self.batch is not None:
            source, dim = Sequences((problem, directions, key), self.batch), problem.dim
        elif directions is not None and not is_foreign(problem):
            source, dim = Population(problem, directions), problem.dim
        else:
            raise ValueError(
                f"{type(problem).__name__} draws by a sample of its own, and the population gradient is that of "
                "SingleLocation alone; accepted: batch=B, or data that it draws"
            )
        if init is None:
            start = start_vectors(start_key, dim, self.init, directions)
        elif not isinstance(init, tuple | list) or len(init) != 2:
            raise ValueError(f"init={init!r} is not a pair; accepted: (query, value), each ({dim},)")
        else:
            start = unit_vector("init query", init[0]), unit_vector("init value", init[1])
            if np.shape(start[0]) != (dim,) or np.shape(start[1]) != (dim,):
                shapes = f"{np.shape(start[0])} and {np.shape(start[1])}"
                raise ValueError(f"init has the shapes {shapes}; accepted: ({dim},) each")
        return start, train_vectors(self.rule, source, start, jnp.asarray(at))

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
            warnings.warn(f"inverse_temperature={lam:.3g} at the end: {sentence}", stacklevel=6)


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


class Population(eqx.Module):
    """The expected loss: nothing is drawn."""

    task: SingleLocation
    directions: Directions

    def draw(self, number: Any) -> Any:
        """Nothing."""

    def loss(self, algorithm: ProjectedDescent, pair: Pair, drawn: Any, lam: Any) -> Any:
        """The excess risk of k and v plus the expected penalty."""
        numbers, value = law(self.task), pair[1]
        leak = numbers.signal * (value @ self.directions.query)
        tokens = leak**2 + (numbers.variance + numbers.noise_tokens) * (value @ value)
        return risk(numbers, inner_products(pair, self.directions), lam) + algorithm.penalty(self.task.length) * tokens

    def solve(self, algorithm: ProjectedDescent, pair: Pair, drawn: Any, lam: Any) -> Any:
        """The closed-form value (d,), in the span of k*, v* and k."""
        numbers, location, label = law(self.task), self.directions.query, self.directions.value
        kappa, eta = pair[0] @ location, pair[0] @ label
        o = closed_form_value(numbers, kappa, eta, lam, algorithm.penalty(self.task.length), algorithm.ridge)
        left = 1.0 - kappa * kappa - eta * eta
        along = (o.coupling - kappa * o.value_leak - eta * o.value_alignment) / jnp.where(left > 0.0, left, 1.0)
        rest = pair[0] - kappa * location - eta * label
        return o.value_leak * location + o.value_alignment * label + along * rest


class Sequences(eqx.Module):
    """The mean loss of sequences: all rows of a data set, its batches in one pass, or fresh batches of a task."""

    source: Any  # (tokens, labels), or (task, directions, key)
    batch: int | None = eqx.field(static=True)

    def draw(self, number: Any) -> Any:
        """The tokens (B, L, d) and labels (B,) of a step."""
        if len(self.source) == 3:
            task, directions, key = self.source
            return fresh_batch(task, directions, self.batch or 1, jax.random.fold_in(key, number))
        tokens, labels = self.source
        if self.batch is None:
            return tokens, labels
        rows = number * self.batch + jnp.arange(self.batch)
        return tokens[rows], labels[rows]

    def loss(self, algorithm: ProjectedDescent, pair: Pair, drawn: Any, lam: Any) -> Any:
        """Mean squared error plus the mean penalty, penalty (v . sum of the tokens)^2."""
        (query, value), (tokens, labels) = pair, drawn
        scores = tokens @ value
        output = jnp.sum(jax.scipy.special.erf(lam * (tokens @ query)) * scores, axis=1)
        penalty = algorithm.penalty(tokens.shape[1])
        return jnp.mean((output - labels) ** 2 + penalty * jnp.sum(scores, axis=1) ** 2)

    def solve(self, algorithm: ProjectedDescent, pair: Pair, drawn: Any, lam: Any) -> Any:
        """The value of the least loss for this query, with the ridge and the pull to the old value."""
        tokens, labels = drawn
        outputs, sums = hidden(tokens, pair[0], lam), jnp.sum(tokens, axis=1)
        count = jnp.asarray(tokens.shape[0], tokens.dtype)
        gram = (outputs.T @ outputs + algorithm.penalty(tokens.shape[1]) * (sums.T @ sums)) / count
        return closed_form_head_from_moments(
            gram, outputs.T @ labels / count, ridge=algorithm.ridge, proximity=algorithm.proximity, previous=pair[1]
        )


def fresh_batch(task: SingleLocation, directions: Directions, batch: int, key: jax.Array) -> Pair:
    """Tokens (B, L, d) and labels (B,), the informative token first: the head does not see the order.

    A law of the user's own is asked for them.
    """
    if is_foreign(task):
        data = task.sample(key, batch, directions)
        return jnp.asarray(data.tokens), jnp.asarray(data.labels)
    size = batch * task.length * task.dim
    normal = jax.random.normal(key, (size + batch,), jnp.float64)
    tokens = normal[:size].reshape(batch, task.length, task.dim)
    first = task.informative_scale * tokens[:, 0] + task.signal * directions.query[None, :]
    labels = first @ directions.value + task.label_noise * normal[size:]
    return jnp.concatenate([first[:, None], tokens[:, 1:]], axis=1), labels


@eqx.filter_jit
def train_vectors(algorithm: ProjectedDescent, source: Population | Sequences, start: Pair, at: Any) -> Pair:
    """k and v at the steps `at`, (K, d) each; without batches every step sees the same loss.

    A closed-form value of a whole loss is solved before each step of the query. On batches the query moves first, and
    the value is then solved on the same batch, with a pull to the old one (arXiv:2510.04606).
    """
    closed_form, whole = algorithm.closed_form, algorithm.batch is None

    def step(number: Any, pair: Pair) -> Pair:
        lam, drawn = algorithm.inverse_temperatures(number), source.draw(number)
        if closed_form and whole:
            pair = (pair[0], source.solve(algorithm, pair, drawn, lam))
        gradient = jax.grad(source.loss, 1)(algorithm, pair, drawn, lam)
        query = on_sphere(pair[0], gradient[0], algorithm.learning_rate)
        if not closed_form:
            return query, on_sphere(pair[1], gradient[1], algorithm.learning_rate)
        return query, pair[1] if whole else source.solve(algorithm, (query, pair[1]), drawn, lam)

    _, (query, value) = recorded(step, start, at)
    if closed_form and whole:  # the value that belongs to each recorded query
        drawn, lam = source.draw(0), algorithm.inverse_temperatures(at)
        value = jax.lax.map(lambda row: source.solve(algorithm, row[:2], drawn, row[2]), (query, value, lam))
    return query, value


def on_sphere(vector: Any, gradient: Any, rate: Any) -> Any:
    """One projected step: along the tangent, then back to length 1."""
    moved = vector - rate * (gradient - (vector @ gradient) * vector)
    return moved / jnp.sqrt(moved @ moved)


def hidden(tokens: Any, query: Any, lam: Any) -> Any:
    """sum_l erf(lam X_l.k) X_l, (n, d): the head's output is hidden . v."""
    return jnp.einsum("nl,nld->nd", jax.scipy.special.erf(lam * (tokens @ query)), tokens)


def inner_products(pair: Pair, directions: Directions) -> Overlaps:
    """The overlaps of a unit query and a value by inner products alone: the gradient is that of free vectors."""
    query, value = pair
    square = value @ value
    norm = jnp.where(square > 0.0, jnp.sqrt(jnp.where(square > 0.0, square, 1.0)), 0.0)  # no NaN in the gradient at 0
    location, label = directions.query, directions.value
    return Overlaps(query @ location, value @ label, value @ location, query @ label, query @ value, norm)


def start_vectors(key: jax.Array, dim: int, init: str, directions: Directions | None) -> Pair:
    """k and v (d,): uniform on the sphere, or uniform with eta = 0 and theta = rho = 0.

    Raises: ValueError for the manifold in two dimensions, or with unknown directions.
    """
    query, value = jax.random.normal(key, (2, dim), jnp.float64)
    if init == "manifold":
        if dim < 3:
            raise ValueError(f"dim={dim} has no manifold start; accepted: dim >= 3, or init='sphere'")
        if directions is None:
            raise ValueError("init='manifold' needs the directions; accepted: 'sphere', or data with directions")
        location, label = jnp.asarray(directions.query), jnp.asarray(directions.value)
        query = query - (query @ label) * label
        query = query / jnp.linalg.norm(query)
        for _ in range(2):  # the second turn removes the rounding of the first
            value = value - (value @ location) * location
            rest = query - (query @ location) * location
            value = value - (value @ rest) * rest / (rest @ rest)
    return query / jnp.linalg.norm(query), value / jnp.linalg.norm(value)
