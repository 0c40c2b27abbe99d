"""Dims whose positions are words, and observables that older files store under another name."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from solvable import lab
from solvable.lab.declare import Experiment, Observable, Outcome, Overlay, Status, axis, replicate_keys

MONOMIALS = ["x1", "x0*x1", "1"]
DIMS = {"level": ("monomial",)}


class Levels(Experiment):
    """The level of three monomials, whose order is not that of the alphabet."""

    name, source, system, x = "toy/levels", "a textbook, Fig. 3", __name__, "size"
    size: float = axis([1.0, 2.0], "size")
    observables = (Observable("level", "level", was=("height",)),)
    overlays = (Overlay(),)
    replicates = 4

    def simulate(self, key, replicates):
        drawn = jax.vmap(lambda one: jax.random.normal(one, (3,)))(replicate_keys(key, replicates))
        levels = self.size * np.arange(3.0) + 0.1 * np.asarray(drawn)
        return Outcome.of({"level": levels}, np.zeros(len(levels)), DIMS, coordinates={"monomial": MONOMIALS})

    def predict(self, overlay, given=None):
        return Outcome.of({"level": self.size * np.arange(3.0)}, 0, DIMS, coordinates={"monomial": MONOMIALS})

    @classmethod
    def status(cls, overlay):
        return {"level": Status("exact", "derived")}


class Heights(Levels):
    """The same, as it was stored before its observable had the present name."""

    observables = (Observable("height", "level"),)

    def simulate(self, key, replicates):
        return _as_height(super().simulate(key, replicates))

    def predict(self, overlay, given=None):
        return _as_height(super().predict(overlay))

    @classmethod
    def status(cls, overlay):
        return {"height": Status("exact", "derived")}


def _as_height(outcome):
    return Outcome.of(
        {"height": outcome.level}, outcome.result, {"height": ("monomial",)}, coordinates={"monomial": MONOMIALS}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("levels")
    lab.run(Heights, out=path)
    return path


def test_words_survive_the_store_and_become_coordinates(folder):
    found = lab.open(folder, Levels)
    assert found["level"].sizes == {"size": 2, "monomial": 3, "replicate": 4}
    assert found["monomial"].values.tolist() == MONOMIALS
    np.testing.assert_array_equal(found["theory_level"].sel(monomial="x0*x1"), [1.0, 2.0])
    np.testing.assert_allclose(found["level"].sel(monomial="1").mean("replicate"), [2.0, 4.0], atol=0.3)


def test_an_outcome_labels_its_own_dataset():
    predicted = Levels(size=2.0).predict(Overlay())
    assert predicted.to_dataset()["level"].sel(monomial="x0*x1") == 2.0


def test_a_renamed_observable_is_read_and_extended(folder):
    before = lab.open(folder, Heights)["height"]
    more = lab.run(Levels, out=folder, replicates=6)["level"]
    np.testing.assert_array_equal(more.isel(replicate=slice(4)), before)
    assert np.isfinite(more).all()


def test_comparisons_figures_and_reports_take_words(folder):
    rows = lab.compare(folder, Levels)
    assert {row.point["monomial"] for row in rows} == set(MONOMIALS)
    figure = lab.figure(folder, Levels)
    assert [text.get_text() for text in figure.legends[0].get_texts()][:3] == MONOMIALS
    text = lab.report(folder, experiments=[Levels]).read_text(encoding="utf-8")
    assert "x0*x1" in text
