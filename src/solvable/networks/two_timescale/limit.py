"""The limit of fast weights and steep sigmoids: f is the mean of f* on every cell between neurons, which move slowly.

A neuron in a piece of value c, whose left and right cells have the means p and q, moves with u' = (q - c)^2 - (c - p)^2
in slow time, minus the gradient of the error. A neuron on a jump rests while the velocity just left of it is >= 0 and
that just right of it <= 0; else it leaves. Nothing collides: neurons repel as a cell between them shrinks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc
from scipy import special
from scipy.integrate import DOP853
from scipy.optimize import brentq

from solvable.lab.declare import float64, on_the_host, recorded_times
from solvable.networks.two_timescale.task import PiecewiseConstant, inside, targeted
from solvable.numerics.results import is_traced
from solvable.numerics.validation import real_array

COMPLETE = float(special.beta(2.0 / 3.0, 2.0 / 3.0))
ROUNDING = 4e-16  # of a difference of two positions in [0, 1]
RTOL, ATOL = 1e-11, 1e-13
STILL = 1e-12  # velocities below this, in units of the largest jump squared, are none
MOST_STEPS = 100_000


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
            wrong = ~np.isfinite(found) | ((found == 0.0) if name == "jump" else (found < 0.0))
            if wrong.any():
                accepted = "numbers that are not 0" if name == "jump" else "distances >= 0"
                raise ValueError(f"{name} holds {found[wrong][0]:g}; accepted: finite {accepted}")
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
    return far * _integral(space, ratio, cube) / jump**2


def _integral(space: Any, near: Any, c: Any) -> Any:
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
    found = _error(task, np.sort(rows.reshape(-1, rows.shape[-1]), axis=1)).reshape(rows.shape[:-1])
    return float(found) if found.ndim == 0 else found


def _error(task: PiecewiseConstant, rows: np.ndarray) -> np.ndarray:
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


class _Record(NamedTuple):
    """Where some neurons are from `since` to `until`, as a function of times."""

    since: float
    until: np.ndarray
    neurons: np.ndarray
    of: Callable[[np.ndarray], np.ndarray]


class LimitFlow:
    """A path of the limit flow: see `limit_flow`. `final` (m,) are the positions in the end, `covered` (jump,) flags."""

    def __init__(self, task: PiecewiseConstant, positions: np.ndarray) -> None:
        self.task, self.start = task, positions
        # equal neurons have equal gradients: they are one
        self._unique, self._place = np.unique(positions, return_inverse=True)
        path = _Path(task, self._unique)
        self._records = path.records
        self.hit_times: np.ndarray = path.hits
        self.covered = np.array([any(one == k and two == k + 1 for one, two in path.sides()) for k in range(path.n)])
        self.final = np.array(path.places[1:-1])[self._place]
        self.final_error = 0.0 if self.covered.all() else float(_error(task, np.array([path.places[1:-1]]))[0])
        self.valid = bool(np.all(np.histogram(positions, [0.0, *task.positions, 1.0])[0] >= 2))

    def at(self, times: Any) -> np.ndarray:
        """The positions (K, m) at slow times (K,), nondecreasing, in the order of the start."""
        return self._sorted(recorded_times(times))[:, self._place]

    def error(self, times: Any) -> np.ndarray:
        """The error (K,) at slow times (K,), without the floor of the width."""
        return _error(self.task, self._sorted(recorded_times(times)))

    def bias(self, times: Any) -> np.ndarray:
        """The bias (K,) at slow times (K,): the mean of the first cell."""
        return self._means(times)[:, 0]

    def outer(self, times: Any) -> np.ndarray:
        """The outer weights (K, m) at slow times (K,): the means of the right cells minus those of the left ones."""
        return (np.diff(self._means(times), axis=1) / np.bincount(self._place))[:, self._place]

    def _means(self, times: Any) -> np.ndarray:
        """The means of f* on the cells; where one is empty, f* there."""
        places = self._sorted(recorded_times(times))
        edges = np.pad(places, ((0, 0), (1, 1)), constant_values=((0.0, 0.0), (0.0, 1.0)))
        beyond = np.maximum(edges[..., None] - self.task.positions, 0.0) @ self.task.jumps
        size, integral = np.diff(edges, axis=1), np.diff(beyond, axis=1)
        there = size > 0.0
        return np.where(there, self.task.bias + integral / np.where(there, size, 1.0), self.task.of(edges[:, 1:]))

    def _sorted(self, times: np.ndarray) -> np.ndarray:
        found = np.repeat(self._unique[None], len(times), axis=0)
        for record in self._records:
            late = times > record.since
            if late.any():
                found[np.ix_(late, record.neurons)] = record.of(np.minimum(times[late, None], record.until))
        return found


def limit_flow(task: Any, positions: Any) -> LimitFlow:
    """The limit flow from any start (m,) in [0, 1], in slow time: rate_ratio to 0 first, then width to 0.

    Isolated pairs, two neurons beside one jump whose other cells are constant, follow the closed form of `hit_time`;
    the others are integrated from event to event. Returns an object with `hit_times` (jump,) at which a neuron first
    reaches each jump, inf if never; `at(times)` (K, m); `error(times)` (K,); `final_error`; `valid`, whether every
    piece has two neurons or more, with which the error ends at 0 (sufficient, not necessary). Equal positions stay
    equal (arXiv:2304.09576; any start is derived).

    Raises: TypeError for another task; ValueError for positions outside of [0, 1]; RuntimeError for a start whose flow
    does not settle.
    """
    on_the_host("limit_flow", task, positions)
    return LimitFlow(targeted(task), inside(positions))


class _Path:
    """The events of a flow. Neuron j >= 1 stands at places[j]; its sides are the pieces left and right of it.

    Both sides are one piece, or those left and right of the jump on which it rests: what it hits, crosses and leaves
    is decided once and never read off floats again. Cell i lies between the neurons i and i + 1 (0 and m + 1 are the
    borders) and holds the jumps low[i] to high[i] - 1.
    """

    def __init__(self, task: PiecewiseConstant, start: np.ndarray) -> None:
        self.v, self.jumps, self.n, self.m = task.positions.tolist(), task.jumps.tolist(), len(task.jumps), len(start)
        self.places = [0.0, *start.tolist(), 1.0]
        below = np.searchsorted(task.positions, start, "left").tolist()
        upto = np.searchsorted(task.positions, start, "right").tolist()
        self.left, self.right = [0, *below, self.n], [0, *upto, self.n]
        self.hits, self.time = np.full(self.n, np.inf), 0.0
        self.records: list[_Record] = []
        self.still = STILL * max(abs(one) for one in self.jumps) ** 2
        for j in range(1, self.m + 1):
            if self.rests(j):
                self.hits[self.left[j]] = 0.0
        while any([self.leaves(j, *self.sides_at(j)) for j in range(1, self.m + 1) if self.rests(j)]):
            pass
        # by its cell: when a pair hits, its distances, its record and the place in it
        self.pairs: dict[int, tuple[float, float, float, int, int]] = {}
        self.steps = 0
        while self.follow():
            pass

    def sides(self) -> list[tuple[int, int]]:
        """The two pieces beside every neuron."""
        return list(zip(self.left[1:-1], self.right[1:-1], strict=True))

    def rests(self, j: int) -> bool:
        """Whether a neuron lies on a jump."""
        return self.right[j] != self.left[j]

    def active(self, i: int) -> bool:
        """Whether a cell holds a jump."""
        return 0 <= i <= self.m and self.left[i + 1] > self.right[i]

    def contrast(self, i: int, places: Any) -> tuple[float, float]:
        """(value at the right end - mean, mean - value at the left end) of a cell that holds jumps."""
        low, high = places[i], places[i + 1]
        one = two = 0.0
        for k in range(self.right[i], self.left[i + 1]):
            one += self.jumps[k] * (self.v[k] - low)
            two += self.jumps[k] * (high - self.v[k])
        return one / (high - low), two / (high - low)

    def sides_at(self, j: int) -> tuple[float, float]:
        """The contrasts beside a neuron."""
        one = self.contrast(j - 1, self.places)[0] if self.active(j - 1) else 0.0
        return one, self.contrast(j, self.places)[1] if self.active(j) else 0.0

    def leaves(self, j: int, below: float, above: float) -> bool:
        """Have a neuron leave the jump on which it rests where a one-sided velocity says so."""
        jump = self.jumps[self.left[j]]
        before, after = (above + jump) ** 2 - below**2, above**2 - (below + jump) ** 2
        if before >= 0.0 >= after:
            return False
        self.go(j, right=after > 0.0 and after >= -before)
        return True

    def go(self, j: int, right: bool) -> None:
        """Put a neuron that is on a jump into the piece beside it."""
        if right:
            self.left[j] = self.right[j]
        else:
            self.right[j] = self.left[j]

    def follow(self) -> bool:
        """To the next event; False where nothing moves any more."""
        cells = [i for i in range(self.m + 1) if self.active(i)]
        alone = [i for i in cells if self.isolated(i)]
        self.pair_up([i for i in alone if i not in self.pairs])
        coupled = [i for i in cells if i not in self.pairs]
        near = sorted({j for i in coupled for j in (i, i + 1) if 1 <= j <= self.m})
        event = self.integrate(coupled, near) if near else None
        until = np.inf if event is None else self.time
        for i in [i for i, pair in self.pairs.items() if pair[0] <= until]:
            self.finish(i)
        if event is None:
            return False
        self.happen(*event)
        for i in [i for i in self.pairs if not self.isolated(i)]:
            self.dissolve(i)
        return True

    def isolated(self, i: int) -> bool:
        """Whether a cell holds one jump, between two neurons in pieces, beside constant cells."""
        return (
            1 <= i < self.m
            and self.left[i + 1] - self.right[i] == 1
            and not (self.rests(i) or self.rests(i + 1) or self.active(i - 1) or self.active(i + 1))
        )

    def pair_up(self, cells: list[int]) -> None:
        """Have pairs follow the closed form from now on."""
        if not cells:
            return
        left = np.array(cells)
        v, jump = (np.array([one[self.right[i]] for i in cells]) for one in (self.v, self.jumps))
        x, y = v - np.array([self.places[i] for i in cells]), np.array([self.places[i + 1] for i in cells]) - v
        x = np.where(np.abs(x - y) <= ROUNDING, y, x)
        near, far = np.minimum(x, y), np.maximum(x, y)
        c = (1.0 - near / far) * (1.0 + near / far * (1.0 + near / far))
        whole = far / jump**2  # the time that an integral of 1 stands for
        total = whole * _integral(np, near / far, c)
        until = np.tile(self.time + total, 2)
        since = self.time

        def of(times: np.ndarray) -> np.ndarray:
            todo = np.maximum(total - (times[:, : len(x)] - since), 0.0) / whole
            t = np.minimum(near / far, todo)
            for _ in range(30):  # the integral is convex: Newton's steps come down from above
                slope = (1.0 + t / np.where(t**3 + c > 0.0, np.cbrt(t**3 + c), 1.0)) ** 2
                step = (_integral(np, t, c) - todo) / slope
                t = np.maximum(t - step, 0.0)
                if np.all(np.abs(step) <= 1e-15):
                    break
            small, large = far * t, far * np.cbrt(t**3 + c)
            return np.concatenate([v - np.where(x <= y, small, large), v + np.where(x <= y, large, small)], axis=1)

        self.records.append(_Record(since, until, np.concatenate([left, left + 1]) - 1, of))
        for place, i in enumerate(cells):
            self.pairs[i] = (until[place], x[place], y[place], len(self.records) - 1, place)

    def finish(self, i: int) -> None:
        """Have a pair hit its jump: the nearer neuron rests on it, or both do."""
        hit, x, y, _, _ = self.pairs.pop(i)
        k = self.right[i]
        other = 0.0 if x == y else np.cbrt(max(x, y) ** 3 - min(x, y) ** 3)
        self.places[i], self.places[i + 1] = (
            self.v[k] - (0.0 if x <= y else other),
            self.v[k] + (other if x <= y else 0.0),
        )
        if x <= y:
            self.right[i] = k + 1
        else:
            self.left[i + 1] = k
        self.hits[k] = min(self.hits[k], hit)

    def dissolve(self, i: int) -> None:
        """Have a pair leave the closed form, now that a cell beside it holds a jump."""
        _, _, _, number, place = self.pairs.pop(i)
        record = self.records[number]
        half = len(record.neurons) // 2
        both = [place, place + half]
        record.until[both] = self.time
        self.places[i], self.places[i + 1] = record.of(np.full((1, 2 * half), self.time))[0, both].tolist()

    def integrate(self, cells: list[int], near: list[int]) -> tuple[str, int] | None:
        """Integrate coupled neurons to their next event, and say what happens to which; None where they settle."""
        moving = [j for j in near if not self.rests(j)]
        waiting = [j for j in near if self.rests(j)]
        places = self.places

        def contrasts(y: Any) -> tuple[dict[int, float], dict[int, float]]:
            for j, value in zip(moving, y, strict=True):
                places[j] = value
            found = {i: self.contrast(i, places) for i in cells}
            return {i: one for i, (one, _) in found.items()}, {i: two for i, (_, two) in found.items()}

        def field(_: float, y: Any) -> list[float]:
            below, above = contrasts(y.tolist())
            return [above.get(j, 0.0) ** 2 - below.get(j - 1, 0.0) ** 2 for j in moving]

        def beyond(kind: str, j: int, y: Any) -> float:
            """Above 0 once an event has happened."""
            if kind == "up":
                return y[moving.index(j)] - self.v[self.left[j]]
            if kind == "down":
                return self.v[self.left[j] - 1] - y[moving.index(j)]
            below, above = contrasts(y)
            one, two, jump = below.get(j - 1, 0.0), above.get(j, 0.0), self.jumps[self.left[j]]
            return one**2 - (two + jump) ** 2 if kind == "left" else two**2 - (one + jump) ** 2

        events = [("up", j) for j in moving if self.left[j] < self.n]
        events += [("down", j) for j in moving if self.left[j] > 0]
        events += [(kind, j) for j in waiting for kind in ("left", "right")]
        neurons = np.array(moving, int) - 1
        solver = DOP853(field, self.time, np.array([places[j] for j in moving]), np.inf, rtol=RTOL, atol=ATOL)
        while np.max(np.abs(solver.f), initial=0.0) > self.still:
            solver.step()
            self.steps += 1
            if self.steps > MOST_STEPS or solver.status == "failed":
                raise RuntimeError("the limit flow from these positions does not settle; accepted: other positions")
            now, path, first = solver.t, solver.dense_output(), None
            for kind, j in events:
                if beyond(kind, j, solver.y) > 0.0:
                    start = solver.t_old
                    if beyond(kind, j, path(start)) < 0.0:
                        start = brentq(lambda t, kind=kind, j=j: beyond(kind, j, path(t)), start, solver.t, xtol=1e-15)
                    if first is None or start < now:
                        now, first = start, (kind, j)
            until = np.full(len(moving), now)
            self.records.append(_Record(solver.t_old, until, neurons, lambda times, path=path: path(times[:, 0]).T))
            if first is not None:
                contrasts(path(now).tolist())
                self.time = now
                return first
        contrasts(solver.y.tolist())
        return None

    def happen(self, kind: str, j: int) -> None:
        """A neuron reaches a jump from below (up) or above (down), or leaves one to its left or right."""
        if kind in ("left", "right"):
            self.go(j, right=kind == "right")
            return
        k = self.left[j] - (kind == "down")
        self.places[j], self.left[j], self.right[j] = self.v[k], k, k + 1
        self.hits[k] = min(self.hits[k], self.time)
        self.leaves(j, *self.sides_at(j))
