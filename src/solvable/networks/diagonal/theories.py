"""What is observed of diagonal networks, and the theories: one function and its claim on every observable each."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvable.lab.declare import Observable, Predicted, Status, Theory

SMALL = 2.3  # -log eps from which on a start is small: a tenth

COEFFICIENTS = ("at", "coordinate")
observables = (
    Observable("solution", "coefficients x(s)", dims=COEFFICIENTS),
    Observable("average", "averaged coefficients, (1/s) int_0^s x", dims=COEFFICIENTS),
    Observable("gap", "relative lasso gap of the average", dims=("at",)),
    Observable("loss", "loss l(x(s))", dims=("at",)),
    Observable("active", "1 where a coefficient counts as active", dims=COEFFICIENTS),
    Observable("largest_gap", "largest relative lasso gap over the times"),
    Observable("jump_times", "time of half height", dims=("coordinate",)),
)


def flow(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """The flow in the log domain, at the scale of the algorithm."""
    from solvable.networks.diagonal.algorithms import GradientDescent, GradientFlow, Runs, times_of
    from solvable.networks.diagonal.measures import measured

    times = times_of(runs.problems, algorithm, at, unit)
    start = (algorithm.weight_decay, algorithm.first_layer, algorithm.second_layer)
    network = GradientFlow(algorithm.log_scale, algorithm.parameterization, *start)
    solution, average, result = network.run_many(runs.problems, times)
    found = Runs(runs.problems, result, times, solution, average)
    status = _each("asymptotic") if isinstance(algorithm, GradientDescent) else {}  # as steps become small
    return Predicted(measured(found, algorithm), result, status=status)


def lasso(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """The lasso path at the penalties 1/s."""
    from solvable.networks.diagonal.algorithms import times_of
    from solvable.networks.diagonal.lasso import lasso_path
    from solvable.networks.diagonal.measures import nonnegative

    times = times_of(runs.problems, algorithm, at, unit)
    paths = [lasso_path(problem, float(algorithm.weight_decay), algorithm.positive) for problem in runs.problems]
    found = {"average": _along(paths, times)}
    if all(nonnegative(problem) for problem in runs.problems):
        found |= {"gap": np.zeros_like(times), "largest_gap": np.zeros(len(times))}
    known = all(path.monotone for path in paths) and _starts_small(runs.problems, algorithm)
    return Predicted(found, status={} if known else {"average": Status("heuristic", "stated")})


def limit(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """The path as the scale vanishes, whose active set and jumps are known."""
    from solvable.networks.diagonal.algorithms import Runs, times_of
    from solvable.networks.diagonal.measures import limit_of, measured

    times = times_of(runs.problems, algorithm, at, unit)
    paths = [limit_of(problem, algorithm) for problem in runs.problems]
    solution, average = _along(paths, times), _along([path.average for path in paths], times)
    found = measured(Runs(runs.problems, runs.result, times, solution, average), algorithm)
    found |= {"active": solution != 0.0, "jump_times": np.stack([path.first_jumps for path in paths])}
    known = _starts_small(runs.problems, algorithm)
    return Predicted(found, status={} if known else _each("heuristic"))


def _starts_small(problems: Any, algorithm: Any) -> bool:
    """Whether eps is small, and log(1/eps), the unit of time, large against that of the size of the coefficients."""
    logs = [abs(np.log(problem.unit)) for problem in problems if problem.unit > 0.0]
    return float(algorithm.log_inverse) >= max(SMALL, 2.0 * max(logs, default=0.0))


def _along(paths: Any, times: np.ndarray) -> np.ndarray:
    """What each path says at its times (R, K); 0 at the time 0, for which there is no penalty."""
    late = times > 0.0
    found = [path(row) for path, row in zip(paths, np.where(late, times, 1.0), strict=True)]
    return np.where(late[..., None], np.stack(found), 0.0)


def _each(claim: Any) -> dict[str, Status]:
    return {one.name: Status(claim, "derived") for one in observables}


theories = {
    "flow": Theory(
        "gradient flow at this scale of the initialisation: dz/ds = x of s r - M z in the log domain, a form derived "
        "here from the flow that the source states; the limit of small steps for gradient descent",
        _each("exact"),
        flow,
        given=("problems",),
    ),
    "lasso": Theory(
        "the lasso path: the limit of the average at vanishing scale where mu x(mu) is monotone (Theorem 2.1; for its "
        "objective, minimisers need not be unique), and the floor 0 of the gap everywhere",
        {
            "average": Status("asymptotic", "stated"),
            "gap": Status("bound", "stated"),
            "largest_gap": Status("bound", "stated"),
        },
        lasso,
        given=("problems",),
    ),
    "limit": Theory(
        "the limit of vanishing scale whether or not the path is monotone: least squares on the coordinates whose dual "
        "sits on its bound, piecewise constant in time",
        _each("asymptotic"),
        limit,
        given=("problems",),
    ),
}
