"""The cells of a grid: every combination of the values that each parameter takes."""

from __future__ import annotations

import itertools
import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union

import pydantic

from solvable.lab.declare import Experiment
from solvable.lab.declare.registry import suggestion

E = TypeVar("E", bound=Experiment)


def cells(experiment: type[E], grid: Mapping[str, Any] | None = None) -> list[E]:
    """The cells of the product of the values in `grid`, with the experiment's defaults for the other parameters.

    A value may be one value or a sequence of them. The last parameter varies fastest.

    Raises: ValueError naming the parameter, its value and what is accepted.
    """
    size = experiment.size_parameter
    if size is not None and size not in experiment.model_fields:
        raise ValueError(f"size_parameter={size!r} of {experiment.name} is none of its parameters")
    values = experiment.default_grid()
    for name, given in (grid or {}).items():
        if name not in values:
            raise ValueError(f"parameter {name!r} is unknown in {experiment.name}; {suggestion(name, values)}")
        given = given.tolist() if hasattr(given, "tolist") else given
        many = list(given) if isinstance(given, Sequence) and not isinstance(given, str | bytes) else [given]
        if not many:
            raise ValueError(f"{name} has no value; give at least one")
        values[name] = many
    made = (
        _cell(experiment, dict(zip(values, combination, strict=True)))
        for combination in itertools.product(*values.values())
    )
    return list(dict.fromkeys(made))


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The grid that a TOML file describes: `parameter = value` or `parameter = [value, value]`, one line each.

    Raises: ValueError when it cannot be opened or is not such a file.
    """
    try:
        with open(path, "rb") as file:
            grid = tomllib.load(file)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(
            f"grid={os.fspath(path)!r} cannot be opened ({error.strerror}); accepted: a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{os.fspath(path)} is not TOML: {error}") from None
    for name, value in grid.items():
        if any(isinstance(item, dict | list) for item in (value if isinstance(value, list) else [value])):
            raise ValueError(
                f"{name} in {os.fspath(path)} is not accepted; accepted: a value or a list of values for each parameter"
            )
    return grid


def accepted(annotation: Any) -> str:
    """What a parameter of that type takes, in words."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return ", ".join(map(repr, typing.get_args(annotation)))
    if origin in (Union, types.UnionType):
        return " or ".join(accepted(part) for part in typing.get_args(annotation))
    if origin is typing.Annotated:
        return accepted(typing.get_args(annotation)[0])
    words = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", type(None): "nothing"}
    return words.get(annotation, str(annotation))


def kinds(annotation: Any) -> set[type]:
    """The Python types of the values that an annotation admits (`float`, `int`, `str`, `bool`; None is left out)."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return {type(value) for value in typing.get_args(annotation) if value is not None}
    if origin in (Union, types.UnionType):
        return set().union(*(kinds(part) for part in typing.get_args(annotation)))
    if origin is typing.Annotated:
        return kinds(typing.get_args(annotation)[0])
    return set() if annotation is type(None) else {annotation}


def numeric(annotation: Any) -> bool:
    """Whether a parameter of that type is a number, any in its range."""
    return set() < kinds(annotation) <= {int, float} and typing.get_origin(annotation) is not Literal


def varying(many: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names under which not all of the mappings have one value, as it is written."""
    return [name for name in (many[0] if many else ()) if len({str(one[name]) for one in many}) > 1]


def _cell(experiment: type[E], values: dict[str, Any]) -> E:
    try:
        cell = experiment(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise ValueError(first["msg"].removeprefix("Value error, ")) from None
        name = str(first["loc"][0])
        field = experiment.model_fields[name]
        if first["type"] == "value_error":
            detail = first["msg"].removeprefix("Value error, ")
        elif field.metadata:
            detail = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        else:
            detail = f"accepted: {accepted(field.annotation)}"
        raise ValueError(f"{name}={values[name]!r} is not accepted; {detail}") from None
    for name, value in values.items():
        made, annotation = getattr(cell, name), experiment.model_fields[name].annotation
        lost = isinstance(made, float) and math.isnan(made)
        large = isinstance(made, int) and abs(made) >= 2**63  # more than a column holds
        if lost or large or (isinstance(value, bool) and bool not in kinds(annotation)):
            raise ValueError(f"{name}={value!r} is not accepted; accepted: {accepted(annotation)}")
    return cell
