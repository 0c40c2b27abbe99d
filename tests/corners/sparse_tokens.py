"""The corners of sparse tokens."""

import functools

from solvable.attention import sparse_tokens as st
from solvable.numerics.results import Result
from tests.corner import Corner

row = functools.partial(Corner, "solvable.attention.sparse_tokens")
EVEN, UNEVEN = st.SparseTokens(), st.SparseTokens(positive_rate=0.4)
ERRORS = {"test_error": 0.05, "train_loss": 0.05}


def limit(corner, algorithm, expected="agrees", task=EVEN, ratio=2.0, dim=400, **options):
    """Without the runs."""
    options = {"share": {} if "within" in options else ERRORS, **options}
    return row("limit", corner, task, algorithm, expected, {"ratio": ratio}, {"dim": dim}, **options)


def given(corner, algorithm, expected="agrees", task=EVEN, ratio=2.0, dim=400, **options):
    """Under the query that each run reached."""
    options = {"share": {} if "within" in options else ERRORS, **options}
    return row("given_query", corner, task, algorithm, expected, {"ratio": ratio}, {"dim": dim}, given=True, **options)


ROWS = [
    limit(
        "hinge, ridge 3, uneven classes",
        st.PooledLinear("hinge", 3.0),
        task=UNEVEN,
        dim=200,
        share={"test_error": 0.01, "bias": 0.02, "train_loss": 0.02},
    ),
    limit("hinge, ridge 3, even classes", st.PooledLinear("hinge", 3.0), "code", dim=200, code=int(Result.NOT_UNIQUE)),
    limit(
        "hinge, ridge 0.3, even classes",
        st.PooledLinear("hinge", 0.3),
        "heuristic",
        dim=200,
        share={"test_error": 0.05},
        differs=True,
    ),
    limit(
        "hinge, ridge 1e-9, separable",
        st.PooledLinear("hinge", 1e-9),
        dim=200,
        share={"test_error": 0.05, "orthogonal_norm": 0.1},
    ),
    limit(
        "logistic, ridge 1e-9, separable",
        st.PooledLinear("logistic", 1e-9),
        dim=200,
        share={"test_error": 0.05, "orthogonal_norm": 0.1},
    ),
    limit(
        "square, ridge 1e-9, ratio 1.1", st.PooledLinear("square", 1e-9), dim=400, ratio=1.1, share={"test_error": 0.05}
    ),
    limit("square, ridge 10", st.FlatLinear("square", 10.0), dim=400),
    limit(
        "square, ridge 1e3",
        st.FlatLinear("square", 1e3),
        "heuristic",
        dim=200,
        share={"test_error": 0.05},
        differs=True,
    ),
    limit(
        "logistic, ridge 3",
        st.PooledLinear("logistic", 3.0),
        "heuristic",
        share={"test_error": 0.05},
        differs=True,
    ),
    limit("logistic, ridge 0.1", st.PooledLinear("logistic", 0.1), dim=400),
    limit(
        "logistic, ridge 100",
        st.PooledLinear("logistic", 100.0),
        "heuristic",
        dim=200,
        share={"test_error": 0.05},
        differs=True,
    ),
    limit(
        "one positive in a hundred",
        st.FlatLinear("logistic"),
        task=st.SparseTokens(positive_rate=0.01),
        dim=400,
        share={"test_error": 0.05},
        within={"train_loss": 5e-4},
    ),
    limit("a signal of 1e-8", st.PooledLinear("logistic"), task=st.SparseTokens(strength=1e-8), dim=200),
    limit(
        "a signal of 50",
        st.FixedQueryAttention(0.9, 1.0, "logistic"),
        "code",
        task=st.SparseTokens(strength=50.0),
        dim=200,
        code=int(Result.UNDER_RESOLVED),
    ),
    limit("a query against the signal", st.FixedQueryAttention(-1.0, 1.0, "hinge"), dim=200),
    limit(
        "sharpness 100",
        st.FixedQueryAttention(0.9, 100.0, "logistic"),
        dim=200,
        share={"test_error": 0.1, "train_loss": 0.1},
    ),
    limit("bags of two tokens", st.FixedQueryAttention(0.5, 1.0, "hinge"), task=st.SparseTokens(2, 1, 1.0), dim=200),
    limit(
        "100 signal tokens of 200",
        st.FixedQueryAttention(0.5, 1.0, "square"),
        task=st.SparseTokens(200, 100, 0.3),
        dim=100,
    ),
    limit("a tenth of a bag a dimension", st.PooledLinear("logistic"), ratio=0.1, dim=800),
    limit("30 bags a dimension", st.PooledLinear("hinge"), ratio=30.0, dim=50),
    limit(
        "two steps, head rate 1e-3",
        st.TwoStepAttention("logistic", head_rate=1e-3),
        ratio=8.0,
        share={"test_error": 0.1, "cosine": 0.02},
    ),
    limit(
        "two steps, query rate 1e-6",
        st.TwoStepAttention("logistic", query_rate=1e-6),
        ratio=8.0,
        share={"test_error": 0.05, "cosine": 0.02, "sharpness": 0.05},
    ),
    limit(
        "two steps, no bias, 30 % positives",
        st.TwoStepAttention("square", bias_rate=0.0),
        task=st.SparseTokens(positive_rate=0.3),
        ratio=8.0,
        share={"test_error": 0.1, "cosine": 0.02},
    ),
    limit(
        "two steps, a quarter of a bag a dimension for the query",
        st.TwoStepAttention("square", query_share=0.125, sharpness=2.0),
        task=st.SparseTokens(strength=6.0),
        share={"test_error": 0.05},
    ),
    given(
        "a quarter of a bag a dimension for the query",
        st.TwoStepAttention("square", query_share=0.125, sharpness=2.0),
        task=st.SparseTokens(strength=6.0),
    ),
    given(
        "98 % of the bags for the query",
        st.TwoStepAttention("logistic", query_share=0.98),
        ratio=8.0,
        share={"test_error": 0.05},
        within={"train_loss": 0.01},
    ),
    given("sharpness 20", st.TwoStepAttention("hinge", sharpness=20.0), share={"test_error": 0.1, "train_loss": 0.1}),
    given("query rate 1e6", st.TwoStepAttention("hinge", query_rate=1e6), share={"test_error": 0.1}),
    given("hinge, ridge 100", st.TwoStepAttention("hinge", 100.0), "code", dim=100, code=int(Result.NOT_UNIQUE)),
]
