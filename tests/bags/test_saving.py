"""Fitted estimators on disk: written whole, through no link; what was edited in a file is refused in one sentence."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from solvable.bags import AttentionClassifier, PooledClassifier, SingleLocationRegressor, load
from solvable.bags.container import Bags
from tests.bags.test_estimators import ragged

BAGS, LABELS = ragged()


def test_what_cannot_be_saved_or_loaded(tmp_path):
    with pytest.raises(NotFittedError):
        AttentionClassifier().save(tmp_path / "model.npz")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load(tmp_path / "model.npz")
    np.savez(tmp_path / "other.npz", values=np.ones(3))
    with pytest.raises(ValueError, match="damaged or no estimator"):
        load(tmp_path / "other.npz")
    AttentionClassifier().fit(BAGS, LABELS).save(tmp_path / "model.npz")
    whole = (tmp_path / "model.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged or no estimator"):
        load(tmp_path / "cut.npz")
    model = AttentionClassifier().fit(BAGS, LABELS).set_params(class_weight=lambda: None)
    with pytest.raises(ValueError, match=r"class_weight=.* cannot be saved"):
        model.save(tmp_path / "model.npz")
    assert (tmp_path / "model.npz").read_bytes() == whole  # nothing is lost
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.npz", "model.npz", "other.npz"]


MODELS = {
    "rbf": AttentionClassifier(class_weight={0: 1.0, 1: 2.0}),
    "linear": AttentionClassifier(head="linear", queries=2),
    "pooled": PooledClassifier(pooling=("mean", "max")),
    "regression": SingleLocationRegressor(),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What `save` writes of each model: its text and its arrays."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    held = Bags(np.concatenate(BAGS), np.cumsum([0, *map(len, BAGS)]), feature_names=list("abcde"))
    for name, model in MODELS.items():
        model.fit(held, LABELS).save(folder / name)
        with np.load(folder / name) as file:
            arrays = dict(file)
        found[name] = json.loads(str(arrays.pop("text"))), arrays
    return found


def written(path, text, arrays):
    np.savez(path, text=np.array(text if isinstance(text, str) else json.dumps(text)), **arrays)
    return path


def test_files_of_the_first_format_are_read(saved, tmp_path):
    text, arrays = saved["rbf"]
    first = {name: value for name, value in text.items() if name != "longest"} | {"format": 1}
    model = load(written(tmp_path / "old.npz", first, arrays))
    again = load(written(tmp_path / "new.npz", text, arrays))
    np.testing.assert_array_equal(model.predict_proba(BAGS), again.predict_proba(BAGS))


def put(*keys_and_value):
    """The edit that puts a value into the text."""
    *keys, last, value = keys_and_value

    def edit(text, arrays):
        for key in keys:
            text = text[key]
        text[last] = value

    return edit


def drop(name):
    def edit(text, arrays):
        del (arrays if name in arrays else text)[name]

    return edit


def change(name, work):
    """The edit that changes an array."""

    def edit(text, arrays):
        arrays[name] = work(arrays[name].copy())

    return edit


def fill(value, at=0):
    def work(array):
        array.flat[at] = value
        return array

    return work


EDITS = {
    "NaN weight": ("rbf", change("weights", fill(np.nan)), "weights holds nan"),
    "infinite weight": ("linear", change("weights", fill(np.inf, -1)), "weights holds inf"),
    "weights of another length": ("rbf", change("weights", lambda w: w[:-1]), "weights has dtype float64 and shape"),
    "weights of two axes": ("rbf", change("weights", lambda w: w[:, None]), "weights has dtype float64 and shape"),
    "weights in single precision": ("rbf", change("weights", np.float32), "weights has dtype float32"),
    "complex weights": ("rbf", change("weights", lambda w: w + 0j), "weights has dtype complex128"),
    "weights in words": ("rbf", change("weights", lambda w: w.astype(str)), "weights has dtype <U"),
    "no weights": ("rbf", drop("weights"), "the file lacks weights"),
    "NaN anchor": ("rbf", change("anchors", fill(np.nan)), "anchors holds nan"),
    "anchor beyond the clip": ("rbf", change("anchors", fill(5.5)), "anchors holds numbers above clip=5"),
    "anchors of other features": ("rbf", change("anchors", lambda a: a[:, :-1]), "anchors has dtype float64 and"),
    "anchors of one axis": ("rbf", change("anchors", np.ravel), "anchors has dtype float64 and shape"),
    "no anchors": ("rbf", drop("anchors"), "weights has dtype float64 and shape"),
    "no anchor": ("rbf", change("anchors", lambda a: a[:0]), "anchors has dtype float64 and shape"),
    "NaN query": ("linear", change("queries", fill(np.nan)), "queries holds nan"),
    "queries of another dimension": ("linear", change("queries", lambda q: q[:-1]), "queries has dtype float64"),
    "one query less": ("linear", change("queries", lambda q: q[:, :1]), "feature_mean has dtype float64 and shape"),
    "no query": ("linear", change("queries", lambda q: q[:, :0]), "there are 0 queries and the poolings"),
    "a query as a number": ("linear", change("queries", lambda q: np.array(1.0)), "there are 0 queries"),
    "queries without attention": ("pooled", change("queries", lambda q: np.ones((5, 1))), "there are 1 queries"),
    "NaN mean": ("rbf", change("mean", fill(np.nan)), "mean holds nan"),
    "infinite mean": ("rbf", change("mean", fill(-np.inf)), "mean holds -inf"),
    "no feature": ("rbf", change("mean", lambda m: m[:0]), "mean has dtype float64 and shape"),
    "negative deviation": ("rbf", change("deviation", fill(-1.0)), "deviation holds -1"),
    "zero deviation": ("rbf", change("feature_deviation", fill(0.0)), "feature_deviation holds 0"),
    "NaN deviation": ("rbf", change("feature_deviation", fill(np.nan)), "feature_deviation holds nan"),
    "NaN feature mean": ("rbf", change("feature_mean", fill(np.nan)), "feature_mean holds nan"),
    "longer feature mean": ("rbf", change("feature_mean", lambda m: np.append(m, 0.0)), "feature_mean has dtype"),
    "one class": ("rbf", change("classes", lambda c: c[:1]), r"classes holds \[0\], not two labels in order"),
    "three classes": ("rbf", change("classes", lambda c: np.arange(3)), r"classes holds \[0, 1, 2\]"),
    "classes the other way round": ("rbf", change("classes", lambda c: c[::-1]), r"classes holds \[1, 0\]"),
    "one class twice": ("rbf", change("classes", lambda c: c * 0), r"classes holds \[0, 0\]"),
    "NaN class": ("rbf", change("classes", lambda c: np.array([0.0, np.nan])), r"classes holds \[0.0, nan\]"),
    "classes as dates": ("rbf", change("classes", lambda c: c.astype("M8[D]")), "classes_ has dtype datetime64"),
    "other classes than weights": (
        "rbf",
        change("classes", lambda c: c + 1),
        "class_weight names 0, which is no label",
    ),
    "no classes": ("rbf", drop("classes"), "the file lacks classes"),
    "another array": ("rbf", lambda text, arrays: arrays.update(more=np.ones(2)), "the file holds more"),
    "another key": ("rbf", put("more", 1), "the text holds more"),
    "a missing key": ("rbf", drop("clip"), "the text lacks clip"),
    "an older format": ("rbf", put("format", 0), "it has format 0, which is not 2"),
    "a newer format": ("rbf", put("format", 3), "it has format 3, which is not 2"),
    "a format in words": ("rbf", put("format", "2"), "it has format '2'"),
    "another class of ours": ("rbf", put("estimator", "_BagEstimator"), "estimator='_BagEstimator' is unknown"),
    "a function": ("rbf", put("estimator", "check_is_fitted"), "estimator='check_is_fitted' is unknown"),
    "an estimator of numbers": ("rbf", put("estimator", 3), "estimator=3 is unknown"),
    "another estimator": ("rbf", put("estimator", "PooledClassifier"), "parameters lacks inverse_temperature"),
    "negative C": ("rbf", put("parameters", "C", -5), "C=-5 is out of range"),
    "NaN C": ("rbf", put("parameters", "C", float("nan")), "C=nan is out of range"),
    "C in words": ("rbf", put("parameters", "C", "10"), "C='10' is not a single number"),
    "another head": ("rbf", put("parameters", "head", "tree"), "head='tree' is unknown"),
    "another loss": ("rbf", put("parameters", "loss", "hinge"), "loss='hinge' is unknown"),
    "a flag in words": ("rbf", put("parameters", "standardize", "no"), "standardize='no' is not accepted"),
    "half a query": ("rbf", put("parameters", "queries", 1.5), "queries=1.5 is not a whole number"),
    "a negative class weight": (
        "rbf",
        put("parameters", "class_weight", {"kind": "dict", "items": [[0, -1.0]]}),
        r"class_weight\[0\]=-1 is out of range",
    ),
    "a parameter of another kind": (
        "rbf",
        put("parameters", "class_weight", {"kind": "set", "items": []}),
        "kind='set' is unknown",
    ),
    "a parameter without items": ("rbf", put("parameters", "pooling", {"kind": "list"}), "a parameter lacks items"),
    "a parameter in the place of a list": (
        "rbf",
        put("parameters", "pooling", {"kind": "list", "items": 3}),
        "a parameter holds the items 3",
    ),
    "another parameter": ("rbf", put("parameters", "verbose", True), "parameters holds verbose"),
    "parameters as a list": ("rbf", put("parameters", []), "parameters is no mapping"),
    "an unknown pooling": ("rbf", put("parts", ["attention", "median", "max"]), "pooling='median' is unknown"),
    "a pooling twice": ("rbf", put("parts", ["attention", "max", "max"]), "names none or one twice"),
    "no pooling": ("rbf", put("parts", []), r"parts=\[\] is no list of what a fit has"),
    "a pooling more": ("rbf", put("parts", ["attention", "min", "max", "mean"]), "feature_mean has dtype"),
    "poolings in a word": ("rbf", put("parts", "max"), "parts='max' is no list"),
    "poolings in another order": ("rbf", put("parts", ["max", "attention", "min"]), "pooling is .* in what was fitted"),
    "other poolings": (
        "rbf",
        put("parameters", "pooling", {"kind": "tuple", "items": ["attention", "min", "mean"]}),
        r"pooling is \('attention', 'min', 'max'\) in what was fitted and .* in the parameters",
    ),
    "a linear head beside anchors": (
        "rbf",
        put("parameters", "head", "linear"),
        "head is 'rbf' in what was fitted and 'linear' in the parameters",
    ),
    "a kernel without anchors": ("linear", put("parameters", "head", "rbf"), "head is 'linear' in what was fitted"),
    "three queries": (
        "rbf",
        put("parameters", "queries", 3),
        "queries is 1 in what was fitted and 3 in the",
    ),
    "another clip": ("rbf", put("clip", 1e9), "clip is 1000000000.0 in what was fitted and 5.0 in the parameters"),
    "another temperature": ("pooled", put("inverse_temperature", 2.0), "inverse_temperature is 2.0 in what was fitted"),
    "negative clip": ("rbf", put("clip", -5.0), "clip=-5 is out of range"),
    "zero temperature": ("rbf", put("inverse_temperature", 0.0), "inverse_temperature=0 is out of range"),
    "NaN bias": ("rbf", put("head", "bias", float("nan")), "bias=nan is out of range"),
    "a bias in words": ("rbf", put("head", "bias", "0"), "bias='0' is not a single number"),
    "a bias as a flag": ("rbf", put("head", "bias", True), "bias=True is not a single number"),
    "a slope below zero": ("rbf", put("head", "slope", -1.0), "slope=-1 is out of range"),
    "an infinite shift": ("rbf", put("head", "shift", float("inf")), "shift=inf is out of range"),
    "another number of the head": ("rbf", put("head", "width", 1.0), "head holds width"),
    "a head as a number": ("rbf", put("head", 1.0), "head is no mapping"),
    "names too many": ("rbf", put("feature_names", list("abcdef")), "there are 6 feature_names and 5 features"),
    "names as numbers": ("rbf", put("feature_names", [1, 2, 3, 4, 5]), r"feature_names=\[1, 2, 3, 4, 5\] is no list"),
    "a name for all": ("rbf", put("feature_names", "abcde"), "feature_names='abcde' is no list"),
    "bags of no token": ("rbf", put("longest", 0), "longest=0 is out of range"),
    "bags of half a token": ("rbf", put("longest", 2.5), "longest=2.5 is not a whole number"),
    "a target of a regression": ("rbf", put("target", [1.0, 2.0]), "target=.* is that of a regression"),
    "a NaN target": ("regression", put("target", [float("nan"), 1.0]), "target=nan is out of range"),
    "a target without deviation": ("regression", put("target", [0.0, 0.0]), "target=0 is out of range"),
    "a target of three": ("regression", put("target", [0.0, 1.0, 2.0]), "target=.* is no list"),
    "classes in a regression": (
        "regression",
        lambda text, arrays: arrays.update(classes=np.arange(2)),
        "the file holds classes",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_file_is_refused(edit, saved, tmp_path):
    name, work, sentence = EDITS[edit]
    text, arrays = json.loads(json.dumps(saved[name][0])), dict(saved[name][1])
    assert load(written(tmp_path / "as it was.npz", text, arrays)).n_features_in_ == 5
    work(text, arrays)
    with pytest.raises(ValueError, match=rf"is damaged or no estimator: .*{sentence}") as error:
        load(written(tmp_path / "edited.npz", text, arrays))
    assert "\n" not in str(error.value)
    assert str(error.value).count("; accepted") == 1


def member(path, name, content, **how):
    """Another member in a file that is otherwise right."""
    with zipfile.ZipFile(path, "a", **how) as archive:
        archive.writestr(name, content)


def header(description, version=b"\x01\x00"):
    text = description.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("huge.npy", header("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,)}"), "is said to have"),
        ("negative.npy", header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 0)}"), "is said to have shape"),
        (
            "code.npy",
            header("{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': ()}"),
            "no header of an array",
        ),
        (
            "newer.npy",
            header("{'descr': '<f8', 'fortran_order': False, 'shape': ()}", b"\x07\x00"),
            "no header of an array",
        ),
        ("nothing.npy", b"", "no header of an array"),
        ("weights.npy", header("{'descr': '<f8', 'fortran_order': False, 'shape': (0,)}"), "weights is there twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_with_a_hostile_member_is_refused(name, content, sentence, saved, tmp_path):
    path = written(tmp_path / "model.npz", *saved["rbf"])
    member(path, name, content)
    with pytest.raises(ValueError, match=rf"is damaged or no estimator: .*({sentence})"):
        load(path)


def test_objects_and_bombs_are_refused(saved, tmp_path):
    text, arrays = saved["rbf"]

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was-run"), "w"))

    path = tmp_path / "evil.npz"
    written(path, text, arrays | {"weights": np.array([Evil()], dtype=object)})
    with pytest.raises(ValueError, match="weights holds Python objects, which are never unpickled"):
        load(path)
    assert not (tmp_path / "was-run").exists()
    path = written(tmp_path / "bomb.npz", text, arrays)
    content = io.BytesIO()
    np.save(content, np.zeros(10**6))
    member(path, "bomb.npy", content.getvalue(), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    with pytest.raises(ValueError, match="bomb is there twice, compressed or larger than the file"):
        load(path)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000, "null", '{"format": 2}'])
def test_another_text_is_refused(text, saved, tmp_path):
    with pytest.raises(ValueError, match="is damaged or no estimator"):
        load(written(tmp_path / "model.npz", text, saved["rbf"][1]))


def test_what_load_refuses_is_not_written(tmp_path):
    model = AttentionClassifier().fit(BAGS, LABELS)
    refused = {"C=-5 is out of range": {"C": -5.0}, "standardize=1": {"standardize": 1}, "clip is 5.0": {"clip": 4.0}}
    for sentence, parameters in refused.items():
        with pytest.raises(ValueError, match=sentence):
            AttentionClassifier().fit(BAGS, LABELS).set_params(**parameters).save(tmp_path / "model.npz")
    model._fit.head.weights[0] = np.nan
    with pytest.raises(ValueError, match="weights holds nan"):
        model.save(tmp_path / "model.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(tmp_path):
    """Neither that of the name itself nor one of a name that could be guessed."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("model.npz", ".model.npz.unfinished", "_model.npz.tmp"):
        (folder / name).symlink_to(victim)
    AttentionClassifier().fit(BAGS, LABELS).save(folder / "model.npz")
    assert victim.read_text() == "mine"
    assert not (folder / "model.npz").is_symlink()
    load(folder / "model.npz")


def test_it_is_flushed_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append("flushed"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("named"), replace(*names)))
    AttentionClassifier().fit(BAGS, LABELS).save(tmp_path / "model.npz")
    assert done == ["flushed", "named", "flushed"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OSError, match=r"path='.*file/model.npz' cannot be written \((File exists|Not a directory)\); accepted: a place"
    ):
        AttentionClassifier().fit(BAGS, LABELS).save(tmp_path / "file" / "model.npz")
