"""A user's loss is what theory trusts: whether it is convex, and whether what it says of itself fits together."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.numerics.gaussian import FINE_NODES, FINE_WEIGHTS
from solvable.numerics.results import is_traced

STEP = 0.1
MARGINS = np.arange(-20.0, 20.0, STEP) + 0.0137  # off the places where users put kinks
SCORES = np.linspace(-9.3, 9.7, 39)
WIDTHS = np.array([1e-3, 0.1, 1.0, 10.0, 100.0])
GAUSSIAN = ((0.3, 1.0, 0.5), (-1.2, 2.0, 3.0), (2.1, 0.5, 0.1))  # (margin, spread, width)
TOLERANCE = 1e-5
NEAR = 1e-6

AVERAGES = ("prox_moments", "mean_prox_value", "slope_averages")
CHECKED = ("prox", *AVERAGES)

_PASSED: set[Any] = set()


def check(loss: Any, base: type) -> None:
    """Check a loss on margins between -20 and 20, once; silent for one that is made of traced values.

    What it inherits from `base` needs no check.

    Raises: ValueError naming `value` that is not finite or not convex, `slope`, `curvature` and `prox` that do not fit
    it, averages (`prox_moments`, ...) that differ from sums over nodes, a kink without an own `prox_moments`.
    """
    if is_traced(loss):
        return
    leaves, kind = jax.tree_util.tree_flatten(loss)
    try:
        known = hash((type(loss), kind, *(np.asarray(leaf).tobytes() for leaf in leaves)))
    except TypeError:
        known = None
    if known in _PASSED:
        return
    own = frozenset(name for name in CHECKED if getattr(type(loss), name) is not getattr(base, name))
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        found = {name: np.asarray(value) for name, value in _looked_at(loss, own).items()}
    complaint = _complaint(found)
    if complaint:
        raise ValueError(f"loss={type(loss).__name__} {complaint}")
    if known is not None:
        _PASSED.add(known)


def _complaint(found: dict[str, np.ndarray]) -> str:
    """What is wrong, as the rest of a sentence; empty for nothing."""
    for name in ("value", "slope", "curvature"):
        if found[name].shape != MARGINS.shape:
            return f"has a {name} of shape {found[name].shape} for margins {MARGINS.shape}; accepted: elementwise ones"
        if not np.all(np.isfinite(found[name])):
            place = MARGINS[~np.isfinite(found[name])][0]
            return f"has the {name} {found[name][place == MARGINS][0]} at t={place:.4g}; accepted: finite numbers"
    value, slope = found["value"], found["slope"]
    rises, rounding = np.diff(value) / STEP, 1e-13 * np.abs(value).max() / STEP
    falls = np.diff(rises) < -(1e-7 * np.abs(rises[1:]) + rounding)
    if falls.any():
        return f"is not convex at t={MARGINS[1:-1][falls][0]:.4g}; accepted: a value that is convex in the margin"
    slack = TOLERANCE * (1.0 + np.abs(slope)) + rounding
    wrong = (slope[:-1] > rises + slack[:-1]) | (slope[1:] < rises - slack[1:])
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        return (
            f"has the slope {slope[place]:.4g} at t={MARGINS[place]:.4g}, where its value rises by {rises[place]:.4g} "
            "a unit; accepted: the derivative of value"
        )
    off = np.abs(found["curvature"] - found["bend"]) > 1e-3 * (1.0 + np.abs(found["bend"]))
    if off.mean() > 0.05:
        place = int(np.flatnonzero(off)[0])
        return (
            f"has the curvature {found['curvature'][place]:.4g} at t={MARGINS[place]:.4g}, where its slope rises by "
            f"{found['bend'][place]:.4g} a unit; accepted: the derivative of slope"
        )
    if "prox" in found:
        complaint = _complaint_of_prox(found)
        if complaint:
            return complaint
    if np.any(found["jumps"] > NEAR * (1.0 + np.abs(slope).max())):
        place = found["places"][int(np.argmax(found["jumps"]))]
        if "prox_moments" not in found:
            return (
                f"has a kink at t={place:.4g} and no prox_moments of its own, and averages cannot be taken from its "
                "slope; accepted: a loss that overrides prox_moments, or one without a kink"
            )
    for name in filter(found.__contains__, AVERAGES):
        said, summed = found[name], found[f"{name}_summed"]
        far = ~(np.abs(said - summed) <= 1e-2 * (1.0 + np.abs(summed)))
        if far.any():
            place = tuple(np.argwhere(far)[0])
            return (
                f"has {name} {said[place]:.4g}, where a sum over nodes is {summed[place]:.4g}; accepted: the averages"
            )
    return ""


def _complaint_of_prox(found: dict[str, np.ndarray]) -> str:
    prox, below, pull, above = (found[name] for name in ("prox", "below", "pull", "above"))
    slack = TOLERANCE * (1.0 + np.abs(pull)) + 1e-12 / WIDTHS
    wrong = ~((pull >= below - slack) & (pull <= above + slack))
    moves = np.abs(found["moves"] - found["should"]) > 1e-3
    if wrong.any() or moves.mean() > 0.05:
        row, column = np.argwhere(wrong if wrong.any() else moves)[0]
        z, width, place = SCORES[row], WIDTHS[column], prox[row, column]
        if wrong.any():
            what = f"which leaves prox + V slope(prox) = z open by {width * abs(pull - below)[row, column]:.2g}"
        else:
            what = f"whose derivative by z is {found['moves'][row, column]:.3g}, not 1/(1 + V curvature)"
        return (
            f"has prox(z={z:.4g}, V={width:g}) = {place:.6g}, {what}; accepted: argmin_t value(t) + (t - z)^2/(2 V), "
            "or no prox, which is then solved for"
        )
    return ""


@eqx.filter_jit
def _looked_at(loss: Any, own: frozenset[str]) -> dict[str, Any]:
    t = jnp.asarray(MARGINS)
    found = {"value": loss.value(t), "slope": loss.slope(t), "curvature": loss.curvature(t)}
    found["bend"] = (loss.slope(t + NEAR) - loss.slope(t - NEAR)) / (2.0 * NEAR)

    def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
        low, high = ends
        middle = 0.5 * (low + high)
        at = loss.slope(middle)
        upper = loss.slope(high) - at > at - loss.slope(low)
        return jnp.where(upper, middle, low), jnp.where(upper, high, middle)

    low, high = jax.lax.fori_loop(0, 40, halve, (t[:-1], t[1:]))
    found |= {"places": high, "jumps": loss.slope(high) - loss.slope(low)}

    if "prox" in own:
        z, width = jnp.broadcast_arrays(jnp.asarray(SCORES)[:, None], jnp.asarray(WIDTHS)[None, :])
        prox, moves = jax.jvp(loss.prox, (z, width), (jnp.ones_like(z), jnp.zeros_like(z)))
        side = NEAR * (1.0 + jnp.abs(prox))
        below, above = loss.slope(prox - side), loss.slope(prox + side)
        # on a kink, where the two sides differ, the map does not move
        should = jnp.where(above - below > 1e-3, moves, 1.0 / (1.0 + width * loss.curvature(prox)))
        found |= {"prox": prox, "pull": (z - prox) / width, "below": below, "above": above}
        found |= {"moves": moves, "should": should}

    margin, spread, variance = jnp.asarray(np.array(GAUSSIAN).T)
    g, weight, shift = jnp.asarray(FINE_NODES)[:, None], jnp.asarray(FINE_WEIGHTS)[:, None], jnp.full_like(margin, 0.3)

    def summed(*values: Any) -> Any:
        return jnp.stack([jnp.sum(weight * value, axis=0) for value in values])

    score = margin[None, :] + spread[None, :] * g
    if "prox_moments" in own:
        p = (score - loss.prox(score, variance[None, :])) / variance[None, :]
        said = loss.prox_moments(margin, spread, variance, shift)
        found["prox_moments"] = jnp.stack([said.slope, said.slope_g, said.slope_sq])
        found["prox_moments_summed"] = summed(p, p * g, p * p)
    if "mean_prox_value" in own:
        found["mean_prox_value"] = loss.mean_prox_value(margin, spread, variance, shift)[None]
        found["mean_prox_value_summed"] = summed(loss.value(loss.prox(score, variance[None, :])))
    if "slope_averages" in own:
        slope = loss.slope(score)
        found["slope_averages"] = jnp.stack(jax.vmap(loss.slope_averages)(margin, spread))
        found["slope_averages_summed"] = summed(slope, slope * slope)
    return found
