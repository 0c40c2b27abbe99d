"""The statistics of repeated cross-validation, against SciPy, scikit-learn, brute force and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from solvable.bags.resampling import (
    area_under_curve,
    best_threshold_accuracy,
    corrected_t,
    holm,
    interval_over_new_data,
    size_of_auc,
    variance_factor,
)

# few different values, so that ties occur
SCORED = st.lists(st.tuples(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 2.0]), st.booleans()), min_size=1, max_size=12)


@given(SCORED)
def test_the_area_is_that_of_scikit_learn(pairs):
    scores, positive = (np.array(column) for column in zip(*pairs, strict=True))
    area = area_under_curve(scores, positive)
    if positive.all() or not positive.any():
        assert np.isnan(area)
    else:
        assert area == pytest.approx(roc_auc_score(positive, scores), abs=1e-15)


@given(SCORED)
def test_the_best_threshold_is_that_of_a_search(pairs):
    scores, positive = (np.array(column) for column in zip(*pairs, strict=True))
    searched = max(np.mean((scores >= threshold) == positive) for threshold in [*scores, np.inf])
    assert best_threshold_accuracy(scores, positive) == searched


def test_the_corrected_test_by_hand():
    # folds = 2: n_test / n_train = 1, J = 4, S^2 = 0.02 / 3
    differences = np.array([[0.1, 0.2], [0.1, 0.2]])
    S2 = 0.01 / 3
    assert np.var(differences, ddof=1) == pytest.approx(S2)
    test = corrected_t(0.15, differences)
    assert test.statistic == pytest.approx(0.15 / np.sqrt((1 / 4 + 1) * S2))
    assert test.p_value == pytest.approx(2 * stats.t.sf(test.statistic, 3))
    half = stats.t.ppf(0.975, 3) * np.sqrt((1 / 4 + 1) * S2)
    np.testing.assert_allclose([test.low, test.high], [0.15 - half, 0.15 + half])
    # the p value is 5 % exactly where the interval ends at no difference
    assert corrected_t(half, differences).p_value == pytest.approx(0.05)
    assert corrected_t(0.0, np.zeros((2, 2))) == (0.0, 1.0, 0.0, 0.0)
    assert corrected_t(0.5, np.full((2, 2), 0.5))[:2] == (np.inf, 0.0)
    # without the correction it is SciPy's one-sample test
    plain = stats.ttest_1samp(differences.ravel(), 0.0).statistic
    assert test.statistic == pytest.approx(plain * np.sqrt((1 / 4) / variance_factor(4, 2)))


def test_folds_without_an_area_are_left_out():
    differences = np.array([[0.1, np.nan], [0.3, 0.2]])
    test = corrected_t(0.2, differences)
    assert test.statistic == pytest.approx(0.2 / np.sqrt((1 / 3 + 1) * 0.01))
    assert test.p_value == pytest.approx(2 * stats.t.sf(test.statistic, 2))
    assert np.isnan(corrected_t(0.2, np.array([[0.1, np.nan]]))).all()


def test_holm():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.6, np.nan, 0.02, 0.9])), [1.0, np.nan, 0.06, 1.0])
    assert holm(np.array([])).shape == (0,)


def test_holm_is_the_closed_test_of_bonferroni():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.uniform(size=4) ** 3
        subsets = [np.array([bool(mask >> i & 1) for i in range(4)]) for mask in range(1, 16)]
        closed = [max(min(1.0, s.sum() * p[s].min()) for s in subsets if s[i]) for i in range(4)]
        np.testing.assert_allclose(holm(p), closed)


@pytest.mark.parametrize("right", [0, 3, 20])
def test_the_interval_is_that_of_wilson(right):
    # 30 answers with 1 repeat of 2 folds: 1/1 + 2/1 = 3, so that 20 count; equal folds add nothing
    low, high = interval_over_new_data(right / 20, np.full((1, 2), right / 20), 60.0)
    expected = stats.binomtest(right, 20).proportion_ci(method="wilson")
    np.testing.assert_allclose([low, high], [expected.low, expected.high], atol=1e-12)


def test_the_interval_heeds_folds_that_vary_more():
    folds = np.array([[0.2, 1.0], [1.0, 0.2]])
    low, high = interval_over_new_data(0.6, folds, 1e6)
    count = 0.24 / (variance_factor(4, 2) * np.var(folds, ddof=1))
    z = stats.norm.ppf(0.975)
    for end in (low, high):  # the ends of Wilson's interval are a z of standard errors away, at their own variance
        assert abs(end - 0.6) == pytest.approx(z * np.sqrt(end * (1 - end) / count))
    assert np.isnan(interval_over_new_data(np.nan, folds, 10.0)).all()


def test_the_variance_of_an_area():
    for A in (0.3, 0.5, 0.8):
        Q1, Q2 = A / (2 - A), 2 * A**2 / (1 + A)
        variance = (A * (1 - A) + 9 * (Q1 - A**2) + 14 * (Q2 - A**2)) / 150
        assert size_of_auc(A, 10, 15) == pytest.approx(A * (1 - A) / variance)
    # Hanley & McNeil's Q1 and Q2 are those of exponential scores, of rates 1 and 1/4 here: A = 4/5
    rng = np.random.default_rng(0)
    areas = np.mean(rng.exponential(4.0, (20_000, 10, 1)) > rng.exponential(1.0, (20_000, 1, 15)), axis=(1, 2))
    assert areas.mean() == pytest.approx(0.8, abs=4 * areas.std() / np.sqrt(20_000))
    assert areas.var() == pytest.approx(0.16 / size_of_auc(0.8, 10, 15), rel=0.04)
    assert size_of_auc(1.0, 10, 15) == pytest.approx(150 / 8)


def simulated(bags, dim, signal, count, seed=0):
    """Fold accuracies (count, 2 learners, 5, 10) on Gaussian data, and the learners' common true accuracy.

    Both learners compare class means, each on its own half of the features, so that neither is better.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(bags) % 2
    splits = [s for r in range(5) for s in StratifiedKFold(10, shuffle=True, random_state=r).split(y, y)]
    mean = np.zeros(2 * dim)
    mean[[0, dim]] = signal
    X = rng.normal(size=(count, bags, 2 * dim)) + np.where(y[:, None] == 1, 1, -1) * mean
    X = X.reshape(count, bags, 2, dim)
    folds, truth = np.zeros((count, 2, len(splits))), np.zeros(len(splits))
    for j, (train, test) in enumerate(splits):
        ones, zeros = X[:, train[y[train] == 1]].mean(axis=1), X[:, train[y[train] == 0]].mean(axis=1)
        weights, threshold = ones - zeros, np.sum((ones - zeros) * (ones + zeros), axis=2) / 2
        answers = np.einsum("cnld,cld->cnl", X[:, test], weights) > threshold[:, None]
        folds[:, :, j] = np.mean(answers == (y[test] == 1)[:, None], axis=1)
        norm, shift = np.linalg.norm(weights, axis=2), weights[:, :, 0] * signal
        truth[j] = np.mean(stats.norm.cdf((shift - threshold) / norm) + stats.norm.cdf((shift + threshold) / norm)) / 2
    return folds.reshape(count, 2, 5, 10), truth.mean()


@pytest.fixture(scope="module")
def equal_learners():
    """600 data sets of 60 bags on which both learners are right for .68 of new bags."""
    return simulated(60, 2, 0.5, 600)


def test_the_corrected_test_keeps_its_rate_and_the_plain_test_does_not(equal_learners):
    differences = equal_learners[0][:, 0] - equal_learners[0][:, 1]
    corrected = np.array([corrected_t(float(d.mean()), d).p_value for d in differences])
    plain = stats.ttest_1samp(differences.reshape(600, 50), 0.0, axis=1).pvalue
    assert np.mean(corrected <= 0.05) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 600)
    assert np.mean(plain <= 0.05) > 0.3


def test_the_interval_over_new_bags_covers_and_the_error_over_repeats_does_not(equal_learners):
    folds, truth = equal_learners
    accuracies = folds[:, 0]
    ends = np.array([interval_over_new_data(float(a.mean()), a, 60.0) for a in accuracies])
    covered = np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
    assert covered >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / 600)
    repeats = accuracies.mean(axis=2)
    error = stats.t.ppf(0.975, 4) * repeats.std(axis=1, ddof=1) / np.sqrt(5)
    assert np.mean(abs(repeats.mean(axis=1) - truth) <= error) < 0.6


def test_the_interval_covers_where_nearly_all_is_right():
    folds, truth = simulated(60, 2, 2.0, 300)
    assert truth > 0.97
    accuracies = folds[:, 0]
    ends = np.array([interval_over_new_data(float(a.mean()), a, 60.0) for a in accuracies])
    covered = np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
    assert covered >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / 300)
    # the t interval with the same corrected variance collapses when every fold is right
    half = stats.t.ppf(0.975, 49) * np.sqrt(variance_factor(50, 10)) * accuracies.reshape(300, 50).std(axis=1, ddof=1)
    assert np.mean(abs(accuracies.mean(axis=(1, 2)) - truth) <= half) < 0.85
