"""The continuized method as an optax transformation: the system's runs, dtypes, wrappers, what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from solvable import optim
from solvable.iterations import continuized as co

SPECTRUM = (np.arange(1, 7) / 6.0) ** 2


@pytest.mark.parametrize("mu", [0.0, 0.02, 1.0])
def test_it_is_the_run_of_the_system_for_the_same_key(mu) -> None:
    task = co.Quadratic(SPECTRUM, np.ones(6))
    run = co.Continuized(mu).train(task, jax.random.key(3), at=range(41))
    with jax.enable_x64(True):
        for key in (3, jax.random.key(3)):
            transform = optim.continuized(1.0, mu, key)
            params, rates = {"w": jnp.ones(6)}, jnp.asarray(SPECTRUM)
            state, step = transform.init(params), jax.jit(transform.update)
            for k in range(41):
                x = optim.continuized_params(state, params)
                np.testing.assert_allclose(x["w"], run.solution[k], atol=1e-12)
                np.testing.assert_allclose(state.z["w"], run.mixing[k], atol=1e-12 * max(1, abs(run.mixing[k]).max()))
                np.testing.assert_allclose(state.time - state.wait, run.times[k], atol=1e-12)
                moves, state = step({"w": rates * params["w"]}, state, params)
                params = optax.apply_updates(params, moves)


def descend(transform, steps=200):
    params = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.asarray([1.0, -2.0])}
    state, update = transform.init(params), jax.jit(transform.update)
    for _ in range(steps):
        moves, state = update(jax.tree.map(lambda w: w, params), state, params)
        params = optax.apply_updates(params, moves)
    return params, state


def test_trees_keep_their_dtypes_and_runs_their_key() -> None:
    (params, state), (again, _), (other, _) = (descend(optim.continuized(0.5, 0.3, key), 5) for key in (1, 1, 2))
    for tree in (params, optim.continuized_params(state, params)):
        assert [leaf.dtype for leaf in jax.tree.leaves(tree)] == [jnp.bfloat16, jnp.float32]
    np.testing.assert_array_equal(params["b"], again["b"])
    assert not np.array_equal(params["b"], other["b"])
    x, state = descend(optim.continuized(0.5, 0.3))
    assert all(np.abs(np.asarray(leaf, np.float32)).max() < 1e-6 for leaf in jax.tree.leaves(x))


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_injected_hyperparameters_have_the_dtype_of_the_parameters(kind) -> None:
    transform, params = optax.inject_hyperparams(optim.continuized)(0.5, strong_convexity=0.25), jnp.ones(2, kind)
    state = transform.init(params)
    for _ in range(60):
        moves, state = jax.jit(transform.update)(params, state, params)
        params = optax.apply_updates(params, moves)
    assert params.dtype == kind
    assert jnp.abs(optim.continuized_params(state, params)).max() < 1e-2


def test_it_lives_in_other_transformations() -> None:
    plain, _ = descend(optim.continuized(0.5, 0.3, 4), 6)
    with jax.numpy_dtype_promotion("standard"):  # optax promotes the dtypes of a mixed tree
        injected, state = descend(optax.inject_hyperparams(optim.continuized)(0.5, strong_convexity=0.3, key=4), 6)
        assert optim.continuized_params(state, injected)["b"].shape == (2,)
        clipped, state = descend(optax.chain(optax.clip_by_global_norm(100.0), optim.continuized(0.5, 0.3, 4)), 6)
    np.testing.assert_allclose(plain["b"], injected["b"], rtol=1e-6)
    np.testing.assert_allclose(plain["b"], clipped["b"], rtol=1e-6)
    scheduled, _ = descend(optim.continuized(optax.constant_schedule(0.5), 0.3, 4), 6)
    np.testing.assert_allclose(plain["b"], scheduled["b"], rtol=1e-6)
    partly = optax.masked(optim.continuized(0.5), {"a": False, "b": True})
    params = {"a": jnp.ones(1), "b": jnp.ones(1)}
    state = partly.init(params)
    moves, state = partly.update(params, state, params)
    x = optim.continuized_params(state, optax.apply_updates(params, moves))
    assert float(x["a"][0]) == 2.0  # what is masked is passed on
    assert float(x["b"][0]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.continuized(0.0), ValueError, "learning_rate=0 is out of range"),
        (lambda: optim.continuized(0.1, -1.0), ValueError, "strong_convexity=-1 is out of range"),
        (lambda: optim.continuized(0.1, 11.0), ValueError, "strong_convexity=11 is above 1/learning_rate=10; accepted"),
        (lambda: optim.continuized(0.1, key=0.5), ValueError, "key=0.5 is not a whole number"),
        (lambda: optim.continuized(0.1, key="seed"), ValueError, "key='seed'"),
        (lambda: optim.continuized(0.1, key=[1.0, 2.0]), TypeError, "key=list is not accepted"),
        (lambda: optim.continuized(0.1).init({"n": jnp.ones(2, int)}), ValueError, r"params\['n'\] has dtype int32"),
        (lambda: optim.continuized(0.1).update(1.0, None), ValueError, "params=None was given to update"),
        (
            lambda: optim.continuized_params(optax.sgd(0.1).init(1.0), 1.0),
            ValueError,
            "state=tuple holds 0 ContinuizedState; accepted",
        ),
    ],
)
def test_bad_input_is_named(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()
