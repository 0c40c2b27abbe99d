"""Theory along one axis: equal to one prediction after the other, compiled once, labelled, refused in sentences."""

from __future__ import annotations

import dataclasses
import logging
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

from solvable.attention import self_attention as sa
from solvable.attention import single_location as sl
from solvable.attention import sparse_tokens as st
from solvable.attention import token_selection as ts
from solvable.iterations import continuized as co
from solvable.iterations import gossip as gs
from solvable.lab.declare import Curve, Outcome, Result, SolveError, real
from solvable.lab.declare.curve import CLAIMS
from solvable.networks import diagonal as dn
from solvable.networks import single_index as si
from solvable.networks import two_timescale as tt

TASK = st.SparseTokens(4, 1, 2.0)
RULE = st.Quadrature(256, 2)
ATTENTION, POOLED = st.TwoStepAttention("square", 0.1), st.PooledLinear("square", 0.1)
QUADRATIC = dn.Quadratic.from_data(np.array([[1.0, 0.2], [0.0, 1.5], [0.3, 0.1]]), np.array([1.0, -0.5, 0.2]))

CASES: dict[str, tuple[ModuleType, Any, Any, dict[str, Any], dict[str, Any]]] = {
    "shared": (st, TASK, ATTENTION, {"ratio": [1.0, 2.0, 3.0]}, {"quadrature": RULE}),
    "of the task": (st, TASK, POOLED, {"strength": [1.0, 3.0]}, {"ratio": 2.0, "quadrature": RULE}),
    "of the algorithm": (st, TASK, ATTENTION, {"sharpness": [0.5, 1.5]}, {"ratio": 2.0, "quadrature": RULE}),
    "a size": (st, TASK, POOLED, {"length": range(4, 6)}, {"ratio": 2.0, "quadrature": RULE}),
    "words": (st, TASK, POOLED, {"loss": ["square", "logistic"]}, {"ratio": 2.0, "quadrature": RULE}),
    "token selection": (
        ts,
        ts.RandomSelection(2, 3, 4),
        ts.MirrorDescent(steps=20),
        {"p": np.array([2.0, 3.0])},
        {"theory": "growth", "at": [5, 20]},
    ),
    "single location": (
        sl,
        sl.SingleLocation(3, 12),
        sl.ProjectedDescent(0.5, 0.01, 20),
        {"learning_rate": [0.001, 0.01]},
        {"given": sl.Overlaps(0.1, 0.1, 0.0, 0.0, 0.0), "at": [0, 10, 20]},
    ),
    "self-attention": (
        sa,
        sa.LinearMap.conditioned(dim=2),
        sa.PreconditionedDescent(learning_rate=1.0, steps=3),
        {"context_length": [100, 200]},
        {"theory": "spectral_start"},
    ),
    "gossip": (gs, gs.Grid((4, 5)), gs.Jacobi(), {"alpha": [0.5, 1.0]}, {"at": [0, 3]}),
    "continuized": (
        co,
        co.Quadratic([1.0, 0.1], [1.0, 1.0]),
        co.Continuized(),
        {"gradient_noise": [0.0, 0.1]},
        {"at": [1, 5]},
    ),
    "single index": (
        si,
        si.SingleIndex((0.6, 0.8)),
        si.GradientFlow(0.1, (0.4, 0.5), 4, "uniform"),
        {"rate_ratio": [0.1, 0.2]},
        {"theory": "mean_field", "at": [0.1, 1.0]},
    ),
    "two-timescale": (
        tt,
        tt.PiecewiseConstant([1.0], [0.5]),
        tt.GradientFlow(0.01, 3, 0.02, positions=[0.1, 0.4, 0.9]),
        {"width": [0.01, 0.02]},
        {"at": [0.5, 2.0]},
    ),
    "diagonal": (dn, QUADRATIC, dn.GradientFlow(), {"weight_decay": [0.0, 0.1]}, {"at": [0.5, 1.0]}),
}


def alone(module: ModuleType, task: Any, algorithm: Any, name: str, value: Any, fixed: dict[str, Any]) -> Outcome:
    """One point as `predict` has it."""
    for thing in (task, algorithm):
        if name in {field.name for field in dataclasses.fields(thing)}:
            moved = dataclasses.replace(thing, **{name: value})
            pair = (moved, algorithm) if thing is task else (task, moved)
            return module.predict(*pair, throw=False, **fixed)
    return module.predict(task, algorithm, throw=False, **{name: value}, **fixed)


@pytest.mark.parametrize("case", CASES)
def test_a_curve_is_one_prediction_after_the_other(case: str) -> None:
    module, task, algorithm, ((name, along),), fixed = (*CASES[case][:3], CASES[case][3].items(), CASES[case][4])
    curve = module.curve(task, algorithm, **{name: along}, **fixed)
    assert curve.axis == name
    np.testing.assert_array_equal(curve.along, along)
    claims: dict[str, set[str]] = {}
    for place, value in enumerate(along):
        predicted = alone(module, task, algorithm, name, value, fixed)
        assert predicted.values.keys() == curve.values.keys()
        assert int(curve.result[0, place]) == int(predicted.result) == Result.SUCCESSFUL
        for observable, array in predicted.values.items():
            assert curve.dims[observable] == ("algorithm", name, *predicted.dims[observable])
            found = curve.values[observable][0, place]
            np.testing.assert_allclose(found, array, rtol=1e-12, atol=1e-14, err_msg=observable)
            claims.setdefault(observable, set()).add(predicted.status[observable].claim)
    weakest = {name: max(found, key=CLAIMS.index) for name, found in claims.items()}
    assert {name: said[curve.labels[0]].claim for name, said in curve.status.items()} == weakest
    data = curve.to_dataset()
    assert set(data.data_vars) == {*curve.values, "result"} - {name}
    assert data.attrs["theory"] == curve.theory
    observable = next(iter(curve.values))
    assert data[observable].attrs["long_name"] == curve.observables[observable].label
    said = curve.status[observable][curve.labels[0]]
    assert data[observable].attrs["claim"] == f"{said.claim}, {said.origin}"


def test_a_traced_system_compiles_once_for_numbers_of_one_shape(caplog: pytest.LogCaptureFixture) -> None:
    def compiled(along: list[float], strength: float) -> list[str]:
        caplog.clear()
        algorithms = [dataclasses.replace(one, ridge=0.1 * strength) for one in (ATTENTION, POOLED)]
        with caplog.at_level(logging.WARNING), jax.log_compiles():
            st.curve(st.SparseTokens(4, 1, strength, 0.5), algorithms, ratio=along, quadrature=RULE)
        return [record.message for record in caplog.records if "Compiling" in record.message]

    assert compiled([0.5, 1.0, 2.0, 3.0, 4.0], 2.0)
    assert not compiled([0.6, 0.9, 1.5, 2.5, 3.5], 3.0)
    assert compiled([0.6, 0.9, 1.5, 2.5, 3.5, 4.5], 3.0)


def test_what_is_not_solved_is_missing_with_its_code_and_the_others_are_there() -> None:
    curve = st.curve(TASK, st.PooledLinear("square", 0.1), ridge=[0.0, 0.1, 0.2], ratio=0.5, quadrature=RULE)
    assert [int(code) for code in curve.result[0]] == [Result.NO_MINIMISER, 0, 0]
    assert np.isnan(curve.test_error[0]).tolist() == [True, False, False]
    assert "missing: 1 of 3" in repr(curve)


def test_what_is_not_solved_raises_where_asked() -> None:
    ridge, fixed = [0.0, 0.1], {"ratio": 0.5, "quadrature": RULE}
    curve = st.curve(TASK, st.PooledLinear("square", 0.1), ridge=ridge, throw=False, **fixed)
    assert curve.to_dataset()["result"].values.tolist() == [[int(Result.NO_MINIMISER), 0]]
    with pytest.raises(SolveError, match=r"curve along ridge \(element 0\): "):
        st.curve(TASK, st.PooledLinear("square", 0.1), ridge=ridge, throw=True, **fixed)
    with pytest.raises(ValueError, match="throw=0 is not accepted; accepted: True or False"):
        st.curve(TASK, POOLED, ratio=[1.0], throw=0)  # pyright: ignore[reportArgumentType]


def test_claims_are_those_of_predict_where_numbers_decide() -> None:
    even = st.SparseTokens(4, 1, 2.0)
    curve = st.curve(even, st.FlatLinear("square"), ridge=[1.0, 2.0, 1e3], ratio=2.0, quadrature=RULE)
    assert curve.status["test_error"]["FlatLinear"].claim == "heuristic"
    assert curve.status["train_loss"]["FlatLinear"].claim == "asymptotic"
    curve = st.curve(even, st.FlatLinear("square"), ridge=[1.0, 2.0, 0.9], ratio=2.0, quadrature=RULE)
    assert curve.status["test_error"]["FlatLinear"].claim == "asymptotic"


def test_labels_say_what_differs() -> None:
    def labels(algorithms: Any) -> tuple[str, ...]:
        return st.curve(TASK, algorithms, ratio=[1.0], quadrature=RULE).labels

    weak = st.PooledLinear("square", 0.01)
    assert labels(POOLED) == ("PooledLinear",)
    assert labels([ATTENTION, POOLED]) == ("TwoStepAttention", "PooledLinear")
    assert labels([POOLED, weak]) == ("PooledLinear(ridge=0.1)", "PooledLinear(ridge=0.01)")
    assert labels({"a": POOLED, "b": POOLED}) == ("a", "b")


def test_an_algorithm_without_the_field_stays_as_it_is() -> None:
    curve = st.curve(TASK, [ATTENTION, POOLED], sharpness=[0.5, 1.0], ratio=2.0, quadrature=RULE)
    assert np.ptp(curve.test_error[1]) == 0.0
    assert np.ptp(curve.test_error[0]) > 0.0


class WithRidge(st.SparseTokens):
    """A task with a field that its algorithms have too."""

    ridge: Any = real(0.5)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({}, ["accepted: one sequence, which is the axis, for one of ratio"]),
        ({"ratio": 2.0}, ["none of the keywords (ratio) is one"]),
        ({"ratio": [1.0], "strength": [1.0]}, ["ratio and strength are sequences"]),
        ({"ratio": [1.0], "ridge": 0.1}, ["ridge=0.1", "a field of the algorithm"]),
        ({"ratoi": [1.0]}, ["ratoi is neither", "ratio"]),
        ({"strength": [1.0]}, ["ratio is not given"]),
        ({"ratio": [[1.0]]}, ["ratio has shape (1, 1)"]),
        ({"ratio": []}, ["ratio has shape (0,)"]),
        ({"ratio": ["a", 1.0]}, ["ratio has dtype"]),
        ({"ratio": [1.0, -1.0]}, ["ratio=-1 is out of range"]),
        ({"ratio": 1.0, "strength": [1.0, -1.0]}, ["strength=-1 is out of range"]),
        ({"ratio": 1.0, "sparsity": [1, 9]}, ["sparsity=9"]),
        ({"ratio": [1.0], "theory": "no such"}, ["theory='no such' is unknown"]),
        ({"ratio": [1.0], "at": [1]}, ["at is given"]),
    ],
)
def test_refusals_are_sentences(keywords: dict[str, Any], words: list[str]) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        st.curve(TASK, POOLED, **keywords)
    assert all(word in str(caught.value) for word in words), caught.value


def test_refused_objects_and_names_that_mean_two_things() -> None:
    for algorithms, words in (
        ([], "algorithms is empty"),
        ([POOLED, POOLED], "two that are alike"),
        ([POOLED, 3], "algorithms=int"),
        ({"a": 3}, "algorithms=int"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            st.curve(TASK, algorithms, ratio=[1.0])
    with pytest.raises(TypeError, match="task=int"):
        st.curve(3, POOLED, ratio=[1.0])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="ridge is a field of the task and of the algorithm"):
        st.curve(WithRidge(4, 1, 2.0), POOLED, ridge=[0.1], ratio=1.0)


def test_positions_that_differ_between_points_are_refused() -> None:
    start = sl.Overlaps(0.1, 0.1, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="does not have the same positions at all points of steps; accepted: `at`"):
        sl.curve(sl.SingleLocation(3, 12), sl.ProjectedDescent(0.5, 0.01), steps=[5, 9], given=start)
    curve = sl.curve(sl.SingleLocation(3, 12), sl.ProjectedDescent(0.5, 0.01), steps=[5, 9], given=start, at=[0, 5])
    assert curve.excess_risk.shape == (1, 2, 2)


def simulated(ratio: float) -> Outcome:
    return st.simulate(TASK, POOLED, ratio=ratio, dim=20, key=jax.random.key(0), replicates=3)


def drawn(figure: Any) -> list[np.ndarray]:
    """The ordinates of everything that is drawn as a line or as points."""
    return [np.asarray(line.get_ydata(), float) for axes in figure.axes for line in axes.lines]


def test_a_curve_draws_theory_and_what_was_simulated() -> None:
    curve = st.curve(TASK, [ATTENTION, POOLED], ratio=[1.0, 2.0, 4.0], quadrature=RULE)
    runs = {2.0: simulated(2.0), 4.0: simulated(4.0)}
    lines = drawn(curve.plot(simulated={"PooledLinear": runs}))
    for row in curve.test_error:
        assert any(np.array_equal(line, row) for line in lines)
    mean = [runs[ratio].test_error.mean() for ratio in (2.0, 4.0)]
    assert any(line.shape == (2,) and np.allclose(line, mean) for line in lines)
    one = st.curve(TASK, POOLED, ratio=[2.0, 4.0], quadrature=RULE)
    for given in (runs, list(runs.values())):
        assert any(line.shape == (2,) and np.allclose(line, mean) for line in drawn(one.plot(given, "test_error")))
    for wrong, words in (
        ({"nothing": {2.0: runs[2.0]}}, "'nothing' at ratio=2.0"),
        ({3.0: runs[2.0]}, "ratio=3.0"),
        ([runs[2.0]], "simulated holds 1 outcomes; accepted: 2"),
    ):
        with pytest.raises(ValueError, match=words):
            one.plot(simulated=wrong)
    with pytest.raises(ValueError, match="simulated has no labels"):
        curve.plot(simulated=runs)
    with pytest.raises(ValueError, match="observable='nothing'"):
        curve.plot(observable="nothing")
    for wrong, words in (
        (3.0, "simulated=3 is not accepted; accepted: an outcome of simulate a point"),
        ("test_error", "simulated=test_error is not accepted"),
        ([3.0, 4.0], "simulated=float is not accepted; accepted: Outcome"),
        ({"PooledLinear": runs, 2.0: runs[2.0]}, "simulated at 2.0=Outcome is not accepted; accepted: Mapping"),
    ):
        with pytest.raises(TypeError, match=words):
            one.plot(simulated=wrong)


def test_a_curve_of_paths_says_what_is_there() -> None:
    curve = ts.curve(ts.RandomSelection(2, 3, 4), ts.MirrorDescent(steps=20), theory="growth", at=[1, 10], p=[2.5, 3.0])
    with pytest.raises(
        ValueError, match=r"no observable is a number \(norm over at, growth over at\); accepted: .*to_dataset"
    ):
        curve.plot()


def test_an_outcome_draws_itself_and_a_prediction() -> None:
    flow = dn.GradientFlow()
    runs = dn.simulate(QUADRATIC, flow, at=[0.5, 1.0, 2.0], replicates=2, key=jax.random.key(0))
    lines = drawn(runs.plot(dn.predict(QUADRATIC, flow, at=[0.5, 1.0, 2.0], theory="flow"), ["gap", "loss"]))
    for name in ("gap", "loss"):
        assert sum(np.allclose(line, runs.values[name].mean(axis=0)) for line in lines) >= 2
    numbers = simulated(2.0)
    lines = drawn(numbers.plot(st.predict(TASK, POOLED, ratio=2.0, quadrature=RULE)))
    assert any(np.isclose(line, numbers.test_error.mean()).any() for line in lines)
    for wrong in ("solution", 3, [3]):
        with pytest.raises(ValueError, match=r"observable=\S+ cannot be drawn"):
            runs.plot(observable=wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="prediction=3 is not accepted; accepted: an outcome of predict"):
        runs.plot(3)  # pyright: ignore[reportArgumentType]


def test_a_curve_has_attributes_and_says_which() -> None:
    curve = st.curve(TASK, POOLED, ratio=[1.0], quadrature=RULE)
    assert isinstance(curve, Curve)
    np.testing.assert_array_equal(curve.cosine, [[0.0]])
    with pytest.raises(AttributeError, match="has no 'nothing'; it has 'test_error'"):
        _ = curve.nothing
