"""The corners of token selection."""

import functools

from solvable.attention import token_selection as ts
from tests.corner import Corner

row = functools.partial(Corner, "solvable.attention.token_selection")
RANDOM, EQUAL = ts.RandomSelection(), ts.EqualScores()
ONE, LONG, MANY = ts.RandomSelection(1, 2, 5), ts.RandomSelection(3, 64, 10), ts.RandomSelection(20, 8, 2)
GAUSSIAN = ts.EqualScores(orthonormal=False)
OSCILLATING, OVERSHOT, UNSATURATED = (
    {"code": int(one)}
    for one in (ts.SelectionResult.OSCILLATING, ts.SelectionResult.OVERSHOT, ts.SelectionResult.UNSATURATED)
)


def limit(corner, task, algorithm, expected="agrees", within=0.01, **options):
    """The direction at the end: its divergence from the max-margin solution."""
    options = {"within": {"divergence": within}, "given": True, "at": [algorithm.steps], "replicates": 12, **options}
    return row("max_margin", corner, task, algorithm, expected, **options)


def growth(corner, task, algorithm, expected="agrees", share=0.1, **options):
    """The norm at the end."""
    options = {"share": {"norm": share}, "given": True, "at": [algorithm.steps], "replicates": 12, **options}
    return row("growth", corner, task, algorithm, expected, **options)


def rate(corner, task, algorithm, expected="agrees", within=0.3, **options):
    """The slope of log divergence over log steps in the last decade."""
    options = {"within": {"divergence_slope": within}, "at": [algorithm.steps], "replicates": 24, **options}
    return row("rate", corner, task, algorithm, expected, **options)


def excess(corner, task, algorithm, expected="agrees", share=0.1, **options):
    """The excess loss over its law at the end."""
    options = {"share": {"scaled_excess": share}, "given": True, "at": [algorithm.steps], "replicates": 12, **options}
    return row("excess_loss", corner, task, algorithm, expected, **options)


def polyak(corner, task, constant, expected="agrees", share=0.01, steps=3000, **options):
    """The fall of log(1 - attention) a step."""
    algorithm = ts.MirrorDescent(step="polyak", polyak_constant=constant, steps=steps)
    options = {"share": {"gap_slope": share}, "at": [steps], "sizes": {"init_scale": 1.0}, "given": True, **options}
    return row("polyak", corner, task, algorithm, expected, replicates=12, **options)


def steps(p, rate, count, **options):
    return ts.MirrorDescent(p, rate, count, **options)


ROWS = [
    limit("p = 1.1, rate 1", RANDOM, steps(1.1, 1.0, 4000)),
    limit("p = 1.25, rate 100", RANDOM, steps(1.25, 100.0, 4000)),
    limit("p = 8, linear growth", RANDOM, steps(8.0, ts.linear_growth(0.1, 8.0), 20000)),
    limit("one sequence of two tokens", ONE, steps(2.0, 0.1, 4000)),
    limit("64 tokens a sequence", LONG, steps(2.0, 0.3, 20000)),
    limit("20 sequences in two dimensions", MANY, steps(2.0, 0.1, 2000), "code", **UNSATURATED),
    limit("rate 1000", RANDOM, steps(2.0, 1000.0, 4000)),
    limit("start of size 100", RANDOM, steps(2.0, 10.0, 20000), sizes={"init_scale": 100.0}),
    limit("ten steps of rate 1e-3", RANDOM, steps(2.0, 1e-3, 10), "code", **UNSATURATED),
    limit("factored, rate 10", RANDOM, steps(2.0, 10.0, 4000, parameterization="factored"), within=0.05),
    limit("fixed steps of rate 1e4", EQUAL, steps(2.0, 1e4, 4000, step="fixed"), "code", **OVERSHOT),
    limit("fixed steps of rate 30", RANDOM, steps(2.0, 30.0, 30000, step="fixed"), within=0.1),
    growth(
        "p = 1.5 at a constant rate, without given",
        RANDOM,
        steps(1.5, 0.1, 2000),
        "refused",
        given=False,
        words="p=1.5 at a constant rate",
    ),
    growth("p = 1.5, rate 0.1, 2000 steps", RANDOM, steps(1.5, 0.1, 2000), "code", **OSCILLATING),
    growth("p = 1.5, rate 0.1, 60 000 steps", RANDOM, steps(1.5, 0.1, 60000), "code", **OSCILLATING),
    growth("p = 1.25, rate 0.1, 60 000 steps", RANDOM, steps(1.25, 0.1, 60000)),
    growth("p = 1.5, rate 100", RANDOM, steps(1.5, 100.0, 2000)),
    growth("p = 2, rate 10", RANDOM, steps(2.0, 10.0, 2000), "code", **OSCILLATING),
    growth("p = 2, rate 10, without given", RANDOM, steps(2.0, 10.0, 2000), "heuristic", differs=True, given=False),
    growth("p = 3, rate 1000", RANDOM, steps(3.0, 1000.0, 20000)),
    growth("p = 8", RANDOM, steps(8.0, 0.1, 20000), "code", **UNSATURATED),
    growth(
        "p = 8, linear growth of speed 10", RANDOM, steps(8.0, ts.linear_growth(10.0, 8.0), 2000), "code", **OSCILLATING
    ),
    growth("one sequence of two tokens, rate 100", ONE, steps(2.0, 100.0, 2000)),
    growth(
        "Polyak constant 0.1",
        GAUSSIAN,
        steps(2.0, 0.1, 2000, step="polyak", polyak_constant=0.1),
        "code",
        sizes={"init_scale": 1.0},
        **OSCILLATING,
    ),
    growth(
        "Polyak constant 20",
        GAUSSIAN,
        steps(2.0, 0.1, 20000, step="polyak", polyak_constant=20.0),
        sizes={"init_scale": 1.0},
    ),
    rate("p = 1.25, rate 100", RANDOM, steps(1.25, 100.0, 20000), given=True),
    rate("p = 1.5, rate 0.1, 20 000 steps", RANDOM, steps(1.5, 0.1, 20000), "code", given=True, **OSCILLATING),
    rate("p = 1.5, rate 0.1, 20 000 steps, without given", RANDOM, steps(1.5, 0.1, 20000), "heuristic", differs=True),
    rate("p = 2, rate 100", RANDOM, steps(2.0, 100.0, 20000)),
    rate("p = 2, equal scores, rate 1000", EQUAL, steps(2.0, 1000.0, 4000)),
    rate("p = 5", RANDOM, steps(5.0, 1.0, 40000)),
    rate(
        "Polyak constant 0.1",
        GAUSSIAN,
        steps(2.0, 0.1, 4000, step="polyak", polyak_constant=0.1),
        sizes={"init_scale": 1.0},
    ),
    rate("one sequence of two tokens", ONE, steps(2.0, 0.1, 4000), sizes={"init_scale": 1.0}),
    excess("rate 1e-3, 2000 steps", RANDOM, steps(2.0, 1e-3, 2000, step="fixed"), "code", **UNSATURATED),
    excess("rate 1e4", EQUAL, steps(2.0, 1e4, 4000, step="fixed"), "code", **OVERSHOT),
    excess("p = 1.25, rate 10", EQUAL, steps(1.25, 10.0, 100000, step="fixed"), share=0.3),
    excess("p = 4, rate 100", EQUAL, steps(4.0, 100.0, 100000, step="fixed"), share=0.3),
    excess("one sequence of two tokens", ONE, steps(2.0, 20.0, 100000, step="fixed")),
    polyak("constant 0.1", GAUSSIAN, 0.1, "code", **OSCILLATING),
    polyak("constant 1, gaussian tokens", GAUSSIAN, 1.0),
    polyak("constant 20", GAUSSIAN, 20.0, steps=20000),
    polyak("constant 0.1, without given", GAUSSIAN, 0.1, "heuristic", given=False, differs=True),
]
