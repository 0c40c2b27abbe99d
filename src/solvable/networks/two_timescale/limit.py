"""The limit of fast weights and steep sigmoids: f is the mean of f* on every cell between neurons, which move slowly.

A neuron in a piece of value c, whose left and right cells have the means p and q, moves with u' = (q - c)^2 - (c - p)^2
in slow time, minus the gradient of the error. A neuron on a jump rests while the velocity just left of it is >= 0 and
that just right of it <= 0; else it leaves. Nothing collides: neurons repel as a cell between them shrinks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import DOP853
from scipy.optimize import brentq

from solvable.lab.declare import on_the_host, recorded_times
from solvable.networks.two_timescale.cells import cell_variance, integral
from solvable.networks.two_timescale.task import PiecewiseConstant, inside, targeted

ROUNDING = 4e-16  # of a difference of two positions in [0, 1]
RTOL, ATOL = 1e-11, 1e-13
STILL, SLOW = 1e-12, 1e-7  # velocities that are none, and that may be those of linear relaxation
NEAR = 1e-5  # how far relaxation is linear
WITHIN = np.array([0.25, 0.5, 0.75, 1.0])  # of a step, where events are looked for
MOST_STEPS = 20_000


class _Record(NamedTuple):
    """Where some neurons are from `since` to `until`, as a function of times."""

    since: float
    until: np.ndarray
    neurons: np.ndarray
    of: Callable[[np.ndarray], np.ndarray]


class LimitFlow:
    """A path of the limit flow: see `limit_flow`.

    `final` (m,) are the positions in the end, `covered` (jump,) says which jumps then have a neuron.
    """

    def __init__(self, task: PiecewiseConstant, positions: np.ndarray) -> None:
        self.task, self.start = task, positions
        # equal neurons have equal gradients: they are one
        self._unique, self._place = np.unique(positions, return_inverse=True)
        # in units in which the largest jump is 1, and times are neither tiny nor huge
        unit = float(np.max(np.abs(task.jumps)))
        path = _Path(task.jumps / unit, task.positions, self._unique)
        self._records, self._clock = path.records, unit**2
        self.hit_times: np.ndarray = path.hits / self._clock
        self.covered = np.array([any(one == k and two == k + 1 for one, two in path.sides()) for k in range(path.n)])
        self.final = np.array(path.places[1:-1])[self._place]
        self.final_error = 0.0 if self.covered.all() else float(cell_variance(task, np.array([path.places[1:-1]]))[0])
        self.valid = bool(np.all(np.histogram(positions, [0.0, *task.positions, 1.0])[0] >= 2))

    def at(self, times: Any) -> np.ndarray:
        """The positions (K, m) at slow times (K,), nondecreasing, in the order of the start."""
        return self._sorted(recorded_times(times))[:, self._place]

    def error(self, times: Any) -> np.ndarray:
        """The error (K,) at slow times (K,), without the floor of the width."""
        return cell_variance(self.task, self._sorted(recorded_times(times)))

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
        with np.errstate(over="ignore"):
            times = times * self._clock
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

    def __init__(self, jumps: np.ndarray, positions: np.ndarray, start: np.ndarray) -> None:
        self.v, self.jumps, self.n, self.m = positions.tolist(), jumps.tolist(), len(jumps), len(start)
        self.places = [0.0, *start.tolist(), 1.0]
        below = np.searchsorted(positions, start, "left").tolist()
        upto = np.searchsorted(positions, start, "right").tolist()
        self.left, self.right = [0, *below, self.n], [0, *upto, self.n]
        self.hits, self.time = np.full(self.n, np.inf), 0.0
        self.records: list[_Record] = []
        for j in range(1, self.m + 1):
            if self.rests(j):
                self.hits[self.left[j]] = 0.0
        while any(self.leaves(j, *self.sides_at(j)) for j in range(1, self.m + 1) if self.rests(j)):
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
        total = whole * integral(np, near / far, c)
        until = np.tile(self.time + total, 2)
        since = self.time

        def of(times: np.ndarray) -> np.ndarray:
            todo = np.maximum(total - (times[:, : len(x)] - since), 0.0) / whole
            t = np.minimum(near / far, todo)
            for _ in range(30):  # the integral is convex: Newton's steps come down from above
                slope = (1.0 + t / np.where(t**3 + c > 0.0, np.cbrt(t**3 + c), 1.0)) ** 2
                step = (integral(np, t, c) - todo) / slope
                t = np.maximum(t - step, 0.0)
                if np.all(np.abs(step) <= 1e-14):
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

        def at_time(path: Any, kind: str, j: int, t: float) -> float:
            return beyond(kind, j, path(t))

        events = [("up", j) for j in moving if self.left[j] < self.n]
        events += [("down", j) for j in moving if self.left[j] > 0]
        leaving = [(kind, j) for j in waiting for kind in ("left", "right")]
        events += leaving
        top = np.array([self.v[self.left[j]] if self.left[j] < self.n else np.inf for j in moving])
        bottom = np.array([self.v[self.left[j] - 1] if self.left[j] > 0 else -np.inf for j in moving])
        neurons = np.array(moving, int) - 1
        solver = DOP853(field, self.time, np.array([places[j] for j in moving]), np.inf, rtol=RTOL, atol=ATOL)
        while (speed := np.max(np.abs(solver.f), initial=0.0)) > STILL:
            ending = _near_rest(field, solver.y, solver.f) if speed <= SLOW else None
            if ending is not None and all(beyond(kind, j, ending.rest) <= 0.0 for kind, j in events):
                of = functools.partial(ending.at, float(solver.t))
                self.records.append(_Record(float(solver.t), np.full(len(moving), np.inf), neurons, of))
                contrasts(ending.rest.tolist())
                return None
            solver.step()
            self.steps += 1
            if self.steps > MOST_STEPS or solver.status == "failed":
                raise RuntimeError("the limit flow from these positions does not settle; accepted: other positions")
            before, path, first = float(solver.t_old or 0.0), solver.dense_output(), None
            now = float(solver.t)
            looks = before + (now - before) * WITHIN
            seen = path(looks)
            out = (seen > top[:, None]) | (seen < bottom[:, None])
            for kind, j in events if out.any() else leaving:
                late = [t for t, y in zip(looks, seen.T, strict=True) if beyond(kind, j, y) > 0.0]
                if late:
                    when = _first(functools.partial(at_time, path, kind, j), before, late[0])
                    if first is None or when < now:
                        now, first = when, (kind, j)
            until = np.full(len(moving), now)
            self.records.append(_Record(before, until, neurons, lambda times, path=path: path(times[:, 0]).T))
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


def _first(beyond: Callable[[float], float], start: float, end: float) -> float:
    """When a function that is above 0 at the end gets there."""
    if beyond(start) >= 0.0:
        # a neuron that has just left a jump is on it still, and may be back before the end
        probes = start + (end - start) * 0.5 ** np.arange(1.0, 40.0)
        apart = [t for t in probes if beyond(t) < 0.0]
        if not apart:
            return start
        start = float(apart[0])
    return float(brentq(beyond, start, end, xtol=1e-15))  # pyright: ignore[reportArgumentType]


class _Relaxation(NamedTuple):
    """Neurons close to a stable point: y - rest in the eigenbasis of the symmetric Jacobian, which shrinks."""

    rest: np.ndarray
    rates: np.ndarray
    basis: np.ndarray
    offset: np.ndarray

    def at(self, since: float, times: np.ndarray) -> np.ndarray:
        """The positions at times (T, m)."""
        return self.rest + (self.offset * np.exp(self.rates * (times[:, :1] - since))) @ self.basis.T


def _near_rest(field: Callable[[float, Any], Any], y: np.ndarray, slope: np.ndarray) -> _Relaxation | None:
    """The stable point close to y, None where there is none. Explicit steps would hover around it for ever."""
    step = 1e-6 * np.eye(len(y))
    jacobian = np.array([np.subtract(field(0.0, y + one), field(0.0, y - one)) for one in step]) / 2e-6
    field(0.0, y)
    rates, basis = np.linalg.eigh(0.5 * (jacobian + jacobian.T))
    if rates[-1] >= 0.0:
        return None
    rest = y
    for _ in range(3):
        rest = rest - basis @ ((basis.T @ slope) / rates)
        slope = np.array(field(0.0, rest))
    return _Relaxation(rest, rates, basis, basis.T @ (y - rest)) if np.max(np.abs(rest - y)) <= NEAR else None
