"""The figure of an experiment: its panels made of a dataset, shared out where there are too many series."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from solvable.lab.declare import Experiment
from solvable.lab.declare.panels import AnyPanel, Bars, Graph, Map, Panel
from solvable.lab.declare.registry import suggestion
from solvable.lab.declare.symbols import typeset
from solvable.lab.figures import curves, fields
from solvable.lab.figures.plot import Plot, Sheet, note
from solvable.lab.figures.series import MOST_SERIES, Shown, Subject, numeric
from solvable.lab.store.dataset import variable_prefix

if TYPE_CHECKING:
    import xarray

# theories on a denser grid along the parameters of these names
Fine = Callable[..., "xarray.Dataset"]


def subject(experiment: type[Experiment]) -> Subject:
    """What is known of the names in a dataset of this experiment."""
    fields, own = experiment.model_fields, experiment.dimensions
    extra: dict[str, Any] = {name: one.json_schema_extra or {} for name, one in fields.items()}
    units = {one.name: f" ({one.unit})" if one.unit else "" for one in experiment.observables}
    return Subject(
        experiment.x,
        {
            **{name: one.description or name for name, one in fields.items()},
            **{name: one.meaning for name, one in own.items()},
            **{one.name: one.label + units[one.name] for one in experiment.observables},
        },
        {name: typeset(one["symbol"]) for name, one in extra.items() if one.get("symbol")},
        {
            *(name for name, one in extra.items() if one.get("log") and name not in own),
            *(name for name, one in own.items() if one.log),
            *(one.name for one in experiment.observables if one.log),
        },
        [
            Shown(one.label, variable_prefix(experiment, one.label), one.words or _words(one.label), one.given)
            for one in experiment.overlays
        ],
        set(fields),
    )


def panels(experiment: type[Experiment], dataset: xarray.Dataset) -> list[AnyPanel | str]:
    """The panels of the figure with their facets, texts being those that an own `draw` makes."""
    known, about = {one.name for one in experiment.observables}, subject(experiment)
    asked = list(experiment.panels) or [one.name for one in experiment.observables]
    prefixes = ["", *(one.prefix for one in about.theories)]

    def names(one: AnyPanel | str) -> Sequence[str]:
        y = one if isinstance(one, str) else _ordinate(one)
        return [] if callable(y) else [y] if isinstance(y, str) else y

    wanted = [[name for name in names(one) if name in known] for one in asked]
    there = [not own or any(prefix + name in dataset for prefix in prefixes for name in own) for own in wanted]
    absent = [one for one, ok in zip(asked, there, strict=True) if not ok]
    found: list[AnyPanel | str] = []
    for one in asked if len(absent) == len(asked) else [one for one in asked if one not in absent]:
        if not isinstance(one, str):
            _require_names(experiment, one, dataset)
            found += faceted(one, about, dataset)
        elif one in known:
            found.append(Panel(one))
        elif getattr(experiment.draw, "__func__", None) is Experiment.draw.__func__:
            raise ValueError(f"panel {one!r} is no observable of {experiment.name}; its `draw` must draw it")
        else:
            found.append(one)
    return found[:1] if len(absent) == len(asked) else found


def _require_names(experiment: type[Experiment], panel: AnyPanel, dataset: xarray.Dataset) -> None:
    """Raises: ValueError for a name in a panel that is none of the experiment's and none of the dataset's."""
    dims = {*experiment.model_fields, *experiment.dimensions, *map(str, dataset.coords), *map(str, dataset.dims)}
    known = {one.name for one in experiment.observables} | {str(name) for name in dataset.data_vars}
    labels = {one.label for one in experiment.overlays}
    asked: dict[str, tuple[Any, set[str]]] = {
        "facet": (panel.facet, dims),
        "frames": (panel.frames, dims),
        "where": (list(panel.where), dims),
    }
    if isinstance(panel, Panel):
        asked |= {"y": (panel.y, known), "x": (panel.x, dims | known | {*_predictions(experiment)})}
        asked |= {
            "hue": (panel.hue, dims),
            "dash": (panel.dash, dims),
            "theories": (list(panel.theories or ()), labels),
        }
    elif isinstance(panel, Map):
        asked |= {"z": (panel.z, known), "x": (panel.x, dims), "y": (panel.y, dims), "theory": (panel.theory, labels)}
    elif isinstance(panel, Bars):
        asked |= {"y": (panel.y, known), "x": (panel.x, dims)}
    else:
        there = known | {str(name) for name in dataset.coords}
        asked |= {"value": (panel.value, known), "positions": (panel.positions, there), "edges": (panel.edges, there)}
    for field, (value, accepted) in asked.items():
        for name in [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else ():
            if name and name not in accepted:
                words = suggestion(str(name), sorted(accepted))
                raise ValueError(f"{field}={name!r} in a panel of {experiment.name} is unknown; {words}")


def _ordinate(panel: AnyPanel) -> Any:
    """The variables that a panel shows: a name, several, or a function."""
    return panel.value if isinstance(panel, Graph) else panel.z if isinstance(panel, Map) else panel.y


def _predictions(experiment: type[Experiment]) -> list[str]:
    prefixes = [variable_prefix(experiment, one.label) for one in experiment.overlays]
    return [prefix + one.name for prefix in prefixes for one in experiment.observables]


def faceted(panel: AnyPanel, about: Subject, dataset: xarray.Dataset) -> list[AnyPanel]:
    """The panel, or one for each value of its facet that the dataset has."""
    if not panel.facet or panel.facet not in dataset.coords:
        return [panel]
    values = dataset[panel.facet].values.tolist()
    return [
        dataclasses.replace(
            panel, facet="", where={**panel.where, panel.facet: value}, title=_titled(panel, about, value)
        )
        for value in (values if isinstance(values, list) else [values])
    ]


def plot(panel: AnyPanel, about: Subject, dataset: xarray.Dataset, fine: Fine | None = None) -> Plot:
    """One panel as it is drawn; where its frames run along a dim, at the end of it."""
    for dim, value in panel.where.items():
        if dim in dataset.coords and value not in dataset[dim].values.ravel().tolist():
            return note(f"{about.name(dim, value)}\nis not on this grid of parameters", panel.title)
    axes = _dense(panel, about, dataset)
    where = tuple((dim, value) for dim, value in panel.where.items() if dim in dataset.dims)
    dense = None if fine is None or not axes else _within(fine(axes, where), _where(dataset, panel), axes)
    dataset = _where(dataset, panel)
    if panel.frames in dataset.dims and not runs_along(panel, about, dataset):
        dataset = moving(panel, dataset).isel({panel.frames: -1})
    if isinstance(panel, Bars):
        return fields.bars(panel, about, dataset)
    if isinstance(panel, Graph):
        return fields.graph(panel, about, dataset)
    return (fields.field if isinstance(panel, Map) else curves.plot)(panel, about, dataset, dense)  # pyright: ignore[reportArgumentType]


def moving(panel: AnyPanel, dataset: xarray.Dataset) -> xarray.Dataset:
    """The dataset at those values along the frames where a panel has something to show."""
    name = _ordinate(panel)
    there = isinstance(name, str) and name in dataset and panel.frames in dataset[name].dims
    kept = _where(dataset, panel)
    return kept.dropna(panel.frames, how="all", subset=[name]) if there else kept


def runs_along(panel: AnyPanel, about: Subject, dataset: xarray.Dataset) -> bool:
    """Whether the lines of a panel run along the dim of its frames, so that they grow from frame to frame."""
    if not isinstance(panel, Panel):
        return False
    x = panel.x or about.x
    return x == panel.frames or (isinstance(x, str) and x in dataset and panel.frames in dataset[x].dims)


def title(experiment: type[Experiment]) -> str:
    """The first line of the experiment's docstring."""
    return (experiment.__doc__ or experiment.name).strip().partition("\n")[0].rstrip(".")


def sheet(experiment: type[Experiment], dataset: xarray.Dataset, fine: Fine | None = None) -> Sheet:
    """Everything that the figure shows."""
    about, plots = subject(experiment), []
    for panel in panels(experiment, dataset):
        own = _own(experiment, panel, dataset)
        if own is not None:
            plots.append(Plot(own=own))
        elif isinstance(panel, str):
            plots.append(note(f"{panel}: nothing to draw\non this grid of parameters"))
        else:
            plots.append(plot(panel, about, dataset, fine))
    return Sheet(plots, title(experiment))


def sheets(
    experiment: type[Experiment], dataset: xarray.Dataset, fine: Fine | None = None
) -> tuple[int, Iterator[tuple[str, Sheet]]]:
    """The sheet, or where a panel of it had more than `MOST_SERIES` series, several that share out the values of dims.

    Gives their number, and each with the values it shows in words (empty for a single one), made when asked for. The
    dims are parameters where they suffice, the fewest sheets first; of the longest, a sheet takes as many neighbouring
    values as it has room for.
    """
    whole, about = sheet(experiment, dataset, fine), subject(experiment)
    refused = [
        one
        for one, made in zip(panels(experiment, dataset), whole.plots, strict=True)
        if made.refused and isinstance(one, Panel)
    ]
    dims, room = _splits(experiment, dataset, refused)
    if not dims:
        return 1, iter([("", whole)])
    shares = [[[value] for value in dataset[dim].values.tolist()] for dim in dims]
    longest = max(range(len(dims)), key=lambda place: len(shares[place]))
    values = [value for (value,) in shares[longest]]
    count = math.ceil(len(values) / room)
    ends = [round(place * len(values) / count) for place in range(count + 1)]
    shares[longest] = [values[start:stop] for start, stop in itertools.pairwise(ends)]
    parts = []
    for combination in itertools.product(*shares):
        where = {dim: some if len(some) > 1 else some[0] for dim, some in zip(dims, combination, strict=True)}
        part = dataset.sel(where)
        if any(bool(array.notnull().any()) for array in part.data_vars.values() if array.dtype.kind == "f"):
            words = ", ".join(about.names(dim, some) for dim, some in zip(dims, combination, strict=True))
            parts.append((words, part))
    return len(parts), ((words, sheet(experiment, part, fine)) for words, part in parts)


def _own(experiment: type[Experiment], panel: AnyPanel | str, dataset: xarray.Dataset) -> Any:
    """What draws a panel into axes in the experiment's own way; None where the experiment leaves it to the lab."""
    if getattr(experiment.draw, "__func__", None) is Experiment.draw.__func__:
        return None
    name = panel if isinstance(panel, str) else panel.y if isinstance(panel, Panel) else ""
    from matplotlib.figure import Figure

    if not isinstance(name, str) or not experiment.draw(name, Figure().subplots(), dataset):
        return None
    return lambda axes: experiment.draw(name, axes, dataset)


def _dense(panel: AnyPanel, about: Subject, dataset: xarray.Dataset) -> tuple[str, ...]:
    """The numeric parameters along which a panel shows theories without a condition."""
    if isinstance(panel, Bars | Graph) or (isinstance(panel, Panel) and panel.theories == {}):
        return ()
    names: list[Any] = [panel.x or about.x] + ([panel.y] if isinstance(panel, Map) else [])
    return tuple(n for n in names if n in about.parameters and n in dataset.dims and numeric(dataset[n]))


def _where(dataset: xarray.Dataset, panel: AnyPanel) -> xarray.Dataset:
    return dataset.sel({dim: value for dim, value in panel.where.items() if dim in dataset.dims})


def _within(dense: xarray.Dataset, dataset: xarray.Dataset, axes: Sequence[str]) -> xarray.Dataset:
    """Dense theories where the dataset is, which may be a part of that for which they were computed."""
    others = [dim for dim in dense.dims if dim not in axes and dim in dataset.coords]
    return dense.sel({dim: dataset[dim].values if dim in dataset.dims else dataset[dim].item() for dim in others})


def _titled(panel: AnyPanel, about: Subject, value: Any) -> str:
    words = about.name(panel.facet, value)
    return panel.title.format(words) if "{}" in panel.title else f"{panel.title}, {words}" if panel.title else words


def _splits(experiment: type[Experiment], dataset: xarray.Dataset, refused: Sequence[Panel]) -> tuple[list[str], int]:
    """The dims to split along until each of these panels has few enough series, and how often one value then fits."""
    chosen: set[str] = set()
    room = MOST_SERIES
    for panel in refused:
        used, names, most = curves.told_apart(panel, subject(experiment), dataset)
        while (count := names * math.prod(dataset.sizes[dim] for dim in used if dim not in chosen)) > most:
            sizes = {dim: dataset.sizes[dim] for dim in used if dim not in chosen and dataset.sizes[dim] > 1}
            sizes = {dim: size for dim, size in sizes.items() if dim in experiment.model_fields} or sizes
            if not sizes:
                break
            enough = {dim: size for dim, size in sizes.items() if count / size <= most}
            chosen.add(min(enough, key=enough.__getitem__) if enough else max(sizes, key=sizes.__getitem__))
        room = min(room, max(1, most // count))
    return [str(dim) for dim in dataset.dims if dim in chosen], room


def _words(label: str) -> str:
    name = label.replace("_", " ")
    return f"{name} each run" if label.endswith("_given") else name
