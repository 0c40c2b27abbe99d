"""Bags of tokens: the tokens of all bags in one array, and where each bag begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from solvable.bags.arrays import NAMES, PER_BAG, PER_TOKEN, column, given, real
from solvable.bags.files import REMEDY, ParquetColumns, read_npz
from solvable.bags.watching import watched
from solvable.numerics.validation import unmasked


class Bags:
    """n bags of tokens: `values` (N, d) holds their tokens in a row, bag i is values[offsets[i]:offsets[i+1]].

    Arguments: values (N, d), real and finite; offsets (n+1,), whole numbers that begin at 0, end at N and increase, so
    that no bag is empty; optionally `ids` (n,), `labels` (n,), `token_labels` (N,), `coordinates` (N, k), where in its
    slide or record a token lies, `feature_names` (d names, by default those of a data frame) and `coordinate_names` (k
    names), which are carried along; estimators learn from the values alone, and compare the names in what they predict
    with those in what they learned. `len` is n, `shape` is (n, d). bags[i] is the (L_i, d) array of one bag,
    bags[slice, index array or mask] are Bags, so that scikit-learn's splitters and searches take them. The token axis
    comes before the feature axis. Nothing is copied that need not be: integers become float64, floats keep their
    precision.

    Raises: ValueError naming the argument, the bag and what is accepted: masked arrays, complex numbers, texts, dates
    and records are no tokens; a missing id or label is refused, that of a token is not.
    Warns: of the columns of a data frame that are constant within every bag, or look like row numbers (see `watching`).
    """

    def __init__(
        self,
        values: Any,
        offsets: Any,
        *,
        ids: Any = None,
        labels: Any = None,
        token_labels: Any = None,
        coordinates: Any = None,
        feature_names: Sequence[str] | None = None,
        coordinate_names: Sequence[str] | None = None,
    ) -> None:
        self.values = real("values", values)
        if self.values.ndim != 2:
            raise ValueError(f"values has shape {self.values.shape}; accepted: (N, d), one row a token")
        self.offsets = _offsets(offsets, len(self.values))
        self.ids = _aligned("ids", ids, len(self), "a bag", dates=True)
        self.labels = _aligned("labels", labels, len(self), "a bag")
        self.token_labels = _aligned("token_labels", token_labels, len(self.values), "a token", missing=True)
        self.coordinates = None if coordinates is None else real("coordinates", coordinates)
        if self.coordinates is not None and (self.coordinates.ndim != 2 or len(self.coordinates) != len(self.values)):
            raise ValueError(
                f"coordinates has shape {self.coordinates.shape}; accepted: ({len(self.values)}, k), one row a token"
            )
        places = 0 if self.coordinates is None else self.coordinates.shape[1]
        names = names_of(values) if feature_names is None else feature_names
        self.feature_names = _names("feature_names", names, self.shape[1], "a feature")
        self.coordinate_names = _names("coordinate_names", coordinate_names, places, "a coordinate")
        require_finite(self.values, self.offsets)
        if names_of(values) is not None:  # a table of a user's, in which more may stand than features
            watched(self, "values")

    @classmethod
    def from_parquet(cls, path: str | os.PathLike[str], **columns: Any) -> Bags:
        """All bags of a Parquet file or folder at once; see `ParquetBags` for the columns.

        The tokens of a bag may lie anywhere; bags are in the order in which they first appear.
        """
        return watched(cls(**ParquetColumns(path, **columns).whole()), str(path), REMEDY)

    @classmethod
    def from_npz(cls, path: str | os.PathLike[str]) -> Bags:
        """Read bags from a .npz file that holds `values` and `offsets`, and what else `Bags` takes, by its name.

        Pickled objects are refused. Raises: ValueError naming the file and what is missing; FileNotFoundError.
        """
        return watched(cls(**read_npz(path)), str(path))

    def __len__(self) -> int:
        """The number of bags."""
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """(number of bags, features a token)."""
        return len(self), self.values.shape[1]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens a bag, (n,)."""
        return np.diff(self.offsets)

    def __getitem__(self, key: Any) -> Any:
        """One bag as an array for a whole number; Bags for a slice, an array of whole numbers or a mask."""
        if isinstance(key, tuple):  # scikit-learn indexes whatever has a shape by [key, ...]
            if len(key) != 2 or (key[1] is not Ellipsis and key[1] != slice(None)):
                raise IndexError(
                    f"bags[{key!r}]: accepted: one index, which picks bags; transform the values by column"
                )
            key = key[0]
        if isinstance(key, int | np.integer):
            number = int(key) + (len(self) if key < 0 else 0)
            if not 0 <= number < len(self):
                raise IndexError(f"bags[{int(key)}] is out of range; accepted: {-len(self)} to {len(self) - 1}")
            return self.values[self.offsets[number] : self.offsets[number + 1]]
        chosen = np.arange(len(self))[key]
        if len(chosen) and np.array_equal(chosen, np.arange(chosen[0], chosen[0] + len(chosen))):
            tokens: Any = slice(self.offsets[chosen[0]], self.offsets[chosen[-1] + 1])
        else:
            tokens = token_rows(self.offsets, chosen)
        held = {name: (tokens, getattr(self, name)) for name in PER_TOKEN}
        held |= {name: (chosen, getattr(self, name)) for name in PER_BAG}
        return unchecked(
            self.values[tokens],
            np.concatenate([[0], np.cumsum(self.lengths[chosen])]),
            **{name: None if array is None else array[rows] for name, (rows, array) in held.items()},
            **{name: getattr(self, name) for name in NAMES},
        )

    def __iter__(self) -> Any:
        """The bags, one array each."""
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        """How many bags, of how many tokens, in how many dimensions."""
        lengths = self.lengths
        sizes = "no" if not len(self) else " to ".join(str(x) for x in sorted({lengths.min(), lengths.max()}))
        return f"Bags(bags={len(self)}, tokens a bag={sizes}, features={self.shape[1]})"


def as_bags(X: Any, name: str = "X") -> Bags:
    """Bags from Bags, an (n, L, d) array, a list or object array of (L_i, d) arrays, or (n, d): bags of one token.

    Raises: ValueError naming the argument, the bag and what is accepted; TypeError for a sparse matrix.
    """
    if isinstance(X, Bags):
        return X
    if hasattr(X, "toarray"):
        raise TypeError(f"{name} is a sparse matrix, which bags are not made of; accepted: a dense array (X.toarray())")
    X = given(X, name)
    if isinstance(X, list | tuple):
        if len(X) == 0:
            raise ValueError(f"{name} holds no bag; accepted: at least one")
        if len(X) and all(np.ndim(bag) == 2 for bag in X):
            return _from_list(X, name)
        if len({np.shape(bag) for bag in X}) > 1:
            i = next(i for i, bag in enumerate(X) if np.ndim(bag) != 2)
            raise ValueError(f"{name}[{i}] has shape {np.shape(X[i])}; accepted: (L, d), one row a token")
    if not hasattr(X, "shape") and not hasattr(X, "__array__"):
        raise TypeError(
            f"{name} is a {type(X).__name__}; accepted: bags in memory: (n, L, d), a list of (L, d) arrays, or Bags "
            "(Bags.from_parquet(path), ParquetBags(path).read())"
        )
    array = real(name, X)
    if array.ndim == 1:
        raise ValueError(
            f"Expected 2D array or more, got 1D array instead: {name} has shape {array.shape}; accepted: (n, L, d), "
            "(n, d), a list of (L, d) arrays, or Bags. Reshape your data using X.reshape(-1, 1) or X.reshape(1, -1)"
        )
    if array.ndim not in (2, 3):
        raise ValueError(
            f"{name} has shape {array.shape}; accepted: (n, L, d), (n, d), a list of (L, d) arrays, or Bags"
        )
    length = array.shape[1] if array.ndim == 3 else 1
    if 0 in array.shape:
        raise ValueError(
            f"{name} has shape {array.shape}: Found array with {array.shape[0]} sample(s), or 0 feature(s) "
            f"(shape={array.shape}) while a minimum of 1 is required; accepted: at least one bag, token and feature"
        )
    bags = unchecked(array.reshape(-1, array.shape[-1]), np.arange(len(array) + 1) * length)
    require_finite(bags.values, bags.offsets, name)
    return bags


def in_memory(X: Any) -> Bags | None:
    """What `as_bags` makes of X; None where it refuses X, which other estimators may take."""
    try:
        return as_bags(X)
    except (TypeError, ValueError):
        return None


def token_rows(offsets: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The rows of the tokens of the chosen bags, bag after bag."""
    lengths = np.diff(offsets)[chosen]
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(offsets[:-1][chosen] - (ends - lengths), lengths)


def concatenate(parts: Sequence[Bags]) -> Bags:
    """The bags of all parts, one after the other; ids and labels only where every part has them."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.values) for part in parts)])
    offsets = np.concatenate([[0], *(part.offsets[1:] + start for part, start in zip(parts, starts, strict=False))])

    def joined(name: str) -> Any:
        held = [getattr(part, name) for part in parts]
        return None if any(item is None for item in held) else np.concatenate(held)

    values = np.concatenate([part.values for part in parts])
    held = {name: joined(name) for name in PER_BAG + PER_TOKEN}
    return unchecked(values, offsets, **held, **{name: getattr(parts[0], name) for name in NAMES})


def unchecked(values: Any, offsets: Any, **held: Any) -> Bags:
    """Bags of what has been checked before; what is not named is None."""
    bags = object.__new__(Bags)
    bags.values, bags.offsets = values, offsets
    for name in PER_BAG + PER_TOKEN + NAMES:
        setattr(bags, name, held.get(name))
    return bags


def names_of(frame: Any) -> tuple[str, ...] | None:
    """The names of the columns of a data frame, where they are words; None for what has no such names."""
    names = getattr(frame, "columns", None)
    return tuple(names) if names is not None and all(isinstance(name, str) for name in names) else None


def _from_list(X: Sequence[Any], name: str) -> Bags:
    arrays = [real(f"{name}[{i}]", bag) for i, bag in enumerate(X)]
    dim, names = arrays[0].shape[1], names_of(X[0])
    for i, bag in enumerate(arrays):
        if len(bag) == 0:
            raise ValueError(f"{name}[{i}] is an empty bag; accepted: at least one token a bag")
        if bag.shape[1] != dim:
            raise ValueError(f"{name}[{i}] has {bag.shape[1]} features and {name}[0] has {dim}; accepted: one number")
        if names_of(X[i]) != names:
            raise ValueError(f"{name}[{i}] has other columns than {name}[0]; accepted: the same ones in the same order")
    offsets = np.cumsum([0, *(len(bag) for bag in arrays)])
    bags = unchecked(np.concatenate(arrays), offsets, feature_names=names)
    require_finite(bags.values, bags.offsets, name)
    return bags


def _offsets(offsets: Any, tokens: int) -> np.ndarray:
    unmasked("offsets", offsets)
    array = np.asarray(offsets)
    if array.ndim != 1 or len(array) == 0 or array.dtype.kind not in "iu":
        raise ValueError(f"offsets has shape {array.shape} and dtype {array.dtype}; accepted: whole numbers, (n+1,)")
    array = array.astype(np.int64)
    if array[0] != 0 or array[-1] != tokens:
        raise ValueError(f"offsets runs from {array[0]} to {array[-1]}; accepted: from 0 to {tokens}, the tokens")
    if np.any(np.diff(array) <= 0):
        bag = int(np.argmax(np.diff(array) <= 0))
        what = "is an empty bag" if array[bag + 1] == array[bag] else "ends before it begins"
        raise ValueError(f"offsets: bag {bag} {what}; accepted: increasing offsets, at least one token a bag")
    return array


def _aligned(name: str, values: Any, count: int, what: str, **kinds: bool) -> np.ndarray | None:
    if values is None:
        return None
    array = column(name, values, **kinds)
    if array.shape != (count,):
        raise ValueError(f"{name} has shape {array.shape}; accepted: ({count},), one {what}")
    return array


def _names(name: str, names: Any, count: int, what: str) -> tuple[str, ...] | None:
    if names is None:
        return None
    found = tuple(map(str, np.ravel(names).tolist()))
    if len(found) != count:
        raise ValueError(f"{name} has {len(found)} names; accepted: {count}, one {what}")
    return found


def require_finite(values: np.ndarray, offsets: np.ndarray, name: str = "values", first: int = 0) -> None:
    """Raises: ValueError naming the bag (the first one is number `first`) when a value is not finite."""
    # The sum is finite exactly when every entry is (short of overflow), and needs no second copy of the tokens.
    with np.errstate(all="ignore"):
        if np.isfinite(np.sum(values)):
            return
    rows = ~np.isfinite(values).all(axis=1)
    if not rows.any():
        return
    row = int(np.argmax(rows))
    bag = first + int(np.searchsorted(offsets, row, side="right")) - 1
    kind = "NaN" if np.isnan(values[row]).any() else "infinity"
    raise ValueError(f"Input {name} contains {kind}, in bag {bag}; accepted: finite numbers")
