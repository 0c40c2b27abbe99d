"""The layer: one softmax self-attention with merged weights, its loss on a sequence, its outputs on fresh contexts."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solvable.attention.self_attention.streaming import attended, concentration, streamed_loss
from solvable.lab.declare import Checked, converted, float64
from solvable.numerics.validation import floating


class Parameters(Checked):
    """The merged weights of a layer: `value` A (m, d), value times output, and `score` B (d, d), W_Q^T W_K.

    The score of token j for query i is x_i^T B x_j, without a factor 1/sqrt(d).
    Raises: ValueError for shapes that disagree or values that are not finite.
    """

    value: Any = converted(partial(floating, "value"))
    score: Any = converted(partial(floating, "score"))

    def __check_init__(self) -> None:
        shape = self.value.shape
        if len(shape) < 2 or 0 in shape:
            raise ValueError(f"value has shape {shape}; accepted: (m, d) with m, d >= 1")
        if self.score.shape != (*shape[:-2], shape[-1], shape[-1]):
            accepted = f"({shape[-1]}, {shape[-1]}), the d of value"
            raise ValueError(f"score has shape {self.score.shape}; accepted: {accepted}")


def loss(params: Parameters, tokens: Any, targets: Any) -> Any:
    """L_n(A, B) = (1/2n) |Yhat - Y|^2 with Yhat = P X A^T, P the row softmax of X B X^T (arXiv:2603.01514).

    Arguments: tokens X (n, d), queries and context at once; targets Y (n, m). Computed in the dtype of the parameters,
    to which tokens and targets are cast: float64 ones give a float64 number whatever JAX's settings, float32 ones stay
    float32 (and a float64 array that `jax.grad` traces without double precision is float32 already).

    Memory O(n): the rows are attended in blocks. Under `jax.grad` (of parameters, tokens or targets) the same single
    pass gives the gradient. Works inside jit and vmap; reverse mode only (`jax.jvp` is refused by JAX).

    Raises: ValueError for shapes that disagree or values that are not finite.
    """
    arrays = _arrays(params, tokens=tokens)
    accepted = (len(arrays[2]), params.value.shape[0])
    if (targets := floating("targets", targets)).shape != accepted:
        raise ValueError(f"targets has shape {targets.shape}; accepted: {accepted}, one row a token and the m of value")
    return _in_own_dtype(_LOSS, *arrays, targets)


def attend(params: Parameters, queries: Any, context: Any) -> Any:
    """softmax(Q B X^T) X A^T: the layer's answers (q, m) to queries Q (q, d) from a context X (n, d).

    As n grows they tend to A Sigma B^T x for Gaussian tokens. Dtype, memory and what is raised as for `loss`.
    """
    return _in_own_dtype(_ATTEND, *_arrays(params, queries=queries, context=context))


def effective_tokens(params: Parameters, queries: Any, context: Any) -> Any:
    """1 / sum_j P_ij^2 for every query (q,): how many tokens of the context share its attention, between 1 and n.

    Where it is small the answer is an average of few tokens, whatever n. Dtype and what is raised as for `loss`.
    """
    return _in_own_dtype(_EFFECTIVE, *_arrays(params, queries=queries, context=context))


_LOSS = jax.jit(streamed_loss)
_ATTEND = jax.jit(lambda value, score, queries, context: attended(score, queries, context) @ value.T)
_EFFECTIVE = jax.jit(lambda value, score, queries, context: 1.0 / concentration(score, queries, context))


def _arrays(params: Any, **named: Any) -> tuple[Any, ...]:
    """The two matrices and the arrays named, checked."""
    if not isinstance(params, Parameters) or np.ndim(params.value) != 2:
        raise TypeError("params is not one layer; accepted: a Parameters of value (m, d) and score (d, d)")
    dim = params.value.shape[1]
    for name, given in named.items():
        named[name] = array = floating(name, given)
        if array.ndim != 2 or array.shape[1] != dim or 0 in array.shape:
            raise ValueError(f"{name} has shape {array.shape}; accepted: (n, {dim}), the d of the parameters")
    return (params.value, params.score, *named.values())


def _in_own_dtype(function: Any, value: Any, score: Any, *arrays: Any) -> Any:
    """Call with all arrays in the dtype of the parameters, with JAX's double precision on where that is float64."""
    if max(np.dtype(each.dtype).itemsize for each in (value, score)) == 8:
        return _double(function, value, score, *arrays)
    # half precision is computed in single
    return function(*(jnp.asarray(each).astype(jnp.float32) for each in (value, score, *arrays)))


@float64
def _double(function: Any, *arrays: Any) -> Any:
    return function(*(jnp.asarray(each).astype(jnp.float64) for each in arrays))
