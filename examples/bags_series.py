"""A rare event in a time series: crops with one label each, and no word on where the event is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from bags_tables import folder, mean_and_error, read_series, save, share, styled, table, windows, with_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from solvable.bags import AttentionClassifier, PooledClassifier, evaluate
from solvable.lab.figures.theme import HUES, THEMES

CROP, WINDOW, STRIDE, CROPS, SEEDS = 360, 24, 6, 400, 10
AMPLITUDES = (0.1, 0.2, 0.5, 1.0)
DEFAULT, ALONE = "default", "attention alone"
MODELS = {
    DEFAULT: AttentionClassifier(),
    ALONE: AttentionClassifier(pooling="attention"),
    "without attention": PooledClassifier(pooling=("min", "max")),
    "mean": PooledClassifier(pooling="mean"),
}


class Record(NamedTuple):
    """The series: 1200 points to train on; 7501 to test on, which begin with those; where the event is."""

    train: np.ndarray
    test: np.ndarray
    event: np.ndarray


class Crops(NamedTuple):
    """Crops (n, CROP), labels (n,), and the first and last point of the synthetic event of each, (n, 2)."""

    values: np.ndarray
    labels: np.ndarray
    events: np.ndarray


def read_record(data: Path) -> Record:
    """The series 135 of the UCR anomaly archive."""
    place = folder(data, "ts_anomaly_internalbleeding16")
    train, test = (
        np.loadtxt(place / f"135_UCR_Anomaly_InternalBleeding16_{part}.csv", delimiter=",", skiprows=1)
        for part in ("TRAIN", "TEST")
    )
    return Record(train[:, 1], test[:, 1], np.flatnonzero(test[:, 2]))


def draw_crops(series: np.ndarray, starts: np.ndarray, count: int, amplitude: float, rng: np.random.Generator) -> Crops:
    """Crops at random starts; every second one gets a synthetic event of 6 to 24 points.

    The event is Gaussian noise of the amplitude added to each point, or a shift of all of them by three times the
    amplitude up or down, with equal chances.
    """
    values = series[rng.choice(starts, size=count)[:, None] + np.arange(CROP)]
    labels, events = np.arange(count) % 2, np.zeros((count, 2), dtype=int)
    for i in np.flatnonzero(labels):
        length = rng.integers(6, 25)
        first = rng.integers(CROP - length + 1)
        noise, shift = rng.normal(size=length), np.full(length, rng.choice([-3.0, 3.0]))
        values[i, first : first + length] += amplitude * (noise if rng.random() < 0.5 else shift)
        events[i] = first, first + length - 1
    return Crops(values, labels, events)


def tokens(series: np.ndarray) -> np.ndarray:
    """Tokens (n, windows, WINDOW - 2) of series (n, T): the absolute second differences within each window."""
    return np.abs(np.diff(windows(series, WINDOW, STRIDE), 2, axis=2))


def touching(count: int, first: int, last: int) -> np.ndarray:
    """Which of so many windows hold a point of the event."""
    begins = STRIDE * np.arange(count)
    return (begins <= last) & (begins + WINDOW > first)


def rank_of_event(scores: np.ndarray, record: Record) -> int:
    """The rank, from 1, of the best window that holds a point of the real event."""
    held = touching(len(scores), record.event[0], record.event[-1])
    return int(1 + np.sum(scores[~held] >= scores[held].max()))


def measure(record: Record, crops: int, seeds: int) -> tuple[list[list[str]], list[list[str]], Any]:
    """The rows of the two tables, and the model, crops and attention of the last seed at amplitude .5 for the figure.

    Held-out crops come from behind the points that were trained on and keep off the real event.
    """
    behind = np.arange(len(record.train), len(record.test) - CROP)
    clear = behind[(behind + CROP + WINDOW < record.event[0]) | (behind - WINDOW > record.event[-1])]
    whole = tokens(record.test[None])
    rows, looks, shown = [], [], None
    for amplitude in AMPLITUDES:
        accuracy: dict[str, list[float]] = {name: [] for name in MODELS}
        hits, chances, ranks, shares = [], [], [], []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            train = draw_crops(record.train, np.arange(len(record.train) - CROP), crops, amplitude, rng)
            held = draw_crops(record.test, clear, crops, amplitude, rng)
            bags, held_bags = tokens(train.values), tokens(held.values)
            for name, model in MODELS.items():
                model.fit(bags, train.labels)
                accuracy[name].append(float(np.mean(model.predict(held_bags) == held.labels)))
            weights = np.array(MODELS[DEFAULT].attention(held_bags))
            positive = np.flatnonzero(held.labels)
            there = np.array([touching(weights.shape[1], *held.events[i]) for i in positive])
            hits.append(np.mean(there[np.arange(len(positive)), np.argmax(weights[positive], axis=1)]))
            chances.append(there.mean())
            (attention,) = MODELS[DEFAULT].attention(whole)
            ranks.append(rank_of_event(attention, record))
            shares.append(attention[touching(len(attention), record.event[0], record.event[-1])].sum())
            if amplitude == 0.5:
                shown = held, weights, attention
        rows += [[f"{amplitude:g}", *(with_error(*mean_and_error(values)) for values in accuracy.values())]]
        found = f"{min(ranks)} to {max(ranks)}" if min(ranks) < max(ranks) else str(ranks[0])
        looks += [[f"{amplitude:g}", with_error(*mean_and_error(hits)), share(float(np.mean(chances))), found]]
        looks[-1] += [with_error(*mean_and_error(shares))]
    return rows, looks, shown


def draw(record: Record, shown: Any, figures: Path | None) -> None:
    """Two held-out crops with a synthetic event, and the real test series: values, and the attention below them."""
    held, weights, attention = shown
    figure, axes = plt.subplots(
        2, 3, figsize=(6.4, 2.8), height_ratios=[1.3, 1], width_ratios=[1, 1, 1.7], sharex="col", layout="constrained"
    )
    panels = [(held.values[i], held.events[i], weights[i], f"crop {i}, synthetic event") for i in (1, 3)]
    panels += [(record.test, record.event, attention, "the test series, real event")]
    for (top, bottom), (values, event, weight, title) in zip(axes.T, panels, strict=True):
        top.plot(values, color=HUES[0], linewidth=0.8)
        for panel in (top, bottom):
            panel.axvspan(event[0] - 0.5, event[-1] + 0.5, color=HUES[1], alpha=0.3, linewidth=0.5)
        centres = STRIDE * np.arange(len(weight)) + WINDOW / 2
        bottom.vlines(centres, 0, weight, color=HUES[0], linewidth=1.2)
        bottom.axhline(1 / len(weight), color=THEMES["light"].faint, linewidth=0.8, linestyle=(0, (4, 3)))
        top.set_title(title)
        bottom.set(xlabel="point", ylim=(0, None))
    axes[0, 0].set_ylabel("value")
    axes[1, 0].set_ylabel("attention")
    save(figure, figures, "series")


def print_whole_series(data: Path, quick: bool) -> None:
    """What the two aligned sets give to a classifier that sees each series as one vector."""
    print("Whole series as one vector, StandardScaler and SVC(C=10):\n")
    rows: list[list[str]] = []
    folds: dict[str, Any] = {"repeats": 2 if quick else 5, "folds": 2 if quick else 10}
    for name in ("ECG200", "LIGHTNING2"):
        series, labels = read_series(data, name.lower())
        found = evaluate(make_pipeline(StandardScaler(), SVC(C=10.0)), series, labels, **folds)
        rows += [[name, with_error(found.accuracy, found.accuracy_error), with_error(found.auc, found.auc_error)]]
    table(["set", "accuracy", "AUC"], rows)


def run(data: Path, figures: Path | None, quick: bool) -> None:
    """The part `series`."""
    record = read_record(data)
    crops, seeds = (40, 2) if quick else (CROPS, SEEDS)
    print(f"## A rare event: {crops} training and {crops} held-out crops, {seeds} draws\n")
    rows, looks, shown = measure(record, crops, seeds)
    print("Accuracy on held-out crops with synthetic events:\n")
    table(["amplitude", *MODELS], rows)
    print("Attention of the default:\n")
    head = ["amplitude", "most attended window holds the event", "random window", "rank of the real event"]
    table([*head, "attention on the real event"], looks)
    jump = np.max(np.abs(np.diff(windows(record.test[None], WINDOW, STRIDE)[0], 2, axis=1)), axis=1)
    print(f"Rank of the real event by the largest second difference alone: {rank_of_event(jump, record)}\n")
    held = touching(len(jump), record.event[0], record.event[-1])
    print(f"{len(jump)} windows, {held.sum()} of them hold a point of the real event.\n")
    with styled():
        draw(record, shown, figures)
    print_whole_series(data, quick)
