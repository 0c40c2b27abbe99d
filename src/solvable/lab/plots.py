"""Figures for files: theory as lines, simulation as points with one standard error, one panel per observable."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from solvable.lab.dataset import variable_prefix
from solvable.lab.experiment import Experiment, Overlay
from solvable.lab.values import SIMULATION

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

MOST_SERIES = 12
# Okabe and Ito's colours in an order that keeps neighbours apart for every kind of colour vision, yellow left out.
_HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("o", "s", "^", "v", "P", "X")
_INK, _FAINT = "#222222", "#8a8a8a"
_THEORY: Any = {"lw": 1.3}
_GIVEN: Any = {"ls": (0, (4, 2)), "lw": 0.8, "marker": "D", "ms": 5.4, "mfc": "white", "mew": 0.8}
_POINT: Any = {"ms": 4.0, "mec": "white", "mew": 0.5}
_MOST_POINTS = 24
_REFUSED = "refused:"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 7.5,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.6,
    "ytick.minor.size": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "solvable",
    "pdf.fonttype": 42,
}


@dataclasses.dataclass(frozen=True)
class Series:
    """One line of a panel: where it lies in the dataset, what it is called, how it looks."""

    where: dict[str, Any]
    label: str
    color: tuple[float, float, float]
    marker: str


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
    combinations = list(itertools.product(*shares))

    def each() -> Iterator[tuple[str, Figure]]:
        for combination in combinations:
            where = dict(zip(dims, combination, strict=True))
            part = dataset.sel({dim: some if len(some) > 1 else some[0] for dim, some in where.items()})
            yield ", ".join(_names(experiment, dim, some) for dim, some in where.items()), figure(experiment, part)

    return len(combinations), each()


def draw(experiment: type[Experiment], panel: str, axes: Axes, dataset: xarray.Dataset) -> None:
    """Draw one observable: lines for unconditional theory, points with bars for the simulation's mean and its error.

    Open diamonds on a dashed line are the mean of a prediction that was given each run.
    """
    observable = next((item for item in experiment.observables if item.name == panel), None)
    if observable is None:
        raise ValueError(f"panel {panel!r} is no observable of {experiment.name}; its `draw` must draw it")
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


def abscissa(experiment: type[Experiment], dataset: xarray.Dataset, arrays: Iterable[xarray.DataArray]) -> str | None:
    """The dim on the abscissa: the experiment's, or where that does not vary one that does; None for one point."""
    used = {str(dim) for array in arrays for dim in array.dims} - {"replicate"}
    varying = [str(dim) for dim in dataset.dims if dim in used]
    if experiment.x in varying:
        return experiment.x
    numeric = [dim for dim in varying if dataset[dim].dtype.kind in "iuf"]
    return next((dim for dim in numeric if dim in experiment.model_fields), next(iter([*numeric, *varying]), None))


def series(
    experiment: type[Experiment], dataset: xarray.Dataset, arrays: Iterable[xarray.DataArray], axis: str | None
) -> list[Series]:
    """One series per combination of the dims other than the abscissa: hue by the first, lightness by the others.

    The marker tells apart the values of the second parameter, of the first where there is only one.
    """
    used = {str(dim) for array in arrays for dim in array.dims} - {axis, "replicate"}
    dims = [str(dim) for dim in dataset.dims if dim in used]
    values = [dataset[dim].values.tolist() for dim in dims]
    inner = math.prod(len(items) for items in values[1:]) if dims else 1
    marked = [dim for dim in dims if dim in experiment.model_fields]
    found = []
    for place, combination in enumerate(itertools.product(*values)):
        outer, shade = divmod(place, inner)
        ordered = bool(dims) and dataset[dims[0]].dtype.kind in "iuf" and len(values[0]) > 2
        hue = _ordered(outer, len(values[0])) if ordered else to_rgb(_HUES[outer % len(_HUES)])
        label = ", ".join(_name(experiment, dim, value) for dim, value in zip(dims, combination, strict=True))
        where = dict(zip(dims, combination, strict=True))
        positions = [values[dims.index(dim)].index(where[dim]) for dim in marked[1:] or marked]
        color = _lighter(hue, 0.5 * shade / max(inner - 1, 1))
        found.append(Series(where, label, color, _MARKERS[sum(positions) % len(_MARKERS)]))
    return found


def save(made: Figure, path: str | os.PathLike[str]) -> list[Path]:
    """Write the figure as PNG (300 dots an inch) and PDF beside it; the paths written."""
    written = [Path(path).with_suffix(suffix) for suffix in (".png", ".pdf")]
    with matplotlib.rc_context(STYLE):
        made.savefig(written[0], dpi=300)
        made.savefig(written[1], metadata={"CreationDate": None})
    return written


def picture(made: Figure) -> bytes:
    """The figure as SVG; its letters are drawn, so that it looks the same where the fonts are others."""
    with matplotlib.rc_context({**STYLE, "svg.fonttype": "path"}):
        buffer = io.BytesIO()
        made.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


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
    if not overlay.given:
        line = np.atleast_1d(selected.values)
        _plot(axes, positions, line, zorder=2, gid=f"theory:{place}", **look, **_THEORY)
        return
    mean = np.atleast_1d(selected.mean("replicate").values)
    every = _every(len(mean))
    _plot(axes, positions, mean, zorder=2.5, gid=f"given:{place}", markevery=every, **look, **_GIVEN)


def _draw_simulation(
    axes: Axes, array: xarray.DataArray, one: Series, axis: str | None, positions: np.ndarray, place: int
) -> None:
    selected = _select(array, one, axis)
    count = selected.notnull().sum("replicate")
    mean = np.atleast_1d(selected.mean("replicate").values)
    error = np.atleast_1d((selected.std("replicate", ddof=1) / np.sqrt(count.where(count > 1))).values)
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
    extra = experiment.model_fields[axis].json_schema_extra if axis in experiment.model_fields else None
    logarithmic = isinstance(extra, dict) and bool(extra.get("log")) and min(ticks) > 0
    return ticks, np.asarray(ticks, dtype=float), logarithmic


def _finish_abscissa(
    axes: Axes,
    experiment: type[Experiment],
    dataset: xarray.Dataset,
    axis: str | None,
    ticks: Sequence[Any],
    positions: np.ndarray,
    logarithmic: bool,
) -> None:
    axes.set_xlabel(_meaning(experiment, axis or experiment.x))
    if axis is None or dataset[axis].dtype.kind not in "iuf":
        axes.set_xticks(positions, [_number(tick) if isinstance(tick, int | float) else str(tick) for tick in ticks])
        axes.set_xlim(-0.5, len(positions) - 0.5)
    elif logarithmic:
        axes.set_xscale("log")
        if len(ticks) <= 8 and max(ticks) / min(ticks) < 1e4:
            axes.xaxis.set_major_locator(FixedLocator([float(tick) for tick in ticks]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_minor_formatter(NullFormatter())


def _logarithmic_ordinate(axes: Axes) -> None:
    """Plain numbers while the axis spans few decades; labels between the decades only where it spans hardly one."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    if decades < 4 and low > 1e-4 and high < 1e5:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    steps = (1, 2, 3, 5) if decades < 1 else (1, 2, 5) if decades < 1.6 else (1,)

    def between(value: float, _: int) -> str:
        mantissa = value / 10 ** math.floor(math.log10(value) + 1e-9)
        return _number(value) if any(abs(mantissa - step) < 1e-6 for step in steps if step > 1) else ""

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
            handles.append(
                Line2D([], [], color=_FAINT, label=_words(overlay), **(_GIVEN if overlay.given else _THEORY))
            )
    if any(name in dataset for name in shown):
        handles.append(Line2D([], [], color=_FAINT, marker="o", ls="none", label="simulation ± 1 se", **_POINT))
    widest = max((len(str(handle.get_label())) for handle in handles), default=0)
    across = max(1, min(len(handles), int(columns * 62 / (widest + 9)) if columns > 1 else int(70 / (widest + 9))))
    made.legend(
        handles=handles, loc="outside lower center", ncols=across, frameon=False, handlelength=2.0, columnspacing=1.4
    )


def _title(made: Figure, experiment: type[Experiment]) -> None:
    title = (experiment.__doc__ or experiment.name).strip().partition("\n")[0].rstrip(".")
    across = int(made.get_figwidth() * 16.5)  # letters of this size in the width
    made.suptitle("\n".join(textwrap.wrap(title, across)), fontsize=8.5, color=_INK)


def _refuse(axes: Axes, count: int, panel: str) -> None:
    axes.set_gid(_REFUSED + panel)
    text = f"{count} series are too many to tell apart\n(at most {MOST_SERIES}); set fewer values"
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=_FAINT)
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


def _meaning(experiment: type[Experiment], name: str) -> str:
    if name not in experiment.model_fields:
        return name.replace("_", " ")
    field = experiment.model_fields[name]
    return field.description or name


def _name(experiment: type[Experiment], dim: str, value: Any) -> str:
    if isinstance(value, str):
        return value.replace("_", " ")
    extra = experiment.model_fields[dim].json_schema_extra if dim in experiment.model_fields else None
    symbol = extra.get("symbol") if isinstance(extra, dict) else ""
    return f"{symbol or dim.replace('_', ' ')} = {_number(value)}"


def _names(experiment: type[Experiment], dim: str, values: Sequence[Any]) -> str:
    """Several neighbouring values: numbers by their ends, texts one by one."""
    if len(values) > 1 and not isinstance(values[0], str):
        return f"{_name(experiment, dim, values[0])} to {_number(values[-1])}"
    return ", ".join(_name(experiment, dim, value) for value in values)


def _number(value: int | float) -> str:
    return f"{value:g}"


def _ordered(place: int, count: int) -> tuple[float, float, float]:
    """A step on a perceptually ordered scale, its faint end left out."""
    return matplotlib.colormaps["viridis"](0.02 + 0.74 * place / max(count - 1, 1))[:3]


def _lighter(color: Sequence[float], share: float) -> tuple[float, float, float]:
    red, green, blue = (channel + (1 - channel) * share for channel in color[:3])
    return red, green, blue
