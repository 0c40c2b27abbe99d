"""Exact second moments of (x, z): what every step does to them, whether its coefficients are fixed or random (derived).

A law of gradients acts on second moments, E G y^T = H E x y^T and E G G^T = Q(E x x^T): in the eigenbasis of H on their
diagonals alone where gradients are H x + noise, or rows are Gaussian (E a a^T M a a^T = 2 H M H + tr(H M) H); on whole
matrices for the rows of a data set, with one coordinate more, which is 1, where residuals add noise. Of matrices
(a, b, c) = E (x x^T, x z^T, z z^T).

Convex steps grow with the time, so that moments are needed given T_k = t. They are polynomials in t, kept as

    m_k(t) = sum_j c_j L_j^(k-1)(s t),  s > 0,  L Laguerre's polynomials, in which every operation is short:
    E[T_k^i m_k(T_k) | T_(k+1) = t] / t^i = k int_0^1 r^(k-1+i) m_k(r t) dr:  i differences (L^(a) = L^(a+1) shifted and
        subtracted), a factor k/(k+i+j), i cumulative sums (Koshlyakov's formula);
    multiplication by t: three terms;  E m_k(T_k) = sum_j c_j C(j+k-1, j) (1-s)^j.

s = 1, whose basis is orthogonal under the law of T_k, loses all digits after 50 events, because squares of m_k at rare
late times outweigh them; s slightly above 1, the less the more events, keeps 1e-12 of a mean at 4000 (measured).
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from solvable.iterations.continuized.schedules import Convex, Schedule, Strong
from solvable.iterations.continuized.task import Spectral

TERMS = 64  # of the expansions in Laguerre's polynomials
ORDER = 30  # of Taylor's series, over pieces on which the generator is at most about 4
SCALES = ((1000, 1.1, 1.08), (4000, 1.05, 1.04), (10**9, 1.03, 1.02))  # up to so many events (by trial), two s
FIRST = 1e-15  # the time at which convex steps start


class Law(eqx.Module):
    """How gradients act on second moments, in units of the largest eigenvalue, `unit`, in which steps are of order 1.

    `eigenvalues` (D,), `start` (D,); `rows` (n, D), None where moments are kept on the diagonal; `noise` is the
    variance a coordinate; `augmented` says that the last coordinate is 1 and its column of the rows their residuals.
    """

    eigenvalues: Any
    start: Any
    noise: Any
    unit: Any
    rows: Any = None
    fresh: bool = eqx.field(static=True, default=False)
    augmented: bool = eqx.field(static=True, default=False)

    @staticmethod
    def of(problem: Spectral, exact: bool) -> Law:
        """The law of the gradients that an algorithm takes."""
        values, start = np.asarray(problem.eigenvalues), np.asarray(problem.start)
        unit = np.max(values)
        values, noise = values / unit, (np.asarray(problem.noise) / unit) ** 2
        if exact or problem.rows is None:
            return Law(values, start, noise, unit, None, bool(problem.fresh) and not exact)
        rows = problem.rows
        if problem.residuals is not None:
            rows = np.concatenate([rows, -problem.residuals[:, None]], axis=1)
            values, start = np.append(values, 0.0), np.append(start, 1.0)
        return Law(values, start, noise, unit, rows / np.sqrt(unit), False, problem.residuals is not None)

    @property
    def first(self) -> Any:
        """E x x^T at the start."""
        return self.start**2 if self.rows is None else self.start[:, None] * self.start[None, :]

    def slope(self, moment: Any) -> Any:
        """H moment."""
        return (self.eigenvalues if self.rows is None else self.eigenvalues[:, None]) * moment

    def square(self, moment: Any, unit: Any) -> Any:
        """E G G^T at points with this second moment; `unit` is that of the constant 1."""
        if self.rows is None:
            lam = self.eigenvalues
            found = lam**2 * moment * (2.0 if self.fresh else 1.0) + self.noise * unit
            return found + lam * (lam @ moment) if self.fresh else found
        sizes = jnp.sum((self.rows @ moment) * self.rows, axis=1)
        rows = self.rows.at[:, -1].set(0.0) if self.augmented else self.rows
        return rows.T @ (sizes[:, None] * rows) / self.rows.shape[0]

    def turned(self, moment: Any) -> Any:
        """The transpose."""
        return moment if self.rows is None else moment.T

    def observed(self, moment: Any) -> Any:
        """(f - min f, squared distance) (2,)."""
        square = moment if self.rows is None else jnp.diagonal(moment)
        square = square[:-1] if self.augmented else square
        values = self.eigenvalues[:-1] if self.augmented else self.eigenvalues
        return jnp.stack([0.5 * self.unit * (values @ square), jnp.sum(square)])


class Stepped(NamedTuple):
    """Moments after a step, by powers of kick: a; b0 - kick b1; c0 - kick c1 + kick^2 c2."""

    a: Any
    b0: Any
    b1: Any
    c0: Any
    c1: Any
    c2: Any


def stepped(law: Law, yy: Any, yz: Any, zz: Any, py: Any, pz: Any, pp: Any, step: Any, unit: Any) -> Stepped:
    """What x = y - step G, z = z - kick G makes of the moments of y, z and of the point p at which G is taken."""
    sy, sz, square, turn = law.slope(py), law.slope(pz), law.square(pp, unit), law.turned
    a = yy - step * (sy + turn(sy)) + step**2 * square
    return Stepped(a, yz - step * sz, turn(sy) - step * square, zz, sz + turn(sz), square)


@eqx.filter_jit
def fixed(law: Law, schedule: Schedule, count: int, average: bool) -> Any:
    """(f, squared distance) (count + 1, 2) after every step of a schedule that is not random: a plain recursion."""
    c = schedule.coefficients(jnp.arange(1.0 * count), jnp.arange(1.0 * count), jnp.arange(1.0 * count) + 1.0)

    def body(state: Any, each: Any) -> Any:
        a, b, d = state
        mix, look, back, step, kick = each

        def moment(u: tuple[Any, Any], v: tuple[Any, Any]) -> Any:
            return u[0] * v[0] * a + u[0] * v[1] * b + u[1] * v[0] * law.turned(b) + u[1] * v[1] * d

        y, p = (1.0 - mix, mix), (1.0 - look, look)
        z = (back * y[0], 1.0 - back + back * y[1])
        six = (moment(y, y), moment(y, z), moment(z, z), moment(p, y), moment(p, z), moment(p, p))
        to = stepped(law, *six, step, 1.0)
        state = (to.a, to.b0 - kick * to.b1, to.c0 - kick * to.c1 + kick**2 * to.c2)
        return state, law.observed(state[2] if average else state[0])

    start = (law.first,) * 3
    _, path = jax.lax.scan(body, start, tuple(c))
    return jnp.concatenate([law.observed(law.first)[None], path])


@eqx.filter_jit
def strong_events(law: Law, schedule: Strong, count: int) -> Any:
    """(f, squared distance) (count + 1, 2) at the events: x + z stays, x - z shrinks by exp(-2 eta S), S ~ Exp(1)."""
    once, twice = 1.0 / (1.0 + 2.0 * schedule.eta), 1.0 / (1.0 + 4.0 * schedule.eta)

    def body(state: Any, _: Any) -> Any:
        a, b, c = state
        turn = law.turned
        # of w = (x - z)/2 and u = (x + z)/2
        ww, uu = 0.25 * (a - b - turn(b) + c) * twice, 0.25 * (a + b + turn(b) + c)
        wu = 0.25 * (a + b - turn(b) - c) * once
        a, b, c = uu + ww + wu + turn(wu), uu - ww + wu - turn(wu), uu + ww - wu - turn(wu)
        to = stepped(law, a, b, c, a, b, a, schedule.step, 1.0)
        half = (to.a, to.b0 - schedule.kick * to.b1, to.c0 - schedule.kick * to.c1 + schedule.kick**2 * to.c2)
        state = (0.5 * (half[0] + turn(half[0])), half[1], 0.5 * (half[2] + turn(half[2])))
        return state, law.observed(state[0])

    _, path = jax.lax.scan(body, (law.first,) * 3, None, length=count)
    return jnp.concatenate([law.observed(law.first)[None], path])


def _strong_series(law: Law, schedule: Strong, state: Any, now: Any, length: Any) -> Any:
    """v(now + length) by Taylor: v' = G v, G the mixing, and the steps at rate 1; z in units in which G is bounded."""
    eta, kick, unit, turn = schedule.eta, schedule.kick, schedule.kick / schedule.step, law.turned

    def term(order: Any, carry: Any) -> Any:
        (a, b, c), total = carry
        b, c = b * unit, c * unit**2
        to = stepped(law, a, b, c, a, b, a, schedule.step, jnp.where(order == 0, 1.0, 0.0))
        a, b, c = (
            eta * (b + turn(b) - 2.0 * a) + to.a - a,
            (eta * (a + c - 2.0 * b) + to.b0 - kick * to.b1 - b) / unit,
            (eta * (b + turn(b) - 2.0 * c) + to.c0 - kick * to.c1 + kick**2 * to.c2 - c) / unit**2,
        )
        terms = jax.tree.map(lambda one: one * length / (order + 1.0), (a, b, c))
        return terms, jax.tree.map(jnp.add, total, terms)

    first = (state[0], state[1] / unit, state[2] / unit**2)
    _, (a, b, c) = jax.lax.fori_loop(0, ORDER, term, (first, first))
    return a, b * unit, c * unit**2


def _convex_series(law: Law, schedule: Convex, state: Any, now: Any, length: Any) -> Any:
    """v(now + length) by Taylor: t v' = K v + t (A + t B + t^2 C) v, K being the mixing; terms lag by up to three."""
    turn, power, slope, h, t = law.turned, schedule.power, schedule.slope, length, now
    zero = jax.tree.map(jnp.zeros_like, state)

    def term(order: Any, carry: Any) -> Any:
        terms, total, (past_a, past_b, past_c) = carry
        a, b, c = terms
        to = stepped(law, a, b, c, a, b, a, schedule.step, jnp.where(order == 0, 1.0, 0.0))
        a_now, b_now, c_now = to.a - a, (to.b0 - b, slope * to.b1), (slope * to.c1, slope**2 * to.c2)
        # (t + h)^n times a series, by the last coefficients of the series
        b1, c1, c2 = (b_now[1], *past_b[1:]), (c_now[0], *past_c[:2]), (c_now[1], *past_c[2:])
        square, cube = (t**2, 2.0 * t * h, h**2), (t**3, 3.0 * t**2 * h, 3.0 * t * h**2, h**3)
        a_to = power * (b + turn(b) - 2.0 * a) + t * a_now + h * past_a
        b_to = power * (c - b) + t * b_now[0] + h * past_b[0] - sum(u * v for u, v in zip(square, b1, strict=True))
        c_to = -sum(u * v for u, v in zip(square, c1, strict=True)) + sum(u * v for u, v in zip(cube, c2, strict=True))
        factor = h / (t * (order + 1.0))
        terms = tuple(factor * (to - order * one) for to, one in zip((a_to, b_to, c_to), terms, strict=True))
        past = (a_now, (b_now[0], *b1[:2]), (*c1[:2], *c2[:3]))
        return terms, jax.tree.map(jnp.add, total, terms), past

    past = (zero[0], (zero[1],) * 3, (zero[2],) * 5)
    return jax.lax.fori_loop(0, ORDER, term, (state, state, past))[1]


@eqx.filter_jit
def times(law: Law, schedule: Convex | Strong, at: Any, longest: Any) -> Any:
    """(f, squared distance) (K, 2) at the times `at`, by pieces of at most `longest` and, of convex steps, t/2."""
    strong = isinstance(schedule, Strong)
    series: Any = _strong_series if strong else _convex_series

    def segment(carry: Any, until: Any) -> Any:
        def piece(carry: Any) -> Any:
            now, state = carry
            length = jnp.minimum(until - now, longest if strong else jnp.minimum(longest, 0.5 * now))
            last = length >= until - now
            return jnp.where(last, until, now + length), series(law, schedule, state, now, length)

        now, state = jax.lax.while_loop(lambda carry: carry[0] < until, piece, carry)
        return (now, state), law.observed(state[0])

    # at FIRST an event has come with a probability below rounding, and x = z
    first = (jnp.asarray(0.0 if strong else FIRST), (law.first,) * 3)
    return jax.lax.scan(segment, first, at)[1]


@eqx.filter_jit
def convex_events(law: Law, schedule: Convex, count: int, scale: Any) -> Any:
    """(f, squared distance, T_k^2 f) (count + 1, 3) at the events, by expansions with s = `scale`."""
    j = jnp.arange(1.0 * TERMS)
    unit = jnp.zeros(TERMS).at[0].set(1.0)
    turn, power = jax.vmap(law.turned), schedule.power
    sums = {i: jnp.asarray(np.linalg.matrix_power(np.triu(np.ones((TERMS, TERMS))), i)) for i in (power, 2 * power)}

    def along(f: Any, like: Any) -> Any:
        return f.reshape(f.shape + (1,) * (like.ndim - 1))

    def times_t(f: Any, k: Any) -> Any:
        """The coefficients of t f, both in L^(k)."""
        down = jnp.zeros_like(f[:1])
        below, above = jnp.concatenate([down, f[:-1]]), jnp.concatenate([f[1:], down])
        return (along(2.0 * j + k + 1.0, f) * f - along(j, f) * below - along(j + 1.0 + k, f) * above) / scale

    def shrunk(f: Any, i: int, k: Any) -> Any:
        """From L^(k-1) to L^(k): the mean of (T_k/T_(k+1))^i f(T_k) given T_(k+1)."""
        for _ in range(i):
            f = f - jnp.concatenate([f[1:], jnp.zeros_like(f[:1])])
        return jnp.tensordot(sums[i], along(k / (k + i + j), f) * f, 1) if i else along(k / (k + j), f) * f

    def mean(f: Any, k: Any) -> Any:
        """E f(T_k) of f in L^(k-1)."""
        weights = jnp.cumprod(jnp.concatenate([jnp.ones(1), (j[1:] + k - 1.0) / j[1:] * (1.0 - scale)]))
        return weights @ f

    def body(carry: Any, k: Any) -> Any:
        p, q, c = carry  # of w = x - z: E w w^T, E w z^T, E z z^T
        p, q, c = (jnp.where(k > 0, shrunk(f, i * power, k), f) for f, i in ((p, 2), (q, 1), (c, 0)))
        a, b = p + q + turn(q) + c, q + c
        to = jax.vmap(lambda a, b, c, one: stepped(law, a, b, c, a, b, a, schedule.step, one))(a, b, c, unit)
        slope = schedule.slope
        b = to.b0 - slope * times_t(to.b1, k)
        c = to.c0 - slope * times_t(to.c1, k) + slope**2 * times_t(times_t(to.c2, k), k)
        f = jax.vmap(law.observed)(to.a)
        row = jnp.append(mean(f, k + 1.0), mean(times_t(times_t(f[:, 0], k), k), k + 1.0))
        return (to.a - b - turn(b) + c, b - c, c), row

    nothing = jnp.zeros((TERMS, *law.first.shape))
    first = nothing.at[0].set(law.first)
    _, path = jax.lax.scan(body, (nothing, nothing, first), jnp.arange(1.0 * count))
    return jnp.concatenate([jnp.append(law.observed(law.first), 0.0)[None], path])


def longest_piece(law: Law, schedule: Convex | Strong) -> float:
    """The longest piece of time over which Taylor's series keeps its digits."""
    return 1.0 / max(1.0, float(np.max(law.eigenvalues)) * float(schedule.step)) ** 2


def continuized(law: Law, schedule: Convex | Strong, at: np.ndarray, timed: bool) -> tuple[np.ndarray, np.ndarray]:
    """(f, squared distance, T_k^2 f) (K, 3) at events or times, and by how much a second computation differs.

    T_k^2 f is NaN where it is not computed. Convex steps at events are computed with two scales s.
    """
    if timed or isinstance(schedule, Strong):
        if timed:
            found = times(law, schedule, jnp.asarray(at, float), longest_piece(law, schedule))
        else:
            found = strong_events(law, cast(Strong, schedule), int(at[-1]))[at]
        return np.concatenate([found, np.full((len(at), 1), np.nan)], axis=1), np.zeros((len(at), 3))
    found, apart, done = np.zeros((len(at), 3)), np.zeros((len(at), 3)), -1
    for last, *scales in SCALES:
        here = (at > done) & (at <= last)
        if here.any():
            one, two = (np.asarray(convex_events(law, schedule, int(at[here][-1]), s))[at[here]] for s in scales)
            found[here], apart[here] = one, np.abs(one - two)
        done = last
    return found, apart
