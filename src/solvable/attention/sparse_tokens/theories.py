"""The theories of sparse tokens: what each computes, its claim on every observable, and where it comes from."""

from __future__ import annotations

from solvable.lab.experiment import Status, Theory

OBSERVABLES = (
    "test_error",
    "train_loss",
    "train_error",
    "cosine",
    "sharpness",
    "query_weight",
    "signal_weight",
    "bias",
    "orthogonal_norm",
    "susceptibility",
)

_LIMIT = {name: Status("asymptotic", "derived") for name in OBSERVABLES}

theories: dict[str, Theory] = {
    "limit": Theory("samples and dim to infinity at a fixed ratio", _LIMIT),
    "given_query": Theory(
        "the same limit for the head, given the cosine and sharpness that each run's query reached",
        {**_LIMIT, "cosine": Status("exact", "derived"), "sharpness": Status("exact", "derived")},
        given=("cosine", "sharpness"),
    ),
}
