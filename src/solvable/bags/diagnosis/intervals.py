"""Estimates with intervals, and when a number is not identifiable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solvable.bags.diagnosis.estimates import Estimates
from solvable.bags.diagnosis.mixture import REACH
from solvable.bags.diagnosis.pooled import SquaredDifference

GAIN = 12.0  # twice the log likelihood ratio of two components against one
COSINE = 3.0  # deviations of the product of cosines
WIDEST = 5.0  # an interval whose ends have a larger ratio says too little
ROOM = 5.0  # deviations that must be left between a signal and the last bin
ALL = 1.0 - 1e-6  # a share that counts as 1
DENSE = 0.5  # a share whose whole interval lies above is not sparse


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its interval; where it is not identifiable, `reason` says why and all are NaN."""

    estimate: float
    low: float
    high: float
    identifiable: bool = True
    reason: str = ""

    def __str__(self) -> str:
        """The estimate and its ends, or "not identifiable" with the reason."""
        if not self.identifiable:
            return f"not identifiable: {self.reason}"
        return f"{self.estimate:.3g} ({self.low:.3g} to {self.high:.3g})"

    def times(self, factor: float) -> Interval:
        """The interval of the number times a known factor."""
        return Interval(self.estimate * factor, self.low * factor, self.high * factor, self.identifiable, self.reason)


def unknown(reason: str) -> Interval:
    """What cannot be identified."""
    return Interval(np.nan, np.nan, np.nan, False, reason)


def of_mixture(found: Estimates, dim: int, confidence: float) -> tuple[Interval, Interval, Interval]:
    """Strength, share and their product, percentiles of the reweightings, or why they are not identifiable.

    The interval of the share reaches at least one token of all positives' to either side of the estimate.

    They are when (a) no covariance had to be shrunk, (b) the directions of two halves agree: c_A c_B > 3 (1 - c_A c_B)
    / sqrt(d - 1), (c) two components describe held-out positives better than one, twice the log likelihood ratio above
    12, or else the whole interval of the share (which then reaches 1) lies above 1/2, and (d) the ends of each interval
    are within a factor 5. A signal 35 deviations out is not resolved either.
    """
    tails = [0.5 - 0.5 * confidence, 0.5 + 0.5 * confidence]
    strength, share, product = (
        Interval(estimate, float(np.quantile(several, tails[0])), float(np.quantile(several, tails[1])))
        for estimate, several in (
            (found.strength, found.strengths),
            (found.share, found.shares),
            (found.product, found.products),
        )
    )
    estimate, low, high = (1.0 if end > ALL else end for end in (share.estimate, share.low, share.high))
    # With every signal token told apart and their number fixed, reweightings agree to less than one token.
    one = 1.0 / sum(int(half.lengths[half.positive].sum()) for half in found.splits[0].halves)
    share = Interval(estimate, max(min(low, estimate - one), 0.0), min(max(high, estimate + one), 1.0))
    if found.gain < GAIN:
        # One component is not refuted: a share of 1, at which strength and product are one, belongs to the intervals.
        share = Interval(share.estimate, share.low, 1.0)
        strength = Interval(strength.estimate, min(strength.low, product.low), max(strength.high, product.high))
    reason = ""
    if any(split.shrunk for split in found.splits):
        reason = (
            "the tokens of negative bags do not determine the covariance of the noise: they are too few for the "
            "dimension, or features depend on each other"
        )
    elif found.cosine <= COSINE * (1.0 - found.cosine) / np.sqrt(max(dim - 1, 1)):
        reason = "two halves of the bags do not agree on a direction of the signal"
    elif found.signal < GAIN:
        reason = "held-out tokens of positive bags show no signal"
    elif max(float(fit.shift.max()) for fit in found.fits) > REACH - ROOM:
        reason = f"the signal lies more than {REACH - ROOM:g} deviations of the noise out, beyond what is resolved"
    elif found.gain < GAIN and share.low < DENSE:
        reason = "a strong signal in few tokens and a weak one in many describe held-out tokens about equally well"
    elif any(end.high >= WIDEST * end.low for end in (strength, share, product)):
        reason = "reweighted bags give values that differ by more than a factor 5"
    if reason:
        return unknown(reason), unknown(reason), unknown(reason)
    return strength, share, product


def of_pooled(difference: SquaredDifference, confidence: float) -> Interval:
    """Strength x share from the pooled means in all dimensions, or that they do not differ by more than noise.

    Less precise than along a direction that is known, and free of it.
    """
    if not difference.clear:
        return unknown("the pooled means of the classes do not differ by clearly more than their noise")
    low, high = difference.interval(confidence)
    return Interval(float(np.sqrt(difference.value)), low, high)
