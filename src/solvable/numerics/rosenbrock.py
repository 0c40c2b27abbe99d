"""Stiff initial value problems: a Rosenbrock method of order 5 whose linear solves know the structure of the problem.

The coefficients are those of Rodas5P (G. Steinebach, BIT Numerical Mathematics 63:27, 2023): eight stages, stiffly
accurate, L-stable. It needs one factorisation a step and no iteration. The caller supplies the solve of
(I - shift * J) x = b, so that a Jacobian of low rank or other structure is never formed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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

LEAST, MOST = 0.1, 5.0  # by how much one step may shrink or stretch the next


class Trajectory(NamedTuple):
    """States (K, d) at the times asked for, a `Result` code, the numbers of steps taken and of steps refused."""

    states: Float[Array, "K d"]
    result: Int[Array, ""]
    steps: Int[Array, ""]
    refused: Int[Array, ""]


class _Run(NamedTuple):
    time: Any
    state: Any
    size: Any
    steps: Any
    refused: Any


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
) -> Trajectory:
    """Solve dy/dt = f(t, y) from y(0) = start (d,) and return y at `times` (K,), nondecreasing and >= 0.

    `field(t, y)` is f; `linearise(t, y, shift)` returns the map b -> (I - shift J)^-1 b, J = df/dy, and df/dt. The
    error e of a step from y is kept below max_i |e_i| / (atol + rtol |y_i|) = 1 and no step passes a time asked for; a
    step whose error is not a number is refused, so that fields may overflow on trial steps. Works inside jit, vmap and
    jvp.

    `result` is MAX_STEPS when `max_steps` steps do not suffice, NONFINITE when the step size vanishes; the states from
    there on are NaN.
    """

    def attempt(run: _Run, size: Any) -> tuple[Any, Any]:
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
        return end, jnp.max(jnp.abs(increments[-1]) / bound)

    def segment(run: _Run, stop: Any) -> tuple[_Run, Any]:
        def unfinished(run: _Run) -> Any:
            # a step below rounding cannot move the time
            alive = run.time + run.size > run.time
            return (run.time < stop) & (run.steps < max_steps) & alive

        def step(run: _Run) -> _Run:
            whole = run.time + run.size < stop
            size = jnp.where(whole, run.size, stop - run.time)
            end, error = attempt(run, size)
            accepted = error <= 1.0
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
            )

        run = jax.lax.while_loop(unfinished, step, run)
        return run, jnp.where(run.time >= stop, run.state, jnp.nan)

    zero = jnp.zeros((), times.dtype)
    count = jnp.zeros((), jnp.int64)
    run, states = jax.lax.scan(segment, _Run(zero, start, zero + first_step, count, count), times)
    short = jnp.where(run.steps >= max_steps, int(Result.MAX_STEPS), int(Result.NONFINITE))
    result = jnp.where(run.time >= times[-1], int(Result.SUCCESSFUL), short)
    return Trajectory(states, result, run.steps, run.refused)


def _combined(weights: tuple[float, ...], increments: list[Any], like: Any) -> Any:
    """sum_j w_j u_j over the increments so far."""
    return sum((np.float64(w) * u for w, u in zip(weights, increments, strict=True)), jnp.zeros_like(like))
