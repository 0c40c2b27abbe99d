"""Figures for files: theory as lines, simulation as points with one standard error, one panel per observable."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from solvable.lab.declare import Experiment, Overlay
from solvable.lab.figures.theme import (
    FAINT,
    INK,
    MOST_SERIES,
    STYLE,
    Series,
    abscissa,
    logarithmic,
    meaning,
    names_of,
    plain_number,
    series,
)
from solvable.lab.store.arrays import SIMULATION
from solvable.lab.store.dataset import variable_prefix
from solvable.numerics.estimate import over_replicates

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

_THEORY: Any = {"lw": 1.3}
_GIVEN: Any = {"ls": (0, (4, 2)), "lw": 0.8, "marker": "D", "ms": 5.4, "mfc": "white", "mew": 0.8}
_APART: Any = {"ls": "none", "marker": "_", "ms": 14, "mew": 1.3}
_POINT: Any = {"ms": 4.0, "mec": "white", "mew": 0.5}
_MOST_POINTS = 24
_REFUSED = "refused:"


def figure(experiment: type[Experiment], dataset: xarray.Dataset) -> Figure:
    """The figure of an experiment: one panel per entry of its `panels` (every observable where it names none)."""
    observables = [item.name for item in experiment.observables]
    asked = experiment.panels or observables
    panels = [name for name in asked if name not in observables or _shown(experiment, dataset, name)] or asked[:1]
    columns = len(panels) if len(panels) <= 3 else 2 if len(panels) == 4 else 3
    lines = math.ceil(len(panels) / columns)
    with matplotlib.rc_context(STYLE):
        made = Figure(
            figsize=(0.35 + 2.55 * columns if columns > 1 else 3.6, 0.75 + 2.05 * lines), layout="constrained"
        )
        FigureCanvasAgg(made)
        made.get_layout_engine().set(w_pad=0.05, h_pad=0.04, wspace=0.03, hspace=0.05)  # type: ignore[union-attr]
        grid = np.atleast_1d(made.subplots(lines, columns, squeeze=False).ravel())
        ours = [panel for panel, axes in zip(panels, grid, strict=False) if not experiment.draw(panel, axes, dataset)]
        for panel, axes in zip(panels, grid, strict=False):
            if panel in ours:
                draw(experiment, panel, axes, dataset)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if ours:
            _legend(made, experiment, dataset, ours, columns)
        _title(made, experiment)
    return made


def figures(experiment: type[Experiment], dataset: xarray.Dataset) -> tuple[int, Iterator[tuple[str, Figure]]]:
    """The figure, or where a panel of it had more than `MOST_SERIES` series, several that share out the values of dims.

    Gives their number, and each with the values it shows in words (empty for a single figure), drawn when asked for.
    The dims are parameters where they suffice, the fewest figures first; of the longest, a figure takes as many
    neighbouring values as it has room for.
    """
    whole = figure(experiment, dataset)
    refused = [str(axes.get_gid())[len(_REFUSED) :] for axes in whole.axes if str(axes.get_gid()).startswith(_REFUSED)]
    dims, inner = _splits(experiment, dataset, refused)
    if not dims:
        return 1, iter([("", whole)])
    shares = [[[value] for value in dataset[dim].values.tolist()] for dim in dims]
    longest = max(range(len(dims)), key=lambda place: len(shares[place]))
    values = [value for (value,) in shares[longest]]
    count = math.ceil(len(values) / (MOST_SERIES // inner))
    ends = [round(place * len(values) / count) for place in range(count + 1)]
    shares[longest] = [values[start:stop] for start, stop in itertools.pairwise(ends)]
    parts = []
    for combination in itertools.product(*shares):
        where = dict(zip(dims, combination, strict=True))
        part = dataset.sel({dim: some if len(some) > 1 else some[0] for dim, some in where.items()})
        if any(
            bool(array.notnull().any()) for panel in refused for array in _present(experiment, part, panel).values()
        ):
            parts.append((", ".join(names_of(experiment, dim, some) for dim, some in where.items()), part))
    return len(parts), ((words, figure(experiment, part)) for words, part in parts)


def draw(experiment: type[Experiment], panel: str, axes: Axes, dataset: xarray.Dataset) -> None:
    """Draw one observable: lines for unconditional theory, points with bars for the simulation's mean and its error.

    Open diamonds on a dashed line are the mean of a prediction that was given each run.
    """
    observable = next((item for item in experiment.observables if item.name == panel), None)
    if observable is None:
        if getattr(experiment.draw, "__func__", None) is Experiment.draw.__func__:
            raise ValueError(f"panel {panel!r} is no observable of {experiment.name}; its `draw` must draw it")
        _note(axes, f"{panel}: nothing to draw\non this grid of parameters")
        return
    present = _present(experiment, dataset, panel)
    axis = abscissa(experiment, dataset, present.values())
    lines = series(experiment, dataset, present.values(), axis)
    unit = f" ({observable.unit})" if observable.unit else ""
    axes.set_ylabel(observable.label + unit)
    if len(lines) > MOST_SERIES:
        _refuse(axes, len(lines), panel)
        return
    ticks, positions, logarithmic = _abscissae(experiment, dataset, axis)
    for place, one in enumerate(lines):
        for overlay in experiment.overlays:
            if overlay.label in present:
                _draw_theory(axes, overlay, present[overlay.label], one, axis, positions, place)
        if SIMULATION in present:
            _draw_simulation(axes, present[SIMULATION], one, axis, positions, place)
    if observable.log and any(np.nanmax(line.get_ydata(), initial=-1) > 0 for line in axes.lines):
        _logarithmic_ordinate(axes)
    _finish_abscissa(axes, experiment, dataset, axis, ticks, positions, logarithmic)
    axes.margins(x=0.06)


def _draw_theory(
    axes: Axes,
    overlay: Overlay,
    array: xarray.DataArray,
    one: Series,
    axis: str | None,
    positions: np.ndarray,
    place: int,
) -> None:
    selected = _select(array, one, axis)
    look: Any = {"color": one.color, "label": _joined(one.label, _words(overlay))}
    names = axis in array.coords and array.coords[axis].dtype.kind not in "iuf"
    apart = _APART if names else {}  # between names there is nothing
    if not overlay.given:
        line = np.atleast_1d(selected.values)
        _plot(axes, positions, line, zorder=2, gid=f"theory:{place}", **look, **(_THEORY | apart))
        return
    mean = np.atleast_1d(selected.mean("replicate").values)
    every = _every(len(mean))
    joined = _GIVEN | ({"ls": "none"} if names else {})
    _plot(axes, positions, mean, zorder=2.5, gid=f"given:{place}", markevery=every, **look, **joined)


def _draw_simulation(
    axes: Axes, array: xarray.DataArray, one: Series, axis: str | None, positions: np.ndarray, place: int
) -> None:
    selected = _select(array, one, axis)
    mean, error = (np.atleast_1d(part.values) for part in over_replicates(selected))
    there = np.flatnonzero(np.isfinite(mean))
    there = there[:: _every(len(there))]
    if not len(there):
        return
    drawn = axes.errorbar(
        positions[there],
        mean[there],
        yerr=np.nan_to_num(error[there]),
        fmt=one.marker,
        color=one.color,
        elinewidth=0.9,
        capsize=0,
        zorder=3,
        label=_joined(one.label, SIMULATION),
        **_POINT,
    )
    drawn.lines[0].set_gid(f"simulation:{place}")


def _select(array: xarray.DataArray, one: Series, axis: str | None) -> xarray.DataArray:
    selected = array.sel({dim: value for dim, value in one.where.items() if dim in array.dims})
    return selected.transpose(..., "replicate") if "replicate" in selected.dims else selected


def _every(count: int) -> int:
    """The step between the marked points of a series, so that a long path does not become a band of markers."""
    return max(1, -(-count // _MOST_POINTS))


def _plot(axes: Axes, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    there = np.isfinite(y)
    if len(y) != len(x):  # a prediction that does not depend on the abscissa
        there, y = np.ones(len(x), bool), np.broadcast_to(y, x.shape)
    if there.sum() == 1 and "marker" not in style:
        style |= {"marker": "_", "ms": 9}
    if there.any():
        axes.plot(x[there], y[there], **style)


def _abscissae(
    experiment: type[Experiment], dataset: xarray.Dataset, axis: str | None
) -> tuple[list[Any], np.ndarray, bool]:
    if axis is None:
        here = dataset.coords.get(experiment.x)
        return ["" if here is None or here.ndim else here.item()], np.zeros(1), False
    ticks = dataset[axis].values.tolist()
    if dataset[axis].dtype.kind not in "iuf":
        return ticks, np.arange(len(ticks), dtype=float), False
    return ticks, np.asarray(ticks, dtype=float), logarithmic(experiment, axis) and min(ticks) > 0


def _finish_abscissa(
    axes: Axes,
    experiment: type[Experiment],
    dataset: xarray.Dataset,
    axis: str | None,
    ticks: Sequence[Any],
    positions: np.ndarray,
    logarithmic: bool,
) -> None:
    axes.set_xlabel(meaning(experiment, axis or experiment.x))
    if axis is None or dataset[axis].dtype.kind not in "iuf":
        names = [plain_number(tick) if isinstance(tick, int | float) else str(tick) for tick in ticks]
        axes.set_xticks(positions, names)
        axes.set_xlim(-0.5, len(positions) - 0.5)
    elif logarithmic:
        axes.set_xscale("log")
        if len(ticks) <= 8 and max(ticks) / min(ticks) < 1e4:
            axes.xaxis.set_major_locator(FixedLocator([float(tick) for tick in ticks]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_minor_formatter(NullFormatter())


def _logarithmic_ordinate(axes: Axes) -> None:
    """Plain numbers while the axis spans few decades; labels between the decades only where it spans hardly one.

    An axis too short for two labels stays linear.
    """
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    steps = (1, 2, 3, 5) if decades < 1 else (1, 2, 5) if decades < 1.6 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    if sum(low <= step * 10.0**power <= high for step in steps for power in powers) < 2:
        axes.set_yscale("linear")
        return
    if decades < 4 and low > 1e-4 and high < 1e5:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))

    def between(value: float, _: int) -> str:
        mantissa = value / 10 ** math.floor(math.log10(value) + 1e-9)
        return plain_number(value) if any(abs(mantissa - step) < 1e-6 for step in steps if step > 1) else ""

    axes.yaxis.set_minor_formatter(FuncFormatter(between))


def _legend(
    made: Figure, experiment: type[Experiment], dataset: xarray.Dataset, shown: Sequence[str], columns: int
) -> None:
    prefixes = ["", *(variable_prefix(experiment, overlay.label) for overlay in experiment.overlays)]
    arrays = [dataset[prefix + name] for prefix in prefixes for name in shown if prefix + name in dataset]
    lines = series(experiment, dataset, arrays, abscissa(experiment, dataset, arrays))
    handles: list[Line2D] = []
    if 1 < len(lines) <= MOST_SERIES:
        for one in lines:
            look = _THEORY | _POINT | {"color": one.color, "marker": one.marker}
            handles.append(Line2D([], [], label=one.label, **look))
    for overlay in experiment.overlays:
        if any(variable_prefix(experiment, overlay.label) + name in dataset for name in shown):
            handles.append(Line2D([], [], color=FAINT, label=_words(overlay), **(_GIVEN if overlay.given else _THEORY)))
    if any(name in dataset for name in shown):
        handles.append(Line2D([], [], color=FAINT, marker="o", ls="none", label="simulation ± 1 se", **_POINT))
    widest = max((len(str(handle.get_label())) for handle in handles), default=0)
    across = max(1, min(len(handles), int(columns * 62 / (widest + 9)) if columns > 1 else int(70 / (widest + 9))))
    made.legend(
        handles=handles, loc="outside lower center", ncols=across, frameon=False, handlelength=2.0, columnspacing=1.4
    )


def _title(made: Figure, experiment: type[Experiment]) -> None:
    title = (experiment.__doc__ or experiment.name).strip().partition("\n")[0].rstrip(".")
    across = int(made.get_figwidth() * 15)  # letters of this size in the width, wide ones among them
    made.suptitle("\n".join(textwrap.wrap(title, across)), fontsize=8.5, color=INK)


def _refuse(axes: Axes, count: int, panel: str) -> None:
    axes.set_gid(_REFUSED + panel)
    _note(axes, f"{count} series are too many to tell apart\n(at most {MOST_SERIES}); set fewer values")


def _note(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=FAINT)
    axes.set_xticks([])
    axes.set_yticks([])


def _splits(experiment: type[Experiment], dataset: xarray.Dataset, panels: Sequence[str]) -> tuple[list[str], int]:
    """The dims to split along until each of these panels has few enough series, and how many it then has at most."""
    chosen: set[str] = set()
    inner = 1
    for panel in panels:
        arrays = list(_present(experiment, dataset, panel).values())
        axis = abscissa(experiment, dataset, arrays)
        used = {str(dim) for array in arrays for dim in array.dims} - {axis, "replicate"}
        while (count := math.prod(dataset.sizes[dim] for dim in used - chosen)) > MOST_SERIES:
            sizes = {dim: dataset.sizes[dim] for dim in used - chosen if dataset.sizes[dim] > 1}
            sizes = {dim: size for dim, size in sizes.items() if dim in experiment.model_fields} or sizes
            enough = {dim: size for dim, size in sizes.items() if count / size <= MOST_SERIES}
            chosen.add(min(enough, key=enough.__getitem__) if enough else max(sizes, key=sizes.__getitem__))
        inner = max(inner, count)
    return [str(dim) for dim in dataset.dims if dim in chosen], inner


def _present(experiment: type[Experiment], dataset: xarray.Dataset, panel: str) -> dict[str, xarray.DataArray]:
    """What the dataset holds of one observable, by source."""
    names = {SIMULATION: panel, **{o.label: variable_prefix(experiment, o.label) + panel for o in experiment.overlays}}
    return {label: dataset[name] for label, name in names.items() if name in dataset}


def _shown(experiment: type[Experiment], dataset: xarray.Dataset, name: str) -> bool:
    return bool(_present(experiment, dataset, name))


def _words(overlay: Overlay) -> str:
    return {"theory_given": "theory given each run"}.get(overlay.label, overlay.label.replace("_", " "))


def _joined(label: str, words: str) -> str:
    return f"{label}: {words}" if label else words
