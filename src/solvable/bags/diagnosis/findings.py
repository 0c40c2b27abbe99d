"""What a diagnosis holds: estimates, checks, curves, held-out tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvable.bags.comparison import Comparison
from solvable.bags.diagnosis.intervals import Interval
from solvable.bags.diagnosis.measured import Curves
from solvable.bags.diagnosis.misfit import Misfit
from solvable.bags.diagnosis.predicted import Halving
from solvable.bags.labels import LengthEffect


@dataclass(frozen=True)
class Tokens:
    """Held-out tokens along the signal, in units of the noise, for the figure: (bins,) each.

    places: the middle of the bins; negatives, positives: densities; fitted: the mixture (NaN where not identifiable).
    """

    places: np.ndarray
    negatives: np.ndarray
    positives: np.ndarray
    fitted: np.ndarray


@dataclass(frozen=True)
class Findings:
    """What `diagnose` found.

    strength, share, sparsity (share times the mean length), strength_times_share: `Interval`s at `confidence`, in units
    of the noise after whitening. dimension: features that vary and do not depend on each other; dropped: the columns of
    those that do not vary. classes: (negative, positive); chosen: the positive class was not named, and is the one
    whose tokens the mixture describes better; counts: bags of each; groups: their number, None without; tokens;
    mean_length; length_effect: that bags of one class are longer, if so. misfit: the checks of the model. comparison:
    attention against pooling, as `compare` judges them; measured: their learning `Curves`, which end there; predicted:
    those of the theory; None where not known or not asked for; halving: how many bags would halve the error, None
    likewise. projections: held-out tokens along the signal.
    """

    strength: Interval
    share: Interval
    sparsity: Interval
    strength_times_share: Interval
    confidence: float
    dimension: int
    dropped: tuple[int, ...]
    classes: tuple[Any, Any]
    chosen: bool
    counts: tuple[int, int]
    groups: int | None
    tokens: int
    mean_length: float
    equal_lengths: bool
    length_effect: LengthEffect | None
    misfit: Misfit
    predicted: Curves | None
    measured: Curves | None
    comparison: Comparison | None
    halving: Halving | None
    projections: Tokens
