"""The store: one Parquet file a finished chunk, written so that a crash leaves either the whole file or none.

A folder holds one subfolder per experiment. Its files `<cell>-<start>-<stop>.parquet` (a block of replicates with its
conditional predictions) and `<cell>-<overlay>.parquet` are tidy long tables. What starts with an underscore is no
data, and pandas and pyarrow skip it: `_<chunk>.failed.json` records what raised, `_<chunk>.parquet.damaged` is a file
that was set aside, `_index.arrow` spares the next reader the opening of every file.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from solvable.lab.declare import Experiment
from solvable.lab.store.arrays import Failure, plain
from solvable.lab.store.atomic import DamageWarning, StoreError, unwritable, write_whole
from solvable.lab.store.chunk import FORMAT, Chunk, Computed, environment, safe
from solvable.lab.store.index import Shelf, Stored, read_data


class Store:
    """The chunks stored under one folder. A folder is listed when it is first asked for."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._shelves: dict[str, Shelf] = {}
        if not str(folder):
            raise ValueError("out='' is empty; accepted: a folder, or a name that is free")
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"out={str(folder)!r} is a file; accepted: a folder, or a name that is free")

    def shelf(self, experiment: type[Experiment] | Experiment) -> Shelf:
        """The files of one experiment."""
        found = self._shelf(safe(experiment.name))
        found.former = {old: one.name for one in experiment.observables for old in one.was}
        return found

    def _shelf(self, name: str) -> Shelf:
        found = self._shelves.get(name)
        if found is None:
            found = self._shelves[name] = Shelf(self.folder / name)
        return found

    def shelves(self) -> Sequence[Shelf]:
        """The files of every experiment."""
        folders = [path for path in self.folder.iterdir() if path.is_dir()] if self.folder.is_dir() else []
        return [self._shelf(path.name) for path in sorted(folders) if not path.name.startswith("_")]

    def prepare(self, experiment: type[Experiment]) -> None:
        """Make the folder of an experiment.

        Raises: WriteError when it cannot be made or written, before anything is computed.
        """
        path = self.shelf(experiment).path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path, error.strerror or str(error)) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise unwritable(path, "it is read-only")

    def write(self, chunk: Chunk, computed: Computed, *, index: bool = True) -> Mapping[str, Any]:
        """Store what came of a chunk and return the facts stored with it.

        Failures are recorded beside it, and cleared once it succeeds. Without `index`, the folder is not listed.

        Raises: WriteError when the folder cannot be written.
        """
        from solvable.lab.store import parquet

        failed = self._failed(chunk)
        facts = {
            "format": FORMAT,
            "chunk": chunk.name,
            "experiment": chunk.cell.name,
            "source": chunk.cell.source,
            "numbers": chunk.cell.numbers,
            "parameters": parameters_of(chunk.cell),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **(computed.environment or environment(device=False)),
        }
        if computed.failures:
            failures = [_failure_to_json(item) for item in computed.failures]
            # First, and with what will follow: who waits for this chunk must not take half of it for the whole.
            record = {**facts, "sources": list(computed.values), "failures": failures}
            write_whole(failed, json.dumps(plain(record), indent=1).encode())
        else:
            failed.unlink(missing_ok=True)
        if computed.values:
            data, content = parquet.encode(chunk.cell, facts, computed.values)
            if index:
                self.shelf(chunk.cell).add(chunk.name, data, content)
            else:
                write_whole(self._path(chunk), data)
        return facts

    def finished(self, chunk: Chunk) -> bool:
        """Whether everything of a chunk is stored. A damaged file is set aside."""
        shelf, name = self.shelf(chunk.cell), chunk.name
        stored = None if name in shelf.failed else shelf.sources(name, mend=True)
        return stored is not None and stored.issuperset(chunk.sources)

    def holds(self, chunk: Chunk) -> bool:
        """As `finished`, by a look at the chunk's own files: for one chunk, without a listing of the folder."""
        try:
            content = None if self._failed(chunk).exists() else read_data(self._path(chunk))
        except (FileNotFoundError, StoreError):
            return False
        return content is not None and set(json.loads(content.layout)).issuperset(chunk.sources)

    def read(self, chunk: Chunk) -> Stored | None:
        """A chunk that was stored, in whole or in part; None when there is none. A damaged file is set aside."""
        return self.shelf(chunk.cell).read(chunk.name, mend=True)

    def failures(self, chunk: Chunk) -> list[Failure]:
        """What raised when the chunk was last computed."""
        return read_failures(self._failed(chunk))[1]

    def _path(self, chunk: Chunk) -> Path:
        return self.folder / safe(chunk.cell.name) / f"{chunk.name}.parquet"

    def _failed(self, chunk: Chunk) -> Path:
        return self.folder / safe(chunk.cell.name) / f"_{chunk.name}.failed.json"

    def failed_files(self) -> list[Path]:
        """Every record of a failure."""
        return sorted(self.folder.glob("*/_*.failed.json"))

    def damaged_files(self) -> list[Path]:
        """Every file that was set aside."""
        return sorted(self.folder.glob("*/_*.damaged*"))


def read_failures(path: Path) -> tuple[Mapping[str, Any], list[Failure]]:
    """The facts and the failures of one failure record; nothing when there is none or it cannot be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        facts = json.loads(path.read_text())
        items = [(one, range(*one["replicates"]) if one["replicates"] else None) for one in facts["failures"]]
        found = [Failure(str(one["source"]), span, one["kind"], one["message"]) for one, span in items]
        if {"chunk", "experiment", "parameters", "numbers", "versions", "device"} <= facts.keys():
            return facts, found
    if path.exists():
        sentence = f"{path} is no record of a failure that can be read; it is passed over"
        warnings.warn(DamageWarning(sentence, path.name), stacklevel=3)
    return {}, []


def parameters_of(cell: Experiment) -> dict[str, Any]:
    """The parameters as strict JSON can hold them; an infinite one is the text that reads back as it."""
    values = cell.model_dump(mode="json")
    return {name: str(value) if value in (math.inf, -math.inf) else value for name, value in values.items()}


def _failure_to_json(failure: Failure) -> dict[str, Any]:
    span = None if failure.replicates is None else [failure.replicates.start, failure.replicates.stop]
    return {"source": failure.source, "replicates": span, "kind": failure.kind, "message": failure.message}
