"""A small network on real digits: its last layer trained, or solved at every step by `solvable.optim.closed_form_head`.

    python examples/two_layer_head.py [--seeds 8] [--out two_layer_head.png] [--quick]

The network is a hidden layer of 64 tanh units and a linear layer, trained on the squared error of the ten indicators of
scikit-learn's bundled 8 x 8 digits, with a small ridge on the last layer alone. Full batch: 200 steps of gradient
descent on both layers (with one learning rate, or one for each layer), of Adam, or on the hidden layer alone with the
last one solved before each step. Batches of 8, 32 and 128: 1000 steps, the last layer solved after each step of the
hidden layer near to where it was (`proximity`), or before the step for comparison; proximity 0 is a ridge regression on
the batch alone.

Every learning rate is the one of a grid, fixed below, with the smallest training loss after the last step; the test
digits choose nothing. Prints losses and accuracies with standard errors over the seeds, which draw the start and the
batches, and draws the losses. Adam's row shows what tuning can do; for batches the comparison is gradient descent with
two learning rates, which is better there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from solvable.lab.figures import matplotlib
from solvable.lab.figures.plot import FAINT, Axis, Band, Key, Look, Mark, Plot, Rule, Sheet
from solvable.lab.figures.theme import HUES
from solvable.optim import closed_form_head

WIDTH, RIDGE = 64, 1e-4
RATES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
ONE_RATE = [(rate, rate) for rate in (0.03, 0.1, 0.3, 1.0)]
TWO_RATES = [*product(RATES, (0.01, 0.03, 0.1, 0.3))]  # of the hidden and of the last layer
ADAM = [(rate, rate) for rate in (1e-3, 3e-3, 1e-2, 3e-2)]
PROXIMITIES = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
Params = dict[str, jax.Array]


def digits() -> list[np.ndarray]:
    """Training and test images (n, 64), training and test indicators (n, 10); both centred."""
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    images, indicators = (images - images.mean(axis=0)) / 8, np.eye(10)[labels] - 0.1
    parts = train_test_split(images, indicators, test_size=0.4, stratify=labels, random_state=0)
    return [np.float32(part) for part in parts]


def features(hidden: Params, images: jax.Array) -> jax.Array:
    """The tanh units and a one, (n, WIDTH + 1)."""
    units = jnp.tanh(images @ hidden["weights"] + hidden["bias"])
    return jnp.concatenate([units, jnp.ones((len(images), 1), units.dtype)], axis=1)


def loss(hidden: Params, last: jax.Array, images: jax.Array, targets: jax.Array) -> jax.Array:
    """Squared error and ridge, as in `closed_form_head`."""
    residual = features(hidden, images) @ last - targets
    return jnp.sum(residual**2) / (2 * len(images)) + RIDGE * jnp.sum(last**2) / 2


def trained(how: str, steps: int, batch: int, data: list[np.ndarray]) -> Callable[..., Any]:
    """A function of (key, (rate of the hidden layer, rate of the last), proximity): losses (steps,) and test accuracy.

    `how`: "sgd" and "adam" train both layers; "solve" solves the last layer and then takes a step of the hidden one;
    "step, solve" takes the step first, at the last layer as it was. The losses are those on the whole training set
    before each step for a full batch; for smaller batches only the one after the last step is computed.
    """
    train, test, train_targets, test_targets = map(jnp.asarray, data)
    n, full = len(train), batch >= len(train)

    def run(key: jax.Array, rates: jax.Array, proximity: jax.Array) -> tuple[jax.Array, jax.Array]:
        begin, order = jax.random.split(key)
        weights = jax.random.normal(begin, (64, WIDTH)) / 8
        hidden, last = {"weights": weights, "bias": jnp.zeros(WIDTH)}, jnp.zeros((WIDTH + 1, 10))
        algorithm = optax.adam if how == "adam" else optax.sgd
        first_layer, second_layer = algorithm(rates[0]), algorithm(rates[1])

        def solved(hidden: Params, last: jax.Array, images: jax.Array, targets: jax.Array) -> Any:
            near = {} if full else {"proximity": proximity, "previous": last}
            return closed_form_head(features(hidden, images), targets, ridge=RIDGE, **near)

        def step(carry: Any, key: jax.Array) -> Any:
            hidden, last, state, last_state = carry
            chosen = jnp.arange(n) if full else jax.random.choice(key, n, (batch,), replace=False)
            part = train[chosen], train_targets[chosen]
            if how == "solve":
                last = solved(hidden, last, *part).weights
            value, (gradient, last_gradient) = jax.value_and_grad(loss, argnums=(0, 1))(hidden, last, *part)
            update, state = first_layer.update(gradient, state, hidden)
            hidden = optax.apply_updates(hidden, update)
            if how == "step, solve":
                last = solved(hidden, last, *part).weights
            elif how != "solve":
                update, last_state = second_layer.update(last_gradient, last_state, last)
                last = optax.apply_updates(last, update)
            return (hidden, last, state, last_state), value if full else None

        start = hidden, last, first_layer.init(hidden), second_layer.init(last)
        (hidden, last, *_), losses = jax.lax.scan(step, start, jax.random.split(order, steps))
        if full and how == "solve":
            last = solved(hidden, last, train, train_targets).weights
        final = loss(hidden, last, train, train_targets)
        guesses = jnp.argmax(features(hidden, test) @ last, axis=1)
        accuracy = jnp.mean(guesses == jnp.argmax(test_targets, axis=1), dtype=jnp.float32)
        return jnp.append(losses, final) if full else final[None], accuracy

    return run


def best(
    how: str, grid: list[tuple[float, float]], proximities: tuple[float, ...], keys: jax.Array, *setting: Any
) -> tuple[list[tuple[float, float]], np.ndarray, np.ndarray]:
    """Per proximity: the rates of smallest mean final loss, losses (proximity, seed, step), accuracies (..., seed)."""
    over_seeds = jax.vmap(trained(how, *setting), in_axes=(0, None, None))
    over_settings = jax.jit(jax.vmap(over_seeds, in_axes=(None, 0, 0)))
    pairs = [*product(proximities, grid)]
    settings = (np.float32([rates for _, rates in pairs]), np.float32([proximity for proximity, _ in pairs]))
    shape = (len(proximities), len(grid), len(keys))
    losses, accuracies = map(np.asarray, over_settings(keys, *settings))
    losses, accuracies = losses.reshape(*shape, -1), accuracies.reshape(shape)
    final = losses[..., -1].mean(axis=-1)
    chosen = np.argmin(np.where(np.isfinite(final), final, np.inf), axis=1)
    rows = np.arange(len(proximities))
    return [grid[i] for i in chosen], losses[rows, chosen], accuracies[rows, chosen]


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over the first axis."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


ORDERS = {"step, then solve": ("solid", "circle"), "solve, then step": ("dash", "cross")}


def show(name: str, setting: str, rates: tuple[float, float], final: np.ndarray, accuracy: np.ndarray) -> None:
    """One row of the table."""
    (value, error), (share, share_error) = mean_and_error(final), mean_and_error(accuracy)
    used = f"{rates[0]:g}" if rates[0] == rates[1] else f"{rates[0]:g}, {rates[1]:g}"
    print(f"{name:<34}{setting:>10}{used:>12}{value:>10.5f}{error:>9.5f}{share:>10.4f}{share_error:>9.4f}", flush=True)


def draw(path: Path, curves: dict[str, np.ndarray], sweeps: dict[str, Any], peers: dict[int, np.ndarray]) -> None:
    """Full batch: loss against steps. Batches: final loss against proximity, the lines being gradient descent."""
    left: list[Any] = []
    keys = []
    for (name, losses), hue in zip(curves.items(), HUES, strict=False):
        value, error = mean_and_error(losses)
        steps = np.arange(len(value), dtype=float)
        left.append(Band(steps, value - error, value + error, Look(hue, opacity=0.3)))
        left.append(Mark(steps, value, Look(hue, "solid"), name))
        keys.append(Key(name, Look(hue, "solid")))
    full = Plot(Axis("steps"), Axis("training loss", log=True), left, keys, "full batch")
    places = np.log10(np.maximum(PROXIMITIES, 1e-3))  # proximity 0 is drawn one place to the left
    hues = dict(zip(dict.fromkeys(batch for _, batch in sweeps), HUES[3:], strict=False))
    right: list[Any] = [
        Rule(float(mean_and_error(final)[0]), Look(hues[batch], "dot"), label=f"batches of {batch}")
        for batch, final in peers.items()
    ]
    for (order, batch), final in sweeps.items():
        value, error = mean_and_error(np.moveaxis(final, -1, 0))
        right.append(Mark(places, value, Look(hues[batch], *ORDERS[order]), f"{order}, batches of {batch}", error))
    told = [Key(f"batches of {batch}", Look(hue, "solid")) for batch, hue in hues.items()]
    told += [Key(order, Look(FAINT, *look)) for order, look in {order: ORDERS[order] for order, _ in sweeps}.items()]
    told += [Key("gradient descent, two rates", Look(FAINT, "dot"))] if peers else []
    names = dict(zip(places.tolist(), ["0", *(f"{proximity:g}" for proximity in PROXIMITIES[1:])], strict=True))
    x, y = Axis("proximity", names=names), Axis("training loss after the last step", log=True)
    matplotlib.draw(Sheet([full, Plot(x, y, right, told, "batches")])).savefig(path, dpi=200)


def main(arguments: list[str] | None = None) -> None:
    """Train, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=8, help="runs of everything, at least 2")
    parser.add_argument("--out", type=Path, default=Path("two_layer_head.png"), help="where the figure goes")
    parser.add_argument("--quick", action="store_true", help="few steps, and less to compare with")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        sys.exit(f"seeds={options.seeds} is out of range; accepted: a whole number >= 2")
    if options.out.is_dir() or not options.out.parent.is_dir():
        sys.exit(f"out={str(options.out)!r} cannot be written; accepted: a file in a folder that exists")
    data, keys = digits(), jax.random.split(jax.random.key(0), options.seeds)
    n, shorter = len(data[0]), 10 if options.quick else 1
    print(f"{n} training digits, {len(data[1])} test digits, {options.seeds} seeds, ridge {RIDGE:g}")
    print(f"\n{'':<34}{'proximity':>10}{'rates':>12}{'train':>10}{'+-':>9}{'accuracy':>10}{'+-':>9}")

    same = [(rate, rate) for rate in RATES]
    methods = {
        "gradient descent": ("sgd", ONE_RATE),
        "gradient descent, two rates": ("sgd", TWO_RATES),
        "Adam": ("adam", ADAM),
        "last layer solved": ("solve", same),
    }
    orders = {"step, then solve": "step, solve", "solve, then step": "solve"}
    if options.quick:
        methods = {name: methods[name] for name in ("gradient descent", "last layer solved")}
        del orders["solve, then step"]
    curves, sweeps, peers = {}, {}, {}
    print(f"full batch, {200 // shorter} steps")
    for name, (how, grid) in methods.items():
        rates, losses, accuracies = best(how, grid, (0.0,), keys, 200 // shorter, n, data)
        curves[name] = losses[0]
        show(name, "", rates[0], losses[0, :, -1], accuracies[0])
    for batch in (32,) if options.quick else (8, 32, 128):
        print(f"batches of {batch}, {1000 // shorter} steps")
        rest = keys, 1000 // shorter, batch, data
        for name, (how, grid) in methods.items():
            if how == "solve" or options.quick:
                continue
            rates, losses, accuracies = best(how, grid, (0.0,), *rest)
            if how == "sgd":
                peers[batch] = losses[0, :, -1]
            show(name, "", rates[0], losses[0, :, -1], accuracies[0])
        for order, how in orders.items():
            if how == "solve" and batch != 32:
                continue
            rates, losses, accuracies = best(how, same, PROXIMITIES, *rest)
            sweeps[order, batch] = losses[..., -1]
            for row, proximity in enumerate(PROXIMITIES):
                show(order, f"{proximity:g}", rates[row], losses[row, :, -1], accuracies[row])
    print(
        "\ntrain: training loss after the last step. accuracy: of the test digits. +-: standard error over the seeds."
    )
    draw(options.out, curves, sweeps, peers)
    print(f"\nfigure: {options.out}")


if __name__ == "__main__":
    main()
