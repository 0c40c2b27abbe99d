"""How fast |W|_p grows: the law while steps are small, when they start to overshoot, and the law of steps that do.

The dual variable U = grad psi(W) moves by eta a normalised step, and |W|_p = |U|_q^(1/(p-1)). While the gradient keeps
its direction |U|_q = S, the sum of the rates. Near saturation the loss is sum_j beta_j exp(-a_j.W) over the constraint
rows, whose weights are pi = lambda / sum lambda at the max-margin solution (lambda its multipliers). A step that gains
g units of margin multiplies a deviation of log pi by I - g C / |G|^2, G = sum_j pi_j a_j and C the covariance of the
rows under pi, both in the metric H = |W_mm|^(2-p) of the mirror map: it dies out while g |C| / |G|^2 < 2. Above p = 2,
where H is infinite at weights of 0, the swings beyond that are small, and up to a quarter of a unit of margin a step
the norm keeps close to its law (measured). Steps that gain much more go along one row each, that of the least margin.
The direction of U is still that of G, so that row j has the share lambda_j |a_j|_q of the steps, and |U|_q = c S with
c = |A^T lambda|_q / sum_j lambda_j |a_j|_q (derived here).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from solvable.attention.token_selection.geometry import power_norm
from solvable.attention.token_selection.gradients import stable_gradients
from solvable.attention.token_selection.max_margin import MaxMargin
from solvable.attention.token_selection.task import SelectionProblem

QUARTER = 0.25  # of a unit of margin a step
NEAR = 0.2  # what steps of another regime may change of |W|_p


class Oscillation(NamedTuple):
    """Of one problem's solution: the gains below which steps are stable and the norm near its law, and c."""

    stable: float
    near: float
    share: float


def oscillation(problem: SelectionProblem, solution: MaxMargin, p: float) -> Oscillation:
    """When steps start to oscillate between the support tokens of a solution, and what that leaves of |U|_q."""
    tokens, queries = np.asarray(problem.tokens, np.float64), np.asarray(problem.query_sets, np.float64)
    multipliers = np.reshape(solution.multipliers, (*queries.shape[:2], tokens.shape[1]))
    place = np.broadcast_to(np.reshape(solution.selected, (len(tokens), -1)), queries.shape[:2])
    i, of, t = np.nonzero(multipliers)
    rows = (tokens[i, place[i, of]] - tokens[i, t])[:, :, None] * queries[i, of][:, None, :]
    rows, weights, q = rows.reshape(len(i), -1), multipliers[i, of, t], p / (p - 1.0)
    share = np.linalg.norm(weights @ rows, q) / (weights @ np.linalg.norm(rows, q, axis=1))
    size = np.abs(solution.weights).ravel()
    rows = rows * np.maximum(size, 1e-12 * size.max()) ** (0.5 * (2.0 - p))
    weights = weights / weights.sum()
    mean = weights @ rows
    spread = np.linalg.norm(np.sqrt(weights)[:, None] * (rows - mean), 2) ** 2
    stable = 2.0 * float(mean @ mean / spread) if spread > 0.0 else np.inf  # one row alone
    return Oscillation(stable, max(stable, QUARTER) if p > 2.0 else stable, float(share))


def growth_laws(
    summed: Float[np.ndarray, "steps"], p: float, norm: float, of: Oscillation, lasting: bool
) -> Float[np.ndarray, "steps"]:
    """|W|_p^(p-1) over the sum of rates S_k at every step k: 1, c, or NaN where neither law is within a fifth of |W|_p.

    `summed` are S_1, S_2, .. and `norm` is |W_mm|_p. c is the law where the gains grow for ever, which is `lasting`:
    a step of gain g there adds about (1 - c)/g of its rate.
    """
    rates, power = np.diff(summed, prepend=0.0), 1.0 / (p - 1.0)
    gains = np.diff(summed**power, prepend=0.0) / norm
    small = gains < of.near
    added = 1.0 / np.maximum(gains * of.share ** (power - 1.0), 1.0)
    lacks, exceeds = (np.cumsum(rates * part) * (1.0 - of.share) * power for part in (~small, added))
    laws = np.where(small & (lacks <= NEAR * summed), 1.0, np.nan)
    return np.where(exceeds <= NEAR * of.share * summed, of.share, laws) if lasting else laws


def first_gains(algorithm: Any, runs: Any) -> Float[np.ndarray, "R"]:
    """The units of margin that a fixed step gains from W = 0: (eta |G|_q)^(1/(p-1)) / |W_mm|_p."""
    p, rate = algorithm.p, float(algorithm.summed_rates(np.array([1]))[0])
    sizes = np.asarray(_sizes(algorithm.loss, p / (p - 1.0), runs.problem), np.float64)
    return (rate * sizes) ** (1.0 / (p - 1.0)) / runs.limit.norm


@eqx.filter_jit
def _sizes(loss: Any, q: float, problems: Any) -> Any:
    def one(problem: Any) -> Any:
        zero = jnp.zeros((problem.tokens.shape[-1],) * 2, problem.tokens.dtype)
        gradient, log_scale = stable_gradients(problem, zero, problem.decoder, loss).weights
        return jnp.exp(log_scale) * power_norm(gradient, q)

    return jax.vmap(one)(jax.tree_util.tree_map(jnp.asarray, problems))
