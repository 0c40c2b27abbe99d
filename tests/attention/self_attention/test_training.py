"""Training: the documented steps, invariances, starts, the solved value matrix, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.attention import self_attention as sa
from solvable.numerics.results import Result, SolveError

TASK = sa.LinearMap.conditioned()
PROBLEM = TASK.sample(jax.random.key(0), 60)
DRAW = np.random.default_rng(0)
START = sa.Parameters(0.3 * DRAW.normal(size=(5, 5)), 0.3 * DRAW.normal(size=(5, 5)))


def root_of(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(values) @ vectors.T


def two_steps(algorithm, problem, gradients, covariance):
    """Two steps written from the documented formulas, in NumPy."""
    value, score = np.array(START.value), np.array(START.score)
    root, inverse, eta = root_of(covariance), np.linalg.inv(covariance), float(algorithm.learning_rate)
    back = np.linalg.inv(root)
    for _ in range(2):
        if algorithm.renormalize:
            gain = np.linalg.norm(root @ score @ root, 2) * np.sqrt(7.0)
            value, score = value * gain, score / gain
        in_value, in_score = gradients(value, score)
        at, bt = value @ root, root @ score @ root
        unbalanced = float(algorithm.balance) * (at.T @ at - bt.T @ bt)
        in_value, in_score = in_value + at @ unbalanced @ root, in_score - root @ bt @ unbalanced @ root
        sizes = (np.linalg.norm(bt, 2) ** 2, np.linalg.norm(at, 2) ** 2) if algorithm.renormalize else (1.0, 1.0)
        match algorithm.preconditioner:
            case "none":
                moves = in_value, in_score
            case "right":
                moves = in_value @ inverse, in_score @ inverse
            case "full":
                moves = in_value @ inverse, inverse @ in_score @ inverse
            case _:
                damping = float(algorithm.damping)
                of_value, of_score = (
                    np.linalg.inv(f.T @ f + damping * np.linalg.norm(f, 2) ** 2 * np.eye(5)) for f in (at, bt)
                )
                moves = in_value @ back @ of_score @ back, back @ (back @ in_score @ back @ of_value) @ back
        value, score = value - eta * moves[0] / sizes[0], score - eta * moves[1] / sizes[1]
    if algorithm.renormalize:
        gain = np.linalg.norm(root @ score @ root, 2) * np.sqrt(7.0)
        value, score = value * gain, score / gain
    return value, score


@pytest.mark.parametrize(
    "options",
    [
        {"preconditioner": "none"},
        {"preconditioner": "right"},
        {"preconditioner": "full", "balance": 0.7},
        {"preconditioner": "full", "renormalize": True},
        {"preconditioner": "scaled", "damping": 0.2},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_a_step_is_the_documented_one(options):
    algorithm = sa.PreconditionedDescent(learning_rate=0.3, steps=2, **options)
    run = algorithm.train(TASK, init=START)

    def gradients(value, score):
        error = value @ TASK.covariance @ score.T - TASK.matrix
        sigma = TASK.covariance
        return error @ sigma @ score @ sigma, sigma @ error.T @ value @ sigma

    value, score = two_steps(algorithm, TASK, gradients, TASK.covariance)
    np.testing.assert_allclose(run.parameters.value, value, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(run.parameters.score, score, rtol=1e-10, atol=1e-13)


def test_a_step_on_a_sequence_uses_its_gradient_and_its_covariance():
    algorithm = sa.PreconditionedDescent(learning_rate=0.3, steps=2)
    run = algorithm.train(PROBLEM, init=START)

    def gradients(value, score):
        with jax.enable_x64(True):
            found = jax.grad(sa.loss)(sa.Parameters(jnp.asarray(value), jnp.asarray(score)), *sequence)
        return np.asarray(found.value), np.asarray(found.score)

    sequence = PROBLEM.tokens, PROBLEM.targets
    covariance = np.asarray(PROBLEM.tokens).T @ np.asarray(PROBLEM.tokens) / 60
    value, score = two_steps(algorithm, PROBLEM, gradients, covariance)
    np.testing.assert_allclose(run.parameters.value, value, rtol=1e-9)
    np.testing.assert_allclose(run.parameters.score, score, rtol=1e-9)
    losses = [
        sa.loss(jax.tree_util.tree_map(lambda leaf, k=k: leaf[k], run.path.parameters), *sequence) for k in range(3)
    ]
    np.testing.assert_allclose(run.losses, losses, rtol=1e-12)
    np.testing.assert_array_equal(run.path.steps, [0, 1, 2])


def test_the_full_preconditioner_does_not_see_the_condition_number():
    """From one whitened start the same losses, hence the same number of steps, at condition numbers 1 to 1000."""
    algorithm = sa.PreconditionedDescent("full", 1.5, steps=80, init="random")
    losses, steps = [], []
    for condition in (1.0, 30.0, 1000.0):
        run = algorithm.train(sa.LinearMap.conditioned(condition=condition), key=jax.random.key(5))
        losses.append(run.losses)
        steps.append(int(np.argmax(run.losses < 1e-10)))
    np.testing.assert_allclose(losses[1][:40], losses[0][:40], rtol=1e-10)
    np.testing.assert_allclose(losses[2][:40], losses[0][:40], rtol=1e-9)
    assert steps[0] == steps[1] == steps[2] > 10


def test_scaled_steps_of_one_half_converge_quadratically_whatever_the_target():
    """sqrt(loss) is squared, times a constant, with every step; scaling A and 1/B changes nothing."""
    solution = sa.PreconditionedDescent(steps=1).train(TASK, at=[0]).parameters
    noise = np.random.default_rng(1).normal(size=(2, 5, 5))
    start = sa.Parameters(solution.value * 1.05 + 0.01 * noise[0], solution.score + 0.01 * noise[1])
    algorithm = sa.PreconditionedDescent("scaled", 0.5, steps=5)
    losses = algorithm.train(TASK, init=start).losses
    error = np.sqrt(losses)
    assert losses[0] > 1e-5
    assert losses[4] < 1e-26
    assert np.all(error[1:4] < 5.0 * error[:3] ** 2)
    scaled = algorithm.train(TASK, init=sa.Parameters(7.0 * start.value, start.score / 7.0)).losses
    np.testing.assert_allclose(scaled[:3], losses[:3], rtol=1e-9)
    halved = sa.PreconditionedDescent("scaled", 0.25, steps=5).train(TASK, init=start).losses
    np.testing.assert_allclose(halved[5] / halved[4], 0.25, rtol=0.05)  # E -> (1 - 2 eta) E


def test_the_penalty_balances_and_renormalising_bounds_the_score():
    def imbalance(params):
        root = root_of(TASK.covariance)
        at, bt = params.value @ root, root @ params.score @ root
        return np.linalg.norm(at.T @ at - bt.T @ bt)

    skew = sa.Parameters(2.0 * START.value, START.score)
    plain = sa.PreconditionedDescent("full", 0.5, steps=80).train(TASK, init=skew)
    penalised = sa.PreconditionedDescent("full", 0.5, steps=80, balance=1.0).train(TASK, init=skew)
    assert imbalance(plain.parameters) > 0.1
    assert imbalance(penalised.parameters) < 1e-3 * imbalance(skew)
    assert penalised.losses[-1] < 1e-4 * penalised.losses[0]
    bounded = sa.PreconditionedDescent("full", 0.3, steps=80, renormalize=True).train(TASK, init=skew)
    np.testing.assert_allclose(sa.score_norm(bounded.parameters, TASK), 7**-0.5, rtol=1e-10)
    assert bounded.losses[-1] < 0.01 * bounded.losses[0]


def test_the_spectral_start_is_the_solution_of_the_population_and_least_squares_on_a_sequence():
    algorithm = sa.PreconditionedDescent(steps=1)
    for outputs in (2, 7):
        task = sa.LinearMap.conditioned(dim=5, outputs=outputs)
        np.testing.assert_allclose(algorithm.train(task, at=[0]).losses[0], 0.0, atol=1e-28)
    params = algorithm.train(PROBLEM, at=[0]).parameters
    tokens, targets = np.asarray(PROBLEM.tokens), np.asarray(PROBLEM.targets)
    covariance = tokens.T @ tokens / 60
    estimate = np.linalg.lstsq(tokens, targets)[0].T
    np.testing.assert_allclose(params.value @ covariance @ params.score.T, estimate, atol=1e-12)
    root = root_of(covariance)
    at, bt = params.value @ root, root @ params.score @ root
    np.testing.assert_allclose(at.T @ at, bt.T @ bt, atol=1e-12)


def test_a_solved_value_matrix_is_least_squares_and_never_raises_the_loss():
    algorithm = sa.PreconditionedDescent("full", 0.5, steps=2, value="closed_form")
    run = algorithm.train(PROBLEM, init=START)
    tokens, targets = PROBLEM.tokens, PROBLEM.targets
    for k in range(3):
        params = jax.tree_util.tree_map(lambda leaf, k=k: leaf[k], run.path.parameters)
        features = sa.attend(sa.Parameters(np.eye(5), params.score), tokens, tokens)
        solved = np.linalg.lstsq(features, np.asarray(targets))[0].T
        np.testing.assert_allclose(params.value, solved, rtol=1e-6)
    assert run.losses[0] < sa.loss(START, tokens, targets)
    assert np.all(np.diff(run.losses) < 0)
    # in the population every score of full rank is solved at once
    assert algorithm.train(TASK, init=START).losses[0] < 1e-18


def test_training_follows_the_dtype_and_works_under_jit_and_vmap():
    algorithm = sa.PreconditionedDescent(learning_rate=0.3, steps=2)
    single = sa.RegressionProblem(*(np.asarray(part, np.float32) for part in (PROBLEM.tokens, PROBLEM.targets)))
    run = algorithm.train(single, init=START)
    assert run.parameters.score.dtype == run.losses.dtype == np.float32
    double = algorithm.train(PROBLEM, init=START)
    np.testing.assert_allclose(run.losses, double.losses, rtol=1e-4)
    with jax.enable_x64(True):
        stacked = jax.tree_util.tree_map(lambda leaf: jnp.stack([leaf, 1.1 * leaf]), PROBLEM)
        losses = jax.jit(jax.vmap(lambda problem: algorithm.train(problem, init=START).losses))(stacked)
    np.testing.assert_allclose(losses[0], double.losses, rtol=1e-12)


def test_what_cannot_be_trained_is_answered_in_one_sentence():
    algorithm = sa.PreconditionedDescent(steps=2)
    with pytest.raises(ValueError, match="init is zero, where every gradient vanishes"):
        algorithm.train(TASK, init=sa.Parameters(np.zeros((5, 5)), np.zeros((5, 5))))
    with pytest.raises(ValueError, match="n=5 tokens of dimension 5 have a singular covariance"):
        algorithm.train(sa.RegressionProblem(PROBLEM.tokens[:5], PROBLEM.targets[:5]))
    with pytest.raises(ValueError, match=r"init has value of shape \(4, 5\); accepted: \(5, 5\)"):
        algorithm.train(TASK, init=sa.Parameters(np.ones((4, 5)), np.eye(5)))
    with pytest.raises(TypeError, match="problem=ndarray"):
        algorithm.train(PROBLEM.tokens)
    with pytest.raises(TypeError, match="key=Parameters is not accepted"):
        algorithm.train(TASK, START)
    with pytest.raises(ValueError, match=r"at=.* increasing whole numbers from 0 to steps=2"):
        algorithm.train(TASK, at=[0, 3])
    for options, words in (
        ({"preconditioner": "left"}, "'full', 'none', 'right', 'scaled'"),
        ({"learning_rate": 0.0}, "learning_rate=0"),
        ({"steps": 0}, "steps=0"),
        ({"balance": 1.0, "renormalize": True}, "balance=1 is not accepted with renormalize=True"),
        ({"damping": 0.1}, "damping=0.1 is not accepted with preconditioner='full'"),
        ({"init": "zero"}, "init='zero'"),
    ):
        with pytest.raises(ValueError, match=words):
            sa.PreconditionedDescent(**options)


def test_a_diverging_run_says_so():
    algorithm = sa.PreconditionedDescent("full", 500.0, steps=80, init="random")
    with pytest.raises(SolveError, match="take smaller steps"):
        algorithm.train(TASK)
    assert algorithm.train(TASK, throw=False).result == Result.NONFINITE


def test_the_best_learning_rate_of_data_is_that_of_its_estimates():
    task = sa.LinearMap.conditioned()
    problem = task.sample(jax.random.key(0), samples=20_000)
    np.testing.assert_allclose(sa.best_learning_rate(problem), sa.best_learning_rate(task), rtol=0.05)
    losses = (
        sa.PreconditionedDescent("full", sa.best_learning_rate(problem), 5)
        .train(problem.__class__(problem.tokens[:200], problem.targets[:200]))
        .losses
    )
    assert losses[-1] <= losses[0]
    with pytest.raises(TypeError, match="accepted: RegressionProblem or LinearMap"):
        sa.best_learning_rate(3)
