"""What is refused, in a sentence, and what is taken."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from solvable.networks import single_index as si

TASK, FLOW = si.SingleIndex(), si.GradientFlow(0.1, (0.4, 0.5), 3)
START = {"outer": np.ones((1, 3)), "alignment": np.zeros((1, 3)), "gram": np.eye(3)[None]}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: si.GradientFlow(0.0), r"rate_ratio=0 .*0 is singular.*closed_form_head"),
        (lambda: si.GradientFlow(float("nan")), "rate_ratio"),
        (lambda: si.GradientFlow(neurons=0), "neurons=0"),
        (lambda: si.GradientFlow(outer=[1.0, 2.0]), "outer has 2 entries; accepted: one a neuron"),
        (lambda: si.GradientFlow(outer="gauss"), "outer='gauss'"),
        (lambda: si.GradientFlow(activation=(0.0, 0.0)), "activation is zero everywhere"),
        (lambda: si.GradientFlow(activation="step"), "activation: function='step' is unknown"),
        (lambda: si.SingleIndex((0.0, 0.0)), "target is zero everywhere"),
        (lambda: si.SingleIndex(lambda x: 0.0 * x), "target"),
        (lambda: si.SingleIndex((0.1, float("inf"))), "target holds inf"),
        (lambda: si.SingleIndex([[1.0]]), "target has shape"),
        (lambda: si.SingleIndex(lambda x: np.exp(x * x)), "target: function"),
        (lambda: si.SingleIndex(noise=-1.0), "noise=-1"),
        (lambda: si.Descent(0.1, 0.0), "inner_rate=0"),
        (lambda: si.simulate(TASK, si.Descent(0.1, 1e-3, neurons=20), dim=21), r"dim=21 is below neurons \+ 2 = 22"),
        (lambda: si.simulate(TASK, si.Descent(0.1, 1e-3, 8, neurons=20), dim=28), "batch=8 is above"),
        (lambda: si.simulate(TASK, FLOW, at=[-1.0]), "at is not"),
        (lambda: si.simulate(TASK, FLOW, at=[2.0, 1.0]), "at is not"),
        (lambda: si.simulate(TASK, si.GradientFlow(1e-9, "relu"), at=[10.0]), "takes about .* minutes"),
        (lambda: si.simulate(si.SingleIndex((0, 1e4)), si.GradientFlow(1.0, "relu", 3), dim=9, at=[1.0]), "minutes"),
        (lambda: si.GradientFlow(0.1, np.sign), "activation jumps, and its derivative"),
        (lambda: si.SingleIndex(lambda x: 1.0 / x), "target: function has no finite mean square"),
        (
            lambda: si.predict(
                TASK, si.GradientFlow(0.1, neurons=2), given={"outer": [[1, 2]], "alignment": [[0.9, 0.9]]}
            ),
            "given has an alignment and no gram",
        ),
        (lambda: si.simulate(TASK, si.Descent(0.1, 1e-12), at=[10.0]), "steps of inner_rate"),
        (lambda: si.predict(TASK, FLOW, theory="overlaps"), "given=None"),
        (lambda: si.predict(TASK, FLOW, given={**START, "alignment": np.full((1, 3), 1.5)}), "alignment reaches 1.5"),
        (lambda: si.predict(TASK, FLOW, given={**START, "gram": 2.0 * START["gram"]}), "gram is no correlation matrix"),
        (lambda: si.predict(TASK, FLOW, given={**START, "outer": np.ones((1, 4))}), "given outer has shape"),
        (lambda: si.predict(TASK, FLOW, given={"outer": np.ones(3)}), "given outer has shape"),
        (lambda: si.predict(TASK, FLOW, theory="overlaps", given={"outer": np.ones((1, 3))}), "lacks 'alignment'"),
        (lambda: si.risk(TASK, "relu", [1.0, 1.0], [0.9, -0.9], [[1.0, 0.9], [0.9, 1.0]]), "gram is no correlation"),
        (lambda: si.risk(TASK, "relu", [1.0], [0.5, 0.1], [[1.0]]), "alignment and gram have shapes"),
        (lambda: si.blow_up(TASK, si.GradientFlow(0.1, (0.4, 0.5, 0.3), 2, [1.0, 1.0])), "outer has no variance"),
        (lambda: si.stages("tanh", "relu", -1), "degree=-1"),
        (lambda: si.hermite_coefficients("relu", 300), "degree=300"),
    ],
)
def test_bad_input_gets_one_sentence(make, words) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        make()
    assert "accepted" in str(caught.value)


def test_long_steps_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="no longer near a flow"):
        si.simulate(TASK, si.Descent(10.0, 0.1, 1, (0.4, 0.5), 3), dim=30, at=[0.1])


def test_lists_tuples_and_ranges_are_arrays() -> None:
    task, flow = si.SingleIndex([1, 2]), si.GradientFlow(0.1, range(1, 3), 2, range(1, 3))
    one = si.simulate(task, flow, dim=5, at=range(3))
    two = si.predict(task, flow, given=one, at=(0, 1, 2))
    np.testing.assert_allclose(one.risk, two.risk)


def test_an_activation_without_degree_0_is_taken() -> None:
    found = si.predict(si.SingleIndex((0.3, 0.8)), si.GradientFlow(1e-3, "tanh", 10), at=[1.0])
    assert found.learning_times[0] == np.inf
    assert np.isfinite(found.learning_times[1])


def test_dimensions_below_the_width_are_taken_by_flows() -> None:
    run = si.simulate(TASK, si.GradientFlow(0.1, "relu", 6), dim=3, at=[0.1, 1.0])
    found = si.predict(TASK, si.GradientFlow(0.1, "relu", 6), given=run)
    np.testing.assert_allclose(found.risk, run.risk, rtol=1e-9)


def test_laws_of_outer_weights() -> None:
    draws = {
        law: si.simulate(TASK, si.GradientFlow(0.1, (0.4, 0.5), 500, law), dim=2, at=[0.0], full=True).start.outer
        for law in ("normal", "uniform", "sign")
    }
    assert set(np.unique(draws["sign"])) == {-1.0, 1.0}
    assert np.abs(draws["uniform"]).max() <= 1.0
    np.testing.assert_allclose([one.var() for one in draws.values()], [1.0, 1 / 3, 1.0], rtol=0.2)
    said = si.predict(TASK, si.GradientFlow(0.1, (0.4, 0.5), 500, "normal"), at=[0.1])
    assert said.status["risk"].claim == "heuristic"
    assert "outer" not in said.values


def test_runs_start_alike_whatever_is_asked_of_them() -> None:
    one = si.simulate(TASK, FLOW, dim=9, at=[0.1], replicates=3, key=jax.random.key(2))
    two = si.simulate(TASK, FLOW, dim=9, at=[0.1, 0.2], replicates=range(2, 3), key=jax.random.key(2))
    np.testing.assert_array_equal(one.gram[2], two.gram[0])
    assert one.gram.shape == (3, 3, 3)
