"""A user's own list of edges, from a file of text."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import numpy as np

TITLES = [{"source", "target"}, {"from", "to"}, {"src", "dst"}, {"node1", "node2"}, {"head", "tail"}]


def read_edges(
    path: str | os.PathLike[str], *, needs_third: bool = False
) -> tuple[np.ndarray, list[str | int], np.ndarray | None]:
    """Pairs of places (m, 2), the labels of the nodes (n,), and the third column (m,) where it is needed.

    Labels are whole numbers in their order where all of them are, else names in the order of the file. Lines that begin
    with # are passed over; so is a first line of titles: source and target or the like, or words above numbers.

    Raises: FileNotFoundError; ValueError naming the file and the line that is no edge.
    """
    file = f"file={os.fspath(path)!r}"
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} does not exist; accepted: a list of edges, one a line") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise ValueError(f"{file} is no text; accepted: a list of edges, one a line") from None
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            mark = next((one for one in ",;\t" if one in re.sub('"[^"]*"', "", line)), None)
            parts = line.split() if mark is None else next(csv.reader([line], delimiter=mark))
            rows.append((number, [part.strip() for part in parts]))
    if rows and _is_title(rows[0][1][:2], [parts[:2] for _, parts in rows[1:]]):
        rows = rows[1:]
    if not rows:
        raise ValueError(f"{file} holds no edges; accepted: two names or numbers a line")
    for number, parts in rows:
        if len(parts) < (3 if needs_third else 2) or "" in parts[:2]:
            accepted = "two names or numbers" + (" and a weight" if needs_third else "")
            raise ValueError(f"{file}: line {number} is no edge; accepted: {accepted} a line")
    seen: dict[frozenset[str], int] = {}
    for number, parts in rows:
        edge = frozenset(parts[:2])
        if len(edge) == 1:
            raise ValueError(f"{file}: line {number} joins {parts[0]!r} to itself; accepted: edges between two nodes")
        if edge in seen:
            words = f"lines {seen[edge]} and {number} hold the same edge, {parts[0]!r} and {parts[1]!r}"
            raise ValueError(f"{file}: {words}; accepted: each edge once, in one direction")
        seen[edge] = number
    names = list(dict.fromkeys(part for _, parts in rows for part in parts[:2]))
    if all(map(_is_whole, names)):
        names.sort(key=int)
    place = {name: where for where, name in enumerate(names)}
    labels: list[str | int] = [int(name) for name in names] if all(map(_is_whole, names)) else list(names)
    pairs = np.array([[place[part] for part in parts[:2]] for _, parts in rows])
    if not needs_third:
        return pairs, labels, None
    try:
        return pairs, labels, np.array([float(parts[2]) for _, parts in rows])
    except ValueError:
        raise ValueError(f"{file} holds no numbers in its third column; accepted: weights there") from None


def _is_title(first: list[str], others: list[list[str]]) -> bool:
    if {part.lower() for part in first} in TITLES:
        return True
    return bool(others) and not any(map(_is_whole, first)) and all(_is_whole(one) for row in others for one in row)


def _is_whole(name: str) -> bool:
    return name.isdecimal() and str(int(name)) == name
