"""Flows from the same starts at several rate ratios or dimensions, as figures measure them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class Flows:
    """Mean-field flows from some starts (R, m), by their rate ratio."""

    def __init__(self, outer: np.ndarray, flows: Mapping[float, Any], result: np.ndarray) -> None:
        self.outer, self.flows, self.result = outer, flows, result

    @classmethod
    def of(cls, outer: np.ndarray, flows: Mapping[float, Any]) -> Flows:
        """The flows with the worst of their codes."""
        return cls(outer, flows, np.max([one.result for one in flows.values()], axis=0))

    def run(self, index: int) -> Flows:
        """The flows of one start."""
        one = {ratio: flow.values for ratio, flow in self.flows.items()}
        picked = {ratio: {name: value[index] for name, value in known.items()} for ratio, known in one.items()}
        return Flows(self.outer[index], picked, self.result[index])

    def times(self) -> np.ndarray:
        """Learning times (ratio, ..., degree)."""
        return np.stack([np.asarray(one["learning_times"]) for one in self.flows.values()])

    def only(self) -> Any:
        """The observables at the one rate ratio."""
        (one,) = self.flows.values()
        return one
