"""The rules of the house that a machine can check: import directions, file sizes, pins, a light import."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points, metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from solvable.numerics.results import Result

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
FILES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}
WINGS = ("attention", "networks", "iterations")
DECLARATION = ("lab.declare",)
# Each room of the lab uses those before it.
ROOMS = ("declare", "store", "comparing", "figures", "running", "planning", "reporting")


def imports(name: str, text: str) -> Iterator[str]:
    """The modules of ours that the module `name` imports anywhere in its text, without the leading `solvable.`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import in line {node.lineno}"
            # `from solvable.lab import store` imports the module solvable.lab.store.store
            joined = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [target if target in FILES else str(node.module) for target in joined]
        else:
            continue
        yield from (target.removeprefix("solvable.") for target in targets if target.split(".")[0] == "solvable")


def within(module: str, *packages: str) -> bool:
    """Whether a module is one of the packages or lies in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def allowed(name: str, target: str) -> bool:
    """Whether the module `name` may import the module `target` (both without the leading `solvable.`)."""
    first, *rest = name.split(".")
    if first in ("solvable", "cli"):  # the public face and the command line may use everything
        return True
    if first == "numerics":
        return within(target, "numerics")
    if first == "optim":
        return within(target, "optim", "numerics")
    if within(name, *DECLARATION):
        # what an outcome's and a curve's `plot` ask for when they are called: drawing declares nothing
        return within(target, "numerics", *DECLARATION) or target == "lab.figures.quick"
    if first == "lab" and len(rest) and rest[0] in ROOMS:
        below = ROOMS[: ROOMS.index(rest[0]) + 1]
        return within(target, *(f"lab.{room}" for room in below), "optim", "numerics")
    if first == "lab":  # its face
        return within(target, "lab")
    if first in WINGS:
        own = f"{first}.{rest[0]}" if rest else first
        return within(target, own, "optim", "numerics", *DECLARATION)
    if first == "bags":
        return not within(target, "cli")
    raise AssertionError(f"solvable.{name} lies in no wing of the house")


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        ("numerics.losses", "numerics.results", True),
        ("numerics.losses", "lab.declare.outcome", False),
        ("optim.sign", "numerics.losses", True),
        ("optim.sign", "lab", False),
        ("lab.declare.system", "lab.declare.outcome", True),
        ("lab.declare.experiment", "lab.store.store", False),
        ("lab.running.runner", "lab.store.chunk", True),
        ("lab.store.chunk", "lab.running.compute", False),
        ("lab.comparing.agreement", "lab.figures.theme", False),
        ("lab.running.runner", "attention.sparse_tokens", False),
        ("attention.sparse_tokens.theory", "attention.sparse_tokens.task", True),
        ("attention.sparse_tokens.theory", "attention.token_selection", False),
        ("attention.sparse_tokens.theory", "attention.sparse_tokens_extra", False),
        ("attention.sparse_tokens.theory", "networks.diagonal", False),
        ("attention.sparse_tokens.experiments", "lab.declare", True),
        ("attention.sparse_tokens.experiments", "lab.running.runner", False),
        ("attention.sparse_tokens.experiments", "cli.main", False),
        ("bags.estimators", "attention.sparse_tokens", True),
        ("bags.estimators", "cli.main", False),
        ("cli.main", "lab.running.runner", True),
    ],
)
def test_the_rule_itself(name: str, target: str, expected: bool) -> None:
    assert allowed(name, target) is expected


def test_imports_are_found_in_every_form() -> None:
    text = "import solvable.lab\ndef f():\n    from solvable.numerics import results, nothing\nimport numpy, solvables"
    assert sorted(imports("m", text)) == ["lab", "numerics", "numerics.results"]


@pytest.mark.parametrize("name", FILES)
def test_imports_go_down_only(name: str) -> None:
    short = name.removeprefix("solvable.")
    wrong = sorted({t for t in imports(name, FILES[name].read_text(encoding="utf-8")) if not allowed(short, t)})
    assert not wrong, f"{name} may not import {', '.join(wrong)}"


def circles(below: Mapping[str, set[str]]) -> list[str]:
    """The modules from which imports lead back to themselves."""
    found = []
    for name in below:
        seen: set[str] = set()
        todo = list(below[name])
        while todo:
            target = todo.pop()
            if target in below and target not in seen:
                seen.add(target)
                todo += below[target]
        found += [name] * (name in seen)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c", "numpy"}, "c": {"b"}, "d": {"d"}, "e": {"a"}}) == ["b", "c", "d"]


def test_no_circles_of_imports() -> None:
    # wherever an import stands: in a function, or for type checkers alone; that of a lazy face is in its stub
    below = {}
    for name, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        if path.with_suffix(".pyi").exists():
            stub = path.with_suffix(".pyi").read_text(encoding="utf-8")
            text += stub.replace("from . ", f"from {name} ").replace("from .", f"from {name}.")
        below[name] = {f"solvable.{target}" for target in imports(name, text)}
    assert below["solvable.lab.declare"] > {"solvable.lab.declare.experiment", "solvable.lab.declare.system"}
    assert not circles(below)


def test_no_two_classes_have_one_name() -> None:
    # systems name theirs after their own field; what a module keeps to itself may be called as it likes
    places: dict[str, list[str]] = {}
    for name, path in FILES.items():
        if not within(name.removeprefix("solvable."), *WINGS):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(name)
    del places["Series"]  # of the two renderers in lab.figures, which are being made one
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize("module", sorted({point.value for point in entry_points(group="solvable.experiments")}))
def test_declarations_import_no_jax(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('jax', 'scipy', 'matplotlib', 'xarray') if m in sys.modules])"
    assert clean_python(code) == "[]"


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_short_and_says_what_it_is(name: str) -> None:
    text = FILES[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 450
    assert ast.get_docstring(ast.parse(text)), f"{name} has no docstring"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(("solvable.lab", "solvable.cli"))])
def test_the_lab_never_unpickles_and_never_evaluates(name: str) -> None:
    unsafe = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not unsafe & {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in unsafe
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile", "__import__")


def clean_python(code: str) -> str:
    """What a fresh interpreter prints that runs `code`, warnings being errors and JAX having its own settings."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["solvable", "solvable.lab", "solvable.lab.running.engines.work", "solvable.cli.main"])
def test_importing_the_package_imports_nothing_heavy(name: str) -> None:
    # Threads and caches are set through the environment, which JAX and the BLAS of NumPy read when they are imported.
    heavy = ("jax", "numpy", "scipy", "matplotlib", "xarray", "pyarrow", "sklearn", "equinox", "pydantic")
    assert clean_python(f"import sys, {name}; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_the_optimisers_do_not_import_torch() -> None:
    assert clean_python("import sys, solvable.optim; print('torch' in sys.modules)") == "False"


def test_a_missing_torch_is_answered() -> None:
    code = (
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'torch': raise ImportError\n"
        "sys.meta_path.insert(0, Without())\n"
        "try: import solvable.optim.torch\n"
        "except ImportError as error: print(error)"
    )
    answer = "solvable.optim.torch needs torch, which is not installed: pip install '.[torch]' from a checkout"
    assert clean_python(code) == answer


def test_importing_every_module_leaves_jax_as_it_was() -> None:
    without = () if find_spec("torch") else ("solvable.optim.torch",)
    modules = [name for name in FILES if not name.endswith("__main__") and name not in without]
    code = (
        "import importlib, jax; before = dict(jax.config.values)\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        "changed = {k: v for k, v in jax.config.values.items() if k not in before or before[k] != v}\n"
        "import jax.numpy as jnp; print(changed, jax.config.jax_enable_x64, jnp.ones(()).dtype)"
    )
    assert clean_python(code) == "{} False float32"


def lock() -> dict[str, str]:
    """The pins of requirements.lock, by canonical name."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)]
    assert not wrong, f"requirements.lock has lines other than name==version: {wrong}"
    pins = [line.split("==") for line in lines]
    return {canonicalize_name(name): version for name, version in pins}


def test_the_lock_pins_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    # torch is large and comes in builds for many accelerators: the lock is for a plain CPU, .ci/run adds torch itself
    extras = {name: lines for name, lines in project["project"]["optional-dependencies"].items() if name != "torch"}
    asked += [line for lines in extras.values() for line in lines]
    pins = lock()
    for requirement in map(Requirement, asked):
        if requirement.name != "solvable":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), str(requirement)


def test_the_lock_installs_on_the_oldest_python_that_is_promised() -> None:
    too_new = [
        name for name in lock() if not SpecifierSet(metadata(name).get("Requires-Python", "")).contains("3.11.0")
    ]
    assert not too_new, f"these pins refuse Python 3.11.0: {too_new}"


def test_the_lock_is_for_a_plain_cpu() -> None:
    assert not [name for name in lock() if name == "torch" or name.startswith(("nvidia", "cuda", "jax-cuda"))]


def tracked() -> list[Path]:
    """Every file of the repository, those not yet committed too."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_no_file_names_a_machine() -> None:
    # written in pieces, so that this file does not name them either
    hosts = ["pypi" + ".org", "python" + "hosted.org", "npmjs" + ".org", "npmjs" + ".com", "debian" + ".org"]
    folders = ["/" + folder + "/" for folder in ("work", "root", "home", "Users", "opt/wheels", "opt/pypi")]
    paths = tracked()
    assert ROOT / "pyproject.toml" in paths
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a figure
            continue
        found = [word for word in hosts + folders if word in text]
        assert not found, f"{path.relative_to(ROOT)} names {found}"


for name in FILES:
    if name.endswith(".results"):  # where a system declares its codes
        importlib.import_module(name)
RESULTS = [one for one in Result.known() if type(one).__module__.startswith("solvable.")]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.name)
def test_every_result_has_its_entry_in_the_docs(result: Result) -> None:
    page = " ".join((ROOT / "docs" / "failures.md").read_text(encoding="utf-8").split())
    assert f"`{result.name}`" in page
    assert result.message in page, f"docs/failures.md must quote the message of {result.name}: {result.message}"


def test_long_tests_are_named_as_they_are() -> None:
    lines = (ROOT / "tests" / "long.txt").read_text(encoding="utf-8").splitlines()
    assert lines == sorted(set(lines))
    for line in lines:
        path, _, name = line.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text(encoding="utf-8"), line
