"""The multiple-instance sets of `shared/data` beside the checkout, as Bags."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from solvable.bags import Bags

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def mil(name: str) -> tuple[Bags, np.ndarray]:
    """(Bags, labels (n,) of 0 and 1) of shared/data/mil_NAME; skips the test where it is absent."""
    if not (DATA / f"mil_{name}").is_dir():
        pytest.skip(f"shared/data/mil_{name} is not beside this checkout")
    return read(name)


@cache
def read(name: str) -> tuple[Bags, np.ndarray]:
    """Read once: data.csv has one row a feature and one column a token, the other files one line a token."""
    folder = DATA / f"mil_{name}"
    values = np.loadtxt(folder / "data.csv", ndmin=2).T.copy()
    numbers = np.loadtxt(folder / "bagids.csv", dtype=int)
    labels = np.loadtxt(folder / "labels.csv", dtype=int)
    first = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    return Bags(values, np.append(first, len(numbers))), labels[first]
