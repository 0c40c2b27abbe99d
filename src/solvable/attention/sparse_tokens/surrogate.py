"""The training objective profiled over the orthogonal weights, and the scalar variational problem that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.algorithms import FixedQueryAttention
from solvable.attention.sparse_tokens.equations import (
    FINE_TURNS,
    TOLERANCE,
    Equations,
    coarse_solution,
    solve,
    training_loss,
)
from solvable.attention.sparse_tokens.features import Quadrature, attention_features
from solvable.attention.sparse_tokens.samplers import attention_design
from solvable.attention.sparse_tokens.task import SparseTokens
from solvable.lab.outcome import AnyArray, Outcome
from solvable.numerics.erm import ridge_erm
from solvable.numerics.newton import newton
from solvable.numerics.precision import as_float64, batched_map, float64
from solvable.numerics.results import Result

RULE = Quadrature(points=2**13, scramblings=1)
POINTS_A_SIDE = 3
STARTS = 24


class SurrogateOutcome(Outcome):
    """What `predict_surrogate` and `simulate_surrogate` return.

    `objective` (27 grid points) profiled training objective; `uniform_gap` its largest distance to the scalar problem
    over the grid; `solution_spread` the largest distance between solutions found from 24 random starts.
    """

    objective: Float[AnyArray, "..."]
    uniform_gap: Float[AnyArray, "..."]
    solution_spread: Float[AnyArray, "..."]

    observables: ClassVar[tuple[str, ...]] = ("objective", "uniform_gap", "solution_spread")
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"objective": ("point",)}


class ProfileEquations(eqx.Module):
    """The two equations left when (w1, w2, b) are held.

    The unknowns are (log t, log chi), t the norm of the orthogonal weights.
    """

    equations: Equations
    held: Float[Array, "3"]

    def full(self, x: Float[Array, "2"]) -> Float[Array, "5"]:
        """The five unknowns of `Equations`."""
        log_tau = 0.5 * jnp.log(self.held[1] ** 2 + jnp.exp(2.0 * x[0]))
        return jnp.concatenate([self.held, log_tau[None], x[1][None]])

    def residual(self, x: Float[Array, "2"]) -> Float[Array, "2"]:
        """alpha chi (ridge + E[r G p]/tau) = 1 and t^2 = alpha chi^2 E[r^2 p^2], as logarithms of ratios."""
        e, f = self.equations, self.equations.features
        full = self.full(x)
        m = e.loss.prox_moments(*e.scores(full), f.shift)
        reach = f.mean(f.scale * m.slope_g) * jnp.exp(-full[3])
        energy = f.mean(f.scale**2 * m.slope_sq)
        return jnp.stack([jnp.log(e.ratio * (e.ridge + reach)) + x[1], jnp.log(e.ratio * energy) + 2.0 * (x[1] - x[0])])

    def residual_and_jacobian(self, x: Float[Array, "2"]) -> tuple[Float[Array, "2"], Float[Array, "2 2"]]:
        """The residual and its derivative."""
        return self.residual(x), jax.jacfwd(self.residual)(x)

    def scale(self, x: Float[Array, "2"]) -> Float[Array, "2"]:
        """The residual is relative as it is."""
        return jnp.ones_like(x)

    def reach(self, x: Float[Array, "2"]) -> Float[Array, "2"]:
        """How far one Newton step may move each unknown."""
        return jnp.full_like(x, 2.0)

    def value(self, x: Float[Array, "2"]) -> Float[Array, ""]:
        """The objective at the saddle, where two terms cancel: E loss(prox) + (ridge/2)(w1^2 + w2^2 + t^2)."""
        squares = self.held[0] ** 2 + self.held[1] ** 2 + jnp.exp(2.0 * x[0])
        return training_loss(self.equations, self.full(x)) + 0.5 * self.equations.ridge * squares


@float64
def predict_surrogate(
    task: SparseTokens, algorithm: FixedQueryAttention, /, *, ratio: Any, radius: Any = 0.5
) -> SurrogateOutcome:
    """The scalar problem on the grid; see `simulate_surrogate` for the grid.

    min over t, max over chi of E[Moreau envelope, width chi r^2, of the loss at w1 A + w2 kappa c + b + r tau G]
    - t^2/(2 ratio chi) + (ridge/2)(w1^2 + w2^2 + t^2), tau^2 = w2^2 + t^2. arXiv:2509.25153 claims the asymptotic
    equivalence, uniform on compact sets, and uniqueness; this form of the scalar problem is derived here.
    """
    values, residual = _scalar_problem(task, algorithm, as_float64(ratio), as_float64(radius), RULE.bags(task.length))
    code = jnp.where(residual < 1e-7, int(Result.SUCCESSFUL), int(Result.MAX_STEPS))
    return SurrogateOutcome(code, {"residual": residual}, values, jnp.zeros(()), jnp.zeros(()))


@float64
def simulate_surrogate(
    task: SparseTokens,
    algorithm: FixedQueryAttention,
    /,
    *,
    ratio: Any,
    dim: int,
    radius: Any = 0.5,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> SurrogateOutcome:
    """Profile the training objective of ratio * dim bags at the 27 points of a cube around the limit solution.

    The cube is (w1, w2, b) = solution + radius * scale * {-1, 0, 1}^3 with scale (|w1|, |w2|, 1); at each point the
    objective is minimised over the weights orthogonal to the query and the signal, a convex problem of its own.
    """
    numbers = replicates if isinstance(replicates, range) else range(replicates)
    key = jax.random.key(0) if key is None else key
    samples = round(float(ratio) * dim)
    ratio, radius = as_float64(ratio), as_float64(radius)
    rules = RULE.bags(task.length)
    limit, _ = _scalar_problem(task, algorithm, ratio, radius, rules)
    spread = _spread_of_solutions(task, algorithm, ratio, rules)
    values, results = _profiles(task, algorithm, key, jnp.asarray(numbers), ratio, radius, rules, samples, dim)
    gap = jnp.max(jnp.abs(values - limit[None, :]), axis=1)
    return SurrogateOutcome(results, {}, values, gap, jnp.full(gap.shape, 1.0) * spread)


def _equations(task: SparseTokens, algorithm: FixedQueryAttention, ratio: Float[Array, ""], rules: Any) -> Equations:
    normals, shifts = rules
    cosine, sharpness = as_float64(algorithm.cosine), as_float64(algorithm.sharpness)
    features = attention_features(task, cosine, sharpness, normals[0], shifts[0])
    return Equations(features, algorithm.loss, as_float64(algorithm.ridge), ratio)


def _grid(equations: Equations, radius: Float[Array, ""]) -> tuple[Float[Array, "27 3"], Float[Array, "5"]]:
    solution = solve(equations, coarse_solution(equations)).x
    side = jnp.linspace(-1.0, 1.0, POINTS_A_SIDE)
    cube = jnp.stack([axis.ravel() for axis in jnp.meshgrid(side, side, side, indexing="ij")], axis=1)
    scale = jnp.stack([jnp.abs(solution[0]), jnp.abs(solution[1]), jnp.ones(())])
    return solution[None, :3] + radius * scale[None, :] * cube, solution


@eqx.filter_jit
def _scalar_problem(
    task: SparseTokens, algorithm: FixedQueryAttention, ratio: Float[Array, ""], radius: Float[Array, ""], rules: Any
) -> tuple[Float[Array, "27"], Float[Array, ""]]:
    equations = _equations(task, algorithm, ratio, rules)
    points, solution = _grid(equations, radius)
    start = jnp.stack([0.5 * jnp.log(jnp.exp(2.0 * solution[3]) - solution[1] ** 2), solution[4]])

    def one(held: Float[Array, "3"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        profile = ProfileEquations(equations, held)
        state = newton(profile, start, FINE_TURNS, TOLERANCE)
        return profile.value(state.x), state.norm

    values, norms = batched_map(one, points)
    return values, jnp.max(norms)


@eqx.filter_jit
def _profiles(
    task: SparseTokens,
    algorithm: FixedQueryAttention,
    key: jax.Array,
    numbers: Any,
    ratio: Float[Array, ""],
    radius: Float[Array, ""],
    rules: Any,
    samples: int,
    dim: int,
) -> tuple[Float[Array, "R 27"], Any]:
    points, _ = _grid(_equations(task, algorithm, ratio, rules), radius)
    ridge = as_float64(algorithm.ridge)
    cosine, sharpness = as_float64(algorithm.cosine), as_float64(algorithm.sharpness)

    def replicate(number: Any) -> tuple[Float[Array, "27"], Any]:
        design, labels = attention_design(jax.random.fold_in(key, number), task, cosine, sharpness, samples, dim)

        def one(point: Float[Array, "3"]) -> tuple[Float[Array, ""], Any]:
            offset = design[:, 0] * point[0] + design[:, 1] * point[1] + point[2]
            fit = ridge_erm(design[:, 2:], labels, algorithm.loss, ridge, offset=offset, intercept=False, throw=False)
            return fit.objective + 0.5 * ridge * (point[0] ** 2 + point[1] ** 2), fit.result

        values, results = jax.lax.map(one, points)
        return values, jnp.max(results)

    return batched_map(replicate, numbers)


@eqx.filter_jit
def _spread_of_solutions(
    task: SparseTokens, algorithm: FixedQueryAttention, ratio: Float[Array, ""], rules: Any
) -> Float[Array, ""]:
    """The largest distance from the solution of what Newton finds from random starts (where it finds a solution)."""
    equations = _equations(task, algorithm, ratio, rules)
    equations = Equations(equations.features.thinned(2**10), equations.loss, equations.ridge, ratio)
    reference = solve(equations, coarse_solution(equations)).x
    rng = np.random.default_rng(0)
    starts = jnp.asarray(rng.normal(size=(STARTS, 5)) * np.array([3.0, 3.0, 3.0, 1.0, 1.5]))

    def one(start: Float[Array, "5"]) -> Float[Array, ""]:
        state = newton(equations, start, FINE_TURNS, TOLERANCE)
        found = state.norm < 1e-9
        return jnp.where(found, jnp.max(jnp.abs(state.x - reference)), jnp.nan)

    return jnp.nanmax(batched_map(one, starts))
