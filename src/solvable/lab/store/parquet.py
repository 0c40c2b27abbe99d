"""One chunk as the bytes of a Parquet file and back: a tidy long table with its facts in the schema metadata."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from solvable.lab.declare import Experiment
from solvable.lab.declare.grid import kinds
from solvable.lab.store.arrays import Values, plain
from solvable.lab.store.chunk import FORMAT

METADATA = b"solvable"


class NewerFormatError(ValueError):
    """The file's format is newer than this version knows."""


@dataclasses.dataclass(frozen=True)
class Content:
    """What one file holds, its numbers in one flat array: what an index of many files keeps of each."""

    facts: str
    layout: str
    numbers: np.ndarray


def encode(cell: Experiment, facts: Mapping[str, Any], values: Mapping[str, Values]) -> tuple[bytes, Content]:
    """The Parquet file of one chunk, and its content as `decode` gives it back.

    Columns: the parameters, `source`, `replicate` (null where the value holds for all), the observables' own dims (null
    where an observable has none), `observable`, `value` (null where missing), `reason`.
    """
    parts: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    dims = sorted({dim for source in values.values() for own in source.dims.values() for dim in own})
    for label, source in values.items():
        layout[label] = {
            "observables": {name: list(array.shape) for name, array in source.arrays.items()},
            "dims": {name: list(own) for name, own in source.dims.items()},
            "coordinates": {dim: source.coordinates[dim].tolist() for dim in source.coordinates},
            "replicates": None if source.replicates is None else source.replicates.tolist(),
            "reasons": {str(i): reason for i, reason in enumerate(source.reasons) if reason},
            "standard_error": {name: _json_array(error) for name, error in source.errors.items()},
            "stats": plain(source.stats),
            "dtype": source.dtype,
        }
        parts.extend(_rows(label, name, source, dims) for name in source.arrays)
    columns: dict[str, pa.Array] = {}
    count = sum(len(part["value"]) for part in parts)
    for name, value in json.loads(cell.canonical()).items():
        kind = _arrow_type(cell.__class__.model_fields[name].annotation)
        if pa.types.is_string(kind) and value is not None:
            value = str(value)  # of a parameter that takes numbers and texts
        columns[name] = pa.repeat(pa.scalar(value, kind), count)
    texts = dict.fromkeys(("source", "observable", "reason"), pa.string())
    kinds_of = {**texts, "replicate": pa.int64(), "value": pa.float64()}
    for name in ("source", "replicate", *dims, "observable", "value", "reason"):
        chunks = [part[name] for part in parts]
        kind = kinds_of.get(name) or _dim_type(values, name)
        columns[name] = pa.concat_arrays([chunk.cast(kind) for chunk in chunks]) if chunks else pa.array([], kind)
    table = pa.table(columns)
    whole = {**facts, "layout": layout}
    text = json.dumps({**whole, "checksum": _checksum(table, whole)}, allow_nan=False)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({METADATA: text.encode()}), buffer, compression="zstd")
    flat = table["value"].combine_chunks().to_numpy(zero_copy_only=False)
    return buffer.getvalue(), Content(json.dumps(dict(facts)), json.dumps(layout), flat)


def decode(data: bytes) -> Content:
    """The content of one file.

    Raises: NewerFormatError; any other exception when the content is not what was written.
    """
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    metadata = table.schema.metadata or {}
    if METADATA not in metadata:
        raise ValueError("it was not written by solvable")
    facts = json.loads(metadata[METADATA])
    if facts["format"] > FORMAT:
        raise NewerFormatError
    if facts.pop("checksum") != _checksum(table, facts):
        raise ValueError("its content does not match its checksum")
    layout = facts.pop("layout")
    flat = table["value"].combine_chunks().to_numpy(zero_copy_only=False)
    return Content(json.dumps(facts), json.dumps(layout), flat)


def unpack(content: Content) -> dict[str, Values]:
    """The values of each source."""
    values, offset = {}, 0
    for label, entry in _read_layout(content.layout).items():
        arrays = {}
        for name, shape in entry["observables"].items():
            size = math.prod(shape)
            arrays[name] = content.numbers[offset : offset + size].reshape(shape)
            offset += size
        values[label] = dataclasses.replace(entry["rest"], arrays=arrays)
    return values


@functools.lru_cache(maxsize=256)  # the blocks of a sweep share a handful of layouts
def _read_layout(text: str) -> dict[str, Any]:
    return {
        label: {"observables": entry["observables"], "rest": _without_arrays(entry)}
        for label, entry in json.loads(text).items()
    }


def _without_arrays(entry: Mapping[str, Any]) -> Values:
    replicates = entry["replicates"]
    reasons = [""] * (1 if replicates is None else len(replicates))
    for position, reason in entry["reasons"].items():
        reasons[int(position)] = reason
    return Values(
        arrays={},
        dims={name: tuple(own) for name, own in entry["dims"].items()},
        coordinates={dim: np.asarray(positions) for dim, positions in entry["coordinates"].items()},
        replicates=None if replicates is None else np.asarray(replicates, dtype=np.int64),
        reasons=reasons,
        errors={name: np.array(error, dtype=np.float64) for name, error in entry["standard_error"].items()},
        stats=entry["stats"],
        dtype=entry["dtype"],
    )


def _rows(label: str, name: str, source: Values, dims: list[str]) -> dict[str, Any]:
    array = source.arrays[name]
    own = source.dims[name]
    leading = () if source.replicates is None else (len(source.replicates),)
    positions = np.indices(array.shape).reshape(array.ndim, array.size)
    empty = pa.nulls(array.size)
    part: dict[str, Any] = dict.fromkeys((*dims, "replicate", "reason"), empty)
    reason = np.asarray([text or None for text in source.reasons], dtype=object)
    if leading and source.replicates is not None:
        part["replicate"] = pa.array(source.replicates[positions[0]])
        said = reason[positions[0]]
        said[~np.isnan(array.ravel())] = None
        part["reason"] = pa.array(said.tolist(), pa.string())
    elif reason[0]:
        part["reason"] = pa.array([reason[0]] * array.size, pa.string())
    for dim, position in zip(own, positions[len(leading) :], strict=True):
        part[dim] = pa.array(source.coordinates[dim][position])
    flat = array.ravel()
    part["value"] = pa.array(flat, pa.float64(), from_pandas=True)  # NaN becomes null
    part["source"] = pa.repeat(label, array.size)
    part["observable"] = pa.repeat(name, array.size)
    return part


def _arrow_type(annotation: Any) -> pa.DataType:
    found = kinds(annotation)
    if found <= {bool}:
        return pa.bool_()
    if found <= {int}:
        return pa.int64()
    return pa.float64() if found <= {int, float} else pa.string()


def _dim_type(values: Mapping[str, Values], dim: str) -> pa.DataType:
    found = [source.coordinates[dim] for source in values.values() if dim in source.coordinates]
    if any(positions.dtype.kind == "U" for positions in found):
        return pa.string()
    return pa.int64() if all(positions.dtype.kind in "iu" for positions in found) else pa.float64()


def _json_array(array: np.ndarray) -> Any:
    return np.where(np.isfinite(array), array, 0.0).tolist()


def _checksum(table: pa.Table, facts: Mapping[str, Any]) -> str:
    """SHA-256 over the facts and every column's name, type, nulls and values, however Parquet lays them out."""
    digest = hashlib.sha256(json.dumps({**facts, "checksum": None}, sort_keys=True).encode())
    for name in table.column_names:
        column = table[name].combine_chunks()
        digest.update(f"\n{name}:{column.type}:{len(column)}\n".encode())
        if pa.types.is_string(column.type):
            digest.update("\x1f".join("\x00" if item is None else item for item in column.to_pylist()).encode())
        else:
            digest.update(np.packbits(column.is_null().to_numpy(zero_copy_only=False)).tobytes())
            floats = column.cast(pa.float64() if pa.types.is_floating(column.type) else pa.int64())
            digest.update(floats.fill_null(0).to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()
