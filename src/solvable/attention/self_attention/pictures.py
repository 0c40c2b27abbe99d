"""Panels that the lab's default drawing does not make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvable.numerics.estimate import over_replicates

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GREY = "#8a8a8a"
TICKS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
LOSS_TICKS = (0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2)
DRAWN = 1e-16  # below it a loss is rounding


def draw_convergence(panel: str, label: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The excess risk of one preconditioner over steps: the first replicate's path, simulated and predicted."""
    if not {"preconditioner", "condition"} <= set(dataset.dims) | set(dataset.coords):
        return False
    if panel not in np.atleast_1d(dataset.preconditioner.values):
        axes.set_axis_off()
        return True
    shown = [dataset[name] for name in ("excess_risk", "population_given_excess_risk") if name in dataset]
    if more := {name for array in shown for name in extra_dims(array)} - {"preconditioner", "condition"}:
        axes.text(0.5, 0.5, f"give one value of {', '.join(sorted(more))}", ha="center", transform=axes.transAxes)
        axes.set_title(panel, fontsize="medium")
        return True
    chosen = dataset.sel(preconditioner=panel) if "preconditioner" in dataset.dims else dataset
    conditions = np.atleast_1d(chosen.condition.values)
    for place, condition in enumerate(conditions):
        one = chosen.sel(condition=condition) if "condition" in chosen.dims else chosen
        color, marker = COLORS[place % len(COLORS)], "os^Dv"[place % 5]
        for name in ("population_given_excess_risk", "excess_risk"):
            array = one.get(name)
            if array is None:
                continue
            values = array.isel(replicate=0).values
            there = (values > DRAWN) & (array["at"].values > 0)
            drawn = array["at"].values[there], values[there]
            if name == "excess_risk":
                size = 6.0 - 1.3 * place
                axes.plot(*drawn, marker, color=color, label=f"{condition:g}", mec="white", mew=0.3, ms=size)
            else:
                axes.plot(*drawn, color=color, lw=1.0)
    axes.set(xscale="log", yscale="log", xlabel="steps", ylabel="excess risk", ylim=(DRAWN, 1.0), xlim=(0.8, 4000))
    axes.set_title({"none": "no preconditioner"}.get(panel, panel), fontsize="medium")
    if panel == "none":
        axes.legend(title="condition number", frameon=False, fontsize="small", title_fontsize="small", loc="lower left")
    return True


def draw_training(panel: str, label: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """One observable of training over steps: simulation as points, the population's path from the same start dashed."""
    array = dataset.get(panel)
    if array is None or extra_dims(array) - {"init", "preconditioner"}:
        return False
    pairs = [(one, two) for one in np.atleast_1d(dataset.init.values) for two in np.atleast_1d(dataset.preconditioner)]
    least, most = np.inf, 0.0
    for place, (init, preconditioner) in enumerate(pairs):
        wanted = {"init": init, "preconditioner": getattr(preconditioner, "item", lambda p=preconditioner: p)()}
        one = dataset.sel({name: value for name, value in wanted.items() if name in dataset.dims})
        color = COLORS[place % len(COLORS)]
        words = f"{wanted['init']} start, {wanted['preconditioner']}"
        mean, error = over_replicates(one[panel])
        steps = mean["at"].values
        drawn = steps > 0
        positive = mean.values[np.isfinite(mean.values) & (mean.values > 0.0)]
        if positive.size:
            least, most = min(least, float(positive.min())), max(most, float(positive.max()))
        style = {"ls": "none", "ms": 4, "color": color, "mec": "white", "mew": 0.4, "label": words}
        axes.errorbar(
            steps[drawn], mean.values[drawn], np.nan_to_num(error.values[drawn]), fmt="os^D"[place % 4], **style
        )
        predicted = one.get(f"population_given_{panel}")
        if predicted is not None:
            path = predicted.mean("replicate").values
            axes.plot(steps[drawn], path[drawn], color=color, ls=(0, (4, 2)), lw=0.9)
    axes.set(xscale="log", yscale="log", xlabel="steps", ylabel=label)
    if least < most:
        axes.set_ylim(least * (least / most) ** 0.15, most * (most / least) ** 0.1)
    axes.minorticks_off()
    if panel == "train_loss":
        axes.set_yticks(ticks := [tick for tick in LOSS_TICKS if 0.9 * least < tick < 1.2 * most], map(str, ticks))
        axes.plot([], [], color=GREY, ls=(0, (4, 2)), lw=0.9, label="infinitely many tokens")
        axes.legend(frameon=False, fontsize="small", loc="upper right")
    return True


def draw_limit(panel: str, label: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """One loss of fixed parameters against the number of tokens."""
    array, where = dataset.get(panel), dataset.get("samples")
    if where is None or (array is not None and {str(dim) for dim in array.dims} - {"samples", "replicate"}):
        return False
    tokens = np.atleast_1d(where.values)
    for name, words, color in (
        ("population", "limit of infinitely many tokens", GREY),
        ("context", "limit and its term in 1/n", COLORS[0]),
    ):
        predicted = dataset.get(f"{name}_{panel}")
        if predicted is not None:
            axes.plot(tokens, np.broadcast_to(predicted.values, tokens.shape), color=color, lw=1.2, label=words)
    if array is not None:
        mean, error = over_replicates(array)
        bars = np.atleast_1d(error.values)
        axes.errorbar(
            tokens, np.atleast_1d(mean.values), bars, fmt="o", ms=4, color=COLORS[1], label="simulation ± 1 se"
        )
    axes.set(xscale="log", xlabel="tokens n", ylabel=label)
    axes.set_xticks(tokens, [f"{count:g}" for count in tokens])
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False, fontsize="small")
    return True


def draw_scale(panel: str, label: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The error of a context against the size of the score, a curve a dimension, with the rule 1/sqrt(d + 2)."""
    simulated, dims = dataset.get("context_error"), np.atleast_1d(dataset.dim.values)
    for place, dim in enumerate(dims):
        color, fine = COLORS[place % len(COLORS)], np.geomspace(0.4 * (dim + 2.0) ** -0.5, 0.68, 200)
        law = (1.0 - 2.0 * fine**2) ** (-0.5 * dim) * (1.0 / fine**2 + 1.0 / (1.0 - 2.0 * fine**2))
        axes.plot(fine, law, color=color, lw=1.2, label=f"d = {dim}")
        axes.axvline((dim + 2.0) ** -0.5, color=color, ls=(0, (2, 3)), lw=0.8)
        for name, face in (("context_error", color), ("peaked_error", "white")):
            array = dataset.get(name)
            if array is None or {str(each) for each in array.dims} - {"dim", "replicate", "scale", "peaked_scale"}:
                continue
            one = array.sel(dim=dim) if "dim" in array.dims else array
            mean, error = over_replicates(one)
            x = mean[next(iter(mean.dims))].values
            axes.errorbar(x, mean.values, error.values, ls="none", marker="o", ms=4, color=color, mfc=face)
    if simulated is not None:
        axes.plot([], [], ls="none", marker="o", ms=4, color=GREY, label="simulation")
        axes.plot([], [], ls="none", marker="o", ms=4, color=GREY, mfc="white", label="where the law is late")
    axes.plot([], [], color=GREY, ls=(0, (2, 3)), lw=0.8, label="1/sqrt(d + 2)")
    axes.set(xscale="log", yscale="log", ylim=(5.0, 3000.0), xlabel="size b of the score, Bt = b I", ylabel=label)
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False, fontsize="small")
    return True


def extra_dims(array: xarray.DataArray) -> set[str]:
    """Dims other than those of one curve a replicate."""
    return {str(dim) for dim in array.dims} - {"replicate", "at"}


FIGURES = {
    "self-attention/convergence": draw_convergence,
    "self-attention/finite-data": draw_training,
    "self-attention/scale": draw_scale,
    "self-attention/limit": draw_limit,
}
