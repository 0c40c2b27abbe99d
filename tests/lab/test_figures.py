"""Figures of runs as Matplotlib's artists hold them, own pictures, widths, themes, legends, files."""

import sys

import matplotlib
import numpy as np
import pytest

from solvable import lab
from solvable.cli import running
from solvable.lab.figures import default
from solvable.lab.figures import matplotlib as drawing
from solvable.lab.figures.plot import (
    FAINT,
    INK,
    Key,
    Look,
    Plot,
    legends,
)
from solvable.lab.figures.series import series
from solvable.lab.figures.theme import HUES, THEMES, WRONG, ordered
from tests.lab import hostile
from tests.lab.shown import marks
from tests.lab.toy import Ceiling, Decay, SampleMean, TheoryOnly


def drawn(axes, gid):
    """The points of the artists of runs or of a theory, in order."""
    found = [line for line in axes.lines if line.get_gid() == gid]
    return [(np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)) for line in found]


def words(legend):
    return [text.get_text() for text in legend.get_texts()]


@pytest.fixture
def data(tmp_path):
    return lab.run(SampleMean, {"kind": ["plain", "shifted"]}, replicates=6, out=tmp_path)


# ---- the figure of a run


def test_artists_hold_the_data(data):
    figure = lab.figure(data, SampleMean)
    mean, square = figure.axes
    for place, kind in enumerate(["plain", "shifted"]):
        own = data.sel(kind=kind)
        x, y = drawn(mean, "theory")[place]
        np.testing.assert_array_equal(x, np.arange(4, 17))  # the theory has a grid of its own, the run's values in it
        np.testing.assert_array_equal(y[np.isin(x, [4, 8, 16])], own["theory_mean"])
        np.testing.assert_allclose(drawn(mean, "simulation")[place][1], own["mean"].mean("replicate"))
        np.testing.assert_allclose(drawn(mean, "given_first")[place][1], own["given_first_mean"].mean("replicate"))
        bars = mean.containers[place].lines[2][0].get_segments()
        heights = [(high - low) / 2 for (_, low), (_, high) in bars]
        np.testing.assert_allclose(heights, own["mean"].std("replicate", ddof=1) / np.sqrt(6))
    assert (mean.get_xscale(), mean.get_yscale(), square.get_yscale()) == ("log", "linear", "log")
    assert (mean.get_xlabel(), mean.get_ylabel()) == ("samples n", "sample mean")
    (legend,) = figure.legends
    assert words(legend) == ["plain", "shifted", "theory", "given first", "simulation ± 1 se"]


def test_only_series_with_data_are_in_the_legend_and_the_marker_tells_one_parameter(tmp_path):
    for grid in ({"location": [0.0, 1.0, 2.0]}, {"location": 0.0, "kind": ["plain", "shifted"]}):
        lab.run(Ceiling, {"samples": [4, 8]} | grid, replicates=2, out=tmp_path)
    stored = ["location = 0, plain", "location = 0, shifted", "location = 1, plain", "location = 2, plain"]
    assert words(lab.figure(tmp_path, Ceiling).legends[0]) == [*stored, "ceiling", "simulation ± 1 se"]
    data = lab.open(tmp_path, Ceiling)
    lines = series(default.subject(Ceiling), data, [data["mean"]], ["samples"])
    kinds = {line.where["kind"]: line.marker for line in lines}
    assert [line.marker for line in lines] == [kinds[line.where["kind"]] for line in lines]
    assert kinds["plain"] != kinds["shifted"]


def test_too_many_series_are_refused_in_words_and_shared_out(tmp_path):
    data = lab.run(Ceiling, {"samples": [4, 8], "location": list(range(13))}, replicates=2, out=tmp_path)
    (axes,) = lab.figure(data, Ceiling).axes
    assert axes.lines[:] == []
    assert axes.texts[0].get_text().startswith("13 series are too many to tell apart")
    count, parts = default.sheets(Ceiling, data)
    found = {heading: sheet.plots[0] for heading, sheet in parts}
    assert count == 2
    assert list(found) == ["location = 0 to 5", "location = 6 to 12"]
    assert [len(marks(plot, "simulation")) for plot in found.values()] == [6, 7]
    last = marks(found["location = 6 to 12"], "ceiling")[-1]
    np.testing.assert_array_equal(last.y, data["theory_mean"].sel(location=12))


def test_a_path_is_drawn_over_its_own_times(tmp_path):
    data = lab.run(Decay, out=tmp_path)
    assert data["loss"].dims == ("rate", "at", "replicate")
    (axes,) = lab.figure(data, Decay).axes
    x, y = drawn(axes, "theory")[2]
    np.testing.assert_allclose(x, np.linspace(0, 10, 101))
    np.testing.assert_array_equal(y, data["theory_loss"].sel(rate=1.0))
    x, y = drawn(axes, "simulation")[2]
    assert len(x) <= 24
    np.testing.assert_allclose(y, data["loss"].sel(rate=1.0, at=x).mean("replicate"))


def test_texts_on_the_abscissa(tmp_path):
    data = lab.run(Ceiling, {"samples": 4, "kind": ["plain", "shifted"]}, replicates=2, out=tmp_path)
    (axes,) = lab.figure(data, Ceiling).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["plain", "shifted"]
    (line,) = [line for line in axes.lines if line.get_gid() == "ceiling"]
    assert (line.get_linestyle(), line.get_marker()) == ("None", "_")  # between names there is nothing


def test_one_cell_and_theory_alone(tmp_path):
    one = lab.run(SampleMean, {"samples": 4}, replicates=3, out=tmp_path)
    ((_, y),) = drawn(lab.figure(one, SampleMean).axes[0], "simulation")
    assert y == pytest.approx(one["mean"].mean().item())
    law = lab.run(TheoryOnly, out=tmp_path)
    ((x, y),) = drawn(lab.figure(law, TheoryOnly).axes[0], "theory")
    np.testing.assert_array_equal(y[np.isin(x, law["samples"])], law["theory_mean"])


def test_missing_cells_leave_gaps(tmp_path):
    with pytest.warns(UserWarning, match="3 of 6 cells"):
        data = lab.run(SampleMean, {"kind": ["plain", "broken"]}, replicates=3, out=tmp_path)
    axes = lab.figure(data, SampleMean).axes[0]
    assert len(drawn(axes, "simulation")) == 1
    data["mean"].loc[{"kind": "plain", "samples": 8}] = np.nan
    ((x, _),) = drawn(lab.figure(data, SampleMean).axes[0], "simulation")
    assert x.tolist() == [4, 16]


def test_the_title_is_the_first_sentence_and_may_be_left_out(data):
    assert lab.figure(data, SampleMean).get_suptitle() == "The mean of n Gaussians against n"
    assert lab.figure(data, SampleMean, title=False).get_suptitle() == ""


# ---- an own picture


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


# ---- widths, themes, legends, files


@pytest.mark.parametrize(("width", "inches", "columns"), [("column", 3.75, 1), ("page", 7.17, 2), (None, 5.45, 2)])
def test_widths(data, width, inches, columns):
    figure = lab.figure(data, SampleMean, width=width)
    assert figure.get_size_inches()[0] == pytest.approx(inches)
    figure.draw_without_rendering()
    assert len({round(axes.get_position().x0, 2) for axes in figure.axes}) == columns


def test_what_is_no_width_and_no_theme(data):
    with pytest.raises(ValueError, match=r"^width=3 is not a width; accepted: 'column', 'page' or None$"):
        lab.figure(data, SampleMean, width=3)
    with pytest.raises(ValueError, match=r"^theme='blue' is not a theme; accepted: 'light', 'dark'$"):
        lab.figure(data, SampleMean, theme="blue")


def luminance(color):
    channels = np.array(matplotlib.colors.to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_colour_stands_out_from_a_dark_ground(data):
    dark = THEMES["dark"]
    scale = [ordered(place, 12) for place in range(12)]
    assert min(contrast(dark.color(color), dark.ground) for color in (INK, FAINT, WRONG, *HUES, *scale)) >= 3.0
    assert contrast(THEMES["light"].faint, "#ffffff") >= 3.0
    figure = lab.figure(data, SampleMean, theme="dark")
    assert figure.get_facecolor() == matplotlib.colors.to_rgba(dark.ground)
    seen = {line.get_color() for axes in figure.axes for line in axes.lines}
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
    seen |= {matplotlib.colors.to_hex(text.get_color()) for text in texts}
    assert min(contrast(color, dark.ground) for color in seen) >= 3.0


def test_legends_are_one_where_their_labels_mean_the_same():
    blue, red, theory = Look("#0072b2", "solid"), Look("#d55e00", "solid"), Look(FAINT, "solid")
    common = [Key("theory", theory, common=True)]
    left, right = Plot(keys=[Key("a", blue), *common]), Plot(keys=[Key("b", red), *common])
    shared, apart = legends([left, right])
    assert ([key.label for key in shared], apart) == (["a", "theory", "b"], [])
    other = Plot(keys=[Key("a", red)])  # the same word in another colour
    assert legends([left, other]) == ([], [left, other])
    bare = Plot()
    assert legends([left, other, bare]) == ([], [left, other])
    inked = Plot(keys=[Key("theory", Look(HUES[0], "solid"), common=True)])  # what marks mean is said in grey
    shared, apart = legends([inked, left])
    assert ([(key.label, key.look.color) for key in shared], apart) == ([("a", "#0072b2"), ("theory", FAINT)], [])
    many = [Plot(keys=[Key(f"{plot}{place}", blue) for place in range(8)]) for plot in "xy"]
    assert legends(many) == ([], many)
    assert legends([Plot(keys=[key for plot in many for key in plot.keys])])[1] == []
    assert legends([]) == ([], [])


def test_each_plot_has_its_legend_where_they_differ():
    keys = [Key("a", Look(HUES[0], "solid"))], [Key("a", Look(HUES[1], "solid"))]
    figure = drawing.draw(default.Sheet([Plot(keys=one) for one in keys]))
    assert not figure.legends
    assert [words(axes.get_legend()) for axes in figure.axes] == [["a"], ["a"]]


def test_saved_files_and_no_pyplot(data, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)  # another library's import does not count
    paths = drawing.save(lab.figure(data, SampleMean), tmp_path / "mean.png")
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[1].read_bytes().startswith(b"%PDF")
    assert "matplotlib.pyplot" not in sys.modules
