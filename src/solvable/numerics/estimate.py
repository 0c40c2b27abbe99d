"""Numbers with a standard error: one estimate, and the mean over replicates of which some are missing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray


class Estimate(float):
    """A number with the `standard_error` of its quadrature or of its draws, and the `stats` of how it was found."""

    standard_error: float
    stats: dict[str, Any]

    def __new__(cls, value: Any, standard_error: Any, **stats: Any) -> Estimate:
        self = super().__new__(cls, value)
        self.standard_error = float(standard_error)
        self.stats = {"standard_error": self.standard_error, **stats}
        return self

    @property
    def value(self) -> float:
        """The number alone."""
        return float(self)


def mean_and_error(values: Any, axis: int = 0) -> tuple[Any, Any]:
    """The mean over an axis and its standard error, s / sqrt(k), of the k finite values; s^2 divides by k - 1.

    A missing value (NaN or infinite) counts neither in the mean nor in k: a replicate that failed makes no error bar
    shorter. The mean is NaN for k = 0, the error for k < 2.
    """
    values = np.asarray(values, dtype=np.float64)
    valid = np.isfinite(values)
    count = valid.sum(axis=axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(valid, values, 0.0).sum(axis=axis) / count
        squares = np.where(valid, (values - np.expand_dims(mean, axis)) ** 2, 0.0).sum(axis=axis)
        error = np.where(count > 1, np.sqrt(squares / (count - 1)) / np.sqrt(count), math.nan)
    return mean, error[()]


def over_replicates(array: xarray.DataArray) -> tuple[xarray.DataArray, xarray.DataArray]:
    """`mean_and_error` over the dim `replicate` of a labelled array."""
    mean, error = (
        array.reduce(lambda values, axis, part=part: mean_and_error(values, axis)[part], "replicate") for part in (0, 1)
    )
    return mean, error
