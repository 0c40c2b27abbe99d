"""The corners of gossip."""

import functools

import numpy as np

from solvable.iterations import gossip as gs
from solvable.numerics.results import Result
from tests.corner import Corner

row = functools.partial(Corner, "solvable.iterations.gossip", replicates=200)
TWO = gs.Averaging(gs.Network([(0, 1)]))
LINE = gs.Averaging(gs.Grid((40,), weights="metropolis").network)
STAR = gs.Averaging(gs.Network([(0, leaf) for leaf in range(1, 30)]))
ALL = gs.Averaging(gs.Network(np.stack(np.triu_indices(12, 1), axis=1)))
ODD = gs.Averaging(gs.Grid((9,), "authors", periodic=True).network)
EVEN = gs.Averaging(gs.Grid((8,), "authors", periodic=True).network)
SPREAD = gs.Averaging(LINE.network, np.geomspace(1e-9, 1e9, 40))
UNEVEN = gs.Averaging(gs.Network([(0, 1), (1, 2), (2, 0), (2, 3)], rates=[0.9, 0.05, 0.045, 0.005]))
SIGNED = gs.Averaging(gs.Network([(0, 1), (1, 2), (2, 0), (2, 3)], weights=[0.4, 0.4, -0.1, 0.3]))
SPARSE, THIN = gs.Percolation((20, 20), 0.3), gs.RandomGeometric(200, 2, 0.02)
ERROR = {"squared_error": 1e-9}  # no allowance, but for rounding
NONE = {"share": {}, "within": {"squared_error": 1e-20}}  # all that is left is rounding


def spectral(corner, task, algorithm, expected="agrees", **options):
    """The error after a few rounds and after many."""
    return row("spectral", corner, task, algorithm, expected, **{"at": [1, 7, 30], "share": ERROR, **options})


def moments(corner, task, algorithm, expected="agrees", **options):
    """The error after few activations and after some."""
    options = {"at": [1, 12, 40], "share": ERROR, "replicates": 800, **options}
    return row("moments", corner, task, algorithm, expected, **options)


def hill(positions):
    return np.exp(3 * np.cos(2 * np.pi * positions).sum(axis=-1))


def step(positions):
    return (positions[..., 0] > 0.5) * 1.0


ROWS = [
    spectral("two nodes", TWO, gs.Jacobi()),
    spectral("a line of 40", LINE, gs.Chebyshev()),
    spectral("a star of 30, tuned", STAR, gs.Tuned(), at=[1]),
    spectral("a star of 30, tuned, as many rounds as eigenvalues", STAR, gs.Tuned(), at=[3, 30], **NONE),
    spectral("all pairs of 12", ALL, gs.Jacobi()),
    spectral("values of 1e-9 to 1e9", SPREAD, gs.Jacobi()),
    spectral("a weight below 0", SIGNED, gs.Simple()),
    spectral("alpha 1e-3 above -1, odd cycle", ODD, gs.Jacobi(alpha=-0.999)),
    spectral("alpha 200", LINE, gs.Jacobi(alpha=200.0)),
    spectral("a gap of 1.9 that is not there", LINE, gs.Jacobi(gap=1.9)),
    spectral("weight 1.999", LINE, gs.ShiftRegister(1.999)),
    spectral("an even cycle, simple", EVEN, gs.Simple(), "refused", words="checkerboard never decays"),
    spectral("an even cycle, alpha = beta", EVEN, gs.Jacobi(alpha=0.3, beta=0.3), "refused", words="checkerboard"),
    spectral("an even cycle, Chebyshev", EVEN, gs.Chebyshev()),
    spectral("message passing on a cycle", ODD, gs.MessagePassing(2)),
    spectral("percolation far below its threshold", SPARSE, gs.Jacobi(), given=True),
    spectral("points that hardly hear each other", THIN, gs.Jacobi(), given=True, replicates=2000),
    spectral("local averaging beyond the diameter", STAR, gs.LocalAveraging(), at=[2, 30], **NONE),
    spectral(
        "values of 1e300",
        gs.Averaging(LINE.network, 1e300 * (np.arange(40.0) % 2)),
        gs.Simple(),
        "code",
        code=int(Result.NONFINITE),
        given=True,
        replicates=2,
    ),
    row(
        "best",
        "a line of 40, tuned",
        LINE,
        gs.Tuned(),
        "agrees",
        at=[1, 20, 38],
        share=ERROR,
        bound={"squared_error": "below"},
    ),
    row("best", "a star, tuned", STAR, gs.Tuned(), "agrees", at=[1], share=ERROR, bound={"squared_error": "below"}),
    moments("two nodes", TWO, gs.Pairwise(), at=[0, 1]),
    moments("two nodes, accelerated", TWO, gs.Pairwise(True), at=[1, 40], **NONE),
    moments("a line of 40, accelerated", LINE, gs.Pairwise(True), at=[1, 200, 2000]),
    moments("a star of 30, accelerated", STAR, gs.Pairwise(True)),
    moments("all pairs of 12, accelerated", ALL, gs.Pairwise(True)),
    moments("rates of .005 to .9, accelerated", UNEVEN, gs.Pairwise(True)),
    moments("values of 1e-9 to 1e9", SPREAD, gs.Pairwise(True), share={"squared_error": 1e-9}),
    moments("a time of 1e-6", STAR, gs.Pairwise(True), at=[1e-6], shared={"unit": "time"}),
    moments(
        "without the gap, tight, times of 1e-3",
        UNEVEN,
        gs.Pairwise(True, False, "tight"),
        at=[1e-3, 3.0],
        shared={"unit": "time"},
    ),
    moments("without the gap, counted", STAR, gs.Pairwise(True, False), "refused", words="no moments are closed"),
    row(
        "bound",
        "two nodes, accelerated",
        TWO,
        gs.Pairwise(True),
        "agrees",
        at=[0.0, 1.0],
        shared={"unit": "time"},
        share=ERROR,
        bound={"squared_error": "above"},
        replicates=4000,
    ),
    row(
        "bound",
        "rates of .005 to .9",
        UNEVEN,
        gs.Pairwise(),
        "agrees",
        at=[1, 40, 400],
        share=ERROR,
        bound={"squared_error": "above"},
    ),
    row(
        "heat",
        "a hill in 3 dimensions",
        gs.Lattice(3, hill, [[0.1, 0.2, 0.3]]),
        gs.Simple(),
        "agrees",
        at=[0.0, 0.05],
        sizes={"size": 32},
        given=True,
        share={"profile": 0.02},
        replicates=2,
    ),
    row(
        "heat",
        "a step",
        gs.Lattice(1, step),
        gs.Simple(),
        "code",
        at=[0.01],
        code=int(Result.UNDER_RESOLVED),
        share={"profile": 0.1},
        replicates=2,
    ),
    row(
        "epd",
        "alpha -0.9",
        gs.Lattice(1, hill, [0.1, 0.4]),
        gs.Jacobi(alpha=-0.9),
        "agrees",
        at=[0.2],
        sizes={"size": 256},
        given=True,
        share={"profile": 0.01},
        replicates=2,
    ),
    row(
        "epd",
        "alpha 10, beta 3",
        gs.Lattice(2, hill, [[0.1, 0.4]]),
        gs.Jacobi(alpha=10.0, beta=3.0),
        "agrees",
        at=[0.3],
        sizes={"size": 128},
        given=True,
        share={"profile": 0.01},
        replicates=2,
    ),
    row(
        "epd",
        "a time of 40, many times around",
        gs.Lattice(1, hill, [0.1, 0.4]),
        gs.Jacobi(1),
        "agrees",
        at=[40.0],
        sizes={"size": 128},
        given=True,
        share={"profile": 0.01},
        replicates=2,
    ),
    row(
        "epd",
        "a point, as uneven as its walk",
        gs.Lattice(1),
        gs.Jacobi(1),
        "heuristic",
        at=[0.2],
        sizes={"size": 256},
        given=True,
        within={"profile": 0.5},
        replicates=2,
        differs=True,
    ),
]
