"""Projected gradient descent on the population risk as a map of five numbers, whatever the dimension, and its rates."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.single_location.algorithms import Pair, ProjectedDescent
from solvable.attention.single_location.risk import Law, Overlaps, closed_form_value, law, risk, risk_gradient
from solvable.attention.single_location.task import SingleLocation
from solvable.lab.declare import Result, Status, recorded

RESOLVED = 1e-10


class Heads(eqx.Module):
    """Many runs: where they started (R,), their overlaps and excess risks at the recorded steps (R, K), their codes.

    `path` is None for what a prediction is given, and for data whose directions are not known. `sampled` says of runs
    whether they were trained on a data set.
    """

    start: Overlaps
    result: Any
    path: Overlaps | None = None
    excess_risk: Any = None
    sampled: bool = eqx.field(static=True, default=False)
    claims: tuple[tuple[str, Status], ...] = eqx.field(static=True, default=())

    @property
    def status(self) -> dict[str, Status]:
        """What a theory claims of its runs, where it is less than it says in general."""
        return dict(self.claims)

    @classmethod
    def of(cls, task: Any, algorithm: Any, start: Overlaps, path: Overlaps, at: Any, risks: Any = None) -> Heads:
        """Runs with these excess risks (R, K); None: of our law, whose risk is known in closed form."""
        risks = _risks(law(task), algorithm.rule, path, jnp.asarray(at)) if risks is None else risks
        codes = np.where(np.isfinite(risks[:, -1]), int(Result.SUCCESSFUL), int(Result.NONFINITE))
        return cls(start, codes, path, risks)


@jax.jit
def _risks(law: Law, algorithm: ProjectedDescent, path: Overlaps, at: Any) -> Any:
    lam = algorithm.inverse_temperatures(at)[None]
    return risk(law, path, jnp.broadcast_to(lam, path.query_alignment.shape))


def gradient(law: Law, algorithm: ProjectedDescent, o: Overlaps, lam: Any) -> Overlaps:
    """The derivatives of the risk and of the penalty, whose part that depends on them is (weight/L^2) s^2 theta^2."""
    kappa, nu, theta, eta, rho = risk_gradient(law, o, lam).five
    theta = theta + 2.0 * algorithm.penalty(law.noise_tokens + 1.0) * law.signal**2 * o.value_leak
    return Overlaps(kappa, nu, theta, eta, rho, 0.0)


def project(o: Overlaps, r: Overlaps, rate: Any) -> Overlaps:
    """One step of projected descent on both spheres, both from the old k and v, in the five overlaps.

    g_k = R_kappa k* + R_eta v* + R_rho v and g_v = R_nu v* + R_theta k* + R_rho k; k - rate (g_k - (k.g_k) k) is
    divided by its length, v likewise. The algorithm of arXiv:2410.01537; its reduction to five numbers is derived.
    """
    kappa, nu, theta, eta, rho = o.five
    r_kappa, r_nu, r_theta, r_eta, r_rho = r.five
    new_kappa, new_eta, a, over_k = turned((kappa, eta), (theta, nu), rho, (r_kappa, r_eta, r_rho), rate)
    new_nu, new_theta, b, over_v = turned((nu, theta), (eta, kappa), rho, (r_nu, r_theta, r_rho), rate)
    cross = (
        r_kappa * r_theta
        + r_eta * r_nu
        + r_rho * (r_kappa * kappa + r_eta * eta + r_nu * nu + r_theta * theta)
        + r_rho**2 * rho
    )
    new_rho = (
        a * b * rho
        - rate * (a * (r_nu * eta + r_theta * kappa + r_rho) + b * (r_kappa * theta + r_eta * nu + r_rho))
        + rate * rate * cross
    )
    return Overlaps(new_kappa, new_nu, new_theta, new_eta, new_rho * over_k * over_v, o.value_norm)


def turned(
    own: Pair, other: Pair, rho: Any, slopes: Any, rate: Any, other_norm: Any = 1.0
) -> tuple[Any, Any, Any, Any]:
    """The overlaps of one unit vector x with both directions after its step; 1 + rate (x.g), and one over the length.

    `own` are its overlaps and `other` those of the other vector, of length `other_norm`, with which it has the overlap
    rho; `slopes` are the derivatives of the risk in its own overlaps and in rho.
    """
    first, second, both = slopes
    along = first * own[0] + second * own[1] + both * rho
    square = first**2 + second**2 + (both * other_norm) ** 2 + 2.0 * both * (first * other[0] + second * other[1])
    # the subtracted square is at most the first one; rounding alone can make the difference negative
    over = jax.lax.rsqrt(1.0 + rate * rate * jnp.maximum(square - along**2, 0.0))
    a = 1.0 + rate * along
    new = (a * x - rate * (slope + both * y) for x, y, slope in zip(own, other, (first, second), strict=True))
    return *(x * over for x in new), a, over


def descended(task: SingleLocation, algorithm: ProjectedDescent, start: Overlaps, at: Any) -> Heads:
    """The runs of the map from the starts (R,), at the steps `at`."""
    rule = dataclasses.replace(algorithm.rule, init="sphere")  # both starts share what is compiled
    return Heads.of(task, algorithm, start, _descend(law(task), rule, start, jnp.asarray(at)), at)


def is_chaotic(task: SingleLocation, algorithm: ProjectedDescent, heads: Heads, at: Any) -> bool:
    """Whether a relative change of 1e-12 in any start moves a risk by more than 1e-6 of the largest."""
    nudged = jax.tree_util.tree_map(lambda leaf: leaf * (1.0 + 1e-12), heads.start)
    risks, others = (np.asarray(one) for one in (heads.excess_risk, descended(task, algorithm, nudged, at).excess_risk))
    finite = np.isfinite(risks).all(axis=1)
    return bool(np.any(np.abs(risks - others)[finite] > 1e-6 * np.abs(risks[finite]).max(axis=1, keepdims=True)))


@jax.jit
def _descend(law: Law, algorithm: ProjectedDescent, start: Overlaps, at: Any) -> Overlaps:
    """The overlaps (R, K) at the steps `at`. The dimension is a number here: all dimensions share what is compiled."""

    def both(number: Any, o: Overlaps) -> Overlaps:
        lam = algorithm.inverse_temperatures(number)
        return project(o, gradient(law, algorithm, o, lam), algorithm.learning_rate)

    def query(number: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        lam = algorithm.inverse_temperatures(number)
        o = solved(*state, lam)
        r, other = gradient(law, algorithm, o, lam), (o.value_leak, o.value_alignment)
        slopes = (r.query_alignment, r.query_leak, r.coupling)
        return turned(state, other, o.coupling, slopes, algorithm.learning_rate, o.value_norm)[:2]

    def solved(kappa: Any, eta: Any, lam: Any) -> Overlaps:
        return closed_form_value(law, kappa, eta, lam, algorithm.penalty(law.noise_tokens + 1.0), algorithm.ridge)

    if algorithm.closed_form:
        _, (kappa, eta) = recorded(query, (start.query_alignment, start.query_leak), at)
        lam = algorithm.inverse_temperatures(at)[:, None]
        path = solved(kappa, eta, jnp.broadcast_to(lam, kappa.shape))
    else:
        _, path = recorded(both, start, at)
    return jax.tree_util.tree_map(jnp.transpose, path)


def linearised(task: SingleLocation, inverse_temperature: float) -> tuple[float, float, float, float]:
    """The rates of escape, value and query in the time alpha * step, and the slope of the unstable (1, slope).

    The flow on the manifold near 0, in (nu, kappa), and the deviations from (k*, v*) near it, at one lam.
    With c = lam s/sqrt(D), D = 1 + 2 lam^2 gamma^2, A = 1 + 4 lam^2 gamma^2, q = 4 gamma^2 c/sqrt(pi) and
    b = 2 c/sqrt(pi A): near 0 d(nu, kappa)/dt = q (kappa, nu - b kappa), whose growing rate is
    (q/2)(sqrt(b^2 + 4) - b); near (1, 1) the angle of v falls at 2 gamma^2 erf(c) and that of k at
    2 gamma^2 c erf'(c)(1 - erf(c/sqrt(A))), which vanishes like exp(-c^2) (derived).
    """
    g2, lam = float(task.label_variance), float(inverse_temperature)
    c = lam * float(task.signal) / math.sqrt(1.0 + 2.0 * lam**2 * g2)
    root = math.sqrt(1.0 + 4.0 * lam**2 * g2)
    q, b = 4.0 * g2 * c / math.sqrt(math.pi), 2.0 * c / (math.sqrt(math.pi) * root)
    escape = 0.5 * q * (math.sqrt(b * b + 4.0) - b)
    slope = 2.0 / math.sqrt(math.pi) * math.exp(-c * c)
    query = 2.0 * g2 * c * slope * (1.0 - math.erf(c / root))
    return escape, 2.0 * g2 * math.erf(c), query, escape / q


def measured_rates(
    task: SingleLocation, algorithm: ProjectedDescent, at: np.ndarray, kappa: np.ndarray, nu: np.ndarray
) -> dict[str, np.ndarray]:
    """The rates of the theory "rates" off paths (..., K) at the steps `at`; NaN where fewer than two steps serve."""
    *_, slope = linearised(task, float(algorithm.inverse_temperature))
    unstable = abs(nu + slope * kappa)
    leaving = np.logical_and.accumulate((unstable <= 2.0 * unstable[..., :1]) & (unstable > 0.0), axis=-1)
    return {
        "escape_rate": _growth(at, unstable, leaving, from_start=True),
        "value_rate": -_growth(at, 1.0 - abs(nu), 1.0 - abs(nu) > RESOLVED),
        "query_rate": -_growth(at, 1.0 - abs(kappa), 1.0 - abs(kappa) > RESOLVED),
    }


def _growth(at: np.ndarray, values: np.ndarray, usable: np.ndarray, from_start: bool = False) -> Any:
    """The growth of log(values) a step between the last usable step and the one before it, or the first one."""
    places = np.where(usable, np.arange(len(at)), -1)
    last = places.max(axis=-1)
    before = np.zeros_like(last) if from_start else np.where(places < last[..., None], places, -1).max(axis=-1)
    there = (before >= 0) & (last > before)
    last, before = np.where(there, last, min(1, len(at) - 1)), np.where(there, before, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.take_along_axis(np.log(values), np.stack([before, last], axis=-1), axis=-1)
        return np.where(there, (ends[..., 1] - ends[..., 0]) / (at[last] - at[before]), np.nan)
