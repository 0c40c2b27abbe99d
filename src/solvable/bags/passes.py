"""What one read of the tokens gathers: moments, the query, its scale, the pooled features. Blocks in, sums out.

Every function takes a `Block` and what earlier passes found, and computes in float64 whatever the tokens' precision.
Per-bag sums are products with a sparse matrix whose row i holds the weights of bag i's tokens, so that bags of any
lengths cost one sweep over the tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from solvable.bags.container import Bags


@dataclasses.dataclass(frozen=True)
class Block:
    """Some bags with their targets and weights, (n,) each."""

    bags: Bags
    targets: np.ndarray
    weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class Group:
    """Weighted moments of a group of bags: the bags of one class, or all of them in a regression.

    `weight` and `token_weight` are sums over bags and tokens; `token_mean`, `token_square` (d,) the mean and the summed
    squared deviations of the tokens; `bag_mean` (d,) the mean of the bags' means; `target_mean` and `target_square`
    those of the targets; `product` (d,) the summed products of the deviations of targets and bag means.
    """

    weight: float
    token_weight: float
    token_mean: np.ndarray
    token_square: np.ndarray
    bag_mean: np.ndarray
    target_mean: float
    target_square: float
    product: np.ndarray

    def __add__(self, other: Group) -> Group:
        """The moments of both groups together (Chan, Golub and LeVeque's update)."""
        weight, tokens = self.weight + other.weight, self.token_weight + other.token_weight
        part, token_part = other.weight / weight, other.token_weight / tokens
        step, token_step = other.bag_mean - self.bag_mean, other.token_mean - self.token_mean
        target_step = other.target_mean - self.target_mean
        between = self.weight * part
        return Group(
            weight,
            tokens,
            self.token_mean + token_part * token_step,
            self.token_square + other.token_square + (self.token_weight * token_part) * token_step**2,
            self.bag_mean + part * step,
            self.target_mean + part * target_step,
            self.target_square + other.target_square + between * target_step**2,
            self.product + other.product + between * target_step * step,
        )

    def scaled(self, factor: float) -> Group:
        """The moments when every weight is multiplied by `factor`."""
        return dataclasses.replace(
            self,
            weight=factor * self.weight,
            token_weight=factor * self.token_weight,
            token_square=factor * self.token_square,
            target_square=factor * self.target_square,
            product=factor * self.product,
        )


@np.errstate(over="ignore", invalid="ignore")  # values whose squares overflow are refused by name, in `training`
def moments(block: Block, groups: np.ndarray, values: np.ndarray) -> dict[Any, Group]:
    """The `Group` of each value that `groups` (n,) takes in the block; `values` (n,) are the numeric targets."""
    lengths = block.bags.lengths
    names = np.unique(groups)
    weights = np.where(groups == names[:, None], block.weights, 0.0)
    weight, token_weight = weights.sum(axis=1), weights @ lengths
    safe = np.where(weight > 0.0, weight, 1.0)
    target_mean = weights @ values / safe
    centred = values - target_mean[:, None]
    # Any shift near the tokens will do: it keeps the squares from cancelling.
    shift = float64(block.bags.values[:: max(1, len(block.bags.values) // 32)]).mean(axis=0)
    deviations = block.bags.values - shift
    rows = np.concatenate([weights, weights / lengths, weights * centred / lengths])
    sums = np.repeat(rows, lengths, axis=1) @ deviations
    np.square(deviations, out=deviations)
    squares = np.repeat(weights, lengths, axis=1) @ deviations
    found = {}
    for g in np.flatnonzero(weight > 0.0):
        mean, bag_sum, product = sums[g :: len(names)]
        mean = mean / token_weight[g]
        found[names[g]] = Group(
            weight=float(weight[g]),
            token_weight=float(token_weight[g]),
            token_mean=shift + mean,
            token_square=np.maximum(squares[g] - token_weight[g] * mean**2, 0.0),
            bag_mean=shift + bag_sum / weight[g],
            target_mean=float(target_mean[g]),
            target_square=float(weights[g] @ centred[g] ** 2),
            product=product,  # the centred targets sum to zero, so that bag means need no centring
        )
    return found


Residual = Callable[[np.ndarray, np.ndarray], np.ndarray]


def query_gradient(block: Block, direction: np.ndarray, centre: np.ndarray, residual: Residual) -> np.ndarray:
    """sum_i r_i/L_i X_i^T C X_i w, the second step's sum, with C = I - 11^T/L_i, w = `direction` (in raw features).

    r_i = weight_i residual(u_i, target_i) with u_i = <w, mean token of bag i - centre>. The centre, far from which no
    token should lie, also keeps the products from cancelling.
    """
    tokens, lengths = block.bags.values - centre, block.bags.lengths
    scores = tokens @ direction
    means = bag_means(scores, block.bags.offsets)
    residuals = block.weights * residual(means, block.targets)
    return (np.repeat(residuals / lengths, lengths) * (scores - np.repeat(means, lengths))) @ tokens


def query_matrix(block: Block, direction: np.ndarray, centre: np.ndarray, residual: Residual) -> np.ndarray:
    """sum_i r_i/L_i X_i^T C X_i, (d, d): the matrix whose product with w is `query_gradient`."""
    tokens, lengths = block.bags.values - centre, block.bags.lengths
    means = token_means(tokens, block.bags.offsets)
    residuals = block.weights * residual(means @ direction, block.targets)
    centred = tokens - np.repeat(means, lengths, axis=0)
    return (centred * np.repeat(residuals / lengths, lengths)[:, None]).T @ centred


def score_scatter(block: Block, queries: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(sum of token weights, then for each query the weighted sum of its squared within-bag centred scores)."""
    lengths = block.bags.lengths
    scores = (block.bags.values - centre) @ queries
    centred = scores - np.repeat(bag_means(scores, block.bags.offsets), lengths, axis=0)
    weights = np.repeat(block.weights, lengths)
    return np.append(weights.sum(), weights @ centred**2)


def attention_weights(scores: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Softmax of the scores (N,) or (N, K) over the tokens of each bag."""
    lengths = np.diff(offsets)
    weights = np.exp(scores - np.repeat(np.maximum.reduceat(scores, offsets[:-1]), lengths, axis=0))
    return weights / np.repeat(np.add.reduceat(weights, offsets[:-1]), lengths, axis=0)


def weighted_sums(tokens: np.ndarray, weights: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """sum_l weights_il X_il for each bag i, (n, d)."""
    shape = (len(offsets) - 1, len(tokens))
    return csr_array((weights, np.arange(len(tokens)), offsets), shape=shape) @ float64(tokens)


def token_means(tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The mean token of each bag, (n, d)."""
    lengths = np.diff(offsets)
    return weighted_sums(tokens, np.repeat(1.0 / lengths, lengths), offsets)


def extremes(bags: Bags, which: str) -> np.ndarray:
    """The "min" or "max" of each feature over the tokens of each bag, (n, d).

    Bags of one length are reduced together: `reduceat` along rows is ten times slower.
    """
    lengths, dim = bags.lengths, bags.shape[1]
    result = np.empty((len(bags), dim))
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        tokens = bags.values if len(chosen) == len(bags) else bags[chosen].values
        result[chosen] = getattr(tokens.reshape(len(chosen), length, dim), which)(axis=1)
    return result


def log_mean_exp(bags: Bags, mean: np.ndarray, deviation: np.ndarray, rate: float) -> np.ndarray:
    """log(mean_l exp(rate z_il))/rate of each standardised feature z, (n, d), for rate > 0.

    Between the mean (rate -> 0) and the max (rate -> infinity).
    """
    standard = (float64(bags.values) - mean) / deviation
    tops = (extremes(bags, "max") - mean) / deviation
    powers = np.exp(rate * (standard - np.repeat(tops, bags.lengths, axis=0)))
    return tops + np.log(token_means(powers, bags.offsets)) / rate


def bag_means(scores: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The mean of (N,) or (N, K) scores over each bag."""
    lengths = np.diff(offsets)
    return np.add.reduceat(scores, offsets[:-1]) / (lengths if scores.ndim == 1 else lengths[:, None])


def float64(tokens: np.ndarray) -> np.ndarray:
    """The tokens in double precision; not copied when they are."""
    return np.asarray(tokens, dtype=np.float64)
