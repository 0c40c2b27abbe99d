"""Attention that regresses against what one would write without this library, both systems in one run.

    python benchmarks/attention_regression.py [--only population,stream,self-attention]

Prints Markdown tables; "goal" says met, or by how much a ratio misses it. One thread each side, on one CPU; times are
CPU seconds of the process, the least of several, scaled to one step of one run. Nothing here is part of the tests.

What is compared
* population: 30 runs of 20000 steps at d = 400, L = 10 by one call of `simulate` (draws, steps and risks included),
  with its compilation and without, against projected descent on the vectors. The peers take fewer steps. Two are in
  NumPy with the closed-form gradient, for one run after the other and for all runs at a time; one is a compiled step of
  jax.grad called in a loop, as the authors' code has it; one is `simulate(full=True)`. Goal: 100 times NumPy, one run
  after the other.
* stream: 30 runs on batches of 5 sequences at d = 80, L = 10 by the chain that is exact in law, against the same
  descent on drawn tokens: `simulate(full=True)`, and NumPy for one run after the other. Goal: 20 times.
* self-attention: the tables of `self_attention_peers.py`.
"""

from __future__ import annotations

import one_thread

# isort: split
import argparse
import math
import os
import platform
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import self_attention_peers
from scipy.special import erf, owens_t
from sparse_tokens import CLOCK, best, clocked, processor, table

from solvable.attention import single_location as sl

RUNS, POPULATION_GOAL, STREAM_GOAL = 30, 100.0, 20.0
ROOT_PI = math.sqrt(math.pi)


def judged(value: float, goal: float) -> str:
    """Whether a ratio reaches its goal."""
    return "met" if value >= goal else f"missed: {value / goal:.0%} of {goal:g} times"


# --- population -----------------------------------------------------------------------------------------------------


def derivatives(task: sl.SingleLocation, lam: float, o: Any) -> Any:
    """The derivatives of the risk in (kappa, nu, theta, eta, rho), of shape (5,) or (5, runs), in NumPy."""
    kappa, nu, theta, eta, rho = o
    g2, s, others = float(task.label_variance), float(task.signal), task.length - 1
    d, a = 1.0 + 2.0 * lam**2 * g2, 1.0 + 4.0 * lam**2 * g2
    x = lam * s * kappa / math.sqrt(d)
    u = x / math.sqrt(a)
    ex, eu = 2.0 / ROOT_PI * np.exp(-x * x), 2.0 / ROOT_PI * np.exp(-u * u)
    erf_x, erf_u = erf(x), erf(u)
    e1, e2 = lam * ex / math.sqrt(d), -2.0 * lam**2 * x * ex / d
    e3 = lam**3 * (4.0 * x * x - 2.0) * ex / d**1.5
    q0 = 1.0 - 8.0 * owens_t(math.sqrt(2.0) * x, 1.0 / math.sqrt(a))
    q1 = 2.0 * lam / math.sqrt(d) * erf_u * ex
    q2 = 2.0 * lam**2 / d * (eu * ex / math.sqrt(a) - 2.0 * erf_u * x * ex)
    third = -2.0 * u * eu * ex / a - 4.0 * eu * x * ex / math.sqrt(a) + erf_u * (4.0 * x * x - 2.0) * ex
    q3 = 2.0 * lam**3 / d**1.5 * third
    m1 = 2.0 * lam / math.sqrt(math.pi * (1.0 + 2.0 * lam**2))
    c2 = 8.0 / math.pi * lam**2 / ((1.0 + 2.0 * lam**2) * math.sqrt(1.0 + 4.0 * lam**2))
    st, gr, noise = s * theta, g2 * rho, 2.0 * others * m1
    by_kappa = (st * st + g2) * q1 + gr * (2.0 * st * q2 + gr * q3) - 2.0 * g2 * (nu * e1 + eta * (st * e2 + gr * e3))
    by_rho = 2.0 * g2 * (st * q1 + gr * q2 - g2 * eta * e2) + noise * (st * erf_x + 2.0 * gr * e1)
    return (
        s * (by_kappa + noise * rho * (st * e1 + gr * e2)),
        -2.0 * g2 * erf_x,
        s * (2.0 * (st * q0 + gr * q1 - g2 * eta * e1) + noise * rho * erf_x),
        -2.0 * g2 * (st * e1 + gr * e2),
        by_rho + 2.0 * others * (c2 + (others - 1.0) * m1 * m1) * rho,
    )


def in_numpy(task: sl.SingleLocation, lam: float, rate: float, steps: int, k: Any, v: Any) -> Any:
    """Projected descent on vectors (d,) or (runs, d); the hidden directions are the first two axes."""
    for _ in range(steps):
        rho = np.sum(k * v, axis=-1)
        overlaps = (k[..., 0], v[..., 1], v[..., 0], k[..., 1], rho)
        r_kappa, r_nu, r_theta, r_eta, r_rho = (np.asarray(one)[..., None] for one in derivatives(task, lam, overlaps))
        g_k, g_v = r_rho * v, r_rho * k
        g_k[..., :1] += r_kappa
        g_k[..., 1:2] += r_eta
        g_v[..., 1:2] += r_nu
        g_v[..., :1] += r_theta
        moved_k = k - rate * (g_k - np.sum(k * g_k, axis=-1, keepdims=True) * k)
        moved_v = v - rate * (g_v - np.sum(v * g_v, axis=-1, keepdims=True) * v)
        k = moved_k / np.sqrt(np.sum(moved_k * moved_k, axis=-1, keepdims=True))
        v = moved_v / np.sqrt(np.sum(moved_v * moved_v, axis=-1, keepdims=True))
    return k, v


def starts(dim: int) -> Any:
    """RUNS pairs of unit vectors."""
    vectors = np.random.default_rng(0).standard_normal((2, RUNS, dim))
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def benchmark_population() -> None:
    """The table of population descent."""
    task, algorithm = sl.SingleLocation(), sl.ProjectedDescent(0.1, 4e-3, 20_000)
    k, v = starts(task.dim)
    call = {"key": jax.random.key(0), "replicates": RUNS}
    first, _ = clocked(lambda: sl.simulate(task, algorithm, **call))
    warm, _ = best(lambda: sl.simulate(task, algorithm, **call), 5)
    ours, cold = (seconds / (RUNS * algorithm.steps) for seconds in (warm, first))

    # the peers do the same: their overlaps after 300 steps are those of the five-number map
    steps = 300
    one_k, one_v = in_numpy(task, 0.1, 4e-3, steps, k[0], v[0])
    start = sl.Overlaps(k[0][0], v[0][1], v[0][0], k[0][1], k[0] @ v[0])
    predicted = sl.predict(task, algorithm, given=start, at=[steps])
    error = max(abs(float(predicted.query_alignment[0]) - one_k[0]), abs(float(predicted.coupling[0]) - one_k @ one_v))
    single, _ = best(lambda: in_numpy(task, 0.1, 4e-3, steps, k[0], v[0]), 3)
    batched, _ = best(lambda: in_numpy(task, 0.1, 4e-3, steps, k, v), 3)

    with jax.enable_x64(True):

        @jax.jit
        def step(k: Any, v: Any) -> Any:
            def loss(pair: Any) -> Any:
                k, v = pair
                return sl.excess_risk(task, sl.Overlaps(k[0], v[1], v[0], k[1], k @ v, 1.0), 0.1)

            moved = []
            for vector, slope in zip((k, v), jax.grad(loss)((k, v)), strict=True):
                new = vector - 4e-3 * (slope - (vector @ slope) * vector)
                moved.append(new / jnp.linalg.norm(new))
            return tuple(moved)

        def looped() -> Any:
            pair = jnp.asarray(k[0]), jnp.asarray(v[0])
            for _ in range(steps):
                pair = step(*pair)
            return jax.block_until_ready(pair)

        autodiff, _ = best(looped, 3)
    few = sl.ProjectedDescent(0.1, 4e-3, 2000)
    full, _ = best(lambda: sl.simulate(task, few, full=True, **call), 2)
    sides = [
        ("`simulate`, first call", cold, ""),
        ("NumPy, one run after the other", single / steps, judged(single / steps / ours, POPULATION_GOAL)),
        ("NumPy, all runs at a time", batched / steps / RUNS, ""),
        ("jax.grad of the closed form, a compiled step in a loop", autodiff / steps, ""),
        ("`simulate(full=True)`", full / few.steps / RUNS, ""),
    ]
    print(f"## population descent, {RUNS} runs, d = 400, L = 10 (largest difference to the peer {error:.0e})\n")
    rows = [("`simulate`, warm", f"{1e6 * ours:.3f} us", "", "")]
    rows += [(name, f"{1e6 * cost:.3f} us", f"{cost / ours:.1f}", goal) for name, cost, goal in sides]
    table(("side", "CPU a step and run", "times ours", "goal"), rows)


# --- stream ---------------------------------------------------------------------------------------------------------


def drawn_in_numpy(task: sl.SingleLocation, steps: int, batch: int, k: Any, v: Any) -> Any:
    """One-pass descent on drawn tokens (B, L, d), one run."""
    generator, gamma, s = np.random.default_rng(0), float(task.informative_scale), float(task.signal)
    for number in range(steps):
        lam = 2.0 / (1.0 + 1e-4 * number)
        tokens = generator.standard_normal((batch, task.length, task.dim))
        tokens[:, 0] *= gamma
        tokens[:, 0, 0] += s
        labels = tokens[:, 0, 1] + float(task.label_noise) * generator.standard_normal(batch)
        a, b = tokens @ k, tokens @ v
        weights = erf(lam * a)
        errors = (2.0 / batch) * (np.sum(weights * b, axis=1) - labels)
        slopes = errors[:, None] * lam * (2.0 / ROOT_PI) * np.exp(-((lam * a) ** 2)) * b
        flat = tokens.reshape(-1, task.dim)
        g_k, g_v = slopes.ravel() @ flat, (errors[:, None] * weights).ravel() @ flat
        k, v = k - 1e-3 * (g_k - (k @ g_k) * k), v - 1e-3 * (g_v - (v @ g_v) * v)
        k, v = k / math.sqrt(k @ k), v / math.sqrt(v @ v)
    return k, v


def benchmark_stream() -> None:
    """The table of one-pass descent on batches."""
    task = sl.SingleLocation(dim=80, label_noise=0.1)
    algorithm = sl.ProjectedDescent(2.0, 1e-3, 2000, decay=1e-4, batch=5)
    call = {"key": jax.random.key(0), "replicates": RUNS}
    first, _ = clocked(lambda: sl.simulate(task, algorithm, **call))
    warm, _ = best(lambda: sl.simulate(task, algorithm, **call), 3)
    full, _ = best(lambda: sl.simulate(task, algorithm, full=True, **call), 2)
    k, v = starts(task.dim)
    single, _ = best(lambda: drawn_in_numpy(task, 1000, 5, k[0], v[0]), 3)
    ours = warm / RUNS / algorithm.steps
    sides = [
        ("`simulate(full=True)`", full / RUNS / algorithm.steps),
        ("NumPy, one run after the other", single / 1000),
    ]
    rows = [("`simulate`, warm", f"{1e6 * ours:.2f} us", "", "")]
    rows += [
        (name, f"{1e6 * cost:.2f} us", f"{cost / ours:.1f}", judged(cost / ours, STREAM_GOAL)) for name, cost in sides
    ]
    print(f"## one-pass descent, {RUNS} runs, batches of 5, d = 80, L = 10 (compiling: {first - warm:.1f} s)\n")
    table(("side", "CPU a step and run", "times ours", "goal"), rows)


# --------------------------------------------------------------------------------------------------------------------


def benchmark_self_attention() -> None:
    """The tables of the other system."""
    for title, head, rows in self_attention_peers.measure():
        print(f"## {title}\n")
        table(head, rows)


def main() -> None:
    """Run the parts that were asked for."""
    parts = {
        "population": benchmark_population,
        "stream": benchmark_stream,
        "self-attention": benchmark_self_attention,
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(parts), help="parts, separated by commas")
    chosen = parser.parse_args().only.split(",")
    if unknown := [name for name in chosen if name not in parts]:
        parser.error(f"--only {unknown[0]!r}; accepted: {', '.join(parts)}")
    print("# Attention that regresses\n")
    print(f"{processor()}, {one_thread.CPUS} CPUs, one thread on one of them, load average {os.getloadavg()[0]:.1f}")
    libraries = ["jax", "numpy", "scipy", "optax"] + ["torch"] * (find_spec("torch") is not None)
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in libraries) + "\n")
    for name in chosen:
        parts[name]()
    if CLOCK["cpu"] > 0:
        print(f"Wall clock over CPU time in the timed parts: {CLOCK['wall'] / CLOCK['cpu']:.2f}; 1 on a quiet machine.")


if __name__ == "__main__":
    main()
