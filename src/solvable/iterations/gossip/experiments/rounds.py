"""The figures of synchronous rounds: the methods on grids, cubes, percolation, points in space, regular networks."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from solvable.iterations import gossip as gs
from solvable.iterations.gossip.experiments.shared import ERROR, JACOBI, SMALLEST, Figure, method, spread_rounds
from solvable.lab.declare import (
    Dimension,
    Measured,
    Observable,
    Overlay,
    Panel,
    Status,
    axis,
    parameter,
)

SPECTRAL, FLOOR = Overlay("spectral", words="exact"), Overlay("best", compared=False, words="best of all polynomials")
GIVEN = (Overlay("spectral", given=True, words="exact, given the network"),)
Every = Literal[
    "simple",
    "shift register",
    "local averaging",
    "jacobi",
    "jacobi with gap",
    "parameter free",
]
Four = Literal["simple", "shift register", "local averaging", "jacobi"]


class Rounds(Figure):
    """What the figures of rounds share: the error against the rounds, a curve a method."""

    rounds: int = parameter(120, "last round", symbol="t")

    observables = (ERROR,)
    replicates = 10
    panels = (Panel("squared_error", hue="method", log="y", least=SMALLEST),)

    def shared(self) -> dict[str, Any]:
        """The rounds that are recorded."""
        return {"at": spread_rounds(self.rounds)}

    def algorithm(self) -> Any:
        """The method of this curve."""
        return method(self.method, getattr(self, "dim", 2))  # pyright: ignore[reportAttributeAccessIssue]


class Grid(Rounds):
    """Gossip on a square grid: Jacobi polynomials know the dimension alone, and lose to the gap only late."""

    name, source = "gossip/grid", f"{JACOBI}, Fig. 2A, 3 and 4"

    method: Every = axis(list(get_args(Every)), "method")
    side: int = parameter(40, "nodes a side", log=True)
    rounds: int = parameter(300, "last round", symbol="t")

    overlays = (SPECTRAL, FLOOR)

    def task(self) -> Any:
        """Independent values on the grid."""
        return gs.Grid((self.side, self.side))

    def applicable(self) -> tuple[Overlay, ...]:
        """The polynomials that are best for the values drawn depend on these."""
        return (FLOOR,) if self.method == "parameter free" else (SPECTRAL,)


class Registers(Rounds):
    """The shift register: the weight of published code is best for (I + W)/2; on W it needs 40 % more rounds."""

    name, source = "gossip/registers", f"{JACOBI}, Fig. 2A, green (the code's weight, and the best one: derived here)"

    method: Literal["shift register", "published register", "chebyshev"] = axis(
        ["shift register", "published register", "chebyshev"], "method"
    )
    side: int = parameter(40, "nodes a side", log=True)
    rounds: int = parameter(200, "last round", symbol="t")

    overlays = (SPECTRAL,)

    def task(self) -> Any:
        """Independent values on the grid."""
        return gs.Grid((self.side, self.side))


class Cube(Rounds):
    """Gossip on a cubic grid, where diffusion is quicker: the Jacobi polynomials of dimension 3."""

    name, source = "gossip/cube", f"{JACOBI}, Fig. 2B"

    method: Four = axis(["simple", "shift register", "local averaging", "jacobi"], "method")
    side: int = parameter(12, "nodes a side", log=True)
    rounds: int = parameter(40, "last round", symbol="t")

    overlays = (SPECTRAL,)

    def task(self) -> Any:
        """Independent values on the cube."""
        return gs.Grid((self.side,) * 3)

    def algorithm(self) -> Any:
        """The method of this curve, in dimension 3."""
        return method(self.method, 3)


class Percolation(Rounds):
    """Gossip on what is left of grids of which edges are dropped at random, in dimensions 2 and 3."""

    name, source = "gossip/percolation", f"{JACOBI}, Fig. 2C and 2D"
    replicates = 6

    method: Four = axis(["simple", "shift register", "local averaging", "jacobi"], "method")
    dim: int = axis([2, 3], "dimension of the grid", symbol="d")
    rounds: int = parameter(200, "last round", symbol="t")

    overlays = GIVEN
    panels = (Panel("squared_error", hue="method", facet="dim", title="dimension {}", log="y", least=SMALLEST),)

    def task(self) -> Any:
        """The sizes and probabilities of the source."""
        return gs.Percolation((40, 40), 0.6) if self.dim == 2 else gs.Percolation((12,) * self.dim, 0.4)


class Geometric(Rounds):
    """Gossip between points in a square and in a cube, who hear each other up to a distance."""

    name, source = "gossip/geometric", f"{JACOBI}, Fig. 2E and 2F"
    replicates = 6

    method: Four = axis(["simple", "shift register", "local averaging", "jacobi"], "method")
    dim: int = axis([2, 3], "dimension of space", symbol="d")
    side: int = parameter(0, "n^(1/dim); 0 for the 40 and 12 of the source")
    rounds: int = parameter(200, "last round", symbol="t")

    overlays = GIVEN
    panels = (Panel("squared_error", hue="method", facet="dim", title="dimension {}", log="y", least=SMALLEST),)

    def task(self) -> Any:
        """n points, neighbours up to 1.5 n^(-1/dim)."""
        side = self.side or {2: 40}.get(self.dim, 12)
        return gs.RandomGeometric(side**self.dim, self.dim, 1.5 / side)


class Polynomials(Measured, Figure):
    """What six rounds do to each eigenvalue: the power of simple gossip, and the Jacobi polynomial."""

    name, source = "gossip/polynomials", f"{JACOBI}, Fig. 5"
    replicates = 0

    method: Literal["simple", "jacobi", "shift register"] = axis(["simple", "jacobi", "shift register"], "method")
    rounds: int = parameter(6, "rounds", symbol="t")

    observables = (Observable("polynomial", r"$P_t(\lambda)$", dims=("eigenvalue",)),)
    statuses = {"polynomial": Status("exact", "stated")}
    panels = (Panel("polynomial", hue="method", log=""),)
    x = "eigenvalue"
    dimensions = {"eigenvalue": Dimension("eigenvalue of W")}

    def task(self) -> Any:
        """A grid, whose gap the shift register uses."""
        return gs.Grid((40, 40))

    def algorithm(self) -> Any:
        """The method of this curve."""
        return method(self.method)

    def coordinates(self) -> dict[str, Any]:
        """The interval [-1, 1]."""
        return {"eigenvalue": np.linspace(-1.0, 1.0, 201)}

    def predicted(self, runs: Any) -> dict[str, Any]:
        """The polynomial."""
        from solvable.iterations.gossip.polynomials import evaluate

        recursion = self.algorithm().recursion(self.task().network, self.rounds)
        points = self.coordinates()["eigenvalue"]
        return {"polynomial": evaluate(recursion, points, [self.rounds])[0]}


class MessagePassing(Rounds):
    """Message passing on regular networks: best while they look like trees, poor on a torus with its many cycles."""

    name, source = "gossip/message-passing", f"{JACOBI}, Fig. 6 and 7 (a torus of odd side in place of a grid)"
    replicates = 6

    network: Literal["torus", "random"] = axis(["torus", "random"], "network")
    method: Literal["simple", "message passing", "jacobi", "shift register"] = axis(
        ["simple", "message passing", "jacobi", "shift register"], "method"
    )
    nodes: int = parameter(1000, "nodes of the random network", symbol="n", log=True)
    rounds: int = parameter(80, "last round", symbol="t")

    overlays = GIVEN
    panels = (Panel("squared_error", hue="method", facet="network", log="y", least=SMALLEST),)

    def task(self) -> Any:
        """A torus of degree 4, odd, so that it is not bipartite; or a random network of degree 3."""
        if self.network == "torus":
            return gs.Grid((41, 41), periodic=True)
        return gs.RandomRegular(self.nodes, 3)

    def algorithm(self) -> Any:
        """The method of this curve."""
        if self.method == "message passing":
            return gs.MessagePassing(4 if self.network == "torus" else 3)
        return method(self.method)


class Parameters(Rounds):
    """The parameters of the Jacobi polynomials on a square grid: alpha counts, beta hardly does."""

    name, source = "gossip/parameters", f"{JACOBI}, Fig. 8 and 9"

    alpha: float = axis([0.0, 0.5, 1.0, 1.5], "first parameter", symbol="alpha")
    beta: float = axis([0.0, 0.5, 1.0], "second parameter", symbol="beta")
    side: int = parameter(40, "nodes a side", log=True)

    overlays = (SPECTRAL,)
    panels = (Panel("squared_error", hue="alpha", dash="beta", log="y", least=SMALLEST),)

    def task(self) -> Any:
        """Independent values on the grid."""
        return gs.Grid((self.side, self.side))

    def algorithm(self) -> Any:
        """Jacobi polynomials of these parameters."""
        return gs.Jacobi(alpha=self.alpha, beta=self.beta)
