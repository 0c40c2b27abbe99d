"""The learning curves that the theory of sparse tokens predicts from the estimates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solvable.bags.diagnosis.measured import Curves

RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
SHARPNESSES = (0.3, 0.6, 1.2, 2.4)
HEAD_RATE = 1e-3  # a full step of the head overshoots strong signals and turns the query away
DOUBLINGS = 10  # the search for half the error ends at 1024 times the bags


def sparsity(share: float, length: int) -> int:
    """The whole number of signal tokens nearest to share x length, from 1 to length - 1 as the theory needs."""
    return min(max(round(share * length), 1), length - 1)


@dataclass(frozen=True)
class Halving:
    """How many bags would halve the error of the `model` that is predicted to be better with all bags.

    now: its predicted error with all bags; bags: with how many it would be half of that, NaN if with none or unknown;
    floor: the error it levels off at; reason: why it is not known, if so.
    """

    model: str
    now: float
    bags: float
    floor: float
    reason: str = ""


class LeastErrors:
    """`SparseTokens(length, sparsity, strength, positive_rate)` in `dim` dimensions, for the square loss.

    The hyper-parameters are those of a small grid with the least predicted error, at each number of bags. Asymptotic in
    samples and dim at a fixed ratio.
    """

    def __init__(self, length: int, sparsity: int, strength: float, positive_rate: float, dim: int) -> None:
        from solvable.attention.sparse_tokens import Quadrature, SparseTokens

        self.task = SparseTokens(length, sparsity, strength, positive_rate)
        self.dim = dim
        self.quadrature = Quadrature(points=2**11, scramblings=2)

    def attention(self, bags: float) -> float:
        """The least predicted error of two-step attention, half of the bags for the query; NaN where unsolved."""
        from solvable.attention.sparse_tokens import TwoStepAttention

        errors = [
            self._error(TwoStepAttention("square", ridge, 0.5, sharpness=sharpness, head_rate=HEAD_RATE), bags)
            for ridge in RIDGES
            for sharpness in SHARPNESSES
        ]
        return float(np.nanmin(errors)) if np.isfinite(errors).any() else np.nan

    def pooled(self, bags: float) -> float:
        """The least predicted error of a linear classifier of the mean token."""
        from solvable.attention.sparse_tokens import PooledLinear

        errors = [self._error(PooledLinear("square", ridge), bags) for ridge in RIDGES]
        return float(np.nanmin(errors)) if np.isfinite(errors).any() else np.nan

    def floor(self, model: str) -> float:
        """The error with unlimited bags; for attention with the query along the signal."""
        from solvable.attention.sparse_tokens import FixedQueryAttention, PooledLinear, limit_error

        if model == "pooling":
            return float(limit_error(self.task, PooledLinear("square", 1e-3)))
        return min(
            float(limit_error(self.task, FixedQueryAttention(1.0, sharpness, "square", 1e-3), self.quadrature))
            for sharpness in SHARPNESSES
        )

    def _error(self, algorithm: object, bags: float) -> float:
        import jax

        from solvable.attention.sparse_tokens import theories
        from solvable.numerics.results import Result

        # the theory itself, and not `predict`, which hides what is resolved to a tenth alone: enough for a curve
        shared = {"ratio": bags / self.dim, "quadrature": self.quadrature}
        with jax.enable_x64(True):
            found = theories["limit"].of(self.task, algorithm, None, None, **shared)  # pyright: ignore[reportOptionalCall]
        solved = int(found.result) in (int(Result.SUCCESSFUL), int(Result.UNDER_RESOLVED))
        return float(found.values["test_error"]) if solved else np.nan


def predict_curves(theories: list[LeastErrors], bags: np.ndarray, with_attention: bool) -> Curves:
    """Predicted curves of the first theory; half of what the others differ among them, at most, as their errors."""
    none = np.full(len(bags), np.nan)
    pooled = np.array([[theory.pooled(float(n)) for n in bags] for theory in theories])
    attention = np.array(
        [[theory.attention(float(n)) for n in bags] if with_attention else none for theory in theories]
    )

    def spread(values: np.ndarray) -> np.ndarray:
        return 0.5 * (values.max(axis=0) - values.min(axis=0))

    advantage = pooled - attention
    return Curves(bags, attention[0], spread(attention), pooled[0], spread(pooled), advantage[0], spread(advantage))


def halving(theory: LeastErrors, bags: int, curves: Curves) -> Halving:
    """Invert the predicted curve of the better model by doubling the bags, then interpolating on logarithms."""
    at = int(np.argmin(np.abs(curves.bags - bags)))
    errors = {"attention": float(curves.attention[at]), "pooling": float(curves.pooled[at])}
    known = {name: error for name, error in errors.items() if np.isfinite(error)}
    if not known:
        return Halving("", np.nan, np.nan, np.nan, "the theory is not solved at these estimates")
    model = min(known, key=lambda name: known[name])
    now, floor = known[model], theory.floor(model)
    if floor >= 0.5 * now:
        return Halving(model, now, np.nan, floor)
    error = theory.attention if model == "attention" else theory.pooled
    before, last = float(bags), now
    for doubling in range(1, DOUBLINGS + 1):
        there = bags * 2.0**doubling
        value = error(there)
        if value <= 0.5 * now:
            value = max(value, 1e-12)
            part = np.log(2.0 * last / now) / np.log(last / value)
            return Halving(model, now, float(before * (there / before) ** part), floor)
        before, last = there, value
    return Halving(model, now, np.nan, floor, f"more than {bags * 2**DOUBLINGS} bags")
