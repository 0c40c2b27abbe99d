"""Fitted estimators on disk: one .npz file of plain arrays and one text of parameters. Nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from solvable.bags.heads import Head
from solvable.bags.training import Fit, Pooling

FORMAT = 1
_POOLING = ("queries", "mean", "deviation", "feature_mean", "feature_deviation")


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator; the file is whole or not there.

    Raises: NotFittedError; ValueError for classes or parameters that are no plain numbers, words or lists of them.
    """
    fitted: Fit = estimator._fitted()
    pooling, head = fitted.pooling, fitted.head
    parameters = estimator.get_params(deep=False)
    names = getattr(estimator, "feature_names_in_", None)
    text = {
        "format": FORMAT,
        "estimator": type(estimator).__name__,
        "parameters": {name: _plain(name, value) for name, value in parameters.items()},
        "parts": pooling.parts,
        "inverse_temperature": pooling.inverse_temperature,
        "clip": pooling.clip,
        "head": {"bias": head.bias, "slope": head.slope, "shift": head.shift},
        "feature_names": None if names is None else [str(name) for name in names],
        "longest": estimator._longest,
        "target": [fitted.target_mean, fitted.target_deviation],
    }
    arrays = {name: getattr(pooling, name) for name in _POOLING} | {"weights": head.weights}
    if head.anchors is not None:
        arrays["anchors"] = head.anchors
    if fitted.classes is not None:
        classes = fitted.classes
        if classes.dtype == object and all(isinstance(name, str) for name in classes):
            classes = classes.astype(str)
        if classes.dtype.kind not in "biufUS":
            raise ValueError(f"classes_ has dtype {classes.dtype}; accepted: numbers, booleans or strings")
        arrays["classes"] = classes
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            np.savez(file, allow_pickle=False, text=np.array(json.dumps(text)), **arrays)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Any:
    """The estimator that `save` wrote to a file, fitted. Loading runs no code of the file.

    Raises: FileNotFoundError; ValueError for a file that is damaged or no estimator.
    """
    from solvable.bags import estimators

    accepted = "accepted: a file that the save method of an estimator wrote"
    if not Path(path).exists():
        raise FileNotFoundError(f"path={str(path)!r} does not exist; {accepted}")
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        text = json.loads(str(arrays.pop("text")))
        if text["format"] != FORMAT:
            raise ValueError(f"path={str(path)!r} has format {text['format']}; accepted: {FORMAT}")
        known = ("AttentionClassifier", "PooledClassifier", "SingleLocationRegressor")
        kind = getattr(estimators, text["estimator"]) if text["estimator"] in known else None
        assert kind is not None
        pooling = Pooling(
            parts=tuple(text["parts"]),
            inverse_temperature=text["inverse_temperature"],
            clip=text["clip"],
            **{name: arrays[name] for name in _POOLING},
        )
        head = Head(anchors=arrays.get("anchors"), weights=arrays["weights"], widths=pooling.widths, **text["head"])
        fitted = Fit(pooling, head, arrays.get("classes"), *text["target"])
        parameters = {name: _restored(value) for name, value in text["parameters"].items()}
    except (OSError, EOFError, KeyError, AssertionError, TypeError, AttributeError, zipfile.BadZipFile):
        raise ValueError(f"path={str(path)!r} is damaged or no estimator; {accepted}") from None
    except ValueError as error:
        if "has format" in str(error):
            raise
        raise ValueError(f"path={str(path)!r} is damaged or no estimator; {accepted}") from None
    estimator = kind(**parameters)._restored(fitted, text["longest"])
    if text["feature_names"] is not None:
        estimator.feature_names_in_ = np.asarray(text["feature_names"], dtype=object)
    return estimator


def _plain(name: str, value: Any) -> Any:
    """A parameter as JSON: tuples and mappings are marked, so that they come back as they were."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return {"kind": type(value).__name__, "items": [_plain(name, item) for item in value]}
    if isinstance(value, dict):
        return {"kind": "dict", "items": [[_plain(name, k), _plain(name, v)] for k, v in value.items()]}
    raise ValueError(f"{name}={value!r} cannot be saved; accepted: numbers, words, and lists or mappings of them")


def _restored(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    items = value["items"]
    if value["kind"] == "dict":
        return {_restored(k): _restored(v) for k, v in items}
    return (tuple if value["kind"] == "tuple" else list)(_restored(item) for item in items)
