"""Engines around an executor of `concurrent.futures`: in this process, on workers of this machine, or one of yours."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future
from typing import TYPE_CHECKING, Any

from solvable.lab.running.engines.work import WORKER, depend_on_the_driver, failed, hidden_from_interrupts, work

if TYPE_CHECKING:
    from solvable.lab.store.chunk import Chunk, Computed
    from solvable.lab.store.store import Store


_DIED = "the worker died while computing it; it may have run out of memory"


class Pool:
    """An engine around an executor, with at most `window` chunks in its hands at a time.

    `stop(executor, done)` ends it, at once where `done` is False. When a worker dies, the executor is started anew, and
    the chunks that it may have died of are tried one at a time: what kills its worker alone is recorded as failed.
    """

    def __init__(self, start: Callable[[], Any], window: int, stop: Callable[[Any, bool], Any], function=work) -> None:
        self._start, self._window, self._stop, self._function = start, window, stop, function

    def run(self, chunks: Sequence[Chunk], store: Store) -> Generator[tuple[Chunk, Computed | None]]:
        """Each chunk with what came of it, in the order in which they finish.

        Raises: BrokenExecutor when an executor of yours breaks.
        """
        waiting, suspects = collections.deque(chunks), collections.deque[Any]()
        pending: dict[Future, Chunk] = {}
        executor, fresh, done = self._start(), True, False
        try:
            while waiting or suspects or pending:
                alone = bool(suspects)
                queue, limit = (suspects, 1) if alone else (waiting, self._window)
                broken: list[Chunk] = []
                try:
                    while queue and len(pending) < limit:
                        pending[executor.submit(self._function, queue[0])] = queue[0]
                        queue.popleft()
                        fresh = False
                except BrokenExecutor:
                    # A worker has died since the last wait. It had a pending chunk, or it was idle.
                    if not pending and fresh:
                        raise
                    if not pending:
                        self._stop(executor, False)
                        executor, fresh = self._start(), True
                        continue
                for future in concurrent.futures.wait(pending, return_when=FIRST_COMPLETED).done:
                    chunk = pending.pop(future)
                    try:
                        computed = future.result()
                    except BrokenExecutor:
                        broken.append(chunk)
                        continue
                    except CancelledError as error:
                        raise ConnectionError(
                            "the engine was lost in mid-run; what is finished is kept, and the same run resumes"
                        ) from error
                    except Exception as error:
                        computed = failed(chunk, str(error), type(error).__name__)
                    yield chunk, computed
                if broken:
                    self._stop(executor, False)
                    executor, fresh = self._start(), True
                    if alone:
                        yield broken[0], failed(broken[0], _DIED, "WorkerDied")
                    else:
                        suspects.extend([*broken, *pending.values()])
                        pending.clear()
            done = True
        finally:
            self._stop(executor, done)
            for future in pending:  # those of an executor of yours, which goes on
                future.cancel()


class _Thread:
    """An executor whose work is done in a daemon thread, so that Ctrl-C reaches the main one during a compiled loop."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        future: Future = Future()

        def call() -> None:
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=call, daemon=True).start()
        return future


def in_process() -> Pool:
    """One chunk after the other in this process."""
    from solvable.lab.running.compute import compute

    return Pool(_Thread, 1, lambda executor, done: None, compute)


class _Loky:
    """The executor of loky. It starts its processes when it is made and at a submit."""

    def __init__(self, workers: int) -> None:
        from loky import ProcessPoolExecutor

        with hidden_from_interrupts():
            self._executor = ProcessPoolExecutor(
                max_workers=workers, initializer=depend_on_the_driver, initargs=(os.getpid(),), env=WORKER
            )

    def submit(self, *call: Any) -> Future:
        with hidden_from_interrupts():
            return self._executor.submit(*call)

    def stop(self, done: bool) -> None:
        self._executor.shutdown(kill_workers=not done)


def loky(workers: int) -> Pool:
    """Worker processes on this machine, spawned, each with one thread."""
    return Pool(lambda: _Loky(workers), 4 * workers, lambda executor, done: executor.stop(done))


def borrowed(executor: Any, workers: int) -> Pool:
    """An executor of the caller's, which is not shut down."""

    return Pool(lambda: executor, 4 * workers, lambda executor, done: None)
