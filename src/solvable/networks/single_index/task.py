"""The task: a single-index target of Gaussian inputs."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from solvable.lab.declare import Checked, converted, real
from solvable.numerics.hermite import HIGHEST, expansion, jumps
from solvable.numerics.hermite import hermite_coefficients as hermite_coefficients
from solvable.numerics.results import is_traced
from solvable.numerics.validation import floating


def _one(name: str, value: Any) -> Any:
    """Coefficients, a name or a function, checked."""
    if isinstance(value, str) or callable(value):
        try:
            found = expansion(value, 1)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if found.mean_square <= 0.0:
            raise ValueError(f"{name} is zero everywhere; accepted: a function that is not")
        return value
    coefficients = floating(name, value, np.float64)
    if coefficients.ndim != 1 or not 1 <= coefficients.size <= HIGHEST + 1:
        raise ValueError(
            f"{name} has shape {coefficients.shape}; accepted: a function, its name, or its normalised Hermite "
            f"coefficients, (K + 1,) with K <= {HIGHEST}"
        )
    if not is_traced(coefficients) and not np.any(coefficients):
        raise ValueError(f"{name} is zero everywhere; accepted: coefficients of which one is not 0")
    return coefficients


def target_field(value: Any) -> Any:
    """The target of a task, as it is kept."""
    return _one("target", value)


def activation_field(value: Any) -> Any:
    """The activation of an algorithm, as it is kept."""
    found = _one("activation", value)
    if callable(found) and jumps(found):
        raise ValueError(
            "activation jumps, and its derivative, by which inner weights learn, has no mean square; accepted: "
            "continuous functions"
        )
    return found


class SingleIndex(Checked):
    """y = phi(<u*, x>) + N(0, noise^2) with x ~ N(0, I_d) and |u*| = 1 (arXiv:2303.00055).

    target: phi by its normalised Hermite coefficients phi_k = E phi(G) He_k(G) / sqrt(k!), k = 0 to K; or a function of
    NumPy arrays; or a name: "relu", "tanh", "erf" (erf(x / sqrt 2)), "sigmoid", "softplus", "gelu", "silu", "abs",
    "sin", "cos". Of a function the first 41 coefficients are what `components` and mean-field theory know.
    noise: of the labels, seen by `Descent` alone. The dimension d is no part of the task: the theories send it to
    infinity, or know it through the start that they are given.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    target: Any = converted(target_field, (0.6, 0.8, 0.6, 0.5))
    noise: Any = real(0.0, at_least=0.0)

    def sample(self, key: jax.Array | None = None) -> SingleIndex:
        """This task: in coordinates in which u* is the first axis nothing is drawn."""
        return self
