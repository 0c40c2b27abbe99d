"""Projected gradient descent on the population risk as a map of five numbers, whatever the dimension."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from solvable.attention.single_location.overlaps import Overlaps
from solvable.attention.single_location.risk import Law, moments, risk_gradient


class Descent(NamedTuple):
    """The numbers of the algorithm as arrays; `penalty` is the weight of the leak penalty over L^2."""

    learning_rate: Any
    inverse_temperature: Any
    decay: Any
    penalty: Any
    ridge: Any
    proximity: Any

    def lam(self, step: Any) -> Any:
        """The inverse temperature at a step, lam_0/(1 + decay step)."""
        return self.inverse_temperature / (1.0 + self.decay * step)


def gradient(law: Law, descent: Descent, o: Overlaps, lam: Any) -> Overlaps:
    """The derivatives of the risk and of the penalty, whose part that depends on them is (weight/L^2) s^2 theta^2."""
    r = risk_gradient(law, o, lam)
    leak = r.value_leak + 2.0 * descent.penalty * law.signal**2 * o.value_leak
    return Overlaps(r.query_alignment, r.value_alignment, leak, r.query_leak, r.coupling, 0.0)


def project(o: Overlaps, r: Overlaps, rate: Any) -> Overlaps:
    """One step of projected descent on both spheres, both from the old k and v, in the five overlaps.

    g_k = R_kappa k* + R_eta v* + R_rho v and g_v = R_nu v* + R_theta k* + R_rho k; k - rate (g_k - (k.g_k) k) is
    divided by its length, v likewise. The algorithm of arXiv:2410.01537; its reduction to five numbers is derived.
    """
    kappa, nu, theta, eta, rho = (
        o.query_alignment,
        o.value_alignment,
        o.value_leak,
        o.query_leak,
        o.coupling,
    )
    r_kappa, r_nu, r_theta, r_eta, r_rho = (
        r.query_alignment,
        r.value_alignment,
        r.value_leak,
        r.query_leak,
        r.coupling,
    )
    along_k = r_kappa * kappa + r_eta * eta + r_rho * rho
    along_v = r_nu * nu + r_theta * theta + r_rho * rho
    square_k = r_kappa**2 + r_eta**2 + r_rho**2 + 2.0 * r_rho * (r_kappa * theta + r_eta * nu)
    square_v = r_nu**2 + r_theta**2 + r_rho**2 + 2.0 * r_rho * (r_nu * eta + r_theta * kappa)
    cross = (
        r_kappa * r_theta
        + r_eta * r_nu
        + r_rho * (r_kappa * kappa + r_eta * eta + r_nu * nu + r_theta * theta)
        + r_rho**2 * rho
    )
    a, b = 1.0 + rate * along_k, 1.0 + rate * along_v
    # the subtracted square is at most the first one; rounding alone can make the difference negative
    over_k = jax.lax.rsqrt(1.0 + rate * rate * jnp.maximum(square_k - along_k**2, 0.0))
    over_v = jax.lax.rsqrt(1.0 + rate * rate * jnp.maximum(square_v - along_v**2, 0.0))
    new_rho = (
        a * b * rho
        - rate * (a * (r_nu * eta + r_theta * kappa + r_rho) + b * (r_kappa * theta + r_eta * nu + r_rho))
        + rate * rate * cross
    )
    return Overlaps(
        query_alignment=(a * kappa - rate * (r_kappa + r_rho * theta)) * over_k,
        value_alignment=(b * nu - rate * (r_nu + r_rho * eta)) * over_v,
        value_leak=(b * theta - rate * (r_theta + r_rho * kappa)) * over_v,
        query_leak=(a * eta - rate * (r_eta + r_rho * nu)) * over_k,
        coupling=new_rho * over_k * over_v,
        value_norm=o.value_norm,
    )


def closed_form_value(law: Law, descent: Descent, kappa: Any, eta: Any, lam: Any) -> Overlaps:
    """The value of the least risk for a query with these overlaps, |v| free, as overlaps.

    The risk is g2 - 2 b.v + v^T H v with b and H in the span of k*, v* and k (derived), so v solves a 3 by 3 system,
    to whose H the leak penalty and the ridge add: the population form of `solvable.optim.closed_form_head`. v is a
    constant to differentiation.
    """
    s, g2, others = law
    k = (kappa, eta, jnp.sqrt(jnp.maximum(1.0 - kappa * kappa - eta * eta, 0.0)))
    (e0, e1, e2, _), (q0, q1, q2, _), z0, m1, c2 = moments(law, kappa, lam)
    along = g2 * g2 * q2 + others * (c2 + (others - 1.0) * m1 * m1 + 2.0 * m1 * g2 * e1)
    across = s * (g2 * q1 + others * m1 * e0)
    # in the basis k*, v*, and the rest of k: H = diagonal + along k k^T + across (k k*^T + k* k^T) + here k* k*^T
    gram = [[along * first * second for second in k] for first in k]
    diagonal = g2 * q0 + others * z0 + descent.penalty * (g2 + others) + descent.ridge
    for place in range(3):
        gram[place][place] = gram[place][place] + diagonal
        gram[place][0] = gram[place][0] + across * k[place]
        gram[0][place] = gram[0][place] + across * k[place]
    gram[0][0] = gram[0][0] + s * s * (q0 + descent.penalty)
    moment = [g2 * g2 * eta * e2 * one for one in k]
    moment[0] = moment[0] + g2 * s * eta * e1
    moment[1] = moment[1] + g2 * e0
    v = [jax.lax.stop_gradient(one) for one in solve_three(gram, moment)]
    norm = jnp.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    return Overlaps(kappa, v[1], v[0], eta, k[0] * v[0] + k[1] * v[1] + k[2] * v[2], norm)


def solve_three(gram: list[list[Any]], moment: list[Any]) -> list[Any]:
    """The solution of positive-definite 3 by 3 systems, entry by entry: L D L^T of arrays (...) of any shape.

    Not a batched library call: of those XLA lets one wait for ever on a thread pool when thousands are solved in a
    loop (jaxlib 0.10.2 on two cores), and entry by entry they vectorise over the runs.
    """
    d0 = gram[0][0]
    l10, l20 = gram[1][0] / d0, gram[2][0] / d0
    d1 = gram[1][1] - l10 * gram[1][0]
    rest = gram[2][1] - l20 * gram[1][0]
    l21 = rest / d1
    d2 = gram[2][2] - l20 * gram[2][0] - l21 * rest
    y1 = moment[1] - l10 * moment[0]
    y2 = moment[2] - l20 * moment[0] - l21 * y1
    x2 = y2 / d2
    x1 = y1 / d1 - l21 * x2
    return [moment[0] / d0 - l10 * x1 - l20 * x2, x1, x2]


def query_step(o: Overlaps, r: Overlaps, rate: Any) -> tuple[Any, Any]:
    """One step of projected descent of k alone: its new overlaps kappa and eta."""
    along = r.query_alignment * o.query_alignment + r.query_leak * o.query_leak + r.coupling * o.coupling
    square = (
        r.query_alignment**2
        + r.query_leak**2
        + (r.coupling * o.value_norm) ** 2
        + 2.0 * r.coupling * (r.query_alignment * o.value_leak + r.query_leak * o.value_alignment)
    )
    over = jax.lax.rsqrt(1.0 + rate * rate * jnp.maximum(square - along**2, 0.0))
    kappa = (1.0 + rate * along) * o.query_alignment - rate * (r.query_alignment + r.coupling * o.value_leak)
    eta = (1.0 + rate * along) * o.query_leak - rate * (r.query_leak + r.coupling * o.value_alignment)
    return kappa * over, eta * over


def recorded(step: Any, state: Any, at: Any) -> Any:
    """The states after the numbers of steps `at` (sorted, (K,)), stacked; `step(state, number)` makes one step."""

    def advance(carry: Any, target: Any) -> Any:
        state, number = carry

        def one(pair: Any) -> Any:
            return step(pair[0], pair[1]), pair[1] + 1

        state, number = jax.lax.while_loop(lambda pair: pair[1] < target, one, (state, number))
        return (state, number), state

    return jax.lax.scan(advance, (state, jnp.zeros((), at.dtype)), at)[1]


def descend(law: Law, descent: Descent, start: Overlaps, at: Any, closed_form: bool) -> Overlaps:
    """The overlaps at the steps `at` from one start or an array of starts (R,): (K,) or (K, R)."""

    def lam(number: Any) -> Any:
        return descent.lam(number.astype(jnp.float64))

    def both(o: Overlaps, number: Any) -> Overlaps:
        return project(o, gradient(law, descent, o, lam(number)), descent.learning_rate)

    def query(state: tuple[Any, Any], number: Any) -> tuple[Any, Any]:
        o = closed_form_value(law, descent, *state, lam(number))
        return query_step(o, gradient(law, descent, o, lam(number)), descent.learning_rate)

    if not closed_form:
        return recorded(both, start, at)
    kappa, eta = recorded(query, (start.query_alignment, start.query_leak), at)
    now = lam(at).reshape(-1, *[1] * (kappa.ndim - 1))
    return closed_form_value(law, descent, kappa, eta, jnp.broadcast_to(now, kappa.shape))
