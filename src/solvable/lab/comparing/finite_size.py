"""Agreement over sizes: asymptotic claims are extrapolated to infinite size, and the intercept is tested.

At size k the mean difference d_k = mean(simulated - predicted) of an asymptotic claim is b/k + O(1/k^2). The line
d = a + b/k is fitted by weighted least squares and a is tested against 0. (Where the observable declares another order
p of approach, k^p stands for k in the line.)

**Weights.** w_k = replicates_k x k, fixed beforehand: those 1/se_k^2 of a quantity whose variance falls like 1/size.
Measured ones follow the noise that they weigh: with four replicates at four sizes |z| > 3 is five times too frequent,
and a skewed observable biases a. Where the variances fall like size^0 or size^-2, the standard error of a is 13 or 18 %
above the least possible.

**Errors.** a = sum c_k d_k has se(a)^2 = sum c_k^2 se_k^2, with se_k from the replicates (paired where the theory was
given the run) and the degrees of freedom of Welch and Satterthwaite. Runs that all give one number at a size (no run
made a rare error) do not show their noise; such a size takes the variance that the others would have there. The
prediction's quadrature has the same nodes at every size: its error in a is |sum c_k q_k|, which is q where all are
equal, and never taken below the least q_k.

**Is it a line?** The residuals' chi-square with the measured se_k is an F variable after Welch, James and Johansen
(Biometrika 67, 1980); its one-sided normal score is the misfit. Above `limit` nothing is tested. A curvature
that moves a by z standard errors lifts the misfit by about z/1.5 with four sizes that double, by z/2.5 with three, so
an intercept that differs accuses the theory only where the misfit is below what a curvature that moves it by `limit`
would make it.

**No allowance.** The line leaves out e/k^2, which moves a by e sum c_k/k^2: -e/67000 for the sizes 100, 200, 400 and
800, -e/17000 for 50 to 400. With e ten times b that is an eighth (a quarter) of the deviation at the largest size; and
where b is one standard deviation of a run times sqrt(k), it takes 70000 (9000) replicates a size to bring the standard
error of a down to it. An allowance would guess e; the misfit measures it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy import linalg, special

from solvable.lab.comparing.agreement import (
    Agreement,
    Extrapolation,
    Paired,
    Row,
    normal_score,
    points,
    power_text,
    why,
)
from solvable.lab.declare import Experiment, Observable, Overlay
from solvable.lab.store.arrays import SIMULATION, CellResult

LEAST = 3
_CLAIMS = ("asymptotic", "heuristic")


def extrapolate(experiment: type[Experiment], results: Sequence[CellResult], limit: float = 4.0) -> list[Row]:
    """One row per group of cells that differ in `size_parameter` alone, compared overlay, observable and point.

    Only asymptotic and heuristic claims are extrapolated: an exact one holds at every size, a bound has no limit to
    reach, and where a tolerance is declared nothing is random. Two sizes always lie on a line, which nothing would
    check, so that a group with fewer than three gives no row; three of which fewer than three have two valid replicates
    give a row that says so.
    """
    found = []
    for group in _groups(experiment, results):
        for overlay in group[-1].cell.applicable():
            statuses = group[-1].status(overlay)
            for observable in experiment.observables:
                status = statuses.get(observable.name)
                if status is None or status.claim not in _CLAIMS or observable.tolerance is not None:
                    continue
                if not overlay.compares(observable.name):
                    continue
                parameters = group[-1].cell.model_dump(mode="json") | {str(experiment.size_parameter): math.inf}
                for point, comparison, line in _compared(experiment, group, overlay, observable, limit):
                    place = (experiment.name, parameters, observable.name, point, overlay.label)
                    found.append(Row(*place, status.claim, status.origin, comparison, line))
    return found


def compare_sizes(
    size: str,
    sizes: Sequence[float],
    simulated: Sequence[Any],
    predicted: Sequence[Any],
    *,
    order: float = 1.0,
    quadrature: Sequence[Any] | None = None,
    allowance: float = 0.0,
    limit: float = 4.0,
) -> tuple[Agreement, Extrapolation | None]:
    """Extrapolate simulation minus prediction in 1/size^order and compare the intercept with zero.

    `simulated[k]` are the replicates (R_k,) at `sizes[k]`, `predicted[k]` is one number or one a replicate,
    `quadrature[k]` the standard error of the prediction, of the same shape; `size` is the name of the size. Only sizes
    with two valid replicates count. Where the simulation varies at no size, the intercept is compared with zero up to
    rounding and `limit` times `allowance` (that of the largest size) and quadrature error, and has no score. The line
    is None where there are fewer than three sizes.
    """
    errors = [0.0] * len(sizes) if quadrature is None else quadrature
    every = [Paired(*one) for one in zip(simulated, predicted, errors, strict=True)]
    placed = sorted((size, place) for place, size in enumerate(sizes) if every[place].count >= 2)
    used = [every[place] for _, place in placed]
    total = sum(one.count for one in every)
    missing = sum(one.missing for one in every)
    if len(used) < LEAST:
        verdict = f"not tested: {len(used)} sizes with two valid replicates, at least {LEAST} needed"
        return Agreement(np.nan, np.nan, np.nan, np.nan, None, None, verdict, total, missing), None
    at, counts, variances = np.array(
        [(size, one.count, _variance(one)) for (size, _), one in zip(placed, used, strict=True)], dtype=np.float64
    ).T
    sides = np.array([one.means for one in used])
    differences, weights = sides[:, 2], counts * at
    unit = float(at.min() ** order)
    design = np.stack([np.ones_like(at), unit / at**order], axis=1)
    coefficients = np.linalg.solve(design.T @ (weights[:, None] * design), design.T * weights)
    at_infinity = coefficients[0]
    quadratures = np.array([one.quadrature for one in used])
    extra = max(abs(float(at_infinity @ quadratures)), float(quadratures.min()))
    slope = float(coefficients[1] @ differences * unit)
    mean, theory, intercept = (float(value) for value in at_infinity @ sides)

    def answer(
        error: float, score: float | None, agrees: bool | None, verdict: str, misfit: float | None, equal: bool = False
    ):
        places, values, errors = (tuple(one.tolist()) for one in (at, differences, np.sqrt(variances)))
        slope_error = float(np.sqrt(coefficients[1] ** 2 @ variances) * unit)
        line = Extrapolation(size, order, places, values, errors, extra, slope, slope_error, misfit)
        made = Agreement(mean, theory, intercept, error, score, agrees, verdict, total, missing, extra, equal)
        return made, line

    scale = power_text(size, order)
    varies = variances > 0.0
    if not varies.any():
        tolerated = max(one.rounding for one in used) + limit * math.hypot(allowance, extra)
        worst = float(np.abs(differences - design @ (coefficients @ differences)).max())
        if abs(intercept) <= tolerated:
            equal = bool(np.abs(differences).max() <= max(one.rounding for one in used))
            return answer(0.0, None, True, "agrees", None, equal)
        if worst > tolerated:
            return answer(0.0, None, None, f"not tested: not a line in 1/{scale} (off by {worst:.2g})", None)
        return answer(0.0, None, False, f"differs by {abs(intercept):.2g} (no run varies)", None)
    variances = np.where(varies, variances, np.mean((variances * weights)[varies]) / weights)
    degrees = counts - 1.0
    parts = at_infinity**2 * variances
    error = float(np.sqrt(parts.sum()))
    t = intercept / math.hypot(error, extra)
    score = normal_score(t, float(parts.sum() ** 2 / (parts**2 / degrees).sum()))
    contrasts = linalg.null_space(design.T).T
    misfit = _misfit(contrasts, differences, variances, degrees)
    if misfit > limit:
        return answer(error, score, None, f"not tested: not a line in 1/{scale} (misfit {misfit:.1f})", misfit)
    if abs(score) <= limit:
        return answer(error, score, True, "agrees", misfit)
    bend = design[:, 1] ** 2
    seen = math.sqrt(_chi_square(contrasts, bend, variances)) / (abs(float(at_infinity @ bend)) / error)
    if misfit > limit * seen:
        verdict = f"not tested: {abs(score):.1f} se, but perhaps not a line in 1/{scale} (misfit {misfit:.1f})"
        return answer(error, score, None, verdict, misfit)
    return answer(error, score, False, f"differs by {abs(score):.1f} se", misfit)


def _variance(found: Paired) -> float:
    """That of the mean difference, 0 where it is not seen."""
    # Where a given theory alone varies between runs, its variance is not the simulation's.
    fixed = found.equal or np.ptp(found.simulation) <= found.rounding
    return 0.0 if fixed else float(found.differences.var(ddof=1)) / found.count


def _chi_square(contrasts: np.ndarray, values: np.ndarray, variances: np.ndarray) -> float:
    """The residual chi-square of weighted least squares with weights 1/variance, through its contrasts."""
    seen = contrasts @ values
    return float(seen @ np.linalg.solve((contrasts * variances) @ contrasts.T, seen))


def _misfit(contrasts: np.ndarray, differences: np.ndarray, variances: np.ndarray, degrees: np.ndarray) -> float:
    """The normal score of the residual chi-square of means whose variances are estimated.

    Johansen: chi^2 / (p + 2A - 6A/(p + 2)) is F with p = sizes - 2 and p (p + 2)/(3A) degrees of freedom, with
    A = sum P_kk^2 / degrees_k, P = V L' (L V L')^-1 L for the contrasts L.
    """
    count = len(contrasts)
    weighted = contrasts * variances
    shares = np.einsum("ik,ik->k", weighted, np.linalg.solve(weighted @ contrasts.T, contrasts))
    small = float((shares**2 / degrees).sum())
    statistic = _chi_square(contrasts, differences, variances) / (count + 2 * small - 6 * small / (count + 2))
    tail = special.fdtrc(count, count * (count + 2) / (3 * small), statistic)
    return -float(special.ndtri_exp(math.log(max(tail, 1e-300))))


def _groups(experiment: type[Experiment], results: Sequence[CellResult]) -> Iterable[list[CellResult]]:
    """The cells that differ in the size alone, smallest first, where there are enough sizes."""
    if experiment.size_parameter is None:
        return []
    groups: dict[str, list[CellResult]] = {}
    for result in results:
        others = result.cell.model_dump(mode="json", exclude={experiment.size_parameter})
        groups.setdefault(json.dumps(others, sort_keys=True), []).append(result)
    ordered = [
        sorted(group, key=lambda one: getattr(one.cell, str(experiment.size_parameter))) for group in groups.values()
    ]
    return [group for group in ordered if len(group) >= LEAST]


def _compared(
    experiment: type[Experiment], group: Sequence[CellResult], overlay: Overlay, observable: Observable, limit: float
) -> Iterable[tuple[dict[str, float], Agreement, Extrapolation | None]]:
    """Each point that every size has, extrapolated."""
    data: dict[tuple[tuple[str, float], ...], list[tuple[float, Any, Any, Any]]] = {}
    reasons: list[str] = []
    there = 0
    for result in group:
        simulation, theory = result.sources.get(SIMULATION), result.sources.get(overlay.label)
        if simulation is None or theory is None:
            continue
        if observable.name not in simulation.arrays or observable.name not in theory.arrays:
            continue
        there += 1
        reasons.extend(text for text in (*theory.reasons, *simulation.reasons) if text)
        size = float(getattr(result.cell, str(experiment.size_parameter)))
        for point, simulated, predicted, error in points(observable, simulation, theory):
            data.setdefault(tuple(point.items()), []).append((size, simulated, predicted, error))
    options: Any = {"order": observable.order, "allowance": observable.allowance(group[-1].cell), "limit": limit}
    for point, entries in data.items():
        if len(entries) < there:
            continue
        *sides, errors = zip(*entries, strict=True)
        comparison, line = compare_sizes(str(experiment.size_parameter), *sides, quadrature=errors, **options)
        if line is None:
            comparison = dataclasses.replace(comparison, verdict=comparison.verdict + why(reasons))
        yield dict(point), comparison, line
