"""What is observed of gossip, and the theories: one function and its claim on every observable each."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvable.lab.declare import Observable, Predicted, Status, Theory

MOST_ALPHA = 50  # up to which the waves of the limit are computed

observables = (
    Observable("squared_error", "|x - mean|^2 / n", dims=("at",), log=True),
    Observable("drift", "error of the mean", dims=("at",)),
    Observable("profile", "values u", dims=("at", "point")),
)


def spectral(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """sum_i shares_i P_t(lam_i)^2 over the eigenvalues but the first."""
    from solvable.iterations.gossip import polynomials
    from solvable.iterations.gossip.algorithms import LocalAveraging, ParameterFree, Synchronous

    _require("spectral", task, algorithm, Synchronous, "moments")

    def of(problem: Any, values: Any) -> Any:
        from solvable.iterations.gossip.runs import rounds_in

        network = problem.network
        algorithm.require(network)
        rounds = rounds_in(network, at, unit)
        if isinstance(algorithm, LocalAveraging):
            return _over_balls(network, values, rounds)
        if isinstance(algorithm, ParameterFree):
            if problem.values is None:
                algorithm.recursion(network, 0)
            total = sum(polynomials.least(one, rounds) for one in _measures(network, problem.columns))
            return total, np.zeros(len(rounds))
        recursion = algorithm.recursion(network, int(rounds[-1]))
        total = sum(
            polynomials.evaluate(recursion, one.eigenvalues, rounds) ** 2 @ one.shares
            for one in _measures(network, values)
        )
        return total, np.zeros(len(rounds))

    return _of_each(task, algorithm, runs, of)


def best(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """The least that polynomials of t rounds can leave, whatever the algorithm.

    It bounds what does not adapt to the values or to the activations, and is a curve of reference for what does.
    """
    from solvable.iterations.gossip import polynomials
    from solvable.iterations.gossip.algorithms import LocalAveraging, Pairwise, ParameterFree
    from solvable.iterations.gossip.runs import rounds_in

    _require("best", task, algorithm, object, "")

    def of(problem: Any, values: Any) -> Any:
        rounds = rounds_in(problem.network, at, unit)
        whole = _measures(problem.network, values)
        if len(whole) > 1:  # all columns share the polynomial
            whole = [whole[0]._replace(shares=sum(one.shares for one in whole))]
        return polynomials.least(whole[0], rounds), None

    found = _of_each(task, algorithm, runs, of)
    column = getattr(task, "values", None) is not None and runs.problems[0].columns.shape[1] == 1
    adapts = isinstance(algorithm, LocalAveraging | Pairwise) or (isinstance(algorithm, ParameterFree) and not column)
    status = {"squared_error": Status("heuristic", "derived")} if adapts else {}
    return Predicted(found.values, found.result, status=status)


def moments(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """The second moments of all pairs of nodes."""
    from solvable.iterations.gossip.algorithms import Pairwise
    from solvable.iterations.gossip.moments import errors
    from solvable.iterations.gossip.runs import activations_in

    _require("moments", task, algorithm, Pairwise, "spectral")

    def of(problem: Any, values: Any) -> Any:
        counted = activations_in(at, unit)
        return errors(algorithm, problem.network, values, counted, unit == "time"), np.zeros(len(at))

    return _of_each(task, algorithm, runs, of)


def bound(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """What the Lyapunov function of asynchronous gossip guarantees."""
    from solvable.iterations.gossip.algorithms import Pairwise
    from solvable.iterations.gossip.moments import guarantee
    from solvable.iterations.gossip.runs import activations_in

    _require("bound", task, algorithm, Pairwise, "spectral")

    def of(problem: Any, values: Any) -> Any:
        counted = activations_in(at, unit)
        return guarantee(algorithm, problem.network, values, counted, unit == "time"), None

    return _of_each(task, algorithm, runs, of)


def heat(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """The heat equation."""
    from solvable.iterations.gossip.algorithms import Simple
    from solvable.iterations.gossip.lattice import heat_limit

    return _limit("heat", heat_limit, Simple, task, algorithm, runs, at, unit)


def epd(task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    """The Euler-Poisson-Darboux equation."""
    from solvable.iterations.gossip.algorithms import Jacobi
    from solvable.iterations.gossip.lattice import epd_limit

    if getattr(algorithm, "alpha", 0.0) > MOST_ALPHA:
        raise ValueError(
            f"alpha={float(algorithm.alpha):g} is not accepted by theory='epd'; accepted: alpha <= {MOST_ALPHA}"
        )
    return _limit("epd", epd_limit, Jacobi, task, algorithm, runs, at, unit)


def _require(name: str, task: Any, algorithm: Any, kind: type, other: str) -> None:
    from solvable.iterations.gossip.lattice import Lattice

    if isinstance(task, Lattice):
        raise ValueError(f"theory={name!r} speaks of networks, and task is a Lattice; accepted: 'heat', 'epd'")
    if not isinstance(algorithm, kind):
        raise ValueError(f"theory={name!r} does not speak of {type(algorithm).__name__}; accepted: theory={other!r}")


def _of_each(task: Any, algorithm: Any, runs: Any, of: Any) -> Any:
    """Errors and drifts (R, K); problems that are alike are solved once."""
    from solvable.iterations.gossip.algorithms import ParameterFree
    from solvable.lab.declare import Result

    found: dict[Any, Any] = {}
    rows = []
    for problem in runs.problems:
        valued = getattr(task, "values", None) is not None
        key = (id(problem.network), id(problem.values) if valued or isinstance(algorithm, ParameterFree) else None)
        if key not in found:
            found[key] = of(problem, problem.columns if valued else None)
        rows.append(found[key])
    errors, drifts = zip(*rows, strict=True)
    answer = {"squared_error": np.stack(errors)} | ({} if drifts[0] is None else {"drift": np.stack(drifts)})
    lost = ~np.isfinite(answer["squared_error"]).all(axis=1)
    return Predicted(answer, np.where(lost, int(Result.NONFINITE), int(Result.SUCCESSFUL)))


def _measures(network: Any, values: Any) -> Any:
    """The spectrum of independent values, or that of each column of values (n, k)."""
    from solvable.iterations.gossip.spectrum import Measure

    nodes = network.nodes
    if values is None:
        return [Measure(network.eigenvalues[1:], np.full(nodes - 1, 1.0 / nodes))]
    eigenvalues, vectors = network.modes
    shares = (vectors.T @ (values - values.mean(axis=0))) ** 2 / nodes
    return [Measure(eigenvalues[1:], column[1:]) for column in shares.T]


def _over_balls(network: Any, values: Any, rounds: np.ndarray) -> Any:
    """For means over balls B_v of independent values: sum_v (1/|B_v|) - 1, over n; their mean is Gaussian."""
    from solvable.iterations.gossip.algorithms import distances_of

    distances, nodes = distances_of(network), network.nodes
    errors, drifts = [], []
    for radius in rounds:
        inside = distances <= radius
        shares = inside / inside.sum(axis=1, keepdims=True)
        if values is None:
            errors.append(max((1.0 / inside.sum(axis=1)).sum() / nodes - 1.0 / nodes, 0.0))
            off = shares.mean(axis=0) - 1.0 / nodes
            drifts.append(np.sqrt(2.0 / np.pi) * np.linalg.norm(off))
        else:
            centred = values - values.mean(axis=0)
            found = shares @ centred
            errors.append((found**2).sum() / nodes)
            drifts.append(np.linalg.norm(found.mean(axis=0)))
    return np.array(errors), np.array(drifts)


def _limit(name: str, limit: Any, kind: type, task: Any, algorithm: Any, runs: Any, at: Any, unit: str) -> Any:
    from solvable.iterations.gossip.lattice import Lattice
    from solvable.lab.declare import Result

    if not isinstance(task, Lattice):
        raise ValueError(
            f"theory={name!r} speaks of a Lattice, and task is {type(task).__name__}; accepted: 'spectral'"
        )
    task.require(algorithm)
    if not isinstance(algorithm, kind):
        other = "epd" if name == "heat" else "heat"
        raise ValueError(f"theory={name!r} does not speak of {type(algorithm).__name__}; accepted: theory={other!r}")
    if runs.times is None and unit != "time":
        raise ValueError(f"unit={unit!r} has no time without the size of the lattice; accepted: unit='time', or given=")
    rows = [at] if runs.times is None else np.asarray(runs.times)
    if task.initial == "point" and np.min(rows) <= 0.0:
        raise ValueError("at holds 0, where initial='point' has no density; accepted: times above 0")
    found, resolved = zip(*(limit(task, algorithm, np.asarray(row, float)) for row in rows), strict=True)
    result = np.where(resolved, int(Result.SUCCESSFUL), int(Result.UNDER_RESOLVED))
    # a point's mass comes near its density in averages over many lattice points, not at each
    status = {"profile": Status("heuristic", "derived")} if task.initial == "point" else {}
    return Predicted(
        {"profile": np.stack(found)}, result, status=status, detail=" (the initial condition is too rough)"
    )


GIVEN = ("problems", "times")
DERIVED = {claim: Status(claim, "derived") for claim in ("exact", "bound", "asymptotic")}
theories = {
    "spectral": Theory(
        "(1/n) sum_(i >= 2) P_t(lam_i)^2 for independent N(0, 1) values, and with the squares of their components for "
        "given ones; for local averaging the counts of its balls",
        {"squared_error": DERIVED["exact"], "drift": DERIVED["exact"]},
        spectral,
        given=GIVEN,
    ),
    "moments": Theory(
        "the second moments of all pairs of nodes under activations at random, of values and of their mixing partners",
        {"squared_error": DERIVED["exact"], "drift": DERIVED["exact"]},
        moments,
        given=GIVEN,
    ),
    "best": Theory(
        "no polynomial of t rounds, P_t(1) = 1, leaves less: those orthogonal in (1 - lambda) times the spectrum",
        {"squared_error": DERIVED["bound"]},
        best,
        given=GIVEN,
    ),
    "bound": Theory(
        "(|x_0|^2 + mu_g |x_0|^2_(L^+)) e^(-eta t) / n of accelerated gossip, 8 r |x_0|^2_(L^+) / (n t^2) without the "
        "gap (2 r with tight steps), and |x_0|^2 e^(-mu_g t / 2) / n of the simple one",
        {"squared_error": DERIVED["bound"]},
        bound,
        given=GIVEN,
    ),
    "heat": Theory(
        "u_t = div(Sigma grad u) / 2, the limit of simple gossip on a lattice (that it is the heat equation is stated "
        "by arXiv:2202.10742)",
        {"profile": DERIVED["asymptotic"]},
        heat,
        given=GIVEN,
    ),
    "epd": Theory(
        "u_tt + ((2 alpha + 1)/t) u_t = div(Sigma grad u) from rest, the limit of Jacobi gossip on a lattice (that it "
        "is an Euler-Poisson-Darboux equation is stated by arXiv:2202.10742)",
        {"profile": DERIVED["asymptotic"]},
        epd,
        given=GIVEN,
    ),
}
