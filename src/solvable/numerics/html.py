"""HTML by small functions: whatever is not markup already is escaped, so that no text can become part of the page."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

_VOID = ("img", "link", "meta")


class Markup(str):
    """Text that is HTML already and stands in a page as it is."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """One element. A child that is no `Markup` is escaped; a list of children is joined, None is left out.

    Attributes: `class_` is class, `aria_label` is aria-label; None and False are left out, True stands without a value.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        written.append(f" {attribute}" if value is True else f' {attribute}="{html.escape(str(value))}"')
    opened = f"<{name}{''.join(written)}>"
    return Markup(opened) if name in _VOID else Markup(f"{opened}{join(children)}</{name}>")


def join(children: Iterable[Any], between: str = "") -> Markup:
    """Children one after the other, escaped where they are no `Markup`."""
    return Markup(between.join(_one(child) for child in children if child is not None))


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    of: str = "",
    numbers: Iterable[str] = (),
    quiet: bool = False,
    most: int | None = None,
) -> Markup:
    """A table in a region that scrolls where it is too wide; the first column names its row.

    `of` tells its region from those of other tables with the same caption. The columns named in `numbers` are set flush
    right. A `quiet` caption is for those who hear the page: the heading above says the same to those who see it. Of
    more than `most` rows the first are shown, and the caption says so.
    """
    if most is not None and len(rows) > most:
        caption, rows = f"{caption} (the first {most} of {len(rows)})", rows[:most]
    right = ["number" if column in set(numbers) else None for column in columns]
    head = tag("tr", *(tag("th", name, scope="col", class_=kind) for name, kind in zip(columns, right, strict=True)))
    lines = []
    for row in rows:
        cells = [
            tag("th", cell, scope="row", class_=kind) if place == 0 else tag("td", cell, class_=kind)
            for place, (cell, kind) in enumerate(zip(row, right, strict=True))
        ]
        lines.append(tag("tr", *cells))
    title = tag("caption", tag("span", caption), class_="quiet" if quiet else None)
    body = tag("table", title, tag("thead", head), tag("tbody", *lines))
    return tag(
        "div", body, class_="scroll", tabindex=0, role="region", aria_label=f"{caption} ({of})" if of else caption
    )


def data_uri(kind: str, content: bytes) -> str:
    """Content as an address that needs no request."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def inline_json(document: Any) -> Markup:
    """JSON that can stand inside a script element whatever its texts are.

    Raises: ValueError for NaN and infinities, which are no JSON.
    """
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))  # ASCII: U+2028 and U+2029 are escaped
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _one(child: Any) -> str:
    if isinstance(child, Markup):
        return child
    if isinstance(child, list | tuple):
        return join(child)
    return html.escape(str(child))
