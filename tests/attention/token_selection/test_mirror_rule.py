"""simulate and predict: the same observables, what a prediction is given, and when it refuses."""

import dataclasses

import jax
import numpy as np
import pytest

from solvable.attention import token_selection as ts
from solvable.attention.token_selection import runs
from solvable.attention.token_selection.results import SelectionResult
from solvable.numerics.results import Result, SolveError

TASK = ts.RandomSelection()
ALGORITHM = ts.MirrorDescent(steps=1000)


@pytest.fixture(scope="module")
def outcome():
    return ts.simulate(TASK, ALGORITHM, key=jax.random.key(5), replicates=4, at=[10, 1000])


def test_what_a_run_does_not_have_is_absent(outcome):
    assert outcome.to_dataset().direction.dims == ("replicate", "row", "column")
    with pytest.raises(AttributeError, match="this outcome has no 'scaled_excess'"):
        _ = outcome.scaled_excess


def test_the_direction_is_predicted_given_the_tokens(outcome):
    predicted = ts.predict(TASK, ALGORITHM, given=outcome, at=[10, 1000])
    assert predicted.leading == ("replicate",)
    assert np.all(predicted.result == Result.SUCCESSFUL)
    np.testing.assert_allclose(outcome.direction, predicted.direction, atol=0.05)
    assert predicted.divergence.shape == (4, 2)
    assert ts.theories["max_margin"].status["direction"].origin == "stated"


def test_a_mapping_is_given(outcome):
    problem = jax.tree_util.tree_map(lambda leaf: leaf[1], outcome.problem)
    found = ts.predict(problem, ALGORITHM, given={"selected": outcome.selected[1:2]})
    expected = ts.predict(TASK, ALGORITHM, given=outcome).direction[1]
    np.testing.assert_allclose(found.direction[0], expected, rtol=1e-12)
    own = ts.simulate(problem, ALGORITHM, replicates=4, at=[10, 1000])
    np.testing.assert_allclose(own.direction[0], own.direction[1])
    np.testing.assert_allclose(own.direction[0], outcome.direction[1], rtol=1e-9)


def test_a_run_that_has_not_saturated_is_not_predicted(outcome):
    saturation = np.array([0.98, 1.0, np.nan, 0.99])
    given = {"problem": outcome.problem, "selected": outcome.selected, "saturation": saturation}
    predicted = ts.predict(TASK, ALGORITHM, given=given)
    assert predicted.result.tolist() == [SelectionResult.UNSATURATED, 0, SelectionResult.UNSATURATED, 0]
    assert np.isnan(predicted.direction[[0, 2]]).all()
    assert "train for more steps" in predicted.reasons()[0]


def test_a_program_that_is_not_solved_raises_unless_asked_not_to(outcome, monkeypatch):
    def unsolved(*arguments, **options):
        return dataclasses.replace(ts.max_margin(*arguments, **options), result=Result.MAX_STEPS)

    monkeypatch.setattr(runs, "max_margin", unsolved)
    for theory in ("max_margin", "growth", "rate"):
        with pytest.raises(SolveError, match=f"predict, '{theory}'"):
            ts.predict(TASK, ALGORITHM, theory=theory, given=outcome)
        predicted = ts.predict(TASK, ALGORITHM, theory=theory, given=outcome, throw=False)
        assert predicted.result.tolist() == [Result.MAX_STEPS] * 4
        assert all(np.isnan(value).all() for value in predicted.present().values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"selected": [0] * 6}, r"holds selected of shape \(6,\)"),
        ({"selected": np.zeros((3, 6), int)}, r"holds tokens of shape \(4, 6, 8, 10\); accepted: \(3, 6, 8, 10\)"),
        ({"selected": np.zeros((4, 5), int)}, r"selected has shape \(5,\)"),
        ({"selected": np.zeros((4, 6))}, "dtype float64"),
        ({"problem": None}, "lacks 'problem'; accepted: a mapping with the problems, which RandomSelection draws"),
        ({"decoder": np.zeros((4, 9))}, r"holds decoder of shape \(4, 9\); accepted: \(4, 10\)"),
        ({"saturation": [1.0]}, r"holds saturation of shape \(1,\); accepted: \(4,\)"),
        ({"result": [0, 0]}, r"holds result of shape \(2,\); accepted: \(4,\)"),
    ],
)
def test_what_is_given_must_fit(outcome, change, words):
    given = {"problem": outcome.problem, "selected": outcome.selected, **change}
    with pytest.raises(ValueError, match=words):
        ts.predict(TASK, ALGORITHM, given=given)


def test_what_is_given_must_have_the_sizes_of_the_task(outcome):
    with pytest.raises(ValueError, match=r"holds tokens of shape \(4, 6, 8, 10\); accepted: \(4, 6, 8, 9\)"):
        ts.predict(ts.RandomSelection(dim=9), ALGORITHM, given=outcome)
    with pytest.raises(TypeError, match="problem of given=list is not accepted"):
        ts.predict(TASK, ALGORITHM, given={"problem": [1], "selected": outcome.selected})
    run = ALGORITHM.train(TASK.sample(jax.random.key(0)))
    with pytest.raises(ValueError, match="given=SelectionRun lacks 'problem'"):
        ts.predict(TASK, ALGORITHM, given=run)


def test_tracers_are_answered():
    for call in (
        lambda key: ts.simulate(TASK, ALGORITHM, key=key).norm,
        lambda key: ts.max_margin(TASK.sample(key), [0] * 6).weights,
    ):
        with pytest.raises(ValueError, match="runs on the host and cannot be traced"):
            jax.jit(call)(jax.random.key(0))


def test_a_selection_that_is_not_locally_optimal_is_not_predicted(outcome):
    problem = jax.tree_util.tree_map(lambda leaf: leaf[0], outcome.problem)
    worst = np.argmin(problem.scores(), axis=1)
    predicted = ts.predict(problem, ALGORITHM, given={"selected": worst[None]})
    assert predicted.result[0] == SelectionResult.NOT_LOCALLY_OPTIMAL


def test_a_selection_that_nothing_separates_is_missing_with_its_reason():
    task = ts.RandomSelection(dim=2)
    given = [np.asarray(task.sample(jax.random.key(seed)).optimal_tokens()) for seed in range(6)]
    problem = jax.tree_util.tree_map(
        lambda *leaves: np.stack(leaves), *[task.sample(jax.random.key(s)) for s in range(6)]
    )
    predicted = ts.predict(task, ALGORITHM, given={"problem": problem, "selected": np.stack(given)})
    assert Result.INFEASIBLE in set(predicted.result)
    assert predicted.direction.shape == (6, 2, 2)


def test_a_trained_run_is_given():
    problem = TASK.sample(jax.random.key(11))
    run = ALGORITHM.train(problem)
    predicted = ts.predict(problem, ALGORITHM, given=run)
    assert predicted.direction.shape == (1, 10, 10)
    assert np.vdot(predicted.direction[0], run.weights) / np.linalg.norm(run.weights) > 0.98


def test_copies_of_a_token_make_a_run_missing_and_not_the_others():
    problem = TASK.sample(jax.random.key(0))
    tokens = np.array(problem.tokens)
    tokens[:, 1] = tokens[:, int(ALGORITHM.train(problem).selected[0])]
    padded = ts.SelectionProblem(tokens, problem.queries, problem.labels, problem.decoder)
    outcome = ts.simulate(padded, ALGORITHM, replicates=4, at=[10, 1000])
    assert set(outcome.result) <= {Result.INFEASIBLE, Result.SUCCESSFUL}
    assert np.isnan(outcome.divergence[outcome.result == Result.INFEASIBLE]).all()


def test_polyak_steps_towards_a_loss_out_of_reach_are_missing_with_their_reason():
    outcome = ts.simulate(TASK, ts.MirrorDescent(step="polyak", steps=500), key=jax.random.key(1), replicates=30)
    lost = outcome.result != Result.SUCCESSFUL
    assert 5 < lost.sum() < 25
    assert set(outcome.result[lost]) == {SelectionResult.UNREACHED_LOSS}
    assert "use normalized steps" in outcome.reasons()[int(np.flatnonzero(lost)[0])]


@pytest.mark.slow
def test_joint_training_of_more_sequences_than_support_vectors():
    """Sequences that are no support vectors of the decoder are asked for no margin (two dims, eight sequences)."""
    task, algorithm = ts.RandomSelection(8, 3, 3), ts.MirrorDescent(train_decoder=True, steps=20000)
    outcome = ts.simulate(task, algorithm, key=jax.random.key(1), replicates=10)
    predicted = ts.predict(task, algorithm, given=outcome)
    there = predicted.result == Result.SUCCESSFUL
    assert there.sum() >= 3
    assert np.median(outcome.margin_ratio[there, -1]) > 0.9
    np.testing.assert_array_equal(predicted.margin_ratio[there], 1.0)


def test_unconditional_theories():
    grown = ts.predict(TASK, ALGORITHM, theory="growth", at=[10, 1000])
    np.testing.assert_allclose(grown.norm, [1.0, 100.0])
    assert grown.leading == ()
    polyak = ts.MirrorDescent(step="polyak", polyak_constant=4.0)
    assert ts.predict(TASK, polyak, theory="polyak").gap_slope == -0.25
    assert ts.predict(TASK, polyak, theory="rate").divergence_slope == -2.0


@pytest.mark.parametrize(
    ("algorithm", "options", "words"),
    [
        (ALGORITHM, {}, "given=None is not accepted with theory='max_margin'"),
        (ALGORITHM, {"theory": "limit"}, "theory='limit' is unknown"),
        (ALGORITHM, {"theory": "polyak"}, "theory='polyak' does not speak of step='normalized'"),
        (ALGORITHM, {"theory": "excess_loss", "given": {"selected": [[0] * 6]}}, "given=dict lacks 'problem'"),
        (
            ALGORITHM,
            {"given": {"attention": 1}},
            "given has 'attention', which no theory reads; accepted: 'problem', 'selected'",
        ),
        (ts.MirrorDescent(step="fixed"), {"theory": "rate"}, "has no power law in the steps"),
        (ts.MirrorDescent(step="polyak"), {"theory": "growth"}, "given=None is not accepted with theory='growth'"),
        (ts.MirrorDescent(parameterization="factored"), {"theory": "rate"}, "speaks of W trained alone"),
        (ALGORITHM, {"theory": "growth", "at": [2000]}, "at="),
        (ts.MirrorDescent(step="fixed"), {"theory": "growth"}, "theory='excess_loss' for fixed steps"),
        (ts.MirrorDescent(gradient="authors"), {"theory": "growth"}, "gradient='authors' has no theory"),
    ],
)
def test_what_cannot_be_predicted_is_said(algorithm, options, words):
    with pytest.raises(ValueError, match=words):
        ts.predict(TASK, algorithm, **options)


def test_excess_loss_needs_fixed_steps(outcome):
    with pytest.raises(ValueError, match="theory='excess_loss' does not speak of step='normalized'"):
        ts.predict(TASK, ALGORITHM, theory="excess_loss", given=outcome)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"replicates": 0}, "replicates=0"), ({"init_scale": -1.0}, "init_scale=-1"), ({"at": [0.5]}, "at=")],
)
def test_bad_arguments_of_simulate_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        ts.simulate(TASK, ALGORITHM, **options)


def test_factored_training_is_measured_at_p_2_only():
    with pytest.raises(ValueError, match="p=3 has no max-margin solution to measure against"):
        ts.simulate(TASK, ts.MirrorDescent(3.0, parameterization="factored"))
