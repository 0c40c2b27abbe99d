"""A target and an activation as the equations see them: coefficients and correlation functions, and the risk."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from solvable.lab.declare import float64, instance
from solvable.networks.single_index.task import SingleIndex, activation_field
from solvable.numerics.hermite import Correlation, correlation, expansion
from solvable.numerics.results import is_traced
from solvable.numerics.validation import floating

DEGREE = 40  # up to which functions are expanded


class Model(NamedTuple):
    """phi_k and sigma_k (K + 1,), V(s) = E phi sigma and U(r) = E sigma sigma, E phi^2, the degrees observed.

    `rest` is the mean square of the target beyond degree K, `lost` that of its part which the activation lacks there.
    """

    target: np.ndarray
    activation: np.ndarray
    cross: Correlation
    own: Correlation
    square: float
    degrees: int
    rest: float
    lost: float

    @property
    def watched(self) -> tuple[int, ...]:
        """The degrees that can be learnt: phi_k and sigma_k are not 0."""
        both = (self.target != 0.0) & (self.activation != 0.0)
        return tuple(int(k) for k in np.flatnonzero(both[: self.degrees]))


def model(target: Any, activation: Any) -> Model:
    """The equations' view of a target and an activation, each coefficients, a name or a function."""
    first, second = expansion(target, DEGREE), expansion(activation, DEGREE)
    size = max(len(first.coefficients), len(second.coefficients))
    phi, sigma = (np.pad(one.coefficients, (0, size - len(one.coefficients))) for one in (first, second))
    parts = [sigma[parity::2][-2:].any() or second.beyond[parity] > 0.0 for parity in (0, 1)]
    if second.function is None:
        parts = [False, False]
    lost = sum(rest for rest, there in zip(first.beyond, parts, strict=True) if not there)
    cross, own = correlation(first, second), correlation(second, second)
    return Model(phi, sigma, cross, own, first.mean_square, len(first.coefficients), sum(first.beyond), lost)


def residuals(one: Model, outer: Any, alignment: Any, xp: Any = np) -> Any:
    """rho_k = phi_k - sigma_k mean_i a_i s_i^k, (..., K + 1), of (..., m) and (..., m)."""
    power, found = xp.ones_like(alignment), []
    for k in range(len(one.target)):
        found.append(one.target[k] - one.activation[k] * (outer * power).mean(axis=-1))
        power = power * alignment
    return xp.stack(found, axis=-1)


def population_risk(one: Model, outer: Any, alignment: Any, gram: Any, xp: Any = np) -> Any:
    """E phi^2 / 2 - mean a_i V(s_i) + a^T U(G) a / (2 m^2), of (m,), (m,), (m, m)."""
    m = outer.shape[0]
    pairs = outer @ (one.own(gram, xp) @ outer) / (2.0 * m * m)
    return 0.5 * one.square - (outer * one.cross(alignment, xp)).mean() + pairs


@float64
def risk(task: SingleIndex, activation: Any, outer: Any, alignment: Any, gram: Any) -> Any:
    """The population risk E (phi - f)^2 / 2 of f(x) = (1/m) sum_i a_i sigma(<u_i, x>), label noise left out.

    outer (m,) a_i, alignment (m,) s_i = <u_i, u*>, gram (m, m) <u_i, u_j>, |u_i| = 1. Differentiable. Exact for
    coefficients, and where both functions are "relu" or both "erf"; the series of others, see `Correlation`.

    Raises: TypeError for another task; ValueError for other shapes, an alignment outside [-1, 1], and a gram that is
    no correlation matrix.
    """
    instance("task", task, (SingleIndex,))
    one = model(task.target, activation_field(activation))
    outer, alignment, gram = (
        floating(name, value, np.float64)
        for name, value in (("outer", outer), ("alignment", alignment), ("gram", gram))
    )
    check_start(outer, alignment, gram)
    return population_risk(one, jnp.asarray(outer), jnp.asarray(alignment), jnp.asarray(gram), jnp)


def check_start(outer: Any, alignment: Any, gram: Any) -> None:
    """Raises: ValueError for shapes that do not fit, and for what cannot be the overlaps of unit vectors."""
    size = outer.shape[-1] if outer.ndim else 0
    if outer.ndim != 1 or size == 0:
        raise ValueError(f"outer has shape {outer.shape}; accepted: (neurons,), one axis more where runs are given")
    if alignment.shape != (size,) or gram.shape != (size, size):
        raise ValueError(
            f"alignment and gram have shapes {alignment.shape} and {gram.shape} with {size} entries of outer; "
            f"accepted: ({size},) and ({size}, {size})"
        )
    if is_traced(alignment, gram):
        return
    alignment, gram = np.asarray(alignment), np.asarray(gram)
    if np.abs(alignment).max() > 1.0 + 1e-9:
        raise ValueError(f"alignment reaches {np.abs(alignment).max():.6g}; accepted: numbers in [-1, 1]")
    whole = np.block([[np.ones((1, 1)), alignment[None, :]], [alignment[:, None], gram]])
    symmetric = np.abs(gram - gram.T).max() <= 1e-9 and np.abs(np.diag(gram) - 1.0).max() <= 1e-9
    if not symmetric or np.linalg.eigvalsh(whole)[0] < -1e-8 * (1 + size):
        raise ValueError(
            "gram is no correlation matrix of unit vectors with these alignments; accepted: symmetric, ones on the "
            "diagonal, and positive semidefinite together with alignment"
        )
