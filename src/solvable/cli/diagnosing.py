"""`solvable diagnose`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from solvable.bags.container import Bags
from solvable.bags.reading import ParquetBags, beside_groups, groups_of
from solvable.cli.call import Answer
from solvable.lab.store.atomic import not_a_file, write_whole

FIGURES = (".png", ".pdf", ".svg")


def examine(
    file: str,
    out: str | None,
    curves: bool,
    bag: str | None,
    label: str | None,
    ignore: Sequence[str],
    positive: str | None,
    groups: str | None,
) -> Answer:
    """The diagnosis of the bags in a file, in words and as a document; `out` is where the figure goes."""
    if out is not None and Path(out).suffix.lower() not in FIGURES:
        raise ValueError(f"--out {out} is no figure; accepted: a name that ends in {', '.join(FIGURES)}")
    if out is not None and (other := not_a_file(Path(out))):
        raise ValueError(f"--out {out} is {other}; accepted: the name of a file, or one that is free")
    if _is_npz(file) and (bag is not None or label is not None or ignore):
        raise ValueError(f"{file} has no columns for --bag, --label and --ignore; accepted: them with Parquet")
    source, taken = None, {"id": bag or "bag", "label": label, "ignore": ignore}
    if not _is_npz(file):
        source = ParquetBags(file, **taken) if groups is None else beside_groups(file, groups, **taken)
    bags = Bags.from_npz(file) if source is None else source.read()
    if bags.labels is None:
        missing = "an array labels" if _is_npz(file) else "a column label"
        raise ValueError(
            f"{file} lacks {missing}; accepted: one of two labels a bag (for Parquet, --label names their column)"
        )
    from solvable.bags.diagnosis import diagnose

    with Console(stderr=True).status("diagnosing"):  # shown on a terminal only
        together = None if groups is None else groups_of(bags, file if source is None else source, groups)
        found = diagnose(bags, positive=_class(bags.labels, positive), groups=together, curves=curves)
    read = {"features": bags.feature_names, "coordinates": bags.coordinate_names}
    read |= {"unused": None if source is None else source.unused}
    parts = [Text(_said(bags.shape[1], **read)), Text(str(found))]
    document = found.document() | read | {"file": file, "figure": out}
    if out is not None:
        buffer = io.BytesIO()
        found.figure().savefig(buffer, format=Path(out).suffix[1:].lower(), dpi=150)
        write_whole(Path(out), buffer.getvalue())
        parts.append(Text(f"figure              {out}", overflow="fold"))
    return Answer(document, parts)


def _class(labels: np.ndarray, name: str | None) -> Any:
    """The label that is spelled like the name; the name itself where none is, for `diagnose` to refuse."""
    if name is None:
        return None
    for label in np.unique(labels).tolist():
        if str(label) == name or (isinstance(label, float) and label.is_integer() and str(int(label)) == name):
            return label
    return name


def _said(
    count: int, features: Sequence[str] | None, coordinates: Sequence[str] | None, unused: Sequence[str] | None
) -> str:
    """One line: which columns were taken for what."""
    line = f"features            {count}" + (f": {_shortened(features)}" if features else ", without names")
    line += f"; coordinates: {_shortened(coordinates)}" if coordinates else ""
    return line + (f"; unused: {_shortened(unused)}" if unused else "")


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 6 else [*names[:3], "...", names[-1]])


def _is_npz(file: str) -> bool:
    return Path(file).suffix.lower() == ".npz"
