"""The square loss without iteration: a scalar root for chi, then a 3 x 3 linear system."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.equations import Equations, Solution
from solvable.numerics.results import Result

MAX_TURNS = 100


def solve_square(equations: Equations) -> Solution:
    """Solve the self-consistent equations of the square loss by their closed form.

    chi is the root of ridge chi + E[V/(1 + V)] = 1/ratio, V = chi r^2, an increasing function; with D = 1/(1 + V) and
    mu = E[r^2 D], (w1, w2, b) solve the weighted normal equations of (y A, y kappa c, y) on 1 with weight D, ridge
    (ridge, ridge + mu, 0); then tau^2 = (w2^2 + ratio chi^2 E[r^2 D^2 (M - 1)^2]) / (1 - ratio chi^2 E[r^4 D^2]).
    """
    f, ridge, ratio = equations.features, equations.ridge, equations.ratio
    square = f.scale * f.scale

    def excess(log_chi: Float[Array, ""], ridge, ratio, square, weight) -> Float[Array, ""]:
        chi = jnp.exp(log_chi)
        return ridge * chi + jnp.sum(weight * (chi * square / (1.0 + chi * square))) - 1.0 / ratio

    def root(function, guess):
        """Newton, kept inside a bracket that shrinks with every sign; where it would leave it, the middle."""

        def turn(state):
            x, low, high, _, turns = state
            value, slope = jax.jvp(function, (x,), (jnp.ones(()),))
            low, high = jnp.where(value > 0, low, x), jnp.where(value > 0, x, high)
            step = x - value / slope
            new = jnp.where((step > low) & (step < high), step, 0.5 * (low + high))
            return new, low, high, jnp.abs(new - x), turns + 1

        def going(state):
            return (state[3] > 1e-15 * (1.0 + jnp.abs(state[0]))) & (state[4] < MAX_TURNS)

        start = (guess, guess - 60.0, guess + 60.0, jnp.array(jnp.inf), jnp.array(0))
        return jax.lax.while_loop(going, turn, start)[0]

    def find(log_chi):
        return excess(log_chi, ridge, ratio, square, f.weight)

    log_chi = jax.lax.custom_root(find, jnp.zeros(()), root, lambda linear, y: y / linear(jnp.ones(())))
    chi = jnp.exp(log_chi)
    d = 1.0 / (1.0 + chi * square)
    mu = f.mean(square * d)
    columns = (f.query, f.signal, jnp.broadcast_to(f.label, d.shape))
    gram = jnp.stack([jnp.stack([f.mean(d * a * b) for b in columns]) for a in columns])
    anchor = 0.0 if f.has_query else 1.0
    diagonal = jnp.array([1.0, 0.0, 0.0]) * (ridge + anchor) + jnp.array([0.0, 1.0, 0.0]) * (ridge + mu)
    weights = jnp.linalg.solve(gram + diagonal[:, None] * jnp.eye(3), jnp.stack([f.mean(d * a) for a in columns]))
    misfit = sum(w * column for w, column in zip(weights, columns, strict=True)) - 1.0
    energy = ratio * chi * chi * f.mean(square * (d * misfit) ** 2)
    room = 1.0 - ratio * chi * chi * f.mean((square * d) ** 2)
    tau = jnp.sqrt((weights[1] ** 2 + energy) / room)
    x = jnp.concatenate([weights, jnp.log(tau)[None], log_chi[None]])
    residual = jnp.linalg.norm(equations.residual(x) * equations.scale(x))
    code = jnp.where(residual < 1e-6, int(Result.SUCCESSFUL), int(Result.MAX_STEPS))
    # log chi at the end of its bracket: at ridge 0 and ratio <= 1 the equation for chi has no root.
    code = jnp.where(jnp.abs(log_chi) > 59.0, int(Result.NO_MINIMISER), code)
    code = jnp.where(jnp.all(jnp.isfinite(x)), code, int(Result.NONFINITE))
    return Solution(x, residual, jnp.array(1), code)
