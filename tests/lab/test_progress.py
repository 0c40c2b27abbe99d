"""The progress bar, on a real terminal: what it says, and that it says nothing where there is none."""

import os
import pty
import re
import subprocess

from tests.lab import sample


def test_the_bar_on_a_terminal(tmp_path):
    environment = sample.install(tmp_path / "site") | {"COLUMNS": "160", "TERM": "xterm"}
    ours, theirs = pty.openpty()
    arguments = ["run", "coins/heads", "--set", "seconds=0.02", "--replicates", "24", "--out", str(tmp_path / "out")]
    with subprocess.Popen([*sample.COMMAND, *arguments], env=environment, stdout=subprocess.PIPE, stderr=theirs) as run:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        out = run.stdout.read().decode()
    os.close(ours)
    assert run.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "coins/heads" in text
    assert {"0 of 3 cells", "1 of 3 cells", "2 of 3 cells"} <= set(re.findall(r"\d of 3 cells", text))
    assert re.search(r"\d+\.\d chunks/s", text)
    assert re.search(r"worst \|z\| \d\.\d", text)
    assert re.search(r"\d:\d\d:\d\d", text)
    assert "cells" not in out
