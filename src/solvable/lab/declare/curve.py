"""What theory says along one axis, for one algorithm or several: asked for, labelled, made a dataset, drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from solvable.lab.declare.outcome import Outcome
from solvable.lab.declare.theory import Observable, Status
from solvable.numerics.validation import instance, real_array, unmasked

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLAIMS = ("exact", "asymptotic", "bound", "heuristic")


@dataclasses.dataclass(frozen=True)
class Curve:
    """Observables by name along `axis`, at the positions `along`, for the algorithms `labels`; each is an attribute.

    An array in `values` has the dims `dims[name]`: "algorithm", the axis, "replicate" where runs were given, and then
    its own. It is NaN where theory is not solved, as the `Result` codes `result` (algorithm, axis) say, and where it
    does not speak of the observable. `status` says what is claimed of each observable of each algorithm, at the point
    where least is.
    """

    axis: str
    along: np.ndarray
    labels: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    dims: Mapping[str, tuple[str, ...]]
    result: np.ndarray
    coordinates: Mapping[str, np.ndarray]
    status: Mapping[str, Mapping[str, Status]]
    observables: Mapping[str, Observable]
    theory: str

    @staticmethod
    def of(
        axis: str, along: np.ndarray, rows: Mapping[str, Sequence[Outcome]], observables: Sequence[Observable]
    ) -> Curve:
        """The curve of predictions, a row of points an algorithm.

        Raises: ValueError where an observable, or its positions, do not have one shape at all points.
        """
        every = [one for row in rows.values() for one in row]
        found: dict[str, np.ndarray] = {}
        dims: dict[str, tuple[str, ...]] = {}
        for name in [one.name for one in observables]:
            first = next((one for one in every if name in one.values), None)
            if first is None:
                continue
            dims[name] = ("algorithm", axis, *first.leading, *first.dims[name])
            blank = np.full(np.shape(first.values[name]), np.nan)
            cells = [[np.asarray(one.values.get(name, blank)) for one in row] for row in rows.values()]
            _require_one({cell.shape for row in cells for cell in row}, name, axis)
            found[name] = np.array(cells)
        coordinates: dict[str, np.ndarray] = {}
        for dim in {dim for name in found for dim in dims[name][2:]}:
            places = [np.asarray(one.along(dim)) for one in every if one.along(dim) is not None]
            _require_one({place.tobytes() for place in places}, dim, axis)
            if places and places[0].ndim == 1:
                coordinates[dim] = places[0]
        status = {
            name: {
                label: max(said, key=lambda one: CLAIMS.index(one.claim))
                for label, row in rows.items()
                if (said := [one.status[name] for one in row if name in one.status])
            }
            for name in found
        }
        kinds = {one.name: one for one in observables}
        codes = np.array([[one.result for one in row] for row in rows.values()])
        return Curve(axis, along, tuple(rows), found, dims, codes, coordinates, status, kinds, every[0].theory)

    def __getattr__(self, name: str) -> np.ndarray:
        values = self.__dict__.get("values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"this curve has no {name!r}; it has {', '.join(map(repr, values))}")

    def __repr__(self) -> str:
        """One line an observable: its least and its largest value over all algorithms and points."""
        lines = [f"Curve of {self.theory} along {self.axis}, {len(self.along)} points: {_words(self.labels)}"]
        for name, value in self.values.items():
            there = value[np.isfinite(value)]
            span = f"{there.min():.6g} to {there.max():.6g}" if there.size else "missing"
            claims = dict.fromkeys(one.claim for one in self.status[name].values())
            lines.append(f"  {name:<20} {span}" + (f"  ({_words(claims)})" if claims else ""))
        lost = int(np.count_nonzero(self.result))
        return "\n".join(lines + [f"  missing: {lost} of {self.result.size}, see result"] * (lost > 0))

    def to_dataset(self) -> xarray.Dataset:
        """The curve as a labelled dataset, with what is claimed of each observable in its attributes.

        An observable that has the name of the axis is left out: the coordinate has it.
        """
        import xarray

        variables: dict[str, Any] = {}
        for name, value in self.values.items():
            if name == self.axis:
                continue
            about, said = self.observables[name], self.status[name]
            claims = {label: f"{one.claim}, {one.origin}" for label, one in said.items()}
            words = next(iter(claims.values()), "") if len(set(claims.values())) < 2 else str(claims)
            variables[name] = (
                self.dims[name],
                value,
                {"long_name": about.label, "claim": words} | ({"units": about.unit} if about.unit else {}),
            )
        variables["result"] = (("algorithm", self.axis, *["replicate"] * (self.result.ndim - 2)), self.result)
        coordinates = {"algorithm": list(self.labels), self.axis: self.along, **self.coordinates}
        return xarray.Dataset(variables, coordinates, {"theory": self.theory})

    def plot(self, simulated: Any = None, observable: str | None = None, ax: Axes | None = None) -> Figure:
        """Draw one observable of this curve (None: the first that is a number), and over it what was simulated.

        `simulated` maps positions of the axis to outcomes, or labels to such mappings; a sequence of outcomes has one a
        point. The figure is that of `ax` where one is given.

        Raises: ValueError for an observable that is no number here, or a position or label that the curve lacks;
        TypeError for `simulated` that is neither of outcomes nor of mappings to them.
        """
        from solvable.lab.figures.quick import lines

        data = self.to_dataset()
        known = {"algorithm", self.axis, "replicate"}
        numbers = [name for name, dims in self.dims.items() if name in data.data_vars and set(dims) <= known]
        if not numbers:
            own = ", ".join(f"{name} over {_words(dims[2:])}" for name, dims in self.dims.items())
            raise ValueError(
                f"observable={observable!r} cannot be drawn along {self.axis}, as no observable is a number ({own}); "
                "accepted: a curve of numbers; else draw one position of `to_dataset()`, or one `predict(...).plot()`"
            )
        name = numbers[0] if observable is None else observable
        if name not in numbers:
            raise ValueError(f"observable={observable!r} is no number along {self.axis}; accepted: {_words(numbers)}")
        said = data[name].mean("replicate") if "replicate" in data[name].dims else data[name]
        drawn = said.to_dataset(name=f"theory_{name}")
        if simulated is not None:
            drawn[name] = (("algorithm", self.axis, "replicate"), self._measured(name, simulated))
        about = self.observables[name]
        unit = f" ({about.unit})" if about.unit else ""
        hue = "algorithm" if len(self.labels) > 1 else None
        drawn = drawn if hue else drawn.isel(algorithm=0, drop=True)
        log = "x" * _is_geometric(self.along) + "y" * about.log
        return lines(drawn, name, self.axis, hue=hue, label=about.label + unit, x_label=self.axis, log=log, ax=ax)

    def _measured(self, name: str, simulated: Any) -> np.ndarray:
        """An observable of what was simulated, (algorithm, axis, replicate), NaN where nothing was."""
        if not isinstance(simulated, Mapping):
            many = [simulated] if isinstance(simulated, Outcome) else simulated
            if isinstance(many, str) or not isinstance(many, Sequence):
                raise TypeError(
                    f"simulated={_word(simulated)} is not accepted; accepted: an outcome of simulate a point, in a "
                    f"sequence or a mapping from positions of {self.axis}, or a mapping from labels to such mappings"
                )
            if len(many) != len(self.along):
                raise ValueError(f"simulated holds {len(many)} outcomes; accepted: {len(self.along)}, one a point")
            simulated = dict(zip(self.along.tolist(), many, strict=True))
        if not any(isinstance(one, Mapping) for one in simulated.values()):
            if len(self.labels) > 1:
                raise ValueError(f"simulated has no labels; accepted: a mapping of {_words(self.labels)} to outcomes")
            simulated = dict.fromkeys(self.labels, simulated)
        places = self.along.tolist()
        found: dict[tuple[int, int], np.ndarray] = {}
        for label, row in simulated.items():
            instance(f"simulated at {label!r}", row, (Mapping,))
            for position, outcome in row.items():
                if label not in self.labels or position not in places:
                    raise ValueError(f"simulated has {label!r} at {self.axis}={position!r}, which the curve lacks")
                instance("simulated", outcome, (Outcome,))
                values = outcome.values.get(name)
                if values is not None:
                    found[self.labels.index(label), places.index(position)] = np.ravel(np.asarray(values))
        array = np.full((len(self.labels), len(places), max(map(np.size, found.values()), default=1)), np.nan)
        for place, values in found.items():
            array[place][: len(values)] = values
        return array


def chosen_axis(
    task: Any, algorithms: Mapping[str, Any], shared: Mapping[str, bool], keywords: Mapping[str, Any]
) -> tuple[str, np.ndarray, dict[str, Any]]:
    """The name of the axis, its positions (N,), and the keywords that are fixed.

    `shared` are the keywords of predict, and whether each must be given.
    Raises: ValueError unless one keyword is a sequence, and where a name is unknown, missing or means two things.
    """
    by_task, by_algorithm = set(_fields(task)), {name for one in algorithms.values() for name in _fields(one)}
    free = _words([*shared, *sorted((by_task ^ by_algorithm) - set(shared))])
    axes = [name for name, value in keywords.items() if _is_sequence(value)]
    for name, value in keywords.items():
        owners = [what for what, names in (("task", by_task), ("algorithm", by_algorithm)) if name in names]
        if name in shared:
            continue
        if not owners:
            raise ValueError(f"{name} is neither a keyword of predict nor a field; accepted: {free}")
        if len(owners) > 1:
            raise ValueError(f"{name} is a field of the task and of the algorithm; accepted: one of {free}")
        if name not in axes:
            raise ValueError(
                f"{name}={value!r} is one value for a field of the {owners[0]}; accepted: a sequence, or the value "
                "where the object is made"
            )
    if len(axes) != 1:
        what = f"{' and '.join(axes)} are sequences" if axes else f"none of the keywords ({_words(keywords)}) is one"
        raise ValueError(f"{what}; accepted: one sequence, which is the axis, for one of {free}")
    for name, needed in shared.items():
        if needed and name not in keywords:
            raise ValueError(f"{name} is not given; accepted: one value for all points, or a sequence, the axis")
    return axes[0], _positions(axes[0], keywords[axes[0]]), {n: one for n, one in keywords.items() if n != axes[0]}


def labelled(algorithms: Any, kinds: tuple[type, ...]) -> dict[str, Any]:
    """Algorithms by label: that of a mapping, else the class, and where several are of one the fields that differ.

    Raises: TypeError for what is no algorithm; ValueError for none, or for two alike.
    """
    if isinstance(algorithms, Mapping):
        found = {str(label): one for label, one in algorithms.items()}
    else:
        many = list(algorithms) if isinstance(algorithms, Sequence | np.ndarray) else [algorithms]
        many = [instance("algorithms", one, kinds) for one in many]
        names = [type(one).__name__ for one in many]
        found = {}
        for one, name in zip(many, names, strict=True):
            alike = [other for other, same in zip(many, names, strict=True) if same == name]
            fields = {field: {_word(getattr(other, field)) for other in alike} for field in _fields(one)}
            apart = [f"{field}={_word(getattr(one, field))}" for field, words in fields.items() if len(words) > 1]
            found[f"{name}({', '.join(apart)})" if apart else name] = one
        if len(found) < len(many):
            raise ValueError("algorithms holds two that are alike; accepted: different ones, or a mapping with labels")
    for one in found.values():
        instance("algorithms", one, kinds)
    if not found:
        raise ValueError("algorithms is empty; accepted: an algorithm, a sequence of them, or a mapping with labels")
    return found


def moved(thing: Any, name: str, value: Any) -> Any:
    """A task or an algorithm with another value of a field; as it is where it has no such field."""
    return dataclasses.replace(thing, **{name: value}) if name in _fields(thing) else thing


def _fields(thing: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(thing) if field.init]


def _is_sequence(value: Any) -> bool:
    if isinstance(value, list | tuple | range):
        return True
    return not isinstance(value, str | bytes | np.generic) and hasattr(value, "__array__") and np.ndim(value) > 0


def _positions(name: str, value: Any) -> np.ndarray:
    """The positions along the axis: numbers, words or flags, (N,)."""
    unmasked(name, value)
    words = isinstance(value, list | tuple) and bool(value) and all(isinstance(one, str) for one in value)
    along = np.array(value) if words else np.asarray(real_array(name, value))
    if along.ndim != 1 or not along.size:
        raise ValueError(f"{name} has shape {along.shape}; accepted: a sequence of one number or more")
    return along


def _is_geometric(along: np.ndarray) -> bool:
    if len(along) < 3 or along.dtype.kind not in "iuf" or np.min(along) <= 0.0:
        return False
    steps = np.diff(np.log(along))
    return bool(np.all(steps > 0.0) and np.ptp(steps) < 0.2 * np.max(steps))


def _require_one(kinds: Collection[Any], name: str, axis: str) -> None:
    if len(kinds) > 1:
        raise ValueError(
            f"{name} does not have the same positions at all points of {axis}; accepted: `at` given, where that is the "
            "dim, or an axis along which sizes stay as they are"
        )


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return f"{value:g}"
    return f"array {np.asarray(value).tolist()}" if isinstance(value, np.ndarray | jax.Array) else repr(value)


def _words(names: Any) -> str:
    return ", ".join(map(str, names))
