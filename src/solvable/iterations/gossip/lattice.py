"""Gossip on a lattice, run exactly in Fourier space, and its limits: the heat and the Euler-Poisson-Darboux equations.

Macroscopic time is that of arXiv:2202.10742, of which the abstract was read: the equations and the rates are derived.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import gammaln, hyp0f1

from solvable.iterations.gossip import polynomials
from solvable.iterations.gossip.algorithms import Jacobi, Simple
from solvable.lab.declare import Checked, converted, instance, whole
from solvable.numerics.validation import floating, integer, number

POINTS = 64  # along the first axis, of points=None
RULE = {1: 1024, 2: 256, 3: 64}  # points a side on which an initial condition is read by the limits
TAIL = 1e-8  # what half as many points may change
DIMENSIONS = 3
LARGEST_ALPHA = 1e6  # beyond it differences of logarithms of Gamma lose their digits
LARGEST = 2**21  # numbers held at once while a profile is read off its modes


def _an_initial(initial: Any) -> Any:
    if callable(initial):
        return initial
    if isinstance(initial, str) and initial == "point":
        return initial
    raise ValueError(f"initial={initial!r} is not accepted; accepted: 'point', or a function of positions (..., dim)")


class Lattice(Checked):
    """The unit torus [0, 1)^dim with a walk on its N points a side: where gossip has a limit as N grows.

    initial: "point", all mass at the centre (1/2, ..., 1/2), or a function that takes positions (..., dim) and returns
    values (...). points: (P, dim), where the profile is read; None: 64 points along the first axis, the others at 1/2.
    steps: "simple", to the 2 dim neighbours alike, or {offset: probability}, symmetric, an offset being dim whole
    numbers, or one in dimension 1. dim is 1, 2 or 3.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    dim: int = whole(1, at_least=1, at_most=DIMENSIONS)
    initial: Any = converted(_an_initial, "point", static=True)
    points: Any = converted(lambda points: points, None)
    steps: Any = converted(lambda steps: steps, "simple", static=True)

    def __before_check__(self) -> dict[str, Any]:
        dim = integer("dim", self.dim, at_least=1, at_most=DIMENSIONS)
        return {"points": _points(self.points, dim), "steps": _steps(self.steps, dim)}

    def sample(self, key: Any = None) -> Lattice:
        """Itself: nothing is random."""
        return self

    @property
    def offsets(self) -> np.ndarray:
        """The steps of the walk (S, dim)."""
        return np.array([offset for offset, _ in self.steps])

    @property
    def probabilities(self) -> np.ndarray:
        """Their probabilities (S,)."""
        return np.array([probability for _, probability in self.steps])

    @property
    def covariance(self) -> np.ndarray:
        """The covariance Sigma of a step (dim, dim)."""
        return np.einsum("s,si,sj->ij", self.probabilities, self.offsets, self.offsets)

    @property
    def bipartite(self) -> bool:
        """Whether every step changes the colour of some checkerboard."""
        boards = itertools.product((0, 1), repeat=self.dim)
        return any(np.all(self.offsets @ np.array(board) % 2 == 1) for board in boards if any(board))

    def require(self, algorithm: Any) -> None:
        """Raises: ValueError for another algorithm, and where the point's mass would stay on a checkerboard."""
        if not isinstance(algorithm, Simple | Jacobi) or getattr(algorithm, "gap", None) is not None:
            raise ValueError(
                f"algorithm={type(algorithm).__name__} is not accepted on a Lattice; accepted: Simple(), or Jacobi "
                "with gap=None"
            )
        if self.initial == "point" and self.bipartite and algorithm.keeps_checkerboard:
            raise ValueError(
                "steps make the lattice bipartite, and the checkerboard of initial='point' never decays under "
                f"{type(algorithm).__name__}; accepted: steps that stay at times, {{0: 1/2, ...}}, Jacobi with alpha > "
                "beta, or a smooth initial"
            )


def _points(points: Any, dim: int) -> np.ndarray:
    if points is None:
        found = np.full((POINTS, dim), 0.5)
        found[:, 0] = np.arange(POINTS) / POINTS
        return found
    found = floating("points", points, np.float64)
    found = found[:, None] if found.ndim == 1 and dim == 1 else found
    if found.ndim != 2 or found.shape[1] != dim or not len(found):
        raise ValueError(f"points has shape {found.shape}; accepted: (P, {dim})")
    return found


def _steps(steps: Any, dim: int) -> tuple[tuple[tuple[int, ...], float], ...]:
    if isinstance(steps, tuple):
        return steps
    if isinstance(steps, str):
        if steps != "simple":
            raise ValueError(f"steps={steps!r} is unknown; accepted: 'simple', or a mapping from offsets")
        units = [tuple(int(axis == one) * sign for axis in range(dim)) for one in range(dim) for sign in (1, -1)]
        return tuple((unit, 0.5 / dim) for unit in units)
    if not isinstance(steps, Mapping) or not steps:
        raise ValueError(f"steps={steps!r} is not accepted; accepted: 'simple', or a mapping from offsets")
    found: dict[tuple[int, ...], float] = {}
    for offset, probability in steps.items():
        place = tuple(
            integer("an offset of steps", one) for one in (offset if isinstance(offset, tuple) else (offset,))
        )
        if len(place) != dim:
            raise ValueError(f"steps has the offset {offset!r}; accepted: {dim} whole numbers")
        found[place] = float(number(f"steps[{offset!r}]", probability, at_least=0.0, at_most=1.0))
    if abs(sum(found.values()) - 1.0) > 1e-9:
        raise ValueError(f"steps has probabilities of sum {sum(found.values()):g}; accepted: the sum 1")
    for place, probability in found.items():
        if abs(found.get(tuple(-one for one in place), 0.0) - probability) > 1e-12:
            raise ValueError(
                f"steps is not symmetric at {place}; accepted: equal probabilities of an offset and minus it"
            )
    moved = np.array([place for place, probability in found.items() if probability > 0.0])
    if np.linalg.matrix_rank(moved) < dim:
        raise ValueError(f"steps={steps!r} do not reach every direction; accepted: offsets that span {dim} dimensions")
    return tuple(sorted(found.items()))


# ---- the iteration


def rounds_of(algorithm: Any, times: np.ndarray, size: int) -> np.ndarray:
    """The rounds (K,) of macroscopic times: round(t N - (alpha + beta + 1)/2), or round(t N^2) of Simple."""
    exact = times * size**2 if isinstance(algorithm, Simple) else times * size - shift(algorithm)
    return np.maximum(np.rint(exact), 0.0).astype(np.int64)


def times_of(algorithm: Any, rounds: np.ndarray, size: int) -> np.ndarray:
    """The macroscopic times of rounds: (n + (alpha + beta + 1)/2) / N but for n = 0, or n / N^2 of Simple."""
    if isinstance(algorithm, Simple):
        return rounds / size**2
    return np.where(rounds > 0, rounds + shift(algorithm), 0.0) / size


def shift(algorithm: Any) -> float:
    """(alpha + beta + 1)/2: by how many rounds the limit runs ahead; with it the error is of order 1/N^2, not 1/N."""
    return 0.5 * float(algorithm.alpha + algorithm.beta + 1.0)


def _recursion(algorithm: Any, rounds: int) -> polynomials.Recursion:
    if isinstance(algorithm, Simple):
        return polynomials.simple(rounds)
    return polynomials.jacobi(float(algorithm.alpha), float(algorithm.beta), 0.0, rounds)


def _symbol(lattice: Lattice, size: int) -> np.ndarray:
    """The eigenvalue of the walk at each wave number of a torus: sum_j p_j cos(2 pi k j / N), (N,) * dim."""
    total = np.zeros((size,) * lattice.dim)
    angles = 2.0 * np.pi * np.arange(size) / size
    for offset, probability in lattice.steps:
        phase = np.zeros(())
        for one in offset:
            phase = np.add.outer(phase, one * angles)
        total += probability * np.cos(phase)
    return total


def profiles(lattice: Lattice, algorithm: Any, rounds: np.ndarray, size: int) -> np.ndarray:
    """The values after `rounds` (K,) on a torus of N points a side, at the points of the lattice: (K, P).

    Between lattice points it is the trigonometric interpolation; "point" is read at the nearest of them, as a density.

    Raises: ValueError for "point" on a torus that its mass would go around.
    """
    reach = int(np.abs(lattice.offsets).max()) * int(rounds[-1])
    if lattice.initial == "point" and size < 2 * reach + 2:
        raise ValueError(
            f"size={size} is too small for initial='point' after {int(rounds[-1])} rounds, which go around the torus; "
            f"accepted: size >= {2 * reach + 2}"
        )
    start = np.zeros((size,) * lattice.dim)
    if lattice.initial == "point":
        start[(size // 2,) * lattice.dim] = float(size) ** lattice.dim
    else:
        start = on_grid(lattice, size)
    modes, symbol = np.fft.fftn(start), _symbol(lattice, size)
    if lattice.initial == "point":
        places = tuple((np.rint(lattice.points * size).astype(int) % size).T)

        def observe(multiplier: np.ndarray) -> np.ndarray:
            return np.fft.ifftn(modes * multiplier).real[places]
    else:

        def observe(multiplier: np.ndarray) -> np.ndarray:
            return interpolated(modes * multiplier, lattice.points)

    recursion = _recursion(algorithm, int(rounds[-1]))
    return polynomials.path(recursion, lambda x: symbol * x, np.ones_like(symbol), rounds, observe)


def on_grid(lattice: Lattice, size: int) -> np.ndarray:
    """The initial condition on the points j / N, (N,) * dim.

    Raises: ValueError where it returns another shape, or what is not finite.
    """
    axes = np.meshgrid(*[np.arange(size) / size] * lattice.dim, indexing="ij")
    found = np.asarray(lattice.initial(np.stack(axes, axis=-1)), np.float64)
    if found.shape != (size,) * lattice.dim:
        raise ValueError(
            f"initial returned shape {found.shape} for {axes[0].shape} positions; accepted: the same shape"
        )
    if not np.isfinite(found).all():
        raise ValueError("initial returned values that are not finite; accepted: finite values")
    return found


def interpolated(modes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The trigonometric polynomial of discrete Fourier modes (N,) * dim at points (P, dim): (P,)."""
    size, most = modes.shape[0], max(1, LARGEST // max(1, modes.size // modes.shape[0]))
    if len(points) > most:  # in parts that fit into memory
        return np.concatenate([interpolated(modes, points[i : i + most]) for i in range(0, len(points), most)])
    waves = np.fft.fftfreq(size, 1.0 / size)
    total: Any = modes
    for axis in range(points.shape[1]):
        phases = np.exp(2j * np.pi * points[:, axis, None] * waves)
        if size % 2 == 0:  # the highest wave stands for both signs
            phases[:, size // 2] = np.cos(np.pi * size * points[:, axis])
        total = np.einsum("pk,k...->p...", phases, total) if axis == 0 else np.einsum("pk,pk...->p...", phases, total)
    return np.real(total) / size ** points.shape[1]


def kernel(lattice: Lattice, algorithm: Any, rounds: int) -> np.ndarray:
    """What one unit of mass becomes after `rounds`, on the infinite lattice: its side is odd, its centre the start.

    Its second moment is Sigma n (n + alpha + beta + 1) / (2 (alpha + 1)), and n Sigma for Simple.

    Raises: TypeError for other objects; ValueError for an algorithm that a lattice does not take.
    """
    instance("lattice", lattice, (Lattice,))
    instance("algorithm", algorithm, (Simple, Jacobi))
    rounds = integer("rounds", rounds, at_least=0)
    if getattr(algorithm, "gap", None) is not None:
        raise ValueError("algorithm has a gap, and an infinite lattice has none; accepted: gap=None")
    size = 2 * int(np.abs(lattice.offsets).max()) * rounds + 1
    symbol = _symbol(lattice, size)
    (multiplier,) = polynomials.evaluate(_recursion(algorithm, rounds), symbol.ravel(), [rounds])
    return np.fft.fftshift(np.fft.ifftn(multiplier.reshape(symbol.shape)).real)


# ---- the limits


def heat_limit(lattice: Lattice, algorithm: Any, times: np.ndarray) -> tuple[np.ndarray, bool]:
    """u_t = div(Sigma grad u) / 2 at the points (K, P), and whether the initial condition was resolved."""
    covariance = lattice.covariance
    if lattice.initial == "point":
        return np.stack([_gaussian(lattice, time) for time in times]), True
    return _by_modes(lattice, times, lambda waves, time: np.exp(-0.5 * time * _squares(waves, covariance)))


def epd_limit(lattice: Lattice, algorithm: Any, times: np.ndarray) -> tuple[np.ndarray, bool]:
    """u_tt + ((2 alpha + 1)/t) u_t = div(Sigma grad u) from rest, at the points (K, P), and whether it was resolved.

    A wave goes over into j_alpha(t sqrt(xi^T Sigma xi)) times itself. From a point, the density of `epd_density`.
    """
    alpha, covariance = float(algorithm.alpha), lattice.covariance
    if lattice.initial == "point":
        return np.stack([_front(lattice, time, alpha) for time in times]), True
    return _by_modes(lattice, times, lambda waves, time: bessel(alpha, time * np.sqrt(_squares(waves, covariance))))


def bessel(alpha: float, argument: np.ndarray) -> np.ndarray:
    """j_alpha(z) = Gamma(alpha + 1) (2/z)^alpha J_alpha(z) = 0F1(alpha + 1; -z^2/4), 1 at 0."""
    with np.errstate(all="ignore"):
        found = hyp0f1(alpha + 1.0, -0.25 * np.square(argument))
        # SciPy gives up where only the envelope is left, which is small then
        envelope = gammaln(alpha + 1.0) - (alpha + 0.5) * np.log(0.5 * argument)
    return np.where(np.isnan(found) & (envelope < -40.0), 0.0, found)


def epd_density(radius: Any, time: float, alpha: float, covariance: Any) -> np.ndarray:
    """The fundamental solution of the Euler-Poisson-Darboux equation in R^dim, for alpha > dim/2 - 1.

        Gamma(alpha + 1) / (pi^(dim/2) Gamma(alpha + 1 - dim/2) t^dim sqrt(det Sigma)) (1 - r^2/t^2)_+^(alpha - dim/2)

    radius: r = sqrt(x^T Sigma^-1 x) >= 0, any shape; covariance: Sigma (dim, dim), or a number in dimension 1.
    For alpha = dim/2 it is uniform on the ellipsoid r <= t.

    Raises: ValueError naming the argument, its value and what is accepted.
    """
    radius = np.asarray(floating("radius", radius, np.float64))
    if np.any(radius < 0.0):
        raise ValueError(f"radius holds {radius.min():g}; accepted: numbers >= 0")
    time = float(number("time", time, at_least=1e-100, at_most=1e100))
    covariance = np.atleast_2d(floating("covariance", covariance, np.float64))
    dim = len(covariance)
    if covariance.shape != (dim, dim) or np.linalg.eigvalsh(covariance)[0] <= 0.0:
        raise ValueError(f"covariance has shape {covariance.shape}; accepted: (dim, dim), positive definite")
    alpha = float(number("alpha", alpha, above=0.5 * dim - 1.0, at_most=LARGEST_ALPHA))
    logs = gammaln(alpha + 1.0) - gammaln(alpha + 1.0 - 0.5 * dim) - 0.5 * dim * np.log(np.pi) - dim * np.log(time)
    height = np.exp(logs - 0.5 * np.linalg.slogdet(covariance)[1])
    inside = np.maximum(1.0 - (radius / time) ** 2, 0.0)
    with np.errstate(divide="ignore"):
        return np.where(radius < time, height * inside ** (alpha - 0.5 * dim), 0.0)


def _squares(waves: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return np.einsum("...i,ij,...j->...", waves, covariance, waves)


def _by_modes(lattice: Lattice, times: np.ndarray, multiplier: Callable[..., np.ndarray]) -> tuple[np.ndarray, bool]:
    """A limit whose waves go by themselves, on the modes of the initial condition; half as many points check it."""
    found = []
    for size in (RULE[lattice.dim], RULE[lattice.dim] // 2):
        modes = np.fft.fftn(on_grid(lattice, size))
        axes = np.meshgrid(*[2.0 * np.pi * np.fft.fftfreq(size, 1.0 / size)] * lattice.dim, indexing="ij")
        waves = np.stack(axes, axis=-1)
        found.append(np.stack([interpolated(modes * multiplier(waves, time), lattice.points) for time in times]))
    scale = max(float(np.abs(found[0]).max()), 1e-6 * float(np.abs(on_grid(lattice, RULE[lattice.dim])).max()), 1e-300)
    return found[0], bool(np.abs(found[0] - found[1]).max() <= TAIL * scale)


def _gaussian(lattice: Lattice, time: float) -> np.ndarray:
    """The heat kernel on the torus, by its images."""
    covariance = time * lattice.covariance
    reach = 1 + int(np.ceil(9.0 * np.sqrt(np.linalg.eigvalsh(covariance)[-1])))
    inverse, height = np.linalg.inv(covariance), np.linalg.det(2.0 * np.pi * covariance) ** -0.5
    total = np.zeros(len(lattice.points))
    for image in itertools.product(range(-reach, reach + 1), repeat=lattice.dim):
        total += height * np.exp(-0.5 * _squares(lattice.points - 0.5 - np.array(image), inverse))
    return total


def _front(lattice: Lattice, time: float, alpha: float) -> np.ndarray:
    """The fundamental solution on the torus, by its images."""
    covariance = lattice.covariance
    inverse, total = np.linalg.inv(covariance), np.zeros(len(lattice.points))
    reach = 1 + int(np.ceil(time * np.sqrt(np.linalg.eigvalsh(covariance)[-1])))
    for image in itertools.product(range(-reach, reach + 1), repeat=lattice.dim):
        radius = np.sqrt(_squares(lattice.points - 0.5 - np.array(image), inverse))
        total += epd_density(radius, time, alpha, covariance)
    return total
