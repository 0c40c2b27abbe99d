"""What is observed of networks on a single-index target, and the theories: one function and its claims each."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvable.lab.declare import Observable, Predicted, Status, Theory

NEURONS, DEGREES = ("at", "neuron"), ("at", "degree")
observables = (
    Observable("risk", "population risk, half the mean square, without label noise", dims=("at",)),
    Observable("components", "residual component rho_k of each degree", dims=DEGREES),
    Observable("alignment", "alignment s of each neuron", dims=NEURONS),
    Observable("outer", "outer weight a of each neuron", dims=NEURONS),
    Observable("learning_times", "last time at which |rho_k| is above |phi_k| / 2", dims=("degree",)),
)
NAMES = tuple(one.name for one in observables)


def overlaps(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """The population flow at this dimension and width, from the start of each run."""
    from solvable.networks.single_index import overlaps as finite
    from solvable.networks.single_index.algorithms import Descent, scale_of
    from solvable.networks.single_index.mean_field import learning_times

    one, times = algorithm.model(task), at * scale_of(algorithm, unit)
    outer, alignment, gram = (runs.need(name) for name in ("outer", "alignment", "gram"))
    found = []
    lost = np.full((len(times), algorithm.neurons), np.nan)
    for r, code in enumerate(runs.result):
        start = finite.Start(outer[r], alignment[r], gram[r])
        if code == 0:
            flow = finite.flow(one, float(algorithm.rate_ratio), start.outer, finite.coordinates_of(start), times)
        else:  # nothing is said of a run that failed
            flow = finite.Flow(lost, lost, lost[:, 0], np.full(len(one.watched), np.nan), 0)
        rho = finite.components(one, flow.outer, flow.alignment)
        ends = finite.residuals(one, flow.outer[-1:], flow.alignment[-1:])
        known = learning_times(one, flow.crossings[None], ends)[0]
        found.append((flow.risk, rho, flow.alignment, flow.outer, known, flow.result))
    risk, rho, s, a, known, result = map(np.stack, zip(*found, strict=True))
    # of SGD as steps become small; of a series that ends as it becomes long
    inexact = isinstance(algorithm, Descent) or max(one.cross.beyond, one.own.beyond) > 1e-7 * one.square
    status = _each("asymptotic", "derived") if inexact else {}
    return Predicted(dict(zip(NAMES, (risk, rho, s, a, known), strict=True)), result, status=status)


def mean_field(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """The flow as d, then m, go to infinity, from s = 0 and the outer weights of each run."""
    from solvable.lab.declare import Result
    from solvable.networks.single_index import mean_field as limit
    from solvable.networks.single_index.algorithms import scale_of
    from solvable.networks.single_index.model import residuals

    eps, drawn = float(algorithm.rate_ratio), runs is None and isinstance(algorithm.outer, str)
    one, times = algorithm.model(task), at * scale_of(algorithm, unit)
    smallest = limit.SMALLEST / one.square
    if eps < smallest:
        raise ValueError(
            f"rate_ratio={eps:g} is below {smallest:.3g}, {limit.SMALLEST:g} over the mean square of the target, where "
            "rho_0 / rate_ratio has no digits in theory='mean_field'; accepted: larger ones, or theory='stages'"
        )
    outer = algorithm.typical_outer()[None] if runs is None else runs.need("outer")
    path = limit.flows(one, eps, outer, np.zeros_like(outer), times)
    a, s, crossings, result = (np.asarray(part) for part in path[:4])
    rho = residuals(one, a, s)
    risk = 0.5 * ((rho**2).sum(-1) + one.rest)
    rises = np.diff(risk, axis=1).max(axis=1, initial=0.0) > 1e-8 * one.square
    result = np.where((result == 0) & rises, int(Result.NONFINITE), result)
    values = {"risk": risk, "components": rho[..., : one.degrees]}
    values["learning_times"] = limit.learning_times(one, crossings, rho[:, -1])
    if not drawn:
        values |= {"alignment": s, "outer": a}
    # the largest of m normals, which decide when degree 2 is learnt, have no limit
    status = _each("heuristic", "stated") if drawn and algorithm.outer == "normal" else {}
    if one.rest - one.lost > 1e-9 * one.square:  # what the activation has beyond the degrees that are followed
        status = status | {"risk": Status("heuristic", "stated")}
    return Predicted(values, result, status=status)


def stages(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """Closed forms of the learning times, and the risk as a staircase between them."""
    from solvable.networks.single_index.algorithms import scale_of
    from solvable.networks.single_index.scales import formulas
    from solvable.networks.single_index.scales import stages as scales

    one, eps, times = algorithm.model(task), float(algorithm.rate_ratio), at * scale_of(algorithm, unit)
    known = scales(task.target, algorithm.activation)
    outer = algorithm.typical_outer()[None] if runs is None else runs.need("outer")
    found = np.stack([formulas(one, eps, row) for row in outer])
    squares = one.target[: one.degrees] ** 2
    open_ = np.where(np.isnan(found), np.inf, found)[:, None, :] > times[None, :, None]
    risk = 0.5 * ((open_ * squares).sum(-1) + (one.target[one.degrees :] ** 2).sum() + one.rest)
    # a degree with an exponent and no formula may be learnt from its scale on: what the risk is then is not known
    for row, own in zip(risk, found, strict=True):
        nameless = np.isnan(own) & np.isfinite(known.exponents)
        if nameless.any():
            row[times >= eps ** known.exponents[nameless].max()] = np.nan
    return Predicted({"learning_times": found, "risk": risk})


def _each(claim: Any, origin: Any) -> dict[str, Status]:
    return {one.name: Status(claim, origin) for one in observables}


theories = {
    "overlaps": Theory(
        "population flow at finite d and m in outer weights, alignments and the Gram matrix, from the start of each "
        "run; the limit of small steps for SGD",
        _each("exact", "derived"),
        overlaps,
        given=("start", "outer", "alignment", "gram"),
        needs_given=True,
    ),
    "mean_field": Theory(
        "d to infinity, then m: neurons meet through the residual components alone, from s = 0 (arXiv:2303.00055, "
        "Eq. 23)",
        _each("asymptotic", "stated"),
        mean_field,
        given=("start", "outer"),
    ),
    "stages": Theory(
        "rate_ratio to 0 after that: closed forms of the learning times of degrees 0 to 2 (those above have an "
        "exponent and no formula), and the plateaus of the risk between them (a conjecture of arXiv:2303.00055)",
        {"learning_times": Status("asymptotic", "derived"), "risk": Status("heuristic", "stated")},
        stages,
        given=("start", "outer"),
    ),
}
