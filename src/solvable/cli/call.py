"""Call a verb: JAX's compilation cache, warnings in one line, errors as one sentence and an exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from solvable.cli.interrupt import end_on_interrupt

BAD_INPUT, NOT_CONVERGED, BAD_DATA, UNEXPECTED, BROKEN_PIPE = 2, 3, 4, 70, 141


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a verb answers: the document for --json, what to print otherwise (rich renderables), the exit code."""

    document: Any
    parts: Sequence[Any]
    code: int = 0


def call(work: Callable[[], Answer], as_json: bool, debug: bool, interrupted: str = "interrupted") -> int:
    """Print what `work` answers and return its exit code; an error becomes one sentence on stderr."""
    end_on_interrupt(interrupted, as_json)
    _silence_trackers()
    _prepare_jax()
    if debug:
        import logging

        logging.basicConfig(level=logging.WARNING)
        logging.getLogger("solvable").setLevel(logging.DEBUG)
    try:
        with _plain_warnings():
            answer = work()
    except Exception as error:
        if debug:
            traceback.print_exc()
        code = _code(error)
        sentence = " ".join(str(error).split())
        if code == UNEXPECTED:
            sentence = f"unexpected {type(error).__name__}: {sentence}; --debug shows where"
        return refuse(sentence, as_json, code)
    try:
        _show(answer, as_json)
    except OSError as error:
        return unprintable(error)
    return answer.code


def _show(answer: Answer, as_json: bool) -> None:
    if as_json:
        print(strict_json(answer.document))
    else:
        from rich.console import Console

        console = Console(soft_wrap=False)
        if not console.is_terminal:
            console = Console(width=160)
        console.on_broken_pipe = _reraise  # it would end with 1, the code of a disagreement
        for part in answer.parts:
            console.print(part, highlight=False)
    if sys.stdout is not None:
        sys.stdout.flush()


def _reraise() -> None:
    raise


def unprintable(error: OSError) -> int:
    """Say that stdout cannot be written, unless its reader (`head`, say) has seen enough; the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    print(f"error: stdout cannot be written ({error.strerror})", file=sys.stderr)
    return BAD_DATA


def refuse(sentence: str, as_json: bool, code: int) -> int:
    """Print one sentence on stderr (and, for --json, a document on stdout) and return the code."""
    print(f"error: {sentence}", file=sys.stderr)
    if as_json:
        try:
            print(strict_json({"error": sentence, "exit_code": code}), flush=True)
        except OSError as error:
            return unprintable(error)
    return code


def strict_json(document: Any) -> str:
    """`document` as JSON that every parser takes: NaN and infinities are null."""
    from solvable.lab.store.arrays import plain

    return json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False)


def _code(error: Exception) -> int:
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if "solvable.numerics.results.SolveError" in names:
        return NOT_CONVERGED
    if "solvable.lab.store.atomic.StoreError" in names:
        return BAD_DATA
    lacking = isinstance(error, ImportError) and not isinstance(
        error, ModuleNotFoundError
    )  # an extra, named by an engine
    return BAD_INPUT if lacking or isinstance(error, ValueError | OSError) else UNEXPECTED


def _silence_trackers() -> None:
    """What an interrupted run leaves of semaphores, Python's resource tracker removes, without a word.

    The tracker is a process of its own, which takes its filters from the environment. A user's own filters stand.
    """
    own = os.environ.get("PYTHONWARNINGS", "")
    if "resource_tracker" not in own:
        os.environ["PYTHONWARNINGS"] = f"{own},ignore:resource_tracker:UserWarning".removeprefix(",")


def _prepare_jax() -> None:
    """One thread, as the engines' workers have, and a compilation cache on the disk.

    Through the environment, which JAX reads when it is imported; a user's own settings stand.
    """
    if "jax" in sys.modules:
        return
    import platformdirs

    from solvable.lab.running.engines.work import ONE_THREAD

    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(platformdirs.user_cache_dir("solvable"), "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield
