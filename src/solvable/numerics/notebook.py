"""Short tables for notebooks: HTML without colours of its own, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from solvable.numerics.html import join, tag


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], notes: Sequence[str] = ()) -> str:
    """A table under its caption, with a line for each note below it; the first column names its row."""
    head = tag("tr", [tag("th", column, scope="col") for column in columns])
    lines = [tag("tr", tag("th", first, scope="row"), [tag("td", cell) for cell in others]) for first, *others in rows]
    title = tag("caption", caption, style="caption-side: top; text-align: left")
    body = tag("table", title, tag("thead", head), tag("tbody", lines))
    return join([body, *(tag("p", note) for note in notes)])
