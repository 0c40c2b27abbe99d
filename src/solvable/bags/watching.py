"""Which features tell bags or rows apart rather than tokens: ids, counters, labels by another name."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

BLOCK = 1024  # rows that are looked at together
ROWS = 20  # as many numbers grow by chance in one column of 20! = 2e18


class Watch:
    """Looks for columns that tell bags or rows apart rather than tokens, a batch of whole bags at a time.

    Such are ids, counters and labels by another name: what is constant within every bag but differs between bags, and
    what grows from each row to the next.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.repeated = False  # whether a bag had more than one token
        self.constant = self.growing = np.zeros(0, dtype=int)
        self.first = self.last = np.zeros(0)
        self.varies = np.zeros(0, dtype=bool)

    def see(self, tokens: np.ndarray, offsets: np.ndarray) -> None:
        """Bags, their rows in the order of the file."""
        if self.rows == 0:
            self.constant = self.growing = np.arange(tokens.shape[1])
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

    def warn(self, names: Sequence[str] | None, path: str, remedy: str) -> None:
        """Warn of what was found, by name."""
        constant = self.constant[self.varies[self.constant]] if self.repeated else self.constant[:0]
        growing = self.growing if self.rows >= ROWS else self.growing[:0]
        found = []
        for numbers, what in ((constant, "constant within every bag"), (growing, "growing from row to row")):
            if len(numbers):
                listed = [f"feature {i}" if names is None else names[int(i)] for i in numbers[:6]]
                found.append(f"{', '.join(listed)}{', ...' if len(numbers) > 6 else ''} ({what})")
        if found:
            warnings.warn(
                f"{path!r} has the features {' and '.join(found)}: ids, counters and labels would be learned; {remedy}",
                stacklevel=4,
            )


def watched(bags: Any, path: str) -> Any:
    """The bags, after a warning of such features."""
    seen = Watch()
    seen.see(bags.values, bags.offsets)
    seen.warn(bags.feature_names, path, "leave them out")
    return bags
