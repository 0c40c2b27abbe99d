"""How predictions of continuized methods end, besides the general codes."""

from __future__ import annotations

from solvable.lab.declare import Result, code


class ContinuizedResult(Result):
    """Codes 400 to 499."""

    LOST_DIGITS = code(
        400,
        "the expansion of the moments has lost its digits, two of its scales differ by more than 1e-6; look at fewer "
        "events, or give a larger smoothness",
    )
