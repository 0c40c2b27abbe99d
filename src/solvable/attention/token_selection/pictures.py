"""Panels that the figures of token selection draw in their own way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvable.lab.declare.drawing import note
from solvable.numerics.estimate import over_replicates

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

COLORS = ("#4a2377", "#1b7f79", "#d1662b", "#8a8a8a")


def draw_directions(place: int, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The divergence over steps of training with the p at this place, one line a reference, and its limits dashed."""
    if "divergence" not in dataset or set(dataset["divergence"].dims) - {"replicate", "p", "at", "reference"}:
        return False
    values = np.atleast_1d(dataset.p.values)
    if place >= len(values):
        axes.set_axis_off()
        return True
    p = float(values[place])
    chosen = dataset.sel(p=p) if "p" in dataset.dims else dataset
    limits = chosen.get("theory_given_final_divergence")
    known = chosen["divergence"] if limits is None else chosen["divergence"].where(limits.notnull())
    if not known.notnull().any():
        return note(axes, f"trained with p = {p:g}", "no run has a limit to go to")
    for reference, color in zip(dataset.reference.values, COLORS, strict=False):
        curve, level = chosen["divergence"].sel(reference=reference).transpose("replicate", "at"), 0.0
        if limits is not None:  # the runs of which a limit is predicted
            limit = limits.sel(reference=reference)
            curve, level = curve.where(limit.notnull()), float(limit.mean())
        mean, error = over_replicates(curve)
        there = np.isfinite(mean.values)
        label = f"r = {float(reference):g}" + (" (own)" if float(reference) == p else "")
        points = curve["at"].values[there], mean.values[there], np.nan_to_num(error.values[there])
        axes.errorbar(*points, color=color, marker="o", ms=3, lw=1, label=label)
        if level > 1e-12:
            axes.axhline(level, color=color, ls=(0, (4, 2)), lw=0.8)
    axes.set(xscale="log", yscale="log", xlabel="steps", ylabel="divergence from the p = r solution")
    if limits is not None:
        axes.plot([], [], color="#8a8a8a", ls=(0, (4, 2)), lw=0.8, label="limits")
    left = len(values) - 3 if place == 2 else 0
    axes.set_title(f"trained with p = {p:g}" + (f" ({left} more p not drawn)" if left > 0 else ""), fontsize="medium")
    axes.legend(frameon=False, fontsize="small")
    return True
