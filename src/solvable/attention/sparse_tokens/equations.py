"""Self-consistent equations of ridge ERM on features with a random noise scale, and their solution.

With margins M = y (w1 A + w2 kappa c + b), spread S = r tau, V = chi r^2, z = M + S G, p = loss'(prox(z, V)) and alpha
the ratio of samples to dim, the five unknowns (w1, w2, b, tau, chi) solve
    E[y p] = 0,                                 ridge w1 + E[y A p] = 0,          w2/(alpha chi) + E[y kappa c p] = 0,
    alpha chi (ridge + E[r G p]/tau) = 1,       tau^2 = w2^2 + alpha chi^2 E[r^2 p^2].
They are the stationarity conditions of the convex-concave variational form
    min_{w1,w2,b,t} max_chi  E[Moreau of the loss, width chi r^2, at z] - t^2/(2 alpha chi)
                             + (ridge/2)(w1^2 + w2^2 + t^2),
t^2 = tau^2 - w2^2, so for a convex loss and ridge > 0 the solution is unique. Derived here by leave-one-out and by the
convex Gaussian min-max theorem; arXiv:2509.25153 (Theorems 4 and 5) has the equations in a form we could not read.
E[r G p]/tau equals E[r^2 dp/dz] by Stein's lemma and needs no second derivative of the loss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from solvable.attention.sparse_tokens.nodes import Nodes
from solvable.attention.sparse_tokens.task import Scalar
from solvable.numerics.bisection import bisect
from solvable.numerics.gaussian import normal_cdf, positive_part_square
from solvable.numerics.losses import Loss
from solvable.numerics.newton import NewtonState, newton, untried
from solvable.numerics.results import Result

# Residuals are relative (each row is scaled to the size of its terms). Newton reaches 1e-13; quadrature sums of closed
# forms with small V lose digits, so a stalled solve is accepted up to STALLED.
TOLERANCE = 1e-11
STALLED = 1e-7
STAGES = 10
PATH_STARTS = (0.3, 3.0, 0.03, 0.003, 1e-4)
CONSTANT_STARTS = (3.0, 30.0)
BLIND = 1e-3
COARSE_POINTS = 2**8
MEDIUM_POINTS = 2**11
COARSE_TURNS = 30
FINE_TURNS = 40
MAX_PATH_POINTS = 40
SQUARE_TURNS = 100
REACH = 100.0

UNIT = np.eye(5)
Unknowns = Float[Array, "5"]
"""(w1, w2, b, log tau, log chi)."""


class Equations(eqx.Module):
    """The system at one setting: features, loss, ridge and ratio."""

    features: Nodes
    loss: Loss
    ridge: Scalar
    ratio: Scalar

    def scores(self, x: Unknowns) -> tuple[Float[Array, "2 N"], Float[Array, "2 N"], Float[Array, "2 N"]]:
        """Margin M, spread S and prox width V at every node."""
        f = self.features
        margin = x[0] * f.query + x[1] * f.signal + x[2] * f.label
        return margin, f.scale * jnp.exp(x[3]), f.scale * f.scale * jnp.exp(x[4])

    def residual(self, x: Unknowns) -> Float[Array, "5"]:
        """The five equations, in the order of the module's docstring, the last two as logarithms of ratios."""
        return self.residual_and_jacobian(x)[0]

    def scale(self, x: Unknowns) -> Float[Array, "5"]:
        """Row factors that make the residual relative: w/(alpha chi) is of the size tau/(alpha chi)."""
        row = self.ratio * jnp.exp(x[4] - x[3])
        return jnp.stack([row, row, row, jnp.ones_like(row), jnp.ones_like(row)])

    def reach(self, x: Unknowns) -> Float[Array, "5"]:
        """How far one Newton step may move each unknown."""
        return jnp.concatenate([2.0 + 0.5 * jnp.abs(x[:3]), jnp.full(2, 2.0)])

    def _means(self, *values: Float[Array, "2 N"]) -> Float[Array, "k"]:
        weight = jnp.broadcast_to(self.features.weight, values[0].shape)
        return over_nodes(jnp.stack(values), weight[None])[:, 0]

    def residual_and_jacobian(self, x: Unknowns) -> tuple[Float[Array, "5"], Float[Array, "5 5"]]:
        """The five equations and their derivative by the unknowns (by hand: one pass over the nodes)."""
        f, ridge, ratio = self.features, self.ridge, self.ratio
        margin, spread, variance = self.scores(x)
        m = self.loss.prox_moments(margin, spread, variance, f.shift)
        w1, w2, tau, chi = x[0], x[1], jnp.exp(x[3]), jnp.exp(x[4])
        # Averages of one kind are taken together: one sum over a stack compiles faster than many sums.
        columns = jnp.stack([f.query, f.signal, jnp.broadcast_to(f.label, f.scale.shape)])
        scale, scale2 = f.scale, f.scale**2
        # Without a coordinate along the query its equation is w1 = 0.
        anchor = 0.0 if f.has_query else 1.0
        means = self._means(*(columns * m.slope[None]), scale * m.slope_g, scale2 * m.slope_sq)
        along_query, along_signal, along_label, reach, energy = means
        reach, energy = reach / tau, ratio * chi * chi * energy

        by_unknowns = jnp.stack([*(columns * m.curve[None]), m.curve_g * spread, -m.slope_curve * variance])
        rows = over_nodes(columns * f.weight[None], by_unknowns)
        by_scores = scale * m.curve_gg * spread, -scale * m.slope_curve_g * variance
        reach_by = self._means(*(columns * (scale * m.curve_g)[None]), *by_scores) / tau - UNIT[3] * reach
        by_scores = scale2 * m.slope_curve_g * spread, -scale2 * m.slope_sq_curve * variance
        energy_by = self._means(*(columns * (scale2 * m.slope_curve)[None]), *by_scores)
        square = w2 * w2 + energy
        square_by = 2.0 * (ratio * chi * chi * energy_by + UNIT[4] * energy + UNIT[1] * w2)
        residual = [
            along_label,
            (ridge + anchor) * w1 + along_query,
            w2 / (ratio * chi) + along_signal,
            jnp.log(ratio * chi * (ridge + reach)),
            jnp.log(square) - 2.0 * x[3],
        ]
        jacobian = [
            rows[2],
            rows[0] + UNIT[0] * (ridge + anchor),
            rows[1] + (UNIT[1] - UNIT[4] * w2) / (ratio * chi),
            reach_by / (ridge + reach) + UNIT[4],
            square_by / square - 2.0 * UNIT[3],
        ]
        return jnp.stack(residual), jnp.stack(jacobian)


def coarse_solution(equations: Equations) -> Start:
    """A solution on a coarse rule: the path of solutions from a strong ridge, where zero is close, to the wanted one.

    A path can break where the hinge leaves the bias undetermined (a ridge so strong that every margin is below 1), so
    that paths from several ridges are tried, the last ones from the constant rule: where such a ridge is wanted and one
    class is rarer, the margins of the other rest near the kink.
    """
    coarse = equations.features.thinned(COARSE_POINTS)
    x0 = jnp.array([0.0, 0.0, 0.0, -2.0, 0.0])
    constant = UNIT[2] * constant_rule(equations)
    starts = jnp.array(PATH_STARTS + CONSTANT_STARTS)

    def path(number: Int[Array, ""]) -> tuple[Start, Scalar]:
        start, ruled = starts[number], number >= len(PATH_STARTS)
        strong = jnp.maximum(start, equations.ridge)
        weak = jnp.maximum(equations.ridge, 1e-10)
        ladder = strong * (weak / strong) ** jnp.linspace(0.0, 1.0, STAGES)
        ladder = ladder.at[-1].set(equations.ridge)

        def stage(x: Unknowns, ridge: Scalar) -> tuple[Unknowns, tuple[Unknowns, Scalar]]:
            state = newton(replace(equations, features=coarse, ridge=ridge), x, COARSE_TURNS, 1e-6)
            return state.x, (state.x, state.norm)

        free = linear_regime(replace(equations, features=coarse, ridge=strong))
        begin = jnp.where(ruled, free + constant, x0 - UNIT[4] * jnp.log(equations.ratio * (strong + 0.1)))
        x, (points, norms) = jax.lax.scan(stage, begin, ladder)
        return Start(x, points[0], ladder[0]), norms[-1]

    def attempt(state: tuple[Any, ...]) -> tuple[Any, ...]:
        best, norm, number = state
        found, reached = path(number)
        better = reached < norm
        chosen = jax.tree_util.tree_map(lambda new, old: jnp.where(better, new, old), found, best)
        return chosen, jnp.where(better, reached, norm), number + 1

    def going(state: tuple[Any, ...]) -> Bool[Array, ""]:
        return (state[1] > 1e-4) & (state[2] < starts.size)

    none = Start(x0, x0, jnp.ones(()))
    return jax.lax.while_loop(going, attempt, (none, jnp.array(jnp.inf), jnp.array(0)))[0]


def linear_regime(equations: Equations) -> Unknowns:
    """The unknowns but for the bias, which is 0 here, where every margin has the slope that the loss has at 0."""
    f, ridge, slope = equations.features, equations.ridge, equations.loss.slope(jnp.zeros(()))
    chi = 1.0 / (equations.ratio * ridge)
    along, across = (-slope * f.mean(x) / ridge for x in (f.query, f.signal))
    square = across**2 + equations.ratio * (chi * slope) ** 2 * f.mean(f.scale**2)
    zero = jnp.zeros(())
    return jnp.stack([along, across, zero, 0.5 * jnp.log(jnp.maximum(square, 1e-300)), jnp.log(chi)])


def constant_rule(equations: Equations) -> Scalar:
    """The bias of the best constant score, the root of E y loss'(y b), by bisection."""
    label, weight = equations.features.label, equations.features.weight * equations.features.scale.shape[1]

    def above(bias: Scalar) -> Bool[Array, ""]:
        return jnp.sum(weight * label * equations.loss.slope(label * bias)) < 0.0

    return bisect(above, jnp.array(-100.0), jnp.array(100.0), 60)


def undetermined(equations: Equations) -> Bool[Array, ""]:
    """Whether no margin leaves the straight part of the loss for some bias, and the classes balance.

    Then the derivative by the bias vanishes on an interval. Margins of Gaussian features have no end, so that this is a
    question of size: where the slopes differ from that at 0, and the curvature from 0, by less than `BLIND` slopes
    on average, the count of the classes decides in draws of up to 1/BLIND^2 bags, a million.
    """
    f = equations.features.thinned(COARSE_POINTS)
    equations, slope = replace(equations, features=f), equations.loss.slope(jnp.zeros(()))
    free = linear_regime(equations)

    def bent(bias: Scalar) -> Scalar:
        m = equations.loss.prox_moments(*equations.scores(free + UNIT[2] * bias), f.shift)
        off = f.mean(m.slope_sq - 2.0 * slope * m.slope + slope**2) / slope**2
        return jnp.maximum(off, f.mean(m.curve) / jnp.abs(slope))

    least = jnp.min(jax.lax.map(bent, jnp.linspace(-1.0, 1.0, 21)))
    balance = jnp.abs(f.mean(jnp.broadcast_to(f.label, f.scale.shape)))
    return (least < BLIND) & (balance < BLIND)


class Start(NamedTuple):
    """Where a finer rule starts: the solution wanted, and one at a stronger ridge from which a path can lead there."""

    x: Unknowns
    strong_x: Unknowns
    strong_ridge: Scalar


def follow(equations: Equations, start: Start, tolerance: float, enough: float) -> NewtonState:
    """Newton from `start.x`; where that fails, along a path of ridges from the strong one.

    The steps of the path halve on failure; `enough` is the residual at which a point of the path counts as solved.
    """

    def turn(state: tuple[Any, ...]) -> tuple[Any, ...]:
        good_x, good_ridge, begin, ridge, _, tries = state
        found = newton(replace(equations, ridge=ridge), begin, FINE_TURNS, tolerance)
        solved = found.norm < enough
        good_x = jnp.where(solved, found.x, good_x)
        good_ridge = jnp.where(solved, ridge, good_ridge)
        target = jnp.maximum(equations.ridge, 1e-12)
        ahead = jnp.where(solved, equations.ridge, jnp.sqrt(good_ridge * jnp.maximum(ridge, target)))
        return good_x, good_ridge, good_x, ahead, found, tries + 1

    def going(state: tuple[Any, ...]) -> Bool[Array, ""]:
        return (state[1] > equations.ridge) & (state[5] < MAX_PATH_POINTS)

    # The strong ridge is kept above the wanted one, so that the loop is entered also where the two agree.
    strong = jnp.maximum(start.strong_ridge, 2.0 * equations.ridge)
    begin = (start.strong_x, strong, start.x, equations.ridge, untried(start.x), jnp.array(0))
    return jax.lax.while_loop(going, turn, begin)[4]


class Solution(NamedTuple):
    """The unknowns, the relative residual reached, the Newton turns taken at the full rule, and a `Result` code."""

    x: Unknowns
    residual: Scalar
    turns: Int[Array, ""]
    result: Int[Array, ""]


def solve(equations: Equations, start: Start) -> Solution:
    """Solve at the full rule from a start on a coarser one; differentiable in everything by the implicit function."""
    medium = replace(equations, features=equations.features.thinned(MEDIUM_POINTS))
    start = start._replace(x=follow(medium, start, 1e-7, 1e-5).x)
    state = follow(equations, start, TOLERANCE, STALLED)
    x = implicit(equations, state.x)
    # The certificate is taken at the wanted ridge: a path that ran out of points ends at another one.
    residual = jnp.linalg.norm(equations.residual(state.x) * equations.scale(state.x))
    finite = jnp.all(jnp.isfinite(state.x)) & jnp.isfinite(residual)
    code = jnp.where(residual < STALLED, int(Result.SUCCESSFUL), int(Result.MAX_STEPS))
    # A runaway (tau beyond 1e8) is a loss without a minimiser: unpenalised training on separable data.
    code = jnp.where((state.x[3] > 18.0) & (equations.ridge == 0.0), int(Result.NO_MINIMISER), code)
    code = jnp.where(finite, code, int(Result.NONFINITE))
    return Solution(x, residual, state.turns, code)


def solve_square(equations: Equations) -> Solution:
    """Solve the equations of the square loss without iteration: a scalar root for chi, then a 3 x 3 linear system.

    chi is the root of ridge chi + E[V/(1 + V)] = 1/ratio, V = chi r^2, an increasing function; with D = 1/(1 + V) and
    mu = E[r^2 D], (w1, w2, b) solve the weighted normal equations of (y A, y kappa c, y) on 1 with weight D, ridge
    (ridge, ridge + mu, 0); then tau^2 = (w2^2 + ratio chi^2 E[r^2 D^2 (M - 1)^2]) / (1 - ratio chi^2 E[r^4 D^2]).
    """
    f, ridge, ratio = equations.features, equations.ridge, equations.ratio
    square = f.scale * f.scale

    def excess(log_chi):
        chi = jnp.exp(log_chi)
        return ridge * chi + f.mean(chi * square / (1.0 + chi * square)) - 1.0 / ratio

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
            return (state[3] > 1e-15 * (1.0 + jnp.abs(state[0]))) & (state[4] < SQUARE_TURNS)

        start = (guess, guess - 1.0, guess + REACH, jnp.array(jnp.inf), jnp.array(0))
        return jax.lax.while_loop(going, turn, start)[0]

    # V/(1 + V) <= V: the root is above this, and close to it under a strong ridge
    least = jax.lax.stop_gradient(-jnp.log(ratio) - jnp.log(ridge + f.mean(square)))
    log_chi = jax.lax.custom_root(excess, least, root, lambda linear, y: y / linear(jnp.ones(())))
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
    code = jnp.where((log_chi > least + REACH - 1.0) & (ridge == 0.0), int(Result.NO_MINIMISER), code)
    code = jnp.where(jnp.all(jnp.isfinite(x)), code, int(Result.NONFINITE))
    return Solution(x, residual, jnp.array(1), code)


def over_nodes(left: Float[Array, "j 2 N"], right: Float[Array, "k 2 N"]) -> Float[Array, "j k"]:
    """The sums of all products over the nodes; einsum would name a dtype, of which its transpose outside x64 warns."""
    return jax.lax.dot_general(left, right, (((1, 2), (1, 2)), ((), ())))


def implicit(equations: Equations, x: Unknowns) -> Unknowns:
    """x as a differentiable function of the equations' parameters: dx = -(dF/dx)^-1 dF."""
    x = jax.lax.stop_gradient(x)

    def tangent_solve(linear, y: Unknowns) -> Unknowns:
        return jnp.linalg.solve(jax.jacfwd(linear)(y), y)

    return jax.lax.custom_root(lambda y: equations.residual(y), x, lambda _, guess: guess, tangent_solve)


def separation(features: Nodes, weights: Float[Array, "3"]) -> Scalar:
    """E[(sqrt(1 + w2^2) G - y (w1 A + w2 kappa c + b)/r)_+^2] at (w1, w2, b) per norm of the orthogonal weights.

    Its minimum is 1/capacity: where it is below 1/ratio somewhere, the features are linearly separable.
    """
    reach = weights[0] * features.query + weights[1] * features.signal + weights[2] * features.label
    spread = jnp.broadcast_to(jnp.sqrt(1.0 + weights[1] * weights[1]), reach.shape)
    return features.mean(positive_part_square(-reach / features.scale, spread))


def training_loss(equations: Equations, x: Unknowns) -> Scalar:
    """E loss(prox(z, V)): the mean training loss without the penalty."""
    margin, spread, variance = equations.scores(x)
    return equations.features.mean(equations.loss.mean_prox_value(margin, spread, variance, equations.features.shift))


def errors(equations: Equations, x: Unknowns) -> tuple[Scalar, Scalar]:
    """P(y u < 0) on fresh bags, E Phi(-M/S), and on the training set: prox(z) < 0 exactly when z < V loss'(0)."""
    (margin, spread, variance), mean = equations.scores(x), equations.features.mean
    slope = equations.loss.slope(jnp.zeros(()))
    return mean(normal_cdf(-margin / spread)), mean(normal_cdf((variance * slope - margin) / spread))


def error_of_draws(equations: Equations, x: Unknowns, bags: int) -> Scalar:
    """E Phi(-M/sqrt(S^2 + v)): the test error where the bias scatters with the variance v that draws of `bags` give it.

    v = E p^2/((E dp/dz)^2 bags), from E[y p] = 0: its left side, a mean over the bags, scatters by E p^2/bags (under a
    strong ridge the count of the classes), and moves by E dp/dz with the bias, which nothing else holds.
    """
    (margin, spread, variance), mean = equations.scores(x), equations.features.mean
    m = equations.loss.prox_moments(margin, spread, variance, equations.features.shift)
    scatter = mean(m.slope_sq) / (mean(m.curve) ** 2 * bags)
    return mean(normal_cdf(-margin / jnp.sqrt(spread * spread + scatter)))
