"""The population flow at finite dimension and width: a_i, s_i = <u_i, u*> and G_ij = <u_i, u_j> are all that matters.

From eps a_i' = -m dR/da_i and u_i' = -m (I - u_i u_i^T) grad_i R, with W_ip = U'(G_ip) a_p / m and
q_i = V'(s_i) s_i - sum_p W_ip G_ip (derived, exact):

    eps a' = V(s) - U(G) a / m,      u_i' = a_i (V'(s_i) u* - (W u)_i - q_i u_i).

What is integrated are unit vectors with these overlaps, for which m + 1 coordinates suffice: lengths and overlaps of
their own would drift, exponentially where a_i q_i < 0. Explicit steps of order 8: those of weights in many dimensions
cost more than the stiffness of a, whose rate is at most U(1) / eps.
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


def flow(one: Model, eps: float, outer: np.ndarray, weights: np.ndarray, times: np.ndarray) -> Flow:
    """The flow from outer weights (m,) and unit vectors (m, n), u* being the first axis.

    A run that takes longer than an hour ends with MAX_STEPS. Raises: ValueError for one that is sure to.
    """
    m, dim = weights.shape
    end, each = float(times[-1]), 12.0 * (1e-4 + 8e-10 * m * m * dim + 5e-8 * m * m)
    whole = np.ones(())
    own, learnt = (
        float(one.own(whole, np)),
        np.sqrt(one.square / one.own(whole, np)),
    )  # of the size that fits the target
    rate = abs(one.cross.slope(whole, np)) + max(np.abs(outer).mean(), learnt) * one.own.slope(whole, np)
    seconds = each * (20.0 + 0.2 * end * (own / eps + max(np.abs(outer).max(), learnt) * rate))
    if not seconds <= LONGEST:
        raise ValueError(
            f"at reaches {end:g} with rate_ratio={eps:g} and {m} neurons, which takes about {seconds / 60:.3g} minutes "
            "a run; accepted: earlier times, a larger rate_ratio or fewer neurons, or theory='mean_field'"
        )
    left = int(LONGEST / each) * 12

    def field(_: float, state: np.ndarray) -> np.ndarray:
        nonlocal left
        left -= 1
        if left < 0:
            raise _TooLongError
        a, u = state[:m], state[m:].reshape(m, dim)
        u = u / np.linalg.norm(u, axis=1, keepdims=True)  # the flow of what is not quite on the sphere is that on it
        gram, s = u @ u.T, u[:, 0]
        slope, pairs = one.cross.slope(s, np), one.own.slope(gram, np) * (a / m)
        grown = (one.cross(s, np) - one.own(gram, np) @ a / m) / eps
        toward = -(pairs @ u)
        toward[:, 0] += slope
        moved = a[:, None] * (toward - (toward * u).sum(axis=1)[:, None] * u)
        return np.concatenate([grown, moved.ravel()])

    def excess(k: int) -> Any:
        def event(_: float, state: np.ndarray) -> float:
            mean = float(state[:m] @ state[m::dim] ** k) / m
            return abs(one.target[k] - one.activation[k] * mean) - 0.5 * abs(one.target[k])

        return event

    events = [excess(k) for k in one.watched]
    options: Any = {"rtol": RTOL, "atol": ATOL, "first_step": min(1e-3 * eps, max(end, 1e-300))}
    start = np.concatenate([outer, weights.ravel()])
    result, found = Result.SUCCESSFUL, None
    with np.errstate(all="ignore"):
        try:  # the times may begin at 0, and may all be 0
            span = (0.0, max(end, 1e-300))
            found: Any = solve_ivp(field, span, start, "DOP853", times, events=events or None, **options)
        except _TooLongError:
            result = Result.MAX_STEPS
    if found is None or not found.success or found.y.shape[1] != len(times) or not np.isfinite(found.y).all():
        lost = np.full((len(times), m), np.nan)
        code = result if found is None else Result.NONFINITE
        return Flow(lost, lost, lost[:, 0], np.full(len(events), np.nan), int(code))
    last = np.array([hits[-1] if len(hits) else np.nan for hits in found.t_events or []])
    a, u = found.y[:m].T, found.y[m:].T.reshape(-1, m, dim)
    u = u / np.linalg.norm(u, axis=2, keepdims=True)
    grams = np.clip(u @ u.transpose(0, 2, 1), -1.0, 1.0)
    risk = np.array([population_risk(one, *row) for row in zip(a, u[:, :, 0], grams, strict=True)])
    rises = np.diff(risk).max(initial=0.0) > RISING * max(one.square, risk[0])
    return Flow(a, u[:, :, 0], risk, last, int(Result.NONFINITE if rises else result))


class _TooLongError(Exception):
    """More evaluations than go into an hour."""


def components(one: Model, outer: Any, alignment: Any) -> np.ndarray:
    """rho_k (..., degree) of the degrees that are observed."""
    return residuals(one, outer, alignment)[..., : one.degrees]
