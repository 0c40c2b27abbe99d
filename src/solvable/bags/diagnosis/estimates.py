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

SPLITS = 4
LEFT = 0.5  # of the error of the cosines, what its cancellation leaves


@dataclass(frozen=True)
class Half:
    """Bags that are held out, and their tokens along the direction that the others gave.

    bags (n_h,): their numbers; positive (n_h,); lengths (n_h,); projections: their tokens' inner products in units of
    the negatives' deviation, centred on the negatives; counts (n_h, G): the same in bins.
    """

    positive: np.ndarray
    bags: np.ndarray
    lengths: np.ndarray
    projections: np.ndarray
    counts: csr_matrix


@dataclass(frozen=True)
class Split:
    """Two halves of the bags; `cosine` is the product c_A c_B of their directions' cosines with the signal."""

    halves: tuple[Half, Half]
    cosine: float
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


def split_sample(sample: Sample, rng: np.random.Generator) -> Split:
    """Halve the bags within each class; the direction of each half is tried on the other.

    With w_A = S_A^-1 (mean of what half A takes for signal tokens), the cosine of w_A and w_B in the noise's metric
    estimates c_A c_B, the product of their cosines with the signal, because they err independently. The metric is
    estimated by S_B for |w_A|^2 and by inflation * (S_A + S_B)/2 for <w_A, w_B>, as E <w_A, S_A w_B> lacks the
    inflation of one inverse (see `Noise`).
    """
    parts: list[np.ndarray] = [np.empty(0, int), np.empty(0, int)]
    for label in (False, True):
        order = rng.permutation(np.flatnonzero(sample.positive == label))
        cut = (len(order) + int(rng.integers(2))) // 2
        parts = [np.concatenate([parts[0], order[:cut]]), np.concatenate([parts[1], order[cut:]])]
    parts = [np.sort(part) for part in parts]
    noises, directions = [], []
    for part in parts:
        negative, positive = part[~sample.positive[part]], part[sample.positive[part]]
        tokens = sample.values[token_rows(sample.offsets, negative)]
        noise = noise_of(tokens, np.concatenate([[0], np.cumsum(sample.lengths[negative])]))
        signal = sample.values[token_rows(sample.offsets, positive)] - tokens.mean(axis=0)
        directions.append(noise.direction(signal_direction(noise.whiten(signal))))
        noises.append(noise)
    a, b = directions
    size_a, size_b = np.sqrt(a @ noises[1].covariance @ a), np.sqrt(b @ noises[0].covariance @ b)
    inflation = 0.5 * (noises[0].inflation + noises[1].inflation)
    across = inflation * 0.5 * (a @ (noises[0].covariance + noises[1].covariance) @ b)
    halves = (_held_out(sample, parts[0], b / size_b), _held_out(sample, parts[1], a / size_a))
    shrunk = noises[0].shrunk or noises[1].shrunk
    return Split(halves, float(across / (size_a * size_b)), shrunk)


def _held_out(sample: Sample, bags: np.ndarray, direction: np.ndarray) -> Half:
    projections = sample.values[token_rows(sample.offsets, bags)] @ direction
    lengths, positive = sample.lengths[bags], sample.positive[bags]
    negative = projections[np.repeat(~positive, lengths)]
    projections = (projections - negative.mean()) / negative.std()
    return Half(positive, bags, lengths, projections, binned(projections, lengths))


def estimate(sample: Sample, bootstrap: int, rng: np.random.Generator) -> Estimates:
    """Fit the mixture on every split, to all bags and to `bootstrap` exponential reweightings of them.

    In half A the signal tokens lie at strength c_B and in half B at strength c_A, so
        strength^2 = mean over splits of shift_A shift_B / mean over splits of c_A c_B,
    and the share is the mean over splits. The squared difference of the pooled means is the same with the mean of the
    positives' tokens in place of the shift: (strength share)^2, free of the mixture.

    A reweighting gives every bag, in its class, a weight from Dirichlet(1, ..., 1) (the Bayesian bootstrap): halves and
    directions stay, so that no bag is on both sides. The product of cosines stays too, up to a normal number added to
    it. It errs by about (1 - c_A c_B)/sqrt(d - 1) through what the signal tokens of one half have, by chance, along the
    direction of the other; the shift errs by the same chance and, to first order, in the same proportion. For what does
    not cancel half of that error is added, a choice made by simulation.
    """
    splits = tuple(split_sample(sample, rng) for _ in range(SPLITS))
    weights = np.ones((bootstrap + 1, len(sample.positive)))
    for label in (False, True):
        mine = sample.positive == label
        drawn = rng.exponential(size=(bootstrap, int(mine.sum())))
        weights[1:, mine] = drawn / drawn.mean(axis=1, keepdims=True)
    firsts, fits, squares = [], [], []
    for split in splits:
        positives, places = [], []
        for half in split.halves:
            mine = weights[:, half.bags]
            negatives = (half.counts.T @ (mine * ~half.positive).T).T
            positives.append((half.counts.T @ (mine * half.positive).T).T)
            centre, scale = centre_and_scale(negatives)
            places.append((GRID - centre[:, None]) / scale[:, None])
        means = [np.sum(p * z, axis=1) / p.sum(axis=1) for p, z in zip(positives, places, strict=True)]
        squares.append(means[0] * means[1])
        first = fit_mixture([p[:1] for p in positives], [p[:1] for p in places])
        firsts.append(first)
        fits.append(fit_mixture([p[1:] for p in positives], [p[1:] for p in places], first))
    cosine = float(np.mean([split.cosine for split in splits]))
    shift = float(np.mean([f.shift.prod(axis=1) for f in firsts]))
    shifts = np.mean([f.shift.prod(axis=1) for f in fits], axis=0)
    left = LEFT * (1.0 - min(max(cosine, 0.0), 1.0)) / np.sqrt(max(sample.values.shape[1] - 1, 1))
    cosines = cosine + left * rng.normal(size=bootstrap + 1)
    cosines[0] = cosine
    products = _root(np.mean(squares, axis=0), cosines)
    return Estimates(
        splits,
        float(_root(shift, cosine)),
        float(np.mean([f.share for f in firsts])),
        float(products[0]),
        float(np.mean([f.gain for f in firsts])),
        float(np.mean([f.signal for f in firsts])),
        cosine,
        _root(shifts, cosines[1:]),
        np.mean([f.share for f in fits], axis=0),
        products[1:],
        tuple(firsts),
    )


def _root(square: np.ndarray | float, cosine: np.ndarray | float) -> np.ndarray:
    return np.sqrt(np.maximum(square, 0.0) / np.maximum(cosine, 1e-6))
