"""The error that is left at a finite number of tokens: of the spectral start, and on fresh contexts after training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from solvable.attention.self_attention.algorithms import PreconditionedDescent
from solvable.attention.self_attention.outcome import Observable
from solvable.attention.self_attention.simulate import simulate
from solvable.attention.self_attention.task import LinearMap
from solvable.attention.self_attention.theory import predict
from solvable.lab.outcome import Outcome
from solvable.numerics.results import Result


class FloorOutcome(Outcome):
    """Over the numbers n of tokens in `samples`: `start_excess`, the excess loss of the spectral start; `excess` and
    `fresh_excess`, those after training, on an infinite context and on a fresh one of n tokens.

    Once a run: `start_slope` and `fresh_slope`, the slopes of log error over log n. `runs` are the simulations.
    """

    start_excess: Observable = None
    excess: Observable = None
    fresh_excess: Observable = None
    start_slope: Observable = None
    fresh_slope: Observable = None
    samples: Any = None
    runs: Any = None

    observables: ClassVar[tuple[str, ...]] = ("start_excess", "excess", "fresh_excess", "start_slope", "fresh_slope")
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(observables[:3], ("samples",))


def simulate_floor(
    task: LinearMap,
    algorithm: PreconditionedDescent,
    /,
    *,
    samples: Sequence[int],
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> FloorOutcome:
    """Train at every number of tokens and fit the slopes.

    Raises: ValueError for fewer than two numbers of tokens.
    """
    if len(samples) < 2:
        raise ValueError(f"samples={list(samples)} has no slope; accepted: two numbers of tokens or more")
    key = jax.random.key(0) if key is None else key
    runs = [
        simulate(
            task,
            algorithm,
            samples=count,
            key=jax.random.fold_in(key, place),
            replicates=replicates,
            at=[algorithm.steps],
        )
        for place, count in enumerate(samples)
    ]
    start = np.stack([run.start_excess for run in runs], axis=1)
    fresh = np.stack([run.fresh_excess[:, -1] for run in runs], axis=1)
    return FloorOutcome(
        np.max([run.result for run in runs], axis=0),
        {},
        start_excess=start,
        excess=np.stack([run.excess[:, -1] for run in runs], axis=1),
        fresh_excess=fresh,
        start_slope=_slopes(samples, start),
        fresh_slope=_slopes(samples, fresh),
        samples=np.asarray(samples),
        runs=runs,
    )


def predict_floor(
    task: LinearMap, algorithm: PreconditionedDescent, /, *, samples: Sequence[int], given: Any
) -> FloorOutcome:
    """The spectral start's error, that of a fresh context at the parameters reached, and the slope -1 of both."""
    fresh, start, codes = [], [], [given.result]
    for count, run in zip(samples, given.runs, strict=True):
        reached = predict(task, algorithm, samples=count, theory="context", given=run, throw=False)
        fresh.append(reached.fresh_excess[:, -1])
        codes.append(reached.result)
        begun = predict(task, algorithm, samples=count, theory="spectral_start")
        start.append(np.full(len(given.result), begun.start_excess))
    code = np.max(codes, axis=0)
    lost = np.where(code == Result.SUCCESSFUL, 1.0, np.nan)
    return FloorOutcome(
        code,
        {},
        start_excess=np.stack(start, axis=1) * lost[:, None],
        fresh_excess=np.stack(fresh, axis=1) * lost[:, None],
        start_slope=-lost,
        fresh_slope=-lost,
        samples=np.asarray(samples),
    )


def _slopes(samples: Sequence[int], values: np.ndarray) -> np.ndarray:
    """Least-squares slopes of log values (R, S) over log samples (S,)."""
    x = np.log(samples) - np.mean(np.log(samples))
    return np.log(values) @ x / (x @ x)
