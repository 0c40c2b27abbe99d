"""The figures of single-location regression, as declarations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from solvable.attention import single_location as sl
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

SOURCE = "arXiv:2410.01537"
SETTINGS = f"{SOURCE}, dynamics figures (settings from the authors' code)"
EXACT = Status("exact", "derived")
ROUNDING = 1e-8  # the map and the vectors differ by rounding, which a saddle amplifies


WHOLE = (-1.05, 1.05)  # what an alignment can be, and a margin


def _fitted(cell: Any) -> float:
    """What a probe loses by its finite data, of the order of features a sample; accepted up to four times."""
    return 0.25 * cell.dim / cell.samples


class SingleLocationExperiment(Experiment):
    """What the figures share: the law of the sequences."""

    length: int = parameter(10, "tokens a sequence", symbol="L")
    dim: int = parameter(400, "dimension of a token", symbol="d")
    informative_scale: float = parameter(0.5**0.5, "standard deviation of the informative token", symbol="gamma")
    label_noise: float = parameter(0.0, "standard deviation of the label noise", symbol="epsilon")

    system = "solvable.attention.single_location"

    def task(self) -> Any:
        """One informative token a sequence."""
        return sl.SingleLocation(self.length, self.dim, self.informative_scale, self.label_noise)


def training_panels(words: str) -> tuple[Panel, ...]:
    """Every run over the steps, and in the plane of the two alignments; `words` name its prediction."""
    said: dict[str, Any] = {"theories": {"overlaps_given": words}, "runs": "each"}
    floor = Guide("level", "floor_final_excess_risk", "floor at $(k^*, v^*)$")
    return (
        Panel("excess_risk", guides=(floor,), least=1e-16, **said),
        Panel("query_alignment", label="|query alignment|", absolute=True, **said),
        Panel("value_alignment", label="|value alignment|", absolute=True, **said),
        Panel("value_alignment", "query_alignment", limits={"x": WHOLE, "y": WHOLE}, frames="at", **said),
        Panel("distance", least=1e-14, **said),
    )


class TrainingExperiment(SingleLocationExperiment):
    """What the figures of training over steps share."""

    full: bool = parameter(True, "train the vectors in d dimensions, not their overlaps alone")

    replicates = 30
    observables = (
        Observable("query_alignment", "query alignment", tolerance=ROUNDING),
        Observable("value_alignment", "value alignment", tolerance=ROUNDING),
        Observable("distance", "distance to the manifold", tolerance=ROUNDING, log=True),
        Observable("excess_risk", "excess risk", tolerance=ROUNDING, log=True, was=("risk",)),
        Observable("final_excess_risk", "excess risk at the end", tolerance=ROUNDING, was=("final_risk",)),
        Observable("aligned", "share that ends aligned", tolerance=ROUNDING),
    )
    overlays = (Overlay("overlaps", given=True), Overlay("floor", compared=False))
    panels = training_panels("predicted")
    x, dimensions = "at", {"at": Dimension("steps")}

    def sizes(self) -> dict[str, Any]:
        """Vectors or overlaps."""
        return {"full": self.full}


class Manifold(TrainingExperiment):
    """Training from the manifold: the query finds the location and the value the label."""

    name, source = "single-location/manifold", SETTINGS
    panels = training_panels("predicted")[:-1]  # it stays on the manifold

    inverse_temperature: float = parameter(0.1, "inverse temperature", symbol="lambda", log=True)
    learning_rate: float = parameter(4e-3, "learning rate", symbol="alpha", log=True)
    steps: int = parameter(20_000, "steps", log=True)

    def algorithm(self) -> Any:
        """Population descent from the manifold."""
        return sl.ProjectedDescent(self.inverse_temperature, self.learning_rate, self.steps, "manifold")


class Sphere(TrainingExperiment):
    """Training from anywhere: half the runs swap at a small inverse temperature, none aligns at a large one."""

    name, source = "single-location/sphere", SETTINGS

    inverse_temperature: float = axis([0.1, 0.9], "inverse temperature", symbol="lambda", log=True)
    learning_rate: float | None = parameter(None, "learning rate (none: 0.004, above inverse temperature 0.5 0.001)")
    steps: int | None = parameter(None, "steps (none: 20000, above inverse temperature 0.5 120000)")
    leak_penalty: float = parameter(0.0, "weight of the leak penalty, which cures the swap")

    def algorithm(self) -> Any:
        """Population descent from the spheres."""
        rate, steps = (1e-3, 120_000) if self.inverse_temperature > 0.5 else (4e-3, 20_000)
        rate = rate if self.learning_rate is None else self.learning_rate
        steps = steps if self.steps is None else self.steps
        return sl.ProjectedDescent(self.inverse_temperature, rate, steps, leak_penalty=self.leak_penalty)


class Schedule(TrainingExperiment):
    """Training from anywhere while the inverse temperature falls: nearly all runs end aligned.

    In the first thousand steps of these settings the descent is chaotic: a rounding error of 1e-16 grows to order one
    in half of the runs. Simulation and prediction then agree in mean over the runs, not run by run.
    """

    name, source = "single-location/schedule", SETTINGS
    observables = tuple(
        dataclasses.replace(one, tolerance=None, allowance=lambda cell: 1e-6) for one in TrainingExperiment.observables
    )

    inverse_temperature: float = parameter(1.0, "inverse temperature at the start", symbol="lambda", log=True)
    decay: float = parameter(1e-4, "it is divided by 1 + decay * step", log=True)
    learning_rate: float = parameter(4e-3, "learning rate", symbol="alpha", log=True)
    steps: int = parameter(120_000, "steps", log=True)

    def algorithm(self) -> Any:
        """Population descent with a falling inverse temperature."""
        return sl.ProjectedDescent(self.inverse_temperature, self.learning_rate, self.steps, decay=self.decay)


class StochasticDescent(TrainingExperiment):
    """One-pass stochastic gradient descent while the inverse temperature falls, against its noiseless run."""

    name, source = "single-location/sgd", SETTINGS

    dim: int = parameter(80, "dimension of a token", symbol="d")
    label_noise: float = parameter(0.1, "standard deviation of the label noise", symbol="epsilon")
    full: bool = parameter(False, "train the vectors in d dimensions, not the chain that is exact in law")
    batch: int = parameter(5, "fresh sequences a step", symbol="B")
    inverse_temperature: float = parameter(2.0, "inverse temperature at the start", symbol="lambda", log=True)
    decay: float = parameter(1e-4, "it is divided by 1 + decay * step", log=True)
    learning_rate: float = parameter(1e-3, "learning rate", symbol="alpha", log=True)
    steps: int = parameter(200_000, "steps", log=True)

    overlays = (Overlay("overlaps", given=True, compared=False), Overlay("floor", compared=False))
    panels = training_panels("without noise")

    def algorithm(self) -> Any:
        """Descent on fresh batches."""
        numbers = (self.inverse_temperature, self.learning_rate, self.steps)
        return sl.ProjectedDescent(*numbers, decay=self.decay, batch=self.batch)

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """The noiseless run is a heuristic for runs with noise."""
        stated = super().status(overlay)
        heuristic = {name: Status("heuristic", status.origin) for name, status in stated.items()}
        return heuristic if overlay.theory == "overlaps" else stated


class Basins(SingleLocationExperiment):
    """Where training from anywhere ends, against the inverse temperature: aligned or swapped, and what cures it."""

    name, source = "single-location/basins", f"{SOURCE} (swap point and cures: derived here)"
    replicates = 40

    dim: int = parameter(100, "dimension of a token", symbol="d")
    inverse_temperature: float = axis(
        [0.05, 0.1, 0.15, 0.2, 0.3, 0.4], "inverse temperature", symbol="lambda", log=True
    )
    cure: Literal["none", "penalty", "closed form"] = axis(
        ["none", "penalty", "closed form"], "plain descent, a leak penalty, or a closed-form value"
    )
    steps: int = parameter(20_000, "steps (closed form: a twentieth)", log=True)
    learning_rate: float = parameter(4e-3, "learning rate (closed form: 25 times)", symbol="alpha", log=True)
    leak_penalty: float = parameter(10.0, "weight of the leak penalty")

    observables = (
        Observable("aligned", "share that ends aligned", tolerance=ROUNDING),
        Observable("swapped", "share that ends swapped", tolerance=ROUNDING),
        Observable("final_excess_risk", "excess risk at the end", tolerance=1e-6, log=True, was=("final_risk",)),
    )
    overlays = (
        Overlay("overlaps", given=True, words="predicted from each start"),
        Overlay("floor", compared=False, words="at $(k^*, v^*)$"),
        Overlay("swap", compared=False, words="at the swap point"),
    )
    panels = (
        Panel("aligned"),
        Panel("swapped"),
        Panel(
            "final_excess_risk",
            where={"cure": "none"},
            theories={"floor": "at $(k^*, v^*)$", "swap": "at the swap point"},
            runs="each",
            title="no cure",
        ),
    )
    x = "inverse_temperature"

    def algorithm(self) -> Any:
        """Population descent from the spheres, cured or not."""
        if self.cure == "closed form":
            steps = max(1, self.steps // 20)
            return sl.ProjectedDescent(self.inverse_temperature, 25.0 * self.learning_rate, steps, value="closed_form")
        penalty = self.leak_penalty if self.cure == "penalty" else 0.0
        return sl.ProjectedDescent(self.inverse_temperature, self.learning_rate, self.steps, leak_penalty=penalty)

    def sizes(self) -> dict[str, Any]:
        """The vectors themselves are trained."""
        return {"full": True}


class Comparison(SingleLocationExperiment, Measured):
    """Excess risk against the dimension: the best attention head, linear attention, the best linear map, Bayes."""

    name = "single-location/floor"
    source = f"{SOURCE}, Corollary 2 and Proposition 3 (figure: derived here)"
    replicates = 10

    dim: int = axis([5, 10, 20, 50, 100, 200, 500, 1000, 2000], "dimension of a token", symbol="d", log=True)
    samples: int = parameter(20_000, "sequences a replicate", log=True)

    observables = (
        Observable("attention", "attention, unit value", log=True),
        Observable("linear_attention", "linear attention", log=True),
        Observable("linear", "linear map", log=True),
        Observable("bayes", "Bayes", log=True),
    )
    statuses = dict.fromkeys(("attention", "linear_attention"), EXACT) | {"linear": Status("exact", "stated")}
    panels = (
        Panel(
            ("linear", "attention", "linear_attention", "bayes"),
            label="excess risk",
            log="xy",
            limits={"y": (1e-3, 1.0)},
        ),
    )
    x = "dim"

    def runs(self, key: Any, replicates: int | range) -> Any:
        """Nothing is trained: mean squared errors on drawn sequences."""
        return sl.baselines.sampled_risks(self.task(), self.samples, key, replicates)

    def measure(self, run: Any) -> Mapping[str, Any]:
        """The risks of all four."""
        return run.risks

    def predicted(self, runs: Any) -> Mapping[str, Any]:
        """The exact risks of the first three."""
        task = self.task()
        attention, linear_attention = sl.oracle(task).risk, sl.linear_attention_risk(task)
        return {"attention": attention, "linear_attention": linear_attention, "linear": sl.linear_risk(task)}


class Probe(SingleLocationExperiment, Measured):
    """What a linear probe reads off the probe token before and after attention, untrained and trained."""

    name = "single-location/probe"
    source = f"{SOURCE}, Fig. 1 (stand-in without a pretrained network: derived here)"
    replicates = 8

    dim: int = parameter(40, "dimension of a token", symbol="d")
    stage: Literal["before", "uniform", "untrained", "trained"] = axis(
        ["before", "uniform", "untrained", "trained"], "what the probe reads"
    )
    inverse_temperature: float = parameter(0.2, "inverse temperature", symbol="lambda", log=True)
    learning_rate: float = parameter(1.0, "learning rate", symbol="alpha", log=True)
    steps: int = parameter(100, "steps", log=True)
    samples: int = parameter(4000, "sequences for training and probe, and as many for each test", log=True)

    observables = (
        Observable("test_accuracy", "probe accuracy, new sequences", allowance=_fitted),
        Observable("longer_accuracy", "probe accuracy, twice as long", allowance=_fitted),
        Observable("train_accuracy", "probe accuracy, its own data"),
        Observable("alignment", "query alignment"),
    )
    statuses = dict.fromkeys(("test_accuracy", "longer_accuracy"), Status("asymptotic", "derived"))
    overlays = (Overlay(given=True),)
    panels, x = ("test_accuracy", "longer_accuracy", "alignment"), "stage"

    def algorithm(self) -> Any:
        """Descent of the query on a data set, from a query orthogonal to v*; the value in closed form."""
        numbers = (self.inverse_temperature, self.learning_rate, self.steps)
        return sl.ProjectedDescent(*numbers, "manifold", value="closed_form")

    def runs(self, key: Any, replicates: int | range) -> Any:
        """Heads of this stage."""
        return sl.probe.probed(self.task(), self.algorithm(), self.stage, self.samples, key, replicates)

    def measure(self, run: Any) -> Mapping[str, Any]:
        """The probe's accuracies, and the alignment of the query."""
        return {**sl.probe.accuracies(self.task(), self.stage, self.samples, run), "alignment": run.alignment}

    def predicted(self, runs: Any) -> Mapping[str, Any]:
        """The accuracies of a probe along v*, given the alignments."""
        return sl.probe.predicted_accuracies(self.task(), self.algorithm(), self.stage, runs.alignment)
