"""Honest evaluation: against scikit-learn on the same splits, on noise, on published sets, and what it refuses."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from solvable.bags import AttentionClassifier, Bags, PooledClassifier, compare, evaluate
from solvable.bags.container import as_bags
from solvable.bags.resampling import interval_over_new_data, size_of_auc
from tests.bags.data import mil


def extremes(bags):
    """Minimum and maximum of every feature over each bag, (n, 2d)."""
    return np.array([np.concatenate([bag.min(axis=0), bag.max(axis=0)]) for bag in bags])


def means(bags):
    """Mean token of each bag, (n, d)."""
    return np.array([bag.mean(axis=0) for bag in bags])


def gaussian(count=60, dim=4, signal=0.6, seed=0):
    """Points of two classes whose first coordinate differs, and their labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    return rng.normal(size=(count, dim)) + signal * np.where(y == 1, 1, -1)[:, None] * np.eye(dim)[0], y


def folds_of(seed, count=10):
    return StratifiedKFold(count, shuffle=True, random_state=seed)


def test_without_a_grid_it_is_cross_val_score():
    X, y = gaussian(63)
    model = LogisticRegression()
    result = evaluate(model, X, y, repeats=3)
    for r in range(3):
        np.testing.assert_array_equal(result.fold_accuracies[r], cross_val_score(model, X, y, cv=folds_of(r)))
        expected = cross_val_score(model, X, y, cv=folds_of(r), scoring="roc_auc")
        np.testing.assert_allclose(result.fold_aucs[r], expected, rtol=0, atol=1e-15)
        # folds of 6 and 7 bags: the accuracy of a repeat is a share of all 63
        right = sum(round(a * n) for a, n in zip(result.fold_accuracies[r], result.fold_sizes[r], strict=True))
        assert result.accuracies[r] == pytest.approx(right / 63, abs=1e-15)
    assert result.accuracy == pytest.approx(result.accuracies.mean())
    assert result.accuracy_error == pytest.approx(result.accuracies.std(ddof=1) / np.sqrt(3))
    assert result.auc_error == pytest.approx(result.fold_aucs.mean(axis=1).std(ddof=1) / np.sqrt(3))
    assert result.settings == ()
    assert list(result.selected) == ["threshold of each fold"]


def test_with_a_grid_it_is_a_search_inside_cross_val_score():
    X, y = gaussian(50, signal=0.4)
    grid = [{"C": [0.1, 1.0], "gamma": [0.01, 1.0]}, {"kernel": ["linear"]}]
    result = evaluate(SVC(), X, y, grid, repeats=2, folds=5, inner_folds=3, random_state=7)
    for r in range(2):
        search = GridSearchCV(SVC(), grid, cv=folds_of(7 + r, 3))
        np.testing.assert_array_equal(result.fold_accuracies[r], cross_val_score(search, X, y, cv=folds_of(7 + r, 5)))
        np.testing.assert_allclose(
            result.fold_aucs[r], cross_val_score(search, X, y, cv=folds_of(7 + r, 5), scoring="roc_auc"), atol=1e-15
        )
        for k, (train, _) in enumerate(folds_of(7 + r, 5).split(X, y)):
            assert result.settings[r][k] == search.fit(X[train], y[train]).best_params_


def test_what_selection_on_the_test_folds_would_have_claimed():
    X, y = gaussian(40, signal=0.4)
    grid = {"n_neighbors": [1, 3, 9]}
    result = evaluate(KNeighborsClassifier(), X, y, grid, repeats=2, folds=4, inner_folds=3)
    accuracy, auc, tuned = np.zeros((3, 2, 4, 3))
    for r in range(2):
        for k, (train, test) in enumerate(folds_of(r, 4).split(X, y)):
            for j, neighbours in enumerate(grid["n_neighbors"]):
                model = KNeighborsClassifier(neighbours).fit(X[train], y[train])
                scores = model.predict_proba(X[test])[:, 1]
                accuracy[r, k, j] = model.score(X[test], y[test])
                cuts = [np.mean((scores >= cut) == y[test]) for cut in np.append(scores, 2.0)]
                tuned[r, k, j] = max(*cuts, accuracy[r, k, j])
                auc[r, k, j] = np.mean(np.sign(scores[y[test] == 1][:, None] - scores[y[test] == 0]) / 2 + 0.5)
    claims = result.selected
    np.testing.assert_array_equal(claims["setting of each fold"].fold_accuracies, accuracy.max(axis=2))
    np.testing.assert_allclose(claims["setting of each fold"].fold_aucs, auc.max(axis=2))
    np.testing.assert_array_equal(claims["setting and threshold of each fold"].fold_accuracies, tuned.max(axis=2))
    chosen = [[grid["n_neighbors"].index(setting["n_neighbors"]) for setting in row] for row in result.settings]
    expected = np.take_along_axis(tuned, np.array(chosen)[:, :, None], axis=2)[:, :, 0]
    np.testing.assert_array_equal(claims["threshold of each fold"].fold_accuracies, expected)
    for r in range(2):
        search = GridSearchCV(KNeighborsClassifier(), grid, cv=folds_of(r, 4)).fit(X, y)
        assert claims["one setting for all folds"].accuracies[r] == pytest.approx(search.best_score_)
        assert claims["one setting for all folds"].aucs[r] == pytest.approx(auc[r].mean(axis=0).max())
    claimed = evaluate(KNeighborsClassifier(), X, y, grid, protocol="test_fold", repeats=2, folds=4)
    np.testing.assert_array_equal(claimed.fold_accuracies, tuned.max(axis=2))
    np.testing.assert_allclose(claimed.fold_aucs, auc.max(axis=2))
    assert np.isnan(claimed.accuracy_interval).all()
    assert np.isnan(claimed.auc_interval).all()
    assert "WARNING: chosen on the test folds" in str(claimed)
    assert claimed.settings[0][0] == {"n_neighbors": [1, 3, 9][int(np.argmax(tuned[0, 0]))]}


def test_on_noise_the_honest_accuracy_is_one_half_and_the_selected_one_is_not():
    honest, selected, areas = [], [], []
    for seed in range(40):
        X, y = gaussian(40, signal=0.0, seed=seed)
        grid = {"gamma": [0.01, 1.0, 100.0]}
        result = evaluate(SVC(), X, y, grid, repeats=1, inner_folds=2, random_state=seed)
        honest.append(result.accuracy)
        areas.append(result.auc)
        selected.append(result.selected["setting and threshold of each fold"].accuracy)
    for values in (honest, areas):
        assert abs(np.mean(values) - 0.5) <= 4 * np.std(values, ddof=1) / np.sqrt(40)
    assert np.mean(selected) > 0.65


def test_musk1_with_extremes_and_a_support_vector_machine():
    bags, labels = mil("musk1")
    model = make_pipeline(FunctionTransformer(extremes), StandardScaler(), SVC(C=10, gamma=1 / 332))
    result = evaluate(model, bags, labels)
    assert result.fold_accuracies.mean() == pytest.approx(0.9156, abs=5e-4)
    assert result.fold_accuracies.mean(axis=1).std(ddof=1) / np.sqrt(5) == pytest.approx(0.0056, abs=5e-4)
    assert result.accuracy == pytest.approx(0.9156, abs=0.003)
    assert result.selected["threshold of each fold"].accuracy > result.accuracy + 0.04
    assert result.base_rate == 47 / 92


def test_the_estimators_of_bags():
    bags, labels = mil("musk1")
    for estimator in (AttentionClassifier(), PooledClassifier()):
        result = evaluate(estimator, bags, labels, {"C": [1.0, 10.0]}, repeats=1, folds=5, inner_folds=2)
        assert result.accuracy > 0.8
        assert result.auc > 0.85


def test_fox_is_worth_less_than_selection_on_the_test_folds_claims():
    bags, labels = mil("fox")
    grid = {"svc__C": [1, 10], "svc__gamma": [1e-3, 1e-2, 1e-1]}
    result = evaluate(make_pipeline(StandardScaler(), SVC()), extremes(bags), labels, grid, repeats=1, inner_folds=3)
    assert 0.5 < result.accuracy < 0.68
    assert result.selected["setting and threshold of each fold"].accuracy > result.accuracy + 0.1


def test_all_forms_of_bags_and_labels_give_the_same():
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    array = rng.normal(size=(24, 3, 2)) + labels[:, None, None]
    words = np.array(["no", "yes"])[labels]
    objects = np.empty(24, dtype=object)
    objects[:] = list(array)
    model = make_pipeline(FunctionTransformer(means), LogisticRegression())
    expected = evaluate(model, array, labels, repeats=1, folds=4)
    forms = [Bags(array.reshape(72, 2), np.arange(25) * 3), list(array), tuple(array), objects]
    for bags, named in [(forms[0], labels), *((form, words) for form in forms), (forms[0], list(labels == 1))]:
        result = evaluate(model, bags, named, repeats=1, folds=4)
        np.testing.assert_array_equal(result.fold_accuracies, expected.fold_accuracies)
        np.testing.assert_allclose(result.fold_aucs, expected.fold_aucs)
    holding = Bags(array.reshape(72, 2), np.arange(25) * 3, labels=words)
    result = evaluate(model, holding, repeats=1, folds=4)
    np.testing.assert_array_equal(result.fold_accuracies, expected.fold_accuracies)
    frame = pd.DataFrame(means(array), columns=["a", "b"])
    result = evaluate(LogisticRegression(), frame, pd.Series(words, index=range(5, 29)), repeats=1, folds=4)
    np.testing.assert_array_equal(result.fold_accuracies, expected.fold_accuracies)


def test_swapping_the_labels_changes_neither_accuracy_nor_area():
    X, y = gaussian()
    first, second = (evaluate(GaussianNB(), X, labels, repeats=2) for labels in (y, 1 - y))
    np.testing.assert_array_equal(first.fold_accuracies, second.fold_accuracies)
    np.testing.assert_allclose(first.fold_aucs, second.fold_aucs)


def rare(positive=None):
    """Four spelled-out repeats of the same bags of few positives, as `evaluate` judges them."""
    X, y = gaussian(80, signal=0.8)
    y = y * (np.arange(80) % 4 == 1)
    spellings = (("normal", "tumour"), ("wildtype", "mutant"))
    return y, [evaluate(GaussianNB(), X, np.array(s)[y], repeats=2, positive=positive and s[1]) for s in spellings]


def test_the_spelling_of_the_classes_decides_nothing():
    y, (first, second) = rare()
    np.testing.assert_array_equal(first.fold_accuracies, second.fold_accuracies)
    np.testing.assert_allclose(first.fold_aucs, second.fold_aucs)
    np.testing.assert_array_equal(first.recalls, second.recalls[::-1])
    assert first.auc_interval == pytest.approx(second.auc_interval)
    assert first.recalls @ [1 - y.mean(), y.mean()] == pytest.approx(first.accuracy)
    low, high = first.recalls
    assert f"Answered rightly: {low:.3f} of class normal, {high:.3f} of class tumour." in str(first)


def test_of_the_positive_class_recall_and_precision_are_told():
    y, results = rare(positive=True)
    X = gaussian(80, signal=0.8)[0]
    answers = [cross_val_predict(GaussianNB(), X, y, cv=folds_of(r)) for r in (0, 1)]
    called = np.concatenate(answers) == 1
    right = called & (np.tile(y, 2) == 1)
    for result, (negative, positive) in zip(results, (("normal", "tumour"), ("wildtype", "mutant")), strict=True):
        assert list(result.classes) == [negative, positive]
        assert list(result.class_counts) == [60, 20]
        assert result.recalls[1] == pytest.approx(right.sum() / 40)
        sized = interval_over_new_data(result.auc, result.fold_aucs, size_of_auc(result.auc, 20, 60))
        assert result.auc_interval == pytest.approx(sized)
        assert result.precision == pytest.approx(right.sum() / called.sum())
        assert f"Class {positive}: recall {result.recalls[1]:.3f}, precision {result.precision:.3f}." in str(result)
        np.testing.assert_array_equal(result.fold_aucs, results[0].fold_aucs)
        assert f"always answering {negative}" in str(result)


def test_test_folds_that_lack_a_class_are_said():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 5)
    X, y = rng.normal(size=(60, 3)), (groups < 2).astype(int)
    result = evaluate(GaussianNB(), X, y, groups=groups, repeats=2)
    lacking = (result.fold_counts == 0).any(axis=2)
    assert lacking.sum() == 16
    np.testing.assert_array_equal(np.isnan(result.fold_aucs), lacking)
    assert "WARNING: 16 of 20 test folds lack a class, mostly 1 (in 2 groups), and the AUC is the mean of" in str(
        result
    )
    both = compare({"a": GaussianNB(), "b": NearestCentroid()}, X, y, groups=groups, repeats=2)
    assert "WARNING: 16 of 20 test folds lack a class" in str(both)
    assert "neither decision_function" not in str(result)
    four = np.arange(60) // 15
    none = evaluate(GaussianNB(), X, four < 2, groups=four, repeats=1, folds=4)
    assert np.isnan(none.auc)
    assert "WARNING: 4 of 4 test folds lack a class" in str(none)
    assert "there is no AUC" in str(none)
    assert "neither decision_function" not in str(none)


def test_confounding_by_length_is_said_in_one_line():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    bags = [rng.normal(size=(rng.integers(4, 8) * (1 + label), 3)) for label in y]
    words = np.array(["sick", "healthy"])[y]
    estimators = {"attention": AttentionClassifier(), "mean": PooledClassifier()}
    sentence = r"WARNING: Bags of class healthy are longer, 1\d(\.\d)? tokens against 5\.\d+: the number of tokens "
    for given in (bags, as_bags(bags), pd.Series(bags)):
        found = compare(estimators, given, words, repeats=1, folds=5)
        assert len(re.findall(sentence + r"alone has AUC \d\.\d{3} \(p < 0\.001\)", str(found))) == 1
    alone = found.evaluations["attention"]
    assert re.search(sentence, str(alone))
    assert alone.length_effect.auc == pytest.approx(roc_auc_score(y, [len(bag) for bag in bags]))
    assert evaluate(GaussianNB(), [bag[0] for bag in bags], words, repeats=1).length_effect is None
    rng.shuffle(y)
    assert evaluate(PooledClassifier(), bags, y, repeats=1, folds=2).length_effect is None


class Remembering(ClassifierMixin, BaseEstimator):
    """Answers the label of the nearest training point: right for whoever has a twin in the training fold."""

    def fit(self, X, y):
        self.classes_, self.X_, self.y_ = np.unique(y), X, y
        return self

    def predict(self, X):
        return self.y_[np.argmin(np.sum((X[:, None] - self.X_) ** 2, axis=2), axis=1)]


def test_groups_stay_together_and_scores_may_be_missing():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 2)  # twins of one random label
    X, y = np.repeat(rng.normal(size=(40, 3)), 2, axis=0), np.repeat(rng.permutation(40) % 2, 2)
    alone = evaluate(Remembering(), X, y, repeats=2, folds=5)
    together = evaluate(Remembering(), X, y, repeats=2, folds=5, groups=groups)
    assert alone.accuracy > 0.8
    assert together.accuracy < 0.65
    assert np.isnan(alone.auc)
    assert alone.selected == {}
    assert "No AUC: the estimator has neither decision_function nor predict_proba." in str(alone)
    nested = evaluate(make_pipeline(Remembering()), X, y, {"remembering": [Remembering()] * 2}, repeats=1, folds=5)
    assert list(nested.selected) == ["one setting for all folds", "setting of each fold"]
    assert np.isnan(nested.selected["setting of each fold"].auc)
    claimed = evaluate(Remembering(), X, y, protocol="test_fold", repeats=1, folds=5)
    assert claimed.accuracy == alone.accuracies[0]


def test_processes_give_the_same():
    X, y = gaussian()
    serial, parallel = (
        evaluate(LogisticRegression(), X, y, {"C": [0.1, 1]}, repeats=2, folds=3, n_jobs=jobs) for jobs in (None, 2)
    )
    np.testing.assert_array_equal(serial.fold_accuracies, parallel.fold_accuracies)
    assert serial.settings == parallel.settings
    assert str(serial) == str(parallel)


def test_what_it_prints():
    X, y = gaussian(40, signal=2.0)
    X = np.concatenate([X, X[::2] + 0.01])
    labels = np.array(["dull", "rare"])[np.append(y, np.zeros(20, dtype=int))]
    text = str(evaluate(GaussianNB(), X, labels))
    assert text.startswith("60 bags (40 of class dull, 20 of class rare), 5 x 10 folds\n")
    assert "honest: test folds choose nothing" in text
    assert "95 % interval over new bags" in text
    assert "not what other bags would give" in text
    assert "WARNING" not in text
    rng = np.random.default_rng(0)
    poor = evaluate(LogisticRegression(), rng.normal(size=(60, 3)), labels, {"C": [0.1, 10]}, repeats=1)
    assert poor.base_rate == 2 / 3
    size = 2 / (1 / size_of_auc(poor.auc, positive=20, negative=40) + 1 / size_of_auc(poor.auc, 40, 20))
    assert poor.auc_interval == pytest.approx(interval_over_new_data(poor.auc, poor.fold_aucs, size))
    assert poor.accuracy_interval == interval_over_new_data(poor.accuracy, poor.fold_accuracies, 60.0)
    assert "always answering dull, which is right for 0.667 of the bags." in str(poor)
    assert "One repeat has no standard error" in str(poor)
    assert "Chosen most often, in " in repr(poor)
    assert "of 10 folds: {'C': " in str(poor)


def test_what_is_right_for_every_bag_has_an_interval_all_the_same():
    X, y = gaussian(60, signal=6.0)
    result = evaluate(GaussianNB(), X, y)
    assert result.accuracy == result.auc == 1.0
    low, high = result.accuracy_interval
    assert 0.9 < low < 0.96
    assert high == 1.0
    assert 0.9 < result.auc_interval[0] < 1.0 == result.auc_interval[1]


class Failing(GaussianNB):
    """Fails on training folds without a certain point."""

    def __init__(self, error=ValueError, var_smoothing=1e-9):
        super().__init__(var_smoothing=var_smoothing)
        self.error = error

    def fit(self, X, y):
        if not np.any(X == 77.0):
            raise self.error("the point is missing")
        return super().fit(X, y)


def test_a_fit_that_fails_says_where():
    X, y = gaussian(40)
    X[0, 0] = 77.0
    fold = next(k for k, (_, test) in enumerate(folds_of(0).split(X, y)) if 0 in test)
    with pytest.raises(ValueError, match=f"^repeat 0, fold {fold}: the point is missing$"):
        evaluate(Failing(), X, y)
    with pytest.raises(RuntimeError, match=rf"^repeat 0, fold {fold}: KeyError: 'the point is missing'$"):
        evaluate(Failing(KeyError), X, y)
    with pytest.raises(ValueError, match=r"^repeat 0, fold 0, inner fold \d with {'var_smoothing': 0.1}: the point"):
        evaluate(Failing(), X, y, {"var_smoothing": [0.1, 1.0]})


class Unbounded(GaussianNB):
    """Its scores are infinite."""

    def decision_function(self, X):
        return np.full(len(X), np.inf)


LABELS = np.arange(40) % 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"protocol": "flat"}, r"protocol='flat' is unknown; accepted: 'nested', 'test_fold'"),
        ({"repeats": 0}, r"repeats=0 is out of range"),
        ({"folds": 1}, r"folds=1 is out of range"),
        ({"random_state": -1}, r"random_state=-1 is out of range"),
        ({"bags": dict.fromkeys(range(40))}, "bags is a dict, which is not sliced into folds"),
        ({"bags": np.ma.masked_array(np.ones((40, 2)), True)}, "bags has masked values"),
        (
            {"bags": iter([])},
            r"bags is a list_iterator, which is not sliced into folds; accepted: Bags, an array or a list, in memory",
        ),
        ({"labels": None}, r"labels=None, and the bags hold none; accepted: \(n,\), one label a bag"),
        ({"labels": LABELS[:39]}, r"there are 40 bags and 39 labels; accepted: one label a bag"),
        ({"labels": LABELS[:, None]}, r"labels has shape \(40, 1\); accepted: \(n,\)"),
        ({"labels": np.arange(40) % 3}, r"labels takes 3 different values \(0, 1, 2\); accepted: two"),
        ({"labels": np.zeros(40)}, r"labels takes 1 different values \(0.0\); accepted: two"),
        ({"labels": np.where(np.arange(40) == 5, np.nan, LABELS)}, r"labels\[5\] is nan; accepted: labels without"),
        ({"labels": [None, *LABELS[1:]]}, r"labels\[0\] is None"),
        ({"labels": np.array(["a", 1] * 20, dtype=object)}, r"labels holds values of kinds that cannot be sorted"),
        (
            {"labels": np.array(["b"] * 36 + ["a"] * 4)},
            r"folds=10 is more than the 4 bags of class a; accepted: 2 to 4",
        ),
        (
            {"labels": np.arange(40) < 5, "folds": 5, "grid": {"var_smoothing": [1, 2]}},
            r"inner_folds=5 is more than the 4 bags of class True in the training fold of repeat 0, fold 0",
        ),
        ({"estimator": LinearRegression()}, r"estimator=LinearRegression\(\) is a regressor"),
        ({"estimator": GaussianNB}, r"is no scikit-learn classifier; accepted: an object with fit, predict"),
        ({"estimator": 3}, r"estimator=3 is no scikit-learn classifier"),
        ({"estimator": Unbounded()}, r"repeat 0, fold 0: the score of bag 0 of the test fold is not finite"),
        ({"grid": {"depth": [1]}}, r"grid: Invalid parameter 'depth'"),
        ({"grid": {}}, None),
        ({"grid": []}, r"grid=\[\] has no setting; accepted"),
        ({"grid": {"var_smoothing": 3}}, r"grid=\{'var_smoothing': 3\}: .*; accepted: names of parameters"),
        ({"positive": 2}, r"positive=2 is no label; accepted: \[0, 1\]"),
        ({"positive": np.array([1, 0])}, r"positive=array\(\[1, 0\]\) is no label; accepted: \[0, 1\]"),
        ({"bags": "x.parquet"}, r"bags is a str, .*; accepted: Bags, .* \(Bags.from_parquet\(path\)\)"),
        ({"groups": [None] * 40}, r"groups\[0\] is None; accepted: groups without missing values"),
        ({"groups": np.arange(39)}, r"groups has shape \(39,\); accepted: \(40,\), one a bag"),
        ({"groups": np.arange(40) % 6}, r"folds=10 is more than the 6 groups; accepted"),
        (
            {"groups": np.where(LABELS == 1, 99, np.arange(40)), "folds": 2},
            r"all bags of the training fold are of class 0; accepted: smaller groups",
        ),
        (
            {"groups": np.arange(40) % 6, "folds": 5, "inner_folds": 6, "grid": {"var_smoothing": [1, 2]}},
            r"inner_folds=6 is more than the [45] groups in the training fold of repeat 0, fold 0",
        ),
    ],
)
def test_what_it_refuses(change, sentence):
    X, _ = gaussian(40)
    given = {"estimator": GaussianNB(), "bags": X, "labels": LABELS, "repeats": 1, **change}
    if sentence is None:
        evaluate(**given)
    else:
        with pytest.raises(ValueError, match=sentence):
            evaluate(**given)


def test_an_estimator_without_a_threshold_is_taken():
    X, y = gaussian()
    result = evaluate(NearestCentroid(), X, y, repeats=1)
    np.testing.assert_array_equal(result.fold_accuracies[0], cross_val_score(NearestCentroid(), X, y, cv=folds_of(0)))


def test_the_page_works_as_it_stands(capsys):
    text = (Path(__file__).parents[2] / "docs" / "bags" / "evaluation.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(block, names)
    shown, printed = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE), capsys.readouterr().out
    assert shown[0].splitlines()[:2] == printed.splitlines()[:2]
    assert names["result"].selected["setting and threshold of each fold"].accuracy > names["result"].accuracy + 0.05
    assert [row.measure for row in names["comparison"].differences] == ["accuracy", "AUC"]
