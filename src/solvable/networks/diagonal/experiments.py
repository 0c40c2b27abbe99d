"""The figures of diagonal networks, as declarations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from solvable.lab.declare import (
    Dimension,
    Experiment,
    Guide,
    Measured,
    Observable,
    Overlay,
    Panel,
    Status,
    axis,
    parameter,
)
from solvable.networks import diagonal as dn

if TYPE_CHECKING:
    import jax

SOURCE = "arXiv:2509.18766"
PathName = Literal["monotone", "nonmonotone", "any"]
MONOTONE: Mapping[str, bool | None] = {"monotone": True, "nonmonotone": False, "any": None}
SOLVED = 1e-5  # what the solvers of both sides may differ by in x
GAP, SCALE = "largest relative lasso gap", "logarithm of the scale of the initialisation"
COORDINATE = Dimension("coordinate")
KINKS = Dimension("inverse penalty s, in units of the first kink", log=True)


ZERO = "scale to 0"
SMALLEST = 1e-8  # below it a gap is what the solvers leave


def largest_difference(dataset: Any, prefix: str) -> Any:
    """How far the averages of descent are off those of the flow, at the worst time and coordinate."""
    if prefix or "flow_given_average" not in dataset:
        return None
    return abs(dataset["average"] - dataset["flow_given_average"]).max(["at", "coordinate"])


class Figure(Experiment):
    """What all figures share."""

    system = "solvable.networks.diagonal"
    x = "at"
    full: ClassVar[bool] = False  # whether the layers themselves are trained

    def sizes(self) -> dict[str, Any]:
        """Which of the two ways to train."""
        return {"full": self.full}


class RegressionExperiment(Figure):
    """What the figures on random regressions share: the law of the problems, which all cells draw alike."""

    samples: int = parameter(3, "samples of the regression", symbol="n", log=True)
    dim: int = parameter(4, "coordinates", symbol="d", log=True)
    problem_seed: int = parameter(0, "seed of the problems, which all cells share")

    dimensions = {"at": KINKS, "coordinate": COORDINATE}

    def task(self) -> Any:
        """Random problems, of the kind that the figure names."""
        return dn.RandomRegression(self.samples, self.dim, MONOTONE[getattr(self, "path", "any")])

    def simulate(self, key: jax.Array, replicates: int | range) -> Any:
        """Train on the same problems in every cell."""
        import jax

        return super().simulate(jax.random.key(self.problem_seed), replicates)


class LassoPath(RegressionExperiment):
    """Averaged trajectory and lasso path, for a monotone and a nonmonotone path, at scale 1e-5 and far below."""

    name, source = "diagonal/lasso-path", f"{SOURCE}, Fig. 1"
    replicates = 2

    path: PathName = axis(["monotone", "nonmonotone"], "kind of lasso path the problems are drawn with")
    log_scale: float = axis([-11.5, -115.0], SCALE)

    observables = (
        Observable("average", "averaged coefficients", tolerance=SOLVED),
        Observable("gap", "relative lasso gap", tolerance=SOLVED, log=True),
    )
    overlays = (
        Overlay("flow", given=True),
        Overlay("lasso", given=True, compared=False),
        Overlay("limit", given=True, compared=False),
    )
    panels = (
        Panel(
            "average",
            runs="first",
            hue="coordinate",
            dash="log_scale",
            facet="path",
            theories={"lasso_given": "lasso path", "limit_given": ZERO},
            title="{} path",
            label="coefficients",
        ),
        Panel("gap", runs="first", hue="path", dash="log_scale", theories={"limit_given": ZERO}, least=SMALLEST),
    )
    full = True

    def algorithm(self) -> Any:
        """Gradient flow."""
        return dn.GradientFlow(self.log_scale)


class Gap(RegressionExperiment):
    """Largest gap to the lasso against log(1/scale): it vanishes for monotone paths, and not for others."""

    name, source = "diagonal/gap", f"{SOURCE}, Theorems 2.1 and 2.2 (rate and limit value: derived here)"
    replicates = 50

    path: PathName = axis(["monotone", "nonmonotone"], "kind of lasso path the problems are drawn with")
    log_scale: float = axis([-11.5, -23.0, -46.0, -92.0, -184.0, -368.0], SCALE, symbol="log(eps)")

    observables = (Observable("largest_gap", GAP, allowance=lambda cell: 0.05 / -cell.log_scale, log=True),)
    overlays = (Overlay("limit", given=True),)
    panels = (
        Panel(
            "largest_gap",
            lambda data: -data.log_scale,
            x_label="log(1/scale)",
            log="xy",
            theories={"limit_given": ZERO},
            guides=(Guide("slope", -2.0, "slope -2"),),
            least=SMALLEST,
        ),
    )
    x = "log_scale"

    def algorithm(self) -> Any:
        """Gradient flow in the log domain, to which all scales cost about the same."""
        return dn.GradientFlow(self.log_scale)


class MonotoneShare(Figure, Measured):
    """How many random regressions have a monotone lasso path, and how many must have one."""

    name, source = "diagonal/monotone-share", f"{SOURCE}, section on simulations (more sizes: ours)"
    replicates = 256

    samples: int = axis([1, 2, 3, 4, 5, 6, 8, 12, 20, 50, 200], "samples of the regression", symbol="n", log=True)
    dim: int = axis([2, 4, 6], "coordinates", symbol="d")
    problem_seed: int = parameter(0, "seed of the problems, which all cells share")

    observables = (Observable("monotone", "share of monotone paths", bound="below"),)
    statuses = {"monotone": Status("bound", "stated")}
    overlays = (Overlay(given=True, words="must be (lower bound)"),)
    x = "samples"

    def runs(self, key: jax.Array, replicates: int | range) -> Any:
        """Random problems, on which nothing is trained."""
        from solvable.lab.declare import replicate_keys

        return dn.SYSTEM.drawn(dn.RandomRegression(self.samples, self.dim), replicate_keys(key, replicates))

    def measure(self, run: Any) -> dict[str, Any]:
        """Whether the lasso path is monotone."""
        return {"monotone": dn.lasso_path(run.problem).monotone}

    def predicted(self, runs: Any) -> dict[str, Any]:
        """Which problems meet the sufficient condition: a lower bound on the share."""
        return {"monotone": np.array([dn.guarantees_monotone_path(problem) for problem in runs.problems])}


class Incremental(Figure):
    """Coordinates learnt one by one: trajectory, jump times and loss of one problem with anti-correlated features."""

    name, source = "diagonal/incremental", "arXiv:2208.14673 (setting and algorithm: reconstructions)"
    replicates = 2

    log_scale: float = axis([-11.5, -23.0, -46.0], SCALE)
    dim: int = parameter(5, "coordinates", symbol="d")
    radius: float = parameter(0.7, "spectral radius of I - M")
    problem_seed: int = parameter(18, "seed of the problem")
    last: float = parameter(1.5, "last time, in units of the last jump")

    observables = (
        Observable("solution", "coefficients $x_i$", tolerance=SOLVED),
        Observable("loss", "loss", tolerance=SOLVED),
        Observable("jump_times", "time of half height", allowance=lambda cell: 0.625 * cell.reach() / -cell.log_scale),
    )
    overlays = (Overlay("flow", compared=("solution", "loss")), Overlay("limit", compared=("jump_times",)))
    panels = (
        Panel("solution", runs="first", hue="coordinate", dash="log_scale", theories={"limit": ZERO}, frames="at"),
        Panel("loss", runs="first", dash="log_scale", theories={"limit": ZERO}),
        Panel(
            "jump_times",
            "limit_jump_times",
            runs="first",
            dash="log_scale",
            x_label="jump time in the limit",
            theories={},
            guides=(Guide("diagonal", label="as predicted"),),
        ),
    )
    dimensions = {"at": Dimension("rescaled time s"), "coordinate": COORDINATE}
    full = True

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


class WeightDecay(RegressionExperiment):
    """Largest gap to the lasso against the weight decay."""

    name, source = "diagonal/weight-decay", f"{SOURCE}, Theorem 2.2 (figure: ours)"
    replicates = 16

    weight_decay: float = axis([0.0, 0.02, 0.05, 0.1, 0.2, 0.5], "weight decay", symbol="lambda")
    log_scale: float = axis([-11.5, -46.0], SCALE)

    observables = (
        Observable("largest_gap", GAP, tolerance=SOLVED),
        Observable("average", "averaged coefficients", tolerance=SOLVED),
    )
    overlays = (Overlay("flow", given=True), Overlay("limit", given=True, compared=False))
    panels = (Panel("largest_gap", log="", theories={"limit_given": ZERO}),)
    full = True
    x = "weight_decay"

    def algorithm(self) -> Any:
        """Gradient flow with weight decay."""
        return dn.GradientFlow(self.log_scale, weight_decay=self.weight_decay)


class Descent(RegressionExperiment):
    """Gradient descent against gradient flow: how far the average is off, by learning rate."""

    name, source = "diagonal/descent", f"{SOURCE} (figure: ours)"
    replicates = 8

    learning_rate: float = axis([0.001, 0.002, 0.005, 0.01, 0.02], "learning rate", symbol="g", log=True)
    log_scale: float = parameter(-11.5, SCALE)

    observables = (
        Observable("average", "averaged coefficients", allowance=lambda cell: 0.2 * cell.learning_rate),
        Observable("largest_gap", GAP, allowance=lambda cell: 0.2 * cell.learning_rate),
    )
    overlays = (Overlay("flow", given=True),)
    panels = (
        Panel(
            largest_difference,
            label="largest |average - flow's|",
            runs="each",
            log="xy",
            guides=(Guide("slope", 1.0, "slope 1"),),
        ),
    )
    x = "learning_rate"

    def algorithm(self) -> Any:
        """Gradient descent."""
        return dn.GradientDescent(self.log_scale, self.learning_rate)

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """The flow is the limit of small steps."""
        return {name: Status("asymptotic", status.origin) for name, status in super().status(overlay).items()}
