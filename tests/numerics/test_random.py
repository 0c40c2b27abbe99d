"""Draws of several dimensions are JAX's own, bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.numerics.random import normal, uniform


@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_numbers_are_those_of_jax(shape, dtype):
    with jax.enable_x64(True):
        key = jax.random.fold_in(jax.random.key(3), 1)
        for ours, theirs in ((normal, jax.random.normal), (uniform, jax.random.uniform)):
            found = ours(key, shape, dtype)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, theirs(key, shape, dtype))


def test_they_are_mapped_like_those_of_jax():
    keys = jax.random.split(jax.random.key(0), 3)
    found = jax.vmap(lambda key: normal(key, (2, 5), jnp.float32))(keys)
    np.testing.assert_array_equal(found, jax.vmap(lambda key: jax.random.normal(key, (2, 5), jnp.float32))(keys))
    assert uniform(keys[0], (2, 2)).dtype == jnp.float32
