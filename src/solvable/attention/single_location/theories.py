"""The theories of single-location regression: what each computes, its claim on every observable, its origin."""

from __future__ import annotations

import math
from typing import Any

from solvable.lab.declare.theory import Status, Theory

OVERLAPS = ("query_alignment", "value_alignment", "value_leak", "query_leak", "coupling", "value_norm")
RATES = ("escape_rate", "value_rate", "query_rate")
RISKS = ("excess_risk", "final_excess_risk")
EXACT, ASYMPTOTIC = Status("exact", "derived"), Status("asymptotic", "derived")


def overlaps(task: Any, algorithm: Any, runs: Any, at: Any) -> Any:
    """The runs that the map of five numbers makes of the starts."""
    from solvable.attention.single_location.population import descended

    return descended(task, algorithm, runs.start, at)


def rates(task: Any, algorithm: Any, runs: Any, at: Any) -> dict[str, Any]:
    """The linearised flow at both stationary points, as rates a step of projected descent.

    A step multiplies the unstable combination by 1 + alpha rate, at the first inverse temperature, and an angle by
    1 - alpha rate, at the last one; 1 - cos falls twice as fast as the angle.
    Raises: ValueError for descent that is not on the manifold.
    """
    from solvable.attention.single_location.population import linearised

    if algorithm.closed_form or algorithm.batch is not None or algorithm.init != "manifold":
        raise ValueError(
            "theory='rates' speaks of population descent of both vectors on the manifold; accepted: "
            "value='descent', batch=None, init='manifold'"
        )
    alpha = float(algorithm.learning_rate)
    first, last = (linearised(task, lam) for lam in algorithm.inverse_temperatures([0, algorithm.steps]))
    value, query = (-2.0 * math.log(abs(1.0 - alpha * rate)) for rate in last[1:3])
    return {"escape_rate": math.log1p(alpha * first[0]), "value_rate": value, "query_rate": query}


def floor(task: Any, algorithm: Any, runs: Any, at: Any) -> dict[str, Any]:
    """The risk at k*, v* over the steps."""
    from solvable.attention.single_location.baselines import oracle_risk
    from solvable.attention.single_location.risk import law

    risks = oracle_risk(law(task), algorithm.inverse_temperatures(at), algorithm.closed_form)
    return {"excess_risk": risks, "final_excess_risk": risks[-1]}


theories: dict[str, Theory] = {
    "overlaps": Theory(
        "the run itself, as a map of five numbers, from the overlaps it starts at: exact for the population gradient; "
        "for training on batches or on a data set it is the run without their noise, a heuristic",
        dict.fromkeys((*OVERLAPS, "distance", *RISKS, "aligned", "swapped", *RATES), EXACT),
        overlaps,
        given=("start",),
        needs_given=True,
    ),
    "rates": Theory(
        "the rates a step, on the manifold, of the escape from the saddle at 0 and of the approach to (k*, v*), at the "
        "last inverse temperature; those of gradient flow are their limits at small learning rates, over the latter",
        dict.fromkeys(RATES, ASYMPTOTIC),
        rates,
    ),
    "floor": Theory(
        "the excess risk at the hidden directions themselves, v = v* or, for a closed-form value, the best multiple of "
        "it: where training ends when it ends aligned and is not hindered by a large inverse temperature",
        dict.fromkeys(RISKS, ASYMPTOTIC),
        floor,
    ),
}
