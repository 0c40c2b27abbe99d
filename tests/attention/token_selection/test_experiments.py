"""Every declared figure at a small size: it runs, theory and simulation agree, and its panels show something."""

import jax
import numpy as np
import pytest

from solvable import lab
from solvable.attention.token_selection import experiments
from solvable.numerics.results import Result

SMALL = {
    "token-selection/direction": ({"p": [1.75, 2.0], "start_scale": 0.0}, 4),
    "token-selection/joint": ({"p": [1.75, 2.0]}, 1),
    "token-selection/rates": ({}, 4),
    "token-selection/factored": ({}, 8),
    "token-selection/global-local": ({"dim": [3, 8]}, 8),
    "token-selection/rank": ({"dim": [3, 6]}, 8),
    "token-selection/path": ({"p": [2.0]}, 4),
    "token-selection/sparsity": ({"p": [1.75, 3.0]}, 4),
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
    figure, _ = lab.figure(name, dataset)
    drawn = [axes for axes in figure.axes if axes.axison]
    assert all(axes.has_data() for axes in drawn)
    assert drawn


def test_the_published_choice_of_tokens_is_an_option_and_is_worse():
    """The tokens of another run: about half of the problems then have another selection, and no divergence vanishes."""
    cell, key = experiments.Direction(p=2.0, steps=2000, start_scale=1.0), jax.random.key(0)
    own = cell.simulate(key, 16)
    published = cell.model_copy(update={"tokens_of": "other run"}).simulate(key, 16)
    np.testing.assert_array_equal(own.selected, published.selected)
    place = experiments.REFERENCES.index(2.0)
    assert np.nanmedian(own.final_divergence[:, place]) < 0.005
    assert np.nanmean(published.final_divergence[:, place]) > 10 * np.nanmean(own.final_divergence[:, place])


def test_problems_without_a_solution_are_dropped_from_the_rank_unless_asked():
    cell, key = experiments.Rank(dim=2), jax.random.key(0)
    honest = cell.simulate(key, 12)
    published = cell.model_copy(update={"infeasible": "rank one"}).simulate(key, 12)
    missing = honest.result == Result.INFEASIBLE
    assert missing.any()
    assert np.isnan(honest.frobenius_rank[missing]).all()
    assert np.all(published.frobenius_rank[missing] == 1.0)
    np.testing.assert_array_equal(published.frobenius_rank[~missing], honest.frobenius_rank[~missing])
