"""A chunk computed: a pure function of the chunk, wherever it runs."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable

import numpy as np

from solvable.lab.declare import Experiment
from solvable.lab.store.arrays import SIMULATION, Failure, Values
from solvable.lab.store.chunk import COLUMNS, Chunk, Computed, environment

log = logging.getLogger(__name__)


def compute(chunk: Chunk) -> Computed:
    """Simulate or predict one chunk. An error of the cell becomes a failure; the other sources are kept."""
    from solvable.numerics.memory_maps import release_compiled_functions

    release_compiled_functions()  # of the chunks before, in a sweep over thousands of shapes
    cell, values, failures = chunk.cell, {}, []
    if chunk.overlay is not None:
        overlays, outcome = [chunk.overlay], None
    else:
        assert chunk.replicates is not None
        try:
            outcome = _simulate(cell, chunk.replicates)
            values[SIMULATION] = _checked(_named(cell, Values.of(outcome, chunk.replicates)), SIMULATION, failures)
        except (Exception, SystemExit) as error:
            return Computed({}, [_failure(SIMULATION, chunk.replicates, error)], environment())
        overlays = [overlay for overlay in cell.applicable() if overlay.given]
    for overlay in overlays:
        try:
            predicted = cell.predict(overlay, given=outcome)
            predicted = Values.of(predicted, chunk.replicates, type(cell).status(overlay))
            values[overlay.label] = _checked(_named(cell, predicted), overlay.label, failures)
        except (Exception, SystemExit) as error:
            failures.append(_failure(overlay.label, chunk.replicates, error))
    return Computed(values, failures, environment())


def check(cells: Iterable[Experiment]) -> None:
    """Build the task and the algorithm of every cell, so that a bound is met before anything is computed.

    Raises: ValueError naming the argument, its value and what is accepted.
    """
    for cell in cells:
        with contextlib.suppress(NotImplementedError):  # a declaration may simulate and predict in its own way
            cell.built()


def _simulate(cell: Experiment, replicates: range):
    import jax

    with jax.enable_x64(True):  # a seed has 63 bits
        key = jax.random.key(cell.seed())
    return cell.simulate(key, replicates)


def _named(cell: Experiment, values: Values) -> Values:
    """The declared observables of `values`, whose names parameters, dims and the store's columns must not share."""
    declared = {observable.name for observable in cell.observables}
    if values.arrays and not declared & values.arrays.keys():
        names, there = (", ".join(map(repr, sorted(found))) for found in (declared, values.arrays))
        raise ValueError(f"{cell.name} declares the observables {names}; the outcome has {there}")
    values = dataclasses.replace(
        values,
        arrays={name: array for name, array in values.arrays.items() if name in declared},
        errors={name: array for name, array in values.errors.items() if name in declared},
        dims={name: dims for name, dims in values.dims.items() if name in declared},
    )
    taken = {*COLUMNS, *values.arrays, *values.coordinates}
    for name in type(cell).model_fields:
        if name in taken:
            raise ValueError(
                f"parameter {name!r} of {cell.name} has the name of a dim, an observable or a column; rename it"
            )
    return values


def _checked(values: Values, source: str, failures: list[Failure]) -> Values:
    """The values; a replicate that reports success and yet holds a NaN gets a reason, and a failure is recorded."""
    replicated = values.replicates is not None
    reasons = list(values.reasons)
    for name, array in values.arrays.items():
        lost = np.isnan(array.reshape(len(reasons), -1)).any(axis=1) & np.array([not reason for reason in reasons])
        if lost.any():
            amount = f" in {lost.sum()} of {len(reasons)} replicates" if replicated else ""
            message = f"{name} is NaN{amount}, although the run reports success"
            span = None if values.replicates is None else range(values.replicates[0], values.replicates[-1] + 1)
            failures.append(Failure(source, span, "NaN", message))
            reasons = [f"{name} is NaN" if gone else reason for gone, reason in zip(lost, reasons, strict=True)]
    return dataclasses.replace(values, reasons=reasons)


def _failure(source: str, replicates: range | None, error: BaseException) -> Failure:
    log.debug("%s failed", source, exc_info=error)
    message = " ".join(str(error).split()) or "no message"
    if not isinstance(error, ValueError | RuntimeError):  # others say little without their name: KeyError: 'dim'
        message = f"{type(error).__name__}: {message}"
    return Failure(source, replicates, type(error).__name__, message)
