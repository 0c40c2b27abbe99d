"""What cross-validation gave: accuracy and AUC with their errors and intervals, and the table that says so."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvable.bags.labels import LengthEffect
from solvable.bags.resampling import interval_over_new_data, size_of_auc


@dataclass(frozen=True, eq=False)
class Scores:
    """Accuracy and AUC of every fold of every repeat, and what follows from them.

    fold_accuracies and fold_aucs: (repeats, folds), NaN where a fold has no AUC; fold_sizes: (repeats, folds), the bags
    of each test fold.
    """

    fold_accuracies: np.ndarray
    fold_aucs: np.ndarray
    fold_sizes: np.ndarray

    @property
    def accuracies(self) -> np.ndarray:
        """(repeats,): the share of all bags that are classified rightly while they are in the test fold."""
        return np.sum(self.fold_accuracies * self.fold_sizes, axis=1) / self.fold_sizes.sum(axis=1)

    @property
    def aucs(self) -> np.ndarray:
        """(repeats,): the mean AUC of the folds whose test bags are of both classes, NaN where there is none.

        Scores of different folds come from different fits and have no common scale, so they are not pooled.
        """
        known = np.isfinite(self.fold_aucs)
        with np.errstate(invalid="ignore"):
            return np.where(known, self.fold_aucs, 0.0).sum(axis=1) / known.sum(axis=1)

    @property
    def accuracy(self) -> float:
        """The mean of `accuracies`."""
        return float(self.accuracies.mean())

    @property
    def auc(self) -> float:
        """The mean of `aucs`."""
        return float(self.aucs.mean())

    @property
    def accuracy_error(self) -> float:
        """The standard error of `accuracy` over the repeats; NaN for one repeat. See `Evaluation` for what it says."""
        return _standard_error(self.accuracies)

    @property
    def auc_error(self) -> float:
        """The standard error of `auc` over the repeats; NaN for one repeat."""
        return _standard_error(self.aucs)


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Scores):
    """Accuracy and AUC of an estimator over repeated stratified cross-validation; printing it gives the table.

    `accuracy_error` and `auc_error` are standard errors over the repeats: they say how much the numbers owe to the way
    in which the bags were split. They do NOT say what other bags would have given: every repeat uses the same bags, and
    more repeats make them as small as one likes. `accuracy_interval` and `auc_interval` do: 95 % intervals over new
    bags of the same law.

    classes: the two labels; class_counts: bags of each. settings: the setting chosen in each fold of each repeat, ()
    without a grid. selected: by the name of what is chosen on the test folds, the `Scores` which that choice would
    have claimed. protocol: "nested", or "test_fold" when the numbers themselves are such a claim.

    positive: the class that was named so, which is then `classes[1]`, or None. fold_counts, fold_right: (repeats,
    folds, 2), bags of each class in a test fold, and those answered rightly. scored: the estimator has scores.
    class_groups: groups that hold bags of each class, None without groups. length_effect: that bags of one class are
    longer, if so.
    """

    classes: np.ndarray
    class_counts: np.ndarray
    settings: tuple[tuple[dict[str, Any], ...], ...]
    selected: dict[str, Scores]
    protocol: str
    positive: Any
    fold_counts: np.ndarray
    fold_right: np.ndarray
    scored: bool
    class_groups: tuple[int, ...] | None
    length_effect: LengthEffect | None

    @property
    def base_rate(self) -> float:
        """The share of the larger class: the accuracy of always answering it."""
        return float(self.class_counts.max() / self.class_counts.sum())

    @property
    def recalls(self) -> np.ndarray:
        """(2,): the share of the bags of each class that are answered rightly while they are in the test fold."""
        return self.fold_right.sum(axis=(0, 1)) / self.fold_counts.sum(axis=(0, 1))

    @property
    def precision(self) -> float:
        """The share of the bags answered as `classes[1]` that are of it; NaN where none is."""
        wrong, right = (self.fold_counts - self.fold_right)[:, :, 0].sum(), self.fold_right[:, :, 1].sum()
        return float(right / (right + wrong)) if right + wrong else np.nan

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy over new bags: Wilson's interval with Nadeau & Bengio's corrected variance.

        Of an estimator fitted on as many bags as a training fold has. See `resampling.interval_over_new_data`. NaN
        under the protocol "test_fold", whose numbers estimate nothing.
        """
        if self.protocol == "test_fold":
            return np.nan, np.nan
        return interval_over_new_data(self.accuracy, self.fold_accuracies, float(self.class_counts.sum()))

    @property
    def auc_interval(self) -> tuple[float, float]:
        """As `accuracy_interval`, for the AUC, with Hanley & McNeil's variance of an AUC.

        That takes the classes differently; where no positive class is named, its mean over both ways.
        """
        if self.protocol == "test_fold" or np.isnan(self.auc):
            return np.nan, np.nan
        negative, positive = map(int, self.class_counts)
        ways = [(positive, negative)] if self.positive is not None else [(positive, negative), (negative, positive)]
        size = 1.0 / np.mean([1.0 / size_of_auc(self.auc, *way) for way in ways])
        return interval_over_new_data(self.auc, self.fold_aucs, float(size))

    def __str__(self) -> str:
        """The honest numbers, the optimistic ones below them, and what to make of both."""
        return _table(self)

    __repr__ = __str__


def _table(evaluation: Evaluation) -> str:
    honest = evaluation.protocol == "nested"
    folds = evaluation.fold_sizes.shape
    counts = ", ".join(f"{n} of class {c}" for c, n in zip(evaluation.classes, evaluation.class_counts, strict=True))
    rows = [("", "accuracy", "AUC")]
    if honest:
        how = (
            "nested: settings chosen inside the training folds"
            if evaluation.settings
            else "honest: test folds choose nothing"
        )
        rows += [_row(how, evaluation)]
        intervals = evaluation.accuracy_interval, evaluation.auc_interval
        rows += [("  95 % interval over new bags", *(_interval(*interval) for interval in intervals))]
    larger = evaluation.classes[np.argmax(evaluation.class_counts)]
    rows += [(f"always answering {larger}", with_error(evaluation.base_rate, np.nan), with_error(0.5, np.nan))]
    rows += [_row(f"test folds choose: {name}", scores) for name, scores in evaluation.selected.items()]
    width = max(len(row[0]) for row in rows)
    lines = [f"{evaluation.class_counts.sum()} bags ({counts}), {folds[0]} x {folds[1]} folds"]
    lines += [f"{name:<{width}}  {accuracy:>15}  {auc:>15}".rstrip() for name, accuracy, auc in rows]
    return "\n".join([*lines, *_remarks(evaluation)])


def _remarks(evaluation: Evaluation) -> list[str]:
    """What to make of the numbers, one sentence each."""
    larger = evaluation.classes[np.argmax(evaluation.class_counts)]
    said = ["+- is the standard error over the repeats: what the split matters, not what other bags would give."]
    if len(evaluation.fold_sizes) < 2:
        said = ["One repeat has no standard error; how the bags were split may matter much."]
    if evaluation.settings:
        setting, count = chosen_most_often(evaluation)
        said += [f"Chosen most often, in {count} of {evaluation.fold_sizes.size} folds: {setting}."]
    if not evaluation.scored:
        said += ["No AUC: the estimator has neither decision_function nor predict_proba."]
    said += [of_classes(evaluation), *of_data(evaluation)]
    always = f"always answering {larger}, which is right for {evaluation.base_rate:.3f} of the bags"
    if evaluation.protocol == "test_fold":
        said += ["WARNING: chosen on the test folds; this reproduces a published protocol and estimates nothing."]
    elif evaluation.accuracy <= evaluation.base_rate:
        said += [f"WARNING: the accuracy is not above that of {always}."]
    elif evaluation.accuracy_interval[0] <= evaluation.base_rate:
        said += [f"WARNING: the interval of the accuracy reaches down to {always}."]
    if evaluation.protocol == "nested" and evaluation.selected:
        gain = list(evaluation.selected.values())[-1].accuracy - evaluation.accuracy
        said += [f"Selection on the test folds would have claimed {100 * gain:.1f} points more accuracy."]
    return said


def of_classes(evaluation: Evaluation) -> str:
    """What is answered rightly of each class; of a positive class its recall and precision."""
    first, second = evaluation.recalls
    negative, positive = evaluation.classes
    if evaluation.positive is None:
        return f"Answered rightly: {first:.3f} of class {negative}, {second:.3f} of class {positive}."
    precise = "" if np.isnan(evaluation.precision) else f", precision {evaluation.precision:.3f}"
    return f"Class {positive}: recall {second:.3f}{precise}. Answered rightly of class {negative}: {first:.3f}."


def of_data(evaluation: Evaluation) -> list[str]:
    """What the data do to every estimator: test folds that lack a class, and lengths that tell the classes apart."""
    effect = evaluation.length_effect
    return of_folds(evaluation) + ([] if effect is None else [f"WARNING: {effect}"])


def of_folds(evaluation: Evaluation) -> list[str]:
    """How many test folds lack a class, if any."""
    said = []
    lacking = evaluation.fold_counts == 0
    folds, without = evaluation.fold_sizes.size, int(lacking.any(axis=2).sum())
    if without:
        auc = f"the AUC is the mean of the other {folds - without}" if without < folds else "there is no AUC"
        rare = int(np.argmax(lacking.sum(axis=(0, 1))))
        where = f" (in {evaluation.class_groups[rare]} groups)" if evaluation.class_groups else ""
        said += [
            f"WARNING: {without} of {folds} test folds lack a class, mostly {evaluation.classes[rare]}{where}, and "
            f"{auc}; with fewer folds fewer lack one."
        ]
    return said


def with_error(mean: float, error: float) -> str:
    """A share with its standard error, where there is one; empty for NaN."""
    return "" if np.isnan(mean) else f"{mean:.3f}" if np.isnan(error) else f"{mean:.3f} +- {error:.3f}"


def _row(name: str, scores: Scores) -> tuple[str, str, str]:
    return name, with_error(scores.accuracy, scores.accuracy_error), with_error(scores.auc, scores.auc_error)


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f"{low:.3f} to {high:.3f}"


def _standard_error(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def chosen_most_often(evaluation: Evaluation) -> tuple[dict[str, Any], int]:
    """The setting that most folds chose (the first of several), and by how many."""
    flat = [setting for row in evaluation.settings for setting in row]
    text, count = Counter(map(str, flat)).most_common(1)[0]
    return next(setting for setting in flat if str(setting) == text), count
