"""Bags of tokens: the tokens of all bags in one array, and where each bag begins."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Bags:
    """n bags of tokens: `values` (N, d) holds their tokens in a row, bag i is values[offsets[i]:offsets[i+1]].

    Arguments: values (N, d), real and finite; offsets (n+1,), whole numbers that begin at 0, end at N and increase, so
    that no bag is empty; optionally `ids` (n,), `labels` (n,), `token_labels` (N,) and `feature_names` (d names), which
    are carried along; estimators compare the names in what they predict with those in what they learned. `len` is n,
    `shape` is (n, d). bags[i] is the (L_i, d) array of one bag, bags[slice, index array or mask] are Bags, so that
    scikit-learn's splitters and searches take them. The token axis comes before the feature axis. Nothing is copied
    that need not be: integers become float64, floats keep their precision.

    Raises: ValueError naming the argument, the bag and what is accepted.
    """

    def __init__(
        self,
        values: Any,
        offsets: Any,
        *,
        ids: Any = None,
        labels: Any = None,
        token_labels: Any = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.values = _real("values", values)
        if self.values.ndim != 2:
            raise ValueError(f"values has shape {self.values.shape}; accepted: (N, d), one row a token")
        self.offsets = _offsets(offsets, len(self.values))
        self.ids = _aligned("ids", ids, len(self), "a bag")
        self.labels = _aligned("labels", labels, len(self), "a bag")
        self.token_labels = _aligned("token_labels", token_labels, len(self.values), "a token")
        self.feature_names = None if feature_names is None else tuple(feature_names)
        if self.feature_names is not None and len(self.feature_names) != self.shape[1]:
            raise ValueError(
                f"feature_names has {len(self.feature_names)} names; accepted: {self.shape[1]}, one a feature"
            )
        require_finite(self.values, self.offsets)

    @classmethod
    def from_parquet(cls, path: str | os.PathLike[str], **columns: Any) -> Bags:
        """Read the bags of a Parquet file or folder; see `solvable.bags.reading.read_parquet` for the columns."""
        from solvable.bags.reading import read_parquet

        return read_parquet(path, **columns)

    @classmethod
    def from_npz(cls, path: str | os.PathLike[str]) -> Bags:
        """Read bags from a .npz file that holds `values` and `offsets`, and `ids`, `labels`, `token_labels` if known.

        Pickled objects are refused. Raises: ValueError naming the file and what is missing; FileNotFoundError.
        """
        from solvable.bags.reading import read_npz

        return read_npz(path)

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
        return unchecked(
            self.values[tokens],
            np.concatenate([[0], np.cumsum(self.lengths[chosen])]),
            None if self.ids is None else self.ids[chosen],
            None if self.labels is None else self.labels[chosen],
            None if self.token_labels is None else self.token_labels[tokens],
            self.feature_names,
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
    if isinstance(X, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; accepted: bags without masks, a list of (L, d) arrays if ragged")
    if isinstance(X, Mapping):
        raise ValueError(
            f"{name} is a {type(X).__name__}; accepted: a list of (L, d) arrays, such as list({name}.values())"
        )
    if getattr(X, "ndim", 0) == 1 and hasattr(X, "to_numpy"):
        X = X.to_numpy()
    if isinstance(X, list | tuple) or (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1):
        if len(X) == 0:
            raise ValueError(f"{name} holds no bag; accepted: at least one")
        if len(X) and all(np.ndim(bag) == 2 for bag in X):
            return _from_list([_real(f"{name}[{i}]", bag) for i, bag in enumerate(X)], name)
        if len({np.shape(bag) for bag in X}) > 1:
            i = next(i for i, bag in enumerate(X) if np.ndim(bag) != 2)
            raise ValueError(f"{name}[{i}] has shape {np.shape(X[i])}; accepted: (L, d), one row a token")
    array = _real(name, X)
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
    names = parts[0].feature_names
    return unchecked(values, offsets, joined("ids"), joined("labels"), joined("token_labels"), names)


def unchecked(
    values: Any,
    offsets: Any,
    ids: Any = None,
    labels: Any = None,
    token_labels: Any = None,
    feature_names: tuple[str, ...] | None = None,
) -> Bags:
    """Bags of what has been checked before."""
    bags = object.__new__(Bags)
    bags.values, bags.offsets, bags.feature_names = values, offsets, feature_names
    bags.ids, bags.labels, bags.token_labels = ids, labels, token_labels
    return bags


def _from_list(arrays: list[np.ndarray], name: str) -> Bags:
    dim = arrays[0].shape[1]
    for i, bag in enumerate(arrays):
        if len(bag) == 0:
            raise ValueError(f"{name}[{i}] is an empty bag; accepted: at least one token a bag")
        if bag.shape[1] != dim:
            raise ValueError(f"{name}[{i}] has {bag.shape[1]} features and {name}[0] has {dim}; accepted: one number")
    offsets = np.cumsum([0, *(len(bag) for bag in arrays)])
    bags = unchecked(np.concatenate(arrays), offsets)
    require_finite(bags.values, bags.offsets, name)
    return bags


def _real(name: str, values: Any) -> np.ndarray:
    """A float array: float32 and float64 stay, the rest becomes float64."""
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {array.dtype}; accepted: real numbers")
    if array.dtype == object or array.dtype.kind in "biuf":
        if array.dtype in (np.float32, np.float64):
            return array
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            # scikit-learn's checks ask for a TypeError that says what float() does of a dict in an array of objects
            raise (TypeError if isinstance(error, TypeError) else ValueError)(
                f"{name} holds what is no number ({error}); accepted: real numbers, argument must be a string or a "
                "real number"
            ) from None
    raise ValueError(f"{name} has dtype {array.dtype}; accepted: real numbers")


def _offsets(offsets: Any, tokens: int) -> np.ndarray:
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


def _aligned(name: str, values: Any, count: int, what: str) -> np.ndarray | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape[:1] != (count,) or array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; accepted: ({count},), one {what}")
    return array


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
