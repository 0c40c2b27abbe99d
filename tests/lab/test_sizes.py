"""Agreement over sizes: the fit, its scores under the null and against an offset, and what is not a line."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from solvable import lab
from solvable.attention.sparse_tokens import experiments as sparse
from solvable.cli.call import strict_json
from solvable.lab.comparing.agreement import compare, rows
from solvable.lab.comparing.finite_size import compare_sizes, extrapolate
from solvable.lab.declare.registry import experiments
from solvable.lab.figures import matplotlib
from solvable.lab.figures.finite_size import sheet
from solvable.lab.figures.plot import Mark
from solvable.lab.figures.theme import WRONG
from solvable.lab.running.runner import execute
from tests.lab.toy import Approach, SampleMean

SIZES = (100.0, 200.0, 400.0, 800.0)


def synthetic(generator, sizes=SIZES, replicates=16, offset=0.0, slope=3.0, curvature=0.0, spread=1.0):
    """Replicates around offset + slope/size + curvature/size^2 whose variance falls like 1/size."""
    spreads = np.broadcast_to(spread, len(sizes))
    counts = np.broadcast_to(replicates, len(sizes))
    return [
        offset + slope / k + curvature / k**2 + s / math.sqrt(k) * generator.normal(size=r)
        for k, s, r in zip(sizes, spreads, counts, strict=True)
    ]


def fixed(means, errors, replicates):
    """Replicates with exactly these means and standard errors."""
    pattern = np.resize([1.0, -1.0], replicates)
    pattern = pattern / pattern.std(ddof=1) * math.sqrt(replicates)
    return [mean + error * pattern for mean, error in zip(means, errors, strict=True)]


def standard_normal(scores, tolerance=0.05):
    assert stats.kstest(scores, "norm").pvalue > 0.01
    assert np.mean(scores) == pytest.approx(0.0, abs=3 / math.sqrt(len(scores)))
    assert np.std(scores) == pytest.approx(1.0, abs=tolerance)


@pytest.mark.parametrize("order", [1.0, 0.5])
def test_the_line_is_that_of_polyfit(order):
    simulated = synthetic(np.random.default_rng(1), replicates=(5, 9, 4, 7), offset=0.2)
    found, line = compare_sizes("dim", SIZES, simulated, [0.3] * 4, order=order, quadrature=[0.01] * 4)
    x, counts = np.array(SIZES) ** -order, np.array([5, 9, 4, 7])
    weights = np.sqrt(counts * np.array(SIZES))  # polyfit squares them
    means = np.array([one.mean() - 0.3 for one in simulated])
    slope, intercept = np.polyfit(x, means, 1, w=weights)
    assert found.difference == pytest.approx(intercept, rel=1e-9)
    assert line.slope == pytest.approx(slope, rel=1e-9)
    # the fit is linear in the means: its coefficients are the fits of unit vectors
    slopes, intercepts = np.array([np.polyfit(x, unit, 1, w=weights) for unit in np.eye(4)]).T
    variances = np.array([one.var(ddof=1) / len(one) for one in simulated])
    assert found.standard_error == pytest.approx(np.sqrt(intercepts**2 @ variances), rel=1e-9)
    assert line.slope_standard_error == pytest.approx(np.sqrt(slopes**2 @ variances), rel=1e-9)
    parts = intercepts**2 * variances
    degrees = parts.sum() ** 2 / (parts**2 / (counts - 1)).sum()
    t = intercept / math.hypot(found.standard_error, 0.01)
    assert found.score == pytest.approx(stats.norm.ppf(stats.t.cdf(t, degrees)), rel=1e-8)
    assert (found.predicted, found.replicates, line.sizes) == (pytest.approx(0.3), 25, SIZES)
    assert found.simulated - found.predicted == pytest.approx(found.difference)


def test_the_errors_are_those_of_curve_fit_where_variances_fall_like_one_over_size():
    errors = 0.7 / np.sqrt(SIZES)
    means = 0.01 + 3.0 / np.array(SIZES) + errors * [0.3, -1.1, 0.8, 0.2]
    found, line = compare_sizes("dim", SIZES, fixed(means, errors, 8), [0.0] * 4)
    best, covariance = optimize.curve_fit(
        lambda k, a, b: a + b / k, SIZES, means, sigma=errors, absolute_sigma=True, p0=(0.0, 1.0)
    )
    assert [found.difference, line.slope] == pytest.approx(best, rel=1e-6)
    assert [found.standard_error, line.slope_standard_error] == pytest.approx(np.sqrt(np.diag(covariance)), rel=1e-6)
    chi_square = (((means - best[0] - best[1] / np.array(SIZES)) / errors) ** 2).sum()
    many, exact = compare_sizes("dim", SIZES, fixed(means, errors, 200_000), [0.0] * 4)
    assert exact.misfit == pytest.approx(stats.norm.isf(stats.chi2.sf(chi_square, 2)), abs=1e-3)
    assert many.score == pytest.approx(many.difference / many.standard_error, rel=1e-4)


@pytest.mark.parametrize(
    ("sizes", "replicates", "spread"),
    [
        (SIZES, 4, 1.0),
        (SIZES, 16, 1.0),
        (SIZES, (4, 12, 6, 9), 1.0),
        (SIZES, 8, (3.0, 0.3, 2.0, 1.0)),
        ((50.0, 100.0, 400.0), 6, 1.0),
        ((50.0, 100.0, 200.0, 400.0, 800.0, 1600.0), 6, 1.0),
    ],
)
def test_scores_and_misfits_are_standard_normal_under_the_null(sizes, replicates, spread):
    generator = np.random.default_rng(2)
    scores, misfits = [], []
    for _ in range(3000):
        simulated = synthetic(generator, sizes, replicates, spread=spread)
        found, line = compare_sizes("dim", sizes, simulated, [0.0] * len(sizes))
        scores.append(found.score)
        misfits.append(line.misfit)
    standard_normal(scores)
    standard_normal(misfits)


def test_skewed_replicates_do_not_bias_the_intercept():
    # weights 1/se^2 taken from the replicates would: their mean score is -0.16 here
    generator = np.random.default_rng(3)
    scores = [
        compare_sizes("dim", SIZES, [(generator.exponential(size=16) - 1) / k**0.5 for k in SIZES], [0.0] * 4)[0].score
        for _ in range(3000)
    ]
    assert abs(np.median(scores)) < 0.2
    assert np.std(scores) == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize("paired", [False, True])
def test_scores_with_paired_predictions_missing_replicates_and_quadrature(paired):
    generator = np.random.default_rng(4)
    scores = []
    for _ in range(3000):
        between = [5.0 * generator.normal(size=12) if paired else 0.0 for _ in SIZES]
        noise = synthetic(generator, replicates=12)
        simulated = [one + level for one, level in zip(noise, between, strict=True)]
        simulated[1][3], simulated[2][7:9] = np.nan, np.nan
        error = 0.02 * generator.normal()  # the quadrature's, one for all sizes
        predicted = [np.asarray(level) + error for level in between]
        found, line = compare_sizes(
            "dim", SIZES, simulated, predicted, quadrature=[np.full(np.shape(level), 0.02) for level in between]
        )
        scores.append(found.score)
    assert (found.missing, found.replicates, line.quadrature) == (3, 45, pytest.approx(0.02))
    standard_normal(scores)


def test_quadrature_errors_that_differ_between_sizes():
    simulated = synthetic(np.random.default_rng(5))
    _, line = compare_sizes("dim", SIZES, simulated, [0.0] * 4, quadrature=[0.04, 0.02, 0.01, 0.005])
    # proportional to 1/size: their line goes through zero, and the least of them stands
    assert line.quadrature == pytest.approx(0.005)


def test_an_offset_is_found():
    generator = np.random.default_rng(6)
    error = compare_sizes("dim", SIZES, fixed([0.0] * 4, 1 / np.sqrt(SIZES) / 4, 16), [0.0] * 4)[0].standard_error
    found = [
        compare_sizes("dim", SIZES, synthetic(generator, replicates=64, offset=8 * error / 2), [0.0] * 4)[0]
        for _ in range(300)
    ]
    assert np.mean([one.score for one in found]) == pytest.approx(7.3, abs=0.5)  # 8 se, seen through Student's t
    assert np.mean([one.agrees is False for one in found]) > 0.97
    differing = next(one for one in found if one.agrees is False)
    assert differing.verdict == f"differs by {differing.score:.1f} se"
    least = compare_sizes("dim", SIZES, synthetic(generator, replicates=64, offset=-8 * error / 2), [0.0] * 4)[0]
    assert (least.agrees, least.score < -4) == (False, True)


def test_what_is_not_a_line_is_not_tested():
    found, line = compare_sizes("dim", SIZES, synthetic(np.random.default_rng(7), curvature=2e4), [0.0] * 4)
    assert found.agrees is None
    assert line.misfit > 4
    assert found.verdict == f"not tested: not a line in 1/dim (misfit {line.misfit:.1f})"
    _, half = compare_sizes("dim", SIZES, fixed([k**-0.5 for k in SIZES], [1e-4] * 4, 8), [0.0] * 4)
    assert half.misfit > 4
    straight, _ = compare_sizes("dim", SIZES, fixed([k**-0.5 for k in SIZES], [1e-4] * 4, 8), [0.0] * 4, order=0.5)
    assert straight.agrees is True


@pytest.mark.parametrize(("sizes", "ratio"), [(SIZES, 1.54), (SIZES[:3], 2.49)])
def test_a_curvature_accuses_no_theory(sizes, ratio):
    # chosen to move the intercept by 6 se: the misfit sees it as 6/ratio
    x = 1 / np.array(sizes)
    errors = np.sqrt(x)
    found, line = compare_sizes("dim", sizes, fixed(x**2, errors, 100_000), [0.0] * len(sizes))
    shift = abs(found.difference) / found.standard_error
    residuals = x**2 - found.difference - line.slope * x
    assert shift / np.sqrt(((residuals / errors) ** 2).sum()) == pytest.approx(ratio, abs=0.01)
    curved, bent = compare_sizes("dim", sizes, fixed(6 / shift * x**2, errors, 400), [0.0] * len(sizes))
    assert abs(curved.score) > 5
    assert bent.misfit < 4
    assert curved.agrees is None
    assert "se, but perhaps not a line in 1/dim" in curved.verdict
    offset, _ = compare_sizes("dim", sizes, fixed(0.0 * x - 6 * found.standard_error, errors, 400), [0.0] * len(sizes))
    assert offset.agrees is False


def test_a_size_where_no_run_varies_takes_the_variance_of_the_others():
    simulated = synthetic(np.random.default_rng(8), slope=0.0)
    simulated[0] = np.zeros(16)
    found, line = compare_sizes("dim", SIZES, simulated, [0.0] * 4)
    others = [one.var(ddof=1) * k for one, k in zip(simulated[1:], SIZES[1:], strict=True)]
    assert line.standard_errors[0] == pytest.approx(math.sqrt(np.mean(others) / SIZES[0] / 16))
    assert found.agrees is True


def test_where_no_run_varies_at_any_size():
    constant = [np.full(8, 0.3) for _ in SIZES]
    same, line = compare_sizes("dim", SIZES, constant, [0.1 + 0.2] * 4)
    assert (same.agrees, same.score, same.verdict, line.misfit) == (True, None, "agrees", None)
    off, _ = compare_sizes("dim", SIZES, constant, [0.2] * 4)
    assert (off.agrees, off.score, off.verdict) == (False, None, "differs by 0.1 (no run varies)")
    assert compare_sizes("dim", SIZES, constant, [0.2999] * 4, allowance=1e-4)[0].agrees is True
    straight = [np.full(8, 0.3 + 2 / k) for k in SIZES]
    assert compare_sizes("dim", SIZES, straight, [0.3] * 4)[0].agrees is True
    curved = [np.full(8, 0.3 + 2 / k**0.5) for k in SIZES]
    found, _ = compare_sizes("dim", SIZES, curved, [0.3] * 4)
    assert found.agrees is None
    assert found.verdict.startswith("not tested: not a line in 1/dim")


def test_what_varies_in_a_given_theory_alone_is_no_error_of_the_simulation():
    # no run made a rare error, and the theory says how rare it was in each: the runs do not show their noise
    predicted = [1e-7 * (1 + np.random.default_rng(k).random(16)) for k in range(4)]
    found, _ = compare_sizes("dim", SIZES, [np.zeros(16)] * 4, predicted, allowance=1e-3)
    assert (found.agrees, found.score) == (True, None)


def test_fewer_than_three_sizes_with_two_replicates_are_not_tested():
    simulated = [np.array([1.0, np.nan]), np.array([1.0, 1.1]), np.array([0.9, 1.0])]
    found, line = compare_sizes("dim", SIZES[:3], simulated, [1.0] * 3)
    assert (found.agrees, line, found.replicates, found.missing) == (None, None, 5, 1)
    assert found.verdict == "not tested: 2 sizes with two valid replicates, at least 3 needed"


def test_rows_of_a_run(tmp_path):
    done = execute(Approach, {"offset": [0.0, 0.3]}, replicates=16, out=tmp_path)
    found = extrapolate(Approach, done.results)
    assert lab.compare(tmp_path, Approach) == [*rows(Approach, done.results), *found]
    assert [(row.parameters["offset"], row.observable, row.overlay, row.claim) for row in found] == [
        (offset, *rest)
        for offset in (0.0, 0.3)
        for rest in (
            ("value", "limit", "asymptotic"),
            ("largest", "limit", "heuristic"),
            ("constant", "limit", "asymptotic"),
            ("value", "given_level", "asymptotic"),
        )
    ]
    for row in found:
        assert row.parameters["dim"] == math.inf
        assert row.comparison.agrees == (row.parameters["offset"] == 0.0 or row.observable != "value")
        assert row.extrapolation.sizes == (50, 100, 200, 400)
        assert not row.calibrates
    given = next(row for row in found if row.overlay == "given_level").extrapolation
    assert given.slope == pytest.approx(2.0, abs=4 * given.slope_standard_error)
    largest = next(row for row in found if row.observable == "largest").extrapolation
    assert (largest.order, largest.slope) == (0.5, pytest.approx(2.0, abs=4 * largest.slope_standard_error))
    data = lab.open(tmp_path, Approach).sel(offset=0.0)
    for dim, difference, error in zip(given.sizes, given.differences, given.standard_errors, strict=True):
        one = data.sel(dim=dim)
        expected = compare(one["value"].values, one["given_level_value"].values)
        assert (difference, error) == (pytest.approx(expected.difference), pytest.approx(expected.standard_error))
    document = found[0].document()
    assert document["parameters"]["dim"] == "inf"
    assert {"slope", "slope_standard_error", "misfit", "sizes"} <= set(document)
    assert '"inf"' in strict_json(document)


def test_no_rows_without_a_size_or_with_two_of_them(tmp_path):
    assert not extrapolate(SampleMean, execute(SampleMean, {}, replicates=4, out=tmp_path).results)
    assert not extrapolate(Approach, execute(Approach, {"dim": [50, 100]}, replicates=4, out=tmp_path).results)


def test_sizes_that_failed_or_lack_replicates(tmp_path):
    patchy = extrapolate(Approach, execute(Approach, {"kind": "patchy"}, replicates=8, out=tmp_path).results)
    assert {row.comparison.agrees for row in patchy} == {None}
    reason = "not tested: 2 sizes with two valid replicates, at least 3 needed (the toy is patchy"
    assert all(row.comparison.verdict.startswith(reason) for row in patchy)
    assert sheet(Approach, patchy) is None
    grid = {"kind": "broken", "dim": [50, 200, 400, 800]}
    left = extrapolate(Approach, execute(Approach, grid, replicates=8, out=tmp_path).results)
    assert {row.extrapolation.sizes for row in left} == {(200, 400, 800)}


def intercepts(plot):
    return [mark for mark in plot.marks if isinstance(mark, Mark) and mark.of == "intercept"]


def test_the_figure(tmp_path):
    done = execute(Approach, {"offset": [0.0, 0.3]}, replicates=8, out=tmp_path)
    found = extrapolate(Approach, done.results)
    made = sheet(Approach, found)
    assert made.title == "Does simulation minus theory vanish at infinite dim?"
    assert [plot.x.label for plot in made.plots] == ["dim (scale: 1/dim)", "dim (scale: 1/dim^(1/2))"]
    assert [plot.y.label for plot in made.plots] == [
        f"{name}: simulation minus theory" for name in ("value", "largest")
    ]
    shown = [row for row in found if row.observable == "value"]
    drawn = intercepts(made.plots[0])
    assert [mark.y[0] for mark in drawn] == [row.comparison.difference for row in shown]
    errors = [math.hypot(row.comparison.standard_error, row.extrapolation.quadrature) for row in shown]
    assert [mark.error[0] for mark in drawn] == errors
    assert [mark.look.color == WRONG for mark in drawn] == [not row.comparison.agrees for row in shown]
    points = [mark for mark in made.plots[0].marks if isinstance(mark, Mark) and mark.of == "simulation"]
    for row, mark in zip(shown, points, strict=True):
        assert mark.y.tolist() == list(row.extrapolation.differences)
        assert mark.error.tolist() == list(row.extrapolation.standard_errors)
        np.testing.assert_allclose(np.diff(mark.x), np.diff(1 / np.array(row.extrapolation.sizes)))
    names = made.plots[0].x.names
    assert (names[0.0], names[1 / 50]) == ("∞", "50")
    figure = matplotlib.draw(made)
    legend = figure.axes[0].get_legend()  # the plots have their own, since one series has two colours in them
    assert "offset = 0.3, given level" in [text.get_text() for text in legend.get_texts()]
    hollow = [line for line in figure.axes[0].lines if line.get_gid() == "intercept"]
    assert [line.get_markeredgecolor() for line in hollow] == [mark.look.color for mark in drawn]


def test_a_panel_shows_the_series_that_deviate_most(tmp_path):
    offsets = [round(0.01 * step, 2) for step in range(7)]
    found = extrapolate(Approach, execute(Approach, {"offset": offsets}, replicates=4, out=tmp_path).results)
    plot = sheet(Approach, found).plots[0]
    assert plot.title == "the 12 of 14 series with the largest |z|"
    drawn = [mark.y[0] for mark in intercepts(plot)]
    least = sorted((row for row in found if row.observable == "value"), key=lambda row: abs(row.comparison.score))[:2]
    assert len(drawn) == 12
    assert not {row.comparison.difference for row in least} & set(drawn)


def test_declared_sizes_are_numeric_parameters_of_asymptotic_claims():
    declared = {name: one for name, one in experiments().items() if one.size_parameter is not None}
    assert {"sparse-tokens/error", "sparse-tokens/alignment", "sparse-tokens/rates", "sparse-tokens/surrogate"} <= set(
        declared
    )
    for experiment in declared.values():
        assert experiment.model_fields[experiment.size_parameter].annotation in (int, float)
        claims = {status.claim for overlay in experiment.overlays for status in experiment.status(overlay).values()}
        assert claims & {"asymptotic", "heuristic"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "grid"),
    [
        (sparse.ErrorAgainstRatio, {"model": ["pooled", "flat"], "loss": "square", "ratio": [1.0, 2.0]}),
        (sparse.AlignmentAgainstRatio, {"loss": "logistic", "query_ratio": [4.0, 16.0]}),
        (sparse.Surrogate, {}),
    ],
)
def test_sparse_tokens_over_sizes(tmp_path, experiment, grid):
    done = execute(experiment, {"dim": [50, 100, 200, 400], **grid}, replicates=32, out=tmp_path)
    found = extrapolate(experiment, done.results)
    assert {row.observable for row in found} >= {experiment.observables[0].name}
    assert all(row.comparison.agrees for row in found), [row for row in found if not row.comparison.agrees]
