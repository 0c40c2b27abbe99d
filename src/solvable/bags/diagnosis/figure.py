"""The figure of a diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from solvable.bags.diagnosis.findings import Findings

ATTENTION, POOLING, NEUTRAL = "#0072b2", "#d55e00", "#777777"


def draw(found: Findings) -> Any:
    """Left: densities of held-out tokens along the signal. Right: test error against training bags, where known."""
    from matplotlib.figure import Figure

    panels = 1 if found.measured is None else 2
    figure = Figure(figsize=(4.6 * panels, 3.6), layout="constrained")
    axes = np.atleast_1d(np.asarray(figure.subplots(1, panels)))
    _tokens(found, axes[0])
    if found.measured is not None:
        _curves(found, axes[1])
    if found.misfit.rejected:
        figure.suptitle("the model does not describe these data", fontsize="medium", color="#b00020")
    return figure


def _tokens(found: Findings, axes: Any) -> None:
    tokens = found.projections
    width = tokens.places[1] - tokens.places[0]
    axes.bar(tokens.places, tokens.positives, width, color=ATTENTION, alpha=0.35, label="tokens of positives")
    axes.step(tokens.places, tokens.negatives, where="mid", color=NEUTRAL, label="tokens of negatives")
    if np.isfinite(tokens.fitted).all():
        axes.plot(tokens.places, tokens.fitted, color=ATTENTION, label="fitted mixture")
    axes.set_yscale("log")
    axes.set_ylim(2e-4, 1.0)
    axes.set_xlabel("held-out token along the direction found / noise")
    axes.set_ylabel("density")
    axes.legend(frameon=False, fontsize="small")


def _curves(found: Findings, axes: Any) -> None:
    for name, colour in (("attention", ATTENTION), ("pooled", POOLING)):
        label = "pooling" if name == "pooled" else name
        if found.predicted is not None:
            p = found.predicted
            error, spread = getattr(p, name), getattr(p, f"{name}_error")
            if np.isfinite(error).any():
                axes.plot(p.bags, error, color=colour, label=f"{label}, predicted")
                axes.fill_between(p.bags, error - spread, error + spread, color=colour, alpha=0.15, linewidth=0)
        m = found.measured
        assert m is not None
        style = {"fmt": "o" if name == "attention" else "s", "capsize": 2}
        axes.errorbar(
            m.bags, getattr(m, name), getattr(m, f"{name}_error"), color=colour, label=f"{label}, measured", **style
        )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("training bags")
    axes.set_ylabel("test error")
    axes.legend(frameon=False, fontsize="small")
