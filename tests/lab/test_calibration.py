"""The calibration plot: which scores are in it, and how wide the band is."""

import numpy as np
import pytest
from scipy import stats

from solvable.lab.comparing import calibration
from solvable.lab.comparing.agreement import Agreement, Row
from solvable.lab.figures import calibration as figures
from solvable.lab.figures.plot import Band, Mark


def row(score, claim="exact"):
    comparison = Agreement(0.0, 0.0, 0.0, 1.0, score, True, "agrees", 8, 0)
    return Row("toy", {}, "mean", {}, "theory", claim, "derived", comparison)


def test_exact_claims_are_apart_and_bounds_left_out():
    rows = [
        row(2.0),
        row(-1.0),
        row(None),
        row(np.inf),
        row(0.5, "asymptotic"),
        row(-9.0, "bound"),
        row(0.1, "heuristic"),
    ]
    found = calibration.scores(rows)
    assert {group: values.tolist() for group, values in found.items()} == {
        calibration.EXACT: [-1.0, 2.0],
        calibration.OTHERS: [0.1, 0.5],
    }
    assert calibration.scores([row(None)]) == {}


def test_the_band_holds_each_sorted_draw_with_its_level():
    draws = np.sort(np.random.default_rng(0).standard_normal((20_000, 12)), axis=1)
    middle, low, high = calibration.band(12)
    inside = ((draws >= low) & (draws <= high)).mean(axis=0)
    np.testing.assert_allclose(inside, 0.95, atol=0.006)
    np.testing.assert_allclose((draws <= middle).mean(axis=0), 0.5, atol=0.015)
    np.testing.assert_allclose(low, -high[::-1])


def test_the_plot_follows_the_quantiles():
    values = np.sort(np.random.default_rng(1).standard_normal(40))
    (plot,) = figures.sheet({calibration.EXACT: values}).plots
    inside, line, scores = plot.marks
    assert [mark.label for mark in plot.marks] == ["95 % band", "standard normal", "z-scores"]
    assert {key.label for key in plot.keys} == {"95 % band", "standard normal", "z-scores"}
    assert scores.y.tolist() == values.tolist()
    middle = stats.norm.ppf(stats.beta(np.arange(1, 41), np.arange(40, 0, -1)).median())
    np.testing.assert_allclose(scores.x, middle)
    np.testing.assert_array_equal(line.x, line.y)
    for edge, level in ((inside.low, 0.025), (inside.high, 0.975)):
        ends = stats.norm.ppf(stats.beta(np.arange(1, 41), np.arange(40, 0, -1)).ppf(level))
        np.testing.assert_allclose(edge, ends)
    assert (plot.title, plot.x.label, plot.y.label) == ("exact claims", "normal quantile", "z-score")


def test_many_scores_are_thinned_between_the_ends():
    values = np.sort(np.random.default_rng(2).standard_normal(30_000))
    (plot,) = figures.sheet({calibration.EXACT: values}).plots
    shown = plot.marks[-1].y.tolist()
    assert len(shown) <= 1000
    assert shown[:200] == values[:200].tolist()
    assert shown[-200:] == values[-200:].tolist()


def test_the_numbers_in_words():
    assert calibration.sentences({}) == ["No comparison has a z-score, so there is nothing to calibrate."]
    words = " ".join(calibration.sentences({calibration.EXACT: np.array([-9.0, 0.0, 0.5, 1.5])}))
    assert "Exact claims: 4 z-scores, mean \N{MINUS SIGN}1.75, standard deviation 4.87" in words
    assert "mean 0 ± 0.50 and standard deviation 1 ± 0.41. 1 lies outside the 95 % band." in words
    assert "narrower" not in words
    both = {calibration.EXACT: np.array([0.0, 1.0]), calibration.OTHERS: np.array([0.5])}
    assert "narrower" in " ".join(calibration.sentences(both))
    others = {calibration.OTHERS: np.array([0.5])}
    assert "Asymptotic and heuristic claims: 1 z-score, mean +0.50." in " ".join(calibration.sentences(others))
    assert "follow the line and stay in the band" in calibration.introduction(both)
    assert calibration.introduction(others).startswith("The allowances for finite sizes make the z-scores")


def test_only_exact_claims_have_a_band():
    values = np.array([-1.0, 0.0, 1.0])
    exact, others = figures.sheet({calibration.EXACT: values, calibration.OTHERS: values}).plots
    assert [type(mark) for mark in exact.marks] == [Band, Mark, Mark]
    assert [mark.label for mark in others.marks] == ["standard normal", "z-scores"]


@pytest.mark.parametrize("count", [1, 2, 100_000])
def test_the_band_is_finite(count):
    assert all(np.isfinite(ends).all() for ends in calibration.band(count))
