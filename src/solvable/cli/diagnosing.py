"""`solvable diagnose`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from solvable.bags.columns import values
from solvable.bags.container import Bags
from solvable.bags.reading import ParquetBags
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
    source = None if _is_npz(file) else _source(file, bag or "bag", label, ignore, groups)
    bags = Bags.from_npz(file) if source is None else source.read()
    if bags.labels is None:
        missing = "an array labels" if _is_npz(file) else "a column label"
        raise ValueError(
            f"{file} lacks {missing}; accepted: one of two labels a bag (for Parquet, --label names their column)"
        )
    from solvable.bags.diagnosis import diagnose

    with Console(stderr=True).status("diagnosing"):  # shown on a terminal only
        together = None if groups is None else _groups(file, source, bags, groups)
        found = diagnose(bags, positive=_class(bags.labels, positive), groups=together, curves=curves)
    taken = {"features": bags.feature_names, "coordinates": bags.coordinate_names}
    taken |= {"unused": None if source is None else source.unused}
    parts = [Text(_said(bags.shape[1], **taken)), Text(str(found))]
    document = found.document() | taken | {"file": file, "figure": out}
    if out is not None:
        buffer = io.BytesIO()
        found.figure().savefig(buffer, format=Path(out).suffix[1:].lower(), dpi=150)
        write_whole(Path(out), buffer.getvalue())
        parts.append(Text(f"figure              {out}", overflow="fold"))
    return Answer(document, parts)


def _source(file: str, bag: str, label: str | None, ignore: Sequence[str], groups: str | None) -> ParquetBags:
    """The reader, for which a column of groups is no feature."""
    source = ParquetBags(file, id=bag, label=label, ignore=ignore)
    if groups is None:
        return source
    taken, there = source.taken, source.dataset.schema.names
    for part, name in (("names", taken.id), ("labels", taken.label)):
        if groups == name:
            raise ValueError(f"--groups {groups} {part} the bags of {file}; accepted: a column of what bags share")
    if groups not in there:
        raise ValueError(f"--groups {groups} is no column of {file}; accepted: {', '.join(there)}")
    kind = source.dataset.schema.field(groups).type
    if kind.num_fields:
        raise ValueError(f"--groups {groups} of {file} holds {kind}; accepted: numbers, words, flags or dates")
    return ParquetBags(file, id=bag, label=label, ignore=[*{*ignore, groups}])


def _groups(file: str, source: ParquetBags | None, bags: Bags, name: str) -> np.ndarray:
    """The group of each bag."""
    if source is None:
        with np.load(file, allow_pickle=False) as arrays:
            if name not in arrays.files:
                raise ValueError(f"--groups {name} is no array of {file}; accepted: {', '.join(arrays.files)}")
            try:
                return arrays[name]
            except ValueError:
                raise ValueError(
                    f"--groups {name} of {file} holds Python objects, which are never unpickled; accepted: numbers, "
                    "words or dates"
                ) from None
    table = source.dataset.to_table(columns=[source.taken.id, name])
    ids = values(table, source.taken.id, 0)
    held: dict[Any, Any] = {}
    for bag, group in zip(ids.tolist(), values(table, name, 0, ids).tolist(), strict=True):
        if held.setdefault(bag, group) != group:
            raise ValueError(f"--groups {name} differs within bag {str(bag)!r} of {file}; accepted: one group a bag")
    return np.array([held[bag] for bag in np.asarray(bags.ids).tolist()])


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
