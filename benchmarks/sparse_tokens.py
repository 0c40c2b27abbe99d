"""Sparse-token attention against what one would write without this library: theory, simulation, pooling, memory.

    python benchmarks/sparse_tokens.py [--quick] [--only theory,simulation,pooling,memory]

Prints Markdown tables. One thread each side, on one CPU. Times are CPU seconds of the process: with one thread on a
quiet machine they are the wall clock, and on a shared one they leave the neighbours' turns out (the last line says how
far the two were apart). Each is the least of several repeats after a warm-up. Nothing here is part of the tests.

What is compared
* theory: `predict` against a damped NumPy loop (for the square loss, whose loop cycles, the direct formulas) of the
  same equations on the same nodes; and `predict` at its default accuracy (4 scramblings of 2^14 points a class).
* simulation: `simulate` against NumPy with all tokens drawn, and against NumPy with the same low-dimensional law, both
  with scikit-learn's lbfgs; the gradient norms reached are printed.
* pooling: softmax pooling of float32 tokens against the rate at which this machine streams the same array.
* memory: peak resident memory of a `full=True` run, in a process of its own.
"""

from __future__ import annotations

import one_thread

# isort: split
import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
import sklearn
import sparse_tokens_peer as peer

from solvable.attention import sparse_tokens as st
from solvable.attention.sparse_tokens.classifiers import pooled_features
from solvable.attention.sparse_tokens.nodes import AttentionLaw, MixtureLaw
from solvable.numerics.gaussian import NODE_STEPS, shifted_node

LOSSES = ("logistic", "hinge", "square")
RIDGE = 1e-2
TASK = st.SparseTokens()
SAME_NODES = st.Quadrature(points=2**12, scramblings=1)
CLOCK = {"cpu": 0.0, "wall": 0.0}


def algorithm(model: str, loss: str) -> Any:
    """The classifier of that name at the ridge of this benchmark."""
    if model == "attention":
        return st.FixedQueryAttention(cosine=0.9, sharpness=1.0, loss=loss, ridge=RIDGE)
    return {"pooled": st.PooledLinear, "flat": st.FlatLinear}[model](loss=loss, ridge=RIDGE)


MODELS = ("attention", "pooled", "flat")


def clocked(function: Callable[[], Any]) -> tuple[float, Any]:
    """(CPU seconds, value) of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    value = function()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    CLOCK["cpu"] += cpu
    CLOCK["wall"] += wall
    return cpu, value


def best(function: Callable[[], Any], repeats: int, warm: bool = True) -> tuple[float, Any]:
    """(least CPU seconds of `repeats` calls, value), after one call that is not counted."""
    if warm:
        function()
    runs = [clocked(function) for _ in range(repeats)]
    return min(seconds for seconds, _ in runs), runs[-1][1]


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Print a Markdown table."""
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


def milliseconds(seconds: float) -> str:
    """A time to three digits."""
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


# --- theory ---------------------------------------------------------------------------------------------------------


def peer_nodes(model: str) -> tuple[peer.Nodes, float, float]:
    """(nodes, factor of the ridge, divisor of the ratio): the nodes of `SAME_NODES` as NumPy arrays."""
    with jax.enable_x64(True):
        if model == "attention":
            law = AttentionLaw(TASK, 0.9, 1.0)
        else:
            law = MixtureLaw.of(TASK, 1.0, 1.0, 1.0)
        features = law.nodes(*(jnp.asarray(rule[0]) for rule in law.rules(SAME_NODES)))
        gauss, weight = shifted_node(features.shift[None, :1], jnp.asarray(NODE_STEPS)[:, None, None])
        f = jax.tree_util.tree_map(np.asarray, features)
        gauss, weight = np.asarray(gauss), np.asarray(weight)
    nodes = peer.Nodes(f.label, f.label * f.query, f.label * f.signal, f.scale, f.weight, gauss, weight)
    return nodes, float(TASK.length) if model == "pooled" else 1.0, float(TASK.length) if model == "flat" else 1.0


def predict_curve(model: str, loss: str, ratios: np.ndarray, quadrature: st.Quadrature | None) -> np.ndarray:
    """Our test errors along the ratios."""
    which = algorithm(model, loss)
    return np.array([float(st.predict(TASK, which, ratio=r, quadrature=quadrature).test_error) for r in ratios])


def benchmark_theory(quick: bool) -> None:
    """Part (a)."""
    ratios = np.geomspace(0.5, 20.0, 4 if quick else 20)
    rows, totals = [], np.zeros(3)
    failures, points = 0, 0
    for loss in LOSSES:
        for model in MODELS:
            repeats = 1 if quick else 3
            ours, errors = best(lambda m=model, o=loss: predict_curve(m, o, ratios, SAME_NODES), repeats)
            default, fine = best(lambda m=model, o=loss: predict_curve(m, o, ratios, None), repeats)
            nodes, times, over = peer_nodes(model)

            settings = [(nodes, loss, RIDGE * times, ratio / over) for ratio in ratios]

            def loop(settings: list[Any] = settings) -> list[peer.Answer]:
                return [peer.solve_theory(*setting) for setting in settings]

            theirs, answers = best(loop, 1 if quick else 2, warm=False)
            good = np.array([answer.converged for answer in answers])
            gaps = np.abs(np.array([answer.test_error for answer in answers]) / errors - 1.0)
            gap = f"{np.max(gaps[good]):.0e}" if good.any() else "none"
            turns = int(np.median([answer.turns for answer in answers]))
            failures, points = failures + int(np.sum(~good)), points + good.size
            moved = f"{np.max(np.abs(errors / fine - 1.0)):.0e}"
            totals += (ours, default, theirs)
            cells = (milliseconds(ours), milliseconds(theirs), f"{theirs / ours:.1f}", gap, f"{np.sum(~good)}", turns)
            rows.append((loss, model, *cells, milliseconds(default), moved))
    ours, default, theirs = totals
    sums = (
        milliseconds(ours),
        milliseconds(theirs),
        f"**{theirs / ours:.1f}**",
        "",
        failures,
        "",
        milliseconds(default),
    )
    rows.append(("**all**", "", *sums, ""))
    print(f"## (a) theory: {len(ratios)} ratios in [.5, 20], ridge {RIDGE:g}, warm (goal: 10 times)")
    head = ("loss", "model", "predict, same nodes", "NumPy", "times", "largest relative gap", "not converged", "turns")
    table((*head, "predict, default accuracy", "finer nodes move it by"), rows)
    print(
        "At its default accuracy, 16 times the nodes of the loop, predict takes "
        f"{default / theirs:.2f} of the loop's time.\n"
        f"NumPy did not converge within {peer.MAX_TURNS} turns at {failures} of {points} points; the gaps are over the "
        "others.\nTurns are medians (for square the evaluations of the root search)."
    )
    benchmark_cold(quick)


def benchmark_cold(quick: bool) -> None:
    """Fresh processes, without and with the persistent compilation cache."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cache = {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        for what in ("point",) if quick else ("point", "table"):
            plain, _ = child(["--cold", what], {})
            child(["--cold", what], cache)
            cached, _ = child(["--cold", what], cache)
            name = {"point": "one logistic attention point", "table": "the whole table"}[what]
            rows.append((name, f"{plain:.1f} s", f"{cached:.1f} s"))
    table(("cold: a fresh process with its imports", "no compilation cache", "a second process with it"), rows)


def cold(what: str) -> None:
    """What the fresh process does."""
    if what == "point":
        st.predict(TASK, algorithm("attention", "logistic"), ratio=2.0)
        return
    for loss in LOSSES:
        for model in MODELS:
            predict_curve(model, loss, np.geomspace(0.5, 20.0, 20), None)


def child(arguments: list[str], extra: dict[str, str]) -> tuple[float, str]:
    """(CPU seconds, standard output) of this script in a fresh process on the same CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    done = subprocess.run(command, env={**os.environ, **extra}, check=True, stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


# --- simulation -----------------------------------------------------------------------------------------------------


def benchmark_simulation(quick: bool) -> None:
    """Part (b)."""
    dim, replicates = (200, 4) if quick else (500, 16)
    ratio = 2.0
    attention = algorithm("attention", "logistic")
    setting = peer.Setting(
        TASK.length, float(TASK.strength), 0.9, 1.0, RIDGE, round(ratio * dim), dim, error_points=2**12
    )
    key = jax.random.key(0)
    run = lambda: st.simulate(TASK, attention, ratio=ratio, dim=dim, key=key, replicates=replicates)  # noqa: E731
    ours, outcome = best(run, 5)
    sides = [("simulate", ours, np.asarray(outcome.test_error), np.asarray(outcome.stats["certificate"]))]
    for name, one in (
        ("NumPy, low-dimensional law, scikit-learn", peer.simulate_sampled),
        ("NumPy, all tokens, scikit-learn", peer.simulate_tokens),
    ):

        def loop(one: Callable[..., tuple[float, float]] = one) -> np.ndarray:
            rng = np.random.default_rng(1)
            return np.array([one(setting, rng) for _ in range(replicates)])

        seconds, values = best(loop, 3)
        sides.append((name, seconds, values[:, 0], values[:, 1]))
    rows = []
    for name, seconds, errors, norms in sides:
        spread = errors.std(ddof=1) / np.sqrt(replicates)
        reference = sides[0][2]
        z = (errors.mean() - reference.mean()) / np.hypot(spread, reference.std(ddof=1) / np.sqrt(replicates))
        reached = f"{np.median(norms):.1e} ({norms.max():.1e})"
        cells = (milliseconds(seconds / replicates), f"{seconds / ours:.1f}", reached)
        rows.append((name, *cells, f"{errors.mean():.5f} ± {spread:.5f}", f"{z:+.1f}" if name != "simulate" else ""))
    print(
        f"## (b) simulation: {replicates} replicates, dim {dim}, ratio {ratio:g}, logistic, ridge {RIDGE:g}, warm "
        "(goals: 2.5 and 10 times)"
    )
    table(("side", "a replicate", "times", "gradient norm: median (largest)", "test error", "z against ours"), rows)
    limit = float(st.predict(TASK, attention, ratio=ratio).test_error)
    print(f"The theory says {limit:.5f} for dim -> infinity.\n")


# --- pooling --------------------------------------------------------------------------------------------------------


def benchmark_pooling(quick: bool) -> None:
    """Part (c)."""
    shapes = [(2000, 10, 1000), (20000, 10, 1000), (40000, 10, 1000), (10000, 64, 500), (2500, 1000, 128)]
    compiled, total = jax.jit(pooled_features), jax.jit(jnp.sum)
    rows = []
    for n, length, dim in shapes[:1] if quick else shapes:
        rng = np.random.default_rng(0)
        tokens = rng.standard_normal((n, length, dim), dtype=np.float32)
        query = rng.standard_normal(dim, dtype=np.float32) / np.float32(np.sqrt(dim))
        ours_in, query_in = jnp.asarray(tokens), jnp.asarray(query)
        flat = tokens.ravel()
        repeats = 5 if tokens.nbytes > 5e8 else 15
        # The fastest of some simple reads of the same array is what the machine streams.
        reads = {
            "numpy max": best(flat.max, repeats)[0],
            "numpy dot": best(lambda x=flat: x @ x, repeats)[0],
            "numpy matvec": best(lambda x=tokens, q=query: x.reshape(-1, x.shape[2]) @ q, repeats)[0],
            "jax sum": best(lambda x=ours_in: total(x).block_until_ready(), repeats)[0],
        }
        fastest = min(reads, key=lambda name: reads[name])
        stream = tokens.nbytes / reads[fastest] / 1e9
        seconds, (ours, _) = best(lambda x=ours_in, q=query_in: jax.block_until_ready(compiled(x, q)), repeats)

        def naive(tokens: np.ndarray = tokens, query: np.ndarray = query) -> np.ndarray:
            return np.matmul(peer.softmax(tokens @ query)[:, None, :], tokens)[:, 0]

        numpy_seconds, theirs = best(naive, repeats)
        rate = tokens.nbytes / seconds / 1e9
        size = f"{n}, {length}, {dim} ({tokens.nbytes / 1e9:.2g} GB)"
        cells = (milliseconds(seconds), f"{rate:.1f}", f"{stream:.1f} ({fastest})", f"**{rate / stream:.2f}**")
        agree = float(np.max(np.abs(np.asarray(ours) - theirs)))
        rows.append((size, *cells, milliseconds(numpy_seconds), f"{numpy_seconds / seconds:.1f}", f"{agree:.0e}"))
        del tokens, flat, ours_in, reads
    print("## (c) pooled features, float32, one core (goal: .6 of the streaming rate)")
    head = ("n, L, d", "ours", "GB/s", "streaming GB/s (best read)", "share", "NumPy", "times", "largest difference")
    table(head, rows)
    print(
        "The bound is memory traffic: every score of a bag is needed before its second product can start, so that "
        "tokens\n"
        "beyond the L2 cache are read twice, each time near the streaming rate, which caps the share at .5 (less the\n"
        "writing of the result). One read would need bags that stay in cache between the two products; XLA does that "
        "on\n"
        "a CPU only through a copy of each bag, which costs what it saves.\n"
    )


# --- memory ---------------------------------------------------------------------------------------------------------


def benchmark_memory(quick: bool) -> None:
    """Part (d)."""
    seconds, text = child(["--full-run", "quick" if quick else "whole"], {})
    told = json.loads(text)
    print("## (d) peak memory of full=True, TwoStepAttention, one replicate (goal: below 1 GB)")
    row = (told["shape"], f"{told['tokens']:.3g} GB", f"**{told['peak']:.2f} GB**", f"{told['base']:.2f} GB")
    table(
        ("n, L, d", "all tokens", "peak", "after imports", "CPU", "wall", "test error", "theory given its query"),
        [(*row, f"{seconds:.0f} s", f"{told['wall']:.0f} s", f"{told['error']:.4f}", f"{told['theory']:.4f}")],
    )


def full_run(size: str) -> None:
    """What the measured process does: one JSON object on standard output."""
    task = st.SparseTokens(length=20 if size == "quick" else 100)
    dim, ratio = (200, 5.0) if size == "quick" else (1000, 20.0)
    two_step = st.TwoStepAttention(ridge=RIDGE)
    base = _peak()
    start = time.perf_counter()
    outcome = st.simulate(task, two_step, ratio=ratio, dim=dim, key=jax.random.key(0), full=True)
    wall, peak = time.perf_counter() - start, _peak()
    bags = round(ratio * dim)
    theory = st.predict(task, two_step, ratio=ratio, given=outcome)
    told = {
        "shape": f"{bags}, {task.length}, {dim}",
        "tokens": 8e-9 * bags * task.length * dim,
        "peak": peak,
        "base": base,
        "wall": wall,
        "error": float(outcome.test_error[0]),
        "theory": float(theory.test_error[0]),
    }
    print(json.dumps(told))


def _peak() -> float:
    """The largest resident memory of this process, in GB."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss starts from what the parent had when it forked
        return 1.024e-6 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return 1e-9 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --------------------------------------------------------------------------------------------------------------------


def processor() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Run the parts that were asked for."""
    parts = {
        "theory": benchmark_theory,
        "simulation": benchmark_simulation,
        "pooling": benchmark_pooling,
        "memory": benchmark_memory,
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run")
    parser.add_argument("--only", default=",".join(parts), help="parts, separated by commas")
    parser.add_argument("--cold", choices=("point", "table"), help=argparse.SUPPRESS)
    parser.add_argument("--full-run", choices=("quick", "whole"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cold:
        return cold(arguments.cold)
    if arguments.full_run:
        return full_run(arguments.full_run)
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in parts]:
        parser.error(f"--only {unknown[0]!r}; accepted: {', '.join(parts)}")
    print("# Sparse tokens\n")
    print(f"{processor()}, {one_thread.CPUS} CPUs, one thread on one of them, load average {os.getloadavg()[0]:.1f}")
    print(
        f"Python {platform.python_version()}, jax {jax.__version__}, numpy {np.__version__}, "
        f"scipy {scipy.__version__}, scikit-learn {sklearn.__version__}\n\n"
        "Times are CPU seconds, the least of several repeats.\n"
    )
    for name in chosen:
        parts[name](arguments.quick)
    if CLOCK["cpu"] > 0:
        print(f"Wall clock over CPU time in the timed parts: {CLOCK['wall'] / CLOCK['cpu']:.2f}; 1 on a quiet machine.")
    return None


if __name__ == "__main__":
    main()
