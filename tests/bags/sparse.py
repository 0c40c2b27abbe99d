"""Bags of the sparse-token model, drawn by NumPy, with what a diagnosis should notice added."""

import numpy as np


def draw(
    bags=250,
    dim=50,
    length=10,
    sparsity=1,
    strength=3.0,
    rate=0.5,
    seed=0,
    bag_effect=0.0,
    tail=None,
    positive_noise=1.0,
):
    """Tokens (n, L, d) and labels (n,): noise of a full covariance, and in positives strength times a unit vector.

    bag_effect: deviation of a random shift of a whole bag; tail: Student's degrees of freedom of the noise;
    positive_noise: the deviation of the noise in positive bags.
    """
    rng = np.random.default_rng(seed)
    labels = rng.random(bags) < rate
    signal = rng.normal(size=dim)
    carries = np.argsort(rng.random((bags, length)), axis=1) < sparsity
    shape = (bags, length, dim)
    noise = rng.normal(size=shape) if tail is None else rng.standard_t(tail, size=shape)
    noise = noise * np.where(labels, positive_noise, 1.0)[:, None, None]
    noise = noise + bag_effect * rng.normal(size=(bags, 1, dim))
    shift = strength * (carries & labels[:, None])
    tokens = noise + shift[:, :, None] * signal / np.linalg.norm(signal)
    mixing = np.random.default_rng(1).normal(size=(dim, dim)) / np.sqrt(dim) + np.eye(dim)
    return tokens @ mixing.T + 3.0, labels
