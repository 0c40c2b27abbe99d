"""Where a function of one number takes a given value: a scan outwards from a start, then every crossing refined.

Nothing is known of the function: it may turn, jump, be refused outside a domain, or be unsolved here and there. So
every statement is about the values that were tried, and `Inverse` says which.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from scipy.optimize import brentq, minimize_scalar

from solvable.lab.planning.search import POINTS, Reply, Scan

CLOSE = 1e-8  # how near a crossing is bracketed, as a share of its value where that is not 0
JUMP = 1e-2  # the share of a rise that is still there across a crossing so bracketed when it is a jump
LEVEL = 1e-5  # the share of the way to its neighbours over which a stretch of values on target is one place
TOUCH = 1e-9  # the share of a turn's height within which its least value meets the target


@dataclasses.dataclass(frozen=True)
class Crossing:
    """A place where the function meets the target, at `value`; `reached` is what it is there.

    `kind`: "root"; "jump" (it passes the target in a step: `before` below `value`, `after` above it); "whole" (the
    first whole number at or past the target, `before` at the one below); "touch" (it meets the target and turns back);
    "gap" (it passes between `value` and `until`, where it is not solved); "level" (it equals the target from `value` to
    `until`). `direction` is "falls" or "rises" with growing argument, or "" for a touch or a level.
    """

    value: float
    reached: float
    kind: Literal["root", "jump", "whole", "touch", "gap", "level"]
    direction: Literal["falls", "rises", ""]
    before: float | None = None
    after: float | None = None
    until: float | None = None


@dataclasses.dataclass(frozen=True)
class Inverse:
    """Every crossing found, in order, and what was tried.

    `tried` holds (argument, value) in order; `ends` says of the scan's lower and upper end whether the domain ended
    ("edge"), the function had levelled off ("settled"), it was no longer solved ("unsolved"), or the scan did
    ("open"). `unsolved` are the arguments where it was not solved, and `message` the first reason given there or, where
    nothing was tried at all, for the refusal.
    """

    crossings: Sequence[Crossing]
    tried: Sequence[tuple[float, float]]
    ends: tuple[str, str]
    unsolved: Sequence[float]
    message: str

    def closest(self, target: float) -> tuple[float, float]:
        """The argument tried at which the function is nearest to the target, and its value there."""
        return min(self.tried, key=lambda point: abs(point[1] - target))


def invert(
    function: Callable[[float], Reply],
    target: float,
    start: float,
    *,
    whole: bool = False,
    positive: bool = False,
    between: tuple[float, float] | None = None,
    accepts: Callable[[float], bool] = lambda x: True,
) -> Inverse:
    """Where `function` takes the value `target`.

    The scan goes out from `start` by four points a decade of its size (1 where it is 0), down and up by two decades
    and, while the function comes nearer to the target and has not levelled off, by up to six; then through 0 to the
    other sign, unless `positive`. Where the domain ends, its edge is looked for and approached. `whole` keeps to whole
    numbers, over one to three decades. `between` scans that range alone. A change of sign between neighbours is refined
    by Brent's method, and a turning point that might reach the target by a bounded minimisation.
    `accepts` says without computing anything whether an argument is in the domain, as far as that can be known.
    """
    scan = _Inversion(function, target, whole, accepts)
    ends = scan.range(*between, positive) if between else scan.outwards(start, positive)
    scan.turning_points()
    return Inverse(scan.crossings(), scan.solved(), ends, sorted(scan.unsolved), scan.message)


def follow(function: Callable[[float], Reply], target: float, start: float, *, whole: bool = False) -> Crossing | None:
    """The first crossing met from a positive `start`, on the side where the function comes nearer to the target.

    By four points a decade over two decades at most; None when it is not met there.
    """
    scan = _Inversion(function, target, whole, lambda x: True)
    if scan.at(start).value is None:
        return None
    step = 10 ** (1.0 / POINTS)
    if scan.gap(start / step) > scan.gap(start * step):
        step = 1.0 / step
    last = start
    for k in range(2 * POINTS + 1):
        x = start / step**k
        if scan.at(x).value is None:
            return None
        if scan.sign(scan.need(x)) == 0:
            return scan.met_at(x, abs(math.log(step)))
        if scan.sign(scan.need(x)) != scan.sign(scan.need(last)):
            ends = sorted((scan.place(point), scan.need(point)) for point in (last, x))
            return scan.cross(ends[0], ends[1])
        last = x
    return None


class _LeaveError(Exception):
    """Ends a search of SciPy from inside the function it calls."""


class _Inversion(Scan):
    touches: tuple[Crossing, ...] = ()

    def turning_points(self) -> None:
        """Minimise the distance to the target between neighbours where it has a least value that might be nearer."""
        points = self.solved()
        if len(points) < 3:
            return
        nearest = min(points, key=lambda point: abs(point[1] - self.target))[0]
        for (a, ya), (b, yb), (c, yc) in zip(points, points[1:], points[2:], strict=False):
            side = self.sign(yb)
            left, here, right = (side * (y - self.target) for y in (ya, yb, yc))
            if side == 0 or not (here <= min(left, right) and here < max(left, right)):
                continue
            if here < 2.0 * (max(left, right) - here) or b == nearest:
                self.minimise(a, c, side, max(left, right))

    def minimise(self, low: float, high: float, side: int, worst: float) -> None:
        into, out = _coordinate(low, high)

        def distance(u: float) -> float:
            value = self.at(out(u)).value
            if value is not None and self.sign(value) != side:
                raise _LeaveError
            return 2.0 * abs(worst) if value is None else side * (value - self.target)

        bounds = (into(low), into(high))
        try:
            options = {"xatol": 1e-6 * (bounds[1] - bounds[0]), "maxiter": 40}
            end = minimize_scalar(distance, bounds=bounds, method="bounded", options=options)
        except _LeaveError:  # the target is passed, and nothing more is asked for
            return
        x = out(float(end.x))
        if float(end.fun) <= TOUCH * abs(worst) and self.sign(self.need(x)) != 0:
            self.touches += (Crossing(x, self.need(x), "touch", ""),)

    def crossings(self) -> list[Crossing]:
        points = self.solved()
        runs = [list(run) for _, run in itertools.groupby(points, key=lambda point: self.sign(point[1]))]
        found = []
        for i, run in enumerate(runs):
            before, after = runs[i - 1][-1] if i else None, runs[i + 1][0] if i + 1 < len(runs) else None
            if self.sign(run[0][1]) == 0:
                found.append(self.level(run, before, after))
            elif after is not None and self.sign(after[1]) != 0:
                found.append(self.cross(run[-1], after))
        return sorted([*found, *self.touches], key=lambda crossing: crossing.value)

    def met_at(self, x: float, step: float) -> Crossing:
        """What a place is that equals the target, as its neighbours tell, a factor exp(step) off."""
        replies = {self.place(one): self.at(one).value for one in (x, x * math.exp(-step), x * math.exp(step))}
        points = sorted((one, value) for one, value in replies.items() if value is not None)
        run = [point for point in points if self.sign(point[1]) == 0]
        before, after = ([point for point in points if keep(point)] for keep in (run[0].__gt__, run[-1].__lt__))
        return self.level(run, before[-1] if before else None, after[0] if after else None)

    def level(
        self, run: Sequence[tuple[float, float]], before: tuple[float, float] | None, after: tuple[float, float] | None
    ) -> Crossing:
        """What a stretch that equals the target is: met at one place, or from one to another."""
        low = run[0][0] if before is None else self.boundary(run[0][0], before[0])
        high = run[-1][0] if after is None else self.boundary(run[-1][0], after[0])
        ends = [end[0] for end in (before, after) if end is not None]
        if high - low > LEVEL * max((abs(end - low) for end in ends), default=0.0):
            return Crossing(low, self.target, "level", "", until=high)
        sides = [self.sign(end[1]) * turn for end, turn in ((before, 1), (after, -1)) if end is not None]
        if len(set(sides)) != 1:
            return Crossing(low, self.target, "touch", "")
        direction = "falls" if sides[0] > 0 else "rises"
        if not self.whole and before is not None and after is not None:
            left, right = (self.beside(low, end[0]) for end in (before, after))
            if left is not None and right is not None and abs(right - left) > JUMP * abs(after[1] - before[1]):
                return Crossing(low, self.target, "jump", direction, before=left, after=right)
        return Crossing(low, self.target, "whole" if self.whole else "root", direction)

    def beside(self, x: float, neighbour: float) -> float | None:
        """The value next to a place, on the side of a neighbour."""
        into, out = _coordinate(x, neighbour)
        return self.at(out(into(x) + CLOSE * (into(neighbour) - into(x)))).value

    def boundary(self, equal: float, other: float) -> float:
        """How far the target is equalled from one place towards another."""
        into, out = _coordinate(equal, other)
        beside = self.beside(equal, other)
        if not self.whole and (beside is None or self.sign(beside) != 0):
            return equal
        for _ in range(40):
            middle = out(0.5 * (into(equal) + into(other)))
            middle = float(round(middle)) if self.whole else middle
            if middle in (equal, other):
                break
            equal, other = (middle, other) if self.equals(middle) else (equal, middle)
        return equal

    def equals(self, x: float) -> bool:
        value = self.at(x).value
        return value is not None and self.sign(value) == 0

    def cross(self, low: tuple[float, float], high: tuple[float, float]) -> Crossing:
        """Refine a change of sign between two neighbours."""
        direction = "falls" if low[1] > high[1] else "rises"
        try:
            return self.whole_number(low, high, direction) if self.whole else self.root(low, high, direction)
        except _LeaveError:
            inside = [(x, y) for x, y in self.solved() if low[0] <= x <= high[0]]
            same = [self.sign(y) == self.sign(low[1]) for _, y in inside]
            last = max(i for i, is_same in enumerate(same) if is_same)
            (a, ya), (b, yb) = inside[last], inside[last + 1]
            return Crossing(a, ya, "gap", direction, before=ya, after=yb, until=b)

    def root(self, low: tuple[float, float], high: tuple[float, float], direction: Any) -> Crossing:
        into, out = _coordinate(low[0], high[0])
        start, end = into(low[0]), into(high[0])

        def place(u: float) -> float:
            return low[0] if u <= start else high[0] if u >= end else out(u)

        def difference(u: float) -> float:
            return self.need(place(u)) - self.target

        width = CLOSE * (1.0 if into(1.0) == 0.0 else max(abs(start), abs(end)))
        u: Any = brentq(difference, start, end, xtol=0.25 * width)
        left, right = (self.need(place(u + shift)) for shift in (-width, width))
        x = place(u)
        if 0 in (self.sign(left), self.sign(right)):
            return self.level([(x, self.need(x))], low, high)
        if abs(right - left) > JUMP * abs(high[1] - low[1]):
            return Crossing(x, self.need(x), "jump", direction, before=left, after=right)
        return Crossing(x, self.need(x), "root", direction)

    def whole_number(self, low: tuple[float, float], high: tuple[float, float], direction: Any) -> Crossing:
        (a, ya), (b, yb) = low, high
        while b - a > 1.0:
            middle = float(round(0.5 * (a + b)))
            value = self.need(middle)
            if self.sign(value) == 0:
                return Crossing(middle, value, "whole", direction)
            if self.sign(value) == self.sign(ya):
                a, ya = middle, value
            else:
                b, yb = middle, value
        return Crossing(b, yb, "whole", direction, before=ya)

    def need(self, x: float) -> float:
        value = self.at(x).value
        if value is None:
            raise _LeaveError
        return value


def _coordinate(low: float, high: float) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """The scale on which two arguments are compared, and back: logarithmic where they have one sign."""
    if low * high > 0.0:
        sign = math.copysign(1.0, low)
        return (lambda x: sign * math.log(abs(x))), (lambda u: sign * math.exp(sign * u))
    return float, float
