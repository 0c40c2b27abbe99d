"""One step of a two-layer network whose last layer is solved, against end-to-end gradient descent (optax.sgd).

    python benchmarks/closed_form_head_step.py [--repeats 40]

Prints a Markdown table. A batch of inputs of dimension 256, one layer of p tanh units, 10 outputs, float32, a compiled
step with the parameters donated, one thread on one CPU. Times are the median over the repeats; the two take turns.
"""

from __future__ import annotations

import one_thread  # noqa: F401

# isort: split
import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from solvable.optim import closed_form_head

INPUTS, OUTPUTS, RIDGE, PROXIMITY, RATE = 256, 10, 1e-4, 1.0, 1e-2
SIZES = [(1024, 64), (1024, 256), (1024, 1024), (128, 1024)]  # rows of a batch, p
Params = dict[str, Any]


def loss(hidden: Any, last: Any, inputs: Any, targets: Any) -> Any:
    """Squared error and ridge."""
    residual = jnp.tanh(inputs @ hidden) @ last - targets
    return jnp.sum(residual**2) / (2 * len(inputs)) + RIDGE * jnp.sum(last**2) / 2


def trained(params: Params, inputs: Any, targets: Any) -> Params:
    """A step of both layers."""
    sgd = optax.sgd(RATE)
    gradients = jax.grad(lambda both: loss(both["hidden"], both["last"], inputs, targets))(params)
    return optax.apply_updates(params, sgd.update(gradients, sgd.init(params), params)[0])


def solved(params: Params, inputs: Any, targets: Any) -> Params:
    """A step of the hidden layer, then the proximal solve of the last one."""
    sgd, hidden = optax.sgd(RATE), params["hidden"]
    gradient = jax.grad(loss)(hidden, params["last"], inputs, targets)
    hidden = optax.apply_updates(hidden, sgd.update(gradient, sgd.init(hidden), hidden)[0])
    penalties = {"ridge": RIDGE, "proximity": PROXIMITY, "previous": params["last"]}
    return {"hidden": hidden, "last": closed_form_head(jnp.tanh(inputs @ hidden), targets, **penalties).weights}


def milliseconds(rows: int, p: int, repeats: int) -> list[float]:
    """Median time of a step of either."""
    rng = np.random.default_rng(0)
    inputs, targets, hidden, last = (
        jnp.asarray(rng.normal(size=shape).astype(np.float32))
        for shape in ((rows, INPUTS), (rows, OUTPUTS), (INPUTS, p), (p, OUTPUTS))
    )
    steps = [jax.jit(step, donate_argnums=0) for step in (trained, solved)]
    both = [{"hidden": hidden / 16 + 0, "last": 0 * last} for _ in steps]
    times = np.zeros((repeats + 1, len(steps)))
    for repeat in range(repeats + 1):
        for which, step in enumerate(steps):
            begin = time.perf_counter()
            both[which] = jax.block_until_ready(step(both[which], inputs, targets))
            times[repeat, which] = 1e3 * (time.perf_counter() - begin)
    return list(np.median(times[1:], axis=0))


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=40)
    repeats = parser.parse_args().repeats
    print("| rows of a batch | p | optax.sgd end to end, ms | last layer solved, ms | ratio |\n|---|---|---|---|---|")
    for rows, p in SIZES:
        end_to_end, closed = milliseconds(rows, p, repeats)
        print(f"| {rows} | {p} | {end_to_end:.2f} | {closed:.2f} | {closed / end_to_end:.1f} |", flush=True)


if __name__ == "__main__":
    main()
