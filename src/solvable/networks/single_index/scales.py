"""Which degree is learnt when, in closed form: exponents of the rate ratio, learning times, plateaus of the risk.

Degree l is learnt where |a| ~ eps^(-l/(2(l+1))) and s ~ eps^(1/(2(l+1))); the next degree k that target and activation
share then grows at the rate k sigma_k phi_k a s^(k-2), so that its time is eps^((l+2-k)/(2(l+1))) (arXiv:2303.00055
states k = l + 1, eps^(1/(2k)); the rest is derived). With s = 0 at the start nothing but degree 0 is ever learnt where
phi_1 sigma_1 = 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

from solvable.lab.declare import float64, instance, on_the_host
from solvable.networks.single_index.algorithms import Network
from solvable.networks.single_index.model import Model, model
from solvable.networks.single_index.task import SingleIndex, activation_field, target_field
from solvable.numerics.hermite import HIGHEST, hermite_coefficients
from solvable.numerics.validation import integer

LARGE, LATE = 1e7, 400.0  # the size, relative to the start, and the logarithm of size at which a blow-up is settled


class Stages(NamedTuple):
    """Of each degree 0 to K: its time is eps^exponent up to logarithms, `after` the degree learnt before (-1: none).

    `present`: phi_k != 0; `learnable`: sigma_k != 0. `exponents` are NaN where phi_k = 0 and inf for what is never
    learnt. `floor`: half the sum of phi_k^2 over the degrees that the activation lacks; `plateaus`
    (K + 1,): the risk once a degree and those before it are learnt.
    """

    exponents: np.ndarray
    after: np.ndarray
    present: np.ndarray
    learnable: np.ndarray
    floor: float
    plateaus: np.ndarray


class LearningTimes(NamedTuple):
    """Times (degree,) at which |rho_k| falls to |phi_k| / 2: closed forms of degrees 0 to 2, NaN above (no formula).

    inf for what is never learnt; NaN where phi_k = 0, and for degrees 1 and 2 where there are no stages (see
    `learning_times`).
    """

    times: np.ndarray


@float64
def stages(target: Any, activation: Any, degree: int | None = None) -> Stages:
    """The order and the exponents in which an activation learns a target from s = 0, as `rate_ratio` vanishes.

    Both as in `SingleIndex`. `degree`: the target is taken as if it ended there; None: all of it, of a function 40
    degrees one by one.

    Raises: ValueError naming the argument, its value and what is accepted.
    """
    on_the_host("stages", target, activation)
    one = model(target_field(target), activation_field(activation))
    if degree is None:
        return _stages(one)
    size = integer("degree", degree, at_least=0, at_most=HIGHEST) + 1
    parts = []
    for given, known in ((target, one.target), (activation, one.activation)):
        if size > len(known) and (isinstance(given, str) or callable(given)):
            known = hermite_coefficients(given, size - 1)
        parts.append(np.pad(known, (0, max(0, size - len(known))))[:size])
    return _stages(one._replace(target=parts[0], activation=parts[1], degrees=size, rest=0.0, lost=0.0))


def _stages(one: Model) -> Stages:
    size = one.degrees
    present, learnable = one.target[:size] != 0.0, one.activation[:size] != 0.0
    exponents, after, last = np.full(size, np.nan), np.full(size, -1), -1
    reached = size > 1 and present[1] and learnable[1]  # without degree 1, s stays 0
    for k in range(size):
        after[k] = last
        if present[k] and learnable[k] and (k < 2 or reached):
            before = max(last, 0)
            exponents[k] = 1.0 if k == 0 else (before + 2.0 - k) / (2.0 * (before + 1.0))
            last = k
        elif present[k]:
            exponents[k] = np.inf
    squares = one.target**2
    floor = 0.5 * (float(squares[one.activation == 0.0].sum()) + one.lost)
    learnt = np.isfinite(exponents)
    left = np.array([(squares[:size] * ~(learnt & (np.arange(size) <= k))).sum() for k in range(size)])
    plateaus = 0.5 * (left + squares[size:].sum() + one.rest)
    return Stages(exponents, after, present, learnable, floor, plateaus)


def spread(one: Model, outer: np.ndarray) -> np.ndarray:
    """a(0) as degree 1 sees it: without its mean, which degree 0 takes, where the activation has a degree 0."""
    return outer - outer.mean() if one.activation[0] != 0.0 else outer


def formulas(one: Model, eps: float, outer: np.ndarray) -> np.ndarray:
    """The learning times (degree,) from outer weights (m,)."""
    known = _stages(one)
    found = np.where(np.isinf(known.exponents), np.inf, np.nan)
    phi, sigma = one.target, one.activation
    if np.isfinite(known.exponents[0]):
        ahead = abs(phi[0] - sigma[0] * outer.mean())
        found[0] = eps / sigma[0] ** 2 * np.log(max(1.0, 2.0 * ahead / abs(phi[0])))
    square = float(np.mean(spread(one, outer) ** 2))
    if one.degrees < 2 or not np.isfinite(known.exponents[1]) or square <= 1e-24 * float(np.mean(outer**2)):
        return found
    ahead = 0.5 * np.log(1.0 / eps) + np.log(4.0 * abs(phi[1] / sigma[1]) / square)
    found[1] = np.sqrt(eps) * max(0.0, ahead) / (2.0 * abs(sigma[1] * phi[1]))
    if one.degrees > 2 and np.isfinite(known.exponents[2]):
        found[2] = blow_up_of(one, outer) * eps**0.25
    # stages that are out of order, or a degree 1 that the mean of a(0) after stage 0 learns alone, are no stages
    mean = phi[0] / sigma[0] if sigma[0] != 0.0 else 0.0
    order = [t for t in found[:3] if np.isfinite(t)]
    if np.any(np.diff(order) <= 0.0) or 2.0 * (sigma[1] * mean) ** 2 * found[1] > 1.0:
        found[1:3] = np.where(np.isfinite(found[1:3]), np.nan, found[1:3])
    return found


def blow_up_of(one: Model, outer: np.ndarray) -> float:
    """tau* from outer weights (m,), inf where nothing blows up.

    With a = eps^(-1/4) x, s = eps^(1/4) y, tau = t / eps^(1/4), g = sigma_2 phi_2: x' = g y^2 + l_0 + l_1 y and
    y' = x (l_1 + 2 g y), l_0 and l_1 such that mean x = 0 (without l_0 where sigma_0 = 0) and mean x y = phi_1/sigma_1
    stay. The time is stretched as sizes grow.
    """
    g = float(one.activation[2] * one.target[2])
    ratio = float(one.target[1] / one.activation[1])
    first = spread(one, outer)
    first = first * np.sqrt(abs(ratio) / np.mean(first**2))
    m, centred = len(outer), one.activation[0] != 0.0
    # s -> -s with phi_k -> (-1)^k phi_k: the sign of phi_1 sigma_1 does not matter

    def slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        mean = y.mean() if centred else 0.0
        square = (y * y).mean()
        over = (y**3).mean() - square * mean + 2.0 * (x * x * y).mean()
        under = square - mean**2 + (x * x).mean()
        one_, two = -g * over / under, g * y
        zero = -g * square - one_ * mean if centred else 0.0
        return np.concatenate([two * y + zero + one_ * y, x * (one_ + 2.0 * two)])

    def field(_: float, state: np.ndarray) -> np.ndarray:
        moved, speed = slopes(state[:m], state[m:-1]), 1.0 / (abs(g) * np.abs(state[:-1]).max())
        return np.append(moved * speed, speed)

    def grown(_: float, state: np.ndarray) -> float:
        return np.abs(state[:-1]).max() - LARGE * np.abs(first).max()

    grown.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
    state = np.concatenate([first, first, [0.0]])
    found: Any = solve_ivp(field, (0.0, LATE), state, "DOP853", events=grown, rtol=1e-10, atol=1e-12)
    if not len(found.t_events[0]):
        return float("inf")
    end = found.y[:, -1]
    place = int(np.abs(end[:-1]).argmax())
    rest = abs(end[place] / slopes(end[:m], end[m:-1])[place])  # sizes grow as 1 / (tau* - tau)
    return float(end[-1] + rest)


@float64
def learning_times(task: SingleIndex, algorithm: Network) -> LearningTimes:
    """Closed forms of the learning times, as `rate_ratio` eps vanishes, from the outer weights of the algorithm.

    t_0 = (eps/sigma_0^2) log(2 |phi_0 - sigma_0 mean a| / |phi_0|); t_1 = sqrt(eps) [log(1/eps)/2 +
    log(4 |phi_1/sigma_1| / v_0)] / (2 |sigma_1 phi_1|), v_0 the variance of a(0) (its mean square where sigma_0 = 0);
    t_2 = `blow_up` eps^(1/4), a leading order whose corrections are eps^(1/12). Of outer weights that are drawn, the
    quantiles of their law are taken; then tau* of "normal" depends on the number of neurons.

    Of degrees 1 and 2 nothing is said (NaN) where the ratio is too large for stages: where t_0 < t_1 < t_2 fails, or
    the mean of the outer weights after stage 0, phi_0 / sigma_0, would learn degree 1 before t_1:
    2 (sigma_1 phi_0 / sigma_0)^2 t_1 > 1.

    Raises: TypeError for a task or an algorithm of another system.
    """
    one, outer = _read(task, algorithm)
    return LearningTimes(formulas(one, float(algorithm.rate_ratio), outer))


@float64
def blow_up(task: SingleIndex, algorithm: Network) -> float:
    """tau*, where the limit equations of stage 2 blow up: t_2 = tau* eps^(1/4) to leading order; see `learning_times`.

    inf where they do not.

    Raises: TypeError for a task or an algorithm of another system; ValueError where there is no stage 2: phi_k sigma_k
    is 0 for k = 1 or 2, or all outer weights are equal.
    """
    one, outer = _read(task, algorithm)
    known = _stages(one)
    if one.degrees < 3 or not np.isfinite(known.exponents[1:3]).all():
        raise ValueError("task and activation have no stage 2; accepted: phi_k sigma_k != 0 for k = 1 and 2")
    if not np.mean(spread(one, outer) ** 2) > 1e-24 * np.mean(outer**2):
        raise ValueError("outer has no variance, so that neurons do not part; accepted: weights that differ")
    return blow_up_of(one, outer)


def _read(task: Any, algorithm: Any) -> tuple[Model, np.ndarray]:
    instance("task", task, (SingleIndex,))
    instance("algorithm", algorithm, (Network,))
    on_the_host("learning_times", task, algorithm)
    return algorithm.model(task), algorithm.typical_outer()
