"""The five inner products that determine everything, and the excess risk of one erf-attention head in closed form.

With a = X.k, b = X.v the head's output is the sum over tokens of erf(lam a) b. The expectation over Gaussian tokens
follows from Stein's identity: every average is a derivative of E erf(lam a) or E erf(lam a)^2 in the mean of a.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.single_location.task import LEAST_TEMPERATURE, Directions, SingleLocation
from solvable.numerics.error_function import mean_erf_derivatives, mean_squared_erf, squared_erf_derivatives
from solvable.numerics.fields import Checked, numbers
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.results import is_traced
from solvable.numerics.validation import instance, number

FEASIBLE = 1e-9


class Overlaps(Checked):
    """kappa = k.k*, nu = v.v*, theta = v.k*, eta = k.v*, rho = k.v, of the unit query k and the value v.

    On the manifold theta = eta = rho = 0 the query reads the location alone and the value the label alone.
    `value_norm` is |v|: 1 in projected descent, free for a closed-form value. Numbers or arrays of one shape.
    """

    query_alignment: Any = numbers()
    value_alignment: Any = numbers()
    value_leak: Any = numbers()
    query_leak: Any = numbers()
    coupling: Any = numbers()
    value_norm: Any = numbers(1.0)

    @classmethod
    def of(cls, query: Any, value: Any, directions: Directions) -> Overlaps:
        """The overlaps of k (..., d), divided by its length, and v (..., d)."""
        query, value = jnp.asarray(query), jnp.asarray(value)
        query = query / jnp.linalg.norm(query, axis=-1, keepdims=True)
        location, label = jnp.asarray(directions.query), jnp.asarray(directions.value)
        coupling, norm = jnp.sum(query * value, axis=-1), jnp.linalg.norm(value, axis=-1)
        return cls(query @ location, value @ label, value @ location, query @ label, coupling, norm)

    @property
    def five(self) -> tuple[Any, Any, Any, Any, Any]:
        """kappa, nu, theta, eta, rho."""
        return self.query_alignment, self.value_alignment, self.value_leak, self.query_leak, self.coupling

    @property
    def distance(self) -> Any:
        """sqrt(theta^2 + eta^2 + rho^2), the distance from the manifold."""
        return (self.value_leak**2 + self.query_leak**2 + self.coupling**2) ** 0.5

    def check(self) -> None:
        """Raises: ValueError unless some unit k and some v of length `value_norm` have these overlaps."""
        if is_traced(self):
            return
        kappa, nu, theta, eta, rho = (np.asarray(value, np.float64) for value in self.five)
        norm = np.asarray(self.value_norm, np.float64)
        ok = np.isfinite(kappa + nu + theta + eta + rho + norm)
        # the Gram matrix of (k*, v*, k, v) has no negative eigenvalue: its Schur complement over k*, v* has none
        with np.errstate(over="ignore", invalid="ignore"):
            left, right = 1.0 - kappa**2 - eta**2, norm**2 - theta**2 - nu**2
            cross = rho - kappa * theta - eta * nu
            allowed = FEASIBLE * np.maximum(1.0, norm**2)
            ok &= (left >= -allowed) & (right >= -allowed)
            ok &= cross**2 <= np.maximum(left, 0.0) * np.maximum(right, 0.0) + allowed
        if not np.all(ok):
            raise ValueError(
                f"overlaps={self!r} belong to no pair of vectors; accepted: inner products of a unit query and a value "
                "of length value_norm with two orthonormal directions and with each other"
            )


class Law(NamedTuple):
    """The task's numbers as float64 arrays: s, gamma^2, and L - 1 noise tokens."""

    signal: Any
    variance: Any
    noise_tokens: Any


def inverse_temperature_of(value: Any) -> Any:
    """lam in float64. Raises: ValueError outside [1e-100, 1e100]."""
    bounds = {"at_least": LEAST_TEMPERATURE, "at_most": 1.0 / LEAST_TEMPERATURE}
    return as_float64(number("inverse_temperature", value, **bounds))


def law(task: SingleLocation) -> Law:
    """The numbers of a task, for traced code."""
    instance("task", task, (SingleLocation,))
    return Law(as_float64(task.signal), as_float64(task.label_variance), as_float64(task.length - 1))


@float64
def excess_risk(task: SingleLocation, overlaps: Overlaps, inverse_temperature: Any) -> Float[Array, "..."]:
    """E (sum_l erf(lam X_l.k) X_l.v - Y)^2 - epsilon^2, exactly, for a unit query k.

    Differentiable in the overlaps, the inverse temperature lam and the task's numbers. Overlaps may be arrays. A query
    of another length |k| is the unit query at lam |k|. Source: Theorem 1 of arXiv:2410.01537; this form is derived.

    Raises: ValueError for lam outside [1e-100, 1e100], and for overlaps that belong to no pair of vectors.
    """
    instance("overlaps", overlaps, (Overlaps,)).check()
    lam = inverse_temperature_of(inverse_temperature)
    return risk(law(task), jax.tree_util.tree_map(as_float64, overlaps), lam)


def moments(law: Law, query_alignment: Any, lam: Any) -> tuple[Any, Any, Any, Any, Any]:
    """What the risk needs of erf(lam a), a = X.k: E0..E3 and Q0..Q3 of the informative token, three of a noise token.

    They are the derivatives, in the mean of a, of E erf(lam a) and E erf(lam a)^2; on noise z0 (the square itself), m1
    (the first of the mean) and c2 (the second of the square).
    """
    centre, deviation = lam * law.signal * query_alignment, lam * jnp.sqrt(law.variance)
    powers, l2 = (1.0, lam, lam * lam, lam * lam * lam), lam * lam
    squares = (mean_squared_erf(centre, deviation), *squared_erf_derivatives(centre, deviation))
    return (
        tuple(p * m for p, m in zip(powers, mean_erf_derivatives(centre, deviation), strict=True)),
        tuple(p * q for p, q in zip(powers, squares, strict=True)),
        (2.0 / math.pi) * jnp.arcsin(2.0 * l2 / (1.0 + 2.0 * l2)),
        2.0 * lam / jnp.sqrt(math.pi * (1.0 + 2.0 * l2)),
        (8.0 / math.pi) * l2 / ((1.0 + 2.0 * l2) * jnp.sqrt(1.0 + 4.0 * l2)),
    )


def risk(law: Law, o: Overlaps, lam: Any) -> Any:
    """`excess_risk` inside a traced computation."""
    s, g2, others = law
    (e0, e1, e2, _), (q0, q1, q2, _), z0, m1, c2 = moments(law, o.query_alignment, lam)
    (_, nu, theta, eta, rho), norm2 = o.five, o.value_norm**2
    label_output = g2 * (nu * e0 + eta * (s * theta * e1 + g2 * rho * e2))
    output = s * theta * e0 + g2 * rho * e1
    squared_output = (s * s * theta**2 + g2 * norm2) * q0 + 2.0 * s * theta * g2 * rho * q1 + g2 * g2 * rho**2 * q2
    noise = norm2 * z0 + c2 * rho**2 + (others - 1.0) * m1**2 * rho**2 + 2.0 * m1 * rho * output
    return g2 - 2.0 * label_output + squared_output + others * noise


def risk_gradient(law: Law, o: Overlaps, lam: Any) -> Overlaps:
    """The partial derivatives of the risk in the five overlaps, |v| held, in closed form."""
    s, g2, others = law
    (e0, e1, e2, e3), (q0, q1, q2, q3), _, m1, c2 = moments(law, o.query_alignment, lam)
    (_, nu, theta, eta, rho), norm2 = o.five, o.value_norm**2
    st, gr = s * theta, g2 * rho
    noise = 2.0 * others * m1
    return Overlaps(
        query_alignment=s
        * (
            (st * st + g2 * norm2) * q1
            + gr * (2.0 * st * q2 + gr * q3)
            - 2.0 * g2 * (nu * e1 + eta * (st * e2 + gr * e3))
            + noise * rho * (st * e1 + gr * e2)
        ),
        value_alignment=-2.0 * g2 * e0,
        value_leak=s * (2.0 * (st * q0 + gr * q1 - g2 * eta * e1) + noise * rho * e0),
        query_leak=-2.0 * g2 * (st * e1 + gr * e2),
        coupling=2.0 * g2 * (st * q1 + gr * q2 - g2 * eta * e2)
        + noise * (st * e0 + 2.0 * gr * e1)
        + 2.0 * others * (c2 + (others - 1.0) * m1 * m1) * rho,
        value_norm=0.0,
    )


def closed_form_value(law: Law, kappa: Any, eta: Any, lam: Any, penalty: Any = 0.0, ridge: Any = 0.0) -> Overlaps:
    """The value of the least risk for a query with these overlaps, |v| free, as overlaps.

    The risk is g2 - 2 b.v + v^T H v with b and H in the span of k*, v* and k (derived), so v solves a 3 by 3 system,
    to whose H the ridge and the leak penalty, `penalty` (v . sum of the tokens)^2, add: the population form of
    `solvable.optim.closed_form_head`. v is a constant to differentiation.
    """
    s, g2, others = law
    k = (kappa, eta, jnp.sqrt(jnp.maximum(1.0 - kappa * kappa - eta * eta, 0.0)))
    (e0, e1, e2, _), (q0, q1, q2, _), z0, m1, c2 = moments(law, kappa, lam)
    along = g2 * g2 * q2 + others * (c2 + (others - 1.0) * m1 * m1 + 2.0 * m1 * g2 * e1)
    across = s * (g2 * q1 + others * m1 * e0)
    # in the basis k*, v*, and the rest of k: H = diagonal + along k k^T + across (k k*^T + k* k^T) + here k* k*^T
    gram = [[along * first * second for second in k] for first in k]
    diagonal = g2 * q0 + others * z0 + penalty * (g2 + others) + ridge
    for place in range(3):
        gram[place][place] = gram[place][place] + diagonal
        gram[place][0] = gram[place][0] + across * k[place]
        gram[0][place] = gram[0][place] + across * k[place]
    gram[0][0] = gram[0][0] + s * s * (q0 + penalty)
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
