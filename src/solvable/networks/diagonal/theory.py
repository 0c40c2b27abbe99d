"""Predictions: the flow at its scale, the lasso path, the limit of vanishing scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from solvable.networks.diagonal.algorithms import DiagonalNetwork, GradientFlow
from solvable.networks.diagonal.lasso import lasso_path
from solvable.networks.diagonal.measures import limit_of, measured, nonnegative
from solvable.networks.diagonal.outcome import DiagonalOutcome
from solvable.networks.diagonal.quadratic import Quadratic
from solvable.networks.diagonal.simulate import known, outcome_of, run_times
from solvable.networks.diagonal.theories import theories
from solvable.numerics.precision import float64
from solvable.numerics.results import Result, raise_unless_successful
from solvable.numerics.validation import choice


@float64
def predict(
    task: Any,
    algorithm: DiagonalNetwork,
    /,
    *,
    theory: str | None = None,
    given: Any = None,
    at: Any = None,
    unit: str = "one",
    throw: bool = True,
) -> DiagonalOutcome:
    """What theory says of training with `algorithm`, in the observables of `simulate` (see `theories`).

    All theories speak of a problem. A `Quadratic` is one; of a law of problems predict needs `given`, an outcome of
    `simulate` or a mapping with `problems`. `at` and `unit` are as in `simulate`; with an outcome given they are its
    own.

    Raises: TypeError for a task or an algorithm of another system; ValueError for an unknown theory, bad times, or a
    law without `given`; SolveError, unless throw=False, when the flow fails.
    """
    known(task, algorithm, "predict")
    name = choice("theory", theory or next(iter(theories)), tuple(theories))
    read = {} if given is None else given if isinstance(given, Mapping) else getattr(given, "__dict__", {})
    problems = tuple(read.get("problems") or ())
    if (given is not None and not problems) or not all(isinstance(each, Quadratic) for each in problems):
        raise ValueError(
            f"given={type(given).__name__} holds no problems; accepted: an outcome of simulate, or a mapping whose "
            "problems are Quadratics"
        )
    if not problems:
        if not isinstance(task, Quadratic):
            raise ValueError(
                f"given=None is not accepted with task={type(task).__name__}, of whose problems the theories speak; "
                "accepted: an outcome of simulate, or a mapping with problems"
            )
        problems = (task,)
    if read.get("times") is None:
        at, times = run_times(problems, algorithm, at, unit)
    else:
        at, times = np.asarray(read["at"]), np.asarray(read["times"])
    rows, result = _THEORIES[name](problems, algorithm, times)
    if throw:
        raise_unless_successful(result, f"predict, {name!r}")
    if read.get("result") is not None:
        result = np.where(np.asarray(read["result"]) != int(Result.SUCCESSFUL), read["result"], result)
    outcome = outcome_of(rows, result, at, times, problems)
    if given is not None:
        return outcome
    fields = {field: value[0] for field, value in outcome.present().items()}
    return DiagonalOutcome(result=result[0], stats={}, at=at, times=times[0], problems=problems, **fields)


def _flow(problems: tuple[Quadratic, ...], algorithm: DiagonalNetwork, times: np.ndarray) -> Any:
    network = GradientFlow(
        algorithm.log_scale,
        algorithm.parameterization,
        algorithm.weight_decay,
        algorithm.first_layer,
        algorithm.second_layer,
    )
    solution, average, result = network.run_many(list(problems), times)
    rows = [measured(*row, network) for row in zip(problems, times, solution, average, strict=True)]
    return rows, result


def _limit(problems: tuple[Quadratic, ...], algorithm: DiagonalNetwork, times: np.ndarray) -> Any:
    rows = []
    for problem, row in zip(problems, times, strict=True):
        path = limit_of(problem, algorithm)
        solution = path(row)
        inside = np.where(row > 0.0, row, 1.0)
        average = np.where(row[:, None] > 0.0, path.average(inside), 0.0)
        found = measured(problem, row, solution, average, algorithm)
        rows.append(found | {"active": solution != 0.0, "jump_times": path.first_jumps})
    return rows, _successes(problems)


def _lasso(problems: tuple[Quadratic, ...], algorithm: DiagonalNetwork, times: np.ndarray) -> Any:
    rows = []
    for problem, row in zip(problems, times, strict=True):
        path = lasso_path(problem, float(algorithm.weight_decay), algorithm.positive)
        inside = np.where(row > 0.0, row, 1.0)
        found = {"average": np.where(row[:, None] > 0.0, path(inside), 0.0)}
        if nonnegative(problem):
            found |= {"gap": np.zeros_like(row), "largest_gap": np.zeros(())}
        rows.append(found)
    return rows, _successes(problems)


def _successes(problems: tuple[Quadratic, ...]) -> np.ndarray:
    return np.full(len(problems), int(Result.SUCCESSFUL))


_THEORIES = {"flow": _flow, "lasso": _lasso, "limit": _limit}
