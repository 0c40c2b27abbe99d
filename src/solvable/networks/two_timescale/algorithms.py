"""The training algorithms: population gradient flow, and one-pass stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.lab.declare import (
    Checked,
    Result,
    absent,
    converted,
    float64,
    instance,
    on_the_host,
    raise_unless_successful,
    real,
    recorded_times,
    whole,
    word,
)
from solvable.networks.two_timescale.descent import MOST_STEPS, SECONDS, descents
from solvable.networks.two_timescale.flow import State, flows
from solvable.networks.two_timescale.task import LEAST_WIDTH, PiecewiseConstant, fitting_width, stacked
from solvable.numerics.random import a_key
from solvable.numerics.validation import floating, truth

DEFAULT_NEURONS = 20


class Run(eqx.Module):
    """A trained network: positions (K, m), outer (K, m) and bias (K,) at slow times `at` (K,), from `start` (m,).

    `hit_times` (n,) are when a neuron first comes within width/2 of each jump, inf where none has. `result` is a
    `Result` code. Runs of many replicates have their axis first, but for `at`.
    """

    at: Any
    positions: Any
    outer: Any
    bias: Any
    start: Any
    hit_times: Any
    result: Any
    problem: Any

    def run(self, index: int) -> Run:
        """One of many."""
        leaves, shape = jax.tree.flatten(eqx.tree_at(lambda runs: runs.at, self, None))
        one = jax.tree.unflatten(shape, [leaf[index] for leaf in leaves])
        return eqx.tree_at(lambda run: run.at, one, self.at, is_leaf=lambda leaf: leaf is None)


def _positions(value: Any) -> Any:
    if isinstance(value, str):
        if value != "uniform":
            raise ValueError(f"positions={value!r} is unknown; accepted: 'uniform', or an array (neurons,)")
        return value
    found = floating("positions", value, np.float64)
    if found.ndim != 1 or found.size == 0:
        raise ValueError(f"positions has shape {found.shape}; accepted: 'uniform', or (neurons,)")
    return found


class Network(Checked):
    """What both algorithms share: the start, and how runs are made."""

    def __before_check__(self) -> Mapping[str, Any]:
        """As many neurons as positions, where these are said and those are not."""
        said, neurons = self._field("positions"), self._field("neurons")
        if isinstance(said, str) or np.ndim(said) != 1:
            return {}
        if neurons not in (DEFAULT_NEURONS, len(said)):
            raise ValueError(f"neurons={neurons!r}, and positions has {len(said)}; accepted: as many, or neither")
        return {"neurons": len(said)}

    def _field(self, name: str) -> Any:
        return getattr(self, name)

    def starts(self, keys: Any) -> np.ndarray:
        """The positions (R, m) at which runs start: sorted uniform ones of each key, or those of the algorithm."""
        said = self._field("positions")
        if isinstance(said, str):
            return np.asarray(_uniform(keys, self._field("neurons")))
        return np.tile(np.asarray(said), (len(keys), 1))

    def state(self, tasks: Any, keys: Any, starts: np.ndarray, at: np.ndarray) -> tuple[State, Any, Any]:
        """States (R, K), hit times (R, n) and codes (R,)."""
        raise NotImplementedError

    @float64
    def run_many(self, problems: Sequence[PiecewiseConstant], keys: Any, at: np.ndarray) -> Run:
        """One run a problem and key (R,), at slow times (K,). Raises: ValueError for a width above a piece."""
        for problem in problems:
            fitting_width(problem, self._field("width"))
        together = stacked(problems)
        keys = _split(keys)
        starts = self.starts(keys[:, 0])
        state, hits, result = self.state(together, keys[:, 1], starts, at)
        state = State(*map(np.asarray, state))
        finite = np.all([np.isfinite(leaf).reshape(len(starts), -1).all(axis=1) for leaf in state], axis=0)
        result = np.where(finite, np.asarray(result), np.maximum(np.asarray(result), int(Result.NONFINITE)))
        return Run(at, state.positions, state.outer, state.bias, starts, np.asarray(hits), result, together)

    @float64
    def train(
        self,
        problem: PiecewiseConstant,
        key: jax.Array | None = None,
        *,
        init: None = None,
        at: Any = None,
        throw: bool = True,
    ) -> Run:
        """Train once on one target, from positions that `key` draws or that the algorithm says, outer weights 0.

        `at` (K,) are slow times, nondecreasing; None: 101 from 0 to 0.14/min jump^2.

        Raises: TypeError for what is no target; ValueError for bad times and what `simulate` refuses; SolveError,
        unless throw=False, when the run fails.
        """
        instance("problem", problem, (PiecewiseConstant,))
        absent("init", init, "a start is a field of the algorithm, positions=")
        on_the_host("train", self, problem, at)
        at = slow_times(problem, at)
        runs = self.run_many([problem], a_key(key)[None], at)
        if truth("throw", throw):
            raise_unless_successful(runs.result, f"{type(self).__name__}.train")
        return runs.run(0)


class GradientFlow(Network):
    """Gradient flow of R = int_0^1 (f - f*)^2 (no 1/2), f(x) = bias + sum_j outer_j sigma((x - positions_j)/width).

    sigma(z) = 4 (z + 1/2)^3 on [-1/2, 0] and 1 - 4 (1/2 - z)^3 on [0, 1/2], 0 before and 1 after. rate_ratio = learning
    rate of the positions over that of the outer weights and the bias, which start at 0. Time is that of the positions.
    positions: "uniform" on [0, 1], or an array (m,), with which `neurons` is its length (arXiv:2304.09576; the flow at
    finite ratio and width: derived).

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    rate_ratio: Any = real(above=0.0)
    neurons: int = whole(DEFAULT_NEURONS, at_least=1)
    width: Any = real(4e-3, at_least=LEAST_WIDTH)
    positions: Any = converted(_positions, "uniform")

    def state(self, tasks: Any, keys: Any, starts: np.ndarray, at: np.ndarray) -> tuple[State, Any, Any]:
        """The flow of the exact derivative."""
        return flows(tasks, jnp.asarray(starts), self.rate_ratio, self.width, False, jnp.asarray(at))


class Descent(Network):
    """Stochastic gradient descent with one fresh sample a step on (y - f(x))^2 (no 1/2), from outer weights 0.

    With G = 2 (y - f(x)): outer += outer_rate G sigma, bias += outer_rate G and positions -= outer_rate rate_ratio G
    outer sigma'/width. Slow time is rate_ratio x outer_rate x step. derivative: "exact", or "box", the indicator of the
    support in place of sigma', as in the authors' code. The other fields are those of `GradientFlow`
    (arXiv:2304.09576, authors' code).

    Raises: ValueError naming the argument, its value and what is accepted, and for outer_rate x 2 (neurons + 1) >= 1,
    with which weights diverge.
    """

    rate_ratio: Any = real(2e-5, above=0.0)
    outer_rate: Any = real(1e-5, above=0.0)
    neurons: int = whole(DEFAULT_NEURONS, at_least=1)
    width: Any = real(4e-3, at_least=LEAST_WIDTH)
    derivative: str = word("exact", "box")
    positions: Any = converted(_positions, "uniform")

    def __check_init__(self) -> None:
        most = 0.5 / (self.neurons + 1)
        if self.outer_rate >= most:
            raise ValueError(
                f"outer_rate={float(self.outer_rate):g} diverges with {self.neurons} neurons; accepted: below {most:g}"
            )

    def steps(self, at: np.ndarray, runs: int = 1) -> np.ndarray:
        """The steps (K,) at slow times (K,). Raises: ValueError for more than 1e10 of all runs together."""
        size = float(self.rate_ratio) * float(self.outer_rate)
        with np.errstate(divide="ignore", over="ignore"):
            steps = np.rint(np.divide(at, size))
        if steps[-1] == 0.0 < at[-1]:
            raise ValueError(f"at={at[-1]:g} is before the first step; accepted: times from {size:g} on, or 0")
        if steps[-1] * runs > MOST_STEPS:
            minutes = self.seconds(at, runs) / 60.0
            raise ValueError(
                f"at={at[-1]:g} is {steps[-1]:.2g} steps of {runs} run(s), which takes about {minutes:.2g} minutes; "
                f"accepted: {MOST_STEPS:.0e} steps in all; raise outer_rate"
            )
        return steps.astype(np.int64)

    def seconds(self, at: Any, runs: int = 1) -> float:
        """About how long runs up to the last slow time of `at` take here."""
        one = SECONDS[runs > 1] * (self.neurons + 10) / 30
        return float(np.max(at) / (self.rate_ratio * self.outer_rate)) * runs * one

    def state(self, tasks: Any, keys: Any, starts: np.ndarray, at: np.ndarray) -> tuple[State, Any, Any]:
        """The steps themselves."""
        rates = (self.outer_rate, self.rate_ratio, self.width)
        found, hits = descents(tasks, rates, self.derivative == "box", keys, starts, self.steps(at, len(starts)))
        size = float(self.rate_ratio) * float(self.outer_rate)
        return found, hits * size, np.zeros(len(starts), int)


def slow_times(task: PiecewiseConstant, at: Any) -> np.ndarray:
    """`at` (K,), else 101 times from 0 to 0.14/min jump^2, which are the paper's 0.035 for its target."""
    return recorded_times(at, np.linspace(0.0, 0.14 / np.min(np.abs(task.jumps)) ** 2, 101))


@jax.jit
def _split(keys: Any) -> Any:
    return jax.vmap(lambda key: jax.random.split(key, 2))(keys)


@eqx.filter_jit
def _uniform(keys: Any, m: int) -> Any:
    return jax.vmap(lambda key: jnp.sort(jax.random.uniform(key, (m,), jnp.float64)))(keys)
