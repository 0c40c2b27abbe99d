"""Ctrl-C at every stage of a run: one sentence, and not a word from a library or a worker."""

import json
import signal
import subprocess
import sys
import threading

import pytest

from solvable.lab.running.engines.work import hidden_from_interrupts
from tests.lab import interrupter, sample

RUN = ["run", "coins/heads", "--set", "bias=0.5", "--set", "seconds=0.01", "--replicates", "8"]
LOKY, DASK, SUBMITIT = ["--jobs", "2"], ["--engine", "dask", "--jobs", "2"], ["--engine", "submitit", "--jobs", "2"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return sample.install(tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize("module", ["solvable.cli.verbs", "typer", "solvable.cli.call"])
def test_before_the_command_line_is_read(installed, tmp_path, module):
    code, out, error = interrupter.run(installed, tmp_path, f"driver:{module}", *RUN, "--json")
    assert (code, error) == (130, "interrupted\n")
    assert json.loads(out) == {"error": "interrupted", "exit_code": 130}


@pytest.mark.parametrize(
    ("how", "where"),
    [
        ([], "driver:jax"),
        ([], "driver:pyarrow"),
        ([], "driver:matplotlib"),
        (LOKY, "driver:loky"),
        (LOKY, "driver:loky.backend.fork_exec"),  # a worker is started and waits for its orders
        (LOKY, "worker:1"),  # a tracker or a worker starts
        (LOKY, "worker:100"),
        (LOKY, "worker:loky.process_executor"),
        (LOKY, "worker:solvable.lab.running.engines.work"),
        (LOKY, "worker:jax"),
        (LOKY, "driver:exit"),
        (DASK, "driver:distributed.client"),
        (DASK, "worker:distributed"),
        (DASK, "worker:jax"),
        (SUBMITIT, "worker:submitit.local.local"),
        (SUBMITIT, "worker:solvable.lab.store.store"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value).strip("-") or "in-process",
)
def test_one_sentence_whatever_is_imported_started_or_shut_down(installed, tmp_path, how, where):
    results = tmp_path / "out"
    code, out, error = interrupter.run(installed, tmp_path, where, *RUN, *how, "--out", results)
    assert code == 130, error
    assert error == f"interrupted; what is finished is kept in {results}, and the same command resumes\n"
    assert ("results" in out) if where == "driver:exit" else out == ""
    assert not [path for path in results.rglob("_*") if path.suffix == ".tmp"]


def test_what_is_started_while_hidden_does_not_see_an_interrupt_and_the_starter_sees_it_after():
    see = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"

    def blocked():
        return subprocess.run([sys.executable, "-c", see], capture_output=True, text=True, check=True).stdout.strip()

    before, seen = signal.getsignal(signal.SIGINT), []
    signal.signal(signal.SIGINT, lambda *_: seen.append("handler"))
    try:
        with hidden_from_interrupts():
            signal.raise_signal(signal.SIGINT)
            seen.append(blocked())
        assert seen == ["True", "handler"]
        thread = threading.Thread(target=lambda: seen.append(_hidden(blocked)))
        thread.start()
        thread.join()
        signal.raise_signal(signal.SIGINT)
        assert [*seen[2:], blocked()] == ["True", "handler", "False"]
    finally:
        signal.signal(signal.SIGINT, before)


def _hidden(function):
    with hidden_from_interrupts():
        return function()
