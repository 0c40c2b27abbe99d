"""The real learning curves: the estimators that a user would deploy, as `compare` judges them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvable.bags.comparison import Comparison, compare
from solvable.bags.diagnosis.preparation import CheckedBags
from solvable.bags.estimators import AttentionClassifier, PooledClassifier
from solvable.bags.folds import run_fold, split
from solvable.bags.labels import for_sklearn

SIZES, SMALLEST = 4, 0.2
LEAST_OF_A_CLASS = 4
PLANS = {600: (5, 10), 1000: (2, 10), np.inf: (1, 5)}  # repeats and folds up to so many bags
KERNEL = 2000  # bags up to which heads are kernels, whose cost grows with their cube


@dataclass(frozen=True)
class Curves:
    """Test errors against numbers of training bags: `bags` (m,), each model's error and its standard error (m,).

    advantage (m,) is the error of pooling minus that of attention, which for measured curves is taken fold by fold. A
    curve that is not known is all NaN.
    """

    bags: np.ndarray
    attention: np.ndarray
    attention_error: np.ndarray
    pooled: np.ndarray
    pooled_error: np.ndarray
    advantage: np.ndarray
    advantage_error: np.ndarray


def deployed(bags: int) -> dict[str, Any]:
    """`AttentionClassifier` and `PooledClassifier` as they are, with linear heads above 2000 bags: kernels cost."""
    head = "rbf" if bags <= KERNEL else "linear"
    return {"attention": AttentionClassifier(head=head), "pooling": PooledClassifier(head=head)}


def training_shares(labels: np.ndarray, folds: int) -> np.ndarray:
    """The shares of a training fold that are trained on: three smaller ones, with four bags of each class, and all."""
    rarer = (1.0 - 1.0 / folds) * np.unique(labels, return_counts=True)[1].min()
    return np.geomspace(min(max(SMALLEST, (LEAST_OF_A_CLASS + 0.5) / rarer), 1.0), 1.0, SIZES)


def measure(given: CheckedBags, positive: Any, seed: int) -> tuple[Curves, Comparison]:
    """`compare` of `deployed`, and the first repeat of it on parts of the training folds.

    Up to 600 bags there are 5 x 10 folds, the defaults of `compare`; 2 x 10 up to 1000, 1 x 5 above. A part of a
    training fold is drawn within each class, whole groups first. Standard errors: Nadeau and Bengio's, sqrt((1/J +
    n_test/n_train) S^2) with S^2 the variance of J fold values.
    """
    count = len(given.labels)
    repeats, number = next(plan for most, plan in PLANS.items() if count <= most)
    models = deployed(count)
    compared = compare(
        models,
        given.bags,
        given.labels,
        positive=positive,
        repeats=repeats,
        folds=number,
        groups=given.groups,
        random_state=seed,
    )
    labels, classes = for_sklearn(given.labels, given.classes)
    folds = split(labels, given.groups, number, seed)
    sizes = np.array([len(test) for _, test in folds])
    rng = np.random.default_rng(seed)
    ranks = [rng.permutation(count if given.groups is None else int(given.groups.max()) + 1) for _ in folds]
    rows = []
    for share in training_shares(given.labels, number)[:-1]:
        parts = [_part(given, train, rank, share) for (train, _), rank in zip(folds, ranks, strict=True)]
        accuracies = [
            [
                run_fold(model, [{}], given.bags, labels, classes, part, test, None, "a part").accuracy[0]
                for part, (_, test) in zip(parts, folds, strict=True)
            ]
            for model in models.values()
        ]
        rows.append(_row(1.0 - np.array(accuracies), sizes, float(np.mean([len(part) for part in parts]))))
    errors = np.stack([1.0 - found.fold_accuracies.ravel() for found in compared.evaluations.values()])
    sizes = next(iter(compared.evaluations.values())).fold_sizes.ravel()
    rows.append(_row(errors, sizes, count - float(sizes.mean())))
    return Curves(*np.array(rows).T), compared


def _part(given: CheckedBags, train: np.ndarray, rank: np.ndarray, share: float) -> np.ndarray:
    """A share of the bags of each class of a training fold, in the order of their groups' ranks."""
    order = train[np.argsort(rank[train if given.groups is None else given.groups[train]], kind="stable")]
    classes = [order[given.labels[order] == name] for name in given.classes]
    least = [min(max(round(share * len(mine)), LEAST_OF_A_CLASS), len(mine)) for mine in classes]
    return np.sort(np.concatenate([mine[:number] for mine, number in zip(classes, least, strict=True)]))


def _row(errors: np.ndarray, sizes: np.ndarray, bags: float) -> list[float]:
    """A row of `Curves`, from errors (2, J) of attention and of pooling on folds of `sizes` (J,)."""
    row = [bags]
    for values in (errors[0], errors[1], errors[1] - errors[0]):
        variance = (1.0 / len(values) + float(sizes.mean()) / bags) * float(np.var(values, ddof=1))
        row += [float(np.average(values, weights=sizes)), float(np.sqrt(variance))]
    return row
