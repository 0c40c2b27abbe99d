"""The declaration of an experiment, under the name it had before `solvable.lab.declare`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from solvable.lab.declare.experiment import Experiment as Experiment
from solvable.lab.declare.experiment import axis as axis
from solvable.lab.declare.experiment import parameter as parameter
from solvable.lab.declare.theory import Dimension as Dimension
from solvable.lab.declare.theory import Observable as Observable
from solvable.lab.declare.theory import Overlay as Overlay
from solvable.lab.declare.theory import Status as Status
from solvable.lab.declare.theory import Theory as Theory

if TYPE_CHECKING:
    import jax

    from solvable.lab.outcome import Outcome


class FigureExperiment(Experiment):
    """A figure whose two sides are functions of their own: `system`.`module` holds `simulate_NAME` and `predict_NAME`.

    NAME is the module's. `statuses` says what its one theory claims of each observable.
    """

    module: ClassVar[str]
    statuses: ClassVar[Mapping[str, Status]]

    def simulate(self, key: jax.Array, replicates: int | range) -> Outcome:
        """Run the cell."""
        run = getattr(self._module(), f"simulate_{self.module}")
        return run(self.task(), self.algorithm(), **self.shared(), **self.sizes(), key=key, replicates=replicates)

    def predict(self, overlay: Overlay, given: Outcome | Mapping[str, Any] | None = None) -> Outcome:
        """Predict the cell."""
        options = {} if given is None else {"given": given}
        return getattr(self._module(), f"predict_{self.module}")(
            self.task(), self.algorithm(), **self.shared(), **options
        )

    @classmethod
    def status(cls, overlay: Overlay) -> Mapping[str, Status]:
        """The status of each observable."""
        return cls.statuses

    def _module(self) -> Any:
        return importlib.import_module(f"{self.system}.{self.module}")
