"""Result codes: each has words, a failure is raised once and by name, a traced code passes, a system adds its own."""

import copy
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.attention.sparse_tokens.results import SparseTokenResult
from solvable.attention.token_selection.results import SelectionResult
from solvable.numerics.results import Result, SolveError, code, is_traced, raise_unless_successful

# Other tests may declare codes of their own in this process.
OURS = [one for one in Result.known() if type(one).__module__.startswith("solvable.")]


def test_codes_are_the_stored_ones():
    """The numbers are written into stores, so that none may change its meaning."""
    assert {code.name: int(code) for code in OURS if code < 100} == {
        "SUCCESSFUL": 0,
        "MAX_STEPS": 1,
        "NONFINITE": 2,
        "NO_MINIMISER": 3,
        "UNDER_RESOLVED": 4,
        "ONE_CLASS": 5,
        "ZERO_QUERY": 6,
        "FAILED": 7,
        "INFEASIBLE": 8,
        "ZERO_GRADIENT": 9,
        "UNSATURATED": 10,
        "NOT_LOCALLY_OPTIMAL": 11,
        "UNREACHED_LOSS": 12,
        "DIVERGED": 13,
        "CYCLING": 14,
        "NO_FIXED_POINT": 15,
        "NOT_UNIQUE": 16,
    }


def test_every_failure_has_its_own_message():
    messages = [code.message for code in OURS]
    assert messages[Result.SUCCESSFUL] == ""
    assert all(messages[1:])
    assert len(set(messages)) == len(OURS)
    assert not any(text[0].isupper() or text.endswith(".") for text in messages[1:]), "they follow a colon"


def test_a_system_extends_the_codes():
    assert isinstance(SelectionResult.UNSATURATED, SelectionResult)
    assert Result(10) is SelectionResult(10) is SelectionResult.UNSATURATED
    assert SelectionResult.MAX_STEPS is Result.MAX_STEPS
    assert SparseTokenResult.ZERO_QUERY in Result.known()
    assert not hasattr(Result, "ZERO_QUERY")
    assert repr(SelectionResult.UNSATURATED) == "<SelectionResult.UNSATURATED: 10>"


def test_a_code_is_an_integer():
    one = SelectionResult.UNSATURATED
    assert one == 10
    assert {one: "x"}[10] == "x"
    assert f"{one}, {one:03d}, {one!s}" == "10, 010, 10"
    assert np.array([one, 0]).tolist() == [10, 0]
    assert np.array([one, 0]).dtype == np.array([10, 0]).dtype
    assert (np.array([10, 0]) == one).tolist() == [True, False]
    assert np.full(2, one).dtype == np.full(2, 10).dtype
    assert jnp.asarray([one]).dtype == jnp.asarray([10]).dtype
    assert jax.jit(lambda x: jnp.where(x, one, Result.SUCCESSFUL))(True) == one
    assert pickle.loads(pickle.dumps(one)) is one
    assert copy.deepcopy(one) is one


def test_an_unknown_number_has_words_too():
    """A store may be read where the system that wrote it is not imported."""
    unknown = Result(987_654)
    assert (unknown, unknown.name) == (987_654, "UNKNOWN")
    assert unknown.message == "result code 987654 is unknown here; import the system that declares it"
    assert pickle.loads(pickle.dumps(unknown)).message == unknown.message
    script = "from solvable.numerics.results import Result; print(Result(10).name)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "UNKNOWN\n"


@pytest.mark.parametrize("taken", [(10, "FRESH"), (987_654, "UNSATURATED"), (0, "FRESH")])
def test_numbers_and_names_never_collide(taken):
    number, name = taken
    before = Result.known()
    with pytest.raises(ValueError, match=rf"Late\.{name} = {number}, but .*Result\.(UNSATURATED = 10|SUCCESSFUL = 0)"):
        type("Late", (Result,), {"FIRST": code(987_653, "first"), name: code(number, "late")})
    assert Result.known() == before


def test_a_class_defined_anew_takes_the_place_of_the_old_one():
    """A reloaded module, or a cell of a notebook that is run again."""
    old = type("Again", (Result,), {"AGAIN": code(987_655, "old"), "GONE": code(987_656, "gone")})
    new = type("Again", (Result,), {"AGAIN": code(987_655, "new")})
    assert Result(987_655) is new.AGAIN is old.AGAIN
    assert Result(987_655).message == "new"
    assert Result(987_656).name == "UNKNOWN"
    type("Again", (Result,), {})
    assert Result(987_655).name == "UNKNOWN"


@pytest.mark.parametrize("codes", [0, Result.SUCCESSFUL, np.array(0), jnp.zeros(3, int), np.zeros((2, 2), int)])
def test_success_does_not_raise(codes):
    raise_unless_successful(codes, "solve")


@pytest.mark.parametrize("code", OURS[1:], ids=lambda code: code.name)
def test_failure_raises_with_its_message(code):
    with pytest.raises(SolveError) as caught:
        raise_unless_successful(jnp.array(int(code)), "predict", " (residual 0.1)")
    assert str(caught.value) == f"predict: {code.message} (residual 0.1)"


def test_failure_in_a_batch_names_the_first_element():
    with pytest.raises(SolveError) as caught:
        raise_unless_successful(np.array([[0, 0], [2, 1]]), "predict")
    assert str(caught.value) == f"predict (element 2): {Result.NONFINITE.message}"


def test_traced_codes_pass():
    seen = []

    @jax.jit
    def function(code):
        seen.append(is_traced(code))
        raise_unless_successful(code, "inside jit")
        return code

    assert int(function(1)) == 1
    assert seen == [True]
    assert not is_traced(1, np.ones(2), {"x": jnp.ones(2)}, None)
    jax.jit(lambda x: seen.append(is_traced(1, {"x": x})))(1.0)
    assert seen == [True, True]
