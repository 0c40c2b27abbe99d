"""Every declared figure at a small size: it runs, theory and simulation agree, and its panels show something."""

import jax
import numpy as np
import pytest

from solvable import lab
from solvable.attention.self_attention import experiments
from solvable.lab.declare import registry
from solvable.lab.figures import default

# sizes and replicates are such that experiments share their compiled draws
SMALL = {
    "self-attention/convergence": ({"steps": [100], "preconditioner": ["full"], "condition": [1.0, 100.0]}, 4),
    "self-attention/finite-data": (
        {"samples": [200], "steps": [20], "init": ["random"], "preconditioner": ["full"]},
        6,
    ),
    "self-attention/floor": ({"smallest": [120], "doublings": [1], "steps": [5]}, 24),
    "self-attention/scale": ({"dim": [10], "samples": [1000]}, 32),
    "self-attention/limit": ({"samples": [100]}, 24),
}


def test_every_figure_is_here():
    declared = [one for one in vars(experiments).values() if isinstance(one, type) and hasattr(one, "name")]
    names = {one.name for one in declared if one.__module__ == experiments.__name__ and hasattr(one, "source")}
    assert names == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_theory_and_simulation_agree(name, tmp_path):
    grid, replicates = SMALL[name]
    dataset = lab.run(name, grid, replicates=replicates, out=tmp_path)
    rows = lab.compare(tmp_path, name)
    wrong = [(row.observable, row.point, row.comparison) for row in rows if row.comparison.agrees is not True]
    assert rows
    assert not wrong
    plots = default.sheet(registry.find(name), dataset).plots
    assert plots
    assert all(plot.marks and not plot.x.hidden for plot in plots)  # none says why it is empty


@pytest.mark.slow
def test_the_error_floor_falls_like_one_over_n(tmp_path):
    """Slope -1 +- .25 of the error on fresh contexts between 250 and 2000 tokens, and of the spectral start's."""
    dataset = lab.run("self-attention/floor", {}, replicates=32, out=tmp_path)
    assert abs(float(dataset["fresh_slope"].mean()) + 1.0) < 0.25
    assert abs(float(dataset["start_slope"].mean()) + 1.0) < 0.25
    assert np.all([row.comparison.agrees for row in lab.compare(tmp_path, "self-attention/floor")])


def test_too_few_scales_or_numbers_of_tokens_are_refused():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="samples=30 leaves 1 scales"):
        experiments.Scale(samples=30).simulate(key, 1)
    with pytest.raises(ValueError, match="doublings=0 has no slope"):
        experiments.Floor(doublings=0).simulate(key, 1)
