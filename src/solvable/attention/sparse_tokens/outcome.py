"""The observables that simulation and theory of sparse tokens share."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float

from solvable.attention.sparse_tokens.theories import OBSERVABLES
from solvable.lab.outcome import AnyArray, Outcome

Observable = Float[AnyArray, "..."]


class SparseTokenOutcome(Outcome):
    """One value an observable from `predict`, one a replicate from `simulate` and from a conditional prediction.

    `test_error` P(wrong) on fresh bags; `train_loss` mean training loss without the penalty; `train_error` share of
    training bags with y u < 0; `cosine` <q, xi>/|q| and `sharpness` |q| of the query (both 0 for the linear baselines);
    `query_weight` <w, q>/|q| (w1; 0 for the baselines); `signal_weight` <w, e2>, e2 the part of xi off the query (w2;
    for the flat classifier <w, xi x 1>/sqrt(L)); `bias`; `orthogonal_norm` the norm of w off the query (tau);
    `susceptibility` chi of the equations (theory only).
    """

    test_error: Observable
    train_loss: Observable
    train_error: Observable
    cosine: Observable
    sharpness: Observable
    query_weight: Observable
    signal_weight: Observable
    bias: Observable
    orthogonal_norm: Observable
    susceptibility: Observable | None = None

    observables: ClassVar[tuple[str, ...]] = OBSERVABLES
