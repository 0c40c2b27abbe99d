"""Maps, bars and graphs as marks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from solvable.lab.declare.panels import Bars, Graph, Map
from solvable.lab.figures.plot import FAINT, AnyMark, Axis, Bar, Colored, Field, Key, Look, Mark, Plot, Words, note
from solvable.lab.figures.series import Subject, numeric, tick_text
from solvable.lab.figures.theme import HUES
from solvable.numerics.estimate import over_replicates

if TYPE_CHECKING:
    import xarray

_BAR = Look(HUES[0], opacity=0.75)


def field(panel: Map, subject: Subject, dataset: xarray.Dataset, fine: xarray.Dataset | None = None) -> Plot:
    """A map, of the theory's own fine grid where there is one; a note where its dims do not vary or others do."""
    prefix = ""
    if panel.theory != "":
        shown = [one for one in subject.theories if not one.given and panel.theory in (None, one.label)]
        prefix = shown[0].prefix if shown else ""
    is_dense = fine is not None and prefix + panel.z in fine and {panel.x, panel.y} <= set(fine[prefix + panel.z].dims)
    data = fine if fine is not None and is_dense else dataset
    data = data.sortby([dim for dim in (panel.x, panel.y) if dim in data.dims and numeric(data[dim])])
    found = data.get(prefix + panel.z)
    if found is None:
        return note("nothing to draw\non this grid of parameters", panel.title)
    if "replicate" in found.dims:
        found = over_replicates(found)[0]
    if set(found.dims) != {panel.x, panel.y}:
        more = sorted(str(dim) for dim in set(found.dims) - {panel.x, panel.y})
        words = f"give one value of {', '.join(more)}" if more else f"give several values of {panel.x} and {panel.y}"
        return note(words, panel.title)
    z = found.transpose(panel.y, panel.x).values
    x, y = (_positions(data, dim) for dim in (panel.x, panel.y))
    label = panel.label or subject.meaning(panel.z)
    marks: list[AnyMark] = [Field(x, y, z, label, panel.levels, panel.diverging)]
    marks += _words(panel, x, y, z)
    horizontal, vertical = (
        Axis(subject.meaning(dim), _is_log(subject, dim, places), _names(data, dim))
        for dim, places in ((panel.x, x), (panel.y, y))
    )
    return Plot(horizontal, vertical, marks, title=panel.title)


def bars(panel: Bars, subject: Subject, dataset: xarray.Dataset) -> Plot:
    """Bars over the values of one dim; a note where others vary."""
    shown = [("", "simulation"), *((one.prefix, one.words) for one in subject.theories)]
    found = [(prefix, words, dataset[prefix + panel.y]) for prefix, words in shown if prefix + panel.y in dataset]
    more = sorted({str(dim) for *_, one in found for dim in one.dims} - {panel.x, "replicate"})
    if not found or more:
        words = f"give one value of {', '.join(more)}" if more else "nothing to draw\non this grid of parameters"
        return note(words, panel.title)
    x = np.arange(dataset.sizes[panel.x], dtype=float)
    marks, keys = [], []
    for prefix, words, array in found:
        mean, error = array, None
        if "replicate" in array.dims:
            first = panel.runs == "first"
            mean, error = (array.isel(replicate=0), None) if first else over_replicates(array)
        if prefix:
            look = Look(FAINT, "", "dash", size=16.0)
            marks.append(Mark(x, mean.values, look, words, of="theory"))
            keys.append(Key(words, look))
        else:
            marks.append(Bar(x, mean.values, 0.8, _BAR, words))
            keys.append(Key(words, dataclasses.replace(_BAR, marker="square")))
            if error is not None and np.isfinite(error.values).any():
                marks.append(Mark(x, mean.values, Look(width=0.9), error=error.values, of="simulation"))
    names = {float(i): tick_text(value) for i, value in enumerate(dataset[panel.x].values.tolist())}
    few = names if len(names) <= 16 else {place: word for place, word in names.items() if place % 5 == 0}
    axis = Axis(subject.meaning(panel.x), names=few, limits=(-0.6, len(x) - 0.4))
    y = Axis(panel.label or subject.meaning(panel.y), limits=(None, None))
    return Plot(axis, y, marks, keys if len(keys) > 1 else [], panel.title)


def graph(panel: Graph, subject: Subject, dataset: xarray.Dataset) -> Plot:
    """Nodes coloured by a value, joined by thin edges; a note where one of them is not there."""
    value = dataset.get(panel.value)
    found = [one(dataset) if callable(one) else dataset.get(one) for one in (panel.positions, panel.edges)]
    if value is None or any(one is None for one in found):
        return note("nothing to draw\non this grid of parameters", panel.title)
    positions, edges = map(np.asarray, found)
    if "replicate" in value.dims:
        value = over_replicates(value)[0]
    if value.ndim != 1:
        return note("give one value of every parameter", panel.title)
    ends = positions[edges.astype(int)]
    gaps = np.full((len(ends), 1, 2), np.nan)
    x, y = np.concatenate([ends, gaps], axis=1).reshape(-1, 2).T
    label = panel.label or subject.meaning(panel.value)
    marks = [
        Mark(x, y, Look(FAINT, "solid", width=0.6), of="edges"),
        Colored(positions[:, 0], positions[:, 1], value.values, label),
    ]
    return Plot(Axis(hidden=True), Axis(hidden=True), marks, title=panel.title)


def _words(panel: Map, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> list[Words]:
    """The name of each region where it has most room: at the point farthest from all others."""
    from scipy.ndimage import distance_transform_edt

    bounds = [-np.inf, *sorted(panel.levels), np.inf]
    found = []
    for low, high, words in zip(bounds, bounds[1:], panel.words, strict=False):
        inside = np.pad((z >= low) & (z < high), 1)
        if inside.sum() >= 0.02 * z.size:
            far = np.asarray(distance_transform_edt(inside))[1:-1, 1:-1]
            row, column = np.unravel_index(int(np.argmax(far)), far.shape)
            found.append(Words(float(x[column]), float(y[row]), words))
    return found


def _positions(dataset: xarray.Dataset, dim: str) -> np.ndarray:
    values = dataset[dim]
    return values.values.astype(float) if numeric(values) else np.arange(len(values), dtype=float)


def _names(dataset: xarray.Dataset, dim: str) -> dict[float, str] | None:
    values = dataset[dim]
    return None if numeric(values) else {float(i): tick_text(value) for i, value in enumerate(values.values.tolist())}


def _is_log(subject: Subject, dim: str, places: Sequence[float] | np.ndarray) -> bool:
    return dim in subject.logs and min(places) > 0
