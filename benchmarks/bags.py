"""Two-step attention on bags against what one would train without this library, and against the machine's memory.

    python benchmarks/bags.py [--quick] [--only musk,mnist,throughput,memory,prediction] [--threads 2] [--seeds 2]
                              [--folder DIR]

Prints Markdown tables. Times are wall clock; all sides may use the same number of threads, by default all cores. Where
neighbours keep cores busy (the load average is printed), `--threads 1` is fairer to torch, whose threads wait by
spinning. Nothing here is part of the tests.

What is compared
* musk: fit time and accuracy on MUSK1, ten stratified folds for each seed, against ABMIL in torch (extra `torch`; see
  `bags_peer.py`), which trains one bag a step, and against a support vector machine on each bag's minima and maxima.
  Features are standardised on the training folds.
* mnist: the same on MNIST-bags, a 9 among L digits in the positive bags and none in the others; training digits are the
  first 5000 of the file, test digits the last 5000. Goals of both: 50 times faster at no lower accuracy.
* throughput: bytes a second of the streamed fit of tokens in a mapped file that lies in the page cache, against summing
  the same mapped file in blocks on as many threads, and against copying it; and of `ParquetBags` against pyarrow alone.
* memory: the largest resident memory of a process that fits 8 GB of tokens on disk. Goal: below 1 GB.
* prediction: bytes a second of `predict` on bags in memory.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from bags_streaming import (
    alone,
    benchmark_memory,
    benchmark_prediction,
    benchmark_throughput,
    clocked,
    measure_memory,
    shown,
    table,
)
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for the reader of the multiple-instance sets, which the tests use too

from solvable.bags import AttentionClassifier, Bags  # noqa: E402
from solvable.bags.passes import extremes  # noqa: E402
from tests.bags.data import DATA, read  # noqa: E402

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
FASTER = 50.0
MNIST_LENGTHS, MNIST_BAGS = (5, 20), 1000


def mean_and_error(values: list[float]) -> str:
    """The mean with its standard error, where there is more than one value."""
    mean = f"{np.mean(values):.4f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.4f}"


def verdict(times: float, accuracy: float, peer: float) -> str:
    """Whether both goals are reached, or by how much each is missed."""
    speed = "met" if times >= FASTER else f"missed: {times / FASTER:.0%} of {FASTER:g} times"
    level = "met" if accuracy >= peer else f"missed by {100 * (peer - accuracy):.1f} points"
    return f"time {speed}, accuracy {level}"


def peer_run(what: str, *settings: Any) -> Any:
    """[seconds, accuracy] of ABMIL in a process of its own; None where torch is missing or its run fails."""
    return None if find_spec("torch") is None else alone("--peer", what, *settings)


# --- MUSK1 ----------------------------------------------------------------------------------------------------------


def musk_folds(seed: int) -> Iterator[tuple[Bags, np.ndarray, Bags, np.ndarray]]:
    """Ten times (bags, labels) to train on and to test on."""
    from sklearn.model_selection import StratifiedKFold

    bags, labels = read("musk1")
    for train, test in StratifiedKFold(10, shuffle=True, random_state=seed).split(labels, labels):
        yield bags[train], labels[train], bags[test], labels[test]


def musk_ours(seed: int) -> tuple[float, float]:
    """(median seconds of a fit, accuracy) over the folds of a seed."""
    return over_folds(seed, lambda bags, labels: AttentionClassifier().fit(bags, labels).predict)


def musk_pooled(seed: int) -> tuple[float, float]:
    """The same of scikit-learn on the minima and maxima of each bag."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    def features(bags: Bags) -> np.ndarray:
        return np.concatenate([extremes(bags, "min"), extremes(bags, "max")], axis=1)

    def fitted(bags: Bags, labels: np.ndarray) -> Any:
        model = make_pipeline(StandardScaler(), SVC(C=10.0, gamma="auto")).fit(features(bags), labels)
        return lambda bags: model.predict(features(bags))

    return over_folds(seed, fitted)


def over_folds(seed: int, fitted: Callable[[Bags, np.ndarray], Any]) -> tuple[float, float]:
    """(median seconds of a fit, accuracy) of `fitted`, which trains and gives a rule."""
    spent, right, count = [], 0, 0
    for bags, labels, held, truth in musk_folds(seed):
        seconds, rule = clocked(lambda bags=bags, labels=labels: fitted(bags, labels))
        spent.append(seconds)
        right, count = right + int(np.sum(rule(held) == truth)), count + len(truth)
    return float(np.median(spent)), right / count


def musk_peer(seed: int, folds: int, epochs: int) -> tuple[float, float]:
    """The same of ABMIL in torch, on the first `folds` of them."""
    import bags_peer

    spent, right, count = [], 0.0, 0
    for number, (bags, labels, held, truth) in enumerate(musk_folds(seed)):
        if number < folds:
            mean, deviation = bags.values.mean(axis=0), bags.values.std(axis=0)
            train, test = (
                [(bag - mean) / np.where(deviation > 0, deviation, 1) for bag in some] for some in (bags, held)
            )
            how = bags_peer.DENSE._replace(epochs=epochs)
            seconds, network = bags_peer.fit(train, labels, how, 100 * seed + number)
            spent.append(seconds)
            right, count = right + len(truth) * bags_peer.accuracy(network, test, truth), count + len(truth)
    return float(np.median(spent)), right / count


def benchmark_musk(options: argparse.Namespace) -> None:
    """The table of MUSK1."""
    print("## MUSK1: 92 bags of 2 to 40 tokens, 166 features, ten folds\n")
    if not (DATA / "mil_musk1").is_dir():
        print(f"{DATA / 'mil_musk1'} is missing, so this part is left out.\n")
        return
    for side in (musk_ours, musk_pooled):  # imports and caches
        side(0)
    seeds, peer_seeds, folds, epochs = (1, 1, 1, 1) if options.quick else (5, options.seeds, 10, 50)
    ours = [musk_ours(seed) for seed in range(seeds)]
    sides = {"AttentionClassifier()": ours}
    sides["min and max, SVC(C=10), scikit-learn"] = [musk_pooled(seed) for seed in range(seeds)]
    found = [peer_run("musk", seed, folds, epochs, "--threads", options.threads) for seed in range(peer_seeds)]
    if all(found):
        sides[f"ABMIL, three dense layers, SGD, {epochs} epochs"] = found
    rows, mine = [], np.mean([seconds for seconds, _ in ours])
    for name, runs in sides.items():
        seconds, accuracy = np.mean(runs, axis=0)
        same = float(np.mean([level for _, level in ours[: len(runs)]]))  # ours on the peer's seeds
        said = verdict(seconds / mine, same, accuracy) if name.startswith("ABMIL") and not options.quick else ""
        spread = mean_and_error([accuracy for _, accuracy in runs])
        rows.append((name, len(runs), shown(seconds), spread, f"{seconds / mine:.3g}", said))
    table(("side", "seeds", "time a fit", "accuracy", "times our time", "goal"), rows)


# --- MNIST-bags -----------------------------------------------------------------------------------------------------


def mnist_bags(length: int, count: int, seed: int) -> tuple[np.ndarray, ...]:
    """(bags (n, L, 784), labels) to train on and to test on; pixels between 0 and 1."""
    folder = DATA / "img_mnist_t10k"
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784).astype(np.float32) / 255
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        digits = np.frombuffer(file.read(), np.uint8, offset=8)
    draw, found = np.random.default_rng(seed), []
    for part in (slice(0, 5000), slice(5000, None)):
        nines, others = (np.flatnonzero(digits[part] == 9), np.flatnonzero(digits[part] != 9))
        labels = np.arange(count) % 2
        chosen = draw.choice(others, size=(count, length))
        positives = np.flatnonzero(labels)
        chosen[positives, draw.integers(length, size=len(positives))] = draw.choice(nines, size=len(positives))
        found += [images[part][chosen], labels]
    return tuple(found)


def mnist_peer(length: int, count: int, encoder: str, epochs: int) -> tuple[float, float]:
    """(seconds, accuracy) of ABMIL in torch."""
    import bags_peer

    bags, labels, held, truth = mnist_bags(length, count, 0)
    how = {"lenet": bags_peer.LENET, "dense": bags_peer.DENSE}[encoder]._replace(epochs=epochs)
    seconds, network = bags_peer.fit(bags, labels, how, 0)
    return seconds, bags_peer.accuracy(network, held, truth)


def benchmark_mnist(options: argparse.Namespace) -> None:
    """The table of MNIST-bags."""
    count, lengths = (40, MNIST_LENGTHS[:1]) if options.quick else (MNIST_BAGS, MNIST_LENGTHS)
    print(f"## MNIST-bags: {count} bags of L images of 784 pixels, tested on {count} others\n")
    if not (DATA / "img_mnist_t10k").is_dir():
        print(f"{DATA / 'img_mnist_t10k'} is missing, so this part is left out.\n")
        return
    print("ABMIL has one seed and the first draw of the bags; ours has three draws, and its time is their median.")
    head = ("L", "side", "time a fit", "accuracy on the first draw", "on all draws", "ABMIL's time over ours", "goal")
    for length in lengths:
        rows = []
        draws = [mnist_bags(length, count, seed) for seed in range(1 if options.quick else 3)]
        ours = []
        for name, standardize in (("standardize=False", False), ("", True)):
            runs = []
            for bags, labels, held, truth in draws:
                model = AttentionClassifier(standardize=standardize)
                seconds, _ = clocked(lambda m=model, b=bags, y=labels: m.fit(b, y))
                runs.append((seconds, float(np.mean(model.predict(held) == truth))))
            ours.append((np.median([seconds for seconds, _ in runs]), runs[0][1]))
            levels = mean_and_error([level for _, level in runs])
            rows.append(
                (length, f"AttentionClassifier({name})", shown(ours[-1][0]), f"{runs[0][1]:.3f}", levels, "", "")
            )
        for encoder, epochs in (("lenet", 1 if options.quick else 20), ("dense", 1 if options.quick else 50)):
            found = peer_run("mnist", length, count, encoder, epochs, "--threads", options.threads)
            if found is None:
                continue
            name = {"lenet": "LeNet, Adam", "dense": "three dense layers, SGD"}[encoder]
            times = found[0] / ours[0][0]
            said = "" if options.quick else verdict(times, ours[0][1], found[1])
            cells = (shown(found[0]), f"{found[1]:.3f}", "", f"{times:.3g}", said)
            rows.append((length, f"ABMIL, {name}, {epochs} epochs", *cells))
        table(head, rows)


# --------------------------------------------------------------------------------------------------------------------


def measure_peer(threads: int, what: str, *settings: str) -> None:
    """What a peer's process does: [seconds, accuracy] on standard output."""
    import bags_peer
    import torch

    torch.set_num_threads(threads)
    for how in (bags_peer.DENSE, bags_peer.LENET):  # what torch loads and compiles when it is first used
        bags_peer.fit(np.zeros((2, 5, 784)), np.arange(2), how._replace(epochs=1), 0)
    numbers = [int(one) if one.isdigit() else one for one in settings]
    print(json.dumps({"musk": musk_peer, "mnist": mnist_peer}[what](*numbers)))


def main() -> None:
    """Run the parts that were asked for."""
    parts = {
        "musk": benchmark_musk,
        "mnist": benchmark_mnist,
        "throughput": benchmark_throughput,
        "memory": benchmark_memory,
        "prediction": benchmark_prediction,
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run")
    parser.add_argument("--only", default=",".join(parts), help="parts, separated by commas")
    parser.add_argument("--threads", type=int, help="threads of all sides; all cores, or 1 with --quick")
    parser.add_argument("--seeds", type=int, default=2, help="seeds of ABMIL on MUSK1")
    parser.add_argument("--folder", help="where the large files are written, and deleted after")
    parser.add_argument("--peer", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.threads = options.threads or (1 if options.quick else CORES)
    with threadpool_limits(limits=options.threads, user_api="blas"):
        if options.peer:
            return measure_peer(options.threads, *options.peer)
        if options.measure:
            return measure_memory(options.measure[0], int(options.measure[1]))
        chosen = options.only.split(",")
        if unknown := [name for name in chosen if name not in parts]:
            parser.error(f"--only {unknown[0]!r}; accepted: {', '.join(parts)}")
        heading(options.threads)
        for name in chosen:
            parts[name](options)
    return None


def heading(threads: int) -> None:
    """The machine and the libraries."""
    print("# Bags\n")
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    name = names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()
    print(f"{name}, {CORES} cores, {threads} threads each side, load average at the start {os.getloadavg()[0]:.1f}")
    libraries = ["numpy", "scipy", "scikit-learn", "pyarrow"] + ["torch"] * (find_spec("torch") is not None)
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in libraries) + "\n")
    if find_spec("torch") is None:
        print("torch is not installed, so ABMIL is missing: pip install 'solvable[torch]'\n")


if __name__ == "__main__":
    main()
