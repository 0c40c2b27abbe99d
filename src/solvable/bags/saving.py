"""Fitted estimators on disk: one .npz file of plain arrays and one text of parameters. Nothing is ever unpickled."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from solvable.bags.heads import Head
from solvable.bags.training import Fit, Pooling
from solvable.lab.store.atomic import WriteError, write_whole
from solvable.numerics.validation import choice, integer, number, truth

FORMAT = 2
TEXT = ("format", "estimator", "parameters", "parts", "inverse_temperature", "clip", "head", "feature_names")
TEXT += ("longest", "target")
POOLING = ("queries", "mean", "deviation", "feature_mean", "feature_deviation")


def save(estimator: Any, path: str | os.PathLike[str], kinds: Mapping[str, type]) -> None:
    """Write a fitted estimator, of one of the classes `kinds`; the file is whole or not there.

    It is written to a temporary name, flushed to the disk, then renamed. A link of that name is replaced;
    what it leads to is left as it is.

    Raises: NotFittedError; ValueError for classes or parameters that are no plain numbers, words or lists of them, and
    for what `load` would refuse; OSError naming the path where it cannot be written.
    """
    fitted: Fit = estimator._fitted()
    pooling, head = fitted.pooling, fitted.head
    names = getattr(estimator, "feature_names_in_", None)
    text = {
        "format": FORMAT,
        "estimator": type(estimator).__name__,
        "parameters": {name: _plain(name, value) for name, value in estimator.get_params(deep=False).items()},
        "parts": list(pooling.parts),
        "inverse_temperature": float(pooling.inverse_temperature),
        "clip": float(pooling.clip),
        "head": {"bias": float(head.bias), "slope": float(head.slope), "shift": float(head.shift)},
        "feature_names": None if names is None else [str(name) for name in names],
        "longest": estimator._longest,
        "target": [float(fitted.target_mean), float(fitted.target_deviation)],
    }
    arrays = {name: getattr(pooling, name) for name in POOLING} | {"weights": head.weights}
    if head.anchors is not None:
        arrays["anchors"] = head.anchors
    if fitted.classes is not None:
        words = fitted.classes.dtype == object and all(isinstance(name, str) for name in fitted.classes)
        arrays["classes"] = fitted.classes.astype(str) if words else fitted.classes
    _rebuilt(text, arrays, kinds)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, text=np.array(json.dumps(text)), **arrays)
    try:
        write_whole(Path(path), content.getvalue())
    except WriteError as error:
        reason = getattr(error.__cause__, "strerror", None)
        if reason is None:  # its sentence is about the path itself
            raise
        raise OSError(f"path={str(path)!r} cannot be written ({reason}); accepted: a place for a file") from error


def load(path: str | os.PathLike[str], kinds: Mapping[str, type]) -> Any:
    """The fitted estimator, of one of the classes `kinds`, that `save` wrote; see `solvable.bags.load`."""
    accepted = "accepted: a file that the save method of an estimator wrote"
    if not Path(path).exists():
        raise FileNotFoundError(f"path={str(path)!r} does not exist; {accepted}")
    try:
        arrays = _arrays(Path(path))
        text = arrays.pop("text", np.zeros(0))
        if text.dtype.kind != "U" or text.ndim:
            raise ValueError("it has no text of parameters")
        return _rebuilt(json.loads(str(text)), arrays, kinds)
    except ValueError as error:
        reason = str(error).partition("; accepted")[0]
    except TypeError as error:
        reason = f"it holds what no fit has ({error})"
    except (OSError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile) as error:
        reason = str(error) or type(error).__name__
    raise ValueError(f"path={str(path)!r} is damaged or no estimator: {' '.join(reason.split())}; {accepted}")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, none larger than the file."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in found or info.compress_type != zipfile.ZIP_STORED or info.file_size > path.stat().st_size:
                raise ValueError(f"{name} is there twice, compressed or larger than the file")
            with archive.open(info) as member:
                try:
                    version = np.lib.format.read_magic(member)
                    shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
                except (ValueError, EOFError):
                    version, shape, fortran, dtype = None, (), False, np.dtype(float)
                if version != (1, 0):
                    raise ValueError(f"{name} has no header of an array in NumPy's format 1.0")
                if dtype.hasobject:
                    raise ValueError(f"{name} holds Python objects, which are never unpickled")
                if math.prod(shape) * dtype.itemsize != info.file_size - member.tell() or min(shape, default=0) < 0:
                    raise ValueError(f"{name} is said to have shape {shape}, which is not what is there")
                data = member.read()
            found[name] = np.ndarray(shape, dtype, data, order="F" if fortran else "C").copy("C")
    return found


def _rebuilt(text: Any, arrays: Mapping[str, np.ndarray], kinds: Mapping[str, Any]) -> Any:
    """The estimator of a text and its arrays.

    Raises: ValueError naming what is missing, unknown, of another shape or kind, or no number that a fit would have.
    """
    if isinstance(text, Mapping) and text.get("format") == 1:  # which did not say how long the bags were
        text = {"longest": 1, **text, "format": FORMAT}
    _keys("the text", text, TEXT)
    if type(text["format"]) is not int or text["format"] != FORMAT:
        raise ValueError(f"it has format {text['format']!r}, which is not {FORMAT}")
    kind = kinds[choice("estimator", text["estimator"], tuple(kinds))]
    defaults = kind().get_params(deep=False)
    _keys("parameters", text["parameters"], defaults)
    parameters = {name: _restored(value) for name, value in text["parameters"].items()}
    estimator = kind(**parameters)
    recipe = estimator._recipe()
    for name, value in defaults.items():
        if isinstance(value, bool):
            truth(name, parameters[name])

    classifies = hasattr(kind, "predict_proba")
    extra = [*["anchors"] * ("anchors" in arrays), *["classes"] * classifies]
    _keys("the file", arrays, (*POOLING, "weights", *extra))
    parts = _listed("parts", text["parts"], str)
    kind(pooling=tuple(parts))._recipe()
    dim, queries = _array("mean", arrays, None).size, arrays["queries"].shape[-1] if arrays["queries"].ndim else 0
    if (queries > 0) != ("attention" in parts):
        raise ValueError(f"there are {queries} queries and the poolings {parts}")
    width = dim * (len(parts) + max(queries - 1, 0))
    names = text["feature_names"]
    if names is not None and len(_listed("feature_names", names, str)) != dim:
        raise ValueError(f"there are {len(names)} feature_names and {dim} features")
    clip = float(number("clip", text["clip"], above=0.0))
    pooling = Pooling(
        tuple(parts),
        _array("queries", arrays, (dim, queries)),
        _array("mean", arrays, (dim,)),
        _array("deviation", arrays, (dim,), deviation=True),
        float(number("inverse_temperature", text["inverse_temperature"], above=0.0)),
        _array("feature_mean", arrays, (width,)),
        _array("feature_deviation", arrays, (width,), deviation=True),
        clip,
    )
    _keys("head", text["head"], ("bias", "slope", "shift"))
    bias, shift = (float(number(name, text["head"][name])) for name in ("bias", "shift"))
    slope = float(number("slope", text["head"]["slope"], at_least=0.0))
    anchors, count = None, width
    if "anchors" in arrays:
        count = len(_array("anchors", arrays, None, axes=2))
        anchors = _array("anchors", arrays, (count, width))
        if np.abs(anchors).max() > clip:
            raise ValueError(f"anchors holds numbers above clip={clip:g}")
    fits = {
        "pooling": (tuple(parts), recipe.pooling),
        "queries": (queries, recipe.queries if queries else 0),
        "inverse_temperature": (pooling.inverse_temperature, recipe.inverse_temperature),
        "clip": (clip, recipe.clip),
        "head": ("linear" if anchors is None else "rbf", recipe.head),
    }
    head = Head(anchors, _array("weights", arrays, (count,)), bias, slope, shift, pooling.widths)
    for name, (held, said) in fits.items():
        if held != said:
            raise ValueError(f"{name} is {held!r} in what was fitted and {said!r} in the parameters")
    classes = _classes(arrays["classes"], parameters["class_weight"]) if classifies else None
    mean, deviation = _listed("target", text["target"], float)
    mean, deviation = float(number("target", mean)), float(number("target", deviation, above=0.0))
    if classifies and (mean, deviation) != (0.0, 1.0):
        raise ValueError(f"target={[mean, deviation]} is that of a regression")
    fitted = Fit(pooling, head, classes, mean, deviation)
    estimator._restored(fitted, integer("longest", text["longest"], at_least=1))
    if names is not None:
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
    return estimator


def _keys(name: str, held: Any, expected: Iterable[str]) -> None:
    if not isinstance(held, Mapping):
        raise ValueError(f"{name} is no mapping")
    missing, unknown = sorted(set(expected) - set(held)), sorted(set(held) - set(expected))
    if missing or unknown:
        words = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"holds {', '.join(unknown)}"] * bool(unknown)
        raise ValueError(f"{name} {' and '.join(words)}")


def _listed(name: str, value: Any, kind: type) -> list[Any]:
    length = len(value) if isinstance(value, list) else 0
    if not length or any(type(item) is not kind for item in value) or (name == "target" and length != 2):
        raise ValueError(f"{name}={value!r} is no list of what a fit has there")
    return value


def _array(
    name: str, arrays: Mapping[str, np.ndarray], shape: tuple[int, ...] | None, axes: int = 1, deviation: bool = False
) -> np.ndarray:
    """A float array of a shape, finite; deviations are positive, and infinite where a feature is constant."""
    array = arrays[name]
    if array.dtype != np.float64 or (array.shape != shape if shape else array.ndim != axes or not array.size):
        raise ValueError(f"{name} has dtype {array.dtype} and shape {array.shape}, not float64 and {shape or '(d,)'}")
    right = array > 0.0 if deviation else np.isfinite(array)
    if not right.all():
        raise ValueError(f"{name} holds {array[~right][0]}")
    return array


def _classes(classes: np.ndarray, class_weight: Any) -> np.ndarray:
    if classes.dtype.kind not in "biufUS":
        raise ValueError(f"classes_ has dtype {classes.dtype}; accepted: numbers, booleans or strings")
    if classes.shape != (2,) or not classes[0] < classes[1] or (classes.dtype.kind == "f" and np.isinf(classes).any()):
        raise ValueError(f"classes holds {classes.tolist()}, not two labels in order")
    unknown = [name for name in class_weight if name not in classes.tolist()] if isinstance(class_weight, dict) else []
    if unknown:
        raise ValueError(f"class_weight names {unknown[0]!r}, which is no label; accepted: {classes.tolist()}")
    return classes


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
    _keys("a parameter", value, ("kind", "items"))
    kind = {"dict": dict, "tuple": tuple, "list": list}[choice("kind", value["kind"], ("dict", "tuple", "list"))]
    if not isinstance(value["items"], list):
        raise ValueError(f"a parameter holds the items {value['items']!r}")
    items = [[_restored(part) for part in item] if kind is dict else _restored(item) for item in value["items"]]
    return kind(items)
