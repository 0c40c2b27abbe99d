"""A corner of what constructors accept, and what a theory is to say there: the rows of `docs/corners.md`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

Outcome = Literal["agrees", "heuristic", "code", "refused"]


@dataclasses.dataclass(frozen=True)
class Corner:
    """One row: a theory of a system at one corner, against `replicates` simulated runs.

    `system` is a module's path, `corner` says in words what is extreme. `shared` are the keywords that simulate and
    predict share, `sizes` those of simulate alone. `given` is what predict is given: the simulated outcome (True),
    nothing (False), or an object.

    `expected`: "agrees", and nothing claims to be heuristic that is compared; "heuristic", the theory claims no more
    than that; "code", every run ends with `code` and what is compared is NaN; "refused", a ValueError that holds
    `words`. `share` and `within` name the observables that are compared, at all their points: simulation and theory
    differ by at most four standard errors (of the mean of the differences) and that share of the prediction, or that
    number. `bound` says of an observable on which side its theory bounds it ("above" or "below"). `differs`: what
    is compared does not agree, which is why the claim is heuristic.
    """

    system: str
    theory: str
    corner: str
    task: Any
    algorithm: Any
    expected: Outcome
    shared: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    given: Any = False
    at: Any = None
    share: Mapping[str, float] = dataclasses.field(default_factory=dict)
    within: Mapping[str, float] = dataclasses.field(default_factory=dict)
    bound: Mapping[str, Literal["above", "below"]] = dataclasses.field(default_factory=dict)
    code: int = 0
    words: str = ""
    differs: bool = False
    replicates: int = 24

    @property
    def name(self) -> str:
        """The name of the system, as its experiments have it."""
        return self.system.rpartition(".")[2].replace("_", "-")

    @property
    def line(self) -> str:
        """Its line in the table of the page."""
        outcome = "heuristic, and off" if self.expected == "heuristic" and self.differs else self.expected
        if self.expected == "code":
            from solvable.numerics.results import Result

            outcome = f"`{Result(self.code).name}`"
        return f"| {self.name} | `{self.theory}` | {self.corner} | {outcome} |"
