"""Laws of problems: random regressions and losses with anti-correlated features."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solvable.lab.declare import Checked, SolveError, flag, float64, on_the_host, real, whole
from solvable.networks.diagonal.lasso import lasso_path
from solvable.networks.diagonal.quadratic import Quadratic

DRAWS = 32  # problems drawn at once when some are rejected
MOST_DRAWS = 100_000


class RandomRegression(Checked):
    """Least squares with X (samples, dim) and y (samples,) of independent standard normals (arXiv:2509.18766, Fig. 1).

    monotone: None takes every draw; True or False only those whose lasso path mu -> mu x(mu) is, or is not, monotone in
    every coordinate, by rejection; the rare draw so nearly singular that its path cannot be followed is rejected too.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    samples: int = whole(3, at_least=1)
    dim: int = whole(4, at_least=1)
    monotone: bool | None = flag(None)

    def __check_init__(self) -> None:
        if self.monotone is False and min(self.samples, self.dim) == 1:
            raise ValueError(
                f"monotone=False has no draws at samples={self.samples}, dim={self.dim}, where one coordinate at most "
                "is active; accepted: samples >= 2 and dim >= 2"
            )

    @float64
    def sample(self, key: jax.Array) -> Quadratic:
        """Draw one problem. Raises: RuntimeError when none of 100 000 draws has the path asked for."""
        draws = 1 if self.monotone is None else DRAWS
        for first in range(0, MOST_DRAWS, draws):
            for drawn in _normals(key, range(first, first + draws), (self.samples, self.dim + 1)):
                problem = Quadratic.from_data(drawn[:, :-1], drawn[:, -1])
                with contextlib.suppress(SolveError):
                    if self.monotone is None or lasso_path(problem).monotone == self.monotone:
                        return problem
        raise RuntimeError(
            f"monotone={self.monotone} was met by none of {MOST_DRAWS} draws of samples={self.samples}, "
            f"dim={self.dim}; accepted: sizes at which such paths occur"
        )


class Anticorrelated(Checked):
    """A loss with M = I - B, B >= 0 symmetric with zero diagonal and spectral radius `radius` < 1: features that are
    anti-correlated, <X_i, X_j> <= 0, and linearly independent (arXiv:2208.14673; the law itself is a reconstruction).

    B is |N(0, 1)| elementwise, made symmetric and scaled. The linear term is standard normal; `positive=True` takes its
    absolute value, with which every coordinate becomes active in the end. dim 1 has B = 0. constant is |r|_M^-1^2 / 2,
    with which the least loss is 0.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    dim: int = whole(5, at_least=1)
    radius: Any = real(0.7, at_least=0.0, below=1.0)
    positive: bool = flag()

    @float64
    def sample(self, key: jax.Array) -> Quadratic:
        """Draw one problem."""
        (drawn,) = _normals(key, range(1), (self.dim + 1, self.dim))
        halves = np.abs(drawn[:-1])
        coupling = 0.5 * (halves + halves.T)
        np.fill_diagonal(coupling, 0.0)
        largest = float(np.linalg.eigvalsh(coupling)[-1])
        matrix = np.eye(self.dim) - (float(self.radius) / largest if largest > 0.0 else 0.0) * coupling
        linear = np.abs(drawn[-1]) if self.positive else drawn[-1]
        return Quadratic(matrix, linear, 0.5 * linear @ np.linalg.solve(matrix, linear))


def _normals(key: jax.Array, numbers: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normals (N, *shape), one draw a number."""
    on_the_host("sample", key)
    return np.asarray(_drawn(key, jnp.asarray(numbers), shape))


@functools.partial(jax.jit, static_argnames="shape")
def _drawn(key: Any, numbers: Any, shape: tuple[int, ...]) -> Any:
    return jax.vmap(lambda number: jax.random.normal(jax.random.fold_in(key, number), shape, jnp.float64))(numbers)
