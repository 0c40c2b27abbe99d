"""The store: tidy files that other tools read, whole or absent, and never lost when damaged."""

import json
import os
import re
import shutil
import socket
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from solvable import lab
from solvable.lab.declare import Overlay, parameter
from solvable.lab.running import runner
from solvable.lab.running.compute import compute
from solvable.lab.store import atomic, chunk, parquet, store
from tests.lab import toy
from tests.lab.toy import Ceiling, SampleMean


def run(folder, replicates=8, **grid):
    return runner.execute(SampleMean, {"samples": [4, 8], **grid}, out=folder, replicates=replicates)


def data_files(folder):
    return sorted(path for path in (folder / "toy_mean").glob("*.parquet"))


def test_duckdb_and_pandas_read_the_folder(tmp_path):
    run(tmp_path, replicates=12)
    run(tmp_path, replicates=4, kind="broken")
    opened = lab.open(tmp_path, SampleMean).sel(kind="plain")
    rows = duckdb.sql(
        f"""select samples, avg(value), count(*) from '{tmp_path}/toy_mean/*.parquet'
        where source = 'simulation' and observable = 'moments' and "order" = 1 group by samples order by samples"""
    ).fetchall()
    for samples, mean, count in rows:
        assert count == 12
        assert mean == pytest.approx(float(opened["moments"].sel(samples=samples, order=1).mean()), rel=1e-14)
    frame = pd.read_parquet(tmp_path / "toy_mean")
    assert set(frame.columns) == {
        *("samples", "location", "kind", "source", "replicate", "order", "observable", "value", "reason")
    }
    law = frame[(frame["source"] == "theory") & (frame["observable"] == "mean") & (frame["kind"] == "plain")]
    assert law["replicate"].isna().all()
    assert law["value"].tolist() == [0.25, 0.25]


def test_overlapping_blocks_of_two_runs_are_counted_once(tmp_path):
    for folder, replicates in (("one", 5), ("two", 8)):
        run(tmp_path / folder, replicates=replicates)
    whole = lab.open(tmp_path / "two", SampleMean)
    for path in data_files(tmp_path / "one"):
        shutil.copy(path, tmp_path / "two" / "toy_mean")
    assert len(list((tmp_path / "two" / "toy_mean").glob("*-0-5.parquet"))) == 2  # beside 0-8
    assert lab.open(tmp_path / "two", SampleMean).equals(whole)
    documented = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    query = re.search("```sql\n(.*?)```", documented, re.DOTALL)[1]
    query = query.replace("results/sparse-tokens_error", f"{tmp_path}/two/toy_mean").replace("model, ratio", "samples")
    query = query.replace("test_error", "mean").replace("avg(value)", "avg(value), count(*)")
    rows = duckdb.sql(f"{query} order by samples").fetchall()
    assert [(samples, count) for samples, _, count in rows] == [(4, 8), (8, 8)]
    np.testing.assert_allclose([mean for _, mean, _ in rows], whole["mean"].mean("replicate"), rtol=1e-14)


def test_missing_values_carry_their_reason(tmp_path):
    run(tmp_path, kind="patchy")
    rows = duckdb.sql(
        f"select replicate, value, reason from '{tmp_path}/toy_mean/*.parquet' "
        "where source = 'simulation' and observable = 'mean' and samples = 4 order by replicate"
    ).fetchall()
    assert [number for number, value, _ in rows if value is None] == [3, 7]
    assert all((value is None) == (reason is not None) for _, value, reason in rows)


def test_facts_in_the_metadata(tmp_path):
    run(tmp_path)
    facts = [json.loads(pq.read_schema(path).metadata[b"solvable"]) for path in data_files(tmp_path)]
    for entry in facts:
        assert entry["experiment"] == "toy/mean"
        assert entry["format"] == chunk.FORMAT
        assert {"solvable", "jax", "numpy"} <= set(entry["versions"])
        assert entry["parameters"]["location"] == 0.25
        assert len(entry["checksum"]) == 64
        assert entry["created"].endswith("+00:00")
        assert entry["device"].startswith("cpu")
    (theory,) = [entry for entry in facts if "theory" in entry["layout"] and entry["parameters"]["samples"] == 4]
    assert theory["layout"]["theory"]["standard_error"] == {"mean": 1e-6}
    assert theory["layout"]["theory"]["stats"] == {"nodes": 5}


@pytest.mark.parametrize("damage", ["truncated", "edited", "foreign", "empty"])
def test_a_damaged_file_is_set_aside_named_and_computed_again(tmp_path, damage):
    run(tmp_path)
    before = lab.open(tmp_path, SampleMean)
    victim = next(path for path in data_files(tmp_path) if path.name.endswith("-0-8.parquet"))
    content = victim.read_bytes()
    if damage == "truncated":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        victim.write_bytes(b"")
    elif damage == "foreign":
        pd.DataFrame({"value": [1.0]}).to_parquet(victim)
    else:
        edited = pq.read_table(victim)
        values = edited["value"].to_numpy().copy()
        values[0] += 1e-9
        column = edited.column_names.index("value")
        pq.write_table(edited.set_column(column, "value", [values]), victim)
    changed = victim.read_bytes()
    toy.calls.clear()
    with pytest.warns(UserWarning, match=rf"{victim.name} is damaged .* set aside as _{victim.name}.damaged"):
        done = run(tmp_path)
    assert toy.calls == [range(8)]
    assert (done.computed, done.reused) == (1, 3)
    assert (victim.parent / f"_{victim.name}.damaged").read_bytes() == changed
    assert lab.open(tmp_path, SampleMean).identical(before)


def test_damage_met_twice_keeps_both_files(tmp_path):
    for content in (b"one", b"two"):
        run(tmp_path)
        victim = data_files(tmp_path)[0]
        victim.write_bytes(content)
        with pytest.warns(UserWarning, match="damaged"):
            run(tmp_path)
    assert sorted(path.read_bytes() for path in tmp_path.rglob("*.damaged*")) == [b"one", b"two"]


def test_open_names_a_damaged_file_and_leaves_it_where_it_is(tmp_path):
    run(tmp_path)
    victim = data_files(tmp_path)[0]
    victim.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=f"{victim.name} is damaged .* it is passed over"):
        lab.open(tmp_path, SampleMean)
    assert victim.read_bytes() == b"damaged"


def test_a_newer_format_is_not_called_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FORMAT", chunk.FORMAT + 1)
    run(tmp_path)
    with pytest.raises(atomic.StoreError, match="written by a newer version of solvable"):
        lab.open(tmp_path, SampleMean)


def test_a_crash_while_writing_leaves_no_half_file(tmp_path, monkeypatch):
    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_all_is_said(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor):
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda old, new: done.append("renamed") or replace(old, new))
    atomic.write_whole(tmp_path / "new" / "file", b"content")
    (first, *rest) = done
    assert re.fullmatch(r"_file\.[0-9a-f]{12}\.tmp", first)
    assert rest == ["renamed", "new"]
    assert (tmp_path / "new" / "file").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("kind", "words"),
    [("folder", "a folder"), ("pipe", "a pipe"), ("socket", "a socket"), ("device", "a device"), ("stdout", "system")],
)
def test_what_is_no_file_is_not_replaced_by_one(tmp_path, monkeypatch, kind, words):
    path = tmp_path / "out"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # the name of a socket is short
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("out")
    elif kind == "device":
        path.symlink_to(os.devnull)  # as root a true one would be lost
    else:
        path = Path("/proc/self/fd/1")
    before = os.lstat(path)
    with pytest.raises(atomic.WriteError, match=rf"(out|/1) is .*{words}.* and is kept; accepted: the name of a file"):
        atomic.write_whole(path, b"content")
    after = os.lstat(path)
    assert (before.st_ino, before.st_mode, before.st_mtime) == (after.st_ino, after.st_mode, after.st_mtime)


def test_a_link_is_replaced_and_not_followed(tmp_path):
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("precious")
    link.symlink_to(victim)
    atomic.write_whole(link, b"content")
    assert victim.read_text() == "precious"
    assert (link.is_symlink(), link.read_bytes()) == (False, b"content")


def test_raised_numbers_are_not_mixed_with_old_ones(tmp_path, monkeypatch):
    run(tmp_path, replicates=8)
    monkeypatch.setattr(SampleMean, "numbers", 2)
    with pytest.raises(atomic.StoreError, match="holds no present numbers"):
        lab.open(tmp_path, SampleMean)
    run(tmp_path, replicates=4)
    assert lab.open(tmp_path, SampleMean).sizes["replicate"] == 4


def test_nothing_is_written_outside_the_folder(tmp_path):
    class Hostile(Ceiling):
        name = "../../escape/<b>"
        text: str = parameter("<script>alert(1)</script>", "a text")

    out = tmp_path / "a" / "b" / "out"
    lab.run(Hostile, {"samples": 4}, replicates=2, out=out)
    assert {path.relative_to(out).parts[0] for path in tmp_path.rglob("*.parquet")} == {"escape__b_"}
    assert lab.open(out, Hostile).attrs["parameters"].count("<script>") == 1


def test_an_infinite_parameter_survives(tmp_path):
    class Infinite(Ceiling):
        name = "toy/infinite"
        power: float = parameter(2.0, "a power")

    opened = lab.run(Infinite, {"samples": 4, "power": [2, "inf"]}, replicates=2, out=tmp_path)
    assert opened["power"].values.tolist() == [2.0, float("inf")]
    assert lab.open(tmp_path, Infinite).identical(opened)


def test_encoding_is_reversible_to_the_last_bit():
    cell = SampleMean(samples=4, kind="patchy")
    done = compute(chunk.Chunk(cell, range(3, 9)))
    data, written = parquet.encode(cell, {"format": chunk.FORMAT}, done.values)
    content = parquet.decode(data)
    assert (content.facts, content.layout) == (written.facts, written.layout) == ('{"format": 1}', written.layout)
    np.testing.assert_array_equal(content.numbers, written.numbers)
    values = parquet.unpack(content)
    for label, source in done.values.items():
        for name, array in source.arrays.items():
            np.testing.assert_array_equal(values[label].arrays[name], array)
        np.testing.assert_array_equal(values[label].replicates, np.arange(3, 9))
        assert list(values[label].reasons) == list(source.reasons)


@pytest.mark.parametrize("hostile", ["../../evil", "/../evil", "..", "a/../../b\\c:d*?\n", "."])
def test_a_hostile_name_writes_nothing_outside_the_folder(tmp_path, hostile):
    class Evil(SampleMean):
        name = hostile

    out = tmp_path / "deep" / "out"
    lab.run(Evil, {"samples": 4}, replicates=2, out=out)
    assert lab.open(out, Evil).sizes["replicate"] == 2
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert all(path.parent.parent == out for path in files)


def test_a_record_of_failure_that_is_none_is_named_and_passed_over(tmp_path):
    run(tmp_path)
    for name, text in (("_x", '{"failures": []}'), ("_y", '{"failures": ['), ("_z", "[]")):
        (tmp_path / "toy_mean" / f"{name}.failed.json").write_text(text)
    with pytest.warns(UserWarning, match="is no record of a failure that can be read"):
        assert lab.open(tmp_path, SampleMean).sizes["replicate"] == 8


def test_a_failure_that_another_run_recorded_is_cleared_by_success(tmp_path):
    opened = store.Store(tmp_path)
    one = chunk.Chunk(SampleMean(samples=4), range(8))
    assert not opened.finished(one)  # listed: nothing is there
    record = tmp_path / "toy_mean" / f"_{one.name}.failed.json"
    record.parent.mkdir()
    record.write_text("{}")
    opened.write(one, compute(one))
    assert not record.exists()


def test_labels_that_differ_in_punctuation_have_files_of_their_own():
    cell = SampleMean(samples=4)
    names = {chunk.Chunk(cell, overlay=Overlay(label)).name for label in ("a b", "a_b", "a/b", "ab")}
    assert len(names) == 4


def test_an_empty_name_of_a_folder():
    with pytest.raises(ValueError, match=r"^out='' is empty; accepted: a folder"):
        store.Store("")
