"""What is measured of runs, trained or predicted."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from solvable.networks.two_timescale.algorithms import Run
from solvable.networks.two_timescale.flow import State, risks


def measured(runs: Run, width: Any) -> dict[str, Any]:
    """The observables of runs."""
    state = State(*map(jnp.asarray, (runs.bias, runs.outer, runs.positions)))
    error = np.asarray(risks(runs.problem, state, width))
    places = np.asarray(runs.positions)
    apart = np.abs(places[:, -1, :, None] - np.asarray(runs.problem.positions)[:, None, :]).min(axis=1)
    return {
        "error": error,
        "positions": places,
        "outer": np.asarray(runs.outer),
        "bias": np.asarray(runs.bias),
        "hit_times": np.asarray(runs.hit_times),
        "covered": apart <= 0.5 * width,
        "final_error": error[:, -1],
    }
