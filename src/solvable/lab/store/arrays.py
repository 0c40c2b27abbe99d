"""Plain NumPy values of one source in one cell: what an outcome becomes outside JAX, and what the store gives back."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.lab.declare.theory import Overlay, Status

if TYPE_CHECKING:
    from solvable.lab.declare.experiment import Experiment
    from solvable.lab.declare.outcome import Outcome

SIMULATION = "simulation"
_LARGEST_STAT = 256


@dataclasses.dataclass(frozen=True)
class Values:
    """The observables of one source (the simulation, or one overlay) in one cell.

    `arrays[name]` has shape (replicates, *own dims), or (*own dims) where `replicates` is None: a prediction that does
    not depend on the run. `reasons` has one text per replicate (one in all without replicates), empty where the value
    is there. `errors[name]` is the standard error of the quadrature, with the shape of the observable.
    """

    arrays: Mapping[str, np.ndarray]
    dims: Mapping[str, tuple[str, ...]]
    coordinates: Mapping[str, np.ndarray]
    replicates: np.ndarray | None
    reasons: Sequence[str]
    errors: Mapping[str, np.ndarray]
    stats: Mapping[str, Any]
    dtype: str = "float64"

    @classmethod
    def of(cls, outcome: Outcome, replicates: range | None, declared: Mapping[str, Status] | None = None) -> Values:
        """The values of an outcome; `replicates` numbers its leading axis. Unsuccessful elements become NaN.

        Where a theory claims something else in this setting than is `declared`, `stats["status"]` keeps what it claims.
        """
        present = {name: np.asarray(value) for name, value in outcome.present().items()}
        reasons = outcome.reasons()
        leading = () if replicates is None else (len(replicates),)
        for name, value in present.items():
            own = tuple(outcome.dims.get(name, ()))
            if value.shape[: len(leading)] != leading or value.ndim != len(leading) + len(own):
                expected = ", ".join((("replicate",) if leading else ()) + own) or "none"
                raise ValueError(f"{name} has shape {value.shape}; its dims should be: {expected}")
        if len(reasons) != (leading[0] if leading else 1):
            raise ValueError(f"result has {len(reasons)} codes; expected {leading[0] if leading else 1}")
        failed = np.array([reason != "" for reason in reasons])
        arrays = {}
        for name, value in present.items():
            floats = np.array(value, dtype=np.float64)
            if leading:
                floats[failed] = np.nan
            elif failed[0]:
                floats[...] = np.nan
            arrays[name] = floats
        stats = dict(outcome.stats)
        errors = {
            name: np.array(
                np.broadcast_to(_trailing(np.asarray(error, dtype=np.float64), arrays[name]), arrays[name].shape)
            )
            for name, error in dict(stats.pop("standard_error", None) or {}).items()
            if name in arrays
        }
        dims = {name: tuple(outcome.dims.get(name, ())) for name in arrays}
        used = {dim: arrays[name].shape[len(leading) + i] for name in arrays for i, dim in enumerate(dims[name])}
        dtypes = sorted({str(value.dtype) for value in present.values()})
        return cls(
            arrays=arrays,
            dims=dims,
            coordinates={dim: _coordinate(outcome, dim, size) for dim, size in used.items()},
            replicates=None if replicates is None else np.asarray(replicates, dtype=np.int64),
            reasons=reasons,
            errors=errors,
            stats=plain(stats) | _claimed(outcome, arrays, declared or {}),
            dtype=", ".join(dtypes),
        )

    def renamed(self, former: Mapping[str, str]) -> Values:
        """With the observables of older files under the names that they have now; `former` maps old names to new."""
        names = {name: former.get(name, name) for name in self.arrays}
        if all(new == old or new in self.arrays for old, new in names.items()):
            return self
        parts = {part: getattr(self, part) for part in ("arrays", "errors", "dims")}
        return dataclasses.replace(
            self,
            **{part: {names.get(name, name): value for name, value in held.items()} for part, held in parts.items()},
        )

    def first(self, replicates: int) -> Values:
        """Only the replicates numbered below `replicates`."""
        if self.replicates is None or np.all(self.replicates < replicates):
            return self
        return self.take(np.flatnonzero(self.replicates < replicates))

    def within(self, positions: Mapping[str, np.ndarray]) -> Values:
        """Only these positions along some dims."""
        arrays, errors = dict(self.arrays), dict(self.errors)
        for dim in positions.keys() & self.coordinates.keys():
            kept = np.flatnonzero(np.isin(self.coordinates[dim], positions[dim]))
            for held in (arrays, errors):
                for name in held:
                    if dim in self.dims[name]:
                        axis = self.dims[name].index(dim) + (self.replicates is not None)
                        held[name] = np.take(held[name], kept, axis=axis)
        return dataclasses.replace(self, arrays=arrays, errors=errors, coordinates={**self.coordinates, **positions})

    def take(self, index: np.ndarray) -> Values:
        """Only the replicates at these positions."""
        if self.replicates is None:
            raise ValueError("values without replicates cannot be indexed by replicate")
        return dataclasses.replace(
            self,
            arrays={name: value[index] for name, value in self.arrays.items()},
            errors={name: value[index] for name, value in self.errors.items()},
            replicates=self.replicates[index],
            reasons=[self.reasons[i] for i in index],
        )


def concatenate(parts: Sequence[Values]) -> Values:
    """Blocks of replicates of one source as one, in the order of their numbers; a number met twice is kept once."""
    if parts[0].replicates is None or len(parts) == 1:
        return parts[0]
    parts = [part.within(_common(parts)) for part in parts]
    first = parts[0]
    shapes = {name: array.shape[1:] for part in parts for name, array in part.arrays.items()}
    joined = dataclasses.replace(
        first,
        arrays={name: np.concatenate([_held(part, name, shape) for part in parts]) for name, shape in shapes.items()},
        dims={name: dims for part in parts for name, dims in part.dims.items()},
        coordinates={dim: positions for part in parts for dim, positions in part.coordinates.items()},
        errors={
            name: np.concatenate([part.errors.get(name, 0.0 * _held(part, name, shapes[name])) for part in parts])
            for name in sorted({name for part in parts for name in part.errors})
        },
        replicates=np.concatenate([part.replicates for part in parts if part.replicates is not None]),
        reasons=[reason for part in parts for reason in part.reasons],
        dtype=", ".join(sorted({part.dtype for part in parts})),
        stats={**first.stats, **_joined(parts)},
    )
    numbers = np.asarray(joined.replicates)
    if np.all(np.diff(numbers) > 0):
        return joined
    return joined.take(np.unique(numbers, return_index=True)[1])


def _common(parts: Sequence[Values]) -> dict[str, np.ndarray]:
    """The positions that all parts have along the dims of which they have different ones."""
    found: dict[str, np.ndarray] = {}
    for dim in {dim for part in parts for dim in part.coordinates}:
        held = [part.coordinates[dim] for part in parts if dim in part.coordinates]
        if any(not np.array_equal(held[0], one) for one in held[1:]):
            found[dim] = functools.reduce(np.intersect1d, held)
    return found


def _claimed(outcome: Outcome, names: Iterable[str], declared: Mapping[str, Status]) -> dict[str, Any]:
    said: Mapping[str, Status] = getattr(outcome, "status", {})
    other = {name: said[name] for name in names if name in said and said[name] != declared.get(name, said[name])}
    return {"status": {name: [one.claim, one.origin] for name, one in other.items()}} if other else {}


def _joined(parts: Sequence[Values]) -> dict[str, Any]:
    found = {name: said for part in parts for name, said in part.stats.get("status", {}).items()}
    return {"status": found} if found else {}


def _held(part: Values, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One observable of a block; NaN where the block was stored before the experiment had it, or after it had it."""
    if name in part.arrays:
        return part.arrays[name]
    return np.full((len(part.reasons), *shape), np.nan)


@dataclasses.dataclass(frozen=True)
class Failure:
    """One source of one cell that raised: which replicates, the kind of the error and its message."""

    source: str
    replicates: range | None
    kind: str
    message: str


@dataclasses.dataclass(frozen=True)
class CellResult:
    """Everything known of one cell: the values of each source, the failures, and the facts stored with them."""

    cell: Experiment
    sources: Mapping[str, Values]
    failures: Sequence[Failure] = ()
    facts: Sequence[Mapping[str, Any]] = ()

    def status(self, overlay: Overlay) -> Mapping[str, Status]:
        """What the theory of an overlay claims of each observable in this cell."""
        said = self.sources[overlay.label].stats.get("status", {}) if overlay.label in self.sources else {}
        return {**type(self.cell).status(overlay), **{name: Status(*one) for name, one in said.items()}}


def plain(value: Any) -> Any:
    """`value` as strict JSON can hold it: numbers, texts, lists, dicts; NaN and infinities become None.

    Large arrays inside are replaced by their shape.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return str(value)
    if array.dtype.kind not in "biuf":
        return str(value)
    if array.size > _LARGEST_STAT:
        return {"shape": list(array.shape)}
    return plain(array.tolist())


def _coordinate(outcome: Outcome, dim: str, size: int) -> np.ndarray:
    """Where the outcome has one number or word per position (as `at` has), these, else 0, 1, ..."""
    field = outcome.along(dim) if hasattr(outcome, "along") else getattr(outcome, dim, None)
    if field is not None and np.shape(field) == (size,) and np.asarray(field).dtype.kind in "iufU":
        return np.asarray(field)
    return np.arange(size)


def _trailing(error: np.ndarray, value: np.ndarray) -> np.ndarray:
    """`error` with axes appended, so that one number per replicate broadcasts over an observable's own dims."""
    if error.ndim and error.ndim < value.ndim and error.shape == value.shape[: error.ndim]:
        return error.reshape(error.shape + (1,) * (value.ndim - error.ndim))
    return error
