"""Every declared figure at a small size: it runs, theory and simulation agree, and its panels show something."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from solvable import lab
from solvable.iterations.continuized import experiments
from solvable.lab.declare import registry
from solvable.lab.figures import default

SMALL = {
    "continuized/quadratic": ({"dim": [5], "events": [30]}, 40),
    "continuized/time": ({"dim": [5], "events": [10], "steps": ["strongly convex"]}, 20),
    "continuized/noise": ({"dim": [5], "events": [30], "gradient_noise": [0.1]}, 40),
    "continuized/rows": ({"data": ["gaussian"], "dim": [4], "events": [30], "method": ["SGD", "tight", "strong"]}, 40),
    "continuized/kaczmarz": ({"equations": [5], "dim": [3], "events": [30], "method": ["SGD", "stated"]}, 40),
    "continuized/bound": ({"dim": [4], "events": [30], "steps": ["strongly convex"]}, 20),
}


def test_every_figure_is_here() -> None:
    names = {one.name for one in registry.experiments_in(experiments.__name__)}
    assert names == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_theory_and_simulation_agree(name, tmp_path) -> None:
    grid, replicates = SMALL[name]
    dataset = lab.run(name, grid, replicates=replicates, out=tmp_path)
    rows = lab.compare(tmp_path, name)
    wrong = [(row.observable, row.point, row.comparison) for row in rows if row.comparison.agrees is not True]
    assert bool(rows) == (name != "continuized/time")  # whose overlay is drawn and not tested
    assert not wrong
    plots = default.sheet(registry.find(name), dataset).plots
    assert any(plot.marks for plot in plots)


def test_a_table_of_ones_own(tmp_path, recwarn, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # runs are drawn by the name of the file
    rng = np.random.default_rng(0)
    np.savetxt("mine.csv", rng.normal(size=(12, 3)), delimiter=",")
    grid = {"data": ["mine.csv"], "method": ["stated", "average"], "events": [10]}
    lab.run("continuized/rows", grid, replicates=20, out=tmp_path / "out")
    rows = lab.compare(tmp_path / "out", "continuized/rows")
    assert rows
    assert all(row.comparison.agrees for row in rows)
    assert not recwarn.list


def test_what_rounding_leaves_of_a_solved_system_agrees(tmp_path, monkeypatch) -> None:
    """One row is solved by one step: runs end at the squares of roundings, moments at 0."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "row.csv").write_text("1,2,3\n", encoding="utf-8")
    grid = {"data": ["row.csv"], "method": ["SGD", "strong"], "events": [20]}
    lab.run("continuized/rows", grid, replicates=20, out=tmp_path / "out")
    rows = lab.compare(tmp_path / "out", "continuized/rows")
    assert rows
    assert not [(row.point, row.comparison) for row in rows if row.comparison.agrees is False]
    with pytest.raises(ValueError, match="events=0 is out of range"):
        lab.run("continuized/noise", {"events": [0]}, out=tmp_path)


def test_tables_with_titles_and_other_marks(tmp_path) -> None:
    path, expected = tmp_path / "mine.csv", [[1.0, -2.5, 3.0], [4.0, 5.0, 6e-1]]
    for text in ("a,b,target\n1,-2.5,3\n4,5,6e-1\n", "\ufeff1;-2.5;3\n\n4;5;6e-1\n", "1\t-2.5\t3\n4\t5\t6e-1"):
        path.write_text(text, encoding="utf-8")
        np.testing.assert_array_equal(experiments.table(str(path)), expected)
    for text, message in (
        ("", "holds no numbers"),
        ("a,b\n", "holds no numbers"),
        ("1\n2\n", "line 1 is short, long or not finite"),
        ("1,2\n3,4,5\n", "line 2 is short, long or not finite"),
        ("1,2\n3,nan\n", "line 2 is short, long or not finite"),
        ("a,b\n1,2\n3,\n", "line 3 holds what is no number"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=f"mine.csv'.*{message}; accepted"):
            experiments.table(str(path))
    with pytest.raises(ValueError, match=r"nowhere.csv' cannot be read \(FileNotFoundError\); accepted"):
        experiments.table("nowhere.csv")


def test_declarations_are_light() -> None:
    """Neither JAX nor SciPy is imported to list and describe them."""
    code = f"import sys, {experiments.__name__}; print({{'jax', 'scipy', 'sklearn'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
