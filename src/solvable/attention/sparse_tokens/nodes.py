"""The law of the scalar features of a token bag under a fixed query, as quadrature nodes.

With the unit query qh, g = Z qh ~ N(0, I_L), scores sharpness * (g + strength cosine v 1[y=1]) and weights
a = softmax(scores):
    h = <a, g>,  c = strength <v, a> 1[y=1],  r = ||a||,  A = h + cosine c,
    feature = A qh + kappa c e2 + r P z,   z ~ N(0, I_d),  P = I - qh qh^T,  e2 = (xi - cosine qh) / kappa,
exactly at every dimension (arXiv:2509.25153 sets the model; this form of the law is derived here).
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.task import Scalar, SparseTokens
from solvable.numerics.fields import Checked, whole
from solvable.numerics.gaussian import scrambled_points, stratified_shifts
from solvable.numerics.precision import as_float64
from solvable.numerics.validation import instance

MIXTURE_POINTS = 256


class Quadrature(Checked):
    """How finely averages over the feature law are taken: `scramblings` independent rules of `points` points a class.

    The spread between scramblings gives the standard error of every prediction. For bags of more than 64 tokens the
    points are thinned, so that memory stays bounded; the standard error says what that costs.
    """

    points: int = whole(2**14, at_least=2**8)
    scramblings: int = whole(4, at_least=1)

    def __check_init__(self) -> None:
        if self.points & (self.points - 1):
            raise ValueError(f"points={self.points} is not accepted; accepted: a power of 2, at least 256")

    def bags(self, length: int) -> tuple[Float[Array, "S N L"], Float[Array, "S N"]]:
        """Gaussian points in R^length and one uniform shift each, (scramblings, points, ...)."""
        thinning = 2 ** max(0, math.ceil(math.log2(length / 64)))
        return scrambled_points(length, max(2**8, self.points // thinning), self.scramblings)

    def shifts(self) -> tuple[Float[Array, "S N"]]:
        """Shifts for the two-point mixture of the linear baselines, whose only average is over one Gaussian."""
        return (stratified_shifts(MIXTURE_POINTS, self.scramblings),)


def a_quadrature(quadrature: Any, default: Quadrature | None = None) -> Quadrature:
    """`quadrature`, or the default for None. Raises: TypeError for what is no `Quadrature`."""
    if quadrature is None:
        return default or Quadrature()
    return instance("quadrature", quadrature, (Quadrature,))


class Nodes(eqx.Module):
    """Nodes of the feature law: a row for positives and one for negatives, signed by the label where noted."""

    query: Float[Array, "2 N"]
    """y A, the coordinate along the query."""
    signal: Float[Array, "2 N"]
    """y kappa c, the shift along e2."""
    scale: Float[Array, "2 N"]
    """r, the scale of the isotropic noise."""
    shift: Float[Array, "2 N"]
    """The displacement of the Gaussian rule at the node."""
    label: Float[Array, "2 1"]
    """y."""
    weight: Float[Array, "2 1"]
    """The probability of the class over the number of nodes."""
    has_query: bool = eqx.field(static=True)
    """Whether the coordinate along the query exists (it does not for the linear baselines)."""

    def mean(self, values: Float[Array, "2 N"]) -> Scalar:
        """The average over classes and nodes."""
        return jnp.sum(self.weight * values)

    def thinned(self, points: int) -> Nodes:
        """The first `points` nodes of each class: a coarser rule of the same law."""
        total = self.scale.shape[1]
        if points >= total:
            return self
        query, signal, scale, shift = (x[:, :points] for x in (self.query, self.signal, self.scale, self.shift))
        return Nodes(query, signal, scale, shift, self.label, self.weight * (total / points), self.has_query)


class AttentionLaw(eqx.Module):
    """The attention feature under a query of known cosine and sharpness; `nodes` of a rule use its points twice."""

    task: SparseTokens
    cosine: Any
    sharpness: Any
    # as `MixtureLaw` explains them
    ratio = ridge = unit = 1.0
    has_query = True

    def rules(self, quadrature: Quadrature) -> tuple[Float[Array, "S ..."], ...]:
        """The points of the rules, the scramblings first."""
        return quadrature.bags(self.task.length)

    def nodes(self, normals: Float[Array, "N L"], shift: Float[Array, "N"]) -> Nodes:
        """The nodes of one rule."""
        cosine, sharpness, points = as_float64(self.cosine), as_float64(self.sharpness), normals.shape[0]
        label, weight = _classes(self.task.positive_rate, points)
        both = [attention_scalars(self.task, cosine, sharpness, normals, jnp.full((points,), y)) for y in (1.0, 0.0)]
        along, shifts, scale = (jnp.stack(pair) for pair in zip(*both, strict=True))
        signal = label * sine(cosine) * shifts
        return Nodes(label * along, signal, scale, jnp.stack([shift, shift]), label, weight, has_query=True)


class MixtureLaw(eqx.Module):
    """The unit-noise Gaussian mixture N(separation 1[y=1] e, I), which is what both linear baselines see.

    A baseline at (ratio, ridge) is a fit on the mixture at (ratio * self.ratio, ridge * self.ridge), and its weights
    are `unit` times those of that fit. One form for both, so that they share compiled programs.
    """

    separation: Any
    positive_rate: Any
    ratio: Any
    ridge: Any
    unit: Any
    cosine = sharpness = 0.0
    has_query = False

    @staticmethod
    def of(task: SparseTokens, ratio: float, ridge: float, unit: float) -> MixtureLaw:
        """The mixture at the separation strength R/sqrt(L)."""
        separation = task.strength * (task.sparsity / math.sqrt(task.length))
        return MixtureLaw(separation, task.positive_rate, *map(np.float64, (ratio, ridge, unit)))

    def rules(self, quadrature: Quadrature) -> tuple[Float[Array, "S ..."], ...]:
        """The shifts of the rules, the scramblings first."""
        return quadrature.shifts()

    def nodes(self, shift: Float[Array, "N"]) -> Nodes:
        """The nodes of one rule."""
        points = shift.shape[0]
        label, weight = _classes(self.positive_rate, points)
        signal = jnp.stack([jnp.full((points,), 1.0) * self.separation, jnp.zeros(points)])
        scale = jnp.ones((2, points))
        return Nodes(0.0 * scale, signal, scale, jnp.stack([shift, shift]), label, weight, has_query=False)


Law = AttentionLaw | MixtureLaw


def _classes(positive_rate: Scalar, points: int) -> tuple[Float[Array, "2 1"], Float[Array, "2 1"]]:
    label = jnp.array([[1.0], [-1.0]])
    return label, jnp.stack([positive_rate, 1.0 - positive_rate])[:, None] / points


def attention_scalars(
    task: SparseTokens, cosine: Scalar, sharpness: Scalar, noise: Float[Array, "N L"], positive: Float[Array, "N"]
) -> tuple[Float[Array, "N"], ...]:
    """(A, c, r) of bags whose token noise along the query is `noise`; `positive` is 1 for positive bags, else 0.

    Attention does not see the order of the tokens, so the signal tokens are the first `sparsity` ones.
    """
    carries = jnp.where(jnp.arange(task.length) < task.sparsity, 1.0, 0.0)
    signal = task.strength * positive[:, None] * carries[None, :]
    weights = jax.nn.softmax(sharpness * (noise + cosine * signal), axis=-1)
    c = jnp.sum(weights * signal, axis=-1)
    return jnp.sum(weights * noise, axis=-1) + cosine * c, c, jnp.sqrt(jnp.sum(weights * weights, axis=-1))


def sine(cosine: Scalar) -> Scalar:
    """sqrt(1 - cosine^2), with derivative 0 where it vanishes."""
    square = 1.0 - cosine * cosine
    return jnp.where(square > 0.0, jnp.sqrt(jnp.where(square > 0.0, square, 1.0)), 0.0)
