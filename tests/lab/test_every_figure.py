"""Every declared figure: what both renderers hold is what NumPy makes of the dataset, and no text is cut or covered."""

import dataclasses
import json
import math

import numpy as np
import pytest
from matplotlib.transforms import Bbox

from solvable.lab.declare import Experiment, registry
from solvable.lab.declare.panels import Bars, Graph, Map, Panel
from solvable.lab.figures import default, matplotlib, plotly
from solvable.lab.figures.plot import FAINT, Colored, Field, Mark, Rule
from tests.lab.declared import dataset

EXPERIMENTS = registry.experiments()


@pytest.fixture(scope="module", params=EXPERIMENTS)
def drawn(request):
    """An experiment, made-up data of it, its sheet, and the sheet drawn as wide as a page."""
    experiment = EXPERIMENTS[request.param]
    data = dataset(experiment)
    for panel in experiment.panels:
        if isinstance(panel, Panel) and panel.absolute:  # what drops signs needs some
            data = data.assign({name: -data[name] for name in data.data_vars if str(name).endswith(str(panel.y))})
    sheet = default.sheet(experiment, data)
    return experiment, data, sheet, matplotlib.draw(sheet, width="page")


# ---- what NumPy makes of the dataset


@dataclasses.dataclass
class Line:
    """The points that one line of one series must have; `words` tell the series."""

    of: str
    words: frozenset
    x: np.ndarray
    y: np.ndarray
    error: np.ndarray | None = None


def array(data, name, where):
    """The values of a variable at these values of its dims, and the dims left, by places alone."""
    variable = data.variables[name]
    places = tuple(
        data[dim].values.tolist().index(where[dim]) if dim in where else slice(None) for dim in variable.dims
    )
    return variable.values[places], [dim for dim in variable.dims if dim not in where]


# The six ordinates that are computed, each told again in NumPy: (array, its dims) of the runs or of a theory.


def largest_difference(data, prefix, where):
    if prefix:
        return None
    runs, dims = array(data, "average", where)
    flow, _ = array(data, "flow_given_average", where)
    gone = [dims.index("at"), dims.index("coordinate")]
    return np.abs(runs - flow).max(axis=tuple(gone)), [dim for dim in dims if dim not in ("at", "coordinate")]


def objective_gap(data, prefix, where):
    runs, dims = array(data, "objective", where)
    theory, own = array(data, "theory_objective", where)
    assert [dim for dim in dims if dim != "replicate"] == own
    return np.moveaxis(np.moveaxis(runs, dims.index("replicate"), 0) - theory, 0, dims.index("replicate")), dims


def divergence_with_limits(data, prefix, where):
    runs, dims = array(data, "divergence", where)
    limits, own = array(data, "theory_given_final_divergence", where)
    limits = limits.reshape([runs.shape[dims.index(dim)] if dim in own else 1 for dim in dims])
    return np.where(np.isfinite(limits), runs, np.nan), dims


def errors_of_scales(data, prefix, where):
    dim = where["dim"]
    if prefix:
        b = np.geomspace(0.06, 0.68, 200)
        return (1 - 2 * b**2) ** (-dim / 2) * (b**-2 + 1 / (1 - 2 * b**2)), ["scale"], b
    (near, dims), (far, _) = (array(data, name, where) for name in ("context_error", "peaked_error"))
    assert dims == ["scale", "replicate"]
    values, scales = np.concatenate([near, far]), np.concatenate([data["scale"], data["peaked_scale"]])
    there = np.isfinite(values).all(axis=1)
    order = np.argsort(scales[there])
    return values[there][order], dims, scales[there][order]


def median(data, prefix, where):
    values, dims = array(data, f"{prefix}suboptimality", where)
    if prefix:
        return values, dims
    return np.median(values, axis=dims.index("replicate")), [dim for dim in dims if dim != "replicate"]


def risk_difference(data, prefix, where):
    if not prefix:
        return None
    (runs, dims), (theory, own) = array(data, "risk", where), array(data, f"{prefix}risk", where)
    assert dims == own
    return np.abs(runs - theory).max(axis=dims.index("at")), [dim for dim in dims if dim != "at"]


OWN = (risk_difference, largest_difference, objective_gap, divergence_with_limits, errors_of_scales, median)
COMPUTED = {one.__name__: one for one in OWN}
USED = {"largest_difference": ("average",), "objective_gap": ("objective",), "divergence_with_limits": ("divergence",)}
USED["risk_difference"] = ("risk",)
USED["median"] = ("suboptimality",)
USED["errors_of_scales"] = ("context_error", "peaked_error")
DROPPED = {"largest_difference": {"at", "coordinate"}, "errors_of_scales": {"peaked_scale"}}
DROPPED["risk_difference"] = {"at"}
# where the experiment's own abscissa is no dim of the observable
ELSEWHERE = {
    ("token-selection/rates", "divergence_slope"): "rule",
    ("token-selection/rates", "gap_slope"): "rule",
}


def prefixes(experiment, panel):
    """The label of each theory of a panel and what its variables begin with; the runs first."""
    free = [one.label for one in experiment.overlays if not one.given]
    found = [] if panel.runs == "none" else [("simulation", "", False)]
    for one in experiment.overlays:
        if panel.theories is None or one.label in panel.theories:
            found.append((one.label, "theory_" if free == [one.label] else f"{one.label}_", one.given))
    return found


def plain(label):
    """A label without the signs of formulas."""
    return label.replace("$", "").replace("\\", "")


def name_of(experiment, dim, value):
    field = experiment.model_fields.get(dim)
    symbol = ((field.json_schema_extra or {}).get("symbol") if field else "") or dim.replace("_", " ")
    return value.replace("_", " ") if isinstance(value, str) else f"{plain(symbol)} = {value:g}"


def expected(experiment, data, panel):
    """Every line of a panel of curves."""
    names = [panel.y] if isinstance(panel.y, str) or callable(panel.y) else list(panel.y)
    found = []
    for name in names:
        computed = COMPUTED[name.__name__] if callable(name) else None
        variables = USED[name.__name__] if computed else names
        present = [p + v for v in variables for _, p, _ in prefixes(experiment, panel) if p + v in data]
        used = {dim for one in present for dim in data[one].dims} - {"replicate", *panel.where}
        used -= DROPPED.get(name.__name__, set()) if computed else set()
        x = panel.x or ELSEWHERE.get((experiment.name, name), experiment.x)
        along = {x} if isinstance(x, str) and x in data.dims else set()
        if callable(x):
            along = {experiment.x}
        elif x not in data.dims:
            along = set(data[x].dims) - {"replicate", panel.hue, panel.dash, *experiment.model_fields}
        assert along <= used, (along, used)
        series = [{}]
        for dim in sorted(used - along):
            series = [one | {dim: value} for one in series for value in data[dim].values.tolist()]
        for one in series:
            words = {name_of(experiment, dim, value) for dim, value in one.items()}
            if len(names) > 1:
                words.add(next(item.label for item in experiment.observables if item.name == name))
            for label, prefix, given in prefixes(experiment, panel):
                lines = of_series(experiment, data, panel, name, computed, x, one, prefix, given)
                found += [
                    Line(label, frozenset(", ".join(words).split(", ") if words else ()), *points) for points in lines
                ]
    return found


def of_series(experiment, data, panel, name, computed, x, series, prefix, given):
    """The lines of one series by one source: of the mean, or of the runs that are drawn."""
    where = {**panel.where, **series}
    if computed:
        told = computed(data, prefix, where)
    else:
        told = array(data, prefix + name, where) if prefix + name in data else None
    if told is None:
        return
    values, dims, *places = told
    values = np.abs(values) if panel.absolute else values
    if callable(x):
        assert experiment.name == "diagonal/gap"
        places = -data["log_scale"].values
    elif places:
        (places,) = places
    elif x in data.dims:
        numbers = data[x].dtype.kind in "iuf"
        places = data[x].values.astype(float) if numbers else np.arange(data.sizes[x], dtype=float)
    else:
        places, own = array(data, prefix + x if prefix + x in data else x, where)
        assert own == [dim for dim in dims if dim in own]
        if "replicate" in own:
            places = np.moveaxis(places, own.index("replicate"), 0)
    if "replicate" not in dims:
        yield kept(panel, places, values)
        return
    runs = np.moveaxis(values, dims.index("replicate"), 0)
    scattered = np.ndim(places) > 1
    if panel.runs in ("mean", "none"):
        with np.errstate(invalid="ignore"):
            mean = np.array([one[np.isfinite(one)].mean() if np.isfinite(one).any() else np.nan for one in flat(runs)])
            count = np.isfinite(flat(runs)).sum(axis=1)
            deviation = np.array(
                [
                    one[np.isfinite(one)].std(ddof=1) if n > 1 else np.nan
                    for one, n in zip(flat(runs), count, strict=True)
                ]
            )
            error = deviation / np.sqrt(np.maximum(count, 1))
        yield kept(panel, places, mean, None if prefix else np.nan_to_num(error))
        return
    for run in range(1 if panel.runs == "first" else min(3, len(runs)) if prefix else len(runs)):
        yield kept(panel, places[run] if scattered else places, runs[run])


def flat(runs):
    """The values of all runs at each point."""
    return runs.reshape(len(runs), -1).T


def kept(panel, x, y, error=None):
    """The points that are drawn."""
    y = np.broadcast_to(y, np.shape(x)) if np.ndim(y) == 0 else np.asarray(y)
    there = np.isfinite(x) & np.isfinite(y) & (y > panel.least)
    return (x[there], y[there]) if error is None else (x[there], y[there], error[there])


def alike(mark, line):
    """Whether a mark has the points of a line; a long row of markers is thinned evenly."""
    step = math.ceil(len(line.x) / 24) if mark.of == "simulation" and not mark.look.line else 1
    same = [(mark.x, line.x), (mark.y, line.y)]
    if line.error is not None:
        same.append((mark.error, line.error))
    return all(
        a is not None and len(a) == len(b[::step]) and np.allclose(a, b[::step], rtol=1e-12, atol=0) for a, b in same
    )


def told(experiment, data):
    """The panels of an experiment, facets told apart, each a `Panel` or a `Map`."""
    for one in experiment.panels or [item.name for item in experiment.observables]:
        panel = Panel(one) if isinstance(one, str) else one
        along = panel.x or experiment.x if isinstance(panel, Panel) else ""
        curve = along in {item.name for item in experiment.observables}  # which runs through all frames
        if isinstance(panel, Panel) and not curve and panel.frames not in ("", along):  # it shows its end
            panel = dataclasses.replace(
                panel, where={**panel.where, panel.frames: data[panel.frames].values[-1].item()}
            )
        for value in data[panel.facet].values.tolist() if panel.facet else [None]:
            yield dataclasses.replace(panel, where={**panel.where, panel.facet: value}) if panel.facet else panel


def test_the_marks_are_what_numpy_makes_of_the_dataset(drawn):
    experiment, data, sheet, _ = drawn
    panels = list(told(experiment, data))
    assert len(panels) == len(sheet.plots)
    for panel, plot in zip(panels, sheet.plots, strict=True):
        if isinstance(panel, Map):
            (field,) = [mark for mark in plot.marks if isinstance(mark, Field)]
            frame = {panel.frames: data[panel.frames].values[-1].item()} if panel.frames else {}
            name = panel.z if panel.theory == "" else "theory_" + panel.z
            values, dims = array(data, name, {**panel.where, **frame})
            if "replicate" in dims:
                values, dims = values.mean(axis=dims.index("replicate")), [dim for dim in dims if dim != "replicate"]
            np.testing.assert_allclose(field.z, values if dims[0] == panel.y else values.T)
            np.testing.assert_array_equal(field.x, data[panel.x])
            np.testing.assert_array_equal(field.y, data[panel.y])
            continue
        if isinstance(panel, Bars):
            check_bars(data, panel, plot)
            continue
        if isinstance(panel, Graph):
            (nodes,) = [mark for mark in plot.marks if isinstance(mark, Colored)]
            frame = {panel.frames: data[panel.frames].values[-1].item()} if panel.frames else {}
            values, dims = array(data, panel.value, {**panel.where, **frame})
            np.testing.assert_allclose(nodes.value, values.mean(axis=dims.index("replicate")))
            continue
        lines = [line for line in expected(experiment, data, panel) if len(line.x)]
        marks = [mark for mark in plot.marks if isinstance(mark, Mark) and mark.of != "guide"]
        assert lines
        for line in lines:
            assert any(mark.of == line.of and alike(mark, line) for mark in marks), (plot.title, line)
        keys, told_colours = {plain(key.label): key.look for key in plot.keys}, {}
        hues = {frozenset(label.split(", ")): look.color for label, look in keys.items() if look.color != FAINT}
        for mark in marks:
            same = [line for line in lines if line.of == mark.of and alike(mark, line)]
            assert same, (plot.title, mark)
            series, _, source = plain(mark.label).rpartition(": ")
            if series or mark.label == "simulation":
                words = frozenset(series.split(", ") if series else ())
                assert words in [line.words for line in same], (mark.label, [line.words for line in same])
                if mark.look.color not in (FAINT, "ink"):
                    assert told_colours.setdefault(words, mark.look.color) == mark.look.color
            elif mark.of == "simulation" and mark.label == "":
                assert mark.look.color in [told_colours[line.words] for line in same]
            elif len({line.words for line in lines}) > 1:  # for all series, or it is no theory
                assert mark.of != "simulation"
                assert len({line.words for line in same}) > 1
            if mark.of != "simulation":
                assert source in keys or panel.runs == "none"  # a theory alone needs no name
        # a legend that names the series shows their colours
        for words, colour in told_colours.items():
            shown = hues.get(words, hues.get(words - dashed(experiment, data, panel)))
            assert shown in (None, colour), (words, colour)
            assert shown or len(told_colours) == 1 or words <= dashed(experiment, data, panel)


def check_bars(data, panel, plot):
    """The bars are the means over the runs at the end of the frames, the theory's dashes lie over them."""
    columns, *others = plot.marks
    for frame in data[panel.frames].values.tolist()[::-1] if panel.frames else [None]:
        where = {**panel.where, **({panel.frames: frame} if panel.frames else {})}
        runs, dims = array(data, panel.y, where)
        if np.isfinite(runs).any():  # the last with a value: other settings may have gone on for longer
            break
    assert dims == [panel.x, "replicate"]
    np.testing.assert_allclose(columns.height, runs.mean(axis=1))
    for mark in others:
        if mark.of == "simulation":
            np.testing.assert_allclose(mark.error, runs.std(axis=1, ddof=1) / np.sqrt(runs.shape[1]))
        else:
            theory, own = array(data, f"theory_{panel.y}", where)
            np.testing.assert_allclose(
                mark.y, theory.mean(axis=own.index("replicate")) if "replicate" in own else theory
            )


def dashed(experiment, data, panel):
    """The words for the values of the dim that is told by the pattern of lines."""
    values = data[panel.dash].values.tolist() if panel.dash else []
    return {name_of(experiment, panel.dash, value) for value in values}


# ---- the two renderers


def strict(values):
    """Numbers as JSON holds them."""
    return [None if not math.isfinite(value) else value for value in np.asarray(values, float).tolist()]


def of_values(trace):
    """Whether points are coloured by their values."""
    return "colorscale" in trace.get("marker", {})


def test_both_renderers_hold_the_same_numbers(drawn):
    _, _, sheet, figure = drawn
    bars = {"lines": 0, "rules": 0}
    for plot, axes in zip(sheet.plots, figure.axes, strict=False):
        made = json.loads(json.dumps(plotly.graph(plot), allow_nan=False))
        traces = [trace for trace in made["data"] if trace["type"] == "scatter" and not of_values(trace)]
        lines = [line for line in axes.lines if line.get_transform() is axes.transData or line.get_gid()]
        across = [line for line in axes.lines if line not in lines]
        errors = [container for container in axes.containers if hasattr(container, "has_yerr")]
        assert len(lines) == len(traces) == sum(isinstance(mark, Mark) for mark in plot.marks)
        of_data = {id(container.lines[0]): container for container in errors}
        for line, trace in zip(lines, traces, strict=True):
            assert strict(line.get_xdata()) == trace["x"]
            assert strict(line.get_ydata()) == trace["y"]
            assert (line.get_linestyle() != "None") == ("lines" in trace["mode"])
            assert (line.get_marker() not in ("", "None")) == ("markers" in trace["mode"])
            colour = matplotlib.matplotlib.colors.to_hex(line.get_color())
            assert colour == (trace["line"]["color"] if "lines" in trace["mode"] else colour_of(trace))
            assert (id(line) in of_data) == ("error_y" in trace)
            if "error_y" in trace and set(trace["error_y"]["array"]) != {None}:  # of a median none is known
                ends = np.array(of_data[id(line)].lines[2][0].get_segments())[:, :, 1]
                np.testing.assert_allclose(
                    (ends[:, 1] - ends[:, 0]) / 2, trace["error_y"]["array"], rtol=1e-9, atol=1e-12
                )
            bars["lines"] += 1
        nodes = [mark for mark in plot.marks if isinstance(mark, Colored)]
        clouds = [trace for trace in made["data"] if of_values(trace)]
        for mark, trace, drawn_points in zip(nodes, clouds, axes.collections if nodes else [], strict=True):
            assert strict(mark.value) == trace["marker"]["color"]
            np.testing.assert_array_equal(drawn_points.get_array(), mark.value)
        shapes = made["layout"].get("shapes", [])
        assert len(across) == len(shapes) == sum(isinstance(mark, Rule) for mark in plot.marks)
        for line, shape in zip(across, shapes, strict=True):
            upright = shape["yref"] == "y domain"
            assert (line.get_xdata() if upright else line.get_ydata())[0] == shape["x0" if upright else "y0"]
            bars["rules"] += 1
        assert axes.get_xscale() == made["layout"]["xaxis"]["type"]
        assert axes.get_yscale() == made["layout"]["yaxis"]["type"]
        fields = [mark for mark in plot.marks if isinstance(mark, Field)]
        filled = [trace for trace in made["data"] if trace["type"] == "contour"]
        assert len(filled) == sum(1 + len(mark.levels) for mark in fields)
        for field, trace in zip(fields, filled, strict=False):
            np.testing.assert_allclose(trace["z"], field.z, rtol=1e-5)  # six digits in a page
            contours = axes.collections[0]
            assert (contours.zmin, contours.zmax) == (field.z.min(), field.z.max())
            assert (contours.levels[0], contours.levels[-1]) == pytest.approx((trace["zmin"], trace["zmax"]))
    assert bars["lines"] or any(isinstance(mark, Field) for plot in sheet.plots for mark in plot.marks)


def colour_of(trace):
    """The colour of hollow markers is that of their edge, of bare errors that of their bars."""
    if "marker" not in trace:
        return trace["error_y"]["color"]
    face = trace["marker"]["color"]
    return trace["marker"]["line"]["color"] if face == "#ffffff" else face


def test_few_experiments_draw_alone_or_compute_an_ordinate():
    own = [one for one in EXPERIMENTS.values() if one.draw.__func__ is not Experiment.draw.__func__]
    computed = [one for one in EXPERIMENTS.values() if any(isinstance(p, Panel) and callable(p.y) for p in one.panels)]
    assert len({*own, *computed}) <= 8
    assert {panel.y.__name__ for one in computed for panel in one.panels if callable(panel.y)} == set(COMPUTED)


# ---- on paper


def inside(figure, *boxes):
    whole = figure.bbox
    return all(
        box.x0 >= whole.x0 - 1 and box.y0 >= whole.y0 - 1 and box.x1 <= whole.x1 + 1 and box.y1 <= whole.y1 + 1
        for box in boxes
    )


def overlap(one, other):
    both = Bbox.intersection(one, other)
    return both is not None and both.width > 0.5 and both.height > 0.5


@pytest.mark.parametrize("width", ["column", "page"])
def test_no_text_is_cut_and_no_legend_covers_axes(drawn, width):
    _, _, sheet, page = drawn
    figure = page if width == "page" else matplotlib.draw(sheet, width=width)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    own = {id(axes): axes.get_legend() for axes in figure.axes}
    everything = [axes.get_tightbbox(renderer) for axes in figure.axes if axes.axison]
    texts = [text for text in figure.texts if text.get_text()]
    if figure._suptitle is not None:
        texts.append(figure._suptitle)
    assert inside(figure, *everything, *(text.get_window_extent(renderer) for text in texts))
    legends = [*figure.legends, *(one for one in own.values() if one is not None)]
    boxes = [legend.get_window_extent(renderer) for legend in legends]
    assert inside(figure, *boxes)
    # what an axes is without its legend: its frame, the labels of its axes, its title
    bare = [
        box
        for axes in figure.axes
        if axes.axison
        for box in (
            axes.get_window_extent(renderer),
            axes.xaxis.get_tightbbox(renderer),
            axes.yaxis.get_tightbbox(renderer),
            axes.title.get_window_extent(renderer) if axes.get_title() else None,
        )
        if box is not None
    ]
    covered = [(legend, box) for legend in boxes for box in bare if overlap(legend, box)]
    assert not covered
    assert not any(overlap(one, other) for place, one in enumerate(boxes) for other in boxes[:place])
    titles = [axes.title.get_window_extent(renderer) for axes in figure.axes if axes.get_title()]
    assert not any(overlap(one, other) for place, one in enumerate(titles) for other in titles[:place])
    if sheet.title:
        suptitle = figure._suptitle.get_window_extent(renderer)
        assert not any(overlap(suptitle, box) for box in bare)
