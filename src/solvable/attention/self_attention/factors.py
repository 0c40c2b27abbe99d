"""The limit problem in whitened factors: gradient descent on |At Bt^T - Mt|^2 / 2 in the metric of a preconditioner.

With G = E Bt and H = E^T At, E = At Bt^T - Mt, every preconditioner is At -= eta_A G P, Bt -= eta_B Q H R:

    none:   P = Sigma, Q = Sigma, R = Sigma      right: P = I, Q = Sigma, R = I      full: P = Q = R = I
    scaled: P = (Bt^T Bt + damping |Bt|^2)^-1, Q = I, R = (At^T At + damping |At|^2)^-1
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from solvable.attention.self_attention.population import spectral_norm
from solvable.attention.self_attention.simulate import speed

if TYPE_CHECKING:
    from solvable.attention.self_attention.algorithms import PreconditionedDescent

NONZERO = 1e-9  # of the largest eigenvalue


class Metric(eqx.Module):
    """What a step of an algorithm multiplies the whitened gradients with."""

    preconditioner: str = eqx.field(static=True)
    renormalize: bool = eqx.field(static=True)
    closed_form: bool = eqx.field(static=True)
    learning_rate: Any
    balance: Any
    damping: Any

    @staticmethod
    def of(algorithm: PreconditionedDescent) -> Metric:
        """The metric of an algorithm."""
        return Metric(
            algorithm.preconditioner,
            algorithm.renormalize,
            algorithm.value == "closed_form",
            jnp.asarray(algorithm.learning_rate),
            jnp.asarray(algorithm.balance),
            jnp.asarray(algorithm.damping),
        )

    def matrices(self, value: Array, score: Array, covariance: Array) -> tuple[Array, Array, Array]:
        """eta_A P, eta_B Q and R."""
        eye = jnp.eye(score.shape[0], dtype=score.dtype)
        if self.preconditioner == "scaled":
            return self.learning_rate * self._inverse(score), self.learning_rate * eye, self._inverse(value)
        rates = self.learning_rate, self.learning_rate
        if self.renormalize:
            rates = tuple(self.learning_rate / spectral_norm(factor) ** 2 for factor in (score, value))
        first = covariance if self.preconditioner == "none" else eye
        middle = eye if self.preconditioner == "full" else covariance
        return rates[0] * first, rates[1] * middle, first

    def settled(self, goal: Array, value: Array, score: Array) -> tuple[Array, Array]:
        """The factors renormalised, and the value solved for, where the algorithm does so."""
        if self.renormalize:
            gain = spectral_norm(score) * jnp.sqrt(jnp.asarray(score.shape[0] + 2.0))
            value, score = value * gain, score / gain
        if self.closed_form:
            value = goal @ jnp.linalg.pinv(score).T
        return value, score

    def _inverse(self, factor: Array) -> Array:
        square = factor.T @ factor
        eye = jnp.eye(square.shape[0], dtype=square.dtype)
        damped = square + self.damping * spectral_norm(factor) ** 2 * eye
        sound = jnp.all(jnp.isfinite(damped))
        return jnp.where(sound, jnp.linalg.pinv(jnp.where(sound, damped, eye), rtol=1e-12, hermitian=True), jnp.nan)


def factorised(
    metric: Metric, steps: int, goal: Array, covariance: Array, value: Array, score: Array
) -> dict[str, Any]:
    """The observables of `steps` steps from these factors, each (steps + 1,), and their speed."""

    def measured(value: Array, score: Array) -> dict[str, Array]:
        return {
            "excess": 0.5 * jnp.sum((value @ score.T - goal) ** 2),
            "score_norm": spectral_norm(score),
            "imbalance": jnp.linalg.norm(value.T @ value - score.T @ score),
        }

    def step(factors: tuple[Array, Array], _: None) -> Any:
        value, score = factors
        error = value @ score.T - goal
        in_value, in_score, in_columns = metric.matrices(value, score, covariance)
        unbalanced = metric.balance * (value.T @ value - score.T @ score)
        moved = score - in_score @ (error.T @ value - score @ unbalanced) @ in_columns
        if metric.closed_form:
            return metric.settled(goal, value, moved), measured(value, score)
        descended = value - (error @ score + value @ unbalanced) @ in_value
        return metric.settled(goal, descended, moved), measured(value, score)

    ends, path = jax.lax.scan(step, metric.settled(goal, value, score), None, length=steps)
    path = {name: jnp.append(path[name], last) for name, last in measured(*ends).items()}
    return path | {"speed": speed(path["excess"], 0.5 * jnp.sum(goal**2))}


@eqx.filter_jit
def local_rates(
    metric: Metric, values: Float[Array, "R m d"], scores: Float[Array, "R d d"], covariance: Float[Array, "d d"]
) -> Float[Array, "R"]:
    """max (1 - lambda)^2 over the nonzero eigenvalues of E -> E Bt (eta_A P) Bt^T + At R At^T E (eta_B Q).

    To first order in E that is what a step subtracts from E. With "full" the penalty of imbalance does not enter: its
    part of a step leaves E alone, as At N Bt^T - At N Bt^T = 0.
    """

    def one(value: Array, score: Array) -> Array:
        in_value, in_score, in_columns = metric.matrices(value, score, covariance)
        rows, columns = value @ in_columns @ value.T, score @ in_value @ score.T
        eye = jnp.eye(rows.shape[0], dtype=rows.dtype)
        operator = jnp.kron(eye, columns) + jnp.kron(rows, in_score)
        found = jnp.linalg.eigvalsh(0.5 * (operator + operator.T))
        return jnp.max(jnp.where(found > NONZERO * found[-1], (1.0 - found) ** 2, 0.0))

    return jax.vmap(one)(values, scores)


def spectral_factors(goal: Array) -> tuple[Array, Array]:
    """U s^1/2 and V s^1/2 with d columns, of the singular values s of Mt."""
    left, values, right = jnp.linalg.svd(jnp.asarray(goal), full_matrices=False)
    missing = ((0, 0), (0, goal.shape[1] - values.shape[0]))
    value, score = (jnp.pad(each * jnp.sqrt(values)[None, :], missing) for each in (left, right.T))
    return value, score
