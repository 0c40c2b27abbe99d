"""A linear probe on the probe token: can the sign of the label be read off it before and after attention?

The probe token has no mean of its own; a layer adds sum_l weight_l X_l to it. Before the layer nothing can be read.
The study stands in, without a pretrained network, for the linear-probe figure of arXiv:2410.01537.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import dawsn, erf

from solvable.attention.single_location.algorithms import ProjectedDescent
from solvable.attention.single_location.starts import start_vectors
from solvable.attention.single_location.task import SingleLocation
from solvable.attention.single_location.training import hidden
from solvable.lab.outcome import Outcome
from solvable.numerics.erm import ridge_erm
from solvable.numerics.precision import as_float64, float64
from solvable.numerics.results import Result
from solvable.numerics.validation import choice, integer, replicate_numbers

STAGES = ("before", "uniform", "untrained", "trained")
PROBE_RIDGE = 1e-3
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
Observable = Any  # Float[AnyArray, "..."], or None on the side that does not speak of it


class ProbeOutcome(Outcome):
    """Accuracies of a logistic-regression probe for the sign of the label, and the query's `alignment` |kappa|.

    `train_accuracy` on its own data, `test_accuracy` on new sequences, `longer_accuracy` on new ones twice as long.
    """

    train_accuracy: Observable = None
    test_accuracy: Observable = None
    longer_accuracy: Observable = None
    alignment: Observable = None

    observables: ClassVar[tuple[str, ...]] = ("train_accuracy", "test_accuracy", "longer_accuracy", "alignment")


@float64
def simulate_probe(
    task: SingleLocation,
    algorithm: ProjectedDescent,
    /,
    *,
    stage: str = "trained",
    samples: int = 4000,
    key: jax.Array | None = None,
    replicates: int | range = 1,
) -> ProbeOutcome:
    """Train the head and fit the probe on the same `samples` sequences, and try the probe on as many new ones.

    stage: "before" the layer; "uniform", the sum of all tokens; "untrained", erf attention with the query of the start;
    "trained", with the query that `algorithm` reaches.
    """
    stage = choice("stage", stage, STAGES)
    samples = integer("samples", samples, at_least=2)
    key = jax.random.key(0) if key is None else key
    numbers = replicate_numbers(replicates)
    found = np.zeros((len(numbers), 4))
    laws = (task, task, _longer(task))
    for r, count in enumerate(numbers):
        start_key, *keys = jax.random.split(jax.random.fold_in(key, count), 4)
        data = task.sample(keys[0], samples)
        directions = data.directions
        assert directions is not None  # the law knows them
        query, value = start_vectors(start_key, task.dim, algorithm.init, directions)
        lam = float(algorithm.inverse_temperature)
        if stage == "trained":
            run = algorithm.train(data, init=(query, value), at=[algorithm.steps])
            query, lam = run.query, float(run.inverse_temperature)
        probe = None
        for place, (law, now) in enumerate(zip(laws, keys, strict=True)):
            seen = data if place == 0 else law.sample(now, samples, directions)
            written = _written(stage, jnp.asarray(seen.tokens), jnp.asarray(query), lam)
            signs = jnp.where(jnp.asarray(seen.labels) < 0.0, -1.0, 1.0)
            if probe is None:
                probe = ridge_erm(written, signs, "logistic", as_float64(PROBE_RIDGE))
            found[r, place] = np.mean(np.asarray((written @ probe.weights + probe.bias) * signs > 0.0))
        found[r, 3] = abs(float(np.asarray(query) @ np.asarray(directions.query)))
    return ProbeOutcome(np.full(len(numbers), int(Result.SUCCESSFUL)), {}, *found.T)


def predict_probe(
    task: SingleLocation, algorithm: ProjectedDescent, /, *, stage: str = "trained", given: Any = None
) -> ProbeOutcome:
    """The accuracy of a probe along v*, for the alignment |kappa| of the query of each run given (see `accuracy`).

    It holds for a query orthogonal to v*, as one that starts on the manifold is or nearly stays, and for a probe fitted
    on many sequences.
    Raises: ValueError without `given`.
    """
    choice("stage", stage, STAGES)
    if given is None:
        raise ValueError("given=None is not accepted, as the accuracy depends on the alignment; accepted: an outcome")
    alignment = np.asarray(given["alignment"] if isinstance(given, Mapping) else given.alignment)
    lam = float(algorithm.inverse_temperatures([algorithm.steps])[0])
    found = []
    for law in (task, _longer(task)):
        if stage == "before":
            found.append(np.full(len(alignment), 0.5))
        elif stage == "uniform":
            g2, e2 = float(law.label_variance), float(law.label_noise) ** 2
            odds = g2 / math.sqrt(e2 * g2 + (g2 + e2) * (law.length - 1))
            found.append(np.full(len(alignment), 0.5 + math.atan(odds) / math.pi))
        else:
            found.append(np.array([accuracy(law, lam, kappa) for kappa in alignment]))
    code = np.full(len(alignment), int(Result.SUCCESSFUL))
    return ProbeOutcome(code, {}, test_accuracy=found[0], longer_accuracy=found[1])


def accuracy(task: SingleLocation, inverse_temperature: float, query_alignment: float) -> float:
    """P(T Y > 0) for T = sum_l erf(lam X_l.k) X_l.v* and k orthogonal to v*, exactly (derived).

    1/2 + (1/pi) times the integral over w > 0 of phi(w)^(L-1) (2/sqrt(pi)) E[D(w e q/sqrt(2)) exp(-w^2 e^2 r/2)]/w,
    with Dawson's integral D, e = erf(lam a) of the informative token, phi(w) = E exp(-w^2 erf(lam a)^2/2) of a noise
    token, q = gamma^2/sqrt(gamma^2 + epsilon^2) and r = gamma^2 - q^2, what the label leaves open of X_J.v*.
    """
    lam, gamma = inverse_temperature, float(task.informative_scale)
    told = gamma**2 / math.sqrt(gamma**2 + float(task.label_noise) ** 2)
    left = gamma**2 - told**2
    informative = erf(lam * (float(task.signal) * query_alignment + gamma * NODES))
    noise = erf(lam * NODES)
    log_w = np.linspace(-16.0, 12.0, 2801)
    w = np.exp(log_w)[:, None]
    noises = (np.exp(-0.5 * (w * noise) ** 2) @ WEIGHTS) / WEIGHTS.sum()
    seen = dawsn(w * informative * told / math.sqrt(2.0)) * np.exp(-0.5 * (w * informative) ** 2 * left)
    dawson = (seen @ WEIGHTS) / WEIGHTS.sum()
    integral = np.trapezoid(noises ** (task.length - 1) * dawson, log_w)
    return float(0.5 + 2.0 / math.pi**1.5 * integral)


def _longer(task: SingleLocation) -> SingleLocation:
    return SingleLocation(2 * task.length, task.dim, task.informative_scale, task.label_noise, task.signal)


def _written(stage: str, tokens: Any, query: Any, lam: float) -> Any:
    """What the layer adds to the probe token, (n, d)."""
    if stage == "before":
        return jnp.zeros((tokens.shape[0], tokens.shape[2]))
    if stage == "uniform":
        return jnp.sum(tokens, axis=1)
    return hidden(tokens, query, lam)
