"""What is observed of two-timescale networks, and the theories: one function and its claim on every observable each."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvable.lab.declare import Observable, Predicted, Status, Theory

NEURONS = ("at", "neuron")
observables = (
    Observable("error", "int (f - f*)^2", dims=("at",)),
    Observable("positions", "positions of the neurons", dims=NEURONS),
    Observable("outer", "outer weights", dims=NEURONS),
    Observable("bias", "bias", dims=("at",)),
    Observable("hit_times", "slow time at which a neuron first reaches the jump", dims=("jump",)),
    Observable("covered", "1 where a neuron is on the jump in the end", dims=("jump",)),
    Observable("final_error", "int (f - f*)^2 in the end"),
)
LARGE = 1.0  # a step of descent may move neurons by as much, in units of the width, and still be near a flow
ON = 1e-9  # how near a neuron of the limit is to a jump on which it rests


def limit(task: Any, algorithm: Any, runs: Any, at: Any) -> Any:
    """The limit flow from every start, its error plus the floor of the width."""
    from solvable.networks.two_timescale.integrals import width_floor
    from solvable.networks.two_timescale.limit import limit_flow

    paths, floor = [limit_flow(task, start) for start in runs.start], width_floor(task, algorithm.width)
    places = np.stack([path.at(at) for path in paths])
    values = {
        "error": np.stack([path.error(at) for path in paths]) + floor,
        "positions": places,
        "outer": np.stack([path.outer(at) for path in paths]),
        "bias": np.stack([path.bias(at) for path in paths]),
        "hit_times": np.stack([np.where(path.hit_times <= at[-1], path.hit_times, np.inf) for path in paths]),
        "covered": np.any(np.abs(places[:, -1, :, None] - task.positions) <= ON, axis=1),
    }
    values["final_error"] = values["error"][:, -1]
    status = {}
    if all(path.valid for path in paths):
        status = {name: Status("asymptotic", "stated") for name in ("error", "positions", "final_error")}
    return Predicted(values, runs.result, status=_each("heuristic") if _jumps(task, algorithm) else status)


def flow(task: Any, algorithm: Any, runs: Any, at: Any) -> Any:
    """The population flow at this ratio and width, of the same derivative."""
    import jax.numpy as jnp

    from solvable.lab.declare import Result
    from solvable.networks.two_timescale.algorithms import GradientFlow, Run
    from solvable.networks.two_timescale.flow import flows
    from solvable.networks.two_timescale.measures import measured
    from solvable.networks.two_timescale.task import stacked

    box = getattr(algorithm, "derivative", "exact") == "box"
    tasks = stacked([task] * len(runs.start))
    state, hits, result = flows(
        tasks, jnp.asarray(runs.start), algorithm.rate_ratio, algorithm.width, box, jnp.asarray(at)
    )
    found = Run(at, state.positions, state.outer, state.bias, runs.start, hits, result, tasks)
    values = measured(found, algorithm.width)
    lost = np.asarray(result)
    lost = np.where(np.isfinite(values["error"]).all(axis=1), lost, np.maximum(lost, int(Result.NONFINITE)))
    claim = "heuristic" if _jumps(task, algorithm) else "asymptotic"
    return Predicted(values, lost, status={} if isinstance(algorithm, GradientFlow) else _each(claim))


def _jumps(task: Any, algorithm: Any) -> bool:
    """Whether one step of descent may move a neuron by more than its width, which no flow does."""
    outer_rate = getattr(algorithm, "outer_rate", 0.0)
    with np.errstate(over="ignore"):
        largest = np.max(np.abs(task.jumps))
        move = 6.0 * outer_rate * algorithm.rate_ratio * largest * (largest + task.noise) / algorithm.width
    return bool(move > LARGE * algorithm.width)


def _each(claim: Any) -> dict[str, Status]:
    return {one.name: Status(claim, "derived") for one in observables}


theories = {
    "limit": Theory(
        "rate_ratio to 0, then width to 0, from the start of each run: f is the mean of f* between neurons, which move "
        "by the authors' law of pairs where every piece has two, and from any other start as derived here; the error "
        "is that of the limit plus width/28 sum jump^2",
        _each("asymptotic"),
        limit,
        given=("start", "positions"),
    ),
    "flow": Theory(
        "the population gradient flow at this ratio and width from the start of each run, by exact integrals; the "
        "limit of small outer rates for descent",
        _each("exact"),
        flow,
        given=("start", "positions"),
    ),
}
