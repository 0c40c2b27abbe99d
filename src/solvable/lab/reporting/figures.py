"""The figures of a page: interactive graphs, the picture that is printed, the legend, the numbers behind them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from solvable.lab.declare.grid import varying
from solvable.lab.figures import default, dense, finite_size, matplotlib, plotly
from solvable.lab.figures.plot import Key, Plot, Sheet, legends
from solvable.lab.figures.theme import THEMES
from solvable.lab.figures.words import description, points, text
from solvable.lab.reporting import reproduce
from solvable.lab.reporting.section import Section
from solvable.lab.store.arrays import CellResult
from solvable.lab.store.dataset import is_sparse, to_dataset
from solvable.numerics.html import Markup, data_uri, table, tag

_MOST_FIGURES = 8
_MOST_NUMBERS = 400
_SHAPES = {
    "circle": "M12 4a4 4 0 1 0 0 8a4 4 0 1 0 0-8z",
    "square": "M8.5 4.5h7v7h-7z",
    "dash": "M4 7h16v2h-16z",
    "triangle": "M12 3.5l4.4 8h-8.8z",
    "wedge": "M12 12.5l4.4-8h-8.8z",
    "diamond": "M12 3.2l4.4 4.8l-4.4 4.8l-4.4-4.8z",
    "plus": "M10.6 4h2.8v2.6h2.6v2.8h-2.6v2.6h-2.8v-2.6h-2.6v-2.8h2.6z",
    "cross": "M9 3.6l3 3l3-3l1.6 1.6l-3 2.8l3 2.8l-1.6 1.6l-3-3l-3 3l-1.6-1.6l3-2.8l-3-2.8z",
}
_STROKES = {"solid": None, "dash": "5 3", "dot": "1.5 2.5", "dashdot": "5 2.5 1.5 2.5"}

Graphs = dict[str, dict[str, Any]]
"""The interactive graphs of a document: what each draws, by the id of its element."""


def figures(section: Section, graphs: Graphs, folder: str) -> Iterator[Markup]:
    """The experiment's figure, or several with their headings; a sentence where it cannot be drawn."""
    assert section.experiment is not None
    count = 0
    try:
        for words, results in _parts(section):
            if count >= _MOST_FIGURES:
                count += 1
                continue
            data = to_dataset(section.experiment, results)
            if not data.data_vars:
                continue
            number, made = default.sheets(section.experiment, data, dense.along(section.experiment, data, folder))
            for heading, sheet in itertools.islice(made, _MOST_FIGURES - count):
                heading = "; ".join(filter(None, [words, heading]))
                if heading:
                    yield tag("h4", heading)
                yield figure_block(sheet, graphs, f"Figure of {section.name}{f', {heading}' if heading else ''}")
            count += number
    except Exception as error:  # an experiment's own `draw` is anyone's code, and the tables below stand without it
        yield tag("p", f"The figure could not be drawn: {type(error).__name__}: {error}", class_="note")
        return
    if not count:
        yield tag("p", "There is nothing to draw: no cell has a value.")
    if count > _MOST_FIGURES:
        words = f"{count - _MOST_FIGURES} more of these figures are left out; a run with fewer values draws them."
        yield tag("p", words, class_="note")


def _parts(section: Section) -> Iterator[tuple[str, Sequence[CellResult]]]:
    """All cells; where they are few in the grid of their values, those of each full grid, and what sets it apart."""
    experiment, results = section.experiment, section.results
    assert experiment is not None
    if not is_sparse(experiment, results):
        yield "", results
        return
    blocks = reproduce.blocks(experiment, [result.cell for result in results])
    apart = varying(blocks)
    about = default.subject(experiment)
    for block in sorted(blocks, key=lambda block: -math.prod(map(len, block.values()))):
        words = ", ".join(about.names(name, block[name]) for name in apart)
        yield words, [one for one in results if all(getattr(one.cell, name) in block[name] for name in apart)]


def over_sizes(section: Section, graphs: Graphs) -> Markup | None:
    """The figure of what is extrapolated over sizes; None where every line is zero."""
    assert section.experiment is not None
    made = finite_size.sheet(section.experiment, section.extrapolated)
    return None if made is None else figure_block(made, graphs, f"Agreement over sizes of {section.name}")


def figure_block(sheet: Sheet, graphs: Graphs, what: str) -> Markup:
    """A figure: its interactive graphs, its picture for print and for pages without scripts, the numbers behind it."""
    made = matplotlib.draw(sheet)
    width, height = (round(float(size) * 96) for size in made.get_size_inches())
    described = " ".join(description(plot) for plot in sheet.plots if plot.own is None)
    source = data_uri("image/svg+xml", matplotlib.picture(made))
    picture = tag("img", class_="picture", src=source, alt=f"{what}. {described}", width=width, height=height)
    if any(plot.own is not None for plot in sheet.plots):
        note = "Shown as a picture, as the experiment draws it."
        return tag("div", picture, tag("p", note, class_="note"), class_="figure still")
    shared, apart = legends(sheet.plots)
    drawn = []
    for plot in sheet.plots:
        title = tag("figcaption", text(plot.title)) if plot.title else None
        name = f"graph-{len(graphs) + 1}"
        graphs[name] = plotly.graph(plot)
        graph = tag("div", class_="graph", id=name, role="img", aria_label=description(plot))
        drawn.append(tag("figure", title, graph, _legend(plot.keys) if apart else None, class_="panel"))
    interactive = tag("div", _legend(shared), tag("div", *drawn, class_="panels"), class_="graphs")
    return tag("div", interactive, picture, _numbers(sheet.plots, what), class_="figure")


def _legend(keys: Sequence[Key]) -> Markup | None:
    if not keys:
        return None
    items = []
    for key in keys:
        look, parts = key.look, []
        color = THEMES["light"].color(look.color)
        if look.line:
            line = {"d": "M0 8h24", "stroke": "currentColor", "stroke_width": f"{look.width * 4 / 3:g}", "fill": "none"}
            parts.append(tag("path", **line, stroke_dasharray=_STROKES[look.line]))
        if look.marker or not look.line:
            edge = {"stroke": "currentColor", "class_": "hollow"} if look.hollow else {"fill": "currentColor"}
            parts.append(tag("path", d=_SHAPES[look.marker or "square"], **edge))
        shown = {"color": color, "data_color": color, "opacity": max(look.opacity, 0.3)}
        swatch = tag("svg", *parts, viewBox="0 0 24 16", aria_hidden="true", **shown)
        items.append(tag("li", swatch, text(key.label)))
    return tag("ul", *items, class_="legend")


def _numbers(plots: Sequence[Plot], what: str) -> Markup | None:
    made = []
    for plot in plots:
        x, y = text(plot.x.label) or "x", text(plot.y.label) or "y"
        for maps, group in itertools.groupby(points(plot), key=lambda one: one.value):
            series = list(group)
            rows = [(one.label, *point) for one in series for point in one.points]
            if maps:
                columns, rows = [x, y, series[0].label], [row[1:] for row in rows]
                caption = series[0].label
            else:
                columns, caption = ["series", x, y, "±"], f"{y} against {x}"
                if not any(row[3] for row in rows):
                    columns, rows = columns[:3], [row[:3] for row in rows]
            numbers = columns[0 if maps else 1 :]
            made.append(table(caption, columns, rows, of=what, numbers=numbers, most=_MOST_NUMBERS))
    return tag("details", tag("summary", "The numbers behind the figure"), *made, class_="numbers") if made else None
