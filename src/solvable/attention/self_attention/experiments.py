"""The figures of self-attention, as declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from solvable.attention import self_attention as sa
from solvable.attention.self_attention.limit import fixed_parameters, predict_limit, simulate_limit
from solvable.attention.self_attention.pictures import draw_convergence, draw_limit, draw_scale, draw_training
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

if TYPE_CHECKING:
    import jax
    import xarray
    from matplotlib.axes import Axes

SOURCE = "arXiv:2603.01514"
PRECONDITIONERS = ("none", "right", "full", "scaled")
PreconditionerName = Literal["none", "right", "full", "scaled"]
OVER_STEPS = {"at": Dimension("steps", log=True)}


class LinearMapExperiment(Experiment):
    """What the figures share: the law of the sequences."""

    dim: int = parameter(5, "dimension of tokens and targets", symbol="d")
    condition: float = parameter(10.0, "condition number of the tokens' covariance", log=True)
    strength: float = parameter(0.2, "largest singular value of M Sigma^1/2", log=True)
    noise: float = parameter(0.1, "standard deviation of the targets' noise")

    system: ClassVar[str] = "solvable.attention.self_attention"

    def task(self) -> Any:
        """A map whose whitened form does not depend on the condition number."""
        return sa.LinearMap.conditioned(self.dim, condition=self.condition, strength=self.strength, noise=self.noise)


class Convergence(LinearMapExperiment):
    """Population loss over steps from one whitened start: four preconditioners, three condition numbers."""

    name: ClassVar[str] = "self-attention/convergence"
    source: ClassVar[str] = f"{SOURCE} (setting and forms of the algorithm: reconstruction)"
    replicates: ClassVar[int] = 4

    preconditioner: PreconditionerName = axis(list(PRECONDITIONERS), "preconditioner")
    condition: float = axis([1.0, 10.0, 100.0], "condition number of the tokens' covariance", log=True)
    learning_rate: float = parameter(1.5, "learning rate", symbol="eta", log=True)
    scaled_rate: float = parameter(0.5, "learning rate of the scaled preconditioner")
    damping: float = parameter(0.1, "damping of the scaled preconditioner")
    balance: float = parameter(1.0, "weight of the balancing penalty with the full preconditioner")
    init_scale: float = parameter(0.1, "standard deviation of the entries of the whitened factors at the start")
    steps: int = parameter(3000, "steps", log=True)
    start_seed: int = parameter(0, "seed of the starts, which all cells share")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("excess", "excess loss", tolerance=1e-9, log=True),
        Observable("iterations", "steps to 1e-10 of the zero map's loss", tolerance=0.5, log=True),
        Observable("rate", "ratio of successive losses", tolerance=0.0045),
    )
    overlays: ClassVar[Sequence[Overlay]] = (Overlay("population", given=True), Overlay("local_rate", given=True))
    panels: ClassVar[Sequence[str]] = PRECONDITIONERS
    x: ClassVar[str] = "at"
    dimensions: ClassVar[Mapping[str, Dimension]] = OVER_STEPS

    def algorithm(self) -> Any:
        """Training with the preconditioner."""
        scaled = self.preconditioner == "scaled"
        return sa.PreconditionedDescent(
            self.preconditioner,
            self.scaled_rate if scaled else self.learning_rate,
            self.steps,
            balance=self.balance if self.preconditioner == "full" else 0.0,
            init="random",
            init_scale=self.init_scale,
            damping=self.damping if scaled else 0.0,
        )

    def simulate(self, key: jax.Array, replicates: int | range) -> Any:
        """Train on the population loss, from the same whitened starts in every cell."""
        import jax

        return sa.simulate(self.task(), self.algorithm(), key=jax.random.key(self.start_seed), replicates=replicates)

    def applicable(self) -> Sequence[Overlay]:
        """The local rate where training comes close enough to the solution to show it: balanced, full steps."""
        return self.overlays if self.preconditioner == "full" else self.overlays[:1]

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """Training on the population loss is the theory's own setting, so that its path is exact."""
        if overlay.theory == "population":
            return {item.name: Status("exact", "reconstruction") for item in cls.observables}
        return super().status(overlay)

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """One panel a preconditioner: the excess loss over steps at every condition number."""
        return draw_convergence(panel, axes, dataset)


class FiniteData(LinearMapExperiment):
    """Training on one sequence: loss on it, error in the limit, error on a fresh context, over steps."""

    name: ClassVar[str] = "self-attention/finite-data"
    source: ClassVar[str] = f"{SOURCE} (setting and forms of the algorithm: reconstruction)"
    replicates: ClassVar[int] = 8

    init: Literal["spectral", "random"] = axis(["spectral", "random"], "start")
    preconditioner: PreconditionerName = axis(["none", "full"], "preconditioner")
    samples: int = parameter(800, "tokens of the sequence", symbol="n", log=True)
    learning_rate: float = parameter(1.5, "learning rate", symbol="eta", log=True)
    steps: int = parameter(200, "steps", log=True)
    value_layer: Literal["descent", "closed_form"] = parameter("descent", "how the value matrix is trained")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("train_loss", "loss on the sequence", allowance=lambda cell: 0.25 / cell.samples, log=True),
        Observable("excess", "excess loss, limit", allowance=lambda cell: 0.25 / cell.samples, log=True),
        Observable("fresh_excess", "excess loss, fresh context", log=True),
    )
    overlays: ClassVar[Sequence[Overlay]] = (Overlay("population", given=True),)
    panels: ClassVar[Sequence[str]] = ("train_loss", "excess", "fresh_excess")
    x: ClassVar[str] = "at"
    dimensions: ClassVar[Mapping[str, Dimension]] = OVER_STEPS

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """A curve a start and a preconditioner, with the population's path; not below what n tokens leave."""
        label = next(item.label for item in cls.observables if item.name == panel)
        return draw_training(panel, label, axes, dataset)

    def algorithm(self) -> Any:
        """Training with the preconditioner."""
        rate = min(0.5, self.learning_rate) if self.preconditioner == "scaled" else self.learning_rate
        return sa.PreconditionedDescent(self.preconditioner, rate, self.steps, init=self.init, value=self.value_layer)

    def shared(self) -> dict[str, Any]:
        """The tokens."""
        return {"samples": self.samples}


class Floor(LinearMapExperiment, FigureExperiment):
    """The error left at n tokens, of the spectral start and on fresh contexts after training, falls like 1/n."""

    name: ClassVar[str] = "self-attention/floor"
    source: ClassVar[str] = f"{SOURCE}, error of order 1/n (setting: reconstruction; constants derived here)"
    module: ClassVar[str] = "floor"
    replicates: ClassVar[int] = 32

    smallest: int = parameter(250, "fewest tokens", symbol="n", log=True)
    doublings: int = parameter(3, "how often their number is doubled")
    learning_rate: float = parameter(0.3, "learning rate of the renormalised steps", log=True)
    steps: int = parameter(20, "steps", log=True)

    observables: ClassVar[Sequence[Observable]] = (
        Observable(
            "start_excess", "excess loss, spectral start", allowance=lambda cell: 0.01 / cell.smallest, log=True
        ),
        Observable("excess", "excess loss, trained", log=True),
        Observable("fresh_excess", "excess loss, fresh context", allowance=lambda cell: 0.01 / cell.smallest, log=True),
        Observable("start_slope", "slope of the start's error", allowance=lambda cell: 0.0625),
        Observable("fresh_slope", "slope of the trained error", allowance=lambda cell: 0.0625),
    )
    statuses: ClassVar[Mapping[str, Status]] = {
        "start_excess": Status("asymptotic", "reconstruction"),
        "fresh_excess": Status("asymptotic", "derived"),
        "start_slope": Status("asymptotic", "reconstruction"),
        "fresh_slope": Status("asymptotic", "derived"),
    }
    overlays: ClassVar[Sequence[Overlay]] = (Overlay(given=True),)
    panels: ClassVar[Sequence[str]] = ("start_excess", "fresh_excess")
    x: ClassVar[str] = "samples"
    dimensions: ClassVar[Mapping[str, Dimension]] = {"samples": Dimension("tokens n", log=True)}

    def algorithm(self) -> Any:
        """A few renormalised steps, which keep the attention broad."""
        return sa.PreconditionedDescent("full", self.learning_rate, self.steps, renormalize=True)

    def shared(self) -> dict[str, Any]:
        """The numbers of tokens."""
        return {"samples": [self.smallest * 2**power for power in range(self.doublings + 1)]}


class Scale(LinearMapExperiment, FigureExperiment):
    """Error of a context against the size of the score, for layers with one limit: a U with its minimum predicted."""

    name: ClassVar[str] = "self-attention/scale"
    source: ClassVar[str] = f"{SOURCE} (derived here)"
    module: ClassVar[str] = "scale"
    replicates: ClassVar[int] = 128

    dim: int = axis([5, 10, 20], "dimension of tokens and targets", symbol="d", log=True)
    strength: float = parameter(2.0, "largest singular value of M Sigma^1/2", log=True)
    samples: int = parameter(8000, "tokens of a context", symbol="n", log=True)

    observables: ClassVar[Sequence[Observable]] = (
        Observable("context_error", "n E|f_n - f|^2 / |M Sigma^1/2|^2", allowance=lambda cell: 0.1, log=True),
        Observable("peaked_error", "the same, peaked attention", log=True),
        Observable("best_scale", "best size of the score", allowance=lambda cell: 0.005),
    )
    statuses: ClassVar[Mapping[str, Status]] = {
        name: Status("asymptotic", "derived") for name in ("context_error", "best_scale")
    }
    panels: ClassVar[Sequence[str]] = ("context_error",)
    x: ClassVar[str] = "scale"
    dimensions: ClassVar[Mapping[str, Dimension]] = {
        "scale": Dimension("size b of the score, Bt = b I", log=True),
        "peaked_scale": Dimension("size b of a score too large for the law in 1/n at these n", log=True),
    }

    def algorithm(self) -> Any:
        """Nothing is trained."""
        return None

    def shared(self) -> dict[str, Any]:
        """The sizes where the law in 1/n is close at these n."""
        return {"scales": self._scales()[0]}

    def sizes(self) -> dict[str, Any]:
        """The tokens of a context, and the sizes where the law sets in later."""
        return {"samples": self.samples, "peaked_scales": self._scales()[1]}

    def _scales(self) -> tuple[list[float], list[float]]:
        """Sizes around 1/sqrt(d + 2), parted where the term after 1/n, of (1 - 6 b^2)^(-d/2) / n, reaches 1/20."""
        near, far = [], []
        for factor in (0.4, 0.5, 0.63, 0.79, 0.87, 0.95, 1.05, 1.2, 1.4, 1.65, 1.9):
            size = factor * (self.dim + 2.0) ** -0.5
            close = 6.0 * size**2 < 1.0 and (1.0 - 6.0 * size**2) ** (-0.5 * self.dim) < self.samples / 20.0
            if size < 0.66:
                (near if close else far).append(size)
        return near, far

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """The U of every dimension, with the rule 1/sqrt(d + 2)."""
        return draw_scale(axes, dataset)


class Limit(LinearMapExperiment):
    """The loss of fixed parameters on n tokens goes to the population loss like 1/n, with the predicted slope."""

    name: ClassVar[str] = "self-attention/limit"
    source: ClassVar[str] = f"{SOURCE}, limit of the loss (term in 1/n derived here)"
    replicates: ClassVar[int] = 64

    samples: int = axis([100, 200, 400, 800, 1600], "tokens", symbol="n", log=True)
    strength: float = parameter(0.1, "largest singular value of M Sigma^1/2", log=True)
    error: float = parameter(0.5, "by how much the value matrix is larger than at the solution")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("train_loss", "loss on the sequence", allowance=lambda cell: 0.05 / cell.samples),
        Observable("fresh_excess", "excess loss, fresh context", allowance=lambda cell: 0.05 / cell.samples),
    )
    overlays: ClassVar[Sequence[Overlay]] = (Overlay("context"), Overlay("population", compared=False))
    panels: ClassVar[Sequence[str]] = ("train_loss", "fresh_excess")
    x: ClassVar[str] = "samples"
    size_parameter: ClassVar[str | None] = "samples"

    def simulate(self, key: jax.Array, replicates: int | range) -> Any:
        """The losses of the fixed parameters."""
        params = fixed_parameters(self.task(), self.error)
        return simulate_limit(self.task(), params, samples=self.samples, key=key, replicates=replicates)

    def predict(self, overlay: Overlay, given: Any = None) -> Any:
        """The limit, with or without its term in 1/n."""
        params = fixed_parameters(self.task(), self.error)
        return predict_limit(self.task(), params, overlay.theory, samples=self.samples)

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """Simulation, the limit, and the limit with its term in 1/n."""
        label = next(item.label for item in cls.observables if item.name == panel)
        return draw_limit(panel, label, axes, dataset)

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """The limit of the loss is the source's, the rest is ours."""
        if overlay.theory == "context":
            return super().status(overlay)
        return {"train_loss": Status("asymptotic", "stated"), "fresh_excess": Status("asymptotic", "stated")}
