"""Figures that move: the panels with frames, as a GIF or as a page that plays them."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.lab.declare import Experiment, registry
from solvable.lab.declare.panels import AnyPanel, Panel
from solvable.lab.figures import default, matplotlib, plotly
from solvable.lab.figures.plot import AnyMark, Axis, Colored, Mark, Plot, Sheet, span
from solvable.lab.figures.series import Subject
from solvable.lab.store.atomic import write_whole
from solvable.lab.store.dataset import read_results, to_dataset

if TYPE_CHECKING:
    import xarray

_HEAD = 5.0  # points: the marker at the end of a line that grows


def animate(
    folder: str | os.PathLike[str] | xarray.Dataset,
    experiment: str | type[Experiment],
    path: str | os.PathLike[str],
    *,
    frames: int = 60,
    seconds: float = 6.0,
) -> Path:
    """Write the panels of an experiment that have `frames` as an animation, a `.gif` or a `.html`; the path.

    `folder` holds stored results, or is a dataset of them. Of the values along the dim of the frames up to `frames` are
    shown, evenly in their order. A line that runs along that dim grows; anything else is shown as it is there. Axes
    stay still.

    Raises: StoreError when nothing is stored; ValueError for another suffix, fewer than two frames, and an experiment
    of which no panel has frames; WriteError when the file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix not in (".gif", ".html"):
        raise ValueError(f"path={os.fspath(path)!r} has no form of an animation; accepted: a name in .gif or .html")
    if frames < 2 or not seconds > 0:
        raise ValueError(f"frames={frames}, seconds={seconds} is no animation; accepted: frames >= 2, seconds > 0")
    cls = registry.find(experiment) if isinstance(experiment, str) else experiment
    stored = isinstance(folder, str | os.PathLike)
    data: Any = to_dataset(*read_results(folder, cls)) if stored else folder
    made = sheets(cls, data, frames)
    data = _gif(made, seconds) if suffix == ".gif" else plotly.page(made, seconds).encode()
    write_whole(Path(path), data)
    return Path(path)


def sheets(experiment: type[Experiment], dataset: xarray.Dataset, frames: int) -> list[Sheet]:
    """The figure at each frame, of the panels that have frames.

    Raises: ValueError where no panel has any along a dim of the dataset.
    """
    about = default.subject(experiment)
    moving = [
        one
        for one in default.panels(experiment, dataset)
        if not isinstance(one, str) and one.frames in dataset.dims and dataset.sizes[one.frames] > 1
    ]
    if not moving:
        raise ValueError(
            f"experiment={experiment.name!r} has no panel with frames; accepted: one of which a panel moves"
        )
    found = [_frames(one, about, dataset, frames) for one in moving]
    found = _one_scale(found)
    title, count = default.title(experiment), max(map(len, found))
    return [Sheet([plots[min(place, len(plots) - 1)] for plots in found], title) for place in range(count)]


def _frames(panel: AnyPanel, about: Subject, dataset: xarray.Dataset, count: int) -> list[Plot]:
    dataset = default.moving(panel, dataset)
    size = dataset.sizes[panel.frames]
    places = np.unique(np.linspace(0, size - 1, count).round().astype(int))
    grows, whole = default.runs_along(panel, about, dataset), default.plot(panel, about, dataset)
    on_x = isinstance(panel, Panel) and (panel.x or about.x) == panel.frames
    plots = []
    for place in places:
        value = dataset[panel.frames].values[place].item()
        if grows:
            made = _grown(whole, lambda mark, v=value, s=(place + 1) / size: _until(mark, v if on_x else None, s))
        else:
            made = default.plot(panel, about, dataset.isel({panel.frames: slice(place, place + 1)}))
        words = f"{about.meaning(panel.frames)} {value if isinstance(value, str) else f'{value:.6g}'}"
        plots.append(dataclasses.replace(made, title=f"{panel.title}, {words}" if panel.title else words))
    x, y = (_still(axis, [whole] if grows else plots, side) for side, axis in enumerate((whole.x, whole.y)))
    return [dataclasses.replace(plot, x=x, y=y, keys=whole.keys) for plot in plots]


def _one_scale(found: Sequence[list[Plot]]) -> list[list[Plot]]:
    """Values on nodes keep their colours from frame to frame, and from panel to panel where they mean the same."""
    spans: dict[str, list[float]] = {}
    colored = [mark for plots in found for plot in plots for mark in plot.marks if isinstance(mark, Colored)]
    for mark in colored:
        spans.setdefault(mark.label, []).extend((float(np.nanmin(mark.value)), float(np.nanmax(mark.value))))

    def scaled(mark: AnyMark) -> AnyMark:
        if not isinstance(mark, Colored):
            return mark
        return dataclasses.replace(mark, limits=(min(spans[mark.label]), max(spans[mark.label])))

    return [[dataclasses.replace(plot, marks=[*map(scaled, plot.marks)]) for plot in plots] for plots in found]


def _until(mark: Mark, value: float | None, share: float) -> Mark:
    """A line up to a value on the abscissa, or without one up to a share of its points."""
    kept = int((mark.x <= value).sum()) if value is not None else max(1, round(share * len(mark.x)))
    error = None if mark.error is None else mark.error[:kept]
    return dataclasses.replace(mark, x=mark.x[:kept], y=mark.y[:kept], error=error)


def _still(axis: Axis, plots: Sequence[Plot], side: int) -> Axis:
    """An axis that holds every frame."""
    spans = [one for plot in plots if (one := span(plot, side)) is not None]
    if axis.hidden or not spans:
        return axis
    low, high = min(one[0] for one in spans), max(one[1] for one in spans)
    return dataclasses.replace(axis, limits=(10.0**low, 10.0**high) if axis.log else (low, high))


def _grown(plot: Plot, until: Callable[[Mark], Mark]) -> Plot:
    """The plot with its lines cut, and a marker at the end of every line of a run, where it has come to."""
    marks = [until(one) if isinstance(one, Mark) and one.of != "guide" else one for one in plot.marks]
    heads = [
        Mark(one.x[-1:], one.y[-1:], dataclasses.replace(one.look, line="", marker="circle", size=_HEAD, opacity=1.0))
        for one in marks
        if isinstance(one, Mark) and one.of == "simulation" and one.look.line and len(one.x)
    ]
    return dataclasses.replace(plot, marks=[*marks, *heads])


def _gif(made: Sequence[Sheet], seconds: float) -> bytes:
    from PIL import Image

    pictures = []
    for sheet in made:
        buffer = io.BytesIO()
        drawn = matplotlib.draw(sheet, width="page" if len(sheet.plots) > 1 else None)
        drawn.savefig(buffer, format="png", dpi=110)
        pictures.append(Image.open(buffer).convert("RGB"))
    # one palette for all frames, that of the last, on which everything is
    palette = pictures[-1].quantize(128)
    pictures = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in pictures]
    buffer, pause = io.BytesIO(), int(1000 * seconds / len(pictures))
    options: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "loop": 0}
    pictures[0].save(buffer, format="GIF", duration=[pause] * (len(pictures) - 1) + [1500], **options)
    return buffer.getvalue()
