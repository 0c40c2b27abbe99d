"""The normal quantile plot of scores, with the band that sorted normal draws keep to."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from solvable.lab.comparing.calibration import EXACT, band
from solvable.lab.figures.theme import STYLE

_MOST = 1000


def figure(found: dict[str, np.ndarray]) -> Figure:
    """One panel per group: sorted scores against normal quantiles, and the line of standard normal ones.

    Exact claims, which should follow it, have its 95 % band.
    """
    with matplotlib.rc_context(STYLE):
        made = Figure(figsize=(0.35 + 2.9 * len(found), 2.8), layout="constrained")
        FigureCanvasAgg(made)
        for axes, (group, values) in zip(made.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
            middle, low, high = band(len(values))
            shown = _thinned(len(values))
            if group == EXACT:
                ends = middle[shown], low[shown], high[shown]
                axes.fill_between(*ends, color="#0072B2", alpha=0.15, lw=0, label="95 % band")
            ends = middle[[0, -1]] if len(values) > 1 else np.array([-1.0, 1.0])
            axes.plot(ends, ends, color="#8a8a8a", lw=1.0, label="standard normal")
            axes.plot(
                middle[shown], values[shown], "o", color="#0072B2", ms=3.4, mec="white", mew=0.4, label="z-scores"
            )
            axes.set(title=group, xlabel="normal quantile", ylabel="z-score")
        handles, labels = made.axes[0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return made


def _thinned(count: int) -> np.ndarray:
    """Every place where there are few; the ends, and evenly many between them, where there are many."""
    if count <= _MOST:
        return np.arange(count)
    ends = _MOST // 5
    between = np.linspace(ends, count - ends - 1, _MOST - 2 * ends).round().astype(int)
    return np.unique(np.concatenate([np.arange(ends), between, np.arange(count - ends, count)]))
