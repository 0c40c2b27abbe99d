"""Training as one compiled loop: starts, preconditioners, the recorded steps; on a sequence or on the population."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.population import (
    gradients_of,
    spectral_norm,
    symmetric_root,
    unwhitened,
    whitened,
)
from solvable.attention.self_attention.streaming import attended, loss_and_gradients
from solvable.attention.self_attention.task import LinearMap, RegressionProblem
from solvable.optim.closed_form_head import closed_form_head, closed_form_head_from_moments

if TYPE_CHECKING:
    from solvable.attention.self_attention.algorithms import PreconditionedDescent

CUTOFF = 1e-12  # of the largest eigenvalue: what a pseudo-inverse takes for zero
RIDGE = 1e-12  # of the mean square feature: a solved value layer exists for a score of lower rank too


class Trained(NamedTuple):
    """The losses before every step and after the last one, and the parameters at the recorded steps."""

    losses: Float[Array, "steps+1"]
    path: Parameters


class Source(eqx.Module):
    """Where gradients come from: a sequence, or the population, with the covariance of its tokens and its roots."""

    problem: RegressionProblem | LinearMap
    covariance: Array
    inverse: Array
    root: Array
    inverse_root: Array

    @staticmethod
    def of(problem: RegressionProblem | LinearMap) -> Source:
        """The source of a problem."""
        problem = jax.tree_util.tree_map(jnp.asarray, problem)
        if isinstance(problem, LinearMap):
            covariance = problem.covariance
        else:
            covariance = problem.tokens.T @ problem.tokens / problem.tokens.shape[0]
        root, inverse_root = symmetric_root(covariance)
        return Source(problem, covariance, inverse_root @ inverse_root, root, inverse_root)

    def least_squares(self) -> Float[Array, "m d"]:
        """M, or its least-squares estimate."""
        if isinstance(self.problem, LinearMap):
            return self.problem.matrix
        moment = self.problem.tokens.T @ self.problem.targets / self.problem.tokens.shape[0]
        return (self.inverse @ moment).T

    def gradients(self, params: Parameters) -> tuple[Array, Array, Array]:
        """The loss (the excess loss in the population) and its gradients in A and B."""
        if isinstance(self.problem, LinearMap):
            return gradients_of(params.value, params.score, self.problem.matrix, self.covariance)
        found, of = loss_and_gradients(params.value, params.score, self.problem.tokens, self.problem.targets)
        return found, of.value, of.score

    def solved(self, params: Parameters) -> Parameters:
        """The parameters with the A that is best for their B."""
        if isinstance(self.problem, LinearMap):
            passed = self.covariance @ params.score.T @ self.covariance  # Sigma B^T times the covariance
            gram = passed @ params.score @ self.covariance
            moment = passed @ self.problem.matrix.T
            ridge = RIDGE * jnp.trace(gram) / gram.shape[0]
            weights = closed_form_head_from_moments(0.5 * (gram + gram.T), moment, ridge=ridge)
        else:
            features = attended(params.score, self.problem.tokens, self.problem.tokens)
            ridge = RIDGE * jnp.mean(features * features)
            weights = closed_form_head(features, self.problem.targets, ridge=ridge).weights
        return Parameters(weights.T, params.score)


class Rule(eqx.Module):
    """One step of an algorithm, without the number of steps."""

    preconditioner: str = eqx.field(static=True)
    init: str = eqx.field(static=True)
    renormalize: bool = eqx.field(static=True)
    value: str = eqx.field(static=True)
    learning_rate: Any
    balance: Any
    init_scale: Any
    damping: Any

    @staticmethod
    def of(algorithm: PreconditionedDescent) -> Rule:
        """The step of an algorithm."""
        return Rule(
            algorithm.preconditioner,
            algorithm.init,
            algorithm.renormalize,
            algorithm.value,
            algorithm.learning_rate,
            algorithm.balance,
            algorithm.init_scale,
            algorithm.damping,
        )

    def numbers(self, dtype: Any) -> Rule:
        """With its numbers in this dtype."""
        return jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf).astype(dtype), self)

    def start(self, source: Source, init: Parameters | None, key: jax.Array) -> Parameters:
        """The parameters before the first step."""
        if init is None:
            make = spectral_start if self.init == "spectral" else random_start
            init = make(self, source, key)
        return self.settled(source, init)

    def settled(self, source: Source, params: Parameters) -> Parameters:
        """Renormalised, or with A solved, where the algorithm does so."""
        if self.renormalize:
            dim = source.root.shape[0]
            _, score = whitened(params.value, params.score, source.root)
            gain = spectral_norm(score) * jnp.sqrt(jnp.asarray(dim + 2, score.dtype))
            params = Parameters(params.value * gain, params.score / gain)
        return source.solved(params) if self.value == "closed_form" else params

    def step(self, source: Source, params: Parameters, in_value: Array, in_score: Array) -> Parameters:
        """The parameters after a step along these gradients."""
        value, score = whitened(params.value, params.score, source.root)
        unbalanced = value.T @ value - score.T @ score
        in_value = in_value + self.balance * value @ unbalanced @ source.root
        in_score = in_score - self.balance * source.root @ score @ unbalanced @ source.root
        rates = (self.learning_rate, self.learning_rate)
        if self.preconditioner == "scaled":
            in_value = in_value @ source.inverse_root @ self._damped(score) @ source.inverse_root
            in_score = source.inverse @ in_score @ source.inverse_root @ self._damped(value) @ source.inverse_root
        else:
            if self.renormalize:
                sizes = (spectral_norm(score), spectral_norm(value))
                rates = tuple(self.learning_rate / size**2 for size in sizes)
            if self.preconditioner != "none":
                in_value, in_score = in_value @ source.inverse, in_score @ source.inverse
            if self.preconditioner == "full":
                in_score = source.inverse @ in_score
        moved = params.score - rates[1] * in_score
        if self.value == "closed_form":
            return self.settled(source, Parameters(params.value, moved))
        return self.settled(source, Parameters(params.value - rates[0] * in_value, moved))

    def _damped(self, factor: Array) -> Array:
        """(F^T F + damping |F|_2^2 I)^-1, the pseudo-inverse where the damping is 0."""
        square = factor.T @ factor
        # LAPACK prints a complaint about a matrix that is not finite; what has diverged stays so
        sound = jnp.all(jnp.isfinite(square))
        values, vectors = jnp.linalg.eigh(jnp.where(sound, square, jnp.eye(*square.shape, dtype=square.dtype)))
        values = jnp.where(sound, values, jnp.nan)
        top = values[-1]
        shifted = values + self.damping * top
        kept = ~(shifted <= CUTOFF * top)
        return (vectors * jnp.where(kept, 1.0 / jnp.where(kept, shifted, 1.0), 0.0)[None, :]) @ vectors.T


def spectral_start(rule: Rule, source: Source, key: jax.Array) -> Parameters:
    """At = U s^1/2 and Bt = V s^1/2, of d columns, from the singular values of M S^1/2."""
    del rule, key
    left, values, right = jnp.linalg.svd(source.least_squares() @ source.root, full_matrices=False)
    missing = ((0, 0), (0, source.root.shape[0] - values.shape[0]))
    halves = [jnp.pad(each * jnp.sqrt(values)[None, :], missing) for each in (left, right.T)]
    return Parameters(*unwhitened(halves[0], halves[1], source.inverse_root))


def random_start(rule: Rule, source: Source, key: jax.Array) -> Parameters:
    """At and Bt of independent normals times the scale: the same in whitened coordinates, whatever the covariance."""
    outputs, dim = source.least_squares().shape
    normal = rule.init_scale * jax.random.normal(key, (outputs + dim, dim), source.root.dtype)
    return Parameters(*unwhitened(normal[:outputs], normal[outputs:], source.inverse_root))


def train(
    rule: Rule,
    steps: int,
    problem: RegressionProblem | LinearMap,
    init: Parameters | None,
    key: jax.Array,
    stops: Int[Array, "K"],
) -> Trained:
    """Run the rule for `stops[-1]` steps and record the parameters when `stops` steps (increasing) are done."""
    source = Source.of(problem)
    dtype = source.root.dtype
    rule = rule.numbers(dtype)
    start = rule.start(source, init, key)

    def advance(count: Int[Array, ""], state: tuple[Parameters, Array]) -> tuple[Parameters, Array]:
        params, losses = state
        loss, in_value, in_score = source.gradients(params)
        return rule.step(source, params, in_value, in_score), losses.at[count].set(loss)

    def segment(carry: Any, stop: Int[Array, ""]) -> tuple[Any, Parameters]:
        count, state = carry
        state = jax.lax.fori_loop(count, stop, advance, state)
        return (stop, state), state[0]

    losses = jnp.full((steps + 1,), jnp.nan, dtype)
    # one step more than asked for, whose parameters are dropped: it records the last loss without compiling it again
    stops = jnp.append(stops, stops[-1] + 1)
    (_, (_, losses)), path = jax.lax.scan(segment, (jnp.zeros((), stops.dtype), (start, losses)), stops)
    return Trained(losses, jax.tree_util.tree_map(lambda leaf: leaf[:-1], path))
