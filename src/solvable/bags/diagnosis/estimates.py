"""Strength and share from tokens projected on directions that other bags gave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from solvable.bags.container import token_rows
from solvable.bags.diagnosis.direction import signal_direction
from solvable.bags.diagnosis.mixture import GRID, Mixture, binned, centre_and_scale, fit_mixture
from solvable.bags.diagnosis.preparation import Sample
from solvable.bags.diagnosis.whitening import noise_of

SPLITS = 5  # each with another fifth of the negative bags as its reference
LEFT = 0.75  # of the error of the cosines, what its cancellation leaves


@dataclass(frozen=True)
class Half:
    """Bags that are held out, and their tokens along the direction that the others gave.

    The reference bags of the split, which gave no direction, are held out in both halves. bags (n_h,): their numbers;
    positive (n_h,); lengths (n_h,); projections: their tokens' inner products in units of the negatives' deviation,
    centred on the negatives; counts (n_h, G): the same in bins.
    """

    positive: np.ndarray
    bags: np.ndarray
    lengths: np.ndarray
    projections: np.ndarray
    counts: csr_matrix


@dataclass(frozen=True)
class Split:
    """Two halves of the bags, the `reference` bags (n_c,) and what their tokens sum to.

    sums (n_c, 4): of each reference bag, tokens, sum of projections on the directions of A and of B, and of their
    products, the projections in the units of the halves.
    """

    halves: tuple[Half, Half]
    reference: np.ndarray
    sums: np.ndarray
    shrunk: bool


@dataclass(frozen=True)
class Estimates:
    """The splits, the fit to all bags and the fits to reweighted bags (B of them).

    gain, signal: twice the log likelihood ratio of two components against one, and against none, mean of the splits;
    cosine: mean of the splits' products of cosines; fits: the splits' mixtures.
    """

    splits: tuple[Split, ...]
    strength: float
    share: float
    product: float
    gain: float
    signal: float
    cosine: float
    strengths: np.ndarray
    shares: np.ndarray
    products: np.ndarray
    fits: tuple[Mixture, ...]


def split_sample(sample: Sample, reference: np.ndarray, rng: np.random.Generator) -> Split:
    """Halve the bags within each class, without the reference; the direction of each half is tried on the other.

    w_A = S_A^-1 (mean of what half A takes for signal tokens), S_A the covariance within half A's negative bags.
    """
    parts: list[np.ndarray] = [np.empty(0, int), np.empty(0, int)]
    for label in (False, True):
        order = rng.permutation(np.setdiff1d(np.flatnonzero(sample.positive == label), reference))
        cut = (len(order) + int(rng.integers(2))) // 2
        parts = [np.concatenate([parts[0], order[:cut]]), np.concatenate([parts[1], order[cut:]])]
    directions, shrunk = [], False
    for part in parts:
        negative, positive = part[~sample.positive[part]], part[sample.positive[part]]
        tokens = sample.values[token_rows(sample.offsets, negative)]
        noise = noise_of(tokens, np.concatenate([[0], np.cumsum(sample.lengths[negative])]))
        signal = sample.values[token_rows(sample.offsets, positive)] - tokens.mean(axis=0)
        directions.append(noise.direction(signal_direction(noise.whiten(signal))))
        shrunk = shrunk or noise.shrunk
    a, b = directions
    half_a, a_along_b = _held_out(sample, parts[0], reference, b)
    half_b, b_along_a = _held_out(sample, parts[1], reference, a)
    ends = np.concatenate([[0], np.cumsum(sample.lengths[reference])])
    each = np.stack([np.ones(ends[-1]), a_along_b, b_along_a, a_along_b * b_along_a], axis=1)
    return Split((half_a, half_b), reference, np.add.reduceat(each, ends[:-1], axis=0), shrunk)


def _held_out(
    sample: Sample, part: np.ndarray, reference: np.ndarray, direction: np.ndarray
) -> tuple[Half, np.ndarray]:
    """The half, and the projections of the tokens of the reference alone, which come last."""
    bags = np.concatenate([np.sort(part), reference])
    projections = sample.values[token_rows(sample.offsets, bags)] @ direction
    lengths, positive = sample.lengths[bags], sample.positive[bags]
    negative = projections[np.repeat(~positive, lengths)]
    projections = (projections - negative.mean()) / max(float(negative.std()), 1e-300)
    half = Half(positive, bags, lengths, projections, binned(projections, lengths))
    return half, projections[len(projections) - int(sample.lengths[reference].sum()) :]


def estimate(sample: Sample, bootstrap: int, rng: np.random.Generator) -> Estimates:
    """Fit the mixture on every split, to all bags and to `bootstrap` exponential reweightings of them.

    Let c_A, c_B be the cosines of the directions of the halves with the signal, in the metric of the noise. The errors
    of two directions are independent, so the cosine of w_A and w_B estimates c_A c_B; it is the correlation of the
    projections of noise tokens that gave neither direction, the reference. In half A the signal tokens lie at
    strength c_B and in half B at strength c_A, so
        strength^2 = mean over splits of shift_A shift_B / mean over splits of c_A c_B,
    and the share is the mean over splits. The squared difference of the pooled means is the same with the mean of the
    positives' tokens in place of the shift: (strength share)^2, free of the mixture.

    A reweighting gives every bag, in its class, a weight from Dirichlet(1, ..., 1) (the Bayesian bootstrap): halves and
    directions stay, so that no bag is on both sides. w_A and w_B have about (1 - c_A c_B)/sqrt(d - 1) in common beyond
    c_A c_B, through what the signal tokens of one half have, by chance, along the direction of the other; the shift
    errs by the same chance and, to first order, in the same proportion. For what does not cancel, 3/4 of that error is
    added as a normal number, a choice made by simulation.
    """
    fifths = np.array_split(rng.permutation(np.flatnonzero(~sample.positive)), SPLITS)
    splits = tuple(split_sample(sample, np.sort(fifth), rng) for fifth in fifths)
    weights = np.ones((bootstrap + 1, len(sample.positive)))
    for label in (False, True):
        mine = sample.positive == label
        drawn = rng.exponential(size=(bootstrap, int(mine.sum())))
        weights[1:, mine] = drawn / drawn.mean(axis=1, keepdims=True)
    firsts, fits, squares, cosines = [], [], [], []
    for split in splits:
        positives, places, scales = [], [], []
        for half in split.halves:
            mine = weights[:, half.bags]
            negatives = (half.counts.T @ (mine * ~half.positive).T).T
            positives.append((half.counts.T @ (mine * half.positive).T).T)
            centre, scale = centre_and_scale(negatives)
            places.append((GRID - centre[:, None]) / scale[:, None])
            scales.append(scale)
        count, first_sum, second_sum, product = (weights[:, split.reference] @ split.sums).T
        cosines.append((product - first_sum * second_sum / count) / (count * scales[0] * scales[1]))
        means = [np.sum(p * z, axis=1) / p.sum(axis=1) for p, z in zip(positives, places, strict=True)]
        squares.append(means[0] * means[1])
        first = fit_mixture([p[:1] for p in positives], [p[:1] for p in places])
        firsts.append(first)
        fits.append(fit_mixture([p[1:] for p in positives], [p[1:] for p in places], first))
    shift = float(np.mean([f.shift.prod(axis=1) for f in firsts]))
    shifts = np.mean([f.shift.prod(axis=1) for f in fits], axis=0)
    cosine = np.mean(cosines, axis=0)
    left = LEFT * (1.0 - min(max(float(cosine[0]), 0.0), 1.0)) / np.sqrt(max(sample.values.shape[1] - 1, 1))
    cosine[1:] += left * rng.normal(size=bootstrap)
    products = _root(np.mean(squares, axis=0), cosine)
    return Estimates(
        splits,
        float(_root(shift, cosine[0])),
        float(np.mean([f.share for f in firsts])),
        float(products[0]),
        float(np.mean([f.gain for f in firsts])),
        float(np.mean([f.signal for f in firsts])),
        float(cosine[0]),
        _root(shifts, cosine[1:]),
        np.mean([f.share for f in fits], axis=0),
        products[1:],
        tuple(firsts),
    )


def _root(square: np.ndarray | float, cosine: np.ndarray | float) -> np.ndarray:
    return np.sqrt(np.maximum(square, 0.0) / np.maximum(cosine, 1e-6))
