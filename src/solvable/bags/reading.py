"""Bags from files: .npz and Parquet, whole or a batch at a time. Nothing is ever unpickled."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from solvable.bags import columns
from solvable.bags.container import NAMES, PER_BAG, PER_TOKEN, Bags, concatenate
from solvable.bags.watching import Watch, watched
from solvable.numerics.validation import integer

ARRAYS = ("values", "offsets", *PER_BAG, *PER_TOKEN, *NAMES)


def read_npz(path: str | os.PathLike[str]) -> Bags:
    """`Bags.from_npz`."""
    found = _existing(path)
    try:
        with open(found, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS if name in file.files}
            held = sorted(file.files)
    except (ValueError, OSError, EOFError, TypeError, MemoryError, zipfile.BadZipFile) as error:
        if "pickle" in str(error) and zipfile.is_zipfile(found):
            reason = "it holds Python objects, which are never unpickled; store plain arrays"
        else:
            reason = "it is damaged or no .npz file"
        raise ValueError(f"path={str(found)!r} cannot be read: {reason}; accepted: a .npz file of arrays") from None
    missing = [name for name in ("values", "offsets") if name not in arrays]
    if missing:
        raise ValueError(
            f"path={str(found)!r} lacks {' and '.join(missing)} and holds {', '.join(held) or 'nothing'}; accepted: "
            f"values (N, d), offsets (n+1,), and if known {', '.join(ARRAYS[2:])}"
        )
    return watched(Bags(arrays.pop("values"), arrays.pop("offsets"), **arrays), str(found))


class ParquetBags:
    """The bags of a Parquet file or folder, a batch at a time: iterate over it as often as you like, and `fit` on it.

    Every row is a token. Columns: `id` names the bag of the row, `label` its bag's label and `token_label` the token's
    own (by default the columns of these names, if there are any). `features` are columns of numbers, or of lists of
    numbers of one length (embeddings); by default the one column of lists where there is one, else every other column
    of numbers in the files that is not the index of a pandas frame. `coordinates` say where a token lies; they are kept
    beside the features, by default columns x, y and z that are no features. `ignore` names columns that are nothing of
    these. `feature_names`, `coordinate_names` and `unused` say what was taken and what was not; "embedding[3]" is the
    fourth number of a list. The rows of a bag must lie together. About `batch_tokens` rows are in memory at once (and
    the rest of their last bag).

    Yields: `Bags`, with `ids`, and `labels`, `token_labels` and `coordinates` where the columns exist.
    Warns: of features that are constant within every bag, or look like row numbers: ids, counters and labels.
    Raises: FileNotFoundError; ValueError naming the file, the column or the bag and what is accepted.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        id: str = "bag",
        label: str | None = None,
        token_label: str | None = None,
        features: Sequence[str] | str | None = None,
        coordinates: Sequence[str] | str | None = None,
        ignore: Sequence[str] | str = (),
        batch_tokens: int = 2**15,
    ) -> None:
        import pyarrow.dataset

        self.path = _existing(path)
        with _readable(self.path):
            folders = "hive" if self.path.is_dir() else None
            self.dataset = pyarrow.dataset.dataset(self.path, format="parquet", partitioning=folders)
            first = next(iter(self.dataset.get_fragments()), None)
            held = first.physical_schema.names if first else []
        self.batch_tokens = integer("batch_tokens", batch_tokens, at_least=1)
        parts = (id, label, token_label, features, coordinates, ignore)
        self.taken = columns.choose(self.dataset.schema, set(held), str(path), *parts)
        self._warned = False

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        """The columns that are coordinates."""
        return self.taken.coordinates

    @property
    def unused(self) -> tuple[str, ...]:
        """The columns that are not read."""
        return self.taken.unused

    @cached_property
    def widths(self) -> dict[str, int | None]:
        """How many numbers each feature column of lists holds in a row, None for columns of numbers."""
        kinds = {name: self.dataset.schema.field(name).type for name in self.taken.features}
        return {name: columns.width(kind, lambda n=name: self._first(n)) for name, kind in kinds.items()}

    def _first(self, name: str) -> int:
        """The numbers in the first list of a column."""
        scanner = self.dataset.scanner(columns=[name], batch_size=1, batch_readahead=0, fragment_readahead=1)
        rows = scanner.head(1).column(name)
        return len(rows[0].as_py() or ()) if len(rows) else 0

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, one each."""
        sizes = self.widths.items()
        return tuple(one for name, size in sizes for one in _numbered(name, size))

    def read(self) -> Bags:
        """All bags at once; the tokens of a bag may lie anywhere, bags are in the order of their first ones."""
        with _readable(self.path):
            table = self.dataset.to_table(columns=self.taken.names)
        ids = columns.values(table, self.taken.id, 0)
        if len(ids) == 0:
            raise ValueError(f"path={str(self.path)!r} holds no token; accepted: at least one row")
        _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))[inverse]  # the number of a row's bag, counted by first appearance
        order = np.argsort(rank, kind="stable")
        seen = Watch()
        bags = self.bags(table, order, rank[order])
        seen.see(bags.values, bags.offsets)
        self._warn(seen)
        return bags

    def _warn(self, seen: Watch) -> None:
        if not self._warned:
            seen.warn(self.feature_names, str(self.path), "name them in ignore=, or the features in features=")
        self._warned = True

    def __iter__(self) -> Iterator[Bags]:
        """The batches, in the order of the file."""
        pending: Bags | None = None
        seen: set[Any] = set()
        watch, start = Watch(), 0
        for record in self._records():
            if record.num_rows == 0:
                continue
            bags = self.bags(record, slice(None), _runs(columns.values(record, self.taken.id, start)), start)
            start += record.num_rows
            if pending is not None:
                bags = self._joined(pending, bags)
            # The last bag may go on in the next batch.
            complete, pending = bags[:-1], bags[-1:]
            yield from self._new(complete, seen, watch)
        if pending is not None:
            yield from self._new(pending, seen, watch)
            self._warn(watch)

    def _records(self) -> Iterator[Any]:
        with _readable(self.path):
            yield from self.dataset.to_batches(columns=self.taken.names, batch_size=self.batch_tokens)

    def bags(self, table: Any, order: Any, rank: np.ndarray, start: int = 0) -> Bags:
        """The bags of a table's rows in a given order, in which row i belongs to bag rank[i]; the first is `start`."""
        part, path = self.taken, str(self.path)
        named = columns.values(table, part.id, start)
        blocks = [columns.matrix(table, name, path, size, start, named) for name, size in self.widths.items()]
        values = (np.concatenate(blocks, axis=1) if len(blocks) > 1 else blocks[0])[order]
        starts = np.flatnonzero(np.diff(rank, prepend=-1))
        offsets = np.append(starts, len(rank))
        ids = named[order]
        labels = None if part.label is None else columns.values(table, part.label, start, named)[order]
        marks = None if part.token_label is None else columns.values(table, part.token_label, start, named, holes=True)
        if labels is not None:
            differs = labels != np.repeat(labels[starts], np.diff(offsets))
            if differs.any():
                bag = ids[np.argmax(differs)]
                raise ValueError(f"label of bag {str(bag)!r} differs from row to row; accepted: one label a bag")
            labels = labels[starts]
        places = [columns.matrix(table, name, path, None, start, named, holes=True) for name in part.coordinates]
        return Bags(
            values,
            offsets,
            ids=ids[starts],
            labels=labels,
            token_labels=None if marks is None else marks[order],
            coordinates=np.concatenate(places, axis=1)[order] if places else None,
            feature_names=self.feature_names,
            coordinate_names=part.coordinates if places else None,
        )

    def _joined(self, before: Bags, after: Bags) -> Bags:
        """Both, with the last bag of the one and the first of the other made one where they have one id."""
        joined = concatenate([before, after])
        here = len(before)
        assert joined.ids is not None
        if joined.ids[here - 1] != joined.ids[here]:
            return joined
        keep = np.delete(np.arange(len(joined)), here)
        if joined.labels is not None and joined.labels[here] != joined.labels[here - 1]:
            raise ValueError(
                f"label of bag {str(joined.ids[here])!r} differs from row to row; accepted: one label a bag"
            )
        held = {name: getattr(joined, name) for name in PER_BAG + PER_TOKEN + NAMES}
        held |= {name: None if held[name] is None else held[name][keep] for name in PER_BAG}
        return Bags(joined.values, np.delete(joined.offsets, here), **held)

    def _new(self, bags: Bags, seen: set[Any], watch: Watch) -> Iterator[Bags]:
        assert bags.ids is not None
        for name in bags.ids.tolist():
            if name in seen:
                raise ValueError(
                    f"the rows of bag {str(name)!r} do not lie together in {str(self.path)!r}; accepted: rows sorted "
                    f"by {self.taken.id!r}, or Bags.from_parquet, which reads all at once"
                )
            seen.add(name)
        if len(bags):
            watch.see(bags.values, bags.offsets)
            yield bags


def _existing(path: str | os.PathLike[str]) -> Path:
    found = Path(path)
    if not found.exists():
        raise FileNotFoundError(f"path={str(path)!r} does not exist; accepted: an existing file")
    return found


def _runs(ids: np.ndarray) -> np.ndarray:
    """The number of the run of equal ids that a row lies in."""
    return np.cumsum(np.append(0, ids[1:] != ids[:-1]))


def _numbered(name: str, size: int | None) -> list[str]:
    return [name] if size is None else [f"{name}[{i}]" for i in range(size)]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raises: ValueError in place of what Arrow raises of a file."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"path={str(path)!r} cannot be read: {reason}; accepted: Parquet, the files of a folder of one schema"
        ) from None
