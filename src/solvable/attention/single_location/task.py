"""The law: one token of each sequence, at an unknown place, carries the label (arXiv:2410.01537)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.lab.declare import Checked, array, converted, float64, instance, real, whole
from solvable.numerics.results import is_traced
from solvable.numerics.validation import floating, integer, real_array

ORTHOGONAL = 1e-8
LEAST_TEMPERATURE = 1e-100  # and its inverse is the largest: cubes of it stay numbers
SAME_MEAN_SQUARE = math.sqrt(0.5)


def unit_vector(name: str, vector: Any) -> Any:
    """A vector (d,) divided by its length. Raises: ValueError unless it is finite and not zero."""
    vector = floating(name, vector, np.float64)
    if np.ndim(vector) != 1:
        raise ValueError(f"{name} has shape {np.shape(vector)}; accepted: one vector (d,)")
    if is_traced(vector):
        return vector / jnp.linalg.norm(vector)
    norm = np.linalg.norm(vector)
    if not np.isfinite(norm) or norm == 0.0:
        raise ValueError(f"{name} has the length {norm:g}; accepted: a finite vector that is not zero")
    return vector / norm


class Directions(Checked):
    """The two hidden directions: `query` k* marks the informative token, `value` v* reads the label off it.

    Both (d,), of any positive length (they are normalised), orthogonal to each other to 1e-8, d >= 2.
    Raises: ValueError for shapes that disagree, zero or non-finite vectors, directions that are not orthogonal.
    """

    query: Float[Array, "d"] = array("d", dtype=np.float64, least={"d": 2})
    value: Float[Array, "d"] = array("d", dtype=np.float64)

    def __before_check__(self) -> Mapping[str, Any]:
        return {name: unit_vector(name, getattr(self, name)) for name in ("query", "value")}

    def __check_init__(self) -> None:
        if not is_traced(self.query, self.value):
            cosine = float(np.sum(self.query * self.value))
            if abs(cosine) > ORTHOGONAL:
                raise ValueError(f"query and value have the cosine {cosine:.3g}; accepted: orthogonal directions")


def _whole_numbers(value: Any) -> Any:
    value = real_array("locations", value)
    if is_traced(value) or value.dtype.kind in "iu":
        return value
    if not np.array_equal(floating("locations", value), np.round(value)):
        raise ValueError("locations holds fractions; accepted: whole numbers")
    return np.asarray(value).astype(np.int64)


class LocatedTokens(Checked):
    """n sequences of L tokens with their labels: what the law draws, or one's own data of that shape.

    Arguments: tokens X (n, L, d); labels Y (n,); locations (n,), the place of the informative token, and the
    directions where they are known.
    Raises: ValueError for shapes that disagree or values that are not finite.
    """

    tokens: Float[Array, "n L d"] = array("n L d", dtype=np.float64)
    labels: Float[Array, "n"] = array("n", dtype=np.float64)
    locations: Int[Array, "n"] | None = converted(lambda value: None if value is None else _whole_numbers(value), None)
    directions: Directions | None = converted(lambda pair: Directions(*pair) if isinstance(pair, tuple) else pair, None)

    def __check_init__(self) -> None:
        if self.locations is not None and np.shape(self.locations) != np.shape(self.labels):
            shapes = f"{np.shape(self.locations)}; accepted: {np.shape(self.labels)}"
            raise ValueError(f"locations has shape {shapes}, one a sequence")
        if self.locations is not None and not is_traced(self.locations):
            known, length = np.asarray(self.locations), self.tokens.shape[1]
            if np.any((known < 0) | (known >= length)):
                raise ValueError(f"locations holds {known.min()} to {known.max()}; accepted: 0 to {length - 1}")
        if self.directions is not None:
            shape = instance("directions", self.directions, (Directions,)).query.shape
            if shape != self.tokens.shape[2:]:
                raise ValueError(f"directions have shape {shape}; accepted: {self.tokens.shape[2:]}, a token's")

    def sample(self, key: jax.Array | None = None) -> LocatedTokens:
        """Itself: data are the law that draws nothing else."""
        return self


class SingleLocation(Checked):
    """One informative token among L: X_J ~ N(s k*, gamma^2 I_d) at a uniform place J, the others N(0, I_d).

    The label is Y = X_J . v* + N(0, epsilon^2), with unit directions k* and v*, orthogonal to each other.
    A subclass with a `sample` of its own is another law: vectors are trained on what it draws (`simulate` with
    `full=True` or `samples`, `train` on batches), and theory speaks of the Gaussian law.

    Arguments: length L >= 2 tokens; dim d >= 2; informative_scale gamma > 0; label_noise epsilon >= 0; signal s > 0,
    sqrt(dim/2) if None (with gamma^2 = 1/2 all tokens then have the same mean square). Source: arXiv:2410.01537.
    Raises: ValueError naming the argument, its value and what is accepted.
    """

    length: int = whole(10, at_least=2)
    dim: int = whole(400, at_least=2)
    informative_scale: Any = real(SAME_MEAN_SQUARE, above=0.0)
    label_noise: Any = real(0.0, at_least=0.0)
    signal: Any = real(None, above=0.0)

    def __before_check__(self) -> Mapping[str, Any]:
        dim = integer("dim", self.dim, at_least=2)
        return {"signal": math.sqrt(dim / 2.0)} if self.signal is None else {}

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
        if directions is not None and np.shape(instance("directions", directions, (Directions,)).query) != (self.dim,):
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


def is_foreign(task: SingleLocation) -> bool:
    """Whether a task draws by a `sample` of its own."""
    return type(task).sample is not SingleLocation.sample


def _orthogonal(normal: Float[Array, "2 d"]) -> tuple[Float[Array, "d"], Float[Array, "d"]]:
    """Two Gaussian vectors made orthonormal."""
    first = normal[0] / jnp.linalg.norm(normal[0])
    second = normal[1] - (normal[1] @ first) * first
    # once more: the first subtraction leaves a cosine of the order of the rounding error over the length left
    second = second - (second @ first) * first
    return first, second / jnp.linalg.norm(second)
