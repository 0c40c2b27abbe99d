"""The limit itself: the loss of fixed parameters on sequences of more and more tokens."""

from __future__ import annotations

from typing import ClassVar

import jax

from solvable.attention.self_attention.algorithms import PreconditionedDescent
from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.outcome import Observable
from solvable.attention.self_attention.simulate import simulate
from solvable.attention.self_attention.task import LinearMap
from solvable.attention.self_attention.theory import predict
from solvable.lab.outcome import Outcome


class LimitOutcome(Outcome):
    """`train_loss`, the loss on the own sequence; `fresh_excess`, the excess loss on a fresh context."""

    train_loss: Observable = None
    fresh_excess: Observable = None

    observables: ClassVar[tuple[str, ...]] = ("train_loss", "fresh_excess")


def fixed_parameters(task: LinearMap, error: float) -> Parameters:
    """The balanced solution with its value matrix made larger by the share `error`."""
    best = PreconditionedDescent(steps=1).train(task, at=[0]).parameters
    return Parameters((1.0 + error) * best.value, best.score)


def simulate_limit(
    task: LinearMap, params: Parameters, /, *, samples: int, key: jax.Array, replicates: int | range
) -> LimitOutcome:
    """Measure without training."""
    algorithm = PreconditionedDescent(steps=1)
    run = simulate(task, algorithm, samples=samples, key=key, replicates=replicates, at=[0], init=params)
    return LimitOutcome(run.result, {}, run.train_loss[:, 0], run.fresh_excess[:, 0])


def predict_limit(task: LinearMap, params: Parameters, theory: str | None, /, *, samples: int) -> LimitOutcome:
    """The limit ("population"), or the limit and its term in 1/n ("context")."""
    found = predict(task, PreconditionedDescent(steps=1), samples=samples, theory=theory, given=params, at=[0])
    if theory == "context":
        return LimitOutcome(found.result, {}, found.train_loss[0], found.fresh_excess[0])
    return LimitOutcome(found.result, {}, found.train_loss[0], found.excess[0])
