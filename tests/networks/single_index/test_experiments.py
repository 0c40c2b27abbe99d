"""Every declared figure at a small size: it runs, theory and simulation agree, and its panels show something."""

from __future__ import annotations

import subprocess
import sys

import pytest

from solvable import lab
from solvable.lab.declare import registry
from solvable.lab.figures import default
from solvable.networks.single_index import experiments

SMALL = {
    "single-index/plateaux": ({"rate_ratio": [1e-4, 1e-6], "neurons": 20}, 3),
    "single-index/time-scales": ({"ratios": 3, "neurons": 20}, 3),
    "single-index/skipped": ({"ratios": 2, "neurons": 12}, 3),
    "single-index/descent": ({"dim": [100, 300], "speed": 0.05}, 3),
    "single-index/width": ({"neurons": [8, 16, 32]}, 8),
    "single-index/relu": ({"target": ["tanh"], "activation": ["relu", "erf"], "neurons": 12}, 3),
    "single-index/index-two": ({"neurons": [3, 5], "dims": 2}, 3),
}


def test_every_figure_is_here() -> None:
    declared = [one for one in vars(experiments).values() if isinstance(one, type) and hasattr(one, "name")]
    names = {one.name for one in declared if one.__module__ == experiments.__name__ and hasattr(one, "source")}
    assert names == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_theory_and_simulation_agree(name, tmp_path) -> None:
    grid, replicates = SMALL[name]
    dataset = lab.run(name, grid, replicates=replicates, out=tmp_path)
    rows = lab.compare(tmp_path, name)
    wrong = [(row.observable, row.point, row.comparison) for row in rows if row.comparison.agrees is not True]
    assert bool(rows) == any(one.compared for one in registry.find(name).overlays)
    assert not wrong
    plots = default.sheet(registry.find(name), dataset).plots
    assert plots
    assert all(plot.marks and not plot.x.hidden for plot in plots)  # none says why it is empty


def test_declarations_are_light() -> None:
    """Neither JAX nor SciPy is imported to list and describe them."""
    code = (
        "import sys, solvable.networks.single_index.experiments; print({'jax', 'scipy', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
