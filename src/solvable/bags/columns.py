"""Which columns of a table of tokens are what: the bag, its label, features, coordinates; and columns as arrays."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

# The rows' numbers, as pandas and Dask write them beside the columns.
INDEX = re.compile(r"__(index_level_\d+|null_dask_index)__|Unnamed: \d+")
PLACES = ("x", "y", "z")
DIGITS = 15  # of a decimal number, which float64 tells apart


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
    held: set[str],
    path: str,
    id: str,
    label: str | None,
    token_label: str | None,
    features: Sequence[str] | str | None,
    coordinates: Sequence[str] | str | None,
    ignore: Sequence[str] | str,
) -> Columns:
    """The columns of an Arrow schema, of which those that the files themselves hold may be features by default.

    See `ParquetBags` for what is chosen by default.

    Raises: ValueError naming the argument, the column and what is accepted.
    """
    there = _shown(schema)
    if id not in schema.names:
        raise ValueError(
            f"id={id!r} is no column of {path!r}, which has {there}; accepted: the column that names the bag of each "
            "row"
        )
    for name, column in (("label", label), ("token_label", token_label)):
        if column is not None and column not in schema.names:
            raise ValueError(f"{name}={column!r} is no column of {path!r}; accepted: {there}")
    left = _listed("ignore", ignore, schema, path) or []
    usual = {
        name: name if name in schema.names and name not in (id, *left) else None for name in ("label", "token_label")
    }
    label, token_label = label or usual["label"], token_label or usual["token_label"]
    for name in filter(None, (id, label, token_label)):
        kind = schema.field(name).type
        if kind.num_fields:
            raise ValueError(f"column {name!r} of {path!r} holds {kind}; accepted: numbers, words, flags or dates")
    chosen = _listed("features", features, schema, path)
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
        own = held - _index(schema)  # the names of folders tell bags or cohorts apart
        lists = [name for name in free if _is_list(schema.field(name).type)]
        chosen = lists or [name for name in free if is_number(schema.field(name).type) and name in own]
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
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if any(column not in schema.names for column in found) or (name == "features" and not found):
        raise ValueError(f"{name}={found!r} are not all columns of {path!r}; accepted: {_shown(schema)}")
    return found


def _shown(schema: Any) -> str:
    names = schema.names
    return ", ".join(names if len(names) <= 20 else [*names[:18], "...", names[-1]]) or "none"


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


def width(kind: Any, first: Callable[[], int]) -> int | None:
    """How many numbers a column of lists holds in a row, that of the `first` where any may be; None for numbers."""
    if is_number(kind):
        return None
    kind = getattr(kind, "storage_type", kind)
    return kind.list_size if hasattr(kind, "list_size") else first()


def values(table: Any, name: str, start: int, ids: np.ndarray | None = None, holes: bool = False) -> np.ndarray:
    """A column of ids, or of the labels of rows with these `ids`; texts become NumPy's. With `holes` None and NaN stay.

    Raises: ValueError naming the column, the row (the first is number `start`) and its bag where a value is missing.
    """
    import pyarrow

    held = table.column(name)
    # an id of more digits than a float has is one of its own
    if pyarrow.types.is_decimal(held.type) and (ids is not None or held.type.precision <= DIGITS):
        held = held.cast(pyarrow.float64())
    array = held.to_numpy() if hasattr(held, "chunk") else held.to_numpy(zero_copy_only=False)
    missing = np.asarray(held.is_null(nan_is_null=True))
    if missing.any() and not holes:
        raise ValueError(f"column {name!r} has no value in {_place(missing, start, ids)}; accepted: one in every row")
    return array.astype(str) if array.dtype == object and not missing.any() else array


def _place(missing: np.ndarray, start: int, ids: np.ndarray | None) -> str:
    row = int(np.argmax(missing))
    return f"row {start + row}" + ("" if ids is None else f" (bag {str(ids[row])!r})")


def matrix(
    table: Any, name: str, path: str, size: int | None, start: int, ids: np.ndarray, holes: bool = False
) -> np.ndarray:
    """A column of numbers as (rows, 1), one of lists as (rows, size); `holes`: a missing number is NaN.

    Raises: ValueError naming the column, the row and what is accepted.
    """
    import pyarrow

    held = table.column(name)
    chunks = [getattr(chunk, "storage", chunk) for chunk in getattr(held, "chunks", [held])]
    if held.null_count and not holes:
        place = _place(np.asarray(held.is_null()), start, ids)
        raise ValueError(f"column {name!r} of {path!r} has no value in {place}; accepted: numbers")
    if size is not None:
        lengths = np.concatenate([np.asarray(_lengths(chunk)) for chunk in chunks] or [np.zeros(0)])
        if (lengths != size).any():
            other = lengths[lengths != size][0]
            raise ValueError(
                f"column {name!r} of {path!r} holds lists of {size} and of {other} numbers; accepted: one length"
            )
        if size == 0:
            raise ValueError(f"column {name!r} of {path!r} holds empty lists; accepted: lists of one length above 0")
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
