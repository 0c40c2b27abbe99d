"""The problems: quadratics, least squares by rows of data or by fresh Gaussian rows, and any smooth convex function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from solvable.lab.declare import Checked, array, converted, flag, float64, real
from solvable.numerics.validation import floating

RANK = 1e-12  # eigenvalues below this share of the largest are zero
SIZES = (1e-140, 1e140)  # in which the largest entry of X lies: squares neither vanish nor overflow
SPAN = 1e-8  # residuals below this share of the targets, and linear terms this near the span, are rounding


class Problem(Checked):
    """What one run minimises; a problem is the task that always draws itself."""

    def sample(self, key: jax.Array | None = None) -> Any:
        """Itself."""
        return self


def _nonnegative(name: str, values: np.ndarray) -> None:
    if np.any(values < 0.0) or not np.any(values > 0.0):
        raise ValueError(f"{name} holds {np.min(values):g}; accepted: numbers >= 0, one of them above 0")


class Quadratic(Problem):
    """f(x) = 1/2 sum_i lam_i x_i^2 around its minimiser, in the eigenbasis: eigenvalues lam (d,), start (d,).

    `gradient_noise` s >= 0: every gradient is lam x + s N(0, I), s the standard deviation a coordinate. Eigenvalues may
    be zero, not all of them. `basis` (d, d) and `minimiser` (d,), None for I and 0, turn e of the eigenbasis into the
    user's x = minimiser + basis e; `start` is in the eigenbasis.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    eigenvalues: Any = array("d", dtype=np.float64)
    start: Any = array("d", dtype=np.float64)
    gradient_noise: Any = real(0.0, at_least=0.0)
    basis: Any = array("d d", default=None, dtype=np.float64)
    minimiser: Any = array("d", default=None, dtype=np.float64)

    def __check_init__(self) -> None:
        if isinstance(self.eigenvalues, np.ndarray):
            _nonnegative("eigenvalues", self.eigenvalues)

    @staticmethod
    def from_matrix(matrix: Any, linear: Any, start: Any, gradient_noise: Any = 0.0) -> Quadratic:
        """f(x) = <x, M x>/2 - <linear, x> + its constant, so that min f = 0: M (d, d) symmetric, semidefinite.

        Distances are from the minimiser nearest to the start. Raises: ValueError for another matrix, and for a linear
        term outside its span, with which f has no minimum.
        """
        given = {"matrix": matrix, "linear": linear, "start": start}
        matrix, linear, start = (floating(name, value, np.float64) for name, value in given.items())
        d = matrix.shape[0] if matrix.ndim else 0
        for name, value, shape in (("matrix", matrix, (d, d)), ("linear", linear, (d,)), ("start", start, (d,))):
            if value.shape != shape or d == 0:
                raise ValueError(f"{name} has shape {value.shape}; accepted: {shape}, no size being 0")
        size = float(np.abs(matrix).max())
        if not np.allclose(matrix, matrix.T, rtol=0.0, atol=1e-10 * size):
            raise ValueError("matrix is not symmetric; accepted: a symmetric positive semidefinite matrix")
        values, basis = np.linalg.eigh(0.5 * (matrix + matrix.T))
        if values[0] < -1e-10 * size or values[-1] <= 0.0:
            raise ValueError(f"matrix has the eigenvalue {values[0]:g}; accepted: a positive semidefinite one, not 0")
        inside, along = values > RANK * values[-1], basis.T @ linear
        if np.linalg.norm(along[~inside]) > SPAN * np.linalg.norm(along):
            raise ValueError("linear lies outside the span of the matrix; accepted: linear = matrix @ something")
        here = basis.T @ start
        least = np.where(inside, along / np.where(inside, values, 1.0), here)
        return Quadratic(np.where(inside, values, 0.0), here - least, gradient_noise, basis, basis @ least)


class LeastSquares(Problem):
    """f(w) = |y - X w|^2 / (2 n), of which a step sees one row, drawn uniformly: X (n, d), y (n,), start (d,) or 0.

    The system may be inconsistent (then gradients are noisy at the optimum too) and X may lack rank: distances are from
    the minimiser nearest to the start, and what lies outside of the row space never moves. Singular values of X below
    max(n, d) times the rounding of the largest count as 0.

    Raises: ValueError naming the argument, its value and what is accepted; X = 0 has nothing to minimise.
    """

    X: Any = array("n d", dtype=np.float64)
    y: Any = array("n", dtype=np.float64)
    start: Any = array("d", default=None, dtype=np.float64)

    def __check_init__(self) -> None:
        if not isinstance(self.X, np.ndarray):
            return
        largest = np.abs(self.X).max()
        if largest == 0.0:
            raise ValueError("X holds 0 alone; accepted: rows of which one is not zero")
        if not SIZES[0] < largest < SIZES[1]:
            raise ValueError(f"X has the largest entry {largest:g}; accepted: between {SIZES[0]:g} and {SIZES[1]:g}")


class GaussianLeastSquares(Problem):
    """Rows a ~ N(0, diag(spectrum)), fresh at every step, of a consistent system whose solution is 0.

    f(x) = 1/2 sum_i spectrum_i x_i^2; a step sees the gradient a (a.x). spectrum (d,), start (d,).

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    spectrum: Any = array("d", dtype=np.float64)
    start: Any = array("d", dtype=np.float64)

    def __check_init__(self) -> None:
        if isinstance(self.spectrum, np.ndarray):
            _nonnegative("spectrum", self.spectrum)


def _function(name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not callable(value):
            raise TypeError(f"{name}={type(value).__name__} is not accepted; accepted: a function of x (d,)")
        return value

    return check


def _minimum(value: Any) -> Any:
    if value is None:
        return None
    found = floating("minimum", value, np.float64)
    if found.ndim > 1:
        raise ValueError(f"minimum has shape {found.shape}; accepted: the least value, or a minimiser (d,)")
    return found


class Objective(Problem):
    """Any convex f, smooth with the constant `smoothness` and strongly convex with `strong_convexity` (0: convex).

    `value` takes x (d,) and returns a number, `gradient` an array (d,): functions of NumPy, called once an event and
    run; with `traced=True` functions of JAX, which are compiled. `minimum` is the least value, or a minimiser (d,);
    None has one searched for by L-BFGS. A number alone leaves out the distance to the minimiser, and where f is not
    strongly convex the bound.

    Raises: ValueError naming the argument, its value and what is accepted, also for a gradient at the start that is not
    finite; TypeError for what is no function.
    """

    value: Any = converted(_function("value"), static=True)
    gradient: Any = converted(_function("gradient"), static=True)
    start: Any = array("d", dtype=np.float64)
    smoothness: Any = real(above=0.0)
    strong_convexity: Any = real(0.0, at_least=0.0)
    minimum: Any = converted(_minimum, None)
    traced: bool = flag(False)

    def __check_init__(self) -> None:
        if not isinstance(self.start, np.ndarray):
            return
        if self.strong_convexity > self.smoothness:
            raise ValueError(
                f"strong_convexity={self.strong_convexity:g} is above smoothness={self.smoothness:g}; accepted: at most"
                " that"
            )
        if self.minimum is not None and np.shape(self.minimum) not in ((), self.start.shape):
            raise ValueError(f"minimum has shape {self.minimum.shape}; accepted: a number, or {self.start.shape}")
        for name, found in (("value", self.of(self.start)), ("gradient", self.slope(self.start))):
            if not np.all(np.isfinite(found)):
                raise ValueError(f"{name} is not finite at the start; accepted: a start at which it is")
        if self.traced:
            self._require_traceable()

    @float64  # JAX keeps the constants of functions in the precision in which it meets them first
    def _require_traceable(self) -> None:
        for name in ("value", "gradient"):
            try:
                jax.eval_shape(getattr(self, name), jnp.asarray(self.start))
            except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
                raise TypeError(
                    f"{name} cannot be traced by JAX, as traced=True asks; accepted: a function of jax.numpy, or "
                    "traced=False"
                ) from None

    @float64
    def of(self, x: Any) -> Any:
        """f(x) by NumPy, whatever the user's function is written in. Raises: ValueError for another shape."""
        return self._shaped("value", self.value, x, ())

    @float64
    def slope(self, x: Any) -> Any:
        """The gradient at x by NumPy. Raises: ValueError for another shape."""
        return self._shaped("gradient", self.gradient, x, self.start.shape)

    def _shaped(self, name: str, function: Callable[[Any], Any], x: Any, shape: tuple[int, ...]) -> np.ndarray:
        found = np.asarray(function(jnp.asarray(x) if self.traced else x), np.float64)
        if found.shape != shape:
            raise ValueError(f"{name} returns the shape {found.shape}; accepted: {shape}")
        return found

    def least(self) -> tuple[float, np.ndarray | None]:
        """The least value, and a minimiser where one is known. Raises: ValueError where the search finds none."""
        if self.minimum is not None:
            known = np.asarray(self.minimum)
            return (float(known), None) if known.ndim == 0 else (float(self.of(known)), known)
        from scipy.optimize import minimize

        options: Any = {"maxiter": 1000, "ftol": 0.0, "gtol": 0.0}
        found = minimize(self.of, self.start, jac=self.slope, method="L-BFGS-B", options=options)
        first, last = (np.linalg.norm(self.slope(x)) for x in (self.start, found.x))
        if not (last <= 1e-6 * first and np.all(np.abs(found.x) < 1e100)):
            raise ValueError(
                f"minimum=None, and L-BFGS stopped at a gradient of {last:.2g} from {first:.2g} at the start; accepted:"
                " the least value, or a minimiser"
            )
        return float(found.fun), found.x


class Spectral(NamedTuple):
    """A problem of least squares around its minimiser, in the eigenbasis of H: the start there, and what is noisy.

    A stochastic gradient at e is H e + noise N(0, I), or that of one of the `rows` (n, d), a (a.e - residual), or of a
    fresh Gaussian row.
    """

    eigenvalues: Any
    start: Any
    noise: Any
    rows: Any = None
    residuals: Any = None
    fresh: Any = False
    basis: Any = None
    minimiser: Any = None

    def in_users_coordinates(self, e: np.ndarray) -> np.ndarray:
        """x = minimiser + basis e."""
        x = e if self.basis is None else e @ self.basis.T
        return x if self.minimiser is None else x + self.minimiser


def spectral(problem: Problem) -> Spectral:
    """The problem in the eigenbasis of its H."""
    zero = np.float64(0.0)
    if isinstance(problem, Quadratic):
        rest = {"basis": problem.basis, "minimiser": problem.minimiser}
        return Spectral(problem.eigenvalues, problem.start, problem.gradient_noise, **rest)
    if isinstance(problem, GaussianLeastSquares):
        return Spectral(problem.spectrum, problem.start, zero, fresh=True)
    assert isinstance(problem, LeastSquares)
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    start = np.zeros(X.shape[1]) if problem.start is None else np.asarray(problem.start)
    # all directions of the columns are needed, never all of the rows
    _, singular, transposed = np.linalg.svd(X, full_matrices=X.shape[0] < X.shape[1])
    values = np.zeros(X.shape[1])
    values[: len(singular)] = singular**2 / len(X)
    inside = np.zeros(X.shape[1], bool)  # as numpy.linalg.matrix_rank counts
    inside[: len(singular)] = singular > max(X.shape) * np.finfo(np.float64).eps * singular[0]
    rows, values = X @ transposed.T * inside, np.where(inside, values, 0.0)
    error = y - X @ start
    e = -np.where(inside, rows.T @ error / len(X) / np.where(inside, values, 1.0), 0.0)
    residuals = error + rows @ e
    consistent = np.max(np.abs(residuals)) <= SPAN * np.max(np.abs(y) + np.abs(X) @ np.abs(start))
    return Spectral(
        values, e, zero, rows, None if consistent else residuals, False, transposed.T, start - transposed.T @ e
    )


def row_space(problem: Any) -> bool:
    """Whether a problem shows one row a step."""
    return isinstance(problem, LeastSquares | GaussianLeastSquares)
