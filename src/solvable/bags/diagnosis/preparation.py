"""What a diagnosis works on: tokens in columns of unit scale, and which bags are positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvable.bags.container import Bags, as_bags
from solvable.bags.leakage import constant_within, refuse_leakage
from solvable.bags.passes import token_means

LEAST_BAGS = 10  # of each class: halves of five, of which a covariance between bags can be formed
DEPENDENT = 1e-8  # an axis with less of the variance of the first counts as a linear dependence
FLAT = 1e-10  # a column that varies less than this, relative to its size, counts as constant


@dataclass(frozen=True)
class Sample:
    """Bags in standard columns: `values` (N, d), `offsets` (n+1,), `positive` (n,), `dropped` (columns left out)."""

    values: np.ndarray
    offsets: np.ndarray
    positive: np.ndarray
    dropped: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens a bag, (n,)."""
        return np.diff(self.offsets)

    @property
    def bag(self) -> np.ndarray:
        """The bag of each token, (N,)."""
        return np.repeat(np.arange(len(self.positive)), self.lengths)

    def bag_means(self) -> np.ndarray:
        """The mean token of each bag, (n, d)."""
        return token_means(self.values, self.offsets)


def prepare(bags: Any, labels: Any) -> tuple[Sample, tuple[Any, Any]]:
    """The sample and its (negative, positive) classes.

    Columns are divided by their standard deviation within the negative bags; a column that does not vary there is
    dropped, because no noise is known for it.

    Raises: ValueError naming what is missing and what is accepted.
    """
    bags = as_bags(bags, "bags")
    if labels is None:
        labels = bags.labels
        if labels is None:
            raise ValueError("labels=None and the bags hold none; accepted: one of two labels a bag")
    labels = np.asarray(labels)
    if labels.shape != (len(bags),):
        raise ValueError(f"labels has shape {labels.shape}; accepted: ({len(bags)},), one label a bag")
    if (labels.dtype.kind == "f" and np.isnan(labels).any()) or (
        labels.dtype == object and any(label is None or label != label for label in labels)
    ):
        raise ValueError("labels holds missing values; accepted: one of two labels a bag")
    classes = np.unique(labels)
    if len(classes) != 2:
        shown = ", ".join(map(str, classes[:4])) + (", ..." if len(classes) > 4 else "")
        raise ValueError(f"labels holds {len(classes)} classes ({shown}); accepted: two")
    positive = labels == classes[1]
    counts = (int((~positive).sum()), int(positive.sum()))
    for count, name in zip(counts, classes, strict=True):
        if count < LEAST_BAGS:
            raise ValueError(f"class {name} has {count} bags; accepted: at least {LEAST_BAGS} bags of each class")
    if bags.lengths.max() < 2:
        raise ValueError("every bag has one token; accepted: bags of two or more tokens, where a signal can be sparse")
    within = constant_within(bags)
    if within is not None and not within.all():
        columns = np.flatnonzero(within)
        first = bags.values[bags.offsets[:-1]][:, columns]
        refuse_leakage(first, columns.tolist(), bags.feature_names, np.where(positive, 1.0, -1.0), classes=True)
    return standardised(bags, positive), (classes[0].item(), classes[1].item())


def standardised(bags: Bags, positive: np.ndarray) -> Sample:
    """The columns that vary within negative bags, each divided by its deviation there.

    Where some depend linearly on others, they are replaced by principal axes, as many as there are independent ones.

    Raises: ValueError when no column is left.
    """
    values = np.asarray(bags.values, np.float64)
    sample = Sample(values, bags.offsets, positive, np.empty(0, int))
    negative = ~positive[sample.bag]
    within = (values - np.repeat(sample.bag_means(), sample.lengths, axis=0))[negative]
    deviation = np.sqrt(np.mean(within**2, axis=0))
    kept = deviation > FLAT * np.maximum(np.abs(values[negative]).max(axis=0), 1e-300)
    if not kept.any():
        raise ValueError("no feature varies within the negative bags; accepted: tokens with noise")
    scaled = (values[:, kept] - values[negative][:, kept].mean(axis=0)) / deviation[kept]
    freedom = len(within) - int((~positive).sum())
    if freedom >= 2 * scaled.shape[1]:
        rows = within[:, kept] / deviation[kept]
        sizes, axes = np.linalg.eigh(rows.T @ rows / len(rows))
        if sizes[0] < DEPENDENT * sizes[-1]:  # with fewer tokens a lack of noise would be one of tokens
            scaled = scaled @ axes[:, sizes >= DEPENDENT * sizes[-1]]
    return Sample(scaled, bags.offsets, positive, np.flatnonzero(~kept))
