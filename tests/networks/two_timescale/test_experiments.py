"""The figures of two-timescale networks: what they measure, and that simulation and theory agree where they compare."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from solvable import lab
from solvable.lab.declare import registry
from solvable.networks import two_timescale as tt
from solvable.networks.two_timescale.additive import AdditiveRun, additive_risk
from solvable.networks.two_timescale.experiments import Convergence
from solvable.networks.two_timescale.integrals import sigmoid

EXPERIMENTS = registry.experiments()
FAST = {
    "two-timescale/convergence": {"rate_ratio": [1e-3], "outer_rate": [1e-3], "neurons": [6], "last": [0.01]},
    "two-timescale/equal": {"outer_rate": [1e-4], "neurons": [6], "last": [0.02]},
    "two-timescale/ratio": {"rate_ratio": [0.01], "outer_rate": [1e-4], "neurons": [6], "last": [0.01]},
    "two-timescale/neurons": {"neurons": [4], "rate_ratio": [1e-2], "inner_rate": [1e-6], "last": [0.01]},
    "two-timescale/width": {"width": [0.01], "neurons": [6], "rate_ratio": [1e-3]},
    "two-timescale/two-dimensions": {"rate_ratio": [1.0], "neurons": [3], "samples": [50]},
}


@pytest.mark.parametrize("name", FAST)
def test_every_figure_runs(name: str, tmp_path) -> None:
    data = lab.run(EXPERIMENTS[name], FAST[name], replicates=2, out=tmp_path)
    for observable in EXPERIMENTS[name].observables:
        assert np.isfinite(data[observable.name].values).all(), observable.name
    rows = lab.compare(tmp_path, EXPERIMENTS[name])
    assert bool(rows) == any(one.compared for one in EXPERIMENTS[name].overlays)


def test_the_fitted_function_is_that_of_the_run() -> None:
    cell = Convergence(rate_ratio=1e-3, outer_rate=1e-3, neurons=6, last=0.01)
    outcome = cell.simulate(jax.random.key(0), 2)
    x = outcome.along("x")
    error = np.mean((outcome.fit[:, -1] - tt.PiecewiseConstant().of(x)) ** 2, axis=1)
    np.testing.assert_allclose(error, outcome.error[:, -1], rtol=0.15)
    limit = cell.predict(cell.overlays[0], outcome)
    np.testing.assert_allclose(
        np.mean((limit.fit[:, -1] - tt.PiecewiseConstant().of(x)) ** 2, axis=1), limit.error[:, -1], rtol=0.15
    )


def test_the_risk_of_additive_networks_is_its_integral() -> None:
    rng, task = np.random.default_rng(0), tt.PiecewiseConstant([1.0, 1.0, 1.0], [0.3, 0.5, 0.7], 0.0, 0.0)
    run = AdditiveRun(None, rng.random((2, 4)), rng.normal(size=(2, 4)), np.float64(0.2), 0)
    x = (np.arange(4000) + 0.5) / 4000.0
    parts = [
        sigmoid((x[:, None] - u) / 0.05)[0] @ a - task.of(x) for u, a in zip(run.positions, run.outer, strict=True)
    ]
    expected = np.mean((0.2 + parts[0][:, None] + parts[1][None, :]) ** 2)
    np.testing.assert_allclose(additive_risk(task, run, 0.05), expected, rtol=1e-3)
