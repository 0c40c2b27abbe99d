"""Where training ends: which tokens, the rank of the solutions, the regularisation path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from solvable.attention import token_selection as ts
from solvable.attention.token_selection.experiments.shared import (
    DERIVED,
    MIRROR,
    REFERENCES,
    STATED,
    TRANSFORMERS,
    Figure,
    SelectionExperiment,
    allow,
)
from solvable.lab.declare import (
    Dimension,
    Guide,
    Measured,
    Observable,
    Overlay,
    Panel,
    Status,
    axis,
    parameter,
)

INDEPENDENT = 1e-3  # singular values below this share of the largest do not count; the nuclear gap is 1e-6


class GlobalLocal(SelectionExperiment, Figure):
    """How often training ends on the optimal tokens as the dimension grows, and how often on locally optimal ones."""

    name = "token-selection/global-local"
    source = f"{TRANSFORMERS}, global against local convergence (figure: reconstruction)"
    replicates = 100

    dim: int = axis([2, 3, 4, 6, 10, 20, 40], "dimension of a token", symbol="d", log=True)
    p: float = parameter(2.0, "p of mirror descent")
    steps: int = parameter(2000, "steps", log=True)
    start_scale: float = parameter(0.0, "standard deviation of the entries of W at the start")

    observables = (
        Observable("feasible", "optimal tokens can be separated"),
        Observable("settled", "attention saturated"),
        # a few per mille of the runs linger where a support token scores slightly higher, and move on much later
        Observable("locally_optimal", "ends on locally optimal tokens", allowance=allow(0.01)),
        Observable("globally_optimal", "ends on the optimal tokens"),
    )
    statuses = {"locally_optimal": STATED}
    panels = ("globally_optimal", "locally_optimal", "feasible")
    x, dimensions = "dim", {}

    def algorithm(self) -> Any:
        """Normalised mirror descent."""
        return ts.MirrorDescent(self.p, 0.1, self.steps)

    def measure(self, run: Any) -> Mapping[str, Any]:
        """How its attention ended, see `shares`."""
        return ts.figures.shares(run)

    def predicted(self, runs: Any) -> Any:
        """A run whose attention saturates does so on a locally optimal selection."""
        return {"locally_optimal": runs.saturated}


class Rank(SelectionExperiment, Measured):
    """Rank of the max-margin solutions for the optimal tokens, Frobenius and nuclear, against the dimension."""

    name = "token-selection/rank"
    source = f"{TRANSFORMERS}, rank study (settings from the authors' code)"
    replicates = 50

    dim: int = axis([2, 3, 4, 5, 10, 15, 20], "dimension of a token", symbol="d", log=True)
    infeasible: Literal["drop", "rank one"] = parameter(
        "drop", "problems whose optimal tokens nothing separates ('rank one': as published)"
    )

    observables = (
        Observable("frobenius_rank", "rank, Frobenius norm", bound="above"),
        Observable("nuclear_rank", "rank, nuclear norm", bound="above"),
    )
    statuses = dict.fromkeys(("frobenius_rank", "nuclear_rank"), Status("bound", "derived"))
    overlays = (Overlay(words="at most"),)
    x, dimensions = "dim", {}

    def runs(self, key: Any, replicates: int | range) -> Any:
        """Draw problems and solve for their optimal tokens; nothing is trained.

        A problem whose optimal tokens nothing separates is missing with its reason. With infeasible="rank one" it
        counts as rank 1, as published, where the rank is taken of a solution that is None; NumPy answers 1.
        """
        return ts.figures.on_optimal_tokens(self.task(), key, replicates, drop=self.infeasible == "drop")

    def measure(self, run: Any) -> Mapping[str, Any]:
        """How many singular values are above a thousandth of the largest, of both solutions; 1 where there is none."""
        solutions = {"frobenius_rank": run.limit, "nuclear_rank": run.references[0]}
        values = {name: np.linalg.svd(np.nan_to_num(one.weights), compute_uv=False) for name, one in solutions.items()}
        return {name: max(1, int(np.sum(one > INDEPENDENT * one[0]))) for name, one in values.items()}

    def predicted(self, runs: Any) -> Any:
        """Both solutions are sums of c_i z_i^T, so min(samples, dim) bounds their ranks."""
        return dict.fromkeys(("frobenius_rank", "nuclear_rank"), float(min(self.samples, self.dim)))


class Path(SelectionExperiment, Measured):
    """Regularisation path: the least loss in a ball points to the max margin, up to 1/radius²."""

    name = "token-selection/path"
    source = f"{MIRROR}, regularisation path (rate derived here)"
    replicates = 30

    p: float = axis(list(REFERENCES), "p of the norm")
    largest: float = parameter(1000.0, "largest radius", symbol="R", log=True)

    observables = (
        Observable("divergence", "divergence from the max margin", log=True, dims=("radius",)),
        Observable("divergence_slope", "log-log slope of the divergence", allowance=allow(0.05)),
    )
    statuses = {"divergence_slope": DERIVED}
    # the slope on an axis on which the accepted deviation is what one sees
    panels = (
        Panel("divergence", guides=(Guide("slope", -2.0, "slope -2"),), log="xy"),
        Panel("divergence_slope", "p", limits={"y": (-2.5, -1.5)}),
    )
    x, dimensions = "radius", {"radius": Dimension("radius R of the ball", log=True)}

    def algorithm(self) -> Any:
        """The p of the norm, and the logistic loss."""
        return ts.MirrorDescent(self.p)

    def coordinates(self) -> Mapping[str, Any]:
        """The radii, over three decades."""
        return {"radius": self.largest * np.geomspace(1e-3, 1.0, 13)}

    def runs(self, key: Any, replicates: int | range) -> Any:
        """Draw problems and solve their paths."""
        return ts.figures.paths(self.task(), self.algorithm(), key, replicates, self.coordinates()["radius"])

    def measure(self, run: Any) -> Mapping[str, Any]:
        """How W(R) approaches the max-margin direction, see `approach`."""
        return ts.figures.approach(run, self.p)

    def predicted(self, runs: Any) -> Any:
        """The divergence falls like R^-2 (derived here)."""
        return {"divergence_slope": -2.0}
