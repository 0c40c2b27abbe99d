"""A linear probe on the probe token: can the sign of the label be read off it before and after attention?

The probe token has no mean of its own; a layer adds sum_l weight_l X_l to it. Before the layer nothing can be read.
The study stands in, without a pretrained network, for the linear-probe figure of arXiv:2410.01537.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import dawsn, erf

from solvable.attention.single_location.algorithms import ProjectedDescent, hidden, start_vectors
from solvable.attention.single_location.task import SingleLocation
from solvable.lab.declare import Result, float64, replicate_keys
from solvable.numerics.erm import ridge_erm
from solvable.numerics.precision import as_float64

PROBE_RIDGE = 1e-3
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


class Probed(eqx.Module):
    """Heads for the probe (R,): the query of each (d,), its inverse temperature and its `alignment` |kappa| with k*.

    `keys` (3,) draw the sequences on which it was trained and two sets of new ones, the second of them twice as long.
    """

    query: Any
    inverse_temperature: Any
    alignment: Any
    keys: Any
    result: Any


@float64
def probed(
    task: SingleLocation, algorithm: ProjectedDescent, stage: str, samples: int, key: Any, replicates: int | range
) -> Probed:
    """One head a replicate, trained on `samples` sequences where the stage is "trained"."""
    heads = []
    for own in replicate_keys(key, replicates):
        start_key, *drawn = jax.random.split(own, 4)
        data = task.sample(drawn[0], samples)
        directions = data.directions
        assert directions is not None  # the law knows them
        query, value = start_vectors(start_key, task.dim, algorithm.init, directions)
        lam, result = float(algorithm.inverse_temperature), int(Result.SUCCESSFUL)
        if stage == "trained":
            run = algorithm.train(data, init=(query, value), at=[algorithm.steps], throw=False)
            query, lam, result = run.query, float(run.inverse_temperature), int(run.result)
        alignment = abs(float(np.asarray(query) @ np.asarray(directions.query)))
        heads.append(Probed(jnp.asarray(query), lam, alignment, jnp.stack(drawn), result))
    return jax.tree_util.tree_map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *heads)


@float64
def accuracies(task: SingleLocation, stage: str, samples: int, run: Probed) -> dict[str, float]:
    """Accuracies of a logistic-regression probe for the sign of the label, fitted on the head's own sequences.

    `train_accuracy` on these, `test_accuracy` on new sequences, `longer_accuracy` on new ones twice as long. stage:
    "before" the layer; "uniform", the sum of all tokens; "untrained", erf attention with the query of the start;
    "trained", with the query that training reaches.
    """
    found, probe, directions = {}, None, None
    names = {"train_accuracy": task, "test_accuracy": task, "longer_accuracy": longer(task)}
    for (name, law), key in zip(names.items(), run.keys, strict=True):
        data = law.sample(key, samples, directions)
        directions, tokens = data.directions, jnp.asarray(data.tokens)
        written = _written(stage, tokens, jnp.asarray(run.query), jnp.asarray(run.inverse_temperature))
        signs = jnp.where(jnp.asarray(data.labels) < 0.0, -1.0, 1.0)
        probe = probe or ridge_erm(written, signs, "logistic", as_float64(PROBE_RIDGE))
        found[name] = float(np.mean(np.asarray((written @ probe.weights + probe.bias) * signs > 0.0)))
    return found


def predicted_accuracies(
    task: SingleLocation, algorithm: ProjectedDescent, stage: str, alignments: Any
) -> dict[str, np.ndarray]:
    """The accuracy of a probe along v* for every alignment |kappa| (R,) of a query (see `accuracy`).

    It holds for a query orthogonal to v*, as one that starts on the manifold is or nearly stays, and for a probe fitted
    on many sequences.
    """
    lam = float(algorithm.inverse_temperatures([algorithm.steps])[0])

    def one(law: SingleLocation, alignment: float) -> float:
        if stage == "before":
            return 0.5
        if stage == "uniform":
            g2, e2 = float(law.label_variance), float(law.label_noise) ** 2
            return 0.5 + math.atan(g2 / math.sqrt(e2 * g2 + (g2 + e2) * (law.length - 1))) / math.pi
        return accuracy(law, lam, alignment)

    laws = {"test_accuracy": task, "longer_accuracy": longer(task)}
    return {name: np.array([one(law, float(alignment)) for alignment in alignments]) for name, law in laws.items()}


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


def longer(task: SingleLocation) -> SingleLocation:
    """The law of sequences twice as long."""
    return dataclasses.replace(task, length=2 * task.length)


def _written(stage: str, tokens: Any, query: Any, lam: Any) -> Any:
    """What the layer adds to the probe token, (n, d)."""
    if stage == "before":
        return jnp.zeros((tokens.shape[0], tokens.shape[2]))
    if stage == "uniform":
        return jnp.sum(tokens, axis=1)
    return hidden(tokens, query, lam)
