"""What a competent researcher would write without this library: NumPy and scikit-learn, for `sparse_tokens.py`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, ndtr
from sklearn.linear_model import LogisticRegression

DAMPING = 0.6
RELATIVE = 1e-9
MAX_TURNS = 400


class Nodes(NamedTuple):
    """The feature law at quadrature nodes: y, A, kappa c and r of shape (2, N) (y: (2, 1)), their weights (2, 1), and
    Gaussian nodes and weights (K, 1, N) for the noise (used by logistic alone)."""

    y: np.ndarray
    along: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    gauss: np.ndarray
    gauss_weight: np.ndarray


class Answer(NamedTuple):
    test_error: float
    turns: int
    converged: bool


def solve_theory(nodes: Nodes, loss: str, ridge: float, ratio: float) -> Answer:
    """The damped loop: clipped Newton on (w1, b), damped substitution of (w2, tau, chi), until nothing moves."""
    if loss == "square":
        return solve_square(nodes, ridge, ratio)
    averages = {"logistic": _Logistic, "hinge": _Hinge}[loss](nodes)
    w1, w2, b, tau, chi = 0.5, 0.1, 0.0, 0.5, 1.0
    turns, converged = 0, False
    with np.errstate(all="ignore"):
        while turns < MAX_TURNS and not converged:
            turns += 1
            margin = w1 * nodes.along + w2 * nodes.shift + b
            slope, square, curve = averages(margin, nodes.scale * tau, chi * nodes.scale**2)
            gradient = np.array([ridge * w1 + np.sum(slope * nodes.along), np.sum(slope)])
            mixed = np.sum(curve * nodes.along)
            hessian = np.array([[ridge + np.sum(curve * nodes.along**2), mixed], [mixed, np.sum(curve)]])
            step = -np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
            step *= min(1.0, 2.0 / max(np.linalg.norm(step), 1e-300))
            new_chi = 1.0 / (ratio * (ridge + np.sum(nodes.scale**2 * curve)))
            new_w2 = -ratio * new_chi * np.sum(slope * nodes.shift)
            new_tau = np.sqrt(new_w2**2 + ratio * new_chi**2 * np.sum(nodes.scale**2 * square))
            old = np.array([w1, w2, b, tau, chi])
            wanted = np.array([w1 + step[0], new_w2, b + step[1], new_tau, new_chi])
            rate = np.array([1.0, DAMPING, 1.0, DAMPING, DAMPING])
            w1, w2, b, tau, chi = new = old + rate * (wanted - old)
            if not np.all(np.isfinite(new)):
                break
            converged = bool(np.max(np.abs(new - old) / np.maximum(np.abs(new), 1e-3)) < RELATIVE)
    return Answer(test_error(nodes, w1, w2, b, tau), turns, converged)


def solve_square(nodes: Nodes, ridge: float, ratio: float) -> Answer:
    """The square loss without the loop, which cycles there: a scalar root for chi, then a linear system."""
    square = nodes.scale**2

    def excess(log_chi: float) -> float:
        variance = np.exp(log_chi) * square
        return ridge * np.exp(log_chi) + np.sum(nodes.weight * variance / (1.0 + variance)) - 1.0 / ratio

    log_chi, told = brentq(excess, -40.0, 40.0, xtol=1e-13, full_output=True)
    chi = np.exp(log_chi)
    d = 1.0 / (1.0 + chi * square)
    wd = nodes.weight * d
    columns = [nodes.along, nodes.shift, np.ones_like(d)]
    gram = np.array([[np.sum(wd * a * b) for b in columns] for a in columns])
    gram += np.diag([ridge + (0.0 if np.any(nodes.along) else 1.0), ridge + np.sum(wd * square), 0.0])
    w1, w2, b = np.linalg.solve(gram, [np.sum(wd * nodes.y * a) for a in columns])
    misfit = d * (w1 * nodes.along + w2 * nodes.shift + b - nodes.y)
    energy = ratio * chi**2 * np.sum(nodes.weight * square * misfit**2)
    tau = np.sqrt((w2**2 + energy) / (1.0 - ratio * chi**2 * np.sum(nodes.weight * (square * d) ** 2)))
    return Answer(test_error(nodes, w1, w2, b, tau), told.iterations, bool(told.converged))


def test_error(nodes: Nodes, w1: float, w2: float, b: float, tau: float) -> float:
    """E Phi(-y m / (r tau))."""
    margin = w1 * nodes.along + w2 * nodes.shift + b
    return float(np.sum(nodes.weight * ndtr(-nodes.y * margin / (nodes.scale * tau))))


class _Logistic:
    """E l', E l'^2 and E D over the noise, times the weights; the proximal map starts from that of the last turn."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes, self.t = nodes, None

    def __call__(self, margin, spread, variance):
        n = self.nodes
        z = n.y * (margin + spread * n.gauss)
        s = expit(-self._prox(z, variance))
        bend = s * (1.0 - s)
        weight = n.gauss_weight
        slope, square = np.sum(weight * s, 0), np.sum(weight * s * s, 0)
        curve = np.sum(weight * (bend / (1.0 + variance * bend)), 0)
        return -n.weight * n.y * slope, n.weight * square, n.weight * curve

    def _prox(self, z, variance):
        """t - z = V sigmoid(-t) by Newton kept inside [z, z + V]; from the safe start when the warm one does not do."""
        high = z + variance
        safe = t = np.clip(0.0, z, high)
        for start in [safe] if self.t is None else [np.clip(self.t, z, high), safe]:
            t = start
            for _ in range(20):
                s = expit(-t)
                new = np.clip(t - (t - z - variance * s) / (1.0 + variance * s * (1.0 - s)), z, high)
                moved = np.max(np.abs(new - t))
                t = new
                if moved < 1e-6:  # quadratic convergence: the error is below 1e-12 now
                    self.t = t
                    return t
        self.t = t
        return t


class _Hinge:
    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes

    def __call__(self, margin, spread, variance):
        gap = 1.0 - self.nodes.y * margin
        a1, a0 = gap / spread, (gap - variance) / spread
        density1, density0 = (np.exp(-0.5 * a * a) / np.sqrt(2.0 * np.pi) for a in (a1, a0))
        below = ndtr(a0)
        mass, moment = ndtr(a1) - below, density1 - density0
        slope = below + (gap * mass + spread * moment) / variance
        second = mass - a1 * density1 + a0 * density0
        square = below + (gap**2 * mass + 2.0 * gap * spread * moment + spread**2 * second) / variance**2
        weight = self.nodes.weight
        return -weight * self.nodes.y * slope, weight * square, weight * mass / variance


class Setting(NamedTuple):
    length: int
    strength: float
    cosine: float
    sharpness: float
    ridge: float
    samples: int
    dim: int
    error_points: int


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def simulate_tokens(setting: Setting, rng: np.random.Generator) -> tuple[float, float]:
    """(test error, gradient norm reached) of one replicate with all its tokens drawn."""
    s = setting
    kappa = np.sqrt(1.0 - s.cosine**2)
    frame = np.linalg.qr(rng.standard_normal((s.dim, 2)))[0].T
    signal, query = frame[0], s.cosine * frame[0] + kappa * frame[1]
    labels = np.where(rng.random(s.samples) < 0.5, 1.0, -1.0)
    tokens = rng.standard_normal((s.samples, s.length, s.dim))
    positive = np.flatnonzero(labels > 0)
    tokens[positive, rng.integers(s.length, size=positive.size)] += s.strength * signal
    weights = softmax(s.sharpness * (tokens @ query))
    head, bias, norm = fit(np.matmul(weights[:, None, :], tokens)[:, 0], labels, s.ridge)
    along = head @ query
    across = (head @ signal - s.cosine * along) / kappa
    tau = float(np.linalg.norm(head - along * query))
    return exact_error(s, along, across, tau, bias, rng), norm


def simulate_sampled(setting: Setting, rng: np.random.Generator) -> tuple[float, float]:
    """The same from the low-dimensional law of the features: columns (A, kappa c + r z, r Z)."""
    s = setting
    labels = np.where(rng.random(s.samples) < 0.5, 1.0, -1.0)
    along, c, scale = scalars(s, rng.standard_normal((s.samples, s.length)), labels > 0)
    features = rng.standard_normal((s.samples, s.dim))
    features *= scale[:, None]
    features[:, 0] = along
    features[:, 1] += np.sqrt(1.0 - s.cosine**2) * c
    head, bias, norm = fit(features, labels, s.ridge)
    return exact_error(s, head[0], head[1], float(np.linalg.norm(head[1:])), bias, rng), norm


def scalars(s: Setting, noise: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, c, r): the pooled coordinate along the query, the pooled signal, the scale of the rest."""
    scores = noise.copy()
    scores[:, 0] += s.cosine * s.strength * positive
    weights = softmax(s.sharpness * scores)
    c = s.strength * positive * weights[:, 0]
    return np.einsum("nl,nl->n", weights, noise) + s.cosine * c, c, np.linalg.norm(weights, axis=1)


def fit(features: np.ndarray, labels: np.ndarray, ridge: float) -> tuple[np.ndarray, float, float]:
    """(w, b, L2 norm of the gradient of mean loss + (ridge/2)|w|^2) by scikit-learn's lbfgs at its tightest."""
    model = LogisticRegression(C=1.0 / (ridge * labels.size), tol=1e-12, max_iter=1000).fit(features, labels)
    w, b = model.coef_[0], model.intercept_[0]
    slopes = -labels * expit(-labels * (features @ w + b)) / labels.size
    return w, float(b), float(np.hypot(np.linalg.norm(slopes @ features + ridge * w), slopes.sum()))


def exact_error(s: Setting, along: float, across: float, tau: float, bias: float, rng: np.random.Generator) -> float:
    """P(y u < 0) of the trained classifier, averaged over the law of the scores."""
    noise = rng.standard_normal((s.error_points, s.length))
    error = 0.0
    for label in (1.0, -1.0):
        a, c, scale = scalars(s, noise, np.full(s.error_points, label > 0))
        margin = along * a + across * np.sqrt(1.0 - s.cosine**2) * c + bias
        error += 0.5 * np.mean(ndtr(-label * margin / (scale * tau)))
    return float(error)
