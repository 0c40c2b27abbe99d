"""Features that tell bags or rows apart, found a batch at a time, against looking at every column at once."""

import warnings
from itertools import combinations, pairwise

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as some

from solvable.bags import Bags, ParquetBags, watching
from solvable.bags.watching import Watch

D = 10


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
    # row numbers: of bags in another order, shuffled within them; of rows in any order
    shuffled = rng.permutation(len(lengths))
    tokens[:, 8], tokens[:, 9] = shuffled[bag] * 10.0 + rng.permutation(rows) / rows, rng.permutation(rows) + 5.0
    within = np.array([all(np.ptp(tokens[bag == i, j]) == 0.0 for i in range(len(lengths))) for j in range(D)])
    constant = within & (np.ptp(tokens, axis=0) > 0.0) & (max(lengths) > 1)
    growing = (np.diff(tokens, axis=0) > 0.0).all(axis=0) & (rows >= 3)
    several = [bag == i for i in range(len(lengths)) if lengths[i] > 1]
    ends = [(tokens[rows].min(axis=0), tokens[rows].max(axis=0)) for rows in several]
    disjoint = [(a[0] > b[1]) | (a[1] < b[0]) for a, b in combinations(ends, 2)]
    apart = np.all(disjoint, axis=0) & (len(several) >= 2) & (rows >= 3) & ~constant & ~growing
    numbers = (np.diff(np.sort(tokens, axis=0), axis=0) == 1.0).all(axis=0) & (tokens % 1.0 == 0.0).all(axis=0)
    numbers &= (rows >= 3) & ~constant & ~growing & ~apart
    seen, before = Watch(), (watching.BLOCK, watching.ROWS, watching.BAGS)
    watching.BLOCK, watching.ROWS, watching.BAGS = 3, 3, 2
    try:
        for start, stop in pairwise(cuts):
            part = slice(offsets[start], offsets[stop])
            seen.see(tokens[part], offsets[start : stop + 1] - offsets[start])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            seen.warn([f"<{j}>" for j in range(D)], "here", "leave them out")
    finally:
        watching.BLOCK, watching.ROWS, watching.BAGS = before
    text = str(said[0].message) if said else ""
    kinds = ("constant within every bag", constant), ("growing from row to row", growing), ("never overlap", apart)
    kinds += (("of row numbers", numbers),)
    for words, found in kinds:
        named = {j for j in range(D) if any(f"<{j}>" in part for part in text.split(")") if words in part)}
        assert named == set(np.flatnonzero(found))


@pytest.mark.parametrize("order", ["sorted", "shuffled", "descending", "cohorts"])
def test_row_numbers_of_a_file_in_any_order_are_named(order, tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 2)), columns=["f", "g"])
    frame["bag"], frame["label"] = np.repeat(np.arange(30), 4), np.repeat(np.arange(30) % 2, 4)
    frame = frame.reset_index()
    if order == "cohorts":
        frame = pd.concat([frame[frame.label == 1], frame[frame.label == 0]])
    frame = {"shuffled": frame.sample(frac=1, random_state=0), "descending": frame[::-1]}.get(order, frame)
    frame.to_parquet(tmp_path / "bags.parquet", index=False)
    with pytest.warns(UserWarning, match=r"has the features index \((growing|of ranges that never overlap)"):
        Bags.from_parquet(tmp_path / "bags.parquet")
    frame = frame.assign(bag=np.arange(120), label=np.arange(120) % 2)
    frame.to_parquet(tmp_path / "points.parquet", index=False)
    with pytest.warns(UserWarning, match=r"has the features index \((growing|of row numbers)"):
        list(ParquetBags(tmp_path / "points.parquet", batch_tokens=50))
