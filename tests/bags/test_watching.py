"""Features that tell bags or rows apart, found a batch at a time, against looking at every column at once."""

import warnings
from itertools import pairwise

import hypothesis
import numpy as np
from hypothesis import strategies as some

from solvable.bags import watching
from solvable.bags.watching import Watch

D = 8


@hypothesis.given(some.lists(some.integers(1, 4), min_size=1, max_size=9), some.data())
def test_batches_find_what_the_whole_shows(lengths, data):
    rng = np.random.default_rng(data.draw(some.integers(0, 2**32 - 1)))
    bag = np.repeat(np.arange(len(lengths)), lengths)
    rows = len(bag)
    tokens = rng.integers(0, 2, size=(rows, D)).astype(float)
    tokens[:, 1] = rng.integers(0, 3, size=len(lengths))[bag]
    tokens[:, 2], tokens[:, 3] = np.arange(rows), 7.0
    tokens[:, 4] = tokens[:, 2] + 2.0 * (rng.random(rows) < 0.05)
    cuts = sorted({0, len(lengths), *data.draw(some.lists(some.integers(0, len(lengths)), max_size=4))})
    offsets = np.cumsum([0, *lengths])
    # what changes only where blocks of three rows, or batches, begin
    tokens[:, 5], tokens[:, 6] = np.arange(rows) // 3, np.arange(rows) - 10.0 * (np.arange(rows) // 3)
    tokens[:, 7] = np.arange(rows) - np.searchsorted(offsets[cuts[1:]], np.arange(rows), side="right")
    within = np.array([all(np.ptp(tokens[bag == i, j]) == 0.0 for i in range(len(lengths))) for j in range(D)])
    constant = within & (np.ptp(tokens, axis=0) > 0.0) & (max(lengths) > 1)
    growing = (np.diff(tokens, axis=0) > 0.0).all(axis=0) & (rows >= 3)
    seen, before = Watch(), (watching.BLOCK, watching.ROWS)
    watching.BLOCK, watching.ROWS = 3, 3
    try:
        for start, stop in pairwise(cuts):
            part = slice(offsets[start], offsets[stop])
            seen.see(tokens[part], offsets[start : stop + 1] - offsets[start])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            seen.warn([f"<{j}>" for j in range(D)], "here", "leave them out")
    finally:
        watching.BLOCK, watching.ROWS = before
    text = str(said[0].message) if said else ""
    kinds = ("constant within every bag", constant), ("growing from row to row", growing)
    for words, found in kinds:
        named = {j for j in range(D) if any(f"<{j}>" in part for part in text.split(")") if words in part)}
        assert named == set(np.flatnonzero(found))
