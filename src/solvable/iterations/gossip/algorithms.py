"""The methods: synchronous rounds, which all nodes take at once, and single activations of edges."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np
import scipy.sparse as sp
from scipy.sparse import csgraph

from solvable.iterations.gossip import polynomials
from solvable.iterations.gossip.network import MOST_DENSE, Network
from solvable.iterations.gossip.polynomials import Recursion
from solvable.iterations.gossip.spectrum import lanczos, probes
from solvable.iterations.gossip.task import Averaging, generator
from solvable.lab.declare import (
    Checked,
    Result,
    absent,
    converted,
    flag,
    instance,
    log_spaced,
    on_the_host,
    raise_unless_successful,
    real,
    recorded_steps,
    whole,
    word,
)
from solvable.numerics.precision import float64
from solvable.numerics.random import a_key
from solvable.numerics.validation import number, truth

MOST_ROUNDS = 10**7
ROUNDS = np.concatenate([[0], log_spaced(1, 120, 30)])  # of `at=None`


class Run(eqx.Module):
    """One run: the values of all nodes (K, n) or (K, n, k) at the rounds, or activations, `at` (K,).

    `mean` is that of the values at the start, `result` a `Result` code, `problem` what was averaged.
    """

    at: Any
    values: Any
    mean: Any
    result: Any
    problem: Averaging


class Algorithm(Checked):
    """What all methods share."""

    @abc.abstractmethod
    def path(self, network: Network, start: np.ndarray, at: np.ndarray, key: Any, observe: Any) -> np.ndarray:
        """What `observe` reads off the values (n, k), which start at `start`, at `at` (K,): stacked."""

    def require(self, network: Network) -> None:
        """Raises: ValueError where the method cannot average on this network."""

    @float64
    def train(
        self, problem: Averaging, key: jax.Array | None = None, *, init: None = None, at: Any = None, throw: bool = True
    ) -> Run:
        """Average on one problem; values that are not given, and activations, are drawn with `key`.

        `at` (K,) are rounds, or activations: increasing whole numbers; None: 0 and about thirty to 120.

        Raises: TypeError for what is no problem; ValueError for bad `at`; SolveError, unless throw=False, where a value
        is not finite.
        """
        instance("problem", problem, (Averaging,))
        absent("init", init, "gossip starts from the values of the problem")
        on_the_host("train", self, problem, at)
        self.require(problem.network)
        drawn = problem.sample(a_key(key))
        at = recorded_steps(at, MOST_ROUNDS, ROUNDS, name=None)
        with np.errstate(all="ignore"):
            values = self.path(drawn.network, drawn.columns, at, key, lambda x: x)
            finite = np.isfinite(values).all() and np.isfinite((values**2).sum())
        result = int(Result.SUCCESSFUL if finite else Result.NONFINITE)
        if truth("throw", throw):
            raise_unless_successful(result, f"{type(self).__name__}.train")
        values = values.reshape(len(at), *np.shape(drawn.values)) if finite else np.full((len(at), 1), np.nan)
        return Run(at, values, np.mean(drawn.values, axis=0), result, drawn)


class Synchronous(Algorithm):
    """A method of rounds, in each of which every node hears all its neighbours once."""

    knows: ClassVar[str] = "nothing"  # what every node has to be told before
    keeps_checkerboard: ClassVar[bool] = True  # whether a checkerboard of eigenvalue -1 stays

    @abc.abstractmethod
    def recursion(self, network: Network, rounds: int) -> Recursion:
        """The three numbers of every round."""

    def require(self, network: Network) -> None:
        """Raises: ValueError for W with the eigenvalue -1, whose checkerboard this method keeps."""
        if self.keeps_checkerboard and network.checkerboard:
            raise ValueError(
                f"network with weights={network.kind!r} is bipartite and has the eigenvalue -1: the checkerboard never "
                f"decays under {type(self).__name__}; accepted: weights='metropolis' or 'lazy'"
            )

    def path(self, network: Network, start: np.ndarray, at: np.ndarray, key: Any, observe: Any) -> np.ndarray:
        """Run the rounds on what is off the mean: nothing decays in the mean, so that rounding would gather there."""
        matrix, means = network.matrix, start.mean(axis=0)
        steps = self.recursion(network, int(at[-1]))
        return polynomials.path(steps, lambda x: matrix @ x, start - means, at, lambda x: observe(x + means))


class Simple(Synchronous):
    """Simple gossip: x <- W x."""

    def recursion(self, network: Network, rounds: int) -> Recursion:
        """P_t = lambda^t."""
        return polynomials.simple(rounds)


def _a_gap(gap: Any) -> Any:
    if gap is None or (isinstance(gap, str) and gap == "exact"):
        return gap
    if isinstance(gap, str):
        raise ValueError(f"gap={gap!r} is unknown; accepted: None, 'exact', or a number > 0 and < 2")
    return float(number("gap", gap, above=0.0, below=2.0))


class Jacobi(Synchronous):
    """Jacobi polynomial gossip (arXiv:1805.08531): P_t^(alpha, beta)(W) / P_t^(alpha, beta)(1).

    dimension: the spectral dimension of the network, which gives alpha = dimension / 2; alpha > -1 takes its place.
    beta > -1. gap: None, or the spectral gap, from which Chebyshev-like rates follow; "exact" computes it.

    Raises: ValueError naming the argument, its value and what is accepted.
    """

    dimension: Any = real(2.0, above=0.0, at_most=2e6)
    alpha: Any = real(None, above=-1.0, at_most=1e6)
    beta: Any = real(0.0, above=-1.0, at_most=1e6)
    gap: Any = converted(_a_gap, None, static=True)

    def __before_check__(self) -> dict[str, Any]:
        if self.alpha is None:
            return {"alpha": 0.5 * number("dimension", self.dimension, above=0.0)}
        return {}

    @property
    def knows(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The dimension, and the gap where it is used."""
        return "dimension" if self.gap is None else "gap"

    @property
    def keeps_checkerboard(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """P_t(-1) goes as t^(beta - alpha)."""
        return bool(self.alpha <= self.beta)

    def recursion(self, network: Network, rounds: int) -> Recursion:
        """Jacobi polynomials, on [-1, 1 - gap] where the gap is known."""
        gap = network.gap if self.gap == "exact" else (self.gap or 0.0)
        return polynomials.jacobi(float(self.alpha), float(self.beta), min(gap, 2.0 - 1e-9), rounds)


def _a_weight(weight: Any) -> Any:
    if isinstance(weight, str):
        if weight in ("optimal", "published"):
            return weight
        raise ValueError(f"weight={weight!r} is unknown; accepted: 'optimal', 'published', or a number >= 1 and < 2")
    return float(number("weight", weight, at_least=1.0, below=2.0))


class ShiftRegister(Synchronous):
    """Shift-register gossip: x_(t+1) = weight W x_t + (1 - weight) x_(t-1), second-order Richardson.

    weight: "optimal", best for W; "published", that of the code of arXiv:1805.08531, which is best for (I + W)/2 and
    weaker on W; or a number in [1, 2).
    """

    weight: Any = converted(_a_weight, "optimal", static=True)
    knows = "gap"

    def recursion(self, network: Network, rounds: int) -> Recursion:
        """One weight for all rounds."""
        second = 1.0 - network.gap
        weight = self.weight
        if weight == "optimal":
            weight = polynomials.optimal_weight(max(abs(second), abs(network.smallest_eigenvalue)))
        elif weight == "published":
            weight = polynomials.published_weight(second)
        return polynomials.shift_register(weight, rounds)


class Chebyshev(Synchronous):
    """Chebyshev polynomials of [lam_n, lam_2], scaled to 1 at 1: the best guarantee from the two ends alone."""

    knows = "gap"
    keeps_checkerboard = False

    def recursion(self, network: Network, rounds: int) -> Recursion:
        """Chebyshev polynomials."""
        return polynomials.chebyshev(network.smallest_eigenvalue, 1.0 - network.gap, rounds)


class Tuned(Synchronous):
    """The polynomials of least expected error for this network, from a few random vectors (ours).

    The best polynomials for independent values are orthogonal in (1 - lambda) times the spectrum. Lanczos on W in the
    inner product <u, (I - W) v> finds their three numbers a round from `probes` random vectors, always the same; they
    hold for all other values, as the spectrum averages itself. `rounds` is how many are found.
    """

    probes: int = whole(8, at_least=1)
    rounds: int = whole(400, at_least=1)
    knows = "spectrum"
    keeps_checkerboard = False

    def recursion(self, network: Network, rounds: int) -> Recursion:
        """Lanczos.

        Raises: ValueError for more rounds than are tuned.
        """
        if rounds > self.rounds:
            raise ValueError(
                f"at holds round {rounds}, and Tuned has rounds={self.rounds}; accepted: Tuned(rounds={rounds})"
            )
        cache = network.__dict__.setdefault("_tuned", {})
        if (self.probes, self.rounds) not in cache:
            cache[self.probes, self.rounds] = self._found(network)
        return Recursion(*(one[:rounds] for one in cache[self.probes, self.rounds]))

    def _found(self, network: Network) -> Recursion:
        matrix, start = network.matrix, probes(network.nodes, self.probes)
        found = lanczos(lambda x: matrix @ x, start, self.rounds, gap=True)
        return polynomials.orthogonal(found, self.rounds)


class ParameterFree(Synchronous):
    """The polynomials that are best for the very values averaged (arXiv:1805.08531): a curve of reference.

    Each round takes inner products over the whole network, which no node has. Columns of values are treated apart.
    """

    knows = "all values"
    keeps_checkerboard = False

    def recursion(self, network: Network, rounds: int) -> Recursion:
        """None: it depends on the values.

        Raises: ValueError.
        """
        raise ValueError(
            "algorithm=ParameterFree depends on the values; accepted: Averaging with values, or given=an outcome of "
            "simulate"
        )

    def path(self, network: Network, start: np.ndarray, at: np.ndarray, key: Any, observe: Any) -> np.ndarray:
        """Run every column with the polynomials that Lanczos finds for it."""
        matrix, rounds, means = network.matrix, int(at[-1]), start.mean(axis=0)
        columns = []
        for column in (start - means).T:
            if not np.isfinite(column @ column):
                columns.append(np.full((len(at), len(column)), np.nan))
                continue
            steps = polynomials.orthogonal(lanczos(lambda x: matrix @ x, column, rounds, gap=True), rounds)
            columns.append(polynomials.path(steps, lambda x: matrix @ x, column, at))
        return np.stack([observe(x + means) for x in np.stack(columns, axis=-1)])


class LocalAveraging(Synchronous):
    """Round t gives each node the mean over its ball of radius t: what it could know by then, each value once.

    No node can compute it from messages of one value; a curve of reference. Means are not kept (`drift`).

    Raises: ValueError above 5 000 nodes.
    """

    knows = "all values"
    keeps_checkerboard = False

    def recursion(self, network: Network, rounds: int) -> Recursion:
        """None: a ball is no polynomial of W.

        Raises: ValueError.
        """
        raise ValueError(
            "algorithm=LocalAveraging is no polynomial; accepted: theory='spectral', which counts its balls"
        )

    def require(self, network: Network) -> None:
        """Raises: ValueError for large networks."""
        network.require_dense("the distances between nodes", MOST_DENSE, "another method")

    def path(self, network: Network, start: np.ndarray, at: np.ndarray, key: Any, observe: Any) -> np.ndarray:
        """Sum over spheres, then over balls."""
        distances = distances_of(network)
        sums, counts, found, done = np.zeros_like(start), np.zeros(network.nodes), [], -1
        for stop in at:
            while done < min(stop, int(distances.max())):
                done += 1
                sphere = sp.csr_array(distances == done, dtype=np.float64)
                sums, counts = sums + sphere @ start, counts + sphere.sum(axis=1)
            found.append(observe(sums / counts[:, None]))
        return np.stack(found)


class MessagePassing(Synchronous):
    """Message passing gossip on a regular network (arXiv:1805.08531): the mean over walks that never turn back.

    degree: that of every node, 2 or more. The weights of the network do not matter, as long as they are all the same.
    """

    degree: int = whole(at_least=2)
    knows = "degree"

    def require(self, network: Network) -> None:
        """Raises: ValueError for a network that is not regular, or is bipartite, or has weights that differ."""
        degrees = np.unique(network.degrees)
        if len(degrees) > 1 or degrees[0] != self.degree:
            raise ValueError(
                f"degree={self.degree} is not accepted on a network with degrees {degrees.min()} to {degrees.max()}; "
                "accepted: a regular network of this degree"
            )
        if np.ptp(network.weights) > 1e-12:
            raise ValueError(
                "network has weights that differ; accepted: the same on all edges, as weights='metropolis'"
            )
        if network.bipartite:
            raise ValueError(
                "network is bipartite: its checkerboard never decays under MessagePassing; accepted: others"
            )

    def recursion(self, network: Network, rounds: int) -> Recursion:
        """Walks that never turn back, in A / degree = (W - s) / (1 - s), s what W leaves on a node."""
        a, b, c = polynomials.message_passing(self.degree, rounds)
        moved = self.degree * float(network.weights[0])
        return Recursion(a / moved, b - a * (1.0 - moved) / moved, c)


class Pairwise(Algorithm):
    """Asynchronous gossip: edges wake one at a time, by Poisson clocks, and their two nodes average.

    accelerated: whether nodes keep a second value each, which mixes with the first by their own clocks between
    activations (continuized acceleration, arXiv:2106.07644; its constants are derived here):

        dx = eta (z - x) dt,  dz = eta' (x - z) dt;  an activation of {v, w} at x_v - x_w = g:
        x_v -= g/2, x_w += g/2, z_v -= gamma g, z_w += gamma g

    gap: whether mu_g is known, eta = eta' = sqrt(mu_g / (2 r)), gamma = 1 / sqrt(2 mu_g r), with the largest effective
    resistance r; else eta' = 0 and eta = 2/t, gamma = t / (4 r), or with steps="tight" 1/t and t / (2 r).
    Time is such that one edge wakes in a unit of it.
    """

    accelerated: bool = flag()
    gap: bool = flag(True)
    steps: str = word("stated", "tight")

    def path(self, network: Network, start: np.ndarray, at: np.ndarray, key: Any, observe: Any) -> np.ndarray:
        """Wake edges."""
        from solvable.iterations.gossip.pairwise import wake

        found: list[Any] = []
        wake(self, [network], start[None], at[None].astype(float), "activations", [generator(key)], found.append)
        return np.stack([observe(np.asarray(x[0])) for x in found])


def distances_of(network: Network) -> np.ndarray:
    """The distances between all nodes (n, n), in edges."""
    if "_distances" not in network.__dict__:
        found = csgraph.shortest_path(network.matrix != 0.0, unweighted=True, directed=False)
        network.__dict__["_distances"] = found.astype(np.int32)
    return network.__dict__["_distances"]
