"""The figures of single-index targets, as declarations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from solvable.lab.declare import (
    Dimension,
    Experiment,
    Guide,
    Measured,
    Observable,
    Overlay,
    Panel,
    Status,
    axis,
    parameter,
)
from solvable.networks import single_index as si
from solvable.networks.single_index.flows import Flows

if TYPE_CHECKING:
    import jax

SOURCE = "arXiv:2303.00055"
DERIVED = f"{SOURCE} (figure and formulas: ours)"
TARGET, ACTIVATION = (0.6, 0.8, 0.6, 0.5), (0.4, 0.5, 0.3, 0.2)
STAGE, RATIO = Dimension("time / rate_ratio^(1/2)", log=True), Dimension("rate ratio", log=True)
TIME, DEGREE = Dimension("time", log=True), Dimension("degree")
Name = Literal["relu", "tanh", "erf"]
SEEN: Any = {"least": 1e-12}  # what is below is rounding
GIVEN = {"overlaps_given": "flow in overlaps", "mean_field_given": "mean field"}


def plateau(degree: int) -> Any:
    """The risk once a degree of the default target is learnt."""
    return lambda data: float(si.stages(TARGET, ACTIVATION).plateaus[degree])


class Figure(Experiment):
    """What all figures share."""

    system, x, replicates = "solvable.networks.single_index", "at", 8

    def task(self) -> Any:
        """The default target."""
        return si.SingleIndex(TARGET)


class MeanField(Figure, Measured):
    """What the figures of the mean-field flow share: flows from drawn outer weights, one a replicate."""

    neurons: int = parameter(100, "neurons", symbol="m", log=True)
    rate_ratio: float = parameter(1e-3, "rate ratio", log=True)

    overlays = (Overlay("stages", given=True),)

    def algorithm(self) -> Any:
        """Outer weights that are bounded, so that degree 2 does not depend on the largest of them."""
        return si.GradientFlow(self.rate_ratio, ACTIVATION, self.neurons, "uniform")

    def starts(self, key: jax.Array, replicates: int | range) -> np.ndarray:
        """Outer weights (R, m)."""
        from solvable.lab.declare import replicate_keys
        from solvable.networks.single_index.overlaps import generator

        return np.stack([self.algorithm().drawn_outer(generator(key, 0)) for key in replicate_keys(key, replicates)])

    def flow(self, rate_ratio: float, outer: np.ndarray, **options: Any) -> Any:
        """The mean-field flows."""
        task, algorithm, shared, _ = self.built()
        made = dataclasses.replace(algorithm, rate_ratio=rate_ratio)
        options = {"given": {"outer": outer}, "throw": False, **shared, **options}
        return si.predict(task, made, theory="mean_field", **options)

    def formulas(self, rate_ratio: float, outer: np.ndarray) -> np.ndarray:
        """Closed forms of the learning times (R, degree)."""
        task, algorithm, _, _ = self.built()
        made = dataclasses.replace(algorithm, rate_ratio=rate_ratio)
        options = {"theory": "stages", "given": {"outer": outer}, "at": [1.0]}
        return np.asarray(si.predict(task, made, **options).learning_times)

    def runs(self, key: jax.Array, replicates: int | range) -> Any:
        """Flows at the rate ratio of the cell."""
        outer = self.starts(key, replicates)
        return Flows.of(outer, {self.rate_ratio: self.flow(self.rate_ratio, outer)})


class Plateaux(MeanField):
    """Risk and residual components in log time: one degree after the other, with plateaus in between.

    Of the closed forms a factor exp(eps^(1/12)), what degree 2 leaves out, is accepted.
    """

    name, source = "single-index/plateaux", f"{SOURCE}, Theorem 1 and section 6 (setting: ours)"

    rate_ratio: float = axis([1e-2, 1e-4, 1e-6, 1e-8], "rate ratio", log=True)

    observables = (
        Observable("risk", "risk", dims=("at",)),
        Observable("components", "residual component $|\\rho_k|$", dims=("at", "degree")),
        Observable(
            "log_times",
            "$\\log_{10}$ of the learning time",
            dims=("learnt",),
            allowance=lambda cell: 0.25 * np.log10(np.e) * cell.rate_ratio ** (1.0 / 12.0),
        ),
    )
    statuses = {"log_times": Status("asymptotic", "derived")}
    dimensions = {"at": STAGE, "degree": DEGREE, "learnt": DEGREE}
    panels = (
        Panel(
            "risk",
            hue="rate_ratio",
            runs="first",
            log="x",
            theories={},
            guides=tuple(Guide("level", plateau(k), "plateaus" if k == 0 else "") for k in range(3)),
        ),
        Panel(
            "components",
            hue="degree",
            facet="rate_ratio",
            runs="first",
            log="x",
            absolute=True,
            frames="at",
            theories={},
            label="residual component $|\\rho_k|$",
        ),
        Panel("log_times", "rate_ratio", hue="learnt", theories={"stages_given": "formula"}, log="x"),
    )

    def shared(self) -> dict[str, Any]:
        """Times in units of stage 1, on one axis for all rate ratios."""
        return {"at": np.geomspace(1e-5, 1e4, 181), "unit": "stage"}

    def coordinates(self) -> Mapping[str, Any]:
        """Times and degrees."""
        return {"at": self.shared()["at"], "degree": np.arange(4), "learnt": np.arange(3)}

    def measure(self, run: Any) -> dict[str, Any]:
        """What was solved; of the times those that a formula speaks of."""
        one = run.only()
        values = {name: one[name] for name in ("risk", "components")}
        return {**values, "log_times": np.log10(one["learning_times"][:3])}

    def predicted(self, runs: Any) -> Any:
        """The formulas, which the last degree has not."""
        return {"log_times": np.log10(self.formulas(self.rate_ratio, runs.outer)[:, :3])}


class TimeScales(MeanField):
    """Learning times against the rate ratio, and the power of it that each degree takes."""

    name, source = "single-index/time-scales", f"{SOURCE}, section 6 (slopes of degrees 0 and 1 with logarithm: ours)"

    smallest: float = parameter(1e-11, "smallest rate ratio", log=True)
    largest: float = parameter(1e-8, "largest rate ratio", log=True)
    ratios: int = parameter(7, "rate ratios")

    observables = (
        Observable("slope", "power of the rate ratio", dims=("degree",)),
        Observable("times", "learning time", dims=("ratio", "degree"), log=True),
    )
    overlays = (Overlay("stages", given=True, compared=False),)  # degree 3 has .11 at 1e-11, not yet 1/6
    statuses = {"slope": Status("asymptotic", "derived")}
    dimensions = {"degree": DEGREE, "ratio": RATIO}
    panels = (
        Panel("times", "ratio", hue="degree", runs="each", log="xy", theories={}),
        Panel("slope", "degree", theories={"stages_given": "theory"}, label="power of the rate ratio"),
    )
    x = "degree"

    def all_ratios(self) -> np.ndarray:
        """The rate ratios of the fit."""
        return np.geomspace(self.smallest, self.largest, self.ratios)

    def shared(self) -> dict[str, Any]:
        """Long enough for every degree."""
        return {"at": [100.0]}

    def coordinates(self) -> Mapping[str, Any]:
        """Rate ratios and degrees."""
        return {"ratio": self.all_ratios(), "degree": np.arange(4)}

    def runs(self, key: jax.Array, replicates: int | range) -> Any:
        """Flows at every rate ratio from the same starts."""
        outer = self.starts(key, replicates)
        return Flows.of(outer, {float(ratio): self.flow(float(ratio), outer) for ratio in self.all_ratios()})

    def measure(self, run: Any) -> dict[str, Any]:
        """Slopes; that of degree 1 after its logarithm, which the formula knows, is taken out."""
        from solvable.numerics.recording import log_log_slope

        ratios = self.all_ratios()
        times = run.times()
        slope = log_log_slope(ratios, times.T)
        known = np.stack([self.formulas(float(ratio), run.outer[None])[0, 1] for ratio in ratios])
        slope[1] = 0.5 + log_log_slope(ratios, times[:, 1] / known)
        return {"slope": slope, "times": times}

    def predicted(self, runs: Any) -> Any:
        """The exponents."""
        return {"slope": si.stages(TARGET, ACTIVATION).exponents}


class Skipped(TimeScales):
    """The time of the last degree where one or two degrees before it are absent: a constant, and longer and longer."""

    name, source = "single-index/skipped", DERIVED

    absent: Literal[1, 2] = axis([1, 2], "absent degrees")
    smallest: float = parameter(1e-10, "smallest rate ratio", log=True)
    largest: float = parameter(1e-7, "largest rate ratio", log=True)
    ratios: int = parameter(4, "rate ratios")
    neurons: int = parameter(50, "neurons", symbol="m", log=True)

    observables = (
        # times are off by a share of the alignments at which degree 1 is learnt
        Observable("slope", "power of the rate ratio", allowance=lambda cell: 0.25 * cell.largest**0.25),
        Observable("times", "learning time of the last degree", dims=("ratio",), log=True),
    )
    overlays = (Overlay("stages", given=True),)
    dimensions = {"ratio": RATIO}
    panels = (
        Panel("times", "ratio", hue="absent", runs="each", log="xy", theories={}),
        Panel("slope", "absent", theories={"stages_given": "theory"}, label="power of the rate ratio", log=""),
    )
    x = "absent"

    def task(self) -> Any:
        """Degrees 0 and 1, then one or two that are absent, then the last."""
        return si.SingleIndex((0.6, 0.8, *[0.0] * self.absent, 0.5))

    def algorithm(self) -> Any:
        """An activation that has every degree."""
        return si.GradientFlow(self.largest, (*ACTIVATION, 0.15), self.neurons, "uniform")

    def shared(self) -> dict[str, Any]:
        """Long enough for a time that grows as rate_ratio^(-1/4)."""
        return {"at": [1e6]}

    def coordinates(self) -> Mapping[str, Any]:
        """Rate ratios."""
        return {"ratio": self.all_ratios()}

    def measure(self, run: Any) -> dict[str, Any]:
        """The last degree alone."""
        from solvable.numerics.recording import log_log_slope

        times = run.times()[:, -1]
        return {"slope": log_log_slope(self.all_ratios(), times), "times": times}

    def predicted(self, runs: Any) -> Any:
        """Its exponent: 0 after one absent degree, -1/4 after two."""
        return {"slope": float(si.stages(self.task().target, self.algorithm().activation).exponents[-1])}


def risk_difference(dataset: Any, prefix: str) -> Any:
    """The largest difference of the risks of SGD and of a theory over time, of each run."""
    return abs(dataset["risk"] - dataset[f"{prefix}risk"]).max("at") if prefix else None


class DescentFigure(Figure):
    """SGD in growing dimension against the flow at its dimension, given its start, and against mean field."""

    name, source = "single-index/descent", f"{SOURCE}, section 7 (setting: ours)"
    replicates = 6

    dim: int = axis([30, 100, 1000, 10000], "dimension", symbol="d", log=True)
    neurons: int = parameter(10, "neurons", symbol="m", log=True)
    batch: int = parameter(16, "batch")
    speed: float = parameter(0.1, "inner rate times dimension", log=True)
    rate_ratio: float = parameter(1e-2, "rate ratio", log=True)

    observables = (Observable("risk", "risk", allowance=lambda cell: 0.01),)  # four times as much is accepted
    overlays = (Overlay("overlaps", given=True), Overlay("mean_field", given=True, compared=False))
    dimensions = {"at": TIME}
    panels = (
        Panel("risk", facet="dim", title="{}", runs="mean", log="x", theories=GIVEN),
        Panel(risk_difference, "dim", label="largest difference of the risks", log="xy", theories=GIVEN),
    )

    def algorithm(self) -> Any:
        """The same number of samples a dimension in every cell."""
        return si.Descent(self.rate_ratio, self.speed / self.dim, self.batch, ACTIVATION, self.neurons, "uniform")

    def shared(self) -> dict[str, Any]:
        """To the end of degree 3."""
        return {"at": np.geomspace(0.01, 2.0, 31)}

    def sizes(self) -> dict[str, Any]:
        """The dimension."""
        return {"dim": self.dim}


class Width(Figure):
    """The flow at finite width and dimension against mean field: the difference vanishes in 1/m and 1/d."""

    name, source, size_parameter, x = "single-index/width", f"{SOURCE} (order of limits; figure: ours)", "neurons", "at"
    replicates = 16

    neurons: int = axis([10, 20, 40, 80], "neurons", symbol="m", log=True)
    dims_per_neuron: int = parameter(100, "dimension / neurons", log=True)
    rate_ratio: float = parameter(0.1, "rate ratio", log=True)

    observables = (Observable("risk", "risk", allowance=lambda cell: 0.25 / cell.neurons),)
    overlays = (Overlay("mean_field", given=True),)
    dimensions = {"at": TIME}
    panels = (
        Panel("risk", hue="neurons", theories={"mean_field_given": "mean field"}, log="x"),
        Panel(
            risk_difference,
            "neurons",
            label="largest difference of the risks",
            log="xy",
            theories={"mean_field_given": "flow against mean field"},
        ),
    )

    def algorithm(self) -> Any:
        """Gradient flow."""
        return si.GradientFlow(self.rate_ratio, ACTIVATION, self.neurons, "uniform")

    def shared(self) -> dict[str, Any]:
        """Until degree 1 is learnt, and degree 2 on its way."""
        return {"at": np.geomspace(0.01, 1.0, 9)}

    def sizes(self) -> dict[str, Any]:
        """The dimension, in proportion to the width."""
        return {"dim": self.dims_per_neuron * self.neurons}


class Relu(MeanField):
    """Three activations on each other's functions: what each can learn, and the floor of what it cannot."""

    name, source, replicates = "single-index/relu", DERIVED, 4

    target: Name = axis(["relu", "tanh", "erf"], "target")
    activation: Name = axis(["relu", "tanh", "erf"], "activation")
    rate_ratio: float = parameter(1e-4, "rate ratio", log=True)
    neurons: int = parameter(50, "neurons", symbol="m", log=True)
    degree: int = parameter(6, "degree at which both functions are cut")

    observables = (
        Observable("risk", "risk", dims=("at",), log=True),
        Observable("final_risk", "risk at the end", allowance=lambda cell: 1e-7),  # what the solver leaves
    )
    statuses = {"final_risk": Status("asymptotic", "derived")}
    dimensions = {"at": TIME}
    panels = (
        Panel("risk", hue="activation", facet="target", title="target {}", runs="first", log="xy", theories={}, **SEEN),
        Panel("final_risk", "activation", hue="target", theories={"stages_given": "floor"}, log=""),
    )

    def task(self) -> Any:
        """The target, cut at a degree."""
        return si.SingleIndex(si.hermite_coefficients(self.target, self.degree))

    def algorithm(self) -> Any:
        """One of three activations, cut at the same degree."""
        activation = si.hermite_coefficients(self.activation, self.degree)
        return si.GradientFlow(self.rate_ratio, activation, self.neurons, "uniform")

    def shared(self) -> dict[str, Any]:
        """Times that are long beside the learning time of a skipped degree."""
        return {"at": np.geomspace(1e-6, 1e4, 121)}

    def coordinates(self) -> Mapping[str, Any]:
        """Times."""
        return {"at": self.shared()["at"]}

    def measure(self, run: Any) -> dict[str, Any]:
        """The risk, and where it ends."""
        one = run.only()
        return {"risk": one["risk"], "final_risk": one["risk"][-1]}

    def predicted(self, runs: Any) -> Any:
        """The floor."""
        return {"final_risk": si.stages(self.task().target, self.algorithm().activation).floor}


class IndexTwo(Figure, Measured):
    """Without degree 1, a random start decides: the learning time of degree 2 grows as the logarithm of d."""

    name, source, x = "single-index/index-two", DERIVED, "neurons"

    neurons: int = axis([3, 5, 10], "neurons", symbol="m", log=True)
    rate_ratio: float = parameter(1e-2, "rate ratio", log=True)
    smallest: float = parameter(1e4, "smallest dimension", log=True)
    largest: float = parameter(1e10, "largest dimension", log=True)
    dims: int = parameter(4, "dimensions")

    observables = (
        Observable("slope", "learning time per factor e in dimension", allowance=lambda cell: 0.25 * cell.rate_ratio),
        Observable("times", "learning time of degree 2", dims=("dimension",)),
    )
    statuses = {"slope": Status("asymptotic", "derived")}
    overlays = (Overlay("stages"),)
    dimensions = {"dimension": Dimension("dimension", log=True)}
    panels = (
        Panel("times", "dimension", hue="neurons", runs="each", log="x", theories={}),
        Panel("slope", "neurons", theories={"stages": "derived"}, label="time per factor e in dimension", log="x"),
    )

    def task(self) -> Any:
        """Degrees 0 and 2."""
        return si.SingleIndex((0.6, 0.0, 0.6))

    def algorithm(self) -> Any:
        """Gradient flow in overlaps."""
        return si.GradientFlow(self.rate_ratio, ACTIVATION[:3], self.neurons)

    def all_dims(self) -> np.ndarray:
        """The dimensions of the fit."""
        return np.rint(np.geomspace(self.smallest, self.largest, self.dims))

    def coordinates(self) -> Mapping[str, Any]:
        """Dimensions."""
        return {"dimension": self.all_dims()}

    def runs(self, key: jax.Array, replicates: int | range) -> Any:
        """Flows in every dimension from the same random numbers."""
        task, algorithm, _, _ = self.built()
        options = {"key": key, "replicates": replicates, "at": [60.0]}
        found = {float(dim): si.simulate(task, algorithm, dim=int(dim), **options) for dim in self.all_dims()}
        return Flows.of(np.asarray(next(iter(found.values())).runs.start.outer), found)

    def measure(self, run: Any) -> dict[str, Any]:
        """The slope of the time in log d."""
        times = run.times()[:, 2]
        return {"slope": np.polyfit(np.log(self.all_dims()), times, 1)[0], "times": times}

    def predicted(self, runs: Any) -> Any:
        """s grows from d^(-1/2) as exp(2 sigma_2 phi_2 a t): 1 / (4 sigma_2 phi_2 a), a being where degree 0 settles.

        At finite width all a_i then are equal, and degree 1 of the activation has the neurons repel each other until
        their sum is 0: <u_i, u_j> = -1/(m-1), so that a = phi_0 sigma_0 / (sigma_0^2 + sigma_2^2 / (m-1)).
        """
        phi, sigma = np.asarray(self.built().task.target), np.asarray(self.built().algorithm.activation)
        settled = phi[0] * sigma[0] / (sigma[0] ** 2 + sigma[2] ** 2 / (self.neurons - 1))
        return {"slope": 0.25 / (sigma[2] * phi[2] * settled)}
