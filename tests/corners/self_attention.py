"""The corners of self-attention."""

import functools

import numpy as np

from solvable.attention import self_attention as sa
from tests.corner import Corner

row = functools.partial(Corner, "solvable.attention.self_attention")
DEFAULT = sa.LinearMap.conditioned()
ONE = sa.LinearMap.conditioned(dim=1, strength=0.2)
SKEW = sa.LinearMap.conditioned(dim=4, condition=1e6, spread=1.0)
FLAT = sa.LinearMap(np.eye(2), np.eye(2), 0.1)
LOUD = sa.LinearMap.conditioned(dim=3, noise=100.0)
STRONG = sa.LinearMap.conditioned(dim=3, strength=100.0)
ONE_OUTPUT = sa.LinearMap.conditioned(dim=6, outputs=1, strength=0.5)


def full(rate, steps=1, **options):
    return sa.PreconditionedDescent("full", rate, steps, **options)


def balanced(square, dim=2, stretch=1.0):
    """Bt = b I with |Bt|^2 = square, and At = stretch I / b."""
    return sa.Parameters(stretch * square**-0.5 * np.eye(dim), square**0.5 * np.eye(dim))


def layer(square, length, expected, words, task=FLAT, own=False, **options):
    """A fixed layer on contexts of `length` tokens; with `own` on its own sequence too."""
    state = balanced(square, len(task.matrix))
    lengths = {"context_length": length} if own else {"fresh_context_length": length}
    names = ("fresh_excess_risk", "effective_share", *(("train_loss",) if own else ()))
    return row(
        "context",
        words,
        task,
        full(0.5),
        expected,
        shared=lengths,
        sizes={"init": state},
        given=state,
        at=[0],
        share=dict.fromkeys(names, 0.2),
        replicates=200,
        **options,
    )


PATH = {"excess_risk": 1e-7, "score_norm": 1e-7, "imbalance": 1e-6}
PEAKED = {"code": int(sa.AttentionResult.PEAKED)}
RANDOM = {"init": "random"}

ROWS = [
    row(
        "population",
        "one dimension, start of size 1e-6",
        ONE,
        full(1.0, 200, init="random", init_scale=1e-6),
        "agrees",
        given=True,
        at=[0, 20, 200],
        share={"excess_risk": 1e-6, "score_norm": 1e-6},
    ),
    row(
        "population",
        "condition number 1e6, no preconditioner",
        SKEW,
        sa.PreconditionedDescent("none", 1.0, 200, init="random"),
        "agrees",
        given=True,
        at=[0, 20, 200],
        share=PATH,
    ),
    row(
        "population",
        "signal 100 times the tokens, one step of rate 1e-3",
        STRONG,
        full(1e-3, 50, init="random"),
        "agrees",
        given=True,
        at=[0, 10, 50],
        share=PATH,
    ),
    row(
        "population",
        "one token more than dimensions",
        DEFAULT,
        full(1.5, 20, init="random"),
        "agrees",
        shared={"context_length": 6},
        given=True,
        at=[20],
        share={"excess_risk": 0.5},
    ),
    row(
        "local_rate",
        "one output in six dimensions",
        ONE_OUTPUT,
        full(0.5, 60, init="random"),
        "agrees",
        given=True,
        at=[60],
        share={"rate": 0.01},
    ),
    row(
        "local_rate",
        "rate at 0.95 of where the loss diverges",
        DEFAULT,
        full(0.95 / 0.2, 400, balance=0.1, init="random"),
        "agrees",
        given=True,
        at=[400],
        share={"rate": 0.01},
    ),
    row(
        "local_rate",
        "scaled steps of 1/2",
        DEFAULT,
        sa.PreconditionedDescent("scaled", 0.5, 40, init="random"),
        "agrees",
        given=True,
        at=[40],
        within={"rate": 0.01},
    ),
    row(
        "spectral_start",
        "noise 1000 times the signal",
        LOUD,
        full(0.5),
        "agrees",
        shared={"context_length": 200},
        at=[0],
        share={"start_excess_risk": 0.05},
        replicates=400,
    ),
    row(
        "spectral_start",
        "one token more than dimensions",
        DEFAULT,
        full(0.5),
        "agrees",
        shared={"context_length": 6},
        at=[0],
        share={"start_excess_risk": 0.5},
        replicates=400,
    ),
    row(
        "spectral_start",
        "two tokens in one dimension",
        ONE,
        full(0.5),
        "agrees",
        shared={"context_length": 2},
        at=[0],
        share={"start_excess_risk": 0.5},
        replicates=400,
    ),
    layer(0.25, 100, "code", "squared score norm 1/4 at 100 tokens", **PEAKED),
    layer(0.49, 100, "code", "squared score norm 0.49 at 100 tokens", **PEAKED),
    layer(4.0, 100, "code", "squared score norm 4", **PEAKED),
    layer(1e-6, 6, "agrees", "six tokens, score 0.001"),
    layer(0.1, 30, "agrees", "squared score norm 0.1 at 30 tokens"),
    layer(0.2, 400, "agrees", "squared score norm 0.2 at 400 tokens"),
]
