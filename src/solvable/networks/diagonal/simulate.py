"""Simulation: draw problems, train on each, and measure the runs."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from solvable.networks.diagonal.algorithms import DiagonalNetwork, GradientFlow, first_kink, times_of
from solvable.networks.diagonal.measures import measured
from solvable.networks.diagonal.outcome import DiagonalOutcome
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.networks.diagonal.task import Anticorrelated, RandomRegression
from solvable.networks.diagonal.two_layer import train_layers
from solvable.numerics.precision import float64
from solvable.numerics.results import Result, is_traced
from solvable.numerics.validation import choice, replicate_numbers

UNITS = ("one", "first_kink")


def known(task: Any, algorithm: Any, call: str) -> None:
    """Check that task and algorithm are this system's.

    Raises: TypeError naming what is accepted; ValueError inside a transformation of JAX.
    """
    if not isinstance(task, Quadratic | RandomRegression | Anticorrelated):
        raise TypeError(
            f"task={type(task).__name__} is not accepted by {call}; accepted: a Quadratic, RandomRegression or "
            "Anticorrelated"
        )
    if not isinstance(algorithm, DiagonalNetwork):
        raise TypeError(
            f"algorithm={type(algorithm).__name__} is not accepted by {call}; accepted: GradientFlow or GradientDescent"
        )
    if is_traced(task, algorithm):
        raise ValueError(f"{call} runs on the host and cannot be traced; accepted: calls outside jit, vmap and grad")


@float64
def simulate(
    task: Any,
    algorithm: DiagonalNetwork,
    /,
    *,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    at: Any = None,
    unit: str = "one",
    full: bool = False,
) -> DiagonalOutcome:
    """Draw `replicates` problems, train on each, and measure the runs (see `DiagonalOutcome`).

    `at` (K,) are rescaled times s >= 0, nondecreasing; with unit="first_kink" multiples of the first kink of each
    problem, 1 / max |r_i|. None: 61 multiples from 1/2 to 30. By default gradient flow is solved in the log domain,
    exactly; `full=True` integrates the two layers in training time. Replicate r depends on `key` and r alone. A run
    that meets a value which is not finite is NaN with its reason in `.result`.

    Raises: TypeError for a task or an algorithm of another system; ValueError for bad times and an unknown unit.
    """
    known(task, algorithm, "simulate")
    numbers = replicate_numbers(replicates)
    key = jax.random.key(0) if key is None else key
    problems = tuple(task.sample(jax.random.fold_in(key, number)) for number in numbers)
    return trained(problems, algorithm, at, unit, full)


def trained(
    problems: tuple[Quadratic, ...], algorithm: DiagonalNetwork, at: Any, unit: str, full: bool
) -> DiagonalOutcome:
    """The outcome of training on each of the problems."""
    at, times = run_times(problems, algorithm, at, unit)
    if full and isinstance(algorithm, GradientFlow):
        solution, average, result = _layers(problems, algorithm, times)
    else:
        solution, average, result = algorithm.run_many(list(problems), times)
    rows = [measured(*row, algorithm) for row in zip(problems, times, solution, average, strict=True)]
    return outcome_of(rows, result, at, times, problems)


def run_times(
    problems: tuple[Quadratic, ...], algorithm: DiagonalNetwork, at: Any, unit: str
) -> tuple[np.ndarray, np.ndarray]:
    """`at` (K,) and the times s (R, K) that it stands for."""
    multiples = choice("unit", unit, UNITS) == "first_kink" or at is None
    at = times_of(at)
    kinks = [first_kink(problem, algorithm.positive) if multiples else 1.0 for problem in problems]
    return at, np.asarray(kinks)[:, None] * at


def outcome_of(
    rows: list[dict[str, Any]], result: np.ndarray, at: np.ndarray, times: np.ndarray, problems: Any
) -> DiagonalOutcome:
    """The rows of all replicates stacked; an observable that one row lacks is absent."""
    names = set(rows[0]).intersection(*rows)
    fields = {name: np.stack([np.asarray(row[name], np.float64) for row in rows]) for name in names}
    for value in fields.values():
        value[result != int(Result.SUCCESSFUL)] = np.nan
    return DiagonalOutcome(result=result, stats={}, at=at, times=times, problems=tuple(problems), **fields)


def _layers(
    problems: tuple[Quadratic, ...], algorithm: GradientFlow, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    layers, speed = algorithm.layers(problems[0].dim), 4.0 if algorithm.positive else 2.0
    runs = [train_layers(problem, layers, speed, row) for problem, row in zip(problems, times, strict=True)]
    solution, average, result = zip(*runs, strict=True)
    return np.stack(solution), np.stack(average), np.asarray(result)
