"""A chunk: the smallest piece of work that is computed and stored as one. `compute` is a pure function of it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from solvable.lab.declare import Experiment, Overlay
from solvable.lab.store.arrays import SIMULATION, Failure, Values

FORMAT = 1
BLOCK = 8
COLUMNS = ("source", "replicate", "observable", "value", "reason")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A block of replicates of a cell with its conditional predictions, or one unconditional overlay of a cell."""

    cell: Experiment
    replicates: range | None = None
    overlay: Overlay | None = None

    @property
    def name(self) -> str:
        """The name under which it is stored: the hash of its cell, then the replicates (start-stop) or the overlay."""
        if self.overlay is not None:
            label = safe(self.overlay.label)
            if label != self.overlay.label:  # which others may share
                label += "-" + hashlib.sha256(self.overlay.label.encode()).hexdigest()[:8]
            return f"{cell_hash(self.cell)}-{label}"
        assert self.replicates is not None
        return f"{cell_hash(self.cell)}-{self.replicates.start}-{self.replicates.stop}"

    @property
    def sources(self) -> list[str]:
        """The labels of everything it computes."""
        if self.overlay is not None:
            return [self.overlay.label]
        return [SIMULATION, *(overlay.label for overlay in self.cell.applicable() if overlay.given)]


@dataclasses.dataclass(frozen=True)
class Computed:
    """What came of a chunk: the values of the sources that succeeded, the failures of those that raised, and where."""

    values: Mapping[str, Values]
    failures: Sequence[Failure]
    environment: Mapping[str, Any] | None = None


def cell_hash(cell: Experiment) -> str:
    """96 bits over the experiment's name, its canonical parameters, the version of its numbers, the store's format."""
    frozen: Any = cell  # so it has a hash, which type checkers do not see
    return _digest(frozen, cell.numbers)


@functools.lru_cache(maxsize=1024)  # the chunks of one cell follow each other
def _digest(cell: Any, numbers: int) -> str:
    text = json.dumps([FORMAT, cell.name, cell.canonical(), numbers])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def safe(name: str) -> str:
    """`name` with everything but letters, digits, dots and dashes replaced, so that it is one harmless file name."""
    text = "".join(char if char.isascii() and (char.isalnum() or char in ".-") else "_" for char in name)
    return text.lstrip("._") or "unnamed"


def blocks(replicates: range) -> list[range]:
    """`replicates` cut at the multiples of the block size."""
    cuts = [replicates.start, *range((replicates.start // BLOCK + 1) * BLOCK, replicates.stop, BLOCK), replicates.stop]
    return [range(start, stop) for start, stop in itertools.pairwise(cuts) if start < stop]


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


@functools.cache
def environment(device: bool = True) -> Mapping[str, Any]:
    """Versions and device, as they are stored with every chunk; without the device, JAX is not started."""
    from importlib.metadata import version

    names = ("solvable", "jax", "jaxlib", "numpy", "scipy")
    found = {"versions": {"python": platform.python_version(), **{name: version(name) for name in names}}, "device": ""}
    if device:
        import jax

        first = jax.devices()[0]
        found["device"] = f"{first.platform}: {first.device_kind}"
    return found


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
