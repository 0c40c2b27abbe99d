"""Training: against loops written out in NumPy, the published example, symmetries, dtypes and what can go wrong."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from solvable.attention import token_selection as ts
from solvable.numerics.results import Result, SolveError

STEPS = {1.75: 1500, 2.0: 2000, 3.0: 20000}


def drawn(seed=0, **sizes):
    return ts.RandomSelection(**sizes).sample(jax.random.key(seed))


def numpy_gradient(problem, weights):
    """The gradient as it is written in the paper."""
    logits = np.einsum("ntd,de,ne->nt", problem.tokens, weights, problem.queries)
    attention = np.exp(logits - logits.max(axis=1, keepdims=True))
    attention /= attention.sum(axis=1, keepdims=True)
    scores = problem.labels[:, None] * (problem.tokens @ problem.decoder)
    mean = (attention * scores).sum(axis=1)
    slope = -1.0 / (1.0 + np.exp(mean))
    coefficient = slope[:, None] * attention * (scores - mean[:, None]) / len(mean)
    return np.einsum("nt,ntd,ne->de", coefficient, problem.tokens, problem.queries)


@pytest.mark.parametrize("step", ["normalized", "fixed"])
@pytest.mark.parametrize("p", [1.5, 2.0, 2.5])
def test_it_is_the_loop_of_the_paper(p, step):
    problem, steps, rate = drawn(), 60, 0.1
    start = np.random.default_rng(0).standard_normal((10, 10))
    weights, q = start, p / (p - 1.0)
    for _ in range(steps):
        gradient = numpy_gradient(problem, weights)
        if step == "normalized":
            gradient = gradient / np.linalg.norm(gradient.ravel(), q)
        dual = np.sign(weights) * np.abs(weights) ** (p - 1.0) - rate * gradient
        weights = np.sign(dual) * np.abs(dual) ** (1.0 / (p - 1.0))
    run = ts.MirrorDescent(p, rate, steps, step).train(problem, init=start)
    np.testing.assert_allclose(run.weights, weights, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(run.path.weights[0], start)
    assert run.path.steps[0] == 0
    assert run.path.steps[-1] == steps


def test_factored_training_is_the_loop_of_the_paper():
    problem, steps = drawn(1), 40
    rng = np.random.default_rng(0)
    keys, queries = rng.standard_normal((2, 10, 3))
    a, b = keys, queries
    for _ in range(steps):
        gradient = numpy_gradient(problem, a @ b.T)
        of_keys, of_queries = gradient @ b, gradient.T @ a
        a, b = a - 0.1 * of_keys / np.linalg.norm(of_keys), b - 0.1 * of_queries / np.linalg.norm(of_queries)
    run = ts.MirrorDescent(2.0, 0.1, steps, parameterization="factored").train(problem, init=(keys, queries))
    np.testing.assert_allclose(run.key_matrix, a, rtol=1e-9)
    np.testing.assert_allclose(run.weights, a @ b.T, rtol=1e-9)
    assert np.linalg.matrix_rank(run.weights) == 3


def test_the_polyak_step_is_its_formula():
    problem = drawn(2)
    weights = np.zeros((10, 10))
    scores = problem.labels[:, None] * (problem.tokens @ problem.decoder)
    least = np.mean(np.logaddexp(0, -scores.max(axis=1)))
    for _ in range(5):
        logits = np.einsum("ntd,de,ne->nt", problem.tokens, weights, problem.queries)
        attention = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        loss = np.mean(np.logaddexp(0, -(attention * scores).sum(axis=1)))
        gradient = numpy_gradient(problem, weights)
        weights = weights - (loss - least) / (3.0 * np.sum(gradient**2)) * gradient
    run = ts.MirrorDescent(step="polyak", polyak_constant=3.0, steps=5).train(problem)
    np.testing.assert_allclose(run.weights, weights, rtol=1e-9)


@pytest.mark.parametrize(("p", "selected"), [(1.75, (1, 0)), (2.0, (1, 0)), (3.0, (0, 0))])
def test_the_published_example_of_joint_training(p, selected):
    """The tokens selected are the outputs stored in the authors' notebook."""
    problem = ts.two_sequences()
    run = ts.MirrorDescent(p, steps=STEPS[p], train_decoder=True).train(problem, at=[50, STEPS[p]])
    np.testing.assert_array_equal(run.selected, selected)
    assert run.saturation > 0.9999
    attention, decoder = run.path.weights[0], run.path.decoder[0]
    maps = dataclasses.replace(run, weights=attention).attention(problem)
    label = 1.0 / (1.0 + np.exp(-(maps * problem.scores(decoder)).sum(axis=1)))
    if p <= 2.0:
        assert maps[np.arange(2), selected].min() > 0.99
        assert label.min() > 0.99
    weights = ts.max_margin(problem, selected, p)
    vector = ts.decoder_max_margin(problem, selected, p)
    assert ts.directional_divergence(weights.weights, run.weights, p) < 1e-4
    assert ts.directional_divergence(vector.weights, run.decoder, p) < 1e-3


def test_symmetries():
    problem, algorithm = drawn(3), ts.MirrorDescent(1.75, steps=200)
    run = algorithm.train(problem)
    flipped = dataclasses.replace(problem, labels=-problem.labels, decoder=-problem.decoder)
    np.testing.assert_allclose(algorithm.train(flipped).weights, run.weights, rtol=1e-12)
    order = np.random.default_rng(0).permutation(8)
    shuffled = dataclasses.replace(problem, tokens=problem.tokens[:, order])
    np.testing.assert_allclose(algorithm.train(shuffled).weights, run.weights, rtol=1e-7)
    np.testing.assert_array_equal(order[algorithm.train(shuffled).selected], run.selected)
    # normalised steps do not see the scale of the scores while the loss is linear
    linear = ts.MirrorDescent(1.75, steps=200, loss="linear")
    louder = dataclasses.replace(problem, decoder=7.0 * problem.decoder)
    np.testing.assert_allclose(linear.train(louder).weights, linear.train(problem).weights, rtol=1e-9)


@pytest.mark.parametrize("p", [pytest.param(2.0, marks=pytest.mark.slow), 3.0])
def test_single_precision_follows_the_tokens_and_reaches_large_margins(p):
    problem = drawn(4)
    single = jax.tree_util.tree_map(lambda leaf: np.asarray(leaf, np.float32), problem)
    algorithm = ts.MirrorDescent(p, ts.linear_growth(1.0, p), steps=4000)
    run, double = algorithm.train(single), algorithm.train(problem)
    assert run.weights.dtype == np.float32
    assert double.weights.dtype == np.float64
    np.testing.assert_array_equal(run.selected, double.selected)
    solution = ts.max_margin(problem, run.selected, p)
    least_margin = (
        ts.margin_ratio(problem, solution, run.weights) * np.linalg.norm(run.weights.ravel(), p) / solution.norm
    )
    assert least_margin > 800
    assert ts.directional_divergence(solution.weights, run.weights, p) < 1e-4
    naive = dataclasses.replace(algorithm, gradient="autodiff").train(single, throw=False)
    assert not ts.directional_divergence(solution.weights, naive.weights, p) < 1e-2


def test_schedules():
    problem = drawn(5)
    constant = ts.MirrorDescent(2.0, 0.1, 300).train(problem)
    scheduled = ts.MirrorDescent(2.0, optax.constant_schedule(0.1), 300).train(problem)
    grown = ts.MirrorDescent(2.0, ts.linear_growth(0.1, 2.0), 300).train(problem)
    np.testing.assert_allclose(scheduled.weights, constant.weights, rtol=1e-12)
    np.testing.assert_allclose(grown.weights, constant.weights, rtol=1e-12)
    schedule = optax.piecewise_constant_schedule(0.1, {100: 0.5})
    with jax.numpy_dtype_promotion("standard"):  # optax mixes its numbers
        halved = ts.MirrorDescent(2.0, schedule, 102).train(problem, at=[101, 102])
    step = np.linalg.norm(halved.path.weights[1] - halved.path.weights[0])
    assert step == pytest.approx(0.05)


@pytest.mark.parametrize("double", [True, False])
def test_training_is_batched_by_vmap_and_jit(double):
    """In the user's precision: without x64 JAX hands single precision on."""
    task, algorithm = ts.RandomSelection(), ts.MirrorDescent(steps=50)
    problems = [task.sample(jax.random.key(seed)) for seed in range(3)]
    stacked = jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *problems)
    alone = np.stack([algorithm.train(problem).weights for problem in problems])
    with jax.enable_x64(double):
        runs = jax.vmap(algorithm.train)(stacked)
        compiled = jax.jit(lambda problem: algorithm.train(problem).weights)(problems[0])
        best = jax.vmap(lambda problem: problem.optimal_tokens())(stacked)
    rtol = 1e-9 if double else 1e-3
    np.testing.assert_allclose(runs.weights, alone, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(compiled, alone[0], rtol=rtol, atol=rtol)
    np.testing.assert_array_equal(best, [problem.optimal_tokens() for problem in problems])


def test_derivatives_are_forward_mode():
    problem = drawn()

    def size(rate):
        return jnp.sum(ts.MirrorDescent(learning_rate=rate, steps=20).train(problem).weights ** 2)

    with jax.enable_x64(True):
        slope = jax.jacfwd(size)(0.1)
        finite = (size(0.1 + 1e-5) - size(0.1 - 1e-5)) / 2e-5
    assert slope == pytest.approx(float(finite), rel=1e-6)


def test_several_queries_a_sequence_are_the_mean_of_their_outputs():
    """Two copies of a query are one query."""
    problem = drawn(6)
    doubled = dataclasses.replace(problem, queries=np.repeat(problem.queries[:, None], 2, axis=1))
    algorithm = ts.MirrorDescent(steps=100)
    one, two = algorithm.train(problem), algorithm.train(doubled)
    np.testing.assert_allclose(two.weights, one.weights, rtol=1e-9)
    assert two.selected.shape == (6, 2)
    assert two.attention(doubled).shape == (6, 2, 8)
    assert one.attention(problem).shape == (6, 8)


def test_a_start_without_a_gradient_is_reported():
    problem = dataclasses.replace(drawn(), decoder=np.zeros(10))
    with pytest.raises(SolveError, match="gradient is zero at the start"):
        ts.MirrorDescent(steps=5).train(problem)
    run = ts.MirrorDescent(steps=5).train(problem, throw=False)
    assert run.result == Result.ZERO_GRADIENT
    assert not run.weights.any()
    saddle = (np.zeros((10, 10)), np.zeros((10, 10)))
    assert ts.MirrorDescent(steps=5, parameterization="factored").train(drawn(), init=saddle, throw=False).result != 0
    started = ts.MirrorDescent(steps=5, parameterization="factored").train(drawn())
    assert started.result == 0
    np.testing.assert_array_equal(started.path.weights[0], 0.0)


def test_weights_that_are_not_finite_are_reported():
    algorithm = ts.MirrorDescent(1.05, 1e30, 20, "fixed")
    with pytest.raises(SolveError, match="not finite"):
        algorithm.train(drawn())
    assert algorithm.train(drawn(), throw=False).result == Result.NONFINITE


@pytest.mark.parametrize("p", [2.0, *(pytest.param(one, marks=pytest.mark.slow) for one in (1.75, 3.0))])
def test_the_regularisation_path_meets_its_optimality_conditions_and_bounds_the_loss(p):
    problem = drawn(8)
    radii = [0.5, 3.0, 30.0, 300.0]
    path = ts.regularization_path(problem, radii, p)
    sizes = np.linalg.norm(path.weights.reshape(4, -1), p, axis=1)
    np.testing.assert_allclose(sizes, radii, rtol=1e-9)
    assert path.stationarity.max() < 1e-9
    rng = np.random.default_rng(0)
    for weights, radius in zip(path.weights[:2], radii, strict=False):

        def loss(w):
            logits = np.einsum("ntd,de,ne->nt", problem.tokens, w, problem.queries)
            maps = np.exp(logits - logits.max(axis=1, keepdims=True))
            maps /= maps.sum(axis=1, keepdims=True)
            return np.mean(np.logaddexp(0, -(maps * problem.scores()).sum(axis=1)))

        for _ in range(50):
            near = weights + 0.05 * radius / 10 * rng.standard_normal((10, 10))
            near *= radius / np.linalg.norm(near.ravel(), p)
            assert loss(near) >= loss(weights)
    again = ts.regularization_path(problem, radii, p, selected=path.selected[-1])
    np.testing.assert_allclose(again.weights[-1], path.weights[-1], atol=1e-5 * radii[-1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"p": 1.0}, "p=1 is out of range; accepted: a finite number > 1"),
        ({"p": np.inf}, "p=inf"),
        ({"learning_rate": 0.0}, "learning_rate=0"),
        ({"steps": 0}, "steps=0"),
        ({"step": "newton"}, "step='newton' is unknown"),
        ({"parameterization": "low rank"}, "parameterization='low rank'"),
        ({"gradient": "finite"}, "gradient='finite'"),
        ({"polyak_constant": -1.0}, "polyak_constant=-1"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"step": "polyak", "p": 3.0}, "p=3 is not accepted with step='polyak'"),
        ({"step": "polyak", "train_decoder": True}, "train_decoder=True is not accepted"),
        ({"p": 3.0, "learning_rate": ts.linear_growth(0.1, 2.0)}, "is not accepted with p=3 and step='normalized'"),
        (
            {"learning_rate": ts.linear_growth(0.1, 2.0), "step": "fixed"},
            "accepted: the p of the algorithm",
        ),
        ({"gradient": "authors", "step": "fixed"}, "gradient='authors' is not accepted with step='fixed'"),
    ],
)
def test_bad_arguments_of_the_algorithm_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        ts.MirrorDescent(**arguments)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokens": np.zeros((6, 1, 10))}, r"tokens has shape \(6, 1, 10\); accepted: T >= 2"),
        ({"tokens": np.zeros((6, 8))}, r"tokens has shape \(6, 8\)"),
        ({"tokens": np.full((6, 8, 10), np.nan)}, r"tokens holds nan at \(0, 0, 0\)"),
        ({"queries": np.zeros((6, 10))}, r"queries is zero at \(0,\)"),
        ({"queries": np.ones((5, 10))}, r"queries has shape \(5, 10\)"),
        ({"labels": np.arange(6)}, "labels holds 0; accepted: -1 and \\+1"),
        ({"labels": np.ones(5)}, r"labels has shape \(5,\)"),
        ({"decoder": np.ones(9)}, r"decoder has shape \(9,\)"),
        ({"decoder": [None] * 10}, "decoder has dtype object"),
        ({"tokens": [[[1.0]], [[1.0], [2.0]]]}, "tokens is a ragged list"),
    ],
)
def test_bad_problems_are_named(change, words):
    fine = drawn()
    fields = {name: getattr(fine, name) for name in ("tokens", "queries", "labels", "decoder")}
    with pytest.raises(ValueError, match=words):
        ts.SelectionProblem(**{**fields, **change})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a, q: a.train(q, init=np.zeros((3, 3))), r"init has weights of shape \(3, 3\)"),
        (lambda a, q: a.train(q, init=np.full((10, 10), np.inf)), "init, its weights, holds inf"),
        (lambda a, q: a.train(q, at=[5, 5]), "at="),
        (lambda a, q: a.train(q, at=[10**6]), "at="),
        (lambda a, q: ts.MirrorDescent(train_decoder=True).train(q, init=np.zeros((10, 10))), "init is no pair"),
        (
            lambda a, q: ts.MirrorDescent(parameterization="factored").train(q, init=np.zeros((10, 10))),
            "init is no pair",
        ),
        (lambda a, q: ts.regularization_path(q, [2.0, 1.0]), "radii="),
        (lambda a, q: ts.regularization_path(q, [1.0], 1.0), "p=1"),
        (lambda a, q: ts.directional_divergence(np.ones(3), np.ones(4), 2.0), r"weights has shape \(4,\)"),
        (lambda a, q: ts.correlation(np.zeros((2, 2)), np.eye(2)), "reference is all zeros"),
        (lambda a, q: ts.linear_growth(0.0, 2.0), "speed=0"),
        (lambda a, q: ts.EqualScores(dim=32), "dim=32 is too small"),
        (lambda a, q: ts.RandomSelection(length=1), "length=1"),
    ],
)
def test_bad_calls_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(ts.MirrorDescent(steps=10), drawn())


def test_a_problem_keeps_what_was_checked():
    fine = drawn()
    tokens = np.array(fine.tokens)
    problem = ts.SelectionProblem(tokens, fine.queries, fine.labels, fine.decoder)
    tokens[:] = np.nan
    np.testing.assert_array_equal(problem.tokens, fine.tokens)


def test_directional_divergence():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 4))
    for p in (1.3, 2.0, 3.0):
        unit_a, unit_b = (m / np.linalg.norm(m.ravel(), p) for m in (a, b))

        def psi(m, p=p):
            return np.sum(np.abs(m) ** p) / p

        bregman = psi(unit_a) - psi(unit_b) - np.sum(np.sign(unit_b) * np.abs(unit_b) ** (p - 1) * (unit_a - unit_b))
        assert ts.directional_divergence(a, b, p) == pytest.approx(bregman)
        assert ts.directional_divergence(a, 5.0 * a, p) == pytest.approx(0.0, abs=1e-15)
        assert ts.directional_divergence(a, -a, p) == pytest.approx(2.0)
        assert ts.directional_divergence(a, 0.0 * a, p) == 1.0
        np.testing.assert_allclose(ts.directional_divergence(a, np.stack([a, b]), p), [0.0, bregman], atol=1e-15)
    assert ts.correlation(a, b) == pytest.approx(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def test_jax_keeps_its_precision_for_the_user():
    ts.MirrorDescent(steps=5).train(drawn())
    assert jnp.ones(()).dtype == jnp.float32
