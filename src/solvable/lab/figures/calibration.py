"""The figure of all scores: sorted, against the quantiles of the normal law."""

from __future__ import annotations

import numpy as np

from solvable.lab.comparing.calibration import EXACT, band
from solvable.lab.figures.plot import FAINT, AnyMark, Axis, Band, Key, Look, Mark, Plot, Sheet
from solvable.lab.figures.theme import HUES

_MOST = 1000


def sheet(found: dict[str, np.ndarray]) -> Sheet:
    """One plot per group: sorted scores against normal quantiles, and the line of standard normal ones.

    Exact claims, which should follow it, have its 95 % band.
    """
    normal, scores = Look(FAINT, "solid", width=1.0), Look(HUES[0], marker="circle", size=3.4)
    inside = Look(HUES[0], opacity=0.15)
    plots = []
    for group, values in found.items():
        middle, low, high = band(len(values))
        shown = _thinned(len(values))
        marks: list[AnyMark] = []
        keys = [Key("standard normal", normal), Key("z-scores", scores)]
        if group == EXACT:
            marks.append(Band(middle[shown], low[shown], high[shown], inside, "95 % band"))
            keys.insert(0, Key("95 % band", inside))
        ends = middle[[0, -1]] if len(values) > 1 else np.array([-1.0, 1.0])
        marks.append(Mark(ends, ends, normal, "standard normal", of="guide"))
        marks.append(Mark(middle[shown], values[shown], scores, "z-scores", of="simulation"))
        plots.append(Plot(Axis("normal quantile"), Axis("z-score"), marks, keys, group))
    return Sheet(plots)


def _thinned(count: int) -> np.ndarray:
    """Every place where there are few; the ends, and evenly many between them, where there are many."""
    if count <= _MOST:
        return np.arange(count)
    ends = _MOST // 5
    between = np.linspace(ends, count - ends - 1, _MOST - 2 * ends).round().astype(int)
    return np.unique(np.concatenate([np.arange(ends), between, np.arange(count - ends, count)]))
