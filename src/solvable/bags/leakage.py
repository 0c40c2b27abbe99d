"""Leakage: a feature that is one number a bag and predicts the target by itself, as a label or an id does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from scipy.special import gammaln
from scipy.stats import rankdata

from solvable.bags.container import Bags

CHANCE = 1e-3  # the probability, over all features that are tested, of refusing one that says nothing
DISORDER = 0.01  # the share of the rarer class, or a twentieth of it in runs, that may be out of order
MONOTONE = 0.999  # the rank correlation with a continuous target that counts as the target itself
FEWEST = 10  # bags of which a rank correlation says something
DECIDED = ContextVar("decided", default=False)  # whether all bags were looked at, of which a fit sees a part


@contextmanager
def decided() -> Iterator[None]:
    """Fits on parts of bags that were looked at as a whole: their own orders mislead where few exceptions are left."""
    token = DECIDED.set(True)
    try:
        yield
    finally:
        DECIDED.reset(token)


def constant_within(bags: Bags) -> np.ndarray | None:
    """Whether a feature has one value in each bag, (d,); None where no bag has two tokens."""
    starts, lengths = bags.offsets[:-1], bags.lengths
    several = starts[lengths > 1]
    if not len(several):
        return None
    same = np.all(bags.values[several] == bags.values[several + 1], axis=0)
    columns = np.flatnonzero(same)  # most features are out by now, so that few are read in full
    if len(columns):
        first = np.repeat(bags.values[starts][:, columns], lengths, axis=0)
        same[columns] = np.all(bags.values[:, columns] == first, axis=0)
    return same


def refuse_in(bags: Bags, positive: np.ndarray) -> None:
    """`refuse_leakage` of the features of bags in memory, of which those marked in `positive` (n,) are of one class."""
    within = constant_within(bags)
    if within is not None and not within.all():
        columns = np.flatnonzero(within)
        first = bags.values[bags.offsets[:-1]][:, columns]
        refuse_leakage(first, columns.tolist(), bags.feature_names, np.where(positive, 1.0, -1.0), classes=True)


def refuse_leakage(
    columns: np.ndarray, numbers: Sequence[int], names: Sequence[str] | None, targets: np.ndarray, classes: bool
) -> None:
    """Refuse a column (n,) of `columns` (n, k), one value a bag, that predicts the targets (n,) by itself.

    Two classes: bags sorted by the value fall into runs of one class; the column is refused where they are few (2, and
    one more for every 20 bags of the rarer class), where the bags that share their value with more bags of the other
    class are at most 1 % of the rarer class, and where so few runs, and two more for each of these bags, have a
    probability below .001/k in a random order (Wald and Wolfowitz): no order of equal values has more. A continuous
    target: where the rank correlation is above .999.

    Raises: ValueError naming the feature.
    """
    for number, column in zip(numbers, columns.T, strict=True):
        if _gives_away(column, targets > 0.0, len(numbers)) if classes else _follows(column, targets):
            name = f"feature {number}" + (f" ({names[number]})" if names is not None else "")
            raise ValueError(
                f"{name} has one value in each bag and predicts the labels by itself, as a label or an id among the "
                "features does; accepted: features of tokens; leave it out"
            )


def _gives_away(column: np.ndarray, positive: np.ndarray, tested: int) -> bool:
    _, inverse = np.unique(column, return_inverse=True)
    count, up = np.bincount(inverse), np.bincount(inverse, positive)
    wrong, runs = int(np.minimum(up, count - up).sum()), 1 + int(np.sum(np.diff(2 * up > count)))
    many = int(positive.sum())
    rarer = min(many, len(positive) - many)
    few = 2 <= runs <= 2 + rarer // 20 and wrong <= DISORDER * rarer
    return bool(few and _runs_at_most(runs + 2 * wrong, many, len(positive) - many) < CHANCE / tested)


def _runs_at_most(runs: int, ups: int, downs: int) -> float:
    """P(a random order of so many ups and downs has at most `runs` runs)."""

    def log_ways(n: int, k: int) -> float:
        return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)) if 0 <= k <= n else -np.inf

    total = 0.0
    for r in range(2, runs + 1):
        first, second = (r + 1) // 2 - 1, r // 2 - 1  # cuts within the class of the first run, and within the other
        for a, b in ((ups, downs), (downs, ups)):
            total += np.exp(log_ways(a - 1, first) + log_ways(b - 1, second) - log_ways(ups + downs, ups))
    return total


def _follows(column: np.ndarray, targets: np.ndarray) -> bool:
    if len(column) < FEWEST or np.ptp(column) == 0.0 or np.ptp(targets) == 0.0:
        return False
    return bool(abs(np.corrcoef(rankdata(column), rankdata(targets))[0, 1]) > MONOTONE)
