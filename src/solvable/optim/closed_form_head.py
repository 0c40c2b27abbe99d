"""The last linear layer of a model under the square loss, solved instead of trained (arXiv:2510.04606)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from solvable.numerics.results import is_traced
from solvable.numerics.validation import number, real_array

ROUNDING = 100.0  # of exactly dependent features up to 79 was measured, in float32, at 2e5 rows


class ClosedFormHead(NamedTuple):
    """The solved layer: `weights` (p,) or (p, m), constants to differentiation, and the scalar `loss` at them."""

    weights: Any
    loss: Any


def closed_form_head(
    features: Any, targets: Any, *, ridge: Any = 0.0, proximity: Any = 0.0, previous: Any = None
) -> ClosedFormHead:
    """W = argmin (1/2n) |features W - targets|^2 + (ridge/2) |W|^2 + (proximity/2) |W - previous|^2, and the loss at W.

    Arguments: features (n, p), the outputs of the layer before the last; targets (n,) or (n, m); ridge, proximity >= 0;
    previous, of the shape of W, (p,) or (p, m), which a positive proximity needs. No bias is added: append a column of
    ones to the features (its weight is then under the ridge too).

    loss = (1/2n) |features W - targets|^2 + (ridge/2) |W|^2, without the proximal term. W is a constant to
    differentiation, so that nothing ever differentiates the solve. At proximity 0 the gradient of the loss is none the
    less the full gradient of min_W loss, in features, targets and ridge (envelope theorem: the loss is stationary in
    W); at proximity > 0 it is the partial gradient at this W. Second derivatives are those at a constant W.

    Solved by a Cholesky factor of features' features / n + (ridge + proximity) I, or, for n < p, of the n x n matrix
    features features' / n + (ridge + proximity) I. Everything is computed and returned in the dtype of the features
    (half precision is computed in single). Works inside jit, vmap, grad and scan.

    Raises: ValueError for wrong shapes and settings, and where W is not unique: ridge = proximity = 0 with n < p or
    with features that depend linearly on each other, or a ridge below rounding. Traced values cannot raise: the weights
    and the loss are then NaN.
    Source: arXiv:2510.04606; the normalisation by n and the n x n form are ours.
    """
    features, targets = _real("features", features), _real("targets", targets)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features has shape {features.shape}; accepted: (n, p) with n, p >= 1")
    n, p = features.shape
    if targets.shape[:1] != (n,) or targets.ndim > 2 or targets.size == 0:
        raise ValueError(
            f"targets has shape {targets.shape}; accepted: ({n},) or ({n}, m), one row for each of features"
        )
    ridge, proximity, previous = _settings(ridge, proximity, previous, (p, *targets.shape[1:]))
    if n < p and not is_traced(ridge, proximity) and ridge == 0 and proximity == 0:
        raise ValueError(
            f"features has shape {features.shape}, so at ridge=0 and proximity=0 W is not unique; accepted: n >= p, "
            "ridge > 0, or proximity > 0 with previous"
        )
    head = _head(features, targets, ridge, proximity, previous)
    arrays = {"features": features, "targets": targets, "previous": previous}
    _raise_unless_unique(head.weights, "are linearly dependent", ridge, proximity, **arrays)
    return head


def closed_form_head_from_moments(
    gram: Any, moment: Any, *, ridge: Any = 0.0, proximity: Any = 0.0, previous: Any = None
) -> Any:
    """W = (gram + (ridge + proximity) I)^-1 (moment + proximity previous), of the shape of `moment`.

    The weights of `closed_form_head` from gram = features' features / n, (p, p), and moment = features' targets / n,
    (p,) or (p, m), or from their expectations: the layer of a population model, whose loss at W is
    E|targets|^2 / 2 - tr(W' moment) + tr(W' gram W) / 2 + (ridge/2) |W|^2 (differentiate that; W is a constant).
    The gram is symmetric and positive semi-definite. Dtypes, NaN and the other arguments as in `closed_form_head`.

    Raises: ValueError for wrong shapes and settings, and for a singular or indefinite gram + (ridge + proximity) I.
    Source: arXiv:2510.04606; the normalisation is ours.
    """
    gram, moment = _real("gram", gram), _real("moment", moment)
    p = gram.shape[0] if gram.ndim else 0
    if gram.shape != (p, p) or p == 0:
        raise ValueError(f"gram has shape {gram.shape}; accepted: (p, p) with p >= 1")
    if moment.shape[:1] != (p,) or moment.ndim > 2 or moment.size == 0:
        raise ValueError(f"moment has shape {moment.shape}; accepted: ({p},) or ({p}, m), one row for each of gram")
    ridge, proximity, previous = _settings(ridge, proximity, previous, moment.shape)
    weights = _weights_from_moments(gram, moment, ridge, proximity, previous)
    arrays = {"gram": gram, "moment": moment, "previous": previous}
    _raise_unless_unique(weights, "is singular or indefinite", ridge, proximity, **arrays)
    return weights


@jax.jit
def _head(features: Array, targets: Array, ridge: Any, proximity: Any, previous: Array | None) -> ClosedFormHead:
    dtype = features.dtype
    wide = _wide(dtype)
    features, goal = features.astype(wide), _columns(targets).astype(wide)
    constants = jax.lax.stop_gradient((features, goal, *_shift_and_centre(ridge, proximity, previous, wide)))
    weights = _solved(*constants)
    residual = _product(features, weights) - goal
    penalty = 0.5 * jnp.asarray(ridge, wide) * jnp.sum(weights**2)
    loss = 0.5 * jnp.sum(residual**2) / goal.shape[0] + penalty
    return ClosedFormHead(weights.reshape(-1, *targets.shape[1:]).astype(dtype), loss.astype(dtype))


@jax.jit
def _weights_from_moments(gram: Array, moment: Array, ridge: Any, proximity: Any, previous: Array | None) -> Array:
    wide = _wide(gram.dtype)
    constants = gram.astype(wide), _columns(moment).astype(wide), *_shift_and_centre(ridge, proximity, previous, wide)
    weights = _primal(*jax.lax.stop_gradient(constants))
    return weights.reshape(moment.shape).astype(gram.dtype)


def _solved(features: Array, targets: Array, shift: Array, centre: Array | None) -> Array:
    """argmin (1/2n) |features W - targets|^2 + (shift/2) |W - centre|^2, by the smaller of the two systems."""
    n, p = features.shape
    if n >= p:
        return _primal(_product(features.T, features) / n, _product(features.T, targets) / n, shift, centre)
    residual = targets if centre is None else targets - _product(features, centre)
    # without a shift there is an interpolating W for every choice outside of the span of the features
    solved = _cholesky_solve(_product(features, features.T) / n, residual / n, shift)
    weights = jnp.where(shift > 0, _product(features.T, solved), jnp.nan)
    return weights if centre is None else centre + weights


def _primal(gram: Array, moment: Array, shift: Array, centre: Array | None) -> Array:
    """centre + (gram + shift I)^-1 (moment - gram centre): a large shift returns the centre to the last bit."""
    if centre is None:
        return _cholesky_solve(gram, moment, shift)
    return centre + _cholesky_solve(gram, moment - _product(gram, centre), shift)


def _cholesky_solve(gram: Float[Array, "k k"], right: Float[Array, "k m"], shift: Array) -> Float[Array, "k m"]:
    """(gram + shift I)^-1 right; NaN where that matrix is not positive definite, without a shift to rounding."""
    factor = jnp.linalg.cholesky(gram + shift * jnp.eye(gram.shape[0], dtype=gram.dtype))
    exists = jnp.all(jnp.isfinite(factor))
    sound = jax.lax.cond(shift > 0, lambda: exists, lambda: _reciprocal_condition(gram, factor) > ROUNDING)
    return jnp.where(sound, jax.scipy.linalg.cho_solve((factor, True), right), jnp.nan)


def _reciprocal_condition(gram: Float[Array, "k k"], factor: Float[Array, "k k"]) -> Array:
    """The smallest eigenvalue of the gram of features of norm 1 over its Frobenius norm, in units of rounding.

    Dependent features leave rounding there instead of 0, and often a Cholesky factor. Three steps of inverse iteration
    find an eigenvalue that stands alone, from above; to scale the features first changes nothing for the solve.
    """
    scales = jnp.sqrt(jnp.diagonal(gram))[:, None]
    vector = jnp.cos(jnp.arange(gram.shape[0], dtype=gram.dtype))
    for _ in range(3):
        vector = jax.scipy.linalg.cho_solve((factor / scales, True), vector / jnp.linalg.norm(vector))
    return 1 / (jnp.linalg.norm(vector) * jnp.linalg.norm(gram / scales / scales.T) * jnp.finfo(gram.dtype).eps)


def _shift_and_centre(ridge: Any, proximity: Any, previous: Array | None, dtype: Any) -> tuple[Array, Array | None]:
    """The two penalties as one, (shift/2) |W - centre|^2 up to a constant."""
    ridge, proximity = jnp.asarray(ridge, dtype), jnp.asarray(proximity, dtype)
    shift = ridge + proximity
    if previous is None:
        return shift, None
    share = proximity / jnp.where(shift > 0, shift, jnp.ones_like(shift))
    return shift, share * _columns(previous).astype(dtype)


def _product(a: Array, b: Array) -> Array:
    """a @ b with all its digits: an accelerator's default drops half of them, and a Cholesky factor needs them."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _columns(array: Array) -> Array:
    return array[:, None] if array.ndim == 1 else array


def _wide(dtype: Any) -> Any:
    """The dtype to compute in."""
    return jnp.float32 if dtype.itemsize < 4 else dtype


def _real(name: str, value: Any) -> Array:
    array = jnp.asarray(real_array(name, value))
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _settings(ridge: Any, proximity: Any, previous: Any, shape: tuple[int, ...]) -> tuple[Any, Any, Array | None]:
    """(ridge, proximity, previous) after checking them."""
    ridge, proximity = number("ridge", ridge, at_least=0.0), number("proximity", proximity, at_least=0.0)
    if previous is None:
        if is_traced(proximity) or proximity > 0:
            raise ValueError("previous=None was given with a proximity; accepted: the weights to stay near to")
        return ridge, proximity, None
    previous = _real("previous", previous)
    if previous.shape != shape:
        raise ValueError(f"previous has shape {previous.shape}; accepted: that of the weights, {shape}")
    return ridge, proximity, previous


def _raise_unless_unique(weights: Array, fault: str, ridge: Any, proximity: Any, **arrays: Array | None) -> None:
    """The answer to weights that are not finite; the first of the arrays is the features or the gram."""
    given = {name: array for name, array in arrays.items() if array is not None}
    if is_traced(weights, given, ridge, proximity) or bool(np.all(np.isfinite(weights))):
        return
    for name, array in given.items():
        if not bool(np.all(np.isfinite(array))):
            raise ValueError(f"{name} holds values that are not finite; accepted: finite numbers")
    name, matrix = next(iter(given.items()))
    raise ValueError(
        f"{name} of shape {matrix.shape} and dtype {matrix.dtype} {fault} to rounding at ridge={float(ridge):g} and "
        f"proximity={float(proximity):g}, so W is not unique; accepted: a larger ridge, or a proximity with previous"
    )
