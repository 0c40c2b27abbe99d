"""The max-margin programs of a problem: closed forms, certificates, and what they say of a selection."""

import dataclasses

import jax
import numpy as np
import pytest

from solvable.attention import token_selection as ts
from solvable.numerics.results import Result

NORMS = [1.0, 1.1, 1.75, 2.0, 3.0, 5.0, np.inf, "nuclear"]


def drawn(seed=0, task=None):
    return (task or ts.RandomSelection()).sample(jax.random.key(seed))


def rows_of(problem, selected):
    """The constraints written out, and where they belong."""
    found, places = [], []
    queries = np.asarray(problem.query_sets)
    selected = np.broadcast_to(np.reshape(selected, (len(queries), -1)), queries.shape[:2])
    for i, m, t in np.ndindex(*queries.shape[:2], problem.tokens.shape[1]):
        if t != selected[i, m]:
            found.append(np.outer(problem.tokens[i, selected[i, m]] - problem.tokens[i, t], queries[i, m]))
            places.append((i, m, t))
    return np.array(found), places


def size(weights, p):
    return np.linalg.norm(weights, "nuc") if p == "nuclear" else np.linalg.norm(weights.ravel(), p)


@pytest.mark.parametrize("p", NORMS)
def test_the_solution_is_feasible_and_certified(p):
    problem = drawn()
    selected = np.asarray(problem.optimal_tokens())
    found = ts.max_margin(problem, selected, p)
    rows, places = rows_of(problem, selected)
    margins = np.einsum("rde,de->r", rows, found.weights)
    assert margins.min() >= 1.0 - 1e-12
    assert found.norm == pytest.approx(size(found.weights, p), rel=1e-9)
    assert found.margin == pytest.approx(1.0 / found.norm)
    assert found.gap <= (1e-6 if p == "nuclear" else 1e-9)
    # the certificate again, from nothing but the multipliers: sum lambda / |A^T lambda|_dual is a lower bound
    multipliers = np.array([found.multipliers[i, t] for i, _, t in places])
    assert multipliers.min() >= 0.0
    assert found.multipliers[np.arange(6), selected].max() == 0.0
    pull = np.einsum("r,rde->de", multipliers, rows)
    dual = {1.0: np.inf, np.inf: 1.0}.get(p) if p in (1.0, np.inf) else None
    bound = np.linalg.norm(pull, 2) if p == "nuclear" else np.linalg.norm(pull.ravel(), dual or p / (p - 1.0))
    assert 1.0 - multipliers.sum() / bound / found.norm <= (2e-6 if p == "nuclear" else 1e-8)


@pytest.mark.parametrize("every_query", [False, True])
def test_orthonormal_tokens_of_equal_scores_have_a_closed_form(every_query):
    """W_mm = sum_i (x_i,opt - mean_t x_it) z_i^T, |W_mm|^2 = n (T - 1)/T and all multipliers 1/T (derived here)."""
    problem = drawn(1, ts.EqualScores(every_query=every_query))
    best = np.asarray(problem.optimal_tokens())
    found = ts.max_margin(problem, best)
    pulls = problem.tokens[np.arange(8), best] - problem.tokens.mean(axis=1)
    expected = np.einsum("nd,nme->de", pulls, problem.query_sets)
    np.testing.assert_allclose(found.weights, expected, atol=1e-10)
    m = problem.query_sets.shape[1]
    assert found.norm**2 == pytest.approx(8 * m * 3 / 4)
    np.testing.assert_allclose(found.multipliers[found.multipliers > 0], 1 / 4, rtol=1e-9)
    assert ts.locally_optimal(problem, found)
    assert ts.margin_ratio(problem, found, 7.0 * found.weights) == pytest.approx(1.0)


def test_a_selection_a_query_and_one_a_sequence_agree():
    problem = drawn(2, ts.EqualScores(every_query=True))
    best = np.asarray(problem.optimal_tokens())
    one = ts.max_margin(problem, best)
    several = ts.max_margin(problem, np.repeat(best[:, None], 4, axis=1))
    np.testing.assert_allclose(one.weights, several.weights, atol=1e-12)
    assert several.multipliers.shape == (8, 4, 4)
    assert ts.locally_optimal(problem, several)


def test_an_infeasible_selection_comes_with_its_certificate():
    infeasible = 0
    for seed in range(20):
        problem = drawn(seed, ts.RandomSelection(dim=2))
        selected = np.asarray(problem.optimal_tokens())
        found = ts.max_margin(problem, selected)
        if found.result != Result.INFEASIBLE:
            continue
        infeasible += 1
        rows, places = rows_of(problem, selected)
        multipliers = np.array([found.multipliers[i, t] for i, _, t in places])
        assert multipliers.min() >= 0.0
        assert multipliers.sum() == pytest.approx(1.0)
        assert np.abs(np.einsum("r,rde->de", multipliers, rows)).max() < 1e-8
        assert np.isnan(found.weights).all()
        assert found.norm == np.inf
        assert not ts.locally_optimal(problem, found)
        assert ts.max_margin(problem, selected, 3.0).result == Result.INFEASIBLE
    assert infeasible > 5


def test_locally_optimal_looks_at_support_tokens_only():
    # token 1 supports, token 2 lies far beyond the margin
    tokens = np.array([[[1.0, 0.0], [0.0, 0.0], [-3.0, 0.0]]])

    def of(scores):
        tokens_and_scores = np.concatenate([tokens, np.reshape(scores, (1, 3, 1))], axis=2)
        problem = ts.SelectionProblem(tokens_and_scores, [[1.0, 0.0, 0.0]], [1.0], [0.0, 0.0, 1.0])
        return problem, ts.max_margin(problem, [0])

    problem, solution = of([0.1, 0.0, 0.1])
    np.testing.assert_array_equal(ts.support_tokens(problem, solution), [[False, True, False]])
    assert ts.locally_optimal(problem, solution)
    assert not ts.locally_optimal(problem, solution, decoder=[0.0, 0.0, -1.0])
    better_far_away = dataclasses.replace(problem, decoder=np.array([-0.05, 0.0, 1.0]))
    assert np.argmax(better_far_away.scores()) == 2
    assert ts.locally_optimal(better_far_away, solution)


def test_relaxed_sequences_are_asked_for_no_margin():
    problem = drawn(3)
    best = np.asarray(problem.optimal_tokens())
    relaxed = np.arange(6) >= 4
    all_of_them, found = ts.max_margin(problem, best), ts.max_margin(problem, best, relaxed=relaxed)
    rows, places = rows_of(problem, best)
    margins = np.einsum("rde,de->r", rows, found.weights)
    slack = np.array([relaxed[i] for i, _, _ in places])
    assert margins[~slack].min() >= 1.0 - 1e-12
    assert margins[slack].min() >= -1e-12
    assert found.norm < all_of_them.norm
    assert found.gap <= 1e-9
    # what supports is what meets the margin it is asked for, with and only with multipliers there
    support = ts.support_tokens(problem, found)
    assert np.all(support[found.multipliers > 1e-6 * found.multipliers.max()])
    inside = np.array([support[i, t] for i, _, t in places])
    assert np.all(margins[inside & slack] < 1e-5)
    assert ts.margin_ratio(problem, found, found.weights) == pytest.approx(1.0)


def test_the_decoder_program():
    problem = drawn(4)
    best = np.asarray(problem.optimal_tokens())
    for p in (1.0, 1.5, 2.0, 3.0, np.inf):
        found = ts.decoder_max_margin(problem, best, p)
        outputs = problem.labels * (problem.tokens[np.arange(6), best] @ found.weights)
        assert outputs.min() >= 1.0 - 1e-12
        assert found.multipliers.shape == (6,)
        assert found.gap <= 1e-9
        assert found.norm == pytest.approx(np.linalg.norm(found.weights, p))


@pytest.mark.parametrize(
    ("selected", "p", "words"),
    [
        ([0, 1], 2.0, "selected has shape"),
        ([0.0] * 6, 2.0, "dtype float64"),
        ([8] * 6, 2.0, "selected holds 8; accepted: token indices from 0 to 7"),
        ([0] * 6, 0.5, "p=0.5"),
        ([0] * 6, "trace", "p='trace' is no norm"),
    ],
)
def test_bad_input_is_named(selected, p, words):
    with pytest.raises(ValueError, match=words):
        ts.max_margin(drawn(), selected, p)


def test_copies_of_the_selected_token_are_named():
    problem = drawn()
    tokens = np.array(problem.tokens)
    tokens[2, 5] = tokens[2, 1]
    twice = dataclasses.replace(problem, tokens=tokens)
    with pytest.raises(ValueError, match="selected token 1 of sequence 2 equals its token 5"):
        ts.max_margin(twice, [0, 0, 1, 0, 0, 0])
    assert ts.max_margin(twice, [0] * 6).result == Result.SUCCESSFUL
    copied = ts.max_margin(twice, [0, 0, 1, 0, 0, 0], throw=False)
    assert copied.result == Result.INFEASIBLE
    assert copied.multipliers[2, 5] == pytest.approx(1.0)


def test_relaxed_must_be_a_mask():
    with pytest.raises(ValueError, match="relaxed="):
        ts.max_margin(drawn(), [0] * 6, relaxed=[True] * 6)
