"""Do scores look standard normal? A normal quantile plot with the band that sorted normal draws keep to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from solvable.lab.comparing.agreement import Row, signed

EXACT, OTHERS = "exact claims", "asymptotic and heuristic claims"


def scores(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """The finite scores of exact claims, which should be standard normal, and of the others but bounds, by group.

    A bound is no equality: its score says how far it is kept, and belongs to no distribution.
    """
    found: dict[str, list[float]] = {EXACT: [], OTHERS: []}
    for row in rows:
        score = row.comparison.score
        if score is not None and np.isfinite(score) and row.claim != "bound":
            found[EXACT if row.calibrates else OTHERS].append(score)
    return {group: np.sort(values) for group, values in found.items() if values}


def band(count: int, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the sorted ones of `count` standard normal draws lie: the medians, and the ends of pointwise intervals.

    The i-th of n uniform draws in order is a beta variable with parameters i and n - i + 1.
    """
    place = np.arange(1, count + 1, dtype=float)
    tails = (0.5, (1 - level) / 2, (1 + level) / 2)
    middle, low, high = (special.ndtri(special.betaincinv(place, count - place + 1, tail)) for tail in tails)
    return middle, low, high


def introduction(found: dict[str, np.ndarray]) -> str:
    """How the plot is read, said before it."""
    if EXACT in found:
        return (
            "If theory and simulation agree and the errors are right, the z-scores of exact claims are standard "
            "normal: the points follow the line and stay in the band."
        )
    return (
        "The allowances for finite sizes make the z-scores of asymptotic and heuristic claims narrower than standard "
        "normal ones: the points are expected to rise less steeply than the line, which is there to compare."
    )


def sentences(found: dict[str, np.ndarray]) -> list[str]:
    """Number, mean and standard deviation of each group in words."""
    if not found:
        return ["No comparison has a z-score, so there is nothing to calibrate."]
    said = []
    for group, values in found.items():
        count = len(values)
        words = f"{group.capitalize()}: {count} z-score{'s' * (count > 1)}, mean {signed(values.mean(), 2)}"
        words += f", standard deviation {values.std(ddof=1):.2f}" if count > 1 else ""
        if group == EXACT and count > 1:
            _, low, high = band(count)
            outside = int(((values < low) | (values > high)).sum())
            words += f"; {count} independent standard normal ones would have mean 0 ± {count**-0.5:.2f} and standard "
            verb = "lies" if outside == 1 else "lie"
            words += f"deviation 1 ± {(2 * (count - 1)) ** -0.5:.2f}. {outside} {verb} outside the 95 % band"
        said.append(f"{words}.")
    if OTHERS in found and EXACT in found:
        said.append("The allowances for finite sizes make the scores of asymptotic and heuristic claims narrower.")
    if EXACT in found:
        said.append("Scores of one run are not independent of each other, so that the band is a guide and not a test.")
    else:
        said.append("No exact claim about something random was tested, so that nothing here should be standard normal.")
    return said
