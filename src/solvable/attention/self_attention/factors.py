"""The limit problem in whitened factors: gradient descent on |At Bt^T - Mt|^2 / 2 in the metric of a preconditioner.

With G = E Bt and H = E^T At, E = At Bt^T - Mt, every preconditioner is At -= eta_A G P, Bt -= eta_B Q H R:

    none:   P = Sigma, Q = Sigma, R = Sigma      right: P = I, Q = Sigma, R = I      full: P = Q = R = I
    scaled: P = (Bt^T Bt + damping |Bt|^2)^-1, Q = I, R = (At^T At + damping |At|^2)^-1
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from solvable.attention.self_attention.algorithms import PreconditionedDescent, spectral_factors
from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.population import spectral_norm, symmetric_root, unwhitened, whitened
from solvable.attention.self_attention.task import LinearMap

NONZERO = 1e-9  # of the largest eigenvalue
SETTLED = 1e-20  # of the first excess risk: below it rounding spoils a ratio
REACHED = 1e-10  # of the excess risk of the zero map


def sizes(value: Float[Array, "m d"], score: Float[Array, "d d"]) -> dict[str, Array]:
    """|Bt|_2 and |At^T At - Bt^T Bt|_F of whitened factors."""
    return {"score_norm": spectral_norm(score), "imbalance": jnp.linalg.norm(value.T @ value - score.T @ score)}


def speed(losses: Float[Array, "K"], scale: Float[Array, ""]) -> dict[str, Array]:
    """The ratio of the last two losses above 1e-20 of the first, and the first step below 1e-10 of the scale."""
    count = losses.shape[0]
    steps = jnp.arange(count)
    last = jnp.maximum(jnp.max(jnp.where(losses >= SETTLED * losses[0], steps, 0)), 1)
    iterations = jnp.min(jnp.where(losses <= REACHED * scale, steps, count - 1))
    return {"rate": losses[last] / losses[last - 1], "iterations": iterations.astype(losses.dtype)}


@eqx.filter_jit
def solution(algorithm: PreconditionedDescent, task: LinearMap) -> Parameters:
    """The spectral start of the population, which solves its problem."""
    root, inverse_root = symmetric_root(jnp.asarray(task.covariance))
    goal = jnp.asarray(task.matrix) @ root
    return unwhitened(*_settled(algorithm, goal, *spectral_factors(goal)), inverse_root)


@eqx.filter_jit
def trajectories(algorithm: PreconditionedDescent, task: LinearMap, starts: Parameters) -> dict[str, Array]:
    """The observables over all steps from each start (R, steps + 1), and their speed (R,)."""
    task, starts = jax.tree_util.tree_map(jnp.asarray, (task, starts))
    root, _ = symmetric_root(task.covariance)
    goal = task.matrix @ root

    def measured(value: Array, score: Array) -> dict[str, Array]:
        return {"excess_risk": 0.5 * jnp.sum((value @ score.T - goal) ** 2), **sizes(value, score)}

    def step(factors: tuple[Array, Array], _: None) -> Any:
        value, score = factors
        error = value @ score.T - goal
        in_value, in_score, in_columns = _metric(algorithm, value, score, task.covariance)
        unbalanced = algorithm.balance * (value.T @ value - score.T @ score)
        moved = score - in_score @ (error.T @ value - score @ unbalanced) @ in_columns
        descended = value - (error @ score + value @ unbalanced) @ in_value
        return _settled(algorithm, goal, descended, moved), measured(value, score)

    def one(start: Parameters) -> dict[str, Array]:
        factors = _settled(algorithm, goal, *whitened(start, root))
        ends, path = jax.lax.scan(step, factors, None, length=algorithm.steps)
        path = {name: jnp.append(path[name], last) for name, last in measured(*ends).items()}
        return path | speed(path["excess_risk"], 0.5 * jnp.sum(goal**2))

    return jax.lax.map(one, starts)


@eqx.filter_jit
def local_rates(algorithm: PreconditionedDescent, task: LinearMap, ends: Parameters) -> Float[Array, "R"]:
    """max (1 - lambda)^2 over the nonzero eigenvalues of E -> E Bt (eta_A P) Bt^T + At R At^T E (eta_B Q).

    To first order in E that is what a step subtracts from E. With "full" the penalty of imbalance does not enter: its
    part of a step leaves E alone, as At N Bt^T - At N Bt^T = 0.
    """
    covariance = jnp.asarray(task.covariance)
    root, _ = symmetric_root(covariance)

    def one(end: Parameters) -> Array:
        value, score = whitened(end, root)
        in_value, in_score, in_columns = _metric(algorithm, value, score, covariance)
        rows, columns = value @ in_columns @ value.T, score @ in_value @ score.T
        eye = jnp.eye(rows.shape[0], dtype=rows.dtype)
        operator = jnp.kron(eye, columns) + jnp.kron(rows, in_score)
        found = jnp.linalg.eigvalsh(0.5 * (operator + operator.T))
        return jnp.max(jnp.where(found > NONZERO * found[-1], (1.0 - found) ** 2, 0.0))

    return jax.vmap(one)(jax.tree_util.tree_map(jnp.asarray, ends))


def _metric(algorithm: PreconditionedDescent, value: Array, score: Array, covariance: Array) -> tuple[Array, ...]:
    """eta_A P, eta_B Q and R."""
    rate, eye = algorithm.learning_rate, jnp.eye(score.shape[0], dtype=score.dtype)
    if algorithm.preconditioner == "scaled":
        of_value, of_score = (_inverse(factor, algorithm.damping) for factor in (score, value))
        return rate * of_value, rate * eye, of_score
    rates = rate, rate
    if algorithm.renormalize:
        rates = tuple(rate / spectral_norm(factor) ** 2 for factor in (score, value))
    first = covariance if algorithm.preconditioner == "none" else eye
    middle = eye if algorithm.preconditioner == "full" else covariance
    return rates[0] * first, rates[1] * middle, first


def _settled(algorithm: PreconditionedDescent, goal: Array, value: Array, score: Array) -> tuple[Array, Array]:
    """The factors renormalised, and the value solved for, where the algorithm does so."""
    if algorithm.renormalize:
        gain = spectral_norm(score) * jnp.sqrt(jnp.asarray(score.shape[0] + 2.0))
        value, score = value * gain, score / gain
    if algorithm.value == "closed_form":
        value = goal @ jnp.linalg.pinv(score).T
    return value, score


def _inverse(factor: Array, damping: Any) -> Array:
    square = factor.T @ factor
    eye = jnp.eye(square.shape[0], dtype=square.dtype)
    damped = square + damping * spectral_norm(factor) ** 2 * eye
    sound = jnp.all(jnp.isfinite(damped))
    return jnp.where(sound, jnp.linalg.pinv(jnp.where(sound, damped, eye), rtol=1e-12, hermitian=True), jnp.nan)
