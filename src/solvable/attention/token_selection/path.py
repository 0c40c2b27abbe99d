"""The regularisation path: the least loss within every ball, whose direction tends to the max-margin solution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.token_selection.geometry import power_norm
from solvable.attention.token_selection.gradients import largest_attention, stable_gradients
from solvable.attention.token_selection.max_margin import max_margin
from solvable.attention.token_selection.task import SelectionProblem
from solvable.lab.declare import Result, float64, instance, raise_unless_successful
from solvable.numerics.losses import DecreasingLoss, get_decreasing_loss
from solvable.numerics.validation import floating, number, truth
from solvable.optim.mirror_descent import normalized
from solvable.optim.mirror_map import inverse_mirror_map, mirror_map

FIRST_STEP = 0.3  # of the first round, relative to the radius; a round that does not gain halves it
ROUND = 200
ROUNDS = 100
STATIONARY = 1e-9


class RegularizationPath(eqx.Module):
    """Weights of least loss among |W|_p <= radius: `radii` (K,), `weights` (K, d, d), each (locally) optimal.

    `selected` (K, n) or (K, n, m) and `saturation` (K,) say what the attention is on. `stationarity` (K,) is
    1 - <-G, W>/(|G|_q radius), G the loss gradient: at least 0, and 0 exactly where the optimality conditions hold on
    the sphere. `result` (K,) holds a `Result` code.
    """

    radii: Float[Array, "K"]
    weights: Float[Array, "K d d"]
    selected: Int[Array, "K n"] | Int[Array, "K n m"]
    saturation: Float[Array, "K"]
    stationarity: Float[Array, "K"]
    result: Int[Array, "K"]


@float64
def regularization_path(
    problem: SelectionProblem,
    radii: Sequence[float],
    p: float = 2.0,
    *,
    selected: Any = None,
    loss: str | DecreasingLoss = "logistic",
    throw: bool = True,
) -> RegularizationPath:
    """W(R) = argmin over |W|_p <= R of the loss, for every R of `radii`; W(R)/R tends to a max-margin direction.

    Projected mirror descent: the Bregman projection on the ball is a rescaling. The first radius starts at W = 0, or
    with `selected` at the max-margin direction of those tokens, the others at the previous solution; the loss is not
    convex, so this is one branch of local optima: compare branches by their losses to find the global one. That the
    direction tends to a max-margin one, with a distance like R^-2, is derived here.

    Raises: ValueError for radii that are not positive and increasing, or a selection that nothing separates;
    SolveError, unless throw=False, where the optimality conditions are not met (a minimum inside the ball too).
    """
    instance("problem", problem, (SelectionProblem,))
    p = float(number("p", p, above=1.0))
    found = np.atleast_1d(floating("radii", radii, np.float64))
    if found.ndim != 1 or not found.size or np.any(np.diff(found, prepend=0) <= 0):
        raise ValueError(f"radii={radii!r} is not accepted; accepted: increasing numbers > 0")
    start = np.zeros((problem.tokens.shape[-1],) * 2)
    if selected is not None:
        solution = max_margin(problem, selected, p)
        if solution.result == Result.INFEASIBLE:
            raise ValueError("selected holds tokens that nothing separates from the rest; accepted: another selection")
        start = solution.weights * (found[0] / solution.norm)
    path = traced_path(p, get_decreasing_loss(loss), problem, jnp.asarray(found), jnp.asarray(start))
    if truth("throw", throw):
        raise_unless_successful(path.result, "regularization_path")
    return path


@eqx.filter_jit
def traced_path(p: float, loss: Any, problem: SelectionProblem, radii: Any, start: Any) -> RegularizationPath:
    """The path from `start`, compiled, in float64."""
    problem = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf).astype(jnp.float64), problem)

    def unit_gradient(weights: Any) -> Any:
        return normalized(stable_gradients(problem, weights, problem.decoder, loss).weights.value, p)

    def solve(carry: Any, radius: Any) -> Any:
        weights, previous = carry
        weights = weights * (radius / previous)

        def once(state: Any) -> Any:
            weights, rate, rounds, before = state

            def step(_: Any, weights: Any) -> Any:
                dual = mirror_map(weights, p) - rate * radius ** (p - 1.0) * unit_gradient(weights)
                moved = inverse_mirror_map(dual, p)
                return moved * jnp.minimum(1.0, radius / power_norm(moved, p))

            weights = jax.lax.fori_loop(0, ROUND, step, weights)
            missed = 1.0 + jnp.sum(unit_gradient(weights) * weights) / radius
            return weights, jnp.where(missed < 0.8 * before, rate, 0.5 * rate), rounds + 1, missed

        def going(state: Any) -> Any:
            return (state[2] < ROUNDS) & ~(state[3] < 1e-13)

        first = (weights, jnp.asarray(FIRST_STEP), jnp.asarray(0), jnp.asarray(jnp.inf))
        weights, _, _, stationarity = jax.lax.while_loop(going, once, first)
        code = jnp.where(stationarity < STATIONARY, int(Result.SUCCESSFUL), int(Result.MAX_STEPS))
        found = (weights, *largest_attention(problem, weights), jnp.maximum(stationarity, 0.0), code)
        return (weights, radius), found

    _, found = jax.lax.scan(solve, (start, radii[0]), radii)
    return RegularizationPath(radii, *found)
