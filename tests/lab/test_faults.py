"""Faults with real processes: killed drivers and workers, Ctrl-C, a full disk, two runs at once. Nothing is lost."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from solvable import lab
from tests.lab import sample

RUN = ["run", "coins/heads", "--set", "bias=0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8", "--set", "seconds=0.01"]
REPLICATES = ["--replicates", "40"]  # 8 cells of one prediction and five blocks: 48 chunks, 3.2 s of sleep


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment of a process in which the sample package is installed; it is importable here as well."""
    folder = tmp_path_factory.mktemp("site")
    environment = sample.install(folder)
    sys.path.insert(0, str(folder))
    yield environment
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def heads(installed):
    from solvable_sample.experiments import Heads

    return Heads


@pytest.fixture(scope="module")
def undisturbed(installed, heads, tmp_path_factory):
    """What a run gives that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, _, error = sample.run(installed, *RUN, *REPLICATES, "--out", folder)
    assert code == 0, error
    return lab.open(folder, heads)


def finished(folder):
    """The data files and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*/*.parquet") if path.name[0] != "_"}


def wait_for(folder, count, process, seconds=60):
    deadline = time.monotonic() + seconds
    while len(finished(folder)) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(finished(folder)) >= count, process.communicate(timeout=10)


def nothing_but_data(folder):
    return not [path for path in folder.rglob("_*") if path.suffix in (".tmp", ".damaged")]


@pytest.mark.slow
def test_a_driver_killed_eight_times_loses_nothing_and_does_nothing_twice(installed, heads, undisturbed, tmp_path):
    chance = random.Random(0)
    seen = {}
    for _ in range(8):
        process = sample.start(installed, *RUN, *REPLICATES, "--out", tmp_path)
        wait_for(tmp_path, len(seen) + 1, process)  # not while it imports
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0.0, 0.3))  # some 0.1 s a chunk
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)
        now = finished(tmp_path)
        assert {name: now.get(name) for name in seen} == seen  # what was there is there, and was not written again
        assert len(seen) < len(now) < 48
        seen = now
    code, out, error = sample.run(installed, *RUN, *REPLICATES, "--out", tmp_path)
    assert code == 0, error
    assert f"({48 - len(seen)} chunks computed, {len(seen)} were there)" in out
    now = finished(tmp_path)
    assert {name: now[name] for name in seen} == seen
    assert len(now) == 48
    assert lab.open(tmp_path, heads).identical(undisturbed)


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(["--jobs", "2"], id="loky"),
        pytest.param(["--engine", "dask", "--jobs", "2"], id="dask", marks=pytest.mark.slow),
    ],
)
def test_workers_of_a_killed_driver_go_away_and_the_next_run_resumes(installed, heads, undisturbed, tmp_path, how):
    process = sample.start(installed, *RUN, *REPLICATES, *how, "--out", tmp_path)
    wait_for(tmp_path, 12, process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    family = [psutil.Process(process.pid), *children]
    listening = {each.laddr.ip for one in family for each in one.net_connections("inet") if each.status == "LISTEN"}
    assert listening <= {"127.0.0.1"}  # nothing that other machines can reach
    process.kill()
    process.communicate(timeout=10)
    seen = finished(tmp_path)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    code, _, error = sample.run(installed, *RUN, *REPLICATES, *how, "--out", tmp_path)
    assert code == 0, error
    now = finished(tmp_path)
    assert {name: now[name] for name in seen} == seen
    assert lab.open(tmp_path, heads).identical(undisturbed)


def test_a_dask_worker_killed_in_mid_run_does_not_stop_it(installed, heads, undisturbed, tmp_path):
    process = sample.start(installed, *RUN, *REPLICATES, "--engine", "dask", "--jobs", "2", "--out", tmp_path)
    wait_for(tmp_path, 10, process)
    workers = [
        one for one in psutil.Process(process.pid).children(recursive=True) if "spawn_main" in str(one.cmdline())
    ]
    workers[-1].kill()
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert lab.open(tmp_path, heads).identical(undisturbed)


@pytest.mark.slow
def test_a_dask_scheduler_that_runs_already(installed, heads, undisturbed, tmp_path):
    code = (
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=':0')\n"
        "    print(cluster.scheduler_address, flush=True)\n"
        "    input()"
    )
    (tmp_path / "cluster.py").write_text(code)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, tmp_path / "cluster.py"], env=installed, text=True, **pipes) as cluster:
        address = cluster.stdout.readline().strip()
        arguments = [*RUN, *REPLICATES, "--address", address, "--out", tmp_path / "out"]
        code, _, error = sample.run(installed, *arguments)
        cluster.communicate("\n", timeout=60)
    assert code == 0, error
    assert lab.open(tmp_path / "out", heads).identical(undisturbed)


def test_a_worker_that_dies_takes_one_chunk_with_it(installed, heads, tmp_path):
    grid = ["--set", "bias=0.5", "--set", "mischief=none,die"]
    code, out, error = sample.run(
        installed, "run", "coins/heads", *grid, "--replicates", "8", "--jobs", "2", "--out", tmp_path
    )
    assert code == 1, error
    assert "the worker died while computing it; it may have run out of memory" in out
    opened = lab.open(tmp_path, heads)
    assert opened["heads"].sel(mischief="none").notnull().all()
    assert opened["heads"].sel(mischief="die").isnull().all()
    assert len(list(tmp_path.rglob("*.failed.json"))) == 1


@pytest.mark.parametrize(
    ("how", "mischief", "least"),
    [
        ([], "none", 4),
        ([], "none,loop", 3),  # the cell of the loop comes second and never ends
        (["--jobs", "2"], "none", 4),
        pytest.param(["--engine", "dask", "--jobs", "2"], "none", 4, marks=pytest.mark.slow),
        pytest.param(["--engine", "submitit", "--jobs", "2"], "none", 4, marks=pytest.mark.slow),
    ],
    ids=["in-process", "compiled loop", "loky", "dask", "submitit"],
)
def test_an_interrupt_stops_within_two_seconds_and_keeps_what_is_finished(installed, tmp_path, how, mischief, least):
    grid = ["--set", "bias=0.5", "--set", f"mischief={mischief}", "--set", "seconds=0.05"]
    command = ["run", "coins/heads", *grid, "--replicates", "16" if "loop" in mischief else "400", *how]
    process = sample.start(installed, *command, "--out", tmp_path)
    wait_for(tmp_path, least, process)
    time.sleep(0.5)
    children = psutil.Process(process.pid).children(recursive=True)
    before = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the command
    out, error = process.communicate(timeout=30)
    took = time.monotonic() - before
    assert process.returncode == 130, error
    assert error == f"interrupted; what is finished is kept in {tmp_path}, and the same command resumes\n"
    assert out == ""
    assert took < 2
    assert len(finished(tmp_path)) >= least
    assert nothing_but_data(tmp_path)
    assert not psutil.wait_procs(children, timeout=10)[1]


def test_a_cell_that_fails_is_recorded_and_the_rest_completes(installed, heads, tmp_path):
    grid = ["--set", "bias=0.2,0.5", "--set", "mischief=none,raise,nan"]
    code, out, _ = sample.run(installed, "run", "coins/heads", *grid, "--replicates", "8", "--out", tmp_path)
    assert code == 1
    opened = lab.open(tmp_path, heads)
    assert opened["heads"].sel(mischief="none").notnull().all()
    for mischief, words in (
        ("raise", "the coin rolled under the <table>"),
        ("nan", "heads is NaN in 8 of 8 replicates"),
    ):
        assert f"failed   simulation at bias=0.2, mischief={mischief}; bias=0.5, mischief={mischief}: {words}" in out
        assert opened["heads"].sel(mischief=mischief).isnull().all()


def test_two_runs_at_once_into_one_folder(installed, heads, undisturbed, tmp_path):
    both = [sample.start(installed, *RUN, *REPLICATES, *how, "--out", tmp_path) for how in ([], ["--jobs", "2"])]
    for process in both:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert error == ""
    assert nothing_but_data(tmp_path)
    assert len(finished(tmp_path)) == 48
    assert lab.open(tmp_path, heads).identical(undisturbed)


def in_a_mount(installed, size, script):
    """Run a shell script in a name space of its own where $D is a disk of that size; what it prints."""
    environment = installed | {
        "D": "/mnt",
        "SOLVABLE": f"{sys.executable} -c 'from solvable.cli.main import main; main()'",
    }
    whole = f'set -e; mount -t tmpfs -o size={size} none $D; mkdir $D/out; s() {{ eval "$SOLVABLE" "$@"; }}\n{script}'
    command = ["unshare", "-rm", "bash", "-c", whole]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)


@pytest.fixture(scope="module")
def mounts():
    """Skip where an ordinary user may not mount in a name space of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, of util-linux")
    done = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this kernel does not let users make mounts of their own")


def test_a_full_disk_is_one_sentence_and_loses_nothing(installed, mounts):
    arguments = " ".join([*RUN, *REPLICATES, "--out", "$D/out"])
    done = in_a_mount(
        installed,
        "160k",
        f"""s {arguments} >/dev/null 2>$D/../tmp/error-$$ && exit 9; echo code $?
        cat /tmp/error-$$; rm /tmp/error-$$
        ls $D/out/coins_heads | grep -c parquet$; ls $D/out/coins_heads | grep -c tmp$ || true
        mount -o remount,size=8m $D
        s {arguments} | grep results""",
    )
    assert done.returncode == 0, done.stderr + done.stdout
    code, sentence, kept, temporary, resumed = done.stdout.splitlines()
    assert code == "code 2"
    assert sentence == (
        "error: /mnt/out/coins_heads cannot be written (No space left on device); what is stored there is kept, "
        "and the same run resumes once it can be"
    )
    assert 4 < int(kept) < 48
    assert temporary == "0"
    assert f"({48 - int(kept)} chunks computed, {kept} were there)" in resumed


def test_a_read_only_folder_is_one_sentence_before_anything_is_computed(installed, mounts):
    arguments = "run coins/heads --set bias=0.5 --replicates 8 --out $D/out"
    done = in_a_mount(
        installed,
        "1m",
        f"""mount -o remount,ro $D
        s {arguments} 2>&1 && exit 9; echo code $?
        mount -o remount,rw $D; s {arguments} >/dev/null; mount -o remount,ro $D
        s report $D/out --out /tmp/report-$$.html | tail -1; rm /tmp/report-$$.html
        s {arguments} 2>&1 | grep -v coins_heads.png""",
    )
    assert done.returncode == 0, done.stderr + done.stdout
    sentence, code, *rest = done.stdout.splitlines()
    assert code == "code 2"
    assert sentence.startswith("error: /mnt/out/coins_heads cannot be written (Read-only file system)")
    assert rest[0].startswith("report")
    # Everything is there: the comparisons are printed, and a warning says that no figure could be written.
    assert "warning: no figure: /mnt/out cannot be written (Read-only file system)" in "\n".join(rest)
    assert "comparisons agree" in "\n".join(rest)


def test_a_slurm_job_that_dies_leaves_its_logs_and_the_next_run_goes_on(installed, heads, tmp_path):
    """With submitit's local executor: the one job dies of its first cell, and has stored nothing."""
    how = ["--replicates", "8", "--engine", "submitit", "--jobs", "1", "--out", tmp_path]
    code, out, error = sample.run(installed, "run", "coins/heads", "--set", "mischief=die", *how)
    assert code == 1, error
    assert "ended before it was computed; the logs in" in out
    assert list((tmp_path / "_submitit").glob("*/*_log.out"))
    code, out, error = sample.run(installed, "run", "coins/heads", "--set", "mischief=none", *how)
    assert code == 0, error
    assert lab.open(tmp_path, heads)["heads"].sel(mischief="none").notnull().all()
