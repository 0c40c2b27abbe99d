"""The figures of sparse-token classification, as declarations."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from solvable.attention import sparse_tokens as st
from solvable.lab.declare import (
    Experiment,
    Guide,
    Map,
    Measured,
    Observable,
    Overlay,
    Panel,
    Predicted,
    Status,
    axis,
    parameter,
)

PAPER = "arXiv:2509.25153"
LossName = Literal["logistic", "square", "hinge"]
ModelName = Literal["attention", "pooled", "flat"]
DERIVED = Status("asymptotic", "derived")
EXACT = Status("exact", "derived")


class SparseTokenExperiment(Experiment):
    """What the figures share: the law of the bags."""

    length: int = parameter(10, "tokens a bag", symbol="L")
    sparsity: int = parameter(1, "signal tokens in a positive bag", symbol="R")
    strength: float = parameter(5.0, "strength of the signal", symbol="theta")
    positive_rate: float = parameter(0.5, "probability of a positive bag", symbol="pi")

    system = "solvable.attention.sparse_tokens"

    def task(self) -> Any:
        return st.SparseTokens(self.length, self.sparsity, self.strength, self.positive_rate)

    def sizes(self) -> dict[str, Any]:
        dim = getattr(self, "dim", None)
        return {} if dim is None else {"dim": dim}


class BagsExperiment(SparseTokenExperiment):
    """What the figures share whose runs are trained on ratio * dim bags."""

    def shared(self) -> dict[str, Any]:
        return {"ratio": self.ratio}  # pyright: ignore[reportAttributeAccessIssue]

    def sizes(self) -> dict[str, Any]:
        """The dimension, refused here where it leaves no bags, before anything runs."""
        st.system.bag_counts(self.algorithm(), **self.shared(), **super().sizes())
        return super().sizes()

    def amounts(self) -> Mapping[str, int]:
        """The bags of a run."""
        return {"bags": round(self.ratio * self.dim)}  # pyright: ignore[reportAttributeAccessIssue]


def classifier(model: str, attention: Any, *arguments: Any) -> Any:
    """Attention, or the linear baseline of that name."""
    return attention if model == "attention" else {"pooled": st.PooledLinear, "flat": st.FlatLinear}[model](*arguments)


def _per_dim(b: float) -> Any:
    return lambda cell: b / cell.dim


def _with_class_counts(name: str, b: float) -> Any:
    """b/dim, and what the count of the classes in a draw moves the head by.

    Where few margins reach the kink of hinge, or a strong ridge makes scores small, that count says where the bias is.
    """
    return lambda cell: math.hypot(b / cell.dim, st.class_counts.moves(type(cell), cell.canonical()).get(name, 0.0))


class ErrorAgainstRatio(BagsExperiment):
    """Test error, training loss and training error against samples per dimension: attention, linear baselines."""

    name = "sparse-tokens/error"
    source = f"{PAPER}, Fig. 1 (step sizes and split not stated there; ours)"

    model: ModelName = axis(["attention", "pooled", "flat"], "classifier")
    loss: LossName = axis(["logistic", "square"], "training loss")
    ratio: float = axis([0.5, 1.0, 2.0, 4.0, 8.0], "all samples / dim", symbol="alpha", log=True)
    ridge: float = parameter(1e-2, "ridge penalty", symbol="lambda", log=True)
    query_share: float = parameter(0.5, "share of the samples that trains the query")
    sharpness: float = parameter(1.0, "norm of the query", symbol="beta")
    dim: int = parameter(400, "embedding dimension", symbol="d")

    observables = (
        Observable("test_error", "test error", allowance=_with_class_counts("test_error", 1.0)),
        Observable("train_loss", "training loss", allowance=_with_class_counts("train_loss", 1.0)),
        Observable("train_error", "training error", allowance=_with_class_counts("train_error", 1.0)),
        Observable("cosine", "cosine of query and signal", allowance=_per_dim(4.0)),
        Observable(
            "orthogonal_norm", "norm of the head off the query", allowance=_with_class_counts("orthogonal_norm", 16.0)
        ),
    )
    panels = tuple(Panel(name, hue="model", dash="loss") for name in ("test_error", "train_loss", "train_error"))
    x = "ratio"
    size_parameter = "dim"
    # Few query samples make the error steep and convex in the alignment reached, so that its mean over runs is far from
    # its value at the limit alignment: the limit is drawn for attention, the conditional theory is what must agree.
    overlays = (Overlay("limit"), Overlay("given_query", given=True))

    def algorithm(self) -> Any:
        attention = st.TwoStepAttention(self.loss, self.ridge, self.query_share, self.sharpness)
        return classifier(self.model, attention, self.loss, self.ridge)

    @classmethod
    def predictions(cls, cells: Any, overlay: Overlay, **options: Any) -> Any:
        """Each from the one before, on a rule whose error of .3 % no line shows; what is not reached so by itself."""
        if overlay.theory != "limit":
            return super().predictions(cells, overlay, **options)
        return st.continuation.of_cells(cells, functools.partial(super().predictions, overlay=overlay))

    def marginal(self, observable: str) -> Mapping[str, float]:
        """The derivative by the number of bags."""
        return {"bag": float(st.marginal_error(self.task(), self.algorithm(), self.ratio, self.dim, observable))}

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


class AlignmentAgainstRatio(SparseTokenExperiment, Measured):
    """Cosine of the two-step query with the signal against query samples per dimension, and its approach to 1."""

    name = "sparse-tokens/alignment"
    source = f"{PAPER}, Theorem 3 and Corollary 1 (figure: reconstruction)"

    loss: LossName = axis(["logistic", "square", "hinge"], "training loss")
    query_ratio: float = axis(
        [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0], "query samples / dim", symbol="alpha0", log=True
    )
    head_rate: float = parameter(1.0, "learning rate of the head in step one")
    bias_rate: float = parameter(1.0, "learning rate of the bias in step one")
    query_rate: float = parameter(1.0, "learning rate of the query in step two")
    dim: int = parameter(400, "embedding dimension", symbol="d")

    observables = (
        Observable("cosine", "cosine of query and signal", allowance=_per_dim(4.0)),
        Observable("sharpness", "norm of the query", allowance=_per_dim(4.0), log=True),
        Observable("scaled_misalignment", "query ratio x (1 - |cosine|)", allowance=lambda cell: 8.0 / cell.dim),
    )
    statuses = dict.fromkeys(("cosine", "sharpness", "scaled_misalignment"), DERIVED)
    x = "query_ratio"
    size_parameter = "dim"

    def algorithm(self) -> Any:
        rates = {"query_rate": self.query_rate, "head_rate": self.head_rate, "bias_rate": self.bias_rate}
        return st.TwoStepAttention(self.loss, **rates)

    def amounts(self) -> Mapping[str, int]:
        """The bags that train the query."""
        return {"bags": round(self.query_ratio * self.dim)}

    def runs(self, key: Any, replicates: int | range) -> Any:
        """The two steps alone."""
        sizes = (self.query_ratio, self.dim)
        return st.algorithms.sampled_queries(self.task(), self.algorithm(), *sizes, key, replicates)

    def measure(self, run: Any) -> Mapping[str, Any]:
        misalignment = self.query_ratio * (1.0 - abs(run.cosine))
        return {"cosine": run.cosine, "sharpness": run.sharpness, "scaled_misalignment": misalignment}

    def predicted(self, runs: Any) -> Any:
        return self.measure(st.alignment(self.task(), self.algorithm(), self.query_ratio))


class Draws(NamedTuple):
    """Draws that are separable (1) or not (0), (R,)."""

    result: Any
    separable: Any


class Capacity(SparseTokenExperiment, Measured):
    """Share of linearly separable draws around the predicted capacity."""

    name = "sparse-tokens/capacity"
    source = f"{PAPER}, Conjecture 1 and Fig. 3 (figure: reconstruction)"
    replicates = 24

    model: ModelName = axis(["pooled", "flat", "attention"], "classifier")
    relative_ratio: float = axis([0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3], "samples / dim over the predicted capacity")
    cosine: float = parameter(0.5, "cosine of query and signal (attention)")
    sharpness: float = parameter(1.0, "norm of the query (attention)", symbol="beta")
    dim: int = parameter(60, "embedding dimension", symbol="d")

    observables = (
        # The step of the limit is smeared over a window of width 1/sqrt(dim), in which it does not speak.
        Observable(
            "separable_share",
            "share of separable draws",
            allowance=lambda cell: 0.5 if abs(cell.relative_ratio - 1.0) < 1.2 / cell.dim**0.5 else 2.0 / cell.dim,
        ),
    )
    statuses = dict.fromkeys(("separable_share",), DERIVED)
    # No `size`: the share leaves its step exponentially fast in dim outside the window and not at all inside it.
    x = "relative_ratio"

    def algorithm(self) -> Any:
        return classifier(self.model, st.FixedQueryAttention(self.cosine, self.sharpness))

    def runs(self, key: Any, replicates: int | range) -> Draws:
        """Draws of relative_ratio * capacity * dim bags, which do not feel the fourth digit of the capacity."""
        task, algorithm = self.task(), self.algorithm()
        ratio = self.relative_ratio * st.capacity(task, algorithm, st.Quadrature(points=2**13, scramblings=2))
        draws = st.separability.separable_draws(task, algorithm, ratio, self.dim, key, replicates)
        return Draws((0.0 * draws).astype(int), draws)

    def measure(self, run: Any) -> Mapping[str, Any]:
        return {"separable_share": run.separable}

    def predicted(self, runs: Any) -> Any:
        """1 below the capacity, 0 above, 1/2 at it."""
        return {"separable_share": 0.5 if self.relative_ratio == 1.0 else float(self.relative_ratio < 1.0)}


class PhaseDiagram(SparseTokenExperiment, Measured):
    """Where attention beats the linear baselines with unlimited data, and where a badly aligned query loses to them."""

    name = "sparse-tokens/phase-diagram"
    source = f"{PAPER}, phase diagram (figure: reconstruction)"
    replicates = 0

    cosine: float = axis(
        [-0.5, -0.25, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "cosine of query and signal"
    )
    strength: float = axis([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], "strength of the signal", symbol="theta")
    sharpness: float = parameter(1.0, "norm of the query", symbol="beta")

    observables = (
        Observable("attention_error", "limit error of attention"),
        Observable("linear_error", "limit error of the linear baselines"),
        Observable("advantage", "linear minus attention error"),
    )
    statuses = dict.fromkeys(("attention_error", "linear_error", "advantage"), EXACT)
    panels = (
        Map(
            "advantage",
            "cosine",
            "strength",
            levels=(0.0,),
            words=("linear\nis better", "attention\nis better"),
            diverging=True,
        ),
    )
    x = "cosine"

    def algorithm(self) -> Any:
        return st.FixedQueryAttention(self.cosine, self.sharpness, "square", 0.0)

    @classmethod
    def predictions(cls, cells: Any, overlay: Overlay, **options: Any) -> Any:
        """All at once, on a rule whose error no map shows."""
        attention = st.limits.limit_errors([(cell.task(), cell.algorithm()) for cell in cells])
        linear = st.limits.limit_errors([(cell.task(), st.PooledLinear("square", 0.0)) for cell in cells])
        values = zip(attention, linear, linear - attention, strict=True)
        return [
            cell._outcome(dict(zip(cls.statuses, one, strict=True)), 0, None)
            for cell, one in zip(cells, values, strict=True)
        ]

    def predicted(self, runs: Any) -> Predicted:
        """The limit errors for the square loss without ridge, ratio to infinity; see `limit_error`."""
        attention = st.limit_error(self.task(), self.algorithm())
        linear = st.limit_error(self.task(), st.PooledLinear("square", 0.0))
        values = {"attention_error": attention, "linear_error": linear, "advantage": linear - attention}
        errors = dict.fromkeys(("attention_error", "advantage"), attention.standard_error)
        return Predicted(values, stats={"standard_error": errors})


class Rates(BagsExperiment, Measured):
    """Approach to the limit of many samples: ratio x (test error - its limit) goes to a constant."""

    name = "sparse-tokens/rates"
    source = f"{PAPER}, Corollary 2 (constants derived here)"
    replicates = 12

    model: ModelName = axis(["attention", "pooled", "flat"], "classifier")
    ratio: float = axis([16.0, 32.0, 64.0, 128.0], "samples / dim", symbol="alpha", log=True)
    cosine: float = parameter(0.9, "cosine of query and signal (attention)")
    sharpness: float = parameter(1.0, "norm of the query (attention)", symbol="beta")
    ridge: float = parameter(1e-12, "ridge penalty", symbol="lambda", log=True)
    dim: int = parameter(100, "embedding dimension", symbol="d")

    observables = (
        Observable(
            "excess_error", "test error minus its limit", allowance=lambda cell: 1.0 / (cell.dim * cell.ratio), log=True
        ),
        Observable("scaled_excess", "ratio x (test error - limit)", allowance=_per_dim(1.0)),
    )
    statuses = dict.fromkeys(("excess_error", "scaled_excess"), DERIVED)
    panels = (Panel("excess_error", guides=(Guide("slope", -1.0, "slope -1"),)), "scaled_excess")
    x = "ratio"
    size_parameter = "dim"

    def algorithm(self) -> Any:
        attention = st.FixedQueryAttention(self.cosine, self.sharpness, "square", self.ridge)
        return classifier(self.model, attention, "square", self.ridge)

    @functools.cached_property
    def limit(self) -> float:
        """The test error with unlimited bags."""
        return float(st.limit_error(self.task(), self.algorithm()))

    def measure(self, run: Any) -> Mapping[str, Any]:
        above = run.values["test_error"] - self.limit
        return {"excess_error": above, "scaled_excess": self.ratio * above}

    def predicted(self, runs: Any) -> Any:
        return self.measure(st.predict(self.task(), self.algorithm(), **self.shared()))


class Representation(SparseTokenExperiment, Measured):
    """The least error of each representation as bags grow long, at strength = growth x log(length)."""

    name = "sparse-tokens/representation"
    source = f"{PAPER}, Proposition 1, Theorems 1 and 2 (closed forms derived here)"
    replicates = 0

    length: int = axis([10, 30, 100, 300, 1000], "tokens a bag", symbol="L", log=True)
    growth: float = parameter(1.0, "strength / log(length)")

    observables = (
        Observable("attention", "attention that knows the signal", log=True),
        Observable("bayes", "best classifier", log=True),
        Observable("pooled", "best linear on the mean token", log=True),
        Observable("flat", "best linear on the flat bag", log=True),
    )
    statuses = dict.fromkeys(("attention", "bayes", "pooled"), EXACT) | {"flat": Status("heuristic", "derived")}
    panels = (Panel(("flat", "pooled", "attention", "bayes"), label="error", log="xy", runs="none"),)
    x = "length"

    def task(self) -> Any:
        return st.SparseTokens(self.length, self.sparsity, self.growth * math.log(self.length), self.positive_rate)

    def algorithm(self) -> None:
        """Nothing is trained."""

    @classmethod
    def predictions(cls, cells: Any, overlay: Overlay, **options: Any) -> Any:
        """The closed form alone: the others compile anew for every length."""
        return [cell._outcome({"pooled": st.pooled_oracle_error(cell.task())}, 0, None) for cell in cells]

    def predicted(self, runs: Any) -> Predicted:
        task = self.task()
        attention, bayes = st.oracle_error(task), st.bayes_error(task)
        linear = {"pooled": st.pooled_oracle_error(task), "flat": st.flat_oracle_error(task)}
        errors = {"attention": attention.standard_error, "bayes": bayes.standard_error}
        return Predicted({"attention": attention, "bayes": bayes, **linear}, stats={"standard_error": errors})


def objective_gap(dataset: Any, prefix: str) -> Any:
    """How far the profiled objective is from the scalar problem at each point of the grid."""
    there = {"objective", "theory_objective"} <= set(dataset)
    return dataset["objective"] - dataset["theory_objective"] if there else None


class Surrogate(BagsExperiment, Measured):
    """The training objective profiled over the orthogonal weights against the scalar problem that it becomes."""

    name = "sparse-tokens/surrogate"
    source = f"{PAPER}, asymptotic equivalence, uniform convergence and uniqueness (form derived here)"

    loss: LossName = parameter("logistic", "training loss")
    ratio: float = parameter(2.0, "samples / dim", symbol="alpha", log=True)
    ridge: float = parameter(1e-2, "ridge penalty", symbol="lambda", log=True)
    cosine: float = parameter(0.9, "cosine of query and signal")
    sharpness: float = parameter(1.0, "norm of the query", symbol="beta")
    radius: float = parameter(0.5, "half width of the grid around the solution")
    dim: int = axis([50, 100, 200, 400], "embedding dimension", symbol="d", log=True)

    observables = (
        Observable("objective", "profiled objective", allowance=_per_dim(2.0), dims=("point",)),
        # A sup of fluctuations: it shrinks like 1/sqrt(dim), and the allowance says at which constant.
        Observable(
            "uniform_gap", "largest gap over the grid", allowance=lambda cell: 1.0 / cell.dim**0.5, log=True, order=0.5
        ),
        Observable("solution_spread", "spread of solutions over random starts", tolerance=1e-6),
    )
    statuses = dict.fromkeys(("objective", "uniform_gap"), DERIVED) | {"solution_spread": EXACT}
    panels = (
        Panel(
            objective_gap,
            "theory_objective",
            label="profiled objective minus scalar problem",
            x_label="scalar problem, at the points of the grid",
            hue="dim",
            theories={},
            guides=(Guide("level"),),
        ),
        Panel("uniform_gap", theories={}, guides=(Guide("slope", -0.5, "slope -1/2"),), log="xy"),
    )
    x = "dim"
    size_parameter = "dim"

    def algorithm(self) -> Any:
        return st.FixedQueryAttention(self.cosine, self.sharpness, self.loss, self.ridge)

    def runs(self, key: Any, replicates: int | range) -> Any:
        sizes = (self.ratio, self.dim, self.radius)
        return st.surrogate.profiles(self.task(), self.algorithm(), *sizes, key, replicates)

    def measure(self, run: Any) -> Mapping[str, Any]:
        gap = abs(run.objective - run.limit).max()
        return {"objective": run.objective, "uniform_gap": gap, "solution_spread": run.spread}

    @classmethod
    def predictions(cls, cells: Any, overlay: Overlay, **options: Any) -> Any:
        """Nothing depends on the dimension: one prediction is that of all."""
        keys = [cell.model_copy(update={"dim": 0}).canonical() for cell in cells]
        apart = dict(zip(keys, cells, strict=True))
        said = dict(zip(apart, super().predictions(list(apart.values()), overlay), strict=True))
        return [said[key] for key in keys]

    def predicted(self, runs: Any) -> Any:
        objective = st.surrogate.scalar_problem(self.task(), self.algorithm(), self.ratio, self.radius)
        return {"objective": objective, "uniform_gap": 0.0, "solution_spread": 0.0}


class Universality(ErrorAgainstRatio):
    """Errors where the tokens' noise is not Gaussian, or not white, against the theory of white Gaussian noise."""

    name = "sparse-tokens/universality"
    source = f"{PAPER}, model (the other laws of the noise are ours)"

    panels = tuple(Panel(name, hue="model", dash="law") for name in ("test_error", "train_loss", "train_error"))

    law: Literal["gaussian", "rademacher", "heavy tails", "coloured"] = axis(
        ["gaussian", "rademacher", "heavy tails", "coloured"], "law of the noise"
    )
    loss: LossName = parameter("square", "training loss")
    ratio: float = axis([1.0, 2.0, 4.0], "all samples / dim", symbol="alpha", log=True)
    degrees: float = parameter(5.0, "degrees of freedom of Student's t (heavy tails)")
    correlation: float = parameter(0.5, "correlation of neighbouring coordinates (coloured)")
    dim: int = parameter(100, "embedding dimension", symbol="d")
    test_samples: int = parameter(2000, "fresh bags on which errors are counted")

    def task(self) -> Any:
        own = {"heavy tails": (self.degrees,), "coloured": (self.correlation,)}.get(self.law, ())
        kinds = {"rademacher": st.RademacherTokens, "heavy tails": st.HeavyTailedTokens, "coloured": st.ColouredTokens}
        kind = kinds.get(self.law, st.SparseTokens)
        return kind(self.length, self.sparsity, self.strength, self.positive_rate, *own)

    def sizes(self) -> dict[str, Any]:
        return super().sizes() | {"full": True, "test_samples": self.test_samples}

    def applicable(self) -> Sequence[Overlay]:
        """Coloured noise is shown for contrast."""
        white = self.law != "coloured"
        return [dataclasses.replace(one, compared=one.compared and white) for one in super().applicable()]

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """The theory is that of white Gaussian noise."""
        return {name: Status("heuristic", one.origin) for name, one in super().status(overlay).items()}
