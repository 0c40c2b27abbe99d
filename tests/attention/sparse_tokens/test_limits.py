"""The least errors of each representation, against Monte Carlo and against each other; their behaviour as bags grow."""

import itertools

import numpy as np
import pytest
from scipy.special import ndtr

from solvable.attention import sparse_tokens as st

RULE = st.Quadrature(points=2**13, scramblings=4)
TASKS = [
    st.SparseTokens(length=10, sparsity=1, strength=3.0, positive_rate=0.5),
    st.SparseTokens(length=8, sparsity=3, strength=1.5, positive_rate=0.3),
]
DRAWS = 200_000


def projections(task, seed=0):
    """x_l = <token l, xi> of positives and of negatives, and the positions, by plain sampling."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(2, DRAWS, task.length))
    places = np.argsort(rng.random((DRAWS, task.length)), axis=1) < task.sparsity
    return noise[0] + task.strength * places, noise[1]


def best_error(task, positive, negative):
    """min over thresholds of p P(score_+ < t) + (1 - p) P(score_- >= t) on the samples."""
    p = float(task.positive_rate)
    grid = np.linspace(min(positive.min(), negative.min()), max(positive.max(), negative.max()), 5001)
    miss = np.searchsorted(np.sort(positive), grid) / positive.size
    alarm = 1 - np.searchsorted(np.sort(negative), grid) / negative.size
    return np.min(p * miss + (1 - p) * alarm)


def monte_carlo(error):
    """4 standard errors of the share of wrong decisions, and what tuning a threshold on the sample gains."""
    return 4 * np.sqrt(error * (1 - error) / DRAWS) + 5e-4


@pytest.mark.parametrize("task", TASKS, ids=["one signal token", "three"])
@pytest.mark.parametrize("sharpness", [None, 0.5, 4.0])
def test_oracle_error(task, sharpness):
    beta = float(task.strength) if sharpness is None else sharpness
    scores = []
    for x in projections(task):
        a = np.exp(beta * (x - x.max(axis=1, keepdims=True)))
        scores.append((a * x).sum(axis=1) / a.sum(axis=1))
    found = st.oracle_error(task, sharpness, RULE)
    expected = best_error(task, *scores)
    assert abs(found - expected) <= monte_carlo(expected) + 4 * found.standard_error
    assert 0 < found.standard_error < 2e-3


@pytest.mark.parametrize("task", TASKS, ids=["one signal token", "three"])
def test_bayes_error(task):
    """The likelihood ratio summed over all position sets, one by one."""
    theta, p = float(task.strength), float(task.positive_rate)
    sets = [list(places) for places in itertools.combinations(range(task.length), task.sparsity)]
    wrong = []
    for x, is_positive in zip(projections(task), (True, False), strict=True):
        ratio = sum(np.exp(theta * x[:, s].sum(axis=1) - task.sparsity * theta**2 / 2) for s in sets) / len(sets)
        says_positive = ratio * p > 1 - p
        wrong.append(np.mean(says_positive != is_positive))
    expected = p * wrong[0] + (1 - p) * wrong[1]
    found = st.bayes_error(task, RULE)
    assert abs(found - expected) <= monte_carlo(expected) + 4 * found.standard_error
    assert 0 < found.standard_error < 2e-3


@pytest.mark.parametrize("task", TASKS, ids=["one signal token", "three"])
def test_pooled_and_flat_errors(task):
    """The sum of all projections with the best threshold; the flat one: the first K tokens, the best K."""
    positive, negative = projections(task)
    errors = [
        best_error(task, positive[:, :k].sum(axis=1) / np.sqrt(k), negative[:, :k].sum(axis=1) / np.sqrt(k))
        for k in range(1, task.length + 1)
    ]
    assert abs(float(st.pooled_oracle_error(task)) - errors[-1]) <= monte_carlo(errors[-1])
    assert abs(float(st.flat_oracle_error(task)) - min(errors)) <= monte_carlo(min(errors))


def test_pooled_error_closed_form():
    for strength, rate in ((3.0, 0.5), (1.0, 0.2)):
        d, k = strength * 2 / np.sqrt(10), np.log((1 - rate) / rate)
        expected = rate * ndtr(-d / 2 + k / d) + (1 - rate) * ndtr(-d / 2 - k / d)
        found = st.pooled_oracle_error(st.SparseTokens(sparsity=2, strength=strength, positive_rate=rate))
        assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("strength", [0.5, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("sparsity", [1, 3])
def test_nobody_beats_bayes(sparsity, strength):
    """bayes <= oracle <= pooled (the oracle at its best sharpness: 0 is pooling), bayes <= flat <= pooled."""
    task = st.SparseTokens(sparsity=sparsity, strength=strength)
    bayes = st.bayes_error(task)
    oracles = [st.oracle_error(task, beta) for beta in (0.0, 0.3, 1.0, strength)]
    pooled, flat = float(st.pooled_oracle_error(task)), float(st.flat_oracle_error(task))
    for oracle in oracles:
        assert bayes <= oracle + 4 * np.hypot(bayes.standard_error, oracle.standard_error)
    assert abs(oracles[0] - pooled) <= 4 * oracles[0].standard_error + 5e-4
    assert min(oracles) <= pooled + 4 * oracles[0].standard_error + 5e-4
    assert bayes - 4 * bayes.standard_error <= flat <= pooled + 1e-4
    if strength >= 4:
        assert min(oracles) < 0.8 * pooled


def test_errors_as_bags_grow():
    """strength = 2 sqrt(2 log L): attention's error tends to 0; the linear one's rises, for strength/sqrt(L) falls."""
    rule = st.Quadrature(points=2**12, scramblings=4)
    attention, bayes, pooled = [], [], []
    for length in (10, 100, 400):
        task = st.SparseTokens(length=length, strength=2 * np.sqrt(2 * np.log(length)))
        attention.append(float(st.oracle_error(task, quadrature=rule)))
        bayes.append(float(st.bayes_error(task, rule)))
        pooled.append(float(st.pooled_oracle_error(task)))
    for errors in (attention, bayes):
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < 0.01
    assert pooled[0] < pooled[1] < pooled[2]
    assert pooled[2] > 0.35


def test_below_the_boundary_nothing_works():
    """strength = sqrt(2 log L)/2, half the Bayes boundary: every error tends to min(p, 1 - p)."""
    rule = st.Quadrature(points=2**12, scramblings=4)
    short, long = (
        float(st.bayes_error(st.SparseTokens(length=n, strength=0.5 * np.sqrt(2 * np.log(n))), rule)) for n in (10, 400)
    )
    assert short < long
    assert long > 0.4


def test_linear_errors_stay_away_from_zero_at_a_fixed_signal_to_noise_ratio():
    """strength = sqrt(L): the pooled error does not depend on L, Phi(-1/2) for even classes; attention's tends to 0."""
    for length in (16, 256):
        task = st.SparseTokens(length=length, strength=np.sqrt(length))
        assert float(st.pooled_oracle_error(task)) == pytest.approx(ndtr(-0.5), rel=1e-12)
    flat = st.flat_oracle_error(st.SparseTokens(length=16, strength=4.0))
    assert float(flat) == pytest.approx(ndtr(-0.5), rel=5e-3)
    assert st.oracle_error(task, quadrature=st.Quadrature(points=2**12)) < 1e-4


def test_arguments():
    with pytest.raises(ValueError, match=r"sharpness=-1 is out of range; accepted: .*>= 0"):
        st.oracle_error(TASKS[0], -1.0)
    with pytest.raises(ValueError, match="loss=Logistic has no closed limit here; accepted: 'square'"):
        st.limit_error(TASKS[0], st.PooledLinear("logistic"))


def test_signals_at_the_ends_of_what_numbers_can_be():
    """No signal: the rarer class. A signal without end: no error. Beyond, a sentence."""
    rule = st.Quadrature(points=2**8, scramblings=2)
    for strength, rate, least in ((5e-324, 0.5, 0.5), (5e-324, 0.3, 0.3), (1e100, 0.3, 0.0)):
        task = st.SparseTokens(strength=strength, positive_rate=rate)
        assert float(st.pooled_oracle_error(task)) == pytest.approx(least, abs=1e-12)
        assert float(st.flat_oracle_error(task)) == pytest.approx(least, abs=1e-12)
        assert float(st.bayes_error(task, rule)) == pytest.approx(least, abs=1e-12)
        assert float(st.oracle_error(task, quadrature=rule)) == pytest.approx(least, abs=2e-3)
        assert float(st.limit_error(task, st.PooledLinear("square"), rule)) == pytest.approx(least, abs=1e-12)
    with pytest.raises(ValueError, match=r"strength=1e\+308 is out of range; accepted: .* <= 1e\+100"):
        st.SparseTokens(strength=1e308)
    with pytest.raises(ValueError, match=r"sharpness=1e\+308 is out of range; accepted: .* <= 1e\+100"):
        st.oracle_error(st.SparseTokens(), 1e308)
