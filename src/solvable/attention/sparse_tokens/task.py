"""The law of the data: bags of noise tokens, of which positives hide a weak signal in a few."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.numerics.precision import float64
from solvable.numerics.random import normal, uniform
from solvable.numerics.results import is_traced
from solvable.numerics.validation import integer, number


class Batch(eqx.Module):
    """One problem: `tokens` (n, L, d), `labels` (n,) in {-1, +1} and, where it is known, the unit `signal` (d,).

    Raises: ValueError for tokens that are not 3-D or not finite, labels other than -1 and +1, or sizes that disagree.
    """

    tokens: Float[Array, "n L d"]
    labels: Float[Array, "n"]
    signal: Float[Array, "d"] | None = None

    def __init__(self, tokens: Any, labels: Any, signal: Any = None) -> None:
        tokens = as_tokens(tokens)
        labels = labels if isinstance(labels, jax.Array) else np.asarray(labels)
        if labels.shape != tokens.shape[:1]:
            raise ValueError(f"labels has shape {labels.shape}; accepted: ({tokens.shape[0]},), one label a bag")
        if not is_traced(labels):
            wrong = np.setdiff1d(np.unique(np.asarray(labels)), [-1, 1])
            if wrong.size:
                raise ValueError(f"labels holds {wrong[0]!s}; accepted: -1 and +1 (map 0/1 labels with 2 * labels - 1)")
        if signal is not None:
            signal = signal if is_traced(signal) else unit_vector("signal", signal, tokens.shape[2])
        self.tokens, self.labels, self.signal = tokens, labels, signal


class SparseTokens(eqx.Module):
    """Bags of `length` tokens in R^d, X = strength 1[y=1] v xi^T + Z.

    Z is iid N(0, 1), v marks `sparsity` random tokens, xi is a unit vector, and P(y = +1) = positive_rate. The model of
    arXiv:2509.25153.

    Arguments: length L >= 2; sparsity 1 <= R < L; strength theta > 0; positive_rate in (0, 1).
    Raises: ValueError naming the argument, its value and what is accepted.
    """

    strength: Any
    positive_rate: Any
    length: int = eqx.field(static=True)
    sparsity: int = eqx.field(static=True)

    def __init__(self, length: int = 10, sparsity: int = 1, strength: Any = 5.0, positive_rate: Any = 0.5) -> None:
        self.length = integer("length", length, at_least=2)
        self.sparsity = integer("sparsity", sparsity, at_least=1, at_most=self.length - 1)
        self.strength = number("strength", strength, above=0.0)
        self.positive_rate = number("positive_rate", positive_rate, above=0.0, below=1.0)

    @float64
    def sample(self, key: jax.Array, samples: int, dim: int, signal: Any = None) -> Batch:
        """Draw `samples` bags in R^dim; `signal` None draws a uniform unit vector.

        Returns: `Batch` with tokens (samples, length, dim) in float64.
        Raises: ValueError for samples or dim below 1, or a signal that is not a unit vector of length dim.
        """
        samples, dim = integer("samples", samples, at_least=1), integer("dim", dim, at_least=1)
        direction = None if signal is None else jnp.asarray(unit_vector("signal", signal, dim))
        return Batch(*_drawn(self, key, samples, dim, direction))


@eqx.filter_jit
def _drawn(task: SparseTokens, key: jax.Array, samples: int, dim: int, signal: Any) -> tuple[Any, Any, Any]:
    """Tokens, labels and the signal, which is drawn where none is given."""
    signal_key, bag_key = jax.random.split(key)
    signal = random_direction(signal_key, dim) if signal is None else signal
    return *sample_bags(task, bag_key, samples, signal), signal


def sample_bags(
    task: SparseTokens, key: jax.Array, samples: int, signal: Float[Array, "d"]
) -> tuple[Float[Array, "n L d"], Float[Array, "n"]]:
    """Tokens (samples, L, d) and labels of independent bags around a given signal."""
    label_key, place_key, noise_key = jax.random.split(key, 3)
    labels = sample_labels(label_key, samples, task.positive_rate)
    carries = sample_positions(place_key, samples, task)
    shift = task.strength * jnp.where(labels[:, None] > 0, carries, 0.0)
    noise = normal(noise_key, (samples, task.length, signal.shape[0]), signal.dtype)
    return noise + shift[:, :, None] * signal[None, None, :], labels


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


def unit_vector(name: str, value: Any, dim: int) -> Float[np.ndarray, "d"]:
    """`value` as a float64 unit vector of length dim.

    Raises: ValueError naming the argument when the shape or the norm is not right.
    """
    vector = np.asarray(value, dtype=np.float64)
    if vector.shape != (dim,):
        raise ValueError(f"{name} has shape {vector.shape}; accepted: ({dim},), the token dimension")
    norm = float(np.linalg.norm(vector))
    if not abs(norm - 1.0) < 1e-6:
        raise ValueError(f"{name} has norm {norm:g}; accepted: a unit vector (divide it by its norm)")
    return vector / norm


def as_tokens(tokens: Any, dim: int | None = None) -> Any:
    """Tokens as a finite floating (n, L, d) array, with d = dim where that is given; integers become float64.

    Raises: ValueError naming what is wrong.
    """
    if not isinstance(tokens, jax.Array):
        try:
            tokens = np.asarray(tokens)
        except ValueError:
            raise ValueError("tokens is a ragged list; accepted: bags of one length, an (n, L, d) array") from None
    if tokens.dtype.kind not in "biuf" and not jnp.issubdtype(tokens.dtype, jnp.floating):
        raise ValueError(f"tokens has dtype {tokens.dtype}; accepted: real numbers")
    if tokens.dtype.kind in "biu":
        tokens = tokens.astype(np.float64)
    if tokens.ndim != 3 or 0 in tokens.shape:
        raise ValueError(f"tokens has shape {tokens.shape}; accepted: (n, L, d) with at least one bag, token and entry")
    if dim is not None and tokens.shape[2] != dim:
        raise ValueError(
            f"tokens has dimension {tokens.shape[2]}; accepted: {dim}, the dimension of the training tokens"
        )
    if not is_traced(tokens):
        # The sum is finite exactly when every entry is (short of overflow), and needs no second copy of the tokens.
        with np.errstate(invalid="ignore"):  # +inf - inf is NaN, which is what is looked for
            total = np.sum(np.asarray(tokens), dtype=np.float64)
        if not np.isfinite(total):
            bag = int(np.argmin(np.isfinite(np.asarray(tokens)).all(axis=(1, 2))))
            raise ValueError(f"tokens holds a value that is not finite in bag {bag}; accepted: finite numbers")
    return tokens
