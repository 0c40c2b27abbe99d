"""Messages at the public boundary: each names the argument, its value, and what is accepted."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.numerics.validation import choice, integer, number


def sentence(text):
    return "^" + re.escape(text) + "$"


@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        (0.0, {"above": 0.0}, "ridge=0 is out of range; accepted: a finite number > 0"),
        (-0.5, {"at_least": 0.0}, "ridge=-0.5 is out of range; accepted: a finite number >= 0"),
        (1.0, {"above": 0.0, "below": 1.0}, "ridge=1 is out of range; accepted: a finite number > 0 and < 1"),
        (
            1.5,
            {"at_least": -1.0, "at_most": 1.0},
            "ridge=1.5 is out of range; accepted: a finite number >= -1 and <= 1",
        ),
        (np.inf, {}, "ridge=inf is out of range; accepted: a finite number"),
        (np.nan, {"above": 0.0}, "ridge=nan is out of range; accepted: a finite number > 0"),
        ("0.1", {"above": 0.0}, "ridge='0.1' is not a single number; accepted: a finite number > 0"),
        ("big", {"above": 0.0}, "ridge='big' is not a number; accepted: a finite number > 0"),
        (True, {}, "ridge=True is not a single number; accepted: a finite number"),
        ([0.1, 0.2], {}, "ridge=[0.1, 0.2] is not a single number; accepted: a finite number"),
        (1j, {}, "ridge=1j is not a number; accepted: a finite number"),
    ],
)
def test_number_says_what_is_wrong(value, bounds, text):
    with pytest.raises(ValueError, match=sentence(text)):
        number("ridge", value, **bounds)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1), np.array(1.0), jnp.float32(1), jnp.bfloat16(1)])
def test_number_is_returned_as_float64(value):
    got = number("ridge", value, at_least=1.0, at_most=1.0)
    assert got == 1.0
    assert got.dtype == np.float64


def test_traced_number_passes_unchecked():
    assert float(jax.jit(lambda x: number("ridge", x, above=0.0))(-1.0)) == -1.0
    assert float(jax.grad(lambda x: number("ridge", x, above=0.0) ** 2)(-1.0)) == -2.0


@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        (0, {"at_least": 1}, "length=0 is out of range; accepted: a whole number >= 1"),
        (9, {"at_least": 1, "at_most": 8}, "length=9 is out of range; accepted: a whole number >= 1 and <= 8"),
        (2.5, {"at_least": 1}, "length=2.5 is not a whole number; accepted: a whole number >= 1"),
        (np.inf, {}, "length=inf is not a whole number; accepted: a whole number"),
        (True, {}, "length=True is not a whole number; accepted: a whole number"),
        ("3", {}, "length='3' is not a whole number; accepted: a whole number"),
        (None, {}, "length=None is not a whole number; accepted: a whole number"),
    ],
)
def test_integer_says_what_is_wrong(value, bounds, text):
    with pytest.raises(ValueError, match=sentence(text)):
        integer("length", value, **bounds)


@pytest.mark.parametrize("value", [3, 3.0, np.int32(3), np.float64(3)])
def test_integer_is_returned_as_int(value):
    got = integer("length", value, at_least=3, at_most=3)
    assert got == 3
    assert type(got) is int


def test_choice_names_the_accepted_words():
    assert choice("method", "newton", ("auto", "newton")) == "newton"
    with pytest.raises(ValueError, match=sentence("method='bfgs' is unknown; accepted: 'auto', 'newton'")):
        choice("method", "bfgs", ("auto", "newton"))
    with pytest.raises(ValueError, match=sentence("method=None is unknown; accepted: 'auto', 'newton'")):
        choice("method", None, ("auto", "newton"))
