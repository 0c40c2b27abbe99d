"""What simulate and predict return: named observables with named dims, the same on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from solvable.lab.declare.theory import Status
from solvable.numerics import notebook
from solvable.numerics.estimate import mean_and_error
from solvable.numerics.results import Result, is_traced

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


# JAX arrays inside a traced computation, NumPy arrays once a public call has handed them back.
AnyArray = Array | np.ndarray


class Outcome(eqx.Module):
    """Observables by name, with the replicate axis first where there is one; each is an attribute too.

    `values` holds an array an observable: the leading dims (`("replicate",)` from `simulate` and from a prediction of
    runs, `()` from any other) and then its own, `dims[name]`. An observable of which a side does not speak is absent.
    `result` holds one `Result` code a replicate (or one for a prediction); an unsuccessful element has NaN observables
    (where a theory says so, at the steps alone of which its code speaks).
    `at` are the steps or times, in `unit`. `runs` are the runs that were measured: what was drawn, where they started
    and ended; a prediction may be given them, and what they hold is an attribute here too. `stats` says how the
    numbers were obtained; `stats["standard_error"]` maps an observable to the standard error of its quadrature where
    there is one. `coordinates` are the positions along other dims than `at`, numbers or words. `status` says what the
    theory named in `theory` claims of each observable.
    """

    values: dict[str, AnyArray | np.generic]
    result: Int[AnyArray, "..."]
    at: Any = None
    runs: Any = None
    stats: dict[str, Any] = eqx.field(default_factory=dict)
    coordinates: dict[str, Any] = eqx.field(default_factory=dict)
    unit: str = eqx.field(static=True, default="")
    theory: str = eqx.field(static=True, default="")
    # pairs, as what is static must have a hash
    _dims: tuple[tuple[str, tuple[str, ...]], ...] = eqx.field(static=True, default=())
    _status: tuple[tuple[str, Status], ...] = eqx.field(static=True, default=())
    _words: tuple[tuple[str, tuple[str, ...]], ...] = eqx.field(static=True, default=())

    @staticmethod
    def of(
        values: Mapping[str, Any],
        result: Any,
        dims: Mapping[str, Sequence[str]],
        *,
        at: Any = None,
        runs: Any = None,
        stats: Mapping[str, Any] | None = None,
        coordinates: Mapping[str, Any] | None = None,
        unit: str = "",
        theory: str = "",
        status: Mapping[str, Status] | None = None,
        lost: Any = None,
    ) -> Outcome:
        """An outcome of float64 observables: NaN where an element is unsuccessful, absent where a value is None.

        `lost` are the codes of elements of which all is NaN, where a code in `result` may speak of some steps alone.
        """
        lost = result if lost is None else lost
        kept = {name: _masked(value, lost) for name, value in values.items() if value is not None}
        places, words = {}, {}
        for dim, along in (coordinates or {}).items():
            where = np.asarray(along) if not is_traced(along) else along
            if where.dtype.kind in "US":
                words[dim] = tuple(map(str, where))
            else:
                places[dim] = along
        return Outcome(
            kept,
            jnp.asarray(result) if is_traced(result) else np.asarray(result),
            at,
            runs,
            dict(stats or {}),
            places,
            unit,
            theory,
            tuple((name, tuple(dims.get(name, ()))) for name in kept),
            tuple((name, one) for name, one in (status or {}).items() if name in kept),
            tuple(words.items()),
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        held = self.__dict__
        values, runs = held.get("values", {}), held.get("runs")
        if name in values:
            return values[name]
        along = self.along(name)
        if along is not None:
            return along
        if runs is not None and hasattr(runs, name):
            return getattr(runs, name)
        raise AttributeError(f"this outcome has no {name!r}; it has {', '.join(map(repr, values))}")

    @property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        """The own dims of each observable."""
        return dict(self._dims)

    @property
    def status(self) -> Mapping[str, Status]:
        """What the theory claims of each observable; empty for a simulation."""
        return dict(self._status)

    @property
    def leading(self) -> tuple[str, ...]:
        """The leading dims: `("replicate",)` or `()`."""
        return ("replicate",) * np.ndim(self.result)

    def along(self, dim: str) -> Any:
        """The positions along a dim, numbers or words; None where they are not known."""
        held = self.__dict__
        if dim == "at":
            return held.get("at")
        words = dict(held.get("_words", ()))
        return np.array(words[dim]) if dim in words else held.get("coordinates", {}).get(dim)

    def present(self) -> dict[str, Any]:
        """The observables this outcome holds, by name, in the order in which they were declared."""
        return {name: self.values[name] for name, _ in self._dims}

    def reasons(self) -> list[str]:
        """Why each replicate is missing (an empty text where it is not)."""
        return [Result(int(code)).message for code in np.ravel(np.asarray(self.result))]

    def __repr__(self) -> str:
        """One line an observable: its value, or the mean and its standard error over the replicates."""
        if is_traced(self.result, self.values):
            return f"Outcome(traced: {', '.join(self.values)})"
        lines = [self._head()]
        for name, value, claim in self._lines():
            lines.append(f"  {name:<20} {value}" + (f"  ({claim})" if claim else ""))
        return "\n".join([*lines, *(f"  {note}" for note in self._missing())])

    def _repr_html_(self) -> str:
        """What is printed, as a table."""
        if is_traced(self.result, self.values):
            return notebook.table(repr(self), ("observable",), [])
        return notebook.table(self._head(), ("observable", "value", "claim"), self._lines(), self._missing())

    def _head(self) -> str:
        count = "" if np.ndim(self.result) == 0 else f", {np.size(self.result)} replicates"
        return (f"Outcome of {self.theory}" if self.theory else "Outcome") + count

    def _lines(self) -> list[tuple[str, str, str]]:
        """Each observable with its value in brief and what the theory claims of it."""
        claims = {name: one.claim for name, one in self._status}
        shown = {name: _summary(np.asarray(value), bool(self.leading)) for name, value in self.present().items()}
        return [(name, value, claims.get(name, "")) for name, value in shown.items()]

    def _missing(self) -> list[str]:
        return [f"missing: {reason}" for reason in dict.fromkeys(self.reasons()) if reason]

    def to_dataset(self) -> xarray.Dataset:
        """The observables as a labelled dataset."""
        import xarray

        own = {dim for dims in self.dims.values() for dim in dims}
        along = {dim: self.along(dim) for dim in sorted(own)}
        return xarray.Dataset(
            {name: (self.leading + self.dims[name], np.asarray(value)) for name, value in self.present().items()},
            {dim: places for dim, places in along.items() if places is not None and np.ndim(places) == 1},
        )

    def plot(self, prediction: Outcome | None = None, observable: str | Sequence[str] | None = None) -> Figure:
        """Draw observables against the dim that they share, a panel each, with a prediction of them as lines over it.

        `observable` None is those along `at`, else along the first dim, else the numbers, which are drawn by name. A
        mean has its standard error over the replicates; an outcome of a theory is drawn as a line itself.

        Raises: ValueError for an observable that is not here or has no own dim or several where others have one, and
        for a prediction of what is one itself; TypeError for a prediction that is no outcome.
        """
        import xarray

        from solvable.lab.figures.quick import lines

        if prediction is not None and not isinstance(prediction, Outcome):
            raise TypeError(f"prediction={prediction!r} is not accepted; accepted: an outcome of predict, or None")
        own = {name: dims for name, dims in self.dims.items() if len(dims) < 2}
        dims = [one[0] for one in own.values() if one]
        wanted = ("at",) if "at" in dims else tuple(dims[:1])
        names: list[Any]
        if observable is None:
            names = [name for name, one in own.items() if one == wanted]
        else:
            many: Any = observable
            names = list(many) if isinstance(many, list | tuple) else [many]
            wanted = own.get(names[0], ()) if names and isinstance(names[0], str) else ()
        if not names or not all(isinstance(name, str) and own.get(name) == wanted for name in names):
            raise ValueError(f"observable={observable!r} cannot be drawn; accepted: of one dim, {own}")
        if self.theory and prediction is not None:
            raise ValueError("prediction is not accepted for an outcome of predict; accepted: for one of simulate")
        sides = {"theory_" if self.theory else "": self} | ({} if prediction is None else {"theory_": prediction})
        drawn: dict[str, Any] = {}
        for prefix, side in sides.items():
            data = side.to_dataset()
            data = data.mean("replicate") if prefix and "replicate" in data.dims else data
            drawn |= {prefix + name: data[name] for name in names if name in data}
        data = xarray.Dataset(drawn)
        if wanted:
            label = f"at ({self.unit})" if wanted == ("at",) and self.unit not in ("", "one") else wanted[0]
            return lines(data, names, wanted[0], hue=None, label="", x_label=label)
        joined = {}
        for prefix in sides:
            there = [name for name in names if prefix + name in data]
            along = xarray.DataArray(there, dims="observable", name="observable")
            joined[prefix + "value"] = xarray.concat([data[prefix + name] for name in there], along)
        return lines(xarray.Dataset(joined), "value", "observable", hue=None, label="", x_label="")


def _masked(value: Any, result: Any) -> Any:
    """The value in float64, and NaN, its gradient too, where the result is no success."""
    if is_traced(value, result):
        value, result = jnp.asarray(value).astype(jnp.float64), jnp.asarray(result)
        # A factor, not a choice: jnp.where would leave the gradient of what is lost at a harmless zero.
        factor = jnp.where(result == int(Result.SUCCESSFUL), 1.0, jnp.nan)
        return value * factor.reshape(factor.shape + (1,) * (value.ndim - factor.ndim))
    value, lost = np.array(value, np.float64), np.asarray(result) != int(Result.SUCCESSFUL)
    value[np.broadcast_to(lost.reshape(lost.shape + (1,) * (value.ndim - lost.ndim)), value.shape)] = np.nan
    return value[()] if value.ndim else np.float64(value)


def _summary(value: np.ndarray, replicated: bool) -> str:
    if value.ndim > int(replicated):
        return f"array of shape {value.shape}"
    if not replicated:
        return f"{float(value):.6g}"
    mean, error = mean_and_error(value)
    if np.isnan(mean):
        return "missing"
    return f"{mean:.6g}" + ("" if np.isnan(error) else f" +- {error:.2g}")
