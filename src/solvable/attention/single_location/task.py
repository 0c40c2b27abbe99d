"""The law: one token of each sequence, at an unknown place, carries the label (arXiv:2410.01537)."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.numerics.precision import float64
from solvable.numerics.results import is_traced
from solvable.numerics.validation import integer, number

ORTHOGONAL = 1e-8
SAME_MEAN_SQUARE = math.sqrt(0.5)


class Directions(eqx.Module):
    """The two hidden directions: `query` k* marks the informative token, `value` v* reads the label off it.

    Both (d,), of any positive length (they are normalised), orthogonal to each other to 1e-8, d >= 2.
    Raises: ValueError for shapes that disagree, zero or non-finite vectors, directions that are not orthogonal.
    """

    query: Float[Array, "d"]
    value: Float[Array, "d"]

    def __init__(self, query: Any, value: Any) -> None:
        query, value = (unit_vector(name, vector) for name, vector in (("query", query), ("value", value)))
        if query.shape != value.shape or query.shape[0] < 2:
            raise ValueError(
                f"query and value have shapes {query.shape} and {value.shape}; accepted: one shape (d,), d >= 2"
            )
        if not is_traced(query, value):
            cosine = float(np.sum(np.asarray(query) * np.asarray(value)))
            if abs(cosine) > ORTHOGONAL:
                raise ValueError(f"query and value have the cosine {cosine:.3g}; accepted: orthogonal directions")
        self.query, self.value = query, value


class LocatedTokens(eqx.Module):
    """n sequences of L tokens with their labels: what the law draws, or one's own data of that shape.

    Arguments: tokens X (n, L, d); labels Y (n,); locations (n,), the place of the informative token, and the
    directions where they are known.
    Raises: ValueError for shapes that disagree or values that are not finite.
    """

    tokens: Float[Array, "n L d"]
    labels: Float[Array, "n"]
    locations: Int[Array, "n"] | None
    directions: Directions | None

    def __init__(self, tokens: Any, labels: Any, locations: Any = None, directions: Any = None) -> None:
        tokens, labels = _real("tokens", tokens), _real("labels", labels)
        if np.ndim(tokens) != 3 or 0 in np.shape(tokens):
            raise ValueError(f"tokens has shape {np.shape(tokens)}; accepted: (n, L, d) with at least one sequence")
        if np.shape(labels) != np.shape(tokens)[:1]:
            raise ValueError(f"labels has shape {np.shape(labels)}; accepted: {np.shape(tokens)[:1]}, one a sequence")
        for name, value in (("tokens", tokens), ("labels", labels)):
            if not is_traced(value) and not np.all(np.isfinite(value)):
                raise ValueError(f"{name} holds a value that is not finite; accepted: finite numbers")
        if locations is not None and np.shape(locations) != np.shape(labels):
            raise ValueError(f"locations has shape {np.shape(locations)}; accepted: {np.shape(labels)}, one a sequence")
        if isinstance(directions, tuple):
            directions = Directions(*directions)
        if directions is not None and np.shape(directions.query) != np.shape(tokens)[2:]:
            raise ValueError(
                f"directions have shape {np.shape(directions.query)}; accepted: {np.shape(tokens)[2:]}, a token's"
            )
        self.tokens, self.labels, self.locations, self.directions = tokens, labels, locations, directions


class SingleLocation(eqx.Module):
    """One informative token among L: X_J ~ N(s k*, gamma^2 I_d) at a uniform place J, the others N(0, I_d).

    The label is Y = X_J . v* + N(0, epsilon^2), with unit directions k* and v*, orthogonal to each other.

    Arguments: length L >= 2 tokens; dim d >= 2; informative_scale gamma > 0; label_noise epsilon >= 0; signal s > 0,
    sqrt(dim/2) if None (with gamma^2 = 1/2 all tokens then have the same mean square). Source: arXiv:2410.01537.
    Raises: ValueError naming the argument, its value and what is accepted.
    """

    length: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    informative_scale: Any
    label_noise: Any
    signal: Any

    def __init__(
        self,
        length: int = 10,
        dim: int = 400,
        informative_scale: Any = SAME_MEAN_SQUARE,
        label_noise: Any = 0.0,
        signal: Any = None,
    ) -> None:
        self.length = integer("length", length, at_least=2)
        self.dim = integer("dim", dim, at_least=2)
        self.informative_scale = number("informative_scale", informative_scale, above=0.0)
        self.label_noise = number("label_noise", label_noise, at_least=0.0)
        self.signal = number("signal", math.sqrt(self.dim / 2.0) if signal is None else signal, above=0.0)

    @property
    def label_variance(self) -> Any:
        """gamma^2: the variance of the noiseless label, hence the excess risk of predicting 0."""
        return self.informative_scale * self.informative_scale

    @float64
    def directions(self, key: jax.Array) -> Directions:
        """k* and v*, uniform among the orthogonal pairs."""
        return Directions(*_orthogonal(jax.random.normal(key, (2, self.dim), jnp.float64)))

    @float64
    def sample(self, key: jax.Array, samples: int, directions: Directions | None = None) -> LocatedTokens:
        """Draw `samples` sequences, with directions of their own unless some are given.

        Raises: ValueError for samples < 1 or directions of another dimension.
        """
        samples = integer("samples", samples, at_least=1)
        if directions is not None and np.shape(directions.query) != (self.dim,):
            raise ValueError(f"directions have shape {np.shape(directions.query)}; accepted: ({self.dim},)")
        place_key, key = jax.random.split(key)
        size = samples * self.length * self.dim
        # one call draws everything: each call of the normal costs a second to compile
        normal = jax.random.normal(key, (size + samples + 2 * self.dim,), jnp.float64)
        if directions is None:
            directions = Directions(*_orthogonal(normal[size + samples :].reshape(2, self.dim)))
        tokens = normal[:size].reshape(samples, self.length, self.dim)
        places = jax.random.randint(place_key, (samples,), 0, self.length, jnp.int64)
        here = jax.nn.one_hot(places, self.length, dtype=jnp.float64)[:, :, None]
        tokens = tokens * (1.0 + (self.informative_scale - 1.0) * here)
        tokens = tokens + self.signal * here * jnp.asarray(directions.query)[None, None, :]
        informative = jnp.sum(tokens * here, axis=1)
        labels = informative @ jnp.asarray(directions.value) + self.label_noise * normal[size : size + samples]
        return LocatedTokens(tokens, labels, places, directions)


def _real(name: str, value: Any) -> Any:
    """A copy in float64; traced values as they are. Raises: ValueError for what is no array of real numbers."""
    if is_traced(value):
        return value
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iufb":
            raise ValueError
        return np.array(array, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is no array of real numbers; accepted: finite real numbers") from None


def unit_vector(name: str, vector: Any) -> Any:
    """A vector (d,) divided by its length. Raises: ValueError unless it is finite and not zero."""
    if np.ndim(vector) != 1:
        raise ValueError(f"{name} has shape {np.shape(vector)}; accepted: one vector (d,)")
    if is_traced(vector):
        return vector / jnp.linalg.norm(vector)
    norm = np.linalg.norm(np.asarray(vector, np.float64))
    if not np.isfinite(norm) or norm == 0.0:
        raise ValueError(f"{name} has the length {norm:g}; accepted: a finite vector that is not zero")
    return np.asarray(vector, np.float64) / norm


def _orthogonal(normal: Float[Array, "2 d"]) -> tuple[Float[Array, "d"], Float[Array, "d"]]:
    """Two Gaussian vectors made orthonormal."""
    first = normal[0] / jnp.linalg.norm(normal[0])
    second = normal[1] - (normal[1] @ first) * first
    # once more: the first subtraction leaves a cosine of the order of the rounding error over the length left
    second = second - (second @ first) * first
    return first, second / jnp.linalg.norm(second)
