"""Panels that the lab's default drawing does not make."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.numerics.estimate import over_replicates

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK, GREY = "#222222", "#8a8a8a"
SMALLEST = 1e-8  # below it a gap is what the solvers leave
SMALL: dict[str, Any] = {"frameon": False, "fontsize": "small"}


def draw_lasso_path(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """One kind of path, the coefficients of its first problem; or the gaps of these problems, over the times."""
    if not {"path", "log_scale"} <= set(map(str, dataset.coords)) or "average" not in dataset:
        return False
    if extra_dims(dataset["average"]) - {"path", "log_scale", "coordinate"}:
        return blank(axes, panel, "give one value of each other parameter")
    if panel == "gaps":
        return _draw_gaps(axes, dataset)
    if panel not in np.atleast_1d(dataset["path"].values):
        axes.set_axis_off()
        return True
    one = chosen(dataset, path=panel).isel(replicate=0)
    scales = np.sort(np.atleast_1d(one["log_scale"].values))[::-1]
    first = chosen(one, log_scale=scales[0])
    times = first["at"].values
    for i, coordinate in enumerate(first["coordinate"].values):
        color = COLORS[i % len(COLORS)]
        picked = first.sel(coordinate=coordinate)
        if "lasso_given_average" in first:
            axes.plot(times, picked["lasso_given_average"].values, color=color, lw=2.6, alpha=0.35)
        if "limit_given_average" in first and panel != "monotone":
            axes.plot(times, picked["limit_given_average"].values, color=color, lw=0.9, ls=(0, (1, 1.5)))
        for place, scale in enumerate(scales):
            values = chosen(one, log_scale=scale).sel(coordinate=coordinate)["average"].values
            if place == 0:
                axes.plot(times, values, color=color, lw=1.1)
            else:
                axes.plot(times[::3], values[::3], "os^"[(place - 1) % 3], color=color, ms=3.2, mec="white", mew=0.3)
    axes.plot([], [], color=INK, lw=2.6, alpha=0.35, label="lasso path")
    if panel != "monotone":
        axes.plot([], [], color=INK, lw=0.9, ls=(0, (1, 1.5)), label="average, scale to 0")
    for place, scale in enumerate(scales):
        style: dict[str, Any] = (
            {"lw": 1.1} if place == 0 else {"ls": "none", "marker": "os^"[(place - 1) % 3], "ms": 3.2}
        )
        axes.plot([], [], color=INK, label=f"average, scale {power(scale)}", **style)
    axes.set(xscale="log", xlabel="inverse penalty s, in first kinks", ylabel="coefficients")
    axes.set_title(f"{panel} path", fontsize="medium")
    axes.legend(**SMALL)
    plain_ticks(axes, times)
    return True


def _draw_gaps(axes: Axes, dataset: xarray.Dataset) -> bool:
    if "gap" not in dataset:
        return blank(axes, "gaps", "the gap was not measured")
    times = dataset["at"].values
    for i, kind in enumerate(np.atleast_1d(dataset["path"].values)):
        one = chosen(dataset, path=kind).isel(replicate=0)
        scales = np.sort(np.atleast_1d(one["log_scale"].values))[::-1]
        for place, scale in enumerate(scales):
            values = np.maximum(chosen(one, log_scale=scale)["gap"].values, SMALLEST)
            style = ("-", (0, (4, 1.5)), (0, (1, 1)))[place % 3]
            axes.plot(times, values, color=COLORS[i], ls=style, lw=1.2, label=f"{kind}, {power(scale)}")
        limit = one.get("limit_given_gap")
        if limit is not None:
            values = chosen(limit.to_dataset(name="gap"), log_scale=scales[0])["gap"].values
            if values.max() > SMALLEST:
                shown = np.where(values > SMALLEST, values, np.nan)
                axes.plot(times, shown, color=COLORS[i], lw=3.0, alpha=0.25, label=f"{kind}, scale to 0")
    axes.set(xscale="log", yscale="log", xlabel="inverse penalty s, in first kinks", ylabel="relative lasso gap")
    axes.legend(**SMALL)
    axes.set_ylim(bottom=SMALLEST)
    plain_ticks(axes, times)
    return True


def draw_gap(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The largest gap against log(1/eps), with the limit of each kind and a slope of -2."""
    array = dataset.get("largest_gap")
    if array is None or "log_scale" not in array.dims or "path" not in dataset.coords:
        return False
    if extra_dims(array) - {"path", "log_scale"}:
        return blank(axes, "", "give one value of each other parameter")
    where = -array["log_scale"].values
    for i, kind in enumerate(np.atleast_1d(dataset["path"].values)):
        one = chosen(dataset, path=kind)
        mean, error = moments(one["largest_gap"])
        style = {"ls": "none", "marker": "os^"[i % 3], "ms": 4, "color": COLORS[i], "mec": "white", "mew": 0.4}
        axes.errorbar(where, mean, error, label=f"{kind} paths", **style)
        limit = one.get("limit_given_largest_gap")
        if limit is not None and float(limit.mean()) > SMALLEST:
            axes.plot(where, moments(limit)[0], color=COLORS[i], lw=1.2, label=f"{kind}, scale to 0")
        elif mean[-1] > 0.0:
            anchor = len(where) // 2
            axes.plot(
                where,
                mean[anchor] * (where / where[anchor]) ** -2.0,
                color=GREY,
                lw=0.8,
                ls=(0, (4, 2)),
                label="slope -2",
            )
    axes.set(xscale="log", yscale="log", xlabel="log(1/eps)", ylabel="largest relative lasso gap")
    axes.set_xticks(where, [f"{value:g}" for value in where])
    axes.set_xticks([], minor=True)
    axes.legend(**SMALL)
    return True


def draw_share(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The share of monotone paths against the samples, a curve a dimension, with its lower bound."""
    array = dataset.get("monotone")
    if array is None or "samples" not in array.dims or extra_dims(array) - {"samples", "dim"}:
        return False
    where = array["samples"].values
    for i, dim in enumerate(np.atleast_1d(dataset["dim"].values)):
        one = chosen(dataset, dim=dim)
        color = COLORS[i % len(COLORS)]
        mean, error = moments(one["monotone"])
        axes.errorbar(where, mean, error, color=color, marker="os^"[i % 3], ms=4, lw=1.0, label=f"d = {dim}")
        bound = one.get("theory_given_monotone", one.get("given_monotone"))
        if bound is not None:
            axes.plot(where, moments(bound)[0], color=color, lw=0.9, ls=(0, (4, 2)))
    axes.plot([], [], color=GREY, lw=0.9, ls=(0, (4, 2)), label="must be (lower bound)")
    axes.set(xscale="log", ylim=(-0.02, 1.02), xlabel="samples n", ylabel="share of monotone paths")
    axes.set_xticks(where, [f"{value:g}" for value in where])
    axes.set_xticks([], minor=True)
    axes.legend(**SMALL)
    return True


def draw_incremental(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """Coefficients or loss over time at all scales over their limit, or the jump times against the limit's."""
    array = dataset.get(panel)
    if array is None or "log_scale" not in dataset.coords or extra_dims(array) - {"log_scale", "coordinate"}:
        return False
    scales = np.sort(np.atleast_1d(dataset["log_scale"].values))[::-1]
    styles = ((0, (1, 1)), (0, (4, 1.5)), "-")
    if panel == "jump_times":
        limit = chosen(dataset, log_scale=scales[0]).get("limit_jump_times")
        if limit is None:
            return False
        for place, scale in enumerate(scales):
            times = chosen(dataset, log_scale=scale)["jump_times"].isel(replicate=0).values
            axes.plot(limit.values, times, "os^"[place % 3], ms=4, color=COLORS[place % 6], label=power(scale))
        span = [0.0, 1.05 * float(np.max(limit.values[np.isfinite(limit.values)]))]
        axes.plot(span, span, color=GREY, lw=0.8)
        axes.set(xlabel="jump time in the limit", ylabel="time of half height")
        axes.legend(title="scale", title_fontsize="small", **SMALL)
        return True
    times = array["at"].values
    axes.set(xlabel="rescaled time s", ylabel="coefficients x_i" if panel == "solution" else "loss")
    for place, scale in enumerate(scales):
        one, style = chosen(dataset, log_scale=scale), styles[place % 3]
        values = one[panel].isel(replicate=0).values
        if panel == "loss":
            axes.plot(times, values, color=COLORS[0], ls=style, lw=1.0, label=f"scale {power(scale)}")
        else:
            for i in range(values.shape[1]):
                axes.plot(times, values[:, i], color=COLORS[i % len(COLORS)], ls=style, lw=1.0)
    limit = chosen(dataset, log_scale=scales[0]).get(f"limit_{panel}")
    if limit is not None:
        values = limit.values.reshape(len(times), -1)
        for i in range(values.shape[1]):
            color = GREY if panel == "loss" else COLORS[i % len(COLORS)]
            axes.plot(times, values[:, i], color=color, lw=2.6, alpha=0.35, drawstyle="steps-post")
        axes.plot([], [], color=GREY, lw=2.6, alpha=0.35, label="scale to 0")
    if panel == "loss":
        axes.legend(**SMALL)
    return True


def draw_weight_decay(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The largest gap against the weight decay, a curve a scale, with the limit."""
    array = dataset.get("largest_gap")
    if array is None or "weight_decay" not in array.dims or extra_dims(array) - {"weight_decay", "log_scale"}:
        return False
    where = array["weight_decay"].values
    scales = np.sort(np.atleast_1d(dataset["log_scale"].values))[::-1]
    for place, scale in enumerate(scales):
        one = chosen(dataset, log_scale=scale)
        mean, error = moments(one["largest_gap"])
        style = {"marker": "os^"[place % 3], "ms": 4, "lw": 1.0, "color": COLORS[place % len(COLORS)]}
        axes.errorbar(where, mean, error, label=f"scale {power(scale)}", **style)
    limit = chosen(dataset, log_scale=scales[0]).get("limit_given_largest_gap")
    if limit is not None:
        axes.plot(where, moments(limit)[0], color=GREY, lw=1.2, label="scale to 0")
    axes.set(xlabel="weight decay", ylabel="largest relative lasso gap")
    axes.set_ylim(bottom=0.0)
    axes.legend(**SMALL)
    return True


def draw_descent(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The largest difference between the averages of descent and flow against the learning rate."""
    array, flow = dataset.get("average"), dataset.get("flow_given_average")
    if array is None or flow is None or "learning_rate" not in array.dims:
        return False
    if extra_dims(array) - {"learning_rate", "coordinate"}:
        return False
    where = array["learning_rate"].values
    apart = abs(array - flow).transpose("replicate", "learning_rate", "at", "coordinate")
    errors = apart.values.max(axis=(2, 3))
    for row in errors:
        axes.plot(where, row, color=COLORS[0], lw=0.6, alpha=0.5, marker="o", ms=3)
    mean = np.exp(np.log(errors).mean(axis=0))
    axes.plot(where, mean[0] * where / where[0], color=GREY, ls=(0, (4, 2)), lw=1.0, label="slope 1")
    axes.plot([], [], color=COLORS[0], lw=0.6, marker="o", ms=3, label="one problem")
    axes.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="largest |average - flow's|")
    axes.set_xticks(where, [f"{value:g}" for value in where])
    axes.set_xticks([], minor=True)
    axes.legend(**SMALL)
    return True


def chosen(dataset: xarray.Dataset, **wanted: Any) -> xarray.Dataset:
    """The dataset at these values of the parameters that are dims of it."""
    return dataset.sel({name: value for name, value in wanted.items() if name in dataset.dims})


def moments(array: xarray.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over the replicates."""
    mean, error = over_replicates(array)
    return mean.values, np.nan_to_num(error.values)


def extra_dims(array: xarray.DataArray) -> set[str]:
    """Dims other than those of one curve a replicate."""
    return {str(dim) for dim in array.dims} - {"replicate", "at"}


def blank(axes: Axes, title: str, words: str) -> bool:
    """An empty panel that says why."""
    axes.text(0.5, 0.5, words, ha="center", transform=axes.transAxes)
    axes.set_title(title, fontsize="medium")
    return True


def power(log_scale: float) -> str:
    """e^log_scale as a power of ten."""
    digits = log_scale / math.log(10.0)
    return f"1e{digits:.0f}" if abs(digits - round(digits)) < 0.06 else f"1e{digits:.1f}"


def plain_ticks(axes: Axes, times: np.ndarray) -> None:
    """Ticks at 1, 2, 5, ... in plain numbers."""
    ticks = [value for value in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0) if times[0] <= value <= times[-1]]
    axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
    axes.set_xticks([], minor=True)
