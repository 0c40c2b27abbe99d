"""A chunk: the smallest piece of work that is computed and stored as one."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from solvable.lab.declare import Experiment, Overlay
from solvable.lab.store.arrays import SIMULATION, Failure, Values

FORMAT = 1
BLOCK = 8
COLUMNS = ("source", "replicate", "observable", "value", "reason")


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


@functools.lru_cache(maxsize=256)
def safe(name: str) -> str:
    """`name` with everything but letters, digits, dots and dashes replaced, so that it is one harmless file name."""
    text = "".join(char if char.isascii() and (char.isalnum() or char in ".-") else "_" for char in name)
    return text.lstrip("._") or "unnamed"


def blocks(replicates: range) -> list[range]:
    """`replicates` cut at the multiples of the block size."""
    cuts = [replicates.start, *range((replicates.start // BLOCK + 1) * BLOCK, replicates.stop, BLOCK), replicates.stop]
    return [range(start, stop) for start, stop in itertools.pairwise(cuts) if start < stop]


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
