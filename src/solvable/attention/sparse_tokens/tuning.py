"""Hyper-parameters from the theory: the predicted test error, minimised by its own gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import minimize

from solvable.attention.sparse_tokens.features import Classifier
from solvable.attention.sparse_tokens.nodes import Quadrature
from solvable.attention.sparse_tokens.separability import accept
from solvable.attention.sparse_tokens.system import predict
from solvable.attention.sparse_tokens.task import SparseTokens
from solvable.attention.sparse_tokens.theories import OBSERVABLES
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.results import Result, SolveError, raise_unless_successful
from solvable.numerics.validation import choice, integer, number, on_the_host

# Search ranges; all but query_share are searched on a logarithmic scale.
RANGES = {
    "ridge": (1e-6, 1e2),
    "sharpness": (1e-2, 20.0),
    "query_share": (0.02, 0.98),
    "query_rate": (1e-3, 1e4),
    "head_rate": (1e-3, 1e3),
    "bias_rate": (1e-3, 1e3),
}
FAILED = 1.0
PATIENT = {"gtol": 1e-7, "ftol": 1e-11}  # far below the best ridge the error hardly changes, and is no minimum yet
ROUGH = Quadrature(points=2**11, scramblings=1)


def tune(task: SparseTokens, algorithm: Classifier, ratio: Any, over: Sequence[str] = ("ridge", "sharpness")) -> Any:
    """The algorithm with the hyper-parameters named in `over` set to the minimiser of the predicted test error.

    L-BFGS-B on the logarithms of the parameters (query_share: as it is), with the gradient of the theory through its
    fixed point; from the given values and from the middle of the ranges, the better end kept. A parameter that the
    algorithm does not have (sharpness of a linear baseline) is left out when others remain.

    Returns: an algorithm of the same class.
    Raises: ValueError for a ratio <= 0, or naming a parameter that cannot be tuned for this algorithm; SolveError when
    the theory is solved at none of the settings tried.
    """
    accept(task, algorithm)
    on_the_host("tune", task, algorithm, ratio)
    ratio = number("ratio", ratio, above=0.0)
    over = (over,) if isinstance(over, str) else over
    present = {field.name for field in dataclasses.fields(algorithm) if getattr(algorithm, field.name) is not None}
    unknown = [name for name in over if name not in RANGES]
    names = [name for name in over if name in present and name in RANGES]
    if unknown or not names:
        raise ValueError(
            f"over={tuple(over)!r} names nothing to tune for {type(algorithm).__name__}; accepted: "
            f"{', '.join(repr(name) for name in RANGES if name in present)}"
        )
    tuned = _Tuned(task, algorithm, ratio, tuple(names))
    low, high = np.array([tuned.internal(name, RANGES[name]) for name in names]).T
    given = [tuned.internal(name, float(getattr(algorithm, name)) or RANGES[name][0]) for name in names]
    starts = [np.clip(given, low, high), 0.5 * (low + high)]
    bounds = list(zip(low, high, strict=True))
    ends = [
        minimize(tuned.value_and_gradient, x, jac=True, method="L-BFGS-B", bounds=bounds, options=PATIENT)
        for x in starts
    ]
    best = min(ends, key=lambda end: end.fun)
    if best.fun >= FAILED:
        raise SolveError("tune found no setting at which the theory is solved; start from a larger ridge")
    return tuned.algorithm_at(best.x)


@float64
def marginal_error(
    task: SparseTokens, algorithm: Classifier, ratio: Any, dim: int, observable: str = "test_error"
) -> Float[Array, ""]:
    """What one more bag changes: d observable / d ratio over dim, with the bags of `predict` at ratio = bags / dim.

    The derivative goes through the solution of the equations by the implicit function; `observable` is a scalar of
    `SparseTokenOutcome`. Of an asymptotic prediction, so asymptotic and derived as that is.

    Raises: ValueError for a ratio <= 0, a dim < 1 or an unknown observable; SolveError when the equations are not
    solved.
    """
    accept(task, algorithm)
    ratio, dim = number("ratio", ratio, above=0.0), integer("dim", dim, at_least=1)
    choice("observable", observable, OBSERVABLES)
    slope, code = _slope(task, algorithm, as_float64(ratio), observable)
    raise_unless_successful(code, f"marginal_error({type(algorithm).__name__}, ratio={ratio})")
    return slope / dim


@eqx.filter_jit
def _slope(task: SparseTokens, algorithm: Any, ratio: Any, observable: str) -> Any:
    def value(ratio: Any) -> Any:
        outcome = predict(task, algorithm, ratio=ratio, throw=False)
        return getattr(outcome, observable), outcome.result

    return jax.grad(value, has_aux=True)(ratio)


class _Tuned:
    """The predicted error as a function of the tuned parameters, logarithms for all but shares."""

    def __init__(self, task: SparseTokens, algorithm: Classifier, ratio: Any, names: tuple[str, ...]) -> None:
        self.task, self.algorithm, self.ratio, self.names = task, algorithm, ratio, names

    @staticmethod
    def internal(name: str, value: Any) -> Any:
        return np.asarray(value) if name == "query_share" else np.log(value)

    def algorithm_at(self, x: np.ndarray) -> Any:
        values = [np.float64(x[i] if name == "query_share" else np.exp(x[i])) for i, name in enumerate(self.names)]
        return _with(self.algorithm, self.names, values)

    def value_and_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        with jax.enable_x64(True):
            ratio = as_float64(self.ratio)
            (value, code), by_x = _error(jnp.asarray(x), self.task, self.algorithm, ratio, self.names)
        # A point where the theory fails must not attract the search.
        if int(code) != Result.SUCCESSFUL or not (np.isfinite(value) and np.all(np.isfinite(by_x))):
            return FAILED, np.zeros_like(x)
        return float(value), np.asarray(by_x)


def _with(algorithm: Any, names: tuple[str, ...], values: Any) -> Any:
    return eqx.tree_at(lambda a: [getattr(a, name) for name in names], algorithm, values)


@eqx.filter_jit
def _error(x: Any, task: SparseTokens, algorithm: Any, ratio: Any, names: tuple[str, ...]) -> Any:
    """((test error, `Result` code), derivative by x); compiled once for all settings."""

    def error(x: Any) -> Any:
        values = [x[i] if name == "query_share" else jnp.exp(x[i]) for i, name in enumerate(names)]
        outcome = predict(task, _with(algorithm, names, values), ratio=ratio, quadrature=ROUGH, throw=False)
        return outcome.test_error, outcome.result

    return jax.value_and_grad(error, has_aux=True)(x)
