"""Agreement: calibrated under the null, powerful against a shift, honest about what is not random or not there."""

import numpy as np
import pytest
from scipy import integrate, stats

from solvable import lab
from solvable.lab.comparing.agreement import Row, Tally, compare, normal_score, points, rows, tally
from solvable.lab.declare import Observable, Outcome, Status
from solvable.lab.running.runner import execute
from solvable.lab.store.arrays import Values, concatenate
from tests.lab import toy
from tests.lab.toy import Ceiling, SampleMean


@pytest.mark.parametrize("degrees", [1, 7, 31, 1000])
@pytest.mark.parametrize("t", [1e-9, 0.3, 2.0, 8.0, 40.0, 300.0])
def test_normal_score_against_an_integral_of_the_density(t, degrees):
    law = stats.t(degrees)
    relative = integrate.quad(lambda u: (t + 1) * np.exp(law.logpdf(t + u * (t + 1)) - law.logpdf(t)), 0, np.inf)[0]
    logarithm = law.logpdf(t) + np.log(relative)
    assert stats.norm.logsf(normal_score(t, degrees)) == pytest.approx(logarithm, rel=1e-7)
    assert normal_score(-t, degrees) == -normal_score(t, degrees)


def test_normal_score_at_its_ends():
    assert normal_score(0.0, 7) == 0.0
    assert normal_score(np.inf, 7) == np.inf
    assert normal_score(-np.inf, 7) == -np.inf


@pytest.mark.parametrize("paired", [False, True])
def test_scores_are_standard_normal_under_the_null(paired):
    generator = np.random.default_rng(1)
    scores = []
    for _ in range(4000):
        prediction = generator.normal(size=8) if paired else np.asarray(0.5)
        found = compare(prediction + generator.normal(size=8), prediction)
        scores.append(found.score)
    assert stats.kstest(scores, "norm").pvalue > 0.01
    assert np.std(scores) == pytest.approx(1.0, abs=0.04)


def test_pairing_sees_what_the_spread_between_runs_hides():
    generator = np.random.default_rng(2)
    between = 10 * generator.normal(size=16)
    simulated = between + 0.05 + 0.01 * generator.normal(size=16)
    assert compare(simulated, between).agrees is False
    assert compare(simulated, np.asarray(0.0)).agrees is True


def test_a_shift_is_rejected_and_said_in_words():
    simulated = np.random.default_rng(3).normal(size=64)
    found = compare(simulated, np.asarray(1.5))
    assert found.agrees is False
    assert found.score is not None
    assert found.score < -4
    assert found.verdict == f"differs by {abs(found.score):.1f} se"


def test_allowance_and_quadrature_enter_in_quadrature():
    simulated = np.random.default_rng(4).normal(size=16)
    error = simulated.std(ddof=1) / 4
    t = (simulated.mean() - 1.0) / np.sqrt(error**2 + 0.3**2 + 0.4**2)
    found = compare(simulated, np.asarray(1.0), allowance=0.3, quadrature=0.4)
    assert found.score == pytest.approx(stats.norm.ppf(stats.t.cdf(t, 15)), rel=1e-10)
    assert found.standard_error == pytest.approx(error)
    assert found.allowance == pytest.approx(0.5)
    assert t == pytest.approx(found.difference / np.hypot(found.standard_error, found.allowance))


def test_what_both_sides_fix_is_compared_by_equality():
    fixed = np.full(8, 0.3) + 1e-16 * np.arange(8)
    assert compare(fixed, np.asarray(0.1 + 0.2)).agrees is True
    off = compare(fixed, np.asarray(0.3001))
    assert (off.agrees, off.score) == (False, None)
    assert off.verdict == "differs by 0.0001 (neither side varies)"
    assert compare(fixed, np.asarray(0.3001), allowance=1e-4).agrees is True
    assert compare(np.zeros(8), np.zeros(8)).agrees is True
    identities = [compare(np.zeros(8), np.zeros(8)), compare(fixed, np.asarray(0.1 + 0.2))]
    apart = [compare(fixed, np.asarray(0.3001), allowance=1e-4), compare(np.array([1.0, 2.0]), np.array([1.0, 2.0]))]
    assert [found.identity for found in (*identities, *apart)] == [True, True, False, False]
    every = [Row("toy", {}, "mean", {}, "theory", "exact", "derived", found) for found in (*identities, *apart, off)]
    count = tally(every)
    assert count == Tally(tested=3, differing=1, identities=2)
    assert count.headline == "2 of 3 comparisons agree; 2 identities are not counted"
    assert tally(every[1:3]).headline == "1 of 1 comparison agrees; 1 identity is not counted"
    assert tally(every[:1]).headline == "1 identity is not counted"
    assert tally(every[2:]).headline == "2 of 3 comparisons agree"
    assert tally(every[4:]).headline == "0 of 1 comparison agrees"
    assert compare(1e-9 * np.ones(8), np.asarray(3e-9)).agrees is False


def test_a_paired_theory_that_is_equal_run_by_run_has_no_score():
    runs = np.random.default_rng(5).normal(size=8)
    found = compare(runs * (1 + 1e-15), runs)
    assert (found.agrees, found.score) == (True, None)


def test_a_tolerance_where_nothing_is_random():
    runs = np.array([1.0, 2.0, 3.0])
    assert compare(runs + 9e-7, runs, tolerance=1e-6).agrees is True
    found = compare(runs + np.array([0, 0, 2e-6]), runs, tolerance=1e-6)
    assert (found.agrees, found.score) == (False, None)
    assert found.verdict == "differs by 2e-06 (tolerance 1e-06)"
    assert compare(np.array([1.0]), np.asarray(1.0), tolerance=1e-6).agrees is True


@pytest.mark.parametrize(("bound", "good", "bad"), [("above", 9.0, -9.0), ("below", -9.0, 9.0)])
def test_bounds_are_tested_on_one_side(bound, good, bad):
    simulated = np.random.default_rng(6).normal(size=16)
    assert compare(simulated, np.asarray(good), bound=bound).verdict == "holds"
    found = compare(simulated, np.asarray(bad), bound=bound)
    assert found.agrees is False
    assert found.verdict.startswith("violated by")


def test_missing_replicates_are_left_out_and_counted():
    simulated = np.array([1.0, np.nan, 1.2, 0.9, np.nan])
    found = compare(simulated, np.asarray(1.0))
    assert (found.replicates, found.missing) == (3, 2)
    assert found.simulated == pytest.approx(np.mean([1.0, 1.2, 0.9]))
    paired = compare(np.array([1.0, 2.0, 3.0]), np.array([1.0, np.nan, 3.1]))
    assert (paired.replicates, paired.missing) == (2, 1)


def test_too_few_replicates_are_not_tested():
    one = compare(np.array([1.0, np.nan]), np.asarray(1.0))
    assert (one.agrees, one.verdict) == (None, "not tested: 1 valid replicate")
    assert compare(np.array([]), np.asarray(1.0)).verdict == "not tested: 0 valid replicates"
    assert compare(np.ones(4), np.asarray(np.nan)).verdict == "not tested: no prediction"


def test_rows_of_a_run(tmp_path):
    done = execute(SampleMean, {"samples": [4, 8], "kind": ["plain", "shifted"]}, replicates=64, out=tmp_path)
    found = rows(SampleMean, done.results)
    assert found == lab.compare(tmp_path, SampleMean)
    assert all(
        row.comparison.agrees == (row.parameters["kind"] == "plain" or row.observable == "scale") for row in found
    )
    mean = next(row for row in found if row.observable == "mean" and row.overlay == "theory")
    assert (mean.claim, mean.origin, mean.calibrates) == ("exact", "derived", True)
    simulated = lab.open(tmp_path, SampleMean)["mean"].sel(samples=4, kind="plain").values
    expected = compare(simulated, np.asarray(0.25), quadrature=1e-6)
    assert mean.comparison == expected
    assert not any(row.calibrates for row in found if row.observable == "scale")
    assert {row.point["order"] for row in found if row.observable == "moments"} == {0, 1}
    assert not any(row.observable == "square" for row in found)


def test_the_toy_is_calibrated(tmp_path):
    locations = [round(0.01 * step, 2) for step in range(60)]
    done = execute(SampleMean, {"samples": [4, 8], "location": locations}, replicates=8, out=tmp_path)
    scores = [
        row.comparison.score
        for row in rows(SampleMean, done.results)
        if row.calibrates and row.observable == "mean" and row.overlay == "theory"
    ]
    assert len(scores) == 120
    assert stats.kstest(scores, "norm").pvalue > 0.01


def test_rows_of_failed_and_patchy_cells(tmp_path):
    done = execute(SampleMean, {"samples": 4, "kind": ["patchy", "broken"]}, replicates=2, out=tmp_path)
    found = rows(SampleMean, done.results)
    broken = [row for row in found if row.parameters["kind"] == "broken"]
    assert {row.comparison.verdict for row in broken} == {"not tested: failed: the toy is broken on purpose"}
    assert all(row.failed and not row.calibrates for row in broken)
    done = execute(SampleMean, {"samples": 4, "kind": "patchy"}, replicates=12, out=tmp_path)
    assert {row.comparison.missing for row in rows(SampleMean, done.results)} == {3}


def test_a_bound_needs_its_side(tmp_path, monkeypatch):
    done = execute(Ceiling, {"samples": 4}, replicates=8, out=tmp_path)
    (row,) = rows(Ceiling, done.results)
    assert (row.comparison.verdict, row.calibrates) == ("holds", False)
    monkeypatch.setattr(Ceiling, "observables", (Observable("mean", "sample mean"),))
    (row,) = rows(Ceiling, done.results)
    assert row.comparison.agrees is None
    assert "on which side" in row.comparison.verdict


def test_a_side_concerns_only_theories_that_claim_a_bound(tmp_path, monkeypatch):
    done = execute(Ceiling, {"samples": 4}, replicates=32, out=tmp_path)
    monkeypatch.setattr(Ceiling, "status", classmethod(lambda cls, overlay: {"mean": Status("exact", "derived")}))
    (row,) = rows(Ceiling, done.results)
    assert row.comparison.agrees is False


def test_what_a_theory_claims_of_a_setting_is_stored_and_told(tmp_path):
    class Unsure(SampleMean):
        name = "toy/unsure"

        def predict(self, overlay, given=None):
            said = super().predict(overlay, given)
            status = {"mean": Status("heuristic", "reconstruction")} if self.samples == 8 else {}
            return Outcome.of(said.values, said.result, toy.DIMS, status=status)

    for replicates in (4, 12):  # in several blocks
        lab.run(Unsure, {"samples": [4, 8]}, replicates=replicates, out=tmp_path)
    claims = {
        (row.parameters["samples"], row.overlay): row.claim
        for row in lab.compare(tmp_path, Unsure)
        if row.observable == "mean"
    }
    assert claims == {
        (4, "theory"): "exact",
        (4, "given_first"): "exact",
        (8, "theory"): "heuristic",
        (8, "given_first"): "heuristic",
    }


def values(arrays, at, replicates):
    shaped = {name: np.asarray(one, float) for name, one in arrays.items()}
    reasons = [""] * (1 if replicates is None else len(replicates))
    return Values(shaped, dict.fromkeys(shaped, ("at",)), {"at": np.asarray(at)}, replicates, reasons, {}, {})


@pytest.mark.parametrize("given", [True, False])
def test_a_theory_of_more_steps_is_compared_where_the_runs_were_recorded(given):
    steps, dense, runs = np.array([2, 5, 9]), np.arange(1, 11), np.arange(4)
    simulated = values({"loss": np.outer(runs + 1.0, steps)}, steps, runs)
    law = np.outer(runs + 1.0, dense) if given else 2.5 * dense
    theory = values({"loss": law}, dense, runs if given else None)
    found = list(points(Observable("loss", "loss"), simulated, theory))
    assert [point["at"] for point, *_ in found] == steps.tolist()
    for point, run, predicted, error in found:
        expected = (runs + 1.0) * point["at"] if given else 2.5 * point["at"]
        np.testing.assert_array_equal(predicted, expected)
        np.testing.assert_array_equal(run, (runs + 1.0) * point["at"])
        assert not np.any(error)


def test_blocks_with_other_steps_are_joined_where_both_have_some():
    old, new = np.array([2, 5, 9]), np.arange(1, 11)
    first = values({"loss": np.outer([1.0, 2.0], old)}, old, np.array([0, 1]))
    second = values({"loss": np.outer([3.0], new)}, new, np.array([2]))
    joined = concatenate([first, second])
    np.testing.assert_array_equal(joined.coordinates["at"], old)
    np.testing.assert_array_equal(joined.arrays["loss"], np.outer([1.0, 2.0, 3.0], old))
    np.testing.assert_array_equal(joined.replicates, [0, 1, 2])
