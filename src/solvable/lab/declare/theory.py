"""What a theory says and claims, and what an observable is: the words of a declaration, which import nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

Claim = Literal["exact", "asymptotic", "bound", "heuristic"]
Origin = Literal["stated", "derived", "reconstruction"]


@dataclasses.dataclass(frozen=True)
class Status:
    """What a theory says of one observable: its claim, and where the statement comes from."""

    claim: Claim
    origin: Origin


@dataclasses.dataclass(frozen=True)
class Observable:
    """An observable of a system or an experiment: what it means, its unit, its own dims, how it is compared and drawn.

    `dims` are those after `replicate`. An experiment leaves them to the system whose observables it shows, and adds:
    `allowance(cell)`, which joins the standard error in quadrature when simulation meets theory: b/dim for an
    asymptotic claim, zero for an exact one; `bound`, "above" or "below" when the theory is an upper or a lower bound;
    `tolerance` where nothing is random: the largest absolute difference that the solvers on both sides allow; `log`, a
    logarithmic axis; `order`, the power of 1/size at which the asymptotic claim is approached, for the extrapolation
    over sizes: 1 for a smooth function of averages, 1/2 for the largest of several fluctuations. `was` are names under
    which older files store it.
    """

    name: str
    label: str
    unit: str = ""
    allowance: Callable[[Any], float] = lambda cell: 0.0
    bound: Literal["above", "below"] | None = None
    tolerance: float | None = None
    log: bool = False
    order: float = 1.0
    dims: tuple[str, ...] = ()
    was: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Theory:
    """One theory of a system: what it computes, its status for each observable, and the function that computes it.

    `of(task, algorithm, runs, at, **shared)` returns observables by name, a `Predicted`, or runs as the theory has
    them, which are then measured as trained ones are; a `status` of such runs is that of a `Predicted`. `runs` is what
    the system makes of `given`; `given` names what the theory reads of a run, and with `needs_given` it says nothing
    without. An observable that depends on no run has no replicate axis. Where `at` has several units, `unit` is passed
    too. A function imports what it computes with, so that theories can be listed without it.
    """

    meaning: str
    status: Mapping[str, Status]
    of: Callable[..., Any] | None = None
    given: tuple[str, ...] = ()
    needs_given: bool = False


@dataclasses.dataclass(frozen=True)
class Predicted:
    """Observables of a theory that has no state to be measured, how its solve ended, and how they were obtained.

    `result` is a code, or one a replicate, or one a replicate and step (R, K), which keeps the other steps and what has
    no steps. `stats["standard_error"]` maps an observable to the standard error of its quadrature; `detail` joins the
    sentence of a solve that fails; `status` is that of observables of which the theory claims something else in this
    setting.
    """

    values: Mapping[str, Any]
    result: Any = None
    stats: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    detail: str = ""
    status: Mapping[str, Status] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Dimension:
    """How figures show a dim that is no parameter, such as the steps `at`: what it means; a logarithmic axis or not."""

    meaning: str
    log: bool = False


@dataclasses.dataclass(frozen=True)
class Overlay:
    """One theory drawn over the simulation. With `given`, it is conditioned on each simulated run.

    `compared` says whether the agreement table tests it; a curve that is shown only for contrast sets it to False. A
    theory that is exact for some observables and far off for others names those to test. `words` stand in legends in
    place of its name.
    """

    theory: str | None = None
    given: bool = False
    compared: bool | tuple[str, ...] = True
    words: str = ""

    def compares(self, observable: str) -> bool:
        """Whether the agreement table tests this observable."""
        return self.compared if isinstance(self.compared, bool) else observable in self.compared

    @property
    def label(self) -> str:
        """Its name in tables and in the store; it begins the names of its variables in a dataset."""
        name = self.theory or "theory"
        return f"{name}_given" if self.given and "given" not in name else name
