"""Declarations of the coins."""

from typing import Literal

from solvable.lab.declare import Experiment, Observable, axis, parameter
from solvable_sample.coins import Coin


class Heads(Experiment):
    """The share of heads against the bias."""

    name, source, system = "coins/heads", "J. Bernoulli, Ars conjectandi (1713)", "solvable_sample"
    bias: float = axis([0.2, 0.5, 0.8], "probability of heads")
    throws: int = parameter(64, "throws a replicate")
    mischief: Literal["none", "raise", "nan", "die", "loop"] = parameter("none", "what goes wrong")
    seconds: float = parameter(0.0, "time a replicate takes")
    observables = (Observable("heads", "share of heads"), Observable("square", "throws x squared deviation"))
    x = "bias"
    replicates = 16

    def task(self):
        return Coin(self.bias, self.throws)

    def algorithm(self):
        return self.mischief, self.seconds
