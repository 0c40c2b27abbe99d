"""What is known in closed form of the limit: when a pair of neurons hits a jump, and the error of given positions."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc
from scipy import special

from solvable.lab.declare import float64, on_the_host
from solvable.networks.two_timescale.task import JUMPS, PiecewiseConstant, inside, targeted
from solvable.numerics.results import is_traced
from solvable.numerics.validation import real_array

COMPLETE = float(special.beta(2.0 / 3.0, 2.0 / 3.0))


@float64
def hit_time(left: Any, right: Any, jump: Any) -> Any:
    """The slow time at which the nearer of two neurons, at distances left and right of a jump, hits it.

    T = jump^-2 int_0^min (1 + t/(t^3 + c)^(1/3))^2 dt with c = |left^3 - right^3|, which is conserved; 4 left/jump^2 if
    both are equal (then both hit). With P = min/max, q^3 = 1 - P^3 and the incomplete beta function B the integral is
    max (P (1 + P)^2 - q (1 - q^2) - 2/3 q B(P^3; 2/3, 2/3)) (derived). Elementwise and differentiable, but where
    left = right, a cusp of infinite slope (arXiv:2304.09576; the integral is derived).

    Raises: ValueError for distances below 0, a jump of 0, and what is not finite.
    """
    given = {"left": left, "right": right, "jump": jump}
    traced = is_traced(left, right, jump)
    if not traced:
        for name, value in given.items():
            found = given[name] = np.asarray(real_array(name, value), np.float64)
            least = JUMPS[0] if name == "jump" else 0.0
            size = np.abs(found) if name == "jump" else found
            wrong = ~((size >= least) & (size <= JUMPS[1]))
            if wrong.any():
                accepted = "absolute values" if name == "jump" else "distances"
                raise ValueError(
                    f"{name} holds {found[wrong][0]:g}; accepted: {accepted} from {least:g} to {JUMPS[1]:g}"
                )
        try:
            np.broadcast_shapes(*map(np.shape, given.values()))
        except ValueError:
            shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in given.items())
            raise ValueError(f"left, right and jump have shapes {shapes}; accepted: shapes that broadcast") from None
    space = jnp if traced else np
    left, right, jump = (jnp.asarray(one, float) if traced else one for one in given.values())
    near, far = space.minimum(left, right), space.maximum(left, right)
    size = space.where(far > 0.0, far, 1.0)
    ratio = near / size
    cube = (far - near) / size * (1.0 + ratio * (1.0 + ratio))  # 1 - ratio^3, without its cancellation
    return far * integral(space, ratio, cube) / jump**2


def integral(space: Any, near: Any, c: Any) -> Any:
    """int_0^near (1 + t/(t^3 + c)^(1/3))^2 dt."""
    cubes = near**3 + c
    cubes = space.where(cubes > 0.0, cubes, 1.0)
    far, share = space.cbrt(cubes), c / cubes
    ratio, q = near / far, space.cbrt(share)
    # 1 - q^2 = 1 - (1 - ratio^3)^(2/3): what is small is never a difference
    small = -space.expm1(2.0 / 3.0 * space.log1p(-space.minimum(ratio**3, 0.5)))
    rest = space.where(share > 0.5, small, 1.0 - q * q)
    beta = COMPLETE * (special.betainc if space is np else betainc)(2.0 / 3.0, 2.0 / 3.0, near**3 / cubes)
    return far * (ratio * (1.0 + ratio) ** 2 - q * rest - 2.0 / 3.0 * q * beta)


def error(task: Any, positions: Any) -> Any:
    """int (f - f*)^2 of the best f that is constant on every cell between neurons: the sum of within-cell variances.

    positions (..., m) in [0, 1], in any order; no 1/2, no label noise.

    Raises: TypeError for another task; ValueError for positions outside of [0, 1].
    """
    task = targeted(task)
    on_the_host("error", task, positions)
    rows = np.asarray(real_array("positions", positions), np.float64)
    if rows.ndim == 0:
        raise ValueError("positions has shape (); accepted: (..., neurons)")
    inside(rows.ravel())
    found = cell_variance(task, np.sort(rows.reshape(-1, rows.shape[-1]), axis=1)).reshape(rows.shape[:-1])
    return float(found) if found.ndim == 0 else found


def cell_variance(task: PiecewiseConstant, rows: np.ndarray) -> np.ndarray:
    """The error (K,) of sorted rows (K, m)."""
    count, m = rows.shape
    edges = np.concatenate([rows, np.broadcast_to(task.positions, (count, len(task.positions)))], axis=1)
    order = np.argsort(edges, axis=1, kind="stable")
    edges = np.take_along_axis(edges, order, axis=1)
    lengths = np.diff(edges, axis=1, prepend=0.0, append=1.0)
    zero = np.zeros((count, 1), int)
    cell = np.concatenate([zero, np.cumsum(order < m, axis=1)], axis=1)
    value = task.values[np.concatenate([zero, np.cumsum(order >= m, axis=1)], axis=1)]
    place = (np.arange(count)[:, None] * (m + 1) + cell).ravel()
    total = count * (m + 1)
    first = np.searchsorted(place, np.arange(total))  # relative to its first piece a constant cell is exactly constant
    value = value.ravel() - value.ravel()[first][place]
    weight = lengths.ravel()
    size, moment = np.bincount(place, weight, total), np.bincount(place, weight * value, total)
    mean = moment / np.where(size > 0.0, size, 1.0)
    spread = np.bincount(place, weight * (value - mean[place]) ** 2, total)
    return spread.reshape(count, m + 1).sum(axis=1)
