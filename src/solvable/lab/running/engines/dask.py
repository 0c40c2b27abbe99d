"""Dask: workers of a scheduler that runs somewhere, or of a local cluster started for the run."""

from __future__ import annotations

import logging
import re
import signal
from typing import Any

from distributed import Client, LocalCluster
from distributed.utils import LoopRunner

from solvable.lab.running.engines.pool import Pool
from solvable.lab.running.engines.work import WORKER, hidden_from_interrupts

_WINDOW = 256


def dask_setup(worker: Any) -> None:
    """Called by Dask in each worker of a cluster of ours: Ctrl-C is the driver's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Session:
    """A client, and the cluster where it is ours."""

    def __init__(self, address: str | None, workers: int) -> None:
        self.cluster = None
        if address is None:
            # The thread of the loop, and those that it starts, start the workers, which inherit its signal mask.
            self.loop = LoopRunner()
            with hidden_from_interrupts():
                self.loop.start()
            try:
                self.cluster = LocalCluster(
                    loop=self.loop.loop,
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",  # ":0" would listen to every network
                    env=WORKER,
                    preload=[__name__],
                    silence_logs=logging.ERROR,
                )
            except RuntimeError as error:
                self.loop.stop()
                raise RuntimeError(
                    "the workers of a local Dask cluster did not start; a script must make this call under "
                    "`if __name__ == '__main__':`, because its workers import it"
                ) from error
        try:
            self.client = Client(self.cluster if address is None else address, timeout="10s", set_as_default=False)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"address={address!r} does not answer ({reason}); accepted: the address of a Dask scheduler that runs, "
                "such as 'tcp://127.0.0.1:8786'"
            ) from error
        self.executor = self.client.get_executor(pure=False)

    def submit(self, *call: Any) -> Any:
        return self.executor.submit(*call)

    def stop(self, done: bool) -> None:
        self.executor.shutdown(wait=done)
        self.client.close(timeout=10 if done else 1)
        if self.cluster is not None:
            self.cluster.close(timeout=10 if done else 1)
            self.loop.stop()


def engine(address: str | None, workers: int) -> Pool:
    """Chunks of a worker that dies are given to another by the scheduler.

    Raises: ValueError for an address that is none.
    """
    if address is not None and not re.fullmatch(r"(\w+://)?[^/\s]+:\d+", address):
        raise ValueError(f"address={address!r} is not accepted; accepted: such as 'tcp://127.0.0.1:8786'")
    return Pool(lambda: _Session(address, workers), _WINDOW, lambda session, done: session.stop(done))
