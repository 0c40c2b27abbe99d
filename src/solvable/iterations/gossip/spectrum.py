"""Spectra of symmetric matrices: one extreme eigenvalue, Lanczos, and the measures against which polynomials count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import LinearOperator, eigsh, splu

_Operator: Any = LinearOperator  # whose stubs know neither its shortest form nor what it returns
_eigsh: Any = eigsh
SEED = 2202  # of every probe: they belong to the method, not to the data
BREAKDOWN = 1e-9  # below it what is left of a Lanczos vector is rounding
CROWDED = 1e-3  # of the spectrum: how near to its end a lattice has eigenvalues, and an expander none
WINDOW = (2.0, 0.2)  # of the heat kernel: from 2 steps of the walk to a fifth of the relaxation time
PROBES, STEPS = 4, 200  # of the heat kernel where not all eigenvalues are known; good for times up to STEPS^2 / 16
RESOLVED = 1.01  # how near the last node of a Gauss rule is to the end of the spectrum, relative to 1 -+ the end
MOST_WORK = 1e9  # products of a number of W and one of the values


class Measure(NamedTuple):
    """The spectrum of what gossip has to remove: eigenvalues of W but the first (N,), and their shares (N,) of
    |x - mean|^2 / n. A polynomial method leaves sum_i shares_i P_t(eigenvalues_i)^2, for as many rounds as `rounds`
    says.
    """

    eigenvalues: np.ndarray
    shares: np.ndarray
    rounds: float = np.inf


class SpectralDimension(float):
    """A number with the `window` of times (first, last) in which it was read off."""

    window: tuple[float, float]

    def __new__(cls, value: float, window: tuple[float, float]) -> SpectralDimension:
        """The number, and its window."""
        made = super().__new__(cls, value)
        made.window = window
        return made


class Lanczos(NamedTuple):
    """The three-term recursion of the orthogonal polynomials p_t of a measure, and the square of its total mass.

    q_(t+1) off[t] = (lambda - diagonal[t]) q_t - off[t - 1] q_(t-1) for orthonormal q; `ended`: whether the last entry
    of `off` is 0 but for rounding, after which nothing is left.
    """

    diagonal: np.ndarray
    off: np.ndarray
    mass: float
    ended: bool


def lanczos(
    apply: Callable[[Any], Any], start: np.ndarray, steps: int, *, gap: bool = False, all_orthogonal: bool = False
) -> Lanczos:
    """Lanczos from `start`, any array, in the inner product <u, v>, or <u, (1 - W) v> with `gap`.

    `all_orthogonal` (without `gap`) keeps every vector orthogonal to all before it: the coefficients are then those of
    exact arithmetic. Without it they are those of a spectrum whose eigenvalues are tiny intervals (Greenbaum 1989), so
    that the recursion, which knows no reorthogonalisation, can follow them.
    """

    def weighted(vector: Any, image: Any) -> Any:
        return vector - image if gap else vector

    image = apply(start)
    mass = _dot(start, weighted(start, image))
    diagonal, off = np.zeros(steps), np.zeros(steps)
    if mass <= 0.0 or steps == 0:
        return Lanczos(diagonal[:0], off[:0], max(mass, 0.0), mass <= 0.0)
    now, image, before = start * mass**-0.5, image * mass**-0.5, np.zeros_like(start)
    kept = np.empty((steps if all_orthogonal else 0, start.size))
    for step in range(steps):
        dual = weighted(now, image)
        diagonal[step] = _dot(image, dual)
        new = image - diagonal[step] * now - (off[step - 1] if step else 0.0) * before
        if all_orthogonal:
            kept[step] = now.ravel()
            for _ in range(2):
                new -= ((kept[: step + 1] @ new.ravel()) @ kept[: step + 1]).reshape(new.shape)
        new_image = apply(new)
        off[step] = np.sqrt(max(_dot(new, weighted(new, new_image)), 0.0))
        if off[step] < BREAKDOWN:
            return Lanczos(diagonal[: step + 1], off[: step + 1], mass, True)
        before, now, image = now, new / off[step], new_image / off[step]
    return Lanczos(diagonal, off, mass, False)


def _dot(one: np.ndarray, other: np.ndarray) -> float:
    """<one, other>. Not by BLAS, whose threads wait for each other at every short product on a busy machine."""
    return float(np.einsum("i,i->", one.ravel(), other.ravel()))


def gauss(found: Lanczos) -> Measure:
    """The Gauss rule of Lanczos in <u, v>: exact for polynomials of degree 2 steps - 1, and so for steps - 1 rounds."""
    eigenvalues, shares, _, rounds = _ritz(found)
    return Measure(eigenvalues, shares, rounds)


def _ritz(found: Lanczos) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Nodes and shares of the Gauss rule, how far each node is from an eigenvalue, and the rounds it is right for."""
    if found.mass == 0.0:
        return np.zeros(1), np.zeros(1), np.zeros(1), np.inf
    eigenvalues, vectors = eigh_tridiagonal(found.diagonal, found.off[:-1])
    rounds = np.inf if found.ended else len(eigenvalues) - 1
    return eigenvalues, found.mass * vectors[0] ** 2, found.off[-1] * np.abs(vectors[-1]), rounds


def probes(nodes: int, count: int, seed: int = SEED) -> np.ndarray:
    """Standard normal vectors (nodes, count) without their means, the same in every call."""
    drawn = np.ascontiguousarray(np.random.default_rng(seed).standard_normal((count, nodes)).T)
    return drawn - drawn.mean(axis=0)


def rule_of(network: Any, start: np.ndarray, *, normal: bool) -> Measure:
    """The measure of `start` (n, k), by 400 steps of Lanczos, or 1 600 where they do not find the ends of the spectrum.

    Where these do not find them, or cost too much, it is right for fewer rounds than steps. With `normal`, `start` are
    k draws of independent normal values, and the measure is that of one: eigenvalues that were found have the shares of
    whole multiplicities, so that chance is left in what averages itself alone.
    """
    nodes = network.nodes

    def centred(x: np.ndarray) -> np.ndarray:
        image = network.matrix @ x
        return image - image.mean(axis=0)  # rounding would grow in the mean

    for steps in (400, 1_600):
        eigenvalues, shares, residuals, rounds = _ritz(lanczos(centred, start, steps))
        shares = shares / (start.size if normal else nodes)
        if normal:
            sure = residuals < BREAKDOWN
            apart = (np.diff(eigenvalues) > 10.0 * BREAKDOWN) | ~(sure[1:] & sure[:-1])
            place = np.concatenate([[0], np.cumsum(apart)])
            times = np.bincount(place, shares) * nodes
            most = 1.0 + 3.0 * np.sqrt(2.0 * nodes / start.size)  # by chance, of a simple eigenvalue
            times = np.where((times > 1e-3) & (times < most), 1.0, np.where(times > 1.0, np.round(times), times))
            shares = np.where(sure, (times / np.bincount(place))[place] / nodes, shares)
        rule = Measure(eigenvalues, shares, rounds)
        there = eigenvalues[shares >= 1e-20 * shares.sum()]
        inner = 1.0 - there.max(), 1.0 + there.min()
        outer = network.gap, 1.0 + network.smallest_eigenvalue
        if all(one <= RESOLVED * other + BREAKDOWN for one, other in zip(inner, outer, strict=True)):
            return rule._replace(rounds=np.inf)
        if 1_600 * start.size * network.matrix.nnz > MOST_WORK * nodes:
            break
    return rule


def extreme_eigenvalue(matrix: Any, which: str, known: dict[int, Lanczos]) -> float:
    """The largest ("LA") or smallest ("SA") eigenvalue of a symmetric W with W 1 = constant, that of 1 left out.

    `known` keeps what serves the other end as well.
    """
    size, ones = matrix.shape[0], float(matrix[[0], :].sum())
    start = np.random.default_rng(SEED).standard_normal(size)
    centred = start - start.mean()
    inside = _dot(centred, matrix @ centred) / _dot(centred, centred)  # between the two ends

    def deflated(vector: np.ndarray) -> np.ndarray:
        return matrix @ vector + (inside - ones) * vector.mean()

    bound = float(abs(matrix).sum(axis=1).max())
    for steps in (400, 4_000):
        found = known[steps] = known[steps] if steps in known else lanczos(deflated, centred, steps)
        last = len(found.diagonal) - 1 if which == "LA" else 0
        (end,), vector = eigh_tridiagonal(found.diagonal, found.off[:-1], select="i", select_range=(last, last))
        if found.ended or found.off[-1] * abs(vector[-1, 0]) < 1e-6 * (bound - abs(end)):
            return float(end)
        if bound - abs(end) < CROWDED * bound:
            break
    # Lanczos is slow where eigenvalues crowd, as on lattices and trees, where factors stay sparse. The shift lies a
    # little outside of the spectrum: its ends are known to 1/steps^2 of its width, and that at 1 by the row sums.
    away = min(CROWDED * bound, bound * (1.0 + 1e-9) - abs(end))
    near = end + away if which == "LA" else end - away
    shifted = sp.csc_array(matrix - near * sp.eye_array(size, format="csr"))
    factors = splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    inverse = _Operator(matrix.shape, matvec=factors.solve, dtype=np.float64)
    options = {"sigma": near, "OPinv": inverse, "v0": start, "ncv": min(size, 60), "tol": 1e-7}
    return float(_eigsh(matrix, 2, return_eigenvectors=False, **options).min())


def heat_dimension(network: Any) -> SpectralDimension:
    """The slope of the heat kernel over the window in which it is a power law (see `Network.spectral_dimension`)."""
    if "eigenvalues" in network.__dict__ or network.nodes <= 1_000:
        measure = Measure(network.eigenvalues[1:], np.full(network.nodes - 1, 1.0 / network.nodes))
    else:
        start = probes(network.nodes, PROBES, SEED + 1)
        measure = gauss(lanczos(lambda x: network.matrix @ x, start, STEPS))
        measure = measure._replace(shares=measure.shares / start.size)
    first, last = WINDOW[0], min(WINDOW[1] / network.gap, STEPS**2 / 16.0)
    if last < 4.0 * first:
        return SpectralDimension(np.nan, (first, last))
    times = np.geomspace(first, last, 30)
    heat = np.exp(-times[:, None] * (1.0 - measure.eigenvalues)) @ measure.shares
    slope = np.polyfit(np.log(times), np.log(heat), 1)[0]
    return SpectralDimension(-2.0 * slope, (first, last))
