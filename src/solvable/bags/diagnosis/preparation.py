"""What a diagnosis works on: tokens in columns of unit scale, and which bags are positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvable.bags.container import Bags, as_bags
from solvable.bags.labels import groups_of, two_classes
from solvable.bags.leakage import refuse_in
from solvable.bags.passes import token_means

LEAST = 10  # bags, and groups, of each class: halves of five, of which a covariance between bags can be formed
DEPENDENT = 1e-8  # an axis with less of the variance of the first counts as a linear dependence
FLAT = 1e-10  # a column that varies less than this, relative to its size, counts as constant


@dataclass(frozen=True)
class Sample:
    """Bags in standard columns: `values` (N, d), `offsets` (n+1,), `positive` (n,), `dropped` (columns left out).

    `groups` (n,) are whole numbers from 0: bags of one group stay together; a number a bag where none were given.
    """

    values: np.ndarray
    offsets: np.ndarray
    positive: np.ndarray
    dropped: np.ndarray
    groups: np.ndarray

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

    def kinds(self) -> list[np.ndarray]:
        """The groups of negative bags alone, those of positive bags alone, and those of both."""
        down, up = np.unique(self.groups[~self.positive]), np.unique(self.groups[self.positive])
        return [np.setdiff1d(down, up), np.setdiff1d(up, down), np.intersect1d(down, up)]


@dataclass(frozen=True)
class CheckedBags:
    """Checked input: bags, labels (n,), the two classes, bags of each, the groups (n,) or None."""

    bags: Bags
    labels: np.ndarray
    classes: np.ndarray
    counts: np.ndarray
    groups: np.ndarray | None

    def sample(self, positive: Any) -> Sample:
        """The sample in which one of the classes is the positive one; see `standardised`."""
        groups = np.arange(len(self.labels)) if self.groups is None else self.groups
        return standardised(self.bags, self.labels == positive, groups)


def checked(bags: Any, labels: Any, positive: Any, groups: Any) -> CheckedBags:
    """What `diagnose` was given.

    Raises: ValueError naming what is missing and what is accepted.
    """
    bags = as_bags(bags, "bags")
    labels, classes, counts = two_classes(labels, bags, positive)
    together = groups_of(groups, len(labels))
    for count, name in zip(counts, classes, strict=True):
        if count < LEAST:
            raise ValueError(f"class {name} has {count} bags; accepted: at least {LEAST} bags of each class")
        if together is not None and len(np.unique(together[labels == name])) < LEAST:
            raise ValueError(
                f"class {name} is in {len(np.unique(together[labels == name]))} groups; accepted: at least {LEAST} "
                "groups with bags of each class"
            )
    if bags.lengths.max() < 2:
        raise ValueError("every bag has one token; accepted: bags of two or more tokens, where a signal can be sparse")
    refuse_in(bags, labels == classes[1])
    return CheckedBags(bags, labels, classes, counts, together)


def standardised(bags: Bags, positive: np.ndarray, groups: np.ndarray) -> Sample:
    """The columns that vary within negative bags, each divided by its deviation there.

    A column that does not vary there is dropped, because no noise is known for it.

    Where some depend linearly on others, they are replaced by principal axes, as many as there are independent ones.

    Raises: ValueError when no column is left.
    """
    values = np.asarray(bags.values, np.float64)
    sample = Sample(values, bags.offsets, positive, np.empty(0, int), groups)
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
    return Sample(scaled, bags.offsets, positive, np.flatnonzero(~kept), groups)
