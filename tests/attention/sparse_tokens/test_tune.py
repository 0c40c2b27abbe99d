"""Tuned hyper-parameters: never worse than the given ones, and nothing on a grid is clearly better."""

import numpy as np
import pytest

from solvable.attention import sparse_tokens as st

TASK = st.SparseTokens()
RULE = st.Quadrature(points=2**11, scramblings=1)


def error(algorithm, ratio, task=TASK):
    """The predicted test error on the rule on which `tune` searches."""
    return float(st.predict(task, algorithm, ratio=ratio, quadrature=RULE).test_error)


def test_ridge_and_sharpness_of_attention():
    given = st.FixedQueryAttention(0.8, 0.5, "square", 1e-4)
    tuned = st.tune(TASK, given, 1.5)
    assert isinstance(tuned, st.FixedQueryAttention)
    assert float(tuned.cosine) == 0.8
    least = error(tuned, 1.5)
    assert least < 0.9 * error(given, 1.5)
    grid = [
        error(st.FixedQueryAttention(0.8, sharpness, "square", ridge), 1.5)
        for sharpness in np.geomspace(0.2, 6.0, 12)
        for ridge in np.geomspace(1e-4, 3.0, 12)
    ]
    assert least <= min(grid) * (1 + 1e-4)
    assert least > 0.8 * min(grid)  # and it is on the same surface, not a failure that looks like a small error


def test_the_minimum_is_stationary():
    tuned = st.tune(TASK, st.FixedQueryAttention(0.8, 1.0, "square", 1e-4), 1.5, over=["ridge"])
    ridge = float(tuned.ridge)
    least = error(tuned, 1.5)
    for factor in (0.8, 1.25):
        assert error(st.FixedQueryAttention(0.8, 1.0, "square", factor * ridge), 1.5) > least
    assert float(tuned.sharpness) == 1.0


def test_a_baseline_is_tuned_over_what_it_has():
    """The default asks for sharpness too, which a linear baseline does not have."""
    for model in (st.PooledLinear, st.FlatLinear):
        given = model("square", 1e-5)
        tuned = st.tune(TASK, given, 3.0)
        assert type(tuned) is model
        assert error(tuned, 3.0) <= error(given, 3.0) + 1e-12


def test_the_split_of_two_step_attention():
    given = st.TwoStepAttention("square", 1e-2, query_share=0.1, sharpness=1.0)
    tuned = st.tune(TASK, given, 2.0, over=("query_share", "ridge"))
    least = error(tuned, 2.0)
    assert 0.1 < float(tuned.query_share) < 0.98
    assert float(tuned.sharpness) == 1.0
    assert least < 0.8 * error(given, 2.0)
    for share in np.linspace(0.1, 0.9, 9):
        for ridge in (0.3, 1.0, 3.0):
            other = st.TwoStepAttention("square", ridge * float(tuned.ridge), query_share=share, sharpness=1.0)
            assert least <= error(other, 2.0) * (1 + 1e-4)


def test_names_that_cannot_be_tuned():
    for algorithm, over, accepted in (
        (st.PooledLinear(), ("momentum",), "'ridge'"),
        (st.PooledLinear(), ("sharpness",), "'ridge'"),
        (st.FixedQueryAttention(), ("query_share",), "'ridge', 'sharpness'"),
        (st.FixedQueryAttention(), ("ridge", "cosine"), "'ridge', 'sharpness'"),
        (st.PooledLinear(), (), "'ridge'"),
    ):
        with pytest.raises(ValueError, match="over=") as caught:
            st.tune(TASK, algorithm, 2.0, over=over)
        assert f"accepted: {accepted}" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_ratio_is_checked():
    with pytest.raises(ValueError, match=r"^ratio=-1 is out of range; accepted: a finite number > 0$"):
        st.tune(TASK, st.PooledLinear("square"), -1.0)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_other_losses(loss):
    given = st.FixedQueryAttention(0.7, 1.0, loss, 1e-3)
    tuned = st.tune(TASK, given, 2.0)
    least = error(tuned, 2.0)
    assert least <= error(given, 2.0)
    grid = [
        error(st.FixedQueryAttention(0.7, sharpness, loss, ridge), 2.0)
        for sharpness in np.geomspace(0.3, 5.0, 8)
        for ridge in np.geomspace(1e-4, 1.0, 8)
    ]
    assert least <= min(grid) * (1 + 1e-3)
