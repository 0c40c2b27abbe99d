"""What the parts of `bags_of_real_data.py` share: where the data are, Markdown tables, how figures look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from solvable.bags import Bags
from solvable.lab.figures.theme import THEMES

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def folder(data: Path, name: str) -> Path:
    """The folder of a data set. Raises: FileNotFoundError naming it where it is absent."""
    if not (data / name).is_dir():
        raise FileNotFoundError(f"{data / name} is absent; accepted: a folder of data that holds {name} (--data)")
    return data / name


def read_bags(data: Path, name: str) -> tuple[Bags, np.ndarray]:
    """(bags, labels of 0 and 1) of mil_NAME: data.csv has a row a feature, the other files a line a token."""
    place = folder(data, f"mil_{name}")
    values = np.loadtxt(place / "data.csv", ndmin=2).T.copy()
    numbers = np.loadtxt(place / "bagids.csv", dtype=int)
    labels = np.loadtxt(place / "labels.csv", dtype=int)
    first = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    return Bags(values, np.append(first, len(numbers))), labels[first]


def read_series(data: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(series (n, T), labels) of ts_NAME in the .ts format, one channel; the training file, then the test file."""
    rows = []
    for path in sorted(folder(data, f"ts_{name}").glob("*.ts"), reverse=True):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] not in "#@"]
        rows += [line.split(":") for line in lines]
    series = np.array([[float(value) for value in values.split(",")] for values, _ in rows])
    return series, (np.array([float(label) for _, label in rows]) > 0).astype(int)


def windows(series: np.ndarray, length: int, stride: int) -> np.ndarray:
    """Overlapping windows of series (n, T): (n, windows, length)."""
    return np.lib.stride_tricks.sliding_window_view(series, length, axis=1)[:, ::stride]


def share(value: float) -> str:
    """A share as the tables show it: .915, 1.000, -.012."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 0.9995 else f"{value:.3f}"


def with_error(value: float, error: float) -> str:
    """A share with its standard error, where it has one."""
    return f"{share(value)} ± {share(error)}" if np.isfinite(error) else share(value)


def mean_and_error(values: Any) -> tuple[float, float]:
    """The mean of independent values and its standard error."""
    values = np.asarray(values, dtype=float)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def styled() -> Any:
    """A context in which figures look like those of the lab."""
    return mpl.rc_context({**THEMES["light"].style(), "figure.dpi": 200, "savefig.dpi": 200})


def save(figure: Any, figures: Path | None, name: str) -> None:
    """Write a figure to figures/bags-NAME.png, where figures are asked for."""
    if figures is not None:
        figure.savefig(figures / f"bags-{name}.png", bbox_inches="tight")
        print(f"figure: bags-{name}.png\n")
    plt.close(figure)
