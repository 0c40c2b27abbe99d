"""Theory between the points of a run: equal to predictions, through what is stored, missing where refused, kept."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solvable.attention.sparse_tokens.experiments import (
    AlignmentAgainstRatio,
    ErrorAgainstRatio,
    PhaseDiagram,
)
from solvable.attention.sparse_tokens.experiments.shared import SparseTokenExperiment
from solvable.lab.declare import Experiment, Measured, Observable, Overlay, SolveError, Status, axis, parameter
from solvable.lab.figures import default, dense
from solvable.lab.figures.plot import Mark
from solvable.lab.running import runner
from solvable.lab.store.dataset import to_dataset


class Wave(Measured):
    """A closed form with a refused stretch, a whole parameter and a word."""

    name = "toy/wave"
    source = "none"
    system = "tests.lab.toy"
    x = "place"
    replicates = 0
    kind: str = axis(["sine", "level"], "kind")
    place: float = axis([0.5, 2.0, 8.0], "place", log=True)
    count: int = parameter(3, "count")
    observables = (Observable("height", "height"),)
    statuses = {"height": Status("exact", "derived")}

    def task(self) -> None:
        if 3.0 < self.place < 4.0:
            raise ValueError("place is in a hole")

    def algorithm(self) -> None: ...

    def predicted(self, runs: Any) -> Any:
        if 5.0 < self.place < 6.0:
            raise SolveError("no solution")
        return {"height": np.sin(self.place) * self.count if self.kind == "sine" else 1.0}


def stored(experiment: type[Experiment], **values: Any) -> Any:
    return to_dataset(experiment, runner.predict(experiment, values))


def test_a_line_is_dense_and_equal_to_predictions() -> None:
    data = stored(Wave)
    made = dense.theories(Wave, data, "place")
    along = made["place"].values
    assert len(along) >= 60
    assert along[0] == 0.5
    assert along[-1] == 8.0
    assert set(data["place"].values) <= set(along)
    steps = np.diff(np.log(along))
    assert steps.max() < 1.1 * np.median(steps)  # evenly in the logarithm
    refused = ((along > 3.0) & (along < 4.0)) | ((along > 5.0) & (along < 6.0))
    assert refused.any()
    assert made["theory_height"].dims == ("kind", "place")
    np.testing.assert_allclose(made["theory_height"].sel(kind="level")[~refused], 1.0)
    np.testing.assert_allclose(made["theory_height"].sel(kind="sine")[~refused], 3 * np.sin(along[~refused]))
    assert np.isnan(made["theory_height"].values[:, refused]).all()


def test_lines_stand_for_the_combinations_that_hold_a_value() -> None:
    data = stored(Wave)
    data["theory_height"].loc[{"kind": "level"}] = np.nan
    made = dense.theories(Wave, data, "place")
    assert made["theory_height"].sel(kind="level").isnull().all()
    assert made["theory_height"].sel(kind="sine").notnull().any()


def test_whole_numbers_are_themselves() -> None:
    made = dense.theories(Wave, stored(Wave, count=[2, 9], place=0.5), "count")
    assert made["count"].dtype.kind == "i"
    assert made["count"].values.tolist() == list(range(2, 10))
    np.testing.assert_allclose(made["theory_height"].sel(kind="sine"), np.sin(0.5) * np.arange(2, 10))
    many = dense.theories(Wave, stored(Wave, count=[1, 977], place=0.5), "count")["count"].values
    assert many.dtype.kind == "i"
    assert len(many) >= 60
    assert len(set(many)) == len(many)


@pytest.mark.parametrize("x", ["kind", "nothing"])
def test_what_is_no_number_is_refused(x: str) -> None:
    with pytest.raises(ValueError, match=f"x='{x}' is no number of toy/wave here; accepted: 'place', 'count'"):
        dense.theories(Wave, stored(Wave), x)


def test_a_line_goes_through_what_is_stored() -> None:
    data = stored(Wave)
    data["theory_height"].values += 0.02
    made = dense.theories(Wave, data, "place")["theory_height"]
    np.testing.assert_allclose(made.sel(place=data["place"]), data["theory_height"])
    np.testing.assert_allclose(made.sel(kind="level").dropna("place"), 1.02)


def test_a_line_that_is_another_than_what_is_stored_is_seen_to_be() -> None:
    data = stored(Wave)
    data["theory_height"].values += 0.5
    with pytest.warns(UserWarning, match="theory_height along place is predicted 33% of its largest value away"):
        made = dense.theories(Wave, data, "place")["theory_height"]
    np.testing.assert_allclose(made.sel(kind="level").dropna("place"), 1.0)
    np.testing.assert_allclose(made.sel(kind="sine", place=data["place"]), 3 * np.sin(data["place"]))


def test_a_plain_experiment_is_predicted_in_one_batch_and_a_refusing_theory_one_by_one() -> None:
    class Plain(SparseTokenExperiment):
        """Errors of the mean token over the strength."""

        name, source, x, overlays = "toy/plain", "none", "strength", (Overlay("limit"),)
        length: int = parameter(4, "length")
        strength: float = axis([1.0, 3.0], "strength")
        observables = (Observable("test_error", "error"),)

        def algorithm(self) -> Any:
            from solvable.attention import sparse_tokens as st

            return st.PooledLinear("square", 0.1)

        def shared(self) -> Any:
            return {"ratio": 2.0}

    data = stored(Plain)
    made = dense.theories(Plain, data, "strength")["theory_test_error"]
    for value in made["strength"].values[[0, 17, 40]]:
        alone = Plain(strength=float(value)).predict(Overlay("limit"))
        assert float(made.sel(strength=value)) == pytest.approx(float(alone.test_error), rel=1e-10)
    cells = [Plain(strength=1.0), Plain(strength=3.0)]
    assert Plain.predictions(cells, Overlay("no such theory")) == [None, None]


@pytest.mark.filterwarnings("ignore:the query's cosine")
@pytest.mark.parametrize("loss", ["logistic", "square", "hinge"])
def test_lines_of_classifiers_are_those_of_predict(loss: str) -> None:
    grid = {"loss": loss, "ratio": [1.0, 2.0], "length": 4, "model": ["attention", "pooled"]}
    overlay = ErrorAgainstRatio.overlays[0]
    cells = [
        ErrorAgainstRatio(loss=loss, ratio=ratio, length=4, model=model)
        for model in grid["model"]
        for ratio in (1.0, 1.5, 2.0)
    ]
    for cell, said in zip(cells, ErrorAgainstRatio.predictions(cells, overlay), strict=True):
        exact = cell.predict(overlay)
        assert said is not None
        near = 1e-6 if cell.model == "pooled" else 0.01
        for name in ("test_error", "train_loss", "orthogonal_norm", "cosine", "bias", "signal_weight", "query_weight"):
            assert float(said.values[name]) == pytest.approx(float(exact.values[name]), rel=near, abs=1e-3), name


def test_what_the_continuation_does_not_reach_is_predicted_by_itself() -> None:
    cell = ErrorAgainstRatio(loss="square", ratio=2.0, length=4, model="pooled", ridge=0.0)
    unsolved = ErrorAgainstRatio(loss="square", ratio=0.5, length=4, model="pooled", ridge=0.0)
    found, lost = ErrorAgainstRatio.predictions([cell, unsolved], ErrorAgainstRatio.overlays[0])
    assert found is not None
    assert lost is not None
    assert float(found.test_error) == pytest.approx(float(cell.predict(ErrorAgainstRatio.overlays[0]).test_error))
    assert np.isnan(float(lost.test_error))


def test_a_mistake_in_a_theory_is_no_refusal() -> None:
    class Mistaken(Wave):
        """A theory with a mistake."""

        def predicted(self, runs: Any) -> Any:
            return {"height": [][0]}

    data = stored(Wave)
    with pytest.raises(IndexError):
        dense.theories(Mistaken, data, "place")


def test_measured_experiments_are_dense_too() -> None:
    data = stored(AlignmentAgainstRatio, loss="square", query_ratio=[1.0, 4.0])
    made = dense.theories(AlignmentAgainstRatio, data, "query_ratio", points=5)
    value = float(made["query_ratio"].values[2])
    alone = AlignmentAgainstRatio(loss="square", query_ratio=value).predict(Overlay())
    assert float(made["theory_cosine"].sel(query_ratio=value)) == pytest.approx(float(alone.cosine), rel=1e-12)


def test_a_map() -> None:
    data = stored(PhaseDiagram, cosine=[-0.5, 1.0], strength=[1.0, 4.0], length=4)
    made = dense.theories(PhaseDiagram, data, "cosine", "strength", points=4)["theory_advantage"]
    assert made.sizes == {"cosine": 4, "strength": 4}
    for cosine, strength in ((0.5, 2.0), (1.0, 4.0)):
        alone = PhaseDiagram(cosine=cosine, strength=strength, length=4).predict(Overlay())
        found = float(made.sel(cosine=cosine, strength=strength, method="nearest"))
        assert found == pytest.approx(float(alone.advantage), abs=1e-3)


def test_what_was_computed_is_kept_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = stored(Wave)
    first = dense.kept(tmp_path, Wave, data, "place", points=10)
    (file,) = tmp_path.iterdir()
    assert re.fullmatch("toy_wave-theory-place-[0-9a-f]{8}.npz", file.name)
    asked: list[int] = []
    whole = Wave.predictions.__func__

    def counted(cls: Any, cells: Any, overlay: Any, **options: Any) -> Any:
        asked.append(len(cells))
        return whole(cls, cells, overlay, **options)

    monkeypatch.setattr(Wave, "predictions", classmethod(counted))
    again = dense.kept(tmp_path, Wave, data, "place", points=10)
    assert not asked
    assert again.identical(first)
    for damage in (b"", b"no archive", file.read_bytes()[:-40]):
        file.write_bytes(damage)
        assert dense.kept(tmp_path, Wave, data, "place", points=10).identical(first)
        assert asked.pop()
        assert not asked
    for stale in ({"points": 12}, {"numbers": 2}, {"values": {"count": 4}}):
        monkeypatch.setattr(Wave, "numbers", stale.get("numbers", 1))
        other: Any = stale.get("values")
        dense.kept(tmp_path, Wave, stored(Wave, **other) if other else data, "place", points=stale.get("points", 10))
        assert asked.pop()
        assert not asked


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    made = dense.kept(os.fspath(blocked), Wave, stored(Wave), "place", points=10)
    assert made["theory_height"].notnull().any()
    assert blocked.read_text() == "no folder"


def test_a_part_of_a_dataset_is_predicted_at_its_own_parameters(tmp_path: Path) -> None:
    data = stored(Wave, count=[3, 10])
    for count in (3, 10):
        part = data.sel(count=count)
        made = dense.kept(tmp_path, Wave, part, "place")["theory_height"].dropna("place")
        whole = dense.theories(Wave, data, "place")["theory_height"].sel(count=count).dropna("place")
        np.testing.assert_array_equal(made.values, whole.values)
        place = float(made["place"][7])
        cell = Wave(count=count, place=place)
        assert float(made.sel(kind="sine", place=place)) == float(cell.predict(Overlay()).height)
    assert len(list(tmp_path.iterdir())) == 2


def test_figures_that_share_out_the_series_draw_the_theory_of_theirs() -> None:
    data = stored(Wave, count=list(range(1, 16)))
    number, made = default.sheets(Wave, data, dense.along(Wave, data))
    assert number > 1
    seen = set()
    for words, sheet in made:
        for mark in sheet.plots[0].marks:
            assert isinstance(mark, Mark)
            label = f"{words} {mark.label}"
            kind, found = "level" if "level" in label else "sine", re.search(r"count = (\d+)", mark.label)
            count = int(found[1]) if found else 1
            expected = [float(Wave(place=x, count=count, kind=kind).predict(Overlay()).height) for x in mark.x]
            np.testing.assert_allclose(mark.y, expected, rtol=1e-12)
            assert len(mark.x) > 40
            seen.add((kind, count))
    assert {count for kind, count in seen if kind == "sine"} == set(range(1, 16))
    assert any(kind == "level" for kind, _ in seen)
