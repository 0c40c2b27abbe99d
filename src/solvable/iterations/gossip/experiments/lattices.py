"""The figures of lattices: a wave against a diffusion, the radius of both, and the ellipsoid that is filled evenly."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from solvable.iterations import gossip as gs
from solvable.iterations.gossip.experiments.shared import EPD, Figure
from solvable.lab.declare import (
    Dimension,
    Guide,
    Map,
    Measured,
    Observable,
    Overlay,
    Panel,
    Status,
    axis,
    parameter,
)

PLANE = 32  # points a side on which a map of a lattice is read


def hill(positions: Any) -> Any:
    """exp(3 sum_i (cos 2 pi (x_i - 1/2) - 1)): a smooth hill in the middle of the torus."""
    return np.exp(3.0 * (np.cos(2.0 * np.pi * (positions - 0.5)) - 1.0).sum(axis=-1))


class Heat(Figure):
    """Simple gossip on a lattice is a diffusion: a hill of values flattens as the heat equation has it."""

    name, source = "gossip/heat", f"{EPD} (abstract; figure and equation with its constants: derived here)"
    replicates = 1

    dim: int = axis([1, 2], "dimension", symbol="d")
    size: int = parameter(64, "points a side", symbol="N", log=True)

    observables = (Observable("profile", "values u", tolerance=0.02),)
    overlays = (Overlay("heat", given=True, words="heat equation"),)
    panels = (Panel("profile", "point", hue="at", facet="dim", title="dimension {}", log=""),)
    dimensions = {"at": Dimension("time"), "point": Dimension("position")}
    last: ClassVar[float] = 0.1

    def task(self) -> Any:
        """A hill."""
        return gs.Lattice(self.dim, hill)

    def algorithm(self) -> Any:
        """Simple gossip."""
        return gs.Simple()

    def shared(self) -> dict[str, Any]:
        """Macroscopic times."""
        return {"at": np.linspace(0.0, self.last, 6)}

    def sizes(self) -> dict[str, Any]:
        """Points a side."""
        return {"size": self.size}


class Waves(Heat):
    """Jacobi gossip on a lattice is a damped wave: the same hill, by the Euler-Poisson-Darboux equation."""

    name, source = "gossip/epd", f"{EPD} (abstract; figure and equation with its constants: derived here)"

    overlays = (Overlay("epd", given=True, words="Euler-Poisson-Darboux"),)
    last: ClassVar[float] = 0.5

    def algorithm(self) -> Any:
        """Jacobi gossip of this dimension."""
        return gs.Jacobi(self.dim)


class Plane(Measured, Figure):
    """The same hill on a square lattice after the same rounds: simple gossip flattens it, Jacobi gossip makes waves."""

    name, source = "gossip/waves", f"{EPD} (abstract; figure: derived here)"
    replicates = 1

    method: Literal["simple", "jacobi"] = axis(["simple", "jacobi"], "method")
    size: int = parameter(64, "points a side", symbol="N", log=True)
    rounds: int = parameter(45, "last round", symbol="t")

    observables = (Observable("values", "values u", dims=("at", "first", "second")),)
    statuses = {"values": Status("asymptotic", "derived")}
    overlays = (Overlay("limit", compared=False, words="limit"),)
    panels = (Map("values", "first", "second", facet="method", frames="at", theory=None),)
    dimensions = {
        "at": Dimension("rounds"),
        "first": Dimension("first axis"),
        "second": Dimension("second axis"),
    }

    def task(self) -> Any:
        """A hill, narrow, so that there is room for waves."""
        side = np.arange(PLANE) / PLANE
        points = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
        return gs.Lattice(2, narrow, points)

    def algorithm(self) -> Any:
        """The method."""
        return gs.Simple() if self.method == "simple" else gs.Jacobi(2)

    def coordinates(self) -> dict[str, Any]:
        """Rounds, and positions."""
        side = np.arange(PLANE) / PLANE
        return {"at": np.arange(0, self.rounds + 1, 3), "first": side, "second": side}

    def runs(self, key: Any, replicates: int | range) -> Any:
        """The rounds on the torus; nothing is random."""
        count = len(replicates) if isinstance(replicates, range) else replicates
        at = self.coordinates()["at"]
        found = gs.simulate(self.task(), self.algorithm(), at=at, unit="rounds", size=self.size)
        return Kernels(found.profile[0], count)

    def measure(self, run: Any) -> dict[str, Any]:
        """The values on the plane."""
        return {"values": run.reshape(-1, PLANE, PLANE)}

    def predicted(self, runs: Any) -> dict[str, Any]:
        """The limit at the times of these rounds."""
        from solvable.iterations.gossip.lattice import times_of

        times = times_of(self.algorithm(), self.coordinates()["at"], self.size)
        found = gs.predict(self.task(), self.algorithm(), at=times)
        return {"values": found.profile.reshape(-1, PLANE, PLANE)}


def narrow(positions: Any) -> Any:
    """exp(20 sum_i (cos 2 pi (x_i - 1/2) - 1))."""
    return np.exp(20.0 * (np.cos(2.0 * np.pi * (positions - 0.5)) - 1.0).sum(axis=-1))


class Radius(Measured, Figure):
    """How far a unit of mass gets: as the square root of the rounds by simple gossip, as the rounds by Jacobi's."""

    name, source = "gossip/radius", f"{EPD} (abstract; the exact second moment: derived here)"
    replicates = 1

    method: Literal["simple", "jacobi"] = axis(["simple", "jacobi"], "method")
    rounds: int = axis([1, 2, 4, 8, 16, 32, 64, 128], "rounds", symbol="t", log=True)
    dim: int = parameter(2, "dimension", symbol="d")

    observables = (Observable("radius", "root mean square distance", tolerance=1e-9, log=True),)
    statuses = {"radius": Status("exact", "derived")}
    panels = (
        Panel(
            "radius",
            hue="method",
            log="xy",
            guides=(Guide("slope", 0.5, "slope 1/2"), Guide("slope", 1.0, "slope 1", 1)),
        ),
    )
    x = "rounds"

    def task(self) -> Any:
        """A unit of mass."""
        return gs.Lattice(self.dim)

    def algorithm(self) -> Any:
        """The method."""
        return gs.Simple() if self.method == "simple" else gs.Jacobi(self.dim)

    def runs(self, key: Any, replicates: int | range) -> Any:
        """The kernel of these rounds; nothing is random."""
        mass = gs.kernel(self.task(), self.algorithm(), self.rounds)
        return Kernels(mass, len(replicates) if isinstance(replicates, range) else replicates)

    def measure(self, run: Any) -> dict[str, Any]:
        """The root of the second moment."""
        axes = np.indices(run.shape) - np.array(run.shape).reshape(-1, *[1] * run.ndim) // 2
        return {"radius": np.sqrt(max((run * (axes**2).sum(axis=0)).sum(), 0.0))}

    def predicted(self, runs: Any) -> dict[str, Any]:
        """n tr Sigma, and n (n + alpha + beta + 1) tr Sigma / (2 (alpha + 1))."""
        trace, rounds = float(np.trace(self.task().covariance)), float(self.rounds)
        if self.method == "simple":
            return {"radius": np.sqrt(rounds * trace)}
        alpha = 0.5 * self.dim
        return {"radius": np.sqrt(rounds * (rounds + alpha + 1.0) * trace / (2.0 * (alpha + 1.0)))}


class Kernels:
    """One kernel, alike in all replicates."""

    def __init__(self, mass: np.ndarray, count: int) -> None:
        self.mass, self.result = mass, np.zeros(count, int)

    def run(self, index: int) -> Any:
        """It."""
        return self.mass


class Ellipsoid(Measured, Figure):
    """Where a unit of mass is after Jacobi gossip with uneven steps: evenly spread over an ellipse."""

    name, source = "gossip/ellipsoid", f"{EPD} (abstract: uniform on an ellipsoid; figure: derived here)"
    replicates = 1

    method: Literal["simple", "jacobi"] = axis(["simple", "jacobi"], "method")
    along: float = parameter(0.8, "probability of a step along the first axis")
    rounds: int = parameter(60, "rounds", symbol="t")

    observables = (Observable("density", "mass a lattice point", dims=("first", "second")),)
    statuses = {"density": Status("asymptotic", "derived")}
    overlays = (Overlay("epd", compared=False, words="limit"),)
    panels = (Map("density", "first", "second", facet="method", theory=None),)
    x = "first"
    dimensions = {"first": Dimension("first axis"), "second": Dimension("second axis")}

    def task(self) -> Any:
        """A walk that prefers the first axis, and stays at times, so that it is not bipartite."""
        along, across = 0.45 * self.along, 0.45 * (1.0 - self.along)
        steps = {(0, 0): 0.1, (1, 0): along, (-1, 0): along, (0, 1): across, (0, -1): across}
        return gs.Lattice(2, steps=steps)

    def algorithm(self) -> Any:
        """The method."""
        return gs.Simple() if self.method == "simple" else gs.Jacobi(2)

    def coordinates(self) -> dict[str, Any]:
        """Every third lattice point."""
        return dict.fromkeys(("first", "second"), np.arange(-self.rounds // 3, self.rounds // 3 + 1) * 3)

    def runs(self, key: Any, replicates: int | range) -> Any:
        """The kernel of these rounds; nothing is random."""
        mass = gs.kernel(self.task(), self.algorithm(), self.rounds)
        return Kernels(mass, len(replicates) if isinstance(replicates, range) else replicates)

    def measure(self, run: Any) -> dict[str, Any]:
        """Means over 3 x 3 points around every third one."""
        middle = run.shape[0] // 2
        places = self.coordinates()["first"] + middle + 3
        padded = np.pad(run, 3)
        around = sum(padded[np.ix_(places + i, places + j)] for i in (-1, 0, 1) for j in (-1, 0, 1))
        return {"density": around / 9.0}

    def predicted(self, runs: Any) -> dict[str, Any]:
        """The density of the limit at the time of these rounds."""
        places, covariance = self.coordinates()["first"], self.task().covariance
        points = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1)
        squares = np.einsum("...i,ij,...j->...", points, np.linalg.inv(covariance), points)
        if self.method == "simple":
            height = np.linalg.det(2.0 * np.pi * self.rounds * covariance) ** -0.5
            return {"density": height * np.exp(-0.5 * squares / self.rounds)}
        return {"density": gs.epd_density(np.sqrt(squares), self.rounds + 1.0, 1.0, covariance)}
