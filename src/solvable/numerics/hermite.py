"""Hermite expansions of functions of a Gaussian, and the correlation E f(X) g(Y) as a function of that of (X, Y).

With He_k the probabilists' polynomials and h_k = He_k / sqrt(k!), which are orthonormal under N(0, 1),

    f = sum_k f_k h_k,    E f(X) g(Y) = sum_k f_k g_k r^k,    r = E X Y,    (f')_k = sqrt(k + 1) f_(k+1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float

from solvable.numerics.validation import floating, integer, real_array

RADIUS, WIDTH = 20.0, 0.25  # panels cover [-20, 20], where sqrt(density) h_k is below 1e-20 up to the degree 200
NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)
LEVELS, MOST_PANELS = 60, 20_000
NOTHING = 1e-13  # of the root mean square: a coefficient below it is rounding
HIGHEST = 200


def _gelu(x: Any, xp: Any) -> Any:
    return 0.5 * x * (1.0 + _erf(x, xp))


def _erf(x: Any, xp: Any) -> Any:
    return (scipy.special if xp is np else jax.scipy.special).erf(x * math.sqrt(0.5))


def _sigmoid(x: Any, xp: Any) -> Any:
    return 0.5 * (1.0 + xp.tanh(0.5 * x))


FUNCTIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "relu": lambda x, xp: xp.maximum(x, 0.0),
    "tanh": lambda x, xp: xp.tanh(x),
    "erf": _erf,
    "sigmoid": _sigmoid,
    "softplus": lambda x, xp: xp.logaddexp(x, 0.0),
    "gelu": _gelu,
    "silu": lambda x, xp: x * _sigmoid(x, xp),
    "abs": lambda x, xp: xp.abs(x),
    "sin": lambda x, xp: xp.sin(x),
    "cos": lambda x, xp: xp.cos(x),
}
"""Functions by name, of an array and of NumPy or jax.numpy; "erf" is erf(x / sqrt 2)."""


def named(function: Any) -> Callable[[Any], Any]:
    """A function of NumPy arrays, which may be said by its name.

    Raises: ValueError for an unknown name; TypeError for what is no function.
    """
    if isinstance(function, str):
        if function not in FUNCTIONS:
            raise ValueError(f"function={function!r} is unknown; accepted: {', '.join(map(repr, FUNCTIONS))}")
        return lambda x: FUNCTIONS[function](x, np)
    if not callable(function):
        raise TypeError(f"function={type(function).__name__} is not accepted; accepted: a function or its name")
    return function


def values(function: Callable[[Any], Any], x: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """What a user's function gives, checked. Raises: ValueError for other than as many finite real numbers."""
    with np.errstate(all="ignore"):
        found = np.asarray(real_array("function", function(x)), float)
    if found.shape != x.shape:
        raise ValueError(
            f"function gives the shape {found.shape} for an array of the shape {x.shape}; accepted: one number an entry"
        )
    if not np.isfinite(found).all():
        bad = x[np.flatnonzero(~np.isfinite(found))[0]]
        raise ValueError(
            f"function is not finite at {bad:.4g}; accepted: functions finite on [-{RADIUS:g}, {RADIUS:g}]"
        )
    return found


def _places(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes (P, n) of panels (P, 2) and their weights under the density of N(0, 1)."""
    middle, half = edges.mean(axis=1)[:, None], 0.5 * (edges[:, 1] - edges[:, 0])[:, None]
    x = middle + half * NODES
    return x, half * WEIGHTS * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def gaussian_rule(function: Callable[[Any], Any], breaks: Sequence[float] = (0.0,)) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (N,) and weights for E g(G) with g as smooth as `function`: panels that end at `breaks`, halved elsewhere.

    A kink or jump that is not among `breaks` is found by halving, down to panels that do not count.

    Raises: ValueError for a function whose square has no mean, or that is too rough.
    """
    inside = floating("breaks", breaks, np.float64)
    if inside.ndim != 1:
        raise ValueError(f"breaks has shape {inside.shape}; accepted: a list of numbers")
    inside = inside[np.abs(inside) < RADIUS]
    cuts = np.unique(np.concatenate([np.arange(-RADIUS, RADIUS + WIDTH, WIDTH), inside]))
    open_panels, done = np.stack([cuts[:-1], cuts[1:]], axis=1), []
    total, left = None, 0.0
    for _ in range(LEVELS):
        middle = open_panels.mean(axis=1)
        halves = np.stack([open_panels[:, 0], middle, middle, open_panels[:, 1]], axis=1).reshape(-1, 2)
        parts = []
        for panels in (open_panels, halves):
            x, weights = _places(panels)
            f = values(function, x.ravel()).reshape(x.shape)
            with np.errstate(over="ignore"):
                parts.append(np.stack([(weights * f).sum(1), (weights * f * f).sum(1)]))
        coarse, fine = parts[0], parts[1].reshape(2, -1, 2).sum(-1)
        if total is None:
            total = float(fine[1].sum())
            if not np.isfinite(total) or fine[1, [0, -1]].sum() > 1e-12 * total:
                raise ValueError("function has no finite mean square under N(0, 1); accepted: functions that have one")
        # what a panel counts is bounded by its share of the mean square and of the probability
        scale = np.array([math.sqrt(total), total])[:, None]
        rough = (np.abs(coarse - fine) > 1e-15 * scale).any(axis=0)
        done.append(open_panels[~rough])
        open_panels, left = (
            halves.reshape(-1, 4)[rough].reshape(-1, 2),
            float(fine[1][rough].sum()) / max(total, 1e-300),
        )
        if not len(open_panels):
            break
        if len(open_panels) > MOST_PANELS:
            raise ValueError("function is too rough for its averages; accepted: piecewise smooth functions")
    if left > 1e-6:  # a pole is never done, while a jump is in panels that no longer count
        raise ValueError("function has no finite mean square under N(0, 1); accepted: functions that have one")
    x, weights = _places(np.concatenate([*done, open_panels]))
    return x.ravel(), weights.ravel()


def jumps(function: Callable[[Any], Any]) -> bool:
    """Whether a function is discontinuous: whether it changes by 1e-4 of its root mean square within 2e-10.

    Panels close in on every place where it is not smooth, or end there, so that to look at their nodes and ends is
    enough.
    """
    x, weights = gaussian_rule(function)
    inside = np.concatenate([x, np.arange(-RADIUS, RADIUS, WIDTH)])
    inside = inside[np.abs(inside) < 8.0]
    change = np.abs(values(function, inside + 1e-10) - values(function, inside - 1e-10)).max()
    return bool(change > 1e-4 * math.sqrt(weights @ values(function, x) ** 2))


def hermite_polynomials(x: Any, degree: int) -> list[Any]:
    """h_0 to h_degree at x."""
    found = [0.0 * x + 1.0, x][: degree + 1]
    for k in range(1, degree):
        found.append((x * found[k] - math.sqrt(k) * found[k - 1]) / math.sqrt(k + 1))
    return found


def hermite_coefficients(function: Any, degree: int, breaks: Sequence[float] = (0.0,)) -> Float[np.ndarray, "K"]:
    """f_k = E f(G) He_k(G) / sqrt(k!) for k = 0 to `degree`: (degree + 1,).

    `function` maps a NumPy array to an array, or is a name (`FUNCTIONS`). Panelled Gauss-Legendre quadrature, to about
    1e-14 of the root mean square for a piecewise smooth f; panels end at `breaks`, and where f turns out not to be
    smooth. What is below 1e-13 of the root mean square is 0.

    Raises: ValueError for a function without a finite mean square, an unknown name, or a degree outside [0, 200];
    TypeError for what is no function.
    """
    function, degree = named(function), integer("degree", degree, at_least=0, at_most=HIGHEST)
    x, weights = gaussian_rule(function, breaks)
    weighted = weights * values(function, x)
    found = np.array([weighted @ h for h in hermite_polynomials(x, degree)])
    found[np.abs(found) <= NOTHING * math.sqrt(weighted @ values(function, x))] = 0.0
    return found


class Expansion(NamedTuple):
    """f_0 to f_K, and how f is given: a function of NumPy arrays (None: f ends with f_K), and its name ("": none).

    `beyond` are the mean squares of the even and of the odd part of f beyond degree K.
    """

    coefficients: Any
    function: Any = None
    name: str = ""
    beyond: tuple[float, float] = (0.0, 0.0)

    @property
    def mean_square(self) -> float:
        """E f(G)^2."""
        return float(self.coefficients @ self.coefficients) + sum(self.beyond)


def expansion(given: Any, degree: int = 60) -> Expansion:
    """The expansion of a function, of a function said by name, or of coefficients (K + 1,) as they are."""
    if not (isinstance(given, str) or callable(given)):
        return Expansion(np.asarray(given, float))
    function = named(given)
    known = hermite_coefficients(function, degree)
    name = given if isinstance(given, str) else ""
    return Expansion(known, function, name, _beyond(known, known, function, function))


def _beyond(first: Any, second: Any, f: Callable[..., Any], g: Callable[..., Any]) -> tuple[float, float]:
    """E f g of the even and of the odd parts, without the degrees of both that are known."""
    x, weights = gaussian_rule(lambda x: values(f, x) * values(g, x) + values(f, x) * values(g, -x))
    straight, turned = (weights @ (values(f, x) * values(g, sign * x)) for sign in (1.0, -1.0))
    count = min(len(first), len(second))
    products = first[:count] * second[:count]
    found = 0.5 * (straight + turned) - products[::2].sum(), 0.5 * (straight - turned) - products[1::2].sum()
    small = 1e-13 * math.sqrt(float(weights @ values(f, x) ** 2) * float(weights @ values(g, x) ** 2))
    return tuple(0.0 if abs(one) <= small else float(one) for one in found)  # pyright: ignore[reportReturnType]


class Correlation(NamedTuple):
    """r -> E f(X) g(Y) at the correlation r in [-1, 1], and its derivative, both entrywise on arrays.

    Closed forms where f and g are both "relu" or both "abs" (the arc-cosine kernel) or both "erf" (arcsine); else the
    series, the rest of its even and odd part, `beyond` in sum of sizes, being put on the first power beyond, so that it
    is exact at r = -1, 0 and 1.
    """

    name: str
    terms: Any
    beyond: float = 0.0

    def __call__(self, r: Any, xp: Any = jnp) -> Any:
        """E f(X) g(Y)."""
        if self.name == "relu":
            return _relu(r) if xp is jnp else _arc_cosine(r, xp)
        if self.name == "abs":  # relu(x) + relu(-x)
            half = self._replace(name="relu")
            return 2.0 * (half(r, xp) + half(-r, xp))
        if self.name == "erf":
            return (2.0 / math.pi) * xp.arcsin(0.5 * r)
        return _horner(self.terms, r)

    def slope(self, r: Any, xp: Any = jnp) -> Any:
        """The derivative."""
        if self.name == "relu":
            return (math.pi - xp.arccos(xp.clip(r, -1.0, 1.0))) / (2.0 * math.pi)
        if self.name == "abs":
            return (2.0 / math.pi) * xp.arcsin(xp.clip(r, -1.0, 1.0))
        if self.name == "erf":
            return (1.0 / math.pi) / xp.sqrt(1.0 - 0.25 * r * r)
        return _horner(self.terms[1:] * np.arange(1, len(self.terms)), r)


def correlation(first: Expansion, second: Expansion) -> Correlation:
    """The correlation function of two expansions."""
    if first.name == second.name and first.name in ("relu", "abs", "erf"):
        return Correlation(first.name, None)
    count = min(len(first.coefficients), len(second.coefficients))
    terms, beyond = first.coefficients[:count] * second.coefficients[:count], 0.0
    if first.function is not None and second.function is not None:
        both = first.coefficients, second.coefficients, first.function, second.function
        rest = _beyond(*both)
        beyond = sum(map(abs, rest))
        terms = np.concatenate([terms, [0.0, 0.0]])
        terms[[count + count % 2, count + 1 - count % 2]] = rest  # the first even, and the first odd power beyond
    last = np.flatnonzero(terms)
    return Correlation("", terms[: last[-1] + 1] if len(last) else np.zeros(1), beyond)


def _horner(terms: Any, r: Any) -> Any:
    total = 0.0 * r
    for term in terms[::-1]:
        total = total * r + term
    return total


def _arc_cosine(r: Any, xp: Any) -> Any:
    inside = xp.clip(r, -1.0, 1.0)
    return (xp.sqrt(1.0 - inside * inside) + inside * (math.pi - xp.arccos(inside))) / (2.0 * math.pi)


@jax.custom_jvp
def _relu(r: Float[Array, "..."]) -> Float[Array, "..."]:
    """E relu(X) relu(Y); its derivative is finite at r = 1, which differentiation term by term would miss."""
    return _arc_cosine(r, jnp)


@_relu.defjvp
def _relu_jvp(primals: Any, tangents: Any) -> Any:
    (r,), (change,) = primals, tangents
    return _relu(r), Correlation("relu", None).slope(r) * change
