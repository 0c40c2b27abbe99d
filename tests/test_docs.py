"""What the documentation shows works as it stands there."""

import os
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from solvable import lab
from solvable.attention import sparse_tokens as st
from solvable.lab.declare import registry
from tests.lab import sample

DOCS = Path(__file__).parents[1] / "docs"


def code_of(page: str) -> list[str]:
    """The Python blocks of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_an_experiment_of_your_own(tmp_path, monkeypatch):
    (code,) = [block for block in code_of("sweeps.md") if "class LargestEigenvalue" in block]
    (tmp_path / "wishart_of_the_docs.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    (declared,) = registry.experiments_in("wishart_of_the_docs")
    data = lab.run(declared, {"dim": [40, 60, 80], "ratio": [1.0, 4.0]}, replicates=16, jobs=2, out=tmp_path / "out")
    assert data.sizes == {"ratio": 2, "dim": 3, "replicate": 16}
    np.testing.assert_allclose(data["theory_largest"].isel(dim=0), [4.0, 2.25])
    rows = lab.compare(tmp_path / "out", declared)
    assert len(rows) == 6 + 2
    assert all(row.comparison.agrees for row in rows)
    sys.modules.pop("wishart_of_the_docs")


def test_token_selection_as_its_page_shows_it(capsys):
    names = {}
    for block in code_of("systems/token_selection.md"):
        exec(block, names)
    assert names["ts"].directional_divergence(names["solution"].weights, names["run"].weights, 3.0) < 1e-4
    assert "True" in capsys.readouterr().out
    assert np.nanmin(names["cosines"]) > 0.98


@pytest.mark.slow
def test_sparse_tokens_as_their_page_shows_them():
    task = st.SparseTokens(length=6, strength=4.0)
    batch = task.sample(jax.random.key(0), 300, 20)
    names = {"tokens": batch.tokens, "labels": batch.labels}
    for block in code_of("systems/sparse_tokens.md"):
        exec(block, names)
    assert np.mean(names["classifier"].classify(batch.tokens) == batch.labels) > 0.8
    assert names["error"](2e-2) > 0.0


def test_single_location_as_its_page_shows_it(capsys):
    names = {}
    for block in code_of("systems/single_location.md"):
        exec(block, names)
    assert capsys.readouterr().out.startswith("0.113498")
    assert abs(names["runs"].aligned.mean() - 0.5) < 0.2
    assert np.max(abs(names["predicted"].final_excess_risk - names["runs"].final_excess_risk)) == 0.0


def test_gossip_as_its_page_shows_it():
    pytest.importorskip("networkx", reason="the extra `graphs` is not installed")
    names = {}
    (block,) = code_of("systems/gossip.md")
    exec(block, names)
    assert np.all(names["floor"].squared_error <= names["exact"].squared_error * (1.0 + 1e-12))
    means = names["runs"].squared_error.mean(axis=0)
    np.testing.assert_allclose(means[:3], names["exact"].squared_error[:3], rtol=0.3)
    assert np.abs(names["outcome"].profile - names["limit"].profile).max() < 0.01


def test_averaging_without_a_centre_as_its_page_shows_it(tmp_path, monkeypatch, capsys):
    pytest.importorskip("networkx", reason="the extra `graphs` is not installed")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in code_of("federated.md"):
        if "distributed" not in block:
            exec(block, names)
    page = (DOCS / "federated.md").read_text(encoding="utf-8")
    for line in names["advice"].summary().splitlines()[1:]:
        assert " ".join(line.split()[:3]) in " ".join(page.split())
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    (block,) = [block for block in code_of("federated.md") if "distributed" in block]
    exec(block, names)
    np.testing.assert_allclose(names["spread_out"], names["in_memory"].values, rtol=0.0, atol=1e-10)


def test_continuized_acceleration_as_its_page_shows_it(capsys):
    names = {}
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        for block in code_of("systems/continuized.md"):
            exec(block, names)
    assert names["runs"].suboptimality.mean() < names["above"].suboptimality.mean()
    lines = capsys.readouterr().out.splitlines()
    np.testing.assert_allclose(float(lines[-1]), 1.9e-4, atol=1e-4)
    found = [float(line.rpartition("[")[2].rstrip("]")) for line in lines if re.search(r"\) \[[0-9.]+\]$", line)]
    np.testing.assert_allclose(found, [4.17, 0.94, 0.50, 0.44], atol=0.01)


def test_single_index_targets_as_their_page_shows_them(capsys):
    names = {}
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        for block in code_of("systems/single_index.md"):
            exec(block, names)
    np.testing.assert_allclose(names["limit"].learning_times[:2] / [4.3e-6, 0.0118], 1.0, rtol=0.1)
    lines = capsys.readouterr().out.splitlines()
    np.testing.assert_allclose(float(lines[-2]), 0.0137077, atol=1e-6)
    assert float(lines[-1]) < 0.04


def test_two_time_scales_as_their_page_shows_them(capsys):
    names = {}
    for block in code_of("systems/two_timescale.md"):
        if "torch" not in block:
            exec(block, names)
    assert names["path"].final_error == 0.0
    np.testing.assert_allclose(names["runs"].final_error, names["flow"].final_error, atol=0.02)
    assert hasattr(names["optimiser"], "update")


def test_mirror_descent_as_its_page_shows_it():
    names = {}
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        for block in code_of("mirror_descent.md"):
            if "torch" not in block:
                exec(block, names)
    assert names["loss"] < 0.3
    assert float(abs(names["weights"]["w"]).max()) == 1.0
    assert hasattr(names["optimiser"], "update")


def test_the_last_layer_in_closed_form_as_its_page_shows_it():
    names = {}
    full, batches = code_of("closed_form_head.md")
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        exec(full, names)
        assert names["loss"] < 0.05  # that of the weights 0 is 0.22
        exec(batches, names)
        assert names["batch_loss"](names["hidden"], names["weights"], np.arange(200)) < 0.05


def test_mirror_descent_in_torch_as_its_page_shows_it():
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    torch.manual_seed(0)
    (block,) = [block for block in code_of("mirror_descent.md") if "torch" in block]
    names = {}
    exec(block, names)
    loss = torch.nn.functional.softplus(-names["labels"] * names["model"](names["inputs"])).mean()
    assert loss < 0.3


def test_a_system_of_your_own(tmp_path):
    text = (DOCS / "own_system.md").read_text(encoding="utf-8")
    code = "\n\n".join(code_of("own_system.md"))
    assert len([line for line in code.splitlines() if line.strip()]) < 90
    assert set(re.findall(r"solvable\.[a-z.]+", code)) == {"solvable.lab.declare"}
    (tmp_path / "my_ridge.py").write_text(code)
    (project,) = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "pyproject.toml").write_text(project)
    sample.install(tmp_path / "site", tmp_path)
    (commands,) = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.split()[1:] for line in commands.splitlines()]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    answers = sample.run_each(environment, [*lines, ["show", "ridge/risk"]], cwd=tmp_path)
    (ran, table, _), (reported, _, _), (planned, plan, _), (shown, about, _) = answers
    assert (ran, reported, planned, shown) == (0, 0, 0, 0)
    assert "8 of 8 comparisons agree" in " ".join(table.split())
    assert (tmp_path / "ridge" / "report.html").is_file()
    assert "asymptotic" in about
    (ratio,) = map(float, re.findall(r"ratio ([0-9.]+);", plan))
    exec(code, names := {"__name__": "my_ridge"})
    predicted = names["predict"](names["Gaussian"](ratio=ratio), names["Ridge"]())
    assert abs(predicted.risk - 0.1) < 1e-3
    assert names["simulate"](names["Gaussian"](20), names["Ridge"](), replicates=4).risk.shape == (4,)
