"""Plots as Plotly's JSON, and in words: what the graphs of a page hold, whoever wrote the labels."""

import json
import math

import numpy as np
import pytest

from solvable import lab
from solvable.lab.figures import default, plotly
from solvable.lab.figures.plot import (
    FAINT,
    INK,
    LINES,
    MARKERS,
    Axis,
    Band,
    Bar,
    Colored,
    Field,
    Look,
    Mark,
    Plot,
    Rule,
    Words,
    note,
)
from solvable.lab.figures.theme import THEMES
from solvable.lab.figures.words import description, number, place_name, points, text, wrapped
from tests.lab.toy import Ceiling, Decay, SampleMean

LINE, POINTS = Look("#0072b2", "solid"), Look("#d55e00", marker="square")
UP = np.array([1.0, 2.0, 4.0])


def graph(*marks, x=None, y=None, **about):
    made = plotly.graph(Plot(x or Axis(), y or Axis(), marks, **about))
    json.dumps(made, allow_nan=False)
    return made["data"], made["layout"]


@pytest.fixture
def data(tmp_path):
    return lab.run(SampleMean, {"kind": ["plain", "shifted"]}, replicates=6, out=tmp_path)


def test_the_lab_s_figure(data):
    mean, square = default.sheet(SampleMean, data).plots
    made = plotly.graph(mean)
    traces = {trace["name"]: trace for trace in made["data"]}
    assert list(traces) == [
        f"{kind}: {source}" for source in ("theory", "given first", "simulation") for kind in ("plain", "shifted")
    ]
    for kind in ("plain", "shifted"):
        here = data.sel(kind=kind)
        assert traces[f"{kind}: theory"]["x"] == [4, 8, 16]
        assert traces[f"{kind}: theory"]["y"] == here["theory_mean"].values.tolist()
        assert traces[f"{kind}: theory"]["mode"] == "lines"
        drawn = traces[f"{kind}: simulation"]
        np.testing.assert_allclose(drawn["y"], here["mean"].mean("replicate"))
        error = here["mean"].std("replicate", ddof=1) / np.sqrt(6)
        np.testing.assert_allclose(drawn["error_y"]["array"], error)
        assert drawn["mode"] == "markers"
        assert drawn["customdata"][0][2] == f" ± {float(error[0]):.2g}"
    assert traces["plain: given first"]["line"]["dash"] == "dash"
    assert traces["plain: given first"]["marker"]["color"] == "#ffffff"
    layout = made["layout"]
    assert layout["xaxis"]["type"] == plotly.graph(square)["layout"]["yaxis"]["type"] == "log"
    assert layout["xaxis"]["tickvals"] == [4, 8, 16]
    assert (layout["xaxis"]["title"]["text"], layout["yaxis"]["title"]["text"]) == ("samples n", "sample mean")
    low, high = layout["xaxis"]["range"]
    assert low < math.log10(4) < math.log10(16) < high
    assert "sample mean" in description(mean)
    assert "plain: simulation: 3 points with error bars" in description(mean)


def test_a_path_keeps_every_point(tmp_path):
    made = lab.run(Decay, out=tmp_path)
    (plot,) = default.sheet(Decay, made).plots
    assert {len(trace["x"]) for trace in plotly.graph(plot)["data"] if trace["mode"] == "lines"} == {101}


def test_names_on_the_abscissa(tmp_path):
    made = lab.run(Ceiling, {"samples": 4, "kind": ["plain", "shifted"]}, replicates=2, out=tmp_path)
    (plot,) = default.sheet(Ceiling, made).plots
    data, layout = graph(*plot.marks, x=plot.x, y=plot.y)
    assert layout["xaxis"]["ticktext"] == ["plain", "shifted"]
    assert [row[0] for row in data[0]["customdata"]] == ["plain", "shifted"]
    assert "x: which toy, plain, shifted." in description(plot)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("marker", ["", *MARKERS, "diamond", "dash"])
def test_looks(line, marker):
    solid, hollow = (plotly.style(Look("#123456", line, marker, 1.5, 6.0, hollow=one)) for one in (False, True))
    assert (solid["mode"], solid["line"]) == (
        "lines+markers" if marker else "lines",
        {"color": "#123456", "width": 2.0, "dash": line},
    )
    if marker:
        assert solid["marker"]["size"] == round(6.0 * 96 / 72 * 1.3, 2)
        assert (solid["marker"]["color"], hollow["marker"]["color"]) == ("#123456", "#ffffff")
        assert hollow["marker"]["line"]["color"] == "#123456"


def test_colours_that_follow_the_ground_and_opacity():
    light = THEMES["light"]
    assert [plotly.style(Look(one, "solid"))["line"]["color"] for one in (INK, FAINT)] == [light.ink, light.faint]
    assert plotly.style(Look(opacity=0.5)) == {
        "mode": "none",
        "line": {"color": light.ink, "width": 1.73, "dash": "solid"},
        "opacity": 0.5,
    }


def test_a_map_with_its_colour_bar_and_levels():
    x, y = np.array([-0.5, 0.0, 0.1, 0.4]), np.array([1.0, 2.0, 4.0])
    field = Field(x, y, x + y[:, None] - 2, "what it is", levels=(0.0, 0.25), diverging=True)
    (filled, *levels), layout = graph(field, x=Axis("a"), y=Axis("b", log=True))
    assert (filled["type"], filled["zmin"], filled["zmax"]) == ("contour", *field.limits())
    assert field.limits() == pytest.approx((-2.4, 2.4))
    assert (filled["x"], filled["y"]) == (x.tolist(), y.tolist())
    np.testing.assert_allclose(filled["z"], field.z, atol=1e-6)
    assert filled["colorbar"]["title"]["text"] == "what it is"
    assert filled["colorscale"][0][0] == 0.0
    assert filled["colorscale"][0] != filled["colorscale"][-1]
    assert [level["name"] for level in levels] == ["what it is 0", "what it is 0.25"]
    assert [level["contours"]["start"] for level in levels] == [0.0, 0.25]
    assert all(level["z"] == filled["z"] and level["contours"]["coloring"] == "lines" for level in levels)
    assert layout["xaxis"]["range"] == [-0.5, 0.4]  # a map fills its axes
    np.testing.assert_allclose(layout["yaxis"]["range"], np.log10([1.0, 4.0]))
    (found,) = points(Plot(marks=[field]))
    assert (found.label, found.value, found.points[0]) == (
        "what it is",
        True,
        ("\N{MINUS SIGN}0.5", "1", "\N{MINUS SIGN}1.5"),
    )
    assert "Map of what it is at 12 points from \N{MINUS SIGN}1.5 to 2.4." in description(Plot(marks=[field]))


def test_a_map_with_gaps_is_strict_json():
    (filled,), _ = graph(Field(np.arange(2.0), np.arange(2.0), np.array([[1.0, np.nan], [np.inf, 2.0]])))
    assert filled["z"] == [[1.0, None], [None, 2.0]]
    assert (filled["zmin"], filled["zmax"]) == (1.0, 2.0)
    (empty,), _ = graph(Field(np.arange(2.0), np.arange(2.0), np.full((2, 2), np.nan)))
    assert empty["zmin"] < empty["zmax"]


def test_missing_values_are_gaps_in_strict_json():
    (trace,), layout = graph(Mark(UP, np.array([1.0, np.nan, 3.0]), POINTS, error=np.array([0.1, np.nan, 0.2])))
    assert (trace["y"], trace["error_y"]["array"]) == ([1.0, None, 3.0], [0.1, None, 0.2])
    low, high = layout["yaxis"]["range"]
    assert low < 0.9 < 3.2 < high
    _, layout = graph(Mark(np.array([np.nan]), np.array([np.nan]), POINTS))
    assert "range" not in layout["xaxis"]


def test_steps_rules_bands_bars_points_and_notes():
    data, layout = graph(
        Mark(UP, UP, LINE, "held", stepped=True),
        Rule(0.5, Look("#8a8a8a", "dash")),
        Rule(1.5, Look("#8a8a8a", "solid"), upright=True),
        Band(UP, UP - 1, UP + 1, Look("#0072b2", opacity=0.25), "band"),
        Bar(UP, UP, 0.8, Look("#009e73", opacity=0.75), "bars"),
        Words(2.0, 10.0, "a <b>note</b>\nof 100 %{x}"),
        Words(0.5, 0.5, "inside", inside=True),
        x=Axis("x", names={2.0: "two"}),
        y=Axis("y", log=True),
    )
    traces = {trace["name"]: trace for trace in data}
    assert traces["held"]["line"]["shape"] == "hv"
    assert traces["band"]["fillcolor"] == "rgba(0,114,178,0.25)"
    assert traces["band"]["x"] == [1, 2, 4, 4, 2, 1]
    assert traces["band"]["y"] == [0, 1, 3, 5, 3, 2]
    assert (traces["bars"]["type"], traces["bars"]["y"], traces["bars"]["width"]) == ("bar", [1, 2, 4], 0.8)
    assert [row[0] for row in traces["bars"]["customdata"]] == ["1", "two", "4"]
    level, upright = layout["shapes"]
    assert (level["xref"], level["y0"], level["y1"], level["line"]["dash"]) == ("x domain", 0.5, 0.5, "dash")
    assert (upright["yref"], upright["x0"], upright["x1"]) == ("y domain", 1.5, 1.5)
    there, inside = layout["annotations"]
    assert there["text"] == "a &lt;b&gt;note&lt;/b&gt;<br>of 100 &#37;{x}"
    assert (there["x"], there["y"], there["xref"]) == (2.0, 1.0, "x")  # the power of ten of a logarithmic axis
    assert (inside["x"], inside["y"], inside["xref"]) == (0.5, 0.5, "x domain")


def test_points_coloured_by_a_value_and_their_edges():
    edges = Mark(np.array([0, 1, np.nan]), np.array([0, 1, np.nan]), Look(FAINT, "solid"), of="edges")
    (lines, nodes), layout = graph(edges, Colored(UP, UP, np.array([0.0, np.nan, 1.0]), "value"), x=Axis(hidden=True))
    assert (lines["x"], lines["hoverinfo"]) == ([0, 1, None], "skip")
    assert nodes["marker"]["color"] == [0.0, None, 1.0]
    assert nodes["marker"]["colorbar"]["title"]["text"] == "value"
    assert layout["xaxis"]["visible"] is False


def test_markers_are_thinned_and_the_line_is_not():
    many = np.arange(50.0)
    look = Look("#0072b2", "solid", "diamond", size=5.4, hollow=True)
    (trace,), _ = graph(Mark(many, many, look, every=3))
    assert len(trace["x"]) == 50
    sizes = np.array(trace["marker"]["size"])
    assert (sizes[::3] > 0).all()
    assert np.count_nonzero(sizes) == 17


def test_axes():
    mark = Mark(UP, 10.0 ** np.arange(0, 9, 4), LINE)
    _, layout = graph(mark, x=Axis("x", limits=(0.0, None)), y=Axis("y", log=True, limits=(1e-2, None)))
    assert layout["xaxis"]["range"][0] == 0.0
    assert layout["xaxis"]["range"][1] > 4.0
    assert layout["yaxis"]["range"][0] == -2.0
    assert layout["yaxis"]["dtick"] == 2  # many decades: powers of ten
    _, layout = graph(mark, x=Axis("x", log=True))
    ticks = dict(zip(layout["xaxis"]["tickvals"], layout["xaxis"]["ticktext"], strict=True))
    assert ticks[2.0] == "2"
    assert ticks[50.0] == "50"
    assert layout["xaxis"]["autorange"] is False


def test_hostile_labels_stay_text():
    evil = "<b>x</b><script>alert(1)</script>%{customdata}"
    link = '<a href="https://evil">x</a>'
    marks = [
        Mark(UP, UP, LINE, evil),
        Bar(UP, UP, 1.0, LINE, evil),
        Band(UP, UP, UP, LINE, evil),
        Colored(UP, UP, UP, evil),
        Field(UP, UP, np.ones((3, 3)), evil, levels=(1.0,)),
        Words(1.0, 1.0, evil),
    ]
    data, layout = graph(*marks, x=Axis(link, names={1.0: evil}), y=Axis(link))
    shown = json.dumps([data, layout])
    for bad in ("<script", "<a ", "<b>x</b>"):
        assert bad not in shown
    assert "script&gt;&#37;{customdata}" in data[0]["hovertemplate"]


def test_notes_say_why_there_is_nothing():
    data, layout = graph(*note("give one value\nof kind").marks, x=Axis(hidden=True), y=Axis(hidden=True))
    assert data == []
    assert layout["annotations"][0]["text"] == "give one value<br>of kind"


def test_points_behind_a_plot_leave_out_guides_and_gaps():
    axis = Axis("x", names={1.0: "$\\beta$"})
    marks = [
        Mark(UP, np.array([1.0, np.nan, -3.0]), POINTS, "runs", error=np.array([0.1, 0.1, 0.25]), of="simulation"),
        Mark(UP, UP, LINE, "slope", of="guide"),
        Bar(UP[:1], UP[:1], 1.0, LINE, "bars"),
    ]
    runs, bars = points(Plot(axis, Axis(), marks))
    assert (runs.label, runs.points) == (
        "runs",
        [("β", "1", "0.1"), ("4", "\N{MINUS SIGN}3", "0.25")],
    )
    assert bars.points == [("β", "1", "")]
    said = description(Plot(axis, Axis("how $\\lambda$", log=True), marks, title="A title"))
    assert said.startswith("A title. x: x, β. y: how λ, logarithmic. runs: 2 points with error bars, 1 at β to")
    assert said.endswith("bars: 1 point, 1 at β.")


def test_numbers_and_places_in_words():
    assert [number(value) for value in (-0.00012345, 12345.6)] == ["\N{MINUS SIGN}0.0001234", "1.235e+04"]
    assert place_name(Axis(names={0.0: "none"}), 0) == "none"
    assert place_name(Axis(log=True, names={2.0: "two"}), 2) == "2"
    assert wrapped("one two three <four>", 8) == "one two<br>three<br>&lt;four&gt;"


def test_formulas_become_plain_characters():
    assert (
        text(r"$\alpha^{-2}$ at \$5, $\Lambda \times 10^{3}$")
        == "\N{GREEK SMALL LETTER ALPHA}⁻² at $5, Λ \N{MULTIPLICATION SIGN} 10³"
    )
    assert text("coefficients $x_i$, $x_{12}$") == "coefficients xᵢ, x₁₂"
