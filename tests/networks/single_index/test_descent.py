"""The chain against weights in d dimensions, in law; SGD against the flow."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest

from solvable.networks import single_index as si
from solvable.networks.single_index import chain
from solvable.networks.single_index.overlaps import Start, coordinates_of, generator, random_coordinates

TARGET, ACTIVATION = (0.6, 0.8, 0.6, 0.5), (0.4, 0.5, 0.3, 0.2)
TASK = si.SingleIndex(TARGET, 0.3)


def runs(algorithm, dim, full, seeds, stops):
    """a, s (R, K, m) and the risk (R, K) from one start, in the chain or in full."""
    m = algorithm.neurons
    start = random_coordinates(generator(jax.random.key(3), 0), m, dim)
    weights = np.pad(start, ((0, 0), (0, dim - m - 1))) if full else start
    one = algorithm.model(TASK)
    plan = chain.plan_of(one, TASK.target, algorithm.activation, m, algorithm.batch, dim, full)
    rates = float(algorithm.inner_rate / algorithm.rate_ratio), float(algorithm.inner_rate), float(TASK.noise)
    keys = jax.random.split(jax.random.key(1 + full), seeds)
    with jax.enable_x64(True):
        found = [chain.run(one, plan, rates, algorithm.outer, weights, key, np.array(stops)) for key in keys]
    return [np.stack(part) for part in zip(*found, strict=True)][:3]


@pytest.mark.parametrize(("batch", "dim", "inner"), [(4, 20, 0.1), (1, 30, 0.03)])
def test_the_chain_has_the_law_of_descent(batch, dim, inner) -> None:
    """Means and variances after forty large steps, with a rotation at every step and at every seventh."""
    algorithm = si.Descent(0.5, inner, batch, "tanh", 6, np.linspace(-1.0, 1.5, 6))
    both = [runs(algorithm, dim, full, 400, [1, 40]) for full in (False, True)]
    for stop in (0, 1):
        for pick in (
            lambda a, s, risk: risk,
            lambda a, s, risk: s[..., 1],
            lambda a, s, risk: s[..., 0] * s[..., 1],
            lambda a, s, risk: a[..., 2],
        ):
            x, y = (pick(*side)[:, stop] for side in both)
            assert abs(x.mean() - y.mean()) < 4.0 * math.sqrt((x.var() + y.var()) / 400)
            spread = [((one - one.mean()) ** 2) for one in (x, y)]
            apart = spread[0].mean() - spread[1].mean()
            assert abs(apart) < 4.0 * math.sqrt((spread[0].var() + spread[1].var()) / 400)


def test_what_is_drawn_for_a_step_has_the_moments_of_a_wishart_matrix() -> None:
    one = si.GradientFlow(0.1, "tanh", 3).model(TASK)
    plan = chain.plan_of(one, TARGET, "tanh", 3, 4, 30, False)
    drawn = np.concatenate([chain.draws(plan, generator(jax.random.key(0), block)) for block in range(4)])[:, :, :-1]
    assert drawn.shape[1:] == (4, 8)
    products = np.einsum("nik,njk->nij", drawn, drawn)
    # X X^T of four rows in thirty dimensions: mean d, variances 2 d and d
    np.testing.assert_allclose(products.mean(0), 30.0 * np.eye(4), atol=4.0 * math.sqrt(60.0 / len(drawn)))
    expected = 30.0 * (np.ones((4, 4)) + np.eye(4))
    np.testing.assert_allclose(products.var(0), expected, rtol=0.15)


def test_random_weights_have_the_overlaps_of_uniform_ones() -> None:
    draw = generator(jax.random.key(0), 5)
    found = [np.stack([random_coordinates(draw, 3, 6, full) for _ in range(4000)]) for full in (False, True)]
    for one in found:
        s, gram = one[:, :, 0], np.einsum("rid,rjd->rij", one, one)
        np.testing.assert_allclose(gram[:, [0, 1, 2], [0, 1, 2]], 1.0)
        for value, mean in (
            (s[:, 1] ** 2, 1 / 6),
            (s[:, 2] ** 4, 3 / 48),
            (gram[:, 0, 1] ** 2, 1 / 6),
            (s[:, 0] * s[:, 1] * gram[:, 0, 1], 1 / 36),
            (gram[:, 0, 1] * gram[:, 0, 2] * gram[:, 1, 2], 1 / 36),
        ):
            assert abs(value.mean() - mean) < 4.0 * value.std() / math.sqrt(4000)


def test_coordinates_have_the_overlaps_asked_for() -> None:
    weights = random_coordinates(generator(jax.random.key(0), 1), 5, 9)
    start = Start(np.ones(5), weights[:, 0], weights @ weights.T)
    found = coordinates_of(start)
    np.testing.assert_allclose(found[:, 0], start.alignment, atol=1e-14)
    np.testing.assert_allclose(found @ found.T, start.gram, atol=1e-14)


@pytest.mark.parametrize("dim", [110, 1000])
def test_small_steps_follow_the_flow_from_their_start(dim) -> None:
    """inner_rate x dim = .1, batch 64: within .04 at all times, learning times within a tenth."""
    algorithm = si.Descent(1e-2, 0.1 / dim, 64, ACTIVATION, 20, "uniform")
    run = si.simulate(TASK, algorithm, dim=dim, at=np.geomspace(1e-2, 1.0, 15), key=jax.random.key(4))
    flow = si.predict(TASK, algorithm, given=run)
    assert np.abs(flow.risk - run.risk).max() < 0.04
    assert flow.status["risk"].claim == "asymptotic"
    np.testing.assert_allclose(run.learning_times[0, :3], flow.learning_times[0, :3], rtol=0.1)


def test_steps_do_not_depend_on_where_one_looks() -> None:
    algorithm = si.Descent(1e-2, 1e-3, 2, "relu", 5)
    one = si.simulate(TASK, algorithm, dim=50, at=[0.3], replicates=2)
    two = si.simulate(TASK, algorithm, dim=50, at=[0.001, 0.017, 0.3], replicates=range(1, 2))
    np.testing.assert_allclose(one.alignment[1, -1], two.alignment[0, -1], rtol=1e-9)


def test_a_function_of_numpy_trains_as_its_name_does() -> None:
    one, two = (
        si.simulate(TASK, si.Descent(1e-2, 1e-2, 1, function, 4), dim=30, at=[0.2])
        for function in ("tanh", lambda x: np.tanh(x))
    )
    np.testing.assert_allclose(one.outer, two.outer, rtol=1e-6)
    np.testing.assert_allclose(one.risk, two.risk, rtol=1e-6)


@pytest.mark.parametrize("batch", [1, 8])
def test_a_target_that_is_a_function_trains_as_its_name_does(batch) -> None:
    found = [
        si.simulate(si.SingleIndex(target), si.Descent(0.1, 1e-3, batch, activation, 3), dim=20, at=[0.1])
        for target, activation in (("tanh", "tanh"), (np.tanh, "tanh"), (np.tanh, np.tanh))
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other.outer, found[0].outer, rtol=1e-6)


def test_parallel_weights_do_not_stop_the_rotation() -> None:
    """Weights that coincide, or point along u*: the Cholesky factor fails, QR does not."""
    start = Start([1.0, 1.0, 0.5], [1.0, 1.0, 0.6], [[1.0, 1.0, 0.6], [1.0, 1.0, 0.6], [0.6, 0.6, 1.0]])
    algorithm = si.Descent(0.1, 1e-3, 1, "relu", 3, [1.0, 1.0, 0.5])
    run = algorithm.train(si.SingleIndex("relu"), init=start, at=[0.05])
    assert np.isfinite(run.risk).all()
    assert np.abs(run.alignment).max() <= 1.0 + 1e-9
