"""A dataset of an experiment from its declaration alone: made-up numbers in the places of those of real runs."""

import importlib
import itertools

import numpy as np

from solvable.lab.declare import Experiment
from solvable.lab.store.arrays import SIMULATION, CellResult, Values
from solvable.lab.store.dataset import to_dataset

REPLICATES = 3


def dataset(experiment: type[Experiment], most: int = 3):
    """Up to `most` values of each parameter (every one of words), and positive numbers that differ everywhere."""
    grid = {
        name: values if isinstance(values[0], str) else values[:most]
        for name, values in experiment.default_grid().items()
    }
    cells = [experiment(**dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]
    return to_dataset(experiment, [_result(cell, seed) for seed, cell in enumerate(cells)])


def _result(cell: Experiment, seed: int) -> CellResult:
    places, dims = _coordinates(cell), _dims(type(cell))
    rng = np.random.default_rng(seed)
    shapes = {name: [len(places[dim]) for dim in own] for name, own in dims.items() if set(own) <= set(places)}

    def values(names, replicated):
        arrays = {n: rng.uniform(0.1, 2.0, [REPLICATES] * replicated + shapes[n]) for n in names if n in shapes}
        used = {dim for name in arrays for dim in dims[name]}
        return Values(
            arrays,
            {name: tuple(dims[name]) for name in arrays},
            {dim: np.asarray(places[dim]) for dim in used},
            np.arange(REPLICATES) if replicated else None,
            [""] * (REPLICATES if replicated else 1),
            {},
            {},
        )

    sources = {SIMULATION: values(dims, True)} if cell.replicates else {}
    for overlay in cell.applicable():
        sources[overlay.label] = values(type(cell).status(overlay), overlay.given)
    return CellResult(cell, sources, facts=[{"versions": {}, "device": "none"}])


def _dims(experiment):
    system = getattr(importlib.import_module(experiment.system), "SYSTEM", None)
    own = {one.name: one.dims for one in getattr(system, "observables", ())}
    return {one.name: one.dims or own.get(one.name, ()) for one in experiment.observables}


def _coordinates(cell):
    places = dict(getattr(cell, "coordinates", dict)())
    system = getattr(importlib.import_module(cell.system), "SYSTEM", None)
    needed = {dim for own in _dims(type(cell)).values() for dim in own} - set(places)
    if system is not None and needed:
        task, algorithm, shared = cell.task(), cell.algorithm(), cell.shared()
        places |= dict(system.coordinates(task, algorithm))
        if "at" in needed and "at" not in places:
            at = shared.get("at")
            unit = shared.get("unit") or system.default_unit(task, algorithm, at)
            places["at"] = system.times(task, algorithm, at, unit)
    return {**{dim: np.arange(4) for dim in needed}, **{dim: np.asarray(one) for dim, one in places.items()}}
