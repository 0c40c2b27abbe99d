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


def splits_of(sample: Sample, rng: np.random.Generator) -> tuple[Split, ...]:
    """Five splits, each with another fifth of the negative bags as its reference; groups are never divided."""
    fifths = np.array_split(rng.permutation(np.unique(sample.groups[~sample.positive])), SPLITS)
    return tuple(split_sample(sample, fifth, rng) for fifth in fifths)


def split_sample(sample: Sample, apart: np.ndarray, rng: np.random.Generator) -> Split:
    """Halve the bags within each class, group by group; the direction of each half is tried on the other.

    The groups `apart` are in neither half; their negative bags are the reference.
    w_A = S_A^-1 (mean of what half A takes for signal tokens), S_A the covariance within half A's negative bags.
    """
    first: list[np.ndarray] = []
    for kind in sample.kinds():
        if len(kind):
            order = rng.permutation(np.setdiff1d(kind, apart))
            first.append(order[: (len(order) + int(rng.integers(2))) // 2])
    in_first, left_out = np.isin(sample.groups, np.concatenate(first)), np.isin(sample.groups, apart)
    parts = [np.flatnonzero(in_first), np.flatnonzero(~in_first & ~left_out)]
    reference = np.flatnonzero(left_out & ~sample.positive)
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
    bags = np.concatenate([part, reference])
    projections = sample.values[token_rows(sample.offsets, bags)] @ direction
    lengths, positive = sample.lengths[bags], sample.positive[bags]
    negative = projections[np.repeat(~positive, lengths)]
    projections = (projections - negative.mean()) / max(float(negative.std()), 1e-300)
    half = Half(positive, bags, lengths, projections, binned(projections, lengths))
    return half, projections[len(projections) - int(sample.lengths[reference].sum()) :]


def first_fits(sample: Sample, splits: tuple[Split, ...]) -> list[Mixture]:
    """The mixture fitted to all bags of each split."""
    ones = np.ones((1, len(sample.positive)))
    return [fit_mixture(*_weighed(split, ones)[:2]) for split in splits]


def estimate(
    sample: Sample, splits: tuple[Split, ...], firsts: list[Mixture], bootstrap: int, rng: np.random.Generator
) -> Estimates:
    """Fit the mixture on every split, also to `bootstrap` exponential reweightings of the bags.

    Let c_A, c_B be the cosines of the directions of the halves with the signal, in the metric of the noise. The errors
    of two directions are independent, so the cosine of w_A and w_B estimates c_A c_B; it is the correlation of the
    projections of noise tokens that gave neither direction, the reference. In half A the signal tokens lie at
    strength c_B and in half B at strength c_A, so
        strength^2 = mean over splits of shift_A shift_B / mean over splits of c_A c_B,
    and the share is the mean over splits. The squared difference of the pooled means is the same with the mean of the
    positives' tokens in place of the shift: (strength share)^2, free of the mixture.

    A reweighting gives every bag, in its class, a weight from Dirichlet(1, ..., 1) (the Bayesian bootstrap), and bags
    of a group the same one: halves and directions stay, so that no bag is on both sides. w_A and w_B have about (1 -
    c_A c_B)/sqrt(d - 1) in common beyond c_A c_B, through what the signal tokens of one half have, by chance, along the
    direction of the other; the shift errs by the same chance and, to first order, in the same proportion. For what does
    not cancel, 3/4 of that error is added as a normal number, a choice made by simulation.
    """
    weights = np.ones((bootstrap + 1, len(sample.positive)))
    drawn = np.empty((bootstrap, int(sample.groups.max()) + 1))
    for kind in sample.kinds():
        drawn[:, kind] = rng.exponential(size=(bootstrap, len(kind)))
    for label in (False, True):
        mine = sample.positive == label
        weights[1:, mine] = drawn[:, sample.groups[mine]]
        weights[1:, mine] /= weights[1:, mine].mean(axis=1, keepdims=True)
    fits, squares, cosines = [], [], []
    for split, first in zip(splits, firsts, strict=True):
        positives, places, scales = _weighed(split, weights)
        count, first_sum, second_sum, product = (weights[:, split.reference] @ split.sums).T
        cosines.append((product - first_sum * second_sum / count) / (count * scales[0] * scales[1]))
        means = [np.sum(p * z, axis=1) / p.sum(axis=1) for p, z in zip(positives, places, strict=True)]
        squares.append(means[0] * means[1])
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


def _weighed(split: Split, weights: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """The positives' tokens in bins, the places of the bins and the scales, of both halves, for weights (B, n)."""
    positives, places, scales = [], [], []
    for half in split.halves:
        mine = weights[:, half.bags]
        negatives = (half.counts.T @ (mine * ~half.positive).T).T
        positives.append((half.counts.T @ (mine * half.positive).T).T)
        centre, scale = centre_and_scale(negatives)
        places.append((GRID - centre[:, None]) / scale[:, None])
        scales.append(scale)
    return positives, places, scales


def _root(square: np.ndarray | float, cosine: np.ndarray | float) -> np.ndarray:
    return np.sqrt(np.maximum(square, 0.0) / np.maximum(cosine, 1e-6))
