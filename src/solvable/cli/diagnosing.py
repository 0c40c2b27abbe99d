"""`solvable diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from solvable.bags.container import Bags
from solvable.bags.reading import ParquetBags
from solvable.cli.call import Answer

FIGURES = (".png", ".pdf", ".svg")


def examine(
    file: str, out: str | None, curves: bool, bag: str, label: str | None, positive: str | None, groups: str | None
) -> Answer:
    """The diagnosis of the bags in a file, in words and as a document; `out` is where the figure goes."""
    if out is not None and Path(out).suffix.lower() not in FIGURES:
        raise ValueError(f"--out {out} is no figure; accepted: a name that ends in {', '.join(FIGURES)}")
    bags, together = _read(file, bag, label, groups)
    if bags.labels is None:
        missing = "an array labels" if _is_npz(file) else "a column label"
        raise ValueError(
            f"{file} lacks {missing}; accepted: one of two labels a bag (for Parquet, --label names their column)"
        )
    from solvable.bags.diagnosis import diagnose

    with Console(stderr=True).status("diagnosing"):  # shown on a terminal only
        found = diagnose(bags, positive=_class(bags.labels, positive), groups=together, curves=curves)
    parts = [Text(str(found))]
    document = found.document() | {"file": file, "figure": out}
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        found.figure().savefig(out, dpi=150)
        parts.append(Text(f"figure              {out}", overflow="fold"))
    return Answer(document, parts)


def _read(file: str, bag: str, label: str | None, groups: str | None) -> tuple[Bags, Any]:
    """The bags, and the group of each; a column of groups is no feature."""
    if _is_npz(file):
        bags = Bags.from_npz(file)
        if groups is None:
            return bags, None
        with np.load(file, allow_pickle=False) as arrays:
            if groups not in arrays.files:
                raise ValueError(f"--groups {groups} is no array of {file}; accepted: {', '.join(arrays.files)}")
            return bags, arrays[groups]
    if groups is None:
        return Bags.from_parquet(file, id=bag, label=label), None
    source = ParquetBags(file, id=bag, label=label)
    if groups not in source.dataset.schema.names:
        raise ValueError(
            f"--groups {groups} is no column of {file}; accepted: {', '.join(source.dataset.schema.names)}"
        )
    features = [name for name in source.features if name != groups]
    bags = Bags.from_parquet(file, id=bag, label=label, token_label=groups, features=features)
    each = np.asarray(bags.token_labels)
    first = each[bags.offsets[:-1]]
    if np.any(each != np.repeat(first, bags.lengths)):
        raise ValueError(f"--groups {groups} differs within a bag of {file}; accepted: one group a bag")
    return bags, first


def _class(labels: np.ndarray, name: str | None) -> Any:
    """The label that is spelled like the name; the name itself where none is, for `diagnose` to refuse."""
    if name is None:
        return None
    for label in np.unique(labels).tolist():
        if str(label) == name or (isinstance(label, float) and str(int(label)) == name and label.is_integer()):
            return label
    return name


def _is_npz(file: str) -> bool:
    return Path(file).suffix.lower() == ".npz"
