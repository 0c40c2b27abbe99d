"""Projected gradient descent on the population risk as a map of five numbers, whatever the dimension."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.single_location.algorithms import ProjectedDescent
from solvable.attention.single_location.overlaps import Overlaps
from solvable.attention.single_location.risk import Law, closed_form_value, law, risk, risk_gradient
from solvable.attention.single_location.task import SingleLocation
from solvable.numerics.recording import recorded
from solvable.numerics.results import Result


class Heads(eqx.Module):
    """Many runs: where they started (R,), their overlaps and excess risks at the recorded steps (R, K), their codes.

    `path` is None for what a prediction is given, and for data whose directions are not known.
    """

    start: Overlaps
    result: Any
    path: Overlaps | None = None
    excess_risk: Any = None

    @classmethod
    def of(cls, task: SingleLocation, algorithm: ProjectedDescent, start: Overlaps, path: Overlaps, at: Any) -> Heads:
        """Runs of our law, whose risk is known in closed form."""
        risks = _risks(law(task), algorithm.rule, path, jnp.asarray(at))
        return cls(start, result_of(risks), path, risks)


def result_of(risks: Any) -> np.ndarray:
    """The codes (R,) of runs with these excess risks (R, K)."""
    return np.where(np.isfinite(risks[:, -1]), int(Result.SUCCESSFUL), int(Result.NONFINITE))


@jax.jit
def _risks(law: Law, algorithm: ProjectedDescent, path: Overlaps, at: Any) -> Any:
    lam = algorithm.lam(at.astype(jnp.float64))
    return risk(law, path, jnp.broadcast_to(lam[None], path.query_alignment.shape))


def gradient(law: Law, algorithm: ProjectedDescent, o: Overlaps, lam: Any) -> Overlaps:
    """The derivatives of the risk and of the penalty, whose part that depends on them is (weight/L^2) s^2 theta^2."""
    r = risk_gradient(law, o, lam)
    leak = r.value_leak + 2.0 * algorithm.penalty(law.noise_tokens + 1.0) * law.signal**2 * o.value_leak
    return Overlaps(r.query_alignment, r.value_alignment, leak, r.query_leak, r.coupling, 0.0)


def project(o: Overlaps, r: Overlaps, rate: Any) -> Overlaps:
    """One step of projected descent on both spheres, both from the old k and v, in the five overlaps.

    g_k = R_kappa k* + R_eta v* + R_rho v and g_v = R_nu v* + R_theta k* + R_rho k; k - rate (g_k - (k.g_k) k) is
    divided by its length, v likewise. The algorithm of arXiv:2410.01537; its reduction to five numbers is derived.
    """
    kappa, nu, theta, eta, rho = o.five
    r_kappa, r_nu, r_theta, r_eta, r_rho = r.five
    along_k = r_kappa * kappa + r_eta * eta + r_rho * rho
    along_v = r_nu * nu + r_theta * theta + r_rho * rho
    square_k = r_kappa**2 + r_eta**2 + r_rho**2 + 2.0 * r_rho * (r_kappa * theta + r_eta * nu)
    square_v = r_nu**2 + r_theta**2 + r_rho**2 + 2.0 * r_rho * (r_nu * eta + r_theta * kappa)
    cross = (
        r_kappa * r_theta
        + r_eta * r_nu
        + r_rho * (r_kappa * kappa + r_eta * eta + r_nu * nu + r_theta * theta)
        + r_rho**2 * rho
    )
    a, b = 1.0 + rate * along_k, 1.0 + rate * along_v
    # the subtracted square is at most the first one; rounding alone can make the difference negative
    over_k = jax.lax.rsqrt(1.0 + rate * rate * jnp.maximum(square_k - along_k**2, 0.0))
    over_v = jax.lax.rsqrt(1.0 + rate * rate * jnp.maximum(square_v - along_v**2, 0.0))
    new_rho = (
        a * b * rho
        - rate * (a * (r_nu * eta + r_theta * kappa + r_rho) + b * (r_kappa * theta + r_eta * nu + r_rho))
        + rate * rate * cross
    )
    return Overlaps(
        query_alignment=(a * kappa - rate * (r_kappa + r_rho * theta)) * over_k,
        value_alignment=(b * nu - rate * (r_nu + r_rho * eta)) * over_v,
        value_leak=(b * theta - rate * (r_theta + r_rho * kappa)) * over_v,
        query_leak=(a * eta - rate * (r_eta + r_rho * nu)) * over_k,
        coupling=new_rho * over_k * over_v,
        value_norm=o.value_norm,
    )


def query_step(o: Overlaps, r: Overlaps, rate: Any) -> tuple[Any, Any]:
    """One step of projected descent of k alone: its new overlaps kappa and eta."""
    kappa, nu, theta, eta, rho = o.five
    r_kappa, _, _, r_eta, r_rho = r.five
    along = r_kappa * kappa + r_eta * eta + r_rho * rho
    square = r_kappa**2 + r_eta**2 + (r_rho * o.value_norm) ** 2 + 2.0 * r_rho * (r_kappa * theta + r_eta * nu)
    over = jax.lax.rsqrt(1.0 + rate * rate * jnp.maximum(square - along**2, 0.0))
    kappa = (1.0 + rate * along) * kappa - rate * (r_kappa + r_rho * theta)
    eta = (1.0 + rate * along) * eta - rate * (r_eta + r_rho * nu)
    return kappa * over, eta * over


def descended(task: SingleLocation, algorithm: ProjectedDescent, start: Overlaps, at: Any) -> Heads:
    """The runs of the map from the starts (R,), at the steps `at`."""
    rule = dataclasses.replace(algorithm.rule, init="sphere")  # both starts share what is compiled
    return Heads.of(task, algorithm, start, _descend(law(task), rule, start, jnp.asarray(at)), at)


@jax.jit
def _descend(law: Law, algorithm: ProjectedDescent, start: Overlaps, at: Any) -> Overlaps:
    """The overlaps (R, K) at the steps `at`. The dimension is a number here: all dimensions share what is compiled."""

    def both(number: Any, o: Overlaps) -> Overlaps:
        lam = algorithm.lam(number.astype(jnp.float64))
        return project(o, gradient(law, algorithm, o, lam), algorithm.learning_rate)

    def query(number: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        lam = algorithm.lam(number.astype(jnp.float64))
        o = solved(*state, lam)
        return query_step(o, gradient(law, algorithm, o, lam), algorithm.learning_rate)

    def solved(kappa: Any, eta: Any, lam: Any) -> Overlaps:
        return closed_form_value(law, kappa, eta, lam, algorithm.penalty(law.noise_tokens + 1.0), algorithm.ridge)

    if algorithm.closed_form:
        _, (kappa, eta) = recorded(query, (start.query_alignment, start.query_leak), at)
        lam = algorithm.lam(at.astype(jnp.float64))[:, None]
        path = solved(kappa, eta, jnp.broadcast_to(lam, kappa.shape))
    else:
        _, path = recorded(both, start, at)
    return jax.tree_util.tree_map(jnp.transpose, path)
