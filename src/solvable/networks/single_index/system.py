"""Two-layer networks on a single-index target as a system: runs are made and measured, and predicted alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from solvable.lab.declare import Example, Given, Outcome, System, recorded_times
from solvable.networks.single_index.algorithms import (
    DIM,
    Descent,
    GradientFlow,
    Network,
    Run,
    default_times,
    require_feasible,
    scale_of,
)
from solvable.networks.single_index.overlaps import Start, checked
from solvable.networks.single_index.task import SingleIndex
from solvable.networks.single_index.theories import observables, theories
from solvable.numerics.validation import floating, integer, truth

Unit = Literal["time", "stage"]


class SingleIndexNetworks(System):
    """Two-layer networks that learn a single-index target, one Hermite degree after the other."""

    tasks = (SingleIndex,)
    algorithms = (GradientFlow, Descent)
    observables = observables
    theories = theories
    units = ("time", "stage")
    run_types = (Run,)

    def times(self, task: SingleIndex, algorithm: Network, at: Any, unit: str) -> np.ndarray:
        """Nondecreasing times, or multiples of rate_ratio^(1/2)."""
        return recorded_times(at, default_times(algorithm) / scale_of(algorithm, unit))

    def _theory(self, task: Any, algorithm: Any, theory: str | None, given: Any) -> str:
        """Without a start only what needs none speaks; with outer weights alone, too."""
        if theory is None and isinstance(given, Mapping) and "alignment" in given and "gram" not in given:
            raise ValueError(
                "given has an alignment and no gram; accepted: both, or outer weights alone, from which neurons start "
                "at alignment 0"
            )
        alone = given is None or (isinstance(given, Mapping) and "gram" not in given and "start" not in given)
        return super()._theory(task, algorithm, "mean_field" if theory is None and alone else theory, given)

    def train(
        self,
        task: SingleIndex,
        algorithm: Network,
        keys: Any,
        at: Any,
        unit: str,
        dim: int = DIM,
        full: bool = False,
        **sizes: Any,
    ) -> Run:
        """One run a key, from random weights in dimension `dim`."""
        dim, full = integer("dim", dim, at_least=2), truth("full", full)
        require_feasible(algorithm, dim, full)
        times = at * scale_of(algorithm, unit)
        runs = [algorithm.run_one(task.sample(key), key, times, dim, full) for key in keys]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *runs)

    def measure(self, task: SingleIndex, algorithm: Network, runs: Run, at: Any) -> Mapping[str, Any]:
        """The observables of every run."""
        return {one.name: getattr(runs, one.name) for one in observables}

    def runs_given(self, task: SingleIndex, algorithm: Network, given: Given | None) -> Any:
        """The starts given, (R, m) and (R, m, m), checked."""
        if given is None:
            return None
        start = given.get("start")
        if start is not None:
            given.fields |= {name: getattr(start, name) for name in ("outer", "alignment", "gram")}
        outer = floating("given outer", given.need("outer"), np.float64)
        if outer.ndim != 2 or outer.shape[1] != algorithm.neurons:
            raise ValueError(f"given outer has shape {outer.shape}; accepted: (replicates, {algorithm.neurons})")
        given.fields = {"outer": outer, "alignment": given.get("alignment"), "gram": given.get("gram")}
        for name, shape in (("alignment", outer.shape), ("gram", (*outer.shape, algorithm.neurons))):
            if given.get(name) is not None:
                given.fields[name] = floating(f"given {name}", given.fields[name], np.float64)
                if given.fields[name].shape != shape:
                    found = given.fields[name].shape
                    raise ValueError(f"given {name} has shape {found}; accepted: {shape}, as outer has it")
        if given.get("alignment") is not None and given.get("gram") is not None:
            for row in zip(outer, given.fields["alignment"], given.fields["gram"], strict=True):
                checked(Start(*row))
        given.result = given.codes(len(outer))
        return given

    def coordinates(self, task: SingleIndex, algorithm: Network) -> Mapping[str, Any]:
        """The degrees."""
        return {"degree": np.arange(algorithm.model(task).degrees)}

    def example(self) -> Example:
        """Four neurons in twenty dimensions, and outer steps too long for any number."""
        task, flow = SingleIndex((0.6, 0.8)), GradientFlow(0.1, (0.4, 0.5), 4)
        failing = (task, Descent(1e-200, 0.1, 1, (0.4, 0.5), 4))
        more = {"sizes": {"dim": 20}, "at": [0.01, 0.1, 1.0], "agreement": {"risk": 1e-9, "components": 1e-9}}
        return Example(task, flow, task, failing=failing, **more)


SYSTEM = SingleIndexNetworks()
curve = SYSTEM.curve


def simulate(
    task: SingleIndex,
    algorithm: GradientFlow | Descent,
    /,
    *,
    dim: int = DIM,
    key: jax.Array | None = None,
    replicates: int | range = 1,
    at: Any = None,
    unit: Unit | None = None,
    full: bool = False,
) -> Outcome:
    """Train from random weights in dimension `dim` and measure at the times `at`.

    `at` (K,) are times of the inner layer, nondecreasing; with unit="stage" multiples of rate_ratio^(1/2), so that
    runs of several ratios share an axis; None: 121 times from rate_ratio/100 to 10, even in the logarithm. A gradient
    flow is integrated in neurons + 1 coordinates, SGD runs as a chain in neurons + 1 coordinates that has its law;
    `full=True` trains the d-dimensional weights themselves. Replicate r depends on `key` and r alone, and what SGD
    sees at a step does not depend on `at`. A run that meets a value which is not finite is NaN with its reason.

    Observables: `risk` (at,) E (phi - f)^2 / 2, without label noise; `components` (at, degree) rho_k = phi_k -
    sigma_k mean a_i s_i^k; `alignment` (at, neuron) s; `outer` (at, neuron) a; `learning_times` (degree,) the last
    time at which |rho_k| > |phi_k| / 2 (located within the solver's step, or the step of SGD): inf where it has not
    come by the last of `at`, 0 where |rho_k| never was above, NaN where phi_k = 0; in units of time whatever `unit` is.
    The outcome also holds `start`,
    with its `outer`, `alignment` and `gram`.

    Raises: TypeError for a task or an algorithm of another system; ValueError for bad times, a dimension below
    neurons + 2 or a batch above dim - neurons - 1 in the chain, and flows that take more than an hour. Warns where
    inner_rate x dim > 2.
    """
    return SYSTEM.simulate(task, algorithm, dim=dim, key=key, replicates=replicates, at=at, unit=unit, full=full)


def predict(
    task: SingleIndex,
    algorithm: GradientFlow | Descent,
    /,
    *,
    theory: str | None = None,
    given: Any = None,
    at: Any = None,
    unit: Unit | None = None,
    throw: bool = True,
) -> Outcome:
    """What theory says of training with `algorithm`, in the observables of `simulate` (see `theories`).

    "overlaps" needs `given`, an outcome of `simulate`, a run, or a mapping with outer (R, m), alignment (R, m) and gram
    (R, m, m) of the start, and is what speaks with it; "mean_field" reads outer weights, and without `given` takes
    those of the algorithm, of a law its quantiles: it is what speaks then, without `alignment` and `outer` where they
    are drawn. `at` and `unit` are as in `simulate`, or those of the outcome given.

    Raises: TypeError for a task, an algorithm or something given of another system; ValueError for an unknown theory,
    bad times or starts, and rate_ratio below 1e-12 / E phi^2 with "mean_field"; SolveError, unless throw=False, when a
    flow fails.
    """
    return SYSTEM.predict(task, algorithm, theory=theory, given=given, at=at, unit=unit, throw=throw)
