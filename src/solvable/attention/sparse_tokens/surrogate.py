"""The training objective profiled over the orthogonal weights, and the scalar variational problem that it becomes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.attention.sparse_tokens import equations as eq
from solvable.attention.sparse_tokens.algorithms import FixedQueryAttention
from solvable.attention.sparse_tokens.nodes import Quadrature
from solvable.attention.sparse_tokens.system import bag_counts
from solvable.attention.sparse_tokens.task import Scalar, SparseTokens
from solvable.numerics.erm import ridge_erm
from solvable.numerics.newton import newton
from solvable.numerics.precision import as_float64, batched_map, float64
from solvable.numerics.random import replicate_keys
from solvable.numerics.results import Result, raise_unless_successful

RULE = Quadrature(points=2**13, scramblings=1)
POINTS_A_SIDE = 3
STARTS = 24


class Profiles(eqx.Module):
    """The profiled objective (R, 27) of drawn bags, and what the scalar problem says of it.

    `limit` (27,) is the scalar problem on the same grid; `spread` the largest distance between solutions of the
    equations found from 24 random starts.
    """

    result: Int[Array, "R"]
    objective: Float[Array, "R 27"]
    limit: Float[Array, "R 27"]
    spread: Float[Array, "R"]


class ProfileEquations(eqx.Module):
    """The two equations left when (w1, w2, b) are held.

    The unknowns are (log t, log chi), t the norm of the orthogonal weights.
    """

    equations: eq.Equations
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

    def value(self, x: Float[Array, "2"]) -> Scalar:
        """The objective at the saddle, where two terms cancel: E loss(prox) + (ridge/2)(w1^2 + w2^2 + t^2)."""
        squares = self.held[0] ** 2 + self.held[1] ** 2 + jnp.exp(2.0 * x[0])
        return eq.training_loss(self.equations, self.full(x)) + 0.5 * self.equations.ridge * squares


@float64
def scalar_problem(task: SparseTokens, algorithm: FixedQueryAttention, ratio: Any, radius: Any) -> Float[Array, "27"]:
    """The scalar problem on the grid; see `profiles` for the grid.

    min over t, max over chi of E[Moreau envelope, width chi r^2, of the loss at w1 A + w2 kappa c + b + r tau G]
    - t^2/(2 ratio chi) + (ridge/2)(w1^2 + w2^2 + t^2), tau^2 = w2^2 + t^2. arXiv:2509.25153 claims the asymptotic
    equivalence, uniform on compact sets, and uniqueness; this form of the scalar problem is derived here.

    Raises: SolveError when it is not solved.
    """
    values, residual = _scalar_problem(_equations(task, algorithm, ratio), as_float64(radius))
    code = int(Result.SUCCESSFUL) if float(residual) < 1e-7 else int(Result.MAX_STEPS)
    raise_unless_successful(code, "the scalar problem", f" (residual {float(residual):.1e})")
    return values


@float64
def profiles(
    task: SparseTokens, algorithm: FixedQueryAttention, ratio: Any, dim: int, radius: Any, key: Any, replicates: Any
) -> Profiles:
    """Profile the training objective of ratio * dim bags at the 27 points of a cube around the limit solution.

    The cube is (w1, w2, b) = solution + radius * scale * {-1, 0, 1}^3 with scale (|w1|, |w2|, 1); at each point the
    objective is minimised over the weights orthogonal to the query and the signal, a convex problem of its own.
    """
    keys, (_, samples) = replicate_keys(key, replicates), bag_counts(algorithm, ratio=ratio, dim=dim)
    equations = _equations(task, algorithm, ratio)
    values, results = _profiles(task, algorithm, keys, equations, as_float64(radius), samples, dim)
    limit = jnp.asarray(scalar_problem(task, algorithm, ratio, radius))
    shared = (limit, _spread_of_solutions(equations))
    return Profiles(results, values, *(jnp.broadcast_to(x, results.shape + x.shape) for x in shared))


def _equations(task: SparseTokens, algorithm: FixedQueryAttention, ratio: Any) -> eq.Equations:
    nodes = algorithm.law(task).nodes(*(rule[0] for rule in RULE.bags(task.length)))
    return eq.Equations(nodes, algorithm.loss, as_float64(algorithm.ridge), as_float64(ratio))


def _grid(equations: eq.Equations, radius: Scalar) -> tuple[Float[Array, "27 3"], Float[Array, "5"]]:
    solution = eq.solve(equations, eq.coarse_solution(equations)).x
    side = jnp.linspace(-1.0, 1.0, POINTS_A_SIDE)
    cube = jnp.stack([axis.ravel() for axis in jnp.meshgrid(side, side, side, indexing="ij")], axis=1)
    scale = jnp.stack([jnp.abs(solution[0]), jnp.abs(solution[1]), jnp.ones(())])
    return solution[None, :3] + radius * scale[None, :] * cube, solution


@eqx.filter_jit
def _scalar_problem(equations: eq.Equations, radius: Scalar) -> tuple[Float[Array, "27"], Scalar]:
    points, solution = _grid(equations, radius)
    start = jnp.stack([0.5 * jnp.log(jnp.exp(2.0 * solution[3]) - solution[1] ** 2), solution[4]])

    def one(held: Float[Array, "3"]) -> tuple[Scalar, Scalar]:
        profile = ProfileEquations(equations, held)
        state = newton(profile, start, eq.FINE_TURNS, eq.TOLERANCE)
        return profile.value(state.x), state.norm

    values, norms = batched_map(one, points)
    return values, jnp.max(norms)


@eqx.filter_jit
def _profiles(
    task: Any, algorithm: Any, keys: Any, equations: eq.Equations, radius: Scalar, samples: int, dim: int
) -> tuple[Float[Array, "R 27"], Any]:
    points, ridge = _grid(equations, radius)[0], equations.ridge

    def replicate(key: Any) -> tuple[Float[Array, "27"], Any]:
        design, labels = algorithm.design(key, task, algorithm.sampled_query(key, task, samples, dim), samples, dim)

        def one(point: Float[Array, "3"]) -> tuple[Scalar, Any]:
            offset = design[:, 0] * point[0] + design[:, 1] * point[1] + point[2]
            fit = ridge_erm(design[:, 2:], labels, algorithm.loss, ridge, offset=offset, intercept=False, throw=False)
            return fit.objective + 0.5 * ridge * (point[0] ** 2 + point[1] ** 2), fit.result

        values, results = jax.lax.map(one, points)
        return values, jnp.max(results)

    return batched_map(replicate, keys)


@eqx.filter_jit
def _spread_of_solutions(equations: eq.Equations) -> Scalar:
    """The largest distance from the solution of what Newton finds from random starts (where it finds a solution)."""
    equations = replace(equations, features=equations.features.thinned(2**10))
    reference = eq.solve(equations, eq.coarse_solution(equations)).x
    rng = np.random.default_rng(0)
    starts = jnp.asarray(rng.normal(size=(STARTS, 5)) * np.array([3.0, 3.0, 3.0, 1.0, 1.5]))

    def one(start: Float[Array, "5"]) -> Scalar:
        state = newton(equations, start, eq.FINE_TURNS, eq.TOLERANCE)
        return jnp.where(state.norm < 1e-9, jnp.max(jnp.abs(state.x - reference)), jnp.nan)

    return jnp.nanmax(batched_map(one, starts))
