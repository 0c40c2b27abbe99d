"""Statistics of repeated cross-validation: intervals over new data, the corrected t test, Holm's correction."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special, stats

LEVEL = 0.95


class CorrectedTest(NamedTuple):
    """The corrected resampled t test: t, its two-sided p value, and the 95 % interval of the mean difference."""

    statistic: float
    p_value: float
    low: float
    high: float


def variance_factor(values: int, folds: int) -> float:
    """1/J + n_test / n_train with J = `values`, repeats * folds if each has one: what S^2 is multiplied by, not 1/J.

    S^2 is the variance of the J fold values. The folds' training sets overlap, so their values are correlated;
    Nadeau & Bengio (Machine Learning 52, 2003) put the correlation at n_test / (n_test + n_train). K folds have
    n_test / n_train = 1 / (K - 1).
    """
    return 1 / values + 1 / (folds - 1)


def corrected_t(difference: float, fold_differences: np.ndarray) -> CorrectedTest:
    """t = difference / sqrt((1/J + n_test/n_train) S^2) against Student's t with J - 1 degrees of freedom.

    Arguments: the mean difference; the differences of the folds, (repeats, folds), of which S^2 is the variance (NaN
    where a fold has none). Two learners that never differ have t = 0 and p = 1. Source: Nadeau & Bengio 2003.
    """
    held = fold_differences[np.isfinite(fold_differences)]
    if len(held) < 2:
        return CorrectedTest(np.nan, np.nan, np.nan, np.nan)
    error = float(np.sqrt(variance_factor(len(held), fold_differences.shape[1]) * np.var(held, ddof=1)))
    freedom = len(held) - 1
    if error > 0:
        statistic = difference / error
    else:
        statistic = float(np.sign(difference)) * np.inf if difference else 0.0
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return CorrectedTest(
        statistic, float(2 * stats.t.sf(abs(statistic), freedom)), difference - half, difference + half
    )


def interval_over_new_data(share: float, fold_values: np.ndarray, size: float) -> tuple[float, float]:
    """The 95 % interval of an accuracy or AUC over new data: Wilson's, with Nadeau & Bengio's corrected variance.

    share: the estimate; fold_values: (repeats, folds), NaN where a fold has none; size: the number of independent
    yes-or-no answers of which the share, over all the data once, has the variance share (1 - share) / size. J fold
    values of that binomial variance turn the corrected variance into share (1 - share) / size * (folds / J +
    folds / (folds - 1)); where they vary more than that, their own variance counts. The interval is Wilson's score
    interval of this many answers, which stays inside [0, 1] and does not shrink to a point when every answer is
    right, as a t interval on the fold values does. Origin: derived from the two; its coverage was measured
    (docs/bags/evaluation.md).
    """
    if not np.isfinite(share):
        return np.nan, np.nan
    held, folds = fold_values[np.isfinite(fold_values)], fold_values.shape[1]
    factor = variance_factor(len(held), folds)
    count = size / (folds * factor)
    observed = factor * float(np.var(held, ddof=1)) if len(held) > 1 else 0.0
    if observed > 0:
        count = min(count, share * (1 - share) / observed)
    z = float(special.ndtri((1 + LEVEL) / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def size_of_auc(auc: float, positive: int, negative: int) -> float:
    """auc (1 - auc) / V with the variance V of an AUC of so many positive and negative bags.

    V = (A (1-A) + (n1 - 1)(Q1 - A^2) + (n0 - 1)(Q2 - A^2)) / (n1 n0), Q1 = A / (2 - A), Q2 = 2 A^2 / (1 + A):
    Hanley & McNeil (Radiology 143, 1982); the quotient is written so that it also holds at A = 0 and 1.
    """
    return positive * negative / (1 + (positive - 1) * (1 - auc) / (2 - auc) + (negative - 1) * auc / (1 + auc))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment: the i-th smallest of m p values times m - i + 1, made increasing, at most 1.

    NaN (no test) stays NaN and is not counted.
    """
    adjusted = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: int(np.sum(np.isfinite(p_values)))]  # argsort puts NaN last
    steps = np.arange(len(order), 0, -1) * p_values[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    """The share of (positive, negative) pairs that the scores order rightly, a tie counting half; NaN without pairs."""
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return np.nan
    ranks = stats.rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def best_threshold_accuracy(scores: np.ndarray, positive: np.ndarray) -> float:
    """The largest accuracy of the rule `score >= threshold` over all thresholds."""
    order = np.argsort(-scores)
    hits = np.concatenate([[0], np.cumsum(positive[order])])
    correct = hits + (len(scores) - np.arange(len(scores) + 1)) - (hits[-1] - hits)
    ends = np.concatenate([[True], np.diff(scores[order]) != 0, [True]])  # equal scores fall on one side
    return float(correct[ends].max() / len(scores))
