"""Which columns of a table of tokens are what: the bag, its label, features, coordinates; and columns as arrays."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

# The rows' numbers, as pandas and Dask write them beside the columns.
INDEX = re.compile(r"__(index_level_\d+|null_dask_index)__|Unnamed: \d+")
PLACES = ("x", "y", "z")
ROWS = 20  # as many numbers grow by chance in one column of 20! = 2e18


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns that are read, by their part; `unused` are all others."""

    id: str
    label: str | None
    token_label: str | None
    features: tuple[str, ...]
    coordinates: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Every column that is read."""
        return [self.id, *filter(None, (self.label, self.token_label)), *self.features, *self.coordinates]


def choose(
    schema: Any,
    path: str,
    id: str,
    label: str | None,
    token_label: str | None,
    features: Sequence[str] | str | None,
    coordinates: Sequence[str] | str | None,
    ignore: Sequence[str] | str,
) -> Columns:
    """The columns of an Arrow schema; see `ParquetBags` for what is chosen by default.

    Raises: ValueError naming the argument, the column and what is accepted.
    """
    there = ", ".join(schema.names) or "none"
    if id not in schema.names:
        raise ValueError(
            f"id={id!r} is no column of {path!r}, which has {there}; accepted: the column that names the bag of each "
            "row"
        )
    for name, column in (("label", label), ("token_label", token_label)):
        if column is not None and column not in schema.names:
            raise ValueError(f"{name}={column!r} is no column of {path!r}; accepted: {there}")
    label = label or ("label" if "label" in schema.names else None)
    token_label = token_label or ("token_label" if "token_label" in schema.names else None)
    chosen, left = _listed("features", features, schema, path), _listed("ignore", ignore, schema, path) or ()
    places = _listed("coordinates", coordinates, schema, path)
    taken = [name for name in (id, label, token_label, *left, *(chosen or ()), *(places or ())) if name]
    for name in taken:
        if taken.count(name) > 1:
            raise ValueError(
                f"column {name!r} of {path!r} is named {taken.count(name)} times; accepted: one part for each column: "
                "id, label, token_label, features, coordinates or ignore"
            )
    free = [name for name in schema.names if name not in taken]
    if chosen is None:
        index = _index(schema)
        lists = [name for name in free if _is_list(schema.field(name).type)]
        chosen = lists or [name for name in free if is_number(schema.field(name).type) and name not in index]
        if not chosen or len(lists) > 1:
            raise ValueError(
                f"{path!r} has {'several columns of lists' if lists else 'no numeric column'} beside the ids and "
                "labels; accepted: features= naming the columns, numeric ones or lists of numbers"
            )
    if places is None:
        places = [n for n in free if n.lower() in PLACES and n not in chosen and is_number(schema.field(n).type)]
    for name in (*chosen, *places):
        kind = schema.field(name).type
        if not is_number(kind) and (name in places or not _is_list(kind)):
            raise ValueError(f"column {name!r} of {path!r} holds {kind}; accepted: numbers, and lists of them")
    unused = [name for name in schema.names if name not in {id, label, token_label, *chosen, *places}]
    return Columns(id, label, token_label, tuple(chosen), tuple(places), tuple(unused))


def _listed(name: str, given: Any, schema: Any, path: str) -> list[str] | None:
    if given is None:
        return None
    found = [given] if isinstance(given, str) else list(given)
    if any(column not in schema.names for column in found) or (name == "features" and not found):
        raise ValueError(f"{name}={found!r} are not all columns of {path!r}; accepted: {', '.join(schema.names)}")
    return found


def _index(schema: Any) -> set[str]:
    """The columns that are the index of a pandas frame."""
    try:
        held = (schema.pandas_metadata or {}).get("index_columns", [])
    except ValueError:  # damaged
        held = []
    return {name for name in held if isinstance(name, str)} | {name for name in schema.names if INDEX.fullmatch(name)}


def is_number(kind: Any) -> bool:
    """Whether an Arrow type is of real numbers."""
    import pyarrow.types as types

    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)


def _is_list(kind: Any) -> bool:
    """Whether an Arrow type is of lists of numbers, of any or of one length, or of tensors."""
    import pyarrow.types as types

    kind = getattr(kind, "storage_type", kind)
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return lists and is_number(kind.value_type)


def width(table: Any, name: str) -> int | None:
    """How many numbers the first row of a column of lists holds; None for a column of numbers."""
    column = table.column(name)
    if is_number(column.type):
        return None
    return len(column[0].as_py() or ()) if len(column) else 0


def values(table: Any, name: str) -> np.ndarray:
    """A column of ids or labels; texts become NumPy's.

    Raises: ValueError naming the column where a value is missing.
    """
    held = table.column(name)
    array = held.to_numpy() if hasattr(held, "chunk") else held.to_numpy(zero_copy_only=False)
    missing = held.null_count + int(np.isnan(array).sum() if array.dtype.kind == "f" else 0)
    if missing:
        raise ValueError(f"column {name!r} has {missing} missing values; accepted: a value in every row")
    return array.astype(str) if array.dtype == object else array


def matrix(table: Any, name: str, path: str, size: int | None, holes: bool = False) -> np.ndarray:
    """A column of numbers as (rows, 1), one of lists as (rows, size); `holes`: a missing number is NaN.

    Raises: ValueError naming the column, the row and what is accepted.
    """
    import pyarrow

    held = table.column(name)
    chunks = [getattr(chunk, "storage", chunk) for chunk in getattr(held, "chunks", [held])]
    if held.null_count and not holes:
        raise ValueError(f"column {name!r} of {path!r} has {held.null_count} missing values; accepted: numbers")
    if size is not None:
        lengths = np.concatenate([np.asarray(_lengths(chunk)) for chunk in chunks] or [np.zeros(0)])
        if (lengths != size).any():
            other = lengths[lengths != size][0]
            raise ValueError(
                f"column {name!r} of {path!r} holds lists of {size} and of {other} numbers; accepted: one length"
            )
        chunks = [chunk.flatten() for chunk in chunks]
        if any(chunk.null_count for chunk in chunks):
            raise ValueError(f"column {name!r} of {path!r} has missing values in its lists; accepted: numbers")
    kind = chunks[0].type if chunks else pyarrow.float64()
    if not pyarrow.types.is_floating(kind):  # decimals and flags have no short way to NumPy
        chunks = [chunk.cast(pyarrow.uint8()) if pyarrow.types.is_boolean(kind) else chunk for chunk in chunks]
        chunks = [chunk.cast(pyarrow.float64(), safe=False) for chunk in chunks]
    flat = [chunk.to_numpy(zero_copy_only=False) for chunk in chunks]
    array = flat[0] if len(flat) == 1 else np.concatenate([*flat, np.zeros(0, flat[0].dtype if flat else float)])
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    return array.reshape(-1, 1 if size is None else size)


def _lengths(chunk: Any) -> Any:
    import pyarrow.compute as compute

    return compute.list_value_length(chunk)  # pyright: ignore[reportAttributeAccessIssue]


class Watch:
    """Looks for columns that tell bags or rows apart rather than tokens, a batch of whole bags at a time.

    Such are ids, counters and labels by another name: what is constant within every bag but differs between bags, and
    what grows from each row to the next.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.repeated = False  # whether a bag had more than one token
        self.constant = self.growing = np.zeros(0, dtype=int)
        self.first = np.zeros(0)
        self.varies = np.zeros(0, dtype=bool)

    def see(self, tokens: np.ndarray, offsets: np.ndarray) -> None:
        """Bags, their rows in the order of the file."""
        if self.rows == 0:
            self.constant = self.growing = np.arange(tokens.shape[1])
            self.first, self.varies = tokens[0].copy(), np.zeros(tokens.shape[1], dtype=bool)
        self.rows += len(tokens)
        inside = np.ones(len(tokens), dtype=bool)
        inside[offsets[:-1]] = False
        self.repeated |= bool(inside.any())
        for start in range(0, len(tokens), 1024):
            if not len(self.constant) and not len(self.growing):  # as with the first rows, mostly
                break
            part = slice(max(start - 1, 0), start + 1024)
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
