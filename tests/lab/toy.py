"""A toy system whose laws are known: the mean of n Gaussians, and three things that a lab must survive."""

from __future__ import annotations

from typing import Literal

import jax
import numpy as np

from solvable.lab.declare import (
    Checked,
    Experiment,
    Observable,
    Outcome,
    Overlay,
    Result,
    SolveError,
    Status,
    Theory,
    axis,
    code,
    parameter,
    real,
    whole,
)
from solvable.numerics.validation import choice

calls: list[range] = []


DIMS = {"moments": ("order",)}


class ToyResult(Result):
    """A system's own result code."""

    PATCHY = code(10_000, "the toy is patchy")


class Gaussian(Checked):
    """n independent Gaussians of one location."""

    samples: int = whole()
    location: float = real(at_least=-10)


exact, derived = Status("exact", "derived"), Status("bound", "derived")
theories = {
    "law": Theory("the mean's expectation", dict.fromkeys(("mean", "scale", "moments"), exact)),
    "given_first": Theory("the mean given the first draw", {"mean": exact}, given=("first",)),
    "ceiling": Theory("a ceiling on the mean", {"mean": derived}),
}


def simulate(task: Gaussian, algorithm: str, /, *, key, replicates, at=None) -> Outcome:
    calls.append(replicates)
    if algorithm == "broken":
        raise RuntimeError("the toy is broken\non purpose")
    if algorithm == "timid":
        raise ValueError("kind='timid' cannot be simulated; accepted: 'plain'")
    with jax.enable_x64(True):
        draws = np.stack([jax.random.normal(jax.random.fold_in(key, r), (task.samples,)) for r in replicates])
    draws = draws + task.location
    codes = [ToyResult.PATCHY if algorithm == "patchy" and r % 4 == 3 else Result.SUCCESSFUL for r in replicates]
    mean = draws.mean(axis=1)
    values = {
        "mean": mean,
        "square": mean**2,
        "first": draws[:, 0],
        "scale": np.full(len(replicates), 2.0),
        "moments": np.stack([draws.mean(axis=1), (draws**2).mean(axis=1)], axis=1),
    }
    return Outcome.of(values, codes, DIMS, stats={"draws": draws.size})


def predict(task: Gaussian, algorithm: str, /, *, theory=None, given=None, at=None, throw=True) -> Outcome:
    name = choice("theory", theory or "law", tuple(theories))
    if algorithm == "unsolved":
        raise SolveError("the toy's equation: the solve stopped")
    if algorithm == "timid":
        raise ValueError("kind='timid' is out of the theory's domain; accepted: 'plain'")
    shift = 0.5 if algorithm == "shifted" else 0.0
    if name == "given_first":
        first = np.asarray(given.first)
        mean = (first + (task.samples - 1) * task.location) / task.samples
        return Outcome.of({"mean": mean + shift}, given.result, DIMS)
    mean = np.asarray(task.location + shift)
    if name == "ceiling":
        return Outcome.of({"mean": mean + 1.0}, 0, DIMS)
    values = {"mean": mean, "scale": np.asarray(2.0), "moments": np.array([mean, 1 + mean**2])}
    stats = {"standard_error": {"mean": 1e-6}, "nodes": 5}
    return Outcome.of(values, 0, DIMS, stats=stats)


class SampleMean(Experiment):
    """The mean of n Gaussians against n."""

    name, source, system = "toy/mean", "a textbook, Fig. 0", __name__
    samples: int = axis([4, 8, 16], "samples n", log=True)
    location: float = parameter(0.25, "location of the Gaussians")
    kind: Literal["plain", "shifted", "patchy", "broken", "unsolved", "timid"] = parameter("plain", "which toy")
    observables = (
        Observable("mean", "sample mean"),
        Observable("square", "squared mean", log=True),
        Observable("scale", "scale"),
        Observable("moments", "moments"),
    )
    overlays = (Overlay(), Overlay("given_first", given=True))
    panels = ("mean", "square")
    x = "samples"
    replicates = 12

    def task(self) -> Gaussian:
        return Gaussian(self.samples, self.location)

    def algorithm(self) -> str:
        return self.kind


class Ceiling(SampleMean):
    """A ceiling on the mean of n Gaussians."""

    name = "toy/ceiling"
    observables = (Observable("mean", "sample mean", bound="above"),)
    overlays = (Overlay("ceiling"),)
    panels = ()


class TheoryOnly(SampleMean):
    """The law alone."""

    name = "toy/law"
    overlays = (Overlay(),)
    replicates = 0


class Decay(Experiment):
    """An exponential decay against time, multiplied by a random factor of mean one."""

    name, source, system = "toy/decay", "a textbook, Fig. 1", __name__
    rate: float = axis([0.1, 0.3, 1.0], "decay rate", symbol="k")
    observables = (Observable("loss", "loss", log=True),)
    x = "at"
    replicates = 8

    def simulate(self, key, replicates) -> Outcome:
        at = np.linspace(0, 10, 101)
        factors = np.stack([jax.random.normal(jax.random.fold_in(key, r), (1,)) for r in replicates])
        loss = np.exp(-self.rate * at) * (1 + 0.1 * factors)
        return Outcome.of({"loss": loss}, np.zeros(len(replicates), int), {"loss": ("at",)}, at=at)

    def predict(self, overlay, given=None) -> Outcome:
        at = np.linspace(0, 10, 101)
        return Outcome.of({"loss": np.exp(-self.rate * at)}, 0, {"loss": ("at",)}, at=at)

    @classmethod
    def status(cls, overlay) -> dict[str, Status]:
        return {"loss": exact}


class Approach(Experiment):
    """A mean that is 2/dim off its limit, a largest fluctuation that is 1/sqrt(dim) off, against dim."""

    name, source, system, size_parameter = "toy/approach", "a textbook, Fig. 2", __name__, "dim"
    dim: int = axis([50, 100, 200, 400], "dimension d", log=True)
    offset: float = parameter(0.0, "error of the theory")
    kind: Literal["plain", "patchy", "broken"] = parameter("plain", "which toy")
    observables = (
        Observable("level", "level"),
        Observable("value", "value", allowance=lambda cell: 4.0 / cell.dim),
        Observable("largest", "largest", allowance=lambda cell: 4.0 / cell.dim**0.5, order=0.5),
        Observable("constant", "constant"),
    )
    overlays = (Overlay("limit"), Overlay("given_level", given=True))
    x = "dim"

    def simulate(self, key, replicates) -> Outcome:
        if self.kind == "broken" and self.dim < 200:
            raise RuntimeError("the toy is broken")
        noise = np.stack([jax.random.normal(jax.random.fold_in(key, r), (3,)) for r in replicates]) / self.dim**0.5
        level = 1 + noise[:, 0]
        short = [r for r in replicates if self.kind == "patchy" and (r % 4 == 3 or (self.dim < 200 and r > 0))]
        values = {
            "level": level,
            "value": level + 2 / self.dim + 0.1 * noise[:, 1],
            "largest": 2 / self.dim**0.5 + noise[:, 2],
            "constant": np.full(len(replicates), 3.0),
        }
        return Outcome.of(values, [ToyResult.PATCHY if r in short else Result.SUCCESSFUL for r in replicates], {})

    def predict(self, overlay, given=None) -> Outcome:
        if given is not None:
            level = np.asarray(given.level)
            return Outcome.of({"level": level, "value": level + self.offset}, given.result, {})
        values = {"level": 1.0, "value": 1.0 + self.offset, "largest": 0.0, "constant": 3.0}
        return Outcome.of(values, 0, {}, stats={"standard_error": {"value": 1e-6}})

    @classmethod
    def status(cls, overlay) -> dict[str, Status]:
        asymptotic = Status("asymptotic", "derived")
        if overlay.given:
            return {"level": exact, "value": asymptotic}
        return {"level": exact, "value": asymptotic, "largest": Status("heuristic", "derived"), "constant": asymptotic}
