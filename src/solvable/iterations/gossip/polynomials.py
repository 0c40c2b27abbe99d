"""Three-term recursions x_(t+1) = a_t W x_t + b_t x_t - c_t x_(t-1), one for each synchronous method.

All are normalised, a_t + b_t - c_t = 1, so that means are kept: x_t = P_t(W) x_0 with P_t(1) = 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from solvable.iterations.gossip.spectrum import Lanczos, Measure, lanczos

EQUAL = 1e-12  # eigenvalues that differ by less are one


class Recursion(NamedTuple):
    """The coefficients a, b, c (T,) of T rounds; c_0 is not used."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray


def normalised(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Recursion:
    """Coefficients of x_t / y_t, where y_t is what the recursion makes of 1.

    The ratios y_(t+1) / y_t stay moderate where y itself overflows.
    """
    ratio, before = np.empty(len(a)), np.inf
    for t in range(len(a)):
        ratio[t] = a[t] + b[t] - (c[t] / before if t else 0.0)
        before = ratio[t]
    return Recursion(a / ratio, b / ratio, np.concatenate([[0.0], c[1:] / (ratio[1:] * ratio[:-1])])[: len(a)])


def simple(rounds: int) -> Recursion:
    """P_t = lambda^t."""
    return Recursion(np.ones(rounds), np.zeros(rounds), np.zeros(rounds))


def jacobi(alpha: float, beta: float, gap: float, rounds: int) -> Recursion:
    """P_t = P_t^(alpha, beta)(z) / P_t^(alpha, beta)(z(1)), with z = lambda, or (lambda + gap/2) / (1 - gap/2).

    (arXiv:1805.08531; its code has these coefficients.) With a gap the spectrum but 1 fills [-1, 1 - gap], and z maps
    it to [-1, 1].
    """
    t, s = np.arange(1.0, rounds), alpha + beta
    lower = (t + 1.0 + s) * (t + 1.0 + alpha)
    a = np.concatenate([[(s + 2.0) / (2.0 * (1.0 + alpha))], (2 * t + s + 1.0) * (2 * t + s + 2.0) / (2.0 * lower)])
    middle = (2 * t + s + 1.0) * s * (alpha - beta) / (2.0 * (2 * t + s) * lower)
    b = np.concatenate([[(alpha - beta) / (2.0 * (1.0 + alpha))], middle])
    c = np.concatenate([[0.0], t * (t + beta) * (2 * t + s + 2.0) / ((2 * t + s) * lower)])
    half = 0.5 * gap
    return normalised(a[:rounds] / (1.0 - half), (a * half / (1.0 - half) + b)[:rounds], c[:rounds])


def shift_register(weight: float, rounds: int) -> Recursion:
    """x_(t+1) = weight W x_t + (1 - weight) x_(t-1), after a first round of W."""
    a, c = np.full(rounds, weight), np.full(rounds, weight - 1.0)
    a[:1], c[:1] = 1.0, 0.0
    return Recursion(a, np.zeros(rounds), c)


def optimal_weight(radius: float) -> float:
    """2 / (1 + sqrt(1 - p^2)): the shift register's best weight where p = max(|lam_2|, |lam_n|) < 1."""
    return 2.0 / (1.0 + np.sqrt(1.0 - radius**2))


def published_weight(second: float) -> float:
    """(8 - 4 sqrt(4 - (1 + r)^2)) / (1 + r)^2, r = lam_2: the weight in the code of arXiv:1805.08531.

    It equals `optimal_weight((1 + r) / 2)`, which is best for (I + W)/2 and not for W.
    """
    return optimal_weight(0.5 * (1.0 + second))


def chebyshev(least: float, largest: float, rounds: int) -> Recursion:
    """P_t = T_t(z) / T_t(z(1)), z mapping [least, largest] to [-1, 1]; one round is exact where the two are equal."""
    width = largest - least
    if width < 1e-12:
        a, b = np.full(rounds, 1.0), np.full(rounds, -largest)
        return normalised(a, b, np.zeros(rounds))
    a, b, c = np.full(rounds, 4.0 / width), np.full(rounds, -2.0 * (largest + least) / width), np.ones(rounds)
    a[:1], b[:1] = 2.0 / width, -(largest + least) / width
    return normalised(a, b, c)


def message_passing(degree: int, rounds: int) -> Recursion:
    """The mean over walks that never turn back, on a regular graph: averaging over balls where it is a tree.

    (arXiv:1805.08531; its code has these coefficients.) For a cycle, degree 2, they are the limits.
    """
    t = np.arange(1.0, rounds)
    first = degree / (degree + 1.0)
    if degree == 2:
        a, c = (4.0 * t + 2.0) / (2.0 * t + 3.0), (2.0 * t - 1.0) / (2.0 * t + 3.0)
    else:
        small = (degree - 1.0) ** -t
        lower = 1.0 - 2.0 / degree * small / (degree - 1.0)
        a = (degree / (degree - 1.0) - 2.0 * small / (degree - 1.0)) / lower
        c = (1.0 / (degree - 1.0) - 2.0 / degree * small) / lower
    b = np.concatenate([[1.0 - first], np.zeros(len(t))])
    return Recursion(np.concatenate([[first], a])[:rounds], b[:rounds], np.concatenate([[0.0], c])[:rounds])


def orthogonal(found: Lanczos, rounds: int) -> Recursion:
    """The orthogonal polynomials that Lanczos found, scaled to 1 at 1; after an early end x stays as it is."""
    steps = min(rounds, len(found.diagonal))
    squares = np.concatenate([[0.0], found.off[: max(steps - 1, 0)] ** 2])[:steps]
    made = normalised(np.ones(steps), -found.diagonal[:steps], squares)
    rest = rounds - steps
    return Recursion(
        np.concatenate([made.a, np.zeros(rest)]),
        np.concatenate([made.b, np.ones(rest)]),
        np.concatenate([made.c, np.zeros(rest)]),
    )


def least(measure: Measure, rounds: Any) -> np.ndarray:
    """The least sum_i shares_i P(eigenvalues_i)^2 of all P with P(1) = 1 of degree t, for t in `rounds` (K,): (K,).

    It is 1 / sum_(k <= t) p_k(1)^2, the Christoffel number at 1, with the p_k orthonormal in the measure; as many
    rounds as there are different eigenvalues leave nothing.
    """
    measure, rounds = distinct(measure), np.asarray(rounds)
    count = len(measure.shares)
    degree = min(int(rounds.max()), count - 1)
    if degree < 0:
        return np.zeros(len(rounds))
    found = lanczos(lambda x: measure.eigenvalues * x, np.sqrt(measure.shares), degree, all_orthogonal=True)
    logs, before = np.zeros(len(found.off) + 1), np.inf
    for k, (diagonal, off) in enumerate(zip(found.diagonal, found.off, strict=True)):
        # p_(k+1)(1) / p_k(1), as p itself overflows
        before = (1.0 - diagonal - (found.off[k - 1] / before if k else 0.0)) / max(off, 1e-300)
        logs[k + 1] = logs[k] + np.log(before)
    left = found.mass * np.exp(-np.logaddexp.accumulate(2.0 * logs))
    return np.where(rounds >= count, 0.0, left[np.minimum(rounds, len(left) - 1)])


def distinct(measure: Measure) -> Measure:
    """With equal eigenvalues joined, and those without a share left out."""
    order = np.argsort(measure.eigenvalues)
    eigenvalues, shares = measure.eigenvalues[order], measure.shares[order]
    place = np.concatenate([[0], np.cumsum(np.diff(eigenvalues) > EQUAL)])
    joined = np.bincount(place, shares)
    there = joined > 1e-28 * joined.sum()
    return Measure((np.bincount(place, eigenvalues) / np.bincount(place))[there], joined[there])


def evaluate(recursion: Recursion, points: Any, at: Any) -> np.ndarray:
    """P_t at `points` (N,) for the rounds t of `at` (K,): (K, N)."""
    return path(recursion, lambda x: points * x, np.ones_like(points), at)


def path(recursion: Recursion, apply: Any, start: np.ndarray, at: Any, observe: Any = None) -> np.ndarray:
    """x_t, or what `observe` makes of it, at the nondecreasing rounds t of `at` (K,), stacked."""
    observe = (lambda x: x) if observe is None else observe
    now, before, found, done = start, start, [], 0
    for stop in np.asarray(at, np.int64):
        while done < stop:
            a, b, c = recursion.a[done], recursion.b[done], recursion.c[done]
            new = a * apply(now) if a else np.zeros_like(now)
            new += b * now
            if c:
                new -= c * before
            now, before, done = new, now, done + 1
        found.append(observe(now))
    return np.stack(found)
