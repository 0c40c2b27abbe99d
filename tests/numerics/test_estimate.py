"""Estimates, and means over replicates of which some are missing: the error divides by those that are there."""

import numpy as np
import pytest
import xarray

from solvable.numerics.estimate import Estimate, mean_and_error, over_replicates

RUNS = np.random.default_rng(0).normal(size=(6, 3))
PATCHY = np.where([[False, False, True]] * 4 + [[False, True, True], [False, True, False]], np.nan, RUNS)


def test_an_estimate_is_a_number():
    found = Estimate(np.float64(0.5), 0.1, residual=1e-9)
    assert found == 0.5
    assert found.standard_error == 0.1
    assert found.stats == {"standard_error": 0.1, "residual": 1e-9}


def test_complete_replicates():
    mean, error = mean_and_error(RUNS)
    np.testing.assert_array_equal(mean, RUNS.mean(axis=0))
    np.testing.assert_allclose(error, RUNS.std(axis=0, ddof=1) / np.sqrt(6), rtol=1e-15)
    for part, flipped in zip((mean, error), mean_and_error(RUNS.T, axis=1), strict=True):
        np.testing.assert_allclose(part, flipped, rtol=1e-15)


def test_missing_replicates_shorten_no_error_bar():
    mean, error = mean_and_error(PATCHY)
    for column in range(3):
        there = PATCHY[np.isfinite(PATCHY[:, column]), column]
        assert mean[column] == pytest.approx(there.mean(), rel=1e-14)
        if there.size > 1:
            assert error[column] == pytest.approx(there.std(ddof=1) / np.sqrt(there.size), rel=1e-14)
        else:
            assert np.isnan(error[column])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (np.nan, np.nan)),
        ([np.nan, np.inf], (np.nan, np.nan)),
        ([2.0, -np.inf], (2.0, np.nan)),
        ([2.0, np.nan, 4.0], (3.0, 1.0)),
    ],
)
def test_few_values(values, expected):
    np.testing.assert_array_equal(mean_and_error(values), expected)


def test_labelled_arrays_keep_their_labels():
    array = xarray.DataArray(PATCHY.T, dims=("dim", "replicate"), coords={"dim": [1, 2, 3]})
    for found, plain in zip(over_replicates(array), mean_and_error(PATCHY), strict=True):
        assert found.dims == ("dim",)
        np.testing.assert_allclose(found.sel(dim=[1, 2, 3]), plain, rtol=1e-14)
