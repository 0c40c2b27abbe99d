"""The theories of diagonal networks: what each computes, its claim on every observable, and where it comes from."""

from __future__ import annotations

from solvable.lab.experiment import Status, Theory

OVER_TIMES = ("solution", "average", "gap", "loss", "active")
OBSERVABLES = (*OVER_TIMES, "largest_gap", "jump_times")
GIVEN = ("problems", "result")

_EXACT = Status("exact", "derived")
_LIMIT = Status("asymptotic", "derived")

theories: dict[str, Theory] = {
    "flow": Theory(
        "gradient flow at this scale of the initialisation: dz/ds = x of s r - M z in the log domain, a form derived "
        "here from the flow that the source states; the limit of small steps for gradient descent",
        dict.fromkeys(OBSERVABLES, _EXACT),
        given=GIVEN,
    ),
    "lasso": Theory(
        "the lasso path: the limit of the average at vanishing scale where mu x(mu) is monotone (Theorem 2.1; for its "
        "objective, minimisers need not be unique), and the floor 0 of the gap everywhere",
        {
            "average": Status("asymptotic", "stated"),
            "gap": Status("bound", "stated"),
            "largest_gap": Status("bound", "stated"),
        },
        given=GIVEN,
    ),
    "limit": Theory(
        "the limit of vanishing scale whether or not the path is monotone: least squares on the coordinates whose dual "
        "sits on its bound, piecewise constant in time",
        dict.fromkeys(OBSERVABLES, _LIMIT),
        given=GIVEN,
    ),
}
