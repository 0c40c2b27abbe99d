"""Strength x share from the debiased squared difference of the pooled means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from solvable.bags.container import token_rows
from solvable.bags.diagnosis.preparation import Sample
from solvable.bags.diagnosis.whitening import Noise, noise_of

CLEAR = 3.0  # standard deviations of the noise that the squared difference must exceed to count as a signal


@dataclass(frozen=True)
class SquaredDifference:
    """An unbiased estimate of (strength share)^2, its deviation if the truth were 0, and the variance a unit of it.

    The variance at truth t is null_deviation^2 + 4 t slope.
    """

    value: float
    null_deviation: float
    slope: float

    @property
    def clear(self) -> bool:
        """Whether it is above the noise by `CLEAR` deviations."""
        return self.value > CLEAR * self.null_deviation

    @property
    def deviation(self) -> float:
        """The standard deviation at the estimate."""
        return float(np.sqrt(self.null_deviation**2 + 4.0 * max(self.value, 0.0) * self.slope))

    def interval(self, confidence: float) -> tuple[float, float]:
        """The t with |value - t| <= z deviation(t): a quadratic in t, solved; of its root, cut at 0."""
        z2 = float(ndtri(0.5 + 0.5 * confidence)) ** 2
        middle = self.value + 2.0 * self.slope * z2
        room = np.sqrt(max(middle**2 - self.value**2 + z2 * self.null_deviation**2, 0.0))
        low, high = np.sqrt(np.maximum([middle - room, middle + room], 0.0))
        return float(low), float(high)


def negatives_of(sample: Sample) -> Noise:
    """The noise within all negative bags."""
    negative = np.flatnonzero(~sample.positive)
    tokens = sample.values[token_rows(sample.offsets, negative)]
    return noise_of(tokens, np.concatenate([[0], np.cumsum(sample.lengths[negative])]))


def squared_difference(sample: Sample, noise: Noise) -> SquaredDifference:
    """|m_1 - m_0|^2 - tr V for the classes' mean tokens m in whitened units, V the covariance of their difference.

    V is estimated between groups of bags, V = sum_i a_i^2 (x_i - m)(x_i - m)^T / (1 - sum a_i^2) with a_i the group's
    part of its class's tokens and x_i their mean, summed over the two classes, which is unbiased for any correlation
    within groups (and too large where groups hold both classes). Both are divided by the inflation of the inverse
    covariance. Var = 4 (m_1 - m_0)^T V (m_1 - m_0) + 2 tr V^2.
    """
    means = noise.whiten(sample.bag_means())
    difference, covariance = np.zeros(means.shape[1]), np.zeros((means.shape[1], means.shape[1]))
    square = 0.0
    for label, sign in ((False, -1.0), (True, 1.0)):
        mine = sample.positive == label
        part = sample.lengths[mine] / sample.lengths[mine].sum()
        mean = part @ means[mine]
        difference += sign * mean
        units, unit = np.unique(sample.groups[mine], return_inverse=True)
        away = np.zeros((len(units), len(mean)))
        np.add.at(away, unit, part[:, None] * (means[mine] - mean))
        part = np.bincount(unit, part)
        left = 1.0 - part @ part
        covariance += away.T @ away / left
        # tr V^2 of an estimate is too large by (tr V)^2 / degrees of freedom.
        square += np.trace(away.T @ away / left) ** 2 * float(part @ part)
    trace = float(np.trace(covariance))
    squares = max(float(np.sum(covariance**2)) - square, trace**2 / len(covariance))
    size = float(difference @ difference)
    slope = float(difference @ covariance @ difference) / max(size, 1e-300)
    value, scale = (size - trace) / noise.inflation, noise.inflation
    # The covariance itself is estimated: var(x^T S^-1 x) is 2/(freedom - d) of its square.
    more = 0.0 if noise.shrunk else 0.5 * max(value, 0.0) / max(noise.freedom - len(covariance), 1)
    return SquaredDifference(value, float(np.sqrt(2.0 * squares)) / scale, slope / scale + more)
