"""Upper bounds on expected values, by Lyapunov functions (derived; those of gradient descent and Nesterov are classic).

With phi = A (f - min f) + (B/2)|z - x*|^2, or on rows A/2 |x - x*|^2 + (B/2)|z - x*|^2 in the norm of H^-1:

    convex             E f(x_t) <= 2 L D/t^2 + sigma^2 t/(3L)     E T_k^2 f(x_k) <= 2 L D + sigma^2 k(k+1)(k+2)/(3L)
    strongly convex    E f(x_t) <= phi_0 e^(-eta t) + sigma^2/sqrt(mu L),  phi_0 = f(x_0) + mu D/2,  eta = sqrt(mu/L)
                       E f(x_k) <= phi_0 r^k + (sigma^2/L)(1 - r^k)/(1 - r),  r = 1/(1 + eta/2)
    rows               E|x_t|^2 <= c kappa R^2 |x_0|^2_(H^-1)/t^2,  c = 4 stated, 1 tight, and E T_k^2 |x_k|^2 likewise
                       E|x_t|^2 <= (|x_0|^2 + mu |x_0|^2_(H^-1)) e^(-eta t),  at events with r = 1/(1 + eta/(1 + s))

in which f is f - min f, D = |x_0 - x*|^2, sigma^2 the variance of a gradient, s = sqrt(L/(kappa R^2)). At events: with
D and J the flow and the step, D phi + J phi - phi <= -eta phi everywhere, and J phi <= (1 + s) phi; so of the waiting
time S, E J phi(flow_S) <= phi - eta E phi(flow_S) <= phi - eta/(1 + s) E J phi(flow_S) (ours).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from solvable.iterations.continuized.algorithms import Continuized, GradientDescent, HeavyBall, Nesterov
from solvable.iterations.continuized.conditioning import Constants, constants
from solvable.iterations.continuized.schedules import Convex
from solvable.iterations.continuized.task import Objective, Problem, row_space, spectral

OVER = 1.0 + 1e-9  # by how much a constant may pass the true one by rounding


class Start:
    """What bounds know of a problem: its constants, f, |x|^2 and |x|^2_(H^-1) at the start, the gradients' variance."""

    def __init__(self, problem: Problem) -> None:
        self.known = known = constants(problem)
        if isinstance(problem, Objective):
            least, minimiser = problem.least()
            self.gap, self.variance, self.inverse = float(problem.of(problem.start)) - least, 0.0, np.nan
            self.distance = np.inf if minimiser is None else float(np.sum((problem.start - minimiser) ** 2))
            if known.strong_convexity > 0.0:
                self.distance = min(self.distance, 2.0 * self.gap / known.strong_convexity)
            return
        found = spectral(problem)
        inside = np.asarray(found.eigenvalues) > 0.0  # what lies outside changes no f
        values, squares = found.eigenvalues[inside], found.start[inside] ** 2
        self.gap, self.distance, self.inverse = 0.5 * values @ squares, float(np.sum(squares)), np.sum(squares / values)
        self.outside = float(np.sum(found.start[~inside] ** 2))
        self.variance = float(found.noise) ** 2 * inside.sum()
        self.noisy = found.residuals is not None


def bounds(problem: Problem, algorithm: Any, at: np.ndarray, unit: str) -> dict[str, np.ndarray]:
    """The bounds on the observables that have one. Raises: ValueError where none is known."""
    start = Start(problem)
    schedule = algorithm.schedule(problem, start.known)
    if isinstance(algorithm, HeavyBall):
        raise ValueError("algorithm=HeavyBall has no bound; accepted: theory='moments', or another algorithm")
    if isinstance(problem, Objective) and not np.isfinite(start.distance):
        raise ValueError(
            "minimum is a number and f is convex alone, with which no bound is known; accepted: a minimiser"
        )
    if isinstance(algorithm, Continuized):
        _require_true(algorithm, start.known)
        found = _rows if row_space(problem) else _smooth
        if row_space(problem) and start.noisy:
            raise ValueError("y is not X w for any w, and no bound is known then; accepted: a consistent system")
        return found(schedule, start, at, unit)
    return _discrete(problem, algorithm, start, at)


def _require_true(algorithm: Continuized, known: Constants) -> None:
    """Raises: ValueError for constants that the problem does not have."""
    if algorithm.smoothness is not None and algorithm.smoothness * OVER < known.second_moment:
        raise ValueError(
            f"smoothness={algorithm.smoothness:g} is underestimated: it is {known.second_moment:g}, and the moments "
            f"would be right and the bound wrong; accepted: smoothness >= {known.second_moment:g}"
        )
    mu = algorithm.strong_convexity
    if not isinstance(mu, str) and mu > known.strong_convexity * OVER:
        raise ValueError(
            f"strong_convexity={mu:g} is overestimated: the moments would be right and the bound wrong; accepted: "
            f"strong_convexity <= {known.strong_convexity:g}"
        )


def _smooth(schedule: Any, start: Start, at: np.ndarray, unit: str) -> dict[str, np.ndarray]:
    largest, noise, distance = 1.0 / schedule.step, start.variance, start.distance
    if isinstance(schedule, Convex):
        if unit == "events":
            grown = noise * at * (at + 1.0) * (at + 2.0) / (3.0 * largest)
            return {"weighted_suboptimality": 2.0 * largest * distance + grown}
        with np.errstate(divide="ignore"):
            return {"suboptimality": 2.0 * largest * distance / at**2 + noise * at / (3.0 * largest)}
    mu = schedule.eta / schedule.kick
    first = start.gap + 0.5 * mu * distance
    if unit == "time":
        found = first * np.exp(-schedule.eta * at) + noise * schedule.kick
    else:
        shrinks = np.exp(-at * np.log1p(0.5 * schedule.eta))
        found = first * shrinks + noise / largest * (1.0 + 2.0 / schedule.eta) * (1.0 - shrinks)
    return {"suboptimality": found}


def _rows(schedule: Any, start: Start, at: np.ndarray, unit: str) -> dict[str, np.ndarray]:
    known = start.known
    if isinstance(schedule, Convex):
        # kappa R^2 = 1/(power slope), as the slope is 1/(power kappa R^2); c = power^2
        constant = schedule.power / schedule.slope * start.inverse
        if unit == "events":
            return {"weighted_suboptimality": np.full(len(at), 0.5 * known.smoothness * constant)}
        with np.errstate(divide="ignore"):
            distance = constant / at**2
    else:
        first = start.distance + schedule.eta / schedule.kick * start.inverse
        slower = 1.0 + np.sqrt(known.smoothness * schedule.eta * schedule.kick)
        rate = schedule.eta if unit == "time" else np.log1p(schedule.eta / slower)
        distance = first * np.exp(-rate * at)
    return {"squared_distance": distance + start.outside, "suboptimality": 0.5 * known.smoothness * distance}


def _discrete(problem: Problem, algorithm: Any, start: Start, at: np.ndarray) -> dict[str, np.ndarray]:
    known, noise = start.known, start.variance
    largest, mu = known.smoothness, known.strong_convexity
    if isinstance(algorithm, Nesterov):
        if noise > 0.0:
            raise ValueError("gradient_noise has no bound for Nesterov; accepted: 0, or theory='moments'")
        said = algorithm.convexity(known, largest)
        if said > mu * OVER:
            raise ValueError(f"strong_convexity={said:g} is overestimated; accepted: at most {mu:g}")
        if said > 0.0:
            shrinks = np.exp(at * np.log1p(-np.sqrt(said / largest))) if said < largest else (at == 0.0) * 1.0
            return {"suboptimality": (start.gap + 0.5 * said * start.distance) * shrinks}
        return {"suboptimality": 2.0 * largest * start.distance / (at + 1.0) ** 2}
    if not algorithm.exact_gradients(problem) and row_space(problem):
        if start.noisy:
            raise ValueError("y is not X w for any w, and no bound is known then; accepted: a consistent system")
        if algorithm.average:
            return {"suboptimality": 0.5 * known.second_moment * start.distance / (at + 1.0)}
        distance = start.distance * (1.0 - mu / known.second_moment) ** at
        return {"squared_distance": distance + start.outside, "suboptimality": 0.5 * largest * distance}
    if not isinstance(algorithm, GradientDescent) and algorithm.average:
        raise ValueError("average=True has a bound on rows alone; accepted: average=False, or theory='moments'")
    shrinks = (1.0 - mu / largest) ** at
    if noise > 0.0:
        return {"suboptimality": start.gap * shrinks + 0.5 * noise / mu * (1.0 - shrinks)}
    slow = 0.5 * largest * start.distance / np.maximum(at, 1.0)
    return {"suboptimality": np.minimum(slow, start.gap * shrinks)}
