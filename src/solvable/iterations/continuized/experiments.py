"""The figures of continuized methods, as declarations."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from solvable.iterations import continuized as co
from solvable.lab.declare import Dimension, Experiment, Guide, Observable, Overlay, Panel, axis, parameter

SOURCE = "arXiv:2106.07644"
DERIVED = f"{SOURCE} (figure and formulas: ours)"
EVENTS = Dimension("events", log=True)
ROUNDING: Any = {"allowance": lambda cell: 1e-26}  # squares of roundings of x: runs end there, moments go on to 0
VALUE = Observable("suboptimality", "f - min f", log=True, **ROUNDING)
DISTANCE = Observable("squared_distance", "squared distance", log=True, **ROUNDING)
EXACT = {"moments": "exact"}
SMALL = 1e-13  # what is below it is the rounding of min f


def median(dataset: Any, prefix: str) -> Any:
    """The median of the runs, beside the exact mean."""
    return dataset[f"{prefix}suboptimality"] if prefix else dataset["suboptimality"].median("replicate")


class Figure(Experiment):
    """What all figures share."""

    system, x, dimensions, replicates = "solvable.iterations.continuized", "at", {"at": EVENTS}, 400
    events: int = parameter(200, "events", log=True)

    def shared(self) -> dict[str, Any]:
        """Events, even in the logarithm."""
        from solvable.numerics.recording import log_spaced
        from solvable.numerics.validation import integer

        return {"at": log_spaced(1, integer("events", self.events, at_least=1), 16)}


class SpectrumFigure(Figure):
    """What the figures on quadratics share: eigenvalues (i/d)^power, i = 1 to d, from a start of ones."""

    dim: int = parameter(50, "dimension", symbol="d", log=True)
    power: float = parameter(2.0, "power of the eigenvalues")

    def task(self) -> Any:
        """The quadratic."""
        noise = getattr(self, "gradient_noise", 0.0)
        return co.Quadratic((np.arange(1, self.dim + 1) / self.dim) ** self.power, np.ones(self.dim), noise)


class Curves(SpectrumFigure):
    """Expected suboptimality of all methods against gradients, on one quadratic with exact gradients."""

    name, source = "continuized/quadratic", DERIVED

    steps: Literal["convex", "strongly convex"] = axis(["convex", "strongly convex"], "what the steps assume")
    method: Literal["descent", "heavy ball", "Nesterov", "continuized"] = axis(
        ["descent", "heavy ball", "Nesterov", "continuized"], "algorithm (the first two are the same in both)"
    )
    observables = (VALUE, DISTANCE)
    overlays = (Overlay("moments"),)
    panels = (
        Panel("suboptimality", hue="method", facet="steps", title="{} steps", theories=EXACT, log="xy"),
        Panel(
            "suboptimality",
            "at",
            where={"method": "continuized"},
            hue="steps",
            title="continuized",
            theories=EXACT,
            log="xy",
            guides=(Guide("slope", -2.0, "slope -2"),),
        ),
    )

    def algorithm(self) -> Any:
        """One of four methods."""
        strong = "exact" if self.steps == "strongly convex" else 0.0
        made = {"descent": co.GradientDescent, "heavy ball": lambda: co.HeavyBall("exact")}
        return made.get(self.method, lambda: (co.Nesterov if self.method == "Nesterov" else co.Continuized)(strong))()


class Time(SpectrumFigure):
    """The heavy tail at a fixed time: rare runs make the exact mean, which medians and means of runs miss."""

    name, source, replicates = "continuized/time", DERIVED, 4000

    steps: Literal["convex", "strongly convex"] = axis(["convex", "strongly convex"], "what the steps assume")
    events: int = parameter(80, "last time, in mean waiting times")
    observables = (VALUE,)
    overlays = (Overlay("moments", compared=False, words="exact mean"),)
    dimensions = {"at": Dimension("time")}
    panels = (
        Panel("suboptimality", facet="steps", title="mean of the runs, {}", log="y"),
        Panel(median, facet="steps", title="median of the runs, {}", label="f - min f", log="y"),
    )

    def algorithm(self) -> Any:
        """The continuized method."""
        return co.Continuized("exact" if self.steps == "strongly convex" else 0.0)

    def shared(self) -> dict[str, Any]:
        """Times."""
        return {"at": np.linspace(0.0, self.events, 17), "unit": "time"}


class Noise(SpectrumFigure):
    """Additive noise: acceleration turns into a plateau, or grows again, where descent settles and averages go on."""

    name, source = "continuized/noise", DERIVED

    gradient_noise: float = axis([0.001, 0.01, 0.1], "noise of a gradient's coordinate", symbol="s", log=True)
    method: Literal["convex", "strongly convex", "descent", "average"] = axis(
        ["convex", "strongly convex", "descent", "average"], "continuized steps, gradient descent, or its average"
    )
    events: int = parameter(1000, "events", log=True)
    observables = (VALUE, DISTANCE)
    overlays = (Overlay("moments"),)
    panels = (Panel("suboptimality", hue="gradient_noise", facet="method", title="{}", theories=EXACT, log="xy"),)

    def algorithm(self) -> Any:
        """Accelerated or not."""
        if self.method in ("convex", "strongly convex"):
            return co.Continuized("exact" if self.method == "strongly convex" else 0.0)
        return co.StochasticGradient(self.method == "average")


ROW_METHODS = ("SGD", "average", "stated", "tight", "strong")
RowMethod = Literal["SGD", "average", "stated", "tight", "strong"]


def on_rows(method: str) -> Any:
    """A method that sees one row a step."""
    if method in ("SGD", "average"):
        return co.StochasticGradient(method == "average")
    return co.Continuized("exact") if method == "strong" else co.Continuized(steps=method)


def table(path: str) -> np.ndarray:
    """The numbers (n, d + 1) of lines divided by commas, semicolons or tabs; a first line of titles is skipped.

    Raises: ValueError naming the file, and the line that holds something else.
    """
    accepted = (
        "accepted: 'gaussian', 'diabetes', or a CSV file of numbers, two or more a line, after a line of titles or none"
    )
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"data={path!r} cannot be read ({type(error).__name__}); {accepted}") from None
    rows: list[list[float]] = []
    for place, line in enumerate(lines):
        mark = next((one for one in ",;\t" if one in line), ",")
        if not line.strip():
            continue
        try:
            rows.append([float(one) for one in line.split(mark)])
        except ValueError:
            if place > 0:
                raise ValueError(f"data={path!r}: line {place + 1} holds what is no number; {accepted}") from None
            continue
        if len(rows[-1]) != max(2, len(rows[0])) or not np.all(np.isfinite(rows[-1])):
            raise ValueError(f"data={path!r}: line {place + 1} is short, long or not finite; {accepted}")
    if not rows:
        raise ValueError(f"data={path!r} holds no numbers; {accepted}")
    return np.array(rows)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The figure shows the plateau of which simulate and predict warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="y is not X w")
        yield


class Rows(Figure):
    """Least squares by one row a step: SGD, its average, and continuized steps as stated, tight or strongly convex."""

    name, source = "continuized/rows", DERIVED

    data: str = axis(
        ["gaussian", "diabetes"],
        "gaussian: rows of covariance diag(1/i^2); diabetes: scikit-learn's; or a CSV file, its last column the target",
    )
    method: RowMethod = axis(ROW_METHODS, "algorithm")
    dim: int = parameter(20, "dimension of Gaussian rows", symbol="d", log=True)
    events: int = parameter(400, "rows seen", log=True)
    observables = (VALUE, DISTANCE)
    overlays = (Overlay("moments"),)
    panels = (
        Panel("squared_distance", hue="method", facet="data", title="{}", theories=EXACT, log="xy"),
        Panel("suboptimality", hue="method", facet="data", title="{}", theories=EXACT, log="xy"),
    )

    def task(self) -> Any:
        """Fresh Gaussian rows, or the rows of a table."""
        if self.data == "gaussian":
            return co.GaussianLeastSquares(1.0 / np.arange(1.0, self.dim + 1.0) ** 2, np.ones(self.dim))
        if self.data == "diabetes":
            from sklearn.datasets import load_diabetes

            X, y = map(np.asarray, load_diabetes(return_X_y=True))
            return co.LeastSquares(X / X.std(axis=0), (y - y.mean()) / y.std())
        numbers = table(self.data)
        return co.LeastSquares(numbers[:, :-1], numbers[:, -1])

    def algorithm(self) -> Any:
        """One row a step."""
        return on_rows(self.method)

    def simulate(self, key: Any, replicates: int | range) -> Any:
        """Without the warning."""
        with _quietly():
            return super().simulate(key, replicates)

    def predict(self, overlay: Overlay, given: Any = None) -> Any:
        """Without the warning."""
        with _quietly():
            return super().predict(overlay, given)


class Kaczmarz(Figure):
    """Linear systems with rows of norm 1: randomised Kaczmarz, which is SGD here, and its continuized accelerations."""

    name, source, replicates = "continuized/kaczmarz", DERIVED, 100

    method: Literal["SGD", "stated", "tight", "strong"] = axis(["SGD", "stated", "tight", "strong"], "algorithm")
    coherence: float = axis([0.0, 0.9], "share of a direction that all rows have in common", symbol="c")
    equations: int = parameter(40, "equations", symbol="n", log=True)
    dim: int = parameter(20, "unknowns", symbol="d", log=True)
    problem_seed: int = parameter(0, "seed of the system")
    events: int = parameter(1000, "rows seen", log=True)
    observables = (DISTANCE,)
    overlays = (Overlay("moments"),)
    panels = (Panel("squared_distance", hue="method", facet="coherence", theories=EXACT, log="xy"),)

    def task(self) -> Any:
        """A consistent system."""
        rng = np.random.default_rng(self.problem_seed)
        X = rng.normal(size=(self.equations, self.dim))
        X = (1.0 - self.coherence) * X + self.coherence * X[:1]
        X /= np.linalg.norm(X, axis=1, keepdims=True)
        return co.LeastSquares(X, X @ rng.normal(size=self.dim))

    def algorithm(self) -> Any:
        """One equation a step."""
        return on_rows(self.method)


class Bound(Figure):
    """Every curve under its bound: quadratics, Gaussian rows, and logistic regression, bounded but not solved."""

    name, source, replicates = "continuized/bound", DERIVED, 100

    problem: Literal["quadratic", "noisy", "rows", "logistic"] = axis(
        ["quadratic", "noisy", "rows", "logistic"], "what is minimised"
    )
    steps: Literal["convex", "strongly convex"] = axis(["convex", "strongly convex"], "what the steps assume")
    dim: int = parameter(10, "dimension", symbol="d", log=True)
    observables = (
        Observable("suboptimality", "f - min f", bound="above", log=True),
        Observable("weighted_suboptimality", "$T_k^2$ (f - min f)", bound="above", log=True),
    )
    overlays = (Overlay("bound"), Overlay("moments", compared=False, words="exact"))
    panels = (
        Panel(
            "weighted_suboptimality",
            facet="problem",
            where={"steps": "convex"},
            title="convex, {}",
            log="xy",
            least=SMALL,
        ),
        Panel(
            "suboptimality",
            facet="problem",
            where={"steps": "strongly convex"},
            title="strong, {}",
            log="xy",
            least=SMALL,
        ),
    )

    def task(self) -> Any:
        """One of four problems."""
        spectrum, start = np.arange(1.0, self.dim + 1.0) / self.dim, np.ones(self.dim)
        if self.problem == "rows":
            return co.GaussianLeastSquares(spectrum, start)
        if self.problem != "logistic":
            return co.Quadratic(spectrum**2, start, 0.05 if self.problem == "noisy" else 0.0)
        import jax
        import jax.numpy as jnp

        rng = np.random.default_rng(0)
        X, ridge = rng.normal(size=(50, self.dim)) / np.sqrt(self.dim), 0.01
        signed = X * np.where(X @ rng.normal(size=self.dim) + rng.normal(size=50) > 0.0, 1.0, -1.0)[:, None]

        def value(x: Any) -> Any:
            return jnp.mean(jax.nn.softplus(-signed @ x)) + 0.5 * ridge * x @ x

        smoothness = 0.25 * float(np.linalg.eigvalsh(X.T @ X / 50)[-1]) + ridge
        return co.Objective(value, jax.grad(value), 5.0 * start, smoothness, ridge, traced=True)

    def algorithm(self) -> Any:
        """The continuized method."""
        return co.Continuized("exact" if self.steps == "strongly convex" else 0.0)

    def applicable(self) -> Sequence[Overlay]:
        """Moments are those of squares alone."""
        return self.overlays[:1] if self.problem == "logistic" else self.overlays
