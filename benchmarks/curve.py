"""`curve` of the systems against a Python loop of `predict` over the same points.

    python benchmarks/curve.py [--quick]

Prints a Markdown table. Each side of a row runs in a process of its own, on one thread and one CPU: its first call,
which compiles, and the least of three later ones at the same points, in CPU seconds. The difference is the largest of
all observables, relative to the largest value of each. Nothing here is part of the tests.
"""

from __future__ import annotations

import one_thread

# isort: split
import argparse
import dataclasses
import multiprocessing
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from sparse_tokens import milliseconds, processor, table

from solvable.attention import self_attention as sa
from solvable.attention import single_location as sl
from solvable.attention import sparse_tokens as st
from solvable.attention import token_selection as ts
from solvable.networks import diagonal as dn


def cases(quick: bool) -> dict[str, tuple[Any, ...]]:
    """By name: module, task, algorithm, the axis, its positions, and what is fixed."""
    bags, ratios = st.SparseTokens(10, 1, 2.0), np.linspace(0.5, 8.0, 40)
    rng = np.random.default_rng(0)
    quadratic = dn.Quadratic.from_data(rng.normal(size=(20, 10)), rng.normal(size=20))
    start = {"given": sl.Overlaps(0.1, 0.1, 0.0, 0.0, 0.0), "at": np.arange(0, 1001, 20)}
    rule = {"ratio": 2.0, "quadrature": st.Quadrature(2**12, 1)}
    found = {
        "sparse tokens, attention, logistic: 40 ratios": (
            *(st, bags, st.TwoStepAttention("logistic", 1e-2), "ratio", ratios),
            {},
        ),
        "sparse tokens, attention, square: 40 ratios": (
            *(st, bags, st.TwoStepAttention("square", 1e-2), "ratio", ratios),
            {},
        ),
        "sparse tokens, pooled, logistic: 40 strengths, 4096 nodes": (
            *(st, bags, st.PooledLinear("logistic", 1e-2), "strength", np.linspace(0.5, 4.0, 40)),
            rule,
        ),
        "single location: 50 learning rates, 51 times": (
            *(sl, sl.SingleLocation(10, 400), sl.ProjectedDescent(0.5, 0.01, 1000), "learning_rate"),
            np.geomspace(1e-3, 1e-1, 50),
            start,
        ),
        "self-attention: 50 context lengths": (
            *(sa, sa.LinearMap.conditioned(dim=4), sa.PreconditionedDescent(learning_rate=1.0, steps=20)),
            *("context_length", np.unique(np.geomspace(50, 5000, 50).astype(int)), {"theory": "spectral_start"}),
        ),
        "token selection: 50 powers p, 20 steps": (
            *(ts, ts.RandomSelection(2, 3, 4), ts.MirrorDescent(steps=20), "p", np.linspace(2.0, 4.0, 50)),
            {"theory": "growth", "at": np.arange(1, 21)},
        ),
        "diagonal, d = 10: 50 weight decays, 20 times": (
            *(dn, quadratic, dn.GradientFlow(), "weight_decay", np.linspace(0.0, 0.2, 50)),
            {"at": np.linspace(0.1, 2.0, 20)},
        ),
    }
    return {name: found[name] for name in list(found)[2 if quick else 0 :]}


def loop(module: Any, task: Any, algorithm: Any, axis: str, along: Any, fixed: dict[str, Any]) -> dict[str, Any]:
    """The observables (N, ...) of one prediction after the other."""
    fields = [{field.name for field in dataclasses.fields(one)} for one in (task, algorithm)]
    said = []
    for value in along.tolist():
        moved = [
            dataclasses.replace(one, **{axis: value}) if axis in names else one
            for one, names in zip((task, algorithm), fields, strict=True)
        ]
        shared = {} if axis in set.union(*fields) else {axis: value}
        said.append(module.predict(*moved, **shared, **fixed, throw=False).values)
    return {name: np.stack([np.asarray(one[name]) for one in said]) for name in said[0]}


def curve(module: Any, task: Any, algorithm: Any, axis: str, along: Any, fixed: dict[str, Any]) -> dict[str, Any]:
    """The same by `curve`."""
    return {name: value[0] for name, value in module.curve(task, algorithm, **{axis: along}, **fixed).values.items()}


def clocked(name: str, side: str) -> tuple[float, float, dict[str, Any]]:
    """CPU seconds of the first call and of a later one, and what it returned; in a process that has called nothing."""
    warnings.simplefilter("ignore")
    call, case, seconds, values = {"curve": curve, "loop": loop}[side], cases(False)[name], [], {}
    for _ in range(4):
        start = time.process_time()
        values = call(*case)
        seconds.append(time.process_time() - start)
    return seconds[0], min(seconds[1:]), values


def row(name: str) -> tuple[Any, ...]:
    """One line of the table."""
    sides = []
    for side in ("curve", "loop"):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            sides.append(pool.submit(clocked, name, side).result())
    (first, warm, ours), (loop_first, loop_warm, theirs) = sides
    apart = 0.0
    for key, value in theirs.items():
        there = np.isfinite(value)
        assert np.array_equal(ours[key][~there], value[~there], equal_nan=True)
        scale = np.abs(value[there]).max(initial=0.0) or 1.0
        apart = max(apart, float(np.abs(ours[key][there] - value[there]).max(initial=0.0) / scale))
    times = (first, loop_first, f"{loop_first / first:.2g}", warm, loop_warm, f"{loop_warm / warm:.2g}")
    return (name, *(milliseconds(one) if isinstance(one, float) else one for one in times), f"{apart:.0e}")


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="leave the two long ones out")
    quick = parser.parse_args().quick
    print("# Curves\n")
    print(f"{processor()}, {one_thread.CPUS} CPUs, one thread on one of them, load average {os.getloadavg()[0]:.1f}")
    head = ("", "`curve`, first", "loop, first", "ratio", "`curve`, later", "loop, later", "ratio", "difference")
    table(head, [row(name) for name in cases(quick)])


if __name__ == "__main__":
    main()
