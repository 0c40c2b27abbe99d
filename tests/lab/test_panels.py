"""What the plots of every kind of panel hold: series, theories, runs, guides, maps, bars, graphs."""

import dataclasses
import re

import numpy as np
import pytest
import xarray

from solvable import lab
from solvable.lab.declare.panels import Bars, Graph, Guide, Map, Panel
from solvable.lab.figures import animation, curves, default, fields
from solvable.lab.figures import matplotlib as drawing
from solvable.lab.figures.plot import FAINT, INK, LINES, Bar, Colored, Field, Sheet, Words, legends
from solvable.lab.figures.series import Subject, plain_number, series
from solvable.lab.figures.theme import HUES, ordered
from solvable.lab.reporting.figures import Graphs, figure_block
from tests.lab.shown import KINDS, SIZES, STEPS, Shown, made, marks, plots, rules
from tests.lab.toy import SampleMean


def labels(plot):
    return [key.label for key in plot.keys]


def here(data, name, **where):
    """The values of a variable, the mean over its runs."""
    found = data[name].sel(where)
    return found.mean("replicate").values if "replicate" in found.dims else found.values


@pytest.fixture
def data(tmp_path):
    return lab.run(SampleMean, {"kind": ["plain", "shifted"]}, replicates=6, out=tmp_path)


# ---- series


def test_series_differ_in_colour_and_marker(data):
    lines = series(default.subject(SampleMean), data, [data["mean"]], ["samples"])
    assert [line.where for line in lines] == [{"kind": "plain"}, {"kind": "shifted"}]
    assert len({line.color for line in lines}) == len({line.marker for line in lines}) == 2


def test_own_dims_become_series(data):
    lines = series(default.subject(SampleMean), data, [data["moments"]], ["samples"])
    assert [line.label for line in lines] == [
        f"{kind}, order = {order}" for kind in ("plain", "shifted") for order in (0, 1)
    ]
    assert len({line.color for line in lines}) == 4


def test_numbers_of_a_parameter_are_a_scale_and_words_are_hues():
    data = made(size=SIZES, kind=KINDS, rate=[0.1, 0.2, 0.3])
    about = default.subject(Shown)
    by_rate = series(about, data, [data["value"]], ["size"], hue="rate", dash="kind")
    assert [line.label for line in by_rate[:2]] == ["rate = 0.1, plain", "rate = 0.1, odd"]
    assert [line.color for line in by_rate] == [ordered(place, 3) for place in range(3) for _ in KINDS]
    assert [line.line for line in by_rate] == [*LINES[:2]] * 3
    by_kind = series(about, data, [data["value"]], ["size"], hue="kind", dash="rate")
    assert [line.color for line in by_kind] == [HUES[0]] * 3 + [HUES[1]] * 3
    assert [line.line for line in by_kind] == [*LINES[:3]] * 2
    alone = series(about, data, [data["value"]], ["size", "rate"], dash="kind")
    assert {line.color for line in alone} == {HUES[0]}


def test_truth_and_nothing_have_names():
    assert [plain_number(value) for value in (True, None, 2.0)] == ["true", "none", "2"]


# ---- panels of curves


def test_a_panel_by_its_name_and_its_axes():
    data = made(size=SIZES, kind=KINDS)
    first, second = plots(data, "value", Panel("other", label="ten times", x_label="how many", log=""))
    assert (first.x.label, first.y.label) == ("size n", "the value (m)")
    assert (first.x.log, first.x.names) == (True, {1.0: "1", 2.0: "2", 4.0: "4", 8.0: "8"})
    assert (second.x.label, second.y.label, second.x.log, second.y.log) == ("how many", "ten times", False, False)
    assert plots(data, Panel("value", log="xy"))[0].y.log
    short = data.assign({name: 10.0 + 0.1 * data[name] for name in ("other", "theory_other")})
    assert not plots(short, "other")[0].y.log  # too short for two labels
    wide = data.assign(other=data["other"] * data["size"])
    assert plots(wide, "other")[0].y.log


def test_every_observable_where_no_panel_is_named():
    assert [plot.y.label for plot in plots(made(size=SIZES))] == ["the value (m)", "the other", "the path"]


def test_the_abscissa_is_what_varies():
    (plot,) = plots(made(rate=[0.1, 0.2, 0.3]), "value")
    assert plot.x.label == "rate"
    assert [mark.x.tolist() for mark in plot.marks] == [[0.1, 0.2, 0.3]] * 3
    (plot,) = plots(made(size=SIZES, rate=[0.1, 0.2]), Panel("value", "rate"))
    assert labels(plot)[:4] == ["size = 1", "size = 2", "size = 4", "size = 8"]
    (plot,) = plots(made(size=[2.0]).squeeze("size"), "value")
    assert (plot.x.names, [len(mark.x) for mark in plot.marks]) == ({0.0: "2"}, [1, 1, 1])
    for name, value, word in (("rate", 0.2, "0.2"), ("kind", "odd", "odd")):  # one value of the parameter that is named
        (plot,) = plots(made(**{name: [value]}).squeeze(name), Panel("value", name))
        assert (plot.x.label, plot.x.names) == (name, {0.0: word})
        assert [mark.x.tolist() for mark in plot.marks] == [[0.0]] * 3


def test_hue_and_dash():
    data = made(size=SIZES, kind=KINDS, rate=[0.1, 0.2])
    (plot,) = plots(data, Panel("value", hue="kind", dash="rate"))
    runs = marks(plot, "simulation")
    assert [(mark.label, mark.look.color) for mark in runs] == [
        (f"{kind}, rate = {rate}: simulation", color)
        for kind, color in zip(KINDS, HUES, strict=False)
        for rate in (0.1, 0.2)
    ]
    for mark, (kind, rate) in zip(runs, [(kind, rate) for kind in KINDS for rate in (0.1, 0.2)], strict=True):
        np.testing.assert_allclose(mark.y, here(data, "value", kind=kind, rate=rate))
        np.testing.assert_allclose(
            mark.error, data["value"].sel(kind=kind, rate=rate).std("replicate", ddof=1) / np.sqrt(6)
        )
    assert [mark.look.line for mark in marks(plot, "law")] == ["solid", "dash"] * 2
    assert labels(plot) == [*KINDS, "rate = 0.1", "rate = 0.2", "the law", "start given each run", "simulation ± 1 se"]
    pattern = plot.keys[3].look
    assert (pattern.color, pattern.line, pattern.marker) == (FAINT, "dash", runs[1].look.marker)


def test_a_facet_is_a_panel_for_each_value():
    data = made(size=SIZES, kind=KINDS)
    found = plots(data, Panel("value", facet="kind", title="of {} ones"), Panel("value", facet="kind", title="A"))
    assert [plot.title for plot in found] == ["of plain ones", "of odd ones", "A, plain", "A, odd"]
    for plot, kind in zip(found, KINDS * 2, strict=True):
        np.testing.assert_allclose(marks(plot, "simulation")[0].y, here(data, "value", kind=kind))
        np.testing.assert_array_equal(marks(plot, "law")[0].y, here(data, "theory_value", kind=kind))
    (plot,) = plots(data.sel(kind="odd"), Panel("value", facet="kind"))
    assert plot.title == "odd"


def test_several_observables_share_the_ordinate():
    data = made(size=SIZES)
    (plot,) = plots(data, Panel(("value", "other"), label="both"))
    assert labels(plot)[:2] == ["the value (m)", "the other"]
    assert [mark.look.color for mark in marks(plot, "simulation")] == list(HUES[:2])
    for mark, name in zip(marks(plot, "simulation"), ("value", "other"), strict=True):
        np.testing.assert_allclose(mark.y, here(data, name))
    for mark, name in zip(marks(plot, "law"), ("theory_value", "theory_other"), strict=True):
        np.testing.assert_array_equal(mark.y, here(data, name))


def test_an_ordinate_that_is_computed():
    def twice(dataset, prefix):
        return None if prefix == "start_given_" else 2.0 * dataset[prefix + "value"]

    data = made(size=SIZES, kind=KINDS)
    (plot,) = plots(data, Panel(twice, label="twice"))
    assert plot.y.label == "twice"
    assert not marks(plot, "start_given")
    for place, kind in enumerate(KINDS):
        np.testing.assert_allclose(marks(plot, "simulation")[place].y, 2.0 * here(data, "value", kind=kind))
        np.testing.assert_array_equal(marks(plot, "law")[place].y, 2.0 * here(data, "theory_value", kind=kind))


def test_an_observable_on_the_abscissa():
    data = made(rate=[0.1, 0.2])
    (plot,) = plots(data, Panel("path", "value", runs="mean", where={"at": 2.0}))
    assert plot.x.label == "the value (m)"
    for place, rate in enumerate((0.1, 0.2)):
        simulation, law = marks(plot, "simulation")[place], marks(plot, "law")[place]
        np.testing.assert_allclose(simulation.x, [here(data, "value", rate=rate)])
        np.testing.assert_allclose(simulation.y, [here(data, "path", rate=rate, at=2.0)])
        np.testing.assert_array_equal(law.x, [here(data, "theory_value", rate=rate)])
    both = data.assign(value=data["path"] + 1.0, theory_value=data["theory_path"] + 1.0)
    (plot,) = plots(both, Panel("path", "value", runs="first"))
    for place, rate in enumerate((0.1, 0.2)):
        mark = marks(plot, "law")[place]
        np.testing.assert_array_equal(mark.x, mark.y + 1.0)
        np.testing.assert_array_equal(mark.y, here(data, "theory_path", rate=rate))
        run = marks(plot, "simulation")[place]
        np.testing.assert_array_equal(run.y, data["path"].sel(rate=rate, replicate=0))
        np.testing.assert_array_equal(run.x, run.y + 1.0)


def test_an_abscissa_that_is_computed():
    data = made(size=SIZES)
    (plot,) = plots(data, Panel("value", lambda dataset: 1.0 / dataset["size"], x_label="1/n", log="x"))
    assert (plot.x.label, plot.x.log) == ("1/n", True)
    for mark in plot.marks:
        np.testing.assert_array_equal(mark.x, 1.0 / np.array(SIZES))
    np.testing.assert_allclose(marks(plot, "simulation")[0].y, here(data, "value"))


def test_every_run_the_first_or_none():
    data = made(kind=KINDS)
    (each,) = plots(data, Panel("path", "at", runs="each"))
    runs = marks(each, "simulation")
    assert [mark.label for mark in runs] == ["plain: simulation", *[""] * 5, "odd: simulation", *[""] * 5]
    for mark, (kind, run) in zip(runs, [(kind, run) for kind in KINDS for run in range(6)], strict=True):
        np.testing.assert_array_equal(mark.y, data["path"].sel(kind=kind, replicate=run))
        assert (mark.look.color, mark.look.line) == (HUES[KINDS.index(kind)], "solid")
    given = marks(each, "start_given")  # of the first three runs, on top of them
    assert len(given) == 6
    np.testing.assert_array_equal(given[4].y, data["start_given_path"].sel(kind="odd", replicate=1))
    assert {(mark.look.color, mark.look.line) for mark in given} == {(INK, "dash")}
    assert labels(each)[-1] == "each run"
    (first,) = plots(data, Panel("path", "at", runs="first"))
    for place, kind in enumerate(KINDS):
        np.testing.assert_array_equal(marks(first, "simulation")[place].y, data["path"].sel(kind=kind, replicate=0))
        np.testing.assert_array_equal(
            marks(first, "start_given")[place].y, data["start_given_path"].sel(kind=kind, replicate=0)
        )
    assert labels(first)[-1] == "one run"
    (none,) = plots(data, Panel("path", "at", runs="none"))
    assert not marks(none, "simulation")
    np.testing.assert_allclose(marks(none, "start_given")[0].y, here(data, "start_given_path", kind="plain"))
    points = marks(plots(made(size=SIZES), Panel("value", runs="each"))[0], "simulation")
    assert {mark.look.line for mark in points} == {""}  # runs at several sizes are several runs


def test_theories_are_chosen_and_named():
    (plot,) = plots(made(size=SIZES), Panel("value", theories={"law": "as expected"}))
    assert labels(plot) == ["as expected", "simulation ± 1 se"]
    assert not marks(plot, "start_given")


def test_a_theory_that_is_the_same_for_every_series_is_drawn_once():
    data = made(size=SIZES, kind=KINDS, rate=[0.1, 0.2])
    same = data.assign(theory_value=data["theory_value"].sel(kind="plain", rate=0.1, drop=True))
    (mark,) = marks(plots(same, "value")[0], "law")
    assert (mark.look.color, mark.label) == (FAINT, "the law")
    np.testing.assert_array_equal(mark.y, same["theory_value"])
    by_kind = data.assign(theory_value=data["theory_value"].sel(rate=0.1, drop=True))
    found = marks(plots(by_kind, Panel("value", hue="kind", dash="rate"))[0], "law")
    assert [(mark.look.color, mark.look.line) for mark in found] == [(HUES[0], "solid"), (HUES[1], "solid")]


def test_a_theory_on_a_fine_grid_takes_the_place_of_the_dataset_s():
    data, fine = made(size=SIZES, kind=KINDS), made(size=np.geomspace(1.0, 8.0, 30), kind=KINDS)
    plot = curves.plot(Panel("value"), default.subject(Shown), data, fine[["theory_value"]])
    for place, kind in enumerate(KINDS):
        law = marks(plot, "law")[place]
        np.testing.assert_array_equal(law.x, fine["size"])
        np.testing.assert_array_equal(law.y, here(fine, "theory_value", kind=kind))
        assert marks(plot, "simulation")[place].x.tolist() == SIZES
        np.testing.assert_allclose(marks(plot, "start_given")[place].y, here(data, "start_given_value", kind=kind))


def test_the_least_value_the_signs_and_the_limits():
    data = made(size=SIZES)
    data = data.assign(
        value=data["value"] * xarray.DataArray([1, 1, -1, 1e-9], dims="size"),
        theory_value=data["theory_value"] * xarray.DataArray([1, -1, 1, 1e-9], dims="size"),
    )
    (plot,) = plots(data, Panel("value", least=1e-6))
    assert marks(plot, "law")[0].x.tolist() == [1, 4]
    assert marks(plot, "simulation")[0].x.tolist() == [1, 2]
    (plot,) = plots(data, Panel("value", absolute=True, limits={"x": (0.5, 9.0), "y": (None, 3.0)}))
    np.testing.assert_array_equal(marks(plot, "law")[0].y, abs(data["theory_value"]))
    np.testing.assert_allclose(marks(plot, "simulation")[0].y, abs(data["value"]).mean("replicate"))
    assert (plot.x.limits, plot.y.limits) == ((0.5, 9.0), (None, 3.0))


def test_where_looks_at_values_of_dims():
    data = made(size=SIZES, kind=KINDS, rate=[0.1, 0.2])
    (plot,) = plots(data, Panel("value", where={"rate": 0.2}))
    assert labels(plot)[:2] == KINDS
    np.testing.assert_allclose(marks(plot, "simulation")[1].y, here(data, "value", kind="odd", rate=0.2))


def test_frames_show_their_end():
    data = made(size=SIZES, rate=[0.1, 0.2, 0.3])
    (plot,) = plots(data, Panel("value", frames="rate"))
    (mark,) = marks(plot, "simulation")
    np.testing.assert_allclose(mark.y, here(data, "value", rate=0.3))
    (plot,) = plots(data, Panel("path", "at", where={"size": 2.0, "rate": 0.1}, frames="at"))
    assert marks(plot, "law")[0].x.tolist() == STEPS.tolist()  # the abscissa stays whole


def test_what_is_empty_is_said():
    data = made(size=SIZES)
    (plot,) = plots(data, Panel(lambda dataset, prefix: None, title="T"))
    assert (plot.title, plot.x.hidden) == ("T", True)
    assert [mark.text for mark in plot.marks if isinstance(mark, Words)] == [
        "nothing to draw\non this grid of parameters"
    ]
    assert [plot.y.label for plot in plots(data.drop_vars(["value", "theory_value", "start_given_value"]))] == [
        "the other",
        "the path",
    ]


# ---- guides


def through(guide, power, points):
    """Whether a guide is a power law through one of these points."""
    levels = guide.y / guide.x**power
    np.testing.assert_allclose(levels, levels[0])
    return np.isclose(levels[0], points / np.array(SIZES) ** power).any()


def test_a_slope_is_a_power_law_through_a_point_of_its_series():
    data = made(size=SIZES, kind=KINDS)
    panel = Panel("value", guides=(Guide("slope", -2.0, "slope -2", of=1),))
    (guide,) = marks(plots(data, panel)[0], "guide")
    assert len(guide.x) > 1
    assert through(guide, -2.0, here(data, "value", kind="odd"))
    assert not through(guide, -2.0, here(data, "value", kind="plain"))
    assert labels(plots(data, panel)[0])[-1] == "slope -2"
    (of_law,) = marks(plots(data, dataclasses.replace(panel, runs="none"))[0], "guide")
    assert through(of_law, -2.0, here(data, "theory_value", kind="odd"))


def test_levels_and_uprights_by_number_variable_or_function():
    data = made(size=SIZES, kind=KINDS)
    data["end"] = ("kind", [3.0, 5.0])
    kinds = (Guide("level", 2.0, "two"), Guide("upright", "end"), Guide("level", lambda one: 10.0 * one["end"].item()))
    (plot,) = plots(data, Panel("value", guides=kinds))
    found = [(rule.value, rule.upright, rule.look.color) for rule in rules(plot)]
    assert found == [
        (2.0, False, FAINT),
        (3.0, True, HUES[0]),
        (5.0, True, HUES[1]),
        (30.0, False, HUES[0]),
        (50.0, False, HUES[1]),
    ]
    assert labels(plot).count("two") == 1
    data["end"] = ("kind", [np.nan, 5.0])
    (plot,) = plots(data, Panel("value", guides=(Guide("level", "end"), Guide("level", "unknown"))))
    assert [rule.value for rule in rules(plot)] == [5.0]


def test_the_diagonal_spans_the_abscissa():
    (guide,) = marks(
        plots(made(size=SIZES), Panel("value", guides=(Guide("diagonal", label="as predicted"),)))[0], "guide"
    )
    assert guide.x.tolist() == guide.y.tolist() == [1.0, 8.0]


# ---- maps, bars, graphs


def plane(count=21):
    """A height x - y over a square, which is negative, between 0 and 1/2, and more, in three regions."""
    places = np.linspace(-1.0, 1.0, count)
    height = places[None, :] - places[:, None]
    data = xarray.Dataset({"theory_value": (("rate", "size"), height)}, {"size": places, "rate": places})
    return data, places, height


def test_a_map_has_its_levels_and_its_words_inside_their_regions():
    data, places, height = plane()
    panel = Map("value", "size", "rate", levels=(0.5, 0.0), words=("below", "between", "above"), diverging=True)
    (plot,) = plots(data, panel)
    field, *texts = plot.marks
    assert isinstance(field, Field)
    np.testing.assert_array_equal(field.z, height)
    assert (field.label, field.limits()) == ("the value (m)", (-2.0, 2.0))
    assert (plot.x.label, plot.y.label) == ("size n", "rate")
    heights = {text.text: text.x - text.y for text in texts}
    assert list(heights) == ["below", "between", "above"]
    assert heights["below"] < -0.5
    assert 0.0 < heights["between"] < 0.5
    assert heights["above"] > 0.5
    made_of = drawing.draw(default.Sheet([plot]))
    filled = made_of.axes[0].collections[0]
    assert made_of.axes[1].get_ylabel() == "the value (m)"
    # each point of the plane lies in the band of colours of its value
    paths, levels = filled.get_paths(), filled.levels
    for i, j in [(3, 10), (10, 3), (15, 6), (6, 15), (1, 18)]:
        inside = [
            k
            for k, path in enumerate(paths)
            if path.vertices.size and path.contains_point((places[j], places[i] + 1e-9))
        ]
        bounds = np.concatenate([[-np.inf], levels, [np.inf]])
        low = [bounds[k] for k in inside] if len(paths) == len(bounds) - 1 else [levels[k] for k in inside]
        assert any(abs(one - height[i, j]) < 0.2 for one in low), (i, j, low)


def test_a_map_with_gaps_and_a_region_too_small_to_be_named():
    data, _, height = plane()
    height[:3] = np.nan
    (plot,) = plots(data, Map("value", "size", "rate", levels=(1.95,), words=("most", "hardly any")))
    field, *texts = plot.marks
    assert np.isnan(field.z).sum() == 3 * 21
    assert [text.text for text in texts] == ["most"]
    assert np.isfinite(field.limits()).all()
    drawing.draw(default.Sheet([plot]))


def test_a_map_of_the_runs_of_a_fine_grid_and_where_it_is_none():
    data = made(size=SIZES, rate=[0.1, 0.2, 0.3])
    (plot,) = plots(data, Map("value", "rate", "size", theory=""))
    np.testing.assert_allclose(plot.marks[0].z, data["value"].mean("replicate"))
    assert (plot.x.log, plot.y.log) == (False, True)
    fine = made(size=np.linspace(1, 8, 9), rate=np.linspace(0.1, 0.3, 7))
    plot = fields.field(Map("value", "rate", "size"), default.subject(Shown), data, fine)
    np.testing.assert_array_equal(plot.marks[0].z, fine["theory_value"])
    np.testing.assert_array_equal(plot.marks[0].x, fine["rate"])
    more = made(size=SIZES, rate=[0.1, 0.2], kind=KINDS)
    (plot,) = plots(more, Map("value", "size", "rate"))
    assert [mark.text for mark in plot.marks] == ["give one value of kind"]
    (plot,) = plots(made(size=SIZES), Map("value", "size", "rate"))
    assert [mark.text for mark in plot.marks] == ["give several values of size and rate"]


def test_bars_have_the_mean_its_error_and_the_theory_as_a_dash():
    data = made(kind=KINDS).drop_vars("start_given_value")
    (plot,) = plots(data, Bars("value", "kind"))
    columns, error, law = plot.marks
    assert isinstance(columns, Bar)
    np.testing.assert_allclose(columns.height, here(data, "value"))
    np.testing.assert_allclose(error.y, here(data, "value"))
    np.testing.assert_allclose(error.error, data["value"].std("replicate", ddof=1) / np.sqrt(6))
    np.testing.assert_array_equal(law.y, data["theory_value"])
    assert (law.look.marker, law.look.line) == ("dash", "")
    assert plot.x.names == {0.0: "plain", 1.0: "odd"}
    axes = drawing.draw(default.Sheet([plot])).axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], columns.height)
    (plot,) = plots(data, Bars("value", "kind", runs="first"))
    np.testing.assert_array_equal(plot.marks[0].height, data["value"].isel(replicate=0))
    (plot,) = plots(made(kind=KINDS, rate=[0.1, 0.2]), Bars("value", "kind"))
    assert [mark.text for mark in plot.marks] == ["give one value of rate"]


def test_a_graph_colours_its_nodes_and_joins_them():
    places, ends = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([[0, 1], [1, 2]])
    data = xarray.Dataset(
        {"value": (("order", "replicate"), [[1.0, 3.0], [2.0, 2.0], [0.0, 8.0]]), "ends": (("edge", "end"), ends)}
    )
    (plot,) = plots(data, Graph("value", lambda _: places, "ends"))
    edges, nodes = plot.marks
    assert isinstance(nodes, Colored)
    np.testing.assert_array_equal(np.stack([nodes.x, nodes.y, nodes.value], 1), [[0, 0, 2], [1, 0, 2], [0, 1, 4]])
    np.testing.assert_array_equal(edges.x, [0, 1, np.nan, 1, 0, np.nan])
    np.testing.assert_array_equal(edges.y, [0, 0, np.nan, 0, 1, np.nan])
    axes = drawing.draw(default.Sheet([plot])).axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), places)
    np.testing.assert_array_equal(axes.collections[0].get_array(), [2, 2, 4])
    (plot,) = plots(made(size=SIZES, kind=KINDS), Graph("value", lambda _: places, lambda _: ends))
    assert [mark.text for mark in plot.marks] == ["give one value of every parameter"]


def test_what_has_no_place_on_a_logarithmic_axis_is_said():
    data = made(size=SIZES)
    data["theory_value"].values[:3] = [0.0, -1.0, np.nan]
    with pytest.warns(
        UserWarning, match=r"^2 points of the panel 'a value' are not above zero .* logarithmic"
    ) as caught:
        plots(data, Panel("value", label="a value", log="y"))
    assert len(caught) == 1
    data["theory_other"].values[-1] = 0.0
    with pytest.warns(UserWarning, match="^1 points"):  # of the theory; an abscissa that is a variable counts too
        plots(data, Panel("value", "other", theories={"law": "law"}, least=0.0, log="x"))
    plots(data, Panel("path", "at", log="x"))  # whose start is at step zero
    said = (
        Panel("value", log=""),
        Panel("value", log="y", least=0.0),
        Panel("value", log="y", limits={"y": (0.1, None)}),
    )
    plots(data, *said)  # nothing is hidden, nothing is said


def test_means_divide_by_the_replicates_that_are_there():
    values = np.array([[1.0, 2.0], [3.0, 2.5], [np.nan, 3.0], [np.nan, 3.5]])
    data = xarray.Dataset({"value": (("replicate", "size"), values)}, {"size": [10, 20]})
    made = curves.plot(Panel("value"), Subject("size"), data)
    (mark,) = marks(made, "simulation")
    np.testing.assert_allclose(mark.y, [2.0, 2.75])
    np.testing.assert_allclose(mark.error, [1.0, np.std(values[:, 1], ddof=1) / 2.0])


def test_a_slope_over_steps_from_zero_starts_where_there_is_a_logarithm():
    data = made(size=[4])
    (plot,) = plots(data, Panel("path", "at", guides=[Guide("slope", -1.0, "slope -1")]))
    (line,) = marks(plot, "guide")
    assert line.x[0] > 0.0
    np.testing.assert_allclose(line.y * line.x, line.y[0] * line.x[0])


def test_uprights_do_not_mind_the_least_value_and_what_is_not_drawn_has_no_key():
    guides = [Guide("upright", 5.0, "here"), Guide("level", "nothing", "floor"), Guide("level", 0.1, "below")]
    (plot,) = plots(made(size=SIZES), Panel("value", least=0.5, guides=guides))
    assert [(rule.value, rule.upright) for rule in rules(plot)] == [(5.0, True)]
    assert [label for label in labels(plot) if label in ("here", "floor", "below")] == ["here"]


def test_an_observable_on_the_abscissa_has_the_logarithm_of_its_declaration():
    (plot,) = plots(made(size=SIZES), Panel("value", "other"))
    assert (plot.x.log, plot.x.label) == (True, "the other")


def test_several_observables_are_shared_out_too():
    data = made(size=SIZES, kind=KINDS, rate=[0.1, 0.2, 0.3])

    class Many(Shown):
        panels = (Panel(("value", "other", "value"), "size"),)

    number, sheets = default.sheets(Many, data)
    sheets = list(sheets)
    assert number == len(sheets) > 1
    assert not any(plot.refused for _, sheet in sheets for plot in sheet.plots)


def test_a_legend_of_a_page_shows_every_marker():
    sheet = Sheet(plots(made(kind=KINDS), Bars("value", "kind")))
    block = str(figure_block(sheet, Graphs(), "bars"))
    assert "the law" in block


def test_frames_along_words_are_named():
    class Moving(Shown):
        panels = (Panel("value", "size", frames="kind"),)

    sheets = animation.sheets(Moving, made(size=SIZES, kind=KINDS), 2)
    assert [sheet.plots[0].title for sheet in sheets] == [f"kind {kind}" for kind in KINDS]


@pytest.mark.parametrize(
    ("panel", "words"),
    [
        (lambda: Panel("valve"), "y='valve' in a panel of toy/shown is unknown; did you mean 'value'?"),
        (lambda: Panel("value", "sise"), "x='sise' in a panel of toy/shown is unknown; did you mean 'size'"),
        (lambda: Panel("value", hue="kid"), "hue='kid' in a panel of toy/shown is unknown; did you mean 'kind'?"),
        (lambda: Panel("value", facet="colour"), "facet='colour' in a panel of toy/shown is unknown"),
        (lambda: Panel("value", theories={"lore": "x"}), "theories='lore' in a panel of toy/shown is unknown"),
        (lambda: Map("value", "size", "rat"), "y='rat' in a panel of toy/shown is unknown; did you mean 'rate'"),
        (lambda: Bars("valve", "kind"), "y='valve' in a panel of toy/shown is unknown"),
        (lambda: Graph("valve", "value", "value"), "value='valve' in a panel of toy/shown is unknown"),
        (lambda: Graph("value", "place", "value"), "positions='place' in a panel of toy/shown is unknown"),
        (lambda: Graph("value", "value", "ends"), "edges='ends' in a panel of toy/shown is unknown"),
        (lambda: Panel(()), "y=() is empty; accepted: an observable, several, or a function"),
        (lambda: Panel("value", runs="all"), "runs='all' is not accepted; accepted: 'mean', 'each', 'first', 'none'"),
        (lambda: Panel("value", log="z"), "log='z' names other axes; accepted: those of 'x' and 'y'"),
        (lambda: Panel("value", limits={"z": (0, 1)}), "names other axes"),
        (
            lambda: Guide("vertical"),
            "kind='vertical' is not accepted; accepted: 'slope', 'level', 'upright', 'diagonal'",
        ),
        (lambda: Map("value", "size", "rate", levels=(0.0,), words=("a",)), "words has 1 entries; accepted: 2"),
    ],
)
def test_a_panel_that_is_misspelt_says_so(panel, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        plots(made(size=SIZES, kind=KINDS), panel())


def test_a_line_runs_upwards_whatever_the_order_of_the_dataset():
    data = made(size=SIZES)
    (plot,), (turned,) = plots(data, Panel("value")), plots(data.isel(size=slice(None, None, -1)), Panel("value"))
    for mark, other in zip(plot.marks, turned.marks, strict=True):
        np.testing.assert_array_equal(mark.x, other.x)
        np.testing.assert_array_equal(mark.y, other.y)


def test_one_run_has_no_error_and_no_value_has_a_note():
    data = made(size=SIZES)
    (mark,) = marks(plots(data.isel(replicate=[0]), Panel("value"))[0], "simulation")
    assert np.isnan(mark.error).all()
    (plot,) = plots(data * np.nan, Panel("value"))
    assert isinstance(plot.marks[0], Words)


def test_one_colour_with_two_meanings_parts_the_legends():
    data = made(size=SIZES, kind=KINDS, rate=[0.1, 0.2])
    both = plots(data, Panel("value", where={"rate": 0.1}), Panel("value", where={"kind": "odd"}))
    assert legends(both) == ([], both)
    alike = plots(data, Panel("value", where={"rate": 0.1}), Panel("other", where={"rate": 0.1}))
    assert legends(alike)[1] == []
