"""`solvable diagnose`."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from rich.text import Text

from solvable.bags.container import Bags
from solvable.cli.call import Answer
from solvable.lab.files import not_a_file, write_whole

FIGURES = (".png", ".pdf", ".svg")


def examine(file: str, out: str | None, curves: bool, bag: str, label: str | None) -> Answer:
    """The diagnosis of the bags in a file, in words and as a document; `out` is where the figure goes."""
    if out is not None and Path(out).suffix.lower() not in FIGURES:
        raise ValueError(f"--out {out} is no figure; accepted: a name that ends in {', '.join(FIGURES)}")
    if out is not None and (other := not_a_file(Path(out))):
        raise ValueError(f"--out {out} is {other}; accepted: the name of a file, or one that is free")
    bags = Bags.from_npz(file) if _is_npz(file) else Bags.from_parquet(file, id=bag, label=label)
    if bags.labels is None:
        missing = "an array labels" if _is_npz(file) else "a column label"
        raise ValueError(
            f"{file} lacks {missing}; accepted: one of two labels a bag (for Parquet, --label names their column)"
        )
    from solvable.bags.diagnosis import diagnose

    with Console(stderr=True).status("diagnosing"):  # shown on a terminal only
        found = diagnose(bags, bags.labels, curves=curves)
    parts = [Text(str(found))]
    document = found.document() | {"file": file, "figure": out}
    if out is not None:
        buffer = io.BytesIO()
        found.figure().savefig(buffer, format=Path(out).suffix[1:].lower(), dpi=150)
        write_whole(Path(out), buffer.getvalue())
        parts.append(Text(f"figure              {out}", overflow="fold"))
    return Answer(document, parts)


def _is_npz(file: str) -> bool:
    return Path(file).suffix.lower() == ".npz"
