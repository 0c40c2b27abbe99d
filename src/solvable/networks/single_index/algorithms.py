"""The algorithms: population gradient flow, and one-pass SGD on fresh Gaussian data, of a two-layer network."""

from __future__ import annotations

import abc
import warnings
from typing import Any

import equinox as eqx
import jax
import numpy as np

from solvable.lab.declare import (
    Checked,
    Result,
    converted,
    float64,
    instance,
    on_the_host,
    raise_unless_successful,
    real,
    recorded_times,
    whole,
)
from solvable.networks.single_index import chain, overlaps
from solvable.networks.single_index.mean_field import learning_times
from solvable.networks.single_index.model import Model, model
from solvable.networks.single_index.overlaps import Start, generator, random_coordinates
from solvable.networks.single_index.task import SingleIndex, activation_field
from solvable.numerics.random import a_key
from solvable.numerics.results import is_traced
from solvable.numerics.validation import choice, floating, number, truth

DIM = 1000  # of weights that are drawn
MOST_STEPS = 10**9
LAWS = ("normal", "uniform", "sign")


class Run(eqx.Module):
    """A run at the times `at` (K,): risk (K,), rho_k (K, degree), s (K, m), a (K, m), learning times (degree,).

    `start` is where it began, `result` a `Result` code. Of several runs, the replicate axis comes first.
    """

    at: Any
    risk: Any
    components: Any
    alignment: Any
    outer: Any
    learning_times: Any
    start: Start
    result: Any

    @property
    def gram(self) -> Any:
        """The Gram matrix (m, m) of the weights at the start."""
        return self.start.gram


def _ratio(value: Any) -> Any:
    try:
        return number("rate_ratio", value, above=0.0)
    except ValueError as error:
        said = "; 0 is singular: the second layer at its optimum has no flow, use optim.closed_form_head"
        raise ValueError(f"{error}{said}") from None


def _outer(value: Any) -> Any:
    if isinstance(value, str):
        return choice("outer", value, LAWS)
    found = floating("outer", value, np.float64)
    if found.ndim != 1 or found.size == 0:
        raise ValueError(f"outer has shape {found.shape}; accepted: (neurons,), or {', '.join(map(repr, LAWS))}")
    return found


class _Ratio(Checked):
    rate_ratio: Any = converted(_ratio)


class _Stepped(_Ratio):  # apart from its class, so that the rate and the batch come second and third
    inner_rate: Any = real(above=0.0)
    batch: int = whole(1, at_least=1)


class Network(_Ratio):
    """What both algorithms share: f(x) = (1/m) sum_i a_i sigma(<u_i, x>) with |u_i| = 1, and its start."""

    activation: Any = converted(activation_field, "relu")
    neurons: int = whole(100, at_least=1)
    outer: Any = converted(_outer, "normal")

    def __check_init__(self) -> None:
        if not isinstance(self.outer, str) and not is_traced(self.outer) and len(self.outer) != self.neurons:
            raise ValueError(f"outer has {len(self.outer)} entries; accepted: one a neuron, neurons={self.neurons}")

    def model(self, task: SingleIndex) -> Model:
        """The target and the activation as the equations see them."""
        return model(task.target, self.activation)

    def drawn_outer(self, draw: np.random.Generator) -> np.ndarray:
        """Outer weights (m,) of the start."""
        if not isinstance(self.outer, str):
            return np.asarray(self.outer)
        if self.outer == "sign":
            return draw.choice([-1.0, 1.0], self.neurons)
        return draw.uniform(-1.0, 1.0, self.neurons) if self.outer == "uniform" else draw.standard_normal(self.neurons)

    def typical_outer(self) -> np.ndarray:
        """The outer weights (m,), or the quantiles (i - 1/2)/m of their law: what m neurons stand for as m grows."""
        if not isinstance(self.outer, str):
            return np.asarray(self.outer)
        shares = (np.arange(self.neurons) + 0.5) / self.neurons
        if self.outer == "sign":
            return np.where(shares < 0.5, -1.0, np.where(shares > 0.5, 1.0, 0.0))
        if self.outer == "uniform":
            return 2.0 * shares - 1.0
        from scipy.special import ndtri

        return ndtri(shares)

    @float64
    def train(
        self,
        problem: SingleIndex,
        key: jax.Array | None = None,
        *,
        init: Start | None = None,
        at: Any = None,
        throw: bool = True,
    ) -> Run:
        """Train once and measure at the times `at` (K,), nondecreasing; None: 121 times from rate_ratio/100 to 10.

        `init`: a `Start`; None: outer weights of the algorithm and random weights of dimension 1000 (of
        neurons + batch + 1, where that is more).

        Raises: TypeError for another problem or start; ValueError for bad times; SolveError, unless throw=False, where
        the run fails.
        """
        instance("problem", problem, (SingleIndex,))
        on_the_host("train", self, problem, init, at)
        times = recorded_times(at, default_times(self))
        start = None if init is None else overlaps.checked(instance("init", init, (Start,)))
        if start is not None and len(start.outer) != self.neurons:
            raise ValueError(f"init has {len(start.outer)} neurons; accepted: neurons={self.neurons}")
        dim = max(DIM, self.neurons + 1 + getattr(self, "batch", 0))
        found = self.run_one(problem, a_key(key), times, dim, False, start)
        if truth("throw", throw):
            raise_unless_successful(found.result, f"{type(self).__name__}.train")
        return found

    def run_one(
        self, problem: SingleIndex, key: Any, times: np.ndarray, dim: int, full: bool, start: Start | None = None
    ) -> Run:
        """One run from its start, drawn where none is given."""
        if start is None:
            draw = generator(key, 0)
            outer = self.drawn_outer(draw)
            weights = random_coordinates(draw, self.neurons, dim, full)
            gram = np.clip(weights @ weights.T, -1.0, 1.0)
            np.fill_diagonal(gram, 1.0)
            start = Start(outer, weights[:, 0], gram)
        else:
            weights = overlaps.coordinates_of(start)
        one = self.model(problem)
        a, s, risk, crossings, result = self._run(one, problem, start, weights, key, times, dim, full)
        rho = overlaps.components(one, a, s)
        found = learning_times(one, crossings[None], overlaps.residuals(one, a[-1:], s[-1:]))[0]
        return Run(times, risk, rho, s, a, found, start, np.int64(result))

    @abc.abstractmethod
    def _run(self, one: Model, problem: SingleIndex, start: Start, weights: Any, key: Any, *sizes: Any) -> Any:
        """a, s (K, m), the risk (K,), the last times (n,) at which a degree was above half, a `Result` code."""


class GradientFlow(Network):
    """Population gradient flow, eps a_i' = -m dR/da_i, u_i' = -m (I - u_i u_i^T) grad R (arXiv:2303.00055, Eq. 5, 6).

    rate_ratio: eps, the learning rate of the inner layer over that of the outer one; time is that of the inner layer.
    activation: sigma, as the target of `SingleIndex`; neurons: m.
    outer: a(0), an array (m,), or drawn: "normal" N(0, 1), "uniform" on [-1, 1], "sign" +1 or -1.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    rate_ratio: Any = converted(_ratio, 1e-3)

    def _run(self, one: Model, problem: SingleIndex, start: Start, weights: Any, key: Any, *sizes: Any) -> Any:
        return overlaps.flow(one, float(self.rate_ratio), start.outer, weights, sizes[0])


class Descent(Network, _Stepped):
    """One-pass SGD: a step on `batch` fresh Gaussian inputs, after which the inner weights are renormalised.

    With e = y - f(x): a_i += (inner_rate / rate_ratio) mean e sigma(z_i), u_i += inner_rate a_i mean e sigma'(z_i) x
    across u_i, z_i = <u_i, x>. Time is inner_rate x steps, rounded to whole steps; the loss is half the square.
    The other arguments are those of `GradientFlow`. A function of NumPy arrays as activation is differentiated by
    central differences, and called at every step.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    def _run(self, one: Model, problem: SingleIndex, start: Start, weights: Any, key: Any, *sizes: Any) -> Any:
        times, dim, full = sizes
        plan = chain.plan_of(one, problem.target, self.activation, self.neurons, self.batch, dim, full)
        inner = float(self.inner_rate)
        rates = inner / float(self.rate_ratio), inner, float(problem.noise)
        steps = np.rint(times / inner)
        if steps[-1] > MOST_STEPS:
            raise ValueError(
                f"at reaches {times[-1]:g}, which takes {steps[-1]:.2g} steps of inner_rate={inner:g}; accepted: up to "
                f"{MOST_STEPS:.0e} steps"
            )
        a, s, risk, last = chain.run(one, plan, rates, start.outer, weights, key, steps.astype(np.int64))
        # once a number is not finite, so are those after it
        sound = np.isfinite(risk).all() and np.isfinite(a).all()
        code = Result.SUCCESSFUL if sound else Result.NONFINITE
        return a, s, risk, np.where(last < 0, np.nan, last * inner), int(code)


def require_feasible(algorithm: Network, dim: int, full: bool) -> None:
    """Raises: ValueError for a dimension that the chain of `Descent` does not know. Warns of steps too long for it."""
    if not isinstance(algorithm, Descent):
        return
    m, batch = algorithm.neurons, algorithm.batch
    if not full and dim < m + 2:
        raise ValueError(f"dim={dim} is below neurons + 2 = {m + 2}; accepted: a larger one, or full=True")
    if not full and batch > dim - m - 1:
        raise ValueError(f"batch={batch} is above dim - neurons - 1 = {dim - m - 1}; accepted: less, or full=True")
    if float(algorithm.inner_rate) * dim > 2.0:
        said = float(algorithm.inner_rate) * dim
        warnings.warn(f"inner_rate x dim = {said:.3g} is above 2: SGD is no longer near a flow", stacklevel=2)


def default_times(algorithm: Network) -> np.ndarray:
    """The times of `at=None`."""
    return np.geomspace(0.01 * min(float(algorithm.rate_ratio), 1.0), 10.0, 121)


def scale_of(algorithm: Network, unit: str) -> float:
    """How much time one of a unit is: 1, or rate_ratio^(1/2) for "stage"."""
    return float(algorithm.rate_ratio) ** 0.5 if unit == "stage" else 1.0
