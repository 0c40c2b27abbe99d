"""How solves and runs end: integer codes that travel through jit and vmap, each with a text that says what to do."""

from __future__ import annotations

import enum

import jax
import numpy as np
from jax.core import Tracer


class Result(enum.IntEnum):
    """How a solve, or one replicate of a run, ended; `message` is what a user reads."""

    SUCCESSFUL = 0
    MAX_STEPS = 1
    NONFINITE = 2
    NO_MINIMISER = 3
    UNDER_RESOLVED = 4
    ONE_CLASS = 5
    ZERO_QUERY = 6
    FAILED = 7
    INFEASIBLE = 8
    ZERO_GRADIENT = 9
    UNSATURATED = 10
    NOT_LOCALLY_OPTIMAL = 11
    UNREACHED_LOSS = 12

    @property
    def message(self) -> str:
        """One sentence: what happened and what to do; empty for a success."""
        return _MESSAGES[self]


_MESSAGES = {
    Result.SUCCESSFUL: "",
    Result.MAX_STEPS: "the solve stopped before its residual or gap met the tolerance; raise the ridge if there is "
    "one, or move the problem away from the threshold where its solution ceases to exist",
    Result.NONFINITE: "a value that is not finite appeared; take smaller steps, raise the ridge or move the setting "
    "away from its boundary",
    Result.NO_MINIMISER: "the training loss has no finite minimiser because the data are separable; use a ridge above "
    "0 (1e-9 gives the maximum margin for hinge) or a ratio above the capacity",
    Result.UNDER_RESOLVED: "the quadrature is under-resolved, a finer rule moves the result by more than its "
    "tolerance; raise the number of quadrature points",
    Result.ONE_CLASS: "the draw holds one class only, so the unpenalised bias diverges; use more samples or a "
    "positive_rate nearer to 1/2",
    Result.ZERO_QUERY: "the query stayed at zero because the loss gradient vanishes, so its direction is undefined",
    Result.FAILED: "the run raised an error",
    Result.INFEASIBLE: "the constraints cannot all be met, which the returned multipliers prove; relax or drop rows, "
    "or use a larger dimension",
    Result.ZERO_GRADIENT: "the loss gradient is zero at the start, so nothing moves; start elsewhere, or give the "
    "tokens different scores",
    Result.UNREACHED_LOSS: "the Polyak steps aimed at the loss of the optimal tokens while the attention was on "
    "others, and blew up; use normalized steps, or start where the optimal tokens are selected",
    Result.UNSATURATED: "the attention has not saturated (its mean largest weight is below 0.99), so no token counts "
    "as selected yet; train for more steps",
    Result.NOT_LOCALLY_OPTIMAL: "the selected tokens are not locally optimal (a support token scores at least as "
    "high), so the theory predicts no direction; train for more steps or from another start",
}


class SolveError(RuntimeError):
    """A solve did not succeed; the message says which one, why, and what to do."""


def is_traced(*trees: object) -> bool:
    """Whether any leaf of the trees is being traced by a JAX transformation (its value is then unknown)."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree_util.tree_leaves(trees))


def raise_unless_successful(result: object, what: str, detail: str = "") -> None:
    """Raise `SolveError` naming `what` when a concrete result code is not a success; traced codes pass."""
    if is_traced(result):
        return
    codes = np.ravel(np.asarray(result))
    for index in np.flatnonzero(codes != Result.SUCCESSFUL):
        where = f" (element {index})" if codes.size > 1 else ""
        raise SolveError(f"{what}{where}: {Result(int(codes[index])).message}{detail}")
