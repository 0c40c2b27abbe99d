"""Every declared figure at a small size: it runs, theory and simulation agree, and its panels show something."""

from __future__ import annotations

import numpy as np
import pytest

from solvable import lab
from solvable.attention import single_location as sl
from solvable.attention.single_location import experiments
from solvable.attention.single_location.probe import accuracy
from solvable.lab.declare import registry
from solvable.lab.figures import default
from solvable.lab.figures.plot import Mark

SMALL = {
    "single-location/manifold": ({"dim": [60], "steps": [2000]}, 4),
    "single-location/sphere": ({"dim": [60], "steps": [2000]}, 4),
    "single-location/schedule": ({"dim": [60], "steps": [2000]}, 4),
    "single-location/sgd": ({"dim": [20], "steps": [500]}, 4),
    "single-location/floor": ({"dim": [10, 40], "samples": [2000]}, 8),
    "single-location/basins": ({"dim": [60], "steps": [2000], "inverse_temperature": [0.1, 0.2]}, 4),
    "single-location/probe": ({"dim": [10], "samples": [750], "steps": [20], "inverse_temperature": [0.5]}, 4),
}
HEAVY = ("manifold", "basins", "probe", "sgd")  # what they compile; the sphere has the same samplers


def test_every_figure_is_here():
    declared = [one for one in vars(experiments).values() if isinstance(one, type) and hasattr(one, "name")]
    names = {one.name for one in declared if one.__module__ == experiments.__name__ and hasattr(one, "source")}
    assert names == set(SMALL)


@pytest.mark.parametrize("name", [pytest.param(one, marks=[pytest.mark.slow] * one.endswith(HEAVY)) for one in SMALL])
def test_theory_and_simulation_agree(name, tmp_path):
    grid, replicates = SMALL[name]
    dataset = lab.run(name, grid, replicates=replicates, out=tmp_path)
    rows = lab.compare(tmp_path, name)
    wrong = [(row.observable, row.point, row.comparison) for row in rows if row.comparison.agrees is not True]
    assert rows or name == "single-location/sgd"  # whose theory is a heuristic that is drawn, not compared
    assert not wrong
    plots = default.sheet(registry.find(name), dataset).plots
    assert plots
    assert all(plot.marks and not plot.x.hidden for plot in plots)  # none says why it is empty


@pytest.mark.parametrize(
    ("lam", "length", "kappa", "noise"),
    [(0.3, 10, 0.8, 0.0), (1.0, 4, 0.9, 0.0), (0.2, 6, 0.0, 0.5), (0.5, 5, 1.0, 2.0)],
)
def test_the_accuracy_of_a_probe_is_that_of_sampled_heads(lam, length, kappa, noise):
    from scipy.special import erf

    task = sl.SingleLocation(length, 40, label_noise=noise)
    generator = np.random.default_rng(1)
    a, b = generator.standard_normal((2, 400_000, length))
    a[:, 0] = task.signal * kappa + task.informative_scale * a[:, 0]
    b[:, 0] *= task.informative_scale
    labels = b[:, 0] + noise * generator.standard_normal(400_000)
    right = np.mean((erf(lam * a) * b).sum(1) * labels > 0.0)
    assert abs(right - accuracy(task, lam, kappa)) < 4.0 * 0.5 / np.sqrt(400_000)


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("single-location/floor", {"dim": [5], "samples": [50]}),
        ("single-location/floor", {"dim": [5, 10], "length": [5, 10], "samples": [50]}),
    ],
)
def test_a_grid_of_another_shape_still_gives_a_figure(name, grid, tmp_path):
    dataset = lab.run(name, grid, replicates=2, out=tmp_path)
    (plot,) = default.sheet(registry.find(name), dataset).plots
    runs = [mark for mark in plot.marks if isinstance(mark, Mark) and mark.of == "simulation"]
    names = ("linear", "attention", "linear_attention", "bayes")
    expected = [dataset[one].mean("replicate") for one in names if one in dataset]
    np.testing.assert_allclose(np.sort(np.concatenate([mark.y for mark in runs])), np.sort(np.ravel(expected)))


def test_a_chain_in_too_few_dimensions_says_so(tmp_path):
    with pytest.warns(UserWarning, match="dim=5 is too small for the chain of batches"):
        dataset = lab.run("single-location/sgd", {"dim": [5], "steps": [10]}, replicates=2, out=tmp_path)
    assert lab.figure(dataset, "single-location/sgd").axes
