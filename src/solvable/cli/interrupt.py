"""Ctrl-C: one sentence, and the process and its workers are gone. Light, because it comes before every other import."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

INTERRUPTED = 130


def end_on_interrupt(sentence: str, as_json: bool) -> None:
    """From here on Ctrl-C says this sentence and ends the process here and now; only in the main thread.

    An exception would not do: it is swallowed where it is raised in a callback of the garbage collector, and crashes a
    library that is being imported. Nothing is lost, because files are written whole or not at all.
    """
    answers = [(2, f"{sentence}\n")]
    if as_json:
        import json

        document = {"error": sentence, "exit_code": INTERRUPTED}
        answers.append((1, f"{json.dumps(document, indent=2, ensure_ascii=False)}\n"))

    def end(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatient users say it once
        workers = _workers()
        for descriptor, text in answers:
            with contextlib.suppress(OSError):  # nobody reads it
                os.write(descriptor, text.encode())
        for path in tuple(_of("solvable.lab.store.atomic", "unfinished", ())):
            path.unlink(missing_ok=True)
        # Workers that outlive the driver would complain of it. What ends them must be the last thing before the end.
        for worker in workers:
            with contextlib.suppress(OSError):  # gone already
                os.kill(worker, getattr(signal, "SIGKILL", signal.SIGTERM))
        os._exit(INTERRUPTED)

    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, end)


def _workers() -> list[int]:
    """The processes of loky and of Dask, and those of other engines that name them."""
    started = _of("multiprocessing.process", "active_children", list)()
    return [child.pid for child in started if child.pid] + list(
        _of("solvable.lab.running.engines.work", "dependants", ())
    )


def _of(module: str, name: str, otherwise):
    """What a module holds, if it is imported so far: the interrupt may have come in the middle of it."""
    return getattr(sys.modules.get(module), name, otherwise)
