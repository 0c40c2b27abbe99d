"""Short tables for notebooks: HTML without colours of its own, every text escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], notes: Sequence[str] = ()) -> str:
    """A table under its caption, with a line for each note below it; the first column names its row."""
    head = "".join(f'<th scope="col">{_escaped(column)}</th>' for column in columns)
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{_escaped(cell)}</td>" for cell in others)
        lines.append(f'<tr><th scope="row">{_escaped(first)}</th>{cells}</tr>')
    title = f'<caption style="caption-side: top; text-align: left">{_escaped(caption)}</caption>'
    body = f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return body + "".join(f"<p>{_escaped(note)}</p>" for note in notes)


def _escaped(text: Any) -> str:
    return html.escape(str(text))
