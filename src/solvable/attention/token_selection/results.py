"""How runs of token selection end, beyond the general result codes."""

from solvable.numerics.results import Result, code


class SelectionResult(Result):
    """The result codes of token selection, besides the general ones."""

    UNSATURATED = code(
        10,
        "the attention has not saturated (its mean largest weight is below 0.99), so no token counts as selected yet; "
        "train for more steps",
    )
    NOT_LOCALLY_OPTIMAL = code(
        11,
        "the selected tokens are not locally optimal (a support token scores at least as high), so the theory predicts "
        "no direction; train for more steps or from another start",
    )
    UNREACHED_LOSS = code(
        12,
        "the Polyak steps aimed at the loss of the optimal tokens while the attention was on others, and blew up; use "
        "normalized steps, or start where the optimal tokens are selected",
    )
    OSCILLATING = code(
        200,
        "the steps are so large that the weights oscillate between support tokens and their norm falls behind its law; "
        "take smaller steps, or with p < 2 and a constant rate many more",
    )
    OVERSHOT = code(
        201,
        "the first step carries the weights further than half of what all steps would, so that training has not come "
        "back to its law; take smaller steps, or many more",
    )
