"""What the figures of token selection share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from solvable.attention import token_selection as ts
from solvable.lab.declare import (
    Dimension,
    Experiment,
    Measured,
    Overlay,
    Status,
    parameter,
)

MIRROR, TRANSFORMERS, RATES = "arXiv:2410.14581", "arXiv:2308.16898", "arXiv:2402.05738"
STEPS = {1.75: 1500, 2.0: 2000, 3.0: 20000}
REFERENCES = tuple(STEPS)
OVER_STEPS = {"at": Dimension("steps", log=True)}
STATED, DERIVED, OURS = (Status("asymptotic", origin) for origin in ("stated", "derived", "reconstruction"))


def allow(value: float) -> Any:
    """The same finite-step allowance in every cell; a comparison accepts up to four times it."""
    return lambda cell: value


class Figure(Measured):
    """A figure of trained runs, and of the same runs with W at its max-margin solution for the tokens selected.

    Theory does not speak of a run whose attention has not saturated, or whose tokens are not locally optimal. `norms`
    are those of the solutions that both sides are compared with.
    """

    norms: ClassVar[Sequence[Any]] = ()
    system = "solvable.attention.token_selection"
    overlays = (Overlay(given=True),)
    x, dimensions = "at", OVER_STEPS

    def coordinates(self) -> Mapping[str, Any]:
        """The steps recorded, those of `simulate`."""
        return {"at": ts.SYSTEM.times(self.task(), self.algorithm(), None, "")}

    def runs(self, key: Any, replicates: int | range, tokens: Any = None) -> Any:
        """Draw problems, train on each, and solve for `tokens`, one selection a norm (None: those that it selected)."""
        steps = self.coordinates()["at"]
        runs = ts.figures.trained(self.task(), self.algorithm(), key, replicates, steps, **self.sizes())
        return runs.beside(self.norms, tokens)

    def predicted(self, runs: Any) -> Any:
        """W, and the decoder where it is trained, converge to their max-margin directions."""
        return runs.at_the_limit().beside(self.norms)


class SelectionExperiment(Experiment):
    """What the figures of random problems share: their sizes, and the start."""

    samples: int = parameter(6, "sequences", symbol="n")
    length: int = parameter(8, "tokens a sequence", symbol="T")
    dim: int = parameter(10, "dimension of a token", symbol="d")

    system = "solvable.attention.token_selection"
    x, dimensions = "at", OVER_STEPS

    def task(self) -> Any:
        """Random tokens, queries and decoder."""
        return ts.RandomSelection(self.samples, self.length, self.dim)

    def sizes(self) -> dict[str, Any]:
        """The start, where it is a parameter."""
        return {"init_scale": getattr(self, "start_scale", 0.0)}
