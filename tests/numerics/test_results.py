"""Result codes: each has words, a failure is raised once and by name, a traced code passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.numerics.results import Result, SolveError, is_traced, raise_unless_successful


def test_codes_are_the_stored_ones():
    """The numbers are written into stores, so that none may change its meaning."""
    assert {code.name: int(code) for code in Result} == {
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
    }


def test_every_failure_has_its_own_message():
    messages = [code.message for code in Result]
    assert messages[Result.SUCCESSFUL] == ""
    assert all(messages[1:])
    assert len(set(messages)) == len(Result)
    assert not any(text[0].isupper() or text.endswith(".") for text in messages[1:]), "they follow a colon"


@pytest.mark.parametrize("codes", [0, Result.SUCCESSFUL, np.array(0), jnp.zeros(3, int), np.zeros((2, 2), int)])
def test_success_does_not_raise(codes):
    raise_unless_successful(codes, "solve")


@pytest.mark.parametrize("code", list(Result)[1:])
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
