"""A check on the host that the numbers of a training step are finite: inside jit nothing can be raised."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solvable.numerics.results import is_traced


def raise_if_nonfinite(tree: Any, step: int | None = None) -> None:
    """Raise unless every entry of every floating leaf of `tree` (updates, parameters, a model, a loss) is finite.

    It waits for the values, so call it outside of jit. What is not finite stays so, hence a call every few hundred
    steps catches it too, only later. Nothing else is done: `tree` is unchanged.

    Raises: FloatingPointError naming the first such leaf and what to do; ValueError inside a JAX transformation.
    Source: for p near 1, or a large learning rate, mirror descent (arXiv:2410.14581) overflows.
    """
    if is_traced(tree):
        raise ValueError("raise_if_nonfinite was given traced values; accepted: values, so call it outside of jit")
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        # a model's leaves may also be functions, names and whole numbers
        number = isinstance(leaf, jax.Array | np.ndarray | np.generic | float | complex)
        if not number or not jnp.issubdtype(getattr(leaf, "dtype", float), jnp.inexact):
            continue
        leaf = jnp.asarray(leaf)
        if bool(jnp.all(jnp.isfinite(leaf))):
            continue
        wrong = int(jnp.sum(~jnp.isfinite(leaf)))
        name = jax.tree_util.keystr(path)
        raise FloatingPointError(
            f"{f'the leaf {name}' if name else 'the array'} has {wrong} of {leaf.size} values that are not finite"
            f"{'' if step is None else f' at step {step}'}; accepted: finite values, so take a smaller learning rate "
            f"or a p further from 1"
        )
