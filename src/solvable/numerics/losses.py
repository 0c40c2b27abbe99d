"""Losses of the margin t = y u of a label y in {-1, +1} and a score u.

logistic log(1 + exp(-t)), square (1 - t)^2 / 2 (= (u - y)^2 / 2), hinge max(0, 1 - t), exponential exp(-t), linear -t.
A `Loss` is convex and has a safe proximal map prox(z, V) = argmin_t loss(t) + (t - z)^2 / (2 V) and its averages over a
Gaussian score, what a penalised fit needs; all of it follows from its value. A `DecreasingLoss` keeps its digits where
the margin is large: what training without a penalty needs.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from solvable.numerics.gaussian import FINE_NODES, FINE_WEIGHTS, NODE_STEPS, normal_cdf, normal_pdf, shifted_node
from solvable.numerics.loss_checks import check
from solvable.numerics.newton import bracketed_newton
from solvable.numerics.validation import choice

Values = Float[Array, "..."]
# Gauss-Legendre on [0, 1]: nodes (1 + x)/2, weights w/2.
KINK_NODES = (0.5 - 0.15**0.5, 0.5, 0.5 + 0.15**0.5)
KINK_WEIGHTS = (5.0 / 18.0, 8.0 / 18.0, 5.0 / 18.0)


class ProxMoments(NamedTuple):
    """Averages over z = M + S G, G ~ N(0, 1), of p = loss'(t), t = prox(z, V), and D = dp/dz = loss''/(1 + V loss'').

    `slope` E p, `slope_g` E[p G], `slope_sq` E p^2, `curve` E D, `curve_g` E[D G], `curve_gg` E[D G^2],
    `slope_curve` E[p D], `slope_curve_g` E[p D G], `slope_sq_curve` E[p^2 D].
    The first three are what the self-consistent equations need; the others are their derivatives, since
    dp/dV = -p D.
    """

    slope: Values
    slope_g: Values
    slope_sq: Values
    curve: Values
    curve_g: Values
    curve_gg: Values
    slope_curve: Values
    slope_curve_g: Values
    slope_sq_curve: Values


class Loss(eqx.Module):
    """A convex loss of the margin. Subclass it with `value`, in JAX and elementwise, to use your own.

    Slope and curvature are its derivatives by autodiff, the proximal map and the averages are solved and summed
    numerically; a loss with closed forms overrides them, which is quicker, and is checked where it is used. A loss with
    a kink must override `prox_moments`: where the map rests on the kink, D = 1/V and p = (z - t)/V is between the two
    slopes, which `slope` and `curvature` cannot tell.
    """

    @abc.abstractmethod
    def value(self, t: Values) -> Values:
        """loss(t)."""

    def slope(self, t: Values) -> Values:
        """loss'(t); at a kink the value of larger t (so hinge has slope 0 at t = 1)."""
        return _derivative(self.value, t)

    def curvature(self, t: Values) -> Values:
        """loss''(t), zero where it does not exist."""
        return _derivative(self.slope, t)

    def slope_averages(self, mean: Values, spread: Values) -> tuple[Values, Values]:
        """(E loss'(t), E loss'(t)^2) for scalar t ~ N(mean, spread^2), by a trapezoid rule of 4001 nodes."""
        slopes = self.slope(mean + spread * FINE_NODES)
        return jnp.sum(FINE_WEIGHTS * slopes), jnp.sum(FINE_WEIGHTS * slopes * slopes)

    def prox(self, z: Values, variance: Values) -> Values:
        """argmin_t loss(t) + (t - z)^2 / (2 variance), differentiable in z, variance and what the loss is made of.

        The root of the increasing t - z + V loss'(t) by Newton inside a bracket, to rounding.
        """
        z, variance = jnp.broadcast_arrays(z, variance)

        def excess(t: Values) -> Values:
            return t - z + variance * self.slope(t)

        def root(excess: Any, t: Values) -> Values:
            other = t - excess(t)  # the excess rises by 1 a unit at least
            return bracketed_newton(excess, jnp.minimum(t, other), jnp.maximum(t, other))

        return jax.lax.custom_root(excess, z, root, lambda linear, y: y / linear(jnp.ones_like(y)))

    def prox_moments(self, margin: Values, spread: Values, variance: Values, shift: Values) -> ProxMoments:
        """The averages of `ProxMoments` for scores margin + spread G; `shift` in [0, 1) displaces the rule's nodes."""

        def at_node(sums: ProxMoments, step: Values) -> tuple[ProxMoments, None]:
            g, weight = shifted_node(shift, step)
            t = self.prox(margin + spread * g, variance)
            curvature = self.curvature(t)
            # The barrier keeps XLA from recomputing the proximal map once for each of the nine sums.
            p, d = jax.lax.optimization_barrier((self.slope(t), curvature / (1.0 + variance * curvature)))
            wp, wd = weight * p, weight * d
            terms = (wp, wp * g, wp * p, wd, wd * g, wd * g * g, wd * p, wd * p * g, wd * p * p)
            return ProxMoments(*(total + term for total, term in zip(sums, terms, strict=True))), None

        zero = jnp.zeros_like(margin)
        return jax.lax.scan(at_node, ProxMoments(*[zero] * 9), jnp.asarray(NODE_STEPS))[0]

    def mean_prox_value(self, margin: Values, spread: Values, variance: Values, shift: Values) -> Values:
        """E loss(prox(margin + spread G, variance)): the training loss of a sample with that score."""

        def at_node(total: Values, step: Values) -> tuple[Values, None]:
            g, weight = shifted_node(shift, step)
            return total + weight * self.value(self.prox(margin + spread * g, variance)), None

        return jax.lax.scan(at_node, jnp.zeros_like(margin), jnp.asarray(NODE_STEPS))[0]


def _derivative(function: Callable[[Values], Values], t: Values) -> Values:
    """The derivative of an elementwise function."""
    t = jnp.asarray(t)
    return jax.jvp(function, (t,), (jnp.ones_like(t),))[1]


class DecreasingLoss(eqx.Module):
    """A strictly decreasing loss of the margin t; subclass it to train with your own."""

    @abc.abstractmethod
    def value(self, t: Values) -> Values:
        """loss(t)."""

    @abc.abstractmethod
    def log_slope(self, t: Values) -> Values:
        """log(-loss'(t)), finite wherever t is."""

    @abc.abstractmethod
    def drop(self, t: Values, fall: Values) -> Values:
        """loss(t - fall) - loss(t), to relative accuracy also for tiny `fall`."""


class Logistic(Loss, DecreasingLoss):
    """loss(t) = log(1 + exp(-t))."""

    def value(self, t: Values) -> Values:
        """log(1 + exp(-t))."""
        return jax.nn.softplus(-t)

    def slope(self, t: Values) -> Values:
        """-sigmoid(-t)."""
        return -jax.nn.sigmoid(-t)

    def curvature(self, t: Values) -> Values:
        """sigmoid(t) sigmoid(-t)."""
        s = jax.nn.sigmoid(-t)
        return s * (1.0 - s)

    def prox(self, z: Values, variance: Values) -> Values:
        """The root t of t - z = V sigmoid(-t), to 4e-15 for V from 1e-8 to 1e9."""
        return _logistic_prox(z, variance)

    def log_slope(self, t: Values) -> Values:
        """log sigmoid(-t)."""
        # an absolute error of 1e-16 is all a logarithm needs, so not log1p, which is five times slower
        return -jnp.maximum(t, 0.0) - jnp.log(1.0 + jnp.exp(-jnp.abs(t)))

    def drop(self, t: Values, fall: Values) -> Values:
        """log(1 + sigmoid(-t) (exp(fall) - 1)), for large falls as it is written."""
        small = jnp.log1p(jax.nn.sigmoid(-t) * jnp.expm1(jnp.minimum(fall, 1.0)))
        return jnp.where(fall < 1.0, small, self.value(t - fall) - self.value(t))


@jax.custom_jvp
def _logistic_prox(z: Values, variance: Values) -> Values:
    # The reflection t -> -t, z -> -(z + V) leaves the equation as it is: solve for the root that is not negative.
    reflected = z + 0.5 * variance < 0
    x = jnp.where(reflected, -(z + variance), z)
    # With exp(-t) for sigmoid(-t) the root is x + omega, omega Wright's function of log V - x; this estimate of omega
    # is within 0.74 of the true root for every (z, V), where three Halley steps reach rounding (measured). The estimate
    # takes its logarithms in float32: XLA's float64 logarithm is slower than all the rest.
    lower = jnp.maximum(x, 0.0)
    log_ratio = _rough_log(variance) - x
    w = jnp.maximum(log_ratio, 0.0) + _rough_log(1.0 + jnp.exp(-jnp.abs(log_ratio)))
    t = jnp.maximum(x + w * (1.0 - _rough_log(1.0 + w) / (2.0 + w)), 0.0)
    for _ in range(3):
        s = jax.nn.sigmoid(-t)
        bend = variance * s * (1.0 - s)
        slope, value = 1.0 + bend, t - x - variance * s
        halley = slope * slope + 0.5 * value * bend * (1.0 - 2.0 * s)
        t = jnp.maximum(t - value * slope / jnp.maximum(halley, 0.3 * slope * slope), lower)
    return jnp.where(reflected, -t, t)


def _rough_log(x: Values) -> Values:
    return jnp.log(x.astype(jnp.float32)).astype(x.dtype)


@_logistic_prox.defjvp
def _logistic_prox_jvp(primals: tuple[Values, Values], tangents: tuple[Values, Values]) -> tuple[Values, Values]:
    z, variance = primals
    t = _logistic_prox(z, variance)
    s = jax.nn.sigmoid(-t)
    return t, (tangents[0] + s * tangents[1]) / (1.0 + variance * s * (1.0 - s))


class Square(Loss):
    """loss(t) = (1 - t)^2 / 2, that is (u - y)^2 / 2 for labels in {-1, +1}."""

    def value(self, t: Values) -> Values:
        """(1 - t)^2 / 2."""
        return 0.5 * (1.0 - t) ** 2

    def slope(self, t: Values) -> Values:
        """t - 1."""
        return t - 1.0

    def curvature(self, t: Values) -> Values:
        """1."""
        return jnp.ones_like(t)

    def slope_averages(self, mean: Values, spread: Values) -> tuple[Values, Values]:
        """(mean - 1, (mean - 1)^2 + spread^2)."""
        return mean - 1.0, (mean - 1.0) ** 2 + spread * spread

    def prox(self, z: Values, variance: Values) -> Values:
        """(z + V) / (1 + V)."""
        return (z + variance) / (1.0 + variance)

    def prox_moments(self, margin: Values, spread: Values, variance: Values, shift: Values) -> ProxMoments:
        """Closed forms: p = D (z - 1) with D = 1 / (1 + V)."""
        d = 1.0 / (1.0 + variance)
        p, q = d * (margin - 1.0), d * spread
        second = p * p + q * q
        zero = jnp.zeros_like(d)
        return ProxMoments(p, q, second, d, zero, d, d * p, d * q, d * second)

    def mean_prox_value(self, margin: Values, spread: Values, variance: Values, shift: Values) -> Values:
        """((1 - M)^2 + S^2) / (2 (1 + V)^2)."""
        return 0.5 * ((1.0 - margin) ** 2 + spread * spread) / (1.0 + variance) ** 2


class Hinge(Loss):
    """loss(t) = max(0, 1 - t)."""

    def value(self, t: Values) -> Values:
        """max(0, 1 - t)."""
        return jnp.maximum(1.0 - t, 0.0)

    def slope(self, t: Values) -> Values:
        """-1 for t < 1, else 0."""
        return jnp.where(t < 1.0, -1.0, 0.0).astype(t.dtype)

    def curvature(self, t: Values) -> Values:
        """0 (where it exists)."""
        return jnp.zeros_like(t)

    def slope_averages(self, mean: Values, spread: Values) -> tuple[Values, Values]:
        """(-P, P) with P = Phi((1 - mean) / spread)."""
        below = normal_cdf((1.0 - mean) / spread)
        return -below, below

    def prox(self, z: Values, variance: Values) -> Values:
        """z above 1, z + V below 1 - V, and 1 between."""
        return jnp.maximum(z, jnp.minimum(z + variance, 1.0))

    def prox_moments(self, margin: Values, spread: Values, variance: Values, shift: Values) -> ProxMoments:
        """Closed forms. With G between a0 = (1-V-M)/S and a1 = (1-M)/S the score is pulled to the kink: p = -(1-z)/V.

        They divide differences of nearby numbers by up to V^3, so where the kink is narrow (V < S/50) a three-node
        Gauss-Legendre rule takes their place; either is right to 1e-9 there.
        """
        narrow = variance < 0.02 * spread
        scores = (margin, spread, variance)
        d0, d1, d2, pd0, pd1, ppd = (
            jnp.where(narrow, rule, closed)
            for rule, closed in zip(self._on_narrow_kink(*scores), self._on_kink(*scores), strict=True)
        )
        a0 = (1.0 - variance - margin) / spread
        below, below_g = normal_cdf(a0), -normal_pdf(a0)
        # On the kink D = 1/V, so that E p = V E[p D] there; below it p = -1 and D = 0.
        return ProxMoments(
            slope=variance * pd0 - below,
            slope_g=variance * pd1 - below_g,
            slope_sq=variance * ppd + below,
            curve=d0,
            curve_g=d1,
            curve_gg=d2,
            slope_curve=pd0,
            slope_curve_g=pd1,
            slope_sq_curve=ppd,
        )

    def mean_prox_value(self, margin: Values, spread: Values, variance: Values, shift: Values) -> Values:
        """(1 - M - V) Phi(a0) + S phi(a0) with a0 = (1 - V - M) / S."""
        a0 = (1.0 - variance - margin) / spread
        return (1.0 - margin - variance) * normal_cdf(a0) + spread * normal_pdf(a0)

    @staticmethod
    def _on_kink(margin: Values, spread: Values, variance: Values) -> tuple[Values, ...]:
        """E D, E[D G], E[D G^2], E[p D], E[p D G], E[p^2 D] by truncated moments of G; p = (S G - (1 - M)) / V."""
        gap = 1.0 - margin
        a0, a1 = (1.0 - variance - margin) / spread, gap / spread
        phi0, phi1 = normal_pdf(a0), normal_pdf(a1)
        i0 = normal_cdf(a1) - normal_cdf(a0)
        i1 = phi0 - phi1
        i2 = i0 - (a1 * phi1 - a0 * phi0)
        p0 = (spread * i1 - gap * i0) / variance
        p1 = (spread * i2 - gap * i1) / variance
        p2 = (spread * spread * i2 - 2.0 * gap * spread * i1 + gap * gap * i0) / (variance * variance)
        return i0 / variance, i1 / variance, i2 / variance, p0 / variance, p1 / variance, p2 / variance

    @staticmethod
    def _on_narrow_kink(margin: Values, spread: Values, variance: Values) -> tuple[Values, ...]:
        """The same by quadrature over u = -p in [0, 1], where G = (1 - M - V u) / S and D dG = du / S."""
        totals = [jnp.zeros_like(margin)] * 6
        for u, weight in zip(KINK_NODES, KINK_WEIGHTS, strict=True):
            g = (1.0 - margin - variance * u) / spread
            mass = weight * normal_pdf(g) / spread
            terms = (mass, mass * g, mass * g * g, -u * mass, -u * mass * g, u * u * mass)
            totals = [total + term for total, term in zip(totals, terms, strict=True)]
        return tuple(totals)


class Exponential(DecreasingLoss):
    """loss(t) = exp(-t)."""

    def value(self, t: Values) -> Values:
        """exp(-t)."""
        return jnp.exp(-t)

    def log_slope(self, t: Values) -> Values:
        """-t."""
        return -t

    def drop(self, t: Values, fall: Values) -> Values:
        """exp(-t) (exp(fall) - 1), for large falls as it is written."""
        small = jnp.exp(-t) * jnp.expm1(jnp.minimum(fall, 1.0))
        return jnp.where(fall < 1.0, small, self.value(t - fall) - self.value(t))


class Linear(DecreasingLoss):
    """loss(t) = -t."""

    def value(self, t: Values) -> Values:
        """-t."""
        return -t

    def log_slope(self, t: Values) -> Values:
        """0."""
        return jnp.zeros_like(t)

    def drop(self, t: Values, fall: Values) -> Values:
        """The fall itself."""
        del t
        return fall


LOSSES: dict[str, Loss] = {"logistic": Logistic(), "square": Square(), "hinge": Hinge()}
DECREASING_LOSSES: dict[str, DecreasingLoss] = {
    "logistic": Logistic(),
    "exponential": Exponential(),
    "linear": Linear(),
}


def get_loss(loss: str | Loss) -> Loss:
    """The loss of that name, or the loss itself after a check of what it says (see `loss_checks`).

    Raises: ValueError naming the accepted words, or what is wrong with a loss of one's own.
    """
    if isinstance(loss, Loss):
        if type(loss) not in map(type, LOSSES.values()):
            check(loss, Loss)
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    raise ValueError(f"loss={loss!r} is unknown; accepted: {', '.join(map(repr, LOSSES))}, or a solvable.numerics.Loss")


def get_decreasing_loss(loss: str | DecreasingLoss) -> DecreasingLoss:
    """A strictly decreasing loss by its name, or the given one.

    Raises: ValueError for an unknown name.
    """
    if isinstance(loss, DecreasingLoss):
        return loss
    return DECREASING_LOSSES[choice("loss", loss, tuple(DECREASING_LOSSES))]
