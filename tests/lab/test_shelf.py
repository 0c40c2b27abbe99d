"""The index of a folder: it spares the reading of files, and never stands between a user and what the files hold."""

import os

import pytest

from solvable import lab
from solvable.lab.running import runner
from solvable.lab.store import dataset, index
from solvable.lab.store.index import INDEX, Shelf
from tests.lab.toy import SampleMean


@pytest.fixture
def folder(tmp_path):
    runner.execute(SampleMean, replicates=64, out=tmp_path)
    return tmp_path / "toy_mean"


@pytest.fixture
def reads(monkeypatch):
    """The names of the data files that are read."""
    names, read = [], index.read_data

    def counting(path):
        names.append(path.stem)
        return read(path)

    monkeypatch.setattr(index, "read_data", counting)
    return names


def test_a_run_and_an_open_after_a_run_read_no_file(folder, reads):
    assert (folder / INDEX).exists()
    opened = lab.open(folder.parent, SampleMean)
    done = runner.execute(SampleMean, replicates=64, out=folder.parent)
    assert reads == []
    assert done.computed == 0
    assert dataset.to_dataset(SampleMean, done.results).identical(opened)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"index 2", b"index 9")),
        lambda path: path.write_bytes(path.read_bytes()[:200] + b"x" + path.read_bytes()[201:]),
        lambda path: path.write_bytes(path.read_bytes()[:-200] + b"x" + path.read_bytes()[-199:]),
    ],
    ids=["gone", "empty", "truncated", "of another version", "edited", "edited near its end"],
)
def test_without_a_sound_index_the_files_are_read_and_it_is_made_anew(folder, reads, spoil):
    opened = lab.open(folder.parent, SampleMean)
    sound = (folder / INDEX).read_bytes()
    spoil(folder / INDEX)
    assert lab.open(folder.parent, SampleMean).identical(opened)
    assert len(reads) == 27
    assert (folder / INDEX).stat().st_size == pytest.approx(len(sound), rel=0.2)
    reads.clear()
    lab.open(folder.parent, SampleMean)
    assert reads == []


def test_a_file_that_has_changed_is_read_again_and_found_damaged(folder, reads):
    path = sorted(folder.glob("*-8-16.parquet"))[0]
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.warns(UserWarning, match=rf"{path.name} is damaged .* is set aside as _{path.name}.damaged"):
        done = runner.execute(SampleMean, replicates=64, out=folder.parent)
    assert reads == [path.stem]
    assert (done.computed, done.reused) == (1, 26)
    assert (folder / f"_{path.name}.damaged").exists()


def test_a_file_under_another_ones_name_is_foreign(folder):
    opened = lab.open(folder.parent, SampleMean)
    first, second = sorted(folder.glob("*-0-8.parquet"))[:2]
    second.write_bytes(first.read_bytes())
    with pytest.warns(UserWarning, match=rf"{second.name} is damaged \(it holds the chunk '{first.stem}'\)"):
        runner.execute(SampleMean, replicates=64, out=folder.parent)
    assert lab.open(folder.parent, SampleMean).equals(opened)


def test_an_index_that_cannot_be_written_is_done_without(folder, monkeypatch):
    (folder / INDEX).unlink()
    (folder / INDEX).mkdir()  # nothing can be renamed onto a folder
    opened = lab.open(folder.parent, SampleMean)
    assert opened.sizes["replicate"] == 64
    assert not list(folder.glob("*.tmp"))


def test_a_copied_folder_keeps_its_index_and_a_touched_file_is_read_again(folder, reads):
    path = sorted(folder.glob("*.parquet"))[0]
    os.utime(path, ns=(1, 1))
    assert Shelf(folder).read(path.stem) is not None
    assert reads == [path.stem]
