"""Step rules side by side: how fast the direction converges and the attention saturates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from solvable.attention.token_selection.outcome import Observable, SelectionOutcome
from solvable.lab.outcome import Outcome


class RatesOutcome(Outcome):
    """Of `SelectionOutcome`: `divergence` and `decay` = -`log_unselected` over the steps, the two slopes, and of the
    measures over steps the last values, `growth`, `scaled_excess` and `offset`.
    """

    divergence: Observable = None
    decay: Observable = None
    divergence_slope: Observable = None
    gap_slope: Observable = None
    growth: Observable = None
    scaled_excess: Observable = None
    offset: Observable = None
    at: Observable = None
    runs: Any = None

    observables: ClassVar[tuple[str, ...]] = (
        "divergence",
        "decay",
        "divergence_slope",
        "gap_slope",
        "growth",
        "scaled_excess",
        "offset",
    )
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {"divergence": ("at",), "decay": ("at",)}


def at_the_end(outcome: SelectionOutcome) -> RatesOutcome:
    """The last values of what is compared at the end, the slopes, and the curves of a simulation."""
    last = {
        name: None if (value := getattr(outcome, name)) is None else value[..., -1]
        for name in ("growth", "scaled_excess", "offset")
    }
    return RatesOutcome(
        outcome.result,
        outcome.stats,
        divergence=outcome.divergence,
        decay=None if outcome.log_unselected is None else -outcome.log_unselected,
        divergence_slope=outcome.divergence_slope,
        gap_slope=outcome.gap_slope,
        at=outcome.at,
        runs=outcome,
        **last,
    )
