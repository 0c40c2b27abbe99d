"""The report over what cannot all be read: damage, experiments of nowhere, sweeps, and how often a file is read."""

import json
import os

import pytest

from solvable import lab
from solvable.lab.reporting import document, tables
from solvable.lab.reporting.section import Section
from solvable.lab.store import dataset, index
from solvable.lab.store.atomic import StoreError
from tests.lab import hostile, toy
from tests.lab.pages import HERE, HOSTILE, Page, called
from tests.lab.toy import Ceiling, SampleMean


@pytest.fixture
def installed(monkeypatch):
    hostile.install(monkeypatch, HERE, HOSTILE)


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    hostile.install(monkeypatch, HERE)
    lab.run(Ceiling, {"samples": [4, 8]}, replicates=2, out=tmp_path)
    next(tmp_path.glob("*/*-0-2.parquet")).write_bytes(b"PAR1 no more")
    with pytest.warns(UserWarning, match="is damaged"):
        written = document.write(tmp_path)
    assert written.summary == "1 experiment: 1 of 1 comparison agrees. 1 file is damaged."
    assert written.damaged == 1
    (warnings,) = [one for one in Page(written.path.read_text()).all("div") if one["attributes"].get("role") == "note"]
    assert warnings["text"].startswith("Warning: ")
    assert "is damaged" in warnings["text"]


def test_damage_and_what_is_not_installed_are_exit_code_four(tmp_path, monkeypatch, capsys):
    hostile.install(monkeypatch, HERE)
    lab.run(Ceiling, {"samples": [4, 8]}, replicates=2, out=tmp_path)
    first, second = tmp_path.glob("*/*-0-2.parquet")
    first.write_bytes(b"PAR1 no more")
    (first.parent / "other.parquet").write_bytes(b"not ours")
    code, said = called(monkeypatch, capsys, tmp_path, "--json")
    assert (code, json.loads(said.out)["damaged"]) == (4, 1)
    good = (tmp_path / "report.html").read_bytes()
    second.write_bytes(b"PAR1 no more")
    for path in tmp_path.glob("*/*-ceiling.parquet"):
        path.write_bytes(b"")
    (tmp_path / "toy_ceiling" / "_index.arrow").unlink(missing_ok=True)
    code, said = called(monkeypatch, capsys, tmp_path)
    assert code == 4
    assert f"error: {tmp_path} holds nothing that can be read: 4 files damaged" in said.err
    assert (tmp_path / "report.html").read_bytes() == good


def test_what_is_nowhere_declared_leaves_the_report_alone_and_a_class_can_be_given(tmp_path, monkeypatch, capsys):
    hostile.install(monkeypatch)
    lab.run(Ceiling, {"samples": [4, 8]}, replicates=2, out=tmp_path)
    path = lab.report(tmp_path, experiments=[Ceiling])
    good = path.read_bytes()
    assert b"2 of 2 comparisons agree." in good
    code, said = called(monkeypatch, capsys, tmp_path)
    assert code == 4
    assert said.err == (
        f"error: toy/ceiling is stored in {tmp_path}, but no installed package declares it; install that package\n"
    )
    assert path.read_bytes() == good
    lab.run(SampleMean, {"samples": 4}, replicates=2, out=tmp_path)
    hostile.install(monkeypatch, HOSTILE)
    with pytest.raises(StoreError, match=r"toy/ceiling is stored .*; 1 more cannot be read either"):
        document.read(tmp_path)
    assert document.write(tmp_path, experiments=[SampleMean]).unreadable == ["toy/ceiling"]
    assert called(monkeypatch, capsys, tmp_path)[0] == 4


def test_only_what_is_equal_is_said_to_be_equal(tmp_path, monkeypatch):
    hostile.install(monkeypatch, HERE)
    lab.run(SampleMean, {"samples": [4, 8]}, replicates=2, out=tmp_path)
    monkeypatch.setattr(SampleMean, "observables", SampleMean.observables[2:3])
    monkeypatch.setattr(SampleMean, "panels", ())
    report = document.write(tmp_path)
    assert (report.comparisons, report.identities) == (0, 2)
    assert '<p class="summary">1 experiment: 2 identities are not counted.</p>' in report.path.read_text()


def test_sweeps_that_fill_little_of_their_grid_are_drawn_apart(tmp_path, monkeypatch):
    hostile.install(monkeypatch, HERE)
    monkeypatch.setattr(dataset, "_SPARSE", 2)
    monkeypatch.setattr(dataset, "_MOST_NUMBERS", 40)
    for grid in ({"samples": [4, 8, 16, 32, 64]}, {"samples": 4, "location": [0.25, 1, 2, 3, 4]}):
        lab.run(Ceiling, grid, replicates=2, out=tmp_path)
    sentence = r"arrays of 5 x 5 x 2 numbers for 9 cells; read the Parquet files, or keep sweeps"
    with pytest.raises(ValueError, match=sentence):
        lab.open(tmp_path, Ceiling)
    page = Page(lab.report(tmp_path).read_text())
    headings = [one["text"] for one in page.all("h4")]
    assert headings == ["samples = 4 to 64, location = 0.25", "samples = 4, location = 1 to 4"]
    assert not any("could not be drawn" in one["text"] for one in page.all("p"))


def test_each_file_is_read_once(tmp_path, monkeypatch):
    hostile.install(monkeypatch, HERE)
    for experiment in (Ceiling, SampleMean, toy.TheoryOnly):
        lab.run(experiment, {"samples": 4}, replicates=2 if experiment.replicates else None, out=tmp_path)
    for path in tmp_path.glob("*/_index.arrow"):
        path.unlink()
    found = []
    read = index.read_data
    monkeypatch.setattr(index, "read_data", lambda path: found.append(path) or read(path))
    document.read(tmp_path)
    assert sorted(found) == sorted(tmp_path.glob("*/[!_]*.parquet"))


def test_where_a_failed_cell_lies_is_found_once(tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match="cells of"):
        lab.run(SampleMean, {"samples": [4, 8, 16], "kind": "broken"}, replicates=2, out=tmp_path)
    count = []
    section = Section("toy/mean", *dataset.read_results(tmp_path, SampleMean))
    counting = tables.varying
    monkeypatch.setattr(tables, "varying", lambda many: count.append(1) or counting(many))
    assert "samples = 16" in "".join(tables.failed(section))
    assert len(count) == 1


def test_symbols_stand_beside_the_names_of_parameters(tmp_path, monkeypatch):
    hostile.install(monkeypatch, HERE)
    lab.run(toy.Decay, {"rate": [0.1, 0.3]}, replicates=3, out=tmp_path)
    found = Page(lab.report(tmp_path).read_text()).tables()["Parameters of the stored cells (toy/decay)"]
    assert found == [["parameter", "symbol", "values", "meaning"], ["rate", "k", "0.1, 0.3", "decay rate"]]


@pytest.mark.parametrize(
    ("place", "code", "words"),
    [
        ("empty", 4, "holds no results"),
        ("good/file/x", 2, "lies in no folder that exists"),
        ("good/new/x", 2, "lies in no folder that exists"),
        ("good", 2, "is a folder; accepted: the name of a file"),
        ("", 2, "out='' is empty; accepted: the name of a file"),
        (os.devnull, 2, "is a device; accepted: the name of a file"),
        ("good/file", 2, "is a file; accepted for DIR: a folder of stored results"),
    ],
)
def test_the_verb_refuses_in_one_sentence(tmp_path, monkeypatch, capsys, installed, place, code, words):
    lab.run(Ceiling, {"samples": [4, 8]}, replicates=2, out=tmp_path / "good")
    (tmp_path / "good" / "file").write_text("in the way")
    (tmp_path / "empty").mkdir()
    options = (tmp_path / "good", "--out", place and tmp_path / place)
    if place in ("empty", "good/file"):
        options = (tmp_path / place,)
    found, said = called(monkeypatch, capsys, *options)
    assert found == code
    assert said.err.startswith("error: ")
    assert words in said.err
    assert len(said.err.strip().splitlines()) == 1
