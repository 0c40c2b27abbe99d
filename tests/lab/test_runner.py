"""Runs: what is stored is what was simulated, only what is missing is computed, one broken cell stops nothing."""

import os
import pickle
import signal
import sys
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from typing import ClassVar

import equinox
import jax
import numpy as np
import pytest

from solvable import lab
from solvable.lab.declare import Observable, Overlay, parameter
from solvable.lab.running import runner
from solvable.lab.running.engines import slurm
from solvable.lab.running.engines.pool import Pool
from solvable.lab.store import arrays, dataset
from solvable.lab.store.chunk import Chunk, blocks
from solvable.lab.store.store import Store
from tests.lab import toy
from tests.lab.toy import SampleMean, TheoryOnly


@pytest.fixture(autouse=True)
def _fresh_count():
    toy.calls.clear()


def test_stored_numbers_are_the_simulated_and_predicted_ones(tmp_path):
    returned = lab.run(SampleMean, {"samples": [4, 8]}, replicates=12, out=tmp_path)
    opened = lab.open(tmp_path, SampleMean)
    assert opened.identical(returned)
    for samples in (4, 8):
        cell = SampleMean(samples=samples)
        with jax.enable_x64(True):
            key = jax.random.key(cell.seed())
        direct = cell.simulate(key, range(12))
        here = opened.sel(samples=samples)
        np.testing.assert_array_equal(here["mean"], direct.mean)
        np.testing.assert_array_equal(here["moments"].transpose("replicate", "order"), direct.moments)
        given = cell.predict(Overlay("given_first", given=True), given=direct)
        np.testing.assert_array_equal(here["given_first_mean"], given.mean)
        np.testing.assert_array_equal(here["theory_moments"], cell.predict(Overlay()).moments)


class Counting(SampleMean):
    """The mean of n Gaussians; it says what is asked of it."""

    asked: ClassVar[list[str]] = []

    def task(self):
        self.asked.append("task")
        return super().task()

    def algorithm(self):
        self.asked.append("algorithm")
        return super().algorithm()

    def shared(self):
        self.asked.append("shared")
        return {}

    def sizes(self):
        self.asked.append("sizes")
        return {}


def test_a_cell_is_built_once_in_a_run_and_anew_in_the_next(tmp_path):
    for replicates in (16, 32):  # two blocks of replicates, each with a conditional overlay, and one without
        Counting.asked.clear()
        done = runner.execute(Counting, {"samples": [4, 8]}, out=tmp_path, replicates=replicates)
        assert not done.failures
        assert Counting.asked == ["task", "algorithm", "shared", "sizes"] * 2


def test_what_was_built_is_no_part_of_a_cell():
    cell, other = Counting(samples=4), Counting(samples=4)
    assert cell.built() is cell.built()
    assert other.built() is not cell.built()
    assert (cell == other, hash(cell) == hash(other)) == (True, True)
    Counting.asked.clear()
    pickle.loads(pickle.dumps(cell)).built()
    assert Counting.asked == ["task", "algorithm", "shared", "sizes"]


def test_the_same_run_again_computes_nothing(tmp_path):
    first = runner.execute(SampleMean, out=tmp_path, replicates=12)
    assert (first.computed, first.reused) == (9, 0)  # three cells, each of one theory and two blocks
    toy.calls.clear()
    second = runner.execute(SampleMean, out=tmp_path, replicates=12)
    assert (second.computed, second.reused) == (0, 9)
    assert toy.calls == []


def test_more_replicates_extend_and_equal_a_run_in_one_go(tmp_path):
    grid = {"samples": 4}
    runner.execute(SampleMean, grid, out=tmp_path / "steps", replicates=5)
    toy.calls.clear()
    extended = lab.run(SampleMean, grid, out=tmp_path / "steps", replicates=19)
    assert toy.calls == [range(5, 8), range(8, 16), range(16, 19)]
    whole = lab.run(SampleMean, grid, out=tmp_path / "whole", replicates=19)
    assert extended.identical(whole)
    toy.calls.clear()
    fewer = lab.run(SampleMean, grid, out=tmp_path / "steps", replicates=7)
    assert toy.calls == []
    assert fewer.sizes["replicate"] == 7


def test_a_wider_grid_computes_only_the_new_cells(tmp_path):
    runner.execute(SampleMean, {"samples": [4, 8]}, out=tmp_path, replicates=8)
    toy.calls.clear()
    done = runner.execute(SampleMean, {"samples": [4, 8, 16]}, out=tmp_path, replicates=8)
    assert len(toy.calls) == 1
    assert (done.computed, done.reused) == (2, 4)


def test_a_failed_cell_is_recorded_retried_and_forgotten_once_it_succeeds(tmp_path, monkeypatch):
    grid = {"samples": 4, "kind": ["plain", "broken"]}
    done = runner.execute(SampleMean, grid, out=tmp_path, replicates=8)
    ((cell, failure),) = done.failures
    assert (cell.kind, failure.source, failure.replicates) == ("broken", "simulation", range(8))
    assert failure.message == "the toy is broken on purpose"
    assert failure.kind == "RuntimeError"
    assert "mean" in done.results[0].sources["simulation"].arrays
    _, stored = dataset.read_results(tmp_path, SampleMean)
    assert [list(result.failures) for result in stored] == [[], [failure]]
    monkeypatch.setattr(SampleMean, "algorithm", lambda self: "plain")
    toy.calls.clear()
    mended = runner.execute(SampleMean, grid, out=tmp_path, replicates=8)
    assert toy.calls == [range(8)]
    assert mended.failures == []
    assert not list(tmp_path.rglob("*.failed.json"))


def test_a_failed_theory_keeps_the_simulation(tmp_path):
    done = runner.execute(SampleMean, {"samples": 4, "kind": "unsolved"}, out=tmp_path, replicates=8)
    assert {(failure.source, failure.kind) for _, failure in done.failures} == {
        ("theory", "SolveError"),
        ("given_first", "SolveError"),
    }
    assert np.isfinite(lab.open(tmp_path, SampleMean)["mean"]).all()


def test_unsuccessful_replicates_are_missing_values_with_a_reason(tmp_path):
    opened = lab.run(SampleMean, {"samples": 4, "kind": "patchy"}, replicates=8, out=tmp_path)
    missing = np.arange(8) % 4 == 3
    np.testing.assert_array_equal(np.isnan(opened["mean"]), missing)
    np.testing.assert_array_equal(opened["reason"] != "", missing)
    assert opened["reason"].values[3].startswith("the toy is patchy")


def test_theory_only(tmp_path):
    opened = lab.run(TheoryOnly, out=tmp_path)
    assert toy.calls == []
    assert opened["theory_mean"].dims == ("samples",)
    assert "replicate" not in opened.dims
    with pytest.raises(ValueError, match=r"replicates=3 is not accepted: toy/law has no simulation"):
        lab.run(TheoryOnly, replicates=3, out=tmp_path)


def test_a_setting_out_of_bounds_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"^location=-30 is out of range"):
        lab.run(SampleMean, {"location": [0.0, -30.0]}, out=tmp_path / "out")
    assert toy.calls == []
    assert not (tmp_path / "out").exists()


def test_bad_number_of_replicates(tmp_path):
    with pytest.raises(ValueError, match=r"^replicates=-1 is out of range"):
        lab.run(SampleMean, replicates=-1, out=tmp_path)


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match=r"is a file; accepted: a folder"):
        lab.run(SampleMean, out=tmp_path / "out")


def test_blocks_are_cut_at_absolute_numbers():
    assert blocks(range(20)) == [range(8), range(8, 16), range(16, 20)]
    assert blocks(range(5, 17)) == [range(5, 8), range(8, 16), range(16, 17)]
    assert blocks(range(0)) == []


def test_an_outcome_of_the_wrong_shape_is_a_failure_that_names_the_observable():
    outcome = SampleMean(samples=4).simulate(jax.random.key(0), range(3))
    with pytest.raises(ValueError, match=r"^mean has shape \(3,\); its dims should be: replicate$"):
        arrays.Values.of(outcome, range(4))


def test_a_parameter_named_like_a_dim_is_refused(tmp_path):
    class Clash(SampleMean):
        name = "toy/clash"
        order: int = parameter(1, "an order")

    done = runner.execute(Clash, {"samples": 4}, replicates=2, out=tmp_path)
    assert {failure.message for _, failure in done.failures} == {
        "parameter 'order' of toy/clash has the name of a dim, an observable or a column; rename it"
    }


def test_a_replicate_that_is_nan_without_a_reason_is_a_failure(tmp_path):
    class Lost(SampleMean):
        name = "toy/lost"

        def simulate(self, key, replicates):
            outcome = super().simulate(key, replicates)
            broken = self.samples == 8
            square = np.where((np.asarray(replicates) == 2) & broken, np.nan, outcome.square)
            return equinox.tree_at(lambda one: one.square, outcome, square)

    done = runner.execute(Lost, {"samples": [4, 8]}, replicates=4, out=tmp_path)
    ((cell, failure),) = done.failures
    assert (cell.samples, failure.kind, failure.replicates) == (8, "NaN", range(4))
    assert failure.message == "square is NaN in 1 of 4 replicates, although the run reports success"
    opened = lab.open(tmp_path, Lost)
    assert int(opened["square"].isnull().sum()) == 1
    assert opened["reason"].sel(samples=8).values.tolist() == ["", "", "square is NaN", ""]
    assert len(list(tmp_path.rglob("*.failed.json"))) == 1


def test_an_observable_that_is_nan_in_one_place_is_a_failure(tmp_path):
    class Partly(SampleMean):
        name = "toy/partly"

        def simulate(self, key, replicates):
            outcome = super().simulate(key, replicates)
            broken = np.where((np.asarray(replicates)[:, None] == 1) & [False, True], np.nan, outcome.moments)
            return equinox.tree_at(lambda one: one.moments, outcome, broken)

    done = runner.execute(Partly, {"samples": 4}, replicates=3, out=tmp_path)
    ((_, failure),) = done.failures
    assert failure.message == "moments is NaN in 1 of 3 replicates, although the run reports success"
    opened = lab.open(tmp_path, Partly)
    assert opened["moments"].isnull().sum() == 1  # the number that is there is kept
    assert opened["reason"].values.tolist() == ["", "moments is NaN", ""]


def test_one_replicate_has_no_error_bar_and_is_not_tested(tmp_path):
    done = lab.run(SampleMean, {"samples": [4, 8]}, replicates=1, out=tmp_path)
    assert done.sizes["replicate"] == 1
    rows = lab.compare(tmp_path, SampleMean)
    random = [row for row in rows if row.observable != "scale"]
    assert {row.comparison.verdict for row in random} == {"not tested: 1 valid replicate"}
    assert all(np.isnan(row.comparison.standard_error) for row in random)
    figure = lab.figure(done, SampleMean)
    assert all(axes.has_data() for axes in figure.axes if axes.axison)


def test_an_executor_of_ones_own_gives_the_same_numbers(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        threaded = lab.run(SampleMean, replicates=20, engine=pool, out=tmp_path / "threads")
    assert threaded.identical(lab.run(SampleMean, replicates=20, out=tmp_path / "plain"))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"engine": "cluster"}, r"^engine='cluster' is unknown; accepted: 'in-process', 'loky', 'dask'"),
        ({"engine": 3}, r"^engine=3 is not accepted; accepted: .* or a concurrent.futures.Executor$"),
        ({"jobs": 0}, r"^jobs=0 is out of range"),
        ({"jobs": 2, "engine": "in-process"}, r"^jobs=2 is not accepted with engine='in-process'"),
        ({"address": "tcp://x", "engine": "loky"}, r"^address='tcp://x' is not accepted with engine='loky'"),
        ({"address": "tcp://x", "jobs": 2}, r"^jobs=2 is not accepted with address='tcp://x'"),
        ({"address": "nowhere"}, r"^address='nowhere' is not accepted; accepted: such as"),
        ({"address": "tcp://127.0.0.1:1"}, r"^address='tcp://127.0.0.1:1' does not answer"),
    ],
)
def test_engines_that_are_not_accepted(tmp_path, how, sentence):
    with pytest.raises(ValueError, match=sentence):
        lab.run(SampleMean, {"samples": 4}, replicates=1, out=tmp_path / "out", **how)
    assert not list(tmp_path.rglob("*.parquet"))


def test_an_engine_that_is_not_installed_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ImportError, match=r"needs submitit, which is not installed: pip install 'solvable\[slurm\]'"):
        lab.run(SampleMean, engine="submitit", out=tmp_path)


def test_a_cell_that_exits_is_a_failure(tmp_path):
    class Exiting(SampleMean):
        name = "toy/exiting"

        def simulate(self, key, replicates):
            sys.exit(3)

    with pytest.warns(
        UserWarning, match=r"^1 of 1 cells of toy/exiting failed, the first with: SystemExit: 3; the rec"
    ):
        lab.run(Exiting, {"samples": 4}, replicates=2, out=tmp_path)


def test_observables_that_the_outcome_lacks_are_a_failure(tmp_path):
    class Misnamed(SampleMean):
        name = "toy/misnamed"
        observables = (Observable("median", "median"),)
        overlays = ()

    done = runner.execute(Misnamed, {"samples": 4}, replicates=2, out=tmp_path)
    assert done.failures[0][1].message == (
        "toy/misnamed declares the observables 'median'; the outcome has 'first', 'mean', 'moments', 'scale', 'square'"
    )


def test_observables_may_come_and_go_between_runs(tmp_path, monkeypatch):
    grid = {"samples": 4}
    runner.execute(SampleMean, grid, replicates=8, out=tmp_path)
    monkeypatch.setattr(SampleMean, "observables", (*SampleMean.observables[1:], Observable("first", "first draw")))
    runner.execute(SampleMean, grid, replicates=16, out=tmp_path)
    opened = lab.open(tmp_path, SampleMean)
    for name, there in (("mean", slice(0, 8)), ("first", slice(8, 16)), ("scale", slice(0, 16))):
        expected = np.zeros(16, bool)
        expected[there] = True
        np.testing.assert_array_equal(opened[name].notnull(), expected)


def test_a_block_is_believed_only_where_a_run_may_have_named_it(tmp_path):
    runner.execute(SampleMean, {"samples": 4}, replicates=8, out=tmp_path)
    digest = next(tmp_path.rglob("*-0-8.parquet")).name.partition("-")[0]
    for block in ("0-3000000", "4-2", "8-8", "-1-3", "8-x"):
        (tmp_path / "toy_mean" / f"{digest}-{block}.parquet").write_bytes(b"")
    toy.calls.clear()
    done = runner.execute(SampleMean, {"samples": 4}, replicates=12, out=tmp_path)
    assert toy.calls == [range(8, 12)]
    assert not done.failures


def test_a_worker_that_dies_while_the_driver_stores_another_chunk(tmp_path, monkeypatch):
    write = Store.write

    def slow(*arguments, **how):
        time.sleep(0.1)
        return write(*arguments, **how)

    monkeypatch.setattr(Store, "write", slow)
    grid = {"samples": [2, 3, 4, 5, 6, 7], "location": [0.0, 1.0]}
    done = runner.execute(Deadly, grid, replicates=4, jobs=2, out=tmp_path)
    assert {(cell.samples, cell.location) for cell, _ in done.failures} == {(5, 1.0)}
    assert all("the worker died" in failure.message for _, failure in done.failures)
    assert int(lab.open(tmp_path, Deadly)["mean"].notnull().sum()) == 11 * 4


class Deadly(SampleMean):
    """One cell of it kills its worker."""

    name = "toy/deadly"

    def simulate(self, key, replicates):
        if (self.samples, self.location) == (5, 1.0):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().simulate(key, replicates)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("60", 60), ("90:30", 90), ("02:00:00", 120), ("1-12", 36 * 60), ("1-00:30", 1470), ("0-00:00:30", 1)],
)
def test_time_limits_of_slurm(monkeypatch, text, expected):
    monkeypatch.setenv("SBATCH_TIMELIMIT", text)
    assert slurm.minutes() == expected


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-3", "1-", "x-2"])
def test_time_limits_that_are_none(monkeypatch, text):
    monkeypatch.setenv("SBATCH_TIMELIMIT", text)
    with pytest.raises(ValueError, match=rf"^the environment variable SBATCH_TIMELIMIT='{text}' is not accepted"):
        slurm.minutes()


def test_a_pool_whose_idle_worker_died_is_started_anew_and_one_that_never_works_is_given_up(tmp_path):
    class Dying(ThreadPoolExecutor):
        """Breaks once it has done so many chunks and has nothing to do, as a pool does that loses an idle worker."""

        def __init__(self, good):
            super().__init__(1)
            self.good = good

        def submit(self, function, /, *arguments, **options):
            if self.good == 0:
                raise BrokenExecutor("a worker is gone")
            self.good -= 1
            return super().submit(function, *arguments, **options)

    chunks = [Chunk(SampleMean(samples=4), block) for block in blocks(range(32))]
    started = []

    def start(good):
        started.append(Dying(good))
        return started[-1]

    engine = Pool(lambda: start(1), 1, lambda executor, done: executor.shutdown())
    assert [chunk for chunk, _ in engine.run(chunks, Store(tmp_path))] == chunks
    assert len(started) == 4
    engine = Pool(lambda: start(0), 1, lambda executor, done: executor.shutdown())
    with pytest.raises(BrokenExecutor, match="a worker is gone"):
        list(engine.run(chunks, Store(tmp_path)))
