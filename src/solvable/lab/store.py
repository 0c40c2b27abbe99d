"""The store: one Parquet file a finished chunk, written so that a crash leaves either the whole file or none.

A folder holds one subfolder per experiment. Its files `<cell>-<start>-<stop>.parquet` (a block of replicates with its
conditional predictions) and `<cell>-<overlay>.parquet` are tidy long tables. What starts with an underscore is no
data, and pandas and pyarrow skip it: `_<chunk>.failed.json` records what raised, `_<chunk>.parquet.damaged` is a file
that was set aside.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from solvable.lab.chunk import FORMAT, Chunk, Computed, cell_hash, safe
from solvable.lab.experiment import Experiment
from solvable.lab.values import Failure, Values, plain


class StoreError(RuntimeError):
    """What is stored is missing, damaged, or from a newer version; the message names it."""


class DamagedError(StoreError):
    """A file's content does not match its checksum, or cannot be read."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """One file read back: its facts (the JSON of its schema metadata) and the values of each source."""

    facts: Mapping[str, Any]
    values: Mapping[str, Values]


class Store:
    """The chunks stored under one folder."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"out={str(folder)!r} is a file; accepted: a folder, or a name that is free")

    def subfolder(self, experiment: type[Experiment] | Experiment) -> Path:
        """Where the chunks of one experiment lie."""
        return self.folder / safe(experiment.name)

    def path(self, chunk: Chunk) -> Path:
        """Where a chunk is, or will be, stored."""
        return self.subfolder(chunk.cell) / f"{chunk.name}.parquet"

    def write(self, chunk: Chunk, computed: Computed) -> Mapping[str, Any]:
        """Store what came of a chunk and return the facts stored with it.

        Failures are recorded beside it, and cleared once it succeeds.
        """
        from solvable.lab import table

        path, failed = self.path(chunk), self._failed_path(chunk)
        facts = {
            "format": FORMAT,
            "experiment": chunk.cell.name,
            "source": chunk.cell.source,
            "numbers": chunk.cell.numbers,
            "parameters": json.loads(parameters_text(chunk.cell)),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **environment(),
        }
        if computed.failures:
            text = json.dumps(
                plain({**facts, "failures": [_failure_to_json(item) for item in computed.failures]}), indent=1
            )
            _write_whole(failed, text.encode())
        if computed.values:
            _write_whole(path, table.encode(chunk.cell, facts, computed.values))
        if not computed.failures:
            failed.unlink(missing_ok=True)
        return facts

    def read(self, chunk: Chunk) -> Stored | None:
        """A chunk that was stored, in whole or in part; None when there is none. A damaged file is set aside."""
        return self._read_or_set_aside(self.path(chunk))

    def failures(self, chunk: Chunk) -> list[Failure]:
        """What raised when the chunk was last computed."""
        return read_failures(self._failed_path(chunk))[1]

    def blocks(self, cell: Experiment, names: Mapping[str, set[str]]) -> dict[range, Chunk]:
        """The blocks of replicates of a cell that are stored or recorded as failed, given `listing()`."""
        found = {}
        for text in names.get(cell_hash(cell), ()):
            start, _, stop = text.partition("-")
            if start.isdecimal() and stop.isdecimal():
                block = range(int(start), int(stop))
                found[block] = Chunk(cell, block)
        return found

    def listing(self, experiment: type[Experiment]) -> dict[str, set[str]]:
        """What is there, by the hash of the cell: one listing of the folder, no file is opened."""
        names: dict[str, set[str]] = {}
        folder = self.subfolder(experiment)
        for entry in os.listdir(folder) if folder.is_dir() else ():
            stem = entry.removeprefix("_").removesuffix(".failed.json").removesuffix(".parquet")
            if entry.endswith((".parquet", ".failed.json")):
                cell, _, rest = stem.partition("-")
                names.setdefault(cell, set()).add(rest)
        return names

    def files(self) -> Iterator[Path]:
        """Every data file."""
        return (path for path in sorted(self.folder.glob("*/*.parquet")) if not path.name.startswith("_"))

    def failed_files(self) -> Iterator[Path]:
        """Every record of a failure."""
        return iter(sorted(self.folder.glob("*/_*.failed.json")))

    def damaged_files(self) -> Iterator[Path]:
        """Every file that was set aside."""
        return iter(sorted(self.folder.glob("*/_*.damaged*")))

    def _failed_path(self, chunk: Chunk) -> Path:
        return self.subfolder(chunk.cell) / f"_{chunk.name}.failed.json"

    def _read_or_set_aside(self, path: Path) -> Stored | None:
        try:
            return read_file(path)
        except FileNotFoundError:
            return None
        except DamagedError as error:
            aside = _free_name(path.with_name(f"_{path.name}.damaged"))
            os.replace(path, aside)
            warnings.warn(f"{error}; it is set aside as {aside.name} and will be computed again", stacklevel=2)
            return None


def read_file(path: Path) -> Stored:
    """The content of one data file.

    Raises: FileNotFoundError; DamagedError when it is truncated, edited or foreign; StoreError when a newer version
    wrote it.
    """
    from solvable.lab import table

    data = path.read_bytes()
    try:
        facts, values = table.decode(data)
    except table.NewerFormatError:
        raise StoreError(f"{path} was written by a newer version of solvable; update solvable to read it") from None
    except Exception as error:
        raise DamagedError(f"{path} is damaged ({' '.join(str(error).split())[:120]})") from error
    return Stored(facts, values)


def read_failures(path: Path) -> tuple[Mapping[str, Any], list[Failure]]:
    """The facts and the failures of one failure record; nothing when there is none or it cannot be read."""
    try:
        facts = json.loads(path.read_text())
        found = [
            Failure(
                item["source"],
                range(*item["replicates"]) if item["replicates"] else None,
                item["kind"],
                item["message"],
            )
            for item in facts["failures"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return {}, []
    return facts, found


def parameters_text(cell: Experiment) -> str:
    """The parameters as strict JSON; an infinite one is written as the text that reads back as it."""
    parameters = cell.model_dump(mode="json")
    infinite = {
        name: str(value)
        for name, value in parameters.items()
        if isinstance(value, float) and abs(value) == float("inf")
    }
    return json.dumps({**parameters, **infinite}, allow_nan=False)


@functools.cache
def environment() -> Mapping[str, Any]:
    """Versions and device, as they are stored with every chunk."""
    from importlib.metadata import version

    import jax

    names = ("solvable", "jax", "jaxlib", "numpy", "scipy")
    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in names}},
        "device": f"{device.platform}: {device.device_kind}",
    }


def _write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"_{path.name.removeprefix('_')}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the new name is durable only once its folder is
    finally:
        os.close(descriptor)


def _free_name(path: Path) -> Path:
    candidate, count = path, 1
    while candidate.exists():
        candidate, count = path.with_name(f"{path.name}.{count}"), count + 1
    return candidate


def _failure_to_json(failure: Failure) -> dict[str, Any]:
    span = None if failure.replicates is None else [failure.replicates.start, failure.replicates.stop]
    return {"source": failure.source, "replicates": span, "kind": failure.kind, "message": failure.message}
