"""Figures that move: every frame holds what the data hold there, the axes stay still, GIF and page can be played."""

import itertools
import json
import re

import numpy as np
import pytest
from PIL import Image

from solvable.lab.declare import registry
from solvable.lab.figures import animation, default
from solvable.lab.figures.animation import animate
from solvable.lab.figures.plot import Bar, Mark
from tests.lab import declared

PLANE, JOINT, FLOW = "single-location/manifold", "token-selection/joint", "diagonal/incremental"


@pytest.fixture(scope="module", params=[PLANE, FLOW])
def growing(request):
    experiment = registry.find(request.param)
    return experiment, declared.dataset(experiment)


def drawn(plot, of):
    return [mark for mark in plot.marks if isinstance(mark, Mark) and mark.of == of]


def test_a_line_along_the_frames_grows(growing):
    experiment, data = growing
    sheets = animation.sheets(experiment, data, 7)
    (whole,) = [one for one in default.panels(experiment, data) if one.frames]
    full = [mark for mark in default.plot(whole, default.subject(experiment), data).marks if isinstance(mark, Mark)]
    lengths = []
    for sheet in sheets:
        (plot,) = sheet.plots
        kept = plot.marks[: len(full)]
        for mark, complete in zip(kept, full, strict=True):
            np.testing.assert_array_equal(mark.x, complete.x[: len(mark.x)])
            np.testing.assert_array_equal(mark.y, complete.y[: len(mark.x)])
        lengths.append([len(mark.x) for mark in kept])
        heads = plot.marks[len(full) :]
        lines = [mark for mark in kept if mark.of == "simulation" and mark.look.line]
        assert [(mark.x[0], mark.y[0]) for mark in heads] == [(mark.x[-1], mark.y[-1]) for mark in lines]
    assert len(sheets) == 7
    assert np.all(np.diff(lengths, axis=0) >= 0)
    assert lengths[-1] == [len(mark.x) for mark in full]
    assert min(map(max, lengths)) < max(lengths[-1])
    assert len({(plot.x.limits, plot.y.limits) for sheet in sheets for plot in sheet.plots}) == 1


def test_the_abscissa_says_how_far_a_line_has_come():
    experiment = registry.find(FLOW)
    data = declared.dataset(experiment)
    places = data["at"].values[np.linspace(0, data.sizes["at"] - 1, 5).round().astype(int)]
    for sheet, place in zip(animation.sheets(experiment, data, 5), places, strict=True):
        assert max(mark.x.max() for mark in drawn(sheet.plots[0], "limit")) == place
        assert all(mark.x.max(initial=-1.0) <= place for mark in drawn(sheet.plots[0], "simulation"))


def test_bars_are_those_of_each_frame_that_has_some():
    experiment = registry.find(JOINT)
    data = declared.dataset(experiment)
    data["attention"] = data["attention"].where(data["at"] < data["at"].values[-2])
    here = data["attention"].sel(p=2.0).mean("replicate")
    there = here.dropna("at", how="all")
    sheets = animation.sheets(experiment, data, len(there["at"]))
    assert len(sheets) == len(there["at"]) < len(data["at"])
    for sheet, at in zip(sheets, there["at"].values, strict=True):
        (bars,) = [mark for mark in sheet.plots[0].marks if isinstance(mark, Bar)]
        np.testing.assert_allclose(bars.height, there.sel(at=at))
        assert sheet.plots[0].title.endswith(f"{at:g}")
        assert sheet.plots[0].y.limits[0] == 0.0


def test_a_gif_plays_every_frame(growing, tmp_path):
    experiment, data = growing
    path = animate(data, experiment, tmp_path / "flow.gif", frames=4, seconds=2.0)
    pictures = []
    with Image.open(path) as made:
        assert made.n_frames == 4
        for place in range(4):
            made.seek(place)
            pictures.append(np.asarray(made.convert("RGB"), float))
            assert made.info["duration"] == (500 if place < 3 else 1500)
    assert {picture.shape for picture in pictures} == {pictures[0].shape}
    assert all(np.any(one != other) for one, other in itertools.pairwise(pictures))
    changed = np.any(np.stack(pictures) != pictures[0], axis=(0, 3))
    height, width = changed.shape
    # the axes stay where they are: nothing moves left of the ordinate, nor in the legend, nor in the title
    assert not changed[:, : width // 12].any()
    assert not changed[-height // 10 :].any()
    assert not changed[: height // 12].any()


def test_a_page_holds_the_frames_and_fetches_nothing(growing, tmp_path):
    experiment, data = growing
    text = animate(data, experiment.name, tmp_path / "flow.html", frames=4).read_text(encoding="utf-8")
    graphs = json.loads(re.search(r'Plotly\.newPlot\("graph", (.*)\)</script></body>', text)[1])
    assert [frame["name"] for frame in graphs["frames"]] == list("0123")
    assert len({len(frame["data"]) for frame in graphs["frames"]}) == 1
    (sheet,) = animation.sheets(experiment, data, 4)[-1:]
    lines = [mark for mark in sheet.plots[0].marks if isinstance(mark, Mark)]
    for trace, mark in zip(graphs["frames"][-1]["data"], lines, strict=True):
        np.testing.assert_array_equal(np.array(trace["y"], float), mark.y)
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", text[: text.index("<body>")] + text[-2000:])


@pytest.mark.parametrize(
    ("name", "path", "options", "words"),
    [
        (FLOW, "flow.mp4", {}, "path='flow.mp4' has no form of an animation; accepted: a name in .gif or .html"),
        (FLOW, "flow.gif", {"frames": 1}, "frames=1, seconds=6.0 is no animation; accepted: frames >= 2"),
        ("diagonal/gap", "gap.gif", {}, "experiment='diagonal/gap' has no panel with frames"),
    ],
)
def test_what_cannot_move_is_refused(name, path, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(words)):
        animate(declared.dataset(registry.find(name)), name, path, **options)
    assert not list(tmp_path.iterdir())
