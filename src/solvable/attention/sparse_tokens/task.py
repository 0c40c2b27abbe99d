"""The law of the data: bags of noise tokens, of which positives hide a weak signal in a few; other laws of noise."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.lab.declare import Checked, array, float64, real, whole
from solvable.numerics.random import normal, uniform
from solvable.numerics.results import is_traced
from solvable.numerics.validation import floating, integer

Scalar = Float[Array, ""]
Noise = Callable[[jax.Array, tuple[int, ...], Any], Float[Array, "..."]]
"""(key, shape, dtype) -> independent entries, or bags (samples, length, dim), of noise."""


class Batch(Checked):
    """One problem: `tokens` (n, L, d), `labels` (n,) in {-1, +1} and, where it is known, the unit `signal` (d,).

    Raises: ValueError for tokens that are not 3-D or not finite, labels other than -1 and +1, or sizes that disagree.
    """

    tokens: Float[Array | np.ndarray, "n L d"] = array("n L d")
    labels: Float[Array | np.ndarray, "n"] = array("n", entries=(-1.0, 1.0))
    signal: Float[Array | np.ndarray, "d"] | None = array("d", default=None, dtype=np.float64)

    def __check_init__(self) -> None:
        if self.signal is not None:
            unit_vector("signal", self.signal)

    def sample(self, key: jax.Array | None = None) -> Batch:
        """Itself: a problem is the law that always draws it."""
        return self


class SparseTokens(Checked):
    """Bags of `length` tokens in R^d, X = strength 1[y=1] v xi^T + Z.

    Z is iid N(0, 1), v marks `sparsity` random tokens, xi is a unit vector, and P(y = +1) = positive_rate. The model of
    arXiv:2509.25153.

    Arguments: length L >= 2; sparsity 1 <= R < L; strength 0 < theta <= 1e100; positive_rate in (0, 1).
    Raises: ValueError naming the argument, its value and what is accepted.
    """

    length: int = whole(10, at_least=2)
    sparsity: int = whole(1, at_least=1)
    strength: Any = real(5.0, above=0.0, at_most=1e100)  # its square is a number
    positive_rate: Any = real(0.5, above=0.0, below=1.0)

    def __check_init__(self) -> None:
        integer("sparsity", self.sparsity, at_least=1, at_most=self.length - 1)

    @float64
    def sample(self, key: jax.Array, samples: int, dim: int, signal: Any = None) -> Batch:
        """Draw `samples` bags in R^dim; `signal` None draws a uniform unit vector.

        A law of your own overrides this; `simulate(..., full=True)` then draws by it, always with a `signal`.

        Returns: `Batch` with tokens (samples, length, dim) in float64.
        Raises: ValueError for samples or dim below 1, or a signal that is not a unit vector of length dim.
        """
        return draw(self, key, samples, dim, signal)


class OtherTokens(SparseTokens):
    """`SparseTokens` with noise of another law, of mean 0 and variance 1, which a subclass says."""

    @abc.abstractmethod
    def noise(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
        """Noise of bags, of the shape (samples, length, dim)."""

    @float64
    def sample(self, key: jax.Array, samples: int, dim: int, signal: Any = None) -> Batch:
        """As `SparseTokens.sample`."""
        return draw(self, key, samples, dim, signal, self.noise)


class RademacherTokens(OtherTokens):
    """Noise entries that are independent signs."""

    def noise(self, key, shape, dtype):
        return jax.random.rademacher(key, shape, dtype)


class HeavyTailedTokens(OtherTokens):
    """Noise entries that are independent, Student's t with `degrees` > 2: no moment of that order exists."""

    degrees: Any = real(5.0, above=2.0)

    def noise(self, key, shape, dtype):
        # Bailey's polar method (Math. Comp. 62, 1994), exact: JAX's own sampler rejects, and takes ten times as long
        radius_key, angle_key = jax.random.split(key)
        radius = jnp.sqrt(self.degrees * jnp.expm1(-2.0 / self.degrees * jnp.log1p(-uniform(radius_key, shape, dtype))))
        angle = 2.0 * jnp.pi * uniform(angle_key, shape, dtype)
        return radius * jnp.cos(angle) * jnp.sqrt(1.0 - 2.0 / self.degrees)


class ColouredTokens(OtherTokens):
    """Tokens whose noise has the covariance correlation^|i - j| between the coordinates i and j."""

    correlation: Any = real(0.5, above=-1.0, below=1.0)

    def noise(self, key, shape, dtype):
        places = jnp.arange(shape[-1], dtype=dtype)
        lags = places[:, None] - places[None, :]
        factor = jnp.where(lags >= 0, self.correlation ** jnp.abs(lags), 0.0)
        start = jnp.where(places > 0, jnp.sqrt(1.0 - self.correlation**2), 1.0)
        return normal(key, shape, dtype) @ (factor * start[None, :]).T


def draw(task: SparseTokens, key: jax.Array, samples: int, dim: int, signal: Any, noise: Noise = normal) -> Batch:
    """`SparseTokens.sample` with this noise; call under x64."""
    samples, dim = integer("samples", samples, at_least=1), integer("dim", dim, at_least=1)
    if signal is not None:
        signal = jnp.asarray(unit_vector("signal", signal, dim))
    return Batch(*_drawn(task, key, samples, dim, signal, noise))


@eqx.filter_jit
def _drawn(task: SparseTokens, key: jax.Array, samples: int, dim: int, signal: Any, noise: Noise) -> tuple[Any, ...]:
    """Tokens, labels and the signal, which is drawn where none is given."""
    signal_key, bag_key = jax.random.split(key)
    signal = random_direction(signal_key, dim) if signal is None else signal
    return *sample_bags(task, bag_key, samples, signal, noise), signal


def sample_bags(
    task: SparseTokens, key: jax.Array, samples: int, signal: Float[Array, "d"], noise: Noise = normal
) -> tuple[Float[Array, "n L d"], Float[Array, "n"]]:
    """Tokens (samples, L, d) and labels of independent bags around a given signal."""
    label_key, place_key, noise_key = jax.random.split(key, 3)
    labels = sample_labels(label_key, samples, task.positive_rate)
    carries = sample_positions(place_key, samples, task)
    shift = task.strength * jnp.where(labels[:, None] > 0, carries, 0.0)
    tokens = noise(noise_key, (samples, task.length, signal.shape[0]), signal.dtype)
    return tokens + shift[:, :, None] * signal[None, None, :], labels


def sample_labels(key: jax.Array, samples: int, positive_rate: Any) -> Float[Array, "n"]:
    """Independent labels, +1 with probability `positive_rate` and else -1."""
    return jnp.where(jax.random.uniform(key, (samples,)) < positive_rate, 1.0, -1.0)


def sample_positions(key: jax.Array, samples: int, task: SparseTokens) -> Float[Array, "n L"]:
    """Indicator of `sparsity` positions drawn without replacement, one row a bag."""
    order = jnp.argsort(uniform(key, (samples, task.length)), axis=-1)
    return jnp.where(order < task.sparsity, 1.0, 0.0)


def random_direction(key: jax.Array, dim: int) -> Float[Array, "d"]:
    """A uniform unit vector."""
    direction = jax.random.normal(key, (dim,), jnp.float64)
    return direction / jnp.linalg.norm(direction)


def unit_vector(name: str, value: Any, dim: int | None = None) -> Any:
    """`value` as a float64 unit vector, of length `dim` where that is given, or ValueError; a traced norm passes."""
    vector = floating(name, value, np.float64)
    if dim is not None and vector.shape != (dim,):
        raise ValueError(f"{name} has shape {vector.shape}; accepted: ({dim},), the token dimension")
    if not is_traced(vector) and not abs(np.linalg.norm(vector) - 1.0) < 1e-6:
        raise ValueError(f"{name} has norm {np.linalg.norm(vector):g}; accepted: a unit vector (divide it by its norm)")
    return vector


def as_tokens(tokens: Any, dim: int, length: int | None = None) -> Any:
    """Tokens as a finite floating (n, L, d) array, with d = dim and L = length where that is given; or ValueError."""
    tokens = floating("tokens", tokens)
    if tokens.ndim != 3 or 0 in tokens.shape or tokens.shape[1:] != (length or tokens.shape[1], dim):
        raise ValueError(f"tokens has shape {tokens.shape}; accepted: (n, {length or 'L'}, {dim}), as in training")
    return tokens
