"""Comparison on the same folds: the differences, their test by hand, Holm's correction, and the sentences."""

import numpy as np
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from solvable.bags import compare, evaluate


def gaussian(count=100, signal=1.0, seed=0):
    """Points of two classes whose first coordinate differs, and their labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    return rng.normal(size=(count, 3)) + signal * np.where(y == 1, 1, -1)[:, None] * np.eye(3)[0], y


class Centroid(ClassifierMixin, BaseEstimator):
    """The nearest class mean, without scores."""

    def fit(self, X, y):
        self.classes_, self.model_ = np.unique(y), NearestCentroid().fit(X, y)
        return self

    def predict(self, X):
        return self.model_.predict(X)


@pytest.fixture(scope="module")
def compared():
    """Two good classifiers with scores, a poor one with scores, and one without: 3 repeats of 5 folds, seeds 2 to 4."""
    X, y = gaussian()
    given = {
        "logistic": LogisticRegression(),
        "Bayes": (GaussianNB(), {"var_smoothing": [1e-9, 1.0]}),
        "blind": GaussianNB(priors=[1.0, 0.0]),
        "centroid": Centroid(),
    }
    with np.errstate(divide="ignore"):  # the logarithm of a prior 0
        return compare(given, X, y, repeats=3, folds=5, inner_folds=3, random_state=2)


def test_each_evaluation_is_that_of_evaluate(compared):
    X, y = gaussian()
    alone = evaluate(
        GaussianNB(), X, y, {"var_smoothing": [1e-9, 1.0]}, repeats=3, folds=5, inner_folds=3, random_state=2
    )
    together = compared.evaluations["Bayes"]
    np.testing.assert_array_equal(together.fold_accuracies, alone.fold_accuracies)
    np.testing.assert_array_equal(together.fold_aucs, alone.fold_aucs)
    assert together.settings == alone.settings


def test_the_differences_are_those_of_the_same_folds(compared):
    X, y = gaussian()

    def folds(model):
        return np.array(
            [cross_val_score(model, X, y, cv=StratifiedKFold(5, shuffle=True, random_state=r)) for r in (2, 3, 4)]
        )

    d = folds(LogisticRegression()) - folds(NearestCentroid())
    (row,) = [row for row in compared.differences if (row.first, row.second) == ("logistic", "centroid")]
    assert row.measure == "accuracy"
    assert row.difference == pytest.approx(d.mean())
    error = np.sqrt((1 / 15 + 20 / 80) * d.var(ddof=1))
    assert row.statistic == pytest.approx(d.mean() / error)
    assert row.p_value == pytest.approx(2 * stats.t.sf(abs(row.statistic), 14))
    assert row.high - row.low == pytest.approx(2 * stats.t.ppf(0.975, 14) * error)


def test_every_pair_is_corrected_in_its_measure(compared):
    accuracy = [row for row in compared.differences if row.measure == "accuracy"]
    areas = [row for row in compared.differences if row.measure == "AUC"]
    names = ["logistic", "Bayes", "blind", "centroid"]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    assert [(row.first, row.second) for row in accuracy] == pairs
    assert [(row.first, row.second) for row in areas] == [pair for pair in pairs if "centroid" not in pair]
    for rows in (accuracy, areas):
        smallest = min(rows, key=lambda row: row.p_value)
        assert smallest.adjusted == pytest.approx(min(1.0, len(rows) * smallest.p_value))
        assert all(row.adjusted >= row.p_value for row in rows)


def test_the_sentences(compared):
    text = str(compared)
    assert text == repr(compared)
    assert text.splitlines()[0].split() == ["estimator", "accuracy", "95", "%", "interval", "AUC"]
    assert "always 0" in text
    (row,) = [r for r in compared.differences if (r.first, r.second, r.measure) == ("Bayes", "blind", "accuracy")]
    assert f"Bayes is {100 * row.difference:.1f} points better than blind in accuracy, 95 % interval " in text
    assert str(row).endswith("after Holm): resolved")
    (row,) = [r for r in compared.differences if (r.first, r.second, r.measure) == ("blind", "centroid", "accuracy")]
    assert row.difference < 0
    assert str(row).startswith(f"centroid is {-100 * row.difference:.1f} points better than blind in accuracy")
    assert f"95 % interval {-100 * row.high:.1f} to {-100 * row.low:.1f}, p = " in str(row)
    (row,) = [r for r in compared.differences if (r.first, r.second, r.measure) == ("logistic", "Bayes", "accuracy")]
    assert str(row).endswith(": not resolved by these data")


def test_an_estimator_is_as_good_as_itself():
    X, y = gaussian()
    both = compare({"one": GaussianNB(), "other": GaussianNB()}, X, y, repeats=1)
    for row in both.differences:
        assert (row.difference, row.statistic, row.p_value, row.adjusted) == (0.0, 0.0, 1.0, 1.0)
        assert str(row).startswith("one is as good as other in ")
        assert str(row).endswith("95 % interval 0.0 to 0.0, p = 1: not resolved by these data")


def test_against_a_reference_fewer_pairs_are_counted():
    X, y = gaussian()
    given = {"one": KNeighborsClassifier(1), "nine": KNeighborsClassifier(9), "Bayes": GaussianNB()}
    every = compare(given, X, y, repeats=2)
    against = compare(given, X, y, repeats=2, reference="one")
    assert [(row.first, row.second) for row in against.differences] == [("nine", "one"), ("Bayes", "one")] * 2
    for row in against.differences:
        (same,) = [
            r for r in every.differences if {r.first, r.second} == {row.first, row.second} and r.measure == row.measure
        ]
        assert row.difference == pytest.approx(abs(same.difference) * np.sign(row.difference))
        assert row.p_value == pytest.approx(same.p_value)
        assert row.adjusted <= same.adjusted
    assert sum(row.adjusted for row in against.differences) < sum(
        row.adjusted for row in every.differences if "one" in (row.first, row.second)
    )


def test_a_difference_that_holm_takes_back():
    from solvable.bags.comparison import Difference

    row = Difference("a", "b", "AUC", 0.02, 2.1, 0.04, 0.12, 0.001, 0.039)
    assert str(row) == (
        "a is 2.0 points better than b in AUC, 95 % interval 0.1 to 3.9, p = 0.04 (0.12 after Holm): "
        "not resolved once all pairs are counted"
    )


@pytest.mark.parametrize(
    ("estimators", "reference", "sentence"),
    [
        ({"one": GaussianNB()}, None, r"accepted: two or more by name"),
        ([GaussianNB(), GaussianNB()], None, r"accepted: two or more by name"),
        ({"a": GaussianNB(), "b": GaussianNB()}, "c", r"reference='c' is unknown; accepted: 'a', 'b'"),
        ({"a": GaussianNB(), "b": (GaussianNB(), {"C": [1]})}, None, r"b: grid: Invalid parameter 'C'"),
        ({"a": GaussianNB(), "b": KNeighborsClassifier(99)}, None, r"b: repeat 0, fold 0: Expected n_neighbors"),
    ],
)
def test_what_it_refuses(estimators, reference, sentence):
    X, y = gaussian()
    with pytest.raises(ValueError, match=sentence):
        compare(estimators, X, y, reference=reference, repeats=1)
