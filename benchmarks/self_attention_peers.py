"""Self-attention against what one would write without this library: the gradient on a sequence, the optimiser.

    python benchmarks/self_attention_peers.py

Prints Markdown tables; "goal" says met, or by how much a ratio misses it. One thread each side, on one CPU; times are
CPU seconds of the process, each the least of several after a warm-up. Nothing here is part of the tests.

What is compared
* gradient: jax.grad of `loss` in both matrices, n = 4000 tokens, d = m = 16, against torch.autograd and jax.grad of the
  formula as it stands, with the n x n softmax, and against torch's fused attention (no goal). Peak memory is that of
  one gradient in a process of its own: what its resident set grows by over what the same process holds after
  compiling, importing and a small warm-up. Goals: 1.5 times faster than the plain forms, with a tenth of the memory.
* optimiser: steps and time to 1e-10 of the zero map's loss on the population loss at condition number 100, from one
  random start: `PreconditionedDescent("full")`, a call of `train`, against optax's Adam at the best of several rates
  and its L-BFGS, each a compiled loop that stops there.
"""

from __future__ import annotations

import one_thread

# isort: split
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sparse_tokens import best, milliseconds, processor, table

from solvable.attention import self_attention as sa

N, DIM = 4000, 16
FASTER, SMALLER = 1.5, 10.0
OURS = "solvable"
SIDES = (OURS, "jax.grad, n x n softmax", "torch.autograd, n x n softmax", "torch.autograd, fused attention")
REACHED, CONDITION, MOST = 1e-10, 100.0, 200_000
ADAM_RATES = (1e-2, 3e-2, 1e-1, 3e-1, 1.0)


# --- gradient -------------------------------------------------------------------------------------------------------


def arrays(n: int, dtype: Any) -> tuple[np.ndarray, ...]:
    """A, B, X and Y: broad attention on Gaussian tokens."""
    draw = np.random.default_rng(0)
    shapes = ((DIM, DIM, 0.25), (DIM, DIM, 0.04), (n, DIM, 1.0), (n, DIM, 1.0))
    return tuple((size * draw.normal(size=(rows, columns))).astype(dtype) for rows, columns, size in shapes)


def plain_loss(params: sa.Parameters, tokens: Any, targets: Any) -> Any:
    """The formula as it stands."""
    attention = jax.nn.softmax(tokens @ params.score @ tokens.T, axis=-1)
    return jnp.sum((attention @ tokens @ params.value.T - targets) ** 2) / (2 * tokens.shape[0])


def gradient_call(side: str, n: int, dtype: Any) -> Callable[[], tuple[Any, Any]]:
    """A call of a side that gives both gradients, compiled where there is something to compile."""
    value, score, tokens, targets = arrays(n, dtype)
    if side.startswith("torch"):
        import torch

        torch.set_num_threads(1)
        weights = [torch.tensor(part, requires_grad=True) for part in (value, score)]
        inputs, goals = torch.tensor(tokens), torch.tensor(targets)

        def torch_gradient() -> tuple[Any, Any]:
            queries = inputs @ weights[1]
            if "fused" in side:
                parts = (part[None, None] for part in (queries, inputs, inputs))
                mixed = torch.nn.functional.scaled_dot_product_attention(*parts, scale=1.0)[0, 0]
            else:
                mixed = torch.softmax(queries @ inputs.T, -1) @ inputs
            loss = ((mixed @ weights[0].T - goals) ** 2).sum() / (2 * n)
            return torch.autograd.grad(loss, weights)

        return torch_gradient
    with jax.enable_x64(dtype == np.float64):
        params = sa.Parameters(jnp.asarray(value), jnp.asarray(score))
        data = jnp.asarray(tokens), jnp.asarray(targets)
        compiled = jax.jit(jax.grad(sa.loss if side == OURS else plain_loss)).lower(params, *data).compile()

    def jax_gradient() -> tuple[Any, Any]:
        found = jax.block_until_ready(compiled(params, *data))
        return found.value, found.score

    return jax_gradient


def memory(side: str, dtype: str) -> float:
    """Megabytes that one gradient adds to a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--memory", side, dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    return float(json.loads(done.stdout.splitlines()[-1]))


def resident(which: str) -> float:
    """VmRSS, what the process holds, or VmHWM, its peak, in megabytes (Linux)."""
    return 1.024e-3 * int(Path("/proc/self/status").read_text().split(f"{which}:")[1].split()[0])


def measure_memory(side: str, dtype: str) -> None:
    """What the measured process does: one number on standard output."""
    kind = np.dtype(dtype)
    gradient_call(side, 64, kind)()
    call = gradient_call(side, N, kind)
    base = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    call()
    print(json.dumps(resident("VmHWM") - base))


def gradient_rows() -> list[tuple[Any, ...]]:
    """The lines of the first table."""
    rows = []
    for dtype in ("float32", "float64"):
        found: dict[str, tuple[float, float]] = {}
        reference = None
        for side in SIDES:
            if side.startswith("torch") and find_spec("torch") is None:
                continue
            seconds, gradient = best(gradient_call(side, N, np.dtype(dtype)), 7)
            megabytes = memory(side, dtype)
            found[side] = seconds, megabytes
            flat = np.concatenate([np.asarray(part, np.float64).ravel() for part in gradient])
            reference = flat if reference is None else reference
            error = np.max(np.abs(flat - reference)) / np.max(np.abs(reference))
            cells = (dtype, side, milliseconds(seconds), f"{megabytes:.0f} MB")
            if side == OURS:
                rows.append((*cells, "", "", "", ""))
                continue
            faster, smaller = seconds / found[OURS][0], megabytes / found[OURS][1]
            verdict = "" if "fused" in side else f"time {judged(faster, FASTER)}, memory {judged(smaller, SMALLER)}"
            rows.append((*cells, f"{faster:.1f}", f"{smaller:.0f}", f"{error:.0e}", verdict))
    return rows


def judged(value: float, goal: float) -> str:
    """Whether a ratio reaches its goal."""
    return "met" if value >= goal else f"missed: {value / goal:.0%} of {goal:g} times"


# --- optimiser ------------------------------------------------------------------------------------------------------


def optimiser_rows() -> list[tuple[Any, ...]]:
    """The lines of the second table."""
    task = sa.LinearMap.conditioned(condition=CONDITION)
    rate = float(sa.best_learning_rate(task))
    begun = sa.PreconditionedDescent("full", rate, 1, init="random").train(task, at=[0])
    start, scale = begun.parameters, 0.5 * np.sum((task.matrix @ task.covariance) * task.matrix)
    many = sa.PreconditionedDescent("full", rate, 500).train(task, init=start)
    steps = int(np.argmax(many.losses <= REACHED * scale))
    algorithm = sa.PreconditionedDescent("full", rate, steps)
    seconds, run = best(lambda: algorithm.train(task, init=start, at=[steps]), 7)
    rows = [
        (f'"full", rate 1/(s_1 + s_r) = {rate:.2f}', steps, milliseconds(seconds), f"{run.losses[-1] / scale:.0e}", "")
    ]
    with jax.enable_x64(True):
        inside = jax.jit(lambda params: algorithm.train(task, init=params, at=[steps]).parameters)
        alone, _ = best(lambda: jax.block_until_ready(inside(start)), 7)
        rows.append(("the same inside jit, without the call's checks", steps, milliseconds(alone), "", ""))
        pair = jnp.asarray(start.value), jnp.asarray(start.score)
        matrix, covariance = jnp.asarray(task.matrix), jnp.asarray(task.covariance)

        def loss(pair: Any) -> Any:
            error = pair[0] @ covariance @ pair[1].T - matrix
            return 0.5 * jnp.sum((error @ covariance) * error)

        sides: list[tuple[str, Any]] = [(f"Adam, rate {rate:g}", optax.adam(rate)) for rate in ADAM_RATES]
        timed = [(name, *descended(optimiser, loss, pair, scale)) for name, optimiser in sides]
        settled = [one for one in timed if one[3] <= REACHED] or timed
        fastest = min(settled, key=lambda one: one[1])
        for name, taken, cost, left in (fastest, ("L-BFGS", *descended(optax.lbfgs(), loss, pair, scale))):
            words = name if left <= REACHED else f"{name} (not reached)"
            rows.append(
                (
                    words,
                    taken,
                    milliseconds(cost),
                    f"{left:.0e}",
                    f"{taken / steps:.0f}, {cost / seconds:.1f} ({cost / alone:.1f} in jit)",
                )
            )
    return rows


def descended(optimiser: Any, loss: Callable[[Any], Any], start: Any, scale: float) -> tuple[int, float, float]:
    """Steps, seconds and the loss left, in units of the zero map's, of a compiled loop."""
    kept = optax.tree.get(optimiser.init(start), "grad") is not None  # a line search has the gradient already
    value_and_grad = optax.value_and_grad_from_state(loss) if kept else lambda pair, state: plain(pair)
    plain, optimiser = jax.value_and_grad(loss), optax.with_extra_args_support(optimiser)

    @jax.jit
    def run(pair: Any) -> tuple[Any, Any]:
        def proceed(carry: Any) -> Any:
            pair, _, count = carry
            return (loss(pair) > REACHED * scale) & (count < MOST)

        def step(carry: Any) -> Any:
            pair, state, count = carry
            value, gradient = value_and_grad(pair, state=state)
            updates, state = optimiser.update(gradient, state, pair, value=value, grad=gradient, value_fn=loss)
            return optax.apply_updates(pair, updates), state, count + 1

        pair, _, count = jax.lax.while_loop(proceed, step, (pair, optimiser.init(pair), jnp.zeros((), int)))
        return count, loss(pair) / scale

    seconds, (count, left) = best(lambda: jax.block_until_ready(run(start)), 3)
    return int(count), seconds, float(left)


# --------------------------------------------------------------------------------------------------------------------


def measure() -> list[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]]:
    """The tables, each its title, its head and its rows."""
    head = ("dtype", "side", "CPU", "memory", "times our time", "times our memory", "largest difference", "goal")
    title = f"gradient of the loss in A and B, n = {N}, d = m = {DIM}"
    second = ("optimiser", "steps", "CPU", "loss left", "times our steps, time")
    name = f"population loss to {REACHED:g} of the zero map's, condition number {CONDITION:g}, d = m = 5, float64"
    return [(title, head, gradient_rows()), (name, second, optimiser_rows())]


def main() -> None:
    """Print the tables."""
    if sys.argv[1:2] == ["--memory"]:
        measure_memory(*sys.argv[2:4])
        return
    print(f"{processor()}, {one_thread.CPUS} CPUs, one thread on one of them\n")
    for title, head, rows in measure():
        print(f"## {title}\n")
        table(head, rows)


if __name__ == "__main__":
    main()
