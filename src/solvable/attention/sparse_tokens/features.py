"""The law of the scalar features of a token bag under a fixed query, as quadrature nodes.

With the unit query qh, g = Z qh ~ N(0, I_L), scores sharpness * (g + strength cosine v 1[y=1]) and weights
a = softmax(scores):
    h = <a, g>,  c = strength <v, a> 1[y=1],  r = ||a||,  A = h + cosine c,
    feature = A qh + kappa c e2 + r P z,   z ~ N(0, I_d),  P = I - qh qh^T,  e2 = (xi - cosine qh) / kappa,
exactly at every dimension (arXiv:2509.25153 sets the model; this form of the law is derived here).
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from solvable.attention.sparse_tokens.task import SparseTokens
from solvable.numerics.gaussian import scrambled_points, stratified_shifts

MIXTURE_POINTS = 256


class Quadrature(eqx.Module):
    """How finely averages over the feature law are taken: `scramblings` independent rules of `points` points a class.

    The spread between scramblings gives the standard error of every prediction. For bags of more than 64 tokens the
    points are thinned, so that memory stays bounded; the standard error says what that costs.
    """

    points: int = eqx.field(static=True, default=2**14)
    scramblings: int = eqx.field(static=True, default=4)

    def __check_init__(self) -> None:
        if self.points < 2**8 or self.points & (self.points - 1):
            raise ValueError(f"points={self.points} is not accepted; accepted: a power of 2, at least 256")
        if self.scramblings < 1:
            raise ValueError(f"scramblings={self.scramblings} is out of range; accepted: a whole number >= 1")

    def bags(self, length: int) -> tuple[Float[Array, "S N L"], Float[Array, "S N"]]:
        """Gaussian points in R^length and one uniform shift each, (scramblings, points, ...)."""
        thinning = 2 ** max(0, math.ceil(math.log2(length / 64)))
        return scrambled_points(length, max(2**8, self.points // thinning), self.scramblings)

    def shifts(self) -> tuple[Float[Array, "S N"]]:
        """Shifts for the two-point mixture of the linear baselines, whose only average is over one Gaussian."""
        return (stratified_shifts(MIXTURE_POINTS, self.scramblings),)


class Features(eqx.Module):
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

    def mean(self, values: Float[Array, "2 N"]) -> Float[Array, ""]:
        """The average over classes and nodes."""
        return jnp.sum(self.weight * values)

    def thinned(self, points: int) -> Features:
        """The first `points` nodes of each class: a coarser rule of the same law."""
        total = self.scale.shape[1]
        if points >= total:
            return self
        query, signal, scale, shift = (x[:, :points] for x in (self.query, self.signal, self.scale, self.shift))
        return Features(query, signal, scale, shift, self.label, self.weight * (total / points), self.has_query)


def _classes(positive_rate: Float[Array, ""], points: int) -> tuple[Float[Array, "2 1"], Float[Array, "2 1"]]:
    label = jnp.array([[1.0], [-1.0]])
    return label, jnp.stack([positive_rate, 1.0 - positive_rate])[:, None] / points


def attention_scalars(
    task: SparseTokens,
    cosine: Float[Array, ""],
    sharpness: Float[Array, ""],
    noise: Float[Array, "N L"],
    positive: Float[Array, "N"],
) -> tuple[Float[Array, "N"], Float[Array, "N"], Float[Array, "N"]]:
    """(A, c, r) of bags whose token noise along the query is `noise`; `positive` is 1 for positive bags, else 0.

    Attention does not see the order of the tokens, so the signal tokens are the first `sparsity` ones.
    """
    carries = jnp.where(jnp.arange(task.length) < task.sparsity, 1.0, 0.0)
    signal = task.strength * positive[:, None] * carries[None, :]
    weights = jax.nn.softmax(sharpness * (noise + cosine * signal), axis=-1)
    c = jnp.sum(weights * signal, axis=-1)
    return jnp.sum(weights * noise, axis=-1) + cosine * c, c, jnp.sqrt(jnp.sum(weights * weights, axis=-1))


def attention_features(
    task: SparseTokens,
    cosine: Float[Array, ""],
    sharpness: Float[Array, ""],
    normals: Float[Array, "N L"],
    shift: Float[Array, "N"],
) -> Features:
    """Nodes of the attention feature; both classes use the same points."""
    points = normals.shape[0]
    label, weight = _classes(task.positive_rate, points)
    both = [attention_scalars(task, cosine, sharpness, normals, jnp.full((points,), y)) for y in (1.0, 0.0)]
    along, shifts, scale = (jnp.stack(pair) for pair in zip(*both, strict=True))
    kappa = sine(cosine)
    return Features(
        label * along, label * kappa * shifts, scale, jnp.stack([shift, shift]), label, weight, has_query=True
    )


def mixture_features(
    positive_rate: Float[Array, ""], separation: Float[Array, ""], shift: Float[Array, "N"]
) -> Features:
    """Nodes of the unit-noise Gaussian mixture N(separation 1[y=1] e, I) that both linear baselines see."""
    points = shift.shape[0]
    label, weight = _classes(positive_rate, points)
    zero = jnp.zeros((2, points))
    signal = jnp.stack([jnp.full((points,), 1.0) * separation, jnp.zeros(points)])
    return Features(zero, signal, jnp.ones((2, points)), jnp.stack([shift, shift]), label, weight, has_query=False)


def sine(cosine: Float[Array, ""]) -> Float[Array, ""]:
    """sqrt(1 - cosine^2), with derivative 0 where it vanishes."""
    square = 1.0 - cosine * cosine
    return jnp.where(square > 0.0, jnp.sqrt(jnp.where(square > 0.0, square, 1.0)), 0.0)
