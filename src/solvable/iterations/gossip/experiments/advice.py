"""Which method for which network: every one against the best of all polynomials, and what a user's network takes."""

from __future__ import annotations

import functools
from typing import Any, Literal, get_args

import numpy as np

from solvable.iterations import gossip as gs
from solvable.iterations.gossip.experiments.rounds import FLOOR, SPECTRAL
from solvable.iterations.gossip.experiments.shared import (
    CONTINUIZED,
    ERROR,
    JACOBI,
    SMALLEST,
    Figure,
    method,
    named,
    spread_rounds,
)
from solvable.lab.declare import Measured, Observable, Overlay, Panel, Status, axis, parameter

NetworkName = Literal["karate", "les miserables", "grid", "tree"]
Synchronous = Literal["simple", "jacobi", "jacobi with gap", "shift register", "chebyshev", "tuned"]
Weights = Literal["metropolis", "authors", "max_degree", "lazy", "degree_bound"]
named = functools.lru_cache(maxsize=8)(named)


@functools.lru_cache(maxsize=2)
def read(file: str, weights: str, largest: bool) -> gs.Network:
    """The network of a file, read once for all cells."""
    return gs.Network.from_csv(file, weights, largest=largest)


class Best(Figure):
    """Every method against what no polynomial can beat, on networks that everyone has."""

    name, source = "gossip/best", "ours (least error of a polynomial: derived here)"
    replicates = 20

    network: NetworkName = axis(["karate", "les miserables", "grid", "tree"], "network")
    method: Synchronous = axis(["simple", "jacobi", "shift register", "chebyshev", "tuned"], "method")
    rounds: int = parameter(60, "last round", symbol="t")

    observables = (ERROR,)
    overlays = (SPECTRAL, FLOOR)
    panels = (
        Panel(
            "squared_error",
            hue="method",
            facet="network",
            theories={"spectral": "exact", "best": "best of all polynomials"},
            log="y",
            least=SMALLEST,
        ),
    )

    def task(self) -> Any:
        """Independent values on the network."""
        return gs.Averaging(named(self.network))

    def algorithm(self) -> Any:
        """The method of this curve."""
        return method(self.method)

    def shared(self) -> dict[str, Any]:
        """The rounds that are recorded."""
        return {"at": spread_rounds(self.rounds)}

    def applicable(self) -> tuple[Overlay, ...]:
        """The floor is the same for all, and drawn once."""
        return (SPECTRAL, FLOOR) if self.method == "tuned" else (SPECTRAL,)


class Advice(Measured, Figure):
    """Rounds and messages to an accuracy by each method, on a network of a file or one that everyone has."""

    name, source = "gossip/advice", f"{JACOBI} and {CONTINUIZED} (table: ours)"
    replicates = 4

    file: str = parameter("", "edges, two names a line; empty for the network below")
    network: NetworkName = parameter("les miserables", "network without a file")
    weights: Weights = parameter("metropolis", "weights of the gossip matrix")
    largest: Literal["no", "yes"] = parameter("no", "whether the largest component of a file is taken")
    method: Synchronous = axis(list(get_args(Synchronous)), "method")
    accuracy: float = axis([0.1, 0.01, 0.001, 1e-4], "error to reach, as a share of the spread", log=True)

    observables = (
        Observable("rounds", "rounds", allowance=lambda cell: 1.0 + 0.02 * cell.most(), log=True),
        Observable("messages", "messages", allowance=lambda cell: (1.0 + 0.02 * cell.most()) * cell.each(), log=True),
    )
    statuses = dict.fromkeys(("rounds", "messages"), Status("asymptotic", "derived"))
    panels = (Panel("rounds", hue="method", log="xy"), Panel("messages", hue="method", log="xy"))
    x = "accuracy"

    def task(self) -> Any:
        """Independent values on the network."""
        if self.file:
            return gs.Averaging(read(self.file, self.weights, self.largest == "yes"))
        return gs.Averaging(named(self.network, self.weights))

    def algorithm(self) -> Any:
        """The method of this row."""
        from solvable.iterations.gossip.advice import methods_for

        if self.method == "tuned":
            return methods_for(self.task().network)["tuned"]
        return method(self.method)

    def runs(self, key: Any, replicates: int | range) -> Any:
        """Fresh values, on which rounds are counted."""
        task, most = self.built().task, self.most()
        at = np.arange(0, 4 * most + 20)
        if isinstance(self.algorithm(), gs.Tuned):
            at = at[at <= self.algorithm().rounds]
        return gs.SYSTEM.trained(task, self.algorithm(), key=key, replicates=replicates, at=at)

    def most(self) -> int:
        """The rounds that are predicted.

        Raises: ValueError where the accuracy is not reached.
        """
        from solvable.iterations.gossip.advice import measure_of, rounds_to

        task = self.built().task
        found = rounds_to(self.algorithm(), task.network, measure_of(task.network), self.accuracy)
        if found is None:
            raise ValueError(f"accuracy={self.accuracy:g} is not reached by {self.method}; accepted: a larger one")
        return found

    def each(self) -> int:
        """Messages a round."""
        return 2 * len(self.built().task.network.edges)

    def measure(self, run: Any) -> dict[str, Any]:
        """The first round at which the error is small enough; infinity where none is."""
        small = run.squared_error <= self.accuracy**2 * run.squared_error[0]
        rounds = float(np.argmax(small)) if small.any() else np.inf
        return {"rounds": rounds, "messages": rounds * self.each()}

    def predicted(self, runs: Any) -> dict[str, Any]:
        """By the spectrum."""
        return {"rounds": float(self.most()), "messages": float(self.most() * self.each())}
