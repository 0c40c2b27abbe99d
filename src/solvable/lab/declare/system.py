"""A system, and the two verbs it answers to: what `simulate` and `predict` do alike for every model is done here."""

from __future__ import annotations

import abc
import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.lab.declare.curve import Curve, chosen_axis, labelled, moved
from solvable.lab.declare.given import Given, read
from solvable.lab.declare.outcome import Outcome
from solvable.lab.declare.theory import Observable, Predicted, Status, Theory
from solvable.numerics.precision import batched_map, float64
from solvable.numerics.random import replicate_keys
from solvable.numerics.results import Result, is_traced, raise_unless_successful
from solvable.numerics.validation import absent, choice, instance, on_the_host, truth


@dataclasses.dataclass(frozen=True)
class Example:
    """A tiny setting of a system, in which the conformance test tries everything that all systems promise.

    `problem` is what `algorithm.train` takes; `shared` are the keywords that simulate and predict share, `sizes` those
    of simulate alone. `failing` is a (task, algorithm) with which every replicate of simulate ends with `code`, and
    `unsolved` one of which predict finds no solution; None where there is none. `agreement` maps the observables in
    which simulation and the default theory are compared to the allowance of their comparison.
    """

    task: Any
    algorithm: Any
    problem: Any
    shared: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    at: Any = None
    failing: tuple[Any, Any] | None = None
    code: int = int(Result.NONFINITE)
    unsolved: tuple[Any, Any] | None = None
    agreement: Mapping[str, float] = dataclasses.field(default_factory=dict)


def _none() -> dict[str, Any]:
    return {}


class System(abc.ABC):
    """One model: its tasks, algorithms, observables and theories, how it is trained and what is measured of a run.

    simulate = `measure` after `train`; predict = `measure` after a theory, or the observables that a theory gives. A
    subclass writes `train` and `measure`; the other methods are hooks with a default. Its module offers `simulate` and
    `predict` with their own signatures, which call those of its one instance, `SYSTEM`.

    Class attributes: `tasks` and `algorithms`, the classes accepted; `observables`; `theories` by name, the first being
    the default; `traced`, whether predict works inside jit, vmap and grad (else a tracer is refused in a sentence);
    `units` of `at`, the first being the default; `run_types`, what `algorithm.train` returns; `bare`, classes of which
    an object may be `given` by itself, with the name of what it stands for; `shared`, a function that takes by name
    the keywords that simulate and predict share and gives them back checked; `sampled_with`, the keyword with which
    simulate calls a task's own `sample`.
    """

    tasks: ClassVar[tuple[type, ...]]
    algorithms: ClassVar[tuple[type, ...]]
    observables: ClassVar[tuple[Observable, ...]]
    theories: ClassVar[Mapping[str, Theory]]
    traced: ClassVar[bool] = False
    units: ClassVar[tuple[str, ...]] = ("",)
    run_types: ClassVar[tuple[type, ...]] = ()
    bare: ClassVar[Mapping[type, str]] = {}
    shared: ClassVar[Callable[..., dict[str, Any]]] = staticmethod(_none)
    sampled_with: ClassVar[str] = "full=True"

    @abc.abstractmethod
    def train(self, task: Any, algorithm: Any, keys: Any, at: Any, unit: str, *args: Any, **sizes: Any) -> Any:
        """The runs of all replicates, one a key, stacked along their leading axis.

        They hold `result` (R,) codes, what was drawn, and what a prediction may be given; `stats` where there are any.
        """

    @abc.abstractmethod
    def measure(self, task: Any, algorithm: Any, runs: Any, at: Any) -> Mapping[str, Any]:
        """The observables of runs, (R, *own dims) each; None for one that these runs do not have."""

    @abc.abstractmethod
    def example(self) -> Example:
        """A tiny setting, for the conformance test."""

    # ---- hooks

    def times(self, task: Any, algorithm: Any, at: Any, unit: str) -> Any:
        """`at` after its check, or the system's default for None."""
        absent("at", at, "this system records nothing on the way")

    def default_unit(self, task: Any, algorithm: Any, at: Any) -> str:
        """The unit of `at`, as it was asked for, where none is said."""
        return self.units[0]

    def default_theory(self, task: Any, algorithm: Any) -> str:
        """The theory that speaks where none is said."""
        return next(iter(self.theories))

    def runs_given(self, task: Any, algorithm: Any, given: Given | None) -> Any:
        """The runs that theories read, made of what was given; `result` (R,) says which of them they speak of.

        Without anything given: what the task alone stands for, else None.
        """
        if given is not None:
            given.result = given.codes()
        return given

    def samples_problems(self, algorithm: Any, *args: Any, **sizes: Any) -> bool:
        """Whether training calls `task.sample`, so that a user's own law is honoured."""
        return True

    def coordinates(self, task: Any, algorithm: Any) -> Mapping[str, Any]:
        """The positions along dims other than `at`: numbers or words."""
        return {}

    def claims(self, stats: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Status]:
        """What is claimed otherwise than the theory does, where these numbers say so."""
        return {}

    # ---- the verbs

    @float64
    def simulate(
        self,
        task: Any,
        algorithm: Any,
        /,
        *,
        key: Any = None,
        replicates: int | range = 1,
        at: Any = None,
        unit: str | None = None,
        **sizes: Any,
    ) -> Outcome:
        """Train on drawn problems and measure the runs. Replicate r depends on `key` and r alone."""
        unit, at, runs = self._trained(task, algorithm, key, replicates, at, unit, **sizes)
        values = self.measure(task, algorithm, runs, at)
        about = {"at": at, "unit": unit, "runs": runs, "stats": getattr(runs, "stats", None)}
        return self._outcome(task, algorithm, values, runs.result, **about)

    @float64
    def trained(self, task: Any, algorithm: Any, /, **keywords: Any) -> Any:
        """The runs that `simulate` measures; the keywords are its own."""
        return self._trained(task, algorithm, **keywords)[2]

    @float64
    def predict(
        self,
        task: Any,
        algorithm: Any,
        /,
        *,
        theory: str | None = None,
        given: Any = None,
        at: Any = None,
        unit: str | None = None,
        throw: bool = True,
        **shared: Any,
    ) -> Outcome:
        """What a theory says: of the runs given, with their replicate axis, or without any.

        `theory` None is the default, or with `given` the first that reads it.
        """
        self._accept("predict", task, algorithm, given, at, shared)
        name = self._theory(task, algorithm, theory, given)
        said = self.theories[name]
        if given is None and said.needs_given:
            reads = ", ".join(repr(one) for one in said.given if one not in ("result", "at"))
            raise ValueError(
                f"given=None is not accepted with theory={name!r}, which holds for what a run drew or reached; "
                f"accepted: an outcome of simulate, or a mapping with {reads}"
            )
        if given is not None and not said.given:
            readers = [one for one, theory in self.theories.items() if theory.given]
            words = " or ".join(["given=None", *(f"theory={one!r}" for one in readers)])
            raise ValueError(f"given is not read by theory={name!r}; accepted: {words}")
        known = [
            *(one for theory in self.theories.values() for one in theory.given),
            *(one.name for one in self.observables),
        ]
        found = None if given is None else read(given, said.given, self.run_types, self.bare, known)
        if found is not None:
            at, unit = found.at if at is None else at, found.unit if unit is None else unit
        unit = self._unit(task, algorithm, unit, at)
        at = self.times(task, algorithm, at, unit)
        if found is not None:
            found.at, found.unit = at, unit
        if len(self.units) > 1:
            shared["unit"] = unit
        runs = self.runs_given(task, algorithm, found)
        with np.errstate(all="ignore"):  # what is not finite ends in a code, not in a warning of NumPy
            answer = said.of(task, algorithm, runs, at, **shared) if said.of else {}
            if not isinstance(answer, Mapping | Predicted):
                values, status = self.measure(task, algorithm, answer, at), getattr(answer, "status", {})
                answer = Predicted(values, getattr(answer, "result", None), status=status)
            elif isinstance(answer, Mapping):
                answer = Predicted(answer)
        success = int(Result.SUCCESSFUL)
        own: Any = success if answer.result is None else answer.result
        drawn: Any = success if runs is None else runs.result
        lost: Any = None
        values = answer.values
        if np.ndim(own) == 2:  # a code a step: the others are kept
            fails = own != success
            values = {
                one: np.where(fails, np.nan, value) if np.shape(value) == fails.shape else value
                for one, value in values.items()
            }
            own, lost = own.max(axis=1), drawn
        if truth("throw", throw):
            # a run that failed has nothing to be predicted: it is missing, and says why
            raise_unless_successful(_choose(drawn, own, success), f"predict, {name!r}", answer.detail)
        result = _choose(drawn, own, drawn)
        replicated = found is not None and found.replicated
        if not replicated and np.ndim(result):
            result, lost = result[0], lost if np.ndim(lost) == 0 else lost[0]
        status = {**said.status, **answer.status}
        if not is_traced(values, answer.stats):
            status |= self.claims(answer.stats, values)
        if self.is_foreign(task):
            status = {key: Status("heuristic", one.origin) for key, one in status.items()}
        about = {"lost": lost, "at": at, "unit": unit, "stats": answer.stats, "theory": name, "status": status}
        kept = runs if isinstance(runs, eqx.Module) and replicated else None
        return self._outcome(task, algorithm, values, result, runs=kept, **about)

    def curve(
        self,
        task: Any,
        algorithms: Any,
        /,
        *,
        theory: str | None = None,
        given: Any = None,
        at: Any = None,
        unit: str | None = None,
        throw: bool = False,
        **keywords: Any,
    ) -> Curve:
        """What a theory says along one axis, for one algorithm, a sequence of them, or a mapping from labels to them.

        The axis is the one keyword whose value is a sequence: one that simulate and predict share, or a field of the
        task or of the algorithms (one that lacks the field stays as it is). The others are those of `predict`, fixed.
        A traced system predicts all points of an algorithm in one compiled map, which later calls with other numbers of
        the same shapes use again. A point that is not solved is NaN, and its code is in `Curve.result`; `throw` raises.

        Raises: SolveError with `throw` for a point that is not solved; ValueError for no axis or two, a name that is
        unknown or means two things, and for a point that the task, the algorithm or the theory refuses; TypeError for
        a task or an algorithm of another system.
        """
        truth("throw", throw)
        instance("task", task, self.tasks)
        named = labelled(algorithms, self.algorithms)
        parameters = inspect.signature(self.shared).parameters
        shared = {name: one.default is one.empty for name, one in parameters.items()}
        axis, along, fixed = chosen_axis(task, named, shared, keywords)
        points = along.tolist()
        fixed |= {key: value for key, value in {"given": given, "at": at, "unit": unit}.items() if value is not None}
        rows: dict[str, Sequence[Outcome]] = {}
        for label, algorithm in named.items():
            if axis in shared:
                settings = [(task, algorithm, {**fixed, axis: point}) for point in points]
            else:
                settings = [(moved(task, axis, point), moved(algorithm, axis, point), fixed) for point in points]
            still = axis not in shared and settings[0][0] is task and settings[0][1] is algorithm
            rows[label] = self.predict_many(settings[:1] if still else settings, theory) * (len(points) if still else 1)
        made = Curve.of(axis, along, rows, self.observables)
        if throw:
            raise_unless_successful(made.result, f"curve along {axis}")
        return made

    @float64
    def predict_many(
        self, settings: Sequence[tuple[Any, Any, Mapping[str, Any]]], theory: str | None = None
    ) -> list[Outcome]:
        """What a theory says in many settings: a task, an algorithm and keywords of `predict` each.

        A traced system predicts those of one structure in one compiled map, one algorithm after the other; else they
        are predicted one by one. A setting that is not solved is NaN with its code.

        Raises: as `predict`, but for SolveError.
        """
        names = inspect.signature(self.shared).parameters
        alike: dict[Any, list[int]] = {}
        trees = []
        for place, (task, algorithm, keywords) in enumerate(settings):
            self._accept("predict", task, algorithm)
            shared = self.shared(**{key: value for key, value in keywords.items() if key in names})
            tree = (task, algorithm, {**keywords, **shared})
            arrays, rest = eqx.partition(tree, lambda leaf: isinstance(leaf, np.ndarray | np.generic | jax.Array))
            leaves, structure = jax.tree_util.tree_flatten(arrays)
            others, form = jax.tree_util.tree_flatten(rest)
            batched = self.traced and keywords.get("given") is None
            key = (structure, form, tuple(others), tuple(map(np.shape, leaves))) if batched else place
            alike.setdefault(key, []).append(place)
            trees.append((arrays, rest))
        found: dict[int, Outcome] = {}
        for places in alike.values():
            if len(places) == 1:
                task, algorithm, keywords = eqx.combine(*trees[places[0]])
                found[places[0]] = self.predict(task, algorithm, theory=theory, throw=False, **keywords)
                continue
            stacked = jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *(trees[place][0] for place in places))
            together = jax.tree_util.tree_map(np.asarray, _together(self, theory, trees[places[0]][1], stacked))
            for number, place in enumerate(places):
                one = jax.tree_util.tree_map(lambda leaf, number=number: leaf[number], together)
                status = {**one.status, **self.claims(one.stats, one.values)}
                found[place] = dataclasses.replace(one, _status=tuple(status.items()))
        return [found[place] for place in range(len(settings))]

    def is_foreign(self, task: Any) -> bool:
        """Whether a task draws by a `sample` of its own in place of that of the class it extends."""
        law = next(kind for kind in type(task).__mro__ if kind in self.tasks)
        return getattr(type(task), "sample", None) is not getattr(law, "sample", None)

    # ---- what both do

    def _trained(
        self,
        task: Any,
        algorithm: Any,
        key: Any = None,
        replicates: Any = 1,
        at: Any = None,
        unit: Any = None,
        **sizes: Any,
    ) -> tuple[str, Any, Any]:
        self._accept("simulate", task, algorithm, key, at, sizes)
        if self.is_foreign(task) and not self.samples_problems(algorithm, **sizes):
            raise ValueError(
                f"task={type(task).__name__} draws by a sample of its own, and this sampler is exact for the law of "
                f"{type(self).__name__} alone; accepted: {self.sampled_with}, which calls it"
            )
        unit = self._unit(task, algorithm, unit, at)
        at = self.times(task, algorithm, at, unit)
        with np.errstate(all="ignore"):
            return unit, at, self.train(task, algorithm, replicate_keys(key, replicates), at, unit, **sizes)

    def _accept(self, call: str, task: Any, algorithm: Any, *others: Any) -> None:
        instance("task", task, self.tasks)
        instance("algorithm", algorithm, self.algorithms)
        if not self.traced:
            on_the_host(call, task, algorithm, *others)

    def _theory(self, task: Any, algorithm: Any, theory: str | None, given: Any) -> str:
        names = tuple(self.theories)
        if theory is None:
            theory = self.default_theory(task, algorithm)
            if given is not None and not self.theories[theory].given:
                return next((name for name in names if self.theories[name].given), theory)
        return choice("theory", theory, names)

    def _unit(self, task: Any, algorithm: Any, unit: str | None, at: Any) -> str:
        if self.units == ("",):
            absent("unit", unit or None, "`at` has one unit here")
        return choice("unit", self.default_unit(task, algorithm, at) if unit is None else unit, self.units)

    def _outcome(self, task: Any, algorithm: Any, values: Mapping[str, Any], result: Any, **about: Any) -> Outcome:
        dims = {one.name: one.dims for one in self.observables}
        count = np.shape(result)
        shaped = {name: _shaped(value, len(dims[name]), count) for name, value in values.items() if value is not None}
        return Outcome.of(shaped, result, dims, coordinates=self.coordinates(task, algorithm), **about)


@eqx.filter_jit
def _together(system: System, theory: str | None, rest: Any, arrays: Any) -> Outcome:
    def one(*leaves: Any) -> Outcome:
        task, algorithm, keywords = eqx.combine(tree.unflatten(leaves), rest)
        return system.predict(task, algorithm, theory=theory, throw=False, **keywords)

    leaves, tree = jax.tree_util.tree_flatten(arrays)
    return batched_map(one, *leaves)


def _choose(drawn: Any, own: Any, failed: Any) -> Any:
    """`own` where the run succeeded, else `failed`."""
    space = jnp if is_traced(drawn, own) else np
    return space.where(space.asarray(drawn) == int(Result.SUCCESSFUL), space.asarray(own), space.asarray(failed))


def _shaped(value: Any, own: int, count: tuple[int, ...]) -> Any:
    """With the replicate axis where there is one, and without it where there is none."""
    if np.ndim(value) == own + 1 and not count:
        return value[0]
    if np.ndim(value) == own and count:
        space = jnp if is_traced(value) else np
        return space.broadcast_to(value, count + np.shape(value))
    return value
