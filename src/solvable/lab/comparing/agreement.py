"""Do theory and simulation agree? One row per cell, overlay, observable and point, as a normal score and in words."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import special

from solvable.lab.declare import Experiment, Observable, Overlay
from solvable.lab.store.arrays import SIMULATION, CellResult, Values
from solvable.numerics.estimate import mean_and_error

ROUNDING = 1e-9
_FAILED = "not tested: failed: "


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Simulation against theory at one point.

    `score` is None where nothing is random or nothing could be tested; `agrees` is None where nothing could be tested.
    `standard_error` is that of the mean difference. `allowance` is what the score adds to it in quadrature: the
    observable's allowance and the quadrature's own error, combined; so t = difference / hypot(standard_error,
    allowance). An `identity` is one number on both sides, up to rounding, where nothing is random.
    """

    simulated: float
    predicted: float
    difference: float
    standard_error: float
    score: float | None
    agrees: bool | None
    verdict: str
    replicates: int
    missing: int
    allowance: float = 0.0
    identity: bool = False


@dataclasses.dataclass(frozen=True)
class Extrapolation:
    """The line in 1/size^order whose intercept a row compares (see `finite_size`): its data, its slope, is it a line.

    `differences` are the mean differences at `sizes`, `standard_errors` theirs. `misfit` is the normal score of
    the residuals' chi-square: large where the sizes do not lie on a line, None where nothing is random.
    """

    size: str
    order: float
    sizes: tuple[float, ...]
    differences: tuple[float, ...]
    standard_errors: tuple[float, ...]
    quadrature: float
    slope: float
    slope_standard_error: float
    misfit: float | None


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison with its place: the cell, the observable (and the point in its own dims), the overlay.

    Where several sizes were extrapolated, the size among `parameters` is infinity and `extrapolation` says how.
    """

    experiment: str
    parameters: Mapping[str, Any]
    observable: str
    point: Mapping[str, float | str]
    overlay: str
    claim: str
    origin: str
    comparison: Agreement
    extrapolation: Extrapolation | None = None

    @property
    def place(self) -> str:
        """The point in words."""
        return ", ".join(f"{dim}={position(value)}" for dim, value in self.point.items())

    @property
    def subject(self) -> str:
        """The observable at the point."""
        return f"{self.observable}[{self.place}]" if self.point else self.observable

    @property
    def failed(self) -> bool:
        """Whether there is nothing to compare because the simulation or the theory raised."""
        return self.comparison.verdict.startswith(_FAILED)

    @property
    def facts(self) -> dict[str, Any]:
        """What is compared and what came of it, by name."""
        names = ("observable", "overlay", "claim", "origin")
        return {name: getattr(self, name) for name in names} | dataclasses.asdict(self.comparison)

    def document(self) -> dict[str, Any]:
        """Everything for JSON: the size of an extrapolated one is "inf", and how its line was fitted follows."""
        parameters = {name: "inf" if value == np.inf else value for name, value in self.parameters.items()}
        fitted = dataclasses.asdict(self.extrapolation) if self.extrapolation else {}
        return {"parameters": parameters, "point": self.point, **self.facts, **fitted}

    @property
    def calibrates(self) -> bool:
        """Whether its score should look standard normal: an exact claim about something random."""
        return self.claim == "exact" and self.comparison.score is not None


def position(value: float | str) -> str:
    """One position along a dim in words."""
    return value if isinstance(value, str) else f"{value:g}"


def signed(score: float | None, digits: int = 1) -> str:
    """A score with its sign, none for zero; nothing where there is no score."""
    text = "" if score is None else f"{score:+z.{digits}f}"
    return (text if text.strip("+0.") else text[1:]).replace("-", "\N{MINUS SIGN}")


def badness(row: Row) -> tuple[bool, bool, float]:
    """What to sort by for the worst to be last: disagreeing ones, those that could not be tested, then large scores."""
    found = row.comparison
    return found.agrees is False, found.agrees is None, abs(found.score or 0.0)


class Paired:
    """The replicates of which both sides have a number; `quadrature` is the mean of the prediction's own errors."""

    def __init__(self, simulated: Any, predicted: Any, quadrature: Any = 0.0) -> None:
        given = (np.asarray(one, dtype=np.float64) for one in (simulated, predicted, quadrature))
        simulation, prediction, errors = np.broadcast_arrays(*given)
        valid = np.isfinite(simulation) & np.isfinite(prediction)
        self.count, self.missing = int(valid.sum()), int(valid.size - valid.sum())
        self.simulation, self.prediction = simulation[valid], prediction[valid]
        self.differences = self.simulation - self.prediction
        # as if the replicates shared one error: they do, the nodes are the same
        self.quadrature = float(np.nan_to_num(errors[valid]).mean()) if self.count else 0.0
        self.rounding = ROUNDING * float(np.abs([self.simulation, self.prediction]).max(initial=0.0))
        self.equal = float(np.abs(self.differences).max(initial=0.0)) <= self.rounding

    @property
    def means(self) -> tuple[float, float, float]:
        """Those of the simulation, of the prediction and of their difference; NaN where there is no replicate."""
        if not self.count:
            return (np.nan, np.nan, np.nan)
        return float(self.simulation.mean()), float(self.prediction.mean()), float(self.differences.mean())


def compare(
    simulated: Any,
    predicted: Any,
    *,
    allowance: float = 0.0,
    quadrature: Any = 0.0,
    bound: str | None = None,
    tolerance: float | None = None,
    limit: float = 4.0,
) -> Agreement:
    """Compare simulated replicates with a prediction: one number, or one per replicate where it was given the run.

    t = mean(d) / sqrt(se(d)^2 + allowance^2 + quadrature^2), with d = simulated - predicted, is turned into a normal
    score through Student's t with R - 1 degrees of freedom. `quadrature` is the standard error of the prediction. With
    `bound="above"` (the prediction bounds from above) only an excess counts, with "below" only a deficit. With
    `tolerance`, nothing is random and max |d| is compared with it. Where neither side varies between replicates, they
    are compared up to rounding and `limit` times the allowances.
    """
    found = Paired(simulated, predicted, quadrature)
    count, missing, differences, sides = found.count, found.missing, found.differences, found.means
    extra = float(np.hypot(allowance, found.quadrature))
    random = tolerance is None
    if count < (2 if random else 1):
        reason = f"{count} valid replicates" if count != 1 else "1 valid replicate"
        if np.ndim(predicted) == 0 and not np.isfinite(predicted):
            reason = "no prediction"
        return Agreement(*sides, np.nan, None, None, f"not tested: {reason}", count, missing, extra)
    one_sided = differences if bound == "above" else -differences if bound == "below" else np.abs(differences)
    if not random:
        worst = float(one_sided.max())
        agrees = worst <= tolerance
        verdict = "agrees" if agrees else f"differs by {worst:.2g} (tolerance {tolerance:.2g})"
        return Agreement(*sides, 0.0, None, bool(agrees), verdict, count, missing)
    fixed = max(np.ptp(found.simulation), np.ptp(found.prediction)) <= found.rounding
    if fixed or found.equal:
        agrees = float(one_sided.max()) <= found.rounding + limit * extra
        verdict = "agrees" if agrees else f"differs by {abs(sides[2]):.2g} (neither side varies)"
        identity = bool(fixed and found.equal)
        return Agreement(*sides, 0.0, None, agrees, verdict, count, missing, extra, identity)
    error = float(mean_and_error(differences)[1])
    score = normal_score(sides[2] / np.hypot(error, extra), count - 1)
    excess = score if bound == "above" else -score if bound == "below" else abs(score)
    verdict = "agrees" if excess <= limit else f"differs by {abs(score):.1f} se"
    if bound is not None and excess <= limit:
        verdict = "holds"
    elif bound is not None:
        verdict = f"violated by {excess:.1f} se"
    return Agreement(*sides, error, float(score), bool(excess <= limit), verdict, count, missing, extra)


def normal_score(t: float, degrees: float) -> float:
    """The standard normal quantile at the probability that Student's t with so many degrees of freedom lies below `t`.

    It is computed from the logarithm of the tail on the side of `t`, so that it keeps its digits in both tails.
    """
    tail = special.stdtr(degrees, -abs(t))
    logarithm = np.log(tail) if tail > 1e-290 else _log_tail(abs(t), degrees)
    return float(np.copysign(special.ndtri_exp(logarithm), t))


@dataclasses.dataclass(frozen=True)
class Tally:
    """How many comparisons came to a verdict and how many of them differ; identities are counted apart."""

    tested: int
    differing: int
    identities: int

    @property
    def headline(self) -> str:
        """The comparisons in one sentence."""
        one = self.tested == 1
        agree = f"{self.tested - self.differing} of {self.tested} comparison{'' if one else 's'} agree{'s' * one}"
        identities = f"{self.identities} {'identity is' if self.identities == 1 else 'identities are'} not counted"
        told = [words for words, count in ((agree, self.tested), (identities, self.identities)) if count]
        return "; ".join(told) or "nothing was tested"


def tally(rows: Iterable[Row]) -> Tally:
    """The comparisons counted."""
    found = [row.comparison for row in rows if row.comparison.agrees is not None]
    tested = [comparison for comparison in found if not comparison.identity]
    return Tally(len(tested), sum(one.agrees is False for one in tested), len(found) - len(tested))


def power_text(name: str, order: float) -> str:
    """A power of a size as it is written: dim, dim^2, dim^(2/3)."""
    if order == 1.0:
        return name
    simple = Fraction(order).limit_denominator(12)
    if abs(float(simple) - order) > 1e-6:
        return f"{name}^{order:g}"
    return f"{name}^{simple}" if simple.denominator == 1 else f"{name}^({simple})"


def rows(experiment: type[Experiment], results: Sequence[CellResult], *, limit: float = 4.0) -> list[Row]:
    """Every comparison that the results of one experiment allow: each compared overlay, observable and point.

    A cell, or an overlay of it, that failed gives one row per observable that says so.
    """
    found = []
    for result in results:
        for overlay in result.cell.applicable():
            if overlay.compared and (SIMULATION in result.sources or experiment.replicates > 0):
                found.extend(_rows_of(experiment, result, overlay, limit))
    return found


def _rows_of(experiment: type[Experiment], result: CellResult, overlay: Overlay, limit: float) -> list[Row]:
    simulation, theory = result.sources.get(SIMULATION), result.sources.get(overlay.label)
    statuses, parameters = result.status(overlay), result.cell.model_dump(mode="json")
    found = []
    for observable in experiment.observables:
        if not overlay.compares(observable.name):
            continue
        status = statuses.get(observable.name)
        said = {"claim": status.claim, "origin": status.origin} if status else {"claim": "", "origin": ""}
        row = functools.partial(Row, experiment.name, parameters, observable.name, overlay=overlay.label, **said)
        if simulation is None or theory is None:
            messages = [f.message for f in result.failures if f.source in (SIMULATION, overlay.label)]
            if messages and (status is not None or not statuses):
                found.append(row({}, comparison=_untested(_FAILED + messages[0])))
            continue
        if observable.name not in simulation.arrays or observable.name not in theory.arrays:
            continue
        bound = observable.bound if status is None or status.claim == "bound" else None
        if status is not None and status.claim == "bound" and bound is None:
            words = "not tested: the observable does not say on which side its theory bounds it"
            found.append(row({}, comparison=_untested(words)))
            continue
        options: Any = {"bound": bound, "tolerance": observable.tolerance, "limit": limit}
        options["allowance"] = observable.allowance(result.cell)
        for point, simulated, predicted, error in points(observable, simulation, theory):
            comparison = compare(simulated, predicted, quadrature=error, **options)
            if comparison.agrees is None:
                reasons = [text for text in (*theory.reasons, *simulation.reasons) if text]
                comparison = dataclasses.replace(comparison, verdict=comparison.verdict + why(reasons))
            found.append(row(point, comparison=comparison))
    return found


def points(observable: Observable, simulation: Values, theory: Values):
    """Each point of an observable's own dims: its coordinates, the replicates, the prediction, its quadrature error."""
    name = observable.name
    assert simulation.replicates is not None
    if theory.replicates is not None:
        numbers = np.intersect1d(simulation.replicates, theory.replicates)
        simulation = simulation.take(np.searchsorted(simulation.replicates, numbers))
        theory = theory.take(np.searchsorted(theory.replicates, numbers))
    simulated, predicted = simulation.arrays[name], theory.arrays[name]
    error = theory.errors.get(name, np.zeros_like(predicted))
    dims, leading = simulation.dims[name], theory.replicates is not None
    for place, dim in enumerate(dims):  # a theory may speak of more steps than were recorded
        here, there = simulation.coordinates[dim], theory.coordinates[dim]
        if not np.array_equal(here, there):
            at = [int(np.flatnonzero(there == one)[0]) for one in here]
            predicted, error = (np.take(one, at, axis=place + leading) for one in (predicted, error))
    for index in itertools.product(*(range(size) for size in simulated.shape[1:])):
        point = {dim: simulation.coordinates[dim][i].item() for dim, i in zip(dims, index, strict=True)}
        at = (..., *index)
        yield point, simulated[at], predicted[at], error[at]


def _log_tail(t: float, degrees: float) -> float:
    """log P(T > t) far out: the incomplete beta function through its series, which does not underflow."""
    if np.isinf(t):
        return -np.inf
    a, x = degrees / 2, degrees / (degrees + t * t)
    series = special.hyp2f1(a + 0.5, 1.0, a + 1.0, x)
    return float(a * np.log(x) + 0.5 * np.log1p(-x) - np.log(a) - special.betaln(a, 0.5) + np.log(series) - np.log(2))


def _untested(verdict: str) -> Agreement:
    return Agreement(np.nan, np.nan, np.nan, np.nan, None, None, verdict, 0, 0)


def why(reasons: Sequence[str]) -> str:
    return f" ({max(set(reasons), key=reasons.count)})" if reasons else ""
