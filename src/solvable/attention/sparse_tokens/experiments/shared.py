"""What the figures of sparse tokens share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from solvable.attention import sparse_tokens as st
from solvable.lab.declare import (
    Experiment,
    Status,
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


def per_dim(b: float) -> Any:
    return lambda cell: b / cell.dim
