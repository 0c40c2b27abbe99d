"""Spectra of symmetric matrices: one extreme eigenvalue, Lanczos, and the measures against which polynomials count."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh, splu

_Operator: Any = LinearOperator  # whose stubs know neither its shortest form nor what it returns
_eigsh: Any = eigsh
SEED = 2202  # of every probe: they belong to the method, not to the data
BREAKDOWN = 1e-9  # below it what is left of a Lanczos vector is rounding
CROWDED = 1e-3  # of the spectrum: how near to its end a lattice has eigenvalues, and an expander none
WINDOW = (2.0, 0.2)  # of the heat kernel: from 2 steps of the walk to a fifth of the relaxation time
PROBES, STEPS = 4, 200  # of the heat kernel where not all eigenvalues are known


class Measure(NamedTuple):
    """The spectrum of what gossip has to remove: eigenvalues of W but the first (N,), and their shares (N,) of
    |x - mean|^2 / n. A polynomial method leaves sum_i shares_i P_t(nodes_i)^2.
    """

    nodes: np.ndarray
    shares: np.ndarray


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


def lanczos(apply: Callable[[Any], Any], start: np.ndarray, steps: int, *, gap: bool, all_orthogonal: bool) -> Lanczos:
    """Lanczos from `start`, any array, in the inner product <u, v>, or <u, (1 - W) v> with `gap`.

    `all_orthogonal` keeps every vector orthogonal to all before it, which matters where the recursion ends early.
    """

    def weighted(vector: Any, image: Any) -> Any:
        return vector - image if gap else vector

    image = apply(start)
    mass = float(np.vdot(start, weighted(start, image)))
    diagonal, off = np.zeros(steps), np.zeros(steps)
    if mass <= 0.0 or steps == 0:
        return Lanczos(diagonal[:0], off[:0], max(mass, 0.0), mass <= 0.0)
    now, image, before = start * mass**-0.5, image * mass**-0.5, np.zeros_like(start)
    kept, duals = np.empty((2, steps if all_orthogonal else 0, start.size))
    for step in range(steps):
        dual = weighted(now, image)
        diagonal[step] = np.vdot(image, dual)
        new = image - diagonal[step] * now - (off[step - 1] if step else 0.0) * before
        if all_orthogonal:
            kept[step], duals[step] = now.ravel(), dual.ravel()
            for _ in range(2):
                new -= ((duals[: step + 1] @ new.ravel()) @ kept[: step + 1]).reshape(new.shape)
        new_image = apply(new)
        off[step] = np.sqrt(max(float(np.vdot(new, weighted(new, new_image))), 0.0))
        if off[step] < BREAKDOWN:
            return Lanczos(diagonal[: step + 1], off[: step + 1], mass, True)
        before, now, image = now, new / off[step], new_image / off[step]
    return Lanczos(diagonal, off, mass, False)


def gauss(found: Lanczos) -> Measure:
    """The Gauss rule of Lanczos in <u, v>: exact for polynomials of degree 2 steps - 1."""
    if found.mass == 0.0:
        return Measure(np.zeros(1), np.zeros(1))
    nodes, vectors = eigh_tridiagonal(found.diagonal, found.off[:-1])
    return Measure(nodes, found.mass * vectors[0] ** 2)


def probes(nodes: int, count: int, seed: int = SEED) -> np.ndarray:
    """Standard normal vectors (nodes, count) without their means, the same in every call."""
    drawn = np.ascontiguousarray(np.random.default_rng(seed).standard_normal((count, nodes)).T)
    return drawn - drawn.mean(axis=0)


def probed(matrix: Any, count: int, steps: int) -> Measure:
    """The measure of independent standard normal values, from a few probes, which are not those that `Tuned` knows."""
    start = probes(matrix.shape[0], count, SEED + 1)
    found = lanczos(lambda x: matrix @ x, start, steps, gap=False, all_orthogonal=False)
    rule = gauss(found)
    return Measure(rule.nodes, rule.shares / start.size)


def extreme_eigenvalue(matrix: Any, which: str) -> float:
    """The largest ("LA") or smallest ("SA") eigenvalue of a symmetric W with W 1 = constant, that of 1 left out."""
    size = matrix.shape[0]
    ones = float(matrix[[0], :].sum())
    shift = ones if which == "SA" else ones - 2.0 * float(abs(matrix).sum(axis=1).max())

    def deflated(vector: np.ndarray) -> np.ndarray:
        return matrix @ vector + (shift - ones) * vector.mean()

    operator = _Operator(matrix.shape, matvec=deflated, dtype=np.float64)
    start = np.random.default_rng(SEED).standard_normal(size)
    basis = min(size, 60)
    for restarts, tolerance in ((8, 1e-10), (100, 1e-8)):
        options = {"v0": start, "ncv": basis, "maxiter": restarts, "tol": tolerance, "return_eigenvectors": False}
        with contextlib.suppress(ArpackNoConvergence):
            return float(_eigsh(operator, 1, which=which, **options)[0])
        rough = gauss(lanczos(deflated, start, 200, gap=False, all_orthogonal=False)).nodes
        bound = float(abs(matrix).sum(axis=1).max())
        if (bound - rough.max() if which == "LA" else bound + rough.min()) < CROWDED * bound:
            break
    # Lanczos is slow where eigenvalues crowd, as on lattices and trees, where factors stay sparse.
    near = bound * (1.0 + 1e-9) * (1.0 if which == "LA" else -1.0)
    shifted = sp.csc_array(matrix - near * sp.eye_array(size, format="csr"))
    factors = splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    inverse = _Operator(matrix.shape, matvec=factors.solve, dtype=np.float64)
    options = {"sigma": near, "OPinv": inverse, "v0": start, "tol": 1e-10, "return_eigenvectors": False}
    return float(_eigsh(matrix, 2, **options).min())


def heat_dimension(network: Any) -> SpectralDimension:
    """The slope of the heat kernel over the window in which it is a power law (see `Network.spectral_dimension`)."""
    if "eigenvalues" in network.__dict__ or network.nodes <= 1_000:
        measure = Measure(network.eigenvalues[1:], np.full(network.nodes - 1, 1.0 / network.nodes))
    else:
        measure = probed(network.matrix, PROBES, STEPS)
    first, last = WINDOW[0], WINDOW[1] / network.gap
    if last < 4.0 * first:
        return SpectralDimension(np.nan, (first, last))
    times = np.geomspace(first, last, 30)
    heat = np.exp(-times[:, None] * (1.0 - measure.nodes)) @ measure.shares
    slope = np.polyfit(np.log(times), np.log(heat), 1)[0]
    return SpectralDimension(-2.0 * slope, (first, last))
