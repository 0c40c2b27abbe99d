"""Bags from Parquet, whole or a batch at a time, and what the bags of a file share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from solvable.bags import columns
from solvable.bags.arrays import NAMES, PER_BAG, PER_TOKEN
from solvable.bags.container import Bags, concatenate
from solvable.bags.files import REMEDY, ParquetColumns, readable
from solvable.bags.watching import Watch


class ParquetBags(ParquetColumns):
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

    _warned = False

    def read(self) -> Bags:
        """All bags at once; the tokens of a bag may lie anywhere, bags are in the order of their first ones."""
        bags, seen = Bags(**self.whole()), Watch()
        seen.see(bags.values, bags.offsets)
        self._warn(seen)
        return bags

    def _warn(self, seen: Watch) -> None:
        if not self._warned:
            seen.warn(self.feature_names, str(self.path), REMEDY)
        self._warned = True

    def __iter__(self) -> Iterator[Bags]:
        """The batches, in the order of the file."""
        pending: Bags | None = None
        seen: set[Any] = set()
        watch, start = Watch(), 0
        for record in self._records():
            if record.num_rows == 0:
                continue
            rank = _runs(columns.values(record, self.taken.id, start))
            bags = Bags(**self.arguments(record, slice(None), rank, start))
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
        with readable(self.path):
            yield from self.dataset.to_batches(columns=self.taken.names, batch_size=self.batch_tokens)

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


def beside_groups(
    path: str | os.PathLike[str], groups: str, *, ignore: Sequence[str] = (), **parts: Any
) -> ParquetBags:
    """The reader of `path` for which the column `groups`, of what bags share, is no feature.

    Raises: as `ParquetBags`, and ValueError for a column that names or labels the bags, is not there or holds lists.
    """
    source = ParquetBags(path, ignore=ignore, **parts)
    taken, there = source.taken, source.dataset.schema.names
    for part, name in (("names", taken.id), ("labels", taken.label)):
        if groups == name:
            raise ValueError(f"groups={groups!r} {part} the bags of {path}; accepted: a column of what bags share")
    if groups not in there:
        raise ValueError(f"groups={groups!r} is no column of {path}; accepted: {', '.join(there)}")
    kind = source.dataset.schema.field(groups).type
    if kind.num_fields:
        raise ValueError(f"groups={groups!r} of {path} holds {kind}; accepted: numbers, words, flags or dates")
    left = [ignore] if isinstance(ignore, str) else ignore
    return ParquetBags(path, ignore=[*{*left, groups}], **parts)


def groups_of(bags: Bags, source: ParquetBags | str | os.PathLike[str], name: str) -> np.ndarray:
    """The group of each bag, (n,): what the column `name` holds in its rows, or the array of that name in a .npz file.

    Raises: ValueError for a name that is not there, Python objects, and a column that differs within a bag.
    """
    if not isinstance(source, ParquetBags):
        with np.load(source, allow_pickle=False) as arrays:
            if name not in arrays.files:
                raise ValueError(f"groups={name!r} is no array of {source}; accepted: {', '.join(arrays.files)}")
            try:
                return arrays[name]
            except ValueError:
                raise ValueError(
                    f"groups={name!r} of {source} holds Python objects, which are never unpickled; accepted: numbers, "
                    "words or dates"
                ) from None
    table = source.dataset.to_table(columns=[source.taken.id, name])
    ids = columns.values(table, source.taken.id, 0)
    held: dict[Any, Any] = {}
    for bag, group in zip(ids.tolist(), columns.values(table, name, 0, ids).tolist(), strict=True):
        if held.setdefault(bag, group) != group:
            raise ValueError(
                f"groups={name!r} differs within bag {str(bag)!r} of {source.path}; accepted: one group a bag"
            )
    return np.array([held[bag] for bag in np.asarray(bags.ids).tolist()])


def _runs(ids: np.ndarray) -> np.ndarray:
    """The number of the run of equal ids that a row lies in."""
    return np.cumsum(np.append(0, ids[1:] != ids[:-1]))
