"""The figure of a diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvable.lab.figures.plot import FAINT, AnyMark, Axis, Band, Bar, Key, Look, Mark, Plot, Sheet
from solvable.lab.figures.theme import HUES

if TYPE_CHECKING:
    from solvable.bags.diagnosis.findings import Findings

_COLORS = {"attention": HUES[0], "pooled": HUES[1]}
_LEAST = 2e-4  # density


def draw(found: Findings) -> Any:
    """Left: densities of held-out tokens along the signal. Right: test error against training bags, where known."""
    from solvable.lab.figures import matplotlib

    return matplotlib.draw(sheet(found))


def sheet(found: Findings) -> Sheet:
    """The plots of a diagnosis."""
    title = "The model does not describe these data" if found.misfit.rejected else ""
    return Sheet([_tokens(found), *([] if found.measured is None else [_curves(found)])], title)


def _tokens(found: Findings) -> Plot:
    tokens = found.projections
    width = float(tokens.places[1] - tokens.places[0])
    positives, negatives = Look(HUES[0], opacity=0.35), Look(FAINT, "solid")
    edges = np.append(tokens.places - width / 2, tokens.places[-1] + width / 2)
    steps = np.append(tokens.negatives, tokens.negatives[-1])
    marks: list[AnyMark] = [
        Bar(tokens.places, tokens.positives, width, positives, "tokens of positives"),
        Mark(edges, steps, negatives, "tokens of negatives", stepped=True),
    ]
    keys = [Key("tokens of positives", positives), Key("tokens of negatives", negatives)]
    if np.isfinite(tokens.fitted).all():
        fitted = Look(HUES[0], "solid")
        marks.append(Mark(tokens.places, tokens.fitted, fitted, "fitted mixture"))
        keys.append(Key("fitted mixture", fitted))
    y = Axis("density", log=True, limits=(_LEAST, 1.0))
    return Plot(Axis("held-out token along the direction found / noise"), y, marks, keys)


def _curves(found: Findings) -> Plot:
    marks: list[AnyMark] = []
    keys, m = [], found.measured
    assert m is not None
    for name, color in _COLORS.items():
        label = "pooling" if name == "pooled" else name
        if found.predicted is not None:
            p = found.predicted
            error, spread = getattr(p, name), getattr(p, f"{name}_error")
            if np.isfinite(error).any():
                line = Look(color, "solid")
                marks.append(Band(p.bags, error - spread, error + spread, Look(color, opacity=0.15)))
                marks.append(Mark(p.bags, error, line, f"{label}, predicted"))
                keys.append(Key(f"{label}, predicted", line))
        points = Look(color, marker="circle" if name == "attention" else "square")
        bags, errors = np.asarray(m.bags, float), getattr(m, f"{name}_error")
        marks.append(Mark(bags, getattr(m, name), points, f"{label}, measured", np.asarray(errors)))
        keys.append(Key(f"{label}, measured", points))
    return Plot(Axis("training bags", log=True), Axis("test error", limits=(0.0, None)), marks, keys)
