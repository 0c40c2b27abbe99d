"""Mirror descent with the potential (1/p) sum |w|^p as an optax transformation (l_p-MD of arXiv:2410.14581)."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from solvable.numerics.results import is_traced
from solvable.numerics.validation import number, truth
from solvable.optim.mirror_map import inverse_mirror_map, mirror_exponent, mirror_map, power


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Exponent:
    """p as a part of the state that is no array: jit compiles for it, and `resync` finds it there."""

    value: float


class MirrorDescentState(NamedTuple):
    """What mirror descent remembers: the steps taken, the dual variables u = sign(w)|w|^(p-1), and p.

    `count` is an int32. `dual` has the tree, shapes and dtypes of the parameters. At p = 2 the dual variables are the
    parameters, and `dual` is None.
    """

    count: Any  # pyright: ignore[reportIncompatibleMethodOverride]
    dual: Any
    p: Exponent


def mirror_descent(learning_rate: Any, p: Any, normalize: bool = False) -> optax.GradientTransformationExtraArgs:
    """w <- sign(u)|u|^(1/(p-1)) after u <- u - learning_rate g, with u = sign(w)|w|^(p-1) kept in the state.

    g is the gradient or, with `normalize`, each leaf's gradient over its own q-norm, q = p/(p-1) (a leaf whose gradient
    is 0, or below the smallest normal number, does not move). p = 2 is `optax.sgd`, to the last bit. `learning_rate` is
    a number or an optax schedule.

    `update(gradients, state, params)` returns new - old for `optax.apply_updates`. It uses the learning rate up itself,
    so in `optax.chain` it must be the last link. An entry whose gradient is 0 gets the update 0, a leaf whose gradient
    is None the update None. Updates have the dtypes of the parameters, at p = 2 those of the gradients. Whoever changes
    parameters by other means (clipping, averages) calls `resync` afterwards.

    Raises: ValueError unless p is a finite number above 1 that is known before compilation, for a learning rate that is
    negative or not finite, from `init` for a leaf that is not real floating point, and from `update` without `params`.
    Source: arXiv:2410.14581; the dual state is ours, because adding new - old to old loses small weights.
    """
    if is_traced(p):
        raise ValueError(
            f"p={p!r} is traced; accepted: a finite number > 1 known before compilation "
            "(optax.inject_hyperparams takes it in static_args)"
        )
    p, normalize = float(number("p", p, above=1.0)), truth("normalize", normalize)
    if not callable(learning_rate):
        number("learning_rate", learning_rate, at_least=0.0)

    def init(params: optax.Params) -> Any:
        return MirrorDescentState(jnp.zeros((), jnp.int32), _dual(params, p), Exponent(p))

    def update(updates: optax.Updates, state: Any, params: optax.Params | None = None, **unused: Any) -> Any:
        del unused
        if params is None:
            raise ValueError("params=None was given to update; accepted: the parameters, as what returns is new - old")
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        directions = jax.tree.map(lambda g: normalized(jnp.asarray(g), p) if normalize else jnp.asarray(g), updates)
        steps = jax.tree.map(lambda g: -jnp.asarray(rate, g.dtype) * g, directions)
        count = optax.safe_increment(state.count)
        if state.dual is None:
            return steps, MirrorDescentState(count, None, state.p)
        absent = {"is_leaf": lambda node: node is None}
        dual = jax.tree.map(lambda s, u: u if s is None else u + s.astype(u.dtype), steps, state.dual, **absent)
        # new - old is not exactly 0 where nothing moves: the maps' rounding would wander into weights at rest
        moves = jax.tree.map(
            lambda s, u, w: s if s is None else jnp.where(s == 0, jnp.zeros_like(u), inverse_mirror_map(u, p) - w),
            *(steps, dual, params),
            **absent,
        )
        return moves, MirrorDescentState(count, dual, state.p)

    return optax.GradientTransformationExtraArgs(init, update)


def resync(state: Any, params: optax.Params) -> Any:
    """`state` with its dual variables computed anew from `params`, after these were changed by other means.

    `state` is that of `mirror_descent` or of any optax transformation that holds it (chain, masked, partition,
    inject_hyperparams). The step count stays. `params` is the whole tree of parameters.

    Raises: ValueError if `state` holds no state of mirror descent, or if a leaf of the dual variables has no parameter
    of its path or shape.
    """
    if not any(map(_is_ours, jax.tree.leaves(state, is_leaf=_is_ours))):
        raise ValueError(
            f"state={type(state).__name__} holds no MirrorDescentState; accepted: the state of mirror_descent or of a "
            "transformation around it, before the parameters"
        )
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def anew(path: Any, old: Array, p: float) -> Array:
        name = jax.tree_util.keystr(path)
        if name not in leaves or jnp.shape(leaves[name]) != old.shape:
            raise ValueError(f"params has no leaf {name} of shape {old.shape}; accepted: the parameters of this state")
        return mirror_map(leaves[name], p)

    def rebuilt(node: Any) -> Any:
        if not _is_ours(node):
            return node
        return node._replace(dual=jax.tree_util.tree_map_with_path(lambda k, u: anew(k, u, node.p.value), node.dual))

    return jax.tree.map(rebuilt, state, is_leaf=_is_ours)


def normalized(gradient: Float[Array, "..."], p: float) -> Float[Array, "..."]:
    """gradient / ||gradient||_q with q = p/(p-1), the dual norm of the p-norm; a gradient of 0 stays 0.

    Scaled by the largest entry first, so that no power overflows or loses the norm to underflow.
    """
    if gradient.size == 0:
        return gradient
    wide = gradient.astype(jnp.float32) if gradient.dtype.itemsize < 4 else gradient
    tiny, largest = jnp.finfo(wide.dtype).tiny, jnp.max(jnp.abs(wide))
    # XLA on a CPU takes numbers below tiny for 0. Hence a gradient below tiny becomes 0 everywhere, and no factor is
    # below tiny: entries above 1 / tiny are scaled to at most 4, and inverse / norm is applied by its roots
    inverse = 1 / jnp.where(largest < tiny, jnp.full_like(largest, jnp.inf), jnp.minimum(largest, 1 / tiny))
    root, q = jnp.sqrt(inverse), 1 + 1 / mirror_exponent(p)
    norm = power(jnp.sum(power(jnp.abs(wide * inverse), q)), 1 / q)
    # the norm of what is scaled is at least 1, but for a gradient of 0
    return (wide * root * (root / jnp.maximum(norm, jnp.ones_like(norm)))).astype(gradient.dtype)


def _is_ours(node: Any) -> bool:
    return isinstance(node, MirrorDescentState)


def _dual(params: optax.Params, p: float) -> Any:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
            raise ValueError(
                f"params{jax.tree_util.keystr(path)} has dtype {jnp.asarray(leaf).dtype}; accepted: real floating point"
            )
    return None if p == 2 else jax.tree.map(lambda w: mirror_map(w, p), params)
