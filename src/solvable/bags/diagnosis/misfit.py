"""Whether the sparse-token model describes the data: five checks, each with a p value, together by Holm's rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import chi2

from solvable.bags.diagnosis.estimates import Estimates, Split
from solvable.bags.diagnosis.mixture import GRID, Mixture, centre_and_scale, fit_mixture
from solvable.bags.diagnosis.pooled import SquaredDifference
from solvable.bags.diagnosis.preparation import Sample
from solvable.bags.diagnosis.whitening import within_bags
from solvable.bags.resampling import holm

LEVEL = 0.05
DRAWS = 400
FREEDOM = 4  # degrees of freedom a dimension in the tests of covariances; with fewer, on random projections


@dataclass(frozen=True)
class Check:
    """One check: what it looks at, its statistic (about 1, or 0 for a score, where the model holds) and p value."""

    name: str
    statistic: float
    p_value: float
    adjusted: float
    failure: str


@dataclass(frozen=True)
class Misfit:
    """The checks of the model and their verdict.

    statistic, p_value: of the check with the smallest p value, which is corrected for the number of checks by Holm's
    rule; rejected: p_value < 0.05.
    """

    checks: tuple[Check, ...]

    @property
    def worst(self) -> Check:
        """The check with the smallest p value; the most deviating among equals."""
        return min(self.checks, key=lambda check: (check.p_value, -abs(check.statistic)))

    @property
    def statistic(self) -> float:
        """The statistic of the worst check."""
        return self.worst.statistic

    @property
    def p_value(self) -> float:
        """The p value of the worst check, corrected for their number."""
        return self.worst.adjusted

    @property
    def rejected(self) -> bool:
        """Whether the model does not describe the data at the 5 % level."""
        return self.p_value < LEVEL

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that fail after correction."""
        return tuple(check for check in self.checks if check.adjusted < LEVEL)

    def __str__(self) -> str:
        """One sentence."""
        if not self.rejected:
            evidence = f"least p = {self.p_value:.2g} of {len(self.checks)} checks"
            return f"the sparse-token model is not contradicted by these data ({evidence})"
        reasons = "; ".join(f"{check.failure} (p {_p(check.adjusted)})" for check in self.failed)
        return f"the sparse-token model does not describe these data: {reasons}"


def _p(value: float) -> str:
    return "< 0.001" if value < 1e-3 else f"= {value:.2g}"


def examine(
    sample: Sample, found: Estimates, difference: SquaredDifference, identified: bool, rng: np.random.Generator
) -> Misfit:
    """All checks; those of the mixture's parameters only where these are `identified`."""
    results = [*scatters(sample, found, identified, rng), *_projections(found.splits[0], rng)]
    results.append(_counts(found.splits[0], found.fits[0]))
    if identified:
        results.append(_agreement(found, difference))
    adjusted = holm(np.array([result[2] for result in results]))
    return Misfit(
        tuple(
            Check(name, stat, p, float(q), words) for (name, stat, p, words), q in zip(results, adjusted, strict=True)
        )
    )


_Found = tuple[str, float, float, str]


def scatters(sample: Sample, found: Estimates, identified: bool, rng: np.random.Generator) -> list[_Found]:
    """Scatter H of one kind against the scatter E of tokens within negative bags, by tr(H E^-1).

    For independent Wishart H (h degrees of freedom) and E (e) of one covariance in p dimensions (Lawley and Hotelling):
    mean p h/(e-p-1), variance 2 p h (h+e-p-1)(e-1) / ((e-p)(e-p-1)^2(e-p-3)). Between negative bags, H has this law
    when the tokens of a bag are independent. Within positive bags it has, besides, the signal's own scatter strength^2
    share (1 - share) N_1/(e-p-1); where the signal is not identified, anything between none and what a first principal
    axis would have shown, 2 sqrt(p N_1)/(e-p-1), is let pass.
    """
    negative = ~sample.positive[sample.bag]
    within = within_bags(sample.values, sample.offsets)
    means = sample.bag_means()
    own = ~sample.positive
    lengths = sample.lengths
    between = means[own] - sample.values[negative].mean(axis=0)
    between = between * np.sqrt(lengths[own])[:, None]
    inside, signal = within[negative], within[~negative]
    e, dim = len(inside) - int(own.sum()), sample.values.shape[1]
    kept = 1.0
    if e < FREEDOM * dim + 4:
        width = max((e - 4) // FREEDOM, 1)
        basis = np.linalg.qr(rng.normal(size=(dim, width)))[0]
        between, inside, signal = between @ basis, inside @ basis, signal @ basis
        kept, dim = width / dim, width
    inverse = np.linalg.pinv(inside.T @ inside, hermitian=True)
    rest = e - dim - 1

    def score(rows: np.ndarray, h: int, low: float, high: float, error: float) -> tuple[float, float]:
        trace = float(np.einsum("ij,ij->", rows @ inverse, rows))
        variance = 2.0 * dim * h * (h + rest) * (e - 1) / ((e - dim) * rest**2 * max(rest - 2, 1))
        away = trace - dim * h / rest
        away = away - min(max(away, low / rest), high / rest)
        z = away / np.sqrt(variance + (error / rest) ** 2)
        return float(z), float(2.0 * ndtr(-abs(z)))

    tokens = len(signal)
    if identified:
        spikes = found.strengths**2 * found.shares * (1.0 - found.shares)
        spike = found.strength**2 * found.share * (1.0 - found.share)
        low = high = kept * tokens * spike
        error = kept * tokens * float(np.std(spikes))
    else:
        low, high, error = 0.0, 2.0 * float(np.sqrt(dim * tokens)), 0.0
    first, first_p = score(between, int(own.sum()) - 1, 0.0, 0.0, 0.0)
    second, second_p = score(signal, tokens - int((~own).sum()), low, high, error)
    return [
        (
            "tokens independent within a bag",
            first,
            first_p,
            "tokens of a bag resemble each other"
            if first > 0
            else "the bags' means vary less than independent tokens let them",
        ),
        ("same noise in positive bags", second, second_p, "the noise in positive bags is not that in negative bags"),
    ]


def _projections(split: Split, rng: np.random.Generator) -> list[_Found]:
    """Anderson and Darling's distance of held-out tokens, in bins, from the normal law and from the fitted mixture.

    Calibrated by drawing tokens from the fit and fitting anew.
    """
    negatives, positives = [], []
    for half in split.halves:
        negatives.append(np.asarray(half.counts[~half.positive].sum(axis=0)).reshape(1, -1))
        positives.append(np.asarray(half.counts[half.positive].sum(axis=0)).reshape(1, -1))
    *observed, law = _distances(negatives, positives)
    drawn_negatives = [_draw(rng, n, 0.0, 0.0) for n in negatives]
    drawn_positives = [_draw(rng, p, law.share[0], law.shift[0, i]) for i, p in enumerate(positives)]
    *null, _ = _distances(drawn_negatives, drawn_positives, law)
    found = []
    for name, i, words in (
        ("noise normal along the signal", 0, "the tokens of negative bags are not normal along the direction found"),
        ("two components along the signal", 1, "two normal components do not describe the tokens of positive bags"),
    ):
        p = (1 + int(np.sum(null[i] >= observed[i][0]))) / (1 + DRAWS)
        # Far outside what was drawn, the log-normal tail through the draws' mean and spread says how far.
        logs = np.log(null[i])
        z = (np.log(observed[i][0]) - logs.mean()) / logs.std()
        tail = float(ndtr(-z)) if z > 4.0 else p
        found.append((name, float(observed[i][0] / np.median(null[i])), min(p, max(tail, 0.0)), words))
    return found


def _draw(rng: np.random.Generator, counts: np.ndarray, share: float, shift: float) -> np.ndarray:
    density = (1.0 - share) * np.exp(-0.5 * GRID**2) + share * np.exp(-0.5 * (GRID - shift) ** 2)
    return rng.multinomial(round(float(counts.sum())), density / density.sum(), size=DRAWS).astype(float)


def _distances(
    negatives: list[np.ndarray], positives: list[np.ndarray], start: Mixture | None = None
) -> tuple[np.ndarray, np.ndarray, Mixture]:
    places = []
    for counts in negatives:
        centre, scale = centre_and_scale(counts)
        places.append((GRID - centre[:, None]) / scale[:, None])
    law = fit_mixture(positives, places, start)
    one = np.zeros(len(places[0]))
    first = sum(_distance(c, z, one, one) for c, z in zip(negatives, places, strict=True))
    second = sum(
        _distance(c, z, law.share, law.shift[:, i]) for i, (c, z) in enumerate(zip(positives, places, strict=True))
    )
    return np.asarray(first), np.asarray(second), law


def _distance(counts: np.ndarray, z: np.ndarray, share: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """N sum (F_counts - F)^2 / (F (1 - F)) dF over the bins."""
    weight = (1.0 - share[:, None]) * np.exp(-0.5 * z**2)
    weight = weight + share[:, None] * np.exp(-0.5 * (z - shift[:, None]) ** 2)
    weight = weight / weight.sum(axis=1, keepdims=True)
    below = np.cumsum(weight, axis=1)
    total = counts.sum(axis=1, keepdims=True)
    seen = np.cumsum(counts, axis=1) / total
    room = np.maximum(below * (1.0 - below), 1e-6)
    return np.sum(total * (seen - below) ** 2 / room * np.where(room > 1e-6, weight, 0.0), axis=1)


def _counts(split: Split, law: Mixture) -> _Found:
    """The spread of bag sums of positives along the signal, which a signal in few bags of many tokens widens.

    sum over a bag of (x - share shift) has variance L (1 + shift^2 share (1 - share)) if tokens carry the signal
    independently and L if their number is fixed; only more than the first counts against the model.
    """
    squares = []
    for i, half in enumerate(split.halves):
        offsets = np.concatenate([[0], np.cumsum(half.lengths)])
        sums, lengths = np.add.reduceat(half.projections, offsets[:-1])[half.positive], half.lengths[half.positive]
        mean = sums.sum() / lengths.sum()
        variance = 1.0 + float(law.shift[0, i]) ** 2 * float(law.share[0] * (1.0 - law.share[0]))
        squares.append((sums - mean * lengths) ** 2 / (lengths * variance))
    each = np.concatenate(squares)
    statistic, freedom = float(each.sum()), len(each) - len(split.halves)
    return (
        "signal in every positive bag alike",
        statistic / freedom,
        float(chi2.sf(statistic, freedom)),
        "positive bags differ in their share of signal tokens by more than chance, or their tokens resemble each other",
    )


def _agreement(found: Estimates, difference: SquaredDifference) -> _Found:
    """(strength share)^2 of the mixture against that of the pooled means."""
    products = (found.strengths * found.shares) ** 2
    error = np.hypot(difference.deviation, float(np.std(products)))
    z = ((found.strength * found.share) ** 2 - difference.value) / error
    return (
        "mixture and pooled means agree",
        float(z),
        float(2.0 * ndtr(-abs(z))),
        "the means of the classes differ by more than the signal tokens explain"
        if z < 0
        else "the signal tokens would move the mean by more than it moves",
    )
