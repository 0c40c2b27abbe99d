"""Simulation and theory: the same observables, on the same axes, and they agree."""

import jax
import numpy as np
import pytest

from solvable.attention import self_attention as sa
from solvable.attention.self_attention.algorithms import Source
from solvable.numerics.results import Result, SolveError

TASK = sa.LinearMap.conditioned()
MANY = 120  # runs of 300 tokens: one compilation draws them for every test


FACTORS = 0.4 * np.random.default_rng(3).normal(size=(2, 2, 2))


@pytest.mark.parametrize(
    "options",
    [
        {"preconditioner": "none"},
        {"preconditioner": "full", "renormalize": True, "learning_rate": 0.3},
        {"preconditioner": "scaled", "learning_rate": 0.2, "damping": 0.05},
    ],
    ids=lambda options: options["preconditioner"],
)
def test_population_theory_is_exact_for_population_training(options):
    """The whole path from a start far away; and the rate near the solution, linearised, within 1 %."""
    task = sa.LinearMap.conditioned(dim=2, condition=2.0, strength=0.3)
    algorithm = sa.PreconditionedDescent(**{"learning_rate": 0.8, "steps": 300, **options})
    runs = sa.simulate(task, algorithm, init=sa.Parameters(*FACTORS))
    found = sa.predict(task, algorithm, given=runs)
    for name in ("excess_risk", "train_loss", "score_norm", "imbalance"):
        np.testing.assert_allclose(getattr(found, name), getattr(runs, name), atol=1e-12)
    np.testing.assert_array_equal(found.iterations, runs.iterations)
    assert 5 < runs.iterations[0] < 300
    # late in a fast run the losses are small differences, and their ratio has fewer digits
    np.testing.assert_allclose(found.rate, runs.rate, rtol=1e-4)
    local = sa.predict(task, algorithm, theory="local_rate", given=runs)
    np.testing.assert_allclose(runs.rate, local.rate, rtol=0.01)


def test_the_local_rate_is_the_formula():
    """Within 1 % for "full"; at a balanced solution it is (1 - 2 eta s_r)^2 or (1 - 2 eta s_1)^2."""
    for rate in (1.0, 4.0):
        algorithm = sa.PreconditionedDescent("full", rate, steps=100, init="random", balance=0.5)
        runs = sa.simulate(TASK, algorithm, replicates=4)
        given = sa.predict(TASK, algorithm, theory="local_rate", given=runs)
        alone = sa.predict(TASK, algorithm, theory="local_rate")
        np.testing.assert_allclose(alone.rate, max((1 - 2 * rate * s) ** 2 for s in (0.1, 0.2)), rtol=1e-10)
        np.testing.assert_allclose(runs.rate, given.rate, rtol=0.01)
        np.testing.assert_allclose(runs.rate, alone.rate, rtol=0.01)


def test_the_error_of_the_spectral_start_is_the_formula():
    """n F_0 at n = 2000 within 10 %, of which four standard errors are 5 %."""

    @jax.jit
    def excess(keys):
        def one(key):
            params = Source.of(TASK.sample(key, 2000)).spectral_start()
            return sa.excess_risk(params, TASK)

        return jax.lax.map(one, keys)

    with jax.enable_x64(True):
        runs = np.asarray(excess(jax.random.split(jax.random.key(0), 1000)))
    found = sa.predict(TASK, sa.PreconditionedDescent(), context_length=2000, theory="spectral_start")
    singular = 0.2 * 2 ** -np.linspace(0, 1, 5)
    expected = (0.01 * 25 + singular.sum() ** 2 + np.sum(singular**2)) / 2
    np.testing.assert_allclose(2000 * found.start_excess_risk, expected, rtol=1e-10)
    assert 4 * runs.std() / np.sqrt(1000) < 0.05 * found.start_excess_risk
    np.testing.assert_allclose(runs.mean(), found.start_excess_risk, rtol=0.1)


def test_a_fresh_context_adds_what_theory_says():
    """At fixed parameters the mean over contexts within four standard errors, and the share of tokens in effect."""
    algorithm = sa.PreconditionedDescent(steps=1, renormalize=True)
    runs = sa.simulate(TASK, algorithm, context_length=300, replicates=MANY, at=[0])
    found = sa.predict(TASK, algorithm, context_length=300, theory="context", given=runs, throw=False)
    good = found.result == Result.SUCCESSFUL
    difference = (runs.fresh_excess_risk - found.fresh_excess_risk)[good, 0]
    assert good.mean() > 0.95
    error = difference.std() / np.sqrt(good.sum())
    assert 4 * error < 0.5 * np.mean((found.fresh_excess_risk - runs.excess_risk)[good])
    assert abs(difference.mean()) < 4 * error + 0.1 / 300
    np.testing.assert_allclose(runs.effective_share.mean(), found.effective_share[good].mean(), rtol=0.03)
    alone = sa.predict(TASK, algorithm, context_length=300, theory="context", at=[0])
    np.testing.assert_allclose(
        alone.fresh_excess_risk[0], sa.context_constant(solution(algorithm), TASK) / 600, rtol=1e-10
    )
    half = sa.predict(TASK, algorithm, context_length=300, fresh_context_length=600, theory="context", at=[0])
    np.testing.assert_allclose(half.fresh_excess_risk, alone.fresh_excess_risk / 2, rtol=1e-10)


def solution(algorithm):
    """Where the population's spectral start lies."""
    return algorithm.train(TASK, at=[0]).parameters


def test_a_peaked_score_has_no_context_theory():
    peaked = sa.Parameters(np.eye(5), 3.0 * np.linalg.inv(TASK.covariance))
    algorithm = sa.PreconditionedDescent(steps=1)
    with pytest.raises(SolveError, match=r"law in 1/n has not set in .*fresh_context_length alone leaves out the own"):
        sa.predict(TASK, algorithm, context_length=100, theory="context", given=peaked)
    found = sa.predict(TASK, algorithm, context_length=100, theory="context", given=peaked, throw=False)
    assert found.result == sa.AttentionResult.PEAKED
    assert all(np.isnan(value).all() for value in found.present().values())
    broad = sa.Parameters(peaked.value, 0.05 * peaked.score)
    path = jax.tree_util.tree_map(lambda *leaves: np.stack(leaves)[None], broad, peaked)
    options = {"context_length": 100, "theory": "context", "at": [0, 1]}
    with pytest.raises(SolveError, match="law in 1/n has not set in"):
        sa.predict(TASK, algorithm, given={"path": path}, **options)
    found = sa.predict(TASK, algorithm, given={"path": path}, **options, throw=False)
    assert found.result.tolist() == [sa.AttentionResult.PEAKED]
    for value in found.present().values():
        np.testing.assert_array_equal(np.isfinite(value), [[True, False]])
    broken = sa.predict(TASK, algorithm, given={"path": path, "result": [2]}, **options, throw=False)
    assert broken.result.tolist() == [Result.NONFINITE]
    assert all(np.isnan(value).all() for value in broken.present().values())


def test_a_context_speaks_of_the_own_sequence_for_a_state_that_does_not_depend_on_it():
    """Trained parameters overfit their sequence by noise^2 m d / n, which no law of fixed parameters holds."""
    algorithm = sa.PreconditionedDescent(steps=1, renormalize=True)
    options = {"context_length": 300, "at": [0]}
    runs = sa.simulate(TASK, algorithm, **options, replicates=MANY)
    found = sa.predict(TASK, algorithm, **options, theory="context", given=runs, throw=False)
    assert set(found.present()) == {"fresh_excess_risk", "effective_share"}
    alone = sa.predict(TASK, algorithm, **options, theory="context", given=solution(algorithm))
    assert {one.claim for one in alone.status.values()} == {"asymptotic"}
    gap = alone.train_loss[0] - runs.train_loss[:, 0]
    assert gap.mean() > 4 * gap.std() / np.sqrt(MANY) + 0.1**2 * 25 / 300
    unsaid = sa.predict(TASK, algorithm, **options, theory="context")
    assert {one.claim for one in unsaid.status.values()} == {"heuristic"}


def test_training_on_a_sequence_follows_the_population_and_replicates_depend_on_their_number_alone():
    """A random start: the excess loss falls to a tenth along the population's path."""
    algorithm = sa.PreconditionedDescent("full", 2.5, steps=12, init="random")
    runs = sa.simulate(TASK, algorithm, context_length=300, replicates=MANY, at=[0, 3, 6, 12])
    assert set(runs.present()) == {
        *sa.theories["context"].status,
        "excess_risk",
        "score_norm",
        "imbalance",
        "start_excess_risk",
    }
    path = sa.predict(TASK, algorithm, given=runs, context_length=300)
    difference = runs.excess_risk - path.excess_risk
    assert path.excess_risk[:, -1].mean() < 0.1 * path.excess_risk[:, 0].mean()
    assert np.all(np.abs(difference.mean(axis=0)) < 4 * difference.std(axis=0) / np.sqrt(MANY) + 1 / 300)
    half = MANY // 2
    later = sa.simulate(TASK, algorithm, context_length=300, replicates=range(half, half + MANY), at=[0, 3, 6, 12])
    np.testing.assert_allclose(later.train_loss[:half], runs.train_loss[half:], rtol=1e-12)
    np.testing.assert_allclose(later.fresh_excess_risk[:half], runs.fresh_excess_risk[half:], rtol=1e-12)
    assert np.unique(runs.train_loss[:, 0]).size == MANY


class NoSignal(sa.LinearMap):
    """A law whose targets are noise alone."""

    def sample(self, key, samples):
        """Tokens as they are, targets from another draw."""
        other = jax.random.normal(jax.random.fold_in(key, 1), (samples, len(self.matrix)))
        return sa.RegressionProblem(super().sample(key, samples).tokens, self.noise * other)


def test_a_law_of_ones_own_draws_every_finite_context():
    """Targets without a signal: nothing is learnt, and all risk that is left is of order 1/n."""
    law = NoSignal(TASK.matrix, TASK.covariance, TASK.noise)
    algorithm = sa.PreconditionedDescent(steps=1, renormalize=True)
    options = {"context_length": 300, "at": [0]}
    runs, ours = (sa.simulate(task, algorithm, **options, replicates=MANY) for task in (law, TASK))
    floor, signal = 0.5 * 5 * 0.1**2, 0.5 * np.sum((TASK.matrix @ TASK.covariance) * TASK.matrix)
    assert abs(runs.train_loss.mean() - floor) < 0.1 * floor
    spread = runs.fresh_excess_risk.std() / np.sqrt(MANY)
    assert abs(runs.fresh_excess_risk.mean()) < 4 * spread + 0.05 * signal
    # the layer is least squares of noise: its answers have the size of its error, noise^2 m d / 2n and as much again
    size = sa.attend(first(runs.path), runs.queries.tokens[0], runs.context[0])
    assert np.mean(np.sum(size**2, axis=1)) < 0.2 * signal
    assert ours.start_excess_risk.mean() < 0.2 * signal
    assert not {"excess_risk", "start_excess_risk"} & set(runs.present())  # they speak of Gaussian tokens and M
    with pytest.raises(ValueError, match=r"task=NoSignal draws by a sample of its own.*accepted: context_length=n"):
        sa.simulate(law, algorithm)
    with pytest.raises(ValueError, match="task=NoSignal draws by a sample of its own, whose population loss"):
        algorithm.train(law)
    found = sa.predict(law, algorithm, **options, theory="context")
    assert {one.claim for one in found.status.values()} == {"heuristic"}
    expected = sa.predict(TASK, algorithm, **options, theory="context")
    np.testing.assert_allclose(found.fresh_excess_risk, expected.fresh_excess_risk)


def test_a_law_that_draws_other_shapes_is_told_so():
    class Short(sa.LinearMap):
        def draw(self, key, samples):
            return super().draw(key, samples - 1)

    with pytest.raises(ValueError, match=r"task\.sample drew tokens and targets of shapes .*\(42, 5\)"):
        sa.simulate(Short(TASK.matrix, TASK.covariance), sa.PreconditionedDescent(), context_length=40, query_count=2)


def first(stacked):
    """The first replicate's first state."""
    return jax.tree_util.tree_map(lambda leaf: leaf[0, 0], stacked)


def test_what_a_theory_is_given_may_be_an_outcome_a_run_a_layer_or_a_mapping():
    algorithm = sa.PreconditionedDescent("full", 2.5, steps=12, init="random")
    problem = TASK.sample(jax.random.key(3), 60)
    run = algorithm.train(problem, at=[0, 3, 6])
    for theory, reads in (("population", "start"), ("local_rate", "parameters"), ("context", "path")):
        options = {"theory": theory, "context_length": 60, "throw": False}
        found = sa.predict(TASK, algorithm, given=run, **options)
        assert found.result.shape == (1,)
        np.testing.assert_array_equal(found.at, [0, 3, 6])
        state = getattr(run, reads)
        held = jax.tree_util.tree_map(lambda leaf: leaf[None], getattr(state, "parameters", state))
        same = sa.predict(TASK, algorithm, given={reads: held}, at=[0, 3, 6], **options)
        alone = sa.predict(TASK, algorithm, given=run.start, at=[0], **options)
        for name, value in found.present().items():
            np.testing.assert_allclose(same.present()[name], value, rtol=1e-12)
            if theory != "local_rate":
                np.testing.assert_allclose(alone.present()[name], value[0, :1] if value.ndim > 1 else value[0])
        assert alone.result.shape == ()
    single = algorithm.train(
        sa.RegressionProblem(*(np.asarray(x, np.float32) for x in (problem.tokens, problem.targets)))
    )
    assert single.start.value.dtype == np.float32
    assert sa.predict(TASK, algorithm, given=single).excess_risk.dtype == np.float64
    some = sa.predict(TASK, algorithm, given=run, at=[3], **options)
    np.testing.assert_allclose(some.fresh_excess_risk[0], found.fresh_excess_risk[0, [1]], rtol=1e-12)
    with pytest.raises(
        ValueError, match=r"given=RegressionRun holds the states at 3 steps, and at=\[4\] asks for others"
    ):
        sa.predict(TASK, algorithm, given=run, at=[4], **options)
    with pytest.raises(TypeError, match=r"given\['path'\]=int is not accepted; accepted: Parameters"):
        sa.predict(TASK, algorithm, given={"path": 3}, **options)
    with pytest.raises(ValueError, match=r"given has path with value of shape \(1, 5, 5\)"):
        sa.predict(TASK, algorithm, given={"path": held.__class__(held.value[0, :1], held.score[0, :1])}, **options)


def test_questions_without_an_answer():
    full, random = sa.PreconditionedDescent(steps=2), sa.PreconditionedDescent(steps=2, init="random")
    for algorithm, options, words in (
        (random, {}, "given=None is not accepted with theory='population' and init='random'"),
        (random, {"theory": "spectral_start", "context_length": 50}, "init='random'"),
        (full, {"theory": "spectral_start"}, "context_length=None is not accepted"),
        (full, {"theory": "context"}, "context_length=None is not accepted"),
        (full, {"theory": "global"}, "theory='global' is unknown"),
        (full, {"given": {"start": None}}, "given=dict lacks 'start'"),
        (sa.PreconditionedDescent(steps=2, value="closed_form"), {"theory": "local_rate"}, "closed_form"),
        (sa.PreconditionedDescent("none", steps=2, balance=1.0), {"theory": "local_rate"}, "mix error and imbalance"),
    ):
        with pytest.raises(ValueError, match=words):
            sa.predict(TASK, algorithm, **options)
    with pytest.raises(ValueError, match="context_length=4 tokens of dimension 5 have a singular covariance"):
        sa.simulate(TASK, full, context_length=4)
    with pytest.raises(TypeError, match="task=RegressionProblem is not accepted; accepted: LinearMap"):
        sa.simulate(TASK.sample(jax.random.key(0), 60), full)
    with pytest.raises(TypeError, match="algorithm=str is not accepted; accepted: PreconditionedDescent"):
        sa.predict(TASK, "full")


def test_a_diverging_replicate_is_missing_with_its_reason():
    algorithm = sa.PreconditionedDescent("full", 500.0, steps=100, init="random")
    runs = sa.simulate(TASK, algorithm, replicates=4)
    assert np.all(runs.result == Result.NONFINITE)
    assert np.isnan(runs.excess_risk).all()
    assert "take smaller steps" in runs.reasons()[0]


def test_every_theory_says_where_its_forms_come_from():
    for name, theory in sa.theories.items():
        origins = {status.origin for status in theory.status.values()}
        assert origins == ({"derived"} if name == "context" else {"reconstruction"}), name
