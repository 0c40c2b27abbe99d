"""Classical sets of bags, and sets that the default estimator was not chosen on: accuracy, AUC, what attention adds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from bags_tables import folder, read_bags, read_series, save, share, styled, table, windows, with_error
from scipy.sparse import coo_array
from scipy.sparse.linalg import svds
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from solvable.bags import AttentionClassifier, Bags, PooledClassifier, compare, evaluate
from solvable.bags.scores import Evaluation
from solvable.lab.figures.theme import HUES, THEMES

MUST_HOLD = ("MUSK1", "ELEPHANT", "TIGER", "NEWSGROUPS1")
SEEN = (*MUST_HOLD, "FOX", "NEWSGROUPS2", "PROTEIN", "MUTAGENESIS2")
GLANCED, UNSEEN = "WINTERWREN", ("CORELAFRICAN", "SENTENCES", "ECG200", "LIGHTNING2")
DEFAULT, WITHOUT, MEAN = "default", "without attention", "mean"
OURS = {
    DEFAULT: AttentionClassifier(),
    WITHOUT: PooledClassifier(pooling=("min", "max")),
    MEAN: PooledClassifier(pooling="mean"),
}
POOLINGS = {"mean": ("mean",), "max": ("max",), "min+max": ("min", "max"), "mean+min+max": ("mean", "min", "max")}
CLIP = FunctionTransformer(np.clip, kw_args={"a_min": -5.0, "a_max": 5.0})
HEADS = {
    "SVC(C=10)": (StandardScaler(), SVC(C=10.0)),
    "LogisticRegression()": (StandardScaler(), LogisticRegression(max_iter=2000)),
    "LogisticRegression(C=.01)": (StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)),
    'SVC(C=10, gamma="auto")': (StandardScaler(), SVC(C=10.0, gamma="auto")),
    "clipped, SVC(C=10)": (StandardScaler(), CLIP, SVC(C=10.0)),
    'clipped, SVC(C=10, gamma="auto")': (StandardScaler(), CLIP, SVC(C=10.0, gamma="auto")),
    "clipped, LogisticRegression()": (StandardScaler(), CLIP, LogisticRegression(max_iter=2000)),
    "clipped, LogisticRegression(C=.01)": (StandardScaler(), CLIP, LogisticRegression(C=0.01, max_iter=2000)),
}


def load(data: Path, name: str) -> tuple[Bags, np.ndarray]:
    """(bags, labels) of a set."""
    if name == "SENTENCES":
        return sentences(data)
    if name in ("ECG200", "LIGHTNING2"):
        series, labels = read_series(data, name.lower())
        length = series.shape[1] // 8
        parts = windows(series, length, length // 4)
        return Bags(parts.reshape(-1, length), np.arange(len(series) + 1) * parts.shape[1]), labels
    return read_bags(data, name.lower())


def words(line: str) -> list[str]:
    """The words of a line."""
    return re.findall(r"[a-z0-9']+", line.lower())


def review_lines(data: Path) -> tuple[list[str], np.ndarray]:
    """The 1000 Amazon sentences of the UCI set, and their labels."""
    place = folder(data, "sentiment_uci_sentences") / "amazon_cells_labelled.txt"
    pairs = [line.rsplit("\t", 1) for line in place.read_text(encoding="utf-8").split("\n") if line.strip()]
    return [text for text, _ in pairs], np.array([int(label) for _, label in pairs])


def sentences(data: Path, dim: int = 50, reach: int = 4, least: int = 5) -> tuple[Bags, np.ndarray]:
    """Bags of word vectors, which other text made: leading singular vectors of positive mutual information.

    The counts are of words at most `reach` apart in customer reviews and film reviews, whose labels are not read; the
    sentences of the bags are not in them. A word seen there less than `least` times has the vector 0.
    """
    lines, labels = review_lines(data)
    other = (folder(data, "sentiment_customer_reviews") / "custrev.all").read_text(encoding="latin-1").split("\n")
    other += (folder(data, "sentiment_mr") / "rt-polarity.all").read_text(encoding="latin-1").split("\n")
    text = [words(line[2:]) for line in other]  # a line begins with its label and a space
    counts = Counter(word for line in text for word in line)
    number = {word: i for i, word in enumerate(sorted(word for word, count in counts.items() if count >= least))}
    rows, columns = [], []
    for line in text:
        known = [number[word] for word in line if word in number]
        for apart in range(1, reach + 1):
            rows += known[apart:] + known[:-apart]
            columns += known[:-apart] + known[apart:]
    matrix = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(number),) * 2).tocsr().tocoo()
    totals = np.asarray(matrix.sum(axis=1)).ravel()
    information = np.log(matrix.data * totals.sum() / (totals[matrix.row] * totals[matrix.col]))
    positive = coo_array((np.maximum(information, 0.0), (matrix.row, matrix.col)), shape=matrix.shape).tocsr()
    left, scales, _ = svds(positive, k=dim, v0=np.ones(len(number)))
    vectors = np.vstack([left * np.sqrt(scales), np.zeros(dim)])
    bags = [[number.get(word, -1) for word in words(line)] for line in lines]
    return Bags(vectors[np.concatenate(bags)], np.cumsum([0, *map(len, bags)])), labels


def pooled(bags: Bags, poolings: tuple[str, ...]) -> np.ndarray:
    """Features (n, p) of bags by NumPy alone."""
    starts = bags.offsets[:-1]
    found = {
        "mean": np.add.reduceat(bags.values, starts) / bags.lengths[:, None],
        "min": np.minimum.reduceat(bags.values, starts),
        "max": np.maximum.reduceat(bags.values, starts),
    }
    return np.concatenate([found[name] for name in poolings], axis=1)


def baselines(bags: Bags, labels: np.ndarray, folds: dict[str, Any]) -> dict[str, Evaluation]:
    """scikit-learn's classifiers on pooled features, on the same folds."""
    return {
        f"{pooling}, {head}": evaluate(make_pipeline(*steps), pooled(bags, parts), labels, **folds)
        for pooling, parts in POOLINGS.items()
        for head, steps in HEADS.items()
    }


def concentration(bags: Bags, labels: np.ndarray) -> tuple[float, float, np.ndarray, list[np.ndarray]]:
    """(mean largest weight of held-out bags, mean of 1/L, the held-out bags' numbers, their weights); ten folds."""
    numbers, weights = [], []
    for train, test in StratifiedKFold(10, shuffle=True, random_state=0).split(labels, labels):
        weights += AttentionClassifier().fit(bags[train], labels[train]).attention(bags[test])
        numbers += test.tolist()
    return float(np.mean([w.max() for w in weights])), float(np.mean(1 / bags.lengths)), np.array(numbers), weights


def measured(data: Path, names: tuple[str, ...], quick: bool) -> Iterator[tuple[str, Any, str, Evaluation, Bags, Any]]:
    """(name, comparison, best baseline's name, its evaluation, bags, labels) of each set."""
    for name in names:
        bags, labels = load(data, name)
        folds: dict[str, Any] = {"repeats": 2 if quick else 5, "folds": 2 if quick else 10}
        comparison = compare(OURS, bags, labels, reference=DEFAULT, **folds)
        found = baselines(bags, labels, folds)
        best = max(found, key=lambda key: found[key].accuracy)
        yield name, comparison, best, found[best], bags, labels


def interval(difference: Any) -> str:
    """A difference in points, its 95 % interval over new bags and the p value: the sign is default minus the other."""
    size, low, high = (100 * value for value in (difference.difference, difference.low, difference.high))
    if difference.first != DEFAULT:  # compare() gives the others minus the reference
        size, low, high = -size, -high, -low
    return f"{size:+.1f} ({low:+.1f} to {high:+.1f}), p = {difference.p_value:.2g}"


def print_set_tables(data: Path, names: tuple[str, ...], quick: bool) -> dict[str, tuple[float, float]]:
    """The tables of some sets; gives (default's margin over the best baseline, its standard error) by name."""
    accuracies, aucs, gains, looks, margins = [], [], [], [], {}
    for name, comparison, best, baseline, bags, labels in measured(data, names, quick):
        results = comparison.evaluations
        base = results[DEFAULT].base_rate
        size = f"{len(bags)} ({int(labels.sum())})"
        ours = [with_error(results[model].accuracy, results[model].accuracy_error) for model in OURS]
        accuracies += [[name, size, *ours, with_error(baseline.accuracy, baseline.accuracy_error), best, share(base)]]
        aucs += [[name, *(with_error(r.auc, r.auc_error) for r in (*results.values(), baseline))]]
        gain = {d.measure: interval(d) for d in comparison.differences if WITHOUT in (d.first, d.second)}
        gains += [[name, gain["accuracy"], gain["AUC"]]]
        largest, uniform, *_ = concentration(bags, labels)
        looks += [[name, str(int(np.median(bags.lengths))), share(largest), share(uniform)]]
        margins[name] = (results[DEFAULT].accuracy - baseline.accuracy, baseline.accuracy_error)
    print("Accuracy:\n")
    table(["set", "bags (positive)", *OURS, "best scikit-learn", "which", "larger class"], accuracies)
    print("AUC:\n")
    table(["set", *OURS, "best scikit-learn (by accuracy)"], aucs)
    print("Default minus the same without attention, in points, with the 95 % interval over new bags:\n")
    table(["set", "accuracy", "AUC"], gains)
    print("Where the attention goes on held-out bags:\n")
    table(["set", "median tokens a bag", "mean largest weight", "uniform weights would give"], looks)
    return margins


def print_margins(margins: dict[str, tuple[float, float]]) -> None:
    """Whether the default reaches the best baseline minus one standard error of that baseline."""
    print("Default against the best scikit-learn baseline minus its standard error:\n")
    rows = [
        [name, share(margin), share(error), "yes" if margin >= -error else "**no**"]
        for name, (margin, error) in margins.items()
    ]
    table(["set", "default minus best", "standard error", "at least best minus one standard error"], rows)
    asked = [name for name in MUST_HOLD if name in margins]
    if asked:
        held = all(margins[name][0] >= -margins[name][1] for name in asked)
        print(f"On {', '.join(asked)} together it {'holds' if held else 'DOES NOT HOLD'}.\n")


def print_bag_of_words(data: Path, quick: bool) -> None:
    """What the sentences give to a classifier that knows the words themselves."""
    lines, labels = review_lines(data)
    model = make_pipeline(TfidfVectorizer(token_pattern=r"[a-z0-9']+", min_df=1), LogisticRegression(C=10.0))
    found = evaluate(model, np.array(lines), labels, repeats=2 if quick else 5, folds=2 if quick else 10)
    print(f"SENTENCES, word counts (TF-IDF, logistic regression): {with_error(found.accuracy, found.accuracy_error)}\n")


def draw_attention(data: Path, figures: Path | None) -> None:
    """Weights of held-out bags of MUSK1 and NEWSGROUPS1, largest first; and the distribution of the largest one."""
    figure, axes = plt.subplots(2, 5, figsize=(6.4, 3.0), layout="constrained")
    for row, name in zip(axes, ("MUSK1", "NEWSGROUPS1"), strict=True):
        bags, labels = load(data, name)
        *_, numbers, weights = concentration(bags, labels)
        lengths = np.array([len(w) for w in weights])
        usual = np.flatnonzero(lengths >= np.median(lengths))
        chosen = [i for label in (1, 0) for i in usual[labels[numbers[usual]] == label][:2]]
        for panel, bag in zip(row, chosen, strict=False):
            hue = HUES[1] if labels[numbers[bag]] else HUES[0]
            panel.bar(np.arange(len(weights[bag])), weights[bag], width=0.85, color=hue)
            panel.axhline(1 / lengths[bag], color=THEMES["light"].faint, linewidth=0.8, linestyle=(0, (4, 3)))
            panel.set_title("positive" if labels[numbers[bag]] else "negative")
            panel.xaxis.get_major_locator().set_params(integer=True)
        largest = [np.max(w) * len(w) for w in weights]
        for label, hue in ((1, HUES[1]), (0, HUES[0])):
            of = np.sort([x for x, n in zip(largest, numbers, strict=True) if labels[n] == label])
            row[-1].step(of, np.arange(1, len(of) + 1) / len(of), color=hue, where="post")
        row[-1].set(xlim=(0, None), ylim=(0, 1.02), xlabel="largest weight · L", ylabel="share of bags")
        row[0].set_ylabel(f"{name}: attention")
        for panel in row[:-1]:
            panel.set_xlabel("token")
    save(figure, figures, "classical-attention")


def run(data: Path, figures: Path | None, quick: bool) -> None:
    """The part `classical`."""
    print("## Sets that the default was chosen on\n")
    print_margins(print_set_tables(data, ("MUSK1",) if quick else SEEN, quick))
    print("## Sets that it was not chosen on\n")
    print_margins(print_set_tables(data, ("ECG200",) if quick else (GLANCED, *UNSEEN), quick))
    print_bag_of_words(data, quick)
    with styled():
        draw_attention(data, figures)
