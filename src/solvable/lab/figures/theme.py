"""One look for every figure: colours that all kinds of colour vision tell apart, fonts, light and dark grounds."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from solvable.lab.figures.plot import FAINT, INK

# Okabe and Ito's colours in an order that keeps neighbours apart for every kind of colour vision, yellow left out.
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
WRONG = "#b00020"
SEQUENTIAL, DIVERGING = "viridis", "PuOr_r"


@dataclasses.dataclass(frozen=True)
class Theme:
    """The colours of a ground, of what is written on it, and of what should not be looked at first."""

    ground: str
    ink: str
    faint: str

    @functools.lru_cache(maxsize=256)  # noqa: B019 (two instances that live as long as the module)
    def color(self, name: str) -> str:
        """A colour on this ground: made light enough to be seen on a dark one."""
        if name in (INK, FAINT):
            return self.ink if name == INK else self.faint
        least = 4 * (_luminance(self.ground) + 0.05) - 0.05
        if _luminance(self.ground) > 0.5:
            return name
        shares = (lighter(name, share / 20) for share in range(21))
        return next((color for color in shares if _luminance(color) >= least), "#ffffff")

    def style(self) -> Any:
        """The settings of Matplotlib."""
        sizes = {"font.size": 7.5, "axes.labelsize": 8, "axes.titlesize": 8, "legend.fontsize": 7}
        ticks = {"major.width": 0.6, "minor.width": 0.4, "major.size": 3, "minor.size": 1.6, "labelsize": 7}
        ticks |= {"color": self.ink}
        return {
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "mathtext.fontset": "dejavusans",
            "axes.linewidth": 0.6,
            "axes.edgecolor": self.ink,
            "axes.labelcolor": self.ink,
            "axes.facecolor": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "figure.facecolor": self.ground,
            "savefig.facecolor": "auto",
            "text.color": self.ink,
            "svg.fonttype": "none",
            "svg.hashsalt": "solvable",
            "pdf.fonttype": 42,
            **sizes,
            **{f"{axis}tick.{key}": value for axis in "xy" for key, value in ticks.items()},
        }


THEMES = {"light": Theme("#ffffff", "#222222", "#8a8a8a"), "dark": Theme("#16181c", "#e4e4e4", "#969696")}


def named(name: str) -> Theme:
    """The theme of a name.

    Raises: ValueError for another name.
    """
    if name not in THEMES:
        raise ValueError(f"theme={name!r} is not a theme; accepted: {', '.join(map(repr, THEMES))}")
    return THEMES[name]


def ordered(place: int, count: int) -> str:
    """A step on a perceptually ordered scale, its faint end left out."""
    import matplotlib
    from matplotlib.colors import to_hex

    return to_hex(matplotlib.colormaps[SEQUENTIAL](0.02 + 0.74 * place / max(count - 1, 1)))


def lighter(color: str, share: float) -> str:
    """A colour, mixed with so much white."""
    return "#" + "".join(f"{round(channel + (255 - channel) * share):02x}" for channel in _channels(color))


def _channels(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue


def _luminance(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in _channels(color))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
