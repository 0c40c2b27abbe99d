"""The theories of self-attention: what each computes, its claim on every observable, and where it comes from."""

from __future__ import annotations

from solvable.lab.experiment import Status, Theory

OVER_STEPS = ("excess", "train_loss", "fresh_excess", "score_norm", "imbalance", "effective_share")
OBSERVABLES = (*OVER_STEPS, "start_excess", "rate", "iterations")
GIVEN = ("start", "path", "at", "result")

_LIMIT = Status("asymptotic", "reconstruction")
_DERIVED = Status("asymptotic", "derived")

theories: dict[str, Theory] = {
    "population": Theory(
        "training on infinitely many tokens: the recursion of the whitened factors on |At Bt^T - Mt|^2 / 2, exact for "
        "samples=None (the limit of the loss is stated by the source; the algorithm's forms are reconstructions)",
        dict.fromkeys(("excess", "train_loss", "score_norm", "imbalance", "rate", "iterations"), _LIMIT),
        given=GIVEN,
    ),
    "local_rate": Theory(
        "the ratio of successive excess losses near the solution, max (1 - eta lambda)^2 over the nonzero eigenvalues "
        "of the linearised step; for 'full' lambda = s_i(At)^2 + s_j(Bt)^2",
        {"rate": _LIMIT},
        given=GIVEN,
    ),
    "spectral_start": Theory(
        "the excess loss of the spectral start, (1/2n)[noise^2 m d + tr(At^T At) tr(Bt^T Bt) + tr(At^T At Bt^T Bt)]",
        {"start_excess": _LIMIT},
    ),
    "context": Theory(
        "the error of a finite context: excess loss on fresh contexts and loss on the own sequence up to order 1/n at "
        "the parameters given, and the share of the tokens that the attention rests on",
        dict.fromkeys(("fresh_excess", "train_loss", "effective_share"), _DERIVED),
        given=GIVEN,
    ),
}
