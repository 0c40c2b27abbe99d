"""Capacity: the Gaussian min-max formula against SciPy and finite draws; the decisions on draws against an LP."""

import jax
import numpy as np
import pytest
from scipy.optimize import brentq, linprog, minimize
from scipy.special import ndtr
from scipy.stats import norm

from solvable.attention import sparse_tokens as st
from solvable.attention.sparse_tokens.nodes import AttentionLaw
from solvable.attention.sparse_tokens.separability import separable_draws
from solvable.numerics import is_separable

TASK = st.SparseTokens()
ATTENTION, UNALIGNED = st.FixedQueryAttention(0.9, 1.0), st.FixedQueryAttention(0.0, 1.0)
POOLED, FLAT = st.PooledLinear(), st.FlatLinear()
COARSE = st.Quadrature(points=2**12, scramblings=4)
ONE = st.Quadrature(points=2**12, scramblings=1)


def minimum(query, signal, label, scale, weight):
    """min over (w1, w2, b) of E (sqrt(1 + w2^2) G - (w1 A + w2 kappa c + b) y / r)_+^2 by SciPy's BFGS."""

    def value(x):
        spread = np.sqrt(1 + x[1] ** 2)
        reach = -(x[0] * query + x[1] * signal + x[2] * label) / scale
        k = reach / spread
        slope = 2 * weight * (reach * ndtr(k) + spread * norm.pdf(k))
        by = [-np.sum(slope * c / scale) for c in (query, signal, label)]
        by[1] += 2 * np.sum(weight * ndtr(k)) * x[1]
        return np.sum(weight * ((reach**2 + spread**2) * ndtr(k) + reach * spread * norm.pdf(k))), np.array(by)

    return minimize(value, [0.1, 0.1, 0.0], jac=True, method="BFGS", options={"gtol": 1e-11}).fun


def mixture_capacity(separation, rate):
    """The threshold of the unit-noise mixture, whose average over nodes is a sum of two terms."""
    label = np.array([1.0, -1.0])
    signal = np.array([separation, 0.0])
    return 1 / minimum(np.zeros(2), signal, label, np.ones(2), np.array([rate, 1 - rate]))


@pytest.mark.parametrize(("strength", "rate"), [(5.0, 0.5), (2.0, 0.2), (0.5, 0.7)])
def test_capacity_of_the_baselines(strength, rate):
    """pooled = the mixture's, flat = L times that; both without quadrature error."""
    task = st.SparseTokens(strength=strength, positive_rate=rate)
    expected = mixture_capacity(strength / np.sqrt(10), rate)
    pooled, flat = st.capacity(task, POOLED, COARSE), st.capacity(task, FLAT, COARSE)
    assert pooled == pytest.approx(expected, rel=1e-9)
    assert flat == pytest.approx(10 * expected, rel=1e-9)
    assert pooled.standard_error < 1e-9


def test_capacity_of_attention_on_shared_nodes():
    with jax.enable_x64(True):
        normals, shift = ONE.bags(10)
        for algorithm in (ATTENTION, UNALIGNED):
            f = AttentionLaw(TASK, algorithm.cosine, algorithm.sharpness).nodes(normals[0], shift[0])
            nodes = [np.asarray(x) for x in (f.query, f.signal, f.label, f.scale, f.weight)]
            assert st.capacity(TASK, algorithm, ONE) == pytest.approx(1 / minimum(*nodes), rel=1e-8)


def test_numbers_and_order_of_the_specification():
    """Spec 5.6: 29.5 > 21.5 > 2.95 at cosine .9, and 2.32 without alignment: attention then loses to pooling."""
    attention, unaligned = st.capacity(TASK, ATTENTION), st.capacity(TASK, UNALIGNED)
    pooled, flat = st.capacity(TASK, POOLED), st.capacity(TASK, FLAT)
    assert attention == pytest.approx(21.5, abs=0.1)
    assert abs(attention - 21.5) < 4 * attention.standard_error + 0.05
    assert pooled == pytest.approx(2.95, abs=5e-3)
    assert flat == pytest.approx(29.5, abs=5e-2)
    assert unaligned == pytest.approx(2.32, abs=1e-2)
    assert flat > attention > pooled > unaligned


def test_no_signal_is_covers_two():
    """Without a signal every capacity is 2 samples per weight (Cover); rare classes separate more easily."""
    faint, rare = st.SparseTokens(strength=1e-6), st.SparseTokens(strength=1e-6, positive_rate=0.05)
    assert st.capacity(faint, POOLED, COARSE) == pytest.approx(2.0, abs=1e-6)
    assert st.capacity(faint, FLAT, COARSE) == pytest.approx(20.0, abs=1e-5)
    assert st.capacity(rare, POOLED, COARSE) > 3.0


def test_no_sharpness_is_pooling():
    found = st.capacity(TASK, st.FixedQueryAttention(0.5, 0.0), COARSE)
    assert abs(found - st.capacity(TASK, POOLED, COARSE)) <= 4 * found.standard_error
    assert found.standard_error < 0.02


def test_two_step_attention_is_sent_to_fixed_query():
    two_steps = st.TwoStepAttention("square")
    calls = (
        lambda a: st.capacity(TASK, a),
        lambda a: st.separable(TASK, a, ratio=1.0, dim=10),
        lambda a: st.limit_error(TASK, a),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"fixed_query\(task, algorithm, query_ratio\)") as caught:
            call(two_steps)
        assert "\n" not in str(caught.value)
    assert st.capacity(TASK, st.fixed_query(TASK, two_steps, 1.0), COARSE) > 2


# ----------------------------------------------------------------------------------------------------- finite draws


def draws(algorithm, ratios, dim, seed):
    """(features, labels) of the task for each ratio: the first bags of one draw, so that one shape is compiled."""

    def design(key):
        samples = round(max(ratios) * dim)
        return algorithm.design(key, TASK, algorithm.sampled_query(key, TASK, samples, dim), samples, dim)

    with jax.enable_x64(True):
        drawn = jax.jit(design)(jax.random.key(seed))
    for ratio in ratios:
        yield tuple(np.asarray(x)[: round(ratio * dim)] for x in drawn)


@pytest.mark.parametrize(
    ("algorithm", "dim", "ratios"),
    [
        (POOLED, 100, (1.5, 2.6, 2.8, 2.9, 3.0, 3.1, 3.3, 4.0)),
        (FLAT, 20, (20.0, 28.0, 30.0, 40.0)),
        (st.FixedQueryAttention(0.5, 1.0), 80, (2.0, 4.5, 5.0, 5.5, 6.0, 9.0)),
    ],
    ids=["pooled", "flat", "attention"],
)
def test_decisions_agree_with_a_linear_program_and_carry_their_proof(algorithm, dim, ratios):
    seen = set()
    for features, labels in draws(algorithm, ratios, dim, 4):
        found = is_separable(features, labels)
        seen.add(found.separable)
        rows = labels[:, None] * np.column_stack([features, np.ones(len(labels))])
        # The largest t <= 1 with rows v >= t and |v_j| <= 1 (the plain feasibility program can stop with status 4).
        width = rows.shape[1]
        limits = np.column_stack([-rows, np.ones(len(rows))])
        bounds = [(-1, 1)] * width + [(None, 1)]
        program = linprog(np.append(np.zeros(width), -1), A_ub=limits, b_ub=np.zeros(len(rows)), bounds=bounds)
        assert program.status == 0
        assert (-program.fun > 1e-6) == found.separable
        if found.separable:
            scores = labels * (features @ found.weights + found.bias)
            assert scores.min() > 0
            assert found.margin == pytest.approx(scores.min() / np.linalg.norm(found.weights))
            assert found.multipliers is None
        else:
            # Convex multipliers that annihilate the rows: no half space holds them all.
            assert found.multipliers.min() >= 0
            assert found.multipliers.sum() == pytest.approx(1)
            assert np.max(np.abs(rows.T @ found.multipliers)) < 1e-8 * np.abs(rows).max()
            assert found.weights is None
    assert seen == {True, False}


def test_separability_of_tiny_sets():
    """An XOR is not separable, three points in the plane are, one class is."""
    corners = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    assert not is_separable(corners, np.array([1.0, 1, -1, -1])).separable
    assert is_separable(corners[:3], np.array([1.0, 1, -1])).separable
    assert is_separable(corners, np.ones(4)).separable
    # Offset from the origin: the bias is needed and used.
    assert is_separable(np.array([[5.0], [6.0]]), np.array([1.0, -1])).separable
    assert not is_separable(np.array([[5.0], [6.0], [7.0]]), np.array([1.0, -1, 1])).separable


def half_point(algorithm, ratios, dim, replicates, seed=7):
    """The ratio at which half of the draws are separable: a probit line through the shares at these ratios."""
    shares = [separable_draws(TASK, algorithm, r, dim, jax.random.key(seed), replicates).mean() for r in ratios]
    assert shares[0] > 0.5 > shares[-1]
    slope, height = np.polyfit(ratios, norm.ppf(np.clip(shares, 0.02, 0.98)), 1)
    return brentq(lambda r: slope * r + height, 0.5 * ratios[0], 2 * ratios[-1])


def test_half_of_the_draws_are_separable_at_the_capacity_of_pooling():
    """n50/d within 3 % + 4/d of the threshold (spec section 6)."""
    capacity = float(st.capacity(TASK, POOLED, COARSE))
    found = half_point(POOLED, capacity * np.array([0.9, 1.0, 1.1]), dim=100, replicates=50)
    assert found == pytest.approx(capacity, abs=0.03 * capacity + 4 / 100)


def test_separable_is_the_share_of_draws():
    below, above = (st.separable(TASK, POOLED, ratio=r, dim=100, key=jax.random.key(1), replicates=20) for r in (2, 4))
    assert (below, above) == (1.0, 0.0)
    middle = st.separable(TASK, POOLED, ratio=2.95, dim=100, key=jax.random.key(1), replicates=20)
    each = separable_draws(TASK, POOLED, 2.95, 100, jax.random.key(1), range(10, 20))
    both = separable_draws(TASK, POOLED, 2.95, 100, jax.random.key(1), 20)
    np.testing.assert_array_equal(both[10:], each)
    assert middle == both.mean()
    assert 0 < middle < 1


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "dim"), [(UNALIGNED, 150), (FLAT, 40)])
def test_half_of_the_draws_are_separable_at_the_capacity(algorithm, dim):
    capacity = float(st.capacity(TASK, algorithm))
    found = half_point(algorithm, capacity * np.linspace(0.9, 1.1, 5), dim=dim, replicates=40)
    assert found == pytest.approx(capacity, abs=0.03 * capacity + 4 * capacity / dim)


@pytest.mark.slow
def test_half_of_the_draws_are_separable_at_the_capacity_of_aligned_attention():
    """Rare confusions decide, so that the transition is wide: 80 draws a ratio, over -10 % to +18 %."""
    capacity = float(st.capacity(TASK, ATTENTION))
    found = half_point(ATTENTION, capacity * np.linspace(0.9, 1.18, 5), dim=100, replicates=80, seed=3)
    assert found == pytest.approx(capacity, abs=0.03 * capacity + 4 * capacity / 100)
