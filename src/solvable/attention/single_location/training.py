"""Projected descent on the vectors themselves, in d dimensions: population risk, fresh batches, or a data set."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from solvable.attention.single_location.overlaps import Overlaps
from solvable.attention.single_location.population import Descent, closed_form_value, recorded
from solvable.attention.single_location.risk import law, risk
from solvable.attention.single_location.task import Directions, SingleLocation
from solvable.optim.closed_form_head import closed_form_head_from_moments

Pair = tuple[Any, Any]  # k and v, each (d,)


class Population(eqx.Module):
    """The expected loss: nothing is drawn."""

    task: SingleLocation
    directions: Directions

    def draw(self, number: Any) -> Any:
        """Nothing."""

    def loss(self, pair: Pair, drawn: Any, lam: Any, descent: Descent) -> Any:
        """The excess risk of k and v plus the expected penalty."""
        numbers, value = law(self.task), pair[1]
        leak = numbers.signal * (value @ self.directions.query)
        tokens = leak**2 + (numbers.variance + numbers.noise_tokens) * (value @ value)
        return risk(numbers, inner_products(pair, self.directions), lam) + descent.penalty * tokens

    def solve(self, pair: Pair, drawn: Any, lam: Any, descent: Descent) -> Any:
        """The closed-form value (d,), in the span of k*, v* and k."""
        location, label = self.directions.query, self.directions.value
        kappa, eta = pair[0] @ location, pair[0] @ label
        o = closed_form_value(law(self.task), descent, kappa, eta, lam)
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
            return fresh_batch(task, directions, self.batch, jax.random.fold_in(key, number))
        tokens, labels = self.source
        if self.batch is None:
            return tokens, labels
        rows = number * self.batch + jnp.arange(self.batch)
        return tokens[rows], labels[rows]

    def loss(self, pair: Pair, drawn: Any, lam: Any, descent: Descent) -> Any:
        """Mean squared error plus the mean penalty, penalty (v . sum of the tokens)^2."""
        (query, value), (tokens, labels) = pair, drawn
        scores = tokens @ value
        output = jnp.sum(jax.scipy.special.erf(lam * (tokens @ query)) * scores, axis=1)
        return jnp.mean((output - labels) ** 2 + descent.penalty * jnp.sum(scores, axis=1) ** 2)

    def solve(self, pair: Pair, drawn: Any, lam: Any, descent: Descent) -> Any:
        """The value of the least loss for this query, with the ridge and the pull to the old value."""
        tokens, labels = drawn
        outputs, sums = hidden(tokens, pair[0], lam), jnp.sum(tokens, axis=1)
        count = jnp.asarray(tokens.shape[0], tokens.dtype)
        gram = (outputs.T @ outputs + descent.penalty * (sums.T @ sums)) / count
        return closed_form_head_from_moments(
            gram, outputs.T @ labels / count, ridge=descent.ridge, proximity=descent.proximity, previous=pair[1]
        )


def train_vectors(
    source: Population | Sequences, descent: Descent, start: Pair, at: Any, closed_form: bool, whole: bool
) -> Pair:
    """k and v at the steps `at`, (K, d) each; `whole`: every step sees the same loss (no batches).

    A closed-form value of a whole loss is solved before each step of the query. On batches the query moves first, and
    the value is then solved on the same batch, with a pull to the old one (arXiv:2510.04606).
    """

    def step(pair: Pair, number: Any) -> Pair:
        lam, drawn = descent.lam(number.astype(jnp.float64)), source.draw(number)
        if closed_form and whole:
            pair = (pair[0], source.solve(pair, drawn, lam, descent))
        gradient = jax.grad(source.loss)(pair, drawn, lam, descent)
        query = on_sphere(pair[0], gradient[0], descent.learning_rate)
        if not closed_form:
            return query, on_sphere(pair[1], gradient[1], descent.learning_rate)
        return query, pair[1] if whole else source.solve((query, pair[1]), drawn, lam, descent)

    query, value = recorded(step, start, at)
    if closed_form and whole:  # the value that belongs to each recorded query
        drawn, lam = source.draw(jnp.zeros((), at.dtype)), descent.lam(at.astype(jnp.float64))
        value = jax.lax.map(lambda row: source.solve((row[0], row[1]), drawn, row[2], descent), (query, value, lam))
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
    return Overlaps(
        query_alignment=query @ directions.query,
        value_alignment=value @ directions.value,
        value_leak=value @ directions.query,
        query_leak=query @ directions.value,
        coupling=query @ value,
        value_norm=norm,
    )


def fresh_batch(task: SingleLocation, directions: Directions, batch: int | None, key: jax.Array) -> Pair:
    """Tokens (B, L, d) and labels (B,), the informative token first: the head does not see the order."""
    count = 1 if batch is None else batch
    size = count * task.length * task.dim
    normal = jax.random.normal(key, (size + count,), jnp.float64)
    tokens = normal[:size].reshape(count, task.length, task.dim)
    first = task.informative_scale * tokens[:, 0] + task.signal * directions.query[None, :]
    labels = first @ directions.value + task.label_noise * normal[size:]
    return jnp.concatenate([first[:, None], tokens[:, 1:]], axis=1), labels
