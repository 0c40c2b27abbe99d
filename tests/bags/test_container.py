"""The container: what it takes, how it is sliced, what it refuses."""

import hypothesis
import numpy as np
import pytest
import scipy.sparse
from hypothesis import strategies as some
from sklearn.model_selection import train_test_split

from solvable.bags import Bags
from solvable.bags.container import as_bags, concatenate

RAGGED = [np.arange(3.0 * k).reshape(k, 3) + 10 * k for k in (2, 5, 1, 4)]


def test_what_goes_in_comes_out():
    bags = as_bags(RAGGED)
    assert (len(bags), bags.shape, bags.lengths.tolist()) == (4, (4, 3), [2, 5, 1, 4])
    for given, held in zip(RAGGED, bags, strict=True):
        np.testing.assert_array_equal(given, held)
    objects = np.empty(4, dtype=object)
    objects[:] = RAGGED
    np.testing.assert_array_equal(as_bags(objects).values, bags.values)
    assert as_bags(bags) is bags


def test_an_array_is_not_copied_and_keeps_its_precision():
    tokens = np.ones((5, 2, 3), dtype=np.float32)
    bags = as_bags(tokens)
    assert np.shares_memory(bags.values, tokens)
    assert bags.values.dtype == np.float32
    assert as_bags(np.ones((4, 3), dtype=int)).values.dtype == np.float64
    assert as_bags(np.ones((4, 3))).lengths.tolist() == [1, 1, 1, 1]


@hypothesis.given(some.lists(some.integers(1, 6), min_size=1, max_size=8), some.data())
def test_slices_are_what_lists_would_give(lengths, data):
    rng = np.random.default_rng(len(lengths))
    arrays = [rng.normal(size=(length, 2)) for length in lengths]
    bags = Bags(
        np.concatenate(arrays),
        np.cumsum([0, *lengths]),
        labels=np.arange(len(lengths)),
        token_labels=np.arange(sum(lengths)),
    )
    chosen = data.draw(some.lists(some.integers(0, len(lengths) - 1), max_size=8))
    part = bags[np.array(chosen, dtype=int)]
    assert part.labels is not None
    assert part.token_labels is not None
    assert part.labels.tolist() == chosen
    for number, held in zip(chosen, part, strict=True):
        np.testing.assert_array_equal(held, arrays[number])
    starts = np.cumsum([0, *lengths])
    np.testing.assert_array_equal(
        part.token_labels, [row for number in chosen for row in range(starts[number], starts[number + 1])]
    )
    half = len(lengths) // 2
    joined = concatenate([bags[:half], bags[half:]])
    np.testing.assert_array_equal(joined.values, bags.values)
    np.testing.assert_array_equal(joined.offsets, bags.offsets)


def test_scikit_learn_splits_it():
    bags = as_bags(RAGGED)
    train, test, one, two = train_test_split(bags, np.arange(4), test_size=1, random_state=0)
    for number, held in zip([*one, *two], [*train, *test], strict=True):
        np.testing.assert_array_equal(held, RAGGED[number])
    assert len(bags[np.array([True, False, False, True])]) == 2
    np.testing.assert_array_equal(bags[-1], RAGGED[-1])
    with pytest.raises(IndexError, match=r"bags\[4\] is out of range; accepted: -4 to 3"):
        bags[4]
    with pytest.raises(IndexError, match="one index"):
        bags[1, 2]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([np.ones((2, 3)), np.ones((0, 3))], r"X\[1\] is an empty bag"),
        ([np.ones((2, 3)), np.ones((1, 4))], r"X\[1\] has 4 features and X\[0\] has 3"),
        ([np.ones((2, 3)), np.full((1, 3), np.nan)], "NaN, in bag 1"),
        ([np.ones((2, 3)), np.full((1, 3), -np.inf)], "infinity, in bag 1"),
        ([np.ones((2, 3)), np.ones(3)], r"X\[1\] has shape \(3,\)"),
        (np.ones((2, 3, 4, 1)), r"X has shape \(2, 3, 4, 1\)"),
        (np.ones((2, 0, 4)), r"X has shape \(2, 0, 4\)"),
        (np.array([["a"]]), "dtype <U1"),
    ],
)
def test_one_sentence_for_bad_bags(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        as_bags(given)


@pytest.mark.parametrize(
    ("offsets", "sentence"),
    [
        ([0, 2, 2, 4], "bag 1 is an empty bag"),
        ([0, 3, 2, 4], "bag 1 ends before it begins"),
        ([0, 2], "from 0 to 2; accepted: from 0 to 4"),
        ([0.0, 4.0], "dtype float64"),
    ],
)
def test_one_sentence_for_bad_offsets(offsets, sentence):
    with pytest.raises(ValueError, match=sentence):
        Bags(np.ones((4, 2)), offsets)


def test_one_sentence_for_what_is_not_aligned():
    with pytest.raises(ValueError, match=r"labels has shape \(3,\); accepted: \(2,\)"):
        Bags(np.ones((4, 2)), [0, 2, 4], labels=[1, 2, 3])
    with pytest.raises(TypeError, match="sparse"):
        as_bags(scipy.sparse.eye_array(3).tocsr())
