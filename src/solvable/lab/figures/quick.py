"""One figure from one dataset, in one line: what theory says as lines, what was simulated as points with errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from solvable.lab.declare.panels import Panel
from solvable.lab.figures import curves, matplotlib
from solvable.lab.figures.plot import Sheet
from solvable.lab.figures.series import Shown, Subject

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    about = Subject(x, {x: x_label}, logs=[x] if "x" in log else [], theories=[Shown("theory", "theory_", "theory")])
    names = [y] if isinstance(y, str) else list(y)
    panels = [Panel(name, x, label, x_label, hue or "", log=log) for name in names]
    plots = [curves.plot(panel, about, dataset) for panel in panels]
    if ax is None:
        return matplotlib.draw(Sheet(plots))
    for plot in plots:
        matplotlib.draw_into(plot, ax)
    return ax.figure.figure  # pyright: ignore[reportReturnType, reportAttributeAccessIssue]
