"""The figures of asynchronous gossip."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from solvable.iterations import gossip as gs
from solvable.iterations.gossip.experiments.shared import CONTINUIZED, ERROR, SMALLEST, Figure
from solvable.lab.declare import Dimension, Graph, Measured, Observable, Overlay, Panel, Status, axis, parameter

NetworkName = Literal["line", "cycle", "grid", "complete"]
# activations a node until little is left
LATE = {"line": 60.0, "cycle": 25.0, "grid": 12.0, "complete": 5.0}


def network_of(name: str, side: int) -> gs.Network:
    """Networks of side^2 nodes: a line, a cycle, a grid, all pairs."""
    nodes = side**2
    if name == "grid":
        return gs.Grid((side, side), weights="metropolis").network
    if name == "complete":
        return gs.Network(np.stack(np.triu_indices(nodes, 1), axis=1), nodes)
    return gs.Grid((nodes,), weights="metropolis", periodic=name == "cycle").network


def positions(dataset: Any) -> np.ndarray:
    """The places of the nodes of a grid."""
    side = round(dataset.sizes["node"] ** 0.5)
    return np.stack(np.divmod(np.arange(side**2), side), axis=1)


def edges(dataset: Any) -> np.ndarray:
    """The neighbours on a grid."""
    return network_of("grid", round(dataset.sizes["node"] ** 0.5)).edges


class Pairwise(Figure):
    """Edges that wake at random: how much acceleration wins on a line, a cycle and a grid, and not on all pairs."""

    name, source = "gossip/pairwise", f"{CONTINUIZED} (figure and constants: reconstructions)"
    replicates = 400

    network: NetworkName = axis(["line", "cycle", "grid", "complete"], "network")
    accelerated: Literal["simple", "accelerated"] = axis(["simple", "accelerated"], "gossip")
    side: int = parameter(5, "square root of the number of nodes")

    observables = (ERROR,)
    overlays = (
        Overlay("moments", words="exact"),
        Overlay("bound", compared=False, words="bound"),
    )
    panels = (
        Panel(
            "squared_error",
            hue="accelerated",
            facet="network",
            theories={"moments": "exact", "bound": "bound"},
            log="y",
            least=SMALLEST,
        ),
    )
    dimensions = {"at": Dimension("time, one activation a unit")}

    def task(self) -> Any:
        """Independent values on the network."""
        return gs.Averaging(network_of(self.network, self.side))

    def algorithm(self) -> Any:
        """Pairwise averages, with or without a partner value."""
        return gs.Pairwise(self.accelerated == "accelerated")

    def shared(self) -> dict[str, Any]:
        """Time, until little is left."""
        return {"at": np.linspace(0.0, LATE[self.network] * self.side**2, 31), "unit": "time"}


class Watched(Measured, Figure):
    """The values on the nodes of a grid while edges wake, with and without acceleration."""

    name, source = "gossip/watched", f"{CONTINUIZED} (figure: ours)"
    replicates = 1

    accelerated: Literal["simple", "accelerated"] = axis(["simple", "accelerated"], "gossip")
    side: int = parameter(10, "nodes a side")
    frames: int = parameter(40, "records")

    observables = (
        Observable("values", "value", dims=("at", "node")),
        Observable("squared_error", ERROR.label, dims=("at",), log=True),
    )
    statuses = {"squared_error": Status("exact", "derived")}
    overlays = (Overlay("moments"),)
    panels = (
        Graph(
            "values",
            positions,
            edges,
            facet="accelerated",
            frames="at",
        ),
        Panel("squared_error", hue="accelerated", log="y"),
    )
    dimensions = {"at": Dimension("activations"), "node": Dimension("node")}

    def task(self) -> Any:
        """A wave of values across the grid, so that there is something slow to remove."""
        network = network_of("grid", self.side)
        rows = np.arange(self.side) / (self.side - 1.0)
        return gs.Averaging(network, np.add.outer(np.cos(np.pi * rows), np.cos(np.pi * rows)).ravel())

    def algorithm(self) -> Any:
        """Pairwise averages, with or without a partner value."""
        return gs.Pairwise(self.accelerated == "accelerated")

    def coordinates(self) -> dict[str, Any]:
        """Activations, and nodes."""
        last = 30 * len(self.task().network.edges)
        return {"at": np.round(np.linspace(0, last, self.frames)).astype(int), "node": np.arange(self.side**2)}

    def runs(self, key: Any, replicates: int | range) -> Any:
        """One run a replicate."""
        from solvable.lab.declare import replicate_keys

        task, at = self.task(), self.coordinates()["at"]
        runs = [self.algorithm().train(task, one, at=at) for one in replicate_keys(key, replicates)]
        return Trained(runs)

    def measure(self, run: Any) -> dict[str, Any]:
        """The values of all nodes."""
        return {"values": run.values, "squared_error": ((run.values - run.mean) ** 2).mean(axis=1)}

    def predicted(self, runs: Any) -> dict[str, Any]:
        """The mean squared error, exact."""
        at = self.coordinates()["at"]
        return {"squared_error": gs.predict(self.task(), self.algorithm(), at=at).squared_error}


class Trained:
    """Runs of one task, one after the other."""

    def __init__(self, runs: Any) -> None:
        self.runs, self.result = runs, np.array([int(run.result) for run in runs])

    def run(self, index: int) -> Any:
        """One of them."""
        return self.runs[index]
