"""Stiff initial value problems: a Rosenbrock method of order 5 whose linear solves know the structure of the problem.

The coefficients are those of Rodas5P (G. Steinebach, BIT Numerical Mathematics 63:27, 2023): eight stages, stiffly
accurate, L-stable, with an interpolant of order 4. It needs one factorisation a step and no iteration. The caller
supplies the solve of (I - shift * J) x = b, so that a Jacobian of low rank or other structure is never formed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.numerics.results import Result

GAMMA = 0.21193756319429014
_A = (
    (),
    (3.0,),
    (2.849394379747939, 0.45842242204463923),
    (-6.954028509809101, 2.489845061869568, -10.358996098473584),
    (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
    (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946),
)
# every later stage, and the step itself, adds the stage before it
A = (*_A, (*_A[5], 1.0), (*_A[5], 1.0, 1.0))
C = (
    (),
    (-14.155112264123755,),
    (-17.97296035885952, -2.859693295451294),
    (147.12150275711716, -1.41221402718213, 71.68940251302358),
    (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
    (24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471),
    (
        30.91273214028599,
        -3.1208243349937974,
        77.79954646070892,
        34.28646028294783,
        -19.097331116725623,
        -28.087943162872662,
    ),
    (
        37.80277123390563,
        -3.2571969029072276,
        112.26918849496327,
        66.9347231244047,
        -40.06618937091002,
        -54.66780262877968,
        -9.48861652309627,
    ),
)
NODES = (0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1.0, 1.0, 1.0)
TIME = (GAMMA, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734, 2.325825639765069, 0.0, 0.0, 0.0)

# y(theta) = (1 - theta) y + theta (end + (1 - theta) (d_1 + theta (d_2 + theta d_3))), d_i = sum_j H_ij u_j
H = (
    (
        25.948786856663858,
        -2.5579724845846235,
        10.433815404888879,
        -2.3679251022685204,
        0.524948541321073,
        1.1241088310450404,
        0.4272876194431874,
        -0.17202221070155493,
    ),
    (
        -9.91568850695171,
        -0.9689944594115154,
        3.0438037242978453,
        -24.495224566215796,
        20.176138334709044,
        15.98066361424651,
        -6.789040303419874,
        -6.710236069923372,
    ),
    (
        11.419903575922262,
        2.8879645146136994,
        72.92137995996029,
        80.12511834622643,
        -52.072871366152654,
        -59.78993625266729,
        -0.15582684282751913,
        4.883087185713722,
    ),
)
PARTS = 4  # of a step, at whose ends signs are compared
HALVINGS = 48

LEAST, MOST = 0.1, 5.0  # by how much one step may shrink or stretch the next


class Trajectory(NamedTuple):
    """States (K, d) at the times asked for, a `Result` code, the numbers of steps taken and of steps refused.

    `crossings` (n,) are the times at which watched functions changed their sign, NaN where they did not.
    """

    states: Float[Array, "K d"]
    result: Int[Array, ""]
    steps: Int[Array, ""]
    refused: Int[Array, ""]
    crossings: Any = None


class _Run(NamedTuple):
    time: Any
    state: Any
    size: Any
    steps: Any
    refused: Any
    crossings: Any = None
    watched: Any = None


def integrate(
    field: Callable[[Any, Any], Any],
    linearise: Callable[[Any, Any, Any], tuple[Callable[[Any], Any], Any]],
    start: Float[Array, "d"],
    times: Float[Array, "K"],
    first_step: Any,
    *,
    rtol: Any = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 100_000,
    watch: Callable[[Any, Any], Any] | None = None,
    which: Literal["first", "last"] = "last",
) -> Trajectory:
    """Solve dy/dt = f(t, y) from y(0) = start (d,) and return y at `times` (K,), nondecreasing and >= 0.

    `field(t, y)` is f; `linearise(t, y, shift)` returns the map b -> (I - shift J)^-1 b, J = df/dy, and df/dt. The
    error e of a step from y is kept below max_i |e_i| / (atol + rtol |y_i|) = 1 and no step passes a time asked for; a
    step whose error is not a number is refused, so that fields may overflow on trial steps. Works inside jit, vmap and
    jvp.

    `watch(t, y)` gives (n,) numbers, of each of which the `which` change between positive and not positive is located
    inside its accepted step, by the step's interpolant, to 1e-14 of the step; two changes in a quarter of a step are
    missed. Unlike times that are read off `at`, such times are as accurate as the solution.

    `result` is MAX_STEPS when `max_steps` steps do not suffice, NONFINITE when the step size vanishes; the states from
    there on are NaN.
    """

    def attempt(run: _Run, size: Any) -> tuple[Any, Any, list[Any]]:
        solve, in_time = linearise(run.time, run.state, GAMMA * size)
        increments: list[Any] = []
        point = run.state
        for weights, couplings, node, share in zip(A, C, NODES, TIME, strict=True):
            point = run.state + _combined(weights, increments, run.state)
            slope = field(run.time + node * size, point) + _combined(couplings, increments, run.state) / size
            increments.append(GAMMA * size * solve(slope + share * size * in_time))
        end = point + increments[-1]
        # measured by where it begins: a step that blows up would excuse its own error
        bound = atol + rtol * jnp.abs(run.state)
        return end, jnp.max(jnp.abs(increments[-1]) / bound), increments

    def segment(run: _Run, stop: Any) -> tuple[_Run, Any]:
        def unfinished(run: _Run) -> Any:
            # a step below rounding cannot move the time
            alive = run.time + run.size > run.time
            return (run.time < stop) & (run.steps < max_steps) & alive

        def step(run: _Run) -> _Run:
            whole = run.time + run.size < stop
            size = jnp.where(whole, run.size, stop - run.time)
            end, error, increments = attempt(run, size)
            accepted = error <= 1.0
            seen = (None, None) if watch is None else _watched(watch, which, run, size, end, increments, accepted)
            factor = jnp.where(error > 0.0, 0.9 * jnp.maximum(error, 1e-30) ** -0.2, MOST)
            factor = jnp.where(jnp.isfinite(error), jnp.clip(factor, LEAST, MOST), LEAST)
            # a step cut short by a time asked for says little of the next
            proposed = jnp.where(accepted & ~whole, jnp.maximum(run.size, factor * size), factor * size)
            return _Run(
                jnp.where(accepted, jnp.where(whole, run.time + size, stop), run.time),
                jnp.where(accepted, end, run.state),
                proposed,
                run.steps + 1,
                run.refused + jnp.where(accepted, 0, 1),
                *seen,
            )

        run = jax.lax.while_loop(unfinished, step, run)
        return run, jnp.where(run.time >= stop, run.state, jnp.nan)

    zero = jnp.zeros((), times.dtype)
    count = jnp.zeros((), jnp.int64)
    first = None if watch is None else watch(zero, start)
    seen = (None, None) if first is None else (jnp.full_like(first, jnp.nan), first)
    run, states = jax.lax.scan(segment, _Run(zero, start, zero + first_step, count, count, *seen), times)
    short = jnp.where(run.steps >= max_steps, int(Result.MAX_STEPS), int(Result.NONFINITE))
    result = jnp.where(run.time >= times[-1], int(Result.SUCCESSFUL), short)
    return Trajectory(states, result, run.steps, run.refused, run.crossings)


def _watched(
    watch: Callable[[Any, Any], Any], which: str, run: _Run, size: Any, end: Any, increments: list[Any], accepted: Any
) -> tuple[Any, Any]:
    """The crossings known after a step, and the watched numbers at its end; what they were where it is refused."""
    dense = [_combined(row, increments, end) for row in H]

    def numbers(share: Any) -> Any:
        inner = dense[0] + share * (dense[1] + share * dense[2])
        return watch(run.time + share * size, (1.0 - share) * run.state + share * (end + (1.0 - share) * inner))

    shares = [part / PARTS for part in range(PARTS + 1)]
    known = jnp.stack([run.watched, *map(numbers, shares[1:-1]), watch(run.time + size, end)])
    above = known > 0.0
    changed = above[1:] != above[:-1]
    new = jnp.any(changed, axis=0) & accepted
    if which == "first":
        new = new & jnp.isnan(run.crossings)

    def locate() -> Any:
        part = jnp.argmax(changed, axis=0) if which == "first" else PARTS - 1 - jnp.argmax(changed[::-1], axis=0)
        before = jnp.take_along_axis(above, part[None], axis=0)[0]

        def halve(_: int, low_and_width: tuple[Any, Any]) -> tuple[Any, Any]:
            low, width = low_and_width
            width = 0.5 * width
            there = jnp.diagonal(jax.vmap(numbers)(low + width)) > 0.0
            return jnp.where(there == before, low + width, low), width

        start = part.astype(known.dtype) / PARTS, jnp.full_like(known[0], 1.0 / PARTS)
        low, width = jax.lax.fori_loop(0, HALVINGS, halve, start)
        return jnp.where(new, run.time + (low + 0.5 * width) * size, run.crossings)

    crossings = jax.lax.cond(jnp.any(new), locate, lambda: run.crossings)
    return crossings, jnp.where(accepted, known[-1], run.watched)


def _combined(weights: tuple[float, ...], increments: list[Any], like: Any) -> Any:
    """sum_j w_j u_j over the increments so far."""
    return sum((np.float64(w) * u for w, u in zip(weights, increments, strict=True)), jnp.zeros_like(like))
