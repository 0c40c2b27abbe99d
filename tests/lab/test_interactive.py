"""Plotly graphs hold what the artists of the file figure hold."""

import json
import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from solvable.lab.figures.looks import text

from solvable import lab
from solvable.lab.figures import default, interactive
from tests.lab.toy import Ceiling, Decay, SampleMean


@pytest.fixture
def axes():
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.subplots()


def only(axes):
    (panel,) = interactive.panels(axes.figure)
    json.dumps([panel.data, panel.layout], allow_nan=False)
    return panel


@pytest.fixture
def data(tmp_path):
    return lab.run(SampleMean, {"kind": ["plain", "shifted"]}, replicates=6, out=tmp_path)


def test_the_lab_s_figure(data):
    mean, square = interactive.panels(default.figure(SampleMean, data))
    traces = {trace["name"]: trace for trace in mean.data}
    assert list(traces) == [
        f"{kind}: {source}" for source in ("theory", "given first", "simulation") for kind in ("plain", "shifted")
    ]
    for kind in ("plain", "shifted"):
        here = data.sel(kind=kind)
        assert traces[f"{kind}: theory"]["x"] == [4, 8, 16]
        assert traces[f"{kind}: theory"]["y"] == here["theory_mean"].values.tolist()
        assert traces[f"{kind}: theory"]["mode"] == "lines"
        points = traces[f"{kind}: simulation"]
        np.testing.assert_allclose(points["y"], here["mean"].mean("replicate"))
        error = here["mean"].std("replicate", ddof=1) / np.sqrt(6)
        np.testing.assert_allclose(points["error_y"]["array"], error)
        np.testing.assert_allclose(points["error_y"]["arrayminus"], error)
        assert points["mode"] == "markers"
        assert points["customdata"][0][2] == f" ± {float(error[0]):.2g}"
    assert traces["plain: given first"]["line"]["dash"] == "dash"
    assert traces["plain: given first"]["marker"]["color"] == "#ffffff"
    assert mean.layout["xaxis"]["type"] == square.layout["yaxis"]["type"] == "log"
    assert mean.layout["xaxis"]["tickvals"] == [4, 8, 16]
    assert (mean.x_label, mean.y_label, mean.omitted) == ("samples n", "sample mean", ())
    low, high = mean.layout["xaxis"]["range"]
    assert low < math.log10(4) < math.log10(16) < high
    assert "sample mean" in mean.description
    assert "plain: simulation: 3 points with error bars" in mean.description


def test_the_figure_s_legend(data):
    keys = interactive.legend(default.figure(SampleMean, data))
    assert [key.label for key in keys] == ["plain", "shifted", "theory", "given first", "simulation ± 1 se"]
    assert [key.dash for key in keys] == ["solid", "solid", "solid", "dash", None]
    assert [key.hollow for key in keys] == [False, False, False, True, False]


def test_a_path_keeps_every_point_and_marks_few(tmp_path):
    made = lab.run(Decay, out=tmp_path)
    (panel,) = interactive.panels(default.figure(Decay, made))
    assert {len(trace["x"]) for trace in panel.data if trace["mode"] == "lines"} == {101}


def test_names_on_the_abscissa(tmp_path):
    made = lab.run(Ceiling, {"samples": 4, "kind": ["plain", "shifted"]}, replicates=2, out=tmp_path)
    (panel,) = interactive.panels(default.figure(Ceiling, made))
    assert panel.layout["xaxis"]["ticktext"] == ["plain", "shifted"]
    assert [row[0] for row in panel.data[0]["customdata"]] == ["plain", "shifted"]


def test_a_map_with_its_colour_bar_and_level(axes):
    x, y = np.array([-0.5, 0.0, 0.1, 0.4]), np.array([1.0, 2.0, 4.0])
    field = x + y[:, None] - 2
    mesh = axes.pcolormesh(x, y, field, vmin=-2, vmax=3, shading="nearest", cmap="PuOr")
    axes.contour(x, y, field, levels=[0.0, 0.25], colors="black")
    axes.figure.colorbar(mesh, ax=axes).set_label("what it is")
    panel = only(axes)
    heat, *levels = panel.data
    assert (heat["type"], heat["zmin"], heat["zmax"]) == ("heatmap", -2, 3)
    assert (heat["x"], heat["y"]) == (x.tolist(), y.tolist())
    np.testing.assert_array_equal(heat["z"], field)
    assert heat["colorbar"]["title"]["text"] == "what it is"
    assert heat["colorscale"][0] == [0.0, "#7f3b08"]
    assert [level["name"] for level in levels] == ["level 0", "level 0.25"]
    assert {level["line"]["color"] for level in levels} == {"#000000"}
    for level, value in zip(levels, (0.0, 0.25), strict=True):
        there = [pair for pair in zip(level["x"], level["y"], strict=True) if None not in pair]
        assert there
        np.testing.assert_allclose([a + b - 2 for a, b in there], value, atol=1e-12)
    assert panel.series[0].points[0] == ("\N{MINUS SIGN}0.5", "1", "\N{MINUS SIGN}1.5")


def test_a_map_by_edges_in_logarithmic_colours(axes):
    mesh = axes.pcolormesh([0, 1, 3], [0, 1], [[1.0, 100.0]], norm=LogNorm(1, 100))
    axes.figure.colorbar(mesh, ax=axes)
    (heat,) = only(axes).data
    assert heat["x"] == [0.5, 2.0]
    assert heat["z"] == [[0.0, 2.0]]
    assert heat["customdata"] == [["1", "100"]]
    assert heat["colorbar"]["ticktext"] == ["10<sup>0</sup>", "10<sup>1</sup>", "10<sup>2</sup>"]


@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_an_image(axes, origin):
    axes.imshow([[1.0, 2.0], [3.0, np.nan]], origin=origin)
    (heat,) = only(axes).data
    place = {(x, y): heat["z"][j][i] for i, x in enumerate(heat["x"]) for j, y in enumerate(heat["y"])}
    assert place == {(0, 0): 1, (1, 0): 2, (0, 1): 3, (1, 1): None}


def test_steps_rules_bands_points_and_notes(axes):
    axes.step([0, 1, 2], [3, 2, 1], where="pre", label="down")
    axes.axhline(0.5, color="#8a8a8a", ls="--")
    axes.axvline(1.5)
    axes.fill_between([0, 1], [0, 0], [1, 2], alpha=0.25, color="#0072B2", label="band")
    axes.scatter([0, 1], [1, 2], color="#D55E00", label="dots")
    axes.text(0.5, 0.5, "a <b>note</b>\nof 100 %{x}", transform=axes.transAxes)
    axes.set_yscale("log")
    panel = only(axes)
    traces = {trace["name"]: trace for trace in panel.data}
    assert traces["down"]["line"]["shape"] == "vh"
    assert traces["band"]["fillcolor"] == "rgba(0,114,178,0.25)"
    assert traces["dots"]["marker"]["color"] == "#d55e00"
    horizontal, vertical = panel.layout["shapes"]
    assert (horizontal["xref"], horizontal["y0"], horizontal["line"]["dash"]) == ("x domain", 0.5, "dash")
    assert (vertical["yref"], vertical["x0"]) == ("y domain", 1.5)
    (note,) = panel.layout["annotations"]
    assert note["text"] == "a &lt;b&gt;note&lt;/b&gt;<br>of 100 &#37;{x}"
    assert panel.omitted == ()


def test_words_as_coordinates(axes):
    axes.plot(["pooled", "flat"], [1, 2], "o")
    panel = only(axes)
    assert panel.layout["xaxis"]["ticktext"] == ["pooled", "flat"]
    assert [row[0] for row in panel.data[0]["customdata"]] == ["pooled", "flat"]
    assert panel.omitted == ()


def test_points_coloured_by_a_value(axes):
    axes.scatter([0, 1, 2], [0, 1, 2], c=[0.0, 0.5, 1.0], s=[16, 36, 64], cmap="viridis")
    (trace,) = only(axes).data
    assert trace["marker"]["color"] == ["#440154", "#21918c", "#fde725"]
    np.testing.assert_allclose(trace["marker"]["size"], np.array([4, 6, 8]) * 96 / 72, atol=0.01)


@pytest.mark.parametrize(
    ("draw", "kind"),
    [
        (lambda axes: axes.plot(np.array(["2026-01-01", "2026-01-02"], dtype="datetime64"), [1, 2]), "axis in dates"),
        (lambda axes: axes.pcolormesh([[0, 1], [1, 2]], shading="gouraud"), "shaded map"),
        (lambda axes: axes.fill_between([0, 1], [0, 1], facecolor="none"), "outline"),
        (lambda axes: axes.pcolormesh([[0, 1], [0, 2]], [[0, 0], [1, 1]], [[1.0]]), "map on a bent grid"),
        (lambda axes: axes.set_yscale("symlog"), "symlog scale"),
        (lambda axes: axes.imshow(np.zeros((2, 2, 3))), "image in colours"),
        (lambda axes: axes.inset_axes([0.5, 0.5, 0.4, 0.4]), "Axes"),
    ],
)
def test_what_falls_back_on_the_picture(axes, draw, kind):
    draw(axes)
    assert [words for words in only(axes).omitted if words.startswith(kind)]


def test_missing_values_and_asymmetric_errors(axes):
    axes.errorbar([1, 2, 3], [1.0, np.nan, 3.0], yerr=[[0.1, 0.1, 0.2], [0.3, 0.1, 0.4]], fmt="s", label="bars")
    (trace,) = only(axes).data
    assert trace["y"] == [1.0, None, 3.0]
    np.testing.assert_allclose([trace["error_y"]["array"][i] for i in (0, 2)], [0.3, 0.4])
    np.testing.assert_allclose([trace["error_y"]["arrayminus"][i] for i in (0, 2)], [0.1, 0.2])


def test_an_own_legend(axes):
    axes.plot([0, 1], [0, 1], "--s", color="#009E73", label="line")
    axes.errorbar([0, 1], [0, 1], yerr=0.1, fmt="^", color="#D55E00", label="bars")
    axes.legend()
    line, bars = only(axes).legend
    assert (line.label, line.dash, line.symbol, line.color) == ("line", "dash", "square", "#009e73")
    assert (bars.label, bars.dash, bars.symbol, bars.color) == ("bars", None, "triangle-up", "#d55e00")


def test_what_is_not_translated_is_named(axes):
    axes.bar([0, 1], [1, 2])
    axes.contourf([[0, 1], [1, 2]])
    assert set(only(axes).omitted) == {"Rectangle", "filled levels"}


def test_hostile_labels_stay_text(axes):
    axes.plot([0, 1], [0, 1], label="<b>x</b><script>alert(1)</script>%{customdata}")
    axes.set_xlabel('<a href="https://evil">x</a>')
    (trace,) = only(axes).data
    shown = json.dumps([only(axes).layout, trace])
    assert "<script" not in shown
    assert "<a " not in shown
    assert "script&gt;&#37;{customdata}" in trace["hovertemplate"]


def test_formulas_become_plain_characters():
    assert (
        text(r"$\alpha^{-2}$ at \$5, $\Lambda \times 10^{3}$")
        == "\N{GREEK SMALL LETTER ALPHA}⁻² at $5, Λ \N{MULTIPLICATION SIGN} 10³"
    )
