"""MNIST-bags: is one of L handwritten digits a 9? Accuracy against L, and where the attention goes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from bags_tables import folder, mean_and_error, save, share, styled, table, with_error
from scipy import stats

from solvable.bags import AttentionClassifier, PooledClassifier
from solvable.bags.resampling import holm
from solvable.lab.figures.theme import HUES, THEMES

LENGTHS, COUNTS, TEST, SEEDS, TARGET = (5, 10, 20, 50), (200, 1000), 1000, 10, 9
DEFAULT, ONE_UNIT, MEAN = "default", "standardize=False", "mean"
ALONE, SLOWER = "standardize=False, attention alone", "standardize=False, head_rate=1"
MODELS = {
    DEFAULT: AttentionClassifier(),
    ONE_UNIT: AttentionClassifier(standardize=False),
    ALONE: AttentionClassifier(standardize=False, pooling="attention"),
    SLOWER: AttentionClassifier(standardize=False, head_rate=1.0),
    MEAN: PooledClassifier(pooling="mean"),
    "min and max": PooledClassifier(pooling=("min", "max")),
}


class Draw(NamedTuple):
    """Bags (n, L, 784) of pixels between 0 and 1, labels (n,), and where the 9 is in positive bags, (n,)."""

    bags: np.ndarray
    labels: np.ndarray
    places: np.ndarray


def read_images(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """(images (10000, 784) between 0 and 1, digits)."""
    place = folder(data, "img_mnist_t10k")
    with gzip.open(place / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784).astype(np.float32) / 255
    with gzip.open(place / "t10k-labels-idx1-ubyte.gz") as file:
        return images, np.frombuffer(file.read(), np.uint8, offset=8)


def draw_bags(images: np.ndarray, digits: np.ndarray, count: int, length: int, rng: np.random.Generator) -> Draw:
    """Every second bag is positive: one of its digits, anywhere, is a 9, which occurs in no other bag."""
    nines, others = np.flatnonzero(digits == TARGET), np.flatnonzero(digits != TARGET)
    labels, places = np.arange(count) % 2, rng.integers(length, size=count)
    chosen = rng.choice(others, size=(count, length))
    positive = np.flatnonzero(labels)
    chosen[positive, places[positive]] = rng.choice(nines, size=len(positive))
    return Draw(images[chosen], labels, places)


def measure(
    images: np.ndarray, digits: np.ndarray, seeds: int, lengths: tuple[int, ...], counts: tuple[int, ...], test: int
) -> tuple[dict[Any, list[float]], dict[Any, list[float]], dict[int, tuple[Draw, list[np.ndarray]]]]:
    """Test accuracies and shares of found 9s by (model, training bags, L), and the last seed's attention.

    The first 5000 images make the training bags, the others the test bags. A seed's smaller training set is the
    beginning of its larger one.
    """
    accuracy: dict[Any, list[float]] = {}
    found: dict[Any, list[float]] = {}
    shown = {}
    half = len(images) // 2
    for length in lengths:
        for seed in range(seeds):
            rng = np.random.default_rng([seed, length])
            train = draw_bags(images[:half], digits[:half], max(counts), length, rng)
            held = draw_bags(images[half:], digits[half:], test, length, rng)
            positive = held.labels == 1
            for count in counts:
                for name, model in MODELS.items():
                    model.fit(train.bags[:count], train.labels[:count])
                    right = float(np.mean(model.predict(held.bags) == held.labels))
                    accuracy.setdefault((name, count, length), []).append(right)
                    if isinstance(model, AttentionClassifier) and name != ALONE:  # its query is that of ONE_UNIT
                        weights = model.attention(held.bags)
                        top = np.array([np.argmax(bag) for bag in weights])
                        hits = float(np.mean((top == held.places)[positive]))
                        found.setdefault((name, count, length), []).append(hits)
                        if name == ONE_UNIT and count == max(counts):
                            shown[length] = (held._replace(bags=held.bags[:40]), weights[:40])
    return accuracy, found, shown


def above_chance(accuracy: dict[Any, list[float]]) -> dict[Any, bool]:
    """Whether a cell is above one half: one-sided t test over the seeds, Holm's correction over all cells, 5 %."""
    keys = list(accuracy)
    tests: list[Any] = [stats.ttest_1samp(accuracy[key], 0.5, alternative="greater") for key in keys]
    return dict(zip(keys, holm(np.array([test.pvalue for test in tests])) <= 0.05, strict=True))


def print_tables(accuracy: dict[Any, list[float]], found: dict[Any, list[float]]) -> None:
    """Accuracies, paired differences from mean pooling, shares of found 9s."""
    claimed = above_chance(accuracy)
    counts, lengths = sorted({key[1] for key in accuracy}), sorted({key[2] for key in accuracy})
    rows = [(count, length) for count in counts for length in lengths]

    def cell(key: Any) -> str:
        return with_error(*mean_and_error(accuracy[key])) + ("" if claimed[key] else " (chance)")

    print("Test accuracy:\n")
    table(
        ["training bags", "L", *MODELS],
        [[str(n), str(length), *(cell((name, n, length)) for name in MODELS)] for n, length in rows],
    )
    print("Attention minus mean pooling, on the same bags:\n")
    attentive = [name for name, model in MODELS.items() if isinstance(model, AttentionClassifier)]

    def gain(name: str, n: int, length: int) -> str:
        return with_error(*mean_and_error(np.subtract(accuracy[name, n, length], accuracy[MEAN, n, length])))

    table(
        ["training bags", "L", *attentive],
        [[str(n), str(length), *(gain(name, n, length) for name in attentive)] for n, length in rows],
    )
    print("Share of positive test bags in which the 9 has the largest weight:\n")
    searching = [name for name in attentive if name != ALONE]
    table(
        ["training bags", "L", *searching, "1/L"],
        [
            [str(n), str(x), *(with_error(*mean_and_error(found[name, n, x])) for name in searching), share(1 / x)]
            for n, x in rows
        ],
    )
    largest = [(key, name) for key in rows if key[0] == max(counts) for name in attentive]
    behind = [
        f"{name} at L = {x}"
        for (n, x), name in largest
        if np.mean(np.subtract(accuracy[name, n, x], accuracy[MEAN, n, x]))
        <= 2 * mean_and_error(np.subtract(accuracy[name, n, x], accuracy[MEAN, n, x]))[1]
    ]
    print(
        f"With {max(counts)} bags attention is above mean pooling by more than two standard errors everywhere", end=""
    )
    print(f" but for: {'; '.join(behind)}.\n" if behind else ".\n")


def draw_accuracy(accuracy: dict[Any, list[float]], figures: Path | None) -> None:
    """Accuracy against L, a panel for each number of training bags."""
    counts, lengths = sorted({key[1] for key in accuracy}), sorted({key[2] for key in accuracy})
    figure, axes = plt.subplots(1, len(counts), figsize=(6.4, 3.1), sharey=True, squeeze=False, layout="constrained")
    for panel, count in zip(axes[0], counts, strict=True):
        panel.axhline(0.5, color=THEMES["light"].faint, linewidth=0.8, linestyle=(0, (4, 3)))
        for place, name in enumerate(MODELS):
            means, errors = zip(*(mean_and_error(accuracy[name, count, x]) for x in lengths), strict=True)
            x = np.array(lengths) * 1.025 ** (place - 2.5)  # side by side, so that no error bar hides another
            label = f"attention, {name}" if isinstance(MODELS[name], AttentionClassifier) else f"{name} pooling"
            panel.errorbar(
                x, means, errors, color=HUES[place], marker="os^vPX"[place], markersize=3.5, linewidth=1, label=label
            )
        panel.set(xscale="log", xticks=lengths, xticklabels=lengths, xlabel="digits a bag", title=f"{count} bags")
        panel.minorticks_off()
    axes[0, 0].set_ylabel("test accuracy")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    save(figure, figures, "digits")


def draw_strip(shown: dict[int, tuple[Draw, list[np.ndarray]]], figures: Path | None) -> None:
    """Held-out positive bags, the first of the draw: each digit over a bar of its weight, the 9 framed."""
    length = min(shown, key=lambda length: abs(length - 10))
    held, weights = shown[length]
    bags = np.flatnonzero(held.labels[: len(weights)])[:5]
    figure, axes = plt.subplots(
        2 * len(bags),
        length,
        figsize=(6.4, 0.98 * len(bags)),
        height_ratios=[1, 0.45] * len(bags),
        gridspec_kw={"hspace": 0.12, "wspace": 0.08},
    )
    for row, bag in enumerate(bags):
        for place, weight in enumerate(weights[bag]):
            image, bar = axes[2 * row, place], axes[2 * row + 1, place]
            image.imshow(held.bags[bag, place].reshape(28, 28), cmap="gray_r", interpolation="nearest")
            framed = place == held.places[bag]
            for side in image.spines.values():
                side.set(visible=True, color=HUES[1] if framed else "0.85", linewidth=2 if framed else 0.6)
            bar.bar(0, weight, width=0.8, color=HUES[1] if framed else HUES[0])
            bar.text(0, weight + 0.06, f"{weight:.2f}".lstrip("0"), ha="center", va="bottom", fontsize=6)
            bar.set(xlim=(-0.6, 0.6), ylim=(0, 1.6))
            bar.spines["left"].set_visible(False)
            for panel in (image, bar):
                panel.set(xticks=[], yticks=[])
    save(figure, figures, "digits-attention")


def run(data: Path, figures: Path | None, quick: bool) -> None:
    """The part `digits`."""
    images, digits = read_images(data)
    seeds, lengths, counts, test = (2, (5,), (60,), 60) if quick else (SEEDS, LENGTHS, COUNTS, TEST)
    print(f"## MNIST-bags: {seeds} draws of training bags and of {test} test bags\n")
    accuracy, found, shown = measure(images, digits, seeds, lengths, counts, test)
    print_tables(accuracy, found)
    with styled():
        draw_accuracy(accuracy, figures)
        draw_strip(shown, figures)
