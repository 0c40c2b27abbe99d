"""The target: a piecewise constant function on [0, 1], seen with noise at uniform points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solvable.lab.declare import Checked, array, instance, real
from solvable.numerics.results import is_traced
from solvable.numerics.validation import floating, number

JUMPS = (1e-100, 1e100)  # between which absolute values have squares
LARGEST_BIAS = 1e6  # in jumps: digits are lost beyond
LEAST_WIDTH = 1e-12  # positions in [0, 1] are not told apart much better


class PiecewiseConstant(Checked):
    """f*(x) = bias + sum_k jumps_k 1{x >= positions_k}, y = f*(x) + noise U[-1, 1] with x ~ U[0, 1].

    jumps (n,) none of which is 0, positions (n,) increasing inside (0, 1). The defaults are those of the authors' code
    (arXiv:2304.09576): values 1, 5, 1, 3, 1, 5. A target is the task that always draws itself; a law of targets is a
    subclass whose `sample` returns targets of as many jumps.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    jumps: Any = array("n", default=(4.0, -4.0, 2.0, -2.0, 4.0), dtype=np.float64)
    positions: Any = array("n", default=(0.2, 0.35, 0.5, 0.65, 0.8), dtype=np.float64)
    bias: Any = real(1.0)
    noise: Any = real(1.0, at_least=0.0)

    def __check_init__(self) -> None:
        if is_traced(self.jumps, self.positions):
            return
        size = np.abs(self.jumps)
        wrong = (size < JUMPS[0]) | (size > JUMPS[1])
        if wrong.any():
            raise ValueError(
                f"jumps holds {self.jumps[wrong][0]:g}; accepted: absolute values from {JUMPS[0]:g} to {JUMPS[1]:g}"
            )
        if abs(self.bias) > LARGEST_BIAS * size.max():
            raise ValueError(
                f"bias={float(self.bias):g} is too large beside the jumps; accepted: up to {LARGEST_BIAS:g} times the "
                "largest"
            )
        if np.any(np.diff(self.positions) <= 0.0) or self.positions[0] <= 0.0 or self.positions[-1] >= 1.0:
            raise ValueError(f"positions={self.positions.tolist()} are not accepted; accepted: increasing, in (0, 1)")

    def sample(self, key: jax.Array | None = None) -> Any:
        """Itself."""
        return self

    @property
    def values(self) -> np.ndarray:
        """The values of f* on its pieces (n + 1,)."""
        return self.bias + np.concatenate([[0.0], np.cumsum(self.jumps)])

    @property
    def lengths(self) -> np.ndarray:
        """The lengths of the pieces (n + 1,)."""
        return np.diff(self.positions, prepend=0.0, append=1.0)

    def of(self, x: Any) -> Any:
        """f*(x), elementwise."""
        space = jnp if is_traced(x, self.jumps, self.positions, self.bias) else np
        x = space.asarray(x)
        jumps, positions = (one.reshape((1,) * x.ndim + (-1,)) for one in (self.jumps, self.positions))
        return self.bias + space.where(x[..., None] >= positions, jumps, 0.0).sum(-1)


def targeted(task: Any) -> PiecewiseConstant:
    """`task` if it is a target. Raises: TypeError for anything else."""
    return instance("task", task, (PiecewiseConstant,))


def fitting_width(task: PiecewiseConstant, width: Any) -> Any:
    """`width` if it is above 0 and no wider than the smallest piece. Raises: ValueError for another."""
    width, least = number("width", width, at_least=LEAST_WIDTH), task.lengths.min()
    if not is_traced(width) and width > least:
        raise ValueError(
            f"width={float(width):g} is wider than the smallest piece of the target, so that the floor width/28 sum "
            f"jump^2 is void; accepted: widths up to {least:g}"
        )
    return width


def inside(positions: Any, name: str = "positions") -> np.ndarray:
    """Positions (m,) of neurons, all in [0, 1]. Raises: ValueError for others."""
    found = floating(name, positions, np.float64)
    if found.ndim != 1 or found.size == 0:
        raise ValueError(f"{name} has shape {found.shape}; accepted: (neurons,), one neuron or more")
    outside = (found < 0.0) | (found > 1.0)
    if outside.any():
        raise ValueError(f"{name} holds {found[outside][0]:g}; accepted: positions in [0, 1]")
    return found


def stacked(tasks: Sequence[PiecewiseConstant]) -> PiecewiseConstant:
    """Targets with a leading axis on every field."""
    bare = [PiecewiseConstant(one.jumps, one.positions, one.bias, one.noise) for one in tasks]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *bare)
