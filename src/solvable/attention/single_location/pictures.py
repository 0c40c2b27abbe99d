"""The panels of training: every run as a thin line, the prediction of a few of them dashed on top."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from solvable.numerics.estimate import over_replicates

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

QUERY, VALUE, FAINT = "#4a2377", "#d1662b", "#8a8a8a"
CELLS = ("#4a2377", "#1b7f79", "#d1662b", "#2f6db5")
PREDICTED = 3
ROUNDING = 1e-16
THEORY = "overlaps_given_"
DASHED: dict[str, Any] = {"lw": 1.1, "ls": (0, (2, 2)), "color": "black"}
FLOOR: dict[str, Any] = {"lw": 0.8, "ls": (0, (6, 2))}
SMALL: dict[str, Any] = {"frameon": False, "fontsize": "small"}
# the ordinates with their colours (None: the cell's), and the label of the ordinate
TRAINING: dict[str, tuple[list[tuple[str, str | None]], str]] = {
    "excess_risk": ([("excess_risk", None)], "excess risk"),
    "alignment": ([("query_alignment", QUERY), ("value_alignment", VALUE)], "alignment"),
    "plane": ([("value_alignment", None)], "value alignment"),
    "distance": ([("distance", None)], "distance to the manifold"),
}


def draw(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """One of the panels that are ours; False leaves the others, and larger grids, to the lab."""
    if panel == "risks":
        return draw_risks(axes, dataset)
    if panel == "ends":
        return draw_ends(axes, dataset)
    return panel in TRAINING and "query_alignment" in dataset and draw_training(panel, axes, dataset)


def draw_training(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """One of the panels "excess_risk", "alignment", "plane", "distance"; False leaves a larger grid to the lab."""
    cells = _cells(dataset)
    if len(cells) > len(CELLS):
        return False
    for (_, cell), color in zip(cells, CELLS, strict=False):
        _draw_cell(panel, axes, cell, color)
    axes.set_ylabel(TRAINING[panel][1])
    if panel == "plane":
        axes.set(xlabel="query alignment", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
        return True
    axes.set_xlabel("steps")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if panel == "distance":
        lowest = min(float(np.nanmin(cell["distance"])) for _, cell in cells)
        axes.set(yscale="log", ylim=(0.3 * max(lowest, ROUNDING), 5.0))
        return True
    if panel == "excess_risk":
        axes.set_yscale("log")
    _legend(panel, axes, cells)
    return True


def _draw_cell(panel: str, axes: Axes, cell: xarray.Dataset, color: str) -> None:
    for (y_name, own), prefix in itertools.product(TRAINING[panel][0], ("", THEORY)):
        if prefix + y_name not in cell:
            continue
        look = DASHED if prefix else {"lw": 0.6, "alpha": 0.55, "color": own or color}
        y = cell[prefix + y_name].transpose("replicate", "at").values[: PREDICTED if prefix else None]
        x = cell[prefix + "query_alignment"].transpose("replicate", "at") if panel == "plane" else cell["at"]
        for values, places in zip(y, np.broadcast_to(x.values, (len(cell.replicate), y.shape[1])), strict=False):
            if panel in ("alignment", "distance"):
                values = abs(values) if panel == "alignment" else np.maximum(values, 0.1 * ROUNDING)
            there = np.isfinite(values) & np.isfinite(places)
            axes.plot(places[there], values[there], **look)
    floor = cell.get("theory_final_excess_risk", cell.get("floor_final_excess_risk"))
    if panel == "excess_risk" and floor is not None:
        axes.axhline(float(floor), color=color, **FLOOR)


def _cells(dataset: xarray.Dataset) -> list[tuple[str, Any]]:
    """The cells of the grid with the words that tell them apart."""
    dims = [str(dim) for dim in dataset["query_alignment"].dims if dim not in ("replicate", "at")]
    cells = []
    for chosen in itertools.product(*([(dim, value) for value in dataset[dim].values] for dim in dims)):
        words = ", ".join(f"{dim} {value}".replace("_", " ") for dim, value in chosen)
        cells.append((words, dataset.sel(dict(chosen))))
    return cells


def _legend(panel: str, axes: Axes, cells: list[Any]) -> None:
    if panel == "alignment":
        axes.plot([], [], color=QUERY, lw=1, label="|query alignment|")
        axes.plot([], [], color=VALUE, lw=1, label="|value alignment|")
    else:
        for (words, _), color in zip(cells, CELLS, strict=False):
            axes.plot([], [], color=color, lw=1, label=f"runs, {words}" if words else "runs")
        axes.plot([], [], color=FAINT, label="floor at (k*, v*)", **FLOOR)
    axes.plot([], [], label="predicted", **DASHED)
    axes.legend(**SMALL)


def draw_risks(axes: Axes, dataset: xarray.Dataset) -> bool:
    """The excess risks of all models over the dimension, on logarithmic axes."""
    names = {
        "linear": "linear map",
        "attention": "attention, unit value",
        "linear_attention": "linear attention",
        "bayes": "Bayes",
    }
    for (name, label), color in zip(names.items(), CELLS, strict=True):
        found = dataset.get(name)
        if found is not None:
            if set(found.dims) - {"replicate", "dim"} or "dim" not in found.dims:
                return False
            mean, error = over_replicates(found)
            look: Any = {"color": color, "marker": "o", "ms": 3, "lw": 0.8, "ls": "-" if name == "bayes" else "none"}
            axes.errorbar(dataset.dim.values, mean.values, error.values, label=label, **look)
        theory = dataset.get(f"theory_{name}")
        if theory is not None and "dim" in theory.dims:
            axes.plot(dataset.dim.values, theory.values, color=color, lw=1.2)
    axes.set(xscale="log", yscale="log", ylim=(1e-3, 1.0), xlabel="dimension d", ylabel="excess risk")
    axes.legend(**SMALL)
    return True


def draw_ends(axes: Axes, dataset: xarray.Dataset) -> bool:
    """The risks of the two ends of training over the inverse temperature, and the runs' final risks."""
    from solvable.attention import single_location as sl

    lams = dataset.coords.get("inverse_temperature")
    if lams is None or lams.ndim != 1 or "final_excess_risk" not in dataset:
        return False
    if any(dataset.coords[name].ndim for name in ("length", "dim", "informative_scale")):
        return False
    task = sl.SingleLocation(int(dataset.length), int(dataset.dim), float(dataset.informative_scale))
    grid = np.geomspace(lams.values.min(), lams.values.max(), 60)
    found = [float(sl.excess_risk(task, sl.Overlaps(1, 1, 0, 0, 0), lam)) for lam in grid]
    swapped = [float(sl.swap_point(task, lam)[1]) for lam in grid]
    axes.plot(grid, found, color=CELLS[1], lw=1.2, label="(k*, v*)")
    axes.plot(grid, swapped, color=CELLS[2], lw=1.2, label="swap point")
    runs = dataset["final_excess_risk"]
    if "cure" in runs.dims:
        runs = runs.sel(cure="none") if "none" in runs["cure"].values else runs.isel(cure=0)
    runs = runs.transpose("replicate", "inverse_temperature").values
    places = np.broadcast_to(lams.values, runs.shape)
    axes.plot(places.ravel(), runs.ravel(), ".", color=FAINT, ms=3, label="runs, no cure")
    axes.set(yscale="log", xlabel="inverse temperature", ylabel="excess risk at the end")
    axes.legend(**SMALL)
    return True
