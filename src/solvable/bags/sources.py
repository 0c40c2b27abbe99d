"""Where tokens come from, a block at a time: memory, files on disk, batches of the user's, partitions on Dask workers.

The blocks are cut by one rule from the sequence of bags alone, so that every local source gives the same sums to the
last bit, however the user's batches are cut.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import chain, islice, pairwise
from operator import add
from typing import Any

import numpy as np

from solvable.bags.arrays import column, is_dask, real
from solvable.bags.container import Bags, as_bags, concatenate, require_finite, unchecked
from solvable.bags.passes import Block
from solvable.numerics.threads import blas, one_blas_thread
from solvable.numerics.validation import unmasked

# A block of float64 tokens of this many numbers (4 MB) is worked on in the processor's caches.
BLOCK_VALUES = 2**19

Work = Callable[[Block], Any]


class _Local:
    """A source whose blocks are worked on in this process; `longest` is the number of tokens of its longest bag."""

    longest: int

    def each(self, work: Work, *aligned: np.ndarray) -> Iterator[Any]:
        """work(block) for every block in order; `aligned` (targets, weights) stand for the own ones when given."""
        raise NotImplementedError

    def total(self, work: Work, *aligned: np.ndarray) -> Any:
        """The sum of work(block) over all blocks, in order."""
        return reduce(add, self.each(work, *aligned))


class Memory(_Local):
    """Bags in memory, or in an array on disk that is sliced as it is read (`np.memmap`, zarr, h5py)."""

    def __init__(self, bags: Any, targets: Any, weights: Any) -> None:
        self.bags, self.targets, self.weights = bags, targets, weights
        self.feature_names: tuple[str, ...] | None = bags.feature_names
        self.longest = int(np.diff(bags.offsets).max(initial=0))

    def each(self, work: Work, *aligned: np.ndarray) -> Iterator[Any]:
        """work(block) for every block in order."""
        targets, weights = aligned or (self.targets, self.weights)

        def block(part: slice) -> Any:
            return work(Block(self.bags[part], targets[part], weights[part]))

        cuts = _cuts(self.bags.offsets, self.bags.shape[1])
        yield from _in_order(block, [slice(*cut) for cut in pairwise(cuts)])


class SlicedArray:
    """An (n, L, d) array on disk as bags; a slice of it is read into memory."""

    def __init__(self, array: Any) -> None:
        self.array, (count, length, dim) = array, array.shape
        self.offsets = np.arange(count + 1) * length
        self.shape = (count, dim)
        self.feature_names = None

    def __len__(self) -> int:
        """The number of bags."""
        return self.shape[0]

    def __getitem__(self, part: slice) -> Bags:
        """The bags of a slice."""
        held = self.array[part]
        held = held.compute() if is_dask(held) else held
        unmasked("X", held)
        tokens = np.asarray(held)
        if isinstance(self.array, np.memmap):
            tokens = np.array(tokens)
            _release(self.array)
        length = self.array.shape[1]
        values = real("X", tokens.reshape(-1, self.shape[1]))
        offsets = np.arange(len(tokens) + 1) * length
        require_finite(values, offsets, "X", part.start)
        return unchecked(values, offsets)


class Stream(_Local):
    """A re-iterable of batches: Bags with labels, or (bags, labels) or (bags, labels, weights), read anew each pass.

    `labels` and `weights` aligned with the sequence of all bags stand for those in the batches where they are given.
    After the first pass `targets`, as `checked` returns them, and `weights` hold those of all bags.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        labels: Any = None,
        weights: Any = None,
        checked: Callable[[Any], np.ndarray] = np.asarray,
    ) -> None:
        if iter(batches) is batches:
            raise ValueError(
                f"X is a {type(batches).__name__}, which can be read once; accepted: a re-iterable of batches, whose "
                "iter() begins anew (a ParquetBags, a list of Bags or of (bags, labels), an object with __iter__)"
            )
        self.batches, self.targets, self.weights, self.checked = batches, labels, weights, checked
        self.own = labels is None  # the labels are those that the batches hold
        self.dim: int | None = None
        self.longest = 0
        self.count: int | None = None
        self.feature_names: tuple[str, ...] | None = None

    def each(self, work: Work, *aligned: np.ndarray) -> Iterator[Any]:
        """work(block) for every block in order, reading the batches anew."""
        yield from _in_order(work, self._blocks(aligned))

    def _blocks(self, aligned: tuple[np.ndarray, ...]) -> Iterator[Block]:
        waiting: list[tuple[Bags, np.ndarray, np.ndarray]] = []
        tokens, done = 0, 0
        seen: list[tuple[np.ndarray, np.ndarray]] = []
        for number, batch in enumerate(self.batches):
            if _is_empty(batch):
                continue
            bags, targets, weights = self._batch(batch, number, done, aligned)
            done += len(bags)
            if self.count is None:
                seen.append((targets, weights))
            while len(bags):
                room = -(-BLOCK_VALUES // bags.shape[1]) - tokens
                take = int(np.searchsorted(bags.offsets, room))
                waiting.append((bags[:take], targets[:take], weights[:take]))
                tokens += len(waiting[-1][0].values)
                if take <= len(bags) and tokens * bags.shape[1] >= BLOCK_VALUES:
                    yield _joined(waiting)
                    waiting, tokens = [], 0
                bags, targets, weights = bags[take:], targets[take:], weights[take:]
        if waiting:
            yield _joined(waiting)
        if done == 0:
            raise ValueError("X yields no bags; accepted: at least one batch of bags")
        for name, values in (("y", self.targets), ("sample_weight", self.weights)):
            if values is not None and len(values) != done:
                raise ValueError(f"{name} has {len(values)} values and X yields {done} bags; accepted: one for each")
        if self.count is None:
            if len({labels.dtype.kind in "biuf" for labels, _ in seen}) > 1:
                raise ValueError("X yields labels that are numbers and others that are not; accepted: one kind")
            targets, self.weights = (np.concatenate(parts) for parts in zip(*seen, strict=True))
            self.targets, self.count = self.checked(targets), done

    def _batch(self, batch: Any, number: int, start: int, aligned: tuple[np.ndarray, ...]) -> Any:
        parts = batch_parts(batch)
        bags = as_bags(parts[0], f"batch {number} of X")
        if self.dim is not None and bags.feature_names != self.feature_names:
            raise ValueError(f"batch {number} of X has features of other names than the first; accepted: the same ones")
        self.feature_names = bags.feature_names
        if self.dim is not None and bags.shape[1] != self.dim:
            raise ValueError(f"batch {number} of X has {bags.shape[1]} features and the first {self.dim}")
        self.dim, self.longest = bags.shape[1], max(self.longest, int(bags.lengths.max()))
        stop = start + len(bags)
        for name, values in (("y", self.targets), ("sample_weight", self.weights)):
            if values is not None and stop > len(values):
                raise ValueError(f"{name} has {len(values)} values and X yields {stop} bags or more; accepted: as many")
        held = parts[1] if len(parts) > 1 else bags.labels
        if aligned:
            targets, weights = (array[start:stop] for array in aligned)
            if self.own and held is not None and not np.array_equal(np.asarray(held), self.targets[start:stop]):
                raise ValueError(
                    f"batch {number} of X has other labels than when it was first read; accepted: the same bags in the "
                    "same order each time X is read (no shuffling)"
                )
        else:
            targets = held if self.targets is None else self.targets[start:stop]
            if targets is None:
                raise ValueError(f"batch {number} of X has no labels; accepted: Bags with labels, (bags, labels), or y")
            held = parts[2] if len(parts) > 2 else None
            weights = held if self.weights is None else self.weights[start:stop]
            weights = np.ones(len(bags)) if weights is None else weights
        targets = column(f"the labels of batch {number} of X", targets, nan=True)
        weights = _weights(f"the weights of batch {number} of X", weights)
        for name, values in (("labels", targets), ("weights", weights)):
            if values.shape != (len(bags),):
                raise ValueError(
                    f"batch {number} of X has {len(bags)} bags and {name} of shape {values.shape}; accepted: one a "
                    "bag, and ([slide], [label]) for a batch of one bag"
                )
        return bags, targets, weights


def batch_parts(batch: Any) -> tuple[Any, ...]:
    """(bags,), (bags, labels) or (bags, labels, weights) of what a batch is; a list of arrays may be any of them."""
    if isinstance(batch, tuple):
        return batch
    first = batch[0] if isinstance(batch, list) and len(batch) in (2, 3) else None
    if isinstance(first, Bags) or getattr(first, "ndim", 0) == 3:
        return tuple(batch)
    return (batch,)


def _is_empty(batch: Any) -> bool:
    bags = batch_parts(batch)[0]
    return hasattr(bags, "__len__") and len(bags) == 0


class Partitions:
    """Dask partitions: delayed objects that give Bags with labels, or (bags, labels), or (bags, labels, weights).

    Every pass maps over the workers, and only sums and per-bag numbers come back.
    """

    def __init__(self, parts: Sequence[Any], labels: Any, weights: Any, checked: Callable[[Any], np.ndarray]) -> None:
        self.parts, self.targets, self.weights, self.checked = list(parts), labels, weights, checked
        self.feature_names: tuple[str, ...] | None = None
        self.counts: list[int] | None = None
        self.longest = 0

    def each(self, work: Work, *aligned: np.ndarray) -> Iterator[Any]:
        """work(block) for every block of every partition, in order."""
        for results in self._mapped(work, aligned, False):
            yield from results

    def total(self, work: Work, *aligned: np.ndarray) -> Any:
        """The sum of work(block), added up on each worker first."""
        return reduce(add, (results[0] for results in self._mapped(work, aligned, True)))

    def _mapped(self, work: Work, aligned: tuple[np.ndarray, ...], summed: bool) -> list[list[Any]]:
        from dask.base import compute
        from dask.delayed import delayed

        given = aligned or (self.targets, self.weights)
        slices: list[Any] = [(None, None)] * len(self.parts)
        if any(values is not None for values in given):
            if self.counts is None:
                self.counts = list(compute(*(delayed(_count)(part) for part in self.parts)))
            stops = np.cumsum([0, *self.counts])
            for name, values in zip(("y", "sample_weight"), given, strict=True):
                if values is not None and len(values) != stops[-1]:
                    raise ValueError(f"{name} has {len(values)} values and X {stops[-1]} bags; accepted: one for each")
            slices = [
                tuple(None if values is None else values[start:stop] for values in given)
                for start, stop in pairwise(stops)
            ]
        tasks = [delayed(_on_partition)(part, work, own, summed) for part, own in zip(self.parts, slices, strict=True)]
        found = compute(*tasks)
        if not aligned:
            targets, self.weights = (np.concatenate([answer[i] for answer in found]) for i in (1, 2))
            self.targets, self.feature_names = self.checked(targets), found[0][4]
            self.longest = max(answer[5] for answer in found)
            self.counts = [len(answer[1]) for answer in found]
            dims = {answer[3] for answer in found}
            if len(dims) > 1:
                raise ValueError(f"the partitions of X have {sorted(dims)} features; accepted: one number")
            if len({answer[4] for answer in found}) > 1:
                raise ValueError("the partitions of X have features of different names; accepted: the same ones")
        return [answer[0] for answer in found]


def _on_partition(part: Any, work: Work, own: tuple[Any, Any], summed: bool) -> tuple[Any, ...]:
    source = Stream([part], *own)
    results = [source.total(work)] if summed else list(source.each(work))
    assert source.dim is not None
    return results, source.targets, source.weights, source.dim, source.feature_names, source.longest


def _count(part: Any) -> int:
    return len(as_bags(batch_parts(part)[0]))


def _joined(parts: list[tuple[Bags, np.ndarray, np.ndarray]]) -> Block:
    bags, targets, weights = zip(*parts, strict=True)
    return Block(concatenate(bags), np.concatenate(targets), np.concatenate(weights))


def _cuts(offsets: np.ndarray, dim: int) -> list[int]:
    """Where blocks begin and end: each holds as few bags as reach `BLOCK_VALUES` numbers."""
    cuts, last = [0], len(offsets) - 1
    while cuts[-1] < last:
        full = offsets[cuts[-1]] + -(-BLOCK_VALUES // dim)
        cuts.append(min(int(np.searchsorted(offsets, full)), last))
    return cuts


def _in_order(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """work(item) for every item, in order, on as many threads as BLAS would take; a few items are read ahead.

    BLAS itself keeps to one thread: on blocks that fit the caches its threads wait for one another more than they work.
    """
    workers = _threads()
    with one_blas_thread():
        iterator = iter(items)
        first = list(islice(iterator, 2))
        if len(first) < 2 or workers == 1:
            yield from map(work, chain(first, iterator))
            return
        with ThreadPoolExecutor(workers) as pool:
            pending = deque(pool.submit(work, item) for item in first)
            for item in iterator:
                pending.append(pool.submit(work, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()


def _threads() -> int:
    """What BLAS would take, which a user, joblib or a cluster may have limited; never more than the cores we have."""
    allowed = [library["num_threads"] for library in blas().info() if library["user_api"] == "blas"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *allowed]))


def _release(array: np.memmap) -> None:
    """Let go of the pages of a mapped file that have been read: they count as memory of this process."""
    import mmap

    mapped = getattr(array, "_mmap", None)
    # In the mode "c" the pages hold changes that are nowhere else.
    if mapped is not None and array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def source_of(X: Any, y: Any, sample_weight: Any, checked: Callable[[Any], np.ndarray]) -> Any:
    """The source of bags that are not in memory, None for those that are; `checked` returns labels or raises."""
    array: Any = X if is_dask(X) and getattr(X, "ndim", 0) == 3 else None
    delayed = isinstance(X, list | tuple) and len(X) > 0 and all(map(is_dask, X))
    if not (array is not None or delayed or on_disk(X) or is_stream(X)):
        return None
    labels = None if y is None else checked(y)
    weights = None if sample_weight is None else _weights("sample_weight", sample_weight)
    if array is not None:
        return Partitions(list(array.rechunk({1: -1, 2: -1}).to_delayed().ravel()), labels, weights, checked)
    if delayed:
        return Partitions(X, labels, weights, checked)
    if not on_disk(X):
        return Stream(X, labels, weights, checked)
    bags = SlicedArray(X)
    weights = np.ones(len(bags)) if weights is None else weights
    for name, values in (("y", labels), ("sample_weight", weights)):
        if values is None or values.shape != (len(bags),):
            held = "is None" if values is None else f"has shape {values.shape}"
            raise ValueError(f"{name} {held} and X holds {len(bags)} bags; accepted: one value a bag")
    return Memory(bags, labels, weights)


def is_stream(X: Any) -> bool:
    """Whether X is to be iterated over for batches: a list of Bags or of (bags, labels), or any object but arrays."""
    if isinstance(X, list | tuple):
        return len(X) > 0 and all(map(_is_batch, X))
    return hasattr(X, "__iter__") and not hasattr(X, "shape") and not isinstance(X, Mapping | str)


def _is_batch(item: Any) -> bool:
    """Bags, or a tuple or list of bags and labels; not a row of numbers."""
    if isinstance(item, Bags):
        return True
    parts = batch_parts(item)
    return isinstance(item, tuple | list) and len(parts) > 1 and not all(map(np.isscalar, parts))


def on_disk(X: Any) -> bool:
    """Whether X is an (n, L, d) array that is sliced as it is read: np.memmap, zarr, h5py; a dask array is computed."""
    if isinstance(X, np.ndarray) and not isinstance(X, np.memmap):
        return False
    return len(getattr(X, "shape", None) or ()) == 3 and hasattr(X, "__getitem__")


def _weights(name: str, values: Any) -> np.ndarray:
    weights = real(name, values).astype(np.float64)
    if weights.ndim != 1 or not np.all(np.isfinite(weights)) or np.any(weights < 0.0):
        raise ValueError(f"{name} has shape {weights.shape} or a value that is negative or not finite; accepted: >= 0")
    return weights
