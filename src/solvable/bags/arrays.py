"""What users give, as plain NumPy arrays: tokens are real numbers, labels and ids one value each, nothing is masked."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from solvable.numerics.validation import unmasked

LISTED = "a list of (L, d) arrays"

# What bags carry along beside their tokens: a value a bag, a value (or row) a token, the names of columns.
PER_BAG = ("ids", "labels")
PER_TOKEN = ("token_labels", "coordinates")
NAMES = ("feature_names", "coordinate_names")


def given(X: Any, name: str = "X") -> Any:
    """Bags as users have them, in the kinds that the rest of the package tells apart: arrays, lists, streams, `Bags`.

    An xarray.DataArray becomes its array (its dims in their order), a pandas.Series of arrays a list. Refused is what
    would be taken for other numbers than it stands for, or fail far from here.

    Raises: ValueError, or TypeError for what is no array and no list, naming the argument and what is accepted.
    """
    if hasattr(X, "toarray"):  # sparse matrices, which are mappings at times, are refused where bags are made
        return X
    if isinstance(X, Mapping):
        raise ValueError(f"{name} is a {type(X).__name__}; accepted: {LISTED}, such as list({name}.values())")
    if X is None or isinstance(X, str | bytes):
        raise ValueError(f"{name}={X!r} is no bags; accepted: {LISTED}, or a reader of files such as ParquetBags(path)")
    if _is_data_array(X):
        X = X.data
    elif type(X).__name__ == "Series" and X.dtype == object:
        X = list(X)
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    if isinstance(X, list | tuple):
        return _listed(X, name)
    if not any(hasattr(X, name) for name in ("shape", "__iter__", "__array__")):
        raise TypeError(f"{name} is a {type(X).__name__}; accepted: {LISTED}")
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype):
        unmasked(name, X)
        require_real(name, dtype)
    table = np.asarray(X) if hasattr(X, "dtypes") else X
    if isinstance(table, np.ndarray) and table.dtype.kind not in "biuf":  # objects are looked at one by one
        real(name, table)
    if any(size != size for size in getattr(X, "shape", None) or ()):
        raise ValueError(f"{name} is a Dask array of unknown shape; accepted: {name}.compute_chunk_sizes()")
    return X


def _listed(X: list[Any] | tuple[Any, ...], name: str) -> Any:
    parts = [part.data if _is_data_array(part) else part for part in X]
    for i, part in enumerate(parts):
        if part is None:
            raise ValueError(f"{name}[{i}] is None; accepted: an array in every place, (L, d)")
        if not isinstance(part, tuple):  # a batch, whose parts have names of their own
            unmasked(f"{name}[{i}]", part)
        if isinstance(part, list | tuple) and len(part) and isinstance(part[0], str | bytes):
            raise ValueError(f"{name}[{i}] holds texts; accepted: real numbers")
        shape: Any = getattr(part, "shape", ())  # that of a delayed object is delayed
        if isinstance(shape, tuple) and len(shape) == 2 and is_dask(part):
            raise ValueError(
                f"{name}[{i}] is a Dask array of shape {shape}; accepted: {LISTED}, such as "
                f"list(dask.compute(*{name})), delayed Bags, or a Dask array (n, L, d)"
            )
    lengths = {np.shape(part) for part in parts if _is_row(part)}
    if len(lengths) > 1:
        sizes = " and ".join(str(size) for size in sorted(lengths)[:2])
        raise ValueError(
            f"{name} holds arrays of one axis and of shapes {sizes}; accepted: (L, d), one row a token, such as "
            f"[np.asarray(x)[:, None] for x in {name}] for series of single numbers"
        )
    return tuple(parts) if isinstance(X, tuple) else parts


def _is_row(part: Any) -> bool:
    """An array or a list of single numbers."""
    if isinstance(part, list | tuple):
        return all(map(np.isscalar, part))
    return not is_dask(part) and getattr(part, "ndim", 0) == 1 and getattr(part, "dtype", None) != np.dtype(object)


def is_dask(X: Any) -> bool:
    """Whether X is a Dask collection or delayed object; an xarray object that is in memory is none."""
    return hasattr(X, "__dask_graph__") and X.__dask_graph__() is not None


def _is_data_array(X: Any) -> bool:
    return type(X).__module__.startswith("xarray.") and hasattr(X, "dims") and hasattr(X, "data")


def require_real(name: str, dtype: np.dtype) -> None:
    """Raises: ValueError unless the dtype is of real numbers or of objects."""
    if dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {dtype}; accepted: real numbers")
    if dtype.kind not in "biufO":
        raise ValueError(f"{name} has dtype {dtype}; accepted: real numbers")


def real(name: str, values: Any) -> np.ndarray:
    """Real numbers as a float array: float32 and float64 stay, the rest becomes float64.

    Raises: ValueError for masked values, complex numbers, texts, dates and records; TypeError for other objects.
    """
    unmasked(name, values)
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} is a ragged list; accepted: one rectangular array") from None
    require_real(name, array.dtype)
    if array.dtype in (np.float32, np.float64):
        return array
    if array.dtype == object:
        kinds = {type(value) for value in array.flat}
        texts = [kind.__name__ for kind in kinds if issubclass(kind, str | bytes | np.datetime64 | np.timedelta64)]
        if texts:
            raise ValueError(f"{name} holds values of the kind {texts[0]}; accepted: real numbers")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        # scikit-learn's checks ask for a TypeError that says what float() does of a dict in an array of objects
        raise (TypeError if isinstance(error, TypeError) else ValueError)(
            f"{name} holds what is no number ({error}); accepted: real numbers, argument must be a string or a "
            "real number"
        ) from None


def column(name: str, values: Any, *, dates: bool = False, nan: bool = False, missing: bool = False) -> np.ndarray:
    """Labels, ids or groups as an array: numbers, words or flags; dates if `dates`, NaN if `nan`, gaps if `missing`.

    Raises: ValueError naming the argument, the place and what is accepted.
    """
    unmasked(name, values)
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} is a ragged list; accepted: one value each") from None
    if array.dtype.kind in "cV" or (array.dtype.kind in "mM" and not dates):
        what = "Complex data not supported: " if array.dtype.kind == "c" else ""
        raise ValueError(f"{what}{name} has dtype {array.dtype}; accepted: numbers, words or flags")
    if array.ndim == 1 and not missing and array.dtype.kind in ("mMO" if nan else "fmMO"):
        gone = [i for i, value in enumerate(array) if _is_missing(value)]
        if gone:
            raise ValueError(f"{name}[{gone[0]}] is {array[gone[0]]}; accepted: {name} without missing values")
    if array.dtype == object:
        array = _numbers(array)
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise ValueError(f"{name} holds an infinite number; accepted: numbers, words or flags")
    return array


def _numbers(array: np.ndarray) -> np.ndarray:
    """Numbers that are kept as objects, decimals among them, as NumPy's where these tell them apart as well."""
    items = array.ravel().tolist()
    if not items or not all(isinstance(item, Real | Decimal | np.bool_) for item in items):
        return array
    plain = np.array([float(item) if isinstance(item, Decimal) else item for item in items])
    apart = plain.dtype != object and len(set(plain.tolist())) == len(set(items))
    return plain.reshape(array.shape) if apart else array


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType" or (np.isscalar(value) and value != value)
