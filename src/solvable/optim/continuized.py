"""Accelerated gradient steps at random times as an optax transformation (continuized, arXiv:2106.07644)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from solvable.numerics.random import a_key
from solvable.numerics.results import is_traced
from solvable.numerics.validation import integer, number


class ContinuizedState(NamedTuple):
    """The gradients taken; the time T_(k+1) at which the next is taken, the wait for it, its mixing; the tree z_k."""

    count: Any  # pyright: ignore[reportIncompatibleMethodOverride]
    time: Any
    wait: Any
    mix: Any
    z: Any


def waiting_time(key: Any, event: Any, dtype: Any) -> Any:
    """The waiting time before event number `event` (0, 1, ...) of a Poisson process of rate 1, by the key alone."""
    return jax.random.exponential(jax.random.fold_in(key, event), dtype=dtype)


def continuized(learning_rate: Any, strong_convexity: Any = 0.0, key: Any = 0) -> optax.GradientTransformationExtraArgs:
    """Accelerated gradients whose steps come at random times T_k, those of a Poisson process of rate 1.

    The parameters are the points y_k at which gradients g are taken; `continuized_params(state, params)` gives x_k:

        x_(k+1) = y_k - h g,   z_(k+1) = z_k + tanh(eta S) (y_k - z_k) - r g
        y_(k+1) = x_(k+1) + m (z_(k+1) - x_(k+1))

    with h = `learning_rate`, 1/L for an L-smooth loss. For strong_convexity mu = 0: eta = 0, r = h T_(k+1)/2 and
    m = 1 - (T_(k+1)/T_(k+2))^2. For mu > 0: eta = sqrt(mu h), r = sqrt(h/mu) and m = (1 - exp(-2 eta S'))/2; S and S'
    are the waiting times before T_(k+1) and T_(k+2), drawn by `key` (a seed, or a key of JAX) and the number of the
    event alone. A number or an optax schedule is taken for the learning rate. Leaves keep their dtypes.

    `update(gradients, state, params)` returns new - old for `optax.apply_updates` and uses the learning rate up, so in
    `optax.chain` it must be the last link.

    Raises: ValueError for numbers that are out of range, mu above 1/h among them, from `init` for a leaf that is not
    real floating point, and from `update` without `params`; TypeError for what is no key.
    Source: arXiv:2106.07644 (the discretisation is derived).
    """
    number("strong_convexity", strong_convexity, at_least=0.0)
    if not callable(learning_rate):
        rate = number("learning_rate", learning_rate, above=0.0)
        if not is_traced(rate, strong_convexity) and float(strong_convexity) * float(rate) > 1.0 + 1e-6:
            raise ValueError(
                f"strong_convexity={float(strong_convexity):g} is above 1/learning_rate={1.0 / float(rate):g}; "
                "accepted: at most that"
            )
    key = _seed_or_key(key)

    def wait(event: Any) -> Any:
        seed = not jnp.issubdtype(jnp.result_type(key), jax.dtypes.prng_key) and np.ndim(key) == 0
        return waiting_time(jax.random.key(key) if seed else key, event, jnp.result_type(float))

    def init(params: optax.Params) -> Any:
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
                name, kind = jax.tree_util.keystr(path), jnp.asarray(leaf).dtype
                raise ValueError(f"params{name} has dtype {kind}; accepted: real floating point")
        first = wait(0)
        z = jax.tree.map(jnp.array, params)  # copies: a step may donate all of them
        return ContinuizedState(jnp.zeros((), jnp.int32), first, jnp.array(first), jnp.zeros_like(first), z)

    def update(updates: optax.Updates, state: Any, params: optax.Params | None = None, **unused: Any) -> Any:
        del unused
        if params is None:
            raise ValueError("params=None was given to update; accepted: the parameters, as what returns is new - old")
        dtype = state.time.dtype
        h = jnp.asarray(learning_rate(state.count) if callable(learning_rate) else learning_rate, dtype)
        mu, following = jnp.asarray(strong_convexity, dtype), wait(state.count + 1)
        strong, eta = mu > 0, jnp.sqrt(mu * h)
        kick = jnp.where(strong, jnp.sqrt(h / jnp.where(strong, mu, jnp.ones_like(mu))), 0.5 * h * state.time)
        back, now = jnp.tanh(eta * state.wait), state.time + following
        # 1 - (T/T')^2 = -expm1(2 log1p(-S'/T'))
        mix = jnp.where(strong, -0.5 * jnp.expm1(-2.0 * eta * following), -jnp.expm1(2.0 * jnp.log1p(-following / now)))

        def one(g: Any, y: Any, z: Any) -> Any:
            kept = jnp.asarray(y).dtype
            wide = jnp.float32 if kept.itemsize < 4 else kept
            c = [value.astype(wide) for value in (h, back, kick, mix)]
            slope, here, last = (jnp.asarray(leaf).astype(wide) for leaf in (g, y, z))
            x = here - c[0] * slope
            # the barrier has z written once, in place, before y reads it
            z_next = jax.lax.optimization_barrier(last + c[1] * (here - last) - c[2] * slope)
            move = x + c[3] * (z_next - x) - here
            return move.astype(kept), z_next.astype(kept)

        both = jax.tree.map(one, updates, params, state.z)
        moves, z = jax.tree.transpose(jax.tree.structure(updates), jax.tree.structure((0, 0)), both)
        return moves, ContinuizedState(optax.safe_increment(state.count), now, following, mix, z)

    return optax.GradientTransformationExtraArgs(init, update)


def continuized_params(state: Any, params: optax.Params) -> Any:
    """x_k = (y_k - m z_k)/(1 - m), at which to evaluate; `params` are y_k.

    The state is that of `continuized` or of any optax transformation that holds it; a leaf that is not in it is
    returned as it is. In the first few convex steps m may be near 1, where digits of x are lost.

    Raises: ValueError for a state without ours.
    """
    found = [one for one in jax.tree.leaves(state, is_leaf=_is_ours) if _is_ours(one)]
    if len(found) != 1:
        raise ValueError(
            f"state={type(state).__name__} holds {len(found)} ContinuizedState; accepted: the state of continuized, or "
            "of a transformation around one"
        )
    here = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(found[0].z)}

    def x(path: Any, y: Any) -> Any:
        z = here.get(jax.tree_util.keystr(path))
        if z is None:
            return y
        wide = jnp.float32 if z.dtype.itemsize < 4 else z.dtype
        m = found[0].mix.astype(wide)
        return ((jnp.asarray(y).astype(wide) - m * z.astype(wide)) / (1.0 - m)).astype(z.dtype)

    return jax.tree_util.tree_map_with_path(x, params)


def _seed_or_key(key: Any) -> Any:
    if is_traced(key):
        return key
    if np.ndim(key) or jnp.issubdtype(getattr(key, "dtype", int), jax.dtypes.prng_key):
        return a_key(key)
    return integer("key", key.item() if isinstance(key, jax.Array) else key, at_least=0)


def _is_ours(node: Any) -> bool:
    return isinstance(node, ContinuizedState)
