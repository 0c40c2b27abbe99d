"""The figures of two-timescale networks, as declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from solvable.networks import two_timescale as tt

if TYPE_CHECKING:
    import jax

SOURCE = "arXiv:2304.09576"
TIME = Dimension("slow time")
RATIO, RATE = "rate ratio, inner over outer", "learning rate of the outer layer"
X = np.linspace(0.0, 1.0, 401)
ASYMPTOTIC = Status("asymptotic", "derived")
LIMIT = {"limit_given": "limit"}


class Figure(Experiment):
    """What all figures share: the paper's target and width."""

    system = "solvable.networks.two_timescale"
    width: float = parameter(4e-3, "width of the sigmoids", symbol="eta", log=True)
    neurons: int = parameter(20, "neurons", symbol="m", log=True)

    def task(self) -> Any:
        """The authors' target, values 1, 5, 1, 3, 1, 5."""
        return tt.PiecewiseConstant()


class Paths(Figure):
    """What figures of paths share: the fitted function, and how far the nearest neuron is from each jump."""

    x, replicates, dimensions = "at", 4, {"at": TIME, "x": Dimension("x"), "jump": Dimension("jump")}
    rate_ratio: float = parameter(2e-5, RATIO, symbol="eps", log=True)
    outer_rate: float = parameter(1e-5, RATE, symbol="h", log=True)
    last: float = parameter(0.035, "last slow time")
    observables = (
        # steps of a rate h leave an excess of about neurons h; 0.003 are what the paper's setting leaves beside it
        Observable(
            "error",
            "error",
            allowance=lambda cell: 0.25 * (0.003 + 1.5 * cell.neurons * cell.outer_rate),
            log=True,
            dims=("at",),
        ),
        Observable("fit", "f(x)", dims=("at", "x")),
        Observable("distance", "distance of the nearest neuron", dims=("at", "jump")),
    )
    panels = (
        Panel("error", runs="first", log="y"),
        Panel("distance", runs="first", hue="jump", log="y", least=1e-5),
        Panel("fit", "x", runs="first", frames="at", title="one run"),
    )

    def algorithm(self) -> Any:
        """Stochastic gradient descent."""
        return tt.Descent(self.rate_ratio, self.outer_rate, self.neurons, self.width)

    def shared(self) -> dict[str, Any]:
        """Slow times."""
        return {"at": np.linspace(0.0, self.last, 71)}

    def coordinates(self) -> Mapping[str, Any]:
        """Where f is drawn, and the jumps."""
        return {"x": X, "jump": self.task().positions}

    def simulate(self, key: jax.Array, replicates: int | range) -> Any:
        """Train, and look at the function."""
        return self._seen(super().simulate(key, replicates))

    def predict(self, overlay: Overlay, given: Any = None) -> Any:
        """Predict, and look at the function."""
        return self._seen(super().predict(overlay, given))

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """Both theories are limits, the flow that of small outer rates."""
        return dict.fromkeys((one.name for one in cls.observables), ASYMPTOTIC)

    def _seen(self, outcome: Any) -> Any:
        from solvable.lab.declare import Outcome
        from solvable.networks.two_timescale.integrals import sigmoid

        width = 1e-9 if outcome.theory == "limit" else self.width
        fit = np.zeros((*outcome.bias.shape, len(X)))
        for place in np.ndindex(*outcome.bias.shape):
            value, _, _ = sigmoid((X[:, None] - outcome.positions[place]) / width)
            fit[place] = outcome.bias[place] + value @ outcome.outer[place]
        apart = np.abs(outcome.positions[..., None] - self.task().positions).min(axis=-2)
        values = {"error": outcome.error, "fit": fit, "distance": apart}
        dims = {one.name: one.dims for one in self.observables}
        about = {"at": outcome.at, "runs": outcome.runs, "theory": outcome.theory, "coordinates": self.coordinates()}
        status = {name: outcome.status["error"] for name in values if outcome.theory}
        return Outcome.of(values, outcome.result, dims, **about, status=status)


class Convergence(Paths):
    """Error, neurons and fitted function of runs with slow positions, beside the limit and the flow of their start."""

    name, source = "two-timescale/convergence", f"{SOURCE}, Figs. 3 and 4"
    overlays = (
        Overlay("limit", given=True, compared=False, words="limit"),
        Overlay("flow", given=True, compared=("error",), words="flow at this ratio"),
    )


class Equal(Paths):
    """Error, neurons and fitted function of runs with equal learning rates, beside the flow of their start.

    At the paper's outer rate a step moves a neuron by more than its width: runs leave the flow sooner or later.
    """

    name, source = "two-timescale/equal", f"{SOURCE}, Fig. 5"
    rate_ratio: float = parameter(1.0, RATIO, symbol="eps", log=True)
    last: float = parameter(10.0, "last slow time")
    overlays = (Overlay("flow", given=True, compared=False, words="flow at this ratio"),)


class Ratio(Figure):
    """Final error and jumps covered against the ratio of learning rates, beside the limit of every run's own start."""

    name, source = "two-timescale/ratio", f"{SOURCE}, v1 Fig. 7, the appendix of the final version"
    x, replicates, dimensions = "rate_ratio", 20, {"jump": Dimension("jump")}
    rate_ratio: float = axis([1.0, 0.1, 0.01, 0.001], RATIO, symbol="eps", log=True)
    outer_rate: float = parameter(1e-5, RATE, symbol="h", log=True)
    last: float = parameter(3.0, "last slow time")
    observables = (
        Observable("final_error", "final error", log=True),
        Observable("covered", "share of runs that cover a jump"),
    )
    overlays = (Overlay("limit", given=True, compared=False),)  # how far ratios are from it is what the figure shows
    panels = (
        Panel(
            "final_error", runs="each", log="xy", theories={}, guides=(Guide("level", 0.008, "floor of width 0.004"),)
        ),
        Panel("covered", hue="jump", theories=LIMIT, log="x"),
    )

    def algorithm(self) -> Any:
        """Stochastic gradient descent."""
        return tt.Descent(self.rate_ratio, self.outer_rate, self.neurons, self.width)

    def shared(self) -> dict[str, Any]:
        """The end alone."""
        return {"at": [self.last]}


class Neurons(Figure, Measured):
    """Share of runs that cover every jump against the number of neurons, beside the limit.

    The limit is that of the same starts. What two neurons in every piece guarantee is drawn below it.
    """

    name, source = "two-timescale/neurons", f"{SOURCE} (figure and probabilities: derived here)"
    x, replicates = "neurons", 24
    neurons: int = axis([4, 6, 8, 10, 12, 16, 20, 28, 40], "neurons", symbol="m", log=True)
    rate_ratio: float = axis([1e-3, 1e-4], RATIO, log=True)
    inner_rate: float = parameter(1e-7, "learning rate of the positions", log=True)
    last: float = parameter(0.3, "last slow time")
    observables = (
        Observable(
            "success", "share of runs that cover every jump", allowance=lambda cell: 0.25 * cell.rate_ratio**0.5
        ),
    )
    statuses = {"success": ASYMPTOTIC}
    overlays = (
        Overlay("limit", given=True, words="limit of the same starts"),
        Overlay("valid", words="two neurons in every piece", compared=False),
    )
    panels = (Panel("success", hue="rate_ratio", log="x"),)

    def algorithm(self) -> Any:
        """Stochastic gradient descent."""
        return tt.Descent(self.rate_ratio, self.inner_rate / self.rate_ratio, self.neurons, self.width)

    def shared(self) -> dict[str, Any]:
        """The end alone."""
        return {"at": [self.last]}

    def measure(self, run: Any) -> dict[str, Any]:
        """Whether every jump has a neuron within width/2."""
        apart = np.abs(run.positions[-1][:, None] - self.task().positions).min(axis=0)
        return {"success": np.all(apart <= 0.5 * self.width)}

    def predicted(self, runs: Any) -> dict[str, Any]:
        """Whether the limit is at error 0 by then; without runs, the probability of starts that end there for sure."""
        if runs is None:
            return {"success": tt.valid_probability(self.task(), self.neurons)}
        errors = [tt.limit_flow(self.task(), one).error([self.last])[0] for one in runs.start]
        return {"success": np.array(errors) <= 1e-9}


class Width(Figure):
    """Final error against the width of the sigmoids at a small ratio, beside width/28 sum jump^2."""

    name, source = "two-timescale/width", f"{SOURCE} (figure and floor: derived here)"
    x, replicates = "width", 4
    width: float = axis([0.001, 0.002, 0.005, 0.01, 0.02, 0.05], "width of the sigmoids", symbol="eta", log=True)
    rate_ratio: float = parameter(1e-4, RATIO, symbol="eps", log=True)
    last: float = parameter(0.1, "last slow time")
    # the floor is that of far jumps: a share of width over the smallest piece, 0.15, of it is accepted
    observables = (
        Observable("final_error", "final error", allowance=lambda cell: 0.25 * 2.0 * cell.width**2 / 0.15, log=True),
    )
    overlays = (
        Overlay("limit", given=True, words="limit and floor"),
        Overlay("readout", given=True, words="best readout where the limit ends", compared=False),
    )
    panels = (Panel("final_error", log="xy", guides=(Guide("slope", 1.0, "slope 1"),)),)

    def algorithm(self) -> Any:
        """The population flow."""
        return tt.GradientFlow(self.rate_ratio, self.neurons, self.width)

    def shared(self) -> dict[str, Any]:
        """The end alone."""
        return {"at": [self.last]}

    def predict(self, overlay: Overlay, given: Any = None) -> Any:
        """The limit, or the best readout of the neurons where the limit has them."""
        if overlay.theory != "readout":
            return super().predict(overlay, given)
        from solvable.lab.declare import Outcome

        found = super().predict(Overlay("limit", given=True), given)
        best = [tt.best_readout(self.task(), one[-1], self.width).risk for one in found.positions]
        return Outcome.of({"final_error": np.array(best)}, found.result, {"final_error": ()}, runs=found.runs)

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """A readout is exact for its positions, which are those of the limit."""
        return {"final_error": ASYMPTOTIC} if overlay.theory == "readout" else super().status(overlay)


class TwoDimensions(Measured):
    """An additive target of two coordinates with slow and with equal rates: jumps covered, error and its limit.

    With the square loss and a bias the problem separates, and the limit of every coordinate is that of one dimension;
    the authors' loss is a norm, without a bias, and is only shown.
    """

    name, source = "two-timescale/two-dimensions", f"{SOURCE}, Fig. 6 and App. C (square loss: derived here)"
    system, x, replicates = "solvable.networks.two_timescale", "rate_ratio", 12
    dimensions = {"jump": Dimension("jump")}
    loss: Literal["square", "norm"] = axis(["square", "norm"], "mean square with a bias, or the authors' norm")
    rate_ratio: float = axis([1.0, 0.1, 0.01], RATIO, symbol="eps", log=True)
    inputs: int = parameter(2, "coordinates of x", symbol="d")
    neurons: int = parameter(10, "neurons a coordinate", symbol="m")
    samples: int = parameter(1000, "samples, seen in every step", symbol="n", log=True)
    width: float = parameter(0.01, "width of the sigmoids", symbol="eta", log=True)
    observables = (
        Observable("final_error", "final error", log=True),
        Observable("missed", "jumps without a neuron"),
    )
    statuses = {"final_error": ASYMPTOTIC, "missed": ASYMPTOTIC}
    overlays = (Overlay("limit", given=True, compared=False, words="limit, coordinate by coordinate"),)
    panels = (
        Panel("final_error", runs="each", where={"loss": "square"}, title="square loss", log="xy"),
        Panel("final_error", runs="each", where={"loss": "norm"}, title="authors' loss", theories={}, log="xy"),
        Panel("missed", hue="loss", log="x"),
    )

    def task(self) -> Any:
        """The target of one coordinate: unit jumps at 0.3, 0.5, 0.7."""
        return tt.PiecewiseConstant([1.0, 1.0, 1.0], [0.3, 0.5, 0.7], 0.0, 0.0)

    def algorithm(self) -> Any:
        """What stands for the training of one coordinate."""
        return tt.GradientFlow(self.rate_ratio, self.neurons, self.width)

    def runs(self, key: jax.Array, replicates: int | range) -> Any:
        """Full-batch descent: to the last slow time, or the authors' 5000 epochs (300 if rates are equal)."""
        import jax

        from solvable.lab.declare import float64, replicate_keys
        from solvable.networks.two_timescale.additive import train_additive

        norm, rate = self.loss == "norm", 1.0 if self.loss == "norm" else 0.25 / (self.inputs * self.neurons + 1)
        epochs = (
            (300 if self.rate_ratio >= 1.0 else 5000) if norm else int(np.ceil(self.last() / (rate * self.rate_ratio)))
        )
        sizes = {"inputs": self.inputs, "neurons": self.neurons, "samples": self.samples}

        def trained() -> Any:
            keys = replicate_keys(key, replicates)
            return train_additive(
                self.task(), keys, rate, rate * self.rate_ratio, self.width, **sizes, epochs=epochs, norm=norm
            )

        return jax.tree.map(np.asarray, float64(trained)())

    def last(self) -> float:
        """The last slow time: weights need a time of 20 of their own."""
        return 1.0 + 20.0 * self.rate_ratio

    def measure(self, run: Any) -> dict[str, Any]:
        """The population error, and how many jumps have no neuron within width/2."""
        from solvable.networks.two_timescale.additive import additive_risk

        apart = np.abs(run.positions[:, :, None] - self.task().positions).min(axis=1)
        return {"final_error": additive_risk(self.task(), run, self.width), "missed": np.sum(apart > 0.5 * self.width)}

    def predicted(self, runs: Any) -> dict[str, Any]:
        """The limits of the coordinates, added."""
        floor = self.inputs * tt.width_floor(self.task(), self.width)
        paths = [[tt.limit_flow(self.task(), one) for one in start] for start in runs.start]
        return {
            "final_error": np.array([floor + sum(one.error([self.last()])[0] for one in row) for row in paths]),
            "missed": np.array([sum(np.sum(one.hit_times > self.last()) for one in row) for row in paths]),
        }

    def applicable(self) -> Sequence[Overlay]:
        """The limit is that of the square loss."""
        return self.overlays if self.loss == "square" else ()
