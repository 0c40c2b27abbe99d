"""submitit: one array of jobs on SLURM, or processes of this machine where there is no SLURM.

The jobs store what they compute themselves, in the folder that they share with the driver, so that a driver that dies
takes nothing with it. Partition, account and time limit are those of SLURM's own variables (`SBATCH_PARTITION`,
`SBATCH_ACCOUNT`, `SBATCH_TIMELIMIT`). A job that is about to run out of time is queued again.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import submitit

from solvable.lab.engines.work import failed, work

if TYPE_CHECKING:
    from solvable.lab.chunk import Chunk, Computed
    from solvable.lab.store import Store

_SECONDS = 0.5


class Share:
    """The chunks of one job. Called, it computes and stores those that are not stored yet."""

    def __init__(self, folder: str, chunks: Sequence[Chunk]) -> None:
        self.folder, self.chunks = folder, chunks

    def __call__(self) -> None:
        from solvable.lab.store import Store

        store = Store(self.folder)
        for chunk in self.chunks:
            if not store.finished(chunk):
                store.write(chunk, work(chunk))

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """The same again: what is stored is passed over."""
        return submitit.helpers.DelayedSubmission(self)


class Submitit:
    """An engine of so many jobs."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def run(self, chunks: Sequence[Chunk], store: Store) -> Generator[tuple[Chunk, Computed | None]]:
        """Each chunk once its job has stored it; a chunk that a job leaves behind when it dies is failed."""
        logs = store.folder / "_submitit"
        executor = submitit.AutoExecutor(folder=logs)
        executor.update_parameters(name="solvable", cpus_per_task=1)
        # Dealt like a shuffled deck, runs first: neighbours on the grid cost alike, and a prediction next to nothing.
        deck = random.Random(0).sample(list(chunks), len(chunks))
        deck.sort(key=lambda chunk: chunk.replicates is None)
        shares = [part for start in range(self._jobs) if (part := deck[start :: self._jobs])]
        with executor.batch():
            jobs = [executor.submit(Share(str(store.folder.resolve()), share)) for share in shares]
        waiting = [(job, {chunk.name: chunk for chunk in share}) for job, share in zip(jobs, shares, strict=True)]
        done, well = False, True
        try:
            while waiting:
                time.sleep(_SECONDS)
                for entry in list(waiting):
                    job, share = entry
                    over = job.done()  # asked before looking, so that nothing it stored is missed
                    for name in [name for name, chunk in share.items() if store.arrived(chunk)]:
                        yield share.pop(name), None
                    if over:
                        well = well and not share
                        for chunk in share.values():
                            sentence = f"job {job.job_id} ended before it was computed; the logs in {logs} say why"
                            yield chunk, failed(chunk, RuntimeError(sentence))
                        waiting.remove(entry)
            done = True
        finally:
            if not done:
                for job in jobs:
                    job.cancel()
        if well:  # else the logs say what happened
            shutil.rmtree(logs, ignore_errors=True)
