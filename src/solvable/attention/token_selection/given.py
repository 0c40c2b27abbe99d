"""The runs that a prediction is conditioned on, with the max-margin solutions of the tokens they selected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from solvable.attention.token_selection.algorithms import MirrorDescent
from solvable.attention.token_selection.max_margin import MaxMargin, locally_optimal
from solvable.attention.token_selection.results import SelectionResult
from solvable.attention.token_selection.simulate import pick, solve
from solvable.attention.token_selection.task import SelectionProblem, Task
from solvable.attention.token_selection.theories import GIVEN
from solvable.numerics.results import Result

SATURATED = 0.99


class GivenRuns:
    """The runs that a prediction is given, with their max-margin solutions and reasons why there is none."""

    def __init__(self, task: Task, algorithm: MirrorDescent, given: Any) -> None:
        read = given if isinstance(given, Mapping) else {k: getattr(given, k) for k in GIVEN if hasattr(given, k)}
        if read.get("selected") is None:
            raise ValueError(
                f"given={type(given).__name__} lacks 'selected'; accepted: an outcome of simulate, or a mapping with "
                "selected"
            )
        selected, problems = np.asarray(read["selected"]), read.get("problem")
        if isinstance(task, SelectionProblem) and selected.ndim == task.queries.ndim - 1:
            # one run, as `train` returns it
            read = {**read, "selected": selected[None], "decoder": np.asarray(read.get("decoder", task.decoder))[None]}
            selected, problems = selected[None], None
        if problems is None and not isinstance(task, SelectionProblem):
            raise ValueError(
                f"given lacks 'problem', which {type(task).__name__} draws anew every time; accepted: a mapping with "
                "the problems, stacked"
            )
        count = len(selected)
        self.selected = selected
        self.problems: list[Any] = [task if problems is None else pick(problems, r) for r in range(count)]
        decoders = read.get("decoder")
        if decoders is None and algorithm.train_decoder:
            raise ValueError("given lacks 'decoder', which was trained; accepted: a mapping with decoder")
        own = read.get("result")
        codes = np.zeros(count, int) if own is None else np.array(own, int).reshape(count)
        last = read.get("saturation")
        saturation = np.ones(count) if last is None else np.asarray(last).reshape(count, -1)[:, -1]
        self.solutions: list[MaxMargin | None] = []
        for r, problem in enumerate(self.problems):
            decoder = problem.decoder if decoders is None else decoders[r]
            found = None
            if codes[r] == Result.SUCCESSFUL and not saturation[r] >= SATURATED:
                codes[r] = SelectionResult.UNSATURATED
            if codes[r] == Result.SUCCESSFUL:
                found, _ = solve(algorithm, problem, selected[r], decoder)
                codes[r] = found.result
                if found.result == Result.SUCCESSFUL and not locally_optimal(problem, found, decoder):
                    codes[r] = SelectionResult.NOT_LOCALLY_OPTIMAL
            self.solutions.append(found if codes[r] == Result.SUCCESSFUL else None)
        self.result = codes

    def each(self, value: Any, shape: tuple[int, ...] = ()) -> Float[np.ndarray, "R ..."]:
        """value(problem, solution) of every run, NaN of that shape for those that are missing."""
        found = np.full((len(self.result), *shape), np.nan)
        for r, (problem, solution) in enumerate(zip(self.problems, self.solutions, strict=True)):
            if solution is not None:
                found[r] = value(problem, solution)
        return found

    @property
    def norms(self) -> Float[np.ndarray, "R 1"]:
        """|W_mm|, as a column."""
        return self.each(lambda _, solution: solution.norm)[:, None]
