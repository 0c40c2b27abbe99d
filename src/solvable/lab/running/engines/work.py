"""What workers are asked to do, and how they are set up. Light: a worker imports this before anything else."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from solvable.lab.store.chunk import Chunk, Computed

# One thread a worker: chunks are the parallelism, and sums are then taken in one order on every machine.
ONE_THREAD = dict.fromkeys(("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Workers that share an accelerator must not each take most of its memory.
WORKER = {**ONE_THREAD, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}

# Processes that engines have started by other means than multiprocessing, for who ends this one in the middle of a run.
dependants: set[int] = set()


def work(chunk: Chunk) -> Computed:
    """Compute one chunk."""
    for name, value in WORKER.items():  # read when JAX starts; a worker started by others may not have them
        os.environ.setdefault(name, value)
    from solvable.lab.running.compute import compute

    return compute(chunk)


def failed(chunk: Chunk, message: str, kind: str) -> Computed:
    """What is recorded of a chunk that its worker did not survive, or that could not be sent."""
    from solvable.lab.store.arrays import SIMULATION, Failure
    from solvable.lab.store.chunk import Computed

    source = SIMULATION if chunk.overlay is None else chunk.overlay.label
    return Computed({}, [Failure(source, chunk.replicates, kind, " ".join(message.split()) or "no message")])


@contextlib.contextmanager
def hidden_from_interrupts() -> Iterator[None]:
    """Processes that are started here never see Ctrl-C, which a terminal sends to every process of the command.

    They inherit a signal mask; what they do for themselves comes too late, after their imports. Nor does Ctrl-C end
    this process while they wait for their first orders: in the main thread it is answered after the block.
    """
    came: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread() and handler is not None
    mask = None
    try:
        if main:
            signal.signal(signal.SIGINT, lambda number, _: came.append(number))
        if hasattr(signal, "pthread_sigmask"):  # not on Windows
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()  # where Python starts it for the first process, it lifts the mask
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if main:
            signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def depend_on_the_driver(driver: int) -> None:
    """Ignore Ctrl-C, which a terminal sends to every process of the command, and end soon after the driver's death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(0.5)
        from solvable.lab.store.atomic import unfinished

        for path in tuple(unfinished):
            path.unlink(missing_ok=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
