"""Projected descent on the vectors themselves, in d dimensions: population risk, fresh batches, or a data set.

The algorithm of these functions is a `ProjectedDescent`, whose file imports this one.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from solvable.attention.single_location.overlaps import Overlaps
from solvable.attention.single_location.risk import closed_form_value, law, risk
from solvable.attention.single_location.task import Directions, SingleLocation, is_foreign
from solvable.numerics.recording import recorded
from solvable.optim.closed_form_head import closed_form_head_from_moments

Pair = tuple[Any, Any]  # k and v, each (d,)


class Population(eqx.Module):
    """The expected loss: nothing is drawn."""

    task: SingleLocation
    directions: Directions

    def draw(self, number: Any) -> Any:
        """Nothing."""

    def loss(self, algorithm: Any, pair: Pair, drawn: Any, lam: Any) -> Any:
        """The excess risk of k and v plus the expected penalty."""
        numbers, value = law(self.task), pair[1]
        leak = numbers.signal * (value @ self.directions.query)
        tokens = leak**2 + (numbers.variance + numbers.noise_tokens) * (value @ value)
        return risk(numbers, inner_products(pair, self.directions), lam) + algorithm.penalty(self.task.length) * tokens

    def solve(self, algorithm: Any, pair: Pair, drawn: Any, lam: Any) -> Any:
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

    def loss(self, algorithm: Any, pair: Pair, drawn: Any, lam: Any) -> Any:
        """Mean squared error plus the mean penalty, penalty (v . sum of the tokens)^2."""
        (query, value), (tokens, labels) = pair, drawn
        scores = tokens @ value
        output = jnp.sum(jax.scipy.special.erf(lam * (tokens @ query)) * scores, axis=1)
        penalty = algorithm.penalty(tokens.shape[1])
        return jnp.mean((output - labels) ** 2 + penalty * jnp.sum(scores, axis=1) ** 2)

    def solve(self, algorithm: Any, pair: Pair, drawn: Any, lam: Any) -> Any:
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
def train_vectors(algorithm: Any, source: Population | Sequences, start: Pair, at: Any) -> Pair:
    """k and v at the steps `at`, (K, d) each; without batches every step sees the same loss.

    A closed-form value of a whole loss is solved before each step of the query. On batches the query moves first, and
    the value is then solved on the same batch, with a pull to the old one (arXiv:2510.04606).
    """
    closed_form, whole = algorithm.closed_form, algorithm.batch is None

    def step(number: Any, pair: Pair) -> Pair:
        lam, drawn = algorithm.lam(number.astype(jnp.float64)), source.draw(number)
        if closed_form and whole:
            pair = (pair[0], source.solve(algorithm, pair, drawn, lam))
        gradient = jax.grad(source.loss, 1)(algorithm, pair, drawn, lam)
        query = on_sphere(pair[0], gradient[0], algorithm.learning_rate)
        if not closed_form:
            return query, on_sphere(pair[1], gradient[1], algorithm.learning_rate)
        return query, pair[1] if whole else source.solve(algorithm, (query, pair[1]), drawn, lam)

    _, (query, value) = recorded(step, start, at)
    if closed_form and whole:  # the value that belongs to each recorded query
        drawn, lam = source.draw(jnp.zeros((), at.dtype)), algorithm.lam(at.astype(jnp.float64))
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
    """k and v (d,): uniform on the sphere, or uniform with eta = 0 and theta = rho = 0."""
    query, value = jax.random.normal(key, (2, dim), jnp.float64)
    if init == "manifold":
        assert directions is not None
        location, label = jnp.asarray(directions.query), jnp.asarray(directions.value)
        query = query - (query @ label) * label
        query = query / jnp.linalg.norm(query)
        for _ in range(2):  # the second turn removes the rounding of the first
            value = value - (value @ location) * location
            rest = query - (query @ location) * location
            value = value - (value @ rest) * rest / (rest @ rest)
    return query / jnp.linalg.norm(query), value / jnp.linalg.norm(value)
