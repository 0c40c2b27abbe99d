"""Panels that the lab's default drawing does not make."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.lab.declare.drawing import COLORS, GREY, chosen, extra_dims, legend, moments, note, ticks

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

INK = "#222222"
SMALLEST = 1e-8  # below it a gap is what the solvers leave
DASHED, DOTTED = (0, (4, 2)), (0, (1, 1.5))
BAND: dict[str, Any] = {"lw": 2.6, "alpha": 0.35}
EDGE: dict[str, Any] = {"mec": "white", "mew": 0.4}


def draw_lasso_path(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """One kind of path, the coefficients of its first problem; or the gaps of these problems, over the times."""
    if not {"path", "log_scale"} <= set(map(str, dataset.coords)) or "average" not in dataset:
        return False
    if extra_dims(dataset["average"], "path", "log_scale", "coordinate"):
        return note(axes, panel, "give one value of each other parameter")
    if panel == "gaps":
        return _draw_gaps(axes, dataset)
    if panel not in np.atleast_1d(dataset["path"].values):
        axes.set_axis_off()
        return True
    one = chosen(dataset, path=panel).isel(replicate=0)
    scales, times = scales_of(one), one["at"].values
    theories: list[Any] = [("lasso_given_average", "lasso path", BAND)]
    if panel != "monotone":
        theories.append(("limit_given_average", "average, scale to 0", {"lw": 0.9, "ls": DOTTED}))
    lines = [(chosen(one, log_scale=scales[0])[name], 1, *look) for name, *look in theories if name in one]
    for place, scale in enumerate(scales):
        points = {"ls": "none", "marker": "os^"[(place - 1) % 3], "ms": 3.2, "mec": "white", "mew": 0.3}
        every, style = (3, points) if place else (1, {"lw": 1.1})
        lines.append((chosen(one["average"], log_scale=scale), every, f"average, scale {power(scale)}", style))
    for i, coordinate in enumerate(one["coordinate"].values):
        for array, every, _, style in lines:
            values = array.sel(coordinate=coordinate).values
            axes.plot(times[::every], values[::every], color=COLORS[i % len(COLORS)], **style)
    for *_, label, style in lines:
        axes.plot([], [], color=INK, label=label, **style)
    axes.set(xscale="log", xlabel="inverse penalty s, in first kinks", ylabel="coefficients")
    axes.set_title(f"{panel} path", fontsize="medium")
    legend(axes)
    plain_ticks(axes, times)
    return True


def _draw_gaps(axes: Axes, dataset: xarray.Dataset) -> bool:
    if "gap" not in dataset:
        return note(axes, "gaps", "the gap was not measured")
    times = dataset["at"].values
    for color, kind in zip(COLORS, np.atleast_1d(dataset["path"].values), strict=False):
        one = chosen(dataset, path=kind).isel(replicate=0)
        scales = scales_of(one)
        for place, scale in enumerate(scales):
            values = np.maximum(chosen(one["gap"], log_scale=scale).values, SMALLEST)
            style = ("-", (0, (4, 1.5)), (0, (1, 1)))[place % 3]
            axes.plot(times, values, color=color, ls=style, lw=1.2, label=f"{kind}, {power(scale)}")
        if "limit_given_gap" in one:
            values = chosen(one["limit_given_gap"], log_scale=scales[0]).values
            if values.max() > SMALLEST:
                shown = np.where(values > SMALLEST, values, np.nan)
                axes.plot(times, shown, color=color, lw=3.0, alpha=0.25, label=f"{kind}, scale to 0")
    axes.set(xscale="log", yscale="log", xlabel="inverse penalty s, in first kinks", ylabel="relative lasso gap")
    legend(axes)
    axes.set_ylim(bottom=SMALLEST)
    plain_ticks(axes, times)
    return True


def draw_gap(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The largest gap against log(1/eps), with the limit of each kind and a slope of -2."""
    array = dataset.get("largest_gap")
    if array is None or "log_scale" not in array.dims or "path" not in dataset.coords:
        return False
    if extra_dims(array, "path", "log_scale"):
        return note(axes, "", "give one value of each other parameter")
    where = -array["log_scale"].values
    for i, kind in enumerate(np.atleast_1d(dataset["path"].values)):
        one = chosen(dataset, path=kind)
        mean, error = moments(one["largest_gap"])
        style = {"ls": "none", "marker": "os^"[i % 3], "ms": 4, "color": COLORS[i], **EDGE}
        axes.errorbar(where, mean, error, label=f"{kind} paths", **style)
        limit = one.get("limit_given_largest_gap")
        if limit is not None and float(limit.mean()) > SMALLEST:
            axes.plot(where, moments(limit)[0], color=COLORS[i], lw=1.2, label=f"{kind}, scale to 0")
        elif mean[-1] > 0.0:
            anchor = len(where) // 2
            slope = mean[anchor] * (where / where[anchor]) ** -2.0
            axes.plot(where, slope, color=GREY, lw=0.8, ls=DASHED, label="slope -2")
    axes.set(xscale="log", yscale="log", xlabel="log(1/eps)", ylabel="largest relative lasso gap")
    ticks(axes, where)
    legend(axes)
    return True


def draw_share(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The share of monotone paths against the samples, a curve a dimension, with its lower bound."""
    if not varies(dataset, "monotone", "samples", "dim"):
        return False
    where = dataset["samples"].values
    for i, dim in enumerate(np.atleast_1d(dataset["dim"].values)):
        one = chosen(dataset, dim=dim)
        look: dict[str, Any] = {"color": COLORS[i % len(COLORS)], "marker": "os^"[i % 3], "ms": 4, "lw": 1.0}
        axes.errorbar(where, *moments(one["monotone"]), label=f"d = {dim}", **look)
        if "theory_given_monotone" in one:
            axes.plot(where, moments(one["theory_given_monotone"])[0], color=look["color"], lw=0.9, ls=DASHED)
    axes.plot([], [], color=GREY, lw=0.9, ls=DASHED, label="must be (lower bound)")
    axes.set(xscale="log", ylim=(-0.02, 1.02), xlabel="samples n", ylabel="share of monotone paths")
    ticks(axes, where)
    legend(axes)
    return True


def draw_incremental(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """Coefficients or loss over time at all scales over their limit, or the jump times against the limit's."""
    array = dataset.get(panel)
    if array is None or "log_scale" not in dataset.coords or extra_dims(array, "log_scale", "coordinate"):
        return False
    scales = scales_of(dataset)
    runs = [chosen(array, log_scale=scale).isel(replicate=0).values for scale in scales]
    limit = chosen(dataset, log_scale=scales[0]).get(f"limit_{panel}")
    if panel == "jump_times":
        if limit is None:
            return False
        for place, (scale, times) in enumerate(zip(scales, runs, strict=True)):
            axes.plot(limit.values, times, "os^"[place % 3], ms=4, color=COLORS[place % 6], label=power(scale))
        span = [0.0, 1.05 * float(np.max(limit.values[np.isfinite(limit.values)]))]
        axes.plot(span, span, color=GREY, lw=0.8)
        axes.set(xlabel="jump time in the limit", ylabel="time of half height")
        legend(axes, title="scale", title_fontsize="small")
        return True
    is_loss, times = panel == "loss", array["at"].values
    for place, (scale, values) in enumerate(zip(scales, runs, strict=True)):
        style = ((0, (1, 1)), (0, (4, 1.5)), "-")[place % 3]
        label = f"scale {power(scale)}" if is_loss else None
        for i, line in enumerate(values.reshape(len(times), -1).T):
            axes.plot(times, line, color=COLORS[i % len(COLORS)], ls=style, lw=1.0, label=label)
    if limit is not None:
        for i, line in enumerate(limit.values.reshape(len(times), -1).T):
            color = GREY if is_loss else COLORS[i % len(COLORS)]
            axes.plot(times, line, color=color, drawstyle="steps-post", **BAND)
        axes.plot([], [], color=GREY, label="scale to 0", **BAND)
    axes.set(xlabel="rescaled time s", ylabel="loss" if is_loss else "coefficients x_i")
    if is_loss:
        legend(axes)
    return True


def draw_weight_decay(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The largest gap against the weight decay, a curve a scale, with the limit."""
    if not varies(dataset, "largest_gap", "weight_decay", "log_scale"):
        return False
    where, scales = dataset["weight_decay"].values, scales_of(dataset)
    for place, scale in enumerate(scales):
        style = {"marker": "os^"[place % 3], "ms": 4, "lw": 1.0, "color": COLORS[place % len(COLORS)]}
        found = moments(chosen(dataset["largest_gap"], log_scale=scale))
        axes.errorbar(where, *found, label=f"scale {power(scale)}", **style)
    limit = chosen(dataset, log_scale=scales[0]).get("limit_given_largest_gap")
    if limit is not None:
        axes.plot(where, moments(limit)[0], color=GREY, lw=1.2, label="scale to 0")
    axes.set(xlabel="weight decay", ylabel="largest relative lasso gap")
    axes.set_ylim(bottom=0.0)
    legend(axes)
    return True


def draw_descent(panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The largest difference between the averages of descent and flow against the learning rate."""
    if not varies(dataset, "average", "learning_rate", "coordinate") or "flow_given_average" not in dataset:
        return False
    where = dataset["learning_rate"].values
    apart = abs(dataset["average"] - dataset["flow_given_average"])
    errors = apart.transpose("replicate", "learning_rate", "at", "coordinate").values.max(axis=(2, 3))
    for row in errors:
        axes.plot(where, row, color=COLORS[0], lw=0.6, alpha=0.5, marker="o", ms=3)
    mean = np.exp(np.log(errors).mean(axis=0))
    axes.plot(where, mean[0] * where / where[0], color=GREY, ls=DASHED, lw=1.0, label="slope 1")
    axes.plot([], [], color=COLORS[0], lw=0.6, marker="o", ms=3, label="one problem")
    axes.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="largest |average - flow's|")
    ticks(axes, where)
    legend(axes)
    return True


def varies(dataset: xarray.Dataset, name: str, along: str, *others: str) -> bool:
    """Whether an observable is there along a dim, and along no others than these and those of one curve a replicate."""
    return name in dataset and along in dataset[name].dims and not extra_dims(dataset[name], along, *others)


def scales_of(dataset: xarray.Dataset) -> np.ndarray:
    """The logarithms of the scales, the largest first."""
    return np.sort(np.atleast_1d(dataset["log_scale"].values))[::-1]


def power(log_scale: float) -> str:
    """e^log_scale as a power of ten."""
    digits = log_scale / math.log(10.0)
    return f"1e{digits:.0f}" if abs(digits - round(digits)) < 0.06 else f"1e{digits:.1f}"


def plain_ticks(axes: Axes, times: np.ndarray) -> None:
    """Ticks at 1, 2, 5, ... among the times."""
    ticks(axes, [value for value in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0) if times[0] <= value <= times[-1]])
