"""Mirror descent as one compiled loop: the dual variables, the three step rules, the recorded steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from solvable.attention.token_selection.geometry import power_norm
from solvable.attention.token_selection.gradients import Scaled, autodiff_gradients, excess_loss, stable_gradients
from solvable.attention.token_selection.task import SelectionProblem, first_largest
from solvable.numerics.losses import DecreasingLoss
from solvable.optim.mirror_descent import normalized
from solvable.optim.mirror_map import inverse_mirror_map, mirror_map

AUTHORS_EPSILON = 2.220446049250313e-16  # the machine epsilon that the authors' code adds to the gradient's norm


class Parameters(NamedTuple):
    """What is trained: W or its factors K and Q with W = K Q^T, and the decoder (None: kept as the problem has it)."""

    weights: Any
    key_matrix: Any
    query_matrix: Any
    decoder: Any

    def product(self) -> Float[Array, "d d"]:
        """W."""
        if self.weights is not None:
            return self.weights
        return self.key_matrix @ self.query_matrix.T


class Rule(eqx.Module):
    """One step of an algorithm, without the number of steps, on which the compiled loop does not depend."""

    p: float = eqx.field(static=True)
    step: str = eqx.field(static=True)
    gradient: str = eqx.field(static=True)
    learning_rate: Any
    polyak_constant: Any
    loss: DecreasingLoss

    def gradients(self, problem: SelectionProblem, parameters: Parameters) -> Parameters:
        """The scaled gradient of every trained tensor, in the place of the tensor."""
        decoder = problem.decoder if parameters.decoder is None else parameters.decoder
        differentiate = stable_gradients if self.gradient == "stable" else autodiff_gradients
        found = differentiate(problem, parameters.product(), decoder, self.loss)
        value, scale = found.weights
        in_decoder = None if parameters.decoder is None else found.decoder
        if parameters.weights is not None:
            return Parameters(found.weights, None, None, in_decoder)
        in_key = Scaled(value @ parameters.query_matrix, scale)
        in_query = Scaled(value.T @ parameters.key_matrix, scale)
        return Parameters(None, in_key, in_query, in_decoder)

    def rate(self, count: Int[Array, ""], dtype: Any) -> Float[Array, ""]:
        """The learning rate of the step with this number, the first being 0."""
        value = self.learning_rate(count) if callable(self.learning_rate) else self.learning_rate
        return jnp.asarray(value).astype(dtype)

    def displacement(self, scaled: Scaled, rate: Float[Array, ""], excess: Scaled | None) -> Float[Array, "..."]:
        """What a step subtracts from the dual variable of one tensor."""
        gradient, log_scale = scaled
        if self.step == "fixed":
            return rate * jnp.exp(log_scale) * gradient
        if excess is not None:
            # (L - L*) / (c |G|^2) G, in which the scales of L - L* and G cancel but for their difference
            square = jnp.sum(gradient * gradient) * jnp.asarray(self.polyak_constant).astype(gradient.dtype)
            ratio = jnp.exp(excess.log_scale - log_scale) * excess.value
            return ratio / jnp.where(square > 0.0, square, 1.0) * gradient  # a zero gradient moves nothing
        if self.gradient == "authors":
            norm = power_norm(gradient, self.p / (self.p - 1.0))
            return rate * gradient / (norm + jnp.asarray(AUTHORS_EPSILON, norm.dtype))
        return rate * normalized(gradient, self.p)


class Trained(NamedTuple):
    """The recorded parameters, the first axis being the recorded steps, and how the run went."""

    path: Parameters
    moves: Bool[Array, ""]
    finite: Bool[Array, ""]


def train(rule: Rule, problem: SelectionProblem, start: Parameters, stops: Int[Array, "K"]) -> Trained:
    """Run the rule from `start` and record the parameters when `stops` steps (increasing) are done."""
    dtype = problem.tokens.dtype
    best = first_largest(problem.scores()) if rule.step == "polyak" else None

    def advance(count: Int[Array, ""], state: tuple[Parameters, Parameters]) -> tuple[Parameters, Parameters]:
        parameters, dual = state
        gradients = rule.gradients(problem, parameters)
        rate = rule.rate(count, dtype) if rule.step != "polyak" else jnp.ones((), dtype)
        excess = None if best is None else excess_loss(problem, parameters.product(), best, rule.loss)
        moved = [
            None if variable is None else variable - rule.displacement(gradient, rate, excess)
            for variable, gradient in zip(dual, gradients, strict=True)
        ]
        return _primal(moved, rule.p), Parameters(*moved)

    def segment(carry: Any, stop: Int[Array, ""]) -> tuple[Any, Parameters]:
        count, state = carry
        state = jax.lax.fori_loop(count, stop, advance, state)
        return (stop, state), state[0]

    dual = Parameters(*(None if value is None else mirror_map(value, rule.p) for value in start))
    first = rule.gradients(problem, start)
    moves = jnp.stack([jnp.any(gradient.value != 0.0) for gradient in first if gradient is not None]).any()
    (_, (last, _)), path = jax.lax.scan(segment, (jnp.zeros((), stops.dtype), (start, dual)), stops)
    finite = jnp.stack([jnp.all(jnp.isfinite(value)) for value in last if value is not None]).all()
    return Trained(path, moves, finite)


def _primal(dual: Any, p: float) -> Parameters:
    return Parameters(*(None if variable is None else inverse_mirror_map(variable, p) for variable in dual))
