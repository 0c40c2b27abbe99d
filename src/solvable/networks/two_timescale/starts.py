"""Which starts succeed: the chance that every piece has two neurons, and the share whose limit error is 0."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from scipy import stats

from solvable.lab.declare import float64, on_the_host
from solvable.networks.two_timescale.limit import LimitFlow
from solvable.networks.two_timescale.task import targeted
from solvable.numerics.estimate import Estimate
from solvable.numerics.random import a_key
from solvable.numerics.validation import integer

MOST = 10_000  # neurons
CONFIDENCE = 1.959963984540054  # of 95 %


class Share(Estimate):
    """A share of draws, as a number, with Wilson's 95 % `interval` (low, high) and the number of `draws`."""

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        return self.stats["interval"]

    @property
    def draws(self) -> int:
        """The number of draws."""
        return self.stats["draws"]


def wilson(successes: int, draws: int) -> Share:
    """The share, with Wilson's 95 % interval."""
    share, z2 = successes / draws, CONFIDENCE**2
    middle = (share + 0.5 * z2 / draws) / (1.0 + z2 / draws)
    half = CONFIDENCE / (1.0 + z2 / draws) * np.sqrt(share * (1.0 - share) / draws + 0.25 * z2 / draws**2)
    interval = (max(0.0, float(middle - half)), min(1.0, float(middle + half)))
    found = Share(share, np.sqrt(share * (1.0 - share) / draws), interval=interval, draws=draws)
    assert isinstance(found, Share)
    return found


def valid_probability(task: Any, neurons: Any) -> float:
    """The probability that all pieces hold two or more of `neurons` uniform positions: m! [z^m] prod_i (e^(l_i z) - 1 -
    l_i z), the l_i being the lengths of the pieces (derived).

    Counts of Poisson variables of means m l_i, conditioned on their sum: all terms are positive.

    Raises: TypeError for another task; ValueError for neurons < 1 or above 10 000.
    """
    task, m = targeted(task), integer("neurons", neurons, at_least=1, at_most=MOST)
    on_the_host("valid_probability", task)
    together = np.ones(1)
    for mean in m * task.lengths:
        counts = stats.poisson.pmf(np.arange(m + 1), mean)
        counts[:2] = 0.0
        together = np.convolve(together, counts)[: m + 1]
    return float(together[m] / stats.poisson.pmf(m, m)) if m >= 2 * len(task.lengths) else 0.0


@float64
def success(task: Any, neurons: Any, draws: Any = 1000, key: Any = None) -> Share:
    """The share of uniform starts from which the limit flow ends with error 0: a float with its Wilson `interval`.

    Draw r depends on `key` and r alone. A start with two neurons in every piece succeeds, the others are followed.

    Raises: TypeError for another task or key; ValueError for neurons < 1 and draws < 1.
    """
    task = targeted(task)
    m, count = integer("neurons", neurons, at_least=1, at_most=MOST), integer("draws", draws, at_least=1)
    on_the_host("success", task, key)
    starts = np.asarray(_starts(jax.vmap(jax.random.fold_in, (None, 0))(a_key(key), np.arange(count)), m))
    edges = [0.0, *task.positions, 1.0]
    succeeded = 0
    for start in starts:
        valid = np.all(np.histogram(start, edges)[0] >= 2)
        succeeded += bool(valid) or LimitFlow(task, start).final_error == 0.0
    return wilson(succeeded, count)


def _starts(keys: Any, m: int) -> Any:
    return jax.vmap(lambda key: jax.random.uniform(key, (m,), np.float64))(keys)
