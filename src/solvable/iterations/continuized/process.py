"""How runs are made: waiting times of each event by its own number, one compiled scan over events and records.

An event's waiting time, noise and row depend on the key and on the number of the event alone, so that a run is the same
at whatever steps or times it is looked at.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.iterations.continuized.schedules import Coefficients, Schedule, advance
from solvable.iterations.continuized.task import Objective, Problem, spectral
from solvable.lab.declare import recorded
from solvable.optim.continuized import waiting_time

TOGETHER = 512  # runs at once: their states stay in the cache
EVENTS_TOGETHER = 5 * 10**6  # of all of them: coefficients of every event are kept
NOISE = 2**32 - 1  # the number, of no event, under which gradients draw


class Runs(eqx.Module):
    """Many runs (R,): what was measured of each at the recorded events or times (R, K), and a `Result` code each.

    `times` (R, K) are the times T_k of the events recorded, or the times recorded.
    """

    at: Any
    times: Any
    suboptimality: Any
    weighted_suboptimality: Any
    squared_distance: Any
    result: Any


class Traced(eqx.Module):
    """An objective written in JAX as what runs see of a problem."""

    function: Any = eqx.field(static=True)
    slope: Any = eqx.field(static=True)
    start: Any
    least: Any
    minimiser: Any


def events_until(time: float) -> int:
    """How many events are drawn to reach a time: fewer come later with a probability of 1e-20."""
    return math.ceil(time + 10.0 * math.sqrt(time) + 45.0)


def gradient_at(problem: Any, exact: bool, key: Any, event: Any, point: Any) -> Any:
    """The gradient that event number `event` of a run takes at a point."""
    if isinstance(problem, Traced):
        return problem.slope(point)
    key = jax.random.fold_in(key, event)
    if exact or (problem.rows is None and not problem.fresh):
        slope = problem.eigenvalues * point
        if exact or problem.noise is None:
            return slope
        return slope + problem.noise * jax.random.normal(key, point.shape, point.dtype)
    if problem.fresh:
        row = jnp.sqrt(problem.eigenvalues) * jax.random.normal(key, point.shape, point.dtype)
        return row * (row @ point)
    rows: Any = problem.rows
    place = jax.random.randint(key, (), 0, len(rows))
    row = rows[place]
    return row * (row @ point - (0.0 if problem.residuals is None else problem.residuals[place]))


def measured_at(problem: Any, point: Any) -> tuple[Any, Any]:
    """f - min f and the squared distance to the minimiser."""
    if isinstance(problem, Traced):
        apart = jnp.nan if problem.minimiser is None else jnp.sum((point - problem.minimiser) ** 2)
        return problem.function(point) - problem.least, apart
    square = point * point
    return 0.5 * problem.eigenvalues @ square, jnp.sum(square)


def event_times(key: Any, count: int, schedule_is_random: bool) -> Any:
    """The times (count + 1,) of the events, T_0 = 0 first; event k at time k where nothing is random."""
    if not schedule_is_random:
        return jnp.arange(count + 1.0)
    waits = jax.vmap(functools.partial(waiting_time, key, dtype=jnp.float64))(jnp.arange(count))
    return jnp.concatenate([jnp.zeros(1), jnp.cumsum(waits)])


@eqx.filter_jit
def simulated(
    problem: Any,
    schedule: Schedule,
    random: bool,
    exact: bool,
    average: bool,
    keys: Any,
    at: Any,
    count: int,
    timed: bool,
) -> tuple[Any, Any, Any]:
    """Of each run (R,): f - min f, the squared distance and T (R, K) when `at` events are done, or at the times `at`.

    A time at which one looks is an event without a step: the flow between events is exact over any interval.
    """

    def one(key: Any) -> tuple[Any, Any, Any]:
        times = event_times(key, count, random)
        every = jnp.concatenate([times[1:], at]) if timed else times[1:]
        event = jnp.argsort(every) if timed else jnp.arange(count)  # those from `count` on are records
        now, happens = every[event], (event < count).astype(float)
        before = jnp.concatenate([jnp.zeros(1), now[:-1]])
        c = schedule.coefficients(event.astype(float), before, now)
        c = c._replace(step=c.step * happens, kick=c.kick * happens)
        draws = jax.random.fold_in(key, NOISE)

        def body(state: Any, each: Any) -> Any:
            number, coefficients, look = each
            state = advance(state, functools.partial(gradient_at, problem, exact, draws, number), coefficients)
            point = state[1] if average else state[0]
            if timed:
                return state, measured_at(problem, point)
            return state, jax.lax.cond(look, functools.partial(measured_at, problem), lambda _: nothing, point)

        start, nothing = jnp.asarray(problem.start), (jnp.zeros(()), jnp.zeros(()))
        looks = jnp.zeros(len(event), bool) if timed else jnp.zeros(count + 1, bool).at[at].set(True)[1:]
        _, path = jax.lax.scan(body, (start, start), (event, c, looks))
        path = [
            jnp.concatenate([jnp.asarray(a)[None], b]) for a, b in zip(measured_at(problem, start), path, strict=True)
        ]
        places = jnp.argsort(event)[count:] + 1 if timed else at
        return path[0][places], path[1][places], at if timed else times[at]

    runs, most = keys.shape[0], max(1, min(TOGETHER, EVENTS_TOGETHER // max(1, count)))
    if runs <= most:
        return jax.vmap(one)(keys)
    size = math.ceil(runs / math.ceil(runs / most))
    filled = jnp.concatenate([keys, keys[: -runs % size]])  # whole batches compile once
    return jax.tree.map(lambda leaf: leaf[:runs], jax.lax.map(one, filled, batch_size=size))


@eqx.filter_jit
def _path(problem: Any, schedule: Schedule, random: bool, exact: bool, key: Any, at: Any, count: int) -> Any:
    times = event_times(key, count, random)
    draws = jax.random.fold_in(key, NOISE)

    def step(number: Any, state: Any) -> Any:
        c = schedule.coefficients(number.astype(float), times[number], times[number + 1])
        return advance(state, functools.partial(gradient_at, problem, exact, draws, number), c)

    start = jnp.asarray(problem.start)
    _, (x, z) = recorded(step, (start, start), at)
    return x, z, times[at]


def seen(problem: Problem) -> Any:
    """What compiled runs see of a problem."""
    if isinstance(problem, Objective):
        return Traced(problem.value, problem.gradient, problem.start, *problem.least())
    found = spectral(problem)
    quiet = found.rows is not None or found.fresh or float(found.noise) == 0.0
    return found._replace(noise=None if quiet else found.noise, basis=None, minimiser=None)


def trained(problem: Problem, algorithm: Any, key: Any, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (K, d), z (K, d) in the user's coordinates and T (K,) when `at` events are done."""
    schedule, count, random = algorithm.schedule(problem), int(at[-1]), algorithm.random_times
    exact = algorithm.exact_gradients(problem)
    if isinstance(problem, Objective) and not problem.traced:
        x, z, times = _on_the_host(problem, schedule, random, key, at.astype(float), count, False)
        return x, z, times
    x, z, times = map(np.asarray, _path(_bare(problem), schedule, random, exact, key, jnp.asarray(at), count))
    if isinstance(problem, Objective):
        return x, z, times
    found = spectral(problem)
    return found.in_users_coordinates(x), found.in_users_coordinates(z), times


def _bare(problem: Problem) -> Any:
    """`seen` without the least value, which a path does not need."""
    if isinstance(problem, Objective):
        return Traced(problem.value, problem.gradient, problem.start, np.float64(0.0), None)
    return seen(problem)


def many(problem: Problem, algorithm: Any, keys: Any, at: np.ndarray, timed: bool) -> tuple[Any, Any, Any]:
    """`simulated`, or for an objective of NumPy the same on the host, run after run."""
    schedule, random = algorithm.schedule(problem), algorithm.random_times
    count = events_until(float(at[-1])) if timed else int(at[-1])
    average = bool(getattr(algorithm, "average", False))
    if not isinstance(problem, Objective) or problem.traced:
        places = jnp.asarray(at, float) if timed else jnp.asarray(at)
        exact = algorithm.exact_gradients(problem)
        return simulated(seen(problem), schedule, random, exact, average, keys, places, count, timed)
    least, minimiser = problem.least()
    found = []
    for key in keys:
        x, z, times = _on_the_host(problem, schedule, random, key, at.astype(float), count, timed)
        points = z if average else x
        apart = np.full(len(at), np.nan) if minimiser is None else ((points - minimiser) ** 2).sum(1)
        found.append((np.array([float(problem.of(point)) for point in points]) - least, apart, times))
    return tuple(map(np.stack, zip(*found, strict=True)))  # pyright: ignore[reportReturnType]


def _on_the_host(
    problem: Objective, schedule: Schedule, random: bool, key: Any, at: np.ndarray, count: int, timed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (K, d), z (K, d), T (K,) of one run whose gradients are functions of NumPy."""
    times = np.asarray(_times(key, count, random))
    every = np.concatenate([times[1:], at]) if timed else times[1:]
    order = np.argsort(every, kind="stable")
    now, before = every[order], np.concatenate([[0.0], every[order][:-1]])
    c = Coefficients(*map(np.asarray, _coefficients(schedule, order.astype(float), before, now)))
    state, path = (problem.start, problem.start), [(problem.start, problem.start)]
    for k, number in enumerate(order):
        slope = problem.slope if number < count else np.zeros_like
        state = advance(state, slope, Coefficients(*(one[k] for one in c)))
        path.append(state)
    places = np.argsort(order, kind="stable")[count:] + 1 if timed else at.astype(int)
    x, z = (np.stack([path[place][side] for place in places]) for side in (0, 1))
    return x, z, at if timed else times[places]


_times = jax.jit(event_times, static_argnums=(1, 2))
_coefficients = eqx.filter_jit(lambda schedule, *when: schedule.coefficients(*when))
