"""What a prediction is given: an outcome, a run or a mapping, read by name with the replicate axis first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.lab.declare.outcome import Outcome
from solvable.numerics.results import Result, is_traced
from solvable.numerics.validation import real_array

ABOUT = ("result", "at", "unit")  # what a mapping may hold of the runs besides what theories read


class Given:
    """What was read, by name, each with the replicate axis first; `result` (R,), None where no codes were given.

    `replicated` says whether the prediction keeps the replicate axis. `at` and `unit` are those of the outcome or run,
    and of the prediction once it has settled them.
    """

    def __init__(
        self, fields: Mapping[str, Any], what: str, result: Any = None, at: Any = None, unit: str | None = None
    ) -> None:
        self.fields, self.what, self.result, self.at, self.unit = dict(fields), what, result, at, unit
        self.replicated = True

    def get(self, name: str) -> Any:
        """What was read under a name, else None."""
        return self.fields.get(name)

    def need(self, name: str, accepted: str = "") -> Any:
        """What was read under a name.

        Raises: ValueError where it is not there.
        """
        if self.fields.get(name) is None:
            words = accepted or f"an outcome of simulate, or a mapping with {name!r}"
            raise ValueError(f"given={self.what} lacks {name!r}; accepted: {words}")
        return self.fields[name]

    def codes(self, count: int | None = None) -> Any:
        """The result codes (R,), all of them successes where none were given; `count` None is what the fields say.

        Raises: ValueError where the codes are as many as something else.
        """
        if count is None:
            leaves = jax.tree_util.tree_leaves({n: x for n, x in self.fields.items() if n not in ABOUT})
            count = int(next((np.shape(leaf)[0] for leaf in leaves if np.ndim(leaf)), 1))
        if self.result is None:
            return np.full(count, int(Result.SUCCESSFUL))
        if is_traced(self.result):
            return jnp.ravel(self.result)
        codes = np.ravel(np.asarray(real_array("given result", self.result))).astype(int)
        if codes.size != count:
            raise ValueError(f"given has {codes.size} result codes and {count} runs; accepted: one code a run")
        return codes


def read(
    given: Any, names: Sequence[str], runs: tuple[type, ...], bare: Mapping[type, str], known: Sequence[str]
) -> Given:
    """Read what a theory declares under `names`.

    `runs` are the classes of a trained run, which counts as one replicate; `bare` maps a class of which an object is
    accepted by itself to the name that it stands for; `known` is all that a mapping may hold.

    Raises: TypeError for an object that is none of these, and for an outcome that holds nothing of what is read;
    ValueError for a mapping with a name that is not known, or with an array that is none of real numbers.
    """
    what = type(given).__name__
    for kind, name in bare.items():
        if isinstance(given, kind):
            return Given({name: given}, what)
    if isinstance(given, Mapping):
        for name in given:
            if name not in (*known, *ABOUT):
                accepted = ", ".join(map(repr, dict.fromkeys([*names, *ABOUT])))
                raise ValueError(f"given has {name!r}, which no theory reads; accepted: {accepted}")
            _require_numbers(name, given[name])
        return Given(given, what, given.get("result"), given.get("at"), given.get("unit"))
    fields = {name: getattr(given, name) for name in names if hasattr(given, name)}
    if isinstance(given, Outcome) and fields.keys() - {"result", "at"}:
        if np.ndim(given.result) == 0:
            fields = _stacked(fields)
        return Given(fields, what, jnp.atleast_1d(given.result), given.at, given.unit)
    if isinstance(given, runs):
        times = getattr(given, "at", None)
        return Given(_stacked(fields), what, jnp.atleast_1d(given.result), times)  # pyright: ignore[reportAttributeAccessIssue]
    accepted = ["an outcome of simulate", *(["a run"] if runs else []), *(f"{kind.__name__}" for kind in bare)]
    raise TypeError(
        f"given={what} is not accepted; accepted: {', '.join(accepted)}, or a mapping with "
        f"{', '.join(name for name in names if name not in ABOUT)}"
    )


def _require_numbers(name: str, value: Any) -> None:
    """Problems and states are checked where they are read, by their class."""
    many = value if isinstance(value, list | tuple) else [value]
    if name not in ABOUT and not any(one is None or isinstance(one, eqx.Module) for one in many):
        real_array(f"given {name}", value)


def _stacked(fields: Any) -> Any:
    """With the replicate axis that a single run lacks."""
    return jax.tree_util.tree_map(lambda leaf: leaf[None] if is_traced(leaf) else np.asarray(leaf)[None], fields)
