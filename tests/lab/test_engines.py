"""Engines: the same bits wherever a chunk is computed, more replicates extend, failures come back in words."""

import os

import numpy as np
import pytest

from solvable import lab
from solvable.lab.running import runner
from solvable.lab.store import dataset
from tests.lab import sample, toy
from tests.lab.toy import SampleMean

GRID = {"samples": [4, 8], "kind": ["plain", "broken", "patchy", "unsolved"]}
ENGINES = {
    "loky": {"jobs": 2},
    "dask": {"engine": "dask", "jobs": 2},
    "submitit": {"engine": "submitit", "jobs": 2},
}


@pytest.fixture(scope="module")
def in_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in-process")
    return runner.execute(SampleMean, GRID, replicates=20, out=folder)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_gives_the_same_bits_and_failures_and_extends(tmp_path, in_process, name):
    """The first replicates are computed in this process, the others by the engine."""
    runner.execute(SampleMean, GRID, replicates=8, out=tmp_path)
    done = runner.execute(SampleMean, GRID, replicates=20, out=tmp_path, **ENGINES[name])
    # Eight cells of a prediction and three blocks. Of the sixteen chunks of the first run, six had a failure: the block
    # of the two broken cells, the prediction and the block of the two unsolved ones. They are tried again.
    assert (in_process.computed, done.computed, done.reused) == (32, 16 + 6, 10)
    expected = dataset.to_dataset(SampleMean, in_process.results)
    assert dataset.to_dataset(SampleMean, done.results).identical(expected)
    assert lab.open(tmp_path, SampleMean).identical(expected)
    assert failures(done) == failures(in_process)
    assert not (tmp_path / "_submitit").exists()


def failures(run):
    return {(cell.canonical(), failure) for cell, failure in run.failures}


def test_only_the_new_replicates_are_computed(tmp_path):
    runner.execute(SampleMean, replicates=32, out=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    toy.calls.clear()
    done = runner.execute(SampleMean, replicates=64, out=tmp_path)
    assert sorted(toy.calls, key=lambda block: block.start) == [
        block for start in range(32, 64, 8) for block in [range(start, start + 8)] * 3
    ]
    assert (done.computed, done.reused) == (12, 15)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    whole = lab.run(SampleMean, replicates=64, out=tmp_path / "whole")
    assert lab.open(tmp_path, SampleMean).identical(whole)


def test_the_command_gives_the_same_bits_on_workers_as_in_its_own_process(tmp_path):
    """A real system: compiled loops and matrix products, one thread each. Its own process is this one."""
    grid = {"model": "pooled", "loss": "square", "ratio": 1, "dim": 120}
    one = lab.run("sparse-tokens/error", grid, replicates=16, out=tmp_path / "one")
    settings = [word for name, value in grid.items() for word in ("--set", f"{name}={value}")]
    arguments = [
        "run",
        "sparse-tokens/error",
        *settings,
        "--replicates",
        "16",
        "--jobs",
        "2",
        "--out",
        tmp_path / "two",
    ]
    code, _, error = sample.run(dict(os.environ), *arguments)
    assert code == 0, error
    assert np.isfinite(one["test_error"]).all()
    assert one.identical(lab.open(tmp_path / "two"))
