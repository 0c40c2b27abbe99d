"""The algorithms: continuized acceleration, and the methods that it is compared with."""

from __future__ import annotations

import warnings
from typing import Any

import equinox as eqx
import numpy as np

from solvable.iterations.continuized.conditioning import Constants, constants
from solvable.iterations.continuized.schedules import Convex, Descent, Momentum, Schedule, Strong
from solvable.iterations.continuized.task import LeastSquares, Problem, row_space, spectral
from solvable.lab.declare import (
    Checked,
    Result,
    absent,
    converted,
    flag,
    float64,
    instance,
    on_the_host,
    raise_unless_successful,
    real,
    recorded_steps,
    word,
)
from solvable.numerics.random import a_key
from solvable.numerics.validation import number, truth

MOST_EVENTS = 10**7
EVENTS = np.arange(101)  # of `at=None`


class Run(eqx.Module):
    """One run: x (K, d) and z (K, d) when `at` events are done, in the user's coordinates, and their times T_k (K,).

    `solution` is x, the mean of the iterates for `StochasticGradient(average=True)`; `mixing` is z, None for the
    methods that have none. `result` is a `Result` code.
    """

    at: Any
    solution: Any
    mixing: Any
    times: Any
    result: Any


def _strong(value: Any) -> Any:
    if isinstance(value, str):
        if value != "exact":
            raise ValueError(f"strong_convexity={value!r} is unknown; accepted: a number >= 0, or 'exact'")
        return value
    return number("strong_convexity", value, at_least=0.0)


def warn_of_plateau(problem: Any, algorithm: Any) -> None:
    """Warns where rows contradict each other: gradients stay noisy, which accelerated steps do not average out."""
    stated = isinstance(problem, LeastSquares) and getattr(algorithm, "steps", "") == "stated"
    if stated and spectral(problem).residuals is not None:
        said = "y is not X w for any w, so that with steps='stated' f reaches a plateau; expect it, or average SGD"
        warnings.warn(said, stacklevel=3)


class Method(Checked):
    """What all algorithms share: the form of their steps, and how they are trained."""

    @property
    def random_times(self) -> bool:
        """Whether events come at random times."""
        return False

    def exact_gradients(self, problem: Problem) -> bool:
        """Whether a step on rows takes the gradient of f, not that of one row."""
        return row_space(problem)

    def schedule(self, problem: Problem, known: Constants | None = None) -> Schedule:
        """The steps on a problem. Raises: ValueError for parameters that it does not allow."""
        raise NotImplementedError

    def convexity(self, known: Constants, largest: float) -> float:
        """mu as a number: that said, or that of the problem. Raises: ValueError for what it cannot be."""
        said: Any = getattr(self, "strong_convexity", 0.0)
        if isinstance(said, str):
            if known.strong_convexity <= 0.0:
                raise ValueError("strong_convexity='exact', and that of the problem is 0; accepted: a number >= 0")
            return known.strong_convexity
        if said > largest:
            raise ValueError(
                f"strong_convexity={said:g} is above the smoothness {largest:g}; accepted: numbers from 0 to that"
            )
        return float(said)

    @float64
    def train(self, problem: Any, key: Any = None, *, init: None = None, at: Any = None, throw: bool = True) -> Run:
        """Run once from the problem's start; `at` (K,) counts events, increasing whole numbers (None: 0 to 100).

        The waiting times, noises and rows are those of `key`, event by event, and do not depend on `at`.

        Raises: TypeError for what is no problem; ValueError for bad `at` and parameters; SolveError, unless
        throw=False, where a value is not finite.
        """
        instance("problem", problem, (Problem,))
        absent("init", init, "the start is that of the problem")
        on_the_host("train", self, problem, at)
        from solvable.iterations.continuized.process import trained

        at = recorded_steps(at, MOST_EVENTS, EVENTS, name=None)
        warn_of_plateau(problem, self)
        x, z, times = trained(problem, self, a_key(key), at)
        finite = np.isfinite(x).all() and np.isfinite(z).all()
        result = np.int64(Result.SUCCESSFUL if finite else Result.NONFINITE)
        if truth("throw", throw):
            raise_unless_successful(result, f"{type(self).__name__}.train")
        if isinstance(self, StochasticGradient) and self.average:
            x = z
        return Run(at, x, z if self.random_times else None, times, result)


class Continuized(Method):
    """Accelerated gradients whose steps come at the events of a Poisson process of rate 1 (arXiv:2106.07644).

    Convex (`strong_convexity` mu = 0): dx = (2/t)(z - x) dt between the events; at an event at t, with G a gradient at
    x, x <- x - G/R^2 and z <- z - t G/(2 kappa R^2). Strongly convex: dx = eta (z - x) dt and dz = eta (x - z) dt with
    eta = sqrt(mu/(kappa R^2)), and z <- z - G/sqrt(mu kappa R^2). Here R^2 = L and kappa = 1, but on rows R^2 and kappa
    are the constants of their second moments (see `constants`). mu is a number, or "exact" for the problem's own:
    of H the least non-zero eigenvalue, within whose range everything stays (a start is never moved outside of the row
    space). `steps` matters on rows with mu = 0: "stated" is the above, "tight" mixes at (1/t) and steps z by
    t G/(kappa R^2), whose bound is a quarter (derived). `smoothness` takes the place of L, and on rows of R^2; None:
    that of the problem.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    strong_convexity: Any = converted(_strong, 0.0)
    steps: str = word("stated", "tight")
    smoothness: Any = real(None, above=0.0)

    def __check_init__(self) -> None:
        if self.smoothness is not None and not isinstance(self.strong_convexity, str):
            self.convexity(Constants(0.0, 0.0, 0.0, 0.0), float(self.smoothness))

    @property
    def random_times(self) -> bool:
        """They do."""
        return True

    def exact_gradients(self, problem: Problem) -> bool:
        """One row an event."""
        return False

    def schedule(self, problem: Problem, known: Constants | None = None) -> Convex | Strong:
        """Convex or strongly convex steps."""
        known = constants(problem) if known is None else known
        largest = known.second_moment if self.smoothness is None else float(self.smoothness)
        mu, condition = self.convexity(known, largest), known.statistical_condition
        if mu > 0.0:
            root = np.sqrt(mu) * np.sqrt(condition) * np.sqrt(largest)
            return Strong(np.float64(mu / root), np.float64(1.0 / largest), np.float64(1.0 / root))
        if self.steps == "tight" and row_space(problem):
            return Convex(1, np.float64(1.0 / largest), np.float64(1.0 / (condition * largest)))
        return Convex(2, np.float64(1.0 / largest), np.float64(0.5 / (condition * largest)))


class Nesterov(Method):
    """y_0 = x_0, x_(k+1) = y_k - grad f(y_k)/L, y_(k+1) = x_(k+1) + b_k (x_(k+1) - x_k).

    b_k = k/(k+3); with `strong_convexity` mu > 0, a number or "exact", b_k = (1-q)/(1+q), q = sqrt(mu/L). On rows the
    gradient is that of f.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    strong_convexity: Any = converted(_strong, 0.0)

    def schedule(self, problem: Problem, known: Constants | None = None) -> Momentum:
        """Momentum at the point ahead."""
        known = constants(problem) if known is None else known
        q = np.sqrt(self.convexity(known, known.smoothness) / known.smoothness)
        return Momentum(False, np.float64(1.0 / known.smoothness), (1.0 - q) / (1.0 + q) if q > 0.0 else None)


class HeavyBall(Method):
    """x_(k+1) = x_k - step grad f(x_k) + b (x_k - x_(k-1)), x_(-1) = x_0: the parameters that are best in the limit.

    step = 4/(sqrt L + sqrt mu)^2, b = ((sqrt L - sqrt mu)/(sqrt L + sqrt mu))^2 with `strong_convexity` mu > 0, a
    number or "exact". On quadratics f grows for a long time before it falls. On rows the gradient is that of f.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    strong_convexity: Any = converted(_strong)

    def __check_init__(self) -> None:
        if not isinstance(self.strong_convexity, str):
            number("strong_convexity", self.strong_convexity, above=0.0)

    def schedule(self, problem: Problem, known: Constants | None = None) -> Momentum:
        """Momentum added to a gradient taken at x."""
        known = constants(problem) if known is None else known
        q = np.sqrt(self.convexity(known, known.smoothness) / known.smoothness)
        return Momentum(True, np.float64(4.0 / (1.0 + q) ** 2 / known.smoothness), ((1.0 - q) / (1.0 + q)) ** 2)


class GradientDescent(Method):
    """x <- x - grad f(x)/L; on rows the gradient is that of f."""

    def schedule(self, problem: Problem, known: Constants | None = None) -> Descent:
        """Constant steps."""
        known = constants(problem) if known is None else known
        return Descent(False, np.float64(1.0 / known.smoothness))


class StochasticGradient(Method):
    """x <- x - G/R^2 with G the gradient of one row (elsewhere a gradient as the problem gives it).

    With `average` what is measured is the mean of x_0 to x_k.
    """

    average: bool = flag(False)

    def exact_gradients(self, problem: Problem) -> bool:
        """One row a step."""
        return False

    def schedule(self, problem: Problem, known: Constants | None = None) -> Descent:
        """Constant steps."""
        known = constants(problem) if known is None else known
        return Descent(self.average, np.float64(1.0 / known.second_moment))
