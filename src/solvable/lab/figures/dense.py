"""Theory between the points of a run: predictions along one parameter of an experiment, or over two, for its lines and
maps; and the file beside the figure that keeps them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import itertools
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.lab.declare import Experiment
from solvable.lab.declare.grid import kinds
from solvable.lab.figures.default import Fine
from solvable.lab.store.atomic import WriteError, write_whole
from solvable.lab.store.chunk import safe
from solvable.lab.store.dataset import variable_prefix

if TYPE_CHECKING:
    import xarray

FORMAT = 1
POINTS = 60
COARSE, APART = 0.03, 0.1  # of the largest value of a line: moved up to the one, warned of from the other
TINY = np.finfo(float).tiny


def theories(experiment: type[Experiment], dataset: xarray.Dataset, *axes: str, points: int = POINTS) -> xarray.Dataset:
    """What the theories that need no run say along one parameter, or over two, under the names that `dataset` has.

    The grid spans the values of a parameter in `dataset`, which are part of it, with `points` or more (whole numbers:
    as many as there are), evenly in the logarithm where the parameter is declared so. A line or a map stands for each
    combination of the other varying parameters of which `dataset` holds any value. Where a cell is refused or not
    solved there is NaN. Lines that are computed more coarsely than results are laid through those that are stored.

    Raises: ValueError for a parameter that is no number.
    """
    grids = {name: grid(experiment, dataset, name, points) for name in axes}
    made = _predicted(experiment, dataset, grids)
    for name in made.data_vars if len(axes) == 1 else ():
        is_log = _is_log(experiment, grids[axes[0]], axes[0])
        _lay_through(made[name], dataset.get(name), axes[0], np.log if is_log else np.asarray)
    return made


def kept(
    folder: str | os.PathLike[str],
    experiment: type[Experiment],
    dataset: xarray.Dataset,
    *axes: str,
    points: int = POINTS,
) -> xarray.Dataset:
    """`theories`, read from `folder` where they were kept there and still hold.

    A file that is damaged or of something else is computed anew; where it cannot be written nothing is kept.
    """
    key = _key(experiment, dataset, {name: grid(experiment, dataset, name, points) for name in axes})
    path = Path(folder) / f"{safe(experiment.name)}-theory-{'-'.join(map(safe, axes))}-{key[:8]}.npz"
    # whatever is wrong with the file, it is made anew
    with contextlib.suppress(Exception):
        return _read(path, key)
    made = theories(experiment, dataset, *axes, points=points)
    with contextlib.suppress(WriteError):
        write_whole(path, _written(made, key))
    return made


def along(experiment: type[Experiment], dataset: xarray.Dataset, folder: str | os.PathLike[str] | None = None) -> Fine:
    """What gives the figures of a dataset their denser theories, each computed once, kept where a folder is named."""

    @functools.cache
    def fine(axes: tuple[str, ...], where: tuple[tuple[str, Any], ...]) -> xarray.Dataset:
        part = dataset.sel(dict(where))
        return theories(experiment, part, *axes) if folder is None else kept(folder, experiment, part, *axes)

    return fine


def grid(experiment: type[Experiment], dataset: xarray.Dataset, x: str, points: int = POINTS) -> np.ndarray:
    """The positions along a parameter between its least and its largest value in `dataset`, those included.

    Raises: ValueError for a parameter that is no number.
    """
    declared = experiment.model_fields.get(x)
    found = set() if declared is None else kinds(declared.annotation)
    if not found or not found <= {int, float} or x not in dataset.coords:
        numeric = [name for name, one in experiment.model_fields.items() if kinds(one.annotation) <= {int, float}]
        raise ValueError(f"x={x!r} is no number of {experiment.name} here; accepted: {', '.join(map(repr, numeric))}")
    held = np.unique(dataset[x].values[np.isfinite(dataset[x].values)])
    low, high = held[0], held[-1]
    if float not in found and high - low < points:
        return np.arange(low, high + 1)
    spread = (np.geomspace if _is_log(experiment, held, x) else np.linspace)(low, high, points)
    if float not in found:
        spread = np.round(spread).astype(held.dtype)
    near = np.isclose(spread[:, None], held[None, :], rtol=1e-9, atol=1e-12 * max(abs(low), abs(high))).any(axis=1)
    return np.union1d(spread[~near], held)


def _is_log(experiment: type[Experiment], held: np.ndarray, x: str) -> bool:
    extra: Any = experiment.model_fields[x].json_schema_extra
    return bool(extra.get("log")) and float(np.min(held)) > 0.0 if isinstance(extra, Mapping) else False


def _lines(experiment: type[Experiment], dataset: xarray.Dataset, axes: Sequence[str]) -> list[dict[str, Any]]:
    """The combinations of the other varying parameters of which the dataset holds any value."""
    others = [str(dim) for dim in dataset.dims if dim in experiment.model_fields and dim not in axes]
    numbers = [array for array in dataset.data_vars.values() if array.dtype.kind == "f"]
    held: Any = False
    for array in numbers:
        held = array.notnull().any([dim for dim in array.dims if dim not in others]) | held
    made = [
        dict(zip(others, values, strict=True))
        for values in itertools.product(*(dataset[dim].values.tolist() for dim in others))
    ]
    return [one for one in made if numbers and bool(np.any(held.sel({d: v for d, v in one.items() if d in held.dims})))]


def _predicted(experiment: type[Experiment], dataset: xarray.Dataset, axes: Mapping[str, np.ndarray]) -> xarray.Dataset:
    """All overlays that need no run over the product of the axes."""
    import xarray

    fixed = _fixed(experiment, dataset)
    others = [str(dim) for dim in dataset.dims if dim in experiment.model_fields and dim not in axes]
    dims = [*others, *axes]
    along = {**{dim: dataset[dim].values for dim in others}, **axes}
    places: list[dict[str, Any]] = [
        {**line, **dict(zip(axes, point, strict=True))}
        for line in _lines(experiment, dataset, list(axes))
        for point in itertools.product(*(values.tolist() for values in axes.values()))
    ]
    cells = []
    for place in places:
        with contextlib.suppress(ValueError):
            cell = experiment(**{**fixed, **place})
            with contextlib.suppress(NotImplementedError):  # a declaration may predict in its own way
                cell.built()
            cells.append((place, cell))
    index = {dim: {value: i for i, value in enumerate(values.tolist())} for dim, values in along.items()}
    sizes = [len(values) for values in along.values()]
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = dict(along)
    declared = {one.name for one in experiment.observables}
    for overlay in experiment.overlays:
        asked = [(place, cell) for place, cell in cells if overlay.label in [one.label for one in cell.applicable()]]
        if overlay.given or not asked:
            continue
        prefix = variable_prefix(experiment, overlay.label)
        with warnings.catch_warnings(action="ignore"):  # the run has said what there is to warn of
            many = experiment.predictions([cell for _, cell in asked], overlay)
        for (place, _), said in zip(asked, many, strict=True):
            where = tuple(index[dim][place[dim]] for dim in dims)
            if said is None:
                continue
            for name, value in said.present().items():
                if name not in declared:
                    continue
                value, own = np.asarray(value), said.dims[name]
                _, array = variables.setdefault(prefix + name, ((*dims, *own), np.full((*sizes, *value.shape), np.nan)))
                if array.shape[len(sizes) :] == value.shape:
                    array[where] = value
                for dim in own:
                    if said.along(dim) is not None and np.ndim(said.along(dim)) == 1:
                        coordinates.setdefault(dim, np.asarray(said.along(dim)))
    return xarray.Dataset(variables, coordinates)


def _fixed(experiment: type[Experiment], dataset: xarray.Dataset) -> dict[str, Any]:
    """The parameters that do not vary here, those at which a dataset of more was looked at included."""
    scalars = {str(name): one.item() for name, one in dataset.coords.items() if not one.ndim}
    known = {**json.loads(dataset.attrs.get("parameters", "{}")), **scalars}
    return {name: value for name, value in known.items() if name in experiment.model_fields}


def _lay_through(array: xarray.DataArray, stored: xarray.DataArray | None, x: str, scale: Any) -> None:
    """Move lines by what they miss of the stored predictions, interpolated between these.

    A line that misses more than a coarser rule explains stays as it is predicted, with a warning: the two should be
    seen to differ.
    """
    if stored is None or set(stored.dims) | {x} != set(array.dims):
        return
    stored = (stored if x in stored.dims else stored.expand_dims(x)).transpose(*array.dims)
    held = np.searchsorted(array[x].values, stored[x].values)
    where = array.get_axis_num(x)
    lines = np.moveaxis(array.values, where, -1)
    values = np.moveaxis(stored.values, where, -1)
    missed = values - lines[..., held]
    along = scale(array[x].values.astype(float))
    apart = 0.0
    for place in np.ndindex(missed.shape[:-1]):
        there, stands = np.isfinite(missed[place]), np.isfinite(values[place])
        if there.any():
            most = np.abs(missed[place][there]).max() / max(np.abs(values[place][stands]).max(), TINY)
            if most > COARSE:
                apart = max(apart, float(most))
                continue
            lines[place] += np.interp(along, along[held][there], missed[place][there])
        lines[place][held[stands]] = values[place][stands]
    if apart > APART:
        warnings.warn(
            f"{array.name} along {x} is predicted {apart:.0%} of its largest value away from what is stored, and drawn "
            "as it is predicted; a new run stores what is predicted now",
            stacklevel=3,
        )


def _key(experiment: type[Experiment], dataset: xarray.Dataset, axes: Mapping[str, np.ndarray]) -> str:
    lines = _lines(experiment, dataset, list(axes))
    places = {name: values.tolist() for name, values in axes.items()}
    about = [FORMAT, experiment.name, experiment.numbers, version("solvable"), places, lines]
    digest = hashlib.sha256(json.dumps([*about, _fixed(experiment, dataset)], sort_keys=True).encode())
    for overlay in experiment.overlays:  # a theory that was corrected has other stored values
        for one in experiment.observables if not overlay.given else ():
            name = variable_prefix(experiment, overlay.label) + one.name
            if name in dataset:
                digest.update(name.encode() + np.ascontiguousarray(dataset[name].values).tobytes())
    return digest.hexdigest()


def _written(made: xarray.Dataset, key: str) -> bytes:
    everything = {**made.data_vars, **made.coords}
    facts = {"key": key, "dims": {name: list(array.dims) for name, array in made.data_vars.items()}}
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"_{name}": array.values for name, array in everything.items()}
    np.savez_compressed(buffer, facts=json.dumps(facts), **arrays)
    return buffer.getvalue()


def _read(path: Path, key: str) -> xarray.Dataset:
    """Raises: whatever a file that is not there, damaged or of something else makes."""
    import xarray

    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        facts = json.loads(str(file["facts"]))
        if facts["key"] != key:
            raise ValueError("something else is kept here")
        arrays = {name[1:]: file[name] for name in file.files if name != "facts"}
    variables = {name: (tuple(dims), arrays.pop(name)) for name, dims in facts["dims"].items()}
    return xarray.Dataset(variables, arrays)
