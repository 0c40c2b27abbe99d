"""Predictions: the five-number dynamics, the rates on the manifold, and the floor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.single_location.algorithms import ProjectedDescent, recorded_steps
from solvable.attention.single_location.baselines import oracle_risk
from solvable.attention.single_location.outcome import SingleLocationOutcome
from solvable.attention.single_location.overlaps import Overlaps
from solvable.attention.single_location.rates import predicted_rates
from solvable.attention.single_location.risk import law
from solvable.attention.single_location.simulate import descended, known, measured
from solvable.attention.single_location.task import SingleLocation
from solvable.attention.single_location.theories import RATES, theories
from solvable.numerics.precision import float64
from solvable.numerics.results import Result
from solvable.numerics.validation import choice


@float64
def predict(
    task: SingleLocation,
    algorithm: ProjectedDescent,
    /,
    *,
    theory: str | None = None,
    given: Any = None,
    at: Any = None,
    throw: bool = True,
) -> SingleLocationOutcome:
    """What theory says of training with `algorithm`, in the observables of `simulate` (see `theories`).

    "overlaps" (the default) needs `given`: an outcome of `simulate`, the `Overlaps` of one start or of many, or a
    mapping with `start`. `at` are steps (None: those of an outcome given, else as in `simulate`). Nothing is iterated
    to a tolerance, so `throw` changes nothing. Runs on concrete numbers: differentiate `excess_risk`, not this.

    Raises: ValueError for a theory that does not speak of this algorithm, and for a start no vectors have.
    """
    del throw
    known(task, algorithm, "predict")
    name = choice("theory", theory or next(iter(theories)), tuple(theories))
    if at is None and isinstance(given, SingleLocationOutcome):
        at = given.at
    at = recorded_steps(algorithm, at)
    if name == "overlaps":
        start = _start(given)
        numbers = algorithm.numbers(task.length)
        path = descended(law(task), numbers, start, jnp.asarray(at), algorithm.closed_form)
        outcome = measured(task, algorithm, path, at, start)
        return eqx.tree_at(
            lambda o: [getattr(o, rate) for rate in RATES], outcome, [None] * len(RATES), is_leaf=lambda x: x is None
        )
    if name == "rates":
        if algorithm.closed_form or algorithm.batch is not None or algorithm.init != "manifold":
            raise ValueError(
                "theory='rates' speaks of population descent of both vectors on the manifold; accepted: "
                "value='descent', batch=None, init='manifold'"
            )
        return SingleLocationOutcome(
            result=np.array(int(Result.SUCCESSFUL)), stats={}, at=at, **predicted_rates(task, algorithm)
        )
    lams = jnp.asarray(algorithm.inverse_temperatures(at))
    risks = np.asarray(oracle_risk(law(task), lams, algorithm.closed_form))
    return SingleLocationOutcome(
        result=np.array(int(Result.SUCCESSFUL)), stats={}, at=at, risk=risks, final_risk=risks[-1]
    )


def _start(given: Any) -> Overlaps:
    """The overlaps at step 0 that a prediction is given."""
    if isinstance(given, SingleLocationOutcome):
        given = given.start
    elif isinstance(given, Mapping):
        given = given.get("start")
    if not isinstance(given, Overlaps):
        raise ValueError(
            f"given={given!r} is not accepted with theory='overlaps', which starts where a run started; accepted: an "
            "outcome of simulate, Overlaps, or a mapping with 'start'"
        )
    given.check()
    shape = np.broadcast_shapes(*(np.shape(leaf) for leaf in jax.tree_util.tree_leaves(given)))
    if len(shape) > 1:
        raise ValueError(f"given overlaps of shape {shape}; accepted: one start, or an array of starts (R,)")
    return jax.tree_util.tree_map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, jnp.float64), shape), given)
