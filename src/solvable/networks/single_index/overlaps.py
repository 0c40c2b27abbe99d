"""The population flow at finite dimension and width, in overlaps: a_i, s_i = <u_i, u*> and G_ij = <u_i, u_j>.

From eps a_i' = -m dR/da_i and u_i' = -m (I - u_i u_i^T) grad_i R, with W_ip = U'(G_ip) a_p / m and
q_i = V'(s_i) s_i - sum_p W_ip G_ip (derived, exact):

    eps a' = V(s) - U(G) a / m,      s_i' = a_i (V'(s_i) - (W s)_i - q_i s_i),
    G' = C + C^T,   C_ij = a_i (V'(s_i) s_j - (W G)_ij - q_i G_ij).

Explicit steps of order 8: those of weights in many dimensions cost more than the stiffness of a, whose rate is at
most U(1) / eps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from solvable.lab.declare import Result
from solvable.networks.single_index.model import Model, check_start, population_risk, residuals

RTOL, ATOL = 1e-10, 1e-12
LONGEST = 3600.0  # seconds that a flow may be expected to take
RISING = 1e-8  # by how much of E phi^2 the risk may rise, from rounding and the solver's tolerance


class Start(eqx.Module):
    """Where a run starts: outer weights a (m,), alignment s (m,), gram G (m, m); with a replicate axis first for runs.

    Raises: ValueError for shapes that do not fit, and for what cannot be the overlaps of unit vectors.
    """

    outer: Any
    alignment: Any
    gram: Any


def checked(start: Start) -> Start:
    """A start of one run as float64 arrays, checked."""
    one = Start(*(np.asarray(part, float) for part in (start.outer, start.alignment, start.gram)))
    check_start(one.outer, one.alignment, one.gram)
    return one


class Flow(NamedTuple):
    """a, s (K, m), the risk (K,), the last crossing of each watched degree (n,) and a `Result` code."""

    outer: Any
    alignment: Any
    risk: Any
    crossings: Any
    result: int


def generator(key: Any, *numbers: int) -> np.random.Generator:
    """Random numbers of NumPy that depend on a key of JAX and on some numbers alone."""
    words = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return np.random.Generator(np.random.SFC64([*np.asarray(words).ravel().tolist(), *numbers]))


def random_coordinates(draw: np.random.Generator, neurons: int, dim: int, full: bool = False) -> np.ndarray:
    """Uniform unit vectors (m, n) of R^dim in an orthonormal basis that begins with u*.

    n = min(m + 1, dim): what lies across u* is rotated into a triangle, whose entries are independent, normals below
    the diagonal and on it lengths of Gaussian vectors of fewer and fewer dimensions; `full`: n = dim.
    """
    if full or dim <= neurons:
        found = draw.standard_normal((neurons, dim))
    else:
        below = draw.standard_normal((neurons, neurons + 1))
        lengths = np.sqrt(draw.chisquare(dim - 1.0 - np.arange(neurons)))
        found = np.concatenate([below[:, :1], np.tril(below[:, 1:], -1) + np.diag(lengths)], axis=1)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def coordinates_of(start: Start) -> np.ndarray:
    """Unit vectors (m, m + 1) with these overlaps, in a basis that begins with u*."""
    rest = start.gram - np.outer(start.alignment, start.alignment)
    values, vectors = np.linalg.eigh(0.5 * (rest + rest.T))
    across = vectors * np.sqrt(np.maximum(values, 0.0))
    found = np.concatenate([start.alignment[:, None], across], axis=1)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def flow(one: Model, rate_ratio: float, start: Start, times: np.ndarray) -> Flow:
    """The flow of (a, s, G) from a start."""
    m = len(start.outer)

    def field(_: float, state: np.ndarray) -> np.ndarray:
        a, s, gram = state[:m], state[m : 2 * m], state[2 * m :].reshape(m, m)
        slope, weights = one.cross.slope(s, np), one.own.slope(gram, np) * (a / m)
        pull = slope * s - (weights * gram).sum(axis=1)
        half = a[:, None] * (slope[:, None] * s - weights @ gram - pull[:, None] * gram)
        grown = (one.cross(s, np) - one.own(gram, np) @ a / m) / rate_ratio
        return np.concatenate([grown, a * (slope - weights @ s - pull * s), (half + half.T).ravel()])

    first = np.concatenate([start.outer, start.alignment, start.gram.ravel()])
    return _solved(one, rate_ratio, field, first, m, m * m, times)


def weight_flow(one: Model, rate_ratio: float, outer: np.ndarray, weights: np.ndarray, times: np.ndarray) -> Flow:
    """The flow of a (m,) and of the weights themselves (m, d), u* being the first axis."""
    m, dim = weights.shape

    def field(_: float, state: np.ndarray) -> np.ndarray:
        a, u = state[:m], state[m:].reshape(m, dim)
        gram, s = u @ u.T, u[:, 0]
        slope, pairs = one.cross.slope(s, np), one.own.slope(gram, np) * (a / m)
        grown = (one.cross(s, np) - one.own(gram, np) @ a / m) / rate_ratio
        toward = -(pairs @ u)
        toward[:, 0] += slope
        moved = a[:, None] * (toward - (toward * u).sum(axis=1)[:, None] * u)
        return np.concatenate([grown, moved.ravel()])

    return _solved(one, rate_ratio, field, np.concatenate([outer, weights.ravel()]), m, m * dim, times, dim)


def _solved(
    one: Model, eps: float, field: Any, start: np.ndarray, m: int, size: int, times: np.ndarray, dim: int = 0
) -> Flow:
    """Integrate and measure; `dim` > 0 where the state holds weights, else it holds s and G."""

    def aligned(state: np.ndarray) -> np.ndarray:
        return state[m : m + m * dim : dim] if dim else state[m : 2 * m]

    def excess(k: int) -> Any:
        def event(_: float, state: np.ndarray) -> float:
            mean = float(state[:m] @ aligned(state) ** k) / m
            return abs(one.target[k] - one.activation[k] * mean) - 0.5 * abs(one.target[k])

        return event

    end = float(times[-1])
    steps = 20.0 + 0.2 * end * one.own(np.ones(()), np) / eps
    seconds = steps * 12.0 * (1e-4 + 4e-10 * m * size + 5e-8 * m * m)
    if seconds > LONGEST:
        raise ValueError(
            f"at reaches {end:g} with rate_ratio={eps:g} and {m} neurons, which takes about {seconds / 60:.3g} minutes "
            "a run; accepted: earlier times, a larger rate_ratio or fewer neurons, or theory='mean_field'"
        )
    events = [excess(k) for k in one.watched]
    options: Any = {"rtol": RTOL, "atol": ATOL, "first_step": min(1e-3 * eps, max(end, 1e-300))}
    with np.errstate(all="ignore"):
        # the times may begin at 0, and may all be 0
        found: Any = solve_ivp(field, (0.0, max(end, 1e-300)), start, "DOP853", times, events=events or None, **options)
    if not found.success or found.y.shape[1] != len(times) or not np.isfinite(found.y).all():
        lost = np.full((len(times), m), np.nan)
        return Flow(lost, lost, lost[:, 0], np.full(len(events), np.nan), int(Result.NONFINITE))
    last = np.array([hits[-1] if len(hits) else np.nan for hits in found.t_events or []])
    a, s, risk = found.y[:m].T, np.stack([aligned(state) for state in found.y.T]), []
    for state in found.y.T:
        rows = state[m:].reshape(m, dim) if dim else None
        gram = state[2 * m :].reshape(m, m) if rows is None else rows @ rows.T
        risk.append(population_risk(one, state[:m], aligned(state), gram))
    rises = np.diff(risk).max(initial=0.0) > RISING * one.square or np.abs(s).max() > 1.0 + 1e-6
    return Flow(a, s, np.array(risk), last, int(Result.NONFINITE if rises else Result.SUCCESSFUL))


def components(one: Model, outer: Any, alignment: Any) -> np.ndarray:
    """rho_k (..., degree) of the degrees that are observed."""
    return residuals(one, outer, alignment)[..., : one.degrees]
