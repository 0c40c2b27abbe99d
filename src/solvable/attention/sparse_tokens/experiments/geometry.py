"""Alignment of the query, capacity, where attention wins, and the scalar problem behind it all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from solvable.attention import sparse_tokens as st
from solvable.attention.sparse_tokens.experiments.shared import (
    DERIVED,
    EXACT,
    PAPER,
    BagsExperiment,
    LossName,
    ModelName,
    SparseTokenExperiment,
    classifier,
    per_dim,
)
from solvable.lab.declare import (
    Guide,
    Map,
    Measured,
    Observable,
    Overlay,
    Panel,
    Predicted,
    axis,
    parameter,
)


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
        Observable("cosine", "cosine of query and signal", allowance=per_dim(4.0)),
        Observable("sharpness", "norm of the query", allowance=per_dim(4.0), log=True),
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
        Observable("objective", "profiled objective", allowance=per_dim(2.0), dims=("point",)),
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
