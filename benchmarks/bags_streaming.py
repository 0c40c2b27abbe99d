"""The last three parts of `bags.py`: throughput of streamed fits, peak memory, prediction; and what all parts use."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from solvable.bags import AttentionClassifier, ParquetBags

SMALLER = 1.0  # GB
LENGTH, DIM = 50, 64
BLOCK = 2**13  # tokens that the plain sum and copy take at a time, as many as a block of the fit


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Print a Markdown table."""
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


def shown(seconds: float) -> str:
    """A time to three digits."""
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def one_to(threads: int) -> list[int]:
    """One thread and all of them."""
    return sorted({1, threads})


def clocked(function: Callable[[], Any]) -> tuple[float, Any]:
    """(wall seconds, value) of one call."""
    begun = time.perf_counter()
    value = function()
    return time.perf_counter() - begun, value


def processed(function: Callable[[], Any]) -> tuple[float, float]:
    """(wall seconds, CPU seconds) of one call; one thread's are the same but for the neighbours' turns."""
    cpu = time.process_time()
    wall, _ = clocked(function)
    return wall, time.process_time() - cpu


def least(function: Callable[[], Any], repeats: int) -> float:
    """The least wall seconds of some calls."""
    return min(clocked(function)[0] for _ in range(repeats))


def alone(*arguments: Any) -> Any:
    """The JSON document that `bags.py` prints last in a process of its own; None, with a line, where that fails."""
    command = [sys.executable, str(Path(__file__).with_name("bags.py").resolve()), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    print(f"{' '.join(map(str, arguments))} failed: {(done.stderr.splitlines() or ['no message'])[-1]}\n")
    return None


# --- throughput -----------------------------------------------------------------------------------------------------


class Watched(np.memmap):
    """A mapped array that notes in `begun` when it is read from its beginning: one more read of all tokens."""

    begun: Any

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice) and key.start == 0:
            self.begun.append(time.perf_counter())
        return np.asarray(super().__getitem__(key))


def write_tokens(path: Path, bags: int) -> np.ndarray:
    """Labels (n,); the file holds (n, LENGTH, DIM) float32 normals, a token of each positive bag moved by 3/sqrt(d)."""
    draw = np.random.default_rng(0)
    labels = np.arange(bags) % 2
    with open(path, "wb") as file:
        for start in range(0, bags, 2**12):
            own = labels[start : start + 2**12]
            tokens = draw.standard_normal((len(own), LENGTH, DIM), dtype=np.float32)
            tokens[:, 0] += (own * 3.0 / np.sqrt(DIM))[:, None].astype(np.float32)
            tokens.tofile(file)
    return labels


def mapped(path: Path, bags: int, kind: type = np.memmap) -> Any:
    """The file as an array."""
    return kind(path, dtype=np.float32, mode="r", shape=(bags, LENGTH, DIM))


def swept(array: np.ndarray, workers: int, work: Callable[[np.ndarray], Any]) -> None:
    """work(block) for all tokens, a block at a time, on some threads."""
    tokens = array.reshape(-1, DIM)
    parts = [tokens[start : start + BLOCK] for start in range(0, len(tokens), BLOCK)]
    if workers == 1:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, parts))


def benchmark_throughput(options: argparse.Namespace) -> None:
    """The tables of the streamed fits."""
    bags = 10_000 if options.quick else 100_000
    gigabytes = 4e-9 * bags * LENGTH * DIM
    print(f"## Throughput: {bags} bags of {LENGTH} tokens, {DIM} features, float32, {gigabytes:.2f} GB in one file\n")
    print(
        'The fits have head="linear" and keep features where bounded_memory=False. Rates count every read of the file.'
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "tokens"
        labels = write_tokens(path, bags)
        rows, details = [], []
        for workers in one_to(options.threads):
            with threadpool_limits(limits=workers, user_api="blas"):
                found = fits_beside_sums(path, labels, workers, 1 if options.quick else 3)
            rows, details = rows + found[0], details + found[1]
        table(("what", "threads", "reads", "time", "CPU", "GB/s", "share of the sum of the mapped file"), rows)
        print("Each read of the mapped file (where features are kept, the head's solve is part of the last one):")
        passes = ("moments", "query", "its scale", "features", "head", "held-out scores")
        table(("bounded_memory", "threads", *passes), details)
        parquet(Path(folder), mapped(path, bags)[: bags // 4], labels[: bags // 4], options.threads)


def fits_beside_sums(path: Path, labels: np.ndarray, workers: int, repeats: int) -> tuple[list[Any], list[Any]]:
    """Lines of both tables; the fit takes as many threads as BLAS may."""
    plain, watched = mapped(path, len(labels)), mapped(path, len(labels), Watched)
    tokens = np.array(plain)
    gigabytes, rows, details, rates = 1e-9 * tokens.nbytes, [], [], []
    for name, array, work in (
        ("sum of the mapped file", plain, np.sum),
        ("copy of the mapped file", plain, np.array),
        ("sum of an array in memory", tokens, np.sum),
    ):
        runs = [processed(lambda a=array, w=work: swept(a, workers, w)) for _ in range(3)]
        rates.append(gigabytes / min(runs)[0])
        cells = (workers, 1, *map(shown, min(runs)), f"{rates[-1]:.2f}", f"{rates[-1] / rates[0]:.0%}")
        rows.append((name, *cells))
    reads = {}
    for name, array, bounded in (
        ("mapped file", watched, False),
        ("mapped file", watched, True),
        ("array in memory", tokens, False),
    ):
        model = AttentionClassifier(head="linear", bounded_memory=bounded)
        runs = []
        for _ in range(repeats):
            watched.begun = []
            times = processed(lambda m=model, a=array: m.fit(a, labels))
            runs.append((times, np.diff([*watched.begun, time.perf_counter()])))
        (seconds, spent), parts = min(runs, key=lambda run: run[0])
        if array is watched:
            reads[bounded] = len(parts)
            details.append((bounded, workers, *map(shown, parts), *[""] * (6 - len(parts))))
        rate = reads[bounded] * gigabytes / seconds  # a fit reads an array in memory as often as a file
        cells = (workers, reads[bounded], shown(seconds), shown(spent), f"{rate:.2f}", f"{rate / rates[0]:.0%}")
        rows.append((f"fit of the {name}, bounded_memory={bounded}", *cells))
    return rows, details


def parquet(folder: Path, tokens: np.ndarray, labels: np.ndarray, workers: int) -> None:
    """The table of `ParquetBags`."""
    import pyarrow as pa
    import pyarrow.dataset
    import pyarrow.parquet

    pa.set_cpu_count(workers)
    path, bags = folder / "tokens.parquet", len(tokens)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(tokens).ravel()), DIM)
    columns = {"bag": np.repeat(np.arange(bags), LENGTH), "label": np.repeat(labels, LENGTH), "features": flat}
    pyarrow.parquet.write_table(pa.table(columns), path, compression="none", use_dictionary=False)
    source, gigabytes = ParquetBags(path), 4e-9 * tokens.size
    rows: list[tuple[Any, ...]] = []

    def added(name: str, reads: int, function: Callable[[], Any]) -> None:
        seconds = least(function, 3)
        rows.append((name, reads, shown(seconds), f"{reads * gigabytes / seconds:.2f}"))

    added("pyarrow.dataset, batches dropped", 1, lambda: [0 for _ in pyarrow.dataset.dataset(path).to_batches()])
    added("ParquetBags, batches dropped", 1, lambda: [0 for _ in source])
    added("fit", 4, lambda: AttentionClassifier(head="linear").fit(source))
    print(f"A Parquet file of {gigabytes:.2f} GB of tokens, not compressed, {workers} threads:")
    table(("what", "reads", "time", "GB/s"), rows)


# --- memory ---------------------------------------------------------------------------------------------------------


def resident(which: str) -> float:
    """VmRSS, VmHWM (its peak, mapped files included) or RssAnon (without files) of this process, in GB (Linux)."""
    return 1.024e-6 * int(Path("/proc/self/status").read_text().split(f"{which}:")[1].split()[0])


def measure_memory(path: str, bags: int) -> None:
    """What the measured process does: one JSON document on standard output."""
    base = resident("VmRSS")
    peak, done = [resident("RssAnon")], threading.Event()

    def sample() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], resident("RssAnon"))

    watcher = threading.Thread(target=sample)
    watcher.start()
    labels = np.arange(bags) % 2
    model = AttentionClassifier(head="linear", bounded_memory=True)
    seconds, _ = clocked(lambda: model.fit(mapped(Path(path), bags), labels))
    done.set()
    watcher.join()
    print(json.dumps({"base": base, "peak": resident("VmHWM"), "anonymous": peak[0], "seconds": seconds}))


def benchmark_memory(options: argparse.Namespace) -> None:
    """The table of the peak memory."""
    gigabytes = 0.2 if options.quick else 8.0
    bags = round(gigabytes * 1e9 / (4 * LENGTH * DIM))
    print(f"## Memory: {bags} bags, {gigabytes:g} GB of float32 tokens on disk, bounded_memory=True\n")
    if not Path("/proc/self/status").exists():
        print("There is no /proc here, so this part is left out.\n")
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "tokens"
        write_tokens(path, bags)
        found = alone("--measure", path, bags, "--threads", options.threads)
    if found is None:
        return
    peak, rate = found["peak"], 6 * gigabytes / found["seconds"]
    goal = "met" if peak < SMALLER else f"missed by {peak / SMALLER - 1:.0%}"
    head = ("peak resident memory", "peak without mapped files", "of which imports", "time of the fit", "GB/s", "goal")
    sizes = (f"{1e3 * found[name]:.0f} MB" for name in ("peak", "anonymous", "base"))
    table(head, [(*sizes, shown(found["seconds"]), f"{rate:.2f}", f"below {SMALLER:g} GB: {goal}")])


# --- prediction -----------------------------------------------------------------------------------------------------


def benchmark_prediction(options: argparse.Namespace) -> None:
    """The table of `predict`."""
    bags, train = (4_000, 500) if options.quick else (40_000, 2_000)
    gigabytes = 4e-9 * bags * LENGTH * DIM
    print(f"## Prediction: {bags} bags, {gigabytes:.2f} GB of float32 tokens in memory, {options.threads} threads\n")
    tokens = np.random.default_rng(0).standard_normal((bags, LENGTH, DIM), dtype=np.float32)
    labels = np.arange(train) % 2
    rows = []
    for head in ("linear", "rbf"):
        model = AttentionClassifier(head=head).fit(tokens[:train], labels)
        seconds = least(lambda m=model: m.predict(tokens), 1 if options.quick else 3)
        rows.append((f'head="{head}", trained on {train} bags', shown(seconds), f"{gigabytes / seconds:.2f}"))
    table(("estimator", "time", "GB/s"), rows)
