"""Two components of unit variance on a line: maximum likelihood on binned tokens, many reweightings at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

WIDTH = 0.1  # of a bin, in units of the noise; each token is shared between its two nearest bins
REACH = 40.0  # tokens beyond are counted at the end
EM_TURNS, NEWTON_TURNS = 25, 12
STARTS = (0.01, 0.03, 0.1, 0.3, 0.6, 0.95)
LEAST, MOST = 1e-5, 1.0 - 1e-9
RESTART = 0.8
GRID = np.arange(-REACH, REACH + WIDTH / 2, WIDTH)


def binned(projections: np.ndarray, lengths: np.ndarray) -> csr_matrix:
    """Tokens of each bag in bins, (bags, bins), by linear binning, which keeps the mean of every bag."""
    place = np.clip((projections + REACH) / WIDTH, 0.0, len(GRID) - 1.000001)
    left = place.astype(int)
    part = place - left
    rows = np.repeat(np.arange(len(lengths)), lengths)
    data, where = np.concatenate([1.0 - part, part]), np.concatenate([left, left + 1])
    return csr_matrix((data, (np.concatenate([rows, rows]), where)), shape=(len(lengths), len(GRID)))


def centre_and_scale(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of binned tokens, (B,) each from (B, bins)."""
    total = counts.sum(axis=-1)
    mean = counts @ GRID / total
    return mean, np.sqrt(np.maximum(counts @ GRID**2 / total - mean**2, 1e-300))


@dataclass(frozen=True)
class Mixture:
    """Fits, one an entry: (1 - share) N(0, 1) + share N(shift, 1) in units of the noise.

    share (B,); shift (B, H), one for each half, which see the signal through different directions; `gain` (B,) is twice
    the log likelihood ratio against one component N(m, 1) in each half (share 1), `signal` the same against N(0, 1).
    """

    share: np.ndarray
    shift: np.ndarray
    gain: np.ndarray
    signal: np.ndarray


def fit_mixture(positives: list[np.ndarray], places: list[np.ndarray], start: Mixture | None = None) -> Mixture:
    """Fit share and shifts to binned tokens of positives.

    positives: H arrays (B, G) of counts; places: H arrays (B, G), the bins in units of the noise, centred on it. EM
    from several starts (or from a given fit), then Newton steps, each kept only where it raises the likelihood.
    """
    counts, z = np.stack(positives, axis=1), np.stack(places, axis=1)
    used = counts.sum(axis=(0, 1)) > 0
    counts, z = counts[:, :, used], z[:, :, used]
    total = counts.sum(axis=-1)
    means = np.sum(counts * z, axis=-1) / total
    starts = [(np.full(len(counts), s), means / s) for s in STARTS]
    if start is not None:
        count = len(counts)
        given = (np.broadcast_to(start.share, count), np.broadcast_to(start.shift, (count, z.shape[1])))
        # At a share of 1 EM stays for ever: from there a fit must be tried afresh.
        starts = [given, *starts[-3:]] if np.any(start.share > RESTART) else [given]
    fits = [_climb(counts, z, share, shift, EM_TURNS) for share, shift in starts]
    best, rows = np.argmax([fit[2] for fit in fits], axis=0), np.arange(len(counts))
    share = np.stack([fit[0] for fit in fits])[best, rows]
    shift = np.stack([fit[1] for fit in fits])[best, rows]
    share, shift, value = _polish(counts, z, share, shift)
    dense = 0.5 * np.sum(total * means**2, axis=-1)
    share = np.where(dense > value, MOST, share)
    shift = np.where((dense > value)[:, None], means, shift)
    value = np.maximum(value, dense)
    return Mixture(share, shift, 2.0 * (value - dense), 2.0 * value)


def _likelihood(counts: np.ndarray, z: np.ndarray, share: np.ndarray, shift: np.ndarray) -> np.ndarray:
    ratio = np.exp(np.minimum(shift[..., None] * z - 0.5 * shift[..., None] ** 2, 500.0))
    return np.sum(counts * np.log1p(share[:, None, None] * (ratio - 1.0)), axis=(1, 2))


def _climb(
    counts: np.ndarray, z: np.ndarray, share: np.ndarray, shift: np.ndarray, turns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """EM."""
    total = counts.sum(axis=(1, 2))
    for _ in range(turns):
        weighed = counts * responsibility(z, share[:, None, None], shift[..., None])
        shift = np.sum(weighed * z, axis=-1) / np.maximum(weighed.sum(axis=-1), 1e-12)
        share = np.clip(weighed.sum(axis=(1, 2)) / total, LEAST, MOST)
    return share, shift, _likelihood(counts, z, share, shift)


def responsibility(z: np.ndarray, share: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The probability that a token at z carries the signal."""
    odds = np.log(share / (1.0 - share)) + shift * z - 0.5 * shift**2
    return 0.5 * (1.0 + np.tanh(0.5 * odds))


def _polish(
    counts: np.ndarray, z: np.ndarray, share: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Newton on (log odds of share, shifts)."""
    odds = np.log(share / (1.0 - share))
    value = _likelihood(counts, z, share, shift)
    halves = z.shape[1]
    for _ in range(NEWTON_TURNS):
        share = 1.0 / (1.0 + np.exp(-odds))
        r = responsibility(z, share[:, None, None], shift[..., None])
        away = z - shift[..., None]
        spread = r * (1.0 - r)
        gradient = np.concatenate(
            [np.sum(counts * (r - share[:, None, None]), axis=(1, 2))[:, None], np.sum(counts * r * away, axis=-1)],
            axis=1,
        )
        hessian = np.zeros((len(odds), halves + 1, halves + 1))
        hessian[:, 0, 0] = np.sum(counts * (spread - (share * (1.0 - share))[:, None, None]), axis=(1, 2))
        hessian[:, 0, 1:] = hessian[:, 1:, 0] = np.sum(counts * spread * away, axis=-1)
        diagonal = np.arange(1, halves + 1)
        hessian[:, diagonal, diagonal] = np.sum(counts * (spread * away**2 - r), axis=-1)
        # Where the likelihood is not concave, Newton points nowhere useful: a large multiple of the identity is added.
        top = np.linalg.eigvalsh(hessian)[:, -1]
        hessian -= np.where(top > -1e-9, top + 1.0, 0.0)[:, None, None] * np.eye(halves + 1)
        step = -np.linalg.solve(hessian, gradient[..., None])[..., 0]
        step = np.clip(step, -1.0, 1.0)
        new_odds = np.clip(odds + step[:, 0], np.log(LEAST), -np.log(1.0 - MOST))
        new_shift = shift + step[:, 1:]
        new_value = _likelihood(counts, z, 1.0 / (1.0 + np.exp(-new_odds)), new_shift)
        better = new_value >= value
        moved = np.max(np.where(better, new_value - value, 0.0))
        odds = np.where(better, new_odds, odds)
        shift = np.where(better[:, None], new_shift, shift)
        value = np.where(better, new_value, value)
        if moved < 1e-8:
            break
    return 1.0 / (1.0 + np.exp(-odds)), shift, value
