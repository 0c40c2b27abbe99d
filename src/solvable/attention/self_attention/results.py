"""How predictions of self-attention end, beyond the general result codes."""

from solvable.numerics.results import Result, code


class AttentionResult(Result):
    """The result codes of self-attention, besides the general ones."""

    PEAKED = code(
        100,
        "the attention rests on so few tokens that the law in 1/n has not set in (order 1/n^2 exceeds a fifth of order "
        "1/n, or |Bt|_2^2 >= 1/2); take more tokens, or a smaller score",
    )
    SHORT = code(
        101,
        "the sequence is so short that the law in 1/n of what is estimated on it has not set in; take at least "
        "20 (d + 1) tokens",
    )
