"""Mirror descent on labelled sentences of yours: a small transformer, against Adam and against word counts.

    python examples/sentiment_transformer.py PATH [--seeds 3] [--epochs 12] [--out weights.png] [--quick]

PATH is a text file, or a folder of them (files that end in .md are left out), with one sentence a line: `label text`
or `text<TAB>label`, labels 0 and 1. If a folder has files with `train` and `test` in their names, these are the two
parts; otherwise a quarter of the sentences, drawn at random, is the test.

The model is the IMDb experiment of arXiv:2410.14581 at the scale of one CPU core: one block of a post-norm encoder with
two heads, width 32, at most 32 tokens, the mean token read out, trained on the summed cross-entropy of batches of 100.
Every parameter is trained by mirror descent at p = 1.1, 2 and 3, or by Adam, at learning rates fixed below: nothing is
tuned on the test part. The other classifier is scikit-learn's logistic regression on word counts.

Prints, per optimiser: accuracies, statistics of the query, key and value weights, how sparse the attention is, seconds.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from solvable.lab.figures import matplotlib
from solvable.lab.figures.plot import Axis, Bar, Look, Plot, Sheet
from solvable.lab.figures.theme import HUES
from solvable.optim import mirror_descent, raise_if_nonfinite

LENGTH, WIDTH, HEADS, BATCH, LEAST_COUNT = 32, 32, 2, 100, 3
OPTIMISERS = {
    "mirror descent, p = 1.1": mirror_descent(4e-3, 1.1),
    "mirror descent, p = 2": mirror_descent(4e-3, 2),
    "mirror descent, p = 3": mirror_descent(1e-3, 3),
    "Adam": optax.adam(1e-3),
}
WEIGHTS = ("query", "key", "value")
Sentences = list[tuple[str, int]]


def read(path: Path) -> Sentences:
    """(text, label) of every line of a file; UTF-8, or LATIN-1 where it is not that."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    sentences = []
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines would also split at stray control characters
        if not line.strip():
            continue
        front, tab, back = line.rpartition("\t")
        label, words = (back.strip(), front) if tab else line.strip().partition(" ")[::2]
        if label not in ("0", "1"):
            form = "accepted: `label text` or `text<TAB>label` with label 0 or 1"
            raise ValueError(f"{path.name}, line {number}: {line.strip()[:40]!r} is no labelled sentence; {form}")
        sentences.append((words, int(label)))
    return sentences


def load(path: Path, rng: np.random.Generator) -> tuple[Sentences, Sentences]:
    """The training and the test sentences under `path`, each in a random order: files are often sorted by label."""
    if not path.exists():
        raise ValueError(f"path={str(path)!r} does not exist; accepted: a text file or a folder of them")
    files = [path] if path.is_file() else sorted(each for each in path.glob("*") if each.suffix != ".md")
    parts = [[each for each in files if part in each.name] for part in ("train", "test")]
    if all(parts):
        train, test = ([s for each in part for s in read(each)] for part in parts)
    else:
        every = [s for each in files for s in read(each)]
        order = rng.permutation(len(every))
        train, test = ([every[i] for i in part] for part in np.split(order, [3 * len(every) // 4]))
    for name, part in (("training", train), ("test", test)):
        if len({label for _, label in part}) < 2:
            raise ValueError(f"path={str(path)!r} has {len(part)} {name} sentences; accepted: some of either label")
    train, test = ([part[i] for i in rng.permutation(len(part))] for part in (train, test))
    return train, test


def words(text: str) -> list[str]:
    """Lower-case words and the marks ! and ?."""
    return re.findall(r"[^\W_]+(?:'\w+)?|[!?]", text.lower())


def encode(sentences: Sentences, vocabulary: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids (n, LENGTH), 0 where the sentence has ended and 1 for a rare word, and labels (n,)."""
    ids = np.zeros((len(sentences), LENGTH), np.int32)
    for row, (text, _) in zip(ids, sentences, strict=True):
        found = [vocabulary.get(word, 1) for word in words(text)[:LENGTH]] or [1]
        row[: len(found)] = found
    return ids, np.array([label for _, label in sentences], np.float32)


def initial(key: jax.Array, size: int) -> dict[str, Any]:
    """Embeddings N(0, 1), matrices N(0, 1/rows), no biases."""
    shapes = dict.fromkeys((*WEIGHTS, "mix"), (WIDTH, WIDTH))
    shapes |= {"up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH), "read": (WIDTH, 1)}
    keys = iter(jax.random.split(key, len(shapes) + 2))
    params = {name: jax.random.normal(next(keys), shape) / np.sqrt(shape[0]) for name, shape in shapes.items()}
    params |= {"words": jax.random.normal(next(keys), (size, WIDTH))}
    params |= {"places": jax.random.normal(next(keys), (LENGTH, WIDTH))}
    return params | {"gain_1": jnp.ones(WIDTH), "gain_2": jnp.ones(WIDTH)}


def layer_norm(x: jax.Array, gain: jax.Array) -> jax.Array:
    """Mean 0 and variance 1 over the last axis, times the gain."""
    x = x - x.mean(axis=-1, keepdims=True)
    return gain * x * jax.lax.rsqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)


def forward(params: dict[str, Any], ids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits (n,) and attention (n, HEADS, LENGTH, LENGTH); tokens past the end are not attended to."""
    present = ids > 0
    x = params["words"][ids] + params["places"]
    heads = [(x @ params[name]).reshape(*x.shape[:2], HEADS, -1) for name in WEIGHTS]
    scores = jnp.einsum("nihd,njhd->nhij", heads[0], heads[1]) / np.sqrt(WIDTH / HEADS)
    attention = jax.nn.softmax(jnp.where(present[:, None, None, :], scores, -1e9), axis=-1)
    mixed = jnp.einsum("nhij,njhd->nihd", attention, heads[2]).reshape(x.shape)
    x = layer_norm(x + mixed @ params["mix"], params["gain_1"])
    x = layer_norm(x + jax.nn.gelu(x @ params["up"]) @ params["down"], params["gain_2"])
    mean = (x * present[..., None]).sum(axis=1) / present.sum(axis=1, keepdims=True)
    return (mean @ params["read"])[:, 0], attention


def train(optimiser: Any, params: dict[str, Any], ids: np.ndarray, labels: np.ndarray, epochs: int, seed: int) -> Any:
    """The parameters after `epochs` passes over batches of BATCH in an order drawn anew for each pass."""

    def loss(params: Any, batch: jax.Array) -> jax.Array:
        return optax.sigmoid_binary_cross_entropy(forward(params, every[batch])[0], targets[batch]).sum()

    def step(carry: Any, batch: jax.Array) -> tuple[Any, jax.Array]:
        params, state = carry
        value, gradients = jax.value_and_grad(loss)(params, batch)
        updates, state = optimiser.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), value

    every, targets, size = jnp.asarray(ids), jnp.asarray(labels), min(BATCH, len(ids))
    epoch = jax.jit(lambda carry, batches: jax.lax.scan(step, carry, batches))
    state, rng = optimiser.init(params), np.random.default_rng(seed)
    for number in range(epochs):
        order = rng.permutation(len(ids))[: len(ids) // size * size]
        (params, state), losses = epoch((params, state), order.reshape(-1, size))
        raise_if_nonfinite(losses, step=(number + 1) * len(losses))
    return params


def evaluate(params: dict[str, Any], ids: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy; over all queries, the mean largest attention and the mean number of tokens attended to (e^entropy)."""
    hits, largest, effective, count = 0, 0.0, 0.0, 0
    predict = jax.jit(forward)
    for first in range(0, len(ids), 500):
        part = ids[first : first + 500]
        logits, attention = map(np.asarray, predict(params, part))
        hits += int(np.sum((logits > 0) == (labels[first : first + 500] > 0)))
        rows = np.moveaxis(attention, 1, 2)[part > 0]  # queries that are tokens
        entropy = -np.sum(rows * np.log(np.maximum(rows, 1e-30)), axis=-1)
        largest, effective, count = (
            largest + rows.max(axis=-1).sum(),
            effective + np.exp(entropy).sum(),
            count + rows.shape[0],
        )
    return {"accuracy": hits / len(ids), "largest": largest / count / HEADS, "effective": effective / count / HEADS}


def statistics(params: dict[str, Any]) -> dict[str, float]:
    """Of query, key and value weights: share below 1e-3, largest, largest over root mean square, kurtosis (Gauss 3)."""
    sizes = np.abs(np.concatenate([np.ravel(params[name]) for name in WEIGHTS]))
    square = float(np.mean(sizes**2))
    return {
        "below 1e-3": float(np.mean(sizes < 1e-3)),
        "max": float(sizes.max()),
        "max/rms": float(sizes.max() / np.sqrt(square)),
        "kurtosis": float(np.mean(sizes**4) / square**2),
    }


def word_counts(train: Sentences, test: Sentences) -> tuple[float, float]:
    """Training and test accuracy of logistic regression on word counts."""
    counter = CountVectorizer(analyzer=words, min_df=min(LEAST_COUNT, len(train) // 50 + 1))
    counts = counter.fit_transform([text for text, _ in train])
    fitted = LogisticRegression(max_iter=2000).fit(counts, [label for _, label in train])
    scores = [fitted.score(counter.transform([t for t, _ in part]), [y for _, y in part]) for part in (train, test)]
    return float(scores[0]), float(scores[1])


def draw(path: Path, weights: dict[str, dict[str, Any]]) -> None:
    """Histograms of the query, key and value weights, one row an optimiser, counts on a logarithmic axis."""
    reach = max(float(np.abs(params[name]).max()) for params in weights.values() for name in WEIGHTS)
    edges = np.linspace(-reach, reach, 82)
    plots = []
    for optimiser, params in weights.items():
        counts = {name: np.histogram(params[name], edges)[0] for name in WEIGHTS}
        x = Axis("value", limits=(-reach, reach))
        for name, found in counts.items():
            bars = Bar((edges[:-1] + edges[1:]) / 2, found, edges[1] - edges[0], Look(HUES[0]), name)
            y = Axis("weights", log=True, limits=(0.7, None))
            plots.append(Plot(x, y, [bars], title=f"{optimiser}: {name}"))
    matplotlib.draw(Sheet(plots)).savefig(path, dpi=200)


def main(arguments: list[str] | None = None) -> None:
    """Read, train, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", type=Path, help="a text file or a folder of them")
    parser.add_argument(
        "--seeds", type=int, default=1, help="runs per optimiser, averaged; they differ in start and order"
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=Path, help="where a figure of the weights of the first run goes")
    parser.add_argument("--quick", action="store_true", help="400 sentences, 2 epochs")
    options = parser.parse_args(arguments)
    for name in ("seeds", "epochs"):
        if getattr(options, name) < 1:
            sys.exit(f"{name}={getattr(options, name)} is out of range; accepted: a whole number >= 1")
    if options.out and (options.out.is_dir() or not options.out.parent.is_dir()):
        sys.exit(f"out={str(options.out)!r} cannot be written; accepted: a file in a folder that exists")
    try:
        train_part, test_part = load(options.path, np.random.default_rng(0))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    if options.quick:
        train_part, test_part, options.epochs = train_part[:300], test_part[:100], 2
    counts = Counter(word for text, _ in train_part for word in words(text))
    kept = sorted(word for word, count in counts.items() if count >= LEAST_COUNT)
    vocabulary = {word: place for place, word in enumerate(kept, start=2)}
    train_set, test_set = encode(train_part, vocabulary), encode(test_part, vocabulary)
    print(
        f"{len(train_part)} training sentences, {len(test_part)} test sentences, {len(vocabulary)} words seen "
        f"{LEAST_COUNT} times, {options.epochs} epochs, {options.seeds} seeds\n"
    )
    names = ("train", "test", "+-", "below 1e-3", "max", "max/rms", "kurtosis", "largest", "effective", "seconds")
    print(f"{'':<24}" + "".join(f"{name:>11}" for name in names))

    def show(name: str, *values: float) -> None:
        print(f"{name:<24}" + "".join(f"{value:>11.3g}" for value in values))

    def error(accuracy: float) -> float:
        return float(np.sqrt(accuracy * (1 - accuracy) / len(test_part)))

    first = {}
    for name, optimiser in OPTIMISERS.items():
        runs, begin = [], time.perf_counter()
        for seed in range(options.seeds):
            params = train(
                optimiser, initial(jax.random.key(seed), len(vocabulary) + 2), *train_set, options.epochs, seed
            )
            first.setdefault(name, params)
            seen, unseen = evaluate(params, *train_set), evaluate(params, *test_set)
            runs.append(
                [
                    seen["accuracy"],
                    unseen["accuracy"],
                    *statistics(params).values(),
                    unseen["largest"],
                    unseen["effective"],
                ]
            )
        seconds = (time.perf_counter() - begin) / options.seeds
        seen, unseen, *rest = np.mean(runs, axis=0)
        show(name, seen, unseen, error(unseen), *rest, seconds)
    seen, unseen = word_counts(train_part, test_part)
    show("word counts", seen, unseen, error(unseen))
    print(
        "\n+-: binomial standard error of the test accuracy. below 1e-3, ..., kurtosis: query, key and value weights."
        "\nlargest, effective: mean largest attention, mean number of tokens attended to, exp(entropy). seconds: a run."
    )
    if options.out:
        draw(options.out, first)
        print(f"\nfigure: {options.out}")


if __name__ == "__main__":
    main()
