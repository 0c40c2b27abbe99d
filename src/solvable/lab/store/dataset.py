"""Results as one labelled dataset: a dim per parameter that varies, the observables' own dims, `replicate` last."""

from __future__ import annotations

import json
import math
import os
import re
import typing
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.lab.declare import Experiment, Observable
from solvable.lab.declare.registry import experiments, suggestion
from solvable.lab.store.arrays import SIMULATION, CellResult, Failure, Values, concatenate
from solvable.lab.store.atomic import DamageWarning, StoreError
from solvable.lab.store.store import Store, parameters_of, read_failures

if TYPE_CHECKING:
    import xarray

_SPARSE, _MOST_NUMBERS = 20, 20_000_000


def read_results(
    folder: str | os.PathLike[str], experiment: str | type[Experiment] | None = None, *, store: Store | None = None
) -> tuple[type[Experiment], list[CellResult]]:
    """Every stored cell of one experiment (it may be left out where `folder` holds only one).

    A damaged file is named in a warning and passed over. Only numbers of the experiment's present version are read.
    With a `store` of `folder`, what it has listed and read already is not read again.

    Raises: StoreError when nothing is stored, or no installed package declares the experiment; ValueError when
    `folder` is a file, when the experiment is not stored or must be named.
    """
    store = store or open_store(folder)
    cls = experiment if isinstance(experiment, type) else _choose(store, experiment)
    facts: dict[str, list[Mapping[str, Any]]] = {}  # by the hash of the cell, as the others
    parts: dict[str, dict[str, list[Values]]] = {}
    failures: dict[str, list[Failure]] = {}
    shelf = store.shelf(cls)
    for stem in shelf:
        stored, cell = shelf.read(stem), stem.partition("-")[0]
        if stored is not None:
            facts.setdefault(cell, []).append(stored.facts)
            for label, values in stored.values.items():
                parts.setdefault(cell, {}).setdefault(label, []).append(values)
    for path in sorted(shelf.path.glob("_*.failed.json")):
        about, raised = read_failures(path)
        if about:
            cell = about["chunk"].partition("-")[0]
            facts.setdefault(cell, []).append(about)
            failures.setdefault(cell, []).extend(raised)
    shelf.save()
    results = []
    for cell, held in facts.items():
        about = held[0]
        if about["experiment"] != cls.name or about["numbers"] != cls.numbers:
            continue
        try:
            made = cls(**about["parameters"])
        except ValueError:
            names = ", ".join(about["parameters"])
            warnings.warn(
                f"a cell of {cls.name} has parameters it no longer takes ({names}); it is passed over", stacklevel=2
            )
            continue
        sources = {label: concatenate(values) for label, values in parts.get(cell, {}).items()}
        results.append(CellResult(made, sources, failures.get(cell, []), held))
    if not results:
        raise StoreError(f"{folder} holds no present numbers of {cls.name}; `solvable run {cls.name}` makes some")
    places = {name: {value: i for i, value in enumerate(values)} for name, values in axes_of(cls, results).items()}
    results.sort(key=lambda result: [place[getattr(result.cell, name)] for name, place in places.items()])
    return cls, results


def open_store(folder: str | os.PathLike[str]) -> Store:
    """The store of a folder that is to be read.

    Raises: ValueError when it is a file.
    """
    if os.path.isfile(folder):
        raise ValueError(f"{os.fspath(folder)!r} is a file; accepted for DIR: a folder of stored results")
    return Store(folder)


def stored_experiments(store: Store) -> list[str]:
    """The names of the experiments that a store holds something of."""
    failed = {facts["experiment"] for path in store.failed_files() if (facts := read_failures(path)[0])}
    return sorted(failed.union(*(shelf.experiments() for shelf in store.shelves())))


def not_installed(folder: str | os.PathLike[str], name: str) -> str:
    """The sentence on an experiment that is stored and that nothing declares."""
    return f"{name} is stored in {os.fspath(folder)}, but no installed package declares it; install that package"


def damaged_files(notes: Iterable[Warning]) -> list[DamageWarning]:
    """Those of the warnings of `read_results` that tell of a damaged file; a foreign one is not our data."""
    return [note for note in notes if isinstance(note, DamageWarning) and is_chunk(note.name)]


def is_chunk(name: str) -> bool:
    """Whether a file has the name that the store gives a chunk, or the record of its failure."""
    return re.match(r"_?[0-9a-f]{24}-", name) is not None


def is_sparse(experiment: type[Experiment], results: Sequence[CellResult]) -> bool:
    """Whether the cells are a small part of the grid of all their values, as those of several sweeps are."""
    return math.prod(map(len, axes_of(experiment, results).values())) > _SPARSE * len(results)


def to_dataset(experiment: type[Experiment], results: Sequence[CellResult]) -> xarray.Dataset:
    """The results of one experiment as one dataset.

    An observable of the simulation keeps its name and has the dims (varying parameters, own dims, replicate). A
    prediction is named `theory_<observable>` where the experiment has one unconditional overlay, `<label>_<observable>`
    otherwise, and has `replicate` where it was conditioned on the run. `reason` says why a replicate is missing.

    Raises: ValueError when the cells are few in the grid of all their values and that grid is very large.
    """
    import xarray

    axes = axes_of(experiment, results)
    varying = {name: values for name, values in axes.items() if len(values) > 1}
    labels = [SIMULATION, *(overlay.label for overlay in experiment.overlays)]
    held = [v.replicates for cell in results for v in cell.sources.values() if v.replicates is not None]
    numbers = np.unique(np.concatenate(held)).tolist() if held else []
    coordinates: dict[str, Any] = {name: np.asarray(values) for name, values in varying.items()}
    coordinates.update({name: values[0] for name, values in axes.items() if len(values) == 1 and values[0] is not None})
    own = _own_coordinates(results)
    coordinates.update(own)
    if numbers:
        coordinates["replicate"] = np.asarray(numbers, dtype=np.int64)
    variables: dict[str, Any] = {}
    index = {name: {value: i for i, value in enumerate(values)} for name, values in varying.items()}
    places = [tuple(index[name][getattr(result.cell, name)] for name in varying) for result in results]
    sizes = [len(values) for values in varying.values()]
    described = {observable.name: observable for observable in experiment.observables}
    for label in labels:
        cells = [
            (place, result.sources[label])
            for place, result in zip(places, results, strict=True)
            if label in result.sources
        ]
        prefix = "" if label == SIMULATION else variable_prefix(experiment, label)
        for name in dict.fromkeys(name for _, values in cells for name in values.arrays):
            holding = [(place, values) for place, values in cells if name in values.arrays]
            dims, array = _cube(holding, name, list(varying), sizes, own, numbers, experiment.name, len(results))
            about = described.get(name)
            attrs = {} if about is None else _described(about, label)
            variables[prefix + name] = (dims, array, attrs)
    if any(reason for cell in results for values in cell.sources.values() for reason in values.reasons) and numbers:
        variables["reason"] = _reasons(results, places, list(varying), sizes, numbers)
    dataset = xarray.Dataset(variables, coords=coordinates, attrs=_attributes(experiment, results, axes))
    for name in varying:
        field = experiment.model_fields[name]
        dataset[name].attrs["long_name"] = field.description or name
    return dataset


def variable_prefix(experiment: type[Experiment], label: str) -> str:
    """What stands before an observable's name in the dataset for one overlay."""
    unconditional = [overlay.label for overlay in experiment.overlays if not overlay.given]
    return "theory_" if unconditional == [label] else f"{label}_"


def _described(observable: Observable, label: str) -> dict[str, str]:
    source = "" if label == SIMULATION else f" ({label.replace('_', ' ')})"
    return {"long_name": observable.label + source} | ({"units": observable.unit} if observable.unit else {})


def _choose(store: Store, wanted: str | None) -> type[Experiment]:
    folder, stored = store.folder, stored_experiments(store)
    if not stored:
        raise StoreError(f"{folder} holds no results; `solvable run EXPERIMENT --out {folder}` makes some")
    if wanted is None and len(stored) > 1:
        raise ValueError(f"{folder} holds several experiments; name one: {', '.join(map(repr, stored))}")
    name = wanted or stored[0]
    if name not in stored:
        raise ValueError(f"experiment {name!r} is not stored in {folder}; {suggestion(name, stored)}")
    known = experiments()
    if name not in known:
        raise StoreError(not_installed(folder, name))
    return known[name]


def axes_of(experiment: type[Experiment], results: Sequence[CellResult]) -> dict[str, list[Any]]:
    """The values of each parameter over the results: numbers ascending, texts in the order of the declaration."""
    axes = {}
    for name, field in experiment.model_fields.items():
        values = list(dict.fromkeys(getattr(result.cell, name) for result in results))
        if typing.get_origin(field.annotation) is typing.Literal:
            order = list(typing.get_args(field.annotation))
            values.sort(key=order.index)
        elif all(isinstance(value, int | float) for value in values):
            values.sort()
        axes[name] = values
    return axes


def _own_coordinates(results: Sequence[CellResult]) -> dict[str, np.ndarray]:
    seen: dict[str, dict[bytes, np.ndarray]] = {}
    for result in results:
        for values in result.sources.values():
            for dim, positions in values.coordinates.items():
                seen.setdefault(dim, {})[positions.tobytes()] = positions
    return {dim: _union(list(positions.values())) for dim, positions in seen.items()}


def _union(parts: list[np.ndarray]) -> np.ndarray:
    """All positions along a dim: numbers ascending, words in the order in which they were met."""
    if any(part.dtype.kind == "U" for part in parts):
        return np.array(list(dict.fromkeys(str(word) for part in parts for word in part)))
    return np.unique(np.concatenate(parts))


def _inside(own: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Where the positions of one source lie in those of all."""
    if own.dtype.kind == "U":
        place = {word: i for i, word in enumerate(own.tolist())}
        return np.array([place[str(word)] for word in positions], dtype=np.intp)
    return np.searchsorted(own, positions)


def _cube(
    cells: Sequence[tuple[tuple[int, ...], Values]],
    name: str,
    varying: Sequence[str],
    sizes: Sequence[int],
    own: Mapping[str, np.ndarray],
    numbers: Sequence[int],
    of: str,
    count: int,
) -> tuple[tuple[str, ...], np.ndarray]:
    """One observable of one source over all `count` cells, each with its place in the grid; NaN where there is none."""
    first = cells[0][1]
    inner = first.dims[name]
    replicated = first.replicates is not None
    dims = (*varying, *inner, *(("replicate",) if replicated else ()))
    shape = [*sizes, *(len(own[dim]) for dim in inner), *([len(numbers)] * replicated)]
    if math.prod(sizes) > _SPARSE * count and math.prod(shape) > _MOST_NUMBERS:
        words = " x ".join(map(str, shape))
        raise ValueError(
            f"{of} in one dataset would have arrays of {words} numbers for {count} cells; read the Parquet files, or "
            "keep sweeps in folders of their own"
        )
    array = np.full(shape, np.nan)
    # Cells of one layout are placed together: a grid of many small cells would else spend its time on indexing.
    alike: dict[Any, list[tuple[tuple[int, ...], Values]]] = {}
    for place, values in cells:
        key = (
            values.arrays[name].shape,
            None if values.replicates is None else values.replicates.tobytes(),
            *(values.coordinates[dim].tobytes() for dim in inner),
        )
        alike.setdefault(key, []).append((place, values))
    for group in alike.values():
        one = group[0][1]
        inside = [_inside(own[dim], one.coordinates[dim]) for dim in inner]
        stacked = np.stack([values.arrays[name] for _, values in group])
        if one.replicates is not None:
            inside.append(np.searchsorted(numbers, one.replicates))
            stacked = np.moveaxis(stacked, 1, -1)
        at = np.array([place for place, _ in group], dtype=np.intp).reshape(len(group), len(sizes))
        flat = at @ np.array([math.prod(sizes[i + 1 :]) for i in range(len(sizes))], dtype=np.intp)
        array.reshape(-1, *array.shape[len(sizes) :])[np.ix_(flat, *inside)] = stacked
    return dims, array


def _reasons(
    results: Sequence[CellResult],
    places: Sequence[tuple[int, ...]],
    varying: Sequence[str],
    sizes: Sequence[int],
    numbers: Sequence[int],
) -> tuple[Any, np.ndarray]:
    array = np.full([*sizes, len(numbers)], "", dtype=object)
    for result, place in zip(results, places, strict=True):
        for values in result.sources.values():
            if values.replicates is not None and any(values.reasons):
                for number, reason in zip(values.replicates, values.reasons, strict=True):
                    where = (*place, int(np.searchsorted(numbers, number)))
                    array[where] = array[where] or reason
    return (*varying, "replicate"), array.astype(str)


def _attributes(
    experiment: type[Experiment], results: Sequence[CellResult], axes: Mapping[str, list[Any]]
) -> dict[str, str]:
    facts = [entry for result in results for entry in result.facts]
    fixed = {name: value for name, value in parameters_of(results[0].cell).items() if len(axes[name]) == 1}
    dtypes = {values.dtype for result in results for values in result.sources.values() if values.dtype}
    return {
        "experiment": experiment.name,
        "title": (experiment.__doc__ or "").strip().partition("\n")[0],
        "source": experiment.source,
        "parameters": json.dumps(fixed),
        "versions": "; ".join(sorted({json.dumps(entry["versions"]) for entry in facts})),
        "device": "; ".join(sorted({entry["device"] for entry in facts})),
        "dtype": ", ".join(sorted(dtypes)),
    }
