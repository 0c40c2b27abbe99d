"""Gossip against what one would write without this library: activations of edges, exact curves, advice.

    python benchmarks/gossip.py [--quick]

Prints Markdown tables. One thread each side, on one CPU. Times are CPU seconds of the process, the least of several
repeats after a warm-up: the machine may be shared. Nothing here is part of the tests.

What is compared
* activations: 12 000 of accelerated pairwise gossip on a 15 x 15 grid. `simulate`, whose replicates run together in one
  compiled loop, a replicate, against four loops over the events of one replicate: NumPy that mixes all nodes at each
  event; Python that mixes the two nodes that wake, on lists and on entries of NumPy arrays; and NumPy with a
  pseudo-inverse of the Laplacian an event, in the style of DADAO (a re-implementation of the idea, not its code: few
  events are timed, and scaled). The loops take the same events and agree; `simulate` is compared with the exact
  moments. Goals: 50 times the first, 30 times the lazy ones.
* curve: the exact error of 300 rounds by `predict` against 10 simulated draws by `simulate`, all at once, and by a loop
  of SciPy, a draw at a time, as the notebooks of arXiv:1805.08531 have it. Goal: 3 times, eigenvalues known.
* advice: `advise` on 60 nodes and on 100 000 nodes with 300 000 edges, no peer timed. Goal: below 10 s, and as many
  rounds as fresh values take, to 1 (the mean of 8 draws, and the least and the most that one takes).
"""

from __future__ import annotations

import one_thread

# isort: split
import argparse
import math
import os
import platform
import time
from importlib.metadata import version
from typing import Any

import jax
import networkx
import numpy as np
from sparse_tokens import best as least
from sparse_tokens import processor, table

from solvable.iterations import gossip as gs
from solvable.iterations.gossip.pairwise import constants

EVENTS, SIDE, COUNT = 12_000, 15, 64
ROUNDS, DRAWS = np.arange(301), 10
PSEUDO_INVERSES = 10  # events of DADAO's style that are timed
GOALS = {"NumPy, all nodes": 50.0, "Python, lazy, arrays": 30.0, "Python, lazy, lists": 30.0}


def seconds(value: float) -> str:
    """Seconds as a cell."""
    return f"{1e3 * value:.2f} ms" if value < 1.0 else f"{value:.2f} s"


def times(ratio: float, goal: float) -> tuple[str, str]:
    """A ratio and whether it meets its goal, as cells."""
    return f"{ratio:.1f}", "met" if ratio >= goal else f"missed ({goal:g})"


# ---- activations


def events(network: gs.Network, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, the edges that wake and when."""
    random = np.random.default_rng(0)
    edges = network.edges[random.integers(len(network.edges), size=count)]
    return random.standard_normal(network.nodes), edges, np.cumsum(random.exponential(size=count))


def all_nodes(start: np.ndarray, edges: np.ndarray, at: np.ndarray, eta: float, gamma: float) -> np.ndarray:
    """All nodes are mixed at each event."""
    x, z, last = start.copy(), start.copy(), 0.0
    for (v, w), now in zip(edges.tolist(), at.tolist(), strict=True):
        moved = 0.5 * (1.0 - np.exp(-2.0 * eta * (now - last))) * (z - x)
        x, z, last = x + moved, z - moved, now
        gap = x[v] - x[w]
        x[v], x[w], z[v], z[w] = x[v] - 0.5 * gap, x[w] + 0.5 * gap, z[v] - gamma * gap, z[w] + gamma * gap
    return x


def two_nodes(
    start: np.ndarray, edges: np.ndarray, at: np.ndarray, eta: float, gamma: float, lists: bool
) -> np.ndarray:
    """The two nodes that wake are mixed, and all at the end."""
    x: Any = start.tolist() if lists else start.copy()
    z: Any = start.tolist() if lists else start.copy()
    last: Any = [0.0] * len(start) if lists else np.zeros(len(start))

    def bring(node: int, now: float) -> None:
        moved = 0.5 * (1.0 - math.exp(-2.0 * eta * (now - last[node]))) * (z[node] - x[node])
        x[node] += moved
        z[node] -= moved
        last[node] = now

    for (v, w), now in zip(edges.tolist(), at.tolist(), strict=True):
        bring(v, now)
        bring(w, now)
        gap = x[v] - x[w]
        x[v] -= 0.5 * gap
        x[w] += 0.5 * gap
        z[v] -= gamma * gap
        z[w] += gamma * gap
    for node in range(len(x)):
        bring(node, at[-1])
    return np.array(x)


def pseudo_inverse(
    start: np.ndarray, edges: np.ndarray, at: np.ndarray, eta: float, gamma: float, laplacian: np.ndarray
) -> np.ndarray:
    """The step on z by the projection L^+ L of the edge, the pseudo-inverse taken anew at each event."""
    x, z, last = start.copy(), start.copy(), 0.0
    for (v, w), now in zip(edges.tolist(), at.tolist(), strict=True):
        moved = 0.5 * (1.0 - np.exp(-2.0 * eta * (now - last))) * (z - x)
        x, z, last = x + moved, z - moved, now
        edge = np.zeros(len(x))
        edge[v], edge[w] = 1.0, -1.0
        step = (laplacian @ (np.linalg.pinv(laplacian, hermitian=True) @ edge)) * (x[v] - x[w])
        x, z = x - 0.5 * step, z - gamma * step
    return x


def benchmark_activations(quick: bool) -> None:
    """The first table."""
    network = gs.Grid((SIDE, SIDE)).network
    task, algorithm = gs.Averaging(network), gs.Pairwise(True)
    eta, gamma = constants(algorithm, network)
    start, edges, at = events(network, EVENTS)
    few = slice(0, PSEUDO_INVERSES)
    repeats = 1 if quick else 3
    peers, ends = {}, {}
    peers["NumPy, all nodes"], ends["all"] = least(lambda: all_nodes(start, edges, at, eta, gamma), repeats)
    peers["Python, lazy, arrays"], ends["arrays"] = least(
        lambda: two_nodes(start, edges, at, eta, gamma, False), repeats
    )
    peers["Python, lazy, lists"], ends["lists"] = least(lambda: two_nodes(start, edges, at, eta, gamma, True), repeats)
    laplacian = network.laplacian.toarray()
    dadao, late = least(lambda: pseudo_inverse(start, edges[few], at[few], eta, gamma, laplacian), 1)
    peers["DADAO's style"] = dadao * EVENTS / PSEUDO_INVERSES
    print("## 12 000 activations on a 15 x 15 grid, a replicate\n")
    rows: list[tuple[Any, ...]] = []
    outcome: Any = None
    for count in (1, COUNT):

        def ours(count: int = count) -> Any:
            return gs.simulate(task, algorithm, at=[EVENTS], replicates=count, key=jax.random.key(0))

        first = time.process_time()
        ours()
        first = time.process_time() - first
        spent, outcome = least(ours, repeats, warm=False)
        for name, peer in peers.items():
            ratio = peer * count / spent
            goal = GOALS.get(name)
            met = "" if goal is None else times(ratio, goal)[1]
            rows.append((count, seconds(first), seconds(spent / count), name, seconds(peer), f"{ratio:.1f}", met))
    table(("replicates", "first call", "ours", "peer", "its time", "ratio", "goal"), rows)
    early = all_nodes(start, edges[few], at[few], eta, gamma)
    exact = gs.predict(task, algorithm, at=[EVENTS]).squared_error[0]
    found = np.asarray(outcome.squared_error)[:, 0]
    score = (found.mean() - exact) / (found.std(ddof=1) / COUNT**0.5)
    apart = max(np.abs(ends["all"] - one).max() for one in ends.values())
    print(
        f"The loops agree to {apart:.0e}, DADAO's style after {PSEUDO_INVERSES} events to "
        f"{np.abs(early - late).max():.0e}. Mean squared error of {COUNT} replicates against the exact one: "
        f"z = {score:+.1f}.\n"
    )


# ---- exact curves


def draw_by_draw(network: gs.Network, algorithm: Any) -> np.ndarray:
    """The mean squared errors of 10 draws, a draw at a time."""
    matrix, random = network.matrix, np.random.default_rng(0)
    a, b, c = algorithm.recursion(network, int(ROUNDS[-1]))
    total = np.zeros(len(ROUNDS))
    for _ in range(DRAWS):
        now = random.standard_normal(network.nodes)
        mean, before = now.mean(), now
        total[0] += ((now - mean) ** 2).mean()
        for t in range(len(ROUNDS) - 1):
            now, before = a[t] * (matrix @ now) + b[t] * now - c[t] * before, now
            total[t + 1] += ((now - mean) ** 2).mean()
    return total / DRAWS


def curve_row(name: str, network: gs.Network) -> tuple[Any, ...]:
    """One line of the second table."""
    begun = time.process_time()
    _ = network.eigenvalues
    eigen = time.process_time() - begun
    task, algorithm = gs.Averaging(network), gs.Jacobi()
    exact, curve = least(lambda: gs.predict(task, algorithm, at=ROUNDS), 5)
    drawn, outcome = least(lambda: gs.simulate(task, algorithm, at=ROUNDS, replicates=DRAWS), 5)
    loop, _ = least(lambda: draw_by_draw(network, algorithm), 3)
    errors = np.asarray(outcome.squared_error)
    scores = (errors.mean(axis=0) - curve.squared_error) / (errors.std(axis=0, ddof=1) / DRAWS**0.5)
    cells = (seconds(eigen), seconds(exact), seconds(drawn), seconds(loop), *times(drawn / exact, 3.0))
    return (name, *cells, f"{np.abs(scores).max():.1f}")


def benchmark_curve() -> None:
    """The second table."""
    print("## Jacobi gossip, 0 to 300 rounds, 1 600 nodes: the exact curve against 10 draws\n")
    geometric = gs.RandomGeometric(1600, 2, 1.5 / 40).sample(jax.random.key(0)).network
    rows = [curve_row("grid", gs.Grid((40, 40)).network), curve_row("geometric", geometric)]
    head = ("network", "eigenvalues", "exact", "10 draws", "10 draws, a loop each", "10 draws / exact", "goal 3")
    table((*head, "largest score"), rows)


# ---- advice


def advice_row(name: str, graph: Any, accuracy: float) -> tuple[Any, ...]:
    """One line of the third table."""
    begun = time.process_time()
    network = gs.Network.from_networkx(graph)
    reading = time.process_time() - begun
    begun = time.process_time()
    found = gs.advise(network, accuracy)
    spent = time.process_time() - begun
    rounds = {row.method: row.rounds for row in found.rows}
    (tuned,) = [row for row in found.rows if row.method == "tuned"]
    fresh = gs.simulate(
        gs.Averaging(network),
        tuned.algorithm,
        at=np.arange((tuned.rounds or 0) + 11),
        replicates=8,
        key=jax.random.key(1),
    )
    left = np.asarray(fresh.squared_error)
    each = (left <= accuracy**2 * left[:, :1]).argmax(axis=1)
    mean = left.mean(axis=0)
    taken = f"{int((mean <= accuracy**2 * mean[0]).argmax())} ({each.min()} to {each.max()})"
    cells = (seconds(reading), seconds(spent), "met" if spent < 10.0 else "missed")
    return (name, f"{accuracy:g}", *cells, rounds["simple"], rounds["chebyshev"], tuned.rounds, taken)


def benchmark_advice(quick: bool) -> None:
    """The third table."""
    print("## advise\n")
    rows = [
        advice_row("60 nodes, small world", networkx.connected_watts_strogatz_graph(60, 4, 0.1, seed=0), 1e-6),
    ]
    if not quick:
        rows.append(advice_row("100 000 nodes, small world", networkx.watts_strogatz_graph(100_000, 6, 0.2, 0), 1e-3))
        rows.append(advice_row("100 000 nodes, Barabasi-Albert", networkx.barabasi_albert_graph(100_000, 3, 0), 1e-3))
    head = ("network", "accuracy", "reading", "advise", "goal 10 s", "simple", "chebyshev", "tuned")
    table((*head, "tuned, on 8 fresh draws (each)"), rows)
    print("mixingmatrix is not installed, and not timed.\n")


def main() -> None:
    """All parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="leave the long ones out")
    quick = parser.parse_args().quick
    print("# Gossip\n")
    print(f"{processor()}, {one_thread.CPUS} CPUs, one thread on one of them, load average {os.getloadavg()[0]:.1f}")
    libraries = ("numpy", "scipy", "networkx", "jax")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in libraries) + "\n")
    benchmark_activations(quick)
    benchmark_curve()
    benchmark_advice(quick)


if __name__ == "__main__":
    main()
