"""The problems: tokens with a linear map of them to predict, and the law that draws them."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.lab.declare import Checked, array, float64, real
from solvable.numerics.random import normal
from solvable.numerics.results import is_traced
from solvable.numerics.validation import integer, number

CHECKED = 50  # tokens from which on their mean and fourth moment are looked at


class RegressionProblem(Checked):
    """One sequence: tokens X (n, d), of which every one is a query and all are its context, and targets Y (n, m).

    Training follows the dtype of the tokens; whole numbers become float64. The limit theory holds for centred Gaussian
    tokens: others are warned about (50 tokens or more, not inside jit), for training does work on them.

    Raises: ValueError for shapes that disagree or values that are not finite. Warns: UserWarning for tokens whose mean,
    or whose fourth moment E|S^-1/2 x|^4 against d (d + 2), is further from a centred Gaussian's than chance explains.
    """

    tokens: Any = array("n d")
    targets: Any = array("n m")

    def __check_init__(self) -> None:
        if not is_traced(self.tokens):
            _warn_unless_gaussian(np.asarray(self.tokens, np.float64))

    def sample(self, key: jax.Array | None = None, samples: int | None = None) -> RegressionProblem:
        """Itself: a problem is the task that always draws itself."""
        return self


class LinearMap(Checked):
    """Tokens x ~ N(0, Sigma) in R^d with targets y = M x + w in R^m, w ~ N(0, noise^2 I) (arXiv:2603.01514).

    Arguments: matrix M (m, d); covariance Sigma (d, d), symmetric positive definite; noise >= 0, a standard deviation.
    Given to an algorithm's `train` it is the limit of infinitely many tokens: the population loss. A subclass with a
    `sample` of its own is another law: every finite context is drawn by it, and the population loss refuses it.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    matrix: Any = array("m d", dtype=np.float64)
    covariance: Any = array("d d", dtype=np.float64)
    noise: Any = real(0.0, at_least=0.0)

    def __check_init__(self) -> None:
        if is_traced(self.covariance):
            return
        known = np.asarray(self.covariance)
        if not np.allclose(known, known.T, rtol=1e-10, atol=1e-12 * np.abs(known).max()):
            raise ValueError("covariance is not symmetric; accepted: a symmetric positive definite matrix")
        least = np.linalg.eigvalsh(known)[0]
        if least <= 1e-14 * np.abs(known).max():
            raise ValueError(f"covariance has the eigenvalue {least:g}; accepted: a positive definite matrix")

    @classmethod
    def conditioned(
        cls,
        dim: int = 5,
        outputs: int | None = None,
        condition: Any = 10.0,
        strength: Any = 0.2,
        spread: Any = 2.0,
        noise: Any = 0.1,
        seed: int = 0,
    ) -> LinearMap:
        """A map whose whitened matrix M Sigma^1/2 does not depend on the condition number of Sigma.

        Sigma has `dim` eigenvalues from 1 down to 1/condition and M Sigma^1/2 has min(outputs, dim) singular values
        from `strength` down to strength/spread, both log-spaced, in random bases drawn from `seed`; outputs None: dim.

        Raises: ValueError for dim, outputs < 1, condition, spread < 1, strength <= 0 and noise < 0.
        """
        dim = integer("dim", dim, at_least=1)
        outputs = dim if outputs is None else integer("outputs", outputs, at_least=1)
        condition = number("condition", condition, at_least=1.0)
        strength = number("strength", strength, above=0.0)
        spread = number("spread", spread, at_least=1.0)
        draw = np.random.default_rng(integer("seed", seed, at_least=0))
        left, right, basis = (np.linalg.qr(draw.normal(size=(size, size)))[0] for size in (outputs, dim, dim))
        rank = min(outputs, dim)
        values = strength * spread ** -np.linspace(0.0, 1.0, rank)
        roots = condition ** (-0.5 * np.linspace(0.0, 1.0, dim))
        covariance = (basis * roots**2) @ basis.T
        with np.errstate(over="ignore", invalid="ignore"):  # a matrix that is not finite is refused
            matrix = (left[:, :rank] * values) @ right[:, :rank].T @ (basis / roots) @ basis.T
        return cls(matrix, 0.5 * (covariance + covariance.T), noise)

    @property
    def is_gaussian(self) -> bool:
        """Whether it draws as this class does: a subclass with a `sample` or a `draw` of its own is another law."""
        return type(self).sample is LinearMap.sample and type(self).draw is LinearMap.draw

    @float64
    def sample(self, key: jax.Array, samples: int) -> RegressionProblem:
        """Draw n = `samples` tokens and their targets, in float64. Raises: ValueError for samples < 1."""
        return RegressionProblem(*self.draw(key, integer("samples", samples, at_least=1)))

    def draw(self, key: jax.Array, samples: int) -> tuple[Float[Array, "n d"], Float[Array, "n m"]]:
        """Tokens and targets, without any check; all that one run needs at once, as every call costs compilation."""
        outputs, dim = self.matrix.shape
        both = normal(key, (samples, dim + outputs), jnp.float64)
        tokens = both[:, :dim] @ jnp.linalg.cholesky(jnp.asarray(self.covariance)).T
        return tokens, tokens @ self.matrix.T + self.noise * both[:, dim:]


def gaussian(task: LinearMap) -> LinearMap:
    """The task, if it draws as `LinearMap` does.

    Raises: ValueError for another law, of which the population loss is not known.
    """
    if not task.is_gaussian:
        raise ValueError(
            f"task={type(task).__name__} draws by a sample of its own, whose population loss is not known; accepted: "
            "sequences that it draws, or a LinearMap"
        )
    return task


def _warn_unless_gaussian(tokens: np.ndarray) -> None:
    count, dim = tokens.shape
    second = tokens.T @ tokens / count
    if count < max(CHECKED, 5 * dim) or np.linalg.matrix_rank(second) < dim:
        return
    mean = tokens.mean(axis=0)
    shift = float(mean @ np.linalg.solve(second, mean))
    # n times it is chi-square with d degrees of freedom for centred tokens
    if shift > 0.01 and count * shift > dim + 8.0 * np.sqrt(2.0 * dim):
        _warn(f"not centred (mean {np.sqrt(shift):.2g} of their root mean square)", "subtract their mean")
    lengths = np.einsum("nd,nd->n", tokens, np.linalg.solve(second, tokens.T).T)
    ratio = float(np.mean(lengths**2)) / (dim * (dim + 2.0))
    # Mardia's kurtosis, whose standard deviation is sqrt(8 d (d + 2) / n)
    if ratio > 1.1 and (ratio - 1.0) * dim * (dim + 2.0) > 8.0 * np.sqrt(8.0 * dim * (dim + 2.0) / count):
        _warn(f"heavy-tailed (fourth moment {ratio:.2g} times a Gaussian's)", "clip or transform them")


def _warn(what: str, cure: str) -> None:
    text = f"the tokens are {what}, so that the limit A Sigma B^T x does not hold; {cure}"
    warnings.warn(text, UserWarning, stacklevel=6)  # where the problem is made
