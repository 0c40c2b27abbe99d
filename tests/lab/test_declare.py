"""What the base class of systems does with what a prediction is given, on a system of a few lines."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.lab.declare import Checked, Example, Observable, Predicted, Status, System, Theory, code, real
from solvable.numerics.results import Result

STATED = Status("exact", "stated")


class CoinResult(Result):
    """The end of a coin that falls on its edge."""

    EDGE = code(9001, "the coin stands on its edge; toss it again")


class Coin(Checked):
    """A coin of a bias."""

    bias: float = real(0.5, at_least=0.0, at_most=1.0)


class Toss(Checked):
    """One toss."""


class Runs(eqx.Module):
    """Tosses (R,)."""

    heads: jax.Array
    result: jax.Array


class Tosses(System):
    """Whether a toss shows heads; every fourth coin ends on its edge."""

    tasks, algorithms = (Coin,), (Toss,)
    observables = (Observable("heads", "1 for heads"),)
    theories = {
        "mean": Theory("the mean", {"heads": STATED}, lambda task, algorithm, runs, at: {"heads": task.bias}),
        "seen": Theory(
            "what is seen is what there is",
            {"heads": STATED},
            lambda task, algorithm, runs, at: Predicted(
                {"heads": runs.need("heads")}, status={"heads": Status("heuristic", "derived")}
            ),
            given=("heads",),
            needs_given=True,
        ),
    }

    def train(self, task, algorithm, keys, at, unit):
        heads = jax.vmap(lambda key: jax.random.bernoulli(key, task.bias))(keys)
        edge = jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(keys) == 0
        return Runs(jnp.where(heads, 1.0, 0.0), jnp.where(edge, int(CoinResult.EDGE), 0))

    def measure(self, task, algorithm, runs, at):
        return {"heads": runs.heads}

    def example(self):
        return Example(Coin(), Toss(), None)


SYSTEM = Tosses()


class Traced(Tosses):
    traced = True


def test_a_theory_that_needs_a_run_reads_an_outcome_or_a_mapping_with_or_without_codes():
    seen = SYSTEM.simulate(Coin(), Toss(), replicates=12)
    assert 0 < np.sum(seen.result != 0) < 12
    for given in (seen, {"heads": seen.heads, "result": seen.result}):
        predicted = SYSTEM.predict(Coin(), Toss(), given=given)
        np.testing.assert_array_equal(predicted.heads, seen.heads)
        np.testing.assert_array_equal(predicted.result, seen.result)
    without = SYSTEM.predict(Coin(), Toss(), theory="seen", given={"heads": np.array([1.0, 0.0, 1.0])})
    np.testing.assert_array_equal(without.heads, [1.0, 0.0, 1.0])
    np.testing.assert_array_equal(without.result, 0)


def test_a_notebook_shows_an_outcome_with_its_claims_and_what_is_missing():
    seen = SYSTEM.simulate(Coin(), Toss(), replicates=12)
    mean = str(seen).splitlines()[1].split(maxsplit=1)[1]
    line = f'<tr><th scope="row">heads</th><td>{mean}</td><td></td></tr>'
    assert line in seen._repr_html_()
    assert "Outcome, 12 replicates" in seen._repr_html_()
    assert "<p>missing: the coin stands on its edge; toss it again</p>" in seen._repr_html_()
    line = '<tr><th scope="row">heads</th><td>0.5</td><td>exact</td></tr>'
    assert line in SYSTEM.predict(Coin(), Toss())._repr_html_()


def test_a_theory_may_claim_less_in_a_setting():
    assert SYSTEM.predict(Coin(), Toss()).status["heads"] == STATED
    given = {"heads": np.ones(2)}
    assert SYSTEM.predict(Coin(), Toss(), given=given).status["heads"] == Status("heuristic", "derived")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"heads": np.ones(3), "reslut": np.zeros(3)}, "given has 'reslut', which no theory reads; accepted: 'heads'"),
        ({"heads": np.ones(3), "result": [0, 0]}, "given has 2 result codes and 3 runs; accepted: one code a run"),
        ({"result": [0]}, "lacks 'heads'"),
        ({"heads": np.ma.masked_less(np.ones(3), 2.0)}, "given heads has masked values; accepted"),
        ({"heads": ["a", "b"]}, "given heads has dtype <U1; accepted: real numbers"),
        ({"heads": [[1.0], [1.0, 0.0]]}, "given heads is a ragged list; accepted"),
        ({"heads": {"a": 1.0}}, "given heads is dict; accepted: an array of numbers"),
        ({"heads": np.ones(2) * 1j}, "given heads has dtype complex128; accepted: real numbers"),
        ({"heads": np.ones(2), "result": ["a", "b"]}, "given result has dtype <U1; accepted"),
    ],
)
def test_what_no_theory_reads_is_not_ignored(given, message):
    with pytest.raises(ValueError, match=message):
        SYSTEM.predict(Coin(), Toss(), theory="seen", given=given)


def test_traced_numbers_are_given():
    def seen(heads):
        return Traced().predict(Coin(), Toss(), theory="seen", given={"heads": heads}).heads

    assert jax.jit(seen)(jnp.ones(2)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicates": range(-1, 2)}, r"replicates=range\(-1, 2\) is out of range; accepted: numbers >= 0"),
        ({"replicates": range(2**32, 2**32 + 1)}, "is out of range"),
        ({"unit": "rounds"}, "unit is given, and `at` has one unit here; accepted: unit=None"),
    ],
)
def test_what_simulate_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        SYSTEM.simulate(Coin(), Toss(), **options)


def test_a_class_in_place_of_an_object_is_named():
    with pytest.raises(TypeError, match="task=the class Coin is not accepted; accepted: Coin"):
        SYSTEM.simulate(Coin, Toss())


@pytest.mark.parametrize(
    "value",
    [
        b"1",
        np.bool_(True),
        np.array(True),
        np.datetime64("2020-01-01"),
        np.timedelta64(0, "s"),
        np.complex128(0),
        10**400,
    ],
)
def test_what_looks_like_a_number_is_none(value):
    with pytest.raises(ValueError, match=r"bias=.* is not a (single )?number"):
        Coin(bias=value)


def test_a_span_of_time_is_no_count():
    with pytest.raises(ValueError, match=r"replicates=.* is not a whole number"):
        SYSTEM.simulate(Coin(), Toss(), replicates=np.timedelta64(3, "s"))


class Timed(Tosses):
    """The same, of which `at` has one unit with a name."""

    units = ("steps",)


def test_a_unit_that_has_a_name_may_be_said():
    seen = Timed().simulate(Coin(), Toss(), replicates=3, unit="steps")
    assert seen.unit == "steps"
    np.testing.assert_array_equal(Timed().predict(Coin(), Toss(), given=seen).heads, seen.heads)
    with pytest.raises(ValueError, match="unit='rounds' is unknown; accepted: 'steps'"):
        Timed().simulate(Coin(), Toss(), unit="rounds")
