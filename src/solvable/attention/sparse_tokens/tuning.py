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
    low, high = np.array([_searched(name, RANGES[name]) for name in names]).T
    given = [_searched(name, float(getattr(algorithm, name)) or RANGES[name][0]) for name in names]
    starts = [np.clip(given, low, high), 0.5 * (low + high)]
    bounds = list(zip(low, high, strict=True))

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        with jax.enable_x64(True):
            (value, code), by_x = _error(jnp.asarray(x), task, algorithm, as_float64(ratio), tuple(names))
        # A point where the theory fails must not attract the search.
        if int(code) != Result.SUCCESSFUL or not (np.isfinite(value) and np.all(np.isfinite(by_x))):
            return FAILED, np.zeros_like(x)
        return float(value), np.asarray(by_x)

    ends = [
        minimize(value_and_gradient, x, jac=True, method="L-BFGS-B", bounds=bounds, options=PATIENT) for x in starts
    ]
    best = min(ends, key=lambda end: end.fun)
    if best.fun >= FAILED:
        raise SolveError("tune found no setting at which the theory is solved; start from a larger ridge")
    return _at(algorithm, names, [np.float64(value) for value in _values(names, best.x, np)])


@float64
def marginal_error(
    task: SparseTokens, algorithm: Classifier, ratio: Any, dim: int, observable: str = "test_error"
) -> Float[Array, ""]:
    """What one more bag changes: d observable / d ratio over dim, with the bags of `predict` at ratio = bags / dim.

    The derivative goes through the solution of the equations by the implicit function; `observable` is one of those of
    `predict`. Of an asymptotic prediction, so asymptotic and derived as that is.

    Raises: ValueError for a ratio <= 0, a dim < 1 or an unknown observable; SolveError when the equations are not
    solved.
    """
    accept(task, algorithm)
    ratio, dim = number("ratio", ratio, above=0.0), integer("dim", dim, at_least=1)
    choice("observable", observable, tuple(one.name for one in OBSERVABLES))
    slope, code = _slope(task, algorithm, as_float64(ratio), observable)
    raise_unless_successful(code, f"marginal_error({type(algorithm).__name__}, ratio={ratio})")
    return slope / dim


@eqx.filter_jit
def _slope(task: SparseTokens, algorithm: Any, ratio: Any, observable: str) -> Any:
    def value(ratio: Any) -> Any:
        outcome = predict(task, algorithm, ratio=ratio, throw=False)
        return getattr(outcome, observable), outcome.result

    return jax.grad(value, has_aux=True)(ratio)


def _searched(name: str, value: Any) -> Any:
    """What is searched in place of a parameter: its logarithm, for all but shares."""
    return np.asarray(value) if name == "query_share" else np.log(value)


def _values(names: Sequence[str], x: Any, space: Any) -> list[Any]:
    return [x[i] if name == "query_share" else space.exp(x[i]) for i, name in enumerate(names)]


def _at(algorithm: Any, names: Sequence[str], values: Any) -> Any:
    return eqx.tree_at(lambda a: [getattr(a, name) for name in names], algorithm, values)


@eqx.filter_jit
def _error(x: Any, task: SparseTokens, algorithm: Any, ratio: Any, names: tuple[str, ...]) -> Any:
    """((test error, `Result` code), derivative by x); compiled once for all settings."""

    def error(x: Any) -> Any:
        tuned = _at(algorithm, names, _values(names, x, jnp))
        outcome = predict(task, tuned, ratio=ratio, quadrature=ROUGH, throw=False)
        return outcome.test_error, outcome.result

    return jax.value_and_grad(error, has_aux=True)(x)
