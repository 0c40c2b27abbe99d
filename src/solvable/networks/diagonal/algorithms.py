"""The training algorithms: gradient flow and gradient descent of a two-layer diagonal network."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.networks.diagonal.descent import descents
from solvable.networks.diagonal.flow import Layers, flows
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.results import is_traced, raise_unless_successful
from solvable.numerics.validation import choice, floating, number

MOST_STEPS = 10**9  # of gradient descent, half an hour
MULTIPLES = (0.5, 30.0, 61)  # the times of `at=None`: from, to, how many, log-spaced


class Run(eqx.Module):
    """A trained network: x (K, d) and its average since the start (K, d) at the rescaled times `at` (K,).

    `result` is a `Result` code; where the run has failed, x and its average are NaN.
    """

    at: Float[Array, "K"]
    solution: Float[Array, "K d"]
    average: Float[Array, "K d"]
    result: Int[Array, ""]


class DiagonalNetwork(eqx.Module):
    """What both algorithms share: the network, its initialisation and its weight decay lambda."""

    log_scale: Any
    parameterization: str = eqx.field(static=True)
    weight_decay: Any
    first_layer: Any
    second_layer: Any

    def _set(
        self, log_scale: Any, parameterization: str, weight_decay: Any, first_layer: Any, second_layer: Any
    ) -> None:
        self.log_scale = number("log_scale", log_scale, below=0.0)
        self.parameterization = choice("parameterization", parameterization, ("product", "square"))
        self.weight_decay = number("weight_decay", weight_decay, at_least=0.0)
        self.first_layer = _layer("first_layer", first_layer)
        self.second_layer = _layer("second_layer", second_layer)
        if is_traced(self.first_layer, self.second_layer):
            return
        if parameterization == "square":
            if np.any(self.second_layer != 0.0):
                raise ValueError(
                    f"second_layer={second_layer!r} is not accepted with parameterization='square', which has one "
                    "layer; accepted: 0"
                )
            if np.any(self.first_layer == 0.0):
                raise ValueError("first_layer holds 0, so that its coordinate never moves; accepted: numbers but 0")
        else:
            _check_alive(self.first_layer, self.second_layer)

    @property
    def positive(self) -> bool:
        """Whether x = u u, which cannot be negative."""
        return self.parameterization == "square"

    @property
    def log_inverse(self) -> Any:
        """L = log(1 / epsilon)."""
        return -self.log_scale

    def layers(self, dim: int) -> Layers:
        """The weights of both signs in dimension `dim`.

        Raises: ValueError for layers of another length.
        """
        first, second = (as_float64(layer) for layer in (self.first_layer, self.second_layer))
        for name, layer in (("first_layer", first), ("second_layer", second)):
            if layer.shape not in ((), (dim,)):
                raise ValueError(f"{name} has shape {layer.shape}; accepted: a number, or ({dim},)")
        ones = jnp.ones(dim, jnp.float64)
        plus, minus = (
            (first**2, 0.0 * first) if self.positive else (0.25 * (first + second) ** 2, 0.25 * (first - second) ** 2)
        )
        return Layers(as_float64(self.log_inverse), plus * ones, minus * ones, as_float64(self.weight_decay))

    def run_many(self, problems: list[Quadratic], times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x (R, K, d), averages (R, K, d) and `Result` codes (R,) of problems of one dimension at `times` (R, K)."""
        raise NotImplementedError

    @float64
    def train(self, problem: Quadratic, key: jax.Array | None = None, *, at: Any = None, throw: bool = True) -> Run:
        """Train on one problem; nothing is random, `key` is not used.

        `at` (K,) are rescaled times s >= 0, nondecreasing; None: 61 times from 1/2 to 30 times the first kink, at which
        the lasso lets the first coordinate go (see `first_kink`).

        Raises: TypeError for what is no problem; ValueError for bad times, and inside a transformation of JAX;
        SolveError, unless throw=False, when the run fails.
        """
        del key
        if not isinstance(problem, Quadratic):
            raise TypeError(f"problem={type(problem).__name__} is not accepted by train; accepted: a Quadratic")
        if is_traced(self, problem, at):
            raise ValueError("train runs on the host and cannot be traced; accepted: calls outside jit, vmap and grad")
        multiples = at is None
        at = times_of(at) * (first_kink(problem, self.positive) if multiples else 1.0)
        solution, average, result = self.run_many([problem], at[None])
        if throw:
            raise_unless_successful(result[0], f"{type(self).__name__}.train")
        return Run(at, solution[0], average[0], result[0])


class GradientFlow(DiagonalNetwork):
    """Gradient flow on l(u v) + lambda (|u|^2 + |v|^2) / 2 from u = sqrt(eps) beta, v = sqrt(eps) gamma.

    log_scale: log eps < 0, any: the flow is solved in the log domain, where a scale of 1e-160 is as good as 1e-5.
    parameterization: "product", x = u v; "square", x = u u, the flow on l(u u) + lambda |u|^2 from sqrt(eps) alpha.
    weight_decay: lambda >= 0. first_layer: beta (alpha for "square"), second_layer: gamma; numbers or (d,).
    Time is rescaled, s = 2 t / log(1/eps) for "product" and 4 t / log(1/eps) for "square", so that s is the inverse
    lasso penalty that the average of x up to s goes with (arXiv:2509.18766).

    Raises: ValueError naming the argument, its value and what is accepted; beta_i = +-gamma_i and alpha_i = 0, whose
    coordinate cannot reach both signs or never moves, are refused.
    """

    def __init__(
        self,
        log_scale: Any = -11.5,
        parameterization: str = "product",
        weight_decay: Any = 0.0,
        first_layer: Any = 1.0,
        second_layer: Any = 0.0,
    ) -> None:
        self._set(log_scale, parameterization, weight_decay, first_layer, second_layer)

    @float64
    def run_many(self, problems: list[Quadratic], times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x (R, K, d), averages (R, K, d) and `Result` codes (R,) of problems of one dimension at `times` (R, K)."""
        return flows(problems, self.layers(problems[0].dim), times)


class GradientDescent(DiagonalNetwork):
    """Gradient descent with steps of `learning_rate` g > 0 on the loss of `GradientFlow`, from the same start.

    Steps are s log(1/eps) / (2 g) for "product" and s log(1/eps) / (4 g) for "square", rounded to whole steps; the
    average is that of the iterates before the last. A step multiplies u + v and u - v, the one by
    1 - g (dl/dx + lambda), the other by 1 - g (-dl/dx + lambda), so that their logarithms are stored and any scale can
    be run: the same algorithm, not an approximation of it. Stable below about
    1 / (max |x| |M|), half of that for "square".

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    learning_rate: Any

    def __init__(
        self,
        log_scale: Any = -11.5,
        learning_rate: Any = 0.01,
        parameterization: str = "product",
        weight_decay: Any = 0.0,
        first_layer: Any = 1.0,
        second_layer: Any = 0.0,
    ) -> None:
        self._set(log_scale, parameterization, weight_decay, first_layer, second_layer)
        self.learning_rate = number("learning_rate", learning_rate, above=0.0)

    @property
    def time_step(self) -> Any:
        """By how much one step moves the rescaled time: 2 g / log(1/eps), 4 g / log(1/eps) for "square"."""
        return (4.0 if self.positive else 2.0) * self.learning_rate / self.log_inverse

    @float64
    def run_many(self, problems: list[Quadratic], times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x (R, K, d), averages (R, K, d) and `Result` codes (R,) of problems of one dimension at `times` (R, K)."""
        rate = (2.0 if self.positive else 1.0) * as_float64(self.learning_rate)
        steps = np.rint(times / float(self.time_step))
        if steps.max() > MOST_STEPS or (steps.max() == 0.0 < times.max()):
            rate, count = float(self.learning_rate), steps.max()
            raise ValueError(
                f"learning_rate={rate:g} takes {count:.3g} steps to reach at={times.max():g}; accepted: learning rates "
                f"with which it takes from 1 to {MOST_STEPS:.0e}"
            )
        steps = steps.astype(np.int64)
        return descents(problems, self.layers(problems[0].dim), rate, steps)


def first_kink(problem: Quadratic, positive: bool = False) -> float:
    """The inverse penalty at which the lasso without weight decay lets the first coordinate go: 1 / max |r_i|.

    1 / max r_i for the positive lasso; 1 where the largest is not above 0.
    """
    largest = float(np.max(problem.linear if positive else np.abs(problem.linear)))
    return 1.0 / largest if largest > 0.0 else 1.0


def times_of(at: Any) -> np.ndarray:
    """The times `at` as an array (K,); None: the default multiples of the first kink.

    Raises: ValueError unless they are finite, >= 0 and nondecreasing.
    """
    if at is None:
        return np.geomspace(*MULTIPLES)
    times = np.atleast_1d(np.asarray(floating("at", at, np.float64)))
    if times.ndim != 1 or times.size == 0:
        raise ValueError(f"at has shape {times.shape}; accepted: (K,) with K >= 1")
    if times[0] < 0.0 or np.any(np.diff(times) < 0.0):
        raise ValueError("at is not a nondecreasing list of times >= 0; accepted: such a list")
    return times


def _layer(name: str, value: Any) -> Any:
    value = floating(name, value, np.float64)
    if value.ndim > 1:
        raise ValueError(f"{name} has shape {value.shape}; accepted: a number, or (d,)")
    return value


def _check_alive(first: Any, second: Any) -> None:
    try:
        first, second = np.broadcast_arrays(first, second)
    except ValueError:
        raise ValueError(
            f"second_layer has shape {np.shape(second)}; accepted: a number, or {np.shape(first)}, as the first layer"
        ) from None
    dead = np.abs(first) == np.abs(second)
    if np.any(dead):
        where = int(np.flatnonzero(dead)[0])
        pair = f"{np.ravel(first)[where]:g} and {np.ravel(second)[where]:g}"
        raise ValueError(
            f"first_layer and second_layer are {pair} at coordinate {where}, which can then have one sign only; "
            "accepted: layers of different absolute values"
        )
