"""submitit: one array of jobs on SLURM, or processes of this machine where there is no SLURM.

The jobs store what they compute themselves, in the folder that they share with the driver, so that a driver that dies
takes nothing with it. Time limit, partition and account are those of SLURM's own variables `SBATCH_TIMELIMIT` (which
must be set), `SBATCH_PARTITION` and `SBATCH_ACCOUNT`. A job that is about to run out of time is queued again.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import submitit

from solvable.lab.running.engines.work import depend_on_the_driver, dependants, failed, hidden_from_interrupts, work

if TYPE_CHECKING:
    from solvable.lab.store.chunk import Chunk, Computed
    from solvable.lab.store.store import Store

_SECONDS = 0.5
_REQUEUES = 1000  # a job that ran out of time goes on as often as it takes


class Share:
    """The chunks of one job. Called, it computes and stores those that are not stored yet."""

    def __init__(self, folder: str, chunks: Sequence[Chunk]) -> None:
        self.folder, self.chunks = folder, chunks

    def __call__(self) -> None:
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":
            depend_on_the_driver(int(os.environ["SUBMITIT_LOCAL_JOB_ID"]))
        from solvable.lab.store.store import Store

        store = Store(self.folder)
        for chunk in self.chunks:
            if not store.holds(chunk):
                store.write(chunk, work(chunk), index=False)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """The same again: what is stored is passed over."""
        return submitit.helpers.DelayedSubmission(self)


class Submitit:
    """An engine of so many jobs."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def run(self, chunks: Sequence[Chunk], store: Store) -> Generator[tuple[Chunk, Computed | None]]:
        """Each chunk once its job has stored it; a chunk that a job leaves behind when it dies is failed."""
        logs = store.folder / "_submitit" / secrets.token_hex(6)  # another run may be in the same folder
        executor = submitit.AutoExecutor(folder=logs)
        executor.update_parameters(name="solvable", cpus_per_task=1)
        if executor.cluster == "slurm":
            executor.update_parameters(timeout_min=minutes(), slurm_max_num_timeout=_REQUEUES)
        # Dealt like a shuffled deck, runs first: neighbours on the grid cost alike, and a prediction next to nothing.
        deck = random.Random(0).sample(list(chunks), len(chunks))
        deck.sort(key=lambda chunk: chunk.replicates is None)
        shares = [part for start in range(self._jobs) if (part := deck[start :: self._jobs])]
        here = executor.cluster == "local"
        with hidden_from_interrupts():
            with executor.batch():
                jobs = [executor.submit(Share(str(store.folder.resolve()), share)) for share in shares]
            dependants.update(int(job.job_id) for job in jobs if here)
        waiting = [(job, {chunk.name: chunk for chunk in share}) for job, share in zip(jobs, shares, strict=True)]
        shelf = store.shelf(chunks[0].cell)
        done, well = False, True
        try:
            while waiting:
                time.sleep(_SECONDS)
                over = [job.done() for job, _ in waiting]  # asked before looking, so that nothing they stored is missed
                arrived = shelf.arrivals()
                for (job, share), ended in zip(list(waiting), over, strict=True):
                    for name in arrived & share.keys():
                        yield share.pop(name), None
                    if ended:
                        well = well and not share
                        for chunk in share.values():
                            sentence = f"job {job.job_id} ended before it was computed; the logs in {logs} say why"
                            yield chunk, failed(chunk, sentence, "JobEnded")
                waiting = [entry for entry, ended in zip(waiting, over, strict=True) if not ended]
            done = True
        finally:
            for job in jobs:
                if here:
                    dependants.discard(int(job.job_id))
                if not done:
                    _cancel(job, here)
        if well:  # else the logs say what happened
            shutil.rmtree(logs, ignore_errors=True)
            with contextlib.suppress(OSError):  # those of another run
                logs.parent.rmdir()


def _cancel(job: submitit.Job, here: bool) -> None:
    """End a job; one of this machine does not hear the interrupt by which submitit would end it."""
    if not here:
        job.cancel()
    elif not job.done():
        os.kill(int(job.job_id), signal.SIGKILL)


def minutes() -> int:
    """The time limit of SLURM's variable SBATCH_TIMELIMIT, whose forms are `sbatch --time`'s.

    Raises: ValueError where it is not set or not such a limit: a default would be too short here and refused there.
    """
    text = os.environ.get("SBATCH_TIMELIMIT", "")
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(map(str.isdecimal, [*parts, *([days] if dash else [])])) or len(parts) > 3:
        raise ValueError(
            f"the environment variable SBATCH_TIMELIMIT={text!r} is not accepted with engine='submitit' on SLURM; "
            "accepted: minutes, hours:minutes:seconds or days-hours"
        )
    numbers = [int(part) for part in parts]
    # minutes, minutes:seconds, hours:minutes:seconds; days-hours, days-hours:minutes, days-hours:minutes:seconds
    first = ["hours", "minutes", "seconds"] if dash or len(parts) == 3 else ["minutes", "seconds"]
    in_seconds = {"hours": 3600, "minutes": 60, "seconds": 1}
    seconds = sum(number * in_seconds[unit] for number, unit in zip(numbers, first, strict=False))
    return max(1, (seconds + 86400 * int(days or 0)) // 60)
