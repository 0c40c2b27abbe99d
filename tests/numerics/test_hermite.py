"""Hermite coefficients against SciPy's quadrature, correlation functions against double integrals and series."""

import itertools
import math

import jax
import numpy as np
import pytest
from numpy.polynomial import hermite_e
from scipy import integrate

from solvable.numerics.hermite import (
    FUNCTIONS,
    Correlation,
    correlation,
    expansion,
    hermite_coefficients,
    hermite_polynomials,
    jumps,
    named,
)

PLACES = np.array([-1.0, -0.6, 0.3, 0.8])


def rough(x):
    """A jump at .3337 and a kink at 1.1234, of which quadrature is not told."""
    return np.where(x > 0.3337, 1.0, -np.abs(x - 1.1234))


def test_coefficients_of_a_rough_function_are_those_of_quadrature_between_its_breaks() -> None:
    found = hermite_coefficients(rough, 6)
    for k in range(7):

        def weighted(x, k=k):
            polynomial = hermite_e.hermeval(x, [0] * k + [1]) / math.sqrt(math.factorial(k))
            return rough(x) * polynomial * math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)

        parts = [(-15.0, 0.3337), (0.3337, 1.1234), (1.1234, 15.0)]
        expected = sum(integrate.quad(weighted, a, b, epsabs=1e-14, epsrel=1e-13)[0] for a, b in parts)
        assert abs(found[k] - expected) < 1e-13


def test_known_coefficients() -> None:
    root = math.sqrt(2.0 * math.pi)
    relu = [1 / root, 0.5, 1 / math.sqrt(4 * math.pi), 0.0, -1 / root / math.sqrt(24)]
    np.testing.assert_allclose(hermite_coefficients("relu", 4), relu, atol=1e-15)
    cubic = hermite_coefficients(lambda x: x**3, 4)
    np.testing.assert_allclose(cubic, [0.0, 3.0, 0.0, math.sqrt(6.0), 0.0], atol=1e-12)


def test_the_derivative_has_the_shifted_coefficients() -> None:
    function = hermite_coefficients("tanh", 8)
    slope = hermite_coefficients(lambda x: 1.0 / np.cosh(x) ** 2, 7)
    np.testing.assert_allclose(slope, np.sqrt(np.arange(1, 9)) * function[1:], atol=1e-13)


def test_polynomials_are_orthonormal() -> None:
    x, weights = np.polynomial.hermite_e.hermegauss(20)
    rows = np.array(hermite_polynomials(x, 6))
    np.testing.assert_allclose((weights * rows) @ rows.T / math.sqrt(2 * math.pi), np.eye(7), atol=1e-12)


@pytest.mark.parametrize("name", ["relu", "abs", "erf"])
def test_closed_forms_are_the_sums_of_long_series(name) -> None:
    with jax.enable_x64(True):
        closed = correlation(expansion(name), expansion(name))
        series = Correlation("", hermite_coefficients(name, 200) ** 2)
        inside = np.linspace(-0.9, 0.9, 7)
        np.testing.assert_allclose(closed(inside), series(inside), atol=1e-13)
        np.testing.assert_allclose(closed.slope(inside), series.slope(inside), atol=1e-11)
        np.testing.assert_allclose(closed(inside, np), closed(inside), atol=1e-15)
        np.testing.assert_allclose(jax.vmap(jax.grad(closed))(inside), closed.slope(inside), atol=1e-14)


@pytest.mark.parametrize(("first", "second"), [("tanh", "relu"), ("gelu", "erf"), ("relu", "abs"), ("relu", "relu")])
def test_series_with_their_tail_are_double_integrals(first, second) -> None:
    # a name that is hidden takes the way of the series
    hidden = [expansion(lambda x, name=name: FUNCTIONS[name](x, np), 40) for name in (first, second)]
    found = correlation(*hidden)
    for r in PLACES:

        def inner(x, r=r):
            across = math.sqrt(max(0.0, 1.0 - r * r))
            cuts = [] if across == 0.0 else [-r * x / across]
            nodes, weights = np.polynomial.legendre.leggauss(60)
            total, edges = 0.0, sorted({-9.0, 0.0, 9.0, *(cut for cut in cuts if abs(cut) < 9.0)})
            for a, b in itertools.pairwise(edges):
                z = 0.5 * (a + b) + 0.5 * (b - a) * nodes
                density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
                total += 0.5 * (b - a) * weights @ (density * FUNCTIONS[second](r * x + across * z, np))
            return total * FUNCTIONS[first](x, np) * math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)

        nodes, weights = np.polynomial.legendre.leggauss(80)
        expected = sum(
            4.5 * w * inner(4.5 * x + side) for side in (-4.5, 4.5) for x, w in zip(nodes, weights, strict=True)
        )
        # what a lump for the degrees beyond 40 cannot know, for two kinks
        assert abs(float(found(np.float64(r), np)) - expected) < 1e-6


def test_the_mean_square_of_a_truncated_relu_has_its_tail() -> None:
    assert abs(float((expansion("relu", 10).coefficients ** 2).sum()) - 0.49902) < 1e-3
    assert abs(expansion("relu", 10).mean_square - 0.5) < 1e-14


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: np.exp(0.3 * x * x), "no finite mean square"),
        (lambda x: 1.0 / x, "no finite mean square"),
        (lambda x: np.log(x), "not finite"),
        (lambda x: 1.0, "gives the shape"),
        ("step", "unknown"),
    ],
)
def test_what_is_no_function_of_a_gaussian_is_refused(function, words) -> None:
    with pytest.raises(ValueError, match=words):
        hermite_coefficients(function, 3)
    with pytest.raises(TypeError, match="accepted: a function"):
        hermite_coefficients(3.0, 3)


def test_jumps_are_told_from_kinks_and_steep_slopes() -> None:
    assert jumps(np.sign)
    assert jumps(rough)
    assert jumps(lambda x: np.floor(3.0 * x))
    smooth = [lambda x: np.tanh(1000.0 * x), lambda x: np.maximum(x - 1 / 3, 0.1 * x), *map(named, FUNCTIONS)]
    assert not any(map(jumps, smooth))
