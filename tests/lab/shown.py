"""An experiment for tests of figures, whose numbers are made up and whose panels are set by each test."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray

from solvable.lab.declare import Dimension, Experiment, Observable, Overlay, axis
from solvable.lab.figures import default
from solvable.lab.figures.plot import Mark, Plot, Rule

SIZES, KINDS, STEPS = [1.0, 2.0, 4.0, 8.0], ["plain", "odd"], np.arange(5.0)


class Shown(Experiment):
    """Made-up numbers. Not the first sentence."""

    name, source, system, x = "toy/shown", "a textbook, Fig. 4", "tests.lab.toy", "size"
    size: float = axis(SIZES, "size n", log=True)
    kind: Literal["plain", "odd"] = axis(KINDS, "kind")
    rate: float = axis([0.1, 0.2, 0.3], "rate")
    observables = (
        Observable("value", "the value", unit="m"),
        Observable("other", "the other", log=True),
        Observable("path", "the path"),
    )
    overlays = (Overlay("law", words="the law"), Overlay("start", given=True))
    dimensions = {"at": Dimension("steps"), "order": Dimension("order")}


def made(**coordinates):
    """Every observable over these dims, `other` being ten times the value and a path having steps; no two alike."""
    dims = {name: np.asarray(values) for name, values in coordinates.items()}
    generator, runs = np.random.default_rng(1), {"replicate": np.arange(6)}

    def drawn(own):
        return tuple(own), generator.uniform(1.0, 2.0, [len(values) for values in own.values()])

    found = {"value": drawn(dims | runs), "path": drawn(dims | {"at": STEPS} | runs)}
    found["other"] = (found["value"][0], 10.0 * found["value"][1])
    found |= {"theory_value": drawn(dims), "theory_other": drawn(dims), "theory_path": drawn(dims | {"at": STEPS})}
    found |= {"start_given_value": drawn(dims | runs), "start_given_path": drawn(dims | {"at": STEPS} | runs)}
    return xarray.Dataset(found, dims | runs | {"at": STEPS})


def plots(data, *panels, **attributes) -> list[Plot]:
    """What the figure of these panels holds; `attributes` of the experiment are changed."""
    experiment = type("Changed", (Shown,), {"__module__": __name__, "__doc__": Shown.__doc__})
    for name, value in {"panels": panels, **attributes}.items():
        setattr(experiment, name, value)
    return list(default.sheet(experiment, data).plots)


def marks(plot: Plot, of: str) -> list[Mark]:
    """The marks of runs, of a theory, or of guides."""
    return [mark for mark in plot.marks if isinstance(mark, Mark) and mark.of == of]


def rules(plot: Plot) -> list[Rule]:
    """The lines across the plot."""
    return [mark for mark in plot.marks if isinstance(mark, Rule)]
