"""What the figures of gossip share."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvable.iterations import gossip as gs
from solvable.lab.declare import Dimension, Experiment, Observable

JACOBI = "arXiv:1805.08531"
EPD = "arXiv:2202.10742"
CONTINUIZED = "arXiv:2106.07644"
LEFT = "squared error, $|x - mean|^2/n$"
# what is exact agrees up to rounding, which is all that is left of some errors
ERROR = Observable("squared_error", LEFT, allowance=lambda cell: 1e-16, log=True)
SMALLEST = 1e-14  # of an error that is drawn: below it is what rounding leaves of it


class Figure(Experiment):
    """What all figures share: the system, and rounds on the abscissa."""

    system = "solvable.iterations.gossip"
    x = "at"
    dimensions = {"at": Dimension("rounds")}


def method(name: str, dim: int = 2) -> Any:
    """The synchronous method of a name, on a network of dimension `dim`."""
    made = {
        "simple": gs.Simple,
        "jacobi": lambda: gs.Jacobi(dim),
        "jacobi with gap": lambda: gs.Jacobi(dim, gap="exact"),
        "shift register": gs.ShiftRegister,
        "published register": lambda: gs.ShiftRegister("published"),
        "chebyshev": gs.Chebyshev,
        "tuned": gs.Tuned,
        "parameter free": gs.ParameterFree,
        "local averaging": gs.LocalAveraging,
    }
    return made[name]()


def spread_rounds(last: int, count: int = 60) -> np.ndarray:
    """About `count` rounds from 0 to `last`."""
    return np.unique(np.round(np.linspace(0, last, count)).astype(int))


def named(name: str, weights: Any = "authors") -> gs.Network:
    """A network that everyone has: Zachary's karate club, the characters of Les Miserables, a grid, a tree.

    Raises: ImportError without networkx, which has the first two and the last.
    """
    if name == "grid":
        return gs.Grid((20, 20), weights=weights).network
    from solvable.iterations.gossip.task import graphs

    networkx = graphs()
    made = {
        "karate": networkx.karate_club_graph,
        "les miserables": networkx.les_miserables_graph,
        "tree": lambda: networkx.balanced_tree(2, 7),
    }
    return gs.Network.from_networkx(made[name](), weights=weights)
