"""The self-consistent equations on a few shared nodes, their solution, and the spec's form of them in plain NumPy.

The NumPy side is written from the formulas alone (proximal map by bisection, Gaussian averages by quadrature), so that
it shares nothing with the library but the nodes.
"""

import jax
import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import norm

from solvable.attention import sparse_tokens as st
from solvable.attention.sparse_tokens.equations import Equations, coarse_solution, solve
from solvable.attention.sparse_tokens.nodes import AttentionLaw, MixtureLaw, Nodes
from solvable.numerics.gaussian import NODE_SPACING, NODE_STEPS
from solvable.numerics.losses import get_loss

LOSSES = ("square", "logistic", "hinge")
# The same, where one loss is enough for every day: the least smooth of them.
HINGE_FIRST = ("hinge", *(pytest.param(loss, marks=pytest.mark.slow) for loss in ("square", "logistic")))
FEW = st.Quadrature(points=2**8, scramblings=1)
# One rule for most predictions of these tests, so that they share compiled programs.
SHARED = st.Quadrature(points=2**11, scramblings=8)
FINE = np.linspace(-8.5, 8.5, 241)
FINE_WEIGHT = np.exp(-0.5 * FINE**2) * (FINE[1] - FINE[0]) / np.sqrt(2 * np.pi)


def attention_nodes(task: st.SparseTokens, cosine, sharpness, quadrature: st.Quadrature = FEW) -> Nodes:
    """Nodes of the attention feature; call under x64."""
    normals, shift = quadrature.bags(task.length)
    return AttentionLaw(task, cosine, sharpness).nodes(normals[0], shift[0])


def mixture_nodes(task: st.SparseTokens) -> Nodes:
    """Nodes of the unit-noise mixture of the linear baselines; call under x64."""
    return mixture_rules(task)[0]


def mixture_rules(task: st.SparseTokens) -> list[Nodes]:
    """The rules of `SHARED` for the mixture, one a scrambling; call under x64."""
    return [MixtureLaw.of(task, 1.0, 1.0, 1.0).nodes(shift) for shift in SHARED.shifts()[0]]


def equations(features: Nodes, loss: str, ridge, ratio) -> Equations:
    """The system at these nodes; call under x64."""
    return Equations(features, get_loss(loss), jax.numpy.asarray(ridge), jax.numpy.asarray(ratio))


@jax.jit
def solved(system: Equations):
    """The library's Newton solution of a system (the square loss too)."""
    return solve(system, coarse_solution(system))


def sigmoid_of_minus(t):
    """1/(1 + exp(t)) without overflow."""
    return np.exp(-np.logaddexp(0.0, t))


def prox(loss: str, z, variance):
    """argmin_t loss(t) + (t - z)^2/(2 V); the logistic one by bisection."""
    if loss == "square":
        return (z + variance) / (1 + variance)
    if loss == "hinge":
        return np.where(z >= 1, z, np.where(z <= 1 - variance, z + variance, 1.0))
    low, high = np.broadcast_arrays(z, z + variance)
    for _ in range(80):
        middle = 0.5 * (low + high)
        above = middle - z > variance * sigmoid_of_minus(middle)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return 0.5 * (low + high)


def value(loss: str, t):
    """The loss of a margin."""
    return {"square": 0.5 * (1 - t) ** 2, "hinge": np.maximum(1 - t, 0), "logistic": np.logaddexp(0, -t)}[loss]


class Averages:
    """E over the nodes of functions of the spec's (y, A, kappa c, r), after the average over G, in NumPy.

    Over G: the hinge loss by the spec's closed forms, the square loss by 241 trapezoid nodes, the logistic loss by the
    library's displaced nodes (they are part of the shared rule).
    """

    def __init__(self, features: Nodes, loss: str) -> None:
        self.loss = loss
        self.y = np.asarray(features.label) * np.ones((1, features.scale.shape[1]))
        self.A, self.kc = (self.y * np.asarray(x) for x in (features.query, features.signal))
        self.r, self.weight = np.asarray(features.scale), np.asarray(features.weight)
        if loss == "logistic":
            G = NODE_SPACING * (np.asarray(features.shift)[..., None] + NODE_STEPS)
            self.gaussian = NODE_SPACING * np.exp(-0.5 * G**2) / np.sqrt(2 * np.pi)
            self.G = self.y[..., None] * G  # the library's nodes are those of y G
        else:
            self.G, self.gaussian = FINE[None, None, :], FINE_WEIGHT[None, None, :]

    def __call__(self, values):
        return float(np.sum(self.weight * values))

    def moments(self, w1, w2, b, tau, chi):
        """(E l', E l'^2, E dl'/domega, E loss(u)) over G at every node; omega = w1 A + w2 kappa c + b + r tau G."""
        m, spread, variance = w1 * self.A + w2 * self.kc + b, self.r * tau, chi * self.r**2
        if self.loss == "hinge":
            M, S, V = self.y * m, spread, variance
            a1, a0 = (1 - M) / S, (1 - V - M) / S
            below, gap, bump = ndtr(a0), ndtr(a1) - ndtr(a0), norm.pdf(a1) - norm.pdf(a0)
            second = (1 - M) ** 2 * gap + 2 * (1 - M) * S * bump
            second = second + S**2 * (gap - a1 * norm.pdf(a1) + a0 * norm.pdf(a0))
            slope = -self.y * (below + ((1 - M) * gap + S * bump) / V)
            return slope, below + second / V**2, gap / V, (1 - M - V) * below + S * norm.pdf(a0)
        omega = m[..., None] + spread[..., None] * self.G
        y = self.y[..., None]
        u = y * prox(self.loss, y * omega, variance[..., None])
        slope = u - y if self.loss == "square" else -y * sigmoid_of_minus(y * u)

        def over_g(values):
            return np.sum(self.gaussian * values, axis=-1)

        # Stein's lemma: E[dl'/domega] = E[G l']/(r tau), which needs no second derivative.
        return over_g(slope), over_g(slope**2), over_g(self.G * slope) / spread, over_g(value(self.loss, y * u))

    def residuals(self, w1, w2, b, tau, chi, ridge, ratio):
        """The five equations of the spec, each relative to the size of its terms."""
        slope, square, bend, _ = self.moments(w1, w2, b, tau, chi)
        row = tau / (ratio * chi)
        return np.array(
            [
                self(slope) / row,
                (ridge * w1 + self(slope * self.A)) / row,
                (w2 + ratio * chi * self(slope * self.kc)) / tau,
                ratio * chi * (ridge + self(self.r**2 * bend)) - 1,
                (w2**2 + ratio * chi**2 * self(self.r**2 * square)) / tau**2 - 1,
            ]
        )
