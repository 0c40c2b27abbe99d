"""What is read off runs of many problems, and how they are run together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np

from solvable.iterations.gossip import lattice as limits
from solvable.iterations.gossip.network import Network
from solvable.iterations.gossip.pairwise import wake
from solvable.iterations.gossip.task import Averaging, generator
from solvable.lab.declare import Result
from solvable.numerics.validation import instance, integer

MOST_ACTIVATIONS = 10**9  # of a simulation


class Runs(eqx.Module):
    """What is read off runs of several problems: |x - mean|^2 / n and the error of the mean, (R, K) each.

    `networks` are those of the problems, `times` what `at` stands for: rounds, activations or times (R, K).
    """

    problems: tuple[Averaging, ...]
    result: Any
    times: Any = None
    squared_error: Any = None
    drift: Any = None
    profile: Any = None

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks that were drawn."""
        return tuple(problem.network for problem in self.problems)


def alike(problems: Sequence[Any]) -> tuple[Averaging, ...]:
    """Problems with values, as a user's own law may draw others. Raises: TypeError."""
    return tuple(instance("what sample returns", one, (Averaging,)).sample(None) for one in problems)


def rounds_in(network: Network, at: np.ndarray, unit: str) -> np.ndarray:
    """The rounds (K,) that `at` stands for: themselves, or those that so many messages make, 2 |E| each.

    Raises: ValueError for another unit.
    """
    if unit not in ("rounds", "messages"):
        raise ValueError(
            f"unit={unit!r} is not accepted for rounds, which all nodes take at once; accepted: 'rounds', 'messages'"
        )
    return at if unit == "rounds" else at // (2 * len(network.edges))


def activations_in(at: np.ndarray, unit: str) -> np.ndarray:
    """The activations, or times, that `at` stands for; one sends 2 messages. Raises: ValueError for "rounds"."""
    if unit == "rounds":
        raise ValueError("unit='rounds' is not accepted for Pairwise; accepted: 'activations', 'time', 'messages'")
    return at // 2 if unit == "messages" else at


def in_rounds(
    problems: Sequence[Averaging], algorithm: Any, at: np.ndarray, unit: str, errors: np.ndarray, drifts: np.ndarray
) -> np.ndarray:
    """Run the rounds; the problems of one network are columns of one matrix. Fills errors and drifts (R, K)."""
    times = np.empty(errors.shape, np.int64)
    places: dict[int, list[int]] = {}
    for place, problem in enumerate(problems):
        places.setdefault(id(problem.network), []).append(place)
    for rows in places.values():
        network = problems[rows[0]].network
        rounds = rounds_in(network, at, unit)
        start = np.stack([problems[row].columns for row in rows], axis=1)  # (n, R, k)
        means, shape = start.mean(axis=0), start.shape

        def observe(x: np.ndarray, means: np.ndarray = means, shape: Any = shape) -> Any:
            x = x.reshape(shape)
            return ((x - means) ** 2).sum(axis=(0, 2)) / shape[0], np.linalg.norm(x.mean(axis=0) - means, axis=1)

        found = algorithm.path(network, start.reshape(shape[0], -1), rounds, None, observe)
        errors[rows], drifts[rows] = np.moveaxis(found, 0, -1)
        times[rows] = rounds
    return times


def woken(
    problems: Sequence[Averaging],
    algorithm: Any,
    keys: Any,
    at: np.ndarray,
    unit: str,
    errors: np.ndarray,
    drifts: np.ndarray,
) -> np.ndarray:
    """Wake edges, on all problems at once. Fills errors and drifts (R, K); returns the times (R, K)."""
    count = [problem.network.nodes for problem in problems]
    columns = {problem.columns.shape[1] for problem in problems}
    start = np.zeros((len(problems), max(count), max(columns)))
    for row, problem in enumerate(problems):
        start[row, : count[row], : problem.columns.shape[1]] = problem.columns
    sizes = np.array(count, float)
    means = start.sum(axis=1) / sizes[:, None]
    there = np.arange(start.shape[1]) < sizes[:, None]
    place = iter(range(len(at)))

    def record(x: np.ndarray) -> None:
        now = next(place)
        errors[:, now] = (there[..., None] * (x - means[:, None]) ** 2).sum(axis=(1, 2)) / sizes
        drifts[:, now] = np.linalg.norm(x.sum(axis=1) / sizes[:, None] - means, axis=1)

    counted = np.broadcast_to(activations_in(at, unit), errors.shape).astype(float)
    if counted.max() > MOST_ACTIVATIONS:
        raise ValueError(f"at holds {at.max():g}; accepted: at most {MOST_ACTIVATIONS:g} activations of a simulation")
    kind = "time" if unit == "time" else "activations"
    networks = [problem.network for problem in problems]
    # the second stream of each key: the first has drawn the problem
    generators = [generator(key).spawn(1)[0] for key in keys]
    return wake(algorithm, networks, start, counted, kind, generators, record)


def on_lattice(task: Any, algorithm: Any, count: int, at: np.ndarray, unit: str, size: Any) -> Runs:
    """Run the rounds on a torus; nothing is random, and all replicates are alike."""
    size = integer("size", size, at_least=2)
    task.require(algorithm)
    if unit not in ("time", "rounds"):
        raise ValueError(f"unit={unit!r} is not accepted on a Lattice; accepted: 'time', 'rounds'")
    rounds = limits.rounds_of(algorithm, at, size) if unit == "time" else at
    found = limits.profiles(task, algorithm, rounds, size)
    times = limits.times_of(algorithm, rounds, size)
    every, result = (lambda one: np.broadcast_to(one, (count, *one.shape))), np.full(count, int(Result.SUCCESSFUL))
    return Runs((task,) * count, result, every(times), profile=every(found))
