"""How a picture of matplotlib looks, in Plotly's and HTML's terms: lines, markers, legend keys, texts, numbers."""

from __future__ import annotations

import dataclasses
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np
from matplotlib.category import StrCategoryLocator
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

PIXELS = 96 / 72  # a point of matplotlib in pixels of a page
_DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
_STEPS = {"steps": "vh", "steps-pre": "vh", "steps-mid": "hvh", "steps-post": "hv"}
_SYMBOLS = {
    "o": "circle",
    ".": "circle",
    "s": "square",
    "^": "triangle-up",
    "v": "triangle-down",
    "<": "triangle-left",
    ">": "triangle-right",
    "P": "cross",
    "X": "x",
    "D": "diamond",
    "d": "diamond-tall",
    "*": "star",
    "p": "pentagon",
    "h": "hexagon",
    "+": "cross-thin",
    "x": "x-thin",
    "_": "line-ew",
    "|": "line-ns",
}
_MATHEMATICS = {"times": "\N{MULTIPLICATION SIGN}", "infty": "∞", "pm": "±", "cdot": "·", "mathdefault": ""}
_LARGER = 1.3  # a marker for a page that is read from farther away than a printed column
_THIN = ("cross-thin", "x-thin", "line-ew", "line-ns")
_SUPERSCRIPTS = str.maketrans("0123456789+-\N{MINUS SIGN}.n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻·ⁿ")


@dataclasses.dataclass(frozen=True)
class Key:
    """One entry of a legend; `symbol` is Plotly's name of the marker, None without one, `dash` None without a line."""

    label: str
    color: str
    dash: str | None
    width: float
    symbol: str | None
    hollow: bool
    opacity: float = 1.0


def text(words: str) -> str:
    """A text of matplotlib in plain characters: simple formulas between dollar signs become Unicode."""
    return re.sub(r"(?<!\\)\$(.*?)(?<!\\)\$", lambda found: _formula(found[1]), words).replace(r"\$", "$")


def number(value: float) -> str:
    """A number with four digits, as every table and label of a report shows it."""
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def line_look(line: Line2D) -> dict[str, Any]:
    """Plotly's mode, line and marker of a line of matplotlib."""
    style = str(line.get_linestyle())
    symbol = _SYMBOLS.get(str(line.get_marker()))
    color = to_hex(line.get_color())
    found: dict[str, Any] = {
        "mode": "+".join((["lines"] if style in _DASHES else []) + (["markers"] if symbol else [])) or "none",
        "line": {
            "color": color,
            "width": round(float(line.get_linewidth()) * PIXELS, 2),
            "dash": _DASHES.get(style, "solid"),
            "shape": _STEPS.get(str(line.get_drawstyle()), "linear"),
        },
    }
    if symbol:
        scale = PIXELS * _LARGER * {".": 0.6, "^": 1.25, "v": 1.25}.get(str(line.get_marker()), 1.0)
        size: Any = round(float(line.get_markersize()) * scale, 2)
        edge, face = to_hex(line.get_markeredgecolor()), to_hex(line.get_markerfacecolor())
        width = round(float(line.get_markeredgewidth()) * PIXELS, 2)
        every = line.get_markevery()
        if isinstance(every, int) and every > 1:
            size = [size if i % every == 0 else 0 for i in range(len(np.atleast_1d(line.get_xdata())))]
        found["marker"] = {
            "symbol": symbol,
            "size": size,
            "color": face,
            "opacity": 1,
            "line": {"color": edge, "width": max(width, 1.5) if symbol in _THIN else width},
        }
    return found


def keys(found: Legend, labels: Mapping[str, Any]) -> list[Key]:
    """The entries of a legend; `labels` gives the artist to show where the legend's own handle is a stand-in."""
    entries = []
    for handle, words in zip(found.legend_handles, found.get_texts(), strict=True):
        shown = labels.get(words.get_text(), handle)
        label = text(words.get_text())
        if isinstance(shown, Line2D):
            look = line_look(shown)
            dash = look["line"]["dash"] if "lines" in look["mode"] else None
            marker = look.get("marker")
            symbol, hollow = (marker["symbol"], marker["color"] == "#ffffff") if marker else (None, False)
            entries.append(Key(label, look["line"]["color"], dash, look["line"]["width"], symbol, hollow))
        else:
            picked = shown.get_edgecolor() if isinstance(shown, Collection) else getattr(shown, "get_facecolor", list)()
            color = to_hex(np.reshape(picked, (-1, 4))[0].tolist()) if len(picked) else "#8a8a8a"
            opacity = float(np.reshape(picked, (-1, 4))[0, 3]) if len(picked) else 1.0
            entries.append(Key(label, color, None, 1.0, "square", False, opacity))
    return entries


def label_of(artist: Any) -> str:
    """The label of an artist in plain characters, empty where it was given none."""
    label = str(artist.get_label() or "")
    return "" if label.startswith("_") else text(label)


def tick_names(axis: Any) -> dict[float, str]:
    """The texts at the ticks of an axis with named ticks; nothing where the ticks are numbers."""
    if not isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator):
        return {}
    ticks = [float(tick) for tick in axis.get_ticklocs()]
    names = [text(name) for name in axis.get_major_formatter().format_ticks(ticks)]
    numbers = all(_is_number(name, tick) for tick, name in zip(ticks, names, strict=True))
    return {} if numbers else dict(zip(ticks, names, strict=True))


def _is_number(name: str, value: float) -> bool:
    try:
        return math.isclose(float(name.replace("\N{MINUS SIGN}", "-")), value, rel_tol=1e-3, abs_tol=1e-12)
    except ValueError:
        return False


def place_name(names: Mapping[float, str], value: float) -> str:
    """A coordinate as readers see it: the name of the tick there (series may stand a little aside), or its number."""
    tick = min(names, key=lambda place: abs(place - value), default=np.nan)
    near = abs(tick - value) <= 0.04 * (max(names) - min(names)) if names else False
    return names.get(tick) or number(value) if near else number(value)


def centres(edges: np.ndarray) -> np.ndarray:
    """The points of a map from its edges: where the edges lie midway between points, those, else the middles."""
    points = [(edges[0] + edges[1]) / 2]
    for edge in edges[1:-1]:
        points.append(2 * edge - points[-1])
    found = np.asarray(points)
    midway = np.all((edges[:-1] < found) & (found < edges[1:])) and np.isclose(edges[-2] + edges[-1], 2 * found[-1])
    return np.round(found, 12) if midway else (edges[:-1] + edges[1:]) / 2


def broken(pieces: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of lines as one, with a gap between them."""
    gap = np.full((1, 2), np.nan)
    joined = [part for piece in pieces for part in (np.asarray(piece, dtype=float), gap)][:-1]
    x, y = (np.concatenate(joined) if joined else np.empty((0, 2))).T
    return x, y


def finite_list(values: Any) -> list[float | None]:
    """Numbers as strict JSON can hold them: None where there is none."""
    return [value if math.isfinite(value) else None for value in np.asarray(values, dtype=float).tolist()]


def inert(words: str) -> str:
    """A text that Plotly shows as it is: neither its tags nor its templates are read in it."""
    return escape(words, quote=False).replace("%", "&#37;")


def wrapped(words: str, width: int) -> str:
    """A text in lines of about so many letters, for Plotly."""
    lines: list[str] = []
    for word in words.split():
        if lines and len(lines[-1]) + len(word) < width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "<br>".join(inert(line) for line in lines)


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
    return re.sub(r"[{}\\]", "", inside)
