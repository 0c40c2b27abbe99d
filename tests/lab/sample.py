"""The sample package, installed as a third party's, and the command run in a process of its own beside it."""

import json
import os
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "sample_package"
COMMAND = [sys.executable, "-c", "from solvable.cli.main import main; main()"]
EACH = """
import contextlib, io, json, sys
from solvable.cli.main import main
answers = []
for line in json.loads(sys.argv[1]):
    sys.argv, out, error, code = ["solvable", *line], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            main()
        except SystemExit as end:
            code = end.code
    answers.append((code, out.getvalue(), error.getvalue()))
print(json.dumps(answers))
"""


def install(folder, package=PACKAGE):
    """Install the sample package into a folder, with pip, from its source; the environment that finds it there."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-input"]
    options = ["install", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder), str(package)]
    done = subprocess.run([*pip, *options], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return os.environ | {"PYTHONPATH": str(folder)}


def start(environment, *arguments):
    """`solvable` with these arguments, in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(environment, *arguments, timeout=180):
    """The exit code, the standard output and the standard error of `solvable` with these arguments."""
    process = start(environment, *arguments)
    try:
        out, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, error


def run_each(environment, lines, cwd=None):
    """What `run` returns for each of these lines of arguments, which are called one after the other in one process."""
    line = [sys.executable, "-c", EACH, json.dumps([[str(word) for word in line] for line in lines])]
    done = subprocess.run(line, env=environment, cwd=cwd, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
