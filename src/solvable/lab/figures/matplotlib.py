"""Plots drawn by Matplotlib, for files and notebooks."""

from __future__ import annotations

import io
import math
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from solvable.lab.figures.plot import (
    AnyMark,
    Axis,
    Band,
    Bar,
    Field,
    Key,
    Look,
    Mark,
    Plot,
    Rule,
    Sheet,
    Words,
    legends,
)
from solvable.lab.figures.series import plain_number
from solvable.lab.figures.theme import DIVERGING, SEQUENTIAL, THEMES, Theme, named
from solvable.lab.store.atomic import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Width = Literal["column", "page"]
WIDTHS = {"column": 3.75, "page": 7.17}  # inches: 360 and 688 pixels of a page
_LINES: dict[str, Any] = {"": "none", "solid": "-", "dash": (0, (4, 2)), "dot": (0, (1, 1.5)), "dashdot": "-."}
_MARKERS = {
    "": "",
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "wedge": "v",
    "plus": "P",
    "cross": "X",
    "diamond": "D",
    "dash": "_",
}


def draw(sheet: Sheet, *, width: Width | None = None, title: bool = True, theme: str = "light") -> Figure:
    """The plots of a sheet side by side, with one legend where they share it.

    `width` is that of a "column" (one plot a row) or of a "page" of text; None lets it grow with the plots. A plot in
    an own way is drawn by it.

    Raises: ValueError for another width or theme.
    """
    if width not in (None, *WIDTHS):
        raise ValueError(f"width={width!r} is not a width; accepted: {', '.join(map(repr, WIDTHS))} or None")
    look, plots, words = named(theme), sheet.plots, sheet.title if title else ""
    columns = 1 if width == "column" else _columns(len(plots))
    across = WIDTHS[width] if width else 0.35 + 2.55 * columns if columns > 1 else WIDTHS["column"]
    lines = math.ceil(len(plots) / columns)
    shared, apart = legends([plot for plot in plots if plot.own is None])
    with matplotlib.rc_context(look.style()):
        beside = _beside(shared, 17 * across) if shared else 1
        own = [math.ceil(len(plot.keys) / _beside(plot.keys, 14 * across / columns)) for plot in apart]
        longest = max(own, default=0)
        each = 2.05 if columns > 1 else 2.9 if width == "page" else 2.25
        high = lines * (each + 0.16 * longest) + (0.4 if words else 0.15) + 0.16 * math.ceil(len(shared) / beside)
        made = Figure(figsize=(across, high), layout="constrained")
        FigureCanvasAgg(made)
        made.get_layout_engine().set(w_pad=0.05, h_pad=0.04, wspace=0.03, hspace=0.05)  # type: ignore[union-attr]
        grid = made.subplots(lines, columns, squeeze=False).ravel()
        for plot, axes in zip(plots, grid, strict=False):
            if plot.own is not None:
                plot.own(axes)
            else:
                _plot(plot, axes, look, len(apart) > 0, across / columns)
        for axes in grid[len(plots) :]:
            axes.set_axis_off()
        if shared:
            below: Any = {"loc": "outside lower center", "ncols": beside, "frameon": False, "labelcolor": look.ink}
            made.legend(handles=[_handle(key, look) for key in shared], handlelength=2.0, columnspacing=1.4, **below)
        if words:
            made.suptitle("\n".join(textwrap.wrap(words, int(across * 14.5))), fontsize=8.5, color=look.ink)
    return made


def draw_into(plot: Plot, axes: Axes, theme: str = "light") -> None:
    """One plot with its legend into axes that are there; their style is the caller's."""
    width = axes.get_position().width * axes.figure.get_figwidth()  # pyright: ignore[reportAttributeAccessIssue]
    _plot(plot, axes, named(theme), True, width)


def save(made: Figure, path: str | os.PathLike[str]) -> list[Path]:
    """Write the figure as PNG (300 dots an inch) and PDF beside it, each whole or not at all; the paths written.

    Raises: WriteError when they cannot be written.
    """
    written = []
    forms: dict[str, Any] = {".png": {"dpi": 300}, ".pdf": {"metadata": {"CreationDate": None}}}
    for suffix, options in forms.items():
        buffer = io.BytesIO()
        with matplotlib.rc_context(THEMES["light"].style()):
            made.savefig(buffer, format=suffix[1:], **options)
        written.append(Path(path).with_suffix(suffix))
        write_whole(written[-1], buffer.getvalue())
    return written


def picture(made: Figure) -> bytes:
    """The figure as SVG; its letters are drawn, so that it looks the same where the fonts are others."""
    with matplotlib.rc_context({**THEMES["light"].style(), "svg.fonttype": "path"}):
        buffer = io.BytesIO()
        made.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _columns(count: int) -> int:
    return count if count <= 3 else 2 if count == 4 else 3


def _beside(keys: Sequence[Key], letters: float) -> int:
    """How many keys of a legend fit beside each other in the width of so many letters."""
    return max(1, min(len(keys), int(letters / (max(len(key.label) for key in keys) + 7))))


def _plot(plot: Plot, axes: Axes, look: Theme, with_legend: bool, across: float) -> None:
    for order, mark in enumerate(plot.marks):
        _mark(mark, axes, look, 2.0 + 0.01 * order)
    for letter, axis in (("x", plot.x), ("y", plot.y)):
        _axis(letter, axis, axes, plot, int(12.5 * (across if letter == "x" else 2.1)))
    if plot.title:
        axes.set_title(plot.title, color=look.ink)
    if with_legend and plot.keys:
        handles = [_handle(key, look) for key in plot.keys]
        beside = _beside(plot.keys, 14 * across)
        # a fixed way below the axes: under the ticks and a label of two lines
        drop = ScaledTranslation(0.0, -0.54, axes.figure.dpi_scale_trans)  # pyright: ignore[reportAttributeAccessIssue]
        below: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "bbox_transform": axes.transAxes + drop}
        below |= {"ncols": beside, "columnspacing": 1.0, "borderaxespad": 0.0}
        axes.legend(handles=handles, frameon=False, fontsize=6.5, handlelength=1.8, labelcolor=look.ink, **below)


def _mark(mark: AnyMark, axes: Axes, look: Theme, order: float) -> None:
    if isinstance(mark, Words):
        inside: Any = {"transform": axes.transAxes} if mark.inside else {}
        color = look.faint if mark.inside else "#ffffff" if look is THEMES["dark"] else look.ink
        halo = {} if mark.inside else {"bbox": {"fc": look.ground, "ec": "none", "alpha": 0.65, "pad": 1.5}}
        axes.text(mark.x, mark.y, mark.text, ha="center", va="center", color=color, zorder=5, **inside, **halo)
    elif isinstance(mark, Mark):
        style = _style(mark.look, look) | {"zorder": order, "label": mark.label or None, "gid": mark.of or None}
        if mark.stepped:
            style["drawstyle"] = "steps-post"
        if mark.every > 1:
            style["markevery"] = mark.every
        if mark.error is None:
            axes.plot(mark.x, mark.y, **style)
        else:
            container = axes.errorbar(mark.x, mark.y, mark.error, elinewidth=0.9, capsize=0, **style)
            container.lines[0].set_gid(mark.of)
    elif isinstance(mark, Band):
        color = look.color(mark.look.color)
        axes.fill_between(mark.x, mark.low, mark.high, color=color, alpha=mark.look.opacity, lw=0, zorder=1)
    elif isinstance(mark, Rule):
        line = axes.axvline if mark.upright else axes.axhline
        line(mark.value, zorder=1.5, **_style(mark.look, look))
    elif isinstance(mark, Bar):
        color = look.color(mark.look.color)
        axes.bar(mark.x, mark.height, mark.width, color=color, alpha=mark.look.opacity, zorder=1.5, label=mark.label)
    elif isinstance(mark, Field):
        _field(mark, axes, look)
    else:
        points: Any = {"c": mark.value, "s": mark.size**2, "cmap": SEQUENTIAL, "zorder": 3, "linewidths": 0.4}
        low, high = mark.limits or (None, None)
        made = axes.scatter(mark.x, mark.y, edgecolors=look.ground, vmin=low, vmax=high, **points)
        axes.figure.colorbar(made, ax=axes).set_label(mark.label)
        axes.set_aspect("equal")


def _field(mark: Field, axes: Axes, look: Theme) -> None:
    low, high = mark.limits()
    steps = np.linspace(low, high, 25)
    cmap = DIVERGING if mark.diverging else SEQUENTIAL
    drawn = axes.contourf(mark.x, mark.y, mark.z, levels=steps, cmap=cmap, vmin=low, vmax=high, extend="both")
    drawn.set_edgecolor("face")  # no seams between neighbouring colours
    drawn.set_rasterized(True)
    if mark.levels:
        axes.contour(mark.x, mark.y, mark.z, levels=sorted(mark.levels), colors="#222222", linewidths=1.2)
    bar = axes.figure.colorbar(drawn, ax=axes, ticks=MaxNLocator(6))
    bar.set_label(mark.label)
    bar.outline.set_visible(False)  # type: ignore[operator]


def _style(its: Look, look: Theme) -> dict[str, Any]:
    """The settings of a line of Matplotlib."""
    color = look.color(its.color)
    style: dict[str, Any] = {"color": color, "ls": _LINES[its.line], "lw": its.width, "marker": _MARKERS[its.marker]}
    if its.opacity < 1.0:
        style["alpha"] = its.opacity
    if its.marker:
        thin = its.marker == "dash"
        face = "none" if its.hollow else color
        edge = color if its.hollow or thin else look.ground
        width = 1.3 if thin else 0.8 if its.hollow else 0.5
        style |= {"ms": its.size, "mfc": face, "mec": edge, "mew": width}
    return style


def _handle(key: Key, look: Theme) -> Any:
    if key.look.line or key.look.marker:
        return Line2D([], [], label=key.label, **_style(key.look, look))
    return Patch(color=look.color(key.look.color), alpha=key.look.opacity, label=key.label, lw=0)


def _axis(letter: str, axis: Axis, axes: Axes, plot: Plot, letters: int) -> None:
    if axis.hidden:
        getattr(axes, f"set_{letter}ticks")([])
        for side in ("left", "right") if letter == "y" else ("top", "bottom"):
            axes.spines[side].set_visible(False)
        getattr(axes, f"set_{letter}label")(axis.label)
        return
    own: Any = axes.xaxis if letter == "x" else axes.yaxis
    getattr(axes, f"set_{letter}label")(axis.label if "$" in axis.label else textwrap.fill(axis.label, letters))
    if axis.log:
        getattr(axes, f"set_{letter}scale")("log")
    if letter == "x" and not any(isinstance(mark, Field) for mark in plot.marks):
        axes.margins(x=0.06)
    if axis.names is not None and axis.log:
        own.set_major_locator(FixedLocator(list(axis.names)))
        own.set_major_formatter(FixedFormatter(list(axis.names.values())))
        own.set_minor_locator(NullLocator())
        own.set_minor_formatter(NullFormatter())
    elif axis.names is not None:
        own.set_ticks(list(axis.names), list(axis.names.values()))
        if letter == "x" and sum(len(name) + 2 for name in axis.names.values()) > 1.1 * letters:
            axes.tick_params(axis="x", rotation=20)
        own.set_minor_locator(NullLocator())
    elif axis.log:
        _logarithmic(own, axes.get_xlim() if letter == "x" else axes.get_ylim())
    else:
        own.set_major_locator(MaxNLocator(6 if letter == "y" else 5 if letters > 34 else 3))
    low, high = axis.limits
    if low is not None or high is not None:
        getattr(axes, f"set_{letter}lim")(low, high)


def _logarithmic(own: Any, limits: tuple[float, float]) -> None:
    """Plain numbers while the axis spans few decades; labels between the decades only where it spans hardly one."""
    low, high = limits
    decades = math.log10(high / low)
    steps = (1, 2, 3, 5) if decades < 1 else (1, 2, 5) if decades < 1.6 else (1,)
    if decades < 4 and low > 1e-4 and high < 1e5:
        own.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))

    def between(value: float, _: int) -> str:
        mantissa = value / 10 ** math.floor(math.log10(value) + 1e-9)
        return plain_number(value) if any(abs(mantissa - step) < 1e-6 for step in steps if step > 1) else ""

    own.set_minor_formatter(FuncFormatter(between))
