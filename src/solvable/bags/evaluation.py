"""Honest evaluation: nested cross-validation, beside what selection on the test folds would have claimed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import is_regressor
from sklearn.model_selection import ParameterGrid
from sklearn.utils.parallel import Parallel, delayed

from solvable.bags.container import in_memory
from solvable.bags.folds import FoldScores, Splits, run_fold, split, with_setting
from solvable.bags.labels import for_sklearn, groups_of, length_effect, two_classes
from solvable.bags.leakage import refuse_in
from solvable.bags.scores import Evaluation, Scores
from solvable.numerics.validation import choice, integer, unmasked

PROTOCOLS = ("nested", "test_fold")


def evaluate(
    estimator: Any,
    bags: Any,
    labels: Any = None,
    grid: Any = None,
    *,
    positive: Any = None,
    protocol: str = "nested",
    repeats: int = 5,
    folds: int = 10,
    inner_folds: int = 5,
    groups: Any = None,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> Evaluation:
    """Accuracy and AUC by repeated stratified cross-validation, beside what selection on the test folds would claim.

    Repeat r splits the bags by StratifiedKFold(folds, shuffle=True, random_state=random_state + r). With a grid, each
    training fold is split again, into inner_folds with the same seed; the setting with the best mean inner accuracy is
    fitted on the whole training fold and meets the test fold once. That is the protocol "nested". Every setting of the
    grid also meets the test fold, for `Evaluation.selected` alone: what choosing there would have claimed of the
    threshold of each fold, of one setting for all folds of a repeat, of the setting of each fold, and of setting and
    threshold of each fold; for accuracy and AUC separately. The protocol "test_fold" reports the last of these as its
    result, without inner folds: only to reproduce tables that were made so.

    estimator: a scikit-learn classifier (or pipeline, or search). bags: whatever it takes and scikit-learn can slice:
    `Bags`, (n, L, d), (n, d), a list of (L_i, d) arrays, a data frame. labels: (n,), two different values of one kind,
    by default those that the Bags hold; what scikit-learn takes for no labels, such as .5 and 1.5, is 0 and 1 for the
    estimator. positive: the class whose recall and precision are told; without it both are
    treated alike, whatever they are called. grid: a dict or a list of dicts, as GridSearchCV's param_grid. groups:
    (n,), bags of one group (one patient, one day) then stay on one side of every split; a test fold that lacks a class
    then has no AUC. n_jobs: processes for the folds, as everywhere in scikit-learn. An estimator with neither
    decision_function nor predict_proba has AUC NaN and no choice of threshold.

    Fits: repeats * folds * settings * (1 + inner_folds) with a grid.

    Raises: ValueError naming the argument, its value and what is accepted, or a feature of all bags that predicts the
    labels by itself (see `leakage`; the fits of folds do not ask again); ValueError or RuntimeError naming the repeat,
    fold and setting where a fit failed, with the estimator's own sentence.
    """
    choice("protocol", protocol, PROTOCOLS)
    repeats = integer("repeats", repeats, at_least=1)
    folds, inner_folds = integer("folds", folds, at_least=2), integer("inner_folds", inner_folds, at_least=2)
    seed = integer("random_state", random_state, at_least=0)
    settings = _settings(estimator, grid)
    bags = list(bags) if isinstance(bags, tuple) else bags
    unmasked("bags", bags)
    if isinstance(bags, Mapping | str | bytes) or not hasattr(bags, "__getitem__") or not hasattr(bags, "__len__"):
        kind = type(bags).__name__
        raise ValueError(
            f"bags is a {kind}, which is not sliced into folds; accepted: Bags, an array or a list, in memory "
            "(Bags.from_parquet(path))"
        )
    y, classes, counts = two_classes(labels, bags, positive)
    together = groups_of(groups, len(y))
    if together is not None and together.max() + 1 < folds:
        raise ValueError(
            f"folds={folds} is more than the {together.max() + 1} groups; accepted: at most one fold a group"
        )
    if counts.min() < folds:
        rare = classes[np.argmin(counts)]
        raise ValueError(
            f"folds={folds} is more than the {counts.min()} bags of class {rare!s}; accepted: 2 to {counts.min()} folds"
        )
    held = in_memory(bags)
    if held is not None:
        refuse_in(held, y == classes[1])
    coded = for_sklearn(y, classes)
    nested = len(settings) > 1 and protocol == "nested"
    tasks = []
    for r in range(repeats):
        for k, (train, test) in enumerate(split(coded[0], together, folds, seed + r)):
            where = f"repeat {r}, fold {k}"
            if not len(test):
                raise ValueError(f"folds={folds}: the groups leave {where} without a bag; accepted: fewer folds")
            inner = _inner(coded[0], together, train, inner_folds, seed + r, where, nested)
            tasks.append((train, test, inner, where))
    done: Any = Parallel(n_jobs=n_jobs)(delayed(run_fold)(estimator, settings, bags, *coded, *task) for task in tasks)
    met = np.array([[np.sum(y[test] == name) for name in classes] for _, test, *_ in tasks]).reshape(repeats, folds, 2)
    known = {
        "classes": classes,
        "class_counts": counts,
        "protocol": protocol,
        "positive": positive,
        "class_groups": None if together is None else tuple(len(np.unique(together[y == name])) for name in classes),
        "length_effect": length_effect(held, y, classes),
    }
    return _assemble(done, met, settings if grid is not None else [], protocol, known)


def _assemble(
    done: list[FoldScores], met: np.ndarray, settings: list[dict[str, Any]], protocol: str, known: dict[str, Any]
) -> Evaluation:
    repeats, folds, _ = met.shape
    sizes = met.sum(axis=2)

    def stacked(name: str) -> np.ndarray:
        return np.array([getattr(fold, name) for fold in done]).reshape(repeats, folds, -1)

    accuracy, auc, tuned = stacked("accuracy"), stacked("auc"), stacked("threshold_accuracy")
    chosen = np.array([fold.chosen or 0 for fold in done]).reshape(repeats, folds, 1)

    def of_chosen(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, chosen, axis=2)[:, :, 0]

    selected = {}
    scored = not np.isnan(tuned).any()
    if scored and protocol == "nested":
        selected["threshold of each fold"] = Scores(of_chosen(tuned), of_chosen(auc), sizes)
    if len(settings) > 1:
        repeat = np.arange(repeats)
        best = np.argmax(np.einsum("rks,rk->rs", accuracy, sizes), axis=1)
        best_auc = np.argmax(np.nan_to_num(auc).sum(axis=1), axis=1)
        selected["one setting for all folds"] = Scores(accuracy[repeat, :, best], auc[repeat, :, best_auc], sizes)
        selected["setting of each fold"] = Scores(accuracy.max(axis=2), auc.max(axis=2), sizes)
    if scored and (len(settings) > 1 or protocol == "test_fold"):
        selected["setting and threshold of each fold"] = Scores(tuned.max(axis=2), auc.max(axis=2), sizes)
    if protocol == "test_fold":
        chosen = np.argmax(tuned if scored else accuracy, axis=2)[:, :, None]
        headline = (tuned if scored else accuracy).max(axis=2), auc.max(axis=2)
    else:
        headline = of_chosen(accuracy), of_chosen(auc)
    named = tuple(tuple(settings[j] for j in row) for row in chosen[:, :, 0]) if settings else ()
    right = np.stack([of_chosen(stacked(name)) for name in ("first_right", "second_right")], axis=2)
    return Evaluation(
        *headline, sizes, settings=named, selected=selected, fold_counts=met, fold_right=right, scored=scored, **known
    )


def _settings(estimator: Any, grid: Any) -> list[dict[str, Any]]:
    if isinstance(estimator, type) or not all(hasattr(estimator, name) for name in ("fit", "predict", "get_params")):
        raise ValueError(
            f"estimator={estimator!r} is no scikit-learn classifier; accepted: an object with fit, predict, get_params"
        )
    if hasattr(estimator, "__sklearn_tags__") and is_regressor(estimator):
        raise ValueError(f"estimator={estimator!r} is a regressor, which has no accuracy; accepted: a classifier")
    if grid is None:
        return [{}]
    try:
        settings = list(ParameterGrid(grid))
    except (TypeError, ValueError) as error:
        raise ValueError(f"grid={grid!r}: {error}; accepted: names of parameters with lists of values") from None
    if not settings:
        raise ValueError(f"grid={grid!r} has no setting; accepted: names of parameters with lists of values, or None")
    for setting in settings:
        try:
            with_setting(estimator, setting)
        except ValueError as error:
            raise ValueError(f"grid: {error}") from None
    return settings


def _inner(
    y: np.ndarray, groups: np.ndarray | None, train: np.ndarray, folds: int, seed: int, where: str, nested: bool
) -> Splits | None:
    """The inner folds of a training fold, or None; refuses a training fold that lacks what they need."""
    classes, counts = np.unique(y[train], return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"{where}: all bags of the training fold are of class {classes[0]}; accepted: smaller groups")
    if not nested:
        return None
    if counts.min() < folds:
        raise ValueError(
            f"inner_folds={folds} is more than the {counts.min()} bags of class {classes[np.argmin(counts)]!s} in the "
            f"training fold of {where}; accepted: 2 to {counts.min()} inner folds, and at least 2 such bags"
        )
    inside = None if groups is None else groups[train]
    if inside is not None and len(np.unique(inside)) < folds:
        raise ValueError(
            f"inner_folds={folds} is more than the {len(np.unique(inside))} groups in the training fold of {where}; "
            "accepted: at most one inner fold a group"
        )
    return split(y[train], inside, folds, seed)
