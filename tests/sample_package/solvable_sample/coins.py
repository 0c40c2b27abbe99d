"""A biased coin thrown n times: the share of heads, and how far it is from the bias."""

import os
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np

from solvable.lab.declare import Checked, Outcome, Status, Theory, real, whole

theories = {
    "law": Theory("mean and variance of the binomial", dict.fromkeys(("heads", "square"), Status("exact", "stated")))
}


class Coin(Checked):
    """A coin that shows heads with probability `bias`, thrown `throws` times."""

    bias: float = real(at_least=0, at_most=1)
    throws: int = whole()


def simulate(task, algorithm, /, *, key, replicates):
    """The share of heads of each replicate, and throws x (share - bias)^2.

    `algorithm` is what goes wrong on the way, and the seconds that each replicate takes.
    """
    mischief, seconds = algorithm
    if mischief == "raise":
        raise RuntimeError("the coin rolled under the <table>")
    if mischief == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if mischief == "loop":  # compiled, and without an end
        jax.lax.while_loop(lambda x: x >= 0, lambda x: (x + 1) % 7, jnp.asarray(0)).block_until_ready()
    heads = []
    for replicate in replicates:
        time.sleep(seconds)
        draws = jax.random.uniform(jax.random.fold_in(key, replicate), (task.throws,)) < task.bias
        heads.append(np.asarray(draws, dtype=np.float64).mean())
    share = np.array(heads) * (np.nan if mischief == "nan" else 1.0)
    square = task.throws * (share - task.bias) ** 2
    return Outcome.of({"heads": share, "square": square}, np.zeros(len(replicates), int), {})


def predict(task, algorithm, /, *, theory=None):
    """Mean and variance of the binomial."""
    return Outcome.of({"heads": task.bias, "square": task.bias * (1 - task.bias)}, 0, {})
