"""The observables that simulation and theory of token selection share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from solvable.attention.token_selection.theories import OBSERVABLES, OVER_STEPS
from solvable.lab.outcome import Outcome

Observable = Any  # Float[AnyArray, "..."], or None on the side that does not speak of it


class SelectionOutcome(Outcome):
    """Measures of training, one value a replicate (and step of `at`); of a theory only what it speaks of.

    W_mm is the max-margin solution for the tokens a run selected: in |.|_p, or in the nuclear norm for factored
    training, whose direction is measured with p = 2.

    Over the steps k of `at`: `norm` |W_k|_p; `divergence` of W_k from W_mm (see `directional_divergence`);
    `margin_ratio` margin of W_k/|W_k| over the largest one; `saturation` mean largest attention; `log_unselected` log
    of the largest 1 - attention on a selected token; `growth` |W_k|_p^(p-1) / (sum of rates) for normalised steps,
    polyak_constant |W_k|/(k |W_mm|) for Polyak steps; `scaled_excess` and `offset` for fixed steps (see the theory
    "excess_loss"); `decoder_divergence` of v_k from its own max-margin solution where it is trained.
    Once a run: `direction` W/|W|_p at the end; `divergence_slope` the slope of log divergence over log k in
    the last decade, k in [steps/10, steps]; `gap_slope` the fall of `log_unselected` a step over
    [steps/2, steps]; `locally_optimal` and `globally_optimal` 1 or 0: is every selected token better than its support
    tokens, than all tokens.

    `problem` (stacked along the replicates), `selected`, and the end's `decoder` are what a prediction is given.
    """

    norm: Observable = None
    divergence: Observable = None
    margin_ratio: Observable = None
    saturation: Observable = None
    log_unselected: Observable = None
    growth: Observable = None
    scaled_excess: Observable = None
    offset: Observable = None
    direction: Observable = None
    divergence_slope: Observable = None
    gap_slope: Observable = None
    locally_optimal: Observable = None
    globally_optimal: Observable = None
    decoder_divergence: Observable = None
    at: Any = None
    problem: Any = None
    selected: Any = None
    decoder: Any = None

    observables: ClassVar[tuple[str, ...]] = OBSERVABLES
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **dict.fromkeys(OVER_STEPS, ("at",)),
        "direction": ("row", "column"),
    }
