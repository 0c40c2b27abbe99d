"""What files hold of bags, as arguments of `Bags`: a .npz file, the columns of Parquet. Nothing is ever unpickled."""

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
from solvable.bags.arrays import NAMES, PER_BAG, PER_TOKEN
from solvable.numerics.validation import integer

ARRAYS = ("values", "offsets", *PER_BAG, *PER_TOKEN, *NAMES)
REMEDY = "name them in ignore=, or the features in features="  # of columns that should not be learned


def read_npz(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The arguments of `Bags` that a .npz file holds, by name.

    Raises: as `Bags.from_npz`.
    """
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
    return arrays


class ParquetColumns:
    """The columns of a Parquet file or folder that `ParquetBags` takes, and their rows as arguments of `Bags`.

    Raises: as `ParquetBags`.
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
        with readable(self.path):
            folders = "hive" if self.path.is_dir() else None
            self.dataset = pyarrow.dataset.dataset(self.path, format="parquet", partitioning=folders)
            first = next(iter(self.dataset.get_fragments()), None)
            held = first.physical_schema.names if first else []
        parts = (id, label, token_label, features, coordinates, ignore)
        self.taken = columns.choose(self.dataset.schema, set(held), str(path), *parts)
        self.batch_tokens = integer("batch_tokens", batch_tokens, at_least=1)

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

    def whole(self) -> dict[str, Any]:
        """All rows; those of a bag may lie anywhere, bags are in the order of their first ones."""
        with readable(self.path):
            table = self.dataset.to_table(columns=self.taken.names)
        ids = columns.values(table, self.taken.id, 0)
        if len(ids) == 0:
            raise ValueError(f"path={str(self.path)!r} holds no token; accepted: at least one row")
        _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))[inverse]  # the number of a row's bag, counted by first appearance
        order = np.argsort(rank, kind="stable")
        return self.arguments(table, order, rank[order])

    def arguments(self, table: Any, order: Any, rank: np.ndarray, start: int = 0) -> dict[str, Any]:
        """A table's rows in a given order, in which row i belongs to bag rank[i]; the first is `start`."""
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
        return {
            "values": values,
            "offsets": offsets,
            "ids": ids[starts],
            "labels": labels,
            "token_labels": None if marks is None else marks[order],
            "coordinates": np.concatenate(places, axis=1)[order] if places else None,
            "feature_names": self.feature_names,
            "coordinate_names": part.coordinates if places else None,
        }


def _existing(path: str | os.PathLike[str]) -> Path:
    found = Path(path)
    if not found.exists():
        raise FileNotFoundError(f"path={str(path)!r} does not exist; accepted: an existing file")
    return found


def _numbered(name: str, size: int | None) -> list[str]:
    return [name] if size is None else [f"{name}[{i}]" for i in range(size)]


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises: ValueError in place of what Arrow raises of a file."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"path={str(path)!r} cannot be read: {reason}; accepted: Parquet, the files of a folder of one schema"
        ) from None
