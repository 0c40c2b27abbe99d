"""Bags from files: .npz and Parquet, whole or a batch at a time. Nothing is ever unpickled."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solvable.bags.container import Bags, concatenate
from solvable.numerics.validation import integer

ARRAYS = ("values", "offsets", "ids", "labels", "token_labels")


def read_npz(path: str | os.PathLike[str]) -> Bags:
    """`Bags.from_npz`."""
    found = _existing(path)
    try:
        with open(found, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS if name in file.files}
            held = sorted(file.files)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        if "pickle" in str(error) and zipfile.is_zipfile(found):
            reason = "it holds Python objects, which are never unpickled; store plain arrays"
        else:
            reason = "it is damaged or no .npz file"
        raise ValueError(f"path={str(found)!r} cannot be read: {reason}; accepted: a .npz file of arrays") from None
    missing = [name for name in ("values", "offsets") if name not in arrays]
    if missing:
        raise ValueError(
            f"path={str(found)!r} lacks {' and '.join(missing)} and holds {', '.join(held) or 'nothing'}; accepted: "
            "values (N, d), offsets (n+1,), and if known ids (n,), labels (n,), token_labels (N,)"
        )
    return Bags(arrays.pop("values"), arrays.pop("offsets"), **arrays)


def read_parquet(path: str | os.PathLike[str], **columns: Any) -> Bags:
    """All bags of a Parquet file or folder, whose rows are tokens; see `ParquetBags` for the columns.

    The tokens of a bag may lie anywhere; bags are in the order in which they first appear.
    """
    source = ParquetBags(path, **columns)
    table = source.dataset.to_table(columns=source.names)
    ids = _column(table, source.id)
    if len(ids) == 0:
        raise ValueError(f"path={str(source.path)!r} holds no token; accepted: at least one row")
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[inverse]  # the number of a row's bag, counted by first appearance
    order = np.argsort(rank, kind="stable")
    return source.bags(table, order, rank[order])


class ParquetBags:
    """The bags of a Parquet file or folder, a batch at a time: iterate over it as often as you like, and `fit` on it.

    Every row is a token. Columns: `id` names the bag of the row, `label` its bag's label and `token_label` the token's
    own (by default the columns of these names, if there are any); the features are the numeric columns named in
    `features`, by default one column of fixed-size lists where there is one, else every other numeric column: name them
    where the file has counters, coordinates or other labels. The rows of a bag must lie together. About
    `batch_tokens` rows are in memory at once (and the rest of their last bag).

    Yields: `Bags`, with `ids`, and `labels` and `token_labels` where the columns exist.
    Raises: FileNotFoundError; ValueError naming the file, the column or the bag and what is accepted.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        id: str = "bag",
        label: str | None = None,
        token_label: str | None = None,
        features: Sequence[str] | None = None,
        batch_tokens: int = 2**15,
    ) -> None:
        import pyarrow
        import pyarrow.dataset

        self.path = _existing(path)
        try:
            self.dataset = pyarrow.dataset.dataset(self.path, format="parquet")
            schema = self.dataset.schema
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ValueError(f"path={str(path)!r} cannot be read: {_brief(error)}; accepted: Parquet") from None
        batch_tokens = integer("batch_tokens", batch_tokens, at_least=1)
        for name, column in (("label", label), ("token_label", token_label)):
            if column is not None and column not in schema.names:
                raise ValueError(
                    f"{name}={column!r} is no column of {str(path)!r}; accepted: {', '.join(schema.names)}"
                )
        if id not in schema.names:
            raise ValueError(
                f"id={id!r} is no column of {str(path)!r}, which has {', '.join(schema.names) or 'none'}; accepted: "
                "the column that names the bag of each row"
            )
        self.id = id
        self.label = label or ("label" if "label" in schema.names else None)
        self.token_label = token_label or ("token_label" if "token_label" in schema.names else None)
        self.features = _features(schema, features, {id, self.label, self.token_label}, str(path))
        self.names = [id, *(name for name in (self.label, self.token_label) if name), *self.features]
        self.batch_tokens = batch_tokens

    def __iter__(self) -> Iterator[Bags]:
        """The batches, in the order of the file."""
        pending: Bags | None = None
        seen: set[Any] = set()
        for record in self.dataset.to_batches(columns=self.names, batch_size=self.batch_tokens):
            if record.num_rows == 0:
                continue
            bags = self.bags(record, slice(None), _runs(_column(record, self.id)))
            if pending is not None:
                bags = self._joined(pending, bags)
            # The last bag may go on in the next batch.
            complete, pending = bags[:-1], bags[-1:]
            yield from self._new(complete, seen)
        if pending is not None:
            yield from self._new(pending, seen)

    def bags(self, table: Any, order: Any, rank: np.ndarray) -> Bags:
        """The bags of a table's rows in a given order, in which row i belongs to bag rank[i]."""
        values = np.concatenate([_matrix(table, name, str(self.path)) for name in self.features], axis=1)[order]
        starts = np.flatnonzero(np.diff(rank, prepend=-1))
        offsets = np.append(starts, len(rank))
        labels = None if self.label is None else _column(table, self.label)[order]
        if labels is not None:
            differs = labels != np.repeat(labels[starts], np.diff(offsets))
            if differs.any():
                bag = _column(table, self.id)[order][np.argmax(differs)]
                raise ValueError(f"label of bag {str(bag)!r} differs from row to row; accepted: one label a bag")
            labels = labels[starts]
        tokens = None if self.token_label is None else _column(table, self.token_label)[order]
        names = self.features if len(self.features) == values.shape[1] else None
        ids = _column(table, self.id)[order][starts]
        return Bags(values, offsets, ids=ids, labels=labels, token_labels=tokens, feature_names=names)

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
        return Bags(
            joined.values,
            np.delete(joined.offsets, here),
            ids=joined.ids[keep],
            labels=None if joined.labels is None else joined.labels[keep],
            token_labels=joined.token_labels,
            feature_names=joined.feature_names,
        )

    def _new(self, bags: Bags, seen: set[Any]) -> Iterator[Bags]:
        assert bags.ids is not None
        for name in bags.ids.tolist():
            if name in seen:
                raise ValueError(
                    f"the rows of bag {str(name)!r} do not lie together in {str(self.path)!r}; accepted: rows sorted "
                    f"by {self.id!r}, or Bags.from_parquet, which reads all at once"
                )
            seen.add(name)
        if len(bags):
            yield bags


def _existing(path: str | os.PathLike[str]) -> Path:
    found = Path(path)
    if not found.exists():
        raise FileNotFoundError(f"path={str(path)!r} does not exist; accepted: an existing file")
    return found


def _features(schema: Any, features: Sequence[str] | None, others: set[str | None], path: str) -> list[str]:
    import pyarrow.types as types

    def numeric(kind: Any) -> bool:
        return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)

    if features is not None:
        missing = [name for name in features if name not in schema.names]
        if missing or not features:
            raise ValueError(f"features={list(features)!r} are not all columns of {path!r}; accepted: {schema.names}")
        return list(features)
    free = [name for name in schema.names if name not in others]
    lists = [name for name in free if types.is_fixed_size_list(schema.field(name).type)]
    chosen = lists if lists else [name for name in free if numeric(schema.field(name).type)]
    if not chosen or len(lists) > 1:
        raise ValueError(
            f"{path!r} has {'several columns of lists' if lists else 'no numeric column'} beside the ids and labels; "
            "accepted: features= naming the columns, numeric ones or one of fixed-size lists"
        )
    return chosen


def _runs(ids: np.ndarray) -> np.ndarray:
    """The number of the run of equal ids that a row lies in."""
    return np.cumsum(np.append(0, ids[1:] != ids[:-1]))


def _column(table: Any, name: str) -> np.ndarray:
    column = table.column(name)
    if column.null_count:
        raise ValueError(f"column {name!r} has {column.null_count} missing values; accepted: a value in every row")
    array = column.to_numpy(zero_copy_only=False) if hasattr(column, "chunk") is False else column.to_numpy()
    return array.astype(str) if array.dtype == object else array


def _matrix(table: Any, name: str, path: str) -> np.ndarray:
    """A feature column as a (rows, width) array: width is 1, or the size of its lists."""
    import pyarrow.types as types

    column = table.column(name)
    if column.null_count:
        raise ValueError(f"column {name!r} of {path!r} has {column.null_count} missing values; accepted: numbers")
    if not types.is_fixed_size_list(column.type):
        array = _column(table, name)
        return (array if array.dtype in (np.float32, np.float64) else array.astype(np.float64))[:, None]
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in getattr(column, "chunks", [column])]
    array = np.concatenate(flat) if len(flat) != 1 else flat[0]
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    return array.reshape(-1, column.type.list_size)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
