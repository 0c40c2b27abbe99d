"""The lab: declare an experiment, run it, store it, compare it with theory, draw it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

    from solvable.lab.comparing.comparisons import Comparisons
    from solvable.lab.declare.experiment import Experiment
    from solvable.lab.planning.solve import Plan

__all__ = ["compare", "figure", "open", "plan", "report", "run"]


def run(
    experiment: str | type[Experiment],
    grid: Mapping[str, Any] | None = None,
    *,
    replicates: int | None = None,
    engine: Any = None,
    jobs: int | None = None,
    address: str | None = None,
    out: str | os.PathLike[str] = "solvable-results",
) -> xarray.Dataset:
    """Simulate and predict every cell of `grid`, store what was missing in `out`, and return what was asked for.

    `grid` maps parameters to a value or several; the experiment's defaults stand for the others. `engine` is
    `"in-process"` (the default), `"loky"` (the default with `jobs`), `"dask"` (with `jobs` workers of its own, or the
    `address` of a scheduler), `"submitit"`, or an executor with the `submit` of `concurrent.futures`.

    Raises: ValueError for a name, value or setting that is not accepted; ImportError naming the extra that an engine
    needs; WriteError when `out` cannot be written. A cell that fails is missing, and a warning says so.
    """
    from solvable.lab.declare import registry
    from solvable.lab.running import runner
    from solvable.lab.store import dataset

    declared = registry.find(experiment) if isinstance(experiment, str) else experiment
    done = runner.execute(
        declared, grid, replicates=replicates, engine=engine, jobs=jobs, address=address, out=os.fspath(out)
    )
    if done.failures:
        cells = len({cell.canonical() for cell, _ in done.failures})
        warnings.warn(
            f"{cells} of {len(done.results)} cells of {declared.name} failed, the first with: "
            f"{done.failures[0][1].message}; the records are in {os.fspath(out)}",
            stacklevel=2,
        )
    return dataset.to_dataset(declared, done.results)


def open(folder: str | os.PathLike[str], experiment: str | type[Experiment] | None = None) -> xarray.Dataset:
    """Everything stored in `folder` for one experiment, which may be left out where there is only one.

    Raises: StoreError when nothing is stored; ValueError when the experiment is unknown or must be named.
    """
    from solvable.lab.store import dataset

    _require_order("open", folder, experiment)
    return dataset.to_dataset(*dataset.read_results(folder, experiment))


def compare(
    folder: str | os.PathLike[str], experiment: str | type[Experiment] | None = None, *, limit: float = 4.0
) -> Comparisons:
    """The agreement of theory and simulation for everything stored in `folder` for one experiment.

    A sequence of rows: those of each cell, then those extrapolated over its sizes (`lab.comparing.finite_size`).
    Printed, it is a table; `to_dataframe()` is one for pandas.

    Raises: as `open`.
    """
    from solvable.lab.comparing import agreement, finite_size
    from solvable.lab.comparing.comparisons import Comparisons
    from solvable.lab.store import dataset

    _require_order("compare", folder, experiment)
    declared, results = dataset.read_results(folder, experiment)
    lines = finite_size.extrapolate(declared, results, limit=limit)
    return Comparisons([*agreement.rows(declared, results, limit=limit), *lines])


def figure(
    folder: str | os.PathLike[str] | xarray.Dataset,
    experiment: str | type[Experiment] | None = None,
    *,
    width: Literal["column", "page"] | None = None,
    title: bool = True,
    theme: Literal["light", "dark"] = "light",
) -> Figure:
    """The figure of one experiment from the folder where its results are stored, or from a dataset of `open` or `run`.

    `width` is that of a "column" (3.75 inches, one panel a row) or of a "page" (7.17 inches) of text; None lets it grow
    with the panels. `savefig(..., transparent=True)` leaves the ground out.

    Raises: as `open`; ValueError for another width or theme, and when a dataset does not say of which experiment it is.
    """
    from solvable.lab.declare import registry
    from solvable.lab.figures import default, dense, matplotlib

    _require_order("figure", folder, experiment)
    data = open(folder, experiment) if isinstance(folder, str | os.PathLike) else folder
    declared = data.attrs.get("experiment") if experiment is None else experiment
    if declared is None:
        raise ValueError("experiment=None is not accepted with this dataset, whose attrs name none; accepted: its name")
    declared = registry.find(declared) if isinstance(declared, str) else declared
    fine = dense.along(declared, data, folder if isinstance(folder, str | os.PathLike) else None)
    return matplotlib.draw(default.sheet(declared, data, fine), width=width, title=title, theme=theme)


def report(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    experiments: Sequence[type[Experiment]] = (),
) -> Path:
    """Write one self-contained HTML page over everything stored in `folder`, to `folder`/report.html or to `out`.

    `experiments` are classes that no installed package declares.

    Raises: StoreError when nothing is stored or nothing of it can be read; ValueError when `folder` is a file or `out`
    names no file in a folder that exists; WriteError when the file cannot be written.
    """
    from solvable.lab.reporting import document

    return document.write(folder, out, experiments).path


def plan(
    experiment: str | type[Experiment],
    *,
    solve: str,
    target: Mapping[str, float],
    set: Mapping[str, Any] | None = None,
    between: tuple[float, float] | None = None,
) -> Plan:
    """The values of the parameter `solve` at which the theory gives an observable the value in `target`.

    `target` is one scalar observable and its value, `{"test_error": 0.05}`; the first theory of the experiment that
    predicts it without a run is inverted, and nothing is simulated. `set` maps other parameters to a value or several.
    A row stands for each combination: an axis of words (the models of an experiment) has all its values unless it is
    set, a number its default. `between` limits the search, which else goes out from the default by two decades (whole
    numbers: one), and further while the observable comes nearer to the target; see `solvable.lab.planning.inversion`.

    Returns: a `Plan`, whose rows hold every crossing found and what was tried; printed, it is the answer in words. That
    no value meets the target is an answer.
    Raises: ValueError for a name or value that is not accepted, an observable that is no scalar, an experiment whose
    theories all need a run, or settings refused at every value; SolveError where the theory is solved at none.
    """
    from solvable.lab.declare import registry
    from solvable.lab.planning.solve import plan as planned

    declared = registry.find(experiment) if isinstance(experiment, str) else experiment
    return planned(declared, solve, target, set, between)


def _require_order(verb: str, folder: Any, experiment: Any) -> None:
    """Raises: ValueError where the experiment stands before the folder or dataset."""
    swapped = isinstance(folder, type) or isinstance(experiment, os.PathLike) or hasattr(experiment, "data_vars")
    if not swapped and isinstance(folder, str) and isinstance(experiment, str) and not os.path.exists(folder):
        from solvable.lab.declare import registry

        known = registry.experiments()
        swapped = experiment not in known and (folder in known or os.path.isdir(experiment))
    if swapped:
        first, second = map(_brief, (folder, experiment))
        order = f"lab.{verb}(folder, experiment)"
        raise ValueError(f"folder={first} and experiment={second} are in the other order; accepted: {order}")


def _brief(argument: Any) -> str:
    """An argument in a word: of a class its name, of a dataset no more than that it is one."""
    return "a dataset" if hasattr(argument, "data_vars") else getattr(argument, "__name__", repr(argument))
