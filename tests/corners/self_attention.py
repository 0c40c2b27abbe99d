"""The corners of self-attention."""

import functools

import numpy as np

from solvable.attention import self_attention as sa
from solvable.numerics.results import Result
from tests.corner import Corner

row = functools.partial(Corner, "solvable.attention.self_attention")
DEFAULT = sa.LinearMap.conditioned()
ONE = sa.LinearMap.conditioned(dim=1, strength=0.2)
SKEW = sa.LinearMap.conditioned(dim=4, condition=1e6, spread=1.0)
FLAT = sa.LinearMap(np.eye(2), np.eye(2), 0.1)
LOUD = sa.LinearMap.conditioned(dim=3, noise=100.0)
SIX = sa.LinearMap(np.eye(6), np.eye(6), 0.1)
SILENT = sa.LinearMap.conditioned(dim=3, strength=100.0, noise=0.0)
STRONG = sa.LinearMap.conditioned(dim=3, strength=100.0)
ONE_OUTPUT = sa.LinearMap.conditioned(dim=6, outputs=1, strength=0.5)


def full(rate, steps=1, **options):
    return sa.PreconditionedDescent("full", rate, steps, **options)


def balanced(square, dim=2, stretch=1.0):
    """Bt = b I with |Bt|^2 = square, and At = stretch I / b."""
    return sa.Parameters(stretch * square**-0.5 * np.eye(dim), square**0.5 * np.eye(dim))


def layer(square, length, expected, corner, task=FLAT, own=False, **options):
    """A fixed layer on contexts of `length` tokens; with `own` on its own sequence too."""
    state = balanced(square, len(task.matrix))
    lengths = {"context_length": length} if own else {"fresh_context_length": length}
    names = ("fresh_excess_risk", "effective_share", *(("train_loss",) if own else ()))
    return row(
        "context",
        corner,
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
PEAKED, SHORT = ({"code": int(one)} for one in (sa.AttentionResult.PEAKED, sa.AttentionResult.SHORT))
RANDOM = full(1.5, 20, init="random")
SCALED = sa.PreconditionedDescent("scaled", 0.5, 100, init="random", damping=0.5)


def path(corner, task, algorithm, **options):
    """The population's path from the start of every run, exact."""
    places = [0, algorithm.steps // 5, algorithm.steps]
    return row("population", corner, task, algorithm, "agrees", given=True, at=places, share=PATH, **options)


def rate(corner, task, algorithm, expected="agrees", **options):
    """The last ratio of the excess risks of a run on the population."""
    options = {"share": {"rate": 0.03}, "given": True, "at": [algorithm.steps], **options}
    return row("local_rate", corner, task, algorithm, expected, **options)


def start(corner, task, length, expected="agrees", share=0.2, **options):
    """The spectral start on a sequence."""
    options = {
        "shared": {"context_length": length},
        "share": {"start_excess_risk": share},
        "replicates": 400,
        **options,
    }
    return row("spectral_start", corner, task, full(0.5), expected, at=[0], **options)


ROWS = [
    path("one dimension, a start of size 1e-6", ONE, full(1.0, 200, init="random", init_scale=1e-6)),
    path("condition number 1e6, no preconditioner", SKEW, sa.PreconditionedDescent("none", 1.0, 200, init="random")),
    path("a signal of 100, rate 1e-3", STRONG, full(1e-3, 50, init="random")),
    row(
        "population",
        "12 tokens in five dimensions, after training",
        DEFAULT,
        full(0.3, 60, init="random"),
        "heuristic",
        shared={"context_length": 12},
        given=True,
        at=[60],
        share={"train_loss": 0.1},
        differs=True,
    ),
    row(
        "population",
        "random starts of size 1000",
        DEFAULT,
        full(1.0, 20, init="random", init_scale=1000.0),
        "code",
        given=True,
        at=[20],
        share={"excess_risk": 0.5},
        code=int(Result.NONFINITE),
    ),
    row(
        "population",
        "20 (d + 1) tokens, while it trains",
        DEFAULT,
        RANDOM,
        "agrees",
        shared={"context_length": 120},
        given=True,
        at=[0, 5],
        share={"excess_risk": 0.2, "train_loss": 0.2},
        replicates=100,
    ),
    rate("one output in six dimensions", ONE_OUTPUT, full(0.3, 60, init="random")),
    rate("rate at 0.95 of where the loss diverges", DEFAULT, full(4.75, 400, balance=0.1, init="random")),
    rate("scaled steps of 1/2, damped by 1/2", DEFAULT, SCALED),
    rate(
        "three steps, far from the solution", DEFAULT, full(1.0, 3, init="random"), "code", code=int(Result.MAX_STEPS)
    ),
    start("noise 1000 times the signal", LOUD, 200),
    start("a signal of 100 without noise", SILENT, 200),
    start("one token more than dimensions", DEFAULT, 6, "code", **SHORT),
    start("two tokens in one dimension", ONE, 2, "code", **SHORT),
    start("20 (d + 1) tokens", DEFAULT, 120),
    layer(0.25, 100, "code", "squared score norm 1/4 at 100 tokens", **PEAKED),
    layer(0.49, 100, "code", "squared score norm 0.49 at 100 tokens", **PEAKED),
    layer(4.0, 100, "code", "squared score norm 4", **PEAKED),
    layer(1e-6, 6, "agrees", "six tokens, score 0.001"),
    layer(0.1, 30, "agrees", "squared score norm 0.1 at 30 tokens"),
    layer(0.2, 400, "agrees", "squared score norm 0.2 at 400 tokens"),
    layer(0.05, 100, "agrees", "squared score norm 0.05, own sequence of 100 tokens", own=True),
    layer(0.1, 100, "code", "squared score norm 0.1, own sequence of 100 tokens", task=SIX, own=True, **PEAKED),
    row(
        "context",
        "without given, at the spectral start",
        DEFAULT,
        sa.PreconditionedDescent(steps=1, renormalize=True),
        "heuristic",
        shared={"context_length": 400},
        at=[0],
        share={"fresh_excess_risk": 0.05, "train_loss": 0.02},
        differs=True,
        replicates=100,
    ),
]
