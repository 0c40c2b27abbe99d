"""The exact second moments of asynchronous gossip, on all pairs of nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from solvable.iterations.gossip.network import MOST_MOMENTS, Network
from solvable.iterations.gossip.pairwise import constants

BASIS = 40  # of Arnoldi: how many powers a stretch spans
TAIL = 1e-13  # the last two of them may weigh this much where the stretch ends
DECAYED = 1e-5  # the weights, of 1, where it ends at the latest, as their rounding is absolute
FAR = 1e12  # activations, or time: no stretch is longer
MOST_SPANS = 10_000  # of time, in each of which an equation is solved
EARLY = 1e-6  # of a unit of time, or of the first: where the equation of the method without the gap starts


class Stretch(NamedTuple):
    """The moments from `start` activations, or time, on: `error` (span) is E |x - mean|^2 / n up to a span `reach`."""

    start: float
    reach: float
    error: Callable[[float], float]


class Moments:
    """E x x^T, E x z^T, E z z^T (n, n) of asynchronous gossip, what one activation makes of them, and what time does.

    With L_e = (e_v - e_w)(e_v - e_w)^T and L = sum_e P_e L_e, an activation averages
    (1 - L_e/2) M (1 - L_e/2), and likewise with z -> z - gamma L_e x; sum_e P_e q_e L_e with q_e = (x_v - x_w)^2 is all
    that does not come from products with L, so that it costs O(n^2 + |E| n) and no (2n)^2 generator.
    """

    def __init__(self, algorithm: Any, network: Network) -> None:
        self.network, self.accelerated, self.gap = network, algorithm.accelerated, algorithm.gap
        self.eta, self.gamma = constants(algorithm, network)
        self.laplacian = network.laplacian

    def start(self, values: np.ndarray | None) -> np.ndarray:
        """The moments (B, n, n) of values (n, k), summed over columns, or of independent normals for None; B is 3 where
        z is kept. The mean is taken off.
        """
        nodes = self.network.nodes
        if values is None:
            moment = np.eye(nodes) - 1.0 / nodes
        else:
            centred = values - values.mean(axis=0)
            moment = centred @ centred.T
        return np.stack([moment] * 3) if self.accelerated else moment[None]

    def error(self, moments: np.ndarray) -> float:
        """E |x - mean|^2 / n."""
        return float(np.trace(moments[0])) / self.network.nodes

    # ---- one activation

    def change(self, moments: np.ndarray, gamma: float) -> np.ndarray:
        """What an activation adds to the moments on average, z taking a step gamma."""
        xx = moments[0]
        left = self.laplacian @ xx
        (first, second), rates = self.network.edges.T, self.network.rates
        squares = rates * (xx[first, first] + xx[second, second] - 2.0 * xx[first, second])
        if not self.accelerated:
            return self._scattered(-0.5 * (left + left.T), 0.25 * squares)[None]
        mixed = self.laplacian @ moments[1]
        return np.stack(
            [
                self._scattered(-0.5 * (left + left.T), 0.25 * squares),
                self._scattered(-gamma * left.T - 0.5 * mixed, 0.5 * gamma * squares),
                self._scattered(-gamma * (mixed + mixed.T), gamma**2 * squares),
            ]
        )

    def _scattered(self, matrix: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """matrix + sum_e weights_e L_e, in place."""
        first, second = self.network.edges.T
        np.add.at(matrix, (first, first), weights)
        np.add.at(matrix, (second, second), weights)
        matrix[first, second] -= weights
        matrix[second, first] -= weights
        return matrix

    def waited(self, moments: np.ndarray) -> np.ndarray:
        """After an exponential waiting time: (x + z)/2 stays, (x - z)/2 has shrunk by e^(-2 eta s), and
        E e^(-2 eta s) = 1 / (1 + 2 eta), E e^(-4 eta s) = 1 / (1 + 4 eta).
        """
        xx, xz, zz = moments
        both = xz + xz.T
        sums, cross, differences = xx + both + zz, xx - xz + xz.T - zz, xx - both + zz
        cross, differences = cross / (1.0 + 2.0 * self.eta), differences / (1.0 + 4.0 * self.eta)
        # E (s + d)(s - d)^T and so on, with s = (x + z)/2 and d = (x - z)/2; `cross` is 4 E s d^T
        mixed, turned = cross + cross.T, cross.T - cross
        return 0.25 * np.stack([sums + mixed + differences, sums + turned - differences, sums - mixed + differences])

    # ---- many

    def stretches(self, moments: np.ndarray, in_time: bool) -> Iterator[Stretch]:
        """The moments from the start on, stretch by stretch, with the gap (without it an activation's time matters).

        One activation moves little on a large network: T^k M and e^(t G) M lie in the span of few powers on M, in which
        Arnoldi makes them those of a small matrix. A stretch ends where the last powers begin to weigh.
        """
        balance = (self.eta / self.gamma) ** 0.5 if self.accelerated else 1.0  # of z, so that x and z couple alike
        scales = np.array([1.0, balance, balance**2][: len(moments)])[:, None, None]

        def step(scaled: np.ndarray) -> np.ndarray:
            state = scaled / scales
            if in_time:
                slope = scales * (self._drift(state, self.eta, self.eta) + self.change(state, self.gamma))
                return _centred(slope + scaled) - scaled  # what is not centred decays
            state = self.waited(state) if self.accelerated else state
            return _centred(scales * (state + self.change(state, self.gamma)))

        done, state = 0.0, moments * scales
        least = 1e-100 * float(np.linalg.norm(state))
        while True:
            basis, matrix, ended = _arnoldi(step, state)
            traces = np.trace(basis[:, 0], axis1=1, axis2=2) / self.network.nodes
            size = float(np.linalg.norm(state))
            size = size if size > least else 0.0
            cache: dict[float, np.ndarray] = {}

            def weights(span: float, matrix: np.ndarray = matrix, cache: dict[float, np.ndarray] = cache) -> np.ndarray:
                if span not in cache:
                    powers = expm(span * matrix) if in_time else np.linalg.matrix_power(matrix, int(span))
                    cache[span] = powers[:, 0]
                return cache[span]

            def holds(span: float, weights: Any = weights, free: bool = ended) -> bool:
                found = np.abs(weights(span))
                return found.max() >= DECAYED and (free or found[-2:].max() <= TAIL * found.max())

            reach = 1.0 if size else np.inf  # of so little nothing is left in float64
            while in_time and size and not holds(reach):
                reach *= 0.5
            while reach < FAR and holds(2.0 * reach):
                reach *= 2.0
            yield Stretch(done, reach, lambda span, w=weights, t=traces, size=size: float(w(span) @ t) * size)
            done, state = done + reach, np.tensordot(weights(reach), basis, 1) * size

    def _drift(self, moments: np.ndarray, forward: float, back: float) -> np.ndarray:
        """The time derivative of the moments under dx = forward (z - x) dt, dz = back (x - z) dt."""
        if not self.accelerated:
            return np.zeros_like(moments)
        xx, xz, zz = moments
        both = xz + xz.T
        return np.stack([forward * (both - 2.0 * xx), forward * (zz - xz) + back * (xx - xz), back * (both - 2.0 * zz)])

    def without_gap(self, moments: np.ndarray, times: np.ndarray) -> list[float]:
        """E |x - mean|^2 / n at times >= 0, where eta = eta_1 / t and gamma = gamma_1 t: an equation in log t.

        x = z = x_0 up to a time so early that no edge has woken but with a probability of 1e-6.
        """
        shape, found, now = moments.shape, [], 0.0
        fastest = 2.0 * float(self.laplacian.diagonal().max())
        if times.size and times[-1] * fastest > 8.0 * MOST_SPANS:
            raise ValueError(
                f"at holds {times[-1]:g}, and the moments without the gap are followed in short spans of time; "
                f"accepted: times <= {8.0 * MOST_SPANS / fastest:g} here, or a simulation"
            )

        def slope(log_time: float, flat: np.ndarray) -> np.ndarray:
            time, state = np.exp(log_time), flat.reshape(shape)
            drift = self._drift(state, self.eta, 0.0)
            return (drift + time * self.change(state, self.gamma * time)).ravel()

        for stop in times:
            if now == 0.0 < stop:
                now = EARLY * min(1.0, float(stop))
            while now < stop:
                # in spans over which little decays, so that the error is relative to what is left
                later = min(float(stop), now * 2.0, now + 8.0 / fastest)
                options: dict[str, Any] = {"method": "DOP853", "rtol": 1e-9, "atol": 1e-11 * np.abs(moments).max()}
                solved = solve_ivp(slope, (np.log(now), np.log(later)), moments.ravel(), **options)
                moments, now = _centred(solved.y[:, -1].reshape(shape)), later
            found.append(self.error(moments))
        return found


def _centred(moments: np.ndarray) -> np.ndarray:
    """Without what rounding puts on the mean and makes asymmetric, neither of which decays."""
    moments = moments - moments.mean(axis=-1, keepdims=True)
    moments = moments - moments.mean(axis=-2, keepdims=True)
    for own in {0, len(moments) - 1}:  # E x x^T and E z z^T
        moments[own] = 0.5 * (moments[own] + moments[own].T)
    return moments


def _arnoldi(step: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """An orthonormal basis (J, *) of the powers of `step` on `start`, `step` in it (J, J), and whether it is closed."""
    size = float(np.linalg.norm(start))
    basis = np.zeros((BASIS, start.size))
    matrix = np.zeros((BASIS + 1, BASIS))
    basis[0] = start.ravel() / (size if size > 0.0 else 1.0)
    for place in range(BASIS):
        new = step(basis[place].reshape(start.shape)).ravel()
        length = np.linalg.norm(new)
        for _ in range(2):
            along = basis[: place + 1] @ new
            matrix[: place + 1, place] += along
            new -= along @ basis[: place + 1]
        matrix[place + 1, place] = np.linalg.norm(new)
        if matrix[place + 1, place] <= 1e-13 * max(length, 1e-300):
            count = place + 1
            return basis[:count].reshape(count, *start.shape), matrix[:count, :count], True
        if place + 1 < BASIS:
            basis[place + 1] = new / matrix[place + 1, place]
    return basis.reshape(BASIS, *start.shape), matrix[:BASIS], False


def errors(algorithm: Any, network: Network, values: np.ndarray | None, at: np.ndarray, in_time: bool) -> np.ndarray:
    """E |x - mean|^2 / n at activations, or times, `at` (K,), of values (n, k) or of independent normals for None.

    Raises: ValueError above 3 000 nodes, and for activations counted without the gap.
    """
    network.require_dense("second moments", MOST_MOMENTS, "a simulation")
    model = Moments(algorithm, network)
    state = model.start(values)
    if algorithm.accelerated and not algorithm.gap:
        if not in_time:
            raise ValueError(
                "unit counts activations, after which no moments are closed without the gap, as steps depend on time; "
                "accepted: unit='time'"
            )
        return np.array(model.without_gap(state, np.asarray(at, float)))
    stretches = model.stretches(state, in_time)
    now, found = next(stretches), []
    for stop in at:
        while stop > now.start + now.reach:
            now = next(stretches)
        found.append(now.error(float(stop - now.start)))
    return np.array(found)


def activations_to(
    algorithm: Any, network: Network, values: np.ndarray | None, accuracy: float, most: int
) -> int | None:
    """The first activation after which E |x - mean|^2 is accuracy^2 times its start; None beyond `most`."""
    model = Moments(algorithm, network)
    state = model.start(values)
    aim = accuracy**2 * model.error(state)
    for now in model.stretches(state, False):
        last = min(now.reach, most - now.start)
        if now.error(last) > aim:
            if last < now.reach:
                return None
            continue
        first = 0.0
        while last - first > 1:
            middle = (first + last) // 2
            first, last = (first, middle) if now.error(middle) <= aim else (middle, last)
        return int(now.start + last)
    return None


def guarantee(algorithm: Any, network: Network, values: np.ndarray | None, at: np.ndarray, in_time: bool) -> np.ndarray:
    """The bound at activations, or times, `at` (K,) (see `theories`).

    Raises: ValueError for activations counted with acceleration, whose bound speaks of time.
    """
    nodes, gap = network.nodes, network.pairwise_gap
    centred = None if values is None else values - values.mean(axis=0)
    square = nodes - 1.0 if centred is None else float((centred**2).sum())
    if not algorithm.accelerated:
        return square / nodes * (np.exp(-0.5 * gap * at) if in_time else (1.0 - 0.5 * gap) ** at)
    if not in_time:
        raise ValueError("unit counts activations, after which accelerated=True has no bound; accepted: unit='time'")
    inverse = network.inverse_laplacian
    weighted = np.trace(inverse) if centred is None else float((centred * (inverse @ centred)).sum())
    if algorithm.gap:
        return (square + gap * weighted) / nodes * np.exp(-constants(algorithm, network)[0] * at)
    resistance = float(network.resistances[network.rates > 0.0].max())
    factor = 8.0 if algorithm.steps == "stated" else 2.0
    at = np.asarray(at, float)
    late = np.maximum(at, np.finfo(float).tiny ** 0.4)
    return np.where(at > 0.0, factor * resistance * weighted / (nodes * late**2), square / nodes)
