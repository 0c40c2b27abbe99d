"""What every system promises alike. A system is tried here as soon as an installed experiment names it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import logging
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.lab.comparing.agreement import compare
from solvable.lab.declare import Example, Outcome, System
from solvable.lab.declare.panels import Map, Panel
from solvable.lab.declare.registry import experiments
from solvable.numerics.results import Result, SolveError

MODULES = sorted({experiment.system for experiment in experiments().values()})
NOT_YET_MOVED: set[str] = set()
REPLICATES = 3


class Case:
    """A system with its module, its example, and the two verbs with the example's arguments."""

    def __init__(self, path: str) -> None:
        self.module = importlib.import_module(path)
        self.system: System = self.module.SYSTEM
        self.example: Example = self.system.example()
        self.times = {} if self.example.at is None else {"at": self.example.at}
        self._outcomes: dict[Any, Outcome] = {}

    def simulate(self, task: Any = None, algorithm: Any = None, **options: Any) -> Outcome:
        one = self.example
        task, algorithm = (one.task if task is None else task), (one.algorithm if algorithm is None else algorithm)
        given = {"replicates": REPLICATES, **self.times, **one.shared, **one.sizes, **options}
        return self.module.simulate(task, algorithm, **given)

    def predict(self, task: Any = None, algorithm: Any = None, **options: Any) -> Outcome:
        one = self.example
        task, algorithm = (one.task if task is None else task), (one.algorithm if algorithm is None else algorithm)
        times = {} if isinstance(options.get("given"), Outcome) else self.times
        return self.module.predict(task, algorithm, **{**times, **one.shared, **options})

    @property
    def simulated(self) -> Outcome:
        """One simulation of the example, made once."""
        if "simulated" not in self._outcomes:
            self._outcomes["simulated"] = self.simulate(key=jax.random.key(7))
        return self._outcomes["simulated"]

    def try_theory(self, name: str, *arguments: Any, **options: Any) -> Outcome | None:
        """What a theory says; None where it does not speak of this algorithm, and says in a sentence of which."""
        try:
            return self.predict(*arguments, theory=name, **options)
        except ValueError as error:
            if "accepted" not in str(error):
                raise
            return None

    def theories(self) -> list[tuple[str, Outcome]]:
        """What each theory that speaks of the example says of it."""
        if "predicted" not in self._outcomes:
            found = []
            for name, theory in self.system.theories.items():
                predicted = self.try_theory(name, given=self.simulated if theory.given else None, throw=False)
                if predicted is not None:
                    found.append((name, predicted))
            assert found
            self._outcomes["predicted"] = found  # pyright: ignore[reportArgumentType]
        return self._outcomes["predicted"]  # pyright: ignore[reportReturnType]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(path, marks=pytest.mark.xfail(strict=True, reason="not moved") if path in NOT_YET_MOVED else ())
        for path in MODULES
    ],
    ids=lambda path: path.rpartition(".")[2],
)
def case(request) -> Case:
    return Case(request.param)


# ---- training


def test_every_algorithm_trains_with_the_same_arguments(case) -> None:
    for algorithm in case.system.algorithms:
        signature = inspect.signature(algorithm.train)
        words = [(name, one.kind.name, one.default) for name, one in signature.parameters.items()]
        assert words == [
            ("self", "POSITIONAL_OR_KEYWORD", inspect.Parameter.empty),
            ("problem", "POSITIONAL_OR_KEYWORD", inspect.Parameter.empty),
            ("key", "POSITIONAL_OR_KEYWORD", None),
            ("init", "KEYWORD_ONLY", None),
            ("at", "KEYWORD_ONLY", None),
            ("throw", "KEYWORD_ONLY", True),
        ], algorithm
        assert algorithm.train.__doc__


def test_a_run_says_how_it_ended(case) -> None:
    run = case.example.algorithm.train(case.example.problem, jax.random.key(1))
    assert np.asarray(run.result).shape == ()
    assert int(run.result) == Result.SUCCESSFUL


def test_a_problem_draws_itself(case) -> None:
    problem = case.example.problem
    assert problem.sample(jax.random.key(0)) is problem or isinstance(problem, type(case.example.task))


# ---- what is refused


def refused(kind: type[Exception], call: Any, *words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind, f"{type(caught.value).__name__}: {caught.value}"
    said = str(caught.value)
    assert "\n" not in said
    for word in ("accepted", *words):
        assert word in said, said


def test_wrong_objects(case) -> None:
    wrong = object()
    refused(TypeError, lambda: case.simulate(wrong), "task=object")
    refused(TypeError, lambda: case.simulate(algorithm=wrong), "algorithm=object")
    refused(TypeError, lambda: case.predict(wrong), "task=object")
    refused(TypeError, lambda: case.predict(algorithm=wrong), "algorithm=object")
    refused(TypeError, lambda: case.simulate(key="seed"), "key='seed'")
    refused(TypeError, lambda: case.example.algorithm.train(wrong), "problem=object")
    for name, theory in case.system.theories.items():
        if theory.given:
            refused(TypeError, lambda name=name: case.predict(theory=name, given=wrong), "given=object")
            refused(TypeError, lambda name=name: case.predict(theory=name, given=3), "given=int")
        else:
            refused(ValueError, lambda name=name: case.predict(theory=name, given=case.simulated), "given", name)
        if theory.needs_given:
            refused(ValueError, lambda name=name: case.predict(theory=name), "given=None", name)
            refused(ValueError, lambda name=name: case.predict(theory=name, given={}), "given=dict lacks")


def test_wrong_words_and_counts(case) -> None:
    refused(ValueError, lambda: case.predict(theory="no such theory"), "theory='no such theory'")
    for replicates in (0, -1, 1.5, range(0)):
        refused(ValueError, lambda replicates=replicates: case.simulate(replicates=replicates), "replicates")
    if len(case.system.units) > 1:
        refused(ValueError, lambda: case.simulate(unit="no such unit"), "unit='no such unit'")
        refused(ValueError, lambda: case.predict(unit="no such unit"), "unit='no such unit'")
    if "at" in inspect.signature(case.module.simulate).parameters:
        for at in ([2, 1], [-1], [[0, 1]], ["a"], [float("nan")]):
            refused(ValueError, lambda at=at: case.simulate(at=at), "at")


def test_signatures_are_explicit(case) -> None:
    for verb in (case.module.simulate, case.module.predict):
        kinds = {one.kind for one in inspect.signature(verb).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds
        assert inspect.Parameter.VAR_POSITIONAL not in kinds
        assert verb.__doc__


# ---- simulation


def test_a_replicate_depends_on_its_number_alone(case) -> None:
    key = jax.random.key(7)
    whole, part = case.simulated, case.simulate(key=key, replicates=range(1, REPLICATES))
    for name, value in whole.present().items():
        np.testing.assert_allclose(part.present()[name], value[1:], rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_array_equal(part.result, whole.result[1:])


def test_observables_are_what_was_declared(case) -> None:
    declared = {one.name: one.dims for one in case.system.observables}
    assert all(one.label for one in case.system.observables)
    outcome = case.simulated
    assert set(outcome.present()) <= set(declared)
    for name, value in outcome.present().items():
        assert value.dtype == np.float64
        assert isinstance(value, np.ndarray)
        assert outcome.dims[name] == declared[name]
        assert value.shape[:1] == (REPLICATES,)
        assert value.ndim == 1 + len(declared[name])
        if "at" in declared[name]:
            assert value.shape[1 + declared[name].index("at")] == len(outcome.at)
    dataset = outcome.to_dataset()
    assert set(dataset.data_vars) == set(outcome.present())


def test_failed_replicates_are_missing_with_a_reason(case) -> None:
    assert case.example.failing is not None
    outcome = case.simulate(*case.example.failing, replicates=2)
    assert outcome.result.tolist() == [case.example.code] * 2
    assert all(outcome.reasons())
    assert all(np.isnan(value).all() for value in outcome.present().values())
    for name, theory in case.system.theories.items():
        if theory.given:
            predicted = case.try_theory(name, *case.example.failing, given=outcome)
            if predicted is None:
                continue
            assert predicted.result.tolist() == outcome.result.tolist()
            assert all(np.isnan(value).all() for value in predicted.present().values())


# ---- theory


def test_both_sides_hold_the_same_observables(case) -> None:
    simulated = case.simulated
    declared = {one.name: one.dims for one in case.system.observables}
    for name, predicted in case.theories():
        given = bool(case.system.theories[name].given)
        assert predicted.theory == name
        assert np.shape(predicted.result) == ((REPLICATES,) if given else ())
        assert predicted.present(), name
        for observable, value in predicted.present().items():
            assert predicted.dims[observable] == declared[observable]
            assert observable in predicted.status, f"{name} claims nothing of {observable}"
            if observable in simulated.present():
                expected = simulated.present()[observable].shape
                assert value.shape == (expected if given else expected[1:]), (name, observable)


def test_every_claim_is_of_an_observable(case) -> None:
    declared = {one.name for one in case.system.observables}
    for name, theory in case.system.theories.items():
        assert theory.meaning
        assert theory.of is not None
        assert set(theory.status) <= declared, name


def test_what_is_given_may_be_a_mapping_or_a_run(case) -> None:
    for name, theory in case.system.theories.items():
        if not theory.given:
            continue
        held = {one: getattr(case.simulated, one) for one in theory.given if hasattr(case.simulated, one)}
        expected = case.try_theory(name, given=case.simulated, throw=False)
        if expected is None:
            continue
        times = {} if case.simulated.at is None else {"at": case.simulated.at}
        found = case.predict(theory=name, given=held, throw=False, **times)
        np.testing.assert_array_equal(found.result, expected.result)
        for observable, value in expected.present().items():
            np.testing.assert_allclose(found.present()[observable], value, rtol=1e-12, err_msg=f"{name}, {observable}")


def test_simulation_agrees_with_the_default_theory(case) -> None:
    assert case.example.agreement
    simulated = case.simulate(replicates=12, key=jax.random.key(3))
    theory = next(iter(case.system.theories))
    predicted = case.predict(theory=theory, given=simulated if case.system.theories[theory].given else None)
    for name, allowance in case.example.agreement.items():
        pairs = (simulated.present()[name], predicted.present()[name])
        flat = [value.reshape(-1, value.shape[-1]) if np.ndim(value) > 1 else value for value in pairs]
        alone = [bool(one.dims[name]) and not one.leading for one in (simulated, predicted)]
        last = [value[..., -1] if np.ndim(value) > 1 or one else value for value, one in zip(flat, alone, strict=True)]
        found = compare(last[0], last[1], allowance=allowance)
        assert found.agrees, (name, found)


def test_a_law_of_ones_own_is_honoured_or_refused(case) -> None:
    task = case.example.task
    law = next(kind for kind in type(task).__mro__ if kind in case.system.tasks)

    def sample(self: Any, *arguments: Any, **options: Any) -> Any:
        return law.sample(self, *arguments, **options)

    own = type("Own", (type(task),), {"sample": sample})
    made = object.__new__(own)
    for field in dataclasses.fields(task):
        object.__setattr__(made, field.name, getattr(task, field.name))
    assert case.system.is_foreign(made)
    if case.system.samples_problems(case.example.algorithm, **case.example.shared, **case.example.sizes):
        assert case.simulate(made, replicates=1).present()
    else:
        refused(ValueError, lambda: case.simulate(made), "task=Own", "full=True")
    for name, theory in case.system.theories.items():
        if not theory.needs_given:
            predicted = case.try_theory(name, made, throw=False)
            if predicted is None:
                continue
            assert {one.claim for one in predicted.status.values()} == {"heuristic"}


# ---- JAX


def test_transformations_work_or_are_answered(case) -> None:
    theory = next((name for name, one in case.system.theories.items() if not one.needs_given), None)
    if theory is None:
        theory = next(iter(case.system.theories))

    def call(task: Any) -> Any:
        return case.predict(task, theory=theory).present()

    if not case.system.traced:
        refused(ValueError, lambda: eqx.filter_jit(call)(_traceable(case.example.task)), "runs on the host")
        refused(
            ValueError,
            lambda: eqx.filter_jit(case.simulate)(_traceable(case.example.task)),
            "simulate runs on the host",
        )
        return
    expected = call(case.example.task)
    with jax.enable_x64(True):
        found = eqx.filter_jit(call)(_traceable(case.example.task))
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
        twice = jax.tree_util.tree_map(lambda leaf: jnp.stack([leaf, leaf]), _traceable(case.example.task))
        found = eqx.filter_vmap(call)(twice)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], np.stack([value, value]), rtol=1e-9, atol=1e-12, err_msg=name)


def test_what_is_not_solved_is_nan(case) -> None:
    if case.example.unsolved is None:
        assert not case.system.traced
        return
    task, algorithm = case.example.unsolved
    with pytest.raises((SolveError, ValueError)):
        case.predict(task, algorithm)
    outcome = case.predict(task, algorithm, throw=False)
    assert outcome.result != Result.SUCCESSFUL
    assert all(np.isnan(value).all() for value in outcome.present().values())
    if case.system.traced:
        with jax.enable_x64(True):

            def total(task: Any) -> Any:
                values = case.predict(task, algorithm, throw=False).present().values()
                return sum(jnp.sum(value) for value in values)

            value, gradient = eqx.filter_value_and_grad(total)(_traceable(task))
        assert np.isnan(value)
        assert all(np.isnan(leaf).all() for leaf in jax.tree_util.tree_leaves(gradient))


def _traceable(tree: Any) -> Any:
    with jax.enable_x64(True):
        return jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf) if np.ndim(leaf) >= 0 else leaf, tree)


def test_a_users_precision_stays(case) -> None:
    assert case.simulated.present()
    assert case.theories()
    assert jnp.ones(()).dtype == jnp.float32
    assert not jax.config.jax_enable_x64


def test_the_second_of_two_equal_calls_compiles_nothing(case, caplog) -> None:
    def calls() -> None:
        outcome = case.simulate(key=jax.random.key(7))
        for name, theory in case.system.theories.items():
            case.try_theory(name, given=outcome if theory.given else None, throw=False)
        case.example.algorithm.train(case.example.problem, jax.random.key(1))

    calls()
    with jax.log_compiles(True), caplog.at_level(logging.WARNING, logger="jax"):
        calls()
    compiled = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Compiling")]
    assert not compiled, compiled


# ---- experiments


@pytest.mark.parametrize("experiment", experiments().values(), ids=lambda experiment: experiment.name)
def test_no_square_array_is_stored(experiment) -> None:
    system = getattr(importlib.import_module(experiment.system), "SYSTEM", None)
    dims = {one.name: one.dims for one in ([] if system is None else system.observables)}
    # positions, and few curves: no pairs of nodes
    planes = [{one.x, one.y} for one in experiment.panels if isinstance(one, Map)]
    planes += [{one.x, one.hue} for one in experiment.panels if isinstance(one, Panel) and one.x and one.hue]
    for observable in experiment.observables:
        own = observable.dims or dims.get(observable.name, ())
        free = set(own) - {"at"}
        named = f"{experiment.name} stores {observable.name} {own}"
        assert len(free) <= 1 or "reference" in own or free in planes, named
