"""One step of mirror descent on ten million parameters, against SGD and Adam, in optax and in torch.

    python benchmarks/mirror_descent_step.py [--repeats 40]

Prints a Markdown table. Twenty float32 leaves of 500 x 1000; for optax one compiled step (update and apply_updates)
with parameters and state donated; one thread on one CPU. Times are the median over the repeats. The optimisers take
turns, so that a busy machine is busy for all and none finds its arrays in the cache; the ratio is to plain SGD of the
same library. torch is left out where it is not installed.
"""

from __future__ import annotations

import one_thread  # noqa: F401

# isort: split
import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import optax

from solvable.optim import mirror_descent

LEAVES, SHAPE, RATE = 20, (500, 1000), 1e-3
EXPONENTS = (1.1, 1.3, 1.5, 2.0, 3.0)


def tree(seed: int) -> list[np.ndarray]:
    """The leaves, N(0, 0.05^2)."""
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=0.05, size=SHAPE).astype(np.float32) for _ in range(LEAVES)]


def compiled(optimiser: optax.GradientTransformation) -> Callable[[], None]:
    """One step of an optax optimiser, warmed up."""
    params, gradients = [jnp.asarray(leaf) for leaf in tree(0)], [jnp.asarray(leaf) for leaf in tree(1)]
    carry = [params, optimiser.init(params)]

    def step(params, state, gradients):
        updates, state = optimiser.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step, donate_argnums=(0, 1))

    def run() -> None:
        carry[:] = step(*carry, gradients)
        jax.block_until_ready(carry)

    run()
    return run


def torch_steps() -> dict[str, Callable[[], None]]:
    """The same for torch."""
    if find_spec("torch") is None:
        return {}
    import torch

    from solvable.optim.torch import MirrorDescent

    torch.set_num_threads(1)
    params = [torch.nn.Parameter(torch.from_numpy(leaf)) for leaf in tree(0)]
    for w, leaf in zip(params, tree(1), strict=True):
        w.grad = torch.from_numpy(leaf)
    steps = {
        "SGD": torch.optim.SGD(params, RATE),
        "SGD, momentum 0.9": torch.optim.SGD(params, RATE, momentum=0.9),
        "Adam": torch.optim.Adam(params, RATE),
    }
    for normalize in (False, True):
        steps |= {label(p, normalize): MirrorDescent(params, RATE, p, normalize) for p in EXPONENTS}
    for optimiser in steps.values():
        optimiser.step()
    return {name: optimiser.step for name, optimiser in steps.items()}


def label(p: float, normalize: bool) -> str:
    """The row of the table."""
    return f"mirror descent, p = {p:g}" + (", normalised" if normalize else "")


def measured(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median milliseconds of each."""
    times = {name: np.zeros(repeats) for name in steps}
    for repeat in range(repeats):
        for name, run in steps.items():
            begin = time.perf_counter()
            run()
            times[name][repeat] = 1e3 * (time.perf_counter() - begin)
    return {name: float(np.median(each)) for name, each in times.items()}


def report(repeats: int) -> dict[str, dict[str, float]]:
    """Measure and print the table: the ratios to plain SGD of each library."""
    ours = {
        "SGD": compiled(optax.sgd(RATE)),
        "SGD, momentum 0.9": compiled(optax.sgd(RATE, momentum=0.9)),
        "Adam": compiled(optax.adam(RATE)),
    }
    for normalize in (False, True):
        ours |= {label(p, normalize): compiled(mirror_descent(RATE, p, normalize)) for p in EXPONENTS}
    spent = {"optax": measured(ours, repeats), "torch": measured(torch_steps(), repeats)}
    ratios = {library: {name: each / times["SGD"] for name, each in times.items()} for library, times in spent.items()}
    print("| step | optax, ms | ratio to SGD | torch, ms | ratio to SGD |\n|---|---|---|---|---|")
    for name in ours:
        cells = [
            cell
            for library, times in spent.items()
            for cell in ([f"{times[name]:.1f}", f"{ratios[library][name]:.1f}"] if times else ["", ""])
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    return {library: ratio for library, ratio in ratios.items() if ratio}


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=40)
    report(parser.parse_args().repeats)


if __name__ == "__main__":
    main()
