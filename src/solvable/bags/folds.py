"""The work of cross-validation: which bags each fold trains on, and what each setting of an estimator gives there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils import _safe_indexing  # named with an underscore, documented as public

from solvable.bags.leakage import decided
from solvable.bags.resampling import area_under_curve, best_threshold_accuracy

Splits = list[tuple[np.ndarray, np.ndarray]]


class FoldScores(NamedTuple):
    """One outer fold. `chosen` is the setting that won inside the training fold (None where none was chosen there).

    The arrays have one entry a setting, fitted on the whole training fold and met with the test fold: its accuracy, its
    AUC, its accuracy at the threshold that is best on the test fold (both NaN without scores), and how many bags of the
    first and of the second class it answers rightly.
    """

    chosen: int | None
    accuracy: np.ndarray
    auc: np.ndarray
    threshold_accuracy: np.ndarray
    first_right: np.ndarray
    second_right: np.ndarray


def split(labels: np.ndarray, groups: np.ndarray | None, folds: int, seed: int) -> Splits:
    """The (training, test) numbers of stratified, shuffled folds; bags of one group stay together."""
    if groups is None:
        return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels))
    return list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, groups))


def run_fold(
    estimator: Any,
    settings: list[dict[str, Any]],
    bags: Any,
    labels: np.ndarray,
    classes: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    inner: Splits | None,
    where: str,
) -> FoldScores:
    """Choose among the settings by their mean accuracy over the inner folds, then meet the test fold with each.

    classes: the two whose right answers are counted, in this order. inner: folds of the training fold, numbered within
    it; None chooses nothing. Of equally good settings the first is chosen, as scikit-learn's GridSearchCV does.

    Raises: ValueError or RuntimeError naming the repeat, the fold and the setting, with the estimator's own sentence.
    """
    held, held_labels = _safe_indexing(bags, train), labels[train]
    chosen = None
    if inner is not None:
        means = np.zeros((len(inner), len(settings)))
        for i, (fit_on, judge_on) in enumerate(inner):
            # sliced once for all settings
            seen, judged = _safe_indexing(held, fit_on), _safe_indexing(held, judge_on)
            for j, setting in enumerate(settings):
                with _named(f"{where}, inner fold {i}", setting):
                    fitted = with_setting(estimator, setting).fit(seen, held_labels[fit_on])
                    means[i, j] = np.mean(fitted.predict(judged) == held_labels[judge_on])
        chosen = int(np.argmax(means.mean(axis=0)))
    met, met_labels = _safe_indexing(bags, test), labels[test]
    upper = met_labels == np.sort(classes)[1]  # the class for which scikit-learn's scores are larger
    scores = np.full((5, len(settings)), np.nan)
    for j, setting in enumerate(settings):
        with _named(where, setting):
            fitted = with_setting(estimator, setting).fit(held, held_labels)
            right = fitted.predict(met) == met_labels
            scores[0, j], scores[3:, j] = np.mean(right), [np.sum(right[met_labels == name]) for name in classes]
            decision = decision_scores(fitted, met)
        if decision is not None:
            scores[1, j] = area_under_curve(decision, upper)
            # what the estimator answers by itself is one of the answers to choose from
            scores[2, j] = max(scores[0, j], best_threshold_accuracy(decision, upper))
    return FoldScores(chosen, *scores)


def decision_scores(fitted: Any, bags: Any) -> np.ndarray | None:
    """One score a bag, larger for the second class: decision_function, else predict_proba, else None.

    Raises: ValueError when a score is not finite.
    """
    if hasattr(fitted, "decision_function"):
        scores = np.ravel(fitted.decision_function(bags))
    elif hasattr(fitted, "predict_proba"):
        scores = np.asarray(fitted.predict_proba(bags))[:, 1]
    else:
        return None
    if not np.isfinite(scores).all():
        raise ValueError(f"the score of bag {int(np.argmin(np.isfinite(scores)))} of the test fold is not finite")
    return scores


def with_setting(estimator: Any, setting: dict[str, Any]) -> Any:
    """An unfitted copy of the estimator with the setting; estimators inside a setting are copied too."""
    fresh: Any = clone(estimator)
    return fresh.set_params(**{name: clone(value, safe=False) for name, value in setting.items()}) if setting else fresh


@contextmanager
def _named(where: str, setting: dict[str, Any]) -> Iterator[None]:
    """Say of an error where it happened. The fits of folds do not ask whether a feature gives the labels away."""
    try:
        with decided():
            yield
    except Exception as error:
        which = f" with {setting}" if setting else ""
        if isinstance(error, ValueError):
            raise ValueError(f"{where}{which}: {error}") from error
        raise RuntimeError(f"{where}{which}: {type(error).__name__}: {error}") from error
