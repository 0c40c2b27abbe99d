"""Experiments by name: ours and third parties' alike, found through the entry-point group `solvable.experiments`."""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Iterable
from importlib.metadata import entry_points

from solvable.lab.declare import Experiment

GROUP = "solvable.experiments"


def experiments_in(module_path: str) -> list[type[Experiment]]:
    """The experiments a module declares: the named subclasses of `Experiment` defined in it, in order."""
    module = importlib.import_module(module_path)
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Experiment)
        and f"{value.__module__}.".startswith(f"{module.__name__}.")
        and isinstance(vars(value).get("name"), str)
    ]


def experiments() -> dict[str, type[Experiment]]:
    """Every installed experiment by name. A module that cannot be imported is named in a warning and passed over.

    Raises: ValueError when two installed packages declare one name.
    """
    return _declared(point.value for point in entry_points(group=GROUP))


def find(name: str) -> type[Experiment]:
    """The experiment of that name. Of "system/figure" the entry point "system" is tried first, and alone.

    Raises: ValueError with the nearest names when there is none.
    """
    system = name.partition("/")[0]
    known = _declared(point.value for point in entry_points(group=GROUP, name=system))
    if name not in known:
        known = experiments()
    if name not in known:
        raise ValueError(f"experiment {name!r} is unknown; {suggestion(name, known)}")
    return known[name]


def _declared(module_paths: Iterable[str]) -> dict[str, type[Experiment]]:
    """The experiments of some modules by name."""
    found: dict[str, type[Experiment]] = {}
    for module_path in sorted(set(module_paths)):
        try:
            declared = experiments_in(module_path)
        except Exception as error:  # a package of others must not take ours down
            warnings.warn(
                f"the experiments of {module_path} are left out: {type(error).__name__}: {error}", stacklevel=3
            )
            continue
        for experiment in declared:
            lacking = [name for name in ("source", "system", "observables", "x") if not hasattr(experiment, name)]
            if lacking:
                warnings.warn(
                    f"experiment {experiment.name!r} of {module_path} is left out: it has no {', no '.join(lacking)}",
                    stacklevel=3,
                )
                continue
            other = found.setdefault(experiment.name, experiment)
            if other is not experiment:
                raise ValueError(
                    f"experiment {experiment.name!r} is declared twice: in {other.__module__} and in {module_path}; "
                    "rename one of them"
                )
    return found


def suggestion(name: str, known: Iterable[str]) -> str:
    """Half a sentence: the names close to `name`, or all of them when none is close."""
    known = list(known)
    if not known:
        return "none is installed"
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(map(repr, close)) + "?"
    return "accepted: " + ", ".join(map(repr, known))
