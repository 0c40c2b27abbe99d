"""Engines: where the missing chunks are computed. They differ in speed, never in the numbers.

The same chunk gives the same bits wherever it is computed with one thread, which is what every worker and the command
line use; with several XLA threads, in a session of your own, sums are taken in another order and the last digits may
differ.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from solvable.lab.store.chunk import Chunk, Computed
    from solvable.lab.store.store import Store

ENGINES = ("in-process", "loky", "dask", "submitit")
# the package that an engine needs, and the extra that installs it
_NEEDS: dict[str, tuple[str, str]] = {"dask": ("distributed", "dask"), "submitit": ("submitit", "slurm")}


class Engine(Protocol):
    """What computes chunks."""

    def run(self, chunks: Sequence[Chunk], store: Store) -> Generator[tuple[Chunk, Computed | None]]:
        """Each chunk with what came of it, in the order in which they finish; None where a worker has stored it."""
        ...


def engine_of(engine: Any = None, *, jobs: int | None = None, address: str | None = None) -> Engine:
    """The engine of that name, or one around a `concurrent.futures.Executor` of yours.

    `jobs` is the number of workers (with loky, unless another engine is named), `address` that of a Dask scheduler.

    Raises: ValueError for an engine, jobs or address that is not accepted; ImportError naming the extra to install.
    """
    from concurrent.futures import Executor

    from solvable.lab.running.engines import pool
    from solvable.numerics.validation import choice, integer

    if jobs is not None:
        jobs = integer("jobs", jobs, at_least=1)
    if engine is not None and not isinstance(engine, str):
        if not isinstance(engine, Executor):
            names = ", ".join(map(repr, ENGINES))
            raise ValueError(f"engine={engine!r} is not accepted; accepted: {names}, or a concurrent.futures.Executor")
        if address is not None:
            raise ValueError(f"address={address!r} is not accepted with an executor; accepted: engine='dask'")
        return pool.borrowed(engine, jobs or os.cpu_count() or 1)
    name = choice("engine", engine or ("dask" if address else "loky" if jobs else "in-process"), ENGINES)
    if address is not None and name != "dask":
        raise ValueError(f"address={address!r} is not accepted with engine={name!r}; accepted: engine='dask'")
    if address is not None and jobs is not None:
        raise ValueError(f"jobs={jobs} is not accepted with address={address!r}, whose workers are there already")
    if name == "in-process":
        if jobs not in (None, 1):
            raise ValueError(f"jobs={jobs} is not accepted with engine='in-process'; accepted: 1, or engine='loky'")
        return pool.in_process()
    workers = jobs or os.cpu_count() or 1
    if name == "loky":
        return pool.loky(workers)
    package, extra = _NEEDS[name]
    if find_spec(package) is None:
        raise ImportError(f"engine={name!r} needs {package}, which is not installed: pip install 'solvable[{extra}]'")
    if name == "dask":
        from solvable.lab.running.engines import dask

        return dask.engine(address, workers)
    from solvable.lab.running.engines import slurm

    return slurm.Submitit(workers)


def installed() -> dict[str, str | None]:
    """Every engine, with the extra that it lacks (None where it can be used)."""
    lacking = {name: extra for name, (package, extra) in _NEEDS.items() if find_spec(package) is None}
    return {name: lacking.get(name) for name in ENGINES}
