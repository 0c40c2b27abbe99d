"""What systems that draw panels of their own share: colours, cells of a grid, means with errors, ticks, legends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.numerics.estimate import over_replicates

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GREY = "#8a8a8a"


def extra_dims(array: xarray.DataArray, *known: str) -> set[str]:
    """Dims other than those known and those of one curve a replicate."""
    return {str(dim) for dim in array.dims} - {"replicate", "at", *known}


def chosen(data: Any, **wanted: Any) -> Any:
    """A dataset or an array at these values of the parameters that are dims of it."""
    return data.sel({name: value for name, value in wanted.items() if name in data.dims})


def moments(array: xarray.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over the replicates."""
    mean, error = over_replicates(array)
    return mean.values, np.nan_to_num(error.values)


def ticks(axes: Axes, places: Any) -> None:
    """Ticks of the abscissa at these places alone, in plain numbers."""
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xticks([], minor=True)


def legend(axes: Axes, **options: Any) -> None:
    """A small legend without a frame."""
    axes.legend(frameon=False, fontsize="small", **options)


def note(axes: Axes, title: str, words: str) -> bool:
    """An empty panel that says why; True, as it is drawn."""
    axes.text(0.5, 0.5, words, ha="center", transform=axes.transAxes)
    axes.set_title(title, fontsize="medium")
    return True
