"""The theories of token selection: what each computes, its claim on every observable, and where it comes from."""

from __future__ import annotations

from solvable.lab.experiment import Status, Theory

OVER_STEPS = (
    "norm",
    "divergence",
    "margin_ratio",
    "saturation",
    "log_unselected",
    "growth",
    "scaled_excess",
    "offset",
    "decoder_divergence",
)
OBSERVABLES = (*OVER_STEPS, "direction", "divergence_slope", "gap_slope", "locally_optimal", "globally_optimal")
GIVEN = ("problem", "selected", "saturation", "decoder", "result")

_STATED = Status("asymptotic", "stated")
_DERIVED = Status("asymptotic", "derived")

theories: dict[str, Theory] = {
    "max_margin": Theory(
        "the direction of W as steps go to infinity: the max-margin solution for the problem and the tokens selected "
        "(stated for W; for factored training the source has a vanishing regularisation, which is left out here)",
        {
            "direction": _STATED,
            "divergence": _STATED,
            "margin_ratio": _DERIVED,
            "decoder_divergence": Status("asymptotic", "reconstruction"),
        },
        given=GIVEN,
    ),
    "growth": Theory(
        "the norm over steps, (sum of learning rates)^(1/(p-1)) for normalised steps; given the tokens selected also "
        "the fall of log(1 - attention) a step, and the norm of Polyak steps",
        {"norm": _DERIVED, "growth": _DERIVED, "gap_slope": _DERIVED},
    ),
    "rate": Theory(
        "the slope of log divergence over log steps: -2 min(1, 1/(p-1)) for normalised steps of constant rate, -2 for "
        "linear growth and Polyak steps",
        {"divergence_slope": _DERIVED},
    ),
    "excess_loss": Theory(
        "fixed steps: the excess loss times eta k over (p-1) m^(p-2) |W_mm|_p^p, m = |W|/|W_mm|, goes to 1; at p = 2 "
        "<W, W_mm>/|W_mm|^2 - log(eta k) goes to sum_j lambda_j log(beta_j/lambda_j)/|W_mm|^2",
        {"scaled_excess": _DERIVED, "offset": _DERIVED},
        given=GIVEN,
    ),
    "polyak": Theory(
        "Polyak steps: log(1 - attention) falls by 1/polyak_constant a step, whatever the data",
        {"gap_slope": _DERIVED},
    ),
}
