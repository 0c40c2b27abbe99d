"""Figures in words and numbers: texts in plain characters, what a plot shows in sentences, the points behind it."""

from __future__ import annotations

import dataclasses
import math
import re
import textwrap
import unicodedata
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from solvable.lab.figures.plot import Axis, Bar, Field, Mark, Plot

_MATHEMATICS = {"times": "\N{MULTIPLICATION SIGN}", "infty": "∞", "pm": "±", "cdot": "·", "mathdefault": ""}
_SUPERSCRIPTS = str.maketrans("0123456789+-\N{MINUS SIGN}.n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻·ⁿ")
_SUBSCRIPTS = str.maketrans("0123456789ijknt", "₀₁₂₃₄₅₆₇₈₉ᵢⱼₖₙₜ")


@dataclasses.dataclass(frozen=True)
class Points:
    """What one mark shows, for tables: texts of x, of y, and of the error or of the value (a map), point by point."""

    label: str
    points: Sequence[tuple[str, str, str]]
    value: bool = False


def text(words: str) -> str:
    """A text of Matplotlib in plain characters: simple formulas between dollar signs become Unicode."""
    return re.sub(r"(?<!\\)\$(.*?)(?<!\\)\$", lambda found: _formula(found[1]), words).replace(r"\$", "$")


def number(value: float) -> str:
    """A number with four digits, as every table and label of a report shows it."""
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def place_name(axis: Axis, value: Any) -> str:
    """A coordinate as readers see it: the name of the tick there, or its number."""
    named = None if axis.names is None or axis.log else axis.names.get(float(value))
    return number(float(value)) if named is None else text(named)


def finite_list(values: Any) -> list[float | None]:
    """Numbers as strict JSON can hold them: None where there is none."""
    return [value if math.isfinite(value) else None for value in np.asarray(values, dtype=float).tolist()]


def inert(words: str) -> str:
    """A text that Plotly shows as it is: neither its tags nor its templates are read in it."""
    return escape(words, quote=False).replace("%", "&#37;")


def wrapped(words: str, width: int) -> str:
    """A text in lines of about so many letters, for Plotly."""
    return "<br>".join(map(inert, textwrap.wrap(words, width, break_long_words=False)))


def points(plot: Plot) -> list[Points]:
    """The numbers of every mark of a plot that shows some; the points of a map row by row."""
    found = []
    for mark in plot.marks:
        if isinstance(mark, Field):
            found.append(
                Points(
                    text(mark.label) or "value",
                    [
                        (place_name(plot.x, mark.x[j]), place_name(plot.y, mark.y[i]), number(float(mark.z[i, j])))
                        for i, j in np.ndindex(*mark.z.shape)
                        if np.isfinite(mark.z[i, j])
                    ],
                    value=True,
                )
            )
        elif isinstance(mark, Mark | Bar) and not (isinstance(mark, Mark) and mark.of in ("guide", "edges")):
            y = mark.y if isinstance(mark, Mark) else mark.height
            error = mark.error if isinstance(mark, Mark) else None
            found.append(
                Points(
                    text(mark.label),
                    [
                        (
                            place_name(plot.x, a),
                            place_name(plot.y, b),
                            "" if error is None or not np.isfinite(error[i]) else f"{error[i]:.2g}",
                        )
                        for i, (a, b) in enumerate(zip(mark.x, y, strict=True))
                        if np.isfinite(b)
                    ],
                )
            )
    return found


def description(plot: Plot) -> str:
    """A plot in sentences, for those who do not see it."""
    parts = [f"{text(plot.title)}." if plot.title else ""]
    drawn = points(plot)
    for letter, axis in (("x", plot.x), ("y", plot.y)):
        if axis.hidden:
            continue
        kind = ", logarithmic" if axis.log else ""
        names = f", {', '.join(map(text, axis.names.values()))}" if axis.names is not None else ""
        parts.append(f"{letter}: {text(axis.label) or letter}{kind}{names}.")
    for one in drawn:
        count = len(one.points)
        if one.value:
            values = [float(point[2].replace("\N{MINUS SIGN}", "-")) for point in one.points]
            spread = f" from {number(min(values))} to {number(max(values))}" if values else ""
            parts.append(f"Map of {one.label} at {count} points{spread}.")
        elif count:
            errors = " with error bars" if any(point[2] for point in one.points) else ""
            ends = f"{one.points[0][1]} at {one.points[0][0]}"
            ends += f" to {one.points[-1][1]} at {one.points[-1][0]}" if count > 1 else ""
            parts.append(f"{one.label or 'Series'}: {count} point{'s' * (count > 1)}{errors}, {ends}.")
    return " ".join(part for part in parts if part)


def _formula(inside: str) -> str:
    def letter(found: re.Match[str]) -> str:
        name = found[1]
        case = "CAPITAL" if name[0].isupper() else "SMALL"
        greek = "LAMDA" if name.lower() == "lambda" else name.upper()
        try:
            return unicodedata.lookup(f"GREEK {case} LETTER {greek}")
        except KeyError:
            return _MATHEMATICS.get(name, name)

    inside = re.sub(r"\\([A-Za-z]+)", letter, inside)
    inside = re.sub(r"\^(\{[^{}]*\}|.)", lambda found: found[1].strip("{}").translate(_SUPERSCRIPTS), inside)
    inside = re.sub(r"_(\{\d+\}|[\dijknt])", lambda found: found[1].strip("{}").translate(_SUBSCRIPTS), inside)
    return re.sub(r"[{}\\]", "", inside)
