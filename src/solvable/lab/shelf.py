"""One experiment's folder: its listing, and an index of the contents that were read and verified before.

The index is a cache in one file. It knows a data file by name, size and time of change; a file that it does not know,
or that has changed, is read and its checksum verified. It may be deleted at any time, and is passed over when damaged.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from solvable.lab import table
from solvable.lab.files import DamagedError, StoreError, free_name, write_whole
from solvable.lab.table import Content
from solvable.lab.values import Values

INDEX = "_index.arrow"
_VERSION = b"solvable index 1\n"
_SCHEMA = pa.schema(
    [
        ("stem", pa.string()),
        ("size", pa.int64()),
        ("changed", pa.int64()),
        ("experiment", pa.string()),
        ("sources", pa.string()),
        ("facts", pa.string()),
        ("layout", pa.string()),
        ("numbers", pa.list_(pa.float64())),
    ]
)


class Shelf:
    """The data files of one folder, by stem (the name without `.parquet`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stat: dict[str, tuple[int, int]] = {}
        self.failed: dict[str, int] = {}
        for entry in os.scandir(path) if path.is_dir() else ():
            if entry.name.endswith(".parquet") and not entry.name.startswith("_"):
                with contextlib.suppress(FileNotFoundError):  # another run has just set it aside
                    stat = entry.stat()
                    self._stat[entry.name.removesuffix(".parquet")] = (stat.st_size, stat.st_mtime_ns)
            elif entry.name.endswith(".failed.json"):
                with contextlib.suppress(FileNotFoundError):
                    stem = entry.name.removeprefix("_").removesuffix(".failed.json")
                    self.failed[stem] = entry.stat().st_mtime_ns
        self._indexed = _load(path / INDEX)
        self._row = self._valid_rows()
        self._columns: dict[str, Any] = {}
        self._new: dict[str, Content] = {}
        self._saved = len(self._row)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._stat))

    def stems(self) -> dict[str, set[str]]:
        """What is there or has failed, by the part of the stem before the first dash: the hash of the cell."""
        found: dict[str, set[str]] = {}
        for stem in (*self._stat, *self.failed):
            cell, _, rest = stem.partition("-")
            found.setdefault(cell, set()).add(rest)
        return found

    def sources(self, stem: str, *, mend: bool = False) -> frozenset[str] | None:
        """The labels of what a file holds; None where there is none. With `mend`, a damaged file is set aside."""
        row = self._row.get(stem)
        if row is not None:
            return _labels(self._column("sources")[row])
        content = self._content(stem, mend)
        return None if content is None else frozenset(json.loads(content.layout))

    def read(self, stem: str, *, mend: bool = False) -> tuple[Mapping[str, Any], Mapping[str, Values]] | None:
        """The facts and the values of each source of one file; None where there is none or it is damaged.

        A damaged file is named in a warning, and set aside with `mend`.
        """
        content = self._content(stem, mend)
        return None if content is None else (json.loads(content.facts), table.unpack(content))

    def experiments(self) -> set[str]:
        """The names of the experiments whose chunks lie here: one, unless two names differ in punctuation alone."""
        names = {self._column("experiment")[row] for row in self._row.values()}
        contents = [self._content(stem, False) for stem in self if stem not in self._row]
        return names | {json.loads(content.facts)["experiment"] for content in contents if content is not None}

    def add(self, stem: str, data: bytes, content: Content) -> None:
        """Store one file, whole or not at all."""
        path = self._path(stem)
        write_whole(path, data)
        stat = path.stat()
        self._stat[stem], self._new[stem] = (stat.st_size, stat.st_mtime_ns), content
        self._row.pop(stem, None)
        if len(self._new) >= max(1000, self._saved // 2):  # a run that is killed leaves an index of most of its work
            self.save()

    def refresh(self, stem: str) -> bool:
        """Whether a data file has come or changed since it was listed."""
        try:
            stat = self._path(stem).stat()
        except FileNotFoundError:
            return False
        seen, self._stat[stem] = self._stat.get(stem), (stat.st_size, stat.st_mtime_ns)
        if seen == self._stat[stem]:
            return False
        self._row.pop(stem, None)
        self._new.pop(stem, None)
        return True

    def refresh_failure(self, stem: str) -> bool:
        """Whether a record of failure has come or changed since it was listed."""
        try:
            changed = (self.path / f"_{stem}.failed.json").stat().st_mtime_ns
        except FileNotFoundError:
            return False
        return self.failed.get(stem) != changed

    def save(self) -> None:
        """Bring the index up to date where it lags by more than a hundredth; a folder that refuses goes without."""
        if len(self._new) < max(8, len(self._stat) // 100):
            return
        rows = [(stem, row) for stem, row in self._row.items() if stem not in self._new]
        old = self._indexed.take(pa.array([row for _, row in rows], pa.int64()))
        facts = [json.loads(content.facts)["experiment"] for content in self._new.values()]
        new = pa.table(
            {
                "stem": list(self._new),
                "size": [self._stat[stem][0] for stem in self._new],
                "changed": [self._stat[stem][1] for stem in self._new],
                "experiment": facts,
                "sources": [json.dumps(list(json.loads(content.layout))) for content in self._new.values()],
                "facts": [content.facts for content in self._new.values()],
                "layout": [content.layout for content in self._new.values()],
                "numbers": [content.numbers for content in self._new.values()],
            },
            schema=_SCHEMA,
        )
        self._indexed = pa.concat_tables([old, new]).combine_chunks()
        self._columns.clear()
        self._row = {stem: row for row, stem in enumerate([*(stem for stem, _ in rows), *self._new])}
        self._new.clear()
        self._saved = len(self._row)
        with contextlib.suppress(OSError):
            _save(self.path / INDEX, self._indexed)

    def _content(self, stem: str, mend: bool) -> Content | None:
        row = self._row.get(stem)
        if row is not None:
            numbers, ends = self._column("numbers"), self._column("ends")
            return Content(self._column("facts")[row], self._column("layout")[row], numbers[ends[row] : ends[row + 1]])
        if stem in self._new:
            return self._new[stem]
        if stem not in self._stat:
            return None
        path = self._path(stem)
        try:
            content = read_data(path)
        except FileNotFoundError:
            return None
        except DamagedError as error:
            self._damaged(path, error, mend)
            return None
        self._new[stem] = content
        return content

    def _damaged(self, path: Path, error: DamagedError, mend: bool) -> None:
        self._stat.pop(path.stem, None)
        if not mend:
            warnings.warn(f"{error}; it is passed over", stacklevel=4)
            return
        aside = free_name(path.with_name(f"_{path.name}.damaged"))
        try:
            os.replace(path, aside)
        except FileNotFoundError:  # another run was quicker
            return
        except OSError as reason:
            raise StoreError(f"{error} and cannot be set aside: {reason.strerror}") from reason
        warnings.warn(f"{error}; it is set aside as {aside.name} and will be computed again", stacklevel=4)

    def _path(self, stem: str) -> Path:
        return self.path / f"{stem}.parquet"

    def _valid_rows(self) -> dict[str, int]:
        stems = self._indexed["stem"].to_pylist()
        stats = zip(self._indexed["size"].to_pylist(), self._indexed["changed"].to_pylist(), strict=True)
        return {
            stem: row for row, (stem, stat) in enumerate(zip(stems, stats, strict=True)) if self._stat.get(stem) == stat
        }

    def _column(self, name: str) -> Any:
        if name not in self._columns:
            if name in ("numbers", "ends"):
                lists = self._indexed["numbers"].combine_chunks()
                self._columns["ends"] = lists.offsets.to_numpy()
                self._columns["numbers"] = lists.values.to_numpy(zero_copy_only=False)
            else:
                self._columns[name] = self._indexed[name].to_pylist()
        return self._columns[name]


def read_data(path: Path) -> Content:
    """The content of one data file.

    Raises: FileNotFoundError; DamagedError when it is truncated, edited or foreign; StoreError when a newer version
    wrote it or it cannot be opened.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror})") from error
    try:
        content = table.decode(data)
        name = json.loads(content.facts)["chunk"]
    except table.NewerFormatError:
        raise StoreError(f"{path} was written by a newer version of solvable; update solvable to read it") from None
    except Exception as error:
        raise DamagedError(f"{path} is damaged ({' '.join(str(error).split())[:120]})") from error
    if name != path.stem:
        raise DamagedError(f"{path} is damaged (it holds the chunk {name[:120]!r})")
    return content


@functools.lru_cache(maxsize=256)
def _labels(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))


def _load(path: Path) -> pa.Table:
    empty = _SCHEMA.empty_table()
    try:
        data = path.read_bytes()
        digest, body = data[len(_VERSION) : len(_VERSION) + 32], memoryview(data)[len(_VERSION) + 32 :]
        if not data.startswith(_VERSION) or hashlib.sha256(body).digest() != digest:
            return empty
        found = pa.ipc.open_file(pa.BufferReader(body)).read_all()
    except (OSError, pa.ArrowInvalid):
        return empty
    return found.combine_chunks() if found.schema.equals(_SCHEMA) else empty


def _save(path: Path, content: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, content.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(content)
    body = sink.getvalue().to_pybytes()
    write_whole(path, _VERSION + hashlib.sha256(body).digest() + body)
