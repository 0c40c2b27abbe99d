"""What simulate and predict return: named observables with named dims, the same on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Int

from solvable.numerics.estimate import mean_and_error
from solvable.numerics.results import Result, is_traced

if TYPE_CHECKING:
    import xarray


# JAX arrays inside a traced computation, NumPy arrays once a public call has handed them back.
AnyArray = Array | np.ndarray


class Outcome(eqx.Module):
    """Base of every system's outcome. A subclass adds one array field per observable and lists them in `observables`.

    The array of an observable has the outcome's leading dims (`("replicate",)` from `simulate` and from a conditional
    prediction, `()` from an unconditional one) followed by its own dims in `dims` (none unless named there). A field
    that is None is absent on that side. `result` holds one `Result` code a replicate (or one for a prediction);
    an unsuccessful element has NaN observables. `stats` says how the numbers were obtained; `stats["standard_error"]`
    maps an observable to the standard error of its quadrature where there is one.
    """

    result: Int[AnyArray, "..."]
    stats: dict[str, Any]

    observables: ClassVar[tuple[str, ...]] = ()
    dims: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @property
    def leading(self) -> tuple[str, ...]:
        """The leading dims: `("replicate",)` or `()`."""
        return ("replicate",) * np.ndim(self.result)

    def present(self) -> dict[str, AnyArray]:
        """The observables this outcome holds, by name."""
        values = {name: getattr(self, name) for name in self.observables}
        return {name: value for name, value in values.items() if value is not None}

    def reasons(self) -> list[str]:
        """Why each replicate is missing (an empty text where it is not)."""
        return [Result(int(code)).message for code in np.ravel(np.asarray(self.result))]

    def __repr__(self) -> str:
        """One line an observable: its value, or the mean and its standard error over the replicates."""
        lines = [f"{type(self).__name__}{_replicates(self.result)}"]
        for name, value in self.present().items():
            if is_traced(value):
                return f"{type(self).__name__}(traced)"
            lines.append(f"  {name:<20} {_summary(np.asarray(value), bool(self.leading))}")
        lines += [f"  missing: {reason}" for reason in dict.fromkeys(self.reasons()) if reason]
        return "\n".join(lines)

    def to_dataset(self) -> xarray.Dataset:
        """The observables as a labelled dataset."""
        import xarray

        return xarray.Dataset(
            {
                name: (self.leading + tuple(self.dims.get(name, ())), np.asarray(value))
                for name, value in self.present().items()
            }
        )


def _replicates(result: Any) -> str:
    return "" if is_traced(result) or np.ndim(result) == 0 else f", {np.size(result)} replicates"


def _summary(value: np.ndarray, replicated: bool) -> str:
    if value.ndim > int(replicated):
        return f"array of shape {value.shape}"
    if not replicated:
        return f"{float(value):.6g}"
    mean, error = mean_and_error(value)
    if np.isnan(mean):
        return "missing"
    return f"{mean:.6g}" + ("" if np.isnan(error) else f" +- {error:.2g}")
