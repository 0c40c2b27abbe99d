"""Compiled functions are dropped when they hold many memory maps, and work again afterwards."""

import sys

import jax
import numpy as np
import pytest

from solvable.numerics.memory_maps import MAPS, release_compiled_functions


def held() -> int:
    return len(MAPS.read_bytes().splitlines())


@pytest.mark.skipif(sys.platform != "linux", reason="memory maps are counted on Linux")
def test_compiled_functions_are_dropped_and_come_back():
    def made(count):
        function = jax.jit(lambda x: x * count + 1.0)
        return function, function(np.ones(3, np.float32))

    functions = [made(count) for count in range(40)]
    before = held()
    assert not release_compiled_functions(share=1.0)
    assert held() >= before
    assert release_compiled_functions(share=0.0)
    assert held() < before - 100
    for count, (function, value) in enumerate(functions):
        np.testing.assert_array_equal(function(np.ones(3, np.float32)), value, err_msg=str(count))
