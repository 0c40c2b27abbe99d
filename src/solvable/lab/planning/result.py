"""A row of a plan: where one combination of the other parameters meets the target, and what is advised there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from solvable.lab.declare import Experiment, Overlay, Status
from solvable.lab.declare import grid as grids
from solvable.lab.planning.inversion import Crossing, Inverse


@dataclasses.dataclass(frozen=True)
class Advice:
    """What the experiment says of one place, the first crossing or else the one nearest to the target.

    `marginal`: the change of the observable with one more of each amount. `tuned`: the hyper-parameters that the theory
    finds best there; `reached` is the observable with them there, `crossing` where it then meets the target.
    """

    marginal: Mapping[str, float]
    tuned: Mapping[str, float]
    reached: float | None
    crossing: Crossing | None


@dataclasses.dataclass(frozen=True)
class Solution:
    """One combination of the other parameters.

    `cell` holds them; `overlay` is the theory and `status` what it claims of the observable at the answer: at the
    crossings, else at the place nearest to the target (None where no theory speaks without a run). `inverse` says where
    the target is met and what was tried. `notes` are what the theory warned of at the crossings, and why there is no
    advice where it failed.
    """

    cell: Experiment
    overlay: Overlay | None
    status: Status | None
    inverse: Inverse
    advice: Advice | None = None
    notes: Sequence[str] = ()

    @property
    def values(self) -> list[float]:
        """The values of the parameter solved for at which the target is met, in order."""
        return [crossing.value for crossing in self.inverse.crossings]


def moved(cell: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The cell with other values; whole numbers where the parameter asks for them."""
    whole = {name for name in values if grids.kinds(type(cell).model_fields[name].annotation) == {int}}
    values = {name: round(value) if name in whole else float(value) for name, value in values.items()}
    return grids.cells(type(cell), {**cell.model_dump(), **values})[0]
