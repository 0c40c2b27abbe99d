"""One figure from one dataset, in one line: what theory says as lines, what was simulated as points with errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from solvable.lab.figures.theme import HUES, MARKERS, STYLE
from solvable.numerics.estimate import over_replicates

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes


def lines(
    dataset: xarray.Dataset,
    y: str | Sequence[str],
    x: str,
    *,
    hue: str | None,
    label: str,
    x_label: str,
    log: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw `theory_<y>` as lines and `<y>` as means over `replicate` with standard errors, against the dim `x`.

    Several names in `y` have a panel each; `hue` is the dim of the lines of one panel. `label` names the ordinate
    (empty: the name itself). `log` holds "x", "y" or both for logarithmic axes. The figure is that of `ax`, if given.
    """
    names = [y] if isinstance(y, str) else list(y)
    with matplotlib.rc_context(STYLE):
        if ax is None:
            made = Figure(figsize=(0.9 + 2.7 * len(names), 2.7), layout="constrained")
            panels = list(np.ravel(made.subplots(1, len(names), squeeze=False)))
        else:
            made: Any = ax.figure
            panels = [ax] * len(names)
        for name, axes in zip(names, panels, strict=True):
            values = [None] if hue is None else dataset[hue].values.tolist()
            for place, value in enumerate(values):
                part = dataset if hue is None else dataset.sel({hue: value})
                _draw(axes, part, name, x, HUES[place % len(HUES)], MARKERS[place % len(MARKERS)], value)
            axes.set(xlabel=x_label, ylabel=label or name)
            if hue is not None:
                axes.legend(frameon=False)
            if dataset[x].dtype.kind not in "iuf":
                axes.tick_params(axis="x", rotation=45)
            if "x" in log:
                axes.set_xscale("log")
            if "y" in log:
                axes.set_yscale("log")
    return made


def _draw(axes: Axes, data: xarray.Dataset, name: str, x: str, color: str, marker: str, value: Any) -> None:
    along = data[x].values if x in data.coords else np.arange(data.sizes[x])
    words = along.dtype.kind not in "iuf"
    look: Any = {"color": color}
    if f"theory_{name}" in data:
        style: Any = {"ls": "none", "marker": "_", "ms": 14} if words else {"lw": 1.3}
        text = "theory" if value is None else f"{value}: theory"
        axes.plot(along, data[f"theory_{name}"].transpose(x), label=text, **look, **style)
    if name in data and "replicate" in data[name].dims:
        mean, error = (part.values for part in over_replicates(data[name].transpose(x, "replicate")))
        text = "simulation" if value is None else f"{value}: simulation"
        axes.errorbar(along, mean, np.nan_to_num(error), fmt=marker, ms=4, mec="white", mew=0.5, label=text, **look)
    elif name in data:
        axes.plot(along, data[name].transpose(x), marker, ms=4, label="value", **look)
