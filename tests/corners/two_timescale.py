"""The corners of two-timescale networks."""

import functools

from solvable.networks import two_timescale as tt
from solvable.numerics.results import Result
from tests.corner import Corner

row = functools.partial(Corner, "solvable.networks.two_timescale", given=True, replicates=4)
STEP = tt.PiecewiseConstant([2.0], [0.5], 0.0, 0.0)
EDGE = tt.PiecewiseConstant([1.0, -1.0], [0.02, 0.98])
HUGE = tt.PiecewiseConstant([2e60], [0.5], 0.0, 0.0)
ERROR = {"final_error": 1e-3}
TOGETHER = [0.2, 0.2, 0.2, 0.9]


def flow(ratio, neurons=4, width=0.01, **options):
    """The population flow."""
    return tt.GradientFlow(ratio, neurons, width, **options)


ROWS = [
    row("limit", "one neuron, one jump", STEP, flow(1e-5, 1), "agrees", at=[2.0], within={"final_error": 1e-3}),
    row(
        "limit", "jumps beside the borders", EDGE, flow(1e-6, 4, 5e-3), "agrees", at=[9.0], within={"final_error": 2e-3}
    ),
    row(
        "limit",
        "three neurons at one place",
        STEP,
        flow(1e-5, positions=TOGETHER),
        "agrees",
        at=[2.0],
        within={"final_error": 1e-3},
    ),
    row("limit", "a jump of 2e60", HUGE, flow(1e-125, 3), "agrees", at=[2e-120], share={"final_error": 0.02}),
    row(
        "limit",
        "equal rates",
        STEP,
        tt.Descent(1.0, 0.05, 4, 0.01),
        "heuristic",
        at=[50.0],
        within={"final_error": 1e-3},
        differs=True,
        replicates=16,
    ),
    row(
        "limit",
        "a start outside of [0, 1]",
        STEP,
        flow(1e-3, positions=[-0.5, 0.2, 0.6, 1.4]),
        "refused",
        at=[0.1],
        words="positions holds -0.5",
    ),
    row(
        "limit",
        "a width above a piece",
        EDGE,
        flow(1e-3, 4, 0.03),
        "refused",
        at=[0.1],
        given={"positions": [[0.1, 0.4, 0.6, 0.9]]},
        words="wider than",
    ),
    row(
        "limit",
        "label noise of 1e200",
        tt.PiecewiseConstant([2.0], [0.5], 0.0, 1e200),
        tt.Descent(0.01, 0.01, 3, 0.02),
        "code",
        at=[1.0],
        share=ERROR,
        code=int(Result.NONFINITE),
    ),
    row(
        "flow",
        "neurons outside of [0, 1]",
        STEP,
        tt.Descent(1e-3, 1e-3, 4, 0.05, positions=[-0.5, 0.2, 0.6, 1.4]),
        "agrees",
        at=[1e-3],
        within={"final_error": 5e-3},
        replicates=64,
    ),
    row(
        "flow",
        "the box, a width of half the domain",
        STEP,
        tt.Descent(0.01, 1e-3, 3, 0.5, "box"),
        "agrees",
        at=[0.05],
        within={"final_error": 5e-3},
    ),
    row("flow", "a jump of 2e60", HUGE, flow(1e-122, 3), "agrees", at=[2e-120], share={"final_error": 1e-6}),
    row(
        "flow",
        "steps longer than the width",
        STEP,
        tt.Descent(1.0, 0.05, 4, 0.01),
        "heuristic",
        at=[50.0],
        within={"final_error": 1e-3},
        differs=True,
        replicates=16,
    ),
]
