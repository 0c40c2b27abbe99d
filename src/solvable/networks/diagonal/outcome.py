"""The observables that simulation and theory of diagonal networks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from solvable.lab.outcome import Outcome
from solvable.networks.diagonal.theories import OBSERVABLES, OVER_TIMES

Observable = Any  # Float[AnyArray, "..."], or None on the side that does not speak of it


class DiagonalOutcome(Outcome):
    """A trained diagonal network over the rescaled times `at`, one value a replicate.

    `solution` (at, coordinate) x(s); `average` (at, coordinate) (1/s) int_0^s x; `gap` (at,) (Lasso(average, s) -
    Lasso_*(s)) / Lasso_*(s) with the penalty lambda + 1/s, over x >= 0 for "square", and `largest_gap` its largest over
    `at` (both only where the loss is nonnegative: see `Quadratic.constant`); `loss` (at,) l(x(s)); `active`
    (at, coordinate) 1 where |x_i| is above a thousandth of max |r| / max M_ii, else 0; `jump_times` (coordinate,) the
    first s at which |x_i| is half the height to which it first jumps in the limit, read off `at` by interpolation of
    log |x_i| and no earlier than the first of `at`, inf where it does not get there.

    `times` (at,) are the times s, differing between replicates where `at` counts first kinks. `problems` are the
    problems, a tuple of `Quadratic`, which a prediction may be given.
    """

    solution: Observable = None
    average: Observable = None
    gap: Observable = None
    loss: Observable = None
    active: Observable = None
    largest_gap: Observable = None
    jump_times: Observable = None
    at: Any = None
    times: Any = None
    problems: Any = None

    observables: ClassVar[tuple[str, ...]] = OBSERVABLES
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(OVER_TIMES, ("at",)) | {
        "solution": ("at", "coordinate"),
        "average": ("at", "coordinate"),
        "active": ("at", "coordinate"),
        "jump_times": ("coordinate",),
    }
