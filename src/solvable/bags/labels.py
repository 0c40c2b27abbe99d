"""What labels, groups and lengths say before any fit: the classes, which bags belong together, confounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from solvable.bags.arrays import column
from solvable.bags.container import Bags

CLEAR, LEAST = 1e-3, 0.1  # of the length: the p value, and how far its AUC is from one half


def two_classes(labels: Any, bags: Any, positive: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels (n,), the two classes, bags of each); the class named `positive` comes second, else the larger label.

    Raises: ValueError naming the argument and what is accepted.
    """
    labels = getattr(bags, "labels", None) if labels is None else labels
    if labels is None:
        raise ValueError("labels=None, and the bags hold none; accepted: (n,), one label a bag")
    y = column("labels", labels)
    if y.ndim != 1:
        raise ValueError(f"labels has shape {y.shape}; accepted: (n,), one label a bag")
    count = bags.shape[0] if hasattr(bags, "shape") else len(bags)
    if count != len(y):
        raise ValueError(f"there are {count} bags and {len(y)} labels; accepted: one label a bag")
    try:
        classes, counts = np.unique(y, return_counts=True)
    except TypeError:
        raise ValueError(
            "labels holds values of kinds that cannot be sorted; accepted: two values of one kind"
        ) from None
    if len(classes) != 2:
        some = ", ".join(str(label) for label in classes[:5]) + (", ..." if len(classes) > 5 else "")
        raise ValueError(f"labels takes {len(classes)} different values ({some}); accepted: two")
    if positive is not None:
        named = [np.ndim(positive) == 0 and name == positive for name in classes.tolist()]
        if not any(named):
            raise ValueError(f"positive={positive!r} is no label; accepted: {classes.tolist()}")
        order = np.argsort(named)
        classes, counts = classes[order], counts[order]
    return y, classes, counts


def for_sklearn(labels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and their classes as scikit-learn takes them: 0 and 1 in sorted order where it takes them for others.

    It refuses fractions, bytes and objects other than texts.
    """
    kind = labels.dtype.kind
    whole = kind == "f" and bool((classes % 1.0 == 0.0).all())
    if kind in "biuU" or whole or (kind == "O" and all(isinstance(name, str) for name in classes)):
        return labels, classes
    upper = np.sort(classes)[1]
    return (labels == upper).astype(int), (classes == upper).astype(int)


def groups_of(groups: Any, count: int) -> np.ndarray | None:
    """The number of each bag's group, (n,), counted as they first appear; None stays None.

    Raises: ValueError for a wrong shape or a missing value.
    """
    if groups is None:
        return None
    array = column("groups", groups, dates=True)
    if array.shape != (count,):
        raise ValueError(f"groups has shape {array.shape}; accepted: ({count},), one a bag")
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in array.tolist()])


@dataclass(frozen=True)
class LengthEffect:
    """Bags of one class are longer: `auc` (above 1/2) and `p_value` of the number of tokens alone (Mann and Whitney).

    longer, shorter: the classes; means: their mean numbers of tokens.
    """

    longer: Any
    shorter: Any
    means: tuple[float, float]
    auc: float
    p_value: float

    def __str__(self) -> str:
        """One sentence."""
        p = "< 0.001" if self.p_value < 1e-3 else f"= {self.p_value:.2g}"
        return (
            f"Bags of class {self.longer} are longer, {self.means[0]:.3g} tokens against {self.means[1]:.3g}: the "
            f"number of tokens alone has AUC {self.auc:.3f} (p {p}), and may be what is found here."
        )


def length_effect(bags: Bags | None, labels: np.ndarray, classes: np.ndarray) -> LengthEffect | None:
    """Whether the number of tokens a bag tells the classes apart: p < .001, and an AUC of .6 or more.

    None where it does not, where all bags are equally long, and where there are no bags.
    """
    lengths = np.zeros(0) if bags is None else bags.lengths
    if len(np.unique(lengths)) < 2:
        return None
    parts = [lengths[labels == name] for name in classes]
    found = mannwhitneyu(parts[1], parts[0], method="asymptotic")
    auc = float(found.statistic) / (len(parts[0]) * len(parts[1]))
    if found.pvalue > CLEAR or abs(auc - 0.5) < LEAST:
        return None
    high = int(auc > 0.5)
    means = float(parts[high].mean()), float(parts[1 - high].mean())
    return LengthEffect(classes[high], classes[1 - high], means, max(auc, 1.0 - auc), float(found.pvalue))
