"""A user's own list of edges, from a file of text."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

TITLES = {
    "source",
    "target",
    "from",
    "to",
    "u",
    "v",
    "node1",
    "node2",
    "src",
    "dst",
    "i",
    "j",
    "a",
    "b",
    "head",
    "tail",
}


def read_edges(
    path: str | os.PathLike[str], *, needs_third: bool = False
) -> tuple[np.ndarray, list[str | int], np.ndarray | None]:
    """Pairs of places (m, 2), the labels of the nodes (n,), and the third column (m,) where it is needed.

    Labels are whole numbers where all of them are. They stand in their order, else in that of the file.

    Raises: FileNotFoundError; ValueError naming the line that is no edge.
    """
    rows: list[tuple[int, list[str]]] = []
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"file={os.fspath(path)!r} is no text; accepted: a list of edges, one a line") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"file={os.fspath(path)!r} does not exist; accepted: a list of edges") from None
    except IsADirectoryError:
        raise ValueError(f"file={os.fspath(path)!r} is a folder; accepted: a list of edges, one a line") from None
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.partition("#")[0].strip()
        if bare:
            mark = next((one for one in ",;\t" if one in bare), None)
            rows.append((number, [part.strip().strip('"') for part in bare.split(mark)]))
    if rows and {part.lower() for part in rows[0][1][:2]} <= TITLES:
        rows = rows[1:]
    if not rows:
        raise ValueError(f"file={os.fspath(path)!r} holds no edges; accepted: two names or numbers a line")
    columns = 3 if needs_third else 2
    for number, parts in rows:
        if len(parts) < columns or "" in parts[:columns]:
            accepted = "two names or numbers and a weight" if needs_third else "two names or numbers"
            raise ValueError(f"file={os.fspath(path)!r}: line {number} is no edge; accepted: {accepted} a line")
    names = list(dict.fromkeys(part for _, parts in rows for part in parts[:2]))
    whole = all(name.isdecimal() for name in names)
    labels: list[str | int] = sorted(map(int, names)) if whole else list(names)
    place = {str(label) if not whole else label: where for where, label in enumerate(labels)}
    pairs = [[place[int(part) if whole else part] for part in parts[:2]] for _, parts in rows]
    third = None
    if needs_third:
        try:
            third = np.array([float(parts[2]) for _, parts in rows])
        except ValueError:
            raise ValueError(
                f"file={os.fspath(path)!r} has a third column that holds no numbers; accepted: weights"
            ) from None
    return np.array(pairs), labels, third
