"""Bags from .npz and Parquet files: real files, whole and in batches, damaged and strange."""

import decimal
import warnings

import dask
import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from solvable.bags import AttentionClassifier, Bags, ParquetBags
from solvable.bags.container import concatenate
from solvable.bags.reading import beside_groups, groups_of

LENGTHS = [3, 1, 4, 2]
IDS = np.repeat(["b", "a", "c", "d"], LENGTHS)
LABELS = np.repeat([1, 0, 1, 0], LENGTHS)
VALUES = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)


@pytest.fixture(params=["columns", "lists"])
def path(request, tmp_path):
    """A Parquet file of four bags whose features are two columns, or one of lists, in row groups of three."""
    table = {"bag": IDS, "label": LABELS, "token_label": np.arange(10) % 2}
    if request.param == "columns":
        table |= {"x": VALUES[:, 0], "y": VALUES[:, 1]}
    else:
        table |= {"embedding": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(VALUES.ravel()), 2)}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "bags.parquet", row_group_size=3)
    return tmp_path / "bags.parquet"


def same(bags: Bags) -> None:
    assert bags.ids is not None
    assert bags.labels is not None
    assert bags.ids.tolist() == ["b", "a", "c", "d"]
    assert bags.labels.tolist() == [1, 0, 1, 0]
    assert bags.lengths.tolist() == LENGTHS
    np.testing.assert_array_equal(bags.values, VALUES)
    np.testing.assert_array_equal(bags.token_labels, np.arange(10) % 2)


def test_parquet_whole(path):
    bags = Bags.from_parquet(path)
    same(bags)
    assert bags.values.dtype == np.float32
    assert bags.feature_names in (("x", "y"), ("embedding[0]", "embedding[1]"))
    assert ParquetBags(path).feature_names == bags.feature_names


@pytest.mark.parametrize("batch_tokens", [1, 2, 4, 100])
def test_parquet_in_batches(path, batch_tokens):
    batches = ParquetBags(path, batch_tokens=batch_tokens)
    for _ in range(2):  # it can be read again
        same(concatenate(list(batches)))


def test_parquet_folder_and_rows_in_any_order(path, tmp_path):
    table = pyarrow.parquet.read_table(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    pyarrow.parquet.write_table(table.slice(0, 5), folder / "0.parquet")
    pyarrow.parquet.write_table(table.slice(5), folder / "1.parquet")
    same(Bags.from_parquet(folder))
    mixed = tmp_path / "mixed.parquet"
    pyarrow.parquet.write_table(table.take(np.arange(10)[::-1]), mixed)
    bags = Bags.from_parquet(mixed)
    assert bags.ids is not None
    assert bags.ids.tolist() == ["d", "c", "a", "b"]
    np.testing.assert_array_equal(bags[3], VALUES[:3][::-1])
    pyarrow.parquet.write_table(table.take([0, 3, 1]), mixed)
    with pytest.raises(ValueError, match="rows of bag 'b' do not lie together"):
        list(ParquetBags(mixed))


def test_npz(tmp_path):
    offsets = np.cumsum([0, *LENGTHS])
    np.savez(tmp_path / "bags.npz", values=VALUES, offsets=offsets, labels=["x", "y", "x", "y"])
    bags = Bags.from_npz(tmp_path / "bags.npz")
    assert bags.labels is not None
    assert bags.labels.tolist() == ["x", "y", "x", "y"]
    np.testing.assert_array_equal(bags.values, VALUES)


def test_nothing_is_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was-run"), "w"))

    values = np.array([Evil()], dtype=object)
    np.savez(tmp_path / "evil.npz", values=values, offsets=[0, 1])
    with pytest.raises(ValueError, match="never unpickled"):
        Bags.from_npz(tmp_path / "evil.npz")
    assert not (tmp_path / "was-run").exists()


def test_damaged_and_missing_files(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Bags.from_npz(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ParquetBags(tmp_path / "none.parquet")
    np.savez(tmp_path / "part.npz", values=VALUES)
    with pytest.raises(ValueError, match="lacks offsets and holds values"):
        Bags.from_npz(tmp_path / "part.npz")
    whole = (tmp_path / "part.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-30])
    with pytest.raises(ValueError, match=r"damaged or no \.npz file"):
        Bags.from_npz(tmp_path / "cut.npz")
    (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="cannot be read"):
        Bags.from_parquet(tmp_path / "cut.parquet")
    with pytest.raises(ValueError, match="id='patient' is no column"):
        Bags.from_parquet(path, id="patient")
    with pytest.raises(ValueError, match="label='tumor' is no column"):
        Bags.from_parquet(path, label="tumor")
    for read in (ParquetBags, Bags.from_parquet):
        with pytest.raises(ValueError, match="batch_tokens=0 is out of range"):
            read(path, batch_tokens=0)
    assert len(Bags.from_parquet(path, batch_tokens=3)) == len(Bags.from_parquet(path))
    with pytest.raises(ValueError, match="are not all columns"):
        Bags.from_parquet(path, features=["q"])


def test_bad_cells(tmp_path):
    table = {"bag": IDS, "label": np.arange(10), "x": VALUES[:, 0]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "labels.parquet")
    with pytest.raises(ValueError, match="label of bag 'b' differs from row to row"):
        Bags.from_parquet(tmp_path / "labels.parquet")
    table = {"bag": IDS, "x": pyarrow.array([1.0, None, *range(8)])}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "missing.parquet")
    with pytest.raises(ValueError, match=r"column 'x' of .* has no value in row 1 \(bag 'b'\)"):
        Bags.from_parquet(tmp_path / "missing.parquet")
    table = {"bag": IDS, "x": np.where(np.arange(10) == 5, np.nan, 1.0)}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "nan.parquet")
    with pytest.raises(ValueError, match="NaN, in bag 2"):
        Bags.from_parquet(tmp_path / "nan.parquet")


def test_a_fit_on_a_file_keeps_the_names_of_its_features(tmp_path):
    """However it is read: other columns at prediction are refused, not taken by position."""
    table = {"bag": np.repeat(np.arange(20), 2), "label": np.repeat(np.arange(20) % 2, 2)}
    values = np.random.default_rng(1).normal(size=(40, 2))
    for name, columns in (("here", ("x", "y")), ("there", ("y", "x"))):
        held = table | dict(zip(columns, values.T, strict=True))
        pyarrow.parquet.write_table(pyarrow.table(held), tmp_path / f"{name}.parquet")
    here, there = ParquetBags(tmp_path / "here.parquet", batch_tokens=7), Bags.from_parquet(tmp_path / "there.parquet")
    parts = [dask.delayed(batch) for batch in here]
    for source in (here, Bags.from_parquet(tmp_path / "here.parquet"), parts):
        model = AttentionClassifier().fit(source)
        assert model.feature_names_in_.tolist() == ["x", "y"]
        with pytest.raises(ValueError, match="X has the features y, x"):
            model.predict(there)


def noise(count=60, length=4, dim=3, seed=2):
    """A frame of bags of pure noise, sorted by their label as cohorts are."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(count * length, dim)), columns=[f"f{i}" for i in range(dim)])
    frame["bag"] = np.repeat(np.arange(count), length)
    frame["label"] = np.repeat(np.arange(count) >= count // 2, length)
    return frame


@pytest.mark.parametrize("index", [None, "token", ["slide", "token"]])
def test_the_index_of_a_frame_is_no_feature(index, tmp_path):
    frame = noise()
    if isinstance(index, list):
        frame.index = pd.MultiIndex.from_arrays([frame["bag"], np.arange(240)], names=index)
    else:
        frame.index.name = index
    frame = frame[frame["f0"] > -1.5]  # after which pandas writes the index as a column
    frame.to_parquet(tmp_path / "filtered.parquet")
    index = ["__index_level_0__"] if index is None else [index] if isinstance(index, str) else index
    assert set(index) < set(pyarrow.parquet.read_schema(tmp_path / "filtered.parquet").names)
    source = ParquetBags(tmp_path / "filtered.parquet")
    assert source.feature_names == ("f0", "f1", "f2")
    assert source.unused == tuple(index)
    bags = Bags.from_parquet(tmp_path / "filtered.parquet")
    np.testing.assert_array_equal(bags.values, frame[["f0", "f1", "f2"]])
    # an index may be asked for
    if "slide" in index:
        assert ParquetBags(tmp_path / "filtered.parquet", id="slide", ignore="bag").unused == ("bag", "token")
    # and the rows' numbers are known by their names where what pandas noted is lost
    table = pyarrow.parquet.read_table(tmp_path / "filtered.parquet").replace_schema_metadata(None)
    pyarrow.parquet.write_table(table.rename_columns({index[-1]: "Unnamed: 0"}), tmp_path / "bare.parquet")
    bare = ParquetBags(tmp_path / "bare.parquet", ignore=index[:-1])
    assert bare.feature_names == ("f0", "f1", "f2")


KINDS = {
    "list": pyarrow.list_(pyarrow.float32()),
    "large list": pyarrow.large_list(pyarrow.float64()),
    "list of fixed size": pyarrow.list_(pyarrow.float32(), 3),
    "list of whole numbers": pyarrow.list_(pyarrow.int16()),
    "list of decimals": pyarrow.list_(pyarrow.decimal128(5, 2)),
}


def embedded(kind, tmp_path, **more):
    """A file of embeddings of three numbers with coordinates beside them; the embeddings."""
    rows = np.arange(30).reshape(10, 3)
    held = {"bag": IDS, "x": np.arange(10), "y": -np.arange(10.0), "size": np.ones(10)}
    given = [[decimal.Decimal(int(n)) for n in row] for row in rows] if "decimals" in kind else rows.tolist()
    held["embedding"] = pyarrow.array(given, KINDS[kind])
    pyarrow.parquet.write_table(pyarrow.table(held | more), tmp_path / "embedded.parquet", row_group_size=4)
    return tmp_path / "embedded.parquet", rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_tokens", [None, 3])
def test_lists_of_numbers_are_the_features(kind, batch_tokens, tmp_path):
    path, rows = embedded(kind, tmp_path)
    names = ("embedding[0]", "embedding[1]", "embedding[2]")
    for features in (None, ["embedding"], "embedding"):
        source = ParquetBags(path, features=features, batch_tokens=batch_tokens or 100)
        assert (source.feature_names, source.coordinate_names, source.unused) == (names, ("x", "y"), ("size",))
        bags = source.read() if batch_tokens is None else concatenate(list(source))
        np.testing.assert_array_equal(bags.values, rows)
        np.testing.assert_array_equal(bags.coordinates, np.stack([np.arange(10.0), -np.arange(10.0)], axis=1))
        assert (bags.feature_names, bags.coordinate_names) == (names, ("x", "y"))
        np.testing.assert_array_equal(bags[[3, 1]].coordinates, bags.coordinates[[8, 9, 3]])
    both = ParquetBags(path, features=["size", "embedding"], coordinates=["y"], ignore="x")
    assert both.feature_names == ("size", *names)
    assert (both.coordinate_names, both.unused) == (("y",), ("x",))


def test_what_pandas_writes_for_embeddings(tmp_path):
    """The embedding holds the signal, the coordinates none."""
    rng = np.random.default_rng(3)
    tokens = rng.normal(size=(300, 6))
    frame = pd.DataFrame({"bag": np.repeat(np.arange(60), 5), "label": np.repeat(np.arange(60) % 2, 5)})
    tokens[(frame["label"] == 1) & (np.arange(300) % 5 == 0), 0] += 5.0
    frame["x"], frame["y"] = rng.normal(size=(2, 300))
    frame["embedding"] = list(tokens)
    frame.to_parquet(tmp_path / "patches.parquet")
    bags = Bags.from_parquet(tmp_path / "patches.parquet")
    np.testing.assert_array_equal(bags.values, tokens)
    model = AttentionClassifier().fit(bags[:40])
    assert model.score(bags[40:], bags[40:].labels) > 0.9
    assert model.get_feature_names_out()[0] == "attention_embedding[0]"


def test_tensors_are_lists(tmp_path):
    rows = np.arange(40.0).reshape(10, 2, 2)
    held = {"bag": IDS, "tensor": pyarrow.FixedShapeTensorArray.from_numpy_ndarray(rows)}
    pyarrow.parquet.write_table(pyarrow.table(held), tmp_path / "tensors.parquet")
    np.testing.assert_array_equal(Bags.from_parquet(tmp_path / "tensors.parquet").values, rows.reshape(10, 4))


@pytest.mark.parametrize(
    ("lists", "sentence"),
    [
        ([[1.0, 2.0]] * 9 + [[3.0]], "holds lists of 2 and of 1 numbers; accepted: one length"),
        ([[1.0, 2.0]] * 9 + [[3.0, None]], "has missing values in its lists"),
        ([None] + [[1.0, 2.0]] * 9, "has no value in row 0"),
        ([["a"]] * 10, "no numeric column"),
        (pyarrow.array([[]] * 10, pyarrow.list_(pyarrow.float32())), "holds empty lists"),
    ],
)
def test_lists_that_are_no_embeddings(lists, sentence, tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"bag": IDS, "embedding": lists}), tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match=sentence):
        Bags.from_parquet(tmp_path / "bad.parquet")


def test_columns_of_other_kinds(tmp_path):
    """Decimals and flags are numbers, categories are labels and ids, and a place may be unknown."""
    held = {
        "bag": pyarrow.array(IDS).dictionary_encode(),
        "label": pyarrow.array(np.where(LABELS, "ill", "well")).dictionary_encode(),
        "price": pyarrow.array([decimal.Decimal(i) / 4 for i in range(10)], pyarrow.decimal128(6, 2)),
        "flag": np.arange(10) % 3 == 0,
        "half": VALUES[:, 0].astype(np.float16),
        "day": np.arange(10).astype("M8[D]"),
        "row": pyarrow.array([None, *range(9)], pyarrow.int32()),
    }
    pyarrow.parquet.write_table(pyarrow.table(held), tmp_path / "kinds.parquet")
    source = ParquetBags(tmp_path / "kinds.parquet", coordinates="row")
    bags = source.read()
    assert bags.labels.tolist() == ["ill", "well", "ill", "well"]
    assert (bags.feature_names, source.unused) == (("price", "flag", "half"), ("day",))
    np.testing.assert_array_equal(bags.values[:, 0], np.arange(10) / 4)
    np.testing.assert_array_equal(bags.coordinates[:, 0], [np.nan, *range(9)])


@pytest.mark.parametrize("marks", [[None, 1.0, 0.0], [None, True, False], [None, "in", "out"], [np.nan, 1.0, 0.0]])
def test_tokens_without_a_label_of_their_own_are_read(marks, tmp_path):
    marks = [marks[0], *marks, *marks, *marks]
    table = {"bag": IDS, "f": VALUES[:, 0], "token_label": pyarrow.array(marks)}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "partial.parquet")
    batches = ParquetBags(tmp_path / "partial.parquet", batch_tokens=3)
    for bags in (batches.read(), concatenate(list(batches))):
        assert bags.token_labels is not None
        for found, expected in zip(bags.token_labels.tolist(), marks, strict=True):
            assert pd.isna(found) if pd.isna(expected) else found == expected


@pytest.mark.parametrize("digits", [1, 38])
def test_decimal_labels_are_numbers(digits, tmp_path):
    kind = pyarrow.decimal128(digits, 0)
    table = {"bag": IDS, "f": VALUES[:, 0]}
    table |= {"label": pyarrow.array([decimal.Decimal(int(label)) for label in LABELS], kind)}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "decimal.parquet")
    bags = Bags.from_parquet(tmp_path / "decimal.parquet")
    assert bags.labels is not None
    assert bags.labels.tolist() == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("column", ["bag", "label"])
def test_a_missing_id_or_label_is_refused(column, tmp_path):
    held = {"bag": np.repeat(np.arange(4.0), LENGTHS), "label": LABELS.astype(float), "f": VALUES[:, 0]}
    # two bags without a name would be one
    held[column] = np.where(np.isin(np.arange(10), [3, 5]), np.nan, held[column])
    where = "" if column == "bag" else r" \(bag '1.0'\)"
    pyarrow.parquet.write_table(pyarrow.table(held), tmp_path / "nameless.parquet")
    for read in (Bags.from_parquet, lambda path: list(ParquetBags(path, batch_tokens=2))):
        with pytest.raises(ValueError, match=rf"column '{column}' has no value in row 3{where}; accepted: one in"):
            read(tmp_path / "nameless.parquet")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"features": ["f0", "stain"]},
            "column 'stain' of .* holds (large_)?string; accepted: numbers, and lists of them",
        ),
        ({"features": ["f0", "label"]}, "column 'label' of .* is named 2 times; accepted: one part for each column"),
        ({"features": ["f0", "f0"]}, "column 'f0' of .* is named 2 times"),
        ({"features": []}, r"features=\[\] are not all columns"),
        ({"coordinates": ["row"]}, r"coordinates=\['row'\] are not all columns"),
        ({"coordinates": ["stain"]}, "column 'stain' of .* holds (large_)?string"),
        ({"ignore": "nothing"}, r"ignore=\['nothing'\] are not all columns of .*; accepted: f0, "),
        ({"features": 3}, r"features=\[3\] are not all columns"),
        ({"label": "pair"}, "column 'pair' of .* holds struct<.*>; accepted: numbers, words, flags or dates"),
        ({"label": "bag"}, "column 'bag' of .* is named 2 times"),
    ],
)
def test_one_sentence_for_columns(given, sentence, tmp_path):
    noise().assign(stain="red", pair=[{"a": 1}] * 240).to_parquet(tmp_path / "noise.parquet")
    with pytest.raises(ValueError, match=sentence):
        ParquetBags(tmp_path / "noise.parquet", **given)


def test_a_label_by_another_name_is_warned_of(tmp_path):
    frame = noise().rename(columns={"bag": "slide_id", "label": "tumour"})
    frame["patch"] = np.arange(240) * 2
    path = tmp_path / "cohorts.parquet"
    frame.to_parquet(path)
    words = (
        r"has the features tumour \(constant within every bag\) and patch \(growing from row to row\): ids, counters"
    )
    with pytest.warns(UserWarning, match=words):
        bags = Bags.from_parquet(path, id="slide_id")
    assert bags.feature_names == ("f0", "f1", "f2", "tumour", "patch")
    source = ParquetBags(path, id="slide_id", batch_tokens=7)
    refused = pytest.raises(ValueError, match=r"feature 3 \(tumour\) has one value in each bag and predicts the labels")
    with pytest.warns(UserWarning, match=words) as said, refused:
        AttentionClassifier().fit(source, bags.values[::4, 3])
    assert len(said) == 1  # however often it is read
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = ParquetBags(path, id="slide_id", label="tumour", ignore=["patch"], batch_tokens=7)
        assert [len(batch.feature_names) for batch in named][:1] == [3]
        ParquetBags(path, id="slide_id", features=["f0", "f1", "f2"]).read()
        frame.assign(tumour=1.0, patch=0).to_parquet(path)  # constant everywhere: nothing can be learned from it
        Bags.from_parquet(path, id="slide_id")
        frame.iloc[::4].assign(patch=0).to_parquet(path)  # bags of one token have nothing to vary in
        Bags.from_parquet(path, id="slide_id")


def test_an_npz_file_holds_all_that_bags_carry(tmp_path):
    held = {"labels": [0, 1], "ids": ["a", "b"], "coordinates": np.ones((4, 2)), "coordinate_names": ["x", "y"]}
    held |= {"values": [[1.0, 7.0], [2.0, 7.0], [1.0, 8.0], [3.0, 8.0]], "offsets": [0, 2, 4]}
    np.savez(tmp_path / "bags.npz", feature_names=["mass", "cohort"], **held)
    with pytest.warns(UserWarning, match=r"cohort \(constant within every bag\)"):
        bags = Bags.from_npz(tmp_path / "bags.npz")
    assert (bags.feature_names, bags.coordinate_names) == (("mass", "cohort"), ("x", "y"))
    np.savez(tmp_path / "bags.npz", **held)
    with pytest.warns(UserWarning, match=r"feature 1 \(constant within every bag\)"):
        Bags.from_npz(tmp_path / "bags.npz")


def test_batches_with_other_names_are_refused():
    one = Bags(VALUES, [0, 5, 10], labels=[0, 1], feature_names=["a", "b"])
    other = Bags(VALUES, [0, 5, 10], labels=[0, 1], feature_names=["b", "a"])
    with pytest.raises(ValueError, match="batch 1 of X has features of other names than the first"):
        AttentionClassifier().fit([one, other])
    with pytest.raises(ValueError, match="partitions of X have features of different names"):
        AttentionClassifier().fit([dask.delayed(one), dask.delayed(other)])


def test_files_that_do_not_fit_together(tmp_path):
    noise().to_parquet(tmp_path / "0.parquet")
    noise().assign(f1="many").to_parquet(tmp_path / "1.parquet")
    for read in (Bags.from_parquet, lambda path: list(ParquetBags(path))):
        with pytest.raises(
            ValueError, match=r"cannot be read: .* accepted: Parquet, the files of a folder of one schema"
        ):
            read(tmp_path)
    wide = {f"f{i}": [1.0] for i in range(500)}
    pyarrow.parquet.write_table(pyarrow.table(wide), tmp_path / "wide.parquet")
    with pytest.raises(ValueError, match=r"which has f0, .*, f17, ..., f499; accepted") as error:
        ParquetBags(tmp_path / "wide.parquet")
    assert len(str(error.value)) < 400


def test_a_label_may_be_ignored(tmp_path):
    noise().to_parquet(tmp_path / "noise.parquet")
    source = ParquetBags(tmp_path / "noise.parquet", ignore=["label"])
    assert (source.read().labels, source.unused) == (None, ("label",))


def test_folders_by_bag(tmp_path):
    """As pandas writes with partition_cols: the bag is in the folder's name, and so is no feature that could be one."""
    frame = noise().assign(fold=lambda held: held["bag"] % 2)
    frame.to_parquet(tmp_path / "run=7", partition_cols=["fold", "bag"])
    source = ParquetBags(tmp_path / "run=7")
    assert (source.feature_names, source.unused) == (("f0", "f1", "f2"), ("fold",))
    bags = source.read()
    assert (len(bags), bags.labels.sum(), set(bags.ids.tolist())) == (60, 30, set(range(60)))
    part = next(tmp_path.rglob("*.parquet"))
    with pytest.raises(ValueError, match="id='bag' is no column"):  # one file alone does not know its folder's name
        ParquetBags(part)
    assert ParquetBags(part, id="label").unused == ()


def test_a_list_of_any_length_is_measured_by_its_first_row(tmp_path):
    path, _ = embedded("list", tmp_path)
    assert ParquetBags(path).widths == {"embedding": 3}
    assert ParquetBags(path, features=["x"]).widths == {"x": None}


def test_a_column_of_groups_is_no_feature_and_leaves_the_labels_of_tokens_as_they_are(tmp_path):
    held = {"bag": IDS, "label": LABELS, "token_label": np.arange(10) % 3, "x0": VALUES[:, 0], "x1": VALUES[:, 1]}
    held |= {"ward": np.repeat([7, 7, 8, 8], LENGTHS), "lists": list(VALUES), "other": np.ones(10)}
    path = tmp_path / "wards.parquet"
    pyarrow.parquet.write_table(pyarrow.table(held), path)
    source = beside_groups(path, "ward", ignore=["x0", "lists", "other"])
    bags = source.read()
    assert bags.feature_names == ("x1",)
    assert bags.token_labels is not None
    assert bags.token_labels.tolist() == [i % 3 for i in range(10)]
    assert groups_of(bags, source, "ward").tolist() == [7, 7, 8, 8]
    with pytest.raises(ValueError, match=r"groups='x1' differs within bag 'b' of .*; accepted: one group a bag"):
        groups_of(bags, source, "x1")
    refused = {
        "lists": "holds list<.*>; accepted: numbers, words",
        "bag": "names the bags",
        "label": "labels the bags",
        "wards": "is no column of .*; accepted: bag, label",
    }
    for name, words in refused.items():
        with pytest.raises(ValueError, match=f"groups='{name}' .*{words}"):
            beside_groups(path, name, ignore=["lists"])


def test_groups_of_an_npz_file_are_one_of_its_arrays(tmp_path):
    path = tmp_path / "bags.npz"
    offsets = np.cumsum([0, *LENGTHS])
    np.savez(path, values=VALUES, offsets=offsets, ward=np.array([7, 7, 8, 8]), objects=np.full(4, None))
    bags = Bags.from_npz(path)
    assert groups_of(bags, path, "ward").tolist() == [7, 7, 8, 8]
    for name, words in {"wards": "is no array of .*; accepted: values", "objects": "holds Python objects"}.items():
        with pytest.raises(ValueError, match=f"groups='{name}' .*{words}"):
            groups_of(bags, path, name)
