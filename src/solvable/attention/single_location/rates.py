"""How fast projected descent on the manifold leaves the saddle at 0 and approaches (k*, v*): predicted and measured."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.special import erf

from solvable.attention.single_location.algorithms import ProjectedDescent
from solvable.attention.single_location.task import SingleLocation

RESOLVED = 1e-10


class Linearised(NamedTuple):
    """Rates of gradient flow, in the time alpha * step, and the unstable direction at the saddle, (1, slope) in (nu,
    kappa).
    """

    escape: float
    value: float
    query: float
    slope: float


def linearised(task: SingleLocation, inverse_temperature: float) -> Linearised:
    """The flow on the manifold near 0 and the deviations from (k*, v*) near it, at one inverse temperature lam.

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
    query = 2.0 * g2 * c * slope * float(1.0 - erf(c / root))
    return Linearised(escape, 2.0 * g2 * float(erf(c)), query, escape / q)


def predicted_rates(task: SingleLocation, algorithm: ProjectedDescent) -> dict[str, np.ndarray]:
    """The rates a step of projected descent, at the first inverse temperature (escape) and at the last one.

    A step multiplies the unstable combination by 1 + alpha rate and an angle by 1 - alpha rate; 1 - cos falls twice as
    fast as the angle.
    """
    alpha = float(algorithm.learning_rate)
    first, last = (linearised(task, lam) for lam in algorithm.inverse_temperatures([0, algorithm.steps]))
    rates = {"escape_rate": math.log1p(alpha * first.escape)}
    for name, rate in (("value_rate", last.value), ("query_rate", last.query)):
        rates[name] = -2.0 * math.log(abs(1.0 - alpha * rate))
    return {name: np.asarray(rate) for name, rate in rates.items()}


def measured_rates(
    task: SingleLocation, algorithm: ProjectedDescent, at: np.ndarray, kappa: np.ndarray, nu: np.ndarray
) -> dict[str, np.ndarray]:
    """The same rates off paths kappa and nu (..., K) at the steps `at`; NaN where fewer than two steps serve."""
    slope = linearised(task, float(algorithm.inverse_temperature)).slope
    unstable = abs(nu + slope * kappa)
    leaving = (unstable <= 2.0 * unstable[..., :1]) & (unstable > 0.0)
    leaving = np.logical_and.accumulate(leaving, axis=-1)
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

    def at_place(place: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, place[..., None], axis=-1)[..., 0]

    with np.errstate(divide="ignore", invalid="ignore"):
        growth = (np.log(at_place(last)) - np.log(at_place(before))) / (at[last] - at[before])
    return np.where(there, growth, np.nan)
