"""The figures of sparse-token classification, as declarations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from solvable.attention import sparse_tokens as st
from solvable.attention.sparse_tokens.limits import excess
from solvable.attention.sparse_tokens.simulate import sample_counts
from solvable.lab.experiment import Experiment, FigureExperiment, Observable, Overlay, Status, axis, parameter
from solvable.numerics.estimate import over_replicates

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

PAPER = "arXiv:2509.25153"
LossName = Literal["logistic", "square", "hinge"]
ModelName = Literal["attention", "pooled", "flat"]


class SparseTokenExperiment(Experiment):
    """What the figures share: the law of the bags."""

    length: int = parameter(10, "tokens a bag", symbol="L")
    sparsity: int = parameter(1, "signal tokens in a positive bag", symbol="R")
    strength: float = parameter(5.0, "strength of the signal", symbol="theta")
    positive_rate: float = parameter(0.5, "probability of a positive bag", symbol="pi")

    system: ClassVar[str] = "solvable.attention.sparse_tokens"

    def task(self) -> Any:
        """The bags."""
        return st.SparseTokens(self.length, self.sparsity, self.strength, self.positive_rate)


def _per_dim(b: float) -> Any:
    return lambda cell: b / cell.dim


class ErrorAgainstRatio(SparseTokenExperiment):
    """Test error, training loss and training error against samples per dimension: attention, linear baselines."""

    name: ClassVar[str] = "sparse-tokens/error"
    source: ClassVar[str] = f"{PAPER}, Fig. 1 (step sizes and split not stated there; ours)"

    model: ModelName = axis(["attention", "pooled", "flat"], "classifier")
    loss: LossName = axis(["logistic", "square"], "training loss")
    ratio: float = axis([0.5, 1.0, 2.0, 4.0, 8.0], "all samples / dim", symbol="alpha", log=True)
    ridge: float = parameter(1e-2, "ridge penalty", symbol="lambda", log=True)
    query_share: float = parameter(0.5, "share of the samples that trains the query")
    sharpness: float = parameter(1.0, "norm of the query", symbol="beta")
    dim: int = parameter(400, "embedding dimension", symbol="d")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("test_error", "test error", allowance=_per_dim(1.0)),
        Observable("train_loss", "training loss", allowance=_per_dim(1.0)),
        Observable("train_error", "training error", allowance=_per_dim(1.0)),
        Observable("cosine", "cosine of query and signal", allowance=_per_dim(4.0)),
        Observable("orthogonal_norm", "norm of the head off the query", allowance=_per_dim(16.0)),
    )
    panels: ClassVar[Sequence[str]] = ("test_error", "train_loss", "train_error")
    x: ClassVar[str] = "ratio"
    size_parameter: ClassVar[str | None] = "dim"
    # Few query samples make the error steep and convex in the alignment reached, so that its mean over runs is far from
    # its value at the limit alignment: the limit is drawn for attention, the conditional theory is what must agree.
    overlays: ClassVar[Sequence[Overlay]] = (Overlay("limit"), Overlay("given_query", given=True))

    def algorithm(self) -> Any:
        """The classifier."""
        if self.model == "attention":
            return st.TwoStepAttention(self.loss, self.ridge, self.query_share, self.sharpness)
        return (st.PooledLinear if self.model == "pooled" else st.FlatLinear)(self.loss, self.ridge)

    def shared(self) -> dict[str, Any]:
        """The ratio."""
        return {"ratio": self.ratio}

    def sizes(self) -> dict[str, Any]:
        """The dimension, refused here where it leaves no bags, before anything runs."""
        sample_counts(self.algorithm(), ratio=self.ratio, dim=self.dim)
        return {"dim": self.dim}

    def amounts(self) -> Mapping[str, int]:
        """The bags of a run."""
        return {"bags": round(self.ratio * self.dim)}

    def marginal(self, observable: str) -> Mapping[str, float]:
        """The derivative by the number of bags."""
        return {"bag": float(st.one_more_bag(self.task(), self.algorithm(), self.ratio, self.dim, observable))}

    def tuned(self, observable: str) -> Mapping[str, float]:
        """The query share, ridge and sharpness of the least predicted test error, as far as the classifier has them."""
        if observable != "test_error":
            return {}
        names = ("query_share", "ridge", "sharpness") if self.model == "attention" else ("ridge",)
        best = st.tune(self.task(), self.algorithm(), self.ratio, over=names)
        return {name: float(getattr(best, name)) for name in names}

    def applicable(self) -> Sequence[Overlay]:
        """Attention is compared given its query; the baselines have none."""
        if self.model == "attention":
            return (Overlay("limit", compared=False), Overlay("given_query", given=True))
        return (Overlay("limit"),)


class AlignmentAgainstRatio(SparseTokenExperiment, FigureExperiment):
    """Cosine of the two-step query with the signal against query samples per dimension, and its approach to 1."""

    name: ClassVar[str] = "sparse-tokens/alignment"
    source: ClassVar[str] = f"{PAPER}, Theorem 3 and Corollary 1 (figure: reconstruction)"
    module: ClassVar[str] = "alignment"

    loss: LossName = axis(["logistic", "square", "hinge"], "training loss")
    query_ratio: float = axis(
        [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0], "query samples / dim", symbol="alpha0", log=True
    )
    head_rate: float = parameter(1.0, "learning rate of the head in step one")
    bias_rate: float = parameter(1.0, "learning rate of the bias in step one")
    query_rate: float = parameter(1.0, "learning rate of the query in step two")
    dim: int = parameter(400, "embedding dimension", symbol="d")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("cosine", "cosine of query and signal", allowance=_per_dim(4.0)),
        Observable("sharpness", "norm of the query", allowance=_per_dim(4.0), log=True),
        Observable("scaled_misalignment", "query ratio x (1 - |cosine|)", allowance=lambda cell: 8.0 / cell.dim),
    )
    statuses: ClassVar[Mapping[str, Status]] = {
        "cosine": Status("asymptotic", "derived"),
        "sharpness": Status("asymptotic", "derived"),
        "scaled_misalignment": Status("asymptotic", "derived"),
    }
    x: ClassVar[str] = "query_ratio"
    size_parameter: ClassVar[str | None] = "dim"

    def algorithm(self) -> Any:
        """The two steps."""
        return st.TwoStepAttention(
            self.loss,
            sharpness=None,
            query_rate=self.query_rate,
            head_rate=self.head_rate,
            bias_rate=self.bias_rate,
        )

    def shared(self) -> dict[str, Any]:
        """The query ratio."""
        return {"query_ratio": self.query_ratio}

    def amounts(self) -> Mapping[str, int]:
        """The bags that train the query."""
        return {"bags": round(self.query_ratio * self.dim)}

    def sizes(self) -> dict[str, Any]:
        """The dimension."""
        return {"dim": self.dim}


class Capacity(SparseTokenExperiment, FigureExperiment):
    """Share of linearly separable draws around the predicted capacity."""

    name: ClassVar[str] = "sparse-tokens/capacity"
    source: ClassVar[str] = f"{PAPER}, Conjecture 1 and Fig. 3 (figure: reconstruction)"
    module: ClassVar[str] = "separability"
    replicates: ClassVar[int] = 24

    model: ModelName = axis(["pooled", "flat", "attention"], "classifier")
    relative_ratio: float = axis([0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3], "samples / dim over the predicted capacity")
    cosine: float = parameter(0.5, "cosine of query and signal (attention)")
    sharpness: float = parameter(1.0, "norm of the query (attention)", symbol="beta")
    dim: int = parameter(60, "embedding dimension", symbol="d")

    observables: ClassVar[Sequence[Observable]] = (
        # The step of the limit is smeared over a window of width 1/sqrt(dim), in which it does not speak.
        Observable(
            "separable_share",
            "share of separable draws",
            allowance=lambda cell: 0.5 if abs(cell.relative_ratio - 1.0) < 1.2 / cell.dim**0.5 else 2.0 / cell.dim,
        ),
    )
    statuses: ClassVar[Mapping[str, Status]] = {"separable_share": Status("asymptotic", "derived")}
    # No `size`: the share leaves its step exponentially fast in dim outside the window and not at all inside it.
    x: ClassVar[str] = "relative_ratio"

    def algorithm(self) -> Any:
        """The classifier."""
        if self.model == "attention":
            return st.FixedQueryAttention(self.cosine, self.sharpness)
        return (st.PooledLinear if self.model == "pooled" else st.FlatLinear)()

    def shared(self) -> dict[str, Any]:
        """The ratio, relative to the capacity."""
        return {"relative_ratio": self.relative_ratio}

    def sizes(self) -> dict[str, Any]:
        """The dimension."""
        return {"dim": self.dim}

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """The predicted step, and the shares with their errors."""
        shares = dataset.get(panel)
        if shares is None or set(shares.dims) - {"replicate", "model", "relative_ratio"} or "model" not in shares.dims:
            return False
        low, high = float(dataset.relative_ratio.min()), float(dataset.relative_ratio.max())
        axes.step([low, 1.0, high], [1.0, 1.0, 0.0], where="pre", color="#8a8a8a", label="limit")
        for model, style in zip(dataset.model.values, ("o", "s", "^"), strict=False):
            share = shares.sel(model=model)
            mean, error = over_replicates(share)
            axes.errorbar(dataset.relative_ratio, mean, yerr=error, fmt=style, markersize=4, label=f"{model} ± 1 se")
        axes.set(xlabel="samples / dim over the predicted capacity", ylabel="share of separable draws")
        axes.legend(frameon=False, fontsize="small")
        return True


class PhaseDiagram(SparseTokenExperiment, FigureExperiment):
    """Where attention beats the linear baselines with unlimited data, and where a badly aligned query loses to them."""

    name: ClassVar[str] = "sparse-tokens/phase-diagram"
    source: ClassVar[str] = f"{PAPER}, phase diagram (figure: reconstruction)"
    module: ClassVar[str] = "phases"
    replicates: ClassVar[int] = 0

    cosine: float = axis(
        [-0.5, -0.25, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "cosine of query and signal"
    )
    strength: float = axis([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], "strength of the signal", symbol="theta")
    sharpness: float = parameter(1.0, "norm of the query", symbol="beta")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("attention_error", "limit error of attention"),
        Observable("linear_error", "limit error of the linear baselines"),
        Observable("advantage", "linear minus attention error"),
    )
    statuses: ClassVar[Mapping[str, Status]] = {
        name: Status("exact", "derived") for name in ("attention_error", "linear_error", "advantage")
    }
    panels: ClassVar[Sequence[str]] = ("advantage",)
    x: ClassVar[str] = "cosine"

    def algorithm(self) -> Any:
        """Attention with that query, square loss, no ridge."""
        return st.FixedQueryAttention(self.cosine, self.sharpness, "square", 0.0)

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """A map of the advantage with its zero line, where both cosine and strength vary."""
        field = dataset.get(f"theory_{panel}")
        if field is None or {"cosine", "strength"} - set(field.dims) or field.ndim != 2:
            return False
        field = field.transpose("strength", "cosine")
        size = float(abs(field).max())
        mesh = axes.pcolormesh(
            field.cosine,
            field.strength,
            field,
            cmap="PuOr_r",
            vmin=-size,
            vmax=size,
            shading="nearest",
            rasterized=True,
        )
        axes.contour(field.cosine, field.strength, field, levels=[0.0], colors="black", linewidths=1.2)
        axes.set(xlabel="cosine of query and signal", ylabel="strength of the signal (theta)")
        axes.set_title("attention wins where positive (line: tie)", fontsize="medium")
        bar = axes.figure.colorbar(mesh, ax=axes)
        bar.set_label("linear minus attention error")
        return True


class Rates(SparseTokenExperiment):
    """Approach to the limit of many samples: ratio x (test error - its limit) goes to a constant."""

    name: ClassVar[str] = "sparse-tokens/rates"
    source: ClassVar[str] = f"{PAPER}, Corollary 2 (constants derived here)"
    replicates: ClassVar[int] = 12

    model: ModelName = axis(["attention", "pooled", "flat"], "classifier")
    ratio: float = axis([16.0, 32.0, 64.0, 128.0], "samples / dim", symbol="alpha", log=True)
    cosine: float = parameter(0.9, "cosine of query and signal (attention)")
    sharpness: float = parameter(1.0, "norm of the query (attention)", symbol="beta")
    ridge: float = parameter(1e-12, "ridge penalty", symbol="lambda", log=True)
    dim: int = parameter(100, "embedding dimension", symbol="d")

    observables: ClassVar[Sequence[Observable]] = (
        Observable(
            "excess_error", "test error minus its limit", allowance=lambda cell: 1.0 / (cell.dim * cell.ratio), log=True
        ),
        Observable("scaled_excess", "ratio x (test error - limit)", allowance=_per_dim(1.0)),
    )
    x: ClassVar[str] = "ratio"
    size_parameter: ClassVar[str | None] = "dim"

    def algorithm(self) -> Any:
        """The classifier, square loss."""
        if self.model == "attention":
            return st.FixedQueryAttention(self.cosine, self.sharpness, "square", self.ridge)
        return (st.PooledLinear if self.model == "pooled" else st.FlatLinear)("square", self.ridge)

    def shared(self) -> dict[str, Any]:
        """The ratio."""
        return {"ratio": self.ratio}

    def sizes(self) -> dict[str, Any]:
        """The dimension."""
        sample_counts(self.algorithm(), ratio=self.ratio, dim=self.dim)
        return {"dim": self.dim}

    def amounts(self) -> Mapping[str, int]:
        """The bags of a run."""
        return {"bags": round(self.ratio * self.dim)}

    def simulate(self, key: Any, replicates: int | range) -> Any:
        """Train, and subtract the limit."""
        return self._excess(super().simulate(key, replicates))

    def predict(self, overlay: Overlay, given: Any = None) -> Any:
        """Predict, and subtract the limit."""
        return self._excess(super().predict(overlay))

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """Both follow from the test error."""
        return {name: Status("asymptotic", "derived") for name in ("excess_error", "scaled_excess")}

    def _excess(self, outcome: Any) -> Any:
        return excess(outcome, float(st.limit_error(self.task(), self.algorithm())), self.ratio)


class Representation(SparseTokenExperiment, FigureExperiment):
    """The least error of each representation as bags grow long, at strength = growth x log(length)."""

    name: ClassVar[str] = "sparse-tokens/representation"
    source: ClassVar[str] = f"{PAPER}, Proposition 1, Theorems 1 and 2 (closed forms derived here)"
    module: ClassVar[str] = "limits"
    replicates: ClassVar[int] = 0

    length: int = axis([10, 30, 100, 300, 1000], "tokens a bag", symbol="L", log=True)
    growth: float = parameter(1.0, "strength / log(length)")

    observables: ClassVar[Sequence[Observable]] = (
        Observable("attention", "attention that knows the signal", log=True),
        Observable("bayes", "best classifier", log=True),
        Observable("pooled", "best linear on the mean token", log=True),
        Observable("flat", "best linear on the flat bag", log=True),
    )
    statuses: ClassVar[Mapping[str, Status]] = {
        "attention": Status("exact", "derived"),
        "bayes": Status("exact", "derived"),
        "pooled": Status("exact", "derived"),
        "flat": Status("heuristic", "derived"),
    }
    x: ClassVar[str] = "length"

    def task(self) -> Any:
        """Bags whose signal grows with their length."""
        return st.SparseTokens(self.length, self.sparsity, self.growth * math.log(self.length), self.positive_rate)

    def algorithm(self) -> None:
        """Nothing is trained."""

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """All four errors in one panel."""
        names = [observable.name for observable in cls.observables]
        if panel != "errors" or any(dataset[f"theory_{name}"].dims != ("length",) for name in names):
            return False
        for observable, style in zip(cls.observables, ("-o", "--s", ":^", "-.v"), strict=True):
            axes.plot(dataset.length, dataset[f"theory_{observable.name}"], style, label=observable.label, markersize=4)
        axes.set(xscale="log", yscale="log", xlabel="tokens a bag (L)", ylabel="error")
        axes.legend(frameon=False, fontsize="small")
        return True

    panels: ClassVar[Sequence[str]] = ("errors",)


class Surrogate(SparseTokenExperiment, FigureExperiment):
    """The training objective profiled over the orthogonal weights against the scalar problem that it becomes."""

    name: ClassVar[str] = "sparse-tokens/surrogate"
    source: ClassVar[str] = f"{PAPER}, asymptotic equivalence, uniform convergence and uniqueness (form derived here)"
    module: ClassVar[str] = "surrogate"

    loss: LossName = parameter("logistic", "training loss")
    ratio: float = parameter(2.0, "samples / dim", symbol="alpha", log=True)
    ridge: float = parameter(1e-2, "ridge penalty", symbol="lambda", log=True)
    cosine: float = parameter(0.9, "cosine of query and signal")
    sharpness: float = parameter(1.0, "norm of the query", symbol="beta")
    radius: float = parameter(0.5, "half width of the grid around the solution")
    dim: int = axis([50, 100, 200, 400], "embedding dimension", symbol="d", log=True)

    observables: ClassVar[Sequence[Observable]] = (
        Observable("objective", "profiled objective", allowance=_per_dim(2.0)),
        # A sup of fluctuations: it shrinks like 1/sqrt(dim), and the allowance says at which constant.
        Observable(
            "uniform_gap", "largest gap over the grid", allowance=lambda cell: 1.0 / cell.dim**0.5, log=True, order=0.5
        ),
        Observable("solution_spread", "spread of solutions over random starts", tolerance=1e-6),
    )
    statuses: ClassVar[Mapping[str, Status]] = {
        "objective": Status("asymptotic", "derived"),
        "uniform_gap": Status("asymptotic", "derived"),
        "solution_spread": Status("exact", "derived"),
    }
    x: ClassVar[str] = "dim"
    size_parameter: ClassVar[str | None] = "dim"

    def algorithm(self) -> Any:
        """Attention with that query."""
        return st.FixedQueryAttention(self.cosine, self.sharpness, self.loss, self.ridge)

    def shared(self) -> dict[str, Any]:
        """Ratio and grid."""
        return {"ratio": self.ratio, "radius": self.radius}

    def sizes(self) -> dict[str, Any]:
        """The dimension."""
        sample_counts(self.algorithm(), ratio=self.ratio, dim=self.dim)
        return {"dim": self.dim}

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """How far the profiled objective is from the scalar problem at each point of the grid, dim by dim."""
        simulated, limit = dataset.get(panel), dataset.get(f"theory_{panel}")
        if panel != "objective" or simulated is None or limit is None or "dim" not in simulated.dims:
            return False
        gap = simulated - limit
        means, errors = over_replicates(gap)
        for dim, color in zip(dataset["dim"].values, ("#8ec1da", "#56B4E9", "#0072B2", "#222222"), strict=False):
            at = limit.sel(dim=dim) if "dim" in limit.dims else limit
            mean, error = means.sel(dim=dim), errors.sel(dim=dim)
            axes.errorbar(at, mean, yerr=error, fmt="o", markersize=3, color=color, label=f"d = {dim}")
        axes.axhline(0.0, color="#8a8a8a", linewidth=0.8)
        axes.set(xlabel="scalar problem, at 27 grid points", ylabel="profiled objective minus scalar problem")
        axes.legend(frameon=False, fontsize="small")
        return True
