"""The problems: sequences of tokens with a query and a decoder, and the laws that draw them."""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from solvable.lab.declare import Checked, array, flag, float64, whole
from solvable.numerics.random import normal
from solvable.numerics.validation import floating

AnyArray = Array | np.ndarray
Weights = Float[AnyArray, "d d"]
Vector = Float[AnyArray, "d"]
Selected = Int[AnyArray, "n"] | Int[AnyArray, "n m"]  # one token a sequence, or one a query
Norm = float | Literal["nuclear"]


class SelectionProblem(Checked):
    """n sequences of T tokens for one layer of softmax attention with a linear decoder.

    With the key-query matrix W the attention of sequence i is s_i = softmax_t(x_it^T W z_i), and its output the mean of
    v^T X_i^T s_i over the sequence's queries. The score of a token is gamma_it = y_i v^T x_it.

    Arguments: tokens X (n, T, d), T >= 2; queries z (n, d), or (n, m, d) for m queries a sequence (self-attention);
    labels y (n,) in {-1, +1}; decoder v (d,). Training follows the dtype of the tokens; whole numbers become float64.
    Raises: ValueError for shapes that disagree, values that are not finite, a zero query, labels other than -1 and +1.
    """

    tokens: Any = array("n T d", least={"T": 2})
    queries: Any = array("n d", "n m d", nonzero_rows=True)
    labels: Any = array("n", entries=(-1.0, 1.0))
    decoder: Any = array("d")

    def sample(self, key: jax.Array | None = None) -> SelectionProblem:
        """Itself: a problem is the task that always draws itself."""
        return self

    @property
    def query_sets(self) -> Float[Array, "n m d"]:
        """The queries with their middle axis, m = 1 where there is one query a sequence."""
        return self.queries if self.queries.ndim == 3 else self.queries[:, None, :]

    def scores(self, decoder: Any = None) -> Float[Array, "n T"]:
        """gamma_it = y_i v^T x_it, for the problem's decoder or another one."""
        vector = self.decoder if decoder is None else floating("decoder", decoder, self.tokens.dtype)
        if vector.shape != self.decoder.shape:
            raise ValueError(f"decoder has shape {vector.shape}; accepted: {self.decoder.shape}")
        # a sum of products, not a matrix product: it works alike on NumPy, JAX and traced arrays
        return self.labels[:, None] * (self.tokens * vector[None, None, :]).sum(-1)

    @float64
    def optimal_tokens(self, decoder: Any = None) -> Int[Array, "n"]:
        """The token of the highest score in each sequence."""
        return first_largest(self.scores(decoder))


class RandomSelection(Checked):
    """Random problems: tokens, queries and decoder uniform on the unit sphere, labels fair signs (arXiv:2410.14581).

    Arguments: samples n >= 1 sequences, length T >= 2 tokens a sequence, dim d >= 1.
    """

    samples: int = whole(6, at_least=1)
    length: int = whole(8, at_least=2)
    dim: int = whole(10, at_least=1)

    @float64
    @eqx.filter_jit
    def sample(self, key: jax.Array) -> SelectionProblem:
        """Draw one problem, in float64."""
        rows = self.samples * (self.length + 1) + 1
        # one call draws everything: each takes its time to compile
        drawn = normal(key, (rows * self.dim + self.samples,), jnp.float64)
        vectors = drawn[self.samples :].reshape(rows, self.dim)
        vectors = vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
        labels = jnp.where(drawn[: self.samples] < 0.0, -1.0, 1.0)
        tokens = vectors[: self.samples * self.length].reshape(self.samples, self.length, self.dim)
        return SelectionProblem(tokens, vectors[self.samples * self.length : -1], labels, vectors[-1])


class EqualScores(Checked):
    """Sequences with one token of score 1, all others of score 0, and nearly orthogonal tokens; dim > samples * length.

    Normalised gradient descent then ends on the optimal tokens (the scenario of arXiv:2402.05738; this recipe is a
    reconstruction). The decoder is the least-norm v with y_i v^T x_it = 1 for the one token and 0 for the others;
    the query is the sequence's first token, or with `every_query` every token of it.

    Arguments: samples n, length T >= 2, dim d > n T; `orthonormal` tokens, or Gaussian ones of variance 1/d.
    """

    samples: int = whole(8, at_least=1)
    length: int = whole(4, at_least=2)
    dim: int = whole(40, at_least=1)
    orthonormal: bool = flag(True)
    every_query: bool = flag(False)

    def __check_init__(self) -> None:
        if self.dim <= self.samples * self.length:
            sizes = f"samples={self.samples} of length={self.length}"
            least = self.samples * self.length
            raise ValueError(f"dim={self.dim} is too small for {sizes}; accepted: more than {least}")

    @float64
    @eqx.filter_jit
    def sample(self, key: jax.Array) -> SelectionProblem:
        """Draw one problem, in float64."""
        token_key, label_key, place_key = jax.random.split(key, 3)
        count = self.samples * self.length
        columns = normal(token_key, (self.dim, count), jnp.float64)
        columns = jnp.linalg.qr(columns)[0] if self.orthonormal else columns * self.dim**-0.5
        tokens = columns.T.reshape(self.samples, self.length, self.dim)
        labels = jax.random.rademacher(label_key, (self.samples,), jnp.float64)
        best = jax.random.randint(place_key, (self.samples,), 0, self.length)
        wanted = labels[:, None] * jax.nn.one_hot(best, self.length, dtype=jnp.float64)
        decoder = jnp.linalg.lstsq(columns.T, wanted.reshape(count))[0]
        return SelectionProblem(tokens, tokens if self.every_query else tokens[:, 0], labels, decoder)


def two_sequences() -> SelectionProblem:
    """The example of two sequences of three tokens in the plane that is trained jointly with its decoder.

    Its decoder is zero, for training starts there (arXiv:2410.14581, the joint experiment of the authors' code).
    """
    tokens = np.array([[[-2.7, 1.2], [1.4, 2.1], [1.3, -0.1]], [[0.4, -2.2], [-1.1, -0.4], [0.9, 0.1]]])
    return SelectionProblem(tokens, tokens[:, 0], [1.0, -1.0], np.zeros(2))


Task = SelectionProblem | RandomSelection | EqualScores


def first_largest(values: Any) -> Int[Array, "..."]:
    """The first place of the largest value along the last axis.

    Not argmax, whose 64-bit places do not compile inside a user's jit without double precision.
    """
    length = values.shape[-1]
    places = jnp.arange(length).reshape((1,) * (values.ndim - 1) + (length,))
    # NaNs equal nothing: the last place then
    return jnp.min(jnp.where(values == values.max(axis=-1, keepdims=True), places, length - 1), axis=-1)
