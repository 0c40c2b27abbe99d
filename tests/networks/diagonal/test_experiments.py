"""Every declared figure at a small size: it runs, theory and simulation agree, and its panels show something."""

from __future__ import annotations

import subprocess
import sys

import jax
import numpy as np
import pytest

from solvable import lab
from solvable.lab.declare import registry
from solvable.lab.figures import default
from solvable.networks import diagonal as dn
from solvable.networks.diagonal import experiments

SMALL = {
    "diagonal/lasso-path": ({"log_scale": [-11.5]}, 1),
    "diagonal/gap": ({"log_scale": [-46.0, -92.0]}, 10),
    "diagonal/monotone-share": ({"samples": [1, 3, 20], "dim": [2, 4]}, 32),
    "diagonal/incremental": ({"log_scale": [-11.5]}, 2),
    "diagonal/weight-decay": ({"weight_decay": [0.0, 0.2], "log_scale": [-11.5]}, 3),
    "diagonal/descent": ({"learning_rate": [0.005, 0.02]}, 4),
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
    assert rows
    assert not wrong
    plots = default.sheet(registry.find(name), dataset).plots
    assert plots
    assert all(plot.marks and not plot.x.hidden for plot in plots)  # none says why it is empty


def test_declarations_are_light() -> None:
    """Neither JAX nor SciPy is imported to list and describe them."""
    code = "import sys, solvable.networks.diagonal.experiments; print({'jax', 'scipy', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_sufficient_condition() -> None:
    """Diagonal losses meet it, strong correlation does not; and no draw that meets it has a nonmonotone path."""
    assert dn.guarantees_monotone_path(dn.Quadratic(np.eye(3), np.ones(3)))
    strong = np.array([[1.0, 0.9, 0.7], [0.9, 1.0, 0.2], [0.7, 0.2, 1.0]])
    assert not dn.guarantees_monotone_path(dn.Quadratic(strong @ strong.T, np.ones(3)))
    drawn = [dn.RandomRegression(8, 3).sample(jax.random.key(seed)) for seed in range(60)]
    must = [dn.guarantees_monotone_path(loss) for loss in drawn]
    assert 10 < sum(must) < 50
    assert all(dn.lasso_path(loss).monotone for loss, known in zip(drawn, must, strict=True) if known)
    with pytest.raises(ValueError, match="problem has 13 coordinates"):
        dn.guarantees_monotone_path(dn.Quadratic(np.eye(13), np.ones(13)))
