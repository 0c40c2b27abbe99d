"""One experiment's folder: its listing, and an index of the contents that were read and verified before.

The index is a cache in one file. It knows a data file by name, size and time of change; a file that it does not know,
or that has changed, is read and its checksum verified. It may be deleted at any time, and is passed over when damaged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from solvable.lab.store import parquet
from solvable.lab.store.arrays import Values
from solvable.lab.store.atomic import DamagedError, DamageWarning, StoreError, free_name, write_whole
from solvable.lab.store.parquet import Content

INDEX = "_index.arrow"
_VERSION = b"solvable index 2\n"
# What tells whether a chunk is there, and what it holds, in two parts: a run that resumes needs the first alone.
_LISTED = pa.schema(
    [
        ("stem", pa.string()),
        ("size", pa.int64()),
        ("changed", pa.int64()),
        ("experiment", pa.string()),
        ("sources", pa.string()),
    ]
)
_CONTENTS = pa.schema(
    [("facts", pa.large_string()), ("layout", pa.large_string()), ("numbers", pa.large_list(pa.float64()))]
)


@dataclasses.dataclass(frozen=True)
class Stored:
    """One chunk read back: its facts (versions, device, parameters, time), and the values of each source."""

    facts: Mapping[str, Any]
    values: Mapping[str, Values]


class Shelf:
    """The data files of one folder, by stem (the name without `.parquet`), as they were when they were listed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.former: Mapping[str, str] = {}  # names under which older files hold an observable, and its present one
        self._new: dict[str, Content] = {}
        self._columns: dict[str, Any] = {}

    @functools.cached_property
    def _listing(self) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
        """Size and time of change of every data file, time of change of every record of failure."""
        files: dict[str, tuple[int, int]] = {}
        failed: dict[str, int] = {}
        for entry in os.scandir(self.path) if self.path.is_dir() else ():
            data = entry.name.endswith(".parquet") and not entry.name.startswith("_")
            if data or entry.name.endswith(".failed.json"):
                with contextlib.suppress(FileNotFoundError):  # another run has just taken it away
                    stat = entry.stat()
                    if data and entry.is_file():
                        files[entry.name.removesuffix(".parquet")] = (stat.st_size, stat.st_mtime_ns)
                    elif not data:
                        failed[entry.name.removeprefix("_").removesuffix(".failed.json")] = stat.st_mtime_ns
        return files, failed

    @property
    def _stat(self) -> dict[str, tuple[int, int]]:
        return self._listing[0]

    @property
    def failed(self) -> dict[str, int]:
        """The stems of which a failure is recorded, and when it was."""
        return self._listing[1]

    @functools.cached_property
    def _index(self) -> tuple[pa.Table, bytes]:
        return _load(self.path / INDEX, _LISTED)

    @functools.cached_property
    def _row(self) -> dict[str, int]:
        """The row in the index of every file that has not changed since."""
        listed = self._index[0]
        stats = zip(listed["size"].to_pylist(), listed["changed"].to_pylist(), strict=True)
        pairs = zip(listed["stem"].to_pylist(), stats, strict=True)
        return {stem: row for row, (stem, stat) in enumerate(pairs) if self._stat.get(stem) == stat}

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

    def read(self, stem: str, *, mend: bool = False) -> Stored | None:
        """What one file holds; None where there is none or it is damaged.

        A damaged file is named in a warning, and set aside with `mend`.
        """
        content = self._content(stem, mend)
        if content is None:
            return None
        values = {label: one.renamed(self.former) for label, one in parquet.unpack(content).items()}
        return Stored(json.loads(content.facts), values)

    def experiments(self) -> set[str]:
        """The names of the experiments whose chunks lie here: one, unless two names differ in punctuation alone."""
        names = {self._column("experiment")[row] for row in self._row.values()}
        contents = [self._content(stem, False) for stem in self if stem not in self._row]
        return names | {json.loads(content.facts)["experiment"] for content in contents if content is not None}

    def add(self, stem: str, data: bytes, content: Content) -> None:
        """Store one file, whole or not at all."""
        path = self._path(stem)
        write_whole(path, data)
        self._enter(stem, path.stat(), content)
        if len(self._new) >= max(1000, len(self._row) // 2):  # a run that is killed leaves most of its work indexed
            self.save()

    def arrivals(self) -> set[str]:
        """The stems that other processes have stored, or whose failure they have recorded, since the last look."""
        before, failed_before = self._listing
        del self._listing
        changed = {stem for stem, stat in self._stat.items() if before.get(stem) != stat}
        for stem in changed:
            self._row.pop(stem, None)
            self._new.pop(stem, None)
        failed = {stem for stem, time in self.failed.items() if failed_before.get(stem) != time}
        return changed | {stem for stem in failed if not self._announced(stem)}

    def save(self) -> None:
        """Bring the index up to date where it lags by more than a hundredth.

        It is a cache: whatever goes wrong with it, a full disk say, is passed over.
        """
        if len(self._new) < max(8, len(self._stat) // 100):
            return
        with contextlib.suppress(Exception):
            self._save()

    def _save(self) -> None:
        held_before = self._contents()
        rows = [stem for stem in self._row if stem not in self._new]
        place = pa.array([self._row[stem] for stem in rows], pa.int64())
        contents = [self._new[stem] for stem in self._new]
        stats = [self._stat[stem] for stem in self._new]
        listed = {
            "stem": list(self._new),
            "size": [size for size, _ in stats],
            "changed": [changed for _, changed in stats],
            "experiment": [json.loads(content.facts)["experiment"] for content in contents],
            "sources": [json.dumps(list(json.loads(content.layout))) for content in contents],
        }
        held = {name: [getattr(content, name) for content in contents] for name in _CONTENTS.names}
        if rows:
            parts = [self._index[0].take(place), held_before.take(place)]
        else:
            parts = [_LISTED.empty_table(), _CONTENTS.empty_table()]
        listed = pa.concat_tables([parts[0], pa.table(listed, schema=_LISTED)]).combine_chunks()
        held = pa.concat_tables([parts[1], pa.table(held, schema=_CONTENTS)]).combine_chunks()
        first, second = _encoded(listed), _encoded(held)
        write_whole(self.path / INDEX, b"".join([_VERSION, *first, *second]))
        self._index, self._columns = (listed, first[1]), {}
        self._columns["contents"] = held
        self._row = {stem: row for row, stem in enumerate([*rows, *self._new])}
        self._new.clear()

    def _contents(self) -> pa.Table:
        """The index's second part. Where it is damaged, or was replaced by another run, no row of the first counts."""
        if "contents" not in self._columns:
            held = _load(self.path / INDEX, _CONTENTS, self._index[1])[0]
            if held.num_rows != self._index[0].num_rows:
                self._row.clear()
            self._columns["contents"] = held
        return self._columns["contents"]

    def _content(self, stem: str, mend: bool) -> Content | None:
        if self._row:
            self._contents()  # which may find that no row counts
        if stem in self._row:
            row, ends = self._row[stem], self._column("ends")
            numbers = self._column("numbers")[ends[row] : ends[row + 1]]
            return Content(self._column("facts")[row], self._column("layout")[row], numbers)
        if stem in self._new:
            return self._new[stem]
        if stem not in self._stat:
            return None
        path = self._path(stem)
        try:
            stat = path.stat()
            content = read_data(path)
        except FileNotFoundError:
            return None
        except DamagedError as error:
            self._damaged(path, error, mend)
            return None
        self._enter(stem, stat, content)
        return content

    def _enter(self, stem: str, stat: os.stat_result, content: Content) -> None:
        self._stat[stem], self._new[stem] = (stat.st_size, stat.st_mtime_ns), content
        self._row.pop(stem, None)

    def _damaged(self, path: Path, error: DamagedError, mend: bool) -> None:
        seen = self._stat.pop(path.stem, None)
        if not mend:
            warnings.warn(DamageWarning(f"{error}; it is passed over", path.name), stacklevel=4)
            return
        aside = free_name(path.with_name(f"_{path.name}.damaged"))
        try:
            stat = path.stat()
            if seen != (stat.st_size, stat.st_mtime_ns):  # another run has mended it
                return
            os.replace(path, aside)
        except FileNotFoundError:  # another run was quicker
            return
        except OSError as reason:
            raise StoreError(f"{error} and cannot be set aside: {reason.strerror}") from reason
        sentence = f"{error}; it is set aside as {aside.name} and will be computed again"
        warnings.warn(DamageWarning(sentence, path.name), stacklevel=4)

    def _announced(self, stem: str) -> Sequence[str]:
        """The sources that a record of failure says are stored beside it."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return json.loads((self.path / f"_{stem}.failed.json").read_text())["sources"]
        return ()

    def _path(self, stem: str) -> Path:
        return self.path / f"{stem}.parquet"

    def _column(self, name: str) -> Any:
        if name not in self._columns:
            if name in ("numbers", "ends"):
                lists = self._contents()["numbers"].combine_chunks()
                self._columns["ends"] = lists.offsets.to_numpy()
                self._columns["numbers"] = lists.values.to_numpy(zero_copy_only=False)
            else:
                self._columns[name] = (self._index[0] if name in _LISTED.names else self._contents())[name].to_pylist()
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
        content = parquet.decode(data)
        name = json.loads(content.facts)["chunk"]
    except parquet.NewerFormatError:
        raise StoreError(f"{path} was written by a newer version of solvable; update solvable to read it") from None
    except Exception as error:
        raise DamagedError(f"{path} is damaged ({' '.join(str(error).split())[:120]})") from error
    if name != path.stem:
        raise DamagedError(f"{path} is damaged (it holds the chunk {name[:120]!r})")
    return content


@functools.lru_cache(maxsize=256)
def _labels(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))


def _load(path: Path, schema: pa.Schema, first: bytes | None = None) -> tuple[pa.Table, bytes]:
    """One part of the index and its digest; an empty one where there is none that is sound.

    The second is that after the part with the digest `first`.
    """
    with contextlib.suppress(OSError, ValueError, pa.ArrowException), open(path, "rb") as file:
        if file.read(len(_VERSION)) == _VERSION:
            if first is None:
                return _decoded(file, schema)
            size, digest = int.from_bytes(file.read(8), "big"), file.read(32)
            if digest == first:
                file.seek(size, os.SEEK_CUR)
                return _decoded(file, schema)
    return schema.empty_table(), b""


def _encoded(content: pa.Table) -> tuple[bytes, bytes, bytes]:
    """Length, digest and body of one part."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, content.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(content)
    body = sink.getvalue().to_pybytes()
    return len(body).to_bytes(8, "big"), hashlib.sha256(body).digest(), body


def _decoded(file: BinaryIO, schema: pa.Schema) -> tuple[pa.Table, bytes]:
    size, digest = int.from_bytes(file.read(8), "big"), file.read(32)
    body = file.read(size)
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("the index is damaged")
    found = pa.ipc.open_file(pa.BufferReader(body)).read_all().combine_chunks()
    if not found.schema.equals(schema):
        raise ValueError("the index is of another version")
    return found, digest
