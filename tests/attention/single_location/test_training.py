"""Training in d dimensions, the five-number map, the chain of batches, rates and basins."""

from __future__ import annotations

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.attention import single_location as sl
from solvable.attention.single_location.algorithms import Sequences, train_vectors
from solvable.attention.single_location.risk import law
from solvable.attention.single_location.stream import descend_stream
from solvable.numerics.precision import as_float64
from solvable.numerics.results import Result

FIELDS = ("query_alignment", "value_alignment", "value_leak", "query_leak", "coupling")


def numpy_descent(task, k, v, k_star, v_star, lam, rate, steps):
    """Projected descent as one writes it: vectors, and the derivatives of the risk by central differences."""
    basis = ("query_alignment", "value_alignment", "value_leak", "query_leak", "coupling")
    for _ in range(steps):
        values = np.array([k @ k_star, v @ v_star, v @ k_star, k @ v_star, k @ v])
        partial = []
        for place in range(5):
            moved = [values + sign * 1e-5 * np.eye(5)[place] for sign in (1.0, -1.0)]
            up, down = (float(sl.excess_risk(task, sl.Overlaps(*row), lam)) for row in moved)
            partial.append((up - down) / 2e-5)
        slope = dict(zip(basis, partial, strict=True))
        g_k = slope["query_alignment"] * k_star + slope["query_leak"] * v_star + slope["coupling"] * v
        g_v = slope["value_alignment"] * v_star + slope["value_leak"] * k_star + slope["coupling"] * k
        k_new, v_new = k - rate * (g_k - (k @ g_k) * k), v - rate * (g_v - (v @ g_v) * v)
        k, v = k_new / np.linalg.norm(k_new), v_new / np.linalg.norm(v_new)
    return np.array([k @ k_star, v @ v_star, v @ k_star, k @ v_star, k @ v])


def test_a_step_written_out_by_hand():
    task = sl.SingleLocation(6, 20)
    k, v = np.random.default_rng(0).standard_normal((2, 20))
    k, v = k / np.linalg.norm(k), v / np.linalg.norm(v)
    k_star, v_star = np.eye(20)[:2]
    overlaps = sl.Overlaps(k @ k_star, v @ v_star, v @ k_star, k @ v_star, k @ v)
    expected = numpy_descent(task, k, v, k_star, v_star, 0.5, 0.05, 5)
    outcome = sl.predict(task, sl.ProjectedDescent(0.5, 0.05, 5), given=overlaps, at=[5])
    np.testing.assert_allclose([float(getattr(outcome, f)[0]) for f in FIELDS], expected, atol=1e-8)


@pytest.mark.parametrize(
    "setting",
    ["manifold", *(pytest.param(one, marks=pytest.mark.slow) for one in ("sphere", "penalty", "closed form"))],
)
def test_five_numbers_follow_the_vectors(setting):
    task = sl.SingleLocation(10, 60)
    options = {
        "sphere": {"decay": 1e-4},
        "manifold": {"init": "manifold"},
        "penalty": {"leak_penalty": 10.0},
        "closed form": {"value": "closed_form", "learning_rate": 0.1, "leak_penalty": 1.0, "ridge": 1e-3},
    }[setting]
    algorithm = sl.ProjectedDescent(**{"inverse_temperature": 0.2, "learning_rate": 4e-3, "steps": 3000} | options)
    outcome = sl.simulate(task, algorithm, key=jax.random.key(0), replicates=6, full=True)
    predicted = sl.predict(task, algorithm, given=outcome)
    for name in (*FIELDS, "excess_risk", "value_norm", "distance", "final_excess_risk", "aligned", "swapped"):
        np.testing.assert_allclose(getattr(predicted, name), getattr(outcome, name), atol=1e-9, err_msg=name)
    assert np.all(outcome.excess_risk[:, -1] < outcome.excess_risk[:, 0])
    if setting == "manifold":
        assert np.max(outcome.distance) < 1e-12
        assert np.all(outcome.aligned == 1.0)


def test_the_reduced_start_has_the_law_of_the_vectors():
    """Second moments of a start in d dimensions: 1/d each, and on the manifold 1/(d - 1) and 1/(d - 2)."""
    dim, count = 12, 4000
    outcome = sl.simulate(
        sl.SingleLocation(3, dim), sl.ProjectedDescent(steps=1), key=jax.random.key(1), replicates=count, at=[0]
    )
    for name in FIELDS:
        squares = getattr(outcome, name)[:, 0] ** 2
        assert abs(squares.mean() - 1.0 / dim) < 4.0 * squares.std() / math.sqrt(count)
    algorithm = sl.ProjectedDescent(steps=1, init="manifold")
    outcome = sl.simulate(sl.SingleLocation(3, dim), algorithm, key=jax.random.key(1), replicates=count, at=[0])
    for name, freedom in (("query_alignment", dim - 1), ("value_alignment", dim - 2)):
        squares = getattr(outcome, name)[:, 0] ** 2
        assert abs(squares.mean() - 1.0 / freedom) < 4.0 * squares.std() / math.sqrt(count)
    assert np.all(outcome.distance == 0.0)


@pytest.mark.slow
def test_the_chain_of_batches_is_exact_in_law():
    """First, second and third moments of the overlaps after two steps, against batches of vectors from one start."""
    length, dim, batch, runs = 3, 7, 2, 60_000
    task = sl.SingleLocation(length, dim, 0.8, 0.3)
    algorithm = sl.ProjectedDescent(0.7, 0.1, 2, batch=batch, leak_penalty=9.0, decay=0.1)
    directions = task.directions(jax.random.key(5))
    generator = np.random.default_rng(3)
    k, v = generator.standard_normal((2, dim)) / math.sqrt(dim)
    k, v = k + 0.5 * np.asarray(directions.query), v + 0.4 * np.asarray(directions.value) + 0.3 * k
    k, v = k / np.linalg.norm(k), v / np.linalg.norm(v)
    with jax.enable_x64(True):
        rule, at = algorithm.rule, jnp.asarray([2])
        start = sl.Overlaps.of(k, v, directions)

        @jax.jit
        def chain(keys):
            many = jax.tree_util.tree_map(lambda leaf: jnp.full((runs,), leaf), start)
            noise = as_float64(task.label_noise)
            return descend_stream(law(task), noise, as_float64(dim), length, rule, many, keys, at)

        @jax.jit
        def vectors(keys):
            source = jax.tree_util.tree_map(jnp.asarray, directions)

            def one(key):
                pair = (jnp.asarray(k), jnp.asarray(v))
                return train_vectors(rule, Sequences((task, source, key), batch), pair, at)

            return sl.Overlaps.of(*jax.vmap(one)(keys), source)

        keys = jax.random.split(jax.random.key(6), 2 * runs)
        reduced, full = chain(keys[:runs]), vectors(keys[runs:])
    a = np.stack([np.asarray(getattr(reduced, field)).ravel() for field in FIELDS])
    b = np.stack([np.asarray(getattr(full, field)).ravel() for field in FIELDS])
    centre = b.mean(axis=1, keepdims=True)
    a, b = a - centre, b - centre
    products = [(i,) for i in range(5)] + [(i, j) for i in range(5) for j in range(i, 5)]
    products += [(i, i, (i + j) % 5) for i in range(5) for j in range(2)]
    for places in products:
        x, y = np.prod(a[list(places)], axis=0), np.prod(b[list(places)], axis=0)
        z = (x.mean() - y.mean()) / math.sqrt((x.var() + y.var()) / runs)
        assert abs(z) < 4.0, (places, z)


def test_predictions_take_the_steps_of_the_outcome_and_training_works_inside_jit():
    task, algorithm = sl.SingleLocation(6, 60), sl.ProjectedDescent(0.3, 0.02, 40)
    outcome = sl.simulate(task, algorithm, replicates=2, at=[0, 20, 40], full=True)
    np.testing.assert_allclose(sl.predict(task, algorithm, given=outcome).excess_risk, outcome.excess_risk, atol=1e-12)
    with jax.enable_x64(True):
        inside = jax.jit(lambda key: algorithm.train(task, key, throw=False).query)(jax.random.key(3))
    np.testing.assert_allclose(inside, algorithm.train(task, jax.random.key(3)).query, atol=1e-12)
    slopes = jax.grad(lambda o: sl.excess_risk(task, o, 0.3))(sl.Overlaps(1, 1, 0, 0, 0))
    assert np.isfinite(slopes.coupling)


@pytest.mark.parametrize("options", [{}, {"full": True}, {"samples": 8000}])
def test_batches_of_a_law_and_of_data_train_runs_that_depend_on_their_number_alone(options):
    task = sl.SingleLocation(4, 12, label_noise=0.1)
    algorithm = sl.ProjectedDescent(0.3, 5e-3, 2000, batch=4, leak_penalty=3.0)
    call = {"key": jax.random.key(2), "at": [0, 2000], **options}
    first, second = (sl.simulate(task, algorithm, replicates=numbers, **call) for numbers in (range(4), range(1, 5)))
    assert np.all(np.isfinite(first.excess_risk))
    assert np.mean(first.final_excess_risk) < 0.6 * np.mean(first.excess_risk[:, 0])
    np.testing.assert_allclose(first.excess_risk[1:], second.excess_risk[:3], rtol=1e-12)


@pytest.mark.slow
def test_closed_form_values_learn_from_data_faster_than_joint_descent():
    task = sl.SingleLocation(10, 40, label_noise=0.1)
    joint = sl.ProjectedDescent(0.2, 0.05, 30, "manifold")
    solved = sl.ProjectedDescent(0.2, 1.0, 30, "manifold", value="closed_form", ridge=1e-3)
    options = {"key": jax.random.key(3), "replicates": 3, "samples": 2000, "at": [0, 30]}
    slow, fast = sl.simulate(task, joint, **options), sl.simulate(task, solved, **options)
    assert np.all(fast.final_excess_risk < slow.final_excess_risk)
    floor = sl.free_value(task, 1.0, 0.0, 0.2)[1]
    assert np.all(fast.final_excess_risk < floor + 0.05)
    assert np.all(fast.final_excess_risk > floor)


def test_training_one_head_returns_what_it_learned():
    task = sl.SingleLocation(6, 60)
    algorithm = sl.ProjectedDescent(0.3, 0.02, 2000, "manifold")
    run = algorithm.train(task, jax.random.key(0))
    assert abs(run.path.query_alignment[-1]) > 0.9
    assert run.overlaps is run.path
    # a run may be given: its start is all that the map needs
    predicted = sl.predict(task, algorithm, given=run, at=[0, 2000])
    np.testing.assert_allclose(predicted.query_alignment[0], np.asarray(run.path.query_alignment)[[0, -1]], atol=1e-9)
    tokens = np.asarray(task.sample(jax.random.key(1), 50).tokens)
    np.testing.assert_allclose(run.output(tokens), np.asarray(run.hidden(tokens)) @ np.asarray(run.value), rtol=1e-10)
    assert run.attention(tokens).shape == (50, 6)
    with pytest.raises(ValueError, match=r"accepted: \(n, L, 60\)"):
        run.output(tokens[:, :, :5])
    data = task.sample(jax.random.key(4), 500)
    learned = sl.ProjectedDescent(0.3, 0.02, 50).train(data, init=(np.ones(60), np.arange(60.0)))
    np.testing.assert_allclose(np.linalg.norm(learned.query), 1.0, rtol=1e-12)
    own = sl.LocatedTokens(data.tokens, data.labels)
    assert own.sample(jax.random.key(0)) is own
    run = sl.ProjectedDescent(0.3, 0.02, 50).train(own, init=(np.ones(60), np.arange(60.0)))
    assert run.path is run.start is None
    with pytest.raises(ValueError, match="lacks 'start'"):
        sl.predict(task, sl.ProjectedDescent(0.3, 0.02, 50), given=run)


@pytest.mark.parametrize(("lam", "words"), [(0.1, "hardly tells"), (0.5, "drown"), (0.9, "let it decay")])
def test_training_warns_outside_the_regime_of_the_paper(lam, words):
    task = sl.SingleLocation(6, 300 if lam > 0.6 else 60)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sl.ProjectedDescent(lam, 0.02, 1).train(task)
    assert any(words in str(one.message) for one in caught)


def test_rates_near_the_two_stationary_points():
    task = sl.SingleLocation(5, 40)
    # from closer than any random start, so that the escape is linear
    algorithm = sl.ProjectedDescent(0.2, 2e-3, 40_000, "manifold")
    rates = sl.predict(task, algorithm, theory="rates")
    tiny = sl.Overlaps(1e-4, 1e-4, 0.0, 0.0, 0.0)
    path = sl.predict(task, algorithm, given=tiny, at=[0, 3000, 4000])
    growth = np.log(path.value_alignment[2] / path.value_alignment[1]) / 1000.0
    np.testing.assert_allclose(growth, rates.escape_rate, rtol=1e-3)
    outcome = sl.simulate(task, algorithm, key=jax.random.key(0), replicates=3, at=np.arange(0, 40_001, 250))
    np.testing.assert_allclose(outcome.value_rate, rates.value_rate, rtol=0.02)
    np.testing.assert_allclose(outcome.query_rate, rates.query_rate, rtol=0.02)
    flow = -2.0 * algorithm.learning_rate  # per unit of time, halved to the angle
    assert rates.value_rate > 0.0 > flow


@pytest.mark.slow
def test_settings_of_the_paper():
    task = sl.SingleLocation()
    many = {"key": jax.random.key(0), "at": [0]}
    manifold = sl.ProjectedDescent(0.1, 4e-3, 20_000, "manifold")
    outcome = sl.simulate(task, manifold, replicates=30, **many | {"at": None})
    np.testing.assert_allclose(abs(outcome.query_alignment[:, -1]), 0.983, atol=0.003)
    np.testing.assert_allclose(outcome.final_excess_risk, 0.1137, atol=3e-4)
    small = sl.simulate(task, sl.ProjectedDescent(0.1, 4e-3, 20_000), replicates=2000, key=jax.random.key(1))
    assert abs(small.aligned.mean() - 0.5) < 0.035
    np.testing.assert_allclose(small.final_excess_risk[small.swapped == 1.0], 0.115512, atol=2e-5)
    falling = sl.ProjectedDescent(1.0, 4e-3, 120_000, decay=1e-4)
    schedule = sl.simulate(task, falling, replicates=300, key=jax.random.key(2))
    assert abs(schedule.aligned.mean() - 0.957) < 0.04
    np.testing.assert_allclose(schedule.final_excess_risk[schedule.aligned == 1.0], 0.075014, atol=1e-5)


def test_half_the_runs_swap_and_the_penalty_cures_them():
    task = sl.SingleLocation()
    plain = sl.simulate(task, sl.ProjectedDescent(0.1, 4e-3, 14_000), key=jax.random.key(0), replicates=60)
    assert 15 <= plain.swapped.sum() <= 45
    assert np.all(plain.aligned + plain.swapped == 1.0)
    _, risk = sl.swap_point(task, 0.1)
    np.testing.assert_allclose(plain.final_excess_risk[plain.swapped == 1.0], risk, atol=1e-4)
    cured = sl.ProjectedDescent(0.1, 4e-3, 14_000, leak_penalty=10.0)
    assert np.all(sl.simulate(task, cured, key=jax.random.key(0), replicates=60).aligned == 1.0)


@pytest.mark.slow
def test_the_hidden_directions_are_not_the_minimum_at_a_large_inverse_temperature():
    task = sl.SingleLocation()
    oracle = sl.predict(task, sl.ProjectedDescent(0.9, 1e-3, 60_000), theory="floor").final_excess_risk
    outcome = sl.simulate(task, sl.ProjectedDescent(0.9, 1e-3, 60_000), key=jax.random.key(0), replicates=10)
    assert not np.any(outcome.aligned)
    assert np.min(outcome.final_excess_risk) < oracle


class Silent(sl.SingleLocation):
    """Tokens that do not tell where the label is, nor what."""

    def sample(self, key, samples, directions=None):
        data = super().sample(key, samples, directions)
        tokens = jax.random.normal(jax.random.fold_in(key, 1), data.tokens.shape, jnp.float64)
        return sl.LocatedTokens(tokens, data.labels, data.locations, data.directions)


class OnTheHost(sl.SingleLocation):
    """The same, drawn by means that JAX does not know."""

    def sample(self, key, samples, directions=None):
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        tokens = generator.standard_normal((samples, self.length, self.dim))
        return sl.LocatedTokens(tokens, self.informative_scale * generator.standard_normal(samples))


class Same(sl.SingleLocation):
    """Our own law under another name."""

    def sample(self, key, samples, directions=None):
        return super().sample(key, samples, directions)


SOLVED = sl.ProjectedDescent(0.3, 0.05, 60, value="closed_form", ridge=0.05)


@pytest.mark.parametrize(
    ("task", "algorithm", "options"),
    [
        (OnTheHost(4, 12, 0.9), SOLVED, {"samples": 4000}),
        (
            Silent(4, 12, label_noise=0.3),
            sl.ProjectedDescent(0.3, 0.05, 60, batch=64, value="closed_form", ridge=0.05, proximity=3.0),
            {"full": True},
        ),
    ],
)
def test_a_law_whose_tokens_carry_no_signal_is_as_good_as_predicting_nothing(task, algorithm, options):
    outcome = sl.simulate(task, algorithm, key=jax.random.key(0), replicates=4, at=[0, 60], **options)
    errors = outcome.final_excess_risk - task.label_variance
    assert abs(errors.mean()) < 4.0 * errors.std(ddof=1) / 2.0 + 0.01
    # the closed formula speaks of Gaussian tokens with a signal, and of these as well as ever
    assert sl.predict(task, algorithm, given=outcome).status["excess_risk"].claim == "heuristic"


@pytest.mark.parametrize(("batch", "options"), [(None, {"samples": 300}), (3, {"full": True})])
def test_the_errors_of_a_law_of_ones_own_are_measured_on_what_it_draws(batch, options):
    """Where the law is ours, they are those of the closed formula."""
    task, algorithm = Same(3, 10, label_noise=0.2), sl.ProjectedDescent(0.4, 0.02, 200, batch=batch)
    outcome = sl.simulate(task, algorithm, key=jax.random.key(1), replicates=10, at=[0, 200], **options)
    overlaps = jax.tree_util.tree_map(lambda leaf: leaf[:, -1], outcome.path)
    errors = outcome.final_excess_risk - sl.excess_risk(task, overlaps, 0.4)
    assert abs(errors.mean()) < 4.0 * errors.std(ddof=1) / math.sqrt(10)
    assert 0.0 < abs(errors).max() < 0.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda task: sl.simulate(task, sl.ProjectedDescent(steps=2)), "accepted: full=True"),
        (lambda task: sl.simulate(task, sl.ProjectedDescent(steps=2, batch=2)), "accepted: full=True"),
        (lambda task: sl.simulate(task, sl.ProjectedDescent(steps=2), full=True), "population gradient"),
        (lambda task: sl.ProjectedDescent(steps=2).train(task), "population gradient"),
    ],
)
def test_what_holds_for_gaussian_tokens_alone_refuses_another_law(call, message):
    with pytest.raises(ValueError, match=message):
        call(Silent(4, 60))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sl.ProjectedDescent(0.0), "inverse_temperature=0"),
        (lambda: sl.ProjectedDescent(learning_rate=0.0), "learning_rate=0"),
        (lambda: sl.ProjectedDescent(init="ball"), "init='ball'"),
        (lambda: sl.ProjectedDescent(ridge=1.0), "closed-form value"),
        (lambda: sl.ProjectedDescent(batch=4, value="closed_form"), "no unique value"),
        (lambda: sl.ProjectedDescent(value="closed_form", proximity=1.0), "needs batches"),
        (lambda: sl.simulate(sl.SingleLocation(3, 5), sl.ProjectedDescent(steps=2, batch=1)), "dim=5"),
        (lambda: sl.simulate(sl.SingleLocation(3, 2), sl.ProjectedDescent(steps=2, init="manifold")), "dim=2"),
        (lambda: sl.simulate(sl.SingleLocation(3, 9), sl.ProjectedDescent(steps=9, batch=2), samples=9), "samples=9"),
        (lambda: sl.simulate(sl.SingleLocation(3, 9), sl.ProjectedDescent(steps=9), at=[10]), r"at=\[10\]"),
        (lambda: sl.predict(sl.SingleLocation(), sl.ProjectedDescent()), "given=None"),
        (lambda: sl.predict(sl.SingleLocation(), sl.ProjectedDescent(), theory="rates"), "init='manifold'"),
        (lambda: sl.ProjectedDescent(steps=1, init="manifold").train(sl.SingleLocation(9, 2)), "dim=2"),
        (lambda: sl.simulate(sl.SingleLocation(3, 9), sl.ProjectedDescent(steps=9), at=[2, 1]), r"at=\[2, 1\]"),
        (lambda: jax.jit(sl.predict)(sl.SingleLocation(), sl.ProjectedDescent()), "cannot be traced"),
        (lambda: sl.LocatedTokens([["a"]], [1.0]), "tokens has dtype"),
        (lambda: sl.LocatedTokens(np.ones((2, 3, 4)), np.ones(2), np.zeros(3)), r"locations has shape \(3,\)"),
        (lambda: sl.predict(sl.SingleLocation(), sl.ProjectedDescent(), given=sl.Overlaps(1, 1, 1, 1, 1)), "no pair"),
        (lambda: sl.predict(sl.SingleLocation(), sl.ProjectedDescent(batch=5), theory="rates"), "theory='rates'"),
        (
            lambda: sl.ProjectedDescent(steps=2).train(sl.SingleLocation(3, 9), init=(np.zeros(9), np.ones(9))),
            "length 0",
        ),
        (lambda: sl.ProjectedDescent(steps=2).train(sl.SingleLocation(3, 9), init=(np.ones(8), np.ones(8))), "shape"),
    ],
)
def test_bad_input_is_answered_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "accepted" in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sl.ProjectedDescent(steps=2).train("data"), "problem=str .* SingleLocation or LocatedTokens"),
        (lambda: sl.LocatedTokens(np.ones((2, 3, 4)), np.ones(2), directions=3), "directions=int"),
        (lambda: sl.predict(sl.SingleLocation(), sl.ProjectedDescent(), given={"start": 3}), "given start=int"),
    ],
)
def test_wrong_objects_are_answered_in_a_sentence(call, message):
    with pytest.raises(TypeError, match=message) as error:
        call()
    assert "accepted" in str(error.value)


def test_claims_follow_the_setting():
    """Where simulation shows less (docs/corners.md) the prediction claims no more than a heuristic, or has a code."""
    task, start = sl.SingleLocation(3, 12), sl.Overlaps(0.3, 0.2, 0.1, 0.1, 0.0)

    def claim(theory, name="final_excess_risk", task=task, throw=True, **options):
        given = start if theory == "overlaps" else None
        found = sl.predict(task, sl.ProjectedDescent(**options), theory=theory, given=given, throw=throw)
        return found.status[name].claim

    assert claim("overlaps", steps=20) == "exact"
    assert claim("overlaps", steps=20, batch=4) == "heuristic"
    runs = sl.simulate(task, sl.ProjectedDescent(steps=20), samples=5, replicates=2)
    assert sl.predict(task, sl.ProjectedDescent(steps=20), given=runs).status["excess_risk"].claim == "heuristic"
    chaotic = {"inverse_temperature": 0.1, "learning_rate": 1e-3, "steps": 100}
    assert claim("overlaps", task=sl.SingleLocation(1000, 20), **chaotic) == "heuristic"
    manifold = {"inverse_temperature": 0.1, "learning_rate": 4e-3, "init": "manifold"}
    assert claim("floor", task=sl.SingleLocation(), **manifold, steps=20000) == "asymptotic"
    for other in ({"init": "sphere"}, {"steps": 10}, {"inverse_temperature": 0.9}, {"batch": 1}):
        assert claim("floor", task=sl.SingleLocation(), **{**manifold, "steps": 20000, **other}) == "heuristic"
    assert claim("rates", "query_rate", **manifold, decay=1e-3) == "heuristic"
    assert claim("rates", "escape_rate", **manifold, decay=1e-3) == "asymptotic"
    found = sl.predict(task, sl.ProjectedDescent(0.1, 10.0, init="manifold"), theory="rates", throw=False)
    assert found.result == Result.CYCLING
    assert np.isnan(found.value_rate)
    with pytest.raises(ValueError, match="dim >= 3"):
        claim("rates", task=sl.SingleLocation(2, 2), init="manifold")
