"""A third party's package, installed with pip from its source: it lists, runs, stores and reports like ours."""

import json

import pytest

from tests.lab import sample


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return sample.install(tmp_path_factory.mktemp("site"))


def test_it_is_listed_and_described(installed):
    (code, out, _), shown = sample.run_each(installed, [["list", "--json"], ["show", "coins/heads"]])
    assert code == 0
    entry = next(one for one in json.loads(out)["experiments"] if one["name"] == "coins/heads")
    assert entry["source"].startswith("J. Bernoulli")
    assert entry["overlays"] == [{"label": "theory", "given": False, "claims": ["exact"]}]
    assert shown[0] == 0
    assert "probability of heads" in shown[1]


def test_it_runs_from_a_file_extends_and_reports(installed, tmp_path):
    (tmp_path / "grid.toml").write_text("bias = [0.25, 0.5]\nthrows = [16, 64]\n")
    grid = ["--grid", tmp_path / "grid.toml", "--set", "throws=32,64"]
    command = ["run", "coins/heads", *grid, "--out", tmp_path / "out", "--json"]
    code, out, error = sample.run(installed, *command, "--replicates", "32")
    assert code == 0, error
    first = json.loads(out)
    assert (first["cells"], first["computed"], first["reused"]) == (4, 20, 0)
    assert {row["parameters"]["throws"] for row in first["comparisons"]} == {32, 64}
    code, out, _ = sample.run(installed, *command, "--replicates", "64", "--jobs", "2")
    assert code == 0
    assert (json.loads(out)["computed"], json.loads(out)["reused"]) == (16, 20)
    code, out, error = sample.run(installed, "report", tmp_path / "out", "--json")
    assert code == 0, error
    assert json.loads(out)["comparisons"] == 8
    page = (tmp_path / "out" / "report.html").read_text()
    assert "coins/heads" in page
    assert "solvable run coins/heads --set bias=0.25,0.5 --set throws=32,64 --replicates 64" in page
    code, out, _ = sample.run(installed, "doctor", tmp_path / "out", "--json")
    assert code == 0
    found = json.loads(out)["store"]
    assert found.pop("files") == 36
    assert found == {"damaged": [], "foreign": [], "left_over": [], "set_aside": [], "failed": []}
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    kept = [name for name in written if name.startswith("coins_heads-theory-bias-") and name.endswith(".npz")]
    assert kept  # theory between the points of the figures
    assert {*written} - {*kept} == {"coins_heads", "coins_heads.png", "coins_heads.pdf", "report.html"}
    assert {path.name for path in tmp_path.iterdir()} == {"grid.toml", "out"}


def test_bad_input_is_one_sentence(installed, tmp_path):
    cases = [
        (["--set", "bias=2"], "error: bias=2 is out of range"),
        (["--grid", "nowhere.toml"], "error: grid='nowhere.toml' cannot be opened (No such file or directory)"),
        (["--engine", "ray"], "error: engine='ray' is unknown; accepted: 'in-process', 'loky', 'dask', 'submitit'"),
        (["--jobs", "0"], "error: jobs=0 is out of range"),
        (["--address", "tcp://127.0.0.1:1"], "error: address='tcp://127.0.0.1:1' does not answer"),
    ]
    lines = [["run", "coins/heads", *options, "--out", tmp_path / "out"] for options, _ in cases]
    for (code, out, error), (_, sentence) in zip(sample.run_each(installed, lines), cases, strict=True):
        assert (code, out) == (2, "")
        assert error.startswith(sentence)
        assert error.count("\n") == 1
    assert not list(tmp_path.rglob("*.parquet"))
