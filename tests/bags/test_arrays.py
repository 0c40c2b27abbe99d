"""What users give for bags, labels, groups and weights: taken right, or refused in one sentence that has the fix."""

import decimal

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray
from sklearn.naive_bayes import GaussianNB

from solvable.bags import AttentionClassifier, Bags, PooledClassifier, SingleLocationRegressor, diagnose, evaluate
from solvable.bags.arrays import column, real
from solvable.bags.container import as_bags
from solvable.bags.diagnosis import measured
from solvable.bags.diagnosis.preparation import checked

RNG = np.random.default_rng(5)
TOKENS = RNG.normal(size=(40, 3, 2))
LABELS = np.arange(40) % 2
TOKENS[LABELS == 1, 0] += 3.0
BAGS = list(TOKENS)
SERIES = [RNG.normal(size=3 + i % 2) for i in range(40)]
MASKED = np.ma.masked_greater(TOKENS, 1.0)


def matrices():
    with pytest.warns(PendingDeprecationWarning):
        return [np.matrix(bag) for bag in BAGS]


@pytest.mark.parametrize(
    "form",
    [
        lambda: xarray.DataArray(TOKENS, dims=("bag", "token", "feature")),
        lambda: xarray.DataArray(TOKENS, dims=("bag", "token", "feature")).chunk({"bag": 7}),
        lambda: [xarray.DataArray(bag) for bag in BAGS],
        lambda: pd.Series(BAGS),
        lambda: tuple(BAGS),
        lambda: [pd.DataFrame(bag) for bag in BAGS],
        lambda: [bag.tolist() for bag in BAGS],
    ],
)
def test_other_forms_of_the_same_bags(form):
    expected = AttentionClassifier().fit(TOKENS, LABELS).decision_function(TOKENS)
    model = AttentionClassifier().fit(form(), LABELS)
    np.testing.assert_allclose(model.decision_function(form()), expected, atol=1e-10)
    np.testing.assert_allclose(np.stack(model.attention(form())).sum(axis=1), 1.0)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_matrices_are_arrays():
    np.testing.assert_array_equal(as_bags(matrices()).values, TOKENS.reshape(-1, 2))
    assert type(Bags(np.matrix(BAGS[0]), [0, 3]).values) is np.ndarray


def test_an_array_of_two_axes_that_has_dims_is_one_token_a_bag():
    flat = xarray.DataArray(TOKENS[:, 0])
    assert AttentionClassifier().fit(flat, LABELS).predict(flat).shape == (40,)


RECORDS = np.zeros((40, 3), dtype=[("a", float)])
BAD = {
    "masked": (MASKED, "X has masked values; accepted: an array in which nothing is"),
    "masked, one token": (MASKED[:, 0], "X has masked values"),
    "masked in a list": (list(MASKED), r"X\[0\] has masked values"),
    "complex": (TOKENS + 0j, "Complex data not supported: X has dtype complex128"),
    "text": (TOKENS.astype(str), "X has dtype <U32; accepted: real numbers"),
    "text, one token": (TOKENS[:, 0].astype(str), "X has dtype <U32"),
    "text as objects": (TOKENS.astype(str).astype(object), "X holds values of the kind str"),
    "text in a list": (TOKENS[:, 0].astype(str).tolist(), r"X\[0\] holds texts"),
    "text in a frame": (pd.DataFrame(TOKENS[:, 0].astype(str)), "X holds values of the kind str"),
    "dates": (TOKENS.astype("M8[s]"), r"X has dtype datetime64\[s\]"),
    "records": (RECORDS, r"X has dtype \[\('a', '<f8'\)\]; accepted: real numbers"),
    "dict": (dict(enumerate(BAGS)), r"X is a dict; accepted: a list of \(L, d\) arrays, such as list\(X.values\(\)\)"),
    "dataset": (xarray.Dataset({"a": (("b", "t"), TOKENS[0])}), "X is a Dataset"),
    "path": ("bags.parquet", "X='bags.parquet' is no bags; accepted: .* ParquetBags"),
    "none": (None, "X=None is no bags"),
    "none in a list": ([*BAGS[:-1], None], r"X\[39\] is None"),
    "series": (SERIES, r"X holds arrays of one axis and of shapes \(3,\) and \(4,\); .* \[np.asarray\(x\)\[:, None\]"),
    "pandas series": ([pd.Series(one) for one in SERIES], "X holds arrays of one axis"),
    "lists of numbers": ([one.tolist() for one in SERIES], "X holds arrays of one axis"),
    "dask bags": (
        [dask.array.from_array(bag) for bag in BAGS],
        r"X\[0\] is a Dask array .* list\(dask.compute\(\*X\)\)",
    ),
    "dask of unknown shape": (
        dask.array.from_array(TOKENS)[dask.array.from_array(LABELS) >= 0],
        "X is a Dask array of unknown shape; accepted: X.compute_chunk_sizes()",
    ),
    "other columns": (
        [pd.DataFrame(bag, columns=list("ba" if i == 3 else "ab")) for i, bag in enumerate(BAGS)],
        r"X\[3\] has other columns than X\[0\]",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bags_that_are_refused(kind):
    given, sentence = BAD[kind]
    model = AttentionClassifier().fit(TOKENS, LABELS)
    for call in (lambda: model.fit(given, LABELS), lambda: model.predict(given), lambda: as_bags(given)):
        with pytest.raises(ValueError, match=sentence):
            call()


@pytest.mark.parametrize("kind", ["c", "text", "dates"])
def test_a_mapped_file_is_no_way_round(kind, tmp_path):
    np.save(
        tmp_path / "tokens.npy", {"c": TOKENS + 0j, "text": TOKENS.astype("U6"), "dates": TOKENS.astype("M8[s]")}[kind]
    )
    with pytest.raises(ValueError, match="real numbers"):
        AttentionClassifier().fit(np.load(tmp_path / "tokens.npy", mmap_mode="r"), LABELS)


def test_bags_know_the_columns_of_a_frame():
    bags = Bags(pd.DataFrame(TOKENS[0], columns=["mass", "charge"]), [0, 3])
    assert bags.feature_names == ("mass", "charge")
    assert as_bags([pd.DataFrame(bag, columns=["mass", "charge"]) for bag in BAGS]).feature_names == bags.feature_names


NOT_ONE_VALUE_EACH = {
    "masked": (np.ma.masked_array(LABELS, LABELS > 0), "{} has masked values"),
    "complex": (LABELS + 0j, "Complex data not supported: {} has dtype complex128; accepted: numbers, words or flags"),
    "records": (RECORDS[:, 0], r"{} has dtype \[\('a', '<f8'\)\]"),
    "none": ([None, *LABELS[1:].tolist()], r"{}\[0\] is None; accepted: {} without missing values"),
    "none among words": (np.array([None, *["ab"[i] for i in LABELS[1:]]], object), r"{}\[0\] is None"),
    "ragged": ([[0], *LABELS[1:].tolist()], "{} is a ragged list"),
    "nan": (np.where(np.arange(40) == 2, np.nan, LABELS), r"{}\[2\] is nan"),
    "not a time": (np.array(["NaT"] + 39 * ["2020-01-01"], "M8[D]"), r"{}(\[0\] is NaT| has dtype datetime64)"),
    "not available": (pd.array([pd.NA, *LABELS[1:]], dtype="Int64"), r"{}\[0\] is (nan|<NA>)"),
}
FITTED = AttentionClassifier().fit(TOKENS, LABELS)
TAKERS = {
    "y": lambda y: AttentionClassifier().fit(TOKENS, y),
    "y of score": lambda y: FITTED.score(TOKENS, y),
    "labels": lambda y: evaluate(PooledClassifier(), TOKENS, y, repeats=1, folds=2),
    "groups": lambda groups: evaluate(PooledClassifier(), TOKENS, LABELS, groups=groups, repeats=1, folds=2),
    "labels of diagnose": lambda y: diagnose(TOKENS, y, curves=False, bootstrap=50),
    "ids": lambda ids: Bags(TOKENS.reshape(-1, 2), np.arange(41) * 3, ids=ids),
    "labels of Bags": lambda y: Bags(TOKENS.reshape(-1, 2), np.arange(41) * 3, labels=y),
    "the labels of batch 0 of X": lambda y: AttentionClassifier().fit([(TOKENS, y)]),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("kind", NOT_ONE_VALUE_EACH)
def test_labels_and_groups_that_are_refused(taker, kind):
    given, sentence = NOT_ONE_VALUE_EACH[kind]
    sentence = sentence.format(*2 * [taker.split(" of ")[0] if "batch" not in taker else taker])
    if kind in ("nan", "not available") and "batch" in taker:
        sentence = r"y\[\d\] is nan"  # the labels of all batches
    with pytest.raises(ValueError, match=sentence):
        TAKERS[taker](given)


@pytest.mark.parametrize(
    "weights", [np.ma.masked_array(np.ones(40), LABELS > 0), np.ones(40) + 0j, np.ones(40).astype(str)]
)
def test_weights_that_are_refused(weights):
    with pytest.raises(ValueError, match=r"sample_weight (has masked values|has dtype)|Complex data not supported"):
        AttentionClassifier().fit(TOKENS, LABELS, sample_weight=weights)
    with pytest.raises(ValueError, match=r"sample_weight (has masked values|has dtype)|Complex data not supported"):
        FITTED.score(TOKENS, LABELS, sample_weight=weights)
    with pytest.raises(ValueError, match=r"weights of batch 0 of X (has masked values|has dtype)|Complex data not"):
        AttentionClassifier().fit([(TOKENS, LABELS, weights)])


@pytest.mark.parametrize(
    "kind", [np.ma.masked_less, lambda y, _: y.astype(str), lambda y, _: y.astype(str).astype(object)]
)
def test_targets_that_are_refused(kind):
    targets = kind(TOKENS[:, 0, 0].copy(), 0.0)
    for call in (SingleLocationRegressor().fit, SingleLocationRegressor().fit(TOKENS, LABELS).score):
        with pytest.raises(ValueError, match=r"y (has masked values|has dtype <U32|holds values of the kind str)"):
            call(TOKENS, targets)
    with pytest.raises(ValueError, match=r"has masked values|has dtype <U32|holds values of the kind str"):
        SingleLocationRegressor().fit([(TOKENS, targets)])


class Masking:
    """Slices of an array on disk as netCDF4 gives them."""

    def __init__(self, held):
        self.held, self.shape, self.dtype = held, held.shape, held.dtype

    def __getitem__(self, part):
        return np.ma.masked_array(self.held[part], self.held[part] > 2.5)


def test_what_masks_in_its_slices():
    for array in (Masking(TOKENS), dask.array.ma.masked_greater(dask.array.from_array(TOKENS), 2.5)):
        with pytest.raises(ValueError, match="X has masked values"):
            FITTED.predict(array)
        with pytest.raises(ValueError, match="X has masked values"):
            AttentionClassifier().fit(array, LABELS)
    few = Masking(np.minimum(TOKENS, 2.0))
    np.testing.assert_array_equal(FITTED.predict(few), FITTED.predict(few.held))


def test_a_mask_that_hides_nothing_is_none():
    masked = np.ma.masked_array(TOKENS, np.zeros(TOKENS.shape, dtype=bool))
    expected = FITTED.decision_function(TOKENS)
    for form in (masked, list(masked), np.ma.masked_array(TOKENS)):
        model = AttentionClassifier().fit(form, np.ma.masked_array(LABELS))
        np.testing.assert_array_equal(model.decision_function(form), expected)
    assert type(Bags(masked.reshape(-1, 2), np.arange(41) * 3).values) is np.ndarray


def test_what_is_right_stays():
    assert SingleLocationRegressor().fit(TOKENS, pd.Series(LABELS * 1.5)).n_features_in_ == 2
    days = np.repeat(np.arange("2020-01-01", "2020-01-11", dtype="M8[D]"), 4)
    assert evaluate(PooledClassifier(), TOKENS, LABELS, groups=days, repeats=1, folds=2).class_counts.sum() == 40
    assert column("y", pd.Categorical.from_codes(LABELS, ["a", "b"])).tolist()[:2] == ["a", "b"]
    assert real("values", np.array([[1, 2.5]], dtype=object)).tolist() == [[1.0, 2.5]]
    assert AttentionClassifier().fit(TOKENS, LABELS, sample_weight=2.0).classes_.tolist() == [0, 1]


TWO_VALUES = {
    "objects": LABELS.astype(object),
    "fractions": LABELS + 0.5,
    "bytes": np.where(LABELS == 1, b"ill", b"healthy"),
    "decimals": [decimal.Decimal(int(label)) for label in LABELS],
    "flags as objects": LABELS.astype(bool).astype(object),
    "long decimals": [decimal.Decimal(10**30 + int(label)) for label in LABELS],
}


@pytest.mark.parametrize("kind", TWO_VALUES)
def test_two_values_of_any_kind_are_labels(kind):
    labels = TWO_VALUES[kind]
    expected = FITTED.decision_function(TOKENS)
    model = AttentionClassifier().fit(TOKENS, labels)
    np.testing.assert_array_equal(model.decision_function(TOKENS), expected)
    assert model.score(TOKENS, labels) == FITTED.score(TOKENS, LABELS)
    folds = {"repeats": 1, "folds": 2}
    for estimator, bags in ((PooledClassifier(), TOKENS), (GaussianNB(), TOKENS[:, 0])):
        found, same = (evaluate(estimator, bags, y, **folds) for y in (labels, LABELS))
        np.testing.assert_array_equal(found.fold_right, same.fold_right)
    assert found.classes.tolist() == sorted(set(np.asarray(labels).tolist()))


@pytest.mark.parametrize("kind", ["objects", "fractions"])
def test_two_values_of_any_kind_have_learning_curves(kind, monkeypatch):
    monkeypatch.setattr(measured, "PLANS", {np.inf: (1, 2)})
    curves, _ = measured.measure(checked(TOKENS, TWO_VALUES[kind], None, None), None, 0)
    same, _ = measured.measure(checked(TOKENS, LABELS, None, None), None, 0)
    np.testing.assert_array_equal(curves.attention, same.attention)


@pytest.mark.parametrize("given", [iter(BAGS), {1, 2}])
def test_bags_that_are_needed_in_memory(given):
    with pytest.raises(TypeError, match=r"bags is a \w+; accepted: bags in memory: .* ParquetBags\(path\).read\(\)"):
        diagnose(given, LABELS)
    with pytest.raises(TypeError, match=r"bags is a object; accepted: a list of \(L, d\) arrays"):
        diagnose(object(), LABELS)


def test_a_frame_is_looked_through():
    frame = pd.DataFrame(TOKENS.reshape(-1, 2), columns=["f", "g"]).assign(age=np.repeat(np.arange(40) % 7, 3))
    words = r"'values' has the features age \(constant within every bag\) and index \(growing from row to row\)"
    with pytest.warns(UserWarning, match=words):
        Bags(frame.reset_index(), np.arange(41) * 3)
    assert Bags(frame[["f", "g"]], np.arange(41) * 3).feature_names == ("f", "g")
