"""The figures of a page: interactive graphs, the picture that is printed, the legend, the numbers behind them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from solvable.lab.figures import default, finite_size, interactive, theme
from solvable.lab.figures.looks import Key
from solvable.lab.reporting import reproduce
from solvable.lab.reporting.html import Markup, data_uri, table, tag
from solvable.lab.reporting.section import Chapter
from solvable.lab.store.arrays import CellResult
from solvable.lab.store.dataset import is_sparse, to_dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MOST_FIGURES = 8
_MOST_NUMBERS = 400
_SHAPES = {
    "circle": "M12 4a4 4 0 1 0 0 8a4 4 0 1 0 0-8z",
    "square": "M8.5 4.5h7v7h-7z",
    "triangle-up": "M12 3.5l4.4 8h-8.8z",
    "triangle-down": "M12 12.5l4.4-8h-8.8z",
    "diamond": "M12 3.2l4.4 4.8l-4.4 4.8l-4.4-4.8z",
    "cross": "M10.6 4h2.8v2.6h2.6v2.8h-2.6v2.6h-2.8v-2.6h-2.6v-2.8h2.6z",
    "x": "M9 3.6l3 3l3-3l1.6 1.6l-3 2.8l3 2.8l-1.6 1.6l-3-3l-3 3l-1.6-1.6l3-2.8l-3-2.8z",
}
_STROKES = {"solid": None, "dash": "5 3", "dot": "1.5 2.5", "dashdot": "5 2.5 1.5 2.5"}


class Graphs:
    """The interactive graphs of a document: what each draws, by the id of its element."""

    def __init__(self) -> None:
        self.content: dict[str, dict[str, Any]] = {}

    def add(self, panel: interactive.Panel) -> str:
        """The id under which a panel is drawn."""
        name = f"graph-{len(self.content) + 1}"
        self.content[name] = {"data": panel.data, "layout": panel.layout}
        return name


def figures(chapter: Chapter, graphs: Graphs) -> Iterator[Markup]:
    """The experiment's figure, or several with their headings; a sentence where it cannot be drawn."""
    assert chapter.experiment is not None
    count = 0
    try:
        for words, results in _parts(chapter):
            if count >= _MOST_FIGURES:
                count += 1
                continue
            data = to_dataset(chapter.experiment, results)
            if not data.data_vars:
                continue
            number, made = default.figures(chapter.experiment, data)
            for heading, figure in itertools.islice(made, _MOST_FIGURES - count):
                heading = "; ".join(filter(None, [words, heading]))
                if heading:
                    yield tag("h4", heading)
                yield figure_block(figure, graphs, f"Figure of {chapter.name}{f', {heading}' if heading else ''}")
            count += number
    except Exception as error:  # an experiment's own `draw` is anyone's code, and the tables below stand without it
        yield tag("p", f"The figure could not be drawn: {type(error).__name__}: {error}", class_="note")
        return
    if not count:
        yield tag("p", "There is nothing to draw: no cell has a value.")
    if count > _MOST_FIGURES:
        words = f"{count - _MOST_FIGURES} more of these figures are left out; a run with fewer values draws them."
        yield tag("p", words, class_="note")


def _parts(chapter: Chapter) -> Iterator[tuple[str, Sequence[CellResult]]]:
    """All cells; where they are few in the grid of their values, those of each full grid, and what sets it apart."""
    experiment, results = chapter.experiment, chapter.results
    assert experiment is not None
    if not is_sparse(experiment, results):
        yield "", results
        return
    blocks = reproduce.blocks(experiment, [result.cell for result in results])
    apart = [name for name in experiment.model_fields if len({str(block[name]) for block in blocks}) > 1]
    for block in sorted(blocks, key=lambda block: -math.prod(map(len, block.values()))):
        words = ", ".join(theme.names_of(experiment, name, block[name]) for name in apart)
        yield words, [one for one in results if all(getattr(one.cell, name) in block[name] for name in apart)]


def over_sizes(chapter: Chapter, graphs: Graphs) -> Markup | None:
    """The figure of what is extrapolated over sizes; None where every line is zero."""
    assert chapter.experiment is not None
    made = finite_size.figure(chapter.experiment, chapter.extrapolated)
    return None if made is None else figure_block(made, graphs, f"Agreement over sizes of {chapter.name}")


def figure_block(made: Figure, graphs: Graphs, what: str) -> Markup:
    """A figure: its interactive graphs, its picture for print and for pages without scripts, the numbers behind it."""
    panels = interactive.panels(made)
    omitted = sorted({kind for panel in panels for kind in panel.omitted})
    described = " ".join(panel.description for panel in panels)
    width, height = (round(float(size) * 96) for size in made.get_size_inches())
    source = data_uri("image/svg+xml", theme.picture(made))
    picture = tag("img", class_="picture", src=source, alt=f"{what}. {described}", width=width, height=height)
    if omitted:
        note = f"Shown as a picture: {', '.join(omitted)} cannot be made interactive."
        return tag("div", picture, tag("p", note, class_="note"), class_="figure still")
    drawn = []
    for panel in panels:
        title = tag("figcaption", panel.title) if panel.title else None
        graph = tag("div", class_="graph", id=graphs.add(panel), role="img", aria_label=panel.description)
        drawn.append(tag("figure", title, graph, _legend(panel.legend), class_="panel"))
    shared = _legend(interactive.legend(made))
    interactive_part = tag("div", shared, tag("div", *drawn, class_="panels"), class_="graphs")
    return tag("div", interactive_part, picture, _numbers(panels, what), class_="figure")


def _legend(keys: Sequence[Key]) -> Markup | None:
    if not keys:
        return None
    items = []
    for key in keys:
        parts = []
        if key.dash is not None:
            line = {"d": "M0 8h24", "stroke": "currentColor", "stroke_width": f"{key.width:g}", "fill": "none"}
            parts.append(tag("path", **line, stroke_dasharray=_STROKES.get(key.dash)))
        if key.symbol is not None:
            shape = _SHAPES.get(key.symbol, _SHAPES["diamond" if "diamond" in key.symbol else "circle"])
            edge = {"stroke": "currentColor", "class_": "hollow"} if key.hollow else {"fill": "currentColor"}
            parts.append(tag("path", d=shape, **edge))
        look = {"color": key.color, "data_color": key.color, "opacity": max(key.opacity, 0.3)}
        swatch = tag("svg", *parts, viewBox="0 0 24 16", aria_hidden="true", **look)
        items.append(tag("li", swatch, key.label))
    return tag("ul", *items, class_="legend")


def _numbers(panels: Sequence[interactive.Panel], what: str) -> Markup | None:
    made = []
    for panel in panels:
        for maps, group in itertools.groupby(panel.series, key=lambda one: one.value):
            series = list(group)
            x, y = panel.x_label or "x", panel.y_label or "y"
            points = [(one.label, *point) for one in series for point in one.points]
            if maps:
                columns, points = [x, y, series[0].label], [point[1:] for point in points]
                caption = series[0].label
            else:
                columns, caption = ["series", x, y, "±"], f"{y} against {x}"
                if not any(point[3] for point in points):
                    columns, points = columns[:3], [point[:3] for point in points]
            if len(points) > _MOST_NUMBERS:
                caption += f" (the first {_MOST_NUMBERS} of {len(points)} points)"
            made.append(table(caption, columns, points[:_MOST_NUMBERS], of=what, numbers=columns[0 if maps else 1 :]))
    return tag("details", tag("summary", "The numbers behind the figure"), *made, class_="numbers") if made else None
