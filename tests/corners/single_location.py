"""The corners of single-location regression."""

import functools

from solvable.attention import single_location as sl
from solvable.numerics.results import Result
from tests.corner import Corner

row = functools.partial(Corner, "solvable.attention.single_location")
DEFAULT, SMALL = sl.SingleLocation(), sl.SingleLocation(2, 2)
NOISY = sl.SingleLocation(3, 12, label_noise=100.0)
LONG, FAINT = sl.SingleLocation(1000, 20), sl.SingleLocation(10, 100, signal=1e-3)
WIDE = sl.SingleLocation(10, 100, informative_scale=30.0)
TINY = sl.SingleLocation(3, 12)
D = sl.ProjectedDescent
OVERLAPS = ("excess_risk", "query_alignment")
RATES = ("escape_rate", "value_rate", "query_rate")
REFUSED = {"words": "both vectors on the manifold; accepted: value='descent', batch=None, init='manifold', dim >= 3"}
BATCHES, ALONE = D(0.5, 0.01, 200, batch=1), {"samples": 1}
SHARP, FALLING = D(1.0, 4e-3, 20000, init="manifold"), D(1.0, 4e-3, 20000, init="manifold", decay=1e-3)


def overlaps(corner, task, algorithm, expected="agrees", most=1e-6, names=OVERLAPS, **options):
    """Every recorded step of the vectors in d dimensions, from the start of each run."""
    places = [0, algorithm.steps // 2, algorithm.steps]
    options = {"given": True, "at": places, "sizes": {"full": True}, **options}
    return row("overlaps", corner, task, algorithm, expected, tolerance=dict.fromkeys(names, most), **options)


def rates(corner, task, algorithm, expected="agrees", names=RATES, **options):
    """The rates off paths on the manifold."""
    return row("rates", corner, task, algorithm, expected, share=dict.fromkeys(names, 0.1), **options)


def floor(corner, task, algorithm, expected="agrees", share=0.02, **options):
    """The excess risk at the end."""
    options = {"share": {"final_excess_risk": share}, "at": [algorithm.steps], **options}
    return row("floor", corner, task, algorithm, expected, **options)


def swap(corner, task, algorithm, share=0.005, **options):
    """The excess risk at the end, of which the swap point is never more than a guess: about half the runs go there."""
    options = {"share": {"final_excess_risk": share}, "at": [algorithm.steps], **options}
    return row("swap", corner, task, algorithm, "heuristic", **options)


EARLY = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
FINE = {"at": [*EARLY, *range(20000, 400_001, 4000)]}

ROWS = [
    overlaps("two tokens in two dimensions", SMALL, D(0.5, 0.01, 200)),
    overlaps("1000 tokens, steps too large", LONG, D(0.1, 0.001, 100), "heuristic", differs=True),
    overlaps("1000 tokens", LONG, D(0.1, 1e-6, 100)),
    overlaps("signal 1e-3", FAINT, D(0.1, 0.01, 200)),
    overlaps("informative tokens of scale 30", WIDE, D(0.1, 1e-4, 100)),
    overlaps("inverse temperature 1e-6", DEFAULT, D(1e-6, 1.0, 100)),
    overlaps("inverse temperature 100, falling", DEFAULT, D(100.0, 1e-3, 100, decay=1.0)),
    overlaps("steps of 10", DEFAULT, D(0.1, 10.0, 100), "heuristic", differs=True, names=("excess_risk",)),
    overlaps("closed-form value, two tokens in two dimensions", SMALL, D(0.5, 0.01, 200, value="closed_form")),
    overlaps("batches of one sequence, label noise 100", NOISY, BATCHES, "heuristic", 0.01, differs=True, sizes={}),
    overlaps("a data set of one sequence", TINY, D(0.5, 0.1, 100), "heuristic", 0.01, differs=True, sizes=ALONE),
    rates("inverse temperature 0.1", DEFAULT, D(0.1, 4e-3, 400_000, init="manifold"), **FINE),
    rates("inverse temperature 1e-3", DEFAULT, D(1e-3, 1.0, 20000, init="manifold"), at=[*EARLY, 18000, 19000, 20000]),
    rates("sharp attention, the query", DEFAULT, SHARP, "heuristic", differs=True, names=("query_rate",)),
    rates("sharp attention, escape and value", DEFAULT, SHARP, names=("escape_rate", "value_rate"), at=EARLY[:13]),
    rates("falling temperature", DEFAULT, FALLING, "heuristic", differs=True, names=("value_rate",)),
    rates("steps of 10", DEFAULT, D(0.1, 10.0, 200, init="manifold"), "code", code=int(Result.CYCLING)),
    rates("random starts off the manifold", DEFAULT, D(0.1, 4e-3, 2000), "refused", **REFUSED),
    rates("two dimensions, which have no manifold", SMALL, D(0.1, 4e-3, 20, init="manifold"), "refused", **REFUSED),
    floor("manifold", DEFAULT, D(0.1, 4e-3, 12000, init="manifold")),
    floor("manifold, inverse temperature 1e-3", DEFAULT, D(1e-3, 1.0, 20000, init="manifold")),
    floor("random starts, inverse temperature 0.05", DEFAULT, D(0.05, 0.02, 40000), "heuristic", differs=True),
    floor("random starts, inverse temperature 0.9", DEFAULT, D(0.9, 4e-3, 40000), "heuristic", differs=True),
    floor("one step", DEFAULT, D(0.1, 4e-3, 1, init="manifold"), "heuristic", differs=True),
    floor("batches of one sequence", TINY, D(0.2, 0.05, 2000, batch=1), "heuristic", differs=True),
    swap("inverse temperature 1e-3", DEFAULT, D(1e-3, 1.0, 20000), 1e-4),
    swap("two tokens in two dimensions", SMALL, D(0.05, 0.02, 40000), 1e-3),
    swap("inverse temperature 0.05", DEFAULT, D(0.05, 0.02, 40000), differs=True),
    swap("inverse temperature 0.9", DEFAULT, D(0.9, 4e-3, 40000), differs=True),
    swap("manifold", DEFAULT, D(0.1, 4e-3, 12000, init="manifold"), differs=True),
    swap("one step", DEFAULT, D(0.1, 4e-3, 1), differs=True),
]
