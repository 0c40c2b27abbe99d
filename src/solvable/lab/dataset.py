"""Results as one labelled dataset: a dim per parameter that varies, the observables' own dims, `replicate` last."""

from __future__ import annotations

import json
import os
import typing
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.lab.experiment import Experiment
from solvable.lab.registry import experiments, suggestion
from solvable.lab.store import DamagedError, Store, StoreError, parameters_text, read_failures, read_file
from solvable.lab.values import SIMULATION, CellResult, Values, concatenate

if TYPE_CHECKING:
    import xarray


def read_results(
    folder: str | os.PathLike[str], experiment: str | type[Experiment] | None = None
) -> tuple[type[Experiment], list[CellResult]]:
    """Every stored cell of one experiment (it may be left out where `folder` holds only one).

    A damaged file is named in a warning and passed over. Only numbers of the experiment's present version are read.

    Raises: StoreError when nothing is stored; ValueError when the experiment is unknown or must be named.
    """
    store = Store(folder)
    parts: dict[tuple[str, str], dict[str, list[Values]]] = {}
    facts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    failures: dict[tuple[str, str], list[Any]] = {}
    for path in store.files():
        try:
            stored = read_file(path)
        except DamagedError as error:
            warnings.warn(f"{error}; it is passed over", stacklevel=2)
            continue
        where = _key(stored.facts)
        facts.setdefault(where, []).append(stored.facts)
        for label, values in stored.values.items():
            parts.setdefault(where, {}).setdefault(label, []).append(values)
    for path in store.failed_files():
        about, found = read_failures(path)
        if about:
            failures.setdefault(_key(about), []).extend(found)
            facts.setdefault(_key(about), []).append(about)
    cls = _choose(Path(folder), sorted({name for name, *_ in facts}), experiment)
    results = []
    for where, entries in facts.items():
        if where[0] != cls.name or entries[0]["numbers"] != cls.numbers:
            continue
        cell = cls(**entries[0]["parameters"])
        sources = {label: concatenate(values) for label, values in parts.get(where, {}).items()}
        results.append(CellResult(cell, sources, failures.get(where, []), entries))
    if not results:
        raise StoreError(f"{folder} holds no present numbers of {cls.name}; `solvable run {cls.name}` makes some")
    axes = _axes(cls, results)
    results.sort(key=lambda result: [values.index(getattr(result.cell, name)) for name, values in axes.items()])
    return cls, results


def stored_experiments(folder: str | os.PathLike[str]) -> list[str]:
    """The names of the experiments that `folder` holds something of."""
    names = set()
    store = Store(folder)
    for path in store.files():
        try:
            names.add(read_file(path).facts["experiment"])
        except DamagedError:
            continue
    return sorted(names | {about["experiment"] for path in store.failed_files() if (about := read_failures(path)[0])})


def to_dataset(experiment: type[Experiment], results: Sequence[CellResult]) -> xarray.Dataset:
    """The results of one experiment as one dataset.

    An observable of the simulation keeps its name and has the dims (varying parameters, own dims, replicate). A
    prediction is named `theory_<observable>` where the experiment has one unconditional overlay, `<label>_<observable>`
    otherwise, and has `replicate` where it was conditioned on the run. `reason` says why a replicate is missing.
    """
    import xarray

    axes = _axes(experiment, results)
    varying = {name: values for name, values in axes.items() if len(values) > 1}
    labels = [SIMULATION, *(overlay.label for overlay in experiment.overlays)]
    numbers = sorted(
        {int(r) for cell in results for v in cell.sources.values() if v.replicates is not None for r in v.replicates}
    )
    coordinates: dict[str, Any] = {name: np.asarray(values) for name, values in varying.items()}
    coordinates.update({name: values[0] for name, values in axes.items() if len(values) == 1 and values[0] is not None})
    own = _own_coordinates(results)
    coordinates.update(own)
    if numbers:
        coordinates["replicate"] = np.asarray(numbers, dtype=np.int64)
    variables: dict[str, Any] = {}
    described = {observable.name: observable for observable in experiment.observables}
    for label in labels:
        cells = [(cell, cell.sources[label]) for cell in results if label in cell.sources]
        prefix = "" if label == SIMULATION else variable_prefix(experiment, label)
        for name in dict.fromkeys(name for _, values in cells for name in values.arrays):
            dims, array = _cube(
                [(cell, v) for cell, v in cells if name in v.arrays], name, varying, own, numbers, "arrays"
            )
            about = described.get(name)
            attrs = {} if about is None else {"long_name": about.label, "units": about.unit}
            variables[prefix + name] = (dims, array, attrs)
    if any(reason for cell in results for values in cell.sources.values() for reason in values.reasons) and numbers:
        variables["reason"] = _reasons(results, varying, numbers)
    dataset = xarray.Dataset(variables, coords=coordinates, attrs=_attributes(experiment, results, axes))
    for name in varying:
        field = experiment.model_fields[name]
        dataset[name].attrs["long_name"] = field.description or name
    return dataset


def variable_prefix(experiment: type[Experiment], label: str) -> str:
    """What stands before an observable's name in the dataset for one overlay."""
    unconditional = [overlay.label for overlay in experiment.overlays if not overlay.given]
    return "theory_" if unconditional == [label] else f"{label}_"


def _key(facts: Mapping[str, Any]) -> tuple[str, str]:
    return facts["experiment"], json.dumps([facts["parameters"], facts["numbers"]], sort_keys=True)


def _choose(folder: Path, stored: list[str], wanted: str | type[Experiment] | None) -> type[Experiment]:
    if isinstance(wanted, type):
        return wanted
    if not stored:
        raise StoreError(f"{folder} holds no results; `solvable run EXPERIMENT --out {folder}` makes some")
    if wanted is None and len(stored) > 1:
        raise ValueError(f"{folder} holds several experiments; name one: {', '.join(map(repr, stored))}")
    name = wanted or stored[0]
    if name not in stored:
        raise ValueError(f"experiment {name!r} is not stored in {folder}; {suggestion(name, stored)}")
    known = experiments()
    if name not in known:
        raise ValueError(f"experiment {name!r} is stored in {folder} but not installed; {suggestion(name, known)}")
    return known[name]


def _axes(experiment: type[Experiment], results: Sequence[CellResult]) -> dict[str, list[Any]]:
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
    found: dict[str, np.ndarray] = {}
    for result in results:
        for values in result.sources.values():
            for dim, positions in values.coordinates.items():
                found[dim] = np.union1d(found[dim], positions) if dim in found else np.unique(positions)
    return found


def _cube(
    cells: Sequence[tuple[CellResult, Values]],
    name: str,
    varying: Mapping[str, list[Any]],
    own: Mapping[str, np.ndarray],
    numbers: Sequence[int],
    field: str,
) -> tuple[tuple[str, ...], np.ndarray]:
    """One observable of one source over all cells; NaN where nothing is stored."""
    first = cells[0][1]
    inner = first.dims[name]
    replicated = first.replicates is not None
    dims = (*varying, *inner, *(("replicate",) if replicated else ()))
    sizes = (
        [len(values) for values in varying.values()] + [len(own[dim]) for dim in inner] + [len(numbers)] * replicated
    )
    array = np.full(sizes, np.nan)
    for result, values in cells:
        index = tuple(axis.index(getattr(result.cell, parameter)) for parameter, axis in varying.items())
        places = [np.searchsorted(own[dim], values.coordinates[dim]) for dim in inner]
        block = getattr(values, field)[name]
        if values.replicates is not None:
            places.append(np.searchsorted(numbers, values.replicates))
            block = np.moveaxis(block, 0, -1)
        array[index + np.ix_(*places) if places else index] = block
    return dims, array


def _reasons(
    results: Sequence[CellResult], varying: Mapping[str, list[Any]], numbers: Sequence[int]
) -> tuple[Any, np.ndarray]:
    array = np.full([*(len(values) for values in varying.values()), len(numbers)], "", dtype=object)
    for result in results:
        index = tuple(axis.index(getattr(result.cell, parameter)) for parameter, axis in varying.items())
        for values in result.sources.values():
            if values.replicates is not None:
                for number, reason in zip(values.replicates, values.reasons, strict=True):
                    place = (*index, int(np.searchsorted(numbers, number)))
                    array[place] = array[place] or reason
    return (*varying, "replicate"), array.astype(str)


def _attributes(
    experiment: type[Experiment], results: Sequence[CellResult], axes: Mapping[str, list[Any]]
) -> dict[str, str]:
    facts = [entry for result in results for entry in result.facts]
    fixed = {
        name: value for name, value in json.loads(parameters_text(results[0].cell)).items() if len(axes[name]) == 1
    }
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
