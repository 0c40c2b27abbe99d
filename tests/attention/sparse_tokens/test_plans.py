"""Plans of sparse tokens against a closed form, and what one more bag buys against differences."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr

from solvable import lab
from solvable.attention import sparse_tokens as st
from solvable.attention.sparse_tokens.experiments import ErrorAgainstRatio

TASK = st.SparseTokens()
RIDGELESS = {"loss": "square", "ridge": 1e-10}


def ridgeless_error(ratio):
    """Square loss, balanced classes, no ridge, ratio > 1, of the unit-noise mixture at the pooled separation."""
    square = 25.0 / 10.0
    return ndtr(-0.5 * square * np.sqrt((1.0 - 1.0 / ratio) / (square + 4.0 / ratio)))


@pytest.mark.slow
def test_the_samples_needed_without_ridge_are_those_of_the_closed_form():
    options = {"solve": "ratio", "target": {"test_error": 0.25}}
    found = lab.plan("sparse-tokens/error", **options, set=RIDGELESS | {"model": ["pooled", "flat"]})
    expected = brentq(lambda ratio: ridgeless_error(ratio) - 0.25, 1.01, 100.0)
    for row, times in zip(found.rows, (1.0, 10.0), strict=True):  # flat at ratio is pooled at ratio / length
        (crossing,) = row.inverse.crossings
        assert crossing.value == pytest.approx(times * expected, rel=1e-5)
        assert found.at(row, crossing.value).amounts() == {"bags": round(400 * times * expected)}


def test_the_peak_where_samples_equal_dimensions_is_crossed_on_both_sides():
    (row,) = lab.plan(
        "sparse-tokens/error", solve="ratio", target={"test_error": 0.42}, set=RIDGELESS | {"model": "pooled"}
    ).rows
    assert [crossing.direction for crossing in row.inverse.crossings] == ["falls", "rises", "falls"]
    assert row.values[1] < 1.0 < row.values[2]
    assert row.values[2] == pytest.approx(brentq(lambda ratio: ridgeless_error(ratio) - 0.42, 1.0001, 5.0), rel=1e-4)


def test_below_the_limit_of_many_samples_no_number_is_enough():
    limit = float(st.limit_error(TASK, st.PooledLinear("square", 0.0)))
    found = lab.plan(
        "sparse-tokens/error",
        solve="ratio",
        target={"test_error": 0.95 * limit},
        set={"model": "pooled", "loss": "square"},
    )
    assert found.rows[0].values == []
    assert "never, as far as ratio from" in str(found)
    assert found.rows[0].inverse.tried[-1][1] == pytest.approx(limit, rel=0.01)


@pytest.mark.parametrize(
    "algorithm",
    [st.PooledLinear("square"), st.FlatLinear("square"), st.TwoStepAttention("square")],
    ids=lambda a: type(a).__name__,
)
def test_marginal_error_is_the_difference_of_two_predictions(algorithm):
    dim, bags = 100, 300
    for name in ("test_error", "train_loss"):
        high, low = (getattr(st.predict(TASK, algorithm, ratio=(bags + by) / dim), name) for by in (0.5, -0.5))
        assert st.marginal_error(TASK, algorithm, bags / dim, dim, name) == pytest.approx(high - low, rel=1e-3)


def test_marginal_error_says_what_it_accepts():
    with pytest.raises(ValueError, match="observable='loss' is unknown; accepted: 'test_error'"):
        st.marginal_error(TASK, st.PooledLinear(), 2.0, 100, "loss")
    with pytest.raises(ValueError, match="dim=0 is out of range"):
        st.marginal_error(TASK, st.PooledLinear(), 2.0, 0)


def test_the_best_hyper_parameters_at_the_size_needed():
    found = lab.plan(
        "sparse-tokens/error", solve="ratio", target={"test_error": 0.08}, set={"model": "attention", "loss": "square"}
    )
    (row,) = found.rows
    advice, cell = row.advice, found.at(row, row.values[0])
    assert set(advice.tuned) == {"query_share", "ridge", "sharpness"}
    assert advice.reached < 0.08
    assert advice.crossing.value < row.values[0]
    assert advice.marginal["bag"] < 0.0
    # no neighbour does better, up to the error of the rougher quadrature on which they were found
    for name, value in advice.tuned.items():
        for factor in (0.8, 1.25):
            other = cell.model_copy(update=advice.tuned | {name: value * factor})
            assert other.predict(other.overlays[0]).test_error > advice.reached - 1e-4
    tuned = cell.model_copy(update=advice.tuned | {"ratio": advice.crossing.value})
    assert tuned.predict(tuned.overlays[0]).test_error == pytest.approx(0.08, rel=1e-6)


def test_only_the_test_error_is_tuned():
    cell = ErrorAgainstRatio(model="pooled", loss="square")
    assert cell.tuned("train_loss") == {}
    assert set(cell.tuned("test_error")) == {"ridge"}
