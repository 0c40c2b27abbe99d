"""Test error against samples: the limit, its approach, other laws of the noise, the least errors."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

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
    Measured,
    Observable,
    Overlay,
    Panel,
    Predicted,
    Status,
    axis,
    parameter,
)


def with_class_counts(name: str, b: float) -> Any:
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
        Observable("test_error", "test error", allowance=with_class_counts("test_error", 1.0)),
        Observable("train_loss", "training loss", allowance=with_class_counts("train_loss", 1.0)),
        Observable("train_error", "training error", allowance=with_class_counts("train_error", 1.0)),
        Observable("cosine", "cosine of query and signal", allowance=per_dim(4.0)),
        Observable(
            "orthogonal_norm", "norm of the head off the query", allowance=with_class_counts("orthogonal_norm", 16.0)
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
        Observable("scaled_excess", "ratio x (test error - limit)", allowance=per_dim(1.0)),
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
