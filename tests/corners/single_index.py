"""The corners of single-index targets."""

import functools

import numpy as np

from solvable.lab.declare import Result
from solvable.networks import single_index as si
from tests.corner import Corner

row = functools.partial(Corner, "solvable.networks.single_index", replicates=4)
TARGET, ACTIVATION = (0.6, 0.8, 0.6, 0.5), (0.4, 0.5, 0.3, 0.2)
TASK, ONE = si.SingleIndex(TARGET), si.SingleIndex((0.0, 1.0))
FLOW = {"risk": 1e-8, "alignment": 1e-7, "outer": 1e-6}
SPREAD = np.linspace(-1.0, 1.0, 10)


def overlaps(corner, task, algorithm, expected="agrees", **options):
    """The flow of weights in full, given its start."""
    more = {"given": True, "at": [0.01, 0.3, 3.0], "sizes": {"dim": 6, "full": True}, "tolerance": FLOW}
    return row("overlaps", corner, task, algorithm, expected, **{**more, **options})


def limit(theory, corner, task, algorithm, expected="agrees", **options):
    """The flow in overlaps in many dimensions, given its start."""
    more = {"given": True, "at": [0.003, 0.03, 0.3], "sizes": {"dim": 10**8}, "within": {"risk": 0.02}}
    return row(theory, corner, task, algorithm, expected, **{**more, **options})


ROWS = [
    overlaps("one neuron", TASK, si.GradientFlow(0.1, "relu", 1)),
    overlaps("more neurons than dimensions", TASK, si.GradientFlow(0.1, "tanh", 9), sizes={"dim": 3, "full": True}),
    overlaps("a rate ratio of 100", TASK, si.GradientFlow(100.0, ACTIVATION, 4)),
    overlaps("a rate ratio of 1e-4, equal outer weights", TASK, si.GradientFlow(1e-4, "relu", 4, np.ones(4))),
    overlaps(
        "a target of 1e4",
        si.SingleIndex((0.0, 1e4)),
        si.GradientFlow(1.0, "relu", 3),
        at=[1e-9, 1e-6],
        tolerance={"alignment": 1e-7},
    ),
    overlaps("outer weights of 0", TASK, si.GradientFlow(0.1, "erf", 4, np.zeros(4))),
    overlaps("kinks on both sides", si.SingleIndex("abs"), si.GradientFlow(0.1, "relu", 4)),
    overlaps(
        "small steps, batch of 64",
        TASK,
        si.Descent(1e-2, 2e-4, 64, ACTIVATION, 10, "uniform"),
        sizes={"dim": 300},
        tolerance={},
        within={"risk": 0.04},
    ),
    overlaps(
        "steps far too long for the outer layer",
        TASK,
        si.Descent(1e-200, 1e-2, 1, ACTIVATION, 4),
        "code",
        sizes={"dim": 20},
        code=int(Result.NONFINITE),
        tolerance={"risk": 0.0},
    ),
    overlaps(
        "a flow of days",
        TASK,
        si.GradientFlow(1e-3, "relu", 3),
        "refused",
        at=[1e7],
        given={"outer": np.ones((1, 3)), "alignment": np.zeros((1, 3)), "gram": np.eye(3)[None]},
        words="takes about",
    ),
    limit("mean_field", "a hundred neurons", TASK, si.GradientFlow(0.03, ACTIVATION, 100, "uniform")),
    limit("mean_field", "an activation without degree 0", ONE, si.GradientFlow(0.03, "tanh", 100, "sign")),
    limit(
        "mean_field",
        "a target without degree 1",
        si.SingleIndex((0.6, 0.0, 0.6)),
        si.GradientFlow(0.1, "relu", 100, "uniform"),
        at=[0.01, 0.1],
    ),
    limit(
        "mean_field",
        "normal weights without a run",
        TASK,
        si.GradientFlow(0.03, ACTIVATION, 100),
        "heuristic",
        given=False,
        within={"risk": 0.3},
    ),
    limit(
        "mean_field",
        "a rate ratio of 1e-14",
        TASK,
        si.GradientFlow(1e-14, ACTIVATION, 10, SPREAD),
        "refused",
        given=False,
        words="rate_ratio",
    ),
    limit(
        "stages",
        "learning times at a ratio of 3e-3",
        si.SingleIndex((0.6, 0.8)),
        si.GradientFlow(3e-3, (0.4, 0.5), 100, "uniform"),
        at=[3.0],
        within={},
        share={"learning_times": 0.3},
    ),
    limit(
        "stages",
        "the risk between stages",
        TASK,
        si.GradientFlow(3e-3, ACTIVATION, 100, "uniform"),
        "heuristic",
        at=[0.03],
        within={"risk": 0.1},
    ),
]
