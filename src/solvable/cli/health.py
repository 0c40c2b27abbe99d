"""`solvable doctor`."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from solvable.cli.call import BAD_DATA, Answer
from solvable.lab.running import engines
from solvable.lab.store import dataset
from solvable.lab.store.atomic import DamagedError, StoreError
from solvable.lab.store.index import read_data
from solvable.lab.store.store import read_failures

_PACKAGES = (
    "solvable",
    "jax",
    "jaxlib",
    "equinox",
    "numpy",
    "scipy",
    "optax",
    "scikit-learn",
    "pydantic",
    "pyarrow",
    "xarray",
    "matplotlib",
    "typer",
    "rich",
)


def examine(folder: str | None) -> Answer:
    """What is installed and how it is set; with a folder, whether every stored file matches its checksum."""
    import jax

    with jax.enable_x64(True):
        double = jax.numpy.sqrt(jax.numpy.asarray(2.0)).dtype == "float64"
    cache = jax.config.values["jax_compilation_cache_dir"]
    document: dict[str, Any] = {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "double_precision": bool(double),
        "engines": engines.installed(),
        "compilation_cache": {"folder": cache, **_size(cache)},
    }
    parts: list[Any] = [_lines(document)]
    code = 0
    if folder is not None:
        document["store"] = store = _store(folder)
        left = store["left_over"]
        parts.append(Text(f"\n{folder}: {store['files']} files, {len(store['damaged'])} damaged", style="bold"))
        parts.extend(Text(f"damaged    {text}", style="bold red") for text in store["damaged"])
        parts.extend(Text(f"foreign    {text}") for text in store["foreign"])
        parts.extend(Text(f"left over  {text}: a killed run did not finish it; it may be deleted") for text in left)
        parts.extend(Text(f"set aside  {text}") for text in store["set_aside"])
        parts.extend(Text(f"failed     {item['file']}: {item['message']}", style="yellow") for item in store["failed"])
        code = BAD_DATA if store["damaged"] else 0
    return Answer(document, parts, code)


def _store(folder: str) -> dict[str, Any]:
    store = dataset.open_store(folder)
    if not store.folder.is_dir():
        raise StoreError(f"{folder} does not exist; `solvable run EXPERIMENT --out {folder}` makes it")
    damaged, foreign, count = [], [], 0
    for shelf in store.shelves():
        for stem in shelf:  # every file is read, whatever the index says
            count += 1
            try:
                read_data(shelf.path / f"{stem}.parquet")
            except DamagedError as error:
                if error.__cause__ is not None and not dataset.is_chunk(stem):
                    foreign.append(f"{shelf.path / stem}.parquet: it was not written by solvable")
                else:
                    damaged.append(str(error))
    failed = [
        {"file": str(path), "message": item.message} for path in store.failed_files() for item in read_failures(path)[1]
    ]
    return {
        "files": count,
        "damaged": damaged,
        "foreign": foreign,
        "left_over": sorted(map(str, store.folder.glob("_*.tmp"))) + sorted(map(str, store.folder.glob("*/_*.tmp"))),
        "set_aside": [str(path) for path in store.damaged_files()],
        "failed": failed,
    }


def _lines(document: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_row("python", Text(document["python"]))
    for name, text in document["versions"].items():
        table.add_row(Text(name), Text(text or "not installed"))
    table.add_row("devices", Text(", ".join(document["devices"])))
    table.add_row(
        "double precision", "works" if document["double_precision"] else Text("does not work", style="bold red")
    )
    lacking = {
        name: f" (needs pip install 'solvable[{extra}]')" for name, extra in document["engines"].items() if extra
    }
    table.add_row("engines", Text(", ".join(name + lacking.get(name, "") for name in document["engines"])))
    cache = document["compilation_cache"]
    words = f"{cache['folder']} ({cache['files']} files, {cache['megabytes']:.1f} MB)" if cache["folder"] else "off"
    table.add_row("compilation cache", Text(words))
    return table


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _size(folder: str | None) -> dict[str, Any]:
    files = [path for path in Path(folder).rglob("*") if path.is_file()] if folder and os.path.isdir(folder) else []
    return {"files": len(files), "megabytes": sum(path.stat().st_size for path in files) / 1e6}
