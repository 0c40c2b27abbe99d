"""Experiments with observables of their own, measured alike on both sides."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from solvable.lab.declare.experiment import Experiment
from solvable.lab.declare.theory import Overlay, Predicted, Status

if TYPE_CHECKING:
    import jax


class Measured(Experiment):
    """An experiment whose observables are measured of a run: of trained runs, and of the same runs as theory has them.

    `measure(run)` gives the value of each observable, and `predicted(runs)` what theory has in place of the runs: runs,
    which are then measured too, or the observables themselves, a mapping or a `Predicted`; a function of the cell alone
    where `runs` is None (an overlay without `given`). `statuses` says what is claimed of each observable that theory
    speaks of.
    """

    statuses: ClassVar[Mapping[str, Status]] = {}

    def runs(self, key: jax.Array, replicates: int | range) -> Any:
        """The trained runs, stacked along their leading axis, with their `result` codes; unless said otherwise those of
        the experiment's system.
        """
        system = importlib.import_module(self.system).SYSTEM
        task, algorithm, shared, sizes = self.built()
        return system.trained(task, algorithm, key=key, replicates=replicates, **shared, **sizes)

    def measure(self, run: Any) -> Mapping[str, Any]:
        """The observables of one run; those that a side does not have are left out."""
        raise NotImplementedError

    def predicted(self, runs: Any) -> Any:
        """The runs as theory has them, or the observables (one value for all runs, or one a run), or a `Predicted`."""
        raise NotImplementedError

    def coordinates(self) -> Mapping[str, Any]:
        """The positions along the observables' own dims, numbers or words."""
        return {}

    def simulate(self, key: jax.Array, replicates: int | range) -> Any:
        """Train and measure."""
        runs = self.runs(key, replicates)
        return self._outcome(self._measured(runs), runs.result, runs)

    def predict(self, overlay: Overlay, given: Any = None) -> Any:
        """Measure what theory has."""
        from solvable.numerics.results import Result

        runs = None if given is None else given.runs
        found = self.predicted(runs)
        if isinstance(found, Mapping):
            found = Predicted(found)
        elif not isinstance(found, Predicted):
            found = Predicted(self._measured(found), found.result)
        success = int(Result.SUCCESSFUL) if runs is None else runs.result
        kept = {name: value for name, value in found.values.items() if name in self.status(overlay)}
        return self._outcome(kept, success if found.result is None else found.result, None, found.stats)

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """The status of each observable."""
        return cls.statuses

    def _measured(self, runs: Any) -> dict[str, Any]:
        """The observables of every run, NaN for those that failed."""
        from solvable.numerics.recording import pick
        from solvable.numerics.results import Result

        def one(index: int) -> Any:
            # runs whose shapes differ are not stacked: they say themselves what one of them is
            return runs.run(index) if hasattr(runs, "run") else pick(runs, index)

        there = np.asarray(runs.result) == int(Result.SUCCESSFUL)
        rows = [self.measure(one(r)) if ok else None for r, ok in enumerate(there)]
        like = next((row for row in rows if row is not None), self._unknown())
        blank = {name: np.full(np.shape(value), np.nan) for name, value in like.items()}
        return {
            name: np.stack([np.asarray(blank[name] if row is None else row[name], np.float64) for row in rows])
            for name in like
        }

    def _unknown(self) -> dict[str, Any]:
        """The observables where no run has any: NaN, of those whose dims have known lengths."""
        places = self.coordinates()
        known = [one for one in self.observables if set(one.dims) <= set(places)]
        return {one.name: np.full([len(places[dim]) for dim in one.dims], np.nan) for one in known}

    def _outcome(self, values: Mapping[str, Any], result: Any, runs: Any, stats: Any = None) -> Any:
        from solvable.lab.declare.outcome import Outcome

        dims = {one.name: one.dims for one in self.observables}
        count, places = np.shape(result), dict(self.coordinates())
        shaped = {
            name: np.broadcast_to(value, count + np.shape(value)) if np.ndim(value) == len(dims[name]) else value
            for name, value in values.items()
            if name in dims
        }
        at = places.pop("at", None)
        return Outcome.of(shaped, result, dims, at=at, runs=runs, stats=stats, coordinates=places)
