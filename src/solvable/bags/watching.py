"""Which features tell bags or rows apart rather than tokens: ids, counters, labels by another name."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

BLOCK = 1024  # rows that are looked at together
ROWS = 20  # as many numbers grow by chance in one column of 20! = 2e18
BAGS = 10  # the ranges of as many pairs of numbers never overlap by chance in one column of 19!! = 7e8
WHOLE = 2.0**53  # what is not below is no whole number for sure


class Watch:
    """Looks for columns that tell bags or rows apart rather than tokens, a batch of whole bags at a time.

    Such are ids, counters and labels by another name: what is constant within every bag but differs between bags, what
    grows from each row to the next, what has ranges that never overlap in the bags of several tokens (row numbers of a
    file that was sorted by bags, whatever its order is now), and the whole numbers of a range, each of them once.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.repeated = False  # whether a bag had more than one token
        self.constant = self.growing = self.apart = np.zeros(0, dtype=int)
        self.ranges: list[tuple[np.ndarray, np.ndarray]] = []  # a batch's columns `apart`, least and largest values
        self.counting: dict[int, np.ndarray] = {}  # of columns of whole numbers: least, largest, sum, sum of squares
        self.first = self.last = np.zeros(0)
        self.varies = np.zeros(0, dtype=bool)

    def see(self, tokens: np.ndarray, offsets: np.ndarray) -> None:
        """Bags, their rows in the order of the file."""
        if self.rows == 0:
            self.constant = self.growing = self.apart = np.arange(tokens.shape[1])
            self.counting = {int(j): np.zeros((0, 4), dtype=np.int64) for j in np.flatnonzero(_whole(tokens[:1]))}
            self.first, self.varies = tokens[0].copy(), np.zeros(tokens.shape[1], dtype=bool)
        else:
            self.growing = self.growing[tokens[0, self.growing] > self.last[self.growing]]
        self.rows, self.last = self.rows + len(tokens), tokens[-1].copy()
        inside = np.ones(len(tokens), dtype=bool)
        inside[offsets[:-1]] = False
        self.repeated |= bool(inside.any())
        for start in range(0, len(tokens), BLOCK):
            if not len(self.constant) and not len(self.growing):  # as with the first rows, mostly
                break
            part = slice(max(start - 1, 0), start + BLOCK)
            steps = np.diff(tokens[part][:, self.constant], axis=0)
            self.constant = self.constant[~(steps[inside[part][1:]] != 0.0).any(axis=0)]
            self.growing = self.growing[(np.diff(tokens[part][:, self.growing], axis=0) > 0.0).all(axis=0)]
        self.varies[self.constant] |= (tokens[offsets[:-1]][:, self.constant] != self.first[self.constant]).any(axis=0)

        self._see_ranges(tokens, offsets)
        for column, before in list(self.counting.items()):
            del self.counting[column]
            numbers = tokens[:, column]
            if all(_whole(part).all() and len(np.unique(part)) == len(part) for part in (numbers[:BLOCK], numbers)):
                numbers = numbers.astype(np.int64)  # whose squares overflow as they do in `warn`
                now = np.array([[numbers.min(), numbers.max(), numbers.sum(), (numbers * numbers).sum()]])
                self.counting[column] = np.concatenate([before, now])

    def _see_ranges(self, tokens: np.ndarray, offsets: np.ndarray) -> None:
        """Keep the columns whose ranges in the bags of several tokens do not overlap."""
        several = np.flatnonzero(np.diff(offsets) > 1)
        for bags in (several[:BAGS], several):  # most columns are out after the first few bags
            if len(bags) and len(self.apart):
                stop = bags[-1] + 1
                held = tokens[: offsets[stop], self.apart]
                ends = np.stack([work.reduceat(held, offsets[:stop])[bags] for work in (np.minimum, np.maximum)])
                kept = _separate(ends)
                self.apart = self.apart[kept]
                if bags is several:
                    self.ranges.append((self.apart, ends[:, :, kept]))

    def _apart(self) -> np.ndarray:
        """The columns whose ranges do not overlap over all batches."""
        ends = [held[:, :, np.isin(columns, self.apart)] for columns, held in self.ranges]
        if sum(held.shape[1] for held in ends) < BAGS:
            return self.apart[:0]
        return self.apart[_separate(np.concatenate(ends, axis=1))]

    def _counting(self) -> np.ndarray:
        """The columns that hold the whole numbers of a range, each of them once."""
        found = []
        for column, batches in self.counting.items():
            first = int(batches[:, 0].min())
            if int(batches[:, 1].max()) - first == self.rows - 1:
                numbers = first + np.arange(self.rows)
                sums = np.stack([numbers.sum(), (numbers * numbers).sum()])
                found += [column] * bool((batches[:, 2:].sum(axis=0) == sums).all())
        return np.array(found, dtype=int)

    def warn(self, names: Sequence[str] | None, path: str, remedy: str) -> None:
        """Warn of what was found, by name."""
        constant = self.constant[self.varies[self.constant]] if self.repeated else self.constant[:0]
        kinds = {"constant within every bag": constant}
        if self.rows >= ROWS:
            kinds |= {"growing from row to row": self.growing}
            kinds |= {"of ranges that never overlap between bags": self._apart(), "of row numbers": self._counting()}
        found, named = [], np.zeros(0, dtype=int)
        for what, numbers in kinds.items():
            numbers = np.setdiff1d(numbers, named)
            named = np.append(named, numbers)
            if len(numbers):
                listed = [f"feature {i}" if names is None else names[int(i)] for i in numbers[:6]]
                found.append(f"{', '.join(listed)}{', ...' if len(numbers) > 6 else ''} ({what})")
        if found:
            warnings.warn(
                f"{path!r} has the features {' and '.join(found)}: ids, counters and labels would be learned; {remedy}",
                stacklevel=4,
            )


def _whole(numbers: np.ndarray) -> np.ndarray:
    return (np.abs(numbers) < WHOLE) & (numbers == np.floor(numbers))


def _separate(ends: np.ndarray) -> np.ndarray:
    """Whether ranges, from ends[0] to ends[1] (bags, d), do not overlap, (d,)."""
    low, high = np.take_along_axis(ends, np.argsort(ends[:1], axis=1), axis=1)
    return np.all(low[1:] > high[:-1], axis=0)


def watched(bags: Any, path: str, remedy: str = "leave them out") -> Any:
    """The bags, after a warning of such features."""
    seen = Watch()
    seen.see(bags.values, bags.offsets)
    seen.warn(bags.feature_names, path, remedy)
    return bags
