"""The corners of diagonal networks."""

import functools

import jax
import numpy as np

from solvable.networks import diagonal as dn
from solvable.numerics.results import Result
from tests.corner import Corner

row = functools.partial(Corner, "solvable.networks.diagonal", given=True, replicates=12)
FEW, MANY, ONE = dn.RandomRegression(3, 4), dn.RandomRegression(20, 4), dn.RandomRegression(1, 1)
STEADY, TURNING = (dn.RandomRegression(3, 4, monotone) for monotone in (True, False))
TURNED = TURNING.sample(jax.random.key(0))
TIMES, TINY = [0.1, 1.0, 5.0, 30.0], -1000.0
EXACT = {"solution": 1e-5, "average": 1e-6, "loss": 1e-5}


def flow(corner, task, algorithm, expected="agrees", **options):
    """Against the two layers integrated in training time, or steps of descent."""
    steps = isinstance(algorithm, dn.GradientDescent)
    options = {"at": TIMES, "within": EXACT, "sizes": {} if steps else {"full": True}, **options}
    return row("flow", corner, task, algorithm, expected, **options)


def lasso(corner, task, algorithm, expected="agrees", **options):
    """The average against the lasso path."""
    return row("lasso", corner, task, algorithm, expected, **{"at": TIMES, "within": {"average": 0.02}, **options})


def limit(corner, task, algorithm, expected="agrees", **options):
    """The average against that of the limit."""
    return row("limit", corner, task, algorithm, expected, **{"at": TIMES, "within": {"average": 0.02}, **options})


ROWS = [
    flow("log scale -1e-3", FEW, dn.GradientFlow(-1e-3)),
    flow("log scale -300", FEW, dn.GradientFlow(-300.0), at=[0.1, 1.0, 5.0], replicates=3),
    flow("one sample, one coordinate", ONE, dn.GradientFlow()),
    flow("weight decay 10", FEW, dn.GradientFlow(weight_decay=10.0)),
    flow("square, 20 samples", MANY, dn.GradientFlow(parameterization="square")),
    flow("layers 1 and 0.999", FEW, dn.GradientFlow(second_layer=0.999)),
    flow("radius 0.999", dn.Anticorrelated(5, 0.999), dn.GradientFlow(), at=[0.1, 1.0, 3.0], replicates=3),
    flow("descent, learning rate 1e-4", FEW, dn.GradientDescent(-11.5, 1e-4), at=[1.0, 5.0], within={"average": 1e-3}),
    flow("descent, learning rate 0.05", FEW, dn.GradientDescent(-11.5, 0.05), at=[1.0, 5.0], within={"average": 0.05}),
    flow(
        "a loss without data", dn.Quadratic(np.zeros((2, 2)), np.zeros(2)), dn.GradientFlow(), replicates=2, given=False
    ),
    flow(
        "times of 1e308", FEW, dn.GradientFlow(), "code", at=[1e308], code=int(Result.NONFINITE), sizes={}, replicates=2
    ),
    flow(
        "times of 1e-310",
        dn.Quadratic(np.eye(2), np.ones(2)),
        dn.GradientFlow(),
        "refused",
        at=[1e-310],
        given=False,
        words="with no finite penalty",
    ),
    lasso("log scale -1000, monotone", STEADY, dn.GradientFlow(TINY)),
    lasso(
        "log scale -1000, not monotone",
        TURNED,
        dn.GradientFlow(TINY),
        "heuristic",
        within={"average": 0.005},
        differs=True,
        replicates=2,
    ),
    lasso("weight decay 1", STEADY, dn.GradientFlow(TINY, weight_decay=1.0)),
    lasso("square, anti-correlated", dn.Anticorrelated(5, 0.9, positive=True), dn.GradientFlow(TINY, "square")),
    lasso("one sample, one coordinate", ONE, dn.GradientFlow(TINY)),
    lasso("log scale -1, the gap", STEADY, dn.GradientFlow(-1.0), within={"gap": 0.3}, bound={"gap": "below"}),
    limit("log scale -1000, not monotone", TURNING, dn.GradientFlow(TINY)),
    limit("20 samples, weight decay 1", MANY, dn.GradientFlow(TINY, weight_decay=1.0)),
    limit("square, 20 samples", MANY, dn.GradientFlow(TINY, "square")),
    limit("one sample, one coordinate", ONE, dn.GradientFlow(TINY)),
    limit("40 coordinates", dn.RandomRegression(10, 40), dn.GradientFlow(TINY)),
    lasso(
        "coefficients of 1e6 at log scale -11.5",
        dn.Quadratic(np.eye(2), [1e6, 5e5], 1e12),
        dn.GradientFlow(),
        "heuristic",
        at=[1.5e-6, 3e-6, 9e-6],
        share={"average": 0.02},
        within={},
        differs=True,
        replicates=2,
    ),
    limit("log scale -1e-3", TURNED, dn.GradientFlow(-1e-3), "heuristic", differs=True, replicates=2),
]
