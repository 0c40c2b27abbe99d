"""The commands that make the stored cells of an experiment again: full grids that together are exactly those cells."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shlex
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic

from solvable.lab.declare import Experiment
from solvable.lab.store.arrays import CellResult

_Key = tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Command:
    """One line for the shell, and the TOML file it reads where a value cannot be written on a command line.

    None can be written in neither: where it is not the default, the line calls Python.
    """

    line: str
    grid_name: str = ""
    grid: str = ""


def commands(experiment: type[Experiment], results: Sequence[CellResult], out: str) -> list[Command]:
    """The commands whose grids cover the cells of `results`, each cell once, with as many replicates as are stored.

    Cells are grouped by their replicates; within a group, grids that agree in all parameters but one are merged, one
    parameter after the other. A parameter that takes the experiment's default values is left out.
    """
    groups: dict[int | None, list[Experiment]] = {}
    for result in results:
        groups.setdefault(_replicates(experiment, result), []).append(result.cell)
    made: list[Command] = []
    for replicates, cells in sorted(groups.items(), key=lambda group: group[0] or 0):
        for grid in grids(experiment, cells):
            end = [] if replicates is None else ["--replicates", str(replicates)]
            end += ["--out", out]
            if any(None in values for values in grid.values()):
                made.append(Command(_python(experiment, grid, replicates, out)))
                continue
            options = [f"{name}={','.join(map(_text, values))}" for name, values in grid.items()]
            if all(_reads_back(cells, name, value) for name, values in grid.items() for value in values):
                words = [word for option in options for word in ("--set", option)]
                made.append(Command(shlex.join(["solvable", "run", experiment.name, *words, *end])))
            else:
                number = 1 + sum(bool(command.grid) for command in made)
                name = "grid.toml" if number == 1 else f"grid-{number}.toml"
                toml = "".join(f"{key} = [{', '.join(map(_toml, values))}]\n" for key, values in grid.items())
                made.append(Command(shlex.join(["solvable", "run", experiment.name, "--grid", name, *end]), name, toml))
    return made


def grids(experiment: type[Experiment], cells: Sequence[Experiment]) -> list[dict[str, list[Any]]]:
    """Grids whose products are together exactly `cells`, without the parameters that take their default values.

    A parameter that is None in some cells has None in a grid of its own.
    """
    defaults = _defaults(experiment)
    found = []
    for block in blocks(experiment, cells):
        shares = []
        for name, values in block.items():
            others = [value for value in values if value is not None]
            apart = None in values and others and _keys(values) != defaults[name]
            shares.append([(name, some) for some in ([[None], others] if apart else [values])])
        for grid in itertools.product(*shares):
            found.append({name: values for name, values in grid if _keys(values) != defaults[name]})
    return found


def blocks(experiment: type[Experiment], cells: Sequence[Experiment]) -> list[dict[str, list[Any]]]:
    """Grids whose products are together exactly `cells`, with the values of every parameter."""
    names = list(experiment.model_fields)
    values: dict[tuple[str, str], Any] = {}
    found: list[_Key] = []
    for cell in cells:
        place = [json.dumps(value) for value in cell.model_dump(mode="json").values()]
        values.update(((name, key), getattr(cell, name)) for name, key in zip(names, place, strict=True))
        found.append(tuple((key,) for key in place))
    found = list(dict.fromkeys(found))
    for place, name in enumerate(names):
        merged: dict[_Key, list[str]] = {}
        for block in found:
            merged.setdefault(block[:place] + block[place + 1 :], []).extend(block[place])
        order = _order(experiment, name, values)
        found = [
            (*rest[:place], tuple(sorted(dict.fromkeys(keys), key=order)), *rest[place:])
            for rest, keys in merged.items()
        ]
    return [
        {name: [values[name, key] for key in keys] for name, keys in zip(names, block, strict=True)} for block in found
    ]


def _replicates(experiment: type[Experiment], result: CellResult) -> int | None:
    """How many replicates a cell has, those that failed too; None where the experiment simulates nothing."""
    if experiment.replicates == 0:
        return None
    numbers = [values.replicates for values in result.sources.values() if values.replicates is not None]
    stored = [int(found.max()) + 1 for found in numbers if len(found)]
    failed = [failure.replicates.stop for failure in result.failures if failure.replicates]
    return max([*stored, *failed], default=None)


def _order(experiment: type[Experiment], name: str, values: dict[tuple[str, str], Any]) -> Any:
    """Numbers ascending, texts as they are declared or met."""
    annotation = experiment.model_fields[name].annotation
    if typing.get_origin(annotation) is typing.Literal:
        return lambda key: typing.get_args(annotation).index(values[name, key])
    return lambda key: value if isinstance(value := values[name, key], int | float) else 0


def _defaults(experiment: type[Experiment]) -> dict[str, set[str]]:
    """The default values of each parameter in the form that cells have them."""
    grid = experiment.default_grid()
    first = {name: values[0] for name, values in grid.items()}
    found: dict[str, set[str]] = {}
    for name, values in grid.items():
        try:
            cells = [experiment(**{**first, name: value}) for value in values]
            found[name] = _keys(getattr(cell, name) for cell in cells)
        except pydantic.ValidationError:  # defaults that only go together with others: name the parameter
            found[name] = set()
    return found


def _keys(values: Iterable[Any]) -> set[str]:
    return {json.dumps(value) for value in values}


def _python(experiment: type[Experiment], grid: Mapping[str, Sequence[Any]], replicates: int | None, out: str) -> str:
    def one(value: Any) -> str:
        return f"float('{value}')" if isinstance(value, float) and math.isinf(value) else repr(value)

    written = ", ".join(f"{name!r}: [{', '.join(map(one, values))}]" for name, values in grid.items())
    end = "" if replicates is None else f", replicates={replicates}"
    code = f"from solvable import lab; lab.run({experiment.name!r}, {{{written}}}{end}, out={out!r})"
    return shlex.join(["python", "-c", code])


def _reads_back(cells: Sequence[Experiment], name: str, value: Any) -> bool:
    """Whether `--set` gives the parameter this value again, in a cell that has it."""
    words = _text(value)
    if value is None or "," in words or words != words.strip() or not words or not words.isprintable():
        return False
    cell = next(cell for cell in cells if getattr(cell, name) == value)
    try:
        return type(cell)(**{**cell.model_dump(), name: words}).canonical() == cell.canonical()
    except pydantic.ValidationError:
        return False


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value) if isinstance(value, float) else _text(value)
