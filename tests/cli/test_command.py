"""The command as users meet it: real processes, exit codes, one sentence for an error, strict JSON."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from solvable.cli.running import settings
from tests.lab import sample

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Run `solvable` in a process of its own where the toy is installed as a third party's package."""
    site = tmp_path_factory.mktemp("site")
    about = site / "toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[solvable.experiments]\ntoy = tests.lab.toy\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}

    def call(*arguments, start=False, stdout=subprocess.PIPE, **settings):
        line = [sys.executable, "-c", "from solvable.cli.main import main; main()", *map(str, arguments)]
        options = {"env": environment | settings, "text": True, "cwd": site}
        if start:
            return subprocess.Popen(line, stdout=stdout, stderr=subprocess.PIPE, **options)
        return subprocess.run(line, capture_output=True, check=False, timeout=120, **options)

    call.each = lambda lines: sample.run_each(environment, lines, cwd=site)
    return call


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_help_imports_nothing_heavy():
    heavy = ["jax", "numpy", "scipy", "pyarrow", "xarray", "matplotlib", "pydantic"]
    code = (
        "import sys; sys.argv = ['solvable', '--help']\n"
        "from solvable.cli.main import main\n"
        "try: main()\n"
        f"finally: print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert all(verb in done.stdout for verb in ("list", "show", "predict", "run", "doctor"))


def test_list_and_show_find_a_third_partys_experiment(command):
    (code, listed, _), shown = command.each([["list", "--json"], ["show", "toy/mean"]])
    assert code == 0
    entries = {entry["name"]: entry for entry in strict(listed)["experiments"]}
    assert entries["toy/ceiling"]["overlays"] == [{"label": "ceiling", "given": False, "claims": ["bound"]}]
    assert shown[0] == 0
    for words in ("samples n", "4, 8, 16", "a whole number", "sample mean", "a textbook, Fig. 0", "exact"):
        assert words in shown[1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_stdout_is_one_sentence_and_its_own_code(command):
    lines = [["--help"], ["list", "--json"], ["show", "toy/mean"], ["nothing", "--json"]]
    with open("/dev/full", "w") as full:
        started = [command(*line, start=True, stdout=full) for line in lines]
        errors = [process.communicate(timeout=60)[1].splitlines() for process in started]
    assert [process.returncode for process in started] == [4] * 4
    assert {error[-1] for error in errors} == {"error: stdout cannot be written (No space left on device)"}
    assert [len(error) for error in errors] == [1, 1, 1, 2]


def test_a_reader_that_has_seen_enough_ends_it_without_a_word(command):
    reading, writing = os.pipe()
    os.close(reading)
    process = command("list", start=True, stdout=writing)
    os.close(writing)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 141


def test_a_run_stores_compares_draws_and_resumes(command, tmp_path):
    line = (
        "run",
        "toy/mean",
        "--set",
        "kind=plain,patchy",
        "--set",
        "samples=4,8",
        "--replicates",
        9,
        "--out",
        tmp_path,
    )
    first = command(*line, "--json")
    assert (first.returncode, first.stderr.count("error")) == (0, 0)
    answer = strict(first.stdout)
    assert (answer["cells"], answer["computed"], answer["reused"], answer["agrees"]) == (4, 12, 0, True)
    assert all(Path(path).is_file() for path in answer["figures"])
    assert {item["verdict"] for item in answer["comparisons"]} == {"agrees"}
    again = command(*line)
    assert again.returncode == 0
    assert "0 chunks computed, 12 were there" in again.stdout
    assert "comparisons agree" in again.stdout


def test_a_run_over_sizes_extrapolates_and_counts_what_it_finds(command, tmp_path):
    line = ("run", "toy/approach", "--replicates", 16, "--out", tmp_path, "--set")
    agreeing = command(*line, "offset=0", "--json")
    assert agreeing.returncode == 0
    answer = strict(agreeing.stdout)
    assert [item["parameters"]["dim"] for item in answer["extrapolations"]] == ["inf"] * 4
    value = next(item for item in answer["extrapolations"] if item["overlay"] == "given_level")
    assert (value["size"], value["sizes"], value["verdict"]) == ("dim", [50, 100, 200, 400], "agrees")
    assert abs(value["slope"] - 2.0) < 4 * value["slope_standard_error"]
    assert [Path(path).name for path in answer["figures"][2:]] == ["toy_approach-sizes.png", "toy_approach-sizes.pdf"]
    assert all(Path(path).is_file() for path in answer["figures"])
    # each size alone forgives an error of the size of its allowance; the line through all does not
    off = command(*line, "offset=0.015")
    assert off.returncode == 1
    assert "extrapolated to dim = infinity from dim = 50, 100, 200, 400" in off.stdout
    assert "toy_approach-sizes.png" in off.stdout
    before, after = off.stdout.split("extrapolated to")
    assert "differs by" not in before
    assert "differs by" in after
    (counted,) = [text for text in off.stdout.splitlines() if "comparisons agree" in text]
    assert counted == "22 of 23 comparisons agree; 5 identities are not counted"


def test_disagreement_and_failure_are_exit_code_one(command, tmp_path):
    shifted = command("run", "toy/mean", "--set", "kind=shifted", "--replicates", 64, "--out", tmp_path)
    assert shifted.returncode == 1
    assert "differs by" in shifted.stdout
    broken = command("run", "toy/mean", "--set", "kind=plain,broken", "--replicates", 2, "--out", tmp_path, "--json")
    assert broken.returncode == 1
    answer = strict(broken.stdout)
    assert {item["message"] for item in answer["failures"]} == {"the toy is broken on purpose"}
    assert "Traceback" not in broken.stderr


def test_bad_input_is_one_sentence_and_exit_code_two(command, tmp_path):
    cases = [
        (["toy/meen"], "experiment 'toy/meen' is unknown; did you mean 'toy/mean'"),
        (["toy/mean", "--set", "sampels=3"], "parameter 'sampels' is unknown in toy/mean; did you mean 'samples'?"),
        (["toy/mean", "--set", "location=-30"], "location=-30 is out of range; accepted: a finite number >= -10"),
        (["toy/mean", "--set", "kind=timid"], "kind='timid' is out of the theory's domain; accepted: 'plain'"),
        (["toy/mean", "--replicates", "many"], "Invalid value for '--replicates'"),
    ]
    lines = [["run", *arguments, "--out", tmp_path, "--json"] for arguments, _ in cases]
    for (code, out, error), (_, sentence) in zip(command.each(lines), cases, strict=True):
        assert code == 2
        (found,) = [line for line in error.splitlines() if not line.startswith("warning: ")]
        assert found.startswith(f"error: {sentence}")
        assert strict(out)["exit_code"] == 2
    alone = command("run", "toy/meen", "--json")  # a process ends with that code too
    assert (alone.returncode, strict(alone.stdout)["exit_code"]) == (2, 2)


def test_a_debugged_error_shows_its_traceback(command):
    done = command("show", "nothing/here", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_an_unsolved_prediction_is_exit_code_three(command):
    done = command("predict", "toy/mean", "--set", "samples=4", "--set", "kind=plain,unsolved", "--json")
    assert done.returncode == 3
    answer = strict(done.stdout)
    assert [item["values"]["mean"] for item in answer["predictions"]] == [0.25]
    assert answer["failures"][0]["message"] == "the toy's equation: the solve stopped"


def test_a_compilation_cache_and_one_thread_unless_the_user_says_otherwise(tmp_path):
    code = (
        "import os, sys; sys.argv = ['solvable', 'doctor', '--json']\n"
        "from solvable.cli.main import main\n"
        "try: main()\n"
        "finally: print({name: os.environ.get(name) for name in ('NPROC', 'OPENBLAS_NUM_THREADS')}, file=sys.stderr)"
    )
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "NPROC"))}
    for own, threads in (({}, "1"), ({"NPROC": "2"}, "2")):
        environment = plain | {"XDG_CACHE_HOME": str(tmp_path)} | own
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        assert strict(done.stdout)["compilation_cache"]["folder"] == str(tmp_path / "solvable" / "jax")
        assert done.stderr.strip() == str({"NPROC": threads, "OPENBLAS_NUM_THREADS": "1"})


def test_doctor_finds_damage(command, tmp_path):
    _, (code, healthy, _) = command.each([["run", "toy/law", "--out", tmp_path], ["doctor", tmp_path, "--json"]])
    assert code == 0
    answer = strict(healthy)
    assert answer["double_precision"] is True
    nothing = {"damaged": [], "foreign": [], "left_over": [], "set_aside": [], "failed": []}
    assert answer["store"] == {"files": 3} | nothing
    folder = tmp_path / "toy_law"
    for name in ("mine.parquet", "_toy.parquet.0a1b.tmp"):
        (folder / name).write_text("not ours")
    untidy = command("doctor", tmp_path)
    assert untidy.returncode == 0
    assert f"foreign    {folder / 'mine.parquet'}: it was not written by solvable" in untidy.stdout
    assert f"left over  {folder / '_toy.parquet.0a1b.tmp'}: a killed run did not finish it" in untidy.stdout
    victim = next(tmp_path.rglob("*-law.parquet"), None) or next(tmp_path.rglob("*-theory.parquet"))
    victim.write_bytes(victim.read_bytes()[:-20])
    sick, absent = command.each([["doctor", tmp_path], ["doctor", tmp_path / "nowhere"]])
    assert sick[0] == 4
    assert victim.name in sick[1]
    assert victim.exists()
    assert absent[0] == 4


def test_an_interrupted_run_keeps_what_is_finished_and_resumes(command, tmp_path):
    line = ("run", "toy/ceiling", "--replicates", 4000, "--set", "samples=4", "--out", tmp_path, "--json")
    process = command(*line, start=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*-8-16.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"interrupted; what is finished is kept in {tmp_path}, and the same command resumes" in errors
    assert "Traceback" not in errors
    assert strict(output)["exit_code"] == 130
    kept = len(list(tmp_path.rglob("*.parquet")))
    resumed = command("run", "toy/ceiling", "--replicates", 24, "--set", "samples=4", "--out", tmp_path, "--json")
    assert strict(resumed.stdout)["reused"] >= min(kept, 3)


def test_a_second_process_finds_the_compilations_of_the_first(command, tmp_path):
    environment = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    command("run", "toy/ceiling", "--replicates", 1, "--out", tmp_path / "out", **environment)
    assert list((tmp_path / "cache").iterdir())


def test_settings_are_read_as_texts():
    assert settings(["ratio=1, 2,4", "loss=logistic"]) == {"ratio": ["1", "2", "4"], "loss": ["logistic"]}
    for text in ("ratio", "=3", "ratio=", "ratio=1,,2"):
        with pytest.raises(ValueError, match=r"cannot be read; accepted: NAME=VALUE"):
            settings([text])
    with pytest.raises(ValueError, match="--set ratio is given twice"):
        settings(["ratio=1", "ratio=2"])
