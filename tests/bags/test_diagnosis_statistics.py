"""The statistics inside a diagnosis against other libraries, brute force and what they should average to."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from solvable.bags.container import Bags
from solvable.bags.diagnosis.estimates import estimate, first_fits, splits_of
from solvable.bags.diagnosis.intervals import of_pooled
from solvable.bags.diagnosis.measured import _part, training_shares
from solvable.bags.diagnosis.misfit import scatters
from solvable.bags.diagnosis.mixture import GRID, binned, fit_mixture
from solvable.bags.diagnosis.pooled import SquaredDifference, negatives_of, squared_difference
from solvable.bags.diagnosis.preparation import checked
from solvable.bags.diagnosis.whitening import noise_of
from tests.bags.sparse import draw


def sampled(data):
    """The sample of bags and labels whose positives are True."""
    return checked(*data, True, None).sample(True)


def estimated(sample, bootstrap, rng):
    splits = splits_of(sample, rng)
    return estimate(sample, splits, first_fits(sample, splits), bootstrap, rng)


def test_bins_keep_counts_and_means():
    tokens = np.random.default_rng(0).normal(size=60)
    counts = binned(tokens, np.array([10, 20, 30])).toarray()
    np.testing.assert_allclose(counts.sum(axis=1), [10, 20, 30])
    np.testing.assert_allclose(counts @ GRID, [tokens[:10].sum(), tokens[10:30].sum(), tokens[30:].sum()])


@pytest.mark.parametrize(("share", "shift"), [(0.1, 3.0), (0.3, 2.0), (0.05, 4.0), (0.5, 1.5)])
def test_the_mixture_is_scipys_maximum(share, shift):
    rng = np.random.default_rng(1)
    halves = [rng.normal(size=4000) + (rng.random(4000) < share) * s for s in (shift, 0.8 * shift)]
    counts = [binned(tokens, np.array([4000])).toarray() for tokens in halves]
    found = fit_mixture(counts, [GRID[None]] * 2)

    def loss(x):
        part = 1.0 / (1.0 + np.exp(-x[0]))
        return -sum(
            float(c[0] @ np.log(1.0 + part * (np.exp(np.clip(m * GRID - m * m / 2, None, 500)) - 1.0)))
            for c, m in zip(counts, x[1:], strict=True)
        )

    end = minimize(loss, [np.log(share / (1 - share)), shift, 0.8 * shift], method="BFGS", options={"gtol": 1e-6})
    assert found.signal[0] == pytest.approx(-2.0 * end.fun, rel=1e-6)
    assert found.share[0] == pytest.approx(1.0 / (1.0 + np.exp(-end.x[0])), rel=1e-3)
    np.testing.assert_allclose(found.shift[0], end.x[1:], rtol=1e-3)
    # Binning costs little: the unbinned likelihood is maximal nearby.
    exact = sum(
        np.log((1 - found.share[0]) * norm.pdf(t) + found.share[0] * norm.pdf(t - m)).sum()
        for t, m in zip(halves, found.shift[0], strict=True)
    )
    true = sum(
        np.log((1 - share) * norm.pdf(t) + share * norm.pdf(t - m)).sum()
        for t, m in zip(halves, (shift, 0.8 * shift), strict=True)
    )
    assert exact > true - 1e-3


def test_one_component_is_a_share_of_one():
    tokens = np.random.default_rng(0).normal(size=5000) + 3.0
    counts = [binned(tokens, np.array([5000])).toarray()]
    found = fit_mixture(counts, [GRID[None]])
    assert found.share[0] > 0.999
    assert found.gain[0] < 4.0
    assert found.signal[0] == pytest.approx(5000 * tokens.mean() ** 2, rel=1e-2)


def test_the_inverse_covariance_is_inflated_as_said():
    rng = np.random.default_rng(0)
    offsets = np.arange(0, 301, 6)
    found = [noise_of(rng.normal(size=(300, 20)), offsets) for _ in range(200)]
    traces = [np.trace(np.linalg.inv(noise.covariance)) / 20 for noise in found]
    assert found[0].freedom == 250
    assert found[0].inflation == pytest.approx(250 / 229)
    assert np.mean(traces) == pytest.approx(250 / 229, abs=4 * np.std(traces) / np.sqrt(200))
    assert not found[0].shrunk
    assert noise_of(rng.normal(size=(30, 20)), np.arange(0, 31, 6)).shrunk


def test_whitening_and_direction_are_two_ways_of_one_product():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4))
    noise = noise_of(values, np.arange(0, 61, 6))
    vector = rng.normal(size=4)
    np.testing.assert_allclose(values @ noise.direction(vector), noise.whiten(values) @ vector)


@pytest.mark.parametrize("strength", [0.0, 3.0])
def test_the_squared_difference_is_unbiased_and_its_deviation_right(strength):
    found = []
    for seed in range(150):
        sample = sampled(draw(bags=120, dim=10, strength=strength, seed=seed))
        found.append(squared_difference(sample, negatives_of(sample)))
    values = np.array([x.value for x in found])
    assert values.mean() == pytest.approx((strength / 10) ** 2, abs=4 * values.std() / np.sqrt(len(values)))
    # A standard deviation of 150 draws errs by 1/sqrt(300).
    assert values.std() == pytest.approx(np.mean([x.deviation for x in found]), rel=4 / np.sqrt(300))
    if strength == 0.0:
        assert sum(of_pooled(x, 0.95).identifiable for x in found) <= 4


def test_the_interval_of_the_squared_difference_solves_its_quadratic():
    difference = SquaredDifference(0.25, 0.05, 0.01)
    low, high = difference.interval(0.95)
    for end in (low, high):
        deviation = np.sqrt(0.05**2 + 4 * 0.01 * end**2)
        assert abs(0.25 - end**2) == pytest.approx(norm.ppf(0.975) * deviation)
    assert SquaredDifference(0.01, 0.05, 0.01).interval(0.95)[0] == 0.0


def test_the_cosine_is_that_of_the_signal():
    """shift_A shift_B / (c_A c_B) averages to strength^2, in dimensions where each factor is far from it."""
    found = []
    for seed in range(30):
        sample = sampled(draw(bags=200, dim=40, strength=3.5, seed=seed))
        found.append(estimated(sample, 2, np.random.default_rng(seed)))
    assert np.mean([x.cosine for x in found]) < 0.85
    strengths = np.array([x.strength for x in found])
    assert strengths.mean() == pytest.approx(3.5, abs=4 * strengths.std() / np.sqrt(30))


@pytest.mark.slow
def test_checks_of_scatter_are_standard_scores():
    scores = []
    for seed in range(60):
        sample = sampled(draw(bags=80, dim=8, length=5, strength=4.0, seed=seed))
        rng = np.random.default_rng(seed)
        found = estimated(sample, 50, rng)
        scores.append([score for _, score, _, _ in scatters(sample, found, True, rng)])
    scores = np.array(scores)
    assert np.all(np.abs(scores.mean(axis=0)) < 4 / np.sqrt(60))
    # The second takes the signal's own scatter from an estimate, and is a little too careful.
    assert 0.7 < scores[:, 0].std() < 1.4
    assert 0.5 < scores[:, 1].std() < 1.4


def test_shares_of_training_folds_hold_both_classes():
    shares = training_shares(np.arange(200) < 12, 10)
    assert shares[0] * 0.9 * 12 >= 4
    assert shares[-1] == 1.0
    given = checked(*draw(bags=60, dim=3), None, np.arange(60) // 3)
    train, rank = np.arange(54), np.random.default_rng(0).permutation(20)
    part = _part(given, train, rank, 0.5)
    # Whole groups first: of each class one group at most is divided.
    for name in given.classes:
        mine = train[given.labels[train] == name]
        taken = np.isin(mine, part)
        assert taken.sum() == round(0.5 * len(mine))
        divided = [group for group in np.unique(mine // 3) if len(np.unique(taken[mine // 3 == group])) == 2]
        assert len(divided) <= 1


def test_halves_and_references_divide_no_group():
    tokens, labels = draw(bags=120, dim=3, length=4)
    for groups in (np.arange(120) // 4, np.cumsum(np.diff(labels, prepend=labels[0]))):  # mixed, and of one class
        sample = checked(tokens, labels, None, groups).sample(True)
        splits = splits_of(sample, np.random.default_rng(0))
        references = np.concatenate([split.reference for split in splits])
        np.testing.assert_array_equal(np.sort(references), np.flatnonzero(~labels))
        for split in splits:
            sides = [np.setdiff1d(half.bags, split.reference) for half in split.halves] + [split.reference]
            held = [set(sample.groups[side].tolist()) for side in sides]
            assert sum(map(len, held)) == len(set.union(*held))
            assert all(len(np.unique(labels[side])) == 2 for side in sides[:2])


def test_the_squared_difference_of_groups_is_unbiased():
    found = {True: [], False: []}
    for seed in range(150):
        tokens, labels = draw(bags=120, dim=4, length=4, strength=0.0, seed=seed)
        rng = np.random.default_rng(seed)
        groups = np.arange(120) // 3
        labels = (rng.permutation(40) < 20)[groups]
        tokens = tokens + rng.normal(size=(40, 1, 4))[groups]
        for together in found:
            sample = checked(tokens, labels, None, groups if together else None).sample(True)
            found[together].append(squared_difference(sample, negatives_of(sample)).value)
    error = {together: np.std(values) / np.sqrt(150) for together, values in found.items()}
    assert abs(np.mean(found[True])) < 4 * error[True]
    assert np.mean(found[False]) > 4 * error[False]  # bag by bag the groups' effect counts as a signal


def test_bags_of_float32_are_diagnosed_in_float64():
    tokens, labels = draw(bags=60, dim=4)
    sample = sampled((Bags(tokens.reshape(-1, 4).astype(np.float32), np.arange(61) * 10), labels))
    assert sample.values.dtype == np.float64
