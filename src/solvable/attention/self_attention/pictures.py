"""Panels that the lab's default drawing does not make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.lab.declare.drawing import COLORS, GREY, chosen, extra_dims, legend, moments, note, ticks

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

TICKS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
LOSS_TICKS = (0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2)
DRAWN = 1e-16  # below it a loss is rounding
DASHED: dict[str, Any] = {"ls": (0, (4, 2)), "lw": 0.9}
DOTTED: dict[str, Any] = {"ls": (0, (2, 3)), "lw": 0.8}
POINTS: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 4}


def draw_convergence(panel: str, label: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The excess risk of one preconditioner over steps: the first replicate's path, simulated and predicted."""
    if not {"preconditioner", "condition"} <= set(dataset.dims) | set(dataset.coords):
        return False
    if panel not in np.atleast_1d(dataset.preconditioner.values):
        axes.set_axis_off()
        return True
    shown = [name for name in ("population_given_excess_risk", "excess_risk") if name in dataset]
    if more := {dim for name in shown for dim in extra_dims(dataset[name], "preconditioner", "condition")}:
        return note(axes, panel, f"give one value of {', '.join(sorted(more))}")
    for place, condition in enumerate(np.atleast_1d(dataset.condition.values)):
        points = {**POINTS, "marker": "os^Dv"[place % 5], "mec": "white", "mew": 0.3, "ms": 6.0 - 1.3 * place}
        for name in shown:
            array = chosen(dataset[name], preconditioner=panel, condition=condition).isel(replicate=0)
            there = (array.values > DRAWN) & (array["at"].values > 0)
            style: Any = {"label": f"{condition:g}", **points} if name == "excess_risk" else {"lw": 1.0}
            axes.plot(array["at"].values[there], array.values[there], color=COLORS[place % len(COLORS)], **style)
    axes.set(xscale="log", yscale="log", xlabel="steps", ylabel="excess risk", ylim=(DRAWN, 1.0), xlim=(0.8, 4000))
    axes.set_title({"none": "no preconditioner"}.get(panel, panel), fontsize="medium")
    if panel == "none":
        legend(axes, title="condition number", title_fontsize="small", loc="lower left")
    return True


def draw_training(panel: str, label: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """One observable of training over steps: simulation as points, the population's path from the same start dashed."""
    if panel not in dataset or extra_dims(dataset[panel], "init", "preconditioner"):
        return False
    inits, preconditioners = (np.atleast_1d(dataset[name].values) for name in ("init", "preconditioner"))
    steps = dataset["at"].values
    drawn = steps > 0
    seen = []
    for place, (init, preconditioner) in enumerate((one, two) for one in inits for two in preconditioners):
        one = chosen(dataset, init=init, preconditioner=preconditioner)
        color = COLORS[place % len(COLORS)]
        mean, error = moments(one[panel])
        seen.append(mean[np.isfinite(mean) & (mean > 0.0)])
        style = {**POINTS, "marker": "os^D"[place % 4], "color": color, "mec": "white", "mew": 0.4}
        axes.errorbar(steps[drawn], mean[drawn], error[drawn], label=f"{init} start, {preconditioner}", **style)
        predicted = one.get(f"population_given_{panel}")
        if predicted is not None:
            axes.plot(steps[drawn], predicted.mean("replicate").values[drawn], color=color, **DASHED)
    axes.set(xscale="log", yscale="log", xlabel="steps", ylabel=label)
    values = np.concatenate(seen)
    least, most = (values.min(), values.max()) if values.size else (np.inf, 0.0)
    if least < most:
        axes.set_ylim(least * (least / most) ** 0.15, most * (most / least) ** 0.1)
    axes.minorticks_off()
    if panel == "train_loss":
        axes.set_yticks(shown := [tick for tick in LOSS_TICKS if 0.9 * least < tick < 1.2 * most], map(str, shown))
        axes.plot([], [], color=GREY, label="infinitely many tokens", **DASHED)
        legend(axes, loc="upper right")
    return True


def draw_limit(panel: str, label: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """One loss of fixed parameters against the number of tokens."""
    array, where = dataset.get(panel), dataset.get("samples")
    if where is None or (array is not None and extra_dims(array, "samples")):
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
        mean, error = map(np.atleast_1d, moments(array))
        axes.errorbar(tokens, mean, error, color=COLORS[1], label="simulation ± 1 se", **POINTS)
    axes.set(xscale="log", xlabel="tokens n", ylabel=label)
    ticks(axes, tokens)
    legend(axes)
    return True


def draw_scale(panel: str, label: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The error of a context against the size of the score, a curve a dimension, with the rule 1/sqrt(d + 2)."""
    for place, dim in enumerate(np.atleast_1d(dataset.dim.values)):
        color, fine = COLORS[place % len(COLORS)], np.geomspace(0.4 * (dim + 2.0) ** -0.5, 0.68, 200)
        law = (1.0 - 2.0 * fine**2) ** (-0.5 * dim) * (1.0 / fine**2 + 1.0 / (1.0 - 2.0 * fine**2))
        axes.plot(fine, law, color=color, lw=1.2, label=f"d = {dim}")
        axes.axvline((dim + 2.0) ** -0.5, color=color, **DOTTED)
        for name, along, face in (("context_error", "scale", color), ("peaked_error", "peaked_scale", "white")):
            if name in dataset and not extra_dims(dataset[name], "dim", along):
                found = moments(chosen(dataset[name], dim=dim))
                axes.errorbar(dataset[along].values, *found, color=color, mfc=face, **POINTS)
    if "context_error" in dataset:
        axes.plot([], [], color=GREY, label="simulation", **POINTS)
        axes.plot([], [], color=GREY, mfc="white", label="where the law is late", **POINTS)
    axes.plot([], [], color=GREY, label="1/sqrt(d + 2)", **DOTTED)
    axes.set(xscale="log", yscale="log", ylim=(5.0, 3000.0), xlabel="size b of the score, Bt = b I", ylabel=label)
    ticks(axes, TICKS)
    legend(axes)
    return True


FIGURES = {
    "self-attention/convergence": draw_convergence,
    "self-attention/finite-data": draw_training,
    "self-attention/scale": draw_scale,
    "self-attention/limit": draw_limit,
}
