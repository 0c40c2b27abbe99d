"""`solvable` interrupted at a chosen event, which is the same on a fast machine and on a slow one."""

import subprocess

from tests.lab import sample

# Imported by every Python process of the command when it starts. The driver leads the process group; the others are its
# workers, and the trackers that Python and loky start. An event is the import of a module, the import of that number,
# or the exit. Only the first process that gets there interrupts.
HOOK = """
import atexit, os, signal, sys

role, event = os.environ["INTERRUPT_AT"].split(":")
count = 0


def interrupt():
    try:
        os.close(os.open(os.environ["INTERRUPTED"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.killpg(0, signal.SIGINT)


def watch(name, arguments):
    global count
    if name == "import":
        count += 1
        if event in (arguments[0], str(count)):
            interrupt()


if role == ("driver" if os.getpid() == os.getpgid(0) else "worker"):
    if event == "exit":
        atexit.register(interrupt)
    else:
        sys.addaudithook(watch)
"""


def run(environment, folder, where, *arguments, timeout=120):
    """The exit code, output and error of `solvable` and its processes, interrupted at `where`, which is role:event."""
    hook, done = folder / "hook", folder / "interrupted"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    path = f"{hook}:{environment['PYTHONPATH']}"
    changed = {"PYTHONPATH": path, "INTERRUPT_AT": where, "INTERRUPTED": str(done)}
    process = sample.start(environment | changed, *arguments)
    try:
        out, error = process.communicate(timeout=timeout)  # until the last of them has closed both
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert done.exists(), f"{where} was not reached: {out}{error}"
    return process.returncode, out, error
