"""Bad input is answered by one sentence that names the argument, its value and what is accepted; nothing is silent."""

import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest

from solvable.attention import sparse_tokens as st
from solvable.attention.sparse_tokens.results import SparseTokenResult
from solvable.numerics.results import Result, SolveError
from tests.attention.sparse_tokens.nodes import FEW, LOSSES

TASK = st.SparseTokens()
SMALL = st.SparseTokens(length=4, strength=3.0)
POOLED = st.PooledLinear("square")


def refused(match, call, *args, **kwargs):
    """The call raises ValueError with one sentence that contains `match` and says what is accepted."""
    with pytest.raises(ValueError, match=match) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert "accepted" in message


def batch(samples=24, dim=5, labels=None):
    """A small batch whose labels alternate unless they are given."""
    tokens = np.random.default_rng(0).normal(size=(samples, 4, dim))
    labels = np.where(np.arange(samples) % 2 == 0, 1, -1) if labels is None else labels
    return st.Batch(tokens, labels, np.eye(dim)[0])


# ------------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("match", "arguments"),
    [
        ("sparsity=0 .*>= 1", {"sparsity": 0}),
        ("sparsity=10 .*>= 1 and <= 9", {"sparsity": 10}),
        ("sparsity=1.5 is not a whole number", {"sparsity": 1.5}),
        ("length=1 .*>= 2", {"length": 1}),
        ("positive_rate=0 .*> 0 and < 1", {"positive_rate": 0.0}),
        ("positive_rate=1 .*> 0 and < 1", {"positive_rate": 1.0}),
        ("positive_rate=1.2", {"positive_rate": 1.2}),
        ("strength=0 .*> 0", {"strength": 0.0}),
        ("strength=-1", {"strength": -1.0}),
        ("strength=nan", {"strength": float("nan")}),
        ("strength=inf", {"strength": float("inf")}),
        ("strength='5'", {"strength": "5"}),
        ("strength=.* is not a single number", {"strength": np.array([1.0, 2.0])}),
    ],
)
def test_task_arguments(match, arguments):
    refused(match, st.SparseTokens, **arguments)


@pytest.mark.parametrize("algorithm", [st.TwoStepAttention, st.FixedQueryAttention, st.PooledLinear, st.FlatLinear])
def test_loss_and_ridge_of_every_algorithm(algorithm):
    refused("loss='huber' is unknown; accepted: 'logistic', 'square', 'hinge'", algorithm, loss="huber")
    refused("ridge=-0.1 .*>= 0", algorithm, ridge=-0.1)
    refused("ridge=nan", algorithm, ridge=float("nan"))


@pytest.mark.parametrize(
    ("match", "algorithm", "arguments"),
    [
        ("cosine=1.01 .*>= -1 and <= 1", st.FixedQueryAttention, {"cosine": 1.01}),
        ("cosine=-2 ", st.FixedQueryAttention, {"cosine": -2.0}),
        ("sharpness=-1 .*>= 0", st.FixedQueryAttention, {"sharpness": -1.0}),
        ("sharpness=0 .*> 0", st.TwoStepAttention, {"sharpness": 0.0}),
        ("sharpness=1.* and query_rate=2.* exactly one", st.TwoStepAttention, {"sharpness": 1.0, "query_rate": 2.0}),
        ("query_rate=0 .*> 0", st.TwoStepAttention, {"query_rate": 0.0}),
        ("query_share=1 .*> 0 and < 1", st.TwoStepAttention, {"query_share": 1.0}),
        ("query_share=0 .*> 0 and < 1", st.TwoStepAttention, {"query_share": 0.0}),
        ("head_rate=0 .*> 0", st.TwoStepAttention, {"head_rate": 0.0}),
        ("bias_rate=-1 .*>= 0", st.TwoStepAttention, {"bias_rate": -1.0}),
    ],
)
def test_algorithm_arguments(match, algorithm, arguments):
    refused(match, algorithm, **arguments)


def test_sharpness_or_query_rate_alone_is_fine():
    assert float(st.TwoStepAttention().sharpness) == 1.0
    assert st.TwoStepAttention(query_rate=2.0).sharpness is None
    assert st.TwoStepAttention(sharpness=2.0).query_rate is None


def test_predict_arguments():
    refused("ratio=0 .*> 0", st.predict, TASK, POOLED, ratio=0.0)
    refused("ratio=-1 ", st.predict, TASK, POOLED, ratio=-1)
    refused("theory='exact' is unknown", st.predict, TASK, POOLED, ratio=2.0, theory="exact")
    conditional = next(name for name, theory in st.theories.items() if theory.given)
    refused("given=None", st.predict, TASK, POOLED, ratio=2.0, theory=conditional)
    for given, lacks in (({"cosine": np.ones(3)}, "sharpness"), ({"sharpness": np.ones(3)}, "cosine"), ({}, "cosine")):
        refused(f"lacks '{lacks}'", st.predict, TASK, st.TwoStepAttention("square"), ratio=2.0, given=given)
    refused("points=1000 .*power of 2", st.Quadrature, points=1000)
    refused("scramblings=0", st.Quadrature, scramblings=0)
    with pytest.raises(TypeError, match=r"accepted: TwoStepAttention, .* or Classifier"):
        st.predict(TASK, object(), ratio=2.0)
    for given, match in (
        ({"cosine": np.ones(3), "sharpness": np.ones(2)}, "one value of each a replicate"),
        ({"cosine": 2 * np.ones(3), "sharpness": np.ones(3)}, "given holds cosine 2; accepted: between -1 and 1"),
        ({"cosine": np.ones(3), "sharpness": -np.ones(3)}, "given holds sharpness -1; accepted: >= 0"),
    ):
        refused(match, st.predict, TASK, st.TwoStepAttention("square"), ratio=2.0, given=given)


def test_simulate_arguments():
    refused("ratio=0 ", st.simulate, TASK, POOLED, ratio=0.0, dim=10)
    refused("dim=2 .*>= 3", st.simulate, TASK, POOLED, ratio=1.0, dim=2)
    refused("dim=10.5", st.simulate, TASK, POOLED, ratio=1.0, dim=10.5)
    refused("replicates=0", st.simulate, TASK, POOLED, ratio=1.0, dim=10, replicates=0)
    refused("replicates=range.* is empty", st.simulate, TASK, POOLED, ratio=1.0, dim=10, replicates=range(3, 3))
    refused("test_samples=0", st.simulate, TASK, POOLED, ratio=1.0, dim=10, test_samples=0)
    refused("ratio=0.1 at dim=10 makes 1 bags", st.simulate, TASK, POOLED, ratio=0.1, dim=10)
    # n0 < 1, and n1 < 1.
    few, many = (st.TwoStepAttention("square", query_share=share) for share in (0.01, 0.99))
    refused("query_share=0.01 leaves 0 of 20 bags", st.simulate, TASK, few, ratio=2.0, dim=10)
    refused("query_share=0.99 leaves 20 of 20 bags", st.simulate, TASK, many, ratio=2.0, dim=10)


def test_sample_arguments():
    key = jax.random.key(0)
    refused("samples=0", TASK.sample, key, samples=0, dim=3)
    refused("dim=0", TASK.sample, key, samples=2, dim=0)
    refused("signal has shape", TASK.sample, key, samples=2, dim=3, signal=np.ones(4) / 2)
    refused("signal has norm 1.73205.*unit vector", TASK.sample, key, samples=2, dim=3, signal=np.ones(3))


# ----------------------------------------------------------------------------------------------------------- data


def test_labels_and_tokens_of_a_batch():
    tokens = np.zeros((6, 4, 5))
    signs = np.array([1, -1, 1, -1, 1, -1])
    refused("labels holds 0.*-1 and .1", st.Batch, tokens, (signs + 1) // 2)
    refused("labels holds nan", st.Batch, tokens, np.where(signs > 0, 1.0, np.nan))
    refused("labels has shape", st.Batch, tokens, signs[:5])
    refused(r"tokens has shape \(6, 4\)", st.Batch, tokens[:, :, 0], signs)
    refused(r"tokens has shape \(0, 4, 5\)", st.Batch, tokens[:0], signs[:0])
    refused("signal has shape", st.Batch, tokens, signs, np.ones(4))
    for bad in (np.nan, np.inf):
        holed = tokens.copy()
        holed[3, 1, 2] = bad
        refused(r"tokens holds (nan|inf) at \(3, 1, 2\); accepted: finite numbers", st.Batch, holed, signs)
    refused("signal has norm 2.23607; accepted: a unit vector", st.Batch, tokens, signs, np.ones(5))
    whole = st.Batch(tokens, signs, np.eye(5)[0])
    assert whole.sample() is whole
    assert whole.sample(jax.random.key(0)) is whole


def test_tokens_given_to_a_trained_classifier():
    for algorithm in (POOLED, st.FlatLinear("square")):
        classifier = algorithm.train(batch())
        for call in (classifier.score, classifier.classify):
            refused(r"tokens has shape \(2, 4, 6\); accepted: \(n, (L|4), 5\)", call, np.zeros((2, 4, 6)))
            refused("tokens has shape", call, np.zeros((4, 5)))
            refused(r"tokens holds nan at \(0, 0, 0\)", call, np.full((2, 4, 5), np.nan))
    refused(r"tokens has shape \(2, 3, 5\); accepted: \(n, 4, 5\)", classifier.score, np.zeros((2, 3, 5)))
    with pytest.raises(TypeError, match="attention is not defined for FlatClassifier"):
        classifier.attention(np.zeros((2, 4, 5)))


def test_training_needs_both_classes_in_each_part():
    ones = np.ones(24)
    for algorithm in (POOLED, st.FlatLinear("square"), st.FixedQueryAttention(loss="square")):
        refused("holds only the label .1; accepted: both classes", algorithm.train, batch(labels=ones))
    two_steps = st.TwoStepAttention("square")
    first, last = ones.copy(), ones.copy()
    first[:12:2], last[12::2] = -1, -1
    refused("the head part .*holds only the label .1", two_steps.train, batch(labels=first))
    refused("the query part .*holds only the label .1", two_steps.train, batch(labels=last))
    refused("the query part .*holds no label", st.TwoStepAttention("square", query_share=0.01).train, batch())
    assert np.isfinite(two_steps.train(batch()).bias)


def test_a_fixed_query_needs_the_signal():
    blind = st.Batch(batch().tokens, batch().labels)
    refused("signal=None", st.FixedQueryAttention(loss="square").train, blind)


class Flat(st.PooledLinear().loss.__class__.__mro__[1]):
    """A loss without a slope: its query never moves."""

    def value(self, t):
        return 0.0 * t

    def slope(self, t):
        return 0.0 * t

    def curvature(self, t):
        return 0.0 * t

    def prox(self, z, variance):
        return z + 0.0 * variance


def test_a_query_that_stays_at_zero_has_no_alignment():
    """Constant loss: q = 0, the cosine is undefined (spec 8)."""
    algorithm = st.TwoStepAttention(Flat())
    with pytest.raises(ValueError, match="leaves the query at zero") as caught:
        st.alignment(TASK, algorithm, 1.0)
    assert SparseTokenResult.ZERO_QUERY.message in str(caught.value)
    with pytest.raises(ValueError, match="query at zero"):
        st.alignment_constant(TASK, algorithm)
    with pytest.raises(ValueError, match="query at zero"):
        algorithm.train(batch())
    lost = algorithm.train(batch(), throw=False)
    assert int(lost.result) == SparseTokenResult.ZERO_QUERY
    assert np.isnan(np.concatenate([lost.query, lost.head, [lost.bias]])).all()
    unsolved = st.predict(TASK, algorithm, ratio=2.0, quadrature=FEW, throw=False)
    assert int(unsolved.result) == SparseTokenResult.ZERO_QUERY
    assert np.isnan(unsolved.test_error)
    with jax.enable_x64(True):
        found = jax.vmap(lambda ratio: st.alignment(TASK, algorithm, ratio))(np.ones(2))
        assert np.isnan([found.cosine, found.sharpness]).all()
    runs = st.simulate(SMALL, algorithm, ratio=1.0, dim=30, replicates=2)
    assert runs.result.tolist() == [SparseTokenResult.ZERO_QUERY] * 2
    assert np.isnan(runs.test_error).all()
    assert runs.reasons() == [SparseTokenResult.ZERO_QUERY.message] * 2


# ------------------------------------------------------------------------------------------------- no minimiser


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_no_ridge_below_capacity_is_refused(loss):
    """Pooled capacity of the default task: 2.950; the two-step head counts its own share of the samples."""
    for algorithm, ratio in (
        (st.PooledLinear(loss, 0.0), 2.9),
        (st.FlatLinear(loss, 0.0), 29.0),
        (st.FixedQueryAttention(0.0, 0.0, loss, 0.0), 2.9),
    ):
        refused("ridge=0 has no unique minimiser .* ridge > 0 .* more than 2", st.predict, TASK, algorithm, ratio=ratio)
    outcome = st.predict(TASK, st.PooledLinear(loss, 0.0), ratio=3.5, quadrature=FEW)
    assert int(outcome.result) == 0
    assert np.isfinite(outcome.test_error)


def test_what_a_tiny_ridge_gives():
    """The maximum margin for hinge, whatever the ridge; logistic nears it like 1/log(1/ridge)."""
    hinge, logistic = (
        [
            float(st.predict(TASK, st.PooledLinear(loss, ridge), ratio=1.0, quadrature=FEW).test_error)
            for ridge in (1e-5, 1e-9)
        ]
        for loss in ("hinge", "logistic")
    )
    assert hinge[0] == pytest.approx(hinge[1], rel=1e-9)
    off = np.abs(np.array(logistic) / hinge[1] - 1.0)
    assert 0.005 < off[1] < 0.01
    assert off[1] / off[0] == pytest.approx(np.log(1e5) / np.log(1e9), rel=0.25)
    refused("logistic nears only like 1/log", st.predict, TASK, st.PooledLinear("logistic", 0.0), ratio=1.0)


@pytest.mark.parametrize(
    "loss", ["square", *(pytest.param(one, marks=pytest.mark.slow) for one in ("logistic", "hinge"))]
)
def test_no_ridge_below_capacity_is_nan_with_its_reason(loss):
    """With throw=False and under jit, vmap and grad: value and gradient, and nothing of the elements beside it."""

    def error(ridge, ratio):
        outcome = st.predict(TASK, st.PooledLinear(loss, ridge), ratio=ratio, quadrature=FEW, throw=False)
        return outcome.test_error, outcome.result

    ratio = 0.7 if loss == "square" else 2.0
    value, code = error(0.0, ratio)
    assert np.isnan(value)
    assert int(code) == Result.NO_MINIMISER
    with jax.enable_x64(True):
        both = jax.jit(jax.vmap(jax.value_and_grad(error, has_aux=True), (0, None)))
        (values, codes), slopes = both(np.array([0.0, 0.1]), ratio)
        by_ratio = jax.grad(lambda ratio: error(0.0, ratio)[0])(ratio)
    assert np.isnan([values[0], slopes[0], by_ratio]).all()
    assert np.isfinite([values[1], slopes[1]]).all()
    assert codes.tolist() == [Result.NO_MINIMISER, Result.SUCCESSFUL]
    if loss != "square":  # the realised queries of a run say it too
        given = {"cosine": np.array([0.5, np.nan]), "sharpness": np.array([1.0, np.nan])}
        algorithm = st.TwoStepAttention(loss, ridge=0.0)
        runs = st.predict(TASK, algorithm, ratio=ratio, given=given, quadrature=FEW, throw=False)
        assert runs.result.tolist() == [Result.NO_MINIMISER, Result.FAILED]
        assert np.isnan(runs.test_error).all()
    with pytest.raises(SolveError, match="no finite minimiser"):
        st.marginal_error(TASK, st.PooledLinear(loss, 0.0), ratio, 100)


def test_no_ridge_at_and_below_the_interpolation_of_the_square_loss_is_refused():
    """ratio <= 1 (flat: L): not unique below, infinite at it; the minimum norm on request, by a small ridge."""
    for ratio in (1.0, 0.5):
        refused("ridge=0 .*more than 1 samples", st.predict, TASK, st.PooledLinear("square", 0.0), ratio=ratio)
        fixed, flat = st.FixedQueryAttention(loss="square", ridge=0.0), st.FlatLinear("square", 0.0)
        refused("ridge=0 .*more than 1 samples", st.predict, TASK, fixed, ratio=ratio)
        refused("ridge=0 .*more than 10 samples", st.predict, TASK, flat, ratio=10 * ratio)
        two_steps = st.TwoStepAttention("square", ridge=0.0, query_share=0.5)
        refused("ridge=0 has no .* at 0.5 head", st.predict, TASK, two_steps, ratio=1.0)
    near = st.predict(TASK, st.PooledLinear("square", 1e-9), ratio=0.5, quadrature=FEW)
    assert float(near.train_loss) < 1e-6
    assert 0.2 < float(near.test_error) < 0.5


# -------------------------------------------------------------------------------------------------- no silence


@pytest.mark.parametrize("loss", LOSSES)
def test_a_solve_that_fails_raises_or_says_so(loss, monkeypatch):
    """A residual above the tolerance is SolveError with the residual, or a result with throw=False, never a value."""
    outcome = st.predict(TASK, st.PooledLinear(loss), ratio=2.0, quadrature=FEW)
    assert int(outcome.result) == 0
    from solvable.attention.sparse_tokens import solution

    def failed(*args, **kwargs):
        return outcome.values, np.array(int(Result.MAX_STEPS)), outcome.stats

    monkeypatch.setattr(solution, "_of_law", failed)
    with pytest.raises(SolveError, match=r"predict, 'limit': .*threshold.*raise the ridge.*residual \d.*e-") as caught:
        st.predict(TASK, st.PooledLinear(loss), ratio=2.0)
    assert "\n" not in str(caught.value)
    quiet = st.predict(TASK, st.PooledLinear(loss), ratio=2.0, throw=False)
    assert int(quiet.result) == Result.MAX_STEPS
    assert quiet.reasons() == [Result.MAX_STEPS.message]
    assert all(np.isnan(value) for value in quiet.present().values())


def test_a_real_solve_out_of_reach_raises():
    """A ridge of 1e-200 on separable data has no solution in double precision."""
    algorithm = st.PooledLinear("hinge", 1e-200)
    with pytest.raises(SolveError) as caught:
        st.predict(TASK, algorithm, ratio=1.0, quadrature=FEW)
    assert "predict, 'limit'" in str(caught.value)
    outcome = st.predict(TASK, algorithm, ratio=1.0, quadrature=FEW, throw=False)
    assert int(outcome.result) != 0


@pytest.mark.parametrize(
    ("algorithm", "full"),
    [
        (POOLED, False),
        (st.FlatLinear("square"), False),
        (st.TwoStepAttention("square"), False),
        (st.TwoStepAttention("square"), True),
        pytest.param(POOLED, True, marks=pytest.mark.slow),
        pytest.param(st.FlatLinear("square"), True, marks=pytest.mark.slow),
    ],
)
def test_one_class_draws_are_missing_with_a_reason(algorithm, full):
    """They do not disturb the other replicates, whose numbers are those of any other selection of replicates."""
    task = st.SparseTokens(length=4, strength=3.0, positive_rate=0.15)
    key = jax.random.key(0)
    runs = st.simulate(task, algorithm, ratio=1.0, dim=12, key=key, replicates=24, full=full)
    missing = runs.result == SparseTokenResult.ONE_CLASS
    assert 1 <= missing.sum() <= 23
    for name, values in runs.present().items():
        np.testing.assert_array_equal(np.isnan(values), missing, err_msg=name)
    reasons = runs.reasons()
    assert {reasons[i] for i in np.flatnonzero(missing)} == {SparseTokenResult.ONE_CLASS.message}
    assert {reasons[i] for i in np.flatnonzero(~missing)} == {""}


def test_a_missing_run_gives_a_missing_conditional_prediction():
    given = {"cosine": np.array([0.8, np.nan, 0.5]), "sharpness": np.array([1.0, np.nan, 1.0])}
    outcome = st.predict(TASK, st.TwoStepAttention("square"), ratio=2.0, given=given, quadrature=FEW, throw=False)
    assert np.isnan(outcome.test_error).tolist() == [False, True, False]


def test_rare_positives_turn_the_query_away_with_a_warning():
    task = st.SparseTokens(positive_rate=0.1, strength=2.0)
    algorithm = st.TwoStepAttention(bias_rate=1e-3, head_rate=1e-2)
    with pytest.warns(UserWarning, match=r"cosine with the signal is -0\.\d+, not positive"):
        assert float(st.alignment(task, algorithm, 2.0).cosine) < 0
    with pytest.warns(UserWarning, match="worse than"):
        st.fixed_query(task, algorithm, 2.0)
    with pytest.warns(UserWarning, match="not positive"):
        st.predict(task, st.TwoStepAttention("square", bias_rate=1e-3, head_rate=1e-2), ratio=2.0, quadrature=FEW)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        st.alignment(TASK, st.TwoStepAttention(), 2.0)


# ------------------------------------------------------------------------------------------------- the public face


def test_public_names_are_calls_and_not_modules():
    """`alignment`, `capacity`, `simulate` and `tune` are names of modules too, which must not hide the calls."""
    code = """
import importlib
from solvable.attention import sparse_tokens as st
for module in ("task", "algorithms", "system", "theories", "tuning", "separability", "limits"):
    importlib.import_module(f"solvable.attention.sparse_tokens.{module}")
names = ["predict", "simulate", "alignment", "alignment_constant", "fixed_query", "capacity", "separable"]
names += ["limit_error", "oracle_error", "bayes_error", "tune", "SparseTokens", "FixedQueryAttention"]
assert [name for name in [*names, "PooledLinear", "FlatLinear"] if not callable(getattr(st, name))] == []
print("callable")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "callable", done.stderr


def test_the_helper_of_this_file_can_fail():
    with pytest.raises(AssertionError):
        refused("no", lambda: (_ for _ in ()).throw(ValueError("no such thing")))
    with pytest.raises(AssertionError):
        refused("other", lambda: (_ for _ in ()).throw(ValueError("no such thing; accepted: nothing")))
