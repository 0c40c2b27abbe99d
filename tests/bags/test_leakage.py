"""Features that give the labels away: what is refused, what is not, and the law of runs."""

from itertools import combinations

import numpy as np
import pytest

from solvable.bags import (
    AttentionClassifier,
    Bags,
    PooledClassifier,
    SingleLocationRegressor,
    compare,
    diagnose,
    evaluate,
)
from solvable.bags.diagnosis import measured
from solvable.bags.diagnosis.preparation import checked
from solvable.bags.leakage import _runs_at_most, constant_within

COUNT = 60
LABELS = np.arange(COUNT) % 2
TOKENS = np.random.default_rng(0).normal(size=(COUNT, 4, 3))


def beside(column, names=("mass", "x", "charge")):
    """Bags whose second feature is `column`, one value a bag or a token."""
    values = TOKENS.copy()
    values[:, :, 1] = column if np.ndim(column) == 2 else np.asarray(column)[:, None]
    return Bags(values.reshape(-1, 3), np.arange(COUNT + 1) * 4, feature_names=names)


@pytest.mark.parametrize(
    "column",
    [
        LABELS,
        -7.5 * LABELS,
        np.argsort(np.argsort(LABELS, kind="stable")),  # ids that count one class after the other
        5 * LABELS + np.arange(COUNT) % 5,  # the label of ten classes from which two were made
        np.where(LABELS, 1, 2 * (np.arange(COUNT) % 4)),  # sites: one has all positives, and lies between the others
    ],
)
def test_a_column_that_gives_the_labels_away_is_refused(column):
    for estimator in (AttentionClassifier(), PooledClassifier(head="linear", bounded_memory=True)):
        with pytest.raises(ValueError, match=r"^feature 1 \(x\) has one value in each bag and predicts the labels"):
            estimator.fit(beside(column), LABELS)
    with pytest.raises(ValueError, match=r"^feature 1 \(x\) has one value in each bag"):
        diagnose(beside(column), LABELS, curves=False)
    halves = [(beside(column)[:20].values.reshape(20, 4, 3), LABELS[:20])]
    halves += [(beside(column)[20:].values.reshape(40, 4, 3), LABELS[20:])]
    with pytest.raises(ValueError, match=r"^feature 1 has one value in each bag"):
        AttentionClassifier().fit(halves)


@pytest.mark.parametrize(
    "column",
    [
        np.ones(COUNT),
        np.arange(COUNT),  # ids in the order of the file, in which the classes take turns
        LABELS + np.random.default_rng(1).normal(size=COUNT),  # a covariate of the bag that says something
        LABELS[:, None] + np.where(np.arange(4) == 3, 1e-9, 0.0),  # not constant within bags
    ],
)
def test_other_columns_are_taken(column):
    AttentionClassifier().fit(beside(column), LABELS)


def test_bags_of_one_token_have_no_constant_feature():
    points = np.random.default_rng(0).normal(size=(COUNT, 2)) + 9.0 * LABELS[:, None]
    assert constant_within(Bags(points, np.arange(COUNT + 1))) is None
    assert AttentionClassifier().fit(points, LABELS).score(points, LABELS) == 1.0
    AttentionClassifier().fit(np.repeat(points[:, None], 3, axis=1), LABELS)  # all of it is one value a bag


def test_few_bags_are_ordered_by_chance():
    AttentionClassifier().fit(beside(LABELS)[:8], LABELS[:8])  # two runs of eight bags: 2 of 70 orders


def test_a_weight_of_zero_is_absence():
    column = LABELS.astype(float)
    column[0] = 1.0
    weights = np.where(np.arange(COUNT) == 0, 0.0, 1.0)
    with pytest.raises(ValueError, match="predicts the labels"):
        AttentionClassifier().fit(beside(column), LABELS, sample_weight=weights)


def test_a_target_among_the_features_is_refused():
    y = np.random.default_rng(2).normal(size=COUNT)
    with pytest.raises(ValueError, match=r"^feature 1 \(x\) has one value in each bag and predicts the labels"):
        SingleLocationRegressor().fit(beside(np.exp(y)), y)
    SingleLocationRegressor().fit(beside(y + np.random.default_rng(3).normal(size=COUNT)), y)


def test_all_bags_decide_and_their_parts_do_not(monkeypatch):
    age = 10.0 * LABELS + np.random.default_rng(4).normal(size=COUNT)
    age[0] = 10.0  # the exception, without which age tells the classes apart
    bags = beside(age)
    with pytest.raises(ValueError, match="predicts the labels by itself"):
        AttentionClassifier().fit(bags[1:], LABELS[1:])
    models = {"attention": AttentionClassifier().fit(bags, LABELS), "pooling": PooledClassifier().fit(bags, LABELS)}
    compare(models, bags, LABELS, repeats=1, folds=4)
    monkeypatch.setattr(measured, "PLANS", {np.inf: (1, 4)})
    curves, _ = measured.measure(checked(bags, LABELS, None, None), None, 0)
    assert np.isfinite(curves.attention).all()
    with pytest.raises(ValueError, match=r"^feature 1 \(x\) has one value in each bag"):
        evaluate(models["attention"], beside(LABELS), LABELS, repeats=1, folds=2)


def test_rare_positives_are_not_given_away_by_a_few_of_them():
    rng = np.random.default_rng(5)
    labels = np.zeros(1000, dtype=int)
    labels[:10] = 1
    flags = np.zeros((1000, 40))
    flags[0, 0] = 1.0  # one positive of ten
    flags[:9, 1] = 1.0  # nine of ten
    for j in range(2, 40):
        flags[rng.choice(1000, 1 + j % 3, replace=False), j] = 1.0
    tokens = np.concatenate([rng.normal(size=(1000, 2, 2)), np.repeat(flags[:, None], 2, axis=1)], axis=2)
    PooledClassifier(head="linear").fit(tokens, labels)
    tokens[:10, :, 3] = 1.0
    with pytest.raises(ValueError, match=r"^feature 3 has one value in each bag"):
        PooledClassifier(head="linear").fit(tokens, labels)


def test_runs_are_counted():
    orders = [np.isin(np.arange(8), chosen) for chosen in combinations(range(8), 3)]
    counts = np.array([1 + np.sum(np.diff(order)) for order in orders])
    for runs in range(2, 8):
        assert _runs_at_most(runs, 3, 5) == pytest.approx(np.mean(counts <= runs))
