"""How the figures of sparse tokens are drawn where theory as lines and simulation as points do not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from solvable.numerics.estimate import over_replicates

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

    from solvable.lab.declare import Experiment


def shares(figure: type[Experiment], panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The predicted step, and the shares of separable draws with their errors."""
    field = dataset.get(panel)
    if field is None or set(field.dims) - {"replicate", "model", "relative_ratio"} or "model" not in field.dims:
        return False
    low, high = float(dataset.relative_ratio.min()), float(dataset.relative_ratio.max())
    axes.step([low, 1.0, high], [1.0, 1.0, 0.0], where="pre", color="#8a8a8a", label="limit")
    for model, style in zip(dataset.model.values, ("o", "s", "^"), strict=False):
        mean, error = over_replicates(field.sel(model=model))
        axes.errorbar(dataset.relative_ratio, mean, yerr=error, fmt=style, markersize=4, label=f"{model} ± 1 se")
    axes.set(xlabel="samples / dim over the predicted capacity", ylabel="share of separable draws")
    axes.legend(frameon=False, fontsize="small")
    return True


def advantage(figure: type[Experiment], panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """A map of the advantage with its zero line, where both cosine and strength vary."""
    field = dataset.get(f"theory_{panel}")
    if field is None or {"cosine", "strength"} - set(field.dims) or field.ndim != 2:
        return False
    field = field.transpose("strength", "cosine")
    size, where = float(abs(field).max()), (field.cosine, field.strength, field)
    mesh = axes.pcolormesh(*where, cmap="PuOr_r", vmin=-size, vmax=size, shading="nearest", rasterized=True)
    axes.contour(*where, levels=[0.0], colors="black", linewidths=1.2)
    axes.set(xlabel="cosine of query and signal", ylabel="strength of the signal (theta)")
    axes.set_title("attention wins where positive (line: tie)", fontsize="medium")
    axes.figure.colorbar(mesh, ax=axes).set_label("linear minus attention error")
    return True


def errors(figure: type[Experiment], panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """The errors of all representations in one panel."""
    labels = {one.name: one.label for one in figure.observables}
    if panel != "errors" or any(dataset[f"theory_{name}"].dims != ("length",) for name in labels):
        return False
    for (name, label), style in zip(labels.items(), ("-o", "--s", ":^", "-.v"), strict=True):
        axes.plot(dataset.length, dataset[f"theory_{name}"], style, label=label, markersize=4)
    axes.set(xscale="log", yscale="log", xlabel="tokens a bag (L)", ylabel="error")
    axes.legend(frameon=False, fontsize="small")
    return True


def gaps(figure: type[Experiment], panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
    """How far the profiled objective is from the scalar problem at each point of the grid, dim by dim."""
    simulated, limit = dataset.get(panel), dataset.get(f"theory_{panel}")
    if panel != "objective" or simulated is None or limit is None or "dim" not in simulated.dims:
        return False
    means, deviations = over_replicates(simulated - limit)
    for dim, color in zip(dataset["dim"].values, ("#8ec1da", "#56B4E9", "#0072B2", "#222222"), strict=False):
        at = limit.sel(dim=dim) if "dim" in limit.dims else limit
        mean, error = means.sel(dim=dim), deviations.sel(dim=dim)
        axes.errorbar(at, mean, yerr=error, fmt="o", markersize=3, color=color, label=f"d = {dim}")
    axes.axhline(0.0, color="#8a8a8a", linewidth=0.8)
    axes.set(xlabel="scalar problem, at 27 grid points", ylabel="profiled objective minus scalar problem")
    axes.legend(frameon=False, fontsize="small")
    return True
