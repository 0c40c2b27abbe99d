"""The real learning curves: the models that the theory describes, trained on parts of the bags, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solvable.bags.container import token_rows, unchecked
from solvable.bags.diagnosis.preparation import Sample
from solvable.bags.diagnosis.whitening import noise_of
from solvable.bags.passes import Block, attention_weights, query_gradient, token_means, weighted_sums

RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
SHARPNESSES = (0.3, 0.6, 1.2, 2.4)
SIZES, LARGEST, SMALLEST = 4, 0.8, 0.2
SPLITS = 10
LEAST_OF_A_CLASS = 4
HEAD_RATE = 1e-3  # a full step of the head overshoots strong signals and turns the query away


@dataclass(frozen=True)
class Curves:
    """Test errors against numbers of training bags: `bags` (m,), each model's error and its standard error (m,).

    advantage (m,) is the error of pooling minus that of attention, which for measured curves is taken bag by bag. A
    curve that is not known is all NaN.
    """

    bags: np.ndarray
    attention: np.ndarray
    attention_error: np.ndarray
    pooled: np.ndarray
    pooled_error: np.ndarray
    advantage: np.ndarray
    advantage_error: np.ndarray


def training_sizes(sample: Sample) -> np.ndarray:
    """Four sizes up to 80 % of the bags, with at least four bags of each class in the smallest."""
    count = len(sample.positive)
    rarer = min(int(sample.positive.sum()), int((~sample.positive).sum()))
    least = min(max(SMALLEST, (LEAST_OF_A_CLASS + 0.5) / rarer), LARGEST)
    return np.unique(np.round(np.geomspace(least, LARGEST, SIZES) * count).astype(int))


def measure(sample: Sample, rng: np.random.Generator) -> Curves:
    """Train both models on random stratified parts of the bags, ten for every size, and test on all other bags.

    Within the training bags: whitening by the covariance within their negative bags (Ledoit-Wolf), the ridge, and for
    attention the sharpness, by the error of leave-one-out scores. The two models share parts. The standard error is
    that of a mean over bags of each bag's share of wrong answers, joined with the spread over parts / sqrt(10).
    """
    rows = []
    for size in training_sizes(sample):
        wrong = np.full((2, SPLITS, len(sample.positive)), np.nan)
        for split in range(SPLITS):
            train = _stratified(sample.positive, int(size), rng)
            wrong[:, split] = _wrong(sample, train, rng)
        rows.append([*_summary(wrong[0]), *_summary(wrong[1]), *_summary(wrong[1] - wrong[0])])
    return Curves(training_sizes(sample).astype(float), *np.array(rows).T)


def _summary(wrong: np.ndarray) -> tuple[float, float]:
    tested = np.isfinite(wrong).any(axis=0)
    by_part, by_bag = np.nanmean(wrong, axis=1), np.nanmean(wrong[:, tested], axis=0)
    return float(by_part.mean()), float(np.sqrt(by_bag.var(ddof=1) / len(by_bag) + by_part.var(ddof=1) / len(by_part)))


def _stratified(positive: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    chosen = []
    share = size / len(positive)
    for label in (False, True):
        mine = rng.permutation(np.flatnonzero(positive == label))
        count = min(max(round(share * len(mine)), LEAST_OF_A_CLASS), len(mine) - 1)
        chosen.append(mine[:count])
    return np.sort(np.concatenate(chosen))


def _wrong(sample: Sample, train: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether attention and pooling err on each bag, (2, n); NaN for the training bags."""
    y = np.where(sample.positive, 1.0, -1.0)
    negative = train[~sample.positive[train]]
    tokens = sample.values[token_rows(sample.offsets, negative)]
    noise = noise_of(tokens, np.concatenate([[0], np.cumsum(sample.lengths[negative])]), shrink=True)
    white = noise.whiten(sample.values - tokens.mean(axis=0))
    means = token_means(white, sample.offsets)
    part = rng.permutation(train)
    order = part[np.argsort(sample.positive[part], kind="stable")]  # halves with the same share of each class
    first, second = np.sort(order[::2]), np.sort(order[1::2])
    query = two_step_query(sample, white, means, y, first)
    heads = []
    for sharpness in SHARPNESSES:
        features = attended(sample, white, sharpness * query)
        heads.append((*ridge_head(features[second], y[second]), features))
    weight, bias, _, features = min(heads, key=lambda head: head[2])
    pooled_weight, pooled_bias, _ = ridge_head(means[train], y[train])
    scores = np.stack([features @ weight + bias, means @ pooled_weight + pooled_bias])
    wrong = np.where(y * scores > 0.0, 0.0, 1.0)
    wrong[:, train] = np.nan
    return wrong


def two_step_query(sample: Sample, white: np.ndarray, means: np.ndarray, y: np.ndarray, bags: np.ndarray) -> np.ndarray:
    """The unit query after two gradient steps from zero with the square loss, (d,); arXiv:2509.25153, Section 4.

    w = .001 mean(y x), b = mean(y), h = <w, x> + b - y with the bags' mean tokens x; the query is along
    -mean over bags of h (1/L) sum_l (s_l - mean s) x_l with s = X w.
    """
    weight, bias = HEAD_RATE * (y[bags] @ means[bags]) / len(bags), float(y[bags].mean())
    part = Block(unchecked(white, sample.offsets)[bags], y[bags], np.full(len(bags), 1.0 / len(bags)))
    query = query_gradient(part, weight, np.zeros_like(weight), lambda scores, targets: targets - bias - scores)
    return query / max(float(np.linalg.norm(query)), 1e-300)


def attended(sample: Sample, white: np.ndarray, query: np.ndarray) -> np.ndarray:
    """sum_l softmax(X q)_l x_l for every bag, (n, d)."""
    return weighted_sums(white, attention_weights(white @ query, sample.offsets), sample.offsets)


def ridge_head(features: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float, tuple[float, float]]:
    """The minimiser (w, b) of mean (<w, f> + b - y)^2/2 + (ridge/2)|w|^2 at the ridge with the fewest errors left out.

    Leave-one-out scores are y - (y - fitted)/(1 - h), h the diagonal of the hat matrix; ties go to the smaller squared
    error. Returns: w, b, (share of errors, mean square) left out.
    """
    count = len(y)
    centre, level = features.mean(axis=0), float(y.mean())
    left, singular, right = np.linalg.svd(features - centre, full_matrices=False)
    along = left.T @ (y - level)
    best = None
    for ridge in RIDGES:
        shrink = singular**2 / (singular**2 + count * ridge)
        hat = np.minimum((left**2) @ shrink + 1.0 / count, 1.0 - 1e-9)
        missed = (y - level - left @ (shrink * along)) / (1.0 - hat)
        value = (float(np.mean(y * (y - missed) <= 0.0)), float(np.mean(missed**2)))
        if best is None or value < best[0]:
            best = (value, ridge)
    assert best is not None
    weight = right.T @ (singular / (singular**2 + count * best[1]) * along)
    return weight, level - float(centre @ weight), best[0]
