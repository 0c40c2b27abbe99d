"""The flow of a diagonal network against SciPy's Radau on the same equations; used by `diagonal.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from sparse_tokens import best, clocked, milliseconds

from solvable.networks import diagonal as dn

TIMES = np.linspace(3.0, 30.0, 10)  # first kinks
SINGLE_GOAL, BATCH_GOAL, BATCH = 5.0, 20.0, 64
# (n, d), log scale, problems, runs of Radau
CASES = (
    ((3, 4), -11.5, 1, 3),
    ((3, 4), -368.4, 1, 3),
    ((3, 4), -11.5, BATCH, 1),
    ((100, 400), -11.5, 1, 2),
    ((100, 400), -368.4, 1, 1),
)


def problems_of(shape: tuple[int, int], count: int) -> list[dn.Quadratic]:
    """Gaussian regressions."""
    draw = np.random.default_rng(0)
    return [dn.Quadratic.from_data(draw.normal(size=shape), draw.normal(size=shape[0])) for _ in range(count)]


def through_radau(problem: dn.Quadratic, log_scale: float, times: np.ndarray, rtol: float = 1e-8) -> np.ndarray:
    """The averages (K, d), with the Jacobian given and exponents cut as SciPy's trial steps need it."""
    factor, linear, large = np.asarray(problem.factor), np.asarray(problem.linear), -log_scale
    matrix = factor.T @ factor

    def parts(s: float, z: np.ndarray) -> Any:
        dual = s * linear - (factor @ z) @ factor
        return (0.25 * np.exp(np.minimum(large * (sign * dual - 1.0), 700.0)) for sign in (1.0, -1.0))

    def slope(s: float, z: np.ndarray) -> np.ndarray:
        rise, fall = parts(s, z)
        return rise - fall

    def jacobian(s: float, z: np.ndarray) -> np.ndarray:
        rise, fall = parts(s, z)
        return -(large * (rise + fall))[:, None] * matrix

    with np.errstate(all="ignore"):
        found = solve_ivp(
            slope, (0.0, times[-1]), np.zeros(linear.size), "Radau", times, rtol=rtol, atol=0.01 * rtol, jac=jacobian
        )
    return found.y.T / times[:, None]


def flow_row(shape: tuple[int, int], log_scale: float, count: int, repeats: int) -> list[str]:
    """One line of the table."""
    problems, algorithm = problems_of(shape, count), dn.GradientFlow(log_scale)
    times = np.stack([TIMES * dn.first_kink(problem) for problem in problems])

    def ours() -> Any:
        return algorithm.run_many(problems, times)

    def peer() -> Any:
        return [through_radau(problem, log_scale, row) for problem, row in zip(problems, times, strict=True)]

    first, _ = clocked(ours)
    seconds, (_, found, _) = best(ours, 5)
    theirs, averages = best(peer, repeats, False)
    errors = ["", ""]
    if shape[1] < 100 or log_scale > -100.0:
        tight = through_radau(problems[0], log_scale, times[0], 1e-10)
        errors = [f"{np.abs(one - tight).max() / np.abs(tight).max():.0e}" for one in (found[0], averages[0])]
    ratio, goal = theirs / seconds, BATCH_GOAL if count > 1 else SINGLE_GOAL
    verdict = "met" if ratio >= goal else f"missed: {ratio / goal:.0%} of {goal:g} times"
    name = f"{shape}, eps = 1e{log_scale / np.log(10.0):.0f}" + (f", {count} problems" if count > 1 else "")
    return [name, *map(milliseconds, (first, seconds, theirs)), f"{ratio:.0f}", verdict, *errors]
