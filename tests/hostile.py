"""What is put in the place of one argument at a time: values that no function of numbers may take without a word."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np


def masked(array: np.ndarray) -> Any:
    """The same numbers, of which one is hidden: every conversion drops the mask and uses what lies below."""
    hidden = np.zeros(np.shape(array), bool)
    hidden.flat[0] = True
    below = np.where(hidden, 1e12, array) if np.asarray(array).dtype.kind == "f" else array
    return np.ma.array(below, mask=hidden)


def records(array: np.ndarray) -> np.ndarray:
    """A structured array of the same shape."""
    found = np.zeros(np.shape(array), [("a", float), ("b", float)])
    found["a"] = array
    return found


# Refused by every function that takes an array of numbers.
ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "masked": masked,
    "list of masked": lambda array: [masked(array)] if np.ndim(array) < 2 else [masked(row) for row in array],
    "complex": lambda array: np.asarray(array) + 0.5j,
    "text": lambda array: np.asarray(array).astype(str),
    "dates": lambda array: np.zeros(np.shape(array), "datetime64[s]"),
    "spans": lambda array: np.ones(np.shape(array), "timedelta64[s]"),
    "records": records,
    "objects": lambda array: np.full(np.shape(array), None),
    "dict": lambda array: {"a": 1.0},
    "function": lambda array: len,
    "NaN": lambda array: np.where(np.arange(np.size(array)).reshape(np.shape(array)) == 0, np.nan, array),
    "infinity": lambda array: np.where(np.arange(np.size(array)).reshape(np.shape(array)) == 0, np.inf, array),
    "one axis more": lambda array: np.asarray(array)[None, None, None],
    "empty": lambda array: np.zeros((0, *np.shape(array)[1:])),
}
NUMBERS: dict[str, Any] = {
    "text": "three",
    "digits": "3",
    "complex": 1.0 + 2.0j,
    "masked": np.ma.masked,
    "date": np.datetime64("2020-01-01"),
    "span": np.timedelta64(3, "s"),
    "record": np.zeros((), [("a", float)]),
    "NaN": np.nan,
    "list": [0.5, 0.25],
    "bytes": b"3",
    "dict": {},
    "flag": True,
}
EXTREMES = (0.0, -0.0, 5e-324, 1e-300, 1e-12, 1e12, 1e300, 1e308, -1.0, -1e308)
WHOLE = {**NUMBERS, "half": 2.5, "below": -3, "infinity": np.inf}
FLAGS: dict[str, Any] = {"one": 1, "word": "yes", "array": np.array([True, False]), "list": []}
WORDS: dict[str, Any] = {"unknown": "nonsense", "number": 3, "list": ["a"], "array": np.zeros(2)}
OBJECTS: dict[str, Any] = {"word": "nonsense", "number": 3.5, "array": np.zeros(3), "class": dict, "list": []}


@dataclasses.dataclass(frozen=True)
class Call:
    """A public function with arguments that it takes, by name; `positional` are given by place.

    `taken` names what is hostile elsewhere and right here, argument by argument; `scikit` are arguments that
    scikit-learn refuses in its own words.
    """

    function: Callable[..., Any]
    arguments: dict[str, Any]
    positional: tuple[str, ...] = ()
    taken: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    scikit: tuple[str, ...] = ()

    def __call__(self, **changed: Any) -> Any:
        given = {**self.arguments, **changed}
        first = [given.pop(name) for name in self.positional]
        return self.function(*first, **given)

    def hostile(self) -> Iterator[tuple[str, str, Any]]:
        """(argument, what it is, the value), one after the other."""
        for name, value in self.arguments.items():
            for what, wrong in wrong_values(value).items():
                if what not in self.taken.get(name, ()):
                    yield name, what, wrong


def wrong_values(value: Any) -> dict[str, Any]:
    """What is refused in the place of a value, by the kind of the value."""
    if isinstance(value, bool):
        return FLAGS
    if isinstance(value, str):
        return WORDS
    if isinstance(value, int):
        return WHOLE
    if isinstance(value, float):
        return NUMBERS
    if isinstance(value, list):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        return {what: make(value) for what, make in ARRAYS.items()}
    if callable(value) or (jax.tree_util.all_leaves([value]) and not hasattr(value, "__dict__")):
        return {}
    return OBJECTS
