"""The report as a document: what it says is what is stored, and no text becomes part of the page."""

import base64
import gzip
import hashlib
import itertools
import json
import os
import re

import numpy as np
import pytest

from solvable import lab
from solvable.lab.figures import default
from solvable.lab.figures.words import number
from solvable.lab.reporting import document, figures, tables
from solvable.lab.reporting.section import worst_first
from solvable.lab.store import dataset
from solvable.lab.store.atomic import StoreError, WriteError
from tests.lab import hostile, toy
from tests.lab.hostile import Hostile
from tests.lab.pages import HERE, HOSTILE, Page, called
from tests.lab.toy import Approach, Ceiling, SampleMean


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return hostile.written(tmp_path_factory)


@pytest.fixture(scope="module")
def folder(written):
    return written.path.parent


@pytest.fixture(scope="module")
def text(written):
    return written.path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


@pytest.fixture
def installed(monkeypatch):
    hostile.install(monkeypatch, HERE, HOSTILE)


def stored_rows(folder, experiment):
    return [row for row in worst_first(lab.compare(folder, experiment)) if not row.failed]


def test_the_summary_counts_what_is_stored(folder, written, page):
    every = [lab.compare(folder, one) for one in (SampleMean, Ceiling, toy.TheoryOnly, toy.Decay, Hostile)]
    random = [row for rows in every for row in rows if not row.comparison.identity]
    identities = sum(map(len, every)) - len(random)
    tested = [row for row in random if row.comparison.agrees is not None]
    differing = sum(row.comparison.agrees is False for row in tested)
    assert (written.experiments, written.comparisons, written.disagreeing) == (5, len(tested), differing)
    assert written.failed_cells == 3
    assert written.identities == identities > 1
    assert differing > 1
    sentence = f"5 experiments: {len(tested) - differing} of {len(tested)} comparisons agree; "
    sentence += f"{identities} identities are not counted. 3 cells failed. "
    sentence += "6 of 102 replicates are missing: the toy is patchy (6)."
    assert written.summary == sentence
    assert [one["text"] for one in page.all("p") if one["attributes"].get("class") == "summary"] == [sentence]
    assert written.path == folder / "report.html"


def test_each_experiment_has_its_verdict_in_words(folder, page):
    verdicts = [one["text"] for one in page.all("p") if one["attributes"].get("class") == "verdict"]
    worst = stored_rows(folder, SampleMean)[0].comparison.verdict
    words = rf"not counted\. The worst is .* kind = shifted: {re.escape(worst)}\..* 2 cells failed\. 6 of 72 replicates"
    assert any(re.search(words, verdict) for verdict in verdicts)
    assert any("2 of 2 comparisons agree." in verdict for verdict in verdicts)
    assert any("Theory alone: nothing is simulated" in verdict for verdict in verdicts)


@pytest.mark.parametrize("experiment", [SampleMean, Hostile])
def test_the_table_of_all_comparisons_is_the_agreement(folder, page, experiment):
    rows = stored_rows(folder, experiment)
    kind = "All comparisons" if len(rows) > 12 else "Theory against simulation"
    head, *lines = page.tables()[f"{kind}, the worst first ({experiment.name})"]
    assert head[:3] == ["observable", "verdict", "z"]
    assert head[-4:] == ["simulated", "predicted", "se of difference", "allowance"]
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        found = row.comparison
        expected = [number(v) if v == v else "" for v in (found.simulated, found.predicted, found.standard_error)]
        assert line[-4:] == [*expected, number(found.allowance) if found.allowance else ""]
        assert line[1][2:] == ("identity" if found.identity else found.verdict)
        assert line[1][0] == {True: "✓", False: "✗", None: "\N{EN DASH}"}[found.agrees]
        assert line[head.index("claim")] == row.claim
        for name in set(head) & set(row.parameters):
            assert line[head.index(name)] == str(row.parameters[name])
    scores = [line[2] for line in lines if line[2]]
    shown = [row.comparison.score for row in rows if row.comparison.score is not None]
    assert [float(score.replace("\N{MINUS SIGN}", "-")) for score in scores] == pytest.approx(shown, abs=0.051)


def test_the_first_table_shows_what_differs_and_each_observable(folder, page):
    lines = page.tables()["The worst comparisons, at least one of each observable with each theory (toy/mean)"]
    text = "\n".join(" ".join(line) for line in lines)
    for label in ("sample mean", "moments [order = 0]", "scale"):
        assert label in text
    differing = [row for row in stored_rows(folder, SampleMean) if row.comparison.agrees is False]
    assert sum("✗" in line[1] for line in lines) == len(differing)


def test_predictions_failures_and_parameters(page):
    found = page.tables()
    predictions = found["What each theory claims. Source: a textbook, Fig. 0 (toy/mean)"]
    assert predictions[0] == ["observable", "theory", "claim", "origin", "compared"]
    assert ["sample mean", "given first", "exact", "derived", "yes"] in predictions
    assert any(one["text"] == "given first: the mean given the first draw." for one in page.all("p"))
    failed = found["Cells that failed (toy/mean)"]
    assert [
        "samples = 4, kind = broken",
        "simulation",
        "0 to 11",
        "RuntimeError: the toy is broken on purpose",
    ] in failed
    missing = found["Values that are missing (toy/mean)"]
    assert any(line[0] == "simulation" and line[2] == "6" for line in missing)
    assert ["samples", "4, 64", "samples n"] in found["Parameters of the stored cells (toy/mean)"]


def test_how_to_reproduce_it(folder, page):
    commands = [one["text"] for one in page.all("pre")]
    assert (
        "solvable run toy/mean --set samples=4,64 --set kind=plain,shifted,patchy,broken --replicates 12 "
        f"--out {folder}" in commands
    )


def test_the_data_of_the_graphs_is_the_dataset(folder, page):
    (block,) = [one for one in page.all("script") if one["attributes"].get("type") == "application/json"]
    graphs = json.loads(block["text"])
    places = [one for one in page.all("div") if one["attributes"].get("class") == "graph"]
    assert sorted(graphs) == sorted(one["attributes"]["id"] for one in places)
    data = lab.open(folder, Ceiling)
    (graph,) = [
        graphs[one["attributes"]["id"]]
        for one in places
        if "sample mean" in one["attributes"]["aria-label"] and "ceiling" in one["attributes"]["aria-label"]
    ]
    theory, points = graph["data"]
    stored = np.isin(theory["x"], data["samples"])
    assert np.array(theory["y"])[stored].tolist() == data["theory_mean"].values.tolist()
    assert points["y"] == pytest.approx(data["mean"].mean("replicate").values.tolist())


def test_no_text_becomes_part_of_the_page(text, page):
    assert len(page.all("script")) == 4
    for element in page.elements:
        assert (
            element["tag"] not in ("iframe", "object", "embed", "form", "b")
            or element["text"].isidentifier()
            or element["tag"] == "b"
        )
        for name, value in element["attributes"].items():
            assert not name.startswith("on"), (element["tag"], name)
            if name == "src":
                assert value.startswith("data:image/svg+xml;base64,")
            if name == "href":
                assert value.startswith(("#", "https://arxiv.org/abs/2509.25153")), value
    assert Hostile.name in [one["text"] for one in page.all("h2")]
    shown = page.all("main")[0]["text"]
    for words in (
        hostile.IMAGE,
        " ".join(hostile.MESSAGE.split()),
        "<svg onload=alert(7)>",
        "</text><script>alert(9)</script>",
    ):
        assert words in " ".join(shown.split()), words
    (block,) = [one for one in page.all("script") if one["attributes"].get("type") == "application/json"]
    assert not set("<>&\u2028\u2029") & set(block["text"])
    names = [trace["name"] for graph in json.loads(block["text"]).values() for trace in graph["data"]]
    assert any("&lt;img src=x" in name for name in names)
    assert not any("<" in name for name in names)


def test_the_policy_allows_the_scripts_of_the_page_and_nothing_else(page):
    (policy,) = [
        one["attributes"]["content"]
        for one in page.all("meta")
        if one["attributes"].get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in rules["script-src"]
    scripts = [one["text"] for one in page.all("script") if "type" not in one["attributes"]]
    (packed,) = [one for one in page.all("script") if one["attributes"].get("type") == "application/gzip"]
    scripts.append(gzip.decompress(base64.b64decode(packed["text"])).decode())
    assert scripts[-1].startswith("/**\n* plotly.js (cartesian - minified)")
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts}
    assert set(rules["script-src"].split()) == hashes


def test_it_can_be_read_by_keyboard_and_by_ear(page):
    assert page.all("html")[0]["attributes"]["lang"] == "en"
    levels = [int(one["tag"][1]) for one in page.elements if re.fullmatch("h[1-6]", one["tag"])]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [one["attributes"]["id"] for one in page.elements if "id" in one["attributes"]]
    assert len(set(ids)) == len(ids)
    for one in page.all("a"):
        assert not one["attributes"]["href"].startswith("#") or one["attributes"]["href"][1:] in ids
    assert page.all("a")[0]["attributes"]["class"] == "skip"
    for one in page.all("img"):
        assert len(one["attributes"]["alt"]) > 40
    for one in page.all("th"):
        assert one["attributes"]["scope"] in ("col", "row")
    assert len(page.all("caption")) == len(page.all("table"))
    for one in page.elements:
        if one["attributes"].get("class") == "scroll":
            assert one["attributes"]["tabindex"] == "0"
            assert one["attributes"]["role"] == "region"
            assert one["attributes"]["aria-label"]


def test_what_is_not_installed_is_said(folder, tmp_path, monkeypatch):
    hostile.install(monkeypatch, HOSTILE)
    report = document.write(folder, tmp_path / "part.html")
    assert report.unreadable == ["toy/ceiling", "toy/decay", "toy/law", "toy/mean"]
    text = report.path.read_text()
    assert f"toy/mean is stored in {folder}, but no installed package declares it; install that package" in text
    assert "4 experiments could not be read." in text


def test_what_is_extrapolated_over_sizes_has_its_figure_and_its_table(tmp_path, monkeypatch):
    hostile.install(monkeypatch, HERE)
    lab.run(Approach, replicates=6, out=tmp_path)
    rows = [row for row in lab.compare(tmp_path, Approach) if row.extrapolation is not None]
    page = Page(lab.report(tmp_path).read_text())
    assert "Agreement over sizes" in [one["text"] for one in page.all("h3")]
    (found,) = [
        lines for name, lines in page.tables().items() if name.startswith("Simulation minus theory, extrapolated")
    ]
    assert found[0][:3] == ["observable", "verdict", "z"]
    assert found[0][-4:] == ["intercept", "± 1 se", "slope", "misfit"]
    assert sorted(line[-4] for line in found[1:]) == sorted(number(row.comparison.difference) for row in rows)
    verdicts = sorted("identity" if row.comparison.identity else row.comparison.verdict for row in rows)
    assert sorted(line[1][2:] for line in found[1:]) == verdicts
    assert "identity" in verdicts
    graphs = [one["attributes"]["aria-label"] for one in page.all("div") if one["attributes"].get("class") == "graph"]
    assert any("simulation minus theory" in label and "∞" in label for label in graphs)


def test_nothing_stored(tmp_path):
    with pytest.raises(StoreError, match="holds no results"):
        lab.report(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="a folder cannot be made read-only this way")
def test_a_page_that_cannot_be_written_is_one_sentence(folder, tmp_path, installed):
    with pytest.raises(WriteError, match=r"x.html cannot be written \(.*\); --out names another file"):
        lab.report(folder, tmp_path / f"{'x' * 300}.html")


def test_many_series_become_several_figures(tmp_path, monkeypatch):
    hostile.install(monkeypatch, HERE)
    lab.run(Ceiling, {"samples": [4, 8], "location": list(range(26))}, replicates=2, out=tmp_path)
    monkeypatch.setattr(figures, "_MOST_FIGURES", 2)
    page = Page(lab.report(tmp_path).read_text())
    assert [one["text"] for one in page.all("h4")] == ["location = 0 to 8", "location = 9 to 16"]
    assert len(page.all("img")) == 2
    assert any("1 more of these figures are left out" in one["text"] for one in page.all("p"))


def test_splits_keep_the_abscissa_and_take_the_fewest_figures(tmp_path):
    grid = {"samples": [4, 8], "location": list(range(7)), "kind": ["plain", "shifted"]}
    data = lab.run(Ceiling, grid, replicates=2, out=tmp_path)
    count, made = default.sheets(Ceiling, data)
    assert count == 2
    parts = list(made)
    assert [words for words, _ in parts] == ["plain", "shifted"]
    assert all(sheet.plots[0].x.label == "samples n" for _, sheet in parts)


def test_a_long_table_is_cut_and_says_so(tmp_path, monkeypatch):
    hostile.install(monkeypatch, HERE)
    monkeypatch.setattr(tables, "MOST_ROWS", 14)
    lab.run(SampleMean, {"samples": [4, 8, 16]}, replicates=3, out=tmp_path)
    page = Page(lab.report(tmp_path).read_text())
    total = len(stored_rows(tmp_path, SampleMean))
    assert total > 14
    caption = f"All comparisons, the worst first (the first 14 of {total}) (toy/mean)"
    assert len(page.tables()[caption]) == 1 + 14
    assert any("the Parquet files have them all" in one["text"] for one in page.all("p"))


def test_a_picture_that_fails_does_not_take_the_tables_with_it(tmp_path, monkeypatch):
    hostile.install(monkeypatch, HERE)
    lab.run(Ceiling, {"samples": [4, 8]}, replicates=2, out=tmp_path)

    def draw(cls, panel, axes, data):
        raise KeyError("<b>no such thing</b>")

    monkeypatch.setattr(Ceiling, "draw", classmethod(draw))
    page = Page(lab.report(tmp_path).read_text())
    assert any("The figure could not be drawn: KeyError" in one["text"] for one in page.all("p"))
    assert "Theory against simulation, the worst first (toy/ceiling)" in page.tables()


def test_an_own_picture_is_shown_as_it_is(tmp_path, monkeypatch):
    hostile.install(monkeypatch, HERE)
    lab.run(Ceiling, {"samples": [4, 8]}, replicates=2, out=tmp_path)

    def draw(cls, panel, axes, data):
        axes.bar([0, 1], [1, 2])
        return True

    monkeypatch.setattr(Ceiling, "draw", classmethod(draw))
    page = Page(lab.report(tmp_path).read_text())
    assert any(one["attributes"].get("class") == "figure still" for one in page.all("div"))
    assert any("Shown as a picture, as the experiment draws it." in one["text"] for one in page.all("p"))
    assert not [one for one in page.all("div") if one["attributes"].get("class") == "graph"]


def test_the_verb(folder, tmp_path, monkeypatch, capsys, installed):
    code, said = called(monkeypatch, capsys, folder, "--out", tmp_path / "page.html", "--json")
    found = json.loads(said.out)
    assert code == 1
    assert found["report"] == str(tmp_path / "page.html")
    assert found["failed_cells"] == 3
    assert (tmp_path / "page.html").stat().st_size < 2e6
    lab.run(Ceiling, {"samples": [4, 8]}, replicates=3, out=tmp_path / "good")
    code, said = called(monkeypatch, capsys, tmp_path / "good")
    assert code == 0
    assert "1 experiment: 2 of 2 comparisons agree." in said.out
    assert "report.html" in said.out


def test_figures_come_from_the_dataset_as_it_is(folder):
    """No value of a hostile text is read as anything but a text."""
    made = dataset.to_dataset(*dataset.read_results(folder, Hostile))
    count, parts = default.sheets(Hostile, made)
    assert count == 1
    block = figures.figure_block(next(parts)[1], figures.Graphs(), "x")
    assert hostile.IMAGE not in block
