"""The figures of self-attention, as declarations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from solvable.attention import self_attention as sa
from solvable.lab.declare import Experiment, Guide, Measured, Panel, axis, parameter
from solvable.lab.declare.theory import Dimension, Observable, Overlay, Predicted, Status

if TYPE_CHECKING:
    import jax

    from solvable.lab.declare import Outcome

SOURCE = "arXiv:2603.01514"
TRAINING = f"{SOURCE} (setting and forms of the algorithm: reconstruction)"
PRECONDITIONERS = ("none", "right", "full", "scaled")
PreconditionerName = Literal["none", "right", "full", "scaled"]
ERROR = "relative squared error times n"
OVER_STEPS = {"at": Dimension("steps", log=True)}


def risk(name: str, label: str, log: bool = True, **options: Any) -> Observable:
    """A risk, which older files store without that word."""
    return Observable(name, label, log=log, was=(name.removesuffix("_risk"),), **options)


def share(amount: float, tokens: str = "samples") -> Callable[[Any], float]:
    """An allowance of so much over the number of tokens of a cell."""
    return lambda cell: amount / getattr(cell, tokens)


class LinearMapExperiment(Experiment):
    """What the figures share: the law of the sequences."""

    dim: int = parameter(5, "dimension of tokens and targets", symbol="d")
    condition: float = parameter(10.0, "condition number of the tokens' covariance", log=True)
    strength: float = parameter(0.2, "largest singular value of M Sigma^1/2", log=True)
    noise: float = parameter(0.1, "standard deviation of the targets' noise")

    system = "solvable.attention.self_attention"

    def task(self) -> Any:
        """A map whose whitened form does not depend on the condition number."""
        return sa.LinearMap.conditioned(self.dim, condition=self.condition, strength=self.strength, noise=self.noise)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The same replicates simulated in several settings; one that failed in a setting is lost."""

    outcomes: Sequence[Outcome]

    @property
    def result(self) -> np.ndarray:
        """The codes (R,)."""
        return np.max([one.result for one in self.outcomes], axis=0)

    def run(self, index: int) -> list[dict[str, Any]]:
        """The observables of one replicate in every setting."""
        return [{name: value[index] for name, value in one.present().items()} for one in self.outcomes]


class PathExperiment(LinearMapExperiment):
    """A figure over steps; its theory needs the start of a run alone, and speaks of more steps than are recorded."""

    def predict(self, overlay: Overlay, given: Any = None) -> Outcome:
        """The population's path from the start of each run, at 60 steps or more."""
        if overlay.theory != "population":
            return super().predict(overlay, given)
        from solvable.lab.declare import log_spaced

        task, algorithm, shared, _ = self.built()
        at = np.union1d(given.at, log_spaced(1, algorithm.steps, 120))
        return sa.predict(task, algorithm, **{**shared, "at": at}, theory="population", given=given, throw=False)


class Convergence(PathExperiment):
    """Population loss over steps from one whitened start: four preconditioners, three condition numbers."""

    name = "self-attention/convergence"
    source = TRAINING
    replicates = 4

    preconditioner: PreconditionerName = axis(list(PRECONDITIONERS), "preconditioner")
    condition: float = axis([1.0, 10.0, 100.0], "condition number of the tokens' covariance", log=True)
    learning_rate: float = parameter(1.5, "learning rate", symbol="eta", log=True)
    scaled_rate: float = parameter(0.5, "learning rate of the scaled preconditioner")
    damping: float = parameter(0.1, "damping of the scaled preconditioner")
    balance: float = parameter(1.0, "weight of the balancing penalty with the full preconditioner")
    init_scale: float = parameter(0.1, "standard deviation of the entries of the whitened factors at the start")
    steps: int = parameter(3000, "steps", log=True)
    start_seed: int = parameter(0, "seed of the starts, which all cells share")

    observables = (
        risk("excess_risk", "excess loss", tolerance=1e-9),
        Observable("iterations", "steps to 1e-10 of the zero map's loss", tolerance=0.5, log=True),
        Observable("rate", "ratio of successive losses", tolerance=0.0045),
    )
    overlays = (Overlay("population", given=True), Overlay("local_rate", given=True))
    panels = (
        Panel(
            "excess_risk",
            hue="condition",
            facet="preconditioner",
            theories={"population_given": "predicted"},
            runs="first",
            least=1e-16,
            log="xy",
        ),
    )
    x = "at"
    dimensions = OVER_STEPS

    def algorithm(self) -> Any:
        """Training with the preconditioner."""
        options = {"init": "random", "init_scale": self.init_scale}
        if self.preconditioner == "scaled":
            return sa.PreconditionedDescent("scaled", self.scaled_rate, self.steps, damping=self.damping, **options)
        balance = self.balance if self.preconditioner == "full" else 0.0
        return sa.PreconditionedDescent(self.preconditioner, self.learning_rate, self.steps, balance, **options)

    def simulate(self, key: jax.Array, replicates: int | range) -> Outcome:
        """Train on the population loss, from the same whitened starts in every cell."""
        import jax

        return super().simulate(jax.random.key(self.start_seed), replicates)

    def applicable(self) -> Sequence[Overlay]:
        """The local rate where training comes close enough to the solution to show it: balanced, full steps."""
        return self.overlays if self.preconditioner == "full" else self.overlays[:1]

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """Training on the population loss is the theory's own setting, so that its path is exact."""
        if overlay.theory == "population":
            return {item.name: Status("exact", "reconstruction") for item in cls.observables}
        return super().status(overlay)


class FiniteData(PathExperiment):
    """Training on one sequence: loss on it, error in the limit, error on a fresh context, over steps."""

    name = "self-attention/finite-data"
    source = TRAINING
    replicates = 8

    init: Literal["spectral", "random"] = axis(["spectral", "random"], "start")
    preconditioner: PreconditionerName = axis(["none", "full"], "preconditioner")
    samples: int = parameter(800, "tokens of the sequence", symbol="n", log=True)
    learning_rate: float = parameter(1.5, "learning rate", symbol="eta", log=True)
    steps: int = parameter(200, "steps", log=True)
    value_layer: Literal["descent", "closed_form"] = parameter("descent", "how the value matrix is trained")

    observables = (
        Observable("train_loss", "loss on the sequence", allowance=share(0.25), log=True),
        risk("excess_risk", "excess loss, limit", allowance=share(0.25)),
        risk("fresh_excess_risk", "excess loss, fresh context"),
    )
    overlays = (Overlay("population", given=True, words="infinitely many tokens"),)
    panels = tuple(
        Panel(name, hue="preconditioner", dash="init", log="xy", least=1e-6)
        for name in ("train_loss", "excess_risk", "fresh_excess_risk")
    )
    x = "at"
    dimensions = OVER_STEPS

    def algorithm(self) -> Any:
        """Training with the preconditioner."""
        rate = min(0.5, self.learning_rate) if self.preconditioner == "scaled" else self.learning_rate
        return sa.PreconditionedDescent(self.preconditioner, rate, self.steps, init=self.init, value=self.value_layer)

    def shared(self) -> dict[str, Any]:
        """The tokens."""
        return {"context_length": self.samples}


class Floor(LinearMapExperiment, Measured):
    """The error left at n tokens, of the spectral start and on fresh contexts after training, falls like 1/n."""

    name = "self-attention/floor"
    source = f"{SOURCE}, error of order 1/n (setting: reconstruction; constants derived here)"
    replicates = 32
    numbers = 2  # a context too short for the law in 1/n has no prediction

    smallest: int = parameter(250, "fewest tokens", symbol="n", log=True)
    doublings: int = parameter(3, "how often their number is doubled")
    learning_rate: float = parameter(0.3, "learning rate of the renormalised steps", log=True)
    steps: int = parameter(20, "steps", log=True)

    observables = (
        risk("start_excess_risk", "excess loss, spectral start", allowance=share(0.01, "smallest"), dims=("samples",)),
        risk("excess_risk", "excess loss, trained", dims=("samples",)),
        risk("fresh_excess_risk", "excess loss, fresh context", allowance=share(0.01, "smallest"), dims=("samples",)),
        Observable("start_slope", "slope of the start's error", allowance=lambda cell: 0.0625),
        Observable("fresh_slope", "slope of the trained error", allowance=lambda cell: 0.0625),
    )
    statuses = {
        **dict.fromkeys(("start_excess_risk", "start_slope"), Status("asymptotic", "reconstruction")),
        **dict.fromkeys(("fresh_excess_risk", "fresh_slope"), Status("asymptotic", "derived")),
    }
    overlays = (Overlay(given=True),)
    panels = tuple(
        Panel(name, guides=(Guide("slope", -1.0, "slope -1"),), log="xy")
        for name in ("start_excess_risk", "fresh_excess_risk")
    )
    x = "samples"
    dimensions = {"samples": Dimension("tokens n", log=True)}

    def algorithm(self) -> Any:
        """A few renormalised steps, which keep the attention broad."""
        return sa.PreconditionedDescent("full", self.learning_rate, self.steps, renormalize=True)

    def coordinates(self) -> Mapping[str, Any]:
        """The numbers of tokens."""
        return {"samples": [self.smallest * 2**power for power in range(self.doublings + 1)]}

    def runs(self, key: jax.Array, replicates: int | range) -> Sweep:
        """Train at every number of tokens. Raises: ValueError for one alone, through which there is no slope."""
        import jax

        if self.doublings < 1:
            raise ValueError(f"doublings={self.doublings} has no slope; accepted: doublings >= 1")
        task, algorithm, options = self.task(), self.algorithm(), {"replicates": replicates, "at": [self.steps]}
        keys = [jax.random.fold_in(key, place) for place in range(self.doublings + 1)]
        sizes = zip(self.coordinates()["samples"], keys, strict=True)
        return Sweep([sa.simulate(task, algorithm, context_length=n, key=one, **options) for n, one in sizes])

    def measure(self, run: Any) -> Mapping[str, Any]:
        """The errors at the end, and the slopes of their logarithms over log n."""
        from solvable.numerics.recording import log_log_slope

        names, n = ("start_excess_risk", "excess_risk", "fresh_excess_risk"), self.coordinates()["samples"]
        found = {name: np.array([np.ravel(one[name])[-1] for one in run]) for name in names}
        return found | {f"{one}_slope": log_log_slope(n, found[f"{one}_excess_risk"]) for one in ("start", "fresh")}

    def predicted(self, runs: Sweep) -> Predicted:
        """The spectral start's error, that of a fresh context at the parameters reached, and the slope -1 of both."""
        task, algorithm, sizes = self.task(), self.algorithm(), self.coordinates()["samples"]
        begun = [sa.predict(task, algorithm, context_length=n, theory="spectral_start", throw=False) for n in sizes]
        reached = [
            sa.predict(task, algorithm, context_length=n, theory="context", given=one, throw=False)
            for n, one in zip(sizes, runs.outcomes, strict=True)
        ]
        values = {
            "start_excess_risk": np.array([one.start_excess_risk for one in begun]),
            "fresh_excess_risk": np.stack([one.fresh_excess_risk[:, -1] for one in reached], axis=1),
        }
        return Predicted({**values, "start_slope": -1.0, "fresh_slope": -1.0}, Sweep(reached).result)


def errors_of_scales(dataset: Any, prefix: str) -> Any:
    """The errors at all sizes b of the score; of the theory the law (1 - 2 b^2)^(-d/2)(b^-2 + 1/(1 - 2 b^2)) at many.

    Beyond some size the runs are larger than the law, which sets in later there.
    """
    import xarray

    if prefix:
        size = xarray.DataArray(fine := np.geomspace(0.06, 0.68, 200), {"scale": fine}, "scale")
        rest = 1.0 - 2.0 * size**2
        return rest ** (-0.5 * dataset.dim) * (size**-2 + 1.0 / rest)
    peaked = dataset["peaked_error"].rename(peaked_scale="scale")
    return xarray.concat([dataset["context_error"], peaked], "scale").groupby("scale").mean().sortby("scale")


class Scale(LinearMapExperiment, Measured):
    """Error of a context against the size of the score, for layers with one limit: a U with its minimum predicted."""

    name = "self-attention/scale"
    source = f"{SOURCE} (derived here)"
    replicates = 128

    dim: int = axis([5, 10, 20], "dimension of tokens and targets", symbol="d", log=True)
    strength: float = parameter(2.0, "largest singular value of M Sigma^1/2", log=True)
    samples: int = parameter(8000, "tokens of a context", symbol="n", log=True)

    observables = (
        Observable("context_error", ERROR, allowance=lambda cell: 0.1, log=True, dims=("scale",)),
        Observable("peaked_error", "the same, peaked attention", log=True, dims=("peaked_scale",)),
        Observable("best_scale", "best size of the score", allowance=lambda cell: 0.005),
    )
    statuses = {name: Status("asymptotic", "derived") for name in ("context_error", "best_scale")}
    panels = (
        Panel(
            errors_of_scales,
            label=ERROR,
            hue="dim",
            theories={"theory": "law in 1/n"},
            guides=(Guide("upright", lambda data: (data.dim + 2.0) ** -0.5, "$1/\\sqrt{d + 2}$"),),
            log="xy",
            limits={"y": (5.0, 3000.0)},
        ),
    )
    x = "scale"
    dimensions = {
        "scale": Dimension("size b of the score, Bt = b I", log=True),
        "peaked_scale": Dimension("size b of a score too large for the law in 1/n at these n", log=True),
    }

    def algorithm(self) -> Any:
        """Nothing is trained."""
        return None

    def coordinates(self) -> Mapping[str, Any]:
        """Sizes around 1/sqrt(d + 2), parted where the term after 1/n, of (1 - 6 b^2)^(-d/2) / n, reaches 1/20."""
        near, far = [], []
        for factor in (0.4, 0.5, 0.63, 0.79, 0.87, 0.95, 1.05, 1.2, 1.4, 1.65, 1.9):
            size = factor * (self.dim + 2.0) ** -0.5
            close = 6.0 * size**2 < 1.0 and (1.0 - 6.0 * size**2) ** (-0.5 * self.dim) < self.samples / 20.0
            if size < 0.66:
                (near if close else far).append(size)
        return {"scale": near, "peaked_scale": far}

    def runs(self, key: jax.Array, replicates: int | range) -> Any:
        """Answer fresh queries from fresh contexts at every scale.

        Raises: ValueError for fewer than five scales, through which the lowest point is read.
        """
        from solvable.attention.self_attention.scale import context_errors

        near, far = self.coordinates().values()
        if len(near) < 5:
            raise ValueError(
                f"samples={self.samples} leaves {len(near)} scales at which the law in 1/n has set in; accepted: more "
                "samples, or at least 5 scales"
            )
        return context_errors(self.task(), near, far, self.samples, key, replicates)

    def measure(self, run: Any) -> Mapping[str, Any]:
        """The errors, and where their mean over the runs is least."""
        return run._asdict()

    def predicted(self, runs: None) -> Mapping[str, Any]:
        """C over |Mt|_F^2, and where it is least."""
        from solvable.attention.self_attention.scale import layer_of_scale

        task = self.task()
        size = np.sum((task.matrix @ task.covariance) * task.matrix)
        scales = self.coordinates()["scale"]
        found = np.array([sa.context_constant(layer_of_scale(task, scale), task) for scale in scales]) / size
        return {"context_error": found, "best_scale": sa.best_scale(self.dim)}


class Limit(LinearMapExperiment, Measured):
    """The loss of fixed parameters on n tokens goes to the population loss like 1/n, with the predicted slope."""

    name = "self-attention/limit"
    source = f"{SOURCE}, limit of the loss (term in 1/n derived here)"
    replicates = 64

    samples: int = axis([100, 200, 400, 800, 1600], "tokens", symbol="n", log=True)
    strength: float = parameter(0.1, "largest singular value of M Sigma^1/2", log=True)
    error: float = parameter(0.5, "by how much the value matrix is larger than at the solution")

    observables = (
        Observable("train_loss", "loss on the sequence", allowance=share(0.05)),
        risk("fresh_excess_risk", "excess loss, fresh context", log=False, allowance=share(0.05)),
    )
    overlays = (
        Overlay("context", words="limit and its term in 1/n"),
        Overlay("population", compared=False, words="limit of infinitely many tokens"),
    )
    x = "samples"
    size_parameter = "samples"

    def algorithm(self) -> Any:
        """No step is taken."""
        return sa.PreconditionedDescent(steps=1)

    def layer(self) -> Any:
        """The balanced solution with its value matrix made larger by the share `error`."""
        best = self.algorithm().train(self.task(), at=[0]).parameters
        return sa.Parameters((1.0 + self.error) * best.value, best.score)

    def simulate(self, key: jax.Array, replicates: int | range) -> Outcome:
        """The losses of the fixed parameters."""
        options = {"context_length": self.samples, "key": key, "replicates": replicates, "at": [0]}
        found = sa.simulate(self.task(), self.algorithm(), init=self.layer(), **options)
        values = {item.name: getattr(found, item.name)[:, 0] for item in self.observables}
        return self._outcome(values, found.result, None)

    def predict(self, overlay: Overlay, given: Any = None) -> Outcome:
        """The limit, with or without its term in 1/n."""
        options = {"context_length": self.samples, "theory": overlay.theory, "given": self.layer(), "at": [0]}
        found = sa.predict(self.task(), self.algorithm(), **options)
        fresh = found.fresh_excess_risk if overlay.theory == "context" else found.excess_risk
        values = {"train_loss": found.train_loss[0], "fresh_excess_risk": fresh[0]}
        return self._outcome(values, found.result, None)

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """The limit of the loss is the source's, the rest is ours."""
        origin = "derived" if overlay.theory == "context" else "stated"
        return {item.name: Status("asymptotic", origin) for item in cls.observables}
