"""Grids: every combination, and one sentence for whatever is not accepted."""

from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest

from solvable.lab.declare import Experiment, parameter, registry
from solvable.lab.declare.grid import accepted, cells, read
from tests.lab.toy import Approach, Ceiling, Decay, SampleMean, TheoryOnly


def test_defaults_and_product():
    made = cells(SampleMean, {"kind": ["plain", "shifted"], "location": 1})
    assert [(cell.samples, cell.kind) for cell in made] == [
        (samples, kind) for samples in (4, 8, 16) for kind in ("plain", "shifted")
    ]
    assert {cell.location for cell in made} == {1.0}


def test_texts_arrays_and_repeated_values():
    from_texts = cells(SampleMean, {"samples": ["2", "3"], "location": ["0.5", "0.50"]})
    from_array = cells(SampleMean, {"samples": np.array([2, 3]), "location": np.float64(0.5)})
    assert [cell.canonical() for cell in from_texts] == [cell.canonical() for cell in from_array]
    assert len(from_texts) == 2
    assert [cell.seed() for cell in from_texts] == [cell.seed() for cell in from_array]


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ({"sampels": 3}, "parameter 'sampels' is unknown in toy/mean; did you mean 'samples'?"),
        ({"zzz": 3}, "parameter 'zzz' is unknown in toy/mean; accepted: 'samples', 'location', 'kind'"),
        ({"samples": "3.5"}, "samples='3.5' is not accepted; accepted: a whole number"),
        ({"location": ["1", "x"]}, "location='x' is not accepted; accepted: a number"),
        ({"location": "nan"}, "location='nan' is not accepted; accepted: a number"),
        ({"location": []}, "location has no value; give at least one"),
        (
            {"kind": "odd"},
            "kind='odd' is not accepted; accepted: 'plain', 'shifted', 'patchy', 'broken', 'unsolved', 'timid'",
        ),
    ],
)
def test_bad_grids(grid, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        cells(SampleMean, grid)
    assert str(caught.value) == sentence


def test_accepted_words():
    class Odd(Experiment):
        size: int | None = parameter(None, "a size")
        side: Literal["left", "right"] = parameter("left", "a side")

    words = {name: accepted(field.annotation) for name, field in Odd.model_fields.items()}
    assert words == {"size": "a whole number or nothing", "side": "'left', 'right'"}


def test_registry_takes_named_experiments_of_the_module_only():
    assert registry.experiments_in("tests.lab.toy") == [SampleMean, Ceiling, TheoryOnly, Decay, Approach]


def test_unknown_experiment(monkeypatch):
    monkeypatch.setattr(registry, "experiments", lambda: {"toy/mean": SampleMean, "toy/ceiling": Ceiling})
    assert registry.find("toy/mean") is SampleMean
    with pytest.raises(ValueError, match=r"^experiment 'toy/meen' is unknown; did you mean 'toy/mean'"):
        registry.find("toy/meen")
    with pytest.raises(ValueError, match=r"^experiment 'x' is unknown; accepted: 'toy/mean', 'toy/ceiling'$"):
        registry.find("x")


def test_a_broken_module_does_not_hide_the_others(monkeypatch):
    class Point:
        def __init__(self, value):
            self.value = value

    points = [Point("tests.lab.toy"), Point("no.such.module")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    with pytest.warns(UserWarning, match="no.such.module are left out"):
        found = registry.experiments()
    assert list(found) == ["toy/mean", "toy/ceiling", "toy/law", "toy/decay", "toy/approach"]


def test_a_grid_from_a_file(tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text('# what to run\nsamples = [4, 8]\nlocation = inf\nkind = "plain"\n')
    assert read(file) == {"samples": [4, 8], "location": float("inf"), "kind": "plain"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("samples = [4,", "grid.toml is not TOML: "),
        ("[samples]\nfirst = 4", "^samples in .*grid.toml is not accepted; accepted: a value or a list of values"),
        ("samples = [[4]]", "^samples in .*grid.toml is not accepted"),
    ],
)
def test_a_file_that_is_no_grid(tmp_path, text, sentence):
    file = tmp_path / "grid.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read(file)


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ({"location": True}, "location=True is not accepted; accepted: a number"),
        ({"samples": 2**70}, f"samples={2**70} is not accepted; accepted: a whole number"),
    ],
)
def test_values_that_python_would_take(grid, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        cells(SampleMean, grid)


def test_a_size_that_is_no_parameter():
    class Wrong(SampleMean):
        name = "toy/wrong"
        size_parameter = "dim"

    with pytest.raises(ValueError, match=r"^size_parameter='dim' of toy/wrong is none of its parameters$"):
        cells(Wrong)


def test_packages_of_others_that_are_broken_are_named_and_left_out(monkeypatch, tmp_path):
    (tmp_path / "broken_package.py").write_text("1 / 0")
    (tmp_path / "halfway_package.py").write_text(
        "from solvable.lab.declare import Experiment\nclass Half(Experiment):\n    name = 'half/way'"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [SimpleNamespace(value=name) for name in ("tests.lab.toy", "broken_package", "halfway_package")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    with pytest.warns(UserWarning, match="left out") as caught:
        assert "half/way" not in registry.experiments()
    words = [str(one.message) for one in caught]
    assert words == [
        "the experiments of broken_package are left out: ZeroDivisionError: division by zero",
        "experiment 'half/way' of halfway_package is left out: it has no source, no system, no observables, no x",
    ]
