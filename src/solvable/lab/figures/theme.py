"""How figures look and what is on them: colours, markers, fonts; the abscissa, the series, and their names."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from solvable.lab.declare import Experiment
from solvable.lab.store.atomic import write_whole

if TYPE_CHECKING:
    import xarray

MOST_SERIES = 12
# Okabe and Ito's colours in an order that keeps neighbours apart for every kind of colour vision, yellow left out.
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "v", "P", "X")
INK, FAINT = "#222222", "#8a8a8a"
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
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
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
    """One series per combination of the dims other than the abscissa that has a value: hue by the first dim, lightness
    by the others.

    The marker tells apart the values of the second parameter, of the first where there is only one.
    """
    arrays = list(arrays)
    used = {str(dim) for array in arrays for dim in array.dims} - {axis, "replicate"}
    dims = [str(dim) for dim in dataset.dims if dim in used]
    values = [dataset[dim].values.tolist() for dim in dims]
    inner = math.prod(len(items) for items in values[1:]) if dims else 1
    marked = [dim for dim in dims if dim in experiment.model_fields]
    there = _there(arrays, dims, [len(items) for items in values])
    found = []
    for place, combination in enumerate(itertools.product(*values)):
        if not there[place]:
            continue
        outer, shade = divmod(place, inner)
        numeric = bool(dims) and dataset[dims[0]].dtype.kind in "iuf" and len(values[0]) > 2
        hue = ordered(outer, len(values[0])) if numeric else to_rgb(HUES[outer % len(HUES)])
        label = ", ".join(name_of(experiment, dim, value) for dim, value in zip(dims, combination, strict=True))
        where = dict(zip(dims, combination, strict=True))
        by = marked[1] if len(marked) > 1 else marked[0] if marked else None
        marker = 0 if by is None else values[dims.index(by)].index(where[by])
        color = lighter(hue, 0.5 * shade / max(inner - 1, 1))
        found.append(Series(where, label, color, MARKERS[marker % len(MARKERS)]))
    return found


def _there(arrays: Sequence[xarray.DataArray], dims: Sequence[str], sizes: Sequence[int]) -> np.ndarray:
    """Whether any array has a value, for each combination of the dims in order."""
    found = np.zeros(sizes, bool)
    for array in arrays:
        own = [dim for dim in dims if dim in array.dims]
        held = array.notnull().any([dim for dim in array.dims if dim not in own]).transpose(*own).values
        found |= held.reshape([size if dim in own else 1 for dim, size in zip(dims, sizes, strict=True)])
    return found.ravel()


def save(made: Figure, path: str | os.PathLike[str]) -> list[Path]:
    """Write the figure as PNG (300 dots an inch) and PDF beside it, each whole or not at all; the paths written.

    Raises: WriteError when they cannot be written.
    """
    written = []
    forms: dict[str, Any] = {".png": {"dpi": 300}, ".pdf": {"metadata": {"CreationDate": None}}}
    for suffix, options in forms.items():
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            made.savefig(buffer, format=suffix[1:], **options)
        written.append(Path(path).with_suffix(suffix))
        write_whole(written[-1], buffer.getvalue())
    return written


def picture(made: Figure) -> bytes:
    """The figure as SVG; its letters are drawn, so that it looks the same where the fonts are others."""
    with matplotlib.rc_context({**STYLE, "svg.fonttype": "path"}):
        buffer = io.BytesIO()
        made.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def meaning(experiment: type[Experiment], name: str) -> str:
    """What a parameter or a dim means, for an axis."""
    if name in experiment.dimensions:
        return experiment.dimensions[name].meaning
    if name not in experiment.model_fields:
        return name.replace("_", " ")
    field = experiment.model_fields[name]
    return field.description or name


def logarithmic(experiment: type[Experiment], name: str) -> bool:
    """Whether a parameter or a dim asks for a logarithmic axis."""
    if name in experiment.dimensions:
        return experiment.dimensions[name].log
    extra = experiment.model_fields[name].json_schema_extra if name in experiment.model_fields else None
    return isinstance(extra, dict) and bool(extra.get("log"))


def name_of(experiment: type[Experiment], dim: str, value: Any) -> str:
    """One value of a parameter or a dim, for a legend."""
    if isinstance(value, str):
        return value.replace("_", " ")
    extra = experiment.model_fields[dim].json_schema_extra if dim in experiment.model_fields else None
    symbol = extra.get("symbol") if isinstance(extra, dict) else ""
    return f"{symbol or dim.replace('_', ' ')} = {plain_number(value)}"


def names_of(experiment: type[Experiment], dim: str, values: Sequence[Any]) -> str:
    """Several neighbouring values: numbers by their ends, texts one by one."""
    if len(values) > 1 and not isinstance(values[0], str):
        return f"{name_of(experiment, dim, values[0])} to {plain_number(values[-1])}"
    return ", ".join(name_of(experiment, dim, value) for value in values)


def plain_number(value: Any) -> str:
    """A number as ticks and legends show it; true, false and none in words."""
    return str(value).lower() if value is None or isinstance(value, bool) else f"{value:g}"


def ordered(place: int, count: int) -> tuple[float, float, float]:
    """A step on a perceptually ordered scale, its faint end left out."""
    return matplotlib.colormaps["viridis"](0.02 + 0.74 * place / max(count - 1, 1))[:3]


def lighter(color: Sequence[float], share: float) -> tuple[float, float, float]:
    """A colour, mixed with so much white."""
    red, green, blue = (channel + (1 - channel) * share for channel in color[:3])
    return red, green, blue
