"""The commands of a report make exactly the cells that are stored."""

import shlex
import tempfile
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, Literal

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from solvable import lab
from solvable.cli.running import settings
from solvable.lab.declare import Experiment, axis, parameter
from solvable.lab.declare.grid import cells
from solvable.lab.reporting import reproduce
from solvable.lab.store import dataset
from solvable.lab.store.arrays import CellResult, Failure, Values
from tests.lab.toy import SampleMean, TheoryOnly


class Anything(Experiment):
    """Every kind of parameter."""

    name: ClassVar[str] = "any thing/it's"
    source, system, observables, x = "nowhere", __name__, (), "ratio"
    ratio: float = axis([0.5, 1.0], "a number")
    size: int = parameter(3, "a whole number")
    kind: Literal["plain", "odd"] = axis(["plain", "odd"], "a word")
    words: str = parameter("word", "a text")
    flag: bool = parameter(False, "yes or no")
    maybe: float | None = parameter(None, "a number or nothing")
    given: float | None = parameter(1.0, "a number, or nothing when asked")


def result(cell, replicates):
    numbers = np.arange(replicates)
    values = Values({}, {}, {}, numbers, [""] * replicates, {}, {})
    return CellResult(cell, {"simulation": values})


def called(code):
    asked = []

    def run(name, grid, *, replicates, out):
        assert (name, out) == (Anything.name, "some dir")
        asked.append((cells(Anything, grid), replicates))

    line, import_ = code.removeprefix("from solvable import lab; "), code.startswith("from solvable import lab; ")
    assert import_
    exec(line, {"lab": SimpleNamespace(run=run)})
    return asked[0]


def cells_of(command):
    """The cells and the replicates that a command asks for, read as the command line reads them."""
    words = shlex.split(command.line)
    if words[:2] == ["python", "-c"]:
        return called(words[2])
    assert words[:3] == ["solvable", "run", Anything.name]
    options = dict.fromkeys(words[3::2])
    given = list(zip(words[3::2], words[4::2], strict=True))
    assert set(options) <= {"--set", "--grid", "--replicates", "--out"}
    grid = settings([value for name, value in given if name == "--set"])
    if "--grid" in options:
        assert ("--grid", command.grid_name) in given
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / command.grid_name
            file.write_text(command.grid, encoding="utf-8")
            grid = settings([], str(file))
    (replicates,) = [int(value) for name, value in given if name == "--replicates"]
    return cells(Anything, grid), replicates


values = {
    "ratio": st.floats(allow_nan=False) | st.sampled_from([0.5, 1.0, 0.1, 1e-12, 1e22]),
    "size": st.integers(-(10**6), 10**6) | st.just(3),
    "kind": st.sampled_from(["plain", "odd"]),
    "words": st.text(st.characters(codec="utf-8"), max_size=5)
    | st.sampled_from(["word", "a,b", " a", "", "x=y", "'", '"$(rm)`', "\n", "\x7f", "nan-like", "7", "é"]),
    "flag": st.booleans(),
    "maybe": st.none() | st.sampled_from([0.5, 1.0]),
    "given": st.none() | st.sampled_from([1.0, 2.0]),
}
several = st.fixed_dictionaries({name: st.lists(value, min_size=1, max_size=3) for name, value in values.items()})


@hypothesis.given(grids=st.lists(several, min_size=1, max_size=2), replicates=st.integers(1, 3), data=st.data())
@hypothesis.settings(max_examples=60)
def test_the_commands_make_exactly_the_stored_cells(grids, replicates, data):
    texts = [text for grid in grids for text in grid["words"]]
    hypothesis.assume(not any(text.strip().lower() in ("nan", "+nan", "-nan") for text in texts))
    stored = {cell.canonical(): cell for grid in grids for cell in cells(Anything, grid)}
    kept = data.draw(st.lists(st.sampled_from(sorted(stored)), min_size=1, unique=True))
    results = [result(stored[key], replicates + (place % 3 == 2)) for place, key in enumerate(kept)]
    found = []
    for command in reproduce.commands(Anything, results, "some dir"):
        made, number = cells_of(command)
        found += [(cell.canonical(), number) for cell in made]
    expected = [(one.cell.canonical(), len(one.sources["simulation"].replicates)) for one in results]
    assert sorted(found) == sorted(expected)


def test_a_full_grid_is_one_command_without_the_defaults(tmp_path):
    lab.run(SampleMean, {"kind": ["plain", "shifted"], "location": 0.5}, replicates=2, out=tmp_path)
    _, results = dataset.read_results(tmp_path, SampleMean)
    (command,) = reproduce.commands(SampleMean, results, "results")
    assert command.line == (
        "solvable run toy/mean --set location=0.5 --set kind=plain,shifted --replicates 2 --out results"
    )
    assert (command.grid_name, command.grid) == ("", "")


def test_theory_alone_has_no_replicates(tmp_path):
    lab.run(TheoryOnly, {"samples": [4, 8]}, out=tmp_path)
    _, results = dataset.read_results(tmp_path, TheoryOnly)
    (command,) = reproduce.commands(TheoryOnly, results, "results")
    assert command.line == "solvable run toy/law --set samples=4,8 --out results"


def test_a_cell_that_failed_is_asked_for_with_its_replicates():
    cell = SampleMean(samples=4, kind="broken")
    failed = CellResult(cell, {}, [Failure("simulation", range(8), "RuntimeError", "broken")])
    (command,) = reproduce.commands(SampleMean, [failed], "here")
    assert "--set samples=4 --set kind=broken --replicates 8" in command.line


@pytest.mark.parametrize("text", ["a,b", " padded ", "two\nlines", ""])
def test_what_no_option_can_say_is_said_in_a_file(text):
    (command,) = reproduce.commands(Anything, [result(Anything(words=text), 2)], "here")
    assert "--grid grid.toml" in command.line
    assert tomllib.loads(command.grid)["words"] == [text]
    assert cells_of(command) == ([Anything(words=text)], 2)


def test_nothing_is_left_out_where_it_is_the_default_and_said_in_python_elsewhere():
    some = [result(Anything(maybe=maybe), 2) for maybe in (None, 0.5)]
    lines = [command.line for command in reproduce.commands(Anything, some, "some dir")]
    assert lines == [
        "solvable run 'any thing/it'\"'\"'s' --set ratio=0.5 --set kind=plain --replicates 2 --out 'some dir'",
        "solvable run 'any thing/it'\"'\"'s' --set ratio=0.5 --set kind=plain --set maybe=0.5 --replicates 2 "
        "--out 'some dir'",
    ]
    (command,) = reproduce.commands(Anything, [result(Anything(given=None, ratio=float("inf")), 2)], "some dir")
    assert shlex.split(command.line)[2] == (
        """from solvable import lab; lab.run("any thing/it's", {'ratio': [float('inf')], 'kind': ['plain'], """
        """'given': [None]}, replicates=2, out='some dir')"""
    )
    assert cells_of(command) == ([Anything(given=None, ratio=float("inf"))], 2)
