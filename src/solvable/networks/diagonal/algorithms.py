"""The training algorithms: gradient flow and gradient descent of a two-layer diagonal network."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.lab.declare import Checked, absent, array, instance, on_the_host, pick, real, recorded_times, word
from solvable.networks.diagonal.flow import flows
from solvable.networks.diagonal.lasso import above_zero
from solvable.networks.diagonal.layers import Layers, Solved, descents, solved, train_layers
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.random import a_key
from solvable.numerics.results import is_traced, raise_unless_successful
from solvable.numerics.validation import truth

MOST_STEPS = 10**9  # of gradient descent, half an hour
MULTIPLES = np.geomspace(0.5, 30.0, 61)  # the times of `at=None`


class Run(eqx.Module):
    """A trained network: x (K, d) and its average since the start (K, d) at the rescaled times `at` (K,).

    `result` is a `Result` code; where the run has failed, x and its average are NaN. `problem` is what it learnt.
    """

    at: Any
    solution: Any
    average: Any
    result: Any
    problem: Quadratic


class Runs(eqx.Module):
    """Runs of several problems: x and its averages (R, K, d) at the times (R, K), a `Result` code each.

    Problems of one law may differ in the rank of their factor and are not stacked. What was not trained has None.
    """

    problems: tuple[Quadratic, ...]
    result: Any
    times: Any = None
    solution: Any = None
    average: Any = None

    def run(self, index: int) -> Run:
        """One of them."""
        times, solution, average, result = pick((self.times, self.solution, self.average, self.result), index)
        return Run(times, solution, average, result, self.problems[index])


class _Scaled(Checked):
    log_scale: Any = real(-11.5, below=0.0)


class _Stepped(_Scaled):  # apart from its class, so that the learning rate comes second
    learning_rate: Any = real(0.01, above=0.0)


class DiagonalNetwork(_Scaled):
    """What both algorithms share: the network, its initialisation and its weight decay lambda."""

    parameterization: str = word("product", "square")
    weight_decay: Any = real(0.0, at_least=0.0)
    first_layer: Any = array("", "d", default=1.0, dtype=np.float64)
    second_layer: Any = array("", "d", default=0.0, dtype=np.float64)

    def __check_init__(self) -> None:
        if is_traced(self.first_layer, self.second_layer):
            return
        first, second = np.broadcast_arrays(self.first_layer, self.second_layer)
        if self.positive:
            if np.any(second != 0.0):
                raise ValueError(
                    f"second_layer={self.second_layer} is not accepted with parameterization='square', which has one "
                    "layer; accepted: 0"
                )
            if np.any(first == 0.0):
                raise ValueError("first_layer holds 0, so that its coordinate never moves; accepted: numbers but 0")
        for place in np.flatnonzero(np.abs(first) == np.abs(second)):
            raise ValueError(
                f"first_layer and second_layer are {first.flat[place]:g} and {second.flat[place]:g} at coordinate "
                f"{place}, which can then have one sign only; accepted: layers of different absolute values"
            )

    @property
    def positive(self) -> bool:
        """Whether x = u u, which cannot be negative."""
        return self.parameterization == "square"

    @property
    def log_inverse(self) -> Any:
        """L = log(1 / epsilon)."""
        return -self.log_scale

    @property
    def speed(self) -> float:
        """By how much the rescaled time grows in a training time log(1/eps): 2, or 4 for "square"."""
        return 4.0 if self.positive else 2.0

    def layers(self, dim: int) -> Layers:
        """The weights of both signs in dimension `dim`. Raises: ValueError for layers of another length."""
        first, second = (as_float64(layer) for layer in (self.first_layer, self.second_layer))
        for name, layer in (("first_layer", first), ("second_layer", second)):
            if layer.shape not in ((), (dim,)):
                raise ValueError(f"{name} has shape {layer.shape}; accepted: a number, or ({dim},)")
        ones = jnp.ones(dim, jnp.float64)
        if self.positive:
            plus, minus = first**2, 0.0 * first
        else:
            plus, minus = 0.25 * (first + second) ** 2, 0.25 * (first - second) ** 2
        return Layers(as_float64(self.log_inverse), plus * ones, minus * ones, as_float64(self.weight_decay))

    @float64
    def run_many(self, problems: Sequence[Quadratic], times: np.ndarray, full: bool = False) -> Solved:
        """x (R, K, d), averages (R, K, d) and `Result` codes (R,) of problems of one dimension at `times` (R, K).

        Gradient flow is solved in the log domain; `full=True` integrates the two layers in training time.
        """
        return self._run(problems, self.layers(problems[0].dim), times, full)

    @abc.abstractmethod
    def _run(self, problems: Sequence[Quadratic], layers: Layers, times: np.ndarray, full: bool) -> Solved: ...

    @float64
    def train(
        self, problem: Quadratic, key: jax.Array | None = None, *, init: None = None, at: Any = None, throw: bool = True
    ) -> Run:
        """Train on one problem; nothing is random, `key` is not used, and the start is that of the algorithm.

        `at` (K,) are rescaled times s >= 0, nondecreasing; None: 61 times from 1/2 to 30 times the first kink, at which
        the lasso lets the first coordinate go (see `first_kink`).

        Raises: TypeError for what is no problem; ValueError for bad times, and inside a transformation of JAX;
        SolveError, unless throw=False, when the run fails.
        """
        instance("problem", problem, (Quadratic,))
        a_key(key)
        absent("init", init, "training starts from the layers of the algorithm")
        on_the_host("train", self, problem, at)
        times = times_of([problem], self, recorded_times(at, MULTIPLES), "first_kink" if at is None else "one")
        solution, average, result = pick(self.run_many([problem], times), 0)
        if truth("throw", throw):
            raise_unless_successful(result, f"{type(self).__name__}.train")
        return Run(times[0], solution, average, result, problem)


class GradientFlow(DiagonalNetwork):
    """Gradient flow on l(u v) + lambda (|u|^2 + |v|^2) / 2 from u = sqrt(eps) beta, v = sqrt(eps) gamma.

    log_scale: log eps < 0, any: the flow is solved in the log domain, where a scale of 1e-160 is as good as 1e-5. eps
    is in the units of x, which starts at eps beta gamma: what is small against coefficients near 1 is not against those
    near 1e-6. Targets times c with log_scale + log c are the same run in other units.
    parameterization: "product", x = u v; "square", x = u u, the flow on l(u u) + lambda |u|^2 from sqrt(eps) alpha.
    weight_decay: lambda >= 0. first_layer: beta (alpha for "square"), second_layer: gamma; numbers or (d,).
    Time is rescaled, s = 2 t / log(1/eps) for "product" and 4 t / log(1/eps) for "square", so that s is the inverse
    lasso penalty that the average of x up to s goes with (arXiv:2509.18766).

    Raises: ValueError naming the argument, its value and what is accepted; beta_i = +-gamma_i and alpha_i = 0, whose
    coordinate cannot reach both signs or never moves, are refused.
    """

    def _run(self, problems: Sequence[Quadratic], layers: Layers, times: np.ndarray, full: bool) -> Solved:
        if not full:
            return solved(flows, problems, layers, times)
        runs = [train_layers(problem, layers, self.speed, row) for problem, row in zip(problems, times, strict=True)]
        solution, average, result = map(np.stack, zip(*runs, strict=True))
        return solution, average, result


class GradientDescent(DiagonalNetwork, _Stepped):
    """Gradient descent with steps of `learning_rate` g > 0 on the loss of `GradientFlow`, from the same start.

    Steps are s log(1/eps) / (2 g) for "product" and s log(1/eps) / (4 g) for "square", rounded to whole steps; the
    average is that of the iterates before the last. A step multiplies u + v and u - v, the one by
    1 - g (dl/dx + lambda), the other by 1 - g (-dl/dx + lambda), so that their logarithms are stored and any scale can
    be run: the same algorithm, not an approximation of it. Stable below about 1 / (max |x| |M|), half of that for
    "square".

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    @property
    def time_step(self) -> Any:
        """By how much one step moves the rescaled time: 2 g / log(1/eps), 4 g / log(1/eps) for "square"."""
        return self.speed * self.learning_rate / self.log_inverse

    def _run(self, problems: Sequence[Quadratic], layers: Layers, times: np.ndarray, full: bool) -> Solved:
        rate = 0.5 * self.speed * as_float64(self.learning_rate)
        steps = np.rint(times / float(self.time_step))
        if steps.max() > MOST_STEPS or (steps.max() == 0.0 < times.max()):
            raise ValueError(
                f"learning_rate={float(self.learning_rate):g} takes {steps.max():.3g} steps to reach "
                f"at={times.max():g}; accepted: learning rates with which it takes from 1 to {MOST_STEPS:.0e}"
            )
        return solved(descents, problems, layers, steps.astype(np.int64), rate)


def first_kink(problem: Quadratic, positive: bool = False) -> float:
    """The inverse penalty at which the lasso without weight decay lets the first coordinate go: 1 / max |r_i|.

    1 / max r_i for the positive lasso; 1 where the largest is not above 0.

    Raises: TypeError for what is no `Quadratic`.
    """
    linear = instance("problem", problem, (Quadratic,)).linear
    largest = float(np.max(linear if truth("positive", positive) else np.abs(linear)))
    return 1.0 / largest if largest > 0.0 else 1.0


def times_of(problems: Sequence[Quadratic], algorithm: DiagonalNetwork, at: Any, unit: str) -> np.ndarray:
    """The times s (R, K) for which `at` (K,) stands: `unit` is "one", or "first_kink" for that of each problem.

    Raises: ValueError for a time whose inverse is no finite penalty, or that is not finite itself.
    """
    kinks = [first_kink(problem, algorithm.positive) if unit == "first_kink" else 1.0 for problem in problems]
    with np.errstate(over="ignore"):
        times = above_zero("at", np.asarray(kinks)[:, None] * at, or_zero=True)
    if not np.all(np.isfinite(times)):
        raise ValueError(f"at holds {np.max(at):g} {unit}, a time that is not finite; accepted: smaller ones")
    return times
