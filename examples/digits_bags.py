"""Is there a 9 among these ten digits? Two-step attention on bags of real images, against a linear classifier.

    python examples/digits_bags.py [--out digits_bags.png]

Bags are made of scikit-learn's bundled 8 x 8 digits. A positive bag hides one 9 among ten digits; nothing says which,
the label is the bag's. Training and test digits are split before any bag is made, so that no test bag holds an image
seen in training. The sharpness of the attention and the ridge of the linear classifier are chosen on bags of held-out
training digits.

The pixels are whitened first (by the principal axes of the training digits): the two gradient steps find the query by
correlating tokens with labels, and on raw pixels they follow the directions in which digits vary most instead of the
one that tells a 9. The last axes are dropped: along them the pixels are nearly constant, and whitening would blow them
up to noise.

Prints test accuracies and how often the most attended digit of a positive bag is its 9, and draws three such bags.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from solvable.attention import sparse_tokens as st

BAGS, LENGTH, TARGET, AXES = 4000, 10, 9, 50


def whitening(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, matrix): (images - mean) @ matrix has unit covariance along the first `AXES` principal axes."""
    mean = images.mean(axis=0)
    _, scales, axes = np.linalg.svd(images - mean, full_matrices=False)
    return mean, axes[:AXES].T * (np.sqrt(images.shape[0]) / scales[:AXES])


def make_bags(
    pool: np.ndarray, targets: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(digits, labels, places): indices (count, LENGTH) of digits of `pool`; a positive bag has its 9 at `places`."""
    nines, others = pool[targets[pool] == TARGET], pool[targets[pool] != TARGET]
    labels = np.where(rng.random(count) < 0.5, 1, -1)
    digits = rng.choice(others, size=(count, LENGTH))
    places = rng.integers(LENGTH, size=count)
    positive = labels > 0
    digits[positive, places[positive]] = rng.choice(nines, size=positive.sum())
    return digits, labels, places


def accuracy(classifier: st.AttentionClassifier, tokens: np.ndarray, labels: np.ndarray) -> float:
    """The share of bags classified correctly."""
    return float(np.mean(classifier.classify(tokens) == labels))


def draw(path: Path, images: np.ndarray, digits: np.ndarray, weights: np.ndarray, places: np.ndarray) -> None:
    """Bags as rows: each digit, and below it its attention weight as a bar and a number; the 9 is framed."""
    rows = digits.shape[0]
    figure, axes = plt.subplots(
        2 * rows, LENGTH, figsize=(9.6, 1.62 * rows + 0.75), height_ratios=[1.0, 0.42] * rows, layout="constrained"
    )
    figure.suptitle("Bags that hold a 9, and the attention on each digit", fontsize=12)
    for row in range(rows):
        top = np.argmax(weights[row])
        for place in range(LENGTH):
            picture, bar = axes[2 * row, place], axes[2 * row + 1, place]
            picture.imshow(images[digits[row, place]].reshape(8, 8), cmap="gray_r", interpolation="nearest")
            picture.set(xticks=[], yticks=[])
            framed = place == places[row]
            for side in picture.spines.values():
                side.set(color="tab:orange" if framed else "0.85", linewidth=2.5 if framed else 0.8)
            weight = weights[row, place]
            bar.bar(0.0, weight, width=0.7, color="tab:orange" if place == top else "tab:blue")
            if weight >= 0.01:
                bar.text(0.0, weight + 0.05, f"{weight:.2f}", ha="center", va="bottom", fontsize=8)
            bar.set(xlim=(-0.7, 0.7), ylim=(0.0, 1.35), xticks=[], yticks=[])
            bar.spines[["top", "left", "right"]].set_visible(False)
    legend = "framed: the 9 of the bag     bars: attention, orange where it is largest, no number below .01"
    figure.text(0.5, -0.015, legend, ha="center", va="top", fontsize=9)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    """Train, choose, test, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("digits_bags.png"), help="where the figure goes")
    out = parser.parse_args().out
    rng = np.random.default_rng(0)
    images, targets = map(np.asarray, load_digits(return_X_y=True))
    everything = np.arange(targets.size)
    train, test = map(np.asarray, train_test_split(everything, test_size=0.4, stratify=targets, random_state=0))

    fitted, held_out = map(np.asarray, train_test_split(train, test_size=0.25, stratify=targets[train], random_state=0))
    mean, matrix = whitening(images[fitted])
    tokens = (images - mean) @ matrix
    digits, labels, _ = make_bags(fitted, targets, BAGS // 2, rng)
    batch = st.Batch(tokens[digits], labels)
    digits, labels, _ = make_bags(held_out, targets, 2000, rng)

    def held_out_accuracy(algorithm: st.TwoStepAttention | st.PooledLinear) -> float:
        return accuracy(algorithm.train(batch), tokens[digits], labels)

    attention = max(
        (st.TwoStepAttention(query_share=0.7, sharpness=s, ridge=1e-2) for s in (2.0, 4.0, 8.0)), key=held_out_accuracy
    )
    pooled = max((st.PooledLinear(ridge=ridge) for ridge in (1e-3, 1e-2)), key=held_out_accuracy)

    mean, matrix = whitening(images[train])
    tokens = (images - mean) @ matrix
    digits, labels, _ = make_bags(train, targets, BAGS, rng)
    batch = st.Batch(tokens[digits], labels)
    classifier, linear = attention.train(batch), pooled.train(batch)

    digits, labels, places = make_bags(test, targets, 4000, rng)
    weights = np.asarray(classifier.attention(tokens[digits]))
    hit = (np.argmax(weights, axis=1) == places)[labels > 0]
    results = [
        ("two-step attention", accuracy(classifier, tokens[digits], labels), f"{hit.mean():.2f}"),
        ("mean token, linear", accuracy(linear, tokens[digits], labels), f"{1 / LENGTH:.2f} (by chance)"),
    ]
    print(
        f"{BAGS} training bags of {LENGTH} digits, 4000 test bags of other digits; sharpness {attention.sharpness:g}\n"
    )
    print(f"{'classifier':<22}{'accuracy':>10}{'9 most attended':>22}")
    for name, score, found in results:
        print(f"{name:<22}{score:>10.3f}{found:>22}")

    shown = np.flatnonzero(labels > 0)[:3]
    draw(out, images, digits[shown], weights[shown], places[shown])
    print(f"\nfigure: {out}")


if __name__ == "__main__":
    main()
