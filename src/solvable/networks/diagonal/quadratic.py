"""The problem: a convex quadratic loss, from a matrix or from data."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.numerics.fields import Checked, array, real
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.results import is_traced
from solvable.numerics.validation import floating, real_array

RANK = 1e-12  # eigenvalues below this share of the largest are zero
SPAN = 1e-8  # how far, relative to its length, the linear term may lie outside the span of the matrix


class Quadratic(Checked):
    """The loss l(x) = <x, M x> / 2 - <r, x> + constant in x (d,) (arXiv:2509.18766).

    Arguments: matrix M (d, d), symmetric positive semidefinite; linear r (d,) in its span, without which the loss has
    no minimum; constant, which matters to relative gaps only: `constant` >= <r, M^+ r> / 2 makes the loss nonnegative.
    `factor` is a matrix F (q, d) with M = F^T F, q <= d.

    Raises: ValueError naming the argument, what is wrong with it and what is accepted. Nothing is checked under a
    transformation of JAX.
    """

    factor: Any = array("q d", dtype=np.float64)
    linear: Any = array("d", dtype=np.float64)
    constant: Any = real(0.0)

    def __init__(self, matrix: Any, linear: Any, constant: Any = 0.0) -> None:
        self.factor, self.linear, self.constant = _factor(matrix), linear, constant

    def __check_init__(self) -> None:
        if is_traced(self.factor, self.linear):
            return
        _require_squares("linear", self.linear)
        _require_squares("the shortest solution of F^T b = linear", self.target)
        outside = self.linear - self.factor.T @ self.target
        if np.linalg.norm(outside) > SPAN * np.linalg.norm(self.linear):
            raise ValueError(
                f"linear lies outside the span of the matrix (by {np.linalg.norm(outside):.2g} of a length "
                f"{np.linalg.norm(self.linear):.2g}), so that the loss has no minimum; accepted: linear = matrix @ "
                "something"
            )

    @staticmethod
    def from_data(X: Any, y: Any) -> Quadratic:
        """Least squares, l(x) = |X x - y|^2 / 2: M = X^T X, r = X^T y, constant = |y|^2 / 2.

        X (n, d) are the samples as rows, y (n,) the targets; nothing is centred or scaled.

        Raises: ValueError for shapes that disagree, and values that are not finite or whose squares are not.
        """
        X, y = floating("X", X, np.float64), floating("y", y, np.float64)
        if X.ndim != 2 or 0 in X.shape:
            raise ValueError(f"X has shape {X.shape}; accepted: (n, d) with n, d >= 1")
        if y.shape != X.shape[:1]:
            raise ValueError(f"y has shape {y.shape}; accepted: ({X.shape[0]},), one target a row of X")
        _require_squares("X", X)
        _require_squares("y", y)
        space: Any = jnp if is_traced(X, y) else np
        factor = X if X.shape[0] <= X.shape[1] else space.linalg.qr(X, mode="r")
        made = object.__new__(Quadratic)  # there is no matrix to be factored, and nothing left to be checked
        for name, value in (("factor", factor), ("linear", X.T @ y), ("constant", 0.5 * (y @ y))):
            object.__setattr__(made, name, value)
        return made

    @property
    def matrix(self) -> Float[Array | np.ndarray, "d d"]:
        """M (d, d), computed anew at every call."""
        return self.factor.T @ self.factor

    @property
    def dim(self) -> int:
        """The number d of coordinates."""
        return self.linear.shape[-1]

    def sample(self, key: jax.Array | None = None) -> Quadratic:
        """Itself: a problem is the task that always draws itself."""
        return self

    @float64
    def loss(self, x: Any) -> Any:
        """l(x) of one x (d,), or of many (..., d)."""
        x = as_float64(real_array("x", x))
        if x.shape[-1:] != (self.dim,):
            raise ValueError(f"x has shape {x.shape}; accepted: (..., {self.dim})")
        inner = x @ as_float64(self.factor).T
        return 0.5 * jnp.sum(inner * inner, axis=-1) - x @ as_float64(self.linear) + as_float64(self.constant)

    @property
    def target(self) -> Float[np.ndarray, "q"]:
        """The shortest b with F^T b = r: the loss is |F x - b|^2 / 2 + `floor`. Computed at every call."""
        return np.linalg.lstsq(np.asarray(self.factor).T, np.asarray(self.linear), rcond=None)[0]

    @property
    def unit(self) -> float:
        """max |r_i| / max M_ii, a size of coefficients; 0 where r = 0."""
        largest = float(np.max(np.abs(self.linear)))
        return largest / float(np.max(np.sum(np.square(self.factor), axis=0))) if largest > 0.0 else 0.0

    @property
    def floor(self) -> float:
        """The least loss over all x, constant - <r, M^+ r> / 2."""
        target = self.target
        return float(self.constant) - 0.5 * float(target @ target)


def _require_squares(name: str, value: Any) -> None:
    """Raises: ValueError where the sum of the squares overflows, as losses do then."""
    if not is_traced(value):
        with np.errstate(over="ignore"):
            square = np.sum(np.square(value))
        if not np.isfinite(square):
            raise ValueError(
                f"{name} holds numbers up to {np.max(np.abs(value)):.2g}, whose squares overflow; accepted: a sum of "
                "squares below 1e308"
            )


def _factor(matrix: Any) -> Any:
    """F with M = F^T F, from the eigenvectors of the nonzero eigenvalues; of all where M is traced.

    Raises: ValueError unless M is square, symmetric and positive semidefinite.
    """
    matrix = floating("matrix", matrix, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"matrix has shape {matrix.shape}; accepted: (d, d) with d >= 1")
    if is_traced(matrix):
        values, vectors = jnp.linalg.eigh(matrix)
        return jnp.sqrt(jnp.maximum(values, jnp.zeros_like(values)))[:, None] * vectors.T
    size = float(np.abs(matrix).max())
    if not np.allclose(matrix, matrix.T, rtol=0.0, atol=1e-10 * size):
        raise ValueError("matrix is not symmetric; accepted: a symmetric positive semidefinite matrix")
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    if values[0] < -1e-10 * max(size, values[-1]):
        raise ValueError(f"matrix has the eigenvalue {values[0]:g}; accepted: a positive semidefinite matrix")
    kept = values > RANK * values[-1]
    kept[-1] = True  # at least one row, also of a matrix of zeros
    return np.sqrt(np.maximum(values[kept], 0.0))[:, None] * vectors[:, kept].T
