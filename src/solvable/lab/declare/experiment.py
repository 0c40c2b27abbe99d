"""The declaration of an experiment: parameters, observables, theories, source. The lab runs any of them.

A declaration is one subclass of `Experiment`. An instance of it is one *cell*: every parameter has one value. This
module is light on purpose (no JAX at import), so that listing and describing experiments is quick; a system is named by
its module path and imported when a cell is run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import pydantic

from solvable.lab.declare.panels import AnyPanel
from solvable.lab.declare.theory import Dimension, Observable, Overlay, Status, Theory

if TYPE_CHECKING:
    import jax
    import xarray
    from matplotlib.axes import Axes
    from pydantic.fields import FieldInfo

    from solvable.lab.declare.outcome import Outcome


def parameter(default: Any, meaning: str, *, symbol: str = "", log: bool = False) -> Any:
    """A parameter with one default value."""
    return pydantic.Field(default=default, description=meaning, json_schema_extra={"symbol": symbol, "log": log})


def axis(defaults: Sequence[Any], meaning: str, *, symbol: str = "", log: bool = False) -> Any:
    """A parameter that takes several values unless told otherwise: an axis of the experiment's grid."""
    return pydantic.Field(
        default=defaults[0],
        description=meaning,
        json_schema_extra={"axis": list(defaults), "symbol": symbol, "log": log},
    )


def said(field: FieldInfo) -> Mapping[str, Any]:
    """What `parameter` and `axis` say of a parameter beside its default and meaning: `symbol`, `log`, `axis`."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


class Built(NamedTuple):
    """What a cell is run with."""

    task: Any
    algorithm: Any
    shared: Mapping[str, Any]
    sizes: Mapping[str, Any]


class Experiment(pydantic.BaseModel):
    """Base of every declaration; the docstring's first line is its one-line description.

    Class attributes: `name` ("system/figure"), `source` (arXiv id and figure), `system` (module path with `simulate`,
    `predict` and `theories`), `observables`, `overlays`, `x` (the parameter on the abscissa), `replicates` (default
    number of runs a cell; 0 for an experiment without simulation), `numbers` (raise it when the numbers a cell gives
    change, so that stored results are not mixed with new ones), `panels` (what the figure shows: `Panel`, `Map`,
    `Bars` or `Graph`, or the name of an observable, which is drawn against `x`, or any name that an own `draw`
    understands; every observable when left empty), `size_parameter` (the parameter in
    whose inverse the asymptotic claims are approached: a run over three of its values or more is extrapolated to
    infinity; None where there is none, or where the approach is no line in its inverse), `dimensions` (how figures
    show the observables' own dims; a dim on the abscissa is named by `x` too).
    """

    # A slot is neither compared nor pickled: what was built is no part of the cell's value.
    __slots__ = ("_built",)

    # Not class keywords: those would have type checkers ask every subclass to repeat that it is frozen.
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    source: ClassVar[str]
    system: ClassVar[str]
    observables: ClassVar[Sequence[Observable]]
    overlays: ClassVar[Sequence[Overlay]] = (Overlay(),)
    x: ClassVar[str]
    replicates: ClassVar[int] = 16
    numbers: ClassVar[int] = 1
    panels: ClassVar[Sequence[AnyPanel | str]] = ()
    size_parameter: ClassVar[str | None] = None
    dimensions: ClassVar[Mapping[str, Dimension]] = {}

    def task(self) -> Any:
        """The law of problems of this cell."""
        raise NotImplementedError

    def algorithm(self) -> Any:
        """The algorithm of this cell."""
        raise NotImplementedError

    def shared(self) -> dict[str, Any]:
        """Keyword arguments that simulate and predict share."""
        return {}

    def sizes(self) -> dict[str, Any]:
        """Keyword arguments of simulate alone: the finite sizes."""
        return {}

    def built(self) -> Built:
        """Task, algorithm, shared arguments and sizes, evaluated once a cell."""
        found: Built | None = getattr(self, "_built", None)
        if found is None:
            found = Built(self.task(), self.algorithm(), self.shared(), self.sizes())
            object.__setattr__(self, "_built", found)
        return found

    def simulate(self, key: jax.Array, replicates: int | range) -> Outcome:
        """Run the cell. Replicate number r depends on `key` and r alone."""
        module, (task, algorithm, shared, sizes) = importlib.import_module(self.system), self.built()
        return module.simulate(task, algorithm, **shared, **sizes, key=key, replicates=replicates)

    def predict(self, overlay: Overlay, given: Outcome | Mapping[str, Any] | None = None) -> Outcome:
        """Predict the cell by one overlay's theory, conditioned on `given` where the overlay asks for it.

        A conditional prediction that is not solved for one replicate leaves that one missing, so it does not raise.
        """
        module, (task, algorithm, shared, _) = importlib.import_module(self.system), self.built()
        options = {} if given is None else {"given": given, "throw": False}
        return module.predict(task, algorithm, **shared, theory=overlay.theory, **options)

    @classmethod
    def predictions(cls, cells: Sequence[Self], overlay: Overlay, **options: Any) -> list[Outcome | None]:
        """What `predict` says of many cells without a run, for lines and maps; None of one that is refused.

        Cells of one line follow each other. They are predicted all at once, with `options` too, where the system
        predicts them; one after the other where a class does it in its own way.
        """
        from solvable.numerics.results import SolveError

        refused = contextlib.suppress(ValueError, SolveError)
        own = cls.predict is not Experiment.predict
        system = None if own else getattr(importlib.import_module(cls.system), "SYSTEM", None)
        if system is not None:
            with refused:
                made = [cell.built() for cell in cells]
                settings = [(one.task, one.algorithm, {**one.shared, **options}) for one in made]
                return system.predict_many(settings, overlay.theory)
        found: list[Outcome | None] = [None] * len(cells)
        for place, cell in enumerate(cells):
            with refused:
                found[place] = cell.predict(overlay)
        return found

    def applicable(self) -> Sequence[Overlay]:
        """The overlays that speak of this cell; all of them unless a subclass says otherwise."""
        return self.overlays

    def amounts(self) -> Mapping[str, int]:
        """What a run of this cell is made of, counted in words of the field: {"bags": 800}. A plan names them."""
        return {}

    def marginal(self, observable: str) -> Mapping[str, float]:
        """How the predicted observable changes with one more of each amount, {"bag": -2e-5}, for plans."""
        return {}

    def tuned(self, observable: str) -> Mapping[str, float]:
        """The hyper-parameters, by name, that the theory finds best for the observable in this cell, for plans."""
        return {}

    @classmethod
    def draw(cls, panel: str, axes: Axes, dataset: xarray.Dataset) -> bool:
        """Draw one panel of the figure in an own way and return True.

        False, the default, leaves the panel to the lab: theory as lines, simulation as points.
        """
        return False

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """The status of each observable under one overlay's theory."""
        theories: Mapping[str, Theory] = importlib.import_module(cls.system).theories
        return theories[overlay.theory or next(iter(theories))].status

    @classmethod
    def default_grid(cls) -> dict[str, list[Any]]:
        """The values of every parameter when none is asked for: the axis of an axis, else the single default."""
        return {name: list(said(field).get("axis", [field.default])) for name, field in cls.model_fields.items()}

    def canonical(self) -> str:
        """The parameters as one canonical JSON text (sorted names, shortest round-trip numbers)."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def seed(self) -> int:
        """63 bits from the experiment's name and its canonical parameters: the root of all randomness of the cell."""
        digest = hashlib.sha256(f"{self.name}\n{self.canonical()}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1
