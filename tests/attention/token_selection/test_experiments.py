"""Every declared figure at a small size: it runs, theory and simulation agree, and its panels show something."""

import jax
import numpy as np
import pytest

from solvable import lab
from solvable.attention import token_selection as ts
from solvable.attention.token_selection import experiments, figures
from solvable.cli import tables
from solvable.lab.declare import registry
from solvable.lab.figures import default
from solvable.lab.figures.plot import Mark, Rule
from solvable.numerics.recording import pick
from solvable.numerics.results import Result

TINY = {
    "token-selection/direction": ({"p": [2.0], "start_scale": 0.0}, 4),
    "token-selection/joint": ({"p": [2.0]}, 1),
    "token-selection/rates": ({"rule": ["normalized"]}, 4),
    "token-selection/factored": ({"parameterization": ["factored"]}, 8),
    "token-selection/global-local": ({"dim": [8]}, 8),
    "token-selection/rank": ({"dim": [3, 6]}, 8),
    "token-selection/path": ({"p": [2.0]}, 4),
    "token-selection/sparsity": ({"p": [3.0]}, 4),
}
SMALL = {
    "token-selection/direction": ({"p": [1.75, 2.0], "start_scale": 0.0}, 4),
    "token-selection/joint": ({"p": [1.75, 2.0]}, 1),
    "token-selection/rates": ({}, 4),
    "token-selection/factored": ({}, 8),
    "token-selection/global-local": ({"dim": [3, 8]}, 8),
    "token-selection/sparsity": ({"p": [1.75, 3.0]}, 4),
}
CASES = [(name, *run) for name, run in TINY.items()]
CASES += [pytest.param(name, *run, marks=pytest.mark.slow) for name, run in SMALL.items()]


def test_every_figure_is_here():
    declared = [one for one in vars(experiments).values() if isinstance(one, type) and hasattr(one, "name")]
    names = {one.name for one in declared if one.__module__.startswith(experiments.__name__) and hasattr(one, "source")}
    assert names == set(TINY)


@pytest.mark.parametrize(("name", "grid", "replicates"), CASES)
def test_theory_and_simulation_agree(name, grid, replicates, tmp_path):
    dataset = lab.run(name, grid, replicates=replicates, out=tmp_path)
    rows = lab.compare(tmp_path, name)
    wrong = [(row.observable, row.point, row.comparison) for row in rows if row.comparison.agrees is not True]
    assert rows
    assert not wrong
    plots = default.sheet(registry.find(name), dataset).plots
    assert plots
    assert all(plot.marks and not plot.x.hidden for plot in plots)  # none says why it is empty


def test_the_published_choice_of_tokens_is_an_option_and_is_worse():
    """The tokens of another run: about half of the problems then have another selection, and no divergence vanishes."""
    cell, law = experiments.Direction(p=2.0), (ts.RandomSelection(), ts.MirrorDescent(2.0, steps=2000))
    key, replicates = jax.random.key(0), 16
    runs = figures.trained(*law, key, replicates, np.array([2000]), init_scale=1.0)
    others = figures.tokens_of_others(*law, key, replicates, 1.0, {2.0: 2000})

    def final_divergence(found):
        there = np.flatnonzero(found.result == Result.SUCCESSFUL)
        return [cell.measure(pick(found, r))["final_divergence"][0] for r in there]

    own, published = final_divergence(runs.beside((2.0,))), final_divergence(runs.beside((2.0,), others))
    assert np.median(own) < 0.005
    assert np.mean(published) > 10 * np.mean(own)


@pytest.mark.slow
def test_the_published_choice_of_tokens_reaches_the_experiment():
    own = experiments.Direction(p=2.0)
    published, key = own.model_copy(update={"tokens_of": "other run"}), jax.random.key(0)
    own, published = own.simulate(key, 8), published.simulate(key, 8)
    np.testing.assert_array_equal(own.selected, published.selected)
    assert np.all(np.nanmean(published.final_divergence, axis=0) > np.nanmean(own.final_divergence, axis=0))


def test_problems_without_a_solution_are_dropped_from_the_rank_unless_asked():
    cell, key = experiments.Rank(dim=2), jax.random.key(0)
    honest = cell.simulate(key, 12)
    published = cell.model_copy(update={"infeasible": "rank one"}).simulate(key, 12)
    missing = honest.result == Result.INFEASIBLE
    assert missing.any()
    assert np.isnan(honest.frobenius_rank[missing]).all()
    assert np.all(published.frobenius_rank[missing] == 1.0)
    np.testing.assert_array_equal(published.frobenius_rank[~missing], honest.frobenius_rank[~missing])


def test_runs_that_select_no_token_still_give_a_figure_and_are_counted(tmp_path):
    dataset = lab.run("token-selection/direction", {"p": [2.0], "steps": [10]}, replicates=2, out=tmp_path)
    (plot,) = default.sheet(experiments.Direction, dataset).plots
    assert not [mark for mark in plot.marks if isinstance(mark, Mark | Rule)]
    lab.figure(dataset, "token-selection/direction").draw_without_rendering()
    (words,) = tables.summary(lab.compare(tmp_path, "token-selection/direction"))
    assert words.plain == "3 of 3 comparisons lack replicates, up to 100% of them"
