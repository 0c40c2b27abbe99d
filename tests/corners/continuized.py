"""The corners of continuized methods."""

import functools

import numpy as np

from solvable.iterations import continuized as co
from solvable.iterations.continuized.results import ContinuizedResult
from tests.corner import Corner

row = functools.partial(Corner, "solvable.iterations.continuized", replicates=2000)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 2)) @ RNG.normal(size=(2, 4))
FITTED, CONTRADICTING = co.LeastSquares(X, X @ np.ones(4)), co.LeastSquares(X, RNG.normal(size=6))
STEEP, FLAT = co.Quadratic([1.0, 1e-8], [1.0, 1.0]), co.Quadratic([2.0, 2.0, 0.0], [1.0, 1.0, 1.0], 0.1)
PLAIN = co.Quadratic((np.arange(1, 6) / 5.0) ** 2, np.ones(5))
LOUD = co.Quadratic([1.0, 0.1], [1.0, 1.0], 1e60)
LOGISTIC = co.Objective(
    lambda x: float(np.logaddexp(0, x[0]) + x[0] ** 2), lambda x: 1 / (1 + np.exp(-x)) + 2 * x, [1.0], 2.25
)
CONVEX, TIGHT, STRONG = co.Continuized(), co.Continuized(steps="tight"), co.Continuized("exact")
TIME = {"shared": {"unit": "time"}}
BOTH = {"suboptimality": 1e-9, "squared_distance": 1e-9}


def moments(corner, task, algorithm, expected="agrees", **options):
    """The mean at events against 2000 runs, without an allowance but for rounding."""
    return row("moments", corner, task, algorithm, expected, **{"at": [1, 5, 40], "share": BOTH, **options})


def bound(corner, task, algorithm, expected="agrees", name="suboptimality", **options):
    """The mean against its bound, on one side."""
    return row(
        "bound",
        corner,
        task,
        algorithm,
        expected,
        **{"at": [1, 40], "share": {name: 1e-9}, "bound": {name: "above"}, **options},
    )


ROWS = [
    moments(
        "one mode, a smoothness that is twice its own",
        co.Quadratic([1.0], [1.0]),
        co.Continuized(smoothness=2.0),
        at=[1, 5],
    ),
    moments("condition number 1e8, strongly convex", STEEP, STRONG),
    moments("condition number 1e8, convex", STEEP, CONVEX),
    moments("equal eigenvalues and a zero, with noise", FLAT, CONVEX, share={"suboptimality": 1e-9}),
    moments("equal eigenvalues and a zero, with noise, strongly convex", FLAT, STRONG, share={"suboptimality": 1e-9}),
    moments("noise of 1e60", LOUD, CONVEX),
    moments("strong convexity ten times overestimated", PLAIN, co.Continuized(0.4), at=[1, 5, 20]),
    moments("one Gaussian row coordinate", co.GaussianLeastSquares([3.0], [1.0]), STRONG, at=[1, 5, 10]),
    moments("rows of rank 2 in four dimensions, tight", FITTED, TIGHT, at=[1, 5, 20]),
    moments("rows that contradict each other, strongly convex, tight", CONTRADICTING, co.Continuized("exact", "tight")),
    moments("rows that contradict each other, averaged SGD", CONTRADICTING, co.StochasticGradient(average=True)),
    moments("heavy ball, condition number 1e8", STEEP, co.HeavyBall("exact")),
    moments("1500 events, with noise", co.Quadratic([1.0, 0.1], [1.0, 1.0], 0.1), CONVEX, at=[900, 1500]),
    moments(
        "a smoothness a tenth below the true one, 100 events",
        PLAIN,
        co.Continuized(smoothness=0.9),
        "code",
        at=[100],
        code=int(ContinuizedResult.LOST_DIGITS),
        replicates=2,
    ),
    moments("any function", LOGISTIC, CONVEX, "refused", words="task=Objective has no theory='moments'"),
    moments("steps in time that have no times", PLAIN, co.Nesterov(), "refused", words="unit='time'", **TIME),
    bound("one mode with noise, convex", co.Quadratic([2.0], [3.0], 0.1), CONVEX, name="weighted_suboptimality"),
    bound("noise of 1e60, strongly convex", LOUD, STRONG),
    bound("condition number 1e8, in time", STEEP, STRONG, at=[1.0, 40.0], **TIME),
    bound("rows of rank 2, in time", FITTED, TIGHT, name="squared_distance", at=[1.0, 20.0], **TIME),
    bound("any function", LOGISTIC, CONVEX, name="weighted_suboptimality", replicates=50),
    bound("strong convexity ten times overestimated", PLAIN, co.Continuized(0.4), "refused", words="is overestimated"),
    bound("a smoothness below the true one", PLAIN, co.Continuized(smoothness=0.9), "refused", words="underestimated"),
    bound("rows that contradict each other", CONTRADICTING, TIGHT, "refused", words="y is not X w for any w"),
]
