"""Which series a panel has, what they and the axes are called, and how they are told apart."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.lab.figures.plot import LINES, MARKERS, Line, Look, Marker
from solvable.lab.figures.theme import HUES, lighter, ordered

if TYPE_CHECKING:
    import xarray

MOST_SERIES = 12


@dataclasses.dataclass(frozen=True)
class Shown:
    """One theory that may be drawn: its label, the prefix of its variables, words for a legend, whether given runs."""

    label: str
    prefix: str
    words: str
    given: bool = False


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is known of a dataset's names, whoever made it: meanings of dims and variables, symbols, logarithmic ones.

    `x` is the dim on the abscissa where a panel names none, `parameters` the dims that are no variable's own.
    """

    x: str = ""
    meanings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    symbols: Mapping[str, str] = dataclasses.field(default_factory=dict)
    logs: Collection[str] = ()
    theories: Sequence[Shown] = ()
    parameters: Collection[str] = ()

    def meaning(self, name: str) -> str:
        """What a dim or a variable means, for an axis."""
        return self.meanings.get(name) or name.replace("_", " ")

    def name(self, dim: str, value: Any) -> str:
        """One value of a dim, for a legend."""
        if isinstance(value, str):
            return value.replace("_", " ")
        return f"{self.symbols.get(dim) or dim.replace('_', ' ')} = {plain_number(value)}"

    def names(self, dim: str, values: Sequence[Any]) -> str:
        """Several neighbouring values: numbers by their ends, texts one by one."""
        if len(values) > 1 and not isinstance(values[0], str):
            return f"{self.name(dim, values[0])} to {plain_number(values[-1])}"
        return ", ".join(self.name(dim, value) for value in values)


@dataclasses.dataclass(frozen=True)
class Series:
    """One line of a panel: where it lies in the dataset, what it is called, its look."""

    where: dict[str, Any]
    label: str
    color: str
    marker: Marker
    line: Line = "solid"

    def look(self, **changes: Any) -> Look:
        """Its look, changed."""
        return Look(**{"color": self.color, **changes})


def plain_number(value: Any) -> str:
    """A number as ticks and legends show it; true, false and none in words."""
    return str(value).lower() if value is None or isinstance(value, bool) else f"{value:g}"


def tick_text(value: Any) -> str:
    """A value along a dim as a tick shows it: a number, or words."""
    return plain_number(value) if isinstance(value, int | float) else str(value).replace("_", " ")


def numeric(array: Any) -> bool:
    """Whether values along a dim are numbers."""
    return array.dtype.kind in "iuf"


def abscissa(subject: Subject, dataset: xarray.Dataset, arrays: Iterable[xarray.DataArray]) -> str | None:
    """The dim on the abscissa: the subject's, or where that does not vary one that does; None for one point."""
    used = {str(dim) for array in arrays for dim in array.dims} - {"replicate"}
    varying = [str(dim) for dim in dataset.dims if dim in used]
    if subject.x in varying:
        return subject.x
    numbers = [dim for dim in varying if numeric(dataset[dim])]
    return next((dim for dim in numbers if dim in subject.parameters), next(iter([*numbers, *varying]), None))


def series(
    subject: Subject,
    dataset: xarray.Dataset,
    arrays: Iterable[xarray.DataArray],
    along: Collection[str],
    hue: str = "",
    dash: str = "",
) -> list[Series]:
    """One series per combination of the dims not in `along` that has a value: hue by the first dim or by `hue`, the
    pattern of the line by `dash`, lightness by the others.

    The marker tells apart the values of the second parameter, of the first where there is only one.
    """
    arrays = list(arrays)
    used = {str(dim) for array in arrays for dim in array.dims} - {*along, "replicate"}
    dims = sorted((str(dim) for dim in dataset.dims if dim in used), key=lambda dim: (dim != hue, dim == dash))
    values = [dataset[dim].values.tolist() for dim in dims]
    marked = [dim for dim in dims if dim in subject.parameters]
    by = marked[1] if len(marked) > 1 else marked[0] if marked else None
    shades = [dim for dim in dims[1:] if dim != dash]
    count = math.prod(len(items) for dim, items in zip(dims, values, strict=True) if dim in shades)
    there = _there(arrays, dims, [len(items) for items in values])
    found = []
    for place in itertools.product(*(range(len(items)) for items in values)):
        if not there[place]:
            continue
        combination = [items[i] for items, i in zip(values, place, strict=True)]
        at = dict(zip(dims, place, strict=True))
        shade = 0
        for dim in shades:
            shade = shade * len(values[dims.index(dim)]) + at[dim]
        color = HUES[place[0] % len(HUES)] if dims and dims[0] != dash else HUES[0]
        if (
            dims
            and dims[0] != dash
            and dims[0] in subject.parameters
            and numeric(dataset[dims[0]])
            and len(values[0]) > 2
        ):
            color = ordered(place[0], len(values[0]))
        found.append(
            Series(
                dict(zip(dims, combination, strict=True)),
                ", ".join(subject.name(dim, value) for dim, value in zip(dims, combination, strict=True)),
                lighter(color, 0.5 * shade / max(count - 1, 1)),
                MARKERS[(at[dash] if dash in at else 0 if by is None else at[by]) % len(MARKERS)],
                LINES[at.get(dash, 0) % len(LINES)],
            )
        )
    return found


def _there(arrays: Sequence[xarray.DataArray], dims: Sequence[str], sizes: Sequence[int]) -> np.ndarray:
    """Whether any array has a value, for each combination of the dims in order."""
    found = np.zeros(sizes, bool)
    for array in arrays:
        own = [dim for dim in dims if dim in array.dims]
        held = array.notnull().any([dim for dim in array.dims if dim not in own]).transpose(*own).values
        found |= held.reshape([size if dim in own else 1 for dim, size in zip(dims, sizes, strict=True)])
    return found
