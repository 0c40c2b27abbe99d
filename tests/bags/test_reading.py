"""Bags from .npz and Parquet files: real files, whole and in batches, damaged and strange."""

import dask
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from solvable.bags import AttentionClassifier, Bags, ParquetBags

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


@pytest.mark.parametrize("batch_tokens", [1, 2, 4, 100])
def test_parquet_in_batches(path, batch_tokens):
    from solvable.bags.container import concatenate

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
    with pytest.raises(ValueError, match="batch_tokens=0 is out of range"):
        ParquetBags(path, batch_tokens=0)
    with pytest.raises(ValueError, match="are not all columns"):
        Bags.from_parquet(path, features=["q"])


def test_bad_cells(tmp_path):
    table = {"bag": IDS, "label": np.arange(10), "x": VALUES[:, 0]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "labels.parquet")
    with pytest.raises(ValueError, match="label of bag 'b' differs from row to row"):
        Bags.from_parquet(tmp_path / "labels.parquet")
    table = {"bag": IDS, "x": pyarrow.array([1.0, None, *range(8)])}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "missing.parquet")
    with pytest.raises(ValueError, match=r"column 'x' of .* has 1 missing values"):
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
