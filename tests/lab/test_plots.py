"""Figures: the artists hold the data, and an experiment may draw its own picture."""

import sys

import numpy as np
import pytest

from solvable import lab
from solvable.cli import running
from solvable.lab.figures import theme
from tests.lab import hostile
from tests.lab.toy import Ceiling, Decay, SampleMean, TheoryOnly


def drawn(axes, gid):
    (line,) = [line for line in axes.lines if line.get_gid() == gid]
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


@pytest.fixture
def data(tmp_path):
    return lab.run(SampleMean, {"kind": ["plain", "shifted"]}, replicates=6, out=tmp_path)


def test_artists_hold_the_data(data):
    figure, _ = lab.figure(data, SampleMean)
    mean, square = figure.axes
    for place, kind in enumerate(["plain", "shifted"]):
        here = data.sel(kind=kind)
        x, y = drawn(mean, f"theory:{place}")
        np.testing.assert_array_equal(x, [4, 8, 16])
        np.testing.assert_array_equal(y, here["theory_mean"])
        np.testing.assert_allclose(drawn(mean, f"simulation:{place}")[1], here["mean"].mean("replicate"))
        np.testing.assert_allclose(drawn(mean, f"given:{place}")[1], here["given_first_mean"].mean("replicate"))
        bars = mean.containers[place].lines[2][0].get_segments()
        heights = [(high - low) / 2 for (_, low), (_, high) in bars]
        np.testing.assert_allclose(heights, here["mean"].std("replicate", ddof=1) / np.sqrt(6))
    assert (mean.get_xscale(), mean.get_yscale(), square.get_yscale()) == ("log", "linear", "log")
    assert (mean.get_xlabel(), mean.get_ylabel()) == ("samples n", "sample mean")
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["plain", "shifted", "theory", "given first", "simulation ± 1 se"]


def test_series_differ_in_colour_and_marker(data):
    lines = theme.series(SampleMean, data, [data["mean"]], "samples")
    assert [line.where for line in lines] == [{"kind": "plain"}, {"kind": "shifted"}]
    assert len({line.color for line in lines}) == len({line.marker for line in lines}) == 2


def test_own_dims_become_series(data):
    lines = theme.series(SampleMean, data, [data["moments"]], "samples")
    assert [line.label for line in lines] == [
        f"{kind}, order = {order}" for kind in ("plain", "shifted") for order in (0, 1)
    ]
    assert len({line.color for line in lines}) == 4


def test_only_series_with_data_are_in_the_legend_and_the_marker_tells_one_parameter(tmp_path):
    for grid in ({"location": [0.0, 1.0, 2.0]}, {"location": 0.0, "kind": ["plain", "shifted"]}):
        lab.run(Ceiling, {"samples": [4, 8]} | grid, replicates=2, out=tmp_path)
    figure, data = lab.figure(tmp_path, Ceiling)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    stored = ["location = 0, plain", "location = 0, shifted", "location = 1, plain", "location = 2, plain"]
    assert words == [*stored, "ceiling", "simulation ± 1 se"]
    lines = theme.series(Ceiling, data, [data["mean"]], "samples")
    kinds = {line.where["kind"]: line.marker for line in lines}
    assert [line.marker for line in lines] == [kinds[line.where["kind"]] for line in lines]
    assert kinds["plain"] != kinds["shifted"]


def test_truth_and_nothing_have_names():
    assert [theme.plain_number(value) for value in (True, None, 2.0)] == ["true", "none", "2"]


def test_too_many_series_are_refused_in_words(tmp_path):
    data = lab.run(Ceiling, {"samples": [4, 8], "location": list(range(13))}, replicates=2, out=tmp_path)
    figure, _ = lab.figure(data, Ceiling)
    (axes,) = figure.axes
    assert axes.lines[:] == []
    assert axes.texts[0].get_text().startswith("13 series are too many to tell apart")


def test_the_abscissa_is_what_varies(tmp_path):
    data = lab.run(Ceiling, {"samples": 4, "location": [0, 1, 2]}, replicates=2, out=tmp_path)
    (axes,) = lab.figure(data, Ceiling).axes
    assert axes.get_xlabel() == "location of the Gaussians"
    np.testing.assert_array_equal(drawn(axes, "theory:0")[0], [0, 1, 2])


def test_a_path_is_drawn_over_its_own_times(tmp_path):
    data = lab.run(Decay, out=tmp_path)
    assert data["loss"].dims == ("rate", "at", "replicate")
    (axes,) = lab.figure(data, Decay).axes
    x, y = drawn(axes, "theory:2")
    np.testing.assert_allclose(x, np.linspace(0, 10, 101))
    np.testing.assert_array_equal(y, data["theory_loss"].sel(rate=1.0))
    x, y = drawn(axes, "simulation:2")
    assert len(x) <= 24
    np.testing.assert_allclose(y, data["loss"].sel(rate=1.0, at=x).mean("replicate"))


def test_texts_on_the_abscissa(tmp_path):
    data = lab.run(Ceiling, {"samples": 4, "kind": ["plain", "shifted"]}, replicates=2, out=tmp_path)
    (axes,) = lab.figure(data, Ceiling).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["plain", "shifted"]


def test_one_cell_and_theory_alone(tmp_path):
    one = lab.run(SampleMean, {"samples": 4}, replicates=3, out=tmp_path)
    assert drawn(lab.figure(one, SampleMean).axes[0], "simulation:0")[1] == pytest.approx(one["mean"].mean().item())
    law = lab.run(TheoryOnly, out=tmp_path)
    figure, _ = lab.figure(law, TheoryOnly)
    assert len(drawn(figure.axes[0], "theory:0")[1]) == 3


def test_missing_cells_leave_gaps(tmp_path):
    with pytest.warns(UserWarning, match="3 of 6 cells"):
        data = lab.run(SampleMean, {"kind": ["plain", "broken"]}, replicates=3, out=tmp_path)
    axes = lab.figure(data, SampleMean).axes[0]
    assert [line.get_gid() for line in axes.lines if str(line.get_gid()).startswith("simulation")] == ["simulation:0"]


def test_an_own_picture(data, monkeypatch):
    def draw(cls, panel, axes, dataset):
        if panel == "map":
            axes.imshow(dataset["theory_mean"].values)
        return panel == "map"

    monkeypatch.setattr(SampleMean, "draw", classmethod(draw))
    monkeypatch.setattr(SampleMean, "panels", ("map", "mean"))
    left, right = lab.figure(data, SampleMean).axes
    np.testing.assert_array_equal(left.images[0].get_array(), data["theory_mean"])
    assert left.get_ylabel() == ""
    assert right.get_ylabel() == "sample mean"


def test_an_unknown_panel(data, monkeypatch):
    monkeypatch.setattr(SampleMean, "panels", ("mop",))
    with pytest.raises(ValueError, match="panel 'mop' is no observable of toy/mean"):
        lab.figure(data, SampleMean)


def test_saved_files_and_no_pyplot(data, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)  # another library's import does not count
    paths = theme.save(lab.figure(data, SampleMean), tmp_path / "mean.png")
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[1].read_bytes().startswith(b"%PDF")
    assert "matplotlib.pyplot" not in sys.modules


class Undrawable(SampleMean):
    """An experiment whose picture fails."""

    name = "toy/undrawable"

    @classmethod
    def draw(cls, panel, axes, dataset):
        raise ZeroDivisionError("no pen")


def test_a_drawing_that_fails_is_a_warning_and_the_numbers_are_answered(tmp_path, monkeypatch):
    hostile.install(monkeypatch, __name__)
    with pytest.warns(UserWarning, match="no figure: ZeroDivisionError while drawing toy_undrawable.png: no pen"):
        answer = running.run("toy/undrawable", ["samples=4"], None, str(tmp_path), replicates=4)
    assert (answer.code, answer.document["figures"]) == (0, [])
    assert answer.document["comparisons"]
    assert lab.open(tmp_path, Undrawable).sizes["replicate"] == 4
