"""How every test runs: strict JAX, one thread a worker, a compilation cache, reproducible examples, no display.

The environment is set before JAX is imported, and reaches the xdist workers and the tests' own subprocesses.
"""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ["NPROC"] = "1"  # the size of XLA's thread pool; its flag for one-threaded Eigen leaves the pool as it is
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).resolve().parents[1] / ".jax-cache")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# Compiling was half of what the tests cost, and takes a third of the time so; the numbers differ by rounding alone.
# With an empty XLA_FLAGS the tests compile as users do: so `.ci/run` runs the numerics and the slow tests.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false")

import hypothesis
import jax
import pytest
import threadpoolctl

from solvable.numerics.memory_maps import release_compiled_functions

# A plugin of pytest's imports NumPy before this file sets the variables above.
threadpoolctl.threadpool_limits(1)

# Double precision stays off here: the library's public calls switch it on for themselves.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

hypothesis.settings.register_profile("house", deadline=None, derandomize=True, max_examples=25, database=None)
hypothesis.settings.load_profile("house")

LONG = frozenset(Path(__file__).with_name("long.txt").read_text(encoding="utf-8").splitlines())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `long.txt` names: those that took 5 s or more when it was made."""
    for item in items:
        if item.nodeid in LONG:
            item.add_marker("long")


@pytest.fixture(scope="module", autouse=True)
def memory_maps() -> Iterator[None]:
    """After each file: a worker with the compiled functions of eight hundred tests ran out of memory maps and died."""
    yield
    release_compiled_functions()
