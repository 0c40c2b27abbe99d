"""Comparison of estimators on the same folds: the corrected resampled t test, with Holm's correction over the pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from solvable.bags.evaluation import evaluate
from solvable.bags.resampling import corrected_t, holm
from solvable.bags.scores import Evaluation, of_classes, of_data, with_error

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Difference:
    """What one estimator has over another, in one measure ("accuracy" or "AUC").

    difference: mean of first minus mean of second, a share (0.01 is one point). statistic, p_value: the corrected
    resampled t test of no difference, two-sided; low, high: its 95 % interval of this pair alone; adjusted: the p value
    after Holm's correction over all pairs compared in this measure.
    """

    first: str
    second: str
    measure: str
    difference: float
    statistic: float
    p_value: float
    adjusted: float
    low: float
    high: float

    @property
    def resolved(self) -> bool:
        """Whether these data tell the two apart at the 5 % level, all pairs counted."""
        return self.adjusted <= SIGNIFICANT

    def __str__(self) -> str:
        """One sentence: who is better, by how much, and whether these data resolve it."""
        size, low, high = 100 * self.difference, 100 * self.low, 100 * self.high
        first, second = self.first, self.second
        if self.difference < 0:
            first, second, size, low, high = second, first, -size, -high, -low
        if self.resolved:
            verdict = "resolved"
        elif self.p_value <= SIGNIFICANT:
            verdict = "not resolved once all pairs are counted"
        else:
            verdict = "not resolved by these data"
        better = "as good as" if self.difference == 0 else f"{size:.1f} points better than"
        corrected = f" ({self.adjusted:.2g} after Holm)" if self.adjusted != self.p_value else ""
        return (
            f"{first} is {better} {second} in {self.measure}, 95 % interval {low:.1f} to {high:.1f}, "
            f"p = {self.p_value:.2g}{corrected}: {verdict}"
        )


@dataclass(frozen=True, repr=False)
class Comparison:
    """Several estimators on the same folds; printing it gives a table and a sentence for each pair.

    evaluations: the `Evaluation` of each, by name. differences: one `Difference` for each pair in accuracy, then one
    for each pair of which both have an AUC.
    """

    evaluations: dict[str, Evaluation]
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        """The table of all estimators and the sentences."""
        width = max(len("estimator"), *map(len, self.evaluations))
        lines = [f"{'estimator':<{width}}  {'accuracy':>15}  {'95 % interval':>15}  {'AUC':>15}"]
        for name, result in self.evaluations.items():
            low, high = result.accuracy_interval
            accuracy, auc = (
                with_error(result.accuracy, result.accuracy_error),
                with_error(result.auc, result.auc_error),
            )
            lines += [f"{name:<{width}}  {accuracy:>15}  {f'{low:.3f} to {high:.3f}':>15}  {auc:>15}".rstrip()]
        any_result = next(iter(self.evaluations.values()))
        larger = any_result.classes[np.argmax(any_result.class_counts)]
        lines += [f"{f'always {larger}':<{width}}  {any_result.base_rate:>15.3f}"]
        lines += ["+- is the standard error over the repeats; the interval is over new bags."]
        if any_result.positive is not None:
            lines += [f"{name}: {of_classes(result)}" for name, result in self.evaluations.items()]
        return "\n".join([*lines, *of_data(any_result), *map(str, self.differences)])

    __repr__ = __str__

    def document(self) -> dict[str, Any]:
        """The numbers and the sentences, for JSON."""
        names = ("accuracy", "accuracy_error", "accuracy_interval", "auc", "auc_error", "auc_interval", "recalls")
        some = next(iter(self.evaluations.values()))
        return {
            "estimators": {
                key: {name: np.asarray(getattr(result, name)).tolist() for name in names}
                for key, result in self.evaluations.items()
            },
            "folds": list(some.fold_sizes.shape),
            "larger_class_share": some.base_rate,
            "differences": [asdict(difference) | {"words": str(difference)} for difference in self.differences],
        }


def compare(
    estimators: Any,
    bags: Any,
    labels: Any = None,
    *,
    positive: Any = None,
    reference: str | None = None,
    repeats: int = 5,
    folds: int = 10,
    inner_folds: int = 5,
    groups: Any = None,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> Comparison:
    """Evaluate several estimators on the same folds and test each pair with the corrected resampled t test.

    For a pair, d_rk is the difference on fold k of repeat r. The J = repeats * folds differences have overlapping
    training sets, so the plain t test on them finds differences where there are none;

        t = mean difference / sqrt((1/J + n_test / n_train) S^2),    S^2 the variance of the d_rk,

    against Student's t with J - 1 degrees of freedom (Nadeau & Bengio, Machine Learning 52, 2003; a heuristic, whose
    rate of false findings is in docs/bags/evaluation.md). The mean difference is that of the evaluations' means. The p
    values of all pairs in one measure are corrected by Holm's rule, so that the chance of a single false finding among
    them is the stated one.

    estimators: by name, an estimator or (estimator, grid); settings are chosen inside the training folds. reference:
    compare the others with this one alone, which costs less in Holm's correction; None compares every pair: choosing
    the best as reference after the fact would be a selection of its own. The other arguments are those of `evaluate`.

    Raises: as `evaluate`, with the estimator's name; ValueError for fewer than two estimators or an unknown reference.
    """
    if not isinstance(estimators, Mapping) or len(estimators) < 2:
        raise ValueError(
            f"estimators={estimators!r}; accepted: two or more by name, {{'a': estimator, 'b': estimator}}"
        )
    if reference is not None and reference not in estimators:
        raise ValueError(f"reference={reference!r} is unknown; accepted: {', '.join(map(repr, estimators))}")
    results = {}
    for name, given in estimators.items():
        estimator, grid = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        try:
            results[str(name)] = evaluate(
                estimator,
                bags,
                labels,
                grid,
                positive=positive,
                repeats=repeats,
                folds=folds,
                inner_folds=inner_folds,
                groups=groups,
                random_state=random_state,
                n_jobs=n_jobs,
            )
        except (ValueError, RuntimeError) as error:
            raise type(error)(f"{name}: {error}") from error
    if reference is None:
        pairs = list(combinations(results, 2))
    else:
        pairs = [(name, str(reference)) for name in results if name != str(reference)]
    return Comparison(results, (*_differences("accuracy", pairs, results), *_differences("AUC", pairs, results)))


def _differences(measure: str, pairs: list[tuple[str, str]], results: dict[str, Evaluation]) -> list[Difference]:
    found = []
    for names in pairs:
        first, second = (results[name] for name in names)
        if measure == "accuracy":
            mean, folds = first.accuracy - second.accuracy, first.fold_accuracies - second.fold_accuracies
        else:
            mean, folds = first.auc - second.auc, first.fold_aucs - second.fold_aucs
        if not np.isnan(mean):
            found.append((*names, mean, corrected_t(mean, folds)))
    adjusted = holm(np.array([test.p_value for *_, test in found]))
    return [
        Difference(first, second, measure, mean, test.statistic, test.p_value, float(p), test.low, test.high)
        for (first, second, mean, test), p in zip(found, adjusted, strict=True)
    ]
