"""The figures of token selection, as declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from solvable.attention import token_selection as ts
from solvable.attention.token_selection.rates import at_the_end
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
    import xarray
    from matplotlib.axes import Axes

MIRROR, TRANSFORMERS, RATES = "arXiv:2410.14581", "arXiv:2308.16898", "arXiv:2402.05738"
STEPS = {1.75: 1500, 2.0: 2000, 3.0: 20000}
REFERENCES = (1.75, 2.0, 3.0)
GradientName = Literal["stable", "autodiff", "authors"]
OVER_STEPS = {"at": Dimension("steps", log=True)}
GIVEN = (Overlay(given=True),)


def allow(value: float) -> Any:
    """The same finite-step allowance in every cell; a comparison accepts up to four times it."""
    return lambda cell: value


def _one_percent(cell: Any) -> float:
    """A hundredth of the fall of log attention a step, of which a comparison accepts four times the allowance."""
    fall = (
        1.0 / cell.constant
        if cell.rule == "polyak"
        else 0.25 * (cell.speed if cell.rule == "growing" else cell.learning_rate)
    )
    return 0.0025 * fall


class SelectionExperiment(Experiment):
    """What the figures share: the law of the problems."""

    samples: int = parameter(6, "sequences", symbol="n")
    length: int = parameter(8, "tokens a sequence", symbol="T")
    dim: int = parameter(10, "dimension of a token", symbol="d")

    system: ClassVar[str] = "solvable.attention.token_selection"

    def task(self) -> Any:
        """Random tokens, queries and decoder."""
        return ts.RandomSelection(self.samples, self.length, self.dim)


class Direction(SelectionExperiment, FigureExperiment):
    """Directional divergence of mirror descent from the max-margin solutions of three norms."""

    name: ClassVar[str] = "token-selection/direction"
    source: ClassVar[str] = f"{MIRROR}, direction figures (settings from the authors' code)"
    module: ClassVar[str] = "direction"
    replicates: ClassVar[int] = 100

    p: float = axis(list(REFERENCES), "p of mirror descent")
    steps: int | None = parameter(None, "steps (none: 1500 at p = 1.75, 2000 at 2, 20000 at 3, else 4000)")
    learning_rate: float = parameter(0.1, "learning rate", symbol="eta", log=True)
    gradient: GradientName = parameter("stable", "form of the gradient ('authors': as published)")
    tokens_of: Literal["own run", "other run"] = parameter(
        "own run", "whose tokens the references separate ('other run': as published)"
    )
    start_scale: float = parameter(1.0, "standard deviation of the entries of W at the start")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("divergence", "directional divergence", log=True),
        Observable("final_divergence", "divergence at the end", allowance=allow(0.0025)),
    )
    statuses: ClassVar[Mapping[str, Status]] = {"final_divergence": Status("asymptotic", "stated")}
    overlays: ClassVar[Sequence[Overlay]] = GIVEN
    panels: ClassVar[Sequence[str]] = ("first", "second", "third")
    x: ClassVar[str] = "at"
    dimensions: ClassVar[Mapping[str, Dimension]] = {
        **OVER_STEPS,
        "reference": Dimension("p of the max-margin solution"),
    }

    def algorithm(self) -> Any:
        """Normalised mirror descent."""
        steps = STEPS.get(self.p, 4000) if self.steps is None else self.steps
        return ts.MirrorDescent(self.p, self.learning_rate, steps, gradient=self.gradient)

    def shared(self) -> dict[str, Any]:
        """The references."""
        return {"references": REFERENCES}

    def sizes(self) -> dict[str, Any]:
        """The start, and whose tokens the references separate."""
        return {"tokens_of": self.tokens_of, "steps_of": STEPS, "init_scale": self.start_scale}

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """One panel a p of training: the mean divergence from each reference over the steps, and its limits."""
        from solvable.attention.token_selection.pictures import draw_directions

        return draw_directions(cls.panels.index(panel), axes, dataset)


class Joint(FigureExperiment):
    """Joint mirror descent on the key-query matrix and the decoder: both directions, both probabilities."""

    name: ClassVar[str] = "token-selection/joint"
    module: ClassVar[str] = "joint"
    source: ClassVar[str] = f"{MIRROR}, joint experiment (settings from the authors' code)"
    system: ClassVar[str] = "solvable.attention.token_selection"
    replicates: ClassVar[int] = 1

    p: float = axis(list(REFERENCES), "p of mirror descent")
    steps: int | None = parameter(None, "steps (none: 1500 at p = 1.75, 2000 at 2, 20000 at 3, else 4000)")
    learning_rate: float = parameter(0.1, "learning rate", symbol="eta", log=True)

    observables: ClassVar[Sequence[Observable]] = (
        Observable("divergence", "divergence of W", log=True),
        Observable("decoder_divergence", "divergence of the decoder", log=True),
        Observable("attention_probability", "attention on the selected tokens"),
        Observable("label_probability", "probability of the label"),
        Observable("final_divergence", "divergence of W at the end", tolerance=0.001),
        Observable("final_decoder_divergence", "divergence of the decoder at the end", tolerance=0.001),
        Observable("token", "selected token"),
    )
    statuses: ClassVar[Mapping[str, Status]] = {
        "final_divergence": Status("asymptotic", "reconstruction"),
        "final_decoder_divergence": Status("asymptotic", "reconstruction"),
    }
    overlays: ClassVar[Sequence[Overlay]] = GIVEN
    panels: ClassVar[Sequence[str]] = (
        "divergence",
        "decoder_divergence",
        "attention_probability",
        "label_probability",
    )
    x: ClassVar[str] = "at"
    dimensions: ClassVar[Mapping[str, Dimension]] = {**OVER_STEPS, "sequence": Dimension("sequence")}

    def task(self) -> Any:
        """The published example."""
        return ts.two_sequences()

    def algorithm(self) -> Any:
        """Normalised mirror descent on W and v."""
        steps = STEPS.get(self.p, 4000) if self.steps is None else self.steps
        return ts.MirrorDescent(self.p, self.learning_rate, steps, train_decoder=True)


class Rates(SelectionExperiment):
    """Step rules side by side: convergence of the direction, and saturation of the attention."""

    name: ClassVar[str] = "token-selection/rates"
    source: ClassVar[str] = f"{RATES} and {MIRROR} (setting and laws: reconstruction and derived here)"
    replicates: ClassVar[int] = 30

    rule: Literal["fixed", "normalized", "growing", "polyak"] = axis(
        ["fixed", "normalized", "growing", "polyak"], "step rule"
    )
    samples: int = parameter(8, "sequences", symbol="n")
    length: int = parameter(4, "tokens a sequence", symbol="T")
    dim: int = parameter(40, "dimension of a token", symbol="d")
    p: float = parameter(2.0, "p of mirror descent (polyak: 2)")
    tokens: Literal["orthonormal", "gaussian", "random scores"] = parameter(
        "orthonormal", "tokens; with one optimal token of equal scores unless the scores are random"
    )
    learning_rate: float = parameter(0.1, "learning rate of normalized steps", symbol="eta", log=True)
    fixed_rate: float = parameter(1.0, "learning rate of fixed steps", log=True)
    speed: float = parameter(0.1, "growth of the norm a step, for linear growth", log=True)
    constant: float = parameter(2.0, "constant of the polyak step")
    steps: int = parameter(4000, "steps", log=True)
    start_scale: float = parameter(1.0, "standard deviation of the entries of W at the start")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("divergence", "divergence from the max margin", log=True),
        Observable("decay", "-log of attention off the selection", log=True),
        Observable("divergence_slope", "log-log slope of the divergence", allowance=allow(0.075)),
        Observable("gap_slope", "fall of log attention a step", allowance=_one_percent),
        Observable("growth", "norm over its law", allowance=allow(0.0125)),
        Observable("scaled_excess", "excess loss over its law", allowance=allow(0.0125)),
        Observable("offset", "alignment minus log(eta k)", allowance=allow(0.05)),
    )
    overlays: ClassVar[Sequence[Overlay]] = (
        Overlay("growth", given=True),
        Overlay("rate"),
        Overlay("excess_loss", given=True),
        Overlay("polyak"),
    )
    panels: ClassVar[Sequence[str]] = ("divergence", "decay", "divergence_slope", "gap_slope")
    x: ClassVar[str] = "at"
    dimensions: ClassVar[Mapping[str, Dimension]] = OVER_STEPS

    def task(self) -> Any:
        """One optimal token and equal scores, or random problems."""
        if self.tokens == "random scores":
            return ts.RandomSelection(self.samples, self.length, self.dim)
        return ts.EqualScores(self.samples, self.length, self.dim, orthonormal=self.tokens == "orthonormal")

    def algorithm(self) -> Any:
        """Mirror descent with the step rule."""
        if self.rule == "growing":
            return ts.MirrorDescent(self.p, ts.linear_growth(self.speed, self.p), self.steps)
        if self.rule == "fixed":
            return ts.MirrorDescent(self.p, self.fixed_rate, self.steps, "fixed")
        return ts.MirrorDescent(self.p, self.learning_rate, self.steps, self.rule, polyak_constant=self.constant)

    def sizes(self) -> dict[str, Any]:
        """The start."""
        return {"init_scale": self.start_scale}

    def simulate(self, key: Any, replicates: int | range) -> Any:
        """Train; keep curves, slopes and last values."""
        runs = ts.simulate(self.task(), self.algorithm(), **self.sizes(), key=key, replicates=replicates)
        return at_the_end(runs)

    def predict(self, overlay: Overlay, given: Any = None) -> Any:
        """One theory's slopes and last values."""
        options = {} if given is None else {"given": given.runs, "throw": False}
        return at_the_end(ts.predict(self.task(), self.algorithm(), theory=overlay.theory, **options))

    def applicable(self) -> Sequence[Overlay]:
        """The theories that speak of this step rule."""
        growth, rate, excess, polyak = self.overlays
        return {
            "fixed": (excess,),
            "normalized": (growth, rate),
            "growing": (growth, rate) if self.p >= 2.0 else (growth,),
            "polyak": (growth, rate, polyak),
        }[self.rule]


class Factored(SelectionExperiment, FigureExperiment):
    """Gradient descent on W against gradient descent on K and Q: which max-margin solution the product follows."""

    name: ClassVar[str] = "token-selection/factored"
    source: ClassVar[str] = f"{TRANSFORMERS}, correlation figures (settings from the authors' code)"
    module: ClassVar[str] = "factored"
    replicates: ClassVar[int] = 50

    parameterization: Literal["matrix", "factored"] = axis(["matrix", "factored"], "what is trained")
    steps: int = parameter(4000, "steps", log=True)
    learning_rate: float = parameter(0.1, "learning rate", symbol="eta", log=True)
    start_scale: float = parameter(0.1, "standard deviation of the entries of the trained matrices at the start")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("frobenius", "correlation with the Frobenius solution"),
        Observable("nuclear", "correlation with the nuclear solution"),
        Observable("final_frobenius", "correlation with the Frobenius solution at the end", allowance=allow(0.01)),
        Observable("final_nuclear", "correlation with the nuclear solution at the end", allowance=allow(0.01)),
        Observable("effective_rank", "effective rank of W", allowance=allow(0.05)),
    )
    statuses: ClassVar[Mapping[str, Status]] = {
        **{name: Status("asymptotic", "reconstruction") for name in ("final_frobenius", "final_nuclear")},
        "effective_rank": Status("asymptotic", "derived"),
    }
    overlays: ClassVar[Sequence[Overlay]] = GIVEN
    panels: ClassVar[Sequence[str]] = ("frobenius", "nuclear", "effective_rank")
    x: ClassVar[str] = "at"
    dimensions: ClassVar[Mapping[str, Dimension]] = OVER_STEPS

    def algorithm(self) -> Any:
        """Normalised gradient descent on W or its factors."""
        return ts.MirrorDescent(2.0, self.learning_rate, self.steps, parameterization=self.parameterization)

    def sizes(self) -> dict[str, Any]:
        """The start."""
        return {"init_scale": self.start_scale}


class GlobalLocal(SelectionExperiment, FigureExperiment):
    """How often training ends on the optimal tokens as the dimension grows, and how often on locally optimal ones."""

    name: ClassVar[str] = "token-selection/global-local"
    source: ClassVar[str] = f"{TRANSFORMERS}, global against local convergence (figure: reconstruction)"
    module: ClassVar[str] = "shares"
    replicates: ClassVar[int] = 100

    dim: int = axis([2, 3, 4, 6, 10, 20, 40], "dimension of a token", symbol="d", log=True)
    p: float = parameter(2.0, "p of mirror descent")
    steps: int = parameter(2000, "steps", log=True)
    start_scale: float = parameter(0.0, "standard deviation of the entries of W at the start")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("feasible", "optimal tokens can be separated"),
        Observable("settled", "attention saturated"),
        # a few per mille of the runs linger where a support token scores slightly higher, and move on much later
        Observable("locally_optimal", "ends on locally optimal tokens", allowance=allow(0.01)),
        Observable("globally_optimal", "ends on the optimal tokens"),
    )
    statuses: ClassVar[Mapping[str, Status]] = {"locally_optimal": Status("asymptotic", "stated")}
    overlays: ClassVar[Sequence[Overlay]] = GIVEN
    panels: ClassVar[Sequence[str]] = ("globally_optimal", "locally_optimal", "feasible")
    x: ClassVar[str] = "dim"

    def algorithm(self) -> Any:
        """Normalised mirror descent."""
        return ts.MirrorDescent(self.p, 0.1, self.steps)

    def sizes(self) -> dict[str, Any]:
        """The start."""
        return {"init_scale": self.start_scale}


class Rank(SelectionExperiment, FigureExperiment):
    """Rank of the max-margin solutions for the optimal tokens, Frobenius and nuclear, against the dimension."""

    name: ClassVar[str] = "token-selection/rank"
    source: ClassVar[str] = f"{TRANSFORMERS}, rank study (settings from the authors' code)"
    module: ClassVar[str] = "rank"
    replicates: ClassVar[int] = 50

    dim: int = axis([2, 3, 4, 5, 10, 15, 20], "dimension of a token", symbol="d", log=True)
    infeasible: Literal["drop", "rank one"] = parameter(
        "drop", "problems whose optimal tokens nothing separates ('rank one': as published)"
    )

    observables: ClassVar[Sequence[Observable]] = (
        Observable("frobenius_rank", "rank, Frobenius norm", bound="above"),
        Observable("nuclear_rank", "rank, nuclear norm", bound="above"),
    )
    statuses: ClassVar[Mapping[str, Status]] = {
        name: Status("bound", "derived") for name in ("frobenius_rank", "nuclear_rank")
    }
    x: ClassVar[str] = "dim"

    def algorithm(self) -> Any:
        """Nothing is trained."""
        return None

    def sizes(self) -> dict[str, Any]:
        """What becomes of infeasible problems."""
        return {"infeasible": self.infeasible}


class Path(SelectionExperiment, FigureExperiment):
    """Regularisation path: the least loss in a ball points to the max margin, up to 1/radius^2."""

    name: ClassVar[str] = "token-selection/path"
    source: ClassVar[str] = f"{MIRROR}, regularisation path (rate derived here)"
    module: ClassVar[str] = "radius"
    replicates: ClassVar[int] = 30

    p: float = axis(list(REFERENCES), "p of the norm")
    largest: float = parameter(1000.0, "largest radius", symbol="R", log=True)

    observables: ClassVar[Sequence[Observable]] = (
        Observable("divergence", "divergence from the max margin", log=True),
        Observable("divergence_slope", "log-log slope of the divergence", allowance=allow(0.05)),
    )
    statuses: ClassVar[Mapping[str, Status]] = {"divergence_slope": Status("asymptotic", "derived")}
    x: ClassVar[str] = "radius"
    dimensions: ClassVar[Mapping[str, Dimension]] = {"radius": Dimension("radius R of the ball", log=True)}

    def algorithm(self) -> Any:
        """The p of the norm, and the logistic loss."""
        return ts.MirrorDescent(self.p)

    def sizes(self) -> dict[str, Any]:
        """The largest radius."""
        return {"largest": self.largest}


class Sparsity(SelectionExperiment, FigureExperiment):
    """How unequal the entries of W are, after training with different p and in the max-margin limit."""

    name: ClassVar[str] = "token-selection/sparsity"
    source: ClassVar[str] = f"{MIRROR}, sparsity of the weights (figure: reconstruction)"
    module: ClassVar[str] = "sparsity"
    replicates: ClassVar[int] = 50

    p: float = axis([1.5, 1.75, 2.0, 3.0, 5.0], "p of mirror descent", log=True)
    speed: float = parameter(0.1, "growth of the norm a step", log=True)
    steps: int = parameter(4000, "steps", log=True)

    observables: ClassVar[Sequence[Observable]] = (
        Observable("small_share", "share of entries below max/10", allowance=allow(0.01)),
        Observable("participation", "(mean |w|)^2 / mean w^2", allowance=allow(0.005)),
        Observable("peak", "largest entry / root mean square", allowance=allow(0.03)),
    )
    statuses: ClassVar[Mapping[str, Status]] = {
        name: Status("asymptotic", "derived") for name in ("small_share", "participation", "peak")
    }
    overlays: ClassVar[Sequence[Overlay]] = GIVEN
    x: ClassVar[str] = "p"

    def algorithm(self) -> Any:
        """Normalised mirror descent with linear growth."""
        return ts.MirrorDescent(self.p, ts.linear_growth(self.speed, self.p), self.steps)
