"""The theories of single-location regression: what each computes, its claim on every observable, its origin."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from solvable.lab.declare.theory import Predicted, Status, Theory

OVERLAPS = ("query_alignment", "value_alignment", "value_leak", "query_leak", "coupling", "value_norm")
RATES = ("escape_rate", "value_rate", "query_rate")
RISKS = ("excess_risk", "final_excess_risk")
MEASURED = (*OVERLAPS, "distance", *RISKS, "aligned", "swapped", *RATES)
EXACT, ASYMPTOTIC, UNSURE = (Status(claim, "derived") for claim in ("exact", "asymptotic", "heuristic"))
ARRIVES = 0.5  # steps times the slowest rate of an angle, from which on a run counts as arrived


def overlaps(task: Any, algorithm: Any, runs: Any, at: Any) -> Any:
    """The runs that the map of five numbers makes of the starts."""
    from solvable.attention.single_location.population import descended, is_chaotic

    found = descended(task, algorithm, runs.start, at)
    noisy = algorithm.batch is not None or runs.sampled
    if noisy or is_chaotic(task, algorithm, found, at):
        found = dataclasses.replace(found, claims=tuple((name, UNSURE) for name in MEASURED))
    return found


def rates(task: Any, algorithm: Any, runs: Any, at: Any) -> Predicted:
    """The linearised flow at both stationary points, as rates a step of projected descent.

    A step multiplies the unstable combination by 1 + alpha rate, at the first inverse temperature, and an angle by
    1 - alpha rate, at the last one; 1 - cos falls twice as fast as the angle.
    Raises: ValueError for descent that is not on the manifold.
    """
    from solvable.attention.single_location.algorithms import NARROW
    from solvable.numerics.results import Result

    if algorithm.closed_form or algorithm.batch is not None or algorithm.init != "manifold" or task.dim < 3:
        raise ValueError(
            "theory='rates' speaks of population descent of both vectors on the manifold; accepted: "
            "value='descent', batch=None, init='manifold', dim >= 3"
        )
    escape, own, slow = _multipliers(task, algorithm)
    code = Result.SUCCESSFUL if max(own, slow) < 2.0 else Result.CYCLING
    value, query = (-2.0 * math.log(max(abs(1.0 - rate), 1e-300)) for rate in (own, slow))
    # an angle may have arrived before the temperature has fallen
    sharp, falls = _sharpness(task, algorithm) > NARROW, float(algorithm.decay) > 0.0
    unsure = ("value_rate", "query_rate") if falls else ("query_rate",) if sharp else ()
    found = {"escape_rate": math.log1p(escape), "value_rate": value, "query_rate": query}
    return Predicted(found, int(code), status=dict.fromkeys(unsure, UNSURE))


def floor(task: Any, algorithm: Any, runs: Any, at: Any) -> Predicted:
    """The risk at k*, v* over the steps."""
    from solvable.attention.single_location.algorithms import NARROW
    from solvable.attention.single_location.baselines import oracle_risk
    from solvable.attention.single_location.risk import law

    risks = oracle_risk(law(task), algorithm.inverse_temperatures(at), algorithm.closed_form)
    # elsewhere a head may end at the swap point, away from (k*, v*), on its way, or as far off as its batches throw it
    sure = algorithm.init == "manifold" and algorithm.batch is None and _sharpness(task, algorithm) <= NARROW
    _, value, query = _multipliers(task, algorithm)
    slowest = query if algorithm.closed_form else min(value, query)
    sure &= max(value, query) < 2.0 and slowest * algorithm.steps >= ARRIVES
    return Predicted(
        {"excess_risk": risks, "final_excess_risk": risks[-1]}, status={} if sure else dict.fromkeys(RISKS, UNSURE)
    )


def swap(task: Any, algorithm: Any, runs: Any, at: Any) -> Predicted:
    """The risk at the swap point, at the last inverse temperature."""
    from solvable.attention.single_location.baselines import swap_point

    (lam,) = algorithm.inverse_temperatures([algorithm.steps])
    return Predicted({"final_excess_risk": swap_point(task, lam)[1]})


def _multipliers(task: Any, algorithm: Any) -> tuple[float, float, float]:
    """alpha times the rates of escape, at the first inverse temperature, and of value and query, at the last one."""
    from solvable.attention.single_location.population import linearised

    first, last = (linearised(task, lam) for lam in algorithm.inverse_temperatures([0, algorithm.steps]))
    alpha = float(algorithm.learning_rate)
    return alpha * first[0], alpha * last[1], alpha * last[2]


def _sharpness(task: Any, algorithm: Any) -> float:
    """c = lam s/sqrt(1 + 2 lam^2 gamma^2) at the last inverse temperature."""
    (lam,) = algorithm.inverse_temperatures([algorithm.steps])
    return float(lam * task.signal) / math.sqrt(1.0 + 2.0 * float(lam) ** 2 * float(task.label_variance))


theories: dict[str, Theory] = {
    "overlaps": Theory(
        "the run itself, as a map of five numbers, from the overlaps it starts at: exact for the population gradient; "
        "for training on batches or on a data set it is the run without their noise, a heuristic, and so it is where "
        "the map is chaotic",
        dict.fromkeys(MEASURED, EXACT),
        overlaps,
        given=("start", "sampled"),
        needs_given=True,
    ),
    "rates": Theory(
        "the rates a step, on the manifold, of the escape from the saddle at 0 and of the approach to (k*, v*), at the "
        "last inverse temperature; those of gradient flow are their limits at small learning rates, over the latter; "
        "heuristic for a falling temperature and, of the query, where its attention is sharp",
        dict.fromkeys(RATES, ASYMPTOTIC),
        rates,
    ),
    "floor": Theory(
        "the excess risk at the hidden directions themselves, v = v* or, for a closed-form value, the best multiple of "
        "it: where population descent from the manifold ends; a heuristic from other starts, on batches, for sharp "
        "attention, and for fewer steps than its slowest rate needs",
        dict.fromkeys(RISKS, ASYMPTOTIC),
        floor,
    ),
    "swap": Theory(
        "the excess risk at the swap point, where the query reads the value and the value the location: about half the "
        "runs from the spheres end there at a small inverse temperature",
        {"final_excess_risk": UNSURE},
        swap,
    ),
}
