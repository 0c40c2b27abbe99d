"""What each cell of a run has and lacks: resume is decided here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from solvable.lab.declare import Experiment
from solvable.lab.store.arrays import Failure
from solvable.lab.store.chunk import BLOCK, Chunk, blocks, cell_hash
from solvable.lab.store.index import Stored
from solvable.lab.store.store import Store


@dataclasses.dataclass
class Schedule:
    """One cell: the chunks that are finished and those to compute; then what came of the latter."""

    cell: Experiment
    finished: list[str]
    missing: list[Chunk]
    computed: list[Stored] = dataclasses.field(default_factory=list)
    failures: list[Failure] = dataclasses.field(default_factory=list)
    left: int = 0


def schedule(store: Store, cells: Sequence[Experiment], count: int) -> list[Schedule]:
    """What each cell has and lacks of its predictions and its replicates below `count`: resume is decided here."""
    shelf = store.shelf(cells[0])
    names = shelf.stems()
    schedules = []
    for cell in cells:
        digest = cell_hash(cell)
        known = _blocks(names.get(digest, ()))
        wanted = [(chunk.name, chunk) for chunk in theory_chunks(cell)]
        wanted += [
            (f"{digest}-{block.start}-{block.stop}", Chunk(cell, block)) for block in known if block.start < count
        ]
        one = Schedule(cell, [], [])
        for name, chunk in wanted:
            if store.finished(chunk):
                one.finished.append(name)
            else:
                one.missing.append(chunk)
        one.missing += [Chunk(cell, block) for span in _gaps(known, count) for block in blocks(span)]
        one.left = len(one.missing)
        schedules.append(one)
    return schedules


def theory_chunks(cell: Experiment) -> list[Chunk]:
    """The predictions that need no run."""
    return [Chunk(cell, overlay=overlay) for overlay in cell.applicable() if not overlay.given]


def _blocks(names: Iterable[str]) -> list[range]:
    """The blocks of replicates among the names of a cell's chunks, in order."""
    ends = (name.split("-") for name in names)
    found = [range(int(pair[0]), int(pair[1])) for pair in ends if len(pair) == 2 and all(map(str.isdecimal, pair))]
    # A name is believed only where a run may have given it.
    return sorted((block for block in found if 0 < len(block) <= BLOCK), key=lambda block: (block.start, block.stop))


def _gaps(known: Sequence[range], count: int) -> list[range]:
    """The replicates below `count` that no known block covers."""
    gaps, start = [], 0
    for block in known:
        if start < min(block.start, count):
            gaps.append(range(start, min(block.start, count)))
        start = max(start, block.stop)
    return [*gaps, range(start, count)] if start < count else gaps
