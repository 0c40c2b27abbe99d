"""What theory says of sparse tokens: two functions, and what each claims of every observable."""

from __future__ import annotations

from typing import Any

from solvable.lab.declare import Observable, Predicted, Status, Theory

OBSERVABLES = (
    Observable("test_error", "P(wrong) on fresh bags"),
    Observable("train_loss", "mean training loss without the penalty"),
    Observable("train_error", "share of training bags with y u < 0"),
    Observable("cosine", "<q, xi>/|q| of the query, 0 for the linear baselines"),
    Observable("sharpness", "|q| of the query, 0 for the linear baselines"),
    Observable("query_weight", "w1 = <w, q>/|q|, 0 for the linear baselines"),
    Observable("signal_weight", "w2 = <w, e2>, e2 the part of xi off q; flat: <w, xi x 1>/sqrt(L)"),
    Observable("bias", "bias b"),
    Observable("orthogonal_norm", "tau, the norm of w off the query"),
    Observable("susceptibility", "chi of the equations (theory only)"),
)
LIMIT = {one.name: Status("asymptotic", "derived") for one in OBSERVABLES}
EXACT = Status("exact", "derived")


def limit(task: Any, algorithm: Any, runs: Any, at: Any, *, ratio: Any, quadrature: Any) -> Predicted:
    """The head on features of the limit, under the query as it is in the limit."""
    from solvable.attention.sparse_tokens import solution

    return solution.in_the_limit(task, algorithm, ratio, quadrature)


def given_query(task: Any, algorithm: Any, runs: Any, at: Any, *, ratio: Any, quadrature: Any) -> Predicted:
    """The head on features of the limit, under the query that each run reached."""
    from solvable.attention.sparse_tokens import solution

    return solution.under_queries(task, algorithm, runs, ratio, quadrature)


theories: dict[str, Theory] = {
    "limit": Theory("samples and dim to infinity at a fixed ratio", LIMIT, limit),
    "given_query": Theory(
        "the same limit for the head, given the cosine and sharpness that each run's query reached",
        {**LIMIT, "cosine": EXACT, "sharpness": EXACT},
        given_query,
        given=("cosine", "sharpness"),
        needs_given=True,
    ),
}
