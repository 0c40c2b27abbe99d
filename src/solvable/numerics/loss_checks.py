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
    it, averages (`prox_moments`, ...) that differ from sums over nodes, a kink without an own `prox_moments`; and what
    raises or is no array of real numbers of the right shape. All tolerances are relative to the size of the slope.
    """
    if is_traced(loss):
        return
    leaves, kind = jax.tree_util.tree_flatten(loss)
    # not its hash: what a loss is made of is kept, lest another object takes its address
    known: Any = (type(loss), kind, *(np.asarray(leaf).tobytes() for leaf in leaves))
    try:
        if known in _PASSED:
            return
    except TypeError:  # it has no hash
        known = None
    own = frozenset(name for name in CHECKED if getattr(type(loss), name) is not getattr(base, name))
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        _refuse_what_cannot_be_called(loss, base, own)
        found = {name: np.asarray(value) for name, value in _looked_at(loss, own).items()}
    complaint = _complaint(found)
    if complaint:
        raise ValueError(f"loss={type(loss).__name__} {complaint}")
    if known is not None:
        _PASSED.add(known)


def _refuse_what_cannot_be_called(loss: Any, base: type, own: frozenset[str]) -> None:
    t, scores, mean = jnp.asarray(MARGINS), jnp.ones((3, 5)), jnp.zeros(())
    shapes = {"value": (t,), "slope": (t,), "curvature": (t,), "prox": (scores,) * 2, "prox_moments": (scores,) * 4}
    for name, arguments in (shapes | {"mean_prox_value": (scores,) * 4, "slope_averages": (mean,) * 2}).items():
        if name in CHECKED and name not in own:
            continue
        accepted = f"accepted: a {name} made of functions of jax.numpy, elementwise and real"
        try:
            said = jax.eval_shape(getattr(loss, name), *arguments)
        except Exception as error:
            why = f"{type(error).__name__} ({' '.join(str(error).split())[:80]})"
            raise ValueError(f"loss={type(loss).__name__} raises {why} in {name}; {accepted}") from error
        wanted = t if name == "value" else jax.eval_shape(getattr(base, name), loss, *arguments)
        if _kinds(said) != _kinds(wanted):
            kinds = " and ".join(dict.fromkeys(f"shape {shape} and dtype {dtype}" for shape, dtype in _kinds(said)[1]))
            what = f"of {kinds or type(said).__name__} for arguments of shape {arguments[0].shape} and dtype float64"
            raise ValueError(f"loss={type(loss).__name__} has a {name} {what}; {accepted}")


def _kinds(tree: Any) -> tuple[Any, list[Any]]:
    leaves, structure = jax.tree_util.tree_flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _complaint(found: dict[str, np.ndarray]) -> str:
    """What is wrong, as the rest of a sentence; empty for nothing."""
    for name in ("value", "slope", "curvature"):
        if not np.all(np.isfinite(found[name])):
            place = MARGINS[~np.isfinite(found[name])][0]
            return f"has the {name} {found[name][place == MARGINS][0]} at t={place:.4g}; accepted: finite numbers"
    size = found["size"]
    value, slope, curvature, bend = (found[name] / size for name in ("value", "slope", "curvature", "bend"))
    # numbers below the least normal one are flushed to zero
    flushed = np.finfo(np.float64).tiny / size
    rounding = (1e-13 * np.abs(value).max() + flushed) / STEP
    rises = np.diff(value) / STEP
    falls = np.diff(rises) < -(1e-7 * np.abs(rises[1:]) + rounding)
    if falls.any():
        if np.diff(rises)[falls].min() > -1e-6 * np.abs(value).max() / STEP:
            return "is convex up to the rounding of single precision; accepted: a value in the precision of its margin"
        return f"is not convex at t={MARGINS[1:-1][falls][0]:.4g}; accepted: a value that is convex in the margin"
    slack = TOLERANCE * (1.0 + np.abs(slope)) + rounding
    wrong = (slope[:-1] > rises + slack[:-1]) | (slope[1:] < rises - slack[1:])
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        return (
            f"has the slope {size * slope[place]:.4g} at t={MARGINS[place]:.4g}, where its value rises by "
            f"{size * rises[place]:.4g} a unit; accepted: the derivative of value"
        )
    off = np.abs(curvature - bend) > 1e-3 * (1.0 + np.abs(bend)) + flushed / NEAR
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
    if np.any(found["jumps"] / size > NEAR * (1.0 + np.abs(slope).max())):
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
    size, prox = found["size"], found["prox"]
    below, pull, above = (found[name] / size for name in ("below", "pull", "above"))
    slack = TOLERANCE * (1.0 + np.abs(pull)) + 1e-12 / WIDTHS
    wrong = ~((pull >= below - slack) & (pull <= above + slack))
    moves = np.abs(found["moves"] - found["should"]) > 1e-3
    if wrong.any() or moves.mean() > 0.05:
        row, column = np.argwhere(wrong if wrong.any() else moves)[0]
        z, width, place = SCORES[row], WIDTHS[column] / size, prox[row, column]
        if wrong.any():
            what = (
                f"which leaves prox + V slope(prox) = z open by {WIDTHS[column] * abs(pull - below)[row, column]:.2g}"
            )
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
    slopes = jnp.abs(found["slope"])
    size = jnp.nanmedian(jnp.where((slopes > 0.0) & jnp.isfinite(slopes), slopes, jnp.nan))
    found["size"] = size = jnp.where(size > 0.0, size, 1.0)
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
        z, width = jnp.broadcast_arrays(jnp.asarray(SCORES)[:, None], jnp.asarray(WIDTHS)[None, :] / size)
        prox, moves = jax.jvp(loss.prox, (z, width), (jnp.ones_like(z), jnp.zeros_like(z)))
        side = NEAR * (1.0 + jnp.abs(prox))
        below, above = loss.slope(prox - side), loss.slope(prox + side)
        # on a kink, where the two sides differ, the map does not move
        should = jnp.where(above - below > 1e-3 * size, moves, 1.0 / (1.0 + width * loss.curvature(prox)))
        found |= {"prox": prox, "pull": (z - prox) / width, "below": below, "above": above}
        found |= {"moves": moves, "should": should}

    margin, spread, variance = jnp.asarray(np.array(GAUSSIAN).T)
    variance = variance / size
    g, weight, shift = jnp.asarray(FINE_NODES)[:, None], jnp.asarray(FINE_WEIGHTS)[:, None], jnp.full_like(margin, 0.3)

    def summed(*values: Any) -> Any:
        return jnp.stack([jnp.sum(weight * value, axis=0) for value in values])

    score = margin[None, :] + spread[None, :] * g
    if "prox_moments" in own:
        p = (score - loss.prox(score, variance[None, :])) / variance[None, :]
        said = loss.prox_moments(margin, spread, variance, shift)
        found["prox_moments"] = jnp.stack([said.slope, said.slope_g, said.slope_sq / size]) / size
        found["prox_moments_summed"] = summed(p, p * g, p * (p / size)) / size
    if "mean_prox_value" in own:
        found["mean_prox_value"] = loss.mean_prox_value(margin, spread, variance, shift)[None] / size
        found["mean_prox_value_summed"] = summed(loss.value(loss.prox(score, variance[None, :]))) / size
    if "slope_averages" in own:
        slope, (mean, square) = loss.slope(score) / size, jax.vmap(loss.slope_averages)(margin, spread)
        found["slope_averages"] = jnp.stack([mean, square / size]) / size
        found["slope_averages_summed"] = summed(slope, slope * slope)
    return found
