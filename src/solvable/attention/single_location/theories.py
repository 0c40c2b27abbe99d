"""The theories of single-location regression: what each computes, its claim on every observable, its origin."""

from __future__ import annotations

from solvable.lab.experiment import Status, Theory

OVERLAPS = ("query_alignment", "value_alignment", "value_leak", "query_leak", "coupling", "value_norm")
OVER_STEPS = (*OVERLAPS, "distance", "risk")
RATES = ("escape_rate", "value_rate", "query_rate")
OBSERVABLES = (*OVER_STEPS, "final_risk", "aligned", "swapped", *RATES)
GIVEN = ("start",)

_EXACT = Status("exact", "derived")

theories: dict[str, Theory] = {
    "overlaps": Theory(
        "the run itself, as a map of five numbers, from the overlaps it starts at: exact for the population gradient; "
        "for training on batches or on a data set it is the run without their noise, a heuristic",
        dict.fromkeys((*OVER_STEPS, "final_risk", "aligned", "swapped"), _EXACT),
        given=GIVEN,
    ),
    "rates": Theory(
        "the rates a step, on the manifold, of the escape from the saddle at 0 and of the approach to (k*, v*), at the "
        "last inverse temperature; those of gradient flow are their limits at small learning rates, over the latter",
        dict.fromkeys(RATES, Status("asymptotic", "derived")),
    ),
    "floor": Theory(
        "the excess risk at the hidden directions themselves, v = v* or, for a closed-form value, the best multiple of "
        "it: where training ends when it ends aligned and is not hindered by a large inverse temperature",
        {"risk": Status("asymptotic", "derived"), "final_risk": Status("asymptotic", "derived")},
    ),
}
