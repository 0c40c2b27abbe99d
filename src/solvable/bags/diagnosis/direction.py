"""The direction of the signal from one half of the bags."""

from __future__ import annotations

import numpy as np

from solvable.bags.diagnosis.mixture import responsibility

TURNS, INNER_TURNS = 10, 8


def signal_direction(tokens: np.ndarray) -> np.ndarray:
    """The direction in which whitened tokens of positive bags, centred on the negatives, hide a shift, (d,).

    Two starts, the mean token (strength x share along the signal) and the first principal axis (strength^2 share
    (1 - share) of variance), each refined by EM of (1 - share) N(0, I) + share N(v, I). In d dimensions a token would
    vouch for itself, by |x|^2 / (number of signal tokens) in its own score, so a token is scored by the v of the
    others. The start with the higher likelihood of such scores is kept. Heuristic: what is measured along the direction
    is measured on other bags, so it costs precision where it is poor, and never validity.
    """
    mean = tokens.mean(axis=0)
    values, vectors = np.linalg.eigh(tokens.T @ tokens / len(tokens) - np.outer(mean, mean))
    axis = vectors[:, np.argmax(values)]
    axis = axis if axis @ mean >= 0.0 else -axis
    squares = np.einsum("ij,ij->i", tokens, tokens)
    # The axis is no mean of tokens: what of a token's own is in its first score is not known, and its value not used.
    ends = [_refined(tokens, squares, mean, squares / len(tokens), 0), _refined(tokens, squares, axis, 0.0, 1)]
    return max(ends, key=lambda end: end[1])[0]


def _refined(
    tokens: np.ndarray, squares: np.ndarray, start: np.ndarray, own: np.ndarray | float, first: int
) -> tuple[np.ndarray, float]:
    vector, share = start, 0.1
    best = (start / max(float(np.linalg.norm(start)), 1e-300), -np.inf)
    for turn in range(TURNS):
        norm = max(float(np.linalg.norm(vector)), 1e-300)
        scores = (tokens @ vector - own) / norm
        share, shift, value = _line(scores, share if turn else None)
        if turn >= first and value > best[1]:
            best = (vector / norm, value)
        weights = responsibility(scores, np.asarray(share), np.asarray(shift))
        total = max(float(weights.sum()), 1e-12)
        vector = weights @ tokens / total
        own = weights * squares / total
    return best


def _line(scores: np.ndarray, share: float | None) -> tuple[float, float, float]:
    """(share, shift, log likelihood ratio) of a mixture on a line, by a few turns of EM."""
    mean = float(scores.mean())
    ends = []
    for first in (0.03, 0.1, 0.4) if share is None else (share,):
        s, shift = first, mean / first
        for _ in range(3 * INNER_TURNS if share is None else INNER_TURNS):
            r = responsibility(scores, np.asarray(s), np.asarray(shift))
            total = float(r.sum())
            shift = float(r @ scores) / max(total, 1e-12)
            s = min(max(total / len(scores), 1e-4), 1.0 - 1e-6)
        ratio = np.exp(np.minimum(shift * scores - 0.5 * shift**2, 500.0))
        ends.append((s, shift, float(np.sum(np.log1p(s * (ratio - 1.0))))))
    return max(ends, key=lambda end: end[2])
