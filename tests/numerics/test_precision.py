"""Double precision inside the library's calls, single precision as the user left it outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.numerics.precision import as_float64, batched_map, float64


@float64
def third(x, scale=1.0):
    """One third of x."""
    return {"value": as_float64(x) * as_float64(scale) / 3.0, "name": "third", "key": jax.random.key(0)}


@float64
def cube(x):
    return as_float64(x) ** 3


def test_result_is_numpy_float64_and_the_configuration_is_untouched():
    assert not jax.config.jax_enable_x64
    result = third(1)
    assert not jax.config.jax_enable_x64
    assert isinstance(result["value"], np.ndarray)
    assert result["value"].dtype == np.float64
    assert result["value"] == 1 / 3, "this is not the double nearest to a third"
    assert jnp.asarray(1.0).dtype == jnp.float32
    # What is no number goes through as it is.
    assert result["name"] == "third"
    assert jnp.issubdtype(result["key"].dtype, jax.dtypes.prng_key)


def test_configuration_is_restored_after_an_error():
    @float64
    def fails():
        assert jax.config.jax_enable_x64
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fails()
    assert not jax.config.jax_enable_x64


def test_wrapped_call_keeps_its_name_and_docstring():
    assert (third.__name__, third.__doc__) == ("third", "One third of x.")


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2), jnp.float32(2), True])
def test_as_float64_takes_every_kind_of_number(value):
    with jax.enable_x64(True):
        converted = as_float64(value)
    assert converted.dtype == jnp.float64
    assert float(converted) == float(value)


def test_calls_work_inside_the_users_jit_grad_and_vmap():
    assert not jax.config.jax_enable_x64
    x = jnp.float32(1.5)
    np.testing.assert_allclose(jax.jit(cube)(x), 3.375, rtol=1e-15)
    np.testing.assert_allclose(jax.grad(cube)(x), 6.75, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.grad(cube))(x), 6.75, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(cube)(jnp.arange(3.0)), [0.0, 1.0, 8.0])
    assert not jax.config.jax_enable_x64


def test_gradient_is_taken_in_double_precision():
    with jax.enable_x64(True):
        # (1 + x)^2 - 1 loses everything in float32 at x = 1e-9.
        value = float64(lambda x: (1.0 + as_float64(x)) ** 2 - 1.0)
        assert float(jax.grad(value)(1e-9)) == pytest.approx(2.0 + 2e-9, rel=1e-15)
    assert float(float64(lambda x: (1.0 + as_float64(x)) ** 2 - 1.0)(1e-9)) == pytest.approx(2e-9, rel=1e-6)


def collatz(start, bound):
    """Turns of a while-loop whose length depends on the row."""
    return jax.lax.while_loop(
        lambda state: (state[0] != 1) & (state[1] < bound),
        lambda state: (jnp.where(state[0] % 2 == 0, state[0] // 2, 3 * state[0] + 1), state[1] + 1),
        (start, jnp.zeros_like(start)),
    )[1]


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_batched_map_equals_a_loop(backend, monkeypatch):
    """Row after row on a CPU and all rows at once elsewhere must not differ."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    starts, bounds = jnp.array([1, 6, 7, 27, 97]), jnp.array([5, 100, 3, 200, 200])
    loop = [int(collatz(*row)) for row in zip(starts, bounds, strict=True)]
    assert loop == [0, 8, 3, 111, 118]
    np.testing.assert_array_equal(batched_map(collatz, starts, bounds), loop)


def test_batched_map_keeps_trees():
    result = batched_map(lambda row: {"sum": jnp.sum(row), "row": row}, jnp.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(result["sum"], [1.0, 5.0, 9.0])
    assert result["row"].shape == (3, 2)
