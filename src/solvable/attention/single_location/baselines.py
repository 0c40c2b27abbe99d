"""What others reach on the same task: the best linear map, linear attention, the Bayes predictor, and the best head."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf

from solvable.attention.single_location.risk import Law, Overlaps, closed_form_value, inverse_temperature_of, law, risk
from solvable.attention.single_location.task import SingleLocation
from solvable.numerics.bisection import bisect
from solvable.numerics.error_function import ROOT_PI, mean_squared_erf
from solvable.numerics.estimate import Estimate, mean_and_error
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.random import replicate_keys
from solvable.numerics.validation import choice, instance, integer

LOG_RANGE = (-12.0, 6.0)  # natural logarithms of the inverse temperatures searched
CHUNK = 20_000


class Oracle(NamedTuple):
    """The best head at the hidden directions: its inverse temperature and excess risk."""

    inverse_temperature: Any
    risk: Any


@float64
def linear_risk(task: SingleLocation) -> Any:
    """gamma^2 - gamma^4/(gamma^2 + L - 1), the least excess risk of a linear map of all tokens, exactly.

    The place of the informative token is unknown, so every token gets the same weight (Proposition 3 of
    arXiv:2410.01537).
    """
    _, g2, others = law(task)
    return g2 - g2 * g2 / (g2 + others)


@float64
def linear_attention_risk(task: SingleLocation) -> Any:
    """gamma^2 - gamma^4 s^2/(gamma^2 (s^2 + gamma^2) + L - 1): the best c sum_l (X_l.k*) X_l.v* over c (derived).

    It is the limit of the best head with a free |v| as the inverse temperature goes to 0.
    """
    s, g2, others = law(task)
    return g2 - g2 * g2 * s * s / (g2 * (s * s + g2) + others)


@functools.partial(jax.jit, static_argnames="free")
def oracle_risk(law: Law, lam: Any, free: bool = False) -> Any:
    """The excess risk at k = k*, v = v*, or with `free` at the best multiple of v*; traced."""
    s, g2, others = law
    if not free:
        one, zero = jnp.ones_like(lam), jnp.zeros_like(lam)
        return risk(law, Overlaps(one, one, zero, zero, zero, one), lam)
    mean = jax.scipy.special.erf(lam * s / jnp.sqrt(1.0 + 2.0 * lam * lam * g2))
    noise = (2.0 / math.pi) * jnp.arcsin(2.0 * lam * lam / (1.0 + 2.0 * lam * lam))
    square = g2 * mean_squared_erf(lam * s, lam * jnp.sqrt(g2)) + others * noise
    return g2 - (g2 * mean) ** 2 / square


@float64
def oracle(task: SingleLocation, value: str = "descent") -> Oracle:
    """The least excess risk over the inverse temperature lam at the hidden directions, and that lam.

    value="descent": unit v = v*; for |v| = 1 it falls like (L/d) log(d/L) (Corollary 2 of arXiv:2410.01537: it goes to
    0 as d grows, lam sqrt(d) -> infinity and lam sqrt(L) -> 0). value="closed_form": v is the best multiple of v*; its
    risk falls as lam -> 0, to that of linear attention, so that lam = 0 is returned with it.
    Not the least risk over all directions (for large lam others are better), nor the Bayes risk. Exact up to the
    one-dimensional minimisation, which is derived; differentiable in the task's numbers.
    """
    if choice("value", value, ("descent", "closed_form")) == "closed_form":
        return Oracle(jnp.zeros(()), linear_attention_risk(task))
    return _oracle(law(task))


@jax.jit
def _oracle(numbers: Law) -> Oracle:
    frozen = jax.lax.stop_gradient(numbers)
    slope = jax.grad(lambda log_lam: oracle_risk(frozen, jnp.exp(log_lam)))
    logs = jnp.linspace(*LOG_RANGE, 181)
    best = jnp.argsort(oracle_risk(frozen, jnp.exp(logs)))[0]  # an argmax of 64 bits fails inside a user's 32-bit jit
    step = logs[1] - logs[0]
    lam = jnp.exp(bisect(lambda log_lam: ~(slope(log_lam) > 0.0), logs[best] - step, logs[best] + step, 50))
    # the envelope theorem: lam is a constant to the derivative of the least risk
    return Oracle(lam, oracle_risk(numbers, jax.lax.stop_gradient(lam)))


def bayes_risk(task: SingleLocation, draws: int = 200_000, key: jax.Array | None = None) -> Estimate:
    """The excess risk of the Bayes predictor, E of the posterior variance of X_J.v*, by Monte Carlo (host).

    It predicts sum_l p_l X_l.v* with p the posterior of the place, the softmax over l of
    -d log gamma - |X_l - s k*|^2/(2 gamma^2) + |X_l|^2/2. For gamma != 1 the lengths |X_l| tell the place as well, so
    that it beats every head at small d. A token enters through two normals and a chi-square number, whatever d. Where
    the place is nearly certain the risk comes from rare draws: look at the standard error. Formula derived.

    Raises: ValueError for draws < 2.
    """
    draws, task = integer("draws", draws, at_least=2), instance("task", task, (SingleLocation,))
    generator = host_generator(jax.random.key(0) if key is None else key)
    g2, s = float(task.label_variance), float(task.signal)
    variances = []
    for begin in range(0, draws, CHUNK):
        a, b, rest = token_draws(task, generator, min(CHUNK, draws - begin))
        evidence = s * a / g2 - 0.5 * (a * a + b * b + rest) * (1.0 / g2 - 1.0)
        place = np.exp(evidence - evidence.max(axis=1, keepdims=True))
        place /= place.sum(axis=1, keepdims=True)
        variances.append((place * (b - (place * b).sum(axis=1, keepdims=True)) ** 2).sum(axis=1))
    return Estimate(*mean_and_error(np.concatenate(variances)))


class Sampled(NamedTuple):
    """Excess risks of predictors by name, (R,) each, and codes: runs that train nothing."""

    risks: dict[str, np.ndarray]
    result: np.ndarray


def sampled_risks(task: SingleLocation, samples: int, key: jax.Array, replicates: int | range) -> Sampled:
    """The mean squared errors of four predictors on `samples` sequences a replicate, less the label noise (host).

    `attention` of the unit head at the hidden directions with the best inverse temperature, `linear_attention` of the
    best multiple of sum_l (X_l.k*) X_l.v*, `linear` of the best linear map, and `bayes`. A token enters through its
    components along k* and v* and its length, which are drawn in law.
    """
    s, g2, others = float(task.signal), float(task.label_variance), task.length - 1
    lam, rows = float(oracle(task).inverse_temperature), []
    for own in replicate_keys(key, replicates):
        a, b, _ = token_draws(task, host_generator(own), samples)
        outputs = {
            "attention": (erf(lam * a) * b).sum(axis=1),
            "linear_attention": g2 * s / (g2 * (s * s + g2) + others) * (a * b).sum(axis=1),
            "linear": g2 / (g2 + others) * b.sum(axis=1),
        }
        risks = {name: np.mean((output - b[:, 0]) ** 2) for name, output in outputs.items()}
        rows.append(risks | {"bayes": float(bayes_risk(task, samples, own))})
    return Sampled({name: np.array([row[name] for row in rows]) for name in rows[0]}, np.zeros(len(rows), int))


def token_draws(task: SingleLocation, generator: np.random.Generator, count: int) -> tuple[Any, Any, Any]:
    """X.k*, X.v* and the squared length of the rest of every token, (count, L) each, the informative token first."""
    gamma, shape = float(task.informative_scale), (count, task.length)
    a, b = generator.standard_normal((2, *shape))
    rest = generator.chisquare(task.dim - 2, shape) if task.dim > 2 else np.zeros(shape)
    a[:, 0], b[:, 0], rest[:, 0] = float(task.signal) + gamma * a[:, 0], gamma * b[:, 0], gamma**2 * rest[:, 0]
    return a, b, rest


def host_generator(key: jax.Array) -> np.random.Generator:
    """NumPy's generator, seeded with the words of a key."""
    return np.random.default_rng([int(word) for word in np.asarray(jax.random.key_data(key)).ravel()])


@float64
def swap_point(task: SingleLocation, inverse_temperature: Any) -> tuple[Overlaps, Any]:
    """The point off the manifold that attracts half the runs at small lam, and its excess risk (derived).

    k = v* reads the value and v = theta k* + ... the location: eta = 1, kappa = nu = rho = 0 and
    theta = 2 gamma^2 lam/(s sqrt(pi D) E erf(lam gamma G)^2), which must not exceed 1 (it is 1 otherwise).
    Its mirror image has both signs turned.
    """
    s, g2, _ = numbers = law(task)
    lam = inverse_temperature_of(inverse_temperature)
    square = mean_squared_erf(jnp.zeros_like(lam), lam * jnp.sqrt(g2))
    theta = jnp.minimum(2.0 * g2 * lam / (s * ROOT_PI * jnp.sqrt(1.0 + 2.0 * lam * lam * g2) * square), 1.0)
    zero, one = jnp.zeros_like(lam), jnp.ones_like(lam)
    point = Overlaps(zero, zero, theta, one, zero, one)
    return point, risk(numbers, point, lam)


@float64
def free_value(
    task: SingleLocation, query_alignment: Any, query_leak: Any, inverse_temperature: Any
) -> tuple[Overlaps, Any]:
    """The best value for a query with these overlaps, |v| free, as overlaps, and the reduced excess risk (derived).

    R*(kappa, eta) = gamma^2 - b.H^-1 b: the population form of the closed-form last layer (arXiv:2510.04606).
    Raises: ValueError for lam outside [1e-100, 1e100] or kappa^2 + eta^2 > 1.
    """
    lam = inverse_temperature_of(inverse_temperature)
    point = Overlaps(query_alignment, 0.0, 0.0, query_leak, 0.0, 1.0)
    point.check()
    kappa, eta = jnp.broadcast_arrays(as_float64(point.query_alignment), as_float64(point.query_leak))
    point = closed_form_value(law(task), kappa, eta, lam)
    return point, risk(law(task), point, lam)
