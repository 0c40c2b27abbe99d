"""The figures of diagonal networks, as declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from solvable.lab.experiment import (
    Dimension,
    Experiment,
    FigureExperiment,
    Observable,
    Overlay,
    Status,
    axis,
    parameter,
)
from solvable.networks import diagonal as dn
from solvable.networks.diagonal.pictures import (
    draw_descent,
    draw_gap,
    draw_incremental,
    draw_lasso_path,
    draw_share,
    draw_weight_decay,
)

if TYPE_CHECKING:
    import jax
    import xarray
    from matplotlib.axes import Axes

SOURCE = "arXiv:2509.18766"
INCREMENTAL_SOURCE = "arXiv:2208.14673"
PathName = Literal["monotone", "nonmonotone", "any"]
MONOTONE: Mapping[str, bool | None] = {"monotone": True, "nonmonotone": False, "any": None}
SOLVED = 1e-5  # what the solvers of both sides may differ by in x
IN_KINKS: Mapping[str, Dimension] = {
    "at": Dimension("inverse penalty s, in units of the first kink", log=True),
    "coordinate": Dimension("coordinate"),
}


class RegressionExperiment(Experiment):
    """What the figures on random regressions share: the law of the problems, which all cells draw alike."""

    samples: int = parameter(3, "samples of the regression", symbol="n", log=True)
    dim: int = parameter(4, "coordinates", symbol="d", log=True)
    problem_seed: int = parameter(0, "seed of the problems, which all cells share")

    system: ClassVar[str] = "solvable.networks.diagonal"
    x: ClassVar[str] = "at"
    dimensions: ClassVar[Mapping[str, Dimension]] = IN_KINKS

    def shared(self) -> dict[str, Any]:
        """Times in units of the first kink."""
        return {"unit": "first_kink", "at": np.geomspace(0.5, 30.0, 61)}

    def simulate(self, key: jax.Array, replicates: int | range) -> Any:
        """Train on the same problems in every cell."""
        import jax

        return super().simulate(jax.random.key(self.problem_seed), replicates)

    def predict(self, overlay: Overlay, given: Any = None) -> Any:
        """Predict the problems that were drawn."""
        return dn.predict(self.task(), self.algorithm(), theory=overlay.theory, given=given, throw=False)


class LassoPath(RegressionExperiment):
    """Averaged trajectory and lasso path, for a monotone and a nonmonotone path, at scale 1e-5 and far below."""

    name: ClassVar[str] = "diagonal/lasso-path"
    source: ClassVar[str] = f"{SOURCE}, Fig. 1"
    replicates: ClassVar[int] = 2

    path: PathName = axis(["monotone", "nonmonotone"], "kind of lasso path the problems are drawn with")
    log_scale: float = axis([-11.5, -115.0], "logarithm of the scale of the initialisation")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("average", "averaged coefficients", tolerance=SOLVED),
        Observable("gap", "relative lasso gap", tolerance=SOLVED, log=True),
    )
    overlays: ClassVar[Sequence[Overlay]] = (
        Overlay("flow", given=True),
        Overlay("lasso", given=True, compared=False),
        Overlay("limit", given=True, compared=False),
    )
    panels: ClassVar[Sequence[str]] = ("monotone", "nonmonotone", "gaps")

    def task(self) -> Any:
        """Random problems of this kind."""
        return dn.RandomRegression(self.samples, self.dim, MONOTONE[self.path])

    def algorithm(self) -> Any:
        """Gradient flow."""
        return dn.GradientFlow(self.log_scale)

    def sizes(self) -> dict[str, Any]:
        """The two layers themselves are trained."""
        return {"full": True}

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """The coefficients of one problem of each kind, and the gaps."""
        return draw_lasso_path(panel, axes, dataset)


class Gap(RegressionExperiment):
    """Largest gap to the lasso against log(1/scale): it vanishes for monotone paths, and not for others."""

    name: ClassVar[str] = "diagonal/gap"
    source: ClassVar[str] = f"{SOURCE}, Theorems 2.1 and 2.2 (rate and limit value: derived here)"
    replicates: ClassVar[int] = 50

    path: PathName = axis(["monotone", "nonmonotone"], "kind of lasso path the problems are drawn with")
    log_scale: float = axis(
        [-11.5, -23.0, -46.0, -92.0, -184.0, -368.0], "logarithm of the scale of the initialisation", symbol="log(eps)"
    )

    observables: ClassVar[Sequence[Observable]] = (
        Observable(
            "largest_gap", "largest relative lasso gap", allowance=lambda cell: 0.05 / -cell.log_scale, log=True
        ),
    )
    overlays: ClassVar[Sequence[Overlay]] = (Overlay("limit", given=True),)
    panels: ClassVar[Sequence[str]] = ("gap",)
    x: ClassVar[str] = "log_scale"

    def task(self) -> Any:
        """Random problems of this kind."""
        return dn.RandomRegression(self.samples, self.dim, MONOTONE[self.path])

    def algorithm(self) -> Any:
        """Gradient flow in the log domain, to which all scales cost about the same."""
        return dn.GradientFlow(self.log_scale)

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """Both kinds, each with its limit value."""
        return panel == "gap" and draw_gap(axes, dataset)


class MonotoneShare(RegressionExperiment, FigureExperiment):
    """How many random regressions have a monotone lasso path, and how many must have one."""

    name: ClassVar[str] = "diagonal/monotone-share"
    source: ClassVar[str] = f"{SOURCE}, section on simulations (more sizes: ours)"
    module: ClassVar[str] = "share"
    replicates: ClassVar[int] = 256

    samples: int = axis([1, 2, 3, 4, 5, 6, 8, 12, 20, 50, 200], "samples of the regression", symbol="n", log=True)
    dim: int = axis([2, 4, 6], "coordinates", symbol="d")

    observables: ClassVar[Sequence[Observable]] = (Observable("monotone", "share of monotone paths", bound="below"),)
    statuses: ClassVar[Mapping[str, Status]] = {"monotone": Status("bound", "stated")}
    overlays: ClassVar[Sequence[Overlay]] = (Overlay(given=True),)
    x: ClassVar[str] = "samples"
    dimensions: ClassVar[Mapping[str, Dimension]] = {}
    panels: ClassVar[Sequence[str]] = ("share",)

    def task(self) -> Any:
        """Random problems."""
        return dn.RandomRegression(self.samples, self.dim)

    def algorithm(self) -> Any:
        """Nothing is trained."""
        return None

    def shared(self) -> dict[str, Any]:
        """No times."""
        return {}

    def simulate(self, key: jax.Array, replicates: int | range) -> Any:
        """Draw problems and follow their lasso paths."""
        return FigureExperiment.simulate(self, key, replicates)

    def predict(self, overlay: Overlay, given: Any = None) -> Any:
        """Which of them must have monotone paths."""
        return FigureExperiment.predict(self, overlay, given)

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """A curve a dimension, with its lower bound."""
        return panel == "share" and draw_share(axes, dataset)


class Incremental(Experiment):
    """Coordinates learnt one by one: trajectory, jump times and loss of one problem with anti-correlated features."""

    name: ClassVar[str] = "diagonal/incremental"
    source: ClassVar[str] = f"{INCREMENTAL_SOURCE} (setting and algorithm: reconstructions)"
    system: ClassVar[str] = "solvable.networks.diagonal"
    replicates: ClassVar[int] = 2

    log_scale: float = axis([-11.5, -23.0, -46.0], "logarithm of the scale of the initialisation")
    dim: int = parameter(5, "coordinates", symbol="d")
    radius: float = parameter(0.7, "spectral radius of I - M")
    problem_seed: int = parameter(18, "seed of the problem")
    last: float = parameter(1.5, "last time, in units of the last jump")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("solution", "coefficients x_i", tolerance=SOLVED),
        Observable("loss", "loss", tolerance=SOLVED),
        Observable("jump_times", "time of half height", allowance=lambda cell: 0.625 * cell.reach() / -cell.log_scale),
    )
    overlays: ClassVar[Sequence[Overlay]] = (
        Overlay("flow", compared=("solution", "loss")),
        Overlay("limit", compared=("jump_times",)),
    )
    panels: ClassVar[Sequence[str]] = ("solution", "loss", "jump_times")
    x: ClassVar[str] = "at"
    dimensions: ClassVar[Mapping[str, Dimension]] = {
        "at": Dimension("rescaled time s"),
        "coordinate": Dimension("coordinate"),
    }

    def task(self) -> Any:
        """One problem whose coordinates all become active."""
        import jax

        return dn.Anticorrelated(self.dim, self.radius, positive=True).sample(jax.random.key(self.problem_seed))

    def reach(self) -> float:
        """The time of the last jump."""
        return float(dn.limit_path(self.task(), positive=True).jumps[-1])

    def algorithm(self) -> Any:
        """Gradient flow of x = u u."""
        return dn.GradientFlow(self.log_scale, "square")

    def shared(self) -> dict[str, Any]:
        """Times up to some way beyond the last jump."""
        return {"at": np.linspace(0.0, self.last * self.reach(), 301)}

    def sizes(self) -> dict[str, Any]:
        """The layer itself is trained."""
        return {"full": True}

    def predict(self, overlay: Overlay, given: Any = None) -> Any:
        """The flow, or its limit."""
        return dn.predict(self.task(), self.algorithm(), theory=overlay.theory, **self.shared())

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """Trajectories over plateaux, the staircase of the loss, the jump times of all scales."""
        return draw_incremental(panel, axes, dataset)


class WeightDecay(RegressionExperiment):
    """Largest gap to the lasso against the weight decay."""

    name: ClassVar[str] = "diagonal/weight-decay"
    source: ClassVar[str] = f"{SOURCE}, Theorem 2.2 (figure: ours)"
    replicates: ClassVar[int] = 16

    weight_decay: float = axis([0.0, 0.02, 0.05, 0.1, 0.2, 0.5], "weight decay", symbol="lambda")
    log_scale: float = axis([-11.5, -46.0], "logarithm of the scale of the initialisation")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("largest_gap", "largest relative lasso gap", tolerance=SOLVED),
        Observable("average", "averaged coefficients", tolerance=SOLVED),
    )
    overlays: ClassVar[Sequence[Overlay]] = (
        Overlay("flow", given=True),
        Overlay("limit", given=True, compared=False),
    )
    panels: ClassVar[Sequence[str]] = ("largest_gap",)
    x: ClassVar[str] = "weight_decay"

    def task(self) -> Any:
        """Random problems."""
        return dn.RandomRegression(self.samples, self.dim)

    def algorithm(self) -> Any:
        """Gradient flow with weight decay."""
        return dn.GradientFlow(self.log_scale, weight_decay=self.weight_decay)

    def sizes(self) -> dict[str, Any]:
        """The two layers themselves are trained."""
        return {"full": True}

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """A curve a scale, with the limit."""
        return panel == "largest_gap" and draw_weight_decay(axes, dataset)


class Descent(RegressionExperiment):
    """Gradient descent against gradient flow: how far the average is off, by learning rate."""

    name: ClassVar[str] = "diagonal/descent"
    source: ClassVar[str] = f"{SOURCE} (figure: ours)"
    replicates: ClassVar[int] = 8

    learning_rate: float = axis([0.001, 0.002, 0.005, 0.01, 0.02], "learning rate", symbol="g", log=True)
    log_scale: float = parameter(-11.5, "logarithm of the scale of the initialisation")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("average", "averaged coefficients", allowance=lambda cell: 0.2 * cell.learning_rate),
        Observable("largest_gap", "largest relative lasso gap", allowance=lambda cell: 0.2 * cell.learning_rate),
    )
    overlays: ClassVar[Sequence[Overlay]] = (Overlay("flow", given=True),)
    panels: ClassVar[Sequence[str]] = ("average",)
    x: ClassVar[str] = "learning_rate"

    def task(self) -> Any:
        """Random problems."""
        return dn.RandomRegression(self.samples, self.dim)

    def algorithm(self) -> Any:
        """Gradient descent."""
        return dn.GradientDescent(self.log_scale, self.learning_rate)

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """The flow is the limit of small steps."""
        return {name: Status("asymptotic", status.origin) for name, status in super().status(overlay).items()}

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """The largest difference from the flow against the learning rate."""
        return panel == "average" and draw_descent(axes, dataset)
