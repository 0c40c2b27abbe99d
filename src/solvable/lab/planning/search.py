"""A scan of a function of one number, outwards from a start to the edges of its domain or until it levels off."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence

POINTS = 4  # a decade
DECADES, MOST_DECADES = 2, 6
WHOLE_DECADES, MOST_WHOLE_DECADES = 1, 3  # a whole number often sets a shape, and each shape is compiled anew


@dataclasses.dataclass(frozen=True)
class Reply:
    """The function's `value` at one place, or None: `refused` outside its domain, else unsolved; `message` says why."""

    value: float | None
    message: str = ""
    refused: bool = False


class Scan:
    """What is known of a function so far, and how its argument is moved to learn more."""

    def __init__(
        self, function: Callable[[float], Reply], target: float, whole: bool, accepts: Callable[[float], bool]
    ) -> None:
        self.function, self.target, self.whole, self.accepts = function, target, whole, accepts
        self.replies: dict[float, Reply] = {}

    def place(self, x: float) -> float:
        """`x`, or the whole number nearest to it."""
        return float(round(x)) if self.whole else float(x)

    def at(self, x: float) -> Reply:
        """The function's reply, asked for once."""
        x = self.place(x)
        if x not in self.replies:
            self.replies[x] = self.function(x)
        return self.replies[x]

    def solved(self) -> list[tuple[float, float]]:
        """Every argument with a value, in order."""
        return sorted((x, reply.value) for x, reply in self.replies.items() if reply.value is not None)

    @property
    def unsolved(self) -> list[float]:
        """The arguments in the domain without a value."""
        return [x for x, reply in self.replies.items() if reply.value is None and not reply.refused]

    @property
    def message(self) -> str:
        """The first reason why there is no value, of those that are not solved before those refused."""
        replies = [reply for reply in self.replies.values() if reply.value is None]
        if any(not reply.refused for reply in replies):
            replies = [reply for reply in replies if not reply.refused]
        return replies[0].message if replies else ""

    def sign(self, value: float) -> int:
        """On which side of the target a value lies; 0 on it, up to rounding."""
        difference = value - self.target
        return 0 if abs(difference) <= 1e-12 * abs(self.target) else (1 if difference > 0.0 else -1)

    def range(self, low: float, high: float, positive: bool) -> tuple[str, str]:
        """Scan [low, high] on a logarithmic grid where it spans a factor of 4 or more, else on a linear one."""
        if low > 0.0 and (high >= 4.0 * low or positive):
            count = max(16, math.ceil(POINTS * math.log10(high / low)))
            points = [low * (high / low) ** (i / count) for i in range(count)]
        else:
            points = [low + (high - low) * i / 16 for i in range(16)]
        ends = ["open", "open"]
        for before, after in itertools.pairwise([*points, high]):
            first, second = self.at(before), self.at(after)
            if first.refused and not second.refused:
                self.edge(after, before)
                ends[0] = "edge"
            elif second.refused and not first.refused:
                self.edge(before, after)
                ends[1] = "edge"
        return ends[0], ends[1]

    def outwards(self, start: float, positive: bool) -> tuple[str, str]:
        """Scan away from the start, towards zero and, unless `positive`, beyond it; see `inversion.invert`."""
        size = abs(start) or 1.0
        sign = -1.0 if start < 0.0 else 1.0
        least, most = (WHOLE_DECADES, MOST_WHOLE_DECADES) if self.whole else (DECADES, MOST_DECADES)
        least, most = least * POINTS, most * POINTS
        self.at(start)
        away = self.walk(
            [sign * size * 10 ** (k / POINTS) for k in range(0 if start else -least, most + 1)],
            least if start else 2 * least,
        )
        if start:
            inner = self.walk([sign * size * 10 ** (-k / POINTS) for k in range(most + 1)], least)
        else:
            inner = "open"
        if not positive and inner != "edge" and not self.at(0.0).refused:
            beyond = [0.0, *(-sign * size * 10 ** (k / POINTS) for k in range(-least, most + 1))]
            inner = self.walk(beyond, 2 * least)
        return (inner, away) if sign > 0 else (away, inner)

    def walk(self, points: Iterable[float], least: int) -> str:
        """Try the points one after the other; where it ended, see `Inverse.ends`."""
        inside: list[float] = []
        seen: set[float] = set()
        lost = 0
        for number, x in enumerate(points):
            x = self.place(x)
            if x in seen:
                continue
            seen.add(x)
            reply = self.at(x)
            if reply.refused:
                if inside:
                    self.edge(inside[-1], x)
                if inside or number >= least:
                    return "edge"
                continue
            if reply.value is None:
                lost += 1
                if lost == 2 or number > least:  # an unsolved place can cost a minute
                    return "unsolved"
                continue
            lost = 0
            inside.append(x)
            if number >= least and (self.met() or not self.promising(inside)):
                return "settled" if self.settled(inside) else "open"
        return "open"

    def met(self) -> bool:
        """Whether the target lies between values found, or is one."""
        signs = {self.sign(y) for _, y in self.solved()}
        return len(signs) > 1 or 0 in signs

    def promising(self, path: Sequence[float]) -> bool:
        """Whether the function comes nearer to the target along the path, and has not levelled off before it."""
        last, before = self.gap(path[-1]), self.gap(path[max(0, len(path) - 1 - POINTS)])
        return last < before and not self.settled(path)

    def settled(self, path: Sequence[float]) -> bool:
        """Whether its change over the last decade is so much less than over the one before that too little is left."""
        if len(path) <= 2 * POINTS:
            return False
        now, one, two = (self.gap(path[-1 - k * POINTS]) for k in range(3))
        last, before = abs(one - now), abs(two - one)
        if last == 0.0:
            return True
        return last < 0.7 * before and last * last / (before - last) < 0.1 * now

    def gap(self, x: float) -> float:
        """The distance from the target."""
        value = self.at(x).value
        return math.inf if value is None else abs(value - self.target)

    def edge(self, inside: float, outside: float) -> None:
        """Find where the domain ends between two neighbours, and approach it."""
        near, far = inside, outside
        if self.whole:
            while abs(far - near) > 1.0:
                middle = float(round(0.5 * (near + far)))
                near, far = (near, middle) if self.at(middle).refused else (middle, far)
            return
        cheap = not self.accepts(outside)
        for _ in range(40 if cheap else 8):
            middle = 0.5 * (near + far)
            refused = not self.accepts(middle) if cheap else self.at(middle).refused
            near, far = (near, middle) if refused else (middle, far)
        for digits in range(1, 7):  # an edge is often a round number, and often inside
            end = float(f"{far:.{digits}g}")
            if min(near, far) <= end <= max(near, far):
                near = near if not self.accepts(end) or self.at(end).refused else end
                break
        for k in range(1, 9):
            self.at(near + (inside - near) * 10 ** (-0.5 * k))
